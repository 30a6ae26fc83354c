"""Mapping: how the records of a dump become records that a target can hold, decided from capabilities alone."""

from __future__ import annotations

import re
from collections.abc import Mapping as MappingType
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from ..errors import NotRepresentable, UsageError
from . import parsed
from .batch import dense_array, dense_matrix, page_schema
from .capabilities import TargetCapabilities
from .collection import METRICS, Collection, VectorField
from .json_columns import inject
from .key_mapping import free_key, map_ids, map_namespaces, map_prefixed_ids, unfit_id
from .ledger import Ledger
from .parsed import parse_objects
from .passport import ORIGINALS, Passport, target_keys
from .profile import Profile, metadata_kinds
from .projection import TAG, Projection

DOCUMENT_KEY = "document"


@dataclass(frozen=True, slots=True)
class MappingPlan:
    """What a mapping does; plain values, so that it can go to a worker process.

    Attributes:
        source: the dump's collection.
        target: the collection as it is created in the target.
        passport: what the target keeps about it.
        id_mode: ``same`` or ``hashed``.
        document_key: metadata key for documents, None where the target has a place for them.
        native_document: documents are passed on as documents.
        namespace_key: metadata key for namespaces, None when unused.
        id_prefix: what stands between namespace and id, None where ids have no prefix.
        capabilities: of the target.
    """

    source: Collection
    target: Collection
    passport: Passport
    id_mode: str
    document_key: str | None
    native_document: bool
    namespace_key: str | None
    id_prefix: str | None
    capabilities: TargetCapabilities


@dataclass(slots=True)
class Mapper:
    """Applies a plan to row groups and counts what it encoded."""

    plan: MappingPlan
    ledger: Ledger = field(default_factory=Ledger)

    def apply(self, group: pa.RecordBatch) -> pa.RecordBatch:
        """Turn a row group of the dump into a page of the target collection.

        Args:
            group: columns of ``group_schema(plan.source)``; hash columns may be missing.

        Returns:
            Columns of ``page_schema(plan.target)``; metadata is JSON text that the target holds as it is.
        """
        plan = self.plan
        id_column, namespace = group.column("id"), group.column("namespace")
        self._check_namespaces(namespace)
        mapped_ids, mapped_namespace = target_keys(plan.passport, id_column, namespace)
        self._check_ids(mapped_ids)
        metadata, document = self._metadata(group)
        schema = page_schema(plan.target)
        arrays = [
            mapped_ids,
            mapped_namespace if plan.capabilities.native_namespace else _empty(len(group)),
            document,
            metadata,
        ]
        by_source = {source: target for target, source in plan.passport.vectors.items()}
        source_columns = plan.source.columns()
        for v in plan.source.vectors:
            column = group.column(source_columns[v.name])
            arrays.append(_convert(column, v, plan.target.vector(by_source[v.name])))
        return pa.RecordBatch.from_arrays(arrays, schema=schema)

    def _check_ids(self, record_ids: pa.Array) -> None:
        """The plan stands on the dump's profile; ids that it does not speak of would be another's, or none."""
        unfit = unfit_id(record_ids, self.plan.target.id_kind, self.plan.capabilities)
        if unfit is not None:
            raise NotRepresentable(
                f"id {unfit!r} is none of kind {self.plan.target.id_kind}, as which the target holds ids",
                "the dump's profile does not name such ids", "nothing of its batch was written",
                "check the dump: vecport validate DUMP --level deep; or let UUIDs stand for its ids: --ids hash",
            )  # fmt: skip

    def _check_namespaces(self, namespace: pa.Array) -> None:
        """The plan stands on the dump's profile; namespaces that it does not name would be dropped in silence."""
        plan = self.plan
        one = plan.passport.one_namespace
        if one is not None:
            if pc.any(pc.not_equal(namespace, one)).as_py():
                raise NotRepresentable(
                    f"a record is not of the namespace {one!r}", f"collection {plan.target.name} is for that one",
                    "nothing of its batch was written",
                )  # fmt: skip
            return
        kept = plan.capabilities.native_namespace or plan.namespace_key is not None or plan.id_prefix is not None
        if not kept and pc.any(pc.not_equal(namespace, "")).as_py():
            raise NotRepresentable("a record has a namespace that the dump's profile does not name",
                                   "the plan was made without namespaces", "nothing of its batch was written",
                                   "check the dump: vecport validate DUMP --level deep")  # fmt: skip

    def _metadata(self, group: pa.RecordBatch) -> tuple[pa.Array, pa.Array]:
        """Metadata and document columns, with originals where something had to be encoded."""
        plan = self.plan
        metadata, document = group.column("metadata"), group.column("document")
        projection = Projection(plan.capabilities.metadata)
        exact_nul = "string_nul" in plan.capabilities.metadata.exact
        nul_documents = not exact_nul and bool(pc.any(pc.match_substring(document, "\0")).as_py())
        typed = plan.target.fields is not None
        plain = typed or projection.surely_held(metadata)
        needs = [] if plain else projection.encoded_keys(metadata_kinds(metadata))
        if needs or nul_documents:
            metadata, document = self._by_row(group, projection, nul_documents)
        elif plan.id_mode == "hashed" or plan.namespace_key:
            metadata = inject(metadata, ORIGINALS, self._key_originals(group))
        if plan.namespace_key:
            metadata = inject(metadata, plan.namespace_key, _json_strings(group.column("namespace")))
        if plan.document_key:
            metadata = inject(metadata, plan.document_key, _json_strings(document))
        if not plan.native_document:
            document = pa.nulls(len(group), pa.string())
        return metadata, document

    def _key_originals(self, group: pa.RecordBatch) -> pa.Array:
        """The originals of id and namespace alone: a JSON string holding a JSON object, one a row."""
        text = pa.repeat(pa.scalar("{}", pa.string()), len(group))
        if self.plan.id_mode == "hashed":
            text = inject(text, "id", _json_strings(group.column("id")))
        if self.plan.namespace_key:
            text = inject(text, "ns", _json_strings(group.column("namespace")))
        return _json_strings(text)

    def _by_row(self, group: pa.RecordBatch, projection: Projection, nul_documents: bool) -> tuple[pa.Array, pa.Array]:
        plan = self.plan
        id_texts = group.column("id").to_pylist() if plan.id_mode == "hashed" else None
        namespaces = group.column("namespace").to_pylist() if plan.namespace_key else None
        documents = group.column("document").to_pylist() if nul_documents else None
        out: list[str] = []
        for i, row in enumerate(parse_objects(group.column("metadata"))):
            stored, originals = projection.encode(row)
            kept: dict[str, Any] = {"md": originals} if originals else {}
            if TAG in originals:
                stored, kept = {}, {"whole": row}
            if id_texts is not None:
                kept["id"] = id_texts[i]
            if namespaces is not None:
                kept["ns"] = namespaces[i]
            if documents is not None and documents[i] is not None and "\0" in documents[i]:
                kept["doc"] = documents[i]
                documents[i] = None
            if kept:
                stored[ORIGINALS] = parsed.dumps(kept)
            out.append(parsed.dumps(stored))
        document = group.column("document") if documents is None else pa.array(documents, pa.string())
        return pa.array(out, pa.string()), document


