"""Ids, JSON values and vectors: protobuf messages to engine objects and back.

These run once per point or per value, so they take the shortest way: a dense vector is one block of
little-endian floats on both sides, and is never a list of numbers on the way in.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from functools import lru_cache
from math import isfinite
from typing import Any, cast
from uuid import UUID

import qdrant_edge as edge
from qdrant_client import grpc as pb

from .errors import invalid, invalid_body, unimplemented

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1
MAX_MULTIVECTOR_FLOATS = 1024 * 1024

# -- ids ---------------------------------------------------------------------------------------


def id_in(message: pb.PointId) -> int | str:
    """Return the id for the engine, which reads a UUID in any spelling and refuses what is none.

    Raises:
        StatusError: the message is empty.
    """
    kind = message.WhichOneof("point_id_options")
    if kind == "num":
        return cast(int, message.num)
    if kind == "uuid":
        return cast(str, message.uuid)
    raise invalid("No ID options provided")


def id_out(target: pb.PointId, value: int | UUID | str) -> None:
    """Write an id of the engine into `target`."""
    if isinstance(value, int):
        target.num = value
    else:
        target.uuid = str(value)


# -- JSON values -------------------------------------------------------------------------------


def value_in(message: pb.Value) -> Any:
    """Return the JSON value of a message.

    Raises:
        StatusError: a number is not finite.
    """
    kind = message.WhichOneof("kind")
    if kind == "string_value":
        return message.string_value
    if kind == "integer_value":
        return message.integer_value
    if kind == "double_value":
        number = message.double_value
        if not isfinite(number):
            raise invalid("cannot convert to json number")
        return number
    if kind == "bool_value":
        return message.bool_value
    if kind == "list_value":
        return [value_in(item) for item in message.list_value.values]
    if kind == "struct_value":
        return payload_in(message.struct_value.fields)
    return None


def payload_in(message: Mapping[str, pb.Value]) -> dict[str, Any]:
    """Return the JSON object of a map of values."""
    return {key: value_in(value) for key, value in message.items()}


def value_out(target: pb.Value, value: Any) -> None:
    """Write a JSON value into `target`. Integers beyond int64 become doubles, as on the server."""
    kind = type(value)
    if kind is str:
        target.string_value = value
    elif kind is int:
        if INT64_MIN <= value <= INT64_MAX:
            target.integer_value = value
        else:
            target.double_value = value
    elif kind is float:
        target.double_value = value
    elif kind is bool:
        target.bool_value = value
    elif kind is list:
        target.list_value.SetInParent()
        items = target.list_value.values
        for item in value:
            value_out(items.add(), item)
    elif kind is dict:
        target.struct_value.SetInParent()
        payload_out(target.struct_value.fields, value)
    else:
        target.null_value = pb.NULL_VALUE


def payload_out(target: MutableMapping[str, pb.Value], payload: Mapping[str, Any] | None) -> None:
    """Write a JSON object into a map of values."""
    if payload:
        for key, value in payload.items():
            value_out(target[key], value)


# -- vectors in --------------------------------------------------------------------------------


@lru_cache(maxsize=256)
def _dense_header(count: int) -> bytes:
    """Return what protobuf writes before the floats of a `DenseVector` of `count` floats."""
    message = pb.DenseVector(data=[0.0] * count).SerializeToString()
    return bytes(message[: len(message) - 4 * count])


def dense_in(message: pb.DenseVector) -> Sequence[float]:
    """Return the floats of a dense vector without making a Python object of each."""
    count = len(message.data)
    start = len(_dense_header(count))
    return memoryview(message.SerializeToString())[start : start + 4 * count].cast("f")


def _sparse_in(indices: Sequence[int], values: Sequence[float]) -> edge.SparseVector:
    """Return a sparse vector, checked as the server does: the engine itself would panic."""
    if len(indices) != len(values):
        raise invalid_body("values", "must be the same length as indices")
    if len(set(indices)) != len(indices):
        raise invalid_body("indices", "must be unique")
    return edge.SparseVector(list(indices), list(values))


def _multi_in(rows: Sequence[Sequence[float]]) -> list[Sequence[float]]:
    """Return a multivector, checked as the server does: the engine itself would panic."""
    lengths = {len(row) for row in rows}
    if not lengths:
        raise invalid_body("data", "multi vector must not be empty")
    if 0 in lengths:
        raise invalid_body("data", "all vectors must be non-empty")
    if len(lengths) > 1:
        raise invalid_body("data", "all vectors must have the same dimension")
    if len(rows) * lengths.pop() >= MAX_MULTIVECTOR_FLOATS:
        raise invalid_body("data", f"Total size of all vectors must be less than {MAX_MULTIVECTOR_FLOATS}")
    return list(rows)


def typed_vector_in(message: pb.Vector | pb.VectorInput, kind: str) -> Any:
    """Return the vector in the field `kind` of `message` in the engine's form.

    Raises:
        StatusError: it is malformed, or is to be computed by a model.
    """
    if kind == "dense":
        return dense_in(message.dense)
    if kind == "sparse":
        return _sparse_in(message.sparse.indices, message.sparse.values)
    if kind == "multi_dense":
        return _multi_in([dense_in(row) for row in message.multi_dense.vectors])
    raise unimplemented(f"vector input `{kind}`")


def vector_in(message: pb.Vector) -> Any:
    """Return one vector in the engine's form, from the present or the deprecated fields."""
    kind = message.WhichOneof("vector")
    if kind is not None:
        return typed_vector_in(message, kind)
    if message.HasField("indices"):
        return _sparse_in(message.indices.data, message.data)
    if message.HasField("vectors_count"):
        return _flat_multi_in(list(message.data), message.vectors_count)
    return list(message.data)


