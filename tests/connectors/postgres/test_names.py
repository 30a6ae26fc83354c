"""Names in Postgres: whatever they hold, they are only names."""

from __future__ import annotations

import pytest
from psycopg import sql

from vecport.errors import NotFound, UsageError
from vecport.model.collection import renamed

from .support import CONNECTOR, NAMES, connect, fresh, pages, records, run, server_place, source


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
