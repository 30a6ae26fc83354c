"""An import that was interrupted before it had anything of its own goes on, and takes nothing of somebody else."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.operations import rooms
from vecport.errors import AlreadyExists, Interrupted, Unavailable
from vecport.operations.export import export
from vecport.operations.import_ import import_
from vecport.operations.progress import Silent, Stop
from vecport.operations.verify import verify
from vecport.testing.engines.postgres import PostgresEngine

ROWS = 6


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with PostgresEngine(fsync=False) as engine:
        yield engine.address


@pytest.fixture
def database(server: str, request: pytest.FixtureRequest) -> Iterator[psycopg.Connection]:
    """A connection of somebody else's, beside a table ``docs`` that vecport did not make."""
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS docs")
        yield connection
        connection.execute("DROP TABLE IF EXISTS docs")


@pytest.fixture(scope="module")
def dump(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whose") / "dump"
    with rooms.room() as address:
        rooms.fill(address, [rooms.record(f"r{n}", n) for n in range(ROWS)])
        export(address, folder)
    return folder


def theirs(connection: psycopg.Connection) -> None:
    connection.execute("CREATE TABLE docs (id text PRIMARY KEY, words text)")
    connection.execute("INSERT INTO docs VALUES ('precious', 'mine')")


def words(connection: psycopg.Connection) -> list[tuple[str, ...]]:
    return connection.execute("SELECT id, words FROM docs").fetchall()


def interrupted_in_prepare(dump: Path, server: str, connection: psycopg.Connection, if_exists: str) -> None:
    """Ctrl-C while ``prepare`` waits for the lock that somebody holds on the table."""
    failures: list[BaseException] = []
    stop = Stop()

    def work() -> None:
        try:
            import_(dump, server, collection="docs", if_exists=if_exists, workers=1, progress=Silent(), stop=stop)
        except BaseException as e:
            failures.append(e)

    with psycopg.connect(server) as holder:
        holder.execute("LOCK TABLE docs IN ACCESS SHARE MODE")
        worker = threading.Thread(target=work)
        worker.start()
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        deadline = time.monotonic() + 30
        while not connection.execute(waiting).fetchone()[0]:
            assert worker.is_alive(), failures
            assert time.monotonic() < deadline, "nothing waits for the lock"
            time.sleep(0.02)
        stop.set()
        # The server is asked to cancel what waits, as the death of the process would.
        ended = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE NOT granted"
        while worker.is_alive():
            connection.execute(ended)
            worker.join(0.1)
    assert isinstance(failures[0], Interrupted | Unavailable), failures


def test_an_interrupted_replace_of_a_table_of_somebody_else_goes_on(
    dump: Path, server: str, database: psycopg.Connection
) -> None:
    theirs(database)
    interrupted_in_prepare(dump, server, database, "replace")
    assert words(database) == [("precious", "mine")]
    result = import_(dump, server, collection="docs", if_exists="replace", workers=1)
    assert result.written_rows == ROWS
    assert verify(dump, server, collection="docs").exit_code == 0


def test_a_table_that_came_meanwhile_is_not_taken_for_this_imports(
    dump: Path, server: str, database: psycopg.Connection
) -> None:
    """The import began where nothing was; killed before it created its table, it finds somebody else's."""

    class Kill(BaseException):
        pass

    class Killed(Silent):
        def phase(self, name: str, total: int | None = None) -> None:
            if name == "write":
                raise Kill

    with pytest.raises(Kill):
        import_(dump, server, collection="docs", workers=1, progress=Killed())
    database.execute("DROP TABLE docs")
    theirs(database)
    for _ in range(2):
        with pytest.raises(AlreadyExists):
            import_(dump, server, collection="docs", workers=1)
    assert words(database) == [("precious", "mine")]
    assert import_(dump, server, collection="docs", if_exists="replace", workers=1).written_rows == ROWS


def test_an_interrupted_import_of_ones_own_goes_on(dump: Path, server: str, database: psycopg.Connection) -> None:
    class Kill(BaseException):
        pass

    class Killed(Silent):
        def phase(self, name: str, total: int | None = None) -> None:
            if name == "index":
                raise Kill

    for if_exists in ("create", "replace"):
        database.execute("DROP TABLE IF EXISTS docs")
        with pytest.raises(Kill):
            import_(dump, server, collection="docs", workers=1, progress=Killed(), if_exists=if_exists)
        result = import_(dump, server, collection="docs", workers=1, if_exists=if_exists)
        assert (result.written_rows, result.resumed_rows) == (0, ROWS)
        assert verify(dump, server, collection="docs").exit_code == 0
