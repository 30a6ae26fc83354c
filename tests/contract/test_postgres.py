"""The contract suite over a real PostgreSQL with pgvector.

``VECPORT_TEST_POSTGRES=postgresql://me@host/db`` runs it against a live server.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import pytest

from vecport.connectors.address import Place, parse, with_options
from vecport.connectors.postgres import PostgresConnector
from vecport.connectors.postgres.sql import join_name
from vecport.model.collection import Collection, Field
from vecport.testing.contract import Bench, ConnectorContract, Record, engine_missing
from vecport.testing.engines import EngineError, PostgresEngine
from vecport.testing.hands import Hands
from vecport.testing.hands.postgres import PostgresHands, connect


class TestPostgres(ConnectorContract):
    connector = PostgresConnector()

    @pytest.fixture(scope="class")
    def place(self) -> Iterator[Place]:
        live = os.environ.get("VECPORT_TEST_POSTGRES")
        if live:
            yield parse(live, allow_password=True)
            return
        try:
            engine = PostgresEngine(fsync=False).start()
        except EngineError as e:
            engine_missing(str(e))
        with engine:
            yield parse(engine.address)

    def key_fields(self) -> tuple[Field, ...]:
        return (Field("part", "text", nullable=False), Field("number", "int8", nullable=False))

    def spelled(self, name: str) -> str:
        return join_name(None, name)

    def hands(self, place: Place, collection: Collection) -> Hands:
        return PostgresHands(place, collection)

    def where(self, bench: Bench) -> tuple[str, Callable[[Record], bool]]:
        return "(metadata->>'even')::boolean", lambda record: record.metadata["even"] is True

    foreign: ClassVar[set[str]] = set()

    def reading_place(self, place: Place, collection: Collection | None) -> Place:
        foreign = collection is not None and collection.name in self.foreign
        return with_options(place, {"document-column": "document"}) if foreign else place

    def native_put(self, place: Place, collection: Collection, records: Sequence[Record]) -> None:
        """A table as an application makes it: a column for every key of metadata."""
        self.foreign.add(collection.name)
        vector = collection.vectors[0]
        ids = {"int": "bigint", "uuid": "uuid"}.get(collection.id_kind, "text")
        with connect(place) as connection:
            connection.execute(
                f"CREATE TABLE {collection.name} (id {ids} PRIMARY KEY, {vector.name} vector({vector.dim}),"
                " document text, text text, number int8, even bool, price float8, tags text[])"
            )
            columns = ("text", "number", "even", "price", "tags")
            for r in records:
                m: Any = r.metadata
                connection.execute(
                    f"INSERT INTO {collection.name} VALUES (%s, %s::real[]::vector, %s, %s, %s, %s, %s, %s)",
                    [r.id, np.asarray(r.vectors[vector.name]).tolist(), r.document, *(m[c] for c in columns)],
                )

    def native_get(self, place: Place, collection: Collection) -> list[Record]:
        vector = collection.vectors[0].name
        with connect(place) as connection:
            rows = connection.execute(
                f"SELECT id::text, {vector}::real[], metadata, document FROM {collection.name}"
            ).fetchall()
        return [Record(i, {vector: np.array(v, np.float32)}, m or {}, d) for i, v, m, d in rows]
