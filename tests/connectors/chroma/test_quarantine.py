"""Records whose vector a Chroma index has lost: the export stops and names them, or leaves them out by name."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vecport
from tests.faults import killer
from vecport.cli.app import main
from vecport.connectors.address import parse
from vecport.connectors.chroma import ChromaConnector, read
from vecport.connectors.contract import Reject, Selection
from vecport.dump import open_dump
from vecport.dump.store import open_store
from vecport.errors import IntegrityError, UsageError
from vecport.operations import rejects
from vecport.testing.engines.chroma import ChromaEngine

chromadb = pytest.importorskip("chromadb")

KEPT = [f"a{i:02}" for i in range(30)] + [f"c{i:02}" for i in range(10)]
LOST = [f"b{i:02}" for i in range(20)]


def add(path: Path, ids: list[str]) -> None:
    with closing(chromadb.PersistentClient(path)) as client:
        docs = client.get_or_create_collection(
            "docs", configuration={"hnsw": {"sync_threshold": 10, "batch_size": 10}}, embedding_function=None
        )
        vectors = np.random.default_rng(len(ids)).standard_normal((len(ids), 8)).astype(np.float32)
        docs.add(ids=ids, embeddings=vectors, metadatas=[{"n": i} for i in range(len(ids))], documents=ids)
        # Reading is what brings the index up to date.
        with contextlib.suppress(chromadb.errors.InternalError):
            docs.get(include=["embeddings"])


def index_of(path: Path) -> Path:
    (found,) = path.glob("*/index_metadata.pickle")
    return found.parent


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 records; the index files are as they were before ``LOST`` came, as after a restore of a part of the folder."""
    path = tmp_path_factory.mktemp("damaged") / "db"
    add(path, KEPT[:30])
    older = shutil.copytree(index_of(path), path.parent / "older")
    add(path, LOST)
    shutil.rmtree(index_of(path))
    shutil.copytree(older, path / older_name(path))
    add(path, KEPT[30:])
    return path


def older_name(path: Path) -> str:
    import sqlite3

    with closing(sqlite3.connect(path / "chroma.sqlite3")) as database:
        return str(database.execute("SELECT id FROM segments WHERE scope = 'VECTOR'").fetchone()[0])


def rejected(dump: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (dump / "rejects.jsonl").read_text().splitlines()]


def ids_of(dump: Path) -> list[str]:
    return [id for batch in open_dump(dump).keys(["id"]) for id in batch.column("id").to_pylist()]


def files(folder: Path) -> dict[str, str]:
    """SHA-256 of the shards and of the rejects."""
    wanted = [*folder.glob("data/*"), *folder.glob("rejects.jsonl")]
    return {str(f.relative_to(folder)): hashlib.sha256(f.read_bytes()).hexdigest() for f in wanted}


def test_an_export_fails_by_default_and_names_examples(damaged: Path, tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match="records 'b00', 'b01', 'b02', 'b03', 'b04' and 15 more") as caught:
        vecport.export(f"chroma:{damaged}", tmp_path / "dump", collection="docs")
    assert caught.value.why == read.LOST
    assert "--on-error quarantine" in caught.value.next
    assert not (tmp_path / "dump" / "manifest.json").exists()
    assert not (tmp_path / "dump" / "rejects.jsonl").exists()


def test_quarantine_names_every_record_and_exits_4(damaged: Path, tmp_path: Path) -> None:
    dump = tmp_path / "dump"
    result = vecport.export(f"chroma:{damaged}", dump, collection="docs", on_error="quarantine", shard_rows=7)
    assert (result.exit_code, result.rows, result.rejected, result.complete) == (4, 40, 20, False)
    assert any("20 records could not be read" in note for note in result.notes)
    assert ids_of(dump) == KEPT
    assert rejected(dump) == [{"id": id, "namespace": "", "reason": read.LOST} for id in LOST]
    manifest = open_dump(dump).manifest
    assert manifest.source["consistency"] == {
        "kind": "snapshot", "count_before": 60, "count_after": 60, "rejected": 20
    }  # fmt: skip
    raw = (dump / "rejects.jsonl").read_bytes()
    assert manifest.source["rejects"] == {
        "path": "rejects.jsonl", "rows": 20, "bytes": len(raw), "sha256": hashlib.sha256(raw).hexdigest()
    }  # fmt: skip
    checked = vecport.validate(dump, level="deep")
    assert checked.valid, [c for c in checked.checks if not c["passed"]]
    assert any("20 records could not be read" in note for note in vecport.inspect(dump).notes)


