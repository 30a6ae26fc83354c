"""The contract suite over JSON Lines: plain, and compressed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from vecport.connectors.address import Place, parse
from vecport.connectors.jsonl import JsonlConnector
from vecport.model.collection import Collection
from vecport.testing.contract import ConnectorContract
from vecport.testing.hands import Hands
from vecport.testing.hands.jsonl import JsonlHands


class TestJsonl(ConnectorContract):
    connector = JsonlConnector()
    suffix = ".jsonl"

    @pytest.fixture(scope="class")
    def place(self, tmp_path_factory: pytest.TempPathFactory) -> Place:
        return parse(f"jsonl:{tmp_path_factory.mktemp('lines')}")

    def place_of(self, place: Place, name: str) -> Place:
        return parse(f"{place.text}/{name}{self.suffix}")

    def names(self, place: Place) -> set[str]:
        return {path.name.removesuffix(self.suffix) for path in Path(place.path).iterdir()}

    def hands(self, place: Place, collection: Collection) -> Hands | None:
        # What is compressed is the same text: one set of kinds stands for all.
        judged = self.suffix == ".jsonl" or [v.kind for v in collection.vectors] == ["dense"]
        return JsonlHands(place, collection) if judged else None

    def reading_place(self, place: Place, collection: Collection | None) -> Place:
        if collection is None:
            return place
        vectors = [v for v in collection.vectors if v.kind != "sparse"]
        said = {
            "id-kind": collection.id_kind,
            "dim": json.dumps({v.name: v.dim for v in vectors}),
            "dtype": json.dumps({v.name: v.dtype for v in vectors}),
            "metric": json.dumps({v.name: v.metric for v in collection.vectors}),
        }
        return replace(place, options=said)


class TestGzip(TestJsonl):
    suffix = ".jsonl.gz"


class TestZstd(TestJsonl):
    suffix = ".ndjson.zst"
