"""The contract suite over a real PostgreSQL with pgvector.

``VECPORT_TEST_POSTGRES=postgresql://me@host/db`` runs it against a live server.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pgvector.psycopg
import pytest
from psycopg import sql
from test_postgres_support import connect, server_place

from vecport.connectors.address import Place, with_options
from vecport.connectors.postgres import PostgresConnector
from vecport.model.collection import Collection, Field
from vecport.testing.contract import Bench, ConnectorContract, Record


class TestPostgres(ConnectorContract):
    connector = PostgresConnector()

    @pytest.fixture(scope="class")
    def place(self) -> Place:
        return server_place()

    def key_fields(self) -> tuple[Field, ...]:
        return (Field("part", "text", nullable=False), Field("number", "int8", nullable=False))

    def where(self, bench: Bench) -> tuple[str, Callable[[Record], bool]]:
        return "(metadata->>'even')::boolean -- a comment", lambda record: record.metadata["even"] is True

    def reading_place(self, place: Place, collection: Collection | None) -> Place:
        """A table of an application's own does not say which column is the document."""
        if collection is None:
            return place
        with connect() as connection:
            found: Any = connection.execute("SELECT obj_description(to_regclass(%s))", [f'"{collection.name}"'])
            comment = found.fetchone()[0]
        return place if comment else with_options(place, {"document-column": "document"})

    def native_put(self, place: Place, collection: Collection, records: Sequence[Record]) -> None:
        """A table as an application makes it: typed columns, no comment, filled through pgvector's own client."""
        table, vector = sql.Identifier(collection.name), collection.vectors[0]
        create = sql.SQL(
            "CREATE TABLE {} (id text PRIMARY KEY, {} vector({}), document text,"
            " text text, number int8, even bool, price float8, tags text[])"
        )
        with connect(autocommit=True) as connection:
            pgvector.psycopg.register_vector(connection)
            connection.execute(create.format(table, sql.Identifier(vector.name), sql.Literal(vector.dim)))
            for record in records:
                metadata = [record.metadata[key] for key in ("text", "number", "even", "price", "tags")]
                connection.execute(
                    sql.SQL("INSERT INTO {} VALUES (%s, %s, %s, %s, %s, %s, %s, %s)").format(table),
                    [record.id, record.vectors[vector.name], record.document, *metadata],
                )

    def native_get(self, place: Place, collection: Collection) -> list[Record]:
        vector = collection.vectors[0].name
        with connect() as connection:
            pgvector.psycopg.register_vector(connection)
            rows = connection.execute(
                sql.SQL("SELECT id, {}, document, metadata FROM {}").format(
                    sql.Identifier(vector), sql.Identifier(collection.name)
                )
            ).fetchall()
        return [Record(i, {vector: np.asarray(v.to_numpy(), np.float32)}, m, d) for i, v, d, m in rows]
