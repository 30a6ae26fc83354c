"""What a Qdrant collection is: its vectors as vecport's schema, its notes and passport, and a plan as a collection."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from ...errors import NotRepresentable, UsageError
from ...model.capabilities import MetadataRules, Names, TargetCapabilities
from ...model.collection import Bound, Collection, VectorField
from .. import checks
from ..contract import Json, TargetPlan
from ..kit import passports
from ..kit.floats import survives_serde_json
from . import settings, wire
from .settings import LOAD_KEY, PASSPORT_KEY, TITLE, vector_params

ID_KIND: Final = "int|uuid"
ID_KINDS: Final = frozenset({"int", "uuid", ID_KIND})
#: Vectors of float32 for cosine are normalised in float32; those of float16 are rounded behind that.
BOUND: Final = Bound(relative=1e-6, normalized=True)
HALF_BOUND: Final = Bound(relative=5e-4, normalized=True)
DISTANCES: Final = {"cosine": "Cosine", "dot": "Dot", "l2": "Euclid", "l1": "Manhattan"}
METRICS: Final = {distance: metric for metric, distance in DISTANCES.items()}
SPARSE_METRIC: Final = "dot"
#: How vectors are stored, as dtypes; those of ``turbo`` come back from fewer bits than they were given with.
DATATYPES: Final = {
    "Default": "float32", "Float32": "float32", "Float16": "float16", "Uint8": "uint8",
    "Turbo4": "float32", "Turbo8": "float32", "Turbo16": "float32",
}  # fmt: skip
STORED_AS: Final = {"float32": "", "float16": "Float16", "uint8": "Uint8"}

MAX_DIM: Final = 65_536
_PLAIN: Final = "[^" + re.escape('<>:"/\\|?*\0\x1f') + "]"
_SAYS: Final = 'a name has none of < > : " / \\ | ? * U+0000 U+001F'
#: A collection is a folder of its name.
COLLECTION_NAMES: Final = Names(rf"(?!\.\.?\Z){_PLAIN}+", 255, f"{_SAYS}, and is neither . nor ..")
ALIAS_NAMES: Final = Names(_PLAIN + "{1,255}", says=f"{_SAYS}, and up to 255 characters")
VECTOR_NAMES: Final = Names(f"{_PLAIN}+", 200, _SAYS)


# ---- reading ----


def unsupported(info: Any, pb: Any) -> list[str]:
    """What this collection has that vecport does not carry, each by name."""
    params = info.config.params
    found = []
    for name, vector in sorted(vector_params(info).items()):
        datatype = _enum(pb.Datatype, vector.datatype)
        distance = _enum(pb.Distance, vector.distance)
        if datatype not in DATATYPES:
            found.append(f"vector {name!r} of {datatype.lower()}")
        elif distance not in METRICS:
            found.append(f"vector {name!r} with distance {distance}")
        elif vector.HasField("multivector_config"):
            comparator = _enum(pb.MultiVectorComparator, vector.multivector_config.comparator)
            if comparator != "MaxSim":
                found.append(f"multivector {name!r} with comparator {comparator}")
    if params.sharding_method == pb.Custom:
        found.append("custom sharding")
    return found


def _enum(enum: Any, number: int) -> str:
    return settings.enum_name(enum.DESCRIPTOR, number)


def read_collection(
    name: str, info: Any, pb: Any, *, normalises: bool = True, datatypes: bool = True, aliases: list[str] | None = None
) -> Collection:
    """The schema of a collection.

    Args:
        name: of the collection.
        info: ``CollectionInfo``.
        pb: the module ``qdrant_client.grpc``.
        normalises: vectors for cosine come back as unit vectors.
        datatypes: the collection's settings matter; a folder has no indexes, and stores vectors as they were given.
        aliases: further names of it.

    Raises:
        NotRepresentable: it has something that vecport does not carry.
    """
    found = unsupported(info, pb)
    if found:
        custom = info.config.params.sharding_method == pb.Custom
        raise NotRepresentable(
            f"collection {name!r} has what vecport does not carry: {'; '.join(found)}",
            why="where the user chooses shards, the same id may stand in several of them, and is no key"
            if custom
            else "it is not known what comes back of such a vector",
            safe="nothing was read or written",
            next="bring the records of each shard key into a collection of its own, and export those"
            if custom
            else "use a later version of vecport",
        )
    vectors = [
        _dense_field(vector_name, vector, pb, normalises, datatypes)
        for vector_name, vector in sorted(vector_params(info).items())
    ]
    sparse = sorted(info.config.params.sparse_vectors_config.map)
    vectors += [VectorField(name=n, kind="sparse", metric=SPARSE_METRIC) for n in sparse]
    return Collection(
        name=name, id_kind=ID_KIND, vectors=tuple(vectors), native=settings.native(info, aliases or [], tuned=datatypes)
    )


def _dense_field(name: str, params: Any, pb: Any, normalises: bool, datatypes: bool) -> VectorField:
    metric = METRICS[pb.Distance.Name(params.distance)]
    stored = pb.Datatype.Name(params.datatype)
    dtype = DATATYPES[stored] if datatypes else "float32"
    bound = bound_of(metric, dtype) if normalises else None
    return VectorField(
        name=name,
        kind="multi" if params.HasField("multivector_config") else "dense",
        dtype=dtype,
        dim=int(params.size),
        metric=metric,
        normalized=bound is not None,
        fidelity="quantised" if stored.startswith("Turbo") and datatypes else "bounded" if bound else "exact",
        bound=bound,
    )


def bound_of(metric: str, dtype: str) -> Bound | None:
    """How far a vector may be off that a server gives back; those of bytes are not normalised for cosine."""
    if metric != "cosine" or dtype == "uint8":
        return None
    return HALF_BOUND if dtype == "float16" else BOUND


def _quantization(info: Any, vector: Any) -> str:
    own = vector.quantization_config.WhichOneof("quantization")
    return own or info.config.quantization_config.WhichOneof("quantization") or ""


def read_passport(info: Any) -> tuple[Mapping[str, Json] | None, str]:
    """The passport in a collection's metadata, and a note when something stands there that cannot be read."""
    return passports.read(settings.own_text(info, PASSPORT_KEY), f"the collection's metadata key {PASSPORT_KEY!r}")