def plan_mapping(
    source: Collection,
    profile: Profile,
    capabilities: TargetCapabilities,
    *,
    name: str,
    rules: str,
    identity: str,
    rows: int,
    import_id: str,
    settings: MappingType[str, str] | None = None,
    namespaces: str | None = None,
    one_namespace: str | None = None,
    vector_names: MappingType[str, str] | None = None,
    ids: str | None = None,
) -> tuple[MappingPlan, Ledger]:
    """Decide how a dump goes into a target.

    Args:
        source: the dump's collection.
        profile: of the dump.
        capabilities: of the target.
        name: the collection to create.
        rules: name of the target's connector, kept in the passport.
        identity, rows: of the dump, kept in the passport.
        import_id: names this import.
        settings: the user's choices; ``metric`` is one that concerns the mapping.
        namespaces: one of NAMESPACE_MODES, None for ``field``.
        one_namespace: of all records, where each namespace goes into a collection of its own.
        vector_names: names of vectors in the target by their names in the dump, where they shall differ.
        ids: one of ID_CHOICES, None for ``keep`` where they fit.

    Returns:
        The plan and the ledger made from the profile: nothing has been read yet.
    """
    ledger = Ledger()
    namespace_key, prefix = map_namespaces(profile, capabilities, namespaces, ledger)
    if prefix is None:
        alone = namespace_key is None or len(profile.namespaces) < 2
        id_kind, id_mode = map_ids(source, profile, capabilities, ledger, ids, alone=alone)
    elif ids == "hash":
        raise UsageError("--ids hash and --namespaces prefix exclude each other", "the prefix makes ids of its own",
                         "nothing was written", "leave one of them out")  # fmt: skip
    else:
        id_kind, id_mode = map_prefixed_ids(prefix, profile, capabilities, ledger)
    _check_target_names(name, profile, capabilities, namespace_key, prefix, one_namespace, ledger)
    vectors, names = _map_vectors(source, profile, capabilities, settings or {}, vector_names or {}, ledger)
    # Typed columns have no room for keys of ours, nor for a key that a record lacks, beside one that is null: then
    # metadata is one JSON document, and the passport keeps the types.
    complete = not profile.metadata or all(
        f.type in ("json", "jsonb") or _count(profile, f.name) == profile.rows for f in source.fields or ()
    )
    room = (
        complete
        and id_mode == "same"
        and namespace_key is None
        and (capabilities.native_document or not profile.documents.get("count"))
    )
    typed = source.fields is not None and bool(capabilities.typed_fields) and _all_typed(source, capabilities) and room
    document_key = _map_document(profile, capabilities, typed, ledger)
    if typed:
        _map_columns(source, profile, ledger)
    else:
        _map_metadata(profile, capabilities, ledger)
    target = Collection(
        name=name,
        id_kind=id_kind,
        vectors=vectors,
        fields=source.fields if typed else None,
        key=source.key if typed else (),
    )
    passport = Passport(
        collection=source,
        ids=id_mode,
        vectors=names,
        document=document_key,
        namespace=namespace_key,
        rules=rules,
        identity=identity,
        rows=rows,
        import_id=import_id,
        prefix=prefix,
        one_namespace=one_namespace,
        rules_version=capabilities.metadata.version,
    )
    plan = MappingPlan(
        source=source,
        target=target,
        passport=passport,
        id_mode=id_mode,
        document_key=document_key,
        native_document=capabilities.native_document and document_key is None,
        namespace_key=namespace_key,
        id_prefix=prefix,
        capabilities=capabilities,
    )
    return plan, ledger


