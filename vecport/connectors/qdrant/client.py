"""The connection to a Qdrant server: gRPC channel, deadlines, and gRPC status codes as vecport's errors."""

from __future__ import annotations

import json
import re
import shlex
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from ... import idle
from ...errors import AuthenticationFailed, NotRepresentable, OutOfResources, Unavailable, VecportError
from ..kit import errors, http, places, waiting
from ..kit.errors import Rule
from ..report import UNHEARD
from .wire import PointKey

if TYPE_CHECKING:
    from ..address import Place

HTTP_PORT: Final = 6333
CONNECT_SECONDS: Final = 5.0
#: Set by the server on RESOURCE_EXHAUSTED when its disk is full (``collection/src/operations/types.rs``).
STORAGE_MARK: Final = "qdrant-insufficient-storage"

KEY_HELP = "set QDRANT_API_KEY to a key that may do this"


class Server:
    """One Qdrant server. Connects at once.

    Args:
        place: a ``qdrant://host:port`` address with its options.

    Raises:
        UsageError: an option is malformed, or a key would travel without TLS.
        Unavailable: nobody answers within five seconds.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        self.http_port = place.port or HTTP_PORT
        self.grpc_port = places.port(place, "grpc-port") or self.http_port + 1
        self.timeout = places.seconds(place, "timeout-s", idle.timeout_s())
        #: Raises when the user wants to stop; set by the session.
        self.check: Callable[[], None] = UNHEARD.check
        self._key = places.header(place)
        places.check_key_travels_safely(place)
        self.version = ""
        self._channel: Any = None
        self._connect()

    # -- connection ----------------------------------------------------------------------------

    def _connect(self) -> None:
        from qdrant_client import grpc as pb

        self.pb = pb
        self._metadata = (("api-key", self._key),) if self._key else ()
        self._dial()
        try:
            health = pb.QdrantStub(self._channel).HealthCheck
            reply = self.call(health, pb.HealthCheckRequest(), "connecting", min(CONNECT_SECONDS, self.timeout))
        except BaseException:
            self.close()
            raise
        self.version = str(reply.version)

    def _dial(self) -> None:
        """Make a new channel, which connects with its first call; one that has lost its server waits long to look."""
        import grpc

        pb = self.pb
        self.close()
        options: list[tuple[str, Any]] = [
            ("grpc.max_send_message_length", -1),
            ("grpc.max_receive_message_length", -1),
            ("grpc.use_local_subchannel_pool", 1),
        ]
        if self.place.loopback:
            options.append(("grpc.enable_http_proxy", 0))
        target = f"{places.bracketed(self.place.host)}:{self.grpc_port}"
        if self.place.tls:
            channel = grpc.secure_channel(target, grpc.ssl_channel_credentials(), options)
        else:
            channel = grpc.insecure_channel(target, options)
        self._channel = channel
        self.points = pb.PointsStub(channel)
        self.collections = pb.CollectionsStub(channel)
        # Bytes in, bytes out: pages are decoded, and batches packed, by this package.
        self.scroll = channel.unary_unary("/qdrant.Points/Scroll", request_serializer=pb.ScrollPoints.SerializeToString)
        self.get = channel.unary_unary("/qdrant.Points/Get", request_serializer=pb.GetPoints.SerializeToString)
        self.upsert = channel.unary_unary(
            "/qdrant.Points/Upsert", response_deserializer=pb.PointsOperationResponse.FromString
        )

    def lost(self, channel: Any) -> None:
        """Take note that a channel has lost the server, so that the next call dials anew."""
        if channel is self._channel:
            self._dial()

    @property
    def key(self) -> str | None:
        """The API key or token that is sent."""
        return self._key

    def at_least(self, major: int, minor: int) -> bool:
        """Whether the server's version is this one or a later one; a version that cannot be read is an old one."""
        match = re.match(r"v?(\d+)\.(\d+)", self.version)
        return match is not None and (int(match[1]), int(match[2])) >= (major, minor)

    def close(self) -> None:
        """Close the channel. Safe to call twice."""
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()

    # -- calls ---------------------------------------------------------------------------------

    def call(self, method: Callable[..., Any], request: Any, doing: str, timeout: float | None = None) -> Any:
        """Call a stub's method and return its answer.

        Args:
            method: of ``points`` or ``collections``, or ``scroll`` or ``upsert``.
            request: its message.
            doing: for the error message: what was being done.
            timeout: seconds, by default those of the option ``timeout-s``, or else of ``--timeout``.

        Raises:
            VecportError: the class that fits the status code, see ``translate``.
        """
        return self.start(method, request, doing, timeout).result()

    def start(self, method: Callable[..., Any], request: Any, doing: str, timeout: float | None = None) -> Pending:
        """Send a request and return at once."""
        seconds = timeout or self.timeout
        future = method.future(request, timeout=seconds, metadata=self._metadata)  # type: ignore[attr-defined]
        return Pending(self, self._channel, future, doing, seconds)

    def ask(self) -> None:
        """See that the server answers, as it does while a long request of somebody's is under way.

        Raises:
            Unavailable: it does not.
        """
        health = self.pb.QdrantStub(self._channel).HealthCheck
        self.call(health, self.pb.HealthCheckRequest(), "asking whether the server is there", CONNECT_SECONDS)

    def translate(self, error: Any, doing: str) -> VecportError:
        """Turn a ``grpc.RpcError`` into the error that the pipelines know.

        Returns:
            The error to raise. ``Throttled`` carries the seconds that the server names.
        """
        found = errors.made(errors.of_grpc(error), f"Qdrant at {self.place.text}: {doing}", _RULES)
        found.next = found.next or self._hint(error.code().name)
        return found

    def _hint(self, code: str) -> str:
        if self.version or code not in ("UNAVAILABLE", "DEADLINE_EXCEEDED", "UNIMPLEMENTED"):
            return ""
        return (
            f"gRPC is expected on port {self.grpc_port}, one above the address's; another one is set by the option"
            " grpc-port; a server with TLS needs qdrant+https://"
        )

    @property
    def rest(self) -> str:
        """The address of the REST interface, without a slash at its end."""
        base = f"{'https' if self.place.tls else 'http'}://{places.bracketed(self.place.host)}:{self.http_port}"
        prefix = (self.place.option("prefix") or self.place.path).strip("/")
        return f"{base}/{prefix}" if prefix else base

    def curl(self, collection: str, vector: str, key: PointKey) -> str:
        """A search from the command line for the records nearest to one that is there.

        Args:
            collection: its name.
            vector: the vector's name, ``""`` for the unnamed one.
            key: a record of the collection.
        """
        using = {"using": vector} if vector else {}
        body = json.dumps({"query": key, **using, "limit": 10, "with_payload": True}, ensure_ascii=False)
        url = f"{self.rest}/collections/{_quoted(collection)}/points/query"
        line = shlex.join(["curl", "-s", url, "-H", "content-type: application/json", "-d", body])
        return line + ' -H "api-key: $QDRANT_API_KEY"' if self._key else line

    # -- REST, where gRPC is not exact -----------------------------------------------------------

    def rest_payloads(self, collection: str, keys: Sequence[PointKey]) -> dict[PointKey, dict[str, Any]]:
        """Read payloads by the REST interface, which shows every integer and any depth as it is stored.

        Returns:
            By key; points that no longer exist are left out.

        Raises:
            NotRepresentable: nobody listens on the REST port.
            Unavailable: the REST interface gave no answer, or one that is not Qdrant's.
        """
        import httpx

        url = f"{self.rest}/collections/{_quoted(collection)}/points"
        headers = {"content-type": "application/json"} | ({"api-key": self._key} if self._key else {})
        body = json.dumps({"ids": list(keys), "with_payload": True, "with_vector": False})
        try:
            with http.watched(httpx.Client(trust_env=not self.place.loopback), self.check) as client:
                answer = client.post(url, content=body, headers=headers).raise_for_status()
            return {_rest_key(r["id"]): r["payload"] or {} for r in json.loads(answer.content)["result"]}
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise NotRepresentable(
                f"collection {collection!r}: payloads, point {keys[0]}'s among them, that gRPC does not show exactly",
                why="gRPC shows integers above 2^63-1 as floats and takes only some depth; the REST interface, which"
                f" is exact, did not answer on port {self.http_port}: {type(error).__name__}",
                next="make the REST port reachable: the address names it, and the option prefix a path before it",
            ) from None
        except (httpx.HTTPError, ValueError, KeyError, TypeError, AttributeError) as error:
            where = f"Qdrant at {self.place.text}: reading payloads of {collection!r} from the REST port"
            raise errors.made(errors.of_http(error), where, _REST_RULES) from error


