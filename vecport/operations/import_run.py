"""One import: from the look at what is there to the count at the end."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa

from ..connectors.contract import Description, Mark, Target
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
from .presence import Groups, Presence
from .profiles import check_profile
from .progress import Progress, Stop
from .reconcile import KEY_SCHEMA
from .sessions import Endpoint, Endpoints
from .standing import Standing, look, passport_of
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
        existing, begun = session.describe(), state.begun()
        if begun is None:
            # What a run left that was killed while it tidied up.
            state.clear()
        standing = look(session, existing, import_id=job.import_id, choices=job.choices, begun=begun)
        check_existing(job, existing, session.capabilities, resume=standing.resume)
        check_shards(job, early)
        plan = make_plan(
            job.dump, job.target, import_id=job.import_id, choices=job.choices, resume=standing.resume,
            nonce=standing.nonce, session=session,
        )  # fmt: skip
        if standing.resume:
            check_same_mapping(job, begun, None if existing is None else passport_of(existing), plan)
        _check_namespaces(job, plan)
        if standing.note:
            job.note(standing.note)
        if not standing.believed:
            before = 0 if existing is None or job.choices.if_exists != "append" else existing.count or 0
            state.begin({"nonce": plan.target.nonce, "before": before, "target": job.target.text, "dump": job.dump.url,
                         "mapping": _facts(plan), "choices": job.choices.to_json()})  # fmt: skip
        work = _Work(job, session, plan, state, effects)
        work.prepare()
        if not standing.believed and job.choices.if_exists == "append":
            work.remember_what_is_there()
        safe = work.acknowledged(standing)
        resumed = _rows_of(job, safe)
        if resumed:
            job.note(f"going on with an interrupted import: {resumed:,} records are safe already")
        written = work.write(safe, links=_recorded(job, state, "link") if standing.believed else {})
        check_arrival(work, skipped=safe)
        state.clear()
    return written, resumed


@dataclass(frozen=True, slots=True)
class _Work:
    """What a run does to a target, from its preparation to its end; all of it can be done again."""

    job: ImportJob
    session: Target
    plan: ImportPlan
    state: ImportState
    effects: Held

    def prepare(self) -> None:
        """Create what is to be there, and make the session ready to write."""
        self.session.prepare(self.plan.target)
        self.effects.apply(lambda: self.session.effects(self.plan.target))
        self.session.attach(self.plan.target)

    def acknowledged(self, standing: Standing) -> Groups:
        """The row groups by shard that need not be written again: acknowledged, and seen in the target by samples."""
        if not standing.believed:
            return {}
        safe = _acknowledged(self.job, self.state, self.session, standing)
        if self.job.choices.on_conflict == "replace" and self.job.choices.if_exists == "append":
            # A key proves nothing of a record that was there before: it may be the older one again.
            safe = self._again(safe, (self.state.begun() or {}).get("groups_there", _all_groups(self.job)))
        looked = self.presence().of_samples(safe)
        if looked is None or not looked.missing:
            return safe
        self.job.note(f"{self.job.target.text} has lost records that it had acknowledged, as"
                      f" {', '.join(map(repr, looked.ids))}: their row groups are written again")  # fmt: skip
        return self._again(safe, looked.lost)

    def remember_what_is_there(self) -> None:
        """Before the first write of an append: which records of the dump are there already, whosever they are."""
        looked = self.presence().of_all()
        if looked is not None:
            there = {shard: sorted(groups) for shard, groups in looked.groups.items()}
            self.state.record({**(self.state.begun() or {}), "there": looked.there, "groups_there": there})

    def _again(self, safe: Groups, groups: Mapping[str, Iterable[int]]) -> Groups:
        """What is safe but for some row groups, of which target and state remember nothing from here on."""
        gone = {shard: set(numbers) for shard, numbers in groups.items()}
        self.session.forget([Mark(shard, g) for shard, numbers in sorted(gone.items()) for g in sorted(numbers)])
        return _without(safe, gone)

    def write(self, safe: Mapping[str, set[int]], links: Mapping[str, set[int]]) -> int:
        """Write what is not safe, and end the work; returns the records that were written."""
        job, session, plan, state = self.job, self.session, self.plan, self.state
        written = _pass(job, session, plan, state, safe, "write")
        if session.capabilities.links:
            # The second pass: every record is there, so that what refers to it can be set.
            _pass(job, session, plan, state, links, "link")
        state.record({**(state.begun() or {}), "written": True})
        self.effects.end("written")
        job.progress.phase("index")
        session.finish({**plan.target.passport, "state": "complete"} if plan.target.passport else {})
        job.progress.phase("count")
        return written

    def write_again(self, lost: Mapping[str, set[int]]) -> None:
        """Write row groups once more of which the target does not have every record."""
        again = replace(self, plan=replace(self.plan, target=replace(self.plan.target, resume=True)))
        again.prepare()
        again.write(again._again(_all_groups(self.job), lost), links={})

    def presence(self) -> Presence:
        """Looks for records of the dump in the target."""
        job = self.job
        return Presence(job.dump, job.target, self.session, self.plan.mapping.passport, job.stop)


def _facts(plan: ImportPlan) -> dict[str, Any]:
    """How records are made by a plan: all of an import must be made alike."""
    made = plan.mapping.passport.to_json()
    return {k: made[k] for k in ("ids", "vectors", "document", "namespace", "prefix", "one_namespace")}


def check_same_mapping(
    job: ImportJob, begun: Mapping[str, Any] | None, passport: Passport | None, plan: ImportPlan
) -> None:
    """The rest of an interrupted import goes in as its beginning did."""
    now = _facts(plan)
    made = passport.to_json() if passport is not None else (begun or {}).get("mapping") or now
    other = [k for k in now if made.get(k) != now[k]]
    if other:
        raise UsageError(
            f"the interrupted import into {job.target.text} was begun with other choices",
            f"{other[0]} was {made.get(other[0])!r}, now it would be {now[other[0]]!r}", "nothing more was written",
            "use the choices of the first run (--namespaces, --ids, --target-config), or begin anew with"
            " --if-exists replace",
        )  # fmt: skip


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


def _all_groups(job: ImportJob) -> Groups:
    return {s.path: set(range(len(s.groups))) for s in job.dump.manifest.shards}


def _without(groups: Mapping[str, set[int]], gone: Mapping[str, set[int]]) -> Groups:
    return {shard: numbers - gone.get(shard, set()) for shard, numbers in groups.items()}


def _acknowledged(job: ImportJob, state: ImportState, session: Target, standing: Standing) -> Groups:
    """Row groups by shard that target or state remember."""
    marks = session.acknowledged()
    if standing.written and not marks and not session.capabilities.staged:
        # A target that records marks forgets them at the end.
        return _all_groups(job)
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
            acknowledged=tuple(sorted(acknowledged.get(path, ()))), import_id=job.import_id, nonce=plan.target.nonce,
            choices=job.choices, part=_part_of(job.dump, path),
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


def check_arrival(work: _Work, skipped: Mapping[str, set[int]]) -> None:
    """See that the target holds what it should at the end: by its count, and by keys where that proves too little.

    Args:
        work: that is done.
        skipped: row groups that this run has not written.

    Raises:
        Incomplete: records are missing, or there are some that nobody can explain.
    """
    job, session = work.job, work.session
    if session.capabilities.count != "exact":
        _check_late_count(job, session, work.plan)
        return
    appended = job.choices.if_exists == "append"
    looked = _check_present(work) if appended or any(skipped.values()) else False
    count = session.count() or 0
    expected = job.dump.manifest.rows
    begun = work.state.begun() or {}
    before, there = int(begun.get("before", 0)), begun.get("there")
    least, most = (max(before, expected), before + expected) if appended else (expected,) * 2
    if appended and there is not None:
        least = most = before + expected - int(there)
    if count > most and job.choices.on_conflict == "skip":
        job.note(f"{job.target.text} counts {count:,} records, {count - most:,} more than the dump explains: somebody"
                 " else wrote there meanwhile, and their records were kept")  # fmt: skip
    elif appended and looked and not least <= count <= most:
        job.note(f"every record of the dump is in {job.target.text}, which counted {before:,} records before and counts"
                 f" {count:,} now: somebody else adds or deletes there meanwhile")  # fmt: skip
    elif not least <= count <= most:
        raise Incomplete(
            f"{job.target.text} counts {count:,} records, the dump has {expected:,}",
            "records were lost or added on the way, or somebody else writes to this collection",
            "the records that were acknowledged are there",
            f"see which: {verify_command(job.dump, job.target)}",
        )


def _check_present(work: _Work) -> bool:
    """Look for every record of the dump; those that are not there are written once more.

    Returns:
        False where the target cannot be asked.
    """
    looked = work.presence().of_all()
    if looked is not None and looked.missing:
        work.job.note(f"{looked.missing:,} records are not in {work.job.target.text}, as"
                      f" {', '.join(map(repr, looked.ids))}: they are written again")  # fmt: skip
        work.write_again(looked.lost)
        looked = work.presence().of_all()
    if looked is None:
        return False
    if looked.missing:
        raise Incomplete(
            f"{looked.missing:,} records that were written are not in {work.job.target.text}, as"
            f" {', '.join(map(repr, looked.ids))}",
            "they were written twice; the database loses them, or somebody else deletes there",
            "the other records of the dump are there",
            f"see which: {verify_command(work.job.dump, work.job.target)}",
        )
    return True


def _check_late_count(job: ImportJob, session: Target, plan: ImportPlan) -> None:
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
