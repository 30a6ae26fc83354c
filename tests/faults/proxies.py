"""Proxies on loopback that pass requests on and refuse every third one that writes, as a busy server does."""

from __future__ import annotations

import http.client
import itertools
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Thirds:
    """Says of every third that it is refused."""

    def __init__(self) -> None:
        self._number, self._lock = itertools.count(1), threading.Lock()
        self.asked = self.refused = 0

    def next(self) -> bool:
        """Whether this one is refused."""
        with self._lock:
            self.asked += 1
            refuse = next(self._number) % 3 == 0
            self.refused += refuse
        return refuse


@contextmanager
def http_429(port: int, writes: Callable[[str, str], bool]) -> Iterator[tuple[int, Thirds]]:
    """A proxy before an HTTP server that answers every third write with 429 and ``Retry-After: 0``.

    Args:
        port: of the server, on loopback.
        writes: whether a method and path write.
    """
    thirds = Thirds()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _pass(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            if writes(self.command, self.path) and thirds.next():
                self._answer(429, [("Retry-After", "0")], b'{"error":"RateLimitError","message":"slow down"}')
                return
            upstream = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            try:
                upstream.request(self.command, self.path, body, dict(self.headers))
                answer = upstream.getresponse()
                kept = [(k, v) for k, v in answer.getheaders() if k.lower() == "content-type"]
                self._answer(answer.status, kept, answer.read())
            finally:
                upstream.close()

        def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
            self.send_response(status)
            for name, value in headers:
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = do_DELETE = _pass

        def log_message(self, *arguments: Any) -> None:
            return None

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_address[1], thirds
        server.shutdown()


@contextmanager
def grpc_exhausted(port: int, writes: Callable[[str], bool]) -> Iterator[tuple[int, Thirds]]:
    """A proxy before a gRPC server that ends every third write with RESOURCE_EXHAUSTED.

    Args:
        port: of the server's gRPC, on loopback.
        writes: whether a method's name writes.
    """
    import grpc

    thirds = Thirds()
    unlimited = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    channel = grpc.insecure_channel(f"127.0.0.1:{port}", options=unlimited)

    class Handler(grpc.GenericRpcHandler):  # type: ignore[misc]
        def service(self, details: Any) -> Any:
            call = channel.unary_unary(details.method)

            def answer(request: bytes, context: Any) -> bytes:
                if writes(details.method) and thirds.next():
                    context.set_trailing_metadata((("retry-after", "0"),))
                    context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "slow down")
                try:
                    return bytes(call(request, timeout=context.time_remaining()))
                except grpc.RpcError as e:
                    context.set_trailing_metadata(e.trailing_metadata() or ())
                    context.abort(e.code(), e.details())
                    raise

            return grpc.unary_unary_rpc_method_handler(answer)

    server = grpc.server(ThreadPoolExecutor(8), handlers=[Handler()], options=unlimited)
    mine = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield mine, thirds
    finally:
        server.stop(None)
        channel.close()


@contextmanager
def tcp_cut(port: int, mark: bytes) -> Iterator[tuple[int, Thirds]]:
    """A proxy before any server that cuts a connection at every third message that holds ``mark``.

    Args:
        port: of the server, on loopback.
        mark: bytes by which a client begins a write.
    """
    thirds = Thirds()
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            upstream = socket.create_connection(("127.0.0.1", port))
            threading.Thread(target=_pump, args=(client, upstream, mark, thirds), daemon=True).start()
            threading.Thread(target=_pump, args=(upstream, client, b"", thirds), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield listener.getsockname()[1], thirds
    finally:
        listener.close()


def _pump(source: socket.socket, target: socket.socket, mark: bytes, thirds: Thirds) -> None:
    try:
        while data := source.recv(1 << 16):
            if mark and mark in data and thirds.next():
                break
            target.sendall(data)
    except OSError:
        pass
    for end in (source, target):
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            continue
