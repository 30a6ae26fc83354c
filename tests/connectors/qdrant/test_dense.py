"""Dense vectors through the Qdrant connector: bit for bit, by direction, or refused."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from qdrant_client import grpc as pb

from vecport.connectors.address import Place
from vecport.connectors.qdrant import QdrantTarget
from vecport.connectors.qdrant.vectors import column as vector_column
from vecport.errors import IntegrityError, NotRepresentable
from vecport.model.collection import VectorField

from .support import collection, page, read, source, vectors, write


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
    with pytest.raises(NotRepresentable, match="record '8'"):
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
