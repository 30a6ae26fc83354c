"""Parquet files as trees that can be edited: footers, page headers and pages, put together again with right offsets.

A structure of Thrift is a dict of ``(type, value)`` by field number. Lists are ``(type of items, items)``.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = range(1, 13)
Tree = dict[int, tuple[int, Any]]
DATA, DICTIONARY, DATA_V2 = 0, 2, 3
PLAIN, RLE, DELTA_BINARY_PACKED, DELTA_LENGTH, DELTA_TEXT, RLE_DICTIONARY = 0, 3, 5, 6, 7, 8
ZSTD = 6


# ---- Thrift


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def zigzag(value: int) -> bytes:
    return varint(value << 1 if value >= 0 else (-value << 1) - 1)


def encode(tree: Tree) -> bytes:
    out, before = bytearray(), 0
    for number, (kind, value) in sorted(tree.items()):
        step = number - before
        out += bytes([step << 4 | kind]) if 0 < step < 16 else bytes([kind]) + zigzag(number)
        out += b"" if kind in (TRUE, FALSE) else _value(kind, value)
        before = number
    return bytes(out) + b"\0"


def _value(kind: int, value: Any) -> bytes:
    if kind in (I16, I32, I64):
        return zigzag(value)
    if kind == BINARY:
        return varint(len(value)) + value
    if kind == STRUCT:
        return value if isinstance(value, bytes) else encode(value)
    if kind == LIST:
        item, items = value
        # A list may be given as raw bytes behind a length that is not its own.
        size, body = items if isinstance(items, tuple) else (len(items), b"".join(_value(item, v) for v in items))
        return (bytes([size << 4 | item]) if size < 15 else bytes([240 | item]) + varint(size)) + body
    if kind in (TRUE, FALSE, BYTE):
        return bytes([value])
    assert kind == DOUBLE
    return bytes(value)


@dataclass
class _Bytes:
    data: bytes
    at: int = 0

    def byte(self) -> int:
        self.at += 1
        return self.data[self.at - 1]

    def varint(self) -> int:
        value = shift = 0
        while (byte := self.byte()) > 127:
            value |= (byte & 127) << shift
            shift += 7
        return value | byte << shift

    def zigzag(self) -> int:
        raw = self.varint()
        return raw >> 1 ^ -(raw & 1)

    def take(self, size: int) -> bytes:
        self.at += size
        return self.data[self.at - size : self.at]

    def struct(self) -> Tree:
        tree: Tree = {}
        number = 0
        while head := self.byte():
            number = number + (head >> 4) if head >> 4 else self.zigzag()
            kind = head & 15
            tree[number] = kind, None if kind in (TRUE, FALSE) else self.value(kind)
        return tree

    def value(self, kind: int) -> Any:
        if kind in (I16, I32, I64):
            return self.zigzag()
        if kind == BINARY:
            return self.take(self.varint())
        if kind == STRUCT:
            return self.struct()
        if kind == LIST:
            head = self.byte()
            size = head >> 4 if head < 240 else self.varint()
            return head & 15, [self.value(head & 15) for _ in range(size)]
        if kind in (TRUE, FALSE, BYTE):
            return self.byte()
        assert kind == DOUBLE
        return self.take(8)


def decode(data: bytes, at: int = 0) -> tuple[Tree, int]:
    """A structure, and where it ends."""
    reader = _Bytes(data, at)
    return reader.struct(), reader.at


# ---- pages


@dataclass
class Page:
    """A page header as a tree, and the bytes behind it."""

    header: Tree
    body: bytes

    def to_bytes(self) -> bytes:
        return encode(self.header) + self.body


def data_page(
    values: int, body: bytes, *, encoding: int = PLAIN, unpacked: int | None = None, packed: bytes | None = None
) -> Page:
    """A data page of version 1, with its CRC.

    Args:
        values: that the header claims.
        body: levels and values.
        encoding: of the values.
        unpacked: bytes that the header claims; None for those of the body.
        packed: the compressed body, where it is not what a compressor makes of the body.
    """
    stored = zstd(body) if packed is None else packed
    header = {1: (I32, values), 2: (I32, encoding), 3: (I32, RLE), 4: (I32, RLE)}
    return Page(_header(DATA, len(body) if unpacked is None else unpacked, stored) | {5: (STRUCT, header)}, stored)


def dictionary_page(values: int, body: bytes) -> Page:
    stored = zstd(body)
    header = {1: (I32, values), 2: (I32, PLAIN)}
    return Page(_header(DICTIONARY, len(body), stored) | {7: (STRUCT, header)}, stored)


def _header(kind: int, unpacked: int, stored: bytes) -> Tree:
    crc = zlib.crc32(stored)
    return {1: (I32, kind), 2: (I32, unpacked), 3: (I32, len(stored)), 4: (I32, crc - (crc >> 31 << 32))}


def zstd(body: bytes, level: int = 3) -> bytes:
    return bytes(pa.Codec("zstd", level).compress(body, asbytes=True))


def texts(values: Sequence[bytes]) -> bytes:
    """Texts as they stand in a page, PLAIN."""
    return b"".join(len(v).to_bytes(4, "little") + v for v in values)


def levels(runs: Sequence[tuple[int, int]]) -> bytes:
    """Levels of a page of version 1: (count, level) each, run by run."""
    body = b"".join(varint(count << 1) + bytes([level]) for count, level in runs)
    return len(body).to_bytes(4, "little") + body


# ---- files


@dataclass
class Column:
    """A column chunk: its structure in the footer, and its pages."""

    chunk: Tree
    pages: list[Page]

    @property
    def meta(self) -> Tree:
        return dict(self.chunk[3][1])

    @property
    def path(self) -> str:
        return b".".join(self.meta[3][1][1]).decode()

    def with_pages(self, pages: list[Page], *, values: int | None = None, unpacked: int | None = None,
                   encodings: Sequence[int] | None = None, **more: Any) -> Column:  # fmt: skip
        """The same with other pages, and with what the footer says of them; None for what is so."""
        meta = self.meta
        counted = sum(p.header[5][1][1][1] for p in pages if 5 in p.header)
        sizes = {id(p): len(encode(p.header)) + p.header[2][1] for p in {id(p): p for p in pages}.values()}
        size = sum(sizes[id(p)] for p in pages)
        meta[5] = I64, counted if values is None else values
        meta[6] = I64, size if unpacked is None else unpacked
        if encodings is not None:
            meta[2] = LIST, (I32, list(encodings))
        for gone in (8, 12, 13):
            meta.pop(gone, None)
        return Column({**self.chunk, 3: (STRUCT, meta)}, pages)


@dataclass
class File:
    """A Parquet file: its footer without row groups, and the columns of each row group.

    Attributes:
        footer: FileMetaData; its list of row groups is made anew.
        groups: (rows, columns) each.
        claims: what the footer says in the place of the row groups; None for those that are there.
        shared: row groups are written once and named so often.
    """

    footer: Tree
    groups: list[tuple[int, list[Column]]]
    claims: tuple[int, Any] | None = None
    shared: int = 1

    def column(self, group: int, path: str) -> int:
        return next(i for i, c in enumerate(self.groups[group][1]) if c.path == path)

    def with_column(self, path: str, column: Column, group: int = 0) -> File:
        groups = [(rows, list(columns)) for rows, columns in self.groups]
        groups[group][1][self.column(group, path)] = column
        return replace(self, groups=groups)

    def to_bytes(self) -> tuple[bytes, bytes]:
        """The file, and its last bytes: the footer."""
        out, made = bytearray(b"PAR1"), []
        for rows, columns in self.groups:
            made.append(_placed(out, rows, columns))
        footer = dict(self.footer)
        footer[3] = I64, sum(rows for rows, _ in self.groups) * self.shared
        footer[4] = LIST, (STRUCT, made * self.shared) if self.claims is None else self.claims
        body = encode(footer)
        tail = body + len(body).to_bytes(4, "little") + b"PAR1"
        return bytes(out) + tail, tail


def _placed(out: bytearray, rows: int, columns: list[Column]) -> Tree:
    """Write the pages of a row group; returns its structure."""
    made: list[Tree] = []
    size = 0
    for column in columns:
        start = len(out)
        meta = column.meta
        first = next((i for i, p in enumerate(column.pages) if p.header[1][1] != DICTIONARY), 0)
        made_pages = {id(p): p.to_bytes() for p in {id(p): p for p in column.pages}.values()}
        for i, page in enumerate(column.pages):
            if i == first:
                meta[9] = I64, len(out)
            out += made_pages[id(page)]
        # A dictionary that is not declared stands where data pages begin.
        meta[11 if 11 in meta else 9] = I64, start
        meta[7] = I64, len(out) - start
        size += meta[6][1]
        made.append({**column.chunk, 3: (STRUCT, meta)})
    return {1: (LIST, (STRUCT, made)), 2: (I64, size), 3: (I64, rows)}


def parse(data: bytes) -> File:
    """Take an honest file apart."""
    size = int.from_bytes(data[-8:-4], "little")
    footer, _ = decode(data[-8 - size : -8])
    groups = []
    for group in footer[4][1][1]:
        columns = [Column(chunk, _pages(data, chunk[3][1])) for chunk in group[1][1][1]]
        groups.append((group[3][1], columns))
    return File(footer, groups)


def _pages(data: bytes, meta: Tree) -> list[Page]:
    at = min(meta[n][1] for n in (9, 11) if n in meta)
    end, pages = at + meta[7][1], []
    while at < end:
        header, body = decode(data, at)
        at = body + header[3][1]
        pages.append(Page(header, data[body:at]))
    return pages
