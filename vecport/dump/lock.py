"""One writer a dump: a kernel lock on local disks, a lease elsewhere.

A lease is an object that its holder writes anew all the time. It passes to another run when it has not changed for as
long as it says, by that run's own clock: no process number, no host name and no clock of another machine is believed.
The holder asks before each step that others could see whether the lease is still its own (``Store.claim``), and each
holder has a term, which is higher by one where the holder before was never seen to let go.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

from ..errors import AlreadyExists, Locked, NotFound, VecportError
from .layout import LOCK, WORK
from .remote import RemoteStore
from .store import LocalStore, Store

#: How long a lease lasts that is not renewed; a third of it passes between renewals.
LEASE_S = 60.0
#: The holder believes in its lease for less than others do: clocks do not run alike.
_TRUST = 0.8
#: Of a foreign lock, at most so long is waited.
_LONGEST_S = 600.0
#: Where a store keeps no conditions: longer than a small write takes to be seen by another.
_SETTLE_S = 1.0


@contextlib.contextmanager
def writer_lock(
    store: Store,
    *,
    take_over: bool = False,
    note: Callable[[str], None] = lambda text: None,
    check: Callable[[], None] = lambda: None,
) -> Iterator[None]:
    """Hold the right to write a dump.

    On local disks the kernel releases the lock when its holder dies. In an object store the lock is a lease.

    Args:
        store: of the dump; has its ``claim`` while the block runs.
        take_over: take a lease without watching it first.
        note: hears what the user should know.
        check: raises where the user wants to stop; asked while a lease is watched.

    Raises:
        Locked: another process writes this dump.
    """
    if isinstance(store, LocalStore):
        with _local(store):
            yield
        return
    assert isinstance(store, RemoteStore)
    lease = _acquire(store, take_over, note, check)
    store.claim = lease
    lease.keep()
    try:
        yield
    finally:
        store.claim = None
        lease.release(note)


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
    path = os.path.join(str(store.local_path), *LOCK.split("/"))
    with folder_lock(path, store.url):
        yield


class Lease:
    """A lock object of this run, renewed by a thread of its own until it is released.

    Attributes:
        token, term: as in ``files.Claim``.
    """

    def __init__(self, store: RemoteStore, term: int, lease_s: float) -> None:
        self.token, self.term = uuid.uuid4().hex, term
        self._store, self._lease_s = store, lease_s
        self._beat = 0
        self._version: str | None = None
        self._until = 0.0
        self._lost = False
        self._turn = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._renew_always, name="lease", daemon=True)

    def take(self, seen: str | None) -> None:
        """Write the lock object in place of the version ``seen``; raises ``Locked`` when another was faster."""
        began = _now()
        try:
            self._store.put_seen(LOCK, self._data(), seen)
        except VecportError as e:
            # One that was written and answered with an error, or written twice by a client that tries again.
            if _holder(self._store).get("token") == self.token:
                pass
            elif isinstance(e, AlreadyExists):
                raise _locked(self._store, _holder(self._store)) from e
            else:
                raise
        self._version, self._until = self._store.version(LOCK), began + self._lease_s * _TRUST

    def keep(self) -> None:
        """Renew it from now on."""
        self._thread.start()

    def check(self) -> None:
        """Raise ``Locked`` when the lease has passed to another; one that has expired is renewed if nobody took it."""
        with self._turn:
            if self._lost:
                raise self._gone()
            if _now() >= self._until:
                self._renew()

    def confirm(self) -> None:
        """Raise ``Locked`` unless the store itself says that the lease is this run's now."""
        with self._turn:
            if self._lost:
                raise self._gone()
            self._renew()

    def release(self, note: Callable[[str], None]) -> None:
        """Let go. The lock of a finished dump is removed; that of an unfinished one says so, and keeps its term."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()
        if self._lost:
            return
        try:
            unfinished = self._store.exists(f"{WORK}/export.json")
            if _holder(self._store).get("token") == self.token and (unfinished or not self._store.dispensed(LOCK)):
                self._store.put_seen(LOCK, self._data(released=True), self._version)
        except VecportError as e:
            note(
                f"{self._store.url}/{LOCK} is left over: {e.what}; another run takes it when it has watched it for"
                f" {self._lease_s:.0f} s"
            )

    def _renew_always(self) -> None:
        while not self._ended.wait(self._lease_s / 3):
            with contextlib.suppress(VecportError), self._turn:
                if self._lost:
                    return
                self._renew()

    def _renew(self) -> None:
        began, valid = _now(), self._until
        self._beat += 1
        try:
            self._store.put_seen(LOCK, self._data(), self._version)
            if not self._store.keeps_conditions and _now() >= valid:
                # It was looked at before, and another may have taken it between that and the write.
                self._lost = True
                self._store.withdraw(LOCK, hashlib.sha256(self._data()).hexdigest())
                raise self._gone()
        except AlreadyExists:
            if _holder(self._store).get("token") != self.token:
                self._lost = True
                raise self._gone() from None
            # An older renewal that was answered with an error has arrived.
            self._store.put_seen(LOCK, self._data(), self._store.version(LOCK))
        self._version = self._store.version(LOCK)
        self._until = began + self._lease_s * _TRUST

    def _gone(self) -> Locked:
        return Locked(
            f"{self._store.url}: another run has taken over its lock", "this run did not renew it in time",
            "this run has published nothing", "let the other run finish, or run the same command again",
        )  # fmt: skip

    def _data(self, released: bool = False) -> bytes:
        about = {"host": socket.gethostname(), "pid": os.getpid(), "lease_s": self._lease_s}
        return json.dumps(
            {"token": self.token, "term": self.term, "beat": self._beat, "released": released, **about}
        ).encode()


class Witness:
    """The claim of a worker: what its coordinator holds, as the store says.

    Attributes:
        token, term: as in ``files.Claim``.
    """

    def __init__(self, store: Store, token: str, term: int) -> None:
        self.token, self.term = token, term
        self._store = store

    def check(self) -> None:
        """Raise ``Locked`` when the lock is not the coordinator's."""
        found = _holder(self._store)
        if found.get("token") != self.token or found.get("released"):
            raise Locked(
                f"{self._store.url}: another run has taken over its lock", "this run did not renew it in time",
                "this run has published nothing", "let the other run finish, or run the same command again",
            )  # fmt: skip


