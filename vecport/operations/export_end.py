"""The end of an export: what was read is compared with the source, and becomes a manifest."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from .. import __version__
from ..connectors.contract import Reject, Selection, Source
from ..dump.journal import Durable, Run
from ..dump.layout import REJECTS
from ..dump.manifest import Manifest, ShardEntry
from ..dump.writer import DumpWriter
from . import rejects, repeats
from .export_job import ExportJob, digest_of, now
from .late import fetch_late
from .reconcile import Drift, check_live, check_snapshot
from .tasks import PartitionDone


def reconciled(
    job: ExportJob, session: Source, run: Run, durable: dict[int, list[Durable]], results: list[PartitionDone]
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
            memory_bytes=job.memory_bytes // 2, dump_id=run.dump_id,
        )  # fmt: skip
    _note_restored(job, results)
    rejected = rejects.settle(job.store, entries, run.collection, known_rejects(durable, results), run.passport)
    consistency = _consistency(job, session, run, entries, missing, rejected, dropped, live)
    _note_rejected(job, rejected)
    file = rejects.write(job.store, rejected)
    selected = job.limit is not None or job.selection != Selection()
    return Manifest(
        collection=run.collection,
        shards=tuple(entries),
        dump_id=run.dump_id,
        created_at=run.created_at,
        completed_at=now(),
        writer={"name": "vecport", "version": __version__, "pyarrow": pa.__version__, **_holder(job)},
        source={
            **run.source,
            "job": digest_of(job, run.dump_id),
            "consistency": consistency,
            **({"rejects": file} if file else {}),
        },
        selection={**job.selection.to_json(), "limit": job.limit},
        complete=not selected and not rejected,
        encodings=job.encodings,
    )


def _holder(job: ExportJob) -> dict[str, str]:
    """What tells the manifests of two runs apart that go on with one journal; empty where there cannot be two."""
    claim = job.store.claim
    return {} if claim is None else {"run": claim.token}


def known_rejects(durable: dict[int, list[Durable]], results: list[PartitionDone]) -> list[Reject]:
    """Records that this run and those before it could not read; one can stand there twice."""
    found = [r for items in durable.values() for d in items for r in d.rejected]
    return [Reject(*r) for r in (*found, *(r for result in results for r in result.rejected))]


def _note_rejected(job: ExportJob, rejected: list[Reject]) -> None:
    if rejected:
        first = rejected[0]
        job.note(f"{len(rejected):,} records could not be read and are not in the dump, as {first.id!r}:"
                 f" {first.reason}; {REJECTS} names them")  # fmt: skip


def _note_restored(job: ExportJob, results: list[PartitionDone]) -> None:
    stale, foreign = sum(r.stale for r in results), sum(r.foreign for r in results)
    if stale:
        job.note(f"{stale:,} values were edited in the database since they were imported: the edits were exported")
    if foreign:
        job.note(f"{foreign:,} records were added in the database by somebody else: their ids were taken as they are")


def _entries(
    job: ExportJob, run: Run, durable: dict[int, list[Durable]], results: list[PartitionDone]
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
    job: ExportJob, session: Source, run: Run, entries: list[ShardEntry], missing: list[tuple[str, str]],
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
        session, entries, job.store, run.collection, run.count_before, missing, job.source.text,
        lambda keys: fetch_late(job, session, run, keys), run.passport, rejected,
    )  # fmt: skip
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
    if drift.fetched_late:
        text += f"; {drift.fetched_late:,} that the scan had not met were fetched by their keys at its end"
    if drift.only_in_dump is not None and drift.only_in_source is not None:
        text += (
            f"; {drift.only_in_dump:,} of the dump are gone there now, {drift.only_in_source:,} came too late for it"
        )
    return text
