"""An error says what, why, what is safe and what is next; its exit code is that of the table; no traceback is shown."""

from __future__ import annotations

import errno
import io
from collections.abc import Callable

import pytest

from vecport import errors
from vecport.cli.app import run
from vecport.errors import EXIT_CODES, VecportError

from .conftest import CALLS, OBEYED, Fakes, Outcome, results

CLASSES = [e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, VecportError)]
KEYS = ["schema", "code", "exit_code", "what", "why", "safe", "next", "retryable"]


@pytest.mark.parametrize("kind", CLASSES, ids=lambda k: k.__name__)
class TestEveryError:
    def test_has_its_own_exit_code_and_four_parts(
        self, kind: type[VecportError], cli: Callable[..., Outcome], fakes: Fakes
    ) -> None:
        fakes.answer("export", kind("the dump x", "it is broken", "nothing was written", "vecport ls"))
        shown = cli(*CALLS["export"], "--progress", "none")
        assert shown.out == ""
        assert shown.code == kind("x").exit_code
        assert shown.code in EXIT_CODES
        first, *parts = shown.err.splitlines()
        assert first == "error: the dump x"
        assert [p.split(":")[0].strip() for p in parts[:2]] == ["why", "safe"]
        assert parts[2].strip() in ("next:   vecport ls", "resume: vecport export memory:x ./d --progress none")

    def test_is_one_json_object_on_standard_error(
        self, kind: type[VecportError], cli: Callable[..., Outcome], fakes: Fakes
    ) -> None:
        fakes.answer("diff", kind("w", "y", "s", "n"))
        shown = cli(*CALLS["diff"], "--json", "--progress", "none")
        assert shown.out == ""
        assert shown.err.count("\n") == 1
        assert list(shown.error) == KEYS
        assert shown.error["schema"] == "vecport.error/1"
        assert (shown.error["code"], shown.error["exit_code"]) == (kind.code, shown.code)
        assert shown.error["retryable"] == kind.retryable


@pytest.mark.parametrize("name", list(CALLS))
def test_a_result_with_findings_has_their_exit_code(name: str, cli: Callable[..., Outcome], fakes: Fakes) -> None:
    fakes.answer(name, results()[name])
    expected = 3 if name in ("copy", "validate", "verify", "diff") else 0
    assert cli(*CALLS[name]).code == expected


def test_something_unexpected_is_one_line_and_a_way_to_see_more(cli: Callable[..., Outcome], fakes: Fakes) -> None:
    fakes.answer("export", KeyError("rows\n  File fake.py"))
    shown = cli(*CALLS["export"], "--progress", "none")
    assert shown.code == 1
    assert shown.err.splitlines() == [
        "error: unexpected KeyError: 'rows\\n  File fake.py'",
        "  next:   run again with --debug for the traceback",
    ]


def test_the_traceback_is_for_debug_alone(cli: Callable[..., Outcome], fakes: Fakes) -> None:
    fakes.answer("export", ValueError("\x1b[31mboom"))
    assert "Traceback" not in cli(*CALLS["export"]).err
    shown = cli(*CALLS["export"], "--debug")
    assert "Traceback (most recent call last)" in shown.err
    assert not OBEYED.search(shown.err)
    shown = cli(*CALLS["export"], "--debug", "--json", "--progress", "none")
    assert shown.err.count("\n") == 1
    assert any("Traceback" in line for line in shown.error["traceback"])


@pytest.mark.parametrize(
    ("raised", "code"),
    [
        (MemoryError(), 16), (OSError(errno.ENOSPC, "No space left on device", "/d"), 16),
        (OSError(errno.EDQUOT, "Quota"), 16), (OSError(errno.EIO, "I/O"), 15),
            (OSError(errno.EROFS, "Read-only"), 12), (RecursionError(), 1),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), 1), (KeyboardInterrupt(), 130),
    ],
    ids=lambda x: type(x).__name__ if isinstance(x, BaseException) else str(x),
)  # fmt: skip
def test_errors_of_the_system_have_codes_too(
    raised: BaseException, code: int, cli: Callable[..., Outcome], fakes: Fakes
) -> None:
    fakes.answer("export", raised)
    shown = cli(*CALLS["export"])
    assert shown.code == code
    assert "Traceback" not in shown.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["export"], ["export", "a"], ["export", "a", "b", "c"], ["export", "a", "b", "--workers", "many"],
        ["export", "a", "b", "--where"], ["import", "a", "b", "--if-exists", "merge"],
        ["import", "a", "b", "--set", "novalue"], ["import", "a", "b", "--max", "dim=big"],
        ["validate", "a", "--level", "x"], ["diff", "a", "b", "--tolerance", "small"],
        ["nonsense"], ["--nonsense"], ["a b", "c"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_usage_errors_are_exit_2_and_never_call_anything(arguments: list[str], cli: Callable[..., Outcome]) -> None:
    shown = cli(*arguments)
    assert (shown.code, shown.out) == (2, "")
    assert shown.err.startswith("error: ")
    assert "\n  next:   " in shown.err
    shown = cli(arguments[0], "--json", *arguments[1:])
    assert (shown.code, shown.error["code"], shown.error["exit_code"]) == (2, "usage", 2)


@pytest.mark.parametrize("given", ["=1", "=1e-6", "title=", "title=x", "small"])
def test_a_tolerance_of_another_form_is_told_the_form(given: str, cli: Callable[..., Outcome]) -> None:
    shown = cli("diff", "a", "b", "--tolerance", given)
    assert (shown.code, "[FIELD=]X" in shown.err) == (2, True), shown.err


def test_a_line_of_data_cannot_pose_as_a_part_of_the_error(cli: Callable[..., Outcome], fakes: Fakes) -> None:
    fakes.answer("export", errors.NotFound("no x\nerror: y\n  next: rm -rf ."))
    err = cli(*CALLS["export"], "--progress", "none").err
    assert err == "error: no x\n          error: y\n            next: rm -rf .\n"


def test_an_error_reaches_the_caller_when_nobody_reads_standard_error(
    fakes: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    fakes.answer("export", errors.NotFound("x"))
    monkeypatch.setattr("sys.stderr", Gone())
    assert run(CALLS["export"]) == 10
