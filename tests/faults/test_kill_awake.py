"""A collection sleeps, and a run wakes it: whatever ends the run, kill -9 included, it sleeps again afterwards."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.faults import killer
from tests.operations import rooms
from vecport.connectors.contract import Effect, Source
from vecport.errors import AlreadyExists, Incomplete, Interrupted, Unavailable, VecportError
from vecport.operations.effects import Held, Told
from vecport.operations.export import export
from vecport.operations.import_ import import_
from vecport.operations.plan import plan
from vecport.operations.progress import Silent, Stop
from vecport.operations.sessions import endpoint
from vecport.operations.verify import verify

ROWS = 60
ADDRESS = "memory:dormitory"


def fill() -> None:
    rooms.fill(ADDRESS, [rooms.record(f"r{n:02}", n) for n in range(ROWS)])


@dataclass
class Bed:
    """The collection of one test: where its sleep is kept, where dumps go, and what a child process is told."""

    folder: Path
    asleep: Path = field(init=False)

    def __post_init__(self) -> None:
        self.asleep = self.folder / "bed"
        self.asleep.write_text("asleep")

    @property
    def options(self) -> dict[str, str]:
        return {"sleeps": str(self.asleep)}

    def sleeps(self) -> bool:
        return self.asleep.read_text() == "asleep"

    def left(self) -> list[str]:
        """Records of what is to be put back."""
        state = Path(os.environ["VECPORT_STATE_DIR"]) / "effects"
        return sorted(p.name for p in state.rglob("*.json"))

    def export(self, to: str = "dump", **more: Any) -> Any:
        options = {**self.options, **more.pop("source_options", {})}
        return export(f"{ADDRESS}#docs", self.folder / to, source_options=options, workers=1, shard_rows=20, **more)

    def import_(self, **more: Any) -> Any:
        dump = self.folder / "whole"
        return import_(dump, f"{ADDRESS}#docs", target_options=self.options, workers=1, if_exists="append", **more)

    def child(self, operation: str, at_step: int | None = None) -> str:
        """Run ``export`` or ``import_`` in a process that has the collection, and kill it at a storage step."""
        pid = os.fork()
        if pid == 0:
            _child(str(self.folder), operation, at_step)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        return "killed" if code == -signal.SIGKILL else "done" if code == 0 else "failed"


def _child(folder: str, operation: str, at_step: int | None) -> None:
    os.environ["VECPORT_STATE_DIR"] = str(Path(folder) / "state")
    bed = Bed.__new__(Bed)
    bed.folder, bed.asleep = Path(folder), Path(folder) / "bed"
    fill()
    if at_step is not None:
        killer._kill_at(at_step)
    try:
        getattr(bed, operation)()
    except VecportError as e:
        (bed.folder / "error").write_text(str(e))
        os._exit(1)
    os._exit(0)


@pytest.fixture
def bed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bed]:
    monkeypatch.setenv("VECPORT_STATE_DIR", str(tmp_path / "state"))
    fill()
    export(f"{ADDRESS}#docs", tmp_path / "whole", workers=1, shard_rows=20)
    yield Bed(tmp_path)
    rooms.forget(ADDRESS.partition(":")[2])


def test_an_export_wakes_it_and_lets_it_sleep_again(bed: Bed) -> None:
    result = bed.export()
    assert (result.rows, bed.sleeps(), bed.left()) == (ROWS, True, [])
    assert [n for n in result.notes if "is woken; it sleeps again afterwards" in n]
    assert not (bed.folder / "dump" / ".vecport").exists()


def test_an_import_and_a_verify_do_so_too(bed: Bed) -> None:
    assert bed.import_().written_rows == ROWS
    assert (bed.sleeps(), bed.left()) == (True, [])
    found = verify(bed.folder / "whole", f"{ADDRESS}#docs", target_options=bed.options)
    assert (found.equal, bed.sleeps(), bed.left()) == (ROWS, True, [])
    assert [n for n in found.notes if "is woken" in n]


def test_what_is_awake_stays_awake(bed: Bed) -> None:
    bed.asleep.write_text("awake")
    result = bed.export()
    assert (result.rows, result.notes, bed.sleeps(), bed.left()) == (ROWS, (), False, [])


def test_a_plan_says_it_and_wakes_nothing(bed: Bed) -> None:
    result = plan(f"{ADDRESS}#docs", source_options=bed.options)
    assert result.facts["effects"] == [
        {"role": "source", "what": "collection 'docs' is woken", "undone": "it sleeps again afterwards"}
    ]
    assert [n for n in result.notes if "is woken" in n]
    assert (bed.sleeps(), bed.left()) == (True, [])
    into = plan(str(bed.folder / "whole"), f"{ADDRESS}#docs", target_options=bed.options, if_exists="append")
    assert [e["role"] for e in into.facts["effects"]] == ["target"]
    assert bed.import_(dry_run=True).notes == (
        "for the time of the import: collection 'docs' is woken; it sleeps again afterwards",
    )
    assert (bed.sleeps(), bed.left()) == (True, [])


class StopsAtTheFirstRecord(Silent):
    """Ctrl-C, when something has been read or written."""

    def __init__(self) -> None:
        super().__init__()
        self.stop = Stop()

    def advance(self, rows: int) -> None:
        if rows:
            self.stop.set()


@pytest.mark.parametrize("operation", ["export", "import_"])
def test_ctrl_c_puts_it_back(bed: Bed, operation: str) -> None:
    heard = StopsAtTheFirstRecord()
    with pytest.raises(Interrupted):
        getattr(bed, operation)(progress=heard, stop=heard.stop)
    assert (bed.sleeps(), bed.left()) == (True, [])
    getattr(bed, operation)()
    assert (bed.sleeps(), bed.left()) == (True, [])


def test_an_error_puts_it_back(bed: Bed) -> None:
    with pytest.raises(Incomplete):
        bed.export(source_options={"faults": json.dumps({"lose_row_on_page": 1})})
    assert (bed.sleeps(), bed.left()) == (True, [])


def sweep(bed: Bed, operation: str, stride: int) -> None:
    """Kill a run at its storage steps, and run it again; writes kills, and how many left it awake.

    Runs in a process that has no threads, so that each run can be a fork of it.
    """
    kills = awake = 0
    error = bed.folder / "error"
    for step in range(1, 400, stride):
        shutil.rmtree(bed.folder / "dump", ignore_errors=True)
        bed.asleep.write_text("asleep")
        end = bed.child(operation, step)
        if end == "done":
            assert (bed.sleeps(), bed.left()) == (True, [])
            break
        assert end == "killed", error.read_text()
        kills, awake = kills + 1, awake + (not bed.sleeps())
        again = bed.child(operation)
        # A run that was killed at its very end had finished the dump.
        assert again == "done" or "is a finished dump already" in error.read_text(), error.read_text()
        assert (bed.sleeps(), bed.left()) == (True, []), f"step {step}"
    (bed.folder / "swept").write_text(json.dumps([kills, awake]))


def killed_awake(bed: Bed, operation: str, stride: int) -> None:
    """Runs until one was killed and has left the collection awake, in the middle of its work."""
    for step in range(stride, 400, stride):
        shutil.rmtree(bed.folder / "dump", ignore_errors=True)
        if bed.child(operation, step) == "killed" and not bed.sleeps():
            return


def elsewhere(work: Callable[[Bed, str, int], None], bed: Bed, operation: str = "export", stride: int = 9) -> None:
    """Do it in a process that forks."""
    child = killer._context.Process(target=_elsewhere, args=(work, str(bed.folder), operation, stride))
    child.start()
    child.join(300)
    assert child.exitcode == 0


def _elsewhere(work: Callable[[Bed, str, int], None], folder: str, operation: str, stride: int) -> None:
    os.environ["VECPORT_STATE_DIR"] = str(Path(folder) / "state")
    work(Bed(Path(folder)), operation, stride)


@pytest.mark.parametrize("stride", [5, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("operation", ["export", "import_"])
def test_the_same_command_after_kills(bed: Bed, operation: str, stride: int, shown: Callable[[str], None]) -> None:
    elsewhere(sweep, bed, operation, stride)
    kills, awake = json.loads((bed.folder / "swept").read_text())
    shown(f"{operation.rstrip('_')} of a sleeping collection: {kills} kills, {awake} left it awake, 0 after the resume")
    assert awake >= 3


@pytest.fixture
def left_awake(bed: Bed) -> Bed:
    """A killed export has left the collection awake."""
    elsewhere(killed_awake, bed)
    assert not bed.sleeps()
    return bed


def test_a_resumed_run_that_is_refused_puts_it_back(left_awake: Bed) -> None:
    bed = left_awake
    with pytest.raises(VecportError):
        bed.export(like=bed.folder / "no-such-dump")
    assert (bed.sleeps(), bed.left()) == (True, [])


def test_a_resumed_run_that_fails_puts_it_back(left_awake: Bed) -> None:
    bed = left_awake
    with pytest.raises((Incomplete, AlreadyExists)):
        bed.export(source_options={"faults": json.dumps({"lose_row_on_page": 1})})
    assert (bed.sleeps(), bed.left()) == (True, [])


def test_a_run_that_is_given_up_is_told_and_put_back_by_the_next_on_that_collection(left_awake: Bed) -> None:
    bed = left_awake
    told = plan(f"{ADDRESS}#docs", source_options=bed.options).notes
    assert [n for n in told if "was interrupted and has not put back" in n and "'docs'" in n]
    assert not bed.sleeps(), "a plan changes nothing"
    result = bed.export("elsewhere")
    assert [n for n in result.notes if "was interrupted and has not put back" in n]
    assert (bed.sleeps(), bed.left()) == (True, [])


def test_begun_anew_with_overwrite_it_is_put_back(left_awake: Bed) -> None:
    bed = left_awake
    bed.export(overwrite=True)
    assert (bed.sleeps(), bed.left()) == (True, [])


def test_another_machine_finds_it_in_the_journal_of_the_dump(left_awake: Bed) -> None:
    bed = left_awake
    shutil.rmtree(bed.folder / "state")
    result = bed.export()
    assert (result.rows, bed.sleeps(), bed.left()) == (ROWS, True, [])
    assert [n for n in result.notes if "it is put back at the end" in n]


class Settings:
    """A session of which only effects are asked; ``failing`` lets none be undone."""

    def __init__(self, log: list[str], *effects: Effect) -> None:
        self.log, self.wanted, self.failing = log, effects, False

    def effects(self) -> tuple[Effect, ...]:
        return tuple(e for e in self.wanted if f"+{e.name}" not in self.log)

    def apply(self, effect: Effect) -> None:
        self.log.append(f"+{effect.name}")

    def undo(self, effect: Effect) -> None:
        if self.failing:
            raise Unavailable("the database does not answer")
        self.log.append(f"-{effect.name}")


def run(bed: Bed, session: Any, owner: str) -> Held:
    place = endpoint(f"{ADDRESS}#docs", role="source", collection=None, options=bed.options)
    as_source: Source = session
    return Held(place, as_source, owner, Told(Silent(), Stop()))


def test_effects_end_in_the_order_against_which_they_began(bed: Bed) -> None:
    log: list[str] = []
    session = Settings(log, Effect("load", "a", "b"), Effect("bulk", "a", "b", until="written"), Effect("x", "a", "b"))
    with run(bed, session, "one") as held:
        held.apply(session.effects)
        held.end("written")
        assert log == ["+load", "+bulk", "+x", "-bulk"]
    assert log == ["+load", "+bulk", "+x", "-bulk", "-x", "-load"]
    assert bed.left() == []


def test_of_two_runs_the_one_that_ends_last_puts_it_back(bed: Bed) -> None:
    log: list[str] = []
    session = Settings(log, Effect("load", "a", "b"))
    with run(bed, session, "second") as second:
        with run(bed, session, "first") as first:
            first.apply(session.effects)
            second.apply(session.effects)
        assert log == ["+load"]
    assert (log, bed.left()) == (["+load", "-load"], [])


def test_what_cannot_be_put_back_is_said_and_tried_by_the_next_run(bed: Bed) -> None:
    log: list[str] = []
    session = Settings(log, Effect("load", "it is loaded", "b"))
    session.failing = True
    held = run(bed, session, "one")

    def fails() -> None:
        with held:
            held.apply(session.effects)
            raise Incomplete("its own")

    with pytest.raises(Incomplete, match="its own"):
        fails()
    assert isinstance(held.heard, Told)
    assert [n for n in held.heard.notes if "not put back" in n and "it is loaded" in n]
    with pytest.raises(Unavailable), run(bed, session, "two") as held:
        held.apply(session.effects)
    session.failing = False
    with run(bed, session, "three"):
        pass
    assert (log, bed.left()) == (["+load", "-load"], [])
