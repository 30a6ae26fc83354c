"""Row groups into a table: pages encoded slice by slice and sent by COPY, directly or by way of a temporary table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ...errors import NotRepresentable
from ...model.batch import dense_matrix
from ...model.collection import Collection
from ..address import Place
from . import spelled, sql, wire
from .arrow import Array, Batch, pa, pc
from .catalog import Table
from .connect import READ, begin, connect, run
from .layout import Layout
from .types import ColumnType
from .values import Cast, jsonb_field, key_fields, metadata_fields

if TYPE_CHECKING:
    from .connect import Connection

#: Rows and bytes that are encoded at once at most; they bound memory.
ROWS_AT_ONCE: Final = 8_192
_BYTES_AT_ONCE: Final = 4 << 20
_STAGE: Final = "_vecport_stage"


class Loader:
    """Writes pages to one table, within a transaction of the caller's.

    Args:
        connection: in the transaction.
        layout: of the table.
        collection: of the pages.
        cast: see ``values.Cast``; it must not use ``connection``.
    """

    def __init__(self, connection: Connection, layout: Layout, collection: Collection, cast: Cast) -> None:
        self._connection = connection
        self._cast = cast
        self._layout = layout
        self._collection = collection
        self._columns = ", ".join(sql.quote(slot.column) for slot in layout.slots)

    def insert(self, table: Table, batch: Batch) -> None:
        """Add the records of a page to a table that has none of them."""
        self._copy(table.quoted, batch)

    def upsert(self, table: Table, batch: Batch) -> None:
        """Add the records of a page, replacing those with the same key as a whole."""
        stage = sql.qualified("pg_temp", _STAGE)
        run(
            self._connection,
            f"CREATE TEMP TABLE {sql.quote(_STAGE)} ON COMMIT DROP AS"
            f" SELECT {self._columns} FROM ONLY {table.quoted} WITH NO DATA",
        )
        self._copy(stage, batch)
        keys = ", ".join(sql.quote(slot.column) for slot in self._layout.keys)
        others = [sql.quote(slot.column) for slot in self._layout.slots if slot.role != "key"]
        action = "UPDATE SET " + ", ".join(f"{name} = EXCLUDED.{name}" for name in others) if others else "NOTHING"
        run(
            self._connection,
            f"INSERT INTO {table.quoted} ({self._columns}) OVERRIDING SYSTEM VALUE SELECT {self._columns} FROM {stage}"
            f" ON CONFLICT ({keys}) DO {action}",
        )

    def _copy(self, quoted: str, batch: Batch) -> None:
        """Send a page by one COPY; while the server works on a slice, the next one is encoded."""
        statement = f"COPY {quoted} ({self._columns}) FROM STDIN (FORMAT BINARY)"
        row_bytes = max(1, batch.nbytes // max(1, batch.num_rows))
        step = max(1, min(ROWS_AT_ONCE, _BYTES_AT_ONCE // row_bytes))
        with self._connection.cursor() as cursor, cursor.copy(statement) as copy:
            copy.write(wire.SIGNATURE)
            for start in range(0, batch.num_rows, step):
                copy.write(wire.rows(self.encode(batch.slice(start, step))))
            copy.write(wire.TRAILER)

    def encode(self, batch: Batch) -> list[wire.Pieces]:
        """Encode a page as the columns of the table, in their order."""
        layout = self._layout
        metadata = batch.column("metadata")
        keys = iter(key_fields(layout.keys, layout.flat, batch.column("id"), self._cast))
        typed = layout.one("metadata") is None
        fields = iter(metadata_fields(layout.of("field"), metadata, self._cast) if typed else [])
        out: list[wire.Pieces] = []
        for slot in layout.slots:
            if slot.role == "key":
                out.append(next(keys))
            elif slot.role == "field":
                out.append(next(fields))
            elif slot.role == "vector":
                column = batch.column(self._collection.columns()[slot.name])
                matrix, valid = dense_matrix(column, self._collection.vector(slot.name))
                out.append(wire.vector(matrix, valid))
            elif slot.role == "document":
                out.append(wire.variable(batch.column("document")))
            else:
                out.append(jsonb_field(slot, metadata))
        if layout.one("document") is None and batch.column("document").null_count < batch.num_rows:
            raise NotRepresentable("documents, for which the table has no column", safe="the row group was not written")
        return out


class Caster:
    """Turns texts into the binary form of a type: by columnar code where the text is plain, else by the server.

    A connection is deaf during a COPY, so this one is another, opened when the first value needs it.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        self._connection: Connection | None = None

    def cast(self, kind: ColumnType, texts: Array) -> Array:
        """Cast a column.

        Args:
            kind: the type with its arguments.
            texts: (n,) strings in Postgres' own spelling, null for NULL.
        Returns:
            (n,) binaries, null for NULL.
        Raises:
            NotRepresentable: the type would hold another value, which is seen by its text.
        """
        done = spelled.plain(kind, texts)
        if not done.any():
            return self._ask(kind, texts)
        mask = pa.array(done)
        values = spelled.binary(kind, texts.filter(mask))
        if values is None:
            return self._ask(kind, texts)
        return values if done.all() else _interleave(done, values, self._ask(kind, texts.filter(pc.invert(mask))))

    def _ask(self, kind: ColumnType, texts: Array) -> Array:
        if texts.null_count == len(texts):
            return texts.cast(pa.binary())
        if self._connection is None or self._connection.closed:
            self._connection = connect(self._place)
        begin(self._connection, READ)
        try:
            return ask(self._connection, kind, texts)
        finally:
            if not self._connection.closed:
                self._connection.execute("ROLLBACK")

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def ask(connection: Connection, kind: ColumnType, texts: Array) -> Array:
    """Have the server turn texts into the binary form of a type.

    Args:
        connection: in a transaction under the settings of ``connect``.
        kind: the type with its arguments.
        texts: (n,) strings in Postgres' own spelling, null for NULL.
    Returns:
        (n,) binaries, null for NULL.
    Raises:
        NotRepresentable: the type would hold another value, which is seen by its text.
    """
    send = "array_send" if kind.array else f"{kind.base.name}_send"
    cursor = connection.cursor(binary=True)
    rows: list[Any] = cursor.execute(
        f"SELECT pg_catalog.{send}(v::{kind.sql}), (v::{kind.sql})::text = v"
        " FROM unnest(%s::text[]) WITH ORDINALITY AS u(v, i) ORDER BY i",
        [texts.to_pylist()],
    ).fetchall()
    for row, text in zip(rows, texts.to_pylist(), strict=True):
        if row[1] is False:
            raise NotRepresentable(
                f"the value {text!r} of type {kind.name}",
                why="Postgres would store it as another one, or spells it otherwise",
                safe="the row group was not written",
            )
    return pa.array([row[0] for row in rows], pa.binary())


def _interleave(first: Any, values: Array, others: Array) -> Array:
    """Put two columns together: ``values`` in the rows where ``first`` is true, ``others`` in the rest."""
    place = np.empty(len(first), np.int64)
    place[first] = np.arange(len(values))
    place[~first] = len(values) + np.arange(len(others))
    return pa.concat_arrays([values, others]).take(pa.array(place))
