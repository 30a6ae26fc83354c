"""What is printed: data on standard output, one JSON object with ``--json``, nothing that a terminal would obey."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vecport.cli import plain, render, render_facts
from vecport.cli.sheet import Sheet
from vecport.cli.text import parse_size, safe, show_size, show_time
from vecport.operations.connectors import ConnectorRow, ConnectorsResult

from .conftest import CALLS, OBEYED, Fakes, Outcome, results

SGR = re.compile(r"\x1b\[[0-9;]*m")
INJECTIONS = {
    "colour": "\x1b[31mred",
    "clear": "\x1b[2J\x1b[H",
    "title": "\x1b]0;owned\x07",
    "link": "\x1b]8;;https://evil.example\x1b\\text\x1b]8;;\x1b\\",
    "clipboard": "\x1b]52;c;ZXZpbA==\x07",
    "bell": "a\x07b",
    "carriage-return": "100 records\rall is well",
    "new-line": "one\nerror: two",
    "backspace": "bad\x08\x08\x08good",
    "c1": "\x9b31mred",
    "override": "abc\u202efdp.exe\u202c",
    "invisible": "a\u200bd\u2066min\u2069\ufeff",
    "surrogate": "half \udce9",
    "separator": "one\u2028two",
    "markup": "[bold red]x[/bold red] [link=https://evil.example]y[/link] :smile:",
}


#: The program in a process of its own, with a place that holds one collection.
LISTING = [
    sys.executable, "-c",
    "import vecport; from vecport.cli.app import main; from dataclasses import make_dataclass;"
    "Ls = make_dataclass('Ls', ['place', 'kind', 'entries']);"
    "vecport.ls = lambda address: Ls('x', 'collections', [{'name': 'r\\xe9sum\\xe9', 'rows': None, 'detail': ''}]);"
    "import sys; main(['ls', 'x', *sys.argv[1:]])",
]  # fmt: skip


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(params=list(INJECTIONS), ids=list(INJECTIONS))
def payload(request: pytest.FixtureRequest) -> str:
    return INJECTIONS[request.param]


class TestInjection:
    @pytest.mark.parametrize("name", list(CALLS))
    def test_no_data_reaches_the_terminal_as_a_command(
        self, name: str, payload: str, cli: Callable[..., Outcome], fakes: Fakes
    ) -> None:
        fakes.answer(name, results(payload)[name])
        shown = cli(*CALLS[name])
        assert not OBEYED.search(shown.out + shown.err)
        assert not re.search(r"^error: two", shown.out + shown.err, re.MULTILINE)
        if name != "connectors":
            assert safe(payload) in shown.out or "…" in shown.out

    def test_it_is_spelled_out_on_a_terminal_too(self, payload: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TERM", "xterm-256color")
        monkeypatch.setattr(shutil, "get_terminal_size", lambda *a: os.terminal_size((500, 40)))
        for name, result in results(payload).items():
            draw = getattr(render, name if name != "import" else "import_", None) or getattr(render_facts, name)
            text = draw(result).render(Terminal())
            assert SGR.search(text) or name == "connectors"
            assert not OBEYED.search(SGR.sub("", text))
            assert safe(payload) in SGR.sub("", text) or name == "connectors"

    def test_json_is_ascii_and_says_the_data_exactly(
        self, payload: str, cli: Callable[..., Outcome], fakes: Fakes
    ) -> None:
        fakes.answer("inspect", results(payload)["inspect"])
        shown = cli("inspect", "./d", "--json")
        assert shown.out.isascii()
        assert shown.json["dump"] == payload

    def test_a_connector_of_another_package_cannot_either(self, payload: str) -> None:
        row = ConnectorRow(payload, payload, (payload,), True, False, False, payload, payload, "", (), payload)
        assert not OBEYED.search(render_facts.connectors(ConnectorsResult((row,))).render(io.StringIO()))


class TestStreams:
    @pytest.mark.parametrize("name", list(CALLS))
    def test_json_is_one_object_with_a_schema_on_standard_output(
        self, name: str, cli: Callable[..., Outcome], fakes: Fakes
    ) -> None:
        result = results()[name]
        fakes.answer(name, result)
        shown = cli(*CALLS[name], "--json")
        assert shown.json["schema"] == f"vecport.{name}/1"
        assert shown.json["exit_code"] == shown.code == result.exit_code
        fields = {f.removesuffix("_") for f in type(result).__dataclass_fields__}
        assert set(shown.json) == {"schema", *fields}

    @pytest.mark.parametrize("name", list(CALLS))
    def test_no_escape_byte_goes_anywhere_but_to_a_terminal(
        self, name: str, cli: Callable[..., Outcome], fakes: Fakes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Even where a build machine sets FORCE_COLOR."""
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("TERM", "xterm-256color")
        fakes.answer(name, results()[name])
        shown = cli(*CALLS[name])
        assert shown.out
        assert "\x1b" not in shown.out + shown.err
        assert all(line == line.rstrip() for line in shown.out.splitlines())

    def test_notes_go_to_standard_error_once(self, cli: Callable[..., Outcome], fakes: Fakes) -> None:
        def heard(**options: Any) -> Any:
            options["progress"].note("thing")
            return results()["export"]

        fakes.answer("export", heard)
        assert cli(*CALLS["export"]).err.count("note: thing\n") == 1
        fakes.answer("export", results()["export"])
        assert cli(*CALLS["export"]).err.count("note: thing\n") == 1
        assert "note" not in cli(*CALLS["export"]).out

    def test_notes_of_each_step_of_a_copy_are_shown(self, cli: Callable[..., Outcome], fakes: Fakes) -> None:
        """``verify`` has its notes in its own result."""
        fakes.answer("copy", results("step")["copy"])
        assert cli(*CALLS["copy"]).err.count("note: step\n") == 1

    def test_quiet_leaves_data_and_errors_only(self, cli: Callable[..., Outcome], fakes: Fakes) -> None:
        for name in CALLS:
            fakes.answer(name, results()[name])
            shown = cli(*CALLS[name], "-q")
            assert shown.err == ""
            asked_for_data = name in ("plan", "ls", "inspect", "connectors")
            assert bool(shown.out) == asked_for_data
            assert cli(*CALLS[name], "-q", "--json").json

    def test_a_summary_gives_way_when_records_go_to_standard_output(
        self, cli: Callable[..., Outcome], fakes: Fakes
    ) -> None:
        fakes.answer("import", results()["import"])
        for target in ("-", "jsonl:-", "jsonl:-#docs"):
            shown = cli("import", "./d", target)
            assert shown.out == ""
            assert "Imported 10 records" in shown.err
            assert "vecport verify" not in shown.err
            assert cli("import", "./d", target, "--json").out == ""

    def test_a_full_disk_under_standard_output_is_an_error(self) -> None:
        with open("/dev/full", "w") as full:
            done = subprocess.run([*LISTING, "--json"], stdout=full, stderr=subprocess.PIPE)
        assert done.returncode == 16
        assert b"No space left" in done.stderr

    def test_a_reader_that_leaves_early_is_no_failure(self) -> None:
        read, write = os.pipe()
        os.close(read)
        done = subprocess.run([*LISTING, "--json"], stdout=write, stderr=subprocess.PIPE)
        os.close(write)
        assert (done.returncode, done.stderr) == (0, b"")

    def test_a_closed_standard_output_is_no_failure(self) -> None:
        done = subprocess.run(["bash", "-c", '"$@" >&-', "bash", *LISTING], stderr=subprocess.PIPE)
        assert (done.returncode, done.stderr) == (0, b"")

    def test_an_encoding_without_the_characters_does_not_end_the_program(self) -> None:
        done = subprocess.run(LISTING, capture_output=True, check=True, env={"PYTHONIOENCODING": "ascii"})
        assert done.stdout.isascii()
        assert b"-c 'r\\xe9sum\\xe9'" in done.stdout


