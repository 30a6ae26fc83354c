"""Sparse vectors in Chroma's metadata: Chroma Cloud alone holds them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import vecport
from vecport.connectors.address import parse, with_options
from vecport.connectors.chroma import read as chroma_source
from vecport.connectors.chroma import values
from vecport.connectors.chroma.records import split
from vecport.connectors.contract import Selection, TargetPlan
from vecport.connectors.kit.checks import MetadataCheck
from vecport.dump import open_dump
from vecport.errors import NotRepresentable
from vecport.model import canonical
from vecport.model.projection import Projection

from .support import CONNECTOR, DOCS, MARK, client_of, page

chromadb = pytest.importorskip("chromadb")

SPARSE = {"#type": "sparse_vector", "indices": [1, 5, 4294967295], "values": [0.5, -2.25, float(np.float32(0.1))]}


def test_local_engines_hold_no_sparse_vectors(place: str, name: str) -> None:
    """If this fails, folders and servers have learned it, and may be given them as they are."""
    with client_of(place) as client:
        docs = client.create_collection(name, embedding_function=None)
        with pytest.raises(Exception, match="Sparse vector is not supported for local chroma"):
            docs._client._add(
                ids=["a"], collection_id=docs.id, embeddings=[[1.0]], metadatas=[{"s": SPARSE}],
                tenant=docs.tenant, database=docs.database,
            )  # fmt: skip


def test_sparse_vectors_become_objects(tmp_path: Path) -> None:
    """A client's answer is made up: no engine that runs here gives one."""
    with CONNECTOR.open_target(parse(f"chroma:{tmp_path / 'db'}"), "docs") as session:
        session.prepare(TargetPlan(DOCS, 2))
        session.write(page(["a", "b"], [{"x": 1}, {"x": 2}]), MARK)
    with CONNECTOR.open_source(parse(f"chroma:{tmp_path / 'db'}"), "docs", Selection()) as source:
        assert isinstance(source, chroma_source.ChromaSource)
        answer = source._collection().get(ids=["a", "b"], include=list(chroma_source.PARTS))
        # A server spells float32 by the fewest digits: 0.1 is what a folder would give as 0.10000000149011612.
        answer["metadatas"][0]["s"] = chromadb.SparseVector(SPARSE["indices"], [0.5, -2.25, 0.1])
        answer["metadatas"][1]["s"] = chromadb.SparseVector([3], [1.0], ["tok"])
        texts = source._page(answer).column("metadata").to_pylist()
        assert json.loads(texts[0]) == {"x": 1, "s": SPARSE}
        assert json.loads(texts[1])["s"] == SPARSE | {"indices": [3], "values": [1.0], "tokens": ["tok"]}
        answer["metadatas"][1]["s"] = object()
        with pytest.raises(NotRepresentable, match="not supported") as caught:
            source._page(answer)
        assert "record 'b' has one under the metadata key 's'" in caught.value.why


def test_a_sparse_vector_outside_the_cloud_is_encoded(place: str, name: str, tmp_path: Path) -> None:
    lines = tmp_path / "rows.jsonl"
    lines.write_text(json.dumps({"id": "a", "vector": [1.0, 2.0], "metadata": {"s": SPARSE, "n": 1}}) + "\n")
    vecport.export(f"jsonl:{lines}", tmp_path / "one", source_options={"metric": "l2"})
    vecport.import_(tmp_path / "one", place, collection=name)
    vecport.export(place, tmp_path / "two", collection=name)
    assert open_dump(tmp_path / "one").manifest.identity == open_dump(tmp_path / "two").manifest.identity
    with client_of(place) as client:
        (row,) = client.get_collection(name, embedding_function=None).get(include=["metadatas"])["metadatas"]
    assert json.loads(row["s"]) == SPARSE


def test_the_cloud_gets_sparse_vectors_as_they_are() -> None:
    session = CONNECTOR.open_target(with_options(parse("chroma+https://api.trychroma.com"), {}), "docs")
    rules = session.capabilities.metadata
    stored, originals = Projection(rules).encode({"s": SPARSE, "o": {"a": 1}})
    assert stored["s"] == SPARSE
    assert list(originals) == ["o"]
    MetadataCheck(rules, "Chroma")(["a"], [{"s": SPARSE}])
    rows, uris = split(["a"], pa.array([canonical.dumps({"s": SPARSE})]), [{"s": dict(SPARSE)}])
    assert uris is None
    assert rows[0] is not None
    assert rows[0]["s"] == chromadb.SparseVector(SPARSE["indices"], SPARSE["values"])


@pytest.mark.parametrize(
    "change",
    [{"#type": "other"}, {"indices": [5, 1, 7]}, {"indices": [1, 2]}, {"indices": [-1, 2, 3]},
     {"indices": [0, 1, 2**32]},
     {"indices": [True, 2, 3]}, {"values": [0.1, 0.2, 0.3]}, {"values": [1, 2, 3]}, {"values": [1e300, 0.5, 0.5]},
     {"values": None}, {"tokens": ["a"]}, {"tokens": [1, 2, 3]}, {"more": 1}],
    ids=str,
)  # fmt: skip
def test_objects_that_are_no_sparse_vectors(change: dict[str, Any]) -> None:
    assert values.is_sparse(SPARSE)
    assert values.is_sparse(SPARSE | {"tokens": ["a", "b", "c"]})
    assert not values.is_sparse(SPARSE | change)
