"""What the registry and the documentation show of Postgres."""

from __future__ import annotations

from typing import Final

from ..contract import ConnectorInfo, Option
from .settings import SETTINGS, TITLE

INFO: Final = ConnectorInfo(
    name="postgres",
    title=f"{TITLE} (pgvector)",
    schemes=("postgresql", "postgres", "pgvector", "postgresql+psycopg"),
    extra="postgres",
    modules=("psycopg", "adbc_driver_postgresql"),
    example="postgresql://me@db:5432/prod",
    options=(
        Option("schema", "The schema of the table; the collection's name is then the table's name alone."),
        Option("id-column", "Column, or columns joined by commas, that hold the id; the primary key by default."),
        Option(
            "vector-column",
            "Columns of type bit(n) that are vectors, joined by commas. In a new table, the vector's column.",
        ),
        Option("document-column", "Text column that is the document, not a field; 'document' in a new table."),
    ),
    settings=SETTINGS,
    takes_user=True,
    where="SQL: a boolean expression over the table's columns",
)
