"""One import: from the look at what is there to the count at the end."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from ..connectors.contract import Description, Target
from ..dump.dump import Dump
from ..dump.manifest import ShardEntry
from ..dump.namespace_view import NamespaceView
from ..dump.store import LocalStore
from ..errors import AlreadyExists, Incomplete, NotRepresentable, UsageError
from ..model.capabilities import TargetCapabilities
from ..model.passport import Passport
from . import arrival
from .duck import Duck
from .effects import Held
from .import_plan import Choices, ImportPlan, make_plan
from .import_state import ImportState
from .import_task import Lent, Runner
from .profiles import check_profile
from .progress import Progress, Stop
from .reconcile import KEY_SCHEMA
from .sessions import Endpoint, Endpoints
from .tasks import ImportTask, ShardDone, ShareOf, heard
from .workers import Executor, InlineExecutor, ProcessExecutor, run_tasks

#: Below this a worker process takes longer to start than it saves.
_SMALL_BYTES = 32 << 20


@dataclass(slots=True)
class ImportJob:
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
        """Hear one sentence, each once; the target's own come here too (``connectors.report``)."""
        if text not in self.notes:
            self.notes.append(text)
            self.progress.note(text)

    def reached(self, done: int, total: int | None, unit: str, step: str = "") -> None:
        """Hear how far the target's own work is."""
        self.progress.reached(done, total, unit, step)

    def check(self) -> None:
        """Raise ``Interrupted`` when the user wants to stop; a target that waits asks."""
        self.stop.check()


def refusal(job: ImportJob, plan: ImportPlan, allow_lossy: Sequence[str], strict: bool) -> int:
    """The exit code with which the ledger would refuse this import; a dry run shows it and the ledger."""
    try:
        plan.ledger.enforce(allow_lossy=allow_lossy, strict=strict)
    except NotRepresentable as e:
        job.note(f"this import would be refused: {e.why}; {e.next}")
        return e.exit_code
    return 0


def verify_command(dump: Dump, target: Endpoint) -> str:
    return shlex.join(["vecport", "verify", dump.url, *target.arguments()])


def run_import(job: ImportJob, session: Target, early: ShardChecks | None = None) -> tuple[int, int]:
    """Import a dump, or go on with an interrupted import of it.

    Args:
        job: what goes where.
        session: an open target.
        early: checks of the dump that are under way.

    Returns:
        Records written by this run, and by those before it.

    Raises:
        VecportError: nothing more is written; what was acknowledged is kept.
    """
    state = ImportState(job.import_id)
    effects = Held(job.target, session, f"the import of {job.dump.url}", job)
    with state.lock(job.target.text), effects:
        existing = session.describe()
        resume = is_resumed(job, state, existing, session.capabilities)
        if not resume:
            if state.begun() is None:
                # What a run left that was killed while it tidied up.
                state.clear()
            check_existing(job, existing, session.capabilities, resume=False)
        check_shards(job, early)
        plan = make_plan(
            job.dump, job.target, import_id=job.import_id, choices=job.choices, resume=resume, session=session,
        )  # fmt: skip
        if resume:
            check_same_mapping(job, state, None if existing is None else passport_of(existing), plan)
        _check_namespaces(job, plan)
        before = existing.count or 0 if existing is not None and job.choices.if_exists == "append" and not resume else 0
        if not resume:
            state.begin({"before": before, "target": job.target.text, "dump": job.dump.url, "mapping": _facts(plan),
                         "choices": job.choices.to_json()})  # fmt: skip
        session.prepare(plan.target)
        effects.apply(lambda: session.effects(plan.target))
        session.attach(plan.target)
        acknowledged = _acknowledged(job, state, session) if resume else {}
        written, resumed = _write(job, session, plan, state, acknowledged)
        if session.capabilities.links:
            _link(job, session, plan, state, _recorded(job, state, "link") if resume else {})
        effects.end("written")
        _finish(job, session, plan, state)
    return written, resumed


def is_resumed(
    job: ImportJob, state: ImportState, existing: Description | None, capabilities: TargetCapabilities
) -> bool:
    """Whether this very import was begun here before and its collection may still be the one that it made.

    The target looks closer: what is not of this import it does not take for its own (``connectors.kit.lifecycle``).
    """
    begun = state.begun()
    if existing is None:
        return False
    if job.choices.if_exists == "replace" and (begun is None or begun.get("choices") != job.choices.to_json()):
        # What is there, an interrupted import of other choices included, is to be replaced.
        return False
    passport = passport_of(existing)
    if passport is not None:
        return passport.import_id == job.import_id and (passport.state == "loading" or begun is not None)
    if existing.count == 0 or (capabilities.passport and job.choices.if_exists == "replace"):
        # Nothing of this import is in it: what it makes has a passport from the first moment on.
        return False
    return begun is not None


