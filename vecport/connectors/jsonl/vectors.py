"""Vectors of a JSON Lines file: from their texts to Arrow columns, exactly."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa

from ...errors import IntegrityError, NotRepresentable
from ...model import canonical
from ...model.batch import binary_array, dense_array, element_dtype, multi_array, sparse_array
from ...model.collection import VectorField
from .lines import BLANK, STRING, BadLine, form_of, read_string, split_object

Array = npt.NDArray[Any]

_NUMBER_CHARS: Final = b"0123456789+-.eE, \t\r\n[]"


def read_column(raws: Sequence[bytes | None], field: VectorField) -> pa.Array[Any]:
    """Read the vectors of some records into a column.

    Args:
        raws: their texts, None where a record has none.
        field: its kind, dtype and dim are held to.

    Raises:
        RowError: one of them does not fit, by its index.
    """
    valid = np.array([r is not None for r in raws], bool)
    texts = [r for r in raws if r is not None]
    where = np.flatnonzero(valid)
    mask = None if valid.all() else valid
    try:
        if field.kind == "dense":
            matrix = _dense(texts, field)
            full = matrix if mask is None else np.zeros((len(raws), field.dim or 0), matrix.dtype)
            if mask is not None:
                full[valid] = matrix
            return dense_array(full, field, mask)
        if field.kind == "multi":
            return _multi(texts, field, valid, mask)
        if field.kind == "sparse":
            return _sparse(texts, field, valid, mask)
        return _binary(texts, field, valid, mask)
    except RowError as e:
        raise RowError(int(where[e.row]), e.cause) from None


class RowError(Exception):
    """``cause`` is wrong with the record at index ``row``."""

    def __init__(self, row: int, cause: BadLine) -> None:
        super().__init__(row, cause)
        self.row, self.cause = row, cause


def _each(texts: Sequence[bytes], read: Callable[[bytes], Any]) -> list[Any]:
    out = []
    for row, text in enumerate(texts):
        try:
            out.append(read(text))
        except BadLine as e:
            raise RowError(row, e) from None
    return out


def _dense(texts: Sequence[bytes], field: VectorField) -> Array:
    dim = field.dim or 0

    def read(text: bytes) -> list[Any]:
        values = numbers(text)
        if len(values) != dim:
            raise BadLine(f"vector {field.name!r} has {len(values)} elements, expected {dim}")
        return values

    rows = _each(texts, read)
    try:
        doubles = np.array(rows, np.float64).reshape(len(rows), dim)
    except (TypeError, ValueError):
        return np.stack([_exact_row(t, v, row, field) for row, (t, v) in enumerate(zip(texts, rows, strict=True))])
    return _cast(doubles, texts, field)


def numbers(text: bytes) -> list[Any]:
    """The elements of a flat list: numbers, and ``bytes`` for floats that are spelled as their bytes.

    Raises:
        BadLine: it is no list of numbers.
    """
    if not text.translate(None, _NUMBER_CHARS) and text.count(b"[") == 1:
        try:
            values = orjson.loads(text)
        except ValueError as e:
            raise BadLine("a vector is not a list of numbers", str(e).split(":")[0]) from None
        if type(values) is list:
            return values
    else:
        try:
            values = canonical.loads(text)
        except (IntegrityError, NotRepresentable) as e:
            raise BadLine("a vector is not a list of numbers", e.what) from None
        if type(values) is list and all(type(v) in (int, float, bytes, Decimal) for v in values):
            return values
    raise BadLine("a vector is not a list of numbers")


def _exact_row(text: bytes, values: list[Any], row: int, field: VectorField) -> Array:
    """One vector with elements that are spelled as their bytes."""
    try:
        plain: Array = np.array([[0.0 if isinstance(v, bytes) else float(v) for v in values]])
    except OverflowError:
        raise RowError(row, BadLine(f"vector {field.name!r} has an integer beyond float64")) from None
    out: Array = _cast(plain, [text], field, row)[0]
    for i, value in enumerate(values):
        if isinstance(value, bytes):
            if len(value) != out.itemsize:
                raise RowError(row, BadLine(f"element {i} of vector {field.name!r} has {len(value)} bytes"))
            out[i : i + 1] = np.frombuffer(value, out.dtype)
    return out


def _cast(doubles: Array, texts: Sequence[bytes], field: VectorField, row: int = 0) -> Array:
    """Doubles as the field's elements; a value that its dtype cannot hold is an error, rounding to float32 is not."""
    wanted = element_dtype(field)
    if wanted == np.float64:
        return doubles
    if wanted.kind in "iu":
        with np.errstate(invalid="ignore"):
            out = doubles.astype(wanted)
        _refuse(out.astype(np.float64) != doubles, doubles, field, row)
        return out
    out = to_float32(doubles, texts)
    _refuse(np.isinf(out) & np.isfinite(doubles), doubles, field, row)
    if field.dtype == "float16":
        with np.errstate(over="ignore"):
            _refuse((out.astype(np.float16).astype(np.float32) != out) & ~np.isnan(out), doubles, field, row)
    elif field.dtype == "bfloat16":
        _refuse((out.view(np.uint32) & 0xFFFF != 0) & ~np.isnan(out), doubles, field, row)
    return out


