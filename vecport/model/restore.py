"""Restoring: records read from a database that vecport once filled become the records of the dump again.

What the passport remembers is a memory: a collection lives on, and what is otherwise now is taken as it is, and said.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from . import ids, parsed
from .batch import dense_array, dense_matrix, element_type, page_schema, vector_type
from .capabilities import MetadataRules
from .collection import Bound, Collection, Field, VectorField
from .passport import ORIGINALS, Passport
from .projection import Projection
from .widening import Misfit, Widening, typed_misfit


@dataclass(slots=True)
class Restorer:
    """Undoes a mapping, page by page.

    Attributes:
        passport: what the import left in the database.
        native: the collection as the database describes it.
        rules: metadata rules of the connector that wrote it; None where they are not known.
        widening: by what records that came before widened the schema.
        lenient: widen the schema by every page that does not fit it, instead of raising.
        schema: what the passport and the database make of each other.
        stale: originals that were not used because the value beside them has been edited.
        foreign: records whose id did not come from the dump.
    """

    passport: Passport
    native: Collection
    rules: MetadataRules | None
    widening: Widening = field(default_factory=Widening)
    lenient: bool = False
    schema: Restored = field(init=False)
    stale: int = 0
    foreign: int = 0

    def __post_init__(self) -> None:
        self.schema = restored_schema(self.passport, self.native, self.widening)

    @property
    def collection(self) -> Collection:
        """The schema of what ``apply`` returns."""
        return self.schema.collection

    @property
    def notes(self) -> tuple[str, ...]:
        """What is otherwise than the passport remembers, one sentence each."""
        if self.rules is not None:
            return (*self.schema.notes, *self.widening.facts)
        p = self.passport
        unknown = (
            f"it was filled by the rules {p.rules!r}, version {p.rules_version}, which are not known here: originals"
            " are used where what stands there can have been made from them"
        )
        return (unknown, *self.schema.notes, *self.widening.facts)

    def apply(self, page: pa.RecordBatch) -> pa.RecordBatch:
        """Turn a page of the native collection into a page of the restored one.

        Raises:
            Misfit: records do not fit the schema; never where ``lenient``.
        """
        while True:
            counts = self.stale, self.foreign
            try:
                return self._applied(page)
            except Misfit as e:
                self.stale, self.foreign = counts
                widened = self.widening.merged(e.widening)
                if not self.lenient or not widened.wider_than(self.widening):
                    raise
                self.widening = widened
                self.schema = restored_schema(self.passport, self.native, widened)

    def _applied(self, page: pa.RecordBatch) -> pa.RecordBatch:
        record_ids, namespace = page.column("id"), page.column("namespace")
        document, metadata = page.column("document"), page.column("metadata")
        p = self.passport
        if self.native.id_kind == "tagged" and p.collection.id_kind != "tagged":
            record_ids = _untagged(record_ids, p.collection.id_kind)
            page = _with_keys(page, record_ids, namespace)
        if p.prefix is not None:
            record_ids, namespace = self._unprefixed(record_ids)
            page = _with_keys(page, record_ids, namespace)
        elif p.one_namespace is not None:
            namespace = self._of_one(namespace, p.one_namespace)
            page = _with_keys(page, record_ids, namespace)
        if p.ids == "hashed" or p.document or p.namespace:
            touched = np.ones(page.num_rows, bool)
        else:
            touched = np.asarray(pc.match_substring(metadata, f'"{ORIGINALS}":'))
        if touched.any():
            record_ids, namespace, document, metadata = self._rows(page, touched)
        vectors, found = self._vectors(page, record_ids)
        self._check(record_ids, metadata, found)
        return pa.RecordBatch.from_arrays(
            [record_ids, namespace, document, metadata, *vectors], schema=page_schema(self.collection)
        )

    def _vectors(self, page: pa.RecordBatch, record_ids: pa.Array) -> tuple[list[pa.Array], Widening]:
        """The vector columns in the order of the schema, and what in them does not fit it, by the restored ids."""
        columns, arrays, found = self.native.columns(), [], Widening()
        for v in self.collection.vectors:
            native = self.native.vector(self.schema.vectors[v.name])
            column = page.column(columns[native.name])
            shown = f"vector {v.name!r}" if v.name else "the vector"
            if column.null_count and not v.nullable:
                example = record_ids.filter(column.is_null())[0].as_py()
                fact = f"{shown} is gone from records, as {example!r}, that the import left with one: it may be absent"
                found = found.merged(Widening(nullable=frozenset({v.name}), facts=(fact,)))
            narrowed = _narrow(column, native, v)
            if narrowed is None:
                fact = f"{shown} holds values that are no {v.dtype}: it is taken as {native.dtype}"
                found = found.merged(Widening(dtypes=frozenset({v.name}), facts=(fact,)))
            else:
                arrays.append(narrowed)
        return arrays, found

    def _check(self, record_ids: pa.Array, metadata: pa.Array, found: Widening) -> None:
        """Raise ``Misfit`` for all at once that does not fit the schema.

        Args:
            record_ids, metadata: as they are restored.
            found: what does not fit of the vectors.
        """
        p, kind = self.passport, self.collection.id_kind
        surely = p.ids == "same" and p.prefix is None and kind == self.native.id_kind
        wrong = record_ids.slice(0, 0) if surely else record_ids.filter(ids.misfits(record_ids, kind))
        if len(wrong):
            wider = ids.kind_with(wrong, kind)
            fact = f"ids were of kind {kind}, and {wrong[0].as_py()!r} was added: they are of kind {wider}"
            found = found.merged(Widening(id_kind=wider, facts=(fact,)))
        if self.collection.fields is not None and self.native.fields is None:
            odd = typed_misfit(metadata, self.collection.fields)
            if odd is not None:
                found = found.merged(Widening(free=True, facts=(f"{odd}: metadata is taken as free JSON",)))
        if found:
            raise Misfit(found)

    def _rows(self, page: pa.RecordBatch, touched: Any) -> tuple[pa.Array, pa.Array, pa.Array, pa.Array]:
        projection = Projection(self.rules or MetadataRules(), guess=self.rules is None)
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
        found: list[tuple[str, str]] = []
        for stored in record_ids.to_pylist():
            namespace, sign, own = stored.partition(self.passport.prefix)
            if not sign:
                self.foreign += 1
                namespace, own = "", stored
            found.append((own, namespace))
        if not found:
            return record_ids, record_ids
        return tuple(pa.array(list(column), pa.string()) for column in zip(*found, strict=True))

    def _of_one(self, namespaces: pa.Array, one: str) -> pa.Array:
        """The namespace that the passport names; records of others were added by somebody else and keep theirs.

        One of the very name that the passport gives to the default namespace gets ``_`` behind it, so that no two
        records become one.
        """
        default = pc.equal(namespaces, "")
        self.foreign += len(namespaces) - (pc.sum(default).as_py() or 0)
        others = pc.if_else(pc.equal(namespaces, one), f"{one}_", namespaces) if one else namespaces
        return pc.if_else(default, one, others)

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
        # Under --like, the record itself tells best whether its id was hashed.
        original = kept.get("id")
        kind = self.passport.collection.id_kind
        if isinstance(original, str) and ids.is_stand_in(stored, original, kind, namespace):
            return original
        self.foreign += self.passport.ids == "hashed"
        return stored


def _untagged(record_ids: pa.Array, kind: str) -> pa.Array:
    """Ids without the tags that a file of several kinds gives them; one of another kind that would be taken for one of
    ``kind`` without its tag keeps it."""
    out = []
    for tagged in record_ids.to_pylist():
        own, tag = ids.untagged(tagged)
        mine = tag in kind.split("|") or (kind == "position" and tag == "int")
        out.append(own if mine or not ids.fits(own, kind) else tagged)
    return pa.array(out, pa.string())


def _with_keys(page: pa.RecordBatch, record_ids: pa.Array, namespace: pa.Array) -> pa.RecordBatch:
    columns = {"id": record_ids, "namespace": namespace}
    arrays = [columns.get(name, column) for name, column in zip(page.schema.names, page.columns, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=page.schema)


@dataclass(frozen=True, slots=True)
class Restored:
    """The dump's schema as far as the database still agrees with it.

    Attributes:
        collection: of the restored records.
        vectors: the database's vector name by the restored one.
        notes: what is otherwise than the passport remembers, one sentence each.
    """

    collection: Collection
    vectors: dict[str, str]
    notes: tuple[str, ...]


def restored_schema(passport: Passport, native: Collection, widening: Widening | None = None) -> Restored:
    """What a passport and a description make of each other: what both know as the dump had it, all else as it is now.

    Args:
        passport: what the import left.
        native: the collection as the database describes it.
        widening: what records have shown since.
    """
    widening, notes = widening or Widening(), list[str]()
    vectors, sources = _vectors(passport, native, widening, notes)
    ours = passport.collection
    kind, key = ours.id_kind, ours.key
    if key and native.key and _types(key) != _types(native.key):
        kind, key = native.id_kind, native.key
        notes.append(f"the key is {_names(key)}, where the import made {_names(ours.key)}")
    if widening.id_kind is not None:
        kind, key = widening.id_kind, () if widening.id_kind != "composite" else key
    fields = None if widening.free else _fields(ours.fields, native.fields, notes)
    made = replace(
        ours, name=native.name, id_kind=kind, key=key, fields=fields, vectors=tuple(vectors), native=native.native
    )
    return Restored(made, sources, tuple(notes))


def restored_collection(passport: Passport, native: Collection) -> Collection:
    """The schema of ``restored_schema`` alone."""
    return restored_schema(passport, native).collection


def _vectors(
    passport: Passport, native: Collection, widening: Widening, notes: list[str]
) -> tuple[list[VectorField], dict[str, str]]:
    """The vectors that there are now, under the names of the dump, and the database's names by them."""
    by_source = {source: target for target, source in passport.vectors.items()}
    there = {v.name: v for v in native.vectors}
    out: list[VectorField] = []
    sources: dict[str, str] = {}
    for v in passport.collection.vectors:
        found = there.get(by_source.get(v.name, v.name))
        if found is None:
            notes.append(f"the vector {v.name!r} is gone from the database: it is left out")
            continue
        sources[v.name] = found.name
        if (v.kind, v.dim) != (found.kind, found.dim):
            notes.append(f"the vector {v.name!r} is {_shape(found)}, where the import made {_shape(v)}")
            out.append(replace(found, name=v.name))
        else:
            out.append(_restored_vector(v, found, widening))
    for found in native.vectors:
        if found.name in sources.values():
            continue
        name = found.name
        while name in sources:
            name = f"_{name}"
        sources[name] = found.name
        notes.append(f"the vector {name!r} is new in the database: it is taken as it is")
        out.append(replace(found, name=name))
    return out, sources


