"""The checks of the documentation find what they are there for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from . import pages
from .pages import Outcome, Page, differences, read, run, stable
from .test_pages import BASH, ZSH

PAGE = """# A page
<!-- setup: chroma qdrant -->
```console
$ echo one; echo two >&2
two
...
one
$ printf '%s\\n' \\
> three
three
```
<!-- exit: 3 -->
```console
$ exit_with() { return 3; }; exit_with
```
<!-- not run: it needs the moon -->
```sh
false
```
```python
print("four")
```
```text
$ not a command
```
"""


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Page:
    monkeypatch.setattr(pages, "ROOT", tmp_path)
    path = tmp_path / "page.md"
    path.write_text(PAGE)
    return read(path)


def test_a_page_is_taken_apart(page: Page) -> None:
    assert page.setup == ("chroma", "qdrant")
    assert page.not_run == ("it needs the moon",)
    assert [c.kind for c in page.commands] == ["console", "console", "console", "python"]
    assert [c.exit_code for c in page.commands] == [0, 0, 3, 0]
    assert page.commands[1].text == "printf '%s\\n' \\\nthree"


def test_a_page_that_tells_the_truth_passes(page: Page, tmp_path: Path) -> None:
    outcomes = run(page, tmp_path, BASH, os.environ, ())
    assert outcomes[0].output == "two\none\n"
    assert outcomes[3].output == "four\n"
    assert differences(page, outcomes) == []


def test_wrong_output_order_and_exit_codes_are_found(page: Page) -> None:
    good = [Outcome(0, "two\none\n"), Outcome(0, "three\n"), Outcome(3, ""), Outcome(0, "")]
    assert differences(page, good) == []
    for at, bad in ((0, Outcome(0, "one\ntwo\n")), (1, Outcome(0, "thee\n")), (2, Outcome(0, "")), (3, Outcome(1, ""))):
        assert len(differences(page, [*good[:at], bad, *good[at + 1 :]])) == 1


def test_what_differs_from_run_to_run_is_not_compared() -> None:
    one = "time 3.4 s, 697 records/s; 3.6 MiB; vp1-74e16751f602de83-2400-02121452091ffe407e41d0e39d170b8a"
    other = "time 1 min 02 s;  3.7 KiB; vp1-74e16751f602de83-2400-42ef87c20987cf8a9ee30e0d4ed8d14c"
    assert stable(one) == stable(other)
    assert stable("PostgreSQL 18.4, at 2026-11-20T12:15:31Z") == stable("PostgreSQL 17.1, at 2027-01-02T03:04:05Z")
    for a, b in (("2,400 records", "2,399 records"), ("within 2.4e-07", "within 1e-06"), ("exit 3", "exit 4")):
        assert stable(a) != stable(b)


def test_addresses_are_put_in_and_taken_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "ROOT", tmp_path)
    path = tmp_path / "page.md"
    path.write_text("```console\n$ echo db://localhost > seen; cat seen\ndb://localhost\n```\n")
    page = read(path)
    outcomes = run(page, tmp_path, BASH, os.environ, [("db://localhost", "db://127.0.0.1:77")])
    assert (tmp_path / "seen").read_text() == "db://127.0.0.1:77\n"
    assert differences(page, outcomes) == []


@pytest.mark.usefixtures("zsh")
def test_zsh_stumbles_where_quotes_are_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "ROOT", tmp_path)
    path = tmp_path / "page.md"
    path.write_text("```console\n$ echo chroma:./chroma#packages\n```\n")
    (outcome,) = run(read(path), tmp_path, ZSH, os.environ, ())
    assert outcome.exit_code != 0
