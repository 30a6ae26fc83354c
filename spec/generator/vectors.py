"""The test vectors of the hashes, from an implementation of FORMAT.md that shares no code with the library.

It goes record by record with ``struct``, ``hashlib`` and ``xxhash``, straight from the words of the document, so that
it tests the library and not the other way round.
"""

from __future__ import annotations

import hashlib
import json
import struct
import uuid
from typing import Any

import xxhash

Json = dict[str, Any]

ABOUT = (
    "Test vectors of the hashes in FORMAT.md. Elements of vectors are the bits of a number of the declared dtype, most "
    "significant first, in hexadecimal; int8 and uint8 are decimal; bits are a text of 0 and 1, first dimension first. "
    "'hashed' is what goes into the hash, in hexadecimal. Hashes are unsigned and in hexadecimal; 'stored' is the "
    "signed 64-bit integer in the column."
)
SEEDS = {"dense": 1, "float64": 2, "binary": 3, "sparse": 4, "multi": 5}
WIDTHS = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2}


# ---- chapter 6 of FORMAT.md


def element_bytes(element: Any, dtype: str) -> bytes:
    """One element as it is hashed: a little-endian float32, or float64 where that is the dtype."""
    if dtype in ("int8", "uint8"):
        return struct.pack("<f", element)
    bits = bytes.fromhex(element)
    assert len(bits) == WIDTHS[dtype]
    if dtype == "bfloat16":
        bits += b"\0\0"
    elif dtype == "float16":
        bits = struct.pack(">f", struct.unpack(">e", bits)[0])
    return bits[::-1]


