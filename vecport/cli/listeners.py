"""Listeners to a running operation, one for each ``--progress``: all write to standard error and nothing else.

``plain`` writes a line at phase changes and every 30 seconds; ``json`` one object a line; ``rich`` draws on a
terminal; ``none`` keeps still. Notes are shown by all of them: nothing is lost in silence.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import IO, Protocol

from .meter import RECORDS, Meter, Reading
from .plain import write
from .text import Redactor, records, safe, show_time

#: What goes on before the first phase.
OPENING = "open"


class Listener(Protocol):
    """``operations.progress.Progress`` that can be closed and that remembers which notes it has shown."""

    heard: list[str]

    def phase(self, name: str, total: int | None = None) -> None: ...
    def advance(self, rows: int) -> None: ...
    def reached(self, done: int, total: int | None, unit: str, step: str = "") -> None: ...
    def durable(self, what: str) -> None: ...
    def note(self, text: str) -> None: ...
    def say(self, text: str) -> None: ...
    def close(self, finished: bool = True) -> None: ...


class Ticker:
    """Calls a function at intervals until it is closed."""

    def __init__(self, seconds: float, call: Callable[[], None]) -> None:
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(seconds, call), name="progress", daemon=True)
        self._thread.start()

    def _run(self, seconds: float, call: Callable[[], None]) -> None:
        while not self._end.wait(seconds):
            try:
                call()
            except (OSError, ValueError):
                return

    def close(self) -> None:
        """No call begins after this returns."""
        self._end.set()
        self._thread.join()


class Quiet:
    """Shows nothing; with ``notes`` it still shows notes."""

    def __init__(self, stream: IO[str], redact: Redactor, *, notes: bool = True) -> None:
        self.heard: list[str] = []
        self._stream, self._redact, self._notes, self._lock = stream, redact, notes, threading.RLock()

    def phase(self, name: str, total: int | None = None) -> None:
        """Ignore."""

    def advance(self, rows: int) -> None:
        """Ignore."""

    def reached(self, done: int, total: int | None, unit: str, step: str = "") -> None:
        """Ignore."""

    def durable(self, what: str) -> None:
        """Ignore."""

    def note(self, text: str) -> None:
        """Show a note, each only once."""
        with self._lock:
            if text in self.heard:
                return
            self.heard.append(text)
        if self._notes:
            self.say(f"note: {text}")

    def say(self, text: str) -> None:
        """Write one line."""
        with self._lock:
            try:
                write(self._stream, self._line(text) + "\n")
            except OSError:
                # Nobody reads standard error any more; the work goes on.
                return

    def _line(self, text: str) -> str:
        return safe(self._redact(text))

    def close(self, finished: bool = True) -> None:
        """Release what it holds; ``finished`` is False after an error or a stop."""


class Plain(Quiet):
    """A line when a phase begins or ends, and every 30 seconds in between."""

    def __init__(self, stream: IO[str], redact: Redactor, *, every: float = 30.0, meter: Meter | None = None) -> None:
        super().__init__(stream, redact)
        self._meter = meter or Meter()
        self._ticker = Ticker(every, self.tick)

    def phase(self, name: str, total: int | None = None) -> None:
        """Say what ended and what begins."""
        ended = self._meter.phase(name, total)
        if ended is not None:
            self._ended(ended)
        self.say(describe(self._meter.read()))

    def advance(self, rows: int) -> None:
        """Count."""
        self._meter.advance(rows)

    def reached(self, done: int, total: int | None, unit: str, step: str = "") -> None:
        """Take note."""
        self._meter.reached(done, total, unit, step)

    def durable(self, what: str) -> None:
        """Remember."""
        self._meter.durable(what)

    def tick(self) -> None:
        """Say how far it is."""
        self.say(describe(self._meter.read()))

    def _ended(self, reading: Reading) -> None:
        if reading.rows and reading.unit == RECORDS:
            self.say(f"{reading.phase}: {records(reading.rows)} in {show_time(reading.phase_seconds)}")

    def close(self, finished: bool = True) -> None:
        """Stop the ticker, say how the last phase ended."""
        self._ticker.close()
        reading = self._meter.read()
        if finished:
            self._ended(reading)
        elif reading.phase:
            self.say(f"stopped in {describe(reading)}")


def describe(reading: Reading) -> str:
    """``read: 40,000 of 100,000 records, 8,000 records/s, 8 s left, safe: data/part-00000-00002.parquet``.

    With a step of the database's own: ``index: loading tuples, 40,000 of 100,000 rows, 8,000 rows/s, 7.5 s left``.
    """
    of = f" of {reading.total:,}" if reading.total is not None else ""
    phase = reading.phase or OPENING
    figures = f"{reading.rows:,}{of} {reading.unit}" if reading.rows or of else ""
    parts = [f"{phase}: {', '.join(told)}" if (told := [t for t in (reading.step, figures) if t]) else phase]
    if reading.rate >= 0.5:
        parts.append(f"{round(reading.rate):,} {reading.unit}/s")
    if reading.eta_seconds is not None:
        parts.append(f"{show_time(reading.eta_seconds)} left")
    if reading.idle_seconds > 15:
        parts.append(f"nothing moved for {show_time(reading.idle_seconds)}")
    if reading.durable:
        parts.append(f"safe: {reading.durable}")
    return ", ".join(parts)


class JsonLines(Quiet):
    """One JSON object a line, for programs."""

    def __init__(self, stream: IO[str], redact: Redactor, *, every: float = 1.0, meter: Meter | None = None) -> None:
        super().__init__(stream, redact)
        self._meter = meter or Meter()
        self._ticker = Ticker(every, self.tick)

    def phase(self, name: str, total: int | None = None) -> None:
        """An event with the phase that begins."""
        self._meter.phase(name, total)
        self._event("phase", phase=name, total=total)

    def advance(self, rows: int) -> None:
        """Count."""
        self._meter.advance(rows)

    def reached(self, done: int, total: int | None, unit: str, step: str = "") -> None:
        """Take note."""
        self._meter.reached(done, total, unit, step)

    def durable(self, what: str) -> None:
        """An event."""
        self._meter.durable(what)
        self._event("durable", what=what)

    def say(self, text: str) -> None:
        """A message as an event."""
        kind = "note" if text.startswith("note: ") else "message"
        self._event(kind, text=text.removeprefix("note: "))

    def tick(self) -> None:
        """An event with all figures."""
        r = self._meter.read()
        if r.phase:
            self._event("progress", phase=r.phase, rows=r.rows, total=r.total, rate=round(r.rate, 1),
                        eta_seconds=None if r.eta_seconds is None else round(r.eta_seconds, 1),
                        durable=r.durable or None, unit=r.unit, step=r.step or None)  # fmt: skip

    def _event(self, kind: str, **values: object) -> None:
        # Before it is JSON: what is masked behind that may take a quote or a backslash with it.
        told = {name: self._redact(value) if isinstance(value, str) else value for name, value in values.items()}
        line = json.dumps({"schema": "vecport.progress/1", "event": kind, **told})
        with self._lock:
            try:
                write(self._stream, line + "\n")
            except OSError:
                return

    def close(self, finished: bool = True) -> None:
        """A last event with all figures."""
        self._ticker.close()
        self.tick()
