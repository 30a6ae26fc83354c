"""Decorators over the contract: the guest's bounds, retries with a budget, and writes in smaller pieces.

A decorated session is the same object with its methods replaced, so that capabilities and state stay its own.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import pyarrow as pa

from ..errors import NotRepresentable, TooLarge, Unavailable
from . import guest as guests
from .contract import Json, Mark, Page, Source, Target, TargetPlan
from .guest import UNBOUNDED, Clock, Guest, Pace, Patience
from .kit.checks import check_records

T = TypeVar("T")


def decorated_source(source: Source, guest: Guest = UNBOUNDED, clock: Clock | None = None) -> Source:
    """Keep a guest's bounds and retry idempotent reads; a scan goes on behind the last page it gave.

    ``snapshot`` is not retried: a lost snapshot is a fact that the pipeline must see. A scan of a source whose pages
    carry no cursor is not retried either.

    Args:
        source: a session.
        guest: bounds on requests and bytes of this session.
        clock: None for the real one.
    """
    clock = clock or guests.CLOCK
    pace = Pace(guest, clock)
    patience = Patience(pace, clock)
    source.pace = pace
    _decorate(source, "fetch", pace, patience)
    _decorate(source, "count", pace, patience)
    scan, keys = source.scan, source.keys

    def scan_again(partition: Json, cursor: Json | None, page_rows: int) -> Iterator[Page]:
        resumable = True
        while True:
            try:
                for page in _paced(scan(partition, cursor, page_rows), pace):
                    patience.answered()
                    pace.moved(page.batch.nbytes)
                    yield page
                    cursor, resumable = page.cursor, page.cursor is not None
                return
            except Unavailable as e:
                if not resumable:
                    raise
                patience.failed(e)

    def keys_paced() -> Iterator[pa.RecordBatch]:
        for batch in _paced(keys(), pace):
            pace.moved(batch.nbytes)
            yield batch

    source.scan = scan_again  # type: ignore[method-assign]
    source.keys = keys_paced  # type: ignore[method-assign]
    return source


def patiently(work: Callable[[], T]) -> T:
    """Open a session, or anything else that needs an answer, until there is one or the budget is used up."""
    return Patience(Pace(UNBOUNDED, guests.CLOCK), guests.CLOCK).call(work)


def _paced(items: Iterator[T], pace: Pace) -> Iterator[T]:
    while True:
        pace.ask()
        try:
            item = next(items)
        except StopIteration:
            return
        yield item


def _decorate(instance: Source | Target, name: str, pace: Pace, patience: Patience) -> None:
    call: Callable[..., Any] = getattr(instance, name)

    @functools.wraps(call)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        def once() -> Any:
            pace.ask()
            return call(*args, **kwargs)

        result = patience.call(once)
        if isinstance(result, pa.RecordBatch):
            pace.moved(result.nbytes)
        return result

    setattr(instance, name, wrapped)


def checked_target(target: Target, title: str) -> Target:
    """Refuse row groups with what the target does not claim to hold, before it sees them, by ``kit.checks``.

    Args:
        target: a session.
        title: the database's name, for messages.
    """
    attach, write = target.attach, target.write
    plans: list[TargetPlan] = []

    def attach_and_remember(plan: TargetPlan) -> None:
        attach(plan)
        plans[:] = [plan]

    def write_checked(batch: pa.RecordBatch, mark: Mark) -> None:
        if plans:
            where = f"{mark.shard} row group {mark.group}"
            check_records(batch, plans[0], target.capabilities, title, where)
        write(batch, mark)

    target.attach = attach_and_remember  # type: ignore[method-assign]
    target.write = write_checked  # type: ignore[method-assign]
    return target


def decorated_target(
    target: Target, guest: Guest = UNBOUNDED, clock: Clock | None = None, title: str = "the target"
) -> Target:
    """Keep a guest's bounds, retry writes, which are idempotent by contract, and cut them where they are too large.

    What the target does not claim to hold is refused before it sees it.

    Args:
        target: a session.
        guest: bounds on requests and bytes of this session.
        clock: None for the real one.
        title: the database's name, for messages.
    """
    clock = clock or guests.CLOCK
    pace = Pace(guest, clock)
    patience = Patience(pace, clock)
    target.pace = pace
    # Each may be called again: a resumed import does so too.
    for name in ("attach", "count", "acknowledged", "link", "finish"):
        _decorate(target, name, pace, patience)
    target.write = _Writer(target, pace, patience).write  # type: ignore[method-assign]
    return checked_target(target, title)


class _Writer:
    """Writes row groups, whole where one transaction acknowledges them, else in pieces that fit.

    A target with ``ack='upsert'`` takes a row group in any pieces. Each is at most as large as the last that was not
    too large, a little more every time that it fits. A piece that the target refuses is halved until the record that
    is to blame stands alone.
    """

    def __init__(self, target: Target, pace: Pace, patience: Patience) -> None:
        self._call, self._pace, self._patience = target.write, pace, patience
        self._divisible = target.capabilities.ack == "upsert"
        self._most = target.capabilities.write_rows
        #: Rows of a piece; None while nothing was too large.
        self._rows: int | None = None

    def write(self, batch: pa.RecordBatch, mark: Mark) -> None:
        """``Target.write``."""
        if not self._divisible or batch.num_rows == 0:
            self._once(batch, mark)
            return
        start = 0
        while start < batch.num_rows:
            piece = batch.slice(start, self._size(batch.num_rows))
            if self._fits(piece, mark):
                start += piece.num_rows

    def _size(self, rows: int) -> int:
        most = self._most if self._pace.limited else rows
        return most if self._rows is None else min(most, self._rows)

    def _fits(self, piece: pa.RecordBatch, mark: Mark) -> bool:
        """Write a piece; False when it was too large and shall be cut again."""
        try:
            self._once(piece, mark)
        except _Recut:
            self._rows = self._most
            return False
        except TooLarge as e:
            if piece.num_rows == 1:
                raise _named(e, piece) from e
            self._rows = max(1, min(piece.num_rows, self._most) // 2)
            return False
        except NotRepresentable as e:
            raise self._blamed(e, piece, mark) from e
        if self._rows is not None:
            self._rows += max(1, self._most // 32)
        return True

    def _blamed(self, error: NotRepresentable, piece: pa.RecordBatch, mark: Mark) -> NotRepresentable:
        """The error of the first record that the target refuses by itself; its halves before that are written."""
        alone: NotRepresentable | None = error if piece.num_rows == 1 else None
        while alone is None:
            half = piece.slice(0, min((piece.num_rows + 1) // 2, self._most))
            try:
                self._once(half, mark)
            except NotRepresentable as e:
                piece, alone = half, e if half.num_rows == 1 else None
                continue
            if half.num_rows == piece.num_rows:
                # Only beside others is it refused: the first error says all that is known.
                return error
            piece = piece.slice(half.num_rows)
        return _named(alone, piece)

    def _once(self, piece: pa.RecordBatch, mark: Mark) -> None:
        requests = max(1, -(-piece.num_rows // self._most))

        def send() -> None:
            self._pace.ask(requests)
            try:
                self._call(piece, mark)
            except Unavailable as e:
                if requests == 1 or not self._divisible:
                    raise
                self._patience.failed(e)
                raise _Recut from e

        self._patience.call(send)
        self._pace.moved(piece.nbytes)


class _Recut(Exception):
    """A piece of several requests shall be sent again one by one."""


def _named(error: NotRepresentable, piece: pa.RecordBatch) -> NotRepresentable:
    """The same error with the record's id, where it does not name it."""
    id_ = piece.column("id")[0].as_py()
    if repr(id_) in str(error):
        return error
    return type(error)(
        f"record {id_!r} is refused by the target", ": ".join(t for t in (error.what, error.why) if t),
        error.safe or "the records before it may have been written", error.next or "leave it out, or change it",
    )  # fmt: skip
