"""Disks that fail: every call of the system beneath a dump, a file or the state folder, with every errno, and kills.

A command that met one ends with a typed error, or was killed; the same command again ends with success and the data.
"""

from __future__ import annotations

import errno
import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults import cells, shim
from tests.faults.cells import TYPED
from tests.warm import warm_vecport
from vecport.dump.dump import open_dump

VERBS = ("export", "import")
ERRORS = (errno.EIO, errno.ENOSPC, errno.EROFS, errno.EACCES, 0)
#: Which calls fail in the short table, as parts of all that a run makes.
SHORT = (0.0, 0.6)
MOST_S, TIMEOUT_S, AT_ONCE = 60.0, 5.0, 4


@dataclass(frozen=True)
class Cell:
    """One row of the table."""

    verb: str
    call: str
    n: int
    error: int

    def __str__(self) -> str:
        return f"{self.verb}: {self.call} number {self.n} {errno.errorcode.get(self.error, 'kills')}"


class World:
    """A file of records, the dump of it, and a program with the library in it."""

    def __init__(self, rows: Path, dump: Path, program: Path, folder: Path) -> None:
        self.rows, self.dump, self.program, self.folder = rows, dump, program, folder
        self._numbers = itertools.count()

    def command(self, verb: str) -> list[str]:
        return {
            "export": [
                "export",
                f"jsonl:{self.rows}",
                "work/d",
                "--shard-rows",
                "100",
                "--source-option",
                "metric=cosine",
            ],
            "import": ["import", str(self.dump), "jsonl:work/made.jsonl"],
        }[verb]

    def new(self) -> Path:
        here = self.folder / f"cell{next(self._numbers)}"
        (here / "work").mkdir(parents=True)
        return here

    def calls(self, verb: str, call: str) -> int:
        """How many such calls a run makes."""
        here = self.new()
        count = here / "count"
        more = shim.variables(call, here, 0, count=count) | {"VECPORT_STATE_DIR": str(here / "state")}
        ended = cells.run(self.program, self.command(verb), here, MOST_S, TIMEOUT_S, more)
        assert ended.code == 0, ended
        return count.stat().st_size if count.exists() else 0

    def judged(self, cell: Cell) -> str:
        """Run a cell and its command again; what is wrong, empty where nothing is."""
        here = self.new()
        more = shim.variables(cell.call, here, cell.n, cell.error)
        ended = cells.run(self.program, self.command(cell.verb), here, MOST_S, TIMEOUT_S, more)
        killed = ended.code in (-9, 256 - 9) and cell.error == 0
        if ended.fault and not killed:
            return f"{cell} {ended.fault}: {ended.err[-800:]!r}"
        if not (killed or ended.code in (0, *TYPED)):
            return f"{cell} ends with {ended.code}: {ended.err[-800:]!r}"
        if ended.code != 0:
            again = cells.run(self.program, self.command(cell.verb), here, MOST_S, TIMEOUT_S)
            if again.code != 0:
                return f"{cell}, then again, ends with {again.code}: {again.err[-800:]!r}"
        return "" if self._right(cell.verb, here) else f"{cell} ends with 0 and other data"

    def _right(self, verb: str, here: Path) -> bool:
        wanted = open_dump(self.dump).manifest
        if verb == "export":
            return open_dump(here / "work" / "d").manifest.identity == wanted.identity
        return len((here / "work" / "made.jsonl").read_bytes().splitlines()) == wanted.rows


@pytest.fixture(scope="module")
def world(rows_file: Path, dump: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("calls")
    library = shim.compiled(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LD_PRELOAD", str(library))
        with warm_vecport(folder) as programs:
            patch.delenv("LD_PRELOAD")
            yield World(rows_file, dump, programs / "vecport", folder)


def table(world: World, parts: tuple[float, ...] | None) -> list[Cell]:
    """Verb x call x which one of them x errno; a few of the calls, each with one errno, where parts are given."""
    found: list[Cell] = []
    for verb, call in itertools.product(VERBS, shim.CALLS):
        calls = world.calls(verb, call)
        numbers = range(1, calls + 1)
        if parts is not None:
            numbers = sorted({1 + int(part * calls) for part in parts if calls})  # type: ignore[assignment]
        for n in numbers:
            errors = ERRORS if parts is None else (ERRORS[len(found) % len(ERRORS)],)
            found += [Cell(verb, call, n, error) for error in errors]
    return found


def judge(world: World, rows: list[Cell], shown: Callable[[str], None]) -> None:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        wrong = list(filter(None, pool.map(world.judged, rows)))
    shown(f"disks that fail: {len(rows) - len(wrong)} right of {len(rows)} cells of verb x call x errno")
    assert not wrong, "\n".join([f"{len(wrong)} of {len(rows)}:", *wrong])


def test_a_few_calls_that_fail(world: World, shown: Callable[[str], None]) -> None:
    judge(world, table(world, SHORT), shown)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_every_call_that_fails(world: World, shown: Callable[[str], None]) -> None:
    judge(world, table(world, None), shown)
