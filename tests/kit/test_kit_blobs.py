"""Vectors as runs of bytes: what goes out comes back, absent ones and slices too, bits in either order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from vecport.connectors.kit.blobs import blobs_of, column_of
from vecport.errors import IntegrityError
from vecport.model.collection import VectorField
from vecport.testing.records import vector_column, vectors_of

FIELDS = [
    VectorField("v", dtype="float32", dim=5),
    VectorField("v", dtype="float64", dim=3),
    VectorField("v", dtype="int8", dim=4),
    VectorField("v", "binary", "bit", 16),
    VectorField("v", "binary", "bit", 12),
]


@pytest.mark.parametrize("low", [False, True])
@pytest.mark.parametrize("field", FIELDS, ids=lambda f: f"{f.dtype} {f.dim}")
def test_vectors_come_back(field: VectorField, low: bool) -> None:
    given: list[Any] = [*vectors_of(field, 4), None, *vectors_of(field, 2, seed=8)]
    column = vector_column(given, field)
    for part in (column, column.slice(2, 4), column.slice(0, 0)):
        blobs = [None if b is None else bytes(b) for b in blobs_of(part, field, first_bit_low=low)]
        assert [b is None for b in blobs] == [not valid for valid in part.is_valid().to_pylist()]
        assert column_of(blobs, field, first_bit_low=low).equals(part)


def test_the_bytes_are_those_that_databases_have() -> None:
    dense = VectorField("v", dim=2)
    (blob,) = blobs_of(vector_column([np.array([1.0, -2.5], np.float32)], dense), dense)
    assert bytes(blob or b"") == np.array([1.0, -2.5], "<f4").tobytes()
    bits = VectorField("v", "binary", "bit", 8)
    column = vector_column([np.array([1, 1, 0, 0, 0, 0, 0, 0], np.uint8)], bits)
    assert [bytes(b or b"") for b in blobs_of(column, bits)] == [b"\xc0"]
    assert [bytes(b or b"") for b in blobs_of(column, bits, first_bit_low=True)] == [b"\x03"]


def test_another_length_is_refused() -> None:
    with pytest.raises(IntegrityError, match="4 bytes"):
        column_of([bytes(8), bytes(4)], VectorField("v", dim=2))
