"""What a target cannot take by its name, number or size is a line of the ledger before anything is created."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.operations import rooms
from vecport.connectors.checks import check_plan
from vecport.connectors.contract import TargetPlan
from vecport.connectors.memory import MemoryTarget
from vecport.errors import NotRepresentable
from vecport.model.capabilities import Names, TargetCapabilities
from vecport.model.collection import Collection, VectorField
from vecport.operations.export import export
from vecport.operations.import_ import import_
from vecport.testing.records import Record

HELD = MemoryTarget.capabilities
#: What a target does not take, the field of the ledger that says so, and the target's capabilities.
WITH_LIMITS: dict[str, tuple[str, TargetCapabilities]] = {
    "the grammar of collections": ("collection", replace(HELD, collection_names=Names("[a-c]+", says="a to c"))),
    "the parts of a name": ("collection", replace(HELD, collection_names=Names("[dos]", parts=lambda n: n.split("c")))),
    "long namespaces": ("namespace", replace(HELD, namespace_names=Names(max_bytes=2, default=""))),
    "namespaces without a name": ("namespace", replace(HELD, namespace_names=Names())),
    "the name of its default namespace": ("namespace", replace(HELD, namespace_names=Names(default="eu"))),
    "bits by another multiple": ("vector:bits", replace(HELD, dim_multiple={"binary": 8})),
    "one vector alone": ("vector", replace(HELD, vectors_min=2)),
}
MADE = Collection("docs", vectors=(VectorField("bits", "binary", "bit", 12, "hamming"),))


@pytest.fixture
def dump(tmp_path: Path) -> Path:
    with rooms.room() as address:
        bits = np.array([1, 0] * 6, np.uint8)
        records = [Record(f"r{ns}", {"bits": bits}, {}, None, ns) for ns in ("eu", "west", "")]
        rooms.fill(address, records, MADE)
        export(address, tmp_path / "dump")
    return tmp_path / "dump"


@pytest.mark.parametrize("limit", WITH_LIMITS)
def test_a_limit_is_a_line_of_the_ledger_and_nothing_is_written(
    dump: Path, limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    field, caps = WITH_LIMITS[limit]
    monkeypatch.setattr(MemoryTarget, "capabilities", caps)
    with rooms.room() as address:
        dry = import_(dump, f"{address}#docs", dry_run=True)
        assert [e["field"] for e in dry.ledger if e["status"] == "rejected"] == [field]
        assert dry.exit_code == NotRepresentable.exit_code
        with pytest.raises(NotRepresentable):
            import_(dump, f"{address}#docs")
        plan = TargetPlan(replace(MADE, name="docs"), 3, namespaces=("", "eu", "west"))
        with pytest.raises(NotRepresentable):
            check_plan(plan, caps, "Example")
        monkeypatch.undo()
        assert import_(dump, f"{address}#docs").written_rows == 3
        check_plan(plan, MemoryTarget.capabilities, "Example")


REFUSED = {
    "chroma": ("ab", "a..b", "1.2.3.4", "-docs", "d" * 513),
    "qdrant": ("a/b", "..", "a:b", "a*", "d" * 256, "é" * 128),
}


@pytest.mark.parametrize(("database", "name"), [(d, name) for d, names in REFUSED.items() for name in names])
def test_a_collection_name_that_a_database_refuses(tmp_path: Path, database: str, name: str) -> None:
    with rooms.room() as address:
        rooms.fill(address, [rooms.record("a")])
        export(address, tmp_path / "dump")
    place = f"{database}:{tmp_path / 'there'}"
    ledger = import_(tmp_path / "dump", place, collection=name, dry_run=True).ledger
    assert [e["field"] for e in ledger if e["status"] == "rejected"] == ["collection"]
    with pytest.raises(NotRepresentable, match="collection"):
        import_(tmp_path / "dump", place, collection=name)
    assert not (tmp_path / "there").exists()
