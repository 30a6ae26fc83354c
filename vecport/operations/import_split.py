"""``import --namespaces split``: an import for each namespace, all of them checked before the first one writes."""

from __future__ import annotations

import contextlib
import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..connectors.contract import Description
from ..dump.store import LocalStore
from ..errors import AlreadyExists, UsageError
from ..model.ledger import Ledger
from . import split
from .import_plan import ImportPlan, import_id_for, make_plan
from .import_run import (
    ImportJob,
    check_existing,
    check_same_mapping,
    check_shards,
    refusal,
    run_import,
)
from .import_state import ImportState
from .results import ImportResult
from .sessions import Endpoint
from .standing import look, passport_of


@dataclass(slots=True)
class _Step:
    """The import of one namespace.

    Attributes:
        piece: what goes where.
        job: its import.
        plan: made before anything is written.
        complete: an earlier run of this import has finished it.
        hint: a query to paste.
    """

    piece: split.Piece
    job: ImportJob
    plan: ImportPlan
    complete: bool
    hint: str = ""


@dataclass(slots=True)
class _Record:
    """What runs of this import have finished, kept on this machine."""

    state: ImportState
    if_exists: str
    done: list[str] = field(default_factory=list)
    begun: bool = False

    def read(self) -> None:
        """Take what an interrupted run has left; one with another ``--if-exists`` meant something else."""
        facts = self.state.begun() or {}
        if facts.get("if_exists") == self.if_exists and isinstance(facts.get("done"), list):
            self.done, self.begun = list(facts["done"]), True

    def write(self) -> None:
        """Keep it: the same command goes on behind it."""
        self.state.record({"if_exists": self.if_exists, "done": self.done})


def import_split(
    job: ImportJob, *, allow_lossy: Sequence[str], strict: bool, dry_run: bool, started: float
) -> ImportResult:
    """Import each namespace into a collection of its own.

    Args:
        job: the import of the whole dump; its target names the collection of the default namespace.
        allow_lossy, strict, dry_run: as in ``import_``.
        started: by the monotonic clock.

    Raises:
        UsageError: the target holds one collection only.
        AlreadyExists: one of the collections holds records; nothing was written into any.
    """
    job.progress.phase("list namespaces")
    # In an object store the checks before the first write look at footers alone.
    found = split.pieces(job.dump, job.target, checked=isinstance(job.dump.store, LocalStore))
    for text in (*split.tell(found), *filter(None, [split.doubt(job.dump, found)])):
        job.note(text)
    state = ImportState(import_id_for(job.dump, job.target, "split"))
    record = _Record(state, job.choices.if_exists)
    written = resumed = code = 0
    with contextlib.nullcontext() if dry_run else state.lock(job.target.text):
        record.read()
        steps = [_look(job, piece, record) for piece in found]
        _check_anything_left(job, steps, record)
        ledger = _merged(steps)
        if dry_run:
            code = refusal(job, replace(steps[0].plan, ledger=ledger), allow_lossy, strict)
        else:
            ledger.enforce(allow_lossy=allow_lossy, strict=strict)
            written, resumed = _run_all(job, steps, record)
            state.clear()
    return ImportResult(
        dump=job.dump.url, target=job.target.text, rows=job.dump.manifest.rows, written_rows=written,
        resumed_rows=resumed, ledger=ledger.to_json(), dry_run=dry_run,
        verify_command=verify_command(job.dump.url, job.target),
        query_hint=next((s.hint for s in steps if s.hint), ""), seconds=time.monotonic() - started,
        notes=tuple(_notes(job, steps)), exit_code=code, collections=split.destinations(found),
    )  # fmt: skip


def verify_command(dump: str, target: Endpoint) -> str:
    """The command that compares all collections of a split import with the dump."""
    return shlex.join(["vecport", "verify", dump, *target.arguments(), "--namespaces", "split"])


