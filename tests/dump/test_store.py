"""Stores: writes are whole or absent, names are safe, and what goes wrong has a type. Local disk, memory, and S3."""

from __future__ import annotations

import errno
import hashlib
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pytest

from tests.dump.small import manifest_of, records, small_dump, write_shards
from vecport.dump import lock
from vecport.dump import store as stores
from vecport.dump.dump import open_dump, publish, unpublish
from vecport.dump.lock import writer_lock
from vecport.dump.shard import ShardWriter
from vecport.dump.store import LocalStore, RemoteStore, Store, open_store
from vecport.errors import (
    AlreadyExists,
    AuthenticationFailed,
    IntegrityError,
    Locked,
    NotFound,
    OutcomeUnknown,
    OutOfResources,
    Unavailable,
    UsageError,
    VecportError,
)
from vecport.operations.export import export
from vecport.operations.import_ import import_
from vecport.operations.validate import validate
from vecport.testing.records import batch_of

from . import small

#: One server and one bucket for all of them.
pytestmark = pytest.mark.xdist_group("store")

UNSAFE = [
    "", ".", "..", "../x", "a/../b", "a/..", "/etc/passwd", "a//b", "a/", "/", "a\\b", "C:\\x", "C:/x", "a\0b", "a\n",
    "a b", "a*", "a?", "[a]", "{a}", "~", "~/x", "file:///x", "s3://b/x", "simplecache::x", "%2e%2e/x", "é", "a;b",
    "$HOME", "\u2025", "data/\uff0e\uff0e/x", "-\u00ad",
]  # fmt: skip


# ---- S3 on loopback


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """The URL of an empty bucket of a local S3 server."""
    server_module = pytest.importorskip("moto.server")
    s3fs = pytest.importorskip("s3fs")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    patch = pytest.MonkeyPatch()
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "NO_PROXY": "127.0.0.1",
    }.items():  # fmt: skip
        patch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    s3fs.S3FileSystem().mkdir("vecport-test")
    yield "s3://vecport-test"
    s3fs.S3FileSystem.clear_instance_cache()
    patch.undo()
    server.stop()


