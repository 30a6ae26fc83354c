"""From Postgres into Postgres: types of the user's, counters, indexes; and dumps that would like to be executed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pytest

from vecport.connectors.address import Place, parse
from vecport.connectors.contract import Mark
from vecport.errors import AlreadyExists, NotRepresentable
from vecport.model.batch import page_schema
from vecport.model.collection import Collection, Field, renamed
from vecport.operations.diff import diff
from vecport.operations.export import export
from vecport.operations.import_ import import_
from vecport.operations.verify import verify

from .hard import make_hard_table
from .support import (
    SHARD,
    connect,
    dsn,
    free,
    fresh,
    load,
    numbered,
    on_table,
    pages,
    plan_for,
    pump,
    records,
    run,
    server_place,
    source,
    target,
)

TYPES = [
    "CREATE TYPE mood AS ENUM ('sad', 'o''k', 'a\"b\\', '')",
    'CREATE TYPE app."We""ird" AS ENUM (\'x\')',
    "CREATE DOMAIN short AS varchar(5) NOT NULL CHECK (length(VALUE) > 0)",
    "CREATE DOMAIN moods AS mood[]",
    'CREATE TYPE pair AS (a int, "b B" numeric(5,2), m mood, t text[])',
    "CREATE TYPE span AS RANGE (subtype = float8)",
]
OWN = {
    "m": ("mood", ["sad", "o'k", 'a"b\\', ""]),
    "ms": ("mood[]", ['{sad,NULL,"a\\"b\\\\"}', "{}", "[2:3]={sad,sad}"]),
    "w": ('app."We""ird"', ["x"]),
    "s": ("short", ["a", "abcde", "x ", "d", "e"]),
    "d": ("moods", ["{sad}"]),
    "p": ("pair", ["(1,2.50,sad,{a})", "(,,,)", '(7,,"o\'k","{""a b"",NULL}")']),
    "ps": ("pair[]", ['{"(1,2.50,sad,{a})",NULL}']),
    "r": ("span", ["[0.1,2)", "empty"]),
    "v": ("vector(2)[]", ['{"[0.1,-0]",NULL}']),
}


@pytest.fixture(scope="module")
def two_databases() -> Iterator[tuple[Place, Place]]:
    """One with types of the user's and a table of all of them, and an empty one."""
    names = [fresh("types"), fresh("bare")]
    run(*(f"CREATE DATABASE {name}" for name in names))
    first, second = (parse(f"{dsn().rpartition('/')[0]}/{name}", allow_password=True) for name in names)
    columns = ", ".join(f"{name} {kind}" for name, (kind, _) in OWN.items())
    extension = "CREATE EXTENSION IF NOT EXISTS vector"
    in_database(first, extension, "CREATE SCHEMA app", *TYPES)
    in_database(first, f"CREATE TABLE t (id mood PRIMARY KEY, {columns}, e vector(2))")
    with psycopg.connect(dsn(), dbname=first.path, autocommit=True) as connection:
        for n, key in enumerate(["sad", "o'k", 'a"b\\', ""]):
            row = [values[n] if n < len(values) else None for _, values in OWN.values()]
            marks = ", ".join(f"%s::text::{kind}" for kind, _ in OWN.values())
            connection.execute(f"INSERT INTO t VALUES (%s::text::mood, {marks}, '[1,2]')".encode(), [key, *row])
    in_database(second, extension)
    yield first, second
    run(*(f"DROP DATABASE {name} WITH (FORCE)" for name in names))


def in_database(place: Place, *statements: str) -> list[Any]:
    with psycopg.connect(dsn(), dbname=place.path, autocommit=True) as connection:
        for statement in statements:
            cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def looks_of(place: Place, table: str) -> Any:
    columns = "SELECT attname, format_type(atttypid, atttypmod), attnotnull FROM pg_attribute"
    named = ", ".join(f"{name}::text" for name in ("id", *OWN))
    return (
        in_database(place, f"{columns} WHERE attrelid = '{table}'::regclass AND attnum > 0 ORDER BY attname"),
        in_database(place, f"SELECT {named} FROM {table} ORDER BY id::text"),
    )


