"""What the system catalogs say about a table: columns, key, indexes, comment, and what stands in the way of reading it.

Every query passes names as parameters and compares them exactly, so nothing is folded to lower case or searched along
a path unless the user left out the schema.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ...errors import NotFound, NotRepresentable, UsageError
from . import sql
from .types import ColumnType, catalog_type

if TYPE_CHECKING:
    from .connect import Connection

ACK_TABLE: Final = "_vecport_ack"

#: Operator class -> metric, for every vector-like type of pgvector.
METRICS: Final = {
    f"{kind}_{word}_ops": metric
    for kind in ("vector", "halfvec")
    for word, metric in (("cosine", "cosine"), ("ip", "dot"), ("l2", "l2"), ("l1", "l1"))
}
#: Metric -> operator class and operator of ``vector``.
OPCLASSES: Final = {
    "cosine": ("vector_cosine_ops", "<=>"),
    "dot": ("vector_ip_ops", "<#>"),
    "l2": ("vector_l2_ops", "<->"),
    "l1": ("vector_l1_ops", "<+>"),
}
INDEX_METHODS: Final = ("hnsw", "ivfflat")

#: A message names this many tables.
_LISTED: Final = 50
_KINDS: Final = {
    "r": "table", "p": "partitioned table", "v": "view", "m": "materialized view", "f": "foreign table",
    "S": "sequence", "i": "index", "c": "composite type", "t": "TOAST table", "I": "partitioned index",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Extension:
    """The installed pgvector: the schema that holds its types and operators, and its version."""

    schema: str
    version: str

    def name(self, name: str) -> str:
        """A type, operator class or function of the extension, quoted with its schema."""
        return sql.qualified(self.schema, name)

    def operator(self, operator: str) -> str:
        """An operator of the extension, found whatever the search path is."""
        return f"OPERATOR({sql.quote(self.schema)}.{operator})"


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Attributes:
        name: as it is.
        type: None where it is a vector or not supported.
        type_text: the server's spelling, for messages.
        vector: name of a type of pgvector (``vector``, ``halfvec``, ``sparsevec``), ``""`` for others.
        dim: of a vector type, None when it declares none.
        not_null: the column takes no NULL.
        extra: what it is beside its values: ``generated``, ``identity``, ``default``, ``collation``.
    """

    name: str
    type: ColumnType | None
    type_text: str
    vector: str = ""
    dim: int | None = None
    not_null: bool = False
    extra: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Index:
    """An index of a table; ``column`` is None for expressions and several columns."""

    name: str
    method: str
    column: str | None
    opclass: str
    expression: str
    partial: bool
    valid: bool
    options: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A table's definition.

    Attributes:
        oid: object id, new for every table.
        schema, name: as they are.
        kind: ``table``, ``view`` ...
        method: table access method, ``heap`` for ordinary tables.
        children: tables that inherit from it.
        columns: in their order, without dropped ones.
        key: columns of the primary key, in its order; empty without one.
        indexes: all but the primary key's.
        comment: of the table, ``""`` for none.
        leftovers: what else hangs on it and does not travel: constraints, triggers ...
        row_security: policies apply to it.
    """

    oid: int
    schema: str
    name: str
    kind: str
    method: str
    children: tuple[str, ...]
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    indexes: tuple[Index, ...]
    comment: str
    leftovers: tuple[str, ...]
    row_security: bool

    @property
    def quoted(self) -> str:
        """The table's name for a statement."""
        return sql.qualified(self.schema, self.name)

    @property
    def shown(self) -> str:
        """The table's name for a message."""
        return f"{self.schema}.{self.name}"

    def column(self, name: str) -> Column:
        """The column ``name``; raises ``UsageError`` listing those that exist."""
        for column in self.columns:
            if column.name == name:
                return column
        names = ", ".join(repr(column.name) for column in self.columns)
        raise UsageError(f"the table {self.shown} has no column {name!r}", why=f"its columns: {names}")


def read_extension(connection: Connection) -> Extension | None:
    """Find pgvector in this database; None when it is not installed."""
    row = connection.execute(
        "SELECT n.nspname, e.extversion FROM pg_catalog.pg_extension e"
        " JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'vector'"
    ).fetchone()
    return None if row is None else Extension(*row)