def _all_typed(source: Collection, capabilities: TargetCapabilities) -> bool:
    pattern = re.compile(capabilities.typed_fields)
    return all(pattern.fullmatch(f.type) for f in (*(source.fields or ()), *source.key))


def _check_target_names(
    name: str,
    profile: Profile,
    caps: TargetCapabilities,
    namespace_key: str | None,
    prefix: str | None,
    one_namespace: str | None,
    ledger: Ledger,
) -> None:
    """Name the collection and the namespaces whose names the target does not take."""
    if problem := caps.collection_names.problem(name):
        why = f"no collection can be called {name!r}: {problem}; choose another name with -c/--collection"
        ledger.add("collection", "rejected", profile.rows, why)
    if not caps.native_namespace or one_namespace is not None or namespace_key is not None or prefix is not None:
        return
    for namespace, count in sorted(profile.namespaces.items()):
        if count and (problem := caps.namespace_names.problem(namespace)):
            what = f"no namespace can be called {namespace!r}" if namespace else "the default namespace"
            ledger.add("namespace", "rejected", count, f"{what}: {problem}")


def _map_vectors(
    source: Collection,
    profile: Profile,
    caps: TargetCapabilities,
    settings: MappingType[str, str],
    chosen: MappingType[str, str],
    ledger: Ledger,
) -> tuple[tuple[VectorField, ...], dict[str, str]]:
    """The target's vector fields, and the source's vector name by the target's."""
    if len(source.vectors) > caps.vectors:
        raise NotRepresentable(
            f"the dump has {len(source.vectors)} vectors a record, the target holds {caps.vectors}",
            why="vectors: " + ", ".join(repr(v.name) for v in source.vectors),
            safe="nothing was written",
            next="choose a target that holds several vectors a record",
        )
    if len(source.vectors) < caps.vectors_min:
        have = "none" if not source.vectors else str(len(source.vectors))
        ledger.add("vector", "rejected", profile.rows,
                   f"the target needs {caps.vectors_min} vector(s) in every record, they have {have}")  # fmt: skip
    out: list[VectorField] = []
    names: dict[str, str] = {}
    _check_metric_setting(source, caps, settings)
    _check_names(source, caps, chosen)
    for v in source.vectors:
        name = chosen.get(v.name, v.name) if caps.named_vectors else ""
        if not name and (not caps.unnamed_vector or v.kind in caps.named_kinds):
            name = caps.vector_name
        if name and v.name not in chosen and caps.vector_names.problem(name):
            name = source.columns()[v.name]
            if problem := caps.vector_names.problem(name):
                ledger.add(f"vector:{v.name}", "rejected", profile.rows, f"it cannot be called {name!r}: {problem}")
        names[name] = v.name
        out.append(_map_vector(v, name, profile, caps, settings, ledger))
    return tuple(out), names


