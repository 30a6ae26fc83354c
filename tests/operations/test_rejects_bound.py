"""Rejects are held in memory, so their number is bounded: an export with more of them stops and names the bound."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vecport.connectors.contract import Page, Reject
from vecport.connectors.memory import MemorySource
from vecport.dump.journal import Journal
from vecport.errors import IntegrityError, Interrupted
from vecport.limits import MAX_REJECTS
from vecport.operations import rejects
from vecport.operations.export import export
from vecport.operations.progress import Silent, Stop

from .rooms import fill, record, room

ROWS = 12


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Twelve records, and behind each one more that cannot be read: r00 and x-r00, r01 and x-r01, ..."""
    scan, count = MemorySource.scan, MemorySource.count

    def scans(self: MemorySource, partition: Any, cursor: Any, page_rows: int) -> Iterator[Page]:
        for page in scan(self, partition, cursor, 1):
            lost = [Reject("", f"x-{i}", "lost") for i in page.batch.column("id").to_pylist()]
            yield replace(page, rejected=tuple(lost))

    monkeypatch.setattr(MemorySource, "scan", scans)
    monkeypatch.setattr(MemorySource, "count", lambda self: count(self) + ROWS)
    with room() as address:
        fill(address, [record(f"r{i:02}", i) for i in range(ROWS)])
        yield address


def bound(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    monkeypatch.setattr(rejects, "MAX_REJECTS", most)


@pytest.mark.parametrize("limit", [None, ROWS])
@pytest.mark.parametrize("shard_rows", [3, 100])
def test_an_export_stops_above_the_bound_and_not_at_it(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shard_rows: int, limit: int | None
) -> None:
    """In one partition and spread over several, of which none has too many by itself."""
    chosen: dict[str, Any] = {"on_error": "quarantine", "shard_rows": shard_rows, "limit": limit}
    bound(monkeypatch, ROWS - 1)
    with pytest.raises(IntegrityError, match="more than 11 records cannot be read") as caught:
        export(place, tmp_path / "dump", **chosen)
    assert "MAX_REJECTS" in caught.value.why
    assert "--where" in caught.value.next
    assert not (tmp_path / "dump" / "manifest.json").exists()
    bound(monkeypatch, ROWS)
    result = export(place, tmp_path / "dump", overwrite=True, **chosen)
    assert (result.rejected, result.rows, result.exit_code) == (ROWS, ROWS, 4)


def test_a_partition_with_too_many_is_left_before_its_end(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bound(monkeypatch, 4)
    heard = _Counts()
    with pytest.raises(IntegrityError, match="more than 4 records"):
        export(place, tmp_path / "dump", on_error="quarantine", shard_rows=100, progress=heard)
    assert heard.rows == 4


class _Counts(Silent):
    def __init__(self) -> None:
        super().__init__()
        self.rows = 0

    def advance(self, rows: int) -> None:
        self.rows += rows


class _Stops(Silent):
    """Asks for a stop when some shards are durable."""

    def __init__(self, stop: Stop, shards: int) -> None:
        super().__init__()
        self._stop, self._shards = stop, shards

    def durable(self, what: str) -> None:
        self._shards -= 1
        if not self._shards:
            self._stop.set()


def test_rejects_of_an_earlier_run_count_once(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stop, dump = Stop(), tmp_path / "dump"
    chosen: dict[str, Any] = {"on_error": "quarantine", "shard_rows": 3, "workers": 1}
    with pytest.raises(Interrupted):
        export(place, dump, progress=_Stops(stop, 2), stop=stop, **chosen)
    bound(monkeypatch, ROWS - 1)
    with pytest.raises(IntegrityError, match="more than 11"):
        export(place, dump, **chosen)
    bound(monkeypatch, ROWS)
    assert export(place, dump, **chosen).rejected == ROWS
    lines = (dump / "rejects.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in lines] == [f"x-r{i:02}" for i in range(ROWS)]


def test_the_journal_names_each_reject_once(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    add = Journal.add

    def adds(self: Journal, durable: Any) -> None:
        told.extend(id_ for _, id_, _ in durable.rejected)
        add(self, durable)

    monkeypatch.setattr(Journal, "add", adds)
    # One partition of several shards: the cut of the partitions is coarser than that of the shards.
    partitions = MemorySource.partitions
    monkeypatch.setattr(MemorySource, "partitions", lambda self, rows, token: partitions(self, 1000, token))
    result = export(place, tmp_path / "dump", on_error="quarantine", shard_rows=3)
    assert result.shards > 2
    assert sorted(told) == [f"x-r{i:02}" for i in range(ROWS)]
    assert len(told) == len(set(told))


def test_the_bound_is_one_that_memory_holds() -> None:
    assert MAX_REJECTS == 100_000
    rejects.check_count(MAX_REJECTS, "here")
    with pytest.raises(IntegrityError, match="here: more than 100,000 records"):
        rejects.check_count(MAX_REJECTS + 1, "here")
