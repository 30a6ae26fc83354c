"""A count that trails behind proves nothing: it is waited for, and then every record is looked for by its key."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.operations import rooms
from vecport.connectors import guest as guests
from vecport.connectors.guest import Clock
from vecport.dump import open_dump
from vecport.errors import Incomplete, Interrupted
from vecport.operations.export import export
from vecport.operations.import_ import ImportResult, import_
from vecport.operations.progress import Silent, Stop
from vecport.operations.validate import validate

ROWS = 30


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses of everything that waits; none of them takes time."""
    pauses: list[float] = []
    monkeypatch.setattr(guests, "CLOCK", Clock(lambda: sum(pauses), pauses.append))
    return pauses


@pytest.fixture
def dump(tmp_path: Path) -> Path:
    with rooms.room() as address:
        rooms.fill(address, [rooms.record(f"r{n:02}", n, ("", "eu")[n % 2]) for n in range(ROWS)])
        export(address, tmp_path / "dump", shard_rows=10)
    return tmp_path / "dump"


def imported(dump: Path, address: str, count: str = "eventual", **faults: Any) -> ImportResult:
    options = {"count": count, "faults": json.dumps(faults)}
    return import_(dump, f"{address}#docs", target_options=options, workers=1)


def test_a_count_that_is_late_is_waited_for(dump: Path, slept: list[float], shown: Callable[[str], None]) -> None:
    with rooms.room() as address:
        assert imported(dump, address, late_counts=7, late_by=4).written_rows == ROWS
    shown(f"a count that is late seven times: {sum(slept):.2f} s of pauses")
    assert sum(slept) == pytest.approx(0.05 * (2**7 - 1))


def test_a_count_that_stays_late_is_given_up_and_keys_decide(dump: Path, slept: list[float]) -> None:
    with rooms.room() as address:
        assert imported(dump, address, late_counts=-1, late_by=4).written_rows == ROWS
    assert 60 <= sum(slept) < 70


@pytest.mark.parametrize("late", [{}, {"late_counts": 3, "late_by": 2}, {"late_counts": -1, "late_by": 2}])
def test_a_lost_record_is_found_by_its_key(dump: Path, slept: list[float], late: dict[str, int]) -> None:
    with rooms.room() as address, pytest.raises(Incomplete, match="r07"):
        imported(dump, address, lose="r07", **late)


def test_a_stale_count_that_is_right_by_chance_is_no_proof(dump: Path, slept: list[float]) -> None:
    """One record is lost and one of somebody else's is there: the count is that of the dump."""
    with rooms.room() as address:
        options = {"count": "eventual", "faults": json.dumps({"lose": "r07"})}
        rooms.fill(address, [rooms.record("stranger", 1)], rooms.collection())
        with pytest.raises(Incomplete, match="r07"):
            import_(dump, f"{address}#docs", target_options=options, workers=1, if_exists="append")


def test_without_counts_keys_decide(dump: Path, slept: list[float]) -> None:
    with rooms.room() as address:
        assert imported(dump, address, "none").written_rows == ROWS
    with rooms.room() as address, pytest.raises(Incomplete, match="r07"):
        imported(dump, address, "none", lose="r07")
    assert 60 <= sum(slept) < 130


def test_waiting_hears_ctrl_c(dump: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stop = Stop()
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        stop.set()

    monkeypatch.setattr(guests, "CLOCK", Clock(lambda: sum(pauses), sleep))
    faults = json.dumps({"late_counts": -1, "late_by": 4})
    with rooms.room() as address, pytest.raises(Interrupted):
        import_(dump, f"{address}#docs", target_options={"count": "eventual", "faults": faults}, workers=1, stop=stop)
    assert len(pauses) == 1


def exported(tmp_path: Path, address: str, **faults: Any) -> Any:
    options = {"mode": "live", "count": "eventual", "faults": json.dumps(faults)}
    return export(address, tmp_path / "again", source_options=options, batch_size=10, workers=1)


def test_an_export_of_a_source_whose_count_is_late(tmp_path: Path) -> None:
    with rooms.room() as address:
        rooms.fill(address, [rooms.record(f"r{n:02}", n) for n in range(ROWS)])
        result = exported(tmp_path, address, late_counts=-1, late_by=5)
    assert (result.rows, result.consistency["count_after"], result.notes) == (ROWS, ROWS, ())


@pytest.mark.parametrize("late", [{}, {"late_counts": -1, "late_by": 1}])
def test_a_record_that_a_scan_loses_is_fetched_by_its_key_and_told(tmp_path: Path, late: dict[str, int]) -> None:
    """With a count late by one, rows and counts are equal, before and after."""
    with rooms.room() as address:
        rooms.fill(address, [rooms.record(f"r{n:02}", n) for n in range(ROWS)])
        result = exported(tmp_path, address, lose_row_on_page=2, **late)
    assert (result.rows, result.consistency["fetched_late"]) == (ROWS, 1)
    assert any("1 that the scan had not met were fetched by their keys" in n for n in result.notes)
    assert validate(tmp_path / "again", level="deep").valid


class Meanwhile(Silent):
    """An application that works in a collection while it is read: at the first page that came."""

    def __init__(self, work: Callable[[], None]) -> None:
        super().__init__()
        self._work: Callable[[], None] | None = work

    def advance(self, rows: int) -> None:
        if rows and self._work is not None:
            work, self._work = self._work, None
            work()


@pytest.mark.parametrize("deleted", ["read", "unread"])
@pytest.mark.parametrize("added", ["passed", "ahead"])
@pytest.mark.parametrize("number", [1, 10])
def test_as_many_come_as_go_during_a_scan(tmp_path: Path, deleted: str, added: str, number: int) -> None:
    """Counts stand still, whoever moved; where rows differ from them, the dump has every record that is there then.

    Where as many were read before they went as came behind the scan, rows and counts are equal: a live scan, no loss.
    """
    gone = [f"r{n:02}" if deleted == "read" else f"r{ROWS - 1 - n:02}" for n in range(number)]
    come = [rooms.record(f"{'a' if added == 'passed' else 'z'}{n:02}", n) for n in range(number)]
    with rooms.room() as address:
        rooms.fill(address, [rooms.record(f"r{n:02}", n) for n in range(ROWS)])

        def work() -> None:
            rooms.remove(address, gone)
            rooms.fill(address, come)

        result = export(
            address, tmp_path / "d", source_options={"mode": "live"}, batch_size=10, workers=1, progress=Meanwhile(work)
        )
        there = set(rooms.held(address))
    found = {(ns, i) for batch in open_dump(tmp_path / "d").keys(("namespace", "id")) for ns, i in zip(
        *(c.to_pylist() for c in batch.columns), strict=True)}  # fmt: skip
    assert result.rows == len(found)
    stayed = {("", f"r{n:02}") for n in range(ROWS)} - {("", i) for i in gone}
    assert stayed <= found
    moved = result.consistency
    if (deleted, added) == ("read", "passed"):
        assert (result.rows, moved["only_in_source"]) == (moved["count_after"], None)
        return
    assert there <= found
    assert found - there <= {("", i) for i in gone}
    assert moved["only_in_dump"] in (None, len(found - there))
    assert moved["only_in_source"] in (None, 0)
    assert validate(tmp_path / "d", level="deep").valid
