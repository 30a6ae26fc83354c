"""The table that an import creates: its columns from the plan, its statements from the columns, its index from the
settings. Everything is rebuilt from parsed parts; no text of a dump enters a statement unquoted."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from ...errors import NotRepresentable, UsageError
from ...model.collection import Collection, Field
from ..address import Place
from ..base import TargetPlan
from . import sql
from .catalog import OPCLASSES, Extension
from .layout import DOCUMENT_COLUMN, ID_COLUMN, JSONB, METADATA_COLUMN, TEXT, Layout, Slot
from .types import BASES, ColumnType, parse_type

MAX_DIM: Final = 16_000
MAX_INDEXED_DIM: Final = 2_000
MAX_COLUMNS: Final = 1_600
INT_MIN: Final = -(1 << 63)
INT_MAX: Final = (1 << 63) - 1

_RANGES: Final = {"m": (2, 100), "ef_construction": (4, 1_000), "lists": (1, 32_768)}
_MEMORY: Final = re.compile(r"[1-9][0-9]{0,8}(?:kB|MB|GB)")
#: ``metric`` is a setting of the mapping.
_SETTINGS: Final = ("index", "m", "ef_construction", "lists", "maintenance_work_mem", "metric")


@dataclass(frozen=True, slots=True)
class IndexPlan:
    """The vector index that ``finish`` builds.

    Attributes:
        method: ``hnsw`` or ``ivfflat``.
        column: the vector column.
        opclass: operator class, by the metric.
        options: storage parameters, all integers.
        memory: ``maintenance_work_mem`` of the build, ``""`` for the server's own.
    """

    method: str
    column: str
    opclass: str
    options: Mapping[str, int]
    memory: str

    def name(self, table: str) -> str:
        """A name for the index that is new for each table and at most 63 bytes long."""
        text = f"{table}_{self.column}_{self.method}"
        if len(text.encode()) <= sql.MAX_NAME_BYTES:
            return text
        digest = hashlib.sha256(text.encode()).hexdigest()[:8]
        head = text.encode()[: sql.MAX_NAME_BYTES - 9 - len(self.method) - 1].decode(errors="ignore")
        return f"{head}_{digest}_{self.method}"


def plan_layout(plan: TargetPlan, place: Place) -> Layout:
    """Decide the columns of the table for a plan.

    A typed collection gets its key columns and typed columns, any other one ``metadata jsonb``. Names that the
    collection itself gives come first; ``id``, ``document`` and ``metadata`` give way with an underscore.

    Raises:
        NotRepresentable: a type outside the grammar, a name that Postgres cannot hold, too many columns or dimensions.
    """
    collection = plan.collection
    names = _Names([*(f.name for f in collection.key), *(f.name for f in collection.fields or ())])
    slots = _key_slots(plan, place, names)
    flat = len(slots) == 1
    for v in collection.vectors:
        if v.kind != "dense" or v.dim is None or v.dim > MAX_DIM:
            raise NotRepresentable(
                f"vector {v.name!r} is {v.kind} with {v.dim} dimensions",
                why=f"the type vector holds dense vectors of up to {MAX_DIM:,} dimensions",
            )
        column = place.option("vector-column") or v.name or "embedding"
        slots.append(Slot("vector", names.take(column), v.name, dim=v.dim, nullable=v.nullable))
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


def create_table(quoted: str, layout: Layout, extension: Extension | None) -> str:
    """The statement that creates the table with its primary key."""
    columns = []
    for slot in layout.slots:
        if slot.type is None:
            assert extension is not None
            kind = f"{extension.name('vector')}({slot.dim})"
        else:
            kind = slot.type.sql
        columns.append(f"{sql.quote(slot.column)} {kind}" + ("" if slot.nullable else " NOT NULL"))
    keys = ", ".join(sql.quote(slot.column) for slot in layout.keys)
    return f"CREATE TABLE {quoted} ({', '.join(columns)}, PRIMARY KEY ({keys}))"


def plan_index(plan: TargetPlan, layout: Layout) -> IndexPlan | None:
    """Read the settings and decide on the vector index; None for none.

    By default there is an hnsw index if the metric is known and the vector has at most 2,000 dimensions.

    Raises:
        UsageError: an unknown setting, a value out of range, or an index that pgvector cannot build.
    """
    settings = plan.settings
    numbers = _check_settings(settings)
    vector = layout.one("vector")
    if vector is None or settings.get("index") == "none":
        return None
    metric = plan.collection.vectors[0].metric
    obstacle = ""
    method = settings.get("index", "hnsw")
    if metric not in OPCLASSES:
        obstacle = f"the metric {metric!r} has no operator class"
    elif vector.dim > MAX_INDEXED_DIM:
        obstacle = f"an index of the type vector takes at most {MAX_INDEXED_DIM:,} dimensions, these are {vector.dim:,}"
    elif method == "ivfflat" and metric == "l1":
        obstacle = "ivfflat has no operator class for l1"
    if obstacle:
        if "index" in settings:
            raise UsageError(f"--set index={method}: {obstacle}", safe="nothing was written", next="--set index=none")
        return None
    wanted = ("m", "ef_construction") if method == "hnsw" else ("lists",)
    options = {name: numbers[name] for name in wanted if name in numbers}
    stray = sorted(set(numbers) - set(wanted))
    if stray:
        raise UsageError(f"--set {stray[0]}=...: no parameter of an {method} index")
    return IndexPlan(method, vector.column, OPCLASSES[metric][0], options, settings.get("maintenance_work_mem", ""))


def _check_settings(settings: Mapping[str, str]) -> dict[str, int]:
    numbers: dict[str, int] = {}
    for key, value in settings.items():
        if key not in _SETTINGS:
            raise UsageError(f"--set {key}: not a setting of Postgres", next=f"one of: {', '.join(_SETTINGS)}")
        if key == "index" and value not in ("hnsw", "ivfflat", "none"):
            raise UsageError(f"--set index={value}: not an index", next="one of: hnsw, ivfflat, none")
        if key == "maintenance_work_mem" and not _MEMORY.fullmatch(value):
            raise UsageError(f"--set {key}={value}: not a size", next="a number and a unit, as 512MB")
        if key in _RANGES:
            low, high = _RANGES[key]
            if not value.isascii() or not value.isdigit() or not low <= int(value) <= high:
                raise UsageError(f"--set {key}={value}: out of range", why=f"it is a number from {low} to {high}")
            numbers[key] = int(value)
    if "m" in numbers and numbers.get("ef_construction", 64) < 2 * numbers["m"]:
        raise UsageError(f"--set m={numbers['m']}: ef_construction is too small", why="pgvector wants at least twice m")
    return numbers


def create_index(quoted: str, name: str, index: IndexPlan, extension: Extension) -> str:
    """The statement that builds the vector index."""
    options = ", ".join(f"{key} = {value}" for key, value in index.options.items())
    return (
        f"CREATE INDEX {sql.quote(name)} ON {quoted} USING {index.method}"
        f" ({sql.quote(index.column)} {extension.name(index.opclass)})" + (f" WITH ({options})" if options else "")
    )
