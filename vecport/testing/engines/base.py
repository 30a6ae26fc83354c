"""What all engines share: ports, the life of a child process, readiness, clean-up."""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self
from uuid import uuid4

LOOPBACK = "127.0.0.1"
POLL_SECONDS = 0.01
PORT_ATTEMPTS = 3


class EngineError(RuntimeError):
    """An engine cannot be started or stopped; the message ends with what its log says."""


def free_port(count: int = 1) -> int:
    """Return the first of `count` consecutive loopback ports that are free now.

    Raises:
        EngineError: no such run of ports was found.
    """
    for _ in range(100):
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError, OverflowError):
            first = stack.enter_context(socket.socket())
            first.bind((LOOPBACK, 0))
            port: int = first.getsockname()[1]
            for offset in range(1, count):
                stack.enter_context(socket.socket()).bind((LOOPBACK, port + offset))
            return port
    raise EngineError(f"no {count} consecutive free ports on {LOOPBACK}")


def wait_until(condition: Callable[[], bool], timeout: float) -> bool:
    """Poll `condition` until it is true or `timeout` seconds have passed; return its last answer."""
    deadline = time.monotonic() + timeout
    while not (answer := condition()) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    return answer


def answers_http(url: str) -> bool:
    """Return whether a GET of `url` is answered with status 200."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=5) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


class Engine(ABC):
    """A database server in a child process, on loopback.

    The first `start` picks the port; `restart` keeps port and data, so that a client finds the same
    server again. Leaving the context stops the server and removes what the engine itself created:
    a folder given by the caller stays.

    Args:
        folder: where the data lives; a temporary folder by default.
        start_timeout: seconds until a server that does not answer counts as failed.
    """

    name: ClassVar[str]
    ports_needed: ClassVar[int] = 1
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM

    def __init__(self, folder: Path | str | None = None, *, start_timeout: float = 30.0) -> None:
        self._given_folder = None if folder is None else Path(folder).expanduser().absolute()
        self._start_timeout = start_timeout
        self._runtime = Path(tempfile.gettempdir(), f"vecport-{self.name}-{uuid4().hex}")
        self._process: subprocess.Popen[bytes] | None = None
        self._port: int | None = None
        self._owner = os.getpid()

    # -- what a subclass says ------------------------------------------------------------------

    @property
    @abstractmethod
    def address(self) -> str:
        """The vecport address of the running server; it holds no secret."""

    @abstractmethod
    def _command(self) -> list[str]:
        """Return the command line of the server."""

    @abstractmethod
    def _is_ready(self) -> bool:
        """Return whether the server answers."""

    def _prepare(self) -> None:
        """Do what has to be done before each start of the process: nothing."""
        return

    def _clean_up(self) -> None:
        """Release what outlives the process, before its temporary folder goes: nothing."""
        return

    def _environment(self) -> Mapping[str, str]:
        """Return the environment of the server."""
        return os.environ

    def _popen_options(self) -> dict[str, Any]:
        """Return further options of `subprocess.Popen`."""
        return {}

    # -- what a caller sees --------------------------------------------------------------------

    @property
    def port(self) -> int:
        """The port of the server.

        Raises:
            EngineError: the engine was never started.
        """
        if self._port is None:
            raise EngineError(f"{self.name} is not started")
        return self._port

    @property
    def folder(self) -> Path:
        """Where the data lives."""
        return self._given_folder or self._runtime / "data"

    @property
    def pid(self) -> int:
        """The process id of the running server.

        Raises:
            EngineError: the server does not run.
        """
        if self._process is None or not self.running:
            raise EngineError(f"{self.name} does not run")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the server process is alive."""
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> str:
        """What the server has written to its standard output and error."""
        return self._read_log()

    def start(self) -> Self:
        """Start the server and wait until it answers; do nothing if it runs already.

        Returns:
            The engine itself.

        Raises:
            EngineError: the server did not start in time.
        """
        if self.running:
            return self
        atexit.register(self.close)
        self._runtime.mkdir(mode=0o700, exist_ok=self._port is not None)
        keeps_port = self._port is not None
        for attempt in range(PORT_ATTEMPTS):
            self._port = self._port if keeps_port else free_port(self.ports_needed)
            try:
                self._prepare()
                self._launch()
                return self
            except EngineError as error:
                # Another program can take a free port before the server binds it.
                if keeps_port or attempt + 1 == PORT_ATTEMPTS or "in use" not in str(error):
                    raise
        raise AssertionError("unreachable")

    def stop(self, *, kill: bool = False) -> None:
        """Stop the server; its data and port stay for `restart`.

        Args:
            kill: end it with SIGKILL, as a power cut of the process would.
        """
        process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(signal.SIGKILL if kill else self.stop_signal)
        try:
            process.wait(timeout=self._start_timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdin is not None:
            process.stdin.close()

    def restart(self, *, kill: bool = False) -> Self:
        """Stop the server and start it again on the same port and data."""
        self.stop(kill=kill)
        return self.start()

    def close(self) -> None:
        """Stop the server and remove what the engine created. Safe to call twice."""
        if os.getpid() != self._owner:
            return
        atexit.unregister(self.close)
        self.stop()
        self._clean_up()
        shutil.rmtree(self._runtime, ignore_errors=True)

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # -- how it works --------------------------------------------------------------------------

    def _read_log(self, start: int = 0) -> str:
        """Return the log from the byte `start` on."""
        path = self._runtime / "log"
        return path.read_bytes()[start:].decode(errors="replace") if path.exists() else ""

    def _launch(self) -> None:
        """Start the process and wait until it answers."""
        with (self._runtime / "log").open("ab") as log:
            before = log.tell()
            options: dict[str, Any] = {"stdin": subprocess.DEVNULL, **self._popen_options()}
            self._process = process = subprocess.Popen(
                self._command(),
                env=dict(self._environment()),
                stdout=log,
                stderr=subprocess.STDOUT,
                # A Ctrl-C in the terminal is for the caller, who then closes the engine in order.
                start_new_session=True,
                **options,
            )
        wait_until(lambda: process.poll() is not None or self._is_ready(), self._start_timeout)
        if process.poll() is None and self._is_ready():
            return
        ended = process.poll()
        self.stop(kill=True)
        reason = f"ended with status {ended}" if ended is not None else "did not answer in time"
        raise EngineError(f"{self.name} {reason} on port {self._port}:\n{self._read_log(before)[-4000:]}")
