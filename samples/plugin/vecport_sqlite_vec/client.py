"""Connections to a SQLite file, and what its errors mean."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vecport.connectors.kit import errors
from vecport.connectors.kit.errors import Rule
from vecport.errors import (
    AlreadyExists,
    AuthenticationFailed,
    IntegrityError,
    NotFound,
    NotRepresentable,
    OutOfResources,
    Unavailable,
)

if TYPE_CHECKING:
    import apsw

TITLE: Final = "sqlite-vec"
BUSY_MS: Final = 5_000

RULES: Final = (
    Rule(Unavailable, "{where} is busy", "another program writes to it", names=("BusyError", "LockedError")),
    Rule(OutOfResources, "{where} has no room", names=("FullError", "NoMemError")),
    Rule(AuthenticationFailed, "{where} may not be opened or written",
         names=("CantOpenError", "ReadOnlyError", "PermissionsError")),
    Rule(IntegrityError, "{where} is damaged, or no SQLite file", names=("CorruptError", "NotADBError")),
    Rule(AlreadyExists, "a table of this name is in {where}", text="already exists"),
    Rule(NotRepresentable, "{where} refused a statement", names=("SQLError", "ConstraintError", "TooBigError")),
)  # fmt: skip


def translated(where: str, safe: str = "nothing was changed") -> AbstractContextManager[None]:
    """Turn errors of SQLite within into those of vecport."""
    import apsw

    return errors.translated(where, RULES, safe=safe, kinds=(apsw.Error,))


def is_sqlite(path: str) -> bool:
    """Whether a file begins as SQLite files do; it is not opened otherwise."""
    if not Path(path).is_file():
        return False
    with open(path, "rb") as file:
        return file.read(16) == b"SQLite format 3\0"


def connected(path: str, where: str, *, write: bool = False, create: bool = False) -> apsw.Connection:
    """Open a file, with sqlite-vec.

    Args:
        path: of the file.
        where: the place, as it may be shown.
        write: it may be changed.
        create: it may be created.

    Raises:
        NotFound: there is no such file.
    """
    import apsw
    import sqlite_vec

    if not create and not Path(path).exists():
        raise NotFound(f"there is no file {path}", safe="nothing was created", next="check the address")
    flags = apsw.SQLITE_OPEN_READWRITE if write else apsw.SQLITE_OPEN_READONLY
    with translated(where):
        db = apsw.Connection(path, flags=flags | (apsw.SQLITE_OPEN_CREATE if create else 0))
        db.set_busy_timeout(BUSY_MS)
        db.enable_load_extension(True)
        db.load_extension(sqlite_vec.loadable_path())
        # What a user's own SQL may call must not load anything.
        db.enable_load_extension(False)
    return db


@contextmanager
def session(path: str, where: str) -> Iterator[apsw.Connection]:
    """A reading connection that is closed at the end; errors are translated."""
    with closing(connected(path, where)) as db, translated(where):
        yield db


def quoted(name: str) -> str:
    """A name as SQL writes it."""
    return '"' + name.replace('"', '""') + '"'
