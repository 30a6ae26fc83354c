"""The Qdrant connector over the real wire: the official protobuf classes, and the real engine or server behind them.

``VECPORT_TEST_QDRANT=qdrant://127.0.0.1:6333`` runs the same tests against a live server.
"""

from __future__ import annotations

import hashlib
import http.server
import itertools
import json
import math
import os
import pickle
import random
import re
import socket
import sqlite3
import struct
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pytest
from qdrant_client import QdrantClient, models
from qdrant_client import grpc as pb

from tests.connectors.qdrant_bench import (
    CONNECTOR,
    HARD_IDS,
    LIVE,
    MARK,
    UUIDS,
    collection,
    ids_of,
    make,
    mixed_ids,
    name,
    official,
    ordered,
    page,
    place,
    read,
    server,
    source,
    vectors,
    write,
)
from vecport.connectors.address import Place, parse, with_options
from vecport.connectors.contract import Selection, TargetPlan
from vecport.connectors.qdrant import (
    QdrantSource,
    QdrantTarget,
    backend,
    client,
    packing,
    schema,
    settings,
    wire,
)
from vecport.connectors.qdrant.backend import Read, Rows, ServerBackend
from vecport.connectors.qdrant.client import Server
from vecport.connectors.qdrant.vectors import column as vector_column
from vecport.connectors.secrets import Secret
from vecport.errors import (
    AlreadyExists,
    AuthenticationFailed,
    Incomplete,
    IntegrityError,
    Locked,
    NotFound,
    NotRepresentable,
    OutOfResources,
    Throttled,
    Unavailable,
    UsageError,
    VecportError,
)
from vecport.model import canonical
from vecport.model.batch import dense_array, make_page
from vecport.model.collection import Collection, VectorField
from vecport.testing.engines import QdrantEngine
from vecport.testing.engines.base import free_port
from vecport.testing.heard import Heard

# ---- vectors ----

__all__ = ["name", "official", "place", "server"]


@pytest.mark.parametrize("metric", ["dot", "l2", "l1"])
@pytest.mark.parametrize("vector", ["", "text é"])
def test_vectors_come_back_bit_for_bit(place: Place, name: str, metric: str, vector: str) -> None:
    c = collection(name, 37, metric, vector)
    matrix = np.random.default_rng(1).normal(size=(100, 37)).astype(np.float32)
    matrix[0] = [0.0, -0.0, 1e-45, -1e-38, 3.4028235e38, 1.0] + [0.1] * 31
    matrix[1] = 0
    write(place, c, page(c, [str(i) for i in range(100)], matrix))
    assert np.array_equal(vectors(read(place, name), c).view(np.uint32), matrix.view(np.uint32))
    with source(place, name) as session:
        assert replace(session.describe().collection, native={}) == c


@pytest.mark.parametrize("dim", [1, 3, 31, 32, 33, 128, 1536])
def test_every_dimension_has_its_headers(place: Place, name: str, dim: int) -> None:
    c = collection(name, dim)
    matrix = np.random.default_rng(dim).normal(size=(3, dim)).astype(np.float32)
    write(place, c, page(c, ["1", "2", "3"], matrix))
    assert np.array_equal(vectors(read(place, name), c), matrix)


def test_cosine_keeps_unit_vectors_and_directions(place: Place, name: str) -> None:
    c = collection(name, 64, "cosine")
    matrix = np.random.default_rng(2).normal(size=(60, 64)).astype(np.float32)
    matrix[:20] /= np.linalg.norm(matrix[:20].astype(np.float64), axis=1, keepdims=True)
    matrix[40:50] *= 1e15
    matrix[50:59] *= 1e-12
    matrix[59] = 0
    write(place, c, page(c, [str(i) for i in range(60)], matrix))
    found = vectors(read(place, name), c)
    assert np.array_equal(found[:20].view(np.uint32), matrix[:20].view(np.uint32))
    exact = matrix.astype(np.float64)
    unit = exact / np.maximum(np.linalg.norm(exact, axis=1, keepdims=True), 1e-300)
    back = found / np.maximum(np.linalg.norm(found.astype(np.float64), axis=1, keepdims=True), 1e-300)
    largest = np.maximum(np.abs(unit).max(axis=1, keepdims=True), 1e-300)
    bound = QdrantTarget.capabilities.bounds["cosine"]
    assert (np.abs(back - unit) / largest).max() <= bound.relative
    with source(place, name) as session:
        field = session.describe().collection.vectors[0]
    assert (field.normalized, field.fidelity, field.bound) == (True, "bounded", bound)


def test_second_round_through_cosine_changes_no_bit(place: Place, name: str) -> None:
    c = collection(name, 96, "cosine")
    write(place, c, page(c, [str(i) for i in range(300)], np.random.default_rng(3).normal(size=(300, 96)) * 7))
    first = read(place, name)
    write(place, c, page(c, first.column("id").to_pylist(), vectors(first, c)))
    assert read(place, name).column(4).equals(first.column(4))


@pytest.mark.parametrize("metric", ["dot", "cosine"])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_vectors_that_are_not_finite_are_refused(place: Place, name: str, metric: str, bad: float) -> None:
    c = collection(name, 4, metric)
    with pytest.raises(NotRepresentable, match="record 8"):
        write(place, c, page(c, ["7", "8"], [[1, 2, 3, 4], [1, 2, bad, 4]]))
    assert read(place, name).num_rows == 0


