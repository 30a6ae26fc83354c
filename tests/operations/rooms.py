"""Collections in memory for tests of operations: filled and read past the operations themselves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Any

import numpy as np

from vecport.connectors.address import parse
from vecport.connectors.contract import Mark, Selection, TargetPlan
from vecport.connectors.memory import MemoryConnector, forget
from vecport.model import canonical
from vecport.model.collection import Collection, VectorField
from vecport.testing.records import Record, batch_of
from vecport.testing.seen import seen

DIM = 4
_numbers = count(1)


def collection(name: str = "docs", id_kind: str = "string", **vector: Any) -> Collection:
    """One dense vector of four elements."""
    return Collection(name, id_kind, (VectorField("", dim=DIM, **{"metric": "l2", **vector}),))


def record(id_: str, n: float = 0.0, namespace: str = "", document: str | None = None, **metadata: Any) -> Record:
    """A record whose vector and metadata follow from ``n``."""
    return Record(id_, {"": np.array([n, 1, 2, 3], np.float32)}, {"n": n, **metadata}, document, namespace)


@contextmanager
def room() -> Iterator[str]:
    """The address of a place that nobody else uses, gone afterwards."""
    name = f"room{next(_numbers)}"
    try:
        yield f"memory:{name}"
    finally:
        forget(name)


def fill(address: str, records: Sequence[Record], made: Collection | None = None, **plan: Any) -> None:
    """Write records as an application does, replacing those that are there."""
    made = made or collection()
    with MemoryConnector().open_target(parse(address), made.name) as target:
        asked = TargetPlan(made, len(records), if_exists="append", **plan)
        target.prepare(asked)
        target.attach(asked)
        if records:
            target.write(batch_of(records, made), Mark("application", 0))


def remove(address: str, ids: Sequence[str], name: str = "docs") -> None:
    """Delete records of the default namespace, as an application does."""
    with MemoryConnector().open_target(parse(address), name) as target:
        target.delete([("", i) for i in ids])


def held(address: str, name: str = "docs") -> dict[tuple[str, str], Any]:
    """The metadata of what is there, by (namespace, id)."""
    with MemoryConnector().open_source(parse(address), name, Selection()) as source:
        described = source.describe().collection
        token = source.snapshot()
        source.attach(token)
        pages = [page for part in source.partitions(1000, token) for page in source.scan(part, None, 1000)]
    return {s.key: canonical.loads(s.metadata) for page in pages for s in seen(page.batch, described)}
