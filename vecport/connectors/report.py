"""What a session tells on its way, and whom it asks for its turn: both are given to it by the pipeline."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Report(Protocol):
    """Hears a session, as a target while it prepares and finishes; may be called from any thread."""

    def note(self, text: str) -> None:
        """One sentence that the user should read. Said again, as by a ``finish`` that is retried, it counts once."""

    def reached(self, done: int, total: int | None, unit: str, step: str = "") -> None:
        """How far work is that the database does by itself, as building an index.

        Args:
            done: since the step began; it may begin anew with the next step.
            total: None when unknown.
            unit: what is counted, in the plural, as ``vectors``.
            step: what goes on in a few words; ``""`` when there is one step only.
        """

    def check(self) -> None:
        """Raise ``Interrupted`` when the user wants to stop; asked again and again by whoever waits."""


class Unheard:
    """Nobody listens."""

    def note(self, text: str) -> None:
        """Ignore."""

    def reached(self, done: int, total: int | None, unit: str, step: str = "") -> None:
        """Ignore."""

    def check(self) -> None:
        """Nobody wants to stop."""


UNHEARD = Unheard()


class Stoppable(Unheard):
    """Nobody listens, but the run can be stopped.

    Args:
        check: raises when the user wants to stop.
    """

    def __init__(self, check: Callable[[], None]) -> None:
        self._check = check

    def check(self) -> None:
        """Pass it on."""
        self._check()


class Budget(Protocol):
    """Where a session asks for its turn; may be called from any thread."""

    def __call__(self, requests: int = 1) -> None:
        """Wait for the turn of so many requests."""


def UNPACED(requests: int = 1) -> None:
    """Every request at once."""
