"""Settings of Qdrant collections as a dump keeps them."""

from __future__ import annotations

from typing import Any

from qdrant_client import QdrantClient

from vecport.connectors.address import Place
from vecport.connectors.contract import TargetPlan
from vecport.connectors.qdrant import settings

from .support import CONNECTOR, MARK, collection, loading, page, source

NATIVE: dict[str, Any] = {
    "shard_number": 2,
    "on_disk_payload": True,
    "hnsw_config": {"m": 17, "ef_construct": 123},
    "optimizers_config": {"indexing_threshold": 4321, "deleted_threshold": 0.3},
    "vectors": {"": {"hnsw_config": {"m": 24}, "on_disk": True, "datatype": "Float32"}},
    "payload_indexes": {
        "year": {"type": "integer", "params": {"lookup": True, "range": False}},
        "ok": {"type": "bool"},
    },
    "metadata": {"team": "search", "n": [1, 2.5, {"x": None, "y": True}], settings.PASSPORT_KEY: "not ours"},
}


def native_of(place: Place, name: str) -> dict[str, Any]:
    with source(place, name) as session:
        return dict(session.describe().collection.native)


def stored(official: QdrantClient, name: str, key: str) -> Any:
    return (official.get_collection(name).config.metadata or {}).get(key)


def threshold(official: QdrantClient, name: str) -> int | None:
    return official.get_collection(name).config.optimizer_config.indexing_threshold


def import_native(place: Place, name: str, native: dict[str, Any], **plan: Any) -> None:
    c = collection(name)
    made = TargetPlan(collection=c, rows=1, native=native, **plan)
    with CONNECTOR.open_target(place, name) as target:
        target.prepare(made)
        with loading(target, made):
            target.write(page(c, ["1"], metadata=[{"year": 2020}]), MARK)
        target.finish({"state": "complete"})
