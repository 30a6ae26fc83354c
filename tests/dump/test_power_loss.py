"""Power loss: whatever a disk may forget, a published manifest never stands over shards that are not whole.

An export runs over a layer that records what it asks of the disk. For every prefix of that record the model says what
a disk may hold afterwards: bytes that were not synced may be missing, halved or zero, and each change of a folder that
was not synced may be missing, in any order. Names of folders count too.
"""

from __future__ import annotations

import hashlib
import os
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.dump.small import small_dump
from vecport.connectors.memory import forget
from vecport.dump import store as stores
from vecport.dump.manifest import parse_manifest
from vecport.errors import VecportError
from vecport.operations.export import export
from vecport.operations.import_ import import_
from vecport.operations.validate import validate

Op = tuple[str, ...] | tuple[str, str, bytes]
State = dict[str, bytes]
REAL_OPEN: Any = open


# ---- recording


class Recorder:
    """Notes what is asked of the disk below a folder, and passes it on.

    Ops: ``create``, ``write``, ``sync``, ``move``, ``link``, ``unlink``, ``mkdir``, ``rmdir``, ``syncdir``.
    """

    def __init__(self, root: Path, patch: pytest.MonkeyPatch) -> None:
        self.root, self.ops = root, list[Any]()
        patch.setattr(stores, "open", self._open, raising=False)
        for call, op in (("replace", "move"), ("link", "link"), ("unlink", "unlink"), ("mkdir", "mkdir"),
                         ("rmdir", "rmdir")):  # fmt: skip
            patch.setattr(stores.os, call, self._noted(getattr(os, call), op))
        patch.setattr(stores.os, "fsync", self._sync(os.fsync))

    def _note(self, op: str, *paths: Any) -> None:
        names = [os.path.relpath(p, self.root) if isinstance(p, str) else p for p in paths]
        if not any(isinstance(n, str) and n.startswith("..") for n in names):
            self.ops.append((op, *names))

    def _open(self, path: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        file = REAL_OPEN(path, mode, *args, **kwargs)
        if mode != "xb":
            return file
        self._note("create", path)
        return _Noting(file, path, self._note)

    def _noted(self, real: Callable[..., Any], op: str) -> Callable[..., Any]:
        def run(*paths: Any, **kwargs: Any) -> Any:
            result = real(*paths, **kwargs)
            self._note(op, *(os.fspath(p) for p in paths if isinstance(p, str | Path)))
            return result

        return run

    def _sync(self, real: Callable[[int], None]) -> Callable[[int], None]:
        def run(fd: int) -> None:
            real(fd)
            path = os.readlink(f"/proc/self/fd/{fd}")
            self._note("syncdir" if os.path.isdir(path) else "sync", path)

        return run


class _Noting:
    def __init__(self, file: Any, path: str, note: Callable[..., None]) -> None:
        self._file, self._path, self._note = file, path, note

    def write(self, data: Any) -> int:
        self._note("write", self._path, bytes(data))
        return int(self._file.write(data))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


# ---- the model of a disk


@dataclass
class Node:
    """A file: what was written, and what of it was synced. Or a folder: its names likewise."""

    folder: bool = False
    live: bytes = b""
    synced: bytes = b""
    names: dict[str, Node] = field(default_factory=dict)
    durable: dict[str, Node] = field(default_factory=dict)
    pending: list[Callable[[dict[str, Node]], None]] = field(default_factory=list)

    def change(self, op: Callable[[dict[str, Node]], None]) -> None:
        """Change the names of a folder: now for whoever looks, later for the disk."""
        op(self.names)
        self.pending.append(op)

    def sync(self) -> None:
        self.synced, self.durable, self.pending = self.live, dict(self.names), []


class Disk:
    """Applies ops, and says what may be left of them after a power loss."""

    def __init__(self) -> None:
        self.root = Node(folder=True)

    def at(self, path: str) -> Node:
        node = self.root
        for part in path.split("/"):
            node = node if part == "." else node.names[part]
        return node

    def apply(self, op: Op) -> None:
        kind, path, *rest = op
        assert isinstance(path, str)
        if kind == "write":
            self.at(path).live += rest[0]  # type: ignore[operator]
        elif kind in ("sync", "syncdir"):
            self.at(path).sync()
        else:
            folder, _, name = path.rpartition("/")
            self._rename(kind, self.at(folder or "."), name, rest)

    def _rename(self, kind: str, place: Node, name: str, rest: Sequence[Any]) -> None:
        if kind in ("create", "mkdir"):
            made = Node(folder=kind == "mkdir")
            place.change(lambda names: names.__setitem__(name, made))
        elif kind in ("unlink", "rmdir"):
            place.change(lambda names: names.pop(name, None))  # type: ignore[arg-type,return-value]
        else:
            node, other = place.names[name], rest[0].rpartition("/")[2]

            def move(names: dict[str, Node]) -> None:
                names[other] = node
                if kind == "move":
                    names.pop(name, None)

            place.change(move)

    def left(self, keep: Callable[[], bool], content: Callable[[Node], bytes]) -> State:
        """Files by path, of what a disk may hold: ``keep`` decides about each change of names that was not synced."""
        found: State = {}

        def walk(folder: Node, prefix: str) -> None:
            names = dict(folder.durable)
            for op in folder.pending:
                if keep():
                    op(names)
            for name, node in names.items():
                if node.folder:
                    walk(node, f"{prefix}{name}/")
                else:
                    found[prefix + name] = content(node)

        walk(self.root, "")
        return found


def synced(node: Node) -> bytes:
    return node.synced


def live(node: Node) -> bytes:
    return node.live


def half(node: Node) -> bytes:
    return node.live[: (len(node.synced) + len(node.live)) // 2]


def zeros(node: Node) -> bytes:
    return node.synced + bytes(len(node.live) - len(node.synced))


CONTENTS = (synced, live, half, zeros)


def outcomes(disk: Disk, draw: random.Random, samples: int) -> Iterator[State]:
    """What may be left: nothing that was not synced, everything, all names over no bytes, and samples between."""
    yield disk.left(lambda: False, synced)
    yield disk.left(lambda: True, live)
    for content in (synced, half, zeros):
        yield disk.left(lambda: True, content)
    for _ in range(samples):
        share = draw.choice((0.2, 0.5, 0.8))
        yield disk.left(lambda share=share: draw.random() < share, lambda node: draw.choice(CONTENTS)(node))  # type: ignore[misc]


def broken(state: State) -> str | None:
    """What is wrong with a published dump; ``None`` where there is none or all is well."""
    raw = state.get("dump/manifest.json")
    if raw is None:
        return None
    try:
        manifest = parse_manifest(raw, "dump")
    except VecportError:
        return "the manifest is torn"
    for s in manifest.shards:
        data = state.get(f"dump/{s.path}")
        if data is None or hashlib.sha256(data).hexdigest() != s.sha256:
            return f"{s.path} is not whole"
    return None


def survey(ops: Sequence[Op], samples: int = 12) -> tuple[int, Counter[str]]:
    """Look at every prefix; how many states were seen, and what was wrong in how many."""
    disk, draw, seen, wrong = Disk(), random.Random(5), 0, Counter[str]()
    for n, op in enumerate(ops):
        disk.apply(op)
        for state in outcomes(disk, draw, samples * 4 if n == len(ops) - 1 else samples):
            seen += 1
            fault = broken(state)
            if fault:
                wrong[fault] += 1
            elif n == len(ops) - 1 and "dump/manifest.json" not in state:
                wrong["the dump is lost after its export ended"] += 1
    return seen, wrong


# ---- the tests


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    small_dump(tmp_path_factory.mktemp("source") / "dump", shards=1, rows=12)
    import_(str(tmp_path_factory.getbasetemp() / "source0" / "dump"), "memory:power", collection="c")
    yield "memory:power"
    forget("power")


def record(source: str, root: Path, patch: pytest.MonkeyPatch) -> list[Op]:
    """What a small export of three shards asks of the disk."""
    recorder = Recorder(root, patch)
    export(source, str(root / "dump"), collection="c", shard_rows=4)
    assert validate(root / "dump", level="deep").valid
    # A run of writes to one file is one write: between them nothing is synced.
    ops: list[Any] = []
    for op in recorder.ops:
        if op[0] == "write" and ops and ops[-1][:2] == op[:2]:
            ops[-1] = (*op[:2], ops[-1][2] + op[2])
        else:
            ops.append(op)
    return ops


@pytest.fixture(scope="module")
def recorded(source: str, tmp_path_factory: pytest.TempPathFactory) -> list[Op]:
    with pytest.MonkeyPatch.context() as patch:
        return record(source, tmp_path_factory.mktemp("recorded"), patch)


def test_the_model_ends_where_the_disk_ends(recorded: list[Op]) -> None:
    disk = Disk()
    for op in recorded:
        disk.apply(op)
    state = disk.left(lambda: True, live)
    assert sorted(state) == [
        "dump/README.md", *(f"dump/data/part-0000{n}-00000.parquet" for n in range(3)), "dump/manifest.json",
    ]  # fmt: skip
    assert broken(state) is None


def test_no_state_has_a_manifest_over_broken_shards(recorded: list[Op]) -> None:
    seen, wrong = survey(recorded, samples=60)
    assert wrong == {}
    print(f"\npower loss: {len(recorded)} operations, {seen:,} states, none wrong")


MUTANTS: dict[str, Callable[[Op], bool]] = {
    "shards are not synced": lambda op: op[0] == "sync" and "parquet" in str(op[1]),
    "the manifest is not synced": lambda op: op[0] == "sync" and "manifest" in str(op[1]),
    "no file is synced": lambda op: op[0] == "sync",
    "the folder of the shards is not synced": lambda op: op == ("syncdir", "dump/data"),
    "the folder of the dump is not synced": lambda op: op == ("syncdir", "dump"),
    "the folder above the dump is not synced": lambda op: op == ("syncdir", "."),
    "no folder is synced": lambda op: op[0] == "syncdir",
}


@pytest.mark.parametrize("name", MUTANTS)
def test_without_a_sync_the_model_finds_broken_dumps(name: str, recorded: list[Op]) -> None:
    """A call that is left out is an op that is not in the record."""
    ops = [op for op in recorded if not MUTANTS[name](op)]
    assert len(ops) < len(recorded)
    _, wrong = survey(ops)
    assert wrong, "the harness does not notice that this call is missing"


@pytest.mark.parametrize("call", ["fsync_folder", "sync"])
def test_code_without_a_sync_is_found(call: str, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same with the code itself changed."""
    if call == "sync":
        monkeypatch.setattr(stores._LocalUpload, call, lambda self: None)
    else:
        monkeypatch.setattr(stores, call, lambda path: None)
    _, wrong = survey(record(source, tmp_path, monkeypatch))
    assert wrong


def test_with_the_manifest_first_the_model_finds_broken_dumps(recorded: list[Op]) -> None:
    last = next(i for i, op in enumerate(recorded) if op[0] == "create" and "manifest" in str(op[1]))
    mine = [op for op in recorded[last:] if op[0] != "syncdir" and "manifest" in str(op[1])]
    first = next(i for i, op in enumerate(recorded) if "parquet" in str(op[1]))
    rest = [op for op in recorded[first:] if op not in mine]
    _, wrong = survey([*recorded[:first], *mine, ("syncdir", "dump"), *rest])
    assert any("is not whole" in fault for fault in wrong)


def test_an_export_goes_on_from_what_is_left(recorded: list[Op], source: str, tmp_path: Path) -> None:
    """The same command again makes the same dump of whatever a power loss leaves."""
    whole = Disk()
    for op in recorded:
        whole.apply(op)
    right = {p: b for p, b in whole.left(lambda: True, live).items() if p.endswith(".parquet")}
    draw, finished, begun, kept = random.Random(11), 0, 0, 0
    for number in range(16):
        disk, end = Disk(), draw.randrange(len(recorded))
        for op in recorded[: end + 1]:
            disk.apply(op)
        state = draw.choice(list(outcomes(disk, draw, 4)))
        root = tmp_path / str(number)
        for path, data in state.items():
            file = root / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
        if "dump/manifest.json" in state and "dump/.vecport/export.json" not in state:
            finished += 1
        else:
            result = export(source, str(root / "dump"), collection="c", shard_rows=4)
            begun += "dump/manifest.json" not in state
            kept += result.resumed_rows > 0
        assert validate(root / "dump", level="deep").valid
        assert {f"dump/{p}": (root / "dump" / p).read_bytes() for p in _shards(root / "dump")} == right
    assert begun > 5
    assert kept > 2
    print(f"\nresumed after a power loss: {begun}, of them {kept} with shards kept; already finished: {finished}")


def _shards(folder: Path) -> list[str]:
    return [str(p.relative_to(folder)) for p in sorted(folder.glob("data/*"))]
