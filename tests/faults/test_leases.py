"""Writers at once in an object store, one of them stopped for longer than its lease: at most one publishes.

The first is stopped before one of its requests that change something, every one in turn; the second runs from its
begin to its end; then the first goes on.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults import killer
from vecport.dump import lock
from vecport.dump.store import open_store
from vecport.operations.validate import validate

pytestmark = pytest.mark.xdist_group("leases")

#: Of a lease in these tests.
LEASE_S = 1.0
CHANGES = ("PutObject", "CompleteMultipartUpload", "DeleteObject")


@pytest.fixture(scope="module", params=["simulator", "gateway"])
def bucket(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """A kind of store, and the URL of a bucket of it: a simulator that keeps conditions, a gateway that knows none."""
    s3fs = pytest.importorskip("s3fs")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    key, secret = "TESTACCESSKEY0000001", "t" * 40
    if request.param == "simulator":
        server = pytest.importorskip("moto.server").ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
        server.start()
        stop = server.stop
    else:
        program = os.environ.get("VECPORT_TEST_RCLONE") or shutil.which("rclone")
        if program is None:
            pytest.skip("no rclone here: VECPORT_TEST_RCLONE names one that can serve s3")
        folder = tmp_path_factory.mktemp("gateway")
        arguments = ["serve", "s3", "--addr", f"127.0.0.1:{port}", "--auth-key", f"{key},{secret}", str(folder)]
        process = subprocess.Popen([program, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        stop = process.terminate
    patch = pytest.MonkeyPatch()
    for name, value in {
        "AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret, "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "NO_PROXY": "127.0.0.1",
        "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required", "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
    }.items():  # fmt: skip
        patch.setenv(name, value)
    patch.setattr(lock, "LEASE_S", LEASE_S)
    s3fs.S3FileSystem.clear_instance_cache()
    _answers(port)
    s3fs.S3FileSystem().mkdir("leases")
    yield request.param, "s3://leases"
    s3fs.S3FileSystem.clear_instance_cache()
    patch.undo()
    stop()


def _answers(port: int) -> None:
    until = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            assert time.monotonic() < until, "the store does not answer"
            time.sleep(0.05)


def write_rows(path: Path, first: int, rows: int = 30) -> None:
    path.write_text("".join(json.dumps({"id": f"r{i}", "vector": [1.0, float(i)]}) + "\n" for i in range(first, rows)))


class Writer:
    """An export in a process of its own."""

    def __init__(self, environment: dict[str, str], log: Path, arguments: dict[str, Any], stop_at: int = 0) -> None:
        self.log = log
        log.unlink(missing_ok=True)
        self._child = killer._context.Process(target=_write, args=(environment, str(log), arguments, stop_at))
        self._child.start()

    def stopped(self) -> bool:
        """Wait until it is stopped or has ended."""
        while self._child.is_alive():
            assert self._child.pid is not None
            if Path(f"/proc/{self._child.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T":
                return True
            time.sleep(0.02)
        return False

    def ends(self) -> dict[str, Any]:
        """Let it go on, and return what it ended with."""
        if self._child.is_alive():
            assert self._child.pid is not None
            os.kill(self._child.pid, signal.SIGCONT)
        self._child.join(60)
        if self._child.is_alive():
            self._child.kill()
            raise AssertionError("the writer hangs")
        return dict(json.loads(self.log.read_text()))


def _write(environment: dict[str, str], log: str, arguments: dict[str, Any], stop_at: int) -> None:
    os.environ.update(environment)
    from aiobotocore.client import AioBaseClient  # type: ignore[import-untyped]

    from vecport.errors import VecportError
    from vecport.operations.export import export

    lock.LEASE_S = LEASE_S
    count, real = [0], AioBaseClient._make_api_call

    async def call(self: Any, operation: str, parameters: Any) -> Any:
        if operation in CHANGES:
            count[0] += 1
            if count[0] == stop_at:
                os.kill(os.getpid(), signal.SIGSTOP)
        return await real(self, operation, parameters)

    AioBaseClient._make_api_call = call
    try:
        result = export(**arguments)
        found = result.found is not None or "an earlier run had finished this dump" in result.notes
        told: dict[str, Any] = {"end": "found finished" if found else "published"}
    except VecportError as e:
        told = {"end": type(e).__name__, "text": str(e)}
    except BaseException as e:
        told = {"end": "unexpected", "text": repr(e)}
    Path(log).write_text(json.dumps(told))
    os._exit(0)


@pytest.mark.parametrize("stride", [6, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("source", ["the same", "changed meanwhile"])
def test_a_writer_that_is_stopped_longer_than_its_lease(
    source: str, stride: int, bucket: tuple[str, str], tmp_path: Path, shown: Callable[[str], None]
) -> None:
    kind, url = bucket
    environment = {k: v for k, v in os.environ.items() if k.startswith(("AWS_", "NO_PROXY", "VECPORT_"))}
    ends: Counter[str] = Counter()
    rows = tmp_path / "rows.jsonl"
    for at in range(1 + stride // 2, 200, stride):
        write_rows(rows, 0)
        dump = f"{url}/{source.replace(' ', '-')}-{stride}-{at}"
        arguments = {"source": f"jsonl:{rows}", "dump": dump, "shard_rows": 10, "workers": 1}
        first = Writer(environment, tmp_path / "first", arguments, at)
        if not first.stopped():
            ended = first.ends()
            assert ended["end"] == "published", (at, ended)
            break
        if source != "the same":
            write_rows(rows, 5)
        second = Writer(environment, tmp_path / "second", arguments)
        last, before = second.ends(), None
        if open_store(dump).exists("manifest.json"):
            before = open_store(dump).read("manifest.json", 1 << 20)
        told = first.ends()
        ends[f"{told['end']} / {last['end']}"] += 1
        published = [e["end"] for e in (told, last)].count("published")
        assert "unexpected" not in (told["end"], last["end"]), (at, told, last)
        assert published <= 1, (at, told, last)
        if before is not None and last["end"] == "published":
            assert open_store(dump).read("manifest.json", 1 << 20) == before, at
        if open_store(dump).exists("manifest.json"):
            found = validate(dump, level="full")
            assert found.valid, (at, told, last, [c["message"] for c in found.checks if not c["passed"]])
    shown(f"two writers on the {kind}, source {source}, first / second: {dict(ends)}")
    assert sum(ends.values()) >= 3
