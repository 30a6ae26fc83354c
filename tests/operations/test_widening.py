"""A scan that meets a record which the passport does not know begins again by itself, in any process, and resumes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vecport import stand_in
from vecport.dump import open_dump
from vecport.dump.journal import Journal
from vecport.dump.store import LocalStore
from vecport.model.widening import Widening
from vecport.operations.diff import diff
from vecport.operations.export import export
from vecport.operations.import_ import import_
from vecport.operations.verify import verify
from vecport.testing.engines import QdrantEngine
from vecport.testing.records import Record

from .rooms import collection, fill, record, room

ROWS = 400
UUID = "f0000000-0000-0000-0000-00000000abcd"


@pytest.fixture(scope="module")
def engine() -> Iterator[QdrantEngine]:
    with QdrantEngine() as running:
        yield running


@pytest.fixture
def living(engine: QdrantEngine, tmp_path: Path) -> Path:
    """A dump in the database, in which somebody has deleted one vector, and added an id of another kind at the end."""
    from qdrant_client import QdrantClient, models

    made = collection(id_kind="int", metric="dot", nullable=False)
    with room() as place:
        fill(place, [record(str(i), i, big=1 << 70) for i in range(ROWS)], made)
        export(place, tmp_path / "dump")
    import_(tmp_path / "dump", engine.address, collection="docs", if_exists="replace")
    client = QdrantClient(
        "127.0.0.1", port=engine.port, grpc_port=engine.grpc_port, prefer_grpc=True, check_compatibility=False
    )
    client.delete_vectors("docs", [""], [3])
    client.upsert("docs", [models.PointStruct(id=UUID, vector=[1.0] * 4)])
    client.close()
    return tmp_path / "dump"


def whole(dump: Path) -> bool:
    found = open_dump(dump)
    vector = found.collection.vectors[0]
    return (found.rows, found.collection.id_kind, vector.nullable) == (ROWS + 1, "int|uuid", True)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_scan_begins_again_in_worker_processes_too(
    workers: int, engine: QdrantEngine, living: Path, tmp_path: Path
) -> None:
    done = export(engine.address, tmp_path / "out", collection="docs", workers=workers, shard_rows=100)
    assert whole(tmp_path / "out")
    assert len(open_dump(tmp_path / "out").manifest.shards) > 2
    told = [note for note in done.notes if "begins again" in note]
    assert any("vector is gone from records, as '3'" in note for note in told)
    assert any(f"{UUID!r} was added: they are of kind int|uuid" in note for note in told)
    assert diff(living, tmp_path / "out").exit_code == 3


def test_the_bytes_are_the_same_whatever_began_again(engine: QdrantEngine, living: Path, tmp_path: Path) -> None:
    for name, workers in (("a", 1), ("b", 2)):
        export(engine.address, tmp_path / name, collection="docs", workers=workers, shard_rows=100)
    one, other = (open_dump(tmp_path / name).manifest for name in ("a", "b"))
    assert [s.sha256 for s in one.shards] == [s.sha256 for s in other.shards]


@pytest.mark.parametrize("shards", [0, 1])
def test_an_interrupted_export_keeps_what_was_widened(
    shards: int, engine: QdrantEngine, living: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed behind the restart, or behind it and a shard: the same command goes on with the wider schema."""
    out = tmp_path / "out"
    journal, real = Journal(LocalStore(str(out))), Journal.add

    def stopped(self: Journal, durable: Any) -> None:
        run = journal.run()
        assert run is not None
        if run.widened and len(journal.durable()) >= shards:
            raise OSError("killed")
        real(self, durable)

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "add", stopped)
        with pytest.raises(OSError, match="killed"):
            export(engine.address, out, collection="docs", shard_rows=100)
    run = journal.run()
    assert run is not None
    assert Widening.from_json(run.widened).nullable == {""}
    assert run.collection.vectors[0].nullable
    assert len(journal.durable()) == shards
    done = export(engine.address, out, collection="docs", shard_rows=100)
    assert bool(done.resumed_rows) == bool(shards)
    assert any("going on with an interrupted export" in note for note in done.notes)
    assert any("vector is gone from records" in note for note in done.notes)
    assert whole(out)


def test_a_comparison_reports_what_the_application_did(engine: QdrantEngine, living: Path) -> None:
    found = verify(living, engine.address, collection="docs")
    assert (found.exit_code, found.missing, found.extra, found.vectors_changed) == (3, 0, 1, 1)
    assert any("vector is gone from records" in note for note in found.notes)


