"""``plan``, ``ls``, ``inspect`` and ``connectors``."""

from __future__ import annotations

from typing import Any

import click

import vecport

from .. import options as o
from ..command import command
from ..run import Run


@command("plan", works=False)
@click.argument("source")
@click.argument("target", required=False)
@o.stack(
    o.collection(), o.target_collection, o.selection, o.source_options, o.target_options, o.if_exists, o.on_conflict,
    o.namespaces, o.ids, o.settings,
    click.option("--emit-target-config", metavar="FILE", help="Write the choices of the plan to a new file."), o.limits,
)  # fmt: skip
def plan(run: Run, source: str, **options: Any) -> int:
    """Say what an export or import would do; write nothing.

    SOURCE is an address or a dump. With a TARGET the ledger is shown: what comes back exactly, what within a bound,
    what would be lost; of a sample of the records when SOURCE is no dump. Sizes and times are estimates, each with
    its basis. Before anything is read, the permissions of the credentials are looked up; with one missing, the exit
    code is 3.

    \b
    Examples:
      vecport plan qdrant://localhost:6333 -c docs
      vecport plan ./docs.vecport postgresql://me@db/prod -c docs
      vecport plan ./docs.vecport qdrant://localhost:6333 --emit-target-config qdrant.toml
    """
    from .. import render_facts

    result = vecport.plan(source, **options)
    return run.finish("plan", result, render_facts.plan, is_summary=False)


@command("ls", works=False)
@click.argument("address")
@o.pairs("--source-option", "options", "A setting of the connector; repeatable.")
def ls(run: Run, address: str, **options: Any) -> int:
    """List the collections of a place, or the dumps in a folder.

    \b
    Examples:
      vecport ls qdrant://localhost:6333
      vecport ls env:DATABASE_URL
      vecport ls ./backups
    """
    from .. import render_facts

    result = vecport.ls(address, **options)
    return run.finish("ls", result, lambda r: render_facts.ls(r, address), is_summary=False)


@command("inspect", works=False)
@click.argument("dump")
@o.limits
def inspect(run: Run, dump: str, **options: Any) -> int:
    """Show what is in a dump: identity, records, schema, source, metadata.

    Reads the manifest only, so it answers at once however large the dump is.

    \b
    Examples:
      vecport inspect ./docs.vecport
      vecport inspect s3://backups/docs.vecport --json | jq .facts.identity
    """
    from .. import render_facts

    result = vecport.inspect(dump, **options)
    return run.finish("inspect", result, render_facts.inspect, is_summary=False)


@command("connectors", works=False, waits=False)
def connectors(run: Run) -> int:
    """List the databases that vecport knows, and how to install their clients.

    With --json also every connector's options and the environment variables that they are read from.

    \b
    Examples:
      vecport connectors
      vecport connectors --json | jq '.entries[] | {name, options}'
    """
    from .. import render_facts

    return run.finish("connectors", vecport.list_connectors(), render_facts.connectors, is_summary=False)
