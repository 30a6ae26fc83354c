"""Kill -9 at every storage step of an export: the same command again ends equal, and nothing is left over."""

from __future__ import annotations

import hashlib
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.faults import killer
from vecport.dump import open_dump
from vecport.operations.validate import validate


def tree(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder."""
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.rglob("*") if p.is_file()
    }


def data_of(folder: Path) -> dict[str, str]:
    return {k: v for k, v in tree(folder).items() if k.startswith("data/")}


def assert_clean(folder: Path) -> None:
    """A finished dump holds its manifest, its README and its shards, and nothing else."""
    entries = {s.path for s in open_dump(folder).manifest.shards}
    assert set(tree(folder)) == entries | {"manifest.json", "README.md"}
    assert validate(folder, level="deep").valid


def test_every_storage_step_of_an_export_resumes_to_the_same_bytes(
    rows_file: Path, tmp_path: Path, shown: Callable[[str], None]
) -> None:
    arguments = {"source": f"jsonl:{rows_file}", "shard_rows": 100, "workers": 1}
    log = tmp_path / "log"
    reference = tmp_path / "reference"
    assert killer.run("export", state=tmp_path, log=log, dump=str(reference), **arguments) == "done"
    kills = 0
    for step in range(1, 1000):
        target = tmp_path / f"d{step}"
        end = killer.run("export", state=tmp_path, log=log, dump=str(target), at_step=step, **arguments)
        if end == "done":
            break
        assert end == "killed", killer.outcome(log)
        kills += 1
        assert killer.run("export", state=tmp_path, log=log, dump=str(target), **arguments) == "done", killer.outcome(
            log
        )
        assert data_of(target) == data_of(reference)
        assert_clean(target)
    shown(f"export: {kills} storage steps killed, {kills} resumed to identical bytes")
    assert kills >= 30


def test_a_kill_during_the_resume_resumes_too(rows_file: Path, tmp_path: Path) -> None:
    arguments = {"source": f"jsonl:{rows_file}", "shard_rows": 100, "workers": 1}
    log, draw = tmp_path / "log", random.Random(3)
    reference = tmp_path / "reference"
    killer.run("export", state=tmp_path, log=log, dump=str(reference), **arguments)
    for number in range(6):
        target = tmp_path / f"d{number}"
        for _ in range(2):
            step = draw.randint(1, 25)
            killer.run("export", state=tmp_path, log=log, dump=str(target), at_step=step, **arguments)
        if not (target / "manifest.json").exists() or (target / ".vecport").exists():
            assert killer.run("export", state=tmp_path, log=log, dump=str(target), **arguments) == "done"
        assert data_of(target) == data_of(reference)
        assert_clean(target)


@contextmanager
def writing(step: Callable[[int], None]) -> Iterator[None]:
    """Call ``step(0)``, ``step(1)`` ... in a thread while the block runs."""
    stop = threading.Event()

    def loop() -> None:
        n = 0
        while not stop.is_set():
            step(n)
            n += 1

    thread = threading.Thread(target=loop, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def load(dump: Path, address: str, name: str, tmp_path: Path) -> None:
    end = killer.run("import", state=tmp_path, log=tmp_path / "log", dump=str(dump), target=address, collection=name)
    assert end == "done", killer.outcome(tmp_path / "log")


def kill_rounds(tmp_path: Path, address: str, name: str, rounds: int, seed: int, dumps: Path) -> list[dict[str, Any]]:
    """Kill an export at random steps, resume it to the end; the outcomes of the resumes."""
    draw, found = random.Random(seed), []
    for number in range(rounds):
        folder, log = dumps / f"d{number}", tmp_path / "log"
        arguments = {"source": address, "collection": name, "shard_rows": 100, "workers": 1, "dump": str(folder)}
        end = killer.run("export", state=tmp_path, log=log, at_step=draw.randint(1, 34), **arguments)
        if end == "failed":
            assert killer.outcome(log)["error"] == "Incomplete", killer.outcome(log)
        again = killer.run("export", state=tmp_path, log=log, overwrite=end != "killed", **arguments)
        result = killer.outcome(log)
        if again == "failed":
            # A live scan whose counts stand still while rows differ is refused, never published.
            assert result["error"] == "Incomplete", result
            assert not (folder / "manifest.json").exists()
            continue
        assert_clean(folder)
        found.append({"folder": folder, "killed": end == "killed", **result})
    return found


def killed(found: list[dict[str, Any]]) -> int:
    return sum(bool(r["killed"]) for r in found)


def test_postgres_export_killed_and_resumed_is_one_snapshot(
    postgres: str, dump: Path, tmp_path: Path, shown: Callable[[str], None]
) -> None:
    import psycopg

    load(dump, postgres, "killed_pg", tmp_path)
    identity = str(open_dump(dump).manifest.identity)
    quiet = kill_rounds(tmp_path, postgres, "killed_pg", 6, 1, tmp_path / "quiet")
    assert all(str(open_dump(r["folder"]).manifest.identity) == identity for r in quiet)
    assert any("begins again" in n for r in quiet if r["killed"] for n in r["notes"])
    with psycopg.connect(postgres, autocommit=True) as connection:

        def step(n: int) -> None:
            # One statement changes two rows: a snapshot sees both or none, so the sum of n never changes.
            connection.execute(
                """UPDATE killed_pg SET metadata = jsonb_set(metadata, '{n}',
                   to_jsonb((metadata->>'n')::int + CASE WHEN id = %s THEN 1 ELSE -1 END)) WHERE id IN (%s, %s)""",
                (f"r{n % 600:04d}", f"r{n % 600:04d}", f"r{(n + 7) % 600:04d}"),
            )

        with writing(step):
            busy = kill_rounds(tmp_path, postgres, "killed_pg", 6, 2, tmp_path / "busy")
    assert busy
    shown(f"postgres export: {killed(quiet)} kills, {killed(busy)} more in writes; every resume is one snapshot")
    for r in busy:
        assert total_of_n(r["folder"]) == sum(range(600))
        assert open_dump(r["folder"]).manifest.source["consistency"]["kind"] == "snapshot"


def total_of_n(folder: Path) -> int:
    import duckdb

    query = f"SELECT sum((metadata->>'n')::int) FROM read_parquet('{folder}/data/*.parquet')"
    return int(duckdb.sql(query).fetchall()[0][0])


def test_qdrant_export_killed_and_resumed_has_every_untouched_record_once(
    qdrant: str, dump: Path, tmp_path: Path, shown: Callable[[str], None]
) -> None:
    from vecport.model.ids import stand_in

    load(dump, qdrant, "killed_q", tmp_path)
    identity = str(open_dump(dump).manifest.identity)
    quiet = kill_rounds(tmp_path, qdrant, "killed_q", 6, 3, tmp_path / "quiet")
    for r in quiet:
        m = open_dump(r["folder"]).manifest
        assert m.rows == 600
        assert m.identity.schema_digest == open_dump(dump).manifest.identity.schema_digest, identity
    from qdrant_client import QdrantClient, models

    host, port = qdrant.removeprefix("qdrant://").split(":")
    client = QdrantClient(
        host=host, port=int(port), grpc_port=int(port) + 1, prefer_grpc=True, check_compatibility=False
    )
    touched = {f"r{i:04d}" for i in range(0, 600, 6)}

    def step(n: int) -> None:
        key = stand_in(f"r{(n * 6) % 600:04d}")
        if n % 3 == 0:
            client.delete("killed_q", points_selector=[key])
        else:
            client.upsert("killed_q", points=[models.PointStruct(id=key, vector=[1.0] * 8, payload={"n": n})])

    with writing(step):
        busy = kill_rounds(tmp_path, qdrant, "killed_q", 6, 4, tmp_path / "busy")
    import duckdb

    shown(f"qdrant export: {killed(quiet)} kills, {killed(busy)} more while points were written; none lost or twice")
    for r in busy:
        found = duckdb.sql(f"SELECT id FROM read_parquet('{r['folder']}/data/*.parquet')").fetchall()
        ids = [row[0] for row in found]
        assert len(set(ids)) == len(ids)
        assert {f"r{i:04d}" for i in range(600)} - touched <= set(ids)


def test_chroma_folder_export_killed_and_resumed_is_equal_and_leaves_no_copy(
    dump: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shown: Callable[[str], None]
) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    place = f"chroma:{tmp_path / 'chroma'}"
    load(dump, place, "killed", tmp_path)
    before = tree(tmp_path / "chroma")
    found = kill_rounds(tmp_path, place, "killed", 5, 5, tmp_path / "dumps")
    shown(f"chroma export: {killed(found)} kills, every resume equal")
    assert len({str(open_dump(r["folder"]).manifest.identity) for r in found}) == 1
    assert tree(tmp_path / "chroma") == before
    assert not [p for p in temporary.rglob("*") if p.is_file()]
