"""What a target says while it prepares and finishes reaches the user, and how far its index is."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from vecport.cli.app import run
from vecport.connectors.contract import TargetPlan
from vecport.connectors.guest import Clock
from vecport.connectors.memory import MemoryTarget
from vecport.errors import Unavailable
from vecport.operations.export import export
from vecport.operations.import_ import import_
from vecport.operations.progress import Silent

from .rooms import fill, record, room


@pytest.fixture(scope="module")
def dump(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("words") / "dump"
    with room() as place:
        fill(place, [record(f"r{i}", i) for i in range(4)])
        export(place, folder, shard_rows=2)
    return folder


@pytest.fixture
def place() -> Iterator[str]:
    with room() as address:
        yield address


@pytest.fixture
def talkative(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Targets that speak in ``prepare`` and ``finish``; the first ``failures`` calls of ``finish`` are lost."""
    prepare, finish = MemoryTarget.prepare, MemoryTarget.finish
    script = {"failures": 0}

    def prepares(self: MemoryTarget, plan: TargetPlan) -> None:
        self.report.note("the collection was made with another index")
        prepare(self, plan)

    def finishes(self: MemoryTarget, passport: Mapping[str, Any]) -> None:
        self.report.note("the index does not fit into memory")
        self.report.reached(2, 4, "vectors", "building")
        script["failures"] -= 1
        if script["failures"] >= 0:
            raise Unavailable("memory does not answer")
        finish(self, passport)

    monkeypatch.setattr(MemoryTarget, "prepare", prepares)
    monkeypatch.setattr(MemoryTarget, "finish", finishes)
    return script


SAID = ("the collection was made with another index", "the index does not fit into memory")


class Ear(Silent):
    """Remembers in which phase the target was how far."""

    def __init__(self) -> None:
        super().__init__()
        self.now = ""
        self.far: list[tuple[Any, ...]] = []

    def phase(self, name: str, total: int | None = None) -> None:
        self.now = name

    def reached(self, done: int, total: int | None, unit: str, step: str = "") -> None:
        self.far.append((self.now, done, total, unit, step))


@pytest.mark.parametrize("workers", [1, 2])
def test_words_and_figures_come_through(dump: Path, place: str, talkative: dict[str, int], workers: int) -> None:
    ear = Ear()
    assert import_(dump, place, workers=workers, progress=ear).notes == SAID
    assert tuple(ear.notes) == SAID
    assert ear.far == [("index", 2, 4, "vectors", "building")]


def test_a_word_is_told_once_when_finish_is_tried_again(
    dump: Path, place: str, talkative: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vecport.connectors.guest.CLOCK", Clock(lambda: 0.0, lambda s: None))
    talkative["failures"] = 2
    ear = Ear()
    assert import_(dump, place, progress=ear).notes == SAID
    assert tuple(ear.notes) == SAID
    assert len(ear.far) == 3


def test_the_command_shows_them(
    dump: Path, place: str, talkative: dict[str, int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["import", str(dump), place, "--json", "--progress", "plain"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["notes"] == list(SAID)
    assert [line for line in err.splitlines() if line.startswith("note: ")] == [f"note: {text}" for text in SAID]