def test_types_of_the_users_are_made_again_and_every_value_is_equal(
    two_databases: tuple[Place, Place], tmp_path: Path
) -> None:
    first, second = two_databases
    export(first.text, tmp_path / "one", collection="t")
    # A range has no definition that is carried; a schema may be missing: then the type goes where the table goes.
    with pytest.raises(NotRepresentable, match='"span" is not in this database'):
        import_(tmp_path / "one", second.text, collection="t")
    assert in_database(second, "SELECT count(*) FROM pg_type WHERE typname IN ('mood', 'pair')") == [(0,)]
    in_database(second, "CREATE TYPE span AS RANGE (subtype = float8)", "CREATE SCHEMA app")
    import_(tmp_path / "one", second.text, collection="t")
    assert looks_of(second, "t") == looks_of(first, "t")
    labels = "SELECT array_agg(enumlabel::text ORDER BY enumsortorder) FROM pg_enum WHERE enumtypid = 'mood'::regtype"
    assert in_database(second, labels) == in_database(first, labels)
    assert verify(tmp_path / "one", second.text, collection="t").exit_code == 0
    export(second.text, tmp_path / "two", collection="t")
    assert diff(tmp_path / "one", tmp_path / "two").identical
    # Without the passport as well: the types are those of the database.
    export(second.text, tmp_path / "three", collection="t", ignore_passport=True)
    assert diff(tmp_path / "one", tmp_path / "three").schema_changes == ()
    # A second table uses the types that are there.
    import_(tmp_path / "one", second.text, collection="u")
    assert looks_of(second, "u") == looks_of(first, "t")


def test_every_type_comes_back_with_an_equal_identity(tmp_path: Path) -> None:
    """Through a dump, not only through pages: the mapping changes nothing, with and without the passport."""
    table, _ = make_hard_table()
    copy, address = fresh("copy"), server_place().text
    columns = "SELECT attname, format_type(atttypid, atttypmod), attnotnull FROM pg_attribute WHERE attrelid ="
    run(
        f"ALTER TABLE {table} ADD h halfvec(2) NOT NULL DEFAULT '[1,2]', ADD b bit(3), ADD s sparsevec(9)",
        f"UPDATE {table} SET b = B'101', s = '{{1:2,9:-1}}/9' WHERE id % 2 = 0",
        f"CREATE INDEX ON {table} USING hnsw (b bit_hamming_ops)",
    )
    export(address, tmp_path / "one", collection=table)
    import_(tmp_path / "one", address, collection=copy)
    assert verify(tmp_path / "one", address, collection=copy).exit_code == 0
    first, second = (run(f"{columns} '{t}'::regclass AND attnum > 0 ORDER BY 1") for t in (table, copy))
    assert first == second
    export(address, tmp_path / "two", collection=copy)
    assert diff(tmp_path / "one", tmp_path / "two").identical
    export(address, tmp_path / "three", collection=copy, ignore_passport=True)
    assert diff(tmp_path / "one", tmp_path / "three").identical


def test_checks_of_domains_are_named_and_not_made(two_databases: tuple[Place, Place]) -> None:
    first, _ = two_databases
    with source("t", place=first) as reading:
        described = reading.describe()
    assert any('domain "public"."short" do not travel: short_check' in note for note in described.notes)
    definition = described.collection.native["types"]['"public"."short"']
    assert definition == {"kind": "domain", "base": "varchar(5)", "not_null": True, "checks": ["short_check"]}


