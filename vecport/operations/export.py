"""Export: a collection becomes a dump. Resumes by itself, reconciles, publishes last."""

from __future__ import annotations

import datetime
import os
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import pyarrow as pa

from .. import __version__
from ..connectors.contract import Description, Reject, Selection, Source
from ..connectors.decorators import from_the_beginning
from ..connectors.guest import Guest
from ..dump.dump import foreign_files, open_dump, publish, unpublish
from ..dump.journal import Durable, Journal, Run
from ..dump.layout import ENCODINGS, FORMAT_VERSION, MANIFEST, REJECTS, Cut, cut_for, row_bytes
from ..dump.lock import writer_lock
from ..dump.manifest import Identity, Manifest, ShardEntry
from ..dump.store import Store, open_store
from ..dump.writer import DumpWriter
from ..errors import AlreadyExists, NotFound, UsageError
from ..model.collection import Collection, collection_to_json
from ..model.widening import Misfit
from . import rejects, repeats
from .effects import Held
from .export_task import Runner, export_partition, reads
from .like import described_like
from .progress import Progress, Silent, Stop
from .reconcile import Drift, check_live, check_snapshot, count_of
from .sessions import Endpoint, EndpointRef, Endpoints, endpoint
from .tasks import ExportTask, PartitionDone, heard
from .widening import begun_again, raise_misfit, restorer_for
from .workers import Executor, InlineExecutor, ProcessExecutor, run_tasks

DEFAULT_MEMORY_BYTES = 1 << 30
#: Copies of a page and a row group that are alive at once in one worker.
_LIVE_COPIES = 12
#: Below this a worker process takes longer to start than it saves.
_SMALL_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class ExportResult:
    """What an export did.

    Attributes:
        dump: location of the dump.
        rows, size_bytes, shards: of the dump.
        identity: of the dump.
        consistency: ``kind``, counts and drift as in the manifest.
        complete: nothing of the collection was left out.
        notes: what the user should read.
        resumed_rows: rows that an earlier run had finished.
        seconds: this run took.
        rejected: records that could not be read and are named in the dump's ``rejects.jsonl``.
        exit_code: 0, or 3 when a snapshot was required and is not what this is, or 4 when records were rejected.
    """

    dump: str
    rows: int
    size_bytes: int
    shards: int
    identity: Identity
    consistency: Mapping[str, Any]
    complete: bool
    notes: tuple[str, ...]
    resumed_rows: int
    seconds: float
    rejected: int = 0
    exit_code: int = 0


@dataclass(slots=True)
class _Export:
    """One run of an export; the fields are the user's choices."""

    source: Endpoint
    selection: Selection
    store: Store
    limit: int | None
    page_rows: int | None
    workers: int | None
    memory_bytes: int
    shard_rows: int | None
    encodings: str
    duplicates: str
    require_snapshot: bool
    on_error: str
    ignore_passport: bool
    progress: Progress
    stop: Stop
    notes: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        """Hear one sentence, each once; the source's own come here too (``connectors.report``)."""
        if text not in self.notes:
            self.notes.append(text)
            self.progress.note(text)

    def reached(self, done: int, total: int | None, unit: str, step: str = "") -> None:
        """Hear how far the source's own work is."""
        self.progress.reached(done, total, unit, step)

    def check(self) -> None:
        """Raise ``Interrupted`` when the user wants to stop; a source that waits asks."""
        self.stop.check()


