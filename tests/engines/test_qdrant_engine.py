"""What the Qdrant engine promises, seen through the official client: the API, its limits and codes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import grpc
import numpy as np
import pytest
from qdrant_client import QdrantClient, models
from qdrant_client import grpc as pb

from vecport.testing.engines import EngineError, QdrantEngine

EVERY_JSON_KIND = {
    "string": "text, \u00e9 \U0001f600 and \x00",
    "empty string": "",
    "integer": 7,
    "largest": 2**63 - 1,
    "smallest": -(2**63),
    "float": 0.1,
    "whole float": 1.0,
    "minus zero": -0.0,
    "tiny": 5e-324,
    "huge": 1.7976931348623157e308,
    "true": True,
    "false": False,
    "null": None,
    "list": [1, 1.5, "a", None, True, [], [[2]], {"deep": [3]}],
    "empty list": [],
    "object": {"a": {"b": {"c": None}}},
    "empty object": {},
    "": "empty key",
    "dotted.key": 1,
}


# -- the service ---------------------------------------------------------------------------------


def connect(engine: QdrantEngine, **options: Any) -> QdrantClient:
    options |= {"prefer_grpc": True, "https": False, "check_compatibility": False, "timeout": 30}
    return QdrantClient("127.0.0.1", port=engine.port, grpc_port=engine.grpc_port, **options)


@pytest.fixture(scope="module")
def qdrant() -> Iterator[QdrantEngine]:
    with QdrantEngine() as engine:
        yield engine


@pytest.fixture(scope="module")
def client(qdrant: QdrantEngine) -> Iterator[QdrantClient]:
    client = connect(qdrant)
    yield client
    client.close()


@pytest.fixture
def name(client: QdrantClient) -> str:
    """A new collection of unnamed vectors of two dimensions that are stored as they are."""
    name = f"test-{uuid4().hex}"
    client.create_collection(name, models.VectorParams(size=2, distance=models.Distance.DOT))
    return name


def point(id: int | str, vector: Any = (1.0, 2.0), **payload: Any) -> models.PointStruct:
    return models.PointStruct(id=id, vector=vector if isinstance(vector, dict) else list(vector), payload=payload)


def refused(code: grpc.StatusCode, call: Callable[[], Any]) -> str:
    """Make a call that has to fail with `code`; return what the server says."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    assert caught.value.code() == code
    return str(caught.value.details())


def scroll_ids(client: QdrantClient, name: str, limit: int, **options: Any) -> list[int | str]:
    ids: list[int | str] = []
    offset = None
    while True:
        records, offset = client.scroll(name, limit=limit, offset=offset, **options)
        ids += [record.id for record in records]
        if offset is None:
            return ids


def test_qdrant_tells_its_version_over_http_and_grpc(qdrant: QdrantEngine, client: QdrantClient) -> None:
    from qdrant_client.common.version_check import get_server_version, is_compatible

    version = get_server_version(f"http://127.0.0.1:{qdrant.port}", {}, None, 5)
    assert version == client.info().version
    assert is_compatible(version, version)
    assert client.info().title == "qdrant - vector search engine"


@pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection")
def test_qdrant_asks_for_its_api_key() -> None:
    with QdrantEngine(api_key="right", read_only_api_key="reader") as engine:
        for key in (None, "wrong"):
            stranger = connect(engine, api_key=key)
            refused(grpc.StatusCode.UNAUTHENTICATED, stranger.get_collections)
            assert stranger.info().version
        owner, reader = connect(engine, api_key="right"), connect(engine, api_key="reader")
        owner.create_collection("c", models.VectorParams(size=2, distance=models.Distance.DOT))
        assert [found.name for found in reader.get_collections().collections] == ["c"]
        assert reader.scroll("c") == ([], None)
        refused(grpc.StatusCode.PERMISSION_DENIED, lambda: reader.upsert("c", [point(1)]))


