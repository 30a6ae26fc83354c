"""From a table to a collection: which column is what, what cannot be carried, and what the user should know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...errors import NotRepresentable, UsageError
from ...model.collection import Collection
from ..address import Place
from . import sql
from .catalog import ACK_TABLE, Column, Extension, Table, metrics_of, read_extension, require_table
from .connect import run
from .layout import Comment, Layout, Slot, parse_comment

if TYPE_CHECKING:
    from .connect import Connection


@dataclass(frozen=True, slots=True)
class Found:
    """A table as a collection.

    Attributes:
        table: its definition.
        extension: the installed pgvector, if any.
        layout: which column holds what.
        collection: what the layout makes of it.
        comment: of vecport, where the layout came from it.
        version: of server and extension.
        notes: for the user.
    """

    table: Table
    extension: Extension | None
    layout: Layout
    collection: Collection
    comment: Comment | None
    version: str
    notes: tuple[str, ...]


def look(connection: Connection, place: Place, collection: str) -> Found:
    """Find a table and decide how it is read.

    Args:
        connection: inside a transaction.
        place: its options name the schema and the columns.
        collection: the table's name as the user wrote it.
    Raises:
        NotFound: there is no such table.
        NotRepresentable: it has columns, or is of a kind, that cannot be carried.
    """
    schema, name = table_name(place, collection)
    table = require_table(connection, schema, name)
    extension = read_extension(connection)
    comment, notes = _from_comment(table, place)
    layout = comment.layout if comment else _infer(connection, table, place, notes)
    metric = _metric(table, layout, comment, notes)
    _note_leftovers(table, layout, notes)
    made = layout.collection(collection, metric, _native(table, layout))
    return Found(table, extension, layout, made, comment, version(connection, extension), tuple(notes))


def table_name(place: Place, collection: str) -> tuple[str | None, str]:
    """Schema, None to search for it, and table that a collection's name stands for."""
    schema = place.option("schema")
    name: tuple[str | None, str] = (schema, collection) if schema else sql.split_name(collection)
    if name[1] == ACK_TABLE:
        raise UsageError(f"the table {ACK_TABLE!r} is vecport's own", why="it records what imports have written")
    return name


def version(connection: Connection, extension: Extension | None) -> str:
    """``PostgreSQL 18.4, pgvector 0.8.5``."""
    major, minor = divmod(connection.info.server_version, 10_000)
    return f"PostgreSQL {major}.{minor}, " + (f"pgvector {extension.version}" if extension else "no pgvector")


def _from_comment(table: Table, place: Place) -> tuple[Comment | None, list[str]]:
    comment = parse_comment(table.comment)
    if comment is None:
        return None, []
    if not _agrees(comment.layout, place):
        return None, ["the layout in the table's comment is not used, because other columns were named"]
    differences = comment.layout.differences(table)
    if differences:
        return None, [
            "the layout in the table's comment is ignored, the table was changed since: " + "; ".join(differences)
        ]
    notes = []
    if comment.state != "complete":
        notes.append("the import that created this table has not finished")
    return comment, notes


def _agrees(layout: Layout, place: Place) -> bool:
    """Whether the columns that options name are those of the layout."""
    keys = place.option("id-column")
    if keys is not None and sql.split_columns(keys) != [slot.column for slot in layout.keys]:
        return False
    for role in ("vector", "document"):
        name, slot = place.option(f"{role}-column"), layout.one(role)
        if name is not None and (slot is None or slot.column != name):
            return False
    return True


def _infer(connection: Connection, table: Table, place: Place, notes: list[str]) -> Layout:
    """Decide what every column is; raises ``NotRepresentable`` naming all columns that cannot be carried."""
    keys = _key_columns(table, place)
    vector = _vector_column(table, place)
    document = place.option("document-column")
    problems: list[str] = []
    slots: dict[str, Slot] = {}
    for column in table.columns:
        nullable = not column.not_null
        if column is vector:
            slots[column.name] = Slot(
                "vector", column.name, column.name, dim=_dim(connection, table, column, notes), nullable=nullable
            )
        elif column.type is None:
            problems.append(f"{column.name!r} is {column.type_text}")
        elif column.name in keys:
            slots[column.name] = Slot("key", column.name, column.name, column.type, nullable=nullable)
            if not column.type.can_be_key:
                problems.append(f"{column.name!r} is {column.type_text}, which cannot be an id")
        else:
            role = "document" if column.name == document else "field"
            slots[column.name] = Slot(role, column.name, column.name, column.type, nullable=nullable)
    if document is not None:
        _check_document(table.column(document), keys)
    if problems:
        raise NotRepresentable(
            f"the table {table.shown} has columns that cannot be carried yet: {'; '.join(problems)}",
            why="a column is either carried exactly or refused by name, never dropped",
            safe="nothing was read or written",
            next="a copy of the table without these columns, or with them cast to text, can be exported",
        )
    others = [slot for name, slot in slots.items() if name not in keys]
    return Layout((*(slots[name] for name in keys), *others), own_id=False, flat=len(keys) == 1)


