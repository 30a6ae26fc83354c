"""Folders of Chroma as targets: which may be written, who has them, when they are let go."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from vecport.connectors.contract import TargetPlan
from vecport.errors import AlreadyExists, Locked, NotFound

from .support import batch_of, collection_of, load, open_target

chromadb = pytest.importorskip("chromadb")


def test_target_folders(tmp_path: Path, filled: Path) -> None:
    plan = TargetPlan(collection_of(), 1)
    with open_target(tmp_path / "no" / "where") as target, pytest.raises(NotFound, match="mkdir -p"):
        target.prepare(plan)
    assert not (tmp_path / "no").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").touch()
    with open_target(tmp_path / "mine") as target, pytest.raises(AlreadyExists, match="no Chroma database"):
        target.prepare(plan)
    with open_target(tmp_path / "mine" / "letter.txt") as target, pytest.raises(AlreadyExists):
        target.prepare(plan)
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["letter.txt"]
    (tmp_path / "new").mkdir()
    with open_target(tmp_path / "new") as target:
        assert target.describe() is None
        target.prepare(plan)
        assert target.count() == 0


def test_a_target_folder_in_use_is_locked(filled: Path) -> None:
    plan = TargetPlan(collection_of(), 1)
    holder = sqlite3.connect(filled / "chroma.sqlite3", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with open_target(filled, "new") as target, pytest.raises(Locked, match="SQLite says"):
        target.prepare(plan)
    holder.close()
    if not Path("/proc/self/fd").exists():
        return
    hold = "import sys; f = open(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", hold, str(filled / "chroma.sqlite3")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with open_target(filled, "new") as target, pytest.raises(Locked, match=f"have it open: {other.pid};"):
            target.prepare(plan)
        other.communicate()
    with open_target(filled, "new") as target:
        target.prepare(plan)


def test_close_releases_the_folder(tmp_path: Path) -> None:
    collection = collection_of()
    load(tmp_path / "db", batch_of(collection, ["a"]), collection)
    shared = chromadb.api.shared_system_client.SharedSystemClient
    target = open_target(tmp_path / "db")
    target.attach(TargetPlan(collection, 1))
    assert target.count() == 1
    handles = Path("/proc/self/fd")
    if handles.exists():
        assert any(str(tmp_path) in os.readlink(h) for h in handles.iterdir() if h.is_symlink())
    target.close()
    target.close()
    assert not [i for i in shared._identifier_to_system if str(tmp_path) in i]
    if handles.exists():
        assert not any(str(tmp_path) in os.readlink(h) for h in handles.iterdir() if h.is_symlink())
    count = "import chromadb, sys; print(chromadb.PersistentClient(sys.argv[1]).get_collection('docs').count())"
    answer = subprocess.check_output([sys.executable, "-c", count, str(tmp_path / "db")], text=True)
    assert answer.strip() == "1"
    shutil.rmtree(tmp_path / "db")
