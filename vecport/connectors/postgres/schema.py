"""From a table to a collection: which column is what, what cannot be carried, and what the user should know."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ...errors import NotRepresentable, UsageError
from ...model.collection import Collection
from ..address import Place
from . import sql
from .catalog import ACK_TABLE, Column, Extension, Index, Table, metrics_of, read_extension, require_table
from .client import run
from .layout import Comment, Layout, Slot, parse_comment
from .owntypes import read_definitions
from .vectors import INDEX_METHODS, METRICS, VECTOR_TYPES

if TYPE_CHECKING:
    from .client import Connection


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
    comment, notes = _from_comment(connection, table, place)
    layout = comment.layout if comment else _infer(connection, table, place, notes)
    metrics = _metrics(table, layout, comment, notes)
    _note_leftovers(table, layout, notes)
    native = _native(table, layout, read_definitions(connection, [slot.kind for slot in layout.slots if slot.type]))
    _note_types(native["types"], notes)
    made = layout.collection(collection, metrics, native)
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


def _from_comment(connection: Connection, table: Table, place: Place) -> tuple[Comment | None, list[str]]:
    comment = parse_comment(table.comment)
    if comment is None:
        return None, []
    if not _agrees(comment.layout, place):
        return None, ["the layout in the table's comment is not used, because other columns were named"]
    differences = comment.layout.differences(table)
    notes: list[str] = []
    if differences:
        now = _living(comment, table, lambda column: _dim(connection, table, column, notes), notes)
        if now is None:
            return None, [
                "the layout in the table's comment is ignored, the table was changed since: " + "; ".join(differences)
            ]
        comment = now
    if comment.state != "complete":
        notes.append("the import that created this table has not finished")
    return comment, notes


def _agrees(layout: Layout, place: Place) -> bool:
    """Whether the columns that options name are those of the layout."""
    keys = place.option("id-column")
    if keys is not None and sql.split_columns(keys) != [slot.column for slot in layout.keys]:
        return False
    document, vectors = place.option("document-column"), place.option("vector-column")
    slot = layout.one("document")
    if document is not None and (slot is None or slot.column != document):
        return False
    return vectors is None or set(sql.split_columns(vectors)) <= {slot.column for slot in layout.of("vector")}


# ---- a table that vecport created and others have changed since ----
#
# Its comment still says what the other columns hold. What a column of the layout became, and columns that are new, are
# taken as they are now, so that the records that nobody touched come back as the import left them.


def _living(comment: Comment, table: Table, dim_of: Callable[[Column], int], notes: list[str]) -> Comment | None:
    """A table's comment with the layout as the table is now.

    Args:
        comment: as the import left it.
        table: as it is.
        dim_of: the dimension of a vector column that declares none.
        notes: are told what is otherwise.

    Returns:
        None where a key column is gone or can be no key, so that records have no ids any more, or where a column
        cannot be carried.
    """
    columns = {column.name: column for column in table.columns}
    free = comment.layout.one("metadata") is not None
    slots: list[Slot] = []
    for slot in comment.layout.slots:
        column = columns.pop(slot.column, None)
        now = None if column is None else _became(slot, column, dim_of)
        if now is None and slot.role == "key":
            return None
        if column is None:
            if slot.role in ("document", "metadata"):
                notes.append(f"the {slot.role} column {slot.column!r} is gone from the table")
        elif now is None:
            columns[slot.column] = column
        else:
            slots.append(now)
    added = _added(list(columns.values()), slots, dim_of, free, notes)
    if added is None:
        return None
    if {slot.column for slot in comment.layout.keys} != set(table.key):
        notes.append("the primary key is another one; records keep the ids that the import gave them")
    layout = Layout((*slots, *added), comment.layout.own_id, comment.layout.flat)
    return replace(comment, layout=layout)


def _became(slot: Slot, column: Column, dim_of: Callable[[Column], int]) -> Slot | None:
    """What a column of the layout is now; None where it cannot be what it was."""
    nullable = not column.not_null
    if slot.vector:
        kind, dim = column.vector_form()
        return replace(slot, vector=kind, dim=dim or dim_of(column), nullable=nullable) if kind else None
    kind_now = column.type
    if kind_now is None:
        return None
    fits = {
        "key": kind_now.can_be_key, "metadata": kind_now.is_json, "field": True,
        "document": kind_now.base.name in ("text", "varchar") and not kind_now.array,
    }  # fmt: skip
    return replace(slot, type=kind_now, nullable=nullable) if fits[slot.role] else None


def _added(
    columns: list[Column], slots: list[Slot], dim_of: Callable[[Column], int], free: bool, notes: list[str]
) -> list[Slot] | None:
    """Slots of columns that the layout does not know; None where one cannot be carried."""
    out: list[Slot] = []
    for column in columns:
        name, nullable = column.name, not column.not_null
        kind, dim = column.vector_form()
        if "generated" in column.extra:
            notes.append(f"column {name!r} was added, and is made from other columns: it is left out")
        elif column.vector:
            while any(slot.role == "vector" and slot.name == name for slot in slots):
                name = f"_{name}"
            out.append(Slot("vector", column.name, name, vector=kind, dim=dim or dim_of(column), nullable=nullable))
        elif column.type is not None:
            out.append(Slot("field", column.name, name, column.type, nullable=nullable, optional=True))
            where = "a key of the metadata" if free else "a field"
            notes.append(f"column {name!r} is not of the import: it comes as {where} of records where it is not NULL")
        else:
            return None
    return out


# ---- a table without a comment of vecport ----


def _infer(connection: Connection, table: Table, place: Place, notes: list[str]) -> Layout:
    """Decide what every column is; raises ``NotRepresentable`` naming all columns that cannot be carried."""
    keys = _key_columns(table, place)
    vectors = _vector_columns(table, place)
    document = place.option("document-column")
    problems: list[str] = []
    slots: dict[str, Slot] = {}
    for column in table.columns:
        nullable = not column.not_null
        if column.name in vectors:
            kind, dim = column.vector_form()
            dim = dim or _dim(connection, table, column, notes)
            slots[column.name] = Slot("vector", column.name, column.name, vector=kind, dim=dim, nullable=nullable)
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


def _vector_columns(table: Table, place: Place) -> set[str]:
    """The columns that are vectors: all of pgvector's types, and those of ``bit(n)`` that say so by index or option."""
    option = place.option("vector-column")
    named = sql.split_columns(option) if option is not None else []
    for name in named:
        if not table.column(name).vector_form()[0]:
            raise UsageError(f"vector-column={option}: {name!r} is {table.column(name).type_text}, no vector")
    indexed = {index.column for index in table.indexes if METRICS.get(index.opclass) in VECTOR_TYPES["bit"].metrics}
    return {
        column.name
        for column in table.columns
        if column.vector or (column.vector_form()[0] and (column.name in named or column.name in indexed))
    }


