"""Shards: writing row groups into Parquet while hashing, and reading them back after checking."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import IntegrityError, NotFound
from ..limits import DEFAULT_LIMITS, Limits
from ..model import canonical, hashes
from ..model.batch import check_lengths, group_schema, page_schema
from ..model.collection import Collection, collection_to_json
from ..model.ids import bounds
from ..model.profile import Profile, profile_page
from .layout import FORMAT, FORMAT_VERSION, parquet_settings, row_bytes, shard_path
from .manifest import ShardEntry
from .store import Store

FOOTER_KEY = "vecport"


def footer_text(collection: Collection) -> str:
    """The footer's ``vecport`` value: enough to read a shard alone; no name, time, host or run."""
    data = collection_to_json(collection)
    del data["name"], data["native"]
    return canonical.dumps({"format": FORMAT, "format_version": FORMAT_VERSION, "collection": data})


def shard_schema(collection: Collection) -> pa.Schema:
    """The Arrow schema as it is written, with the footer key."""
    return group_schema(collection).with_metadata({FOOTER_KEY: footer_text(collection)})


class ShardWriter:
    """Writes one shard. Every ``write`` is one row group; nothing is visible before ``close``.

    Args:
        store: the dump's location.
        partition, sequence: its place in the dump.
        collection: fixes the schema.
        profile: ``default`` or ``plain``.
    """

    def __init__(
        self, store: Store, partition: int, sequence: int, collection: Collection, profile: str = "default"
    ) -> None:
        self.path = shard_path(partition, sequence)
        self._collection = collection
        self._upload = store.upload(self.path)
        self._groups: list[int] = []
        self._profile = Profile()
        self._sum = 0
        self._ids: list[str] = []
        sink = pa.PythonFile(_Sink(self._upload), mode="w")
        self._writer = pq.ParquetWriter(sink, shard_schema(collection), **parquet_settings(collection, profile))

    @property
    def rows(self) -> int:
        """Rows written so far."""
        return sum(self._groups)

    def write(self, page: pa.RecordBatch) -> None:
        """Write one contiguous page as a row group; the hash columns are added here.

        Raises:
            IntegrityError: the page does not fit the schema or a vector has the wrong length.
        """
        if page.schema.names != page_schema(self._collection).names:
            raise IntegrityError(f"{self.path}: a page has columns {page.schema.names}")
        columns = self._collection.columns()
        for v in self._collection.vectors:
            check_lengths(page.column(columns[v.name]), v, self.path)
        group = hashes.add_hashes(page, self._collection)
        ids = group.column("id")
        self._profile.add(profile_page(page, self._collection))
        self._sum += hashes.record_sum(ids, group.column("namespace"), group.column("_vh"), group.column("_mh"))
        self._ids.extend(bounds(ids.to_pylist(), self._collection.id_kind))
        table = pa.Table.from_batches([group]).replace_schema_metadata({FOOTER_KEY: footer_text(self._collection)})
        self._writer.write_table(table, row_group_size=len(group))
        self._groups.append(len(group))

    def close(self) -> ShardEntry:
        """Write the footer, make the shard durable and visible, and return its manifest entry."""
        self._upload.begin_tail()
        self._writer.close()
        self._upload.commit()
        low, high = bounds(self._ids, self._collection.id_kind) if self._ids else (None, None)
        return ShardEntry(
            path=self.path,
            rows=self.rows,
            size_bytes=self._upload.size_bytes,
            sha256=self._upload.sha256,
            footer_bytes=self._upload.tail_bytes,
            footer_sha256=self._upload.tail_sha256,
            groups=tuple(self._groups),
            id_min=low,
            id_max=high,
            record_sum=self._sum & ((1 << 128) - 1),
            profile=self._profile,
        )

    def abort(self) -> None:
        """Leave nothing behind; does nothing after ``close``."""
        self._upload.abort()


class _Sink:
    """The file-like face of an upload that pyarrow writes to."""

    def __init__(self, upload: Any) -> None:
        self._upload = upload
        self.closed = False

    def write(self, data: Any) -> int:
        return int(self._upload.write(data))

    def tell(self) -> int:
        return int(self._upload.size_bytes)

    def flush(self) -> None:
        return None

    def close(self) -> None:
        self.closed = True

    def writable(self) -> bool:
        return True

    def readable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False


