"""Scanning Postgres: one snapshot whatever is written meanwhile, however it is cut, whoever dies."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg
import pyarrow as pa
import pytest

from vecport.connectors.postgres import read as pg_read
from vecport.errors import IntegrityError, Unavailable

from .support import connect, filled, pages, partitioned, records, run, source


def _write(table: str, seed: int, rows: int) -> None:
    """Insert, update, delete, and move rows around, in many transactions."""
    rng = random.Random(seed)
    with connect(autocommit=True) as connection:
        for n in range(25):
            i = rng.randrange(1, rows)
            connection.execute(f"UPDATE {table} SET pad = 'changed', n = -n WHERE id BETWEEN {i} AND {i + 40}".encode())
            connection.execute(f"DELETE FROM {table} WHERE id % 97 = {rng.randrange(97)}".encode())
            connection.execute(
                f"INSERT INTO {table} SELECT {10**6 + seed * 10**4 + n * 10} + g, 0, 'new', NULL"
                " FROM generate_series(1, 5) g".encode()
            )


def _contents(batches: list[pa.RecordBatch]) -> dict[str, tuple[str, Any]]:
    out = {row["id"]: (row["metadata"], row["vector_e"]) for row in records(batches)}
    assert len(out) == sum(batch.num_rows for batch in batches), "an id came twice"
    return out


@pytest.mark.parametrize("parts", [1, 7])
def test_a_scan_under_writes_equals_the_snapshot_exactly(parts: int) -> None:
    rows = 6_000
    table = filled(rows)
    wanted = _contents(pages(table)[1])
    writers = [threading.Thread(target=_write, args=(table, seed, rows)) for seed in (1, 2)]
    with source(table) as coordinator:
        token = coordinator.snapshot()
        ranges = list(coordinator.partitions(-(-rows // parts), token))
        assert len(ranges) == parts
        for writer in writers:
            writer.start()
        got = []
        for part in reversed(ranges):
            # A worker of its own for every range, while the rows move.
            with source(table) as worker:
                worker.attach(json.loads(json.dumps(token)))
                got += [page.batch for page in worker.scan(part, None, 50)]
                assert worker.count() == rows
                time.sleep(0.05)
        for writer in writers:
            writer.join()
        assert coordinator.count() == rows
        assert coordinator.describe().count == rows
        assert coordinator.fetch([("", "97")]).num_rows == 1
    assert _contents(got) == wanted
    assert _contents(pages(table)[1]) != wanted


@pytest.mark.parametrize("target_rows", [1, 13, 1_000, 10**9])
def test_ranges_of_pages_are_disjoint_and_complete(target_rows: int) -> None:
    table = filled(500)
    # Dead rows and holes move what the pages hold.
    run(f"DELETE FROM {table} WHERE id % 3 = 0", f"VACUUM {table}", f"UPDATE {table} SET n = 0 WHERE id % 5 = 0")
    with source(table) as reading:
        token = reading.snapshot()
        ranges = list(reading.partitions(target_rows, token))
        assert ranges == list(reading.partitions(target_rows, json.loads(json.dumps(token))))
        assert ranges[0]["from"] == 0
        assert ranges[-1]["to"] is None
        assert [r["to"] for r in ranges[:-1]] == [r["from"] for r in ranges[1:]]
        assert all(r["from"] < r["to"] for r in ranges[:-1])
        seen = [page.batch for part in ranges for page in reading.scan(part, None, 100)]
    assert sorted(int(row["id"]) for row in records(seen)) == [i for i in range(1, 501) if i % 3]


def test_the_last_range_is_open_for_pages_behind_the_counted_ones() -> None:
    table = filled(50)
    with source(table) as reading:
        token = reading.snapshot()
        fewer = {**token, "pages": [1]}
        assert [r["to"] for r in reading.partitions(10, fewer)][-1] is None
        seen = [page for part in reading.partitions(10, fewer) for page in reading.scan(part, None, 10)]
    assert sum(page.batch.num_rows for page in seen) == 50


def test_order_is_that_of_the_heap_whatever_the_page_size_and_partitions() -> None:
    table = filled(3_000)
    run(f"UPDATE {table} SET n = n WHERE id % 7 = 0", f"CREATE INDEX ON {table} (n DESC)", f"VACUUM ANALYZE {table}")
    wanted = [str(i) for (i,) in run(f"SELECT id FROM {table} ORDER BY ctid")]
    for target_rows, page_rows in ((10**9, 10**6), (10**9, 7), (200, 113), (1, 1_000)):
        found = [row["id"] for row in records(pages(table, target_rows, page_rows)[1])]
        assert found == wanted
    filtered = [str(i) for (i,) in run(f"SELECT id FROM {table} WHERE n > 2500 ORDER BY ctid")]
    assert [row["id"] for row in records(pages(table, 100, 13, where="n > 2500")[1])] == filtered
    # For so few of them, the index on n is taken.
    few = [str(i) for (i,) in run(f"SELECT id FROM {table} WHERE n > 2990 ORDER BY ctid")]
    assert [row["id"] for row in records(pages(table, where="n > 2990")[1])] == few


def test_ranges_are_read_by_tid_range_scans() -> None:
    table = filled(3_000)
    with source(table) as reading:
        token = reading.snapshot()
        part = list(reading.partitions(500, token))[2]
        list(reading.scan(part, None, 100))
    condition = f"ctid >= '({part['from']},0)' AND ctid < '({part['to']},0)'"
    plan = run(f"EXPLAIN SELECT * FROM ONLY {table} WHERE {condition}")
    assert any("Tid Range Scan" in line for (line,) in plan)


def test_a_snapshot_lives_as_long_as_its_coordinator() -> None:
    table = filled(10)
    coordinator = source(table)
    token = coordinator.snapshot()
    with source(table) as worker:
        assert worker.alive(token)
        assert worker.alive(token)
    coordinator.close()
    with source(table) as worker:
        assert not worker.alive(token)
        with pytest.raises(Unavailable, match="is gone"):
            worker.attach(token)
    assert not source(table).alive({**token, "snapshot": "nonsense'; drop table x; --"})
    assert not source(table).alive({**token, "snapshot": ""})


def test_a_name_of_a_snapshot_that_is_given_out_again_is_not_taken_for_it() -> None:
    table = filled(10)
    with source(table) as coordinator:
        token = coordinator.snapshot()
        stale = {**token, "xids": "3:3:"}
        with source(table) as worker:
            assert not worker.alive(stale)
            with pytest.raises(Unavailable):
                worker.attach(stale)
        with source(table) as worker:
            worker.attach(token)
            # The name changes hands between two connections of one session.
            worker._token = stale
            with pytest.raises(Unavailable):
                list(worker.scan({"from": 0, "to": None}, None, 10))


def test_a_killed_coordinator_ends_the_scan_with_a_typed_error() -> None:
    table = filled(2_000)
    with source(table) as coordinator, source(table) as late:
        token = coordinator.snapshot()
        assert coordinator._connection is not None
        run(f"SELECT pg_terminate_backend({coordinator._connection.info.backend_pid}, 5000)")
        with pytest.raises(Unavailable):
            late.attach(token)
        with pytest.raises(Unavailable):
            list(coordinator.scan({"from": 0, "to": None}, None, 100))


def test_a_killed_worker_ends_its_scan_with_a_typed_error() -> None:
    table = filled(20_000, dim=64)
    with source(table) as coordinator:
        token = coordinator.snapshot()
        with source(table) as worker:
            worker.attach(token)
            scan = worker.scan({"from": 0, "to": None}, None, 100)
            next(scan)
            run(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'COPY (SELECT%{table}%'")
            with pytest.raises(Unavailable):
                list(scan)
        with source(table) as other:
            other.attach(token)
            again = list(other.scan({"from": 0, "to": None}, None, 1_000))
    assert sum(page.batch.num_rows for page in again) == 20_000


def test_timeouts_of_the_role_do_not_end_a_scan() -> None:
    table = filled(10)
    names = ["statement_timeout", "idle_in_transaction_session_timeout"]
    with connect() as connection:
        names += ["transaction_timeout"] * (connection.info.server_version >= 170_000)
    run(*(f"ALTER ROLE postgres SET {name} = '150ms'" for name in names))
    try:
        with source(table, "pg_sleep(0.03) IS NOT NULL") as reading:
            token = reading.snapshot()
            (whole,) = reading.partitions(100, token)
            assert len(list(reading.scan(whole, None, 3))) == 4
            time.sleep(0.2)
            assert reading.alive(token)
    finally:
        run("ALTER ROLE postgres RESET ALL")


def test_the_table_is_locked_against_changes_of_its_definition() -> None:
    table = filled(10)
    with source(table) as coordinator:
        coordinator.snapshot()
        for statement in (f"TRUNCATE {table}", f"ALTER TABLE {table} ADD COLUMN x int", f"DROP TABLE {table}"):
            with pytest.raises(psycopg.errors.LockNotAvailable):
                _with_timeout(statement)
        run(f"UPDATE {table} SET n = 1")
    _with_timeout(f"ALTER TABLE {table} ADD COLUMN x int")


def _with_timeout(statement: str) -> None:
    with connect(autocommit=True) as connection:
        connection.execute("SET lock_timeout = '50ms'")
        connection.execute(statement.encode())


def test_a_change_between_description_and_snapshot_is_found() -> None:
    table = filled(10)
    with source(table) as coordinator:
        coordinator.describe()
        run(f"ALTER TABLE {table} ADD COLUMN x int")
        with pytest.raises(IntegrityError, match="changed between"):
            coordinator.snapshot()
    with source(table) as coordinator:
        token = coordinator.snapshot()
        with source(table, id_column="n") as worker, pytest.raises(IntegrityError, match="not the one"):
            worker.attach(token)


@pytest.mark.parametrize("make", [lambda: filled(50), lambda: partitioned(1_500)], ids=["table", "partitions"])
def test_a_table_written_anew_before_the_lock_is_read_as_it_is_then(
    make: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    table = make()
    executed = pg_read.run

    def truncate_before_the_lock(connection: Any, statement: str, parameters: Any = ()) -> Any:
        if statement.startswith("LOCK TABLE"):
            run(f"TRUNCATE {table}", f"INSERT INTO {table} (id, n) SELECT i, i FROM generate_series(1, 7) i")
        return executed(connection, statement, parameters)

    monkeypatch.setattr(pg_read, "run", truncate_before_the_lock)
    # A snapshot older than the lock would see nothing of the new file, and nothing of the old one.
    assert sorted(row["id"] for row in records(_scanned(table))) == [str(i) for i in range(1, 8)]


def _scanned(table: str) -> list[pa.RecordBatch]:
    with source(table) as reading:
        token = reading.snapshot()
        assert reading.count() == 7
        return [page.batch for part in reading.partitions(3, token) for page in reading.scan(part, None, 2)]


def test_rows_that_come_between_description_and_snapshot_are_read() -> None:
    table = filled(0)
    with source(table) as reading:
        assert reading.describe().count == 0
        run(f"INSERT INTO {table} (id) VALUES (1), (2)")
        token = reading.snapshot()
        assert reading.count() == 2
        (part,) = reading.partitions(10, token)
        assert sum(page.batch.num_rows for page in reading.scan(part, None, 10)) == 2


def test_reading_writes_nothing() -> None:
    table = filled(100)
    before = run("SELECT pg_current_xact_id_if_assigned(), txid_snapshot_xmax(txid_current_snapshot())")
    pages(table, 30)
    after = run("SELECT pg_current_xact_id_if_assigned(), txid_snapshot_xmax(txid_current_snapshot())")
    assert before == after, "a transaction id was used"