def _refuse(wrong: Array, doubles: Array, field: VectorField, row: int) -> None:
    if wrong.any():
        i, j = (int(x[0]) for x in np.nonzero(wrong))
        what = f"element {j} of vector {field.name!r} is {doubles[i, j]!r}, which is no {field.dtype}"
        raise RowError(row + i, BadLine(what, kind=NotRepresentable))


def to_float32(doubles: Array, texts: Sequence[bytes]) -> Array:
    """Round to float32 as if the decimal digits had been read as float32 at once.

    A double that lies just between two floats may be the rounding of digits that do not; only there the text decides.
    """
    with np.errstate(over="ignore"):
        out: Array = doubles.astype(np.float32)
    bits = doubles.view(np.uint64)
    between = (bits & 0x1FFF_FFFF) == 0x1000_0000
    tiny = (np.abs(doubles) < 1.2e-38) & (doubles != 0)
    for i, j in np.argwhere(between | tiny):
        token = texts[i].strip(BLANK)[1:-1].split(b",")[j].strip(BLANK)
        if b'"' not in token and np.isfinite(out[i, j]):
            out[i, j] = _nearest(Fraction(token.decode()), out[i, j])
    return out


def _nearest(exact: Fraction, guess: np.float32) -> np.float32:
    """The float nearest to ``exact``, which is ``guess`` or one beside it; ties go to the even one."""
    near = [np.nextafter(guess, np.float32(-np.inf)), guess, np.nextafter(guess, np.float32(np.inf))]
    errors = [(abs(Fraction(float(f)) - exact), int(f.view(np.uint32)) & 1, f) for f in near if np.isfinite(f)]
    best = min(errors, key=lambda e: e[:2])[2]
    return np.float32(np.copysign(best, guess))


def fits_float32(doubles: Array, texts: Sequence[bytes]) -> bool:
    """Whether float32 holds every value: each is a float32, or the shortest digits of one."""
    singles = to_float32(doubles, texts)
    rest = (singles.astype(np.float64) != doubles) & ~np.isnan(doubles)
    if not rest.any():
        return True
    if not np.isfinite(singles[rest]).all():
        return False
    spelled = orjson.loads(orjson.dumps(singles[rest], option=orjson.OPT_SERIALIZE_NUMPY))
    return bool((np.array(spelled, np.float64) == doubles[rest]).all())


