"""What the connector is called, and how its sessions are opened."""

from __future__ import annotations

from typing import ClassVar

from vecport.connectors.address import Place
from vecport.connectors.contract import CollectionSummary, Connector, ConnectorInfo, Option, Selection, Source, Target

from . import client, schema
from .read import SqliteVecSource
from .write import SqliteVecTarget


class SqliteVecConnector(Connector):
    """A SQLite file is a place, its vec0 tables are the collections."""

    info: ClassVar[ConnectorInfo] = ConnectorInfo(
        name="sqlite-vec",
        title=client.TITLE,
        schemes=("sqlite-vec",),
        extra="",
        modules=("apsw", "sqlite_vec"),
        install="pip install vecport-sqlite-vec",
        example="sqlite-vec:./notes.db",
        options=(
            Option("document", "The text column that holds the document.", "document"),
            Option("metadata", "The text column that holds metadata as a JSON object.", "metadata"),
        ),
        where="an SQL condition over the table's columns, as genre = 'travel'",
    )
    source: ClassVar[type[Source] | None] = SqliteVecSource
    target: ClassVar[type[Target] | None] = SqliteVecTarget

    def collections(self, place: Place) -> list[CollectionSummary]:
        with client.session(place.path, place.text) as db:
            tables = [schema.read(db, name, place) for name in schema.names(db)]
            return [CollectionSummary(table.name, table.count(db)) for table in tables]

    def open_source(self, place: Place, collection: str, selection: Selection) -> Source:
        return SqliteVecSource(place, collection, selection)

    def open_target(self, place: Place, collection: str) -> Target:
        return SqliteVecTarget(place, collection)

    def recognises(self, path: str) -> bool:
        if not client.is_sqlite(path):
            return False
        with client.session(path, path) as db:
            return bool(schema.names(db))
