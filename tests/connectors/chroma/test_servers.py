"""Chroma's server: live scans, damaged answers, keys, tenants, and servers of other kinds."""

from __future__ import annotations

import gc
import http.server
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vecport.connectors import address
from vecport.connectors.address import parse
from vecport.connectors.chroma import ChromaServerSource, schema
from vecport.connectors.chroma import read as chroma_source
from vecport.connectors.contract import Selection, TargetPlan
from vecport.connectors.secrets import Secret
from vecport.errors import AuthenticationFailed, IntegrityError, NotFound, Unavailable, UsageError
from vecport.testing.engines.chroma import ChromaEngine

from .support import CONNECTOR, DOCS, MARK, batch_of, collection_of, load, open_source, open_target, page, place_of

chromadb = pytest.importorskip("chromadb")


# -- servers ---------------------------------------------------------------------------------------------------


def test_ids_deleted_during_a_live_scan_are_named(server: ChromaEngine, raw_server: Any) -> None:
    docs = raw_server.create_collection("live", embedding_function=None)
    ids = [f"i{n}" for n in range(300)]
    docs.add(ids=ids, embeddings=np.arange(600).reshape(300, 2))
    with open_source(server.address, "live") as session:
        assert isinstance(session, ChromaServerSource)
        assert session.describe().count == 300
        token = session.snapshot()
        assert session.alive(token)
        first, second, third = session.partitions(100, token)
        docs.delete(ids=["i5", "i99", *ids[100:200]])
        docs.upsert(ids=["i250"], embeddings=[[9.0, 9.0]])
        docs.add(ids=["new"], embeddings=[[0.0, 0.0]])
        pages = list(session.scan(first, None, 30))
        assert [p.batch.num_rows for p in pages] == [29, 30, 30, 9]
        assert [m for p in pages for m in p.missing] == [("", "i5"), ("", "i99")]
        (nothing,) = session.scan(second, None, 30)
        assert nothing.batch.num_rows == 0
        assert [id for _, id in nothing.missing] == ids[100:200]
        behind, passed = session.behind(first, pages[0].batch, ("", "i5"))
        assert (behind.column("id")[0].as_py(), behind.num_rows, passed) == ("i6", 24, True)
        assert session.behind(first, pages[0].batch, ("", "i99"))[1] is False
        (rest,) = session.scan(third, 50, 60)
        assert rest.batch.column("vector").to_pylist()[0] == [9.0, 9.0]
        assert session.count() == 199


def test_a_listing_skips_nothing_when_records_are_deleted(
    server: ChromaEngine, raw_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    docs = raw_server.create_collection("listing", embedding_function=None)
    ids = [f"i{n}" for n in range(400)]
    docs.add(ids=ids, embeddings=np.zeros((400, 2)))
    monkeypatch.setattr(chroma_source, "_LIST_PAGE", 50)
    with open_source(server.address, "listing") as session:
        assert isinstance(session, ChromaServerSource)
        plain = session._get
        steps = {1: ids[:30], 3: ids[100:148], 4: ids[140:200], 6: [*ids[30:60], ids[399]]}
        calls = 0

        def disturbed(**how: Any) -> Any:
            nonlocal calls
            calls += 1
            if gone := steps.get(calls):
                docs.delete(ids=gone)
                docs.add(ids=gone[:5], embeddings=np.zeros((5, 2)))
            return plain(**how)

        monkeypatch.setattr(session, "_get", disturbed)
        listed = list(session._ids())
    assert len(set(listed)) == len(listed)
    assert set(docs.get(include=[])["ids"]) <= set(listed)
    assert calls > 8


def test_answers_of_a_server_do_not_wait_for_a_full_collection(server: ChromaEngine) -> None:
    """The client's answers refer to themselves, and each holds the text of a whole page."""
    from vecport.connectors.chroma import client as clients

    client = clients.open_server(address.parse(server.address))
    seen: list[weakref.ref[Any]] = []
    client._server._session.event_hooks["response"].append(lambda answer: seen.append(weakref.ref(answer)))
    gc.disable()
    try:
        assert client.heartbeat() > 0
        assert client.count_collections() >= 0
        assert [answer() for answer in seen] == [None, None]
    finally:
        gc.enable()
        clients.close(client)


def test_a_server_that_is_down(server: ChromaEngine) -> None:
    with ChromaEngine() as engine:
        collection = collection_of()
        load(engine.address, batch_of(collection, ["a"]), collection)
        target, session = open_target(engine.address), open_source(engine.address)
        target.attach(TargetPlan(collection, 1))
        partition = next(session.partitions(10, session.snapshot()))
        engine.stop()
        for call in (
            target.count,
            session.count,
            lambda: list(session.scan(partition, None, 10)),
            lambda: target.write(batch_of(collection, ["b"]), MARK),
            lambda: open_source(engine.address).describe(),
            lambda: CONNECTOR.collections(place_of(engine.address)),
        ):
            with pytest.raises(Unavailable, match="does not answer") as caught:
                call()
            assert all((caught.value.what, caught.value.why, caught.value.safe, caught.value.next))
        target.close()
        session.close()


class Impostor(http.server.BaseHTTPRequestHandler):
    status, body = 200, b""

    def do_GET(self) -> None:
        type(self).seen = dict(self.headers)
        self.send_response(self.status)
        self.send_header("content-length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def impostor() -> Iterator[str]:
    listener = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Impostor)
    threading.Thread(target=listener.serve_forever, daemon=True).start()
    yield f"chroma://127.0.0.1:{listener.server_port}"
    listener.shutdown()
    listener.server_close()


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (401, b'{"error":"AuthError","message":"no"}', AuthenticationFailed),
        (403, b"<html>", AuthenticationFailed),
        (404, b"not found", NotFound),
        (200, b"<html>", NotFound),
        (200, b"[]", NotFound),
        (503, b"busy", Unavailable),
        (429, b'{"error":"RateLimitError","message":"slow down"}', Unavailable),
    ],
)
def test_answers_of_other_servers(impostor: str, status: int, body: bytes, error: type[Exception]) -> None:
    Impostor.status, Impostor.body = status, body
    with open_source(impostor, **{"api-key": Secret("s3cret")}) as session, pytest.raises(error) as caught:
        session.describe()
    assert Impostor.seen["X-Chroma-Token"] == "s3cret"
    assert "s3cret" not in repr(caught.value) + str(caught.value)


