"""A folder of Chroma that is written to while it is copied: one point in time, or a refusal."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from vecport.connectors.chroma import folder
from vecport.connectors.contract import TargetPlan
from vecport.errors import Locked, Unavailable

from .support import by_id, collection_of, open_source, open_target, raw, read, temporary_copies

pytest.importorskip("chromadb")

WRITER = """
import sys, time
import chromadb, numpy as np
client = chromadb.PersistentClient(sys.argv[1])
docs = client.get_or_create_collection(
    "docs", embedding_function=None, configuration={"hnsw": {"sync_threshold": 60}})
log = open(sys.argv[2], "a", buffering=1)
k = 0
while True:
    k += 1
    log.write(f"begin {k}\\n")
    ids = [f"{(k + 2) // 3}-{j}" for j in range(20)]
    if k % 3 == 1:
        docs.add(ids=ids, embeddings=np.full((20, 4), k), metadatas=[{"v": k}] * 20)
    elif k % 3 == 2:
        docs.upsert(ids=ids[:15], embeddings=np.full((15, 4), k), metadatas=[{"v": k}] * 15)
    else:
        docs.delete(ids=ids[10:])
    log.write(f"end {k}\\n")
"""


def state_after(operations: int) -> dict[str, int]:
    """What the writer's collection holds after some operations: the operation that wrote each record."""
    state: dict[str, int] = {}
    for k in range(1, operations + 1):
        ids = [f"{(k + 2) // 3}-{j}" for j in range(20)]
        if k % 3 == 1:
            state |= dict.fromkeys(ids, k)
        elif k % 3 == 2:
            state |= dict.fromkeys(ids[:15], k)
        else:
            for id in ids[10:]:
                del state[id]
    return state


@contextlib.contextmanager
def writer(path: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    log.touch()
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(path), str(log)])
    try:
        deadline = time.monotonic() + 60
        while "end 12" not in log.read_text() and time.monotonic() < deadline:
            time.sleep(0.02)
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(("free_attempts", "rounds"), [(2, 20), (0, 10)])
def test_a_copy_of_a_busy_folder_is_one_point_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free_attempts: int, rounds: int
) -> None:
    monkeypatch.setattr(folder, "_FREE_ATTEMPTS", free_attempts)
    path, log, held = tmp_path / "db", tmp_path / "log", 0
    with writer(path, log) as process:
        for _ in range(rounds):
            first = int(re.findall(r"end (\d+)\n", log.read_text())[-1])
            with open_source(path) as session:
                table, missing = read(session)
                held += any("writes waited" in note for note in session.describe().notes)
            last = int(re.findall(r"begin (\d+)\n", log.read_text())[-1])
            found = {id: json.loads(row["metadata"])["v"] for id, row in by_id(table).items()}
            vectors = {id: row["vector"] for id, row in by_id(table).items()}
            assert vectors == {id: [float(v)] * 4 for id, v in found.items()}
            assert not missing
            assert any(found == state_after(k) for k in range(first, last + 1)), (first, last)
        assert process.poll() is None
    assert held == rounds or free_attempts


def test_a_folder_that_never_rests_is_refused(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copies = temporary_copies()
    monkeypatch.setattr(folder, "_PAUSE", 0.0)
    monkeypatch.setattr(folder, "_digest", lambda path: 0)
    with pytest.raises(Unavailable, match="stop the application, or run a Chroma server"), open_source(filled) as s:
        s.describe()
    assert temporary_copies() == copies


def test_an_index_save_under_way_is_waited_for(filled: Path) -> None:
    now = time.time_ns()
    stamps = folder._stamps(filled, side_files=True)
    assert not folder._under_way(stamps, now)
    (saved,) = [n for n in stamps if n.endswith("index_metadata.pickle")]
    young = {**stamps, saved: replace(stamps[saved], modified=now)}
    assert folder._under_way(young, now)
    assert not folder._under_way(young, now + 10_000_000_000)
    torn = {**stamps, saved.replace("index_metadata.pickle", "data_level0.bin"): replace(stamps[saved], modified=now)}
    assert folder._under_way(torn, now)


def test_a_folder_open_in_this_process_is_refused(filled: Path, tmp_path: Path) -> None:
    with raw(filled):
        (tmp_path / "link").symlink_to(filled)
        for path in (filled, tmp_path / "link"):
            with pytest.raises(Locked, match="open in this process"), open_source(path) as session:
                session.describe()
            with pytest.raises(Locked, match="open in this process"), open_target(path) as target:
                target.prepare(TargetPlan(collection_of(8), 1, if_exists="append"))
    with open_source(filled) as session:
        assert session.count() == 1500
