"""Settings of Chroma collections: kept in a dump, restored by an allow-list; tenants and databases."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import vecport
from vecport.connectors.address import parse, with_options
from vecport.connectors.chroma import settings
from vecport.connectors.contract import TargetPlan
from vecport.dump import open_dump
from vecport.errors import NotFound, NotRepresentable, UsageError

from .support import CONNECTOR, DOCS, MARK, client_of, page, plan_for, there_and_back

pytest.importorskip("chromadb")

# -- settings --------------------------------------------------------------------------------------------------

HNSW = {"max_neighbors": 9, "ef_construction": 33, "ef_search": 44, "sync_threshold": 70, "batch_size": 50,
        "resize_factor": 1.75}  # fmt: skip


def make(address: str, name: str, **how: Any) -> None:
    with client_of(address) as client:
        if "schema" not in how:
            how["configuration"] = {"hnsw": {"space": "ip", **HNSW}}
        docs = client.create_collection(name, embedding_function=None, **how)
        docs.add(ids=["a", "b"], embeddings=[[1.0, 2.0], [3.0, 4.0]], metadatas=[{"body": "x", "n": 1}, {"n": 2}])


def test_settings_come_back(place: str, name: str, tmp_path: Path) -> None:
    metadata = {"owner": "é", "n": -(2**63), "yes": True, "share": 0.5, "chroma:x": "1", "nul\0": "a\0"}
    make(place, name, metadata=metadata)
    one, two = there_and_back(place, name, tmp_path)
    assert one.identity == two.identity
    assert one.collection.native == two.collection.native
    assert one.collection.native["metadata"] == metadata
    assert one.collection.native["configuration"]["hnsw"] == {"space": "ip", **HNSW}
    assert "schema" not in one.collection.native


def test_the_user_goes_before_the_dump(tmp_path: Path) -> None:
    place = f"chroma:{tmp_path / 'db'}"
    make(place, "docs", metadata={"owner": "me", "hnsw:space": "ip"})
    _, two = there_and_back(place, "docs", tmp_path, settings={"hnsw.ef_search": "55", "metric": "cosine"})
    hnsw = two.collection.native["configuration"]["hnsw"]
    assert hnsw == {"space": "cosine", **HNSW, "ef_search": 55}
    assert two.collection.native["metadata"] == {"owner": "me"}, "a space that is not the index's own would mislead"
    vecport.import_(tmp_path / "one", place, collection="plain", settings={"native": "ignore"})
    vecport.export(place, tmp_path / "plain", collection="plain")
    native = open_dump(tmp_path / "plain").manifest.collection.native
    assert native["metadata"] == {}
    assert native["configuration"]["hnsw"]["ef_search"] == 100
    with pytest.raises(UsageError, match="native=all"):
        vecport.import_(tmp_path / "one", place, collection="wrong", settings={"native": "all"})


def test_a_schema_comes_back(place: str, name: str, tmp_path: Path) -> None:
    from chromadb.api.types import (
        FtsIndexConfig,
        HnswIndexConfig,
        IntInvertedIndexConfig,
        Schema,
        StringInvertedIndexConfig,
        VectorIndexConfig,
    )

    schema = Schema()
    schema.create_index(VectorIndexConfig(space="ip", hnsw=HnswIndexConfig(ef_search=44, max_neighbors=9)))
    schema.delete_index(StringInvertedIndexConfig(), key="body")
    schema.delete_index(IntInvertedIndexConfig())
    schema.delete_index(FtsIndexConfig(), key="#document")
    make(place, name, schema=schema)
    one, two = there_and_back(place, name, tmp_path)
    assert one.collection.native["schema"] == {
        "defaults": {"int": {"int_inverted_index": False}},
        "keys": {
            "body": {"string": {"string_inverted_index": False}},
            "#document": {"string": {"fts_index": False}},
        },
    }
    assert one.identity == two.identity
    ignored = {k: v for k, v in one.collection.native.items() if k != "embedding_function"}
    assert ignored == two.collection.native
    assert two.collection.native["configuration"]["hnsw"]["ef_search"] == 44
    with client_of(place) as client:
        back = client.get_collection(f"{name}-back", embedding_function=None)
        with pytest.raises(Exception, match="indexing is disabled"):
            back.get(where={"body": "x"})
        assert back.get_model().configuration_json["embedding_function"] in (None, {"type": "legacy"})


HOSTILE: list[tuple[dict[str, Any], str]] = [
    ({"configuration": {"hnsw": {"max_neighbors": 10**9}}}, "max_neighbors"),
    ({"configuration": {"hnsw": {"max_neighbors": 0}}}, "max_neighbors"),
    ({"configuration": {"hnsw": {"ef_search": True}}}, "ef_search"),
    ({"configuration": {"hnsw": {"ef_construction": "9"}}}, "ef_construction"),
    ({"configuration": {"hnsw": {"batch_size": 2.0}}}, "batch_size"),
    ({"configuration": {"hnsw": {"resize_factor": -1.0}}}, "resize_factor"),
    ({"configuration": {"hnsw": {"resize_factor": float("nan")}}}, "resize_factor"),
    ({"configuration": {"hnsw": ["x"]}}, "hnsw"),
    ({"configuration": 7}, "configuration"),
    ({"metadata": ["x"]}, "metadata"),
    ({"metadata": {"a": ["x"]}}, "metadata 'a'"),
    ({"metadata": {"a": {}}}, "metadata 'a'"),
    ({"metadata": {"a": None}}, "metadata 'a'"),
    ({"metadata": {"a": 2**63}}, "metadata 'a'"),
    ({"metadata": {"a": float("inf")}}, "metadata 'a'"),
    ({"metadata": {"a": -0.0}}, "metadata 'a'"),
    ({"metadata": {"": 1}}, "metadata ''"),
    ({"metadata": {"#a": 1}}, "metadata '#a'"),
    ({"metadata": {"vecport": "{}"}}, "metadata 'vecport'"),
    ({"schema": {"defaults": {"string": {"vector_index": True}}}}, "schema of 'defaults'"),
    ({"schema": {"keys": {"a": {"string": {"fts_index": 1}}}}}, "schema of 'a'"),
    ({"schema": {"keys": {"#embedding": {"string": {"fts_index": True}}}}}, "schema of '#embedding'"),
    ({"schema": {"keys": {"a": {"string": "x"}}}}, "string"),
    ({"schema": {"keys": {f"k{i}": {} for i in range(10_001)}}}, "schema"),
]


@pytest.mark.parametrize(("native", "named"), HOSTILE, ids=[f"{i}-{n}" for i, (_, n) in enumerate(HOSTILE)])
def test_settings_of_a_stranger_are_checked(tmp_path: Path, native: dict[str, Any], named: str) -> None:
    session = CONNECTOR.open_target(parse(f"chroma:{tmp_path / 'db'}"), "docs")
    with session, pytest.raises(NotRepresentable, match="cannot be restored") as caught:
        session.prepare(TargetPlan(DOCS, 1, native=native))
    assert f"setting {named} of" in caught.value.what or f"setting hnsw.{named} of" in caught.value.what
    assert "--set native=ignore" in caught.value.next
    assert not (tmp_path / "db").exists()


def test_unknown_settings_and_those_of_the_cloud_are_not_taken(tmp_path: Path) -> None:
    native = {
        "configuration": {"spann": {"space": "l2", "search_nprobe": 5}, "other": 1, "hnsw": {"num_threads": 10**9}},
        "schema": {"keys": {"s": {"sparse_vector": {"sparse_vector_index": True}}}},
        "embedding_function": {"name": "evil", "model": "m"},
        "code": "import os",
    }
    plan = TargetPlan(DOCS, 1, native=native)
    here = settings.creation(plan, "l2", parse("chroma:x"))
    assert (here.index, here.spann, here.schema, here.metadata) == ({"space": "l2"}, False, {}, {})
    cloud = settings.creation(plan, "l2", parse("chroma+https://api.trychroma.com"))
    assert cloud.spann
    assert cloud.index == {"space": "l2", "search_nprobe": 5}
    assert cloud.schema["keys"] == native["schema"]["keys"]  # type: ignore[index]
    with CONNECTOR.open_target(parse(f"chroma:{tmp_path / 'db'}"), "docs") as session:
        session.prepare(plan)
        session.write(page(["a"]), MARK)
        assert session.count() == 1


def test_an_existing_collection_keeps_its_own_settings(tmp_path: Path) -> None:
    place = f"chroma:{tmp_path / 'db'}"
    make(place, "docs", metadata={"owner": "me"})
    vecport.export(place, tmp_path / "one", collection="docs")
    with client_of(place) as client:
        client.create_collection(
            "mine",
            configuration={"hnsw": {"space": "ip", "ef_search": 12}},
            metadata={"mine": 1},
            embedding_function=None,
        )
    vecport.import_(tmp_path / "one", place, collection="mine", if_exists="append")
    with client_of(place) as client:
        mine = client.get_collection("mine", embedding_function=None)
        assert {k: v for k, v in mine.metadata.items() if k != "vecport"} == {"mine": 1}
        assert mine.configuration_json["hnsw"]["ef_search"] == 12


# -- tenants and databases -------------------------------------------------------------------------------------


def test_tenants_and_databases_are_created_only_when_asked(place: str, name: str, tmp_path: Path) -> None:
    make(place, name)
    vecport.export(place, tmp_path / "one", collection=name)
    where = {"tenant": f"t-{name}", "database": "prod"}
    for options in (where, where | {"create-database": "no"}):
        with pytest.raises(NotFound, match="not found"):
            vecport.import_(tmp_path / "one", place, collection=name, target_options=options)
        session = CONNECTOR.open_target(with_options(parse(place), options), name)
        with session, pytest.raises(NotFound, match="not found"):
            session.prepare(plan_for(name, 1))
    asked = where | {"create-database": "yes"}
    with CONNECTOR.open_target(with_options(parse(place), asked), name) as session:
        assert session.describe() is None
    with pytest.raises(NotFound, match="not found"):
        vecport.export(place, tmp_path / "two", collection=name, source_options=asked)
    for _ in range(2):
        vecport.import_(tmp_path / "one", place, collection=name, target_options=asked, if_exists="replace")
    vecport.export(place, tmp_path / "two", collection=name, source_options=where)
    assert open_dump(tmp_path / "one").manifest.identity == open_dump(tmp_path / "two").manifest.identity
    with pytest.raises(UsageError, match="create-database=maybe"):
        vecport.import_(tmp_path / "one", place, collection=name, target_options=where | {"create-database": "maybe"})


def test_three_slashes_name_an_absolute_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make(f"chroma:{tmp_path / 'db'}", "docs")
    absolute = f"chroma://{tmp_path / 'db'}"
    assert absolute.startswith("chroma:///")
    assert [c.name for c in CONNECTOR.collections(parse(absolute))] == ["docs"]
    vecport.export(absolute, tmp_path / "dump", collection="docs")
    vecport.import_(tmp_path / "dump", f"chroma://{tmp_path / 'new'}", collection="docs")
    assert (tmp_path / "new" / "chroma.sqlite3").is_file()
