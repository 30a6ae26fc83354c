"""Diff of two dumps: by identity, then by row hashes, then the judge over the records whose hashes differ."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..dump.dump import Dump, open_dump
from ..dump.records import Records
from ..limits import DEFAULT_LIMITS
from ..model.batch import page_schema
from ..model.compare import EXACT, Finding, Judge
from .compare.bounds import Tolerance, checked_bounds, summary, words, words_by_field
from .compare.judged import check_present, judge_pairs, rows_of, settle
from .compare.levels import check_level
from .compare.located import Located, Recorded
from .compare.schemas import schema_changes
from .compare.spill import Spill
from .compare.tally import Tally
from .progress import Progress, Silent, Stop


@dataclass(frozen=True, slots=True)
class DiffResult:
    """How two dumps differ; counts are records.

    Attributes:
        a, b: the dumps.
        identical: equal identity: equal schema, keys, hashes.
        schema_changes: sentences.
        rows_a, rows_b: of the dumps.
        unchanged: present in both with equal vectors, document and metadata.
        within_bound: vectors differ no more than their bounds, everything else is equal.
        added, removed: only in ``b``, only in ``a``.
        changed: different beyond the bounds in any part.
        repeated: keys that stand another number of times in ``b``; their records count nowhere else.
        vectors_changed: of the changed ones, those with a vector beyond its bound.
        metadata_changed: of the changed ones, those whose document or metadata differ.
        parts: changed records by part, as ``vector:NAME`` or ``metadata:KEY``; see ``model.compare.Part``.
        bound: within which vectors were compared, in words.
        bounds: the same by vector field.
        by_recorded_hashes: hashes were taken from the dumps; level ``deep`` computes them.
        level: how thoroughly: ``quick``, ``full`` or ``deep``.
        examples: at most five findings of each kind.
        exit_code: 0 when nothing differs beyond the bounds, else 3.
    """

    a: str
    b: str
    identical: bool
    schema_changes: tuple[str, ...]
    rows_a: int
    rows_b: int
    unchanged: int = 0
    within_bound: int = 0
    added: int = 0
    removed: int = 0
    changed: int = 0
    repeated: int = 0
    vectors_changed: int = 0
    metadata_changed: int = 0
    parts: Mapping[str, int] = field(default_factory=dict)
    bound: str = ""
    bounds: Mapping[str, str] = field(default_factory=dict)
    by_recorded_hashes: bool = True
    level: str = "full"
    examples: tuple[Finding, ...] = ()
    seconds: float = 0.0
    notes: tuple[str, ...] = ()
    exit_code: int = 0


def diff(
    a: str | os.PathLike[str],
    b: str | os.PathLike[str],
    *,
    tolerance: Tolerance = None,
    level: str = "full",
    limits: Mapping[str, int] | None = None,
    memory_bytes: int = 1 << 30,
    progress: Progress | None = None,
    stop: Stop | None = None,
) -> DiffResult:
    """Compare two dumps.

    Args:
        a, b: folders or URLs of finished dumps.
        tolerance: largest relative error of a vector that counts as equal, for all vector fields or by name; None
            takes for each field the widest bound that the manifests state for it (Chroma cosine, Qdrant cosine), bit
            for bit when they state none.
        level: ``quick`` (identities, and that every shard is there), ``full`` (and every record, by the hashes that the
            dumps recorded) or ``deep`` (by hashes that are computed from the data).
        limits: raised bounds for reading, by name.
        memory_bytes: for DuckDB and buffers; more data spills to a temporary folder.
        progress, stop: as in ``export``.

    Raises:
        UsageError: an unknown level, or a tolerance for a vector that is not there.
        IntegrityError: a dump is damaged, or a shard of it is missing.
        VecportError: a dump cannot be read.
    """
    started = time.monotonic()
    progress, stop = progress or Silent(), stop or Stop()
    check_level(level)
    limited = DEFAULT_LIMITS.with_overrides(dict(limits or {}))
    left, right = open_dump(a, limited), open_dump(b, limited)
    bounds = checked_bounds(left.collection, right.collection, tolerance)
    changes = schema_changes(left.collection, right.collection)
    for dump in (left, right):
        check_present(dump)
    equal = left.manifest.identity == right.manifest.identity
    by_field = words_by_field(bounds)
    common: dict[str, Any] = {
        "a": left.url, "b": right.url, "schema_changes": changes, "rows_a": left.rows, "rows_b": right.rows,
        "bound": summary(by_field), "bounds": by_field, "level": level, "by_recorded_hashes": level != "deep",
    }  # fmt: skip
    notes = _partial_notes(left, right)
    if level != "deep" and (equal or level == "quick"):
        if not equal:
            notes += ("the identities differ; --level full says in which records, and whether they are within bounds",)
        if equal:
            common |= {"bound": words(EXACT), "bounds": dict.fromkeys(bounds, words(EXACT))}
        return DiffResult(
            **common, identical=equal, unchanged=left.rows if equal else 0, notes=notes,
            seconds=time.monotonic() - started, exit_code=0 if equal else 3,
        )  # fmt: skip
    tally, wrong = _compare(left, right, Judge(left.collection, right.collection, bounds), level == "deep",
                            memory_bytes, progress, stop)  # fmt: skip
    return DiffResult(
        **common, identical=equal and not tally.differs and not wrong, unchanged=tally.equal,
        within_bound=tally.within_bound, added=tally.extra, removed=tally.missing, changed=tally.changed,
        repeated=tally.repeated, vectors_changed=tally.vectors_changed, metadata_changed=tally.metadata_changed,
        parts=tally.parts, examples=tally.examples, notes=(*notes, *wrong), seconds=time.monotonic() - started,
        exit_code=3 if changes or tally.differs else 0,
    )  # fmt: skip


def _partial_notes(left: Dump, right: Dump) -> tuple[str, ...]:
    return tuple(
        f"{d.url} is a selection of its collection, not the whole" for d in (left, right) if not d.manifest.complete
    )


def _compare(
    left: Records, right: Records, judge: Judge, deep: bool, memory_bytes: int, progress: Progress, stop: Stop
) -> tuple[Tally, tuple[str, ...]]:
    tally = Tally()
    sides = Recorded(left, deep=deep), Recorded(right, deep=deep)
    with Located(memory_bytes // 2) as found, tempfile.TemporaryDirectory(prefix="vecport-diff-") as folder:
        progress.phase("compare records" if deep else "compare keys", left.rows + right.rows)
        for table, side in zip("ab", sides, strict=True):
            found.load(table, side.read(progress, stop))
        settle(found, tally)
        differ = found.differ()
        if differ:
            progress.phase("compare changed records", 2 * differ)
            spill = Spill(folder, memory_bytes // 8)
            names = page_schema(right.collection).names
            for theirs, places, partners in rows_of(right, found.pairs("b"), stop):
                spill.add(theirs.select(names), partners, places)
                progress.advance(len(places))
            judge_pairs(found, left, spill, judge, tally, progress, stop)
    wrong = tuple(
        f"{side.dump.url}: the hashes of {side.wrong:,} records are not those of their data: vecport validate"
        for side in sides if side.wrong
    )  # fmt: skip
    return tally, wrong
