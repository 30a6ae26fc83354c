"""Writes what an import of this release leaves in each database: a passport, the stored records, and the dump's own.

``python tests/model/make_passports.py VERSION`` writes ``passports/vVERSION/CONNECTOR.json``, once for each version of
metadata rules: files of an earlier version are never written again, because collections of that time live on.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from vecport.connectors import registry
from vecport.model.collection import Collection, VectorField, collection_to_json
from vecport.model.hashes import add_hashes
from vecport.model.mapping import Mapper, plan_mapping
from vecport.model.profile import profile_page
from vecport.testing.records import HARD_KEYS, HARD_VALUES, Record, batch_of

FOLDER = Path(__file__).parent / "passports"
CONNECTORS = ("chroma", "jsonl", "memory", "postgres", "qdrant")
SOURCE = Collection("docs", "string", (VectorField("", dim=2, metric="dot"),))


def records() -> list[Record]:
    """Every hard value and key, in records whose ids most targets cannot hold as they are."""
    values: list[tuple[str, Any]] = [("value", v) for found in HARD_VALUES.values() for v in found]
    values += [(key, "text") for key in HARD_KEYS]
    return [
        Record(f"é {i}", {"": np.array([i, 0.5], np.float32)}, {key: value}, f"text {i}" if i % 2 else None)
        for i, (key, value) in enumerate(values)
    ]


def columns(page: Any) -> dict[str, list[Any]]:
    """The texts of a page."""
    return {name: page.column(name).to_pylist() for name in ("id", "namespace", "document", "metadata")}


def made(connector: str) -> dict[str, Any]:
    """What an import leaves."""
    target = registry.get(connector).target
    assert target is not None
    page = batch_of(records(), SOURCE)
    plan, _ = plan_mapping(
        SOURCE, profile_page(page, SOURCE), target.capabilities, name="docs", rules=connector, identity="0" * 32,
        rows=page.num_rows, import_id="1" * 32,
    )  # fmt: skip
    stored = Mapper(plan).apply(add_hashes(page, SOURCE))
    return {
        "passport": plan.passport.to_json("complete"), "native": collection_to_json(plan.target),
        "stored": columns(stored), "dump": columns(page),
    }  # fmt: skip


if __name__ == "__main__":
    where = FOLDER / f"v{sys.argv[1]}"
    where.mkdir(parents=True)
    for name in CONNECTORS:
        (where / f"{name}.json").write_text(json.dumps(made(name), indent=1, sort_keys=True) + "\n")
