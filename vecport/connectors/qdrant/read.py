"""Reading a Qdrant collection: schema, partitions, scans by key, lookups."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import pyarrow as pa

from ...errors import AuthenticationFailed, NotRepresentable, Unavailable, UsageError
from ...model.batch import make_page
from ...model.capabilities import SourceCapabilities
from ...model.collection import Collection
from ..contract import MAX_NAMESPACES, Description, Json, Permission, Selection
from ..kit import passports
from ..kit.flight import Pending
from ..kit.ranges import KeyRanges
from . import schema, wire
from .backend import Backend, Read, Rows
from .wire import PointKey

#: A page of a slice walks past the keys of all others, so that with more slices than this ranges of keys are faster.
MAX_SLICES: Final = 64
SAMPLES_EACH: Final = 32


def describe(backend: Backend, name: str, info: Any, count: int) -> Description:
    """A ``Description`` from a collection's ``CollectionInfo``."""
    passport, remark = schema.read_passport(info)
    aliases, hidden = list[str](), ""
    try:
        aliases = backend.aliases(name)
    except AuthenticationFailed:
        hidden = "this key may not list aliases, so that none are kept"
    notes = schema.notes(info, backend.pb, metadata=backend.keeps_metadata, aliases=aliases)
    return Description(
        collection=_collection(backend, name, info, aliases),
        count=count,
        passport=passport,
        version=backend.version,
        notes=(*backend.remarks, *notes, *(text for text in (remark, hidden) if text)),
    )


def _collection(backend: Backend, name: str, info: Any, aliases: list[str] | None = None) -> Collection:
    try:
        return schema.read_collection(
            name, info, backend.pb, normalises=backend.normalises, datatypes=backend.datatypes, aliases=aliases
        )
    except NotRepresentable as error:
        keys = backend.shard_keys(name) if info.config.params.sharding_method == backend.pb.Custom else []
        if keys:
            error.what += f" (shard keys: {', '.join(map(repr, keys))})"
        raise


@dataclass(slots=True)
class _Known:
    """What a session has learned of its collection."""

    collection: Collection
    read: Read
    page_limit: int | None


