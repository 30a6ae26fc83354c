"""Listing and ranges: every record once, in order, whatever is deleted, lost or repeated meanwhile."""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pytest

from vecport.connectors.contract import Description, Json, Page
from vecport.connectors.kit.flight import Pending, Ready
from vecport.connectors.kit.listing import ListThenFetch
from vecport.connectors.kit.ranges import KeyRanges, Order, Rows
from vecport.errors import Incomplete, IntegrityError
from vecport.model.batch import make_page
from vecport.model.capabilities import SourceCapabilities
from vecport.model.collection import Collection

STRINGS = Collection("c", "string", ())
INTS = Collection("c", "int", ())


def ids_of(pages: Sequence[Page]) -> list[str]:
    return [id for page in pages for id in page.batch.column("id").to_pylist()]


def missing_of(pages: Sequence[Page]) -> list[str]:
    return [key[1] for page in pages for key in page.missing]


class Listed(ListThenFetch[list[str]]):
    """A database as a dict of ids: those in ``broken`` make it refuse a whole request."""

    capabilities = SourceCapabilities()
    _most_rows = 3

    def __init__(self, ids: Sequence[str]) -> None:
        self.there = list(ids)
        self.broken: set[str] = set()
        self.asked: list[list[str]] = []
        self.twice = False

    def describe(self) -> Description:
        return Description(STRINGS, len(self.there))

    def count(self) -> int:
        return len(self.there)

    def _schema(self) -> Collection:
        return STRINGS

    def _ids(self) -> Iterator[str]:
        return iter(list(self.there))

    def _ask(self, ids: Sequence[str], *, filtered: bool) -> list[str] | None:
        self.asked.append(list(ids))
        if self.broken.intersection(ids):
            return None
        # The answer is in storage order, not in the order asked.
        return sorted((id for id in ids if id in self.there), reverse=True) * (2 if self.twice else 1)

    def _page(self, answer: list[str]) -> pa.RecordBatch:
        return make_page(STRINGS, ids=answer)

    def _is_there(self, id: str, *, filtered: bool) -> bool:
        return id in self.there


def test_a_listed_partition_gives_each_record_once_in_its_own_order_for_any_page_size() -> None:
    source = Listed([f"r{i}" for i in (5, 3, 9, 1, 7, 2, 8)])
    parts = list(source.partitions(4, {}))
    assert [len(ids_of(list(source.scan(part, None, 2)))) for part in parts] == [4, 3]
    for rows in (1, 2, 3, 100):
        pages = [page for part in parts for page in source.scan(part, None, rows)]
        assert ids_of(pages) == source.there
        assert not missing_of(pages)
        assert max(page.batch.num_rows for page in pages) <= min(rows, 3)
    assert [id for batch in source.keys() for id in batch.column("id").to_pylist()] == source.there


def test_a_listed_scan_goes_on_at_its_cursor_and_behind_a_record_that_is_gone() -> None:
    source = Listed(list("gfedcba"))
    (part,) = source.partitions(100, {})
    pages = list(source.scan(part, None, 2))
    again = list(source.scan(part, pages[1].cursor, 2))
    assert ids_of(pages[:2]) + ids_of(again) == list("gfedcba")
    source.there.remove("f")
    batch = next(iter(source.scan(part, None, 3))).batch
    assert source.behind(part, batch, ("", "f"))[0].column("id").to_pylist() == ["e"]
    assert source.behind(part, batch, ("", "b"))[1] is False


def test_records_that_went_after_the_listing_are_asked_for_twice_and_named() -> None:
    source = Listed(list("abcdef"))
    (part,) = source.partitions(100, {})
    source.there = ["a", "c"]
    pages = list(source.scan(part, None, 3))
    assert ids_of(pages) == ["a", "c"]
    assert missing_of(pages) == ["b", "d", "e", "f"]
    assert source.asked.count(["b"]) == 1
    assert ["d", "e", "f"] in source.asked


def test_a_record_that_spoils_a_request_is_found_by_halving_and_rejected() -> None:
    source = Listed(list("abcdef"))
    source.broken = {"e"}
    (part,) = source.partitions(100, {})
    pages = list(source.scan(part, None, 3))
    assert ids_of(pages) == list("abcdf")
    assert [(r.id, r.reason) for page in pages for r in page.rejected] == [("e", source.lost_because)]
    with pytest.raises(IntegrityError, match="record 'e'"):
        source.fetch([("", "e"), ("", "a")])
    source.there.remove("e")
    assert missing_of(list(source.scan(part, None, 3))) == ["e"]


def test_a_record_that_is_given_twice_for_one_id_is_an_error() -> None:
    source = Listed(list("ab"))
    source.twice = True
    with pytest.raises(IntegrityError, match="twice"):
        source.fetch([("", "a")])


class Ints(Order[int]):
    def parse(self, text: str) -> int | None:
        return int(text) if text.isdigit() else None

    def rank(self, key: int) -> int:
        return key

    def after(self, key: int) -> int | None:
        return key + 1 if key < 99 else None


