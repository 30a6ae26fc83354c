"""Sources whose keys have an order in which the database gives records from any key on.

A cursor is the last key of a page, so that a scan goes on after a kill, and behind records that are gone. Every page is
held against the order: a database that repeats a record, or does not move, stops the export.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain, pairwise
from typing import Any, Final, Generic, TypeVar

import pyarrow as pa

from ...errors import Incomplete
from ...model.batch import join_pages, make_page
from ...model.collection import Collection
from ...model.ids import kind_of, to_int
from ..contract import Json, Page, Reject, Source
from . import blame
from .flight import Pending
from .listing import LOST, cannot_be_read, key_batch

K = TypeVar("K", bound=int | str)

KEY_PAGE: Final = 10_000


@dataclass(slots=True)
class Rows(Generic[K]):
    """Some records, as a listing gives them.

    Attributes:
        keys: in the order of the answer.
        next: where the next page begins (that key is its first at most); None where the listing does not say.
        last: the last key that the listing named, None when it named none.
        missing: keys that were listed and could not be read any more.
        rejected: keys that were listed and whose records cannot be given whole.
    """

    keys: list[K]
    next: K | None = None
    last: K | None = None
    missing: list[K] = field(default_factory=list)
    rejected: list[K] = field(default_factory=list)

    @property
    def listed(self) -> list[K]:
        """All keys that the listing named, in no order."""
        return [*self.keys, *self.missing, *self.rejected] if self.missing or self.rejected else self.keys

    def head(self, rows: int) -> Any:
        """The first records alone, as rows of the same class."""
        return type(self)(self.keys[:rows])


@dataclass(slots=True)
class TupleRows(Rows[K]):
    """Records as tuples, the key in front, as SQL gives them."""

    rows: list[tuple[Any, ...]] = field(default_factory=list)

    @classmethod
    def of(cls, rows: list[tuple[Any, ...]]) -> TupleRows[K]:
        """All that a query gave."""
        keys = [row[0] for row in rows]
        return cls(keys, last=keys[-1] if keys else None, rows=rows)

    def head(self, rows: int) -> TupleRows[K]:
        return TupleRows.of(self.rows[:rows])


R = TypeVar("R", bound=Rows[Any])


class Order(ABC, Generic[K]):
    """The order of a database's keys."""

    @abstractmethod
    def parse(self, text: str) -> K | None:
        """The key that an id spells, None when the database has no such id."""

    @abstractmethod
    def rank(self, key: K) -> Any:
        """What compares as the keys do."""

    @abstractmethod
    def after(self, key: K) -> K | None:
        """The first key behind one; None behind the last."""

    def rising(self, keys: Sequence[K]) -> bool:
        """Whether keys rise strictly."""
        ranks = [self.rank(key) for key in keys]
        return all(low < high for low, high in pairwise(ranks))


class TextOrder(Order[str]):
    """Texts by their code points, which is the order of their UTF-8 bytes."""

    def parse(self, text: str) -> str:
        return text

    def rank(self, key: str) -> str:
        return key

    def after(self, key: str) -> str:
        return key + "\0"


class IntOrder(Order[int]):
    """Whole numbers within bounds, both included."""

    def __init__(self, low: int = -(1 << 63), high: int = (1 << 63) - 1) -> None:
        self._low, self._high = low, high

    def parse(self, text: str) -> int | None:
        found = to_int(text) if kind_of(text) == "int" else None
        return found if found is not None and self._low <= found <= self._high else None

    def rank(self, key: int) -> int:
        return key

    def after(self, key: int) -> int | None:
        return key + 1 if key < self._high else None