_RULES: Final = (
    Rule(OutOfResources, safe="what was acknowledged is stored", codes=("RESOURCE_EXHAUSTED",), marks=(STORAGE_MARK,)),
    Rule(AuthenticationFailed, next=KEY_HELP, codes=("UNAUTHENTICATED", "PERMISSION_DENIED")),
    *errors.GRPC,
)
_REST_RULES: Final = (
    *errors.HTTP,
    Rule(Unavailable, why="the answer is not one of Qdrant's; a proxy may have given it", next=errors.RUNS),
)


class Pending:
    """An answer under way.

    A request may be given longer than the idle time-out, as one that builds an index: then the server is asked
    meanwhile whether it is still there.
    """

    def __init__(self, server: Server, channel: Any, future: Any, doing: str, seconds: float) -> None:
        self._server, self._channel, self._future, self._doing = server, channel, future, doing
        self._seconds = seconds

    def result(self) -> Any:
        """Wait for the answer; raises as ``Server.call`` does, and what the session's ``check`` raises."""
        import grpc

        heard, asked = waiting.Heard(self._server.check), time.monotonic()
        try:
            while True:
                try:
                    return self._future.result(timeout=waiting.STEP_S)
                except grpc.FutureTimeoutError:
                    heard()
                if self._seconds > self._server.timeout < time.monotonic() - asked:
                    self._server.ask()
                    asked = time.monotonic()
        except VecportError:
            self._future.cancel()
            raise
        except grpc.RpcError as error:
            translated = self._server.translate(error, self._doing)
            if error.code() is grpc.StatusCode.UNAVAILABLE:
                self._server.lost(self._channel)
        except grpc.FutureCancelledError:
            translated = Unavailable(f"{self._doing} was cancelled")
        raise translated from None

    def cancel(self) -> None:
        """Give the answer up."""
        self._future.cancel()


def _rest_key(value: Any) -> PointKey:
    return value if isinstance(value, int) else str(value)


def _quoted(name: str) -> str:
    return quote(name, safe="")
