"""Vector indexes that an import builds: planned from settings or from the parsed parts of a dump's own, built, watched.

No text of a dump enters a statement: methods and operator classes come from lists, numbers are checked, names quoted.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ...errors import NotRepresentable, UsageError
from ...model.collection import VectorField
from ..contract import TargetPlan
from ..kit.settings import Value, chosen
from . import sql
from .catalog import Extension, Table
from .client import run
from .layout import Layout, Slot
from .settings import OF_METHOD, PARAMETERS, choices
from .vectors import INDEX_METHODS, METRICS, VECTOR_TYPES

if TYPE_CHECKING:
    from .client import Connection

_OPTION: Final = re.compile(r"([a-z_]+)=([0-9]{1,9})")
_MOST_INDEXES: Final = 100


@dataclass(frozen=True, slots=True)
class IndexPlan:
    """A vector index that ``finish`` builds.

    Attributes:
        method: ``hnsw`` or ``ivfflat``.
        column: the vector column.
        opclass: operator class, by type and metric.
        options: storage parameters, all integers.
        memory: ``maintenance_work_mem`` of the build, ``""`` for the server's own.
        wanted: its name in the dump, taken if it is free.
    """

    method: str
    column: str
    opclass: str
    options: Mapping[str, int]
    memory: str = ""
    wanted: str = ""

    def name(self, table: str) -> str:
        """A name for the index that is new for each table and at most 63 bytes long."""
        text = f"{table}_{self.column}_{self.method}"
        if len(text.encode()) <= sql.NAMES.max_bytes:
            return text
        digest = hashlib.sha256(text.encode()).hexdigest()[:8]
        head = text.encode()[: sql.NAMES.max_bytes - 9 - len(self.method) - 1].decode(errors="ignore")
        return f"{head}_{digest}_{self.method}"


def plan_indexes(plan: TargetPlan, layout: Layout) -> tuple[IndexPlan, ...]:
    """Decide on the vector indexes.

    The user's settings go first, then the indexes of a dump of Postgres. Without either there is an hnsw index if the
    metric is known and pgvector can index the type and its dimensions.

    Raises:
        UsageError: an unknown setting, a value out of range, or an index that pgvector cannot build.
        NotRepresentable: an index of the dump that cannot be rebuilt.
    """
    settings = choices(plan)
    plans: list[IndexPlan] = []
    for v in plan.collection.vectors:
        slot = next(slot for slot in layout.of("vector") if slot.name == v.name)
        native = None if _chosen(settings, v) else _native_indexes(plan.native, v, slot)
        plans += _one(settings, v, slot) if native is None else native
    return tuple(plans)


def _chosen(settings: Mapping[str, Value], v: VectorField) -> bool:
    """Whether the user said anything about the index of a vector."""
    return any(chosen(settings, word, v.name) is not None for word in ("index", *PARAMETERS))


def _one(settings: Mapping[str, Value], v: VectorField, slot: Slot) -> list[IndexPlan]:
    """The index of one vector by the user's settings, or by default."""
    numbers = {word: int(value) for word in PARAMETERS if (value := chosen(settings, word, v.name)) is not None}
    if "m" in numbers and numbers.get("ef_construction", 64) < 2 * numbers["m"]:
        raise UsageError(f"--set m={numbers['m']}: ef_construction is too small", why="pgvector wants at least twice m")
    wanted = chosen(settings, "index", v.name)
    if wanted == "none":
        return []
    method, kind = str(wanted or "hnsw"), VECTOR_TYPES[slot.vector]
    obstacle = _obstacle(slot, method, v.metric)
    if obstacle:
        if wanted:
            raise UsageError(f"--set index={method}: {obstacle}", safe="nothing was written", next="--set index=none")
        return []
    stray = sorted(set(numbers) - set(OF_METHOD[method]))
    if stray:
        raise UsageError(f"--set {stray[0]}=...: no parameter of an {method} index")
    memory = str(settings.get("maintenance_work_mem", ""))
    return [IndexPlan(method, slot.column, kind.opclass(v.metric), numbers, memory)]