def notes(info: Any, pb: Any, *, metadata: bool, aliases: list[str]) -> list[str]:
    """One sentence for everything about a collection that a user should know before relying on a dump.

    Args:
        info: ``CollectionInfo``.
        pb: the module ``qdrant_client.grpc``.
        metadata: the server keeps collection metadata.
        aliases: of the collection.
    """
    out: list[str] = []
    status = _enum(pb.CollectionStatus, info.status)
    if status != "Green":
        reason = f" ({info.optimizer_status.error})" if info.optimizer_status.error else ""
        out.append(f"the collection's status is {status.lower()}{reason}")
    deferred = info.update_queue.deferred_points
    if deferred:
        out.append(
            f"{deferred:,} points are deferred (prevent_unoptimized): they are stored, and neither reads nor counts"
            " show them until the optimizer has done its work"
        )
    strict = info.config.strict_mode_config
    if strict.enabled:
        limits = ", ".join(f"{f.name}={value}" for f, value in strict.ListFields() if f.name != "enabled")
        out.append(f"strict mode is on: {limits or 'without limits'}; an import does not set it")
    for name, vector in vector_params(info).items():
        kind = _quantization(info, vector)
        if kind:
            out.append(f"vector {name!r} is quantised ({kind}) for search; the originals are kept and were read")
        datatype = _enum(pb.Datatype, vector.datatype)
        if datatype.startswith("Turbo"):
            out.append(
                f"vector {name!r} is stored as {datatype}: what was given is not kept, and what comes back is an"
                " approximation"
            )
    if info.payload_schema:
        keys = ", ".join(map(repr, sorted(info.payload_schema)))
        out.append(f"payload indexes on {keys} are kept, and made again by an import into Qdrant")
    if aliases:
        names = ", ".join(map(repr, sorted(aliases)))
        out.append(f"aliases are kept, and given again by an import into Qdrant where they are free: {names}")
    if LOAD_KEY in info.config.metadata:
        out.append("an import into this collection has not ended: its index may not be built until the import goes on")
    if not metadata:
        out.append("this server keeps no collection metadata (it came with 1.16), so a passport has no place in it")
    return out


def parse_where(text: str | None, pb_filter: bool = True) -> Any:
    """A filter in the JSON of Qdrant's REST interface.

    Args:
        text: as the user typed it, None for no filter.
        pb_filter: return a gRPC ``Filter``; a REST model otherwise.

    Raises:
        UsageError: not JSON, or a key or value that Qdrant's filters do not have.
    """
    if text is None:
        return None
    from pydantic import ValidationError
    from qdrant_client.conversions.conversion import RestToGrpc
    from qdrant_client.http import models

    example = """for example {"must": [{"key": "year", "range": {"gte": 2020}}]}"""
    try:
        data = json.loads(text)
        if not isinstance(data, dict):
            raise ValueError("a filter is a JSON object")
        model = models.Filter.model_validate(data)
        return RestToGrpc.convert_filter(model) if pb_filter else model
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise UsageError("--where is no filter of Qdrant", why=f"{where}: {first['msg']}", next=example) from None
    except (ValueError, TypeError, OverflowError) as error:
        raise UsageError("--where is no filter of Qdrant", why=str(error), next=example) from None


# ---- writing ----


