"""Shards: writing row groups into Parquet while hashing, and reading them back after checking."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import IntegrityError, NotFound, NotRepresentable
from ..limits import DEFAULT_LIMITS, Limits
from ..model import canonical, hashes, ids
from ..model.batch import check_lengths, group_schema, page_schema, vector_fault
from ..model.collection import Collection, collection_from_json, collection_to_json
from ..model.profile import Profile, profile_page
from .chunks import ChunkFile, file_of
from .footer import Layout, read_footer
from .layout import FORMAT, FORMAT_VERSION, parquet_settings, shard_path
from .manifest import ShardEntry, strict_json
from .pages import Chunk
from .store import Store
from .texts import VALUE_BYTES, check_texts, json_values
from .thrift import Malformed

FOOTER_KEY = "vecport"
#: Bytes that other writers may add to what stands in a footer, beside four times as many.
_FOOTER_TEXT = 1 << 16


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
        encodings: ``default`` or ``plain``.
    """

    def __init__(
        self, store: Store, partition: int, sequence: int, collection: Collection, encodings: str = "default"
    ) -> None:
        self.path = shard_path(partition, sequence)
        self._collection = collection
        self._upload = store.upload(self.path)
        self._groups: list[int] = []
        self._profile = Profile()
        self._sum = 0
        self._ids: list[str] = []
        self._sink = _Sink(self._upload)
        sink = pa.PythonFile(self._sink, mode="w")
        try:
            self._writer = pq.ParquetWriter(sink, shard_schema(collection), **parquet_settings(collection, encodings))
        except BaseException:
            self._upload.abort()
            raise

    @property
    def rows(self) -> int:
        """Rows written so far."""
        return sum(self._groups)

    def write(self, page: pa.RecordBatch) -> None:
        """Write one contiguous page as a row group; the hash columns are added here.

        Raises:
            IntegrityError: the page does not fit the schema, or a vector breaks a rule of the format.
            NotRepresentable: an id is not of the collection's kind.
        """
        _check_page(page, self._collection, self.path)
        group = hashes.add_hashes(page, self._collection)
        texts = group.column("id")
        found = profile_page(page, self._collection)
        _check_ids(texts, found, self._collection.id_kind, self.path)
        self._profile.add(found)
        self._sum += hashes.record_sum(texts, group.column("namespace"), group.column("_vh"), group.column("_mh"))
        self._ids.extend(ids.bounds(texts.to_pylist(), self._collection.id_kind))
        table = pa.Table.from_batches([group]).replace_schema_metadata({FOOTER_KEY: footer_text(self._collection)})
        self._writer.write_table(table, row_group_size=len(group))
        self._groups.append(len(group))

    def close(self) -> ShardEntry:
        """Write the footer, make the shard durable and visible, and return its manifest entry."""
        self._upload.begin_tail()
        self._writer.close()
        self._upload.commit()
        low, high = ids.bounds(self._ids, self._collection.id_kind) if self._ids else (None, None)
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
        # The writer closes itself when it is collected, and would complain that its file is gone.
        self._sink.deaf = True
        with contextlib.suppress(Exception):
            self._writer.close()
        self._upload.abort()


def _check_page(page: pa.RecordBatch, collection: Collection, where: str) -> None:
    """Raise ``IntegrityError`` unless a page has the collection's schema and its vectors keep the format's rules."""
    expected = page_schema(collection)
    if not page.schema.equals(expected, check_metadata=False):
        raise IntegrityError(
            f"{where}: a page does not fit the described schema", f"its columns are {page.schema.to_string()[:500]}"
        )
    for field in expected:
        if not field.nullable and page.column(field.name).null_count:
            raise IntegrityError(f"{where}: a page has nulls in column {field.name!r}")
    columns = collection.columns()
    for v in collection.vectors:
        column = page.column(columns[v.name])
        check_lengths(column, v, where)
        fault = vector_fault(column, v)
        if fault:
            raise IntegrityError(f"{where}: vector {v.name!r} {fault}")


