"""Ctrl-C and SIGTERM: the first asks to stop at the next safe point, the second ends the process at once."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from ..operations.progress import Stop

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Signalled(KeyboardInterrupt):
    """A signal ended a command that has nothing to finish."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.signal_number = number


def _raise(number: int, frame: FrameType | None) -> None:
    raise Signalled(number)


def _ignore(number: int, frame: FrameType | None) -> None:
    """The watcher has seen it already."""


@contextlib.contextmanager
def _handled(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in SIGNALS}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, signal.SIG_DFL if old is None else old)


@contextlib.contextmanager
def raising() -> Iterator[None]:
    """Signals unwind the command, so that sessions close and temporary copies go."""
    with _handled(_raise):
        yield


@contextlib.contextmanager
def stopping(stop: Stop, announce: Callable[[int], None], end: Callable[[int], None]) -> Iterator[None]:
    """Signals set ``stop``; the second one ends the process.

    A thread of its own waits for them: the main thread may be inside a long call of a C library, where Python runs no
    signal handler.

    Args:
        stop: set by the first signal.
        announce: called with the first signal's number.
        end: called with the second signal's number, and does not return.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    watcher = threading.Thread(target=_watch, args=(reader, stop, announce, end), name="signals", daemon=True)
    with _handled(_ignore):
        old = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        watcher.start()
        try:
            yield
        finally:
            signal.set_wakeup_fd(old)
            writer.close()
            watcher.join(1)
            reader.close()


def _watch(reader: socket.socket, stop: Stop, announce: Callable[[int], None], end: Callable[[int], None]) -> None:
    while data := reader.recv(64):
        for number in data:
            if number not in SIGNALS:
                continue
            if stop.is_set():
                end(number)
            else:
                stop.set(number)
                announce(number)


def end_at_once(message: str, number: int) -> None:
    """Leave without unwinding; the cursor that a drawing hid comes back."""
    cursor = "\x1b[?25h\n" if os.isatty(2) else ""
    with contextlib.suppress(OSError):
        os.write(2, f"{cursor}{message}\n".encode())
    os._exit(128 + number)
