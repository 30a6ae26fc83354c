"""Help is immediate. Processor time is measured, so that a busy machine does not matter."""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys

import pytest

HEAVY = ("numpy", "pyarrow", "duckdb", "rich", "fsspec", "qdrant_client", "chromadb", "psycopg", "grpc", "click")


def loaded(code: str) -> set[str]:
    """Top-level modules that are loaded after some code, in a fresh interpreter."""
    script = f"{code}\nimport sys, json; sys.stderr.write(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return {m.partition(".")[0] for m in json.loads(done.stderr)}


def milliseconds(*arguments: str) -> float:
    """Median processor time of a few runs."""

    def one() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return 1000 * (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)

    return statistics.median(one() for _ in range(5))


def test_importing_vecport_loads_nothing_heavy_and_takes_less_than_150_ms() -> None:
    assert not loaded("import vecport") & set(HEAVY)
    assert milliseconds("-c", "import vecport") < 150


def test_the_help_loads_no_operation_and_takes_less_than_300_ms() -> None:
    found = loaded("from vecport.cli.app import run; run(['--help'])")
    assert found & set(HEAVY) == {"click"}
    assert milliseconds("-m", "vecport.cli", "--help") < 300


@pytest.mark.parametrize("arguments", [["import", "--help"], ["--version"], ["exprot"], ["diff", "--nonsense"]])
def test_help_version_and_usage_errors_load_no_operation(arguments: list[str]) -> None:
    quietly = "import os, sys; from vecport.cli.app import run; err = sys.stderr; sys.stderr = open(os.devnull, 'w')"
    found = loaded(f"{quietly}; run({arguments!r}); sys.stderr = err")
    assert not found & (set(HEAVY) - {"click", "rich"})
