"""Embedded databases: a folder is never opened for reading, it is copied, and the copy is opened.

Clients change files in what they open, some on a plain read. How a folder is copied so that the copy is of one moment
is the connector's knowledge; everything around that stands here.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
import uuid
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from ...errors import AuthenticationFailed, OutOfResources, SnapshotGone, Unavailable

MARKER: Final = "vecport-snapshot.json"


class FolderCopy:
    """A copy in the temporary folder of this machine; ``release`` removes it if this object owns it.

    Attributes:
        path: the folder to open.
        id: names the copy; it stands in its marker file too.
        held: seconds for which writers of the original were made to wait.
    """

    def __init__(self, path: Path, id: str, *, held: float = 0.0, owned: bool) -> None:
        self.path, self.id, self.held = path, id, held
        self._remove = weakref.finalize(self, _remove, path, os.getpid()) if owned else None

    def release(self) -> None:
        """Remove the copy. Safe to call twice."""
        if self._remove is not None:
            self._remove()


def _remove(path: Path, process: int) -> None:
    # A forked child inherits the finalizer, and is not the owner.
    if os.getpid() == process:
        shutil.rmtree(path, ignore_errors=True)


def take_copy(
    original: Path, title: str, size: Callable[[], int], copy: Callable[[Path], float], advice: str = ""
) -> FolderCopy:
    """Copy a folder into a new temporary folder, which is removed with the returned object.

    Args:
        original: the folder; only read.
        title: the database's name, for messages and for the name of the copy.
        size: how many bytes it will take.
        copy: fills the new folder, and returns the seconds for which writers of the original had to wait.
        advice: what else the user can do where there is no room for a copy.

    Raises:
        OutOfResources: the temporary folder is too small.
        AuthenticationFailed: a file may not be read.
        Unavailable: the folder cannot be copied.
    """
    destination = Path(tempfile.mkdtemp(prefix=prefix(title)))
    try:
        with _copy_errors(original, destination, title, advice):
            needed = size()
            if needed > shutil.disk_usage(destination).free:
                raise _no_room(original, destination, needed, title, advice)
            held = copy(destination)
        copy_id = uuid.uuid4().hex
        files = sorted(str(f.relative_to(destination)) for f in destination.rglob("*") if f.is_file())
        _mark(destination, {"id": copy_id, "files": files})
    except BaseException:
        shutil.rmtree(destination, ignore_errors=True)
        raise
    return FolderCopy(destination, copy_id, held=held, owned=True)


def prefix(title: str) -> str:
    """How the names of copies begin."""
    return f"vecport-{title.lower()}-copy-"


def adopt_copy(path: Path, id: str, title: str, *, heir: bool, whole: Callable[[str], bool]) -> FolderCopy:
    """Use a copy that ``take_copy`` made in this or an earlier process.

    Args:
        path: of the copy.
        id: of the copy.
        title: the database's name.
        heir: take over its removal, if the process that had to remove it has died.
        whole: whether the file of a name, relative to the copy, is as good as it was; also asked for files that are
            gone.

    Raises:
        SnapshotGone: it is gone, incomplete, or another one.
    """
    gone = SnapshotGone(f"the copy of the {title} folder in {path} is gone", why="the session that made it has ended")
    try:
        marker = json.loads((path / MARKER).read_text())
        if marker["id"] != id or not path.name.startswith(prefix(title)) or not all(map(whole, marker["files"])):
            raise gone
        inherits = heir and _is_dead(marker["process"])
        if inherits:
            _mark(path, marker)
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise gone from e
    return FolderCopy(path, id, owned=inherits)


def _mark(copy: Path, marker: dict[str, Any]) -> None:
    (copy / MARKER).write_text(json.dumps({**marker, "process": os.getpid()}))


def _is_dead(process: int) -> bool:
    if os.name != "posix":
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


@contextmanager
def _copy_errors(original: Path, destination: Path, title: str, advice: str) -> Iterator[None]:
    try:
        yield
    except PermissionError as e:
        raise AuthenticationFailed(f"{e.filename!r} may not be read", why="this user has no permission") from e
    except OSError as e:
        if e.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _no_room(original, destination, 0, title, advice) from e
        raise Unavailable(f"the folder {str(original)!r} cannot be copied", why=str(e), safe="it is unchanged") from e


def _no_room(original: Path, destination: Path, needed: int, title: str, advice: str) -> OutOfResources:
    size = f" of {needed:,} bytes" if needed else ""
    return OutOfResources(
        f"no room for a copy{size} of {str(original)!r}",
        why=f"a {title} folder is read from a temporary copy, and {str(destination.parent)!r} is too small",
        safe="the folder is unchanged, the copy was removed",
        next="name a larger place: TMPDIR=/path vecport ..." + (f"; or {advice}" if advice else ""),
    )
