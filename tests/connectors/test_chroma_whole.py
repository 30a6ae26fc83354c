"""Everything of a Chroma collection beside ids, vectors and plain metadata, there and back, on the real engine."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import vecport
from vecport.connectors.address import Place, parse, with_options
from vecport.connectors.chroma import ChromaConnector, settings, target, values
from vecport.connectors.chroma import source as chroma_source
from vecport.connectors.contract import Mark, Selection, TargetPlan
from vecport.dump import open_dump
from vecport.errors import IntegrityError, NotFound, NotRepresentable, UsageError
from vecport.model import canonical
from vecport.model.batch import dense_array, make_page
from vecport.model.collection import Collection, VectorField
from vecport.model.projection import Projection
from vecport.testing.engines.chroma import ChromaEngine

chromadb = pytest.importorskip("chromadb")

CONNECTOR = ChromaConnector()
MARK = Mark("part-0-0", 0)
DOCS = Collection("docs", vectors=(VectorField("", dim=2, metric="l2", nullable=False),))


@pytest.fixture(scope="module")
def server() -> Iterator[ChromaEngine]:
    with ChromaEngine() as engine:
        yield engine


@pytest.fixture(params=["folder", "server"])
def place(request: pytest.FixtureRequest, tmp_path: Path, server: ChromaEngine) -> str:
    return server.address if request.param == "server" else f"chroma:{tmp_path / 'db'}"


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    return "".join(c if c.isalnum() else "-" for c in request.node.name)[:100].strip("-")


def client_of(address: str) -> Any:
    """A client of the test's own, to be closed."""
    at = parse(address)
    return closing(chromadb.PersistentClient(at.path) if at.local else chromadb.HttpClient(at.host, at.port))


def page(ids: list[str], metadata: list[Mapping[str, Any]] | None = None, documents: Any = None) -> pa.RecordBatch:
    matrix = np.arange(len(ids) * 2, dtype=np.float32).reshape(-1, 2) + 1
    return make_page(
        DOCS,
        ids=ids,
        metadata=None if metadata is None else [canonical.dumps(dict(m)) for m in metadata],
        documents=documents,
        vectors={"": dense_array(matrix, DOCS.vectors[0])},
    )


def rows_of(dump: Path) -> dict[str, str]:
    table = pa.Table.from_batches(list(open_dump(dump).keys(["id", "metadata"])))
    return dict(zip(*(c.to_pylist() for c in table.columns), strict=True))


def there_and_back(address: str, name: str, tmp_path: Path, **how: Any) -> tuple[Any, Any]:
    """Manifests of a collection and of what it is after a restore at the same place."""
    vecport.export(address, tmp_path / "one", collection=name)
    vecport.import_(tmp_path / "one", address, collection=f"{name}-back", **how)
    vecport.export(address, tmp_path / "two", collection=f"{name}-back")
    return open_dump(tmp_path / "one").manifest, open_dump(tmp_path / "two").manifest


# -- URIs ------------------------------------------------------------------------------------------------------


def test_uris_are_kept(place: str, name: str, tmp_path: Path) -> None:
    uris = [None, "file:///x", "", "a\0b", 'é "quoted" \\', "x" * 5_000]
    with client_of(place) as client:
        docs = client.create_collection(name, embedding_function=None, configuration={"hnsw": {"space": "l2"}})
        docs.add(ids=list("abcdef"), embeddings=np.eye(6, 4), uris=uris, documents=["d"] * 6)
        docs.add(ids=["g"], embeddings=[[1, 2, 3, 4]], uris=["u"], metadatas=[{"chroma": 1, "z": 2, "a": 3}])
    one, two = there_and_back(place, name, tmp_path)
    assert one.identity == two.identity
    rows = rows_of(tmp_path / "one")
    assert rows["a"] == "{}"
    assert [json.loads(rows[id])["chroma:uri"] for id in "bcdef"] == uris[1:]
    assert rows["g"] == '{"a":3,"chroma":1,"chroma:uri":"u","z":2}', "keys in the canonical order"
    with client_of(place) as client:
        back = client.get_collection(f"{name}-back", embedding_function=None).get(include=["uris", "metadatas"])
    assert dict(zip(back["ids"], back["uris"], strict=True)) == dict(zip("abcdefg", [*uris, "u"], strict=True))
    assert not any("chroma:uri" in (m or {}) for m in back["metadatas"])


