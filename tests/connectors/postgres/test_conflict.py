"""Records that are there already, and an application that writes through the whole import."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from vecport.connectors.contract import Mark
from vecport.connectors.postgres import conflicts
from vecport.errors import AlreadyExists, IntegrityError, Unavailable
from vecport.model.collection import Collection, Field, VectorField
from vecport.testing.records import Record, Sparse, batch_of

from .support import SHARD, connect, free, fresh, load, numbered, plan_for, run, target

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
        with pytest.raises(AlreadyExists, match="record '7' is in collection") as caught:
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
        with pytest.raises(AlreadyExists, match="record '2'"):
            load(collection, [again], if_exists="append", on_conflict=choice)
    else:
        load(collection, [again], if_exists="append", on_conflict=choice)
    wanted = "1.50" if choice == "replace" else "1.5"
    assert run(f"SELECT id, n::text FROM {collection.name} ORDER BY id") == [(1, "1.5"), (2, wanted)]


#: What another program does to record 2, and whether it has other content then.
CHANGES = {
    "nothing": ("SET document = document", False),
    "dense: the last bit": ("SET d = '[1,2.0000002]'", True),
    "dense: a sign": ("SET d = '[1,-2]'", True),
    "dense: absent": ("SET d = NULL", True),
    "half: an element": ("SET h = '[1,2.25]'", True),
    "half: spelled otherwise": ("SET h = '[1.0,2.50]'", False),
    "sparse: an index": ("SET s = '{2:1,9:2}/1000000000'", True),
    "sparse: a value": ("SET s = '{2:1,8:2.5}/1000000000'", True),
    "sparse: absent": ("SET s = NULL", True),
    "binary: a bit": ("SET b = B'10101011'", True),
    "document": ("SET document = 'text 1 '", True),
    "document: absent": ("SET document = NULL", True),
    "metadata: a value": ("SET metadata = jsonb_set(metadata, '{n}', '2')", True),
    "metadata: 1 and 1.0": ("SET metadata = jsonb_set(metadata, '{n}', '1.0')", True),
    'metadata: 1 and "1"': ("SET metadata = jsonb_set(metadata, '{n}', '\"1\"')", True),
    "metadata: null and gone": ("SET metadata = metadata - 'z'", True),
    "metadata: a key more": ("SET metadata = metadata || '{\"more\": 1}'", True),
    "metadata: the order of a list": ("SET metadata = jsonb_set(metadata, '{l}', '[2, 1]')", True),
    "metadata: what no export takes": ("SET metadata = '[]'", True),
}
KINDS = (
    VectorField("d", dim=2, metric="l2"), VectorField("h", dtype="float16", dim=2, metric="l2"),
    VectorField("s", "sparse", metric="l2"), VectorField("b", "binary", "bit", 8, "hamming"),
)  # fmt: skip


def test_each_single_change_of_another_program_is_a_conflict_and_nothing_else(
    record_property: Callable[[str, object], None],
) -> None:
    collection = Collection(fresh("judged"), "int", KINDS)
    vectors: dict[str, Any] = {
        "d": np.array([1, 2], np.float32), "h": np.array([1, 2.5], np.float32), "s": Sparse((1, 7), (1.0, 2.0)),
        "b": np.array([1, 0, 1, 0, 1, 0, 1, 0], np.uint8),
    }  # fmt: skip
    made = [Record(str(i), vectors, {"n": 1, "z": None, "l": [1, 2]}, "text 1") for i in (1, 2, 3)]
    page = batch_of(made, collection)
    load(collection, [page])
    wrong = []
    for what, (change, differs) in CHANGES.items():
        run(f"UPDATE {collection.name} {change} WHERE id = 2")
        try:
            load(collection, [page], if_exists="append", on_conflict="fail")
        except AlreadyExists as e:
            found = "record '2' is in" in e.what
        else:
            found = False
        wrong += [what] if found != differs else []
        load(collection, [page], if_exists="append", on_conflict="replace")
    record_property("tally", ["conflicts judged, Postgres", len(CHANGES) - len(wrong), len(CHANGES)])
    assert not wrong


def test_a_key_that_is_spelled_otherwise_is_the_same_record_with_other_content() -> None:
    collection = Collection(fresh("spelled"), "string", key=(Field("k", "numeric", "text", nullable=False),), fields=())
    load(collection, [numbered(collection, ["1.5"])])
    with pytest.raises(AlreadyExists, match=r"record '1\.5' is in"):
        load(collection, [numbered(collection, ["2.5", "1.50"])], if_exists="append", on_conflict="fail")
    load(collection, [numbered(collection, ["2.5", "1.5"])], if_exists="append", on_conflict="fail")
    assert run(f"SELECT k::text FROM {collection.name} ORDER BY k") == [("1.5",), ("2.5",)]


def test_a_record_that_is_in_the_way_and_then_gone_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    collection, (page,) = free(4)
    load(collection, [page])
    run(f"UPDATE {collection.name} SET metadata = '{THEIRS}' WHERE id = 2")
    real = conflicts.There.refuse_other

    def slowly(*arguments: Any) -> Callable[[Any], int]:
        run(f"DELETE FROM {collection.name} WHERE id = 2")
        return real(*arguments)

    monkeypatch.setattr(conflicts.There, "refuse_other", slowly)
    load(collection, [page], if_exists="append", on_conflict="fail")
    assert contents(collection.name) == {i: {"n": i} for i in range(4)}


def test_whoever_waits_to_lock_the_table_does_not_hang_the_import(monkeypatch: pytest.MonkeyPatch) -> None:
    collection, (page,) = free(4)
    load(collection, [page])
    monkeypatch.setattr(conflicts, "_LOCK_SECONDS", 0.2)
    real, waiting = conflicts.There.refuse_other, list[threading.Thread]()

    def locked(*arguments: Any) -> Callable[[Any], int]:
        """Somebody adds a column, and waits for the import's transaction."""
        waiting.append(threading.Thread(target=run, args=[f"ALTER TABLE {collection.name} ADD extra int"]))
        waiting[0].start()
        while not run(f"SELECT 1 FROM pg_locks WHERE relation = '{collection.name}'::regclass AND NOT granted"):
            pass
        return real(*arguments)

    monkeypatch.setattr(conflicts.There, "refuse_other", locked)
    with pytest.raises(Unavailable, match="does not answer") as caught:
        load(collection, [page], if_exists="append", on_conflict="fail")
    assert "lock" in str(caught.value)
    waiting[0].join(timeout=30)
    assert not waiting[0].is_alive()


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
