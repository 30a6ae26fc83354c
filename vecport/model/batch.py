"""Canonical record batches: the Arrow schema of a collection, and vectors to and from NumPy without copies.

A *page* is a RecordBatch with the columns ``id, namespace, document, metadata`` and one column per vector field;
a *row group* has the two hash columns ``_vh`` and ``_mh`` behind them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ..errors import IntegrityError, NotRepresentable
from .collection import Collection, VectorField

KEY_COLUMNS = ("id", "namespace")
TEXT_COLUMNS = ("id", "namespace", "document", "metadata")
HASH_COLUMNS = ("_vh", "_mh")

_STORAGE = {"float64": pa.float64(), "int8": pa.int8(), "uint8": pa.uint8()}


def element_type(field: VectorField) -> pa.DataType:
    """The Arrow element type in which a vector travels (float16 and bfloat16 are widened, losslessly)."""
    return _STORAGE.get(field.dtype, pa.float32())


def element_dtype(field: VectorField) -> np.dtype[Any]:
    """The NumPy element type in which a vector travels."""
    return np.dtype({"float64": "<f8", "int8": "i1", "uint8": "u1"}.get(field.dtype, "<f4"))


def _list(item: pa.DataType) -> pa.DataType:
    return pa.list_(pa.field("element", item, nullable=False))


def vector_type(field: VectorField) -> pa.DataType:
    """The Arrow column type of a vector field."""
    if field.kind == "binary":
        assert field.dim is not None
        return pa.binary((field.dim + 7) // 8)
    if field.kind == "sparse":
        return pa.struct(
            [
                pa.field("indices", _list(pa.uint32()), nullable=False),
                pa.field("values", _list(pa.float32()), nullable=False),
            ]
        )
    inner = _list(element_type(field))
    return _list(inner) if field.kind == "multi" else inner


def page_schema(collection: Collection) -> pa.Schema:
    """The Arrow schema of a page of this collection."""
    columns = collection.columns()
    return pa.schema(
        [
            pa.field("id", pa.string(), nullable=False),
            pa.field("namespace", pa.string(), nullable=False),
            pa.field("document", pa.string()),
            pa.field("metadata", pa.string(), nullable=False),
            *(pa.field(columns[v.name], vector_type(v)) for v in collection.vectors),
        ]
    )


def group_schema(collection: Collection) -> pa.Schema:
    """The Arrow schema of a shard: a page and the hash columns."""
    schema = page_schema(collection)
    for name in HASH_COLUMNS:
        schema = schema.append(pa.field(name, pa.int64(), nullable=False))
    return schema


def make_page(
    collection: Collection,
    *,
    ids: pa.Array | Sequence[str],
    metadata: pa.Array | Sequence[str] | None = None,
    documents: pa.Array | Sequence[str | None] | None = None,
    namespaces: pa.Array | Sequence[str] | str = "",
    vectors: Mapping[str, pa.Array] | None = None,
) -> pa.RecordBatch:
    """Assemble a page.

    Args:
        collection: the collection that ``describe`` returned.
        ids: record ids as text in their canonical form.
        metadata: canonical JSON objects; None means ``{}`` for all.
        documents: text or null for each record; None means none has one.
        namespaces: one for all records, or one each.
        vectors: by the vector field's true name, Arrow arrays of ``vector_type``; an absent one is all null.

    Raises:
        IntegrityError: a column does not fit the schema that was described.
    """
    schema = page_schema(collection)
    n = len(ids)
    arrays: list[pa.Array] = [
        _text(ids),
        pa.repeat(pa.scalar(namespaces, pa.string()), n) if isinstance(namespaces, str) else _text(namespaces),
        pa.nulls(n, pa.string()) if documents is None else _text(documents),
        pa.repeat(pa.scalar("{}", pa.string()), n) if metadata is None else _text(metadata),
    ]
    given = dict(vectors or {})
    for v in collection.vectors:
        array = given.pop(v.name, None)
        arrays.append(pa.nulls(n, vector_type(v)) if array is None else array)
    if given:
        raise IntegrityError(f"a page of {collection.name!r} has vectors that were not described: {sorted(given)}")
    for field, array in zip(schema, arrays, strict=True):
        if array.type != field.type or len(array) != n or (not field.nullable and array.null_count):
            raise IntegrityError(
                f"a page of {collection.name!r} does not fit the described schema: column {field.name!r} is"
                f" {array.type} x {len(array)} with {array.null_count} nulls, expected {field.type} x {n}"
            )
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def join_pages(collection: Collection, pages: Iterable[pa.RecordBatch]) -> pa.RecordBatch:
    """Pages as one, whose columns are whole; an empty page where there is none."""
    filled = [page for page in pages if page.num_rows]
    if len(filled) <= 1:
        return filled[0] if filled else make_page(collection, ids=[])
    return pa.Table.from_batches(filled).combine_chunks().to_batches()[0]


def _text(values: pa.Array | Sequence[str | None]) -> pa.Array:
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    if isinstance(values, pa.Array):
        return values if values.type == pa.string() else values.cast(pa.string())
    return pa.array(values, pa.string())


def dense_array(matrix: npt.NDArray[Any], field: VectorField, valid: npt.NDArray[np.bool_] | None = None) -> pa.Array:
    """Turn an (n, dim) matrix into a vector column without copying elements when it is already contiguous.

    Args:
        matrix: (n, dim) of any float or int dtype that widens losslessly; rows of null records are ignored.
        field: the dense vector field; its dim must match.
        valid: (n,) bool, False for records without this vector; None when all have it.

    Raises:
        IntegrityError: the matrix has another dimension than the field.
    """
    if matrix.ndim != 2 or matrix.shape[1] != field.dim:
        raise IntegrityError(
            f"vector {field.name!r}: got an array of shape {matrix.shape}, expected (rows, {field.dim})"
        )
    if valid is not None and bool(valid.all()):
        valid = None
    n, dim = matrix.shape
    rows = matrix if valid is None else matrix[valid]
    flat = np.ascontiguousarray(rows, dtype=element_dtype(field)).reshape(-1)
    lengths = np.full(n, dim, np.int32) if valid is None else np.where(valid, dim, 0).astype(np.int32)
    return _list_array(flat, lengths, field, valid)


def multi_array(
    flat: npt.NDArray[Any],
    rows_each: npt.NDArray[Any],
    field: VectorField,
    valid: npt.NDArray[np.bool_] | None = None,
) -> pa.Array:
    """Turn the stacked rows of multi vectors into a column.

    Args:
        flat: (total rows, dim) stacked in record order.
        rows_each: (n,) number of rows of each record, 0 for null and empty ones.
        field: the multi vector field.
        valid: (n,) bool, False for records without this vector.
    """
    if flat.ndim != 2 or flat.shape[1] != field.dim:
        raise IntegrityError(f"vector {field.name!r}: rows of shape {flat.shape}, expected (rows, {field.dim})")
    values = np.ascontiguousarray(flat, dtype=element_dtype(field)).reshape(-1)
    inner_offsets = np.arange(0, len(values) + 1, field.dim, dtype=np.int32)
    inner = pa.ListArray.from_arrays(inner_offsets, pa.array(values), type=_list(element_type(field)))
    offsets = _offsets(rows_each)
    return pa.ListArray.from_arrays(offsets, inner, type=vector_type(field), mask=_mask(valid))


def sparse_array(
    indices: npt.NDArray[Any],
    values: npt.NDArray[Any],
    nnz: npt.NDArray[Any],
    field: VectorField,
    valid: npt.NDArray[np.bool_] | None = None,
) -> pa.Array:
    """Turn concatenated sparse vectors into a column; indices must be ascending and unique in each record.

    Args:
        indices: (total,) uint32.
        values: (total,) float32, explicit zeros kept.
        nnz: (n,) entries of each record.
        field: the sparse vector field.
        valid: (n,) bool, False for records without this vector.
    """
    offsets = _offsets(nnz)
    kind = vector_type(field)
    idx = pa.ListArray.from_arrays(offsets, pa.array(np.ascontiguousarray(indices, np.uint32)), type=kind.field(0).type)
    val = pa.ListArray.from_arrays(offsets, pa.array(np.ascontiguousarray(values, np.float32)), type=kind.field(1).type)
    return pa.StructArray.from_arrays([idx, val], fields=list(kind), mask=_mask(valid))


def binary_array(
    packed: npt.NDArray[np.uint8], field: VectorField, valid: npt.NDArray[np.bool_] | None = None
) -> pa.Array:
    """Turn (n, ceil(dim/8)) packed bits, most significant bit first, into a column."""
    kind = vector_type(field)
    if packed.ndim != 2 or packed.shape[1] != kind.byte_width:
        raise IntegrityError(
            f"vector {field.name!r}: packed bits of shape {packed.shape}, expected (n, {kind.byte_width})"
        )
    data = pa.py_buffer(np.ascontiguousarray(packed))
    bitmap = None if valid is None else pa.py_buffer(np.packbits(valid, bitorder="little"))
    return pa.Array.from_buffers(kind, len(packed), [bitmap, data])


def dense_matrix(column: pa.Array, field: VectorField) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """Return the non-null rows of a dense column as an (m, dim) matrix, and the (n,) mask of present rows.

    The matrix is a view on the column's buffer when no row is null.
    """
    valid = np.asarray(column.is_valid())
    flat = column.flatten().to_numpy(zero_copy_only=False)
    m = int(valid.sum())
    if len(flat) != m * (field.dim or 0):
        raise IntegrityError(f"vector {field.name!r}: {len(flat)} values in {m} rows, expected {field.dim} each")
    return flat.reshape(m, field.dim or 0), valid


def check_lengths(column: pa.Array, field: VectorField, where: str) -> None:
    """Raise ``IntegrityError`` unless every dense vector, and every row of a multi vector, has ``dim`` elements."""
    if field.kind not in ("dense", "multi"):
        return
    present = column.drop_null()
    rows = present.flatten() if field.kind == "multi" else present
    lengths = np.asarray(rows.value_lengths())
    wrong = lengths != field.dim
    if wrong.any():
        raise IntegrityError(
            f"{where}: vector {field.name!r} has {int(lengths[wrong][0])} elements in {int(wrong.sum())} records,"
            f" expected {field.dim}"
        )


def vector_fault(column: pa.Array, field: VectorField) -> str | None:
    """What the format forbids in a vector column, beyond ``check_lengths``; None when all is well.

    Args:
        column: of ``vector_type(field)``.
        field: says what may stand in it.
    """
    if not field.nullable and column.null_count:
        return "is null in a record although it is not nullable"
    present = column.drop_null()
    if field.kind == "sparse":
        return _sparse_fault(present)
    if field.kind == "binary" and field.dim is not None and field.dim % 8 and len(present):
        width = (field.dim + 7) // 8
        packed = np.frombuffer(present.buffers()[1], np.uint8)[present.offset * width :][: len(present) * width]
        if (packed[width - 1 :: width] & ((1 << (8 - field.dim % 8)) - 1)).any():
            return "has bits set behind its last dimension"
    return None


def _sparse_fault(present: pa.Array) -> str | None:
    indices, values = present.field(0), present.field(1)
    lengths = np.asarray(indices.value_lengths())
    if not np.array_equal(lengths, np.asarray(values.value_lengths())):
        return "has another number of indices than of values in a record"
    flat = indices.flatten().to_numpy(zero_copy_only=False).astype(np.int64)
    falls = np.diff(flat) <= 0
    # From one record to the next indices may fall.
    ends = np.cumsum(lengths)[:-1]
    falls[ends[(ends > 0) & (ends < len(flat))] - 1] = False
    return "has indices that are not ascending and unique" if falls.any() else None


def _offsets(lengths: npt.NDArray[Any]) -> npt.NDArray[np.int32]:
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    if offsets[-1] > np.iinfo(np.int32).max:
        raise NotRepresentable(
            f"{int(offsets[-1]):,} vector elements in one page", "a page holds at most 2,147,483,647",
            next="read fewer records at once: --batch-size",
        )  # fmt: skip
    return offsets.astype(np.int32)


def _mask(valid: npt.NDArray[np.bool_] | None) -> pa.Array | None:
    return None if valid is None else pa.array(~valid)


def _list_array(
    flat: npt.NDArray[Any],
    lengths: npt.NDArray[np.int32],
    field: VectorField,
    valid: npt.NDArray[np.bool_] | None,
) -> pa.Array:
    return pa.ListArray.from_arrays(
        pa.array(_offsets(lengths)), pa.array(flat), type=_list(element_type(field)), mask=_mask(valid)
    )
