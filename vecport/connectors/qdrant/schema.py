"""What a Qdrant collection is: its settings as vecport's schema, notes and passport, and a plan as its settings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from ...errors import NotRepresentable, UsageError
from ...model.collection import Bound, Collection, VectorField
from ..base import Json, TargetPlan

ID_KIND: Final = "int|uuid"
ID_KINDS: Final = frozenset({"int", "uuid", ID_KIND})
PASSPORT_KEY: Final = "vecport"
BOUND: Final = Bound(relative=1e-6, normalized=True)
DISTANCES: Final = {"cosine": "Cosine", "dot": "Dot", "l2": "Euclid", "l1": "Manhattan"}
METRICS: Final = {distance: metric for metric, distance in DISTANCES.items()}

MAX_DIM: Final = 65_536
_FORBIDDEN = '<>:"/\\|?*\0\x1f'
_EXACT_DATATYPES = ("Default", "Float32")


# ---- reading ----


def enum_name(enum: Any, number: int) -> str:
    """The name of an enum's value, or the number itself when a later server made it up."""
    return str(enum.Name(number)) if number in enum.values() else str(number)


def vector_params(info: Any) -> dict[str, Any]:
    """The ``VectorParams`` of a ``CollectionInfo`` by vector name; the unnamed vector is ``""``."""
    config = info.config.params.vectors_config
    if config.WhichOneof("config") == "params":
        return {"": config.params}
    return dict(config.params_map.map)


def unsupported(info: Any, pb: Any) -> list[str]:
    """What this collection has that vecport does not carry yet, each by name."""
    params = info.config.params
    found = [f"sparse vector {name!r}" for name in sorted(params.sparse_vectors_config.map)]
    dense = vector_params(info)
    for name, vector in sorted(dense.items()):
        datatype = enum_name(pb.Datatype, vector.datatype)
        if vector.HasField("multivector_config"):
            found.append(f"multi vector {name!r}")
        elif datatype not in _EXACT_DATATYPES:
            found.append(f"vector {name!r} of {datatype.lower()}")
        elif (distance := enum_name(pb.Distance, vector.distance)) not in METRICS:
            found.append(f"vector {name!r} with distance {distance}")
    if len(dense) > 1:
        found.append(f"{len(dense)} dense vectors: {', '.join(map(repr, sorted(dense)))}")
    if not dense and not found:
        found.append("no vector at all")
    if params.sharding_method == pb.Custom:
        found.append("custom sharding")
    return found


def read_collection(name: str, info: Any, pb: Any, *, normalises: bool = True) -> Collection:
    """The schema of a collection.

    Args:
        name: of the collection.
        info: ``CollectionInfo``.
        pb: the module ``qdrant_client.grpc``.
        normalises: vectors for cosine come back as unit vectors.

    Raises:
        NotRepresentable: it has something that vecport does not carry yet.
    """
    found = unsupported(info, pb)
    if found:
        raise NotRepresentable(
            f"collection {name!r} has what vecport does not carry yet: {'; '.join(found)}",
            why="one dense float32 vector a record is carried so far",
            safe="nothing was read or written",
        )
    ((vector_name, vector),) = vector_params(info).items()
    metric = METRICS[pb.Distance.Name(vector.distance)]
    cosine = normalises and metric == "cosine"
    field = VectorField(
        name=vector_name,
        dim=int(vector.size),
        metric=metric,
        normalized=cosine,
        fidelity="bounded" if cosine else "exact",
        bound=BOUND if cosine else None,
    )
    return Collection(name=name, id_kind=ID_KIND, vectors=(field,), native=_native(info, vector, pb))


def _native(info: Any, vector: Any, pb: Any) -> dict[str, Any]:
    """Settings worth keeping, by an allow-list; informative."""
    config = info.config
    out: dict[str, Any] = {
        "shard_number": config.params.shard_number,
        "replication_factor": config.params.replication_factor,
        "write_consistency_factor": config.params.write_consistency_factor,
        "on_disk_payload": config.params.on_disk_payload,
        "on_disk": vector.on_disk,
        "hnsw_m": vector.hnsw_config.m if vector.hnsw_config.HasField("m") else config.hnsw_config.m,
        "hnsw_ef_construct": vector.hnsw_config.ef_construct
        if vector.hnsw_config.HasField("ef_construct")
        else config.hnsw_config.ef_construct,
        "indexing_threshold": config.optimizer_config.indexing_threshold,
        "payload_indexes": {
            key: enum_name(pb.PayloadSchemaType, index.data_type).lower()
            for key, index in sorted(info.payload_schema.items())
        },
    }
    kind = _quantization(info, vector)
    return out | ({"quantization": kind} if kind else {})


