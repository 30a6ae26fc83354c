"""Exports of sources that list their ids: the list is in files, whatever its length, and is read only as needed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vecport.connectors.memory import MemorySource
from vecport.dump.partitions import FOLDER
from vecport.dump.store import LocalStore
from vecport.errors import IntegrityError, Unavailable
from vecport.operations.export import export
from vecport.operations.plan import SAMPLE, plan

from .rooms import fill, held, record, room

ROWS = 60
#: Ids of the long list: as text, 36 bytes and two quotes and a comma each.
IDS = 2_000_000


@pytest.fixture
def place() -> Iterator[str]:
    with room() as address:
        fill(address, [record(f"r{i:02}", i) for i in range(ROWS)])
        yield address


_LONG = """
import json, re, sys
from vecport.connectors import memory
from vecport.connectors.memory import MemorySource
from vecport.operations import export as exports
from tests.operations.rooms import fill, record

TOTAL, EACH = int(sys.argv[2]), 100_000

def peak_kib():
    # Of this program alone: the figure of getrusage begins with that of the process that started it.
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1])

BEHIND = "00000000-0000-4000-8000-{:012x}"

def partitions(self, target_rows, token):
    for start in range(0, TOTAL, EACH):
        ids = ",".join(f'"{BEHIND.format(i)}"' for i in range(start, start + EACH))
        yield {"from": ["", BEHIND.format(start)], "to": ["", BEHIND.format(start + EACH)], "ids": "[" + ids + "]"}

# A source that lists ids, as Chroma's server does; few of the ids have a record, so that the list is what costs.
MemorySource.partitions = partitions
fill("memory:long", [record(BEHIND.format(i * (TOTAL // 50)), i) for i in range(50)])
before = peak_kib()

scan, scans = MemorySource.scan, []
def dying(self, partition, cursor, page_rows):
    scans.append(len(json.loads(partition["ids"])))
    if len(sys.argv) > 3 and len(scans) == int(sys.argv[3]) + 1:
        raise KeyboardInterrupt
    yield from scan(self, partition, cursor, page_rows)
MemorySource.scan = dying
listed = []
def told(self, target_rows, token):
    listed.append(1)
    yield from partitions(self, target_rows, token)
MemorySource.partitions = told
try:
    done = exports.export("memory:long", sys.argv[1])
    rows, resumed = done.rows, done.resumed_rows
except KeyboardInterrupt:
    rows = resumed = None
print(json.dumps({"rows": rows, "resumed": resumed, "grown_kib": peak_kib() - before, "scans": len(scans),
                  "listed": len(listed), "ids": sum(scans)}))
"""


def _long(dump: Path, *, killed_after: int | None = None) -> dict[str, Any]:
    words = [sys.executable, "-c", _LONG, str(dump), str(IDS), *([str(killed_after)] if killed_after else [])]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, env={**os.environ, "PYTHONPATH": "."})
    assert done.returncode == 0, done.stderr
    facts: dict[str, Any] = json.loads(done.stdout)
    return facts


def test_two_million_ids_are_in_files_and_a_resume_reads_them_there(tmp_path: Path) -> None:
    dump = tmp_path / "dump"
    first = _long(dump, killed_after=7)
    assert (first["rows"], first["listed"]) == (None, 1)
    head = (dump / ".vecport/export.json").stat().st_size
    listed = sum(p.stat().st_size for p in (dump / FOLDER).iterdir())
    assert head < 10_000
    assert listed > 39 * IDS
    second = _long(dump)
    assert (second["rows"], second["listed"]) == (50, 0)
    assert second["resumed"] > 0
    assert second["ids"] < IDS
    # A list of the ids alone would take 85 MB of each run.
    print(f"{IDS:,} ids: head {head:,} bytes, files {listed >> 20} MiB, "
          f"memory grew {first['grown_kib'] >> 10} and {second['grown_kib'] >> 10} MiB")  # fmt: skip
    assert max(first["grown_kib"], second["grown_kib"]) < 64 << 10


def test_a_listing_that_broke_begins_again(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = MemorySource.partitions

    def breaks(self: MemorySource, target_rows: int, token: Any) -> Iterator[Any]:
        for i, part in enumerate(whole(self, 5, token)):
            if i == 4:
                raise KeyboardInterrupt
            yield part

    with monkeypatch.context() as patch:
        patch.setattr(MemorySource, "partitions", breaks)
        with pytest.raises(KeyboardInterrupt):
            export(place, tmp_path / "dump", shard_rows=5)
    store = LocalStore(str(tmp_path / "dump"))
    assert not store.exists(".vecport/export.json")
    done = export(place, tmp_path / "dump", shard_rows=5)
    assert (done.rows, done.resumed_rows) == (ROWS, 0)
    assert store.list(FOLDER) == []


def test_a_lost_file_of_partitions_is_an_error_and_not_a_smaller_dump(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = MemorySource.scan

    def stops(self: MemorySource, partition: Any, *more: Any) -> Iterator[Any]:
        if partition["from"] is not None:
            raise Unavailable("gone", why="the test says so")
        yield from scan(self, partition, *more)

    with monkeypatch.context() as patch:
        patch.setattr(MemorySource, "scan", stops)
        patch.setattr("vecport.connectors.guest.BUDGET_S", 0.0)
        with pytest.raises(Unavailable):
            export(place, tmp_path / "dump", shard_rows=5)
    (only,) = (tmp_path / "dump" / FOLDER).iterdir()
    only.unlink()
    with pytest.raises(IntegrityError, match="missing"):
        export(place, tmp_path / "dump", shard_rows=5)
    assert export(place, tmp_path / "dump", shard_rows=5, overwrite=True).rows == ROWS


def test_a_plan_lists_no_more_than_it_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, given = MemorySource.partitions, list[int]()

    def counted(self: MemorySource, target_rows: int, token: Any) -> Iterator[Any]:
        for part in whole(self, target_rows, token):
            given.append(target_rows)
            yield part

    with room() as address:
        fill(address, [record(str(uuid.UUID(int=i)), i) for i in range(SAMPLE * 4)])
        monkeypatch.setattr(MemorySource, "partitions", counted)
        found = plan(address)
        assert len(held(address)) == SAMPLE * 4
    assert found.sampled == SAMPLE
    assert given[:1] == [SAMPLE]
    assert len([g for g in given if g == SAMPLE]) == 1
