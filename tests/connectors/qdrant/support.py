"""What Qdrant's tests share: collections and pages, written and read by the connector."""

from __future__ import annotations

import os
import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa
from qdrant_client import QdrantClient, models

from vecport.connectors.address import Place
from vecport.connectors.contract import Mark, Page, Selection, Target, TargetPlan
from vecport.connectors.decorators import checked_target
from vecport.connectors.qdrant import QdrantConnector, QdrantSource, wire
from vecport.errors import Unavailable
from vecport.model import canonical
from vecport.model.batch import dense_array, dense_matrix, make_page
from vecport.model.collection import Collection, VectorField

LIVE = os.environ.get("VECPORT_TEST_QDRANT", "")
CONNECTOR = QdrantConnector()
MARK = Mark("data/part-00000-00000.parquet", 0)
UUIDS = [
    "00000000-0000-0000-0000-000000000000",
    "00000000-0000-0000-0000-000000000001",
    "550e8400-e29b-41d4-a716-446655440000",
    "ffffffff-ffff-ffff-ffff-ffffffffffff",
]
HARD_IDS = ["0", "1", "2", "9223372036854775807", "9223372036854775808", "18446744073709551615", *UUIDS]


def collection(name: str, dim: int = 4, metric: str = "dot", vector: str = "") -> Collection:
    return Collection(name=name, id_kind="int|uuid", vectors=(VectorField(name=vector, dim=dim, metric=metric),))


def page(
    c: Collection, ids: Sequence[str], matrix: Any = None, metadata: Sequence[Any] | None = None, valid: Any = None
) -> pa.RecordBatch:
    field = c.vectors[0]
    if matrix is None:
        matrix = np.random.default_rng(len(ids)).normal(size=(len(ids), field.dim or 0))
    matrix = np.asarray(matrix, np.float32)
    texts = None if metadata is None else [m if isinstance(m, str) else canonical.dumps(m) for m in metadata]
    return make_page(c, ids=list(ids), metadata=texts, vectors={field.name: dense_array(matrix, field, valid)})


def write(place: Place, c: Collection, batch: pa.RecordBatch, **plan: Any) -> None:
    with checked_target(CONNECTOR.open_target(place, c.name), CONNECTOR.info.title) as target:
        target.prepare(TargetPlan(collection=c, rows=len(batch), **({"if_exists": "append"} | plan)))
        target.write(batch, MARK)


@contextmanager
def loading(target: Target, plan: TargetPlan) -> Iterator[None]:
    """The time of a load, with what the target changes for it."""
    effects = target.effects(plan)
    for effect in effects:
        target.apply(effect)
    try:
        yield
    finally:
        for effect in effects:
            target.undo(effect)


def source(place: Place, name: str, where: str | None = None) -> QdrantSource:
    found = CONNECTOR.open_source(place, name, Selection(where=where))
    assert isinstance(found, QdrantSource)
    return found


def read(place: Place, name: str, page_rows: int = 1000, where: str | None = None) -> pa.Table:
    with source(place, name, where) as session:
        batches = [p.batch for p in session.scan({}, None, page_rows)]
        return pa.Table.from_batches(batches) if batches else pa.table({"id": []})


def vectors(table: pa.Table, c: Collection) -> np.ndarray[Any, Any]:
    column = table.column(4).combine_chunks()
    return dense_matrix(column, c.vectors[0])[0]


def ids_of(pages: Sequence[Page]) -> list[str]:
    return [i for p in pages for i in p.batch.column("id").to_pylist()]


def ordered(ids: Sequence[str]) -> list[str]:
    return sorted(ids, key=lambda text: wire.ORDER.rank(wire.parse_key(text)))  # type: ignore[arg-type]


def mixed_ids(n: int, seed: int = 0) -> list[str]:
    rng = random.Random(seed)
    return [str(rng.getrandbits(64)) if i % 2 else str(uuid.UUID(int=rng.getrandbits(128))) for i in range(n)]


def make(official: QdrantClient, name: str, **config: Any) -> None:
    config.setdefault("vectors_config", models.VectorParams(size=2, distance=models.Distance.DOT))
    official.create_collection(name, **config)


DENSE = models.VectorParams(size=2, distance=models.Distance.DOT)


def eventually(call: Callable[[], Any]) -> Any:
    """What the retrying decorators do."""
    deadline = time.monotonic() + 15
    while True:
        try:
            return call()
        except Unavailable:
            if time.monotonic() > deadline:
                raise
            threading.Event().wait(0.1)


def eventually_equal(call: Callable[[], Any], expected: Any) -> None:
    deadline = time.monotonic() + 15
    while call() != expected and time.monotonic() < deadline:
        threading.Event().wait(0.05)
    assert call() == expected
