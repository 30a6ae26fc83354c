"""Connections whose waits end: when nothing moves any more, and when the user wants to stop.

A socket on which nothing comes may belong to a server at work, as on an index that takes hours, or to one that is gone
behind a network which still takes packets. So after the idle time-out the server is asked, by a second connection,
what the first one's process does; if it is at work, the wait goes on.

Imported once psycopg is needed.
"""

from __future__ import annotations

import contextlib
import os
import queue
import socket
import stat
import sys
import threading
import time
import uuid
from collections.abc import Callable, Generator
from typing import Any, Final, TypeVar

import psycopg
from psycopg import waiting as psycopg_waiting

from ... import idle
from ...errors import Unavailable
from ..kit.waiting import STEP_S, Heard, apart

T = TypeVar("T")

#: Where Linux tells in ``struct tcp_info`` how many bytes a connection has received.
_BYTES_RECEIVED: Final = 128
#: How long a server has to take the cancel of a statement that nobody waits for any more.
_CANCEL_S: Final = 0.8
#: How long a second connection has to say what the first one's process does.
_ASK_S: Final = 10.0
#: A process that waits for its client, or for a copy elsewhere, is not at work.
_AT_WORK: Final = (
    "SELECT count(*) > 0 FROM pg_catalog.pg_stat_activity WHERE application_name = $1 AND state = 'active'"
    " AND coalesce(wait_event_type, '') <> 'Client' AND coalesce(wait_event, '') <> 'SyncRep'"
)


class Quiet:
    """Judges a wait on one connection: how long nothing came, and whether that is for ever.

    The process that serves it is known by the name that its transactions bear: behind a pooler, each may be another's.

    Attributes:
        name: the application's name in every transaction of the connection.

    Args:
        conninfo: where a second connection goes.
        check: raises when the user wants to stop.
    """

    def __init__(self, conninfo: str, check: Callable[[], None]) -> None:
        self._conninfo, self._check = conninfo, check
        self._heard = Heard(check)
        self._since = time.monotonic()
        self.name = f"vecport {uuid.uuid4().hex[:12]}"

    def begin(self) -> None:
        """A wait begins."""
        self._heard, self._since = Heard(self._check), time.monotonic()

    def moved(self) -> None:
        """Something came or went."""
        self._since = time.monotonic()
        self._heard()

    def still(self) -> None:
        """Nothing came or went; raises ``Interrupted``, or ``Unavailable`` where nothing will."""
        self._heard()
        seconds = idle.timeout_s()
        if time.monotonic() - self._since < seconds:
            return
        if not self._is_at_work():
            raise Unavailable(
                f"nothing came from Postgres for {seconds:g} seconds",
                "the server is not at work for this connection, or cannot be asked",
                "the connection was given up, and nothing of its transaction was acknowledged",
                "run the same command again; give it longer with --timeout SECONDS",
            )
        self._since = time.monotonic()

    def _is_at_work(self) -> bool:
        try:
            return apart(self._ask, self._heard)
        except psycopg.Error:
            return False

    def _ask(self) -> bool:
        seconds = max(2, round(min(_ASK_S, idle.timeout_s())))
        end = time.monotonic() + seconds
        with psycopg.connect(self._conninfo, connect_timeout=seconds, autocommit=True) as second:
            row = _until(second, _AT_WORK, self.name, end)
        return bool(row and row[0])


def _until(connection: psycopg.Connection[Any], statement: str, parameter: str, end: float) -> Any:
    """The first row of a statement; the socket is shut where it does not come in time."""
    timer = threading.Timer(max(0.1, end - time.monotonic()), _shut, [connection.fileno()])
    timer.daemon = True
    timer.start()
    try:
        return psycopg.RawCursor(connection).execute(statement.encode(), [parameter]).fetchone()
    finally:
        timer.cancel()