def export(
    source: str,
    dump: str | os.PathLike[str],
    *,
    collection: str | None = None,
    namespace: Sequence[str] = (),
    where: str | None = None,
    limit: int | None = None,
    source_options: Mapping[str, str] | None = None,
    batch_size: int | None = None,
    workers: int | None = None,
    memory_bytes: int = DEFAULT_MEMORY_BYTES,
    shard_rows: int | None = None,
    encodings: str = "default",
    duplicates: str = "error",
    overwrite: bool = False,
    require_snapshot: bool = False,
    on_error: str = "fail",
    ignore_passport: bool = False,
    like: str | os.PathLike[str] | None = None,
    take_over: bool = False,
    max_rps: float | None = None,
    max_mbps: float | None = None,
    progress: Progress | None = None,
    stop: Stop | None = None,
) -> ExportResult:
    """Read a collection into a dump.

    The same call again goes on where an interrupted one stopped.

    Args:
        source: address of the place, or ``ADDRESS#collection``.
        dump: folder or URL of the dump to make.
        collection: needed when the place has several.
        namespace: only these namespaces.
        where: a filter in the database's own language.
        limit: at most so many records, from the beginning of the source's order.
        source_options: connector options by name; no secrets.
        batch_size: records per request; None lets the memory budget decide.
        workers: how many read at the same time; None for one per processor, as far as the database allows.
        memory_bytes: bounds workers times what each holds.
        shard_rows: records per shard.
        encodings: ``default``, or ``plain`` for readers without newer Parquet encodings.
        duplicates: ``error``, ``keep``, ``first`` or ``last``: what repeated keys in data mean.
        overwrite: remove a dump, or an unfinished one, that is there.
        require_snapshot: exit code 3 unless all rows come from one snapshot.
        on_error: what a record means that is there and cannot be read whole: ``fail``, or ``quarantine``: it is left
            out and named in ``rejects.jsonl``, and the exit code is 4.
        ignore_passport: take a collection that vecport filled as it is.
        like: an older dump of these records, for a collection that has no passport: types of fields, the key, names
            and metrics of vectors and the place of the document are taken from it.
        take_over: break the lock of a dead writer in an object store.
        max_rps: at most so many requests a second, of all workers together.
        max_mbps: at most so many megabytes of records a second, of all workers together.
        progress: is told what happens.
        stop: asks the export to stop at the next safe point.

    Raises:
        VecportError: with the exit code of its class.
    """
    started = time.monotonic()
    _check_arguments(limit, batch_size, workers, shard_rows, encodings, duplicates, on_error)
    guest = Guest(max_rps, max_mbps)
    place = endpoint(source, role="source", collection=collection, options=source_options, guest=guest, stop=stop)
    job = _Export(
        source=place, selection=Selection(tuple(namespace), where), store=open_store(dump), limit=limit,
        page_rows=batch_size, workers=workers, memory_bytes=memory_bytes, shard_rows=shard_rows, encodings=encodings,
        duplicates=duplicates, require_snapshot=require_snapshot, on_error=on_error, ignore_passport=ignore_passport,
        progress=progress or Silent(), stop=stop or Stop(),
    )  # fmt: skip
    _check_destination(job, overwrite)
    job.progress.phase("open")
    with job.source.open_source(job.selection, job.stop) as session:
        session.report = job
        effects = Held(job.source, session, f"the export into {job.store.url}", job)
        with effects:
            description = session.describe()
            if like is not None:
                description = _like(job, description, like)
            job.stop.check()
            job.store.prepare()
            with writer_lock(job.store, take_over=take_over):
                effects.journal = Journal(job.store)
                if overwrite:
                    unpublish(job.store)
                manifest, resumed = _run(job, session, description, effects)
    consistency = manifest.source["consistency"]
    rejected = int(consistency.get("rejected", 0))
    exit_code = 3 if require_snapshot and consistency["kind"] != "snapshot" else 4 if rejected else 0
    return ExportResult(
        dump=job.store.url, rows=manifest.rows, size_bytes=manifest.size_bytes, shards=len(manifest.shards),
        identity=manifest.identity, consistency=consistency, complete=manifest.complete,
        notes=tuple(job.notes), resumed_rows=resumed, seconds=time.monotonic() - started, rejected=rejected,
        exit_code=exit_code,
    )  # fmt: skip


def _like(job: _Export, description: Description, dump: str | os.PathLike[str]) -> Description:
    if description.passport is not None and not job.ignore_passport:
        job.note("the collection has a passport of its own: --like is not used")
        return description
    job.ignore_passport = False
    return described_like(description, dump, job.source)


def _check_arguments(
    limit: int | None,
    batch_size: int | None,
    workers: int | None,
    shard_rows: int | None,
    encodings: str,
    duplicates: str,
    on_error: str,
) -> None:
    for name, value in (("limit", limit), ("batch-size", batch_size), ("workers", workers), ("shard-rows", shard_rows)):
        if value is not None and value < 1:
            raise UsageError(f"--{name} {value}: must be 1 or more")
    if encodings not in ENCODINGS:
        raise UsageError(f"--encodings {encodings} is not known", next=f"one of: {', '.join(ENCODINGS)}")
    if duplicates not in repeats.POLICIES:
        raise UsageError(f"--duplicates {duplicates} is not known", next=f"one of: {', '.join(repeats.POLICIES)}")
    if on_error not in rejects.ON_ERROR:
        raise UsageError(f"--on-error {on_error} is not known", next=f"one of: {', '.join(rejects.ON_ERROR)}")