def test_the_command_line(damaged: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dump = tmp_path / "dump"
    with pytest.raises(SystemExit) as end:
        main(["export", f"chroma:{damaged}", str(dump), "-c", "docs"])
    assert end.value.code == 13
    with pytest.raises(SystemExit) as end:
        main(["export", f"chroma:{damaged}", str(dump), "-c", "docs", "--on-error", "quarantine", "--overwrite"])
    assert end.value.code == 4
    assert f"20 records could not be read: {dump}/rejects.jsonl" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["inspect", str(dump)])
    assert "20 could not be read" in capsys.readouterr().out
    with pytest.raises(UsageError, match="--on-error skip"):
        vecport.export(f"chroma:{damaged}", tmp_path / "other", collection="docs", on_error="skip")


@pytest.mark.parametrize("change", ["removed", "changed", "added"])
def test_validate_finds_a_file_of_rejects_that_is_not_the_one(damaged: Path, tmp_path: Path, change: str) -> None:
    dump = tmp_path / "dump"
    what: dict[str, Any] = {} if change == "added" else {"on_error": "quarantine"}
    vecport.export(f"chroma:{damaged}", dump, collection="docs", where='{"n": {"$gte": 20}}', **what)
    assert (dump / "rejects.jsonl").exists() is False
    vecport.export(f"chroma:{damaged}", dump, collection="docs", overwrite=True, on_error="quarantine")
    file = dump / "rejects.jsonl"
    if change == "removed":
        file.unlink()
    elif change == "changed":
        file.write_text(file.read_text().replace("b00", "b99"))
    else:
        where = '{"n": {"$gte": 20}}'
        vecport.export(f"chroma:{damaged}", dump, collection="docs", where=where, overwrite=True)
        assert not file.exists(), "an export that replaces a dump removes its rejects"
        file.write_text("{}\n")
    checked = vecport.validate(dump)
    assert checked.exit_code == 3
    assert [c["rule"] for c in checked.checks if not c["passed"]] == ["files"]


def test_an_interrupted_export_keeps_its_rejects(damaged: Path, tmp_path: Path) -> None:
    arguments: dict[str, Any] = {
        "source": f"chroma:{damaged}", "collection": "docs", "shard_rows": 7, "batch_size": 4, "on_error": "quarantine"
    }  # fmt: skip
    log = tmp_path / "log"
    assert killer.run("export", state=tmp_path, log=log, dump=str(tmp_path / "whole"), **arguments) == "done"
    assert killer.outcome(log)["exit_code"] == 4
    reference = files(tmp_path / "whole")
    # Between shards, behind the last one, while the rejects are published, and behind the manifest.
    for step in (26, 44, 56, 62):
        dump = tmp_path / f"d{step}"
        assert killer.run("export", state=tmp_path, log=log, dump=str(dump), at_step=step, **arguments) == "killed"
        assert killer.run("export", state=tmp_path, log=log, dump=str(dump), **arguments) == "done", log.read_text()
        assert killer.outcome(log)["exit_code"] == 4
        assert files(dump) == reference
        assert vecport.validate(dump, level="deep").valid


def test_a_resumed_export_that_may_leave_nothing_out_fails(damaged: Path, tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"source": f"chroma:{damaged}", "collection": "docs", "shard_rows": 7, "batch_size": 4}
    dump = tmp_path / "dump"
    once: dict[str, Any] = {**arguments, "dump": str(dump), "on_error": "quarantine", "at_step": 44}
    assert killer.run("export", state=tmp_path, log=tmp_path / "log", **once) == "killed"
    assert any("lost" in f.read_text() for f in dump.glob(".vecport/shards/*"))
    with pytest.raises(IntegrityError, match="cannot read records 'b00'"):
        vecport.export(dump=dump, **arguments)
    assert vecport.export(dump=dump, on_error="quarantine", **arguments).rejected == 20


def test_rejects_that_were_read_later_are_none(damaged: Path, tmp_path: Path) -> None:
    vecport.export(f"chroma:{damaged}", tmp_path / "dump", collection="docs", on_error="quarantine")
    dump = open_dump(tmp_path / "dump")
    twice = [Reject("", id, "x") for id in ("b07", "a00", "zz", "b07")]
    left = rejects.settle(dump.store, dump.manifest.shards, dump.collection, twice, None)
    assert [r.id for r in left] == ["b07", "zz"]
    # The same id in a namespace of its own is another record.
    other = rejects.settle(dump.store, dump.manifest.shards, dump.collection, [Reject("n", "a00", "x")], None)
    assert [r.namespace for r in other] == ["n"]


