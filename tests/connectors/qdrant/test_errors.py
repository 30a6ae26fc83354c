"""Errors of Qdrant: typed, with keys that are never shown, from servers that are down, mute or killed."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from vecport.connectors.address import Place, parse, with_options
from vecport.connectors.contract import Selection, TargetPlan
from vecport.connectors.qdrant import QdrantTarget, client
from vecport.connectors.qdrant.backend import ServerBackend
from vecport.connectors.qdrant.client import Server
from vecport.connectors.secrets import Secret
from vecport.errors import (
    AlreadyExists,
    AuthenticationFailed,
    IntegrityError,
    NotFound,
    NotRepresentable,
    OutOfResources,
    Throttled,
    Unavailable,
    UsageError,
    VecportError,
)
from vecport.model.collection import Collection
from vecport.testing.engines import QdrantEngine
from vecport.testing.engines.base import free_port

from .script import Script, facts
from .support import CONNECTOR, MARK, collection, eventually, ids_of, page, read, source, write


def test_missing_collection_lists_those_that_are_there(place: Place, mixed: Collection) -> None:
    with source(place, "nowhere") as session, pytest.raises(NotFound) as caught:
        session.describe()
    assert "'nowhere'" in str(caught.value)
    assert mixed.name in str(caught.value)
    with source(place, "nowhere") as session, pytest.raises(NotFound):
        list(session.scan({}, None, 10))


def test_collections_are_listed_with_counts(place: Place, mixed: Collection) -> None:
    (found,) = [s for s in CONNECTOR.collections(place) if s.name == mixed.name]
    assert (found.rows, found.detail) == (500, "4 x dot")


def test_keys_are_checked_and_never_shown() -> None:
    with QdrantEngine(api_key="right-key", read_only_api_key="read-key") as engine:
        at = parse(engine.address)
        c = collection("c")
        good = with_options(at, {"api-key": Secret("right-key")})
        write(good, c, page(c, ["1"]))
        assert read(good, "c").num_rows == 1
        assert "right-key" not in repr(good)
        with CONNECTOR.open_target(good, "c") as target:
            assert target.query_hint().endswith('-H "api-key: $QDRANT_API_KEY"')
        for place in (at, with_options(at, {"api-key": Secret("wrong-key")})):
            with source(place, "c") as session, pytest.raises(AuthenticationFailed) as caught:
                session.describe()
            assert "wrong-key" not in str(caught.value)
            with pytest.raises(AuthenticationFailed):
                CONNECTOR.collections(place)
        reader = with_options(at, {"api-key": Secret("read-key")})
        assert read(reader, "c").num_rows == 1
        with pytest.raises(AuthenticationFailed):
            write(reader, c, page(c, ["2"]))


def test_key_travels_to_strangers_with_tls_only() -> None:
    place = with_options(parse("qdrant://db.example.com:6333"), {"api-key": Secret("k")})
    with pytest.raises(UsageError, match=r"qdrant\+https://db\.example\.com:6333"):
        CONNECTOR.collections(place)


def test_server_that_is_down_is_unavailable_at_once() -> None:
    began = time.monotonic()
    with pytest.raises(Unavailable, match="grpc-port"):
        CONNECTOR.collections(parse(f"qdrant://127.0.0.1:{free_port(2)}"))
    assert time.monotonic() - began < 3


def test_server_that_is_mute_is_unavailable_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "CONNECT_SECONDS", 0.3)
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        port = str(mute.getsockname()[1])
        began = time.monotonic()
        with pytest.raises(Unavailable):
            CONNECTOR.collections(with_options(parse("qdrant://127.0.0.1"), {"grpc-port": port}))
        assert time.monotonic() - began < 3


def test_killed_server_is_unavailable_and_the_session_goes_on_after_its_return() -> None:
    with QdrantEngine() as engine:
        at, c = parse(engine.address), collection("c")
        with CONNECTOR.open_target(at, "c") as target, source(at, "c") as session:
            target.prepare(TargetPlan(collection=c, rows=400))
            target.write(page(c, [str(i) for i in range(200)]), MARK)
            pages = session.scan({}, None, 50)
            first = [next(pages), next(pages)]
            engine.stop(kill=True)
            with pytest.raises(Unavailable):
                target.write(page(c, ["500"]), MARK)
            with pytest.raises(Unavailable):
                list(pages)
            engine.start()
            batch = page(c, [str(i) for i in range(200, 400)])
            eventually(lambda: target.write(batch, MARK))
            assert target.count() == 400
            rest = eventually(lambda: list(session.scan({}, first[-1].cursor, 50)))
            assert ids_of(first + rest) == [str(i) for i in range(400)]


@pytest.mark.parametrize(
    "option", [{"grpc-port": "x"}, {"grpc-port": "0"}, {"timeout-s": "soon"}, {"timeout-s": "-1"}, {"timeout-s": "nan"}]
)
def test_malformed_options_are_usage_errors(option: dict[str, str]) -> None:
    with pytest.raises(UsageError, match=next(iter(option))):
        CONNECTOR.collections(with_options(parse("qdrant://127.0.0.1:1"), option))


@pytest.mark.parametrize("text", ["qdrant:", "qdrant://", "qdrant://:6333"])
def test_address_without_host_and_folder_is_a_usage_error(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="neither a host nor a folder"):
        CONNECTOR.open_target(parse(text), "c")
    assert list(tmp_path.iterdir()) == []


def test_passport_that_a_server_does_not_keep_is_noticed() -> None:
    plan = TargetPlan(collection=collection("c", 2), rows=0, passport={"a": 1})
    target = QdrantTarget(Script([], [facts()]), "c")
    with pytest.raises(NotRepresentable, match="without the passport"):
        target._check_created(plan)


def test_namespaces_are_a_usage_error(place: Place) -> None:
    with pytest.raises(UsageError, match="no namespaces"):
        CONNECTOR.open_source(place, "c", Selection(namespaces=("a",)))


@pytest.mark.parametrize(
    ("code", "trailing", "kind"),
    [
        ("UNAVAILABLE", (), Unavailable),
        ("DEADLINE_EXCEEDED", (), Unavailable),
        ("RESOURCE_EXHAUSTED", (("retry-after", "3"),), Throttled),
        ("RESOURCE_EXHAUSTED", (("qdrant-insufficient-storage", "1"),), OutOfResources),
        ("INTERNAL", (), Unavailable),
        ("UNAUTHENTICATED", (), AuthenticationFailed),
        ("PERMISSION_DENIED", (), AuthenticationFailed),
        ("NOT_FOUND", (), NotFound),
        ("ALREADY_EXISTS", (), AlreadyExists),
        ("INVALID_ARGUMENT", (), NotRepresentable),
        ("DATA_LOSS", (), IntegrityError),
    ],
)
def test_status_codes_become_typed_errors(
    server: ServerBackend, code: str, trailing: tuple[tuple[str, str], ...], kind: type[VecportError]
) -> None:
    error = SimpleNamespace(
        code=lambda: SimpleNamespace(name=code), details=lambda: "the server's text", trailing_metadata=lambda: trailing
    )
    found = server.server.translate(error, "reading")
    assert type(found) is kind
    assert "the server's text" in str(found)
    assert getattr(found, "retry_after_s", None) == (3.0 if trailing and trailing[0][0] == "retry-after" else None)


def test_versions_are_compared(server: ServerBackend) -> None:
    for version, expected in (("1.19.0", True), ("v1.20.1-dev", True), ("2.0", True), ("1.9.3", False), ("", False)):
        server.server.version = version
        assert server.server.at_least(1, 19) is expected


def test_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Server, "_connect", lambda self: None)
    plain = Server(parse("qdrant://db"))
    assert (plain.http_port, plain.grpc_port, plain.rest) == (6333, 6334, "http://db:6333")
    secure = Server(with_options(parse("qdrant+https://db:443/base"), {"grpc-port": "7000", "api-key": Secret("k")}))
    assert (secure.grpc_port, secure.rest) == (7000, "https://db:443/base")
    assert Server(with_options(parse("qdrant://[::1]:1"), {"prefix": "/p/"})).rest == "http://[::1]:1/p"
