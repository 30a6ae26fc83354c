"""Hands on a vec0 table, with SQL: what an application does to a record behind vecport's back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import apsw
import numpy as np
import sqlite_vec

from vecport.model.collection import VectorField
from vecport.testing.hands import Hands
from vecport.testing.records import Record, Vector

_MARKS = {"float32": "vec_f32(?)", "int8": "vec_int8(?)", "bit": "vec_bit(?)"}


class SqliteVecHands(Hands):
    """A table that vecport made: id, document, metadata, and a column for each vector."""

    def read(self, id: str) -> Record:
        vectors = self.collection.vectors
        columns = ", ".join(["document", "metadata", *(v.name for v in vectors)])
        with self._table() as (db, table):
            rows: list[Any] = db.execute(f"SELECT {columns} FROM {table} WHERE id = ?", [self._key(id)]).fetchall()
        ((document, metadata, *blobs),) = rows
        values = {v.name: _read(blob, v) for v, blob in zip(vectors, blobs, strict=True)}
        return Record(id, values, json.loads(metadata), document)

    def write(self, record: Record) -> None:
        vectors = self.collection.vectors
        columns = ", ".join(["id", "document", "metadata", *(v.name for v in vectors)])
        marks = ", ".join(["?", "?", "?", *(_MARKS[v.dtype] for v in vectors)])
        values = [self._key(record.id), record.document, json.dumps(dict(record.metadata))]
        values += [_blob(record.vectors[v.name], v) for v in vectors]
        self.delete(record.id)
        with self._table() as (db, table):
            db.execute(f"INSERT INTO {table} ({columns}) VALUES ({marks})", values)

    def delete(self, id: str) -> None:
        with self._table() as (db, table):
            db.execute(f"DELETE FROM {table} WHERE id = ?", [self._key(id)])

    def _key(self, id: str) -> int | str:
        return int(id) if self.collection.id_kind == "int" else id

    @contextmanager
    def _table(self) -> Iterator[tuple[apsw.Connection, str]]:
        db = apsw.Connection(self.place.path)
        try:
            db.enable_load_extension(True)
            db.load_extension(sqlite_vec.loadable_path())
            yield db, f'"{self.collection.name}"'
        finally:
            db.close()


def _read(blob: bytes, field: VectorField) -> Vector:
    if field.dtype == "bit":
        return np.unpackbits(np.frombuffer(blob, np.uint8), bitorder="little")[: field.dim]
    return np.frombuffer(blob, field.dtype)


def _blob(vector: Any, field: VectorField) -> bytes:
    if field.dtype == "bit":
        return np.packbits(vector, bitorder="little").tobytes()
    return np.ascontiguousarray(vector, field.dtype).tobytes()