def _check_names(source: Collection, caps: TargetCapabilities, chosen: MappingType[str, str]) -> None:
    known = [v.name for v in source.vectors]
    for name in chosen:
        if name not in known or not caps.named_vectors:
            raise UsageError(
                f"the vector {name!r} cannot be called {chosen[name]!r} in the target",
                f"the dump's vectors: {', '.join(map(repr, known)) or 'none'}"
                if caps.named_vectors else "its vectors have no names",
                "nothing was written",
            )  # fmt: skip
        if chosen[name] and (problem := caps.vector_names.problem(chosen[name])):
            raise UsageError(f"the vector {name!r} cannot be called {chosen[name]!r} in the target", problem,
                             "nothing was written")  # fmt: skip


def _check_metric_setting(source: Collection, caps: TargetCapabilities, settings: MappingType[str, str]) -> None:
    """Refuse a choice of a metric that no vector takes."""
    for key, wanted in settings.items():
        _, _, name = key.partition("metric.")
        mine = [v for v in source.vectors if key == "metric" or v.name == name]
        known = frozenset(m for v in mine for m in caps.metrics_of(v.kind))
        if key == "metric" and source.vectors and wanted not in known:
            raise _unknown_metric(key, wanted, known)
        if name and not mine:
            raise UsageError(f"--set {key}={wanted}: the dump has no vector {name!r}",
                             next=f"its vectors: {', '.join(repr(v.name) for v in source.vectors)}")  # fmt: skip


def _map_vector(
    v: VectorField,
    name: str,
    profile: Profile,
    caps: TargetCapabilities,
    settings: MappingType[str, str],
    ledger: Ledger,
) -> VectorField:
    where = f"vector:{v.name}" if v.name else "vector"
    stats, rows = profile.vectors.get(v.name, {}), profile.rows
    dtypes = caps.kinds.get(v.kind)
    if dtypes is None:
        ledger.add(where, "rejected", rows, f"the target has no {v.kind} vectors")
        return replace(v, name=name)
    if v.dim is not None and v.dim > caps.max_dim_of(v.kind):
        ledger.add(where, "rejected", rows, f"{v.dim} dimensions, the target holds {caps.max_dim_of(v.kind)}")
    multiple = caps.dim_multiple.get(v.kind, 1)
    if v.dim is not None and v.dim % multiple:
        ledger.add(where, "rejected", rows, f"{v.dim} dimensions, those of {v.kind} vectors go by {multiple}")
    if stats.get("null") and not caps.null_vectors:
        ledger.add(where, "rejected", stats["null"], "the target needs a vector in every record")
    if stats.get("nonfinite") and not caps.nonfinite_vectors:
        ledger.add(where, "rejected", stats["nonfinite"], "the target refuses NaN and infinity in vectors")
    metric = _map_metric(v, rows, caps, settings, ledger)
    dtype = _map_dtype(v, where, dtypes, rows, ledger)
    bound = caps.bound_of(metric, dtype)
    present = rows - stats.get("null", 0)
    if v.dtype == "float64" and dtype == "float32":
        return replace(v, name=name, metric=metric, dtype=dtype, nullable=v.nullable and caps.null_vectors)
    inexact = present - stats.get("unit", 0) - stats.get("zero", 0) if bound and bound.normalized else present
    if bound is None or inexact <= 0:
        ledger.add(where, "exact", present)
    elif bound.normalized:
        ledger.add(where, "bounded", inexact,
                   f"stored as unit vectors for {metric}: the direction is kept within {bound.relative:g}, the"
                   " length is not")  # fmt: skip
    else:
        ledger.add(where, "bounded", inexact, f"comes back within a relative error of {bound.relative:g}")
    return replace(v, name=name, metric=metric, dtype=dtype, nullable=v.nullable and caps.null_vectors)


def _map_dtype(v: VectorField, where: str, dtypes: frozenset[str], rows: int, ledger: Ledger) -> str:
    if v.dtype in dtypes:
        return v.dtype
    if v.dtype == "float64" and "float32" in dtypes:
        ledger.add(where, "lossy", rows, "float64 becomes float32")
        return "float32"
    if "float32" in dtypes and v.kind != "binary":
        return "float32"
    ledger.add(where, "rejected", rows, f"the target has no {v.kind} vectors of {v.dtype}")
    return v.dtype


