"""The contract suite over Chroma: a folder of this machine, and a real server.

``VECPORT_TEST_CHROMA=chroma://host:8000`` runs the second against a live server.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vecport.connectors.address import Place, parse
from vecport.connectors.chroma import ChromaConnector
from vecport.model.collection import Collection
from vecport.testing.contract import Bench, ConnectorContract, Record, engine_missing
from vecport.testing.engines import ChromaEngine, EngineError
from vecport.testing.hands import Hands
from vecport.testing.hands.chroma import ChromaHands, Client


class TestChromaFolder(ConnectorContract):
    connector = ChromaConnector()

    @pytest.fixture
    def place(self, tmp_path: Path) -> Place:
        return parse(f"chroma:{tmp_path / 'folder'}")

    def hands(self, place: Place, collection: Collection) -> Hands:
        return ChromaHands(place, collection)

    def where(self, bench: Bench) -> tuple[str, Callable[[Record], bool]]:
        return json.dumps({"number": {"$gte": 12}}), lambda record: record.metadata["number"] >= 12


class TestChromaServer(TestChromaFolder):
    @pytest.fixture(scope="class", autouse=True)
    def _one_certificate(self, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
        """Every HTTP client loads the certificate store, three in a session; over plain HTTP one will do."""
        import certifi

        end = "-----END CERTIFICATE-----"
        path = tmp_path_factory.mktemp("tls") / "one.pem"
        path.write_text(Path(certifi.where()).read_text().partition(end)[0] + end + "\n")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SSL_CERT_FILE", str(path))
            yield

    @pytest.fixture(scope="class")
    def place(self, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
        live = os.environ.get("VECPORT_TEST_CHROMA")
        if live:
            yield parse(live)
            return
        try:
            engine = ChromaEngine(tmp_path_factory.mktemp("chroma")).start()
        except EngineError as e:
            engine_missing(str(e))
        with engine:
            yield parse(engine.address)

    def native_put(self, place: Place, collection: Collection, records: Sequence[Record]) -> None:
        space, name = {"l2": "l2", "dot": "ip", "cosine": "cosine"}, collection.vectors[0].name
        configuration: Any = {"hnsw": {"space": space[collection.vectors[0].metric]}}
        with Client(place) as client:
            made = client.create_collection(collection.name, configuration=configuration, embedding_function=None)
            for with_document in (True, False):
                some = [r for r in records if (r.document is not None) == with_document]
                made.add(
                    ids=[r.id for r in some],
                    embeddings=np.stack([np.asarray(r.vectors[name]) for r in some]),
                    metadatas=[dict(r.metadata) for r in some],
                    documents=[r.document for r in some] if with_document else None,
                )

    def native_get(self, place: Place, collection: Collection) -> list[Record]:
        with Client(place) as client:
            found: Any = client.get_collection(collection.name, embedding_function=None)
            rows = found.get(include=["embeddings", "metadatas", "documents"])
        name = collection.vectors[0].name
        return [
            Record(i, {name: np.asarray(e, np.float32)}, m or {}, d)
            for i, e, m, d in zip(rows["ids"], rows["embeddings"], rows["metadatas"], rows["documents"], strict=True)
        ]
