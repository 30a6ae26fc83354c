"""Rows of Postgres: vectors bit for bit, bounded memory, keys, and ``--where``."""

from __future__ import annotations

import time
import uuid

import numpy as np
import pyarrow as pa
import pytest

from vecport.connectors.contract import Selection
from vecport.errors import UsageError
from vecport.model.batch import dense_matrix

from .support import CONNECTOR, filled, fresh, pages, pump, records, rows, run, server_place, source

# ---- rows ----


@pytest.mark.parametrize("nulls", ["id % 3 = 0", "true", "id = 1", "id > 90", "false"])
@pytest.mark.parametrize("page_rows", [7, 1_000])
def test_null_vectors_stay_with_their_rows(nulls: str, page_rows: int) -> None:
    table = filled(100)
    run(f"UPDATE {table} SET e = NULL WHERE {nulls}")
    absent = {str(i) for (i,) in run(f"SELECT id FROM {table} WHERE e IS NULL")}
    collection, found = pages(table, page_rows=page_rows)
    for batch in found:
        matrix, valid = dense_matrix(batch.column("vector_e"), collection.vectors[0])
        ids = np.array([int(i) for i in batch.column("id").to_pylist()])
        assert {str(i) for i in ids[~valid]} == absent & set(map(str, ids))
        assert (matrix == ids[valid][:, None]).all()
    assert rows(pump(table)) == rows(table)


def test_vectors_are_bit_for_bit() -> None:
    patterns = np.array([0x80000000, 1, 0x80000001, 0x7F7FFFFF, 0x00800000, 0x3DCCCCCD, 0x15AE43FD], np.uint32)
    table = fresh()
    run(f"CREATE TABLE {table} (id int PRIMARY KEY, e vector(7))")
    text = "[" + ",".join(repr(float(x)) for x in patterns.view(np.float32)) + "]"
    run(f"INSERT INTO {table} VALUES (1, '{text}')")
    for name in (table, pump(table)):
        collection, (page,) = pages(name)
        matrix, _ = dense_matrix(page.column("vector_e"), collection.vectors[0])
        assert (matrix.view(np.uint32) == patterns).all()


def test_tables_without_rows_or_vectors_are_read() -> None:
    table = fresh()
    run(f"CREATE TABLE {table} (id int PRIMARY KEY, e vector(3))")
    assert pages(table)[1] == []
    plain = fresh()
    run(f"CREATE TABLE {plain} (id int PRIMARY KEY, t text)", f"INSERT INTO {plain} VALUES (1, 'x')")
    collection, found = pages(plain)
    assert collection.vectors == ()
    assert records(found) == [{"id": "1", "namespace": "", "document": None, "metadata": '{"t":"x"}'}]
    assert run(f"TABLE {pump(plain)}") == [(1, "x")]


def test_memory_is_bounded_by_pages() -> None:
    table = filled(30_000, dim=128)
    with source(table) as reading:
        reading.snapshot()
        before = pa.total_allocated_bytes()
        most = 0
        for page in reading.scan({"from": 0, "to": None}, None, 500):
            assert page.batch.num_rows <= 500
            assert page.cursor is None
            most = max(most, pa.total_allocated_bytes() - before)
    assert most < 8 << 20, f"{most:,} bytes"


def test_an_abandoned_scan_gives_up_its_connection_at_once() -> None:
    table = filled(30_000, dim=128)
    with source(table) as reading:
        reading.snapshot()
        scan = reading.scan({"from": 0, "to": None}, None, 100)
        next(scan)
        begin = time.monotonic()
        scan.close()  # type: ignore[attr-defined]
        assert time.monotonic() - begin < 1
        assert sum(page.batch.num_rows for page in reading.scan({"from": 0, "to": None}, None, 10_000)) == 30_000


def test_queries_of_one_session_may_overlap() -> None:
    table = filled(3_000)
    with source(table) as reading:
        token = reading.snapshot()
        whole = {"from": 0, "to": None}
        seen = []
        for one, other in zip(reading.scan(whole, None, 100), reading.scan(whole, None, 100), strict=True):
            assert one.batch.equals(other.batch)
            seen.append(one.batch)
            first = one.batch.column("id")[0].as_py()
            assert reading.fetch([("", first)]).column("id").to_pylist() == [first]
        assert len(records(seen)) == 3_000
        # A new snapshot, or another session's, takes the place of this one.
        run(f"DELETE FROM {table} WHERE id > 10")
        assert reading.count() == 3_000
        assert reading.snapshot() != token
        assert reading.count() == 10
        with source(table) as coordinator:
            run(f"DELETE FROM {table} WHERE id > 5")
            reading.attach(coordinator.snapshot())
            assert reading.count() == 5


