"""Dumps of forged shards and manifests, with every checksum right."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vecport.dump.layout import MANIFEST, parquet_settings, shard_path
from vecport.dump.manifest import Manifest, ShardEntry
from vecport.dump.shard import shard_schema
from vecport.model import hashes, ids
from vecport.model.batch import dense_array, make_page, multi_array, sparse_array
from vecport.model.collection import Collection, VectorField
from vecport.model.profile import profile_page

from .parquet import File, parse

COLLECTION = Collection("docs", vectors=(VectorField("", dim=4, metric="cosine", nullable=True),))
SHARD = shard_path(0, 0)
Files = dict[str, bytes]


def page(rows: int, collection: Collection = COLLECTION, **columns: Any) -> pa.RecordBatch:
    """Records whose vectors are of ones, with columns of ``make_page`` in the place of the usual ones."""
    vectors = {v.name: vectors_of(v, rows) for v in collection.vectors}
    given: dict[str, Any] = {"ids": [f"record {i}" for i in range(rows)], "vectors": vectors}
    return make_page(collection, **given | columns)


def vectors_of(field: VectorField, rows: int) -> pa.Array:
    """A vector of ones for each row; sparse and multi ones have one element, and one row."""
    ones = np.ones((rows, field.dim or 1), np.float32)
    if field.kind == "sparse":
        return sparse_array(np.ones(rows, np.uint32), ones[:, 0], np.ones(rows, np.int32), field)
    return multi_array(ones, np.ones(rows, np.int32), field) if field.kind == "multi" else dense_array(ones, field)


def written(pages: Sequence[pa.RecordBatch], collection: Collection = COLLECTION, **settings: Any) -> bytes:
    """A shard of some row groups, as a writer makes it that checks nothing."""
    sink = BytesIO()
    with pq.ParquetWriter(sink, shard_schema(collection), **parquet_settings(collection) | settings) as writer:
        for p in pages:
            table = pa.Table.from_batches([hashes.add_hashes(p, collection)])
            table = table.replace_schema_metadata(writer.schema.metadata)
            writer.write_table(table, row_group_size=max(1, p.num_rows))
    return sink.getvalue()


def honest(rows: int = 64, collection: Collection = COLLECTION, **columns: Any) -> tuple[File, pa.RecordBatch]:
    """A shard of one row group to be edited, and its records."""
    made = page(rows, collection, **columns)
    return parse(written([made], collection)), made


def entry(data: bytes, tail: bytes, pages: Sequence[pa.RecordBatch], collection: Collection = COLLECTION,
          **changes: Any) -> ShardEntry:  # fmt: skip
    """The entry of a shard: what is said of its bytes is true, what is said of its records is that of the pages."""
    total, texts, found = 0, [], None
    for p in pages:
        group = hashes.add_hashes(p, collection)
        total += hashes.record_sum(*(group.column(n) for n in ("id", "namespace", "_vh", "_mh")))
        texts += p.column("id").to_pylist()
        one = profile_page(p, collection)
        found = found or one
        if one is not found:
            found.add(one)
    low, high = ids.bounds(texts, collection.id_kind) if texts else (None, None)
    facts: dict[str, Any] = {
        "path": SHARD, "rows": sum(p.num_rows for p in pages), "size_bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(), "footer_bytes": len(tail),
        "footer_sha256": hashlib.sha256(tail).hexdigest(), "groups": tuple(p.num_rows for p in pages),
        "id_min": low, "id_max": high, "record_sum": total % 2**128, "profile": found,
    }  # fmt: skip
    return ShardEntry(**facts | changes)


def manifest(entries: Sequence[ShardEntry], collection: Collection = COLLECTION) -> bytes:
    return Manifest(
        collection=collection, shards=tuple(entries), dump_id="00000000-0000-4000-8000-000000000000",
        created_at="2026-01-02T03:04:05Z", completed_at="2026-01-02T03:04:06Z",
        writer={"name": "forger", "version": "1"}, source={"system": "test", "consistency": {"kind": "snapshot"}},
        selection={}, complete=True,
    ).to_bytes()  # fmt: skip


def dump(file: File | bytes, pages: Sequence[pa.RecordBatch], collection: Collection = COLLECTION,
         **changes: Any) -> Files:  # fmt: skip
    """A dump of one forged shard."""
    if isinstance(file, bytes):
        data, tail = file, file[-8 - int.from_bytes(file[-8:-4], "little") :]
    else:
        data, tail = file.to_bytes()
    made = entry(data, tail, pages, collection, **changes)
    return {SHARD: data, MANIFEST: manifest([made], collection)}


def sealed(body: bytes) -> bytes:
    """A manifest of what stands before its checksum."""
    return body + b',\n "manifest_sha256": "' + hashlib.sha256(body).hexdigest().encode() + b'"\n}\n'


def with_more(files: Files, text: bytes) -> Files:
    """A dump whose manifest has one more member, of which the value is this text."""
    body, _, _ = files[MANIFEST].rpartition(b',\n "manifest_sha256"')
    return files | {MANIFEST: sealed(body + b',\n "more": ' + text)}


def changed(files: Files, change: Callable[[Any], None]) -> Files:
    """A dump whose manifest is edited as data; totals and identity are not made anew."""
    data = json.loads(files[MANIFEST])
    del data["manifest_sha256"]
    change(data)
    return files | {MANIFEST: sealed(json.dumps(data).removesuffix("}").encode())}


def write(files: Files, folder: Path) -> Path:
    """Put a dump on the disk."""
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return folder
