"""An export while somebody inserts, updates and deletes is what it says it is."""

from __future__ import annotations

import json
import multiprocessing
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from vecport.dump import open_dump
from vecport.errors import Incomplete, Unavailable
from vecport.model.ids import stand_in
from vecport.operations.export import ExportResult, export
from vecport.operations.import_ import import_

ROWS = 4000


@pytest.fixture(scope="module")
def dump(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("live")
    rng = np.random.default_rng(2)
    with (folder / "rows.jsonl").open("w") as f:
        for i in range(ROWS):
            f.write(
                json.dumps({"id": f"r{i:05d}", "vector": rng.standard_normal(16).tolist(), "metadata": {"n": i}}) + "\n"
            )
    export(f"jsonl:{folder / 'rows.jsonl'}", folder / "dump", source_options={"metric": "l2", "dtype": "float32"})
    return folder / "dump"


@contextmanager
def writing(step: Callable[[int], None]) -> Iterator[None]:
    stop = threading.Event()
    failures: list[BaseException] = []

    def loop() -> None:
        n = 0
        try:
            while not stop.is_set():
                step(n)
                n += 1
        except BaseException as e:
            failures.append(e)

    thread = threading.Thread(target=loop, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    assert not failures


def ids_of(folder: str | Path) -> list[str]:
    return [r[0] for r in duckdb.sql(f"SELECT id FROM read_parquet('{folder}/data/*.parquet')").fetchall()]


def assert_admitted(result: ExportResult, untouched: set[str]) -> None:
    """Every record that nobody touched is there once; the manifest admits what moved."""
    found = ids_of(result.dump)
    assert len(found) == len(set(found)) == result.rows
    assert untouched <= set(found)
    consistency = result.consistency
    assert consistency["kind"] == "live-scan"
    if consistency["count_before"] != consistency["count_after"]:
        assert consistency["only_in_dump"] is not None
        assert any("changed while it was read" in n for n in result.notes)


def rounds(address: str, name: str, folder: Path, count: int, **options: Any) -> list[ExportResult]:
    """Exports that were published; those whose counts stand still while rows differ are refused."""
    found = []
    for n in range(count):
        try:
            found.append(export(address, folder / f"d{n}", collection=name, shard_rows=500, **options))
        except Incomplete:
            assert not (folder / f"d{n}" / "manifest.json").exists()
    return found


def test_postgres_sees_one_moment(dump: Path, tmp_path: Path) -> None:
    import psycopg

    from vecport.testing.engines.postgres import PostgresEngine

    with PostgresEngine() as pg:
        import_(dump, pg.address, collection="t", settings={"index": "none"})
        with psycopg.connect(pg.address) as connection:

            def step(n: int) -> None:
                # One transaction deletes, inserts and updates and keeps the sum of n and the count.
                a = f"r{n % ROWS:05d}"
                with connection.transaction():
                    connection.execute("CREATE TEMP TABLE moved ON COMMIT DROP AS SELECT * FROM t WHERE id = %s", (a,))
                    connection.execute("DELETE FROM t WHERE id = %s", (a,))
                    connection.execute("INSERT INTO t SELECT * FROM moved")
                    connection.execute(
                        """UPDATE t SET metadata = jsonb_build_object('n', (metadata->>'n')::int + s.d) FROM
                           (VALUES (%s, 5), (%s, -5)) AS s(id, d) WHERE t.id = s.id""",
                        (f"r{(n + 100) % ROWS:05d}", f"r{(n + 200) % ROWS:05d}"),
                    )

            with writing(step):
                found = rounds(pg.address, "t", tmp_path, 4, require_snapshot=True, workers=2)
    assert len(found) == 4
    for r in found:
        assert (r.exit_code, r.rows, r.consistency["kind"]) == (0, ROWS, "snapshot")
        total = duckdb.sql(f"SELECT sum((metadata->>'n')::int) FROM read_parquet('{r.dump}/data/*.parquet')")
        assert total.fetchall() == [(sum(range(ROWS)),)]


def test_qdrant_has_every_untouched_record_once(dump: Path, tmp_path: Path) -> None:
    from qdrant_client import QdrantClient, models

    from vecport.testing.engines.qdrant import QdrantEngine

    touched = {f"r{i:05d}" for i in range(0, ROWS, 4)}
    with QdrantEngine() as engine:
        import_(dump, engine.address, collection="t")
        client = QdrantClient(
            host="127.0.0.1", port=engine.port, grpc_port=engine.grpc_port, prefer_grpc=True, check_compatibility=False
        )

        def step(n: int) -> None:
            key = stand_in(f"r{(n * 4) % ROWS:05d}")
            if n % 3:
                client.upsert("t", points=[models.PointStruct(id=key, vector=[1.0] * 16, payload={"n": n})])
            else:
                client.delete("t", points_selector=[key])
            if n % 5 == 0:
                client.upsert("t", points=[models.PointStruct(id=stand_in(f"new{n}"), vector=[2.0] * 16)])

        with writing(step):
            found = rounds(engine.address, "t", tmp_path, 4)
            strict = rounds(engine.address, "t", tmp_path / "strict", 1, require_snapshot=True)
    assert found
    for r in found:
        assert_admitted(r, {f"r{i:05d}" for i in range(ROWS)} - touched)
    assert all(r.exit_code == 3 for r in strict)


def test_chroma_server_has_every_untouched_record_once(dump: Path, tmp_path: Path) -> None:
    import chromadb

    from vecport.testing.engines.chroma import ChromaEngine

    touched = {f"r{i:05d}" for i in range(0, ROWS, 4)}
    with ChromaEngine() as engine:
        import_(dump, engine.address, collection="ttt")
        found_there = chromadb.HttpClient(host="127.0.0.1", port=engine.port).get_collection(
            "ttt", embedding_function=None
        )

        def step(n: int) -> None:
            keys = [f"r{(n * 40 + 4 * j) % ROWS:05d}" for j in range(10)]
            if n % 3:
                found_there.upsert(ids=keys, embeddings=np.ones((10, 16), np.float32))
            else:
                found_there.delete(ids=keys)

        with writing(step):
            found = rounds(engine.address, "ttt", tmp_path, 3)
    assert found
    for r in found:
        assert_admitted(r, {f"r{i:05d}" for i in range(ROWS)} - touched)


def _write_chroma_folder(folder: str, ready: Any, stop: Any) -> None:
    import chromadb

    made = chromadb.PersistentClient(folder).get_collection("ttt", embedding_function=None)
    n = 0
    while not stop.is_set():
        keys = [f"r{(n * 40 + 4 * j) % ROWS:05d}" for j in range(10)]
        made.delete(ids=keys)
        made.add(ids=keys, embeddings=np.ones((10, 16), np.float32), metadatas=[{"n": -1}] * 10)
        n += 1
        ready.set()


def test_chroma_folder_is_one_moment_or_refused_while_another_process_writes(dump: Path, tmp_path: Path) -> None:
    place = tmp_path / "chroma"
    import_(dump, f"chroma:{place}", collection="ttt")
    context = multiprocessing.get_context("spawn")
    ready, stop = context.Event(), context.Event()
    writer = context.Process(target=_write_chroma_folder, args=(str(place), ready, stop))
    writer.start()
    untouched = {f"r{i:05d}" for i in range(ROWS)} - {f"r{i:05d}" for i in range(0, ROWS, 4)}
    try:
        assert ready.wait(60)
        for n in range(3):
            try:
                r = export(f"chroma:{place}", tmp_path / f"d{n}", collection="ttt", require_snapshot=True)
            except (Unavailable, Incomplete):
                assert not (tmp_path / f"d{n}" / "manifest.json").exists()
                continue
            # The writer removes ten records at a time and adds them again: a moment has all, or all but ten.
            assert r.exit_code == 0
            assert r.rows in (ROWS, ROWS - 10)
            assert untouched <= set(ids_of(r.dump))
    finally:
        stop.set()
        writer.join(30)
    assert writer.exitcode == 0
    r = export(f"chroma:{place}", tmp_path / "quiet", collection="ttt")
    assert open_dump(r.dump).manifest.rows == ROWS
