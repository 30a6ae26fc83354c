"""Hashes: they follow from the content alone, not from pages, widening, order, or the memory that holds it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vecport.model import hashes
from vecport.model.batch import make_page
from vecport.model.collection import Collection, VectorField
from vecport.testing.records import NONFINITE_FLOAT32, Record, Sparse, batch_of, vectors_of

settings.register_profile("hashes", deadline=None, max_examples=50, suppress_health_check=list(HealthCheck))
PROFILE = settings.get_profile("hashes")

EVERY = Collection(
    "c",
    vectors=(
        VectorField("a", dim=3),
        VectorField("b", dim=2, dtype="float64"),
        VectorField("s", kind="sparse"),
        VectorField("m", kind="multi", dim=2),
        VectorField("bits", kind="binary", dtype="bit", dim=9),
        VectorField("i", dim=2, dtype="int8"),
    ),
)
floats = st.floats(width=32)
texts = st.text(max_size=8)


def float_rows(dim: int) -> st.SearchStrategy[Any]:
    return st.lists(floats, min_size=dim, max_size=dim).map(lambda x: np.array(x, np.float32))


sparse = st.dictionaries(st.integers(0, 2**32 - 1), floats, max_size=4).map(
    lambda d: Sparse(tuple(sorted(d)), tuple(d[k] for k in sorted(d)))
)
vectors = st.fixed_dictionaries(
    {
        "a": st.none() | float_rows(3),
        "b": st.none() | st.lists(st.floats(), min_size=2, max_size=2).map(lambda x: np.array(x, np.float64)),
        "s": st.none() | sparse,
        "m": st.none() | st.lists(float_rows(2), max_size=3).map(lambda r: np.array(r, np.float32).reshape(-1, 2)),
        "bits": st.none() | st.lists(st.integers(0, 1), min_size=9, max_size=9).map(lambda b: np.array(b, np.uint8)),
        "i": st.none() | st.lists(st.integers(-128, 127), min_size=2, max_size=2).map(lambda b: np.array(b, np.int8)),
    }
)
record = st.builds(
    Record, texts, vectors, st.dictionaries(texts, st.integers() | texts, max_size=2), st.none() | texts, texts
)
some_records = st.lists(record, min_size=1, max_size=8)


def hashed(page: pa.RecordBatch, collection: Collection = EVERY) -> list[tuple[int, int]]:
    group = hashes.add_hashes(page, collection)
    return list(zip(group.column("_vh").to_pylist(), group.column("_mh").to_pylist(), strict=True))


def sum_of(page: pa.RecordBatch, collection: Collection = EVERY) -> int:
    g = hashes.add_hashes(page, collection)
    return hashes.record_sum(g.column("id"), g.column("namespace"), g.column("_vh"), g.column("_mh"))


def one(value: Any, field: VectorField) -> int:
    c = Collection("c", vectors=(field,))
    return int(hashes.vector_hashes(batch_of([Record("a", {field.name: value})], c), c)[0])


@settings(PROFILE)
@given(some_records, st.data())
def test_a_record_hashes_the_same_in_every_page(found: list[Record], data: st.DataObject) -> None:
    whole = batch_of(found, EVERY)
    alone = [hashed(batch_of([r], EVERY))[0] for r in found]
    assert hashed(whole) == alone
    cut = data.draw(st.integers(0, len(found)))
    # Slices share buffers with offsets; nulls before them must not shift anything.
    assert hashed(whole.slice(0, cut)) + hashed(whole.slice(cut)) == alone
    assert sum_of(whole) == (sum_of(whole.slice(0, cut)) + sum_of(whole.slice(cut))) % 2**128


@settings(PROFILE)
@given(some_records, st.randoms(use_true_random=False))
def test_the_sum_knows_no_order(found: list[Record], draw: Any) -> None:
    shuffled = list(found)
    draw.shuffle(shuffled)
    assert sum_of(batch_of(found, EVERY)) == sum_of(batch_of(shuffled, EVERY))
    once = sum_of(batch_of(found[:1], EVERY))
    assert sum_of(batch_of([found[0], *found], EVERY)) == (sum_of(batch_of(found, EVERY)) + once) % 2**128


@settings(PROFILE)
@given(st.lists(vectors, min_size=1, max_size=4))
def test_the_order_of_vector_fields_does_not_count(rows: list[dict[str, Any]]) -> None:
    backwards = replace(EVERY, vectors=EVERY.vectors[::-1])
    made = [Record(str(i), v) for i, v in enumerate(rows)]
    assert hashed(batch_of(made, EVERY)) == hashed(batch_of(made, backwards), backwards)


@settings(PROFILE)
@given(st.lists(st.integers(-128, 127), min_size=1, max_size=5))
def test_widening_does_not_count(values: list[int]) -> None:
    dim = len(values)
    found = {
        dtype: one(np.array(values, kind), VectorField("", dim=dim, dtype=dtype))
        for dtype, kind in (
            ("int8", np.int8),
            ("float32", np.float32),
            ("float16", np.float32),
            ("bfloat16", np.float32),
        )
    }
    assert len(set(found.values())) == 1
    other = one(np.array(values, np.float64), VectorField("", dim=dim, dtype="float64"))
    assert other not in found.values(), "float64 says more, and hashes otherwise"


@settings(PROFILE)
@given(st.binary(min_size=2, max_size=2), st.binary(min_size=2, max_size=2))
def test_every_bit_of_bfloat16_and_float16_counts(a: bytes, b: bytes) -> None:
    for dtype in ("float16", "bfloat16"):
        field = VectorField("", dim=1, dtype=dtype)
        wide = [widened(raw, dtype) for raw in (a, b)]
        same = wide[0].tobytes() == wide[1].tobytes()
        assert (one(wide[0], field) == one(wide[1], field)) == same


def widened(raw: bytes, dtype: str) -> np.ndarray[Any, Any]:
    if dtype == "float16":
        return np.frombuffer(raw, "<f2").astype(np.float32)
    return (np.frombuffer(raw, "<u2").astype(np.uint32) << 16).view(np.float32)


def test_bits_count_and_not_values() -> None:
    field = VectorField("", dim=1)
    values = [np.array([x], np.float32) for x in (0.0, -0.0, 1.0, 1e-45)] + [x.reshape(1) for x in NONFINITE_FLOAT32]
    assert len({one(v, field) for v in values}) == len(values)


def test_null_empty_and_zero_are_apart() -> None:
    multi, dense = VectorField("", kind="multi", dim=2), VectorField("", dim=2)
    s = VectorField("", kind="sparse")
    found = [
        one(None, s), one(Sparse((), ()), s), one(Sparse((0,), (0.0,)), s), one(Sparse((0, 1), (0.0, 0.0)), s),
        one(np.zeros((0, 2)), multi), one(np.zeros((1, 2)), multi), one(np.zeros((2, 2)), multi),
        one(np.zeros(2), dense), one(np.zeros(2), VectorField("", dim=2, dtype="float64")),
        one(np.zeros(2, np.uint8), VectorField("", kind="binary", dtype="bit", dim=2)),
    ]  # fmt: skip
    assert len(set(found)) == len(found)
    assert one(None, s) == one(None, multi) == one(None, dense) == np.uint64(hashes.NO_VECTOR).astype(np.int64)


def test_what_stands_under_a_null_does_not_count() -> None:
    c = Collection("c", vectors=(VectorField("", dim=2),))
    kind = batch_of([Record("a")], c).schema.field("vector").type
    values = pa.array(np.array([1, 2, 3, 4], np.float32))
    dirty = pa.ListArray.from_arrays(pa.array([0, 2, 4], pa.int32()), values, type=kind, mask=pa.array([True, False]))
    clean = pa.array([None, [3, 4]], kind)
    made = [make_page(c, ids=["a", "b"], vectors={"": v}) for v in (dirty, clean)]
    assert hashed(made[0], c) == hashed(made[1], c)


@pytest.mark.parametrize("field", EVERY.vectors, ids=lambda f: f.name)
def test_the_name_of_a_sole_vector_does_not_count(field: VectorField) -> None:
    value = vectors_of(field, 1)[0]
    assert one(value, field) == one(value, replace(field, name=""))
    with_other = Collection("c", vectors=(field, VectorField("other", dim=1)))
    page = batch_of([Record("a", {field.name: value})], with_other)
    assert hashed(page, with_other)[0][0] != one(value, field), "beside another field the name counts"


@settings(PROFILE)
@given(texts, texts, texts, texts)
def test_texts_do_not_run_into_each_other(a: str, b: str, c: str, d: str) -> None:
    def key_sum(namespace: str, id_: str) -> int:
        zero = pa.array([0], pa.int64())
        return hashes.record_sum(pa.array([id_]), pa.array([namespace]), zero, zero)

    assert (key_sum(a, b) == key_sum(c, d)) == ((a, b) == (c, d))


@settings(PROFILE)
@given(st.lists(st.tuples(st.sampled_from(["{}", '{"a":1}', '{"a":"\\u0000"}']), st.none() | texts), min_size=1))
def test_metadata_and_document(rows: list[tuple[str, str | None]]) -> None:
    page = make_page(Collection("c"), ids=[str(i) for i in range(len(rows))], metadata=[m for m, _ in rows],
                     documents=[d for _, d in rows])  # fmt: skip
    found = hashes.metadata_hashes(page).tolist()
    for i, a in enumerate(rows):
        for j, b in enumerate(rows):
            assert (found[i] == found[j]) == (a == b)


def test_no_rows() -> None:
    empty = batch_of([Record("a")], EVERY).slice(0, 0)
    assert hashed(empty) == []
    assert sum_of(empty) == 0


def test_many_rows_carry_beyond_32_bits() -> None:
    n = 70_000
    same = pa.repeat(pa.scalar("a"), n)
    zero = pa.array(np.zeros(n, np.int64))
    single = hashes.record_sum(same[:1], same[:1], zero[:1], zero[:1])
    assert hashes.record_sum(same, same, zero, zero) == single * n % 2**128


def test_different_records_have_different_hashes() -> None:
    n = 20_000
    c = Collection("c", vectors=(VectorField("", dim=4),))
    rng = np.random.default_rng(3)
    made = [Record(str(i), {"": rng.standard_normal(4).astype(np.float32)}, {"n": i}) for i in range(n)]
    found = hashed(batch_of(made, c), c)
    assert len({v for v, _ in found}) == len({m for _, m in found}) == n
    share = sum(v < 0 for v, _ in found) / n
    assert math.isclose(share, 0.5, abs_tol=0.02), "stored as signed integers, half of them are negative"
