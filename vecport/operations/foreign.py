"""Whatever nobody foresaw, as an error of vecport where the system or a library says what it is."""

from __future__ import annotations

import re
from typing import Final

from ..dump.store import local_errors
from ..errors import OutOfResources, Unavailable, VecportError

#: Characters of a foreign error's text that are shown.
_LONGEST: Final = 300
_FULL: Final = re.compile(
    r"(?i)no space left|disk is full|disk quota|failed to offload|could not allocate|out of memory"
)


def typed(e: BaseException) -> VecportError | None:
    """The error of vecport for one of the operating system or of a library; None for one that is a mistake of ours.

    Args:
        e: anything that was raised; an error of vecport is returned as it is.
    """
    if isinstance(e, VecportError):
        return e
    if isinstance(e, MemoryError):
        return OutOfResources("memory is exhausted", safe="everything that was finished is kept",
                              next="run the same command again with a smaller --memory")  # fmt: skip
    if isinstance(e, OSError) and not isinstance(e, BrokenPipeError):
        return _of_system(e)
    kind = type(e).__module__.partition(".")[0].lstrip("_")
    if kind in ("duckdb", "sqlite3"):
        return _of_library(kind, e)
    return None


def first_line(e: BaseException) -> str:
    """The first line of an error's text, cut where it is long."""
    return next(iter(str(e)[: 10 * _LONGEST].splitlines()), "")[:_LONGEST]


def _of_system(e: OSError) -> VecportError:
    what = str(e.filename)[:_LONGEST] if e.filename else "a file or a connection"
    if e.strerror is None:
        # Libraries raise it with a text alone.
        return _of_library("the system", e)
    try:
        with local_errors(what):
            raise e
    except VecportError as found:
        return found


def _of_library(who: str, e: BaseException) -> VecportError:
    text = first_line(e)
    if _FULL.search(text):
        return OutOfResources(f"{who} ran out of space or memory", text, "everything that was finished is kept",
                              "make room, or choose another --memory, and run the same command again")  # fmt: skip
    if who == "duckdb" and type(e).__name__ not in ("IOException", "InternalException", "FatalException"):
        return VecportError(f"unexpected {type(e).__name__}", text, next="run again with --debug for the traceback")
    return Unavailable(f"{who} reports a failure", text, "everything that was finished is kept",
                       "run the same command again")  # fmt: skip
