"""The footer of a shard: read strictly, and bounded before a library makes room for what it claims."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from ..limits import Limits
from ..model.batch import TEXT_COLUMNS
from ..model.collection import Collection
from .layout import row_bytes
from .pages import NUMBER_NAMES, TEXT_NAMES, Chunk
from .thrift import Compact, Malformed

#: What stands behind the footer's metadata: its length and a magic number.
END: Final = 8
#: Bytes of a decoded value.
_WIDTHS: Final = {"FLOAT": 4, "DOUBLE": 8, "INT32": 4, "INT64": 8}


@dataclass(frozen=True, slots=True)
class Layout:
    """What a footer says.

    Attributes:
        meta: as pyarrow has it.
        schema: in Arrow's terms, with the footer's metadata.
        groups: the column chunks of each row group.
        rows: of each row group.
    """

    meta: Any
    schema: pa.Schema
    groups: tuple[tuple[Chunk, ...], ...]
    rows: tuple[int, ...]

    def check(self, end: int, collection: Collection, limits: Limits, where: str) -> None:
        """Bound what row groups become in memory, before any page of them is read.

        Args:
            end: where the footer begins.
            collection: gives the estimated bytes of a record.
            limits: bounds.
            where: the shard, for messages.

        Raises:
            Malformed: chunks lie over each other, or have another number of values than rows have.
            IntegrityError: a bound is exceeded.
        """
        _check_places(self.groups, end)
        limits.check("group_bytes", max(self.rows, default=0) * row_bytes(collection), where)
        texts = 0
        for rows, chunks in zip(self.rows, self.groups, strict=True):
            overhead = rows * row_bytes(Collection(""))
            memory = overhead
            for c in chunks:
                _check_values(c, rows)
                memory += c.memory
            limits.check("group_bytes", memory, where)
            limits.check_unpacked(memory, sum(c.size for c in chunks), where)
            texts += overhead + sum(c.memory for c in chunks if not c.width)
        limits.check_unpacked(texts, end, where)


def read_footer(tail: bytes, limits: Limits) -> Layout:
    """Read a footer.

    Args:
        tail: the last bytes of the file: metadata, its length, and the magic number.
        limits: bounds.

    Raises:
        Malformed, pa.ArrowException: it is no footer of that length, or names other columns than its schema has.
    """
    if int.from_bytes(tail[-END:-4], "little") + END != len(tail):
        raise Malformed("it has a footer of another length than the manifest says")
    compact = Compact(memoryview(tail)[:-END], values=limits.footer_values)
    compact.skip_struct()
    if compact.at != len(tail) - END:
        raise Malformed("it has a footer with more behind its end")
    parquet = pq.ParquetFile(
        pa.BufferReader(tail), thrift_string_size_limit=len(tail), thrift_container_size_limit=limits.footer_values
    )
    meta = parquet.metadata
    leaves = [_leaf(parquet.schema.column(i)) for i in range(len(parquet.schema))]
    groups = tuple(
        tuple(_chunks(meta.row_group(i), leaves)) for i in range(meta.num_row_groups)
    )  # fmt: skip
    rows = tuple(meta.row_group(i).num_rows for i in range(meta.num_row_groups))
    return Layout(meta, parquet.schema_arrow, groups, rows)


def _leaf(column: Any) -> tuple[str, str, int, bool]:
    """Path, type, width and whether it is in lists; of the schema, by which pages are decoded."""
    kind = column.physical_type
    if column.path in TEXT_COLUMNS or kind == "BYTE_ARRAY":
        width = 0
    else:
        width = _WIDTHS.get(kind) or max(1, column.length)
    return column.path, kind, width, column.max_repetition_level > 0


def _chunks(group: Any, leaves: list[tuple[str, str, int, bool]]) -> Iterator[Chunk]:
    if group.num_columns != len(leaves):
        raise Malformed(f"it has a row group of {group.num_columns} columns, its schema has {len(leaves)}")
    for i, (path, kind, width, nested) in enumerate(leaves):
        chunk = group.column(i)
        if (chunk.path_in_schema, chunk.physical_type) != (path, kind):
            raise Malformed(f"it has another column in the place of {path!r}")
        first = chunk.dictionary_page_offset
        if not width and (first is not None or any("DICTIONARY" in e for e in chunk.encodings)):
            raise Malformed(f"it has a dictionary in column {path!r}, where the format has none")
        odd = set(chunk.encodings) - (NUMBER_NAMES if width else TEXT_NAMES)
        if odd:
            raise Malformed(f"it has the encoding {min(odd)} in column {path!r}, where the format has none")
        start = chunk.data_page_offset
        if first is not None and 0 < first < start:
            start = first
        facts = start, chunk.total_compressed_size, chunk.num_values, chunk.total_uncompressed_size
        if min(facts) < 0:
            raise Malformed(f"it has a negative number in the footer, of column {path!r}")
        yield Chunk(path, *facts, width, nested)


def _check_values(chunk: Chunk, rows: int) -> None:
    """A flat column has a value for each row, a list at least one."""
    if chunk.values < rows or (chunk.values > rows and not chunk.nested):
        raise Malformed(f"it has {chunk.values:,} values in column {chunk.column!r} of {rows:,} rows")


def _check_places(groups: tuple[tuple[Chunk, ...], ...], end: int) -> None:
    """No byte of the file is in two chunks: few bytes would be read without end."""
    before = 0
    for start, size in sorted((c.start, c.size) for chunks in groups for c in chunks):
        if start < before:
            raise Malformed("it has column chunks that lie over each other")
        before = start + size
    if before > end:
        raise Malformed("it has a column chunk that ends behind the pages")
