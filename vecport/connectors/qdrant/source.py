"""Reading a Qdrant collection: schema, partitions, scans by key, lookups."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, pairwise
from typing import Any, Final

import pyarrow as pa

from ...errors import AuthenticationFailed, Incomplete, NotRepresentable, Unavailable, UsageError
from ...model.batch import make_page
from ...model.capabilities import SourceCapabilities
from ...model.collection import Collection
from ...model.passport import Passport
from ..contract import MAX_NAMESPACES, Description, Json, Page, Permission, Selection, Source
from . import schema, wire
from .backend import Backend, Read, Rows
from .wire import PointKey

#: A page of a slice walks past the keys of all others, so that with more slices than this ranges of keys are faster.
MAX_SLICES: Final = 64
KEY_PAGE: Final = 10_000
SAMPLES_EACH: Final = 32
GET_ROWS: Final = 1_000
_KEY_TYPE: Final = pa.schema([pa.field("id", pa.string(), False), pa.field("namespace", pa.string(), False)])


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


class QdrantSource(Source):
    """A session that reads one collection of a server.

    Args:
        backend: the place; closed with the session.
        collection: its name or an alias.
        selection: which records.
    """

    capabilities: SourceCapabilities = SourceCapabilities(
        snapshot=False, key_ordered=True, concurrency="processes", page_rows=1_000
    )

    def __init__(self, backend: Backend, collection: str, selection: Selection) -> None:
        if any(selection.namespaces):
            backend.close()
            raise UsageError("Qdrant has no namespaces", next="select records by --where")
        self._backend, self._name, self._selection = backend, collection, selection
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
        self._uncounted = ""
        passport, _ = schema.read_passport(self._info())
        key = Passport.from_json(passport).namespace if passport else None
        if key is None:
            return None
        known = self._knowledge()
        most = min(MAX_NAMESPACES + 1, known.page_limit or MAX_NAMESPACES + 1)
        found = self._backend.counts(known.read, key, most)
        if found is None:
            self._uncounted = f"Qdrant counts by a payload key with one request only where {key!r} has a keyword index"
            return None
        rest = self.count() - sum(found.values())
        if rest < 0 or len(found) >= most:
            self._uncounted = f"values of {key!r} are lists, or too many for one request"
            return None
        return {**found, "": found.get("", 0) + rest} if rest else found

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

    # -- partitions ----------------------------------------------------------------------------

    def partitions(self, target_rows: int, token: Json) -> Iterator[Json]:
        """Cut the collection by slices of the id space, or by ranges of ids.

        Yields:
            ``{}`` for everything, ``{"total": n, "index": i}``, or ``{"from": id or None, "to": id or None}`` with
            the first id of the range and the first one behind it.
        """
        target_rows = max(1, target_rows)
        parts = -(-self.count() // target_rows)
        if parts < 2:
            yield {}
        elif self._backend.slices and parts <= MAX_SLICES:
            yield from ({"total": parts, "index": i} for i in range(parts))
        else:
            edges = chain([None], self._edges(target_rows), [None])
            yield from ({"from": low, "to": high} for low, high in pairwise(edges))

    def _edges(self, target_rows: int) -> Iterator[str]:
        """Keys that cut the collection into ranges of about ``target_rows`` records, always the same ones.

        One slice of many is a sample of the keys; a server without slices has all of them walked.
        """
        known = self._knowledge()
        total = max(1, target_rows // SAMPLES_EACH) if self._backend.slices else 1
        slice_ = {"total": total, "index": 0} if total > 1 else {}
        read = replace(known.read, vectors=None, filter=self._sliced(known.read.filter, slice_))
        every = cut = target_rows // total
        seen = 0
        for rows in self._pages(read, None, None, max(64, KEY_PAGE // total)):
            while cut < seen + len(rows.keys):
                yield str(rows.keys[cut - seen])
                cut += every
            seen += len(rows.keys)

    # -- scanning ------------------------------------------------------------------------------

    def scan(self, partition: Json, cursor: Json | None, page_rows: int) -> Iterator[Page]:
        known = self._knowledge()
        read = replace(known.read, filter=self._sliced(known.read.filter, partition))
        start = _key(partition.get("from"))
        if cursor is not None:
            start = wire.after(_key(cursor["after"]))  # type: ignore[arg-type]
            if start is None:
                return
        missing: list[PointKey] = []
        for rows in self._pages(read, start, _key(partition.get("to")), page_rows):
            missing += rows.missing
            if rows.keys:
                yield Page(
                    batch=self._batch(known, rows),
                    cursor={"after": str(rows.last)},
                    missing=tuple(("", str(key)) for key in missing),
                )
                missing = []

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

    def _pages(self, read: Read, start: PointKey | None, stop: PointKey | None, page_rows: int) -> Iterator[Rows]:
        """All rows from ``start`` to ``stop`` (excluded), checked to rise strictly.

        The next page is under way while this one is worked on. A page is short when records were deleted while the
        server put it together, and then lacks the offset of the next one; so a scan ends at an empty answer only.
        """
        limit = min(page_rows, self._knowledge().page_limit or page_rows)
        listing = self._backend.scroll(read, start, limit)
        try:
            while True:
                rows = listing.result()
                following = self._following(rows, start)
                done = following is None or (stop is not None and wire.order(following) >= wire.order(stop))
                if not done:
                    listing = self._backend.scroll(read, following, limit)
                yield rows if stop is None else _before(rows, stop)
                if done:
                    return
                start = following
        finally:
            listing.cancel()

    def _following(self, rows: Rows, start: PointKey | None) -> PointKey | None:
        """Where the page behind ``rows`` begins; None when there is none.

        Raises:
            Incomplete: keys do not rise strictly, or the scan does not move.
        """
        listed = sorted([*rows.keys, *rows.missing], key=wire.order) if rows.missing else rows.keys
        if not wire.rising(listed) or (listed and start is not None and wire.order(listed[0]) < wire.order(start)):
            raise Incomplete(
                f"collection {self._name!r}: keys do not rise in a page that begins at {start!r}",
                why="the database repeated records or gave them out of order",
            )
        if rows.next is None:
            return None if rows.last is None else wire.after(rows.last)
        floor = rows.last if rows.last is not None else start
        if floor is not None and wire.order(rows.next) <= wire.order(floor):
            raise Incomplete(
                f"collection {self._name!r}: the scan does not move on from {floor!r}",
                why=f"the database names {rows.next!r} as the next record",
            )
        return rows.next

    def _batch(self, known: _Known, rows: Rows) -> pa.RecordBatch:
        ids = list(map(str, rows.keys))
        return make_page(known.collection, ids=ids, metadata=rows.metadata, vectors=rows.vectors)

    # -- lookups -------------------------------------------------------------------------------

    def fetch(self, keys: Sequence[tuple[str, str]]) -> pa.RecordBatch:
        known = self._knowledge()
        wanted = {wire.parse_key(text) for namespace, text in keys if namespace == ""} - {None}
        ordered = sorted((key for key in wanted if key is not None), key=wire.order)
        chunks = [ordered[i : i + GET_ROWS] for i in range(0, len(ordered), GET_ROWS)]
        batches = [self._batch(known, rows) for chunk in chunks for rows in self._among(known.read, chunk)]
        filled = [batch for batch in batches if len(batch)]
        if not filled:
            return make_page(known.collection, ids=[])
        return pa.Table.from_batches(filled).combine_chunks().to_batches()[0]

    def _among(self, read: Read, keys: list[PointKey]) -> Iterator[Rows]:
        """The records that exist among ``keys`` and are selected: points are got by id without a filter."""
        if read.filter is None:
            yield self._backend.get(read, keys)
        else:
            yield from self._pages(replace(read, filter=self._backend.among(read.filter, keys)), None, None, GET_ROWS)

    def keys(self) -> Iterator[pa.RecordBatch]:
        known = self._knowledge()
        for rows in self._pages(replace(known.read, vectors=None), None, None, KEY_PAGE):
            if rows.keys:
                ids = pa.array(list(map(str, rows.keys)), pa.string())
                namespaces = pa.repeat(pa.scalar("", pa.string()), len(ids))
                yield pa.RecordBatch.from_arrays([ids, namespaces], schema=_KEY_TYPE)

    def close(self) -> None:
        self._backend.close()


def _key(text: str | None) -> PointKey | None:
    return None if text is None else wire.parse_key(text)


def _before(rows: Rows, stop: PointKey) -> Rows:
    """The rows whose keys come before ``stop``."""
    if rows.last is None or wire.order(rows.last) < wire.order(stop):
        return rows
    keep = [key for key in rows.keys if wire.order(key) < wire.order(stop)]
    gone = [key for key in rows.missing if wire.order(key) < wire.order(stop)]
    n = len(keep)
    last = max([*keep, *gone], key=wire.order, default=None)
    return Rows(
        keep,
        metadata=None if rows.metadata is None else rows.metadata.slice(0, n),
        vectors=None if rows.vectors is None else {k: v.slice(0, n) for k, v in rows.vectors.items()},
        last=last,
        missing=gone,
    )
