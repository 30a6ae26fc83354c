"""Sizes and times that a plan tells, each with the basis it stands on. An estimate without a basis is not made."""

from __future__ import annotations

import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..connectors.address import Place
from ..dump.layout import row_bytes
from ..model.collection import Collection, VectorField

#: Records a second that were read from and written to each database, and the bytes of such a record: 200,000 records of
#: 384 dimensions and 8 metadata fields, the database and vecport on the same 2 processors (``benchmarks/run.py``).
_READ = {"postgres": 47_783, "qdrant": 18_382, "chroma": 10_290}
_WRITE = {"postgres": 57_470, "qdrant": 11_362, "chroma": 1_686}
_RATED_ROW_BYTES = 400 + 4 * 384
_RATED = "records/s with the database on the same 2 processors"
#: A quiet machine is faster, a database behind a network is slower, by up to these factors.
_FASTEST, _SLOWEST = 0.5, 4.0
#: Size of a shard over the bytes of its rows in memory, measured on real embeddings.
_COMPRESSION = 0.85
#: Neighbours of an HNSW node where nobody says otherwise; the lowest layer has twice as many.
_HNSW_M = 16
_STAGE_READ, _STAGE_WRITE = 2_000_000_000, 200_000_000


@dataclass(frozen=True, slots=True)
class Estimate:
    """One figure of a plan.

    Attributes:
        what: in a few words.
        low, high: the figure as a range, equal where it is one figure; None when it is not known.
        unit: ``requests``, ``bytes`` or ``s``.
        basis: what it stands on.
    """

    what: str
    low: float | None
    high: float | None
    unit: str
    basis: str

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def _about(what: str, value: float | None, unit: str, basis: str) -> Estimate:
    return Estimate(what, value, value, unit, basis)


def reading(rows: int | None, page_rows: int, record_bytes: int, basis: str) -> list[Estimate]:
    """Requests and bytes on the wire of an export.

    Args:
        rows: of the selection, None when the place does not count.
        page_rows: of a request.
        record_bytes: of a record as Arrow holds it.
        basis: where ``record_bytes`` comes from.
    """
    requests = None if rows is None else -(-rows // page_rows) + 3
    return [
        _about("requests to read", requests, "requests", f"pages of {page_rows:,} records, and what is asked once"),
        _about("bytes to read", None if rows is None else rows * record_bytes, "bytes", basis),
    ]


def writing(rows: int | None, write_rows: int, record_bytes: int, basis: str) -> list[Estimate]:
    """Requests and bytes on the wire of an import; the arguments are those of ``reading``."""
    requests = None if rows is None else -(-rows // write_rows) + 5
    return [
        _about("requests to write", requests, "requests", f"up to {write_rows:,} records each, and what is asked once"),
        _about("bytes to write", None if rows is None else rows * record_bytes, "bytes", basis),
    ]


def dump_size(rows: int | None, record_bytes: int, basis: str) -> Estimate:
    """Of the dump that an export would make."""
    size = None if rows is None else int(rows * record_bytes * _COMPRESSION)
    return _about("dump", size, "bytes", f"{_COMPRESSION} of the records' bytes, measured on real embeddings; {basis}")


def target_memory(rows: int | None, collection: Collection) -> list[Estimate]:
    """RAM and disk that the target needs for the vectors of a collection, its index included."""
    indexed = [v for v in collection.vectors if v.kind in ("dense", "binary")]
    out: list[Estimate] = []
    if indexed:
        each = sum(_vector_bytes(v) + 8 * _HNSW_M for v in indexed)
        size = None if rows is None else rows * each
        basis = f"HNSW as hnswlib states it: bytes of the vector and 8 x M a record, M = {_HNSW_M}"
        out.append(_about("index in memory", size, "bytes", basis))
    for v in collection.vectors:
        if v.kind not in ("dense", "binary"):
            out.append(_about(f"index of vector {v.name!r}", None, "bytes", f"unknown for {v.kind} vectors"))
    size = None if rows is None else rows * (row_bytes(collection) + sum(8 * _HNSW_M for _ in indexed))
    out.append(_about("disk of the target", size, "bytes", "records of 400 bytes besides vectors, and the index once"))
    return out


def _vector_bytes(v: VectorField) -> int:
    if v.kind == "binary":
        return (v.dim or 0) // 8 + 1
    return (v.dim or 0) * {"float64": 8, "float16": 2, "bfloat16": 2, "int8": 1, "uint8": 1}.get(v.dtype, 4)


def read_time(connector: str, rows: int | None, record_bytes: int) -> Estimate:
    """Of the read phase of an export."""
    return _time("read", _READ.get(connector), connector, rows, record_bytes)


def write_time(connector: str, rows: int | None, record_bytes: int) -> Estimate:
    """Of the write phase of an import, without building an index behind it."""
    return _time("write", _WRITE.get(connector), connector, rows, record_bytes)


def check_time(size_bytes: int | None) -> Estimate:
    """Of hashing a dump before an import."""
    basis = "SHA-256 at 0.2 to 2 GB a second"
    if size_bytes is None:
        return _about("time to check the dump", None, "s", basis)
    return Estimate("time to check the dump", size_bytes / _STAGE_READ, size_bytes / _STAGE_WRITE, "s", basis)


def _time(phase: str, rate: int | None, connector: str, rows: int | None, record_bytes: int) -> Estimate:
    if rate is None or rows is None:
        why = (
            f"unknown: no rate was measured for {connector}" if rate is None else "unknown: the records are not counted"
        )
        return _about(f"time to {phase}", None, "s", why)
    seconds = rows / rate * max(0.25, record_bytes / _RATED_ROW_BYTES)
    basis = f"{rate:,} {_RATED}; half to {_SLOWEST:g} times that"
    return Estimate(f"time to {phase}", seconds * _FASTEST, seconds * _SLOWEST, "s", basis)


def free_space(place: Place) -> dict[str, Any] | None:
    """Where a local place would be, and how much room is there; None for what is in no folder."""
    if not place.local or not place.path or place.path == "-" or place.scheme == "memory":
        return None
    folder = Path(os.path.abspath(os.path.expanduser(place.path)))
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    return {"folder": str(folder), "free_bytes": shutil.disk_usage(folder).free}