def test_acknowledged_changes_survive_the_death_of_qdrant(tmp_path: Path) -> None:
    with QdrantEngine(tmp_path) as engine:
        client = connect(engine)
        client.create_collection("c", models.VectorParams(size=2, distance=models.Distance.DOT))
        client.upsert("c", [point(number, n=number) for number in range(500)], wait=True)
        client.delete("c", models.PointIdsList(points=list(range(100))), wait=True)
        client.set_payload("c", {"changed": True}, points=[100], wait=True)
        client.create_payload_index("c", "n", models.PayloadSchemaType.INTEGER, wait=True)
        client.update_collection("c", metadata={"seen": [1, None]})
        rename = models.CreateAlias(collection_name="c", alias_name="alias")
        client.update_collection_aliases([models.CreateAliasOperation(create_alias=rename)])
        for kill in (True, False):
            client.close()
            engine.restart(kill=kill)
            client = connect(engine)
            info = client.get_collection("alias")
            assert scroll_ids(client, "c", limit=1000) == list(range(100, 500))
            assert client.retrieve("c", [100])[0].payload == {"n": 100, "changed": True}
            assert info.config.metadata == {"seen": [1, None]}
            assert info.payload_schema["n"].points == 400


def test_a_folder_serves_one_qdrant_at_a_time(tmp_path: Path) -> None:
    with QdrantEngine(tmp_path) as engine:
        connect(engine).create_collection("c", models.VectorParams(size=2, distance=models.Distance.DOT))
        with pytest.raises(EngineError, match="WAL"):
            QdrantEngine(tmp_path).start()


# -- collections ---------------------------------------------------------------------------------


def test_what_does_not_exist_is_not_found(client: QdrantClient, name: str) -> None:
    missing = "no such collection"
    for call in (
        lambda: client.get_collection(missing),
        lambda: client.scroll(missing),
        lambda: client.count(missing),
        lambda: client.upsert(missing, [point(1)]),
        lambda: client.query_points(missing, query=[1.0, 2.0]),
        lambda: client.set_payload(name, {"a": 1}, points=[404], wait=True),
    ):
        assert refused(grpc.StatusCode.NOT_FOUND, call).startswith("Not found: ")
    assert not client.collection_exists(missing)
    assert not client.delete_collection(missing)


def test_a_collection_is_created_once(client: QdrantClient, name: str) -> None:
    again = models.VectorParams(size=3, distance=models.Distance.COSINE)
    refused(grpc.StatusCode.ALREADY_EXISTS, lambda: client.create_collection(name, again))
    assert client.get_collection(name).config.params.vectors.size == 2
    assert client.delete_collection(name)
    assert not client.collection_exists(name)


@pytest.mark.parametrize("bad", ["a/b", "", "x" * 256, 'quote"'])
def test_a_collection_name_out_of_the_limits_is_refused(client: QdrantClient, bad: str) -> None:
    vectors = models.VectorParams(size=2, distance=models.Distance.DOT)
    refused(grpc.StatusCode.INVALID_ARGUMENT, lambda: client.create_collection(bad, vectors))


def test_a_configuration_comes_back_as_it_was_given(client: QdrantClient) -> None:
    name = f"test-{uuid4().hex}"
    multi = models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM)
    vectors = {
        "cosine": models.VectorParams(size=3, distance=models.Distance.COSINE),
        "half": models.VectorParams(size=4, distance=models.Distance.DOT, datatype=models.Datatype.FLOAT16),
        "bytes": models.VectorParams(size=5, distance=models.Distance.EUCLID, datatype=models.Datatype.UINT8),
        "rows": models.VectorParams(size=6, distance=models.Distance.MANHATTAN, multivector_config=multi),
    }
    sparse = {"words": models.SparseVectorParams(modifier=models.Modifier.IDF)}
    client.create_collection(
        name,
        vectors,
        sparse_vectors_config=sparse,
        hnsw_config=models.HnswConfigDiff(m=32),
        optimizers_config=models.OptimizersConfigDiff(indexing_threshold=0),
        metadata={"all": EVERY_JSON_KIND, "old": 1},
    )
    changes = models.OptimizersConfigDiff(indexing_threshold=10000)
    client.update_collection(name, optimizers_config=changes, metadata={"old": None, "new": 2.0})
    info = client.get_collection(name)
    assert info.config.params.vectors == vectors
    assert info.config.params.sparse_vectors == sparse
    assert info.config.hnsw_config.m == 32
    assert info.config.hnsw_config.ef_construct == 100
    assert info.config.optimizer_config.indexing_threshold == 10000
    assert exact(info.config.metadata) == exact({"all": EVERY_JSON_KIND, "new": 2.0})
    assert (info.status, info.optimizer_status) == ("green", "ok")
    assert info.points_count == 0


def exact(value: Any) -> str:
    """Return a text that tells 1 from 1.0 and true, and keeps every digit."""
    return json.dumps(value, sort_keys=True)


# -- points --------------------------------------------------------------------------------------


