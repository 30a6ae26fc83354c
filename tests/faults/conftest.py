"""Rows, engines and folders that the fault tests share."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from vecport.operations.export import export

ROWS = 600


@pytest.fixture(scope="session")
def rows_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """600 records of 8 dimensions with documents, nested metadata and missing keys."""
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    rng = np.random.default_rng(5)
    with path.open("w") as f:
        for i in range(ROWS):
            metadata = {"n": i, "name": f"näme {i}", "tags": ["a", "b"][: i % 3]} | ({"x": i / 7} if i % 5 else {})
            row = {"id": f"r{i:04d}", "vector": rng.standard_normal(8).astype("f4").tolist(), "metadata": metadata}
            f.write(json.dumps(row | ({"document": f"text {i}"} if i % 2 else {})) + "\n")
    return path


@pytest.fixture(scope="session")
def dump(rows_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dump of ``rows_file`` in six shards."""
    folder = tmp_path_factory.mktemp("dump") / "dump"
    export(f"jsonl:{rows_file}", folder, shard_rows=100, source_options={"metric": "cosine"})
    return folder


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The address of a real Postgres with pgvector."""
    from vecport.testing.engines.postgres import PostgresEngine

    with PostgresEngine() as engine:
        yield engine.address


@pytest.fixture(scope="session")
def qdrant() -> Iterator[str]:
    """The address of the real Qdrant engine behind its gRPC service."""
    from vecport.testing.engines.qdrant import QdrantEngine

    with QdrantEngine() as engine:
        yield engine.address
