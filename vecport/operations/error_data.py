"""Errors that travel from a worker to its coordinator and stay what they are."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec

from ..errors import VecportError
from .foreign import first_line, typed


class ErrorData(msgspec.Struct, frozen=True):
    """An error as plain data.

    Attributes:
        classes: full names of its class and the classes above it, up to ``VecportError``.
        facts: its attributes, as far as they are plain.
        code, exit_code, retryable: what they are for it, whether its class says so or it does.
    """

    classes: tuple[str, ...]
    facts: dict[str, Any]
    code: str
    exit_code: int
    retryable: bool


def error_data(e: BaseException) -> ErrorData:
    """Plain data of an error; one that nobody raised on purpose becomes a ``VecportError``."""
    if not isinstance(e, VecportError):
        e = typed(e) or VecportError(f"{type(e).__name__}: {first_line(e)}", "an unexpected error in a worker")
    names = [_name(c) for c in type(e).__mro__ if issubclass(c, VecportError)]
    facts = {k: v for k, v in vars(e).items() if _is_plain(v)}
    return ErrorData(tuple(names), facts, e.code, e.exit_code, e.retryable)


def error_of(data: ErrorData) -> VecportError:
    """The error again, of its own class, or of the nearest above it that this process knows."""
    known = {_name(c): c for c in _classes(VecportError)}
    kind = next((known[name] for name in data.classes if name in known), VecportError)
    error = kind.__new__(kind)
    VecportError.__init__(error, *(str(data.facts.get(part, "")) for part in ("what", "why", "safe", "next")))
    vars(error).update(data.facts)
    for name in ("code", "exit_code", "retryable"):
        if getattr(error, name) != getattr(data, name):
            setattr(error, name, getattr(data, name))
    return error


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _classes(kind: type[VecportError]) -> Iterator[type[VecportError]]:
    yield kind
    for sub in kind.__subclasses__():
        yield from _classes(sub)


def _is_plain(value: Any) -> bool:
    try:
        return bool(json.loads(json.dumps(value)) == value)
    except (TypeError, ValueError, RecursionError):
        return False
