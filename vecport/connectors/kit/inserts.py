"""``--on-conflict fail``: a record that is there with other content is an error, by the one judge.

``insert_only`` is for a database that has no write which fails on a record that is there, but one that leaves such
records alone. A page is compared with what is there, what is new is written in that way, and read again: whatever
another writer did between the two is found, and was not overwritten.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ...errors import AlreadyExists
from ...model.capabilities import TargetCapabilities
from ...model.collection import Collection
from ...model.compare import Judge
from . import requests

Mask = npt.NDArray[np.bool_]
_CHOICE = "--on-conflict fail was chosen"
_NEXT = "keep what is there: --on-conflict skip; or take the dump's: --on-conflict replace"


def sameness(collection: Collection, caps: TargetCapabilities) -> Callable[[pa.RecordBatch, pa.RecordBatch], Mask]:
    """What says which records of our page are those that a target gives back, each vector within its own bound.

    Args:
        collection: of both, as the target holds it.
        caps: of the target.

    Returns:
        A function of our records and theirs, with equal ids in the same order, that gives (n,) bool.
    """
    bounds = {v.name: b for v in collection.vectors if (b := caps.bound_of(v.metric, v.dtype)) is not None}
    judge = Judge(collection, collection, bounds)
    return lambda ours, theirs: judge.compare(ours, theirs).within


def refuse_other_content(
    batch: pa.RecordBatch,
    collection: str,
    *,
    fetch: Callable[[pa.RecordBatch], pa.RecordBatch],
    same: Callable[[pa.RecordBatch, pa.RecordBatch], Mask],
    rows: int,
    most_bytes: int,
    safe: str,
) -> int:
    """Compare records with those that are there.

    Args:
        batch: a page, each id once.
        collection: its name, for messages.
        fetch: the records that are there of a page's ids, as a page in any order.
        same: as ``sameness`` gives it.
        rows: that are fetched at once at most.
        most_bytes: that are fetched at once, about.
        safe: what is safe when one differs.

    Returns:
        How many are there.

    Raises:
        AlreadyExists: a record is there with other content; it names the id.
    """
    found = 0
    for piece in requests.pieces(batch, rows, most_bytes):
        theirs = fetch(piece)
        places = pc.index_in(theirs.column("id"), value_set=piece.column("id"))
        if places.null_count:
            # The same key for the database, spelled otherwise.
            raise conflict(theirs.column("id").filter(pc.is_null(places))[0].as_py(), collection, safe)
        other = np.flatnonzero(~same(piece.take(places), theirs))
        if len(other):
            raise conflict(theirs.column("id")[int(other[0])].as_py(), collection, safe)
        found += theirs.num_rows
    return found


def insert_only(
    batch: pa.RecordBatch,
    collection: str,
    *,
    existing: Callable[[Sequence[str]], Sequence[str]],
    fetch: Callable[[pa.RecordBatch], pa.RecordBatch],
    write: Callable[[pa.RecordBatch], None],
    same: Callable[[pa.RecordBatch, pa.RecordBatch], Mask],
    rows: int,
    most_bytes: int,
) -> None:
    """Add the records of a page; those that are there with the same content may stay.

    Args:
        batch: a page, each id once.
        collection: its name, for messages.
        existing: which of some ids are there.
        fetch, same, rows, most_bytes: as in ``refuse_other_content``. A record that is gone meanwhile is no conflict.
        write: adds records, and leaves alone those that are there.

    Raises:
        AlreadyExists: a record is there with other content; it names the id.
    """

    def compare(ours: pa.RecordBatch, safe: str) -> None:
        refuse_other_content(ours, collection, fetch=fetch, same=same, rows=rows, most_bytes=most_bytes, safe=safe)

    ids: Any = batch.column("id")
    there = pc.is_in(ids, value_set=pa.array(list(existing(ids.to_pylist())), pa.string()))
    compare(batch.filter(there), "nothing of its row group was written")
    new = batch.filter(pc.invert(there))
    if new.num_rows:
        write(new)
        compare(new, "it was written meanwhile and is kept; others of its row group may have been written")


def conflict(id: str, collection: str, safe: str) -> AlreadyExists:
    """The error for a record that is there with other content."""
    return AlreadyExists(
        f"record {id!r} is in collection {collection!r} already, with other content", _CHOICE, safe, _NEXT
    )
