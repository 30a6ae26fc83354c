"""Requests in flight: the next ones are under way while the caller works on an answer."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Protocol, TypeVar

T = TypeVar("T")
Got = TypeVar("Got", covariant=True)


class Pending(Protocol[Got]):
    """An answer under way, as a future of ``concurrent.futures``."""

    def result(self) -> Got:
        """Wait for it; raises what went wrong."""

    def cancel(self) -> object:
        """Give it up; nothing happens where it is there already."""


class Ready(Pending[T]):
    """An answer that came at once."""

    def __init__(self, answer: T) -> None:
        self._answer = answer

    def result(self) -> T:
        """The answer."""
        return self._answer

    def cancel(self) -> None:
        """Nothing is to be done."""


def ahead(started: Iterator[Pending[T]], depth: int) -> Iterator[T]:
    """Yield answers in the order of their requests, with up to ``depth`` requests under way.

    When one fails, or the caller stops early, those behind it are cancelled.

    Args:
        started: starts a request each time that it is asked for the next.
        depth: how many are under way; 1 waits for each before the next is started.
    """
    under_way: deque[Pending[T]] = deque()
    try:
        for pending in started:
            under_way.append(pending)
            if len(under_way) >= depth:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()
    finally:
        for pending in under_way:
            pending.cancel()
