"""A sheet is what a command shows to people. All text on it has passed ``text.safe``: there is no other way on."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from typing import IO

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from .text import safe, safe_lines

GOOD, BAD, MARK, QUIET, STRONG = "green", "bold red", "cyan", "dim", "bold"
#: Wide enough that nothing is folded or cut in a file or a pipe.
_UNBOUNDED = 100_000
_INDENT = "  "


def is_terminal(stream: IO[str]) -> bool:
    """Whether people look at this stream through a terminal that understands escape sequences."""
    return stream.isatty() and os.environ.get("TERM") not in ("dumb", "unknown", "")


def console(stream: IO[str], width: int = _UNBOUNDED) -> Console:
    """A console that interprets nothing in what it prints: no markup, no emoji codes, no highlighting.

    Args:
        stream: where it prints.
        width: when the stream is no terminal.
    """
    terminal = is_terminal(stream)
    return Console(
        file=stream, markup=False, emoji=False, highlight=False, force_terminal=terminal, force_jupyter=False,
        width=shutil.get_terminal_size().columns if terminal else width, legacy_windows=False,
    )  # fmt: skip


class Sheet:
    """Collects lines and tables; ``render`` turns them into the text for one stream."""

    def __init__(self) -> None:
        self._parts: list[tuple[RenderableType, str]] = []

    def headline(self, text: object, good: bool | None = None) -> Sheet:
        """The first line: what happened. ``good`` colours it."""
        style = STRONG if good is None else f"bold {GOOD}" if good else BAD
        self._parts.append((Text(safe(text), style=style), ""))
        return self

    def line(self, text: object, style: str = "") -> Sheet:
        """One indented line of text; it may be long."""
        self._parts.append((Text(safe(text), style=style), _INDENT))
        return self

    def data(self, text: object) -> Sheet:
        """One line that is the whole answer, for a program to take as it is."""
        self._parts.append((Text(safe(text)), ""))
        return self

    def gap(self) -> Sheet:
        """An empty line."""
        self._parts.append((Text(""), ""))
        return self

    def facts(self, facts: Mapping[str, object] | Iterable[tuple[str, object]]) -> Sheet:
        """Labels with values, aligned; empty values are left out."""
        pairs = facts.items() if isinstance(facts, Mapping) else facts
        grid = Table.grid(padding=(0, 2))
        grid.add_column(style=QUIET, no_wrap=True)
        grid.add_column(overflow="fold")
        shown = [(safe(label), safe(value)) for label, value in pairs if value not in ("", None)]
        for label, value in shown:
            grid.add_row(Text(label), Text(value))
        if shown:
            self._parts.append((grid, _INDENT))
        return self

    def table(
        self, columns: Sequence[str], rows: Iterable[Sequence[object]], *, right: Sequence[str] = (),
        headless: bool = False,
    ) -> Sheet:  # fmt: skip
        """A table; cells are shown whole, folded where the terminal is narrow.

        Args:
            columns: headings.
            rows: a cell is text, or a (text, style) pair.
            right: columns of numbers.
            headless: without headings; the second column is one of numbers.
        """
        table = Table(box=None, padding=(0, 2, 0, 0), header_style=QUIET, pad_edge=False, show_header=not headless)
        for i, name in enumerate(columns):
            number = name in right or (headless and i == 1)
            table.add_column(
                Text(safe(name)), justify="right" if number else "left", overflow="fold", no_wrap=number,
                min_width=min(len(name), 12),
            )  # fmt: skip
        for row in rows:
            table.add_row(*map(_cell, row))
        self._parts.append((table, _INDENT))
        return self

    def next(self, label: str, commands: str) -> Sheet:
        """What the user can paste now, line by line and never folded."""
        lines = safe_lines(commands.strip("\n"))
        for i, line in enumerate(lines):
            head = f"{label}: " if i == 0 else " " * (len(label) + 2)
            self._parts.append((Text.assemble((head, MARK), line), ""))
        return self

    def add(self, other: Sheet) -> Sheet:
        """Everything of another sheet."""
        self._parts += other._parts
        return self

    def render(self, stream: IO[str]) -> str:
        """The text for this stream: styled for a terminal, plain and unfolded for anything else."""
        target = console(stream)
        width = target.width
        lines: list[str] = []
        for part, indent in self._parts:
            target.file = buffer = io.StringIO()
            target.width = width - len(indent)
            target.print(part, soft_wrap=isinstance(part, Text))
            lines += [indent + line for line in buffer.getvalue().splitlines()]
        return "".join(f"{line.rstrip(' ')}\n" for line in lines)


def _cell(value: object) -> Text:
    if isinstance(value, tuple):
        text, style = value
        return Text(safe(text), style=style)
    return Text("" if value is None else safe(value))
