"""Run the server: `python -m vecport.testing.engines.qdrant --folder FOLDER --port PORT`."""

from __future__ import annotations

import argparse
import importlib.util
import os
import signal
import sys
import threading
from pathlib import Path

from . import API_KEY_VARIABLE, READ_ONLY_KEY_VARIABLE

STOP_SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT})


def main() -> None:
    """Parse the command line and serve until a signal, or until standard input ends."""
    parser = argparse.ArgumentParser(
        prog="python -m vecport.testing.engines.qdrant",
        description="The Qdrant engine behind its gRPC API, on loopback, for tests and demonstrations.",
        epilog=f"Keys come from {API_KEY_VARIABLE} and {READ_ONLY_KEY_VARIABLE}.",
    )
    parser.add_argument("--folder", type=Path, required=True, help="where the collections live")
    parser.add_argument("--port", type=int, default=6333, help="HTTP port; gRPC gets the next one")
    parser.add_argument(
        "--leave-with-parent", action="store_true", help="end when standard input ends, as its parent did"
    )
    options = parser.parse_args()
    # Blocked before any thread starts, so that the wait below gets them and no handler runs.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    if options.leave_with_parent:
        threading.Thread(target=_watch_input, daemon=True).start()

    _skip_client()
    from .server import serve

    serve(options.folder, options.port, until=lambda: signal.sigwait(STOP_SIGNALS))


def _skip_client() -> None:
    """Let `qdrant_client.grpc` be imported without the client around it, which takes seconds."""
    spec = importlib.util.find_spec("qdrant_client")
    if spec is not None:
        sys.modules["qdrant_client"] = importlib.util.module_from_spec(spec)


def _watch_input() -> None:
    """Stop the server when standard input ends."""
    # Not `sys.stdin`: a thread that waits in it breaks the interpreter's shutdown.
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
