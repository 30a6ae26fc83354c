"""Free metadata into the typed columns of a table that the user made."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vecport.connectors.contract import Mark
from vecport.errors import NotRepresentable, UsageError
from vecport.model.batch import make_page
from vecport.operations.export import export
from vecport.operations.import_ import import_

from .support import SHARD, free, fresh, load, pages, plan_for, run, server_place, target

COLUMNS = (
    "key text PRIMARY KEY, emb vector(4), title text, n int, price float8, tags text[], extra jsonb, day date,"
    " made timestamptz NOT NULL DEFAULT '2020-01-01 00:00:00+00', twice int GENERATED ALWAYS AS (n * 2) STORED"
)
FULL = '{"day":"2024-02-29","extra":{"a":[1,null]},"n":7,"price":1.5,"tags":["a","b"],"title":"T"}'


def users_table(name: str, *rows: str) -> None:
    run(f"DROP TABLE IF EXISTS {name}", f"CREATE TABLE {name} ({COLUMNS})")
    run(*(f"INSERT INTO {name} (key, title, n, made) VALUES {row}" for row in rows), "SELECT 1")


def dump_of(metadata: list[str]) -> tuple[Any, Any]:
    collection, (page,) = free(len(metadata))
    made = make_page(
        collection,
        ids=[str(i) for i in range(len(metadata))],
        metadata=metadata,
        vectors={"embedding": page.column("vector_embedding")},
    )
    return collection, made


def append(collection: Any, page: Any, keys: tuple[str, ...], **settings: str) -> None:
    chosen = {key.replace("__", "."): value for key, value in settings.items()}
    load(collection, [page], if_exists="append", metadata_keys=keys, settings=chosen)


KEYS = ("day", "extra", "n", "price", "tags", "title")


def test_keys_go_into_columns_of_their_names_and_others_are_left_alone() -> None:
    collection, page = dump_of([FULL, '{"extra":null,"title":null}', "{}"])
    users_table(collection.name, "('0', 'old', 1, '2021-01-01 00:00:00+00')", "('77', 'mine', 5, now())")
    append(collection, page, KEYS)
    columns = "key, emb::text, title, n, price, tags, extra::text, day::text, extract(year FROM made)::int, twice"
    assert run(f"SELECT {columns} FROM {collection.name} WHERE key <> '77' ORDER BY key") == [
        ("0", "[1,2,3,4]", "T", 7, 1.5, ["a", "b"], '{"a": [1, null]}', "2024-02-29", 2021, 14),
        ("1", "[5,6,7,8]", None, None, None, None, "null", None, 2020, None),
        ("2", "[9,10,11,12]", None, None, None, None, None, None, 2020, None),
    ]
    assert run(f"SELECT title, n FROM {collection.name} WHERE key = '77'") == [("mine", 5)]
    assert run(f"SELECT obj_description('{collection.name}'::regclass)") == [(None,)]


def test_a_key_goes_into_the_column_that_is_named() -> None:
    collection, page = dump_of(['{"count":3,"n":"text"}'])
    users_table(collection.name)
    append(collection, page, ("count", "n"), column__count="n", column__n="title")
    assert run(f"SELECT n, title FROM {collection.name}") == [(3, "text")]


@pytest.mark.parametrize(
    ("keys", "settings", "words"),
    [
        (("n", "other"), {}, "'other' -> 'other': there is no such column"),
        (("n",), {"column.n": "nothing"}, "'n' -> 'nothing': there is no such column"),
        (("n",), {"column.n": "key"}, "the column is taken"),
        (("n",), {"column.n": "emb"}, "the column is"),
        (("n", "m"), {"column.m": "n"}, "the column is taken"),
        (("n",), {"column.n": "twice"}, "computed by the database"),
        (("n",), {"column.n": 'n"; DROP TABLE canary; --'}, "no such column"),
        (("twice", "n"), {}, "computed by the database"),
    ],
)
def test_a_key_without_a_place_is_refused_before_the_first_write(
    keys: tuple[str, ...], settings: dict[str, str], words: str
) -> None:
    collection, page = dump_of(['{"n":1}'])
    users_table(collection.name)
    plan = plan_for(collection, [page], if_exists="append", metadata_keys=keys, settings=settings)
    with target(collection.name) as writing, pytest.raises(NotRepresentable, match=words) as caught:
        writing.prepare(plan)
    assert "--set column.KEY=COLUMN" in str(caught.value)


def test_choices_that_mean_nothing_are_refused() -> None:
    collection, page = dump_of(['{"n":1}'])
    users_table(collection.name)
    settings = {"column.title": "title"}
    plan = plan_for(collection, [page], if_exists="append", metadata_keys=("n",), settings=settings)
    with target(collection.name) as writing:
        with pytest.raises(UsageError, match=r"--set column\.title=\.\.\.: no record has this key"):
            writing.prepare(plan)
        with pytest.raises(UsageError, match=r"--set column\.KEY=COLUMN is for a table that is there"):
            writing.prepare(plan_for(collection, [page], metadata_keys=("title",), settings=settings))


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ("id int, n int, embedding vector(4)", "no primary key of one column"),
        ("id int, n int, embedding vector(4), PRIMARY KEY (id, n)", "no primary key of one column"),
        ("id int PRIMARY KEY, n int, embedding vector(5)", "no place for the vector 'embedding'"),
        ("id int PRIMARY KEY, n int, embedding halfvec(4)", "no place for the vector"),
        ("id int PRIMARY KEY, n int, a vector(4), b vector(4)", "there is no column 'embedding'"),
        ("id int PRIMARY KEY, n int", "no place for the vector"),
    ],
)
def test_a_table_without_a_place_for_ids_or_vectors_is_refused(shape: str, words: str) -> None:
    collection, page = dump_of(['{"n":1}'])
    run(f"CREATE TABLE {collection.name} ({shape})")
    with target(collection.name) as writing, pytest.raises(NotRepresentable, match=words):
        writing.prepare(plan_for(collection, [page], if_exists="append", metadata_keys=("n",)))


@pytest.mark.parametrize(
    "metadata",
    ['{"n":1.5}', '{"n":"1"}', '{"n":3000000000}', '{"price":1}', '{"day":"2024-2-3"}', '{"day":20240203}',
     '{"title":1}', '{"tags":"a"}', '{"tags":[1]}', '{"n":1,"new":1}', '{"extra":{"$vp":"NaN"}}'],
)  # fmt: skip
def test_a_value_that_is_no_value_of_its_column_is_refused_with_its_group(metadata: str) -> None:
    collection, page = dump_of(['{"n":1}', metadata])
    users_table(collection.name)
    with target(collection.name) as writing:
        writing.prepare(plan_for(collection, [page], if_exists="append", metadata_keys=KEYS))
        with pytest.raises(NotRepresentable):
            writing.write(page, Mark(SHARD, 0))
        assert (writing.count(), writing.acknowledged()) == (0, set())


def test_the_acknowledgement_stays_transactional() -> None:
    collection, page = dump_of(['{"n":1}', '{"n":2}'])
    users_table(collection.name)
    plan = plan_for(collection, [page], if_exists="append", metadata_keys=("n",))
    with target(collection.name) as writing:
        writing.prepare(plan)
        writing.write(page.slice(0, 1), Mark(SHARD, 0))
    run(f"UPDATE {collection.name} SET n = 100")
    with target(collection.name) as writing:
        writing.prepare(replace(plan, resume=True))
        writing.attach(replace(plan, resume=True))
        assert writing.acknowledged() == {Mark(SHARD, 0)}
        writing.write(page.slice(0, 1), Mark(SHARD, 0))
        writing.write(page.slice(1, 1), Mark(SHARD, 1))
        writing.finish({})
    assert run(f"SELECT key, n FROM {collection.name} ORDER BY key") == [("0", 100), ("1", 2)]


def test_a_dump_of_another_database_goes_into_a_users_table(tmp_path: Path) -> None:
    collection, page = dump_of(['{"n":1}', '{"n":2,"title":"x"}'])
    load(collection, [page])
    address, table = server_place().text, fresh("mine")
    export(address, tmp_path / "dump", collection=collection.name)
    users_table(table, "('1', 'mine', 9, now())")
    done = import_(tmp_path / "dump", address, collection=table, if_exists="append", on_conflict="skip")
    assert done.written_rows == 2
    assert run(f"SELECT key, n, title FROM {table} ORDER BY key") == [("0", 1, None), ("1", 9, "mine")]
    with pytest.raises(NotRepresentable, match="'title' -> 'nowhere'"):
        import_(tmp_path / "dump", address, collection=table, if_exists="append", settings={"column.title": "nowhere"})


@pytest.mark.parametrize("choice", ["skip", "replace", "fail"])
def test_a_generated_column_of_a_table_is_never_written(choice: str) -> None:
    table = fresh()
    run(
        f"CREATE TABLE {table} (id int PRIMARY KEY, b int GENERATED ALWAYS AS (a * 2) STORED, a int, z text)",
        f"INSERT INTO {table} (id, a, z) VALUES (1, 21, 'z')",
    )
    collection, batches = pages(table)
    run(f"INSERT INTO {table} (id, a) VALUES (2, 5)", f"DELETE FROM {table} WHERE id = 1")
    load(collection, batches, if_exists="append", on_conflict=choice)
    load(collection, batches, if_exists="append", on_conflict=choice)
    assert run(f"SELECT id, a, b, z FROM {table} ORDER BY id") == [(1, 21, 42, "z"), (2, 5, 10, None)]


def test_a_table_with_one_column_for_all_metadata_is_filled_as_before() -> None:
    collection, page = dump_of(['{"n":1}'])
    run(f"CREATE TABLE {collection.name} (id bigint PRIMARY KEY, embedding vector(4), metadata jsonb, n int)")
    with target(collection.name) as writing, pytest.raises(NotRepresentable, match="'n' is not known"):
        writing.prepare(plan_for(collection, [page], if_exists="append", metadata_keys=("n",)))
    run(f"ALTER TABLE {collection.name} DROP n")
    load(collection, [page], if_exists="append", metadata_keys=("n",))
    assert run(f"SELECT metadata FROM {collection.name}") == [({"n": 1},)]
