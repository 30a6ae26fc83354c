"""Requests that go wrong: every verb, every kind of fault, every server; the work is done, or a typed error says why.

No cell may hang, end unexpectedly, show somebody else's control characters, or end with success and other data.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults import cells
from tests.faults.cells import TYPED, Ended, through
from tests.faults.wires import FOR_EVER, Faults
from vecport.dump.dump import open_dump
from vecport.operations.import_ import import_
from vecport.operations.verify import verify
from vecport.testing.engines.base import Engine
from vecport.testing.engines.chroma import ChromaEngine
from vecport.testing.engines.postgres import PostgresEngine
from vecport.testing.engines.qdrant import QdrantEngine

ENGINES: dict[str, type[Engine]] = {"chroma": ChromaEngine, "postgres": PostgresEngine, "qdrant": QdrantEngine}
VERBS = ("ls", "plan", "export", "verify", "import", "copy")
TCP = ("refuse", "hang", "cut", "stall", "html", "redis", "garbage", "hostile")
HTTP = ("500", "502", "503", "503+", "504", "429", "429+", "408", "418", "302", "empty", "html", "json", "cut", "hang",
        "stall", "drop", "late")  # fmt: skip
GRPC = ("UNAVAILABLE", "RESOURCE_EXHAUSTED", "INTERNAL", "DEADLINE_EXCEEDED", "UNKNOWN", "UNIMPLEMENTED", "hang")
#: The idle time-out of the runs; a run through a fault that stays ends by it, with its retries, within ``MOST_S``.
TIMEOUT_S = 1.0
MOST_S = 60.0
AT_ONCE = 6


@dataclass(frozen=True)
class Cell:
    """One row of the table."""

    engine: str
    verb: str
    layer: str
    kind: str
    at: int
    times: int

    @property
    def passes(self) -> bool:
        """Whether the fault is over before patience is."""
        return self.times < FOR_EVER

    def __str__(self) -> str:
        often = "once" if self.times == 1 else "for ever" if not self.passes else f"{self.times} times"
        return f"{self.engine} {self.verb}: {self.layer} {self.kind} at {self.at}, {often}"


def table() -> Iterator[Cell]:
    """Verb x fault x server x the place of the fault x whether it passes."""
    for engine, verb in itertools.product(ENGINES, VERBS):
        bytes_at = (1, 200, 2_000, 20_000)
        for kind in TCP:
            places = bytes_at if kind in ("cut", "stall") else (1, 2)
            for at, times in itertools.product(places, (1, FOR_EVER)):
                if not (kind == "refuse" and (times == 1 or at > 1)):
                    yield Cell(engine, verb, "tcp", kind, at, times)
        kinds = {"chroma": HTTP, "qdrant": GRPC}.get(engine, ())
        layer = {"chroma": "http", "qdrant": "grpc"}.get(engine, "")
        for kind, at, times in itertools.product(kinds, (1, 2, 5, 9), (1, 3, FOR_EVER)):
            yield Cell(engine, verb, layer, kind, at, times)


#: Faults that stand for their kind in the short table.
SHORT = ("hang", "cut", "stall", "html", "hostile", "503", "429+", "empty", "json", "drop", "late", "UNAVAILABLE",
         "RESOURCE_EXHAUSTED", "INTERNAL")  # fmt: skip


def short() -> list[Cell]:
    """A few of the cells: each fault before each server, each verb against each server, passing and staying."""

    def pairs(cell: Cell) -> set[tuple[str, ...]]:
        fault, stays = f"{cell.layer} {cell.kind}", str(cell.passes)
        return {
            (cell.engine, fault), (cell.engine, cell.layer, cell.verb), (cell.verb, stays), (cell.layer, "stays", stays)
        }  # fmt: skip

    # Behind the first answers, so that there is a session to lose; what stays and asks for patience takes long.
    rest = [c for c in table() if c.kind in SHORT and c.at in (2, 2_000) and (c.passes or c.kind != "429+")]
    left = set().union(*map(pairs, rest))
    chosen: list[Cell] = []
    while left:
        chosen.append(max(rest, key=lambda cell: len(pairs(cell) & left)))
        left -= pairs(chosen[-1])
    return chosen


class World:
    """The servers with one collection each, the dump of it, and a program."""

    def __init__(self, dump: Path, program: Path, folder: Path, addresses: dict[str, str]) -> None:
        self.dump, self.program, self.folder, self.addresses = dump, program, folder, addresses
        self._numbers = itertools.count()

    def judged(self, cell: Cell) -> str:
        """Run a cell; what is wrong with its end, empty where nothing is."""
        here = self.folder / f"cell{next(self._numbers)}"
        own = f"made{here.name}"
        address = self.addresses[cell.engine]
        with through(address, cell.layer, Faults(cell.kind, cell.at, cell.times)) as (place, options):
            source = [x for option in options for x in ("--source-option", option)]
            target = [x for option in options for x in ("--target-option", option)]
            arguments = {
                "ls": ["ls", place, *source],
                "plan": ["plan", place, "-c", "held", *source],
                "export": ["export", place, "d", "-c", "held", *source],
                "verify": ["verify", str(self.dump), place, "-c", "held", *target],
                "import": ["import", str(self.dump), place, "-c", own, *target],
                "copy": ["copy", place, address, "-c", "held", "--target-collection", own, *source],
            }[cell.verb]
            ended = cells.run(self.program, arguments, here, MOST_S, TIMEOUT_S)
        return self._wrong(cell, ended, address, own, here)

    def _wrong(self, cell: Cell, ended: Ended, address: str, own: str, here: Path) -> str:
        if ended.fault:
            return f"{cell} {ended.fault} after {ended.seconds:.0f} s: {ended.err[-600:]!r}"
        if ended.code != 0:
            return "" if ended.code in TYPED else f"{cell} ends with {ended.code}: {ended.err[-600:]!r}"
        if cell.verb == "ls":
            return "" if "held" in ended.out else f"{cell} ends with 0 and shows nothing: {ended.out!r}"
        if cell.verb == "export":
            made = open_dump(here / "d").manifest.identity
            return "" if made.rows == open_dump(self.dump).manifest.rows else f"{cell} has {made.rows} rows"
        if cell.verb in ("import", "copy"):
            proof = verify(self.dump, address, collection=own)
            return f"{cell} ends with 0 and other data" if proof.exit_code else ""
        return ""


@pytest.fixture(scope="module")
def world(dump: Path, programs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("requests")
    engines = {name: kind() for name, kind in ENGINES.items()}
    try:
        for engine in engines.values():
            engine.start()
            import_(dump, engine.address, collection="held")
        addresses = {name: engine.address for name, engine in engines.items()}
        yield World(dump, programs / "vecport", folder, addresses)
    finally:
        for engine in engines.values():
            engine.close()


def judge(world: World, rows: list[Cell], shown: Callable[[str], None]) -> None:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        wrong = list(filter(None, pool.map(world.judged, rows)))
    shown(f"requests that go wrong: {len(rows) - len(wrong)} right of {len(rows)} cells of verb x fault x server")
    assert not wrong, "\n".join([f"{len(wrong)} of {len(rows)}:", *wrong])


def test_a_few_requests_that_go_wrong(world: World, shown: Callable[[str], None]) -> None:
    judge(world, short(), shown)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_every_request_that_goes_wrong(world: World, shown: Callable[[str], None]) -> None:
    judge(world, list(table()), shown)