def _facts(plan: ImportPlan) -> dict[str, Any]:
    """How records are made by a plan: all of an import must be made alike."""
    made = plan.mapping.passport.to_json()
    return {k: made[k] for k in ("ids", "vectors", "document", "namespace", "prefix", "one_namespace")}


def check_same_mapping(job: ImportJob, state: ImportState, passport: Passport | None, plan: ImportPlan) -> None:
    """The rest of an interrupted import goes in as its beginning did."""
    now = _facts(plan)
    begun = passport.to_json() if passport is not None else (state.begun() or {}).get("mapping") or now
    other = [k for k in now if begun.get(k) != now[k]]
    if other:
        raise UsageError(
            f"the interrupted import into {job.target.text} was begun with other choices",
            f"{other[0]} was {begun.get(other[0])!r}, now it would be {now[other[0]]!r}", "nothing more was written",
            "use the choices of the first run (--namespaces, --ids, --target-config), or begin anew with"
            " --if-exists replace",
        )  # fmt: skip


def passport_of(existing: Description) -> Passport | None:
    if existing.passport is None:
        return None
    try:
        return Passport.from_json(existing.passport)
    except NotRepresentable:
        return None


def check_existing(
    job: ImportJob, existing: Description | None, capabilities: TargetCapabilities, *, resume: bool
) -> None:
    """Existing targets are sacred: refuse a collection with records before anything is touched."""
    if existing is None or resume or job.choices.if_exists != "create" or not existing.count:
        return
    passport = passport_of(existing)
    same = passport is not None and passport.import_id == job.import_id and passport.state == "complete"
    choices = sorted(capabilities.if_exists - {"create"})
    offered = "".join(f"--if-exists {c}, " for c in choices) + "or"
    raise AlreadyExists(
        f"{job.target.text} holds {existing.count:,} records",
        "this very dump was imported here before" if same else "",
        "nothing was written",
        f"compare it: {verify_command(job.dump, job.target)}; or choose {offered} another --collection",
    )


def _check_namespaces(job: ImportJob, plan: ImportPlan) -> None:
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


class ShardChecks:
    """Looks at every shard, in threads, while the target is opened: is it there and whole, and is what its profile says
    so, by which the import is planned?
    """

    def __init__(self, dump: Dump) -> None:
        local = isinstance(dump.store, LocalStore)

        def check(entry: ShardEntry) -> None:
            reader = dump.shard(entry)
            if local:
                reader.check_all()
            else:
                reader.check_footer()
            if dump.namespace is None:
                check_profile(dump, entry)

        self._pool = ThreadPoolExecutor(min(4, os.cpu_count() or 1), thread_name_prefix="check")
        self._coming = [self._pool.submit(check, entry) for entry in dump.manifest.shards]

    def wait(self, stop: Stop) -> None:
        """Return when all of them are good; raise what is wrong with one."""
        for one in self._coming:
            one.result()
            stop.check()

    def __enter__(self) -> ShardChecks:
        return self

    def __exit__(self, *exc: object) -> None:
        self._pool.shutdown(cancel_futures=True)


def check_shards(job: ImportJob, early: ShardChecks | None = None) -> None:
    """Before the first write: wait for the checks, or make them now."""
    job.progress.phase("check dump")
    with early or ShardChecks(job.dump) as checks:
        checks.wait(job.stop)


def _acknowledged(job: ImportJob, state: ImportState, session: Target) -> dict[str, set[int]]:
    """Row groups by shard that need not be written again."""
    marks = session.acknowledged()
    if marks is None:
        return _recorded(job, state, "write")
    found: dict[str, set[int]] = {}
    for mark in marks:
        found.setdefault(mark.shard, set()).add(mark.group)
    return found


def _recorded(job: ImportJob, state: ImportState, step: str) -> dict[str, set[int]]:
    """Row groups by shard that a pass has behind it, as this machine keeps them."""
    return {
        s.path: set(range(min(count, len(s.groups))))
        for s in job.dump.manifest.shards
        if (count := state.acknowledged(s.path, step))
    }


def _write(
    job: ImportJob, session: Target, plan: ImportPlan, state: ImportState, acknowledged: dict[str, set[int]]
) -> tuple[int, int]:
    resumed = _rows_of(job, acknowledged)
    if resumed:
        job.note(f"going on with an interrupted import: {resumed:,} records are safe already")
    return _pass(job, session, plan, state, acknowledged, "write"), resumed


