"""Folders of Qdrant's local mode: copied and left as they are, written, locked, and never trusted."""

from __future__ import annotations

import hashlib
import os
import pickle
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from qdrant_client import QdrantClient, models

from vecport.connectors.address import parse
from vecport.connectors.contract import Selection, TargetPlan
from vecport.errors import Locked, NotFound, NotRepresentable

from .support import CONNECTOR, DENSE, HARD_IDS, MARK, UUIDS, collection, ids_of, make, page, read, source, write


def tree(folder: Path) -> dict[str, tuple[str, int]]:
    return {
        str(p.relative_to(folder)): (hashlib.sha256(p.read_bytes()).hexdigest(), p.stat().st_mtime_ns)
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


def test_local_folder_is_copied_and_left_byte_for_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, copies = tmp_path / "db", tmp_path / "copies"
    copies.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(copies))
    at = parse(f"qdrant:{folder}")
    with closing(QdrantClient(path=str(folder))) as local:
        make(local, "c")
        make(local, "n", vectors_config={"v": DENSE})
        local.upsert("n", [models.PointStruct(id=1, vector={"v": [1, 2]}), models.PointStruct(id=2, vector={})])
        points = [models.PointStruct(id=i, vector=[i, 0.5], payload={"u": 2**63 + i}) for i in (3, 2**64 - 1, 0)]
        local.upsert("c", [*points, models.PointStruct(id=UUIDS[2], vector={}, payload=None)])
    before = tree(folder)
    with source(at, "c") as session:
        assert "copied" in session.describe().notes[0]
        assert len(list(copies.iterdir())) == 1
        assert session.capabilities.concurrency == "handle"
        rows = [row for p in session.scan({}, None, 2) for row in p.batch.to_pylist()]
        assert sum(map(len, session.keys())) == 4
        assert session.fetch([("", "3"), ("", "5")]).column("id").to_pylist() == ["3"]
        parts = list(session.partitions(1, {}))
        assert [ids_of(list(session.scan(p, None, 9))) for p in parts] == [[row["id"]] for row in rows]
    assert [row["id"] for row in rows] == ["0", "3", "18446744073709551615", UUIDS[2]]
    assert [row["vector"] for row in rows] == [[0, 0.5], [3, 0.5], [float(2**64), 0.5], None]
    assert rows[1]["metadata"] == '{"u":9223372036854775811}'
    assert [row["vector_v"] for row in read(at, "n").to_pylist()] == [[1, 2], None]
    with source(at, "c", '{"must": [{"has_id": [3]}]}') as session:
        assert session.count() == 1
    assert [(s.name, s.rows) for s in CONNECTOR.collections(at)] == [("c", 4), ("n", 2)]
    assert tree(folder) == before
    assert list(copies.iterdir()) == []
    assert CONNECTOR.recognises(str(folder))


def test_mistyped_local_path_creates_nothing(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    for path in (tmp_path / "nope", tmp_path / "other"):
        at = parse(f"qdrant:{path}")
        with pytest.raises(NotFound):
            CONNECTOR.collections(at)
        with pytest.raises(NotFound):
            CONNECTOR.open_source(at, "c", Selection())
        with CONNECTOR.open_target(at, "c") as target:
            assert target.describe() is None
        assert not CONNECTOR.recognises(str(path))
    assert [p.name for p in tmp_path.rglob("*")] == ["other"]


def test_local_folder_as_target_keeps_to_the_rules_of_servers(tmp_path: Path) -> None:
    at = parse(f"qdrant:{tmp_path / 'new'}")
    c = collection("c", 3, vector="v")
    batch = page(c, HARD_IDS[::-1], metadata=[{"i": i, "n": [None, {}]} for i in range(10)], valid=np.arange(10) != 4)
    with CONNECTOR.open_target(at, "c") as target:
        target.prepare(TargetPlan(collection=c, rows=10, passport={"state": "loading"}))
        target.write(batch, MARK)
        target.write(batch, MARK)
        target.finish({"state": "complete"})
        assert target.count() == 10
        query = np.asarray(batch.column(4)[0].as_py(), np.float32)
        assert target.search("v", query, 1)
        assert "QdrantClient(path=" in target.query_hint()
        for bad in (page(c, ["-1"]), page(c, ["18446744073709551616"]), page(c, ["1"], metadata=[{"u": 2**63}])):
            with pytest.raises(NotRepresentable):
                target.write(bad, MARK)
        target.delete([("", "0")])
    with source(at, "c") as session:
        assert session.describe().passport == {"state": "complete"}
    found = read(at, "c")
    assert found.num_rows == 9
    expected = pa.Table.from_batches([batch]).sort_by("id")
    assert found.sort_by("id").equals(expected.filter(pa.compute.not_equal(expected["id"], "0")))
    write(at, c, page(c, ["5"]), if_exists="replace")
    assert read(at, "c").column("id").to_pylist() == ["5"]
    with source(at, "nowhere") as session, pytest.raises(NotFound, match="'c'"):
        session.describe()


def test_local_folder_in_use_is_locked(tmp_path: Path) -> None:
    folder = tmp_path / "db"
    at = parse(f"qdrant:{folder}")
    with closing(QdrantClient(path=str(folder))) as local:
        make(local, "c")
        with source(at, "c") as session, pytest.raises(Locked):
            session.describe()
        with CONNECTOR.open_target(at, "c") as target, pytest.raises(Locked):
            target.prepare(TargetPlan(collection=collection("c", 2), rows=0))
    with source(at, "c") as session:
        assert session.count() == 0


class _Bomb:
    def __reduce__(self) -> Any:
        return (os.mkdir, (os.environ["VECPORT_BOMB"],))


def test_local_folder_from_a_stranger_runs_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, mark = tmp_path / "db", tmp_path / "exploded"
    monkeypatch.setenv("VECPORT_BOMB", str(mark))
    with closing(QdrantClient(path=str(folder))) as local:
        make(local, "c")
        local.upsert("c", [models.PointStruct(id=1, vector=np.array([1, 2], np.float32), payload={"a": 1})])
    at = parse(f"qdrant:{folder}")
    assert read(at, "c").num_rows == 1
    db = sqlite3.connect(folder / "collection" / "c" / "storage.sqlite")
    with db:
        db.execute("INSERT INTO points VALUES (?, ?)", ("x", pickle.dumps(_Bomb())))
    db.close()
    with source(at, "c") as session, pytest.raises(NotRepresentable, match="no point"):
        session.describe()
    assert ["no point" in s.detail for s in CONNECTOR.collections(at)] == [True]
    assert not mark.exists()
