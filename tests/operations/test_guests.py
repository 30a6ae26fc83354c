"""Exports, imports, verifications and copies within bounds, and against a database that refuses."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vecport.connectors import guest as guests
from vecport.connectors.guest import Clock, Guest
from vecport.errors import Interrupted, NotRepresentable, Throttled, UsageError
from vecport.operations.copy import copy
from vecport.operations.export import export
from vecport.operations.import_ import import_
from vecport.operations.progress import Stop
from vecport.operations.sessions import Endpoint, endpoint
from vecport.operations.verify import verify

from .rooms import fill, held, record, room

ROWS = 60


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What sessions wait for; nobody really waits."""
    times = [0.0]
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        times[0] += seconds

    monkeypatch.setattr(guests, "CLOCK", Clock(lambda: times[0], sleep))
    # A pause is one, into however many steps it is cut to hear the user.
    monkeypatch.setattr(guests, "_STEP_S", 3600.0)
    return pauses


@pytest.fixture
def place() -> Iterator[str]:
    with room() as address:
        fill(address, [record(f"r{i:02}", i) for i in range(ROWS)])
        yield address


@pytest.fixture
def target() -> Iterator[str]:
    with room() as address:
        yield address


@pytest.fixture
def dump(place: str, tmp_path: Path) -> Path:
    export(place, tmp_path / "dump", shard_rows=6)
    return tmp_path / "dump"


def faults(**given: Any) -> dict[str, str]:
    return {"faults": json.dumps(given)}


def test_every_operation_keeps_the_bound(place: str, target: str, tmp_path: Path, slept: list[float]) -> None:
    export(place, tmp_path / "dump", batch_size=10, max_rps=2)
    read = sum(slept)
    # Six pages and their end, counts before: the first request need not wait.
    assert 3.0 <= read <= 6.0
    import_(tmp_path / "dump", target, max_rps=2)
    written = sum(slept) - read
    assert 0.5 <= written <= 3.0
    assert verify(tmp_path / "dump", target, max_rps=2).exit_code == 0
    assert sum(slept) > read + written


def test_workers_share_the_bound(place: str, tmp_path: Path, slept: list[float]) -> None:
    """Two workers at half the rate each: a request of either is followed by twice the pause."""
    export(place, tmp_path / "dump", batch_size=10, shard_rows=15, workers=2, max_rps=4)
    assert max(slept) >= 0.5 * 0.99


def test_the_bound_holds_in_real_time(place: str, tmp_path: Path) -> None:
    begin = time.monotonic()
    export(place, tmp_path / "dump", batch_size=5, max_rps=60)
    assert time.monotonic() - begin >= 12 / 60


def test_a_copy_keeps_it_on_both_sides(place: str, target: str, tmp_path: Path, slept: list[float]) -> None:
    result = copy(place, target, dump=tmp_path / "dump", batch_size=10, max_rps=2, max_mbps=0.01)
    assert result.exit_code == 0
    assert sum(slept) > 3.0


@pytest.mark.parametrize("workers", [1, 3])
def test_a_third_of_the_writes_is_refused_and_the_count_is_exact(
    dump: Path, target: str, workers: int, slept: list[float]
) -> None:
    options = faults(throttle_every=3, retry_after_s=0.25)
    result = import_(dump, target, target_options=options, workers=workers)
    assert result.written_rows == ROWS
    assert {k[1]: m for k, m in held(target).items()} == {f"r{i:02}": {"n": float(i)} for i in range(ROWS)}
    assert min(p for p in slept if p >= 0.25) == 0.25


def test_a_database_that_never_lets_one_in_is_given_up(dump: Path, target: str, slept: list[float]) -> None:
    with pytest.raises(Throttled) as caught:
        import_(dump, target, target_options=faults(throttle_every=1))
    assert caught.value.exit_code == 15
    assert sum(slept) <= guests.THROTTLED_BUDGET_S
    # The same command goes on when it lets one in again.
    assert import_(dump, target).written_rows == ROWS


def test_what_is_too_large_is_cut_and_arrives(dump: Path, target: str) -> None:
    assert import_(dump, target, target_options=faults(largest_write=4)).written_rows == ROWS
    assert len(held(target)) == ROWS


def test_a_record_that_the_target_refuses_is_named_and_the_import_goes_on_without_the_fault(
    dump: Path, target: str
) -> None:
    with pytest.raises(NotRepresentable, match="record 'r31' is refused") as caught:
        import_(dump, target, target_options=faults(poison="r31"), workers=1)
    assert "not to the target's taste" in caught.value.why
    result = import_(dump, target)
    assert result.resumed_rows == 30
    assert verify(dump, target).exit_code == 0


def test_a_stop_is_heard_while_a_run_waits(dump: Path, target: str) -> None:
    stop = Stop()
    begin = time.monotonic()
    threading.Timer(0.2, stop.set).start()
    with pytest.raises(Interrupted):
        import_(dump, target, target_options=faults(throttle_every=1, retry_after_s=600), stop=stop)
    assert time.monotonic() - begin < 10
    assert import_(dump, target).written_rows == ROWS


def test_bounds_travel_to_worker_processes_as_plain_data(place: str) -> None:
    made = endpoint(place, role="source", collection="docs", guest=Guest(8, 2))
    back = Endpoint.from_json(json.loads(json.dumps(made.shared(4).to_json())))
    assert back.guest == Guest(2, 0.5)


@pytest.mark.parametrize("wrong", [{"max_rps": 0}, {"max_mbps": -1.0}])
def test_a_bound_of_nothing_is_a_usage_error(place: str, target: str, tmp_path: Path, wrong: dict[str, float]) -> None:
    for call in (
        lambda: export(place, tmp_path / "new", **wrong),  # type: ignore[arg-type]
        lambda: copy(place, target, dump=tmp_path / "new", **wrong),  # type: ignore[arg-type]
    ):
        with pytest.raises(UsageError, match="must be above zero"):
            call()
    assert not (tmp_path / "new").exists()
