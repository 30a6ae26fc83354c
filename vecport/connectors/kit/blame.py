"""Which record it is that a request fails for, when the database refuses the whole and names none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import pyarrow as pa

T = TypeVar("T")
A = TypeVar("A")
E = TypeVar("E")


def first_refused(
    batch: pa.RecordBatch, refused: Callable[[pa.RecordBatch], E | None]
) -> tuple[pa.RecordBatch, E] | None:
    """Find the first record that is refused, by sending each about once and log2(n) halves twice.

    Args:
        batch: that failed as a whole.
        refused: sends a part, and returns the error that blames it; a part that goes in stays for the next one, so
            that the record that is found is the first one that fails behind all before it.

    Returns:
        The record and its error; None where all of them go in this time.
    """
    while batch.num_rows:
        half = batch.slice(0, (batch.num_rows + 1) // 2)
        error = refused(half)
        if error is None:
            batch = batch.slice(half.num_rows)
        elif half.num_rows == 1:
            return half, error
        else:
            batch = half
    return None


def whole_parts(
    asked: Sequence[T], ask: Callable[[Sequence[T]], A | None], answer: A | None
) -> list[tuple[Sequence[T], A | None]]:
    """Ask for things in halves until each part is answered, or one thing that is refused stands alone.

    Args:
        asked: what was asked for, not empty.
        ask: asks for some; None when they are refused for the sake of one of them.
        answer: to all of ``asked``, when it was asked for already.

    Returns:
        Parts in the order asked, with their answers; a part of one thing may have None.
    """
    if answer is not None or len(asked) == 1:
        return [(asked, answer)]
    middle = len(asked) // 2
    return [part for half in (asked[:middle], asked[middle:]) for part in whole_parts(half, ask, ask(half))]