def test_payload_of_every_json_kind_comes_back_exact(client: QdrantClient, name: str) -> None:
    client.upsert(name, [models.PointStruct(id=1, vector=[1.0, 2.0], payload=EVERY_JSON_KIND)], wait=True)
    scrolled, _ = client.scroll(name)
    (retrieved,) = client.retrieve(name, [1])
    assert exact(scrolled[0].payload) == exact(retrieved.payload) == exact(EVERY_JSON_KIND)
    assert client.retrieve(name, [1], with_payload=False)[0].payload in (None, {})
    assert client.retrieve(name, [1], with_payload=["object.a"])[0].payload == {"object": {"a": {"b": {"c": None}}}}


def test_an_upsert_replaces_payload_and_vectors_of_a_point(client: QdrantClient) -> None:
    name = f"test-{uuid4().hex}"
    dot = models.VectorParams(size=2, distance=models.Distance.DOT)
    client.create_collection(name, {"a": dot, "b": dot})
    client.upsert(name, [point(1, {"a": [1.0, 2.0], "b": [3.0, 4.0]}, old=1, both=1)], wait=True)
    client.upsert(name, [point(1, {"b": [5.0, 6.0]}, new=2, both=2)], wait=True)
    (record,) = client.retrieve(name, [1], with_vectors=True)
    assert record.payload == {"new": 2, "both": 2}
    assert record.vector == {"b": [5.0, 6.0]}


def test_float32_vectors_come_back_bit_for_bit(client: QdrantClient) -> None:
    name = f"test-{uuid4().hex}"
    client.create_collection(name, models.VectorParams(size=384, distance=models.Distance.DOT))
    vectors = np.random.default_rng(1).standard_normal((300, 384)).astype(np.float32)
    vectors[0, :4] = np.array([-0.0, 1e-45, 3.4028235e38, 1.1754944e-38], np.float32)
    client.upload_collection(name, vectors, ids=range(300), wait=True)
    records, _ = client.scroll(name, limit=300, with_vectors=True)
    assert np.array([record.vector for record in records], np.float32).tobytes() == vectors.tobytes()


def test_cosine_vectors_come_back_normalised(client: QdrantClient) -> None:
    name = f"test-{uuid4().hex}"
    client.create_collection(name, models.VectorParams(size=2, distance=models.Distance.COSINE))
    client.upsert(name, [point(1, [3.0, 4.0]), point(2, [0.0, 0.0])], wait=True)
    found = [record.vector for record in client.retrieve(name, [1, 2], with_vectors=True)]
    assert found == [pytest.approx([0.6, 0.8]), [0.0, 0.0]]
    assert client.query_points(name, query=[6.0, 8.0], limit=1).points[0].score == pytest.approx(1.0)


def test_every_kind_of_vector_comes_back(client: QdrantClient) -> None:
    name = f"test-{uuid4().hex}"
    multi = models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM)
    dot = {"size": 2, "distance": models.Distance.DOT}
    client.create_collection(
        name,
        {
            "dense": models.VectorParams(**dot),
            "half": models.VectorParams(**dot, datatype=models.Datatype.FLOAT16),
            "bytes": models.VectorParams(**dot, datatype=models.Datatype.UINT8),
            "rows": models.VectorParams(**dot, multivector_config=multi),
        },
        sparse_vectors_config={"words": models.SparseVectorParams()},
    )
    words = models.SparseVector(indices=[70000, 3], values=[0.5, 0.0])
    given = {"dense": [0.1, 2.0], "half": [0.1, 2.0], "bytes": [7.0, 255.0], "rows": [[1.0, 2.0], [3.0, 4.0]]}
    client.upsert(name, [point(1, {**given, "words": words}), point(2, {})], wait=True)
    first, second = client.retrieve(name, [1, 2], with_vectors=True)
    rounded = {name: np.array([0.1, 2.0], kind).tolist() for name, kind in (("dense", "f4"), ("half", "f2"))}
    assert first.vector == {
        **given,
        **rounded,
        "words": models.SparseVector(indices=[3, 70000], values=[0.0, 0.5]),
    }
    assert second.vector == {}
    assert client.query_points(name, query=words, using="words").points[0].id == 1
    assert client.query_points(name, query=[[1.0, 0.0]], using="rows").points[0].score == 3.0


