"""Bounds on requests and bytes, patience, and writes in pieces: over the memory connector, by a clock that obeys."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import numpy as np
import pytest

from vecport.connectors import guest as guests
from vecport.connectors.address import Place, parse, with_options
from vecport.connectors.contract import Mark, Selection, Source, Target, TargetPlan
from vecport.connectors.decorators import decorated_source, decorated_target
from vecport.connectors.guest import BUDGET_S, THROTTLED_BUDGET_S, Clock, Guest, Pace, Patience
from vecport.connectors.memory import MemoryConnector, MemorySource, MemoryTarget, forget
from vecport.errors import NotRepresentable, Throttled, TooLarge, Unavailable, UsageError
from vecport.model.collection import Collection, VectorField
from vecport.testing.records import Record, batch_of

MADE = Collection("docs", "string", (VectorField("", dim=2, metric="l2"),))
MARK = Mark("part-00000-00000.parquet", 0)


class Hours:
    """A clock that stands still until somebody sleeps."""

    def __init__(self) -> None:
        self.time, self.slept = 1000.0, list[float]()
        self.clock = Clock(lambda: self.time, self.sleep)

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.slept.append(seconds)
        self.time += seconds

    @property
    def passed(self) -> float:
        return self.time - 1000.0


@pytest.fixture
def hours() -> Hours:
    return Hours()


def records(n: int) -> list[Record]:
    return [Record(f"r{i:03}", {"": np.array([i, 1], np.float32)}, {"n": i}) for i in range(n)]


@pytest.fixture
def name(request: pytest.FixtureRequest) -> Iterator[str]:
    yield request.node.name
    forget(request.node.name)


@contextmanager
def target(name: str, guest: Guest = guests.UNBOUNDED, clock: Clock | None = None, **faults: Any) -> Iterator[Target]:
    place = with_options(parse(f"memory:{name}"), {"faults": json.dumps(faults)})
    with MemoryConnector().open_target(place, "docs") as session:
        decorated = decorated_target(session, guest, clock)
        plan = TargetPlan(MADE, 0, if_exists="append")
        decorated.prepare(plan)
        decorated.attach(plan)
        yield decorated


@contextmanager
def source(name: str, guest: Guest = guests.UNBOUNDED, clock: Clock | None = None, **faults: Any) -> Iterator[Source]:
    place = with_options(parse(f"memory:{name}"), {"faults": json.dumps(faults)})
    with MemoryConnector().open_source(place, "docs", Selection()) as session:
        decorated = decorated_source(session, guest, clock)
        decorated.attach(decorated.snapshot())
        yield decorated


def put(name: str, n: int) -> None:
    with target(name) as session:
        session.write(batch_of(records(n), MADE), MARK)


def scanned(session: Source, page_rows: int) -> list[str]:
    pages = session.scan({"from": None, "to": None}, None, page_rows)
    return [str(i) for page in pages for i in page.batch.column("id")]


class Sizes:
    """The sizes of the writes that reach the memory connector, refused ones too."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.sizes: list[int] = []
        opened = MemoryConnector.open_target

        def open_counted(connector: MemoryConnector, place: Place, collection: str) -> Target:
            session = opened(connector, place, collection)
            write = session.write

            def counted(batch: Any, mark: Mark) -> None:
                self.sizes.append(batch.num_rows)
                write(batch, mark)

            session.write = counted  # type: ignore[method-assign]
            return session

        patch.setattr(MemoryConnector, "open_target", open_counted)


@pytest.fixture
def sizes(monkeypatch: pytest.MonkeyPatch) -> Sizes:
    return Sizes(monkeypatch)


# ---- bounds


@pytest.mark.parametrize(("requests", "each"), [(0, 1), (1, 1), (3, 3), (7, 7)])
def test_a_session_that_counts_its_requests_is_held_to_them(
    name: str, hours: Hours, monkeypatch: pytest.MonkeyPatch, requests: int, each: int
) -> None:
    """A page of several requests takes the turns of all of them; one that says nothing is one request."""
    put(name, 40)

    def fetch(session: Source, keys: Any) -> Any:
        for _ in range(requests):
            session.pace()
        return whole(session, keys)

    whole = MemorySource.fetch
    monkeypatch.setattr(MemorySource, "fetch", fetch)
    with source(name, Guest(max_rps=4), hours.clock) as session:
        for _ in range(5):
            assert session.fetch([("", "r001")]).num_rows == 1
    assert hours.passed == pytest.approx((5 * each - 1) / 4)


