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

WITH_LIMITS: dict[str, TargetCapabilities] = {
    "collection": replace(MemoryTarget.capabilities, collection_names=Names("[a-c]+", says="a, b and c alone")),
    "namespace": replace(MemoryTarget.capabilities, namespace_names=Names(max_bytes=2)),
    "vector:bits": replace(MemoryTarget.capabilities, dim_multiple={"binary": 8}),
    "vector": replace(MemoryTarget.capabilities, vectors_min=2),
}
MADE = Collection("docs", vectors=(VectorField("bits", "binary", "bit", 12, "hamming"),))


@pytest.fixture
def dump(tmp_path: Path) -> Path:
    with rooms.room() as address:
        bits = np.array([1, 0] * 6, np.uint8)
        records = [Record(f"r{ns}", {"bits": bits}, {}, None, ns) for ns in ("eu", "west")]
        rooms.fill(address, records, MADE)
        export(address, tmp_path / "dump")
    return tmp_path / "dump"


@pytest.mark.parametrize("field", WITH_LIMITS)
def test_a_limit_is_a_line_of_the_ledger_and_nothing_is_written(
    dump: Path, field: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MemoryTarget, "capabilities", WITH_LIMITS[field])
    with rooms.room() as address:
        dry = import_(dump, f"{address}#docs", dry_run=True)
        assert [e["field"] for e in dry.ledger if e["status"] == "rejected"] == [field]
        assert dry.exit_code == NotRepresentable.exit_code
        with pytest.raises(NotRepresentable):
            import_(dump, f"{address}#docs")
        plan = TargetPlan(replace(MADE, name="docs"), 2, namespaces=("", "eu", "west"))
        with pytest.raises(NotRepresentable):
            check_plan(plan, WITH_LIMITS[field], "Example")
        monkeypatch.undo()
        assert import_(dump, f"{address}#docs").written_rows == 2
        check_plan(plan, MemoryTarget.capabilities, "Example")


@pytest.mark.parametrize("name", ["ab", "a..b", "1.2.3.4", "-docs", "d" * 513])
def test_a_collection_name_that_chroma_refuses(tmp_path: Path, name: str) -> None:
    with rooms.room() as address:
        rooms.fill(address, [rooms.record("a")])
        export(address, tmp_path / "dump")
    place = f"chroma:{tmp_path / 'chroma'}"
    ledger = import_(tmp_path / "dump", place, collection=name, dry_run=True).ledger
    assert [e["field"] for e in ledger if e["status"] == "rejected"] == ["collection"]
    with pytest.raises(NotRepresentable, match="collection"):
        import_(tmp_path / "dump", place, collection=name)
    assert not (tmp_path / "chroma").exists()
