"""A shard as a Parquet library sees it: bytes of column chunks whose page headers were looked at, and no others."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Sequence
from typing import IO, Any

import pyarrow as pa

from .pages import Chunk, check_pages
from .thrift import Malformed


class ChunkFile:
    """The face of an open file that gives out admitted chunks alone; each is read from the file once.

    Args:
        file: open for reading.
        size: of the file, in bytes.
        pages: that may be admitted in all.
    """

    def __init__(self, file: IO[bytes], size: int, pages: int) -> None:
        self._file, self._size, self._pages = file, size, pages
        self._at = 0
        self._parts: list[tuple[int, pa.Buffer]] = []
        self.closed = False

    @contextlib.contextmanager
    def admitted(self, chunks: Sequence[Chunk]) -> Iterator[None]:
        """Read chunks and look at their page headers; they can be read while the block runs.

        Raises:
            Malformed: what the pages claim is not what the footer says, or they are too many.
        """
        try:
            for first, last in _runs(chunks):
                self._admit(chunks_between(chunks, first, last), first, last)
            yield
        finally:
            self._parts = []

    def _admit(self, chunks: Sequence[Chunk], first: int, last: int) -> None:
        self._file.seek(first)
        data = self._file.read(last - first)
        if len(data) != last - first:
            raise Malformed("it ends too early")
        whole, view = pa.py_buffer(data), memoryview(data)
        for c in chunks:
            self._pages -= check_pages(c, view[c.start - first : c.start - first + c.size], self._pages)
            self._parts.append((c.start, whole.slice(c.start - first, c.size)))

    def read_buffer(self, size: int = -1) -> pa.Buffer:
        """Some bytes of an admitted chunk, without a copy."""
        for start, part in self._parts:
            within = self._at - start
            if within >= 0 and size >= 0 and within + size <= part.size:
                self._at += size
                return part.slice(within, size)
        raise Malformed("it is read where its footer names no pages")

    def read(self, size: int = -1) -> bytes:
        """As ``read_buffer``."""
        return bytes(self.read_buffer(size).to_pybytes())

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move on."""
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def tell(self) -> int:
        """Where it stands."""
        return self._at

    def close(self) -> None:
        """Leave the file open: it belongs to whoever opened it."""
        self.closed = True

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return True


def _runs(chunks: Sequence[Chunk]) -> Iterator[tuple[int, int]]:
    """Ranges of bytes that chunks take without a gap, so that a row group is one request."""
    ordered = sorted((c.start, c.start + c.size) for c in chunks)
    if not ordered:
        return
    first, last = ordered[0]
    for start, end in ordered[1:]:
        if start != last:
            yield first, last
            first = start
        last = end
    yield first, last


def chunks_between(chunks: Sequence[Chunk], first: int, last: int) -> list[Chunk]:
    """The chunks that lie in a range of bytes."""
    return [c for c in chunks if first <= c.start and c.start + c.size <= last]


def file_of(file: ChunkFile) -> Any:
    """What pyarrow reads from."""
    return pa.PythonFile(file, mode="r")
