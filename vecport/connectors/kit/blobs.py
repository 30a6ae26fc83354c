"""Vectors as databases without a vector type keep them: one run of bytes a record, little-endian."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ...errors import IntegrityError
from ...model.batch import binary_array, dense_array, dense_matrix, element_dtype
from ...model.collection import VectorField


def blobs_of(column: pa.Array[Any], field: VectorField, *, first_bit_low: bool = False) -> list[memoryview | None]:
    """The vectors of a column as bytes, views on one buffer; None for a record without one.

    Args:
        column: of ``vector_type(field)``, dense or binary.
        field: the vector.
        first_bit_low: the database takes the least significant bit of a byte for its first one.
    """
    valid = np.asarray(column.is_valid())
    if field.kind == "binary":
        matrix = _packed(column.drop_null(), field)
        matrix = _mirrored(matrix) if first_bit_low else matrix
    else:
        matrix, _ = dense_matrix(column, field)
    data, width = memoryview(np.ascontiguousarray(matrix).tobytes()), matrix.shape[1] * matrix.itemsize
    ends = np.cumsum(valid) * width
    return [
        data[end - width : end] if there else None for there, end in zip(valid.tolist(), ends.tolist(), strict=True)
    ]


def column_of(blobs: Sequence[bytes | None], field: VectorField, *, first_bit_low: bool = False) -> pa.Array[Any]:
    """Inverse of ``blobs_of``.

    Raises:
        IntegrityError: a run of bytes of another length than the field has.
    """
    dtype = np.dtype("u1") if field.kind == "binary" else element_dtype(field)
    elements = ((field.dim or 0) + 7) // 8 if field.kind == "binary" else field.dim or 0
    width = elements * dtype.itemsize
    wrong = next((len(blob) for blob in blobs if blob is not None and len(blob) != width), None)
    if wrong is not None:
        raise IntegrityError(f"vector {field.name!r}: {wrong} bytes in a record, expected {width}")
    valid = np.array([blob is not None for blob in blobs], bool)
    empty = bytes(width)
    matrix = np.frombuffer(b"".join(empty if b is None else b for b in blobs), dtype).reshape(len(blobs), elements)
    if field.kind != "binary":
        return dense_array(matrix, field, valid)
    return binary_array(_mirrored(matrix) if first_bit_low else matrix, field, None if valid.all() else valid)


def _packed(column: pa.Array[Any], field: VectorField) -> npt.NDArray[np.uint8]:
    width = ((field.dim or 0) + 7) // 8
    data: Any = column.buffers()[1] or b""
    return np.frombuffer(data, np.uint8)[column.offset * width :][: len(column) * width].reshape(len(column), width)


def _mirrored(packed: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Every byte with its bits in the opposite order."""
    return np.packbits(np.unpackbits(packed, axis=1), axis=1, bitorder="little") if packed.size else packed
