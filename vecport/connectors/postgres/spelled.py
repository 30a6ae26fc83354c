"""Dates, timestamps and numbers from Postgres' own text to the binary form, by columnar code.

Only texts in the plain shape that the server itself writes are taken: years 0001 to 9999, at most 16 digits on either
side of the decimal point, the scale of the column. Everything else (infinity, BC, NaN, longer numbers, other
spellings) is left to the server, which also judges whether it would come back as the same text.

Facts: ``date_send``, ``timestamp_send`` and ``numeric_send`` of PostgreSQL: days and microseconds since 2000-01-01;
``i2`` digits, ``i2`` weight, ``u2`` sign, ``u2`` scale and the digits to base 10,000 without zeros at the ends.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from .arrow import Array, pa, pc
from .types import ColumnType

_EPOCH_DAYS: Final = 10_957
_EPOCH_MICROSECONDS: Final = _EPOCH_DAYS * 86_400_000_000
_DATE: Final = r"(?:[1-9][0-9]{3}|0[1-9][0-9]{2}|00[1-9][0-9]|000[1-9])-[0-9]{2}-[0-9]{2}"
_TIME: Final = r" [0-9]{2}:[0-9]{2}:[0-9]{2}"
_NEGATIVE_FRACTION: Final = r"^-0\.0*[1-9][0-9]*$"
_SIDE: Final = 16
_GROUPS: Final = _SIDE // 4
_NEGATIVE: Final = 0x4000
_WEIGHTS: Final = np.array([1_000, 100, 10, 1], np.int16)


def plain(kind: ColumnType, texts: Array) -> npt.NDArray[np.bool_]:
    """Which of (n,) texts ``binary`` takes; nulls are not among them."""
    pattern = _pattern(kind)
    if pattern is None:
        return np.zeros(len(texts), np.bool_)
    found = pc.match_substring_regex(texts, pattern)
    if kind.base.name == "numeric":
        scale = kind.arguments[1] if kind.arguments else None
        length = pc.binary_length(texts)
        fits = pc.less_equal(length, 3 + _SIDE) if scale is None else pc.equal(length, 3 + scale)
        found = pc.or_(found, pc.and_(pc.match_substring_regex(texts, _NEGATIVE_FRACTION), fits))
    return np.asarray(pc.fill_null(found, False).to_numpy(zero_copy_only=False), np.bool_)


def binary(kind: ColumnType, texts: Array) -> Array | None:
    """Turn plain texts into the binary form.

    Args:
        kind: date, timestamp, timestamptz or numeric.
        texts: (n,) strings without nulls, for all of which ``plain`` is true.
    Returns:
        (n,) binaries; None when one of them is no date of the calendar.
    """
    if kind.base.name == "numeric":
        return _numeric(texts)
    try:
        if kind.base.name == "date":
            days = texts.cast(pa.date32()).cast(pa.int32()).to_numpy(zero_copy_only=False) - _EPOCH_DAYS
            return _fixed(days.astype(">i4"))
        if kind.base.name == "timestamptz":
            texts = pc.binary_slice(texts.cast(pa.binary()), 0, -3).cast(pa.string())
        moments = texts.cast(pa.timestamp("us")).cast(pa.int64()).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid:
        return None
    return _fixed((moments - _EPOCH_MICROSECONDS).astype(">i8"))


def _pattern(kind: ColumnType) -> str | None:
    name, arguments = kind.base.name, kind.arguments
    if kind.array:
        return None
    if name == "date":
        return f"^{_DATE}$"
    if name in ("timestamp", "timestamptz"):
        digits = arguments[0] if arguments else 6
        fraction = rf"(?:\.[0-9]{{0,{digits - 1}}}[1-9])?" if digits else ""
        return f"^{_DATE}{_TIME}{fraction}" + (r"\+00$" if name == "timestamptz" else "$")
    if name != "numeric":
        return None
    whole, fraction = _SIDE, rf"(?:\.[0-9]{{1,{_SIDE}}})?"
    if arguments:
        precision, scale = arguments
        if not 0 <= scale <= _SIDE or precision < scale:
            return None
        fraction = rf"\.[0-9]{{{scale}}}" if scale else ""
        whole = min(_SIDE, precision - scale)
    # Without a sign on zero, which would be another text; see _NEGATIVE_FRACTION.
    return rf"^(?:0|-?[1-9][0-9]{{0,{whole - 1}}}){fraction}$" if whole else f"^0{fraction}$"


def _numeric(texts: Array) -> Array:
    n = len(texts)
    negative = pc.starts_with(texts, "-").to_numpy(zero_copy_only=False)
    parts = pc.split_pattern(pc.replace_substring(texts, "-", ""), ".")
    lengths = pc.list_value_length(parts).to_numpy(zero_copy_only=False)
    flat, first = parts.flatten(), np.cumsum(lengths) - lengths
    whole = flat.take(pa.array(first))
    fraction = pc.fill_null(flat.take(pa.array(first + 1, mask=lengths < 2)), "")
    scale = pc.binary_length(fraction).to_numpy(zero_copy_only=False)
    digits = _digits(pc.utf8_lpad(whole, _SIDE, "0"), pc.utf8_rpad(fraction, _SIDE, "0"))
    used = digits != 0
    any_used = used.any(axis=1)
    low = np.where(any_used, used.argmax(axis=1), 0)
    high = np.where(any_used, 2 * _GROUPS - used[:, ::-1].argmax(axis=1), 0)
    head = np.stack(
        [high - low, np.where(any_used, _GROUPS - 1 - low, 0), np.where(negative, _NEGATIVE, 0), scale], axis=1
    )
    cells = np.concatenate([head, digits], axis=1).astype(">i2")
    place = np.arange(2 * _GROUPS)
    keep = np.ones(cells.shape, np.bool_)
    keep[:, 4:] = (place >= low[:, None]) & (place < high[:, None])
    offsets = np.zeros(n + 1, np.int32)
    np.cumsum(2 * keep.sum(axis=1), out=offsets[1:])
    return _binaries(offsets, np.ascontiguousarray(cells[keep]))


def _digits(whole: Array, fraction: Array) -> npt.NDArray[np.int16]:
    """Digits to base 10,000 of texts of 16 decimal digits each: (n, 8)."""
    text = pc.binary_join_element_wise(whole, fraction, "")
    offsets = np.frombuffer(text.buffers()[1], np.int32)[text.offset : text.offset + len(text) + 1]
    data = np.frombuffer(text.buffers()[2], np.uint8)[offsets[0] : offsets[-1]]
    decimal = (data - ord("0")).astype(np.int16).reshape(len(text), 2 * _GROUPS, 4)
    return np.asarray(decimal @ _WEIGHTS, np.int16)


def _fixed(values: npt.NDArray[Any]) -> Array:
    width = values.dtype.itemsize
    return _binaries(np.arange(0, width * len(values) + 1, width, dtype=np.int32), values)


def _binaries(offsets: npt.NDArray[np.int32], data: npt.NDArray[Any]) -> Array:
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(data))]
    return pa.BinaryArray.from_buffers(pa.binary(), len(offsets) - 1, buffers)
