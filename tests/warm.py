"""A ``vecport`` that starts at once: a process with every client loaded, which forks for each command.

Loading Chroma's client takes a processor two seconds, and the pages have scores of commands. What a command does is
what the console script does; ``tests/cli`` runs the console script itself.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

#: Loaded once. Nothing here starts a thread that a forked process would miss.
MODULES = (
    "adbc_driver_postgresql.dbapi", "chromadb", "click", "duckdb", "fsspec", "httpx", "numpy", "orjson", "psycopg",
    "pyarrow.parquet", "qdrant_client.grpc", "rich.live", "rich.table", "s3fs", "vecport.cli.app", "vecport.cli.render",
    "vecport.cli.render_facts", "vecport.connectors.chroma", "vecport.connectors.jsonl", "vecport.connectors.postgres",
    "vecport.connectors.qdrant", "vecport.operations.copy", "vecport.operations.diff",
)  # fmt: skip
_CLIENT = """#!{python} -IS
import json, os, socket, struct, sys
with socket.socket(socket.AF_UNIX) as s:
    s.connect({address!r})
    said = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
    socket.send_fds(s, [struct.pack("!I", len(said))], [0, 1, 2])
    s.sendall(said)
    code = s.recv(4)
sys.exit(struct.unpack("!i", code)[0] if len(code) == 4 else 99)
"""


@contextlib.contextmanager
def warm_vecport(folder: Path) -> Iterator[Path]:
    """Start the process; yields a folder with a program ``vecport`` for the ``PATH``."""
    programs = folder / "bin"
    programs.mkdir()
    address = str(folder / "socket")
    client = programs / "vecport"
    client.write_text(_CLIENT.format(python=sys.executable, address=address))
    client.chmod(0o755)
    process = subprocess.Popen([sys.executable, __file__, address], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        assert process.stdout.readline() == b"ready\n"
        yield programs
    finally:
        process.stdin.close()
        process.wait(10)
        process.stdout.close()


def _serve(address: str) -> None:
    for name in MODULES:
        importlib.import_module(name)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        # Ends with the process that started it.
        threading.Thread(target=lambda: (os.read(0, 1), os._exit(0)), daemon=True).start()
        while True:
            connection, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                _answer(connection)
            connection.close()
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass


def _answer(connection: socket.socket) -> None:
    """In the forked process: run one command in another one, so that its end is seen whatever it is."""
    head, streams, _, _ = socket.recv_fds(connection, 4, 3)
    size = struct.unpack("!I", head)[0]
    said = b""
    while len(said) < size:
        said += connection.recv(size - len(said))
    child = os.fork()
    if child == 0:
        arguments, folder, environment = json.loads(said)
        _run(arguments, folder, environment, streams)
    _, status = os.waitpid(child, 0)
    connection.sendall(struct.pack("!i", os.waitstatus_to_exitcode(status)))
    os._exit(0)


def _run(arguments: list[str], folder: str, environment: Mapping[str, str], streams: list[int]) -> None:
    code = 98
    try:
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        sys.argv = ["vecport", *arguments]
        from vecport.cli.app import run

        code = run(arguments)
        sys.stdout.flush()
        sys.stderr.flush()
    except SystemExit as e:
        code = e.code if isinstance(e.code, int) else 1
    finally:
        os._exit(code)


if __name__ == "__main__":
    _serve(sys.argv[1])
