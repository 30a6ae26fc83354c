"""Waiting: told to the user, ended by Ctrl-C, given up when nothing moves.

``until`` waits for work that a database does by itself. ``Heard`` and ``apart`` are for calls that block: a client's
loop asks the one while it waits, and what has no such loop runs in a thread of its own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from ...errors import VecportError
from ..report import Report

T = TypeVar("T")

#: How often a call that blocks looks whether the user wants to stop.
STEP_S: Final = 0.1
#: A call under way may end by itself for so long after a stop; one that begins behind it tidies up, and may be longer.
_GRACE_S: Final = 0.5
_TIDY_S: Final = 5.0

_FIRST_PAUSE_S = 0.02
_LONGEST_PAUSE_S = 1.0


@dataclass(frozen=True, slots=True)
class Look(Generic[T]):
    """One look at the work.

    Attributes:
        found: what was seen, for the caller.
        ready: there is nothing left to wait for.
        moved: changes whenever the work goes on.
        done, total, unit, step: as ``Report.reached`` takes them.
    """

    found: T
    ready: bool
    moved: Hashable = ()
    done: int = 0
    total: int | None = None
    unit: str = ""
    step: str = ""


def until(look: Callable[[], Look[T]], report: Report, idle_s: float) -> Look[T]:
    """Look again and again until the work is ready, or has not moved for some time.

    The pause between two looks grows from 0.02 to 1 second; a stop is heard before each of them.

    Args:
        look: asks the database, and raises what has failed for good.
        report: hears how far the work is, and says whether the run shall stop.
        idle_s: seconds without progress after which waiting ends.

    Returns:
        The last look; ``ready`` tells whether the work is.

    Raises:
        Interrupted: the user wants to stop.
    """
    seen, deadline, pause = None, time.monotonic() + idle_s, _FIRST_PAUSE_S
    while True:
        report.check()
        now = look()
        if now.ready:
            return now
        if now.unit:
            report.reached(now.done, now.total, now.unit, now.step)
        if seen is None or now.moved != seen.moved:
            seen, deadline = now, time.monotonic() + idle_s
        if time.monotonic() >= deadline:
            return now
        time.sleep(pause)
        pause = min(pause * 1.5, _LONGEST_PAUSE_S)


class Heard:
    """Hears the user's stop while one call blocks; what is nearly done may end by itself.

    Args:
        check: raises when the user wants to stop.
    """

    def __init__(self, check: Callable[[], None]) -> None:
        self._check, self._asked, self._since = check, 0.0, 0.0
        self._grace_s = _GRACE_S if self._stop() is None else _TIDY_S

    def __call__(self) -> None:
        """Raise what ``check`` raises, once it has done so for half a second; five where it did from the beginning."""
        now = time.monotonic()
        if now - self._asked < STEP_S:
            return
        self._asked = now
        stop = self._stop()
        if stop is None:
            return
        self._since = self._since or now
        if now - self._since >= self._grace_s:
            raise stop

    def _stop(self) -> VecportError | None:
        try:
            self._check()
        except VecportError as stop:
            return stop
        return None


def apart(work: Callable[[], T], check: Callable[[], None]) -> T:
    """Do work in a thread of its own, and stop waiting for it when the user wants to stop.

    A call of a C library runs no signal handler while it blocks. What nobody waits for any more goes on until its own
    time-out, and its result is dropped: so the work must only read.
    """
    ended = threading.Event()
    results: list[T] = []
    failures: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as e:
            failures.append(e)
        finally:
            ended.set()

    threading.Thread(target=run, name="apart", daemon=True).start()
    while not ended.wait(STEP_S):
        check()
    if failures:
        raise failures[0]
    return results[0]
