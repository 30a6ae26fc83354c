"""Bad dumps: each breaks one rule of the format and nothing else."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from vecport.dump.layout import FORMAT, MANIFEST, REJECTS, shard_path
from vecport.dump.shard import FOOTER_KEY, footer_text
from vecport.model import hashes
from vecport.model.batch import group_schema, page_schema
from vecport.model.collection import Collection, VectorField
from vecport.model.profile import Profile, profile_page
from vecport.testing.records import Record, Sparse, ragged_batch

from .parts import (
    Dump,
    Expected,
    Json,
    body_of,
    changed,
    edited,
    entry_of,
    forged,
    forged_shard,
    hashed,
    make_manifest,
    with_checksum,
)

SHARD = shard_path(0, 0)
BASE = Collection("docs", vectors=(VectorField("", dim=2, metric="cosine", nullable=False),))
RECORDS = [
    Record("a", {"": np.array([1, 0], np.float32)}, {"color": "red"}, "A text."),
    Record("b", {"": np.array([0, 1], np.float32)}, {"color": "blue"}),
]
REFUSED, LATER = ("IntegrityError", 13), ("NotRepresentable", 14)


def bad_dumps() -> list[Dump]:
    """All of them, in order of their names."""
    made = [
        *_files(),
        *_rejects(),
        *_manifest_bytes(),
        *_manifest_values(),
        *_paths(),
        *_schemas(),
        *_records(),
        *_bombs(),
    ]
    return sorted(made, key=lambda d: d.name)


def base_group() -> pa.RecordBatch:
    return hashed(RECORDS, BASE)


def base_files() -> dict[str, bytes]:
    return forged(BASE, [base_group()])


def dump(name: str, about: str, files: dict[str, bytes], *rules: str, names: str = SHARD) -> Dump:
    """A dump whose manifest is good and that does not validate."""
    return Dump(name, about, files, expected=Expected(rules=rules, names=names))


def refused(name: str, about: str, raw: bytes, names: str = "", error: tuple[str, int] = REFUSED) -> Dump:
    """A dump whose manifest is refused, before anybody looks for its shards; so it has none."""
    return Dump(name, about, {MANIFEST: raw}, expected=Expected(*error, names=names))


# ---- files


def _files() -> Iterator[Dump]:
    files = base_files()
    data, raw = files[SHARD], files[MANIFEST]
    gone = {k: v for k, v in files.items() if k != MANIFEST}
    yield Dump("manifest-missing", "No manifest: not a dump.", gone, expected=Expected("NotFound", 10, ()))
    yield dump("shard-missing", "A shard that the manifest names is not there.", {MANIFEST: raw}, "shard-sha256")
    yield dump("shard-torn", "The first half of a shard.", files | {SHARD: data[: len(data) // 2]}, "shard-sha256")
    yield dump("shard-longer", "One byte behind a shard.", files | {SHARD: data + b"\0"}, "shard-sha256")
    yield dump("shard-empty", "A shard of no bytes.", files | {SHARD: b""}, "shard-sha256")
    flipped = bytearray(data)
    flipped[data.index(b"PAR1") + 40] ^= 4
    yield dump("shard-flipped-bit", "One bit of a page is another.", files | {SHARD: bytes(flipped)}, "shard-sha256")
    extra = shard_path(0, 1)
    yield dump("shard-extra", "A shard that the manifest does not name.", files | {extra: data}, "files", names=extra)
    yield dump("file-foreign", "A file that belongs to no dump.", files | {"notes.txt": b"hello\n"}, "files",
               names="notes.txt")  # fmt: skip
    text = b"this is no Parquet file\n"
    group = base_group()
    entry = dataclasses.replace(entry_of(data, [group], BASE), **_bytes_of(text))
    yield dump("shard-not-parquet", "A text file with the right checksum.",
               {SHARD: text, MANIFEST: make_manifest(BASE, [entry]).to_bytes()}, "shard-schema")  # fmt: skip
    broken = bytearray(data)
    broken[40] ^= 255
    entry = dataclasses.replace(entry_of(data, [group], BASE), sha256=hashlib.sha256(broken).hexdigest())
    yield dump("page-damaged", "A page that does not fit its own checksum, in a file that fits the manifest's.",
               {SHARD: bytes(broken), MANIFEST: make_manifest(BASE, [entry]).to_bytes()}, "records")  # fmt: skip


def _rejects() -> Iterator[Dump]:
    """Files of rejects that are not what the manifest says, and manifests that say two things of them."""
    raw = b'{"id":"c","namespace":"","reason":"its vector is lost"}\n'
    file = {"path": REJECTS, "rows": 1, "bytes": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}

    def made(rejected: int | None, named: Json | None) -> dict[str, bytes]:
        counted = {} if rejected is None else {"rejected": rejected}
        source = {"system": "corpus", "consistency": {"kind": "snapshot", **counted}}
        manifest = {"source": source if named is None else {**source, "rejects": named}, "complete": False}
        return forged(BASE, [base_group()], manifest=manifest)

    there = {REJECTS: raw}
    for name, about, files in (
        ("missing", "The file of rejects is not there.", made(1, file)),
        ("other", "The file of rejects names another record.", made(1, file) | {REJECTS: raw.replace(b'"c"', b'"d"')}),
        ("longer", "One byte behind the file of rejects.", made(1, file) | {REJECTS: raw + b"\n"}),
        ("unnamed", "A file of rejects that the manifest does not name.", made(None, None) | there),
        ("uncounted", "A file of rejects, and no count of them.", made(None, file) | there),
        ("only-counted", "A count of rejects, and no file of them.", made(1, None)),
        ("other-count", "Two rejects are counted, and one is in the file.", made(2, file) | there),
    ):
        yield dump(f"rejects-{name}", about, files, "files", names=REJECTS)


def _bytes_of(data: bytes) -> Json:
    digest = hashlib.sha256(data).hexdigest()
    return {"size_bytes": len(data), "sha256": digest, "footer_bytes": len(data), "footer_sha256": digest}


def _footer(data: bytes) -> int:
    return 8 + int.from_bytes(data[-8:-4], "little")


# ---- the manifest's bytes


def _manifest_bytes() -> Iterator[Dump]:
    raw = base_files()[MANIFEST]
    body = body_of(raw)
    yield refused("manifest-empty", "No bytes.", b"")
    yield refused("manifest-truncated", "Its first half.", raw[: len(raw) // 2])
    yield refused("manifest-changed", "A byte is another; the checksum is as it was.", raw.replace(b"docs", b"dogs", 1))
    yield refused("manifest-without-checksum", "It ends like other JSON.", body + b"\n}\n")
    yield refused("manifest-with-more", "A newline behind its end.", raw + b"\n")
    yield refused("manifest-other-spacing", "The same data, laid out otherwise.", _spaced(raw))
    yield refused("manifest-upper-case", "The checksum in capitals.", raw[:-80] + raw[-80:].upper())
    yield refused("manifest-bom", "A byte order mark.", with_checksum(b"\xef\xbb\xbf" + body))
    yield refused("manifest-latin1", "Not UTF-8.", with_checksum(body.replace(b"docs", b"d\xf6cs", 1)))
    yield refused("manifest-not-json", "A comma too many.", with_checksum(body + b","))
    yield refused("manifest-array", "An array.", with_checksum(b"[" + body + b"\n}]")[:-2] + b"\n")
    twice = edited(raw, '"complete": true', '"complete": true,\n "complete": true')
    yield refused("manifest-key-twice", "A key stands twice, with the same value.", twice)
    twice = edited(raw, '"limit": null', '"limit": null, "limit": 1')
    yield refused("manifest-key-twice-deep", "A key stands twice, deep within.", twice)
    for name, token in (("nan", "NaN"), ("infinity", "-Infinity"), ("overflow", "1e999")):
        yield refused(f"manifest-{name}", f"{token} for a number.", edited(raw, '"limit": null', f'"limit": {token}'))
    deep = "[" * 200 + "]" * 200
    yield refused("manifest-deep", "Arrays 200 deep.", edited(raw, '"native": {}', f'"native": {{"a": {deep}}}'),
                  "json_depth")  # fmt: skip


def _spaced(raw: bytes) -> bytes:
    return json.dumps(json.loads(raw), indent=2).encode() + b"\n"


# ---- the manifest's values


def _manifest_values() -> Iterator[Dump]:
    raw = base_files()[MANIFEST]
    vector = ["collection", "vectors", 0]
    shard = ["shards", 0]
    for name, about, path, value, names in (
        ("format-other", "Another format.", ["format"], "other", FORMAT),
        ("version-none", "A version that is no text.", ["format_version"], 1, ""),
        ("version-odd", "A version of one number.", ["format_version"], "1", ""),
        ("requires-text", "A text where a list of texts stands.", ["requires"], "", ""),
        ("identity-other-sum", "The identity does not follow from the shards: its sum.", ["identity", "record_sum"],
         "0" * 32, "identity"),
        ("identity-other-rows", "The identity does not follow from the shards: its rows.", ["identity", "rows"], 3,
         "identity"),
        ("schema-digest-other", "The schema digest is not that of the collection.", ["identity", "schema_digest"],
         "0" * 64, "identity"),
        ("totals-other", "The totals do not follow from the shards.", ["totals", "rows"], 3, "totals"),
        ("groups-do-not-add-up", "Row groups of three rows in a shard of two.", [*shard, "groups"], [1, 2], SHARD),
        ("group-of-no-rows", "A row group of no rows.", [*shard, "groups"], [2, 0], SHARD),
        ("profile-other-rows", "A profile of more rows than the shard has.", [*shard, "profile", "rows"], 3, SHARD),
        ("profile-text", "A text for a count.", [*shard, "profile", "ids", "string"], "2", ""),
        ("bounds-missing", "A shard with rows and no bounds of its ids.", [*shard, "id_min"], None, SHARD),
        ("footer-too-long", "A footer longer than its file.", [*shard, "footer_bytes"], 1 << 40, SHARD),
        ("rows-negative", "A negative number of rows.", [*shard, "rows"], -2, "-2"),
        ("rows-float", "A number of rows with a fraction.", [*shard, "rows"], 2.0, "2.0"),
        ("sha256-short", "A SHA-256 of 63 digits.", [*shard, "sha256"], "0" * 63, ""),
        ("consistency-unknown", "A kind of consistency that is not known.", ["source", "consistency", "kind"], "fine",
         "consistency"),
        ("complete-text", "A text for true or false.", ["complete"], "true", "true"),
        ("field-missing", "No list of shards.", ["shards"], None, ""),
        ("dim-zero", "No dimensions.", [*vector, "dim"], 0, "0"),
        ("dim-text", "A text for the number of dimensions.", [*vector, "dim"], "2", ""),
        ("dim-above-limit", "More dimensions than the limit.", [*vector, "dim"], 65_537, "--max dim=65537"),
        ("column-other", "A vector's column is not that of its name.", [*vector, "column"], "embedding", "embedding"),
    ):  # fmt: skip
        yield refused(name, about, changed(raw, path, value), names)
    for name, about, path, value, names in (
        ("version-later-major", "Format 2.0.", ["format_version"], "2.0", "2.0"),
        ("requires-unknown", "It requires a feature that is not known.", ["requires"], ["delta"], "delta"),
        ("kind-unknown", "A kind of vector that is not known.", [*vector, "kind"], "ternary", "ternary"),
        ("dtype-unknown", "An element type that is not known.", [*vector, "dtype"], "float8", "float8"),
        ("metric-unknown", "A metric that is not known.", [*vector, "metric"], "haversine", "haversine"),
        ("id-kind-unknown", "A kind of ids that is not known.", ["collection", "id", "kind"], "ulid", "ulid"),
        ("sparse-with-dim", "A sparse vector with dimensions.", [*vector, "kind"], "sparse", "sparse"),
    ):
        yield refused(name, about, changed(raw, path, value), names, LATER)
    yield from _two_entries()


def _two_entries() -> Iterator[Dump]:
    group = base_group()
    data = forged_shard([group], BASE)
    first, second = entry_of(data, [group], BASE), entry_of(data, [group], BASE, (0, 1))
    for name, about, entries in (
        ("shard-twice", "One shard named twice.", [first, first]),
        ("shards-out-of-order", "Shards not in order of their numbers.", [second, first]),
    ):
        yield refused(name, about, make_manifest(BASE, entries).to_bytes(), shard_path(0, 0))


def _paths() -> Iterator[Dump]:
    raw = base_files()[MANIFEST]
    for name, path in (
        ("parent", "data/../../part-00000-00000.parquet"),
        ("parent-first", "../data/part-00000-00000.parquet"),
        ("absolute", "/data/part-00000-00000.parquet"),
        ("elsewhere", "/etc/passwd"),
        ("url", "file:///data/part-00000-00000.parquet"),
        ("chained", "simplecache::data/part-00000-00000.parquet"),
        ("backslash", "data\\part-00000-00000.parquet"),
        ("dot", "./data/part-00000-00000.parquet"),
        ("glob", "data/part-0000[0]-00000.parquet"),
        ("star", "data/*.parquet"),
        ("newline", "data/part-00000-00000.parquet\n"),
        ("nul", "data/part-00000-00000.parquet\0"),
        ("short", "data/part-0-0.parquet"),
        ("long", "data/part-000000-00000.parquet"),
        ("other-digits", "data/part-0000\u0660-00000.parquet"),
    ):
        made = changed(raw, ["shards", 0, "path"], path)
        yield refused(f"path-{name}", f"A shard named {path!r}.", made, "part-" if "part-" in path else "")


# ---- schemas of shards


def _schemas() -> Iterator[Dump]:
    group, schema = base_group(), group_schema(BASE)
    metadata = schema.metadata or {}
    place = schema.get_field_index("vector")
    for name, about, other in (
        ("column-missing", "A shard without the column of its documents.", schema.remove(2)),
        ("column-more", "A shard with a column that the format does not know.",
         schema.append(pa.field("m_color", pa.string()))),
        ("column-order", "A shard with its columns in another order.", schema.remove(2).append(schema.field(2))),
        ("vector-fixed-size", "A vector of a fixed-size list.",
         schema.set(place, pa.field("vector", pa.list_(pa.float32(), 2)))),
        ("vector-double", "A vector of doubles where floats are said.",
         schema.set(place, pa.field("vector", pa.list_(pa.field("element", pa.float64(), nullable=False))))),
        ("vector-null-elements", "A vector whose elements may be null.",
         schema.set(place, pa.field("vector", pa.list_(pa.field("element", pa.float32()))))),
        ("id-nullable", "Ids that may be null.", schema.set(0, pa.field("id", pa.string()))),
    ):  # fmt: skip
        made = other.with_metadata(_footer_key(BASE) | metadata)
        data = _file([_as(group, made)], made)
        files = {SHARD: data, MANIFEST: make_manifest(BASE, [entry_of(data, [group], BASE)]).to_bytes()}
        yield dump(f"schema-{name}", about, files, "shard-schema")
    other = dataclasses.replace(BASE, vectors=(dataclasses.replace(BASE.vectors[0], metric="l2"),))
    yield dump("footer-other-collection", "A shard whose footer says another metric.",
               forged(BASE, [group], written_as=other), "shard-schema")  # fmt: skip
    data = _file([group], schema)
    entry = entry_of(data, [group], BASE)
    yield dump("footer-without-key", "A shard without the key 'vecport' in its footer.",
               {SHARD: data, MANIFEST: make_manifest(BASE, [entry]).to_bytes()}, "shard-schema")  # fmt: skip
    yield dump("footer-other-length", "The manifest counts one byte too many to the footer.",
               _longer_footer(group), "shard-schema")  # fmt: skip
    yield dump("groups-other", "One row group in the shard, two in the manifest.",
               forged(BASE, [group], entry={"groups": (1, 1)}), "shard-schema")  # fmt: skip


def _longer_footer(group: pa.RecordBatch) -> dict[str, bytes]:
    data = forged_shard([group], BASE)
    tail = data[-_footer(data) - 1 :]
    wrong = _bytes_of(tail)
    return forged(BASE, [group], data=data, entry={k: wrong[k] for k in ("footer_bytes", "footer_sha256")})


def _footer_key(collection: Collection) -> dict[bytes, bytes]:
    return {FOOTER_KEY.encode(): footer_text(collection).encode()}


def _as(group: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """A group in another schema; a column that it lacks is null."""
    arrays = [
        group.column(f.name).cast(f.type) if f.name in group.schema.names else pa.nulls(len(group), f.type)
        for f in schema
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _file(groups: Sequence[pa.RecordBatch], schema: pa.Schema, **settings: Any) -> bytes:
    plain = {"use_dictionary": False, "column_encoding": None, "compression": "ZSTD", "compression_level": None}
    return forged_shard(groups, BASE, schema=schema, **plain | settings)


# ---- records


def _records() -> Iterator[Dump]:
    group = base_group()
    yield from _keys(group)
    yield from _texts(group)
    yield from _bad_vectors()
    for name, column in (("vectors", "_vh"), ("metadata", "_mh")):
        values = [v ^ (i == 1) for i, v in enumerate(group.column(column).to_pylist())]
        other = _with(group, column, pa.array(values, pa.int64()))
        yield dump(f"hash-{name}", f"A wrong hash in {column}.", forged(BASE, [other]), "records")
    yield dump("sum-other", "The sum of a shard is another, and the identity follows from it.",
               forged(BASE, [group], entry={"record_sum": 7}), "records")  # fmt: skip
    yield dump("bounds-other", "The bounds of a shard's ids are others.",
               forged(BASE, [group], entry={"id_min": "A"}), "records")  # fmt: skip
    said = profile_page(group, BASE)
    said.documents = {"count": 0, "max_bytes": 0, "nul": 0}
    yield dump("profile-other-documents", "The profile knows no documents, and a record has one.",
               forged(BASE, [group], entry={"profile": said}), "profile", names="documents.count")  # fmt: skip


def _keys(group: pa.RecordBatch) -> Iterator[Dump]:
    again = hashed([RECORDS[0], RECORDS[1], RECORDS[0]], BASE)
    yield dump("key-twice", "A key stands twice in a shard.", forged(BASE, [again]), "unique-keys", names="1 record")
    data = forged_shard([group], BASE)
    entries = [entry_of(data, [group], BASE), entry_of(data, [group], BASE, (1, 0))]
    files = {SHARD: data, shard_path(1, 0): data, MANIFEST: make_manifest(BASE, entries).to_bytes()}
    yield dump("key-twice-in-two-shards", "The same shard under two names.", files, "unique-keys", names="2 records")
    for kind, text in (
        ("uuid", "5F0C7D9E-0C4B-4AC5-A1C1-6D7A7E2F1B11"), ("int", "007"), ("int|uuid", "a"), ("tagged", "int:a"),
        ("composite", '["a", 1]'), ("position", "-1"),
    ):  # fmt: skip
        c = dataclasses.replace(BASE, id_kind=kind)
        wrong = hashed([dataclasses.replace(RECORDS[0], id=text)], c)
        name = kind.replace("|", "-or-")
        yield dump(f"id-not-{name}", f"An id that is no {kind}.", forged(c, [wrong]), "records", names=text.split()[0])


def _texts(group: pa.RecordBatch) -> Iterator[Dump]:
    for name, about, text in (
        ("spaces", "Metadata with white space.", '{"a": 1}'),
        ("order", "Metadata with its keys out of order.", '{"b":1,"a":2}'),
        ("key-twice", "Metadata with a key twice.", '{"a":1,"a":1}'),
        ("float", "A float in another spelling.", '{"a":1e5}'),
        ("escape", "An escape that is not needed.", '{"a":"\\u0041"}'),
        ("nan", "NaN without a tag.", '{"a":NaN}'),
        ("array", "An array.", "[]"),
        ("tag", "A tag that holds no object.", '{"$vp":"NaN"}'),
        ("bad-tag", "A tag that is not known.", '{"a":{"$vp":{"date":"2026-01-01"}}}'),
        ("empty", "No text at all.", ""),
    ):
        page = _with(group, "metadata", pa.array([text, "{}"], pa.string())).select(page_schema(BASE).names)
        made = forged(BASE, [hashes.add_hashes(page, BASE)], entry=_plain(2))
        yield dump(f"metadata-{name}", about, made, "records")
    for column in ("id", "document"):
        array = pa.array([b"\xff\xfe", b"b"], pa.binary())
        texts = pa.StringArray.from_buffers(2, array.buffers()[1], array.buffers()[2])
        entry = entry_of(forged_shard([group], BASE), [group], BASE)
        data = forged_shard([_with(group, column, texts)], BASE)
        fixed = dataclasses.replace(entry_of(data, [group], BASE), id_min=entry.id_min)
        yield dump(f"not-utf8-{column}", f"Bytes in {column} that are no UTF-8.",
                   {SHARD: data, MANIFEST: make_manifest(BASE, [fixed]).to_bytes()}, "records")  # fmt: skip


def _bad_vectors() -> Iterator[Dump]:
    ragged = hashes.add_hashes(ragged_batch(RECORDS, BASE, 3), BASE)
    yield dump("vector-dims", "Vectors of three elements in a field of two.", forged(BASE, [ragged], entry=_plain(2)),
               "records")  # fmt: skip
    nullable = dataclasses.replace(BASE, vectors=(dataclasses.replace(BASE.vectors[0], nullable=True),))
    null = hashed([RECORDS[0], Record("b")], nullable)
    yield dump("vector-null", "A null vector in a field that is not nullable.", forged(BASE, [null]), "records")
    c = Collection("sparse", vectors=(VectorField("", kind="sparse"),))
    for name, about, indices, values in (
        ("descending", "Descending indices.", (7, 3), (1.0, 2.0)),
        ("repeated", "An index twice.", (3, 3), (1.0, 2.0)),
        ("fewer-values", "Two indices and one value.", (3, 7), (1.0,)),
    ):
        group = _sparse_group(c, indices, values)
        yield dump(f"sparse-{name}", about, forged(c, [group], entry=_plain(1)), "records")
    b = Collection("bits", vectors=(VectorField("", kind="binary", dtype="bit", dim=12),))
    good = hashed([Record("a", {"": np.ones(12, np.uint8)})], b)
    page = _with(good, "vector", pa.array([b"\xff\xff"], pa.binary(2))).select(page_schema(b).names)
    yield dump("bits-behind-the-last", "Bits behind the last dimension.", forged(b, [hashes.add_hashes(page, b)]),
               "records")  # fmt: skip


def _plain(rows: int) -> Json:
    return {"profile": Profile(rows=rows)}


def _sparse_group(c: Collection, indices: Sequence[int], values: Sequence[float]) -> pa.RecordBatch:
    good = hashed([Record("a", {"": Sparse((1, 2), (1.0, 2.0))})], c)
    kind = good.schema.field("vector").type
    made = pa.array([{"indices": list(indices), "values": list(values)}], kind)
    page = _with(good, "vector", made).select(page_schema(c).names)
    return hashes.add_hashes(page, c)


def _with(group: pa.RecordBatch, column: str, array: pa.Array) -> pa.RecordBatch:
    place = group.schema.get_field_index(column)
    columns = [array if i == place else c for i, c in enumerate(group.columns)]
    return pa.RecordBatch.from_arrays(columns, schema=group.schema)


# ---- few bytes that claim to be many


def _bombs() -> Iterator[Dump]:
    raw = base_files()[MANIFEST]
    rows = 4_000_000_000
    lying = changed(raw, ["shards", 0, "rows"], rows)
    for path, value in (
        (["shards", 0, "groups"], [rows]), (["shards", 0, "profile", "rows"], rows), (["totals", "rows"], rows),
        (["identity", "rows"], rows),
    ):  # fmt: skip
        lying = changed(lying, path, value)
    yield refused("bomb-rows", "Four billion rows in a shard of two kilobytes.", lying, "--max rows_per_shard")
    yield _many_nulls()
    yield _dictionary()


def _many_nulls() -> Dump:
    """Row groups that fit the manifest, of more rows than memory has room for: nulls and equal values take no bytes."""
    wide = dataclasses.replace(BASE, vectors=(VectorField("", dim=4096, metric="cosine"),))
    n = 262_144
    schema = group_schema(wide).with_metadata(_footer_key(wide))
    zero = pa.repeat(pa.scalar(0, pa.int64()), n)
    text = pa.repeat(pa.scalar("", pa.string()), n)
    columns = [text, text, pa.nulls(n, pa.string()), text, pa.nulls(n, schema.field("vector").type), zero, zero]
    group = pa.RecordBatch.from_arrays(columns, schema=schema)
    data = _file([group], schema, compression_level=9, data_page_size=64 << 20)
    entry = dataclasses.replace(entry_of(data, [], wide), rows=n, groups=(n,), id_min="", id_max="", **_plain(n))
    return dump("bomb-nulls", "262,144 rows of 4096 dimensions in a few kilobytes, every one null.",
                {SHARD: data, MANIFEST: make_manifest(wide, [entry]).to_bytes()}, "shard-schema",
                names="group_bytes")  # fmt: skip


def _dictionary() -> Dump:
    """A dictionary of one long text, which every row repeats."""
    n = 2000
    records = [Record(str(i), {"": np.array([1, 0], np.float32)}) for i in range(n)]
    group = hashed(records, BASE)
    text = pa.repeat(pa.scalar('{"a":"' + "x" * 100_000 + '"}', pa.string()), n)
    group = _with(group, "metadata", text)
    schema = group.schema.with_metadata(_footer_key(BASE))
    data = _file([group], schema, use_dictionary=["metadata"], compression_level=9)
    entry = dataclasses.replace(entry_of(data, [], BASE), rows=n, groups=(n,), id_min="0", id_max="999", **_plain(n))
    return dump("bomb-dictionary", "200 megabytes of metadata in a few kilobytes, by a dictionary.",
                {SHARD: data, MANIFEST: make_manifest(BASE, [entry]).to_bytes()}, "shard-schema")  # fmt: skip
