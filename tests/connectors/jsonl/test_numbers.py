"""Digits in JSON Lines: they come back bit for bit, rounded once, or are refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import orjson
import pytest

from vecport.connectors.contract import Selection
from vecport.errors import NotRepresentable
from vecport.model.collection import Collection, VectorField
from vecport.testing.records import NONFINITE_FLOAT32, Record

from .support import CONNECTOR, one, place_of, read, write


def test_float32_digits_come_back_bit_for_bit(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    bits = rng.integers(0, 2**32, 64 * 200, dtype=np.uint64).astype(np.uint32).view(np.float32)
    finite = np.where(np.isfinite(bits), bits, np.float32(1)).reshape(200, 64)
    finite[0, 0] = np.array([0x15AE43FD], np.uint32).view(np.float32)[0]
    field = VectorField("", dim=64)
    collection = Collection("rows", "int", (field,))
    records = [Record(str(n), {"": row}) for n, row in enumerate(finite)]
    path = tmp_path / "rows.jsonl"
    write(path, collection, records)
    found, rows = read(path)
    assert found.vectors[0].dtype == "float32"
    assert np.array([r["vector"] for r in rows], np.float32).tobytes() == finite.tobytes()
    # A reader that takes doubles and rounds them finds the same bits.
    naive = np.array([json.loads(line)["vector"] for line in path.read_text().splitlines()]).astype(np.float32)
    assert naive.tobytes() == finite.tobytes()


def test_float64_digits_come_back_bit_for_bit(tmp_path: Path) -> None:
    rows64 = np.random.default_rng(7).standard_normal((50, 8)) * 10.0 ** np.arange(-20, 20, 5)
    collection = Collection("rows", "int", (VectorField("", dtype="float64", dim=8),))
    path = tmp_path / "rows.jsonl"
    write(path, collection, [Record(str(n), {"": row}) for n, row in enumerate(rows64)])
    found, rows = read(path)
    assert found.vectors[0].dtype == "float64"
    assert np.array([r["vector"] for r in rows]).tobytes() == rows64.tobytes()


@pytest.mark.parametrize(
    ("digits", "dtype"),
    [
        ("0.1", "float32"), ("1", "float32"), ("16777216", "float32"), ("16777217", "float64"), ("0.5", "float32"),
        ("7.038531e-26", "float32"), ("7.038530691851209e-26", "float32"), ("3.4028235e38", "float32"),
        ("1e39", "float64"), ("1e-46", "float64"), ("1e-45", "float32"), ("0.12345678", "float32"),
        ("0.123456789012", "float64"), ("0.10000000149011612", "float32"), ("0.100000001", "float64"),
        ("-0.0", "float32"), ("1.1754944e-38", "float32"), ("1.17549435e-38", "float64"),
        ("12345678901234567890123", "float64"),
    ],
)  # fmt: skip
def test_float32_is_chosen_only_where_nothing_is_lost(tmp_path: Path, digits: str, dtype: str) -> None:
    collection, row = one(tmp_path, f'{{"id":1,"vector":[{digits}]}}')
    assert collection.vectors[0].dtype == dtype
    # Digits as float32 at once; doubles are what they are.
    if dtype == "float64":
        assert row["vector"] == [float(digits)]
    else:
        spelled = float(orjson.dumps(np.array(row["vector"], np.float32), option=orjson.OPT_SERIALIZE_NUMPY)[1:-1])
        assert float(digits) in (row["vector"][0], spelled)


@pytest.mark.parametrize(
    ("digits", "bits"),
    [
        ("1.000000059604644775390625", 0x3F800000),  # midway: to the even one
        ("1.00000005960464477539062500000000001", 0x3F800001),  # a hair above
        ("1.00000017881393432617187499999999999", 0x3F800001),  # a hair below the next midpoint
        ("7.038531e-26", 0x15AE43FD),
        ("-7.038531e-26", 0x95AE43FD),
        ("7.006492321624085e-46", 0x00000000),  # half of the smallest: to zero
        ("7.0064923216240854e-46", 0x00000001),
        ("3.4028235677973366e38", None),  # midway to infinity
    ],
)
def test_digits_are_rounded_to_float32_once(tmp_path: Path, digits: str, bits: int | None) -> None:
    line = f'{{"id":1,"vector":[0.5,{digits}]}}'
    if bits is None:
        with pytest.raises(NotRepresentable, match="no float32"):
            one(tmp_path, line, dtype="float32")
        return
    _, row = one(tmp_path, line, dtype="float32")
    assert hex(np.float32(row["vector"][1]).view(np.uint32)) == hex(bits)


@pytest.mark.parametrize(
    ("dtype", "good", "bad"),
    [("float16", "0.5", "0.1"), ("bfloat16", "1.5", "1.001"), ("int8", "-128", "128"), ("uint8", "255.0", "-1"),
     ("int8", "1", "1.5")],
)  # fmt: skip
def test_a_value_that_its_dtype_cannot_hold_is_refused(tmp_path: Path, dtype: str, good: str, bad: str) -> None:
    collection, row = one(tmp_path, f'{{"id":1,"vector":[{good}]}}', dtype=dtype)
    assert (collection.vectors[0].dtype, row["vector"]) == (dtype, [float(good)])
    with pytest.raises(NotRepresentable, match="line 1: element 0"):
        one(tmp_path, f'{{"id":1,"vector":[{bad}]}}', dtype=dtype)


def test_nan_keeps_its_bits(tmp_path: Path) -> None:
    collection = Collection("rows", "int", (VectorField("", dim=5),))
    path = tmp_path / "rows.jsonl"
    write(path, collection, [Record("1", {"": NONFINITE_FLOAT32})])
    text = path.read_text()
    assert '{"$vp":"NaN"}' in text
    assert '{"$vp":{"bytes":"' in text
    with CONNECTOR.open_source(place_of(path), "rows", Selection()) as source:
        source.attach(source.snapshot())
        batch = source.fetch([("", "1")])
    assert batch.column("vector").flatten().to_numpy().tobytes() == NONFINITE_FLOAT32.tobytes()
