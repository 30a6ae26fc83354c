"""Vectors of Qdrant's gRPC interface to columns, without a Python object for any float.

Field numbers are those of ``points.proto`` in the ``qdrant_client`` package. A packed ``repeated float`` is a tag, a
length and raw little-endian float32, so that vectors are joined as blocks and viewed as one array. The indices of
sparse vectors are packed variable-length integers and are decoded for a whole page at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ...errors import IntegrityError
from ...model.batch import dense_array, multi_array, sparse_array
from ...model.collection import VectorField
from .proto import read_block, read_varints, size

_VALUES, _INDICES = b"\x0a", b"\x12"
_KIND: Final = {"dense": "dense", "sparse": "sparse", "multi": "multi_dense"}


def column(points: Sequence[Any], field: VectorField) -> pa.Array[Any]:
    """One vector of all points as a column.

    Args:
        points: ``RetrievedPoint`` messages that were read with their vectors.
        field: which vector.

    Returns:
        ``vector_type(field)``, null where a point has no such vector.

    Raises:
        IntegrityError: a vector of another length, kind or type than the collection's schema says.
    """
    if field.kind == "sparse":
        return _sparse_column(points, field)
    if field.kind == "multi":
        return _multi_column(points, field)
    return _dense_column(points, field)


def row_header(dim: int) -> bytes:
    """What stands before the floats of a serialised ``DenseVector``."""
    return b"\x0a" + size(4 * dim)


# ---- what a point holds ----


def _output(point: Any, name: str) -> Any | None:
    """The ``VectorOutput`` of a point's vector, None when it has none."""
    vectors = point.vectors
    kind = vectors.WhichOneof("vectors_options")
    if kind == "vector":
        return None if name else vectors.vector
    if kind is None or name not in vectors.vectors.vectors:
        return None
    return vectors.vectors.vectors[name]


def _block(point: Any, field: VectorField) -> bytes | None:
    """A point's vector as its serialised message of today, None when it has none.

    Servers before 1.16 fill the fields that are deprecated now.
    """
    found = _output(point, field.name)
    if found is None:
        return None
    kind = found.WhichOneof("vector")
    if kind == _KIND[field.kind]:
        block: bytes = getattr(found, kind).SerializeToString()
        return block
    if kind is None:
        sparse, multi = found.HasField("indices"), found.HasField("vectors_count")
        if not sparse and not multi and not len(found.data):
            return None
        if {"dense": not sparse and not multi, "sparse": sparse, "multi": multi}[field.kind]:
            return _from_old_fields(found, field)
    raise IntegrityError(
        f"point {_name(point)}: its vector {field.name!r} is of another kind than the collection's schema says",
        why=f"the schema says {field.kind}",
        safe="nothing was written",
    )


def _from_old_fields(found: Any, field: VectorField) -> bytes:
    values = np.array(found.data, "<f4")
    if field.kind == "sparse":
        from qdrant_client import grpc as pb

        message: bytes = pb.SparseVector(values=found.data, indices=found.indices.data).SerializeToString()
        return message
    if field.kind == "dense":
        return row_header(len(values)) + values.tobytes()
    width = len(values) // max(1, found.vectors_count)
    row = row_header(width)
    rows = values[: width * found.vectors_count].reshape(-1, width)
    return b"".join(b"\x0a" + size(len(row) + 4 * width) + row + one.tobytes() for one in rows)


def _name(point: Any) -> Any:
    return point.id.uuid or point.id.num


# ---- dense ----


def _dense_column(points: Sequence[Any], field: VectorField) -> pa.Array[Any]:
    dim = field.dim or 0
    header = row_header(dim)
    width = len(header) + 4 * dim
    blocks = _fast_blocks(points, field.name)
    if set(map(len, blocks)) == {width}:
        raw = np.frombuffer(b"".join(blocks), np.uint8).reshape(len(blocks), width)
        if (raw[:, : len(header)] == np.frombuffer(header, np.uint8)).all():
            floats = np.ascontiguousarray(raw[:, len(header) :]).view("<f4")
            return dense_array(_typed(floats, field), field)
    rows = [_dense_row(point, field, header, width) for point in points]
    valid = np.array([row is not None for row in rows], np.bool_)
    matrix = np.zeros((len(rows), dim), "<f4")
    if valid.any():
        matrix[valid] = np.frombuffer(b"".join(row for row in rows if row is not None), "<f4").reshape(-1, dim)
    return dense_array(_typed(matrix, field), field, valid)