def _obstacle(slot: Slot, method: str, metric: str) -> str:
    """Why pgvector cannot build an index; ``""`` when it can."""
    kind = VECTOR_TYPES[slot.vector]
    if metric not in kind.metrics:
        return f"the metric {metric!r} has no operator class of {kind.name}"
    if metric not in kind.indexed(method):
        return f"{method} has no operator class of {kind.name} for {metric}"
    if slot.dim > kind.max_indexed:
        return f"an index of the type {kind.name} takes at most {kind.max_indexed:,} dimensions, these are {slot.dim:,}"
    return ""


def _native_indexes(native: Mapping[str, Any], v: VectorField, slot: Slot) -> list[IndexPlan] | None:
    """The indexes that a dump of Postgres has on a vector; None when it is no such dump.

    Those of another metric than the import's are left out: the user has chosen one.
    """
    listed, vectors = native.get("vector_indexes"), native.get("vectors")
    if not isinstance(listed, list) or not isinstance(vectors, Mapping) or v.name not in vectors:
        return None
    if len(listed) > _MOST_INDEXES:
        raise _refused(v, f"{len(listed)} indexes")
    found = []
    for entry in listed:
        if not isinstance(entry, Mapping):
            raise _refused(v, f"an index {entry!r}")
        if entry.get("vector") == v.name and v.metric in ("unknown", METRICS.get(str(entry.get("opclass")))):
            found.append(_native_index(entry, v, slot))
    return found


def _native_index(entry: Mapping[str, Any], v: VectorField, slot: Slot) -> IndexPlan:
    method, opclass, name = entry.get("method"), str(entry.get("opclass")), entry.get("name")
    metric = METRICS.get(opclass, "")
    if method not in INDEX_METHODS or not metric or VECTOR_TYPES[slot.vector].opclass(metric) != opclass:
        raise _refused(v, f"an index by {method!r} with the operator class {opclass!r}")
    obstacle = _obstacle(slot, method, metric)
    options = entry.get("options", [])
    name = name if isinstance(name, str) else ""
    if name:
        sql.check_name(name)
    if obstacle or not isinstance(options, list):
        raise _refused(v, obstacle or f"the options {options!r}")
    numbers = {}
    for option in options:
        match = _OPTION.fullmatch(option) if isinstance(option, str) else None
        word, number = (match.group(1), int(match.group(2))) if match else ("", 0)
        if word not in OF_METHOD[method] or not PARAMETERS[word].holds(number):
            raise _refused(v, f"the option {option!r}")
        numbers[word] = number
    return IndexPlan(method, slot.column, opclass, numbers, wanted=name)


def _refused(v: VectorField, what: str) -> NotRepresentable:
    return NotRepresentable(
        f"vector {v.name!r}: the dump's index cannot be rebuilt: {what}",
        why="an index is made from a method, an operator class and numbers that pgvector knows, from nothing else",
        safe="nothing was written",
        next="choose one yourself: --set index=hnsw or --set index=none",
    )


def create_index(quoted: str, name: str, index: IndexPlan, extension: Extension) -> str:
    """The statement that builds the vector index."""
    options = ", ".join(f"{key} = {value}" for key, value in index.options.items())
    return (
        f"CREATE INDEX {sql.quote(name)} ON {quoted} USING {index.method}"
        f" ({sql.quote(index.column)} {extension.name(index.opclass)})" + (f" WITH ({options})" if options else "")
    )


def build_index(connection: Connection, table: Table, index: IndexPlan, extension: Extension) -> None:
    """Build a vector index unless the table has it."""
    for found in table.indexes:
        same = (found.method, found.column, found.opclass) == (index.method, index.column, index.opclass)
        if same and found.valid and not found.partial:
            return
    if index.memory:
        connection.execute(f"SET LOCAL maintenance_work_mem = {sql.literal(index.memory)}".encode())
    run(connection, create_index(table.quoted, _free_name(connection, table, index), index, extension))


def _free_name(connection: Connection, table: Table, index: IndexPlan) -> str:
    """The name that the index had, or else one made of table and column, that nothing in the schema has."""
    taken = (
        "SELECT 1 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname = $1::text AND c.relname = $2::text"
    )
    names = [index.name(table.name), *(index.name(f"{table.name}_{n}") for n in range(2, 1000))]
    if index.wanted:
        names.insert(0, index.wanted)
    free = (name for name in names if not run(connection, taken, [table.schema, name]).fetchall())
    return next(free, names[-1])
