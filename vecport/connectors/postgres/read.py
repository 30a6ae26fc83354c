"""Reading a table: one exported snapshot, ranges of heap pages, Arrow batches."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from ...errors import IntegrityError, SnapshotGone, Unavailable, UsageError
from ...model.batch import join_pages
from ...model.capabilities import SourceCapabilities
from ...model.collection import collection_to_json
from ..address import Place
from ..contract import MAX_NAMESPACES, Description, Json, Page, Permission, Selection, Source
from . import permissions
from .arrow import Batch, pa
from .catalog import LOCKABLE, Table, require_table
from .client import READ, SCAN, begin, connect, connect_columnar, opening, run
from .failures import broken_streams, sqlstate, translated
from .keys import key_condition, key_rows, namespace_of
from .pages import Reader
from .schema import Found, look, table_name
from .stopping import stoppable

if TYPE_CHECKING:
    from .client import Connection
    from .line import Apart

_BATCH_BYTES: Final = (1 << 20, 32 << 20)
#: Of a connection whose bytes are not seen while they come, so that a slow one is told from one that stands still.
_UNSEEN_BATCH_BYTES: Final = 4 << 20
_OTHER_BYTES: Final = 512
#: What SET TRANSACTION SNAPSHOT answers when the snapshot is gone: no such file, or not even a name of one.
_GONE: Final = ("22023", "42704", "58P01", "55000")
_SNAPSHOT: Final = re.compile(r"[0-9A-F]+-[0-9A-F]+-[0-9]+")
_KEYS_AT_ONCE: Final = 10_000


class PostgresSource(Source):
    """A reading session.

    A session holds two connections, both opened when they are needed: one for the catalogs, counts and the snapshot,
    and one whose results are Arrow batches; queries that overlap get further ones. All statements run in read-only
    transactions.
    """

    capabilities = SourceCapabilities(snapshot=True, concurrency="processes", page_rows=10_000)

    def __init__(self, place: Place, collection: str, selection: Selection) -> None:
        if any(selection.namespaces):
            raise UsageError("a Postgres table has no namespaces", next="choose records with --where")
        self._place = place
        self._name = collection
        self._where = selection.where
        self._connection: Connection | None = None
        self._version = 0
        self._idle: list[Apart] = []
        self._token: dict[str, Any] | None = None
        self._found: Found | None = None
        self._count: int | None = None
        self._uncounted = ""

    # -- what a caller sees --------------------------------------------------------------------

    def describe(self) -> Description:
        """See ``Source.describe``. Inside a snapshot, what it shows is the snapshot's."""
        with self._failures(), self._reading() as connection, stoppable(connection, self.report):
            found = look(connection, self._place, self._name)
            self._found = found
            count = self._count_in(connection, found)
        return Description(
            collection=found.collection,
            count=count,
            passport=found.comment.passport if found.comment and found.comment.passport else None,
            version=found.version,
            notes=found.notes,
        )

    def permissions(self) -> tuple[Permission, ...]:
        """See ``Source.permissions``; asked of the catalogs."""
        with self._failures(), self._reading() as connection:
            return permissions.to_read(connection, self._place, self._name)

    def snapshot(self) -> Json:
        """Open a transaction, lock the table against changes of its definition, and export the snapshot.

        Returns:
            ``snapshot`` (its name), ``xids`` (what it sees, against a name that was given twice), ``pages`` of every
            part of the table, None for one without places, and ``schema``, a digest of the definition.
        """
        before = self._found
        if self._token is not None:
            self.close()
        with self._failures():
            connection = self._open()
            begin(connection, READ)
            table = require_table(connection, *table_name(self._place, self._name))
            file = _file(connection, table)
            connection.execute("ROLLBACK")
            begin(connection, READ)
            # Before the first query, so that the snapshot is younger than the lock.
            if table.kind in LOCKABLE:
                with stoppable(connection, self.report):
                    run(connection, f"LOCK TABLE {table.rows} IN ACCESS SHARE MODE")
            row = connection.execute(
                "SELECT pg_catalog.pg_export_snapshot(), pg_catalog.pg_current_snapshot()::text"
            ).fetchone()
            assert row is not None
            if table.kind not in LOCKABLE:
                # This locks as well, but after the snapshot, which sees no row of a file that was written since.
                run(connection, f"SELECT FROM {table.rows} LIMIT 0")
                if _file(connection, table) != file:
                    raise Unavailable(
                        f"{table.shown} was written anew while the snapshot was taken",
                        safe="nothing was read",
                        next="run the same command again",
                    )
            self._found, self._count = look(connection, self._place, self._name), None
            pages = _pages(connection, self._found.table)
        digest = _digest(self._found)
        if before is not None and _digest(before) != digest:
            raise IntegrityError(
                f"the table {table.shown} was changed between its description and the snapshot",
                safe="nothing was read",
                next="run the same command again",
            )
        self._token = {"snapshot": row[0], "xids": row[1], "pages": pages, "schema": digest}
        return dict(self._token)

    def alive(self, token: Json) -> bool:
        """Whether the transaction that exported the token's snapshot is still open."""
        with self._failures():
            connection = connect(self._place, self._check)
            try:
                return _join(connection, token)
            finally:
                connection.close()

    def partitions(self, target_rows: int, token: Json) -> Iterator[Json]:
        """Cut the parts of the table into equal ranges of pages.

        Yields:
            ``{"part": number, "from": page, "to": page or None}``, the last one of each part open; one range for a
            part without places.
        """
        rows, pages = self.count(), token["pages"]
        if not rows:
            return
        whole = sum(count or 0 for count in pages)
        wanted = -(-rows // max(1, target_rows))
        for part, count in enumerate(pages):
            if count == 0 and len(pages) > 1:
                continue
            n = max(1, min(-(-wanted * (count or 0) // max(1, whole)), count or 0))
            edges = [i * (count or 0) // n for i in range(n)]
            yield from ({"part": part, "from": a, "to": b} for a, b in pairwise([*edges, None]))

    def attach(self, token: Json) -> None:
        """Join the coordinator's snapshot; the coordinator itself has it already.

        Raises:
            Unavailable: the snapshot is gone.
            IntegrityError: the table is not the one that was described.
        """
        if self._token is not None and self._token == dict(token):
            return
        if self._token is not None:
            self.close()
        with self._failures():
            connection = self._open()
            if not _join(connection, token):
                self._drop_connection()
                raise self._gone()
            self._found, self._count = look(connection, self._place, self._name), None
        self._token = dict(token)
        if _digest(self._found) != token["schema"]:
            raise IntegrityError(f"the table {self._found.table.shown} is not the one that was described")

    def scan(self, partition: Json, cursor: Json | None, page_rows: int) -> Iterator[Page]:
        """Yield a range of heap pages in the order of the heap. Cursors are None: a range starts again."""
        if cursor is not None:
            raise UsageError("a range of a Postgres table has no cursor, it starts again")
        found = self._attached()
        reader = Reader(found.layout, found.collection)
        parts = found.table.parts
        part = parts[int(partition.get("part", 0))]
        rows = found.table.rows if len(parts) == 1 else f"ONLY {part.quoted}"
        query = f"SELECT {reader.select_list()} FROM {rows}{self._filter(_range(partition) if part.heap else '')}"
        if self._where is not None and part.heap:
            # An index may serve the condition, and gives another order.
            query += " ORDER BY ctid"
        for batch in self._batches(query, page_rows):
            yield Page(reader.page(batch), None)

    def fetch(self, keys: Sequence[tuple[str, str]]) -> Batch:
        """See ``Source.fetch``; keys that this table cannot hold do not exist in it."""
        found = self._attached()
        reader = Reader(found.layout, found.collection)
        wanted = [record_id for namespace, record_id in keys if not namespace]
        pages = []
        for start in range(0, len(wanted), _KEYS_AT_ONCE):
            rows = key_rows(found.layout, wanted[start : start + _KEYS_AT_ONCE])
            if rows:
                condition = key_condition(found.layout, "$1", self._version)
                query = f"SELECT {reader.select_list()} FROM {found.table.rows}{self._filter(condition)}"
                pages += [reader.page(batch) for batch in self._batches(query, _KEYS_AT_ONCE, (json.dumps(rows),))]
        return join_pages(found.collection, pages)

    def keys(self) -> Iterator[Batch]:
        """See ``Source.keys``."""
        found = self._attached()
        reader = Reader(found.layout, found.collection)
        query = f"SELECT {reader.key_list()} FROM {found.table.rows}{self._filter()}"
        for batch in self._batches(query, 100_000):
            ids = reader.ids(batch)
            yield pa.RecordBatch.from_pydict({"id": ids, "namespace": pa.repeat(pa.scalar("", pa.string()), len(ids))})

    def count(self) -> int:
        """Count the selection, inside the snapshot where there is one."""
        if self._token is not None and self._count is not None:
            return self._count
        with self._failures(), self._reading() as connection:
            found = self._found = self._found or look(connection, self._place, self._name)
            return self._count_in(connection, found)

    def namespaces(self) -> Mapping[str, int] | None:
        """Count by the namespaces of the dump that filled the table, in one query."""
        self._uncounted = ""
        with self._failures(), self._reading() as connection:
            found = self._found = self._found or look(connection, self._place, self._name)
            space = namespace_of(found.comment.passport if found.comment else None, found.layout)
            if not space:
                self._uncounted = "" if space == "" else "no column of the table holds the namespaces"
                return None
            query = f"SELECT {space} AS space, count(*) AS n FROM {found.table.rows}{self._filter()} GROUP BY 1"
            limited = f"SELECT q.* FROM ({query}) AS q WHERE $1 LIMIT {MAX_NAMESPACES + 1}"
            rows = run(connection, limited, [True]).fetchall()
        if len(rows) > MAX_NAMESPACES:
            self._uncounted = f"there are more than {MAX_NAMESPACES:,} namespaces"
            return None
        return dict(rows)

    def uncounted(self) -> str:
        """See ``Source.uncounted``."""
        return self._uncounted

    def close(self) -> None:
        """See ``Source.close``."""
        self._drop_connection()
        while self._idle:
            self._idle.pop().close()
        self._token = self._found = self._count = None

    # -- how it works --------------------------------------------------------------------------

    def _failures(self) -> AbstractContextManager[None]:
        return translated(f"{self._place.text} {self._name!r}", self._place.password)

    def _open(self) -> Connection:
        """The connection, without a transaction."""
        if self._connection is not None and self._connection.closed:
            if self._token is not None:
                raise self._gone()
            self._connection = None
        if self._connection is None:
            self._connection = connect(self._place, self._check)
            self._version = self._connection.info.server_version
        if self._token is None and self._connection.info.transaction_status:
            self._connection.execute("ROLLBACK")
        return self._connection

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        """The snapshot's transaction, or a short one of its own."""
        connection, borrowed = self._open(), self._token is not None
        try:
            if not borrowed:
                begin(connection, READ)
            yield connection
        finally:
            if not borrowed and not connection.closed:
                connection.execute("ROLLBACK")

    def _attached(self) -> Found:
        if self._token is None:
            self.snapshot()
        assert self._found is not None
        return self._found

    def _gone(self) -> SnapshotGone:
        return SnapshotGone(
            f"the snapshot of {self._name!r} is gone",
            why="the transaction that held it has ended",
            safe="nothing of the unfinished ranges was kept",
            next="the same command starts them again under a new snapshot",
        )

    def _filter(self, condition: str = "") -> str:
        # The line end closes a comment of the user's.
        parts = [condition, f"({self._where}\n)" if self._where is not None else ""]
        text = " AND ".join(part for part in parts if part)
        return f" WHERE {text}" if text else ""

    def _count_in(self, connection: Connection, found: Found) -> int:
        query = f"SELECT count(*) FROM {found.table.rows}{self._filter()}"
        try:
            # A parameter makes the server take one statement only.
            row = run(connection, f"SELECT q.* FROM ({query}) AS q WHERE $1", [True]).fetchone()
        except Exception as error:
            raise self._bad_where(error) or error from None
        self._count = int(row[0])
        return self._count

    def _bad_where(self, error: Exception) -> UsageError | None:
        """Tell a mistake in ``--where`` from other failures."""
        if self._where is None or sqlstate(error)[:2] not in ("42", "22") or sqlstate(error) in ("42501", "42P01"):
            return None
        return UsageError(
            f"--where {self._where!r} cannot be evaluated on {self._name!r}",
            why=str(error).splitlines()[0],
            next="it is a boolean SQL expression over the table's columns",
        )

    def _batches(self, query: str, page_rows: int, parameters: tuple[str, ...] = ()) -> Iterator[Batch]:
        """Run a query in the snapshot and yield its rows in batches of at most ``page_rows``.

        A consumer that stops early leaves the connection in the middle of a result: it is given up.
        """
        found = self._attached()
        elements = sum(slot.dim for slot in found.layout.of("vector") if slot.vector != "sparsevec")
        size = page_rows * (_OTHER_BYTES + 4 * elements)
        with self._failures():
            columnar = self._idle.pop() if self._idle else self._columnar_session()
            most = _BATCH_BYTES[1] if columnar.is_seen else _UNSEEN_BATCH_BYTES
            hint = str(min(max(size, _BATCH_BYTES[0]), most))
            try:
                cursor = columnar.call(columnar.connection.cursor)
                if not parameters:
                    cursor.adbc_statement.set_options(**{"adbc.postgresql.batch_size_hint_bytes": hint})
                columnar.call(cursor.execute, query, parameters or None)
                reader = columnar.call(cursor.fetch_record_batch)
                for batch in broken_streams(_apart(columnar, reader), self._name):
                    for start in range(0, len(batch), page_rows):
                        yield batch.slice(start, page_rows)
                columnar.call(cursor.close)
            except BaseException:
                columnar.close()
                raise
            self._idle.append(columnar)

    def _columnar_session(self) -> Apart:
        """A new ADBC connection inside the snapshot; it serves one query at a time."""
        assert self._token is not None
        columnar = connect_columnar(self._place, self._check)
        begun = opening(self._version, SCAN, self._token["snapshot"], columnar.name)
        try:
            seen, port = columnar.call(_joined, columnar.connection, begun)
        except Exception as error:
            columnar.close()
            if sqlstate(error) in _GONE:
                raise self._gone() from error
            raise
        columnar.seen_at(port)
        if seen != self._token["xids"]:
            columnar.close()
            raise self._gone()
        return columnar

    def _check(self) -> None:
        self.report.check()

    def _drop_connection(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _joined(columnar: Any, begun: str) -> tuple[str, int | None]:
    """Begin a transaction; what its snapshot sees, and the port of its client as the server sees it."""
    with columnar.cursor() as cursor:
        cursor.executescript(begun)
        cursor.execute("SELECT pg_catalog.pg_current_snapshot()::text, pg_catalog.inet_client_port()")
        seen, port = cursor.fetchone()
        return seen, port


def _apart(columnar: Apart, reader: Any) -> Iterator[Batch]:
    """The batches of a result, each waited for in the connection's own thread."""
    while (batch := columnar.call(next, reader, None)) is not None:
        yield batch


def _join(connection: Connection, token: Json) -> bool:
    """Begin a transaction in the token's snapshot; False when the snapshot is gone."""
    import psycopg

    if not _SNAPSHOT.fullmatch(token["snapshot"]):
        return False
    try:
        begin(connection, READ, token["snapshot"])
    except psycopg.Error as error:
        if sqlstate(error) in _GONE:
            return False
        raise
    row = connection.execute("SELECT pg_catalog.pg_current_snapshot()::text").fetchone()
    return row is not None and row[0] == token["xids"]


def _digest(found: Found) -> str:
    """What a session must agree on with the coordinator: the table and how its columns are read."""
    data: list[Json] = [found.table.oid, [part.oid for part in found.table.parts]]
    data += [found.layout.to_json(), collection_to_json(found.collection) | {"native": {}}]
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def _file(connection: Connection, table: Table) -> int | None:
    """The file that holds a relation now; REFRESH MATERIALIZED VIEW makes another one."""
    row = run(connection, "SELECT pg_catalog.pg_relation_filenode($1::oid)::int8", [table.oid]).fetchone()
    return None if row is None else row[0]


def _pages(connection: Connection, table: Table) -> list[int | None]:
    """Pages of every part, now: the snapshot sees no row behind them. None for parts whose rows have no place."""
    size = "SELECT pg_catalog.pg_relation_size($1::oid) / current_setting('block_size')::bigint"
    return [int(run(connection, size, [part.oid]).fetchone()[0]) if part.heap else None for part in table.parts]


def _range(partition: Json) -> str:
    """The condition for a range of heap pages; the numbers become part of the statement as integers."""
    low, high = int(partition["from"]), partition["to"]
    text = f"ctid >= '({low},0)'::tid"
    return text if high is None else f"{text} AND ctid < '({int(high)},0)'::tid"
