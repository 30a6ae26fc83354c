"""A consistent copy of a Chroma folder, taken without changing a byte of it.

Chroma changes files whenever it opens a folder: it adds a row to a table, applies migrations and catches up its
index. So a folder is never opened for reading; this module copies it, and the copy is opened.

A folder holds ``chroma.sqlite3`` (rollback journal by default) and, for each collection, a folder of HNSW files. A
write is first committed to a queue in SQLite; the HNSW files are overwritten in place now and then, *after* that
the database records how far they go. So files must not change between the first byte copied and the last:

1. The copy is made twice without any lock, and is good if no file changed meanwhile: the same names, inodes, sizes
   and times, and, where a file is so young that a write could hide behind the resolution of its times, the same
   content when it is read again.
2. If an application keeps writing, SQLite's shared lock is held while the copy is made. It changes no byte; Chroma
   waits up to 1,000 seconds for its turn (``busy_timeout`` in ``rust/sqlite/src/config.rs``), so that the
   application is delayed and not refused.

Index files that are younger than the database, and were written a moment ago, belong to a write that is under way;
then the copy waits.

Measured with chromadb 1.5.9; layout and order of writes from ``rust/segment/src/local_hnsw.rs``.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import xxhash

from ...errors import AlreadyExists, AuthenticationFailed, IntegrityError, Locked, NotFound, Unavailable
from .. import access
from ..kit import folders
from ..kit.folders import FolderCopy
from . import permissions
from .values import TITLE

DATABASE: Final = "chroma.sqlite3"

_MAGIC: Final = b"SQLite format 3\0"
_SIDE_FILES: Final = (DATABASE + "-journal", DATABASE + "-wal")
_INDEX_MAP: Final = "index_metadata.pickle"
_BLOCK: Final = 1 << 20
_FREE_ATTEMPTS: Final = 2
_HELD_ATTEMPTS: Final = 30
_PAUSE: Final = 0.1
#: Times of files that are older than this at the start of a copy tell every later write apart, on any file system.
_RECENT_NS: Final = 3_000_000_000
#: A write that is under way saved its index files less than this ago.
_UNDER_WAY_NS: Final = 2_000_000_000


@dataclass(frozen=True, slots=True)
class _Stamp:
    """What tells whether a file was written to; ``header`` holds SQLite's change counter."""

    inode: int
    size: int
    modified: int
    changed: int
    header: bytes


def is_chroma(path: str | os.PathLike[str]) -> bool:
    """Whether an existing folder holds a Chroma database."""
    try:
        with open(Path(path) / DATABASE, "rb") as file:
            return file.read(len(_MAGIC)) == _MAGIC
    except OSError:
        return False


def find(text: str) -> Path:
    """Return the Chroma folder that an address names; nothing is created.

    Raises:
        NotFound: there is no such folder, or it is no Chroma folder.
        AuthenticationFailed: it may not be read.
    """
    path = Path(text)
    if is_chroma(path):
        return path
    if not os.path.exists(path):
        raise NotFound(
            f"there is no folder {text!r}",
            why="the address names a folder of this machine",
            safe="nothing was created",
            next="check the path; a server's address begins with chroma://",
        )
    access.require(access.to_read([path]))
    if (path / DATABASE).exists():
        access.require(access.to_read([path / DATABASE]))
    hint = f"the folder of a Chroma database holds a file {DATABASE}"
    if path.name == DATABASE:
        hint = f"name the folder, not the file: chroma:{path.parent}"
    elif (path / "chroma-collections.parquet").exists():
        hint = "it was written by Chroma 0.3, in a format that Chroma itself no longer reads"
    raise NotFound(f"{text!r} is no Chroma folder", why=hint, safe="nothing was created or changed")


