"""What the system catalogs say about a table: columns, key, indexes, comment, and what stands in the way of reading it.

Every query passes names as parameters and compares them exactly, so nothing is folded to lower case or searched along
a path unless the user left out the schema.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ...errors import NotFound, NotRepresentable, UsageError
from . import sql
from .types import ColumnType, catalog_type, modifier_text, own_type
from .vectors import INDEX_METHODS, METRICS, VECTOR_TYPES

if TYPE_CHECKING:
    from .client import Connection

ACK_TABLE: Final = "_vecport_ack"

#: The kinds of relations that are read.
READABLE: Final = frozenset({"table", "partitioned table", "view", "materialized view", "foreign table"})
#: Those that LOCK TABLE takes.
LOCKABLE: Final = frozenset({"table", "partitioned table", "view"})
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
        extra: what it is beside its values: ``generated``, ``identity``, ``serial``, ``default``, ``collation``.
        always: an identity column whose values an INSERT may not choose.
    """

    name: str
    type: ColumnType | None
    type_text: str
    vector: str = ""
    dim: int | None = None
    not_null: bool = False
    extra: tuple[str, ...] = ()
    always: bool = False

    def vector_form(self) -> tuple[str, int | None]:
        """Type and dimensions, should it be read as a vector: ``bit(n)`` may be one as well. ``("", None)`` if not."""
        if self.vector:
            return self.vector, self.dim
        if self.type is not None and self.type.base.name == "bit" and not self.type.array:
            return "bit", self.type.arguments[0]
        return "", None


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
class Leaf:
    """A relation that holds rows by itself: an ordinary table, or a partition without partitions.

    Attributes:
        oid: object id.
        quoted: its name for a statement.
        heap: its rows have a place (``ctid``) by which it can be cut into ranges.
    """

    oid: int
    quoted: str
    heap: bool


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
        leaves: of a partitioned table, in the order of their names, where the role may read all of them; else empty.
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
    leaves: tuple[Leaf, ...] = ()

    @property
    def rows(self) -> str:
        """What stands behind FROM to read all rows of it, and of its partitions, but of no other table."""
        return f"ONLY {self.quoted}" if self.kind == "table" else self.quoted

    @property
    def parts(self) -> tuple[Leaf, ...]:
        """What is read one after the other; together they are all rows."""
        heap = self.kind in ("table", "materialized view") and self.method == "heap"
        return self.leaves or (Leaf(self.oid, self.quoted, heap),)

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
        leaves=_leaves(connection, oid) if kind == "p" else (),
    )


def require_table(connection: Connection, schema: str | None, name: str) -> Table:
    """``find_table``, raising ``NotFound`` with the tables that exist, and a refusal of what cannot be read."""
    table = find_table(connection, schema, name)
    if table is None:
        known = [line[0] for line in list_tables(connection)]
        more = f", and {len(known) - _LISTED} more" if len(known) > _LISTED else ""
        raise NotFound(
            f"there is no table {sql.join_name(schema, name)!r}",
            why=f"tables with a vector column: {', '.join(known[:_LISTED]) or 'none'}{more}",
            next="names are taken as they stand, upper case included: -c schema.table",
        )
    refuse_other_relations(table, readable=READABLE)
    return table


def refuse_other_relations(table: Table, readable: frozenset[str] = frozenset({"table"})) -> None:
    """Raise ``NotRepresentable`` for other kinds than those, for other access methods, and for inheritance."""
    why = ""
    if table.kind not in readable:
        why = f"only these are supported: {', '.join(sorted(readable))}"
    elif table.kind != "table":
        return
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


#: What is asked of a type ``t`` whose element type, should it be an array, is ``x``; see ``_column_type``.
TYPE_COLUMNS: Final = """coalesce(x.oid, t.oid), x.oid IS NOT NULL, tn.nspname, coalesce(x.typname, t.typname),
    coalesce((SELECT e.extname FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid
              WHERE d.classid = 'pg_catalog.pg_type'::regclass AND d.objid = coalesce(x.oid, t.oid)
              AND d.deptype = 'e' AND d.refclassid = 'pg_catalog.pg_extension'::regclass), '')"""
