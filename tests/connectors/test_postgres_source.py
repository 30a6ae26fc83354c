"""Reading tables of Postgres: one snapshot whatever is written meanwhile, every row once, and what is refused."""

from __future__ import annotations

import json
import random
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import psycopg
import pyarrow as pa
import pytest
from psycopg import sql
from test_postgres_support import (
    CONNECTOR,
    connect,
    dsn,
    free,
    fresh,
    load,
    on_table,
    other_database,
    pages,
    pump,
    records,
    rows,
    run,
    server_place,
    source,
)

from vecport.connectors.contract import Selection
from vecport.connectors.postgres import source as pg_source
from vecport.connectors.postgres.catalog import find_table
from vecport.errors import (
    AuthenticationFailed,
    IntegrityError,
    NotFound,
    NotRepresentable,
    Unavailable,
    UsageError,
    VecportError,
)
from vecport.model.batch import dense_matrix
from vecport.model.collection import Field, renamed


def filled(count: int, dim: int = 8, extra: str = "") -> str:
    """A table of several pages, whose vector says which row it belongs to."""
    table = fresh()
    run(
        f"CREATE TABLE {table} (id int8 PRIMARY KEY, n int4, pad text, e vector({dim}){extra})",
        f"INSERT INTO {table} SELECT i, i, repeat('x', 100), array_fill(i::real, ARRAY[{dim}])::vector"
        f" FROM generate_series(1, {count}) i",
    )
    return table


# ---- what describe finds ----


def test_describe_reads_the_definition_from_the_catalogs() -> None:
    table = fresh()
    run(
        f"CREATE TABLE {table} (title varchar(20) NOT NULL, id int8 PRIMARY KEY, embedding vector(3), n int4)",
        f"CREATE INDEX ON {table} USING hnsw (embedding vector_cosine_ops) WITH (m = 8, ef_construction = 32)",
        f"INSERT INTO {table} VALUES ('a', 1, '[1,2,3]', NULL)",
    )
    with source(table) as reading:
        found = reading.describe()
    collection = found.collection
    assert (collection.name, collection.id_kind, found.count) == (table, "int", 1)
    assert collection.key == (Field("id", "int8", nullable=False),)
    assert collection.fields == (Field("title", "varchar(20)", nullable=False), Field("n", "int4"))
    (vector,) = collection.vectors
    assert (vector.name, vector.dim, vector.metric, vector.dtype) == ("embedding", 3, "cosine", "float32")
    assert collection.native == {
        "schema": "public",
        "table": table,
        "vectors": {"embedding": {"dim": 3, "nullable": True}},
        "vector_indexes": [
            {
                "name": f"{table}_embedding_idx",
                "vector": "embedding",
                "method": "hnsw",
                "opclass": "vector_cosine_ops",
                "options": ["m=8", "ef_construction=32"],
            }
        ],
        "counted": {},
        "types": {},
    }
    assert found.passport is None
    assert found.version.startswith("PostgreSQL ")
    assert "pgvector 0." in found.version


