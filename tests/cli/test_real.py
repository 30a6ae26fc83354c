"""The real operations behind the real command line, from a JSON Lines file to another and back."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from vecport import demo

from .conftest import OBEYED, Outcome


@pytest.fixture
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """300 records, some with text that a terminal would obey."""
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "rows.jsonl"
    with file.open("w") as out:
        for i in range(300):
            metadata = {"n": i, "\x1b[31mkey\u202e": "\x1b]0;owned\x07", "[bold]": None}
            record = {"id": f"doc-{i}\x1b[2J", "vector": [i, 0.5, -1], "document": "t", "metadata": metadata}
            out.write(json.dumps(record) + "\n")
    return file


def test_a_collection_goes_through_every_command(rows: Path, cli: Callable[..., Outcome]) -> None:
    steps = [
        (["ls", "jsonl:./rows.jsonl"], 0), (["plan", "rows.jsonl"], 0),
        (["export", "rows.jsonl", "a.vecport", "--workers", "1", "--memory", "256MiB", "--shard-rows", "100"], 0),
        (["export", "rows.jsonl", "a.vecport"], 11), (["ls", "."], 0), (["inspect", "a.vecport"], 0),
        (["validate", "a.vecport", "--level", "deep"], 0), (["plan", "a.vecport", "jsonl:./b.jsonl"], 0),
        (["import", "a.vecport", "jsonl:./b.jsonl", "--dry-run"], 0), (["import", "a.vecport", "jsonl:./b.jsonl"], 0),
        (["verify", "a.vecport", "jsonl:./b.jsonl"], 0), (["export", "b.jsonl", "b.vecport", "--limit", "200"], 0),
        (["diff", "a.vecport", "b.vecport"], 3), (["import", "a.vecport", "b.jsonl"], 11), (["inspect", "nothing"], 10),
        (["import", "a.vecport", "jsonl:./c.jsonl", "--max", "dim=1"], 13),
    ]  # fmt: skip
    for arguments, code in steps:
        shown = cli(*arguments)
        assert shown.code == code, (arguments, shown)
        assert not OBEYED.search(shown.out + shown.err)
        assert bool(shown.out) == (code in (0, 3))
    for arguments in (["inspect", "a.vecport"], ["validate", "a.vecport"], ["diff", "a.vecport", "b.vecport"]):
        assert cli(*arguments, "--json").json["schema"] == f"vecport.{arguments[0]}/1"


def test_the_last_line_of_an_import_can_be_pasted(rows: Path, cli: Callable[..., Outcome]) -> None:
    assert cli("export", "rows.jsonl", "my dump", "-q") == Outcome(0, "", "")
    shown = cli("import", "my dump", "jsonl:./my rows.jsonl", "-c", "my rows")
    label, _, command = shown.out.splitlines()[-1].partition(": ")
    assert label == "verify"
    assert cli(*shlex.split(command)[1:]).code == 0


def test_every_connector_is_listed_with_its_variables(cli: Callable[..., Outcome]) -> None:
    shown = cli("connectors")
    for name in ("chroma", "jsonl", "postgres", "qdrant"):
        assert f"  {name}" in shown.out
    by_name = {c["name"]: c for c in cli("connectors", "--json").json["entries"]}
    options = {o["name"]: o for o in by_name["qdrant"]["options"]}
    assert options["api-key"]["secret"] is True
    assert {"VECPORT_SOURCE_API_KEY", "QDRANT_API_KEY"} <= set(options["api-key"]["env"])
    assert by_name["qdrant"]["source"] is by_name["qdrant"]["target"] is True


def test_an_id_is_the_uuid_that_the_library_computes(cli: Callable[..., Outcome]) -> None:
    from vecport import stand_in

    assert cli("id", "doc-17") == Outcome(0, f"{stand_in('doc-17')}\n", "")
    assert cli("id", "17", "--kind", "int", "--namespace", "eu", "--json").json == {
        "schema": "vecport.id/1", "id": "17", "kind": "int", "namespace": "eu", "uuid": stand_in("17", "int", "eu"),
    }  # fmt: skip


def test_an_id_that_the_kind_does_not_have_is_refused(cli: Callable[..., Outcome]) -> None:
    """It would be the UUID of no record."""
    shown = cli("id", "007", "--kind", "int")
    assert (shown.code, shown.out) == (14, "")


def test_the_demo_is_told_where_to_write_and_what_to_keep(
    cli: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(folder: Path | None, console: Console) -> int:
        console.print(f"[bold]keeps {folder}[/bold]")
        return 3

    monkeypatch.setattr(demo, "run", run)
    assert cli("demo") == Outcome(3, "[bold]keeps None[/bold]\n", "")
    assert cli("demo", "--keep", "x") == Outcome(3, "[bold]keeps x[/bold]\n", "")
    assert cli("demo", "-q") == Outcome(3, "", "")
    shown = cli("demo", "--json", "--keep", "x")
    assert shown.json == {"schema": "vecport.demo/1", "folder": "x", "exit_code": 3}
    assert shown.err == "[bold]keeps x[/bold]\n"
