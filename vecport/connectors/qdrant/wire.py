"""Ids and payloads of Qdrant's gRPC interface: messages to canonical JSON, and metadata texts to packed messages.

Field numbers are those of ``points.proto`` and ``json_with_int.proto`` in the ``qdrant_client`` package.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from math import isfinite
from operator import lt
from struct import Struct
from typing import Any, Final
from uuid import UUID

from ...errors import NotRepresentable
from ...model import canonical
from ..kit.floats import survives_serde_json
from ..kit.ranges import Order
from .proto import block, size, varint

PointKey = int | str
"""An id of Qdrant: an unsigned 64-bit integer, or a UUID as lower-case text with hyphens."""

MAX_INT_KEY: Final = (1 << 64) - 1
MAX_UUID: Final = "ffffffff-ffff-ffff-ffff-ffffffffffff"
FIRST_UUID: Final = "00000000-0000-0000-0000-000000000000"
INT64_MIN, INT64_MAX = -(1 << 63), (1 << 63) - 1
#: Protobuf decoders stop at 100 nested messages, and a value of a payload is the fourth; each object takes three
#: more, each array two. Servers take deeper payloads, which no client can read by gRPC then.
MESSAGES_LEFT: Final = 96
_OBJECT, _ARRAY = 3, 2

_INT: Final = re.compile(r"(?:0|[1-9][0-9]{0,19})\Z")
_UUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\Z")
_DOUBLE: Final = Struct("<d").pack


# ---- ids ----


def key_of(point_id: Any) -> PointKey:
    """The key in a ``PointId`` message."""
    key: PointKey = point_id.uuid or point_id.num
    return key


def parse_key(text: str) -> PointKey | None:
    """The key that an id text spells, None when Qdrant has no such id."""
    if _INT.match(text):
        number = int(text)
        return number if number <= MAX_INT_KEY else None
    return text if _UUID.match(text) else None


class KeyOrder(Order[PointKey]):
    """Qdrant's order of ids: integers, then UUIDs by value."""

    def parse(self, text: str) -> PointKey | None:
        return parse_key(text)

    def rank(self, key: PointKey) -> tuple[int, int, str]:
        return (0, key, "") if isinstance(key, int) else (1, 0, key)

    def after(self, key: PointKey) -> PointKey | None:
        if isinstance(key, int):
            return key + 1 if key < MAX_INT_KEY else FIRST_UUID
        return None if key == MAX_UUID else str(UUID(int=UUID(key).int + 1))

    def rising(self, keys: Sequence[PointKey]) -> bool:
        # Most pages hold one kind, which compares without a rank for each key.
        try:
            return all(map(lt, keys, keys[1:]))
        except TypeError:
            return super().rising(keys)


ORDER: Final = KeyOrder()


# ---- reading: payloads ----


def payload(message: Any) -> dict[str, Any]:
    """A payload as plain JSON data.

    Args:
        message: ``map<string, Value>``.

    Returns:
        dict, list, str, bool, None, int and float; a non-finite double stays what it is.
    """
    # Most values are strings; going by index is faster here than the view of a map's items.
    return {key: message[key].string_value or _value(message[key]) for key in message}


def _value(message: Any) -> Any:
    kind = message.WhichOneof("kind")
    if kind == "string_value":
        return message.string_value
    if kind == "integer_value":
        return message.integer_value
    if kind == "double_value":
        return message.double_value
    if kind == "bool_value":
        return message.bool_value
    if kind == "list_value":
        return [_value(item) for item in message.list_value.values]
    if kind == "struct_value":
        return payload(message.struct_value.fields)
    return None


def payload_texts(points: Iterable[Any]) -> tuple[list[bytes], list[int]]:
    """The payloads of points as canonical JSON.

    Returns:
        One text a point, and the positions of those in which a double may have been an integer. The server turns
        integers above 2^63-1 into doubles (``json_to_proto`` in its ``conversions/json.rs``), so that a double from
        2^63 to 2^64 may be either.
    """
    dump = canonical.dumpb
    texts = [dump(payload(point.payload)) for point in points]
    joined = b"\n".join(texts)
    # Doubles of this size are spelled with one of these exponents.
    if b"e+18" not in joined and b"e+19" not in joined:
        return texts, []
    return texts, [
        i for i, text in enumerate(texts)
        if (b"e+18" in text or b"e+19" in text) and _ambiguous(canonical.loads(text))
    ]  # fmt: skip