def _check_destination(job: _Export, overwrite: bool) -> None:
    """Refuse to touch anything that is not an unfinished dump of the same source."""
    store = job.store
    if store.local_path is not None and os.path.exists(store.local_path) and not os.path.isdir(store.local_path):
        raise AlreadyExists(f"{store.url} is a file", next="give a folder for the dump")
    foreign = foreign_files(store) if store.local_path is None or os.path.isdir(store.local_path) else []
    if foreign:
        raise AlreadyExists(
            f"{store.url} holds other files, as {foreign[0]}", "a dump has its folder for itself",
            "nothing was changed", "give an empty or a new folder",
        )  # fmt: skip
    if store.exists(MANIFEST) and not overwrite and Journal(store).run() is None:
        raise AlreadyExists(
            f"{store.url} is a finished dump already", safe="it was not changed",
            next=f"check it: vecport validate {store.url}; or replace it: the same command with --overwrite",
        )  # fmt: skip


def _run(job: _Export, session: Source, description: Description, effects: Held) -> tuple[Manifest, int]:
    journal = Journal(job.store)
    recorded = journal.run()
    if job.store.exists(MANIFEST) and recorded is not None:
        effects.apply(tuple)
        return _finish_published(job, journal, recorded, effects)
    for text in description.notes:
        job.note(text)
    restorer = None
    if description.passport is not None and not job.ignore_passport:
        restorer = restorer_for(description.collection, description.passport)
        for text in restorer.notes if restorer else ():
            job.note(text)
    collection = restorer.collection if restorer else description.collection
    cut = cut_for(collection, job.shard_rows)
    fingerprint = _fingerprint(job, collection, cut)
    if recorded is not None:
        _check_same_job(job, recorded, fingerprint)
    effects.apply(session.effects)
    run, durable = _resume(job, session, journal, recorded, fingerprint)
    if run is None:
        run = _begin(job, session, journal, description, collection, restorer is not None, cut, fingerprint)
        durable = {}
    else:
        cut = cut_for(run.collection, job.shard_rows)
        session.attach(run.token)
    journal.sweep({d.entry.path for items in durable.values() for d in items})
    if job.on_error == "fail" and (known := _rejects(durable, [])):
        raise rejects.refusal(known, job.source.text)
    while True:
        resumed = sum(d.entry.rows for items in durable.values() for d in items)
        try:
            results = _read(job, session, journal, run, durable, cut)
            break
        except Misfit as e:
            run, cut = begun_again(job.store, session, run, e, job.shard_rows, job.note, job.stop.check)
            durable = {}
    manifest = _reconcile(job, session, run, durable, results)
    job.progress.phase("publish")
    published = publish(job.store, manifest)
    effects.end()
    journal.clear()
    return published, resumed


def _finish_published(job: _Export, journal: Journal, run: Run, effects: Held) -> tuple[Manifest, int]:
    """An earlier run was stopped between publishing and clearing its journal."""
    manifest = open_dump(job.store.url).manifest
    if manifest.dump_id != run.dump_id:
        raise AlreadyExists(f"{job.store.url} is a finished dump already", next="replace it: --overwrite")
    effects.end()
    journal.clear()
    job.note("an earlier run had finished this dump")
    return manifest, manifest.rows


def _fingerprint(job: _Export, collection: Collection, cut: Cut) -> dict[str, Any]:
    return {
        "format_version": FORMAT_VERSION, "vecport": __version__, "pyarrow": pa.__version__,
        "connector": job.source.connector, "place": job.source.place.text, "collection": job.source.collection,
        "selection": job.selection.to_json(), "limit": job.limit, "encodings": job.encodings,
        "schema": collection.digest(), "cut": [cut.group_rows, cut.shard_rows],
    }  # fmt: skip


_SAME_JOB = ("connector", "place", "collection", "selection", "limit")


def _check_same_job(job: _Export, run: Run, fingerprint: dict[str, Any]) -> None:
    other = [k for k in _SAME_JOB if run.fingerprint.get(k) != fingerprint[k]]
    if other:
        raise AlreadyExists(
            f"{job.store.url} is an unfinished dump of something else",
            f"{other[0]} was {run.fingerprint.get(other[0])!r}, now it is {fingerprint[other[0]]!r}",
            "it was not changed", "give another folder, or begin anew with --overwrite",
        )  # fmt: skip