def _quantization(info: Any, vector: Any) -> str:
    own = vector.quantization_config.WhichOneof("quantization")
    return own or info.config.quantization_config.WhichOneof("quantization") or ""


def read_passport(info: Any) -> tuple[Mapping[str, Json] | None, str]:
    """The passport in a collection's metadata, and a note when something stands there that cannot be read."""
    if PASSPORT_KEY not in info.config.metadata:
        return None, ""
    try:
        passport = json.loads(info.config.metadata[PASSPORT_KEY].string_value)
        if isinstance(passport, dict):
            return passport, ""
    except ValueError:
        pass
    return None, f"the collection's metadata key {PASSPORT_KEY!r} holds no passport that can be read; it is left out"


def notes(info: Any, pb: Any, *, metadata: bool, aliases: list[str]) -> list[str]:
    """One sentence for everything about a collection that a user should know before relying on a dump.

    Args:
        info: ``CollectionInfo``.
        pb: the module ``qdrant_client.grpc``.
        metadata: the server keeps collection metadata.
        aliases: of the collection.
    """
    out: list[str] = []
    status = enum_name(pb.CollectionStatus, info.status)
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
        out.append(f"strict mode is on: {limits or 'without limits'}")
    for name, vector in vector_params(info).items():
        kind = _quantization(info, vector)
        if kind:
            out.append(f"vector {name!r} is quantised ({kind}) for search; the originals are kept and were read")
    if info.payload_schema:
        keys = ", ".join(map(repr, sorted(info.payload_schema)))
        out.append(f"payload indexes on {keys} are listed in the native settings; an import does not create them")
    if aliases:
        out.append(f"aliases are not part of a dump: {', '.join(map(repr, sorted(aliases)))}")
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

_COUNT = (1, 1 << 31)
#: ``--set`` keys: the path of the field in ``CreateCollection`` or the vector's parameters, and its range or bool.
SETTINGS: Final[dict[str, tuple[str, tuple[int, int] | None]]] = {
    "hnsw_ef_construct": ("hnsw_config.ef_construct", (4, 1 << 31)),
    "hnsw_full_scan_threshold": ("hnsw_config.full_scan_threshold", (0, 1 << 31)),
    "hnsw_m": ("hnsw_config.m", (0, 1 << 31)),
    "hnsw_on_disk": ("hnsw_config.on_disk", None),
    "indexing_threshold": ("optimizers_config.indexing_threshold", (0, 1 << 31)),
    "on_disk": ("vectors_config.params.on_disk", None),
    "on_disk_payload": ("on_disk_payload", None),
    "replication_factor": ("replication_factor", _COUNT),
    "shard_number": ("shard_number", _COUNT),
    "write_consistency_factor": ("write_consistency_factor", _COUNT),
}


def parse_settings(settings: Mapping[str, str]) -> dict[str, int | bool]:
    """Check and type the user's ``--set`` choices; ``metric`` is the mapping's and passed over.

    Raises:
        UsageError: an unknown key (the known ones are listed), or a value of the wrong kind.
    """
    out: dict[str, int | bool] = {}
    for key, text in settings.items():
        if key == "metric":
            continue
        if key not in SETTINGS:
            raise UsageError(f"--set {key}: Qdrant has no such setting", next=f"one of: {', '.join(sorted(SETTINGS))}")
        bounds = SETTINGS[key][1]
        if bounds is None:
            if text.lower() not in ("true", "false"):
                raise UsageError(f"--set {key}={text}: not a yes or no", next="true or false")
            out[key] = text.lower() == "true"
        elif text.isdecimal() and bounds[0] <= int(text) <= bounds[1]:
            out[key] = int(text)
        else:
            raise UsageError(f"--set {key}={text}: not a number it takes", next=f"from {bounds[0]} to {bounds[1]:,}")
    return out


