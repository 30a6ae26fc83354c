"""Proxies on loopback that pass everything on but for one fault: at the n-th connection, request or byte."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

#: What another service says where the database is expected; the last is hostile to terminals and to memory.
ANSWERS = {
    "html": b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 26\r\n\r\n<html><h1>Hello</h1></html>"[:-1],
    "redis": b"-ERR unknown command 'GET'\r\n",
    "garbage": bytes(range(256)) * 8,
    "hostile": b"HTTP/1.1 500 Oops\r\nContent-Length: 3000000\r\n\r\n"
    + b"\x1b]0;owned\x07\xff\xfe\x00\x9b31m" * 200_000,
}
FOR_EVER = 1_000_000


@dataclass
class Faults:
    """Which of the counted things are faulty, and how many were.

    Attributes:
        kind: what happens.
        at: of the first faulty one, from 1.
        times: so many, one after the other.
    """

    kind: str
    at: int = 1
    times: int = FOR_EVER
    seen: int = 0
    done: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def next(self, amount: int = 1) -> bool:
        """Count one more, or so many bytes; whether it is faulty."""
        with self._lock:
            self.seen += amount
            faulty = self.seen >= self.at and self.done < self.times
            self.done += faulty
        return faulty


@contextmanager
def tcp(port: int, faults: Faults) -> Iterator[int]:
    """A proxy before any server. Kinds of faults:

    ``refuse``: nobody listens. ``hang``: the n-th connection is taken and never answered. ``cut`` and ``stall``: behind
    the n-th byte from the server, the connection ends, or nothing comes any more. ``html``, ``redis``, ``garbage``,
    ``hostile``: the n-th connection is answered by another service.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    mine = listener.getsockname()[1]
    held: list[socket.socket] = []
    if faults.kind == "refuse":
        listener.close()
        yield mine
        return

    def serve() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            held.append(client)
            threading.Thread(target=connected, args=(client,), daemon=True).start()

    def connected(client: socket.socket) -> None:
        counts = faults.kind not in ("cut", "stall")
        if counts and faults.next():
            if faults.kind != "hang":
                _answer(client, ANSWERS[faults.kind])
            return
        try:
            upstream = socket.create_connection(("127.0.0.1", port))
        except OSError:
            client.close()
            return
        held.append(upstream)
        threading.Thread(target=_pump, args=(client, upstream, None), daemon=True).start()
        _pump(upstream, client, None if counts else faults)

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield mine
    finally:
        listener.close()
        for each in held:
            _shut(each)
            each.close()


def _answer(client: socket.socket, text: bytes) -> None:
    with contextlib.suppress(OSError):
        client.recv(1 << 16)
        client.sendall(text)
        _shut(client)


def _pump(source: socket.socket, target: socket.socket, faults: Faults | None) -> None:
    stalled = False
    try:
        while data := source.recv(1 << 14):
            if faults is not None and not stalled and faults.next(len(data)):
                target.sendall(data[: len(data) // 2])
                if faults.kind == "cut":
                    break
                stalled = True
            if not stalled:
                target.sendall(data)
    except OSError:
        pass
    for end in (source, target):
        _shut(end)


def _shut(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)


@contextmanager
def http_server(port: int, faults: Faults) -> Iterator[int]:
    """A proxy before an HTTP server. Kinds of faults, at the n-th request:

    A status, as ``503``, with a page of HTML; ``503+`` with ``Retry-After: 0`` too; ``empty``, ``html``, ``json`` (of
    something else) and ``cut``: a body under status 200; ``hang``: no answer; ``stall``: half of the true answer;
    ``drop``: the connection ends; ``late``: the request is done, and its answer is a 502.
    """
    ended = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _pass(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            kind = faults.kind if faults.next() else ""
            if kind == "hang":
                ended.wait()
                self.close_connection = True
            elif kind == "drop":
                self.close_connection = True
            elif kind[:3].isdigit():
                headers = [("Retry-After", "0")] if kind.endswith("+") else []
                self._say(int(kind[:3]), "text/html", b"<html>\x1b[31mBusy</html>", headers)
            elif kind in ("empty", "html", "json"):
                self._say(200, *{"empty": ("application/json", b""), "html": ("text/html", b"<html></html>"),
                                 "json": ("application/json", b'{"hello": [1, null]}')}[kind])  # fmt: skip
            else:
                self._forward(body, kind)

        def _forward(self, body: bytes, kind: str) -> None:
            upstream = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            try:
                upstream.request(self.command, self.path, body, dict(self.headers))
                answer = upstream.getresponse()
                type_, text = answer.getheader("content-type", ""), answer.read()
            except OSError:
                self.close_connection = True
                return
            finally:
                upstream.close()
            if kind == "late":
                self._say(502, "text/html", b"<html>Bad gateway</html>")
            elif kind in ("cut", "stall"):
                self._say(answer.status, type_, text, part=len(text) // 2)
                if kind == "stall":
                    ended.wait()
                self.close_connection = True
            else:
                self._say(answer.status, type_, text)

        def _say(
            self, status: int, type_: str, body: bytes, headers: list[tuple[str, str]] | None = None,
            part: int | None = None,
        ) -> None:  # fmt: skip
            self.send_response(status)
            for name, value in [("Content-Type", type_), ("Content-Length", str(len(body))), *(headers or [])]:
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body[:part])
            self.wfile.flush()

        do_GET = do_POST = do_PUT = do_DELETE = _pass

        def log_message(self, *arguments: Any) -> None:
            return None

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *arguments: Any) -> None:
            """Clients that go away are what is tested."""

    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield server.server_address[1]
        finally:
            ended.set()
            server.shutdown()


@contextmanager
def grpc_server(port: int, faults: Faults) -> Iterator[int]:
    """A proxy before a gRPC server; the kind is the status that the n-th call ends with, or ``hang``."""
    import grpc

    unlimited = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    channel = grpc.insecure_channel(f"127.0.0.1:{port}", options=unlimited)
    ended = threading.Event()

    class Handler(grpc.GenericRpcHandler):  # type: ignore[misc]
        def service(self, details: Any) -> Any:
            call = channel.unary_unary(details.method)

            def answer(request: bytes, context: Any) -> bytes:
                if faults.next():
                    if faults.kind == "hang":
                        ended.wait(context.time_remaining())
                    context.set_trailing_metadata((("retry-after", "0"),))
                    status = "UNAVAILABLE" if faults.kind == "hang" else faults.kind
                    context.abort(grpc.StatusCode[status], "busy \x1b[31m\x07")
                try:
                    return bytes(call(request, timeout=context.time_remaining()))
                except grpc.RpcError as e:
                    context.set_trailing_metadata(e.trailing_metadata() or ())
                    context.abort(e.code(), e.details())
                    raise

            return grpc.unary_unary_rpc_method_handler(answer)

    server = grpc.server(ThreadPoolExecutor(16), handlers=[Handler()], options=unlimited)
    mine = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield mine
    finally:
        ended.set()
        server.stop(None)
        channel.close()
