"""``--on-conflict fail`` for a database that has no write which fails on a record that is there.

It needs a write that leaves such records alone. A page is compared with what is there, what is new is written in that
way, and read again: whatever another writer did between the two is found, and was not overwritten.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ...errors import AlreadyExists
from . import requests

Mask = npt.NDArray[np.bool_]
_CHOICE = "--on-conflict fail was chosen"
_NEXT = "keep what is there: --on-conflict skip; or take the dump's: --on-conflict replace"


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
        fetch: the records that are there of a page's ids, as a page in any order.
        write: adds records, and leaves alone those that are there.
        same: which records of our page are those of theirs, (n,) bool; ids in the same order.
        rows: that are fetched at once at most.
        most_bytes: that are fetched at once, about.

    Raises:
        AlreadyExists: a record is there with other content; it names the id.
    """

    def compare(ours: pa.RecordBatch, safe: str) -> None:
        for piece in requests.pieces(ours, rows, most_bytes):
            theirs = fetch(piece)
            # A record that is gone meanwhile is no conflict.
            mine = piece.take(pc.index_in(theirs.column("id"), value_set=piece.column("id")))
            other = np.flatnonzero(~same(mine, theirs))
            if len(other):
                raise conflict(theirs.column("id")[int(other[0])].as_py(), collection, safe)

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
