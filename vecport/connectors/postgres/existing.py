"""A table of the user's that takes the records of free metadata: every key has a column, by its name or by choice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ...errors import NotRepresentable, UsageError
from ..contract import TargetPlan
from .catalog import Column, Table
from .layout import Layout, Slot

_SETTING: Final = "column."
_SAFE: Final = "nothing was written"


def chosen_columns(settings: Mapping[str, str]) -> dict[str, str]:
    """Metadata key -> column, of the settings ``column.KEY``."""
    return {key.removeprefix(_SETTING): column for key, column in settings.items() if key.startswith(_SETTING)}


def applies(table: Table, plan: TargetPlan, wanted: Layout) -> bool:
    """Whether the keys of an import go into columns: where the user says so, or there is no column for them all."""
    metadata = wanted.one("metadata")
    if plan.if_exists != "append" or metadata is None:
        return False
    there = {column.name for column in table.columns}
    matching = bool(there & set(plan.metadata_keys)) and metadata.column not in there
    return matching or bool(chosen_columns(plan.settings))


def mapped_layout(table: Table, plan: TargetPlan, wanted: Layout) -> Layout:
    """The layout in which the records go into the table's own columns.

    Other columns of the table are left alone: they get their defaults, and keep their values where a record is
    replaced.

    Raises:
        NotRepresentable: a key, a vector or the document has no column that can hold it.
        UsageError: a column is chosen for a key that no record has.
    """
    chosen = chosen_columns(plan.settings)
    stray = sorted(set(chosen) - set(plan.metadata_keys))
    if stray:
        known = ", ".join(map(repr, plan.metadata_keys[:20]))
        raise UsageError(f"--set column.{stray[0]}=...: no record has this key", safe=_SAFE, next=f"keys: {known}")
    slots = [_key(table)]
    for slot in wanted.slots:
        if slot.role in ("vector", "document"):
            slots.append(_same(table, slot))
    problems = []
    for key in plan.metadata_keys:
        column = next((c for c in table.columns if c.name == chosen.get(key, key)), None)
        problem = _problem(column, slots)
        if problem or column is None:
            problems.append(f"{key!r} -> {chosen.get(key, key)!r}: {problem}")
            continue
        slots.append(Slot("field", column.name, key, column.type, nullable=not column.not_null, optional=True))
    if problems:
        raise NotRepresentable(
            f"the table {table.shown} has no place for {len(problems)} of {len(plan.metadata_keys)} metadata keys:"
            f" {'; '.join(problems[:20])}",
            why="every key goes into a column of its own, none is left out",
            safe=_SAFE,
            next="name the column: --set column.KEY=COLUMN, or add one to the table",
        )
    return Layout(tuple(slots), own_id=True, flat=True)


def _key(table: Table) -> Slot:
    columns = [column for column in table.columns if column.name in table.key]
    if len(columns) != 1 or columns[0].type is None or not columns[0].type.can_be_key:
        raise NotRepresentable(
            f"the table {table.shown} has no primary key of one column for the ids",
            safe=_SAFE,
            next="import into a new table",
        )
    return Slot("key", columns[0].name, "id", columns[0].type, nullable=False)


def _same(table: Table, slot: Slot) -> Slot:
    """The column of a vector or the document; a vector that is the only one goes into the only column of its form."""
    column = next((c for c in table.columns if c.name == slot.column), None)
    alike = [c for c in table.columns if c.vector == slot.vector]
    if column is None and slot.vector and len(alike) == 1:
        column = alike[0]
    fits = column is not None and (_fits(column, slot) if slot.vector else column.type == slot.type)
    if column is None or not fits:
        what = f"the vector {slot.name!r} ({slot.type_text})" if slot.vector else "the document"
        found = f"{slot.column!r} is {column.type_text}" if column else f"there is no column {slot.column!r}"
        raise NotRepresentable(
            f"the table {table.shown} has no place for {what}",
            why=found,
            safe=_SAFE,
            next="name the column: --target-option vector-column=NAME, document-column=NAME",
        )
    return Slot(slot.role, column.name, slot.name, slot.type, slot.vector, slot.dim, not column.not_null)


def _fits(column: Column, slot: Slot) -> bool:
    kind, dim = column.vector_form()
    return kind == slot.vector and (dim is None or dim == slot.dim)


def _problem(column: Column | None, slots: list[Slot]) -> str:
    """Why a key cannot go into a column; ``""`` when it can."""
    if column is None:
        return "there is no such column"
    if column.type is None:
        return f"the column is {column.type_text}"
    if "generated" in column.extra:
        return "the column is computed by the database"
    if any(slot.column == column.name for slot in slots):
        return "the column is taken"
    return ""
