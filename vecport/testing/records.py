"""Records that are hard to carry: values that databases and JSON libraries are known to change in silence.

Every list names what it is hard for. ``batch_of`` turns records into the pages that connectors are given.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ..model import canonical
from ..model.batch import binary_array, dense_array, element_dtype, make_page, multi_array, sparse_array
from ..model.collection import Collection, VectorField
from ..model.ids import tagged

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Sparse:
    """A sparse vector: ascending indices and their values."""

    indices: tuple[int, ...]
    values: tuple[float, ...]


Vector = Array | Sparse | None
"""Dense: 1-D. Multi: 2-D. Binary: 1-D of 0 and 1. Sparse. None: the record lacks it."""


@dataclass(frozen=True, slots=True)
class Record:
    """One record as plain Python data.

    Attributes:
        id: canonical text.
        vectors: by vector name; an absent name is None.
        metadata: a value that ``canonical.dumps`` takes.
        document: text or None.
        namespace: ``""`` for the default.
    """

    id: str
    vectors: Mapping[str, Vector] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    document: str | None = None
    namespace: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """(namespace, id)."""
        return self.namespace, self.id


def batch_of(records: Sequence[Record], collection: Collection) -> pa.RecordBatch:
    """A page of these records, with the columns of ``page_schema(collection)``."""
    return make_page(
        collection,
        ids=[r.id for r in records],
        namespaces=[r.namespace for r in records],
        documents=[r.document for r in records],
        metadata=[canonical.dumps(dict(r.metadata)) for r in records],
        vectors={v.name: vector_column([r.vectors.get(v.name) for r in records], v) for v in collection.vectors},
    )


def vector_column(values: Sequence[Vector], field_: VectorField) -> pa.Array[Any]:
    """The Arrow column of some vectors."""
    valid = np.array([v is not None for v in values], bool)
    given: list[Any] = [v for v in values if v is not None]
    mask = None if valid.all() else valid
    dim = field_.dim or 0
    if field_.kind == "sparse":
        nnz = np.zeros(len(values), np.int64)
        nnz[valid] = [len(v.indices) for v in given]
        indices = np.array([i for v in given for i in v.indices], np.uint32)
        return sparse_array(indices, np.array([x for v in given for x in v.values], np.float32), nnz, field_, mask)
    if field_.kind == "multi":
        rows = np.zeros(len(values), np.int64)
        rows[valid] = [len(v) for v in given]
        flat = np.concatenate(given) if given else np.zeros((0, dim))
        return multi_array(flat.reshape(-1, dim), rows, field_, mask)
    if field_.kind == "binary":
        packed = np.zeros((len(values), (dim + 7) // 8), np.uint8)
        if given:
            packed[valid] = np.packbits(np.stack(given), axis=1)
        return binary_array(packed, field_, mask)
    matrix = np.zeros((len(values), dim), element_dtype(field_))
    if given:
        matrix[valid] = np.stack(given)
    return dense_array(matrix, field_, mask)


def ragged_batch(records: Sequence[Record], collection: Collection, dim: int) -> pa.RecordBatch:
    """A page whose dense vectors all have ``dim`` elements, whatever the collection says."""
    good = batch_of(records, collection)
    column = collection.columns()[collection.vectors[0].name]
    place = good.schema.get_field_index(column)
    kind: Any = good.schema.field(place).type
    flat = np.ones(dim * len(records), element_dtype(collection.vectors[0]))
    offsets = np.arange(len(records) + 1, dtype=np.int32) * dim
    array = pa.ListArray.from_arrays(pa.array(offsets), pa.array(flat), type=kind)
    columns = [array if i == place else c for i, c in enumerate(good.columns)]
    return pa.RecordBatch.from_arrays(columns, schema=good.schema)


# ---- vectors ----


def vectors_of(field_: VectorField, n: int, seed: int = 7) -> list[Any]:
    """``n`` reproducible vectors of a field, of values that its dtype holds exactly."""
    rng = np.random.default_rng([seed, n, field_.dim or 0])
    if field_.kind == "sparse":
        return [_sparse(rng) for _ in range(n)]
    dim = field_.dim or 0
    if field_.kind == "binary":
        return list(rng.integers(0, 2, (n, dim), dtype=np.uint8))
    if field_.kind == "multi":
        return [narrowed(rng.standard_normal((int(rng.integers(1, 4)), dim)), field_.dtype) for _ in range(n)]
    return list(narrowed(rng.standard_normal((n, dim)), field_.dtype))


def _sparse(rng: np.random.Generator) -> Sparse:
    places = sorted({int(i) for i in rng.integers(0, 1000, 5)})
    return Sparse(tuple(places), tuple(float(np.float32(x)) for x in rng.uniform(0.1, 2, len(places))))


def narrowed(values: Array, dtype: str) -> Array:
    """Values rounded to a dtype, in the element type that carries it."""
    if dtype == "float64":
        return values.astype(np.float64)
    if dtype in ("int8", "uint8"):
        whole = np.clip(np.rint(values * 60), -128, 127)
        return np.asarray((whole if dtype == "int8" else np.abs(whole)).astype(dtype))
    singles = np.asarray(values.astype(np.float32))
    if dtype == "float16":
        return singles.astype(np.float16).astype(np.float32)
    if dtype == "bfloat16":
        return (singles.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)
    return singles


#: float32 patterns that text, casts and normalisation change: zeros of both signs, the smallest subnormal and normal,
#: the largest, neighbours of one, digits that round twice when read as a double first, integers beyond 2^24.
HARD_FLOAT32: Final = np.array(
    [0x00000000, 0x80000000, 0x00000001, 0x80000001, 0x00800000, 0x7F7FFFFF, 0xFF7FFFFF, 0x3F800001,
    0x3F7FFFFF, 0x15AE43FD, 0x4B800001, 0x3DCCCCCD, 0x33D6BF95, 0x5F000000, 0x007FFFFF, 0x3EAAAAAB],
    np.uint32,
).view(np.float32)  # fmt: skip
#: The same without subnormals and the largest, whose squares databases may not be able to add up.
MODERATE_FLOAT32: Final = np.array(
    [0x80000000, 0x3F800001, 0x3F7FFFFF, 0x15AE43FD, 0x4B800001, 0x3DCCCCCD, 0x33D6BF95, 0x3EAAAAAB], np.uint32
).view(np.float32)
#: NaN of three bit patterns, both infinities.
NONFINITE_FLOAT32: Final = np.array([0x7FC00000, 0xFFC00000, 0x7FC12345, 0x7F800000, 0xFF800000], np.uint32).view(
    np.float32
)


# ---- metadata ----

NFC, NFD = "\u00e9", "e\u0301"
_STRINGS: Final = [
    "", " ", "  leading and trailing  ", NFC, NFD, "\u65e5\u672c\u8a9e", "\U0001f469\u200d\U0001f680", "\u2028\u2029",
    '"quoted"', "back\\slash", "tab\tnewline\nreturn\r", "\x01\x1f\x7f\x80", "\ufeff", "\uffff", "\U0010ffff",
    "1", "007", "1.0", "true", "null", "NaN", "[]", "{}", "2024-02-30T25:61:00Z", "'; DROP TABLE t; --", "%s {} $1",
    "_vecport", "$vp", "x" * 5000,
]  # fmt: skip

_NUMBERS: Final = [1.0, 0.0, -1.5, 0.1, 0.30000000000000004, 1e-7, 1e15, 123456.789, -100.0, 2.0**53, 5e-324, 1e-300]
# Parsers that round more than once change about one in ten of these.
_DOUBLES: Final = [float(x) for x in np.random.default_rng(7).uniform(-1, 1, 40) * 10.0 ** np.linspace(-20, 15, 40)]

#: By value kind (``capabilities.VALUE_KINDS``): values that must come back as they went in.
HARD_VALUES: Final[Mapping[str, list[Any]]] = {
    "null": [None],
    "boolean": [True, False],
    "integer": [0, 1, -1, 10, 2**31, -(2**31) - 1, 2**53 - 1, 2**53, -(2**53)],
    "integer64": [2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63), 2**62 + 1],
    "integer64u": [2**63, 2**63 + 1, 2**64 - 1],
    "integer_big": [2**64, -(2**63) - 1, 10**40 + 1],
    "number": [*_NUMBERS, *_DOUBLES],
    "number_exponent": [1e16, 1e22, -1e17, 1.5e300, 1.7976931348623157e308],
    "number_negative_zero": [-0.0],
    "nonfinite": [math.nan, math.inf, -math.inf],
    "decimal": [Decimal("0.1000000000000000055511151231257827"), Decimal("1e400"), Decimal("12345678901234567890.5")],
    "bytes": [b"", b"\x00\xff", b"text"],
    "surrogates": ["\ud800", "a\udfffb"],
    "string": _STRINGS,
    "string_nul": ["\0", "a\0b"],
    "list_empty": [[]],
    "list_string": [["a"], ["a", "", NFC, NFD], ["b", "a", "b"], ["1", "true", "null"]],
    "list_integer": [[1], [1, 2, -3], [2**63 - 1, -(2**63)], [0, 0]],
    "list_number": [[1.5], [0.1, 1.0, -2.5], [1e-7, 100.0]],
    "list_boolean": [[True], [True, False, True]],
    "list_mixed": [[1, "a"], [None], [1, 1.0], [[]], [[1], [2]], [{}], [{"a": 1}, "b"], [True, 1]],
    "object": [
        {},
        {"a": 1},
        {"a": {"b": {"c": [1, {"d": None}]}}},
        {"": ""},
        {"a.b": 1, "a": {"b": 2}},
        {"e": [], "o": {}},
    ],
}

#: Leaves that may stand in lists and objects, by the value kind that they have on their own.
LEAVES: Final[Mapping[str, Any]] = {
    "null": None, "boolean": True, "integer": 7, "integer64": 2**63 - 1, "integer64u": 2**64 - 1,
    "integer_big": -(10**30), "number": 0.1, "number_exponent": 1e22, "number_negative_zero": -0.0,
    "nonfinite": math.nan, "decimal": Decimal("1.00000000000000000001"), "bytes": b"\x00", "surrogates": "\udc00",
    "string": "\u00e9", "string_nul": "a\0",
}  # fmt: skip

#: Keys that databases reserve, split, fold or quote wrongly.
HARD_KEYS: Final = (
    "id", "_id", "ID", "vector", "embedding", "metadata", "document", "text", "payload", "values",
    "namespace", "score", "a.b", "a[0]", "a[]", "$a", "$", "$vp", "$$vp", "$ne", "#a", "@a", "_vecport_",
    "a b", " a", "a ", 'a"b', "a'b", "a\\b", "a/b", "a:b", "a%b", "%s", "a;b", "a--b", "a\tb", "a\nb",
    "\u00e9", "e\u0301", "\u65e5", "\U0001f600", "0", "1", "-1", "Case", "case", "CASE", "null", "true",
    "select", "user", "order", "ctid", "__proto__", "constructor", "chroma:a", "chroma:document", "x" * 200,
    "",
)  # fmt: skip


# ---- ids ----

#: Texts that look like something else, or that are easily confused with one another.
HARD_STRING_IDS: Final = (
    "", "a\0b", "a", "A", "7", "007", "7.0", "-7", "0", "1e5", " ", " a", "a ", "a b", NFC, NFD,
    "\u65e5\u672c", "\U0001f600", "a/b", "a:b", "a,b", "a;b", "a'b", 'a"b', "a\\b", "a\nb", "a\tb", "%s",
    "$1", "{}", "[]", "null", "true", "None", "nan", "'; drop table t; --", "../a", "#", "?", "&a=b", "*",
    "_", "%", "a%b", "a_b", "\u2028", "\x7f", "\u00df", "SS", "ss", "\u0130", "i\u0307",
    "5f0c7d9e-0c4b-4ac5-a1c1-6d7a7e2f1b11", "5F0C7D9E-0C4B-4AC5-A1C1-6D7A7E2F1B11", "int:7", "string:7",
)  # fmt: skip
HARD_INT_IDS: Final = (
    0, 1, 7, 10, 2, 100, 2**31 - 1, 2**31, 2**32, 2**53 - 1, 2**53, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1,
    -1, -(2**63), 2**64, 10**30,
)  # fmt: skip
HARD_UUID_IDS: Final = (
    "00000000-0000-0000-0000-000000000000", "00000000-0000-0000-0000-000000000001",
    "ffffffff-ffff-ffff-ffff-ffffffffffff", "5f0c7d9e-0c4b-4ac5-a1c1-6d7a7e2f1b11",
    "80000000-0000-1000-8000-000000000000", "018f3c5e-7b1a-7c3d-9e2f-000000000001",
)  # fmt: skip

_UUIDS = uuid.UUID("0f4c0a52-8a73-4b0e-9d35-1f2f0a1f6c00")


def id_text(kind: str, n: int) -> str:
    """The ``n``-th id of a kind, in its canonical form; ids of different ``n`` are different."""
    unique = str(uuid.uuid5(_UUIDS, str(n)))
    if kind == "int":
        return str(n + 1)
    if kind == "uuid":
        return unique
    if kind == "int|uuid":
        return str(n + 1) if n % 2 else unique
    if kind == "composite":
        return canonical.dumps([f"part {n % 3}", n])
    if kind == "tagged":
        return tagged(*((str(n), "int"), (str(n), "string"), (unique, "uuid"))[n % 3])
    return f"record {n:05d}"
