"""What a role may do, asked of the catalogs: nothing is read of a table and nothing is tried.

The names of privileges are those of GRANT. What a statement needs is in its page of PostgreSQL's manual, "Privileges"
or "Notes"; that LOCK TABLE takes the privileges of the whole table is in ``LockTableAclCheck`` (lockcmds.c).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ..address import Place
from ..contract import Permission, TargetPlan
from . import sql, tables
from .catalog import ACK_TABLE, LOCKABLE, READABLE, Table, find_table, read_extension
from .client import run
from .failures import sqlstate
from .schema import table_name

if TYPE_CHECKING:
    from .client import Connection

#: From this version on, who may change rows may also lock the table against changes of its definition.
_LOCK_BY_WRITERS: Final = 160_000
_HIDDEN: Final = "row-level security hides rows from this role, and a part of a table would look like all of it"


def to_read(connection: Connection, place: Place, collection: str) -> tuple[Permission, ...]:
    """What an export needs; nothing where there is no such table.

    Args:
        connection: inside a transaction.
        place, collection: name the table.
    """
    table = find_table(connection, *table_name(place, collection))
    if table is None or table.kind not in READABLE:
        return ()
    role = _Role.of(connection)
    return (
        *_schema(role, table.schema),
        _read(role, table),
        _needed(
            "export a snapshot",
            role.has("function", "pg_catalog.pg_export_snapshot()", "EXECUTE"),
            "EXECUTE on pg_export_snapshot() is missing",
            role.grant("EXECUTE", "FUNCTION pg_catalog.pg_export_snapshot()"),
        ),
    )


def to_write(connection: Connection, place: Place, collection: str, plan: TargetPlan) -> tuple[Permission, ...]:
    """What an import needs, for the table that is there or the one that it creates.

    Args:
        connection: inside a transaction.
        place, collection: name the table.
        plan: says what is created or added to.
    """
    role = _Role.of(connection)
    if tables.scalar(connection, "SELECT pg_catalog.pg_is_in_recovery()"):
        return (Permission("write", False, "the server is a standby", "name the address of the primary"),)
    schema, name = table_name(place, collection)
    table = find_table(connection, schema, name)
    home = table.schema if table is not None else schema or tables.scalar(connection, "SELECT current_schema()")
    found = list(_extension(role)) if plan.collection.vectors else []
    if home is None or not role.ask("EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = $1::text)", home):
        which = "no schema of the search path exists" if home is None else f"there is no schema {home!r}"
        how = "" if home is None else f"CREATE SCHEMA {sql.quote(home)};"
        return (*found, Permission("create the table", False, which, how))
    if table is not None:
        found += [*_schema(role, home), _read(role, table)]
    if table is not None and plan.if_exists == "replace":
        found.append(_owner(role, table, "drop the table that is there", "only its owner may"))
    elif table is not None:
        found += _into(role, table, plan)
    return (*found, *_creating(role, home, table, plan))


@dataclass(frozen=True, slots=True)
class _Role:
    """The role of a connection, and questions about it."""

    connection: Connection
    name: str

    @classmethod
    def of(cls, connection: Connection) -> _Role:
        return cls(connection, str(tables.scalar(connection, "SELECT current_user::text")))

    def ask(self, expression: str, *values: Any) -> Any:
        """The value of an expression with parameters."""
        row = run(self.connection, f"SELECT {expression}", values).fetchone()
        return None if row is None else row[0]

    def has(self, kind: str, of: Any, privilege: str) -> bool:
        """Whether the role has a privilege on a table (by object id), or a schema, database or function (by name)."""
        form = "text" if isinstance(of, str) else "oid"
        return bool(self.ask(f"pg_catalog.has_{kind}_privilege($1::{form}, $2::text)", of, privilege))

    def owns(self, table: Table) -> bool:
        return bool(
            self.ask(
                "pg_catalog.pg_has_role(relowner, 'USAGE') FROM pg_catalog.pg_class WHERE oid = $1::oid", table.oid
            )
        )

    def grant(self, privileges: str, on: str) -> str:
        """The statement that gives a privilege."""
        return f"GRANT {privileges} ON {on} TO {sql.quote(self.name)};"


def _needed(what: str, allowed: bool, why: str, grant: str) -> Permission:
    """A permission; what it lacks, and what gives it, are said where it is missing."""
    return Permission(what, True) if allowed else Permission(what, False, why, grant)


def _schema(role: _Role, schema: str) -> list[Permission]:
    """Only where it is missing: everything that is in the schema says the rest."""
    if role.has("schema", schema, "USAGE"):
        return []
    grant = role.grant("USAGE", f"SCHEMA {sql.quote(schema)}")
    return [Permission(f"use the schema {schema!r}", False, "USAGE on it is missing", grant)]


def _read(role: _Role, table: Table) -> Permission:
    """SELECT on all columns, and on the table where it is locked or read by place; and no row hidden."""
    what, grant = "read the records", role.grant("SELECT", table.quoted)
    if any(
        role.ask("pg_catalog.row_security_active($1::oid)", oid) for oid in {table.oid, *(p.oid for p in table.parts)}
    ):
        return Permission(what, False, _HIDDEN, f"ALTER ROLE {sql.quote(role.name)} BYPASSRLS;")
    if role.has("table", table.oid, "SELECT"):
        return _behind(role, table, what)
    denied = role.ask(
        "coalesce(array_agg(attname::text ORDER BY attnum), '{}') FROM pg_catalog.pg_attribute WHERE attrelid = $1::oid"
        " AND attnum > 0 AND NOT attisdropped AND NOT pg_catalog.has_column_privilege(attrelid, attnum, 'SELECT')",
        table.oid,
    )
    if len(denied) == len(table.columns):
        return Permission(what, False, f"SELECT on {table.shown} is missing", grant)
    if denied:
        return Permission(what, False, f"SELECT is missing on the columns {', '.join(denied)}", grant)
    if any(part.heap for part in table.parts) or not _may_lock(role, table):
        why = "SELECT on all its columns is there, but not on the table, which is locked against changes meanwhile"
        return Permission(what, False, why, grant)
    return _behind(role, table, what)


def _may_lock(role: _Role, table: Table) -> bool:
    """Whether LOCK TABLE in ACCESS SHARE mode is allowed, where SELECT on the table is not."""
    if table.kind not in LOCKABLE:
        return True
    writes = role.connection.info.server_version >= _LOCK_BY_WRITERS
    return writes and any(role.has("table", table.oid, p) for p in ("UPDATE", "DELETE", "TRUNCATE"))


def _behind(role: _Role, table: Table, what: str) -> Permission:
    """What stands behind a view has permissions of its own; EXPLAIN checks them and reads nothing."""
    import psycopg

    try:
        with role.connection.transaction(force_rollback=True):
            run(role.connection, f"EXPLAIN SELECT * FROM {table.rows}")
    except psycopg.Error as error:
        if sqlstate(error) == "42501":
            return Permission(what, False, str(error).splitlines()[0])
    return Permission(what, True)


def _extension(role: _Role) -> list[Permission]:
    """The installed extension can be used, or it may be created."""
    extension = read_extension(role.connection)
    if extension is not None:
        usable = not _schema(role, extension.schema)
        grant = role.grant("USAGE", f"SCHEMA {sql.quote(extension.schema)}")
        why = f"USAGE on its schema {extension.schema!r} is missing"
        return [_needed("use the extension vector", usable, why, grant)]
    what = "create the extension vector"
    offered = run(
        role.connection,
        "SELECT v.trusted OR NOT v.superuser FROM pg_catalog.pg_available_extensions e"
        " JOIN pg_catalog.pg_available_extension_versions v ON v.name = e.name AND v.version = e.default_version"
        " WHERE e.name = $1::text",
        [tables.EXTENSION],
    ).fetchone()
    if offered is None:
        how = "install the package of pgvector for this version of PostgreSQL"
        return [Permission(what, False, "the server has no pgvector", how)]
    superuser = role.ask("rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user")
    may = superuser or (offered[0] and role.ask("pg_catalog.has_database_privilege(current_database(), 'CREATE')"))
    why = "it is not installed in this database, and this role may not create it"
    return [_needed(what, bool(may), why, "CREATE EXTENSION vector;")]


def _owner(role: _Role, table: Table, what: str, why: str) -> Permission:
    return _needed(what, role.owns(table), why, f"ALTER TABLE {table.quoted} OWNER TO {sql.quote(role.name)};")


def _into(role: _Role, table: Table, plan: TargetPlan) -> list[Permission]:
    """What adding to a table takes; see ``PostgresTarget.write`` and ``finish``."""
    append = plan.if_exists == "append"
    found = [_change(role, table, "insert records", "INSERT")]
    if append and plan.on_conflict == "replace":
        found.append(_change(role, table, "replace records", "UPDATE"))
    if append:
        database = role.ask("current_database()::text")
        temporary = role.has("database", database, "TEMPORARY")
        grant = role.grant("TEMPORARY", f"DATABASE {sql.quote(database)}")
        found.append(_needed("make a temporary table", temporary, f"TEMPORARY on {database!r} is missing", grant))
    if tables.may_comment(table, plan) or any(key.startswith("index") for key in plan.settings):
        found.append(_owner(role, table, "comment on the table and index it", "only its owner may"))
    return found


def _change(role: _Role, table: Table, what: str, privilege: str) -> Permission:
    if role.has("table", table.oid, privilege):
        return Permission(what, True)
    grant = role.grant(privilege, table.quoted)
    if role.has("any_column", table.oid, privilege):
        return Permission(what, None, f"{privilege} is granted on some columns, which have to be those written", grant)
    return Permission(what, False, f"{privilege} on {table.shown} is missing", grant)


def _creating(role: _Role, home: str, table: Table | None, plan: TargetPlan) -> list[Permission]:
    """CREATE on the schema, and the table in which imports record what they have written."""
    found = []
    ack = find_table(role.connection, home, ACK_TABLE)
    if ack is not None:
        missing = [p for p in ("SELECT", "INSERT", "DELETE") if not role.has("table", ack.oid, p)]
        what, listed = f"record what was written in {ack.shown}", ", ".join(missing)
        found.append(_needed(what, not missing, f"{listed} is missing", role.grant(listed, ack.quoted)))
    created = table is None or plan.if_exists == "replace"
    indexed = plan.collection.vectors and (table is None or tables.may_comment(table, plan))
    if not created and ack is not None and not indexed:
        return found
    what = "create the table" if created else "create the table that records what was written"
    grant = role.grant("USAGE, CREATE", f"SCHEMA {sql.quote(home)}")
    if all(role.has("schema", home, privilege) for privilege in ("USAGE", "CREATE")):
        return [*found, Permission(what, True)]
    if not created and ack is not None:
        what, why = "create the index", f"CREATE on the schema {home!r} is missing, which a new index takes"
        return [*found, Permission(what, None, why, grant)]
    return [*found, Permission(what, False, f"CREATE on the schema {home!r} is missing", grant)]
