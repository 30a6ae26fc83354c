"""Settings of Qdrant collections: kept in a dump, restored by an allow-list, changed for a load and put back.

``VECPORT_TEST_QDRANT=qdrant://127.0.0.1:6333`` runs the same tests against a live server.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qdrant_client import QdrantClient, models
from qdrant_client import grpc as pb

from tests.connectors.qdrant_bench import CONNECTOR, MARK, collection, make, name, official, page, place, source, write
from vecport.connectors.address import Place
from vecport.connectors.contract import TargetPlan
from vecport.connectors.qdrant import QdrantTarget, schema, settings
from vecport.connectors.qdrant.backend import ServerBackend
from vecport.dump import open_dump
from vecport.errors import AuthenticationFailed, NotRepresentable, UsageError, VecportError
from vecport.operations.diff import diff
from vecport.operations.export import export
from vecport.operations.import_ import import_
from vecport.operations.verify import verify

__all__ = ["name", "official", "place"]

NATIVE: dict[str, Any] = {
    "shard_number": 2,
    "on_disk_payload": True,
    "hnsw_config": {"m": 17, "ef_construct": 123},
    "optimizers_config": {"indexing_threshold": 4321, "deleted_threshold": 0.3},
    "vectors": {"": {"hnsw_config": {"m": 24}, "on_disk": True, "datatype": "Float32"}},
    "payload_indexes": {
        "year": {"type": "integer", "params": {"lookup": True, "range": False}},
        "ok": {"type": "bool"},
    },
    "metadata": {"team": "search", "n": [1, 2.5, {"x": None, "y": True}], settings.PASSPORT_KEY: "not ours"},
}


def native_of(place: Place, name: str) -> dict[str, Any]:
    with source(place, name) as session:
        return dict(session.describe().collection.native)


def stored(official: QdrantClient, name: str, key: str) -> Any:
    return (official.get_collection(name).config.metadata or {}).get(key)


def threshold(official: QdrantClient, name: str) -> int | None:
    return official.get_collection(name).config.optimizer_config.indexing_threshold


# ---- Qdrant -> dump -> Qdrant ----


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


def import_native(place: Place, name: str, native: dict[str, Any], **plan: Any) -> None:
    c = collection(name)
    made = TargetPlan(collection=c, rows=1, native=native, **plan)
    with CONNECTOR.open_target(place, name) as target:
        target.prepare(made)
        target.write(page(c, ["1"], metadata=[{"year": 2020}]), MARK)
        target.finish({"state": "complete"})


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


# ---- what a load changes ----


def test_index_waits_for_the_load_and_gets_its_threshold_back(place: Place, official: QdrantClient, name: str) -> None:
    c = collection(name)
    plan = TargetPlan(collection=c, rows=1, native=NATIVE, import_id="me")
    with CONNECTOR.open_target(place, name) as target:
        target.prepare(plan)
        assert threshold(official, name) == 0
        with source(place, name) as session:
            assert "has not ended" in "".join(session.describe().notes)
            assert settings.LOAD_KEY not in session.describe().collection.native["metadata"]
        target.write(page(c, ["1"]), MARK)
        target.finish({"state": "complete"})
        assert threshold(official, name) == 4321
        assert stored(official, name, settings.LOAD_KEY) is None


def test_interrupted_load_puts_back_what_it_changed_and_the_next_one_knows_it(
    place: Place, official: QdrantClient, name: str
) -> None:
    c = collection(name)
    plan = TargetPlan(collection=c, rows=1, native=NATIVE)
    with CONNECTOR.open_target(place, name) as target:
        target.prepare(plan)
        assert threshold(official, name) == 0
    assert threshold(official, name) == 4321
    assert stored(official, name, settings.LOAD_KEY) is not None
    again = TargetPlan(collection=c, rows=1, native=NATIVE, resume=True)
    with CONNECTOR.open_target(place, name) as target:
        target.prepare(again)
        assert threshold(official, name) == 0
        target.write(page(c, ["1"]), MARK)
        target.finish({})
    assert threshold(official, name) == 4321
    assert stored(official, name, settings.LOAD_KEY) is None


_KILLED = """
import os, signal, sys
from vecport.connectors.address import parse
from vecport.connectors.contract import TargetPlan
from vecport.connectors.qdrant import QdrantConnector
from vecport.model.collection import Collection, VectorField