def _key_columns(table: Table, place: Place) -> list[str]:
    option = place.option("id-column")
    if option is None:
        if table.key:
            return list(table.key)
        raise NotRepresentable(
            f"the table {table.shown} has no primary key, so its records have no ids",
            safe="nothing was read or written",
            next="name the column that tells records apart: --source-option id-column=NAME (or NAME,NAME)",
        )
    names = sql.split_columns(option)
    if not names or len(set(names)) != len(names):
        raise UsageError(f"id-column={option}: no column, or one twice")
    for name in names:
        table.column(name)
    return names


def _vector_column(table: Table, place: Place) -> Column | None:
    vectors = [column for column in table.columns if column.vector]
    option = place.option("vector-column")
    if option is not None and table.column(option) not in vectors:
        raise UsageError(f"vector-column={option}: the column is {table.column(option).type_text}, no vector")
    plain = [column for column in vectors if column.vector == "vector"]
    if len(vectors) > 1:
        listed = ", ".join(f"{column.name!r} is {column.type_text}" for column in vectors)
        raise NotRepresentable(
            f"the table {table.shown} has several vector columns: {listed}",
            why="one vector a record is supported yet, and none is left out in silence",
            safe="nothing was read or written",
        )
    return plain[0] if plain else None


def _dim(connection: Connection, table: Table, column: Column, notes: list[str]) -> int:
    """The column's dimension; where it declares none, the one that all of its vectors have."""
    if column.dim is not None:
        return column.dim
    extension = read_extension(connection)
    assert extension is not None
    dims = f"{extension.name('vector_dims')}({sql.quote(column.name)})"
    row = run(connection, f"SELECT min({dims}), max({dims}) FROM ONLY {table.quoted}").fetchone()
    low, high = row or (None, None)
    if low is None or low != high:
        why = "it holds none yet" if low is None else f"its vectors have {low} to {high} dimensions"
        raise NotRepresentable(
            f"the vector column {column.name!r} of {table.shown} declares no dimension",
            why=why,
            next="a dump needs one dimension: ALTER TABLE ... ALTER COLUMN ... TYPE vector(N)",
        )
    notes.append(f"column {column.name!r} declares no dimension; all of its vectors have {low}")
    return int(low)


def _check_document(column: Column, keys: list[str]) -> None:
    if (
        column.name in keys
        or column.type is None
        or column.type.base.name not in ("text", "varchar")
        or column.type.array
    ):
        raise UsageError(
            f"document-column={column.name}: the column is {column.type_text}", why="documents are text columns"
        )


def _metric(table: Table, layout: Layout, comment: Comment | None, notes: list[str]) -> str:
    vector = layout.one("vector")
    if vector is None:
        notes.append("the table has no vector column")
        return "unknown"
    found = metrics_of(table, vector.column, vector.dim)
    if len(found) == 1:
        return next(iter(found))
    if found:
        listed = "; ".join(f"{metric}: {', '.join(names)}" for metric, names in found.items())
        notes.append(f"indexes with different metrics, so the metric is not known: {listed}")
        return "unknown"
    return comment.metric if comment else "unknown"


def _note_leftovers(table: Table, layout: Layout, notes: list[str]) -> None:
    """Say what hangs on the table and does not travel."""
    for word, text in (
        ("generated", "generated columns travel as plain values, without their expression"),
        ("identity", "identity columns travel as plain values; a restored table has no sequence"),
        ("default", "default values of columns do not travel"),
        ("collation", "collations of columns do not travel"),
    ):
        names = [column.name for column in table.columns if word in column.extra]
        if names:
            notes.append(f"{text}: {', '.join(names)}")
    document = layout.one("document")
    if document is not None and document.kind.name != "text":
        notes.append(f"the document column {document.column!r} is restored as text, not {document.kind.sql}")
    plain_json = [s.column for s in layout.slots if s.type is not None and s.type.base.name == "json"]
    if plain_json:
        notes.append(f"white space and key order of json columns do not travel: {', '.join(plain_json)}")
    indexes = [index.name for index in table.indexes]
    if indexes:
        notes.append(f"indexes are described, but not recreated one by one: {', '.join(indexes)}")
    if table.leftovers:
        notes.append(f"these do not travel: {', '.join(table.leftovers)}")
    if table.comment and not parse_comment(table.comment):
        notes.append("the table's comment does not travel")


def _native(table: Table, layout: Layout) -> Mapping[str, Any]:
    """Settings for the dump's reader, by allow-list: nothing here is ever executed."""
    vector = layout.one("vector")
    indexes = [
        {"method": index.method, "opclass": index.opclass, "options": list(index.options)}
        for index in table.indexes
        if vector is not None and index.column == vector.column
    ]
    return {"schema": table.schema, "table": table.name, "vector_indexes": indexes}
