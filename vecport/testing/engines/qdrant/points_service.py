"""The gRPC service `qdrant.Points`."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import qdrant_edge as edge
from qdrant_client import grpc as pb

from .convert import id_in, id_out, payload_in, point_in, record_out, vectors_in
from .errors import invalid, invalid_body, unimplemented
from .filters import filter_in, optional_filter_in
from .indexes import index_in
from .queries import DEFAULT_LIMIT, order_in, payload_selector_in, query_in, vectors_selector_in
from .settings import engine_enum
from .store import Collection, Store

Change = edge.UpdateOperation


class PointsService(pb.PointsServicer):  # type: ignore[misc]
    """Points and payload indexes. What is not here answers UNIMPLEMENTED.

    Args:
        store: where the collections are.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    # -- writes --------------------------------------------------------------------------------

    def Upsert(self, request: pb.UpsertPoints, _: object) -> pb.PointsOperationResponse:
        return self._change(request, _upsert)

    def Delete(self, request: pb.DeletePoints, _: object) -> pb.PointsOperationResponse:
        return self._change(request, _delete)

    def UpdateVectors(self, request: pb.UpdatePointVectors, _: object) -> pb.PointsOperationResponse:
        return self._change(request, _update_vectors)

    def DeleteVectors(self, request: pb.DeletePointVectors, _: object) -> pb.PointsOperationResponse:
        return self._change(request, _delete_vectors)

    def SetPayload(self, request: pb.SetPayloadPoints, _: object) -> pb.PointsOperationResponse:
        return self._change(request, _set_payload)

    def OverwritePayload(self, request: pb.SetPayloadPoints, _: object) -> pb.PointsOperationResponse:
        return self._change(request, _overwrite_payload)

    def DeletePayload(self, request: pb.DeletePayloadPoints, _: object) -> pb.PointsOperationResponse:
        return self._change(request, _delete_payload)

    def ClearPayload(self, request: pb.ClearPayloadPoints, _: object) -> pb.PointsOperationResponse:
        return self._change(request, _clear_payload)

    def UpdateBatch(self, request: pb.UpdateBatchPoints, _: object) -> pb.UpdateBatchResponse:
        started = time.monotonic()
        if not request.operations:
            raise invalid_body("operations", "length must be 1 or larger")
        collection = self._store.get(request.collection_name)
        changes = []
        for operation in request.operations:
            kind = operation.WhichOneof("operation")
            if kind not in _BATCHED:
                raise unimplemented(f"batched operation `{kind}`")
            changes.append(_BATCHED[kind](getattr(operation, kind)))
        results = [collection.update(change, wait=request.wait) for change in changes]
        return pb.UpdateBatchResponse(result=results, time=time.monotonic() - started)

    def CreateFieldIndex(self, request: pb.CreateFieldIndexCollection, _: object) -> pb.PointsOperationResponse:
        info, schema = index_in(request)
        name = request.field_name

        def remember(stored: pb.CollectionInfo) -> None:
            stored.payload_schema[name].CopyFrom(info)

        return self._change(request, lambda _: Change.create_field_index(name, schema), remember)

    def DeleteFieldIndex(self, request: pb.DeleteFieldIndexCollection, _: object) -> pb.PointsOperationResponse:
        name = request.field_name

        def forget(stored: pb.CollectionInfo) -> None:
            stored.payload_schema.pop(name, None)

        return self._change(request, lambda _: Change.delete_field_index(name), forget)

    def _change(
        self,
        request: Any,
        convert: Callable[[Any], Any],
        afterwards: Callable[[pb.CollectionInfo], None] | None = None,
    ) -> pb.PointsOperationResponse:
        """Apply one change to a collection.

        Args:
            request: the message, which names the collection.
            convert: makes the engine's operation of it.
            afterwards: what it changes of the collection's configuration.
        """
        started = time.monotonic()
        collection = self._store.get(request.collection_name)
        result = collection.update(convert(request), wait=request.wait)
        if afterwards is not None:
            collection.change(afterwards)
        return pb.PointsOperationResponse(result=result, time=time.monotonic() - started)

    # -- reads ---------------------------------------------------------------------------------

    def _collection(self, request: Any) -> Collection:
        """Return the collection that a read names."""
        _refuse_shard_keys(request)
        return self._store.get(request.collection_name)

    def Get(self, request: pb.GetPoints, _: object) -> pb.GetResponse:
        started = time.monotonic()
        shard = self._collection(request).shard
        ids: list[Any] = list(dict.fromkeys(map(id_in, request.ids)))
        records = shard.retrieve(ids, payload_selector_in(request, default=False), vectors_selector_in(request))
        response = pb.GetResponse()
        for record in records:
            record_out(response.result.add(), record)
        response.time = time.monotonic() - started
        return response

    def Scroll(self, request: pb.ScrollPoints, _: object) -> pb.ScrollResponse:
        started = time.monotonic()
        shard = self._collection(request).shard
        limit = request.limit if request.HasField("limit") else DEFAULT_LIMIT
        if limit < 1:
            raise invalid("Bad request: Limit cannot be 0")
        records, following = shard.scroll(
            edge.ScrollRequest(
                offset=id_in(request.offset) if request.HasField("offset") else None,
                limit=limit,
                filter=optional_filter_in(request),
                with_payload=payload_selector_in(request, default=True),
                with_vector=vectors_selector_in(request),
                order_by=order_in(request.order_by) if request.HasField("order_by") else None,
            )
        )
        response = pb.ScrollResponse()
        for record in records:
            record_out(response.result.add(), record)
        if following is not None:
            id_out(response.next_page_offset, following)
        response.time = time.monotonic() - started
        return response

    def Count(self, request: pb.CountPoints, _: object) -> pb.CountResponse:
        started = time.monotonic()
        shard = self._collection(request).shard
        exact = request.exact if request.HasField("exact") else True
        count = shard.count(edge.CountRequest(exact, optional_filter_in(request)))
        return pb.CountResponse(result=pb.CountResult(count=count), time=time.monotonic() - started)

    def Query(self, request: pb.QueryPoints, _: object) -> pb.QueryResponse:
        started = time.monotonic()
        response = pb.QueryResponse()
        self._query(request, response.result)
        response.time = time.monotonic() - started
        return response

    def QueryBatch(self, request: pb.QueryBatchPoints, _: object) -> pb.QueryBatchResponse:
        started = time.monotonic()
        response = pb.QueryBatchResponse()
        for query in request.query_points:
            query.collection_name = request.collection_name
            self._query(query, response.result.add().result)
        response.time = time.monotonic() - started
        return response

    def Facet(self, request: pb.FacetCounts, _: object) -> pb.FacetResponse:
        started = time.monotonic()
        shard = self._collection(request).shard
        limit = request.limit if request.HasField("limit") else DEFAULT_LIMIT
        found = shard.facet(edge.FacetRequest(request.key, limit, request.exact, optional_filter_in(request)))
        response = pb.FacetResponse(time=time.monotonic() - started)
        for hit in found.hits:
            target = response.hits.add(count=hit.count)
            kind = {bool: "bool_value", int: "integer_value"}.get(type(hit.value), "string_value")
            setattr(target.value, kind, hit.value)
        return response

    def _query(self, request: pb.QueryPoints, target: Any) -> None:
        """Run one query and add what it finds to the repeated field `target`."""
        collection = self._collection(request)
        for found in collection.shard.query(query_in(request, collection)):
            point = target.add(score=found.score, version=found.version)
            record_out(point, found)