class ShardReader:
    """Reads one shard of a dump after checking it.

    Args:
        store: the dump's location.
        entry: its manifest entry.
        collection: the manifest's collection; the shard's schema must be the one it gives.
        limits: bounds for foreign input.
    """

    def __init__(
        self, store: Store, entry: ShardEntry, collection: Collection, limits: Limits = DEFAULT_LIMITS
    ) -> None:
        self._store, self._entry, self._collection, self._limits = store, entry, collection, limits

    def check_size(self) -> None:
        """Raise unless the file exists with the manifest's size."""
        size = self._store.size(self._entry.path)
        if size is None:
            raise NotFound(
                f"{self._store.url}: shard {self._entry.path} is missing", "the manifest names it",
                "nothing was written", "copy the dump again from where it was made, or export again",
            )  # fmt: skip
        if size != self._entry.size_bytes:
            raise self._bad(f"has {size:,} bytes, the manifest says {self._entry.size_bytes:,}")

    def check_footer(self) -> None:
        """Raise unless size and footer checksum are those of the manifest."""
        self.check_size()
        self._limits.check("footer_bytes", self._entry.footer_bytes, self._entry.path)
        tail = self._store.tail(self._entry.path, self._entry.footer_bytes)
        if hashlib.sha256(tail).hexdigest() != self._entry.footer_sha256:
            raise self._bad("has another footer than the manifest says (SHA-256)")

    def check_all(self) -> None:
        """Raise unless size and SHA-256 are those of the manifest. Vectors are read only after this."""
        self.check_size()
        if self._store.sha256(self._entry.path) != self._entry.sha256:
            raise self._bad("has another SHA-256 than the manifest says")

    def groups(self, first: int = 0) -> Iterator[pa.RecordBatch]:
        """Check the whole file, then yield its row groups from number ``first`` on, one batch each."""
        self.check_all()
        with self._store.open(self._entry.path) as f:
            parquet = self._open(f)
            for number in range(first, len(self._entry.groups)):
                table = parquet.read_row_group(number, use_threads=False)
                batches = table.combine_chunks().to_batches()
                batch = batches[0] if batches else pa.RecordBatch.from_pylist([], schema=table.schema)
                columns = self._collection.columns()
                for v in self._collection.vectors:
                    check_lengths(batch.column(columns[v.name]), v, self._entry.path)
                yield batch

    def columns(self, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Check the footer, then yield some columns row group by row group, page checksums verified."""
        self.check_footer()
        with self._store.open(self._entry.path) as f:
            parquet = self._open(f)
            for number in range(len(self._entry.groups)):
                table = parquet.read_row_group(number, columns=list(names), use_threads=False).select(list(names))
                yield from table.combine_chunks().to_batches()

    def _open(self, f: IO[bytes]) -> Any:
        try:
            parquet = pq.ParquetFile(
                f,
                page_checksum_verification=True,
                thrift_string_size_limit=64 << 20,
                thrift_container_size_limit=1 << 24,
            )
        except (OSError, ValueError, pa.ArrowException) as e:
            raise self._bad(f"is not a readable Parquet file: {e}") from e
        expected = group_schema(self._collection)
        if not parquet.schema_arrow.equals(expected, check_metadata=False):
            raise self._bad("has another schema than the manifest says")
        meta = parquet.metadata
        found = tuple(meta.row_group(i).num_rows for i in range(meta.num_row_groups))
        if found != self._entry.groups:
            raise self._bad(f"has row groups of {found[:4]}... rows, the manifest says {self._entry.groups[:4]}...")
        largest = max(found, default=0)
        self._limits.check("group_bytes", largest * row_bytes(self._collection), self._entry.path)
        return parquet

    def _bad(self, why: str) -> IntegrityError:
        return IntegrityError(
            f"{self._store.url}: shard {self._entry.path} {why}",
            safe="nothing was taken from this shard",
            next="see what is affected: vecport validate DUMP; then copy the dump again or export again",
        )


def footer_collection(f: IO[bytes]) -> dict[str, Any]:
    """The ``collection`` of a shard's footer key, for reading a shard without its manifest."""
    meta = pq.ParquetFile(f).schema_arrow.metadata or {}
    data = json.loads(meta[FOOTER_KEY.encode()])
    return dict(data["collection"])