@pytest.fixture(params=["local", "memory", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """An empty, prepared store of every kind."""
    name = hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:16]
    if request.param == "s3":
        made = open_store(f"{request.getfixturevalue('bucket')}/{name}/dump")
    else:
        made = open_store(tmp_path / "dump" if request.param == "local" else f"memory://{name}/dump")
    made.prepare()
    return made


def test_a_file_is_whole_when_it_is_there(store: Store) -> None:
    upload = store.upload("data/x.bin")
    for part in (b"one", memoryview(b"two"), bytearray(b"three"), b""):
        assert upload.write(part) == len(part)
    upload.begin_tail()
    upload.write(b"end")
    upload.commit()
    upload.abort()
    assert store.read("data/x.bin", 100) == b"onetwothreeend"
    assert (upload.size_bytes, upload.tail_bytes) == (14, 3)
    assert upload.sha256 == store.sha256("data/x.bin") == hashlib.sha256(b"onetwothreeend").hexdigest()
    assert upload.tail_sha256 == hashlib.sha256(b"end").hexdigest()
    assert store.tail("data/x.bin", 3) == b"end"
    assert (store.size("data/x.bin"), store.exists("data/x.bin"), store.list()) == (14, True, ["data/x.bin"])


def test_an_aborted_file_leaves_nothing(store: Store) -> None:
    store.put("data/kept.bin", b"kept")
    upload = store.upload("data/x.bin")
    upload.write(b"half")
    assert "data/x.bin" not in store.list() or store.url.startswith("memory:")
    upload.abort()
    upload.abort()
    assert store.list() == ["data/kept.bin"]
    assert store.size("data/x.bin") is None


def test_a_name_is_given_once(store: Store) -> None:
    store.put_new("manifest.json", b"first")
    with pytest.raises(AlreadyExists, match=r"manifest\.json"):
        store.put_new("manifest.json", b"second")
    assert store.read("manifest.json", 100) == b"first"
    assert store.list() == ["manifest.json"]
    store.put("manifest.json", b"third")
    assert store.read("manifest.json", 100) == b"third"


def test_what_is_not_there(store: Store) -> None:
    for call in (store.open, store.sha256, lambda p: store.read(p, 1), lambda p: store.tail(p, 1)):
        with pytest.raises(NotFound, match=r"x\.bin"):
            call("data/x.bin")
    assert (store.size("data/x.bin"), store.list("data"), store.exists("data")) == (None, [], False)
    store.delete("data/x.bin")
    store.delete_tree("data")


def test_a_file_that_is_too_large_is_not_read_whole(store: Store) -> None:
    store.put("x", b"12345")
    assert store.read("x", 5) == b"12345"
    with pytest.raises(IntegrityError, match="larger than 4 bytes"):
        store.read("x", 4)


def test_listing_and_deleting(store: Store) -> None:
    for path in ("a", "data/b", "data/deep/c", "data2/d", ".vecport/e"):
        store.put(path, path.encode())
    assert store.list() == sorted([".vecport/e", "a", "data/b", "data/deep/c", "data2/d"])
    assert store.list("data") == ["data/b", "data/deep/c"]
    store.delete_tree("data")
    assert store.list() == [".vecport/e", "a", "data2/d"]
    store.delete("a")
    assert store.list() == [".vecport/e", "data2/d"]


@pytest.mark.parametrize("path", UNSAFE, ids=ascii)
def test_unsafe_names_are_refused(path: str, tmp_path: Path) -> None:
    for made in (LocalStore(str(tmp_path)), RemoteStore("memory://unsafe")):
        for call in (made.open, made.size, made.delete, made.upload, made.delete_tree, made.sha256,
                     lambda p, made=made: made.put_new(p, b""), lambda p, made=made: made.put(p, b"")):  # type: ignore[misc]  # fmt: skip
            with pytest.raises(IntegrityError):
                call(path)
        assert made.list() == []


def test_addresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert open_store(f"file://{tmp_path}").local_path == str(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert open_store("~/d").local_path == str(tmp_path / "d")
    with pytest.raises(UsageError, match="chained"):
        open_store("simplecache::s3://b/x")
    with pytest.raises(UsageError, match="not a known protocol"):
        open_store("nosuch://b/x")


# ---- local disk


def test_a_symbolic_link_is_no_file_of_a_dump(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    dump = LocalStore(str(tmp_path / "dump"))
    dump.prepare()
    (tmp_path / "dump" / "x").symlink_to(tmp_path / "secret")
    (tmp_path / "dump" / "data").symlink_to(tmp_path)
    for path in ("x", "data/secret"):
        assert dump.size(path) is None
        for call in (dump.open, dump.sha256):
            with pytest.raises(IntegrityError, match="symbolic link"):
                call(path)
    assert dump.list() == ["data", "x"], "a link is seen, and not followed"


def test_a_store_behind_a_link_is_the_users_choice(tmp_path: Path) -> None:
    small_dump(tmp_path / "real")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert validate(tmp_path / "link", level="deep").valid


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(AlreadyExists, match="is a file"):
        LocalStore(str(tmp_path / "file")).prepare()
    with pytest.raises(VecportError):
        LocalStore(str(tmp_path / "file" / "below")).prepare()
    with pytest.raises(VecportError):
        LocalStore(str(tmp_path / "file" / "below")).put("x", b"")


REAL_OPEN: Any = open


class Disk:
    """Makes calls of the operating system fail: the ``n``-th of a kind, with an error number."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._patch = patch
        self.calls = 0

    def fail(self, call: str, code: int, nth: int = 1) -> None:
        self.calls = 0

        def failing(real: Callable[..., Any]) -> Callable[..., Any]:
            def run(*args: Any, **kwargs: Any) -> Any:
                self.calls += 1
                if self.calls == nth:
                    raise OSError(code, os.strerror(code))
                return real(*args, **kwargs)

            return run

        if call == "write":
            self._patch.setattr(stores, "open", lambda *a, **k: _Writing(REAL_OPEN(*a, **k), failing), raising=False)
        else:
            self._patch.setattr(stores.os, call, failing(getattr(os, call)))


class _Writing:
    """A file whose ``write`` is another one."""

    def __init__(self, file: IO[bytes], wrap: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
        self._file = file
        self.write = wrap(file.write)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


TYPES = {
    errno.ENOSPC: OutOfResources, errno.EDQUOT: OutOfResources, errno.EIO: Unavailable,
    errno.EROFS: AuthenticationFailed,
}  # fmt: skip


@pytest.mark.parametrize("code", TYPES, ids=errno.errorcode.get)
@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
def test_a_failing_disk_publishes_nothing(
    call: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = LocalStore(str(tmp_path / "dump"))
    local.put("data/old", b"old")
    with monkeypatch.context() as patch:
        Disk(patch).fail(call, code)
        with pytest.raises(TYPES[code]) as caught:
            local.put("data/new", b"new")
    assert "new" in str(caught.value)
    assert local.list() == ["data/old"]
    local.put("data/new", b"new")
    assert local.read("data/new", 10) == b"new"


@pytest.mark.parametrize("code", TYPES, ids=errno.errorcode.get)
@pytest.mark.parametrize("call", ["write", "fsync", "link"])
def test_a_failing_disk_gives_no_name(call: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    local = LocalStore(str(tmp_path / "dump"))
    local.prepare()
    with monkeypatch.context() as patch:
        Disk(patch).fail(call, code)
        with pytest.raises(TYPES[code]):
            local.put_new("manifest.json", b"{}")
    assert local.list() == []


@pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP])
def test_a_file_system_without_links(code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*_: Any) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(stores.os, "link", link)
    local = LocalStore(str(tmp_path / "dump"))
    local.put_new("manifest.json", b"first")
    with pytest.raises(AlreadyExists):
        local.put_new("manifest.json", b"second")
    assert local.list() == ["manifest.json"]
    assert local.read("manifest.json", 10) == b"first"


def test_a_disk_that_writes_less_than_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    local = LocalStore(str(tmp_path / "dump"))

    class Short(_Writing):
        def __init__(self, file: IO[bytes], wrap: Any) -> None:
            super().__init__(file, wrap)
            self.write = lambda data: len(data) if len(data) < 3 else file.write(data[:1])

    monkeypatch.setattr(stores, "open", lambda *a, **k: Short(REAL_OPEN(*a, **k), lambda f: f), raising=False)
    with pytest.raises(Unavailable, match="2 bytes arrived of 4"):
        local.put("x", b"1234")
    assert local.list() == []


def test_a_read_that_fails_is_no_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_dump(tmp_path / "dump")
    dump = open_dump(tmp_path / "dump")

    class Failing:
        def __init__(self, file: IO[bytes]) -> None:
            self._file = file

        def __enter__(self) -> Failing:
            return self

        def __exit__(self, *_: object) -> None:
            self._file.close()

        def read(self, *_: Any) -> bytes:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        readinto = read

        def __getattr__(self, name: str) -> Any:
            return getattr(self._file, name)

    real = dump.store.open
    monkeypatch.setattr(dump.store, "open", lambda path: Failing(real(path)))
    reader = dump.shard(dump.manifest.shards[0])
    for call in (reader.check_all, reader.check_footer, reader.check_schema, lambda: next(reader.groups())):
        with pytest.raises(Unavailable, match="part-00000"):
            call()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_every_failing_call_of_a_publication(code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards and a manifest are written with one failing call after another, until none fails."""
    counts: dict[str, int] = {}
    for call in ("write", "fsync", "replace", "link", "mkdir", "fstat"):
        for nth in range(1, 100):
            folder = tmp_path / f"{call}-{nth}"
            with monkeypatch.context() as patch:
                disk = Disk(patch)
                disk.fail(call, code, nth)
                error = _write_all(folder)
            if error is None:
                assert disk.calls < nth, "the call was never made, so all of them have failed once"
                break
            assert isinstance(error, VecportError), (call, nth, error)
            counts[call] = nth
            if (folder / "manifest.json").exists():
                # Its name was given and may not be durable: nobody can say whether it is published.
                assert isinstance(error, OutcomeUnknown)
                assert validate(folder, level="deep").valid
            else:
                assert isinstance(error, OutOfResources if code == errno.ENOSPC else Unavailable)
            assert not list(folder.glob("**/.tmp-*"))
        else:
            pytest.fail(f"{call} was made more often than expected")
    assert set(counts) == {"write", "fsync", "replace", "link", "mkdir", "fstat"}
    print(f"\nfailing calls, {errno.errorcode[code]}: {counts}")


def _write_all(folder: Path) -> BaseException | None:
    try:
        small_dump(folder, shards=1, rows=4)
    except Exception as e:
        return e
    return None


# ---- publishing


def test_publishing_the_same_manifest_again_is_no_error(store: Store) -> None:
    manifest = manifest_of(write_shards(store, 2))
    assert publish(store, manifest) == publish(store, manifest) == manifest
    other = manifest_of(write_shards(store, 3))
    with pytest.raises(AlreadyExists):
        publish(store, other)
    assert open_dump(store.url).manifest == manifest


def test_a_manifest_that_no_reader_takes_is_not_published(store: Store) -> None:
    entries = write_shards(store, 2)
    with pytest.raises(IntegrityError):
        publish(store, manifest_of(entries[::-1]))
    assert not store.exists("manifest.json")


def test_unpublishing_leaves_nothing(store: Store) -> None:
    publish(store, manifest_of(write_shards(store)))
    store.put(".vecport/export.json", b"{}")
    unpublish(store)
    assert store.list() == []
    with pytest.raises(NotFound, match=r"not a dump|does not exist"):
        open_dump(store.url)


def test_one_writer(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "LEASE_S", 1.0)
    with writer_lock(store), pytest.raises(Locked), writer_lock(store):
        pass
    with writer_lock(store):
        pass


def test_a_dump_in_every_store(store: Store) -> None:
    manifest = publish(store, manifest_of(write_shards(store)))
    assert validate(store.url, level="deep").valid
    dump = open_dump(store.url)
    assert [k for b in dump.keys(["id"]) for k in b.column("id").to_pylist()] == [r.id for r in records(0, 60)]
    store.delete(manifest.shards[1].path)
    found = [c["message"] for c in validate(store.url).checks if not c["passed"]]
    assert len(found) == 1
    assert manifest.shards[1].path in found[0]


def test_an_abandoned_shard_leaves_nothing(store: Store) -> None:
    writer = ShardWriter(store, 0, 0, small.COLLECTION)
    writer.write(batch_of(records(0, 5), small.COLLECTION))
    writer.abort()
    assert store.list() == []


# ---- S3 alone


def test_s3_a_large_file_in_parts(bucket: str) -> None:
    boto3 = pytest.importorskip("boto3")
    client = boto3.client("s3")
    s3 = open_store(f"{bucket}/parts")
    assert isinstance(s3, RemoteStore)
    s3._fs.default_block_size = 5 << 20
    part = os.urandom(1 << 20) * 6
    aborted = s3.upload("data/aborted.bin")
    upload = s3.upload("data/x.bin")
    for _ in range(2):
        upload.write(part)
        aborted.write(part)
    aborted.abort()
    upload.write(part)
    assert s3.list() == []
    upload.commit()
    assert s3.list() == ["data/x.bin"]
    assert (s3.size("data/x.bin"), s3.sha256("data/x.bin")) == (18 << 20, upload.sha256)
    assert client.list_multipart_uploads(Bucket="vecport-test").get("Uploads") in (None, [])


def test_s3_a_mistyped_bucket_is_not_created(bucket: str) -> None:
    s3fs = pytest.importorskip("s3fs")
    with pytest.raises(NotFound, match="no bucket 'vecport-tset'"):
        open_store("s3://vecport-tset/dump").prepare()
    assert "vecport-tset" not in s3fs.S3FileSystem().ls("")


def test_s3_export_and_import(bucket: str, tmp_path: Path) -> None:
    """A whole round: local dump, database, S3, database, with one identity."""
    identity = str(small_dump(tmp_path / "dump").identity)
    import_(str(tmp_path / "dump"), "memory:s3-a", collection="c")
    url = f"{bucket}/round/trip"
    first = export("memory:s3-a", url, collection="c", shard_rows=7)
    assert (str(first.identity), first.rows) == (identity, 60)
    assert validate(url, level="deep").valid
    assert [p for p in open_store(url).list() if not p.startswith("data/")] == ["README.md", "manifest.json"]
    with pytest.raises(AlreadyExists):
        export("memory:s3-a", url, collection="c")
    import_(url, "memory:s3-b", collection="c")
    second = export("memory:s3-b", str(tmp_path / "again"), collection="c", shard_rows=7)
    assert str(second.identity) == identity
    for entry in open_dump(url).manifest.shards:
        assert (tmp_path / "again" / entry.path).read_bytes() == open_store(url).read(entry.path, 1 << 20)
