"""What the Postgres tests share: one server a process, tables, and how a table goes through pages into another."""

from __future__ import annotations

import functools
import os
import socket
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import count
from typing import Any

import numpy as np
import psycopg
import pyarrow as pa
from psycopg import sql

from vecport.connectors.address import Place, parse, with_options
from vecport.connectors.contract import Mark, Selection, TargetPlan
from vecport.connectors.decorators import checked_target
from vecport.connectors.postgres import PostgresConnector, PostgresSource, PostgresTarget
from vecport.model.batch import dense_array, make_page
from vecport.model.collection import Collection, VectorField, renamed
from vecport.model.profile import profile_page
from vecport.testing.engines import PostgresEngine
from vecport.testing.engines.base import LOOPBACK

CONNECTOR = PostgresConnector()
SHARD = "part-00000-00000.parquet"
_numbers = count(1)


@functools.cache
def engine() -> PostgresEngine:
    """The server of this process; it stops at exit."""
    return PostgresEngine(fsync=False).start()


def dsn() -> str:
    """The server's address for psycopg."""
    return os.environ.get("VECPORT_TEST_POSTGRES") or engine().dsn


def server_place(**options: str) -> Place:
    """The server's place, with options."""
    return with_options(parse(dsn(), allow_password=True), {k.replace("_", "-"): v for k, v in options.items()})


def connect(**options: Any) -> psycopg.Connection[Any]:
    """A client of our own beside the connector's."""
    return psycopg.connect(dsn(), **options)


def run(*statements: str) -> list[Any]:
    """Run statements of our own; return the rows of the last one."""
    with connect(autocommit=True) as connection:
        for statement in statements:
            cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def fresh(prefix: str = "t") -> str:
    """A table name that nobody has used."""
    return f"{prefix}{next(_numbers)}_{os.getpid()}"


def source(table: str, where: str | None = None, place: Place | None = None, **options: str) -> PostgresSource:
    """A reading session."""
    return CONNECTOR.open_source(place or server_place(**options), table, Selection(where=where))


def target(table: str, place: Place | None = None, **options: str) -> PostgresTarget:
    """A writing session, behind what the pipeline refuses for every connector."""
    session = CONNECTOR.open_target(place or server_place(**options), table)
    checked_target(session, CONNECTOR.info.title)
    return session


def pages(
    table: str, target_rows: int = 1_000_000, page_rows: int = 1_000, where: str | None = None, **options: str
) -> tuple[Collection, list[pa.RecordBatch]]:
    """Everything in a table: the collection, and its pages in order."""
    with source(table, where, **options) as reading:
        described = reading.describe()
        token = reading.snapshot()
        parts = list(reading.partitions(target_rows, token))
        batches = [page.batch for part in parts for page in reading.scan(part, None, page_rows)]
        assert sum(batch.num_rows for batch in batches) == described.count == reading.count()
    return described.collection, batches


def records(batches: Iterable[pa.RecordBatch]) -> list[dict[str, Any]]:
    """The rows of pages."""
    return [row for batch in batches for row in batch.to_pylist()]


def plan_for(collection: Collection, batches: Sequence[pa.RecordBatch], **changes: Any) -> TargetPlan:
    """The plan of an import of pages."""
    ids: Mapping[str, Any] = {}
    if batches:
        whole = pa.Table.from_batches(batches).combine_chunks().to_batches()
        ids = profile_page(whole[0], collection).ids if whole else {}
    has_documents = any(b.column("document").null_count < b.num_rows for b in batches)
    values: dict[str, Any] = {
        "rows": sum(b.num_rows for b in batches),
        "id_profile": ids,
        "document": "document" if has_documents else None,
        "import_id": f"import {next(_numbers)}",
    }
    return TargetPlan(collection, **(values | changes))


def load(collection: Collection, batches: Sequence[pa.RecordBatch], **changes: Any) -> TargetPlan:
    """Import pages, each as one row group, to the end."""
    plan = plan_for(collection, batches, **changes)
    with target(collection.name) as writing:
        writing.prepare(plan)
        for group, batch in enumerate(batches):
            writing.write(batch, Mark(SHARD, group))
        writing.finish(plan.passport)
    return plan


def pump(table: str, **options: str) -> str:
    """Take a table through pages into a new one; return its name."""
    collection, batches = pages(table, **options)
    copy = fresh("copy")
    load(renamed(collection, copy), batches, native=collection.native)
    return copy


def free(n: int, dim: int = 4, name: str | None = None, **changes: Any) -> tuple[Collection, list[pa.RecordBatch]]:
    """A collection of free metadata with ``n`` records in one page."""
    field = VectorField("embedding", dim=dim, **({"metric": "l2"} | changes))
    collection = Collection(name or fresh("free"), "int", (field,))
    matrix = np.arange(n * dim, dtype=np.float32).reshape(n, dim) + 1
    metadata = [f'{{"n":{i}}}' for i in range(n)]
    page = make_page(
        collection,
        ids=[str(i) for i in range(n)],
        metadata=metadata,
        vectors={"embedding": dense_array(matrix, field)},
    )
    return collection, [page]


