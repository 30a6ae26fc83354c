"""Dumps behind fsspec, as in object stores: one put is whole or absent, and takes the place only of what was seen.

Where a store knows conditions (``If-None-Match``, ``If-Match``), it is asked to refuse what another writer has changed
meanwhile. Where it knows none, it is looked at first, and ``dump.lock`` gives each holder names of its own.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import IO, Any

from ..errors import (
    AlreadyExists,
    AuthenticationFailed,
    Locked,
    MissingExtra,
    NotFound,
    Unavailable,
    UsageError,
    VecportError,
)
from .files import Store, Upload, safe
from .layout import WORK

#: What stores answer when a condition does not hold, or another write came at the same time.
_CHANGED = ("PreconditionFailed", "412", "ConditionalRequestConflict", "409")
_S3 = frozenset({"s3", "s3a"})
_BUCKETS = _S3 | {"gs", "gcs", "az", "abfs", "abfss", "adl", "oss", "cos"}


class _RemoteUpload(Upload):
    """An object on its way. A writer with a claim replaces nothing but what it saw when it began."""

    def __init__(self, store: RemoteStore, path: str) -> None:
        super().__init__()
        self._store, self._path, self._name = store, path, f"{store.url}/{path}"
        self._guarded = store.claim is not None and not path.startswith(f"{WORK}/")
        self._seen: str | None = None
        if store.claim is not None:
            store.claim.check()
        mode, more = store.condition(None, guarded=False)
        if self._guarded:
            self._seen = store.version(path)
            mode, more = store.condition(self._seen)
        with remote_errors(self._name):
            self._file: Any = store._fs.open(store.join(path), mode, **more)

    def _write(self, view: memoryview) -> None:
        with remote_errors(self._name):
            self._file.write(view)

    def commit(self) -> None:
        claim = self._store.claim
        if claim is not None:
            claim.check()
        if self._guarded and not self._store.asks and self._store.version(self._path) != self._seen:
            raise _changed(self._name)
        try:
            with remote_errors(self._name):
                self._file.close()
        except VecportError as e:
            # A put that was carried out and answered with an error is a put.
            if not self._arrived(e):
                raise
        self._file = None
        if claim is not None:
            self._check_still(claim)

    def _check_still(self, claim: Any) -> None:
        """What was put when the right had passed to another is taken back: nobody names it yet."""
        try:
            claim.check()
        except Locked:
            if self._guarded:
                with contextlib.suppress(VecportError):
                    self._store.withdraw(self._path, self.sha256)
            raise

    def _arrived(self, error: VecportError) -> bool:
        if not isinstance(error, AlreadyExists | NotFound | Unavailable):
            return False
        try:
            return self._store.size(self._path) == self.size_bytes and self._store.sha256(self._path) == self.sha256
        except VecportError:
            return False

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
                    self._store._fs.rm_file(self._store.join(self._path))
            self._file = None


def _changed(what: str) -> AlreadyExists:
    return AlreadyExists(
        f"{what} was written by another run meanwhile", safe="it was left as it is",
        next="run the same command again: it goes on from what is there",
    )  # fmt: skip


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
        if _code(e) in _CHANGED:
            raise _changed(what) from e
        raise Unavailable(
            f"{what}: the object store did not answer as expected", f"{type(e).__name__}: {e}",
            "what was finished before is kept", "run the same command again",
        ) from e  # fmt: skip


def _code(error: BaseException | None) -> str:
    """The code with which an S3 service has refused; empty where it is something else."""
    while error is not None:
        response = getattr(error, "response", None)
        if isinstance(response, dict):
            return str(response.get("Error", {}).get("Code", ""))
        error = error.__cause__
    return ""


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
        #: Whether conditions go to the store with a write; elsewhere it is looked at before.
        self.conditional = bool(_S3.intersection(_protocols(self._fs)))

    def join(self, path: str) -> str:
        """The file system's own name of a file."""
        return f"{self._root}/{safe(path)}"

    @property
    def asks(self) -> bool:
        """Whether a condition goes to the store with the write that it is of; it is checked before it otherwise."""
        return self.conditional and self.keeps_conditions

    def condition(self, seen: str | None, *, guarded: bool = True) -> tuple[str, dict[str, Any]]:
        """Mode and arguments of a write that takes the place of ``seen`` alone, which is None for nothing."""
        if not (guarded and self.asks):
            return "wb", {}
        return ("xb", {}) if seen is None else ("wb", {"IfMatch": seen})

    def _upload(self, path: str) -> Upload:
        return _RemoteUpload(self, path)

    def put_new(self, path: str, data: bytes) -> None:
        if self.claim is not None:
            self.claim.check()
        self.put_seen(path, data, None)

    def version(self, path: str) -> str | None:
        """What changes when another write comes; None when there is no such file."""
        try:
            with remote_errors(f"{self.url}/{path}"):
                info = self._fs.info(self.join(path))
        except NotFound:
            return None
        return str(info.get("ETag") or hashlib.sha256(repr(sorted(info.items(), key=str)).encode()).hexdigest())

    def put_seen(self, path: str, data: bytes, seen: str | None) -> None:
        """Write a small file whole in place of the version ``seen`` alone; None where there must be none.

        Raises:
            AlreadyExists: something else is there.
        """
        name = f"{self.url}/{path}"
        if not self.asks and self.version(path) != seen:
            raise AlreadyExists(f"{name} exists already") if seen is None else _changed(name)
        more: dict[str, Any] = {"mode": "create"} if seen is None else {"mode": "overwrite"}
        if self.asks and seen is not None:
            more["IfMatch"] = seen
        try:
            with remote_errors(name):
                self._fs.pipe_file(self.join(path), data, **more)
        except NotFound as e:
            raise _changed(name) from e
        except Unavailable:
            # A put that was carried out and answered with an error is a put.
            if not self._reads(path, data):
                raise

    def _reads(self, path: str, data: bytes) -> bool:
        try:
            return self.glance(path, len(data) + 1) == data
        except VecportError:
            return False

    def refuses(self, path: str) -> bool:
        """Whether the store refuses to create a file that is there; one that does not keeps no condition at all.

        Args:
            path: of a file of this writer alone; it keeps its content.
        """
        if not self.conditional:
            # What one process holds in its own memory is not written from elsewhere.
            return "memory" in _protocols(self._fs)
        data = self.read(path, 1 << 16)
        try:
            with remote_errors(f"{self.url}/{path}"):
                self._fs.pipe_file(self.join(path), data, mode="create")
        except AlreadyExists:
            return True
        return False

    def errors(self, path: str) -> AbstractContextManager[None]:
        return remote_errors(f"{self.url}/{path}")

    def open(self, path: str) -> IO[bytes]:
        with remote_errors(f"{self.url}/{path}"):
            return self._fs.open(self.join(path), "rb")  # type: ignore[no-any-return]

    def glance(self, path: str, limit: int) -> bytes:
        # One request: opening looks first, and then insists on what it saw.
        with remote_errors(f"{self.url}/{path}"):
            return bytes(self._fs.cat_file(self.join(path), start=0, end=limit))

    def size(self, path: str) -> int | None:
        try:
            with remote_errors(f"{self.url}/{path}"):
                info = self._fs.info(self.join(path))
        except NotFound:
            return None
        return int(info["size"]) if info["type"] == "file" else None

    def list(self, prefix: str = "") -> list[str]:
        root = self.join(prefix) if prefix else self._root
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
        if self.claim is not None:
            self.claim.check()
        seen = None
        if self.claim is not None and self.asks and not path.startswith(f"{WORK}/"):
            seen = self.version(path)
        with contextlib.suppress(NotFound), remote_errors(f"{self.url}/{path}"):
            self._remove(path, seen)

    def withdraw(self, path: str, sha256: str) -> None:
        """Delete a file of these bytes, unless another writer has put something else in its place."""
        seen = self.version(path)
        if seen is not None and self.sha256(path) == sha256:
            with contextlib.suppress(NotFound), remote_errors(f"{self.url}/{path}"):
                self._remove(path, seen if self.asks else None)

    def _remove(self, path: str, seen: str | None) -> None:
        full = self.join(path)
        if seen is None:
            self._fs.rm_file(full)
            return
        bucket, key, _ = self._fs.split_path(full)
        self._fs.call_s3("delete_object", Bucket=bucket, Key=key, IfMatch=seen)
        self._fs.invalidate_cache(full)

    def delete_tree(self, prefix: str) -> None:
        for path in self.list(safe(prefix)):
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


def _protocols(fs: Any) -> tuple[str, ...]:
    return (fs.protocol,) if isinstance(fs.protocol, str) else tuple(fs.protocol)
