"""A collection's configuration: defaults, limits, changes, and what of it the engine is told.

The configuration is kept as Qdrant's own message `CollectionConfig`, which `Get` answers with.
"""

from __future__ import annotations

from typing import Any

import qdrant_edge as edge
from qdrant_client import grpc as pb

from .convert import payload_in, value_out
from .errors import bad_input, invalid, invalid_body, unimplemented

FORBIDDEN_IN_NAMES = '<>:"/\\|?*\0\x1f'
MAX_NAME_LENGTH = 255
MAX_VECTOR_SIZE = 65536
NO_VECTOR = "no vector"

_LIMITS: dict[str, tuple[float, float | None]] = {
    "hnsw_config.ef_construct": (4, None),
    "wal_config.wal_capacity_mb": (1, None),
    "wal_config.wal_retain_closed": (1, None),
    "optimizers_config.deleted_threshold": (0, 1),
    "optimizers_config.vacuum_min_vector_number": (100, None),
    "optimizers_config.max_segment_size": (1, None),
    "params.replication_factor": (1, None),
    "params.write_consistency_factor": (1, None),
    "shard_number": (1, None),
    "replication_factor": (1, None),
    "write_consistency_factor": (1, None),
}


def default_config() -> pb.CollectionConfig:
    """Return the configuration of a collection on a server with its default settings."""
    return pb.CollectionConfig(
        params=pb.CollectionParams(
            shard_number=1, replication_factor=1, write_consistency_factor=1, on_disk_payload=True
        ),
        hnsw_config=pb.HnswConfigDiff(
            m=16, ef_construct=100, full_scan_threshold=10000, max_indexing_threads=0, on_disk=False
        ),
        optimizer_config=pb.OptimizersConfigDiff(
            deleted_threshold=0.2,
            vacuum_min_vector_number=1000,
            default_segment_number=0,
            indexing_threshold=10000,
            flush_interval_sec=5,
            max_optimization_threads=pb.MaxOptimizationThreads(setting=pb.MaxOptimizationThreads.Auto),
        ),
        wal_config=pb.WalConfigDiff(wal_capacity_mb=32, wal_segments_ahead=0, wal_retain_closed=1),
    )


def config_in(request: pb.CreateCollection) -> pb.CollectionConfig:
    """Return the configuration that a request to create a collection asks for.

    Raises:
        StatusError: a value is out of its limits, or of a kind that this server does not have.
    """
    check_name(request.collection_name)
    _check_limits(request)
    if request.sharding_method == pb.Custom:
        raise unimplemented("sharding method `Custom`")
    config = default_config()
    params = config.params
    for name in ("shard_number", "replication_factor", "write_consistency_factor", "on_disk_payload"):
        if request.HasField(name):
            setattr(params, name, getattr(request, name))
    for name in ("sparse_vectors_config", "payload", "id_tracker"):
        if request.HasField(name):
            getattr(params, name).CopyFrom(getattr(request, name))
    params.vectors_config.CopyFrom(request.vectors_config)
    if params.vectors_config.WhichOneof("config") is None:
        params.vectors_config.params_map.SetInParent()
    _merge_common(config, request)
    if request.HasField("quantization_config"):
        config.quantization_config.CopyFrom(request.quantization_config)
    config.wal_config.MergeFrom(request.wal_config)
    for vector in _vector_params(params.vectors_config).values():
        _check_vector(vector)
    if "" in params.sparse_vectors_config.map:
        raise bad_input("Sparse vector name cannot be empty")
    return config


def update_config(config: pb.CollectionConfig, request: pb.UpdateCollection) -> None:
    """Change a configuration as a request to update a collection asks.

    Raises:
        StatusError: a value is out of its limits, or a vector does not exist.
    """
    _check_limits(request)
    _merge_common(config, request)
    config.params.MergeFrom(_as_params(request.params))
    vectors = _vector_params(config.params.vectors_config)
    for name, change in _vector_params(request.vectors_config).items():
        if name not in vectors:
            raise bad_input(f"Not existing vector name error: {name}")
        _merge_vector(vectors[name], change)
    for name, sparse in request.sparse_vectors_config.map.items():
        if name not in config.params.sparse_vectors_config.map:
            raise bad_input(f"Not existing vector name error: {name}")
        config.params.sparse_vectors_config.map[name].MergeFrom(sparse)
    if request.HasField("quantization_config"):
        _set_quantization(config, request.quantization_config)


def check_name(name: str) -> None:
    """Refuse a name that no new collection may have."""
    if not 1 <= len(name) <= MAX_NAME_LENGTH:
        raise invalid_body("collection_name", "length must be from 1 to 255 characters")
    for character in FORBIDDEN_IN_NAMES:
        if character in name:
            raise invalid_body("collection_name", f'collection name cannot contain "{character}" char')


