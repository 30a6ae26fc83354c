"""Records that are there already, and an application that writes through the whole import."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from vecport.connectors.contract import Mark
from vecport.errors import AlreadyExists, IntegrityError
from vecport.model.collection import Collection, Field

from .support import SHARD, connect, free, load, numbered, plan_for, run, target

ROWS = 2_000
THEIRS = '{"theirs": true}'


def contents(table: str) -> dict[int, Any]:
    return dict(run(f"SELECT id, metadata FROM {table}"))


@pytest.mark.parametrize("mode", ["create", "append"])
@pytest.mark.parametrize("choice", ["skip", "replace"])
def test_an_application_writes_through_the_whole_import(mode: str, choice: str) -> None:
    collection, (page,) = free(ROWS)
    if mode == "append":
        load(collection, [])
    plan = plan_for(collection, [page], if_exists=mode, on_conflict=choice, settings={"index": "none"})
    written: list[int] = []
    stop = threading.Event()

    def application() -> None:
        """Writes the newer version of every seventh record, from the last to the first."""
        upsert = f"INSERT INTO {collection.name} (id, metadata) VALUES (%s, %s) ON CONFLICT (id) DO UPDATE SET"
        with connect(autocommit=True) as connection:
            for i in range(ROWS - 1, -1, -7):
                if stop.is_set():
                    return
                connection.execute(f"{upsert} metadata = EXCLUDED.metadata".encode(), [i, THEIRS])
                written.append(i)

    with target(collection.name) as writing:
        writing.prepare(plan)
        thread = threading.Thread(target=application)
        thread.start()
        try:
            for group, start in enumerate(range(0, ROWS, 100)):
                if group == 10:
                    # From here on there are keys of the application's in the dump's way.
                    thread.join()
                writing.write(page.slice(start, 100), Mark(SHARD, group))
        finally:
            stop.set()
            thread.join()
        writing.finish({})
    found = contents(collection.name)
    assert len(found) == ROWS
    assert len(written) == len(range(ROWS - 1, -1, -7))
    if choice == "skip":
        assert all(found[i] == {"theirs": True} for i in written)
        assert all(found[i] == {"n": i} for i in range(ROWS) if i not in set(written))
    else:
        assert all(found[i] == {"n": i} for i in range(1_000, ROWS))


@pytest.mark.parametrize("mode", ["create", "append"])
def test_fail_names_the_record_and_writes_nothing_of_the_group(mode: str) -> None:
    collection, (page,) = free(10)
    if mode == "append":
        load(collection, [])
    with target(collection.name) as writing:
        writing.prepare(plan_for(collection, [page], if_exists=mode, on_conflict="fail"))
        run(f"INSERT INTO {collection.name} (id, metadata) VALUES (7, '{THEIRS}')")
        writing.write(page.slice(0, 5), Mark(SHARD, 0))
        with pytest.raises(AlreadyExists, match="the record '7' is in the table") as caught:
            writing.write(page.slice(5), Mark(SHARD, 1))
        assert "--on-conflict skip" in str(caught.value)
        assert writing.acknowledged() == {Mark(SHARD, 0)}
        assert sorted(contents(collection.name)) == [0, 1, 2, 3, 4, 7]
        # The same content is no conflict.
        run(f"DELETE FROM {collection.name} WHERE id = 7")
        other = page.slice(7, 1).to_pylist()[0]
        run(
            f"INSERT INTO {collection.name} (id, metadata, embedding)"
            f" VALUES (7, '{other['metadata']}', '{other['vector_embedding']}')"
        )
        writing.write(page.slice(5), Mark(SHARD, 1))
    assert contents(collection.name) == {i: {"n": i} for i in range(10)}


@pytest.mark.parametrize("choice", ["skip", "fail", "replace"])
def test_texts_that_compare_as_equal_are_other_content(choice: str) -> None:
    """1.5 and 1.50 are equal for Postgres, and json has no equality at all."""
    fields = (Field("n", "numeric", "text"), Field("j", "json"), Field("k", "int4"))
    collection = Collection("conflict_" + choice, "int", (), fields)
    run(f"DROP TABLE IF EXISTS {collection.name}")
    first = numbered(collection, ["1", "2"], ['{"j":1,"k":1,"n":"1.5"}'] * 2)
    load(collection, [first])
    again = numbered(collection, ["1", "2"], ['{"j":1,"k":1,"n":"1.5"}', '{"j":1,"k":1,"n":"1.50"}'])
    if choice == "fail":
        with pytest.raises(AlreadyExists, match="the record '2'"):
            load(collection, [again], if_exists="append", on_conflict=choice)
    else:
        load(collection, [again], if_exists="append", on_conflict=choice)
    wanted = "1.50" if choice == "replace" else "1.5"
    assert run(f"SELECT id, n::text FROM {collection.name} ORDER BY id") == [(1, "1.5"), (2, wanted)]


@pytest.mark.parametrize("choice", ["skip", "fail", "replace"])
def test_a_key_twice_in_a_group_is_an_error_whatever_is_chosen(choice: str) -> None:
    for mode in ("create", "append"):
        collection, _ = free(0)
        load(collection, [])
        page = numbered(collection, ["1", "2", "1"], ["{}", "{}", '{"other":1}'])
        with target(collection.name) as writing:
            writing.prepare(plan_for(collection, [page], if_exists=mode, on_conflict=choice))
            with pytest.raises(IntegrityError, match="same key"):
                writing.write(page, Mark(SHARD, 0))
            assert (writing.count(), writing.acknowledged()) == (0, set())


def test_another_unique_constraint_in_the_way_is_no_conflict_of_records() -> None:
    collection = Collection("conflict_unique", "int", (), (Field("u", "text"),))
    run(
        f"DROP TABLE IF EXISTS {collection.name}",
        f"CREATE TABLE {collection.name} (id bigint PRIMARY KEY, u text UNIQUE)",
        f"INSERT INTO {collection.name} VALUES (1, 'a')",
    )
    page = numbered(collection, ["2"], ['{"u":"a"}'])
    with pytest.raises(IntegrityError, match="same key"):
        load(collection, [page], if_exists="append", on_conflict="skip")
    assert run(f"SELECT count(*) FROM {collection.name}") == [(1,)]
