"""How long nothing may move: the one idle time-out of every database and object store.

A connection on which nothing has come or gone for so long is given up and made anew; the budgets of
``connectors.guest`` are multiples of it. The environment holds the figure, so that worker processes have the same.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from typing import Final

from .errors import UsageError

VARIABLE: Final = "VECPORT_TIMEOUT"
DEFAULT_S: Final = 60.0


def timeout_s() -> float:
    """Seconds without any movement after which a connection is given up; raises ``UsageError``."""
    text = os.environ.get(VARIABLE)
    return parsed(text, VARIABLE) if text else DEFAULT_S


def parsed(text: str, name: str) -> float:
    """Seconds as a user wrote them; raises ``UsageError`` with the name of the option or variable."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise UsageError(f"{name} is not a number of seconds above zero", next=f"for example {name}=60")
    return seconds


@contextlib.contextmanager
def timeout(seconds: float) -> Iterator[None]:
    """Another idle time-out for what runs within, in this process and in those that it starts."""
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = repr(parsed(str(seconds), "--timeout"))
    try:
        yield
    finally:
        if before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = before
