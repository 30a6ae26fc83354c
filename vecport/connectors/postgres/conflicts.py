"""``--on-conflict fail``: records that are in the table already, read as an export reads them, and judged."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from ...errors import NotRepresentable
from ...model.batch import join_pages
from ...model.capabilities import TargetCapabilities
from ...model.collection import Collection
from ..address import Place
from ..kit import blame, inserts
from .arrow import Batch
from .catalog import Table
from .client import READ, connect_columnar, opening
from .failures import broken_streams
from .keys import key_condition, key_rows
from .layout import Layout
from .pages import Reader

if TYPE_CHECKING:
    from .line import Apart

#: Records that are compared at once at most, and their bytes, about.
_ROWS: Final = 8_192
_BYTES: Final = 32 << 20
#: Whoever waits to lock the whole table waits for the import's own transaction, and this reader would wait for him.
_LOCK_SECONDS: Final = 5
_SAFE: Final = "nothing of its row group was written"


class There:
    """What others have written into a table, seen on a connection of its own, which is opened when it is needed.

    Args:
        place: of the table.
        caps: of the target.
        check: is called while it waits, and may raise.
    """

    def __init__(self, place: Place, caps: TargetCapabilities, check: Callable[[], None]) -> None:
        self._place, self._caps, self._check = place, caps, check
        self._columnar: Apart | None = None

    def refuse_other(
        self, table: Table, layout: Layout, collection: Collection, version: int
    ) -> Callable[[Batch], int]:
        """What counts the records of a page that are there, and raises for one that has other content.

        Args:
            table: that is written.
            layout: of the columns that are written.
            collection: of the pages.
            version: of the server.
        """
        reader = Reader(layout, collection)
        condition = key_condition(layout, "$1", version)
        query = f"SELECT {reader.select_list()} FROM {table.rows} WHERE {condition}"
        same = inserts.sameness(collection, self._caps)

        def fetch(ours: Batch) -> Batch:
            keys = json.dumps(key_rows(layout, ours.column("id").to_pylist()))
            return join_pages(collection, [reader.page(batch) for batch in self._ask(query, keys, version, table)])

        def unreadable(ours: Batch) -> NotRepresentable | None:
            try:
                fetch(ours)
            except NotRepresentable as error:
                return error
            return None

        def known(ours: Batch) -> Batch:
            try:
                return fetch(ours)
            except NotRepresentable as error:
                # What no export could give is not what the dump has.
                found = blame.first_refused(ours, unreadable)
                if found is None:
                    raise
                raise inserts.conflict(found[0].column("id")[0].as_py(), collection.name, _SAFE) from error

        return lambda batch: inserts.refuse_other_content(
            batch, collection.name, fetch=known, same=same, rows=_ROWS, most_bytes=_BYTES, safe=_SAFE
        )

    def _ask(self, query: str, keys: str, version: int, table: Table) -> list[Batch]:
        """The rows that are committed now."""
        columnar, self._columnar = self._columnar or connect_columnar(self._place, self._check), None
        begun = f"{opening(version, READ)}; SET LOCAL lock_timeout = '{_LOCK_SECONDS}s'"
        try:
            found = columnar.call(_asked, columnar.connection, begun, query, keys, table.shown)
        except BaseException:
            columnar.close()
            raise
        self._columnar = columnar
        return found

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._columnar is not None:
            self._columnar.close()
            self._columnar = None


def _asked(columnar: Any, begun: str, query: str, keys: str, what: str) -> list[Batch]:
    """The rows of a query, within a transaction of its own."""
    with columnar.cursor() as cursor:
        cursor.executescript(begun)
        cursor.execute(query, (keys,))
        found = list(broken_streams(cursor.fetch_record_batch(), what))
        cursor.executescript("ROLLBACK")
    return found