class QdrantSource(KeyRanges[PointKey, Rows]):
    """A session that reads one collection of a server.

    Args:
        backend: the place; closed with the session.
        collection: its name or an alias.
        selection: which records.
    """

    capabilities: SourceCapabilities = SourceCapabilities(
        snapshot=False, key_ordered=True, concurrency="processes", page_rows=1_000
    )
    order = wire.ORDER

    def __init__(self, backend: Backend, collection: str, selection: Selection) -> None:
        if any(selection.namespaces):
            backend.close()
            raise UsageError("Qdrant has no namespaces", next="select records by --where")
        self._backend, self._name, self._selection = backend, collection, selection
        backend.hear(lambda: self.report.check())
        self._known: _Known | None = None
        self._uncounted = ""

    # -- the collection ------------------------------------------------------------------------

    def describe(self) -> Description:
        info = self._info()
        self._learn(info)
        return describe(self._backend, self._name, info, self.count())

    def permissions(self) -> tuple[Permission, ...]:
        return self._backend.may_read(self._name)

    def count(self) -> int:
        known = self._knowledge()
        return self._backend.count(known.read)

    def namespaces(self) -> Mapping[str, int] | None:
        """Count by the namespaces of the dump that filled the collection, where an index makes it one request."""
        passport, _ = schema.read_passport(self._info())
        known = self._knowledge()
        most = min(MAX_NAMESPACES, (known.page_limit or MAX_NAMESPACES + 1) - 1)

        def by_key(key: str) -> Mapping[str, int] | str:
            found = self._backend.counts(known.read, key, most + 1)
            why = f"Qdrant counts by a payload key with one request only where {key!r} has a keyword index"
            return why if found is None else found

        counts, self._uncounted = passports.counted_namespaces(passport, self.count, by_key, most)
        return counts

    def uncounted(self) -> str:
        return self._uncounted

    def snapshot(self) -> Json:
        """There is no snapshot; refuse to begin while points are hidden from reads.

        Raises:
            Unavailable: deferred points are stored and shown by neither reads nor counts, so that a dump would lose
                them and no count would tell.
        """
        deferred = self._info().update_queue.deferred_points
        if deferred:
            raise Unavailable(
                f"collection {self._name!r}: {deferred:,} points are deferred (prevent_unoptimized)",
                why="they are stored, and neither reads nor counts show them until the optimizer has done its work",
                safe="nothing was read or written",
                next="wait until the collection's status is green, then run the same command again",
            )
        return {}

    def _info(self) -> Any:
        info = self._backend.info(self._name)
        if info is None:
            raise self._backend.missing(self._name)
        return info

    def _learn(self, info: Any) -> _Known:
        backend = self._backend
        collection = _collection(backend, self._name, info)
        read = Read(self._name, collection.vectors, backend.filter(self._selection.where))
        strict = info.config.strict_mode_config
        limit = strict.max_query_limit if strict.enabled and strict.HasField("max_query_limit") else None
        self._known = _Known(collection, read, limit)
        return self._known

    def _knowledge(self) -> _Known:
        return self._known or self._learn(self._info())

    # -- reading, as the kit asks for it -------------------------------------------------------

    def _parts(self, rows: int) -> Iterator[Json]:
        """Slices of the id space, ``{"total": n, "index": i}``, or ranges of ids."""
        parts = -(-self.count() // rows)
        if self._backend.slices and 2 <= parts <= MAX_SLICES:
            return iter([{"total": parts, "index": i} for i in range(parts)])
        return super()._parts(rows)

    def _sampled(self, target_rows: int) -> tuple[Json, int]:
        """One slice of many is a sample of the keys; a server without slices has all of them walked."""
        total = max(1, target_rows // SAMPLES_EACH) if self._backend.slices else 1
        return ({"total": total, "index": 0} if total > 1 else {}), total

    def _schema(self) -> Collection:
        return self._knowledge().collection

    def _page_rows(self, rows: int) -> int:
        return min(rows, self._knowledge().page_limit or rows)

    def _ask(self, partition: Json, start: PointKey | None, rows: int, *, keys_only: bool) -> Pending[Rows]:
        read = self._knowledge().read
        where, vectors = self._chosen(read.filter, partition), None if keys_only else read.vectors
        return self._backend.scroll(replace(read, filter=where, vectors=vectors), start, rows)

    def _chosen(self, where: Any, partition: Json) -> Any:
        """The user's filter, and within it the partition's slice or the keys that are looked up."""
        if "keys" in partition:
            return self._backend.among(where, partition["keys"])
        return self._sliced(where, partition)

    def _sliced(self, where: Any, partition: Json) -> Any:
        """The user's filter and the partition's slice."""
        if "total" not in partition:
            return where
        pb = self._backend.pb
        part = pb.SliceCondition(total=partition["total"], index=partition["index"])
        must = [pb.Condition(slice=part)]
        if where is not None:
            must.append(pb.Condition(filter=where))
        return pb.Filter(must=must)

    def _get(self, keys: Sequence[PointKey]) -> pa.RecordBatch:
        """Points are got by id without a filter."""
        read = self._knowledge().read
        if read.filter is None:
            return self._page(self._backend.get(read, keys))
        pages = [self._page(rows) for rows in self._pages({"keys": keys}, None, self.get_rows)]
        arrow: Any = pa
        joined: pa.RecordBatch = arrow.concat_batches(pages)
        return joined

    def _page(self, rows: Rows) -> pa.RecordBatch:
        ids = list(map(str, rows.keys))
        return make_page(self._schema(), ids=ids, metadata=rows.metadata, vectors=rows.vectors)

    def close(self) -> None:
        self._backend.close()