def test_a_session_without_bounds_waits_for_nothing(name: str) -> None:
    put(name, 1)
    with MemoryConnector().open_source(parse(f"memory:{name}"), "docs", Selection()) as plain:
        plain.pace(1_000_000)
        plain.report.note("nobody hears this")


def test_reading_keeps_the_bound_on_requests(name: str, hours: Hours) -> None:
    put(name, 40)
    with source(name, Guest(max_rps=4), hours.clock) as session:
        assert len(scanned(session, 10)) == 40
        session.count()
        session.fetch([("", "r001")])
    # Four pages and the answer that there are no more, a count and a fetch: the first need not wait.
    assert hours.passed == pytest.approx(6 / 4)


def test_reading_keeps_the_bound_on_bytes(name: str, hours: Hours) -> None:
    put(name, 40)
    with source(name) as session:
        size = sum(p.batch.nbytes for p in session.scan({"from": None, "to": None}, None, 10))
    with source(name, Guest(max_mbps=size / 1e6 / 8), hours.clock) as session:
        assert len(scanned(session, 10)) == 40
    # What was read is paid for before the next request, the one that finds the end among them.
    assert hours.passed == pytest.approx(8, rel=1e-6)


def test_writing_keeps_the_bounds_and_sends_a_request_at_a_time(name: str, hours: Hours, sizes: Sizes) -> None:
    batch = batch_of(records(2500), MADE)
    with target(name, Guest(max_rps=0.5), hours.clock) as session:
        session.write(batch, MARK)
        assert session.count() == 2500
    assert sizes.sizes == [1000, 1000, 500]
    # One to attach, three writes, a count: the first need not wait.
    assert hours.passed == pytest.approx(4 / 0.5)
    with target(name, Guest(max_mbps=batch.nbytes / 1e6 / 10), hours.clock) as session:
        session.write(batch, MARK)
        session.count()
    assert hours.passed == pytest.approx(8 + 10, rel=0.01)


def test_without_bounds_nobody_waits_and_nothing_is_cut(name: str, hours: Hours, sizes: Sizes) -> None:
    with target(name, clock=hours.clock) as session:
        session.write(batch_of(records(2500), MADE), MARK)
    assert (sizes.sizes, hours.slept) == ([2500], [])


def test_workers_share_the_bounds() -> None:
    assert Guest(9, 3).shared(3) == Guest(3, 1)
    assert guests.UNBOUNDED.shared(4) == guests.UNBOUNDED
    assert Guest.from_json(json.loads(json.dumps(Guest(0.5, None).to_json()))) == Guest(0.5, None)


@pytest.mark.parametrize("wrong", [0, -1, float("nan"), float("inf")])
def test_a_bound_is_above_zero(wrong: float) -> None:
    with pytest.raises(UsageError, match="--max-rps"):
        Guest(max_rps=wrong)
    with pytest.raises(UsageError, match="--max-mbps"):
        Guest(max_mbps=wrong)


def test_the_bound_holds_in_real_time(name: str) -> None:
    put(name, 12)
    begin = time.monotonic()
    with source(name, Guest(max_rps=100)) as session:
        scanned(session, 1)
    assert time.monotonic() - begin >= 12 / 100 * 0.98


def test_threads_that_share_a_bucket_keep_its_rate() -> None:
    """A pace belongs to one session, and its bucket is still whole when two threads use it."""
    bucket = guests.Bucket(1000.0, Clock())
    begin = time.monotonic()

    def work() -> None:
        for _ in range(50):
            bucket.wait()
            bucket.spend(1)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    bucket.wait()
    assert time.monotonic() - begin >= 0.1 * 0.98


# ---- patience


def failing(times: int, error: Callable[[], Unavailable]) -> Callable[[], str]:
    left = [times]

    def call() -> str:
        left[0] -= 1
        if left[0] >= 0:
            raise error()
        return "answer"

    return call


def patience(hours: Hours) -> Patience:
    return Patience(Pace(guests.UNBOUNDED, hours.clock), hours.clock)


def test_a_short_silence_is_waited_for(hours: Hours) -> None:
    assert patience(hours).call(failing(8, lambda: Unavailable("no answer"))) == "answer"
    assert len(hours.slept) == 8
    assert all(0 < pause <= 10 for pause in hours.slept)
    assert hours.slept[6] > hours.slept[0]


