"""Kill -9 during an import: the same command again ends with every record once, and nothing is left over."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults import killer
from vecport.operations.export import export


def seconds_of_an_import(dump: Path, address: str, state: Path, log: Path, seed: int, **more: str) -> float:
    """How long an import works that nothing kills; a first one pays for what is loaded once."""
    for name in (f"whole_{seed}_1", f"whole_{seed}_2"):
        began = time.monotonic()
        arguments = {"dump": str(dump), "target": address, "collection": name, "workers": 1, **more}
        ended = killer.run("import", state=state, log=log, **arguments)
        assert ended == "done", killer.outcome(log)
    return time.monotonic() - began


def sweep(dump: Path, address: str, tmp_path: Path, rounds: int, seed: int, **more: str) -> int:
    """Kill imports at random steps and moments and resume them; the number of kills."""
    draw, kills = random.Random(seed), 0
    state, log = tmp_path / "state", tmp_path / "log"
    whole_s = seconds_of_an_import(dump, address, state, log, seed, **more)
    for number in range(rounds):
        name = f"killed_{seed}_{number}"
        arguments = {"dump": str(dump), "target": address, "collection": name, "workers": 1, **more}
        kill = {"at_step": draw.randint(1, 40)} if number % 2 else {"after_s": draw.uniform(0, whole_s)}
        end = killer.run("import", state=state, log=log, **kill, **arguments)
        kills += end == "killed"
        if end == "killed":
            again = killer.run("import", state=state, log=log, **arguments)
            finished = again == "failed" and killer.outcome(log)["error"] == "AlreadyExists"
            assert again == "done" or finished, killer.outcome(log)
        proof = {k: arguments[k] for k in ("dump", "target", "collection")} | more
        assert killer.run("verify", state=state, log=log, **proof) == "done", killer.outcome(log)
        assert killer.outcome(log)["exit_code"] == 0, killer.outcome(log)
        assert not [p for p in (state / "imports").rglob("*") if p.is_file() and p.suffix != ".lock"]
    return kills


def test_postgres_import(postgres: str, dump: Path, tmp_path: Path, shown: Callable[[str], None]) -> None:
    kills = sweep(dump, postgres, tmp_path, 24, 11)
    shown(f"postgres import: {kills} kills of 24 runs, every resume verified equal")
    assert kills >= 10
    import psycopg

    with psycopg.connect(postgres) as connection:
        left = connection.execute("SELECT relname FROM pg_class WHERE relname LIKE '%vecport%'").fetchall()
    assert left == []


@pytest.mark.slow
def test_split_import(postgres: str, tmp_path: Path, shown: Callable[[str], None]) -> None:
    """Between two namespaces as within one; every id stands in each of them."""
    with (tmp_path / "rows.jsonl").open("w") as f:
        for i in range(600):
            row = {"id": f"r{i // 3}", "vector": [i, 1, 2], "namespace": ("", "eu", "us:west")[i % 3]}
            f.write(json.dumps(row) + "\n")
    options = {"metric": "l2"}
    export(f"jsonl:{tmp_path / 'rows.jsonl'}", tmp_path / "dump", shard_rows=100, source_options=options)
    kills = sweep(tmp_path / "dump", postgres, tmp_path, 8, 14, namespaces="split")
    shown(f"postgres import --namespaces split: {kills} kills of 8 runs, every resume verified equal")
    assert kills >= 3


def test_qdrant_import(qdrant: str, dump: Path, tmp_path: Path, shown: Callable[[str], None]) -> None:
    kills = sweep(dump, qdrant, tmp_path, 16, 12)
    shown(f"qdrant import: {kills} kills of 16 runs, every resume verified equal")
    assert kills >= 6


def test_chroma_import(dump: Path, tmp_path: Path, shown: Callable[[str], None]) -> None:
    kills = sweep(dump, f"chroma:{tmp_path / 'chroma'}", tmp_path, 12, 13)
    shown(f"chroma import: {kills} kills of 12 runs, every resume verified equal")
    assert kills >= 4
