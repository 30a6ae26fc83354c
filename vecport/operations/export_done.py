"""The same export again, after its end; and the last look at the shards before a dump is published."""

from __future__ import annotations

import datetime

from ..connectors.contract import Source
from ..dump.dump import open_dump
from ..dump.manifest import Manifest
from ..errors import AlreadyExists, IntegrityError, VecportError
from .export_job import ExportJob, digest_of
from .reconcile import count_of
from .validate import validate

#: A dump that is older was made for another day: a job that names one folder every night must hear that it makes none.
SAME_RUN = datetime.timedelta(hours=12)


def finished_before(job: ExportJob) -> Manifest:
    """The manifest of a finished dump that this very command has made a short while ago.

    Raises:
        AlreadyExists: another command made it, or long ago; or nobody can tell.
    """
    url = job.store.url
    try:
        manifest = open_dump(url).manifest
    except VecportError as e:
        raise _refused(job, f"it cannot be read: {e.what}") from e
    if manifest.source.get("job") != digest_of(job, manifest.dump_id):
        raise _refused(job, "this command, or one with other choices, or of another release, made it")
    if _age(manifest.completed_at) > SAME_RUN:
        raise _refused(
            job, f"this command made it, and completed it at {manifest.completed_at}: that is no backup of today"
        )
    return manifest


def still_done(job: ExportJob, session: Source, manifest: Manifest) -> None:
    """Raise unless a finished dump is whole and has as many records as the source; note that nothing was read."""
    url = job.store.url
    result = validate(url, level="quick", stop=job.stop)
    if not result.valid:
        found = next(c["message"] for c in result.checks if not c["passed"])
        raise IntegrityError(
            f"{url} is finished and damaged",
            found,
            "it was not changed",
            "make it again: the same command with --overwrite",
        )
    consistency = manifest.source["consistency"]
    recorded, count = consistency.get("count_after"), count_of(session)
    if recorded is not None and count is not None and count != recorded:
        raise _refused(job, f"its source has {count:,} records now, and had {recorded:,}")
    counted = "complete, counted" if recorded is not None and count is not None else "complete"
    job.note(
        f"nothing to do: this dump is there, {counted}, of {manifest.completed_at}; nothing was read now. A new one:"
        " another folder, or --overwrite"
    )


def check_read_back(job: ExportJob, manifest: Manifest) -> None:
    """Read every shard once more from where it is stored.

    Raises:
        IntegrityError: a shard is not what was written.
    """
    job.progress.phase("read back", manifest.rows)
    for entry in manifest.shards:
        job.stop.check()
        if job.store.size(entry.path) != entry.size_bytes or job.store.read_back(entry.path) != entry.sha256:
            raise IntegrityError(
                f"{job.store.url}/{entry.path} does not read back as it was written",
                "the disk or the object store has changed it", "no manifest was written",
                "run the same command again: it reads that part anew; and check the storage",
            )  # fmt: skip
        job.progress.advance(entry.rows)


def _age(completed_at: str) -> datetime.timedelta:
    try:
        return datetime.datetime.now(datetime.UTC) - datetime.datetime.fromisoformat(completed_at)
    except (ValueError, TypeError):
        return datetime.timedelta.max


def _refused(job: ExportJob, why: str) -> AlreadyExists:
    url = job.store.url
    return AlreadyExists(
        f"{url} is a finished dump already", why, "it was not changed, and nothing was read",
        f"check it: vecport validate {url}; or replace it: the same command with --overwrite",
    )  # fmt: skip
