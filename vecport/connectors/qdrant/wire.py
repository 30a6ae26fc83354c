"""Points of Qdrant's gRPC interface to columns and back, without a Python object for any float.

Field numbers are those of ``points.proto`` and ``json_with_int.proto`` in the ``qdrant_client`` package. A packed
``repeated float`` is a tag, a length and raw little-endian float32, so that a vector is copied as one block both
ways: out of a message by serialising its ``DenseVector``, into a request by packing the point's bytes here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from math import isfinite
from operator import lt
from struct import Struct
from typing import Any, Final, cast
from uuid import UUID

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ...errors import IntegrityError, NotRepresentable
from ...model import canonical
from ...model.batch import dense_array, dense_matrix
from ...model.collection import VectorField

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
#: Squared lengths above this overflow the float32 sum by which Qdrant normalises; the vector would become zeros.
MAX_SQUARED: Final = 1e38

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


def after(key: PointKey) -> PointKey | None:
    """The first key behind ``key`` in Qdrant's order (integers, then UUIDs by value); None behind the last one."""
    if isinstance(key, int):
        return key + 1 if key < MAX_INT_KEY else FIRST_UUID
    return None if key == MAX_UUID else str(UUID(int=UUID(key).int + 1))


def order(key: PointKey) -> tuple[int, int, str]:
    """A sort key for Qdrant's order of ids."""
    return (0, key, "") if isinstance(key, int) else (1, 0, key)


def rising(keys: Sequence[PointKey]) -> bool:
    """Whether keys rise strictly in Qdrant's order."""
    try:
        return all(map(lt, keys, keys[1:]))
    except TypeError:
        ranks = [order(key) for key in keys]
        return all(map(lt, ranks, ranks[1:]))


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


# ---- reading: vectors ----


def dense_column(points: Sequence[Any], field: VectorField) -> pa.Array[Any]:
    """The vectors of points as a column.

    Args:
        points: ``RetrievedPoint`` messages that were read with this one vector.
        field: the dense float32 field.

    Returns:
        ``vector_type(field)``, null where a point has no vector.

    Raises:
        IntegrityError: a vector of another length or kind than the collection's schema says.
    """
    dim = field.dim or 0
    header = _dense_header(dim)
    size = len(header) + 4 * dim
    blocks = _blocks(points, field.name)
    if set(map(len, blocks)) == {size}:
        raw = np.frombuffer(b"".join(blocks), np.uint8).reshape(len(blocks), size)
        if (raw[:, : len(header)] == np.frombuffer(header, np.uint8)).all():
            return dense_array(np.ascontiguousarray(raw[:, len(header) :]).view("<f4"), field)
    rows = [_floats(point, block, header, dim, field.name) for point, block in zip(points, blocks, strict=True)]
    valid = np.array([row is not None for row in rows], np.bool_)
    matrix = np.zeros((len(rows), dim), "<f4")
    if valid.any():
        matrix[valid] = np.frombuffer(b"".join(row for row in rows if row is not None), "<f4").reshape(-1, dim)
    return dense_array(matrix, field, valid)


def _blocks(points: Sequence[Any], name: str) -> list[bytes]:
    """The serialised ``DenseVector`` of each point, empty where the vector is missing or in the old fields."""
    if not name:
        return [point.vectors.vector.dense.SerializeToString() for point in points]
    return [point.vectors.vectors.vectors[name].dense.SerializeToString() for point in points]


def _floats(point: Any, block: bytes, header: bytes, dim: int, name: str) -> bytes | None:
    """The 4 x dim bytes of one point's vector, None when it has none."""
    if not block:
        vectors = point.vectors
        vector = vectors.vectors.vectors[name] if name else vectors.vector
        if vector.WhichOneof("vector") is None and not vector.HasField("indices") and not len(vector.data):
            return None
        # Servers before 1.16 fill the fields that are deprecated now.
        block = b"" if vector.HasField("indices") or vector.HasField("vectors_count") else vector.SerializeToString()
    if len(block) == len(header) + 4 * dim and block.startswith(header):
        return block[len(header) :]
    raise IntegrityError(
        f"point {key_of(point.id)}: its vector {name!r} is not {dim} floats, as the collection's schema says",
        safe="nothing was written",
    )


