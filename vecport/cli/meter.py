"""What is known while something runs: phase, rows, rate over a window, time left, last durable point."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

WINDOW_SECONDS = 10.0
#: What is counted unless the database does work of its own.
RECORDS = "records"
#: Rows that arrive this soon after a phase began were finished by an earlier run.
_AT_ONCE_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Reading:
    """The meter at one moment; rows are of the current phase, ``new_rows`` without those of an earlier run.

    Where the database does work of its own, ``rows`` are of the current ``step`` and counted in ``unit``.
    """

    phase: str
    rows: int
    new_rows: int
    total: int | None
    rate: float
    eta_seconds: float | None
    phase_seconds: float
    idle_seconds: float
    durable: str
    unit: str = RECORDS
    step: str = ""


class Meter:
    """Counts, from several threads. The rate is that of the last ten seconds, so that a stall shows."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._samples: deque[tuple[float, int]] = deque()
        self._phase, self._rows, self._durable = "", 0, ""
        self._total: int | None = None
        self._old_rows = 0
        self._unit, self._step = RECORDS, ""
        self._began = self._moved = clock()

    def phase(self, name: str, total: int | None) -> Reading | None:
        """Begin a phase; returns the last reading of the one that ends, None when there was none."""
        with self._lock:
            ended = self._read() if self._phase else None
            self._phase, self._total, self._rows, self._old_rows, self._durable = name, total, 0, 0, ""
            self._unit, self._step = RECORDS, ""
            self._began = self._moved = self._clock()
            self._samples.clear()
            self._samples.append((self._began, 0))
        return ended

    def reached(self, done: int, total: int | None, unit: str, step: str) -> None:
        """Take note of how far a step is; the rate begins anew with each."""
        with self._lock:
            now = self._clock()
            if (unit, step) != (self._unit, self._step) or done < self._rows:
                self._samples.clear()
            if (unit, step, done) != (self._unit, self._step, self._rows):
                self._moved = now
            self._unit, self._step, self._total, self._rows = unit, step, total, done
            self._sample(now)

    def advance(self, rows: int) -> None:
        """Count rows."""
        with self._lock:
            now = self._clock()
            if self._rows == 0 and now - self._began < _AT_ONCE_SECONDS:
                self._old_rows = rows
                self._samples[0] = (self._began, rows)
            self._rows += rows
            self._moved = now
            self._sample(now)

    def _sample(self, now: float) -> None:
        self._samples.append((now, self._rows))
        while len(self._samples) > 2 and self._samples[1][0] < now - WINDOW_SECONDS:
            self._samples.popleft()

    def durable(self, what: str) -> None:
        """Remember the last durable point of this phase."""
        with self._lock:
            self._durable = what

    def read(self) -> Reading:
        """The state now."""
        with self._lock:
            return self._read()

    def _read(self) -> Reading:
        now = self._clock()
        then, rows_then = self._samples[0] if self._samples else (now, self._rows)
        seconds = now - then
        rate = (self._rows - rows_then) / seconds if seconds > 0 else 0.0
        left = None if self._total is None or self._rows > self._total else self._total - self._rows
        return Reading(
            phase=self._phase, rows=self._rows, new_rows=self._rows - self._old_rows, total=self._total, rate=rate,
            eta_seconds=left / rate if left is not None and rate > 0 else None,
            phase_seconds=now - self._began, idle_seconds=now - self._moved, durable=self._durable,
            unit=self._unit, step=self._step,
        )  # fmt: skip