def find_table(connection: Connection, schema: str | None, name: str) -> Table | None:
    """Read a table's definition; None when there is no relation of this name.

    Args:
        connection: inside a transaction whose settings may be any.
        schema: None to look along the search path.
        name: of the table, exactly.
    """
    row = connection.execute(
        """SELECT c.oid, n.nspname, c.relname, c.relkind, coalesce(am.amname, ''), c.relrowsecurity,
                  coalesce(pg_catalog.obj_description(c.oid, 'pg_class'), '')
           FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
           LEFT JOIN pg_catalog.pg_am am ON am.oid = c.relam
           WHERE c.relname = %(name)s::text AND (n.nspname = %(schema)s::text OR %(schema)s::text IS NULL)
             AND (%(schema)s::text IS NOT NULL OR n.nspname = ANY (pg_catalog.current_schemas(false)))
           ORDER BY pg_catalog.array_position(pg_catalog.current_schemas(false), n.nspname) LIMIT 1""",
        {"schema": schema, "name": name},
    ).fetchone()
    if row is None:
        return None
    oid, schema_name, table_name, kind, method, row_security, comment = row
    return Table(
        oid=oid,
        schema=schema_name,
        name=table_name,
        kind=_KINDS.get(kind, f"relation of kind {kind}"),
        method=method,
        children=_children(connection, oid),
        columns=_columns(connection, oid),
        key=_primary_key(connection, oid),
        indexes=_indexes(connection, oid),
        comment=comment,
        leftovers=_leftovers(connection, oid),
        row_security=row_security,
    )


def require_table(connection: Connection, schema: str | None, name: str) -> Table:
    """``find_table``, raising ``NotFound`` with the tables that exist, and a refusal of what is no plain table."""
    table = find_table(connection, schema, name)
    if table is None:
        known = [line[0] for line in list_tables(connection)]
        more = f", and {len(known) - _LISTED} more" if len(known) > _LISTED else ""
        raise NotFound(
            f"there is no table {sql.join_name(schema, name)!r}",
            why=f"tables with a vector column: {', '.join(known[:_LISTED]) or 'none'}{more}",
            next="names are taken as they stand, upper case included: -c schema.table",
        )
    refuse_other_relations(table)
    return table


def refuse_other_relations(table: Table) -> None:
    """Raise ``NotRepresentable`` for views, partitioned tables, other access methods and inheritance."""
    why = ""
    if table.kind != "table":
        why = "only ordinary tables are supported; the leaves of a partitioned table can be exported one by one"
    elif table.method != "heap":
        why = f"it is stored by the access method {table.method!r}, only 'heap' is supported"
    elif table.children:
        why = f"other tables inherit from it: {', '.join(table.children)}; their rows would be left out"
    if why:
        what = table.kind if table.kind != "table" else "table"
        raise NotRepresentable(f"{table.shown} is a {what} that cannot be carried", why=why)


def list_tables(connection: Connection, schema: str | None = None) -> list[tuple[str, str]]:
    """All relations with a column of a pgvector type: name as the user writes it, and what it is.

    With a schema, only its relations are listed, by their names alone.
    """
    rows = connection.execute(
        """SELECT n.nspname, c.relname, c.relkind, n.nspname = ANY (pg_catalog.current_schemas(false)),
                  string_agg(pg_catalog.format_type(a.atttypid, a.atttypmod), ', ' ORDER BY a.attnum)
           FROM pg_catalog.pg_class c
           JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
           JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
           JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
           JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_type'::regclass AND d.deptype = 'e'
                AND d.objid = CASE WHEN t.typcategory = 'A' THEN t.typelem ELSE t.oid END
                AND d.refclassid = 'pg_catalog.pg_extension'::regclass
           JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid AND e.extname = 'vector'
           WHERE c.relkind IN ('r', 'p', 'f', 'v', 'm') AND n.nspname !~ '^pg_'
             AND pg_catalog.has_schema_privilege(n.oid, 'USAGE')
             AND (%(schema)s::text IS NULL OR n.nspname = %(schema)s::text)
           GROUP BY 1, 2, 3, 4 ORDER BY 4 DESC, 1, 2""",
        {"schema": schema},
    ).fetchall()
    return [
        (name if schema else sql.join_name(None if on_path else home, name), f"{_KINDS[kind]}, {types}")
        for home, name, kind, on_path, types in rows
    ]


