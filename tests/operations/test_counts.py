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
from vecport.errors import Incomplete, Interrupted
from vecport.operations.export import export
from vecport.operations.import_ import ImportResult, import_
from vecport.operations.progress import Stop

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
def test_a_record_that_a_scan_loses_is_missed(tmp_path: Path, late: dict[str, int]) -> None:
    """With a count late by one, rows and counts are equal, before and after."""
    with rooms.room() as address:
        rooms.fill(address, [rooms.record(f"r{n:02}", n) for n in range(ROWS)])
        with pytest.raises(Incomplete):
            exported(tmp_path, address, lose_row_on_page=2, **late)
