"""The benchmarks run: every step of the table, on few records and in this process."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The script as a module whose steps need no process of their own."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.setenv("VECPORT_STATE_DIR", "set again by the script")
    for name in ("run", "data", "raw"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    run = importlib.import_module("run")
    monkeypatch.setattr(run, "run_step", lambda step, **a: {**getattr(run, f"step_{step}")(**a), "peak_mib": 0})
    yield run
    for name in ("run", "data", "raw"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("name", ["postgres", "qdrant", "chroma-server"])
def test_the_table_has_a_rate_for_both_ways(
    benchmark: Any, name: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VECPORT_BENCH_DIR", str(tmp_path))
    benchmark.table(300, 8, [name], 1)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith(name)]
    assert [line.split()[1] for line in lines] == ["import", "export"]
    for line in lines:
        assert re.search(r" 300 +[\d,]+ +[\d,]+ +\d+\.\d\d", line), line
    assert list(tmp_path.iterdir()) == []
