"""What every store of a dump is: a flat view of one folder, with writes that are whole or absent."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from typing import IO, Any, Protocol

from ..errors import AuthenticationFailed, IntegrityError

_PART = re.compile(r"[A-Za-z0-9._\-]+\Z")


class Claim(Protocol):
    """The right to write a dump, as its holder has it (``dump.lock``).

    Attributes:
        token: names the holder; nobody else has it.
        term: how many holders before this one were never seen to let go.
    """

    token: str
    term: int

    def check(self) -> None:
        """Raise ``Locked`` when the right has passed to another."""


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
    #: Whether the store refuses a conditional write whose condition does not hold; known once its lock is held.
    keeps_conditions = True
    #: The right to write here. While there is one, each step that others could see asks it first.
    claim: Claim | None = None

    def upload(self, path: str) -> Upload:
        """Begin a file."""
        return self._upload(safe(path))

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

    def dispensed(self, path: str) -> bool:
        """Delete a file that is not needed; False where the store refuses it, as a bucket that only takes does."""
        try:
            self.delete(path)
        except AuthenticationFailed:
            return False
        return True

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

    def glance(self, path: str, limit: int) -> bytes:
        """The first ``limit`` bytes of a small file that others may replace meanwhile: of one moment."""
        return self.read(path, limit)

    def sha256(self, path: str) -> str:
        """SHA-256 (hex) of a file's bytes."""
        with self.open(path) as f, self.errors(path):
            return hashlib.file_digest(f, "sha256").hexdigest()  # type: ignore[arg-type]

    def read_back(self, path: str) -> str:
        """SHA-256 (hex) of a file's bytes as the store has them, whatever is known of the file."""
        with self.open(path) as f, self.errors(path):
            _drop_cached(f)
            return hashlib.file_digest(f, "sha256").hexdigest()  # type: ignore[arg-type]

    def tail(self, path: str, size_bytes: int) -> bytes:
        """The last ``size_bytes`` of a file."""
        with self.open(path) as f, self.errors(path):
            f.seek(-size_bytes, io.SEEK_END)
            return f.read()


def safe(path: str) -> str:
    if not all(_PART.match(part) and part not in (".", "..") for part in path.split("/")):
        raise IntegrityError(f"{path!r} is not a file name of a dump")
    return path


def _drop_cached(file: IO[bytes]) -> None:
    """Have a local file read from its disk rather than from the memory that it was written through."""
    with contextlib.suppress(OSError, AttributeError, io.UnsupportedOperation):
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