def test_cosine_vector_whose_length_overflows_is_refused_as_it_would_become_zeros(place: Place, name: str) -> None:
    c = collection(name, 4, "cosine")
    with pytest.raises(NotRepresentable, match="overflows"):
        write(place, c, page(c, ["1"], [[1e25, 1e25, 0, 0]]))


def test_old_servers_fill_the_deprecated_vector_fields() -> None:
    field = VectorField(name="", dim=3, metric="dot")
    named = VectorField(name="v", dim=3, metric="dot")
    old = pb.VectorOutput(data=[1.0, -0.0, 3.5])
    new = pb.VectorOutput(dense=pb.DenseVector(data=[1.0, -0.0, 3.5]))
    for output in (old, new):
        plain = pb.RetrievedPoint(vectors=pb.VectorsOutput(vector=output))
        inside = pb.RetrievedPoint(vectors=pb.VectorsOutput(vectors=pb.NamedVectorsOutput(vectors={"v": output})))
        for point, f in ((plain, field), (inside, named)):
            assert vector_column([point, pb.RetrievedPoint()], f).to_pylist() == [[1.0, -0.0, 3.5], None]
    assert vector_column([], field).to_pylist() == []


@pytest.mark.parametrize(
    "output",
    [
        pb.VectorOutput(dense=pb.DenseVector(data=[1.0, 2.0])),
        pb.VectorOutput(data=[1.0, 2.0, 3.0, 4.0]),
        pb.VectorOutput(sparse=pb.SparseVector(values=[1.0], indices=[1])),
        pb.VectorOutput(data=[1.0, 2.0, 3.0], indices=pb.SparseIndices(data=[1, 2, 3])),
        pb.VectorOutput(data=[1.0, 2.0, 3.0], vectors_count=1),
    ],
)
def test_vector_that_does_not_fit_the_schema_stops_the_scan(output: Any) -> None:
    point = pb.RetrievedPoint(id=pb.PointId(num=9), vectors=pb.VectorsOutput(vector=output))
    with pytest.raises(IntegrityError, match="point 9"):
        vector_column([point], VectorField(name="", dim=3, metric="dot"))


def test_missing_vector_is_null_and_an_upsert_replaces_the_whole_record(place: Place, name: str) -> None:
    for vector in ("", "named"):
        c = collection(name, 2, vector=vector)
        full = page(c, ["1", "2"], [[1, 2], [3, 4]], [{"a": 1, "b": 2}, {"a": 3}])
        write(place, c, full, if_exists="replace")
        bare = page(c, ["1", "2"], np.zeros((2, 2)), [{"b": 5}, {}], np.array([False, True]))
        write(place, c, bare)
        rows = read(place, name).to_pylist()
        assert [row["metadata"] for row in rows] == ['{"b":5}', "{}"]
        assert [row[list(row)[4]] for row in rows] == [None, [0.0, 0.0]]


# ---- ids ----


def test_ids_at_the_edges_come_back_in_order(place: Place, name: str) -> None:
    c = collection(name)
    shuffled = HARD_IDS[::-1]
    write(place, c, page(c, shuffled))
    table = read(place, name, 3)
    assert table.column("id").to_pylist() == HARD_IDS == ordered(shuffled)
    with source(place, name) as session:
        assert session.describe().collection.id_kind == "int|uuid"
        assert sorted(session.fetch([("", i) for i in HARD_IDS]).column("id").to_pylist()) == sorted(HARD_IDS)


@pytest.mark.parametrize(
    "text", ["-1", "18446744073709551616", "007", "abc", "", "1.0", "550E8400-E29B-41D4-A716-446655440000", "1 "]
)
def test_ids_that_qdrant_lacks_are_refused_by_name(place: Place, name: str, text: str) -> None:
    c = collection(name)
    with pytest.raises(NotRepresentable) as caught:
        write(place, c, page(c, ["1", text]))
    assert repr(text) in str(caught.value)
    assert read(place, name).num_rows == 0


def test_successor_of_every_kind_of_key() -> None:
    assert wire.after(0) == 1
    assert wire.after(2**64 - 1) == UUIDS[0]
    assert wire.after(UUIDS[0]) == UUIDS[1]
    assert wire.after("00000000-0000-0000-0000-0000000000ff") == "00000000-0000-0000-0000-000000000100"
    assert wire.after(UUIDS[-1]) is None
    assert wire.rising([1, 2, UUIDS[0], UUIDS[1]])
    assert not wire.rising([1, 1])
    assert not wire.rising([UUIDS[0], 1])
    assert not wire.rising([2, 1, UUIDS[0]])


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
    assert kept == [wire.survives(x) for x in values]
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


# ---- scanning ----


@pytest.fixture(scope="module")
def mixed(place: Place, official: QdrantClient) -> Iterator[Collection]:
    """500 records with integers and UUIDs as ids."""
    c = collection(f"t-mixed-{uuid.uuid4().hex[:8]}")
    ids = mixed_ids(500)
    write(place, c, page(c, ids, metadata=[{"i": i, "even": i % 2 == 0} for i in range(500)]))
    yield c
    official.delete_collection(c.name)


def test_page_size_changes_neither_rows_nor_order(place: Place, mixed: Collection) -> None:
    tables = [read(place, mixed.name, rows).combine_chunks() for rows in (1, 7, 1000)]
    assert tables[0].column("id").to_pylist() == ordered(mixed_ids(500))
    assert tables[0].equals(tables[1])
    assert tables[0].equals(tables[2])


