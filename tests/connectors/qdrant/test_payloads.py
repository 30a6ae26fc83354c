"""Payloads of Qdrant's points: every kind of value comes back exactly or is refused by name."""

from __future__ import annotations

import http.server
import json
import math
import random
import struct
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pytest
from qdrant_client import QdrantClient, models
from qdrant_client import grpc as pb

from vecport.connectors.address import Place
from vecport.connectors.contract import Selection, TargetPlan
from vecport.connectors.kit.floats import survives_serde_json
from vecport.connectors.qdrant import QdrantSource, QdrantTarget, packing, wire
from vecport.connectors.qdrant.backend import Read, ServerBackend
from vecport.errors import NotRepresentable, Unavailable
from vecport.model import canonical
from vecport.model.collection import Collection, VectorField
from vecport.testing.engines.base import free_port

from .support import HARD_IDS, LIVE, UUIDS, collection, eventually_equal, page, read, source, write

# ---- payloads ----

PAYLOADS: list[dict[str, Any]] = [
    {},
    {"null": None, "true": True, "false": False, "one": 1, "one.0": 1.0, "text one": "1", "empty": ""},
    {"ints": [0, -1, 2**53, 2**53 + 1, -(2**63), 2**63 - 1]},
    {"floats": [0.0, -0.0, 0.5, 1e15, 1e16, 1e22, 1e-7, 5e-324, 1e300, -123.456]},
    {"nested": {"a": {"b": [{"c": None}, [], {}, [[]]]}}, "mixed": [1, "a", None, True, 1.5, {"x": []}]},
    {"": 1, "a.b": 2, "a[0]": 3, "a[]": 4, "\0": 5, "$vp": 6, "$$vp": {"$vp": "NaN"}, "é": 7, '"': 8, "\\": 9},
    {"nul": "a\0b", "emoji": "😀", "combining": "e\u0301", "long": "x" * 100_000, "controls": "\x01\x1f\x7f\u2028"},
    {"k" * 500: "v", "empty list": [], "empty object": {}, "strings": ["", "a"], "bools": [True, False]},
    {"deep objects": [{"a": 1}]},
]


def nested(depth: int, make: Callable[[Any], Any]) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = make(value)
    return value


def test_payload_of_every_kind_comes_back_exactly(place: Place, name: str) -> None:
    c = collection(name)
    payloads = [*PAYLOADS, {"o": nested(32, lambda v: {"k": v})}, {"l": nested(48, lambda v: [v])}]
    texts = [canonical.dumps(p) for p in payloads]
    write(place, c, page(c, [str(i) for i in range(len(texts))], metadata=texts))
    assert read(place, name).column("metadata").to_pylist() == texts


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (2**63, "have 63 bits"),
        (-(2**63) - 1, "have 63 bits"),
        (10**400, "have 63 bits"),
        ({"a": [2**64]}, "have 63 bits"),
        (math.nan, "no JSON number"),
        ([{"x": -math.inf}], "no JSON number"),
        (b"\x00\xff", "type bytes"),
        ("\ud800", "surrogates"),
        ({"\ud800": 1}, "surrogates"),
        (nested(33, lambda v: {"k": v}), "nest too deep"),
        (nested(49, lambda v: [v]), "nest too deep"),
        (0.9452706955539223, "stored as another one"),
        ([1.5, {"x": 0.38120423768821243}], "stored as another one"),
    ],
)
def test_values_that_qdrant_would_change_are_refused_by_name(place: Place, name: str, value: Any, reason: str) -> None:
    c = collection(name)
    with pytest.raises(NotRepresentable) as caught:
        write(place, c, page(c, ["1", "2"], metadata=[{}, {"the key": value}]))
    assert "record 2, metadata key 'the key'" in str(caught.value)
    assert reason in str(caught.value)
    assert read(place, name).num_rows == 0


def test_numbers_survive_exactly_when_the_connector_says_so(server: ServerBackend, name: str) -> None:
    """Qdrant stores payloads as JSON text and reads numbers back without exact rounding."""
    rng = random.Random(5)
    values = [rng.random() for _ in range(1500)]
    values += [struct.unpack("<f", struct.pack("<f", rng.random()))[0] for _ in range(500)]
    values += [round(rng.uniform(-1e6, 1e6), rng.randrange(6)) for _ in range(500)]
    values += [x * 10.0 ** rng.randrange(-40, 40) for x in values[:500]]
    values += [float(rng.randrange(2**52, 2**60)) for _ in range(500)]
    bits = [struct.unpack("<d", rng.randbytes(8))[0] for _ in range(1500)]
    values += [x for x in bits if math.isfinite(x)]
    # These are asked for by REST: see the tests of integers that gRPC shows as floats.
    values = [x for x in values if not 2.0**63 <= x <= 2.0**64]
    values += [0.0, -0.0, 5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, 1e16, 9007199254740993.0]
    server.create(TargetPlan(collection=collection(name, 1), rows=len(values)))
    points = [
        pb.PointStruct(
            id=pb.PointId(num=i),
            payload={"x": pb.Value(double_value=x)},
            vectors=pb.Vectors(vector=pb.Vector(dense=pb.DenseVector(data=[1.0]))),
        )
        for i, x in enumerate(values)
    ]
    request = pb.UpsertPoints(collection_name=name, wait=True, points=points)
    server.server.call(server.server.points.Upsert, request, "writing")
    rows = server.scroll(Read(name, (VectorField(name="", dim=1, metric="dot"),)), None, len(values)).result()
    assert rows.metadata is not None
    found = [json.loads(text)["x"] for text in rows.metadata.to_pylist()]
    kept = [struct.pack("<d", a) == struct.pack("<d", b) for a, b in zip(values, found, strict=True)]
    assert kept == [survives_serde_json(x) for x in values]
    assert 0.05 < kept.count(False) / len(kept) < 0.4


