"""Running tasks: in this thread, in threads with sessions of their own, or in worker processes. One code path.

A task is plain data and a result is plain data. A worker process is ``python -m vecport.operations.worker``: tasks go
in as JSON lines, events come out as JSON lines, and the end of its standard input, the death of its parent included,
ends it at once.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from .. import errors
from ..errors import OutOfResources, VecportError
from .progress import Progress, Stop

Task = dict[str, Any]
Result = dict[str, Any]


class Executor(Protocol):
    """Runs tasks one after another."""

    def run(self, task: Task, progress: Progress, stop: Stop) -> Result:
        """Run a task to its end, or raise."""

    def close(self) -> None:
        """Release what it holds."""


class InlineExecutor:
    """Runs a task by calling a function in the calling thread."""

    def __init__(self, call: Callable[[Task, Progress, Stop], Result], close: Callable[[], None] | None = None) -> None:
        self._call, self._close = call, close

    def run(self, task: Task, progress: Progress, stop: Stop) -> Result:
        """Call the function."""
        return self._call(task, progress, stop)

    def close(self) -> None:
        """Call what was given for it."""
        if self._close is not None:
            self._close()


class ProcessExecutor:
    """Runs tasks in one worker process, started at the first task."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def run(self, task: Task, progress: Progress, stop: Stop) -> Result:
        """Send the task, relay its events, return its result or raise its error."""
        process = self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        self._send({"task": task})
        watcher = threading.Thread(target=self._relay_stop, args=(stop, done := threading.Event()), daemon=True)
        watcher.start()
        try:
            for line in process.stdout:
                event = json.loads(line)
                if event["event"] == "rows":
                    progress.advance(event["rows"])
                elif event["event"] == "durable":
                    progress.durable(event["text"])
                elif event["event"] == "note":
                    progress.note(event["text"])
                elif event["event"] == "result":
                    return dict(event["value"])
                else:
                    raise error_from_json(event["error"])
        finally:
            done.set()
        code = process.wait()
        raise OutOfResources(
            f"a worker process ended with status {code}", "the system may have run out of memory",
            "everything that was finished is kept", "run the same command again, with fewer --workers or less --memory",
        )  # fmt: skip

    def close(self) -> None:
        """End the worker; it has nothing unfinished, or was told to drop it."""
        if self._process is not None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            try:
                self._process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None

    def _start(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "vecport.operations.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                # Ctrl-C reaches the whole terminal group; only the coordinator acts on it.
                start_new_session=True,
            )
        return self._process

    def _send(self, message: dict[str, Any]) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()
        except (BrokenPipeError, ValueError):
            # The reading side reports the worker's end.
            return

    def _relay_stop(self, stop: Stop, done: threading.Event) -> None:
        while not done.wait(0.1):
            if stop.is_set():
                self._send({"stop": stop.signal_number})
                return


def run_tasks(
    tasks: Iterable[Task],
    executors: Sequence[Executor],
    progress: Progress,
    stop: Stop,
    on_result: Callable[[Task, Result], None],
) -> None:
    """Run all tasks on the executors; the first error stops the others and is raised.

    Args:
        tasks: in the order in which they should begin; each is asked for when an executor is free.
        executors: one runs in the calling thread, several in a thread each.
        on_result: called in the order of completion, never at the same time.
    """
    if len(executors) == 1:
        for task in tasks:
            stop.check()
            on_result(task, executors[0].run(task, progress, stop))
        return
    waiting = iter(tasks)
    failures: list[BaseException] = []
    lock, taking = threading.Lock(), threading.Lock()
    halt = Stop()

    def take() -> Task | None:
        with taking:
            return next(waiting, None)

    def work(executor: Executor) -> None:
        while not (failures or stop.is_set()):
            try:
                task = take()
                if task is None:
                    return
                result = executor.run(task, progress, _Either(stop, halt))
                with lock:
                    on_result(task, result)
            except BaseException as e:
                failures.append(e)
                halt.set()

    threads = [threading.Thread(target=work, args=(e,), daemon=True) for e in executors]
    for t in threads:
        t.start()
    for t in threads:
        # Joining in short steps lets signals reach the main thread.
        while t.is_alive():
            t.join(0.2)
    real = [f for f in failures if not isinstance(f, errors.Interrupted)]
    if real:
        raise real[0]
    stop.check()
    if failures:
        raise failures[0]


class _Either(Stop):
    """Set when the user's stop or the internal one is."""

    def __init__(self, user: Stop, internal: Stop) -> None:
        super().__init__()
        self._user, self._internal = user, internal

    def is_set(self) -> bool:
        if self._user.is_set():
            self.signal_number = self._user.signal_number
            return True
        return self._internal.is_set()

    def check(self) -> None:
        if self.is_set():
            self._event.set()
            super().check()


def error_to_json(e: BaseException) -> dict[str, Any]:
    """Plain data of an error, for the pipe."""
    if isinstance(e, VecportError):
        return {"class": type(e).__name__, "args": [e.what, e.why, e.safe, e.next], "exit_code": e.exit_code}
    return {"class": "VecportError", "args": [f"{type(e).__name__}: {e}", "an unexpected error in a worker", "", ""]}


def error_from_json(data: dict[str, Any]) -> VecportError:
    """Inverse of ``error_to_json``; unknown classes become ``VecportError``."""
    kind = getattr(errors, data["class"], VecportError)
    if not (isinstance(kind, type) and issubclass(kind, VecportError)):
        kind = VecportError
    error = kind(*data["args"])
    error.exit_code = data.get("exit_code", error.exit_code)
    return error
