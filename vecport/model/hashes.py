"""Row hashes and the identity sum, as ``spec/FORMAT.md`` defines them.

* ``_vh``: xxh3-64 of the record's vectors. Each present vector has a field hash: xxh3-64 of its bytes, seeded by its
  kind. With one vector field in the collection ``_vh`` is that field hash; with several it is xxh3-64 over the
  present ones in ascending order of their names, each as u32 length of the name, name, u64 field hash.
* ``_mh``: xxh3-64 of the metadata text and, where there is a document, a zero byte and the document.
* The record hash is xxh3-128 over key, ``_vh`` and ``_mh``; their sum modulo 2^128 is part of a dump's identity.

All numbers are little-endian; a 64-bit hash is stored as the signed integer with the same bits.
"""

from __future__ import annotations

import struct
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from .collection import Collection, VectorField

SEED = {"dense": 1, "float64": 2, "binary": 3, "sparse": 4, "multi": 5}
#: ``_vh`` of a record without any vector: xxh3-64 of nothing, seed 0.
NO_VECTOR = xxhash.xxh3_64_intdigest(b"")

_EMPTY = pa.scalar(b"", pa.large_binary())
_ZERO = pa.scalar(b"\0", pa.large_binary())

_h64 = xxhash.xxh3_64_intdigest


def add_hashes(page: pa.RecordBatch, collection: Collection) -> pa.RecordBatch:
    """Return the page with its ``_vh`` and ``_mh`` columns appended."""
    columns = [*page.columns, pa.array(vector_hashes(page, collection)), pa.array(metadata_hashes(page))]
    names = [*page.schema.names, "_vh", "_mh"]
    fields = [
        *page.schema,
        pa.field("_vh", pa.int64(), nullable=False),
        pa.field("_mh", pa.int64(), nullable=False),
    ]
    assert len(names) == len(fields)
    return pa.RecordBatch.from_arrays(columns, schema=pa.schema(fields))


def vector_hashes(page: pa.RecordBatch, collection: Collection) -> npt.NDArray[np.int64]:
    """``_vh`` of each record, shape (rows,)."""
    if not collection.vectors:
        return np.full(page.num_rows, NO_VECTOR, np.uint64).view(np.int64)
    columns = collection.columns()
    per_field = {v.name: _field_hashes(page.column(columns[v.name]), v) for v in collection.vectors}
    if len(per_field) == 1:
        digests, valid = next(iter(per_field.values()))
        return np.where(valid, digests, np.uint64(NO_VECTOR)).view(np.int64)
    names = sorted(per_field, key=lambda n: n.encode())
    heads = {n: struct.pack("<I", len(n.encode())) + n.encode() for n in names}
    out = np.empty(page.num_rows, np.uint64)
    for i in range(page.num_rows):
        parts = [heads[n] + int(per_field[n][0][i]).to_bytes(8, "little") for n in names if per_field[n][1][i]]
        out[i] = _h64(b"".join(parts)) if parts else NO_VECTOR
    return out.view(np.int64)


def metadata_hashes(page: pa.RecordBatch) -> npt.NDArray[np.int64]:
    """``_mh`` of each record, shape (rows,)."""
    metadata = page.column("metadata").cast(pa.large_binary())
    document = page.column("document")
    if document.null_count < len(document):
        tail = pc.binary_join_element_wise(_ZERO, document.cast(pa.large_binary()), _EMPTY)
        metadata = pc.binary_join_element_wise(metadata, pc.fill_null(tail, _EMPTY), _EMPTY)
    return _hash_each(metadata).view(np.int64)


def record_sum(ids: pa.Array, namespaces: pa.Array, vh: pa.Array, mh: pa.Array) -> int:
    """Sum of the record hashes modulo 2^128, for any number of rows."""
    if not len(ids):
        return 0
    key = pc.binary_join_element_wise(*_length_prefixed(namespaces), *_length_prefixed(ids), _EMPTY)
    hashes = np.column_stack([np.asarray(vh, "<i8"), np.asarray(mh, "<i8")])
    tail = _fixed(np.ascontiguousarray(hashes).view(np.uint8))
    digests = b"".join(map(xxhash.xxh3_128_digest, _slices(pc.binary_join_element_wise(key, tail, _EMPTY))))
    words = np.frombuffer(digests, ">u4").astype(np.uint64).reshape(-1, 4).sum(axis=0)
    total = 0
    for word in words.tolist():
        total = (total << 32) + word
    return total & ((1 << 128) - 1)


