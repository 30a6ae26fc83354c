"""What an export is asked for, and what must be the same for it to go on."""

from __future__ import annotations

import datetime
import hashlib
import os
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from .. import __version__
from ..connectors.contract import Selection
from ..dump.journal import Run
from ..dump.layout import ENCODINGS, FORMAT_VERSION, Cut
from ..dump.store import Store
from ..errors import AlreadyExists, UsageError
from ..model import canonical
from ..model.collection import Collection
from . import rejects, repeats
from .progress import Progress, Stop
from .sessions import Endpoint


@dataclass(slots=True)
class ExportJob:
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
    like: str | None
    read_back: bool
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


def check_arguments(
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


def fingerprint_of(job: ExportJob, collection: Collection, cut: Cut) -> dict[str, Any]:
    return {
        "format_version": FORMAT_VERSION, "vecport": __version__, "pyarrow": pa.__version__,
        "connector": job.source.connector, "place": job.source.place.text, "collection": job.source.collection,
        "selection": job.selection.to_json(), "limit": job.limit, "encodings": job.encodings,
        "schema": collection.digest(), "cut": [cut.group_rows, cut.shard_rows],
    }  # fmt: skip


def digest_of(job: ExportJob, dump_id: str) -> str:
    """What tells whether a command is the one that made a dump: SHA-256 (hex) of what was asked for, without secrets.

    Args:
        job: the source, the selection, and what else the records of the dump depend on.
        dump_id: of the dump; equal commands have other digests in other dumps, so that none tells an address.
    """
    place = job.source.place
    where = f"{place.scheme}:{os.path.realpath(place.path)}" if place.local and place.path else place.text
    asked = {
        "dump_id": dump_id, "connector": job.source.connector, "place": where, "collection": job.source.collection,
        "given": dict(job.source.given), "selection": job.selection.to_json(), "limit": job.limit,
        "encodings": job.encodings, "shard_rows": job.shard_rows, "duplicates": job.duplicates,
        "on_error": job.on_error, "ignore_passport": job.ignore_passport,
        "like": None if job.like is None else os.path.realpath(job.like),
    }  # fmt: skip
    return hashlib.sha256(canonical.dumpb(asked)).hexdigest()


SAME_JOB = ("connector", "place", "collection", "selection", "limit")


def check_same_job(job: ExportJob, run: Run, fingerprint: dict[str, Any]) -> None:
    other = [k for k in SAME_JOB if run.fingerprint.get(k) != fingerprint[k]]
    if other:
        raise AlreadyExists(
            f"{job.store.url} is an unfinished dump of something else",
            f"{other[0]} was {run.fingerprint.get(other[0])!r}, now it is {fingerprint[other[0]]!r}",
            "it was not changed", "give another folder, or begin anew with --overwrite",
        )  # fmt: skip


def now() -> str:
    return datetime.datetime.now(datetime.UTC).replace(microsecond=0).isoformat().replace("+00:00", "Z")
