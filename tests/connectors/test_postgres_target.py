"""Writing tables of Postgres: what is created, what is acknowledged, what a failure leaves, what is never touched."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import psycopg
import pyarrow as pa
import pytest
from psycopg import sql
from test_postgres_source import NAMES
from test_postgres_support import (
    CONNECTOR,
    SHARD,
    connect,
    dsn,
    free,
    fresh,
    load,
    numbered,
    on_table,
    other_database,
    pages,
    plan_for,
    proxy,
    pump,
    records,
    rows,
    run,
    server_place,
    source,
    target,
)

from vecport.connectors.address import Place, parse
from vecport.connectors.contract import Mark
from vecport.connectors.postgres import connect as connections
from vecport.connectors.postgres import failures, loader, tables
from vecport.connectors.postgres.catalog import ACK_TABLE
from vecport.connectors.secrets import Secret
from vecport.errors import (
    AlreadyExists,
    AuthenticationFailed,
    IntegrityError,
    NotFound,
    NotRepresentable,
    OutOfResources,
    Unavailable,
    UsageError,
    VecportError,
)
from vecport.model.batch import dense_array, make_page
from vecport.model.collection import Collection, Field, VectorField, renamed
from vecport.testing.engines import PostgresEngine
from vecport.testing.engines.base import free_port


def columns(table: str) -> dict[str, str]:
    """Names and types of a table's columns, with ``!`` where NULL is refused."""
    statement = (
        "SELECT attname, format_type(atttypid, atttypmod) || CASE WHEN attnotnull THEN '!' ELSE '' END"
        " FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 ORDER BY attnum"
    )
    with connect() as connection:
        return dict(connection.execute(statement, [sql.Identifier(table).as_string(None)]).fetchall())


def acknowledgements() -> list[Any]:
    """The rows of the acknowledgement table, None when it is gone."""
    if run(f"SELECT to_regclass('{ACK_TABLE}')") == [(None,)]:
        return []
    return run(f'SELECT import_id, shard, "group" FROM {ACK_TABLE} ORDER BY 1, 2, 3')


@pytest.fixture(autouse=True)
def _no_acknowledgements() -> None:
    """Every test sees its own acknowledgements alone."""
    run(f"DROP TABLE IF EXISTS {ACK_TABLE}")


# ---- what is created ----


def test_a_free_collection_becomes_id_vector_document_and_metadata() -> None:
    collection, batches = free(3, name=fresh("Docs"))
    load(collection, batches, document="document")
    assert columns(collection.name) == {
        "id": "bigint!", "embedding": "vector(4)", "document": "text", "metadata": "jsonb!",
    }  # fmt: skip
    without, batches = free(3)
    load(without, batches)
    assert list(columns(without.name)) == ["id", "embedding", "metadata"]
    assert run(f"SELECT conname FROM pg_constraint WHERE conrelid = '{without.name}'::regclass AND contype = 'p'")


@pytest.mark.parametrize(
    ("kind", "ids", "column"),
    [
        ("int", ["1", "-9223372036854775808"], "bigint!"),
        ("string", ["1", "2"], "text!"),
        ("uuid", ["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"], "uuid!"),
        ("int", [], "bigint!"),
        ("string", [], "text!"),
    ],
)
def test_the_id_column_is_of_the_narrowest_type(kind: str, ids: list[str], column: str) -> None:
    collection = Collection(fresh(), kind, ())
    page = numbered(collection, ids)
    load(collection, [page] if ids else [])
    assert columns(collection.name)["id"] == column
    assert [row["id"] for row in records(pages(collection.name)[1])] == ids


def test_integer_ids_beyond_bigint_become_text() -> None:
    collection = Collection(fresh(), "int", ())
    ids = ["18446744073709551615", "7", "007"[2:], "-1"]
    load(collection, [numbered(collection, ["18446744073709551615", "7", "-1"])])
    assert columns(collection.name)["id"] == "text!"
    assert {row["id"] for row in records(pages(collection.name)[1])} == set(ids)


def test_options_name_the_columns() -> None:
    collection, batches = free(2)
    place = server_place(id_column="key", vector_column="v", document_column="body")
    plan = plan_for(collection, batches, document="document")
    with target(collection.name, place) as writing:
        writing.prepare(plan)
        writing.write(batches[0], Mark(SHARD, 0))
        writing.finish({})
    assert list(columns(collection.name)) == ["key", "v", "body", "metadata"]
    found, _ = pages(collection.name)
    assert found.vectors[0].name == "embedding"
    assert renamed(found, collection.name).digest() == collection.digest()


def test_columns_whose_names_collide_give_way_and_are_found_again() -> None:
    names = ("id", "_id", "embedding", "document", "metadata", "Id")
    fields = tuple(Field(name, "text") for name in names)
    collection = Collection(fresh(), "string", (VectorField("embedding", dim=2, metric="l2"),), fields)
    metadata = json.dumps(dict(sorted((name, f"value of {name}") for name in names)), separators=(",", ":"))
    page = make_page(
        collection,
        ids=["a"],
        metadata=[metadata],
        documents=["words"],
        vectors={"embedding": dense_array(np.ones((1, 2), np.float32), collection.vectors[0])},
    )
    load(collection, [page])
    assert list(columns(collection.name)) == ["__id", "_embedding", "_document", *names]
    found, (read,) = pages(collection.name)
    assert read.equals(page)
    assert found.digest() == collection.digest()


@pytest.mark.parametrize("vector", ["id", "metadata", "document", "_id"])
def test_a_vector_may_be_called_like_any_other_column(vector: str) -> None:
    collection = Collection(fresh(), "string", (VectorField(vector, dim=2, metric="l2"),))
    page = make_page(
        collection,
        ids=["a"],
        documents=["words"],
        vectors={vector: dense_array(np.ones((1, 2), np.float32), collection.vectors[0])},
    )
    load(collection, [page])
    found, (read,) = pages(collection.name)
    assert read.equals(page)
    assert found.digest() == collection.digest()


