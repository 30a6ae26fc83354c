"""Collections in the memory of this process, for tests and examples: ``memory:NAME``.

A place lives until ``forget`` or the end of the process. It holds everything that the model has, bit for bit, and it
is both source and target. ``--where`` is a JSON object: records whose metadata has these keys with equal values.

Option ``faults`` makes sessions misbehave on purpose; see ``faulty.Faults``. Option ``links`` names a metadata key that
refers to another record by its id.
"""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count, pairwise
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ..errors import NotFound, NotRepresentable, SnapshotGone, UsageError
from ..model import canonical, ids
from ..model.batch import KEY_COLUMNS, dense_matrix, join_pages
from ..model.capabilities import COUNTS, SourceCapabilities, TargetCapabilities
from ..model.collection import ID_KINDS, Collection, VectorField, renamed
from .address import Place
from .checks import check_plan
from .contract import (
    CollectionSummary,
    Connector,
    ConnectorInfo,
    Description,
    Hit,
    Json,
    Mark,
    Option,
    Page,
    Selection,
    Source,
    Target,
    TargetPlan,
)
from .faulty import Faults, faulty_source, faulty_target
from .kit import places
from .kit.inserts import conflict, sameness
from .kit.lifecycle import settle
from .kit.settings import parse as parse_settings
from .kit.unlimited import UNLIMITED
from .sleeping import S, sleeping

Key = tuple[str, str]
SortKey = tuple[str, tuple[int, int, str]]


@dataclass(slots=True)
class _Store:
    """One collection: records as one-row slices of the batches they came in."""

    collection: Collection
    rows: dict[Key, pa.RecordBatch] = field(default_factory=dict)
    passport: Mapping[str, Json] | None = None
    version: int = 0
    links: dict[Key, Key] = field(default_factory=dict)


@dataclass(slots=True)
class _Room:
    """One place. ``lock`` guards everything in it."""

    stores: dict[str, _Store] = field(default_factory=dict)
    snapshots: dict[int, _Store] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)


_rooms: dict[str, _Room] = {}
_numbers = count(1)


def forget(name: str) -> None:
    """Remove the place ``memory:NAME`` and everything in it; nothing happens when there is none."""
    _rooms.pop(name, None)


def links_of(name: str, collection: str) -> dict[Key, Key]:
    """The references between records of a collection of ``memory:NAME``, from key to key."""
    return dict(_rooms[name].stores[collection].links)


def _not_found(place: Place, name: str) -> NotFound:
    room = _rooms.get(place.path)
    if room is None:
        there = ", ".join(f"memory:{n}" for n in sorted(_rooms)) or "none"
        return NotFound(f"there is no place {place.text}", why=f"places of this process: {there}")
    return places.not_found(name, place.text, room.stores)


def _store(place: Place, name: str) -> tuple[_Room, _Store]:
    room = _rooms.get(place.path)
    if room is None or name not in room.stores:
        raise _not_found(place, name)
    return room, room.stores[name]


def _sort_key(key: Key, kind: str) -> SortKey:
    return key[0], ids.sort_key(key[1], kind)


def _keep(selection: Selection) -> Callable[[pa.RecordBatch], bool]:
    """A test for one record: whether the selection covers it."""
    wanted: dict[str, str] = {}
    if selection.where is not None:
        try:
            parsed = canonical.loads(canonical.canonicalise_text(selection.where))
        except NotRepresentable as e:
            raise UsageError("--where cannot be read", why=e.what, next='for example {"color": "red"}') from None
        if not isinstance(parsed, dict):
            raise UsageError("--where is not a JSON object", next='for example {"color": "red"}')
        wanted = {k: canonical.dumps(v) for k, v in parsed.items()}
    namespaces = frozenset(selection.namespaces)

    def keep(row: pa.RecordBatch) -> bool:
        if namespaces and row.column("namespace")[0].as_py() not in namespaces:
            return False
        if not wanted:
            return True
        metadata = canonical.loads(row.column("metadata")[0].as_py())
        return all(k in metadata and canonical.dumps(metadata[k]) == v for k, v in wanted.items())

    return keep


