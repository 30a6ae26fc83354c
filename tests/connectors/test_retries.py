"""What is tried again when a database does not answer, verb by verb, and what is not."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from vecport.connectors import guest as guests
from vecport.connectors.address import parse
from vecport.connectors.contract import Mark, Selection, Source, Target, TargetPlan
from vecport.connectors.decorators import (
    BeginAgain,
    decorated_source,
    decorated_target,
    from_the_beginning,
    patiently,
)
from vecport.connectors.guest import BUDGET_S, Clock
from vecport.connectors.memory import LiveMemorySource, MemoryTarget, forget
from vecport.errors import (
    AuthenticationFailed,
    Interrupted,
    NotFound,
    SnapshotGone,
    Throttled,
    Unavailable,
    Unreachable,
)
from vecport.model.collection import Collection, VectorField
from vecport.operations.progress import Stop
from vecport.testing.records import Record, batch_of

MADE = Collection("docs", "string", (VectorField("", dim=2, metric="l2"),))
RECORDS = [Record(f"r{i}", {"": np.array([i, 1], np.float32)}) for i in range(6)]
PLAN = TargetPlan(MADE, 6, if_exists="append")
MARK = Mark("data/part-00000-00000.parquet", 0)


class Hours:
    """A clock that stands still until somebody sleeps."""

    def __init__(self) -> None:
        self.time, self.pauses = 1000.0, list[float]()
        self.clock = Clock(lambda: self.time, self.sleep)

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.time += seconds


def broken(session: Any, verb: str, error: Exception, times: int = 2) -> list[int]:
    """Let the first calls of a verb fail, those that are an iterator at their second item. Counts the calls."""
    real, calls = getattr(session, verb), [0]
    listing = verb in ("partitions", "keys", "scan")

    def fails(*words: Any, **options: Any) -> Any:
        calls[0] += 1
        if calls[0] > times:
            return real(*words, **options)
        if listing:
            return half(*words)
        raise error

    def half(*words: Any) -> Iterator[Any]:
        yield next(real(*words))
        raise error

    setattr(session, verb, fails)
    return calls


@pytest.fixture
def place() -> Iterator[str]:
    with MemoryTarget(parse("memory:retries"), "docs") as made:
        made.prepare(PLAN)
        made.attach(PLAN)
        made.write(batch_of(RECORDS, MADE), MARK)
    yield "memory:retries"
    forget("retries")


READING: dict[str, Callable[[Source], Any]] = {
    "describe": lambda s: s.describe().count,
    "permissions": lambda s: s.permissions(),
    "alive": lambda s: s.alive({}),
    "attach": lambda s: s.attach({}),
    "namespaces": lambda s: s.namespaces(),
    "uncounted": lambda s: s.uncounted(),
    "snapshot": lambda s: s.snapshot(),
    "count": lambda s: s.count(),
    "fetch": lambda s: s.fetch([("", "r1")]).num_rows,
    "partitions": lambda s: from_the_beginning(lambda: list(s.partitions(2, {}))),
    "keys": lambda s: from_the_beginning(lambda: pa.Table.from_batches(s.keys()).num_rows),
    "scan": lambda s: sum(p.batch.num_rows for p in s.scan({"from": None, "to": None}, None, 2)),
}
WRITING: dict[str, Callable[[Target], Any]] = {
    "describe": lambda t: t.describe() is None,
    "permissions": lambda t: t.permissions(PLAN),
    "prepare": lambda t: t.prepare(PLAN),
    "attach": lambda t: t.attach(PLAN),
    "count": lambda t: t.count(),
    "acknowledged": lambda t: t.acknowledged(),
    "begun": lambda t: t.begun("i", None),
    "holds": lambda t: t.holds([("", "r1"), ("", "none")]),
    "forget": lambda t: t.forget([MARK]),
    "delete": lambda t: t.delete([("", "r1")]),
    "search": lambda t: [h.id for h in t.search("", np.array([1, 1], np.float32), 1)],
    "finish": lambda t: t.finish({}),
    "link": lambda t: t.link(batch_of(RECORDS, MADE), MARK),
    "write": lambda t: t.write(batch_of(RECORDS, MADE), MARK),
}
RETRYABLE = [Unavailable("no answer"), Throttled("slower", retry_after_s=3.0)]


def _source(hours: Hours, place: str) -> tuple[LiveMemorySource, Callable[[], Source]]:
    bare = LiveMemorySource(parse(place), "docs", Selection())
    bare.attach({})
    return bare, lambda: decorated_source(bare, clock=hours.clock, reached=True)


def _target(hours: Hours, place: str) -> tuple[MemoryTarget, Callable[[], Target]]:
    bare = MemoryTarget(parse(place), "docs")
    bare.link = lambda batch, mark: None  # type: ignore[method-assign]
    bare.attach(PLAN)
    return bare, lambda: decorated_target(bare, clock=hours.clock, reached=True)


@pytest.mark.parametrize("error", RETRYABLE, ids=lambda e: type(e).__name__)
@pytest.mark.parametrize(("role", "verb"), [*(("source", v) for v in READING), *(("target", v) for v in WRITING)])
def test_what_is_idempotent_is_tried_until_it_is_answered(role: str, verb: str, error: Exception, place: str) -> None:
    hours = Hours()
    bare, decorated = (_source if role == "source" else _target)(hours, place)
    run: Callable[[Any], Any] = (READING if role == "source" else WRITING)[verb]
    wanted = run(bare)
    calls = broken(bare, verb, error)
    assert run(decorated()) == wanted
    assert calls == [3]
    # A database that asks for fewer requests gets them further apart as well.
    asked = [p for p in hours.pauses if p >= 3.0] if isinstance(error, Throttled) else hours.pauses
    assert len(asked) == 2


@pytest.mark.parametrize("error", [SnapshotGone("gone"), NotFound("none"), AuthenticationFailed("no")],
                         ids=lambda e: type(e).__name__)  # fmt: skip
@pytest.mark.parametrize(("role", "verb"), [*(("source", v) for v in READING), *(("target", v) for v in WRITING)])
def test_what_waiting_does_not_mend_is_said_at_once(role: str, verb: str, error: Exception, place: str) -> None:
    hours = Hours()
    bare, decorated = (_source if role == "source" else _target)(hours, place)
    calls = broken(bare, verb, error)
    with pytest.raises(type(error)):
        (READING if role == "source" else WRITING)[verb](decorated())  # type: ignore[index,operator]
    assert (calls, hours.pauses) == ([1], [])


@pytest.mark.parametrize("verb", ["describe", "permissions"])
def test_a_place_that_refuses_for_a_while_is_waited_for_though_it_never_answered(verb: str, place: str) -> None:
    hours = Hours()
    bare, _ = _source(hours, place)
    calls = broken(bare, verb, Unavailable("no answer"), times=2)
    READING[verb](decorated_source(bare, clock=hours.clock))
    assert (calls, len(hours.pauses)) == ([3], 2)


@pytest.mark.parametrize("verb", ["describe", "permissions"])
def test_a_place_where_nobody_listened_is_not_waited_for_but_one_that_answered_is(verb: str, place: str) -> None:
    hours = Hours()
    bare, _ = _source(hours, place)
    calls = broken(bare, verb, Unreachable("no answer"), times=1)
    session = decorated_source(bare, clock=hours.clock)
    with pytest.raises(Unreachable, match="no answer"):
        READING[verb](session)
    assert (calls, hours.pauses) == ([1], [])
    session.count()
    calls[0] = 0
    READING[verb](session)
    assert (calls, len(hours.pauses)) == ([2], 1)


@pytest.mark.parametrize("verb", ["partitions", "keys"])
def test_a_listing_that_broke_off_is_void_and_one_that_always_does_ends(verb: str, place: str) -> None:
    hours = Hours()
    bare, decorated = _source(hours, place)
    broken(bare, verb, Unavailable("no answer"), times=10_000)
    session = decorated()
    listing: Callable[[], Iterator[Any]] = session.keys if verb == "keys" else lambda: session.partitions(2, {})
    with pytest.raises(BeginAgain):
        list(listing())
    with pytest.raises(Unavailable) as caught:
        from_the_beginning(lambda: list(listing()))
    assert type(caught.value) is Unavailable
    assert hours.time - 1000 <= BUDGET_S


def test_every_wait_hears_the_stop() -> None:
    def never() -> None:
        raise Unavailable("no answer", retry_after_s=60)

    stop = Stop()
    threading.Timer(0.2, stop.set).start()
    begin = time.monotonic()
    with pytest.raises(Interrupted):
        patiently(never, stop.check)
    assert time.monotonic() - begin < 10
    stop = Stop()
    stop.set()
    bare = LiveMemorySource(parse("memory:nothing"), "docs", Selection())
    waiting = [verb for verb in READING if verb not in ("partitions", "keys", "scan")]
    for verb in waiting:
        broken(bare, verb, Throttled("slower", retry_after_s=60), times=10_000)
    session = decorated_source(bare, clock=guests.interruptible(stop.check))
    for verb in waiting:
        with pytest.raises(Interrupted):
            READING[verb](session)
