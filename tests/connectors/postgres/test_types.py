"""Column types of Postgres: every value comes back as Postgres itself sees it, or its column is refused by name."""

from __future__ import annotations

import json
from typing import Any

import pytest

from vecport.connectors.contract import Mark
from vecport.connectors.postgres.types import parse_type
from vecport.errors import NotRepresentable
from vecport.model import canonical
from vecport.model.collection import Collection, Field

from .hard import make_hard_table
from .support import SHARD, fresh, numbered, pages, plan_for, pump, records, run, source, target


def test_every_type_with_hard_values_comes_back_as_postgres_sees_it() -> None:
    table, types = make_hard_table()
    collection, _ = pages(table)
    assert [field.type for field in collection.fields or ()] == types
    copy = pump(table)
    for n, kind in [*enumerate(types), (-1, "vector")]:
        column = "e" if kind == "vector" else f"c{n}"
        if kind == "json":
            # White space and key order are not kept, and the connector says so.
            wrong = _different_json(table, copy, column)
        else:
            # The text tells apart what some types call equal: 0 and -0, 1.5 and 1.50. In jsonb 1.5 is 1.50.
            looks = column if kind == "jsonb" else f"{column}::text"
            wrong = run(
                f"SELECT a.id, a.{column}::text, b.{column}::text FROM {table} a FULL JOIN {copy} b USING (id)"
                f" WHERE a.{looks} IS DISTINCT FROM b.{looks}"
            )
        assert not wrong, f"{kind}: {wrong}"
    assert _definition(table) == _definition(copy)


def _different_json(table: str, copy: str, column: str) -> list[Any]:
    rows = run(f"SELECT a.id, a.{column}::text, b.{column}::text FROM {table} a FULL JOIN {copy} b USING (id)")
    plain = [(i, *(t if t is None else canonical.canonicalise_text(t) for t in pair)) for i, *pair in rows]
    return [row for row in plain if row[1] != row[2]]


def _definition(table: str) -> list[Any]:
    return sorted(
        run(
            "SELECT attname, format_type(atttypid, atttypmod), attnotnull FROM pg_attribute"
            f" WHERE attrelid = '{table}'::regclass AND attnum > 0"
        )
    )


def test_a_copy_of_a_copy_has_the_same_pages() -> None:
    table, _ = make_hard_table()
    first, before = pages(table)
    second, after = pages(pump(pump(table)))
    key = lambda row: row["id"]  # noqa: E731
    assert sorted(records(before), key=key) == sorted(records(after), key=key)
    assert first.digest() == second.digest()


PORTABLE = {
    "int2": "int64", "int4": "int64", "int8": "int64", "float4": "float64", "float8": "float64", "bool": "bool",
    "text": "string", "varchar(9)": "string", "char(4)": "string", "bpchar": "string", "uuid": "string",
    "timestamp": "timestamp", "timestamptz(3)": "timestamp", "date": "timestamp", "bytea": "binary",
    "numeric(10,2)": "decimal", "json": "json", "jsonb": "json", "int4[]": "list<int64>", "text[]": "list<string>",
    "float4[]": "list<float64>", "numeric[]": "list<decimal>", "timestamptz[]": "list<timestamp>",
    "jsonb[]": "list<json>", "time": None, "interval": None, "inet": None, "money": None, "int4range": None,
    "point": None, "bit(3)": None, "interval[]": None,
}  # fmt: skip


def test_fields_have_portable_types_and_a_copy_has_them_again() -> None:
    table, kind = fresh(), fresh("kind")
    columns = ", ".join(f"c{n} {spelled}" for n, spelled in enumerate(PORTABLE))
    run(
        f"CREATE TYPE {kind} AS ENUM ('a')",
        f"CREATE TABLE {table} (id int8 PRIMARY KEY, {columns}, own {kind}, owns {kind}[], e vector(2))",
        f"INSERT INTO {table} (id, e) VALUES (7, '[1,2]')",
    )
    for name in (table, pump(table)):
        collection, _ = pages(name)
        assert [f.logical for f in collection.key] == ["int64"]
        found = {f.type: f.logical for f in collection.fields or ()}
        own = {f'"public"."{kind}"': None, f'"public"."{kind}"[]': None}
        assert found == PORTABLE | own
    print(f"\ncolumn types of Postgres with a portable one: {sum(v is not None for v in PORTABLE.values())}")


def test_single_records_are_fetched_as_they_are_scanned() -> None:
    table, _ = make_hard_table()
    _, (page,) = pages(table)
    with source(table) as reading:
        reading.snapshot()
        fetched = reading.fetch([("", i) for i in page.column("id").to_pylist()])
    assert sorted(map(str, records([fetched]))) == sorted(map(str, records([page])))