class Line(psycopg.Connection[Any]):
    """A psycopg connection that watches its own waits; ``quiet`` is set once it is open."""

    quiet: Quiet | None = None

    def wait(self, gen: Any, *words: Any, **options: Any) -> Any:
        """See ``psycopg.Connection.wait``; raises ``Interrupted`` or ``Unavailable``, and is closed then."""
        if self.quiet is None:
            return super().wait(gen, *words, **options)
        self.quiet.begin()
        try:
            return psycopg_waiting.wait(self._watched(gen, self.quiet), self.pgconn.socket, interval=STEP_S)
        except psycopg.Error:
            raise
        except BaseException:
            self._give_up()
            raise

    @staticmethod
    def _watched(gen: Any, quiet: Quiet) -> Generator[Any, Any, Any]:
        try:
            state = next(gen)
            while True:
                ready = yield state
                if ready:
                    quiet.moved()
                else:
                    quiet.still()
                state = gen.send(ready)
        except StopIteration as end:
            return end.value

    def _give_up(self) -> None:
        """Have the server end what it does, where it still hears, and close."""
        with contextlib.suppress(psycopg.Error):
            if self.pgconn.transaction_status == psycopg.pq.TransactionStatus.ACTIVE:
                self.cancel_safe(timeout=_CANCEL_S)
        self.pgconn.finish()


class Apart:
    """An ADBC connection in a thread of its own: whoever waits for it can stop waiting.

    libpq blocks in C for it. A connection that is given up is shut where its socket is known; its thread ends then, or
    with the process.

    Args:
        connect: makes the connection.
        quiet: judges the waits.
    """

    def __init__(self, connect: Callable[[], Any], quiet: Quiet) -> None:
        self._quiet = quiet
        self._orders: queue.SimpleQueue[Callable[[], Any] | None] = queue.SimpleQueue()
        self._socket: socket.socket | None = None
        self._connection: Any = None
        threading.Thread(target=self._work, name="adbc", daemon=True).start()
        self._connection = self.call(connect)

    @property
    def name(self) -> str:
        """The application's name that every transaction of the connection has to bear."""
        return self._quiet.name

    def seen_at(self, port: int | None) -> None:
        """Know its socket by the port that the server sees, should it be one of this machine."""
        self._socket = None if port is None else _socket_at(port)

    @property
    def is_seen(self) -> bool:
        """Whether the bytes that it receives are seen while they come; otherwise a batch is seen when it is whole."""
        return _received(self._socket) is not None

    def call(self, work: Callable[..., T], *words: Any) -> T:
        """Do something with the connection in its thread.

        Raises:
            Interrupted: the user wants to stop.
            Unavailable: nothing moves any more.
        """
        ended = threading.Event()
        results: list[T] = []
        failures: list[BaseException] = []

        def run() -> None:
            try:
                results.append(work(*words))
            except BaseException as e:
                failures.append(e)
            finally:
                ended.set()

        self._quiet.begin()
        received = _received(self._socket)
        self._orders.put(run)
        try:
            while not ended.wait(STEP_S):
                before, received = received, _received(self._socket)
                if received != before:
                    self._quiet.moved()
                else:
                    self._quiet.still()
        except BaseException:
            self._give_up()
            raise
        if failures:
            raise failures[0]
        return results[0]

    def close(self) -> None:
        """Close the connection, unless it was given up. Safe to call twice."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(Exception):
                self.call(connection.close)
        self._forget()

    @property
    def connection(self) -> Any:
        """The ADBC connection, to be used within ``call``."""
        return self._connection

    def _give_up(self) -> None:
        self._connection = None
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
        self._forget()

    def _forget(self) -> None:
        self._orders.put(None)
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _work(self) -> None:
        while (order := self._orders.get()) is not None:
            order()


def _socket_at(port: int) -> socket.socket | None:
    """The socket of this process that has this port here, as one of its own; None where none has."""
    with contextlib.suppress(OSError):
        for fd in map(int, os.listdir("/dev/fd")):
            with contextlib.suppress(OSError):
                if not stat.S_ISSOCK(os.fstat(fd).st_mode):
                    continue
                found = socket.socket(fileno=os.dup(fd))
                if _is_connected_at(found, port):
                    return found
                found.close()
    return None


def _is_connected_at(sock: socket.socket, port: int) -> bool:
    try:
        if sock.family not in (socket.AF_INET, socket.AF_INET6) or sock.getsockname()[1] != port:
            return False
        sock.getpeername()
    except OSError:
        return False
    return True


def _received(sock: socket.socket | None) -> int | None:
    """How many bytes have come in by a socket; None where that cannot be told."""
    if sock is None or not hasattr(socket, "TCP_INFO"):
        return None
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_RECEIVED + 8)
    except OSError:
        return None
    return int.from_bytes(info[_BYTES_RECEIVED:], sys.byteorder) if len(info) == _BYTES_RECEIVED + 8 else None


def _shut(fd: int) -> None:
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(fd)) as sock:
        sock.shutdown(socket.SHUT_RDWR)
