"""A record that the table refuses is named, and nothing of its row group is written."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from vecport.connectors.contract import Mark
from vecport.connectors.postgres import PostgresTarget, blame
from vecport.errors import IntegrityError, NotRepresentable, Unavailable, VecportError
from vecport.model.batch import make_page

from .support import SHARD, fresh, plan_for, run, target
from .test_existing import dump_of

ROWS = 1_000
PLAIN = "id bigint PRIMARY KEY, embedding vector(4), n int, s text"


def refused(
    table: str, metadata: list[str], settings: dict[str, str] | None = None, **choices: Any
) -> tuple[VecportError, int]:
    """Append records to a table; return the error, and how often the server was asked to take a part of them."""
    collection, page = dump_of(metadata)
    keys = tuple(sorted({key for text in metadata[:50] for key in ("n", "s") if f'"{key}"' in text}))
    plan = plan_for(collection, [page], if_exists="append", metadata_keys=keys, settings=settings or {}, **choices)
    with target(table) as writing, pytest.MonkeyPatch.context() as patch:
        tries, failure = [0], blame._failure

        def counted(*arguments: Any) -> Any:
            tries[0] += 1
            return failure(*arguments)

        patch.setattr(blame, "_failure", counted)
        writing.prepare(plan)
        before = run(f"SELECT * FROM {table} ORDER BY 1")
        with pytest.raises(VecportError) as caught:
            writing.write(page, Mark(SHARD, 0))
        assert run(f"SELECT * FROM {table} ORDER BY 1") == before
        assert writing.acknowledged() == set()
        assert run("SELECT to_regclass('pg_temp._vecport_stage')") == [(None,)]
    return caught.value, tries[0]


def numbered(*bad: int, n: int = ROWS) -> list[str]:
    """Metadata of records of which some have n = -1."""
    return [f'{{"n":{-1 if i in bad else i},"s":"a"}}' for i in range(n)]


CHECK = "CHECK (n >= 0)"


@pytest.mark.parametrize("bad", [(0,), (ROWS - 1,), (617,), (617, 618, 900), (1, 2), tuple(range(ROWS))])
@pytest.mark.parametrize("on_conflict", ["replace", "skip"])
def test_the_first_record_that_breaks_a_check_is_named_in_few_tries(bad: tuple[int, ...], on_conflict: str) -> None:
    table = fresh()
    run(f"CREATE TABLE {table} ({PLAIN}, {CHECK})", f"INSERT INTO {table} (id, n) VALUES (5, 0), (-7, 7)")
    error, tries = refused(table, numbered(*bad), on_conflict=on_conflict)
    assert isinstance(error, NotRepresentable)
    assert error.what == f"record '{bad[0]}' is refused by the table (row group 0 of {SHARD})"
    assert f'violates check constraint "{table}_n_check"' in error.why
    assert error.safe == "nothing of its row group was written"
    assert tries <= ROWS.bit_length() + 1


@pytest.mark.parametrize(
    ("raising", "words"),
    [
        ("RAISE EXCEPTION 'no % here', NEW.n", "no -1 here"),
        ("RAISE EXCEPTION USING ERRCODE = 'ZZ123', MESSAGE = 'own code'", "own code"),
        ("PERFORM 1 / (NEW.n + 1)", "division by zero"),
        ("RAISE unique_violation USING MESSAGE = 'taken'", "taken"),
    ],
)
@pytest.mark.parametrize("kind", ["TRIGGER", "CONSTRAINT TRIGGER"])
def test_a_trigger_that_raises(raising: str, words: str, kind: str) -> None:
    table = fresh()
    deferred = "AFTER INSERT ON {0} DEFERRABLE INITIALLY DEFERRED" if "CON" in kind else "BEFORE INSERT ON {0}"
    run(
        f"CREATE TABLE {table} ({PLAIN})",
        f"CREATE FUNCTION f{table}() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$ BEGIN IF NEW.n < 0 THEN {raising}; END IF; RETURN NEW; END $$",
        f"CREATE {kind} t {deferred.format(table)} FOR EACH ROW EXECUTE FUNCTION f{table}()",
    )
    error, _ = refused(table, numbered(300, 301))
    assert "record '300' is refused" in error.what
    assert words in error.why


COLUMNS = {
    "varchar(3)": ('"abc"', '"abcd"'),
    "char(2)": ('"ab"', '"abc"'),
    "int": ("7", "3000000000"),
    "numeric(3,1)": ('"1.0"', '"1000.0"'),
    "date": ('"2024-02-29"', '"2023-02-29"'),
    "text NOT NULL": ('"x"', "null"),
    "text CHECK (length(c) < 3)": ('"x"', '"xxx"'),
}


@pytest.mark.parametrize("column", COLUMNS)
def test_a_value_that_the_chosen_column_does_not_take(column: str) -> None:
    good, bad = COLUMNS[column]
    table = fresh()
    run(f"CREATE TABLE {table} (id bigint PRIMARY KEY, embedding vector(4), c {column})")
    metadata = [f'{{"s":{bad if i in (40, 77) else good}}}' for i in range(100)]
    error, tries = refused(table, metadata, {"column.s": "c"})
    assert isinstance(error, NotRepresentable)
    assert "record '40'" in error.what
    assert tries <= 8


def test_a_key_of_another_table_and_a_second_unique_column() -> None:
    table, other = fresh(), fresh()
    run(
        f"CREATE TABLE {other} (n int PRIMARY KEY)", f"INSERT INTO {other} SELECT generate_series(0, 99)",
        f"CREATE TABLE {table} (id bigint PRIMARY KEY, embedding vector(4), n int REFERENCES {other}, s text UNIQUE)",
    )  # fmt: skip
    error, _ = refused(table, [f'{{"n":{i if i != 50 else 1000},"s":"{i}"}}' for i in range(100)])
    assert "record '50'" in error.what
    assert "foreign key" in error.why
    error, _ = refused(table, [f'{{"n":{i},"s":"{30 if i == 60 else i}"}}' for i in range(100)])
    assert isinstance(error, IntegrityError)
    assert "record '60'" in error.what, "the second of two, since the first one alone is welcome"


def test_a_new_table_names_the_record_too() -> None:
    """Somebody adds a rule to the table while it is filled."""
    collection, page = dump_of(numbered(3, n=10))
    with target(collection.name) as writing:
        writing.prepare(plan_for(collection, [page]))
        run(f"ALTER TABLE {collection.name} ADD CHECK ((metadata->>'n')::int >= 0)")
        with pytest.raises(NotRepresentable, match="record '3' is refused"):
            writing.write(page, Mark(SHARD, 0))
        assert (writing.count(), writing.acknowledged()) == (0, set())
        run(f"ALTER TABLE {collection.name} DROP CONSTRAINT {collection.name}_metadata_check")
        writing.write(page, Mark(SHARD, 0))
        assert (writing.count(), writing.acknowledged()) == (10, {Mark(SHARD, 0)})


def test_one_id_twice_is_still_said_as_such() -> None:
    collection, page = dump_of(numbered(n=4))
    twice = make_page(
        collection, ids=["0", "1", "2", "1"], metadata=page.column("metadata"),
        vectors={"embedding": page.column("vector_embedding")},
    )  # fmt: skip
    with target(collection.name) as writing:
        writing.prepare(plan_for(collection, [page]))
        with pytest.raises(IntegrityError, match="two records have the same key"):
            writing.write(twice, Mark(SHARD, 0))
        assert writing.count() == 0


def test_what_the_search_itself_meets_is_not_taken_for_the_record(monkeypatch: pytest.MonkeyPatch) -> None:
    collection, page = dump_of(numbered(3, n=10))
    table = collection.name
    run(f"CREATE TABLE {table} ({PLAIN}, {CHECK})")
    plan = plan_for(collection, [page], if_exists="append", metadata_keys=("n", "s"))
    load, calls = PostgresTarget._load, [0]

    def lost(*arguments: Any) -> None:
        calls[0] += 1
        if calls[0] == 3:
            raise psycopg.OperationalError("server closed the connection unexpectedly")
        load(*arguments)

    monkeypatch.setattr(PostgresTarget, "_load", lost)
    with target(table) as writing:
        writing.prepare(plan)
        with pytest.raises(Unavailable):
            writing.write(page, Mark(SHARD, 0))
        with pytest.raises(NotRepresentable, match="record '3'"):
            writing.write(page, Mark(SHARD, 0))
    assert run(f"SELECT count(*) FROM {table}") == [(0,)]
