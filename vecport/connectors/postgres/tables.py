"""The target's table: made from a plan, or found and held against it; its extension, comment and index.

Every function works inside the caller's transaction. An existing table is sacred: what is not vecport's own is neither
changed nor commented.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from ...errors import AlreadyExists, AuthenticationFailed, NotFound, NotRepresentable, UsageError
from ..address import Place
from ..contract import Description, Json, TargetPlan
from ..kit.lifecycle import Decision, settle
from . import acknowledge, existing, sql
from .catalog import Extension, Table, find_table, metrics_of, read_extension, refuse_other_relations
from .client import run
from .columns import create_table, plan_counted
from .failures import sqlstate
from .layout import Comment, Layout, Slot, parse_comment
from .vectors import VECTOR_TYPES

if TYPE_CHECKING:
    from .client import Connection

EXTENSION: Final = "vector"


def ensure_extension(connection: Connection) -> Extension:
    """Find pgvector, or create it in this database.

    Raises:
        NotFound: the server has no files of it.
        AuthenticationFailed: the role may not create it.
    """
    import psycopg

    extension = read_extension(connection)
    if extension is not None:
        return extension
    try:
        run(connection, f"CREATE EXTENSION IF NOT EXISTS {sql.quote(EXTENSION)}")
    except psycopg.Error as error:
        if sqlstate(error) == "42501":
            raise AuthenticationFailed(
                "the extension 'vector' is missing, and the role may not create it",
                safe="nothing was written",
                next="ask an administrator for: CREATE EXTENSION vector;",
            ) from error
        if sqlstate(error) in ("0A000", "58P01"):
            raise NotFound(
                "the server has no pgvector",
                why="its files are not installed on the server",
                safe="nothing was written",
                next="install the package of pgvector for this version of PostgreSQL",
            ) from error
        raise
    extension = read_extension(connection)
    assert extension is not None
    return extension


def drop(connection: Connection, table: Table) -> None:
    """Drop the table alone; what depends on it stands in the way."""
    if table.kind != "table":
        raise AlreadyExists(f"{table.shown} is a {table.kind}", why="only an ordinary table is replaced")
    run(connection, f"DROP TABLE {table.quoted}")


def home_of(connection: Connection, schema: str | None) -> str:
    """The schema in which a table is created."""
    home = schema or scalar(connection, "SELECT current_schema()")
    if home is None:
        raise UsageError("no schema of the search path exists", next="name one: -c schema.table")
    if not run(connection, "SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = $1::text", [home]).fetchall():
        raise UsageError(
            f"there is no schema {home!r}",
            safe="nothing was written",
            next="create it, or put a table name with a dot in quotes: -c '\"my.table\"'",
        )
    return str(home)


def create(
    connection: Connection,
    home: str,
    name: str,
    plan: TargetPlan,
    layout: Layout,
    extension: Extension | None,
) -> Table:
    """Create the table of a plan, with its comment."""
    quoted = sql.qualified(home, name)
    run(connection, create_table(quoted, layout, extension, plan_counted(plan, layout)))
    write_comment(connection, quoted, plan, layout, plan.passport, "loading")
    table = find_table(connection, home, name)
    assert table is not None
    return table


def is_left_over(connection: Connection, table: Table, wanted: Layout, plan: TargetPlan) -> bool:
    """Whether a table is one of vecport's, empty, and of another shape or metric than is wanted."""
    comment = parse_comment(table.comment)
    if comment is None or comment.layout.differences(table):
        return False
    if comment.layout == wanted and not _other_metrics(table, wanted, comment, plan, known=False):
        return False
    return not scalar(connection, f"SELECT EXISTS (SELECT 1 FROM ONLY {table.quoted})")


def existing_layout(table: Table, wanted: Layout, plan: TargetPlan) -> Layout:
    """The layout of an existing table that has a place for everything that is wanted.

    A table with a ``document`` column also takes records without documents; one of the user's, the keys of free
    metadata in columns of its own (``existing``).

    Raises:
        NotRepresentable: the table has other columns.
    """
    wanted = _fitted(table, wanted)
    comment = parse_comment(table.comment)
    own = comment.layout if comment is not None and not comment.layout.differences(table) else None
    if own is not None:
        have = {_meaning(slot): slot for slot in own.slots}
        missing = [slot for slot in wanted.slots if _meaning(slot) not in have]
        extra = have.keys() - set(map(_meaning, wanted.slots))
        if not missing and all(have[meaning].role == "document" for meaning in extra):
            return own
    if existing.applies(table, plan, wanted):
        return existing.mapped_layout(table, plan, wanted)
    differences = wanted.differences(table)
    if differences:
        raise NotRepresentable(
            f"the table {table.shown} has other columns than the import needs: {'; '.join(differences)}",
            safe="nothing was written",
            next="import into a new table, or replace this one: --if-exists replace",
        )
    computed = {column.name for column in table.columns if "generated" in column.extra}
    return replace(wanted, slots=tuple(replace(slot, generated=slot.column in computed) for slot in wanted.slots))


