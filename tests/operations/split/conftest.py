"""What the tests of ``--namespaces split`` stand on: a dump of four namespaces, and places."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.operations.rooms import fill, room
from vecport.operations.export import export

from .support import records_of


@pytest.fixture(scope="session")
def dump(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Several shards of several row groups; a shard's groups have other namespaces than its neighbours'."""
    folder = tmp_path_factory.mktemp("split") / "dump"
    with room() as place:
        fill(place, records_of())
        export(place, folder, shard_rows=5)
    return folder


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    from vecport.testing.engines.postgres import PostgresEngine

    with PostgresEngine(fsync=False) as engine:
        yield engine.address


@pytest.fixture(scope="session")
def qdrant() -> Iterator[str]:
    from vecport.testing.engines.qdrant import QdrantEngine

    with QdrantEngine() as engine:
        yield engine.address


@pytest.fixture(params=["memory", "chroma", "qdrant", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "chroma":
        yield f"chroma:{tmp_path / 'chroma'}"
    elif request.param == "memory":
        with room() as made:
            yield made
    else:
        yield str(request.getfixturevalue(request.param))
