"""HTTP clients whose waits end: by the idle time-out, and by the user's stop within a second.

A socket that waits for an answer runs no signal handler in any thread but the main one, so the stream beneath httpx
waits in short steps and asks between them.
"""

from __future__ import annotations

import selectors
import time
from collections.abc import Callable
from typing import Any, Final

from ... import idle
from .waiting import STEP_S, Heard, apart

#: A server that takes no connection for so long is not there.
_CONNECT_S: Final = 10.0
#: So much of a request fits once a socket takes any of it.
_PIECE: Final = 16 << 10


def watched(client: Any, check: Callable[[], None]) -> Any:
    """Let an ``httpx.Client`` keep the idle time-out and hear the user's stop; returns it.

    Args:
        client: before its first request.
        check: raises when the user wants to stop.
    """
    import httpx

    seconds = idle.timeout_s()
    client.timeout = httpx.Timeout(seconds, connect=min(_CONNECT_S, seconds))
    for transport in (client._transport, *client._mounts.values()):
        pool = getattr(transport, "_pool", None)
        if pool is not None:
            pool._network_backend = _Backend(pool._network_backend, check)
    return client


class _Backend:
    """An ``httpcore.NetworkBackend`` whose connections are made in a thread of their own."""

    def __init__(self, inner: Any, check: Callable[[], None]) -> None:
        self._inner, self._check = inner, check

    def connect_tcp(self, *words: Any, **options: Any) -> Any:
        return _Stream(apart(lambda: self._inner.connect_tcp(*words, **options), self._check), self._check)

    def connect_unix_socket(self, *words: Any, **options: Any) -> Any:
        return _Stream(apart(lambda: self._inner.connect_unix_socket(*words, **options), self._check), self._check)

    def sleep(self, seconds: float) -> None:
        self._inner.sleep(seconds)


class _Stream:
    """An ``httpcore.NetworkStream`` that waits in short steps."""

    def __init__(self, inner: Any, check: Callable[[], None]) -> None:
        self._inner, self._check = inner, check
        self._heard = Heard(check)

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        import httpcore

        end = time.monotonic() + (idle.timeout_s() if timeout is None else timeout)
        while True:
            self._heard()
            try:
                return bytes(self._inner.read(max_bytes, STEP_S))
            except httpcore.ReadTimeout:
                if time.monotonic() >= end:
                    raise

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        # A request begins.
        self._heard = Heard(self._check)
        seconds = idle.timeout_s() if timeout is None else timeout
        view = memoryview(buffer)
        for start in range(0, len(view), _PIECE):
            self._until_writable(time.monotonic() + seconds)
            self._inner.write(bytes(view[start : start + _PIECE]), seconds)

    def _until_writable(self, end: float) -> None:
        import httpcore

        while True:
            self._heard()
            if _is_writable(self._inner.get_extra_info("socket"), STEP_S):
                return
            if time.monotonic() >= end:
                raise httpcore.WriteTimeout(f"nothing could be sent for {idle.timeout_s():g} s")

    def close(self) -> None:
        self._inner.close()

    def start_tls(self, *words: Any, **options: Any) -> Any:
        return _Stream(apart(lambda: self._inner.start_tls(*words, **options), self._check), self._check)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


def _is_writable(sock: Any, seconds: float) -> bool:
    """Whether a socket takes something within so many seconds."""
    with selectors.DefaultSelector() as selector:
        selector.register(sock, selectors.EVENT_WRITE)
        return bool(selector.select(seconds))