def test_typed_columns_take_not_null_and_key_from_the_plan() -> None:
    fields = (Field("a", "varchar(5)", nullable=False), Field("b", "timestamptz(3)", "text"), Field("c", "int2[]"))
    key = (Field("tenant", "text", nullable=False), Field("n", "int4"))
    vectors = (VectorField("v", dim=2, nullable=False),)
    collection = Collection(fresh(), "composite", vectors, fields, key)
    with target(collection.name) as writing:
        writing.prepare(plan_for(collection, []))
    assert columns(collection.name) == {
        "tenant": "text!", "n": "integer!", "v": "vector(2)!", "a": "character varying(5)!",
        "b": "timestamp(3) with time zone", "c": "smallint[]",
    }  # fmt: skip
    assert pages(collection.name)[0].digest() == collection.digest()


@pytest.mark.parametrize("name", NAMES)
def test_any_name_is_only_a_name_when_it_is_written(name: str) -> None:
    run("CREATE TABLE IF NOT EXISTS canary (id int)")
    quoted = '"' + name.replace('"', '""') + '"'
    on_table("DROP TABLE IF EXISTS {}", name)
    field = ("f" + name)[: 60 if name.isascii() else 30]
    key = (Field(name, "text", nullable=False),)
    vectors = (VectorField("v" + field, dim=2, metric="dot"),)
    typed = Collection(quoted, "string", vectors, (Field(field, "jsonb"),), key)
    page = make_page(
        typed,
        ids=[name],
        metadata=[json.dumps({field: {name: name}}, ensure_ascii=False, separators=(",", ":"))],
        vectors={"v" + field: dense_array(np.ones((1, 2), np.float32), typed.vectors[0])},
    )
    load(typed, [page])
    found, (read,) = pages(quoted)
    assert read.equals(page)
    assert found.digest() == typed.digest()
    with target(quoted) as writing:
        hint = writing.query_hint()
        assert [hit.id for hit in writing.search("v" + field, np.ones(2, np.float32), 1)] == [name]
        assert run(hint.replace("[...]", "[1,1]"))[0][0] == name
        writing.delete([("", name)])
        assert writing.count() == 0
    assert run("SELECT count(*) FROM canary") == [(0,)]


@pytest.mark.parametrize("name", ["", "a" * 64, "\u00e9" * 32, "a\0b", "\ud800"])
def test_names_that_postgres_would_change_are_refused(name: str) -> None:
    good = Collection(fresh(), "string", (), (Field("f", "text"),))
    for changed in (
        replace(good, fields=(Field(name, "text"),)),
        replace(good, key=(Field(name, "text"),)),
        replace(good, vectors=(VectorField(name, dim=2),)),
    ):
        with target(good.name) as writing:
            with pytest.raises(NotRepresentable):
                writing.prepare(plan_for(changed, []))
            assert writing.describe() is None
    if name != "":
        with pytest.raises(VecportError) as caught, target(name) as writing:
            writing.prepare(plan_for(replace(good, name=name), []))
        assert caught.value.exit_code in (2, 14)


def test_a_schema_that_does_not_exist_is_not_created() -> None:
    collection, batches = free(1, name="nowhere.t")
    with target("nowhere.t") as writing, pytest.raises(UsageError, match="no schema 'nowhere'"):
        writing.prepare(plan_for(collection, batches))


# ---- acknowledgement ----


def test_a_repeated_mark_is_one_copy() -> None:
    collection, (page,) = free(5)
    plan = plan_for(collection, [page])
    with target(collection.name) as first, target(collection.name) as second:
        first.prepare(plan)
        second.attach(plan)
        for session in (first, second, first):
            session.write(page, Mark(SHARD, 0))
        assert first.acknowledged() == second.acknowledged() == {Mark(SHARD, 0)}
        # Under another mark the same keys are a conflict, and are replaced.
        second.write(page, Mark(SHARD, 1))
        assert first.acknowledged() == {Mark(SHARD, 0), Mark(SHARD, 1)}
        assert first.count() == 5


def test_two_sessions_that_write_one_mark_at_once_leave_one_copy() -> None:
    collection, (page,) = free(2_000)
    plan = plan_for(collection, [page])
    ready = threading.Barrier(3)
    errors: list[BaseException] = []

    def work() -> None:
        try:
            with target(collection.name) as session:
                session.attach(plan)
                ready.wait()
                session.write(page, Mark(SHARD, 0))
        except BaseException as error:
            errors.append(error)

    with target(collection.name) as writing:
        writing.prepare(plan)
        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not errors
        assert writing.count() == 2_000


def test_a_session_killed_in_mid_copy_leaves_nothing_acknowledged(monkeypatch: pytest.MonkeyPatch) -> None:
    collection, (page,) = free(3_000, dim=64)
    plan = plan_for(collection, [page])
    write = psycopg.Copy.write
    struck: list[int] = []

    def write_and_kill(copy: psycopg.Copy, data: Any) -> None:
        write(copy, data)
        if len(data) > 1_000 and not struck:
            struck.append(copy.connection.info.backend_pid)
            run(f"SELECT pg_terminate_backend({struck[0]}, 5000)")

    monkeypatch.setattr(psycopg.Copy, "write", write_and_kill)
    with target(collection.name) as writing:
        writing.prepare(plan)
        with pytest.raises(Unavailable):
            writing.write(page, Mark(SHARD, 0))
        assert struck
        assert writing.acknowledged() == set()
        assert writing.count() == 0
        # The session opens a new connection by itself.
        writing.write(page, Mark(SHARD, 0))
        assert writing.acknowledged() == {Mark(SHARD, 0)}
        assert writing.count() == 3_000