def test_a_long_silence_ends_the_run_within_its_budget(hours: Hours) -> None:
    with pytest.raises(Unavailable, match="no answer"):
        patience(hours).call(failing(10_000, lambda: Unavailable("no answer")))
    assert BUDGET_S - 10 < hours.passed <= BUDGET_S


def test_an_answer_fills_the_budget_again(hours: Hours) -> None:
    patient = patience(hours)
    for _ in range(5):
        patient.call(failing(12, lambda: Unavailable("no answer")))
    assert hours.passed > BUDGET_S


def test_being_asked_for_patience_has_a_larger_budget_and_is_obeyed(hours: Hours) -> None:
    asked = failing(10, lambda: Throttled("too many", retry_after_s=30))
    assert patience(hours).call(asked) == "answer"
    assert hours.slept == [30.0] * 10
    with pytest.raises(Throttled):
        patience(hours).call(failing(10_000, lambda: Throttled("too many", retry_after_s=30)))
    assert hours.passed <= 300 + THROTTLED_BUDGET_S


def test_an_answer_after_longer_than_the_budget_is_not_waited_for(hours: Hours) -> None:
    with pytest.raises(Throttled):
        patience(hours).call(failing(1, lambda: Throttled("come back tomorrow", retry_after_s=86_400)))
    assert hours.slept == []


def test_what_cannot_change_is_not_tried_again(hours: Hours) -> None:
    def gone() -> Unavailable:
        error = Unavailable("the snapshot is gone")
        error.retryable = False
        return error

    with pytest.raises(Unavailable, match="gone"):
        patience(hours).call(failing(1, gone))
    for other in (NotRepresentable("x"), UsageError("x"), ValueError("x")):
        with pytest.raises(type(other)):
            patience(hours).call(failing(1, lambda other=other: other))  # type: ignore[misc]
    assert hours.slept == []


def test_the_rate_halves_when_refused_and_comes_back_when_not(hours: Hours) -> None:
    pace = Pace(guests.UNBOUNDED, hours.clock)
    for _ in range(10):
        hours.time += 0.01
        pace.ask()
    pace.throttled()
    assert pace.rate == pytest.approx(50)
    pace.throttled()
    assert pace.rate == pytest.approx(25)
    begin = hours.time
    for _ in range(60):
        pace.ask()
        pace.succeeded()
    # About one request a second more, each second.
    assert pace.rate == pytest.approx(25 + (hours.time - begin), rel=0.1)
    for _ in range(50):
        pace.throttled()
    assert pace.rate == pytest.approx(0.2)


def test_a_third_of_the_writes_is_refused_and_everything_arrives(name: str, hours: Hours) -> None:
    with target(name, clock=hours.clock, throttle_every=3, retry_after_s=0.5) as session:
        for start in range(0, 60, 6):
            session.write(batch_of(records(60)[start : start + 6], MADE), MARK)
        assert session.count() == 60
    assert hours.slept.count(0.5) >= 4


def test_a_scan_goes_on_behind_the_page_before_the_silence(name: str, hours: Hours) -> None:
    put(name, 40)
    # Every scan gives two pages and falls silent: the third scan reads the rest.
    with source(name, clock=hours.clock, fail_after_pages=2) as session:
        assert scanned(session, 15) == [f"r{i:03}" for i in range(40)]
    assert len(hours.slept) == 1
    with source(name, clock=hours.clock, fail_after_pages=0) as session, pytest.raises(Unavailable):
        scanned(session, 15)
    assert hours.passed <= 2 * BUDGET_S


# ---- pieces


@pytest.mark.parametrize("error", [Throttled, Unavailable])
def test_a_row_group_of_many_requests_arrives_where_every_third_is_refused(
    name: str, hours: Hours, error: type[Unavailable], monkeypatch: pytest.MonkeyPatch
) -> None:
    write, asked = MemoryTarget.write, count(1)

    def by_requests(session: MemoryTarget, batch: Any, mark: Mark) -> None:
        for start in range(0, batch.num_rows, session.capabilities.write_rows):
            if next(asked) % 3 == 0:
                raise error("not now")
            write(session, batch.slice(start, session.capabilities.write_rows), mark)

    monkeypatch.setattr(MemoryTarget, "write", by_requests)
    with target(name, clock=hours.clock) as session:
        session.write(batch_of(records(20_000), MADE), MARK)
        assert session.count() == 20_000
    # Two thousand records a second and more, although a third of the requests is in vain.
    assert hours.passed < 40