def _length_prefixed(column: pa.Array) -> tuple[pa.Array, pa.Array]:
    lengths = np.asarray(pc.binary_length(column)).astype("<u4")
    return _fixed(lengths.view(np.uint8).reshape(-1, 4)), column.cast(pa.large_binary())


def _fixed(rows: npt.NDArray[np.uint8]) -> pa.Array:
    n, width = rows.shape
    offsets = np.arange(0, (n + 1) * width, width, dtype=np.int64)
    return pa.Array.from_buffers(
        pa.large_binary(), n, [None, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(rows))]
    )


def _slices(column: pa.Array) -> list[memoryview]:
    offsets = np.frombuffer(column.buffers()[1], np.int64)[column.offset : column.offset + len(column) + 1].tolist()
    data = memoryview(column.buffers()[2] or b"").cast("B")
    return [data[a:b] for a, b in pairwise(offsets)]


def _hash_each(column: pa.Array) -> npt.NDArray[np.uint64]:
    return np.fromiter(map(_h64, _slices(column)), np.uint64, len(column))


def _field_hashes(column: pa.Array, field: VectorField) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.bool_]]:
    """Field hashes, shape (rows,), and which records have the vector; hashes of absent ones are arbitrary."""
    valid = np.asarray(column.is_valid())
    out = np.zeros(len(column), np.uint64)
    present = column.drop_null()
    if len(present):
        hasher = {"dense": _dense, "binary": _binary, "sparse": _sparse, "multi": _multi}[field.kind]
        out[valid] = hasher(present, field)
    return out, valid


def _hash_rows(values: npt.NDArray[Any], offsets: npt.NDArray[Any], seed: int) -> npt.NDArray[np.uint64]:
    data = memoryview(np.ascontiguousarray(values).data).cast("B") if len(values) else memoryview(b"")
    cuts = (offsets.astype(np.int64) * values.dtype.itemsize).tolist()
    return np.fromiter((_h64(data[a:b], seed) for a, b in pairwise(cuts)), np.uint64, len(cuts) - 1)


def _dense(present: pa.Array, field: VectorField) -> npt.NDArray[np.uint64]:
    values = present.flatten().to_numpy(zero_copy_only=False)
    offsets = np.zeros(len(present) + 1, np.int64)
    np.cumsum(np.asarray(present.value_lengths()), out=offsets[1:])
    if field.dtype == "float64":
        return _hash_rows(values.astype("<f8", copy=False), offsets, SEED["float64"])
    return _hash_rows(values.astype("<f4", copy=False), offsets, SEED["dense"])


def _binary(present: pa.Array, field: VectorField) -> npt.NDArray[np.uint64]:
    return np.fromiter((_h64(v, SEED["binary"]) for v in present.to_pylist()), np.uint64, len(present))


def _sparse(present: pa.Array, field: VectorField) -> npt.NDArray[np.uint64]:
    indices, values = present.field(0), present.field(1)
    seed = SEED["sparse"]
    out = np.empty(len(present), np.uint64)
    for i in range(len(present)):
        idx = indices[i].values.to_numpy(zero_copy_only=False).astype("<u4")
        val = values[i].values.to_numpy(zero_copy_only=False).astype("<f4")
        out[i] = _h64(struct.pack("<I", len(idx)) + idx.tobytes() + val.tobytes(), seed)
    return out


def _multi(present: pa.Array, field: VectorField) -> npt.NDArray[np.uint64]:
    seed = SEED["multi"]
    out = np.empty(len(present), np.uint64)
    for i in range(len(present)):
        rows = present[i].values
        flat = rows.flatten().to_numpy(zero_copy_only=False)
        flat = flat.astype("<f8" if field.dtype == "float64" else "<f4")
        out[i] = _h64(struct.pack("<I", len(rows)) + flat.tobytes(), seed)
    return out
