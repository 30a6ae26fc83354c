"""A ``Report`` for tests."""

from __future__ import annotations


class Heard:
    """A ``Report`` that remembers.

    Attributes:
        notes: in the order in which they were said.
        steps: (done, total, unit, step) of each time that a target told how far it is.
    """

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.steps: list[tuple[int, int | None, str, str]] = []

    def note(self, text: str) -> None:
        """Keep."""
        self.notes.append(text)

    def reached(self, done: int, total: int | None, unit: str, step: str = "") -> None:
        """Keep."""
        self.steps.append((done, total, unit, step))

    def check(self) -> None:
        """Nobody wants to stop."""
