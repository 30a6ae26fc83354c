"""Resume asks the target: an import is killed, something becomes of the target, and the same command is run again.

Each cell ends with exactly the records that should be there, by the database's own client, or with a typed refusal that
has written nothing, and whose advice works when it is typed.
"""

from __future__ import annotations

import functools
import itertools
import os
import re
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.faults.clients import Chroma, Client, Jsonl, Memory, Postgres, Qdrant, Rows
from tests.operations import rooms
from vecport.errors import AlreadyExists
from vecport.operations.export import export
from vecport.operations.import_ import import_
from vecport.operations.import_state import state_folder
from vecport.operations.sessions import Endpoint

ROWS, GROUP = 40, 10
#: Ids are in order as texts and as numbers.
DUMP: Rows = {str(100 + i): float(i) for i in range(ROWS)}
#: Of an application. Where they may share ids with the dump, they have those of its last row group, and an application
#: that makes the collection anew has those of its first one.
THEIRS: Rows = {str(1000 + i): -1.0 for i in range(5)}
LAST: Rows = dict.fromkeys(list(DUMP)[-GROUP:], -1.0)
FIRST: Rows = dict.fromkeys(list(DUMP)[:GROUP], -1.0)

#: What was there before: nothing, an empty collection of an application, or one with records.
MODES = {"create": None, "fill": {}, "append": THEIRS, "replace": THEIRS}
KILLS = ("before prepare", "after prepare", "before a write", "in a write", "before finish", "in finish")
STATES = ("untouched", "restored", "restored to the middle", "recreated", "emptied", "renamed")


@dataclass(frozen=True)
class Cell:
    """One run of the table."""

    mode: str
    on_conflict: str
    kill: str
    state: str

    @property
    def if_exists(self) -> str:
        return "create" if self.mode == "fill" else self.mode

    @property
    def theirs(self) -> Rows | None:
        """What the application has."""
        rows = MODES[self.mode]
        return rows and self.sharing(LAST)

    def sharing(self, rows: Rows) -> Rows:
        """What an application has that uses ids of the dump, unless that would be an error."""
        return THEIRS if self.on_conflict == "fail" else {**THEIRS, **rows}


class Kill(BaseException):
    """The process is gone."""


