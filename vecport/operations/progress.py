"""What a running operation tells: phases, rows, notes. The CLI draws it; a library caller may listen or not."""

from __future__ import annotations

import threading
from typing import Protocol

from ..errors import Interrupted


class Progress(Protocol):
    """Receives what happens, from several threads."""

    def phase(self, name: str, total: int | None = None) -> None:
        """A phase begins: list, read, write, index, check; ``total`` is in rows, None when unknown."""

    def advance(self, rows: int) -> None:
        """Rows were dealt with in the current phase."""

    def reached(self, done: int, total: int | None, unit: str, step: str = "") -> None:
        """How far work of the database's own is in the current phase, as an index that it builds.

        Args:
            done: since the step began.
            total: None when unknown.
            unit: what is counted, in the plural.
            step: what goes on, ``""`` where there is nothing to tell apart.
        """

    def durable(self, what: str) -> None:
        """Something is safe now: a kill from here on loses nothing before it."""

    def note(self, text: str) -> None:
        """One sentence that the user should read."""


class Silent:
    """Listens to nothing but keeps the notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def phase(self, name: str, total: int | None = None) -> None:
        """Ignore."""

    def advance(self, rows: int) -> None:
        """Ignore."""

    def reached(self, done: int, total: int | None, unit: str, step: str = "") -> None:
        """Ignore."""

    def durable(self, what: str) -> None:
        """Ignore."""

    def note(self, text: str) -> None:
        """Keep."""
        self.notes.append(text)


class Stop:
    """Asks running work to stop at the next safe point; set from a signal handler."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self.signal_number = 2

    def set(self, signal_number: int = 2) -> None:
        """Ask everything to stop."""
        self.signal_number = signal_number
        self._event.set()

    def is_set(self) -> bool:
        """Whether a stop was asked for."""
        return self._event.is_set()

    def check(self) -> None:
        """Raise ``Interrupted`` when a stop was asked for."""
        if self._event.is_set():
            raise Interrupted(
                "interrupted", safe="everything that was finished is kept",
                next="the same command again goes on where it stopped", signal_number=self.signal_number,
            )  # fmt: skip
