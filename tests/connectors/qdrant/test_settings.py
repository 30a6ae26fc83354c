"""Settings of Qdrant collections: kept in a dump, restored by an allow-list."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qdrant_client import QdrantClient, models
from qdrant_client import grpc as pb

from vecport.connectors.address import Place
from vecport.connectors.contract import TargetPlan
from vecport.connectors.qdrant import schema, settings
from vecport.dump import open_dump
from vecport.errors import NotRepresentable, UsageError
from vecport.operations.diff import diff
from vecport.operations.export import export
from vecport.operations.import_ import import_
from vecport.operations.verify import verify

from .native import NATIVE, import_native, native_of
from .support import CONNECTOR, collection, make, page, source, write


def fill_everything(official: QdrantClient, name: str) -> None:
    """A collection with every kind of setting, 300 records, an alias, and payload indexes with parameters."""
    scalar = models.ScalarQuantizationConfig(type=models.ScalarType.INT8, quantile=0.98, always_ram=True)
    multi = models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM)
    dot = models.Distance.DOT
    index = models.SparseIndexParams(on_disk=True, full_scan_threshold=123, datatype=models.Datatype.UINT8)
    make(
        official,
        name,
        vectors_config={
            "a": models.VectorParams(
                size=4,
                distance=models.Distance.COSINE,
                hnsw_config=models.HnswConfigDiff(m=24, ef_construct=77, payload_m=8, on_disk=True),
                quantization_config=models.ScalarQuantization(scalar=scalar),
                on_disk=True,
            ),
            "b": models.VectorParams(size=2, distance=dot, datatype=models.Datatype.FLOAT16, multivector_config=multi),
            "c": models.VectorParams(size=2, distance=dot, datatype=models.Datatype.FLOAT32),
            "d": models.VectorParams(size=2, distance=dot, datatype=models.Datatype.UINT8),
        },
        sparse_vectors_config={"s": models.SparseVectorParams(modifier=models.Modifier.IDF, index=index)},
        shard_number=2,
        on_disk_payload=True,
        hnsw_config=models.HnswConfigDiff(m=17, ef_construct=123, full_scan_threshold=9999),
        optimizers_config=models.OptimizersConfigDiff(deleted_threshold=0.3, indexing_threshold=4321),
        wal_config=models.WalConfigDiff(wal_capacity_mb=2),
        quantization_config=models.BinaryQuantization(binary=models.BinaryQuantizationConfig(always_ram=True)),
        metadata={"team": "search", "n": [1, 2.5, {"x": None}]},
    )
    rng = np.random.default_rng(6)
    for start in range(0, 300, 100):
        official.upsert(
            name,
            [
                models.PointStruct(
                    id=i,
                    vector={
                        "a": rng.normal(size=4).tolist(),
                        "b": [[0.5, 1], [i, 2]],
                        "c": [i, 0.1],
                        "d": [i % 256, 255],
                        "s": models.SparseVector(indices=[i, 100_000], values=[0.1, 0.2]),
                    }
                    if i % 5
                    else {"c": [i, i]},
                    payload={"year": i, "text": f"words {i}"},
                )
                for i in range(start, start + 100)
            ],
        )
    stop = models.StopwordsSet(languages=[models.Language.ENGLISH], custom=["foo"])
    text = models.TextIndexParams(
        type=models.TextIndexType.TEXT, tokenizer=models.TokenizerType.PREFIX, min_token_len=2, stopwords=stop
    )
    year = models.IntegerIndexParams(type=models.IntegerIndexType.INTEGER, lookup=True, range=False)
    tag = models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, is_tenant=True, on_disk=True)
    for key, params in (("year", year), ("text", text), ("a.b[].c", tag), ("when", models.PayloadSchemaType.DATETIME)):
        official.create_payload_index(name, key, params)
    alias = models.CreateAlias(collection_name=name, alias_name=f"{name}-alias")
    official.update_collection_aliases([models.CreateAliasOperation(create_alias=alias)])


def configured(official: QdrantClient, name: str) -> tuple[Any, Any]:
    """What the official client shows of a collection's settings, without the passport."""
    info = official.get_collection(name)
    config = info.config.model_dump()
    config["metadata"].pop(settings.PASSPORT_KEY, None)
    return config, {key: index.params for key, index in info.payload_schema.items()}


