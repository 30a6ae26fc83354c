"""What every test stands on: a state folder of its own, and a ``vecport`` that starts fast."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.warm import warm_vecport


@pytest.fixture(scope="session", autouse=True)
def _state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads or writes the user's state, or that of tests which run at the same time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VECPORT_STATE_DIR", str(tmp_path_factory.mktemp("state")))
        yield


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--counts FILE`` puts what the run has counted into a page of the documentation."""
    parser.addoption("--counts", metavar="FILE", help="write what is counted between this file's two marks")


@pytest.fixture
def shown(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Print a line at the end of the run: what a test has counted."""
    return lambda line: record_property("shown", line)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests have counted."""
    reports = [r for found in terminalreporter.stats.values() for r in found if isinstance(r, pytest.TestReport)]
    lines = [str(line) for r in reports if r.when == "call" for name, line in r.user_properties if name == "shown"]
    lines += _tallies(reports)
    if lines:
        terminalreporter.section("counted by this run")
        for line in lines:
            terminalreporter.write_line(line)
    if page := terminalreporter.config.getoption("--counts"):
        write_counts(Path(page), lines)


def write_counts(page: Path, lines: list[str]) -> None:
    """Put lines into a page, between the mark that begins its figures and the one that ends them."""
    before, begin, rest = page.read_text().partition("<!-- counted -->\n")
    _, end, after = rest.partition("<!-- end -->")
    if not begin or not end:
        raise pytest.UsageError(f"{page} has no marks <!-- counted --> and <!-- end -->")
    text = "".join(f"{line}\n" for line in sorted(lines))
    page.write_text(f"{before}{begin}```text\n{text}```\n{end}{after}")


def _tallies(reports: list[pytest.TestReport]) -> list[str]:
    """What several tests have counted under one name: how many were as they should be, of how many."""
    sums: dict[str, tuple[int, int]] = {}
    for report in reports:
        for name, told in report.user_properties if report.when == "call" else ():
            if name == "tally" and isinstance(told, list):
                what, good, all_ = told
                before = sums.get(what, (0, 0))
                sums[what] = before[0] + good, before[1] + all_
    return [f"{what}: {good} right of {all_}" for what, (good, all_) in sorted(sums.items())]


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a ``vecport`` that starts fast."""
    with warm_vecport(tmp_path_factory.mktemp("warm")) as folder:
        yield folder