def _fast_blocks(points: Sequence[Any], name: str) -> list[bytes]:
    """The serialised ``DenseVector`` of each point, empty where it is not in its usual place."""
    if not name and not (points and points[0].vectors.HasField("vectors")):
        return [point.vectors.vector.dense.SerializeToString() for point in points]
    named = [point.vectors.vectors.vectors for point in points]
    return [vectors[name].dense.SerializeToString() if name in vectors else b"" for vectors in named]


def _dense_row(point: Any, field: VectorField, header: bytes, width: int) -> bytes | None:
    """The 4 x dim bytes of one point's vector, None when it has none."""
    block = _block(point, field)
    if block is None:
        return None
    if len(block) == width and block.startswith(header):
        return block[len(header) :]
    raise _misfit(point, field)


def _misfit(point: Any, field: VectorField) -> IntegrityError:
    return IntegrityError(
        f"point {_name(point)}: its vector {field.name!r} is not {field.dim} floats, as the collection's schema says",
        safe="nothing was written",
    )


def _typed(floats: npt.NDArray[Any], field: VectorField) -> npt.NDArray[Any]:
    """Floats of the wire in the field's own type.

    Raises:
        IntegrityError: the field is one of bytes, and a value is none.
    """
    if field.dtype != "uint8":
        return floats
    with np.errstate(invalid="ignore"):
        whole = floats.astype(np.uint8)
    if not np.array_equal(whole.astype(np.float32), floats):
        raise IntegrityError(
            f"vector {field.name!r} holds numbers that are no bytes",
            why="the collection's schema says uint8",
            safe="nothing was written",
        )
    return whole


# ---- multi ----


def _multi_column(points: Sequence[Any], field: VectorField) -> pa.Array[Any]:
    dim = field.dim or 0
    inner = row_header(dim)
    header = b"\x0a" + size(len(inner) + 4 * dim) + inner
    width = len(header) + 4 * dim
    blocks = [_block(point, field) for point in points]
    valid = np.array([block is not None for block in blocks], np.bool_)
    present = [block for block in blocks if block is not None]
    for point, block in zip(points, blocks, strict=True):
        if block is not None and len(block) % width:
            raise _misfit(point, field)
    raw = np.frombuffer(b"".join(present), np.uint8).reshape(-1, width)
    if not (raw[:, : len(header)] == np.frombuffer(header, np.uint8)).all():
        raise IntegrityError(
            f"vector {field.name!r} has rows that are not {dim} floats, as the collection's schema says",
            safe="nothing was written",
        )
    rows = np.zeros(len(points), np.int64)
    rows[valid] = [len(block) // width for block in present]
    flat = np.ascontiguousarray(raw[:, len(header) :]).view("<f4").reshape(-1, dim)
    return multi_array(_typed(flat, field), rows, field, None if valid.all() else valid)


# ---- sparse ----


def _sparse_column(points: Sequence[Any], field: VectorField) -> pa.Array[Any]:
    blocks = [_block(point, field) for point in points]
    valid = np.array([block is not None for block in blocks], np.bool_)
    values: list[bytes] = []
    places: list[bytes] = []
    for block in blocks:
        if block is None:
            continue
        value, at = read_block(block, 0, _VALUES)
        place, at = read_block(block, at, _INDICES)
        if at != len(block):
            raise IntegrityError(f"vector {field.name!r}: a sparse vector that is not values and indices")
        values.append(value)
        places.append(place)
    indices, counts = read_varints(places)
    floats = np.frombuffer(b"".join(values), "<f4")
    if [len(value) // 4 for value in values] != counts.tolist():
        raise IntegrityError(f"vector {field.name!r}: a sparse vector with other numbers of indices and of values")
    indices, floats = _ascending(indices, floats, counts, field)
    nnz = np.zeros(len(points), np.int64)
    nnz[valid] = counts
    return sparse_array(indices, floats, nnz, field, None if valid.all() else valid)


def _ascending(
    indices: npt.NDArray[np.uint32], values: npt.NDArray[Any], counts: npt.NDArray[np.int64], field: VectorField
) -> tuple[npt.NDArray[np.uint32], npt.NDArray[Any]]:
    """Entries with the indices of each record in rising order.

    Servers sort them when they are written (``named_vectors.rs``), so that this is the rule.

    Raises:
        IntegrityError: an index stands twice in a record.
    """
    record = np.repeat(np.arange(len(counts)), counts)
    same = record[1:] == record[:-1]
    if (indices[1:] <= indices[:-1])[same].any():
        order = np.lexsort((indices, record))
        indices, values = indices[order], values[order]
        if (indices[1:] == indices[:-1])[same].any():
            raise IntegrityError(f"vector {field.name!r}: a sparse vector has an index twice")
    return indices, values
