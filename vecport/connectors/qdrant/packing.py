"""Pages to the bytes of ``UpsertPoints`` requests, without a Python object for any float.

Field numbers are those of ``points.proto`` in the ``qdrant_client`` package. What a record's vectors cannot be in
Qdrant is refused here by name, before anything of the page is sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ...errors import NotRepresentable
from ...model.batch import check_lengths, dense_matrix
from ...model.collection import Collection, VectorField
from ..kit.checks import refused_vector
from . import wire
from .proto import block, size, varints_of
from .vectors import row_header
from .wire import PointKey

#: Squared lengths above this overflow the float32 sum by which Qdrant normalises; the vector would become zeros.
MAX_SQUARED: Final = 1e38
#: A server takes multivectors of fewer floats than this (``MAX_MULTIVECTOR_FLATTENED_LEN`` in its ``vectors.rs``).
MAX_MULTI_FLOATS: Final = 1024 * 1024

_DENSE, _SPARSE, _MULTI = b"\xaa\x06", b"\xb2\x06", b"\xba\x06"
#: ``vectors`` of a ``PointStruct`` without any vector; the server refuses a point in which the field is absent.
_NO_VECTORS: Final = b"\x22\x02\x12\x00"
_INSERT_ONLY: Final = b"\x40\x01"

Floats = npt.NDArray[Any]


def texts_of(batch: pa.RecordBatch, column: str) -> list[str]:
    """A text column without nulls."""
    return cast(list[str], batch.column(column).to_pylist())


def upsert_head(collection: str, *, skip: bool = False) -> bytes:
    """What stands before the points of an ``UpsertPoints`` request that waits until they are applied.

    Args:
        collection: its name.
        skip: leave records that are there already as they are.
    """
    return block(b"\x0a", collection.encode()) + b"\x10\x01" + (_INSERT_ONLY if skip else b"")


def pack_points(batch: pa.RecordBatch, collection: Collection) -> Iterator[bytes]:
    """Each record of a page as a packed element of ``UpsertPoints.points``, tag and length included.

    Args:
        batch: a page of the target's collection.
        collection: its schema.

    Raises:
        NotRepresentable: an id that is none of Qdrant's, a vector that Qdrant would refuse or change, or a metadata
            value that it does not hold exactly.
    """
    keys = checked_keys(batch)
    vectors = _packed_vectors(batch, collection)
    for key, text, packed in zip(keys, texts_of(batch, "metadata"), vectors, strict=True):
        parts = [wire.pack_id(key), wire.pack_payload(key, text), *packed]
        yield b"\x1a" + size(sum(map(len, parts))) + b"".join(parts)


def checked_keys(batch: pa.RecordBatch) -> list[PointKey]:
    """The keys of a page; raises ``NotRepresentable`` for an id that is none of Qdrant's."""
    texts = texts_of(batch, "id")
    parsed = [wire.parse_key(text) for text in texts]
    for text, key in zip(texts, parsed, strict=True):
        if key is None:
            raise NotRepresentable(f"id {text!r}", why="Qdrant holds integers from 0 to 2^64-1 and UUIDs")
    return [key for key in parsed if key is not None]


# ---- the vectors of a page ----


def _packed_vectors(batch: pa.RecordBatch, collection: Collection) -> Iterator[tuple[bytes, ...]]:
    """The field ``vectors`` of each point's ``PointStruct``, in parts."""
    fields, columns = collection.vectors, collection.columns()
    ids = texts_of(batch, "id")
    if len(fields) == 1 and fields[0].kind == "dense":
        return _sole_dense(batch.column(columns[fields[0].name]), fields[0], ids)
    packed = [_PACK[field.kind](batch.column(columns[field.name]), field, ids) for field in fields]
    if len(fields) == 1 and not fields[0].name:
        return (_bare(vector) for vector in packed[0])
    names = [block(b"\x0a", field.name.encode()) for field in fields]
    rows = zip(*packed, strict=True) if packed else iter([()] * len(batch))
    return (_named(names, row) for row in rows)


def _sole_dense(column: pa.Array[Any], field: VectorField, ids: list[str]) -> Iterator[tuple[bytes, ...]]:
    floats, present, width = _dense_floats(column, field, ids)
    head, at = _sole_head(field), 0
    for has in present:
        if has:
            yield head, floats[at : at + width]
            at += width
        else:
            yield (_NO_VECTORS,)


def _bare(vector: bytes | None) -> tuple[bytes, ...]:
    """The ``vectors`` of a point whose collection has one vector without a name."""
    return (_NO_VECTORS,) if vector is None else (block(b"\x22", block(b"\x0a", vector)),)


def _named(names: list[bytes], row: tuple[bytes | None, ...]) -> tuple[bytes, ...]:
    """The ``vectors`` of a point by their names."""
    entries = [
        block(b"\x0a", name + b"\x12" + size(len(vector)) + vector)
        for name, vector in zip(names, row, strict=True)
        if vector is not None
    ]
    return (block(b"\x22", block(b"\x12", b"".join(entries))),)


def _sole_head(field: VectorField) -> bytes:
    """What stands before the floats in the ``vectors`` of a ``PointStruct``: always the same for one field."""
    floats = 4 * (field.dim or 0)
    layers: list[Callable[[int], bytes]] = [
        lambda length: b"\x0a" + size(length),  # DenseVector.data
        lambda length: _DENSE + size(length),  # Vector.dense
    ]
    if field.name:
        named = block(b"\x0a", field.name.encode())
        layers += [
            lambda length: named + b"\x12" + size(length),  # entry of NamedVectors.vectors
            lambda length: b"\x0a" + size(length),  # NamedVectors.vectors
            lambda length: b"\x12" + size(length),  # Vectors.vectors
        ]
    else:
        layers.append(lambda length: b"\x0a" + size(length))  # Vectors.vector
    layers.append(lambda length: b"\x22" + size(length))  # PointStruct.vectors
    head = b""
    for layer in layers:
        head = layer(len(head) + floats) + head
    return head


