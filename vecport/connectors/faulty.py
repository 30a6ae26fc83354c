"""A session that misbehaves on purpose: a decorator over any source or target, for tests of everything that uses them.

What goes wrong is said by ``Faults``; the session itself stays sound and knows nothing of it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from itertools import count

import pyarrow as pa
import pyarrow.compute as pc

from ..errors import Incomplete, NotRepresentable, Throttled, TooLarge, Unavailable, UsageError
from .contract import Description, Json, Mark, Page, Source, Target


@dataclass(frozen=True, slots=True)
class Faults:
    """What a source or a target does wrong. Pages are those of one scan, counted from 1.

    Attributes:
        fail_after_pages: this many pages come, then the database answers no more (``Unavailable``).
        repeat_row_on_page: this page begins with the last row of the page before.
        lose_row_on_page: the first row of this page is left out.
        short_page: this page has one row, and more follow; the source's pages must carry cursors.
        stuck_after_pages: the database gives the page after this one again and again, which the source notices.
        wrong_count: ``count`` and ``describe`` of a source are off by this much.
        late_counts: so many counts of a session come before the last records are in them, -1 for all.
        late_by: how many records are not in them.
        lose: a record with this id is taken and never seen.
        throttle_every: every so many writes of a session are refused as too many.
        retry_after_s: what such a refusal asks for.
        largest_write: a write of more records is too large.
        poison: a record with this id is refused, and all that come with it.
    """

    fail_after_pages: int | None = None
    repeat_row_on_page: int | None = None
    lose_row_on_page: int | None = None
    short_page: int | None = None
    stuck_after_pages: int | None = None
    wrong_count: int = 0
    late_counts: int = 0
    late_by: int = 0
    lose: str | None = None
    throttle_every: int = 0
    retry_after_s: float | None = None
    largest_write: int = 0
    poison: str | None = None

    @classmethod
    def parse(cls, text: str | None) -> Faults:
        """Read a JSON object of faults; raises ``UsageError`` on an unknown one."""
        known = {f.name for f in fields(cls)}
        try:
            data = json.loads(text) if text else {}
            if not isinstance(data, dict) or not set(data) <= known:
                raise ValueError
        except ValueError:
            raise UsageError("option faults cannot be read", why=f"a JSON object of {sorted(known)}") from None
        return cls(**data)


SOUND = Faults()


def faulty_source(source: Source, faults: Faults, title: str = "the database") -> Source:
    """Let a source show faults in its scans and counts.

    Args:
        source: a session.
        faults: what goes wrong; nothing is decorated where nothing does.
        title: names the database in messages.
    """
    if faults == SOUND:
        return source
    scan, describe, counted = source.scan, source.describe, _Counted(faults, source.count, faults.wrong_count)

    def scan_faulty(partition: Json, cursor: Json | None, page_rows: int) -> Iterator[Page]:
        given = _cut(lambda at, rows: scan(partition, at, rows), cursor, page_rows, faults.short_page)
        return _damaged(given, cursor, faults, title)

    def describe_faulty() -> Description:
        before = counted.times
        found = describe()
        # A source that describes itself by its own ``count`` has met the decorated one.
        if found.count is None or counted.times != before:
            return found
        return replace(found, count=counted.off(found.count))

    source.scan = scan_faulty  # type: ignore[method-assign]
    source.count = counted.count  # type: ignore[method-assign]
    source.describe = describe_faulty  # type: ignore[method-assign]
    return source


def faulty_target(target: Target, faults: Faults) -> Target:
    """Let a target show faults in its writes and counts.

    Args:
        target: a session.
        faults: what goes wrong; nothing is decorated where nothing does.
    """
    if faults == SOUND:
        return target
    write, numbers = target.write, count(1)

    def write_faulty(batch: pa.RecordBatch, mark: Mark) -> None:
        _refuse(faults, next(numbers), batch)
        if faults.lose is not None:
            batch = batch.filter(pc.not_equal(batch.column("id"), faults.lose))
        write(batch, mark)

    target.write = write_faulty  # type: ignore[method-assign]
    target.count = _Counted(faults, target.count).count  # type: ignore[method-assign]
    return target


class _Counted:
    """The counts of a session, late and off as its faults say."""

    def __init__(self, faults: Faults, call: Callable[[], int | None], wrong: int = 0) -> None:
        self._faults, self._call, self._wrong = faults, call, wrong
        self.times = 0

    def count(self) -> int | None:
        """``count`` of either role."""
        found = self._call()
        return None if found is None else self.off(found)

    def off(self, found: int) -> int:
        """What is said in place of a count."""
        self.times += 1
        late = self._faults.late_counts < 0 or self.times <= self._faults.late_counts
        return (max(0, found - self._faults.late_by) if late else found) + self._wrong


def _refuse(faults: Faults, number: int, batch: pa.RecordBatch) -> None:
    """Refuse the ``number``-th write of a session where it should be."""
    if faults.throttle_every and number % faults.throttle_every == 0:
        raise Throttled("too many requests", why="option faults says so", retry_after_s=faults.retry_after_s)
    if faults.largest_write and batch.num_rows > faults.largest_write:
        raise TooLarge(f"{batch.num_rows} records at once", why=f"{faults.largest_write} are the most")
    if faults.poison is not None and faults.poison in batch.column("id").to_pylist():
        raise NotRepresentable("a record is not to the target's taste", why="option faults says so")


def _cut(
    scan: Callable[[Json | None, int], Iterator[Page]], cursor: Json | None, page_rows: int, short: int | None
) -> Iterator[Page]:
    """The pages of a scan, of which number ``short`` has one row.

    The scan is left before that page, asked for a page of one, and asked again behind it.
    """
    pages = scan(cursor, page_rows)
    for number in count(1):
        if short is not None and number in (short, short + 1):
            if number > 1 and cursor is None:
                raise UsageError("fault short_page needs a cursor", why="this scan cannot go on behind a page")
            pages = scan(cursor, 1 if number == short else page_rows)
        page = next(pages, None)
        if page is None:
            return
        yield page
        cursor = page.cursor


def _damaged(pages: Iterator[Page], cursor: Json | None, faults: Faults, title: str) -> Iterator[Page]:
    """Pages with rows repeated and lost, which break off or come to a standstill."""
    f, before = faults, None
    for number in count(1):
        if number - 1 == f.fail_after_pages:
            raise Unavailable(f"{title} does not answer", why="option faults says so")
        if f.stuck_after_pages is not None and number > f.stuck_after_pages + 1:
            raise Incomplete(f"the scan of {title} does not move", why=f"the cursor stays at {cursor}")
        page = next(pages, None)
        if page is None:
            return
        batch, cursor = page.batch, page.cursor
        if number == f.repeat_row_on_page and before is not None:
            batch = pa.concat_batches([before.slice(before.num_rows - 1), batch])
        if number == f.lose_row_on_page:
            batch = batch.slice(1)
        if batch.num_rows or page.missing or page.rejected:
            yield replace(page, batch=batch)
        before = page.batch if page.batch.num_rows else before
