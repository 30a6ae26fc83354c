"""Scanning Qdrant: cursors, partitions, keys and filters; every record once."""

from __future__ import annotations

import itertools
import json
import random
import threading
from typing import Any

import pyarrow as pa
import pytest

from vecport.connectors.address import Place
from vecport.connectors.contract import Selection, TargetPlan
from vecport.connectors.qdrant import QdrantSource, wire
from vecport.connectors.qdrant.backend import Rows
from vecport.errors import Incomplete, UsageError
from vecport.model.collection import Collection

from .script import Script, facts, scripted
from .support import CONNECTOR, MARK, UUIDS, collection, ids_of, mixed_ids, ordered, page, read, source, write


def test_page_size_changes_neither_rows_nor_order(place: Place, mixed: Collection) -> None:
    tables = [read(place, mixed.name, rows).combine_chunks() for rows in (1, 7, 1000)]
    assert tables[0].column("id").to_pylist() == ordered(mixed_ids(500))
    assert tables[0].equals(tables[1])
    assert tables[0].equals(tables[2])


def test_scan_goes_on_behind_every_cursor(place: Place, mixed: Collection) -> None:
    with source(place, mixed.name) as session:
        partition = list(session.partitions(250, {}))[1]
        pages = list(session.scan(partition, None, 23))
        everything = ids_of(pages)
        seen = 0
        for p in pages:
            seen += len(p.batch)
            cursor = json.loads(json.dumps(p.cursor))
            assert ids_of(list(session.scan(partition, cursor, 41))) == everything[seen:]