def _multi(texts: Sequence[bytes], field: VectorField, valid: Array, mask: Array | None) -> pa.Array[Any]:
    rows_each = np.zeros(len(valid), np.int64)
    flat: list[bytes] = []
    owner: list[int] = []
    for row, (at, text) in enumerate(zip(np.flatnonzero(valid), texts, strict=True)):
        try:
            rows = split_rows(text)
        except BadLine as e:
            raise RowError(row, e) from None
        rows_each[at] = len(rows)
        flat += rows
        owner += [row] * len(rows)
    try:
        matrix = _dense(flat, field) if flat else np.zeros((0, field.dim or 0), element_dtype(field))
    except RowError as e:
        raise RowError(owner[e.row], e.cause) from None
    return multi_array(matrix, rows_each, field, mask)


_ROW: Final = re.compile(rb"[ \t\r\n]*(\[(?:[^\[\]\"]|" + STRING + rb")*\])[ \t\r\n]*([,\]])", re.DOTALL)


def split_rows(text: bytes) -> list[bytes]:
    """The raw rows of a multi vector; raises ``BadLine`` when it is not a list of lists."""
    pos = 1
    out: list[bytes] = []
    if text[:1] == b"[" and text[1:].strip(BLANK) == b"]":
        return out
    while text[:1] == b"[":
        row = _ROW.match(text, pos)
        if row is None:
            break
        out.append(row[1])
        pos = row.end()
        if row[2] == b"]":
            if text[pos:].strip(BLANK):
                break
            return out
    raise BadLine("a vector is not a list of lists of numbers")


def _sparse(texts: Sequence[bytes], field: VectorField, valid: Array, mask: Array | None) -> pa.Array[Any]:
    pairs = _each(texts, lambda text: _sparse_one(text, field))
    nnz = np.zeros(len(valid), np.int64)
    nnz[valid] = [len(indices) for indices, _ in pairs]
    indices = np.concatenate([p[0] for p in pairs]) if pairs else np.zeros(0, np.uint32)
    values = np.concatenate([p[1] for p in pairs]) if pairs else np.zeros(0, np.float32)
    return sparse_array(indices, values, nnz, field, mask)


def _sparse_one(text: bytes, field: VectorField) -> tuple[Array, Array]:
    members = dict(split_object(text))
    if form_of(members) != "sparse":
        raise BadLine(f"vector {field.name!r} is not sparse")
    places = numbers(members["indices"])
    if any(type(p) is not int or not 0 <= p < 1 << 32 for p in places):
        raise BadLine(f"vector {field.name!r}: indices are integers from 0 to 2^32 - 1")
    indices = np.array(places, np.uint32)
    try:
        values = _dense([members["values"]], VectorField(field.name, dtype="float32", dim=len(places)))[0]
    except RowError as e:
        raise e.cause from None
    order = np.argsort(indices, kind="stable")
    indices = indices[order]
    if (indices[1:] == indices[:-1]).any():
        raise BadLine(f"vector {field.name!r} has an index twice", kind=NotRepresentable)
    return indices, values[order]


def _binary(texts: Sequence[bytes], field: VectorField, valid: Array, mask: Array | None) -> pa.Array[Any]:
    def read(text: bytes) -> Array:
        bits = bits_of(text)
        if len(bits) != field.dim:
            raise BadLine(f"vector {field.name!r} has {len(bits)} bits, expected {field.dim}")
        return np.packbits(bits)

    out = np.zeros((len(valid), ((field.dim or 0) + 7) // 8), np.uint8)
    rows = _each(texts, read)
    if rows:
        out[valid] = np.stack(rows)
    return binary_array(out, field, mask)


def bits_of(text: bytes) -> Array:
    """The bits of ``{"bits": "0110"}`` as 0 and 1."""
    digits = read_string(dict(split_object(text)).get("bits", b"null"), "a binary vector").encode()
    if digits.translate(None, b"01"):
        raise BadLine("a binary vector is not a string of 0 and 1")
    return np.frombuffer(digits, np.uint8) - ord("0")