# ---- one vector of all records, each as a ``Vector`` message ----


def _dense(column: pa.Array[Any], field: VectorField, ids: list[str]) -> list[bytes | None]:
    floats, present, width = _dense_floats(column, field, ids)
    inner = row_header(field.dim or 0)
    head = _DENSE + size(len(inner) + width) + inner
    starts = (np.cumsum(present) - 1) * width
    return [head + floats[at : at + width] if has else None for at, has in zip(starts.tolist(), present, strict=True)]


def _dense_floats(column: pa.Array[Any], field: VectorField, ids: list[str]) -> tuple[bytes, list[bool], int]:
    """The bytes of all present vectors, which records have one, and the bytes of each."""
    check_lengths(column, field, "this page")
    matrix, valid = dense_matrix(column, field)
    _check_rows(matrix, field, np.flatnonzero(valid), ids)
    return np.ascontiguousarray(matrix, "<f4").tobytes(), valid.tolist(), 4 * (field.dim or 0)


def _multi(column: pa.Array[Any], field: VectorField, ids: list[str]) -> list[bytes | None]:
    check_lengths(column, field, "this page")
    valid = np.asarray(column.is_valid())
    present = column.drop_null()
    rows = np.asarray(present.value_lengths(), np.int64)
    owners = np.flatnonzero(valid)
    dim = field.dim or 0
    for bad, why in (
        (rows == 0, "Qdrant takes no multivector without rows"),
        (rows * dim >= MAX_MULTI_FLOATS, f"Qdrant takes multivectors of fewer than {MAX_MULTI_FLOATS:,} floats"),
    ):
        _refuse(owners[bad], field, ids, why)
    flat = present.flatten().flatten().to_numpy(zero_copy_only=False).reshape(-1, dim)
    _check_rows(flat, field, np.repeat(owners, rows), ids)
    inner = row_header(dim)
    header = b"\x0a" + size(len(inner) + 4 * dim) + inner
    width = len(header) + 4 * dim
    raw = np.empty((len(flat), width), np.uint8)
    raw[:, : len(header)] = np.frombuffer(header, np.uint8)
    raw[:, len(header) :] = np.ascontiguousarray(flat, "<f4").view(np.uint8).reshape(len(flat), 4 * dim)
    data = raw.tobytes()
    edges = (np.concatenate(([0], np.cumsum(rows))) * width).tolist()
    out: list[bytes | None] = [None] * len(column)
    for owner, low, high in zip(owners.tolist(), edges, edges[1:], strict=False):
        out[owner] = block(_MULTI, data[low:high])
    return out


def _sparse(column: pa.Array[Any], field: VectorField, ids: list[str]) -> list[bytes | None]:
    valid = np.asarray(column.is_valid())
    present = column.drop_null()
    owners = np.flatnonzero(valid)
    counts = np.asarray(present.field("indices").value_lengths(), np.int64)
    if not np.array_equal(counts, np.asarray(present.field("values").value_lengths())):
        raise NotRepresentable(f"vector {field.name!r}: a sparse vector with other numbers of indices and of values")
    indices = present.field("indices").flatten().to_numpy(zero_copy_only=False)
    values = np.ascontiguousarray(present.field("values").flatten().to_numpy(zero_copy_only=False), "<f4")
    _refuse(np.repeat(owners, counts)[~np.isfinite(values)], field, ids, _NOT_FINITE)
    places, floats = varints_of(indices, counts), values.tobytes()
    edges = (np.concatenate(([0], np.cumsum(counts))) * 4).tolist()
    out: list[bytes | None] = [None] * len(column)
    for owner, place, low, high in zip(owners.tolist(), places, edges, edges[1:], strict=False):
        out[owner] = block(_SPARSE, block(b"\x0a", floats[low:high]) + block(b"\x12", place))
    return out


_PACK: Final = {"dense": _dense, "sparse": _sparse, "multi": _multi}


# ---- what Qdrant would refuse or change ----

_NOT_FINITE: Final = "NaN and infinities have no place in a vector"


def _check_rows(rows: Floats, field: VectorField, owners: npt.NDArray[np.int64], ids: list[str]) -> None:
    """Refuse rows of floats that a collection would not give back.

    Args:
        rows: (m, dim) of a dense or multi vector.
        field: which.
        owners: (m,) the record of each row.
        ids: of the page's records.
    """
    if rows.dtype.kind != "f":
        return
    with np.errstate(over="ignore", invalid="ignore"):
        squared = np.einsum("ij,ij->i", rows, rows)
    if not np.isfinite(squared).all():
        _refuse(owners[~np.isfinite(rows).all(axis=1)], field, ids, _NOT_FINITE)
    if field.metric == "cosine":
        _refuse(owners[~(squared <= MAX_SQUARED)], field, ids, "its length overflows when Qdrant normalises it")
    if field.dtype == "float16":
        with np.errstate(over="ignore"):
            halves = rows.astype(np.float16).astype(np.float32)
        why = "it has numbers that are no float16, and Qdrant would round them"
        _refuse(owners[(halves != rows).any(axis=1)], field, ids, why)


def _refuse(owners: npt.NDArray[np.int64], field: VectorField, ids: list[str], why: str) -> None:
    """Refuse the first of these records, when there is one."""
    if len(owners):
        raise refused_vector(ids[int(owners[0])], field, why)