@pytest.mark.parametrize("committed", [True, False])
def test_after_a_connection_lost_in_commit_the_acknowledgement_decides(committed: bool) -> None:
    collection, (page,) = free(50)
    plan = plan_for(collection, [page])
    with target(collection.name) as coordinator:
        coordinator.prepare(plan)
        with proxy(b"COMMIT\0", forward=committed) as (place, struck), target(collection.name, place) as writing:
            writing._plan, writing._table = plan, coordinator._table
            writing._layout, writing._extension = coordinator._layout, coordinator._extension
            with pytest.raises(Unavailable):
                writing.write(page, Mark(SHARD, 0))
            assert struck.is_set()
            _settled(collection.name)
            assert coordinator.acknowledged() == ({Mark(SHARD, 0)} if committed else set())
            writing.write(page, Mark(SHARD, 0))
        assert coordinator.count() == 50
        assert coordinator.acknowledged() == {Mark(SHARD, 0)}


def _settled(table: str) -> None:
    """Wait until no transaction of a lost connection holds the table."""
    with connect() as connection:
        connection.execute(f"LOCK TABLE {table}, {ACK_TABLE} IN EXCLUSIVE MODE".encode())


def test_a_refused_row_group_leaves_the_session_usable() -> None:
    collection, (page,) = free(3)
    with target(collection.name) as writing:
        writing.prepare(plan_for(collection, [page]))
        bad = pa.RecordBatch.from_arrays(
            [*page.columns[:3], pa.array(['{"a":-0.0}', "{}", "{}"]), page.column(4)], schema=page.schema
        )
        with pytest.raises(NotRepresentable, match=r"column 'metadata': the number -0\.0"):
            writing.write(bad, Mark(SHARD, 0))
        assert (writing.count(), writing.acknowledged()) == (0, set())
        writing.write(page, Mark(SHARD, 0))
        assert writing.count() == 3


def test_a_repeated_key_in_a_group_is_an_integrity_error() -> None:
    for mode in ("create", "append"):
        collection, _ = free(0)
        if mode == "append":
            load(collection, [])
        page = numbered(collection, ["1", "2", "1"])
        with target(collection.name) as writing:
            writing.prepare(plan_for(collection, [page], if_exists=mode))
            with pytest.raises(IntegrityError, match="same key"):
                writing.write(page, Mark(SHARD, 0))
            assert writing.count() == 0


def test_a_large_group_goes_in_slices_of_one_transaction(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader, "ROWS_AT_ONCE", 7)
    collection, (page,) = free(50)
    load(collection, [page])
    assert records(pages(collection.name)[1]) == page.to_pylist()
    assert run(f"SELECT count(DISTINCT xmin::text) FROM {collection.name}") == [(1,)]


# ---- resuming ----


def test_an_import_resumes_where_its_acknowledgements_end() -> None:
    collection, (page,) = free(6)
    plan = plan_for(collection, [page])
    with target(collection.name) as writing:
        writing.prepare(plan)
        writing.write(page.slice(0, 2), Mark(SHARD, 0))
    with target(collection.name) as writing:
        with pytest.raises(AlreadyExists, match="has records"):
            writing.prepare(plan)
        with pytest.raises(AlreadyExists, match="not the one that this import created"):
            writing.prepare(replace(plan, resume=True, import_id="another"))
        writing.prepare(replace(plan, resume=True))
        assert writing.acknowledged() == {Mark(SHARD, 0)}
        writing.write(page.slice(2), Mark(SHARD, 1))
        writing.finish({"done": True})
    with target(collection.name) as writing:
        # Killed between the end and its own note of it: everything may be sent again.
        writing.prepare(replace(plan, resume=True))
        for group, part in enumerate((page.slice(0, 2), page.slice(2))):
            writing.write(part, Mark(SHARD, group))
        writing.finish({"done": True})
        assert writing.count() == 6
        described = writing.describe()
        assert described is not None
        assert described.passport == {"done": True}


def test_acknowledgements_of_a_dropped_table_count_for_nothing() -> None:
    collection, (page,) = free(3)
    plan = plan_for(collection, [page])
    with target(collection.name) as writing:
        writing.prepare(plan)
        writing.write(page, Mark(SHARD, 0))
    run(f"DROP TABLE {collection.name}")
    with target(collection.name) as writing:
        with pytest.raises(NotFound):
            writing.attach(plan)
        writing.prepare(replace(plan, resume=True))
        assert writing.acknowledged() == set()
        writing.write(page, Mark(SHARD, 0))
        assert writing.count() == 3


def test_a_table_dropped_before_the_end_is_no_success() -> None:
    collection, (page,) = free(3)
    plan = plan_for(collection, [page])
    with target(collection.name) as writing:
        writing.prepare(plan)
        writing.write(page, Mark(SHARD, 0))
        run(f"DROP TABLE {collection.name}")
        with pytest.raises(NotFound, match="is gone"):
            writing.finish({})
        with pytest.raises(NotFound):
            writing.write(page, Mark(SHARD, 1))


def test_a_table_made_again_before_the_end_is_no_success() -> None:
    collection, (page,) = free(3)
    plan = plan_for(collection, [page])
    with target(collection.name) as writing:
        writing.prepare(plan)
        writing.write(page, Mark(SHARD, 0))
        other = fresh()
        run(f"CREATE TABLE {other} (LIKE {collection.name} INCLUDING ALL)", f"DROP TABLE {collection.name}",
            f"ALTER TABLE {other} RENAME TO {collection.name}")  # fmt: skip
        with pytest.raises(NotFound, match="gone"):
            writing.finish({})


def test_a_table_whose_import_has_not_finished_is_said_to_be_one() -> None:
    collection, (page,) = free(3)
    with target(collection.name) as writing:
        writing.prepare(plan_for(collection, [page]))
        writing.write(page, Mark(SHARD, 0))
        for unfinished in (True, False):
            with source(collection.name) as reading:
                assert any("has not finished" in note for note in reading.describe().notes) is unfinished
            writing.finish({})