def _fitted(table: Table, wanted: Layout) -> Layout:
    """The layout with the dimensions of the table's sparse columns, where the import asks for none."""
    dims = {column.name: column.dim for column in table.columns if column.vector == "sparsevec"}
    most = VECTOR_TYPES["sparsevec"].max_dim
    slots = (
        replace(slot, dim=dims.get(slot.column) or most) if (slot.vector, slot.dim) == ("sparsevec", most) else slot
        for slot in wanted.slots
    )
    return replace(wanted, slots=tuple(slots))


def decided(connection: Connection, table: Table, wanted: Layout, plan: TargetPlan, place: Place) -> Decision:
    """What becomes of a table that is there: its comment says whose it is, or that an import of it is under way."""
    if plan.if_exists != "replace":
        refuse_other_relations(table)
    comment = parse_comment(table.comment)
    ours = comment is not None and comment.import_id == plan.import_id
    ours = ours or acknowledge.under_way(connection, table, plan.import_id)
    rows = None if scalar(connection, f"SELECT EXISTS (SELECT 1 FROM ONLY {table.quoted})") else 0
    passport = None if comment is None else {"import_id": comment.import_id}
    return settle(
        plan, Description(plan.collection, rows, passport), title=f"the table {table.shown}", place=place.text,
        ours=ours, fits=lambda: not is_left_over(connection, table, wanted, plan),
    )  # fmt: skip


def check_existing(connection: Connection, table: Table, plan: TargetPlan, wanted: Layout) -> Layout:
    """Decide whether an import may write into an existing table; return the layout in which it does."""
    refuse_other_relations(table)
    comment = parse_comment(table.comment)
    layout = existing_layout(table, wanted, plan)
    others = _other_metrics(table, layout, comment, plan, known=True)
    if others:
        raise NotRepresentable(
            f"the table {table.shown} is for {'; '.join(others)}",
            safe="nothing was written",
            next="import into a new table, or with --set metric=...",
        )
    if not plan.resume and plan.if_exists != "append" and may_comment(table, plan):
        write_comment(connection, table.quoted, plan, layout, plan.passport, "loading")
    return layout


def _other_metrics(
    table: Table, layout: Layout, comment: Comment | None, plan: TargetPlan, *, known: bool
) -> list[str]:
    """Where a table is for another metric than the import, one phrase a vector.

    Args:
        known: an import that knows no metric that the type can index does not mind.
    """
    out = []
    for v in plan.collection.vectors:
        slot = next(slot for slot in layout.of("vector") if slot.name == v.name)
        found = set(metrics_of(table, slot.column, slot.dim))
        if not found and comment is not None:
            found = {comment.metrics.get(v.name, "unknown")} - {"unknown"}
        minds = v.metric in VECTOR_TYPES[slot.vector].metrics and v.metric not in found if known else found - {v.metric}
        if found and minds:
            out.append(f"vector {v.name!r}: the metric {', '.join(sorted(found))}, the import for {v.metric}")
    return out


def knowing(plan: TargetPlan, table: Table) -> TargetPlan:
    """The plan with the metrics that an earlier import knew, where it does not know them itself."""
    before = parse_comment(table.comment)
    if before is None:
        return plan
    vectors = tuple(
        replace(v, metric=before.metrics.get(v.name, "unknown")) if v.metric == "unknown" else v
        for v in plan.collection.vectors
    )
    return replace(plan, collection=replace(plan.collection, vectors=vectors))


def _meaning(slot: Slot) -> tuple[Any, ...]:
    return slot.role, slot.name, slot.type, slot.vector, slot.dim


def may_comment(table: Table, plan: TargetPlan) -> bool:
    """A comment of the user's stays, and a table that is appended to gets none."""
    if parse_comment(table.comment) is not None:
        return True
    return not table.comment and plan.if_exists != "append"


def write_comment(
    connection: Connection,
    quoted: str,
    plan: TargetPlan,
    layout: Layout,
    passport: Mapping[str, Json],
    state: str,
) -> None:
    """Keep layout, passport and state in the table's comment."""
    metrics = {v.name: v.metric for v in plan.collection.vectors}
    comment = Comment(layout, passport, state, plan.import_id, metrics)
    run(connection, f"COMMENT ON TABLE {quoted} IS {sql.literal(comment.text())}")


def restart_counters(connection: Connection, table: Table) -> None:
    """Let columns that count by themselves go on behind their largest value, where the role may say so."""
    for column in table.columns:
        if "identity" in column.extra or "serial" in column.extra:
            name = sql.quote(column.name)
            run(
                connection,
                "SELECT pg_catalog.setval(s.name, greatest(q.largest, pg_catalog.pg_sequence_last_value(s.name)))"
                " FROM (SELECT pg_catalog.pg_get_serial_sequence($1, $2)::regclass AS name) AS s,"
                f" (SELECT max({name}) AS largest FROM ONLY {table.quoted}) AS q"
                " WHERE q.largest > 0 AND pg_catalog.has_sequence_privilege(s.name, 'UPDATE')",
                [table.quoted, column.name],
            )


def scalar(connection: Connection, statement: str) -> Any:
    """The first column of the first row; None when there is none."""
    row = run(connection, statement).fetchone()
    return None if row is None else row[0]