def test_packed_points_are_what_protobuf_writes() -> None:
    ids = HARD_IDS[: len(PAYLOADS)]
    for vector in ("", "title", "v" * 200):
        for dim in (1, 40, 700):
            c = collection("c", dim, vector=vector)
            batch = page(c, ids, metadata=PAYLOADS, valid=np.arange(len(ids)) % 3 != 1)
            packed = packing.upsert_head("c") + b"".join(packing.pack_points(batch, c))
            request = pb.UpsertPoints.FromString(packed)
            assert request.SerializeToString(deterministic=True) == official_request(batch, c).SerializeToString(
                deterministic=True
            )


def official_request(batch: pa.RecordBatch, c: Collection) -> Any:
    from qdrant_client.conversions.conversion import RestToGrpc

    name = c.vectors[0].name
    points = []
    for row in batch.to_pylist():
        vector: Any = list(row.values())[4]
        vector = {} if vector is None else {name: vector} if name else vector
        key = wire.parse_key(row["id"])
        assert key is not None
        point = models.PointStruct(id=key, vector=vector, payload=canonical.loads(row["metadata"]))
        points.append(RestToGrpc.convert_point_struct(point))
    return pb.UpsertPoints(collection_name=c.name, wait=True, points=points)


def test_capabilities_name_the_kinds_that_come_back() -> None:
    caps = QdrantTarget.capabilities
    assert caps.metadata.exact.isdisjoint({"integer64u", "integer_big", "nonfinite", "decimal", "bytes", "surrogates"})
    assert {"null", "boolean", "integer64", "object", "string_nul", "list_empty", "list_mixed"} <= caps.metadata.exact
    assert caps.metadata.forbidden_keys == ""
    assert (caps.id_text, caps.id_int_min, caps.id_int_max) == (False, 0, 2**64 - 1)
    assert caps.null_vectors
    assert not caps.native_document


# ---- integers that gRPC shows as floats, payloads that are too deep for it ----


class _Rest(http.server.BaseHTTPRequestHandler):
    payloads: ClassVar[dict[Any, list[dict[str, Any]]]] = {}
    seen: ClassVar[list[Any]] = []

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        type(self).seen.append((self.path, self.headers.get("api-key"), body["ids"]))
        result = []
        for key in body["ids"]:
            queue = type(self).payloads.get(key, [])
            if queue:
                result.append({"id": key, "payload": queue[0] if len(queue) == 1 else queue.pop(0)})
        answer = json.dumps({"result": result}).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: Any) -> None:
        return None


@pytest.fixture
def rest(server: ServerBackend) -> Iterator[type[_Rest]]:
    """A REST interface beside the gRPC one: the engine of the tests has none."""
    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Rest)
    thread = threading.Thread(target=httpd.serve_forever, daemon=True)
    thread.start()
    server.server.http_port = httpd.server_address[1]
    _Rest.payloads, _Rest.seen = {}, []
    yield _Rest
    httpd.shutdown()
    httpd.server_close()


def scan_backend(server: ServerBackend, name: str) -> list[dict[str, Any]]:
    session = QdrantSource(server, name, Selection())
    return [row for p in session.scan({}, None, 10) for row in p.batch.to_pylist()]


def test_integers_that_grpc_shows_as_floats_are_read_exactly(
    server: ServerBackend, place: Place, name: str, rest: type[_Rest]
) -> None:
    c = collection(name)
    doubles = [{"u": float(2**63)}, {"u": 2.0**64, "n": [{"x": 9.5e18}]}, {"s": "1e+18 e+19"}, {"u": 2.0**63 * 1.5}]
    write(place, c, page(c, ["1", "2", "3", "4"], metadata=doubles))
    rest.payloads = {
        1: [{"u": 2**63 + 1}],
        2: [{"u": 2**64 - 1, "n": [{"x": 9.5e18}]}],
        4: [{"u": 2.0**63 * 1.5}],
    }
    found = [row["metadata"] for row in scan_backend(server, name)]
    assert found == [
        '{"u":9223372036854775809}',
        '{"n":[{"x":9.5e+18}],"u":18446744073709551615}',
        '{"s":"1e+18 e+19"}',
        canonical.dumps(doubles[3]),
    ]
    assert rest.seen == [(f"/collections/{name}/points", None, [1, 2, 4])]


