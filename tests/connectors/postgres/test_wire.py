"""Binary forms that are made here against those of the server: COPY, jsonb, rows."""

from __future__ import annotations

import json
import random
import struct
from datetime import date, datetime, timedelta
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vecport.connectors.postgres import spelled, values, wire
from vecport.connectors.postgres.layout import JSONB, Slot
from vecport.connectors.postgres.loader import ask
from vecport.connectors.postgres.types import parse_type
from vecport.errors import NotRepresentable
from vecport.model import canonical

from .support import connect, free, fresh, load, numbered, on_table, pages, pump, records, run

# ---- binary forms made here, against those that the server makes ----


def _numbers(n: int) -> list[str]:
    rng = random.Random(7)
    texts = ["0", "0.0", "0.0000", "1", "10", "9999", "10000", "99990000", "0.0001", "0.9999", "0.10000000"]
    for _ in range(n):
        digits = "".join(rng.choices("0123456789", k=rng.randint(1, 16))).lstrip("0") or "0"
        scale = rng.randint(0, 16)
        fraction = "." + "".join(rng.choices("0000123456789", k=scale)) if scale else ""
        texts.append(("-" if rng.random() < 0.4 and (digits + fraction).strip("0.") else "") + digits + fraction)
    return texts


def _moments(n: int) -> list[str]:
    rng = random.Random(7)
    texts = ["0001-01-01 00:00:00", "9999-12-31 23:59:59.999999", "2000-01-01 00:00:00", "1999-12-31 23:59:59.5"]
    span = int((datetime(9999, 12, 31) - datetime(1, 1, 1)).total_seconds())
    for _ in range(n):
        moment = datetime(1, 1, 1) + timedelta(seconds=rng.randrange(span), microseconds=rng.randrange(10**6))
        texts.append(moment.isoformat(" ").rstrip("0") if moment.microsecond else moment.isoformat(" "))
    return texts


@pytest.mark.parametrize(
    ("kind", "texts"),
    [
        ("numeric", _numbers(3000)),
        ("numeric(12,3)", [f"{Decimal(n) / 1000:.3f}" for n in (*range(-2000, 2000, 37), 10**12 - 1, 1 - 10**12)]),
        ("numeric(5,0)", ["0", "-1", "99999"]),
        ("timestamp", _moments(2000)),
        ("timestamptz", [f"{text}+00" for text in _moments(2000)]),
        ("date", [text[:10] for text in _moments(2000)]),
    ],
)
def test_binary_forms_are_those_of_the_server(kind: str, texts: list[str]) -> None:
    column = parse_type(kind, "c")
    array = pa.array(texts)
    assert spelled.plain(column, array).all()
    made = spelled.binary(column, array)
    with connect(autocommit=True) as connection:
        connection.execute("SET TimeZone = 'UTC'; SET DateStyle = 'ISO'")
        assert made is not None
        assert made.equals(ask(connection, column, array))


def test_texts_that_the_server_judges_and_others_are_put_together_in_order() -> None:
    table = fresh()
    run(
        f"CREATE TABLE {table} (id int PRIMARY KEY, d date, n numeric)",
        f"INSERT INTO {table} SELECT i,"
        " CASE i % 4 WHEN 0 THEN 'infinity' WHEN 1 THEN NULL ELSE '2024-01-01'::date + i END,"
        f" CASE i % 3 WHEN 0 THEN 'NaN' WHEN 1 THEN NULL ELSE i / 7.0 END FROM generate_series(1, 500) i",
    )
    copy = pump(table)
    assert not run(f"SELECT * FROM {table} EXCEPT SELECT * FROM {copy}")
    assert run(f"SELECT count(*) FROM {copy}") == [(500,)]


# ---- jsonb ----


def _doubles() -> list[float]:
    rng = np.random.default_rng(7)
    patterns = rng.integers(0, 2**64, 20_000, dtype=np.uint64, endpoint=False).view(np.float64)
    edges = [5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, 1e15, 1e16, 1e17, 9007199254740993.0, 0.0, 0.1]
    whole = rng.integers(-(2**62), 2**62, 5_000).astype(np.float64)
    spread = 10.0 ** rng.uniform(-30, 30, 5_000)
    found = np.concatenate([patterns[np.isfinite(patterns)], edges, np.negative(edges), whole, spread])
    return [float(x) for x in found if not (x == 0 and np.signbit(x))]


def test_jsonb_gives_back_every_double_and_integer() -> None:
    doubles = _doubles()
    integers = [0, -1, 2**53, 2**63, 2**64, -(2**70), 10**300]
    rows = [canonical.dumps({"f": doubles[i : i + 100], "i": integers}) for i in range(0, len(doubles), 100)]
    collection, _ = free(0)
    page = numbered(collection, [str(i) for i in range(len(rows))], rows)
    load(collection, [page])
    _, found = pages(collection.name)
    assert {row["id"]: row["metadata"] for row in records(found)} == {str(i): row for i, row in enumerate(rows)}