def numbered(collection: Collection, ids: Sequence[str], metadata: Sequence[str] | None = None) -> pa.RecordBatch:
    """A page of records with these ids and no vectors."""
    return make_page(collection, ids=ids, metadata=metadata)


def on_table(statement: str, *names: str) -> list[Any]:
    """Run a statement whose ``{}`` are identifiers."""
    with connect(autocommit=True) as connection:
        cursor = connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))  # type: ignore[arg-type]
        return cursor.fetchall() if cursor.description else []


def rows(table: str) -> list[Any]:
    """The rows of a table as JSON, in the order of ``id``: columns may come in any order."""
    return on_table("SELECT to_jsonb(t) FROM {} t ORDER BY id", table)


def other_database(name: str) -> Place:
    """The same server's database of another name."""
    place = server_place()
    return replace(place, path=name)


@contextmanager
def proxy(cut: bytes, *, forward: bool) -> Iterator[tuple[Place, threading.Event]]:
    """A place whose connections break when the client first sends ``cut``.

    Args:
        cut: bytes of a message.
        forward: whether that message still reaches the server.
    """
    server = server_place()
    listener = socket.create_server((LOOPBACK, 0))
    struck = threading.Event()

    def pass_on(client: socket.socket) -> None:
        with suppress(OSError), client, socket.create_connection((server.host, server.port or 5432)) as database:
            answers = threading.Thread(target=_pump_bytes, args=(database, client), daemon=True)
            answers.start()
            while data := client.recv(1 << 16):
                if cut in data and not struck.is_set():
                    struck.set()
                    # Nothing of the answer may come through.
                    client.shutdown(socket.SHUT_RDWR)
                    if forward:
                        database.sendall(data)
                    database.shutdown(socket.SHUT_WR)
                    answers.join(timeout=5)
                    return
                database.sendall(data)

    def serve() -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                threading.Thread(target=pass_on, args=(client,), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield replace(server, host=LOOPBACK, port=listener.getsockname()[1]), struck
    finally:
        listener.close()


def _pump_bytes(from_: socket.socket, to: socket.socket) -> None:
    with suppress(OSError):
        while data := from_.recv(1 << 16):
            with suppress(OSError):
                to.sendall(data)


def filled(count: int, dim: int = 8, extra: str = "") -> str:
    """A table of several pages, whose vector says which row it belongs to."""
    table = fresh()
    run(
        f"CREATE TABLE {table} (id int8 PRIMARY KEY, n int4, pad text, e vector({dim}){extra})",
        f"INSERT INTO {table} SELECT i, i, repeat('x', 100), array_fill(i::real, ARRAY[{dim}])::vector"
        f" FROM generate_series(1, {count}) i",
    )
    return table


def partitioned(count: int = 3_000) -> str:
    """A table of four partitions: one below another, one with its columns in another order, one empty."""
    table = fresh("parts")
    run(
        f"CREATE TABLE {table} (id int PRIMARY KEY, n int, pad text, e vector(2)) PARTITION BY RANGE (id)",
        f"CREATE TABLE {table}_b PARTITION OF {table} FOR VALUES FROM (1000) TO (2000) PARTITION BY RANGE (id)",
        f"CREATE TABLE {table}_b1 PARTITION OF {table}_b FOR VALUES FROM (1000) TO (2000)",
        f"CREATE TABLE {table}_a (e vector(2), gone int, pad text, n int, id int PRIMARY KEY)",
        f"ALTER TABLE {table}_a DROP gone",
        f"ALTER TABLE {table} ATTACH PARTITION {table}_a FOR VALUES FROM (0) TO (1000)",
        f"CREATE TABLE {table}_c PARTITION OF {table} DEFAULT",
        f"CREATE TABLE {table}_d PARTITION OF {table} FOR VALUES FROM (100000) TO (200000)",
        f"CREATE INDEX ON {table} USING hnsw (e vector_cosine_ops)",
        f"INSERT INTO {table} SELECT i, i, repeat('x', 200), '[1,2]' FROM generate_series(1, {count}) i",
    )
    return table


NAMES = [
    'With "Quotes", UPPER; and it\'s', "select", "dot.ted", "per%cent %s %(x)s $1 {}", "\u00e9 \u65e5 back\\slash",
    "new\nline -- /*", "a" * 63, "\u00e9" * 31, '"', 'x"; drop table canary; --',
]  # fmt: skip


def columns(table: str) -> dict[str, str]:
    """Names and types of a table's columns, with ``!`` where NULL is refused."""
    statement = (
        "SELECT attname, format_type(atttypid, atttypmod) || CASE WHEN attnotnull THEN '!' ELSE '' END"
        " FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 ORDER BY attnum"
    )
    with connect() as connection:
        return dict(connection.execute(statement, [sql.Identifier(table).as_string(None)]).fetchall())


def indexes(table: str) -> list[str]:
    """Definitions of a table's vector indexes, behind USING."""
    found = run(f"SELECT indexdef FROM pg_indexes WHERE tablename = '{table}' ORDER BY 1")
    return [text.partition("USING ")[2] for (text,) in found if "btree" not in text]
