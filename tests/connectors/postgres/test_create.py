"""Tables that the Postgres connector creates: columns, keys, names."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vecport.connectors.contract import Mark
from vecport.errors import NotRepresentable, UsageError, VecportError
from vecport.model.batch import dense_array, make_page
from vecport.model.collection import Collection, Field, VectorField, renamed
from vecport.operations.export import export
from vecport.operations.import_ import import_

from .support import (
    NAMES,
    SHARD,
    columns,
    dsn,
    free,
    fresh,
    load,
    numbered,
    on_table,
    pages,
    plan_for,
    records,
    run,
    server_place,
    target,
)

pytestmark = pytest.mark.usefixtures("no_acknowledgements")


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


def test_integer_ids_beyond_bigint_become_text(tmp_path: Path) -> None:
    ids = ["18446744073709551615", "7", "-1"]
    (tmp_path / "rows.jsonl").write_text("".join(f'{{"id": {i}, "vector": [1, 2]}}\n' for i in ids))
    export(f"jsonl:{tmp_path / 'rows.jsonl'}", tmp_path / "dump")
    name = fresh()
    import_(tmp_path / "dump", dsn(), collection=name)
    assert columns(name)["id"] == "text!"
    assert {row["id"] for row in records(pages(name)[1])} == set(ids)


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
