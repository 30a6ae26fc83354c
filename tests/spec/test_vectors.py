"""The test vectors of the hashes: the columnar code against an implementation that goes record by record."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from vecport.dump.manifest import Identity
from vecport.model import hashes, ids
from vecport.model.batch import make_page
from vecport.model.collection import Collection, VectorField, collection_from_json, vector_columns
from vecport.testing.records import Sparse, vector_column

SPEC = Path(__file__).parents[2] / "spec"
VECTORS: dict[str, Any] = json.loads((SPEC / "vectors" / "hashes.json").read_text())


def named(case: dict[str, Any]) -> str:
    return str(case.get("name", ""))


def as_field(data: dict[str, Any]) -> VectorField:
    return VectorField(data["name"], data["kind"], data["dtype"], data["dim"])


def numbers(elements: list[Any], dtype: str) -> np.ndarray[Any, Any]:
    """Elements in the type in which they travel."""
    if dtype in ("int8", "uint8"):
        return np.array(elements, dtype)
    raw = b"".join(bytes.fromhex(e) for e in elements)
    if dtype == "bfloat16":
        return (np.frombuffer(raw, ">u2").astype(np.uint32) << 16).view(np.float32)
    found = np.frombuffer(raw, {"float64": ">f8", "float32": ">f4", "float16": ">f2"}[dtype])
    return found.astype(np.float64 if dtype == "float64" else np.float32)


def as_vector(value: Any, f: VectorField) -> Any:
    if value is None:
        return None
    if f.kind == "binary":
        return np.array([int(bit) for bit in value], np.uint8)
    if f.kind == "sparse":
        return Sparse(tuple(value["indices"]), tuple(numbers(value["values"], f.dtype).tolist()))
    if f.kind == "multi":
        rows = [numbers(row, f.dtype) for row in value]
        return np.stack(rows) if rows else np.zeros((0, f.dim or 0))
    return numbers(value, f.dtype)


def page_of(fields: list[VectorField], vectors: dict[str, Any]) -> tuple[pa.RecordBatch, Collection]:
    collection = Collection("c", vectors=tuple(fields))
    arrays = {f.name: vector_column([as_vector(vectors.get(f.name), f)], f) for f in fields}
    return make_page(collection, ids=["a"], vectors=arrays), collection


@pytest.mark.parametrize("case", VECTORS["fields"], ids=named)
def test_field_hash(case: dict[str, Any]) -> None:
    f = as_field(case["field"])
    page, collection = page_of([f], {f.name: case["vector"]})
    assert int(hashes.vector_hashes(page, collection).view(np.uint64)[0]) == int(case["hash"], 16)
    seed = hashes.SEED["float64" if f.kind == "dense" and f.dtype == "float64" else f.kind]
    assert seed == case["seed"]


@pytest.mark.parametrize("case", VECTORS["vectors"], ids=named)
def test_vector_hash(case: dict[str, Any]) -> None:
    page, collection = page_of([as_field(f) for f in case["fields"]], case["vectors"])
    assert str(int(hashes.vector_hashes(page, collection)[0])) == case["stored"]


@pytest.mark.parametrize("case", VECTORS["metadata"], ids=named)
def test_metadata_hash(case: dict[str, Any]) -> None:
    page = make_page(Collection("c"), ids=["a"], metadata=[case["metadata"]], documents=[case["document"]])
    assert str(int(hashes.metadata_hashes(page)[0])) == case["stored"]


def sum_of(cases: list[dict[str, Any]]) -> int:
    columns = [
        pa.array([c["id"] for c in cases], pa.string()),
        pa.array([c["namespace"] for c in cases], pa.string()),
        *(pa.array([int(c[name]) for c in cases], pa.int64()) for name in ("_vh", "_mh")),
    ]
    return hashes.record_sum(*columns)


@pytest.mark.parametrize("case", VECTORS["records"], ids=lambda c: ascii(c["id"]))
def test_record_hash(case: dict[str, Any]) -> None:
    assert sum_of([case]) == int(case["hash"], 16)


@pytest.mark.parametrize("case", VECTORS["sums"], ids=named)
def test_record_sum(case: dict[str, Any]) -> None:
    assert f"{sum_of([VECTORS['records'][i] for i in case['records']]):032x}" == case["sum"]


@pytest.mark.parametrize("case", VECTORS["schemas"], ids=named)
def test_schema_digest_and_identity(case: dict[str, Any]) -> None:
    collection = collection_from_json({"name": "any", **case["collection"]})
    assert collection.digest() == case["digest"]
    assert str(Identity(case["digest"], 3, 5)) == case["identity_of_3_rows_and_sum_5"]


@pytest.mark.parametrize("case", VECTORS["columns"], ids=lambda c: ascii(c["names"]))
def test_columns(case: dict[str, Any]) -> None:
    assert list(vector_columns(case["names"]).values()) == case["columns"]


@pytest.mark.parametrize("case", VECTORS["stand_ins"], ids=lambda c: ascii(c["id"]))
def test_stand_in(case: dict[str, Any]) -> None:
    assert ids.stand_in(case["id"], case["kind"], case["namespace"]) == case["uuid"]


def test_hashes_say_what_they_are_meant_to_say() -> None:
    """Equal where the format calls vectors equal, different everywhere else."""
    by_name = {c["name"]: c["hash"] for c in VECTORS["fields"]}
    equal = ["ones and halves", "float16 hashes as the float32 of the same value", "bfloat16 too"]
    assert len({by_name[n] for n in equal}) == 1
    rest = [h for n, h in by_name.items() if n not in equal]
    assert len(set(rest)) == len(rest)
    assert len({c["hash"] for c in VECTORS["records"]}) == len(VECTORS["records"])
    assert len({c["digest"] for c in VECTORS["schemas"]}) == len(VECTORS["schemas"])


def test_the_file_is_what_the_generator_writes() -> None:
    generator = runpy.run_path(str(SPEC / "generate.py"))
    assert generator["vectors_text"]() == (SPEC / "vectors" / "hashes.json").read_text()
    kinds = ("fields", "vectors", "metadata", "records", "sums", "schemas", "columns", "stand_ins")
    print("\ntest vectors: " + ", ".join(f"{len(VECTORS[k])} {k}" for k in kinds))
