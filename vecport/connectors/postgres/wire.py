r"""COPY BINARY, column by column: every field is its length in four bytes and its value, built by NumPy and Arrow.

A column becomes one or more Arrow ``large_binary`` arrays without nulls, the *pieces*, whose concatenation in a row is
the field. Rows are joined by one call of ``binary_join_element_wise``, which copies memory and nothing else.

Facts: PostgreSQL documentation, COPY, "Binary Format"; the ``*_send`` functions of the types; ``vector_send`` of
pgvector. All numbers are big endian.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from .arrow import Array, pa, pc

Pieces: TypeAlias = list[Any]

SIGNATURE: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER: Final = b"\xff\xff"
_NULL: Final = -1
_EMPTY: Final = pa.scalar(b"", pa.large_binary())
_ARRAY_HEADER: Final = np.dtype(
    [("size", ">i4"), ("ndim", ">i4"), ("nulls", ">i4"), ("oid", ">u4"), ("dim", ">i4"), ("lower", ">i4")]
)
_ARRAY_HEADER_BYTES: Final = 20
_EMPTY_ARRAY_BYTES: Final = 12
_NIBBLES: Final = np.full(256, 255, np.uint8)
_NIBBLES[np.frombuffer(b"0123456789abcdef", np.uint8)] = np.arange(16, dtype=np.uint8)
_UUID_HYPHENS: Final = [8, 13, 18, 23]
_UUID_DIGITS: Final = [i for i in range(36) if i not in _UUID_HYPHENS]


def rows(columns: Sequence[Pieces]) -> memoryview:
    """Join columns to the rows of a COPY BINARY stream, without its signature and trailer.

    Args:
        columns: the pieces of every column, all of the same length n > 0.
    """
    count = pa.scalar(len(columns).to_bytes(2, "big"), pa.large_binary())
    joined = join([count, *(piece for pieces in columns for piece in pieces)])
    return _data(joined)


def join(pieces: Iterable[Any]) -> Array:
    """Concatenate pieces row by row."""
    return pc.binary_join_element_wise(*pieces, _EMPTY)


def fixed(values: npt.NDArray[Any], valid: npt.NDArray[np.bool_] | None = None) -> Pieces:
    """Fields of a constant width.

    Args:
        values: (n,) of a big-endian or one-byte dtype, or (n, width) uint8; what stands in null rows is ignored.
        valid: (n,) bool, None when no row is null.
    """
    n = len(values)
    raw = np.ascontiguousarray(values).view(np.uint8).reshape(n, -1) if n else np.zeros((0, 1), np.uint8)
    width = raw.shape[1]
    out = np.empty((n, 4 + width), np.uint8)
    out[:, :4] = np.frombuffer(width.to_bytes(4, "big"), np.uint8)
    out[:, 4:] = raw
    return [_matrix(out, valid)]


def variable(values: Array, tag: bytes = b"") -> Pieces:
    """Fields of varying width.

    Args:
        values: (n,) strings or binaries, null where the row is null.
        tag: bytes in front of every value, as the version byte of jsonb.
    """
    n = len(values)
    lengths = pc.fill_null(pc.binary_length(values), 0).to_numpy(zero_copy_only=False)
    head = np.empty((n, 4 + len(tag)), np.uint8)
    head[:, :4] = (lengths + len(tag)).astype(">i4").view(np.uint8).reshape(n, 4)
    head[:, 4:] = np.frombuffer(tag, np.uint8)
    valid = np.asarray(values.is_valid()) if values.null_count else None
    body = values.cast(pa.large_binary())
    return [_matrix(head, valid), pc.fill_null(body, b"") if values.null_count else body]


def vector(matrix: npt.NDArray[Any], valid: npt.NDArray[np.bool_] | None = None, element: str = ">f4") -> Pieces:
    """Fields of type ``vector`` or ``halfvec``.

    Args:
        matrix: (m, dim) of the m rows that are not null, finite.
        valid: (n,) bool with m true; None when m is n.
        element: dtype of the elements.
    """
    m, dim = matrix.shape
    size = np.dtype(element).itemsize
    before, width = 8 // size, 8 + size * dim
    out = np.empty((m, dim + before), element)
    head = out.view(np.uint8).reshape(m, width)
    head[:, :8] = np.frombuffer((width - 4).to_bytes(4, "big") + dim.to_bytes(2, "big") + bytes(2), np.uint8)
    out[:, before:] = matrix
    flat = out.view(np.uint8).reshape(-1)
    if valid is None or m == len(valid):
        return [binaries(flat, np.arange(0, m * width + 1, width, dtype=np.int64))]
    # A null row is four bytes, and there is no room for them in the matrix.
    values = binaries(flat, _offsets(np.where(valid, width, 0)))
    nulls = np.full((len(valid), 4), 255, np.uint8)
    return [_matrix(nulls, None, keep=~valid), values]


def array(lists: Array, elements: Pieces, oid: int) -> Pieces:
    """Fields of a one-dimensional array type with lower bound 1.

    Args:
        lists: (n,) lists without an offset of their own, null where the row is null.
        elements: the pieces of the flattened elements.
        oid: of the element type.
    """
    n = len(lists)
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False).astype(np.int64)
    flat = lists.flatten()
    body = join(elements) if len(flat) else pa.array([], pa.large_binary())
    ends = np.frombuffer(body.buffers()[1], np.int64)[body.offset : body.offset + len(body) + 1] if len(body) else [0]
    offsets = np.asarray(ends, np.int64)[_offsets(lengths)]
    head = np.zeros(n, _ARRAY_HEADER)
    head["oid"] = oid
    head["dim"] = lengths
    head["lower"] = head["ndim"] = 1
    head["ndim"][lengths == 0] = 0
    head["nulls"] = _has_null(flat, _offsets(lengths))
    head["size"] = np.where(lengths == 0, _EMPTY_ARRAY_BYTES, _ARRAY_HEADER_BYTES + np.diff(offsets))
    raw = head.view(np.uint8).reshape(n, -1)
    keep = np.ones(raw.shape, np.bool_)
    keep[lengths == 0, 4 + _EMPTY_ARRAY_BYTES :] = False
    if lists.null_count:
        null = ~np.asarray(lists.is_valid())
        raw[null, :4] = 255
        keep[null, 4:] = False
    values = pa.LargeBinaryArray.from_buffers(
        pa.large_binary(), n, [None, pa.py_buffer(np.ascontiguousarray(offsets)), _buffer(body)]
    )
    return [_matrix(raw, None, keep), values]


def uuid_bytes(texts: Array) -> npt.NDArray[np.uint8] | None:
    """Parse canonical UUID texts.

    Args:
        texts: (n,) strings; nulls become zeros.
    Returns:
        (n, 16) bytes, or None when a text is not a lower-case UUID with hyphens.
    """
    n = len(texts)
    filled = pc.fill_null(texts, "00000000-0000-0000-0000-000000000000").cast(pa.large_binary())
    data = np.frombuffer(_data(filled), np.uint8)
    if len(data) != 36 * n or bool(pc.any(pc.not_equal(pc.binary_length(filled), 36)).as_py()):
        return None
    matrix = data.reshape(n, 36)
    nibbles = _NIBBLES[matrix[:, _UUID_DIGITS]]
    if (matrix[:, _UUID_HYPHENS] != ord("-")).any() or (nibbles == 255).any():
        return None
    return ((nibbles[:, 0::2] << 4) | nibbles[:, 1::2]).astype(np.uint8, copy=False)


def _matrix(
    rows: npt.NDArray[np.uint8],
    valid: npt.NDArray[np.bool_] | None,
    keep: npt.NDArray[np.bool_] | None = None,
) -> Array:
    """Turn (n, width) bytes into n binaries.

    Args:
        rows: the bytes, starting with the field's length.
        valid: (n,) bool; a row that is not valid becomes the four bytes of a null. Changes ``rows``.
        keep: which bytes stand, (n,) for whole rows or (n, width); exclusive with ``valid``.
    """
    n, width = rows.shape
    if valid is not None and not valid.all():
        rows[~valid, :4] = 255
        keep = np.ones(rows.shape, np.bool_)
        keep[~valid, 4:] = False
    if keep is None:
        return binaries(rows.reshape(-1), np.arange(0, n * width + 1, width, dtype=np.int64))
    lengths = keep.sum(axis=1) if keep.ndim == 2 else keep * width
    return binaries(rows[keep].reshape(-1), _offsets(lengths))


def _has_null(flat: Array, offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    if not flat.null_count:
        return np.zeros(len(offsets) - 1, np.int64)
    nulls = np.zeros(len(flat) + 1, np.int64)
    np.cumsum(~np.asarray(flat.is_valid()), out=nulls[1:])
    return (np.diff(nulls[offsets]) > 0).astype(np.int64)


def _offsets(lengths: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def binaries(flat: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]) -> Array:
    """Binaries of varying width from their bytes one after the other and (n + 1,) offsets."""
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(flat))]
    return pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(offsets) - 1, buffers)


def _buffer(array: Array) -> Any:
    return array.buffers()[2] or pa.py_buffer(b"")


def _data(array: Array) -> memoryview:
    """The bytes of a large_binary array, without copying."""
    offsets = np.frombuffer(array.buffers()[1], np.int64)[array.offset : array.offset + len(array) + 1]
    return memoryview(_buffer(array))[int(offsets[0]) : int(offsets[-1])]
