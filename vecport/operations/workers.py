"""Running tasks: in this thread, in threads with sessions of their own, or in worker processes. One code path.

A worker process is ``python -m vecport.operations.worker``: orders go in as JSON lines, events come out as JSON lines,
and the end of its standard input, the death of its parent included, ends it at once.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Generic, Protocol, TypeVar

from ..errors import Interrupted, OutOfResources
from .error_data import error_of
from .progress import Stop
from .sessions import Endpoints
from .tasks import Do, Emit, Event, Failed, Finished, Halt, Known, Order, Result, Task, from_line, to_line

T = TypeVar("T", bound=Task)
R = TypeVar("R", bound=Result)
T_contra = TypeVar("T_contra", bound=Task, contravariant=True)
R_co = TypeVar("R_co", bound=Result, covariant=True)


class Executor(Protocol[T_contra, R_co]):
    """Runs tasks one after another."""

    def run(self, task: T_contra, emit: Emit, stop: Stop) -> R_co:
        """Run a task to its end, or raise."""

    def close(self) -> None:
        """Release what it holds."""


class InlineExecutor(Generic[T, R]):
    """Runs a task by calling a function in the calling thread."""

    def __init__(self, call: Callable[[T, Emit, Stop], R], close: Callable[[], None] | None = None) -> None:
        self._call, self._close = call, close

    def run(self, task: T, emit: Emit, stop: Stop) -> R:
        """Call the function."""
        return self._call(task, emit, stop)

    def close(self) -> None:
        """Call what was given for it."""
        if self._close is not None:
            self._close()


class ProcessExecutor(Generic[T, R]):
    """Runs tasks in one worker process, started at the first task.

    Args:
        result: class of what its tasks end with.
        endpoints: that tasks may name; the worker is told of them once, apart from any task.
    """

    def __init__(self, endpoints: Endpoints, result: type[R]) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._endpoints, self._result = endpoints, result
        self._sending = threading.Lock()

    def run(self, task: T, emit: Emit, stop: Stop) -> R:
        """Send the task, relay its events, return its result or raise its error."""
        process = self._start()
        assert process.stdout is not None
        self._send(Do(task))
        watcher = threading.Thread(target=self._relay_stop, args=(stop, done := threading.Event()), daemon=True)
        watcher.start()
        try:
            for line in process.stdout:
                event: Event | Finished | Failed = from_line(line, Event | Finished | Failed)
                if isinstance(event, Finished):
                    assert isinstance(event.result, self._result)
                    return event.result
                if isinstance(event, Failed):
                    raise error_of(event.error)
                emit(event)
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
            self._send(Known(self._endpoints.to_json()))
        return self._process

    def _send(self, order: Order) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            with self._sending:
                self._process.stdin.write(to_line(order))
                self._process.stdin.flush()
        except (BrokenPipeError, ValueError):
            # The reading side reports the worker's end.
            return

    def _relay_stop(self, stop: Stop, done: threading.Event) -> None:
        while not done.wait(0.1):
            if stop.is_set():
                self._send(Halt(stop.signal_number))
                return


def run_tasks(
    tasks: Iterable[T],
    executors: Sequence[Executor[T, R]],
    emit: Emit,
    stop: Stop,
    on_result: Callable[[T, R], None],
) -> None:
    """Run all tasks on the executors; the first error stops the others and is raised.

    Args:
        tasks: in the order in which they should begin; each is asked for when an executor is free.
        executors: one runs in the calling thread, several in a thread each.
        emit: hears the events of all of them, from several threads.
        on_result: called in the order of completion, never at the same time.
    """
    if len(executors) == 1:
        for task in tasks:
            stop.check()
            on_result(task, executors[0].run(task, emit, stop))
        return
    waiting = iter(tasks)
    failures: list[BaseException] = []
    lock, taking = threading.Lock(), threading.Lock()
    halt = Stop()

    def take() -> T | None:
        with taking:
            return next(waiting, None)

    def work(executor: Executor[T, R]) -> None:
        while not (failures or stop.is_set()):
            try:
                task = take()
                if task is None:
                    return
                result = executor.run(task, emit, _Either(stop, halt))
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
    real = [f for f in failures if not isinstance(f, Interrupted)]
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