TYPE_JOINS: Final = """LEFT JOIN pg_catalog.pg_type x ON x.oid = t.typelem AND x.typarray = t.oid
    JOIN pg_catalog.pg_namespace tn ON tn.oid = coalesce(x.typnamespace, t.typnamespace)"""


def column_type(
    modifier: int, formatted: str, oid: int, array: bool, schema: str, name: str, extension: str
) -> ColumnType | None:
    """The type of a column; None where it is not supported, and for vectors.

    Args:
        modifier: ``atttypmod``.
        formatted: by ``format_type``.
        oid, array, schema, name, extension: see ``TYPE_COLUMNS``; of the element type.
    """
    if schema == "pg_catalog":
        return catalog_type(oid, modifier, array=array)
    if extension == "vector" and name in VECTOR_TYPES and not array:
        return None
    arguments = "" if modifier < 0 else modifier_text(formatted)
    return None if arguments is None else own_type(schema, name, arguments, array=array)


def _columns(connection: Connection, oid: int) -> tuple[Column, ...]:
    rows = connection.execute(
        f"""SELECT a.attname, a.attnotnull, a.atttypmod, pg_catalog.format_type(a.atttypid, a.atttypmod),
                   {TYPE_COLUMNS}, a.attidentity = 'a', a.attgenerated <> '', a.attidentity <> '',
                   s.objid IS NOT NULL, a.atthasdef AND a.attgenerated = '' AND s.objid IS NULL,
                   a.attcollation <> 0 AND a.attcollation <> t.typcollation
            FROM pg_catalog.pg_attribute a
            JOIN pg_catalog.pg_type t ON t.oid = a.atttypid {TYPE_JOINS}
            LEFT JOIN pg_catalog.pg_depend s ON s.classid = 'pg_catalog.pg_class'::regclass AND s.deptype = 'a'
                 AND s.refclassid = 'pg_catalog.pg_class'::regclass AND s.refobjid = a.attrelid
                 AND s.refobjsubid = a.attnum AND a.atthasdef AND a.attidentity = ''
                 AND EXISTS (SELECT FROM pg_catalog.pg_class q WHERE q.oid = s.objid AND q.relkind = 'S')
            WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum""".encode(),
        [oid],
    ).fetchall()
    return tuple(_column(row) for row in rows)


def _column(row: tuple[Any, ...]) -> Column:
    name, not_null, modifier, formatted, *kind, always = row[:10]
    words = ("generated", "identity", "serial", "default", "collation")
    extra = tuple(word for word, flag in zip(words, row[10:], strict=True) if flag)
    _, array, _, type_name, extension = kind
    vector = type_name if extension == "vector" and type_name in VECTOR_TYPES and not array else ""
    found = column_type(modifier, formatted, *kind)
    dim = modifier if vector and modifier > 0 else None
    return Column(name, found, formatted, vector, dim, not_null, extra, always)


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


def _leaves(connection: Connection, oid: int) -> tuple[Leaf, ...]:
    rows = connection.execute(
        """SELECT c.oid, n.nspname, c.relname, coalesce(am.amname, '') = 'heap' AND c.relkind = 'r',
                  pg_catalog.has_table_privilege(c.oid, 'SELECT')
                  AND pg_catalog.has_schema_privilege(n.oid, 'USAGE')
           FROM pg_catalog.pg_partition_tree(%s) AS p JOIN pg_catalog.pg_class c ON c.oid = p.relid
           JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_catalog.pg_am am ON am.oid = c.relam
           WHERE p.isleaf AND c.relkind <> 'p' ORDER BY n.nspname, c.relname""",
        [oid],
    ).fetchall()
    # Who may read the table may not always read its partitions by themselves.
    if not all(row[4] for row in rows):
        return ()
    return tuple(Leaf(oid, sql.qualified(schema, name), heap) for oid, schema, name, heap, _ in rows)


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