def test_a_server_on_a_damaged_folder(damaged: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(damaged, tmp_path / "served")
    with ChromaEngine(copy) as engine:
        address = f"chroma://127.0.0.1:{engine.port}"
        with pytest.raises(IntegrityError, match="'b00'"):
            vecport.export(address, tmp_path / "dump", collection="docs")
        result = vecport.export(address, tmp_path / "dump", collection="docs", on_error="quarantine")
        assert (result.exit_code, result.rows, result.rejected) == (4, 40, 20)
        assert result.consistency["kind"] == "live-scan"
        assert (result.consistency["only_in_dump"], result.consistency["missing"]) == (None, 0)
        assert [r["id"] for r in rejected(tmp_path / "dump")] == LOST
        with ChromaConnector().open_source(parse(address), "docs", Selection()) as session:
            with pytest.raises(IntegrityError, match="record 'b03'"):
                session.fetch([("", "a01"), ("", "b03")])
            assert session.fetch([("", "a01"), ("", "nope")]).num_rows == 1


def truncate(name: str) -> Callable[[Path], None]:
    def change(index: Path) -> None:
        (index / name).open("r+b").truncate((index / name).stat().st_size // 4)

    return change


@pytest.mark.parametrize(
    ("change", "left"), [(shutil.rmtree, range(1)), (truncate("data_level0.bin"), range(1, 40))], ids=["gone", "cut"]
)
def test_damaged_index_files(tmp_path: Path, change: Callable[[Path], None], left: range) -> None:
    path = tmp_path / "db"
    add(path, KEPT)
    change(index_of(path))
    with pytest.raises(IntegrityError):
        vecport.export(f"chroma:{path}", tmp_path / "dump", collection="docs")
    result = vecport.export(f"chroma:{path}", tmp_path / "dump", collection="docs", on_error="quarantine")
    assert result.rows + result.rejected == len(KEPT)
    assert result.rejected == len(rejected(tmp_path / "dump")) > 0
    assert result.rows in left or result.rows == 1, "the last record still stands in the queue"


@pytest.mark.parametrize("name", ["index_metadata.pickle", "data_level0.bin"])
def test_an_index_that_cannot_be_opened_is_named(tmp_path: Path, name: str) -> None:
    path = tmp_path / "db"
    add(path, KEPT)
    file = index_of(path) / name
    if name.endswith(".pickle"):
        truncate(name)(file.parent)
    else:
        file.unlink()
    with pytest.raises(IntegrityError, match=r"index of a collection .* cannot be read"):
        vecport.export(f"chroma:{path}", tmp_path / "dump", collection="docs", on_error="quarantine")
    assert not (tmp_path / "dump" / "manifest.json").exists()


def test_a_metric_that_no_vector_can_tell(tmp_path: Path) -> None:
    """A collection of an old version, whose space a search would have shown."""
    path = tmp_path / "db"
    add(path, KEPT)
    with closing(chromadb.PersistentClient(path)) as client:
        docs = client.get_collection("docs", embedding_function=None)
        docs._client._modify(docs.id, new_metadata={"hnsw:space": "ip"})
    shutil.rmtree(index_of(path))
    with ChromaConnector().open_source(parse(f"chroma:{path}"), "docs", Selection()) as session:
        found = session.describe()
    assert found.collection.vectors[0].metric == "unknown"
    assert any("cannot be told" in note for note in found.notes)


def test_the_file_of_an_interrupted_run_does_not_outlive_its_reason(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    facts = rejects.write(store, [Reject("", "a", "x")])
    assert facts is not None
    one: dict[str, Any] = {"consistency": {"kind": "snapshot", "rejected": 1}}
    assert rejects.fault(store, {**one, "rejects": facts}) is None
    for odd in ("x", [1], {}, {**facts, "rows": 2}):
        assert "1 records that could not be read" in str(rejects.fault(store, {**one, "rejects": odd}))
    for other in ({"bytes": "1"}, {"bytes": facts["bytes"] + 1}, {"sha256": "0" * 64}, {"sha256": None}):
        found = rejects.fault(store, {**one, "rejects": {**facts, **other}})
        assert found == "rejects.jsonl is not the file that the manifest names"
    assert rejects.write(store, []) is None
    assert list(tmp_path.iterdir()) == []
    assert rejects.fault(store, {"consistency": {"kind": "snapshot"}}) is None


@pytest.mark.parametrize("what", ["fifo", "link", "folder"])
def test_what_is_no_plain_file_is_no_file_of_rejects(tmp_path: Path, what: str) -> None:
    store = open_store(tmp_path)
    facts = rejects.write(store, [Reject("", "a", "x")])
    place = tmp_path / "rejects.jsonl"
    place.rename(tmp_path / "elsewhere")
    if what == "fifo":
        os.mkfifo(place)
    elif what == "folder":
        place.mkdir()
    else:
        place.symlink_to(tmp_path / "elsewhere")
    with contextlib.suppress(IntegrityError):
        assert rejects.fault(store, {"consistency": {"rejected": 1}, "rejects": facts}) is not None
