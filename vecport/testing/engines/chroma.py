"""A real Chroma server, as `chroma run` starts it."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any, ClassVar

from .base import LOOPBACK, Engine, EngineError, answers_http

# What the console script `chroma` does after importing the whole client, which takes seconds.
# The thread ends the server when its standard input ends, so that it never outlives a killed parent.
_BOOTSTRAP = """
import os, sys, threading
import chromadb_rust_bindings
threading.Thread(target=lambda: (os.read(0, 1), os._exit(0)), daemon=True).start()
chromadb_rust_bindings.cli(["chroma", *sys.argv[1:]])
"""


class ChromaEngine(Engine):
    """Chroma in a child process: `chroma run --path FOLDER`.

    >>> with ChromaEngine() as engine:                  # doctest: +SKIP
    ...     client = chromadb.HttpClient("127.0.0.1", engine.port)
    """

    name: ClassVar[str] = "chroma"

    @property
    def address(self) -> str:
        return f"chroma://{LOOPBACK}:{self.port}"

    def _prepare(self) -> None:
        if importlib.util.find_spec("chromadb_rust_bindings") is None:
            raise EngineError("the Chroma engine needs the package chromadb: pip install chromadb")
        self.folder.mkdir(parents=True, exist_ok=True)

    def _command(self) -> list[str]:
        where = ["--path", str(self.folder), "--host", LOOPBACK, "--port", str(self.port)]
        return [sys.executable, "-P", "-c", _BOOTSTRAP, "run", *where]

    def _environment(self) -> Mapping[str, str]:
        return {**os.environ, "ANONYMIZED_TELEMETRY": "False"}

    def _popen_options(self) -> dict[str, Any]:
        return {"stdin": subprocess.PIPE}

    def _is_ready(self) -> bool:
        return answers_http(f"http://{LOOPBACK}:{self.port}/api/v2/heartbeat")
