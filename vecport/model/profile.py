"""What is in some records: kinds, ranges and sizes, counted while they pass, so that a plan needs no second look."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from . import ids as idlib
from .batch import dense_matrix
from .collection import Collection, VectorField
from .parsed import parse_objects

#: More keys than this are counted together as dropped; a plan then says that it is incomplete.
MAX_KEYS = 4096
_TAGS = {"NaN": "nonfinite", "Infinity": "nonfinite", "-Infinity": "nonfinite"}
_TAG_OBJECTS = {"bytes": "bytes", "decimal": "decimal", "wtf8": "surrogates", "object": "object"}
_COUNTS = frozenset(
    {"count", "null", "zero", "nonfinite", "unit", "int", "uuid", "string", "non_ascii", "nul", "empty"}
)  # fmt: skip
_BOUNDS = frozenset({"min", "max", "min_int", "max_int", "max_bytes", "longest_bytes", "max_nnz", "max_rows"})
_IDS = frozenset({"int", "uuid", "string", "longest_bytes", "non_ascii", "nul", "empty", "min_int", "max_int"})
_DOCUMENTS = frozenset({"count", "max_bytes", "nul"})
UNIT_TOLERANCE = 1e-6
#: Bytes of metadata that are parsed at once.
_PARSED_BYTES = 4 << 20
#: Bounds of integers are recorded up to this size: longer ones are no text that every JSON parser reads.
_LARGEST = 10**1000


@dataclass
class Profile:
    """Counts that add up over row groups, shards and dumps.

    Attributes:
        rows: records.
        metadata: by key and value kind: ``count``, and ``max_bytes`` of strings, ``min``/``max`` of numbers.
        keys_dropped: keys beyond MAX_KEYS that are in no count.
        ids: counts by form (``int``, ``uuid``, ``string``), ``longest_bytes``, ``non_ascii``, ``nul``, ``empty``,
            ``min_int``, ``max_int``.
        documents: ``count``, ``max_bytes``, ``nul``.
        vectors: by name: records that are ``null``, ``zero``, ``nonfinite``, ``unit``; ``max_nnz`` of sparse ones,
            ``max_rows`` of multi ones. What is not counted for a kind has no entry.
        namespaces: records by namespace.
        unsaid: which of ``metadata`` and ``namespaces`` are not spoken of; elsewhere, what is not has no entry.
    """

    rows: int = 0
    metadata: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    keys_dropped: int = 0
    ids: dict[str, Any] = field(default_factory=dict)
    documents: dict[str, int] = field(default_factory=dict)
    vectors: dict[str, dict[str, int]] = field(default_factory=dict)
    namespaces: dict[str, int] = field(default_factory=dict)
    unsaid: frozenset[str] = field(default=frozenset(), compare=False)

    def add(self, other: Profile) -> None:
        """Add another profile to this one."""
        self.rows += other.rows
        self.keys_dropped += other.keys_dropped
        for key, kinds in other.metadata.items():
            if key not in self.metadata and len(self.metadata) >= MAX_KEYS:
                self.keys_dropped += 1
                continue
            mine = self.metadata.setdefault(key, {})
            for kind, stats in kinds.items():
                _merge(mine.setdefault(kind, {}), stats)
        _merge(self.ids, other.ids)
        _merge(self.documents, other.documents)
        for name, stats in other.vectors.items():
            _merge(self.vectors.setdefault(name, {}), stats)
        for ns, n in other.namespaces.items():
            self.namespaces[ns] = self.namespaces.get(ns, 0) + n
        self.unsaid |= other.unsaid

    def says_all(self, collection: Collection) -> bool:
        """Whether it speaks of everything that a plan asks for; what it does not speak of is not known."""
        return not self.rows or not (
            self.unsaid
            or _IDS - self.ids.keys()
            or _DOCUMENTS - self.documents.keys()
            or any(_vector_stats(v, self.vectors.get(v.name, {}), self.rows) for v in collection.vectors)
        )

    def to_json(self) -> dict[str, Any]:
        """Plain data, with sorted keys, so that equal rows give equal text."""
        data = {
            "rows": self.rows,
            "metadata": {k: dict(sorted(v.items())) for k, v in sorted(self.metadata.items())},
            "keys_dropped": self.keys_dropped,
            "ids": self.ids,
            "documents": self.documents,
            "vectors": self.vectors,
            "namespaces": dict(sorted(self.namespaces.items())),
        }
        return {k: v for k, v in data.items() if k not in self.unsaid}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Profile:
        """Inverse of ``to_json``; unknown entries are ignored.

        Raises:
            TypeError, AttributeError, ValueError: not a profile; it may come from a stranger.
        """
        return cls(
            rows=_count(data.get("rows", 0)),
            metadata={k: {kind: _numbers(s) for kind, s in v.items()} for k, v in data.get("metadata", {}).items()},
            keys_dropped=_count(data.get("keys_dropped", 0)),
            ids=_numbers(data.get("ids", {})),
            documents=_numbers(data.get("documents", {})),
            vectors={k: _numbers(v) for k, v in data.get("vectors", {}).items()},
            namespaces=_counts(data.get("namespaces", {})),
            unsaid=frozenset({"metadata", "namespaces"} - data.keys()),
        )


def _vector_stats(field: VectorField, said: Mapping[str, int], rows: int) -> set[str]:
    """What is not said of a vector field and that a plan asks for."""
    wanted = {"null"}
    if said.get("null") != rows:
        wanted |= {"dense": {"nonfinite", "zero", "unit"}, "binary": set()}.get(field.kind, {"nonfinite"})
    return wanted - said.keys()


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"a profile counts {ascii(value)[:60]}")
    return value


def _counts(found: Mapping[str, Any]) -> dict[str, int]:
    """Counts by name, of which there may be a million."""
    if found and not ({int}.issuperset(map(type, found.values())) and min(found.values()) >= 0):
        return {name: _count(n) for name, n in found.items()}
    return dict(found)


def _numbers(stats: Mapping[str, Any]) -> dict[str, Any]:
    """Statistics of known names, which can be merged: counts, and bounds that are numbers or null."""
    out: dict[str, Any] = {}
    for name, value in stats.items():
        if name in _COUNTS:
            out[name] = _count(value)
        elif name in _BOUNDS:
            if value is not None and type(value) not in (int, float):
                raise ValueError(f"a profile's {name} is {ascii(value)[:60]}")
            out[name] = value
    return out


def profile_page(page: pa.RecordBatch, collection: Collection) -> Profile:
    """Profile a page or row group."""
    columns = collection.columns()
    namespaces = pc.value_counts(page.column("namespace"))
    return Profile(
        rows=page.num_rows,
        metadata=metadata_kinds(page.column("metadata")),
        ids=_ids(page.column("id")),
        documents=_documents(page.column("document")),
        vectors={v.name: _vector(page.column(columns[v.name]), v) for v in collection.vectors},
        namespaces={e["values"]: e["counts"] for e in namespaces.to_pylist()},
    )


def metadata_kinds(metadata: pa.Array) -> dict[str, dict[str, dict[str, Any]]]:
    """By key and kind: how often, and how large."""
    if not len(metadata) or not pc.any(pc.not_equal(metadata, "{}")).as_py():
        return {}
    has_nul = bool(pc.any(pc.match_substring(metadata, "\\u0000")).as_py())
    has_zero = bool(pc.any(pc.match_substring(metadata, "-0.0")).as_py())
    if metadata.nbytes > _PARSED_BYTES and len(metadata) > 1:
        return _kinds_by_pieces(metadata)
    rows = parse_objects(metadata)
    out: dict[str, dict[str, dict[str, Any]]] = {}
    for key, count in Counter(chain.from_iterable(rows)).items():
        if count == len(rows):
            values = [r[key] for r in rows]
        else:
            values = [r[key] for r in rows if key in r]
        out[key] = _kinds(values, has_nul, has_zero)
    return out


def _kinds_by_pieces(metadata: pa.Array) -> dict[str, dict[str, dict[str, Any]]]:
    """The same of a long column, of which a part at a time is held as Python's objects."""
    out: dict[str, dict[str, dict[str, Any]]] = {}
    half = len(metadata) // 2
    for piece in (metadata.slice(0, half), metadata.slice(half)):
        for key, kinds in metadata_kinds(piece).items():
            mine = out.setdefault(key, {})
            for kind, stats in kinds.items():
                _merge(mine.setdefault(kind, {}), stats)
    return out