# -- changes in the engine's form --------------------------------------------------------------


def _refuse_shard_keys(request: Any) -> None:
    if request.HasField("shard_key_selector"):
        raise unimplemented("shard_key_selector")


def _upsert(request: pb.UpsertPoints | pb.PointsUpdateOperation.PointStructList) -> Any:
    _refuse_shard_keys(request)
    points = [point_in(point) for point in request.points]
    mode = engine_enum(edge.UpdateMode, pb.UpdateMode, request.update_mode) if request.update_mode else None
    return Change.upsert_points(points, optional_filter_in(request, "update_filter"), mode)


def _update_vectors(request: pb.UpdatePointVectors | pb.PointsUpdateOperation.UpdateVectors) -> Any:
    _refuse_shard_keys(request)
    vectors = [edge.PointVectors(id_in(point.id), vectors_in(point.vectors)) for point in request.points]
    return Change.update_vectors(vectors, optional_filter_in(request, "update_filter"))


def _selected(request: Any, field: str, by_ids: Callable[..., Any], by_filter: Callable[..., Any], *rest: Any) -> Any:
    """Return the operation on the points that the selector in `field` names."""
    _refuse_shard_keys(request)
    selector = getattr(request, field)
    kind = selector.WhichOneof("points_selector_one_of")
    if kind == "points":
        return by_ids([id_in(item) for item in selector.points.ids], *rest)
    if kind == "filter":
        return by_filter(filter_in(selector.filter), *rest)
    raise invalid("PointSelector is missing")


def _delete(request: Any) -> Any:
    return _selected(request, "points", Change.delete_points, Change.delete_points_by_filter)


def _delete_vectors(request: Any) -> Any:
    names = list(request.vectors.names)
    if not names:
        raise invalid_body("vector_names", "must specify vector names to delete")
    by_ids, by_filter = Change.delete_vectors, Change.delete_vectors_by_filter
    return _selected(request, "points_selector", by_ids, by_filter, names)


def _set_payload(request: Any) -> Any:
    by_ids, by_filter = Change.set_payload, Change.set_payload_by_filter
    rest = payload_in(request.payload), request.key or None
    return _selected(request, "points_selector", by_ids, by_filter, *rest)


def _overwrite_payload(request: Any) -> Any:
    by_ids, by_filter = Change.overwrite_payload, Change.overwrite_payload_by_filter
    rest = payload_in(request.payload), request.key or None
    return _selected(request, "points_selector", by_ids, by_filter, *rest)


def _delete_payload(request: Any) -> Any:
    by_ids, by_filter = Change.delete_payload, Change.delete_payload_by_filter
    return _selected(request, "points_selector", by_ids, by_filter, list(request.keys))


def _clear_payload(request: Any) -> Any:
    return _selected(request, "points", Change.clear_payload, Change.clear_payload_by_filter)


_BATCHED: dict[str | None, Callable[[Any], Any]] = {
    "upsert": _upsert,
    "delete_points": _delete,
    "update_vectors": _update_vectors,
    "delete_vectors": _delete_vectors,
    "set_payload": _set_payload,
    "overwrite_payload": _overwrite_payload,
    "delete_payload": _delete_payload,
    "clear_payload": _clear_payload,
}
