"""Pages: vectors go into columns and come out again bit by bit, and what does not fit is refused by name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vecport.errors import IntegrityError, NotRepresentable
from vecport.model import batch
from vecport.model.batch import (
    binary_array,
    check_lengths,
    dense_array,
    dense_matrix,
    group_schema,
    make_page,
    multi_array,
    page_schema,
    sparse_array,
    vector_fault,
    vector_type,
)
from vecport.model.collection import Collection, VectorField

PROFILE = settings(deadline=None, max_examples=50, suppress_health_check=list(HealthCheck))
DENSE = {d: VectorField("v", dim=3, dtype=d) for d in ("float64", "float32", "float16", "bfloat16", "int8", "uint8")}
TYPES = {"float64": np.float64, "int8": np.int8, "uint8": np.uint8}
SPARSE, MULTI = VectorField("v", kind="sparse"), VectorField("v", kind="multi", dim=2)
BITS = VectorField("v", kind="binary", dtype="bit", dim=12)


def bits_of(array: np.ndarray[Any, Any]) -> bytes:
    return np.ascontiguousarray(array).tobytes()


@PROFILE
@given(
    st.sampled_from(sorted(DENSE)), st.binary(min_size=96, max_size=96), st.lists(st.booleans(), min_size=4, max_size=4)
)
def test_dense_vectors_keep_every_bit(dtype: str, raw: bytes, present: list[bool]) -> None:
    field, kind = DENSE[dtype], np.dtype(TYPES.get(dtype, np.float32))
    matrix = np.frombuffer(raw, kind)[:12].reshape(4, 3)
    valid = np.array(present)
    column = dense_array(matrix, field, valid)
    found, mask = dense_matrix(column, field)
    assert column.type == vector_type(field)
    assert mask.tolist() == present
    assert bits_of(found) == bits_of(matrix[valid])
    assert found.dtype == kind
    check_lengths(column, field, "here")
    for part in (column.slice(1), column.slice(0, 2), column.slice(2, 1)):
        part_found, part_mask = dense_matrix(part, field)
        assert len(part_found) == part_mask.sum()


def test_dense_vectors_are_not_copied() -> None:
    matrix = np.arange(12, dtype=np.float32).reshape(4, 3)
    found, _ = dense_matrix(dense_array(matrix, DENSE["float32"]), DENSE["float32"])
    assert np.shares_memory(found, matrix)


@PROFILE
@given(st.lists(st.none() | st.dictionaries(st.integers(0, 2**32 - 1), st.floats(width=32), max_size=4), max_size=6))
def test_sparse_vectors(rows: list[dict[int, float] | None]) -> None:
    valid = np.array([r is not None for r in rows], bool)
    nnz = np.array([len(r or {}) for r in rows], np.int64)
    ordered = [(i, r[i]) for r in rows if r for i in sorted(r)]
    column = sparse_array(np.array([i for i, _ in ordered], np.uint32), np.array([x for _, x in ordered], np.float32),
                          nnz, SPARSE, valid)  # fmt: skip
    assert vector_fault(column, SPARSE) is None
    back = [None if r is None else dict(zip(r["indices"], r["values"], strict=True)) for r in column.to_pylist()]
    assert repr(back) == repr([None if r is None else {i: r[i] for i in sorted(r)} for r in rows])


@PROFILE
@given(st.lists(st.none() | st.integers(0, 3), max_size=6))
def test_multi_vectors(counts: list[int | None]) -> None:
    total = sum(c or 0 for c in counts)
    flat = np.arange(2 * total, dtype=np.float32).reshape(total, 2)
    column = multi_array(
        flat, np.array([c or 0 for c in counts], np.int64), MULTI, np.array([c is not None for c in counts], bool)
    )
    assert [None if r is None else len(r) for r in column.to_pylist()] == counts
    assert column.drop_null().flatten().flatten().to_pylist() == flat.reshape(-1).tolist()
    check_lengths(column, MULTI, "here")


@PROFILE
@given(
    st.lists(st.none() | st.lists(st.integers(0, 1), min_size=12, max_size=12), min_size=1, max_size=5), st.booleans()
)
def test_bits(rows: list[list[int] | None], sliced: bool) -> None:
    packed = np.packbits(np.array([r or [0] * 12 for r in rows], np.uint8), axis=1)
    column = binary_array(packed, BITS, np.array([r is not None for r in rows]))
    if sliced:
        column, rows = column.slice(1), rows[1:]
    assert vector_fault(column, BITS) is None
    found = [None if v is None else [int(b) for b in f"{int.from_bytes(v, 'big'):016b}"] for v in column.to_pylist()]
    assert found == [None if r is None else [*r, 0, 0, 0, 0] for r in rows]


@pytest.mark.parametrize("dim", [1, 7, 8, 9, 12])
def test_bits_behind_the_last_dimension(dim: int) -> None:
    field = VectorField("v", kind="binary", dtype="bit", dim=dim)
    width = (dim + 7) // 8
    full = pa.array([b"\0" * width, None, b"\xff" * width], pa.binary(width))
    fault = vector_fault(full, field)
    assert (fault is None) == (dim % 8 == 0)
    assert vector_fault(full.slice(0, 2), field) is None
    if dim % 8:
        assert vector_fault(full.slice(2), field)


@pytest.mark.parametrize(
    ("rows", "fine"),
    [
        ([([1, 2], [1, 1])], True),
        ([([2, 1], [1, 1])], False),
        ([([1, 1], [1, 1])], False),
        ([([5], [1]), ([1], [1])], True),
        ([([5], [1]), ([], []), ([1], [1])], True),
        ([([], []), ([], [])], True),
        ([([5], [1]), None, ([1, 0], [1, 1])], False),
        ([([1], [1, 2]), ([1, 2], [1])], False),
        ([None, None], True),
        ([], True),
    ],
)
def test_what_the_format_forbids_in_sparse_vectors(rows: list[Any], fine: bool) -> None:
    data = [None if r is None else {"indices": r[0], "values": r[1]} for r in rows]
    assert (vector_fault(pa.array(data, vector_type(SPARSE)), SPARSE) is None) == fine


def test_a_null_that_may_not_be() -> None:
    field = VectorField("v", dim=1, nullable=False)
    assert vector_fault(pa.array([[1.0], None], vector_type(field)), field)
    assert vector_fault(pa.array([[1.0]], vector_type(field)), field) is None


@pytest.mark.parametrize(
    "make",
    [
        lambda: dense_array(np.zeros((2, 4), np.float32), DENSE["float32"]),
        lambda: dense_array(np.zeros(3, np.float32), DENSE["float32"]),
        lambda: multi_array(np.zeros((2, 3)), np.array([2]), MULTI),
        lambda: binary_array(np.zeros((2, 3), np.uint8), BITS),
        lambda: dense_matrix(pa.array([[1.0, 2.0]], vector_type(DENSE["float32"])), DENSE["float32"]),
        lambda: check_lengths(pa.array([[[1.0]]], vector_type(MULTI)), MULTI, "here"),
        lambda: check_lengths(pa.array([[1.0, 2, 3], [1.0]], vector_type(DENSE["float32"])), DENSE["float32"], "here"),
    ],
)
def test_another_dimension_is_refused(make: Any) -> None:
    with pytest.raises(IntegrityError, match="'v'"):
        make()


def test_more_elements_than_a_page_can_address() -> None:
    with pytest.raises(NotRepresentable, match="2,147,483,647"):
        batch._offsets(np.array([2**30, 2**30], np.int64))
    assert batch._offsets(np.array([2**30, 2**30 - 1], np.int64))[-1] == 2**31 - 1


# ---- pages

C = Collection("c", vectors=(DENSE["float32"],))


def test_a_page_of_defaults() -> None:
    page = make_page(C, ids=["a", "b"])
    assert page.schema == page_schema(C)
    assert page.to_pylist() == [
        {"id": i, "namespace": "", "document": None, "metadata": "{}", "vector_v": None} for i in ("a", "b")
    ]
    assert group_schema(C).names == [*page.schema.names, "_vh", "_mh"]
    assert make_page(C, ids=[]).num_rows == 0


def test_texts_of_other_types_are_taken() -> None:
    large = pa.array(["a"], pa.large_string())
    page = make_page(C, ids=pa.chunked_array([large]), metadata=large.dictionary_encode(), namespaces="n")
    assert page.to_pylist()[0] == {"id": "a", "namespace": "n", "document": None, "metadata": "a", "vector_v": None}


@pytest.mark.parametrize(
    "more",
    [
        {"metadata": ["{}"]},
        {"metadata": ["{}", None]},
        {"namespaces": ["", None]},
        {"ids": ["a", None]},
        {"documents": ["x"]},
        {"vectors": {"v": pa.array([[1.0, 2, 3]] * 2)}},
        {"vectors": {"v": pa.array([[1.0, 2, 3]], vector_type(DENSE["float32"]))}},
        {"vectors": {"other": pa.nulls(2)}},
    ],
)
def test_a_page_that_does_not_fit_is_refused(more: dict[str, Any]) -> None:
    with pytest.raises(IntegrityError, match="described"):
        make_page(C, **{"ids": ["a", "b"], **more})