def test_vectors_in_the_deprecated_fields_are_taken(qdrant: QdrantEngine, client: QdrantClient, name: str) -> None:
    old = pb.PointStruct(id=pb.PointId(num=1), vectors=pb.Vectors(vector=pb.Vector(data=[7.0, 8.0])))
    with grpc.insecure_channel(f"127.0.0.1:{qdrant.grpc_port}") as channel:
        stub = pb.PointsStub(channel)
        stub.Upsert(pb.UpsertPoints(collection_name=name, wait=True, points=[old]))
        everything = pb.WithVectorsSelector(enable=True)
        answer = stub.Scroll(pb.ScrollPoints(collection_name=name, with_vectors=everything))
    assert list(answer.result[0].vectors.vector.dense.data) == [7.0, 8.0]


def test_a_vector_that_does_not_fit_is_refused(client: QdrantClient, name: str) -> None:
    said = refused(grpc.StatusCode.INVALID_ARGUMENT, lambda: client.upsert(name, [point(1, [1.0])], wait=True))
    assert "expected dim: 2, got 1" in said
    for bad in (
        {"other": [1.0, 2.0]},
        [[1.0, 2.0], [3.0]],
        {"": models.SparseVector(indices=[1, 1], values=[1, 2])},
    ):
        wrong = models.PointStruct(id=1, vector=bad)
        refused(grpc.StatusCode.INVALID_ARGUMENT, partial(client.upsert, name, [wrong], wait=True))
    assert client.count(name).count == 0


def test_a_request_that_does_not_wait_is_acknowledged_even_when_refused(client: QdrantClient, name: str) -> None:
    answer = client.upsert(name, [point(1, [1.0])], wait=False)
    assert answer.status == models.UpdateStatus.ACKNOWLEDGED
    assert client.count(name).count == 0


def test_an_id_that_is_neither_integer_nor_uuid_is_refused(client: QdrantClient, name: str) -> None:
    refused(grpc.StatusCode.INVALID_ARGUMENT, lambda: client.upsert(name, [point("abc")], wait=True))


def test_integer_ids_come_before_uuids_and_both_in_order(client: QdrantClient, name: str) -> None:
    numbers: list[int | str] = [2**64 - 1, 10, 9, 0]
    uuids = [str(UUID(int=number)) for number in (2**128 - 1, 2**127, 5)]
    client.upsert(name, [point(id) for id in [uuids[0], *numbers, *uuids[1:]]], wait=True)
    assert scroll_ids(client, name, limit=2) == [0, 9, 10, 2**64 - 1, *sorted(uuids)]
    client.upsert(name, [point(uuids[1].upper().replace("-", ""), same=True)], wait=True)
    assert client.retrieve(name, [uuids[1]])[0].payload == {"same": True}


@pytest.fixture(scope="module")
def thousand(client: QdrantClient) -> str:
    """A collection of 1000 points: integer and UUID ids, in no order."""
    name = f"test-{uuid4().hex}"
    client.create_collection(name, models.VectorParams(size=2, distance=models.Distance.DOT))
    ids = [number if number % 2 else str(uuid4()) for number in range(1000)]
    payload = [{"n": number, "tag": "ab"[number % 2], "even": number % 2 == 0} for number in range(1000)]
    client.upload_collection(name, np.ones((1000, 2), np.float32), payload, ids, wait=True)
    return name


@pytest.mark.parametrize("limit", [7, 100, 1000, 5000])
def test_a_scroll_in_pages_gives_each_id_once(client: QdrantClient, thousand: str, limit: int) -> None:
    ids = scroll_ids(client, thousand, limit=limit)
    assert len(ids) == len(set(ids)) == client.count(thousand, exact=True).count == 1000


def test_the_offset_of_a_scroll_is_its_first_id(client: QdrantClient, thousand: str) -> None:
    page, following = client.scroll(thousand, limit=10, offset=501)
    assert [record.id for record in page] == list(range(501, 521, 2))
    assert following == 521


def test_slices_are_disjoint_and_complete(client: QdrantClient, thousand: str) -> None:
    slices = []
    for index in range(7):
        part = models.SliceCondition(slice=models.Slice(total=7, index=index))
        slices.append(scroll_ids(client, thousand, limit=50, scroll_filter=models.Filter(must=[part])))
    together = [id for ids in slices for id in ids]
    assert sorted(map(str, together)) == sorted(map(str, scroll_ids(client, thousand, limit=1000)))
    assert all(slices)