def copied(folder: Path, collection: str | None) -> FolderCopy:
    """Copy a folder, consistently, into a new temporary folder.

    Args:
        folder: as ``find`` returned it.
        collection: the index files of this collection are copied; None copies no index files at all, which is
            enough for listing, counting and metadata.

    Raises:
        Unavailable: the folder kept changing.
        IntegrityError: SQLite says that the database is damaged.
        OutOfResources: the temporary folder is too small.
        Locked: this process has the folder open.
    """
    refuse_if_open_here(folder)

    def size() -> int:
        stamps = _stamps(folder, side_files=True)
        return sum(s.size for name, s in stamps.items() if collection is not None or os.sep not in name)

    def copy(destination: Path) -> float:
        held = _copy_until_good(folder, destination, collection)
        _check_database(folder, destination)
        return held

    return folders.take_copy(folder, TITLE, size, copy, "export through a Chroma server's address")


def adopted(path: Path, id: str, *, heir: bool) -> FolderCopy:
    """Use a copy that ``copied`` made in this or an earlier process; see ``kit.folders.adopt_copy``."""

    def whole(name: str) -> bool:
        if name in _SIDE_FILES:
            return True
        return (path / name).is_file() and (name != DATABASE or _quick_check(path / name))

    return folders.adopt_copy(path, id, TITLE, heir=heir, whole=whole)


def _quick_check(database: Path) -> bool:
    try:
        with closing(sqlite3.connect(database)) as connection:
            return bool(connection.execute("PRAGMA quick_check(1)").fetchone() == ("ok",))
    except sqlite3.Error:
        return False


def refuse_if_open_here(folder: Path) -> None:
    """Raise ``Locked`` when another Chroma client of this process has the folder open.

    Closing any handle of a file ends all POSIX locks that the process holds on it, so that reading the file here
    could break a transaction of that client (sqlite.org/howtocorrupt.html, 2.2).
    """
    if any(settings.environment != "vecport" for settings in _open_here(folder)):
        raise Locked(
            f"{str(folder)!r} is open in this process",
            why="a Chroma client of this process uses the folder, and SQLite's locks do not reach within one process",
            safe="nothing was read or changed",
            next="close that client (client.close()), or run vecport in a process of its own",
        )


def _open_here(folder: str | os.PathLike[str]) -> list[Any]:
    """Settings of the Chroma systems of this process that have the folder open."""
    # Without the class the module is still being imported, and nobody has opened anything yet.
    shared = getattr(sys.modules.get("chromadb.api.shared_system_client"), "SharedSystemClient", None)
    systems: dict[str, Any] = shared._identifier_to_system if shared else {}
    persistent = [s.settings for s in list(systems.values()) if s.settings.is_persistent]
    return [s for s in persistent if _same(s.persist_directory, folder)]


def _same(one: str, other: str | os.PathLike[str]) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False


def wait_until_released(folder: str) -> None:
    """Wait, two seconds at most, until no thread of a closed client has files of the folder open (Linux only)."""
    deadline = time.monotonic() + 2
    root = os.path.realpath(folder) + os.sep
    while not _open_here(folder) and _has_open("self", root) and time.monotonic() < deadline:
        time.sleep(0.001)


def other_holders(folder: Path) -> list[int]:
    """Ids of other processes that have files of the folder open, as far as ``/proc`` tells (Linux only)."""
    try:
        root = os.path.realpath(folder) + os.sep
        own = str(os.getpid())
        processes = [p for p in os.listdir("/proc") if p.isdigit() and p != own]
    except OSError:
        return []
    return sorted(int(p) for p in processes if _has_open(p, root))


def _has_open(process: str, root: str) -> bool:
    try:
        with os.scandir(f"/proc/{process}/fd") as handles:
            return any(_target(h.path).startswith(root) for h in handles)
    except OSError:
        return False


def _target(link: str) -> str:
    try:
        return os.readlink(link)
    except OSError:
        return ""


