"""Cases about scans: every record once, in one order, resumable behind every page, whatever happens meanwhile."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest

from ..connectors.contract import Json, Page, Selection, Source
from ..errors import Incomplete, UsageError
from ..model.collection import Collection
from ..model.ids import sort_key
from .bench import EVERYTHING, Bench, Way, check_page, compare, does_not_apply, plain
from .bench import Reading as WhatWasRead
from .records import Record, batch_of
from .seen import Key, seen

ROWS = 60


class Reading:
    """A collection that stands still, for every kind of ids, the whole and what a filter selects."""

    def test_every_record_comes_exactly_once(self, bench: Bench, way: Way) -> None:
        ground = bench.ground(way, ROWS)
        got = bench.read(ground.made, page_rows=13, target_rows=25, selection=ground.selection)
        bench.expect(ground.made, ground.records, got)

    @pytest.mark.parametrize("page_rows", [1, 7, 1000])
    def test_page_size_changes_neither_content_nor_order(self, bench: Bench, way: Way, page_rows: int) -> None:
        ground = bench.ground(way, 20)
        wanted, got = (bench.read(ground.made, rows, selection=ground.selection) for rows in (10, page_rows))
        assert got.keys == wanted.keys
        compare(wanted.seen, got.seen, {})
        bench.expect(ground.made, ground.records, got)

    def test_pages_are_as_described(self, bench: Bench, way: Way) -> None:
        ground = bench.ground(way, 20)
        got = bench.read(ground.made, page_rows=6, selection=ground.selection)
        assert len(got.pages) >= 20 / 6
        for page in got.pages:
            check_page(page, got.collection)
            assert page.batch.num_rows <= 6
            assert not page.missing

    def test_two_scans_give_the_same(self, bench: Bench, way: Way) -> None:
        ground = bench.ground(way, 20)
        with bench.reading(ground.made, ground.selection) as (source, token, described):
            first, second = _scan(source, token, described, 7), _scan(source, token, described, 7)
        assert first.keys == second.keys
        compare(first.seen, second.seen, {})

    @pytest.mark.parametrize("page_rows", [1, 7])
    def test_a_scan_goes_on_behind_every_page(self, bench: Bench, way: Way, page_rows: int) -> None:
        ground = bench.ground(way, 20)
        with bench.reading(ground.made, ground.selection) as (source, token, described):
            for part in source.partitions(12, token):
                pages = list(source.scan(part, None, page_rows))
                for n, page in enumerate(pages):
                    if page.cursor is None:
                        continue
                    rest = list(source.scan(plain(part), plain(page.cursor), page_rows))
                    wanted = WhatWasRead(described, tuple(pages[n + 1 :]))
                    got = WhatWasRead(described, tuple(rest))
                    assert got.keys == wanted.keys, f"behind page {n}"
                    compare(wanted.seen, got.seen, {})

    def test_another_session_goes_on_where_one_stopped(self, bench: Bench, way: Way) -> None:
        ground = bench.ground(way, 20)
        with bench.reading(ground.made, ground.selection) as (source, token, described):
            (part, *_) = source.partitions(EVERYTHING, token)
            scan = source.scan(part, None, 7)
            first = next(scan)
            _close(scan)
            if first.cursor is None:
                does_not_apply("its pages have no cursor")
            wanted = list(source.scan(part, first.cursor, 7))
            with bench.source(ground.made.name, ground.selection, ground.made) as other:
                other.attach(plain(token))
                got = list(other.scan(plain(part), plain(first.cursor), 7))
        assert [p.batch for p in got] == [p.batch for p in wanted]
        assert sum(p.batch.num_rows for p in (first, *got)) == len(ground.records)
        assert described.name == ground.made.name

    @pytest.mark.parametrize("target_rows", [1, 10, 25, EVERYTHING])
    def test_partitions_are_disjoint_and_complete(self, bench: Bench, way: Way, target_rows: int) -> None:
        ground = bench.ground(way, 30)
        got = bench.read(ground.made, page_rows=9, target_rows=target_rows, selection=ground.selection)
        bench.expect(ground.made, ground.records, got)

    def test_partitions_are_the_same_when_asked_again(self, bench: Bench, way: Way) -> None:
        ground = bench.ground(way, 30)
        with bench.reading(ground.made, ground.selection) as (source, token, _):
            first = list(source.partitions(10, token))
            assert plain(first) == first, "a partition does not survive JSON"
            assert list(source.partitions(10, plain(token))) == first
            with bench.source(ground.made.name, ground.selection, ground.made) as other:
                other.attach(plain(token))
                assert list(other.partitions(10, plain(token))) == first

    def test_an_abandoned_scan_leaves_the_session_usable(self, bench: Bench, way: Way) -> None:
        ground = bench.ground(way, 20)
        with bench.reading(ground.made, ground.selection) as (source, token, described):
            (part, *_) = source.partitions(EVERYTHING, token)
            scan = source.scan(part, None, 3)
            next(scan)
            _close(scan)
            assert len(_scan(source, token, described, 5).keys) == len(ground.records)

    def test_an_empty_collection_is_read_to_its_end(self, bench: Bench, way: Way) -> None:
        ground = bench.ground(way, 0)
        with bench.reading(ground.made, ground.selection) as (source, token, _):
            assert source.count() in (0, None)
            partitions = list(source.partitions(100, token))
            assert len(partitions) <= 1
            assert [p for part in partitions for p in source.scan(part, None, 10)] == []

    # -- keys and single records -----------------------------------------------------------------

    def test_fetch_gives_what_was_asked_and_nothing_else(self, bench: Bench, way: Way) -> None:
        ground = bench.ground(way, 20)
        made, records = ground.made, ground.records
        absent = [r.key for r in (*bench.records(made, 2, start=100), *ground.others[:2])]
        with bench.reading(made, ground.selection) as (source, _, described):
            if not source.capabilities.fetches:
                with pytest.raises((NotImplementedError, UsageError)):
                    source.fetch([records[0].key])
                return
            asked = [records[n] for n in (13, 2, 7)]
            batch = source.fetch([asked[0].key, *absent, *(r.key for r in asked[1:]), asked[0].key])
            nothing, none_asked = source.fetch(absent), source.fetch([])
        bounds = {v.name: bench.bound(v) for v in made.vectors}
        compare(seen(batch_of(asked, made), made), seen(batch, described), bounds)
        assert nothing.num_rows == none_asked.num_rows == 0
        assert nothing.schema.equals(batch.schema)

    def test_more_records_are_fetched_than_one_request_takes(self, bench: Bench) -> None:
        made = bench.collection()
        records = [replace(r, metadata={}, document=None) for r in bench.records(made, 1_100)]
        bench.put(made, records)
        with bench.reading(made) as (source, _, described):
            if not source.capabilities.fetches:
                does_not_apply("it does not fetch")
            batch = source.fetch([r.key for r in records])
        bounds = {v.name: bench.bound(v) for v in made.vectors}
        compare(seen(batch_of(records, made), made), seen(batch, described), bounds)

    def test_keys_are_those_of_the_scan(self, bench: Bench, way: Way) -> None:
        ground = bench.ground(way, 20)
        with bench.reading(ground.made, ground.selection) as (source, token, described):
            if not source.capabilities.lists_keys:
                with pytest.raises((NotImplementedError, UsageError)):
                    list(source.keys())
                return
            listed = [k for batch in source.keys() for k in _keys(batch)]
            scanned = _scan(source, token, described, 7).keys
        assert sorted(listed) == sorted(scanned) == sorted(r.key for r in ground.records)

    def test_key_ordered_partitions_rise_strictly(self, bench: Bench, way: Way) -> None:
        ground = bench.ground(way, 40, rows=11)
        with bench.reading(ground.made, ground.selection) as (source, token, described):
            if not source.capabilities.key_ordered:
                does_not_apply("its order is not that of keys")
            for part in source.partitions(15, token):
                keys = [k for page in source.scan(part, None, 4) for k in _keys(page.batch)]
                ordered = [(ns, sort_key(i, described.id_kind)) for ns, i in keys]
                assert all(a < b for a, b in itertools.pairwise(ordered)), keys

    def test_a_page_is_cut_behind_a_key(self, bench: Bench, way: Way) -> None:
        ground = bench.ground(way, 20)
        with bench.reading(ground.made, ground.selection) as (source, token, _):
            for part in source.partitions(EVERYTHING, token):
                for page in source.scan(part, None, 6):
                    keys = _keys(page.batch)
                    rest, passed = source.behind(part, page.batch, keys[2 % len(keys)])
                    assert passed
                    assert _keys(rest) == keys[2 % len(keys) + 1 :]

    # -- counts ----------------------------------------------------------------------------------

    def test_what_is_selected_is_counted(self, bench: Bench, way: Way) -> None:
        bench.filled(3)
        ground = bench.ground(way, 20)
        with bench.reading(ground.made, ground.selection) as (source, _, _):
            assert source.count() == source.describe().count
            assert source.count() in (len(ground.records), None)

    def test_namespaces_are_those_of_the_selected_records(self, bench: Bench, way: Way) -> None:
        ground = bench.ground(way, 20)
        made, wanted = ground.made, Counter(r.namespace for r in ground.records)
        if bench.target_caps.native_namespace:
            made = replace(made, name=bench.fresh_name())
            everything = [*ground.records, *ground.others]
            moved = {r.key: replace(r, namespace=("", "eu")[n % 3 == 0]) for n, r in enumerate(everything)}
            bench.put(made, list(moved.values()))
            wanted = Counter(moved[r.key].namespace for r in ground.records)
        with bench.reading(made, ground.selection) as (source, _, _):
            counted, why = source.namespaces(), source.uncounted()
        if counted is None:
            assert not bench.target_caps.native_namespace or why, (
                "it has namespaces and does not say why none is counted"
            )
            return
        assert dict(counted) == dict(wanted)
        assert not why, "what is counted needs no reason"

    # -- selections ------------------------------------------------------------------------------

    def test_a_selection_of_namespaces_is_read_alone(self, bench: Bench, way: Way) -> None:
        if not bench.source_caps.selects_namespaces:
            does_not_apply("the pipeline refuses to select by namespace")
        ground = bench.ground(way, 0)
        made = replace(ground.made, name=bench.fresh_name())
        text, means = (bench.suite.where(bench) if way.filtered else None) or (None, lambda _: True)
        records = [replace(r, namespace=("", "eu", "us")[n % 3]) for n, r in enumerate(bench.records(made, 42))]
        bench.put(made, records)
        for names in (("eu",), ("eu", "us"), ("",)):
            selection = Selection(names, text)
            wanted = [r for r in records if r.namespace in names and means(r)]
            bench.expect(made, wanted, bench.read(made, page_rows=4, target_rows=9, selection=selection))
            with bench.reading(made, selection) as (source, _, _):
                assert source.count() == source.describe().count
                assert source.count() in (len(wanted), None)
                if source.capabilities.lists_keys:
                    assert sorted(k for b in source.keys() for k in _keys(b)) == sorted(r.key for r in wanted)
                if source.capabilities.fetches:
                    assert sorted(_keys(source.fetch([r.key for r in records]))) == sorted(r.key for r in wanted)

    def test_a_filter_is_not_taken_where_there_is_none(self, bench: Bench) -> None:
        if bench.suite.where(bench) is not None:
            does_not_apply("it has a filter, and the reading cases are run with it")
        if bench.connector.info.where:
            does_not_apply("the test class gives no example of a filter")
        made = bench.filled(20)
        with pytest.raises(UsageError), bench.reading(made, Selection(where="x = 1")):
            pytest.fail("a filter was taken")

    def test_a_filter_that_cannot_be_read_is_refused(self, bench: Bench) -> None:
        made = bench.filled(2)
        with pytest.raises(UsageError), bench.reading(made, Selection(where="(((")) as (source, token, described):
            _scan(source, token, described, 10)


class Live:
    """A collection that is written to while it is read."""

    def test_writes_during_a_scan_change_no_other_record(self, bench: Bench) -> None:
        made = bench.collection()
        records = bench.records(made, ROWS)
        bench.put(made, records)
        disturbance = _Disturbance(bench, made, records)
        try:
            with bench.reading(made) as (source, token, described):
                snapshot = source.capabilities.snapshot
                got: list[Page] = []
                for part in source.partitions(25, token):
                    for page in source.scan(part, None, 7):
                        got.append(page)
                        disturbance.strike(len(got))
        except Incomplete:
            # A file cannot hold still; refusing is the other way to lose nothing.
            assert snapshot, "only a snapshot can be found broken"
            return
        assert disturbance.struck, "nothing was written during the scan"
        read = WhatWasRead(described, tuple(got))
        bounds = {v.name: bench.bound(v) for v in made.vectors}
        if snapshot:
            compare(seen(batch_of(records, made), made), read.seen, bounds)
            return
        quiet = [r for r in records if r not in disturbance.touched]
        keys = {r.key for r in quiet}
        compare(seen(batch_of(quiet, made), made), [s for s in read.seen if s.key in keys], bounds)

    def test_what_was_written_meanwhile_is_read_the_next_time(self, bench: Bench) -> None:
        made = bench.collection()
        records = bench.records(made, ROWS)
        bench.put(made, records)
        disturbance = _Disturbance(bench, made, records)
        with bench.reading(made) as (source, token, _):
            for part in source.partitions(EVERYTHING, token):
                next(iter(source.scan(part, None, 7)), None)
            disturbance.strike(2)
        bench.expect(made, disturbance.now())

    def test_a_snapshot_ends_with_its_session(self, bench: Bench) -> None:
        made = bench.filled(5)
        with bench.reading(made) as (source, token, _):
            snapshot = source.capabilities.snapshot
            with bench.source(made.name, collection=made) as other:
                assert other.alive(plain(token))
        with bench.source(made.name, collection=made) as later:
            if not snapshot:
                assert later.alive(plain(token))
            elif later.alive(plain(token)):
                # A file or a version may outlive the session; then it must still be readable.
                later.attach(plain(token))
                assert len(_scan(later, token, later.describe().collection, 10).keys) == 5


class _Disturbance:
    """Inserts, changes and deletes records of a collection while somebody else reads it."""

    def __init__(self, bench: Bench, made: Collection, records: list[Record]) -> None:
        self._bench, self._made, self._records = bench, made, records
        self._other = [
            replace(changed, id=r.id) for changed, r in zip(bench.records(made, ROWS, seed=8), records, strict=True)
        ]
        self.struck = 0
        self.touched = [r for n, r in enumerate(records) if n % 3 == 0]
        self._now = {r.key: r for r in records}

    def strike(self, page: int) -> None:
        """After the second and fifth page: change three records, delete two, insert five."""
        if page not in (2, 5):
            return
        start = 30 * self.struck
        self.struck += 1
        changed = [self._other[start + n] for n in (0, 6, 12)]
        deleted = [self._records[start + n] for n in (3, 15)]
        added = self._bench.records(self._made, 5, start=ROWS + 5 * self.struck)
        self._now |= {r.key: r for r in (*changed, *added)}
        if "append" in self._bench.target_caps.if_exists:
            self._bench.put(self._made, [*changed, *added], if_exists="append")
            if self._delete([r.key for r in deleted]):
                self._now = {k: r for k, r in self._now.items() if k not in {d.key for d in deleted}}
        else:
            self._bench.put(self._made, list(self._now.values()), if_exists="replace")

    def _delete(self, keys: list[tuple[str, str]]) -> bool:
        with self._bench.target(self._made.name) as target:
            try:
                target.delete(keys)
            except NotImplementedError:
                return False
        return True

    def now(self) -> list[Record]:
        """What the collection holds."""
        return list(self._now.values())


def _scan(source: Source, token: Json, described: Collection, page_rows: int) -> WhatWasRead:
    parts = source.partitions(EVERYTHING, token)
    return WhatWasRead(described, tuple(p for part in parts for p in source.scan(part, None, page_rows)))


def _keys(batch: pa.RecordBatch) -> list[Key]:
    columns: Any = (batch.column("namespace").to_pylist(), batch.column("id").to_pylist())
    return list(zip(*columns, strict=True))


def _close(scan: Iterator[Page]) -> None:
    close = getattr(scan, "close", None)
    if close is not None:
        close()
