"""Records as they were read, value by value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from ..model.collection import Collection, VectorField

Key = tuple[str, str]


@dataclass(frozen=True)
class Seen:
    """A record as it was read: document, metadata text, and vectors as NumPy data by name."""

    key: Key
    document: str | None
    metadata: str
    vectors: Mapping[str, Any]


def seen(batch: pa.RecordBatch, collection: Collection) -> list[Seen]:
    """The records of a page."""
    columns = collection.columns()
    rows = zip(*(batch.column(c).to_pylist() for c in ("namespace", "id", "document", "metadata")), strict=True)
    vectors = {v.name: _values(batch.column(columns[v.name]), v) for v in collection.vectors}
    return [
        Seen((str(ns), str(i)), None if doc is None else str(doc), str(md), {n: c[row] for n, c in vectors.items()})
        for row, (ns, i, doc, md) in enumerate(rows)
    ]


def _values(column: Any, field: VectorField) -> list[Any]:
    out: list[Any] = []
    for scalar in column:
        if not scalar.is_valid:
            out.append(None)
        elif field.kind == "dense":
            out.append(scalar.values.to_numpy(zero_copy_only=False))
        elif field.kind == "sparse":
            out.append(tuple(scalar[n].values.to_numpy(zero_copy_only=False) for n in ("indices", "values")))
        elif field.kind == "multi":
            flat = scalar.values.flatten().to_numpy(zero_copy_only=False)
            out.append(flat.reshape(len(scalar.values), field.dim or 0))
        else:
            out.append(scalar.as_py())
    return out
