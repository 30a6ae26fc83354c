"""What the Qdrant connector asks a server for, where the answers of a small collection on one shard would not tell.

``VECPORT_TEST_QDRANT=qdrant://127.0.0.1:6333`` runs the same tests against a live server.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from qdrant_client import QdrantClient, models
from qdrant_client import grpc as pb

from vecport.connectors.address import Place
from vecport.connectors.contract import TargetPlan
from vecport.connectors.qdrant import backend, folder, schema
from vecport.connectors.qdrant.backend import Read, ServerBackend
from vecport.connectors.qdrant.client import Server
from vecport.errors import NotRepresentable, Throttled, TooLarge, Unavailable, VecportError
from vecport.model.collection import VectorField

from .support import CONNECTOR, MARK, collection, ids_of, make, page, read, source, vectors, write


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The messages that are sent, in their order."""
    out: list[Any] = []
    start = Server.start

    def heard(self: Server, method: Any, request: Any, doing: str, timeout: float | None = None) -> Any:
        out.append(pb.UpsertPoints.FromString(request) if isinstance(request, bytes) else request)
        return start(self, method, request, doing, timeout)

    monkeypatch.setattr(Server, "start", heard)
    return out


def of(sent: list[Any], kind: Any) -> list[Any]:
    found = [request for request in sent if isinstance(request, kind)]
    assert found
    return found


@pytest.mark.parametrize("enabled", [True, False])
def test_requests_keep_to_the_limits_of_strict_mode_while_it_is_on(
    place: Place, official: QdrantClient, name: str, sent: list[Any], enabled: bool
) -> None:
    strict = models.StrictModeConfig(enabled=enabled, max_query_limit=7, upsert_max_batchsize=5)
    make(official, name, strict_mode_config=strict)
    c = collection(name, 2)
    write(place, c, page(c, [str(i) for i in range(40)]))
    with source(place, name) as session:
        assert len(ids_of(list(session.scan({}, None, 1000)))) == 40
        assert sum(map(len, session.keys())) == 40
        session._backend.slices = False
        parts = list(session.partitions(10, {}))
        assert len(parts) == 4
        assert sum(len(ids_of(list(session.scan(part, None, 1000)))) for part in parts) == 40
    limits = {request.limit for request in of(sent, pb.ScrollPoints)}
    sizes = {len(request.points) for request in of(sent, pb.UpsertPoints)}
    if enabled:
        assert (limits, sizes) == ({7}, {5})
    else:
        assert (min(limits) >= 1000, sizes) == (True, {40})


def test_counts_are_exact_and_writes_are_waited_for(
    place: Place, official: QdrantClient, name: str, sent: list[Any]
) -> None:
    c = collection(name)
    write(place, c, page(c, ["1", "2"], metadata=[{"tag": "a"}, {"tag": "b"}]))
    official.create_payload_index(name, "tag", models.PayloadSchemaType.KEYWORD)
    with source(place, name) as session, CONNECTOR.open_target(place, name) as target:
        assert session.count() == target.count() == 2
        assert session._backend.counts(Read(name, None), "tag", 9) == {"a": 1, "b": 1}
        target.delete([("", "1")])
        assert session.count() == 1
    assert all(request.exact for request in of(sent, pb.CountPoints) + of(sent, pb.FacetCounts))
    assert all(request.wait for request in of(sent, pb.UpsertPoints) + of(sent, pb.DeletePoints))


