"""What Qdrant's tests stand on: one server a process, and the official client on it.

``VECPORT_TEST_QDRANT=qdrant://127.0.0.1:6333`` runs the tests against a live server.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
from qdrant_client import QdrantClient

from vecport.connectors.address import Place, parse
from vecport.connectors.qdrant.backend import ServerBackend
from vecport.connectors.qdrant.client import Server
from vecport.model.collection import Collection
from vecport.testing.engines import QdrantEngine

from .support import LIVE, collection, mixed_ids, page, write


@pytest.fixture(scope="session")
def place() -> Iterator[Place]:
    if LIVE:
        yield parse(LIVE)
        return
    with QdrantEngine() as engine:
        yield parse(engine.address)


@pytest.fixture(scope="session")
def official(place: Place) -> Iterator[QdrantClient]:
    found = QdrantClient(
        host=place.host,
        port=place.port,
        grpc_port=(place.port or 6333) + 1,
        prefer_grpc=True,
        check_compatibility=False,
    )
    yield found
    found.close()


@pytest.fixture
def name(official: QdrantClient, request: pytest.FixtureRequest) -> Iterator[str]:
    chosen = f"t-{uuid.uuid4().hex[:12]}"
    yield chosen
    official.delete_collection(chosen)


@pytest.fixture
def server(place: Place) -> Iterator[ServerBackend]:
    found = ServerBackend(Server(place))
    yield found
    found.close()


@pytest.fixture(scope="session")
def mixed(place: Place, official: QdrantClient) -> Iterator[Collection]:
    """500 records with integers and UUIDs as ids."""
    c = collection(f"t-mixed-{uuid.uuid4().hex[:8]}")
    ids = mixed_ids(500)
    write(place, c, page(c, ids, metadata=[{"i": i, "even": i % 2 == 0} for i in range(500)]))
    yield c
    official.delete_collection(c.name)
