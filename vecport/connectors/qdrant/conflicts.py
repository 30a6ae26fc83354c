"""``--on-conflict fail``: records are added, none is replaced, and one that is there with other content is an error.

Qdrant has no write that fails on a point that is there, but one that leaves it alone (``insert_only``). So a page is
compared with what is there, what is new is written in that way, and read again: whatever another writer did between
the two is found, and was not overwritten.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ...errors import AlreadyExists, UsageError
from ...model.batch import make_page
from ...model.collection import Collection
from ...model.compare import Judge
from ..contract import TargetPlan
from . import packing, schema
from .backend import REQUEST_BYTES, Backend, Read

#: Ids that are looked up in one request.
KEY_ROWS: Final = 10_000
Mask = npt.NDArray[np.bool_]
_CHOICE: Final = "--on-conflict fail was chosen"
_NEXT: Final = "keep what is there: --on-conflict skip; or take the dump's: --on-conflict replace"


def check_readable(plan: TargetPlan, info: Any, backend: Backend) -> None:
    """Refuse a collection whose records cannot be compared with a dump's.

    Args:
        plan: of the import.
        info: ``CollectionInfo`` of what exists.
        backend: its place.

    Raises:
        UsageError: reads do not show every record, or give back approximations of vectors.
    """
    fields = schema.read_collection(plan.collection.name, info, backend.pb, datatypes=backend.datatypes).vectors
    quantised = [v.name for v in fields if v.fidelity == "quantised"]
    why = f"vector {quantised[0]!r} comes back as an approximation" if quantised else ""
    if plan.if_exists == "append" and info.config.optimizer_config.prevent_unoptimized:
        why = "prevent_unoptimized hides records from reads until they are indexed"
    if why:
        raise UsageError(
            f"--on-conflict fail: records of collection {plan.collection.name!r} cannot be compared with the dump's",
            why, "nothing was written", "choose --on-conflict skip or replace",
        )  # fmt: skip


def insert(backend: Backend, name: str, collection: Collection, batch: pa.RecordBatch, rows: int) -> None:
    """Add the records of a page; those that are there with the same content may stay.

    Args:
        backend: the place.
        name: of the collection there.
        collection: its schema.
        batch: a page of it.
        rows: in one request at most.

    Raises:
        AlreadyExists: a record is there with other content.
    """
    there = _existing(backend, name, batch)
    _compare(backend, name, collection, batch.filter(there), rows, "nothing of its row group was written")
    new = batch.filter(pc.invert(there))
    if new.num_rows:
        backend.upsert(name, collection, new, rows, skip=True)
        safe = "it was written meanwhile and is kept; others of its row group may have been written"
        _compare(backend, name, collection, new, rows, safe)


def _existing(backend: Backend, name: str, batch: pa.RecordBatch) -> pa.Array[Any]:
    """Which records of a page have an id that is there, (n,) bool."""
    keys, read, found = packing.checked_keys(batch), Read(name, None), list[str]()
    for start in range(0, len(keys), KEY_ROWS):
        found += map(str, backend.get(read, keys[start : start + KEY_ROWS]).keys)
    return pc.is_in(batch.column("id"), value_set=pa.array(found, pa.string()))


def _compare(backend: Backend, name: str, collection: Collection, batch: pa.RecordBatch, rows: int, safe: str) -> None:
    """Raise for the first record that is there with other content; one that is gone is none."""
    for ours in _pieces(batch, rows):
        found = backend.get(Read(name, collection.vectors), packing.checked_keys(ours))
        there_ids = list(map(str, found.keys))
        theirs = make_page(collection, ids=there_ids, metadata=found.metadata, vectors=found.vectors)
        ours = ours.take(pc.index_in(theirs.column("id"), value_set=ours.column("id")))
        other = np.flatnonzero(~same_content(ours, theirs, collection))
        if len(other):
            raise AlreadyExists(
                f"record {there_ids[int(other[0])]!r} is in collection {name!r} already, with other content",
                _CHOICE, safe, _NEXT,
            )  # fmt: skip


def _pieces(batch: pa.RecordBatch, rows: int) -> Iterator[pa.RecordBatch]:
    """Cut a page, so that what is read of it at once is about as large as a request."""
    each = max(1, batch.nbytes // max(1, batch.num_rows))
    step = max(1, min(rows, REQUEST_BYTES // each))
    for start in range(0, batch.num_rows, step):
        yield batch.slice(start, step)


def same_content(ours: pa.RecordBatch, theirs: pa.RecordBatch, collection: Collection) -> Mask:
    """Which records of a page are those that a collection holds, (n,) bool.

    Args:
        ours: records as they are written.
        theirs: records as Qdrant gives them back, of the same ids in the same order.
        collection: the schema of both.
    """
    bounds = {v.name: bound for v in collection.vectors if (bound := schema.bound_of(v.metric, v.dtype)) is not None}
    return Judge(collection, collection, bounds).compare(ours, theirs).within