def _resume(
    job: _Export, session: Source, journal: Journal, run: Run | None, fingerprint: dict[str, Any]
) -> tuple[Run | None, dict[int, list[Durable]]]:
    """Decide whether an earlier run can go on; None begins anew, having said why."""
    if run is None:
        return None, {}
    changed = [k for k in fingerprint if run.fingerprint.get(k) != fingerprint[k]]
    if changed:
        return _start_again(job, f"{changed[0]} has changed since")
    if not session.alive(run.token):
        if not session.capabilities.key_ordered:
            return _start_again(job, "its snapshot is gone, and places in it mean nothing in a new one")
        job.note("the snapshot of the interrupted run is gone: the rest comes from a new one")
        run = replace(run, token=session.snapshot(), epochs=run.epochs + 1)
        journal.begin(run)
    durable = journal.durable()
    for items in durable.values():
        _check_durable(job, journal, items)
    rows = sum(d.entry.rows for items in durable.values() for d in items)
    for fact in run.widened.get("facts", ()):
        job.note(fact)
    job.note(f"going on with an interrupted export: {rows:,} records are safe already")
    return run, durable


def _start_again(job: _Export, why: str) -> tuple[None, dict[int, list[Durable]]]:
    job.note(f"the interrupted export begins again: {why}")
    unpublish(job.store)
    return None, {}


def _check_durable(job: _Export, journal: Journal, items: list[Durable]) -> None:
    """Keep shards up to the first whose bytes are not those of its record."""
    for i, d in enumerate(items):
        if job.store.size(d.entry.path) != d.entry.size_bytes or job.store.sha256(d.entry.path) != d.entry.sha256:
            job.note(f"{d.entry.path} is not what was recorded: it is read again")
            for later in items[i:]:
                journal.forget(later)
            del items[i:]
            return


def _begin(
    job: _Export, session: Source, journal: Journal, description: Description, collection: Collection,
    restored: bool, cut: Cut, fingerprint: dict[str, Any],
) -> Run:  # fmt: skip
    job.progress.phase("list")
    token = session.snapshot()
    session.attach(token)
    count = count_of(session)
    files = journal.partitions(dump_id := str(uuid.uuid4()))
    partitions = from_the_beginning(
        lambda: files.write(session.partitions(cut.shard_rows, token), job.stop.check)
    )  # fmt: skip
    run = Run(
        fingerprint=fingerprint,
        collection=collection,
        native=description.collection,
        passport=dict(description.passport) if restored and description.passport is not None else None,
        token=token,
        partitions=partitions,
        count_before=count,
        dump_id=dump_id,
        created_at=_now(),
        source={"system": job.source.connector, "version": description.version, "collection": job.source.collection},
    )
    journal.begin(run)
    return run


def _read(
    job: _Export, session: Source, journal: Journal, run: Run, durable: dict[int, list[Durable]], cut: Cut
) -> list[PartitionDone]:
    total = run.count_before if job.limit is None else min(job.limit, run.count_before or job.limit)
    job.progress.phase("read", total)
    job.progress.advance(sum(d.entry.rows for items in durable.values() for d in items))
    results: list[PartitionDone] = []
    known = len({(r.namespace, r.id) for r in _rejects(durable, [])})
    if job.limit is not None:
        endpoints = Endpoints()
        tasks = _tasks(job, session, journal, run, durable, cut, 1, endpoints.refer(job.source))
        return _read_limited(job, session, tasks, durable, known)
    finished = sum(1 for items in durable.values() if items and items[-1].done)
    endpoints = Endpoints()
    workers, kind = _workers(job, session, run, run.partitions - finished)
    source = endpoints.refer(job.source.shared(workers))
    executors = _executors(job, session, run, workers, kind, endpoints, source)
    tasks = _tasks(job, session, journal, run, durable, cut, workers, source)
    emit = heard(job.progress)
    try:
        run_tasks(tasks, executors, emit, job.stop, lambda _, result: _take(job, results, result, known))
    finally:
        for e in executors:
            e.close()
    return results


