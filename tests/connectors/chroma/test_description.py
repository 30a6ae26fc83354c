"""What the description of a Chroma collection says, whatever made it."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vecport.connectors.contract import TargetPlan
from vecport.errors import Incomplete
from vecport.testing.engines.chroma import ChromaEngine

from .support import batch_of, collection_of, load, open_source, open_target, raw, read

pytest.importorskip("chromadb")


def test_legacy_space(tmp_path: Path, scratch: Any) -> None:
    path = tmp_path / "db"
    with raw(path) as client:
        fresh = client.create_collection("fresh", metadata={"hnsw:space": "cosine", "a": 1}, embedding_function=None)
        fresh.add(ids=["x"], embeddings=[[3.0, 4.0]])
        moved = client.create_collection("moved", metadata={"hnsw:space": "ip"}, embedding_function=None)
        moved.add(ids=["x"], embeddings=[[3.0, 4.0]])
        moved._client._modify(moved.id, new_metadata={"hnsw:space": "l2"})
        client.create_collection("old", metadata={"hnsw:space": "cosine"}, embedding_function=None)
    # What versions before 1.0 left behind: no schema, and the space in the metadata of collection and segment.
    with contextlib.closing(sqlite3.connect(path / "chroma.sqlite3")) as database:
        database.execute("UPDATE collections SET schema_str = NULL, config_json_str = NULL WHERE name = 'old'")
        database.execute(
            "INSERT INTO segment_metadata (segment_id, key, str_value) SELECT s.id, 'hnsw:space', 'cosine'"
            " FROM segments s JOIN collections c ON c.id = s.collection WHERE c.name = 'old' AND s.scope = 'VECTOR'"
        )
        database.commit()
    with open_source(path, "old") as session:
        assert session.describe().collection.vectors == ()
        assert any("cannot be told" in n for n in session.describe().notes)
    with raw(path) as client:
        old = client.get_collection("old", embedding_function=None)
        assert old.configuration_json["hnsw"]["space"] == "l2"
        old.add(ids=["x"], embeddings=[[3.0, 4.0]])
    for name, metric in (("fresh", "cosine"), ("moved", "dot"), ("old", "cosine")):
        with open_source(path, name) as session:
            found = session.describe()
            assert found.collection.vectors[0].metric == metric, name
            assert any("a search shows" in n for n in found.notes) is (name != "fresh")
    # The client refuses to store this key even unchanged, and forgets all others that are not given again.
    plan = TargetPlan(collection_of(2, "cosine", "fresh"), 1, "append", passport={"import_id": "1"})
    with open_target(path, "fresh") as target:
        target.prepare(plan)
        target.finish({"import_id": "1", "state": "complete"})
    with raw(path) as client:
        fresh = client.get_collection("fresh", embedding_function=None)
        assert {k: v for k, v in fresh.metadata.items() if k != "vecport"} == {"hnsw:space": "cosine", "a": 1}
        assert fresh.configuration_json["hnsw"]["space"] == "cosine"
        with pytest.raises(ValueError, match="not supported"):
            fresh.modify(metadata={"hnsw:space": "cosine"})
        fresh.modify(metadata={"b": 1})
        assert client.get_collection("fresh", embedding_function=None).metadata == {"b": 1}


def test_empty_collections(tmp_path: Path) -> None:
    path = tmp_path / "db"
    with raw(path) as client:
        client.create_collection("never", embedding_function=None)
        emptied = client.create_collection("emptied", embedding_function=None)
        emptied.add(ids=["a"], embeddings=[[1.0, 2.0, 3.0]])
        emptied.delete(ids=["a"])
    for name, dims in (("never", []), ("emptied", [3])):
        with open_source(path, name) as session:
            found = session.describe()
            assert (found.count, [v.dim for v in found.collection.vectors]) == (0, dims)
            assert any("described without a vector" in n for n in found.notes) is (name == "never")
            assert read(session)[0].num_rows == 0


def test_a_live_collection_that_was_empty_when_described(server: ChromaEngine, raw_server: Any) -> None:
    docs = raw_server.create_collection("was-empty", embedding_function=None)
    with open_source(server.address, "was-empty") as session:
        session.describe()
        docs.add(ids=["a"], embeddings=[[1.0]])
        with pytest.raises(Incomplete, match="was empty when it was described"):
            read(session)


def test_no_embedding_function_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from chromadb.utils import embedding_functions

    path, name = tmp_path / "db", "sentence_transformer"
    with raw(path) as client:
        client.create_collection("docs", embedding_function=None).add(ids=["x"], embeddings=[[1.0] * 4])
    configured = {"type": "known", "name": name, "config": {"model_name": "all-MiniLM-L6-v2", "device": "cpu",
                                                              "normalize_embeddings": False, "kwargs": {}}}  # fmt: skip
    with contextlib.closing(sqlite3.connect(path / "chroma.sqlite3")) as database:
        ((text,),) = database.execute("SELECT schema_str FROM collections").fetchall()
        schema = json.loads(text)
        schema["keys"]["#embedding"]["float_list"]["vector_index"]["config"]["embedding_function"] = configured
        database.execute("UPDATE collections SET schema_str = ?", (json.dumps(schema),))
        database.commit()
    made: list[Any] = []
    function = embedding_functions.known_embedding_functions[name]
    monkeypatch.setattr(function, "build_from_config", lambda *a: made.append(a))
    load(path, batch_of(collection_of(), ["y"]), collection_of(), if_exists="append")
    with open_source(path) as session:
        found = session.describe()
        assert read(session)[0].num_rows == 2
    with open_target(path) as target:
        target.attach(TargetPlan(collection_of(), 1))
        assert target.search("", np.ones(4, np.float32), 1)
    assert not made
    assert found.collection.vectors[0].model == "all-MiniLM-L6-v2"
    assert found.collection.native["embedding_function"] == {"name": name, "model": "all-MiniLM-L6-v2"}


def test_a_foreign_value_under_the_passport_key_stays(tmp_path: Path) -> None:
    with raw(tmp_path / "db") as client:
        client.create_collection("docs", metadata={"vecport": "mine"}, embedding_function=None)
    with open_source(tmp_path / "db") as session:
        found = session.describe()
    assert found.passport is None
    assert found.collection.native["metadata"] == {"vecport": "mine"}
    assert any("no passport" in n for n in found.notes)


def test_a_panic_of_the_engine_is_an_error(tmp_path: Path) -> None:
    from vecport.connectors.chroma.client import translated

    with raw(tmp_path / "db") as client, pytest.raises(Exception, match="broke down"), translated("chroma:x"):
        client.create_collection("abc", metadata={"a": ["x"]}, embedding_function=None)
