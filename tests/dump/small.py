"""A small dump for tests to damage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from vecport.dump.dump import publish
from vecport.dump.layout import Cut
from vecport.dump.manifest import Manifest, ShardEntry
from vecport.dump.store import LocalStore, Store
from vecport.dump.writer import DumpWriter
from vecport.model.collection import Collection, VectorField
from vecport.testing.records import Record, Sparse, batch_of

COLLECTION = Collection(
    "small",
    vectors=(VectorField("dense", dim=8, metric="cosine"), VectorField("sparse", kind="sparse", metric="dot")),
)


def records(first: int, count: int) -> list[Record]:
    """Records whose content follows from their numbers."""
    return [
        Record(
            f"record {n}",
            {"dense": np.arange(n, n + 8, dtype=np.float32) / 7, "sparse": Sparse((n, n + 5), (0.5, n / 3))},
            {"n": n, "color": ["red", "blue"][n % 2]},
            None if n % 3 else f"The text of record {n}.",
            namespace="" if n % 5 else "tenant",
        )
        for n in range(first, first + count)
    ]


def write_shards(store: Store, shards: int = 3, rows: int = 20) -> list[ShardEntry]:
    """Shards of two row groups each."""
    entries = []
    for number in range(shards):
        with DumpWriter(store, COLLECTION, Cut(rows // 2, rows), partition=number) as writer:
            entries += writer.add(batch_of(records(number * rows, rows), COLLECTION))
            entries += writer.close()
    return entries


def manifest_of(entries: list[ShardEntry], **changes: Any) -> Manifest:
    facts: dict[str, Any] = {
        "collection": COLLECTION,
        "shards": tuple(entries),
        "dump_id": "00000000-0000-4000-8000-000000000000",
        "created_at": "2026-01-02T03:04:05Z",
        "completed_at": "2026-01-02T03:04:06Z",
        "writer": {"name": "vecport", "version": "test"},
        "source": {"system": "test", "consistency": {"kind": "snapshot"}},
        "selection": {},
        "complete": True,
    }
    return Manifest(**(facts | changes))


def small_dump(folder: Path, shards: int = 3, rows: int = 20) -> Manifest:
    """Write a dump into a folder."""
    store = LocalStore(str(folder))
    store.prepare()
    return publish(store, manifest_of(write_shards(store, shards, rows)))
