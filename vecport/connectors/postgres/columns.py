"""Which columns an import writes: those of a table that it creates, or those of one that is there.

Everything is rebuilt from parsed parts; no text of a dump enters a statement unquoted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from ...errors import NotRepresentable, UsageError
from ...model.collection import Collection, Field, VectorField
from ..address import Place
from ..contract import TargetPlan
from ..kit.settings import Value
from . import sql
from .catalog import Column, Table
from .layout import DOCUMENT_COLUMN, ID_COLUMN, JSONB, METADATA_COLUMN, TEXT, Layout, Slot, own_layout
from .settings import choices, chosen_columns
from .types import BASES, ColumnType, parse_type
from .vectors import VECTOR_TYPES, type_for

MAX_COLUMNS: Final = 1_600
INT_MIN: Final = -(1 << 63)
INT_MAX: Final = (1 << 63) - 1
_SAFE: Final = "nothing was written"

# ---- a new table ----


def new_columns(plan: TargetPlan, place: Place) -> Layout:
    """The columns of the table that an import creates.

    A typed collection gets its key columns and typed columns, any other one ``metadata jsonb``. Names that the
    collection itself gives come first; ``id``, ``document`` and ``metadata`` give way with an underscore.

    Raises:
        NotRepresentable: a type outside the grammar, a name that Postgres cannot hold, too many columns or dimensions.
    """
    collection = plan.collection
    names = _Names([*(f.name for f in collection.key), *(f.name for f in collection.fields or ())])
    slots = _key_slots(plan, place, names)
    flat = len(slots) == 1
    if place.option("vector-column") and len(collection.vectors) > 1:
        raise UsageError("vector-column names one column, and there are several vectors", safe=_SAFE)
    settings = choices(plan)
    slots += [_vector_slot(v, plan, settings, place, names) for v in collection.vectors]
    if plan.document is not None:
        column = place.option("document-column") or plan.document or DOCUMENT_COLUMN
        slots.append(Slot("document", names.take(column), DOCUMENT_COLUMN, TEXT))
    if collection.fields is None:
        slots.append(Slot("metadata", names.take(METADATA_COLUMN), METADATA_COLUMN, JSONB, nullable=False))
    else:
        slots += [_field_slot("field", f) for f in collection.fields]
    if len(slots) > MAX_COLUMNS:
        raise NotRepresentable(f"{len(slots)} columns", why=f"a Postgres table has at most {MAX_COLUMNS:,}")
    layout = Layout(tuple(slots), own_id=not collection.key, flat=flat)
    for slot in layout.slots:
        sql.check_name(slot.column)
    return layout


class _Names:
    """Column names that are taken; a name that is taken gets underscores in front."""

    def __init__(self, names: list[str]) -> None:
        self._taken = set(names)
        if len(self._taken) != len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise NotRepresentable(f"two columns have the name {twice!r}")

    def take(self, name: str) -> str:
        while name in self._taken:
            name = f"_{name}"
        self._taken.add(name)
        return name


def _key_slots(plan: TargetPlan, place: Place, names: _Names) -> list[Slot]:
    collection = plan.collection
    if collection.key:
        slots = [replace(_field_slot("key", f), nullable=False) for f in collection.key]
        for slot in slots:
            if not slot.kind.can_be_key:
                raise NotRepresentable(f"key column {slot.name!r}: {slot.kind.name} cannot be a key")
        return slots
    kind = ColumnType(BASES[_id_type(collection, plan.id_profile)])
    column = names.take(place.option("id-column") or ID_COLUMN)
    return [Slot("key", column, ID_COLUMN, kind, nullable=False)]


def _field_slot(role: str, field: Field) -> Slot:
    kind = parse_type(field.type, field.name)
    if kind.encoding != field.encoding:
        raise NotRepresentable(
            f"field {field.name!r}: the encoding {field.encoding!r} is not the one of {kind.name}",
            why=f"values of {kind.name} travel with the encoding {kind.encoding!r}",
        )
    return Slot(role, field.name, field.name, kind, nullable=field.nullable)


def _id_type(collection: Collection, profile: Mapping[str, Any]) -> str:
    """``int8``, ``uuid`` or ``text``: the narrowest type that holds every id of the profile."""
    kinds = {kind for kind in ("int", "uuid", "string") if profile.get(kind)}
    low, high = profile.get("min_int"), profile.get("max_int")
    in_range = (low is None or low >= INT_MIN) and (high is None or high <= INT_MAX)
    if collection.id_kind in ("int", "int|uuid", "position") and kinds <= {"int"} and in_range:
        return "text" if collection.id_kind == "int|uuid" and not kinds else "int8"
    if collection.id_kind in ("uuid", "int|uuid") and kinds <= {"uuid"}:
        return "text" if collection.id_kind == "int|uuid" and not kinds else "uuid"
    return "text"


def _vector_slot(v: VectorField, plan: TargetPlan, settings: Mapping[str, Value], place: Place, names: _Names) -> Slot:
    kind = type_for(v.kind, v.dtype)
    if kind is None or (v.dim is not None and v.dim > kind.max_dim):
        raise NotRepresentable(
            f"vector {v.name!r} is {v.kind} of {v.dtype} with {v.dim} dimensions",
            why="no type of Postgres holds such vectors",
            safe=_SAFE,
        )
    native = _native_vector(plan, v)
    dim = v.dim if v.dim is not None else _sparse_dim(v, settings, native, kind.max_dim)
    column = names.take(place.option("vector-column") or v.name or "embedding")
    nullable = v.nullable and native.get("nullable") is not False
    return Slot("vector", column, v.name, vector=kind.name, dim=dim, nullable=nullable)


def _native_vector(plan: TargetPlan, v: VectorField) -> Mapping[str, Any]:
    """What a dump of Postgres says of a vector's column, not checked."""
    vectors = plan.native.get("vectors")
    found = vectors.get(v.name) if isinstance(vectors, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _sparse_dim(v: VectorField, settings: Mapping[str, Value], native: Mapping[str, Any], most: int) -> int:
    """The dimensions of a sparse column: what the user says, what the dump's table had, or all that there can be."""
    key = f"dimensions.{v.name}"
    if key in settings:
        return int(settings[key])
    dim = native.get("dim")
    if dim is None:
        return most
    if type(dim) is not int or not 1 <= dim <= most:
        raise NotRepresentable(
            f"vector {v.name!r}: the dump says {dim!r} dimensions",
            why=f"a sparsevec has 1 to {most:,}",
            safe=_SAFE,
            next=f"say them yourself: --set {key}=N",
        )
    return dim


# ---- a table that is there ----


def columns_in(table: Table, wanted: Layout, plan: TargetPlan) -> Layout:
    """The columns of a table that is there, which has a place for everything that is wanted.

    A table of vecport's with a ``document`` column also takes records without documents; one of the user's, the keys
    of free metadata in columns of its own.

    Raises:
        NotRepresentable: the table has other columns.
    """
    wanted = _with_dims(table, wanted)
    own = own_layout(table)
    if own is not None:
        have = {_meaning(slot): slot for slot in own.slots}
        missing = [slot for slot in wanted.slots if _meaning(slot) not in have]
        extra = have.keys() - set(map(_meaning, wanted.slots))
        if not missing and all(have[meaning].role == "document" for meaning in extra):
            return own
    if _takes_keys(table, wanted, plan):
        return _mapped(table, wanted, plan)
    differences = wanted.differences(table)
    if differences:
        raise NotRepresentable(
            f"the table {table.shown} has other columns than the import needs: {'; '.join(differences)}",
            safe=_SAFE,
            next="import into a new table, or replace this one: --if-exists replace",
        )
    computed = {column.name for column in table.columns if "generated" in column.extra}
    return replace(wanted, slots=tuple(replace(slot, generated=slot.column in computed) for slot in wanted.slots))


def _with_dims(table: Table, wanted: Layout) -> Layout:
    """The layout with the dimensions of the table's sparse columns, where the import asks for none."""
    dims = {column.name: column.dim for column in table.columns if column.vector == "sparsevec"}
    most = VECTOR_TYPES["sparsevec"].max_dim
    slots = (
        replace(slot, dim=dims.get(slot.column) or most) if (slot.vector, slot.dim) == ("sparsevec", most) else slot
        for slot in wanted.slots
    )
    return replace(wanted, slots=tuple(slots))


def _meaning(slot: Slot) -> tuple[Any, ...]:
    return slot.role, slot.name, slot.type, slot.vector, slot.dim


def _takes_keys(table: Table, wanted: Layout, plan: TargetPlan) -> bool:
    """Whether the keys of an import go into columns: where the user says so, or there is no column for them all."""
    metadata = wanted.one("metadata")
    if plan.if_exists != "append" or metadata is None:
        return False
    there = {column.name for column in table.columns}
    matching = bool(there & set(plan.metadata_keys)) and metadata.column not in there
    return matching or bool(chosen_columns(plan.settings))


def _mapped(table: Table, wanted: Layout, plan: TargetPlan) -> Layout:
    """The columns of a user's table for the records of free metadata: every key has one, by its name or by choice.

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
    slots = [_own_key(table)]
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


def _own_key(table: Table) -> Slot:
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