@pytest.mark.parametrize(
    ("key", "kind", "values", "ids"),
    [
        ("k int2", "int", ["-7"], ["-7"]),
        ("k int8", "int", ["9223372036854775807"], ["9223372036854775807"]),
        ("k uuid", "uuid", ["'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'"], ["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"]),
        ("k text", "string", ["'a\"b'"], ['a"b']),
        ("k varchar(9)", "string", ["'7'"], ["7"]),
        ("k char(3)", "string", ["'a'"], ["a  "]),
        ("k date", "string", ["'0044-03-15 BC'"], ["0044-03-15 BC"]),
        ("k numeric(6,2)", "string", ["1.5"], ["1.50"]),
        ("k bool", "string", ["true"], ["true"]),
        ("k bit(4)", "string", ["B'0110'"], ["0110"]),
        ("k varbit", "string", ["B'01'"], ["01"]),
        ("k name", "string", ["'n'"], ["n"]),
        ("k mood_key", "string", ["'o''k'"], ["o'k"]),
        ("k inet", "string", ["'10.0.0.1'"], ["10.0.0.1/32"]),
        ("k timetz(1)", "string", ["'12:00:00.55+01'"], ["12:00:00.6+01"]),
        ("k oid", "string", ["4294967295"], ["4294967295"]),
    ],
)
def test_ids_of_every_kind_of_key(key: str, kind: str, values: list[str], ids: list[str]) -> None:
    table = fresh()
    if "mood_key" in key:
        run("DROP TYPE IF EXISTS mood_key CASCADE", "CREATE TYPE mood_key AS ENUM ('sad', 'o''k')")
    run(f"CREATE TABLE {table} ({key} PRIMARY KEY, e vector(1))", f"INSERT INTO {table} VALUES ({values[0]}, '[1]')")
    collection, found = pages(table)
    assert collection.id_kind == kind
    assert [row["id"] for row in records(found)] == ids
    assert records(found)[0]["metadata"] == "{}"
    copy = pump(table)
    assert run(f"SELECT k::text, e FROM {copy}") == run(f"SELECT k::text, e FROM {table}")
    with source(table) as reading:
        reading.snapshot()
        assert reading.fetch([("", ids[0])]).num_rows == 1
        # What the column cannot hold is not in it, and not another record cut short.
        assert reading.fetch([("", ids[0] + "1" * 70), ("", "no such")]).num_rows == 0
        assert reading.fetch([("", "no such"), ("", ids[0])]).num_rows == 1


def test_a_composite_key_is_a_json_array_in_the_order_of_the_key() -> None:
    table = fresh()
    run(
        f"CREATE TABLE {table} (e vector(1), at timestamptz, b uuid, a int4, t text, flag bool, n int4,"
        " PRIMARY KEY (t, a, b, at, flag))",
        f"""INSERT INTO {table} SELECT '[1]', '2024-01-01 00:00:00+00', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', i,
        e'q" \\\\ \\n\u00e9', i = 1, 7 FROM generate_series(1, 3) i""",
    )
    collection, found = pages(table)
    assert collection.id_kind == "composite"
    assert [field.name for field in collection.key] == ["t", "a", "b", "at", "flag"]
    ids = [row["id"] for row in records(found)]
    assert json.loads(ids[0]) == [
        'q" \\ \n\u00e9', 1, "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "2024-01-01 00:00:00+00", True,
    ]  # fmt: skip
    assert ids[0].startswith('["q\\" \\\\ \\n')
    copy = pump(table)
    columns = "t, a, b, at, flag, n, e"
    assert run(f"SELECT {columns} FROM {copy} ORDER BY a") == run(f"SELECT {columns} FROM {table} ORDER BY a")
    with source(table) as reading:
        reading.snapshot()
        got = reading.fetch([("", ids[1])])
        assert got.column("id").to_pylist() == [ids[1]]
        assert reading.fetch([("", "[1]"), ("", "x"), ("", "{}")]).num_rows == 0


def test_a_table_without_a_key_needs_a_named_column() -> None:
    table = fresh()
    run(f"CREATE TABLE {table} (a int4, b text, e vector(1))")
    run(f"INSERT INTO {table} VALUES (1, 'x', NULL), (1, 'y', '[1]')")
    with source(table) as reading, pytest.raises(NotRepresentable, match="--source-option id-column=") as caught:
        reading.describe()
    assert "no primary key" in str(caught.value)
    collection, found = pages(table, id_column="a,b")
    assert collection.id_kind == "composite"
    assert [row["id"] for row in records(found)] == ['[1,"x"]', '[1,"y"]']
    # Repeated ids are data; whoever writes them decides.
    assert [row["id"] for row in records(pages(table, id_column="a")[1])] == ["1", "1"]
    run(f"INSERT INTO {table} VALUES (NULL, 'z', NULL)")
    with pytest.raises(NotRepresentable, match="id column 'a' holds NULL in 1 of 3 records"):
        pages(table, id_column="a")
    for wrong in ("nothing", "a,a", "a,"):
        with source(table, id_column=wrong) as reading:
            if wrong == "a,":
                assert reading.describe().collection.id_kind == "int"
                continue
            with pytest.raises(UsageError):
                reading.describe()


