"""Diff of two dumps: by identity, then by row hashes, then the vectors of the records whose hash changed."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ..dump.dump import Dump, open_dump
from ..limits import DEFAULT_LIMITS
from ..model.batch import dense_matrix, element_dtype
from ..model.collection import Collection, VectorField
from ..model.near import within
from .compare import bound_of, describe_bound, schema_changes
from .duck import Duck
from .progress import Progress, Silent, Stop

EXAMPLES = 5
_LOCATED = pa.schema(
    [("id", pa.string()), ("namespace", pa.string()), ("_vh", pa.int64()), ("_mh", pa.int64()),
     ("shard", pa.int32()), ("row", pa.int64())]
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class DiffResult:
    """How two dumps differ; counts are records.

    Attributes:
        a, b: the dumps.
        identical: equal identity: equal schema, keys, hashes.
        schema_changes: sentences.
        unchanged: present in both with equal hashes.
        added, removed: only in ``b``, only in ``a``.
        vectors_changed: beyond the bound.
        within_bound: vectors that differ no more than the bound.
        metadata_changed: document or metadata differ.
        bound: in words.
        by_recorded_hashes: hashes were taken from the dumps; ``validate --level deep`` recomputes them.
        examples: some ids of each kind.
        exit_code: 0 when nothing differs beyond the bound, else 3.
    """

    a: str
    b: str
    identical: bool
    schema_changes: tuple[str, ...]
    rows_a: int
    rows_b: int
    unchanged: int
    added: int
    removed: int
    vectors_changed: int
    within_bound: int
    metadata_changed: int
    bound: str
    by_recorded_hashes: bool
    examples: dict[str, list[str]]
    seconds: float
    notes: tuple[str, ...] = ()
    exit_code: int = 0


def diff(
    a: str | os.PathLike[str],
    b: str | os.PathLike[str],
    *,
    tolerance: float | None = None,
    limits: Mapping[str, int] | None = None,
    memory_bytes: int = 1 << 30,
    progress: Progress | None = None,
    stop: Stop | None = None,
) -> DiffResult:
    """Compare two dumps.

    Args:
        a, b: folders or URLs of finished dumps.
        tolerance: largest relative error of a vector that counts as equal; None takes the widest bound that the
            manifests state (Chroma cosine, Qdrant cosine), bit for bit when they state none.
        limits: raised bounds for reading, by name.
        memory_bytes: for DuckDB and buffers; more data spills to a temporary folder.
        progress, stop: as in ``export``.

    Raises:
        VecportError: a dump cannot be read or is damaged.
    """
    started = time.monotonic()
    progress, stop = progress or Silent(), stop or Stop()
    bounds = DEFAULT_LIMITS.with_overrides(dict(limits or {}))
    left, right = open_dump(a, bounds), open_dump(b, bounds)
    changes = schema_changes(left.collection, right.collection)
    notes = _partial_notes(left, right)
    ma, mb = left.manifest, right.manifest
    common: dict[str, Any] = {
        "a": left.url, "b": right.url, "schema_changes": changes, "rows_a": ma.rows, "rows_b": mb.rows,
        "by_recorded_hashes": True, "notes": notes,
    }  # fmt: skip
    if ma.identity == mb.identity:
        return DiffResult(
            **common, identical=True, unchanged=ma.rows, added=0, removed=0, vectors_changed=0, within_bound=0,
            metadata_changed=0, bound=describe_bound(bound_of(tolerance=tolerance)), examples={},
            seconds=time.monotonic() - started,
        )  # fmt: skip
    counts = _compare(left, right, tolerance, memory_bytes, progress, stop)
    differs = bool(changes) or any(counts[k] for k in ("added", "removed", "vectors_changed", "metadata_changed"))
    return DiffResult(
        **common, **counts, identical=False, seconds=time.monotonic() - started, exit_code=3 if differs else 0
    )


def _partial_notes(left: Dump, right: Dump) -> tuple[str, ...]:
    return tuple(
        f"{d.url} is a selection of its collection, not the whole" for d in (left, right) if not d.manifest.complete
    )


def _compare(
    left: Dump, right: Dump, tolerance: float | None, memory_bytes: int, progress: Progress, stop: Stop
) -> dict[str, Any]:
    pairs = _comparable(left.collection, right.collection)
    bound = bound_of(*(f for pair in pairs for f in pair), tolerance=tolerance)
    with Duck(memory_bytes // 2) as duck:
        progress.phase("compare keys", left.manifest.rows + right.manifest.rows)
        duck.load("a", _LOCATED, _located(left, progress, stop))
        duck.load("b", _LOCATED, _located(right, progress, stop))
        duck.connection.execute(
            """CREATE TABLE shared AS
               SELECT a.id, a.namespace, a.shard AS ashard, a.row AS arow, b.shard AS bshard, b.row AS brow,
                      a._vh <> b._vh AS v, a._mh <> b._mh AS m
               FROM a JOIN b ON a.id = b.id AND a.namespace = b.namespace"""
        )
        added, new = _only(duck, "b", "a")
        removed, gone = _only(duck, "a", "b")
        ((total, metadata),) = duck.rows("SELECT count(*), count(*) FILTER (m) FROM shared")
        edited = [r[0] for r in duck.rows(f"SELECT id FROM shared WHERE m ORDER BY id LIMIT {EXAMPLES}")]
        ((unchanged,),) = duck.rows("SELECT count(*) FROM shared WHERE NOT v AND NOT m")
        close, far, moved = _vectors(duck, left, right, pairs, bound, progress, stop)
    assert total >= unchanged
    return {
        "unchanged": unchanged, "added": added, "removed": removed, "vectors_changed": far, "within_bound": close,
        "metadata_changed": metadata, "bound": describe_bound(bound),
        "examples": {k: v for k, v in
                     {"added": new, "removed": gone, "vectors": moved, "metadata": edited}.items() if v},
    }  # fmt: skip


def _comparable(a: Collection, b: Collection) -> list[tuple[VectorField, VectorField]]:
    """Dense vector fields that both sides have with one dimension; a sole one is compared whatever its name."""
    if len(a.vectors) == 1 == len(b.vectors):
        candidates = [(a.vectors[0], b.vectors[0])]
    else:
        theirs = {v.name: v for v in b.vectors}
        candidates = [(v, theirs[v.name]) for v in a.vectors if v.name in theirs]
    return [(x, y) for x, y in candidates if x.kind == y.kind == "dense" and x.dim == y.dim]


def _located(dump: Dump, progress: Progress, stop: Stop) -> Iterator[pa.RecordBatch]:
    for number, entry in enumerate(dump.manifest.shards):
        row = 0
        for batch in dump.shard(entry).columns(["id", "namespace", "_vh", "_mh"]):
            stop.check()
            n = batch.num_rows
            places = [pa.repeat(pa.scalar(number, pa.int32()), n), pa.array(np.arange(row, row + n))]
            yield pa.RecordBatch.from_arrays([*batch.columns, *places], schema=_LOCATED)
            row += n
            progress.advance(n)


def _only(duck: Duck, here: str, there: str) -> tuple[int, list[str]]:
    query = f"FROM {here} ANTI JOIN {there} ON a.id = b.id AND a.namespace = b.namespace"
    ((count,),) = duck.rows(f"SELECT count(*) {query}")
    return count, [r[0] for r in duck.rows(f"SELECT {here}.id {query} ORDER BY 1 LIMIT {EXAMPLES}")] if count else []


def _vectors(
    duck: Duck, left: Dump, right: Dump, pairs: list[tuple[VectorField, VectorField]], bound: Any,
    progress: Progress, stop: Stop,
) -> tuple[int, int, list[str]]:  # fmt: skip
    """Count vectors within and beyond the bound among records whose vector hash differs."""
    duck.connection.execute(
        """CREATE TABLE moved AS
           SELECT *, row_number() OVER (ORDER BY ashard, arow) - 1 AS pair FROM shared WHERE v"""
    )
    ((count,),) = duck.rows("SELECT count(*) FROM moved")
    same_fields = len(left.collection.vectors) == len(right.collection.vectors) == len(pairs)
    if not count or not same_fields:
        ids = [r[0] for r in duck.rows(f"SELECT id FROM moved ORDER BY id LIMIT {EXAMPLES}")]
        return 0, count, ids
    progress.phase("read vectors", 2 * count)
    close = np.ones(count, bool)
    with tempfile.TemporaryDirectory(prefix="vecport-diff-") as folder:
        for x, y in pairs:
            files = Path(folder, "a"), Path(folder, "b")
            have_a = _spill(duck, left, x, "ashard", "arow", files[0], count, progress, stop)
            have_b = _spill(duck, right, y, "bshard", "brow", files[1], count, progress, stop)
            close &= _close(files, x, y, count, bound) & (have_a == have_b)
    far = np.flatnonzero(~close)
    ids = []
    for pair in far[:EXAMPLES].tolist():
        ids += [r[0] for r in duck.rows("SELECT id FROM moved WHERE pair = ?", [pair])]
    return int(close.sum()), len(far), ids


def _spill(
    duck: Duck, dump: Dump, field: VectorField, shard: str, row: str, path: Path, count: int, progress: Progress,
    stop: Stop,
) -> Any:  # fmt: skip
    """Write the changed vectors of one side to a file, at the place of their pair; returns which are present."""
    column, dtype, dim = dump.collection.columns()[field.name], element_dtype(field), field.dim or 0
    present = np.zeros(count, bool)
    with path.open("wb") as f:
        f.truncate(count * dim * dtype.itemsize)
    for number, entry in enumerate(dump.manifest.shards):
        wanted = duck.rows(f"SELECT {row}, pair FROM moved WHERE {shard} = ? ORDER BY {row}", [number])
        if not wanted:
            continue
        rows, places = (np.asarray(c, np.int64) for c in zip(*wanted, strict=True))
        first = 0
        for group in dump.shard(entry).groups():
            stop.check()
            low, high = np.searchsorted(rows, [first, first + group.num_rows])
            if high > low:
                taken = group.column(column).take(pa.array(rows[low:high] - first))
                matrix, valid = dense_matrix(taken, field)
                # A map held for one row group only keeps the resident size bounded.
                out = np.memmap(path, dtype, "r+", shape=(count, dim))
                out[places[low:high][valid]] = matrix
                del out
                present[places[low:high]] = valid
                progress.advance(int(high - low))
            first += group.num_rows
    return present


def _close(files: tuple[Path, Path], x: VectorField, y: VectorField, count: int, bound: Any) -> Any:
    close = np.empty(count, bool)
    dim = x.dim or 1
    step = max(1, (16 << 20) // (8 * dim))
    for start in range(0, count, step):
        n = min(step, count - start)
        a, b = (
            np.fromfile(p, element_dtype(f), n * dim, offset=start * dim * element_dtype(f).itemsize).reshape(n, dim)
            for p, f in zip(files, (x, y), strict=True)
        )
        close[start : start + n] = within(a, b, bound)
    return close