def test_values_stand_in_pages_as_the_design_says() -> None:
    table = fresh()
    run(
        f"CREATE TABLE {table} (id int8 PRIMARY KEY, n numeric, d date, t timestamptz, f float4, b bytea, c char(4),"
        " j jsonb, k jsonb, l jsonb, a int4[], m int4[], e vector(2))",
        f"INSERT INTO {table} VALUES (7, '1.50', '0044-03-15 BC', '2024-01-01 00:00:00.5+01', 0.1, '\\x00ff', 'ab',"
        " 'null', NULL, '{\"b\": 1, \"a\": 1.50}', '{1,NULL}', '{{1},{2}}', '[1,2]')",
    )
    _, (page,) = pages(table)
    (row,) = page.to_pylist()
    assert row["id"] == "7"
    assert row["vector_e"] == [1.0, 2.0]
    # JSON null is a value of a jsonb column, so that NULL there is a key that is left out.
    assert json.loads(row["metadata"]) == {
        "n": "1.50", "d": "0044-03-15 BC", "t": "2023-12-31 23:00:00.5+00", "f": 0.10000000149011612,
        "b": {"$vp": {"bytes": "AP8="}}, "c": "ab  ", "j": None, "l": {"a": 1.5, "b": 1},
        "a": [1, None], "m": "{{1},{2}}",
    }  # fmt: skip
    assert canonical.is_canonical(row["metadata"])


def test_text_forms_do_not_depend_on_the_settings_of_role_or_database() -> None:
    table = fresh()
    columns = {
        "t": ("timestamptz", "2024-02-03 04:05:06.7+00"), "d": ("date", "2024-02-03"),
        "i": ("interval", "1 year 2 mons -3 days +04:05:06"), "b": ("bytea[]", '{"\\\\x00ff"}'),
        "p": ("point", "(0.30000000000000004,1)"), "a": ("float8[]", "[0:0]={0.30000000000000004}"),
    }  # fmt: skip
    run(
        f"CREATE TABLE {table} (id int PRIMARY KEY, f float8, e vector(1)"
        + "".join(f", {name} {kind}" for name, (kind, _) in columns.items())
        + ")",
        f"INSERT INTO {table} VALUES (1, 0.1::float8 + 0.2::float8, '[1]'"
        + "".join(f", '{text}'" for _, text in columns.values())
        + ")",
        "ALTER ROLE postgres SET DateStyle = 'German, DMY'",
        "ALTER ROLE postgres SET TimeZone = 'Asia/Kathmandu'",
        "ALTER ROLE postgres SET extra_float_digits = -10",
        "ALTER ROLE postgres SET IntervalStyle = sql_standard",
        "ALTER ROLE postgres SET bytea_output = escape",
        "ALTER ROLE postgres SET lc_monetary = 'POSIX'",
    )
    try:
        _, (page,) = pages(table)
        copy = pump(table)
        with source(table) as reading, reading._reading() as connection:
            # Which other locales a server has is not known.
            assert connection.execute("SHOW lc_monetary").fetchone() == ("C",)
    finally:
        run("ALTER ROLE postgres RESET ALL")
    assert json.loads(page.to_pylist()[0]["metadata"]) == {
        "f": 0.30000000000000004, **{name: text for name, (_, text) in columns.items()},
    }  # fmt: skip
    listed = f"SELECT id, f, e, {', '.join(f'{name}::text' for name in columns)} FROM"
    assert run(f"{listed} {table}") == run(f"{listed} {copy}")


# ---- what is refused ----


@pytest.mark.parametrize(
    ("kind", "shown"),
    [
        ("regclass", "regclass"), ("regtype", "regtype"), ("regproc", "regproc"), ("aclitem", "aclitem"),
        ("xid", "xid"), ("xml", "xml"), ("cid", "cid"), ("tid", "tid"), ("refcursor", "refcursor"),
        ("int2vector", "int2vector"),
        ("oidvector", "oidvector"), ("regclass[]", "regclass[]"), ("gtsvector", "gtsvector"),
    ],
)  # fmt: skip
def test_other_types_are_refused_by_column_and_type(kind: str, shown: str) -> None:
    table = fresh()
    run(f'CREATE TABLE {table} (id int PRIMARY KEY, "The column" {kind}, ok text)')
    with source(table) as reading, pytest.raises(NotRepresentable) as caught:
        reading.describe()
    assert f"'The column' is {shown}" in str(caught.value)
    assert "'ok'" not in str(caught.value)


def test_all_columns_that_cannot_be_carried_are_named_at_once() -> None:
    table = fresh()
    run(f"CREATE TABLE {table} (id int PRIMARY KEY, a regclass, b xid, c text, e vector(2))")
    with source(table) as reading, pytest.raises(NotRepresentable) as caught:
        reading.describe()
    assert "'a' is regclass; 'b' is xid" in str(caught.value)