def edge_config(config: pb.CollectionConfig) -> edge.EdgeConfig:
    """Return what the engine is told of a configuration: what decides about stored values.

    Raises:
        StatusError: the engine lacks a distance, a datatype or a modifier.
    """
    params = config.params
    vectors = {name: _edge_vector(item) for name, item in _vector_params(params.vectors_config).items()}
    sparse = {name: _edge_sparse(item) for name, item in params.sparse_vectors_config.map.items()}
    if not vectors and not sparse:
        # A server takes a collection without vectors; the engine needs one, which no point ever has.
        sparse = {NO_VECTOR: edge.EdgeSparseVectorParams()}
    return edge.EdgeConfig(vectors=vectors, sparse_vectors=sparse)


def engine_enum(kind: Any, message_enum: Any, number: int) -> Any:
    """Return the engine's value of an enum that has the name of the message's.

    Raises:
        StatusError: the engine has no such value.
    """
    name = message_enum.Name(number)
    if not hasattr(kind, name):
        raise unimplemented(f"{message_enum.DESCRIPTOR.name} `{name}`")
    return getattr(kind, name)


def _edge_vector(params: pb.VectorParams) -> edge.EdgeVectorParams:
    multi = None
    if params.HasField("multivector_config"):
        comparator = params.multivector_config.comparator
        multi = edge.MultiVectorConfig(engine_enum(edge.MultiVectorComparator, pb.MultiVectorComparator, comparator))
    return edge.EdgeVectorParams(
        size=params.size,
        distance=engine_enum(edge.Distance, pb.Distance, params.distance),
        multivector_config=multi,
        datatype=_edge_datatype(params.datatype),
    )


def _edge_sparse(params: pb.SparseVectorParams) -> edge.EdgeSparseVectorParams:
    modifier = engine_enum(edge.Modifier, pb.Modifier, params.modifier) if params.modifier else None
    return edge.EdgeSparseVectorParams(modifier=modifier, datatype=_edge_datatype(params.index.datatype))


def _edge_datatype(number: int) -> Any:
    if number == pb.Default:
        return None
    return engine_enum(edge.VectorStorageDatatype, pb.Datatype, number)


def _vector_params(config: Any) -> dict[str, Any]:
    """Return the parameters or changes by vector name; the unnamed vector is ''."""
    kind = config.WhichOneof("config")
    if kind == "params":
        return {"": config.params}
    return dict(config.params_map.map) if kind == "params_map" else {}


def _check_vector(params: pb.VectorParams) -> None:
    if not 1 <= params.size <= MAX_VECTOR_SIZE:
        raise invalid_body("vectors_config.size", f"value {params.size} invalid, must be from 1 to 65536")
    if params.distance == pb.UnknownDistance:
        raise invalid("Malformed distance parameter: UnknownDistance")


def _check_limits(request: Any) -> None:
    """Refuse a request with a number out of the limits that the server documents."""
    for path, (low, high) in _LIMITS.items():
        message: Any = request
        *parents, last = path.split(".")
        for parent in parents:
            message = getattr(message, parent, None)
        if message is None or last not in message.DESCRIPTOR.fields_by_name or not message.HasField(last):
            continue
        value = getattr(message, last)
        if value < low or (high is not None and value > high):
            raise invalid_body(path, f"value {value} invalid, must be {low} or larger")


def _merge_common(config: pb.CollectionConfig, request: Any) -> None:
    """Apply what a creation and an update have in common."""
    config.hnsw_config.MergeFrom(request.hnsw_config)
    config.optimizer_config.MergeFrom(request.optimizers_config)
    if request.HasField("strict_mode_config"):
        config.strict_mode_config.MergeFrom(request.strict_mode_config)
    for key, value in payload_in(request.metadata).items():
        config.metadata.pop(key, None)
        # A change to null removes the key.
        if value is not None or isinstance(request, pb.CreateCollection):
            value_out(config.metadata[key], value)


def _as_params(change: pb.CollectionParamsDiff) -> pb.CollectionParams:
    """Return the parameters that hold the values of a change, and no others."""
    params = pb.CollectionParams()
    for field, value in change.ListFields():
        if field.message_type is None:
            setattr(params, field.name, value)
        else:
            getattr(params, field.name).CopyFrom(value)
    return params


def _merge_vector(params: pb.VectorParams, change: pb.VectorParamsDiff) -> None:
    if change.HasField("hnsw_config"):
        params.hnsw_config.MergeFrom(change.hnsw_config)
    for name in ("on_disk", "memory"):
        if change.HasField(name):
            setattr(params, name, getattr(change, name))
    if change.HasField("quantization_config"):
        _set_quantization(params, change.quantization_config)


def _set_quantization(target: Any, change: pb.QuantizationConfigDiff) -> None:
    kind = change.WhichOneof("quantization")
    if kind == "disabled":
        target.ClearField("quantization_config")
    elif kind is not None:
        getattr(target.quantization_config, kind).CopyFrom(getattr(change, kind))