def _copy_until_good(folder: Path, destination: Path, collection: str | None) -> float:
    """Copy until nothing changed meanwhile; return the seconds for which writers had to wait."""
    held_seconds = 0.0
    for attempt in range(_FREE_ATTEMPTS + _HELD_ATTEMPTS):
        if attempt < _FREE_ATTEMPTS:
            good = _copy_once(folder, destination, collection, side_files=True)
        else:
            with _writers_held(folder / DATABASE) as held:
                started = time.monotonic()
                good = _copy_once(folder, destination, collection, side_files=not held)
                held_seconds += time.monotonic() - started if held else 0.0
        if good:
            return held_seconds
        _empty(destination)
        time.sleep(_PAUSE)
    raise Unavailable(
        f"the Chroma folder {str(folder)!r} changes all the time",
        why="no consistent copy could be taken, because an application writes to it without a pause",
        safe="the folder is unchanged, the copy was removed",
        next="stop the application, or run a Chroma server on the folder and export from its address, chroma://host:port",
    )


def _empty(folder: Path) -> None:
    for entry in folder.iterdir():
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


def _copy_once(folder: Path, destination: Path, collection: str | None, *, side_files: bool) -> bool:
    """Copy the folder; False when a file changed meanwhile or a write was under way."""
    started = time.time_ns()
    before = _stamps(folder, side_files=side_files)
    if DATABASE not in before or _under_way(before, started):
        return False
    young = any(started - max(s.modified, s.changed) < _RECENT_NS for s in before.values())
    try:
        digests = {n: _copy_file(folder / n, destination / n) for n in before if os.sep not in n}
        index = [n for n in before if os.sep in n]
        for name in _wanted(index, destination, collection, has_side_files=len(digests) > 1):
            digests[name] = _copy_file(folder / name, destination / name)
        if young and any(_digest(folder / name) != digest for name, digest in digests.items()):
            return False
    except FileNotFoundError:
        return False
    return _stamps(folder, side_files=side_files) == before


def _stamps(folder: Path, *, side_files: bool) -> dict[str, _Stamp]:
    """Stamps of the files that make up the database, by their names relative to the folder."""
    stamps: dict[str, _Stamp] = {}
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda e: e.name):
            if entry.name == DATABASE or (side_files and entry.name in _SIDE_FILES):
                _add_stamp(stamps, folder, entry.name)
            elif _is_uuid(entry.name) and entry.is_dir():
                for name in sorted(os.listdir(entry.path)):
                    _add_stamp(stamps, folder, os.path.join(entry.name, name))
    return stamps


def _add_stamp(stamps: dict[str, _Stamp], folder: Path, name: str) -> None:
    path = folder / name
    try:
        with path.open("rb") as file:
            header = file.read(100) if name == DATABASE else b""
            s = os.fstat(file.fileno())
    except (FileNotFoundError, IsADirectoryError):
        return
    stamps[name] = _Stamp(s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns, header)


def _is_uuid(name: str) -> bool:
    try:
        return str(uuid.UUID(name)) == name
    except ValueError:
        return False


def _under_way(stamps: dict[str, _Stamp], now: int) -> bool:
    """Whether index files were saved a moment ago and the database does not say so yet.

    A save writes the HNSW files, then the map of their ids, then the position in the database. Times that are out of
    this order but older come from a copy of the folder that did not keep them.
    """
    database = stamps[DATABASE].modified
    for name, saved in stamps.items():
        if not name.endswith(os.sep + _INDEX_MAP):
            continue
        head = name.removesuffix(_INDEX_MAP)
        newest = max(s.modified for other, s in stamps.items() if other.startswith(head))
        if (newest > saved.modified or newest > database) and abs(now - newest) < _UNDER_WAY_NS:
            return True
    return False


def _wanted(index: list[str], destination: Path, collection: str | None, *, has_side_files: bool) -> list[str]:
    """Index files that the collection needs; all of them where the database does not tell which these are."""
    if collection is None:
        return []
    if has_side_files:
        return index
    query = "SELECT s.id FROM segments s JOIN collections c ON c.id = s.collection WHERE c.name = ?"
    try:
        with closing(sqlite3.connect(f"{(destination / DATABASE).as_uri()}?mode=ro", uri=True)) as database:
            folders = {row[0] for row in database.execute(query, (collection,))}
    except sqlite3.Error:
        return index
    return [name for name in index if name.split(os.sep)[0] in folders]