@given(st.floats(allow_nan=False, allow_infinity=False).filter(lambda x: str(x) != "-0.0"))
def test_a_double_is_spelled_for_jsonb_as_a_number_that_is_no_integer(value: float) -> None:
    slot = Slot("metadata", "metadata", "metadata", JSONB)
    text = values.plain_texts(slot, pa.array([canonical.dumps([value])]), True)[0].as_py()
    for spelling in (f"[{value!r}]", repr(value), f'{{"a":{value!r}}}', f"[1,{value!r},2]"):
        # Older versions of orjson write 1e16 without a sign.
        spelled_out = values.plain_texts(slot, pa.array([spelling]), True)[0].as_py()
        assert "e" not in spelled_out or "e-" in spelled_out
    (token,) = json.loads(text, parse_float=str, parse_int=lambda t: pytest.fail(f"{t} is an integer"))
    assert "." in token or "e-" in token
    assert struct.pack("<d", float(token)) == struct.pack("<d", value)


def test_what_looks_like_a_tag_is_stored_as_the_user_wrote_it() -> None:
    collection, _ = free(0)
    wanted = [{"$vp": "NaN"}, {"$$vp": {"bytes": "AA=="}}, {"a": [{"$vp": 1}], "text": '"$vp":'}, {"e+": "1e+16"}]
    page = numbered(collection, [str(i) for i in range(4)], [canonical.dumps(value) for value in wanted])
    load(collection, [page])
    assert [row[0] for row in on_table("SELECT metadata FROM {} ORDER BY id", collection.name)] == wanted
    _, found = pages(collection.name)
    assert [canonical.loads(row["metadata"]) for row in records(found)] == wanted


def test_hexadecimal_text_is_not_taken_for_numbers() -> None:
    slot = Slot("metadata", "metadata", "metadata", JSONB)
    texts = pa.array(['{"a":"3e1f-0.0]","b":[1.5e-7,-0.05,0.0],"c":"9e+4"}'])
    assert values.plain_texts(slot, texts, True) is texts


def test_decimals_keep_their_digits_in_jsonb() -> None:
    collection, _ = free(0)
    digits = ("0.1000000000000000055511151231257827", "1e400", "-12345678901234567890.5")
    wanted = {"a": [Decimal(text) for text in digits]}
    load(collection, [numbered(collection, ["1"], [canonical.dumps(wanted)])])
    _, (page,) = pages(collection.name)
    assert page.column("metadata").to_pylist() == [canonical.dumps(wanted)]
    huge = canonical.dumps({"a": Decimal("1e200000")})
    with pytest.raises(NotRepresentable, match="huge exponent"):
        load(collection, [numbered(collection, ["2"], [huge])], if_exists="append")


def test_metadata_that_is_no_object_is_refused_with_its_record() -> None:
    collection, batches = free(3)
    load(collection, batches)
    on_table("UPDATE {} SET metadata = '[1]' WHERE id = 2", collection.name)
    with pytest.raises(NotRepresentable, match="record '2': not a JSON object"):
        pages(collection.name)


# ---- the encoder ----


def test_columns_are_joined_to_rows() -> None:
    numbers = wire.fixed(np.array([1, 2], ">i4"), np.array([True, False]))
    texts = wire.variable(pa.array([None, "ab"]), b"\x01")
    assert bytes(wire.rows([numbers, texts])) == (
        b"\0\2\0\0\0\4\0\0\0\1\xff\xff\xff\xff" + b"\0\2\xff\xff\xff\xff\0\0\0\3\1ab"
    )


def test_vectors_are_joined_with_nulls_anywhere() -> None:
    def field(value: float) -> bytes:
        return struct.pack(">iHHf", 8, 1, 0, value)

    null = b"\xff\xff\xff\xff"
    for valid in ([True, True], [False, True], [True, False], [False, False]):
        matrix = np.array([[float(i)] for i, there in enumerate(valid) if there], np.float32).reshape(-1, 1)
        made = bytes(wire.rows([wire.vector(matrix, np.array(valid))]))
        assert made == b"".join(b"\0\1" + (field(i) if there else null) for i, there in enumerate(valid))


def test_uuids_are_parsed_only_in_their_canonical_form() -> None:
    good = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"
    parsed = wire.uuid_bytes(pa.array(["x" * 36, good, None, good]).slice(1))
    assert parsed is not None
    assert [row.tobytes().hex() for row in parsed] == [good.replace("-", ""), "0" * 32, good.replace("-", "")]
    for bad in (good.upper(), good[:-1], good.replace("-", "0"), good.replace("a", "-"), "", good + good):
        assert wire.uuid_bytes(pa.array([bad])) is None


def test_dates_are_days_since_2000() -> None:
    made = spelled.binary(parse_type("date", "d"), pa.array(["2000-01-02", str(date(1999, 12, 31))]))
    assert made is not None
    assert made.to_pylist() == [b"\0\0\0\1", b"\xff\xff\xff\xff"]
