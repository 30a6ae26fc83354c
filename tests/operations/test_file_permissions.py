"""Files and folders that may not be read or written: a plan says so, and the export or import then agrees with it.

Root may do everything, so that the commands run without the capabilities that make it so.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from vecport.operations.export import export
from vecport.operations.import_ import import_

_BOUNDING_SET_DROP = 24
_DAC_OVERRIDE, _DAC_READ_SEARCH = 1, 2


#: Runs command lines one after another, each in a folder: a process a command would load Chroma's client each time.
_WORKER = """
import contextlib, io, json, os, sys
from vecport.cli.app import run
for line in sys.stdin:
    folder, arguments = json.loads(line)
    os.chdir(folder)
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(arguments)
    print(json.dumps([code, out.getvalue() or err.getvalue()]), flush=True)
"""


def _as_anybody() -> None:
    """In a child before it starts: permissions of files count for root too."""
    if os.geteuid() == 0:
        for capability in (_DAC_OVERRIDE, _DAC_READ_SEARCH):
            ctypes.CDLL(None).prctl(_BOUNDING_SET_DROP, capability, 0, 0, 0)


@pytest.fixture(scope="module")
def anybody() -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", _WORKER]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, preexec_fn=_as_anybody) as process:
        yield process


@pytest.fixture
def vecport(anybody: subprocess.Popen[str], tmp_path: Path) -> Callable[..., tuple[int, Any]]:
    """Run a command in the folder of the test; return its exit code and its JSON."""

    def call(*arguments: str) -> tuple[int, Any]:
        assert anybody.stdin is not None
        assert anybody.stdout is not None
        anybody.stdin.write(json.dumps([str(tmp_path), [*arguments, "--json"]]) + "\n")
        anybody.stdin.flush()
        code, shown = json.loads(anybody.stdout.readline())
        return code, json.loads(shown.splitlines()[-1])

    return call


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """With a file, a dump, and a folder of Chroma and of Qdrant made of it."""
    lines = [f'{{"id":"{i}","vector":[1,2],"metadata":{{"n":{i}}}}}' for i in range(3)]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines) + "\n")
    (tmp_path / "dump").mkdir(mode=0o755)
    export(f"jsonl:{tmp_path / 'rows.jsonl'}", tmp_path / "dump")
    for name in ("chroma", "qdrant"):
        import_(tmp_path / "dump", f"{name}:{tmp_path / name}", collection="rows", settings={"metric": "l2"})
    (tmp_path / "full").mkdir()
    yield tmp_path
    subprocess.run(["chmod", "-R", "u+rwX", str(tmp_path)], check=True)


def missing(found: Any) -> list[dict[str, Any]]:
    return [p for p in found["facts"].get("permissions", []) if p["allowed"] is False]


READ = {
    "jsonl:rows.jsonl": ("rows.jsonl", 0o000),
    "chroma:chroma": ("chroma/chroma.sqlite3", 0o000),
    "chroma:./chroma": ("chroma", 0o000),
    "qdrant:qdrant": ("qdrant/collection/rows/storage.sqlite", 0o000),
    "qdrant:./qdrant": ("qdrant", 0o000),
}


@pytest.mark.parametrize("place", READ)
def test_what_may_not_be_read_is_planned_and_exported_after_the_command_that_the_plan_names(
    place: str, folder: Path, vecport: Callable[..., tuple[int, Any]]
) -> None:
    name, mode = READ[place]
    (folder / name).chmod(mode)
    code, found = vecport("plan", place, "-c", "rows")
    [one] = missing(found)
    assert (code, one["role"], one["what"]) == (3, "source", "read the records")
    assert name in one["why"]
    assert any(name in note and one["grant"] in note for note in found["notes"])
    code, error = vecport("export", place, "out", "-c", "rows")
    assert (code, error["code"]) == (12, "authentication")
    assert not (folder / "out").exists() or not any((folder / "out").iterdir())
    subprocess.run(one["grant"], shell=True, cwd=folder, check=True)
    code, found = vecport("plan", place, "-c", "rows")
    assert (code, missing(found), found["facts"]["rows"]) == (0, [], 3)
    assert vecport("export", place, "out", "-c", "rows")[0] == 0


WRITE = {
    "jsonl:full/new.jsonl": ("full", 0o555, ()),
    "chroma:full/new": ("full", 0o555, ()),
    "chroma:chroma": ("chroma/chroma.sqlite3", 0o444, ("--if-exists", "append")),
    "chroma:./chroma": ("chroma", 0o555, ("--if-exists", "replace")),
    "qdrant:full/new": ("full", 0o555, ()),
    "qdrant:qdrant": ("qdrant", 0o555, ("--if-exists", "append")),
}


@pytest.mark.parametrize("place", WRITE)
def test_what_may_not_be_written_is_planned_and_imported_after_the_command_that_the_plan_names(
    place: str, folder: Path, vecport: Callable[..., tuple[int, Any]]
) -> None:
    name, mode, how = WRITE[place]
    (folder / name).chmod(mode)
    before = sorted(p for p in folder.rglob("*"))
    options = ("dump", place, "-c", "rows", "--set", "metric=l2", *how)
    options = options if not place.startswith("jsonl") else options[:2]
    code, found = vecport("plan", *options)
    [one] = missing(found)
    assert (code, one["role"]) == (3, "target")
    assert name in one["why"]
    assert found["facts"]["target"]["would"] == "refuse: a permission is missing"
    code, error = vecport("import", *options)
    assert (code, error["code"]) == (12, "authentication")
    assert sorted(p for p in folder.rglob("*")) == before
    subprocess.run(one["grant"], shell=True, cwd=folder, check=True)
    code, found = vecport("plan", *options)
    assert (code, missing(found)) == (0, [])
    assert vecport("import", *options)[0] == 0


def test_an_index_of_chroma_that_may_not_be_written_is_not_known_to_matter(
    folder: Path, vecport: Callable[..., tuple[int, Any]]
) -> None:
    [index] = (folder / "chroma").glob("*/data_level0.bin")
    index.chmod(0o444)
    code, found = vecport("plan", "dump", "chroma:chroma", "-c", "other", "--set", "metric=l2")
    [one] = found["facts"]["permissions"]
    assert (code, one["allowed"]) == (0, None)
    assert f"{index.name} may not be written; it may be another collection's" in one["why"]
    assert vecport("import", "dump", "chroma:chroma", "-c", "other", "--set", "metric=l2")[0] == 0


def test_an_index_of_chroma_that_may_not_be_read_is_found(
    folder: Path, vecport: Callable[..., tuple[int, Any]]
) -> None:
    [index] = (folder / "chroma").glob("*/data_level0.bin")
    index.chmod(0o000)
    for options in (["chroma:chroma", "-c", "rows"], ["dump", "chroma:chroma", "-c", "other"]):
        code, found = vecport("plan", *options)
        [one] = missing(found)
        assert (code, one["what"]) == (3, "read the records")
    assert vecport("export", "chroma:chroma", "out")[0] == 12
    assert vecport("import", "dump", "chroma:chroma", "-c", "other", "--set", "metric=l2")[0] == 12
