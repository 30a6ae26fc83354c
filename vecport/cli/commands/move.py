"""``export``, ``import`` and ``copy``."""

from __future__ import annotations

from typing import Any

import click

import vecport

from .. import options as o
from ..command import command
from ..run import Run


def _is_stdout(address: str) -> bool:
    return address.partition("#")[0] in ("-", "jsonl:-")


@command("export")
@click.argument("source")
@click.argument("dump")
@o.stack(
    o.collection(), o.selection, o.limit, o.source_options, o.batch_size, o.resources, o.shard_rows, o.encodings,
    o.duplicates,
    o.overwrite, o.require_snapshot, o.on_error, o.passports, o.take_over, o.read_back, o.guest,
)  # fmt: skip
def export(run: Run, source: str, dump: str, **options: Any) -> int:
    """Read a collection into a dump.

    SOURCE is an address, as qdrant://host:6333 or jsonl:./rows.jsonl, or ADDRESS#collection, or env:VARIABLE.
    DUMP is a new folder, or a URL as s3://bucket/name. The same command again goes on where an interrupted
    one stopped.

    \b
    Examples:
      vecport export qdrant://localhost:6333 ./docs.vecport -c docs
      vecport export env:DATABASE_URL ./items.vecport -c items --require-snapshot
      vecport export chroma:./chroma s3://backups/notes.vecport --workers 2
    """
    from .. import render

    with run.working() as heard:
        result = vecport.export(source, dump, **options, progress=heard, stop=run.stop)
    return run.finish("export", result, render.export)


@command("import")
@click.argument("dump")
@click.argument("target")
@o.stack(
    o.collection("The collection to create; the dump's own name when left out."), o.target_options, o.if_exists,
    o.on_conflict, o.namespaces, o.ids, o.settings, o.target_config, o.loss,
    click.option("--dry-run", is_flag=True, help="Make the plan and the ledger, write nothing."),
    o.resources, o.guest, o.limits,
)  # fmt: skip
def import_(run: Run, dump: str, target: str, **options: Any) -> int:
    """Restore a dump into a database.

    What the target cannot hold exactly is listed before the first write; a loss is refused (exit 14) until it is
    allowed by name. The same command again goes on where an interrupted one stopped.

    \b
    Examples:
      vecport import ./docs.vecport postgresql://me@db/prod -c docs --dry-run
      vecport import ./docs.vecport postgresql://me@db/prod -c docs --set metric=cosine
      vecport import ./docs.vecport qdrant+https://host:6333 --if-exists replace
    """
    from .. import render

    run.data_on_stdout = _is_stdout(target)
    with run.working() as heard:
        result = vecport.import_(dump, target, **options, progress=heard, stop=run.stop)
    return run.finish("import", result, lambda r: render.import_(r, to_stdout=run.data_on_stdout))


@command("copy")
@click.argument("source")
@click.argument("target")
@o.stack(
    click.option("--dump", metavar="FOLDER", help="Where the dump is kept; <collection>.vecport when left out."),
    o.collection("The collection to read."), o.target_collection, o.selection, o.limit, o.source_options,
    o.target_options, o.batch_size, o.resources, o.guest, o.shard_rows, o.encodings, o.duplicates, o.overwrite,
    o.require_snapshot, o.on_error, o.passports, o.take_over, o.read_back, o.if_exists, o.on_conflict, o.namespaces,
    o.ids, o.settings, o.target_config, o.loss, o.tolerance, o.limits,
)  # fmt: skip
def copy(run: Run, source: str, target: str, **options: Any) -> int:
    """Export, import and verify in one go.

    The dump is kept: it is the backup, and it makes the copy resumable by the same command.

    \b
    Examples:
      vecport copy chroma:./chroma qdrant://localhost:6333 -c notes
      vecport copy 'qdrant://old:6333#docs' 'qdrant+https://new:6333#docs' --dump ./docs.vecport
    """
    from .. import render

    run.data_on_stdout = _is_stdout(target)
    with run.working() as heard:
        result = vecport.copy(source, target, **options, progress=heard, stop=run.stop)
    return run.finish("copy", result, render.copy)