def test_namespaces_are_refused_and_never_left_out() -> None:
    collection, (page,) = free(2)
    place = page.schema.get_field_index("namespace")
    bad = page.set_column(place, page.schema.field(place), pa.array(["", "n"], page.schema.field(place).type))
    with target(collection.name) as writing:
        writing.prepare(plan_for(collection, [page]))
        with pytest.raises(NotRepresentable, match="namespaces"):
            writing.write(bad, Mark(SHARD, 0))
        assert (writing.count(), writing.acknowledged()) == (0, set())


def test_acknowledgements_end_with_the_last_import() -> None:
    one, (page,) = free(3)
    other, _ = free(3)
    plans = [plan_for(collection, [page], import_id=collection.name) for collection in (one, other)]
    with target(one.name) as first, target(other.name) as second:
        first.prepare(plans[0])
        second.prepare(plans[1])
        first.write(page, Mark(SHARD, 0))
        assert acknowledgements() == sorted([(one.name, "", -1), (one.name, SHARD, 0), (other.name, "", -1)])
        first.finish({})
        # The other one is under way, though it has acknowledged nothing yet.
        assert acknowledgements() == [(other.name, "", -1)]
        second.write(page, Mark(SHARD, 0))
        second.finish({})
        assert run(f"SELECT to_regclass('{ACK_TABLE}')") == [(None,)]
        first.finish({})
        assert first.acknowledged() == set()


def test_the_end_does_not_wait_for_another_import_that_is_writing() -> None:
    collection, (page,) = free(3)
    with target(collection.name) as writing:
        writing.prepare(plan_for(collection, [page]))
        with connect() as connection:
            connection.execute(f"LOCK TABLE {ACK_TABLE} IN ROW EXCLUSIVE MODE".encode())
            writing.finish({})
        assert acknowledgements() == []
        assert run(f"SELECT to_regclass('{ACK_TABLE}')") != [(None,)]


# ---- what is there already ----


def test_replace_drops_the_table_and_nothing_else() -> None:
    collection, (page,) = free(3)
    neighbour, _ = free(2)
    load(neighbour, [page])
    load(collection, [page])
    load(collection, [page.slice(1)], if_exists="replace")
    assert on_table("SELECT count(*) FROM {}", collection.name) == [(2,)]
    assert on_table("SELECT count(*) FROM {}", neighbour.name) == [(3,)]
    run(f"CREATE VIEW v_{collection.name} AS SELECT id FROM {collection.name}")
    with pytest.raises(AlreadyExists, match="depend"):
        load(collection, [page], if_exists="replace")
    assert on_table("SELECT count(*) FROM {}", collection.name) == [(2,)]
    with pytest.raises(AlreadyExists, match="is a view"):
        load(renamed(collection, f"v_{collection.name}"), [page], if_exists="replace")


def test_replace_takes_a_table_that_cannot_be_read() -> None:
    collection, (page,) = free(3)
    run(f"CREATE TABLE {collection.name} (a interval, b tsvector)", f"INSERT INTO {collection.name} VALUES ('1 day')")
    with target(collection.name) as writing:
        described = writing.describe()
        assert described is not None
        assert described.count is None
        with pytest.raises(AlreadyExists):
            writing.prepare(plan_for(collection, [page]))
    load(collection, [page], if_exists="replace")
    assert on_table("SELECT count(*) FROM {}", collection.name) == [(3,)]


def test_an_empty_table_of_the_right_shape_is_filled_and_keeps_its_comment() -> None:
    collection, (page,) = free(3)
    run(
        f"CREATE TABLE {collection.name} (metadata jsonb NOT NULL, id bigint PRIMARY KEY, embedding vector(4))",
        f"COMMENT ON TABLE {collection.name} IS 'mine'",
    )
    load(collection, [page])
    assert run(f"SELECT obj_description('{collection.name}'::regclass)") == [("mine",)]
    assert run(f"SELECT count(*) FROM {collection.name}") == [(3,)]


@pytest.mark.parametrize(
    "shape",
    [
        "id bigint PRIMARY KEY, embedding vector(4)",
        "id bigint PRIMARY KEY, embedding vector(5), metadata jsonb",
        "id bigint PRIMARY KEY, embedding halfvec(4), metadata jsonb",
        "id bigint PRIMARY KEY, embedding vector(4), metadata json",
        "id text PRIMARY KEY, embedding vector(4), metadata jsonb",
        "id bigint, embedding vector(4), metadata jsonb",
        "id bigint, embedding vector(4), metadata jsonb PRIMARY KEY",
        "id bigint PRIMARY KEY, embedding vector(4), metadata jsonb, more int",
    ],
)
@pytest.mark.parametrize("mode", ["create", "append"])
def test_a_table_of_another_shape_is_refused(shape: str, mode: str) -> None:
    collection, (page,) = free(3)
    run(f"CREATE TABLE {collection.name} ({shape})")
    with target(collection.name) as writing, pytest.raises(NotRepresentable, match="has other columns"):
        writing.prepare(plan_for(collection, [page], if_exists=mode))


def test_append_replaces_whole_records_and_adds_others() -> None:
    collection, (page,) = free(4)
    load(collection, [page], passport={"first": 1}, document="document")
    more = make_page(collection, ids=["3", "9"], metadata=['{"new":1}', "{}"], documents=[None, "words"])
    load(collection, [more], if_exists="append", passport={"second": 2})
    found = {row["id"]: row for row in records(pages(collection.name)[1])}
    assert len(found) == 5
    assert (found["3"]["metadata"], found["3"]["vector_embedding"]) == ('{"new":1}', None)
    assert found["9"]["document"] == "words"
    assert found["2"] == page.to_pylist()[2]
    with target(collection.name) as writing:
        described = writing.describe()
    assert described is not None
    assert described.passport == {"second": 2}


