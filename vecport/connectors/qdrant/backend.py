"""What sources and targets need of a place that holds Qdrant collections, and a server as such a place."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ...errors import NotFound, Unavailable
from ...model import canonical
from ...model.collection import Collection, VectorField
from ..contract import Permission, TargetPlan
from ..kit import flight, ranges
from ..kit.places import not_found
from ..kit.requests import joined
from . import packing, permissions, schema, settings, vectors, wire
from .client import Pending, Server
from .wire import PointKey

REQUEST_BYTES: Final = 16 << 20
REQUESTS_IN_FLIGHT: Final = 4
READ_ATTEMPTS: Final = 3
#: A payload index of a large collection is built before the request is answered.
INDEX_SECONDS: Final = 3600.0


@dataclass(slots=True)
class Rows(ranges.Rows[PointKey]):
    """Some records.

    Attributes:
        metadata: canonical JSON texts, None when payloads were not asked for.
        vectors: columns by the vectors' names, None when vectors were not asked for.
    """

    metadata: pa.Array[Any] | None = None
    vectors: dict[str, pa.Array[Any]] | None = None

    def head(self, rows: int) -> Rows:
        metadata = None if self.metadata is None else self.metadata.slice(0, rows)
        vectors = None if self.vectors is None else {k: v.slice(0, rows) for k, v in self.vectors.items()}
        return Rows(self.keys[:rows], metadata=metadata, vectors=vectors)


@dataclass(frozen=True, slots=True)
class Read:
    """What is read of a collection.

    Attributes:
        collection: its name.
        vectors: the vector fields to read with their payload, which may be none; None for keys alone.
        filter: in the backend's own form, None for all records.
    """

    collection: str
    vectors: tuple[VectorField, ...] | None
    filter: Any = None


class Backend(ABC):
    """A place that holds collections: a server, or a folder of the client's local mode.

    Attributes:
        text: the place, as it may be shown.
        version: of the server, or of the client for a folder.
        pb: the module ``qdrant_client.grpc``.
        keeps_metadata: collections have metadata.
        normalises: vectors for cosine come back as unit vectors.
        slices: filters know ``SliceCondition``.
        skips: writes can leave records as they are that are there already.
        tunes: collections have indexes and optimizers, whose settings matter.
        datatypes: vectors are stored as the collection's settings say, and not simply as they were given.
        remarks: notes about the place itself.
    """

    text: str
    version: str
    pb: Any
    keeps_metadata: bool = True
    normalises: bool = True
    slices: bool = False
    skips: bool = True
    tunes: bool = True
    datatypes: bool = True
    remarks: tuple[str, ...] = ()

    def hear(self, check: Callable[[], None]) -> None:  # noqa: B027
        """Ask ``check``, which raises when the user wants to stop, while a request is waited for."""

    @abstractmethod
    def names(self) -> list[str]:
        """The collections there."""

    @abstractmethod
    def aliases(self, collection: str) -> list[str]:
        """Further names of a collection."""

    def missing(self, collection: str) -> NotFound:
        """The error for a collection that does not exist; it lists those that do, where the key may list them."""
        return not_found(collection, self.text, self._each_name())

    def _each_name(self) -> Iterator[str]:
        yield from self.names()

    @abstractmethod
    def info(self, collection: str) -> Any | None:
        """``CollectionInfo``, None when there is no such collection."""

    def may_read(self, collection: str) -> tuple[Permission, ...]:
        """What is known about reading, without reading."""
        return ()

    def may_write(self, collection: str) -> tuple[Permission, ...]:
        """What is known about writing, without writing."""
        return ()

    @abstractmethod
    def filter(self, where: str | None) -> Any:
        """A filter in this backend's form."""

    def counts(self, read: Read, key: str, limit: int) -> Mapping[str, int] | None:
        """Count records exactly by a text in their payload, the most frequent first; None where there is no index."""
        return None

    @abstractmethod
    def count(self, read: Read) -> int:
        """Count records exactly."""

    @abstractmethod
    def scroll(self, read: Read, offset: PointKey | None, limit: int) -> flight.Pending[Rows]:
        """Ask for the ``limit`` first records from ``offset`` on, itself included, in order of keys."""

    @abstractmethod
    def get(self, read: Read, keys: Sequence[PointKey]) -> Rows:
        """Read the records that exist among ``keys``."""

    @abstractmethod
    def among(self, where: Any, keys: Sequence[PointKey]) -> Any:
        """A filter for those of ``keys`` that another filter selects."""

    @abstractmethod
    def create(self, plan: TargetPlan) -> None:
        """Create a collection."""

    @abstractmethod
    def drop(self, collection: str) -> None:
        """Delete a collection."""

    @abstractmethod
    def add_alias(self, alias: str, collection: str) -> None:
        """Give a collection a further name."""

    def shard_keys(self, collection: str) -> list[str]:
        """The keys of a collection with custom sharding, as text."""
        return []

    @abstractmethod
    def all_aliases(self) -> list[str]:
        """The further names of all collections there."""

    @abstractmethod
    def set_metadata(self, collection: str, key: str, text: str | None) -> None:
        """Store a text in the collection's metadata; None removes the key."""

    def set_optimizers(self, collection: str, values: Mapping[str, Any], timeout: float | None = None) -> None:  # noqa: B027
        """Change fields of the optimizers' settings, where there are optimizers."""

    def add_index(self, request: Any) -> None:  # noqa: B027
        """Create a payload index from its ``CreateFieldIndexCollection``, where there are such indexes."""

    @abstractmethod
    def upsert(self, name: str, collection: Collection, batch: pa.RecordBatch, rows: int, *, skip: bool) -> None:
        """Write all records of a batch; they are applied when this returns.

        Args:
            name: the collection's name here.
            collection: its schema.
            batch: a page of it.
            rows: in one request at most.
            skip: leave records that are there already as they are.
        """

    @abstractmethod
    def remove(self, collection: str, keys: Sequence[PointKey]) -> None:
        """Delete records."""

    @abstractmethod
    def nearest(
        self, collection: str, vector: str, query: npt.NDArray[np.float32], k: int
    ) -> list[tuple[PointKey, float]]:
        """The keys and scores of the nearest records."""

    @abstractmethod
    def hint(self, collection: str, vector: str, key: PointKey) -> str:
        """A search to paste, for the records nearest to ``key``."""

    @abstractmethod
    def nudge(self, collection: str) -> None:
        """Start optimizers that wait to be started."""

    @abstractmethod
    def close(self) -> None:
        """Release everything. Safe to call twice."""


