"""The contract suite over Qdrant: the real engine behind its gRPC API, and a folder of the client's local mode.

``VECPORT_TEST_QDRANT=qdrant://host:6333`` runs the first against a live server.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from vecport.connectors.address import Place, parse
from vecport.connectors.qdrant import QdrantConnector
from vecport.model.collection import Collection
from vecport.testing.contract import Bench, ConnectorContract, Record, engine_missing
from vecport.testing.engines import EngineError, QdrantEngine
from vecport.testing.hands import Hands
from vecport.testing.hands.qdrant import Client, QdrantHands, point_id


class TestQdrantServer(ConnectorContract):
    connector = QdrantConnector()

    @pytest.fixture(scope="class")
    def place(self, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
        live = os.environ.get("VECPORT_TEST_QDRANT")
        if live:
            yield parse(live)
            return
        try:
            engine = QdrantEngine(tmp_path_factory.mktemp("qdrant")).start()
        except EngineError as e:
            engine_missing(str(e))
        with engine:
            yield parse(engine.address)

    def where(self, bench: Bench) -> tuple[str, Callable[[Record], bool]]:
        filter_ = {"must": [{"key": "even", "match": {"value": True}}]}
        return json.dumps(filter_), lambda record: record.metadata["even"] is True

    def hands(self, place: Place, collection: Collection) -> Hands:
        return QdrantHands(place, collection)

    def native_put(self, place: Place, collection: Collection, records: Sequence[Record]) -> None:
        from qdrant_client import models

        field, distances = collection.vectors[0], {"cosine": "Cosine", "dot": "Dot", "l2": "Euclid", "l1": "Manhattan"}
        params = models.VectorParams(size=field.dim, distance=models.Distance(distances[field.metric]))
        with Client(place) as client:
            client.create_collection(collection.name, vectors_config=params)
            points = [
                models.PointStruct(
                    id=point_id(r.id), vector=np.asarray(r.vectors[field.name]).tolist(), payload=dict(r.metadata)
                )
                for r in records
            ]
            client.upsert(collection.name, points, wait=True)

    def native_get(self, place: Place, collection: Collection) -> list[Record]:
        with Client(place) as client:
            points, end = client.scroll(collection.name, limit=1000, with_payload=True, with_vectors=True)
        assert end is None
        name = collection.vectors[0].name
        return [Record(str(p.id), {name: np.asarray(p.vector, np.float32)}, p.payload or {}) for p in points]


class TestQdrantFolder(TestQdrantServer):
    @pytest.fixture
    def place(self, tmp_path: Path) -> Place:
        return parse(f"qdrant:{tmp_path / 'folder'}")
