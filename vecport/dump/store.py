"""Where a dump lives: a local folder or any fsspec location, with writes that are whole or absent."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import re
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import IO, Any, TypeVar

from ..errors import (
    AlreadyExists,
    AuthenticationFailed,
    IntegrityError,
    MissingExtra,
    NotFound,
    OutOfResources,
    Unavailable,
    UsageError,
    VecportError,
)

_URL = re.compile(r"[a-z][a-z0-9+.\-]*://", re.IGNORECASE)
_PART = re.compile(r"[A-Za-z0-9._\-]+\Z")
T = TypeVar("T")


class Upload(ABC):
    """A file being written: invisible until ``commit``; counts its bytes and its SHA-256 as they pass."""

    def __init__(self) -> None:
        self.size_bytes = 0
        self._hash = hashlib.sha256()
        self._tail_hash: Any = None
        self.tail_bytes = 0

    def write(self, data: Any) -> int:
        """Append bytes (any object with the buffer protocol)."""
        view = memoryview(data).cast("B")
        self._write(view)
        self._hash.update(view)
        self.size_bytes += len(view)
        if self._tail_hash is not None:
            self._tail_hash.update(view)
            self.tail_bytes += len(view)
        return len(view)

    def begin_tail(self) -> None:
        """From here on a second SHA-256 is kept, of the end of the file alone."""
        self._tail_hash = hashlib.sha256()

    @property
    def sha256(self) -> str:
        """SHA-256 (hex) of everything written so far."""
        return self._hash.hexdigest()

    @property
    def tail_sha256(self) -> str:
        """SHA-256 (hex) of what was written since ``begin_tail``."""
        return str(self._tail_hash.hexdigest())

    @abstractmethod
    def _write(self, view: memoryview) -> None: ...

    @abstractmethod
    def commit(self) -> None:
        """Make the file durable and visible under its name."""

    @abstractmethod
    def abort(self) -> None:
        """Leave nothing behind. Safe to call after ``commit``, where it does nothing."""


class Store(ABC):
    """A flat view of one folder; paths are relative, ``/``-separated, of letters, digits, ``.``, ``_``, ``-``."""

    def __init__(self, url: str) -> None:
        self.url = url

    local_path: str | None = None

    def upload(self, path: str) -> Upload:
        """Begin a file."""
        return self._upload(_safe(path))

    def put(self, path: str, data: bytes) -> None:
        """Write a small file whole, replacing one of the same name."""
        upload = self.upload(path)
        try:
            upload.write(data)
            upload.commit()
        finally:
            upload.abort()

    @abstractmethod
    def _upload(self, path: str) -> Upload: ...

    @abstractmethod
    def put_new(self, path: str, data: bytes) -> None:
        """Write a small file whole; raises ``AlreadyExists`` when there is one of that name."""

    @abstractmethod
    def open(self, path: str) -> IO[bytes]:
        """Open a file for random reading; raises ``NotFound``."""

    @abstractmethod
    def size(self, path: str) -> int | None:
        """Size in bytes, None when the file does not exist."""

    @abstractmethod
    def list(self, prefix: str = "") -> list[str]:
        """All files below a folder, sorted, relative to the store."""

    @abstractmethod
    def delete(self, path: str) -> None:
        """Delete a file; no error when there is none."""

    @abstractmethod
    def delete_tree(self, prefix: str) -> None:
        """Delete a folder and everything in it; no error when there is none."""

    @abstractmethod
    def prepare(self) -> None:
        """Create the folder when it does not exist."""

    def exists(self, path: str) -> bool:
        """Whether there is a file of this name."""
        return self.size(path) is not None

    @abstractmethod
    def errors(self, path: str) -> AbstractContextManager[None]:
        """Turn what goes wrong while a file is read into typed errors."""

    def read(self, path: str, limit: int) -> bytes:
        """Read a small file whole; raises ``IntegrityError`` when it is larger than ``limit`` bytes."""
        with self.open(path) as f, self.errors(path):
            data = f.read(limit + 1)
        if len(data) > limit:
            raise IntegrityError(f"{self.url}: {path} is larger than {limit:,} bytes")
        return data

    def sha256(self, path: str) -> str:
        """SHA-256 (hex) of a file's bytes."""
        with self.open(path) as f, self.errors(path):
            return hashlib.file_digest(f, "sha256").hexdigest()  # type: ignore[arg-type]

    def tail(self, path: str, size_bytes: int) -> bytes:
        """The last ``size_bytes`` of a file."""
        with self.open(path) as f, self.errors(path):
            f.seek(-size_bytes, io.SEEK_END)
            return f.read()


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


def _safe(path: str) -> str:
    if not all(_PART.match(part) and part not in (".", "..") for part in path.split("/")):
        raise IntegrityError(f"{path!r} is not a file name of a dump")
    return path


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
        return os.path.join(self.local_path, *_safe(path).split("/"))

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
        for part in _safe(path).split("/"):
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
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._join(path))

    def delete_tree(self, prefix: str) -> None:
        root = self._join(prefix)
        for folder, folders, names in os.walk(root, topdown=False):
            for name in names:
                with contextlib.suppress(FileNotFoundError):
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


