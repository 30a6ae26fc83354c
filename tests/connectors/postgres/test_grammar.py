"""The grammar of Postgres column types: spelled and parsed both ways, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vecport.connectors.postgres.types import BASES, PATTERN, ColumnType, catalog_type, parse_type
from vecport.errors import NotRepresentable
from vecport.model.collection import Collection, Field

from .hard import HARD, make_hard_table
from .support import fresh, plan_for, run, target


def test_types_are_spelled_and_parsed_both_ways() -> None:
    for text in HARD:
        kind = parse_type(text, "c")
        assert kind.name == text
        assert run(f"SELECT NULL::{kind.sql}")
    table, types = make_hard_table()
    found = run(
        "SELECT coalesce(x.oid, atttypid), atttypmod, x.oid IS NOT NULL FROM pg_attribute a JOIN pg_type t"
        " ON t.oid = atttypid LEFT JOIN pg_type x ON x.typarray = t.oid"
        f" WHERE attrelid = '{table}'::regclass AND attname LIKE 'c%' AND attnum > 0 ORDER BY attnum"
    )
    names = [kind.name for kind in (catalog_type(oid, mod, array=array) for oid, mod, array in found) if kind]
    assert names == types


@pytest.mark.parametrize(
    "text",
    ["int", "integer", "TEXT", "text ", "text--", "varchar(0x1)", "varchar(1,2)", "varchar(-1)", "text; drop table x",
     "int4)[]", "numeric(1,2,3)", "timestamp(7)", "vector(3)", "char", "", "int4[][]",
     "int4[3]",
     'text" collate "C', "text default now()", "varchar(99999999999)", "int4\n", "interval(7)",
     "interval second to day", "bit", "regclass", '"a"."b"."c"', '"a".b', '"a"."b"(1;2)',
     '"a"."b"[][]', '"a"."b" ', '"a"."b"; --', '""."b"',
     '"pg_catalog"."regclass"', '"a"."' + 64 * "x" + '"'],
)  # fmt: skip
def test_a_type_outside_the_grammar_is_refused(text: str) -> None:
    with pytest.raises(NotRepresentable):
        parse_type(text, "c")
    collection = Collection(fresh(), "int", (), (Field("c", text),))
    with target(collection.name) as writing:
        with pytest.raises(NotRepresentable):
            writing.prepare(plan_for(collection, []))
        assert writing.describe() is None


@given(st.text(alphabet="abcdefghijklmnopqrstuvwxyz0123456789()[],- ;'\"", max_size=24))
def test_no_text_becomes_a_type_but_its_own_spelling(text: str) -> None:
    try:
        kind = parse_type(text, "c")
    except NotRepresentable:
        return
    assert kind.name.replace("+", "") == text or kind.arguments


def test_the_declared_pattern_and_the_grammar_agree() -> None:
    import re

    for base in BASES.values():
        for arguments in ((), (3,), (3, 2)):
            for array in (False, True):
                text = ColumnType(base, arguments, array).name
                if re.fullmatch(PATTERN, text):
                    assert parse_type(text, "c").name == text
    assert target("x").capabilities.typed_fields == PATTERN
