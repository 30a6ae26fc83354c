"""Runs vecport's commands in processes of their own, and says what they took: seconds of processors, memory, exit code.

A process with everything loaded forks for each command, so that what is measured is the command's own work.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: Address space of a command: more would harm the machine that runs the tests.
_ROOM = 6 << 30
_MODULES = (
    "click", "duckdb", "fsspec", "numpy", "orjson", "pyarrow.compute", "pyarrow.parquet", "rich.live", "rich.table",
    "vecport.cli.app", "vecport.cli.render", "vecport.cli.render_facts", "vecport.connectors.jsonl",
    "vecport.connectors.memory", "vecport.operations.diff", "vecport.operations.import_", "vecport.operations.inspect",
    "vecport.operations.validate", "vecport.operations.verify",
)  # fmt: skip


@dataclass(frozen=True)
class Taken:
    """What a command took.

    Attributes:
        code: its exit code, negative for a signal; None when it did not end in time.
        cpu_s: seconds of processors, its children included.
        memory: largest bytes of one process, those of the loaded modules included.
        said: standard output and error.
    """

    code: int | None
    cpu_s: float
    memory: int
    said: str


class Measured:
    """Runs commands; see ``measuring``."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def __call__(self, *arguments: str, folder: Path, limit_s: float = 60) -> Taken:
        """Run ``vecport`` with these arguments in a folder."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        task = {"arguments": arguments, "folder": str(folder), "limit_s": limit_s, "env": dict(os.environ)}
        self._process.stdin.write(json.dumps(task) + "\n")
        self._process.stdin.flush()
        return Taken(**json.loads(self._process.stdout.readline()))


@contextlib.contextmanager
def measuring() -> Iterator[Measured]:
    """Start the process that forks."""
    process = subprocess.Popen(
        [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        yield Measured(process)
    finally:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        process.wait(10)
        process.stdout.close()


def _serve() -> None:
    for name in _MODULES:
        importlib.import_module(name)
    for line in sys.stdin:
        sys.stdout.write(json.dumps(_run(json.loads(line))) + "\n")
        sys.stdout.flush()


def _run(task: dict[str, Any]) -> dict[str, Any]:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _command(task["arguments"], task["folder"], task["env"], writing)
    os.close(writing)
    late = threading.Event()

    def end() -> None:
        late.set()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)

    timer = threading.Timer(task["limit_s"], end)
    timer.start()
    with open(reading, "rb") as f:
        said = f.read()
    _, status, used = os.wait4(child, 0)
    timer.cancel()
    return {
        "code": None if late.is_set() else os.waitstatus_to_exitcode(status), "cpu_s": used.ru_utime + used.ru_stime,
        "memory": used.ru_maxrss << 10, "said": said.decode(errors="replace"),
    }  # fmt: skip


def _command(arguments: Sequence[str], folder: str, env: dict[str, str], output: int) -> None:
    code = 98
    try:
        os.setpgid(0, 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.close(output)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(env)
        resource.setrlimit(resource.RLIMIT_AS, (_ROOM, _ROOM))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        sys.argv = ["vecport", *arguments]
        from vecport.cli.app import run

        code = run(list(arguments))
        sys.stdout.flush()
        sys.stderr.flush()
    except SystemExit as e:
        code = e.code if isinstance(e.code, int) else 1
    finally:
        os._exit(code)


if __name__ == "__main__":
    _serve()
