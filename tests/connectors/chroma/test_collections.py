"""Collections of Chroma as targets: passports, settings, and what is there already."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vecport.connectors.chroma import values, write
from vecport.connectors.contract import Mark, TargetPlan
from vecport.connectors.kit.requests import cut
from vecport.errors import AlreadyExists, NotRepresentable, UsageError
from vecport.model.batch import dense_matrix
from vecport.model.collection import Collection, VectorField, collection_to_json
from vecport.testing.engines.chroma import ChromaEngine

from .support import MARK, batch_of, by_id, collection_of, load, open_source, open_target, raw, read, unique

chromadb = pytest.importorskip("chromadb")


def test_passport_settings_and_foreign_metadata(tmp_path: Path) -> None:
    collection = collection_of(3, "cosine")
    loading = {"vecport": 1, "import_id": "i1", "state": "loading", "collection": collection_to_json(collection)}
    settings = {"hnsw.m": "8", "hnsw.ef_construction": "50", "hnsw.ef_search": "77", "metric": "cosine"}
    with open_target(tmp_path / "db") as target:
        target.prepare(TargetPlan(collection, 1, passport=loading, settings=settings, import_id="i1"))
        described = target.describe()
        assert described is not None
        assert described.passport == loading
        assert described.collection.vectors[0].dim == 3
        assert any("passport says" in note for note in described.notes)
        target.write(batch_of(collection, ["a", "b"]), MARK)
        assert [h.id for h in target.search("", np.array([1, 2, 3], np.float32), 2)] == ["a", "b"]
        assert "get_collection('docs'" in target.query_hint()
        target.finish({**loading, "state": "complete"})
    with raw(tmp_path / "db") as client:
        docs = client.get_collection("docs", embedding_function=None)
        docs.modify(metadata={**docs.metadata, "owner": "me"})
    with open_target(tmp_path / "db") as target:
        target.attach(TargetPlan(collection, 1))
        target.finish({"state": "again"})
    with open_source(tmp_path / "db") as session:
        found = session.describe()
    assert found.passport == {"state": "again"}
    assert found.collection.native["metadata"] == {"owner": "me"}
    hnsw = found.collection.native["configuration"]["hnsw"]
    assert (hnsw["max_neighbors"], hnsw["ef_construction"], hnsw["ef_search"]) == (8, 50, 77)


@pytest.mark.parametrize("settings", [{"hnsw.x": "1"}, {"space": "l2"}, {"hnsw.m": "0"}, {"hnsw.ef_search": "a"}])
def test_wrong_settings_create_nothing(tmp_path: Path, settings: dict[str, str]) -> None:
    with open_target(tmp_path / "db") as target, pytest.raises(UsageError, match="--set"):
        target.prepare(TargetPlan(collection_of(), 1, settings=settings))
    assert not (tmp_path / "db").exists()


@pytest.mark.parametrize("name", ["ab", "a" * 513, "-ab", "ab-", "a..b", "1.2.3.4", "a b", "é12", "_ab", "abc\n"])
def test_names_that_chroma_refuses(tmp_path: Path, scratch: Any, name: str) -> None:
    with pytest.raises(chromadb.errors.InvalidArgumentError):
        scratch.create_collection(name, embedding_function=None)
    with open_target(tmp_path / "db", name) as target, pytest.raises(NotRepresentable, match="collection name"):
        target.prepare(TargetPlan(collection_of(name=name), 1))
    for fine in ("abc", "a" * 512, "A_B.c-d", "1.2.3"):
        values.check_name(fine)
        scratch.get_or_create_collection(fine, embedding_function=None)


def test_existing_collections_are_sacred(anywhere: str, request: pytest.FixtureRequest) -> None:
    collection = collection_of(2, name=unique(request))
    first = batch_of(collection, ["a", "b"], metadata=[{"old": 1}, {"old": 2}])
    load(anywhere, first, collection, passport={"import_id": "first"})
    with open_target(anywhere, collection.name) as target:
        with pytest.raises(AlreadyExists, match="has 2 records"):
            target.prepare(TargetPlan(collection, 1))
        for other in (collection_of(3, name=collection.name), collection_of(2, "cosine", collection.name)):
            with pytest.raises(NotRepresentable, match="has other vectors"):
                target.prepare(TargetPlan(other, 1, if_exists="append"))
        with pytest.raises(UsageError, match="is not offered"):
            target.prepare(TargetPlan(collection, 1, if_exists="merge"))
        assert target.count() == 2
    load(anywhere, batch_of(collection, ["b", "c"], metadata=[{"new": 1}, {}]), collection, if_exists="append")
    with open_target(anywhere, collection.name) as target, pytest.raises(UsageError, match="--set has no effect"):
        target.prepare(TargetPlan(collection, 1, "append", settings={"hnsw.m": "8"}))
    with open_source(anywhere, collection.name) as session:
        assert session.describe().passport == {"import_id": "first"}
        rows = by_id(read(session)[0])
    assert {id: row["metadata"] for id, row in rows.items()} == {"a": '{"old":1}', "b": '{"new":1}', "c": "{}"}
    other = collection_of(3, "cosine", collection.name)
    load(anywhere, batch_of(other, ["z"]), other, if_exists="replace")
    with open_target(anywhere, collection.name) as target:
        described = target.describe()
        assert described is not None
        assert (described.count, described.collection.vectors[0].dim) == (1, 3)
        target.delete([("", "z"), ("", "nope"), ("", "")])
        assert target.count() == 0
        target.prepare(TargetPlan(other, 1))


def test_a_resumed_replace_deletes_what_is_not_its_own(tmp_path: Path) -> None:
    collection = collection_of(2)
    load(tmp_path / "db", batch_of(collection, ["old"]), collection, passport={"import_id": "before"})
    plan = TargetPlan(collection, 2, "replace", passport={"import_id": "now"}, import_id="now")
    with open_target(tmp_path / "db") as target:
        target.prepare(replace(plan, resume=True))
        assert target.count() == 0
        target.write(batch_of(collection, ["a"]), MARK)
    with open_target(tmp_path / "db") as target:
        target.prepare(replace(plan, resume=True))
        assert target.count() == 1
    with open_target(tmp_path / "db") as target, pytest.raises(AlreadyExists):
        target.prepare(replace(plan, if_exists="create", resume=True, import_id="later"))


def test_write_replaces_and_leaves_one_copy(anywhere: str, request: pytest.FixtureRequest) -> None:
    collection = collection_of(2, name=unique(request))
    plan = TargetPlan(collection, 4)
    with open_target(anywhere, collection.name) as target:
        target.prepare(plan)
        first = batch_of(collection, list("abcd"), metadata=[{"x": 1, "y": 1}] * 4, documents=["d"] * 4)
        target.write(first.slice(0, 2), MARK)
    with open_target(anywhere, collection.name) as target:
        target.prepare(replace(plan, resume=True))
        target.write(first, MARK)
        target.write(first, MARK)
        assert target.count() == 4
        changed = batch_of(collection, ["b"], np.array([[9, 9]], np.float32), metadata=[{"x": 2}])
        target.write(changed, Mark("part-0-0", 1))
        assert target.count() == 4
    with open_source(anywhere, collection.name) as session:
        rows = by_id(read(session)[0])
    assert set(rows) == set("abcd")
    assert (rows["b"]["metadata"], rows["b"]["vector"], rows["b"]["document"]) == ('{"x":2}', [9.0, 9.0], None)
    assert (rows["a"]["metadata"], rows["a"]["document"]) == ('{"x":1,"y":1}', "d")


def test_traps_of_the_client_that_write_avoids(scratch: Any) -> None:
    """If one of these fails, Chroma has changed and the connector may become simpler."""
    docs = scratch.create_collection("abc", embedding_function=None)
    docs.add(ids=["a"], embeddings=[[1.0, 2.0]], metadatas=[{"i": 1}])
    docs.add(ids=["a", "b"], embeddings=[[7.0, 7.0], [1.0, 1.0]])
    assert docs.get(ids=["a"], include=["embeddings"])["embeddings"].tolist() == [[1.0, 2.0]]
    docs.upsert(ids=["a"], embeddings=[[1.0, 2.0]], metadatas=[{"new": 1}])
    assert docs.get(ids=["a"])["metadatas"] == [{"i": 1, "new": 1}]
    assert docs.get(ids=["b", "zz", "a"], include=[])["ids"] == ["a", "b"]
    with pytest.raises(ValueError, match="non-empty dict"):
        docs.add(ids=["c"], embeddings=[[1.0, 2.0]], metadatas=[{}])
    with pytest.raises(chromadb.errors.InternalError, match="too many SQL variables"):
        docs.get(ids=[str(i) for i in range(40_000)], include=[])
    with pytest.raises(chromadb.errors.InvalidArgumentError, match="Failed to pull logs"):
        docs.add(ids=["poison"], embeddings=[[1.0, 2.0]], metadatas=[{"v": [math.nan]}])
    with pytest.raises(chromadb.errors.InvalidArgumentError, match="Failed to pull logs"):
        docs.add(ids=["healthy"], embeddings=[[1.0, 2.0]])


def test_large_row_groups_are_cut_into_requests(server: ChromaEngine) -> None:
    collection = collection_of(512, name="large")
    matrix = np.random.default_rng(3).standard_normal((160, 512)).astype(np.float32)
    metadata = [{"v": "x" * 300_000} for _ in range(160)]
    batch = batch_of(collection, [f"i{i}" for i in range(160)], matrix, metadata)
    assert batch.nbytes > 40_000_000, "a server takes this in one request"
    load(server.address, batch, collection)
    with open_source(server.address, "large") as session:
        back = session.fetch([("", "i159"), ("", "i20"), ("", "i1")])
    assert dense_matrix(back.column("vector"), collection.vectors[0])[0].tobytes() == matrix[[159, 20, 1]].tobytes()


@pytest.mark.parametrize("dim", [8, 40_000])
def test_pieces_hold_all_rows_once(dim: int) -> None:
    sizes = np.full(10_000, dim * 16 // 3 + 64, np.int64)
    sizes[77] = 60_000_000
    parts = list(cut(sizes, 5461, write._REQUEST_BYTES))
    assert [i for p in parts for i in range(p.start, p.stop)] == list(range(10_000))
    assert all(sizes[p].sum() <= write._REQUEST_BYTES or p.stop - p.start == 1 for p in parts)
    assert max(p.stop - p.start for p in parts) <= 5461


def test_float32_values_that_text_rounds_twice(server: ChromaEngine) -> None:
    hard = np.array([0x15AE43FD, 0x15AE43FE, 0x15AE43FC, 0x00000001, 0x007FFFFF, 0x7F7FFFFF, 0x33D6BF95], np.uint32)
    matrix = np.concatenate([hard, hard | 0x80000000]).astype(np.uint32).view(np.float32)[None, :]
    assert np.float32(float(np.format_float_scientific(matrix[0, 0]))) != matrix[0, 0]
    collection = collection_of(matrix.shape[1], name="ties")
    load(server.address, batch_of(collection, ["a"], matrix), collection)
    with open_source(server.address, "ties") as session:
        back = read(session)[0].column("vector").combine_chunks()
    assert dense_matrix(back, collection.vectors[0])[0].tobytes() == matrix.tobytes()


def test_vectors_that_chroma_has_no_place_for(tmp_path: Path) -> None:
    one = VectorField("a", dim=2, metric="l2")
    sparse = VectorField("", kind="sparse", metric="dot")
    for vectors in ((), (one, replace(one, name="b")), (sparse,), (replace(one, metric="l1"),)):
        with open_target(tmp_path / "db") as target, pytest.raises(NotRepresentable):
            target.prepare(TargetPlan(Collection("docs", vectors=vectors), 1))
    assert not (tmp_path / "db").exists()
