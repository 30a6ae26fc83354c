"""Names and sizes in a dump: file names, columns to Parquet settings, where row groups and shards are cut."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from ..model.batch import HASH_COLUMNS, TEXT_COLUMNS
from ..model.collection import Collection, VectorField

FORMAT = "vecport"
FORMAT_VERSION = "1.0"
MANIFEST = "manifest.json"
README = "README.md"
REJECTS = "rejects.jsonl"
WORK = ".vecport"
#: What an export has changed in its source, to be put back; outlives a dump that begins anew.
EFFECTS = f"{WORK}/effects.json"
#: The right to write the dump (``dump.lock``).
LOCK = f"{WORK}/lock"
SHARD = re.compile(r"data/part-([0-9]{5,10})-([0-9]{5,10})\.parquet\Z")
ENCODINGS = ("default", "plain")

_GROUP_BYTES = 24 << 20
_SHARD_BYTES = 128 << 20
_MAX_GROUP_ROWS = 65_536
_MAX_SHARD_ROWS = 131_072
_TEXT_BYTES = 400


def shard_path(partition: int, sequence: int) -> str:
    """``data/part-00003-00000.parquet``."""
    return f"data/part-{partition:05d}-{sequence:05d}.parquet"


@dataclass(frozen=True, slots=True)
class Cut:
    """Rows of a row group and of a shard; a function of the schema (and the user's choice), never of the data."""

    group_rows: int
    shard_rows: int


def cut_for(collection: Collection, shard_rows: int | None = None) -> Cut:
    """Row group and shard sizes for a schema.

    Args:
        collection: its vectors give the bytes of a row.
        shard_rows: the user's choice, rounded up to whole row groups; None for about 128 MiB of raw rows.
    """
    row_bytes = _TEXT_BYTES + sum(_vector_bytes(v) for v in collection.vectors)
    group = min(max(_GROUP_BYTES // row_bytes, 256), _MAX_GROUP_ROWS)
    if shard_rows is not None:
        group = min(group, shard_rows)
        return Cut(group, -(-shard_rows // group) * group if shard_rows % group else shard_rows)
    shard = min(max(_SHARD_BYTES // row_bytes, group), _MAX_SHARD_ROWS)
    return Cut(group, max(group, shard // group * group))


def row_bytes(collection: Collection) -> int:
    """An estimate of the bytes of one record in memory."""
    return _TEXT_BYTES + sum(_vector_bytes(v) for v in collection.vectors)


def _vector_bytes(v: VectorField) -> int:
    if v.kind == "binary":
        return (v.dim or 0) // 8 + 1
    if v.kind == "sparse":
        return 8 * 256
    width = {"float64": 8, "int8": 1, "uint8": 1}.get(v.dtype, 4)
    return width * (v.dim or 0) * (64 if v.kind == "multi" else 1)


def parquet_settings(collection: Collection, encodings: str = "default") -> dict[str, Any]:
    """Keyword arguments for ``pyarrow.parquet.ParquetWriter``.

    ``plain`` leaves out BYTE_STREAM_SPLIT and DELTA_BINARY_PACKED, for readers that lack them.
    """
    # No text column has a dictionary: one makes gigabytes of a few bytes in a reader that trusts them.
    encoding: dict[str, str] = dict.fromkeys((*TEXT_COLUMNS, *HASH_COLUMNS), "PLAIN")
    compression: dict[str, str] = dict.fromkeys(TEXT_COLUMNS, "ZSTD")
    compression |= {"_vh": "NONE", "_mh": "NONE"}
    level: dict[str, int] = {"id": 3, "document": 3, "metadata": 3, "namespace": 1}
    dictionary: list[str] = []
    columns = collection.columns()
    for v in collection.vectors:
        for leaf, wanted in _leaves(columns[v.name], v).items():
            compression[leaf], level[leaf] = "ZSTD", 1
            if wanted == "DICTIONARY":
                dictionary.append(leaf)
            else:
                encoding[leaf] = wanted if encodings == "default" else "PLAIN"
    return {
        "version": "2.6", "data_page_version": "1.0", "data_page_size": 1 << 20, "write_page_checksum": True,
        "write_statistics": ["id", "namespace"], "use_dictionary": dictionary, "column_encoding": encoding,
        "compression": compression, "compression_level": level, "write_page_index": False,
    }  # fmt: skip


def _leaves(column: str, v: VectorField) -> dict[str, str]:
    if v.kind == "binary":
        return {column: "PLAIN"}
    if v.kind == "sparse":
        return {
            f"{column}.indices.list.element": "DELTA_BINARY_PACKED",
            f"{column}.values.list.element": "BYTE_STREAM_SPLIT",
        }
    leaf = f"{column}.list.element.list.element" if v.kind == "multi" else f"{column}.list.element"
    return {leaf: "DICTIONARY" if v.dtype in ("int8", "uint8") else "BYTE_STREAM_SPLIT"}