def test_a_document_column_is_the_document_and_no_field() -> None:
    table = fresh()
    run(
        f"CREATE TABLE {table} (id int4 PRIMARY KEY, body text, n int4, e vector(1))",
        f"INSERT INTO {table} VALUES (1, 'words', 1, '[1]'), (2, NULL, 2, '[1]'), (3, '', 3, '[1]')",
    )
    collection, found = pages(table, document_column="body")
    assert [field.name for field in collection.fields or ()] == ["n"]
    assert [row["document"] for row in records(found)] == ["words", None, ""]
    run(f"ALTER TABLE {table} ALTER COLUMN body TYPE varchar(9)")
    with source(table, document_column="body") as reading:
        assert any("'body' is restored as text" in note for note in reading.describe().notes)
    for wrong in ("n", "nothing", "id"):
        with source(table, document_column=wrong) as reading, pytest.raises(UsageError):
            reading.describe()


@pytest.mark.parametrize(
    ("indexes", "metric"),
    [
        (["hnsw (e vector_cosine_ops)"], "cosine"),
        (["hnsw (e vector_ip_ops)"], "dot"),
        (["hnsw (e vector_l2_ops)"], "l2"),
        (["hnsw (e vector_l1_ops)"], "l1"),
        (["ivfflat (e vector_cosine_ops) WITH (lists = 1)"], "cosine"),
        (["hnsw ((e::halfvec(3)) halfvec_ip_ops)"], "dot"),
        (["hnsw ((e::halfvec(2)) halfvec_ip_ops)"], "unknown"),
        (["hnsw (e vector_cosine_ops)", "ivfflat (e vector_cosine_ops)"], "cosine"),
        (["hnsw (e vector_cosine_ops)", "hnsw (e vector_l2_ops)"], "unknown"),
        (["hnsw ((binary_quantize(e)::bit(3)) bit_hamming_ops)"], "unknown"),
        (["hnsw ((subvector(e, 1, 2)::vector(2)) vector_l2_ops)"], "unknown"),
        (["btree (n)"], "unknown"),
        ([], "unknown"),
    ],
)
def test_the_metric_is_that_of_the_index_and_never_guessed(indexes: list[str], metric: str) -> None:
    table = fresh()
    run(f"CREATE TABLE {table} (id int PRIMARY KEY, n int, e vector(3))")
    for index in indexes:
        run(f"CREATE INDEX ON {table} USING {index}")
    with source(table) as reading:
        found = reading.describe()
    assert found.collection.vectors[0].metric == metric
    if len(indexes) == 2 and metric == "unknown":
        assert any("indexes with different metrics" in note for note in found.notes)


def test_a_vector_column_without_a_dimension_takes_that_of_its_vectors() -> None:
    table = fresh()
    run(f"CREATE TABLE {table} (id int PRIMARY KEY, e vector)")
    with source(table) as reading, pytest.raises(NotRepresentable, match="holds none yet"):
        reading.describe()
    run(f"INSERT INTO {table} VALUES (1, '[1,2]'), (2, NULL), (3, '[3,4]')")
    collection, found = pages(table)
    assert collection.vectors[0].dim == 2
    assert [row["vector_e"] for row in records(found)] == [[1, 2], None, [3, 4]]
    with source(table) as reading:
        reading.describe()
        run(f"INSERT INTO {table} VALUES (4, '[1,2,3]')")
        with pytest.raises(NotRepresentable, match="2 to 3 dimensions"):
            reading.snapshot()


