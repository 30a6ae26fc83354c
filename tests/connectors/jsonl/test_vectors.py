"""Vectors in JSON Lines: kinds, names, and options that say what a file does not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vecport.errors import IntegrityError, NotRepresentable, UsageError
from vecport.model.collection import Collection, VectorField
from vecport.testing.records import Record

from .support import read, write, written


def test_all_kinds_side_by_side(tmp_path: Path) -> None:
    line = (
        '{"id":1,"vector":{"d":[1,2],"s":{"indices":[9,3],"values":[0,1.5]},"m":[[1,2],[3,4]],'
        '"b":{"bits":"0110000001"},"n":null}}'
    )
    path = written(tmp_path / "rows.jsonl", line, '{"id":2,"vector":{"m":[],"d":null}}', '{"id":3,"vector":null}')
    collection, rows = read(path, page_rows=2)
    assert [(v.name, v.kind, v.dim) for v in collection.vectors] == [
        ("d", "dense", 2), ("s", "sparse", None), ("m", "multi", 2), ("b", "binary", 10),
    ]  # fmt: skip
    assert rows[0]["vector_s"] == {"indices": [3, 9], "values": [1.5, 0.0]}
    assert rows[0]["vector_b"] == bytes([0b01100000, 0b01000000])
    assert rows[1]["vector_m"] == []
    assert rows[1]["vector_d"] is rows[2]["vector_m"] is None


def test_a_vector_may_appear_late_and_page_size_does_not_matter(tmp_path: Path) -> None:
    path = written(tmp_path / "rows.jsonl", *(f'{{"id":{n}}}' for n in range(1200)), '{"id":1200,"vector":[1,2]}')
    for page_rows in (7, 5000):
        collection, rows = read(path, page_rows=page_rows)
        assert collection.vectors[0].nullable
        assert [r["vector"] for r in rows] == [None] * 1200 + [[1.0, 2.0]]


@pytest.mark.parametrize(
    ("second", "says"),
    [("[1]", "1 elements, and 2 in line 1"), ("[]", "0 elements"), ("[[1,2]]", "multi, and dense in line 1"),
     ('{"bits":"01"}', "binary, and dense"), ('{"indices":[1],"values":[1]}', "sparse, and dense")],
)  # fmt: skip
def test_vectors_of_a_file_are_alike(tmp_path: Path, second: str, says: str) -> None:
    path = written(tmp_path / "rows.jsonl", '{"id":1,"vector":[1,2]}', f'{{"id":2,"vector":{second}}}')
    with pytest.raises(IntegrityError, match="line 2") as caught:
        read(path)
    assert says in caught.value.what


def test_options_say_what_a_file_does_not(tmp_path: Path) -> None:
    path = written(tmp_path / "rows.jsonl", '{"id":"1","vector":{"a":[1],"b":[1,2]}}')
    options = {"metric": '{"a":"cosine"}', "dtype": '{"a":"int8"}'}
    a, b = read(path, **options)[0].vectors
    assert (a.metric, a.dtype, b.metric, b.dtype) == ("cosine", "int8", "unknown", "float32")
    empty, _ = read(written(tmp_path / "empty.jsonl"), dim="384", metric="dot")
    assert empty.vectors == (VectorField("", dim=384, metric="dot", nullable=False),)
    for wrong in ({"metric": "cosinus"}, {"dim": "0"}, {"dim": "x"}, {"dtype": "{"}, {"ids": "line"}, {"tags": "no"}):
        with pytest.raises(UsageError, match=next(iter(wrong))):
            read(path, **wrong)
    with pytest.raises(IntegrityError, match="2 elements, and 3"):
        read(written(path, '{"id":1,"vector":[1,2]}'), dim="3")


@pytest.mark.parametrize("name", ["indices", "values", "bits"])
def test_names_that_mark_a_form_are_refused(tmp_path: Path, name: str) -> None:
    collection = Collection("rows", "int", (VectorField(name, dim=1), VectorField("x", dim=1)))
    with pytest.raises(NotRepresentable, match=name):
        write(tmp_path / "rows.jsonl", collection, [])
    assert list(tmp_path.iterdir()) == []


def test_odd_vector_names_come_back(tmp_path: Path) -> None:
    names = ["", "a b", '"', "é", "vector", "A", "a"]
    collection = Collection("rows", "int", tuple(VectorField(n, dim=1) for n in names))
    record = Record("1", {n: np.array([i], np.float32) for i, n in enumerate(names)})
    write(tmp_path / "rows.jsonl", collection, [record])
    found, (row,) = read(tmp_path / "rows.jsonl")
    assert [v.name for v in found.vectors] == names
    assert [row[c] for c in found.columns().values()] == [[float(i)] for i in range(len(names))]