def test_every_write_of_a_page_is_waited_for(place: Place, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page of fewer requests than may be under way at once: the last of them fails."""
    monkeypatch.setattr(backend, "REQUEST_BYTES", 1)
    applied: list[Any] = []

    def refused(self: ServerBackend, reply: Any) -> None:
        applied.append(reply)
        if len(applied) == 3:
            raise Unavailable("a write that was not applied")

    c = collection(name)
    with CONNECTOR.open_target(place, name) as target:
        target.prepare(TargetPlan(collection=c, rows=3))
        monkeypatch.setattr(ServerBackend, "_check_applied", refused)
        with pytest.raises(Unavailable, match="not applied"):
            target.write(page(c, ["1", "2", "3"]), MARK)


def test_what_only_an_update_sets_is_asked_for(place: Place, name: str, sent: list[Any]) -> None:
    c = collection(name)
    write(place, c, page(c, ["1"]), native={"read_fan_out_factor": 3, "read_fan_out_delay_ms": 70})
    asked = [r.params for r in of(sent, pb.UpdateCollection) if r.HasField("params")]
    assert [(p.read_fan_out_factor, p.read_fan_out_delay_ms) for p in asked] == [(3, 70)]


def test_page_larger_than_what_grpc_takes_by_default_is_read(place: Place, name: str) -> None:
    c = collection(name, 4096)
    matrix = np.random.default_rng(3).normal(size=(300, 4096)).astype(np.float32)
    write(place, c, page(c, [str(i) for i in range(300)], matrix))
    assert np.array_equal(vectors(read(place, name), c), matrix)


@pytest.mark.parametrize(
    ("code", "text", "kind"),
    [
        ("OUT_OF_RANGE", "Error, message length too large: found 70000000 bytes, the limit is: 67108864", TooLarge),
        ("RESOURCE_EXHAUSTED", "Received message larger than max (6291456 vs. 4194304)", TooLarge),
        ("RESOURCE_EXHAUSTED", "too many requests", Throttled),
        ("OUT_OF_RANGE", "offset", NotRepresentable),
    ],
)
def test_request_that_is_too_large_is_told_from_one_too_many(
    place: Place, code: str, text: str, kind: type[VecportError]
) -> None:
    error = SimpleNamespace(code=lambda: SimpleNamespace(name=code), details=lambda: text, trailing_metadata=lambda: ())
    server = Server(place)
    found = server.translate(error, "writing")
    server.close()
    assert type(found) is kind
    assert ("--batch-size" in str(found)) == (kind is TooLarge)


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("1.15.4", (False, False, False)),
        ("1.16.0", (True, False, False)),
        ("1.17.0", (True, True, False)),
        ("1.18.2", (True, True, False)),
        ("1.19.0", (True, True, True)),
    ],
)
def test_what_a_server_of_each_version_can_do(
    monkeypatch: pytest.MonkeyPatch, place: Place, version: str, expected: tuple[bool, bool, bool]
) -> None:
    server = Server(place)
    monkeypatch.setattr(server, "version", version)
    found = ServerBackend(server)
    assert (found.keeps_metadata, found.skips, found.slices) == expected
    found.close()


def test_multivectors_with_a_comparator_of_a_later_server_are_noticed() -> None:
    info = pb.CollectionInfo(status=pb.Green)
    params = pb.VectorParams(size=2, distance=pb.Dot, multivector_config=pb.MultiVectorConfig(comparator=9))  # type: ignore[arg-type]
    info.config.params.vectors_config.params.CopyFrom(params)
    assert schema.unsupported(info, pb) == ["multivector '' with comparator 9"]


@pytest.mark.parametrize("bad", list('<>:"/\\|?*\0\x1f'))
def test_every_character_that_names_may_not_have_is_refused(bad: str) -> None:
    for plan in (collection(f"a{bad}b"), collection("c", vector=f"a{bad}b")):
        with pytest.raises(NotRepresentable, match="name"):
            schema.check_plan(TargetPlan(collection=plan, rows=0))
    assert schema.check_plan(TargetPlan(collection=collection("c" * 255, vector="é" * 100), rows=0))


def test_sparse_vectors_of_a_folder_are_put_in_order() -> None:
    found = folder._column([models.SparseVector(indices=[9, 2], values=[0.5, 1.5])], VectorField("v", kind="sparse"))
    assert found.to_pylist() == [{"indices": [2, 9], "values": [1.5, 0.5]}]


@pytest.mark.parametrize(("dim", "fits"), [(65_536, True), (65_537, False)])
def test_dimensions_end_where_the_server_s_do(dim: int, fits: bool) -> None:
    plan = TargetPlan(collection=collection("c", dim), rows=0)
    if fits:
        assert schema.check_plan(plan)
    else:
        with pytest.raises(NotRepresentable, match="65,537 dimensions"):
            schema.check_plan(plan)
