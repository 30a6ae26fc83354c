"""Watching an index while it is built: how far it is, by a second connection, and what the server says of it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from ...errors import VecportError
from ..address import Place
from ..report import Report
from .client import connect, run

if TYPE_CHECKING:
    import psycopg

    from .client import Connection

#: An index that is ready before this is not watched; behind it, the server is asked this often.
PAUSE_SECONDS: Final = 1.0
#: How long the end of a build waits for the watcher, which may be waiting for the server.
_PATIENCE_SECONDS: Final = 5.0
_PROGRESS: Final = (
    "SELECT phase, tuples_done, tuples_total, blocks_done, blocks_total"
    " FROM pg_catalog.pg_stat_progress_create_index WHERE pid = $1"
)


@contextmanager
def watched(place: Place, connection: Connection, what: str, report: Report) -> Iterator[None]:
    """Tell ``report`` of an index that is built within: its progress, and the server's notices as notes.

    The progress is a comfort: a server that takes no second connection, or does not show the view to this role, builds
    the same index without figures.

    Args:
        place: where the second connection goes.
        connection: builds the index.
        what: names the index to the user.
        report: hears it.
    """
    ended = threading.Event()

    def heard(notice: psycopg.errors.Diagnostic) -> None:
        text = ": ".join(t for t in (notice.message_primary, notice.message_detail, notice.message_hint) if t)
        report.note(f"{what}: {text}")

    pid = run(connection, "SELECT pg_catalog.pg_backend_pid()").fetchone()[0]
    watcher = threading.Thread(target=_watch, args=(place, pid, what, report, ended), name="watch index", daemon=True)
    connection.add_notice_handler(heard)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        connection.remove_notice_handler(heard)
        watcher.join(_PATIENCE_SECONDS)


def _watch(place: Place, pid: int, what: str, report: Report, ended: threading.Event) -> None:
    import psycopg

    if ended.wait(PAUSE_SECONDS):
        return
    with contextlib.suppress(psycopg.Error, VecportError), contextlib.closing(connect(place)) as second:
        while not ended.is_set():
            row = run(second, _PROGRESS, [pid]).fetchone()
            if row is not None and not ended.is_set():
                _tell(what, row, report)
            ended.wait(PAUSE_SECONDS)


def _tell(what: str, row: tuple[str | None, ...], report: Report) -> None:
    """Pass a row of the view on. A phase counts rows or blocks of the table, or nothing."""
    phase = (row[0] or "").removeprefix("building index: ")
    rows, all_rows, blocks, all_blocks = (int(n or 0) for n in row[1:])
    step = f"{what}, {phase}" if phase else what
    if all_rows or not all_blocks:
        report.reached(rows, all_rows or None, "rows", step)
    else:
        report.reached(blocks, all_blocks, "blocks", step)
