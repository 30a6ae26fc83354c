"""Searching a table by the operators of pgvector, and the statement that shows a user how."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from ...errors import UsageError
from ...model import canonical
from ..contract import Hit
from . import sql
from .client import run
from .layout import Layout, Slot
from .pages import expressions
from .schema import Found
from .vectors import OPERATORS, VECTOR_TYPES

if TYPE_CHECKING:
    from .client import Connection

_MAX_EF_SEARCH: Final = 1_000


def nearest(connection: Connection, found: Found, vector: str, query: npt.NDArray[np.float32], k: int) -> list[Hit]:
    """The records nearest to a query; the score is the operator's value.

    An index of pgvector answers with at most ``ef_search`` or ``probes`` candidates, so both are raised to suit k.

    Args:
        connection: in a transaction.
        found: the table.
        vector: name of the vector field.
        query: (dim,).
        k: hits at most.

    Raises:
        UsageError: the table has no such vector, or its metric is not known.
    """
    slot = next((slot for slot in found.layout.of("vector") if slot.name == vector), None)
    if slot is None or found.extension is None:
        raise UsageError(f"the table {found.table.shown} has no vector {vector!r}")
    metric = found.collection.vector(vector).metric
    if metric not in VECTOR_TYPES[slot.vector].metrics:
        raise UsageError(
            f"the metric of {found.table.shown} is not known",
            why="no index of the table says it",
            next="choose one at the import: --set metric=cosine",
        )
    operator = found.extension.operator(OPERATORS[metric][1])
    kind = "bit varying" if slot.vector == "bit" else found.extension.name(slot.vector)
    distance = f"{sql.quote(slot.column)} {operator} $1::text::{kind}"
    keys = ", ".join(expressions(key)[0] for key in found.layout.keys)
    statement = f"SELECT {distance}, {keys} FROM {found.table.rows} ORDER BY {distance} LIMIT $2"
    _widen(connection, found, slot.column, k)
    rows = run(connection, statement, [_spelled(slot, query), k]).fetchall()
    return [Hit(_id(found.layout, row[1:]), float(row[0])) for row in rows if row[0] is not None]


def example(found: Found) -> str:
    """A search in SQL with the operator of the metric, by the first vector that has one; ``""`` where none has."""
    known = {v.name: v.metric for v in found.collection.vectors}
    slot = next((s for s in found.layout.of("vector") if known[s.name] in VECTOR_TYPES[s.vector].metrics), None)
    if slot is None or found.extension is None:
        return ""
    keys = ", ".join(sql.quote(key.column) for key in found.layout.keys)
    plain = found.extension.schema in ("public", found.table.schema)
    operator = OPERATORS[known[slot.name]][1]
    operator = operator if plain else found.extension.operator(operator)
    shown = {"bit": "B'...'", "sparsevec": f"'{{...}}/{slot.dim}'"}.get(slot.vector, "'[...]'")
    distance = f"{sql.quote(slot.column)} {operator} {shown}"
    return f"SELECT {keys}, {distance} AS distance FROM {found.table.quoted} ORDER BY {distance} LIMIT 10;"


def _widen(connection: Connection, found: Found, column: str, k: int) -> None:
    """Make the indexes look at enough candidates for k results: they answer with fewer otherwise, without a word."""
    assert found.extension is not None
    lists = [
        int(option.removeprefix("lists="))
        for index in found.table.indexes
        if index.column == column and index.method == "ivfflat"
        for option in index.options or ("lists=100",)
    ]
    connection.execute(f"SET LOCAL hnsw.ef_search = {min(_MAX_EF_SEARCH, max(100, 2 * k))}")
    connection.execute(f"SET LOCAL ivfflat.probes = {math.isqrt(max(lists, default=1)) + 1}")
    if tuple(map(int, found.extension.version.split(".")[:2])) >= (0, 8):
        connection.execute("SET LOCAL hnsw.iterative_scan = strict_order")
        connection.execute("SET LOCAL ivfflat.iterative_scan = relaxed_order")


def _spelled(slot: Slot, query: npt.NDArray[np.float32]) -> str:
    """A query as the text of the column's type: bits are what is above zero."""
    if slot.vector == "bit":
        return "".join("1" if x > 0 else "0" for x in query.tolist())
    if slot.vector == "sparsevec":
        entries = ",".join(f"{i + 1}:{float(query[i])!r}" for i in np.flatnonzero(query).tolist())
        return f"{{{entries}}}/{slot.dim}"
    return "[" + ",".join(map(repr, np.asarray(query, np.float64).tolist())) + "]"


def _id(layout: Layout, values: Sequence[Any]) -> str:
    """The id of a search result, from its key columns as the client gives them."""
    plain = [value if isinstance(value, bool | int | str) else str(value) for value in values]
    if not layout.flat:
        return canonical.dumps(plain)
    return canonical.dumps(plain[0]) if isinstance(plain[0], bool) else str(plain[0])