def test_types_of_an_extension_are_found_in_whatever_schema_it_is(
    two_databases: tuple[Place, Place], tmp_path: Path
) -> None:
    first, _ = two_databases
    name = fresh("elsewhere")
    run(f"CREATE DATABASE {name}")
    third = parse(f"{dsn().rpartition('/')[0]}/{name}", allow_password=True)
    try:
        in_database(third, "CREATE SCHEMA ext", "CREATE EXTENSION vector SCHEMA ext")
        in_database(
            first, "CREATE TABLE a (id int PRIMARY KEY, v vector(2)[])", "INSERT INTO a VALUES (1, '{\"[1,2]\"}')"
        )
        export(first.text, tmp_path / "one", collection="a")
        import_(tmp_path / "one", third.text, collection="a")
        kind = "SELECT v::text, format_type(atttypid, atttypmod) FROM a, pg_attribute WHERE attrelid = 'a'::regclass"
        assert in_database(third, f"{kind} AND attname = 'v'") == [('{"[1,2]"}', "ext.vector(2)[]")]
        export(third.text, tmp_path / "two", collection="a")
        assert diff(tmp_path / "one", tmp_path / "two").identical
    finally:
        run(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.parametrize(
    "there",
    [
        "CREATE TYPE {} AS ENUM ('sad')",
        "CREATE DOMAIN {} AS text",
        "CREATE TYPE {} AS (a int)",
    ],
)
def test_another_type_of_the_same_name_is_refused(there: str) -> None:
    kind = fresh("kind")
    run(there.format(kind))
    native = {"types": {f'"public"."{kind}"': {"kind": "enum", "labels": ["sad", "ok"]}}}
    refused(f'"public"."{kind}"', native, "is there, and is not the dump's")


@pytest.mark.parametrize(("rows", "left"), [(0, True), (1, False)])
def test_types_are_made_in_place_of_an_empty_table_and_not_beside_a_full_one(rows: int, left: bool) -> None:
    old, batches = free(rows)
    load(old, batches)
    kind = fresh("kind")
    native = {"types": {f'"public"."{kind}"': {"kind": "enum", "labels": ["a"]}}}
    collection = Collection(old.name, "int", (), (Field("f", f'"public"."{kind}"', "text"),))
    page = numbered(collection, ["1"], ['{"f":"a"}'])
    if left:
        load(collection, [page], native=native)
    else:
        with pytest.raises(AlreadyExists):
            load(collection, [page], native=native)
    assert run(f"SELECT count(*) FROM pg_type WHERE typname = '{kind}'") == [(int(left),)]


def test_a_schema_that_is_missing_is_not_made() -> None:
    kind = fresh("kind")
    collection = Collection(fresh(), "int", (), (Field("f", f'"nowhere"."{kind}"', "text"),))
    native = {"types": {f'"nowhere"."{kind}"': {"kind": "enum", "labels": ["a"]}}}
    load(collection, [numbered(collection, ["1"], ['{"f":"a"}'])], native=native)
    (fields,) = [pages(collection.name)[0].fields]
    assert [field.type for field in fields or ()] == [f'"public"."{kind}"']
    assert run("SELECT count(*) FROM pg_namespace WHERE nspname = 'nowhere'") == [(0,)]


def refused(kind: str, native: dict[str, Any], words: str) -> None:
    """A field of a type is refused, and leaves neither a table nor a type."""
    before = run("SELECT count(*) FROM pg_type")
    collection = Collection(fresh(), "int", (), (Field("f", kind, "text"),))
    with target(collection.name) as writing:
        with pytest.raises(NotRepresentable, match=words):
            writing.prepare(plan_for(collection, [], native=native))
        assert writing.describe() is None
    assert run("SELECT count(*) FROM pg_type") == before


# ---- counters ----


@pytest.mark.parametrize(
    ("declared", "how"),
    [
        ("int8 GENERATED ALWAYS AS IDENTITY", "always"),
        ("int4 GENERATED BY DEFAULT AS IDENTITY", "default"),
        ("serial", "serial"),
        ("smallserial", "serial"),
    ],
)
def test_a_counter_goes_on_behind_the_last_record(declared: str, how: str) -> None:
    table = fresh()
    run(
        f"CREATE TABLE {table} (id {declared} PRIMARY KEY, t text, e vector(1))",
        f"INSERT INTO {table} (t) SELECT 'a' FROM generate_series(1, 9)",
        f"DELETE FROM {table} WHERE id > 7",
    )
    assert pages(table)[0].native["counted"] == {"id": how}
    copy = pump(table)
    identity = "SELECT attidentity::text, atttypid::regtype::text, attnotnull FROM pg_attribute"
    for name in (table, copy):
        assert run(f"{identity} WHERE attrelid = '{name}'::regclass AND attname = 'id'") == run(
            f"{identity} WHERE attrelid = '{table}'::regclass AND attname = 'id'"
        )
    assert run(f"INSERT INTO {copy} (t) VALUES ('new') RETURNING id") == [(8,)]
    # A table that is appended to never counts backwards.
    run(f"SELECT setval(pg_get_serial_sequence('{copy}', 'id'), 500)")
    collection, batches = pages(table)
    load(renamed(collection, copy), batches, if_exists="append")
    assert run(f"INSERT INTO {copy} (t) VALUES ('new') RETURNING id") == [(501,)]


def test_counters_that_cannot_be_are_plain_columns() -> None:
    collection = Collection(fresh(), "int", (), (Field("t", "text"), Field("n", "int4")))
    native = {"counted": {"t": "serial", "n": "always'; DROP", "id": ["x"], "nothing": "serial"}}
    load(collection, [numbered(collection, ["1"], ['{"n":1,"t":"a"}'])], native=native)
    assert run(
        "SELECT count(*) FROM pg_attribute WHERE (attidentity <> '' OR atthasdef)"
        f" AND attrelid = '{collection.name}'::regclass"
    ) == [(0,)]


def test_generated_columns_are_data_in_the_dump_and_plain_in_a_new_table() -> None:
    table = fresh()
    run(
        f"CREATE TABLE {table} (id int PRIMARY KEY, a int, b int GENERATED ALWAYS AS (a * 2) STORED, e vector(1))",
        f"INSERT INTO {table} (id, a) VALUES (1, 21)",
    )
    assert records(pages(table)[1])[0]["metadata"] == '{"a":21,"b":42}'
    assert run(f"SELECT a, b FROM {pump(table)}") == [(21, 42)]


# ---- indexes ----


def indexes_of(table: str) -> list[tuple[str, str]]:
    found = run(f"SELECT indexname, indexdef FROM pg_indexes WHERE tablename = '{table}' AND indexdef !~ 'btree'")
    return sorted((name, text.partition("USING ")[2]) for name, text in found)


def test_indexes_are_rebuilt_from_their_parts(tmp_path: Path) -> None:
    table, mine = fresh(), fresh('My "index')
    run(f"CREATE TABLE {table} (id int PRIMARY KEY, a vector(3), b halfvec(3), t text)")
    run(f"INSERT INTO {table} SELECT i, array_fill(i::real, ARRAY[3])::vector, NULL FROM generate_series(1, 5) i")
    on_table("CREATE INDEX {} ON {} USING hnsw (a vector_cosine_ops) WITH (m = 7, ef_construction = 33)", mine, table)
    run(
        f"CREATE INDEX ON {table} USING ivfflat (a vector_cosine_ops) WITH (lists = 2)",
        f"CREATE INDEX ON {table} USING hnsw (b halfvec_l1_ops)",
        f"CREATE INDEX ON {table} USING hnsw ((a::halfvec(3)) halfvec_cosine_ops)",
        f"CREATE INDEX part_{table} ON {table} USING hnsw (a vector_cosine_ops) WHERE id > 2",
        f"CREATE INDEX text_{table} ON {table} (t)",
    )
    address = server_place().text
    export(address, tmp_path / "one", collection=table)
    with source(table) as reading:
        (note,) = [note for note in reading.describe().notes if "not recreated" in note]
    assert f"part_{table}" in note
    assert f"text_{table}" in note
    run(f"ALTER TABLE {table} RENAME TO old_{table}")
    import_(tmp_path / "one", address, collection=table)
    after = indexes_of(table)
    assert sorted(text for _, text in after) == [
        "hnsw (a vector_cosine_ops) WITH (m='7', ef_construction='33')",
        "hnsw (b halfvec_l1_ops)",
        "ivfflat (a vector_cosine_ops) WITH (lists='2')",
    ]
    # The names are taken by the old table, so others were found.
    assert mine not in [name for name, _ in after]
    run(f"DROP TABLE old_{table}, {table}")
    import_(tmp_path / "one", address, collection=table)
    assert mine in [name for name, _ in indexes_of(table)]
    # What the user says goes before.
    import_(tmp_path / "one", address, collection=table, if_exists="replace", settings={"index": "none"})
    assert indexes_of(table) == []
    import_(tmp_path / "one", address, collection=table, if_exists="replace", settings={"metric.a": "l2"})
    assert [text for _, text in indexes_of(table)] == ["hnsw (b halfvec_l1_ops)"]


def test_a_table_without_an_index_is_restored_without() -> None:
    collection, batches = free(3, metric="unknown")
    load(collection, batches)
    assert indexes_of(pump(collection.name)) == []


GOOD = {"name": "i", "vector": "embedding", "method": "hnsw", "opclass": "vector_l2_ops", "options": ["m=8"]}


@pytest.mark.parametrize(
    "change",
    [
        {"method": "btree"}, {"method": "hnsw (embedding); DROP TABLE canary; --"}, {"method": None},
        {"opclass": "vector_l2_ops); DROP TABLE canary; --"}, {"opclass": "halfvec_l2_ops"}, {"opclass": ["x"]},
        {"options": ["m=8); DROP TABLE canary; --"]}, {"options": ["m=1000"]}, {"options": ["fillfactor=50"]},
        {"options": ["lists=5"]}, {"options": "m=8"}, {"options": [8]}, {"options": ["m=\u0668"]},
        {"method": "ivfflat", "opclass": "vector_l1_ops", "options": []}, {"name": "x" * 64}, {"name": "a\0b"},
    ],
)  # fmt: skip
def test_an_index_of_a_dump_is_its_parts_or_refused(change: dict[str, Any]) -> None:
    collection, batches = free(2, metric="unknown")
    native = {"vectors": {"embedding": {}}, "vector_indexes": [GOOD | change]}
    with target(collection.name) as writing:
        with pytest.raises(NotRepresentable):
            writing.prepare(plan_for(collection, batches, native=native))
        assert writing.describe() is None
    load(collection, batches, native=native, settings={"index": "none"})
    assert indexes_of(collection.name) == []


# ---- a dump that would like to be executed ----

BAD = "x'); DROP TABLE canary; --"


@pytest.fixture
def canary() -> Iterator[None]:
    run("DROP TABLE IF EXISTS canary", "CREATE TABLE canary (alive bool)", "INSERT INTO canary VALUES (true)")
    yield
    assert run("SELECT alive FROM canary") == [(True,)]
    run("DROP TABLE canary")


@pytest.mark.parametrize(
    "text", [BAD, 'x"; DROP TABLE canary; --', "\\'; DROP TABLE canary; --", "$$; DROP TABLE canary; $$", "%s $1 {}"]
)
def test_names_and_labels_of_a_dump_are_only_text(text: str, canary: None) -> None:
    quoted = '"' + text.replace('"', '""') + '"'
    kind, other, domain = (f'"public".{quoted[:-1]}{n}"' for n in ("e", "c", "d"))
    native = {
        "schema": text,
        "table": text,
        "types": {
            kind: {"kind": "enum", "labels": [text, "ok"]},
            other: {"kind": "composite", "attributes": [[text, kind]]},
            domain: {"kind": "domain", "base": kind, "not_null": False, "checks": [text], "default": text},
        },
        "vectors": {text: {"dim": 4, "nullable": True}},
        "vector_indexes": [GOOD | {"vector": text, "name": text, "definition": text, "expression": text}],
        "counted": {text: "serial", "id": text},
        "defaults": {text: text},
        "comment": text,
    }
    collection, (page,) = free(1)
    fields = tuple(Field(f"{text}{n}", kind_, "text") for n, kind_ in enumerate((kind, other, domain)))
    collection = replace(
        collection, name=text, fields=fields, vectors=(replace(collection.vectors[0], name=text, metric="l2"),)
    )
    value = '("' + text.replace("\\", "\\\\").replace('"', '""') + '")'
    row = json.dumps(dict(zip((f.name for f in fields), (text, value, text), strict=True)), sort_keys=True)
    plain = numbered(replace(collection, vectors=()), ["1"], [row])
    page = pa.RecordBatch.from_arrays([*plain.columns, page.columns[-1]], schema=page_schema(collection))
    try:
        load(collection, [page], native=native, passport={"text": text})
        with source(f'"{text.replace(chr(34), chr(34) * 2)}"') as reading:
            reading.snapshot()
            fetched = reading.fetch([("", "1")]).to_pylist()
        assert json.loads(fetched[0]["metadata"]) == json.loads(row)
        with connect() as connection:
            found = connection.execute("SELECT indexname FROM pg_indexes WHERE tablename = %s", [text]).fetchall()
        assert (text,) in found or (f"{text}_pkey",) in found
    finally:
        on_table("DROP TABLE IF EXISTS {}", text)
        for name in (domain, other):
            run(f"DROP {'DOMAIN' if name == domain else 'TYPE'} IF EXISTS {name}")
        run(f"DROP TYPE IF EXISTS {kind}")


@pytest.mark.parametrize(
    ("kind", "definition"),
    [
        ("enum", {"kind": "enum", "labels": "x"}),
        ("enum", {"kind": "enum", "labels": [1]}),
        ("enum", {"kind": "enum", "labels": ["a\0"]}),
        ("enum", {"kind": "enum", "labels": ["x" * 64]}),
        ("domain", {"kind": "domain", "base": "int4; DROP TABLE canary"}),
        ("domain", {"kind": "domain", "base": "text) CHECK (true"}),
        ("domain", {"kind": "domain", "base": None}),
        ("domain", {"kind": "domain", "base": '"public"."hostile"'}),
        ("composite", {"kind": "composite", "attributes": [["a", "int4, b text"]]}),
        ("composite", {"kind": "composite", "attributes": [["", "int4"]]}),
        ("composite", {"kind": "composite", "attributes": [[1, "int4"]]}),
        ("composite", {"kind": "composite", "attributes": [["a", '"public"."hostile"[]']]}),
        ("composite", {"kind": "composite", "attributes": {"a": "int4"}}),
        ("other", {"kind": "other", "statement": "CREATE TYPE hostile AS ENUM ()"}),
        ("extension", {"kind": "extension", "extension": "file_fdw"}),
        ("nothing", {}),
        ("text", "DROP TABLE canary"),
    ],
)
def test_a_definition_outside_the_grammar_is_refused(kind: str, definition: Any, canary: None) -> None:
    refused('"public"."hostile"', {"types": {'"public"."hostile"': definition}}, "hostile|identifier|U.0000")


@pytest.mark.parametrize(
    "native", [{"types": []}, {"types": {"x": 1}}, {"vectors": 5, "vector_indexes": 7}, {"counted": 1}]
)
def test_native_settings_of_another_shape_change_nothing(native: dict[str, Any]) -> None:
    collection, batches = free(2)
    load(collection, batches, native=native)
    assert [text for _, text in indexes_of(collection.name)] == ["hnsw (embedding vector_l2_ops)"]


def test_a_value_is_cast_and_never_executed(canary: None) -> None:
    kind = fresh("kind")
    run(f"CREATE TYPE {kind} AS ENUM ('a')")
    collection = Collection(fresh(), "int", (), (Field("f", f'"public"."{kind}"', "text"),))
    with target(collection.name) as writing:
        writing.prepare(plan_for(collection, []))
        page = numbered(collection, ["1"], ['{"f":"x\'); DROP TABLE canary; --"}'])
        with pytest.raises(NotRepresentable, match="invalid input value for enum"):
            writing.write(page, Mark(SHARD, 0))
