"""Row groups into a table: pages encoded slice by slice and sent by COPY, directly or by way of a temporary table."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Collection as Collection_
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ...errors import NotRepresentable, Unavailable
from ...model.collection import Collection
from ..address import Place
from ..report import UNHEARD
from . import spelled, sql, vector_wire, wire
from .arrow import Array, Batch, pa, pc
from .catalog import Table
from .client import READ, begin, connect, run
from .layout import Layout
from .types import ColumnType
from .values import Cast, jsonb_field, key_fields, metadata_fields
from .vectors import MAX_INDEXED_ENTRIES, MAX_SPARSE_ENTRIES

if TYPE_CHECKING:
    from .client import Connection
    from .conflicts import There

#: Rows and bytes that are encoded at once at most; they bound memory.
ROWS_AT_ONCE: Final = 8_192
_BYTES_AT_ONCE: Final = 4 << 20
#: How often records that are in the way, and then are not, are looked for again.
_ATTEMPTS: Final = 5
#: The temporary table through which records are merged.
STAGE: Final = "_vecport_stage"


class Loader:
    """Writes pages to one table, within a transaction of the caller's.

    Args:
        connection: in the transaction.
        layout: of the table.
        collection: of the pages.
        cast: see ``values.Cast``; it must not use ``connection``.
        indexed: vector columns that get an index.
        there: knows the records that others have written; only ``merge`` under ``fail`` asks it.
    """

    def __init__(
        self,
        connection: Connection,
        layout: Layout,
        collection: Collection,
        cast: Cast,
        indexed: Collection_[str] = (),
        there: There | None = None,
    ) -> None:
        self._connection = connection
        self._there = there
        self._cast = cast
        self._layout = layout
        self._collection = collection
        self._indexed = indexed
        self._written = [slot for slot in layout.slots if not slot.generated]
        self._columns = ", ".join(sql.quote(slot.column) for slot in self._written)

    def insert(self, table: Table, batch: Batch) -> None:
        """Add the records of a page to a table that has none of them; raises ``UniqueViolation`` where it has one."""
        self._copy(table.quoted, batch)

    def merge(self, table: Table, batch: Batch, on_conflict: str) -> None:
        """Add the records of a page to a table that may have some of their keys.

        Args:
            on_conflict: ``replace``, ``skip`` or ``fail``; see ``TargetPlan``.
        Raises:
            AlreadyExists: ``fail``, and a record is there with other content.
        """
        stage = sql.qualified("pg_temp", STAGE)
        run(
            self._connection,
            f"CREATE TEMP TABLE {sql.quote(STAGE)} ON COMMIT DROP AS"
            f" SELECT {self._columns} FROM ONLY {table.quoted} WITH NO DATA",
        )
        self._copy(stage, batch)
        keys = ", ".join(sql.quote(slot.column) for slot in self._layout.keys)
        others = [sql.quote(slot.column) for slot in self._written if slot.role != "key"]
        action = "NOTHING"
        if on_conflict == "replace" and others:
            action = "UPDATE SET " + ", ".join(f"{name} = EXCLUDED.{name}" for name in others)
        insert = (
            f"INSERT INTO {table.quoted} ({self._columns}) OVERRIDING SYSTEM VALUE SELECT {self._columns} FROM {stage}"
            f" ON CONFLICT ({keys}) DO {action}"
        )
        written = run(self._connection, insert).rowcount
        if on_conflict == "fail" and written < batch.num_rows:
            self._refuse_other_content(table, batch, insert, written)

    def _refuse_other_content(self, table: Table, batch: Batch, insert: str, written: int) -> None:
        """Raise unless the records that were not written are there with the content of the page."""
        assert self._there is not None
        refuse = self._there.refuse_other(table, self._layout, self._collection, self._connection.info.server_version)
        for _ in range(_ATTEMPTS):
            if written + refuse(batch) >= batch.num_rows:
                return
            # One that was in the way is gone.
            written += run(self._connection, insert).rowcount
        raise Unavailable(
            f"the table {table.shown}: records come and go while they are compared", "another program writes",
            "the row group was not written", "run the same command again",
        )  # fmt: skip

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
        """Encode a page as the columns of the table that are written, in their order."""
        layout = self._layout
        metadata = batch.column("metadata")
        keys = iter(key_fields(layout.keys, layout.flat, batch.column("id"), self._cast))
        slots = layout.of("field") if layout.one("metadata") is None else ()
        columns = [slot.column for slot in slots]
        fields = dict(zip(columns, metadata_fields(slots, metadata, self._cast), strict=True)) if slots else {}
        out: list[wire.Pieces] = []
        for slot in self._written:
            if slot.role == "key":
                out.append(next(keys))
            elif slot.role == "field":
                out.append(fields[slot.column])
            elif slot.role == "vector":
                column = batch.column(self._collection.columns()[slot.name])
                most = MAX_INDEXED_ENTRIES if slot.column in self._indexed else MAX_SPARSE_ENTRIES
                out.append(vector_wire.encode(slot, column, self._collection.vector(slot.name), most))
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

    def __init__(self, place: Place, check: Callable[[], None] = UNHEARD.check) -> None:
        self._place, self._check = place, check
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
            self._connection = connect(self._place, self._check)
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
        connection: in a transaction under the settings of ``client``.
        kind: the type with its arguments.
        texts: (n,) strings in Postgres' own spelling, null for NULL.
    Returns:
        (n,) binaries, null for NULL.
    Raises:
        NotRepresentable: the type would hold another value, which is seen by its text.
    """
    import psycopg

    try:
        # Not the client's own placeholders: the name of a type may have a percent sign.
        cursor = psycopg.RawCursor(connection).execute(
            f"SELECT v::{kind.sql}, (v::{kind.sql})::text = v"
            " FROM unnest($1::text[]) WITH ORDINALITY AS u(v, i) ORDER BY i".encode(),
            [texts.to_pylist()],
            binary=True,
        )
    except psycopg.errors.UndefinedFunction as error:
        raise NotRepresentable(
            f"values of type {kind.name}", why=str(error).splitlines()[0], safe="the row group was not written"
        ) from None
    # The client parses some types; what COPY wants is the binary form as the server sent it.
    result = cursor.pgresult
    assert result is not None
    rows = [(result.get_value(i, 0), result.get_value(i, 1) != b"\0") for i in range(result.ntuples)]
    for row, text in zip(rows, texts.to_pylist(), strict=True):
        if text is not None and not row[1]:
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