def test_qdrant_to_dump_to_qdrant_is_equal_with_all_settings(
    place: Place, official: QdrantClient, name: str, tmp_path: Path
) -> None:
    fill_everything(official, name)
    before = native_of(place, name)
    assert set(before["payload_indexes"]) == {"year", "text", "a.b[].c", "when"}
    assert before["metadata"] == {"team": "search", "n": [1, 2.5, {"x": None}]}
    config, indexes = configured(official, name)
    export(place.text, tmp_path / "first", collection=name)
    official.delete_collection(name)
    import_(tmp_path / "first", place.text, collection=name)
    assert verify(tmp_path / "first", place.text, collection=name).exit_code == 0
    assert native_of(place, name) == before
    assert configured(official, name) == (config, indexes)
    export(place.text, tmp_path / "second", collection=name)
    first, second = open_dump(str(tmp_path / "first")), open_dump(str(tmp_path / "second"))
    # Halves and unit vectors are stored as they came back the first time, so that not even a bound is needed.
    assert str(first.manifest.identity) == str(second.manifest.identity)
    assert dict(first.collection.native) == dict(second.collection.native) == before
    assert diff(tmp_path / "first", tmp_path / "second").exit_code == 0


def test_alias_that_is_taken_stays_where_it_is(place: Place, official: QdrantClient, name: str) -> None:
    other = f"{name}-other"
    try:
        write(place, collection(other), page(collection(other), ["1"]))
        alias = models.CreateAlias(collection_name=other, alias_name=f"{name}-taken")
        official.update_collection_aliases([models.CreateAliasOperation(create_alias=alias)])
        native = {"aliases": [f"{name}-taken", other, f"{name}-free", name]}
        import_native(place, name, native)
        found = {a.alias_name: a.collection_name for a in official.get_aliases().aliases if a.alias_name[:14] == name}
        assert found == {f"{name}-taken": other, f"{name}-free": name}
    finally:
        official.delete_collection(other)


def test_what_the_user_sets_goes_before_what_the_dump_keeps(place: Place, official: QdrantClient, name: str) -> None:
    import_native(place, name, NATIVE, settings={"hnsw_m": "9", "indexing_threshold": "777", "on_disk": "false"})
    found = native_of(place, name)
    assert (found["hnsw_config"]["m"], found["hnsw_config"]["ef_construct"]) == (9, 123)
    assert found["optimizers_config"]["indexing_threshold"] == 777
    assert found["optimizers_config"]["deleted_threshold"] == 0.3
    assert found["vectors"][""] == {"on_disk": False, "datatype": "Float32", "hnsw_config": {}}
    assert found["payload_indexes"] == NATIVE["payload_indexes"]
    assert found["metadata"] == {k: v for k, v in NATIVE["metadata"].items() if k != settings.PASSPORT_KEY}
    with source(place, name) as session:
        assert session.describe().passport == {"state": "complete"}


def test_dump_s_settings_can_be_left_out_and_an_existing_collection_keeps_its_own(
    place: Place, official: QdrantClient, name: str
) -> None:
    import_native(place, name, NATIVE, settings={"native": "ignore"})
    plain = native_of(place, name)
    assert plain["hnsw_config"]["m"] == 16
    assert not plain["payload_indexes"]
    assert plain["metadata"] == {}
    theirs = NATIVE | {"aliases": [f"{name}-new"]}
    import_native(place, name, theirs, if_exists="append")
    assert native_of(place, name) == plain
    official.delete(name, models.PointIdsList(points=[1]))
    import_native(place, name, theirs)
    assert native_of(place, name) == plain
    with pytest.raises(UsageError, match="keep, ignore"):
        import_native(place, name, NATIVE, settings={"native": "maybe"}, if_exists="append")