address, name, resume = sys.argv[1:]
c = Collection(name=name, id_kind="int|uuid", vectors=(VectorField(name="", dim=4, metric="dot"),))
native = {"optimizers_config": {"indexing_threshold": 4321, "prevent_unoptimized": True}}
target = QdrantConnector().open_target(parse(address), name)
target.prepare(TargetPlan(collection=c, rows=1, native=native, resume=bool(resume)))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_killed_load_puts_back_what_it_changed_when_it_goes_on(place: Place, official: QdrantClient, name: str) -> None:
    for resume in ("", "yes"):
        script = [sys.executable, "-c", _KILLED, place.text, name, resume]
        killed = subprocess.run(script, cwd=Path(__file__).parents[2], env=os.environ, check=False)
        assert killed.returncode == -signal.SIGKILL
        assert threshold(official, name) == 0
    c = collection(name)
    native = {"optimizers_config": {"indexing_threshold": 4321, "prevent_unoptimized": True}}
    with CONNECTOR.open_target(place, name) as target:
        target.prepare(TargetPlan(collection=c, rows=1, native=native, resume=True))
        target.write(page(c, ["1"]), MARK)
        target.finish({})
    found = native_of(place, name)["optimizers_config"]
    assert (found["indexing_threshold"], found["prevent_unoptimized"]) == (4321, True)
    assert stored(official, name, settings.LOAD_KEY) is None


def test_collection_whose_creator_was_killed_gets_its_indexes_all_the_same(
    place: Place, official: QdrantClient, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("vecport.connectors.qdrant.load.begin", killed)
        with pytest.raises(KeyboardInterrupt):
            import_native(place, name, NATIVE)
    assert threshold(official, name) == 4321
    import_native(place, name, NATIVE | {"aliases": [f"{name}-alias"]}, resume=True)
    found = native_of(place, name)
    assert found["payload_indexes"] == NATIVE["payload_indexes"]
    assert (found["aliases"], threshold(official, name)) == ([f"{name}-alias"], 4321)
    assert stored(official, name, settings.LOAD_KEY) is None


def test_server_that_keeps_no_metadata_gets_its_indexes_and_keeps_its_threshold(
    place: Place, official: QdrantClient, name: str
) -> None:
    c = collection(name)
    with CONNECTOR.open_target(place, name) as target:
        assert isinstance(target, QdrantTarget)
        target._backend.keeps_metadata = False
        target.prepare(TargetPlan(collection=c, rows=1, native=NATIVE))
        assert threshold(official, name) == 4321
        target.write(page(c, ["1"]), MARK)
        target.finish({})
    assert native_of(place, name)["payload_indexes"] == NATIVE["payload_indexes"]


def test_aliases_that_a_key_may_not_list_are_said_to_be_left_out(
    place: Place, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(self: Any, collection: str) -> list[str]:
        raise AuthenticationFailed("listing the aliases failed")

    write(place, collection(name), page(collection(name), ["1"]))
    monkeypatch.setattr(ServerBackend, "aliases", refused)
    with source(place, name) as session:
        assert "may not list aliases" in "".join(session.describe().notes)


def test_collection_that_is_appended_to_keeps_its_threshold_all_the_time(
    place: Place, official: QdrantClient, name: str
) -> None:
    write(place, collection(name), page(collection(name), ["1"]), settings={"indexing_threshold": "55"})
    with CONNECTOR.open_target(place, name) as target:
        target.prepare(TargetPlan(collection=collection(name), rows=1, if_exists="append", import_id="other"))
        assert threshold(official, name) == 55
    theirs = '{"created": true, "import_id": "its", "optimizers": {"indexing_threshold": 99}}'
    official.update_collection(name, metadata={settings.LOAD_KEY: theirs})
    write(place, collection(name), page(collection(name), ["2"]))
    with CONNECTOR.open_target(place, name) as target:
        target.prepare(TargetPlan(collection=collection(name), rows=1, if_exists="append", native=NATIVE))
        target.finish({})
    assert (threshold(official, name), stored(official, name, settings.LOAD_KEY)) == (55, theirs)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "7",
        '{"x": 1}',
        '{"created": 1, "import_id": "", "optimizers": {}}',
        '{"created": true, "optimizers": {}}',
        '{"created": true, "import_id": "", "optimizers": 3}',
        '{"created": true, "import_id": "", "optimizers": {"hnsw": 1}}',
        '{"created": true, "import_id": "", "optimizers": {"indexing_threshold": -5}}',
        '{"created": true, "import_id": "", "optimizers": {"indexing_threshold": true}}',
        '{"created": true, "import_id": "", "optimizers": {"prevent_unoptimized": 1}}',
    ],
)
def test_what_a_load_wrote_down_is_not_guessed_when_it_cannot_be_read(
    place: Place, official: QdrantClient, name: str, text: str
) -> None:
    make(official, name, vectors_config=models.VectorParams(size=4, distance=models.Distance.DOT),
         metadata={settings.LOAD_KEY: text})  # fmt: skip
    with CONNECTOR.open_target(place, name) as target, pytest.raises(NotRepresentable, match="vecport_load"):
        target.prepare(TargetPlan(collection=collection(name), rows=0))


