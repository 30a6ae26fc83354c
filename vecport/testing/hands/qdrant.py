"""Hands on Qdrant, with qdrant-client."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...connectors.address import Place
from ...model.collection import VectorField
from ..records import Record, Sparse, Vector
from . import Hands


class QdrantHands(Hands):
    """A server over gRPC, or a folder of local mode, which one client alone can hold: each call opens its own."""

    #: The key of the payload that holds the document.
    document = "document"

    def read(self, id: str) -> Record:
        with Client(self.place) as client:
            (point,) = client.retrieve(self.collection.name, [point_id(id)], with_payload=True, with_vectors=True)
        given = point.vector
        named = given if isinstance(given, dict) else {} if given is None else {"": given}
        vectors = {v.name: _read(named.get(v.name), v) for v in self.collection.vectors}
        payload = dict(point.payload or {})
        return Record(id, vectors, payload, payload.pop(self.document, None))

    def write(self, record: Record) -> None:
        from qdrant_client import models

        payload = dict(record.metadata)
        if record.document is not None:
            payload[self.document] = record.document
        named = {v.name: _spelled(record.vectors.get(v.name), v) for v in self.collection.vectors}
        named = {name: value for name, value in named.items() if value is not None}
        vector: Any = named.get("", named)
        with Client(self.place) as client:
            points = [models.PointStruct(id=point_id(record.id), vector=vector, payload=payload)]
            client.upsert(self.collection.name, points, wait=True)

    def delete(self, id: str) -> None:
        with Client(self.place) as client:
            client.delete(self.collection.name, [point_id(id)], wait=True)


class Client:
    """The official client on a place, closed behind the block, so that a folder is free again."""

    def __init__(self, place: Place) -> None:
        self._place = place

    def __enter__(self) -> Any:
        from qdrant_client import QdrantClient

        place = self._place
        if place.local:
            self._client = QdrantClient(path=place.path)
        else:
            port = place.port or 6333
            self._client = QdrantClient(
                place.host, port=port, grpc_port=port + 1, prefer_grpc=True, check_compatibility=False
            )
        return self._client

    def __exit__(self, *exc: object) -> None:
        self._client.close()


def point_id(text: str) -> int | str:
    """An id as the client has it."""
    return int(text) if text.isdecimal() else text


def _read(value: Any, field: VectorField) -> Vector:
    if value is None or (field.kind == "multi" and len(value) == 0):
        return None
    if field.kind == "sparse":
        order = np.argsort(value.indices)
        indices, values = np.asarray(value.indices)[order], np.asarray(value.values)[order]
        return Sparse(tuple(map(int, indices)), tuple(map(float, values)))
    return np.asarray(value, np.float32)


def _spelled(value: Any, field: VectorField) -> Any:
    from qdrant_client import models

    if value is None:
        return None
    if field.kind == "sparse":
        return models.SparseVector(indices=list(value.indices), values=list(value.values))
    return np.asarray(value).tolist()