def _link(
    job: ImportJob, session: Target, plan: ImportPlan, state: ImportState, acknowledged: dict[str, set[int]]
) -> None:
    """The second pass: every record is there, so that what refers to it can be set."""
    _pass(job, session, plan, state, acknowledged, "link")


def _rows_of(job: ImportJob, groups: Mapping[str, set[int]]) -> int:
    return sum(s.groups[g] for s in job.dump.manifest.shards for g in groups.get(s.path, ()) if g < len(s.groups))


def _pass(
    job: ImportJob, session: Target, plan: ImportPlan, state: ImportState, acknowledged: Mapping[str, set[int]],
    step: str,
) -> int:  # fmt: skip
    """Go over the row groups that are not acknowledged; returns their records."""
    manifest = job.dump.manifest
    job.progress.phase(step, manifest.rows)
    job.progress.advance(_rows_of(job, acknowledged))
    left = [
        s.path for s in manifest.shards
        if any(rows and g not in acknowledged.get(s.path, ()) for g, rows in enumerate(s.groups))
    ]  # fmt: skip
    written: list[int] = []
    endpoints = Endpoints()
    executors = _executors(job, session, plan, len(left), endpoints)
    target = endpoints.refer(job.target.shared(len(executors)))
    tasks = (
        ImportTask(
            step=step, target=target, dump=job.dump.url, shard=path, limits=dict(job.limits),
            acknowledged=tuple(sorted(acknowledged.get(path, ()))), import_id=job.import_id, choices=job.choices,
            part=_part_of(job.dump, path),
        )
        for path in left
    )  # fmt: skip
    emit = heard(job.progress, state.acknowledge)
    try:
        run_tasks(tasks, executors, emit, job.stop, lambda _, result: written.append(result.rows))
    finally:
        for e in executors:
            e.close()
    return sum(written)


def _part_of(dump: Dump, shard: str) -> ShareOf | None:
    """Which records of a shard a task is about; None for all of them."""
    return ShareOf(dump.share.of_shard(shard), dump.checked) if isinstance(dump, NamespaceView) else None


def _executors(
    job: ImportJob, session: Target, plan: ImportPlan, tasks: int, endpoints: Endpoints
) -> list[Executor[ImportTask, ShardDone]]:
    small = job.dump.manifest.size_bytes < _SMALL_BYTES
    wanted = job.workers or (1 if small else min(4, os.cpu_count() or 1))
    count = max(1, min(wanted, tasks))
    kind = session.capabilities.concurrency
    if count == 1 or kind == "handle":
        return [InlineExecutor(Runner(endpoints, Lent(job.dump.whole, session, plan)).run)]
    if kind == "threads":
        runners = [Runner(endpoints, Lent(job.dump.whole)) for _ in range(count)]
        return [InlineExecutor(r.run, r.close) for r in runners]
    return [ProcessExecutor(endpoints, ShardDone) for _ in range(count)]


def _finish(job: ImportJob, session: Target, plan: ImportPlan, state: ImportState) -> None:
    job.progress.phase("index")
    passport = {**plan.target.passport, "state": "complete"} if plan.target.passport else {}
    session.finish(passport)
    job.progress.phase("count")
    if session.capabilities.count != "exact":
        _check_arrival(job, session, plan)
        state.clear()
        return
    count = session.count() or 0
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
            f"see which: {verify_command(job.dump, job.target)}",
        )
    state.clear()


def _check_arrival(job: ImportJob, session: Target, plan: ImportPlan) -> None:
    """Where the count trails behind or is none: wait for it, then look for every record among the target's keys."""
    append = job.choices.if_exists == "append"
    expected = job.dump.manifest.rows
    count = arrival.counted_late(session, expected, sys.maxsize if append else expected, job.stop)
    alone = not append and job.choices.on_conflict != "skip"
    found = arrival.check_keys(
        job.dump, job.target, session, plan.mapping.passport, alone=alone, memory_bytes=job.memory_bytes // 2,
        stop=job.stop,
    )  # fmt: skip
    if found:
        return
    if count is not None and count < expected:
        raise Incomplete(
            f"{job.target.text} counts {count:,} records, the dump has {expected:,}",
            "its count trails behind what was written, but stands still now",
            "the records that were acknowledged are there", f"see which: {verify_command(job.dump, job.target)}",
        )  # fmt: skip
    job.note(f"{job.target.text} lists no keys and its count is not exact, so that nothing proves that every record is"
             f" there: {verify_command(job.dump, job.target)}")  # fmt: skip