def test_a_uri_goes_through_another_database(server: ChromaEngine, name: str, tmp_path: Path) -> None:
    with client_of(server.address) as client:
        client.create_collection(name, embedding_function=None).add(ids=["a"], embeddings=[[1.0, 2.0]], uris=["u"])
    one, _ = there_and_back(server.address, name, tmp_path)
    lines = tmp_path / "rows.jsonl"
    vecport.import_(tmp_path / "one", f"jsonl:{lines}")
    assert json.loads(lines.read_text())["metadata"] == {"chroma:uri": "u"}
    vecport.export(f"jsonl:{lines}", tmp_path / "lines", source_options={"metric": "l2"})
    vecport.import_(tmp_path / "lines", f"chroma:{tmp_path / 'other'}", collection="again")
    vecport.export(f"chroma:{tmp_path / 'other'}", tmp_path / "again", collection="again")
    assert open_dump(tmp_path / "again").manifest.identity == one.identity


@pytest.mark.parametrize("value", [7, True, ["u"], 0.5])
def test_what_cannot_be_a_uri_is_refused(tmp_path: Path, value: Any) -> None:
    with CONNECTOR.open_target(parse(f"chroma:{tmp_path / 'db'}"), "docs") as session:
        session.prepare(TargetPlan(DOCS, 2))
        with pytest.raises(NotRepresentable, match="record 'b': metadata key 'chroma:uri'"):
            session.write(page(["a", "b"], [{"chroma:uri": "fine"}, {"chroma:uri": value}]), MARK)
        assert session.count() == 0


# -- sparse vectors in metadata: Chroma Cloud alone holds them ---------------------------------------------------

SPARSE = {"#type": "sparse_vector", "indices": [1, 5, 4294967295], "values": [0.5, -2.25, float(np.float32(0.1))]}


def test_local_engines_hold_no_sparse_vectors(place: str, name: str) -> None:
    """If this fails, folders and servers have learned it, and may be given them as they are."""
    with client_of(place) as client:
        docs = client.create_collection(name, embedding_function=None)
        with pytest.raises(Exception, match="Sparse vector is not supported for local chroma"):
            docs._client._add(
                ids=["a"], collection_id=docs.id, embeddings=[[1.0]], metadatas=[{"s": SPARSE}],
                tenant=docs.tenant, database=docs.database,
            )  # fmt: skip


def test_sparse_vectors_become_objects(tmp_path: Path) -> None:
    """A client's answer is made up: no engine that runs here gives one."""
    with CONNECTOR.open_target(parse(f"chroma:{tmp_path / 'db'}"), "docs") as session:
        session.prepare(TargetPlan(DOCS, 2))
        session.write(page(["a", "b"], [{"x": 1}, {"x": 2}]), MARK)
    with CONNECTOR.open_source(parse(f"chroma:{tmp_path / 'db'}"), "docs", Selection()) as source:
        assert isinstance(source, chroma_source.ChromaSource)
        answer = source._collection().get(ids=["a", "b"], include=list(chroma_source.PARTS))
        # A server spells float32 by the fewest digits: 0.1 is what a folder would give as 0.10000000149011612.
        answer["metadatas"][0]["s"] = chromadb.SparseVector(SPARSE["indices"], [0.5, -2.25, 0.1])
        answer["metadatas"][1]["s"] = chromadb.SparseVector([3], [1.0], ["tok"])
        texts = source._page(answer, ["a", "b"]).column("metadata").to_pylist()
        assert json.loads(texts[0]) == {"x": 1, "s": SPARSE}
        assert json.loads(texts[1])["s"] == SPARSE | {"indices": [3], "values": [1.0], "tokens": ["tok"]}
        answer["metadatas"][1]["s"] = object()
        with pytest.raises(NotRepresentable, match="not supported") as caught:
            source._page(answer, ["a", "b"])
        assert "record 'b' has one under the metadata key 's'" in caught.value.why


