"""Hearing that the user wants to stop while a statement waits in the server, as for a lock of another session."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from ...errors import VecportError
from ..report import UNHEARD, Report

if TYPE_CHECKING:
    from .client import Connection

#: How often the user is asked; a cancel that came between two statements is sent again after this.
PAUSE_SECONDS: Final = 0.2
#: How long a server has to take the cancel of a statement.
_CANCEL_SECONDS: Final = 5.0


@contextmanager
def stoppable(connection: Connection, report: Report) -> Iterator[None]:
    """Cancel what runs on a connection when the user wants to stop.

    Args:
        connection: in a transaction, which the caller rolls back when this raises.
        report: says whether the run shall stop.

    Raises:
        Interrupted: the user wants to stop; nothing of the transaction may be committed.
    """
    if report is UNHEARD:
        yield
        return
    ended = threading.Event()
    heard: list[VecportError] = []
    watcher = threading.Thread(target=_watch, args=(connection, report, ended, heard), name="hear a stop", daemon=True)
    watcher.start()
    try:
        yield
    except Exception as error:
        if heard:
            raise heard[0] from error
        raise
    finally:
        # Behind this no later statement is cancelled.
        ended.set()
        watcher.join(_CANCEL_SECONDS + 1)
    if heard:
        raise heard[0]


def _watch(connection: Connection, report: Report, ended: threading.Event, heard: list[VecportError]) -> None:
    import psycopg

    while not ended.wait(PAUSE_SECONDS):
        if not heard:
            try:
                report.check()
            except VecportError as stop:
                heard.append(stop)
        if heard:
            # The server may be gone, or refuse: whoever waits for the statement is told by the statement.
            with contextlib.suppress(psycopg.Error):
                connection.cancel_safe(timeout=_CANCEL_SECONDS)
