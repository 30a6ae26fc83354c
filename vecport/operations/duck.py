"""DuckDB over key columns: locked down, bounded in memory, fed with Arrow only."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any

import duckdb
import pyarrow as pa

from ..errors import VecportError

DEFAULT_MEMORY_BYTES = 512 << 20


class Duck:
    """A DuckDB session that sees nothing but the Arrow data it is given.

    Args:
        memory_bytes: DuckDB's memory limit; above it, it spills to a temporary folder.
    """

    def __init__(self, memory_bytes: int = DEFAULT_MEMORY_BYTES) -> None:
        self._folder = tempfile.mkdtemp(prefix="vecport-duck-")
        self.connection: Any = duckdb.connect(":memory:")
        for setting in (
            f"SET memory_limit='{max(memory_bytes, 128 << 20)}B'",
            f"SET threads={os.cpu_count() or 1}",
            f"SET temp_directory='{self._folder}'",
            "SET autoinstall_known_extensions=false",
            "SET autoload_known_extensions=false",
            "SET preserve_insertion_order=false",
            "SET enable_progress_bar=false",
            "SET enable_external_access=false",
            "SET lock_configuration=true",
        ):
            self.connection.execute(setting)

    def load(self, table: str, schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> None:
        """Stream batches into a new table of this name (a constant of our own code, never a name from data)."""
        failures: list[VecportError] = []

        def kept() -> Iterator[pa.RecordBatch]:
            try:
                yield from batches
            except VecportError as e:
                # DuckDB would show its own error in place of ours.
                failures.append(e)

        self.connection.register("incoming", pa.RecordBatchReader.from_batches(schema, kept()))
        self.connection.execute(f"CREATE TABLE {table} AS SELECT * FROM incoming")
        self.connection.unregister("incoming")
        if failures:
            raise failures[0]

    def rows(self, query: str, parameters: list[Any] | None = None) -> list[tuple[Any, ...]]:
        """Run a query and return its rows."""
        return list(self.connection.execute(query, parameters or []).fetchall())

    def batches(self, query: str, rows: int = 65_536) -> Iterator[pa.RecordBatch]:
        """Run a query and stream its result."""
        yield from self.connection.sql(query).to_arrow_reader(rows)

    def close(self) -> None:
        """Release memory and the temporary folder."""
        self.connection.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Duck:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