def _take(job: _Export, results: list[PartitionDone], result: PartitionDone, known: int) -> None:
    """Keep a partition's result, as long as all of them together have no more rejects than may be held.

    Raises:
        Misfit: a record of the partition does not fit the schema.
    """
    raise_misfit(result)
    results.append(result)
    rejects.check_count(known + sum(len(r.rejected) for r in results), job.source.text)


def _read_limited(
    job: _Export, session: Source, tasks: Iterator[ExportTask], durable: dict[int, list[Durable]], known: int
) -> list[PartitionDone]:
    """Partitions one after another, until the limit is reached."""
    assert job.limit is not None
    left = job.limit - sum(d.entry.rows for items in durable.values() for d in items)
    results: list[PartitionDone] = []
    for task in tasks:
        if left <= 0:
            break
        limited = msgspec.structs.replace(task, limit=left)
        result = export_partition(limited, session, job.store, heard(job.progress), job.stop)
        left -= result.rows
        _take(job, results, result, known)
    return results


def _tasks(
    job: _Export, session: Source, journal: Journal, run: Run, durable: dict[int, list[Durable]], cut: Cut,
    workers: int, source: EndpointRef,
) -> Iterator[ExportTask]:  # fmt: skip
    """What is left to read, one task a partition; made as they are asked for, so that no run holds all of them."""
    page_rows = _page_rows(job, session, run.collection, workers)
    for number, partition in enumerate(journal.partitions(run.dump_id).read(run.partitions)):
        done = durable.get(number, [])
        if not (done and done[-1].done):
            yield _task(job, run, number, partition, done, cut, source, page_rows)


def _task(
    job: _Export, run: Run, number: int, partition: Any, done: list[Durable], cut: Cut, source: EndpointRef,
    page_rows: int,
) -> ExportTask:  # fmt: skip
    return ExportTask(
        source=source, selection=job.selection, token=run.token, dump=job.store.url,
        collection=collection_to_json(run.collection), native=collection_to_json(run.native),
        passport=None if run.passport is None else dict(run.passport), number=number, partition=partition,
        sequence=len(done), resume=done[-1].cursor if done else None, cut=cut, encodings=job.encodings,
        page_rows=page_rows, on_error=job.on_error, widened=dict(run.widened),
    )  # fmt: skip


def _workers(job: _Export, session: Source, run: Run, tasks: int) -> tuple[int, str]:
    """How many there are, as there is work for and the source allows, and of what kind."""
    small = (run.count_before or 0) * row_bytes(run.collection) < _SMALL_BYTES
    wanted = job.workers or (1 if small else min(4, os.cpu_count() or 1))
    count = max(1, min(wanted, tasks))
    kind = session.capabilities.concurrency
    return (1, "handle") if count == 1 or kind == "handle" else (count, kind)


def _executors(
    job: _Export, session: Source, run: Run, workers: int, kind: str, endpoints: Endpoints, source: EndpointRef
) -> list[Executor[ExportTask, PartitionDone]]:
    """The first choice is this thread and this session."""
    if kind == "handle":
        return [InlineExecutor(Runner(endpoints, session, reads(source, job.selection, run.token)).run)]
    if kind == "threads":
        runners = [Runner(endpoints) for _ in range(workers)]
        return [InlineExecutor(r.run, r.close) for r in runners]
    return [ProcessExecutor(endpoints, PartitionDone) for _ in range(workers)]


