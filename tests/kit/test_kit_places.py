"""Waiting, copies of folders, staged files and passports."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from vecport.connectors.contract import Mark
from vecport.connectors.kit import folders, passports, waiting
from vecport.connectors.kit.staged import Staged
from vecport.connectors.kit.waiting import Look
from vecport.errors import AlreadyExists, Interrupted, OutOfResources, Unavailable
from vecport.model.collection import Collection
from vecport.model.passport import Passport
from vecport.testing.heard import Heard


class Stopped(Heard):
    """A run that is stopped after a time."""

    def __init__(self, after_s: float) -> None:
        super().__init__()
        self.stop = threading.Event()
        threading.Timer(after_s, self.stop.set).start()

    def check(self) -> None:
        if self.stop.is_set():
            raise Interrupted("stopped")


def test_waiting_ends_when_the_work_is_ready_and_tells_how_far_it_is() -> None:
    looks = iter(range(5))
    heard = Heard()
    last = waiting.until(lambda: Look(n := next(looks), n == 4, n, n, 4, "vectors", "index"), heard, 60)
    assert last.ready
    assert last.found == 4
    assert heard.steps == [(n, 4, "vectors", "index") for n in range(4)]


def test_waiting_is_given_up_when_nothing_moves_and_not_before() -> None:
    began = time.monotonic()
    moves = iter([*range(8), *[8] * 10_000])
    last = waiting.until(lambda: Look(None, False, next(moves)), Heard(), 0.3)
    assert not last.ready
    assert 0.3 <= time.monotonic() - began < 3


def test_a_stop_ends_waiting_at_once() -> None:
    began = time.monotonic()
    with pytest.raises(Interrupted):
        waiting.until(lambda: Look(None, False), Stopped(0.2), 600)
    assert time.monotonic() - began < 2


def folder(path: Path) -> Path:
    (path / "sub").mkdir(parents=True)
    (path / "a").write_bytes(b"1")
    (path / "sub" / "b").write_bytes(b"2")
    return path


def copied(original: Path, destination: Path) -> float:
    shutil.copytree(original, destination, dirs_exist_ok=True)
    return 0.5


def test_a_copy_is_another_folder_that_goes_with_its_owner(tmp_path: Path) -> None:
    original = folder(tmp_path / "db")
    copy = folders.take_copy(original, "Example", lambda: 2, lambda to: copied(original, to))
    assert (copy.path / "sub" / "b").read_bytes() == b"2"
    assert copy.held == 0.5
    whole: Any = lambda name: (copy.path / name).is_file()  # noqa: E731
    other = folders.adopt_copy(copy.path, copy.id, "Example", heir=True, whole=whole)
    other.release()
    assert copy.path.is_dir(), "only the owner removes it"
    (copy.path / "sub" / "b").unlink()
    with pytest.raises(Unavailable, match="is gone"):
        folders.adopt_copy(copy.path, copy.id, "Example", heir=True, whole=whole)
    copy.release()
    copy.release()
    assert not copy.path.exists()
    with pytest.raises(Unavailable, match="is gone"):
        folders.adopt_copy(copy.path, copy.id, "Example", heir=True, whole=whole)


def test_an_heir_removes_the_copy_of_a_process_that_died(tmp_path: Path) -> None:
    original = folder(tmp_path / "db")
    code = (
        "import os, shutil, sys; from pathlib import Path; from vecport.connectors.kit import folders\n"
        "c = folders.take_copy(Path(sys.argv[1]), 'Example', lambda: 2,"
        " lambda to: shutil.copytree(sys.argv[1], to, dirs_exist_ok=True) and 0.0)\n"
        "print(c.path, c.id, flush=True); os._exit(1)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(original)], capture_output=True, text=True, check=False)
    path, id = done.stdout.split()
    copy = folders.adopt_copy(Path(path), id, "Example", heir=True, whole=lambda name: True)
    assert copy.path.is_dir()
    copy.release()
    assert not copy.path.exists()


def test_a_copy_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = folder(tmp_path / "db")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(OutOfResources, match="TMPDIR"):
        folders.take_copy(original, "Example", lambda: 1 << 60, lambda to: copied(original, to))

    def full(destination: Path) -> float:
        copied(original, destination)
        raise OSError(28, "No space left on device")

    with pytest.raises(OutOfResources, match="no room"):
        folders.take_copy(original, "Example", lambda: 2, full)
    assert [p.name for p in tmp_path.iterdir()] == ["db"]


def content(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


def test_a_staged_file_goes_on_behind_the_last_group_that_was_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "rows.bin"
    first = Staged(path, "import")
    first.begin("schema")
    first.append(Mark("s", 0), b"zero", 2)
    first.append(Mark("s", 1), b"one", 1)
    first.close()
    (part,) = tmp_path.glob("*.part")
    part.write_bytes(part.read_bytes() + b"torn")
    second = Staged(path, "import")
    assert not second.resume("another schema")
    assert second.resume("schema")
    assert second.marks == {Mark("s", 0), Mark("s", 1)}
    assert second.rows == 3
    second.append(Mark("s", 2), b"two", 5)
    second.place(replace=False, has_content=content)
    assert path.read_bytes() == b"zeroonetwo"
    assert second.rows == 8
    assert [p.name for p in tmp_path.iterdir()] == ["rows.bin"]
    assert not Staged(path, "import").resume("schema")


def test_a_staged_file_takes_the_place_of_another_only_when_it_shall(tmp_path: Path) -> None:
    path = tmp_path / "rows.bin"
    staged = Staged(path, "import")
    staged.begin("schema")
    staged.append(Mark("s", 0), b"mine", 1)
    path.write_bytes(b"theirs")
    with pytest.raises(AlreadyExists, match="meanwhile"):
        staged.place(replace=False, has_content=content)
    assert path.read_bytes() == b"theirs"
    staged.place(replace=True, has_content=content)
    assert path.read_bytes() == b"mine"


def test_placing_is_finished_by_the_next_run(tmp_path: Path) -> None:
    path = tmp_path / "rows.bin"
    staged = Staged(path, "import")
    staged.begin("schema")
    staged.append(Mark("s", 0), b"mine", 1)
    (log,) = tmp_path.glob("*.marks")
    kept = log.read_bytes()
    staged.place(replace=False, has_content=content)
    # Killed between giving the name and forgetting the log.
    log.write_bytes(kept + b'{"placing":true}\n')
    again = Staged(path, "import")
    assert again.resume("schema")
    assert again.rows == 1
    again.place(replace=False, has_content=content)
    assert path.read_bytes() == b"mine"
    assert not log.exists()


def passport(**values: Any) -> dict[str, Any]:
    return Passport(Collection("c", "string", ()), **values).to_json()


def test_a_passport_is_read_as_it_was_written_and_anything_else_is_said(tmp_path: Path) -> None:
    mine = passport(namespace="ns")
    text = passports.text_of(mine)
    assert passports.read(text, "the key") == (mine, "")
    assert passports.read(None, "the key") == (None, "")
    others: list[Any] = ["", "7", "[]", "{", 7, {}]
    for other in others:
        found, note = passports.read(other, "the key")
        assert found is None
        assert note.startswith("the key holds something that is no passport")
    sidecar = passports.Sidecar(tmp_path / "my.index")
    assert sidecar.read() == (None, "")
    sidecar.store(mine)
    assert sidecar.read() == (mine, "")
    assert [p.name for p in tmp_path.iterdir()] == ["my.index.vecport.json"]
    assert stat.S_ISREG(os.stat(sidecar.path).st_mode)
    sidecar.path.write_bytes(b"\xff")
    assert sidecar.read()[1].startswith("the file my.index.vecport.json")
    sidecar.remove()
    assert sidecar.read() == (None, "")


def test_namespaces_are_counted_by_what_the_passport_names() -> None:
    def count() -> int:
        return 10

    def never(key: str) -> Any:
        raise AssertionError

    counted = passports.counted_namespaces
    assert counted(None, count, never) == (None, "") == counted(passport(), count, never)
    assert counted(passport(prefix="/"), count, never)[1].startswith("the namespaces are a part of the ids")
    assert counted(passport(namespace="ns"), count, lambda key: {"a": 4, key: 6}) == ({"a": 4, "ns": 6}, "")
    assert counted(passport(namespace="ns"), count, lambda key: {"a": 4}) == ({"a": 4, "": 6}, "")
    assert counted(passport(namespace="ns"), count, lambda key: "no index") == (None, "no index")
    assert counted(passport(namespace="ns"), count, lambda key: {"a": 11})[0] is None
    assert counted(passport(namespace="ns"), count, lambda key: {"a": 5, "b": 5}, most=1)[0] is None
