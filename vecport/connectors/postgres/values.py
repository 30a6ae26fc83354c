"""From canonical JSON to column values: ids and metadata of a page become the fields of a COPY stream.

A value that Postgres would store as another one is refused by name: a longer text than ``varchar(n)`` takes, a number
that ``numeric(p,s)`` would round, a double that is no ``real``, a key that has no column.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from itertools import chain
from typing import Any, Final, TypeAlias

import numpy as np
import orjson

from ...errors import NotRepresentable
from ...model import canonical, parsed
from . import wire
from .arrow import Array, pa, pc
from .layout import Slot
from .types import ColumnType

Cast: TypeAlias = Callable[[ColumnType, Any], Any]
"""Takes a type and an array of texts; returns the values in binary form as the server makes them."""

_ABSENT: Final = object()
#: By element type: the Python types of its JSON values (dict for tags), and the Arrow type they are gathered in.
_FORMS: Final = {
    "bool": (frozenset({bool}), pa.bool_()),
    "int2": (frozenset({int}), pa.int64()),
    "int4": (frozenset({int}), pa.int64()),
    "int8": (frozenset({int}), pa.int64()),
    "float4": (frozenset({float}), pa.float64()),
    "float8": (frozenset({float}), pa.float64()),
    "bytea": (frozenset({bytes}), pa.large_binary()),
}
_TEXT_FORM: Final = (frozenset({str}), pa.string())
_NONFINITE: Final = {"NaN": np.nan, "Infinity": np.inf, "-Infinity": -np.inf}
#: What jsonb changes or refuses: tags and escaped keys, numbers whose exponent makes an integer of them, negative zero,
#: U+0000. A number stands behind a bracket, a colon or a comma, hexadecimal text does not.
_SUSPECT: Final = r'\$vp":|(?:^|[:,\[])(?:-?[0-9]+(?:\.[0-9]+)?[eE]\+?[0-9]|-0\.0(?:[,}\]]|$))|\\u0000'
#: Not the digits behind a decimal point, which every parser reads alike.
_LONG_INTEGER: Final = r"[^0-9.][0-9]{19}"
#: A numeric has up to 131,072 digits before the point and 16,383 behind it.
_NUMERIC_DIGITS: Final = (131_072, 16_383)


def key_fields(slots: Sequence[Slot], flat: bool, ids: Array, cast: Cast) -> list[wire.Pieces]:
    """Encode record ids as key columns.

    Args:
        slots: of the key columns.
        flat: the id is the text of the one key column; else it is a JSON array of all.
        ids: (n,) strings.
        cast: see ``Cast``.
    """
    if flat:
        return [_from_text(slots[0], ids, cast)]
    rows = [orjson.loads(text) for text in ids.to_pylist()]
    if not all(isinstance(row, list) and len(row) == len(slots) for row in rows):
        raise NotRepresentable(f"an id that is no JSON array of {len(slots)} key values")
    return [_field(slot, list(values), cast) for slot, values in zip(slots, zip(*rows, strict=True), strict=True)]


def metadata_fields(slots: Sequence[Slot], metadata: Array, cast: Cast) -> list[wire.Pieces]:
    """Encode metadata as typed columns; every record must have exactly the keys of the columns.

    Args:
        slots: of the fields.
        metadata: (n,) canonical JSON objects.
        cast: see ``Cast``.
    """
    rows = _parse(metadata)
    used = 0
    out = []
    for slot in slots:
        key = canonical.escape_key(slot.name)
        if slot.kind.is_json:
            # JSON null is a value there, so that NULL is an absent key.
            values = [row.get(key, _ABSENT) for row in rows]
            used += len(values) - values.count(_ABSENT)
            out.append(_json_field(slot, values))
            continue
        if slot.optional:
            used += sum(key in row for row in rows)
            out.append(_field(slot, [row.get(key) for row in rows], cast))
            continue
        try:
            values = [row[key] for row in rows]
        except KeyError:
            raise _refusal(slot, "a record lacks it", "a column cannot tell a missing value from NULL") from None
        used += len(rows)
        out.append(_field(slot, values, cast))
    if used != sum(map(len, rows)):
        known = {canonical.escape_key(slot.name) for slot in slots}
        extra = sorted(set(chain.from_iterable(rows)) - known)
        raise NotRepresentable(
            f"metadata has keys without a column: {', '.join(map(repr, extra[:20]))}",
            why="a table of typed columns has no place for other keys",
            safe="the row group was not written",
        )
    return out


def _parse(metadata: Array) -> list[dict[str, Any]]:
    """Parse canonical JSON objects, tags as they stand; integers beyond 64 bits by the slower parser."""
    texts = metadata.to_pylist()
    long = pc.match_substring_regex(metadata, _LONG_INTEGER)
    if not pc.any(long).as_py():
        return list(map(orjson.loads, texts))
    parse = (orjson.loads, parsed.parse)
    return [parse[flag](text) for flag, text in zip(long.to_pylist(), texts, strict=True)]


def jsonb_field(slot: Slot, texts: Array) -> wire.Pieces:
    """Encode canonical JSON texts as jsonb, or as json where the column is; null is NULL.

    jsonb keeps numbers as decimal digits, so that 1e+16 would come back as an integer: it is spelled out with ``.0``.

    Raises:
        NotRepresentable: -0.0, U+0000, NaN, an infinity, bytes or a lone surrogate, anywhere in a value.
    """
    binary = slot.kind.base.name == "jsonb"
    return wire.variable(plain_texts(slot, texts, binary), b"\x01" if binary else b"")


def plain_texts(slot: Slot, texts: Array, binary: bool) -> Array:
    """Canonical JSON as plain JSON that Postgres keeps exactly; see ``jsonb_field``."""
    mask = pc.fill_null(pc.match_substring_regex(texts, _SUSPECT), False)
    rows = texts.filter(mask).to_pylist()
    if not rows:
        return texts
    try:
        plain = [plain_json(canonical.loads(text), binary) for text in rows]
    except NotRepresentable as error:
        raise NotRepresentable(f"column {slot.column!r}: {error.what}", why=error.why) from None
    return pc.replace_with_mask(texts, mask, pa.array(plain, pa.string()))


def plain_json(value: Any, binary: bool) -> str:
    """Spell one value as JSON without tags.

    Args:
        value: as ``canonical.loads`` gives it.
        binary: for jsonb, which keeps less than json.
    """
    if isinstance(value, dict):
        members = (f"{_plain_string(key, binary)}:{plain_json(item, binary)}" for key, item in value.items())
        return "{" + ",".join(members) + "}"
    if isinstance(value, list):
        return "[" + ",".join([plain_json(item, binary) for item in value]) + "]"
    if isinstance(value, str):
        return _plain_string(value, binary)
    if isinstance(value, float | Decimal):
        return _plain_number(value, binary)
    if isinstance(value, bytes):
        raise NotRepresentable("bytes within JSON", why="JSON has no bytes")
    return canonical.dumps(value)


def _plain_string(text: str, binary: bool) -> str:
    if binary and "\0" in text:
        raise NotRepresentable(f"the text {text[:60]!r}", why="jsonb cannot hold U+0000")
    try:
        return orjson.dumps(text).decode()
    except TypeError:
        raise NotRepresentable(f"the text {text[:60]!r}", why="JSON text in UTF-8 has no lone surrogates") from None


def _plain_number(value: float | Decimal, binary: bool) -> str:
    if isinstance(value, float):
        if not np.isfinite(value):
            raise NotRepresentable(f"the number {value!r}", why="JSON has no such number")
        if value == 0 and binary and np.signbit(value):
            raise NotRepresentable("the number -0.0", why="jsonb keeps no sign of zero")
        value = Decimal(repr(value))
        if value == 0:
            return f"{value}"
    _, digits, exponent = value.as_tuple()
    assert isinstance(exponent, int)
    if len(digits) + exponent > _NUMERIC_DIGITS[0] or -exponent > _NUMERIC_DIGITS[1]:
        raise NotRepresentable("a decimal with a huge exponent", why="numeric, and so jsonb, has a range")
    text = format(value, "f")
    return text if "." in text else text + ".0"


def _json_field(slot: Slot, values: list[Any]) -> wire.Pieces:
    texts = [None if value is _ABSENT else parsed.dumps(value) for value in values]
    return jsonb_field(slot, pa.array(texts, pa.string()))


def _field(slot: Slot, values: list[Any], cast: Cast) -> wire.Pieces:
    """Encode a list of JSON values, tags as they stand, as one typed column."""
    if slot.kind.array and not slot.kind.as_text:
        return _array_field(slot, values, cast)
    return _from_array(slot, _gather(slot, values), cast)


def _array_field(slot: Slot, values: list[Any], cast: Cast) -> wire.Pieces:
    """Encode lists as arrays; a text is the literal of an array of another shape."""
    literal = [isinstance(value, str) for value in values]
    lists = [None if other else value for other, value in zip(literal, values, strict=True)]
    if not set(map(type, lists)) <= {list, type(None)}:
        raise _refusal(slot, "a value that is no list")
    element = Slot(slot.role, slot.column, slot.name, ColumnType(slot.kind.base, slot.kind.arguments))
    flat = _gather(element, list(chain.from_iterable(value for value in lists if value is not None)))
    lengths = [0 if value is None else len(value) for value in lists]
    offsets = np.zeros(len(lists) + 1, np.int32)
    np.cumsum(lengths, out=offsets[1:])
    mask = pa.array([value is None for value in lists])
    array = pa.ListArray.from_arrays(pa.array(offsets), flat, mask=mask)
    pieces = wire.array(array, _from_array(element, flat, cast), slot.kind.base.oid)
    if not any(literal):
        return pieces
    others = cast(slot.kind, pa.array([value for value in values if isinstance(value, str)], pa.string()))
    return [pc.replace_with_mask(wire.join(pieces), pa.array(literal), wire.join(wire.variable(others)))]


def _gather(slot: Slot, values: list[Any]) -> Array:
    """Check the types of JSON values and gather them in an Arrow array."""
    kinds, arrow = _TEXT_FORM if slot.kind.as_text else _FORMS.get(slot.kind.base.name, _TEXT_FORM)
    found = set(map(type, values))
    if dict in found:
        values = [_untagged(slot, value) if isinstance(value, dict) else value for value in values]
        found = set(map(type, values))
    wrong = found - kinds - {type(None)}
    if wrong:
        example = next(value for value in values if type(value) in wrong)
        raise _refusal(slot, f"the value {str(example)[:60]!r} of another type")
    try:
        return pa.array(values, arrow)
    except (OverflowError, pa.ArrowInvalid) as error:
        raise _refusal(slot, "a value beyond its range", str(error)) from None


def _untagged(slot: Slot, value: Mapping[str, Any]) -> Any:
    tag = value.get("$vp") if len(value) == 1 else None
    if isinstance(tag, str) and tag in _NONFINITE:
        return _NONFINITE[tag]
    if isinstance(tag, dict) and isinstance(tag.get("bytes"), str):
        return b64decode(tag["bytes"], validate=True)
    raise _refusal(slot, "a value of another type")


def _from_text(slot: Slot, texts: Array, cast: Cast) -> wire.Pieces:
    """Encode id texts as the one key column."""
    name = slot.kind.base.name
    if slot.kind.is_integer:
        try:
            numbers = texts.cast(pa.int64())
        except pa.ArrowInvalid:
            raise _refusal(slot, "an id that is no integer of 64 bits") from None
        if not pc.all(pc.equal(numbers.cast(pa.string()), texts)).as_py():
            raise _refusal(slot, "an id that is no integer in its canonical form")
        return _from_array(slot, numbers, cast)
    if name == "bool":
        if not pc.all(pc.is_in(texts, pa.array(["true", "false"]))).as_py():
            raise _refusal(slot, "an id that is neither true nor false")
        return _from_array(slot, pc.equal(texts, "true"), cast)
    return _from_array(slot, texts, cast)


def _from_array(slot: Slot, array: Array, cast: Cast) -> wire.Pieces:
    """Encode an Arrow array of the form that ``_FORMS`` says."""
    if slot.kind.as_text:
        return wire.variable(cast(slot.kind, array))
    name = slot.kind.base.name
    valid = np.asarray(array.is_valid()) if array.null_count else None
    if name == "bool":
        return wire.fixed(_numbers(array, False).astype(np.uint8), valid)
    if slot.kind.base.name in ("int2", "int4", "int8"):
        return wire.fixed(_integers(slot, _numbers(array, 0)), valid)
    if name in ("float4", "float8"):
        return wire.fixed(_floats(slot, _numbers(array, 0.0)), valid)
    if name == "uuid":
        raw = wire.uuid_bytes(array)
        if raw is None:
            raise _refusal(slot, "a text that is no UUID in its canonical form")
        return wire.fixed(raw, valid)
    if name in ("varchar", "char"):
        _check_length(slot, array)
    return wire.variable(array)


def _numbers(array: Array, default: Any) -> Any:
    return (pc.fill_null(array, default) if array.null_count else array).to_numpy(zero_copy_only=False)


def _integers(slot: Slot, values: Any) -> Any:
    bits = 8 * slot.kind.base.width
    if len(values) and not (-1 << (bits - 1) <= values.min() and values.max() < 1 << (bits - 1)):
        raise _refusal(slot, f"the value {values.min()} or {values.max()} beyond its range")
    return values.astype(f">i{slot.kind.base.width}")


def _floats(slot: Slot, values: Any) -> Any:
    if slot.kind.base.name == "float8":
        return values.astype(">f8")
    with np.errstate(over="ignore", invalid="ignore"):
        narrow = values.astype(np.float32)
    if not np.array_equal(narrow.astype(np.float64), values, equal_nan=True):
        raise _refusal(slot, "a value with more digits than it holds")
    return narrow.astype(">f4")


def _check_length(slot: Slot, texts: Array) -> None:
    """The binary form of a text that is too long is cut where only blanks are lost; a shorter char is padded."""
    if not slot.kind.arguments:
        return
    limit = slot.kind.arguments[0]
    lengths = pc.utf8_length(texts)
    wrong = pc.not_equal(lengths, limit) if slot.kind.base.name == "char" else pc.greater(lengths, limit)
    if pc.any(wrong).as_py():
        raise _refusal(slot, f"a text of {pc.filter(lengths, wrong)[0].as_py()} characters")


def _refusal(slot: Slot, what: str, why: str = "") -> NotRepresentable:
    return NotRepresentable(
        f"column {slot.column!r} of type {slot.kind.name}: {what}", why=why, safe="the row group was not written"
    )
