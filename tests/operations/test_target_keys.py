"""Namespaces where a target has its own: in its plan, in what is deleted and in what is found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.operations import rooms
from vecport.connectors.address import parse
from vecport.connectors.contract import TargetPlan
from vecport.connectors.memory import MemoryConnector, MemoryTarget
from vecport.errors import NotRepresentable
from vecport.operations.export import export
from vecport.operations.import_ import import_

QUERY = np.array([0, 1, 2, 3], np.float32)


def test_a_key_is_deleted_and_its_namesake_stays() -> None:
    with rooms.room() as address:
        rooms.fill(address, [rooms.record("a", 0, "eu"), rooms.record("a", 1, "us"), rooms.record("b", 2, "eu")])
        with MemoryConnector().open_target(parse(address), "docs") as target:
            target.delete([("eu", "a"), ("us", "b"), ("", "a")])
        assert set(rooms.held(address)) == {("us", "a"), ("eu", "b")}


def test_a_search_stays_in_its_namespace() -> None:
    with rooms.room() as address:
        rooms.fill(address, [rooms.record("a", 5, "eu"), rooms.record("a", 0, "us"), rooms.record("b", 1, "eu")])
        with MemoryConnector().open_target(parse(address), "docs") as target:
            found = {ns: [(h.namespace, h.id) for h in target.search("", QUERY, 9, ns)] for ns in ("eu", "us", "")}
    assert found == {"eu": [("eu", "b"), ("eu", "a")], "us": [("us", "a")], "": []}


def test_a_plan_names_the_namespaces_to_create(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plans: list[TargetPlan] = []
    prepare = MemoryTarget.prepare

    def heard(session: MemoryTarget, plan: TargetPlan) -> None:
        plans.append(plan)
        prepare(session, plan)

    with rooms.room() as source, rooms.room() as target:
        rooms.fill(source, [rooms.record(f"r{n}", n, ns) for n, ns in enumerate(("us", "", "eu", "us"))])
        export(source, tmp_path / "dump")
        monkeypatch.setattr(MemoryTarget, "prepare", heard)
        import_(tmp_path / "dump", f"{target}#docs")
        import_(tmp_path / "dump", f"{target}#parts", namespaces="split")
    assert [p.namespaces for p in plans] == [("", "eu", "us"), (), (), ()]


def test_a_target_without_namespaces_refuses_them_by_name(tmp_path: Path) -> None:
    from vecport.connectors.chroma import ChromaConnector

    with ChromaConnector().open_target(parse(f"chroma:{tmp_path / 'c'}"), "docs") as target:
        with pytest.raises(NotRepresentable, match="eu"):
            target.delete([("eu", "a")])
        with pytest.raises(NotRepresentable, match="eu"):
            target.search("", QUERY, 1, "eu")
