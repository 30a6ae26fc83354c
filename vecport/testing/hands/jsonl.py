"""Hands on JSON Lines, plain and compressed: the file is changed line by line."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa

from ..records import Record, Sparse, Vector
from . import Hands


class JsonlHands(Hands):
    """A text editor that knows JSON."""

    def read(self, id: str) -> Record:
        line = self._lines()[id]
        vectors = line.get("vector")
        named = vectors if isinstance(vectors, dict) and "indices" not in vectors and "bits" not in vectors else None
        found: dict[str, Vector] = {}
        for field in self.collection.vectors:
            value = named.get(field.name) if named is not None else vectors
            found[field.name] = None if value is None else _vector(value, field.kind)
        return Record(id, found, line.get("metadata", {}), line.get("document"))

    def write(self, record: Record) -> None:
        lines = self._lines()
        vectors = {n: _spelled(v, self.collection.vector(n).kind) for n, v in record.vectors.items() if v is not None}
        line: dict[str, Any] = {"id": record.id}
        if self.collection.vectors:
            sole = len(self.collection.vectors) == 1 and not self.collection.vectors[0].name
            line["vector"] = vectors.get("") if sole else vectors
        if record.document is not None:
            line["document"] = record.document
        line["metadata"] = dict(record.metadata)
        self._save(lines | {record.id: line})

    def delete(self, id: str) -> None:
        lines = self._lines()
        del lines[id]
        self._save(lines)

    def _lines(self) -> dict[str, dict[str, Any]]:
        with pa.input_stream(self.place.path, compression="detect") as file:
            parsed = map(json.loads, file.read().splitlines())
        return {str(line["id"]): line for line in parsed}

    def _save(self, lines: dict[str, dict[str, Any]]) -> None:
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines.values())
        with pa.output_stream(self.place.path, compression="detect") as file:
            file.write(text.encode())


def _vector(value: Any, kind: str) -> Vector:
    if kind == "sparse":
        return Sparse(tuple(value["indices"]), tuple(value["values"]))
    if kind == "binary":
        return np.array([int(bit) for bit in value["bits"]], np.uint8)
    return np.array(value, np.float32)


def _spelled(value: Any, kind: str) -> Any:
    if kind == "sparse":
        return {"indices": list(value.indices), "values": [_shortest(x) for x in value.values]}
    if kind == "binary":
        return {"bits": "".join(map(str, value))}
    return [[_shortest(x) for x in row] for row in value] if kind == "multi" else [_shortest(x) for x in value]


def _shortest(x: Any) -> float:
    return float(str(np.float32(x)))
