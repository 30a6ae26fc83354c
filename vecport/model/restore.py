"""Restoring: records read from a database that vecport once filled become the records of the dump again."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..errors import NotRepresentable
from . import ids, parsed
from .batch import dense_array, dense_matrix, page_schema
from .capabilities import MetadataRules
from .collection import Bound, Collection, VectorField
from .passport import ORIGINALS, Passport
from .projection import Projection


@dataclass(slots=True)
class Restorer:
    """Undoes a mapping, page by page.

    Attributes:
        passport: what the import left in the database.
        native: the collection as the database describes it.
        rules: metadata rules of the connector that wrote it.
        collection: the schema of what ``apply`` returns.
        stale: originals that were not used because the value beside them has been edited.
        foreign: records whose id did not come from the dump.
    """

    passport: Passport
    native: Collection
    rules: MetadataRules
    collection: Collection = field(init=False)
    stale: int = 0
    foreign: int = 0

    def __post_init__(self) -> None:
        self.collection = restored_collection(self.passport, self.native)

    def apply(self, page: pa.RecordBatch) -> pa.RecordBatch:
        """Turn a page of the native collection into a page of the restored one."""
        record_ids, namespace = page.column("id"), page.column("namespace")
        document, metadata = page.column("document"), page.column("metadata")
        p = self.passport
        if p.prefix is not None:
            record_ids, namespace = self._unprefixed(record_ids)
            page = _with_keys(page, record_ids, namespace)
        elif p.one_namespace is not None:
            namespace = self._of_one(namespace, p.one_namespace)
            page = _with_keys(page, record_ids, namespace)
        if p.prefix is None and p.ids == "same" and self.collection.id_kind not in ("string", self.native.id_kind):
            for stored in record_ids.to_pylist():
                ids.check(stored, self.collection.id_kind)
        if p.ids == "hashed" or p.document or p.namespace:
            touched = np.ones(page.num_rows, bool)
        else:
            touched = np.asarray(pc.match_substring(metadata, f'"{ORIGINALS}":'))
        if touched.any():
            record_ids, namespace, document, metadata = self._rows(page, touched)
        arrays = [record_ids, namespace, document, metadata]
        native_columns = self.native.columns()
        by_source = {source: target for target, source in p.vectors.items()}
        for v in self.collection.vectors:
            native = self.native.vector(by_source[v.name])
            arrays.append(_narrow(page.column(native_columns[native.name]), native, v))
        return pa.RecordBatch.from_arrays(arrays, schema=page_schema(self.collection))

    def _rows(self, page: pa.RecordBatch, touched: Any) -> tuple[pa.Array, pa.Array, pa.Array, pa.Array]:
        projection = Projection(self.rules)
        record_ids = page.column("id").to_pylist()
        namespaces = page.column("namespace").to_pylist()
        documents = page.column("document").to_pylist()
        texts = page.column("metadata").to_pylist()
        rows = parsed.parse_objects(page.column("metadata").filter(pa.array(touched)))
        for i, row in zip(np.flatnonzero(touched).tolist(), rows, strict=True):
            kept = self._originals(row)
            if self.passport.document:
                documents[i] = self._take_text(row, self.passport.document, documents[i])
            if self.passport.namespace:
                namespaces[i] = self._take_text(row, self.passport.namespace, namespaces[i]) or ""
            if "doc" in kept and documents[i] is None:
                documents[i] = kept["doc"]
            self.stale += projection.decode(row, kept.get("md", {}))
            if "whole" in kept:
                self.stale += bool(row)
                row = row or kept["whole"]
            record_ids[i] = self._id(record_ids[i], kept, namespaces[i])
            texts[i] = parsed.dumps(row)
        return tuple(pa.array(c, pa.string()) for c in (record_ids, namespaces, documents, texts))

    def _unprefixed(self, record_ids: pa.Array) -> tuple[pa.Array, pa.Array]:
        """Namespace and id of ids that begin with their namespace; others were added by somebody else."""
        assert self.passport.prefix is not None
        kind = self.collection.id_kind
        found: list[tuple[str, str]] = []
        for stored in record_ids.to_pylist():
            namespace, sign, own = stored.partition(self.passport.prefix)
            if not sign:
                self.foreign += 1
                namespace, own = "", stored
            ids.check(own, kind)
            found.append((own, namespace))
        return tuple(pa.array(list(column), pa.string()) for column in zip(*found, strict=True))

    def _of_one(self, namespaces: pa.Array, one: str) -> pa.Array:
        """The namespace that the passport names; records of others were added by somebody else and keep theirs."""
        default = pc.equal(namespaces, "")
        others = len(namespaces) - (pc.sum(default).as_py() or 0)
        if others and one and pc.any(pc.equal(namespaces, one)).as_py():
            raise NotRepresentable(
                f"the collection has a namespace {one!r}, which its passport says all of its records have",
                "such a record and one of the default namespace could become one record", "nothing was changed",
                "export with --ignore-passport to take the collection as it is",
            )  # fmt: skip
        self.foreign += others
        return pc.if_else(default, one, namespaces)

    def _originals(self, row: dict[str, Any]) -> dict[str, Any]:
        text = row.pop(ORIGINALS, None)
        if text is None:
            return {}
        try:
            kept = parsed.parse(text)
        except (TypeError, ValueError):
            kept = None
        if not isinstance(kept, dict):
            # Somebody's own value under the reserved key: it stays what it is.
            row[ORIGINALS] = text
            return {}
        return kept

    def _take_text(self, row: dict[str, Any], key: str, default: str | None) -> str | None:
        value = row.get(key)
        if isinstance(value, str):
            del row[key]
            return value
        return default

    def _id(self, stored: str, kept: dict[str, Any], namespace: str) -> str:
        if self.passport.ids != "hashed":
            return stored
        original = kept.get("id")
        if isinstance(original, str) and ids.stand_in(original, self.collection.id_kind, namespace) == stored:
            return original
        self.foreign += 1
        ids.check(stored, self.collection.id_kind)
        return stored


def _with_keys(page: pa.RecordBatch, record_ids: pa.Array, namespace: pa.Array) -> pa.RecordBatch:
    columns = {"id": record_ids, "namespace": namespace}
    arrays = [columns.get(name, column) for name, column in zip(page.schema.names, page.columns, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=page.schema)


def restored_collection(passport: Passport, native: Collection) -> Collection:
    """The dump's schema as far as the database still agrees with it.

    Raises:
        NotRepresentable: the database's vectors are no longer those that the import created.
    """
    by_source = {source: target for target, source in passport.vectors.items()}
    vectors = []
    native_names = {v.name for v in native.vectors}
    for v in passport.collection.vectors:
        target = by_source.get(v.name)
        if target is None or target not in native_names:
            raise NotRepresentable(f"the passport names a vector {v.name!r} that the collection no longer has",
                                   next="export with --ignore-passport to take the collection as it is")  # fmt: skip
        vectors.append(_restored_vector(v, native.vector(target)))
    extra = native_names - set(passport.vectors)
    if extra:
        raise NotRepresentable(f"the collection has vectors that its passport does not know: {sorted(extra)}",
                               next="export with --ignore-passport to take the collection as it is")  # fmt: skip
    return replace(passport.collection, name=native.name, vectors=tuple(vectors), native=native.native)


def _restored_vector(v: VectorField, native: VectorField) -> VectorField:
    if v.dim != native.dim or v.kind != native.kind:
        raise NotRepresentable(
            f"vector {native.name!r} is {native.kind} with {native.dim} dimensions,"
            f" the passport says {v.kind} with {v.dim}",
            next="export with --ignore-passport to take the collection as it is",
        )
    bounds = [b for b in (v.bound, native.bound) if b is not None]
    bound = Bound(max(b.relative for b in bounds), any(b.normalized for b in bounds)) if bounds else None
    fidelity = "quantised" if "quantised" in (v.fidelity, native.fidelity) else "bounded" if bound else v.fidelity
    dtype = native.dtype if v.dtype == "float64" else v.dtype
    return replace(v, dtype=dtype, bound=bound, fidelity=fidelity, normalized=v.normalized or native.normalized)


def _narrow(column: pa.Array, native: VectorField, wanted: VectorField) -> pa.Array:
    """Back to the dump's element type, refusing values that it cannot hold."""
    if native.dtype == wanted.dtype or wanted.kind != "dense":
        return column
    matrix, valid = dense_matrix(column, native)
    if wanted.dtype == "float16":
        exact = np.array_equal(matrix.astype(np.float16).astype(np.float32), matrix, equal_nan=True)
    elif wanted.dtype == "bfloat16":
        exact = not (np.ascontiguousarray(matrix, np.float32).view(np.uint32) & 0xFFFF).any()
    elif wanted.dtype in ("int8", "uint8"):
        exact = np.array_equal(matrix.astype(wanted.dtype).astype(np.float32), matrix)
    else:
        return column
    if not exact:
        raise NotRepresentable(
            f"vector {native.name!r} holds values that are no {wanted.dtype}",
            why="the dump it was restored from had that type; the values were changed since",
            next="export with --ignore-passport to take the collection as it is",
        )
    if wanted.dtype not in ("int8", "uint8"):
        return column
    full = np.zeros((len(column), wanted.dim or 0), wanted.dtype)
    full[valid] = matrix
    return dense_array(full, wanted, valid)
