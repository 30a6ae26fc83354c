"""Reads: which payload and vectors to return, and queries, as protobuf messages to engine objects."""

from __future__ import annotations

from typing import Any

import qdrant_edge as edge
from qdrant_client import grpc as pb

from .convert import id_in, typed_vector_in
from .errors import invalid, invalid_body, not_found, unimplemented
from .filters import filter_in, optional_filter_in
from .store import Collection

DEFAULT_LIMIT = 10


def payload_selector_in(request: Any, *, default: bool) -> Any:
    """Return which payload a request wants.

    Args:
        request: a message with the field `with_payload`.
        default: what an absent field means.

    Raises:
        StatusError: the selector is empty.
    """
    if not request.HasField("with_payload"):
        return default
    selector = request.with_payload
    kind = selector.WhichOneof("selector_options")
    if kind == "enable":
        return selector.enable
    if kind == "include":
        return edge.PayloadSelector.Include(list(selector.include.fields))
    if kind == "exclude":
        return edge.PayloadSelector.Exclude(list(selector.exclude.fields))
    raise invalid("No PayloadSelector")


def vectors_selector_in(request: Any) -> bool | list[str]:
    """Return which vectors a request with the field `with_vectors` wants: none by default."""
    selector = request.with_vectors
    if selector.WhichOneof("selector_options") == "include":
        return list(selector.include.names)
    return bool(selector.enable)


def order_in(message: pb.OrderBy) -> edge.OrderBy:
    """Return an order by a payload field in the engine's form."""
    direction = edge.Direction.Desc if message.direction == pb.Desc else edge.Direction.Asc
    start = message.start_from
    kind = start.WhichOneof("value")
    value: Any = getattr(start, kind) if kind else None
    return edge.OrderBy(message.key, direction, value.ToJsonString() if kind == "timestamp" else value)


def query_in(request: pb.QueryPoints, collection: Collection) -> edge.QueryRequest:
    """Return a query in the engine's form.

    Raises:
        StatusError: it is malformed, or of a kind that this server does not have.
    """
    for field in ("prefetch", "lookup_from"):
        if any(present.name == field for present, _ in request.ListFields()):
            raise unimplemented(f"query with `{field}`")
    limit = request.limit if request.HasField("limit") else DEFAULT_LIMIT
    if limit < 1:
        raise invalid_body("limit", "value 0 invalid, must be 1 or larger")
    condition = optional_filter_in(request)
    query = None
    if request.HasField("query"):
        query, condition = _scoring_in(request, collection, condition)
    return edge.QueryRequest(
        limit=limit,
        offset=request.offset,
        query=query,
        filter=condition,
        score_threshold=request.score_threshold if request.HasField("score_threshold") else None,
        params=_params_in(request.params) if request.HasField("params") else None,
        with_vector=vectors_selector_in(request),
        with_payload=payload_selector_in(request, default=False),
    )


def _scoring_in(request: pb.QueryPoints, collection: Collection, condition: Any) -> tuple[Any, Any]:
    """Return the scoring query and the filter of a request.

    A query by the id of a point leaves that point out, so it changes the filter.
    """
    kind = request.query.WhichOneof("variant")
    if kind == "order_by":
        return order_in(request.query.order_by), condition
    if kind == "sample":
        return edge.Sample.Random, condition
    if kind != "nearest":
        raise unimplemented(f"query `{kind}`")
    using = request.using or ""
    nearest = request.query.nearest
    given = nearest.WhichOneof("variant")
    if given is None:
        raise invalid("Malformed VectorInput")
    if given != "id":
        return edge.Query.Nearest(typed_vector_in(nearest, given), using), condition
    itself = id_in(nearest.id)
    vector = _vector_of(collection, itself, using)
    others = edge.Filter(must=condition and [condition], must_not=[edge.HasIdCondition({itself})])
    return edge.Query.Nearest(vector, using), others


def _vector_of(collection: Collection, point: int | str, name: str) -> Any:
    """Return a stored vector.

    Raises:
        StatusError: there is no such point, or it has no such vector.
    """
    found = collection.shard.retrieve([point], False, [name])
    if not found:
        raise not_found(f"No point with id {point} found")
    vector: Any = found[0].vector
    vector = vector.get(name) if isinstance(vector, dict) else vector
    if vector is None:
        raise invalid(f"Point {point} has no vector `{name}`")
    return vector


def _params_in(message: pb.SearchParams) -> edge.SearchParams:
    """Return search parameters in the engine's form."""
    quantization = acorn = idf = None
    if message.HasField("quantization"):
        given = {field.name: value for field, value in message.quantization.ListFields()}
        quantization = edge.QuantizationSearchParams(**given)
    if message.HasField("acorn"):
        acorn = edge.AcornSearchParams(**{field.name: value for field, value in message.acorn.ListFields()})
    if message.HasField("idf"):
        idf = edge.IdfParams(filter_in(message.idf.corpus) if message.idf.HasField("corpus") else None)
    return edge.SearchParams(
        hnsw_ef=message.hnsw_ef if message.HasField("hnsw_ef") else None,
        exact=message.exact,
        quantization=quantization,
        indexed_only=message.indexed_only,
        acorn=acorn,
        idf=idf,
    )