@pytest.mark.parametrize("ids", [["a", "b"], ["-1", "5"]], ids=["text", "integers"])
def test_ids_that_were_hashed_live_beside_others(ids: list[str], engine: QdrantEngine, tmp_path: Path) -> None:
    from qdrant_client import QdrantClient, models

    with room() as place:
        kind = "int" if ids[0] == "-1" else "string"
        fill(place, [record(id_, i) for i, id_ in enumerate(ids)], collection(id_kind=kind))
        export(place, tmp_path / "dump")
    import_(tmp_path / "dump", engine.address, collection="hashed", if_exists="replace")
    client = QdrantClient(
        "127.0.0.1", port=engine.port, grpc_port=engine.grpc_port, prefer_grpc=True, check_compatibility=False
    )
    client.upsert("hashed", [models.PointStruct(id=UUID, vector=[1.0] * 4)])
    client.close()
    done = export(engine.address, tmp_path / "out", collection="hashed")
    found = {id_ for keys in open_dump(tmp_path / "out").keys(("id",)) for id_ in keys.column("id").to_pylist()}
    assert found == {*ids, UUID}
    assert any("1 records were added in the database by somebody else" in note for note in done.notes)


def test_a_note_names_a_record_by_the_id_that_its_dump_gave_it(engine: QdrantEngine, tmp_path: Path) -> None:
    from qdrant_client import QdrantClient

    with room() as place:
        fill(place, [record(f"text {i}", i) for i in range(3)], collection(metric="dot", nullable=False))
        export(place, tmp_path / "dump")
    import_(tmp_path / "dump", engine.address, collection="named", if_exists="replace")
    client = QdrantClient(
        "127.0.0.1", port=engine.port, grpc_port=engine.grpc_port, prefer_grpc=True, check_compatibility=False
    )
    client.delete_vectors("named", [""], [stand_in("text 1")])
    client.close()
    done = export(engine.address, tmp_path / "out", collection="named")
    assert any("vector is gone from records, as 'text 1'" in note for note in done.notes), done.notes


@pytest.mark.parametrize(
    ("a", "b", "both"),
    [("int", "uuid", "int|uuid"), ("int", "string", "string"), ("position", "int", "int"), ("uuid", "uuid", "uuid"),
     ("composite", "uuid", "string"), ("int|uuid", "int", "int|uuid"), ("tagged", "int", "string")],
)  # fmt: skip
def test_widenings_of_two_workers_become_one(a: str, b: str, both: str) -> None:
    one = Widening(id_kind=a, nullable=frozenset({"x"}), facts=("1",))
    other = Widening(id_kind=b, dtypes=frozenset({"y"}), free=True, facts=("1", "2"))
    merged = one.merged(other)
    assert merged == Widening(both, frozenset({"x"}), frozenset({"y"}), True, ("1", "2"))
    assert merged == Widening.from_json(json.loads(json.dumps(merged.to_json())))
    assert merged.wider_than(one)
    assert not merged.merged(one).wider_than(merged)
    assert not Widening()


def test_integers_that_no_longer_fit_are_taken_as_the_database_has_them(engine: QdrantEngine, tmp_path: Path) -> None:
    from qdrant_client import QdrantClient, models

    made = collection(id_kind="int", metric="dot", dtype="int8")
    rows = [Record(str(i), {"": np.array([i, -1, 2, 3], np.int8)}, {"n": i}) for i in range(5)]
    with room() as place:
        fill(place, rows, made)
        export(place, tmp_path / "dump")
    import_(tmp_path / "dump", engine.address, collection="bytes", if_exists="replace")
    export(engine.address, tmp_path / "same", collection="bytes")
    assert diff(tmp_path / "dump", tmp_path / "same").identical
    client = QdrantClient(
        "127.0.0.1", port=engine.port, grpc_port=engine.grpc_port, prefer_grpc=True, check_compatibility=False
    )
    client.update_vectors("bytes", [models.PointVectors(id=2, vector=[0.5, 300, 1, 1])])
    client.close()
    export(engine.address, tmp_path / "out", collection="bytes")
    assert open_dump(tmp_path / "out").collection.vectors[0].dtype == "float32"
    found = diff(tmp_path / "dump", tmp_path / "out")
    assert found.schema_changes == ("vector '': dtype int8 became float32",)
    assert found.vectors_changed == 1