def test_a_sparse_vector_outside_the_cloud_is_encoded(place: str, name: str, tmp_path: Path) -> None:
    lines = tmp_path / "rows.jsonl"
    lines.write_text(json.dumps({"id": "a", "vector": [1.0, 2.0], "metadata": {"s": SPARSE, "n": 1}}) + "\n")
    vecport.export(f"jsonl:{lines}", tmp_path / "one", source_options={"metric": "l2"})
    vecport.import_(tmp_path / "one", place, collection=name)
    vecport.export(place, tmp_path / "two", collection=name)
    assert open_dump(tmp_path / "one").manifest.identity == open_dump(tmp_path / "two").manifest.identity
    with client_of(place) as client:
        (row,) = client.get_collection(name, embedding_function=None).get(include=["metadatas"])["metadatas"]
    assert json.loads(row["s"]) == SPARSE


def test_the_cloud_gets_sparse_vectors_as_they_are() -> None:
    session = CONNECTOR.open_target(with_options(parse("chroma+https://api.trychroma.com"), {}), "docs")
    rules = session.capabilities.metadata
    stored, originals = Projection(rules).encode({"s": SPARSE, "o": {"a": 1}})
    assert stored["s"] == SPARSE
    assert list(originals) == ["o"]
    values.check_metadata(["a"], [{"s": SPARSE}], set(), rules)
    rows, uris = target.split(pa.array([canonical.dumps({"s": SPARSE})]), [{"s": dict(SPARSE)}])
    assert uris is None
    assert rows[0] is not None
    assert rows[0]["s"] == chromadb.SparseVector(SPARSE["indices"], SPARSE["values"])


@pytest.mark.parametrize(
    "change",
    [{"#type": "other"}, {"indices": [5, 1, 7]}, {"indices": [1, 2]}, {"indices": [-1, 2, 3]},
     {"indices": [0, 1, 2**32]},
     {"indices": [True, 2, 3]}, {"values": [0.1, 0.2, 0.3]}, {"values": [1, 2, 3]}, {"values": [1e300, 0.5, 0.5]},
     {"values": None}, {"tokens": ["a"]}, {"tokens": [1, 2, 3]}, {"more": 1}],
    ids=str,
)  # fmt: skip
def test_objects_that_are_no_sparse_vectors(change: dict[str, Any]) -> None:
    assert values.is_sparse(SPARSE)
    assert values.is_sparse(SPARSE | {"tokens": ["a", "b", "c"]})
    assert not values.is_sparse(SPARSE | change)


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


# -- conflicts -------------------------------------------------------------------------------------------------


def everything(address: str, name: str) -> dict[str, Any]:
    with client_of(address) as client:
        docs = client.get_collection(name, embedding_function=None)
        got = docs.get(include=["embeddings", "metadatas", "documents", "uris"])
    parts = (got["embeddings"].tolist(), got["metadatas"], got["documents"], got["uris"])
    return dict(zip(got["ids"], zip(*parts, strict=True), strict=True))


def plan_for(name: str, rows: int, **how: Any) -> TargetPlan:
    return TargetPlan(replace(DOCS, name=name), rows, "append", **how)


@pytest.mark.parametrize("on_conflict", ["skip", "replace"])
def test_records_that_are_there_already(place: str, name: str, on_conflict: str) -> None:
    with client_of(place) as client:
        mine = client.create_collection(name, embedding_function=None)
        mine.add(ids=["b"], embeddings=[[9.0, 9.0]], metadatas=[{"mine": 1}], documents=["mine"], uris=["my"])
        mine.add(ids=["c"], embeddings=[[8.0, 8.0]])
    batch = page(list("abcd"), [{"dump": i, "chroma:uri": f"u{i}"} for i in range(4)], ["d"] * 4)
    plan = plan_for(name, 4, on_conflict=on_conflict)
    for _ in range(2):
        # The second stands for a row group that a killed import sends again.
        with CONNECTOR.open_target(parse(place), name) as session:
            assert plan.on_conflict in session.capabilities.on_conflict
            session.prepare(plan)
            session.write(batch, MARK)
            session.write(batch.slice(1, 2), Mark("part-0-0", 1))
            assert session.count() == 4
    found = everything(place, name)
    of_dump = {id: ([2.0 * i + 1, 2.0 * i + 2], {"dump": i}, "d", f"u{i}") for i, id in enumerate("abcd")}
    mine = {"b": ([9.0, 9.0], {"mine": 1}, "mine", "my"), "c": ([8.0, 8.0], None, None, None)}
    assert found == (of_dump | mine if on_conflict == "skip" else of_dump)


