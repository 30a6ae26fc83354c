"""Where a dump lives: a local folder or any fsspec location, with writes that are whole or absent."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import IO, TypeVar

from ..errors import (
    AlreadyExists,
    AuthenticationFailed,
    IntegrityError,
    NotFound,
    OutOfResources,
    Unavailable,
    UsageError,
    VecportError,
)
from .files import Store, Upload, safe
from .remote import RemoteStore

_URL = re.compile(r"[a-z][a-z0-9+.\-]*://", re.IGNORECASE)
T = TypeVar("T")


def open_store(location: str | os.PathLike[str]) -> Store:
    """Open a location: a local path, ``file://`` or any URL that an installed fsspec filesystem understands.

    Raises:
        UsageError: a chained or unknown protocol.
        MissingExtra: the filesystem's package is not installed.
    """
    text = os.fspath(location)
    if "::" in text:
        raise UsageError(f"{text}: chained locations are not taken", next="give the plain URL of the folder")
    if text.startswith("file://"):
        text = text[7:]
    return RemoteStore(text) if _URL.match(text) else LocalStore(os.path.expanduser(text))


def _local_errors(call: Callable[[], T], what: str) -> T:
    with local_errors(what):
        return call()


@contextlib.contextmanager
def local_errors(what: str) -> Iterator[None]:
    """Turn the operating system's errors into typed ones."""
    try:
        yield
    except FileNotFoundError as e:
        raise NotFound(f"{what} does not exist", why=e.strerror or "") from e
    except PermissionError as e:
        raise AuthenticationFailed(
            f"{what} cannot be opened", e.strerror or "", "nothing was changed",
            "check the permissions of the folder, or choose another one",
        ) from e  # fmt: skip
    except OSError as e:
        raise os_error(e, what) from e


def os_error(e: OSError, what: str) -> VecportError:
    """The typed error for an operating system error."""
    if e.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return OutOfResources(
            f"{what} could not be written", e.strerror or "",
            "what was finished before is kept", "free some space, then run the same command again",
        )  # fmt: skip
    if e.errno == errno.EROFS:
        return AuthenticationFailed(f"{what} is on a read-only file system", next="choose another folder")
    return Unavailable(
        f"{what}: {e.strerror}", safe="what was finished before is kept", next="run the same command again"
    )


class _LocalUpload(Upload):
    def __init__(self, final: str) -> None:
        super().__init__()
        self._final = final
        folder, name = os.path.split(final)
        make_folder(folder)
        self.temporary = os.path.join(folder, f".tmp-{uuid.uuid4().hex}-{name}")
        self._file: IO[bytes] | None = open(self.temporary, "xb", buffering=0)  # noqa: SIM115

    def _write(self, view: memoryview) -> None:
        assert self._file is not None
        try:
            while view:
                view = view[self._file.write(view) :]
        except OSError as e:
            raise os_error(e, self._final) from e

    def sync(self) -> None:
        """Make the bytes durable under the temporary name."""
        assert self._file is not None
        os.fsync(self._file.fileno())
        written = os.fstat(self._file.fileno()).st_size
        if written != self.size_bytes:
            raise OSError(errno.EIO, f"{written} bytes arrived of {self.size_bytes}")

    def commit(self) -> None:
        assert self._file is not None
        try:
            self.sync()
            self._file.close()
            os.replace(self.temporary, self._final)
            self._file = None
            fsync_folder(os.path.dirname(self._final))
        except OSError as e:
            raise os_error(e, self._final) from e

    def abort(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
            with contextlib.suppress(OSError):
                os.unlink(self.temporary)


#: What file systems without hard links answer (exFAT, some network shares).
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


def _publish(temporary: str, final: str) -> None:
    """Give a file its name unless the name is taken; raises ``FileExistsError``."""
    try:
        os.link(temporary, final)
    except OSError as e:
        if e.errno not in _NO_LINKS:
            raise
        # Not atomic against another writer, which the lock of the dump keeps away.
        if os.path.lexists(final):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), final) from e
        os.replace(temporary, final)


def make_folder(path: str) -> None:
    """Create a folder and those above it; each one's name is durable when this returns."""
    if os.path.isdir(path):
        return
    above = os.path.dirname(path)
    if above != path:
        make_folder(above)
    with contextlib.suppress(FileExistsError):
        os.mkdir(path)
    if not os.path.isdir(path):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
    # A folder that may be written and not be read cannot be synced.
    with contextlib.suppress(PermissionError):
        fsync_folder(above)