class _RemoteUpload(Upload):
    def __init__(self, fs: Any, path: str, name: str) -> None:
        super().__init__()
        self._fs, self._path, self._name = fs, path, name
        self._file: Any = fs.open(path, "wb")

    def _write(self, view: memoryview) -> None:
        with remote_errors(self._name):
            self._file.write(view)

    def commit(self) -> None:
        with remote_errors(self._name):
            self._file.close()
        self._file = None

    def abort(self) -> None:
        if self._file is not None:
            with contextlib.suppress(Exception):
                self._file.discard()
            try:
                # Closing would publish half a file: the object is dropped unclosed.
                self._file.closed = True
            except AttributeError:
                # A file system that writes in place: half a file stands there already.
                with contextlib.suppress(Exception):
                    self._fs.rm_file(self._path)
            self._file = None


@contextlib.contextmanager
def remote_errors(what: str) -> Iterator[None]:
    """Turn a filesystem's errors into typed ones."""
    try:
        yield
    except VecportError:
        raise
    except FileNotFoundError as e:
        raise NotFound(f"{what} does not exist") from e
    except FileExistsError as e:
        raise AlreadyExists(f"{what} exists already") from e
    except PermissionError as e:
        raise AuthenticationFailed(f"{what}: access denied", next="check the credentials of the object store") from e
    except Exception as e:
        if type(e).__name__ in ("NoCredentialsError", "InvalidAccessKeyId"):
            raise AuthenticationFailed(f"{what}: no valid credentials", why=str(e)) from e
        raise Unavailable(
            f"{what}: the object store did not answer as expected", f"{type(e).__name__}: {e}",
            "what was finished before is kept", "run the same command again",
        ) from e  # fmt: skip


class RemoteStore(Store):
    """A folder behind fsspec, as ``s3://bucket/folder``. A single put is whole or absent there."""

    def __init__(self, url: str) -> None:
        import fsspec

        super().__init__(url.rstrip("/"))
        scheme = url.partition("://")[0]
        try:
            with remote_errors(url):
                self._fs, self._root = fsspec.core.url_to_fs(self.url, use_listings_cache=False)
        except Unavailable as e:
            if isinstance(e.__cause__, ImportError):
                extra = "vecport[s3]" if scheme in ("s3", "s3a") else "fsspec's package for it"
                raise MissingExtra(
                    f"{scheme}:// needs a package that is not installed",
                    next=f"pip install '{extra}'" if extra.startswith("vecport") else f"install {extra}",
                ) from e
            if isinstance(e.__cause__, ValueError):
                raise UsageError(f"{scheme}:// is not a known protocol") from e
            raise

    def _join(self, path: str) -> str:
        return f"{self._root}/{_safe(path)}"

    def _upload(self, path: str) -> Upload:
        with remote_errors(f"{self.url}/{path}"):
            return _RemoteUpload(self._fs, self._join(path), f"{self.url}/{path}")

    def put_new(self, path: str, data: bytes) -> None:
        with remote_errors(f"{self.url}/{path}"):
            self._fs.pipe_file(self._join(path), data, mode="create")

    def errors(self, path: str) -> AbstractContextManager[None]:
        return remote_errors(f"{self.url}/{path}")

    def open(self, path: str) -> IO[bytes]:
        with remote_errors(f"{self.url}/{path}"):
            return self._fs.open(self._join(path), "rb")  # type: ignore[no-any-return]

    def size(self, path: str) -> int | None:
        try:
            with remote_errors(f"{self.url}/{path}"):
                info = self._fs.info(self._join(path))
        except NotFound:
            return None
        return int(info["size"]) if info["type"] == "file" else None

    def list(self, prefix: str = "") -> list[str]:
        root = self._join(prefix) if prefix else self._root
        try:
            with remote_errors(self.url):
                found = self._fs.find(root)
        except NotFound:
            return []
        cut = len(self._root.rstrip("/")) + 1
        return (
            sorted(p.lstrip("/") if not self._root.startswith("/") else p for p in found)
            if not cut
            else sorted(p[cut:] for p in found)
        )

    def delete(self, path: str) -> None:
        with contextlib.suppress(NotFound), remote_errors(f"{self.url}/{path}"):
            self._fs.rm_file(self._join(path))

    def delete_tree(self, prefix: str) -> None:
        for path in self.list(_safe(prefix)):
            self.delete(path)

    def prepare(self) -> None:
        with remote_errors(self.url):
            if not _BUCKETS.intersection(_protocols(self._fs)):
                self._fs.makedirs(self._root, exist_ok=True)
                return
            # There are no folders to make there, and making them would make a mistyped bucket.
            bucket = self._root.split("/")[0]
            if not self._fs.exists(bucket):
                raise NotFound(f"{self.url}: there is no bucket {bucket!r}", next="create it, or check its name")


_BUCKETS = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oss", "cos"})


def _protocols(fs: Any) -> tuple[str, ...]:
    return (fs.protocol,) if isinstance(fs.protocol, str) else tuple(fs.protocol)
