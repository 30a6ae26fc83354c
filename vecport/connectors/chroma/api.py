"""The client's HTTP side under vecport's rules: waits that end, and answers that are read by their status.

chromadb waits for ever, drops the status and the headers of an answer that refuses, and takes a proxy's page for JSON.
Imported by chromadb itself, by the name that ``OwnSettings`` gives it, and by ``client`` once chromadb is loaded.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import httpx
from chromadb import errors as chroma_errors
from chromadb.api.fastapi import FastAPI
from chromadb.config import Settings, System

from ..kit import http
from ..report import UNHEARD

_check: ContextVar[Callable[[], None]] = ContextVar("check", default=UNHEARD.check)


@contextmanager
def heard_by(check: Callable[[], None]) -> Iterator[None]:
    """Clients that are made within ask ``check``, which raises when the user wants to stop, while they wait."""
    token = _check.set(check)
    try:
        yield
    finally:
        _check.reset(token)


class OwnSettings(Settings):  # type: ignore[misc]
    """Settings whose servers are reached by ``Api``, though chromadb sees the client that it knows."""

    def require(self, key: str) -> Any:
        """The value of a setting, another one where it names the class of a server's client."""
        found = super().require(key)
        own = key == "chroma_api_impl" and found == f"{FastAPI.__module__}.{FastAPI.__qualname__}"
        return f"{Api.__module__}.{Api.__qualname__}" if own else found


class Api(FastAPI):  # type: ignore[misc]
    """The client of a server, whose session keeps the idle time-out and hears the user's stop."""

    def __init__(self, system: System) -> None:
        super().__init__(system)
        http.watched(self._session, _check.get())
        self._session.event_hooks["response"].append(_taken)


def _taken(response: httpx.Response) -> None:
    """Read an answer, and raise those errors of which chromadb would lose the status.

    The circle of an answer and its stream is cut: it would keep megabytes until a full collection.
    """
    response.read()
    status = response.status_code
    name, message = ("", "") if status < 300 else _words(response)
    # The client raises the errors that it knows by name.
    if status < 300 or (400 <= status < 500 and status not in (408, 429) and name in chroma_errors.error_types):
        response.stream = None  # type: ignore[assignment]
        return
    # The stream stays: whoever hears of this closes it.
    raise httpx.HTTPStatusError(f"HTTP status {status}: {message}", request=response.request, response=response)


def _words(response: httpx.Response) -> tuple[str, str]:
    """The name and the message of an error as Chroma spells them; text that is something else is the message."""
    try:
        answer = json.loads(response.content)
        return str(answer["error"]), str(answer.get("message", ""))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return "", response.content[:1000].decode(errors="replace")
