"""Good dumps: every vector kind and dtype, null and empty, namespaces, documents, ids and metadata of every kind."""

from __future__ import annotations

import hashlib
import math
from decimal import Decimal
from typing import Any

import numpy as np

from vecport.dump.layout import REJECTS
from vecport.model import canonical
from vecport.model.collection import LOGICAL_TYPES, Bound, Collection, Field, VectorField
from vecport.testing.records import Record, Sparse

from .parts import Dump, changed, written

U1, U2 = "00000000-0000-0000-0000-000000000001", "5f0c7d9e-0c4b-4ac5-a1c1-6d7a7e2f1b11"


#: Values by kind, as records of the dump ``metadata``.
VALUES: dict[str, list[Any]] = {
    "null and booleans": [None, True, False],
    "integers": [0, -1, 2**31, 2**53, 2**53 + 1, 2**63 - 1, -(2**63), 2**63, 2**64 - 1, 2**64, -(2**63) - 1,
                 10**40 + 1],
    "numbers": [1.0, 0.0, -1.5, 0.1, 0.30000000000000004, 1e-7, 1e15, 123456.789, 2.0**53, 5e-324, 1e-300, 1e16, 1e22,
                1.7976931348623157e308, -0.0],
    "not finite": [math.nan, math.inf, -math.inf],
    "decimals": [Decimal("0.1000000000000000055511151231257827"), Decimal("1e400"), Decimal("12345678901234567890.5")],
    "bytes": [b"", b"\x00\xff", b"text"],
    "lone surrogates": ["\ud800", "a\udfffb"],
    "texts": ["", " ", "\u00e9", "e\u0301", "\U0001f600", "\u2028", "\x00", "\x01\x1f\x7f", '"', "\\", "\t\n\r",
              "\ufeff", "1", "1.0", "true", "null", "$vp", "_vecport"],
    "lists": [[], [1], [1, 1.0], [True, 1], ["a", None], [[]], [{}], [{"a": 1}, "b"]],
    "objects": [{}, {"a": {"b": {"c": [1, {"d": None}]}}}, {"": ""}, {"a.b": 1, "a": {"b": 2}}],
}  # fmt: skip


def f32(*values: float) -> Any:
    return np.array(values, np.float32)


def bits32(*patterns: int) -> Any:
    return np.array(patterns, np.uint32).view(np.float32)


def sole(dim: int = 2, **more: Any) -> tuple[VectorField, ...]:
    return (VectorField("", dim=dim, metric="cosine", **more),)


def simple(name: str, about: str, id_kind: str, texts: list[str]) -> Dump:
    """A dump that is about its ids."""
    records = [Record(text, {"": f32(i, 1)}) for i, text in enumerate(texts)]
    return written(name, about, Collection(name, id_kind, sole()), {(0, 0): [records]})


def good_dumps() -> list[Dump]:
    """All of them, in order of their names."""
    made = [*_small(), *_vectors(), *_ids(), _metadata(), _typed(), _logical(), _sharded(), _partial(), _rejects()]
    made.append(_future())
    return sorted(made, key=lambda d: d.name)


def _small() -> list[Dump]:
    one = [Record("a", {"": f32(0.6, 0.8)}, {"color": "red"}, "A text.")]
    c = Collection("docs", vectors=sole(normalized=True, nullable=False))
    return [
        written("one-record", "One record with a vector, metadata and a document.", c, {(0, 0): [one]}),
        written("empty", "A collection without records: one shard without row groups.", c, {(0, 0): []}),
        written("plain", "The encodings 'plain'.", c, {(0, 0): [one]}, encodings="plain"),
        written("no-vectors", "A collection without vector fields.", Collection("notes"),
                {(0, 0): [[Record("a", {}, {"n": 1}), Record("b", {}, {}, "")]]}),
    ]  # fmt: skip


def _vectors() -> list[Dump]:
    return [_dense(), _sparse(), _multi(), _binary(), _named()]