def test_append_needs_the_same_metric_and_keeps_it() -> None:
    collection, (page,) = free(3, metric="cosine")
    load(collection, [page], settings={"index": "none"})
    other = replace(collection, vectors=(replace(collection.vectors[0], metric="l2"),))
    with target(collection.name) as writing, pytest.raises(NotRepresentable, match="metric cosine, the import for l2"):
        writing.prepare(plan_for(other, [page], if_exists="append"))
    unknown = replace(collection, vectors=(replace(collection.vectors[0], metric="unknown"),))
    load(unknown, [page], if_exists="append")
    assert pages(collection.name)[0].vectors[0].metric == "cosine"
    # An empty table of vecport's own is made anew.
    empty, _ = free(0, metric="cosine")
    load(empty, [])
    other = replace(empty, vectors=(replace(empty.vectors[0], metric="l2"),))
    load(other, [page])
    assert indexes(empty.name) == ["hnsw (embedding vector_l2_ops)"]
    # One of the user's is not.
    mine, _ = free(0, metric="l2")
    run(
        f"CREATE TABLE {mine.name} (id bigint PRIMARY KEY, embedding vector(4), metadata jsonb)",
        f"CREATE INDEX ON {mine.name} USING hnsw (embedding vector_cosine_ops)",
    )
    with target(mine.name) as writing, pytest.raises(NotRepresentable, match="metric cosine"):
        writing.prepare(plan_for(mine, [page]))


def test_append_to_a_table_of_the_users_leaves_its_comment_and_indexes() -> None:
    collection, (page,) = free(3)
    run(
        f"CREATE TABLE {collection.name} (id bigint PRIMARY KEY, embedding vector(4), metadata jsonb NOT NULL)",
        f"CREATE INDEX own_{collection.name} ON {collection.name} USING hnsw (embedding vector_l2_ops)",
        f"INSERT INTO {collection.name} VALUES (1, NULL, '{{\"old\": 1}}'), (77, NULL, '{{}}')",
    )
    load(collection, [page], if_exists="append")
    assert [row["id"] for row in sorted((r[0] for r in rows(collection.name)), key=lambda r: r["id"])] == [0, 1, 2, 77]
    assert run(f"SELECT metadata FROM {collection.name} WHERE id = 1") == [({"n": 1},)]
    assert run(f"SELECT obj_description('{collection.name}'::regclass)") == [(None,)]
    names = run(f"SELECT indexname FROM pg_indexes WHERE tablename = '{collection.name}' ORDER BY 1")
    assert sorted(names) == sorted([(f"own_{collection.name}",), (f"{collection.name}_pkey",)])


def test_append_keeps_the_ids_of_an_identity_column() -> None:
    collection, (page,) = free(3)
    run(
        f"CREATE TABLE {collection.name} (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, embedding vector(4),"
        " metadata jsonb)"
    )
    load(collection, [page], if_exists="append")
    assert records(pages(collection.name, id_column="id")[1])[0]["id"] == "0"
    assert indexes(collection.name) == []
    load(collection, [page], if_exists="append", settings={"index": "hnsw"})
    assert indexes(collection.name) == ["hnsw (embedding vector_l2_ops)"]


def test_documents_without_a_column_for_them_are_refused() -> None:
    collection, (page,) = free(2)
    with target(collection.name) as writing:
        writing.prepare(plan_for(collection, [page]))
        worded = make_page(collection, ids=["1", "2"], documents=[None, "words"])
        with pytest.raises(NotRepresentable, match="documents, for which the table has no column"):
            writing.write(worded, Mark(SHARD, 0))


def test_other_relations_are_never_written() -> None:
    collection, (page,) = free(3)
    shape = "id bigint PRIMARY KEY, embedding vector(4), metadata jsonb"
    run(f"CREATE TABLE {collection.name} ({shape}) PARTITION BY RANGE (id)")
    for mode in ("create", "append"):
        with target(collection.name) as writing, pytest.raises(NotRepresentable, match="partitioned table"):
            writing.prepare(plan_for(collection, [page], if_exists=mode))


# ---- the index ----


def indexes(table: str) -> list[str]:
    """Definitions of a table's vector indexes, behind USING."""
    found = run(f"SELECT indexdef FROM pg_indexes WHERE tablename = '{table}' ORDER BY 1")
    return [text.partition("USING ")[2] for (text,) in found if "btree" not in text]


@pytest.mark.parametrize(
    ("metric", "settings", "definition"),
    [
        ("cosine", {}, "hnsw (embedding vector_cosine_ops)"),
        ("dot", {}, "hnsw (embedding vector_ip_ops)"),
        ("l2", {}, "hnsw (embedding vector_l2_ops)"),
        ("l1", {}, "hnsw (embedding vector_l1_ops)"),
        ("unknown", {}, None),
        ("hamming", {}, None),
        ("cosine", {"index": "none", "m": "8"}, None),
        ("cosine", {"m": "8", "ef_construction": "32", "metric": "cosine"},
         "hnsw (embedding vector_cosine_ops) WITH (m='8', ef_construction='32')"),
        ("dot", {"index": "ivfflat", "lists": "2", "maintenance_work_mem": "64MB"},
         "ivfflat (embedding vector_ip_ops) WITH (lists='2')"),
    ],
)  # fmt: skip
def test_the_index_is_that_of_the_metric(metric: str, settings: dict[str, str], definition: str | None) -> None:
    collection, batches = free(5, metric=metric)
    load(collection, batches, settings=settings)
    assert indexes(collection.name) == ([definition] if definition else [])
    found, _ = pages(collection.name)
    assert found.vectors[0].metric == metric
    if "index" not in settings:
        with target(collection.name) as writing:
            writing.prepare(plan_for(collection, [], if_exists="append"))
            writing.finish({})
        assert indexes(collection.name) == ([definition] if definition and not settings else indexes(collection.name))