def _map_metric(
    v: VectorField, rows: int, caps: TargetCapabilities, settings: MappingType[str, str], ledger: Ledger
) -> str:
    """The metric of a vector; ``--set metric=cosine`` is for all of them, ``--set metric.NAME=cosine`` for one."""
    known = caps.metrics_of(v.kind)
    key = f"metric.{v.name}" if f"metric.{v.name}" in settings else "metric"
    wanted = settings.get(key)
    if wanted is not None and (wanted in known or key != "metric"):
        if wanted not in METRICS or wanted not in known:
            raise _unknown_metric(key, wanted, known)
        if wanted != v.metric:
            ledger.add("metric", "encoded", rows, f"the index uses {wanted}; the passport keeps {v.metric}")
        return wanted
    if v.metric in known or not caps.metric_required:
        return v.metric
    if wanted is not None:
        raise _unknown_metric(key, wanted, known)
    reason = "the source does not say which metric it uses" if v.metric == "unknown" else f"no {v.metric} index here"
    ledger.add("metric", "rejected", rows, f"{reason}: choose one with --set {key}={'|'.join(sorted(known))}")
    return sorted(known)[0]


def _unknown_metric(key: str, wanted: str, known: frozenset[str]) -> UsageError:
    return UsageError(f"--set {key}={wanted}: not a metric of this target",
                      next=f"one of: {', '.join(sorted(known))}")  # fmt: skip


def _map_document(profile: Profile, caps: TargetCapabilities, typed: bool, ledger: Ledger) -> str | None:
    count = profile.documents.get("count", 0)
    if not count:
        return None
    if caps.native_document:
        nul = 0 if "string_nul" in caps.metadata.exact else profile.documents.get("nul", 0)
        if nul and typed:
            ledger.add("document", "rejected", nul, "the target's text cannot hold U+0000")
        elif nul:
            ledger.add("document", "encoded", nul, f"U+0000 in documents travels in the key {ORIGINALS!r}")
        ledger.add("document", "exact", count - nul)
        return None
    key = free_key(DOCUMENT_KEY, profile)
    ledger.add("document", "encoded", count, f"stored under the metadata key {key!r}")
    return key


def _map_columns(source: Collection, profile: Profile, ledger: Ledger) -> None:
    """Typed columns are created with the types that they had."""
    for f in source.fields or ():
        ledger.add(f"metadata:{f.name}", "exact", _count(profile, f.name) or profile.rows)


def _count(profile: Profile, key: str) -> int:
    """How many records have a key."""
    return sum(stats["count"] for stats in profile.metadata.get(key, {}).values())


def _map_metadata(profile: Profile, caps: TargetCapabilities, ledger: Ledger) -> None:
    projection = Projection(caps.metadata)
    for key, kinds in profile.metadata.items():
        for kind, stats in kinds.items():
            if projection.exact(key, kind) and projection.doubtful(kind):
                ledger.add(f"metadata:{key}", "encoded", stats["count"],
                           f"{kind.replace('_', ' ')}: kept as they are, but for those with an inner value that the"
                           f" target does not hold: their original is in the key {ORIGINALS!r}")  # fmt: skip
            elif projection.exact(key, kind):
                ledger.add(f"metadata:{key}", "exact", stats["count"])
            else:
                ledger.add(f"metadata:{key}", "encoded", stats["count"],
                           f"{kind.replace('_', ' ')}: {projection.describe(key, kind)}, the original in the key"
                           f" {ORIGINALS!r}")  # fmt: skip


def _convert(column: pa.Array, source: VectorField, target: VectorField) -> pa.Array:
    if (
        source.kind != "dense"
        or source.dtype == target.dtype
        or column.type == pa.list_(pa.field("element", pa.float32(), nullable=False))
    ):
        return column
    matrix, valid = dense_matrix(column, source)
    full = np.zeros((len(column), source.dim or 0), matrix.dtype)
    full[valid] = matrix
    return dense_array(full, target, valid)


def _empty(rows: int) -> pa.Array:
    return pa.repeat(pa.scalar("", pa.string()), rows)


def _json_strings(column: pa.Array) -> pa.Array:
    """Each text as a JSON string; null stays null."""
    if pc.any(pc.match_substring_regex(column, r'["\\\x00-\x1f]')).as_py():
        return pa.array([None if t is None else orjson.dumps(t).decode() for t in column.to_pylist()], pa.string())
    return pc.binary_join_element_wise('"', column, '"', "")