class TestSummaries:
    def test_an_export_ends_with_the_import(self, cli: Callable[..., Outcome], fakes: Fakes) -> None:
        fakes.answer("export", results("my dump")["export"])
        assert cli(*CALLS["export"]).out.endswith("next: vecport import 'my dump' ADDRESS --collection NAME\n")

    def test_a_dump_shows_the_portable_types_of_its_fields(self, cli: Callable[..., Outcome], fakes: Fakes) -> None:
        result = results("docs")["inspect"]
        fields = [{"name": "price", "type": "numeric(9,2)", "logical": "decimal"}, {"name": "span", "type": "interval"}]
        fakes.answer("inspect", replace(result, facts=result.facts | {"fields": fields}))
        shown = cli(*CALLS["inspect"]).out
        assert re.search(r"fields +type +logical\n +price +numeric\(9,2\) +decimal\n +span +interval\n", shown)

    def test_an_import_ends_with_the_verify_command_and_a_query(
        self, cli: Callable[..., Outcome], fakes: Fakes
    ) -> None:
        fakes.answer("import", results("SELECT 1")["import"])
        lines = cli(*CALLS["import"]).out.splitlines()
        assert lines[-2:] == ["verify: vecport verify ./d SELECT 1", "query: SELECT 1"]

    def test_an_import_shows_its_ledger(self, cli: Callable[..., Outcome], fakes: Fakes) -> None:
        fakes.answer("import", results("tags")["import"])
        assert re.search(r"lossy +metadata:tags +3 +tags is too long +tags", cli(*CALLS["import"]).out)

    def test_what_is_exact_is_one_line_of_the_ledger(self, cli: Callable[..., Outcome], fakes: Fakes) -> None:
        result = results("tags")["import"]
        result.ledger[:] = [*result.ledger, *({**result.ledger[0], "status": "exact"} for _ in range(50))]
        fakes.answer("import", result)
        shown = cli(*CALLS["import"]).out
        assert "and 50 fields come back exactly" in shown
        assert len(shown.splitlines()) < 12

    def test_a_list_of_a_place_ends_with_an_export_of_the_address_as_typed(
        self, cli: Callable[..., Outcome], fakes: Fakes
    ) -> None:
        """``env:`` is kept: what it stands for may hold a password that is not shown."""
        fakes.answer("ls", results("docs")["ls"])
        assert cli("ls", "env:DATABASE_URL").out.endswith(
            "next: vecport export env:DATABASE_URL ./docs.vecport -c docs\n"
        )

    def test_a_diff_has_one_symbol_a_line(self, cli: Callable[..., Outcome], fakes: Fakes) -> None:
        fakes.answer("diff", results("doc-7")["diff"])
        shown = cli(*CALLS["diff"]).out
        assert re.findall(r"^  ([=+\-*!])  ", shown, re.MULTILINE) == list("!==+-**" + "--++****")
        assert re.search(r"\+ +1 +only in B\n", shown)
        assert re.search(r"part +records\n +doc-7 +1\n", shown)
        assert re.search(r"\* +doc-7/doc-7 +doc-7 +doc-7 → doc-7 \(0\.5 off\)\n", shown)
        assert re.search(r"\* +doc-7/doc-7 +metadata:doc-7 +doc-7 → doc-7\n", shown)

    def test_a_validation_shows_what_failed(self, cli: Callable[..., Outcome], fakes: Fakes) -> None:
        fakes.answer("validate", results("shard-sha256")["validate"])
        shown = cli(*CALLS["validate"])
        assert shown.code == 3
        assert shown.out.startswith("Not valid: shard-sha256 (1 finding in 2 checks, full)\n")
        assert re.search(r"✗ +shard-sha256 +1 +shard-sha256", shown.out)

    def test_an_empty_place_says_so(self, cli: Callable[..., Outcome], fakes: Fakes) -> None:
        empty = results()["ls"]
        fakes.answer("ls", type(empty)("memory:x", "collections", []))
        assert cli("ls", "memory:x").out == "memory:x: nothing is here\n"

    @pytest.mark.parametrize("columns", [40, 80])
    @pytest.mark.parametrize("name", list(CALLS))
    def test_a_narrow_terminal_loses_no_character(
        self, columns: int, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Tables fold. Only commands to paste may run over the edge: a fold would break them."""
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setattr(shutil, "get_terminal_size", lambda *a: os.terminal_size((columns, 40)))
        word = "abcdefghijklmnopqrstuvwxyz0123456789"
        draw = getattr(render, name if name != "import" else "import_", None) or getattr(render_facts, name)
        text = SGR.sub("", draw(results(word)[name]).render(Terminal()))
        assert "…" not in text
        tables = [line for line in text.splitlines() if line.startswith("    ")]
        assert all(len(line) <= columns for line in tables)

    def test_colour_is_left_out_where_it_is_not_wanted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TERM", "xterm-256color")
        sheet = Sheet().headline("good", good=True).headline("bad", good=False)
        assert "\x1b[1;32m" in sheet.render(Terminal())
        monkeypatch.setenv("NO_COLOR", "1")
        assert not re.search(r"\x1b\[(?:\d+;)*3\d", sheet.render(Terminal()))
        monkeypatch.setenv("TERM", "dumb")
        assert "\x1b" not in sheet.render(Terminal())


class TestSizes:
    @pytest.mark.parametrize(
        ("text", "size"),
        [("4096", 4096), ("512MiB", 512 << 20), ("512 mib", 512 << 20), ("2GB", 2 * 10**9), ("2G", 2 << 30),
         ("1.5GiB", 3 << 29), ("64k", 65536), ("1_000KB", 10**6), ("0.1GB", 10**8), ("1TiB", 1 << 40)],
    )  # fmt: skip
    def test_are_read(self, text: str, size: int, cli: Callable[..., Outcome], fakes: Fakes) -> None:
        assert parse_size(text) == size
        fakes.answer("export", results()["export"])
        assert cli(*CALLS["export"], "--memory", text).code == 0
        assert fakes.options["memory_bytes"] == size

    @pytest.mark.parametrize("text", ["", "0", "-1", "MiB", "5 apples", "1e9", "1.2.3GB", "٣MiB", "0.0001B"])
    def test_are_refused(self, text: str, cli: Callable[..., Outcome]) -> None:
        shown = cli(*CALLS["export"], f"--memory={text}")
        assert shown.code == 2
        assert "--memory: a size" in shown.err

    def test_are_shown(self) -> None:
        assert [show_size(n) for n in (0, 1023, 1024, 3 << 29, 5 << 50)] == [
            "0 B", "1023 B", "1.0 KiB", "1.5 GiB", "5120.0 TiB",
        ]  # fmt: skip
        assert [show_time(s) for s in (0, 9.94, 59.4, 185, 7620)] == [
            "0.0 s", "9.9 s", "59 s", "3 min 05 s", "2 h 07 min",
        ]  # fmt: skip


class TestOptions:
    def test_what_is_not_given_is_not_passed_on(self, cli: Callable[..., Outcome], fakes: Fakes) -> None:
        """The defaults are those of the Python functions, in one place."""
        for name in CALLS:
            fakes.answer(name, results()[name])
            cli(*CALLS[name])
            assert not {k: v for k, v in fakes.options.items() if v and k not in ("target", "progress", "stop")}

    def test_pairs_become_mappings(self, cli: Callable[..., Outcome], fakes: Fakes) -> None:
        fakes.answer("import", results()["import"])
        given = ["--set", "metric=cosine", "--set", "opclass=a=b", "--max", "dim=1000", "--max", "id-bytes=2KiB"]
        assert cli(*CALLS["import"], *given, "--allow-lossy", "metric", "--allow-lossy", "id").code == 0
        assert fakes.options["settings"] == {"metric": "cosine", "opclass": "a=b"}
        assert fakes.options["limits"] == {"dim": 1000, "id_bytes": 2048}
        assert fakes.options["allow_lossy"] == ("metric", "id")

    def test_a_pair_that_contradicts_itself_is_refused(self, cli: Callable[..., Outcome]) -> None:
        shown = cli(*CALLS["import"], "--set", "metric=l2", "--set", "metric=dot")
        assert shown.code == 2
        assert "metric is given twice" in shown.err

    def test_results_become_json_in_one_place(self) -> None:
        value = {"path": Path("x"), "nan": float("nan"), "tuple": (1, 2), "flag": True, "none": None}
        assert plain.to_json(value) == {"path": "x", "nan": None, "tuple": [1, 2], "flag": True, "none": None}
        assert plain.to_json(results()["copy"])["import"]["rows"] == 10
        assert json.loads(plain.document("x", results()["export"]))["identity"]["rows"] == 10
