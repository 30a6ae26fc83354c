"""``copy`` takes the choices of the three operations that it stands for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vecport.dump import open_dump
from vecport.errors import NotRepresentable, UsageError, VecportError
from vecport.operations.copy import copy
from vecport.operations.import_ import import_

from .rooms import fill, held, record, room


@pytest.fixture
def places() -> Iterator[tuple[str, str]]:
    with room() as source, room() as target:
        fill(source, [record(f"r{i}", i, "eu") for i in range(5)])
        yield source, target


def test_a_finished_dump_is_kept_and_made_again_when_asked(places: tuple[str, str], tmp_path: Path) -> None:
    source, target = places
    first = copy(source, target, dump=tmp_path / "dump", encodings="plain")
    assert first.exit_code == 0
    assert open_dump(tmp_path / "dump").manifest.encodings == "plain"
    fill(source, [record("more", 9)])
    kept = copy(source, target, dump=tmp_path / "dump", if_exists="replace")
    assert (kept.export, kept.verify.rows) == (None, 5)
    again = copy(source, target, dump=tmp_path / "dump", if_exists="replace", overwrite=True)
    assert again.export is not None
    assert (again.verify.rows, len(held(target))) == (6, 6)


def test_a_passport_is_followed_or_ignored(places: tuple[str, str], tmp_path: Path) -> None:
    source, target = places
    place = f"chroma:{tmp_path / 'c'}"
    copy(source, place, dump=tmp_path / "first")
    copy(place, target, dump=tmp_path / "second")
    assert set(held(target)) == {("eu", f"r{i}") for i in range(5)}
    copy(place, target, dump=tmp_path / "third", ignore_passport=True, if_exists="replace")
    assert set(held(target)) == {("", f"r{i}") for i in range(5)}
    copy(place, target, dump=tmp_path / "fourth", ignore_passport=True, like=tmp_path / "first", if_exists="replace")
    assert set(held(target)) == {("eu", f"r{i}") for i in range(5)}


def test_the_tolerance_is_that_of_the_verification(places: tuple[str, str], tmp_path: Path) -> None:
    source, target = places
    result = copy(source, target, dump=tmp_path / "dump", tolerance=0.125)
    assert result.verify.bound == "within 0.125"


def test_a_tolerance_that_is_no_bound_is_refused_before_anything_is_read(
    places: tuple[str, str], tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="no bound"):
        copy(*places, dump=tmp_path / "dump", tolerance=-1.0)
    assert not (tmp_path / "dump").exists()


def test_conflicts_are_dealt_with_as_in_an_import(places: tuple[str, str], tmp_path: Path) -> None:
    source, target = places
    fill(target, [record("r1", -1, "eu")])
    result = copy(source, target, dump=tmp_path / "dump", if_exists="append", on_conflict="skip")
    assert (result.exit_code, result.verify.metadata_changed) == (3, 1)
    assert held(target)["eu", "r1"] == {"n": -1}


WRONG: dict[str, tuple[dict[str, Any], type[VecportError]]] = {
    "encodings": ({"encodings": "best"}, UsageError),
    "an on-error": ({"on_error": "ignore"}, UsageError),
    "a limit": ({"limits": {"unheard_of": 1}}, UsageError),
    "a limit that is too low": ({"limits": {"dim": 1}}, VecportError),
    "a conflict": ({"on_conflict": "merge"}, UsageError),
    "namespaces": ({"namespaces": "refuse"}, NotRepresentable),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_choice_is_refused(what: str, places: tuple[str, str], tmp_path: Path) -> None:
    given, error = WRONG[what]
    source, target = places
    with pytest.raises(error):
        copy(source, target, dump=tmp_path / "dump", **given)
    with pytest.raises(VecportError):
        held(target)


def test_the_file_of_choices_reaches_the_import(places: tuple[str, str], tmp_path: Path) -> None:
    source, target = places
    (tmp_path / "c.toml").write_text('vecport = 1\nconnector = "memory"\n[settings]\nmetric = "dot"\n')
    copy(source, target, dump=tmp_path / "dump", target_config=tmp_path / "c.toml")
    with pytest.raises(UsageError, match="is a target config for 'memory'"):
        import_(tmp_path / "dump", f"chroma:{tmp_path / 'c'}", target_config=tmp_path / "c.toml")