def test_a_key_never_travels_in_the_clear(filled: Path) -> None:
    key = {"api-key": Secret("s3cret")}
    for open_ in (open_source, open_target):
        with pytest.raises(UsageError, match="without TLS") as caught:
            open_("chroma://db.example:8000", **key)
        assert "chroma+https://db.example:8000" in caught.value.next
    with pytest.raises(UsageError, match="without TLS"):
        CONNECTOR.collections(place_of("chroma://db.example:8000", **key))
    with pytest.raises(UsageError, match="names a user"), open_source("chroma://me@127.0.0.1:1") as session:
        session.describe()


def test_tenants_and_databases(server: ChromaEngine) -> None:
    admin = chromadb.AdminClient(
        chromadb.Settings(
            chroma_api_impl="chromadb.api.fastapi.FastAPI",
            chroma_server_host="127.0.0.1",
            chroma_server_http_port=server.port,
        )
    )
    admin.create_tenant("acme")
    admin.create_database("prod", "acme")
    collection = collection_of(name="mine")
    options = {"tenant": "acme", "database": "prod"}
    with open_target(server.address, "mine", **options) as target:
        assert target.describe() is None
        target.prepare(TargetPlan(collection, 1))
        target.write(batch_of(collection, ["a"]), MARK)
    assert [(c.name, c.rows, c.detail) for c in CONNECTOR.collections(place_of(server.address, **options))] == [
        ("mine", 1, "4 dimensions, l2")
    ]
    with pytest.raises(NotFound, match="Tenant"), open_target(server.address, "mine", tenant="nobody") as target:
        target.prepare(TargetPlan(collection, 1))


def test_more_collections_than_one_page(server: ChromaEngine, raw_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "_COLLECTIONS_AT_ONCE", 7)
    for i in range(20):
        raw_server.get_or_create_collection(f"many-{i:03}", embedding_function=None)
    found = [c.name for c in CONNECTOR.collections(place_of(server.address)) if c.name.startswith("many-")]
    assert found == [f"many-{i:03}" for i in range(20)]


def test_the_environment_and_dotenv_do_not_redirect(
    tmp_path: Path, server: ChromaEngine, filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("CHROMA_SERVER_HTTP_PORT=1\nIS_PERSISTENT=False\nMIGRATIONS=none\n")
    monkeypatch.setenv("CHROMA_SERVER_HOST", "192.0.2.1")
    monkeypatch.setenv("CHROMA_API_IMPL", "nonsense")
    assert isinstance(CONNECTOR.collections(place_of(server.address)), list)
    assert CONNECTOR.collections(place_of("chroma:./db"))[0].name == "docs"


# -- answers that no version gives today -----------------------------------------------------------------------


@pytest.mark.parametrize("vector", [None, [], [1.0], [1.0, 2.0, 3.0], ["a", "b"]])
def test_a_vector_of_another_shape_is_an_error(tmp_path: Path, vector: Any) -> None:
    with CONNECTOR.open_target(parse(f"chroma:{tmp_path / 'db'}"), "docs") as session:
        session.prepare(TargetPlan(DOCS, 2))
        session.write(page(["a", "b"]), MARK)
    with CONNECTOR.open_source(parse(f"chroma:{tmp_path / 'db'}"), "docs", Selection()) as source:
        assert isinstance(source, chroma_source.ChromaSource)
        answer = source._ask(["a", "b"], filtered=False)
        assert source.fetch([("", "b"), ("", "a")]).column("id").to_pylist() == ["b", "a"]
        answer["embeddings"] = [list(answer["embeddings"][0]), vector]
        with pytest.raises(IntegrityError, match="not 2 numbers each"):
            source._page(answer)