def test_scan_goes_on_behind_every_cursor(place: Place, mixed: Collection) -> None:
    with source(place, mixed.name) as session:
        partition = session.partitions(250, {})[1]
        pages = list(session.scan(partition, None, 23))
        everything = ids_of(pages)
        seen = 0
        for p in pages:
            seen += len(p.batch)
            cursor = json.loads(json.dumps(p.cursor))
            assert ids_of(list(session.scan(partition, cursor, 41))) == everything[seen:]


def test_key_deleted_at_the_cursor_repeats_and_loses_nothing(place: Place, name: str) -> None:
    c = collection(name)
    ids = ordered(mixed_ids(60, 3))
    write(place, c, page(c, ids))
    with source(place, name) as session, CONNECTOR.open_target(place, name) as target:
        for at in (9, 19, 29, 39):
            pages = session.scan({}, None, 10)
            first = list(itertools.islice(pages, (at + 1) // 10))
            assert ids_of(first)[-1] == ids[at]
            target.delete([("", ids[at]), ("", ids[at + 1])])
            assert ids_of(list(session.scan({}, first[-1].cursor, 10))) == ids[at + 2 :]
            write(place, c, page(c, [ids[at], ids[at + 1]]))
        assert list(session.scan({}, {"after": UUIDS[-1]}, 10)) == []


@pytest.mark.parametrize("kind", ["slices", "ranges", "sampled ranges"])
def test_partitions_are_disjoint_and_complete(
    place: Place, mixed: Collection, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind == "sampled ranges":
        monkeypatch.setattr("vecport.connectors.qdrant.source.MAX_SLICES", 0)
        monkeypatch.setattr("vecport.connectors.qdrant.source.SAMPLES_EACH", 8)
    with source(place, mixed.name) as session:
        session._backend.slices = kind != "ranges"
        for rows in (1, 30, 100, 250, 499):
            partitions = json.loads(json.dumps(session.partitions(rows, {})))
            assert partitions == session.partitions(rows, {})
            if kind == "sampled ranges":
                assert 0.3 < len(partitions) / (500 / rows) < 3
            else:
                assert len(partitions) == -(-500 // rows) or rows == 1
            if rows == 1:
                assert len(partitions) == 500
                continue
            found = [ids_of(list(session.scan(p, None, 16))) for p in partitions]
            assert all(part == ordered(part) for part in found)
            assert list(itertools.chain(*found)) == ordered(mixed_ids(500)) or kind == "slices"
            assert sorted(itertools.chain(*found)) == sorted(mixed_ids(500))
        assert session.partitions(500, {}) == [{}]


@pytest.mark.parametrize("kind", ["slices", "ranges"])
def test_partitions_stay_complete_under_writes(place: Place, name: str, kind: str) -> None:
    """Records that are there all the time are read exactly once, whatever is inserted, deleted or changed beside."""
    c = collection(name)
    steady, passing = mixed_ids(800, 7), mixed_ids(400, 8)
    write(place, c, page(c, steady + passing[:200]))
    stop = threading.Event()

    def disturb() -> None:
        rng, around = random.Random(1), 0
        with CONNECTOR.open_target(place, name) as target:
            target.attach(TargetPlan(collection=c, rows=0))
            while not stop.is_set():
                chosen = rng.sample(passing, 20)
                target.delete(chosen[:10])
                target.write(page(c, chosen[10:] + rng.sample(steady, 10), metadata=[{"n": around}] * 20), MARK)
                around += 1

    writer = threading.Thread(target=disturb)
    writer.start()
    try:
        with source(place, name) as session:
            session._backend.slices = kind == "slices"
            for rows in (150, 5000):
                found = [i for p in session.partitions(rows, {}) for i in ids_of(list(session.scan(p, None, 13)))]
                assert len(found) == len(set(found))
                assert set(steady) <= set(found) <= set(steady) | set(passing)
    finally:
        stop.set()
        writer.join()


class Script(backend.Backend):
    """A backend that gives scripted pages."""

    text, version, pb = "qdrant://script", "1.19.0", pb

    def __init__(self, pages: Sequence[Rows], info: Sequence[Any] = ()) -> None:
        self.pages, self.infos, self.asked, self.nudges = list(pages), list(info), list[Any](), 0

    def scroll(self, read: Read, offset: Any, limit: int) -> Any:
        self.asked.append(offset)
        rows = self.pages.pop(0) if self.pages else Rows([])
        return SimpleNamespace(result=lambda: rows, cancel=lambda: None)

    def info(self, collection: str) -> Any:
        return self.infos.pop(0) if len(self.infos) > 1 else self.infos[0]

    def nudge(self, collection: str) -> None:
        self.nudges += 1

    def count(self, read: Read) -> int:
        return 3

    def set_metadata(self, collection: str, key: str, text: str | None) -> None:
        return None

    def filter(self, where: str | None) -> Any:
        return None

    def close(self) -> None:
        return None

    def _unused(self, *args: Any) -> Any:
        raise AssertionError

    names = aliases = all_aliases = get = create = drop = add_alias = upsert = remove = nearest = hint = _unused  # type: ignore[assignment]


Script.__abstractmethods__ = frozenset()  # type: ignore[attr-defined]


def facts(**changes: Any) -> Any:
    info = pb.CollectionInfo(status=pb.Green)
    info.config.params.vectors_config.params.CopyFrom(pb.VectorParams(size=2, distance=pb.Dot))
    for key, value in changes.items():
        setattr(info, key, value)
    return info


def scripted(*pages: tuple[list[Any], Any]) -> tuple[QdrantSource, Script]:
    rows = []
    for keys, following in pages:
        texts = pa.array(["{}"] * len(keys), pa.string())
        rows.append(Rows(keys, texts, None, following, keys[-1] if keys else None))
    script = Script(rows, [facts()])
    return QdrantSource(script, "c", Selection()), script


def test_short_page_without_a_next_offset_is_not_the_end() -> None:
    session, script = scripted(([1, 2], 5), ([5], None), ([8, UUIDS[1]], None), ([], None))
    assert ids_of(list(session.scan({}, None, 2))) == ["1", "2", "5", "8", UUIDS[1]]
    assert script.asked == [None, 5, 6, wire.after(UUIDS[1])]


def test_empty_page_with_a_next_offset_is_not_the_end() -> None:
    session, _ = scripted(([1], 2), ([], 7), ([7], None), ([], None))
    assert ids_of(list(session.scan({}, None, 1))) == ["1", "7"]


@pytest.mark.parametrize(
    "pages",
    [
        [([1, 2], 2)],
        [([1, 2], 1)],
        [([1, 2], 3), ([], 3)],
        [([1, 2], 3), ([2, 3], 4)],
        [([1, 1], 2)],
        [([2, 1], 3)],
        [([UUIDS[0], 1], 3)],
        [([5], UUIDS[0]), ([6], 7)],
    ],
)
def test_scan_that_does_not_move_or_rise_is_an_error(pages: list[tuple[list[Any], Any]]) -> None:
    session, _ = scripted(*pages)
    with pytest.raises(Incomplete):
        list(session.scan({}, None, 2))


def test_range_stops_before_its_end_and_asks_for_nothing_behind_it() -> None:
    session, script = scripted(([1, 2, 3], 9), ([9], None))
    assert ids_of(list(session.scan({"from": "1", "to": "3"}, None, 3))) == ["1", "2"]
    assert script.asked == [1]


def test_listed_records_that_are_gone_are_named() -> None:
    texts = pa.array(["{}"], pa.string())
    gone = Rows([1], texts, None, 7, 6, [3, 6])
    session = QdrantSource(Script([gone, Rows([], None, None, None)], [facts()]), "c", Selection())
    (p,) = session.scan({}, None, 3)
    assert (p.missing, p.cursor) == ((("", "3"), ("", "6")), {"after": "6"})


def test_keys_fetch_count_and_where(place: Place, mixed: Collection) -> None:
    ids = ordered(mixed_ids(500))
    left_out = next(i for n, i in enumerate(mixed_ids(500)) if n % 2 == 0 and not i.isdigit())
    must = [{"key": "even", "match": {"value": True}}]
    where = json.dumps({"must": must, "must_not": [{"has_id": [left_out]}]})
    with source(place, mixed.name) as session:
        assert [i for b in session.keys() for i in b.column("id").to_pylist()] == ids
        assert session.count() == 500 == session.describe().count
        wanted = [("", i) for i in (*ids[:5], "77", "no id", UUIDS[2], ids[0])] + [("elsewhere", ids[9])]
        assert sorted(session.fetch(wanted).column("id").to_pylist()) == sorted(ids[:5])
        assert session.fetch([]).num_rows == 0
        assert session.fetch([("", "x")]).num_rows == 0
        everything = pa.Table.from_batches([p.batch for p in session.scan({}, None, 500)])
        fetched = pa.Table.from_batches([session.fetch([("", i) for i in ids])])
        assert fetched.sort_by("id").equals(everything.sort_by("id"))
    with source(place, mixed.name, where) as session:
        parts = session.partitions(60, {})
        assert (session.count(), len(parts)) == (249, 5)
        found = [row for p in parts for page in session.scan(p, None, 50) for row in page.batch.to_pylist()]
        assert len(found) == 249 == len({row["id"] for row in found})
        assert all(json.loads(row["metadata"])["even"] for row in found)


@pytest.mark.parametrize(
    "where",
    ["{", "[]", '{"musst": []}', '{"must": [{"key": "a", "match": {"vlue": 1}}]}', '{"must": [{"has_id": [-1]}]}', "1"],
)
def test_filters_that_qdrant_lacks_are_usage_errors(place: Place, mixed: Collection, where: str) -> None:
    with source(place, mixed.name, where) as session, pytest.raises(UsageError, match="--where"):
        session.count()


def test_empty_collection_has_no_pages(place: Place, name: str) -> None:
    c = collection(name)
    write(place, c, page(c, []))
    with source(place, name) as session:
        (partition,) = session.partitions(100, {})
        assert list(session.scan(partition, None, 10)) == []
        assert list(session.keys()) == []
        assert session.describe().count == 0


# ---- describe ----


DENSE = models.VectorParams(size=2, distance=models.Distance.DOT)
MULTI = models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM)


def test_custom_sharding_and_deferred_points_are_noticed() -> None:
    info = facts()
    info.config.params.sharding_method = pb.Custom
    assert schema.unsupported(info, pb) == ["custom sharding"]
    script = Script([], [info])
    script.shard_keys = lambda name: ["eu", "7"]  # type: ignore[method-assign]
    with pytest.raises(NotRepresentable, match=r"custom sharding \(shard keys: 'eu', '7'\)") as caught:
        QdrantSource(script, "c", Selection()).describe()
    assert "shard key" in caught.value.next
    later = facts()
    later.config.params.vectors_config.params.distance = 77
    assert schema.unsupported(later, pb) == ["vector '' with distance 77"]
    later.config.params.vectors_config.params.datatype = 88
    assert schema.unsupported(later, pb) == ["vector '' of 88"]
    deferred = facts()
    deferred.update_queue.deferred_points = 12
    assert "12 points are deferred" in schema.notes(deferred, pb, metadata=True, aliases=[])[0]
    with pytest.raises(Unavailable, match="12 points are deferred"):
        QdrantSource(Script([], [deferred]), "c", Selection()).snapshot()
    assert QdrantSource(Script([], [facts()]), "c", Selection()).snapshot() == {}


def test_notes_tell_what_matters(place: Place, official: QdrantClient, name: str) -> None:
    config = DENSE.model_copy(
        update={"quantization_config": models.ScalarQuantization(scalar=models.ScalarQuantizationConfig(type="int8"))}
    )
    make(
        official,
        name,
        vectors_config={"v": config},
        strict_mode_config=models.StrictModeConfig(enabled=True, max_query_limit=7, upsert_max_batchsize=5),
        metadata={"vecport": "not JSON"},
    )
    official.create_payload_index(name, "year", models.PayloadSchemaType.INTEGER)
    alias = f"alias-{name}"
    create = models.CreateAlias(collection_name=name, alias_name=alias)
    official.update_collection_aliases([models.CreateAliasOperation(create_alias=create)])
    with source(place, name) as session:
        description = session.describe()
    notes = "\n".join(description.notes)
    for part in (
        "strict mode is on",
        "max_query_limit=7",
        "quantised (scalar)",
        "'year'",
        repr(alias),
        "no passport",
        "does not set it",
    ):
        assert part in notes
    assert description.passport is None
    native = description.collection.native
    assert native["payload_indexes"]["year"]["type"] == "integer"
    assert native["aliases"] == [alias]
    assert native["strict_mode_config"]["max_query_limit"] == 7
    assert description.version
    with source(place, alias) as session:
        assert session.count() == 0


def test_passport_comes_back(place: Place, name: str) -> None:
    c = collection(name)
    with CONNECTOR.open_target(place, name) as target:
        assert target.describe() is None
        target.prepare(TargetPlan(collection=c, rows=1, passport={"state": "loading", "é": [1, None]}))
        found = target.describe()
        assert found is not None
        assert found.passport == {"state": "loading", "é": [1, None]}
        target.write(page(c, ["1"]), MARK)
        target.finish({"state": "complete"})
    with source(place, name) as session:
        assert session.describe().passport == {"state": "complete"}


# ---- writing ----


def test_upsert_twice_is_one_and_batches_are_cut(place: Place, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    c = collection(name)
    ids = mixed_ids(1000, 4)
    batch = page(c, ids, metadata=[{"i": i} for i in range(1000)])
    monkeypatch.setattr(QdrantTarget, "capabilities", replace(QdrantTarget.capabilities, write_rows=17))
    with CONNECTOR.open_target(place, name) as target:
        target.prepare(TargetPlan(collection=c, rows=1000))
        for _ in range(2):
            target.write(batch, MARK)
            assert target.count() == 1000
        target.finish({})
    found = read(place, name).sort_by("id")
    assert found.equals(pa.Table.from_batches([batch]).sort_by("id"))


def test_requests_are_cut_by_rows_and_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "REQUEST_BYTES", 10)
    cut = backend._requests(b"H", iter([b"aaaa", b"bbbb", b"cccc", b"d" * 30, b"e", b"f", b"g"]), 2)
    assert list(cut) == [b"Haaaabbbb", b"Hcccc", b"H" + b"d" * 30, b"Hef", b"Hg"]
    assert list(backend._requests(b"H", iter([]), 2)) == []


def test_if_exists(place: Place, name: str) -> None:
    c = collection(name)
    write(place, c, page(c, []), if_exists="create")
    write(place, c, page(c, ["1"]), if_exists="create")
    with pytest.raises(AlreadyExists, match="1 records"):
        write(place, c, page(c, ["2"]), if_exists="create")
    write(place, c, page(c, ["2"]), if_exists="create", resume=True)
    write(place, c, page(c, ["3"]), if_exists="append")
    assert read(place, name).num_rows == 3
    write(place, c, page(c, ["4"]), if_exists="replace", resume=True)
    assert read(place, name).num_rows == 4
    write(place, collection(name, 7, "l2"), page(collection(name, 7, "l2"), ["5"]), if_exists="replace")
    assert read(place, name).column("id").to_pylist() == ["5"]
    with pytest.raises(UsageError, match="if-exists"):
        write(place, c, page(c, ["2"]), if_exists="merge")


@pytest.mark.parametrize(
    ("other", "named"),
    [({"dim": 5}, "dimension 4"), ({"metric": "l2"}, "metric 'dot'"), ({"vector": "v"}, r"vectors \[''\]")],
)
def test_existing_collection_that_does_not_fit_is_refused(
    place: Place, name: str, other: dict[str, Any], named: str
) -> None:
    c = collection(name)
    write(place, c, page(c, ["1"]))
    for mode in ("append", "create"):
        d = collection(name, **other)
        with pytest.raises(NotRepresentable, match=named):
            write(place, d, page(d, ["2"]), if_exists=mode)
    assert read(place, name).num_rows == 1


def test_replace_keeps_aliases_and_refuses_an_alias(place: Place, official: QdrantClient, name: str) -> None:
    c = collection(name)
    write(place, c, page(c, ["1"]))
    alias = f"alias-{name}"
    create = models.CreateAlias(collection_name=name, alias_name=alias)
    official.update_collection_aliases([models.CreateAliasOperation(create_alias=create)])
    write(place, c, page(c, ["2"]), if_exists="replace")
    assert read(place, alias).column("id").to_pylist() == ["2"]
    other = collection(alias)
    with pytest.raises(UsageError, match="alias"):
        write(place, other, page(other, ["3"]), if_exists="replace")
    assert read(place, name).column("id").to_pylist() == ["2"]


def test_settings_are_typed_and_known(place: Place, official: QdrantClient, name: str) -> None:
    c = collection(name, vector="v")
    chosen = {
        "on_disk": "true", "on_disk_payload": "false", "shard_number": "2", "replication_factor": "1",
        "write_consistency_factor": "1", "hnsw_m": "24", "hnsw_ef_construct": "64", "hnsw_on_disk": "true",
        "hnsw_full_scan_threshold": "20000", "indexing_threshold": "0", "metric": "dot",
    }  # fmt: skip
    assert set(chosen) - {"metric"} == set(settings.SETTINGS)
    write(place, c, page(c, ["1"]), settings=chosen)
    config = official.get_collection(name).config
    assert config.params.vectors["v"].on_disk is True  # type: ignore[index]
    assert (config.params.on_disk_payload, config.params.shard_number) == (False, 2)
    hnsw = config.hnsw_config
    assert (hnsw.m, hnsw.ef_construct, hnsw.on_disk, hnsw.full_scan_threshold) == (24, 64, True, 20000)
    assert config.optimizer_config.indexing_threshold == 0
    for bad in (
        {"hnsw.m": "1"},
        {"on_disk": "1"},
        {"hnsw_m": "many"},
        {"shard_number": "0"},
        {"hnsw_ef_construct": "1"},
    ):
        with pytest.raises(UsageError, match=r"hnsw_ef_construct|true or false|from [0-9]"):
            write(place, c, page(c, ["1"]), settings=bad, if_exists="replace")
    assert read(place, name).num_rows == 1


@pytest.mark.parametrize("bad", ["", "a/b", "a:b", "a" * 256, "a\0b", 'a"b'])
def test_names_that_qdrant_refuses(place: Place, bad: str) -> None:
    c = collection(bad)
    with CONNECTOR.open_target(place, "fine") as target, pytest.raises(NotRepresentable, match="name"):
        target.prepare(TargetPlan(collection=c, rows=0))
    c = collection("fine", vector="é" * 101)
    with CONNECTOR.open_target(place, "fine") as target, pytest.raises(NotRepresentable, match="200 bytes"):
        target.prepare(TargetPlan(collection=c, rows=0))


@pytest.mark.parametrize(
    "field",
    [
        VectorField(name="", dim=4, metric="hamming"),
        VectorField(name="", dim=4, metric="unknown"),
        VectorField(name="", dim=4, metric="dot", dtype="float64"),
        VectorField(name="", dim=65537, metric="dot"),
        VectorField(name="", dim=4, metric="dot", dtype="int8"),
        VectorField(name="", kind="binary", dtype="bit", dim=8, metric="hamming"),
        VectorField(name="", kind="sparse", metric="dot"),
        VectorField(name="s", kind="sparse", metric="cosine"),
        VectorField(name="s", kind="sparse", metric="dot", dtype="float16"),
        VectorField(name="m", kind="multi", dim=4, metric="max_sim"),
        VectorField(name="m", kind="multi", dim=4, metric="dot", dtype="float64"),
        VectorField(name="a/b", kind="sparse", metric="dot"),
    ],
)
def test_plans_that_qdrant_cannot_hold(place: Place, field: VectorField) -> None:
    c = Collection(name="never", id_kind="int", vectors=(field,))
    with CONNECTOR.open_target(place, "never") as target:
        with pytest.raises(NotRepresentable):
            target.prepare(TargetPlan(collection=c, rows=0))
        assert target.describe() is None


def test_documents_and_namespaces_have_no_place(place: Place, name: str) -> None:
    c = collection(name)
    field = c.vectors[0]
    column = {"": dense_array(np.ones((1, 4), np.float32), field)}
    for batch in (
        make_page(c, ids=["1"], documents=["text"], vectors=column),
        make_page(c, ids=["1"], namespaces="tenant", vectors=column),
    ):
        with pytest.raises(NotRepresentable):
            write(place, c, batch)


def test_search_delete_and_hint(place: Place, name: str) -> None:
    for vector in ("", "text"):
        c = collection(name, 8, "cosine", vector)
        matrix = np.random.default_rng(9).normal(size=(50, 8)).astype(np.float32)
        write(place, c, page(c, [str(i) for i in range(50)], matrix), if_exists="replace")
        with CONNECTOR.open_target(place, name) as target:
            hits = target.search(vector, matrix[13], 3)
            assert hits[0].id == "13"
            assert hits[0].score == pytest.approx(1.0, abs=1e-5)
            hint = target.query_hint()
            assert f"/collections/{name}/points/query" in hint
            assert ('"using": "text"' in hint) == bool(vector)
            target.delete([("", id_) for id_ in ("13", "14", "999", UUIDS[0])])
            assert target.count() == 48
            with pytest.raises(NotRepresentable):
                target.delete([("", "1"), ("", "x")])


def test_finish_sees_missing_records(place: Place, name: str) -> None:
    c = collection(name)
    with CONNECTOR.open_target(place, name) as target:
        target.prepare(TargetPlan(collection=c, rows=3))
        target.write(page(c, ["1", "2"]), MARK)
        with pytest.raises(Incomplete, match="2 records, 3 were"):
            target.finish({})


def test_finish_waits_nudges_and_reports() -> None:
    script = Script([], [facts(), facts(status=pb.Grey), facts(status=pb.Yellow), facts()])
    QdrantTarget(script, "c").finish({})
    assert script.nudges == 1
    red = facts(status=pb.Red)
    red.optimizer_status.error = "disk is full"
    with pytest.raises(VecportError, match="disk is full"):
        QdrantTarget(Script([], [red]), "c").finish({})
    QdrantTarget(Script([], [facts(status=pb.Yellow)]), "c", settle_seconds=0.1).finish({})
    hidden = facts()
    hidden.update_queue.deferred_points = 4
    with pytest.raises(Unavailable, match="4 records are not visible"):
        QdrantTarget(Script([], [hidden]), "c", settle_seconds=0.1).finish({})


def test_finish_tells_how_far_the_index_is() -> None:
    steps = [
        facts(status=pb.Yellow, points_count=40, indexed_vectors_count=10),
        facts(status=pb.Yellow, points_count=40, indexed_vectors_count=30),
        facts(points_count=40, indexed_vectors_count=40),
    ]
    steps[1].update_queue.length = 2
    target = QdrantTarget(Script([], [facts(), *steps]), "c")
    target.report = heard = Heard()
    target.finish({})
    assert heard.steps == [
        (10, 40, "vectors", "status yellow"), (30, 40, "vectors", "status yellow, 2 updates queued"),
    ]  # fmt: skip
    assert heard.notes == []


def test_vectors_of_all_names_are_counted() -> None:
    info = facts(points_count=7)
    info.config.params.sparse_vectors_config.map["terms"].SetInParent()
    assert settings.vector_count(info) == 14
    info.config.params.ClearField("vectors_config")
    assert settings.vector_count(info) == 7


@pytest.mark.parametrize(
    ("status", "says"),
    [(pb.Yellow, r"\(status yellow\)"), (pb.Grey, r"\(status grey\)"), (pb.Green, "3 updates queued")],
)
def test_an_index_that_is_left_unfinished_is_a_note(status: Any, says: str) -> None:
    left = facts(status=status, points_count=40, indexed_vectors_count=12)
    left.update_queue.length = 3 if status == pb.Green else 0
    target = QdrantTarget(Script([], [left]), "c", settle_seconds=0.05)
    target.report = heard = Heard()
    target.finish({})
    (note,) = heard.notes
    assert re.search(says, note)
    assert "did not grow for 0.05 s: 12 of about 40 vectors are indexed" in note


def test_a_collection_that_is_green_has_nothing_to_tell(place: Place, name: str) -> None:
    c = collection(name)
    heard = Heard()
    with CONNECTOR.open_target(place, name) as target:
        target.report = heard
        target.prepare(TargetPlan(collection=c, rows=2))
        target.write(page(c, ["1", "2"]), MARK)
        target.finish({})
    assert (heard.steps, heard.notes) == ([], [])


def test_write_that_is_only_queued_is_not_acknowledged(server: ServerBackend) -> None:
    for status in (pb.Acknowledged, pb.ClockRejected, pb.WaitTimeout):
        answer = pb.PointsOperationResponse(result=pb.UpdateResult(status=status))
        with pytest.raises(Unavailable, match="not applied"):
            server._applied(SimpleNamespace(result=lambda answer=answer: answer))  # type: ignore[arg-type]


# ---- errors ----


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


def eventually(call: Callable[[], Any]) -> Any:
    """What the retrying decorators do."""
    deadline = time.monotonic() + 15
    while True:
        try:
            return call()
        except Unavailable:
            if time.monotonic() > deadline:
                raise
            threading.Event().wait(0.1)


def eventually_equal(call: Callable[[], Any], expected: Any) -> None:
    deadline = time.monotonic() + 15
    while call() != expected and time.monotonic() < deadline:
        threading.Event().wait(0.05)
    assert call() == expected


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


# ---- local folders ----


def tree(folder: Path) -> dict[str, tuple[str, int]]:
    return {
        str(p.relative_to(folder)): (hashlib.sha256(p.read_bytes()).hexdigest(), p.stat().st_mtime_ns)
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


def test_local_folder_is_copied_and_left_byte_for_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, copies = tmp_path / "db", tmp_path / "copies"
    copies.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(copies))
    at = parse(f"qdrant:{folder}")
    with closing(QdrantClient(path=str(folder))) as local:
        make(local, "c")
        make(local, "n", vectors_config={"v": DENSE})
        local.upsert("n", [models.PointStruct(id=1, vector={"v": [1, 2]}), models.PointStruct(id=2, vector={})])
        points = [models.PointStruct(id=i, vector=[i, 0.5], payload={"u": 2**63 + i}) for i in (3, 2**64 - 1, 0)]
        local.upsert("c", [*points, models.PointStruct(id=UUIDS[2], vector={}, payload=None)])
    before = tree(folder)
    with source(at, "c") as session:
        assert "copied" in session.describe().notes[0]
        assert len(list(copies.iterdir())) == 1
        assert session.capabilities.concurrency == "handle"
        rows = [row for p in session.scan({}, None, 2) for row in p.batch.to_pylist()]
        assert sum(map(len, session.keys())) == 4
        assert session.fetch([("", "3"), ("", "5")]).column("id").to_pylist() == ["3"]
        parts = session.partitions(1, {})
        assert [ids_of(list(session.scan(p, None, 9))) for p in parts] == [[row["id"]] for row in rows]
    assert [row["id"] for row in rows] == ["0", "3", "18446744073709551615", UUIDS[2]]
    assert [row["vector"] for row in rows] == [[0, 0.5], [3, 0.5], [float(2**64), 0.5], None]
    assert rows[1]["metadata"] == '{"u":9223372036854775811}'
    assert [row["vector_v"] for row in read(at, "n").to_pylist()] == [[1, 2], None]
    with source(at, "c", '{"must": [{"has_id": [3]}]}') as session:
        assert session.count() == 1
    assert [(s.name, s.rows) for s in CONNECTOR.collections(at)] == [("c", 4), ("n", 2)]
    assert tree(folder) == before
    assert list(copies.iterdir()) == []
    assert CONNECTOR.recognises(str(folder))


def test_mistyped_local_path_creates_nothing(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    for path in (tmp_path / "nope", tmp_path / "other"):
        at = parse(f"qdrant:{path}")
        with pytest.raises(NotFound):
            CONNECTOR.collections(at)
        with pytest.raises(NotFound):
            CONNECTOR.open_source(at, "c", Selection())
        with CONNECTOR.open_target(at, "c") as target:
            assert target.describe() is None
        assert not CONNECTOR.recognises(str(path))
    assert [p.name for p in tmp_path.rglob("*")] == ["other"]


def test_local_folder_as_target_keeps_to_the_rules_of_servers(tmp_path: Path) -> None:
    at = parse(f"qdrant:{tmp_path / 'new'}")
    c = collection("c", 3, vector="v")
    batch = page(c, HARD_IDS[::-1], metadata=[{"i": i, "n": [None, {}]} for i in range(10)], valid=np.arange(10) != 4)
    with CONNECTOR.open_target(at, "c") as target:
        target.prepare(TargetPlan(collection=c, rows=10, passport={"state": "loading"}))
        target.write(batch, MARK)
        target.write(batch, MARK)
        target.finish({"state": "complete"})
        assert target.count() == 10
        query = np.asarray(batch.column(4)[0].as_py(), np.float32)
        assert target.search("v", query, 1)
        assert "QdrantClient(path=" in target.query_hint()
        for bad in (page(c, ["-1"]), page(c, ["18446744073709551616"]), page(c, ["1"], metadata=[{"u": 2**63}])):
            with pytest.raises(NotRepresentable):
                target.write(bad, MARK)
        target.delete([("", "0")])
    with source(at, "c") as session:
        assert session.describe().passport == {"state": "complete"}
    found = read(at, "c")
    assert found.num_rows == 9
    expected = pa.Table.from_batches([batch]).sort_by("id")
    assert found.sort_by("id").equals(expected.filter(pa.compute.not_equal(expected["id"], "0")))
    write(at, c, page(c, ["5"]), if_exists="replace")
    assert read(at, "c").column("id").to_pylist() == ["5"]
    with source(at, "nowhere") as session, pytest.raises(NotFound, match="'c'"):
        session.describe()


def test_local_folder_in_use_is_locked(tmp_path: Path) -> None:
    folder = tmp_path / "db"
    at = parse(f"qdrant:{folder}")
    with closing(QdrantClient(path=str(folder))) as local:
        make(local, "c")
        with source(at, "c") as session, pytest.raises(Locked):
            session.describe()
        with CONNECTOR.open_target(at, "c") as target, pytest.raises(Locked):
            target.prepare(TargetPlan(collection=collection("c", 2), rows=0))
    with source(at, "c") as session:
        assert session.count() == 0


class _Bomb:
    def __reduce__(self) -> Any:
        return (os.mkdir, (os.environ["VECPORT_BOMB"],))


def test_local_folder_from_a_stranger_runs_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, mark = tmp_path / "db", tmp_path / "exploded"
    monkeypatch.setenv("VECPORT_BOMB", str(mark))
    with closing(QdrantClient(path=str(folder))) as local:
        make(local, "c")
        local.upsert("c", [models.PointStruct(id=1, vector=np.array([1, 2], np.float32), payload={"a": 1})])
    at = parse(f"qdrant:{folder}")
    assert read(at, "c").num_rows == 1
    db = sqlite3.connect(folder / "collection" / "c" / "storage.sqlite")
    with db:
        db.execute("INSERT INTO points VALUES (?, ?)", ("x", pickle.dumps(_Bomb())))
    db.close()
    with source(at, "c") as session, pytest.raises(NotRepresentable, match="no point"):
        session.describe()
    assert ["no point" in s.detail for s in CONNECTOR.collections(at)] == [True]
    assert not mark.exists()
