"""Decorators over the contract: the guest's bounds, retries with a budget, and writes in smaller pieces.

A decorated session is the same object with its methods replaced, so that capabilities and state stay its own.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import pyarrow as pa

from ..errors import NotRepresentable, TooLarge, Unavailable, Unreachable
from . import guest as guests
from .contract import Json, Mark, Page, Source, Target, TargetPlan
from .guest import UNBOUNDED, Clock, Guest, Pace, Patience
from .kit import waiting
from .kit.blame import first_refused
from .kit.checks import check_records
from .report import UNHEARD

T = TypeVar("T")


#: What is retried, and counted as one request where it is ``True``.
_READING: Mapping[str, bool] = {
    "describe": False, "permissions": False, "snapshot": False, "alive": False, "attach": False, "namespaces": False,
    "uncounted": False, "fetch": True, "count": True, "effects": False, "apply": False, "undo": False,
}  # fmt: skip
_WRITING: Mapping[str, bool] = {
    "describe": False, "permissions": False, "prepare": False, "attach": True, "count": True, "acknowledged": True,
    "finish": True, "link": True, "delete": True, "search": True, "effects": False, "apply": False, "undo": False,
    "begun": False, "holds": True, "forget": False,
}  # fmt: skip
#: What a run asks before anything else: a place that was mistyped or is down says so at once.
_FIRST = frozenset(("describe", "permissions"))


#: What no session can tell without the database; others may be known to it, as that nothing is checked.
_ANSWERS = frozenset(("describe", "count", "fetch"))


class BeginAgain(Unavailable):
    """A listing broke off and the pause before the next attempt is over: what it gave is void, ask for it anew."""

    code = "begin-again"


def from_the_beginning(work: Callable[[], T]) -> T:
    """Do work over a listing (``partitions``, ``keys``) until it was not broken off; the session has the patience."""
    while True:
        try:
            return work()
        except BeginAgain:
            continue


def decorated_source(
    source: Source, guest: Guest = UNBOUNDED, clock: Clock | None = None, *, reached: bool = False
) -> Source:
    """Keep a guest's bounds and retry idempotent reads; a scan goes on behind the last page it gave.

    A snapshot that was lost (``SnapshotGone``) is not asked for again: it is a fact that the pipeline must see. A scan
    of a source whose pages carry no cursor is retried before its first page alone. ``partitions`` and ``keys`` that
    broke off after they gave something raise ``BeginAgain``: what is listed may have moved meanwhile, so that nobody
    can go on in the middle.

    Args:
        source: a session.
        guest: bounds on requests and bytes of this session.
        clock: None for the real one.
        reached: the database has answered this run already; else a first ``describe`` that reaches nobody is final.
    """
    clock = clock or guests.CLOCK
    pace = Pace(guest, clock)
    patience = Patience(pace, clock)
    source.pace = pace
    contact = _Contact(reached)
    for name, counted in _READING.items():
        _decorate(source, name, pace, patience, contact, counted)
    scan, keys, partitions = source.scan, source.keys, source.partitions

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

    def keys_again() -> Iterator[pa.RecordBatch]:
        for batch in _listed(lambda: _paced(keys(), pace), patience):
            pace.moved(batch.nbytes)
            yield batch

    def partitions_again(target_rows: int, token: Json) -> Iterator[Json]:
        return _listed(lambda: partitions(target_rows, token), patience)

    source.scan = scan_again  # type: ignore[method-assign]
    source.keys = keys_again  # type: ignore[method-assign]
    source.partitions = partitions_again  # type: ignore[method-assign]
    return source


def patiently(
    work: Callable[[], T], check: Callable[[], None] | None = None, *, reached: bool = True, apart: bool = False
) -> T:
    """Open a session, list a place, or anything else that needs an answer, until there is one or the budget is used up.

    Args:
        work: may be done again.
        check: is called while it waits, and may raise.
        reached: the database has answered this run already; otherwise to reach nobody is final.
        apart: do the work in a thread of its own, so that a stop is heard while it blocks; for work that only reads.
    """
    clock = guests.interruptible(check)

    def once() -> T:
        try:
            return waiting.apart(work, check or UNHEARD.check) if apart else work()
        except Unreachable as e:
            if not reached:
                raise _Final(e) from e
            raise

    try:
        return Patience(Pace(UNBOUNDED, clock), clock).call(once)
    except _Final as final:
        raise final.error from final.error.__cause__


def _listed(listing: Callable[[], Iterator[T]], patience: Patience) -> Iterator[T]:
    """A listing that is retried while it has given nothing; then only whoever asked can begin it again."""
    given = False
    while True:
        try:
            for item in listing():
                yield item
                given = True
        except Unavailable as e:
            # The budget is that of the whole listing, so that one which always breaks off ends.
            patience.failed(e)
            if given:
                raise BeginAgain(e.what, e.why, e.safe, e.next) from e
        else:
            patience.answered()
            return


@dataclass(slots=True)
class _Contact:
    """Whether the database has answered this run."""

    reached: bool


def _paced(items: Iterator[T], pace: Pace) -> Iterator[T]:
    while True:
        pace.ask()
        try:
            item = next(items)
        except StopIteration:
            return
        yield item


def _decorate(
    instance: Source | Target, name: str, pace: Pace, patience: Patience, contact: _Contact, counted: bool
) -> None:
    call: Callable[..., Any] = getattr(instance, name)

    @functools.wraps(call)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        def once() -> Any:
            if counted:
                pace.ask()
            try:
                return call(*args, **kwargs)
            except Unreachable as e:
                if name in _FIRST and not contact.reached:
                    raise _Final(e) from e
                raise

        try:
            result = patience.call(once)
        except _Final as final:
            raise final.error from final.error.__cause__
        contact.reached = contact.reached or name in _ANSWERS
        if isinstance(result, pa.RecordBatch):
            pace.moved(result.nbytes)
        return result

    setattr(instance, name, wrapped)


class _Final(Exception):
    """Carries an error that is not tried again."""

    def __init__(self, error: Unavailable) -> None:
        super().__init__(error)
        self.error = error


def checked_target(target: Target, title: str) -> Target:
    """Refuse row groups with what the target does not claim to hold, before it sees them, by ``kit.checks``.

    It is the one place where they are checked: no connector does it again.

    Args:
        target: a session.
        title: the database's name, for messages.
    """
    prepare, attach, write = target.prepare, target.attach, target.write
    plans: list[TargetPlan] = []

    def prepare_and_remember(plan: TargetPlan) -> None:
        prepare(plan)
        plans[:] = [plan]

    def attach_and_remember(plan: TargetPlan) -> None:
        attach(plan)
        plans[:] = [plan]

    def write_checked(batch: pa.RecordBatch, mark: Mark) -> None:
        if plans:
            where = f"{mark.shard} row group {mark.group}"
            check_records(batch, plans[0], target.capabilities, title, where)
        write(batch, mark)

    target.prepare = prepare_and_remember  # type: ignore[method-assign]
    target.attach = attach_and_remember  # type: ignore[method-assign]
    target.write = write_checked  # type: ignore[method-assign]
    return target


def decorated_target(
    target: Target, guest: Guest = UNBOUNDED, clock: Clock | None = None, title: str = "the target", *,
    reached: bool = False,
) -> Target:  # fmt: skip
    """Keep a guest's bounds, retry writes, which are idempotent by contract, and cut them where they are too large.

    What the target does not claim to hold is refused before it sees it. ``prepare`` is retried too: it is safe to
    repeat, and what it removed is not removed twice.

    Args:
        target: a session.
        guest: bounds on requests and bytes of this session.
        clock: None for the real one.
        title: the database's name, for messages.
        reached: the database has answered this run already; else a first ``describe`` that reaches nobody is final.
    """
    clock = clock or guests.CLOCK
    pace = Pace(guest, clock)
    patience = Patience(pace, clock)
    target.pace = pace
    # Each may be called again: a resumed import does so too.
    contact = _Contact(reached)
    for name, counted in _WRITING.items():
        _decorate(target, name, pace, patience, contact, counted)
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
        """The error of the first record that the target refuses by itself; what goes in before it is written."""

        def refused(part: pa.RecordBatch) -> NotRepresentable | None:
            try:
                for start in range(0, part.num_rows, self._most):
                    self._once(part.slice(start, self._most), mark)
            except NotRepresentable as e:
                return e
            return None

        found = (piece, error) if piece.num_rows == 1 else first_refused(piece, refused)
        # Where it is refused only beside others, the first error says all that is known.
        return error if found is None else _named(found[1], found[0])

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