_DTYPES: Final = frozenset(STORED_AS)
_METADATA: Final = MetadataRules(
    exact=frozenset(
        {
            "null", "boolean", "integer", "integer64", "number", "number_negative_zero", "string", "string_nul",
            "list_empty", "list_string", "list_integer", "list_number", "list_boolean", "list_mixed", "object",
        }
    ),
    survives=survives_serde_json,
)  # fmt: skip
#: What a server holds.
CAPABILITIES: Final = TargetCapabilities(
    id_kinds=ID_KINDS,
    id_text=False,
    id_int_min=0,
    id_int_max=wire.MAX_INT_KEY,
    vectors=256,
    unnamed_vector=True,
    named_kinds=frozenset({"sparse"}),
    kinds={"dense": _DTYPES, "sparse": frozenset({"float32"}), "multi": _DTYPES},
    metrics=frozenset(DISTANCES),
    kind_metrics={"sparse": frozenset({SPARSE_METRIC})},
    metric_required=True,
    max_dim=MAX_DIM,
    null_vectors=True,
    nonfinite_vectors=False,
    bounds={"cosine": BOUND},
    dtype_bounds={"float16": {"cosine": HALF_BOUND}, "uint8": {}},
    native_document=False,
    native_namespace=False,
    collection_names=COLLECTION_NAMES,
    vector_names=VECTOR_NAMES,
    metadata=_METADATA,
    passport=True,
    ack="upsert",
    concurrency="processes",
    if_exists=frozenset({"create", "append", "replace"}),
    on_conflict=frozenset({"replace", "skip", "fail"}),
    write_rows=1_000,
)


def check_plan(plan: TargetPlan, capabilities: TargetCapabilities = CAPABILITIES) -> Collection:
    """The collection of a plan, checked against what a place takes.

    Raises:
        NotRepresentable: a name, kind, dtype, dimension or metric that Qdrant does not have.
        UsageError: ``if_exists`` or ``on_conflict`` is not offered.
    """
    checks.check_plan(plan, capabilities, TITLE)
    return plan.collection


def check_alias(alias: str) -> None:
    """Raise ``NotRepresentable`` for an alias that a server would refuse."""
    if problem := ALIAS_NAMES.problem(alias):
        raise NotRepresentable(f"alias name {alias!r}", problem, "nothing was written")


def create_request(plan: TargetPlan, pb: Any) -> Any:
    """The ``CreateCollection`` message for a plan."""
    collection = check_plan(plan)
    request = pb.CreateCollection(collection_name=collection.name)
    vectors = {f.name: _vector_params(f, pb) for f in collection.vectors if f.kind != "sparse"}
    sparse = {f.name: pb.SparseVectorParams() for f in collection.vectors if f.kind == "sparse"}
    settings.apply(request, plan, vectors, sparse)
    if set(vectors) == {""}:
        request.vectors_config.params.CopyFrom(vectors[""])
    else:
        request.vectors_config.params_map.SetInParent()
        for name, params in vectors.items():
            request.vectors_config.params_map.map[name].CopyFrom(params)
    for name, params in sparse.items():
        request.sparse_vectors_config.map[name].CopyFrom(params)
    request.metadata[PASSPORT_KEY].string_value = passports.text_of(plan.passport)
    request.metadata[LOAD_KEY].string_value = settings.created_text(plan.import_id)
    return request


def _vector_params(field: VectorField, pb: Any) -> Any:
    params = pb.VectorParams(size=field.dim, distance=pb.Distance.Value(DISTANCES[field.metric]))
    if STORED_AS[field.dtype]:
        params.datatype = pb.Datatype.Value(STORED_AS[field.dtype])
    if field.kind == "multi":
        params.multivector_config.comparator = pb.MultiVectorComparator.Value("MaxSim")
    return params


def holds_passport(info: Any, passport: Mapping[str, Json]) -> bool:
    """Whether this very passport stands in a collection's metadata."""
    stored = info.config.metadata
    return PASSPORT_KEY in stored and stored[PASSPORT_KEY].string_value == passports.text_of(passport)


def check_fit(plan: TargetPlan, info: Any, pb: Any, *, datatypes: bool = True) -> None:
    """Refuse to write into an existing collection that cannot hold the plan's records.

    Raises:
        NotRepresentable: other vectors, or of another kind, type, dimension or metric.
    """
    collection = check_plan(plan)
    there = {v.name: v for v in read_collection(collection.name, info, pb, datatypes=datatypes).vectors}
    mine = {v.name: v for v in collection.vectors}
    differences = [("vectors", sorted(mine), sorted(there))] if mine.keys() != there.keys() else []
    for name in mine.keys() & there.keys():
        of = f" of vector {name!r}" if name else ""
        for what, attribute in (("dimension", "dim"), ("metric", "metric"), ("kind", "kind"), ("type", "dtype")):
            differences.append((f"{what}{of}", getattr(mine[name], attribute), getattr(there[name], attribute)))
    for what, ours, theirs in differences:
        if ours != theirs:
            raise NotRepresentable(
                f"collection {collection.name!r} exists with {what} {theirs!r}, the import needs {ours!r}",
                safe="nothing was written",
                next="choose another name with -c, or --if-exists replace",
            )