class MemorySource(Source):
    """Reads a copy that ``snapshot`` made."""

    capabilities: SourceCapabilities = SourceCapabilities(
        snapshot=True, key_ordered=True, concurrency="threads", selects_namespaces=True
    )

    def __init__(self, place: Place, name: str, selection: Selection) -> None:
        self._place, self._name = place, name
        self._keep = _keep(selection)
        self.capabilities = replace(self.capabilities, count=_count_kind(place))
        self._snapshot: _Store | None = None
        self._own: list[int] = []
        self._sorted: tuple[int, int, list[Key], list[SortKey]] | None = None

    def describe(self) -> Description:
        _, store = _store(self._place, self._name)
        return Description(
            collection=store.collection,
            count=self.count(),
            passport=store.passport,
            version="1",
        )

    def snapshot(self) -> Json:
        room, store = _store(self._place, self._name)
        number = next(_numbers)
        with room.lock:
            room.snapshots[number] = _Store(store.collection, dict(store.rows), store.passport)
        self._own.append(number)
        return {"snapshot": number}

    def alive(self, token: Json) -> bool:
        room = _rooms.get(self._place.path)
        return room is not None and token.get("snapshot") in room.snapshots

    def attach(self, token: Json) -> None:
        room, _ = _store(self._place, self._name)
        held = room.snapshots.get(token.get("snapshot"))
        if held is None:
            raise SnapshotGone(f"the snapshot of {self._name!r} is gone", why="the session that made it has ended")
        self._snapshot = held

    def partitions(self, target_rows: int, token: Json) -> Iterator[Json]:
        if self._snapshot is None:
            self.attach(token)
        keys, _ = self._keys()
        cuts = [list(keys[i]) for i in range(target_rows, len(keys), max(1, target_rows))]
        yield from ({"from": a, "to": b} for a, b in pairwise([None, *cuts, None]))

    def scan(self, partition: Json, cursor: Json | None, page_rows: int) -> Iterator[Page]:
        last = _key(cursor)
        while found := self._next(partition, last, page_rows):
            last = found[-1][0]
            yield Page(join_pages(self._current().collection, [row for _, row in found]), list(last))

    def fetch(self, keys: Sequence[Key]) -> pa.RecordBatch:
        rows = self._rows()
        found = [rows[k] for k in dict.fromkeys(keys) if k in rows and self._keep(rows[k])]
        return join_pages(_store(self._place, self._name)[1].collection, found)

    def keys(self) -> Iterator[pa.RecordBatch]:
        keys, _ = self._keys()
        for start in range(0, len(keys), 1000):
            part = keys[start : start + 1000]
            columns = [pa.array([i for _, i in part]), pa.array([ns for ns, _ in part])]
            yield pa.RecordBatch.from_arrays(columns, names=list(KEY_COLUMNS))

    def namespaces(self) -> Mapping[str, int]:
        _, store = _store(self._place, self._name)
        return Counter(ns for (ns, _), row in list(store.rows.items()) if self._keep(row))

    def count(self) -> int:
        _, store = _store(self._place, self._name)
        return sum(map(self._keep, list(store.rows.values())))

    def close(self) -> None:
        room = _rooms.get(self._place.path)
        for number in self._own:
            if room is not None:
                room.snapshots.pop(number, None)
        self._own.clear()
        self._snapshot = self._sorted = None

    def _current(self) -> _Store:
        if self._snapshot is None:
            raise UsageError("scan before attach", why="a session joins a snapshot first")
        return self._snapshot

    def _rows(self) -> dict[Key, pa.RecordBatch]:
        return self._current().rows

    def _keys(self) -> tuple[list[Key], list[SortKey]]:
        """The selection's keys in order, made anew only when records have changed."""
        store = self._current()
        stamp = id(store), store.version
        if self._sorted is None or self._sorted[:2] != stamp:
            kind = store.collection.id_kind
            kept = [k for k, row in list(store.rows.items()) if self._keep(row)]
            pairs = sorted((_sort_key(k, kind), k) for k in kept)
            self._sorted = (*stamp, [k for _, k in pairs], [s for s, _ in pairs])
        return self._sorted[2], self._sorted[3]

    def _next(self, partition: Json, last: Key | None, n: int) -> list[tuple[Key, pa.RecordBatch]]:
        """Up to ``n`` records of the partition behind ``last``."""
        keys, order = self._keys()
        kind, rows = self._current().collection.id_kind, self._rows()
        lower, upper = _key(partition["from"]), _key(partition["to"])
        start = bisect_left(order, _sort_key(lower, kind)) if lower else 0
        if last is not None:
            start = max(start, bisect_right(order, _sort_key(last, kind)))
        end = bisect_left(order, _sort_key(upper, kind)) if upper else len(order)
        return [(k, rows[k]) for k in keys[start : min(end, start + n)] if k in rows]


class LiveMemorySource(MemorySource):
    """Reads what is there now, page by page (option ``mode=live``)."""

    capabilities: SourceCapabilities = SourceCapabilities(
        key_ordered=True, concurrency="threads", selects_namespaces=True
    )

    def snapshot(self) -> Json:
        return {}

    def alive(self, token: Json) -> bool:
        return True

    def attach(self, token: Json) -> None:
        self._snapshot = _store(self._place, self._name)[1]