def test_an_application_that_writes_keeps_its_newer_records(server: ChromaEngine, name: str) -> None:
    """Backfill beside a writer: every id that the application wrote, before or meanwhile, is as it wrote it."""
    ids = [f"i{n:04}" for n in range(1200)]
    plan = plan_for(name, len(ids), on_conflict="skip")
    batch = page(ids, [{"by": "dump"}] * len(ids))
    with CONNECTOR.open_target(parse(server.address), name) as session:
        session.prepare(plan)
        wrote: list[str] = []
        stop = threading.Event()

        def application() -> None:
            with client_of(server.address) as client:
                docs = client.get_collection(name, embedding_function=None)
                for n in np.random.default_rng(2).permutation(len(ids)).tolist():
                    if stop.is_set():
                        return
                    docs.upsert(ids=[ids[n]], embeddings=[[-1.0, -1.0]], metadatas=[{"by": "app"}])
                    wrote.append(ids[n])

        thread = threading.Thread(target=application)
        thread.start()
        while len(wrote) < 5:
            assert thread.is_alive()
        for group, start in enumerate(range(0, len(ids), 100)):
            session.write(batch.slice(start, 100), Mark("part-0-0", group))
        stop.set()
        thread.join()
        assert session.count() == len(ids)
    found = everything(server.address, name)
    assert len(wrote) >= 5
    assert all(found[id][:2] == ([-1.0, -1.0], {"by": "app"}) for id in wrote)
    assert sum(row[1] == {"by": "dump"} for row in found.values()) == len(ids) - len(set(wrote))


def test_a_record_that_comes_between_look_and_add_stays(place: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with CONNECTOR.open_target(parse(place), name) as session:
        session.prepare(plan_for(name, 2, on_conflict="skip"))
        assert isinstance(session, target.ChromaTarget)
        docs = session._collection()
        looked = docs.get

        def look(**how: Any) -> Any:
            answer = looked(**how)
            monkeypatch.setattr(docs, "get", looked)
            docs.add(ids=["b"], embeddings=[[7.0, 7.0]], metadatas=[{"mine": 1}])
            return answer

        monkeypatch.setattr(docs, "get", look)
        session.write(page(["a", "b"], [{"dump": 0}, {"dump": 1}]), MARK)
    found = everything(place, name)
    assert found["b"][:2] == ([7.0, 7.0], {"mine": 1})
    assert found["a"][1] == {"dump": 0}


# -- answers that no version gives today -----------------------------------------------------------------------


@pytest.mark.parametrize("vector", [None, [], [1.0], [1.0, 2.0, 3.0], ["a", "b"]])
def test_a_vector_of_another_shape_is_an_error(tmp_path: Path, vector: Any) -> None:
    with CONNECTOR.open_target(parse(f"chroma:{tmp_path / 'db'}"), "docs") as session:
        session.prepare(TargetPlan(DOCS, 2))
        session.write(page(["a", "b"]), MARK)
    with CONNECTOR.open_source(parse(f"chroma:{tmp_path / 'db'}"), "docs", Selection()) as source:
        assert isinstance(source, chroma_source.ChromaSource)
        answer = source._answer(["a", "b"], None)
        assert source._page(answer, ["b", "a"]).column("id").to_pylist() == ["b", "a"]
        answer["embeddings"] = [list(answer["embeddings"][0]), vector]
        with pytest.raises(IntegrityError, match="not 2 numbers each"):
            source._page(answer, ["a", "b"])


# -- limits of a request ---------------------------------------------------------------------------------------


def test_more_records_than_one_request_takes(tmp_path: Path) -> None:
    place = Place("chroma", "chroma:x", path=str(tmp_path / "db"))
    ids = [f"i{n}" for n in range(5_600)]
    with CONNECTOR.open_target(place, "docs") as session:
        session.prepare(TargetPlan(DOCS, len(ids)))
        session.write(page(ids), MARK)
        assert session.count() == len(ids)
    with CONNECTOR.open_source(place, "docs", Selection()) as source:
        token = source.snapshot()
        (whole,) = source.partitions(10_000, token)
        assert [p.batch.num_rows for p in source.scan(whole, None, 100_000)] == [5_000, 600]
        wanted = [("", f"x{n}") for n in range(40_000)]
        assert source.fetch([*wanted, ("", "i5599")]).column("id").to_pylist() == ["i5599"]
