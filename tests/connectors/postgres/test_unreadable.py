"""What of Postgres cannot be read whole is refused: row security, permissions, encodings, missing tables."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import psycopg
import pytest

from vecport.errors import AuthenticationFailed, NotFound, NotRepresentable, UsageError

from .support import dsn, filled, free, fresh, load, on_table, other_database, run, server_place, source


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
    assert (found.collection.fields, found.collection.key) == (None, ())
    assert found.passport == {"a": 1}
    assert any("'more' is not of the import" in note for note in found.notes)
    on_table("ALTER TABLE {} DROP COLUMN more", collection.name)
    with source(collection.name) as reading:
        assert reading.describe().passport == {"a": 1}
    for broken in ("vecport: ", "vecport: {}", "vecport: [1]", 'vecport: {"vecport":99}', "vecport: {" + "[" * 5_000):
        run(f"COMMENT ON TABLE {collection.name} IS '{broken}'")
        with source(collection.name) as reading:
            assert reading.describe().passport is None
