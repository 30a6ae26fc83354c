"""Import: a dump goes into a database. Refuses loss, resumes by itself, counts at the end."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from ..connectors.base import Description, Mark, Target
from ..connectors.guest import Guest
from ..dump.dump import Dump, open_dump
from ..dump.manifest import ShardEntry
from ..dump.part import Part
from ..dump.store import LocalStore
from ..errors import AlreadyExists, Incomplete, NotRepresentable, UsageError
from ..limits import DEFAULT_LIMITS, Limits
from ..model.passport import Passport
from .duck import Duck
from .import_plan import Choices, ImportPlan, capabilities_of, import_id_for, make_plan
from .import_state import ImportState
from .import_task import Runner
from .progress import Progress, Silent, Stop
from .reconcile import KEY_SCHEMA
from .sessions import Endpoint, target_endpoint
from .split import Destination
from .target_config import TargetConfig
from .target_config import read as read_config
from .workers import Executor, InlineExecutor, ProcessExecutor, Result, Task, run_tasks

DEFAULT_MEMORY_BYTES = 1 << 30
#: Below this a worker process takes longer to start than it saves.
_SMALL_BYTES = 32 << 20


@dataclass(frozen=True, slots=True)
class ImportResult:
    """What an import did.

    Attributes:
        dump, target: where from and where to.
        rows: of the dump.
        written_rows: written by this run.
        resumed_rows: that an earlier run had written.
        ledger: plain data, worst first.
        dry_run: nothing was written.
        verify_command: proves the result.
        query_hint: a query to paste.
        seconds: this run took.
        collections: where each namespace went, by namespace, in the order of writing; empty unless they were split.
    """

    dump: str
    target: str
    rows: int
    written_rows: int
    resumed_rows: int
    ledger: list[dict[str, Any]]
    dry_run: bool
    verify_command: str
    query_hint: str
    seconds: float
    notes: tuple[str, ...] = ()
    exit_code: int = 0
    collections: Mapping[str, Destination] = field(default_factory=dict)


@dataclass(slots=True)
class _Import:
    """One run of an import; the fields are the user's choices."""

    dump: Dump
    target: Endpoint
    import_id: str
    choices: Choices
    workers: int | None
    memory_bytes: int
    limits: Mapping[str, int]
    progress: Progress
    stop: Stop
    notes: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        self.notes.append(text)
        self.progress.note(text)


