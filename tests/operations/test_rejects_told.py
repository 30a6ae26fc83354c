"""Whoever uses a dump in which records are missing hears of it: import, plan and inspect say how many, and where."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vecport.cli.app import run
from vecport.operations.import_ import import_
from vecport.operations.inspect import inspect
from vecport.operations.plan import plan
from vecport.operations.rejects import left_out

from .rooms import room

GOOD = Path(__file__).parents[2] / "spec" / "corpus" / "good"
SAID = "2 records could not be read at the source and are not in this dump: rejects.jsonl names them"


@pytest.fixture
def place() -> Iterator[str]:
    with room() as address:
        yield address


def test_every_use_of_the_dump_says_so(place: str) -> None:
    dump = GOOD / "rejects"
    assert inspect(dump).notes == (SAID,)
    assert plan(str(dump)).notes == (SAID,)
    assert SAID in plan(str(dump), place).notes
    assert import_(dump, place, dry_run=True).notes == (SAID,)
    result = import_(dump, place)
    assert result.notes == (SAID,)
    assert (result.rows, result.exit_code) == (1, 0)


def test_a_whole_dump_has_nothing_to_say(place: str) -> None:
    dump = GOOD / "one-record"
    assert inspect(dump).notes == plan(str(dump)).notes == import_(dump, place).notes == ()


@pytest.mark.parametrize("verb", ["import", "plan", "inspect"])
def test_the_commands_say_so(verb: str, place: str, capsys: pytest.CaptureFixture[str]) -> None:
    target = [] if verb == "inspect" else [place]
    assert run([verb, str(GOOD / "rejects"), *target]) == 0
    assert capsys.readouterr().err.count(f"note: {SAID}\n") == 1


@pytest.mark.parametrize(
    ("rejected", "says"),
    [
        (1, "1 record could not be read at the source and is not in this dump: rejects.jsonl names it"),
        (1_234_567, "1,234,567 records could not"), (0, None), (-3, None), (True, None), ("7", None), (None, None),
        ([], None),
    ],
)  # fmt: skip
def test_the_count_comes_from_a_stranger(rejected: Any, says: str | None) -> None:
    told = left_out({"consistency": {"kind": "snapshot", "rejected": rejected}})
    assert told is says is None or (told or "").startswith(str(says))


def test_a_missing_file_of_rejects_does_not_stop_an_import(tmp_path: Path, place: str) -> None:
    dump = tmp_path / "dump"
    shutil.copytree(GOOD / "rejects", dump)
    (dump / "rejects.jsonl").unlink()
    assert import_(dump, place).notes == (SAID,)
