"""Vector columns to and from the binary form of their types, by NumPy over whole columns.

Facts: ``vector_send``, ``halfvec_send`` and ``sparsevec_send`` of pgvector, ``bit_send`` of PostgreSQL; all big endian.
``vector`` and ``halfvec``: ``u2 dim, u2 0``, elements. ``bit``: ``i4 dim``, bits from the most significant on.
``sparsevec``: ``i4 dim, i4 count, i4 0, i4[count]`` indices from 0 (its text counts from 1), ``f4[count]``.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ...errors import IntegrityError, NotRepresentable
from ...model.batch import binary_array, dense_array, dense_matrix, sparse_array, vector_fault
from ...model.collection import VectorField
from . import wire
from .arrow import Array, pa
from .layout import Slot
from .vectors import MAX_SPARSE_ENTRIES

_DENSE_HEADER: Final = 4
_BIT_HEADER: Final = 4
_SPARSE_CELLS: Final = 3
_ELEMENTS: Final = {"vector": ">f4", "halfvec": ">f2"}
_SAFE: Final = "the row group was not written"


def encode(slot: Slot, column: Array, field: VectorField, most: int = MAX_SPARSE_ENTRIES) -> wire.Pieces:
    """Encode a vector column of a page.

    Args:
        slot: of the vector.
        column: (n,) of ``vector_type(field)``.
        field: the vector field.
        most: the largest number of entries that a sparse vector may have: less than the type holds where the table
            gets an index.
    Raises:
        NotRepresentable: a value that the type would not hold as it is.
    """
    if slot.vector in _ELEMENTS:
        matrix, valid = dense_matrix(column, field)
        return wire.vector(_narrowed(slot, matrix), valid, _ELEMENTS[slot.vector])
    fault = vector_fault(column, field)
    if fault:
        raise IntegrityError(f"vector {field.name!r} {fault}", safe=_SAFE)
    return _sparse_fields(slot, column, most) if slot.vector == "sparsevec" else _bit_fields(slot, column)


def decode(slot: Slot, raw: Array, field: VectorField) -> Array:
    """Turn (n,) vectors in their binary form into a vector column; null stays null.

    Raises:
        IntegrityError: a vector has another dimension than the slot.
    """
    data, lengths = _bytes_of(raw)
    valid = None if not raw.null_count else np.asarray(raw.is_valid())
    if slot.vector == "sparsevec":
        return _sparse_column(slot, data, lengths, field, valid)
    if slot.vector == "bit":
        return _bit_column(slot, data, lengths, field, valid)
    return _dense_column(slot, data, lengths, field, valid)


# -- to the database ---------------------------------------------------------------------------


def _narrowed(slot: Slot, matrix: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if slot.vector != "halfvec":
        return matrix
    with np.errstate(over="ignore"):
        half = matrix.astype(np.float16)
    if not np.array_equal(half.astype(np.float32), matrix, equal_nan=True):
        raise NotRepresentable(
            f"vector {slot.name!r}: a value with more digits or a larger one than a halfvec holds", safe=_SAFE
        )
    return half


def _bit_fields(slot: Slot, column: Array) -> wire.Pieces:
    n, width = len(column), (slot.dim + 7) // 8
    valid = np.asarray(column.is_valid()) if column.null_count else None
    data = np.frombuffer(column.buffers()[1], np.uint8)[column.offset * width : (column.offset + n) * width]
    out = np.empty((n, _BIT_HEADER + width), np.uint8)
    out[:, :_BIT_HEADER] = np.frombuffer(slot.dim.to_bytes(4, "big"), np.uint8)
    out[:, _BIT_HEADER:] = data.reshape(n, width)
    return wire.fixed(out, valid)


def _sparse_fields(slot: Slot, column: Array, most: int) -> wire.Pieces:
    n = len(column)
    valid = np.asarray(column.is_valid())
    present = column.drop_null()
    indices, values = (np.asarray(present.field(i).flatten()) for i in (0, 1))
    counts = np.asarray(present.field(0).value_lengths(), np.int64)
    _check_sparse(slot, indices, values, counts, most)
    nnz = np.zeros(n, np.int64)
    nnz[valid] = counts
    cells = np.where(valid, _SPARSE_CELLS + 1 + 2 * nnz, 1)
    ends = np.cumsum(cells)
    starts = ends - cells
    out = np.zeros(int(ends[-1]) if n else 0, ">i4")
    out[starts] = np.where(valid, 4 * (_SPARSE_CELLS + 2 * nnz), -1)
    heads = starts[valid]
    out[heads + 1] = slot.dim
    out[heads + 2] = counts
    place = np.repeat(heads + _SPARSE_CELLS + 1, counts) + _within(counts)
    out[place] = indices
    out.view(">f4")[place + np.repeat(counts, counts)] = values
    return [wire.binaries(out.view(np.uint8), np.concatenate([[0], 4 * ends]))]


def _check_sparse(
    slot: Slot, indices: npt.NDArray[Any], values: npt.NDArray[Any], counts: npt.NDArray[Any], most: int
) -> None:
    what = f"vector {slot.name!r}: "
    if (values == 0).any():
        raise NotRepresentable(
            f"{what}an entry whose value is zero",
            why="a sparsevec holds no explicit zeros, so that this one would not come back",
            safe=_SAFE,
        )
    if len(indices) and int(indices.max()) >= slot.dim:
        raise NotRepresentable(
            f"{what}the index {int(indices.max()):,} (from 0)",
            why=f"the column is sparsevec({slot.dim})",
            safe=_SAFE,
            next=f"--set dimensions.{slot.name}=N makes another one, of up to 1,000,000,000 dimensions",
        )
    if len(counts) and int(counts.max()) > most:
        indexed = most < MAX_SPARSE_ENTRIES
        raise NotRepresentable(
            f"{what}{int(counts.max()):,} entries in a record",
            why=f"{'an index of sparsevec' if indexed else 'a sparsevec'} takes at most {most:,}",
            safe=_SAFE,
            next="import again without an index: --set index=none" if indexed else "",
        )


def _within(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """0, 1 ... for each of the counts, one after the other."""
    total = int(counts.sum())
    return np.arange(total) - np.repeat(np.cumsum(counts) - counts, counts)


# -- from the database -------------------------------------------------------------------------


def _bytes_of(raw: Array) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """The bytes of (n,) binaries one after the other, and the length of each, 0 for null."""
    n = len(raw)
    kind = np.int64 if pa.types.is_large_binary(raw.type) else np.int32
    _, offset_buffer, data = raw.buffers()
    offsets = np.frombuffer(offset_buffer, kind)[raw.offset : raw.offset + n + 1].astype(np.int64)
    if data is None or not n:
        return np.zeros(0, np.uint8), np.diff(offsets)
    return np.frombuffer(data, np.uint8)[offsets[0] : offsets[-1]], np.diff(offsets)


def _check_lengths(slot: Slot, lengths: npt.NDArray[np.int64], valid: Any, size: int, found: Any) -> None:
    expected = size if valid is None else np.where(valid, size, 0)
    wrong = lengths != expected
    if wrong.any():
        dim = found(int(lengths[int(np.flatnonzero(wrong)[0])]))
        raise IntegrityError(f"vector {slot.name!r} has {dim} dimensions in a record, {slot.dim} were described")


def _dense_column(
    slot: Slot, data: npt.NDArray[np.uint8], lengths: npt.NDArray[np.int64], field: VectorField, valid: Any
) -> Array:
    element, n = np.dtype(_ELEMENTS[slot.vector]), len(lengths)
    width = element.itemsize
    size = _DENSE_HEADER + width * slot.dim
    _check_lengths(slot, lengths, valid, size, lambda length: (length - _DENSE_HEADER) // width)
    present = n if valid is None else int(valid.sum())
    if not present:
        return dense_array(np.zeros((n, slot.dim), np.float32), field, valid)
    values = data.view(element).reshape(present, size // width)[:, _DENSE_HEADER // width :]
    if valid is None:
        return dense_array(values, field)
    matrix = np.zeros((n, slot.dim), np.float32)
    matrix[valid] = values
    return dense_array(matrix, field, valid)


def _bit_column(
    slot: Slot, data: npt.NDArray[np.uint8], lengths: npt.NDArray[np.int64], field: VectorField, valid: Any
) -> Array:
    width = (slot.dim + 7) // 8
    _check_lengths(slot, lengths, valid, _BIT_HEADER + width, lambda length: f"up to {8 * (length - _BIT_HEADER)}")
    rows = data.reshape(-1, _BIT_HEADER + width)
    if len(rows) and (rows[:, :_BIT_HEADER] != np.frombuffer(slot.dim.to_bytes(4, "big"), np.uint8)).any():
        raise IntegrityError(f"vector {slot.name!r} has another number of bits than {slot.dim} in a record")
    packed = np.zeros((len(lengths), width), np.uint8)
    packed[slice(None) if valid is None else valid] = rows[:, _BIT_HEADER:]
    return binary_array(packed, field, valid)


def _sparse_column(
    slot: Slot, data: npt.NDArray[np.uint8], lengths: npt.NDArray[np.int64], field: VectorField, valid: Any
) -> Array:
    cells = np.ascontiguousarray(data).view(">i4")
    held = lengths if valid is None else lengths[valid]
    starts = (np.cumsum(held) - held) // 4
    counts = cells[starts + 1].astype(np.int64)
    if (held != 4 * (_SPARSE_CELLS + 2 * counts)).any():
        raise IntegrityError(f"vector {slot.name!r} is damaged in a record")
    if (cells[starts] != slot.dim).any():
        found = int(cells[starts][cells[starts] != slot.dim][0])
        raise IntegrityError(f"vector {slot.name!r} has {found} dimensions in a record, {slot.dim} were described")
    place = np.repeat(starts + _SPARSE_CELLS, counts) + _within(counts)
    nnz = np.zeros(len(lengths), np.int64)
    nnz[slice(None) if valid is None else valid] = counts
    values = cells.view(">f4")[place + np.repeat(counts, counts)]
    return sparse_array(cells[place], values, nnz, field, valid)