@pytest.mark.parametrize(
    "settings",
    [
        {"unknown": "1"}, {"index": "btree"}, {"m": "1"}, {"m": "101"}, {"m": "x"}, {"m": "\u0663"}, {"m": "8; drop"},
        {"ef_construction": "3"}, {"m": "40", "ef_construction": "50"}, {"index": "ivfflat", "m": "8"}, {"lists": "5"},
        {"maintenance_work_mem": "1"}, {"maintenance_work_mem": "1GB'; drop"}, {"index": "ivfflat", "lists": "0"},
    ],
)  # fmt: skip
def test_settings_that_cannot_be_are_refused_before_anything_is_created(settings: dict[str, str]) -> None:
    collection, batches = free(5)
    with target(collection.name) as writing:
        with pytest.raises(UsageError):
            writing.prepare(plan_for(collection, batches, settings=settings))
        assert writing.describe() is None


def test_an_index_that_pgvector_cannot_build_is_left_out_or_refused() -> None:
    wide, batches = free(1, dim=2_001)
    load(wide, batches)
    assert indexes(wide.name) == []
    for collection, settings in [
        (wide, {"index": "hnsw"}),
        (free(1, metric="unknown")[0], {"index": "hnsw"}),
        (free(1, metric="l1")[0], {"index": "ivfflat"}),
    ]:
        with target(collection.name) as writing, pytest.raises(UsageError, match="--set index="):
            writing.prepare(plan_for(collection, [], settings=settings, if_exists="replace"))
    widest, batches = free(2, dim=2_000)
    load(widest, batches)
    assert len(indexes(widest.name)) == 1


def test_index_names_are_cut_and_never_taken() -> None:
    one, batches = free(2, name=fresh("a" * 50) + "one")
    two, _ = free(2, name=one.name[:-3] + "two")
    taken, _ = free(2)
    run(f"CREATE TABLE {taken.name}_embedding_hnsw (id int)")
    for collection in (one, two, taken):
        load(collection, batches)
        assert len(indexes(collection.name)) == 1


# ---- search ----


@pytest.mark.parametrize("index", ["hnsw", "ivfflat", "none"])
@pytest.mark.parametrize("k", [1, 200, 600])
def test_search_gives_as_many_as_are_asked(index: str, k: int) -> None:
    rng = np.random.default_rng(7)
    collection = Collection(fresh(), "int", (VectorField("embedding", dim=8, metric="cosine"),))
    matrix = rng.standard_normal((500, 8)).astype(np.float32)
    valid = np.arange(500) % 5 != 0
    page = make_page(
        collection,
        ids=[str(i) for i in range(500)],
        vectors={"embedding": dense_array(matrix, collection.vectors[0], valid)},
    )
    load(collection, [page], settings={"index": index, **({"lists": "20"} if index == "ivfflat" else {})})
    with target(collection.name) as writing:
        hits = writing.search("embedding", matrix[7], k)
    assert hits[0].id == "7"
    assert abs(hits[0].score) < 1e-6
    # Records without a vector have no distance.
    assert len(hits) == min(k, int(valid.sum()))
    assert [hit.score for hit in hits] == sorted(hit.score for hit in hits)


def test_search_needs_a_metric_and_the_vector() -> None:
    collection, batches = free(2, metric="unknown")
    load(collection, batches)
    with target(collection.name) as writing:
        assert writing.query_hint() == ""
        with pytest.raises(UsageError, match="metric"):
            writing.search("embedding", np.ones(4, np.float32), 1)
        with pytest.raises(UsageError, match="no vector 'other'"):
            writing.search("other", np.ones(4, np.float32), 1)


@pytest.mark.parametrize(("metric", "operator"), [("cosine", "<=>"), ("dot", "<#>"), ("l2", "<->"), ("l1", "<+>")])
def test_the_hint_has_the_operator_of_the_metric_and_runs(metric: str, operator: str) -> None:
    collection, batches = free(3, metric=metric)
    load(collection, batches)
    with target(collection.name) as writing:
        hint = writing.query_hint()
    assert hint == (
        f'SELECT "id", "embedding" {operator} \'[...]\' AS distance FROM "public"."{collection.name}"'
        f" ORDER BY \"embedding\" {operator} '[...]' LIMIT 10;"
    )
    assert len(run(hint.replace("[...]", "[1,2,3,4]"))) == 3


def test_ids_of_hits_are_those_of_records() -> None:
    table = fresh()
    run(
        f"CREATE TABLE {table} (a int, b uuid, c char(3), d date, f bool, e vector(2), PRIMARY KEY (a, b, c, d, f))",
        f"CREATE INDEX ON {table} USING hnsw (e vector_l2_ops)",
        f"INSERT INTO {table} VALUES (1, 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'x', '2024-01-01', true, '[1,2]')",
    )
    (row,) = records(pages(table)[1])
    with target(table) as writing:
        assert [hit.id for hit in writing.search("e", np.array([1, 2], np.float32), 1)] == [row["id"]]
        writing.delete([("", row["id"]), ("", "[1]")])
        assert writing.count() == 0


# ---- the extension ----


@pytest.fixture
def bare_database() -> Iterator[Place]:
    """A database without the extension."""
    name = fresh("bare")
    run(f"CREATE DATABASE {name} TEMPLATE template0")
    yield other_database(name)
    run(f"DROP DATABASE {name} WITH (FORCE)")


def test_the_extension_is_created_where_it_is_missing(bare_database: Place) -> None:
    assert CONNECTOR.collections(bare_database) == []
    collection, (page,) = free(3)
    with target(collection.name, bare_database) as writing:
        writing.prepare(plan_for(collection, [page]))
        writing.write(page, Mark(SHARD, 0))
        writing.finish({})
        assert writing.count() == 3
    assert [summary.name for summary in CONNECTOR.collections(bare_database)] == [collection.name]