def _look(whole: ImportJob, piece: split.Piece, record: _Record) -> _Step:
    """Everything that could refuse the import of a namespace, without writing anything."""
    job = replace(
        whole, dump=piece.dump, target=piece.target, import_id=import_id_for(piece.dump, piece.target), notes=[],
        progress=split.Named(whole.progress, piece.target.collection),
    )  # fmt: skip
    job.stop.check()
    with job.target.open_target(job.stop) as session:
        existing = session.describe()
        complete = _is_complete(job, existing, record)
        begun = ImportState(job.import_id).begun()
        standing = look(session, existing, import_id=job.import_id, choices=job.choices, begun=begun)
        resume = not complete and standing.resume
        if not complete:
            check_existing(job, existing, session.capabilities, resume=resume)
        plan = make_plan(
            job.dump, job.target, import_id=job.import_id, choices=job.choices, resume=resume, session=session
        )
        passport = None if existing is None else passport_of(existing)
        if resume:
            check_same_mapping(job, begun, passport, plan)
        elif existing is not None and existing.count and job.choices.if_exists == "append":
            _check_same_namespace(job, existing)
        return _Step(piece, job, plan, complete, session.query_hint() if complete else "")


def _is_complete(job: ImportJob, existing: Description | None, record: _Record) -> bool:
    """Whether this very import has filled a collection to its end and need not look at it again."""
    if existing is None:
        return False
    passport = passport_of(existing)
    if passport is not None and (passport.import_id != job.import_id or passport.state != "complete"):
        return False
    if record.begun and job.dump.namespace in record.done:
        return True
    # Under ``create`` a run begins only where nothing is there, so that what is complete since then is its own.
    ours = passport is not None and job.choices.if_exists == "create"
    return ours and (record.begun or existing.count == job.dump.rows)


def _check_same_namespace(job: ImportJob, existing: Description) -> None:
    """Records of another namespace that are there would come back as those of this one."""
    passport = passport_of(existing)
    if passport is None or passport.one_namespace == job.dump.namespace:
        return
    was = "namespaces beside its records" if passport.one_namespace is None else f"namespace {passport.one_namespace!r}"
    raise UsageError(
        f"{job.target.text} was filled by vecport with {was}",
        f"appended to, its records would come back in namespace {job.dump.namespace!r}", "nothing was written",
        "choose another --collection, or --if-exists replace",
    )  # fmt: skip


def _merged(steps: Sequence[_Step]) -> Ledger:
    """One ledger for all: each plan stands on the profile of the whole dump, so that most are alike."""
    merged: dict[tuple[Any, ...], Any] = {}
    for step in steps:
        for entry in step.plan.ledger.entries:
            merged.setdefault((entry.field, entry.status, entry.count, entry.why), entry)
    return Ledger(list(merged.values()))


def _check_anything_left(whole: ImportJob, steps: Sequence[_Step], record: _Record) -> None:
    if record.begun or not all(step.complete for step in steps):
        return
    raise AlreadyExists(
        f"{whole.target.text} and the collections beside it hold all {whole.dump.manifest.rows:,} records",
        "this very dump was imported here before, with --namespaces split", "nothing was written",
        f"compare it: {verify_command(whole.dump.url, whole.target)}; or choose another --collection",
    )  # fmt: skip


def _run_all(whole: ImportJob, steps: Sequence[_Step], record: _Record) -> tuple[int, int]:
    """Import what is not complete; returns rows that were written, and that earlier runs had written."""
    left = [step for step in steps if not step.complete]
    check_shards(whole)
    # What was recognised without a record is in it from now on: its own passport might change before the next run.
    record.done = [s.piece.namespace for s in steps if s.complete]
    record.begun = True
    record.write()
    complete = sum(s.piece.dump.rows for s in steps if s.complete)
    if len(left) < len(steps):
        whole.note(f"{len(steps) - len(left)} collection(s) were finished by an earlier run: {complete:,} records")
    written, resumed = 0, complete
    for step in left:
        whole.stop.check()
        with step.job.target.open_target(step.job.stop) as session:
            session.report = step.job
            wrote, found = run_import(step.job, session)
            step.hint = session.query_hint()
        written, resumed = written + wrote, resumed + found
        record.done.append(step.piece.namespace)
        record.write()
        whole.progress.durable(f"collection {step.piece.target.collection}")
    return written, resumed


def _notes(whole: ImportJob, steps: Sequence[_Step]) -> list[str]:
    """As the listeners were told them."""
    return [*whole.notes, *(f"{s.piece.target.collection}: {note}" for s in steps for note in s.job.notes)]