def equals(key: str, value: Any) -> models.FieldCondition:
    return models.FieldCondition(key=key, match=models.MatchValue(value=value))


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (models.Filter(must=[equals("n", 5)]), 1),
        (models.Filter(must=[equals("tag", "a")]), 500),
        (models.Filter(must=[equals("even", True)]), 500),
        (models.Filter(must_not=[equals("tag", "a"), equals("n", 1)]), 499),
        (models.Filter(should=[equals("n", 5), equals("n", 6)]), 2),
        (models.Filter(must=[models.FieldCondition(key="n", range=models.Range(gte=10, lt=20))]), 10),
        (models.Filter(must=[models.FieldCondition(key="n", match=models.MatchAny(any=[1, 2, 3]))]), 3),
        (models.Filter(must=[models.HasIdCondition(has_id=[1, 3, 4, str(uuid4())])]), 2),
        (models.Filter(must=[models.IsEmptyCondition(is_empty=models.PayloadField(key="none"))]), 1000),
        (models.Filter(must=[models.Filter(should=[equals("n", 1), equals("n", 2)]), equals("tag", "a")]), 1),
    ],
)
def test_a_filter_selects(client: QdrantClient, thousand: str, query: models.Filter, expected: int) -> None:
    assert client.count(thousand, count_filter=query).count == expected
    assert len(scroll_ids(client, thousand, limit=1000, scroll_filter=query)) == expected


def test_a_query_finds_the_nearest_that_pass_the_filter(client: QdrantClient, name: str) -> None:
    client.upsert(name, [point(number, [number, 1.0], n=number) for number in range(10)], wait=True)
    low = models.Filter(must=[models.FieldCondition(key="n", range=models.Range(lt=5))])
    found = client.query_points(name, query=[1.0, 0.0], query_filter=low, limit=3, with_vectors=True).points
    assert [(hit.id, hit.score, hit.vector) for hit in found] == [
        (4, 4.0, [4.0, 1.0]),
        (3, 3.0, [3.0, 1.0]),
        (2, 2.0, [2.0, 1.0]),
    ]
    assert [hit.id for hit in client.query_points(name, query=9, limit=1).points] == [8]


def test_points_are_deleted_by_id_and_by_filter(client: QdrantClient, name: str) -> None:
    client.upsert(name, [point(number, n=number) for number in range(10)], wait=True)
    client.delete(name, models.PointIdsList(points=[0, 404]), wait=True)
    client.delete(name, models.FilterSelector(filter=models.Filter(must=[equals("n", 1)])), wait=True)
    assert scroll_ids(client, name, limit=100) == list(range(2, 10))


def test_payload_is_merged_removed_and_cleared(client: QdrantClient, name: str) -> None:
    client.upsert(name, [point(1, a=1, b=2)], wait=True)
    client.set_payload(name, {"c": {"d": 3}}, points=[1], wait=True)
    client.delete_payload(name, ["a"], points=[1], wait=True)
    assert client.retrieve(name, [1])[0].payload == {"b": 2, "c": {"d": 3}}
    client.clear_payload(name, [1], wait=True)
    assert client.retrieve(name, [1])[0].payload == {}


def test_payload_indexes_come_back_with_their_parameters(client: QdrantClient, name: str) -> None:
    indexes = {
        "plain": models.PayloadSchemaType.INTEGER,
        "word": models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, is_tenant=True, on_disk=True),
        "text": models.TextIndexParams(
            type=models.TextIndexType.TEXT,
            tokenizer=models.TokenizerType.WORD,
            lowercase=True,
            stopwords=models.StopwordsSet(languages=[models.Language.ENGLISH], custom=["foo"]),
        ),
    }
    for field, schema in indexes.items():
        client.create_payload_index(name, field, schema, wait=True)
    client.create_payload_index(name, "gone", models.PayloadSchemaType.FLOAT, wait=True)
    client.delete_payload_index(name, "gone", wait=True)
    found = client.get_collection(name).payload_schema
    assert {field: index.params or index.data_type for field, index in found.items()} == indexes


def test_what_is_not_implemented_says_so(client: QdrantClient, name: str) -> None:
    client.upsert(name, [point(1)], wait=True)
    likes = models.RecommendQuery(recommend=models.RecommendInput(positive=[1]))
    said = refused(grpc.StatusCode.UNIMPLEMENTED, lambda: client.query_points(name, query=likes))
    assert "`recommend`" in said
    refused(grpc.StatusCode.UNIMPLEMENTED, lambda: client.list_snapshots(name))
    refused(grpc.StatusCode.UNIMPLEMENTED, lambda: client.scroll(name, shard_key_selector="key"))
