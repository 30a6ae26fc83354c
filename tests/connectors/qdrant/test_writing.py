"""Writing collections of Qdrant: what is created, replaced, refused, and when the end is the end."""

from __future__ import annotations

import re
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from qdrant_client import QdrantClient, models
from qdrant_client import grpc as pb

from vecport.connectors.address import Place
from vecport.connectors.contract import TargetPlan
from vecport.connectors.qdrant import QdrantTarget, settings
from vecport.connectors.qdrant.backend import ServerBackend
from vecport.errors import AlreadyExists, Incomplete, NotRepresentable, Unavailable, UsageError, VecportError
from vecport.model.batch import dense_array, make_page
from vecport.model.collection import Collection, VectorField
from vecport.testing.heard import Heard

from .script import Script, facts
from .support import CONNECTOR, MARK, UUIDS, collection, mixed_ids, page, read, write


def test_upsert_twice_is_one_and_batches_are_cut(place: Place, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    c = collection(name)
    ids = mixed_ids(1000, 4)
    batch = page(c, ids, metadata=[{"i": i} for i in range(1000)])
    monkeypatch.setattr(QdrantTarget, "capabilities", replace(QdrantTarget.capabilities, write_rows=17))
    with CONNECTOR.open_target(place, name) as target:
        target.prepare(TargetPlan(collection=c, rows=1000))
        for _ in range(2):
            target.write(batch, MARK)
            assert target.count() == 1000
        target.finish({})
    found = read(place, name).sort_by("id")
    assert found.equals(pa.Table.from_batches([batch]).sort_by("id"))


def test_if_exists(place: Place, name: str) -> None:
    c = collection(name)
    write(place, c, page(c, []), if_exists="create")
    write(place, c, page(c, ["1"]), if_exists="create")
    with pytest.raises(AlreadyExists, match="1 records"):
        write(place, c, page(c, ["2"]), if_exists="create")
    write(place, c, page(c, ["2"]), if_exists="create", resume=True)
    write(place, c, page(c, ["3"]), if_exists="append")
    assert read(place, name).num_rows == 3
    write(place, c, page(c, ["4"]), if_exists="replace", resume=True)
    assert read(place, name).num_rows == 4
    write(place, collection(name, 7, "l2"), page(collection(name, 7, "l2"), ["5"]), if_exists="replace")
    assert read(place, name).column("id").to_pylist() == ["5"]
    with pytest.raises(UsageError, match="if-exists"):
        write(place, c, page(c, ["2"]), if_exists="merge")


@pytest.mark.parametrize(
    ("other", "named"),
    [({"dim": 5}, "dimension 4"), ({"metric": "l2"}, "metric 'dot'"), ({"vector": "v"}, r"vectors \[''\]")],
)
def test_existing_collection_that_does_not_fit_is_refused(
    place: Place, name: str, other: dict[str, Any], named: str
) -> None:
    c = collection(name)
    write(place, c, page(c, ["1"]))
    for mode in ("append", "create"):
        d = collection(name, **other)
        with pytest.raises(NotRepresentable, match=named):
            write(place, d, page(d, ["2"]), if_exists=mode)
    assert read(place, name).num_rows == 1


def test_replace_keeps_aliases_and_refuses_an_alias(place: Place, official: QdrantClient, name: str) -> None:
    c = collection(name)
    write(place, c, page(c, ["1"]))
    alias = f"alias-{name}"
    create = models.CreateAlias(collection_name=name, alias_name=alias)
    official.update_collection_aliases([models.CreateAliasOperation(create_alias=create)])
    write(place, c, page(c, ["2"]), if_exists="replace")
    assert read(place, alias).column("id").to_pylist() == ["2"]
    other = collection(alias)
    with pytest.raises(UsageError, match="alias"):
        write(place, other, page(other, ["3"]), if_exists="replace")
    assert read(place, name).column("id").to_pylist() == ["2"]


def test_settings_are_typed_and_known(place: Place, official: QdrantClient, name: str) -> None:
    c = collection(name, vector="v")
    chosen = {
        "on_disk": "true", "on_disk_payload": "false", "shard_number": "2", "replication_factor": "1",
        "write_consistency_factor": "1", "hnsw_m": "24", "hnsw_ef_construct": "64", "hnsw_on_disk": "true",
        "hnsw_full_scan_threshold": "20000", "indexing_threshold": "0", "metric": "dot",
    }  # fmt: skip
    assert set(chosen) - {"metric"} == {setting.name for setting in settings.SETTINGS} - {"native"}
    write(place, c, page(c, ["1"]), settings=chosen)
    config = official.get_collection(name).config
    assert config.params.vectors["v"].on_disk is True  # type: ignore[index]
    assert (config.params.on_disk_payload, config.params.shard_number) == (False, 2)
    hnsw = config.hnsw_config
    assert (hnsw.m, hnsw.ef_construct, hnsw.on_disk, hnsw.full_scan_threshold) == (24, 64, True, 20000)
    assert config.optimizer_config.indexing_threshold == 0
    for bad in (
        {"hnsw.m": "1"},
        {"on_disk": "1"},
        {"hnsw_m": "many"},
        {"shard_number": "0"},
        {"hnsw_ef_construct": "1"},
    ):
        with pytest.raises(UsageError, match=r"hnsw_ef_construct|true or false|from [0-9]"):
            write(place, c, page(c, ["1"]), settings=bad, if_exists="replace")
    assert read(place, name).num_rows == 1


@pytest.mark.parametrize("bad", ["", "a/b", "a:b", "a" * 256, "a\0b", 'a"b'])
def test_names_that_qdrant_refuses(place: Place, bad: str) -> None:
    c = collection(bad)
    with CONNECTOR.open_target(place, "fine") as target, pytest.raises(NotRepresentable, match="name"):
        target.prepare(TargetPlan(collection=c, rows=0))
    c = collection("fine", vector="é" * 101)
    with CONNECTOR.open_target(place, "fine") as target, pytest.raises(NotRepresentable, match="200 are the most"):
        target.prepare(TargetPlan(collection=c, rows=0))


@pytest.mark.parametrize(
    "field",
    [
        VectorField(name="", dim=4, metric="hamming"),
        VectorField(name="", dim=4, metric="unknown"),
        VectorField(name="", dim=4, metric="dot", dtype="float64"),
        VectorField(name="", dim=65537, metric="dot"),
        VectorField(name="", dim=4, metric="dot", dtype="int8"),
        VectorField(name="", kind="binary", dtype="bit", dim=8, metric="hamming"),
        VectorField(name="", kind="sparse", metric="dot"),
        VectorField(name="s", kind="sparse", metric="cosine"),
        VectorField(name="s", kind="sparse", metric="dot", dtype="float16"),
        VectorField(name="m", kind="multi", dim=4, metric="max_sim"),
        VectorField(name="m", kind="multi", dim=4, metric="dot", dtype="float64"),
        VectorField(name="a/b", kind="sparse", metric="dot"),
    ],
)
def test_plans_that_qdrant_cannot_hold(place: Place, field: VectorField) -> None:
    c = Collection(name="never", id_kind="int", vectors=(field,))
    with CONNECTOR.open_target(place, "never") as target:
        with pytest.raises(NotRepresentable):
            target.prepare(TargetPlan(collection=c, rows=0))
        assert target.describe() is None


def test_documents_and_namespaces_have_no_place(place: Place, name: str) -> None:
    c = collection(name)
    field = c.vectors[0]
    column = {"": dense_array(np.ones((1, 4), np.float32), field)}
    for batch in (
        make_page(c, ids=["1"], documents=["text"], vectors=column),
        make_page(c, ids=["1"], namespaces="tenant", vectors=column),
    ):
        with pytest.raises(NotRepresentable):
            write(place, c, batch)


def test_search_delete_and_hint(place: Place, name: str) -> None:
    for vector in ("", "text"):
        c = collection(name, 8, "cosine", vector)
        matrix = np.random.default_rng(9).normal(size=(50, 8)).astype(np.float32)
        write(place, c, page(c, [str(i) for i in range(50)], matrix), if_exists="replace")
        with CONNECTOR.open_target(place, name) as target:
            hits = target.search(vector, matrix[13], 3)
            assert hits[0].id == "13"
            assert hits[0].score == pytest.approx(1.0, abs=1e-5)
            hint = target.query_hint()
            assert f"/collections/{name}/points/query" in hint
            assert ('"using": "text"' in hint) == bool(vector)
            target.delete([("", id_) for id_ in ("13", "14", "999", UUIDS[0])])
            assert target.count() == 48
            with pytest.raises(NotRepresentable):
                target.delete([("", "1"), ("", "x")])


def test_finish_sees_missing_records(place: Place, name: str) -> None:
    c = collection(name)
    with CONNECTOR.open_target(place, name) as target:
        target.prepare(TargetPlan(collection=c, rows=3))
        target.write(page(c, ["1", "2"]), MARK)
        with pytest.raises(Incomplete, match="2 records, 3 were"):
            target.finish({})


def test_finish_waits_nudges_and_reports() -> None:
    script = Script([], [facts(), facts(status=pb.Grey), facts(status=pb.Yellow), facts()])
    QdrantTarget(script, "c").finish({})
    assert script.nudges == 1
    red = facts(status=pb.Red)
    red.optimizer_status.error = "disk is full"
    with pytest.raises(VecportError, match="disk is full"):
        QdrantTarget(Script([], [red]), "c").finish({})
    QdrantTarget(Script([], [facts(status=pb.Yellow)]), "c", settle_seconds=0.1).finish({})
    hidden = facts()
    hidden.update_queue.deferred_points = 4
    with pytest.raises(Unavailable, match="4 records are not visible"):
        QdrantTarget(Script([], [hidden]), "c", settle_seconds=0.1).finish({})


def test_finish_tells_how_far_the_index_is() -> None:
    steps = [
        facts(status=pb.Yellow, points_count=40, indexed_vectors_count=10),
        facts(status=pb.Yellow, points_count=40, indexed_vectors_count=30),
        facts(points_count=40, indexed_vectors_count=40),
    ]
    steps[1].update_queue.length = 2
    target = QdrantTarget(Script([], [facts(), *steps]), "c")
    target.report = heard = Heard()
    target.finish({})
    assert heard.steps == [
        (10, 40, "vectors", "status yellow"), (30, 40, "vectors", "status yellow, 2 updates queued"),
    ]  # fmt: skip
    assert heard.notes == []


def test_vectors_of_all_names_are_counted() -> None:
    info = facts(points_count=7)
    info.config.params.sparse_vectors_config.map["terms"].SetInParent()
    assert settings.vector_count(info) == 14
    info.config.params.ClearField("vectors_config")
    assert settings.vector_count(info) == 7


@pytest.mark.parametrize(
    ("status", "says"),
    [(pb.Yellow, r"\(status yellow\)"), (pb.Grey, r"\(status grey\)"), (pb.Green, "3 updates queued")],
)
def test_an_index_that_is_left_unfinished_is_a_note(status: Any, says: str) -> None:
    left = facts(status=status, points_count=40, indexed_vectors_count=12)
    left.update_queue.length = 3 if status == pb.Green else 0
    target = QdrantTarget(Script([], [left]), "c", settle_seconds=0.05)
    target.report = heard = Heard()
    target.finish({})
    (note,) = heard.notes
    assert re.search(says, note)
    assert "did not grow for 0.05 s: 12 of about 40 vectors are indexed" in note


def test_a_collection_that_is_green_has_nothing_to_tell(place: Place, name: str) -> None:
    c = collection(name)
    heard = Heard()
    with CONNECTOR.open_target(place, name) as target:
        target.report = heard
        target.prepare(TargetPlan(collection=c, rows=2))
        target.write(page(c, ["1", "2"]), MARK)
        target.finish({})
    assert (heard.steps, heard.notes) == ([], [])


def test_write_that_is_only_queued_is_not_acknowledged(server: ServerBackend) -> None:
    for status in (pb.Acknowledged, pb.ClockRejected, pb.WaitTimeout):
        answer = pb.PointsOperationResponse(result=pb.UpdateResult(status=status))
        with pytest.raises(Unavailable, match="not applied"):
            server._applied(SimpleNamespace(result=lambda answer=answer: answer))  # type: ignore[arg-type]
