"""What the pages of the documentation find when they are run: folders, engines on loopback, an object store."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import vecport
from vecport.demo import sample
from vecport.demo.places import fill_chroma
from vecport.testing.bench import engine_missing
from vecport.testing.engines import ChromaEngine, PostgresEngine, QdrantEngine

from .pages import ROOT


@dataclass
class Scene:
    """The folder and the surroundings of one page.

    Attributes:
        folder: where its commands run.
        environment: of its shell.
        addresses: documented text, and what really stands for it.
    """

    folder: Path
    environment: dict[str, str]
    addresses: list[tuple[str, str]] = field(default_factory=list)


@dataclass
class Stock:
    """What is made once and used by many pages."""

    stack: ExitStack
    base: Path
    _made: dict[str, Any] = field(default_factory=dict)

    def get(self, name: str, make: Callable[[], Any]) -> Any:
        """The thing of this name, made when it is first asked for."""
        if name not in self._made:
            self._made[name] = make()
        return self._made[name]

    def chroma_folder(self) -> Path:
        """A folder with the collection ``games``, as an application makes it."""
        folder = self.base / "chroma"
        self.get("chroma", lambda: fill_chroma(folder, vecport.open_dump(self._games()), "games"))
        return folder

    def _games(self) -> Path:
        """The games among the sample's packages."""
        file, dump = self.base / "rows.jsonl", self.base / "rows.vecport"
        given = vecport.open_dump(sample.find().dump)
        with file.open("w", encoding="utf-8") as out:
            for entry in given.manifest.shards:
                for group in given.shard(entry).groups():
                    for row in group.select(["id", "document", "metadata", "vector"]).to_pylist():
                        row["metadata"] = json.loads(row["metadata"])
                        if row["metadata"]["section"] == "games":
                            out.write(json.dumps(row) + "\n")
        options = {"metric": "cosine", "dtype": "float32"}
        vecport.export(f"jsonl:{file}", dump, source_options=options)
        return dump

    def games_dump(self) -> Path:
        """The dump of that collection."""
        dump = self.base / "games.vecport"
        self.get("dump", lambda: vecport.export(f"chroma:{self.chroma_folder()}", dump))
        return dump

    def postgres(self) -> PostgresEngine:
        """A server that pages share; each gets a new database."""
        return self.get("postgres", lambda: self.stack.enter_context(PostgresEngine(fsync=False)))

    def s3(self) -> str:
        """The address of an S3 server on loopback."""
        return self.get("s3", self._start_s3)

    def _start_s3(self) -> str:
        from moto.server import ThreadedMotoServer

        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            port = found.getsockname()[1]
        server = ThreadedMotoServer("127.0.0.1", port, verbose=False)
        server.start()
        self.stack.callback(server.stop)
        return f"http://127.0.0.1:{port}"


def _samples(scene: Scene, stock: Stock) -> None:
    (scene.folder / "samples").symlink_to(ROOT / "samples")


def _chroma(scene: Scene, stock: Stock) -> None:
    shutil.copytree(stock.chroma_folder(), scene.folder / "chroma")


def _chroma_server(scene: Scene, stock: Stock) -> None:
    copy = scene.folder / ".chroma-server"
    shutil.copytree(stock.chroma_folder(), copy)
    engine = stock.stack.enter_context(ChromaEngine(copy))
    scene.addresses.append(("chroma://localhost:8000", engine.address))


def _dump(scene: Scene, stock: Stock) -> None:
    shutil.copytree(stock.games_dump(), scene.folder / "games.vecport")


def _qdrant(scene: Scene, stock: Stock) -> None:
    engine = stock.stack.enter_context(QdrantEngine())
    scene.addresses += [
        ("qdrant://localhost:6333", engine.address),
        ("http://localhost:6333", f"http://127.0.0.1:{engine.port}"),
        ('"localhost", port=6333, grpc_port=6334', f'"127.0.0.1", port={engine.port}, grpc_port={engine.grpc_port}'),
    ]


def _postgres(scene: Scene, stock: Stock) -> None:
    import psycopg

    engine = stock.postgres()
    with psycopg.connect(engine.dsn, autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS shop")
        for role in ("me", "backup"):
            connection.execute(f"DROP ROLE IF EXISTS {role}")
        connection.execute("CREATE ROLE me LOGIN")
        connection.execute("CREATE DATABASE shop OWNER me")
    own = f"127.0.0.1:{engine.port}/shop"
    with psycopg.connect(f"postgresql://postgres@{own}", autocommit=True) as connection:
        connection.execute("CREATE EXTENSION vector")
    scene.addresses += [
        (f"postgresql://{role}@localhost/shop", f"postgresql://{role}@{own}") for role in ("me", "backup")
    ]
    scene.environment |= {"DATABASE_URL": f"postgresql://me@{own}", "DOCS_SUPERUSER": f"postgresql://postgres@{own}"}


def _s3(scene: Scene, stock: Stock) -> None:
    import boto3

    keys = {"AWS_ACCESS_KEY_ID": "docs", "AWS_SECRET_ACCESS_KEY": "docs-secret", "AWS_DEFAULT_REGION": "us-east-1"}
    scene.environment |= {**keys, "AWS_ENDPOINT_URL": stock.s3()}
    client = boto3.client(
        "s3", endpoint_url=stock.s3(), aws_access_key_id="docs", aws_secret_access_key="docs-secret",
        region_name="us-east-1",
    )  # fmt: skip
    client.create_bucket(Bucket="backups")


#: What a page can name in ``<!-- setup: ... -->``.
PLACES: dict[str, Callable[[Scene, Stock], None]] = {
    "samples": _samples,
    "chroma": _chroma,
    "chroma-server": _chroma_server,
    "dump": _dump,
    "qdrant": _qdrant,
    "postgres": _postgres,
    "s3": _s3,
}


@pytest.fixture
def zsh() -> None:
    """For tests that run zsh."""
    if shutil.which("zsh") is None:
        engine_missing("zsh is not installed")


@pytest.fixture(scope="session")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stock]:
    with ExitStack() as stack:
        yield Stock(stack, tmp_path_factory.mktemp("stock"))


@pytest.fixture
def scene(tmp_path: Path, programs: Path) -> Scene:
    """A folder in which ``vecport`` and ``python`` are those that are tested."""
    folder = tmp_path / "here"
    folder.mkdir()
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("VECPORT_", "PG", "AWS_", "QDRANT_", "CHROMA_"))}
    path = os.pathsep.join([str(programs), str(Path(sys.executable).parent), os.environ["PATH"]])
    own = {"PATH": path, "VECPORT_STATE_DIR": str(tmp_path / "state"), "COLUMNS": "200", "HOME": str(tmp_path)}
    return Scene(folder, {**kept, **own})