class Killer:
    """Lets sessions of targets die at a point; whoever asks a dead one dies too."""

    def __init__(self, client: Client, kill: str) -> None:
        self.client, self.kill = client, kill
        self.writes, self.dead, self.middle = 0, False, None

    def wrap(self, session: Any) -> Any:
        for name in ("prepare", "write", "finish", "attach", "apply", "undo", "count", "describe", "holds"):
            setattr(session, name, self._mortal(name, getattr(session, name)))
        return session

    def _mortal(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def mortal(*args: Any, **kwargs: Any) -> Any:
            self.writes += name == "write"
            self._die(
                self.dead or self.kill == f"before {name}" or (self.kill == "before a write" and self.writes == 3)
            )
            result = call(*args, **kwargs)
            if name == "write" and self.writes == 1:
                self.middle = self.client.backup()
            self._die(
                self.kill in (f"after {name}", f"in {name}")
                or (self.kill == "in a write" and name == "write" and self.writes == 3)
            )
            return result

        return mortal

    def _die(self, now: bool) -> None:
        if now:
            self.dead = True
            raise Kill


@pytest.fixture(scope="module")
def dump(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("resume") / "dump"
    with rooms.room() as address:
        rooms.fill(address, [rooms.record(k, n) for k, n in DUMP.items()])
        export(address, folder, shard_rows=GROUP)
    return folder


def run(dump: Path, client: Client, cell: Cell, if_exists: str | None = None) -> None:
    import_(dump, client.address, collection=None if client.address.startswith("jsonl:") else "docs", workers=1,
            if_exists=if_exists or cell.if_exists, on_conflict=cell.on_conflict)  # fmt: skip


def killed(dump: Path, client: Client, cell: Cell) -> Killer:
    """Run the command until it is killed."""
    killer = Killer(client, cell.kill)
    original = Endpoint.open_target
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Endpoint, "open_target", lambda *a, **k: killer.wrap(original(*a, **k)))
        with pytest.raises(Kill):
            run(dump, client, cell)
    return killer


def befall(client: Client, cell: Cell, before: Any, middle: Any) -> None:
    """What becomes of the target."""
    if cell.state == "restored":
        client.clear()
        client.restore(before)
        if before is None and cell.theirs is not None:
            client.make(cell.theirs)
    elif cell.state == "restored to the middle" and middle is not None:
        client.restore(middle)
    elif cell.state == "recreated":
        client.clear()
        client.make(cell.sharing(FIRST))
    elif cell.state == "emptied":
        client.empty()
    elif cell.state == "renamed":
        client.rename()


def wanted(cell: Cell, if_exists: str, now: Rows | None) -> Rows:
    """What is to be there in the end."""
    theirs = {k: n for k, n in (now or {}).items() if n == -1.0}
    if if_exists != "append":
        return DUMP
    return {**DUMP, **theirs} if cell.on_conflict == "skip" else {**theirs, **DUMP}


def judge(dump: Path, client: Client, cell: Cell) -> list[str]:
    """Run one cell; what is wrong with it."""
    client.clear()
    if cell.theirs is not None:
        client.make(cell.theirs)
    before = client.backup()
    killer = killed(dump, client, cell)
    befall(client, cell, before, killer.middle)
    now, away = client.rows(), client.rows("away") if cell.state == "renamed" else None
    wrong, chosen = [], cell.if_exists
    theirs = any(n == -1.0 for n in (now or {}).values())
    try:
        run(dump, client, cell)
    except AlreadyExists as e:
        if not (chosen == "create" and theirs):
            wrong.append(f"refused: {e}")
        if client.rows() != now:
            wrong.append("something was written before the refusal")
        chosen = (re.findall(r"--if-exists (\w+)", e.next) or ["none"])[0]
        run(dump, client, cell, chosen)
    else:
        if chosen == "create" and theirs:
            wrong.append("written into what is not this import's")
    found = client.rows() or {}
    if found != (right := wanted(cell, chosen, now)):
        lost, more = right.keys() - found.keys(), found.keys() - right.keys()
        other = [k for k in right.keys() & found.keys() if right[k] != found[k]]
        wrong.append(f"{len(lost)} lost, {len(more)} more, {len(other)} other")
    if away is not None and client.rows("away") != away:
        wrong.append("what was renamed is changed")
    if left := [p for p in (state_folder() / "imports").rglob("*") if p.is_file() and p.suffix != ".lock"]:
        wrong.append(f"{len(left)} files are left in the state folder")
    return wrong


def ways(client: Client) -> list[tuple[str, str]]:
    """Modes with choices of what becomes of records that are there."""
    modes = [m for m in MODES if ("create" if m == "fill" else m) in client.if_exists]
    return list(itertools.product(modes, client.on_conflict))


def all_cells(client: Client) -> list[Cell]:
    """The whole product."""
    return [Cell(*way, *rest) for way, *rest in itertools.product(ways(client), KILLS, STATES)]


def most_cells(client: Client) -> list[Cell]:
    """Without choices where nobody else's records are."""
    return [c for c in all_cells(client) if c.mode == "append" or c.on_conflict == "replace"]


def some_cells(client: Client) -> list[Cell]:
    """Every kill with every state, every way with every kill and with every state as far as that goes."""
    chosen = itertools.cycle(ways(client))
    cells = []
    for number, (kill, state) in enumerate(itertools.product(KILLS, STATES)):
        if number % len(STATES) == 0:
            next(chosen)
        cells.append(Cell(*next(chosen), kill, state))
    return cells


def few_cells(client: Client) -> list[Cell]:
    """Half of those, each way of dying three times."""
    return [c for i, c in enumerate(some_cells(client)) if (i + i // len(STATES)) % 2]


def fill_in(dump: Path, client: Client, cells: list[Cell], shown: Callable[[str], None], name: str) -> None:
    wrong = {cell: found for cell in cells if (found := judge(dump, client, cell))}
    shown(f"resume after a kill, {name}: {len(cells)} cells, {len(wrong)} wrong")
    assert not wrong, "\n".join(f"{c}: {'; '.join(found)}" for c, found in wrong.items())


@pytest.fixture
def clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("VECPORT_STATE_DIR", str(tmp_path / "state"))
    # No power is lost here, and no certificate looked at.
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    monkeypatch.setattr(ssl, "create_default_context", functools.cache(ssl.create_default_context))
    return tmp_path


def chosen(name: str, some: Any) -> Any:
    """A part of the table for every day, and all of it."""
    cases = [pytest.param(some, id="some"), pytest.param(all_cells, id="all", marks=pytest.mark.slow)]
    return pytest.mark.parametrize(name, cases)


@chosen("cells", most_cells)
def test_memory(dump: Path, clean: Path, shown: Callable[[str], None], cells: Any) -> None:
    with rooms.room() as address:
        client = Memory(address)
        fill_in(dump, client, cells(client), shown, "memory")


class TestEngines:
    """The same by each database's own client."""

    @chosen("cells", few_cells)
    def test_jsonl(self, dump: Path, clean: Path, shown: Callable[[str], None], cells: Any) -> None:
        (clean / "place").mkdir()
        client = Jsonl(clean / "place")
        fill_in(dump, client, cells(client), shown, "jsonl")

    @chosen("cells", few_cells)
    def test_chroma(self, dump: Path, clean: Path, shown: Callable[[str], None], cells: Any) -> None:
        from vecport.testing.engines.chroma import ChromaEngine

        with ChromaEngine() as engine:
            client = Chroma(engine)
            fill_in(dump, client, cells(client), shown, "chroma")

    @chosen("cells", few_cells)
    def test_postgres(self, dump: Path, clean: Path, shown: Callable[[str], None], cells: Any, postgres: str) -> None:
        client = Postgres(postgres)
        fill_in(dump, client, cells(client), shown, "postgres")

    @chosen("cells", few_cells)
    def test_qdrant(self, dump: Path, clean: Path, shown: Callable[[str], None], cells: Any) -> None:
        from vecport.testing.engines.qdrant import QdrantEngine

        with QdrantEngine() as engine:
            client = Qdrant(engine)
            fill_in(dump, client, cells(client), shown, "qdrant")
