"""Progress on a terminal: a line for each finished phase, and below them what goes on now."""

from __future__ import annotations

from typing import IO

from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from .listeners import OPENING, Quiet, describe
from .meter import RECORDS, Meter, Reading
from .sheet import BAD, GOOD, MARK, QUIET, console
from .text import Redactor, records, show_rate, show_time

_DRAWINGS_PER_SECOND = 8


class Drawing(Quiet):
    """Draws phase, rows, rate, time left and the last durable point; leaves only the finished phases behind."""

    def __init__(self, stream: IO[str], redact: Redactor, *, meter: Meter | None = None) -> None:
        super().__init__(stream, redact)
        self._meter, self._spinner = meter or Meter(), Spinner("dots", style=MARK)
        self._console = console(stream)
        self._live = Live(
            console=self._console, get_renderable=self._draw, refresh_per_second=_DRAWINGS_PER_SECOND, transient=True,
            redirect_stdout=False, redirect_stderr=False,
        )  # fmt: skip
        self._live.start()

    def phase(self, name: str, total: int | None = None) -> None:
        """Leave a line for the phase that ends."""
        ended = self._meter.phase(name, total)
        if ended is not None:
            self._ended(ended)

    def advance(self, rows: int) -> None:
        """Count."""
        self._meter.advance(rows)

    def reached(self, done: int, total: int | None, unit: str, step: str = "") -> None:
        """Take note."""
        self._meter.reached(done, total, unit, step)

    def durable(self, what: str) -> None:
        """Remember."""
        self._meter.durable(what)

    def say(self, text: str) -> None:
        """Write one line above the drawing."""
        self._console.print(Text(self._line(text)), soft_wrap=True)

    def close(self, finished: bool = True) -> None:
        """Remove the drawing, leave a line for the last phase."""
        reading = self._meter.read()
        self._live.stop()
        if finished and reading.phase:
            self._ended(reading)
        elif not finished:
            self._console.print(Text.assemble(("✗ ", BAD), self._line(describe(reading))), soft_wrap=True)

    def _ended(self, reading: Reading) -> None:
        counted = reading.unit == RECORDS
        what = f": {records(reading.rows)}" if reading.rows and counted else ""
        rate = show_rate(reading.new_rows, reading.phase_seconds) if counted else ""
        line = Text.assemble(("✓ ", GOOD), f"{self._line(reading.phase)}{what} in {show_time(reading.phase_seconds)}")
        if rate:
            line.append(f" ({rate})", style=QUIET)
        self._console.print(line, soft_wrap=True)

    def _draw(self) -> RenderableType:
        reading = self._meter.read()
        row = Table.grid(padding=(0, 1))
        cells: list[RenderableType] = [self._spinner, Text(self._line(reading.phase or OPENING))]
        if reading.total:
            cells.append(ProgressBar(total=reading.total, completed=min(reading.rows, reading.total), width=24))
        cells.append(Text(self._line(figures(reading)), no_wrap=True, overflow="ellipsis"))
        row.add_row(*cells)
        lines: list[RenderableType] = [row]
        if reading.durable:
            lines.append(Text(f"  safe: {self._line(reading.durable)}", style=QUIET, no_wrap=True, overflow="ellipsis"))
        return Group(*lines)


def figures(reading: Reading) -> str:
    """``40,000 / 100,000  8,000 records/s  8 s left``, with the step of the database's own before it."""
    parts = [reading.step] if reading.step else []
    if reading.rows or reading.total:
        parts.append(f"{reading.rows:,}" + (f" / {reading.total:,}" if reading.total is not None else ""))
    if reading.rate >= 0.5:
        parts.append(f"{round(reading.rate):,} {reading.unit}/s")
    if reading.eta_seconds is not None:
        parts.append(f"{show_time(reading.eta_seconds)} left")
    if reading.idle_seconds > 15:
        parts.append(f"nothing moved for {show_time(reading.idle_seconds)}")
    return "  ".join(parts)
