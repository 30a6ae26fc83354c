"""Typed Arrow columns as canonical JSON objects, one a row, by columnar code.

Floats of 16 and 32 bits are widened to the double of the same value and spelled as that double: the float32 next to
0.1 is ``0.10000000149011612``. Its own shortest digits would read back as another double.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute

from ..errors import NotRepresentable
from . import canonical

# The stubs of pyarrow know neither literals as arguments nor casts as arrays of the new type.
pc: Final[Any] = pyarrow.compute
_Array: TypeAlias = Any
_Strings: TypeAlias = Any

_EMPTY: Final = pa.scalar("", pa.string())


@dataclass(frozen=True, slots=True)
class RawJSON:
    """A column of texts that are canonical JSON already; they are trusted and go in as they are."""

    array: pa.Array[Any]


def object_column(
    names: Sequence[str],
    arrays: Sequence[pa.Array[Any] | RawJSON],
    *,
    missing: Literal["null", "omit"] = "null",
    omit: Collection[str] = (),
) -> pa.StringArray:
    """Build one canonical JSON object a row, byte for byte what ``canonical.dumps`` writes for the row.

    Args:
        names: the keys, one a column, in any order.
        arrays: columns of equal length: booleans, integers, floats, strings, ``RawJSON``, nulls; by slower code also
            binaries, decimals, and lists of all of these.
        missing: whether a null becomes ``null`` or leaves its key out.
        omit: names of the columns in which a null leaves its key out even so.
    Returns:
        Object texts, none of them null.
    Raises:
        NotRepresentable: a column type without a JSON form, names that are not unique or not UTF-8, strings that are
            not UTF-8, or nesting beyond the cap on depth.
        ValueError: names and columns do not match.
    """
    columns = dict(zip(names, arrays, strict=True))
    if len(columns) != len(names):
        raise NotRepresentable("columns of which two have the same name", "keys of objects are unique")
    if not columns:
        raise ValueError("object_column needs at least one column: without any, the number of rows is unknown")
    if len({len(_array(column)) for column in columns.values()}) > 1:
        raise ValueError("object_column needs columns of equal length")
    optional = set(names) if missing == "omit" else set(omit)
    # Code-point order is the order of the UTF-8 bytes, which a str keeps.
    keys = {_unquoted_key(name): name for name in names}
    ordered = [keys[key] for key in sorted(keys)]
    pieces: list[Any] = []
    for name in ordered:
        prefix = f",{canonical.spell_key(name)}:"
        texts = _json_texts(columns[name])
        if name in optional:
            pieces.append(_join(prefix, texts))
        else:
            pieces += [prefix, pc.fill_null(texts, "null")]
    objects: pa.StringArray = _in_braces(pieces, first_is_fixed=ordered[0] not in optional)
    return objects


def inject(objects: pa.StringArray, key: str, values: pa.StringArray) -> pa.StringArray:
    """Add one key to the object texts of a column.

    Args:
        objects: canonical JSON objects that do not hold ``key``.
        key: the user's key.
        values: canonical JSON texts, one a row; null leaves the row's object as it is.
    Returns:
        Object texts with the key in front, **so their keys need not be sorted**; objects that are a tag, because of a
        key with lone surrogates, are rewritten in canonical order. A null object stays null.
    Raises:
        NotRepresentable: the key has lone surrogates.
    """
    comma = pc.if_else(pc.equal(objects, "{}"), _EMPTY, ",")
    rest = pc.binary_replace_slice(objects, 0, 1, "")
    added = _join("{" + canonical.spell_key(key) + ":", values, comma, rest)
    tagged = pc.and_(pc.starts_with(objects, '{"$vp":'), pc.is_valid(values))
    if pc.any(tagged).as_py():
        rows = [index for index, is_tagged in enumerate(tagged.to_pylist()) if is_tagged]
        rewritten = [_inject_one(objects[row].as_py(), key, values[row].as_py()) for row in rows]
        added = pc.replace_with_mask(added, tagged, pa.array(rewritten, pa.string()))
    complete: pa.StringArray = pc.coalesce(added, objects)
    return complete


def _inject_one(text: str, key: str, value: str) -> str:
    return canonical.dumps({**canonical.loads(text), key: canonical.loads(value)})


def _array(column: _Array | RawJSON) -> _Array:
    return column.array if isinstance(column, RawJSON) else column


def _unquoted_key(name: str) -> str:
    """The key as it stands in the text before its characters are escaped, which is what keys are sorted by."""
    canonical.spell_key(name)
    return canonical.escape_key(name)


def _join(*pieces: Any) -> _Strings:
    """Concatenate columns and literals row by row; a null makes the row null."""
    return pc.binary_join_element_wise(*pieces, _EMPTY)


def _in_braces(pieces: list[Any], *, first_is_fixed: bool) -> _Strings:
    """Join ``,"key":value`` pieces to objects, leaving out those that are null."""
    if first_is_fixed:
        return _join_present("{" + pieces[0][1:], *pieces[1:], "}")
    return _join("{", pc.binary_replace_slice(_join_present(*pieces), 0, 1, ""), "}")


def _join_present(*pieces: Any) -> _Strings:
    """Concatenate row by row, leaving out nulls; ``null_handling="skip"`` would drop a row of nulls altogether."""
    return pc.binary_join_element_wise(*pieces, _EMPTY, null_handling="replace", null_replacement="")


def _json_texts(column: _Array | RawJSON) -> _Strings:
    """Spell every value of a column; null stays null."""
    if isinstance(column, RawJSON):
        return _raw(column.array)
    kind = column.type
    if pa.types.is_boolean(kind):
        return pc.if_else(column, "true", "false")
    if pa.types.is_integer(kind) or pa.types.is_null(kind):
        return column.cast(pa.string())
    if pa.types.is_floating(kind):
        return _floats(column.cast(pa.float64()))
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return _strings(column)
    if _has_json_form(kind):
        return pa.array([None if row is None else _nested(row) for row in column.to_pylist()], pa.string())
    raise NotRepresentable(f"a column of type {kind}", "it has no canonical JSON form without a choice of encoding")


def _has_json_form(kind: pa.DataType) -> bool:
    types = pa.types
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return _has_json_form(kind.value_type)
    plain: tuple[Callable[[pa.DataType], bool], ...] = (
        types.is_boolean,
        types.is_integer,
        types.is_null,
        types.is_floating,
        types.is_string,
        types.is_large_string,
        types.is_binary,
        types.is_large_binary,
        types.is_fixed_size_binary,
        types.is_decimal,
    )
    return any(is_type(kind) for is_type in plain)


def _nested(value: object) -> bytes:
    """Spell a value that stands in an object, which takes one level of depth."""
    return canonical.dumpb(value, max_depth=canonical.MAX_DEPTH - 1)


def _raw(array: _Array) -> _Strings:
    """Take canonical texts as they are, but for the cap on depth."""
    texts = array.cast(pa.string())
    opening = pc.max(pc.add(pc.count_substring(texts, "["), pc.count_substring(texts, "{"))).as_py()
    if opening is not None and opening >= canonical.MAX_DEPTH:
        for text in texts.to_pylist():
            if text is not None and text.count("[") + text.count("{") >= canonical.MAX_DEPTH:
                _nested(canonical.loads(text))
    return texts


def _floats(array: _Array) -> _Strings:
    """Spell doubles in one call of orjson, whose output without commas and brackets is the buffer of the column."""
    values = np.ascontiguousarray(array.fill_null(0.0).to_numpy(zero_copy_only=False))
    if not len(values):
        return pa.array([], pa.string())
    if not canonical.ORJSON_AGREES:
        return pa.array([None if x is None else canonical.spell_float(x) for x in array.to_pylist()], pa.string())
    text = orjson.dumps(values, option=orjson.OPT_SERIALIZE_NUMPY)
    ends = np.flatnonzero(np.frombuffer(text, np.uint8) == ord(","))
    offsets = np.zeros(len(values) + 1, np.int32)
    # Before the end of value i stand the bracket and i commas.
    offsets[1:-1] = ends - np.arange(1, len(values))
    digits = text.translate(None, b"[],")
    offsets[-1] = len(digits)
    texts = pa.StringArray.from_buffers(len(values), pa.py_buffer(offsets.data), pa.py_buffer(digits))
    odd = ~np.isfinite(values)
    if odd.any():
        tags = pa.array([canonical.spell_float(x) for x in values[odd].tolist()], pa.string())
        texts = pc.replace_with_mask(texts, pa.array(odd), tags)
    return pc.if_else(array.is_valid(), texts, pa.scalar(None, pa.string())) if array.null_count else texts


def _strings(array: _Array) -> _Strings:
    """Quote strings; only rows with something to escape are spelled one by one."""
    try:
        texts = array.cast(pa.string())
        texts.validate(full=True)
    except pa.ArrowInvalid as error:
        raise NotRepresentable("a column of strings", str(error)) from None
    quoted = _join('"', texts, '"')
    rows = _rows_to_escape(texts)
    if not len(rows):
        return quoted
    spelled = [canonical.dumpb(text) for text in texts.take(pa.array(rows)).to_pylist()]
    mask = np.zeros(len(texts), np.bool_)
    mask[rows] = True
    return pc.replace_with_mask(quoted, pa.array(mask), pa.array(spelled, pa.string()))


def _rows_to_escape(texts: _Strings) -> npt.NDArray[np.intp]:
    """Indices of the valid rows that hold a quote, a backslash or a control character."""
    _, offset_buffer, data_buffer = texts.buffers()
    if data_buffer is None:
        return np.zeros(0, np.intp)
    offsets = np.frombuffer(offset_buffer, np.int32)[texts.offset : texts.offset + len(texts) + 1]
    data = np.frombuffer(data_buffer, np.uint8)[offsets[0] : offsets[-1]]
    hits = np.flatnonzero((data < 0x20) | (data == ord('"')) | (data == ord("\\"))) + offsets[0]
    rows = np.unique(np.searchsorted(offsets, hits, side="right") - 1)
    if texts.null_count:
        # A null may cover bytes.
        rows = rows[texts.is_valid().to_numpy(zero_copy_only=False)[rows]]
    return rows