def _dense() -> Dump:
    fields = tuple(
        VectorField(d, dim=2, dtype=d, metric="l2")
        for d in ("float32", "float64", "float16", "bfloat16", "int8", "uint8")
    )
    records = [
        Record("values", {
            "float32": f32(0.1, -0.0), "float64": np.array([0.1, -0.0]), "float16": f32(0.5, -65504.0),
            "bfloat16": bits32(0x3F810000, 0x80000000), "int8": np.array([-128, 127], np.int8),
            "uint8": np.array([0, 255], np.uint8),
        }),
        Record("odd", {
            "float32": bits32(0x00000001, 0x7F7FFFFF), "float64": np.array([5e-324, 1.7976931348623157e308]),
            "float16": f32(2.0**-24, np.inf), "bfloat16": bits32(0x00010000, 0xFF800000),
            "int8": np.array([0, 1], np.int8), "uint8": np.array([1, 2], np.uint8),
        }),
        Record("not numbers", {
            "float32": bits32(0x7FC00000, 0x7FC12345), "float64": np.array([np.nan, -np.inf]),
            "float16": bits32(0x7FC00000, 0), "bfloat16": bits32(0x7FC10000, 0),
        }),
        Record("none"),
    ]  # fmt: skip
    about = "Dense vectors of every dtype: -0.0, denormals, infinities, NaN of several bits, and null."
    return written("dense", about, Collection("dense", vectors=fields), {(0, 0): [records]})


def _sparse() -> Dump:
    c = Collection("sparse", vectors=(VectorField("", kind="sparse", metric="dot"),))
    top = 2**32 - 1
    records = [
        Record("some", {"": Sparse((0, 7, top), (1.0, -0.25, 3.0))}),
        Record("null"),
        Record("empty", {"": Sparse((), ())}),
        Record("explicit zero", {"": Sparse((3, 4), (0.0, 1.0))}),
        Record("falls from the record before", {"": Sparse((0,), (2.0,))}),
    ]
    about = "Sparse vectors: null, empty, an explicit zero, the largest index."
    return written("sparse", about, c, {(0, 0): [records]})


def _multi() -> Dump:
    kinds: dict[str, type] = {"float32": np.float32, "float64": np.float64, "int8": np.int8}
    fields = tuple(VectorField(d, kind="multi", dim=2, dtype=d, metric="max_sim") for d in kinds)

    def rows(*data: list[int]) -> dict[str, Any]:
        return {d: np.array(data, kind).reshape(-1, 2) for d, kind in kinds.items()}

    two, one = rows([1, 2], [3, 4]), rows([5, 6])
    records = [Record("two", two), Record("null"), Record("empty", rows()), Record("one", one)]
    c = Collection("multi", vectors=fields)
    return written("multi", "Multi vectors of three dtypes: null, empty, one and two rows.", c, {(0, 0): [records]})


def _binary() -> Dump:
    fields = (
        VectorField("twelve", kind="binary", dtype="bit", dim=12, metric="hamming"),
        VectorField("sixteen", kind="binary", dtype="bit", dim=16, metric="jaccard"),
    )
    a = np.array([1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], np.uint8)
    b = np.array([0] * 8 + [1] * 8, np.uint8)
    records = [Record("both", {"twelve": a, "sixteen": b}), Record("null"), Record("one", {"twelve": 1 - a})]
    c = Collection("binary", vectors=fields)
    return written("binary", "Binary vectors of 12 and 16 bits, and null.", c, {(0, 0): [records]})


def _named() -> Dump:
    names = ["A", "a", "a_2", "", "Ünï cödé", "x" * 60]
    fields = tuple(VectorField(n, dim=1, metric="dot", model=f"model of {n}" if n else None) for n in names)
    records = [
        Record("all", {n: f32(i) for i, n in enumerate(names)}),
        Record("one", {"a": f32(7)}),
        Record("none"),
    ]
    about = "Several vectors whose names differ by case, are empty, long or not ASCII."
    return written("names", about, Collection("names", vectors=fields), {(0, 0): [records]})