def _restored_vector(v: VectorField, native: VectorField, widening: Widening) -> VectorField:
    bounds = [b for b in (v.bound, native.bound) if b is not None]
    bound = Bound(max(b.relative for b in bounds), any(b.normalized for b in bounds)) if bounds else None
    fidelity = "quantised" if "quantised" in (v.fidelity, native.fidelity) else "bounded" if bound else v.fidelity
    dtype = native.dtype if v.dtype == "float64" or v.name in widening.dtypes else v.dtype
    return replace(
        v, dtype=dtype, bound=bound, fidelity=fidelity, normalized=v.normalized or native.normalized,
        nullable=v.nullable or v.name in widening.nullable,
    )  # fmt: skip


def _fields(
    ours: tuple[Field, ...] | None, native: tuple[Field, ...] | None, notes: list[str]
) -> tuple[Field, ...] | None:
    """The typed fields that there are now, as the dump had them where they are still of that type."""
    if ours is None or native is None or _types(ours) == _types(native):
        return ours
    known, there = {f.name: f for f in ours}, {f.name: f for f in native}
    notes += [f"the field {name!r} is gone from the database" for name in known if name not in there]
    notes += [f"the field {f.name!r} is new in the database, of type {f.type}" for f in native if f.name not in known]
    out = []
    for f in native:
        before = known.get(f.name, f)
        if _types((before,)) != _types((f,)):
            notes.append(f"the field {f.name!r} is {f.type}, where the import made {before.type}")
            before = f
        out.append(before)
    return tuple(out)