def test_what_does_not_travel_is_said() -> None:
    table, other = fresh(), fresh()
    with connect() as connection:
        virtual = "VIRTUAL" if connection.info.server_version >= 180_000 else "STORED"
    run(
        f"CREATE TABLE {other} (id int PRIMARY KEY)",
        f"CREATE TABLE {table} (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, a int DEFAULT 7,"
        f' b int GENERATED ALWAYS AS (a * 2) STORED, c text COLLATE "C" UNIQUE, d int REFERENCES {other}, j json,'
        f" v int GENERATED ALWAYS AS (a + 1) {virtual}, e vector(1), CONSTRAINT positive CHECK (a > 0))",
        f"CREATE INDEX my_index ON {table} (a)",
        f"COMMENT ON TABLE {table} IS 'mine'",
        f"INSERT INTO {table} (c, j) VALUES ('x', '1')",
    )
    with source(table) as reading:
        notes = "\n".join(reading.describe().notes)
    for words in ("generated columns travel as plain values, without their expression: b, v",
                  "default values of columns do not travel: a", "collations of columns do not travel: c", "my_index",
                  "check positive", "foreign key", "unique constraint", "table's comment", "white space and key order",
                  ):  # fmt: skip
        assert words in notes
    _, found = pages(table)
    assert json.loads(records(found)[0]["metadata"]) == {"a": 7, "b": 14, "c": "x", "d": None, "j": 1, "v": 8}
    copy = pump(table)
    assert run(f"SELECT id, a, b, c, d, v FROM {copy}") == [(1, 7, 14, "x", None, 8)]


def test_inheritance_is_refused_by_name() -> None:
    old, child = fresh(), fresh()
    run(f"CREATE TABLE {old} (id int PRIMARY KEY, e vector(1))", f"CREATE TABLE {child} () INHERITS ({old})")
    with source(old) as reading, pytest.raises(NotRepresentable, match=child):
        reading.describe()


# ---- partitioned tables, views and the like ----


def partitioned(count: int = 3_000) -> str:
    """A table of four partitions: one below another, one with its columns in another order, one empty."""
    table = fresh("parts")
    run(
        f"CREATE TABLE {table} (id int PRIMARY KEY, n int, pad text, e vector(2)) PARTITION BY RANGE (id)",
        f"CREATE TABLE {table}_b PARTITION OF {table} FOR VALUES FROM (1000) TO (2000) PARTITION BY RANGE (id)",
        f"CREATE TABLE {table}_b1 PARTITION OF {table}_b FOR VALUES FROM (1000) TO (2000)",
        f"CREATE TABLE {table}_a (e vector(2), gone int, pad text, n int, id int PRIMARY KEY)",
        f"ALTER TABLE {table}_a DROP gone",
        f"ALTER TABLE {table} ATTACH PARTITION {table}_a FOR VALUES FROM (0) TO (1000)",
        f"CREATE TABLE {table}_c PARTITION OF {table} DEFAULT",
        f"CREATE TABLE {table}_d PARTITION OF {table} FOR VALUES FROM (100000) TO (200000)",
        f"CREATE INDEX ON {table} USING hnsw (e vector_cosine_ops)",
        f"INSERT INTO {table} SELECT i, i, repeat('x', 200), '[1,2]' FROM generate_series(1, {count}) i",
    )
    return table


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
        ranges = reading.partitions(300, token)
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
        parts = reading.partitions(10, token)
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
        parts = reading.partitions(10, token)
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
    executed = pg_source.run

    def refresh_behind_the_snapshot(connection: Any, statement: str, parameters: Any = ()) -> Any:
        if statement.startswith("SELECT FROM"):
            run(f"REFRESH MATERIALIZED VIEW {view}")
        return executed(connection, statement, parameters)

    with source(view, id_column="id") as reading:
        monkeypatch.setattr(pg_source, "run", refresh_behind_the_snapshot)
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
        assert [count is None for count in pg_source._pages(connection, found)] == [False, True]


# ---- names ----