_FORMS = {"int": ("int",), "position": ("int",), "uuid": ("uuid",), "int|uuid": ("int", "uuid")}


def _check_ids(texts: pa.Array, found: Profile, kind: str, where: str) -> None:
    """Raise ``NotRepresentable`` when an id has another form than the ids of its kind have."""
    forms = _FORMS.get(kind)
    if forms is None or sum(found.ids[f] for f in forms) == found.rows:
        return
    for text in texts.to_pylist():
        try:
            ids.check(text, kind)
        except NotRepresentable as e:
            raise NotRepresentable(
                f"{where}: {e.what}", "the collection, or the passport in it, says that its ids are of that kind",
                "the shard was not written", "if others wrote to what vecport filled: export with --ignore-passport",
            ) from None  # fmt: skip


class _Sink:
    """The file-like face of an upload that pyarrow writes to."""

    def __init__(self, upload: Any) -> None:
        self._upload = upload
        self.closed = False
        self.deaf = False

    def write(self, data: Any) -> int:
        return len(memoryview(data).cast("B")) if self.deaf else int(self._upload.write(data))

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

    @property
    def group_rows(self) -> tuple[int, ...]:
        """Records of each row group."""
        return self._entry.groups

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
        self._footer()

    def _footer(self) -> bytes:
        """The last bytes of the file, once they are those that the manifest says."""
        self.check_size()
        self._limits.check("footer_bytes", self._entry.footer_bytes, self._entry.path)
        tail = self._store.tail(self._entry.path, self._entry.footer_bytes)
        if hashlib.sha256(tail).hexdigest() != self._entry.footer_sha256:
            raise self._bad("has another footer than the manifest says (SHA-256)")
        return tail

    def check_all(self) -> None:
        """Raise unless size and SHA-256 are those of the manifest. Vectors are read only after this."""
        self.check_size()
        if self._store.sha256(self._entry.path) != self._entry.sha256:
            raise self._bad("has another SHA-256 than the manifest says")

    def check_schema(self) -> None:
        """Raise unless the footer is the manifest's and has its schema and row groups, within the limits."""
        self._described()

    def groups(self, first: int = 0) -> Iterator[pa.RecordBatch]:
        """Check the whole file, then yield its row groups from number ``first`` on, one batch each."""
        for _, batch in self.numbered(range(first, len(self._entry.groups))):
            yield batch

    def numbered(self, numbers: Iterable[int]) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Check the whole file, then yield some of its row groups, with their numbers."""
        self.check_all()
        with self._opened() as parquet:
            for number in self._wanted(numbers):
                batch = self._group(parquet, number, group_schema(self._collection).names)
                columns = self._collection.columns()
                for v in self._collection.vectors:
                    check_lengths(batch.column(columns[v.name]), v, self._entry.path)
                yield number, batch

    def columns(self, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Check the footer, then yield some columns row group by row group, page checksums verified."""
        with self._opened() as parquet:
            for number in self._wanted(range(len(self._entry.groups))):
                yield self._group(parquet, number, list(names))

    def _wanted(self, numbers: Iterable[int]) -> Iterable[int]:
        """Which of some row groups are read."""
        return numbers

    def _group(self, parquet: _Parquet, number: int, names: list[str]) -> pa.RecordBatch:
        """Some columns of one row group, in one batch, whose buffers are sound and whose texts are UTF-8."""
        chunks = parquet.layout.groups[number]
        wanted = [c for c in chunks if c.column.partition(".")[0] in names]
        with self._reading(), parquet.file.admitted(wanted):
            table = parquet.reader.read_row_group(number, columns=names, use_threads=False).select(names)
            batches = table.combine_chunks().to_batches()
            del table
            if len(batches) != 1 or batches[0].num_rows != self._entry.groups[number]:
                raise self._bad(f"does not hold the rows of row group {number} that the manifest says")
            batches[0].validate(full=True)
        self._check_texts(batches[0], chunks, number)
        return batches[0]

    def _check_texts(self, batch: pa.RecordBatch, chunks: Sequence[Chunk], number: int) -> None:
        """Bound what the texts become when they are parsed."""
        where = f"{self._entry.path}, row group {number}"
        check_texts(batch, self._limits, where)
        if "metadata" in batch.schema.names:
            parsed = VALUE_BYTES * json_values(batch.column("metadata"))
            self._limits.check_unpacked(parsed, sum(c.size for c in chunks), where)

    def _described(self) -> Layout:
        """What the footer says, once that is the manifest's and within the limits."""
        tail = self._footer()
        with self._reading():
            layout = read_footer(tail, self._limits)
        if not layout.schema.equals(group_schema(self._collection), check_metadata=False):
            raise self._bad("has another schema than the manifest says")
        if not self._same_collection(layout.schema.metadata or {}):
            raise self._bad("says in its footer that it belongs to a collection of another schema")
        if layout.rows != self._entry.groups:
            raise self._bad(
                f"has row groups of {layout.rows[:4]}... rows, the manifest says {self._entry.groups[:4]}..."
            )
        with self._reading():
            layout.check(self._entry.size_bytes - len(tail), self._collection, self._limits, self._entry.path)
        return layout

    @contextlib.contextmanager
    def _opened(self) -> Iterator[_Parquet]:
        """The file, of which nothing is decoded before it was looked at."""
        layout = self._described()
        with self._store.open(self._entry.path) as f:
            file = ChunkFile(f, self._entry.size_bytes, self._limits.pages)
            with self._reading():
                reader = pq.ParquetFile(
                    file_of(file), metadata=layout.meta, page_checksum_verification=True, pre_buffer=False
                )
            yield _Parquet(reader, file, layout)

    def _same_collection(self, metadata: Mapping[bytes, bytes]) -> bool:
        text, own = metadata.get(FOOTER_KEY.encode(), b""), footer_text(self._collection).encode()
        if text == own:
            return True
        if len(text) > _FOOTER_TEXT + 4 * len(own):
            # What others add is not so much; and it is not parsed to find out.
            return False
        try:
            data = strict_json(text, self._entry.path)["collection"]
            other = collection_from_json({**data, "name": ""})
        except (IntegrityError, NotRepresentable, KeyError, TypeError, ValueError, AttributeError):
            return False
        return other.digest() == self._collection.digest() and other.columns() == self._collection.columns()

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        """Tell what is wrong with the bytes from what is wrong with the disk or the network."""
        with self._store.errors(self._entry.path):
            try:
                yield
            except Malformed as e:
                raise self._bad(f"is not a sound Parquet file: {e}") from e
            except OSError as e:
                if e.errno is not None:
                    raise
                raise self._bad(f"is not a readable Parquet file: {e}") from e
            except (ValueError, LookupError, pa.ArrowException) as e:
                raise self._bad(f"is not a readable Parquet file: {e}") from e

    def _bad(self, why: str) -> IntegrityError:
        return IntegrityError(
            f"{self._store.url}: shard {self._entry.path} {why}",
            safe="nothing was taken from this shard",
            next="see what is affected: vecport validate DUMP; then copy the dump again or export again",
        )


@dataclass(frozen=True, slots=True)
class _Parquet:
    """An open shard: the library that decodes it, the file that this reads from, and what its footer says."""

    reader: Any
    file: ChunkFile
    layout: Layout


def footer_collection(f: IO[bytes]) -> dict[str, Any]:
    """The ``collection`` of a shard's footer key, for reading a shard without its manifest."""
    meta = pq.ParquetFile(f).schema_arrow.metadata or {}
    data = json.loads(meta[FOOTER_KEY.encode()])
    return dict(data["collection"])
