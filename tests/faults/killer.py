"""Runs an operation in a process of its own and kills it, -9, at a storage step or at a moment."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(
    [
        *(f"vecport.connectors.{name}" for name in ("chroma", "jsonl", "memory", "postgres", "qdrant")),
        "vecport.operations.export",
        "vecport.operations.import_",
        "vecport.operations.verify",
        "chromadb",
        "grpc",
        "psycopg",
        "pyarrow.parquet",
        "qdrant_client",
    ]
)

STEPS = ("fsync", "replace", "link", "unlink")


def run(
    operation: str,
    *,
    state: Path,
    log: Path,
    at_step: int | None = None,
    after_s: float | None = None,
    **arguments: Any,
) -> str:
    """Run ``export``, ``import`` or ``verify`` in a child.

    Args:
        operation: which.
        state: the folder for the state of imports.
        log: where the child writes its result or error, as one JSON object.
        at_step: kill it before its n-th storage step or target write (from 1); None for no such kill.
        after_s: kill it so long after it began to work.

    Returns:
        ``killed``, ``done`` or ``failed``.
    """
    log.unlink(missing_ok=True)
    child = _context.Process(target=_child, args=(operation, str(state), str(log), at_step, after_s, arguments))
    child.start()
    child.join(120)
    if child.is_alive():
        child.kill()
        raise AssertionError(f"{operation} hangs")
    if child.exitcode == -signal.SIGKILL:
        return "killed"
    return "done" if child.exitcode == 0 else "failed"


def outcome(log: Path) -> dict[str, Any]:
    """What the last child wrote."""
    return dict(json.loads(log.read_text()))


def _child(
    operation: str, state: str, log: str, at_step: int | None, after_s: float | None, arguments: dict[str, Any]
) -> None:
    os.environ["VECPORT_STATE_DIR"] = state
    from vecport.operations.export import export
    from vecport.operations.import_ import import_
    from vecport.operations.verify import verify

    if at_step is not None:
        _kill_at(at_step)
    if after_s is not None:
        threading.Thread(target=_kill_after, args=(after_s,), daemon=True).start()
    code = 0
    try:
        result = {"export": export, "import": import_, "verify": verify}[operation](**arguments)
        text = {"notes": list(result.notes), "exit_code": result.exit_code, "text": repr(result)}
    except BaseException as e:
        text, code = {"error": type(e).__name__, "text": str(e)}, 1
    Path(log).write_text(json.dumps(text))
    with contextlib.suppress(Exception):
        sys.stdout.flush()
    os._exit(code)


def _kill_after(seconds: float) -> None:
    time.sleep(seconds)
    os.kill(os.getpid(), signal.SIGKILL)


def _kill_at(step: int) -> None:
    """Count storage steps and target writes; die before the n-th."""
    count = [0]
    lock = threading.Lock()

    def counted(call: Any) -> Any:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with lock:
                count[0] += 1
                if count[0] == step:
                    os.kill(os.getpid(), signal.SIGKILL)
            return call(*args, **kwargs)

        return wrapped

    for name in STEPS:
        setattr(os, name, counted(getattr(os, name)))
    from vecport.operations import import_task

    write = import_task.Target.write
    assert write is not None
    original = import_task.import_shard

    def wrapped_shard(task: Any, target: Any, *rest: Any) -> Any:
        target.write = counted(target.write)
        return original(task, target, *rest)

    import_task.import_shard = wrapped_shard