def _page_rows(job: _Export, session: Source, collection: Collection, workers: int) -> int:
    if job.page_rows is not None:
        return job.page_rows
    budget = job.memory_bytes // (workers * _LIVE_COPIES)
    return max(1, min(session.capabilities.page_rows, budget // row_bytes(collection)))


def _reconcile(
    job: _Export, session: Source, run: Run, durable: dict[int, list[Durable]], results: list[PartitionDone]
) -> Manifest:
    job.progress.phase("check")
    entries = _entries(job, run, durable, results)
    live = not session.capabilities.snapshot or run.epochs > 1
    missing = sorted({(ns, i) for items in durable.values() for d in items for ns, i in d.missing}
                     | {(k[0], k[1]) for r in results for k in r.missing})  # fmt: skip
    dropped = 0
    if not session.capabilities.keyless:
        entries, dropped = repeats.settle(
            job.store, entries, run.collection, live=live, policy=job.duplicates, encodings=job.encodings,
            memory_bytes=job.memory_bytes // 2,
        )  # fmt: skip
    _note_restored(job, results)
    rejected = rejects.settle(job.store, entries, run.collection, _rejects(durable, results), run.passport)
    consistency = _consistency(job, session, run, entries, missing, rejected, dropped, live)
    _note_rejected(job, rejected)
    file = rejects.write(job.store, rejected)
    selected = job.limit is not None or job.selection != Selection()
    return Manifest(
        collection=run.collection,
        shards=tuple(entries),
        dump_id=run.dump_id,
        created_at=run.created_at,
        completed_at=_now(),
        writer={"name": "vecport", "version": __version__, "pyarrow": pa.__version__},
        source={**run.source, "consistency": consistency, **({"rejects": file} if file else {})},
        selection={**job.selection.to_json(), "limit": job.limit},
        complete=not selected and not rejected,
        encodings=job.encodings,
    )


def _rejects(durable: dict[int, list[Durable]], results: list[PartitionDone]) -> list[Reject]:
    """Records that this run and those before it could not read; one can stand there twice."""
    found = [r for items in durable.values() for d in items for r in d.rejected]
    return [Reject(*r) for r in (*found, *(r for result in results for r in result.rejected))]


def _note_rejected(job: _Export, rejected: list[Reject]) -> None:
    if rejected:
        first = rejected[0]
        job.note(f"{len(rejected):,} records could not be read and are not in the dump, as {first.id!r}:"
                 f" {first.reason}; {REJECTS} names them")  # fmt: skip


def _note_restored(job: _Export, results: list[PartitionDone]) -> None:
    stale, foreign = sum(r.stale for r in results), sum(r.foreign for r in results)
    if stale:
        job.note(f"{stale:,} values were edited in the database since they were imported: the edits were exported")
    if foreign:
        job.note(f"{foreign:,} records were added in the database by somebody else: their ids were taken as they are")


def _entries(
    job: _Export, run: Run, durable: dict[int, list[Durable]], results: list[PartitionDone]
) -> list[ShardEntry]:
    found = {d.entry.path: d.entry for items in durable.values() for d in items}
    for result in results:
        for shard in result.shards:
            entry = ShardEntry.from_json(shard)
            found[entry.path] = entry
    if not found:
        # An empty collection has one empty shard, so that any reader sees its columns.
        with DumpWriter(job.store, run.collection, encodings=job.encodings) as writer:
            found = {entry.path: entry for entry in writer.close()}
    return [found[path] for path in sorted(found, key=_shard_order)]


def _shard_order(path: str) -> tuple[int, int]:
    _, partition, sequence = path.removesuffix(".parquet").rsplit("-", 2)
    return int(partition), int(sequence)


def _consistency(
    job: _Export, session: Source, run: Run, entries: list[ShardEntry], missing: list[tuple[str, str]],
    rejected: list[Reject], dropped: int, live: bool,
) -> dict[str, Any]:  # fmt: skip
    rows = sum(e.rows for e in entries)
    left_out = {"rejected": len(rejected)} if rejected else {}
    if job.limit is not None:
        return {"kind": "live-scan" if live else "snapshot", "count_before": run.count_before, "count_after": None,
                "limited": True, **left_out}  # fmt: skip
    if not live:
        check_snapshot(rows + dropped + len(rejected), run.count_before, job.source.text)
        return {"kind": "snapshot", "count_before": run.count_before, "count_after": run.count_before, **left_out}
    drift: Drift = check_live(
        session, entries, job.store, run.collection, run.count_before, missing, job.source.text, run.passport, rejected
    )
    if drift.moved:
        job.note(_drift_text(drift))
    if dropped:
        job.note(f"{dropped:,} records were seen twice while the source changed: the last reading was kept")
    kind = "multi-epoch" if run.epochs > 1 else "live-scan"
    return {"kind": kind, **drift.to_json(), "epochs": run.epochs, "repeats_dropped": dropped, **left_out}


def _drift_text(drift: Drift) -> str:
    before = "?" if drift.count_before is None else f"{drift.count_before:,}"
    after = "?" if drift.count_after is None else f"{drift.count_after:,}"
    text = f"the source changed while it was read: {before} records before, {after} after"
    if drift.only_in_dump is not None and drift.only_in_source is not None:
        text += (
            f"; {drift.only_in_dump:,} of the dump are gone there now, {drift.only_in_source:,} came too late for it"
        )
    return text


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).replace(microsecond=0).isoformat().replace("+00:00", "Z")


__all__ = ["ExportResult", "NotFound", "export"]