class ServerBackend(Backend):
    """A Qdrant server."""

    def __init__(self, server: Server) -> None:
        self.server, self.pb = server, server.pb
        self.text, self.version = server.place.text, server.version
        self.keeps_metadata = server.at_least(1, 16)
        self.slices = server.at_least(1, 19)
        self.skips = server.at_least(1, 17)

    def hear(self, check: Callable[[], None]) -> None:
        self.server.check = check

    def close(self) -> None:
        self.server.close()

    def may_read(self, collection: str) -> tuple[Permission, ...]:
        return permissions.to_read(self.server.key, collection)

    def may_write(self, collection: str) -> tuple[Permission, ...]:
        self.info(collection)
        return permissions.to_write(self.server.key, collection)

    # -- collections ---------------------------------------------------------------------------

    def names(self) -> list[str]:
        reply = self.server.call(
            self.server.collections.List, self.pb.ListCollectionsRequest(), "listing the collections"
        )
        return [c.name for c in reply.collections]

    def aliases(self, collection: str) -> list[str]:
        request = self.pb.ListCollectionAliasesRequest(collection_name=collection)
        reply = self.server.call(self.server.collections.ListCollectionAliases, request, "listing the aliases")
        return [a.alias_name for a in reply.aliases]

    def info(self, collection: str) -> Any | None:
        request = self.pb.GetCollectionInfoRequest(collection_name=collection)
        try:
            return self.server.call(self.server.collections.Get, request, f"describing {collection!r}").result
        except NotFound:
            return None

    def create(self, plan: TargetPlan) -> None:
        self._change(self.server.collections.Create, schema.create_request(plan, self.pb), "creating")
        later = self.pb.UpdateCollection(collection_name=plan.collection.name)
        if settings.later_params(plan, later.params):
            self._change(self.server.collections.Update, later, "setting up")

    def drop(self, collection: str) -> None:
        self._change(self.server.collections.Delete, self.pb.DeleteCollection(collection_name=collection), "deleting")

    def add_alias(self, alias: str, collection: str) -> None:
        create = self.pb.CreateAlias(collection_name=collection, alias_name=alias)
        request = self.pb.ChangeAliases(actions=[self.pb.AliasOperations(create_alias=create)])
        self._change(self.server.collections.UpdateAliases, request, f"giving the alias {alias!r} to")

    def shard_keys(self, collection: str) -> list[str]:
        request = self.pb.ListShardKeysRequest(collection_name=collection)
        reply = self.server.call(
            self.server.collections.ListShardKeys, request, f"listing shard keys of {collection!r}"
        )
        keys = [found.key for found in reply.shard_keys]
        return [key.keyword if key.WhichOneof("key") == "keyword" else str(key.number) for key in keys]

    def all_aliases(self) -> list[str]:
        reply = self.server.call(self.server.collections.ListAliases, self.pb.ListAliasesRequest(), "listing aliases")
        return [a.alias_name for a in reply.aliases]

    def set_metadata(self, collection: str, key: str, text: str | None) -> None:
        request = self.pb.UpdateCollection(collection_name=collection)
        if text is None:
            request.metadata[key].null_value = self.pb.NULL_VALUE
        else:
            request.metadata[key].string_value = text
        self._change(self.server.collections.Update, request, f"storing {key!r} in the metadata of")

    def set_optimizers(self, collection: str, values: Mapping[str, Any], timeout: float | None = None) -> None:
        diff = self.pb.OptimizersConfigDiff(**values)
        request = self.pb.UpdateCollection(collection_name=collection, optimizers_config=diff)
        self._change(self.server.collections.Update, request, "setting the optimizers of", timeout)

    def add_index(self, request: Any) -> None:
        doing = f"indexing {request.field_name!r} of {request.collection_name!r}"
        self._applied(self.server.start(self.server.points.CreateFieldIndex, request, doing, INDEX_SECONDS))

    def nudge(self, collection: str) -> None:
        request = self.pb.UpdateCollection(collection_name=collection, optimizers_config=self.pb.OptimizersConfigDiff())
        self._change(self.server.collections.Update, request, "starting the optimizers of")

    def _change(self, method: Any, request: Any, doing: str, timeout: float | None = None) -> None:
        name = getattr(request, "collection_name", "")
        reply = self.server.call(method, request, f"{doing} {name!r}", timeout)
        if not reply.result:
            raise Unavailable(f"Qdrant at {self.text} did not finish {doing} {name!r}")

    # -- reading -------------------------------------------------------------------------------

    def filter(self, where: str | None) -> Any:
        return schema.parse_where(where)

    def counts(self, read: Read, key: str, limit: int) -> Mapping[str, int] | None:
        info = self.info(read.collection)
        index = None if info is None else info.payload_schema.get(key)
        if index is None or index.data_type != self.pb.Keyword or not self.server.at_least(1, 12):
            return None
        request = self.pb.FacetCounts(
            collection_name=read.collection, key=key, filter=read.filter, limit=limit, exact=True
        )
        reply = self.server.call(self.server.points.Facet, request, f"counting {read.collection!r} by {key!r}")
        return {hit.value.string_value: int(hit.count) for hit in reply.hits}

    def count(self, read: Read) -> int:
        request = self.pb.CountPoints(collection_name=read.collection, filter=read.filter, exact=True)
        reply = self.server.call(self.server.points.Count, request, f"counting {read.collection!r}")
        return int(reply.result.count)

    def scroll(self, read: Read, offset: PointKey | None, limit: int) -> flight.Pending[Rows]:
        request = self.pb.ScrollPoints(
            collection_name=read.collection,
            filter=read.filter,
            offset=None if offset is None else self._id(offset),
            limit=limit,
            with_payload=self._payload(read),
            with_vectors=self._vectors(read),
        )
        pending = self.server.start(self.server.scroll, request, f"reading {read.collection!r}")
        return _ServerListing(self, read, request, pending)

    def get(self, read: Read, keys: Sequence[PointKey]) -> Rows:
        request = self.pb.GetPoints(
            collection_name=read.collection,
            ids=[self._id(key) for key in keys],
            with_payload=self._payload(read),
            with_vectors=self._vectors(read),
        )
        doing = f"reading {len(keys)} records of {read.collection!r}"
        return self.rows(read, request, self.server.call(self.server.get, request, doing), self.pb.GetResponse)

    def among(self, where: Any, keys: Sequence[PointKey]) -> Any:
        pb = self.pb
        named = pb.HasIdCondition(has_id=[self._id(key) for key in keys])
        return pb.Filter(must=[pb.Condition(has_id=named), pb.Condition(filter=where)])

    def rows(self, read: Read, request: Any, answer: bytes, kind: Any) -> Rows:
        """Decode a page.

        Args:
            read: what was asked for.
            request: ``ScrollPoints`` or ``GetPoints``, changed in place when it has to be sent again.
            answer: the serialised message.
            kind: its class, ``ScrollResponse`` or ``GetResponse``.
        """
        from google.protobuf.message import DecodeError

        if read.vectors is None:
            response = kind.FromString(answer)
            return _listed(Rows([wire.key_of(point.id) for point in response.result]), response, response.result)
        try:
            response = kind.FromString(answer)
            points = list(response.result)
            texts, suspects = wire.payload_texts(points)
            missing = self._exact_payloads(read, points, texts, suspects) if suspects else []
        except DecodeError:
            # Protobuf stops decoding at a depth of 100 messages; the REST interface has no such limit.
            request.with_payload.enable = False
            method = self.server.scroll if kind is self.pb.ScrollResponse else self.server.get
            response = kind.FromString(self.server.call(method, request, f"reading {read.collection!r}"))
            points = list(response.result)
            texts, missing = self._rest_texts(read, points)
        kept = sorted(set(range(len(points))) - set(missing))
        rows = Rows(
            keys=[wire.key_of(points[i].id) for i in kept],
            metadata=pa.array([texts[i] for i in kept], pa.binary()).cast(pa.string()),
            vectors=_columns([points[i] for i in kept], read.vectors),
            missing=[wire.key_of(points[i].id) for i in sorted(missing)],
        )
        return _listed(rows, response, points)

    def _exact_payloads(self, read: Read, points: list[Any], texts: list[bytes], suspects: list[int]) -> list[int]:
        """Replace payload texts in which doubles may have been integers, from the REST interface.

        A payload is taken when it equals what gRPC shows, so that payload and vector are of one moment; a point that
        changed in between is read again.

        Returns:
            Positions of points that no longer exist.
        """
        missing: list[int] = []
        for _ in range(READ_ATTEMPTS):
            exact = self.server.rest_payloads(read.collection, [wire.key_of(points[i].id) for i in suspects])
            changed: list[int] = []
            for i in suspects:
                payload = exact.get(wire.key_of(points[i].id))
                if payload is None:
                    missing.append(i)
                elif canonical.dumpb(wire.as_shown_by_grpc(payload)) == texts[i]:
                    texts[i] = canonical.dumpb(payload)
                else:
                    changed.append(i)
            if not changed:
                return missing
            suspects = self._read_again(read, points, texts, changed, missing)
        raise Unavailable(f"records of {read.collection!r} change faster than they can be read")

    def _read_again(
        self, read: Read, points: list[Any], texts: list[bytes], changed: list[int], missing: list[int]
    ) -> list[int]:
        request = self.pb.GetPoints(
            collection_name=read.collection,
            ids=[points[i].id for i in changed],
            with_payload=self._payload(read),
            with_vectors=self._vectors(read),
        )
        answer = self.server.call(self.server.get, request, f"reading {read.collection!r}")
        fresh = {wire.key_of(point.id): point for point in self.pb.GetResponse.FromString(answer).result}
        there: list[int] = []
        for i in changed:
            point = fresh.get(wire.key_of(points[i].id))
            if point is None:
                missing.append(i)
            else:
                points[i], texts[i] = point, wire.payload_texts([point])[0][0]
                there.append(i)
        return there

    def _rest_texts(self, read: Read, points: list[Any]) -> tuple[list[bytes], list[int]]:
        payloads = self.server.rest_payloads(read.collection, [wire.key_of(point.id) for point in points])
        found = [payloads.get(wire.key_of(point.id)) for point in points]
        texts = [b"" if payload is None else canonical.dumpb(payload) for payload in found]
        return texts, [i for i, payload in enumerate(found) if payload is None]

    def _id(self, key: PointKey) -> Any:
        return self.pb.PointId(num=key) if isinstance(key, int) else self.pb.PointId(uuid=key)

    def _payload(self, read: Read) -> Any:
        return self.pb.WithPayloadSelector(enable=read.vectors is not None)

    def _vectors(self, read: Read) -> Any:
        return self.pb.WithVectorsSelector(enable=read.vectors is not None)

    # -- writing -------------------------------------------------------------------------------

    def upsert(self, name: str, collection: Collection, batch: pa.RecordBatch, rows: int, *, skip: bool) -> None:
        head = packing.upsert_head(name, skip=skip)
        requests = joined(head, packing.pack_points(batch, collection), rows, REQUEST_BYTES)
        started = (self.server.start(self.server.upsert, request, f"writing to {name!r}") for request in requests)
        for reply in flight.ahead(started, REQUESTS_IN_FLIGHT):
            self._check_applied(reply)

    def _applied(self, pending: Pending) -> None:
        """Wait for a write."""
        self._check_applied(pending.result())

    def _check_applied(self, reply: Any) -> None:
        """See that a write was applied and not merely queued."""
        if reply.result.status != self.pb.UpdateStatus.Completed:
            name = settings.enum_name(self.pb.UpdateStatus.DESCRIPTOR, reply.result.status)
            raise Unavailable(f"Qdrant at {self.text} took a write and has not applied it: {name}")

    def remove(self, collection: str, keys: Sequence[PointKey]) -> None:
        ids = self.pb.PointsIdsList(ids=[self._id(key) for key in keys])
        request = self.pb.DeletePoints(collection_name=collection, wait=True, points=self.pb.PointsSelector(points=ids))
        self._applied(self.server.start(self.server.points.Delete, request, f"deleting from {collection!r}"))

    def nearest(
        self, collection: str, vector: str, query: npt.NDArray[np.float32], k: int
    ) -> list[tuple[PointKey, float]]:
        dense = self.pb.DenseVector(data=query.astype("<f4").tolist())
        request = self.pb.QueryPoints(
            collection_name=collection,
            query=self.pb.Query(nearest=self.pb.VectorInput(dense=dense)),
            using=vector or None,
            limit=k,
        )
        reply = self.server.call(self.server.points.Query, request, f"searching {collection!r}")
        return [(wire.key_of(point.id), float(point.score)) for point in reply.result]

    def hint(self, collection: str, vector: str, key: PointKey) -> str:
        return self.server.curl(collection, vector, key)


class _ServerListing(flight.Pending[Rows]):
    def __init__(self, backend: ServerBackend, read: Read, request: Any, pending: Pending) -> None:
        self._backend, self._read, self._request, self._pending = backend, read, request, pending

    def result(self) -> Rows:
        answer = self._pending.result()
        return self._backend.rows(self._read, self._request, answer, self._backend.pb.ScrollResponse)

    def cancel(self) -> None:
        self._pending.cancel()


def _columns(points: Sequence[Any], fields: Sequence[VectorField]) -> dict[str, pa.Array[Any]]:
    return {field.name: vectors.column(points, field) for field in fields}


def _listed(rows: Rows, response: Any, points: Sequence[Any]) -> Rows:
    """Complete rows with what the listing says: its last key, and where the next page begins."""
    rows.last = wire.key_of(points[-1].id) if points else None
    if hasattr(response, "next_page_offset") and response.HasField("next_page_offset"):
        rows.next = wire.key_of(response.next_page_offset)
    return rows
