"""The real Qdrant engine (`qdrant-edge-py`, Rust) behind Qdrant's gRPC API.

This module is the parent's side: it starts `python -m vecport.testing.engines.qdrant` and stops it.
The server's side is in the other modules of this package:

- `server`: ports, authentication, status codes, the HTTP health endpoints
- `collections_service`, `points_service`: the two gRPC services
- `store`: collections on disk, and the engine behind each
- `convert`, `filters`, `indexes`, `queries`, `settings`: protobuf messages to engine objects and back
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

from ..base import LOOPBACK, Engine, EngineError, answers_http

API_KEY_VARIABLE = "QDRANT__SERVICE__API_KEY"
READ_ONLY_KEY_VARIABLE = "QDRANT__SERVICE__READ_ONLY_API_KEY"


class QdrantEngine(Engine):
    """Qdrant in a child process: HTTP health checks on `port`, the gRPC API on `port + 1`.

    Points that were acknowledged survive `stop(kill=True)`.

    Args:
        folder: where the collections live; a temporary folder by default.
        api_key: refuse requests without this key.
        read_only_api_key: a second key, which may read only.
        start_timeout: seconds until a server that does not answer counts as failed.

    >>> with QdrantEngine() as engine:                  # doctest: +SKIP
    ...     client = QdrantClient("127.0.0.1", port=engine.port, grpc_port=engine.grpc_port,
    ...                           prefer_grpc=True)
    """

    name: ClassVar[str] = "qdrant"
    ports_needed: ClassVar[int] = 2

    def __init__(
        self,
        folder: Path | str | None = None,
        *,
        api_key: str | None = None,
        read_only_api_key: str | None = None,
        start_timeout: float = 30.0,
    ) -> None:
        super().__init__(folder, start_timeout=start_timeout)
        self._api_key = api_key
        self._read_only_api_key = read_only_api_key

    @property
    def address(self) -> str:
        return f"qdrant://{LOOPBACK}:{self.port}"

    @property
    def grpc_port(self) -> int:
        """The port of the gRPC API."""
        return self.port + 1

    def _prepare(self) -> None:
        missing = [name for name in ("qdrant_edge", "qdrant_client") if find_spec(name) is None]
        if missing:
            raise EngineError("the Qdrant engine needs: pip install qdrant-edge-py qdrant-client")
        self.folder.mkdir(parents=True, exist_ok=True)

    def _command(self) -> list[str]:
        where = ["--folder", str(self.folder), "--port", str(self.port)]
        return [sys.executable, "-P", "-m", __name__, *where, "--leave-with-parent"]

    def _environment(self) -> Mapping[str, str]:
        # The child finds this very package, however the parent found it.
        source = str(Path(__file__).resolve().parents[4])
        path = os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH")]))
        keys = {API_KEY_VARIABLE: self._api_key, READ_ONLY_KEY_VARIABLE: self._read_only_api_key}
        inherited = {key: value for key, value in os.environ.items() if key not in keys}
        return {**inherited, "PYTHONPATH": path, **{k: v for k, v in keys.items() if v is not None}}

    def _popen_options(self) -> dict[str, Any]:
        # The child ends when this pipe does, and so never outlives a parent that was killed.
        return {"stdin": subprocess.PIPE}

    def _is_ready(self) -> bool:
        return answers_http(f"http://{LOOPBACK}:{self.port}/readyz")
