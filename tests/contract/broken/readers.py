"""Broken sources: what they select, cut, repeat, count and hold."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa

from vecport.connectors.address import Place
from vecport.connectors.contract import (
    CollectionSummary,
    Description,
    Json,
    Option,
    Page,
    Permission,
    Reject,
    Selection,
    Source,
    TargetPlan,
)
from vecport.connectors.memory import LiveMemorySource, MemoryConnector, MemorySource
from vecport.errors import NotFound, UsageError, VecportError
from vecport.model.batch import KEY_COLUMNS, make_page
from vecport.model.collection import Collection
from vecport.testing.contract import Way

from .making import Broken, column

ANY, SOME, INTS = Way("string"), Way("string", filtered=True), Way("int")
ONCE = "test_every_record_comes_exactly_once"
RESUMES, DISJOINT = "test_a_scan_goes_on_behind_every_page", "test_partitions_are_disjoint_and_complete"
FETCH, KEYS, NAMESPACES, COUNTED = (
    "test_fetch_gives_what_was_asked_and_nothing_else", "test_keys_are_those_of_the_scan",
    "test_namespaces_are_those_of_the_selected_records", "test_what_is_selected_is_counted",
)  # fmt: skip


def _everything(_: pa.RecordBatch) -> bool:
    return True


class _FilterIgnored(MemorySource):
    def __init__(self, place: Place, name: str, selection: Selection) -> None:
        super().__init__(place, name, replace(selection, where=None))


class _FetchUnfiltered(MemorySource):
    def fetch(self, keys: Sequence[tuple[str, str]]) -> pa.RecordBatch:
        self._keep = _everything
        return super().fetch(keys)


class _KeysUnfiltered(MemorySource):
    def keys(self) -> Iterator[pa.RecordBatch]:
        self._keep, self._sorted = _everything, None
        yield from super().keys()


class _NamespacesUnfiltered(MemorySource):
    def namespaces(self) -> Mapping[str, int]:
        self._keep = _everything
        return super().namespaces()


class _CountUnfiltered(MemorySource):
    def count(self) -> int:
        self._keep = _everything
        return super().count()


class _FilterOnTheFirstPage(MemorySource):
    """The cursor does not carry the filter."""

    def scan(self, partition: Json, cursor: Json | None, page_rows: int) -> Iterator[Page]:
        if cursor is not None:
            self._keep, self._sorted = _everything, None
        return super().scan(partition, cursor, page_rows)


class _AnyFilterIsFine(MemorySource):
    def __init__(self, place: Place, name: str, selection: Selection) -> None:
        try:
            super().__init__(place, name, selection)
        except UsageError:
            super().__init__(place, name, replace(selection, where=None))


class _OneNamespace(MemorySource):
    """Every record counts as one of the default namespace."""

    def namespaces(self) -> Mapping[str, int]:
        return {"": self.count()}


class _NamespacesIgnored(MemorySource):
    def __init__(self, place: Place, name: str, selection: Selection) -> None:
        super().__init__(place, name, replace(selection, namespaces=()))


class _LosesEdges(MemorySource):
    """Where ids are integers, a partition begins behind the key that it should begin with."""

    def scan(self, partition: Json, cursor: Json | None, page_rows: int) -> Iterator[Page]:
        if cursor is None and self._current().collection.id_kind == "int":
            cursor = partition["from"]
        return super().scan(partition, cursor, page_rows)


class _SharesEdges(MemorySource):
    """Two partitions have the record between them."""

    def partitions(self, target_rows: int, token: Json) -> Iterator[Json]:
        for part in super().partitions(target_rows, token):
            yield {"from": part["from"], "to": part["to"] and [part["to"][0], part["to"][1] + "~"]}


class _TextOrder(MemorySource):
    """Integers are cut in the order of texts."""

    def partitions(self, target_rows: int, token: Json) -> Iterator[Json]:
        keys = sorted([list(k) for k in self._rows()])
        cuts = keys[target_rows :: max(1, target_rows)]
        yield from ({"from": a, "to": b} for a, b in zip([None, *cuts], [*cuts, None], strict=True))


class _Greedy(MemorySource):
    """Every partition is the whole."""

    def scan(self, partition: Json, cursor: Json | None, page_rows: int) -> Iterator[Page]:
        return super().scan({"from": None, "to": None}, cursor, page_rows)


class _Restless(MemorySource):
    """Cuts otherwise each time."""

    times = 0

    def partitions(self, target_rows: int, token: Json) -> Iterator[Json]:
        self.times += 1
        yield from super().partitions(target_rows + self.times, token)


class _Forgetful(MemorySource):
    """Begins again whatever the cursor says."""

    def scan(self, partition: Json, cursor: Json | None, page_rows: int) -> Iterator[Page]:
        return super().scan(partition, None, page_rows)


class _Unmoved(MemorySource):
    """The cursor of a page is where the page begins."""

    def scan(self, partition: Json, cursor: Json | None, page_rows: int) -> Iterator[Page]:
        for page in super().scan(partition, cursor, page_rows):
            yield replace(page, cursor=cursor or ["", ""])
            cursor = page.cursor


def _ends_at_a_short_page(source: Source) -> Source:
    scan = source.scan

    def ends(partition: Json, cursor: Json | None, page_rows: int) -> Iterator[Page]:
        for page in scan(partition, cursor, page_rows):
            yield page
            if page.batch.num_rows < page_rows:
                return

    source.scan = ends  # type: ignore[method-assign]
    return source


class _LosesTheLastPage(MemorySource):
    """A page that is not full is not given."""

    def scan(self, partition: Json, cursor: Json | None, page_rows: int) -> Iterator[Page]:
        return (p for p in super().scan(partition, cursor, page_rows) if p.batch.num_rows == page_rows)


class _PageSizeInOrder(MemorySource):
    """The order within a page depends on how large it is."""

    def scan(self, partition: Json, cursor: Json | None, page_rows: int) -> Iterator[Page]:
        for page in super().scan(partition, cursor, page_rows):
            turned = page.batch.take(pa.array(range(page.batch.num_rows))[::-1])
            yield replace(page, batch=turned) if page_rows == 7 else page


class _PageSizeInContent(MemorySource):
    """Large pages come without documents."""

    def scan(self, partition: Json, cursor: Json | None, page_rows: int) -> Iterator[Page]:
        for page in super().scan(partition, cursor, page_rows):
            lean = column("document", lambda _: None)(page.batch)
            yield replace(page, batch=lean) if page_rows >= 100 else page


class _LargePages(MemorySource):
    def scan(self, partition: Json, cursor: Json | None, page_rows: int) -> Iterator[Page]:
        return super().scan(partition, cursor, page_rows + 1)


class _EmptyPages(MemorySource):
    def scan(self, partition: Json, cursor: Json | None, page_rows: int) -> Iterator[Page]:
        for page in super().scan(partition, cursor, page_rows):
            yield page
            yield replace(page, batch=page.batch.slice(0, 0))


class _MetadataAsItComes(MemorySource):
    """Metadata is not canonical."""

    def scan(self, partition: Json, cursor: Json | None, page_rows: int) -> Iterator[Page]:
        for page in super().scan(partition, cursor, page_rows):
            yield replace(page, batch=column("metadata", lambda t: t.replace(":", ": "))(page.batch))


class _Abandoned(MemorySource):
    """A session whose scan was not read to its end gives no second one."""

    busy = False

    def scan(self, partition: Json, cursor: Json | None, page_rows: int) -> Iterator[Page]:
        if not self.busy:
            self.busy = True
            yield from super().scan(partition, cursor, page_rows)
            self.busy = False


class _FetchRepeats(MemorySource):
    def fetch(self, keys: Sequence[tuple[str, str]]) -> pa.RecordBatch:
        found = super().fetch(keys)
        twice = pa.Table.from_batches([found, found.slice(0, 1)]).combine_chunks().to_batches()
        return twice[0] if twice else found


class _FetchMakesUp(MemorySource):
    """An id that is not there comes as an empty record."""

    def fetch(self, keys: Sequence[tuple[str, str]]) -> pa.RecordBatch:
        found = super().fetch(keys)
        there = set(found.column("id").to_pylist())
        lacking = [i for _, i in keys if i not in there]
        made = make_page(self.describe().collection, ids=lacking)
        return pa.Table.from_batches([found, made]).combine_chunks().to_batches()[0] if lacking else found


class _FetchLimited(MemorySource):
    def fetch(self, keys: Sequence[tuple[str, str]]) -> pa.RecordBatch:
        return super().fetch(keys[:1_000])


class _KeysLoseNamespaces(MemorySource):
    def keys(self) -> Iterator[pa.RecordBatch]:
        for batch in super().keys():
            columns = [batch.column("id"), pa.array([""] * batch.num_rows)]
            yield pa.RecordBatch.from_arrays(columns, names=list(KEY_COLUMNS))


class _KeysLimited(MemorySource):
    def keys(self) -> Iterator[pa.RecordBatch]:
        for batch in super().keys():
            yield batch.slice(0, 10)


class _CountsAnother(MemorySource):
    """The count of all collections of the place."""

    def count(self) -> int:
        return sum(s.rows or 0 for s in MemoryConnector().collections(self._place))


class _AlwaysAlive(MemorySource):
    def alive(self, token: Json) -> bool:
        return True


class _NotReallyASnapshot(LiveMemorySource):
    capabilities = MemorySource.capabilities


class _NoPassport(MemorySource):
    def describe(self) -> Description:
        return replace(super().describe(), passport=None)


class _OtherMetric(MemorySource):
    def describe(self) -> Description:
        found = super().describe()
        vectors = tuple(replace(v, metric="cosine") for v in found.collection.vectors)
        return replace(found, collection=replace(found.collection, vectors=vectors))


class _Telling(MemorySource):
    """Tells its options when something is wrong."""

    def describe(self) -> Description:
        try:
            return super().describe()
        except VecportError as e:
            raise NotFound(f"{e}: {self._place.option('token')}") from None


class _Vague(MemorySource):
    """Does not say what is there instead."""

    def describe(self) -> Description:
        try:
            return super().describe()
        except NotFound:
            raise NotFound("no such collection") from None


class _Creates(MemorySource):
    """Reading a collection that is not there makes it."""

    def describe(self) -> Description:
        try:
            return super().describe()
        except NotFound:
            with MemoryConnector().open_target(self._place, "made by reading") as target:
                target.prepare(TargetPlan(Collection("made by reading"), 0, if_exists="append"))
            raise


class _Leaking(MemorySource):
    """Opens a handle and closes none."""

    def __init__(self, place: Place, name: str, selection: Selection) -> None:
        super().__init__(place, name, selection)
        self._handle = open(os.devnull)  # noqa: SIM115


class _ClosesOnce(MemorySource):
    closed = False

    def close(self) -> None:
        assert not self.closed
        self.closed = True
        super().close()


class _Pessimist(MemorySource):
    def permissions(self) -> tuple[Permission, ...]:
        return (Permission("read the records", allowed=False),)


class _Rejecting(MemorySource):
    """Says that a record it has given cannot be read."""

    def scan(self, partition: Json, cursor: Json | None, page_rows: int) -> Iterator[Page]:
        for page in super().scan(partition, cursor, page_rows):
            yield replace(page, missing=((("", "x")),), rejected=(Reject("", "x", "no"),))


def _source(source: type[MemorySource], *cases: tuple[Any, ...], **more: Any) -> Broken:
    return Broken(cases, source=source, **more)


def _lists_nothing(self: MemoryConnector, place: Place) -> list[CollectionSummary]:
    return []


READERS = {
    "a filter is ignored": _source(_FilterIgnored, (ONCE, SOME), (COUNTED, SOME)),
    "fetch ignores the filter": _source(_FetchUnfiltered, (FETCH, SOME)),
    "keys ignore the filter": _source(_KeysUnfiltered, (KEYS, SOME)),
    "namespaces ignore the filter": _source(_NamespacesUnfiltered, (NAMESPACES, SOME)),
    "the count ignores the filter": _source(_CountUnfiltered, (COUNTED, SOME)),
    "the filter is lost behind the first page": _source(_FilterOnTheFirstPage, (RESUMES, SOME, 7)),
    "a filter that cannot be read selects everything": _source(
        _AnyFilterIsFine, ("test_a_filter_that_cannot_be_read_is_refused",)),
    "all records count as of the default namespace": _source(_OneNamespace, (NAMESPACES, ANY)),
    "selected namespaces are ignored": _source(
        _NamespacesIgnored, ("test_a_selection_of_namespaces_is_read_alone", ANY)),
    "a record is lost at each partition's edge, for integers": _source(_LosesEdges, (DISJOINT, INTS, 10)),
    "a record at a partition's edge is in both": _source(_SharesEdges, (DISJOINT, ANY, 10)),
    "integers are cut in the order of texts": _source(_TextOrder, (DISJOINT, INTS, 1)),
    "every partition is the whole": _source(_Greedy, (DISJOINT, ANY, 10)),
    "partitions are cut otherwise each time": _source(
        _Restless, ("test_partitions_are_the_same_when_asked_again", ANY)),
    "a cursor is forgotten": _source(
        _Forgetful, (RESUMES, ANY, 7), ("test_another_session_goes_on_where_one_stopped", ANY)),
    "a cursor is that of the page before": _source(_Unmoved, (RESUMES, ANY, 7)),
    "a scan ends at a short page": Broken(
        ((ONCE, ANY),), around_source=_ends_at_a_short_page, faults={"short_page": 2}),
    "a scan repeats a record": Broken(((ONCE, ANY),), faults={"repeat_row_on_page": 2}),
    "a scan loses a record": Broken(((ONCE, ANY),), faults={"lose_row_on_page": 2}),
    "a scan does not move": Broken(((ONCE, ANY),), faults={"stuck_after_pages": 1}),
    "a scan breaks off": Broken(((ONCE, ANY),), faults={"fail_after_pages": 1}),
    "the last page is lost": _source(_LosesTheLastPage, (ONCE, ANY)),
    "the size of a page changes the order": _source(
        _PageSizeInOrder, ("test_page_size_changes_neither_content_nor_order", ANY, 7)),
    "the size of a page changes the content": _source(
        _PageSizeInContent, ("test_page_size_changes_neither_content_nor_order", ANY, 1000)),
    "pages are larger than asked": _source(_LargePages, ("test_pages_are_as_described", ANY)),
    "pages are empty": _source(_EmptyPages, ("test_pages_are_as_described", ANY)),
    "metadata is not canonical": _source(_MetadataAsItComes, ("test_pages_are_as_described", ANY)),
    "records are said to be missing": _source(_Rejecting, ("test_pages_are_as_described", ANY)),
    "an abandoned scan ends the session": _source(
        _Abandoned, ("test_an_abandoned_scan_leaves_the_session_usable", ANY)),
    "fetch repeats a record": _source(_FetchRepeats, (FETCH, ANY)),
    "fetch makes up what is not there": _source(_FetchMakesUp, (FETCH, ANY)),
    "fetch gives no more than a request takes": _source(
        _FetchLimited, ("test_more_records_are_fetched_than_one_request_takes",)),
    "keys lose their namespaces": _source(
        _KeysLoseNamespaces, ("test_a_selection_of_namespaces_is_read_alone", ANY)),
    "keys are not all listed": _source(_KeysLimited, (KEYS, ANY)),
    "a count is off by one": Broken((("test_counts_are_exact",), (COUNTED, ANY)), faults={"wrong_count": 1}),
    "a count is that of all collections": _source(_CountsAnother, (COUNTED, ANY)),
    "a snapshot that has ended is said to be there": _source(_AlwaysAlive, ("test_a_snapshot_ends_with_its_session",)),
    "a snapshot is none": _source(_NotReallyASnapshot, ("test_writes_during_a_scan_change_no_other_record",)),
    "the passport is not read": _source(_NoPassport, ("test_the_passport_comes_back",)),
    "another metric is described": _source(_OtherMetric, ("test_metrics_are_kept_or_refused", "dot")),
    "secrets are told": _source(
        _Telling, ("test_secrets_are_never_shown",),
        connector={"info": replace(MemoryConnector.info, options=(Option("token", "A secret.", secret=True),))}),
    "what is there is not said": _source(
        _Vague, ("test_a_collection_that_is_missing_is_named_with_those_that_exist",)),
    "reading creates": _source(_Creates, ("test_a_collection_that_is_missing_is_named_with_those_that_exist",)),
    "a closed session holds a handle": _source(_Leaking, ("test_a_closed_session_holds_nothing_open",)),
    "a session cannot be closed twice": _source(
        _ClosesOnce, ("test_closing_twice_is_harmless_and_leaves_no_files",)),
    "a permission is denied that is there": _source(
        _Pessimist, ("test_permissions_are_told_without_reading_or_creating",)),
    "every file is claimed": Broken(
        (("test_it_recognises_no_foreign_file",),), connector={"recognises": lambda self, path: True}),
    "collections are not listed": Broken(
        (("test_a_new_collection_is_listed",),), connector={"collections": _lists_nothing}),
}  # fmt: skip