# ---- writing: numbers ----


def survives(value: float) -> bool:
    """Whether Qdrant gives back a finite double of a payload as it was given.

    Payloads are stored as JSON text, which the server reads without exact rounding (serde_json without its feature
    ``float_roundtrip``): digits as an integer, then one multiplication or division by a power of ten. One in ten
    doubles of 16 or 17 digits comes back one unit in the last place off, and so do whole numbers near 2^53, whose
    text ends in ``.0``. This repeats that computation.
    """
    text = repr(value)
    if len(text) <= 16 and "e" not in text:
        return True
    mantissa, _, exponent = text.lstrip("-").partition("e")
    whole, _, fraction = mantissa.partition(".")
    result = float(int(whole + fraction))
    power = int(exponent or 0) - len(fraction)
    while power < -308:
        result /= 1e308
        power += 308
    result = result * float(f"1e{power}") if power >= 0 else result / float(f"1e{-power}")
    return result == abs(value)


# ---- writing: protobuf ----


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


_size: Final = lru_cache(maxsize=1 << 14)(_varint)


def _block(tag: bytes, content: bytes) -> bytes:
    return tag + _size(len(content)) + content


def _dense_header(dim: int) -> bytes:
    """What stands before the floats of a serialised ``DenseVector``."""
    return b"\x0a" + _size(4 * dim)


def _pack_value(value: Any, room: int) -> bytes:
    """A ``Value`` message; raises ``NotRepresentable`` with the reason alone."""
    kind = type(value)
    if kind is str:
        raw: bytes = value.encode()
        return b"\x22" + _size(len(raw)) + raw
    if kind is bool:
        return b"\x28\x01" if value else b"\x28\x00"
    if kind is int:
        if INT64_MIN <= value <= INT64_MAX:
            return b"\x18" + _varint(value & MAX_INT_KEY)
        why = "the integers of a payload have 63 bits and a sign"
        raise NotRepresentable(f"an integer of {value.bit_length()} bits", why=why)
    if kind is float:
        if not isfinite(value):
            raise NotRepresentable(f"{value} is no JSON number")
        if not survives(value):
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
        return _block(b"\x32", b"".join([_block(b"\x0a", _entry(key, item, room)) for key, item in value.items()]))
    return _block(b"\x3a", b"".join([_block(b"\x0a", _pack_value(item, room)) for item in value]))


@lru_cache(maxsize=4096)
def _key_head(key: str) -> bytes:
    """What stands before the value in an entry of ``map<string, Value>``."""
    return _block(b"\x0a", key.encode()) + b"\x12"


def _entry(key: str, value: Any, room: int) -> bytes:
    """An entry of ``map<string, Value>``."""
    packed = _pack_value(value, room)
    return _key_head(key) + _size(len(packed)) + packed


def _pack_payload(key: PointKey, text: str) -> bytes:
    """The payload of a ``PointStruct`` from metadata text."""
    parts: list[bytes] = []
    for name, value in canonical.loads(text).items():
        try:
            entry = _entry(name, value, MESSAGES_LEFT)
        except UnicodeEncodeError:
            raise _refused(key, name, NotRepresentable("a string with lone surrogates is not UTF-8")) from None
        except NotRepresentable as error:
            raise _refused(key, name, error) from None
        parts += (b"\x1a", _size(len(entry)), entry)
    return b"".join(parts)


def _refused(key: PointKey, name: str, error: NotRepresentable) -> NotRepresentable:
    return NotRepresentable(
        f"record {key}, metadata key {name!r}: {error.what}", why=error.why, safe="this row group was not sent"
    )


def _pack_id(key: PointKey) -> bytes:
    """The id of a ``PointStruct``."""
    if isinstance(key, int):
        return _block(b"\x0a", b"\x08" + _varint(key))
    return b"\x0a\x26\x12\x24" + key.encode()


