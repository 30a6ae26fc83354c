"""Bombs by kind: small dumps that ask for much memory or time, each in one way, openly or against the footer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pyarrow as pa

from vecport.model.collection import Collection, VectorField

from .dumps import COLLECTION, Files, changed, dump, honest, page, with_more, written
from .parquet import (
    BINARY,
    DELTA_LENGTH,
    DELTA_TEXT,
    I32,
    LIST,
    PLAIN,
    RLE,
    RLE_DICTIONARY,
    STRUCT,
    TRUE,
    Column,
    Page,
    data_page,
    decode,
    dictionary_page,
    encode,
    levels,
    texts,
    varint,
    zigzag,
    zstd,
)

ROWS = 64
_MOST = (1 << 31) - 1
Bomb = Callable[[], Files]
BOMBS: dict[str, Bomb] = {}


def bomb(name: str) -> Callable[[Bomb], Bomb]:
    """Put a bomb on the list: its kind, and how it goes about it."""

    def keep(make: Bomb) -> Bomb:
        assert name not in BOMBS
        BOMBS[name] = make
        return make

    return keep


def forged(path: str, pages: list[Page], rows: int = ROWS, collection: Collection = COLLECTION, **claims: Any) -> Files:
    """An honest dump with other pages in one column."""
    file, records = honest(rows, collection)
    column = file.groups[0][1][file.column(0, path)]
    return dump(file.with_column(path, column.with_pages(pages, **claims)), [records], collection)


def optional(rows: int) -> bytes:
    """Levels of a column that may be null, and is not."""
    return levels([(rows, 1)])


# ---- long texts


def _long(column: str, text: bytes, lead: bytes = b"") -> list[Page]:
    """A page for each row, with the same text of many bytes and few when compressed."""
    return [data_page(1, lead + texts([text]))] * ROWS


_TEXTS = {
    "documents": ("document", b"x" * (40 << 20), optional(1)),
    "metadata": ("metadata", b'{"a":"' + b"x" * (15 << 20) + b'"}', b""),
    "ids": ("id", b"x" * (40 << 20), b""),
    "namespaces": ("namespace", b"x" * (40 << 20), b""),
}
for _kind, (_column, _text, _lead) in _TEXTS.items():
    bomb(f"{_kind}/claimed")(lambda c=_column, t=_text, v=_lead: forged(c, _long(c, t, v)))
    bomb(f"{_kind}/hidden")(lambda c=_column, t=_text, v=_lead: forged(c, _long(c, t, v), unpacked=10_000))
    bomb(f"{_kind}/lied")(
        lambda c=_column, v=_lead: forged(c, [data_page(ROWS, v + texts([b""] * ROWS), unpacked=_MOST)], unpacked=9_999)
    )


def _metadata(text: str, rows: int = 1) -> Files:
    """Records with one metadata text, whose hashes are right."""
    made = page(rows, metadata=pa.array([text] * rows, pa.string()))
    plain = page(rows)
    return dump(written([made]), [plain])


bomb("metadata/values")(lambda: _metadata('{"a":[' + ",".join(["[]"] * 5_000_000) + "]}"))
bomb("metadata/keys")(lambda: _metadata("{" + ",".join(f'"{i:07d}":1' for i in range(1_300_000)) + "}"))
bomb("metadata/many")(lambda: _metadata('{"a":[' + ",".join(["1"] * 100_000) + "]}", 300))


# ---- depth and digits

for _depth in (129, 600, 5_000, 7_000_000):
    bomb(f"nesting/lists-{_depth}")(lambda n=_depth: _metadata('{"a":' + "[" * (n - 1) + "]" * (n - 1) + "}"))
bomb("nesting/objects")(lambda: _metadata('{"a":' * 100_000 + "1" + "}" * 100_000))
bomb("nesting/tags")(lambda: _metadata('{"$vp":{"object":[["a",' * 2_000 + "1" + "]]}}" * 2_000))
for _digits in (20_000, 1_000_000, 15_000_000):
    bomb(f"digits/integer-{_digits}")(lambda n=_digits: _metadata('{"a":' + "9" * n + "}"))
bomb("digits/float")(lambda: _metadata('{"a":0.' + "9" * 1_000_000 + "}"))
bomb("digits/many")(lambda: _metadata('{"a":' + "9" * 4_000 + "}", 10_000))


# ---- lists


def _vector(values: int, runs: list[tuple[int, int]], body: bytes = b"") -> Page:
    """A page of a nullable dense vector: repetition and definition levels by runs, and values."""
    starts, depths = [(count, level >> 4) for count, level in runs], [(count, level & 15) for count, level in runs]
    return data_page(values, levels(starts) + levels(depths) + body, encoding=PLAIN)


_PATH = "vector.list.element"
bomb("lists/claimed")(lambda: forged(_PATH, [_vector(_MOST, [(1, 2), (_MOST - 1, 18)])], values=_MOST))
bomb("lists/hidden")(lambda: forged(_PATH, [_vector(_MOST, [(1, 2), (_MOST - 1, 18)])], values=4 * ROWS))
bomb("lists/levels")(lambda: forged(_PATH, [_vector(4 * ROWS, [(1, 2), (500_000_000, 18)])]))
bomb("lists/sum")(lambda: forged(_PATH, [_vector(1 << 26, [(1 << 26, 18)])] * 64, values=64 << 26))

_MULTI = Collection("docs", vectors=(VectorField("", kind="multi", dim=4, metric="max_sim"),))
_SPARSE = Collection("docs", vectors=(VectorField("", kind="sparse", metric="dot"),))
bomb("lists/multi")(
    lambda: forged(
        "vector.list.element.list.element",
        [data_page(1 << 27, levels([(1, 0), ((1 << 27) - 1, 1)]) + levels([(1 << 27, 2)]))], collection=_MULTI,
    )
)  # fmt: skip
bomb("lists/sparse")(
    lambda: forged(
        "vector.indices.list.element", [data_page(1 << 27, levels([(1, 0), ((1 << 27) - 1, 1)]) + levels([(1 << 27, 2)])
                                                  + varint(1 << 30) + varint(1) + varint(1 << 27) + zigzag(0)
                                                  + zigzag(1) + b"\0", encoding=5)], collection=_SPARSE,
    )
)  # fmt: skip


# ---- nulls

bomb("nulls/claimed")(lambda: forged("document", [data_page(_MOST, levels([(_MOST, 0)]))]))
bomb("nulls/hidden")(lambda: forged("document", [data_page(_MOST, levels([(_MOST, 0)]))], values=ROWS))
bomb("nulls/levels")(lambda: forged("document", [data_page(ROWS, levels([(_MOST >> 1, 0)]))]))


@bomb("nulls/rows")
def _null_rows() -> Files:
    """Four million records without anything, in a few kilobytes."""
    rows = 4_000_000
    one, records = honest(1)
    file = one
    for path, body in (
        ("id", bytes(4 * rows)), ("namespace", bytes(4 * rows)), ("metadata", texts([b"{}"]) * rows),
        ("document", levels([(rows, 0)])), (_PATH, levels([(rows, 0)]) + levels([(rows, 0)])),
        ("_vh", bytes(8 * rows)), ("_mh", bytes(8 * rows)),
    ):  # fmt: skip
        column = file.groups[0][1][file.column(0, path)]
        chunk = {**column.chunk, 3: (STRUCT, column.meta | {4: (I32, 6)})}
        file = file.with_column(path, Column(chunk, []).with_pages([data_page(rows, body)]))
    file = replace(file, groups=[(rows, file.groups[0][1])])
    data, _ = file.to_bytes()
    profile = replace(_profile(records), rows=rows)
    return dump(data, [records], rows=rows, groups=(rows,), profile=profile)


def _profile(records: pa.RecordBatch) -> Any:
    from vecport.model.profile import profile_page

    return profile_page(records, COLLECTION)


# ---- dictionaries and other encodings that repeat


@bomb("dictionary/declared")
def _declared() -> Files:
    text = pa.array(['{"a":"' + "x" * 100_000 + '"}'] * 2_000, pa.string())
    made = page(2_000, metadata=text)
    data = written([made], use_dictionary=["metadata"], column_encoding=None, data_page_size=64 << 20)
    return dump(data, [page(2_000)])


def _indices(rows: int) -> bytes:
    """Indices into a dictionary of one value."""
    return bytes([1]) + varint(rows << 1) + bytes([0])


for _kind, (_column, _text, _lead) in _TEXTS.items():
    bomb(f"dictionary/hidden-{_column}")(
        lambda c=_column, t=_text, v=_lead: forged(
            c, [dictionary_page(1, texts([t])),
                data_page(ROWS, (optional(ROWS) if v else b"") + _indices(ROWS), encoding=RLE_DICTIONARY)],
            unpacked=80 << 20, encodings=[PLAIN, RLE],
        )
    )  # fmt: skip
bomb("dictionary/numbers")(
    lambda: forged(_PATH, [dictionary_page(_MOST, bytes(16)), data_page(4 * ROWS, b"", encoding=RLE_DICTIONARY)])
)
bomb("dictionary/lied")(
    lambda: forged(_PATH, [Page(dictionary_page(1, bytes(16)).header | {2: (I32, _MOST)}, zstd(bytes(16))),
                           data_page(4 * ROWS, b"", encoding=RLE_DICTIONARY)], unpacked=9_999)
)  # fmt: skip


def _deltas(count: int, step: int = 0, first: int = 0) -> bytes:
    """DELTA_BINARY_PACKED: numbers that rise by one step, in some bytes."""
    block = -(-count // 128) * 128
    return varint(block) + varint(1) + varint(count) + zigzag(first) + zigzag(step) + b"\0"


bomb("encodings/lengths")(
    lambda: forged("document", [data_page(ROWS, optional(ROWS) + _deltas(_MOST), encoding=DELTA_LENGTH)],
                   encodings=[PLAIN, RLE])
)  # fmt: skip
bomb("encodings/prefixes")(
    lambda: forged(
        "document",
        [data_page(ROWS, optional(ROWS) + _deltas(ROWS, first=0) + _deltas(ROWS, 0, 1 << 24) + b"x" * (1 << 24),
                   encoding=DELTA_TEXT)], encodings=[PLAIN, RLE],
    )
)  # fmt: skip
bomb("encodings/declared")(
    lambda: forged("document", [data_page(ROWS, optional(ROWS) + _deltas(_MOST), encoding=DELTA_LENGTH)],
                   encodings=[DELTA_LENGTH, RLE])
)  # fmt: skip


# ---- pages

bomb("pages/empty")(
    lambda: forged("document", [*[data_page(0, b"")] * 200_000, data_page(ROWS, levels([(ROWS, 0)]))], unpacked=1 << 20)
)
bomb("pages/tiny")(lambda: _tiny(100_000))
bomb("pages/long-header")(
    lambda: forged("document", [Page(data_page(ROWS, levels([(ROWS, 0)])).header | {9: (STRUCT, _fields(3_000_000))},
                                     zstd(levels([(ROWS, 0)])))], unpacked=1 << 20)
)  # fmt: skip
bomb("pages/packed")(lambda: forged("document", [_stretched()], unpacked=1 << 20))


def _tiny(rows: int) -> Files:
    """A page for each row."""
    file, records = honest(rows)
    column = file.groups[0][1][file.column(0, "document")]
    return dump(file.with_column("document", column.with_pages([data_page(1, levels([(1, 0)]))] * rows)), [records])


def _fields(count: int) -> bytes:
    """A structure of so many lists of nothing, as bytes."""
    return encode({1: (LIST, (STRUCT, (count, b"\0" * count)))})


def _stretched() -> Page:
    """A page whose header says that its bytes become 2 GiB."""
    body = levels([(ROWS, 0)])
    found = data_page(ROWS, body, unpacked=_MOST)
    return Page(found.header, found.body)


# ---- row groups and footers


def _claims(items: tuple[int, bytes]) -> Files:
    file, records = honest()
    return dump(replace(file, claims=(STRUCT, items)), [records])


bomb("groups/claimed")(lambda: _claims(((1 << 24) - 1, b"\0" * 54_000)))
bomb("groups/empty")(lambda: _claims((4_000_000, b"\0" * 4_000_000)))
bomb("groups/columns")(lambda: _claims((1, encode({1: (LIST, (STRUCT, ((1 << 24) - 1, b"\0" * 54_000)))}))))


@bomb("groups/shared")
def _shared() -> Files:
    """Row groups that all are the same bytes of the file."""
    file, records = honest(1_000, documents=pa.array(["x" * 20_000] * 1_000))
    times = 2_000
    data, _ = replace(file, shared=times).to_bytes()
    profile = replace(_profile(records), rows=1_000 * times)
    return dump(data, [records], rows=1_000 * times, groups=(1_000,) * times, profile=profile)


@bomb("groups/many")
def _many() -> Files:
    """Row groups of one row, which all are the same bytes of the file."""
    file, records = honest(1)
    data, _ = file.to_bytes()
    times, one = 100_000, encode(decode(data[-8 - int.from_bytes(data[-8:-4], "little") : -8])[0][4][1][1][0])
    data, _ = replace(file, claims=(STRUCT, (times, one * times))).to_bytes()
    return dump(data, [records], rows=times, groups=(1,) * times, profile=replace(_profile(records), rows=times))


def _with_footer(number: int, value: Any) -> Files:
    file, records = honest()
    return dump(replace(file, footer=file.footer | {number: value}), [records])


bomb("footer/schema")(lambda: _with_footer(2, (LIST, (STRUCT, ((1 << 24) - 1, b"\0" * 54_000)))))
bomb("footer/keys")(lambda: _with_footer(5, (LIST, (STRUCT, ((1 << 24) - 1, b"\0" * 54_000)))))
bomb("footer/numbers")(lambda: _with_footer(99, (LIST, (TRUE, (40_000_000, b"\1" * 40_000_000)))))
bomb("footer/deep")(lambda: _with_footer(99, (STRUCT, b"\x1c" * 3_000_000 + b"\0" * 3_000_001)))
bomb("footer/text")(
    lambda: _with_footer(5, (LIST, (STRUCT, [{1: (BINARY, b"vecport"), 2: (BINARY, b"[" * 10 + b"[]," * 10_000_000)}])))
)
bomb("footer/length")(lambda: _with_footer(6, (BINARY, b"x" * 50_000_000)))


# ---- manifests of 45 MB

#: Bombs that stay within the bounds, so that nothing is wrong with them.
HARMLESS = {
    "footer/length",
    "manifest/just-below",
    "manifest/namespaces",
    "manifest/text",
    "nulls/levels",
    "digits/many",
}

_SIZE = 45 << 20


def _more(text: bytes) -> Bomb:
    return lambda: with_more(_good(), text)


def _good() -> Files:
    made = page(ROWS)
    return dump(written([made]), [made])


bomb("manifest/lists")(_more(b"[" + b"[]," * (_SIZE // 3) + b"[]]"))
bomb("manifest/numbers")(_more(b"[" + b"1," * (_SIZE // 2) + b"1]"))
bomb("manifest/text")(_more(b'"' + b"x" * _SIZE + b'"'))
bomb("manifest/keys")(lambda: with_more(_good(), b"{" + b",".join(b'"%032d":1' % i for i in range(_SIZE // 37)) + b"}"))
bomb("manifest/deep")(_more(b"[" * (_SIZE // 2) + b"]" * (_SIZE // 2)))
bomb("manifest/integer")(_more(b"9" * _SIZE))
bomb("manifest/float")(_more(b"0." + b"9" * _SIZE))
bomb("manifest/just-below")(_more(b"[" + b"{}," * 350_000 + b'"' + b"x" * (_SIZE - 2_000_000) + b'"]'))


def _shards(data: Any) -> None:
    one = data["shards"][0]
    data["shards"] = [one | {"path": f"data/part-{i:05d}-00000.parquet"} for i in range(30_000)]


def _namespaces(data: Any) -> None:
    data["shards"][0]["profile"]["namespaces"] = {f"namespace {i:09d}": 1 for i in range(700_000)}


def _fault(data: Any) -> None:
    data["shards"][0]["path"] = "x" * _SIZE


bomb("manifest/shards")(lambda: changed(_good(), _shards))
bomb("manifest/namespaces")(lambda: changed(_good(), _namespaces))
bomb("manifest/fault")(lambda: changed(_good(), _fault))
