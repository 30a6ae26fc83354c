"""Vectors of every kind through the Qdrant connector: named, sparse, multi, of halves and of bytes, and lacking ones.

``VECPORT_TEST_QDRANT=qdrant://127.0.0.1:6333`` runs the same tests against a live server.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from qdrant_client import QdrantClient, models
from qdrant_client import grpc as pb

from vecport.connectors.address import Place, parse
from vecport.connectors.contract import TargetPlan
from vecport.connectors.qdrant import packing, proto, schema
from vecport.connectors.qdrant.vectors import column
from vecport.errors import IntegrityError, NotRepresentable
from vecport.model.batch import make_page
from vecport.model.collection import Bound, Collection, VectorField
from vecport.testing.records import Sparse, vector_column

from .support import CONNECTOR, MARK, UUIDS, make, source

pytestmark = pytest.mark.usefixtures("place")
PLAIN = VectorField("", dim=3, metric="dot")
TITLE = VectorField("title", dim=4, metric="l2")
HALF = VectorField("half", dim=3, metric="dot", dtype="float16")
BYTES = VectorField("bytes", dim=3, metric="l1", dtype="uint8")
WORDS = VectorField("words", kind="sparse", metric="dot")
MULTI = VectorField("multi", kind="multi", dim=2, metric="dot")
MULTI_BYTES = VectorField("multi bytes", kind="multi", dim=2, metric="dot", dtype="uint8")
EVERY = (PLAIN, TITLE, HALF, BYTES, WORDS, MULTI, MULTI_BYTES)

VALUES: dict[str, list[Any]] = {
    "": [np.array([1, -0.0, 3.5], np.float32), np.array([0, 0, 1e-45], np.float32)],
    "title": [np.array([0.1, 0.2, 0.3, 3.4e38], np.float32), np.zeros(4, np.float32)],
    "half": [np.array([0.5, 65504, 6e-8], np.float16).astype(np.float32), np.array([-1, 0, 2], np.float32)],
    "bytes": [np.array([0, 127, 255], np.uint8), np.array([1, 2, 3], np.uint8)],
    "words": [Sparse((0, 127, 128, 16_384, 2**21, 2**28, 2**32 - 2), (1.0, -2.5, 0.1, 3e-5, 1e20, 0.5, 7.0)),
              Sparse((5,), (1.0,))],
    "multi": [np.array([[1, 2], [3, 4], [-0.5, 0.1]], np.float32), np.array([[0.25, 9]], np.float32)],
    "multi bytes": [np.array([[1, 2], [255, 0]], np.uint8), np.array([[7, 7]], np.uint8)],
}  # fmt: skip


def values_of(field: VectorField) -> list[Any]:
    """Two values of a field of the same kind and type as one of EVERY."""
    alike = (v.name for v in EVERY if (v.kind, v.dtype, v.dim) == (field.kind, field.dtype, field.dim))
    return VALUES[next(alike)]


def collection(name: str, *fields: VectorField) -> Collection:
    return Collection(name=name, id_kind="int|uuid", vectors=fields)


def batch(c: Collection, rows: Sequence[Mapping[str, Any]]) -> pa.RecordBatch:
    columns = {v.name: vector_column([row.get(v.name) for row in rows], v) for v in c.vectors}
    return make_page(c, ids=[str(i) for i in range(len(rows))], vectors=columns)


def write(place: Place, c: Collection, rows: Sequence[Mapping[str, Any]], **plan: Any) -> None:
    page = batch(c, rows)
    made = TargetPlan(collection=c, rows=len(page), **({"if_exists": "append"} | plan))
    with CONNECTOR.open_target(place, c.name) as target:
        target.prepare(made)
        target.write(page, MARK)
        target.finish(made.passport)


def read(place: Place, name: str) -> tuple[Collection, pa.Table]:
    with source(place, name) as session:
        described = session.describe().collection
        pages = [p.batch for p in session.scan({}, None, 3)]
        schema_ = pages[0].schema if pages else None
    return described, pa.Table.from_batches(pages, schema_)


def expect(place: Place, c: Collection, rows: Sequence[Mapping[str, Any]]) -> None:
    described, table = read(place, c.name)
    ordered = replace(described, vectors=tuple(described.vector(v.name) for v in c.vectors), native={})
    assert ordered == c
    wanted = batch(c, rows)
    for v in c.vectors:
        mine = wanted.column(c.columns()[v.name])
        theirs = table.column(described.columns()[v.name]).combine_chunks()
        assert same(mine, theirs), f"{v.name!r}: wrote {mine}, read {theirs}"


def same(a: pa.Array, b: pa.Array) -> bool:
    """Equal bit for bit: Arrow alone takes -0.0 for 0.0."""
    return a.equals(b) and str(a.to_pylist()) == str(b.to_pylist())


# ---- round trips ----


@pytest.mark.parametrize(
    "fields",
    [
        EVERY,
        EVERY[1:],
        (PLAIN, WORDS),
        (PLAIN, TITLE),
        (WORDS,),
        (WORDS, replace(WORDS, name="more words")),
        (MULTI,),
        (replace(MULTI, name=""),),
        (replace(HALF, name=""),),
        (replace(BYTES, name=""),),
        (),
    ],
    ids=lambda fields: "+".join(v.name or f"unnamed-{v.kind}-{v.dtype}" for v in fields) or "none",
)
def test_all_vectors_of_a_record_come_back_bit_for_bit(
    place: Place, name: str, fields: tuple[VectorField, ...]
) -> None:
    c = collection(name, *fields)
    values = {v.name: values_of(v) for v in fields}
    full = [{n: both[i] for n, both in values.items()} for i in (0, 1)]
    lacking = [{n: both[0] for n, both in values.items() if n != gone} for gone in values]
    rows = [*full, {}, *lacking, full[1]]
    write(place, c, rows)
    expect(place, c, rows)


def test_whole_points_are_replaced_so_that_a_vector_can_go(place: Place, name: str) -> None:
    c = collection(name, PLAIN, WORDS, MULTI)
    write(place, c, [{"": VALUES[""][0], "words": VALUES["words"][0]}, {"multi": VALUES["multi"][0]}])
    write(place, c, [{"words": VALUES["words"][1]}, {}])
    expect(place, c, [{"words": VALUES["words"][1]}, {}])


def test_what_the_official_client_wrote_is_read(place: Place, official: QdrantClient, name: str) -> None:
    multi = models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM)
    dot = models.Distance.DOT
    make(
        official,
        name,
        vectors_config={
            "a": models.VectorParams(size=2, distance=dot),
            "b": models.VectorParams(size=3, distance=models.Distance.EUCLID, datatype=models.Datatype.UINT8),
            "m": models.VectorParams(size=2, distance=dot, multivector_config=multi),
        },
        sparse_vectors_config={"s": models.SparseVectorParams(modifier=models.Modifier.IDF)},
    )
    unsorted = models.SparseVector(indices=[900, 3, 70_000], values=[0.9, 0.3, 0.7])
    vectors: dict[str, Any] = {"a": [1, 2], "b": [1, 255, 0], "m": [[1, 2], [3, 4]], "s": unsorted}
    official.upsert(name, [models.PointStruct(id=1, vector=vectors), models.PointStruct(id=UUIDS[2], vector={})])
    described, table = read(place, name)
    assert [(v.name, v.kind, v.dtype, v.dim, v.metric) for v in described.vectors] == [
        ("a", "dense", "float32", 2, "dot"), ("b", "dense", "uint8", 3, "l2"), ("m", "multi", "float32", 2, "dot"),
        ("s", "sparse", "float32", None, "dot"),
    ]  # fmt: skip
    assert described.native["vectors"]["m"]["comparator"] == "MaxSim"
    assert described.native["sparse_vectors"]["s"]["modifier"] == "Idf"
    first, second = table.to_pylist()
    assert (first["vector_a"], first["vector_b"], first["vector_m"]) == ([1, 2], [1, 255, 0], [[1, 2], [3, 4]])
    assert first["vector_s"]["indices"] == [3, 900, 70_000]
    assert np.array_equal(np.float32(first["vector_s"]["values"]), np.float32([0.3, 0.9, 0.7]))
    assert [second[f"vector_{n}"] for n in "abms"] == [None] * 4


def test_the_official_client_reads_what_was_written(place: Place, official: QdrantClient, name: str) -> None:
    c = collection(name, PLAIN, WORDS, MULTI)
    write(place, c, [{n: VALUES[n][1] for n in ("", "words", "multi")}])
    (point,), _ = official.scroll(name, with_vectors=True)
    assert isinstance(point.vector, dict)
    assert point.vector["multi"] == [[0.25, 9.0]]
    assert point.vector["words"] == models.SparseVector(indices=[5], values=[1.0])


# ---- cosine ----


@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8"])
@pytest.mark.parametrize("kind", ["dense", "multi"])
def test_cosine_normalises_rows_of_floats_and_leaves_bytes(place: Place, name: str, kind: str, dtype: str) -> None:
    bound = QdrantBound[dtype]
    field = VectorField("v", kind=kind, dtype=dtype, dim=8, metric="cosine", normalized=bound is not None,
                        fidelity="bounded" if bound else "exact", bound=bound)  # fmt: skip
    rng = np.random.default_rng(1)
    rows = [rng.integers(1, 200, (3, 8)).astype("u1" if dtype == "uint8" else "<f4") for _ in range(20)]
    c = collection(name, field)
    write(place, c, [{"v": row if kind == "multi" else row[0]} for row in rows])
    described, table = read(place, name)
    assert described.vectors == (field,)
    for want, got in zip(rows, table.column("vector_v").to_pylist(), strict=True):
        mine, theirs = np.float64(want if kind == "multi" else want[:1]), np.float64(got).reshape(-1, 8)
        if bound is None:
            assert np.array_equal(mine, theirs)
            continue
        unit = mine / np.linalg.norm(mine, axis=1, keepdims=True)
        assert np.abs(unit - theirs).max() <= bound.relative * np.abs(unit).max()
        assert not np.array_equal(mine, theirs)


QdrantBound: dict[str, Bound | None] = {"float32": schema.BOUND, "float16": schema.HALF_BOUND, "uint8": None}


def test_multivector_rows_whose_length_overflows_are_refused(place: Place, name: str) -> None:
    c = collection(name, replace(MULTI, metric="cosine"))
    with pytest.raises(NotRepresentable, match="record '1': its vector 'multi' cannot be stored"):
        write(place, c, [{"multi": [[1, 2]]}, {"multi": np.array([[1, 2], [1e25, 1e25]], np.float32)}])


# ---- refusals ----


@pytest.mark.parametrize(
    ("field", "bad", "why"),
    [
        (HALF, np.array([1, 2, 70_000], np.float32), "no float16"),
        (HALF, np.array([1, 2, 0.1], np.float32), "no float16"),
        (TITLE, np.array([1, 2, 3, math.nan], np.float32), "NaN"),
        (WORDS, Sparse((1, 2), (1.0, math.inf)), "NaN"),
        (MULTI, np.array([[1, 2], [math.nan, 2]], np.float32), "NaN"),
        (MULTI, np.zeros((0, 2), np.float32), "without rows"),
        (MULTI, np.zeros((1 << 19, 2), np.float32), "fewer than 1,048,576 floats"),
    ],
    ids=["overflow", "rounded", "nan", "sparse", "multi", "empty", "huge"],
)
def test_vectors_that_would_be_refused_or_changed_are_named(
    place: Place, name: str, field: VectorField, bad: Any, why: str
) -> None:
    c = collection(name, PLAIN, field)
    with pytest.raises(NotRepresentable, match=f"record '1': its vector {field.name!r}") as caught:
        write(place, c, [{"": VALUES[""][0]}, {field.name: bad}])
    assert why in caught.value.why
    with CONNECTOR.open_target(place, name) as target:
        assert target.count() == 0


@pytest.mark.parametrize(
    ("other", "named"),
    [
        (replace(TITLE, dtype="float16"), "type of vector 'title' 'float32'"),
        (replace(TITLE, kind="multi"), "kind of vector 'title' 'dense'"),
        (replace(TITLE, dim=5), "dimension of vector 'title' 4"),
        (replace(TITLE, metric="l1"), "metric of vector 'title' 'l2'"),
        (WORDS, "vectors"),
    ],
)
def test_existing_vectors_that_do_not_fit_are_named(place: Place, name: str, other: VectorField, named: str) -> None:
    write(place, collection(name, PLAIN, TITLE), [])
    with pytest.raises(NotRepresentable, match=named):
        write(place, collection(name, PLAIN, other), [])
    if other is WORDS:
        with pytest.raises(NotRepresentable, match=named):
            write(place, collection(name, PLAIN), [])


def test_local_folder_holds_every_kind(tmp_path: Path) -> None:
    at = parse(f"qdrant:{tmp_path / 'db'}")
    c = collection("c", PLAIN, TITLE, WORDS, MULTI, replace(MULTI, name="cos", metric="cosine"))
    rows: list[dict[str, Any]] = [
        {"": VALUES[""][0], "title": VALUES["title"][1], "words": VALUES["words"][0], "multi": VALUES["multi"][0]},
        {"words": VALUES["words"][1], "cos": VALUES["multi"][0]},
        {},
    ]
    write(at, c, rows)
    expect(at, c, rows)
    with CONNECTOR.open_target(at, "c") as target:
        assert target.capabilities.kinds["dense"] == {"float32"}
        assert target.capabilities.dtype_bounds == {}


# ---- the wire ----


def output(**kind: Any) -> Any:
    named = pb.NamedVectorsOutput(vectors={"v": pb.VectorOutput(**kind)})
    return pb.RetrievedPoint(id=pb.PointId(num=9), vectors=pb.VectorsOutput(vectors=named))


def sparse(indices: Sequence[int], values: Sequence[float]) -> Any:
    return output(sparse=pb.SparseVector(indices=indices, values=values))


def multi(*rows: Sequence[float]) -> Any:
    return output(multi_dense=pb.MultiDenseVector(vectors=[pb.DenseVector(data=row) for row in rows]))


def test_old_servers_fill_the_deprecated_fields() -> None:
    s, m = VectorField("v", kind="sparse"), VectorField("v", kind="multi", dim=2)
    old = output(data=[1.5, 2.5], indices=pb.SparseIndices(data=[7, 300]))
    assert column([old, pb.RetrievedPoint()], s).to_pylist() == [{"indices": [7, 300], "values": [1.5, 2.5]}, None]
    old = output(data=[1, 2, 3, 4], vectors_count=2)
    assert column([pb.RetrievedPoint(), old], m).to_pylist() == [None, [[1, 2], [3, 4]]]


def test_sparse_entries_are_put_in_order_and_empty_ones_are_not_null() -> None:
    points = [sparse([], []), sparse([9, 2], [0.9, 0.2]), pb.RetrievedPoint(), sparse([1], [0.0])]
    assert column(points, VectorField("v", kind="sparse")).to_pylist() == [
        {"indices": [], "values": []},
        {"indices": [2, 9], "values": [float(np.float32(0.2)), float(np.float32(0.9))]},
        None,
        {"indices": [1], "values": [0.0]},
    ]
    assert column([], VectorField("v", kind="sparse")).to_pylist() == []
    assert column([], VectorField("v", kind="multi", dim=3)).to_pylist() == []


@pytest.mark.parametrize(
    ("point", "field", "named"),
    [
        (sparse([1, 1], [1, 2]), VectorField("v", kind="sparse"), "index twice"),
        (sparse([1, 2], [1]), VectorField("v", kind="sparse"), "other numbers"),
        (multi([1, 2], [3, 4]), VectorField("v", kind="sparse"), "another kind"),
        (sparse([1], [1]), VectorField("v", kind="multi", dim=1), "another kind"),
        (multi([1, 2], [3, 4]), VectorField("v", kind="multi", dim=3), "not 3 floats"),
        (multi([1, 2], [3, 4], [5, 6]), VectorField("v", kind="multi", dim=3), "not 3 floats"),
        (output(dense=pb.DenseVector(data=[1, 2.5])), VectorField("v", dim=2, dtype="uint8"), "no bytes"),
        (output(dense=pb.DenseVector(data=[1, 256])), VectorField("v", dim=2, dtype="uint8"), "no bytes"),
        (output(dense=pb.DenseVector(data=[1, -1])), VectorField("v", dim=2, dtype="uint8"), "no bytes"),
        (output(dense=pb.DenseVector(data=[1, math.nan])), VectorField("v", dim=2, dtype="uint8"), "no bytes"),
        (multi([1, 2.5]), VectorField("v", kind="multi", dim=2, dtype="uint8"), "no bytes"),
    ],
)
def test_what_does_not_fit_the_schema_stops_the_scan(point: Any, field: VectorField, named: str) -> None:
    with pytest.raises(IntegrityError, match=named):
        column([point], field)


def test_packed_points_are_what_protobuf_writes() -> None:
    c = collection("c", *EVERY)
    rows: list[dict[str, Any]] = [
        {n: both[i] for n, both in VALUES.items() if n != gone} for i, gone in enumerate(["title", "words"])
    ]
    packed = packing.upsert_head("c") + b"".join(packing.pack_points(batch(c, [*rows, {}]), c))
    request = pb.UpsertPoints.FromString(packed)
    assert [set(p.vectors.vectors.vectors) for p in request.points] == [*map(set, rows), set()]
    for point, row in zip(request.points, rows, strict=False):
        for key, value in row.items():
            vector = point.vectors.vectors.vectors[key]
            if isinstance(value, Sparse):
                assert (tuple(vector.sparse.indices), list(vector.sparse.values)) == (
                    value.indices,
                    np.float32(value.values).tolist(),
                )
            elif value.ndim == 2:
                assert [list(r.data) for r in vector.multi_dense.vectors] == value.tolist()
            else:
                assert list(vector.dense.data) == value.tolist()
    assert request.update_mode == pb.UpdateMode.Upsert
    assert pb.UpsertPoints.FromString(packing.upsert_head("c", skip=True)).update_mode == pb.UpdateMode.InsertOnly


def test_packed_integers_are_what_protobuf_writes_and_reads() -> None:
    rng = np.random.default_rng(4)
    edges = [0, 1, 127, 128, 2**14 - 1, 2**14, 2**21 - 1, 2**21, 2**28 - 1, 2**28, 2**32 - 1]
    counts = np.array([len(edges), 0, 3, 0, 500], np.int64)
    numbers = np.concatenate([np.array(edges, np.uint32), rng.integers(0, 2**32, 503, np.uint32)])
    fields = proto.varints_of(numbers, counts)
    for field, part in zip(fields, np.split(numbers, np.cumsum(counts)[:-1]), strict=True):
        assert proto.block(b"\x12", field) == pb.SparseVector(indices=part.tolist()).SerializeToString() or not len(
            part
        )
    back, each = proto.read_varints(fields)
    assert np.array_equal(back, numbers)
    assert np.array_equal(each, counts)
    assert proto.read_varints([])[0].tolist() == []
    assert proto.varints_of(np.zeros(0, np.uint32), np.zeros(2, np.int64)) == [b"", b""]


@pytest.mark.parametrize("bad", [b"\x80", b"\xff\xff\xff\xff\x1f", b"\xff\xff\xff\xff\xff\x01", b"\x01\xff"])
def test_packed_integers_that_are_none_are_refused(bad: bytes) -> None:
    with pytest.raises(IntegrityError):
        proto.read_varints([b"\x01", bad, b"\x02"])
