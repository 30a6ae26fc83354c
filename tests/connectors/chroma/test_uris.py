"""URIs of Chroma's records: kept, and carried through other databases."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vecport
from vecport.connectors.address import parse
from vecport.connectors.contract import TargetPlan
from vecport.dump import open_dump
from vecport.errors import NotRepresentable
from vecport.testing.engines.chroma import ChromaEngine

from .support import CONNECTOR, DOCS, MARK, client_of, page, rows_of, there_and_back

pytest.importorskip("chromadb")


def test_uris_are_kept(place: str, name: str, tmp_path: Path) -> None:
    uris = [None, "file:///x", "", "a\0b", 'é "quoted" \\', "x" * 5_000]
    with client_of(place) as client:
        docs = client.create_collection(name, embedding_function=None, configuration={"hnsw": {"space": "l2"}})
        docs.add(ids=list("abcdef"), embeddings=np.eye(6, 4), uris=uris, documents=["d"] * 6)
        docs.add(ids=["g"], embeddings=[[1, 2, 3, 4]], uris=["u"], metadatas=[{"chroma": 1, "z": 2, "a": 3}])
    one, two = there_and_back(place, name, tmp_path)
    assert one.identity == two.identity
    rows = rows_of(tmp_path / "one")
    assert rows["a"] == "{}"
    assert [json.loads(rows[id])["chroma:uri"] for id in "bcdef"] == uris[1:]
    assert rows["g"] == '{"a":3,"chroma":1,"chroma:uri":"u","z":2}', "keys in the canonical order"
    with client_of(place) as client:
        back = client.get_collection(f"{name}-back", embedding_function=None).get(include=["uris", "metadatas"])
    assert dict(zip(back["ids"], back["uris"], strict=True)) == dict(zip("abcdefg", [*uris, "u"], strict=True))
    assert not any("chroma:uri" in (m or {}) for m in back["metadatas"])


def test_a_uri_goes_through_another_database(server: ChromaEngine, name: str, tmp_path: Path) -> None:
    with client_of(server.address) as client:
        client.create_collection(name, embedding_function=None).add(ids=["a"], embeddings=[[1.0, 2.0]], uris=["u"])
    one, _ = there_and_back(server.address, name, tmp_path)
    lines = tmp_path / "rows.jsonl"
    vecport.import_(tmp_path / "one", f"jsonl:{lines}")
    assert json.loads(lines.read_text())["metadata"] == {"chroma:uri": "u"}
    vecport.export(f"jsonl:{lines}", tmp_path / "lines", source_options={"metric": "l2"})
    vecport.import_(tmp_path / "lines", f"chroma:{tmp_path / 'other'}", collection="again")
    vecport.export(f"chroma:{tmp_path / 'other'}", tmp_path / "again", collection="again")
    assert open_dump(tmp_path / "again").manifest.identity == one.identity


@pytest.mark.parametrize("value", [7, True, ["u"], 0.5])
def test_what_cannot_be_a_uri_is_refused(tmp_path: Path, value: Any) -> None:
    with CONNECTOR.open_target(parse(f"chroma:{tmp_path / 'db'}"), "docs") as session:
        session.prepare(TargetPlan(DOCS, 2))
        with pytest.raises(NotRepresentable, match="record 'b': metadata key 'chroma:uri'"):
            session.write(page(["a", "b"], [{"chroma:uri": "fine"}, {"chroma:uri": value}]), MARK)
        assert session.count() == 0
