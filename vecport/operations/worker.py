"""The worker process: reads tasks from its standard input, answers with events on its standard output."""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
from typing import Any

from .progress import Stop
from .workers import error_to_json


class _PipeProgress:
    def __init__(self, out: Any) -> None:
        self._out, self._lock = out, threading.Lock()

    def send(self, event: dict[str, Any]) -> None:
        with self._lock:
            self._out.write(json.dumps(event).encode() + b"\n")
            self._out.flush()

    def phase(self, name: str, total: int | None = None) -> None:
        return None

    def advance(self, rows: int) -> None:
        self.send({"event": "rows", "rows": rows})

    def reached(self, done: int, total: int | None, unit: str, step: str = "") -> None:
        return None

    def durable(self, what: str) -> None:
        self.send({"event": "durable", "text": what})

    def note(self, text: str) -> None:
        self.send({"event": "note", "text": text})


def main() -> None:
    """Serve tasks until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Clients that print must not disturb the protocol: file descriptor 1 becomes standard error.
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    progress, stop = _PipeProgress(out), Stop()
    tasks: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(tasks, stop), daemon=True).start()
    try:
        from . import export_task, import_task

        writer = import_task.Runner()
        kinds: dict[str, Any] = {"export": export_task.Runner(), "import": writer, "link": writer}
    except BaseException as e:
        # Leaving by the interpreter's own end would wait for the thread that reads.
        progress.send({"event": "error", "error": error_to_json(e)})
        os._exit(1)
    while True:
        task = tasks.get()
        try:
            value = kinds[task["kind"]].run(task, progress, stop)
            progress.send({"event": "result", "value": value})
        except BaseException as e:
            progress.send({"event": "error", "error": error_to_json(e)})


def _read(tasks: queue.SimpleQueue[dict[str, Any]], stop: Stop) -> None:
    for line in sys.stdin.buffer:
        message = json.loads(line)
        if "stop" in message:
            stop.set(message["stop"])
        else:
            tasks.put(message["task"])
    # The coordinator is gone: what is unfinished must not go on beside its successor.
    os._exit(1)


if __name__ == "__main__":
    main()