def _flat_multi_in(data: list[float], count: int) -> list[Sequence[float]]:
    """Return the multivector that the deprecated fields hold as one row of floats."""
    if not count or len(data) % count:
        raise invalid_body("data", f"{len(data)} floats do not make {count} vectors")
    width = len(data) // count
    return _multi_in([data[start : start + width] for start in range(0, len(data), width or 1)])


def vectors_in(message: pb.Vectors) -> Any:
    """Return all vectors of a point in the engine's form.

    Raises:
        StatusError: they are missing or malformed.
    """
    kind = message.WhichOneof("vectors_options")
    if kind == "vector":
        vector = vector_in(message.vector)
        if isinstance(vector, edge.SparseVector):
            raise invalid("Sparse vector must be named")
        return vector
    if kind == "vectors":
        return {name: vector_in(vector) for name, vector in message.vectors.vectors.items()}
    raise invalid("Expected some vectors")


def point_in(message: pb.PointStruct) -> edge.Point:
    """Return a point in the engine's form.

    Raises:
        StatusError: an id, a vector or a value is missing or malformed.
    """
    if not message.HasField("vectors"):
        raise invalid("Expected some vectors")
    return edge.Point(id_in(message.id), vectors_in(message.vectors), payload_in(message.payload))


# -- vectors out -------------------------------------------------------------------------------


@lru_cache(maxsize=256)
def _float_packer(count: int) -> Callable[..., bytes]:
    """Return the function that makes `count` numbers one block of floats."""
    return struct.Struct(f"<{count}f").pack


def dense_out(target: pb.DenseVector, vector: Sequence[float]) -> None:
    """Write the floats of a dense vector into `target`."""
    count = len(vector)
    target.MergeFromString(_dense_header(count) + _float_packer(count)(*vector))


def _vector_out(target: pb.VectorOutput, vector: Any) -> None:
    """Write one vector of the engine into `target`."""
    if isinstance(vector, edge.SparseVector):
        target.sparse.SetInParent()
        target.sparse.indices.extend(vector.indices)
        target.sparse.values.extend(vector.values)
    elif vector and isinstance(vector[0], list):
        for row in vector:
            dense_out(target.multi_dense.vectors.add(), row)
    else:
        target.dense.SetInParent()
        dense_out(target.dense, vector)


def vectors_out(target: pb.VectorsOutput, vectors: Any) -> None:
    """Write all vectors of a point into `target`."""
    if isinstance(vectors, dict):
        target.vectors.SetInParent()
        named = target.vectors.vectors
        for name, vector in vectors.items():
            _vector_out(named[name], vector)
    else:
        _vector_out(target.vector, vectors)


def record_out(target: pb.RetrievedPoint | pb.ScoredPoint, record: Any) -> None:
    """Write what a found point and a scored point have in common into `target`."""
    id_out(target.id, record.id)
    payload_out(target.payload, record.payload)
    vectors = record.vector
    if vectors is not None:
        vectors_out(target.vectors, vectors)
    order = record.order_value
    if order is not None:
        if isinstance(order, int):
            target.order_value.int = order
        else:
            target.order_value.float = order
