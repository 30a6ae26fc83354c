"""Bounds on the texts of a row group, looked at before anybody parses one: sizes, depth, digits, number of values."""

from __future__ import annotations

import re
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ..errors import IntegrityError
from ..limits import Limits
from ..model import canonical

#: Bytes of a value once it is parsed, at most, but for the text of a string.
VALUE_BYTES: Final = 80
_BOUNDS: Final = (("id", "id_bytes"), ("document", "document_bytes"), ("metadata", "metadata_bytes"))
_STRING: Final = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_DIGITS: Final = bytes(48 if 48 <= byte < 58 else 32 for byte in range(256))
_STEPS: Final = np.zeros(256, np.int8)
_STEPS[list(b"[{")] = 1
_STEPS[list(b"]}")] = -1
#: A tag's brackets do not count; those of an object with odd keys are four for one.
_TAG_BRACKETS: Final = 4


def check_texts(group: pa.RecordBatch, limits: Limits, where: str) -> None:
    """Raise ``IntegrityError`` unless the texts that are among the columns keep the limits.

    Args:
        group: some columns of a row group, UTF-8.
        limits: bounds.
        where: the row group, for the message.
    """
    for column, bound in _BOUNDS:
        if column in group.schema.names:
            longest = pc.max(pc.binary_length(group.column(column))).as_py() or 0
            limits.check(bound, longest, where)
            if column == "metadata":
                _check_json(group.column(column), longest, limits, where)


def json_values(metadata: pa.Array) -> int:
    """How many values texts hold at most: a comma or an opening bracket goes before each."""
    data = _bytes_of(metadata)
    return len(metadata) + sum(int(np.count_nonzero(data == mark)) for mark in b",[{")


def _check_json(metadata: pa.Array, longest: int, limits: Limits, where: str) -> None:
    # Deep nesting and long numbers take as many bytes.
    if longest > 2 * limits.json_depth:
        openings = pc.add(pc.count_substring(metadata, "["), pc.count_substring(metadata, "{"))
        for text in metadata.filter(pc.greater(openings, limits.json_depth)):
            _check_depth(text.as_py(), limits, where)
    if longest > limits.json_digits:
        long = b"0" * (limits.json_digits + 1)
        for text in metadata.filter(pc.greater(pc.binary_length(metadata), limits.json_digits)):
            raw = text.as_py().encode()
            if long in raw.translate(_DIGITS) and long in (left := _STRING.sub(b" ", raw).translate(_DIGITS)):
                limits.check("json_digits", max(map(len, left.split())), where)


def _check_depth(text: str, limits: Limits, where: str) -> None:
    brackets = _STRING.sub(b"", text.encode())
    steps = _STEPS[np.frombuffer(brackets, np.uint8)]
    depth = int(np.cumsum(steps, dtype=np.int64).max(initial=0))
    if depth <= limits.json_depth:
        return
    if depth <= _TAG_BRACKETS * limits.json_depth and '"$vp"' in text:
        try:
            canonical.loads(text, max_depth=limits.json_depth)
        except IntegrityError:
            pass
        else:
            return
    limits.check("json_depth", depth, where)


def _bytes_of(texts: pa.Array) -> npt.NDArray[Any]:
    """The bytes of all texts, one after the other."""
    _, offsets, data = texts.buffers()
    if data is None or not len(texts):
        return np.zeros(0, np.uint8)
    ends = np.frombuffer(offsets, np.int32)[texts.offset : texts.offset + len(texts) + 1]
    return np.frombuffer(data, np.uint8)[ends[0] : ends[-1]]
