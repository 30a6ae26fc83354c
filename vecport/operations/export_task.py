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
from ..connectors.decorators import patiently
from ..dump.journal import Durable, Journal
from ..dump.shard import ShardWriter
from ..dump.store import Store, open_store
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
            return export_partition(task, self._session(task, stop), open_store(task.dump), emit, stop)
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
            source = patiently(lambda: endpoint.open_source(task.selection, stop, reached=True), stop.check)
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


class _Sink:
    """Cuts pages into row groups and shards by row count alone, and writes them in a thread of its own."""

    def __init__(self, task: ExportTask, store: Store, collection: Collection, emit: Emit) -> None:
        self._cut = task.cut
        self._partition, self._sequence = task.number, task.sequence
        self._profile = task.encodings
        self._store, self._collection, self._emit_event = store, collection, emit
        self._journal = Journal(store)
        self._pending: list[tuple[pa.RecordBatch, pa.RecordBatch, Any]] = []
        self._pending_rows = 0
        self._writer: ShardWriter | None = None
        self._shard_rows = 0
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="shard")
        self._running: Future[None] | None = None
        self._last: dict[str, Any] | None = task.resume
        #: How many missing and rejected records the journal names already.
        self._told = (0, 0)
        self.rows = 0
        self.written: list[dict[str, Any]] = []

    def add(self, batch: pa.RecordBatch, keys: pa.RecordBatch, cursor: Any, unread: _Unread) -> None:
        """Take a page that begins behind ``cursor``; ``keys`` are the source's own, before any restoring."""
        self._pending.append((batch, keys, cursor))
        self._pending_rows += batch.num_rows
        while self._pending_rows >= self._cut.group_rows:
            self._emit(self._cut.group_rows, unread)

    def finish(self, unread: _Unread) -> None:
        """Write what is left; the partition is done with its last shard."""
        if self._pending_rows:
            self._emit(self._pending_rows, unread)
        self._submit(lambda: self._end_shard(True, unread))
        self._wait()

    def close(self) -> None:
        """Stop the thread; an unfinished shard leaves nothing behind."""
        self._thread.shutdown(wait=True)
        if self._writer is not None:
            self._writer.abort()

    def _emit(self, rows: int, unread: _Unread) -> None:
        parts: list[pa.RecordBatch] = []
        resume: dict[str, Any] = {}
        need = rows
        while need:
            batch, keys, cursor = self._pending[0]
            take = min(need, batch.num_rows)
            parts.append(batch.slice(0, take))
            if take == batch.num_rows:
                self._pending.pop(0)
            else:
                self._pending[0] = (batch.slice(take), keys.slice(take), cursor)
            resume = {"cursor": cursor, "key": [column[take - 1].as_py() for column in keys.columns]}
            need -= take
        self._pending_rows -= rows
        group = _contiguous(parts)
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
        # A shard is closed only when the next row group is here, so that the last shard knows that it is the last.
        if self._writer is not None and self._writer.rows >= self._cut.shard_rows:
            self._end_shard(False, unread)
        if self._writer is None:
            self._writer = ShardWriter(self._store, self._partition, self._sequence, self._collection, self._profile)
        self._writer.write(group)
        self._last = resume
        self.rows += group.num_rows

    def _end_shard(self, done: bool, unread: _Unread) -> None:
        if self._writer is None:
            return
        entry = self._writer.close()
        self._writer = None
        missing, rejected = tuple(unread.missing[self._told[0] :]), unread.rejected[self._told[1] :]
        self._told = len(unread.missing), len(unread.rejected)
        found = tuple((r.namespace, r.id, r.reason) for r in rejected)
        self._journal.add(Durable(self._partition, self._sequence, entry, self._last, done, missing, found))
        self.written.append(entry.to_json())
        self._sequence += 1
        self._emit_event(Safe(f"{entry.path} ({entry.rows:,} records)"))


def _contiguous(parts: list[pa.RecordBatch]) -> pa.RecordBatch:
    """One batch with buffers of its own, so that equal rows give equal bytes whatever pages they came in."""
    if len(parts) == 1 and parts[0].num_rows:
        columns = [pa.concat_arrays([c.slice(0, 0), c]) for c in parts[0].columns]
        return pa.RecordBatch.from_arrays(columns, schema=parts[0].schema)
    batch = pa.Table.from_batches(parts).combine_chunks().to_batches()
    return batch[0] if batch else parts[0]
