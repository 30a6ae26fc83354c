"""Import while the server dies and comes back, or refuses a third of the writes: every record once, as it was."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.faults import proxies
from vecport.operations.export import export
from vecport.operations.import_ import import_
from vecport.operations.progress import Silent
from vecport.operations.verify import verify
from vecport.testing.engines.base import Engine
from vecport.testing.engines.chroma import ChromaEngine
from vecport.testing.engines.postgres import PostgresEngine
from vecport.testing.engines.qdrant import QdrantEngine

ENGINES: dict[str, type[Engine]] = {"postgres": PostgresEngine, "qdrant": QdrantEngine, "chroma": ChromaEngine}
OUTAGE_S = 0.3


def cases(always: str) -> list[Any]:
    """Every engine with 6,000 and with 300,000 records; the slow ones are all but the first size of one engine."""
    sizes = [(name, rows) for name in ENGINES for rows in (6_000, 300_000)]
    return [pytest.param(*case, marks=() if case == (always, 6_000) else pytest.mark.slow) for case in sizes]


class Restarts(Silent):
    """Kills a server, -9, when a quarter, a half and three quarters of the records are written, and starts it again.

    The import goes on meanwhile, so that a write meets the dying server, the missing one, or the new one.
    """

    def __init__(self, engine: Engine, rows: int) -> None:
        self._engine, self._left = engine, [rows // 4, rows // 2, rows * 3 // 4]
        self._due, self._end = threading.Semaphore(0), threading.Event()
        self._lock, self._seen = threading.Lock(), 0
        self.done = 0
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def advance(self, rows: int) -> None:
        with self._lock:
            self._seen += rows
            while self._left and self._seen >= self._left[0]:
                self._left.pop(0)
                self._due.release()

    def _work(self) -> None:
        while True:
            self._due.acquire()
            if self._end.is_set():
                return
            self._engine.stop(kill=True)
            time.sleep(OUTAGE_S)
            self._engine.start()
            self.done += 1

    def close(self) -> None:
        self._end.set()
        self._due.release()
        self._thread.join()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("dumps")


def dump_of(folder: Path, rows: int) -> Path:
    """A dump of so many records of 8 dimensions, in 10 row groups."""
    dump = folder / f"d{rows}"
    if not dump.exists():
        rng = np.random.default_rng(9)
        vectors = rng.standard_normal((rows, 8)).astype("f4").round(3)
        with (folder / "rows.jsonl").open("w") as f:
            f.writelines(
                f'{{"id":"r{i:07d}","vector":{vector},"metadata":{{"n":{i},"name":"n\\u00e4me {i}"}}}}\n'
                for i, vector in enumerate(vectors.astype(float).round(3).tolist())
            )
        options = {"metric": "l2", "dtype": "float32"}
        export(f"jsonl:{folder / 'rows.jsonl'}", dump, shard_rows=rows // 10, source_options=options)
    return dump


@pytest.mark.parametrize(("name", "rows"), cases("postgres"))
def test_a_server_that_dies_three_times_ends_with_every_record_once(
    name: str, rows: int, folder: Path, shown: Callable[[str], None]
) -> None:
    dump = dump_of(folder, rows)
    with ENGINES[name]() as engine:
        restarts = Restarts(engine, rows)
        try:
            imported = import_(dump, engine.address, collection="restarted", progress=restarts, workers=2)
        finally:
            restarts.close()
        proof = verify(dump, engine.address, collection="restarted")
    assert imported.written_rows == rows
    assert restarts.done == 3
    assert (proof.count, proof.equal) == (rows, rows)
    shown(f"{name}: {rows:,} records, {restarts.done} restarts with kill -9 during the import, all equal")


@pytest.mark.parametrize(("name", "rows"), cases("chroma"))
def test_a_third_of_the_writes_refused_ends_with_every_record_once(
    name: str, rows: int, folder: Path, shown: Callable[[str], None]
) -> None:
    dump = dump_of(folder, rows)
    with ENGINES[name]() as engine, refusing(name, engine) as (address, options, thirds):
        imported = import_(dump, address, collection="refused", target_options=options, workers=2)
        proof = verify(dump, engine.address, collection="refused")
    assert imported.written_rows == rows
    assert thirds.refused >= 4
    assert (proof.count, proof.equal) == (rows, rows)
    shown(f"{name}: {rows:,} records, {thirds.refused} of {thirds.asked} writes refused, all equal")


@contextmanager
def refusing(name: str, engine: Engine) -> Iterator[tuple[str, dict[str, str], proxies.Thirds]]:
    """An address and options by which every third write is refused."""
    scheme, _, place = engine.address.partition("://")
    host, _, port = place.partition("/")[0].rpartition(":")
    if name == "chroma":
        upserts = re.compile(r"/(upsert|add)$")
        with proxies.http_429(int(port), lambda method, path: bool(upserts.search(path))) as (mine, thirds):
            yield f"chroma://127.0.0.1:{mine}", {}, thirds
    elif name == "qdrant":
        with proxies.grpc_exhausted(int(port) + 1, lambda method: method.endswith("/Upsert")) as (mine, thirds):
            yield engine.address, {"grpc-port": str(mine)}, thirds
    else:
        with proxies.tcp_cut(int(port), b"COPY ") as (mine, thirds):
            yield f"{scheme}://{host.replace('127.0.0.1', '')}127.0.0.1:{mine}/postgres", {}, thirds