def _ids() -> list[Dump]:
    big = str(2**64)
    return [
        simple("ids-string", "Ids that look like others, differ by normalisation, hold U+0000, or are empty.", "string",
               ["a", "A", "7", "007", "é", "e\u0301", "a\0b", "", U1, '["a"]', "int:7"]),
        simple("ids-int", "Integer ids, beyond 64 bits and negative.", "int", ["7", "0", "-1", "10", "9", big]),
        simple("ids-uuid", "UUIDs.", "uuid", [U2, U1]),
        simple("ids-mixed", "Integers and UUIDs.", "int|uuid", ["10", U1, "9", "18446744073709551615"]),
        simple("ids-tagged", "Ids of mixed kinds, tagged.", "tagged", ["int:7", "string:7", f"uuid:{U1}", "string:"]),
        simple("ids-position", "Positions of a keyless source.", "position", ["0", "1", "2"]),
        _composite(),
    ]  # fmt: skip


def _composite() -> Dump:
    key = (Field("tenant", "text", nullable=False), Field("n", "int8", nullable=False))
    c = Collection("composite", "composite", sole(), key=key)
    texts = [canonical.dumps(k) for k in (["a", 1], ["a", 10], ["é", 2])]
    records = [Record(t, {"": f32(i, 0)}) for i, t in enumerate(texts)]
    return written("ids-composite", "Ids of two key columns.", c, {(0, 0): [records]})


def _metadata() -> Dump:
    records = [
        Record(kind, metadata={f"v{i}": value for i, value in enumerate(values)}) for kind, values in VALUES.items()
    ]
    keys = {"": 1, "$vp": 2, "$$vp": 3, "a.b": 4, "\U00010000": 5, "\uffff": 6, "vector": 7, "id": 8, "_vh": 9}
    records += [
        Record("keys", metadata=keys),
        Record("a key with a lone surrogate", metadata={"\ud800": 1, "b": Decimal("1e400")}),
        Record("nested", metadata={"a": {"b": [1, 1.0, True, None, {"c": -0.0}]}}),
        Record("none"),
    ]
    about = "Metadata of every kind of value that canonical JSON spells, and keys that are easily confused."
    return written("metadata", about, Collection("metadata"), {(0, 0): [records]})


def _typed() -> Dump:
    fields = (
        Field("price", "numeric(20,4)", "text"),
        Field("at", "timestamptz", "text"),
        Field("n", "int4", nullable=False),
        Field("tags", "text[]"),
    )
    vectors = (
        VectorField("embedding", dim=2, metric="cosine", fidelity="bounded", bound=Bound(1e-6, normalized=True)),
        VectorField("coarse", dim=2, dtype="int8", metric="l2", fidelity="quantised"),
    )
    native = {"table": "items", "index": {"method": "hnsw", "m": 16}}
    c = Collection("items", "int", vectors, fields, native=native)
    vec = {"embedding": f32(0.6, 0.8), "coarse": np.array([1, -1], np.int8)}
    records = [
        Record("1", vec, {"price": "12345678901234567890.1234", "at": "infinity", "n": 1, "tags": ["a", None]}),
        Record("2", vec, {"price": None, "at": "0044-03-15 00:00:00+00 BC", "n": 2, "tags": []}),
    ]
    return written("typed", "Typed fields, two encodings, stated bounds, native settings.", c, {(0, 0): [records]})


def _logical() -> Dump:
    """Portable types in manifest and footer; in the manifest alone also two that a reader of 1.0 does not know."""
    values: dict[str, Any] = {
        "int64": 2**63 - 1, "float64": 0.5, "bool": True, "string": "a", "timestamp": "2026-01-02 03:04:05+00",
        "binary": b"\x00\xff", "decimal": "1.50", "json": {"a": [1]},
    }  # fmt: skip
    texts = ("timestamp", "decimal")
    fields = [Field(name, f"own {name}", "text" if name in texts else "json", True, name) for name in LOGICAL_TYPES]
    fields += [Field("list", "own list", logical="list<string>"), Field("later", "own later"), Field("odd", "own odd")]
    values |= {"list": ["a", None], "later": 1, "odd": 2}
    c = Collection("logical", vectors=sole(), fields=tuple(fields))
    record = Record("a", {"": f32(1, 0)}, values)
    dump = written("logical", "Fields with portable types, with ones that are not known, and without.", c,
                   {(0, 0): [[record, Record("none", metadata=dict.fromkeys(values))]]})  # fmt: skip
    raw = changed(dump.files["manifest.json"], ["collection", "fields", 9, "logical"], "duration[ns]")
    raw = changed(raw, ["collection", "fields", 10, "logical"], {"since": "1.7"})
    return Dump(dump.name, dump.about, dump.files | {"manifest.json": raw}, dump.manifest)