def fsync_folder(path: str) -> None:
    """Make renames in a folder durable."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class LocalStore(Store):
    """A folder of the local file system."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.local_path = os.path.abspath(path)
        self._digests: dict[str, tuple[tuple[int, ...], str]] = {}

    def sha256(self, path: str) -> str:
        """See ``Store.sha256``; a file that is still the one that was hashed is not hashed again."""
        before = self._state(path)
        known = self._digests.get(path)
        if known is not None and before is not None and known[0] == before:
            return known[1]
        digest = super().sha256(path)
        if before is not None and before == self._state(path):
            self._digests[path] = before, digest
        return digest

    def _state(self, path: str) -> tuple[int, ...] | None:
        """What changes whenever a file's bytes do; None when there is no such file."""
        try:
            found = os.stat(self._join(path), follow_symlinks=False)
        except OSError:
            return None
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns

    def _join(self, path: str) -> str:
        assert self.local_path is not None
        return os.path.join(self.local_path, *safe(path).split("/"))

    def _upload(self, path: str) -> Upload:
        return _local_errors(lambda: _LocalUpload(self._join(path)), f"{self.url}/{path}")

    def put_new(self, path: str, data: bytes) -> None:
        full, what = self._join(path), f"{self.url}/{path}"
        upload = _local_errors(lambda: _LocalUpload(full), what)
        try:
            upload.write(data)
            upload.sync()
            _publish(upload.temporary, full)
            fsync_folder(os.path.dirname(full))
        except FileExistsError as e:
            raise AlreadyExists(f"{what} exists already") from e
        except OSError as e:
            raise os_error(e, what) from e
        finally:
            upload.abort()

    def errors(self, path: str) -> AbstractContextManager[None]:
        return local_errors(f"{self.url}/{path}")

    def open(self, path: str) -> IO[bytes]:
        return _local_errors(lambda: self._open(path), f"{self.url}/{path}")

    def _open(self, path: str) -> IO[bytes]:
        link = self._link(path)
        if link is not None:
            raise IntegrityError(f"{link} is a symbolic link", why="the files of a dump are plain files")
        full = self._join(path)
        return open(os.open(full, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)), "rb")

    def _link(self, path: str) -> str | None:
        """The first part of a path within the store that is a symbolic link."""
        full = str(self.local_path)
        for part in safe(path).split("/"):
            full = os.path.join(full, part)
            if os.path.islink(full):
                return full
        return None

    def size(self, path: str) -> int | None:
        full = self._join(path)
        try:
            return os.stat(full).st_size if os.path.isfile(full) and self._link(path) is None else None
        except FileNotFoundError:
            return None

    def list(self, prefix: str = "") -> list[str]:
        root = self._join(prefix) if prefix else str(self.local_path)
        found = []
        for folder, folders, names in os.walk(root):
            # A link to a folder is not entered, and not passed over either.
            links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
            for name in names + links:
                found.append(os.path.relpath(os.path.join(folder, name), self.local_path).replace(os.sep, "/"))
        return sorted(found)

    def delete(self, path: str) -> None:
        with contextlib.suppress(NotFound), local_errors(f"{self.url}/{path}"):
            os.unlink(self._join(path))

    def delete_tree(self, prefix: str) -> None:
        root = self._join(prefix)
        for folder, folders, names in os.walk(root, topdown=False):
            for name in names:
                with contextlib.suppress(NotFound), local_errors(os.path.join(folder, name)):
                    os.unlink(os.path.join(folder, name))
            for name in folders:
                with contextlib.suppress(OSError):
                    os.rmdir(os.path.join(folder, name))
        with contextlib.suppress(OSError):
            os.rmdir(root)

    def prepare(self) -> None:
        path = str(self.local_path)
        if os.path.isfile(path):
            raise AlreadyExists(f"{self.url} is a file", next="give a folder for the dump")
        _local_errors(lambda: make_folder(path), self.url)
        if not os.access(path, os.W_OK):
            raise AuthenticationFailed(
                f"{self.url} is read-only", safe="nothing was changed", next="choose another folder"
            )

    def sweep(self) -> None:
        """Remove temporary files that a killed run left."""
        for path in self.list():
            if path.rpartition("/")[2].startswith(".tmp-"):
                self.delete(path)


__all__ = [
    "LocalStore", "RemoteStore", "Store", "Upload", "fsync_folder", "local_errors", "make_folder", "open_store",
    "os_error",
]  # fmt: skip
