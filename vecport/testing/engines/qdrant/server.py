"""The server: ports, authentication, status codes, and the HTTP endpoints that tell its health."""

from __future__ import annotations

import hmac
import json
import os
import sys
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import metadata
from pathlib import Path
from typing import Any

import grpc
from qdrant_client import grpc as pb

from ..base import LOOPBACK
from . import API_KEY_VARIABLE, READ_ONLY_KEY_VARIABLE
from .collections_service import CollectionsService
from .errors import StatusError, from_engine
from .points_service import PointsService
from .store import Flusher, Store

GRACE_SECONDS = 0.25
POLL_SECONDS = 0.05
TITLE = "qdrant - vector search engine"
HEALTH_METHOD = "/qdrant.Qdrant/HealthCheck"
HEALTH_PATHS = ("/healthz", "/livez", "/readyz")
READ_METHODS = frozenset(
    f"/qdrant.{service}/{method}"
    for service, methods in {
        "Collections": "Get List CollectionExists ListAliases ListCollectionAliases ListShardKeys",
        "Points": "Get Scroll Count Query QueryBatch Facet",
    }.items()
    for method in methods.split()
)


def version() -> str:
    """Return the version of the protocol that is served: that of the installed client."""
    return metadata.version("qdrant-client")


class HealthService(pb.QdrantServicer):  # type: ignore[misc]
    """The gRPC service `qdrant.Qdrant`."""

    def HealthCheck(self, _: pb.HealthCheckRequest, __: object) -> pb.HealthCheckReply:
        commit = "qdrant-edge-py " + metadata.version("qdrant-edge-py")
        return pb.HealthCheckReply(title=TITLE, version=version(), commit=commit)


class Keys:
    """Who may call what.

    Args:
        full: the key that opens everything; None asks for no key.
        read_only: a key that opens reads.
    """

    def __init__(self, full: str | None, read_only: str | None) -> None:
        self._full = full
        self._read_only = read_only

    @classmethod
    def from_environment(cls) -> Keys:
        """Take the keys from the variables that a Qdrant server reads."""
        return cls(os.environ.get(API_KEY_VARIABLE), os.environ.get(READ_ONLY_KEY_VARIABLE))

    def check(self, method: str, headers: dict[str, Any]) -> None:
        """Refuse a call without the right.

        Raises:
            StatusError: UNAUTHENTICATED or PERMISSION_DENIED.
        """
        if (self._full is None and self._read_only is None) or method == HEALTH_METHOD:
            return
        bearer = headers.get("authorization", "")
        key = headers.get("api-key") or (bearer.removeprefix("Bearer ") if bearer[:7] == "Bearer " else None)
        if key is None:
            message = "Must provide an API key or an Authorization bearer token"
            raise StatusError(grpc.StatusCode.UNAUTHENTICATED, message)
        if _same(key, self._full):
            return
        if not _same(key, self._read_only):
            raise StatusError(grpc.StatusCode.UNAUTHENTICATED, "Invalid API key or JWT")
        if method not in READ_METHODS:
            message = "Forbidden: Global manage access is required"
            raise StatusError(grpc.StatusCode.PERMISSION_DENIED, message)


def _same(key: str, expected: str | None) -> bool:
    return expected is not None and hmac.compare_digest(key.encode(), expected.encode())


class Guard(grpc.ServerInterceptor):  # type: ignore[misc]
    """Checks keys before each call, and turns what it raises into a gRPC status.

    Args:
        keys: who may call what.
    """

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    def intercept_service(self, continuation: Callable[[Any], Any], details: Any) -> Any:
        """Wrap the handler of one call."""
        handler = continuation(details)
        if handler is None:
            return None
        method = details.method
        headers = dict(details.invocation_metadata)

        def call(request: Any, context: grpc.ServicerContext) -> Any:
            try:
                self._keys.check(method, headers)
                return handler.unary_unary(request, context)
            except BaseException as error:
                status = _status_of(error, method)
                context.abort(status.code, status.message)

        return grpc.unary_unary_rpc_method_handler(
            call,
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )


def _status_of(error: BaseException, method: str) -> StatusError:
    """Return the status for whatever a call raised; a panic of the engine is no `Exception`."""
    if isinstance(error, StatusError):
        return error
    if isinstance(error, NotImplementedError):
        message = f"{method} is not implemented by this test server"
        return StatusError(grpc.StatusCode.UNIMPLEMENTED, message)
    known = from_engine(error)
    if known is not None:
        return known
    traceback.print_exception(error)
    sys.stderr.flush()
    return StatusError(grpc.StatusCode.INTERNAL, f"Service internal error: {error!r}")


class _HttpHandler(BaseHTTPRequestHandler):
    """Answers what the official client and health checks ask over HTTP."""

    def do_GET(self) -> None:
        if self.path == "/":
            self._answer(200, "application/json", json.dumps({"title": TITLE, "version": version()}))
        elif self.path in HEALTH_PATHS:
            self._answer(200, "text/plain", f"{self.path[1:]} check passed")
        else:
            self._refuse()

    def _refuse(self) -> None:
        error = f"{self.command} {self.path}: this test server has the gRPC API only"
        self._answer(501, "application/json", json.dumps({"status": {"error": error}, "time": 0.0}))

    do_POST = do_PUT = do_PATCH = do_DELETE = _refuse

    def _answer(self, status: int, kind: str, body: str) -> None:
        content = body.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the log for failures."""


def serve(folder: Path, port: int, until: Callable[[], object]) -> None:
    """Serve the collections in `folder` until `until` returns.

    HTTP opens last: once it answers, all collections are open and gRPC listens.

    Args:
        folder: where the collections live.
        port: the HTTP port; gRPC gets the next one.
        until: waits for the end.

    Raises:
        OSError: a port is taken.
    """
    store = Store(folder)
    workers = ThreadPoolExecutor(max_workers=8)
    options = [
        ("grpc.max_receive_message_length", -1),
        ("grpc.max_send_message_length", -1),
        # Two servers on one port would share its connections between them.
        ("grpc.so_reuseport", 0),
    ]
    server = grpc.server(workers, interceptors=[Guard(Keys.from_environment())], options=options)
    pb.add_QdrantServicer_to_server(HealthService(), server)
    pb.add_CollectionsServicer_to_server(CollectionsService(store), server)
    pb.add_PointsServicer_to_server(PointsService(store), server)
    try:
        server.add_insecure_port(f"{LOOPBACK}:{port + 1}")
    except RuntimeError as error:
        raise OSError(f"port {port + 1} is in use: {error}") from error
    server.start()
    Flusher(store).start()
    with ThreadingHTTPServer((LOOPBACK, port), _HttpHandler) as http:
        threading.Thread(target=http.serve_forever, args=(POLL_SECONDS,), daemon=True).start()
        until()
        http.shutdown()
    server.stop(grace=GRACE_SECONDS).wait()
    store.close()
