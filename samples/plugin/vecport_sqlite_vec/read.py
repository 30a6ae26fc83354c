"""The reading role: a copy of the file is one moment of it, and its keys have an order."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pyarrow as pa

from vecport.connectors.address import Place
from vecport.connectors.contract import Description, Json, Selection
from vecport.connectors.kit import folders, passports, ranges
from vecport.connectors.kit.flight import Pending, Ready
from vecport.errors import UsageError, VecportError
from vecport.model.capabilities import SourceCapabilities
from vecport.model.collection import Collection

from . import client, schema
from .schema import Key

if TYPE_CHECKING:
    import apsw

_FILE = "copy.db"


@dataclass(slots=True)
class Records(ranges.Rows[Key]):
    """Rows of a key and the table's other columns."""

    rows: list[tuple[Any, ...]] = field(default_factory=list)

    def head(self, rows: int) -> Records:
        return Records(self.keys[:rows], rows=self.rows[:rows])


class SqliteVecSource(ranges.KeyRanges[Any, Records]):
    """Reads one table."""

    capabilities: SourceCapabilities = SourceCapabilities(snapshot=True, key_ordered=True, concurrency="processes")
    orders: ClassVar[Mapping[str, ranges.Order[Any]]] = {"string": ranges.TextOrder(), "int": ranges.IntOrder()}

    def __init__(self, place: Place, name: str, selection: Selection) -> None:
        self._place, self._name, self._where = place, name, selection.where
        self._copy: folders.FolderCopy | None = None
        self._open: apsw.Connection | None = None
        self._known: schema.Table | None = None
        self._picked = False

    # -- what is there ---------------------------------------------------------------------------

    def describe(self) -> Description:
        table = self._table()
        with client.translated(self._place.text):
            passport, note = schema.passport(self._db(), table)
            version = str(self._db().execute("SELECT vec_version()").get)
        return Description(table.collection, self.count(), passport, version, (note,) if note else ())

    def count(self) -> int:
        table = self._table()
        with client.translated(self._place.text):
            if self._where is None:
                return table.count(self._db())
            return int(self._db().execute(self._selected(table, "count(*)")).get)

    def namespaces(self) -> Mapping[str, int] | None:
        return self._namespaces()[0]

    def uncounted(self) -> str:
        return self._namespaces()[1]

    def _namespaces(self) -> tuple[Mapping[str, int] | None, str]:
        table = self._table()
        with client.translated(self._place.text):
            passport, _ = schema.passport(self._db(), table)
            return passports.counted_namespaces(passport, self.count, self._counted)

    def _counted(self, key: str) -> Mapping[str, int] | str:
        """Records by the texts under a key of metadata."""
        table = self._table()
        if table.metadata is None:
            return "no column holds metadata"
        value = f"(SELECT value FROM json_each({client.quoted(table.metadata)}) WHERE key = ? AND type = 'text')"
        statement = f"{self._selected(table, f'{value} AS space, count(*)')} GROUP BY space HAVING space IS NOT NULL"
        return dict(self._db().execute(statement, (key,)).fetchall())

    # -- the copy --------------------------------------------------------------------------------

    def snapshot(self) -> Json:
        self._table()
        self._join(
            folders.take_copy(
                Path(self._place.path), client.TITLE, lambda: os.path.getsize(self._place.path), self._copied
            )
        )
        assert self._copy is not None
        return {"copy": str(self._copy.path), "id": self._copy.id}

    def _copied(self, folder: Path) -> float:
        import apsw

        began = time.monotonic()
        with client.session(self._place.path, self._place.text) as db:
            with apsw.Connection(str(folder / _FILE)) as copy, copy.backup("main", db, "main") as backup:
                backup.step(-1)
            copy.close()
        return time.monotonic() - began

    def alive(self, token: Json) -> bool:
        try:
            self._adopt(token, heir=True)
        except (VecportError, KeyError, TypeError):
            return False
        return True

    def attach(self, token: Json) -> None:
        self._adopt(token, heir=False)

    def _adopt(self, token: Json, *, heir: bool) -> None:
        if self._copy is None or self._copy.id != token["id"]:
            path = Path(token["copy"])
            self._join(
                folders.adopt_copy(
                    path, token["id"], client.TITLE, heir=heir, whole=lambda name: (path / name).is_file()
                )
            )

    def _join(self, copy: folders.FolderCopy) -> None:
        self.close()
        self._copy = copy

    def close(self) -> None:
        db, self._open, self._known, self._picked = self._open, None, None, False
        if db is not None:
            db.close()
        copy, self._copy = self._copy, None
        if copy is not None:
            copy.release()

    # -- records -----------------------------------------------------------------------------------

    @property
    def order(self) -> ranges.Order[Any]:  # type: ignore[override]
        return self.orders[self._table().kind]

    def _schema(self) -> Collection:
        return self._table().collection

    def _ask(self, partition: Json, start: Key | None, rows: int, *, keys_only: bool) -> Pending[Records]:
        behind, values = ("", ()) if start is None else ("WHERE r.{key} >= ?", (start,))
        found = self._rows(f"{behind} ORDER BY r.{{key}} LIMIT {rows}", [values], keys_only=keys_only)
        keys = [row[0] for row in found]
        return Ready(Records(keys, last=keys[-1] if keys else None, rows=found))

    def _get(self, keys: Sequence[Key]) -> pa.RecordBatch:
        return schema.page(self._table(), self._rows("WHERE r.{key} = ?", [(key,) for key in keys]))

    def _page(self, rows: Records) -> pa.RecordBatch:
        return schema.page(self._table(), rows.rows)

    def _rows(
        self, condition: str, values: Sequence[tuple[Any, ...]], *, keys_only: bool = False
    ) -> list[tuple[Any, ...]]:
        """Rows that the selection covers; ``{key}`` in the condition is the key of the list ``r`` of keys."""
        table = self._table()
        with client.translated(self._place.text):
            source, key = self._keys(table)
            columns = "" if keys_only else "".join(f", v.{name}" for name in table.named())
            joined = "" if keys_only else f"CROSS JOIN {client.quoted(table.name)} v ON v.{table.key} = r.{key}"
            statement = f"SELECT r.{key}{columns} FROM {source} r {joined} {condition.format(key=key)}"
            return self._db().executemany(statement, values).fetchall()

    def _keys(self, table: schema.Table) -> tuple[str, str]:
        """The list of keys in their order: the table's own, or what the filter picks, which is looked for once."""
        if self._where is None:
            return table.keys
        if not self._picked:
            kind = "TEXT" if table.kind == "string" else "INTEGER"
            found = self._db().execute(self._selected(table, client.quoted(table.key))).fetchall()
            self._db().execute(f"CREATE TEMP TABLE picked (key {kind} PRIMARY KEY)")
            with self._db():
                self._db().executemany("INSERT INTO temp.picked VALUES (?)", found)
            self._picked = True
        return "temp.picked", "key"

    def _selected(self, table: schema.Table, what: str) -> str:
        """A statement over the selected records: the user's condition cannot be more than one, or change anything."""
        import apsw
        import apsw.ext

        if self._where is None:
            return f"SELECT {what} FROM {client.quoted(table.name)}"
        statement = f"SELECT {what} FROM {client.quoted(table.name)} WHERE (\n{self._where}\n)"
        try:
            info = apsw.ext.query_info(self._db(), statement)
        except apsw.SQLError as error:
            raise UsageError("--where cannot be read", str(error), next="for example: genre = 'travel'") from None
        if info.query_remaining or not info.is_readonly:
            raise UsageError("--where is no condition", "it ends the statement and begins another")
        return statement

    def _table(self) -> schema.Table:
        if self._known is None:
            with client.translated(self._place.text):
                self._known = schema.read(self._db(), self._name, self._place)
        return self._known

    def _db(self) -> apsw.Connection:
        if self._open is None:
            path = self._place.path if self._copy is None else str(self._copy.path / _FILE)
            self._open = client.connected(path, self._place.text)
        return self._open