def plan_vector(plan: TargetPlan) -> VectorField:
    """The one vector of a plan, checked against what a server takes.

    Raises:
        NotRepresentable: a name, kind, dtype, dimension or metric that Qdrant does not have, or not one vector.
    """
    collection = plan.collection
    if collection.id_kind not in ID_KINDS:
        raise NotRepresentable(
            f"ids of kind {collection.id_kind}", why="Qdrant holds integers from 0 to 2^64-1 and UUIDs"
        )
    if len(collection.vectors) != 1:
        raise NotRepresentable(
            f"collection {collection.name!r} has {len(collection.vectors)} vectors a record",
            why="one dense float32 vector a record is carried so far",
        )
    field = collection.vectors[0]
    if field.kind != "dense" or field.dtype != "float32":
        raise NotRepresentable(f"vector {field.name!r} of kind {field.kind} and type {field.dtype} is not carried yet")
    if not 1 <= (field.dim or 0) <= MAX_DIM:
        raise NotRepresentable(f"vector {field.name!r} has {field.dim} dimensions", why=f"Qdrant takes 1 to {MAX_DIM}")
    if field.metric not in DISTANCES:
        raise NotRepresentable(f"metric {field.metric!r}", why=f"Qdrant has {', '.join(DISTANCES)}")
    _check_name("collection", collection.name, len(collection.name), 255)
    if field.name:
        _check_name("vector", field.name, len(field.name.encode()), 200)
    return field


def _check_name(what: str, name: str, size: int, limit: int) -> None:
    bad = sorted({c for c in name if c in _FORBIDDEN})
    if bad:
        raise NotRepresentable(f"{what} name {name!r}", why=f"Qdrant takes no {' '.join(map(repr, bad))} in a name")
    if not 1 <= size <= limit:
        unit = "bytes" if what == "vector" else "characters"
        raise NotRepresentable(f"{what} name {name!r}", why=f"Qdrant takes names of 1 to {limit} {unit}")


def create_request(plan: TargetPlan, pb: Any) -> Any:
    """The ``CreateCollection`` message for a plan."""
    field = plan_vector(plan)
    request = pb.CreateCollection(collection_name=plan.collection.name)
    params = pb.VectorParams(size=field.dim, distance=pb.Distance.Value(DISTANCES[field.metric]))
    for key, value in parse_settings(plan.settings).items():
        *parents, last = SETTINGS[key][0].split(".")
        message: Any = request
        if parents[:1] == ["vectors_config"]:
            message, parents = params, []
        for parent in parents:
            message = getattr(message, parent)
        setattr(message, last, value)
    if field.name:
        request.vectors_config.params_map.map[field.name].CopyFrom(params)
    else:
        request.vectors_config.params.CopyFrom(params)
    request.metadata[PASSPORT_KEY].string_value = passport_text(plan.passport)
    return request


def passport_text(passport: Mapping[str, Json]) -> str:
    """A passport as the text that is stored in the collection's metadata."""
    return json.dumps(passport, sort_keys=True, ensure_ascii=False)


def holds_passport(info: Any, passport: Mapping[str, Json]) -> bool:
    """Whether this very passport stands in a collection's metadata."""
    stored = info.config.metadata
    return PASSPORT_KEY in stored and stored[PASSPORT_KEY].string_value == passport_text(passport)


def check_fit(plan: TargetPlan, info: Any, pb: Any) -> None:
    """Refuse to write into an existing collection that cannot hold the plan's records.

    Raises:
        NotRepresentable: another vector name, dimension or metric, or something that vecport does not carry yet.
    """
    field, name = plan_vector(plan), plan.collection.name
    there = read_collection(name, info, pb).vectors[0]
    for what, mine, theirs in (
        ("vector name", field.name, there.name),
        ("dimension", field.dim, there.dim),
        ("metric", field.metric, there.metric),
    ):
        if mine != theirs:
            raise NotRepresentable(
                f"collection {name!r} exists with {what} {theirs!r}, the import needs {mine!r}",
                safe="nothing was written",
                next="choose another name with -c, or --if-exists replace",
            )
