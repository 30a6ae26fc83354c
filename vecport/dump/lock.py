"""One writer a dump: a kernel lock on local disks, a lock object elsewhere."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from collections.abc import Iterator

from ..errors import AlreadyExists, Locked, VecportError
from .layout import WORK
from .store import LocalStore, Store

_LOCK = f"{WORK}/lock"


@contextlib.contextmanager
def writer_lock(store: Store, *, take_over: bool = False) -> Iterator[None]:
    """Hold the right to write a dump.

    On local disks the kernel releases the lock when its holder dies. In an object store a lock object is created
    conditionally; one left by a dead process of this machine is taken over, any other needs ``take_over``.

    Raises:
        Locked: another process writes this dump.
    """
    with _local(store) if isinstance(store, LocalStore) else _remote(store, take_over):
        yield


@contextlib.contextmanager
def folder_lock(path: str, what: str) -> Iterator[None]:
    """Hold a kernel lock on a file in a local folder; raises ``Locked`` when another process holds it."""
    import fcntl

    os.makedirs(os.path.dirname(path), exist_ok=True)
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as e:
            os.close(fd)
            raise Locked(f"{what}: another process is at work here", next="wait for it, or stop it first") from e
        # A finishing holder removes the file: a lock on a removed file protects nothing.
        if os.path.exists(path) and os.fstat(fd).st_ino == os.stat(path).st_ino:
            break
        os.close(fd)
    try:
        yield
    finally:
        os.close(fd)


@contextlib.contextmanager
def _local(store: LocalStore) -> Iterator[None]:
    path = os.path.join(str(store.local_path), *_LOCK.split("/"))
    with folder_lock(path, store.url):
        yield


@contextlib.contextmanager
def _remote(store: Store, take_over: bool) -> Iterator[None]:
    holder = {"host": socket.gethostname(), "pid": os.getpid(), "since": int(time.time())}
    try:
        store.put_new(_LOCK, json.dumps(holder).encode())
    except AlreadyExists:
        other = _holder(store)
        dead = other.get("host") == holder["host"] and not _alive(other.get("pid"))
        if not (dead or take_over):
            raise Locked(
                f"{store.url}: process {other.get('pid')} on {other.get('host')} holds its lock",
                safe="nothing was changed",
                next="wait for it; if it is certainly dead, run the same command with --take-over",
            ) from None
        store.put(_LOCK, json.dumps(holder).encode())
    try:
        yield
    finally:
        with contextlib.suppress(VecportError):
            store.delete(_LOCK)


def _holder(store: Store) -> dict[str, object]:
    try:
        data = json.loads(store.read(_LOCK, 4096))
    except (VecportError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def _alive(pid: object) -> bool:
    if not isinstance(pid, int):
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