def _texts(batch: pa.RecordBatch, column: str) -> list[str]:
    return [str(t) for t in batch.column(column).to_pylist()]


def _sorted_keys(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch with canonical metadata: on its way in, keys may stand in any order."""
    place = batch.schema.get_field_index("metadata")
    texts = [canonical.dumps(canonical.loads(t)) for t in _texts(batch, "metadata")]
    return batch.set_column(place, batch.schema.field(place), pa.array(texts, pa.string()))


def _key(data: Json | None) -> Key | None:
    return None if data is None else (data[0], data[1])


class MemoryTarget(Target):
    """Writes a collection; records are there when ``write`` returns."""

    capabilities: TargetCapabilities = replace(
        UNLIMITED,
        id_kinds=frozenset(ID_KINDS),
        typed_fields=".*",
        concurrency="threads",
        on_conflict=frozenset({"replace", "skip", "fail"}),
    )

    def __init__(self, place: Place, name: str) -> None:
        self._place, self._name = place, name
        self._plan: TargetPlan | None = None
        self._links = place.option("links")
        if self._links is not None:
            self.capabilities = replace(self.capabilities, links=True)
        self.capabilities = replace(self.capabilities, count=_count_kind(place))

    def describe(self) -> Description | None:
        room = _rooms.get(self._place.path)
        store = room.stores.get(self._name) if room else None
        if store is None:
            return None
        return Description(store.collection, len(store.rows), store.passport, "1")

    def prepare(self, plan: TargetPlan) -> None:
        check_plan(plan, self.capabilities, "memory")
        parse_settings(plan.settings, (), "memory")
        room = _rooms.setdefault(self._place.path, _Room())
        with room.lock:
            there = room.stores.get(self._name)
            collection = renamed(plan.collection, self._name)
            decision = settle(plan, self.describe(), title=f"collection {self._name!r}", place=self._place.text)
            if there is not None and decision == "keep" and there.rows:
                _check_same(there.collection, collection)
            else:
                room.stores[self._name] = there = _Store(collection)
            there.passport = dict(plan.passport) or None
        self._plan = plan

    def attach(self, plan: TargetPlan) -> None:
        _store(self._place, self._name)
        self._plan = plan

    def write(self, batch: pa.RecordBatch, mark: Mark) -> None:
        room, store = _store(self._place, self._name)
        if self._plan is None:
            raise UsageError("write before attach")
        keys = zip(_texts(batch, "namespace"), _texts(batch, "id"), strict=True)
        batch = _sorted_keys(batch)
        rows = {key: batch.slice(i, 1) for i, key in enumerate(keys)}
        with room.lock:
            store.rows.update(self._allowed(rows, store))
            store.version += 1

    def _allowed(self, rows: dict[Key, pa.RecordBatch], store: _Store) -> dict[Key, pa.RecordBatch]:
        """What of a batch is written beside the records that are there; raises under ``fail``."""
        assert self._plan is not None
        if self._plan.on_conflict == "replace":
            return rows
        new = {k: row for k, row in rows.items() if k not in store.rows}
        if self._plan.on_conflict == "fail":
            same = sameness(self._plan.collection, self.capabilities)
            other = [k for k, row in rows.items() if k not in new and not same(row, store.rows[k])[0]]
            if other:
                raise conflict(other[0][1], self._name, "nothing of its batch was written")
        return new

    def holds(self, keys: Sequence[Key]) -> list[bool]:
        _, store = _store(self._place, self._name)
        return [key in store.rows for key in keys]

    def delete(self, keys: Sequence[Key]) -> None:
        room, store = _store(self._place, self._name)
        with room.lock:
            for key in keys:
                store.rows.pop(key, None)
            store.version += 1

    def link(self, batch: pa.RecordBatch, mark: Mark) -> None:
        """Each record whose metadata has the key of option ``links`` refers to the record of that id beside it."""
        room, store = _store(self._place, self._name)
        texts = zip(_texts(batch, "namespace"), _texts(batch, "id"), _texts(batch, "metadata"), strict=True)
        for ns, id_, metadata in texts:
            other = canonical.loads(metadata).get(self._links)
            if other is None:
                continue
            if (ns, other) not in store.rows:
                raise NotRepresentable(f"record {id_!r} refers to {other!r}", why="no such record is there")
            with room.lock:
                store.links[ns, id_] = ns, other

    def finish(self, passport: Mapping[str, Json]) -> None:
        room, store = _store(self._place, self._name)
        with room.lock:
            store.passport = dict(passport) or None

    def search(self, vector: str, query: npt.NDArray[np.float32], k: int, namespace: str = "") -> list[Hit]:
        """Exact search over a dense vector; equal scores are ordered by id."""
        _, store = _store(self._place, self._name)
        field_ = store.collection.vector(vector)
        rows = [row for (ns, _), row in list(store.rows.items()) if ns == namespace]
        if not rows:
            return []
        batch = join_pages(store.collection, rows)
        matrix, valid = dense_matrix(batch.column(store.collection.columns()[vector]), field_)
        scores = _scores(matrix.astype(np.float64), query.astype(np.float64), field_)
        found = np.array(batch.column("id").to_pylist(), object)[valid]
        order = sorted(range(len(found)), key=lambda i: (scores[i], found[i]))[:k]
        rising = field_.metric in ("l2", "l1")
        return [Hit(found[i], float(scores[i] if rising else -scores[i]), namespace) for i in order]

    def count(self) -> int:
        return len(_store(self._place, self._name)[1].rows)


def _count_kind(place: Place) -> str:
    kind = place.option("count") or "exact"
    if kind not in COUNTS:
        raise UsageError(f"option count={kind!r} is not known", next=f"one of: {', '.join(COUNTS)}")
    return kind


def _scores(matrix: npt.NDArray[Any], query: npt.NDArray[Any], field_: VectorField) -> npt.NDArray[Any]:
    """Distances, smallest first; similarities with their sign turned."""
    if field_.kind == "dense" and field_.metric == "l2":
        return np.asarray(np.linalg.norm(matrix - query, axis=1))
    if field_.kind == "dense" and field_.metric == "l1":
        return np.asarray(np.abs(matrix - query).sum(axis=1))
    if field_.kind == "dense" and field_.metric == "dot":
        return np.asarray(-(matrix @ query))
    if field_.kind == "dense" and field_.metric == "cosine":
        lengths = np.linalg.norm(matrix, axis=1) * np.linalg.norm(query)
        return np.asarray(-(matrix @ query) / np.where(lengths == 0, 1, lengths))
    raise UsageError(f"memory cannot search {field_.kind} vectors by {field_.metric}")


def _check_same(there: Collection, wanted: Collection) -> None:
    """Raise ``NotRepresentable`` when records of one do not fit the other."""
    if there.digest() != wanted.digest():
        raise NotRepresentable(
            f"collection {there.name!r} has another schema",
            why=f"there: {there.vectors}, ids {there.id_kind}; to write: {wanted.vectors}, ids {wanted.id_kind}",
            safe="nothing was written",
        )


class MemoryConnector(Connector):
    """Collections in the memory of this process."""

    info: ClassVar[ConnectorInfo] = ConnectorInfo(
        name="memory",
        title="memory",
        schemes=("memory",),
        extra="",
        modules=(),
        example="memory:examples",
        options=(
            Option("mode", "Read a copy taken at the start (snapshot) or what is there now (live).", "snapshot"),
            Option("faults", "A JSON object of faults that a place shall show, for tests."),
            Option("count", "What counts are worth: exact, eventual or none.", "exact"),
            Option("sleeps", "A file that says whether collections are awake; else they are woken, for tests."),
            Option("links", "A metadata key that refers to another record by its id."),
        ),
        takes_host=False,
        where='a JSON object: records whose metadata has these values, as {"color": "red"}',
        hidden=True,
    )
    source: ClassVar[type[Source] | None] = MemorySource
    target: ClassVar[type[Target] | None] = MemoryTarget

    def collections(self, place: Place) -> list[CollectionSummary]:
        room = _rooms.get(place.path)
        if room is None:
            raise _not_found(place, "")
        return [CollectionSummary(name, len(s.rows)) for name, s in sorted(room.stores.items())]

    def open_source(self, place: Place, collection: str, selection: Selection) -> Source:
        mode = place.option("mode") or "snapshot"
        if mode not in ("snapshot", "live"):
            raise UsageError(f"option mode={mode!r} is not known", next="mode=snapshot or mode=live")
        session: Source = (LiveMemorySource if mode == "live" else MemorySource)(place, collection, selection)
        session = faulty_source(session, Faults.parse(place.option("faults")), place.text)
        return _asleep(session, place, collection)

    def open_target(self, place: Place, collection: str) -> Target:
        session = faulty_target(MemoryTarget(place, collection), Faults.parse(place.option("faults")))
        return _asleep(session, place, collection)


def _asleep(session: S, place: Place, collection: str) -> S:
    file = place.option("sleeps")
    return session if file is None else sleeping(session, file, f"collection {collection!r}")
