"""``--on-conflict fail``: records are added, none is replaced, and one that is there with other content is an error.

Qdrant has no write that fails on a point that is there, but one that leaves it alone (``insert_only``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import pyarrow as pa

from ...errors import UsageError
from ...model.batch import make_page
from ...model.collection import Collection
from ..contract import TargetPlan
from ..kit.inserts import insert_only, sameness
from . import packing, schema, wire
from .backend import REQUEST_BYTES, Backend, Read

#: Ids that are looked up in one request.
KEY_ROWS: Final = 10_000


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

    def existing(ids: Sequence[str]) -> list[str]:
        keys = [key for key in map(wire.parse_key, ids) if key is not None]
        chunks = (keys[start : start + KEY_ROWS] for start in range(0, len(keys), KEY_ROWS))
        return [str(key) for chunk in chunks for key in backend.get(Read(name, None), chunk).keys]

    def fetch(ours: pa.RecordBatch) -> pa.RecordBatch:
        found = backend.get(Read(name, collection.vectors), packing.checked_keys(ours))
        return make_page(collection, ids=list(map(str, found.keys)), metadata=found.metadata, vectors=found.vectors)

    insert_only(
        batch, name, existing=existing, fetch=fetch,
        write=lambda new: backend.upsert(name, collection, new, rows, skip=True),
        same=sameness(collection, schema.CAPABILITIES),
        rows=rows, most_bytes=REQUEST_BYTES,
    )  # fmt: skip
