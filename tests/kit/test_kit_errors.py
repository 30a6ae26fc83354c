"""Errors of clients become those of vecport, by tables; and no secret in them is shown."""

from __future__ import annotations

from typing import Any

import pytest

from vecport.connectors.address import parse, with_options
from vecport.connectors.kit import places
from vecport.connectors.kit.errors import GRPC, HTTP, Failure, Rule, made, of_grpc, translated
from vecport.connectors.secrets import Secret
from vecport.errors import (
    AlreadyExists,
    AuthenticationFailed,
    IntegrityError,
    NotFound,
    NotRepresentable,
    OutOfResources,
    Throttled,
    TooLarge,
    Unavailable,
    UsageError,
    VecportError,
)


def answered(status: int, **headers: str) -> Exception:
    import httpx

    request = httpx.Request("GET", "http://db/x")
    response = httpx.Response(status, headers=headers, request=request)
    return httpx.HTTPStatusError("client's words", request=request, response=response)


@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, AuthenticationFailed), (403, AuthenticationFailed), (404, NotFound), (413, TooLarge), (429, Throttled),
     (500, Unavailable), (503, Unavailable), (507, OutOfResources),
     (418, NotRepresentable), (302, NotFound), (511, Unavailable)],
)  # fmt: skip
def test_a_status_of_http_is_a_typed_error_however_the_client_wraps_it(status: int, kind: type[VecportError]) -> None:
    wrapped = RuntimeError("wrapped, and says nothing")
    wrapped.__cause__ = answered(status)
    with pytest.raises(VecportError) as caught, translated("db://here"):
        raise wrapped
    assert type(caught.value) is kind
    assert caught.value.what.startswith("db://here")
    assert caught.value.safe == "nothing was changed"


def test_the_seconds_that_a_server_asks_for_are_carried() -> None:
    for header, expected in (("7", 7.0), ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0), ("soon", None)):
        with pytest.raises(Throttled) as caught, translated("db://here"):
            raise answered(429, **{"retry-after": header})
        assert caught.value.retry_after_s == expected


def test_a_connection_that_failed_is_unavailable_and_an_unknown_error_is_not() -> None:
    import httpx

    with pytest.raises(Unavailable, match="does not answer"), translated("db://here"):
        raise httpx.ConnectError("refused")
    with pytest.raises(Unavailable), translated("db://here"):
        raise ConnectionResetError("reset")
    with pytest.raises(VecportError) as caught, translated("db://here"):
        raise ValueError("what is this")
    assert type(caught.value) is VecportError
    assert caught.value.why == "what is this"


def test_own_rules_go_first_and_errors_of_vecport_pass() -> None:
    rules = (Rule(NotRepresentable, "{where}: over quota", names=("HTTPStatusError",), text="client's"), *HTTP)
    with pytest.raises(NotRepresentable, match="db://here: over quota"), translated("db://here", rules):
        raise answered(500)
    with pytest.raises(NotFound, match="mine"), translated("db://here"):
        raise NotFound("mine")
    with pytest.raises(KeyError), translated("db://here", kinds=(ValueError,)):
        raise KeyError("not the client's")


def test_codes_match_by_their_beginning_as_classes_of_sqlstate_do() -> None:
    rules = (Rule(IntegrityError, codes=("23505",), why="two records have the same key"),
             Rule(NotRepresentable, codes=("23",)), Rule(AuthenticationFailed, codes=("28",)))  # fmt: skip
    for code, kind in (("23505", IntegrityError), ("23502", NotRepresentable), ("28P01", AuthenticationFailed),
                       ("", VecportError), ("99999", VecportError)):  # fmt: skip
        assert type(made(Failure(code=code, text="t"), "x", rules)) is kind
    assert made(Failure(code="23505", text="dup"), "x", rules).why == "dup; two records have the same key"


def test_no_secret_is_repeated() -> None:
    secret = Secret("hunter2")
    with pytest.raises(VecportError) as caught, translated("db://here", secrets=[None, secret]):
        raise ValueError("login with hunter2 failed, hunter2!")
    assert "hunter2" not in str(caught.value)
    assert "****" in caught.value.why


class Call(Exception):
    """What ``grpc.RpcError`` is to its reader."""

    def __init__(self, code: str, text: str = "", **trailing: str) -> None:
        import grpc

        self._code: Any = grpc.StatusCode[code]
        self._text, self._trailing = text, trailing

    def code(self) -> Any:
        return self._code

    def details(self) -> str:
        return self._text

    def trailing_metadata(self) -> Any:
        return tuple(self._trailing.items())


@pytest.mark.parametrize(
    ("code", "text", "kind"),
    [("UNAUTHENTICATED", "", AuthenticationFailed), ("PERMISSION_DENIED", "", AuthenticationFailed),
     ("RESOURCE_EXHAUSTED", "slow down", Throttled), ("RESOURCE_EXHAUSTED", "Message too large: 9 vs 3", TooLarge),
     ("OUT_OF_RANGE", "message length too large", TooLarge), ("OUT_OF_RANGE", "index", NotRepresentable),
     ("INVALID_ARGUMENT", "", NotRepresentable), ("NOT_FOUND", "", NotFound), ("ALREADY_EXISTS", "", AlreadyExists),
     ("DATA_LOSS", "", IntegrityError), ("UNAVAILABLE", "", Unavailable), ("DEADLINE_EXCEEDED", "", Unavailable),
     ("UNKNOWN", "", Unavailable)],
)  # fmt: skip
def test_a_status_of_grpc_is_a_typed_error(code: str, text: str, kind: type[VecportError]) -> None:
    assert type(made(of_grpc(Call(code, text)), "db", GRPC)) is kind


def test_trailing_metadata_tells_of_pauses_and_marks() -> None:
    found = of_grpc(Call("RESOURCE_EXHAUSTED", **{"retry-after": "3", "disk-full": "1"}))
    throttled = made(found, "db", GRPC)
    assert isinstance(throttled, Throttled)
    assert throttled.retry_after_s == 3
    assert type(made(found, "db", (Rule(OutOfResources, marks=("disk-full",)), *GRPC))) is OutOfResources


def test_a_key_never_travels_without_tls_to_another_machine() -> None:
    key = {"api-key": Secret("k")}
    for text in ("qdrant://127.0.0.1:1", "qdrant://localhost:1", "qdrant+https://far:1"):
        places.check_key_travels_safely(with_options(parse(text), key))
    places.check_key_travels_safely(parse("qdrant://far:1"))
    with pytest.raises(UsageError, match="without TLS") as caught:
        places.check_key_travels_safely(with_options(parse("qdrant://far:1"), key))
    assert caught.value.next == "use TLS: qdrant+https://far:1"


def test_a_collection_that_is_not_there_is_answered_with_those_that_are() -> None:
    error = places.not_found("x", "db://here", iter(["b", "a"]))
    assert error.why == "collections there: 'a', 'b'"
    assert "-c/--collection" in error.next
    assert places.not_found("x", "db", []).why == "collections there: none"
    assert places.not_found("x", "db", (str(i) for i in range(10_000))).why.endswith(", ...")

    def denied() -> Any:
        raise AuthenticationFailed("no")
        yield

    assert "may not list" in places.not_found("x", "db", denied()).why