def _kinds(values: list[Any], has_nul: bool, has_zero: bool) -> dict[str, dict[str, Any]]:
    by_type = set(map(type, values))
    out: dict[str, dict[str, Any]] = {}
    for kind in by_type:
        mine: list[Any] = values if len(by_type) == 1 else [v for v in values if type(v) is kind]
        if kind is str:
            _strings(out, mine, has_nul)
        elif kind is float:
            _floats(out, mine, has_zero)
        elif kind is int:
            _integers(out, mine)
        elif kind is bool:
            out["boolean"] = {"count": len(mine)}
        elif kind is type(None):
            out["null"] = {"count": len(mine)}
        else:
            for name, count in Counter(map(value_kind, mine)).items():
                _merge(out.setdefault(name, {}), {"count": count})
    return out


def value_kind(value: Any) -> str:
    """The kind (one of ``capabilities.VALUE_KINDS``) of a parsed canonical JSON value."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, str):
        return "string_nul" if "\0" in value else "string"
    if isinstance(value, int):
        return _integer_kind(value)
    if isinstance(value, float):
        if value == 0 and math.copysign(1, value) < 0:
            return "number_negative_zero"
        return "number_exponent" if abs(value) >= 1e16 else "number"
    if isinstance(value, list):
        return _list_kind(value)
    if len(value) == 1 and "$vp" in value:
        tag = value["$vp"]
        return _TAGS.get(tag, "object") if isinstance(tag, str) else _TAG_OBJECTS.get(next(iter(tag), ""), "object")
    return "object"


def _integer_kind(value: int) -> str:
    if -(1 << 53) <= value <= 1 << 53:
        return "integer"
    if -(1 << 63) <= value < 1 << 63:
        return "integer64"
    return "integer64u" if 0 <= value < 1 << 64 else "integer_big"


def _list_kind(value: list[Any]) -> str:
    if not value:
        return "list_empty"
    kinds = set(map(value_kind, value))
    if kinds == {"string"}:
        return "list_string"
    if kinds <= {"integer", "integer64"}:
        return "list_integer"
    if kinds <= {"number", "number_exponent", "number_negative_zero"}:
        return "list_number"
    return "list_boolean" if kinds == {"boolean"} else "list_mixed"


def _strings(out: dict[str, dict[str, Any]], values: list[str], has_nul: bool) -> None:
    if has_nul:
        with_nul = sum("\0" in v for v in values)
        if with_nul:
            longest = max(len(v.encode()) for v in values if "\0" in v)
            out["string_nul"] = {"count": with_nul, "max_bytes": longest}
        if with_nul == len(values):
            return
        values = [v for v in values if "\0" not in v]
    if all(map(str.isascii, values)):
        longest = max(map(len, values))
    else:
        longest = max(len(v.encode()) for v in values)
    out["string"] = {"count": len(values), "max_bytes": longest}


def _integers(out: dict[str, dict[str, Any]], values: list[int]) -> None:
    low, high = min(values), max(values)
    if _integer_kind(low) == "integer" == _integer_kind(high):
        out["integer"] = {"count": len(values), "min": low, "max": high}
        return
    for value in values:
        bounded = _bounded(value)
        _merge(out.setdefault(_integer_kind(value), {}), {"count": 1, "min": bounded, "max": bounded})


def _bounded(value: int) -> int:
    return max(-_LARGEST, min(_LARGEST, value))


def _floats(out: dict[str, dict[str, Any]], values: list[float], has_zero: bool) -> None:
    low, high = min(values), max(values)
    if not has_zero and max(abs(low), abs(high)) < 1e16:
        out["number"] = {"count": len(values), "min": low, "max": high}
        return
    for value in values:
        _merge(out.setdefault(value_kind(value), {}), {"count": 1, "min": value, "max": value})


def _merge(mine: dict[str, Any], other: Mapping[str, Any]) -> None:
    for name, value in other.items():
        if value is None:
            mine.setdefault(name, None)
        elif mine.get(name) is None:
            mine[name] = value
        elif name.startswith("min"):
            mine[name] = min(mine[name], value)
        elif name.startswith(("max", "longest")):
            mine[name] = max(mine[name], value)
        else:
            mine[name] += value


def _ids(column: pa.Array) -> dict[str, Any]:
    texts = column.to_pylist()
    lengths = pc.binary_length(column)
    chars = pc.utf8_length(column)
    out: dict[str, Any] = {
        "int": 0, "uuid": 0, "string": 0,
        "longest_bytes": pc.max(lengths).as_py() or 0,
        "non_ascii": int(pc.sum(pc.not_equal(lengths, chars)).as_py() or 0),
        "nul": int(pc.sum(pc.match_substring(column, "\0")).as_py() or 0),
        "empty": int(pc.sum(pc.equal(lengths, 0)).as_py() or 0),
        "min_int": None, "max_int": None,
    }  # fmt: skip
    for kind, n in Counter(map(idlib.kind_of, texts)).items():
        out[kind] = n
    if out["int"]:
        numbers = _ints_of(texts)
        out["min_int"], out["max_int"] = min(numbers), max(numbers)
    return out


def _ints_of(texts: Iterable[str]) -> list[int]:
    return [_bounded(idlib.to_int(t)) for t in texts if idlib.kind_of(t) == "int"]


def _documents(column: pa.Array) -> dict[str, int]:
    present = len(column) - column.null_count
    if not present:
        return {"count": 0, "max_bytes": 0, "nul": 0}
    return {
        "count": present,
        "max_bytes": pc.max(pc.binary_length(column)).as_py() or 0,
        "nul": int(pc.sum(pc.match_substring(column, "\0")).as_py() or 0),
    }


def _vector(column: pa.Array, field: VectorField) -> dict[str, int]:
    out = {"null": column.null_count}
    if field.kind == "dense":
        matrix, _ = dense_matrix(column, field)
        if len(matrix):
            squared = np.einsum("ij,ij->i", matrix, matrix, dtype=np.float64 if matrix.itemsize == 8 else np.float32)
            out["zero"] = int(len(matrix) - np.count_nonzero(np.any(matrix, axis=1))) if (squared == 0).any() else 0
            out["nonfinite"] = int((~np.isfinite(matrix)).any(axis=1).sum()) if not np.isfinite(squared).all() else 0
            out["unit"] = int((np.abs(squared - 1.0) <= UNIT_TOLERANCE).sum())
    elif field.kind == "sparse":
        # Under a null there may be anything.
        present = column.drop_null()
        out["max_nnz"] = pc.max(pc.list_value_length(present.field(0))).as_py() or 0
        out["nonfinite"] = _nonfinite_rows(present.field(1))
    elif field.kind == "multi":
        present = column.drop_null()
        out["max_rows"] = pc.max(pc.list_value_length(present)).as_py() or 0
        out["nonfinite"] = _nonfinite_rows(present)
    return out


def _nonfinite_rows(lists: pa.Array) -> int:
    """How many lists hold a NaN or an infinity."""
    flat, parents = lists, np.arange(len(lists))
    while pa.types.is_list(flat.type):
        parents = np.repeat(parents, np.asarray(flat.value_lengths()))
        flat = flat.flatten()
    values = flat.to_numpy(zero_copy_only=False)
    if values.dtype.kind != "f" or np.isfinite(values).all():
        return 0
    return len(np.unique(parents[~np.isfinite(values)]))