def test_an_extension_in_a_schema_off_the_path_is_used(bare_database: Place) -> None:
    with psycopg.connect(_dsn(bare_database), autocommit=True) as connection:
        connection.execute('CREATE SCHEMA "ex tensions"')
        connection.execute('CREATE EXTENSION vector SCHEMA "ex tensions"')
        connection.execute("CREATE TYPE vector AS (a int)")
    collection, (page,) = free(3, metric="cosine")
    with target(collection.name, bare_database) as writing:
        writing.prepare(plan_for(collection, [page]))
        writing.write(page, Mark(SHARD, 0))
        writing.finish({})
        assert writing.search("embedding", np.array([1, 2, 3, 4], np.float32), 1)[0].id == "0"
        hint = writing.query_hint()
    with psycopg.connect(_dsn(bare_database)) as connection:
        assert len(connection.execute(hint.replace("[...]", "[1,2,3,4]").encode()).fetchall()) == 3
    with source(collection.name, place=bare_database) as reading:
        assert reading.describe().collection.vectors[0].metric == "cosine"
        reading.snapshot()
        (read,) = reading.scan({"from": 0, "to": None}, None, 10)
    assert read.batch.equals(page)
    with psycopg.connect(_dsn(bare_database), autocommit=True) as connection:
        connection.execute('CREATE TABLE untyped (id int PRIMARY KEY, e "ex tensions".vector, v vector)')
    with source("untyped", place=bare_database) as reading, pytest.raises(NotRepresentable):
        reading.describe()


def _dsn(place: Place) -> str:
    return psycopg.conninfo.make_conninfo(dsn(), dbname=place.path)


def test_a_missing_extension_that_may_not_be_created_is_said(bare_database: Place) -> None:
    run(
        "DO $$ BEGIN CREATE ROLE writer LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$",
    )
    collection, (page,) = free(3)
    with target(collection.name, replace(bare_database, user="writer")) as writing:
        with pytest.raises(AuthenticationFailed, match="CREATE EXTENSION vector") as caught:
            writing.prepare(plan_for(collection, [page]))
        assert "nothing was written" in str(caught.value)
        assert writing.describe() is None


def test_a_server_without_pgvector_is_said(bare_database: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "EXTENSION", "no_such_extension")
    collection, (page,) = free(3)
    with target(collection.name, bare_database) as writing:
        with pytest.raises(NotFound, match="the server has no pgvector"):
            writing.prepare(plan_for(collection, [page]))
        assert writing.describe() is None


def test_a_collection_without_vectors_needs_no_extension(bare_database: Place) -> None:
    collection = Collection(fresh(), "int", ())
    page = numbered(collection, ["1"])
    with target(collection.name, bare_database) as writing:
        writing.prepare(plan_for(collection, [page]))
        writing.write(page, Mark(SHARD, 0))
        writing.finish({})
        assert writing.count() == 1


# ---- permissions, settings, failures ----


def test_a_missing_permission_to_create_is_said() -> None:
    run(
        "DO $$ BEGIN CREATE ROLE writer LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$",
        "REVOKE CREATE ON SCHEMA public FROM PUBLIC",
    )
    collection, (page,) = free(3)
    denied = pytest.raises(AuthenticationFailed, match="permission denied for schema public")
    with target(collection.name, replace(server_place(), user="writer")) as writing, denied:
        writing.prepare(plan_for(collection, [page]))


def test_settings_of_the_role_do_not_reach_the_load() -> None:
    settings = {
        "default_transaction_read_only": "on",
        "default_transaction_isolation": "'serializable'",
        "DateStyle": "'German'",
        "synchronous_commit": "off",
        "standard_conforming_strings": "off",
        "client_encoding": "'LATIN1'",
        "TimeZone": "'Asia/Kathmandu'",
    }
    table = fresh()
    run(
        f"CREATE TABLE {table} (id int PRIMARY KEY, d date, t timestamptz, s text, e vector(1))",
        f"INSERT INTO {table} VALUES (1, '2024-02-03', '2024-02-03 04:05:06+00', '\u65e5\\\\', '[1]'),"
        " (2, 'infinity', '-infinity', '', NULL)",
        *(f"ALTER ROLE postgres SET {name} = {value}" for name, value in settings.items()),
    )
    try:
        copy = pump(table)
        with target(table) as writing, writing._transaction(connections.WRITE) as connection:
            assert connection.execute("SHOW synchronous_commit").fetchone() == ("on",)
            for name in ("statement_timeout", "transaction_timeout", "idle_in_transaction_session_timeout"):
                assert connection.execute(f"SELECT current_setting('{name}', true) IN ('0', '')").fetchone() != (False,)
            assert connection.execute("SHOW transaction_isolation").fetchone() == ("read committed",)
    finally:
        with connect(autocommit=True) as connection:
            connection.execute("SET default_transaction_read_only = off")
            connection.execute("ALTER ROLE postgres RESET ALL")
    assert rows(copy) == rows(table)


def test_a_server_that_is_down_is_unavailable_and_comes_back() -> None:
    collection, (page,) = free(3)
    dead = replace(server_place(), port=free_port())
    with target(collection.name, dead) as writing, pytest.raises(Unavailable, match="Connection refused"):
        writing.prepare(plan_for(collection, [page]))
    with source("t", place=dead) as reading, pytest.raises(Unavailable):
        reading.snapshot()
    with source("t", place=replace(server_place(), host="no.such.host.invalid")) as reading, pytest.raises(Unavailable):
        reading.describe()


@pytest.fixture(scope="module")
def guarded() -> Iterator[PostgresEngine]:
    """A server that asks for a password with hard characters."""
    with PostgresEngine(fsync=False, password=PASSWORD) as server:
        yield server


PASSWORD = "pass'w\\ord %41 \u00e9 canary-5f1d"


