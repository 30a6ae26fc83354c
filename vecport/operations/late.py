"""Records that a live scan has not met: fetched by their keys at its end, so that nothing depends on who moved when."""

from __future__ import annotations

from collections.abc import Sequence

from ..connectors.contract import Source
from ..dump.journal import Run
from ..dump.manifest import ShardEntry
from ..dump.writer import DumpWriter
from ..errors import IntegrityError
from ..model.widening import Misfit
from .export_job import ExportJob
from .export_task import first_sequence
from .widening import restorer_for

_AT_ONCE = 500


def fetch_late(job: ExportJob, session: Source, run: Run, keys: Sequence[tuple[str, str]]) -> list[ShardEntry]:
    """Write the records of some keys into shards behind those of the scan.

    A record that is gone by now, cannot be read whole, or does not fit the dump's schema is left out: it came too late.
    The journal does not name these shards: a run that goes on after a kill looks anew.

    Args:
        job: the export.
        session: attached, of its source.
        run: what the export fixed before its first row.
        keys: (namespace, id) pairs, as the source has them.

    Returns:
        Manifest entries of the shards; none where nothing was fetched.
    """
    restorer = restorer_for(run.native, run.passport, run.widened)
    with DumpWriter(
        job.store, run.collection, partition=run.partitions, sequence=first_sequence(job.store),
        encodings=job.encodings,
    ) as writer:  # fmt: skip
        entries: list[ShardEntry] = []
        rows = 0
        for start in range(0, len(keys), _AT_ONCE):
            job.stop.check()
            try:
                batch = session.fetch(keys[start : start + _AT_ONCE])
                restored = restorer.apply(batch) if restorer and batch.num_rows else batch
            except (Misfit, IntegrityError):
                continue
            if restored.num_rows:
                rows += restored.num_rows
                entries += writer.add(restored)
        # A writer without rows would write an empty shard.
        if rows:
            entries += writer.close()
    return entries