def field_input(field: Json, vector: Any) -> tuple[bytes, int]:
    """The bytes of a vector and the seed with which they are hashed."""
    kind, dtype = field["kind"], field["dtype"]
    if kind == "binary":
        padded = vector + "0" * (-len(vector) % 8)
        return int(padded, 2).to_bytes(len(padded) // 8, "big"), SEEDS["binary"]
    if kind == "sparse":
        indices, values = vector["indices"], vector["values"]
        head = struct.pack(f"<{1 + len(indices)}I", len(indices), *indices)
        return head + b"".join(element_bytes(x, dtype) for x in values), SEEDS["sparse"]
    if kind == "multi":
        rows = b"".join(element_bytes(x, dtype) for row in vector for x in row)
        return struct.pack("<I", len(vector)) + rows, SEEDS["multi"]
    return b"".join(element_bytes(x, dtype) for x in vector), SEEDS["float64" if dtype == "float64" else "dense"]


def field_hash(field: Json, vector: Any) -> int:
    data, seed = field_input(field, vector)
    return int(xxhash.xxh3_64_intdigest(data, seed))


def vector_input(fields: list[Json], vectors: Json) -> bytes | None:
    """What ``_vh`` hashes where there are several fields; None where it is the field hash itself."""
    if len(fields) == 1 and vectors.get(fields[0]["name"]) is not None:
        return None
    parts = []
    for field in sorted(fields, key=lambda f: f["name"].encode()):
        vector = vectors.get(field["name"])
        if vector is not None:
            name = field["name"].encode()
            parts.append(struct.pack("<I", len(name)) + name + struct.pack("<Q", field_hash(field, vector)))
    return b"".join(parts)


def vector_hash(fields: list[Json], vectors: Json) -> int:
    data = vector_input(fields, vectors)
    if data is None:
        return field_hash(fields[0], vectors[fields[0]["name"]])
    return int(xxhash.xxh3_64_intdigest(data))


def metadata_input(metadata: str, document: str | None) -> bytes:
    return metadata.encode() + (b"" if document is None else b"\0" + document.encode())


def record_input(namespace: str, id_: str, vh: int, mh: int) -> bytes:
    texts = [struct.pack("<I", len(t.encode())) + t.encode() for t in (namespace, id_)]
    return b"".join(texts) + struct.pack("<QQ", vh, mh)


def record_hash(namespace: str, id_: str, vh: int, mh: int) -> int:
    return int(xxhash.xxh3_128_intdigest(record_input(namespace, id_, vh, mh)))


def schema_text(collection: Json) -> str:
    """The canonical JSON whose SHA-256 is the schema digest."""
    fields = collection["fields"]
    vectors = [[v["name"], v["kind"], v["dtype"], v["dim"] or 0, v["metric"]] for v in collection["vectors"]]
    data = {
        "fields": None if fields is None else sorted([f["name"], f["type"], f["encoding"]] for f in fields),
        "id": collection["id"]["kind"],
        "key": [[f["name"], f["type"], f["encoding"]] for f in collection["id"]["key"]],
        "vectors": sorted(vectors),
    }
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def stand_in(namespace: str, kind: str, id_: str) -> uuid.UUID:
    base = uuid.uuid5(uuid.NAMESPACE_URL, "urn:vecport:id:1")
    name = json.dumps([namespace, kind, id_], ensure_ascii=False, separators=(",", ":"))
    return uuid.uuid5(base, name)


# ---- the cases


def single(x: float) -> str:
    return struct.pack(">f", x).hex()


def field(name: str = "", kind: str = "dense", dtype: str = "float32", dim: int | None = 3) -> Json:
    return {"name": name, "kind": kind, "dtype": dtype, "dim": dim}


SPARSE = field(kind="sparse", dim=None)
ONE, TWO, ZERO = single(1), single(2), single(0)
FIELDS: list[tuple[str, Json, Any]] = [
    ("ones and halves", field(), [ONE, single(0.5), single(-0.5)]),
    ("zeros", field(), [ZERO] * 3),
    ("negative zero is another vector", field(), [single(-0.0), ZERO, ZERO]),
    ("denormals", field(), ["00000001", "80000001", "007fffff"]),
    ("infinities", field(), ["7f800000", "ff800000", "7f7fffff"]),
    ("NaN", field(), ["7fc00000", ZERO, ZERO]),
    ("a NaN of other bits is another vector", field(), ["7fc12345", ZERO, ZERO]),
    ("a negative NaN", field(), ["ffc00000", ZERO, ZERO]),
    ("one dimension", field(dim=1), [ONE]),
    ("float16 hashes as the float32 of the same value", field(dtype="float16"), ["3c00", "3800", "b800"]),
    ("float16 denormal and infinity", field(dtype="float16"), ["0001", "7c00", "8000"]),
    ("bfloat16 too", field(dtype="bfloat16"), ["3f80", "3f00", "bf00"]),
    ("bfloat16 NaN", field(dtype="bfloat16"), ["7fc1", "ff80", "8000"]),
    ("int8 as float32", field(dtype="int8"), [1, -128, 127]),
    ("uint8 as float32", field(dtype="uint8"), [1, 0, 255]),
    ("float64", field(dtype="float64"), ["3ff0000000000000", "3fe0000000000000", "bfe0000000000000"]),
    ("float64 beyond float32", field(dtype="float64"), ["3fb999999999999a", "8000000000000000", "7ff8000000000001"]),
    ("bits, most significant first", field(kind="binary", dtype="bit", dim=12), "110000000001"),
    ("whole bytes of bits", field(kind="binary", dtype="bit", dim=16), "0000000011111111"),
    ("one bit", field(kind="binary", dtype="bit", dim=1), "1"),
    ("sparse", SPARSE, {"indices": [0, 7, 4294967295], "values": [ONE, TWO, single(-0.25)]}),
    ("sparse, an explicit zero", SPARSE, {"indices": [0, 7], "values": [ONE, ZERO]}),
    ("sparse, without it", SPARSE, {"indices": [0], "values": [ONE]}),
    ("sparse, empty", SPARSE, {"indices": [], "values": []}),
    ("sparse of float16", field(kind="sparse", dtype="float16", dim=None), {"indices": [3], "values": ["3c00"]}),
    ("multi, two rows", field(kind="multi", dim=2), [[ONE, TWO], [TWO, ONE]]),
    ("multi, one row", field(kind="multi", dim=2), [[ONE, TWO]]),
    ("multi, empty", field(kind="multi", dim=2), []),
    ("multi of int8", field(kind="multi", dtype="int8", dim=2), [[1, 3]]),
    ("multi of float64", field(kind="multi", dtype="float64", dim=1), [["3ff0000000000000"]]),
]

NAMED = [field("title", dim=1), field("body", dim=1), field("sp", kind="sparse", dim=None)]
ONE_SPARSE = {"indices": [1], "values": [ONE]}
VECTORS: list[tuple[str, list[Json], Json]] = [
    ("no vector field at all", [], {}),
    ("the sole field, present", [field("", dim=1)], {"": [ONE]}),
    ("the sole field, under another name: the same hash", [field("title", dim=1)], {"title": [ONE]}),
    ("the sole field, null: the hash of nothing", [field("", dim=1)], {"": None}),
    ("a sole sparse field, empty and not null", [SPARSE], {"": {"indices": [], "values": []}}),
    ("three fields, all present", NAMED, {"title": [ONE], "body": [TWO], "sp": ONE_SPARSE}),
    ("three fields in another order: the same hash", NAMED[::-1], {"title": [ONE], "body": [TWO], "sp": ONE_SPARSE}),
    ("three fields, one null", NAMED, {"title": [ONE], "body": None, "sp": ONE_SPARSE}),
    ("three fields, values swapped: another hash", NAMED, {"title": [TWO], "body": [ONE], "sp": ONE_SPARSE}),
    ("three fields, only one present: its name counts", NAMED, {"title": [ONE], "body": None, "sp": None}),
    ("three fields, none present: the hash of nothing", NAMED, {"title": None, "body": None, "sp": None}),
    (
        "names in order of their UTF-8 bytes",
        [field("\uffff", dim=1), field("\U00010000", dim=1), field("z", dim=1), field("", dim=1)],
        {"\uffff": [ONE], "\U00010000": [TWO], "z": [ZERO], "": [ONE]},
    ),
]

METADATA: list[tuple[str, str, str | None]] = [
    ("nothing", "{}", None),
    ("an empty document is not none", "{}", ""),
    ("a document", "{}", "text"),
    ("metadata", '{"a":1}', None),
    ("1 and 1.0 differ", '{"a":1.0}', None),
    ("null is not absent", '{"a":null}', None),
    ("metadata and document", '{"a":1}', "é\U0001f600\0"),
    ("an integer of 40 digits", '{"a":' + "1" * 40 + "}", None),
    ("a tag", '{"a":{"$vp":"NaN"}}', None),
]

KEYS: list[tuple[str, str]] = [
    ("", ""), ("", "a"), ("a", ""), ("", "7"), ("tenant", "7"), ("ten", "ant7"), ("é", "\U0001f600"), ("", "a\0b"),
    ("", "5f0c7d9e-0c4b-4ac5-a1c1-6d7a7e2f1b11"),
]  # fmt: skip

STAND_INS: list[tuple[str, str, str]] = [
    ("", "string", "a"), ("", "string", ""), ("", "string", "7"), ("", "int", "7"),
    ("", "uuid", "5f0c7d9e-0c4b-4ac5-a1c1-6d7a7e2f1b11"), ("tenant", "string", "a"), ("", "string", "é\U0001f600"),
    ("", "string", 'quote " and \\ and \n'), ("", "int", "18446744073709551616"), ("", "composite", '["a",7]'),
    ("", "tagged", "int:7"), ("", "position", "0"),
]  # fmt: skip

COLUMNS: list[list[str]] = [
    [""], ["title"], ["", "title"], ["A", "a", "a_2"], ["Ünï cödé", "  ", "é"], ["vector", "x" * 60],
    ["a.b", "a-b", "a__b"], ["\u212a", "k"],
]  # fmt: skip


def typed(name: str, type_: str, encoding: str = "json") -> Json:
    return {"name": name, "type": type_, "encoding": encoding}


def schema(id_kind: str = "string", vectors: list[Json] | None = None, **more: Any) -> Json:
    return {
        "id": {"kind": id_kind, "key": more.get("key", [])},
        "fields": more.get("fields"),
        "vectors": [{"metric": "cosine", **v} for v in vectors or []],
    }


SCHEMAS: list[tuple[str, Json]] = [
    ("nothing but string ids", schema()),
    ("one vector", schema(vectors=[field("", dim=768)])),
    ("its name counts", schema(vectors=[field("title", dim=768)])),
    ("its metric counts", schema(vectors=[{**field("", dim=768), "metric": "l2"}])),
    ("its dtype counts", schema(vectors=[field("", dtype="float16", dim=768)])),
    ("the order of vectors does not", schema(vectors=[field("b", dim=1), SPARSE | {"name": "a"}])),
    ("typed fields, sorted by name", schema(fields=[typed("z", "int4"), typed("a", "numeric", "text")])),
    ("no typed fields are not free metadata", schema(fields=[])),
    ("a composite key, in its order", schema("composite", key=[typed("tenant", "text"), typed("n", "int8")])),
    ("every kind", schema("int|uuid", [field("\u00e9", "multi", "int8", 2), field("b", "binary", "bit", 12), SPARSE])),
]


# ---- the file


def columns_of(names: list[str]) -> list[str]:
    """Chapter 4 of FORMAT.md: the column of each vector."""
    if names == [""]:
        return ["vector"]
    out: list[str] = []
    for name in names:
        slug = "".join(c.lower() if c.isascii() and c.isalnum() else " " for c in name)
        base = "vector_" + ("_".join(slug.split())[:48] or "default")
        n, column = 1, base
        while column in out:
            n += 1
            column = f"{base}_{n}"
        out.append(column)
    return out


def stored(hash_: int) -> str:
    return str(struct.unpack("<q", struct.pack("<Q", hash_))[0])


def field_cases() -> list[Json]:
    cases = []
    for name, f, vector in FIELDS:
        data, seed = field_input(f, vector)
        hash_ = f"{field_hash(f, vector):016x}"
        cases.append({"name": name, "field": f, "vector": vector, "hashed": data.hex(), "seed": seed, "hash": hash_})
    return cases


def vector_cases() -> list[Json]:
    cases = []
    for name, fields, vectors in VECTORS:
        data, hash_ = vector_input(fields, vectors), vector_hash(fields, vectors)
        hashed = None if data is None else data.hex()
        cases.append({"name": name, "fields": fields, "vectors": vectors, "hashed": hashed, "hash": f"{hash_:016x}",
                      "stored": stored(hash_)})  # fmt: skip
    return cases


def metadata_cases() -> list[Json]:
    cases = []
    for name, metadata, document in METADATA:
        data = metadata_input(metadata, document)
        hash_ = int(xxhash.xxh3_64_intdigest(data))
        cases.append({"name": name, "metadata": metadata, "document": document, "hashed": data.hex(),
                      "hash": f"{hash_:016x}", "stored": stored(hash_)})  # fmt: skip
    return cases


def record_cases() -> list[Json]:
    cases = []
    for n, (namespace, id_) in enumerate(KEYS):
        vh, mh = 0x0123456789ABCDEF * (n + 1) % 2**64, 0xFEDCBA9876543210 * (n + 3) % 2**64
        data, hash_ = record_input(namespace, id_, vh, mh), record_hash(namespace, id_, vh, mh)
        cases.append({"namespace": namespace, "id": id_, "_vh": stored(vh), "_mh": stored(mh), "hashed": data.hex(),
                      "hash": f"{hash_:032x}"})  # fmt: skip
    return cases


def sum_cases(records: list[Json]) -> list[Json]:
    picks = {
        "no record": [], "one record": [0], "two records": [0, 1], "in another order: the same sum": [1, 0],
        "a record twice counts twice": [0, 0], "all": list(range(len(records))),
    }  # fmt: skip
    return [
        {"name": name, "records": pick, "sum": f"{sum(int(records[i]['hash'], 16) for i in pick) % 2**128:032x}"}
        for name, pick in picks.items()
    ]


def schema_cases() -> list[Json]:
    cases = []
    for name, collection in SCHEMAS:
        text = schema_text(collection)
        digest = hashlib.sha256(text.encode()).hexdigest()
        identity = f"vp1-{digest[:16]}-3-{5:032x}"
        cases.append({"name": name, "collection": collection, "text": text, "digest": digest,
                      "identity_of_3_rows_and_sum_5": identity})  # fmt: skip
    return cases


def vectors_text() -> str:
    """The text of ``vectors/hashes.json``."""
    records = record_cases()
    data = {
        "about": ABOUT,
        "fields": field_cases(),
        "vectors": vector_cases(),
        "metadata": metadata_cases(),
        "records": records,
        "sums": sum_cases(records),
        "schemas": schema_cases(),
        "columns": [{"names": names, "columns": columns_of(names)} for names in COLUMNS],
        "stand_ins": [
            {"namespace": ns, "kind": kind, "id": i, "uuid": str(stand_in(ns, kind, i))} for ns, kind, i in STAND_INS
        ],
    }
    return json.dumps(data, indent=1) + "\n"