def import_(
    dump: str | os.PathLike[str],
    target: str,
    *,
    collection: str | None = None,
    target_options: Mapping[str, str] | None = None,
    workers: int | None = None,
    memory_bytes: int = DEFAULT_MEMORY_BYTES,
    if_exists: str = "create",
    on_conflict: str = "replace",
    namespaces: str | None = None,
    settings: Mapping[str, str] | None = None,
    target_config: str | os.PathLike[str] | None = None,
    allow_lossy: Sequence[str] = (),
    strict: bool = False,
    dry_run: bool = False,
    limits: Mapping[str, int] | None = None,
    max_rps: float | None = None,
    max_mbps: float | None = None,
    progress: Progress | None = None,
    stop: Stop | None = None,
) -> ImportResult:
    """Restore a dump into a database.

    The same call again goes on where an interrupted one stopped.

    Args:
        dump: folder or URL of a finished dump.
        target: address of the place, or ``ADDRESS#collection``.
        collection: to create; None takes the name that the dump's collection had.
        target_options: connector options by name; no secrets.
        workers: how many write at the same time; None for one per processor, as far as the database allows.
        memory_bytes: bounds workers times what each holds.
        if_exists: ``create`` refuses a collection with records, ``append`` adds to it, ``replace`` removes it first.
        on_conflict: of a record that is there already, written by somebody else: ``replace`` it as a whole, ``skip``
            the dump's, or ``fail``.
        namespaces: where the target has none: ``field`` keeps them under a metadata key, ``prefix`` puts them before
            the id, ``refuse`` refuses a dump with namespaces; None takes ``field`` where keys stay distinct. ``split``
            makes a collection for each, named after ``collection`` and the namespace, in any target that can have
            several.
        settings: choices of what is created, as ``metric`` or the connector's own.
        target_config: a file of choices that ``plan`` emitted; ``settings`` go before them.
        allow_lossy: fields whose loss, as the ledger names it, is accepted.
        strict: refuse what comes back only within a stated error, too.
        dry_run: make the plan and the ledger, write nothing.
        limits: raised bounds for reading the dump, by name.
        max_rps: at most so many requests a second, of all workers together.
        max_mbps: at most so many megabytes of records a second, of all workers together.
        progress: is told what happens.
        stop: asks the import to stop at the next safe point.

    Raises:
        VecportError: with the exit code of its class.
    """
    started = time.monotonic()
    if workers is not None and workers < 1:
        raise UsageError(f"--workers {workers}: must be 1 or more")
    progress = progress or Silent()
    progress.phase("plan")
    opened = open_dump(dump, _limits(limits))
    place = target_endpoint(target, collection, target_options, opened, Guest(max_rps, max_mbps))
    config = TargetConfig(place.connector) if target_config is None else read_config(target_config, place.connector)
    choices = Choices(if_exists, on_conflict, namespaces, {**config.settings, **(settings or {})}, config.vectors)
    job = _Import(
        dump=opened, target=place, import_id=import_id_for(opened, place), choices=choices,
        workers=workers, memory_bytes=memory_bytes, limits=dict(limits or {}), progress=progress, stop=stop or Stop(),
    )  # fmt: skip
    if choices.namespaces == "split":
        from .import_split import import_split

        return import_split(job, allow_lossy=allow_lossy, strict=strict, dry_run=dry_run, started=started)
    with place.open_target(job.stop) as session:
        plan = make_plan(opened, place, import_id=job.import_id, choices=choices, session=session)
        written = resumed = code = 0
        if dry_run:
            _check_existing(job, session.describe(), resume=False)
            code = _refusal(job, plan, allow_lossy, strict)
        else:
            plan.ledger.enforce(allow_lossy=allow_lossy, strict=strict)
            written, resumed = _run(job, session)
        hint = "" if dry_run else session.query_hint()
    return ImportResult(
        dump=opened.url, target=place.text, rows=opened.manifest.rows, written_rows=written, resumed_rows=resumed,
        ledger=plan.ledger.to_json(), dry_run=dry_run, verify_command=_verify_command(opened, place), query_hint=hint,
        seconds=time.monotonic() - started, notes=tuple(job.notes), exit_code=code,
    )  # fmt: skip


def _refusal(job: _Import, plan: ImportPlan, allow_lossy: Sequence[str], strict: bool) -> int:
    """The exit code with which the ledger would refuse this import; a dry run shows it and the ledger."""
    try:
        plan.ledger.enforce(allow_lossy=allow_lossy, strict=strict)
    except NotRepresentable as e:
        job.note(f"this import would be refused: {e.why}; {e.next}")
        return e.exit_code
    return 0


def _limits(limits: Mapping[str, int] | None) -> Limits:
    return DEFAULT_LIMITS.with_overrides(dict(limits or {}))


def _verify_command(dump: Dump, target: Endpoint) -> str:
    return shlex.join(["vecport", "verify", dump.url, *target.arguments()])


def _run(job: _Import, session: Target) -> tuple[int, int]:
    state = ImportState(job.import_id)
    with state.lock(job.target.text):
        existing = session.describe()
        resume = _is_resumed(job, state, existing)
        if not resume:
            if state.begun() is None:
                # What a run left that was killed while it tidied up.
                state.clear()
            _check_existing(job, existing, resume=False)
        _check_shards(job)
        plan = make_plan(
            job.dump, job.target, import_id=job.import_id, choices=job.choices, resume=resume, session=session,
        )  # fmt: skip
        if resume:
            _check_same_mapping(job, state, None if existing is None else _passport(existing), plan)
        _check_namespaces(job, plan)
        before = existing.count or 0 if existing is not None and job.choices.if_exists == "append" and not resume else 0
        if not resume:
            state.begin({"before": before, "target": job.target.text, "dump": job.dump.url, "mapping": _facts(plan)})
        session.prepare(plan.target)
        session.attach(plan.target)
        acknowledged = _acknowledged(job, state, session) if resume else {}
        written, resumed = _write(job, session, plan, acknowledged)
        _finish(job, session, plan, state)
    return written, resumed