class KeyRanges(Source, Generic[K, R]):
    """Owns partitions, scan, fetch and keys; the connector asks for the rows from a key on.

    A partition is ``{"from": id or None, "to": id or None}``: the first id of the range and the first one behind it; a
    connector may cut otherwise, with partitions whose further entries ``_ask`` understands.
    """

    #: Keys that are looked up in one request.
    get_rows: int = 1_000
    #: Why a record that is there cannot be given.
    lost_because: str = LOST

    # -- what a connector writes -----------------------------------------------------------------

    @abstractmethod
    def _schema(self) -> Collection:
        """The collection as it was described."""

    @abstractmethod
    def _ask(self, partition: Json, start: K | None, rows: int, *, keys_only: bool) -> Pending[R | None]:
        """Ask for the first records of a partition from a key on, itself included, in the order of the keys.

        The partition's ``to`` may be passed over: what is behind it is cut off here. The answer is None when one of the
        records makes the database refuse all: then it is found by halving, and rejected.
        """

    @abstractmethod
    def _get(self, keys: Sequence[K]) -> pa.RecordBatch | None:
        """The records of the selection that exist among some keys, as a page; None when one makes it refuse all."""

    @abstractmethod
    def _page(self, rows: R) -> pa.RecordBatch:
        """Rows as a page."""

    @cached_property
    def order(self) -> Order[K]:
        """The order of the keys: that of texts, or of whole numbers of 64 bits, as the collection's ids are."""
        order: Order[Any] = IntOrder() if self._schema().id_kind == "int" else TextOrder()
        return order

    def _page_rows(self, rows: int) -> int:
        """How many records may be asked for at once."""
        return rows

    def _sampled(self, target_rows: int) -> tuple[Json, int]:
        """What is walked to find the edges of ranges, and one in how many keys it has; all of them by default."""
        return {}, 1

    # -- partitions ----------------------------------------------------------------------------

    def partitions(self, target_rows: int, token: Json) -> Iterator[Json]:
        yield from self._parts(max(1, target_rows))

    def _parts(self, rows: int) -> Iterator[Json]:
        """Ranges of about so many records."""
        if (self.count() or 0) <= rows:
            yield {}
            return
        for low, high in pairwise(chain([None], self._edges(rows), [None])):
            yield {"from": low, "to": high}

    def _edges(self, rows: int) -> Iterator[str]:
        """Keys that cut the collection into ranges, always the same ones."""
        sample, one_in = self._sampled(rows)
        every = cut = max(1, rows // one_in)
        seen = 0
        for found in self._pages(sample, None, max(64, KEY_PAGE // one_in), keys_only=True):
            while cut < seen + len(found.keys):
                yield str(found.keys[cut - seen])
                cut += every
            seen += len(found.keys)

    # -- scanning ------------------------------------------------------------------------------

    def scan(self, partition: Json, cursor: Json | None, page_rows: int) -> Iterator[Page]:
        start = self._key(partition.get("from"))
        if cursor is not None:
            last = self._key(cursor["after"])
            start = None if last is None else self.order.after(last)
            if start is None:
                return
        missing: list[K] = []
        for rows in self._pages(partition, start, page_rows):
            missing += rows.missing
            if rows.keys or rows.rejected:
                page = self._page(rows) if rows.keys else make_page(self._schema(), ids=[])
                gone = tuple(("", str(key)) for key in missing)
                lost = tuple(Reject("", str(key), self.lost_because) for key in rows.rejected)
                yield Page(page, {"after": str(rows.last)}, gone, lost)
                missing = []
        if missing:
            # No record is left to send these with, and they must not go unnamed.
            gone = tuple(("", str(key)) for key in missing)
            yield Page(make_page(self._schema(), ids=[]), {"after": str(missing[-1])}, gone)

    def keys(self) -> Iterator[pa.RecordBatch]:
        for rows in self._pages({}, None, KEY_PAGE, keys_only=True):
            if rows.keys:
                yield key_batch([str(key) for key in rows.keys])

    def fetch(self, keys: Sequence[tuple[str, str]]) -> pa.RecordBatch:
        wanted = {self.order.parse(text) for namespace, text in keys if namespace == ""} - {None}
        ordered = sorted((key for key in wanted if key is not None), key=self.order.rank)
        chunks = [ordered[i : i + self.get_rows] for i in range(0, len(ordered), self.get_rows)]
        return join_pages(self._schema(), (page for chunk in chunks for page in self._got(chunk)))

    def _got(self, keys: Sequence[K]) -> Iterator[pa.RecordBatch]:
        for part, page in blame.whole_parts(keys, self._get, self._get(keys)):
            if page is None and (page := self._get(part)) is None:
                raise cannot_be_read(str(part[0]), self._schema().name, self.lost_because)
            yield page

    def _key(self, text: str | None) -> K | None:
        return None if text is None else self.order.parse(text)

    def _pages(self, partition: Json, start: K | None, page_rows: int, *, keys_only: bool = False) -> Iterator[R]:
        """All rows of a partition from a key on, checked to rise strictly.

        The next page is under way while this one is worked on. A page is short when records were deleted while the
        database put it together, and then may lack the place of the next one; so a scan ends at an empty answer only.
        """
        stop, limit = self._key(partition.get("to")), self._page_rows(page_rows)
        asked = limit
        listing = self._ask(partition, start, asked, keys_only=keys_only)
        try:
            while True:
                rows, refused = listing.result(), 0
                if rows is None:
                    rows, refused = self._apart(partition, start, asked, keys_only)
                asked = refused or limit
                following = self._following(rows, start)
                done = following is None or (stop is not None and self.order.rank(following) >= self.order.rank(stop))
                if not done:
                    listing = self._ask(partition, following, asked, keys_only=keys_only)
                yield rows if stop is None else self._before(rows, stop)
                if done:
                    return
                start = following
        finally:
            listing.cancel()

    def _apart(self, partition: Json, start: K | None, refused: int, keys_only: bool) -> tuple[R, int]:
        """The first of so many records that the database refuses as a whole: as many as it gives, or one rejected.

        Returns:
            Them, and how many behind them are still refused as a whole.
        """
        while not keys_only and refused > 1:
            half = refused // 2
            self.pace()
            found = self._ask(partition, start, half, keys_only=False).result()
            if found is not None:
                return found, refused - half
            refused = half
        self.pace()
        listed = None if keys_only else self._ask(partition, start, 1, keys_only=True).result()
        if listed is None or not listed.keys:
            raise cannot_be_read(f"behind {start!r}", self._schema().name, self.lost_because)
        bad: R = listed.head(0)
        bad.next, bad.last, bad.rejected = listed.next, listed.last, listed.keys
        return bad, 0

    def _following(self, rows: R, start: K | None) -> K | None:
        """Where the page behind ``rows`` begins; None when there is none.

        Raises:
            Incomplete: keys do not rise strictly, or the scan does not move.
        """
        rank = self.order.rank
        listed: list[K] = rows.keys if rows.listed is rows.keys else sorted(rows.listed, key=rank)
        if not self.order.rising(listed) or (listed and start is not None and rank(listed[0]) < rank(start)):
            raise Incomplete(
                f"collection {self._schema().name!r}: keys do not rise in a page that begins at {start!r}",
                why="the database repeated records or gave them out of order",
            )
        if rows.next is None:
            return None if rows.last is None else self.order.after(rows.last)
        floor = rows.last if rows.last is not None else start
        if floor is not None and rank(rows.next) <= rank(floor):
            raise Incomplete(
                f"collection {self._schema().name!r}: the scan does not move on from {floor!r}",
                why=f"the database names {rows.next!r} as the next record",
            )
        following: K = rows.next
        return following

    def _before(self, rows: R, stop: K) -> R:
        """The rows whose keys come before ``stop``."""
        rank = self.order.rank
        end = rank(stop)
        if rows.last is None or rank(rows.last) < end:
            return rows
        n = sum(rank(key) < end for key in rows.keys)
        kept: R = rows.head(n)
        kept.missing = [key for key in rows.missing if rank(key) < end]
        kept.rejected = [key for key in rows.rejected if rank(key) < end]
        kept.last = max(kept.listed, key=rank, default=None)
        return kept
