"""Waiting for work that a database does by itself: told to the user, ended by Ctrl-C, given up when nothing moves."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from ..report import Report

T = TypeVar("T")

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