def _is_resumed(job: _Import, state: ImportState, existing: Description | None) -> bool:
    """Whether this very import was begun here before and its collection is still the one that it made."""
    if existing is None:
        return False
    passport = _passport(existing)
    if passport is not None:
        ours = passport.import_id == job.import_id
        return ours and (passport.state == "loading" or state.begun() is not None)
    return state.begun() is not None


def _facts(plan: ImportPlan) -> dict[str, Any]:
    """How records are made by a plan: all of an import must be made alike."""
    made = plan.mapping.passport.to_json()
    return {k: made[k] for k in ("ids", "vectors", "document", "namespace", "prefix", "one_namespace")}


def _check_same_mapping(job: _Import, state: ImportState, passport: Passport | None, plan: ImportPlan) -> None:
    """The rest of an interrupted import goes in as its beginning did."""
    now = _facts(plan)
    begun = passport.to_json() if passport is not None else (state.begun() or {}).get("mapping") or now
    other = [k for k in now if begun.get(k) != now[k]]
    if other:
        raise UsageError(
            f"the interrupted import into {job.target.text} was begun with other choices",
            f"{other[0]} was {begun.get(other[0])!r}, now it would be {now[other[0]]!r}", "nothing more was written",
            "use the choices of the first run (--namespaces, --target-config), or begin anew with --if-exists replace",
        )  # fmt: skip


def _passport(existing: Description) -> Passport | None:
    if existing.passport is None:
        return None
    try:
        return Passport.from_json(existing.passport)
    except NotRepresentable:
        return None


def _check_existing(job: _Import, existing: Description | None, *, resume: bool) -> None:
    """Existing targets are sacred: refuse a collection with records before anything is touched."""
    if existing is None or resume or job.choices.if_exists != "create" or not existing.count:
        return
    passport = _passport(existing)
    same = passport is not None and passport.import_id == job.import_id and passport.state == "complete"
    choices = sorted(capabilities_of(job.target.connector).if_exists - {"create"})
    offered = "".join(f"--if-exists {c}, " for c in choices) + "or"
    raise AlreadyExists(
        f"{job.target.text} holds {existing.count:,} records",
        "this very dump was imported here before" if same else "",
        "nothing was written",
        f"compare it: {_verify_command(job.dump, job.target)}; or choose {offered} another --collection",
    )