def test_finish_goes_on_waiting_while_the_index_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.connectors.test_qdrant import Script, facts

    clock = iter(range(0, 10_000, 5))
    monkeypatch.setattr("vecport.connectors.qdrant.target.time.monotonic", lambda: float(next(clock)))
    monkeypatch.setattr("vecport.connectors.qdrant.target._LONGEST_PAUSE", 0.0)
    monkeypatch.setattr("vecport.connectors.qdrant.target._FIRST_PAUSE", 0.0)
    growing = [facts(status=pb.Yellow, indexed_vectors_count=n) for n in range(40)]
    script = Script([], [facts(), *growing, facts()])
    QdrantTarget(script, "c", settle_seconds=20).finish({})
    assert len(script.infos) == 1
    stuck = [facts(status=pb.Yellow, indexed_vectors_count=7) for _ in range(40)]
    script = Script([], [facts(), *stuck, facts()])
    QdrantTarget(script, "c", settle_seconds=20).finish({})
    assert len(script.infos) > 30


# ---- an application beside the import ----


class _Application(threading.Thread):
    """Writes newer versions of records, over and over, and remembers the last one of each."""

    def __init__(self, official: QdrantClient, name: str) -> None:
        super().__init__(daemon=True)
        self.official, self.name_, self.stop, self.last = official, name, threading.Event(), dict[int, int]()

    def run(self) -> None:
        version = 0
        rng = np.random.default_rng(8)
        while not self.stop.is_set() or version < 20:
            version += 1
            ids = rng.choice(4000, 40, replace=False).tolist()
            points = [models.PointStruct(id=i, vector=[i, version, 0, 1], payload={"app": version}) for i in ids]
            try:
                self.official.upsert(self.name_, points, wait=True)
            except Exception:
                # The import has not created the collection yet.
                version -= 1
                continue
            self.last |= dict.fromkeys(ids, version)


@pytest.fixture
def dump(place: Place, official: QdrantClient, name: str, tmp_path: Path) -> Path:
    other = f"{name}-dump"
    make(official, other, vectors_config=models.VectorParams(size=4, distance=models.Distance.DOT))
    official.upload_collection(
        other, np.ones((4000, 4), np.float32), [{"old": i} for i in range(4000)], list(range(4000)), 500, wait=True
    )
    export(place.text, tmp_path / "dump", collection=other)
    official.delete_collection(other)
    return tmp_path / "dump"


def test_application_that_writes_through_the_import_keeps_its_newer_rows(
    place: Place, official: QdrantClient, name: str, dump: Path
) -> None:
    application = _Application(official, name)
    application.start()
    try:
        import_(dump, place.text, collection=name, on_conflict="skip", workers=1)
    finally:
        application.stop.set()
        application.join(60)
    points, _ = official.scroll(name, limit=5000)
    assert len(points) == 4000
    assert len(application.last) > 100
    found = {int(p.id): p.payload for p in points}
    assert {i: p for i, p in found.items() if i in application.last} == {
        i: {"app": version} for i, version in application.last.items()
    }
    assert {i: p for i, p in found.items() if i not in application.last} == {
        i: {"old": i} for i in found if i not in application.last
    }


@pytest.mark.parametrize("choice", ["skip", "fail"])
def test_no_choice_is_offered_where_a_server_would_replace_all_the_same(place: Place, name: str, choice: str) -> None:
    with CONNECTOR.open_target(place, name) as target:
        assert isinstance(target, QdrantTarget)
        target._backend.skips = False
        with pytest.raises(UsageError, match=f"--on-conflict {choice}"):
            target.prepare(TargetPlan(collection=collection(name), rows=0, on_conflict=choice))
        assert target.describe() is None
        with pytest.raises(VecportError, match="on-conflict"):
            target.prepare(TargetPlan(collection=collection(name), rows=0, on_conflict="merge"))


def test_local_folder_gives_its_metadata_and_no_settings_that_nobody_chose(
    place: Place, official: QdrantClient, name: str, tmp_path: Path
) -> None:
    with closing(QdrantClient(path=str(tmp_path / "db"))) as local:
        make(local, "c", metadata={"team": "search"})
        local.upsert("c", [models.PointStruct(id=1, vector=[1, 2])])
    export(f"qdrant:{tmp_path / 'db'}", tmp_path / "dump")
    assert dict(open_dump(str(tmp_path / "dump")).collection.native) == {"metadata": {"team": "search"}, "aliases": []}
    import_(tmp_path / "dump", place.text, collection=name)
    assert stored(official, name, "team") == "search"
    assert threshold(official, name) not in (0, None)
