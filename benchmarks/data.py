"""The rows that the benchmarks move: clustered unit vectors and eight metadata fields, made in blocks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from vecport.model.batch import dense_array, make_page
from vecport.model.collection import Collection, VectorField
from vecport.model.json_columns import object_column

BLOCK = 10_000
WORDS = np.array(
    [
        *("amber", "basin", "cedar", "delta", "ember", "fjord", "grove", "harbor"),
        *("island", "jungle", "karst", "lagoon", "meadow", "north", "ocean", "prairie"),
    ]
)


def collection(dim: int, metric: str) -> Collection:
    """The schema of the benchmark collection."""
    return Collection("bench", "string", (VectorField("", dim=dim, metric=metric, nullable=False),))


def block(number: int, rows: int, dim: int) -> dict[str, Any]:
    """One block of rows as columns; equal arguments give equal rows.

    Returns:
        ``ids``, ``vectors`` (rows, dim) float32 unit vectors, and the eight fields as Arrow arrays.
    """
    rng = np.random.default_rng(number)
    centers = np.random.default_rng(7).standard_normal((256, dim), dtype=np.float32)
    vectors = centers[rng.integers(0, 256, rows)] + 0.6 * rng.standard_normal((rows, dim), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    first = number * BLOCK
    word = WORDS[rng.integers(0, len(WORDS), (rows, 10))]
    numbers = np.arange(first, first + rows)
    fields = {
        "title": pa.array([" ".join(w[:4]) for w in word]),
        "text": pa.array([" ".join(w) for w in word]),
        "category": pa.array(word[:, 0].tolist()),
        "year": pa.array(rng.integers(1990, 2027, rows)),
        "views": pa.array(rng.integers(0, 1 << 40, rows)),
        "active": pa.array(rng.integers(0, 2, rows).astype(bool)),
        "url": pa.array([f"https://example.org/{n:x}" for n in numbers]),
        "lang": pa.array(WORDS[rng.integers(0, 4, rows)].tolist()),
    }
    return {"ids": [f"doc-{n:08d}" for n in numbers], "vectors": vectors, "fields": fields}


def blocks(rows: int, dim: int) -> Iterator[dict[str, Any]]:
    """All blocks of a collection of this size."""
    for number in range(-(-rows // BLOCK)):
        yield block(number, min(BLOCK, rows - number * BLOCK), dim)


def page(c: Collection, b: dict[str, Any]) -> pa.RecordBatch:
    """A block as a page of the canonical model."""
    fields = b["fields"]
    metadata = object_column(list(fields), list(fields.values()))
    return make_page(c, ids=b["ids"], metadata=metadata, vectors={"": dense_array(b["vectors"], c.vectors[0])})