def test_quantised_storage_is_marked_and_not_asked_for_again(place: Place) -> None:
    info = pb.CollectionInfo(status=pb.Green)
    params = pb.VectorParams(size=8, distance=pb.Dot, datatype=pb.Turbo4)
    info.config.params.vectors_config.params.CopyFrom(params)
    found = schema.read_collection("c", info, pb)
    assert (found.vectors[0].fidelity, found.vectors[0].dtype) == ("quantised", "float32")
    assert "approximation" in "".join(schema.notes(info, pb, metadata=True, aliases=[]))
    request = schema.create_request(TargetPlan(collection=found, rows=0, native=found.native), pb)
    assert found.native["vectors"][""]["datatype"] == "Turbo4"
    assert not request.vectors_config.params.HasField("datatype")


@pytest.mark.parametrize(
    ("native", "named"),
    [
        ({"shard_number": 0}, "native.shard_number"),
        ({"shard_number": 10**9}, "native.shard_number"),
        ({"shard_number": True}, "native.shard_number"),
        ({"shard_number": "2"}, "native.shard_number"),
        ({"shard_number": 2.0}, "native.shard_number"),
        ({"on_disk_payload": 1}, "native.on_disk_payload"),
        ({"hnsw_config": {"m": -1}}, "native.hnsw_config.m"),
        ({"hnsw_config": {"m": 10**6}}, "native.hnsw_config.m"),
        ({"hnsw_config": {"memory": "Nowhere"}}, "native.hnsw_config.memory"),
        ({"hnsw_config": 7}, "native.hnsw_config"),
        ({"wal_config": {"wal_capacity_mb": 10**9}}, "native.wal_config.wal_capacity_mb"),
        ({"optimizers_config": {"deleted_threshold": 7}}, "native.optimizers_config.deleted_threshold"),
        ({"optimizers_config": {"max_optimization_threads": 3}}, "native.optimizers_config.max_optimization_threads"),
        ({"quantization_config": {"scalar": {"quantile": "x"}}}, "native.quantization_config.scalar.quantile"),
        ({"vectors": []}, "native.vectors"),
        ({"vectors": {"": {"on_disk": "yes"}}}, "native.vectors..on_disk"),
        ({"payload_indexes": {"a": {"type": "sql"}}}, "native.payload_indexes.a"),
        ({"payload_indexes": {"a": {"type": ["text"]}}}, "native.payload_indexes.a"),
        ({"payload_indexes": {"": {"type": "text"}}}, "native.payload_indexes."),
        ({"payload_indexes": {"a": {"type": "text", "params": {"min_token_len": -1}}}}, "min_token_len"),
        ({"payload_indexes": {"a": {"type": "text", "params": {"stopwords": {"custom": [1]}}}}}, "stopwords.custom"),
        ({"payload_indexes": {"a": {"type": "keyword", "params": {"nested": "x" * 2000}}}}, "nested"),
        ({"payload_indexes": {str(i): {"type": "bool"} for i in range(1001)}}, "1001 indexes"),
        ({"metadata": "x"}, "native.metadata"),
        ({"metadata": {"n": 2**64}}, "native.metadata"),
        ({"aliases": "production"}, "native.aliases"),
        ({"aliases": ["a/b"]}, "alias name 'a/b'"),
        ({"aliases": ["x" * 256]}, "native.aliases"),
        ({"read_fan_out_factor": -3}, "native.read_fan_out_factor"),
    ],
)
def test_settings_of_a_stranger_are_checked_before_anything_is_created(
    place: Place, name: str, native: dict[str, Any], named: str
) -> None:
    with pytest.raises(NotRepresentable) as caught:
        import_native(place, name, native)
    assert named in caught.value.what
    with CONNECTOR.open_target(place, name) as target:
        assert target.describe() is None


def test_settings_that_no_table_names_are_not_looked_at() -> None:
    native = {"init_from": "other", "hnsw_config": {"m": 20, "exec": "rm"}, "strict_mode_config": {"enabled": True}}
    plan = TargetPlan(collection=collection("c"), rows=0, native=native)
    request = schema.create_request(plan, pb)
    assert request.hnsw_config == pb.HnswConfigDiff(m=20)
    assert not request.HasField("strict_mode_config")
