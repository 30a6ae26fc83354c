"""A profile that a dump's manifest states against one that was counted from its records."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from .batch import dense_matrix
from .capabilities import VALUE_KINDS
from .collection import VectorField
from .profile import MAX_KEYS, UNIT_TOLERANCE, Profile


def difference(said: Profile, found: Profile) -> str | None:
    """The first member of a stated profile that is not so, as ``NAME is A, the records have B``; None when all are.

    What is not stated is not compared. How many vectors are of length one is left out: it hangs on the order in which
    a processor adds up; see ``possible_units``.

    Args:
        said: of the manifest.
        found: of the same records, in the same order.
    """
    for name, stated, counted in _members(said, found):
        if stated != counted:
            return f"{name} is {stated!r}, the records have {counted!r}"
    return None


def _members(said: Profile, found: Profile) -> Iterator[tuple[str, Any, Any]]:
    for stat, value in said.ids.items():
        yield f"ids.{stat}", value, found.ids.get(stat)
    for stat, value in said.documents.items():
        yield f"documents.{stat}", value, found.documents.get(stat, 0)
    for name, stats in said.vectors.items():
        for stat, value in stats.items() if name in found.vectors else ():
            if stat != "unit":
                yield f"vectors.{name or 'vector'}.{stat}", value, found.vectors[name].get(stat, 0)
    if "namespaces" not in said.unsaid:
        stated = {ns: n for ns, n in said.namespaces.items() if n}
        for ns in sorted(stated.keys() | found.namespaces.keys()):
            yield f"namespaces.{ns!r}", stated.get(ns, 0), found.namespaces.get(ns, 0)
    if "metadata" not in said.unsaid:
        yield from _metadata(said, found)


def _metadata(said: Profile, found: Profile) -> Iterator[tuple[str, Any, Any]]:
    if found.keys_dropped:
        # Which keys are beyond the bound depends on the order of the records.
        yield "metadata", len(said.metadata) >= MAX_KEYS, True
        keys = said.metadata.keys() & found.metadata.keys()
    else:
        yield "keys_dropped", said.keys_dropped, 0
        keys = said.metadata.keys() | found.metadata.keys()
    for key in sorted(keys):
        stated, counted = said.metadata.get(key, {}), found.metadata.get(key, {})
        for kind in sorted((stated.keys() & set(VALUE_KINDS)) | counted.keys()):
            yield from _stats(f"metadata.{key!r}.{kind}", stated.get(kind, {}), counted.get(kind, {}))


def _stats(name: str, said: Mapping[str, Any], found: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    yield f"{name}.count", said.get("count", 0), found.get("count", 0)
    for stat, value in said.items():
        if stat != "count" and found:
            yield f"{name}.{stat}", value, found.get(stat)


def possible_units(column: pa.Array, field: VectorField) -> tuple[int, int]:
    """How many vectors surely are of length one, and how many may be, whatever the order of adding up.

    Args:
        column: of a dense vector field.
        field: that field.
    """
    matrix, _ = dense_matrix(column, field)
    exact = np.einsum("ij,ij->i", matrix, matrix, dtype=np.float64)
    fast = np.einsum("ij,ij->i", matrix, matrix, dtype=np.float64 if matrix.itemsize == 8 else np.float32)
    with np.errstate(invalid="ignore", over="ignore"):
        off = np.abs(exact - 1.0)
        near = off <= 0.5
        error = 2 * float(np.abs(fast[near] - exact[near]).max(initial=0.0))
    return int((off <= UNIT_TOLERANCE - error).sum()), int((off <= UNIT_TOLERANCE + error).sum())
