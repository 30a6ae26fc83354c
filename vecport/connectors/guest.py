"""Being a guest in somebody's database: requests and bytes a second, patience, and giving way when asked to.

Everything here keeps time by a ``Clock``, so that tests need none.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from .. import idle
from ..errors import Throttled, Unavailable, UsageError

T = TypeVar("T")

#: How long a database may go without an answer before the run ends, and how long it may ask for patience, with the
#: default idle time-out; another one changes both in proportion.
BUDGET_S = 120.0
THROTTLED_BUDGET_S = 900.0
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 10.0
#: A database that gives way to nobody still gets a request in five seconds.
_SLOWEST_RPS = 0.2
_MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True)
class Clock:
    """Seconds that only rise, and waiting."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


#: What sessions keep time by.
CLOCK = Clock()
_STEP_S = 0.2


def interruptible(check: Callable[[], None] | None) -> Clock:
    """The clock of a run that can be stopped: ``check`` is called while it waits, and may raise."""
    clock = CLOCK
    if check is None:
        return clock

    def sleep(seconds: float) -> None:
        while seconds > 0:
            check()
            clock.sleep(min(seconds, _STEP_S))
            seconds -= _STEP_S
        check()

    return Clock(clock.now, sleep)


@dataclass(frozen=True, slots=True)
class Guest:
    """What a run may ask of a database; plain values.

    Attributes:
        max_rps: requests a second, None for no bound. A page read, a page of keys, a fetch and a count are one
            request, a write is one for every ``write_rows`` records, unless the session counts them itself (``pace``).
        max_mbps: megabytes (1,000,000 bytes) of records a second, as Arrow holds them, None for no bound.
    """

    max_rps: float | None = None
    max_mbps: float | None = None

    def __post_init__(self) -> None:
        for name, value in (("--max-rps", self.max_rps), ("--max-mbps", self.max_mbps)):
            if value is not None and not 0 < value < float("inf"):
                raise UsageError(f"{name} {value}: must be above zero")

    def shared(self, workers: int) -> Guest:
        """The part of one of some workers, so that all of them together keep the bound."""
        return Guest(*(None if v is None else v / workers for v in (self.max_rps, self.max_mbps)))

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {"max_rps": self.max_rps, "max_mbps": self.max_mbps}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Guest:
        """Inverse of ``to_json``."""
        return cls(**data)


UNBOUNDED = Guest()


class Bucket:
    """Lets through so much a second; what was too much is waited for before the next."""

    def __init__(self, rate: float | None, clock: Clock) -> None:
        self._rate, self._clock = rate, clock
        self._free = clock.now()
        self._lock = threading.Lock()

    def wait(self) -> None:
        """Wait until everything that was spent has been paid for."""
        with self._lock:
            pause = self._free - self._clock.now()
        if pause > 0:
            self._clock.sleep(pause)

    def spend(self, amount: float) -> None:
        """Note that so much went through."""
        if self._rate is None:
            return
        with self._lock:
            self._free = max(self._free, self._clock.now()) + amount / self._rate

    def set_rate(self, rate: float | None) -> None:
        """Another rate, from the next spending on."""
        self._rate = rate


class Pace:
    """The requests of one session: within the guest's bounds, and fewer while the database asks for fewer.

    AIMD: a request that is refused as too many halves the rate that was reached, every second of success allows one
    request a second more, until nothing is felt of it.
    """

    def __init__(self, guest: Guest, clock: Clock) -> None:
        self._clock = clock
        self._requests = Bucket(guest.max_rps, clock)
        self._bytes = Bucket(None if guest.max_mbps is None else guest.max_mbps * _MEGABYTE, clock)
        self._adaptive = Bucket(None, clock)
        self.rate: float | None = None
        self._last = clock.now()
        self._reached = 0.0
        self._paid = 0
        self._lock = threading.Lock()
        self.limited = guest != UNBOUNDED

    def ask(self, requests: int = 1) -> None:
        """Wait for the turn of a call that makes so many requests; the session need not ask for them again."""
        self._wait(requests)
        with self._lock:
            self._paid = requests

    def __call__(self, requests: int = 1) -> None:
        """Wait for the turn of requests of a session, but for those that its caller has asked for."""
        with self._lock:
            asked = min(self._paid, requests)
            self._paid -= asked
        if requests > asked:
            self._wait(requests - asked)

    def _wait(self, requests: int) -> None:
        for bucket in (self._requests, self._bytes, self._adaptive):
            bucket.wait()
        now = self._clock.now()
        self._reached = requests / max(now - self._last, 1e-3)
        self._last = now
        self._requests.spend(requests)
        self._adaptive.spend(requests)

    def moved(self, size_bytes: int) -> None:
        """So many bytes went through."""
        self._bytes.spend(size_bytes)

    def throttled(self) -> None:
        """The database asked for fewer requests."""
        self.rate = max(_SLOWEST_RPS, (self._reached if self.rate is None else self.rate) / 2)
        self._adaptive.set_rate(self.rate)

    def succeeded(self) -> None:
        """A request was answered."""
        if self.rate is not None:
            self.rate += 1 / self.rate
            self.rate = None if self.rate > 1_000 else self.rate
            self._adaptive.set_rate(self.rate)


class Patience:
    """Tries again what a database could not answer, within a budget for each class of failure.

    ``Unavailable`` is tried for ``BUDGET_S`` since the last answer, ``Throttled`` for ``THROTTLED_BUDGET_S``; the pause
    grows from a tenth of a second to ten and is never shorter than what the database asks for (``retry_after_s``).
    """

    def __init__(self, pace: Pace, clock: Clock) -> None:
        self._pace, self._clock = pace, clock
        self._since: float | None = None
        self._failures = 0

    def call(self, work: Callable[[], T]) -> T:
        """Call until it succeeds; raises the last error when the budget is used up."""
        while True:
            try:
                result = work()
            except Unavailable as e:
                self.failed(e)
            else:
                self.answered()
                return result

    def answered(self) -> None:
        """The database answered: what was, is forgotten."""
        self._since, self._failures = None, 0
        self._pace.succeeded()

    def failed(self, error: Unavailable) -> None:
        """Wait before the next attempt, or raise the error."""
        now = self._clock.now()
        if self._since is None:
            self._since = now
        throttled = isinstance(error, Throttled)
        if throttled:
            self._pace.throttled()
        longest = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2.0**self._failures)
        pause = max(random.uniform(longest / 2, longest), error.retry_after_s or 0.0)
        self._failures += 1
        budget = (THROTTLED_BUDGET_S if throttled else BUDGET_S) * idle.timeout_s() / idle.DEFAULT_S
        if not error.retryable or now - self._since + pause > budget:
            self._since, self._failures = None, 0
            raise error
        self._clock.sleep(pause)
