"""A plan says what will happen, writes nothing, and its choices can be kept in a file."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vecport.errors import AlreadyExists, NotFound, NotRepresentable, UsageError
from vecport.operations import estimates
from vecport.operations.export import export
from vecport.operations.import_ import import_
from vecport.operations.plan import SAMPLE, PlanResult, plan
from vecport.operations.verify import verify
from vecport.testing.bench import tree
from vecport.testing.records import Record

from .rooms import DIM, collection, fill, held, record, room

ROWS = 700


@pytest.fixture(scope="module")
def place() -> Iterator[str]:
    with room() as address:
        fill(address, [record(f"r{i:03}", i, "eu" if i % 7 == 0 else "", text="x" * 50) for i in range(ROWS)])
        yield address


@pytest.fixture(scope="module")
def dump(place: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plan") / "dump"
    export(place, folder)
    return folder


@pytest.fixture
def empty() -> Iterator[str]:
    with room() as address:
        yield address


def figure(result: PlanResult, what: str) -> dict[str, Any]:
    [found] = [e for e in result.facts["estimates"] if e["what"] == what]
    assert found["basis"]
    return dict(found)


def test_a_source_tells_rows_sizes_and_times(place: str) -> None:
    result = plan(place)
    facts = result.facts
    assert (facts["rows"], facts["reads"], facts["version"]) == (ROWS, "one snapshot", "1")
    assert facts["namespaces"] == {"": 600, "eu": 100}
    assert result.sampled == SAMPLE
    assert figure(result, "requests to read")["high"] == 1 + 3
    size = figure(result, "bytes to read")
    assert ROWS * (4 * DIM + 50) < size["high"] < ROWS * 400
    assert size["basis"] == f"the mean of {SAMPLE} records"
    assert 0 < figure(result, "dump")["high"] < size["high"]
    time = figure(result, "time to read")
    assert (time["low"], time["basis"]) == (None, "unknown: no rate was measured for memory")
    assert result.ledger == []


def test_a_selection_is_what_is_counted(place: str) -> None:
    result = plan(place, namespace=["eu"])
    assert result.facts["rows"] == 100
    assert result.facts["namespaces"] == {"eu": 100}
    assert plan(place, where='{"n": 7}').facts["rows"] == 1


def test_a_source_and_a_target_give_a_ledger_of_a_sample(place: str, tmp_path: Path) -> None:
    result = plan(place, f"chroma:{tmp_path / 'c'}")
    assert result.sampled == SAMPLE
    assert {e["field"]: e["status"] for e in result.ledger}["namespace"] == "encoded"
    assert sum(e["count"] for e in result.ledger if e["field"] == "metadata:text") == SAMPLE
    assert any(f"sample of {SAMPLE} records" in n for n in result.notes)
    assert result.facts["target"]["would"] == "create it"
    assert result.facts["target"]["free_bytes"] > 0
    assert not (tmp_path / "c").exists()
    index = figure(result, "index in memory")
    assert index["high"] == ROWS * (4 * DIM + 8 * 16)
    assert "hnswlib" in index["basis"]
    time = figure(result, "time to write")
    assert time["low"] * 8 == pytest.approx(time["high"])


def test_a_dump_gives_the_whole_ledger(dump: Path, tmp_path: Path) -> None:
    before = tree(dump)
    result = plan(os_path(dump), f"chroma:{tmp_path / 'c'}")
    assert result.sampled is None
    assert result.facts["namespaces"] == {"": 600, "eu": 100}
    assert sum(e["count"] for e in result.ledger if e["field"] == "metadata:text") == ROWS
    assert figure(result, "requests to write")["high"] > 5
    assert figure(result, "time to check the dump")["low"] > 0
    assert tree(dump) == before
    assert not (tmp_path / "c").exists()


def os_path(path: Path) -> str:
    return str(path)


WOULD = {
    "create": "refuse: it holds records",
    "append": "add to what is there, keeping records with equal ids",
    "replace": "remove what is there and create it anew",
}


@pytest.mark.parametrize("if_exists", WOULD)
def test_it_says_what_an_import_would_do_with_what_is_there(dump: Path, empty: str, if_exists: str) -> None:
    assert plan(os_path(dump), empty).facts["target"] == {"exists": False, "would": "create it"}
    fill(empty, [])
    assert plan(os_path(dump), empty).facts["target"]["would"] == "fill the empty collection"
    fill(empty, [record("mine")])
    result = plan(os_path(dump), empty, if_exists=if_exists, on_conflict="skip")
    assert result.facts["target"]["would"] == WOULD[if_exists]
    assert any("holds records" in n for n in result.notes) == (if_exists == "create")
    assert held(empty) == {("", "mine"): {"n": 0.0}}


def test_choices_that_the_target_lacks_are_refused_as_an_import_would(dump: Path, tmp_path: Path) -> None:
    for wrong in ({"on_conflict": "skip"}, {"namespaces": "split"}, {"if_exists": "merge"}):
        with pytest.raises(UsageError):
            plan(os_path(dump), f"jsonl:{tmp_path / 'x.jsonl'}", **wrong)  # type: ignore[arg-type]


def test_an_empty_source_has_a_plan_too(empty: str, tmp_path: Path) -> None:
    fill(empty, [])
    result = plan(empty, f"chroma:{tmp_path / 'c'}")
    assert (result.facts["rows"], result.sampled) == (0, 0)
    assert figure(result, "bytes to read")["basis"].startswith("the schema")


def test_a_dump_that_would_not_fit_is_said(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from collections import namedtuple

    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage(1000, 990, 10))
    assert any("would not fit here" in n for n in plan(place).notes)


def test_what_is_not_known_is_no_figure() -> None:
    made = collection(metric="dot")
    sparse = replace(made, vectors=(replace(made.vectors[0], kind="sparse", dim=None),))
    found = [
        *estimates.reading(None, 100, 10, "b"), *estimates.writing(None, 100, 10, "b"),
        estimates.dump_size(None, 10, "b"), estimates.read_time("qdrant", None, 10), estimates.write_time("x", 5, 10),
        estimates.check_time(None), *estimates.target_memory(None, made), estimates.target_memory(5, sparse)[0],
    ]  # fmt: skip
    unknown = [e for e in found if e.high is None]
    assert len(unknown) == len(found)
    assert all(e.low is None and e.basis for e in unknown)


# ---- a file of choices


def two_vectors() -> tuple[Any, list[Record]]:
    made = collection()
    made = replace(made, vectors=tuple(replace(made.vectors[0], name=n) for n in ("title", 'odd "name" \u007f')))
    vectors = {v.name: np.array([1, 2, 3, 4], np.float32) for v in made.vectors}
    return made, [Record(f"r{i}", vectors, {"n": i}) for i in range(3)]


@pytest.mark.parametrize("name", ["choices.toml", "choices.json"])
def test_the_file_that_a_plan_writes_is_what_an_import_takes(name: str, tmp_path: Path) -> None:
    file = tmp_path / name
    with room() as source, room() as target:
        made, records = two_vectors()
        fill(source, records, made)
        export(source, tmp_path / "dump")
        plan(os_path(tmp_path / "dump"), target, settings={"metric.title": "dot"}, emit_target_config=file)
        text = file.read_text()
        data = json.loads(text) if name.endswith("json") else tomllib.loads(text)
        assert data == {
            "vecport": 1, "connector": "memory", "settings": {"metric.title": "dot", 'metric.odd "name" \x7f': "l2"},
            "vectors": {"title": "title", 'odd "name" \x7f': 'odd "name" \x7f'},
        }  # fmt: skip
        file.write_text(text.replace('"title": "title"', '"title": "t"').replace('"title" = "title"', '"title" = "t"'))
        import_(tmp_path / "dump", target, target_config=file)
        schema = plan(target).facts["schema"]["vectors"]
        assert (schema[0]["name"], schema[0]["metric"]) == ("title", "l2")
        assert verify(tmp_path / "dump", target).exit_code == 0
        export(target, tmp_path / "raw", ignore_passport=True)
        native = plan(os_path(tmp_path / "raw")).facts["schema"]["vectors"]
        assert [(v["name"], v["metric"]) for v in native] == [("t", "dot"), ('odd "name" \x7f', "l2")]


def test_what_the_user_says_goes_before_the_file(dump: Path, empty: str, tmp_path: Path) -> None:
    plan(os_path(dump), empty, settings={"metric": "dot"}, emit_target_config=tmp_path / "c.toml")
    import_(dump, empty, target_config=tmp_path / "c.toml", settings={"metric": "cosine"})
    export(empty, tmp_path / "raw", ignore_passport=True)
    assert plan(os_path(tmp_path / "raw")).facts["schema"]["vectors"][0]["metric"] == "cosine"


def test_a_file_that_exists_is_never_written(dump: Path, empty: str, tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text("mine")
    with pytest.raises(AlreadyExists, match=r"c\.toml exists"):
        plan(os_path(dump), empty, emit_target_config=file)
    assert file.read_text() == "mine"
    with pytest.raises(UsageError, match="cannot be written"):
        plan(os_path(dump), empty, emit_target_config=tmp_path / "none" / "c.toml")
    with pytest.raises(UsageError, match="no target is named"):
        plan(os_path(dump), emit_target_config=tmp_path / "d.toml")
    assert not (tmp_path / "d.toml").exists()


GOOD = 'vecport = 1\nconnector = "memory"\n'
BAD = {
    "no toml": "vecport = ",
    "not text": b"\xff\xfe",
    "nothing": "",
    "another form": 'vecport = 2\nconnector = "memory"',
    "true is not one": 'vecport = true\nconnector = "memory"',
    "another database": 'vecport = 1\nconnector = "chroma"',
    "no database": "vecport = 1",
    "an unknown entry": GOOD + 'if_exists = "replace"',
    "settings that are no table": GOOD + "settings = 7",
    "a setting that is no text": GOOD + "[settings]\nmetric = 1",
    "a name that is no text": GOOD + "[vectors]\na = []",
    "one name for two": GOOD + '[vectors]\na = "x"\nb = "x"',
    "too long": GOOD + "#" * (1 << 20),
    "deep": GOOD + "x = " + "[" * 5000,
    "a vector that is not there": GOOD + '[vectors]\nother = "x"',
    "an unknown metric": GOOD + '[settings]\nmetric = "far"',
}


@pytest.mark.parametrize("what", BAD)
def test_a_wrong_file_is_refused_before_anything_is_there(what: str, dump: Path, empty: str, tmp_path: Path) -> None:
    text = BAD[what]
    file = tmp_path / "c.toml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UsageError):
        import_(dump, empty, target_config=file)
    with pytest.raises(NotFound):
        plan(empty)


def test_no_file_is_no_config(dump: Path, empty: str, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="does not exist"):
        import_(dump, empty, target_config=tmp_path / "none.toml")
    with pytest.raises(UsageError, match="cannot be read"):
        import_(dump, empty, target_config=tmp_path)


def test_names_for_vectors_need_a_target_that_has_names(tmp_path: Path) -> None:
    with room() as source:
        fill(source, [record("a")])
        export(source, tmp_path / "dump")
    file = tmp_path / "c.toml"
    file.write_text('vecport = 1\nconnector = "chroma"\n[vectors]\n"" = "x"\n')
    with pytest.raises((UsageError, NotRepresentable), match="its vectors have no names"):
        import_(tmp_path / "dump", f"chroma:{tmp_path / 'c'}", target_config=file)
    assert not (tmp_path / "c").exists()
