"""What Chroma's tests stand on: one server a process, and folders of each test's own."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vecport.testing.engines.chroma import ChromaEngine

from .support import raw


@pytest.fixture(scope="session")
def server() -> Iterator[ChromaEngine]:
    with ChromaEngine() as engine:
        yield engine


@pytest.fixture
def raw_server(server: ChromaEngine) -> Iterator[Any]:
    chromadb = pytest.importorskip("chromadb")
    client = chromadb.HttpClient("127.0.0.1", server.port)
    yield client
    client.close()


@pytest.fixture(autouse=True)
def own_temporary_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copies of tests that run at the same time are kept apart."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("tmp")))


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a collection of 1,500 records, some of them only in the queue, and another collection."""
    path = tmp_path_factory.mktemp("template") / "db"
    matrix = np.random.default_rng(1).standard_normal((1500, 8)).astype(np.float32)
    with raw(path) as client:
        docs = client.create_collection("docs", embedding_function=None, metadata={"owner": "me"})
        for part in (slice(0, 1100), slice(1100, 1500)):
            numbers = range(1500)[part]
            docs.add(
                ids=[f"id{i}" for i in numbers],
                embeddings=matrix[part],
                metadatas=[{"n": i} for i in numbers],
                documents=[f"text {i}" for i in numbers],
            )
        other = client.create_collection("other", embedding_function=None, configuration={"hnsw": {"space": "ip"}})
        other.add(ids=["a"], embeddings=[[1.0, 2.0]])
    return path


@pytest.fixture
def filled(template: Path, tmp_path: Path) -> Path:
    """A copy of the template of the test's own."""
    return Path(shutil.copytree(template, tmp_path / "db"))


@pytest.fixture(params=["folder", "server"])
def anywhere(request: pytest.FixtureRequest, tmp_path: Path, server: ChromaEngine) -> str:
    return f"chroma:{tmp_path / 'target'}" if request.param == "folder" else server.address


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[Any]:
    with raw(tmp_path / "scratch") as client:
        yield client


@pytest.fixture(params=["folder", "server"])
def place(request: pytest.FixtureRequest, tmp_path: Path, server: ChromaEngine) -> str:
    return server.address if request.param == "server" else f"chroma:{tmp_path / 'db'}"


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    return "".join(c if c.isalnum() else "-" for c in request.node.name)[:100].strip("-")