def _check_namespaces(job: _Import, plan: ImportPlan) -> None:
    """Where a target has no namespaces and ids stay as they are, equal ids of two namespaces would be one record."""
    if plan.mapping.namespace_key is None or plan.mapping.id_mode == "hashed":
        return
    with Duck(job.memory_bytes // 2) as duck:
        duck.load("keys", KEY_SCHEMA, (_plain(b) for b in job.dump.keys(("id", "namespace"))))
        found = duck.rows("SELECT id FROM keys GROUP BY id HAVING count(*) > 1 ORDER BY id LIMIT 3")
    if found:
        raise NotRepresentable(
            f"id {found[0][0]!r} stands in several namespaces of this dump",
            f"{job.target.text} has no namespaces, so these records would replace each other",
            "nothing was written",
            "put the namespace before the id: --namespaces prefix; or export the namespaces one by one"
            " (--namespace NAME), and import each into its collection",
        )


def _plain(batch: pa.RecordBatch) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays(batch.columns, schema=KEY_SCHEMA)


def _check_shards(job: _Import) -> None:
    """Before the first write: every shard is there and whole (in an object store: its size and its footer)."""
    if isinstance(job.dump, Part) and job.dump.checked:
        return
    job.progress.phase("check dump")
    local = isinstance(job.dump.store, LocalStore)

    def check(entry: ShardEntry) -> None:
        reader = job.dump.shard(entry)
        if local:
            reader.check_all()
        else:
            reader.check_footer()

    pool = ThreadPoolExecutor(min(4, os.cpu_count() or 1), thread_name_prefix="check")
    try:
        for _ in pool.map(check, job.dump.manifest.shards):
            job.stop.check()
    finally:
        pool.shutdown(cancel_futures=True)


def _acknowledged(job: _Import, state: ImportState, session: Target) -> dict[str, set[int]]:
    """Row groups by shard that need not be written again."""
    marks = session.acknowledged()
    if marks is None:
        marks = {
            Mark(s.path, g)
            for s in job.dump.manifest.shards
            for g in range(min(state.acknowledged(s.path), len(s.groups)))
        }
    found: dict[str, set[int]] = {}
    for mark in marks:
        found.setdefault(mark.shard, set()).add(mark.group)
    return found


def _write(job: _Import, session: Target, plan: ImportPlan, acknowledged: dict[str, set[int]]) -> tuple[int, int]:
    manifest = job.dump.manifest
    resumed = sum(s.groups[g] for s in manifest.shards for g in acknowledged.get(s.path, ()) if g < len(s.groups))
    if resumed:
        job.note(f"going on with an interrupted import: {resumed:,} records are safe already")
    job.progress.phase("write", manifest.rows)
    job.progress.advance(resumed)
    tasks: list[Task] = [
        {
            "kind": "import", "dump": job.dump.url, "shard": s.path,
            "acknowledged": sorted(acknowledged.get(s.path, ())), "import_id": job.import_id,
            "choices": job.choices.to_json(), "limits": dict(job.limits), "part": _part_of(job.dump, s.path),
        }
        for s in manifest.shards
        if any(rows and g not in acknowledged.get(s.path, ()) for g, rows in enumerate(s.groups))
    ]  # fmt: skip
    written: list[int] = []
    executors = _executors(job, session, plan, len(tasks))
    for task in tasks:
        task["target"] = job.target.shared(len(executors)).to_json()
    try:
        run_tasks(tasks, executors, job.progress, job.stop, lambda _, result: written.append(_rows(result)))
    finally:
        for e in executors:
            e.close()
    return sum(written), resumed


def _part_of(dump: Dump, shard: str) -> dict[str, Any] | None:
    """Which records of a shard a task is about, as plain data; None for all of them."""
    if not isinstance(dump, Part):
        return None
    return {"share": dump.share.of_shard(shard).to_json(), "checked": dump.checked}


def _rows(result: Result) -> int:
    return int(result["rows"])


def _executors(job: _Import, session: Target, plan: ImportPlan, tasks: int) -> list[Executor]:
    small = job.dump.manifest.size_bytes < _SMALL_BYTES
    wanted = job.workers or (1 if small else min(4, os.cpu_count() or 1))
    count = max(1, min(wanted, tasks))
    kind = session.capabilities.concurrency
    if count == 1 or kind == "handle":
        return [InlineExecutor(Runner(session, job.dump.whole, plan).run)]
    if kind == "threads":
        runners = [Runner(dump=job.dump.whole) for _ in range(count)]
        return [InlineExecutor(r.run, r.close) for r in runners]
    return [ProcessExecutor() for _ in range(count)]


def _finish(job: _Import, session: Target, plan: ImportPlan, state: ImportState) -> None:
    job.progress.phase("index")
    session.link()
    passport = {**plan.target.passport, "state": "complete"} if plan.target.passport else {}
    session.finish(passport)
    job.progress.phase("count")
    count = session.count()
    expected = job.dump.manifest.rows
    before = int((state.begun() or {}).get("before", 0))
    least, most = (max(before, expected), before + expected) if job.choices.if_exists == "append" else (expected,) * 2
    if count > most and job.choices.on_conflict == "skip":
        job.note(f"{job.target.text} counts {count:,} records, {count - most:,} more than the dump explains: somebody"
                 " else wrote there meanwhile, and their records were kept")  # fmt: skip
    elif not least <= count <= most:
        raise Incomplete(
            f"{job.target.text} counts {count:,} records, the dump has {expected:,}",
            "records were lost or added on the way, or somebody else writes to this collection",
            "the records that were acknowledged are there",
            f"see which: {_verify_command(job.dump, job.target)}",
        )
    state.clear()
