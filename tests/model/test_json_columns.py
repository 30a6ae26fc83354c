"""Typed columns become, by columnar code, the very bytes that ``canonical.dumps`` writes row by row."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vecport.errors import NotRepresentable
from vecport.model import canonical
from vecport.model.canonical import MAX_DEPTH, dumps, is_canonical, loads
from vecport.model.json_columns import RawJSON, inject, object_column

PROFILE = settings(deadline=None, max_examples=150, suppress_health_check=list(HealthCheck))

odd_text = st.text(
    st.one_of(st.sampled_from('"\\\n\x00\x1f\x7f,{}$é\U0001f600'), st.characters(codec="utf-8")), max_size=8
)
double = st.one_of(st.floats(), st.integers(-(10**17), 10**17).map(float))
json_value = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), double, odd_text, st.binary(max_size=4)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(odd_text, inner, max_size=3)),
    max_leaves=5,
)


def whole(bits: int, signed: bool) -> st.SearchStrategy[int]:
    return st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else st.integers(0, 2**bits - 1)


COLUMN_TYPES: list[tuple[pa.DataType, st.SearchStrategy[Any]]] = [
    (pa.bool_(), st.booleans()),
    (pa.float16(), st.floats(width=16)),
    (pa.float32(), st.floats(width=32)),
    (pa.float64(), double),
    (pa.string(), odd_text),
    (pa.large_string(), odd_text),
    (pa.binary(), st.binary(max_size=4)),
    (pa.decimal128(30, 10), st.decimals(-(10**15), 10**15, places=10)),
    (pa.null(), st.none()),
    (pa.list_(pa.float32()), st.lists(st.one_of(st.none(), st.floats(width=32)), max_size=3)),
    (pa.list_(pa.float16()), st.lists(st.floats(width=16), max_size=3)),
    (pa.large_list(pa.list_(pa.string())), st.lists(st.lists(odd_text, max_size=2), max_size=3)),
    (pa.list_(pa.bool_(), 2), st.lists(st.booleans(), min_size=2, max_size=2)),
]
COLUMN_TYPES += [(getattr(pa, f"int{bits}")(), whole(bits, True)) for bits in (8, 16, 32, 64)]
COLUMN_TYPES += [(getattr(pa, f"uint{bits}")(), whole(bits, False)) for bits in (8, 16, 32, 64)]


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[str], list[pa.Array | RawJSON], list[list[Any]]]:
    """Names, columns, and the values of each column as Python sees them."""
    names = draw(
        st.lists(st.one_of(st.sampled_from(["$vp", "$$vp", "a", '"']), odd_text), min_size=1, max_size=5, unique=True)
    )
    rows, skipped = draw(st.integers(0, 6)), draw(st.integers(0, 2))
    columns: list[pa.Array | RawJSON] = []
    values: list[list[Any]] = []
    for _ in names:
        if draw(st.booleans()):
            kind, item = draw(st.sampled_from(COLUMN_TYPES))
            cells = draw(st.lists(st.one_of(st.none(), item), min_size=rows + skipped, max_size=rows + skipped))
            columns.append(pa.array(cells, kind).slice(skipped))
        else:
            cells = draw(st.lists(json_value, min_size=rows + skipped, max_size=rows + skipped))
            texts = [None if cell is None else dumps(cell) for cell in cells]
            columns.append(RawJSON(pa.array(texts, pa.string()).slice(skipped)))
        values.append([float(cell) if isinstance(cell, np.floating) else cell for cell in cells[skipped:]])
    return names, columns, values


def row_by_row(names: list[str], values: list[list[Any]], optional: set[str]) -> list[str]:
    rows = [dict(zip(names, row, strict=True)) for row in zip(*values, strict=True)]
    return [dumps({k: v for k, v in row.items() if v is not None or k not in optional}) for row in rows]


@PROFILE
@given(tables(), st.data())
def test_columns_become_what_dumps_writes_for_each_row(table: Any, data: st.DataObject) -> None:
    names, columns, values = table
    assert object_column(names, columns).to_pylist() == row_by_row(names, values, set())
    assert object_column(names, columns, missing="omit").to_pylist() == row_by_row(names, values, set(names))
    some = data.draw(st.sets(st.sampled_from(names)))
    result = object_column(names, columns, omit=some)
    assert result.to_pylist() == row_by_row(names, values, some)
    assert result.type == pa.string()
    result.validate(full=True)


@pytest.mark.parametrize(("kind", "item"), COLUMN_TYPES, ids=lambda case: str(case).split("(")[0])
def test_every_column_type_alone(kind: pa.DataType, item: st.SearchStrategy[Any]) -> None:
    @settings(PROFILE, max_examples=25)
    @given(st.lists(st.one_of(st.none(), item), max_size=12))
    def check(cells: list[Any]) -> None:
        values = [float(cell) if isinstance(cell, np.floating) else cell for cell in cells]
        assert object_column(["key"], [pa.array(cells, kind)]).to_pylist() == row_by_row(["key"], [values], set())

    check()


def test_a_float32_is_spelled_as_the_double_of_the_same_value() -> None:
    column = pa.array([0.1, 16777216.0, None, math.nan, -math.inf, -0.0], pa.float32())
    assert object_column(["x"], [column]).to_pylist() == [
        '{"x":0.10000000149011612}',
        '{"x":16777216.0}',
        '{"x":null}',
        '{"x":{"$vp":"NaN"}}',
        '{"x":{"$vp":"-Infinity"}}',
        '{"x":-0.0}',
    ]


def test_a_null_is_null_or_absent_by_choice() -> None:
    names, columns = ["b", "a"], [pa.array([1, None, None]), pa.array(["x", "y", None])]
    assert object_column(names, columns).to_pylist() == ['{"a":"x","b":1}', '{"a":"y","b":null}', '{"a":null,"b":null}']
    assert object_column(names, columns, missing="omit").to_pylist() == ['{"a":"x","b":1}', '{"a":"y"}', "{}"]
    assert object_column(names, columns, omit=["b"]).to_pylist() == ['{"a":"x","b":1}', '{"a":"y"}', '{"a":null}']
    assert object_column(names, columns, omit=["a"]).to_pylist() == [
        '{"a":"x","b":1}',
        '{"a":"y","b":null}',
        '{"b":null}',
    ]


def test_a_null_that_covers_bytes_stays_null() -> None:
    data, offsets = pa.py_buffer(b'a"b'), pa.py_buffer(np.array([0, 1, 2, 3], np.int32).data)
    hidden = pa.StringArray.from_buffers(3, offsets, data, null_bitmap=pa.py_buffer(bytes([0b101])), null_count=1)
    assert object_column(["x"], [hidden]).to_pylist() == ['{"x":"a"}', '{"x":null}', '{"x":"b"}']
    assert object_column(["x"], [hidden], omit=["x"]).to_pylist() == ['{"x":"a"}', "{}", '{"x":"b"}']


def test_the_right_rows_of_a_slice_are_escaped() -> None:
    texts = ['"', "a", "", "\\", None, "b", "\n", "", '"']
    for start in range(len(texts)):
        for kind in pa.string(), pa.large_string():
            column = pa.array(texts, kind)[start : start + 5]
            expected = [dumps({"x": text}) for text in texts[start : start + 5]]
            assert object_column(["x"], [column]).to_pylist() == expected


def test_no_rows_give_no_objects() -> None:
    for kind, _ in COLUMN_TYPES:
        assert object_column(["a"], [pa.array([], kind)]).to_pylist() == []


def test_an_orjson_that_spells_otherwise_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(canonical, "ORJSON_AGREES", False)
    assert object_column(["x"], [pa.array([1e16, None, math.nan])]).to_pylist() == [
        '{"x":1e+16}',
        '{"x":null}',
        '{"x":{"$vp":"NaN"}}',
    ]


@pytest.mark.parametrize(
    "column",
    [
        pa.array([0], pa.timestamp("us")),
        pa.array([0], pa.date32()),
        pa.array([{"a": 1}]),
        pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64())),
        pa.array([[0]], pa.list_(pa.duration("s"))),
    ],
    ids=lambda column: str(column.type),
)
def test_types_without_a_json_form_are_refused(column: pa.Array) -> None:
    with pytest.raises(NotRepresentable, match="column of type"):
        object_column(["a"], [column])


def test_names_must_be_unique_and_utf_8_and_match_the_columns() -> None:
    column = pa.array([1])
    with pytest.raises(NotRepresentable, match="same name"):
        object_column(["a", "a"], [column, column])
    with pytest.raises(NotRepresentable, match="surrogates"):
        object_column(["\ud800"], [column])
    for names, columns in ([], []), (["a"], []), (["a", "b"], [column, pa.array([1, 2])]):
        with pytest.raises(ValueError, match=r"object_column|shorter"):
            object_column(names, columns)


def test_strings_that_are_not_utf_8_are_refused() -> None:
    broken = pa.StringArray.from_buffers(1, pa.py_buffer(np.array([0, 1], np.int32).data), pa.py_buffer(b"\xff"))
    with pytest.raises(NotRepresentable, match="column of strings"):
        object_column(["a"], [broken])


def test_raw_json_counts_towards_the_cap_on_depth() -> None:
    fits, wide = "[" * (MAX_DEPTH - 1) + "]" * (MAX_DEPTH - 1), "[" + ",".join(["{}"] * 500) + "]"
    tagged = '{"$vp":{"object":[[{"$vp":{"wtf8":"7aCA"}},' * 127 + "1" + "]]}}" * 127
    texts = [fits, None, wide, tagged]
    rows = object_column(["a"], [RawJSON(pa.array(texts))]).to_pylist()
    assert rows == [f'{{"a":{text or "null"}}}' for text in texts]
    assert all(map(is_canonical, rows))
    with pytest.raises(NotRepresentable, match="nested"):
        object_column(["a"], [RawJSON(pa.array(["1", f"[{fits}]"]))])


# ---- inject


@PROFILE
@given(
    st.lists(st.tuples(st.dictionaries(odd_text, json_value, max_size=3), json_value, st.booleans()), max_size=5),
    odd_text,
)
def test_inject_adds_one_key_and_nothing_else(rows: list[tuple[dict[str, Any], Any, bool]], key: str) -> None:
    rows = [({k: v for k, v in held.items() if k != key}, value, leave) for held, value, leave in rows]
    objects = pa.array([dumps(held) for held, _, _ in rows], pa.string())
    values = pa.array([None if leave else dumps(value) for _, value, leave in rows], pa.string())
    result = inject(objects, key, values)
    expected = [dumps(held if leave else held | {key: value}) for held, value, leave in rows]
    assert [dumps(loads(text)) for text in result.to_pylist()] == expected
    assert result.type == pa.string()


def test_inject_handles_empty_objects_nulls_and_slices() -> None:
    objects = pa.array(["x", "{}", '{"b":1}', "{}", None, None])[1:]
    values = pa.array(["x", "1", "[2]", None, "3", None])[1:]
    assert inject(objects, "a", values).to_pylist() == ['{"a":1}', '{"a":[2],"b":1}', "{}", None, None]
    assert inject(objects[:0], "a", values[:0]).to_pylist() == []


def test_inject_escapes_its_key_and_enters_objects_that_are_tags() -> None:
    held = {"\ud800": 1, "b": Decimal("1e400")}
    objects = pa.array([dumps(held), '{"b":1}', dumps(held), '{"$$vp":1}'])
    result = inject(objects, "$$vp", pa.array(["2", '{"$vp":"Infinity"}', None, "3"])).to_pylist()
    assert result[0] == dumps(held | {"$$vp": 2})
    assert result[1:] == ['{"$$$vp":{"$vp":"Infinity"},"b":1}', dumps(held), '{"$$$vp":3,"$$vp":1}']
    with pytest.raises(NotRepresentable, match="surrogates"):
        inject(objects, "\ud800", objects)


# ---- speed


@pytest.mark.slow
def test_eight_columns_of_many_rows_take_no_python_per_row(shown: Callable[[str], None]) -> None:
    rows = 200_000
    rng = np.random.default_rng(0)
    columns: dict[str, pa.Array | RawJSON] = {
        "id": pa.array(np.arange(rows)),
        "ok": pa.array(rng.random(rows) > 0.5),
        "score": pa.array(rng.random(rows), mask=rng.random(rows) < 0.05),
        "price": pa.array(rng.random(rows).astype(np.float32)),
        "title": pa.array([f"Title {i} of the thing" for i in range(rows)]),
        "text": pa.array([f'He said "hi" {i}' if i % 20 == 0 else f"some prose, number {i}" for i in range(rows)]),
        "lang": pa.array(["en", "de"] * (rows // 2)),
        "tags": RawJSON(pa.array(['["a","b"]'] * rows)),
    }
    start = time.perf_counter()
    object_column(list(columns), list(columns.values()))
    seconds = time.perf_counter() - start
    shown(f"object_column: {rows / seconds:,.0f} rows/s")
    assert rows / seconds > 100_000
