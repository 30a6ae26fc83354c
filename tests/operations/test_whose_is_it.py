"""An import that was interrupted before it had anything of its own goes on, and takes nothing of somebody else."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from tests.operations import rooms
from vecport.errors import AlreadyExists, Interrupted
from vecport.operations.export import ExportResult, export
from vecport.operations.import_ import ImportResult, import_
from vecport.operations.progress import Silent, Stop
from vecport.operations.verify import verify
from vecport.testing.engines.postgres import PostgresEngine

ROWS = 6
#: How long a run may take to end after Ctrl-C.
HEARD_WITHIN_S = 5


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


def interrupted(work: Callable[[Stop], object], server: str, connection: psycopg.Connection, lock: str) -> float:
    """Ctrl-C while a run waits for the lock that somebody holds on the table; the seconds until it has ended."""
    failures: list[BaseException] = []
    stop = Stop()

    def run() -> None:
        try:
            work(stop)
        except BaseException as e:
            failures.append(e)

    with psycopg.connect(server) as holder:
        holder.execute(f"LOCK TABLE docs IN {lock} MODE".encode())
        worker = threading.Thread(target=run)
        worker.start()
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        deadline = time.monotonic() + 30
        while not connection.execute(waiting).fetchone()[0]:
            assert worker.is_alive(), failures
            assert time.monotonic() < deadline, "nothing waits for the lock"
            time.sleep(0.02)
        stop.set()
        asked = time.monotonic()
        worker.join(HEARD_WITHIN_S)
        seconds = time.monotonic() - asked
        assert not worker.is_alive(), f"Ctrl-C was not heard within {HEARD_WITHIN_S} s, while the lock is held"
        assert not connection.execute(waiting).fetchone()[0], "the server still waits for the lock"
    assert isinstance(failures[0], Interrupted), failures
    assert failures[0].exit_code == 130
    return seconds


@pytest.mark.parametrize("lock", ["ACCESS SHARE", "ACCESS EXCLUSIVE"])
def test_an_interrupted_replace_of_a_table_of_somebody_else_goes_on(
    dump: Path, server: str, database: psycopg.Connection, shown: Callable[[str], None], lock: str
) -> None:
    theirs(database)

    def work(stop: Stop | None) -> ImportResult:
        return import_(
            dump, server, collection="docs", if_exists="replace", workers=1, progress=Silent(), stop=stop
        )  # fmt: skip

    seconds = interrupted(work, server, database, lock)
    shown(f"import waits for a table's lock ({lock}): Ctrl-C is heard after {seconds:.2f} s")
    assert words(database) == [("precious", "mine")]
    assert work(None).written_rows == ROWS
    assert verify(dump, server, collection="docs").exit_code == 0


def test_an_interrupted_export_that_waits_for_a_lock_goes_on(
    tmp_path: Path, server: str, database: psycopg.Connection, shown: Callable[[str], None]
) -> None:
    theirs(database)

    def work(stop: Stop | None) -> ExportResult:
        return export(server, tmp_path / "out", collection="docs", workers=1, progress=Silent(), stop=stop)

    seconds = interrupted(work, server, database, "ACCESS EXCLUSIVE")
    shown(f"export waits for a table's lock: Ctrl-C is heard after {seconds:.2f} s")
    assert work(None).rows == 1


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
