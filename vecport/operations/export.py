"""Export: a collection becomes a dump. Resumes by itself, reconciles, publishes last."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from ..connectors.contract import Description, Selection, Source
from ..connectors.decorators import from_the_beginning
from ..connectors.guest import Guest
from ..dump.dump import foreign_files, open_dump, publish, unpublish
from ..dump.journal import Durable, Journal, Run
from ..dump.layout import MANIFEST, WORK, Cut, cut_for, row_bytes
from ..dump.lock import writer_lock
from ..dump.manifest import Identity, Manifest
from ..dump.store import open_store
from ..errors import AlreadyExists, NotFound, VecportError
from ..model.collection import Collection, collection_to_json
from ..model.widening import Misfit
from . import rejects
from .effects import Held
from .export_done import check_age, check_read_back, check_same_command, finished_before, still_done
from .export_end import known_rejects, reconciled
from .export_job import ExportJob, check_arguments, check_same_job, fingerprint_of, now
from .export_task import Runner, export_partition, reads
from .like import described_like
from .progress import Progress, Silent, Stop
from .reconcile import count_of
from .sessions import EndpointRef, Endpoints, endpoint
from .tasks import ClaimOf, ExportTask, PartitionDone, heard
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
        found: when the dump was completed, if the same call had made it before and nothing was read; None otherwise.
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
    found: str | None = None


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
    read_back: bool = False,
    max_rps: float | None = None,
    max_mbps: float | None = None,
    progress: Progress | None = None,
    stop: Stop | None = None,
) -> ExportResult:
    """Read a collection into a dump.

    The same call again goes on where an interrupted one stopped, and finds nothing to do where it has ended.

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
        take_over: take the lock of a dead writer in an object store at once, without watching whether it is renewed.
        read_back: read every shard once more from where it is stored, before the dump is published.
        max_rps: at most so many requests a second, of all workers together.
        max_mbps: at most so many megabytes of records a second, of all workers together.
        progress: is told what happens.
        stop: asks the export to stop at the next safe point.

    Raises:
        VecportError: with the exit code of its class.
    """
    started = time.monotonic()
    check_arguments(limit, batch_size, workers, shard_rows, encodings, duplicates, on_error)
    guest = Guest(max_rps, max_mbps)
    place = endpoint(source, role="source", collection=collection, options=source_options, guest=guest, stop=stop)
    job = ExportJob(
        source=place, selection=Selection(tuple(namespace), where), store=open_store(dump), limit=limit,
        page_rows=batch_size, workers=workers, memory_bytes=memory_bytes, shard_rows=shard_rows, encodings=encodings,
        duplicates=duplicates, require_snapshot=require_snapshot, on_error=on_error, ignore_passport=ignore_passport,
        like=None if like is None else os.fspath(like), read_back=read_back,
        progress=progress or Silent(), stop=stop or Stop(),
    )  # fmt: skip
    done = _check_destination(job, overwrite)
    job.progress.phase("open")
    with job.source.open_source(job.selection, job.stop) as session:
        session.report = job
        if done is not None:
            still_done(job, session, done)
            _sweep_rest(job, done)
            job.found = done.completed_at
            return _result(job, done, done.rows, started)
        effects = Held(job.source, session, f"the export into {job.store.url}", job)
        with effects:
            description = session.describe()
            if like is not None:
                description = _like(job, description, like)
            job.stop.check()
            job.store.prepare()
            with writer_lock(job.store, take_over=take_over, note=job.note, check=job.stop.check):
                effects.journal = Journal(job.store)
                if overwrite:
                    unpublish(job.store)
                manifest, resumed = _run(job, session, description, effects)
    return _result(job, manifest, resumed, started)


def _result(job: ExportJob, manifest: Manifest, resumed: int, started: float) -> ExportResult:
    consistency = manifest.source["consistency"]
    rejected = int(consistency.get("rejected", 0))
    no_snapshot = job.require_snapshot and consistency["kind"] != "snapshot"
    return ExportResult(
        dump=job.store.url, rows=manifest.rows, size_bytes=manifest.size_bytes, shards=len(manifest.shards),
        identity=manifest.identity, consistency=consistency, complete=manifest.complete,
        notes=tuple(job.notes), resumed_rows=resumed, seconds=time.monotonic() - started, rejected=rejected,
        exit_code=3 if no_snapshot else 4 if rejected else 0, found=job.found,
    )  # fmt: skip


def _like(job: ExportJob, description: Description, dump: str | os.PathLike[str]) -> Description:
    if description.passport is not None and not job.ignore_passport:
        job.note("the collection has a passport of its own: --like is not used")
        return description
    job.ignore_passport = False
    return described_like(description, dump, job.source)


def _check_destination(job: ExportJob, overwrite: bool) -> Manifest | None:
    """Refuse to touch anything that is not an unfinished dump of the same source.

    Returns:
        The manifest, where the same command has made the dump that is there.
    """
    store = job.store
    if store.local_path is not None and os.path.exists(store.local_path) and not os.path.isdir(store.local_path):
        raise AlreadyExists(f"{store.url} is a file", next="give a folder for the dump")
    foreign = foreign_files(store) if store.local_path is None or os.path.isdir(store.local_path) else []
    if foreign:
        raise AlreadyExists(
            f"{store.url} holds other files, as {foreign[0]}", "a dump has its folder for itself",
            "nothing was changed", "give an empty or a new folder",
        )  # fmt: skip
    if overwrite or not store.exists(MANIFEST) or Journal(store).run() is not None:
        return None
    return finished_before(job)


def _run(job: ExportJob, session: Source, description: Description, effects: Held) -> tuple[Manifest, int]:
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
    fingerprint = fingerprint_of(job, collection, cut)
    if recorded is not None:
        check_same_job(job, recorded, fingerprint)
    effects.apply(session.effects)
    run, durable = _resume(job, session, journal, recorded, fingerprint)
    if run is None:
        run = _begin(job, session, journal, description, collection, restorer is not None, cut, fingerprint)
        durable = {}
    else:
        cut = cut_for(run.collection, job.shard_rows)
        session.attach(run.token)
    journal.sweep({d.entry.path for items in durable.values() for d in items})
    if job.on_error == "fail" and (known := known_rejects(durable, [])):
        raise rejects.refusal(known, job.source.text)
    while True:
        resumed = sum(d.entry.rows for items in durable.values() for d in items)
        try:
            results = _read(job, session, journal, run, durable, cut)
            break
        except Misfit as e:
            run, cut = begun_again(job.store, session, run, e, job.shard_rows, job.note, job.stop.check)
            durable = {}
    manifest = reconciled(job, session, run, durable, results)
    if job.read_back:
        check_read_back(job, manifest)
    job.progress.phase("publish")
    published = publish(job.store, manifest)
    _tidy(job, journal, published, effects)
    return published, resumed


def _tidy(job: ExportJob, journal: Journal, manifest: Manifest, effects: Held) -> None:
    """Remove what only an unfinished dump needs. The dump is there by now, whatever fails here."""
    try:
        effects.end()
    except VecportError as e:
        job.note(f"not put back, as {e.what}; the next run on this collection does it")
    try:
        journal.clear(s.path for s in manifest.shards)
    except VecportError as e:
        job.note(f"the dump is published; its journal was not removed, as {e.what}")
    if journal.left:
        job.note(
            f"left over in {job.store.url}, where deleting is refused: {len(journal.left):,} files, as"
            f" {journal.left[0]}; a reader passes over what is in .vecport"
        )


def _sweep_rest(job: ExportJob, manifest: Manifest) -> None:
    """Remove what a run left that was killed while it tidied up; the dump is whole, whatever fails here."""
    try:
        if job.store.list(WORK):
            with writer_lock(job.store, note=job.note, check=job.stop.check):
                Journal(job.store).clear(s.path for s in manifest.shards)
    except VecportError as e:
        job.note(f"what an interrupted run left in .vecport was not removed, as {e.what}; a reader passes over it")


def _finish_published(job: ExportJob, journal: Journal, run: Run, effects: Held) -> tuple[Manifest, int]:
    """An earlier run was stopped between publishing and clearing its journal, or could not clear it."""
    manifest = open_dump(job.store.url).manifest
    if manifest.dump_id != run.dump_id:
        raise AlreadyExists(f"{job.store.url} is a finished dump already", next="replace it: --overwrite")
    check_same_command(job, manifest)
    _tidy(job, journal, manifest, effects)
    check_age(job, manifest)
    job.found = manifest.completed_at
    job.note("an earlier run had finished this dump")
    return manifest, manifest.rows


def _resume(
    job: ExportJob, session: Source, journal: Journal, run: Run | None, fingerprint: dict[str, Any]
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
    durable = journal.durable(run.dump_id)
    for items in durable.values():
        _check_durable(job, journal, items)
    rows = sum(d.entry.rows for items in durable.values() for d in items)
    for fact in run.widened.get("facts", ()):
        job.note(fact)
    job.note(f"going on with an interrupted export: {rows:,} records are safe already")
    return run, durable


def _start_again(job: ExportJob, why: str) -> tuple[None, dict[int, list[Durable]]]:
    job.note(f"the interrupted export begins again: {why}")
    unpublish(job.store)
    return None, {}


def _check_durable(job: ExportJob, journal: Journal, items: list[Durable]) -> None:
    """Keep shards up to the first whose bytes are not those of its record."""
    for i, d in enumerate(items):
        if job.store.size(d.entry.path) != d.entry.size_bytes or job.store.sha256(d.entry.path) != d.entry.sha256:
            job.note(f"{d.entry.path} is not what was recorded: it is read again")
            for later in items[i:]:
                journal.forget(later)
            del items[i:]
            return


def _begin(
    job: ExportJob, session: Source, journal: Journal, description: Description, collection: Collection,
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
        created_at=now(),
        source={
            "system": job.source.connector,
            "version": description.version,
            "collection": job.source.collection,
        },
    )
    journal.begin(run)
    return run


def _read(
    job: ExportJob, session: Source, journal: Journal, run: Run, durable: dict[int, list[Durable]], cut: Cut
) -> list[PartitionDone]:
    total = run.count_before if job.limit is None else min(job.limit, run.count_before or job.limit)
    job.progress.phase("read", total)
    job.progress.advance(sum(d.entry.rows for items in durable.values() for d in items))
    results: list[PartitionDone] = []
    known = len({(r.namespace, r.id) for r in known_rejects(durable, [])})
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


def _take(job: ExportJob, results: list[PartitionDone], result: PartitionDone, known: int) -> None:
    """Keep a partition's result, as long as all of them together have no more rejects than may be held.

    Raises:
        Misfit: a record of the partition does not fit the schema.
    """
    raise_misfit(result)
    results.append(result)
    rejects.check_count(known + sum(len(r.rejected) for r in results), job.source.text)


def _read_limited(
    job: ExportJob, session: Source, tasks: Iterator[ExportTask], durable: dict[int, list[Durable]], known: int
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
    job: ExportJob, session: Source, journal: Journal, run: Run, durable: dict[int, list[Durable]], cut: Cut,
    workers: int, source: EndpointRef,
) -> Iterator[ExportTask]:  # fmt: skip
    """What is left to read, one task a partition; made as they are asked for, so that no run holds all of them."""
    page_rows = _page_rows(job, session, run.collection, workers)
    for number, partition in enumerate(journal.partitions(run.dump_id).read(run.partitions)):
        done = durable.get(number, [])
        if not (done and done[-1].done):
            yield _task(job, run, number, partition, done, cut, source, page_rows)


def _task(
    job: ExportJob, run: Run, number: int, partition: Any, done: list[Durable], cut: Cut, source: EndpointRef,
    page_rows: int,
) -> ExportTask:  # fmt: skip
    return ExportTask(
        source=source, selection=job.selection, token=run.token, dump=job.store.url,
        collection=collection_to_json(run.collection), native=collection_to_json(run.native),
        passport=None if run.passport is None else dict(run.passport), number=number, partition=partition,
        sequence=len(done), resume=done[-1].cursor if done else None, cut=cut, encodings=job.encodings,
        page_rows=page_rows, on_error=job.on_error, widened=dict(run.widened), dump_id=run.dump_id,
        claim=ClaimOf.of(job.store),
    )  # fmt: skip


def _workers(job: ExportJob, session: Source, run: Run, tasks: int) -> tuple[int, str]:
    """How many there are, as there is work for and the source allows, and of what kind."""
    small = (run.count_before or 0) * row_bytes(run.collection) < _SMALL_BYTES
    wanted = job.workers or (1 if small else min(4, os.cpu_count() or 1))
    count = max(1, min(wanted, tasks))
    kind = session.capabilities.concurrency
    return (1, "handle") if count == 1 or kind == "handle" else (count, kind)


def _executors(
    job: ExportJob, session: Source, run: Run, workers: int, kind: str, endpoints: Endpoints, source: EndpointRef
) -> list[Executor[ExportTask, PartitionDone]]:
    """The first choice is this thread and this session."""
    if kind == "handle":
        return [InlineExecutor(Runner(endpoints, session, reads(source, job.selection, run.token)).run)]
    if kind == "threads":
        runners = [Runner(endpoints) for _ in range(workers)]
        return [InlineExecutor(r.run, r.close) for r in runners]
    return [ProcessExecutor(endpoints, PartitionDone) for _ in range(workers)]


def _page_rows(job: ExportJob, session: Source, collection: Collection, workers: int) -> int:
    if job.page_rows is not None:
        return job.page_rows
    budget = job.memory_bytes // (workers * _LIVE_COPIES)
    return max(1, min(session.capabilities.page_rows, budget // row_bytes(collection)))


__all__ = ["ExportResult", "NotFound", "export"]
