"""Canonical JSON: every promise of the module docstring, and that orjson never shows through."""

from __future__ import annotations

import datetime
import enum
import json
import math
import random
import re
import runpy
import struct
import uuid
from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vecport.errors import IntegrityError, NotRepresentable
from vecport.model import canonical
from vecport.model.canonical import (
    MAX_DEPTH,
    canonicalise_column,
    canonicalise_text,
    dumpb,
    dumps,
    is_canonical,
    loads,
    spell_float,
)

settings.register_profile("canonical", deadline=None, max_examples=250, suppress_health_check=list(HealthCheck))
PROFILE = settings.get_profile("canonical")

MAKER = runpy.run_path(str(Path(__file__).with_name("make_vectors.py")))
VECTORS = json.loads(MAKER["VECTORS"].read_text(encoding="utf-8"))


def as_double(bits: int) -> float:
    return struct.unpack("<d", struct.pack("<Q", bits))[0]


# ---- what values look like

any_char = st.one_of(
    st.sampled_from('"\\/:,[]{}$vp \x00\t\n\x1f\x7f\u2028é\ud800\udc00\U0001f600'), st.characters(exclude_categories=())
)
any_text = st.text(any_char, max_size=12)
any_key = st.one_of(st.sampled_from(["$vp", "$$vp", "$$$vp", "$vpx", "vp", "", "a", "b", "$vp\n"]), any_text)
any_int = st.one_of(st.integers(-(10**40), 10**40), st.sampled_from([2**53 + 1, 2**63, 2**64, 2**64 - 1, -(2**63) - 1]))
any_float = st.one_of(st.floats(), st.integers(0, 2**64 - 1).map(as_double), st.integers(-(10**18), 10**18).map(float))
plain_scalar = st.one_of(st.none(), st.booleans(), any_int, any_float, any_text)
any_decimal = st.one_of(
    st.decimals(allow_nan=False),
    st.builds(lambda digits, exponent: Decimal(digits).scaleb(exponent), st.integers(0, 10**25), st.integers(-30, 5)),
)
any_scalar = st.one_of(plain_scalar, st.binary(max_size=8), any_decimal)


def nested(scalar: st.SearchStrategy[Any], key: st.SearchStrategy[str] = any_key) -> st.SearchStrategy[Any]:
    return st.recursive(
        scalar,
        lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(key, inner, max_size=5)),
        max_leaves=12,
    )


def exactly(value: Any) -> Any:
    """A form in which only what is the same value compares equal: 1, 1.0 and True are apart, NaN is NaN."""
    if isinstance(value, float):
        return "float", "nan" if math.isnan(value) else struct.pack(">d", value)
    if isinstance(value, Decimal):
        return "decimal", value
    if isinstance(value, list | tuple):
        return "list", tuple(map(exactly, value))
    if isinstance(value, dict):
        return "dict", {key: exactly(item) for key, item in value.items()}
    return type(value).__name__, value


def as_read(value: Any) -> Any:
    """What comes back for ``value``: a Decimal that an integer or a double spells is that number."""
    if isinstance(value, Decimal):
        if value.is_finite() and value.as_tuple().exponent == 0:
            return int(value)
        double = float(value)
        return double if math.isinf(double) == value.is_infinite() and Decimal(repr(double)) == value else value
    if isinstance(value, list):
        return [as_read(item) for item in value]
    if isinstance(value, dict):
        return {key: as_read(item) for key, item in value.items()}
    return value