def test_key_deleted_at_the_cursor_repeats_and_loses_nothing(place: Place, name: str) -> None:
    c = collection(name)
    ids = ordered(mixed_ids(60, 3))
    write(place, c, page(c, ids))
    with source(place, name) as session, CONNECTOR.open_target(place, name) as target:
        for at in (9, 19, 29, 39):
            pages = session.scan({}, None, 10)
            first = list(itertools.islice(pages, (at + 1) // 10))
            assert ids_of(first)[-1] == ids[at]
            target.delete([("", ids[at]), ("", ids[at + 1])])
            assert ids_of(list(session.scan({}, first[-1].cursor, 10))) == ids[at + 2 :]
            write(place, c, page(c, [ids[at], ids[at + 1]]))
        assert list(session.scan({}, {"after": UUIDS[-1]}, 10)) == []


@pytest.mark.parametrize("kind", ["slices", "ranges", "sampled ranges"])
def test_partitions_are_disjoint_and_complete(
    place: Place, mixed: Collection, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind == "sampled ranges":
        monkeypatch.setattr("vecport.connectors.qdrant.read.MAX_SLICES", 0)
        monkeypatch.setattr("vecport.connectors.qdrant.read.SAMPLES_EACH", 8)
    with source(place, mixed.name) as session:
        session._backend.slices = kind != "ranges"
        for rows in (1, 30, 100, 250, 499):
            partitions = json.loads(json.dumps(list(session.partitions(rows, {}))))
            assert partitions == list(session.partitions(rows, {}))
            if kind == "sampled ranges":
                assert 0.3 < len(partitions) / (500 / rows) < 3
            else:
                assert len(partitions) == -(-500 // rows) or rows == 1
            if rows == 1:
                assert len(partitions) == 500
                continue
            found = [ids_of(list(session.scan(p, None, 16))) for p in partitions]
            assert all(part == ordered(part) for part in found)
            assert list(itertools.chain(*found)) == ordered(mixed_ids(500)) or kind == "slices"
            assert sorted(itertools.chain(*found)) == sorted(mixed_ids(500))
        assert list(session.partitions(500, {})) == [{}]


@pytest.mark.parametrize("kind", ["slices", "ranges"])
def test_partitions_stay_complete_under_writes(place: Place, name: str, kind: str) -> None:
    """Records that are there all the time are read exactly once, whatever is inserted, deleted or changed beside."""
    c = collection(name)
    steady, passing = mixed_ids(800, 7), mixed_ids(400, 8)
    write(place, c, page(c, steady + passing[:200]))
    stop = threading.Event()

    def disturb() -> None:
        rng, around = random.Random(1), 0
        with CONNECTOR.open_target(place, name) as target:
            target.attach(TargetPlan(collection=c, rows=0))
            while not stop.is_set():
                chosen = rng.sample(passing, 20)
                target.delete([("", key) for key in chosen[:10]])
                target.write(page(c, chosen[10:] + rng.sample(steady, 10), metadata=[{"n": around}] * 20), MARK)
                around += 1

    writer = threading.Thread(target=disturb)
    writer.start()
    try:
        with source(place, name) as session:
            session._backend.slices = kind == "slices"
            for rows in (150, 5000):
                found = [i for p in session.partitions(rows, {}) for i in ids_of(list(session.scan(p, None, 13)))]
                assert len(found) == len(set(found))
                assert set(steady) <= set(found) <= set(steady) | set(passing)
    finally:
        stop.set()
        writer.join()


def test_short_page_without_a_next_offset_is_not_the_end() -> None:
    session, script = scripted(([1, 2], 5), ([5], None), ([8, UUIDS[1]], None), ([], None))
    assert ids_of(list(session.scan({}, None, 2))) == ["1", "2", "5", "8", UUIDS[1]]
    assert script.asked == [None, 5, 6, wire.ORDER.after(UUIDS[1])]


def test_empty_page_with_a_next_offset_is_not_the_end() -> None:
    session, _ = scripted(([1], 2), ([], 7), ([7], None), ([], None))
    assert ids_of(list(session.scan({}, None, 1))) == ["1", "7"]


@pytest.mark.parametrize(
    "pages",
    [
        [([1, 2], 2)],
        [([1, 2], 1)],
        [([1, 2], 3), ([], 3)],
        [([1, 2], 3), ([2, 3], 4)],
        [([1, 1], 2)],
        [([2, 1], 3)],
        [([UUIDS[0], 1], 3)],
        [([5], UUIDS[0]), ([6], 7)],
    ],
)
def test_scan_that_does_not_move_or_rise_is_an_error(pages: list[tuple[list[Any], Any]]) -> None:
    session, _ = scripted(*pages)
    with pytest.raises(Incomplete):
        list(session.scan({}, None, 2))


def test_range_stops_before_its_end_and_asks_for_nothing_behind_it() -> None:
    session, script = scripted(([1, 2, 3], 9), ([9], None))
    assert ids_of(list(session.scan({"from": "1", "to": "3"}, None, 3))) == ["1", "2"]
    assert script.asked == [1]


def test_listed_records_that_are_gone_are_named() -> None:
    texts = pa.array(["{}"], pa.string())
    gone = Rows([1], 7, 6, [3, 6], metadata=texts)
    session = QdrantSource(Script([gone, Rows([])], [facts()]), "c", Selection())
    (p,) = session.scan({}, None, 3)
    assert (p.missing, p.cursor) == ((("", "3"), ("", "6")), {"after": "6"})


def test_keys_fetch_count_and_where(place: Place, mixed: Collection) -> None:
    ids = ordered(mixed_ids(500))
    left_out = next(i for n, i in enumerate(mixed_ids(500)) if n % 2 == 0 and not i.isdigit())
    must = [{"key": "even", "match": {"value": True}}]
    where = json.dumps({"must": must, "must_not": [{"has_id": [left_out]}]})
    with source(place, mixed.name) as session:
        assert [i for b in session.keys() for i in b.column("id").to_pylist()] == ids
        assert session.count() == 500 == session.describe().count
        wanted = [("", i) for i in (*ids[:5], "77", "no id", UUIDS[2], ids[0])] + [("elsewhere", ids[9])]
        assert sorted(session.fetch(wanted).column("id").to_pylist()) == sorted(ids[:5])
        assert session.fetch([]).num_rows == 0
        assert session.fetch([("", "x")]).num_rows == 0
        everything = pa.Table.from_batches([p.batch for p in session.scan({}, None, 500)])
        fetched = pa.Table.from_batches([session.fetch([("", i) for i in ids])])
        assert fetched.sort_by("id").equals(everything.sort_by("id"))
    with source(place, mixed.name, where) as session:
        parts = list(session.partitions(60, {}))
        assert (session.count(), len(parts)) == (249, 5)
        found = [row for p in parts for page in session.scan(p, None, 50) for row in page.batch.to_pylist()]
        assert len(found) == 249 == len({row["id"] for row in found})
        assert all(json.loads(row["metadata"])["even"] for row in found)


@pytest.mark.parametrize(
    "where",
    ["{", "[]", '{"musst": []}', '{"must": [{"key": "a", "match": {"vlue": 1}}]}', '{"must": [{"has_id": [-1]}]}', "1"],
)
def test_filters_that_qdrant_lacks_are_usage_errors(place: Place, mixed: Collection, where: str) -> None:
    with source(place, mixed.name, where) as session, pytest.raises(UsageError, match="--where"):
        session.count()


def test_empty_collection_has_no_pages(place: Place, name: str) -> None:
    c = collection(name)
    write(place, c, page(c, []))
    with source(place, name) as session:
        (partition,) = session.partitions(100, {})
        assert list(session.scan(partition, None, 10)) == []
        assert list(session.keys()) == []
        assert session.describe().count == 0