def _dim(connection: Connection, table: Table, column: Column, notes: list[str]) -> int:
    """The dimension of a column that declares none: the one that all of its vectors have."""
    extension = read_extension(connection)
    assert extension is not None
    name = sql.quote(column.name)
    dims = f"{extension.name('vector_dims')}({name})"
    if column.vector == "sparsevec":
        dims = f"split_part({name}::text, '/', 2)::int"
    row = run(connection, f"SELECT min({dims}), max({dims}) FROM {table.rows}").fetchone()
    low, high = row or (None, None)
    if low is None or low != high:
        why = "it holds none yet" if low is None else f"its vectors have {low} to {high} dimensions"
        raise NotRepresentable(
            f"the vector column {column.name!r} of {table.shown} declares no dimension",
            why=why,
            next=f"a dump needs one dimension: ALTER TABLE ... ALTER COLUMN ... TYPE {column.vector}(N)",
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


# ---- what a user should know, and what a dump keeps ----


def _metrics(table: Table, layout: Layout, comment: Comment | None, notes: list[str]) -> dict[str, str]:
    """The metric of every vector, by its name."""
    vectors = layout.of("vector")
    if not vectors:
        notes.append("the table has no vector column")
    return {slot.name: _metric(table, slot, comment, notes) for slot in vectors}


def _metric(table: Table, slot: Slot, comment: Comment | None, notes: list[str]) -> str:
    found = metrics_of(table, slot.column, slot.dim)
    if len(found) == 1:
        return next(iter(found))
    if found:
        listed = "; ".join(f"{metric}: {', '.join(names)}" for metric, names in found.items())
        notes.append(f"indexes with different metrics on {slot.column!r}, so the metric is not known: {listed}")
        return "unknown"
    return comment.metrics.get(slot.name, "unknown") if comment else "unknown"


def _note_leftovers(table: Table, layout: Layout, notes: list[str]) -> None:
    """Say what hangs on the table and does not travel."""
    if table.kind != "table":
        how = f", in {len(table.leaves)} partitions" if table.leaves else ""
        notes.append(f"this is a {table.kind}{how}; an import makes an ordinary table")
    for word, text in (
        ("generated", "generated columns travel as plain values, without their expression"),
        ("default", "default values of columns do not travel"),
        ("collation", "collations of columns do not travel"),
    ):
        own = {slot.column for slot in layout.of("metadata")} if word == "default" else set()
        names = [column.name for column in table.columns if word in column.extra and column.name not in own]
        if names:
            notes.append(f"{text}: {', '.join(names)}")
    document = layout.one("document")
    if document is not None and document.kind.name != "text":
        notes.append(f"the document column {document.column!r} is restored as text, not {document.kind.sql}")
    plain_json = [s.column for s in layout.slots if s.type is not None and s.type.base.name == "json"]
    if plain_json:
        notes.append(f"white space and key order of json columns do not travel: {', '.join(plain_json)}")
    bits = [column.name for column in table.columns if column.vector_form()[0] == "bit"]
    plain_bits = sorted(set(bits) - {slot.column for slot in layout.of("vector")})
    if plain_bits:
        notes.append(
            "bit columns without an index of pgvector travel as text; to read one as a binary vector, name it as"
            f" vector-column: {', '.join(plain_bits)}"
        )
    indexes = [index.name for index in table.indexes if not _restorable(index, layout)]
    if indexes:
        notes.append(f"indexes that are not recreated: {', '.join(indexes)}")
    if table.leftovers:
        notes.append(f"these do not travel: {', '.join(table.leftovers)}")
    if table.comment and not parse_comment(table.comment):
        notes.append("the table's comment does not travel")


def _note_types(types: Mapping[str, Any], notes: list[str]) -> None:
    for name, definition in types.items():
        if definition.get("checks"):
            notes.append(f"checks of the domain {name} do not travel: {', '.join(definition['checks'])}")


def _restorable(index: Index, layout: Layout) -> bool:
    """Whether an import can rebuild an index from its parts: a whole vector column and an operator class."""
    slot = next((slot for slot in layout.of("vector") if slot.column == index.column), None)
    if slot is None or index.method not in INDEX_METHODS or index.partial or not index.valid:
        return False
    metric = METRICS.get(index.opclass)
    return metric is not None and VECTOR_TYPES[slot.vector].opclass(metric) == index.opclass


def _native(table: Table, layout: Layout, types: Mapping[str, Any]) -> dict[str, Any]:
    """Settings for the dump's reader, by allow-list: nothing here is ever executed."""
    names = {slot.column: slot.name for slot in layout.of("vector")}
    indexes = [
        {
            "name": index.name,
            "vector": names[index.column or ""],
            "method": index.method,
            "opclass": index.opclass,
            "options": list(index.options),
        }
        for index in table.indexes
        if _restorable(index, layout)
    ]
    vectors = {slot.name: {"dim": slot.dim, "nullable": slot.nullable} for slot in layout.of("vector")}
    counted = {}
    for slot in layout.slots:
        column = table.column(slot.column)
        if "identity" in column.extra:
            counted[slot.name] = "always" if column.always else "default"
        elif "serial" in column.extra:
            counted[slot.name] = "serial"
    return {
        "schema": table.schema,
        "table": table.name,
        "vectors": vectors,
        "vector_indexes": indexes,
        "counted": counted,
        "types": dict(types),
    }
