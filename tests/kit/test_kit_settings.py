"""Settings: what ``--set`` takes, what a dump keeps, and that a stranger's dump is held against the same bounds."""

from __future__ import annotations

import pytest

from vecport.connectors.kit import settings
from vecport.connectors.kit.settings import NATIVE, Setting
from vecport.errors import NotRepresentable, UsageError

TABLE = (
    Setting("m", "Links.", low=2, high=100, path="hnsw.m", of="vector"),
    Setting("on_disk", kind="flag", path="hnsw.on_disk"),
    Setting("index", kind="choice", choices=("hnsw", "none")),
    Setting("memory", kind="text", pattern=r"[0-9]+(kB|MB)", takes="a number and a unit, as 512MB"),
    Setting("dimensions", of="one", low=1),
    Setting("column", kind="text", of="key"),
    Setting("factor", kind="number", low=1, high=100, path="hnsw.factor", offered=False),
    NATIVE,
)


def test_choices_are_checked_and_typed() -> None:
    given = {"m": "16", "m.title": "8", "on_disk": "True", "index": "none", "memory": "512MB", "dimensions.body": "3",
             "column.year": "y", "native": "ignore", "metric": "l2", "metric.title": "dot"}  # fmt: skip
    found = settings.parse(given, TABLE, "Example", ["title", "body"])
    assert found == {"m": 16, "m.title": 8, "on_disk": True, "index": "none", "memory": "512MB", "dimensions.body": 3,
                     "column.year": "y", "native": "ignore"}  # fmt: skip
    assert settings.chosen(found, "m", "title") == 8
    assert settings.chosen(found, "m", "body") == 16
    assert settings.chosen(found, "index", "body") == "none"
    assert settings.chosen(found, "dimensions", "title") is None


@pytest.mark.parametrize(
    "name", ["x", "m.other", "m.", "on_disk.title", "dimensions", "column", "factor", "hnsw.m", "index.title"]
)
def test_an_unknown_setting_is_refused_with_the_list_of_those_there_are(name: str) -> None:
    with pytest.raises(UsageError, match=f"--set {name}: Example has no such setting") as caught:
        settings.parse({name: "3"}, TABLE, "Example", ["title"])
    assert caught.value.next == "one of: m, on_disk, index, memory, dimensions.VECTOR, column.KEY, native"


@pytest.mark.parametrize(
    ("name", "text", "takes"),
    [("m", "1", "a whole number from 2 to 100"), ("m", "101", "2 to 100"), ("m", "3.5", "2 to 100"), ("m", "", "2"),
     ("m", "٣", "2 to 100"), ("on_disk", "yes", "true or false"), ("index", "flat", "hnsw, none"),
     ("memory", "512", "as 512MB"), ("native", "all", "keep, ignore")],
)  # fmt: skip
def test_a_value_that_a_setting_does_not_take_is_refused_with_what_it_takes(name: str, text: str, takes: str) -> None:
    with pytest.raises(UsageError, match=f"--set {name}={text}") as caught:
        settings.parse({name: text}, TABLE, "Example")
    assert takes in caught.value.why


def test_a_dump_keeps_what_the_table_names_and_gets_it_back() -> None:
    shown = {"hnsw": {"m": 7, "on_disk": False, "factor": 1.5, "code": "import os"}, "other": {"m": 3}}
    kept = settings.kept(shown, TABLE)
    assert kept == {"hnsw": {"m": 7, "on_disk": False, "factor": 1.5}}
    assert settings.restored(kept, TABLE, "Example") == {"hnsw.m": 7, "hnsw.on_disk": False, "hnsw.factor": 1.5}
    assert settings.restored({}, TABLE, "Example") == {} == settings.kept({"hnsw": None}, TABLE)
    chosen = {"m": 3, "index": "none"}
    assert settings.by_path(chosen, TABLE) == {"hnsw.m": 3}
    assert settings.wanted(kept, {"native": "ignore"}) == {}
    assert settings.wanted(kept, {"native": "keep"}) is kept


@pytest.mark.parametrize("hnsw", [{"m": 1}, {"m": 1000}, {"m": True}, {"m": "7"}, {"m": 7.0}, {"on_disk": 1},
                                  {"factor": float("nan")}, {"factor": "2"}, [7], "m"])  # fmt: skip
def test_what_no_collection_could_have_is_refused(hnsw: object) -> None:
    with pytest.raises(NotRepresentable, match="cannot be restored") as caught:
        settings.restored({"hnsw": hnsw}, TABLE, "Example")
    assert "--set native=ignore" in caught.value.next


def test_the_table_documents_itself() -> None:
    rows = list(settings.documented(TABLE))
    assert rows[0] == ("`m`, `m.VECTOR`", "Links.", "a whole number from 2 to 100")
    assert [name for name, _, _ in rows] == [
        "`m`, `m.VECTOR`", "`on_disk`", "`index`", "`memory`", "`dimensions.VECTOR`", "`column.KEY`", "`native`"
    ]  # fmt: skip