def test_passwords_work_on_both_connections_and_are_never_shown(guarded: PostgresEngine, capfd: Any) -> None:
    place = replace(parse(guarded.address), password=Secret(PASSWORD))
    collection, (page,) = free(3)
    with target(collection.name, place) as writing:
        writing.prepare(plan_for(collection, [page]))
        writing.write(page, Mark(SHARD, 0))
        writing.finish({})
    with source(collection.name, place=place) as reading:
        reading.snapshot()
        (read,) = reading.scan({"from": 0, "to": None}, None, 10)
    assert read.batch.equals(page)
    for secret in (Secret("wrong-canary-5f1d"), None):
        with pytest.raises(AuthenticationFailed) as caught:
            CONNECTOR.collections(replace(place, password=secret))
        assert caught.value.exit_code == 12
        assert "5f1d" not in f"{caught.value} {caught.value.__cause__!r} {caught.value!r}"
    assert "5f1d" not in "".join(capfd.readouterr())


def test_the_password_may_come_from_the_environment(guarded: PostgresEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    with source("missing", place=parse(guarded.address)) as reading, pytest.raises(NotFound):
        reading.describe()


def test_an_unknown_role_is_refused() -> None:
    with pytest.raises(AuthenticationFailed, match='role "nobody" does not exist'):
        CONNECTOR.collections(replace(server_place(), user="nobody"))


# ---- addresses ----


def test_addresses_become_parameters_of_libpq() -> None:
    def of(address: str) -> dict[str, str]:
        found = connections.parameters(parse(address, allow_password=True))
        assert found.pop("client_encoding") == "UTF8"
        return found

    vecport = {"application_name": "vecport", "connect_timeout": "30"}
    assert of("postgresql://me@localhost:5433/prod") == vecport | {
        "user": "me", "host": "localhost", "port": "5433", "dbname": "prod",
    }  # fmt: skip
    assert of("postgresql:///prod?host=/var/run/postgresql&application_name=a") == {
        "application_name": "a", "dbname": "prod", "host": "/var/run/postgresql", "connect_timeout": "30",
    }  # fmt: skip
    # Without TLS, a server elsewhere never gets the password in clear text.
    assert of("postgresql://db/prod")["require_auth"] == "!password"
    assert "require_auth" not in of("postgresql://db/prod?sslmode=verify-full")
    assert of("postgresql+tls://db/prod")["sslmode"] == "require"
    assert of("postgres://u:p%40ss@localhost/")["password"] == "p@ss"


@pytest.mark.parametrize("query", ["password=canary", "sslpassword=canary", "unknown=canary", "hostt=canary"])
def test_other_parameters_are_refused_without_their_values(query: str) -> None:
    with pytest.raises(UsageError) as caught:
        CONNECTOR.collections(parse(f"postgresql://localhost/db?{query}"))
    assert "canary" not in str(caught.value)


def test_connection_strings_quote_every_value() -> None:
    for text in ("", " ", "a'b\\c", "x y=z", "plain", "/run/dir", "\u00e9", "' or host='x"):
        parsed = psycopg.conninfo.conninfo_to_dict(connections.conninfo({"user": text, "host": "h"}))
        assert parsed == {"user": text, "host": "h"}


# ---- errors by SQLSTATE ----


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("28P01", AuthenticationFailed), ("28000", AuthenticationFailed), ("42501", AuthenticationFailed),
        ("08006", Unavailable), ("08001", Unavailable), ("57P01", Unavailable), ("57P03", Unavailable),
        ("57014", Unavailable), ("53300", Unavailable), ("40001", Unavailable), ("40P01", Unavailable),
        ("55P03", Unavailable),
        ("42P01", NotFound), ("3D000", NotFound), ("3F000", NotFound), ("42704", NotFound),
        ("42P07", AlreadyExists), ("2BP01", AlreadyExists),
        ("53100", OutOfResources), ("53200", OutOfResources), ("58030", OutOfResources),
        ("22003", NotRepresentable), ("22P05", NotRepresentable), ("22021", NotRepresentable),
        ("54000", NotRepresentable),
        ("0A000", NotRepresentable), ("23502", NotRepresentable), ("23505", IntegrityError), ("XX001", IntegrityError),
        ("25006", UsageError), ("42601", VecportError),
    ],
)  # fmt: skip
def test_errors_follow_sqlstate(code: str, kind: type[VecportError]) -> None:
    detail = SimpleNamespace(message_primary="it says canary", message_detail="why", message_hint="do that")
    error = failures.translate(SimpleNamespace(sqlstate=code, diag=detail), "table t", Secret("canary"))
    assert type(error) is kind
    assert error.what.startswith("table t: ")
    assert error.why.startswith("it says ****; why")
    assert error.next == "do that"


def test_a_standby_is_said_to_be_read_only() -> None:
    message = "cannot set transaction read-write mode during recovery"
    detail = SimpleNamespace(message_primary=message, message_detail=None, message_hint=None)
    error = failures.translate(SimpleNamespace(sqlstate="0A000", diag=detail), "table t")
    assert type(error) is UsageError
    assert "standby" in error.why


def test_an_index_row_that_is_too_large_is_not_representable() -> None:
    collection = Collection(fresh(), "string", (), (), (Field("k", "text", nullable=False),))
    text = "".join(np.random.default_rng(7).choice(list("abcdefghijklmnopqrstuvwxyz0123456789"), 3_000))
    with target(collection.name) as writing:
        writing.prepare(plan_for(collection, []))
        with pytest.raises(NotRepresentable, match="exceeds btree"):
            writing.write(numbered(collection, [text]), Mark(SHARD, 0))


def test_a_session_must_be_prepared_before_it_writes() -> None:
    collection, (page,) = free(1)
    with target(collection.name) as writing:
        for call in (lambda: writing.write(page, Mark(SHARD, 0)), writing.acknowledged, lambda: writing.finish({})):
            with pytest.raises(UsageError, match="neither prepared nor attached"):
                call()
        with pytest.raises(NotFound):
            writing.count()
