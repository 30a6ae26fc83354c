"""Into Chroma and back on the real engine: vectors, ids and every kind of metadata, exact or refused."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vecport.connectors.address import Place
from vecport.connectors.chroma import values
from vecport.connectors.contract import Selection, TargetPlan
from vecport.errors import IntegrityError, NotRepresentable
from vecport.model import canonical
from vecport.model.batch import dense_array, make_page
from vecport.model.capabilities import VALUE_KINDS
from vecport.model.profile import value_kind

from .support import (
    CONNECTOR,
    DOCS,
    MARK,
    batch_of,
    bits,
    by_id,
    collection_of,
    load,
    open_source,
    open_target,
    page,
    place_of,
    read,
    same,
    unique,
)

pytest.importorskip("chromadb")


# -- round trips -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", ["l2", "dot", "cosine"])
def test_round_trip_of_3000_vectors(anywhere: str, metric: str, request: pytest.FixtureRequest) -> None:
    collection = collection_of(48, metric, unique(request))
    rng = np.random.default_rng(7)
    matrix = (rng.standard_normal((3000, 48)) * 10.0 ** rng.integers(-4, 5, (3000, 1))).astype(np.float32)
    matrix[0] = 0.0
    matrix[1, :3] = [-0.0, 1e-45, 3e-39]
    ids = [f"n{i}" for i in range(3000)]
    metadata: list[Mapping[str, Any]] = [{} if i % 5 == 0 else {"i": i, "s": "é"} for i in range(3000)]
    documents = [None if i % 3 == 0 else "" if i % 3 == 1 else f"doc {i}" for i in range(3000)]
    load(anywhere, batch_of(collection, ids, matrix, metadata, documents), collection)
    with open_source(anywhere, collection.name) as session:
        found = session.describe()
        table, missing = read(session)
    assert found.count == 3000
    assert not missing
    rows = by_id(table)
    assert [json.loads(rows[id]["metadata"]) for id in ids] == metadata
    assert [rows[id]["document"] for id in ids] == documents
    back = np.array([rows[id]["vector"] for id in ids], np.float32)
    (vector,) = found.collection.vectors
    assert vector.metric == metric
    if metric != "cosine":
        assert back.tobytes() == matrix.tobytes()
        assert (vector.fidelity, vector.bound) == ("exact", None)
        return
    largest = np.abs(matrix).max(axis=1)
    error = np.abs(back.astype(np.float64) - matrix).max(axis=1)
    assert vector.fidelity == "bounded"
    assert vector.bound is not None
    assert (error <= vector.bound.relative * largest).all()
    assert (error > 0).any(), "if this holds no more, the bound can go"


SAMPLES: dict[str, list[Any]] = {
    "null": [None],
    "boolean": [True, False],
    "integer": [0, 1, -1, 2**53, -(2**53)],
    "integer64": [2**53 + 1, 2**63 - 1, -(2**63), 1234567890123456789],
    "integer64u": [2**63, 2**64 - 1],
    "integer_big": [2**64, -(2**63) - 1, 10**30],
    "number": [0.9127555772777217, 0.17565562060255901, -241.55512197566662, 1e-300],
    "number_exponent": [1.0030137736173445e18, 5e44, 1.7976931348623157e308],
    "number_negative_zero": [-0.0],
    "nonfinite": [math.nan, math.inf, -math.inf],
    "string": ["", "x", "é\U0001f600", "\\ \" ' \n\t\x01\x7f", "\ufffe", "x" * 200_000, "null", "\u2028"],
    "string_nul": ["\0", "a\0b"],
    "list_empty": [[]],
    "list_string": [["b", "a", "a"], [""], ["é"]],
    "list_integer": [[1, 2, -3], [2**63 - 1, -(2**63)], [5, 5]],
    "list_number": [[0.9127555772777217], [-0.0], [1e-300]],
    "list_boolean": [[True], [False, True, True]],
    "list_mixed": [[1, 2.5], ["a", 1], [True, 1], [1, True], ["a", None], [[1]], [2**63], [{}]],
    "object": [{}, {"a": 1}],
}
#: Kinds whose values cannot reach a client as plain JSON: they are tags in the dump.
TAGGED = {"decimal", "bytes", "surrogates"}
FINE_NUMBERS = [0.0, 1.0, 0.1, -12.5, 123456.789, 1e15, 1e16, 1e22, 0.1234567890123, 1e-5, 1e-22, 100000.0, 2.0**53]


def test_samples_cover_every_kind() -> None:
    assert set(SAMPLES) | TAGGED == set(VALUE_KINDS)
    for kind, samples in SAMPLES.items():
        for value in samples:
            spelled = json.loads(canonical.dumps(value))
            assert value_kind(spelled) == kind, value


def test_exact_kinds_come_back_exactly(anywhere: str, request: pytest.FixtureRequest) -> None:
    rules = CONNECTOR.open_target(place_of(anywhere), "x").capabilities.metadata
    written = [v for kind in rules.exact for v in SAMPLES[kind] if values.value_survives(v)] + FINE_NUMBERS
    collection = collection_of(2, name=unique(request))
    ids = [f"v{i}" for i in range(len(written))]
    load(anywhere, batch_of(collection, ids, metadata=[{"v": v, "other": 1} for v in written]), collection)
    with open_source(anywhere, collection.name) as session:
        rows = by_id(read(session)[0])
    for id, value in zip(ids, written, strict=True):
        assert same(canonical.loads(rows[id]["metadata"])["v"], value), (value, rows[id]["metadata"][:200])


def comes_back(collection: Any, number: int, value: Any) -> bool:
    """Whether the engine itself, asked through its own client, gives a metadata value back."""
    try:
        collection.add(ids=[str(number)], embeddings=[[1.0, 2.0]], metadatas=[{"v": value, "other": 1}])
        (row,) = collection.get(ids=[str(number)], include=["metadatas"])["metadatas"]
    except (Exception, pytest.fail.Exception):
        return False
    return "v" in row and same(row["v"], value)


@pytest.mark.parametrize("where", ["folder", "server"])
def test_kinds_that_are_not_exact_really_are_not(where: str, scratch: Any, raw_server: Any) -> None:
    rules = CONNECTOR.open_target(place_of("chroma:x"), "x").capabilities.metadata
    client = scratch if where == "folder" else raw_server
    collection = client.create_collection(f"inexact-{where}", embedding_function=None)
    for number, kind in enumerate(sorted(set(SAMPLES) - rules.exact)):
        survivors = [v for i, v in enumerate(SAMPLES[kind]) if comes_back(collection, 100 * number + i, v)]
        assert len(survivors) < len(SAMPLES[kind]), kind


@pytest.mark.parametrize("kind", sorted(set(SAMPLES) - values.METADATA_RULES.exact))
def test_write_refuses_what_would_change(tmp_path: Path, kind: str) -> None:
    collection = collection_of(2)
    with open_target(tmp_path / "db") as target:
        target.prepare(TargetPlan(collection, 1))
        refused = [v for v in SAMPLES[kind] if not values.value_survives(v)]
        assert len(refused) == len(SAMPLES[kind])
        for value in refused:
            batch = batch_of(collection, ["good", "bad"], metadata=[{"v": 1}, {"v": value}])
            with pytest.raises(NotRepresentable, match="record 'bad': metadata key 'v'"):
                target.write(batch, MARK)
        assert target.count() == 0


@pytest.mark.parametrize("where", ["folder", "server"])
def test_doubles_survive_as_foretold(where: str, scratch: Any, raw_server: Any) -> None:
    rng = np.random.default_rng(11)
    doubles = [*FINE_NUMBERS, 5e-324, 1.7976931348623155e308, 123456789012345.0, 9007199254740993.0, 1 / 3]
    doubles += rng.random(1500).tolist() + (rng.standard_normal(1500) * 1e3).tolist()
    spread = rng.standard_normal(700) * 10.0 ** rng.integers(-30, 30, 700)
    doubles += [float(f"{v:.{digits}g}") for digits in (3, 15, 16) for v in spread]
    doubles += np.floor(rng.random(500) * 2.0**60).tolist() + np.frombuffer(rng.bytes(8000), "<f8").tolist()
    doubles = [v for v in doubles if math.isfinite(v)]
    client = scratch if where == "folder" else raw_server
    collection = client.create_collection(f"doubles-{where}", embedding_function=None)
    ids, found = [str(i) for i in range(len(doubles))], {}
    for s in range(0, len(ids), 3000):
        part = slice(s, s + 3000)
        collection.add(ids=ids[part], embeddings=[[1.0]] * len(ids[part]), metadatas=[{"v": v} for v in doubles[part]])
        answer = collection.get(ids=ids[part], include=["metadatas"])
        found.update(zip(answer["ids"], (m["v"] for m in answer["metadatas"]), strict=True))
    told = [values.float_survives(v) for v in doubles]
    held = [bits(found[id]) == bits(v) for id, v in zip(ids, doubles, strict=True)]
    assert not all(held)
    if where == "folder":
        assert told == held
    else:
        # A server reads the text twice, and at times the second error takes the first one back.
        assert all(h for t, h in zip(told, held, strict=True) if t)
        assert sum(held) - sum(told) < 0.05 * len(held)


KEYS = ["", "a", " ", "a b", "a.b", "é", "\n", "a\nb", "\0", "a\0", "x" * 5000, 'a"b', "a#", "a$", "_vecport", "id",
        "#", "#a", "$", "$a", "$vp", "$$vp", "$\n", "#document", "chroma", "Chroma:x", "xchroma:y", "chroma:",
        "chroma:x", "chroma:uri", "chroma:document", "chroma:\nx"]  # fmt: skip


@pytest.mark.parametrize("where", ["folder", "server"])
def test_forbidden_keys_are_those_that_the_engine_refuses_or_drops(where: str, scratch: Any, raw_server: Any) -> None:
    client = scratch if where == "folder" else raw_server
    collection = client.create_collection(f"keys-{where}", embedding_function=None)
    for i, key in enumerate(KEYS):
        try:
            collection.add(ids=[str(i)], embeddings=[[1.0]], metadatas=[{key: "v", "other": 1}])
            answer = collection.get(ids=[str(i)], include=["metadatas", "uris"])
            held = answer["metadatas"] == [{key: "v", "other": 1}] and answer["uris"] == [None]
            held = held or (key == values.URI_KEY and answer["uris"] == ["v"])
        except Exception:
            held = False
        forbidden = re.fullmatch(values.METADATA_RULES.forbidden_keys, key) is not None
        assert held is not forbidden, key
        assert values.key_survives(key) is held


def test_ids_of_every_sort(anywhere: str, request: pytest.FixtureRequest) -> None:
    ids = [" ", "a", "A", "é\U0001f600", "x" * 600, "y" * 50_000, "a\nb", "\0", "a\0b", "a'b", "%", "7", "null"]
    ids += ["\u00e4", "a\u0308"]
    collection = collection_of(2, name=unique(request))
    load(anywhere, batch_of(collection, ids), collection)
    with open_source(anywhere, collection.name) as session:
        assert session.describe().collection.id_kind == "string"
        assert set(by_id(read(session)[0])) == set(ids)
        assert session.fetch([("", id) for id in reversed(ids)]).column("id").to_pylist() == ids[::-1]
        assert session.fetch([("", ""), ("", "nope"), ("ns", "a")]).num_rows == 0


def test_refused_ids(tmp_path: Path) -> None:
    collection = collection_of(2)
    with open_target(tmp_path / "db") as target:
        assert re.search(target.capabilities.id_forbidden, "")
        assert not re.search(target.capabilities.id_forbidden, "a\n")
        target.prepare(TargetPlan(collection, 1))
        with pytest.raises(NotRepresentable, match="record '': its id"):
            target.write(batch_of(collection, ["a", ""]), MARK)
        with pytest.raises(IntegrityError, match="id 'a' stands twice"):
            target.write(batch_of(collection, ["a", "b", "a"]), MARK)
        assert target.count() == 0


def test_refused_vectors(tmp_path: Path) -> None:
    for metric, rows in (
        ("l2", [[math.nan, 1.0], [math.inf, 1.0]]),
        ("cosine", [[math.nan, 1.0], [3e19, 1e19], [1e-25, 1e-26], [1e-45, 0.0]]),
    ):
        collection = collection_of(2, metric, f"docs-{metric}")
        with open_target(tmp_path / "db", collection.name) as target:
            target.prepare(TargetPlan(collection, 1))
            for row in rows:
                with pytest.raises(NotRepresentable, match="record 'b': its vector"):
                    target.write(batch_of(collection, ["a", "b"], np.array([[1, 2], row], np.float32)), MARK)
            nulls = dense_array(np.ones((2, 2), np.float32), collection.vectors[0], np.array([True, False]))
            with pytest.raises(NotRepresentable, match="record 'b' has no vector"):
                target.write(make_page(collection, ids=["a", "b"], vectors={"": nulls}), MARK)
            assert target.count() == 0


def test_the_cosine_index_destroys_the_vectors_that_are_refused(scratch: Any) -> None:
    collection = scratch.create_collection("abc", embedding_function=None, configuration={"hnsw": {"space": "cosine"}})
    collection.add(ids=["large", "small"], embeddings=np.array([[3e19, 1e19], [1e-25, 1e-26]], np.float32))
    large, small = collection.get(ids=["large", "small"], include=["embeddings"])["embeddings"]
    assert np.isnan(large).all()
    assert not small.any()


# -- limits of a request ---------------------------------------------------------------------------------------


def test_more_records_than_one_request_takes(tmp_path: Path) -> None:
    place = Place("chroma", "chroma:x", path=str(tmp_path / "db"))
    ids = [f"i{n}" for n in range(5_600)]
    with CONNECTOR.open_target(place, "docs") as session:
        session.prepare(TargetPlan(DOCS, len(ids)))
        session.write(page(ids), MARK)
        assert session.count() == len(ids)
    with CONNECTOR.open_source(place, "docs", Selection()) as source:
        token = source.snapshot()
        (whole,) = source.partitions(10_000, token)
        assert [p.batch.num_rows for p in source.scan(whole, None, 100_000)] == [5_000, 600]
        wanted = [("", f"x{n}") for n in range(40_000)]
        assert source.fetch([*wanted, ("", "i5599")]).column("id").to_pylist() == ["i5599"]