def joined(value: Any) -> Any:
    """``value`` with surrogate pairs joined, as any JSON writer joins them."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
    if isinstance(value, list):
        return [joined(item) for item in value]
    if isinstance(value, dict):
        return {joined(key): joined(item) for key, item in value.items()}
    return value


def holds(value: Any, is_odd: Any) -> bool:
    if isinstance(value, list):
        return any(holds(item, is_odd) for item in value)
    if isinstance(value, dict):
        return any(holds(key, is_odd) or holds(item, is_odd) for key, item in value.items())
    return bool(is_odd(value))


def finite(value: Any) -> bool:
    return not holds(value, lambda leaf: isinstance(leaf, float) and not math.isfinite(leaf))


@pytest.fixture
def without_orjson(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(canonical, "ORJSON_AGREES", False)


# ---- the two paths


def test_the_installed_orjson_is_used() -> None:
    assert canonical.ORJSON_AGREES


@PROFILE
@given(nested(any_scalar))
def test_both_paths_give_the_same_bytes(value: Any) -> None:
    assert dumpb(value) == canonical._slow_dumpb(value)
    assert dumps(value).encode() == dumpb(value)


@PROFILE
@given(st.dictionaries(st.text(max_size=5), st.one_of(st.none(), st.booleans(), st.integers(), any_float, st.text())))
def test_both_paths_give_the_same_bytes_for_everyday_metadata(value: dict[str, Any]) -> None:
    assert dumpb(value) == canonical._slow_dumpb(value)


@pytest.mark.usefixtures("without_orjson")
def test_an_orjson_that_spells_otherwise_is_not_used() -> None:
    value = {"b": 1e16, "a": [1.5, None]}
    assert dumps(value) == '{"a":[1.5,null],"b":1e+16}'
    assert loads('{"b":1e+16}') == {"b": 1e16}
    assert canonicalise_text('{"b": 1e16}') == '{"b":1e+16}'
    assert canonicalise_column(pa.array(['{"b": 1e16}'])).to_pylist() == ['{"b":1e+16}']


def test_every_character_is_spelled_alike_by_both_paths() -> None:
    everything = "".join(chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000)
    text = canonical._slow_dumpb(everything)
    assert dumpb(everything) == text
    assert len(text) == len(everything.encode()) + 2 + 2 + 5 + 27 * 5
    keys = dict.fromkeys(everything[:0x3000])
    assert dumpb(keys) == canonical._slow_dumpb(keys)


def test_keys_are_sorted_by_code_point_and_not_by_utf_16() -> None:
    assert dumps({"\U00010000": 1, "\uffff": 2, "b": 3, "B": 4}) == '{"B":4,"b":3,"\uffff":2,"\U00010000":1}'


# ---- floats

EDGES = [0.0, 5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, 9007199254740991.0, 9007199254740993.0]
POWERS = [float(f"{digits}e{e}") for digits in ("1", "1.5", "9.999999999999999") for e in range(-324, 308)]


def many_doubles() -> list[float]:
    rng = random.Random(7)
    doubles = [as_double(rng.getrandbits(64)) for _ in range(30_000)]
    doubles += [round(rng.uniform(-1e9, 1e9), rng.randrange(9)) for _ in range(10_000)]
    doubles += [float(rng.randrange(10**18)) for _ in range(10_000)]
    doubles += [math.ldexp(1.0, e) for e in range(-1074, 1024)] + [as_double(bits) for bits in range(2000)]
    return [x for x in doubles + EDGES + POWERS if math.isfinite(x)]


def test_doubles_are_spelled_as_orjson_spells_them() -> None:
    doubles = many_doubles()
    assert "[" + ",".join(map(spell_float, doubles)) + "]" == orjson.dumps(doubles).decode()


@PROFILE
@given(any_float)
def test_a_double_reads_back_and_always_shows_that_it_is_one(x: float) -> None:
    text = spell_float(x)
    assert exactly(loads(text)) == exactly(x)
    if math.isfinite(x):
        assert re.fullmatch(r"-?(\d+\.\d+|\d(\.\d+)?e[+-][1-9]\d*)", text)
        assert Decimal(text) == Decimal(repr(x))
        assert ("e" in text) == (x != 0 and not 1e-5 <= abs(x) < 1e16)


def test_negative_zero_keeps_its_sign_as_a_float_only() -> None:
    assert dumps([-0.0, 0.0, -0]) == "[-0.0,0.0,0]"
    assert canonicalise_text("[-0.0, -0, -0e3]") == "[-0.0,0,-0.0]"
    assert exactly(loads("-0.0")) == exactly(-0.0)


# ---- there and back


@PROFILE
@given(nested(any_scalar))
def test_a_value_comes_back_as_it_was(value: Any) -> None:
    assert exactly(loads(dumpb(value))) == exactly(as_read(value))


@PROFILE
@given(nested(any_scalar))
def test_a_canonical_text_comes_back_as_it_was(value: Any) -> None:
    text = dumps(value)
    assert dumps(loads(text)) == text
    assert is_canonical(text)
    assert is_canonical(text.encode())


@PROFILE
@given(nested(plain_scalar).filter(finite), st.booleans(), st.sampled_from([None, 2]))
def test_any_json_text_becomes_the_canonical_text_of_its_value(
    value: Any, ascii_only: bool, indent: int | None
) -> None:
    value = joined(value)
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    assert canonicalise_text(text) == dumps(value)


@PROFILE
@given(nested(plain_scalar).filter(finite))
def test_canonical_text_without_tags_is_left_as_it_is(value: Any) -> None:
    text = dumps(value)
    if '"$vp":' not in text and '$vp":' not in text:
        assert canonicalise_text(text) == text
        assert canonicalise_text(text.encode()) == text


@pytest.mark.parametrize("digits", [19, 20, 21, 600, 601, 4301, 20_000])
def test_integers_of_any_size_stay_verbatim(digits: int) -> None:
    text = ("-" if digits % 2 else "") + "".join(random.Random(digits).choices("123456789", k=digits))
    assert canonicalise_text(text) == text
    assert dumps(loads(text)) == text
    assert dumps(Decimal(text)) == text


def test_text_layout_does_not_matter_to_loads_but_is_canonical_says_so() -> None:
    for text in ('{"b": 1}', '{"b":1,"a":2}', "1.50", "1e16", "-0", r'"\u0041"', r'"\ud800"', ' {"$vp":"NaN"}', "{"):
        assert not is_canonical(text)
    assert not is_canonical('"\ud800"')
    assert loads(' {"b": 1, "a": [1.50, -0, "\\u0041"]} ') == {"a": [1.5, 0, "A"], "b": 1}


# ---- tags and the user's own $vp


vp_key = st.one_of(st.integers(0, 4).map(lambda dollars: "$" * dollars + "vp"), any_key)


@PROFILE
@given(st.recursive(any_text, lambda inner: st.dictionaries(vp_key, inner, min_size=1), max_leaves=8))
def test_nothing_that_a_user_writes_reads_as_a_tag(value: Any) -> None:
    text = dumps(value)
    assert loads(text) == value
    if not holds(value, lambda leaf: isinstance(leaf, str) and canonical._has_surrogates(leaf)):
        assert '"$vp":' not in text
        assert canonicalise_text(json.dumps(value)) == text


def test_a_decimal_is_the_number_that_it_spells() -> None:
    numbers = {"5": "5", "5.0": "5.0", "0.10": "0.1", "1E+2": "100.0", "-0": "0", "-0.0": "-0.0", "1E+400": None}
    for digits, text in numbers.items():
        assert dumps(Decimal(digits)) == (text or '{"$vp":{"decimal":"1e+400"}}') == canonicalise_text(digits)
    assert dumps([Decimal("NaN"), Decimal("-Infinity")]) == '[{"$vp":"NaN"},{"$vp":"-Infinity"}]'
    for odd in ("sNaN", "-NaN", "NaN123", "1E+99999999999", "1E-999999999999999"):
        with pytest.raises(NotRepresentable):
            dumps(Decimal(odd))


NUMBER = st.from_regex(r"-?(0|[1-9][0-9]{0,24})(\.[0-9]{1,24})?([eE][+-]?[0-9]{1,3})?", fullmatch=True)


@settings(PROFILE, max_examples=500)
@given(NUMBER)
def test_no_number_loses_a_digit(token: str) -> None:
    text = canonicalise_text(token)
    value = loads(text)
    assert (Decimal(repr(value)) if isinstance(value, float) else Decimal(value)) == Decimal(token)
    assert isinstance(value, int) == (re.fullmatch(r"-?\d+", token) is not None)
    assert dumps(Decimal(token)) == canonicalise_text(str(Decimal(token)))
    assert canonicalise_text(f'{{"a": [{token}]}}') == f'{{"a":[{text}]}}'


# ---- text from elsewhere, against the exact parser

space = st.sampled_from(["", "", "", " ", "\n", "\t "])
piece = st.sampled_from(
    ["a", ":", " ", '\\"', "\\u0022", "\\u003a", "\\u003A", "\\u0061", "\\\\", "1e5", ",", "$vp", "é", "\\ud800"]
)
string_token = st.lists(piece, max_size=4).map(lambda pieces: '"' + "".join(pieces) + '"')


def spaced(opening: str, items: list[tuple[str, str]], closing: str) -> str:
    return opening + ",".join(left + item + left for left, item in items) + closing


json_text = st.recursive(
    st.one_of(NUMBER, string_token, st.sampled_from(["null", "true", "false"])),
    lambda inner: st.one_of(
        st.lists(st.tuples(space, inner), max_size=3).map(lambda items: spaced("[", items, "]")),
        st.lists(
            st.tuples(space, st.tuples(string_token, space, inner).map(lambda m: f"{m[0]}{m[1]}:{m[2]}")), max_size=3
        ).map(lambda items: spaced("{", items, "}")),
    ),
    max_leaves=8,
)


def outcome(function: Any, *args: Any) -> Any:
    try:
        return exactly(function(*args))
    except (NotRepresentable, IntegrityError) as error:
        return error.what


@settings(PROFILE, max_examples=800)
@given(json_text)
def test_the_fast_way_through_a_text_is_the_exact_way(text: str) -> None:
    exact = outcome(lambda: canonical._slow_dumpb(canonical._parse(text)).decode())
    assert outcome(canonicalise_text, text) == exact
    assert outcome(canonicalise_text, text.encode()) == exact
    assert outcome(loads, text) == outcome(lambda: canonical._untag(canonical._parse(text), MAX_DEPTH))


@settings(PROFILE, max_examples=100)
@given(st.lists(st.one_of(st.none(), json_text), max_size=6))
def test_a_column_is_rewritten_row_by_row(texts: list[str | None]) -> None:
    rows = [None if text is None else outcome(canonicalise_text, text) for text in texts]
    column = pa.array(texts, pa.string())
    if all(row is None or isinstance(row, tuple) for row in rows):
        assert canonicalise_column(column).to_pylist() == [row and row[1] for row in rows]
    else:
        first = next(index for index, row in enumerate(rows) if isinstance(row, str))
        with pytest.raises(NotRepresentable, match=f"^row {first}: "):
            canonicalise_column(column)


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.binary(), pa.large_binary(), pa.string_view()])
def test_a_column_may_be_of_any_text_type_and_sliced(kind: pa.DataType) -> None:
    column = pa.array(["x", '{"b": 1.50, "a": "é"}', None, "1e400"], pa.string()).cast(kind)
    result = canonicalise_column(column.slice(1))
    assert result.type == pa.string()
    assert result.to_pylist() == ['{"a":"é","b":1.5}', None, '{"$vp":{"decimal":"1e+400"}}']
    assert canonicalise_column(column.slice(0, 0)).to_pylist() == []


@pytest.mark.parametrize(
    "odd", ["18446744073709551616", '{"$vp":1}', "0.30000000000000001", '{"a": 1, "a": 2}', "[" * 129]
)
def test_an_odd_row_in_a_long_column_is_found(odd: str) -> None:
    texts = ['{"b": 1.25, "a": [1, "x:y"]}'] * 3000
    texts[2500] = odd
    expected = outcome(canonicalise_text, odd)
    if isinstance(expected, str):
        with pytest.raises(NotRepresentable, match=r"^row 2500: "):
            canonicalise_column(pa.array(texts))
    else:
        rows = canonicalise_column(pa.array(texts)).to_pylist()
        assert rows.pop(2500) == expected[1]
        assert set(rows) == {'{"a":[1,"x:y"],"b":1.25}'}


# ---- what is refused


class Colour(enum.Enum):
    RED = "red"


class Number(enum.IntEnum):
    ONE = 1


class Word(enum.StrEnum):
    A = "a"


@dataclass
class Point:
    x: int


UNSUPPORTED = [
    uuid.UUID(int=1),
    Colour.RED,
    Number.ONE,
    Word.A,
    datetime.datetime(2024, 1, 1),
    datetime.date(2024, 1, 1),
    datetime.time(1),
    Point(1),
    orjson.Fragment(b"1"),
    {1},
    bytearray(b"a"),
    np.int64(1),
    np.bool_(True),
    np.zeros(2),
    1j,
    object(),
]


@pytest.mark.parametrize("value", UNSUPPORTED, ids=lambda value: type(value).__name__)
def test_types_that_json_does_not_have_are_refused_wherever_they_stand(value: Any) -> None:
    for holder in (value, [value], {"a": None, "b": value}, {"a": 1, "b": [1, {"c": (value,)}]}, [2**70, value]):
        with pytest.raises(NotRepresentable, match=type(value).__name__):
            dumpb(holder)


@pytest.mark.parametrize("key", [1, 1.5, None, True, b"a", (1,), Word.A, uuid.UUID(int=1)], ids=repr)
def test_keys_that_are_not_strings_are_refused(key: Any) -> None:
    for holder in ({key: 1}, {"a": {key: 1}}, [2**70, {key: 1}]):
        with pytest.raises(NotRepresentable, match="key of type"):
            dumpb(holder)


def test_a_subclass_is_written_as_its_base() -> None:
    class Text(str):
        def __str__(self) -> str:
            return "other"

    class Whole(int):
        pass

    pair = namedtuple("pair", "a b")
    value = OrderedDict({Text("b"): np.float64(0.1), "a": pair(Whole(2), np.str_("x"))})
    assert dumps(value) == '{"a":[2,"x"],"b":0.1}'
    assert dumps([Text("b"), np.float64("nan")]) == '["b",{"$vp":"NaN"}]'


def test_one_text_as_two_keys_is_refused() -> None:
    class Loner(str):
        __slots__ = ()
        __hash__ = object.__hash__

        def __eq__(self, other: object) -> bool:
            return self is other

    with pytest.raises(NotRepresentable, match="one key twice"):
        dumpb({Loner("a"): 1, Loner("a"): 2})


def deep(levels: int, kind: type) -> Any:
    value: Any = "[{" * 200
    for _ in range(levels):
        value = {"a": value} if kind is dict else kind([value])
    return value


@pytest.mark.parametrize("kind", [list, tuple, dict])
@pytest.mark.parametrize("cap", [1, 3, MAX_DEPTH, 300])
def test_depth_is_capped_everywhere_at_the_same_level(kind: type, cap: int) -> None:
    at_cap, beyond = deep(cap, kind), deep(cap + 1, kind)
    text, too_deep = json.dumps(at_cap), json.dumps(beyond)
    canonical_text = dumps(at_cap, max_depth=cap)
    assert canonicalise_text(text, max_depth=cap) == canonical_text
    assert canonicalise_column(pa.array([text]), max_depth=cap).to_pylist() == [canonical_text]
    assert dumps(loads(canonical_text, max_depth=cap), max_depth=cap) == canonical_text
    for refused in (
        lambda: dumpb(beyond, max_depth=cap),
        lambda: canonicalise_text(too_deep, max_depth=cap),
        lambda: canonicalise_column(pa.array([too_deep]), max_depth=cap),
        lambda: loads(too_deep.replace(" ", ""), max_depth=cap),
        lambda: loads(too_deep, max_depth=cap),
    ):
        with pytest.raises((NotRepresentable, IntegrityError), match="nested"):
            refused()


def test_the_brackets_of_tags_do_not_count_as_depth() -> None:
    value: Any = [b"", Decimal("1e400"), "\ud800", math.nan]
    for _ in range(MAX_DEPTH - 1):
        value = {"\ud800": value}
    assert exactly(loads(dumpb(value))) == exactly(value)
    with pytest.raises(NotRepresentable, match="nested"):
        dumpb([value])
    assert canonicalise_text("[" * 128 + "1e400" + "]" * 128) == "[" * 128 + '{"$vp":{"decimal":"1e+400"}}' + "]" * 128


def test_a_value_that_holds_itself_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(NotRepresentable, match="nested"):
        dumpb(loop)


def test_bytes_that_are_not_utf_8_are_refused() -> None:
    for text in (b'"\xff"', b'"\xed\xa0\x80"', b"\xff\xfe1\x00", '"é"'.encode("latin-1")):
        with pytest.raises(NotRepresentable, match="not UTF-8"):
            canonicalise_text(text)
        with pytest.raises(NotRepresentable, match=r"^row 1: .*not UTF-8"):
            canonicalise_column(pa.array([b"1", text]))
        with pytest.raises(IntegrityError, match="not UTF-8"):
            loads(text)


# ---- the vectors of the specification


def test_the_vectors_in_the_specification_are_up_to_date() -> None:
    assert MAKER["VECTORS"].read_text(encoding="utf-8") == MAKER["spell"]()


@pytest.mark.parametrize("case", VECTORS["floats"], ids=lambda case: case["text"])
def test_vector_of_a_double(case: dict[str, str]) -> None:
    (x,) = struct.unpack(">d", bytes.fromhex(case["bits"]))
    assert dumps(x) == case["text"] == orjson.dumps(x).decode()
    assert exactly(loads(case["text"])) == exactly(x)


@pytest.mark.parametrize("case", VECTORS["texts"], ids=lambda case: case["name"])
def test_vector_of_a_text(case: dict[str, str]) -> None:
    assert canonicalise_text(case["json"]) == case["canonical"]
    assert is_canonical(case["canonical"])


@pytest.mark.parametrize("case", VECTORS["tags"], ids=lambda case: case["name"])
def test_vector_of_a_tag(case: dict[str, Any]) -> None:
    value = loads(case["canonical"])
    assert MAKER["describe"](value) == case["holds"]
    assert dumps(value) == case["canonical"]


@pytest.mark.parametrize("case", VECTORS["refused_texts"], ids=lambda case: case["name"])
def test_vector_of_a_refused_text(case: dict[str, str]) -> None:
    with pytest.raises(NotRepresentable):
        canonicalise_text(case["json"])


@pytest.mark.parametrize("case", VECTORS["refused_canonical"], ids=lambda case: case["name"])
def test_vector_of_a_refused_canonical_text(case: dict[str, str]) -> None:
    with pytest.raises(IntegrityError):
        loads(case["text"])
    assert not is_canonical(case["text"])