NAMES = [
    'With "Quotes", UPPER; and it\'s', "select", "dot.ted", "per%cent %s %(x)s $1 {}", "\u00e9 \u65e5 back\\slash",
    "new\nline -- /*", "a" * 63, "\u00e9" * 31, '"', 'x"; drop table canary; --',
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_any_name_of_table_schema_column_and_field_is_only_a_name(name: str) -> None:
    run("CREATE TABLE IF NOT EXISTS canary (id int)")
    names = sql.Identifier(name)
    with connect(autocommit=True) as connection:
        connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(names))
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(names))
        connection.execute(
            sql.SQL("CREATE TABLE {0}.{0} ({0} int PRIMARY KEY, e vector(2), {1} text, {2} int[], {3} jsonb)").format(
                names, *(sql.Identifier(prefix + name[: 63 - 2 * len(name.encode()) // len(name)]) for prefix in "tuv")
            )
        )
        connection.execute(sql.SQL("INSERT INTO {0}.{0} VALUES (1, '[1,2]', 'x', '{{1}}', '[]')").format(names))
        connection.execute(sql.SQL("CREATE INDEX ON {0}.{0} USING hnsw (e vector_l2_ops)").format(names))
    options = {"schema": name}
    listed = [summary.name for summary in CONNECTOR.collections(server_place(**options))]
    assert listed == [name]
    collection, found = pages(name, **options)
    assert collection.vectors[0].metric == "l2"
    assert collection.key[0].name == name
    assert [row["id"] for row in records(found)] == ["1"]
    quoted = ".".join(['"' + name.replace('"', '""') + '"'] * 2)
    with source(quoted) as reading:
        assert reading.describe().collection == renamed(collection, quoted)
        reading.snapshot()
        assert reading.fetch([("", "1")]).num_rows == 1
        assert [k.column("id").to_pylist() for k in reading.keys()] == [["1"]]
    assert run("SELECT count(*) FROM canary") == [(0,)]


def test_tables_are_found_along_the_search_path_and_never_folded() -> None:
    name = fresh("Mixed")
    with connect(autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE TABLE {} (id int PRIMARY KEY, e vector(1))").format(sql.Identifier(name)))
    assert pages(name)[0].name == name
    assert pages(f"public.{name}")[0].name == f"public.{name}"
    for wrong in (name.lower(), f"PUBLIC.{name}", f" {name}"):
        with source(wrong) as reading, pytest.raises(NotFound, match=name):
            reading.describe()
    with pytest.raises(UsageError), source('"x') as reading:
        reading.describe()
    with pytest.raises(UsageError), source("a.b", None) as reading, source('"a"."b"."c"') as other:
        other.describe()


# ---- the snapshot ----


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
        ranges = coordinator.partitions(-(-rows // parts), token)
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
        ranges = reading.partitions(target_rows, token)
        assert ranges == reading.partitions(target_rows, json.loads(json.dumps(token)))
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
        part = reading.partitions(500, token)[2]
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
            assert len(list(reading.scan(reading.partitions(100, token)[0], None, 3))) == 4
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
    executed = pg_source.run

    def truncate_before_the_lock(connection: Any, statement: str, parameters: Any = ()) -> Any:
        if statement.startswith("LOCK TABLE"):
            run(f"TRUNCATE {table}", f"INSERT INTO {table} (id, n) SELECT i, i FROM generate_series(1, 7) i")
        return executed(connection, statement, parameters)

    monkeypatch.setattr(pg_source, "run", truncate_before_the_lock)
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


# ---- permissions, encodings, places ----


def test_row_level_security_is_an_error_and_not_a_smaller_table() -> None:
    table = filled(10)
    run(
        "DO $$ BEGIN CREATE ROLE reader LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$",
        f"GRANT SELECT ON {table} TO reader",
    )
    place = _as_role("reader")
    with source(table, place=place) as reading:
        assert reading.describe().count == 10
    run(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY", f"CREATE POLICY few ON {table} USING (id < 3)")
    with (
        source(table, place=place) as reading,
        pytest.raises(AuthenticationFailed, match="row-level security") as caught,
    ):
        reading.describe()
    assert (caught.value.exit_code, caught.value.safe) == (12, "nothing was read or written")
    assert "BYPASSRLS" in caught.value.next
    with source(table) as reading:
        assert any("policy few" in note for note in reading.describe().notes)


def test_a_missing_permission_names_the_table() -> None:
    table = filled(10)
    run("DO $$ BEGIN CREATE ROLE reader LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$")
    with source(table, place=_as_role("reader")) as reading:
        with pytest.raises(AuthenticationFailed, match=f"permission denied for table {table}"):
            reading.describe()
        with pytest.raises(AuthenticationFailed):
            reading.snapshot()


def _as_role(name: str) -> Any:
    from dataclasses import replace

    return replace(server_place(), user=name)


def other_dsn(database: str) -> str:
    return psycopg.conninfo.make_conninfo(dsn(), dbname=database)


def test_text_of_an_unknown_encoding_is_refused() -> None:
    run("DROP DATABASE IF EXISTS bytes", "CREATE DATABASE bytes ENCODING SQL_ASCII LOCALE 'C' TEMPLATE template0")
    with psycopg.connect(other_dsn("bytes"), autocommit=True) as connection:
        connection.execute("SET client_encoding = 'SQL_ASCII'")
        connection.execute("CREATE TABLE good (id int PRIMARY KEY, t text)")
        connection.execute("CREATE TABLE bad (id text PRIMARY KEY)")
        connection.execute(b"INSERT INTO good VALUES (1, '\xc3\xa9')")
        connection.execute(b"INSERT INTO bad VALUES ('\xe9')")
    place = other_database("bytes")
    with source("good", place=place) as reading:
        reading.snapshot()
        (page,) = reading.scan({"from": 0, "to": None}, None, 10)
        assert page.batch.column("metadata").to_pylist() == ['{"t":"\u00e9"}']
    with source("bad", place=place) as reading:
        reading.snapshot()
        with pytest.raises(NotRepresentable, match="not UTF-8"):
            list(reading.scan({"from": 0, "to": None}, None, 10))


def test_text_of_another_encoding_is_converted() -> None:
    run("DROP DATABASE IF EXISTS latin", "CREATE DATABASE latin ENCODING LATIN1 LOCALE 'C' TEMPLATE template0")
    with psycopg.connect(other_dsn("latin"), autocommit=True) as connection:
        connection.execute("CREATE TABLE words (id int PRIMARY KEY, t text)")
        connection.execute("INSERT INTO words VALUES (1, '\u00e9')")
    with source("words", place=other_database("latin")) as reading:
        reading.snapshot()
        (page,) = reading.scan({"from": 0, "to": None}, None, 10)
    assert page.batch.column("metadata").to_pylist() == ['{"t":"\u00e9"}']


def test_what_is_missing_is_said() -> None:
    table = fresh("a_first")
    run(f"CREATE TABLE {table} (id int PRIMARY KEY, e vector(1))")
    with source("missing") as reading, pytest.raises(NotFound, match=table) as caught:
        reading.describe()
    assert caught.value.exit_code == 10
    with source(table, place=other_database("nowhere")) as reading, pytest.raises(NotFound, match="nowhere"):
        reading.describe()
    with source("_vecport_ack") as reading, pytest.raises(UsageError):
        reading.describe()


def test_a_table_of_vecport_that_was_changed_is_read_as_it_is() -> None:
    collection, batches = free(3)
    load(collection, batches, passport={"a": 1})
    with source(collection.name) as reading:
        found = reading.describe()
    assert (found.collection.fields, found.collection.key) == (None, ())
    assert found.passport == {"a": 1}
    on_table("ALTER TABLE {} ADD COLUMN more int", collection.name)
    with source(collection.name) as reading:
        found = reading.describe()
    assert [field.name for field in found.collection.fields or ()] == ["metadata", "more"]
    assert found.passport is None
    assert any("'more' is not known" in note for note in found.notes)
    on_table("ALTER TABLE {} DROP COLUMN more", collection.name)
    with source(collection.name) as reading:
        assert reading.describe().passport == {"a": 1}
    for broken in ("vecport: ", "vecport: {}", "vecport: [1]", 'vecport: {"vecport":99}', "vecport: {" + "[" * 5_000):
        run(f"COMMENT ON TABLE {collection.name} IS '{broken}'")
        with source(collection.name) as reading:
            assert reading.describe().passport is None
