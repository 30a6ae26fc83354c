"""A table that vecport created and others have changed since: its comment still says what the other columns hold.

What a column of the layout became, and columns that are new, are taken as they are now, so that the records that
nobody touched come back as the import left them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from .catalog import Column, Table
from .layout import Comment, Layout, Slot


def living_comment(comment: Comment, table: Table, dim_of: Callable[[Column], int], notes: list[str]) -> Comment | None:
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
        now = None if column is None else _now(slot, column, dim_of)
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


def _now(slot: Slot, column: Column, dim_of: Callable[[Column], int]) -> Slot | None:
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
