"""Connections to a SQLite file, and what its errors mean."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vecport import errors
from vecport.connectors.kit.errors import Rule
from vecport.connectors.kit.handles import Handle

if TYPE_CHECKING:
    import apsw

TITLE: Final = "sqlite-vec"
BUSY_MS: Final = 5_000
RULES: Final = (
    Rule(errors.Unavailable, "{where} is busy", "another program writes", names=("BusyError", "LockedError")),
    Rule(errors.OutOfResources, "{where} has no room", names=("FullError", "NoMemError")),
    Rule(errors.AuthenticationFailed, "{where} may not be opened", names=("CantOpenError", "ReadOnlyError")),
    Rule(errors.IntegrityError, "{where} is damaged, or no SQLite file", names=("CorruptError", "NotADBError")),
    Rule(errors.AlreadyExists, "a table of this name is in {where}", text="already exists"),
    Rule(errors.NotRepresentable, "{where} refused a statement", names=("SQLError", "TooBigError")),
)


def handle(path: Callable[[], str], where: str, *, write: bool = False) -> Handle[apsw.Connection]:
    """A SQLite file with sqlite-vec; ``path`` is asked for when it is opened."""
    return Handle(lambda create: _connected(path(), write, create), where, RULES, "apsw:Error")


def _connected(path: str, write: bool, create: bool) -> apsw.Connection:
    import apsw
    import sqlite_vec

    if not create and not Path(path).exists():
        raise errors.NotFound(f"there is no file {path}", safe="nothing was created")
    flags = apsw.SQLITE_OPEN_READWRITE if write else apsw.SQLITE_OPEN_READONLY
    db = apsw.Connection(path, flags=flags | (apsw.SQLITE_OPEN_CREATE if create else 0))
    db.set_busy_timeout(BUSY_MS)
    # A transaction keeps other writers out from its beginning.
    db.transaction_mode = "IMMEDIATE"
    db.enable_load_extension(True)
    db.load_extension(sqlite_vec.loadable_path())
    # What a user's own SQL may call must not load anything.
    db.enable_load_extension(False)
    return db
