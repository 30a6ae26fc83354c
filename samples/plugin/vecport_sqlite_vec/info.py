"""What the connector is called, and how its sessions are opened."""

from vecport.connectors.address import Place
from vecport.connectors.contract import CollectionSummary, Connector, ConnectorInfo, Option
from vecport.connectors.kit.places import begins_with

from . import client, schema
from .read import SqliteVecSource
from .write import SqliteVecTarget


class SqliteVecConnector(Connector):
    """A SQLite file is a place, its vec0 tables are the collections."""

    info = ConnectorInfo(
        name="sqlite-vec",
        title=client.TITLE,
        schemes=("sqlite-vec",),
        extra="",
        modules=("apsw", "sqlite_vec"),
        install="pip install apsw sqlite-vec",
        example="sqlite-vec:./notes.db",
        options=(
            Option("document", "The text column that holds the document.", "document"),
            Option("metadata", "The text column that holds metadata as a JSON object.", "metadata"),
        ),
        takes_host=False,
        where="an SQL condition over the table's columns, as genre = 'travel'",
    )
    source, target = SqliteVecSource, SqliteVecTarget

    def collections(self, place: Place) -> list[CollectionSummary]:
        with client.handle(lambda: place.path, place.text).once() as db:
            tables = [schema.read(db, name, place) for name in schema.bodies(db)]
            return [CollectionSummary(t.collection.name, schema.described(t).count) for t in tables]

    def recognises(self, path: str) -> bool:
        if not begins_with(path, b"SQLite format 3\0"):
            return False
        with client.handle(lambda: path, path).once() as db:
            return bool(schema.bodies(db))
