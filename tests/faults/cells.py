"""One cell of a table: the command line, through a proxy with a fault, in a process of its own, within a time."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.faults import wires
from tests.faults.wires import Faults
from vecport.errors import EXIT_CODES

#: Exit codes that a fault from outside may end with; 1 is none of them.
TYPED = frozenset(EXIT_CODES) - {0, 1, 2, 3, 4, 130, 143}
#: Control and escape characters that no message may hold.
OBEYED = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
LONGEST_MESSAGE = 20_000


@dataclass(frozen=True)
class Ended:
    """How a command ended; ``code`` is None where it hung."""

    code: int | None
    out: str
    err: str
    seconds: float

    @property
    def fault(self) -> str:
        """What no command may do, in words; empty where it did none of it."""
        if self.code is None:
            return "hangs"
        if self.code == 1 or "Traceback" in self.err:
            return "ends unexpectedly"
        if OBEYED.search(self.err) or len(self.err) > LONGEST_MESSAGE:
            return "shows what somebody else wrote as it is"
        return ""


def run(
    program: Path, arguments: Sequence[str], folder: Path, most_s: float, timeout_s: float,
    more: Mapping[str, str] | None = None,
) -> Ended:  # fmt: skip
    """Run the command line; a process that takes longer than ``most_s`` is killed.

    Args:
        program: ``vecport``.
        arguments: of the command line.
        folder: where it runs, and keeps its state.
        most_s: seconds after which it counts as hanging.
        timeout_s: the idle time-out.
        more: further variables.
    """
    environment = {
        **os.environ, "VECPORT_TIMEOUT": str(timeout_s), "VECPORT_STATE_DIR": str(folder / "state"), **(more or {}),
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    process = subprocess.Popen(
        [program, *arguments], cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip
    try:
        out, err = process.communicate(timeout=most_s)
        code: int | None = process.returncode
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        code = None
    return Ended(code, out.decode(errors="replace"), err.decode(errors="replace"), time.monotonic() - began)


@contextmanager
def through(address: str, layer: str, faults: Faults) -> Iterator[tuple[str, list[str]]]:
    """An address with a fault before it, and the options of a connector that lead there.

    Args:
        address: of an engine on loopback.
        layer: ``tcp``, ``http`` or ``grpc``.
        faults: what happens.
    """
    scheme, _, rest = address.partition("://")
    host, _, tail = rest.partition("/")
    user, at, place = host.rpartition("@")
    port = int(place.rpartition(":")[2])
    if scheme == "qdrant":
        proxy = wires.tcp if layer == "tcp" else wires.grpc_server
        with proxy(port + 1, faults) as mine:
            yield address, [f"grpc-port={mine}"]
        return
    with (wires.tcp if layer == "tcp" else wires.http_server)(port, faults) as mine:
        yield f"{scheme}://{user}{at}127.0.0.1:{mine}" + (f"/{tail}" if tail else ""), []