def _sharded() -> Dump:
    def records(namespace: str, *numbers: int) -> list[Record]:
        return [
            Record(f"r{n}", {"": f32(n, -n)}, {"n": n}, None if n % 2 else f"Text {n}.\nSecond line.", namespace)
            for n in numbers
        ]

    shards = {
        (0, 0): [records("", 0, 1), records("", 2, 3)],
        (0, 1): [records("", 4)],
        (1, 0): [records("tenant a", 0, 1)],
        (3, 0): [[*records("tenant b", 0), *records("\u79df\u6237", 0, 1)]],
    }
    about = "Four shards of three partitions, two row groups in one of them; four namespaces, the same ids in each."
    return written("sharded", about, Collection("sharded", vectors=sole()), shards)


def _partial() -> Dump:
    consistency = {
        "kind": "live-scan", "count_before": 10, "count_after": 11, "only_in_dump": 0, "only_in_source": 1,
        "missing": 0, "epochs": 1, "repeats_dropped": 1,
    }  # fmt: skip
    source = {"system": "corpus", "version": "1.0", "collection": "docs", "consistency": consistency}
    manifest = {
        "source": source,
        "selection": {"namespaces": ["a"], "where": '{"color":"red"}', "limit": 1},
        "complete": False,
    }
    c = Collection("docs", vectors=sole())
    record = Record("a", {"": f32(1, 0)}, {"color": "red"}, namespace="a")
    return written("partial", "A selection of a live source: no whole copy, and it says so.", c, {(0, 0): [[record]]},
                   manifest=manifest)  # fmt: skip


def _rejects() -> Dump:
    lines = [
        {"id": "b", "namespace": "", "reason": "its vector is lost"},
        {"id": "z\u00fc", "namespace": "n", "reason": "its vector is lost"},
    ]
    raw = b"".join(canonical.dumpb(line) + b"\n" for line in lines)
    file = {"path": REJECTS, "rows": 2, "bytes": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}
    consistency = {"kind": "snapshot", "count_before": 3, "count_after": 3, "rejected": 2}
    source = {"system": "corpus", "version": "1.0", "collection": "docs", "consistency": consistency, "rejects": file}
    about = "Two of three records could not be read: they are named and not there, and the dump is not complete."
    dump = written("rejects", about, Collection("docs", vectors=sole()), {(0, 0): [[Record("a", {"": f32(1, 0)})]]},
                   manifest={"source": source, "complete": False})  # fmt: skip
    return Dump(dump.name, dump.about, dump.files | {REJECTS: raw}, dump.manifest)


def _future() -> Dump:
    """A dump of a later minor version: fields that a reader of 1.0 does not know, and need not."""
    dump = written("future", "Format 1.7 with unknown fields everywhere: a reader of 1.0 reads it.",
                   Collection("docs", vectors=sole()), {(0, 0): [[Record("a", {"": f32(1, 0)})]]})  # fmt: skip
    raw = changed(dump.files["manifest.json"], ["format_version"], "1.7")
    unknown = {"since": "1.7", "nested": [{"a": [1, None]}]}
    for path in (
        ["later"], ["writer", "later"], ["source", "later"], ["source", "consistency", "later"], ["selection", "later"],
        ["collection", "later"], ["collection", "id", "later"], ["collection", "vectors", 0, "later"],
        ["identity", "later"], ["totals", "later"], ["shards", 0, "later"], ["shards", 0, "profile", "later"],
    ):  # fmt: skip
        raw = changed(raw, path, unknown)
    return Dump(dump.name, dump.about, dump.files | {"manifest.json": raw}, dump.manifest)
