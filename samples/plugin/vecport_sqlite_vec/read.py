"""The reading role: a copy of the file is one moment of it, and its keys have an order."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from vecport.connectors.address import Place
from vecport.connectors.contract import Description, Json, Selection
from vecport.connectors.kit import copies, flight, passports, ranges
from vecport.connectors.kit.columns import quoted
from vecport.errors import UsageError
from vecport.model.capabilities import SourceCapabilities
from vecport.model.collection import Collection

from . import client, schema


class SqliteVecSource(copies.CopiedSource, passports.CountedByPassport, ranges.KeyRanges[Any, ranges.TupleRows[Any]]):
    """Reads one table."""

    title = client.TITLE
    capabilities = SourceCapabilities(snapshot=True, key_ordered=True, concurrency="processes")

    def __init__(self, place: Place, name: str, selection: Selection) -> None:
        self._place, self._name = place, name
        self._condition = f" WHERE (\n{selection.where}\n)" if selection.where else ""
        self._handle = client.handle(lambda: str(self._here()), place.text)

    def describe(self) -> Description:
        with self._table() as table:
            return schema.described(table, self._condition)

    def count(self) -> int | None:
        return self.describe().count

    # -- what the kit asks for -------------------------------------------------------------------

    def _original(self) -> Path:
        return Path(self._place.path)

    def _copy_to(self, copy: Path) -> None:
        """Copies, and removes from the copy what is not selected."""
        import apsw

        with (
            self._table() as table,
            closing(apsw.Connection(str(copy))) as made,
            made.backup("main", table.db, "main") as backup,
        ):
            backup.step()
        if self._condition:
            with client.handle(lambda: str(copy), self._place.text, write=True).once() as db:
                wanted = f"SELECT {table.key} FROM {table.name}{self._condition}"
                db.execute(f"DELETE FROM {table.name} WHERE {table.key} NOT IN ({wanted})")

    def _by_key(self, key: str) -> Mapping[str, int] | str:
        with self._table() as table:
            if table.metadata is None:
                return "no column holds metadata"
            space = f"(SELECT value FROM json_each({quoted(table.metadata)}) WHERE key = ? AND type = 'text')"
            statement = f"SELECT {space} AS space, count(*) FROM {table.name}{self._condition} GROUP BY space"
            return {space: n for space, n in table.db.execute(statement, (key,)) if space is not None}

    def _schema(self) -> Collection:
        with self._table() as table:
            return table.collection

    def _ask(self, partition: Json, start: Any, rows: int, *, keys_only: bool) -> flight.Pending[ranges.TupleRows[Any]]:
        values = () if start is None else (start,)
        condition = f"{'WHERE r.{key} >= ?' if values else ''} ORDER BY r.{{key}} LIMIT {rows}"
        return flight.Ready(ranges.TupleRows.of(self._rows(condition, [values], keys_only)))

    def _get(self, keys: Sequence[Any]) -> pa.RecordBatch:
        return self._page(ranges.TupleRows.of(self._rows("WHERE r.{key} = ?", [(key,) for key in keys])))

    def _page(self, rows: ranges.TupleRows[Any]) -> pa.RecordBatch:
        with self._table() as table:
            return schema.page(table, rows.rows)

    # -- how it works ----------------------------------------------------------------------------

    def _rows(self, condition: str, values: Sequence[Any], keys_only: bool = False) -> list[tuple[Any, ...]]:
        """Records; ``r.{key}`` in the condition is their key in the list that has them in order."""
        with self._table() as table:
            keys, key = table.keys
            others = "" if keys_only else "".join(f", v.{name}" for name in table.others)
            joined = "" if keys_only else f"CROSS JOIN {table.name} v ON v.{table.key} = r.{key}"
            statement = f"SELECT r.{key}{others} FROM {keys} r {joined} {condition.format(key=key)}"
            return table.db.executemany(statement, values).fetchall()

    @contextmanager
    def _table(self) -> Iterator[schema.Table]:
        with self._handle.used() as db:
            table = schema.read(db, self._name, self._place)
            if self._condition:
                self._check(table)
            yield table

    def _check(self, table: schema.Table) -> None:
        """The user's condition cannot end its statement, or change anything."""
        import apsw
        import apsw.ext

        try:
            found = apsw.ext.query_info(table.db, f"SELECT 1 FROM {table.name}{self._condition}")
        except apsw.SQLError as error:
            raise UsageError("--where cannot be read", str(error), next="for example: genre = 'travel'") from None
        if found.query_remaining or not found.is_readonly:
            raise UsageError("--where is no condition", "it ends the statement and begins another")
