"""Installed, the plugin is a database like any other: listed, copied into and compared by the commands."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import chromadb
import pyarrow.parquet as pq
import pytest

RECORDS = 60


@pytest.fixture
def vecport(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    environment = {**os.environ, "VECPORT_STATE_DIR": str(tmp_path / "state")}

    def run(*arguments: str, status: int = 0) -> str:
        command = [sys.executable, "-m", "vecport.cli", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout

    return run


@pytest.fixture
def notes(tmp_path: Path) -> None:
    """A collection in Chroma, as an application has it."""
    client = chromadb.PersistentClient(str(tmp_path / "chroma"))
    collection = client.create_collection("notes", configuration={"hnsw": {"space": "l2"}})
    collection.add(
        ids=[f"note {n}" for n in range(RECORDS)],
        embeddings=[[n / 7, 1.0 - n, 0.5, n * n] for n in range(RECORDS)],
        metadatas=[{"year": 2000 + n, "genre": "travel" if n % 2 else "food"} for n in range(RECORDS)],
        documents=[f"text {n}" for n in range(RECORDS)],
    )
    client.close()


def records(dump: str) -> dict[str, list[Any]]:
    """What is in a dump, without the hashes."""
    table = pq.read_table(Path(dump) / "data").to_pydict()
    return {name: values for name, values in table.items() if not name.startswith("_")}


def test_it_is_listed(vecport) -> None:
    entries = {entry["name"]: entry for entry in json.loads(vecport("connectors", "--json"))["entries"]}
    assert entries["sqlite-vec"]["schemes"] == ["sqlite-vec"]


def test_a_collection_goes_from_chroma_to_sqlite_and_is_the_same(vecport, notes: None) -> None:
    vecport("copy", "chroma:./chroma", "sqlite-vec:./notes.db")
    assert "notes" in vecport("ls", "sqlite-vec:./notes.db")
    assert f"{RECORDS}" in vecport("ls", "./notes.db"), "the bare file is not recognised"
    vecport("export", "chroma:./chroma", "before")
    vecport("export", "sqlite-vec:./notes.db", "after")
    vecport("diff", "before", "after")
    vecport("export", "sqlite-vec:./notes.db", "some", "--where", "json_extract(metadata, '$.genre') = 'travel'")
    assert {json.loads(text)["genre"] for text in records("some")["metadata"]} == {"travel"}
    assert len(records("some")["id"]) == RECORDS // 2


def test_a_table_that_an_application_made_is_read_with_its_columns(vecport, tmp_path: Path) -> None:
    import apsw
    import sqlite_vec

    db = apsw.Connection(str(tmp_path / "films.db"))
    db.enable_load_extension(True)
    db.load_extension(sqlite_vec.loadable_path())
    db.execute(
        "CREATE VIRTUAL TABLE films USING vec0(film_id integer primary key, plot float[2] distance_metric=cosine,"
        " sound int8[3], year integer, fresh boolean, score float, +title text)"
    )
    db.execute("INSERT INTO films VALUES (7, '[0.5, 2]', vec_int8('[1, -2, 3]'), 1999, true, 8.5, 'Matrix')")
    db.close()
    vecport("export", "sqlite-vec:./films.db", "dump")
    assert records("dump") == {
        "id": ["7"], "namespace": [""], "document": [None],
        "metadata": ['{"fresh":true,"score":8.5,"title":"Matrix","year":1999}'],
        "vector_plot": [[0.5, 2.0]], "vector_sound": [[1, -2, 3]],
    }  # fmt: skip
