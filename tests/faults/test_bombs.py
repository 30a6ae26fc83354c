"""Bombs: dumps of few bytes that ask for much. Every command ends soon, in little memory, with a typed answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.forger.bombs import BOMBS, HARMLESS
from tests.faults.forger.dumps import dump, page, write, written
from tests.faults.measured import Measured, Taken, measuring

#: Seconds of processors, beyond those of the same command on an honest small dump; and bytes of memory.
CPU_S, MEMORY = 2.0, 512 << 20
COMMANDS: dict[str, tuple[str, ...]] = {
    "inspect": ("inspect", "bomb"),
    "validate quick": ("validate", "bomb", "--level", "quick"),
    "validate full": ("validate", "bomb", "--level", "full"),
    "validate deep": ("validate", "bomb", "--level", "deep"),
    "diff": ("diff", "bomb", "honest"),
    "verify": ("verify", "bomb", "jsonl:there.jsonl"),
    "import": ("import", "bomb", "jsonl:out.jsonl"),
}
#: Differences, damage, what the format cannot hold.
TYPED = (3, 13, 14)


@pytest.fixture(scope="module")
def run() -> Iterator[Measured]:
    with measuring() as measured:
        yield measured


@pytest.fixture(scope="module")
def room(run: Measured, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an honest dump and its records in a file."""
    folder = tmp_path_factory.mktemp("bombs")
    made = page(64, documents=[f"text {i}" for i in range(64)])
    write(dump(written([made]), [made]), folder / "honest")
    taken = run("import", "honest", "jsonl:there.jsonl", folder=folder)
    assert taken.code == 0, taken.said
    return folder


#: One bomb of each kind, and the commands that read most.
SHORT = tuple({name.partition("/")[0]: name for name in sorted(BOMBS, reverse=True)}.values())
SHORT_COMMANDS = ("validate full", "import")


@pytest.mark.parametrize("name", sorted(SHORT))
def test_a_bomb_of_each_kind_takes_little(
    name: str, run: Measured, room: Path, record_property: Callable[[str, object], None], tmp_path: Path
) -> None:
    assert _faults(name, SHORT_COMMANDS, run, room, record_property, tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(BOMBS))
def test_a_bomb_takes_little(
    name: str, run: Measured, room: Path, record_property: Callable[[str, object], None], tmp_path: Path
) -> None:
    assert _faults(name, tuple(COMMANDS), run, room, record_property, tmp_path) == []


def _faults(
    name: str, commands: tuple[str, ...], run: Measured, room: Path, tell: Callable[[str, object], None], folder: Path
) -> list[str]:
    """What is wrong with the ends of some commands on a bomb."""
    write(BOMBS[name](), folder / "bomb")
    for other in ("honest", "there.jsonl"):
        (folder / other).symlink_to(room / other)
    good, faults = 0, []
    for what in commands:
        taken = run(*COMMANDS[what], folder=folder)
        fault = _fault(name, what, taken)
        (folder / "out.jsonl").unlink(missing_ok=True)
        if fault:
            faults.append(fault)
        good += not fault
    tell("tally", ["commands on bombs", good, len(commands)])
    return faults


def _fault(name: str, what: str, taken: Taken) -> str | None:
    """What is wrong with the end of a command."""
    # Records are not read by all commands; what only they show is not seen there.
    allowed = TYPED if what.split()[-1] in ("deep", "diff", "verify", "import") else (0, *TYPED)
    if name in HARMLESS:
        allowed = (0, *TYPED)
    if what == "import" and name not in HARMLESS:
        allowed = (13,)
    if taken.code in allowed and taken.cpu_s <= CPU_S and taken.memory <= MEMORY:
        return None
    return f"{what}: exit {taken.code}, {taken.cpu_s:.2f} s, {taken.memory >> 20} MiB: {taken.said[-300:]}"