def test_what_is_too_large_is_halved_until_it_fits(name: str, sizes: Sizes) -> None:
    with target(name, largest_write=70) as session:
        session.write(batch_of(records(500), MADE), MARK)
        assert session.count() == 500
        fitting = [n for n in sizes.sizes if n <= 70]
        assert sizes.sizes[:4] == [500, 250, 125, 62]
        assert sum(fitting) == 500
        before = len(sizes.sizes)
        session.write(batch_of(records(100), MADE), MARK)
    # The next row group begins with what was learned.
    assert sizes.sizes[before] <= 100
    assert max(sizes.sizes[before:]) < 125


def test_a_single_record_that_is_too_large_is_named(name: str) -> None:
    def write(session: MemoryTarget, batch: Any, mark: Mark) -> None:
        if "r007" in batch.column("id").to_pylist():
            raise TooLarge(f"{batch.num_rows} records are 9 MB", next="shorten it")

    with target(name) as session:
        session.write = decorated_with(session, write).write  # type: ignore[method-assign]
        with pytest.raises(TooLarge, match="'r007'") as caught:
            session.write(batch_of(records(20), MADE), MARK)
    assert caught.value.why == "1 records are 9 MB"
    assert (caught.value.next, caught.value.exit_code) == ("shorten it", 14)


def decorated_with(session: Target, write: Callable[..., None]) -> Target:
    """Another session of the same target, whose writes go elsewhere."""
    bare = MemoryTarget(parse("memory:elsewhere"), "docs")
    bare.write = lambda batch, mark: write(bare, batch, mark)  # type: ignore[method-assign]
    return decorated_target(bare)


@pytest.mark.parametrize("n", [1, 2, 3, 17, 64])
@pytest.mark.parametrize("at", [0, 1, 16, 63])
def test_a_record_that_is_refused_is_found_and_named(name: str, n: int, at: int) -> None:
    if at >= n:
        return
    with target(name, poison=f"r{at:03}") as session:
        with pytest.raises(NotRepresentable, match=f"record 'r{at:03}' is refused") as caught:
            session.write(batch_of(records(n), MADE), MARK)
        assert "not to the target's taste" in caught.value.why
        # What stands before it may be there; it and nothing that it came with in its last piece is.
        assert session.count() <= at


def test_an_error_that_names_the_record_is_left_as_it_is(name: str) -> None:
    def write(session: MemoryTarget, batch: Any, mark: Mark) -> None:
        if "r003" in batch.column("id").to_pylist():
            raise NotRepresentable("record 'r003' has a key with a dot", "no dots", "nothing was written", "rename it")

    with target(name) as session, pytest.raises(NotRepresentable) as caught:
        decorated_with(session, write).write(batch_of(records(8), MADE), MARK)
    assert caught.value.what == "record 'r003' has a key with a dot"


def test_records_that_are_refused_only_together_keep_the_first_error(name: str) -> None:
    def write(session: MemoryTarget, batch: Any, mark: Mark) -> None:
        if batch.num_rows > 1:
            raise NotRepresentable(f"two of {batch.num_rows} ids are one")

    with target(name) as session, pytest.raises(NotRepresentable, match="ids are one"):
        decorated_with(session, write).write(batch_of(records(8), MADE), MARK)


@pytest.mark.parametrize("ack", ["transactional", "rebuild"])
def test_a_row_group_that_is_acknowledged_as_a_whole_is_never_cut(
    name: str, ack: str, hours: Hours, sizes: Sizes, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    monkeypatch.setattr(MemoryTarget, "capabilities", replace(MemoryTarget.capabilities, ack=ack))
    with target(name, Guest(max_rps=1), hours.clock) as session:
        session.write(batch_of(records(2500), MADE), MARK)
    assert sizes.sizes == [2500]
    with target(name, largest_write=70) as session, pytest.raises(TooLarge):
        session.write(batch_of(records(100), MADE), MARK)
    with target(name, poison="r001") as session, pytest.raises(NotRepresentable):
        session.write(batch_of(records(100), MADE), MARK)
    assert sizes.sizes == [2500, 100, 100]
