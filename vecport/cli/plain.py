"""Writing without rich: JSON results, errors, single lines. What errors need must work when little else does."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import math
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from typing import IO, Any

from ..errors import Interrupted, VecportError
from .text import Redactor, safe, safe_lines, shell_command

_PARTS = ("why", "safe", "next")
_LONGEST_PART = 4_000


def to_json(value: Any) -> Any:
    """Plain data of a result: dataclasses become objects, tuples lists; the ``_`` of ``import_`` goes.

    NaN and the infinities become null, as JSON has none.
    """
    if hasattr(value, "to_json"):
        return to_json(value.to_json())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name.removesuffix("_"): to_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): to_json(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [to_json(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return os.fspath(value) if isinstance(value, os.PathLike) else str(value)


def redacted(value: Any, redact: Callable[[str], str]) -> Any:
    """A result without secrets; the same object where none is in it."""
    if isinstance(value, str):
        return redact(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        made = [f.name for f in dataclasses.fields(value) if f.init]
        was = {name: getattr(value, name) for name in made}
        new = {name: redacted(item, redact) for name, item in was.items()}
        return value if all(new[name] is was[name] or new[name] == was[name] for name in made) else (
            dataclasses.replace(value, **new))  # fmt: skip
    if isinstance(value, Mapping):
        return {redacted(k, redact): redacted(v, redact) for k, v in value.items()}
    if type(value) in (list, tuple):
        return type(value)(redacted(item, redact) for item in value)
    return value


def document(schema: str, value: Any) -> str:
    """One line of JSON, pure ASCII: it cannot disturb a terminal, whatever stands in the data."""
    return json.dumps({"schema": f"vecport.{schema}/1", **to_json(value)}, allow_nan=False) + "\n"


def write(stream: IO[str], text: str) -> None:
    """Write and flush, so that a full disk is noticed here and not at the end of the process."""
    stream.write(text)
    stream.flush()


def prepare_streams() -> None:
    """Characters that a stream's encoding lacks are spelled out; a closed stream (``>&-``) swallows what it gets."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
        reconfigure = getattr(getattr(sys, name), "reconfigure", None)
        if reconfigure is not None:
            with contextlib.suppress(ValueError, OSError):
                reconfigure(errors="backslashreplace")


def silence(stream: IO[str]) -> None:
    """After a broken pipe: what Python still flushes at its end goes nowhere."""
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


def is_broken_pipe(e: BaseException) -> bool:
    """Whether the reader of a pipe has gone."""
    return isinstance(e, OSError) and e.errno == errno.EPIPE


def known(e: BaseException, arguments: list[str]) -> VecportError:
    """The error to report: after a signal with the command that resumes; what the system says with its exit code."""
    if isinstance(e, KeyboardInterrupt):
        e = Interrupted("interrupted", safe="everything that was finished is kept",
                        signal_number=getattr(e, "signal_number", 2))  # fmt: skip
    if isinstance(e, Interrupted):
        e.next = shell_command(arguments)
        return e
    if isinstance(e, VecportError):
        return e
    # A usage error is told without loading an operation.
    from ..operations.foreign import first_line, typed

    found = typed(e)
    if found is not None:
        return found
    detail = first_line(e)
    return VecportError(f"unexpected {type(e).__name__}" + (f": {detail}" if detail else ""),
                        next="run again with --debug for the traceback")  # fmt: skip


def bounded(text: str) -> str:
    """A part of a message, which may hold words of somebody else's without end."""
    return text if len(text) <= _LONGEST_PART else text[: _LONGEST_PART - 1] + "…"


def error_text(e: VecportError, redact: Redactor, *, coloured: bool = False) -> str:
    """The four parts of an error, one below the other; lines of data stay behind their label."""
    lines = [*_labelled("error", bounded(e.what or e.code), redact, "\x1b[1;31m" if coloured else "")]
    for name in _PARTS:
        if text := bounded(getattr(e, name)):
            label = "resume" if name == "next" and isinstance(e, Interrupted) else name
            lines += _labelled(f"  {label}", text, redact, "\x1b[36m" if coloured else "")
    return "".join(f"{line}\n" for line in lines)


def _labelled(label: str, text: str, redact: Redactor, colour: str) -> list[str]:
    first, *rest = safe_lines(redact(text))
    head = f"{colour}{label}:\x1b[0m" if colour else f"{label}:"
    pad = " " * (9 - len(label)) if label.startswith(" ") else " "
    return [f"{head}{pad}{first}", *(f"{'':10}{line}" for line in rest)]


def error_document(e: VecportError, redact: Redactor, trace: list[str] | None = None) -> str:
    """The same as one JSON object."""
    value: dict[str, Any] = {
        "code": e.code, "exit_code": e.exit_code, "what": redact(bounded(e.what)), "why": redact(bounded(e.why)),
        "safe": redact(bounded(e.safe)), "next": redact(bounded(e.next)), "retryable": e.retryable,
    }  # fmt: skip
    if trace is not None:
        value["traceback"] = trace
    return document("error", value)


def trace_lines(e: BaseException, redact: Redactor) -> list[str]:
    """The traceback, without secrets and without anything that a terminal would obey."""
    text = "".join(traceback.format_exception(e))
    return [safe(line) for line in redact(text).splitlines()]


def may_colour(stream: IO[str]) -> bool:
    """Whether escape sequences for colours are welcome."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") not in ("dumb", "unknown", "")


def report(e: BaseException, arguments: list[str], *, as_json: bool, debug: bool) -> int:
    """Write an error to standard error and return its exit code."""
    error = known(e, arguments)
    redact = Redactor(arguments=arguments)
    trace = trace_lines(e, redact) if debug else None
    try:
        if as_json:
            write(sys.stderr, error_document(error, redact, trace))
        else:
            head = "".join(f"{line}\n" for line in trace or ())
            write(sys.stderr, head + error_text(error, redact, coloured=may_colour(sys.stderr)))
    except OSError:
        silence(sys.stderr)
    return error.exit_code