def _types(fields: tuple[Field, ...]) -> set[tuple[str, str, str]]:
    return {(f.name, _type(f), f.encoding) for f in fields}


def _type(field: Field) -> str:
    """The type's text; a user's own type may stand in another schema than it came from."""
    return re.sub(r'\A"(?:[^"]|"")+"\.', "", field.type)


def _names(fields: tuple[Field, ...]) -> str:
    return ", ".join(f"{f.name} {f.type}" for f in fields) or "none"


def _shape(v: VectorField) -> str:
    return v.kind if v.dim is None else f"{v.kind} of {v.dim} dimensions"


def _narrow(column: pa.Array, native: VectorField, wanted: VectorField) -> pa.Array | None:
    """Back to the dump's element type; None where it cannot hold the values."""
    if native.dtype == wanted.dtype or wanted.kind not in ("dense", "multi"):
        return column
    if wanted.kind == "multi":
        return _cast(column, wanted)
    matrix, valid = dense_matrix(column, native)
    if wanted.dtype == "float16":
        with np.errstate(over="ignore"):
            exact = np.array_equal(matrix.astype(np.float16).astype(np.float32), matrix, equal_nan=True)
    elif wanted.dtype == "bfloat16":
        exact = not (np.ascontiguousarray(matrix, np.float32).view(np.uint32) & 0xFFFF).any()
    elif wanted.dtype in ("int8", "uint8"):
        with np.errstate(invalid="ignore"):
            exact = np.array_equal(matrix.astype(wanted.dtype).astype(np.float32), matrix)
    else:
        exact = True
    if not exact:
        return None
    if element_type(native) == element_type(wanted):
        return column
    full = np.zeros((len(column), wanted.dim or 0), wanted.dtype)
    full[valid] = matrix
    return dense_array(full, wanted, valid)


def _cast(column: pa.Array, wanted: VectorField) -> pa.Array | None:
    try:
        return column.cast(vector_type(wanted))
    except pa.ArrowInvalid:
        return None