def _vector_head(field: VectorField) -> bytes:
    """What stands before the floats in the ``vectors`` of a ``PointStruct``: always the same for one field."""
    floats = 4 * (field.dim or 0)
    layers: list[Callable[[int], bytes]] = [
        lambda size: b"\x0a" + _size(size),  # DenseVector.data
        lambda size: b"\xaa\x06" + _size(size),  # Vector.dense
    ]
    if field.name:
        named = _block(b"\x0a", field.name.encode())
        layers += [
            lambda size: named + b"\x12" + _size(size),  # entry of NamedVectors.vectors
            lambda size: b"\x0a" + _size(size),  # NamedVectors.vectors
            lambda size: b"\x12" + _size(size),  # Vectors.vectors
        ]
    else:
        layers.append(lambda size: b"\x0a" + _size(size))  # Vectors.vector
    layers.append(lambda size: b"\x22" + _size(size))  # PointStruct.vectors
    head = b""
    for layer in layers:
        head = layer(len(head) + floats) + head
    return head


#: ``vectors`` of a ``PointStruct`` without any vector; the server refuses a point in which the field is absent.
_NO_VECTORS: Final = b"\x22\x02\x12\x00"


def texts_of(batch: pa.RecordBatch, column: str) -> list[str]:
    """A text column without nulls."""
    return cast(list[str], batch.column(column).to_pylist())


def check_batch(batch: pa.RecordBatch, field: VectorField) -> tuple[list[PointKey], npt.NDArray[Any], list[bool]]:
    """Refuse what Qdrant cannot hold, before anything of the batch is sent.

    Args:
        batch: a page of the target's collection.
        field: its vector field.

    Returns:
        The keys, the (m, dim) float32 matrix of the present vectors, and for each record whether it has one.

    Raises:
        NotRepresentable: an id that is none of Qdrant's, a namespace, a document, or a vector that is not finite or
            too long to be normalised.
    """
    texts = texts_of(batch, "id")
    parsed = [parse_key(text) for text in texts]
    for text, key in zip(texts, parsed, strict=True):
        if key is None:
            raise NotRepresentable(f"id {text!r}", why="Qdrant holds integers from 0 to 2^64-1 and UUIDs")
    if any(batch.column("namespace").to_pylist()):
        raise NotRepresentable("a namespace", why="Qdrant has no namespaces")
    if batch.column("document").null_count != len(batch):
        raise NotRepresentable("a document", why="Qdrant has no place for documents beside the payload")
    matrix, valid = dense_matrix(batch.column(4), field)
    _check_finite(matrix, field, texts, valid)
    return [key for key in parsed if key is not None], matrix, valid.tolist()


def _check_finite(matrix: npt.NDArray[Any], field: VectorField, texts: list[str], valid: npt.NDArray[np.bool_]) -> None:
    with np.errstate(over="ignore", invalid="ignore"):
        squared = np.einsum("ij,ij->i", matrix, matrix)
    bad, why = ~np.isfinite(squared), "NaN and infinities have no place in a vector"
    if bad.any():
        bad = ~np.isfinite(matrix).all(axis=1)
    if not bad.any() and field.metric == "cosine":
        bad, why = ~(squared <= MAX_SQUARED), "its length overflows when Qdrant normalises it"
    if bad.any():
        text = np.array(texts, object)[valid][bad][0]
        raise NotRepresentable(
            f"record {text}: its vector cannot be stored", why=why, safe="this row group was not sent"
        )


def pack_points(batch: pa.RecordBatch, field: VectorField) -> Iterator[bytes]:
    """Each record of a page as a packed element of ``UpsertPoints.points``, tag and length included.

    Raises:
        NotRepresentable: see ``check_batch``; also a metadata value that Qdrant does not hold exactly.
    """
    keys, matrix, present = check_batch(batch, field)
    floats = np.ascontiguousarray(matrix, "<f4").tobytes()
    width, head, at = 4 * (field.dim or 0), _vector_head(field), 0
    for key, text, has in zip(keys, texts_of(batch, "metadata"), present, strict=True):
        parts = [_pack_id(key), _pack_payload(key, text)]
        if has:
            parts += [head, floats[at : at + width]]
            at += width
        else:
            parts.append(_NO_VECTORS)
        yield b"\x1a" + _size(sum(map(len, parts))) + b"".join(parts)


def upsert_head(collection: str) -> bytes:
    """What stands before the points of an ``UpsertPoints`` request that waits until they are applied."""
    return _block(b"\x0a", collection.encode()) + b"\x10\x01"
