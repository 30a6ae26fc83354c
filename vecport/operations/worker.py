"""The worker process: reads orders from its standard input, answers with events on its standard output."""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
from typing import Any

from .error_data import error_data
from .progress import Stop
from .sessions import Endpoints
from .tasks import Do, Event, ExportTask, Failed, Finished, Halt, Known, Order, Task, from_line, to_line


class _Pipe:
    """Events on their way out, of any thread."""

    def __init__(self, out: Any) -> None:
        self._out, self._lock = out, threading.Lock()

    def send(self, event: Event | Finished | Failed) -> None:
        with self._lock:
            self._out.write(to_line(event))
            self._out.flush()


def main() -> None:
    """Serve tasks until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Clients that print must not disturb the protocol: file descriptor 1 becomes standard error.
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    pipe, stop, endpoints = _Pipe(out), Stop(), Endpoints()
    tasks: queue.SimpleQueue[Task] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(tasks, endpoints, stop), daemon=True).start()
    try:
        from . import export_task, import_task

        exports, imports = export_task.Runner(endpoints), import_task.Runner(endpoints)
    except BaseException as e:
        # Leaving by the interpreter's own end would wait for the thread that reads.
        pipe.send(Failed(error_data(e)))
        os._exit(1)
    while True:
        task = tasks.get()
        try:
            if isinstance(task, ExportTask):
                pipe.send(Finished(exports.run(task, pipe.send, stop)))
            else:
                pipe.send(Finished(imports.run(task, pipe.send, stop)))
        except BaseException as e:
            pipe.send(Failed(error_data(e)))


def _read(tasks: queue.SimpleQueue[Task], endpoints: Endpoints, stop: Stop) -> None:
    try:
        for line in sys.stdin.buffer:
            order = from_line(line, Order)
            if isinstance(order, Halt):
                stop.set(order.signal_number)
            elif isinstance(order, Known):
                endpoints.learn(order.endpoints)
            elif isinstance(order, Do):
                tasks.put(order.task)
    finally:
        # The coordinator is gone: what is unfinished must not go on beside its successor.
        os._exit(1)


if __name__ == "__main__":
    main()
