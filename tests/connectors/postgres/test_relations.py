"""Partitioned tables, views, foreign tables: every row once, or refused."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from vecport.connectors.postgres import read as pg_read
from vecport.connectors.postgres.catalog import find_table
from vecport.errors import NotRepresentable, Unavailable, VecportError

from .support import CONNECTOR, connect, filled, fresh, pages, partitioned, pump, records, run, server_place, source


@pytest.mark.parametrize(("target_rows", "page_rows"), [(10**9, 10**6), (300, 113), (1, 1_000)])
def test_a_partitioned_table_is_read_over_its_leaves(target_rows: int, page_rows: int) -> None:
    table = partitioned()
    collection, found = pages(table, target_rows, page_rows)
    assert collection.vectors[0].metric == "cosine"
    ids = [int(row["id"]) for row in records(found)]
    assert sorted(ids) == list(range(1, 3_001))
    # The order is that of the leaves' names, and of the heap in each.
    assert ids == sorted(ids)
    assert all(json.loads(row["metadata"])["n"] == int(row["id"]) for row in records(found))
    with source(table) as reading:
        token = reading.snapshot()
        ranges = list(reading.partitions(300, token))
        assert {part["part"] for part in ranges} == {0, 1, 2}
        assert len(ranges) > 8
        assert sorted(row["id"] for row in records([reading.fetch([("", "5"), ("", "2999")])])) == ["2999", "5"]
        assert sum(len(keys) for keys in reading.keys()) == 3_000
        assert any("partitioned table, in 4 partitions" in note for note in reading.describe().notes)
    assert run(f"SELECT count(*), sum(n) FROM {pump(table)}") == [(3_000, 3_000 * 3_001 // 2)]
    selected = pages(table, 300, 50, where="n % 2 = 0")[1]
    assert sorted(int(row["id"]) for row in records(selected)) == list(range(2, 3_001, 2))


def test_rows_that_move_between_partitions_are_read_once() -> None:
    table = partitioned()
    with source(table) as reading:
        token = reading.snapshot()
        seen = []
        for number, part in enumerate(reading.partitions(300, token)):
            seen += [page.batch for page in reading.scan(part, None, 100)]
            if not number:
                run(
                    f"UPDATE {table} SET id = id + 5000 WHERE id BETWEEN 900 AND 1100",
                    f"INSERT INTO {table} SELECT i, i, '', NULL FROM generate_series(10000, 10100) i",
                    f"DELETE FROM {table} WHERE id BETWEEN 1500 AND 1600",
                )
    assert sorted(int(row["id"]) for row in records(seen)) == list(range(1, 3_001))


def test_a_role_that_may_read_the_whole_alone_reads_it_in_one_part() -> None:
    table, role = partitioned(100), fresh("reader")
    run(f"CREATE ROLE {role} LOGIN", f"GRANT SELECT ON {table} TO {role}")
    place = replace(server_place(), user=role)
    with source(table, place=place) as reading:
        token = reading.snapshot()
        parts = list(reading.partitions(10, token))
        assert len(parts) == 1
        assert sum(page.batch.num_rows for page in reading.scan(parts[0], None, 7)) == 100


def test_views_are_read_in_one_part_inside_the_snapshot() -> None:
    table = filled(300)
    view, matview = fresh("view"), fresh("matview")
    run(
        f"CREATE VIEW {view} AS SELECT id, n * 2 AS twice, e FROM {table} WHERE id <= 200",
        f"CREATE MATERIALIZED VIEW {matview} AS SELECT * FROM {table}",
    )
    listed = {summary.name: summary.detail for summary in CONNECTOR.collections(server_place())}
    assert listed[view] == "view, vector(8)"
    with source(view) as reading, pytest.raises(NotRepresentable, match="no primary key"):
        reading.describe()
    with source(view, id_column="id") as reading:
        found = reading.describe()
        assert any(note.startswith("this is a view;") for note in found.notes)
        token = reading.snapshot()
        run(f"DELETE FROM {table} WHERE id % 2 = 0")
        parts = list(reading.partitions(10, token))
        seen = [page.batch for part in parts for page in reading.scan(part, None, 7)]
        assert len(parts) == 1
    assert sorted(int(row["id"]) for row in records(seen)) == list(range(1, 201))
    assert len(records(pages(view, where="twice > 300", id_column="id")[1])) == 25
    # A materialized view has places: it is cut like a table, and shows what it was made from.
    collection, found_pages = pages(matview, 50, 20, id_column="id")
    assert len(records(found_pages)) == 300
    assert [v.metric for v in collection.vectors] == ["unknown"]


def test_a_materialized_view_that_is_refreshed_in_between_is_not_read_as_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    table, view = filled(50), fresh("matview")
    run(f"CREATE MATERIALIZED VIEW {view} AS SELECT * FROM {table}")
    executed = pg_read.run

    def refresh_behind_the_snapshot(connection: Any, statement: str, parameters: Any = ()) -> Any:
        if statement.startswith("SELECT FROM"):
            run(f"REFRESH MATERIALIZED VIEW {view}")
        return executed(connection, statement, parameters)

    with source(view, id_column="id") as reading:
        monkeypatch.setattr(pg_read, "run", refresh_behind_the_snapshot)
        with pytest.raises(Unavailable, match="written anew"):
            reading.snapshot()
        monkeypatch.undo()
        token = reading.snapshot()
        assert sum(p.batch.num_rows for part in reading.partitions(9, token) for p in reading.scan(part, None, 9)) == 50


def test_a_foreign_table_that_cannot_be_read_is_a_typed_error() -> None:
    table = fresh("foreign")
    run(
        f"CREATE FOREIGN DATA WRAPPER {table}_w",
        f"CREATE SERVER {table}_s FOREIGN DATA WRAPPER {table}_w",
        f"CREATE FOREIGN TABLE {table} (id int, e vector(2)) SERVER {table}_s",
    )
    with source(table, id_column="id") as reading, pytest.raises(VecportError, match="no handler"):
        reading.describe()


def test_a_foreign_partition_is_not_cut_by_places() -> None:
    table = fresh("parts")
    run(
        f"CREATE FOREIGN DATA WRAPPER {table}_w",
        f"CREATE SERVER {table}_s FOREIGN DATA WRAPPER {table}_w",
        f"CREATE TABLE {table} (id int, e vector(2)) PARTITION BY RANGE (id)",
        f"CREATE TABLE {table}_a PARTITION OF {table} FOR VALUES FROM (0) TO (10)",
        f"CREATE FOREIGN TABLE {table}_b PARTITION OF {table} FOR VALUES FROM (10) TO (20) SERVER {table}_s",
    )
    with connect() as connection:
        found = find_table(connection, "public", table)
        assert found is not None
        # It has no pages of this server's, so that a range of them would be no row of it.
        assert [leaf.heap for leaf in found.parts] == [True, False]
        assert [count is None for count in pg_read._pages(connection, found)] == [False, True]