def test_fetch_finds_keys_and_only_keys() -> None:
    table = fresh()
    run(
        f"CREATE TABLE {table} (id varchar(3) PRIMARY KEY, e vector(1))",
        f"INSERT INTO {table} SELECT i::text, '[1]' FROM generate_series(1, 300) i",
    )
    with source(table) as reading:
        reading.snapshot()
        # A cast to varchar(3) would cut 1234 down to 123.
        got = reading.fetch(
            [("", "1234"), ("", "7"), ("", "a\0b"), ("", "\ud800"), ("other", "8"), ("", ""), ("", "7 ")]
        )
        assert got.column("id").to_pylist() == ["7"]
        many = reading.fetch([("", str(i)) for i in range(25_000)])
        assert many.num_rows == 300
    numbers = filled(5)
    with source(numbers) as reading:
        reading.snapshot()
        asked = ["5", "05", "x", "99999999999999999999999", "-1", "5.0", str(uuid.uuid4()), "", "9" * 5_000]
        assert reading.fetch([("", text) for text in asked]).column("id").to_pylist() == ["5"]


# ---- where ----


@pytest.mark.parametrize(
    ("kind", "there", "longer"),
    [("char(3)", "abc", "abcd"), ("char(1)", "a", "ab"), ("varchar(3)", "abc", "abcd"), ("name", "n" * 63, "n" * 64),
     ("bit(3)", "101", "1011"), ("bit(1)", "1", "10")],
)  # fmt: skip
def test_an_id_that_is_too_long_does_not_find_the_one_that_it_would_be_cut_to(
    kind: str, there: str, longer: str
) -> None:
    table = fresh()
    run(f"CREATE TABLE {table} (id {kind} PRIMARY KEY, e vector(1))", f"INSERT INTO {table} VALUES ('{there}', NULL)")
    with source(table) as reading:
        reading.snapshot()
        assert reading.fetch([("", there), ("", longer)]).column("id").to_pylist() == [there]
        assert reading.fetch([("", longer)]).num_rows == 0


def test_an_invalid_index_is_named_and_not_restored() -> None:
    table = filled(3)
    run(
        f"CREATE INDEX {table}_v ON {table} USING hnsw (e vector_l2_ops)",
        f"UPDATE pg_index SET indisvalid = false WHERE indexrelid = '{table}_v'::regclass",
    )
    with source(table) as reading:
        found = reading.describe()
    assert found.collection.native["vector_indexes"] == []
    assert any(f"not recreated: {table}_v" in note for note in found.notes)


def test_where_selects_and_its_mistakes_are_named() -> None:
    table = filled(100)
    _, found = pages(table, 10, where="n % 10 = 0 OR pad LIKE '%y%' -- a comment")
    assert [row["id"] for row in records(found)] == [str(i) for i in range(10, 101, 10)]
    with source(table, "n = 7") as reading:
        reading.snapshot()
        assert reading.fetch([("", "7"), ("", "8")]).num_rows == 1
        assert [k.num_rows for k in reading.keys()] == [1]
    for wrong in ("nothing = 1", "n =", "n", "n = 'x'", "true) OR (true; SELECT 1", "n = $1", "count(*) > 1"):
        with source(table, wrong) as reading, pytest.raises(UsageError, match="--where"):
            reading.describe()
    with pytest.raises(UsageError, match="namespaces"):
        CONNECTOR.open_source(server_place(), table, Selection(namespaces=("a",)))


def test_where_cannot_write() -> None:
    table = filled(10)
    run(
        f"CREATE OR REPLACE FUNCTION wipe() RETURNS bool LANGUAGE sql AS 'DELETE FROM {table}; SELECT true'",
    )
    with source(table, "wipe()") as reading, pytest.raises(UsageError, match="read-only"):
        reading.describe()
    more = f"true); COMMIT; DELETE FROM {table}; SELECT (1"
    with source(table, more) as reading, pytest.raises(UsageError, match="cannot be evaluated"):
        reading.describe()
    assert run(f"SELECT count(*) FROM {table}") == [(10,)]