class Ranged(KeyRanges[int, Rows[int]]):
    """Integer keys up to 99; ``next`` is what the database says where a page goes on."""

    capabilities = SourceCapabilities(key_ordered=True)
    order = Ints()

    def __init__(self, keys: Sequence[int], *, says_next: bool = True) -> None:
        self.there, self.says_next = sorted(keys), says_next
        self.unreadable: set[int] = set()
        self.broken: set[int] = set()
        self.asked: list[int] = []
        self.broken_next: int | None = None
        self.cancelled = 0

    def describe(self) -> Description:
        return Description(INTS, len(self.there))

    def count(self) -> int:
        return len(self.there)

    def _schema(self) -> Collection:
        return INTS

    def _ask(self, partition: Json, start: int | None, rows: int, *, keys_only: bool) -> Pending[Rows[int] | None]:
        at = bisect.bisect_left(self.there, -1 if start is None else start)
        found, rest = self.there[at : at + rows], self.there[at + rows :]
        following = rest[0] if rest and self.says_next else None
        self.asked.append(rows)
        if self.broken & set(found) and not keys_only:
            return Ready(None)
        return _Counted(
            self,
            Rows(
                [key for key in found if key not in self.unreadable],
                following if self.broken_next is None else self.broken_next,
                found[-1] if found else None,
                [key for key in found if key in self.unreadable],
            ),
        )

    def _get(self, keys: Sequence[int]) -> pa.RecordBatch | None:
        if self.broken & set(keys):
            return None
        return make_page(INTS, ids=[str(key) for key in keys if key in self.there])

    def _page(self, rows: Rows[int]) -> pa.RecordBatch:
        return make_page(INTS, ids=list(map(str, rows.keys)))


class _Counted(Ready[Rows[int]]):
    def __init__(self, source: Ranged, rows: Rows[int]) -> None:
        super().__init__(rows)
        self._source = source

    def cancel(self) -> None:
        self._source.cancelled += 1


@pytest.mark.parametrize("says_next", [True, False])
@pytest.mark.parametrize("rows", [1, 3, 100])
def test_ranges_give_each_record_once_and_lose_none_at_their_edges(says_next: bool, rows: int) -> None:
    source = Ranged([0, 1, 2, 9, 10, 11, 50, 98, 99], says_next=says_next)
    for target in (1, 2, 4, 100):
        parts = list(source.partitions(target, {}))
        pages = [list(source.scan(part, None, rows)) for part in parts]
        assert [id for part in pages for id in ids_of(part)] == list(map(str, source.there))
        assert all(len(ids_of(part)) <= target for part in pages)
    assert [id for batch in source.keys() for id in batch.column("id").to_pylist()] == list(map(str, source.there))


def test_a_range_goes_on_behind_its_cursor_although_the_record_is_gone() -> None:
    source = Ranged(range(10))
    pages = list(source.scan({}, None, 3))
    source.there.remove(2)
    assert ids_of(list(source.scan({}, pages[0].cursor, 3))) == [str(i) for i in range(3, 10)]
    assert list(source.scan({}, {"after": "99"}, 3)) == []


def test_records_that_were_listed_and_not_read_are_named_even_when_nothing_follows() -> None:
    source = Ranged(range(6))
    source.unreadable = {1, 4, 5}
    pages = list(source.scan({}, None, 2))
    assert ids_of(pages) == ["0", "2", "3"]
    assert missing_of(pages) == ["1", "4", "5"]


@pytest.mark.parametrize("says_next", [True, False])
@pytest.mark.parametrize("rows", [1, 3, 8, 100])
def test_a_record_that_spoils_a_page_is_found_by_halving_and_rejected(says_next: bool, rows: int) -> None:
    source = Ranged(range(20), says_next=says_next)
    source.broken, source.unreadable = {0, 7, 8, 19}, {9}
    for target in (5, 100):
        pages = [page for part in source.partitions(target, {}) for page in source.scan(part, None, rows)]
        assert ids_of(pages) == [str(i) for i in range(20) if i not in {*source.broken, 9}]
        assert missing_of(pages) == ["9"]
        assert [r.id for page in pages for r in page.rejected] == ["0", "7", "8", "19"]
        assert {r.reason for page in pages for r in page.rejected} == {source.lost_because}
    source.asked, source.broken = [], {7}
    source.there = list(range(1_000))
    list(source.scan({}, None, 512))
    # Each half about once, and the rest of it: not one request for each record.
    assert len(source.asked) <= 2 * 9 + 4
    source.there, source.broken = list(range(20)), {0, 7, 8, 19}
    assert source.fetch([("", str(i)) for i in range(1, 7)]).num_rows == 6
    with pytest.raises(IntegrityError, match="record '7'"):
        source.fetch([("", "7"), ("", "1")])


@pytest.mark.parametrize(
    ("keys", "following", "why"),
    [([3, 2], None, "do not rise"), ([2, 2], None, "do not rise"), ([1, 2], 2, "does not move"),
     ([1, 2], 0, "does not move")],
)  # fmt: skip
def test_a_database_that_repeats_or_does_not_move_stops_the_scan(
    keys: list[int], following: int | None, why: str
) -> None:
    source = Ranged([])
    source.there, source.broken_next = keys, following
    with pytest.raises(Incomplete, match=why):
        list(source.scan({}, None, 10))


def test_a_scan_that_is_abandoned_cancels_what_is_under_way() -> None:
    source = Ranged(range(9))
    scan = source.scan({}, None, 2)
    next(scan)
    generator: Any = scan
    generator.close()
    assert source.cancelled == 1


def test_fetch_gives_what_exists_in_pieces() -> None:
    source = Ranged(range(20))
    source.get_rows = 4
    keys = [("", "7"), ("", "x"), ("other", "3"), ("", "88"), *(("", str(i)) for i in range(10))]
    assert source.fetch(keys).column("id").to_pylist() == [str(i) for i in range(10)]
    assert source.fetch([("", "88")]).num_rows == 0
