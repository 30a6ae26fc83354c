"""One export task: a partition becomes durable shards, each followed by its journal record."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ..connectors.contract import Page, Reject, Selection, Source
from ..dump.journal import Durable, Journal
from ..dump.manifest import ShardEntry
from ..dump.store import Store, open_store
from ..dump.writer import DumpWriter, Groups
from ..errors import Incomplete, IntegrityError
from ..model.collection import Collection, collection_from_json
from ..model.widening import Misfit
from . import rejects
from .progress import Stop
from .sessions import EndpointRef, Endpoints
from .tasks import Advanced, Emit, ExportTask, PartitionDone, Safe
from .widening import restorer_for

Read = tuple[str, str, str]


def reads(source: EndpointRef, selection: Selection, token: Any) -> Read:
    """What a session reads: two sessions of which this is equal give the same records."""
    return source.name, json.dumps(selection.to_json()), json.dumps(token, sort_keys=True)


class Runner:
    """Runs export tasks, keeping one session for those that follow each other and read the same.

    Args:
        endpoints: that tasks may name.
        lent: a session of the coordinator, for tasks that read what it does.
        of: what that is.
    """

    def __init__(self, endpoints: Endpoints, lent: Source | None = None, of: Read | None = None) -> None:
        self._endpoints, self._lent = endpoints, (lent, of)
        self._own: Source | None = None
        self._reads: Read | None = None

    def run(self, task: ExportTask, emit: Emit, stop: Stop) -> PartitionDone:
        """Run one task, in the session that reads what it names.

        Returns:
            That of ``export_partition``; with ``widen`` alone where a record does not fit the schema.
        """
        try:
            store = open_store(task.dump)
            if task.claim is not None:
                task.claim.put_on(store)
            return export_partition(task, self._session(task, stop), store, emit, stop)
        except Misfit as e:
            return PartitionDone(task.number, (), 0, widen=e.widening.to_json())

    def close(self) -> None:
        """Close the session, unless it was lent."""
        own, self._own, self._reads = self._own, None, None
        if own is not None:
            own.close()

    def _session(self, task: ExportTask, stop: Stop) -> Source:
        wanted = reads(task.source, task.selection, task.token)
        lent, of = self._lent
        if lent is not None and of == wanted:
            return lent
        if self._own is None or self._reads != wanted:
            self.close()
            endpoint = self._endpoints.resolve(task.source)
            source = endpoint.open_source(task.selection, stop, reached=True)
            self._own = source
            source.attach(task.token)
            self._reads = wanted
        return self._own


@dataclass(slots=True)
class _Unread:
    """Records of a partition that are in no shard: gone when they were fetched, or not to be read whole."""

    missing: list[tuple[str, str]] = field(default_factory=list)
    rejected: list[Reject] = field(default_factory=list)

    def add(self, page: Page, task: ExportTask) -> None:
        """Take those of a page; raises ``IntegrityError`` where none may be left out."""
        self.missing.extend(page.missing)
        self.rejected.extend(page.rejected)
        if page.rejected:
            if task.on_error == "fail":
                raise rejects.refusal(self.rejected, task.source.text)
            rejects.check_count(len(self.rejected), task.source.text)

    def so_far(self) -> _Unread:
        """What is known now, for a journal record that is written later."""
        return _Unread(list(self.missing), list(self.rejected))


def export_partition(task: ExportTask, source: Source, store: Store, emit: Emit, stop: Stop) -> PartitionDone:
    """Read a partition from its start or its resume point and write its shards.

    Raises:
        IntegrityError: a record cannot be read whole, and the task says ``on_error: fail``; or the source gave one of a
            namespace that was not asked for.
        Misfit: a record does not fit the schema that a passport remembers.
    """
    collection = collection_from_json(task.collection)
    restorer = restorer_for(collection_from_json(task.native), task.passport, task.widened)
    sink = _Sink(task, store, collection, emit)
    resume = task.resume or {"cursor": None, "key": None}
    behind = tuple(resume["key"]) if resume["key"] else None
    cursor, left = resume["cursor"], task.limit
    namespaces = task.selection.namespaces
    unread = _Unread()
    try:
        for page in source.scan(task.partition, cursor, task.page_rows):
            stop.check()
            unread.add(page, task)
            batch = page.batch
            if behind is not None:
                batch, passed = source.behind(task.partition, batch, behind)
                behind = None if passed else behind
            if left is not None:
                batch = batch.slice(0, left)
                left -= batch.num_rows
            if batch.num_rows:
                restored = restorer.apply(batch) if restorer else batch
                _check_selected(restored, namespaces, task)
                sink.add(restored, batch.select(["namespace", "id"]), cursor, unread)
                emit(Advanced(batch.num_rows))
            cursor = _next_cursor(page, cursor)
            if left == 0:
                break
        if behind is not None and not source.capabilities.key_ordered:
            raise _lost_place(task, behind)
        sink.finish(unread)
    finally:
        sink.close()
    stale, foreign = (restorer.stale, restorer.foreign) if restorer else (0, 0)
    return PartitionDone(
        number=task.number, shards=tuple(sink.written), rows=sink.rows, stale=stale, foreign=foreign,
        missing=tuple(unread.missing), rejected=tuple((r.namespace, r.id, r.reason) for r in unread.rejected),
    )  # fmt: skip


def _check_selected(batch: pa.RecordBatch, namespaces: tuple[str, ...], task: ExportTask) -> None:
    """A dump that says which namespaces it has must have no record of another."""
    if not namespaces:
        return
    asked = pc.is_in(batch.column("namespace"), value_set=pa.array(namespaces, pa.string()))
    row = pc.index(asked, False).as_py()
    if row >= 0:
        raise IntegrityError(
            f"{task.source.text}: record {batch.column('id')[row].as_py()!r} is of namespace"
            f" {batch.column('namespace')[row].as_py()!r}",
            f"only {', '.join(map(repr, namespaces))} was asked for: the connector does not select what it was told to",
            "no manifest was written, so there is no dump that could be taken for one of these namespaces",
            "export all namespaces (without --namespace), and report this",
        )  # fmt: skip


def _lost_place(task: ExportTask, key: tuple[Any, ...]) -> Incomplete:
    return Incomplete(
        f"partition {task.number} cannot go on: the last durable record {key[1]!r} is no longer in the scan",
        "the source changed since the export was interrupted and its order has no way around that",
        "the shards that were finished are kept", "begin again: the same command with --overwrite",
    )  # fmt: skip


def _next_cursor(page: Page, cursor: Any) -> Any:
    return cursor if page.cursor is None else page.cursor


#: A partition has fewer shards than that, so that each term has names of its own.
_SHARDS_OF_A_TERM = 10_000_000


def first_sequence(store: Store) -> int:
    """Where the sequences of this holder's shards begin.

    A store that keeps no conditions cannot refuse a shard that an earlier holder still has on its way: each holder
    writes names of its own there.
    """
    return 0 if store.claim is None or store.keeps_conditions else store.claim.term * _SHARDS_OF_A_TERM


class _Sink:
    """Writes pages in a thread of its own, and a journal record behind each shard."""

    def __init__(self, task: ExportTask, store: Store, collection: Collection, emit: Emit) -> None:
        self._first = first_sequence(store)
        self._writer = DumpWriter(
            store, collection, task.cut, partition=task.number, sequence=self._first + task.sequence,
            encodings=task.encodings,
        )  # fmt: skip
        self._groups: Groups[tuple[pa.RecordBatch, Any]] = Groups(task.cut.group_rows)
        self._partition, self._emit, self._journal = task.number, emit, Journal(store, task.dump_id)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="shard")
        self._running: Future[None] | None = None
        self._last: dict[str, Any] | None = task.resume
        #: How many missing and rejected records the journal names already.
        self._told = (0, 0)
        self.written: list[dict[str, Any]] = []

    @property
    def rows(self) -> int:
        """Records written."""
        return self._writer.rows

    def add(self, batch: pa.RecordBatch, keys: pa.RecordBatch, cursor: Any, unread: _Unread) -> None:
        """Take a page that begins behind ``cursor``; ``keys`` are the source's own, before any restoring."""
        for cut in self._groups.add(batch, (keys, cursor)):
            self._submit_group(*cut, unread)

    def finish(self, unread: _Unread) -> None:
        """Write what is left; the partition is done with its last shard."""
        for cut in self._groups.rest():
            self._submit_group(*cut, unread)
        self._submit(lambda: self._ended(self._writer.end(), True, unread))
        self._wait()

    def close(self) -> None:
        """Stop the thread; an unfinished shard leaves nothing behind."""
        self._thread.shutdown(wait=True)
        self._writer.abort()

    def _submit_group(
        self, group: pa.RecordBatch, about: tuple[pa.RecordBatch, Any], row: int, unread: _Unread
    ) -> None:
        keys, cursor = about
        resume = {"cursor": cursor, "key": [column[row].as_py() for column in keys.columns]}
        known = unread.so_far()
        self._submit(lambda: self._write(group, resume, known))

    def _submit(self, work: Callable[[], None]) -> None:
        self._wait()
        self._running = self._thread.submit(work)

    def _wait(self) -> None:
        if self._running is not None:
            self._running.result()
            self._running = None

    def _write(self, group: pa.RecordBatch, resume: dict[str, Any], unread: _Unread) -> None:
        self._ended(self._writer.put(group), False, unread)
        self._last = resume

    def _ended(self, entry: ShardEntry | None, done: bool, unread: _Unread) -> None:
        """Record a shard that became durable; ``_last`` is still the place behind its last row."""
        if entry is None:
            return
        missing, rejected = tuple(unread.missing[self._told[0] :]), unread.rejected[self._told[1] :]
        self._told = len(unread.missing), len(unread.rejected)
        found = tuple((r.namespace, r.id, r.reason) for r in rejected)
        place = self._partition, self._writer.sequence - 1 - self._first
        self._journal.add(Durable(*place, entry, self._last, done, missing, found))
        self.written.append(entry.to_json())
        self._emit(Safe(f"{entry.path} ({entry.rows:,} records)"))