@pytest.mark.parametrize("kind", ["float8", "bytea", "jsonb", "int4[]"])
def test_a_key_of_a_type_that_is_no_id_is_refused(kind: str) -> None:
    table = fresh()
    run(f"CREATE TABLE {table} (k {kind} PRIMARY KEY, e vector(2))")
    with source(table) as reading, pytest.raises(NotRepresentable, match=r"'k' is .*cannot be an id"):
        reading.describe()


def test_json_that_no_dump_can_hold_is_refused_with_column_and_record() -> None:
    table = fresh()
    run(
        f"CREATE TABLE {table} (id int PRIMARY KEY, j json, e vector(1))",
        f"""INSERT INTO {table} VALUES (1, '{{"a": 1}}'), (2, '{{"a": 1, "a": 2}}')""",
    )
    with pytest.raises(NotRepresentable) as caught:
        pages(table)
    assert "column 'j' of record '2'" in str(caught.value)
    assert "twice" in str(caught.value)


# ---- what a typed column would store as another value ----


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("varchar(3)", "abcd"), ("varchar(3)", "abc "), ("char(3)", "ab"), ("char(3)", "abcd"), ("char(3)", "abc "),
        ("int2", 32768), ("int4", 2**31), ("int8", 2**63), ("int8", 2**70), ("int4", 1.0), ("int4", True),
        ("int4", "1"),
        ("float8", 1), ("float8", "1"), ("float4", 0.1), ("float4", 1e300), ("bool", 1), ("bool", "true"), ("text", 1),
        ("text", {"$vp": {"wtf8": "7aCA"}}), ("text", "a\0b"), ("uuid", "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11"),
        ("uuid", "x"), ("uuid", "a0eebc999c0b4ef8bb6d6bb9bd380a11"), ("bytea", "abc"), ("bytea", {"$vp": "NaN"}),
        ("numeric(10,2)", "1.005"), ("numeric(10,2)", "1.5"), ("numeric(10,2)", "123456789.00"), ("numeric", "1e3"),
        ("numeric", "-0"), ("numeric", "007"), ("numeric", "+1"), ("numeric", "x"), ("date", "2024-02-30"),
        ("date", "2024-2-3"), ("date", "20240203"), ("date", "0000-01-01"), ("timestamp(0)", "2024-01-01 00:00:00.5"),
        ("timestamp", "2024-01-01T00:00:00"), ("timestamp", "2024-01-01 00:00:00.50"), ("timestamp", "2024-01-01"),
        ("timestamp", "2024-01-01 24:00:00"), ("timestamptz", "2024-01-01 00:00:00+01"), ("timestamptz", "now"),
        ("timestamptz", "2024-01-01 00:00:60+00"), ("text[]", ["a", 1]), ("text[]", "{a, b}"), ("text[]", "x"),
        ("int4[]", [1, 2**31]), ("int4[]", [1.5]), ("int4[]", {"a": 1}), ("varchar(2)[]", ["abc"]), ("float8[]", [1]),
        ("jsonb", {"$vp": "NaN"}), ("jsonb", {"a": [-0.0]}), ("jsonb", {"a\0": 1}), ("jsonb", ["a\0"]),
        ("jsonb", {"$vp": {"bytes": "AA=="}}), ("jsonb", [{"$vp": {"wtf8": "7aCA"}}]), ("json", [{"$vp": "Infinity"}]),
    ],
)  # fmt: skip
def test_a_value_that_a_typed_column_changes_is_refused(kind: str, value: Any) -> None:
    collection = Collection(fresh(), "int", (), (_field("f", kind),))
    page = numbered(collection, ["1"], [json.dumps({"f": value})])
    plan = plan_for(collection, [page])
    with target(collection.name) as writing:
        writing.prepare(plan)
        with pytest.raises(NotRepresentable):
            writing.write(page, Mark(SHARD, 0))
        assert writing.count() == 0
        assert writing.acknowledged() == set()


def _field(name: str, kind: str) -> Field:
    return Field(name, kind, parse_type(kind, name).encoding)


def test_metadata_must_have_the_keys_of_the_typed_columns() -> None:
    collection = Collection(fresh(), "int", (), (_field("a", "int4"), _field("j", "jsonb")))
    whole = '{"a":1,"j":null}'
    with target(collection.name) as writing:
        writing.prepare(plan_for(collection, []))
        for text, words in [
            ('{"j":1}', "'a' of type int4: a record lacks it"),
            ('{"a":1,"b":2,"j":null}', "metadata has keys without a column: 'b'"),
            ('{"$$vp":1,"a":1,"j":1}', r"without a column: '\$\$vp'"),
        ]:
            with pytest.raises(NotRepresentable, match=words):
                writing.write(numbered(collection, ["1", "2"], [whole, text]), Mark(SHARD, 0))
        writing.write(numbered(collection, ["1", "2"], [whole, '{"a":null}']), Mark(SHARD, 0))
    assert run(f"SELECT id, a, j::text FROM {collection.name} ORDER BY id") == [(1, 1, "null"), (2, None, None)]
