"""PostgreSQL with pgvector: any table with a vector column as a source, a new or existing table as a target."""

from __future__ import annotations

from ...errors import UsageError
from ..address import Place
from ..contract import CollectionSummary, Connector, Selection
from .info import INFO
from .read import PostgresSource
from .write import PostgresTarget

__all__ = ["PostgresConnector", "PostgresSource", "PostgresTarget"]


class PostgresConnector(Connector):
    """See the module."""

    info = INFO
    source = PostgresSource
    target = PostgresTarget

    def collections(self, place: Place) -> list[CollectionSummary]:
        """List the tables, views and partitioned tables that have a vector column."""
        from .catalog import list_tables
        from .client import READ, begin, connect
        from .failures import translated

        with translated(place.text, place.password), connect(place) as connection:
            begin(connection, READ)
            found = list_tables(connection, place.option("schema"))
        return [CollectionSummary(name, None, detail) for name, detail in found]

    def beside(self, place: Place, collection: str, suffix: str) -> str:
        """See ``Connector.beside``; the suffix goes into the quotes of a quoted name."""
        from . import sql

        if place.option("schema"):
            sql.check_name(collection + suffix)
            return collection + suffix
        schema, table = sql.split_name(collection)
        sql.check_name(table + suffix)
        return sql.join_name(schema, table + suffix)

    def open_source(self, place: Place, collection: str, selection: Selection) -> PostgresSource:
        """See ``Connector.open_source``."""
        _check_name(collection)
        return PostgresSource(place, collection, selection)

    def open_target(self, place: Place, collection: str) -> PostgresTarget:
        """See ``Connector.open_target``."""
        _check_name(collection)
        return PostgresTarget(place, collection)


def _check_name(collection: str) -> None:
    if not collection:
        raise UsageError("no table is named", next="-c table or -c schema.table")
    if "\0" in collection:
        raise UsageError(f"the table name {collection!r}", why="no name in Postgres holds U+0000")
