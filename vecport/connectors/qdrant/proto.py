"""The parts of protobuf's wire format that vecport reads and writes by itself, for whole columns at once."""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ...errors import IntegrityError

Bytes = npt.NDArray[np.uint8]
#: Bytes that an unsigned 32-bit integer takes at most.
_LONGEST: Final = 5


def varint(number: int) -> bytes:
    """An unsigned integer, seven bits a byte, lowest first."""
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


size: Final = lru_cache(maxsize=1 << 14)(varint)


def block(tag: bytes, content: bytes) -> bytes:
    """A field of variable length: its tag, its length, its content."""
    return tag + size(len(content)) + content


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """The integer at a place and the place behind it.

    Raises:
        IntegrityError: the bytes end in it.
    """
    number = shift = 0
    while at < len(data):
        byte = data[at]
        number |= (byte & 127) << shift
        at += 1
        if byte < 128:
            return number, at
        shift += 7
    raise IntegrityError("a message ends within a number")


def read_block(data: bytes, at: int, tag: bytes) -> tuple[bytes, int]:
    """The content of a field of variable length at a place, and the place behind it.

    Returns:
        Empty bytes and ``at`` when another field, or nothing, stands there.
    """
    if not data.startswith(tag, at):
        return b"", at
    length, start = read_varint(data, at + len(tag))
    if start + length > len(data):
        raise IntegrityError("a message ends within a field")
    return data[start : start + length], start + length


def varints_of(numbers: npt.NDArray[Any], counts: npt.NDArray[np.int64]) -> list[bytes]:
    """Unsigned 32-bit integers as packed fields.

    Args:
        numbers: (total,) uint32.
        counts: (n,) numbers of each record.

    Returns:
        The content of a packed field for each record.
    """
    wide = numbers.astype(np.uint64)
    lengths = np.ones(len(wide), np.int64)
    for byte in range(1, _LONGEST):
        lengths += wide >= np.uint64(1 << (7 * byte))
    starts = np.zeros(len(wide) + 1, np.int64)
    np.cumsum(lengths, out=starts[1:])
    out = np.zeros(int(starts[-1]), np.uint8)
    for byte in range(_LONGEST):
        has = lengths > byte
        part = (wide[has] >> np.uint64(7 * byte)) & np.uint64(127)
        part |= np.where(lengths[has] > byte + 1, np.uint64(128), np.uint64(0))
        out[starts[:-1][has] + byte] = part.astype(np.uint8)
    data = out.tobytes()
    edges = starts[np.concatenate(([0], np.cumsum(counts)))].tolist()
    return [data[low:high] for low, high in pairwise(edges)]


def read_varints(fields: list[bytes]) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]:
    """Packed fields of unsigned 32-bit integers as one array.

    Args:
        fields: the content of a packed field for each record.

    Returns:
        (total,) uint32 and (n,) numbers of each record.

    Raises:
        IntegrityError: a field ends within a number, or a number is larger.
    """
    lengths = np.fromiter(map(len, fields), np.int64, len(fields))
    data = np.frombuffer(b"".join(fields), np.uint8)
    last = data < 128
    edges = np.concatenate(([0], np.cumsum(lengths)))
    if not last[edges[1:][lengths > 0] - 1].all():
        raise IntegrityError("a message ends within a number")
    passed = np.concatenate(([0], np.cumsum(last)))
    counts = passed[edges[1:]] - passed[edges[:-1]]
    ends = np.flatnonzero(last) + 1
    starts = np.concatenate(([0], ends[:-1])).astype(np.int64)
    numbers = np.zeros(len(ends), np.uint64)
    if len(ends) and int((ends - starts).max()) > _LONGEST:
        raise IntegrityError("an index of a sparse vector has more than 32 bits")
    for byte in range(_LONGEST):
        has = ends - starts > byte
        numbers[has] |= (data[starts[has] + byte].astype(np.uint64) & np.uint64(127)) << np.uint64(7 * byte)
    if (numbers >> np.uint64(32)).any():
        raise IntegrityError("an index of a sparse vector has more than 32 bits")
    return numbers.astype(np.uint32), counts.astype(np.int64)
