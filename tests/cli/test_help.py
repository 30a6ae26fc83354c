"""Every command can be learned from its own help, and is the Python function of its name."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

import vecport
from vecport import demo
from vecport.cli import options, reference
from vecport.cli.app import ENTRIES, GUESSES, program
from vecport.dump.layout import ENCODINGS
from vecport.errors import EXIT_CODES
from vecport.model.collection import ID_KINDS
from vecport.model.key_mapping import NAMESPACE_MODES
from vecport.operations import import_plan, repeats
from vecport.operations.compare import levels

from .conftest import FUNCTIONS, Outcome

COMMANDS = list(ENTRIES)
#: Options that are about showing, not about doing.
SHOWING = {"as_json", "quiet", "debug", "progress"}
#: What a Python caller sets for all functions at once, with ``vecport.idle.timeout`` or ``VECPORT_TIMEOUT``.
AROUND = {"timeout"}
#: Parameters that only a Python caller has; ``limits`` and ``memory_bytes`` are ``--max`` and ``--memory``.
LISTENING = {"progress", "stop"}


def command(name: str) -> click.Command:
    found = program.get_command(click.Context(program), name)
    assert found is not None
    return found


def function(name: str) -> Any:
    return getattr(vecport, FUNCTIONS.get(name, name))


@pytest.mark.parametrize("name", COMMANDS)
class TestEveryCommand:
    def test_has_help_with_an_example_of_itself_and_ends_with_the_exit_codes(
        self, name: str, cli: Callable[..., Outcome]
    ) -> None:
        for flag in ("--help", "-h"):
            shown = cli(name, flag)
            assert shown.code == 0
            assert shown.err == ""
        body, _, status = shown.out.partition("\nEXIT STATUS:\n")
        assert re.search(rf"\n  Examples:\n    vecport {name}\b", body)
        assert [int(line.split()[0]) for line in status.splitlines()] == list(EXIT_CODES)
        assert all(len(line) <= 100 for line in shown.out.splitlines())

    def test_says_in_the_list_what_its_own_help_says(self, name: str) -> None:
        own = (command(name).help or "").partition("\n")[0]
        listed = ENTRIES[name].help
        assert own
        assert listed[0].isupper()
        assert listed.endswith(".")
        assert len(listed) <= 72

    def test_has_json_quiet_and_debug(self, name: str) -> None:
        assert {"as_json", "quiet", "debug"} <= {p.name for p in command(name).params}

    def test_explains_every_option(self, name: str) -> None:
        for param in command(name).params:
            if isinstance(param, click.Option):
                assert param.help, param.name

    def test_has_no_example_that_does_not_parse(self, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        import shlex

        lines = re.findall(r"^ *vecport (.+)$", command(name).help or "", re.MULTILINE)
        assert lines
        for line in lines:
            arguments = shlex.split(line.partition(" | ")[0])
            assert arguments[0] == name
            command(name).make_context(name, arguments[1:], resilient_parsing=False)


@pytest.mark.parametrize("name", [n for n in COMMANDS if n != "demo"])
class TestEveryFunction:
    def test_has_the_parameters_of_its_command(self, name: str) -> None:
        of_command = {p.name for p in command(name).params} - SHOWING - AROUND
        of_function = set(inspect.signature(function(name)).parameters) - LISTENING
        assert of_command == of_function

    def test_listens_when_the_command_shows_progress(self, name: str) -> None:
        shows = "progress" in {p.name for p in command(name).params}
        assert shows == (set(inspect.signature(function(name)).parameters) >= LISTENING)

    def test_has_the_defaults_that_the_help_shows(self, name: str) -> None:
        defaults = inspect.signature(function(name)).parameters
        for param in command(name).params:
            shown = re.search(r"\[default: (\S+)\]", getattr(param, "help", "") or "")
            if shown is None or param.name in SHOWING or shown.group(1) == "none":
                continue
            value = (
                options.Size().convert(shown.group(1), None, None) if param.name == "memory_bytes" else shown.group(1)
            )
            assert defaults[str(param.name)].default == value


def test_demo_is_a_function_too() -> None:
    assert list(inspect.signature(demo.run).parameters) == ["folder", "console"]


def test_choices_are_those_of_the_operations() -> None:
    assert options.ENCODINGS == ENCODINGS
    assert options.DUPLICATES == repeats.POLICIES
    assert options.IF_EXISTS == import_plan.IF_EXISTS
    assert options.ON_CONFLICT == import_plan.ON_CONFLICT
    assert options.NAMESPACES == NAMESPACE_MODES
    assert options.LEVELS == levels.LEVELS
    assert options.ID_KINDS == ID_KINDS


def test_the_program_lists_every_command_and_the_exit_codes(cli: Callable[..., Outcome]) -> None:
    shown = cli("--help")
    assert shown.code == 0
    for name, entry in ENTRIES.items():
        assert re.search(rf"^  {name} +{re.escape(entry.help)}$", shown.out, re.MULTILINE)
    assert shown.out.rstrip().endswith("143  terminated, resumable")


def test_the_version_is_one_line_of_data(cli: Callable[..., Outcome]) -> None:
    assert cli("--version") == Outcome(0, f"vecport {vecport.__version__}\n", "")


def test_no_command_at_all_is_a_usage_error_and_shows_the_help(cli: Callable[..., Outcome]) -> None:
    """An empty variable in a script must not look like a success."""
    shown = cli()
    assert (shown.code, shown.out) == (2, "")
    assert "Usage: vecport" in shown.err


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("dump", "export"), ("backup", "export"), ("restore", "import"), ("load", "import"), ("check", "validate"),
        ("compare", "diff"), ("migrate", "copy"), ("sync", "copy"), ("list", "ls"), ("info", "inspect"),
        ("show", "inspect"), ("exprot", "export"), ("inspec", "inspect"), ("Verfy", "verify"), ("IMPORT", "import"),
    ],
)  # fmt: skip
def test_a_guessed_word_is_answered_with_the_command(word: str, meant: str, cli: Callable[..., Outcome]) -> None:
    shown = cli(word, "x", "y")
    assert (shown.code, shown.out) == (2, "")
    assert f"did you mean: vecport {meant}" in shown.err


def test_guesses_name_commands_and_are_none() -> None:
    assert set(GUESSES.values()) <= set(ENTRIES)
    assert not set(GUESSES) & set(ENTRIES)


def test_a_misspelled_option_is_answered_with_the_right_one(cli: Callable[..., Outcome]) -> None:
    assert "did you mean --collection" in cli("export", "a", "b", "--colection", "x").err
    assert "vecport COMMAND --json" in cli("--json", "ls", "x").err


def test_the_reference_has_every_command_and_finds_its_own_changes(tmp_path: Path) -> None:
    text = reference.reference()
    for name in COMMANDS:
        assert f"\n## vecport {name}\n" in text
    assert text == reference.reference()
    assert text.count("EXIT STATUS") == 0
    page = tmp_path / "cli.md"
    assert reference.main(["--check", str(page)]) == 1
    assert reference.main(["--write", str(page)]) == 0
    assert reference.main(["--check", str(page)]) == 0
    page.write_text(text.replace("--collection", "--kollection"))
    assert reference.main(["--check", str(page)]) == 1


def test_public_names_are_all_there_and_load_on_demand() -> None:
    for name in vecport.__all__:
        assert getattr(vecport, name) is not None
    assert set(vecport._LAZY) < set(vecport.__all__)
    assert set(vecport.__all__) <= set(dir(vecport))
    with pytest.raises(AttributeError, match="no attribute 'restore'"):
        vecport.restore  # noqa: B018


def test_an_option_that_people_try_names_the_one_that_they_mean() -> None:
    from vecport.cli import app

    assert set(app.OPTION_GUESSES.values()) == {"--encodings"}
    error = app._no_such_option(click.NoSuchOption("--profile"), "vecport export")
    assert error.next == "did you mean --encodings?"
