"""Hands on collections in the memory of this process."""

from __future__ import annotations

import pyarrow as pa

from ...connectors.address import Place, with_options
from ...connectors.contract import Mark, Selection, TargetPlan
from ...connectors.memory import MemoryConnector
from ...model import canonical
from ...model.collection import Collection
from ..records import Record, Sparse, Vector, batch_of
from ..seen import seen
from . import Hands


class MemoryHands(Hands):
    """There is no client but the store itself, which they reach whether its collection sleeps or not."""

    def __init__(self, place: Place, collection: Collection) -> None:
        awake = {name: value for name, value in place.options.items() if name != "sleeps"}
        super().__init__(with_options(place, awake), collection)

    def read(self, id: str) -> Record:
        with MemoryConnector().open_source(self.place, self.collection.name, Selection()) as source:
            source.attach(source.snapshot())
            batch: pa.RecordBatch = source.fetch([("", id)])
        (found,) = seen(batch, self.collection)
        vectors: dict[str, Vector] = {}
        for field in self.collection.vectors:
            value = found.vectors[field.name]
            if value is not None and field.kind == "sparse":
                value = Sparse(tuple(map(int, value[0])), tuple(map(float, value[1])))
            elif value is not None and field.kind == "binary":
                value = _bits(value, field.dim or 0)
            vectors[field.name] = value
        return Record(id, vectors, canonical.loads(found.metadata), found.document)

    def write(self, record: Record) -> None:
        with MemoryConnector().open_target(self.place, self.collection.name) as target:
            target.attach(TargetPlan(self.collection, 1, if_exists="append"))
            target.write(batch_of([record], self.collection), Mark("by hand", 0))

    def delete(self, id: str) -> None:
        with MemoryConnector().open_target(self.place, self.collection.name) as target:
            target.delete([("", id)])


def _bits(packed: bytes, dim: int) -> Vector:
    import numpy as np

    return np.unpackbits(np.frombuffer(packed, np.uint8))[:dim]
