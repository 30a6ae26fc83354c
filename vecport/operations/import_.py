"""Import: a dump goes into a database. Refuses loss, resumes by itself, counts at the end."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack

from ..connectors.guest import Guest
from ..dump.dump import open_dump
from ..errors import UsageError
from ..limits import DEFAULT_LIMITS, Limits
from . import rejects
from .import_plan import Choices, import_id_for, make_plan
from .import_run import ImportJob, ShardChecks, check_existing, refusal, run_import, verify_command
from .import_split import import_split
from .progress import Progress, Silent, Stop
from .results import ImportResult
from .sessions import target_endpoint
from .target_config import TargetConfig
from .target_config import read as read_config

DEFAULT_MEMORY_BYTES = 1 << 30


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
    ids: str | None = None,
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
        ids: ``keep`` holds ids as they are and refuses those that the target cannot hold; ``hash`` lets UUIDs (version
            5) stand for them, which ``vecport id`` computes; None keeps those of a dump whose ids all fit.
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
    choices = Choices(if_exists, on_conflict, namespaces, {**config.settings, **(settings or {})}, config.vectors,
                      ids)  # fmt: skip
    job = ImportJob(
        dump=opened, target=place, import_id=import_id_for(opened, place), choices=choices,
        workers=workers, memory_bytes=memory_bytes, limits=dict(limits or {}), progress=progress, stop=stop or Stop(),
    )  # fmt: skip
    if left_out := rejects.left_out(opened.manifest.source):
        job.note(left_out)
    if choices.namespaces == "split":
        return import_split(job, allow_lossy=allow_lossy, strict=strict, dry_run=dry_run, started=started)
    with ExitStack() as stack:
        early = None if dry_run else stack.enter_context(ShardChecks(opened))
        session = stack.enter_context(place.open_target(job.stop))
        session.report = job
        plan = make_plan(opened, place, import_id=job.import_id, choices=choices, session=session)
        written = resumed = code = 0
        if dry_run:
            check_existing(job, session.describe(), session.capabilities, resume=False)
            for effect in session.effects(plan.target):
                job.note(f"for the time of the import: {effect.what}; {effect.undone}")
            code = refusal(job, plan, allow_lossy, strict)
        else:
            plan.ledger.enforce(allow_lossy=allow_lossy, strict=strict)
            written, resumed = run_import(job, session, early)
        hint = "" if dry_run else session.query_hint()
    return ImportResult(
        dump=opened.url, target=place.text, rows=opened.manifest.rows, written_rows=written, resumed_rows=resumed,
        ledger=plan.ledger.to_json(), dry_run=dry_run, verify_command=verify_command(opened, place), query_hint=hint,
        seconds=time.monotonic() - started, notes=tuple(job.notes), exit_code=code,
    )  # fmt: skip


def _limits(limits: Mapping[str, int] | None) -> Limits:
    return DEFAULT_LIMITS.with_overrides(dict(limits or {}))


__all__ = ["ImportResult", "import_"]