def _ambiguous(value: Any) -> bool:
    if isinstance(value, float):
        return 2.0**63 <= value <= 2.0**64
    if isinstance(value, dict):
        return any(map(_ambiguous, value.values()))
    return isinstance(value, list) and any(map(_ambiguous, value))


def as_shown_by_grpc(value: Any) -> Any:
    """JSON data with integers above 2^63-1 turned into doubles, as the gRPC interface shows them."""
    if isinstance(value, dict):
        return {key: as_shown_by_grpc(item) for key, item in value.items()}
    if isinstance(value, list):
        return [as_shown_by_grpc(item) for item in value]
    return float(value) if isinstance(value, int) and value > INT64_MAX else value


# ---- writing: payloads ----


def _pack_value(value: Any, room: int) -> bytes:
    """A ``Value`` message; raises ``NotRepresentable`` with the reason alone."""
    kind = type(value)
    if kind is str:
        raw: bytes = value.encode()
        return b"\x22" + size(len(raw)) + raw
    if kind is bool:
        return b"\x28\x01" if value else b"\x28\x00"
    if kind is int:
        if INT64_MIN <= value <= INT64_MAX:
            return b"\x18" + varint(value & MAX_INT_KEY)
        why = "the integers of a payload have 63 bits and a sign"
        raise NotRepresentable(f"an integer of {value.bit_length()} bits", why=why)
    if kind is float:
        if not isfinite(value):
            raise NotRepresentable(f"{value} is no JSON number")
        if not survives_serde_json(value):
            raise NotRepresentable(
                f"the number {value!r} would be stored as another one",
                why="Qdrant reads stored numbers of more than 15 digits without exact rounding",
            )
        packed: bytes = b"\x11" + _DOUBLE(value)
        return packed
    if value is None:
        return b"\x08\x00"
    if kind is not dict and kind is not list:
        raise NotRepresentable(f"a value of type {kind.__name__} has no place in a payload")
    room -= _OBJECT if kind is dict else _ARRAY
    if room < 0:
        raise NotRepresentable(
            "objects and arrays nest too deep", why="what gRPC carries ends at 33 objects or 49 arrays in one another"
        )
    if kind is dict:
        return block(b"\x32", b"".join([block(b"\x0a", _entry(key, item, room)) for key, item in value.items()]))
    return block(b"\x3a", b"".join([block(b"\x0a", _pack_value(item, room)) for item in value]))


@lru_cache(maxsize=4096)
def _key_head(key: str) -> bytes:
    """What stands before the value in an entry of ``map<string, Value>``."""
    return block(b"\x0a", key.encode()) + b"\x12"


def _entry(key: str, value: Any, room: int) -> bytes:
    """An entry of ``map<string, Value>``."""
    packed = _pack_value(value, room)
    return _key_head(key) + size(len(packed)) + packed


def pack_payload(key: PointKey, text: str) -> bytes:
    """The payload of a ``PointStruct`` from metadata text."""
    parts: list[bytes] = []
    for name, value in canonical.loads(text).items():
        try:
            entry = _entry(name, value, MESSAGES_LEFT)
        except UnicodeEncodeError:
            raise _refused(key, name, NotRepresentable("a string with lone surrogates is not UTF-8")) from None
        except NotRepresentable as error:
            raise _refused(key, name, error) from None
        parts += (b"\x1a", size(len(entry)), entry)
    return b"".join(parts)


def _refused(key: PointKey, name: str, error: NotRepresentable) -> NotRepresentable:
    return NotRepresentable(
        f"record {key}, metadata key {name!r}: {error.what}", why=error.why, safe="this row group was not sent"
    )


def pack_id(key: PointKey) -> bytes:
    """The id of a ``PointStruct``."""
    if isinstance(key, int):
        return block(b"\x0a", b"\x08" + varint(key))
    return b"\x0a\x26\x12\x24" + key.encode()
