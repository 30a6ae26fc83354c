"""What the demo prints: one line a step, and a few tables. Nothing is interpreted as markup."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.status import Status
from rich.text import Text

from ..model.passport import ORIGINALS

GOOD, BAD, MARK, QUIET, STRONG, SOFT = "green", "bold red", "cyan", "dim", "bold", "yellow"
_VERB, _WHAT, _TIME, _GAP = 9, 46, 7, 2
_MARGIN = "  "
#: Stands where a record lacks something that others have.
MISSING = "(missing)"
#: Where the text of a step begins, below its check mark and verb.
_INDENT = " " * (3 + _VERB)
_STATUS_STYLE = {"exact": GOOD, "encoded": GOOD, "bounded": SOFT, "lossy": BAD, "rejected": BAD}


class Step:
    """One step; listens to an operation as its ``Progress``."""

    def __init__(self, status: Status | None, verb: str, what: str, told: set[str]) -> None:
        self.what, self._told = what, told
        self.rows = 0
        self.good = True
        self.seconds: float | None = None
        self._below: list[Text] = []
        self._status, self._verb, self._phase = status, verb, ""
        self._done = 0
        self._total: int | None = None

    # -- what happens on its way -----------------------------------------------------------------

    def phase(self, name: str, total: int | None = None) -> None:
        """A phase of the operation begins."""
        self._phase, self._done, self._total = name, 0, total
        self._show()

    def advance(self, rows: int) -> None:
        """Rows were dealt with."""
        self._done += rows
        self._show()

    def reached(self, done: int, total: int | None, unit: str, step: str = "") -> None:
        """The database's own work is so far."""
        self._done, self._total = done, total
        self._show()

    def durable(self, what: str) -> None:
        """Something is safe; the demo does not show it."""

    def note(self, text: str) -> None:
        """Show a sentence below the step, unless an earlier one had it."""
        if text not in self._told:
            self._told.add(text)
            self.below(text)

    def _show(self) -> None:
        if self._status is None:
            return
        text = Text.assemble((f"{self._verb:<{_VERB}}", MARK), self.what)
        if self._phase:
            count = f" {self._done:,}" + (f" / {self._total:,}" if self._total else "") if self._done else ""
            text.append(f"  {self._phase}{count}", QUIET)
        self._status.update(text)

    # -- what remains to be read -----------------------------------------------------------------

    def below(self, text: str, style: str = QUIET) -> None:
        """One more line under the step."""
        self._below.append(Text(_INDENT + plain(text), style))

    def ledger(self, entries: Sequence[Mapping[str, Any]]) -> None:
        """What is not exact, a line each, and how many fields are."""
        told = [e for e in entries if e["status"] != "exact"]
        names = [plain(e["field"].removeprefix("metadata:")) for e in told]
        width = max(map(cell_len, names), default=0)
        for e, name in zip(told, names, strict=True):
            why = plain(e["why"]).replace(f"the original in the key {ORIGINALS!r}", "the original is kept")
            line = Text(_INDENT).append(f"{e['status']:<9}", _STATUS_STYLE.get(e["status"], ""))
            self._below.append(line.append(f"{name:<{width}}").append(f"{e['count']:>8,}  {why}", QUIET))
        exact = Text(_INDENT).append(f"{'exact':<9}", GOOD)
        self._below.append(exact.append(f"{len(entries) - len(told)} of {len(entries)} fields", QUIET))

    def lines(self, seconds: float) -> Iterator[Text]:
        """The finished step."""
        mark = (" ✓ ", GOOD) if self.good else (" ✗ ", BAD)
        line = Text.assemble(mark, (f"{self._verb:<{_VERB}}", STRONG), f"{plain(self.what):<{_WHAT}}")
        line.append(f"{show_time(seconds):>{_TIME}}")
        if self.rows and seconds > 0:
            line.append(f"{round(self.rows / seconds):>9,} rows/s", QUIET)
        yield line
        yield from self._below


class Paper:
    """Prints the demo on a console, in the same words with and without a terminal.

    Attributes:
        good: no step has failed to find what it should.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._told: set[str] = set()
        self.good = True

    def line(self, text: str = "", style: str = "") -> None:
        """One line, never folded."""
        self._put(Text(text, style))

    def title(self, text: str) -> None:
        """The heading of a part, with a gap before it."""
        self.line()
        self.line(text, STRONG)

    def pair(self, label: str, value: str, style: str = "") -> None:
        """A label and its value."""
        self._put(Text.assemble((f"{_MARGIN}{label:<12}", QUIET), (plain(value), style)))

    def command(self, command: str, why: str) -> None:
        """A command to try, and why."""
        self._put(Text.assemble(_MARGIN, (command, MARK)))
        self._put(Text(f"{_MARGIN * 3}{why}", QUIET))

    @contextlib.contextmanager
    def step(self, verb: str, what: str) -> Iterator[Step]:
        """Time a step and print it when it has ended."""
        started = time.monotonic()
        live = self._console.is_terminal
        with self._console.status("", spinner_style=MARK) if live else contextlib.nullcontext() as status:
            step = Step(status, verb, what, self._told)
            step.phase("")
            try:
                yield step
            except BaseException:
                step.good = False
                self._finish(step, started)
                raise
        self._finish(step, started)

    def _finish(self, step: Step, started: float) -> None:
        self.good = self.good and step.good
        for line in step.lines(time.monotonic() - started if step.seconds is None else step.seconds):
            self._put(line)

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Aligned columns without lines; the first column and the headings are quiet."""
        cells = [[plain(cell) for cell in row] for row in (columns, *rows)]
        widths = [max(map(cell_len, column)) for column in zip(*cells, strict=True)]
        for number, row in enumerate(cells):
            line = Text(_MARGIN)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True)):
                quiet = not number or not place or cell == MISSING
                line.append(cell + " " * (width - cell_len(cell) + _GAP), QUIET if quiet else "")
            self._put(line)

    def _put(self, text: Text) -> None:
        text.rstrip()
        self._console.print(text, soft_wrap=True)


def show_time(seconds: float) -> str:
    """``12 ms``, ``1.4 s``."""
    return f"{seconds * 1000:.0f} ms" if seconds < 0.1 else f"{seconds:.1f} s"


def plain(text: str) -> str:
    """Text from data, with whatever does not print spelled out."""
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def cut(text: str, length: int) -> str:
    """Text of at most so many characters."""
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"
