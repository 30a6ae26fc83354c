"""The acknowledgement table: which row groups of which import were committed, written in their own transactions.

Each import under way has one row with an empty shard, so that the end of another import does not drop the table. Rows
name the target by its object id: a table that was dropped and made again has acknowledged nothing. They name the import
and the nonce that it drew when it began, ``IMPORT/NONCE``: what it acknowledged before it began anew is nothing.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from . import sql
from .catalog import ACK_TABLE, Table, find_table
from .client import run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..contract import Mark, TargetPlan
    from .client import Connection

_UNDER_WAY = ("", -1)
#: Rows of an import of a name, whatever nonce it drew.
_OF_IMPORT = "split_part(import_id, '/', 1) = $1"


def key_of(plan: TargetPlan) -> str:
    """What rows name an import by."""
    return f"{plan.import_id}/{plan.nonce}" if plan.nonce else plan.import_id


def begin(connection: Connection, table: Table, plan: TargetPlan, *, fresh: bool) -> None:
    """Register an import of ``table``, and forget what it acknowledged before it began anew.

    Args:
        connection: inside the transaction that prepares the target.
        table: the target.
        plan: of the import.
        fresh: forget all that an import of this name acknowledged before.
    """
    # Two imports that begin at once would both create it, and one of them would fail.
    connection.execute("SELECT pg_catalog.pg_advisory_xact_lock(7310305690412851316)")
    ack = _name(table)
    if find_table(connection, table.schema, ACK_TABLE) is None:
        columns = 'import_id text, target oid, shard text, "group" integer'
        run(connection, f'CREATE TABLE {ack} ({columns}, PRIMARY KEY (import_id, target, shard, "group"))')
    key = key_of(plan)
    kept = "" if fresh else " AND import_id <> $2"
    values = [plan.import_id] if fresh else [plan.import_id, key]
    run(connection, f"DELETE FROM {ack} WHERE {_OF_IMPORT}{kept}", values)
    _insert(connection, table, key, *_UNDER_WAY)


def under_way(connection: Connection, table: Table, key: str) -> bool:
    """Whether this import of ``table`` was registered and has not ended."""
    if find_table(connection, table.schema, ACK_TABLE) is None:
        return False
    statement = f"SELECT 1 FROM {_name(table)} WHERE import_id = $1 AND target = $2 LIMIT 1"
    return bool(run(connection, statement, [key, table.oid]).fetchall())


def nonce(connection: Connection, table: Table, import_id: str) -> str | None:
    """The nonce of an import of this name that was registered for ``table`` and has not ended."""
    if find_table(connection, table.schema, ACK_TABLE) is None:
        return None
    statement = f"SELECT import_id FROM {_name(table)} WHERE {_OF_IMPORT} AND target = $2 AND shard = ''"
    keys = [key for (key,) in run(connection, statement, [import_id, table.oid]).fetchall() if "/" in key]
    return keys[0].partition("/")[2] if len(keys) == 1 else None


def forget(connection: Connection, table: Table, key: str, marks: Sequence[Mark]) -> None:
    """Acknowledge row groups no longer."""
    statement = f'DELETE FROM {_name(table)} WHERE import_id = $1 AND target = $2 AND shard = $3 AND "group" = $4'
    for mark in marks:
        run(connection, statement, [key, table.oid, mark.shard, mark.group])


def record(connection: Connection, table: Table, key: str, mark: Mark) -> bool:
    """Acknowledge a row group in the transaction that writes it.

    Returns:
        False when it was acknowledged before. Waits for another session that writes the same group now.
    """
    return _insert(connection, table, key, mark.shard, mark.group)


def marks(connection: Connection, table: Table, key: str) -> set[Mark]:
    """The row groups that were committed."""
    from ..contract import Mark

    if find_table(connection, table.schema, ACK_TABLE) is None:
        return set()
    statement = f"SELECT shard, \"group\" FROM {_name(table)} WHERE import_id = $1 AND target = $2 AND shard <> ''"
    rows = run(connection, statement, [key, table.oid]).fetchall()
    return {Mark(shard, group) for shard, group in rows}


def end(connection: Connection, table: Table, import_id: str) -> None:
    """Forget a finished import, and drop the table when no other import is under way."""
    import psycopg

    if find_table(connection, table.schema, ACK_TABLE) is None:
        return
    ack = _name(table)
    run(connection, f"DELETE FROM {ack} WHERE {_OF_IMPORT} AND target = $2", [import_id, table.oid])
    if _is_empty(connection, ack):
        # Whoever holds a lock is about to use it, and only its owner may drop it: then it stays.
        stays = (psycopg.errors.LockNotAvailable, psycopg.errors.InsufficientPrivilege)
        with contextlib.suppress(*stays), connection.transaction():
            run(connection, f"LOCK TABLE {ack} IN ACCESS EXCLUSIVE MODE NOWAIT")
            if _is_empty(connection, ack):
                run(connection, f"DROP TABLE {ack}")


def _insert(connection: Connection, table: Table, key: str, shard: str, group: int) -> bool:
    statement = f"INSERT INTO {_name(table)} VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING"
    return bool(run(connection, statement, [key, table.oid, shard, group]).rowcount == 1)


def _is_empty(connection: Connection, ack: str) -> bool:
    return bool(run(connection, f"SELECT NOT EXISTS (SELECT 1 FROM {ack})").fetchone()[0])


def _name(table: Table) -> str:
    return sql.qualified(table.schema, ACK_TABLE)
