"""Equal rows give equal bytes: whatever pages they came in, however many workers read them, wherever it ran."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from vecport.operations.export import export


@pytest.fixture(scope="module")
def rows_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    rng = np.random.default_rng(1)
    with path.open("w") as f:
        for i in range(3000):
            row = {"id": f"r{i}", "vector": rng.standard_normal(24).tolist(), "metadata": {"i": i, "t": "x" * (i % 9)}}
            f.write(json.dumps(row | ({"document": f"d{i}"} if i % 3 else {})) + "\n")
    return path


def data_bytes(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted((folder / "data").iterdir())}


def test_workers_and_page_sizes_do_not_change_a_byte(rows_file: Path, tmp_path: Path) -> None:
    found = {}
    for workers in (1, 2, 4):
        for page in (7, 1000, 100_000):
            folder = tmp_path / f"w{workers}p{page}"
            export(f"jsonl:{rows_file}", folder, shard_rows=700, workers=workers, batch_size=page)
            found[workers, page] = data_bytes(folder)
    assert len(found[1, 7]) >= 4
    assert len({json.dumps(v) for v in found.values()}) == 1


def test_folder_time_zone_locale_and_hash_seed_do_not_change_a_byte(rows_file: Path, tmp_path: Path) -> None:
    first = tmp_path / "first"
    export(f"jsonl:{rows_file}", first, shard_rows=700)
    second = tmp_path / "elsewhere" / "second"
    environment = {**os.environ, "TZ": "Pacific/Chatham", "LC_ALL": "C", "PYTHONHASHSEED": "77"}
    script = f"from vecport.operations.export import export; export('jsonl:{rows_file}', '{second}', shard_rows=700)"
    second.parent.mkdir()
    subprocess.run([sys.executable, "-c", script], check=True, env=environment, cwd=second.parent)
    assert data_bytes(first) == data_bytes(second)


def test_postgres_gives_the_same_bytes_for_one_two_and_four_workers(tmp_path: Path, rows_file: Path) -> None:
    from vecport.operations.import_ import import_
    from vecport.testing.engines.postgres import PostgresEngine

    export(f"jsonl:{rows_file}", tmp_path / "dump", shard_rows=700, source_options={"metric": "l2", "dtype": "float32"})
    with PostgresEngine() as pg:
        import_(tmp_path / "dump", pg.address, collection="rows", settings={"index": "none"})
        found = []
        for workers, page in ((1, 100), (2, 1000), (4, 5000)):
            folder = tmp_path / f"pg{workers}"
            export(pg.address, folder, collection="rows", shard_rows=700, workers=workers, batch_size=page)
            found.append(json.dumps(data_bytes(folder)))
    assert len(set(found)) == 1
