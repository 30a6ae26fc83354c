"""A client or connection of a session: opened when it is first used, and its errors are vecport's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pkgutil import resolve_name
from typing import Generic, Protocol, TypeVar

from .errors import Rule, translated


class Closable(Protocol):
    """What a handle holds."""

    def close(self) -> object:
        """Release everything."""


C = TypeVar("C", bound=Closable)


class Handle(Generic[C]):
    """What a session has open.

    Args:
        open: connects; the argument says whether a place that is not there may be created.
        where: the place, as it may be shown.
        rules: what the client's errors mean.
        kind: the class of the client's errors, as ``module:Class``, so that nothing is imported before it is used.
    """

    def __init__(self, open: Callable[[bool], C], where: str, rules: Sequence[Rule], kind: str) -> None:
        self._opens, self._where, self._rules, self._kind = open, where, rules, kind
        self._held: C | None = None

    @contextmanager
    def used(self, create: bool = False) -> Iterator[C]:
        """The client, whose errors are vecport's within; ``create`` where the place may be new."""
        with translated(self._where, self._rules, kinds=(resolve_name(self._kind),)):
            if self._held is None:
                self._held = self._opens(create)
            yield self._held

    @contextmanager
    def once(self) -> Iterator[C]:
        """The client, released behind the block."""
        try:
            with self.used() as client:
                yield client
        finally:
            self.close()

    def close(self) -> None:
        """Release it; the next use opens it again. Safe to call twice."""
        held, self._held = self._held, None
        if held is not None:
            held.close()