def test_record_that_changes_between_the_two_interfaces_is_read_again(
    server: ServerBackend, place: Place, name: str, rest: type[_Rest]
) -> None:
    c = collection(name)
    write(place, c, page(c, ["1", "2"], metadata=[{"u": float(2**63)}, {"u": float(2**63)}]))
    rest.payloads = {1: [{"u": 5}, {"u": 2**63}]}
    found = [(row["id"], row["metadata"]) for row in scan_backend(server, name)]
    assert found == [("1", '{"u":9223372036854775808}')]
    rest.payloads = {1: [{"u": 5}], 2: [{"u": 2**63}]}
    with pytest.raises(Unavailable, match="change faster"):
        scan_backend(server, name)


def test_without_rest_such_integers_are_refused_and_never_guessed(
    server: ServerBackend, place: Place, name: str
) -> None:
    c = collection(name)
    write(place, c, page(c, ["1"], metadata=[{"u": float(2**63)}]))
    server.server.http_port = free_port()
    with pytest.raises(NotRepresentable, match="2\\^63-1"):
        scan_backend(server, name)


@pytest.mark.skipif(not LIVE, reason="needs a server with a REST interface: VECPORT_TEST_QDRANT")
def test_live_server_stores_integers_and_depth_that_grpc_does_not_show(place: Place, name: str) -> None:
    import httpx

    c = collection(name, 2)
    write(place, c, page(c, ["1"], metadata=[{"plain": 1}]))
    deep = {"deep": nested(100, lambda v: {"k": v}), "f": 9.3e18, "u": 2**64 - 1}
    wide = {"u": 2**63 + 1, "f": 1.5}
    points = [{"id": 2, "vector": [1, 2], "payload": deep}, {"id": UUIDS[2], "vector": [3, 4], "payload": wide}]
    url = f"http://{place.host}:{place.port}/collections/{name}/points?wait=true"
    assert httpx.put(url, content=json.dumps({"points": points}), trust_env=False).status_code == 200
    found = read(place, name).to_pylist()
    assert [row["metadata"] for row in found] == [canonical.dumps(p) for p in ({"plain": 1}, deep, wide)]
    with source(place, name) as session:
        assert session.fetch([("", "2")]).to_pylist()[0]["metadata"] == canonical.dumps(deep)


@pytest.mark.skipif(not LIVE, reason="needs the optimizers of a server: VECPORT_TEST_QDRANT")
def test_live_server_hides_deferred_points_and_the_source_refuses_to_begin(
    place: Place, official: QdrantClient, name: str
) -> None:
    config = models.OptimizersConfigDiff(prevent_unoptimized=True, indexing_threshold=1000, max_optimization_threads=0)
    params = models.VectorParams(size=256, distance=models.Distance.DOT)
    official.create_collection(name, vectors_config=params, optimizers_config=config)
    matrix = np.random.default_rng(0).normal(size=(4000, 256)).astype(np.float32)
    official.upload_collection(name, vectors=matrix, ids=list(range(4000)), batch_size=500, wait=False)
    eventually_equal(lambda: official.get_collection(name).points_count, 4000)
    with source(place, name) as session:
        hidden = 4000 - session.count()
        assert hidden > 0
        assert f"{hidden:,} points are deferred" in "".join(session.describe().notes)
        with pytest.raises(Unavailable, match="deferred"):
            session.snapshot()


def test_page_too_deep_for_protobuf_takes_its_payloads_from_rest() -> None:
    deep = nested(60, lambda v: {"k": v})
    bare = pb.ScrollResponse(result=[pb.RetrievedPoint(id=pb.PointId(num=i)) for i in (1, 2)])
    calls = SimpleNamespace(
        scroll=None,
        get=None,
        pb=pb,
        version="1.19.0",
        place=SimpleNamespace(text="qdrant://test"),
        at_least=lambda major, minor: True,
        call=lambda method, request, doing: bare.SerializeToString(),
        rest_payloads=lambda name, keys: {1: {"a": deep}},
    )
    found = ServerBackend(calls)  # type: ignore[arg-type]
    # What a decoder meets beyond a hundred levels: groups of one field in one another.
    answer = b"\x12" + bytes([2]) + b"\x0b" * 2
    request = pb.ScrollPoints(with_payload=pb.WithPayloadSelector(enable=True))
    rows = found.rows(Read("c", (VectorField(name="", dim=2, metric="dot"),)), request, answer, pb.ScrollResponse)
    assert not request.with_payload.enable
    assert (rows.keys, rows.missing, rows.last) == ([1], [2], 2)
    assert rows.metadata is not None
    assert rows.metadata.to_pylist() == [canonical.dumps({"a": deep})]