def _copy_file(source: Path, destination: Path) -> int:
    destination.parent.mkdir(exist_ok=True)
    digest = xxhash.xxh3_64()
    with source.open("rb") as read, destination.open("wb") as write:
        while block := read.read(_BLOCK):
            digest.update(block)
            write.write(block)
    return int(digest.intdigest())


def _digest(path: Path) -> int:
    digest = xxhash.xxh3_64()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return int(digest.intdigest())


@contextmanager
def _writers_held(database: Path) -> Iterator[bool]:
    """Hold SQLite's shared lock, under which nobody commits; False where it cannot be had without writing."""
    connection = None
    try:
        # In WAL mode even a reader creates files.
        if not _in_wal_mode(database):
            uri = f"{database.absolute().as_uri()}?mode=ro"
            connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=10)
            connection.execute("BEGIN")
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.Error:
        # A journal that a crash left behind, or a lock that somebody else keeps.
        if connection is not None:
            connection.close()
        connection = None
    try:
        yield connection is not None
    finally:
        if connection is not None:
            connection.close()


def _in_wal_mode(database: Path) -> bool:
    with database.open("rb") as file:
        return file.read(20)[18:20] != b"\x01\x01"


def _check_database(folder: Path, destination: Path) -> None:
    """Let SQLite finish what a crash left undone in the copy, and check it."""
    try:
        with closing(sqlite3.connect(destination / DATABASE)) as database:
            found = database.execute("PRAGMA integrity_check(1)").fetchone()[0]
    except sqlite3.Error as e:
        found = str(e)
    if found != "ok":
        raise IntegrityError(
            f"the database of the Chroma folder {str(folder)!r} is damaged",
            why=f"SQLite says of {DATABASE}: {found}",
            safe="the folder is unchanged",
            next="restore it from a backup, or try sqlite3's .recover on a copy of it",
        )


# ---- writing ----


def check_writable(path: Path) -> None:
    """Raise unless a Chroma folder is there that nobody uses, or can be created there."""
    if not path.parent.is_dir():
        raise NotFound(
            f"there is no folder {str(path.parent)!r}",
            why=f"{path.name!r} is to be created in it",
            safe="nothing was created",
            next=f"check the path, or create it: mkdir -p {str(path.parent)!r}",
        )
    for permission in permissions.to_write(path):
        access.require(permission, "nothing was written")
    if not path.exists():
        return
    if path.is_dir() and not any(path.iterdir()):
        return
    if not is_chroma(path):
        raise AlreadyExists(
            f"{str(path)!r} holds something that is no Chroma database",
            why=f"a Chroma folder has a file {DATABASE}",
            safe="nothing was created or changed",
            next="name another folder, or an empty one",
        )
    _check_unused(path)


def _check_unused(path: Path) -> None:
    refuse_if_open_here(path)
    holders = other_holders(path)
    why = f"processes that have it open: {', '.join(map(str, holders))}" if holders else _locked(path)
    if why:
        raise Locked(
            f"the Chroma folder {str(path)!r} is in use",
            why=why + "; two writers of one folder overwrite each other's index",
            safe="nothing was written",
            next="stop the other program, or run a Chroma server on the folder and write to chroma://host:port",
        )


def _locked(path: Path) -> str:
    """Why the database cannot be written to, ``""`` when it can; takes the lock for a moment, changes nothing."""
    try:
        with closing(sqlite3.connect(path / DATABASE, isolation_level=None, timeout=2)) as database:
            database.execute("BEGIN IMMEDIATE")
            database.execute("ROLLBACK")
    except sqlite3.OperationalError as e:
        if "readonly" in str(e) or "unable to open" in str(e):
            raise AuthenticationFailed(
                f"{str(path)!r} may not be written", why=str(e), safe="nothing was written"
            ) from e
        return f"SQLite says: {e}"
    return ""
