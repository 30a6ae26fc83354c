"""Hands on a table of PostgreSQL with pgvector, with psycopg."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from ...connectors.address import Place
from ...model.collection import VectorField
from ..records import Record, Sparse, Vector
from . import Hands


class PostgresHands(Hands):
    """Plain statements over a table that vecport made: id, document, metadata, and a column for each vector."""

    def read(self, id: str) -> Record:
        vectors = "".join(f', "{v.name}"::text' for v in self.collection.vectors)
        with connect(self.place) as connection:
            document = "document" if self._has_document(connection) else "NULL"
            statement = f'SELECT {document}, metadata{vectors} FROM "{self.collection.name}" WHERE id::text = %s'
            found = connection.execute(statement, [id]).fetchone()
        values = zip(found[2:], self.collection.vectors, strict=True)
        return Record(id, {v.name: _read(text, v) for text, v in values}, found[1] or {}, found[0])

    def write(self, record: Record) -> None:
        columns: dict[str, Any] = {"id": record.id, "metadata": json.dumps(dict(record.metadata))}
        with connect(self.place) as connection:
            for v in self.collection.vectors:
                columns[v.name] = _spelled(record.vectors.get(v.name), v, self._size(connection, v))
            if self._has_document(connection):
                columns["document"] = record.document
            names = ", ".join(f'"{name}"' for name in columns)
            marks = ", ".join(["%s"] * len(columns))
            connection.execute(f'DELETE FROM "{self.collection.name}" WHERE id::text = %s', [record.id])
            connection.execute(
                f'INSERT INTO "{self.collection.name}" ({names}) VALUES ({marks})', list(columns.values())
            )

    def delete(self, id: str) -> None:
        with connect(self.place) as connection:
            connection.execute(f'DELETE FROM "{self.collection.name}" WHERE id::text = %s', [id])

    def _size(self, connection: Any, field: VectorField) -> int:
        """How many dimensions a column is declared with."""
        statement = "SELECT atttypmod FROM pg_attribute WHERE attrelid = %s::regclass AND attname = %s"
        return int(connection.execute(statement, [f'"{self.collection.name}"', field.name]).fetchone()[0])

    def _has_document(self, connection: Any) -> bool:
        statement = (
            "SELECT 1 FROM pg_attribute WHERE attrelid = %s::regclass AND attname = 'document' AND NOT attisdropped"
        )
        return connection.execute(statement, [f'"{self.collection.name}"']).fetchone() is not None


def connect(place: Place) -> Any:
    """The official client on a place."""
    import psycopg

    password = place.password.reveal() if place.password else None
    return psycopg.connect(
        host=place.host, port=place.port, user=place.user, dbname=place.path, password=password, autocommit=True
    )


def _read(text: str | None, field: VectorField) -> Vector:
    if text is None:
        return None
    if field.kind == "sparse":
        pairs = [pair.split(":") for pair in text[1 : text.index("}")].split(",") if pair]
        return Sparse(tuple(int(i) - 1 for i, _ in pairs), tuple(float(x) for _, x in pairs))
    if field.kind == "binary":
        return np.array([int(bit) for bit in text], np.uint8)
    return np.array(json.loads(text), np.float32)


def _spelled(value: Any, field: VectorField, size: int) -> str | None:
    if value is None:
        return None
    if field.kind == "sparse":
        pairs = ",".join(f"{i + 1}:{_shortest(x)}" for i, x in zip(value.indices, value.values, strict=True))
        return f"{{{pairs}}}/{size}"
    if field.kind == "binary":
        return "".join(map(str, value))
    return "[" + ",".join(map(_shortest, value)) + "]"


def _shortest(x: Any) -> str:
    return str(np.float32(x))