def _columns(connection: Connection, oid: int) -> tuple[Column, ...]:
    rows = connection.execute(
        """SELECT a.attname, a.atttypid, a.atttypmod, pg_catalog.format_type(a.atttypid, a.atttypmod),
                  CASE WHEN e.extname = 'vector' THEN t.typname ELSE '' END, a.attnotnull,
                  a.attgenerated <> '', a.attidentity <> '', a.atthasdef AND a.attgenerated = '',
                  a.attcollation <> 0 AND a.attcollation <> t.typcollation
           FROM pg_catalog.pg_attribute a
           JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
           LEFT JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_type'::regclass AND d.deptype = 'e'
                AND d.objid = CASE WHEN t.typcategory = 'A' THEN t.typelem ELSE t.oid END
                AND d.refclassid = 'pg_catalog.pg_extension'::regclass
           LEFT JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid
           WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum""",
        [oid],
    ).fetchall()
    columns = []
    for name, type_oid, modifier, text, vector, not_null, *flags in rows:
        words = ("generated", "identity", "default", "collation")
        extra = tuple(word for word, flag in zip(words, flags, strict=True) if flag)
        kind = None if vector else catalog_type(type_oid, modifier)
        dim = modifier if vector and modifier > 0 else None
        columns.append(Column(name, kind, text, vector, dim, not_null, extra))
    return tuple(columns)


def _primary_key(connection: Connection, oid: int) -> tuple[str, ...]:
    rows = connection.execute(
        """SELECT a.attname FROM pg_catalog.pg_constraint c
           CROSS JOIN LATERAL unnest(c.conkey) WITH ORDINALITY AS k(number, place)
           JOIN pg_catalog.pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.number
           WHERE c.conrelid = %s AND c.contype = 'p' ORDER BY k.place""",
        [oid],
    ).fetchall()
    return tuple(name for (name,) in rows)


def _indexes(connection: Connection, oid: int) -> tuple[Index, ...]:
    rows = connection.execute(
        """SELECT c.relname, am.amname, CASE WHEN i.indnatts = 1 THEN a.attname END, o.opcname,
                  coalesce(pg_catalog.pg_get_expr(i.indexprs, i.indrelid), ''), i.indpred IS NOT NULL, i.indisvalid,
                  coalesce(c.reloptions, '{}')
           FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
           JOIN pg_catalog.pg_am am ON am.oid = c.relam
           JOIN pg_catalog.pg_opclass o ON o.oid = i.indclass[0]
           LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
                AND i.indkey[0] <> 0
           WHERE i.indrelid = %s AND NOT i.indisprimary ORDER BY c.relname""",
        [oid],
    ).fetchall()
    return tuple(
        Index(name, method, column, opclass, expression, partial, valid, tuple(options))
        for name, method, column, opclass, expression, partial, valid, options in rows
    )


def _children(connection: Connection, oid: int) -> tuple[str, ...]:
    rows = connection.execute(
        """SELECT n.nspname || '.' || c.relname FROM pg_catalog.pg_inherits i
           JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
           WHERE i.inhparent = %s ORDER BY 1""",
        [oid],
    ).fetchall()
    return tuple(name for (name,) in rows)


def _leftovers(connection: Connection, oid: int) -> tuple[str, ...]:
    rows = connection.execute(
        """SELECT CASE contype WHEN 'f' THEN 'foreign key' WHEN 'c' THEN 'check' WHEN 'u' THEN 'unique constraint'
                  ELSE 'exclusion constraint' END || ' ' || conname
           FROM pg_catalog.pg_constraint WHERE conrelid = %(oid)s AND contype IN ('f', 'c', 'u', 'x')
           UNION ALL SELECT 'trigger ' || tgname FROM pg_catalog.pg_trigger WHERE tgrelid = %(oid)s AND NOT tgisinternal
           UNION ALL SELECT 'rule ' || rulename FROM pg_catalog.pg_rewrite WHERE ev_class = %(oid)s
           UNION ALL SELECT 'policy ' || polname FROM pg_catalog.pg_policy WHERE polrelid = %(oid)s
           ORDER BY 1""",
        {"oid": oid},
    ).fetchall()
    return tuple(text for (text,) in rows)


def metrics_of(table: Table, column: str, dim: int) -> dict[str, list[str]]:
    """Metrics that the table's vector indexes on a column use, each with the names of the indexes.

    An index on a cast of the column to ``halfvec`` of the same dimension, which is how more than 2,000 dimensions are
    indexed, counts as well.
    """
    names = f"{re.escape(column)}|{re.escape(sql.quote(column))}"
    cast = re.compile(rf"\((?:{names})\)::(?:[^\s:()]+\.)?halfvec\({dim}\)")
    found: dict[str, list[str]] = {}
    for index in table.indexes:
        metric = METRICS.get(index.opclass)
        if index.method not in INDEX_METHODS or metric is None:
            continue
        if index.column == column or cast.fullmatch(index.expression):
            found.setdefault(metric, []).append(index.name)
    return found