def _acquire(store: RemoteStore, take_over: bool, note: Callable[[str], None], check: Callable[[], None]) -> Lease:
    while True:
        version, found = store.version(LOCK), _holder(store)
        known = isinstance(found.get("term"), int)
        term = int(found["term"]) if known else 0
        if version is not None and not found.get("released"):
            if not take_over and not _abandoned(store, version, found, note, check):
                continue
            term += 1
        lease = Lease(store, term, LEASE_S)
        lease.take(version)
        store.keeps_conditions = store.refuses(LOCK)
        if not store.keeps_conditions:
            note(f"{store.url}: this store does not keep conditions of writes (If-None-Match): see to it that no other"
                 " run writes there")  # fmt: skip
            time.sleep(min(_SETTLE_S, LEASE_S / 4))
            if _holder(store).get("token") != lease.token:
                raise _locked(store, _holder(store))
            lease.confirm()
        return lease


def _abandoned(
    store: RemoteStore, version: str, found: dict[str, Any], note: Callable[[str], None], check: Callable[[], None]
) -> bool:
    """Watch a lock that another run holds: True when it stays as it is for its time, False when it was let go.

    Raises:
        Locked: its holder is alive.
    """
    stated = found.get("lease_s")
    lease_s = min(float(stated), _LONGEST_S) if isinstance(stated, int | float) and stated > 0 else LEASE_S
    note(f"{store.url}: {_who(found)} holds its lock: it is watched for {lease_s:.0f} s, and taken if nobody renews it")
    until = _now() + lease_s
    while _now() < until:
        check()
        time.sleep(min(0.5, lease_s / 10))
        if store.version(LOCK) != version:
            now = _holder(store)
            if not now or now.get("released"):
                return False
            raise _locked(store, now)
    return True


def _who(found: dict[str, Any]) -> str:
    return f"process {found.get('pid')} on {found.get('host')}" if found else "a run that does not say its name"


def _locked(store: Store, found: dict[str, Any]) -> Locked:
    return Locked(
        f"{store.url}: {_who(found)} holds its lock and is at work", safe="nothing was changed",
        next="wait for it, or stop it; then run the same command again",
    )  # fmt: skip


def _holder(store: Store) -> dict[str, Any]:
    """What the lock object says; empty when there is none, or one that is not to be understood."""
    try:
        data = json.loads(store.glance(LOCK, 4096))
    except (NotFound, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def _now() -> float:
    """Seconds of a clock that nobody sets and that runs while the machine sleeps."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)
