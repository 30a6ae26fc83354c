"""What the pipeline checks once for every connector: pages against the selection, row groups against capabilities."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vecport
from vecport.connectors.address import Place, parse
from vecport.connectors.contract import Mark, Selection, Source, Target, TargetPlan
from vecport.connectors.decorators import checked_target
from vecport.connectors.memory import MemoryConnector, MemorySource, MemoryTarget, forget
from vecport.errors import IntegrityError, NotRepresentable, UsageError, VecportError
from vecport.model.collection import Collection, VectorField
from vecport.testing.records import Record, batch_of

MADE = Collection("things", vectors=(VectorField("", dim=3, nullable=True),))
PLACE = parse("memory:pipeline")


def _record(id: str, namespace: str = "", document: str | None = None, vector: Any = (1, 2, 3)) -> Record:
    vectors = {} if vector is None else {"": np.array(vector, np.float32)}
    return Record(id, vectors, {}, document, namespace)


@pytest.fixture
def filled() -> Iterator[str]:
    """Two records of ``eu``, one of ``us``."""
    records = [_record("a", "eu"), _record("b", "us"), _record("c", "eu")]
    with MemoryConnector().open_target(PLACE, MADE.name) as target:
        target.prepare(TargetPlan(MADE, 3))
        target.attach(TargetPlan(MADE, 3))
        target.write(batch_of(records, MADE), Mark("shard", 0))
    yield PLACE.text
    forget("pipeline")


class _Ignoring(MemorySource):
    """Reads all namespaces, whichever are asked for."""

    def __init__(self, place: Place, name: str, selection: Selection) -> None:
        super().__init__(place, name, replace(selection, namespaces=()))


class _NotClaiming(MemorySource):
    capabilities = replace(MemorySource.capabilities, selects_namespaces=False)

    def __init__(self, place: Place, name: str, selection: Selection) -> None:
        super().__init__(place, name, selection)
        self.capabilities = replace(self.capabilities, selects_namespaces=False)


def _read_by(monkeypatch: pytest.MonkeyPatch, source: type[MemorySource]) -> None:
    def open_source(self: MemoryConnector, place: Place, collection: str, selection: Selection) -> Source:
        return source(place, collection, selection)

    monkeypatch.setattr(MemoryConnector, "open_source", open_source)


def test_a_record_of_another_namespace_ends_the_export(
    filled: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _read_by(monkeypatch, _Ignoring)
    with pytest.raises(IntegrityError, match="'b'") as caught:
        vecport.export(filled, tmp_path / "dump", namespace=["eu"])
    assert "'us'" in str(caught.value)
    assert not (tmp_path / "dump" / "manifest.json").exists()


def test_a_source_that_does_not_select_by_namespace_is_not_asked_to(
    filled: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _read_by(monkeypatch, _NotClaiming)
    with pytest.raises(UsageError, match="namespace"):
        vecport.export(filled, tmp_path / "dump", namespace=["eu"])
    assert vecport.export(filled, tmp_path / "dump").rows == 3


def test_a_namespace_is_exported_alone(filled: str, tmp_path: Path) -> None:
    assert vecport.export(filled, tmp_path / "dump", namespace=["eu"]).rows == 2


@pytest.mark.parametrize(
    ("bad", "caps", "error"),
    [
        (_record("bad", namespace="eu"), {"native_namespace": False}, NotRepresentable),
        (_record("bad", document="text"), {"native_document": False}, NotRepresentable),
        (_record("bad", vector=None), {"null_vectors": False}, NotRepresentable),
        (_record("bad", vector=(1, np.nan, 3)), {"nonfinite_vectors": False}, NotRepresentable),
        (_record("bad" * 20), {"id_max_bytes": 50}, NotRepresentable),
        (_record("good"), {}, IntegrityError),
    ],
    ids=["namespace", "document", "no vector", "NaN", "a long id", "one id twice"],
)
def test_what_is_not_claimed_never_reaches_a_target(
    bad: Record, caps: dict[str, Any], error: type[VecportError]
) -> None:
    plan = TargetPlan(MADE, 2)
    opened: Target = MemoryTarget(PLACE, MADE.name)
    opened.capabilities = replace(opened.capabilities, **caps)
    try:
        with checked_target(opened, "Memory") as target:
            target.prepare(plan)
            target.attach(plan)
            with pytest.raises(error, match=bad.id):
                target.write(batch_of([_record("good"), bad], MADE), Mark("shard", 0))
            assert target.count() == 0, "something of the row group was written"
            target.write(batch_of([_record("good")], MADE), Mark("shard", 0))
            assert target.count() == 1
    finally:
        forget("pipeline")
