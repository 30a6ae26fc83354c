"""Every command of the documentation runs, and prints what it is said to print."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from .conftest import PLACES, Scene, Stock
from .pages import ROOT, Command, Page, differences, pages, read, renew, run

pytestmark = pytest.mark.xdist_group("docs")

BASH = ("bash", "--norc", "--noprofile")
ZSH = ("zsh", "-f", "-o", "EXTENDED_GLOB")
_RECORD = 'vecport() {{ printf "%s\\n" "--" "$@" >> {0}; }}'
RUN = [path for path in pages() if read(path).commands]


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _prepare(page: Page, scene: Scene, stock: Stock, stack: ExitStack) -> None:
    own = Stock(stack, stock.base, stock._made)
    for name in page.setup:
        PLACES[name](scene, stock if name in ("postgres", "s3") else own)
    # Longest first: no address is taken for the beginning of another.
    scene.addresses.sort(key=lambda pair: -len(pair[0]))


@pytest.mark.parametrize("path", RUN, ids=_name)
def test_page_does_what_it_says(path: Path, scene: Scene, stock: Stock) -> None:
    page = read(path)
    with ExitStack() as stack:
        _prepare(page, scene, stock, stack)
        outcomes = run(page, scene.folder, BASH, scene.environment, scene.addresses)
    if os.environ.get("VECPORT_DOCS_RENEW"):
        renew(page, outcomes)
    found = differences(page, outcomes)
    assert not found, "\n\n".join(found)


@pytest.mark.usefixtures("zsh")
def test_tour_runs_in_zsh(scene: Scene, stock: Stock) -> None:
    page = read(ROOT / "README.md")
    with ExitStack() as stack:
        _prepare(page, scene, stock, stack)
        outcomes = run(page, scene.folder, ZSH, scene.environment, scene.addresses)
    found = differences(page, outcomes)
    assert not found, "\n\n".join(found)


@pytest.mark.usefixtures("zsh")
def test_zsh_reads_every_command_as_bash_does(tmp_path: Path, scene: Scene) -> None:
    """With EXTENDED_GLOB, a ``#`` or ``^`` outside quotes means something else there."""
    seen = []
    for shell in (BASH, ZSH):
        folder = tmp_path / shell[0]
        folder.mkdir()
        said = folder / "said"
        record = Command("console", _RECORD.format(said), 0)
        for number, path in enumerate(RUN):
            commands = [c for c in read(path).commands if c.kind == "console" and "vecport " in c.text]
            here = folder / str(number)
            here.mkdir()
            page = replace(read(path), commands=(record, *commands))
            outcomes = run(page, here, shell, scene.environment, ())
            assert all(o.exit_code == 0 or "|" in c.text for c, o in zip(page.commands, outcomes, strict=True)), (
                outcomes
            )
        seen.append(said.read_text().replace(str(folder), ""))
    assert len(seen[0].splitlines()) > 100
    assert seen[0] == seen[1]


def test_few_blocks_are_not_run() -> None:
    assert sum(len(read(path).not_run) for path in pages()) <= 8
    assert all(len(why) > 10 for path in pages() for why in read(path).not_run)
