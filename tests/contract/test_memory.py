"""The contract suite over the in-memory connector."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest

from vecport.connectors.address import Place, parse, with_options
from vecport.connectors.memory import MemoryConnector, forget
from vecport.model.collection import Collection
from vecport.testing.contract import Bench, ConnectorContract
from vecport.testing.hands import Hands
from vecport.testing.hands.memory import MemoryHands


class TestMemory(ConnectorContract):
    connector = MemoryConnector()

    @pytest.fixture(scope="class")
    def place(self) -> Iterator[Place]:
        yield parse("memory:contract")
        forget("contract")

    def hands(self, place: Place, collection: Collection) -> Hands:
        return MemoryHands(place, collection)

    def where(self, bench: Bench) -> Any:
        return '{"even": true}', lambda r: r.metadata["even"] is True

    def busy(self, place: Place, collection: Collection) -> AbstractContextManager[Place]:
        return nullcontext(with_options(place, {"faults": '{"throttle_every": 1}'}))


class TestLiveMemory(TestMemory):
    @pytest.fixture(scope="class")
    def place(self) -> Iterator[Place]:
        yield with_options(parse("memory:live"), {"mode": "live"})
        forget("live")


class TestSleepingMemory(TestMemory):
    """Each session wakes what it reads and writes, and lets it sleep again."""

    @pytest.fixture(scope="class")
    def place(self, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
        bed = tmp_path_factory.mktemp("bed") / "bed"
        yield with_options(parse("memory:sleeping"), {"sleeps": str(bed)})
        assert bed.read_text() == "asleep"
        forget("sleeping")


PROBE = """
import pytest
from vecport.connectors.address import parse
from vecport.connectors.memory import MemoryConnector
from vecport.testing.contract import ConnectorContract, engine_missing

class TestProbe(ConnectorContract):
    connector = MemoryConnector()
    gaps = {"test_counts_are_exact": "a reason"}

    @pytest.fixture
    def place(self):
        return parse("memory:probe")

def test_engine():
    engine_missing("no engine")
"""


@pytest.mark.parametrize("ci", ["true", ""])
def test_gaps_are_strict_and_missing_engines_fail_in_ci(tmp_path: Path, ci: str) -> None:
    probe = tmp_path / "test_probe.py"
    probe.write_text(PROBE)
    command = [sys.executable, "-m", "pytest", "-rA", "-p", "no:cacheprovider", "-k", "counts_are_exact or engine"]
    done = subprocess.run(
        [*command, "-c", os.devnull, "--rootdir", str(tmp_path), str(probe)],
        env={**os.environ, "CI": ci, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "[XPASS(strict)] a reason" in done.stdout, done.stdout + done.stderr
    assert ("engine missing in CI: no engine" in done.stdout) == (ci == "true")
    assert f"{1 + (ci == 'true')} failed" in done.stdout
