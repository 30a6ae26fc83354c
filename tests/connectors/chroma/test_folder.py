"""Reading a folder of Chroma: nothing in it changes, a copy is its own snapshot, and damage is named."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from vecport.connectors.chroma import ChromaFolderSource
from vecport.connectors.contract import Selection
from vecport.errors import IntegrityError, NotFound, OutOfResources, Unavailable, UsageError
from vecport.testing.engines.chroma import ChromaEngine

from .support import CONNECTOR, by_id, fingerprint, open_source, place_of, raw, read, temporary_copies

pytest.importorskip("chromadb")


def test_reading_a_folder_changes_nothing(filled: Path) -> None:
    before, copies = fingerprint(filled), temporary_copies()
    with open_source(filled) as session:
        found = session.describe()
        table, missing = read(session)
        assert session.fetch([("", "id7")]).column("document").to_pylist() == ["text 7"]
        assert sum(b.num_rows for b in session.keys()) == 1500
    assert [c.name for c in CONNECTOR.collections(place_of(filled))] == ["docs", "other"]
    assert CONNECTOR.open_target(place_of(filled), "docs").describe() is not None
    assert fingerprint(filled) == before
    assert temporary_copies() == copies
    assert found.count == table.num_rows == 1500
    assert not missing
    assert by_id(table)["id9"]["metadata"] == '{"n":9}'
    (vector,) = found.collection.vectors
    assert (vector.name, vector.dim, vector.metric, vector.fidelity) == ("", 8, "l2", "exact")
    assert found.collection.native["metadata"] == {"owner": "me"}
    assert found.collection.fields is None


def test_a_folder_that_may_not_be_written_is_a_source(filled: Path) -> None:
    for item in [filled, *filled.rglob("*")]:
        item.chmod(0o555 if item.is_dir() else 0o444)
    before = fingerprint(filled)
    with open_source(filled) as session:
        assert read(session)[0].num_rows == 1500
    assert fingerprint(filled) == before
    for item in [filled, *filled.rglob("*")]:
        item.chmod(0o755 if item.is_dir() else 0o644)


def test_only_the_index_of_the_collection_is_copied(filled: Path) -> None:
    folders = [p for p in filled.iterdir() if p.is_dir()]
    with open_source(filled) as session:
        assert isinstance(session, ChromaFolderSource)
        token = session.snapshot()
        copied = [p for p in Path(token["copy"]).iterdir() if p.is_dir()]
    assert (len(folders), len(copied)) == (2, 1)


def test_a_mistyped_path_creates_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("nowhere", "nowhere/deep", "empty"):
        with pytest.raises(NotFound) as caught, open_source(tmp_path / name) as session:
            session.describe()
        assert "no" in caught.value.what
        assert caught.value.safe
        with pytest.raises(NotFound):
            CONNECTOR.collections(place_of(tmp_path / name))
        assert CONNECTOR.open_target(place_of(tmp_path / name), "docs").describe() is None
    assert [p.name for p in tmp_path.iterdir()] == ["empty"]
    assert not list((tmp_path / "empty").iterdir())


def test_other_wrong_paths_say_what_is_wrong(filled: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="name the folder, not the file"), open_source(filled / "chroma.sqlite3") as s:
        s.describe()
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "chroma-collections.parquet").touch()
    with pytest.raises(NotFound, match=r"Chroma 0\.3"), open_source(tmp_path / "old") as s:
        s.describe()
    with pytest.raises(UsageError, match="names no place"):
        open_source("chroma:")
    with pytest.raises(NotFound, match="'docs', 'other'"), open_source(filled, "nope") as s:
        s.describe()
    with pytest.raises(NotFound, match="Tenant"), open_source(filled, tenant="nope") as s:
        s.describe()
    with pytest.raises(NotFound, match="Database"), open_source(filled, database="nope") as s:
        s.describe()
    assert CONNECTOR.recognises(str(filled))
    assert not CONNECTOR.recognises(str(tmp_path))


def test_a_snapshot_outlives_a_killed_process(filled: Path) -> None:
    killed = subprocess.run(
        [
            sys.executable, "-c",
            "import json, os, sys\n"
            "from vecport.connectors import address\n"
            "from vecport.connectors.contract import Selection\n"
            "from vecport.connectors.chroma import ChromaConnector\n"
            "s = ChromaConnector().open_source(address.parse('chroma:' + sys.argv[1]), 'docs', Selection())\n"
            "t = s.snapshot()\n"
            "print(json.dumps([t, list(s.partitions(600, t))]), flush=True)\n"
            "os.kill(os.getpid(), 9)",
            str(filled),
        ],
        capture_output=True, check=False, text=True,
    )  # fmt: skip
    token, partitions = json.loads(killed.stdout)
    with raw(filled) as client:
        client.get_collection("docs", embedding_function=None).delete(ids=["id0", "id1499"])
    with open_source(filled) as session:
        assert session.alive(token)
        rows = [page.batch.num_rows for p in partitions for page in session.scan(p, None, 500)]
        assert sum(rows) == 1500
        (last,) = list(session.scan(partitions[0], 400, 500))
        assert last.batch.column("id").to_pylist() == [f"id{i}" for i in range(400, 600)]
    assert not Path(token["copy"]).exists()
    with open_source(filled) as session:
        assert not session.alive(token)
        with pytest.raises(Unavailable, match="is gone"):
            session.attach(token)


def test_a_damaged_snapshot_is_not_alive(filled: Path) -> None:
    with open_source(filled) as maker:
        token = maker.snapshot()
        with open_source(filled) as other:
            assert other.alive({**token, "id": "x"}) is False
            assert other.alive({**token, "rows": 7}) is False
            assert other.alive({}) is False
            assert other.alive(token) is True
        assert Path(token["copy"]).exists()
        next(Path(token["copy"]).glob("*/data_level0.bin")).unlink()
        with open_source(filled) as other:
            assert other.alive(token) is False


def test_pages_do_not_depend_on_their_size(filled: Path) -> None:
    with open_source(filled) as session:
        tables = [read(session, page_rows=n)[0].combine_chunks() for n in (7, 500, 100_000)]
        assert tables[0].equals(tables[1])
        assert tables[1].equals(tables[2])


def test_where_selects_and_counts(filled: Path, server: ChromaEngine, raw_server: Any) -> None:
    selection = Selection(where='{"n": {"$gte": 1400}}')
    with open_source(filled, selection=selection) as session:
        assert session.describe().count == session.count() == 100
        assert read(session)[0].num_rows == 100
        assert session.fetch([("", "id1"), ("", "id1450")]).column("id").to_pylist() == ["id1450"]
    for where in ("{", "[]", "{}", '{"a": 1, "b": 2}', '{"a": {"$gt": "x"}}', '{"$foo": 1}'):
        with pytest.raises(UsageError, match="--where"), open_source(filled, selection=Selection(where=where)) as s:
            s.count()
    with pytest.raises(UsageError, match="no namespaces"):
        open_source(filled, selection=Selection(namespaces=("a",)))
    raw_server.create_collection("where-live", embedding_function=None).add(
        ids=["a", "b"], embeddings=[[1.0], [2.0]], metadatas=[{"n": 1}, {"n": 2}]
    )
    with open_source(server.address, "where-live", Selection(where='{"n": 2}')) as session:
        assert session.count() == 1
        assert read(session)[0].column("id").to_pylist() == ["b"]


def test_damage_is_an_integrity_error(filled: Path) -> None:
    with (filled / "chroma.sqlite3").open("r+b") as file:
        file.seek(20_000)
        file.write(os.urandom(60_000))
    before = fingerprint(filled)
    with pytest.raises(IntegrityError, match="damaged"), open_source(filled) as session:
        session.describe()
    assert fingerprint(filled) == before


def test_a_full_temporary_folder(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copies = temporary_copies()
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(1, 1, 0))
    with pytest.raises(OutOfResources, match="TMPDIR"), open_source(filled) as session:
        session.describe()
    assert temporary_copies() == copies


def test_an_unfinished_transaction_is_rolled_back_in_the_copy(tmp_path: Path) -> None:
    path = tmp_path / "db"
    with raw(path) as client:
        client.create_collection("docs", embedding_function=None).add(ids=["a"], embeddings=[[1.0, 2.0]])
    # A process that dies inside a transaction that has already written to the file.
    crash = (
        "import os, sqlite3, sys\n"
        "d = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "d.execute('PRAGMA cache_size=1'); d.execute('BEGIN')\n"
        "d.execute('CREATE TABLE junk (x)')\n"
        "d.executemany('INSERT INTO junk VALUES (?)', [(os.urandom(3000),) for _ in range(400)])\n"
        "d.execute('DELETE FROM embeddings_queue')\n"
        "os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", crash, str(path / "chroma.sqlite3")], check=False)
    assert (path / "chroma.sqlite3-journal").stat().st_size
    before = fingerprint(path)
    with open_source(path) as session:
        assert read(session)[0].column("id").to_pylist() == ["a"]
    assert fingerprint(path) == before


def test_a_folder_in_wal_mode(filled: Path) -> None:
    holder = sqlite3.connect(filled / "chroma.sqlite3")
    holder.execute("PRAGMA journal_mode=WAL")
    holder.execute("INSERT INTO acquire_write (lock_status) VALUES (1)")
    holder.commit()
    assert (filled / "chroma.sqlite3-wal").stat().st_size
    before = fingerprint(filled)
    with open_source(filled) as session:
        assert read(session)[0].num_rows == 1500
    assert fingerprint(filled) == before
    holder.close()
