"""``validate``, ``verify`` and ``diff``."""

from __future__ import annotations

from typing import Any

import click

import vecport

from .. import options as o
from ..command import command
from ..run import Run


@command("validate")
@click.argument("dump")
@o.stack(
    click.option(
        "--level", type=click.Choice(o.LEVELS),
        help="quick: manifest, files, footers; full: and every byte; deep: and every record.  [default: full]",
    ),
    o.limits,
)  # fmt: skip
def validate(run: Run, dump: str, **options: Any) -> int:
    """Check that a dump is whole and well formed.

    Needs no database. Exits 3 when a check fails.

    \b
    Examples:
      vecport validate ./docs.vecport
      vecport validate ./from-a-stranger.vecport --level deep
    """
    from .. import render

    with run.working() as heard:
        result = vecport.validate(dump, **options, progress=heard, stop=run.stop)
    return run.finish("validate", result, render.validate)


@command("verify")
@click.argument("dump")
@click.argument("target")
@o.stack(o.collection(), o.target_options, o.tolerance, o.compare_level, o.split, o.memory, o.guest, o.limits)
def verify(run: Run, dump: str, target: str, **options: Any) -> int:
    """Compare a database with a dump, record by record.

    The database is read once, or asked for the dump's records alone where they are few of its own. Exits 3 when a
    record is missing, changed, or in the database only, or stands another number of times.

    \b
    Examples:
      vecport verify ./docs.vecport postgresql://me@db/prod -c docs
      vecport verify ./docs.vecport qdrant://localhost:6333 -c docs --tolerance title=1e-5
      vecport verify ./docs.vecport qdrant://localhost:6333 -c docs --namespaces split --json
    """
    from .. import render

    with run.working() as heard:
        result = vecport.verify(dump, target, **options, progress=heard, stop=run.stop)
    return run.finish("verify", result, render.verify)


@command("diff")
@click.argument("a")
@click.argument("b")
@o.stack(o.tolerance, o.compare_level, o.memory, o.limits)
def diff(run: Run, a: str, b: str, **options: Any) -> int:
    """Show how two dumps differ.

    = unchanged, + only in B, - only in A, * changed, ! the schema. Needs no database; exits 3 on a difference.

    \b
    Examples:
      vecport diff ./monday.vecport ./tuesday.vecport
      vecport diff ./monday.vecport ./tuesday.vecport --tolerance 1e-6 --json
    """
    from .. import render

    with run.working() as heard:
        result = vecport.diff(a, b, **options, progress=heard, stop=run.stop)
    return run.finish("diff", result, render.diff)
