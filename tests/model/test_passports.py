"""Passports of every version of the metadata rules, with the records beside them, are read for ever."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from vecport.connectors import registry
from vecport.errors import NotRepresentable
from vecport.model.batch import dense_array, make_page
from vecport.model.capabilities import MetadataRules
from vecport.model.collection import collection_from_json
from vecport.model.passport import Passport
from vecport.model.restore import Restorer
from vecport.operations.widening import restorer_for, rules_of

FILES = sorted((Path(__file__).parent / "passports").glob("v*/*.json"))


def read(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def restored(data: Mapping[str, Any], passport: Mapping[str, Any]) -> tuple[dict[str, list[Any]], Restorer]:
    native = collection_from_json(data["native"])
    stored = data["stored"]
    (vector,) = native.vectors
    page = make_page(
        native, ids=stored["id"], metadata=stored["metadata"], namespaces=pa.array(stored["namespace"], pa.string()),
        documents=pa.array(stored["document"], pa.string()),
        vectors={vector.name: dense_array(np.ones((len(stored["id"]), vector.dim or 0), np.float32), vector)},
    )  # fmt: skip
    restorer = restorer_for(native, passport)
    assert restorer is not None
    out = restorer.apply(page)
    return {name: out.column(name).to_pylist() for name in data["dump"]}, restorer


@pytest.mark.parametrize("file", FILES, ids=lambda f: f"{f.parent.name}-{f.stem}")
def test_a_collection_of_any_release_gives_its_records_back(file: Path) -> None:
    data = read(file)
    found, restorer = restored(data, data["passport"])
    assert found == data["dump"]
    assert (restorer.stale, restorer.foreign, restorer.notes) == (0, 0, ())


def test_every_connector_has_files_of_every_version_of_its_rules() -> None:
    for name in registry.names():
        connector = registry.get(name)
        target = connector.target
        if target is None or not connector.__module__.startswith("vecport.connectors"):
            # Plugins keep files of their own.
            continue
        rules = (target.capabilities.metadata, *target.capabilities.past_rules)
        there = {(f.parent.name, f.stem) for f in FILES}
        assert {(f"v{r.version}", name) for r in rules} <= there
        assert sorted(r.version for r in rules) == list(range(1, len(rules) + 1))


@pytest.mark.parametrize("file", FILES, ids=lambda f: f"{f.parent.name}-{f.stem}")
def test_a_passport_without_a_version_is_of_the_first_rules(file: Path) -> None:
    data = read(file)
    if data["passport"]["rules_version"] != 1:
        pytest.skip("the first rules alone came without a version")
    old = {k: v for k, v in data["passport"].items() if k != "rules_version"}
    assert Passport.from_json(old).rules_version == 1
    assert restored(data, old)[0] == data["dump"]


@pytest.mark.parametrize("unknown", [{"rules": "a connector of somebody else"}, {"rules_version": 99}])
@pytest.mark.parametrize("file", FILES, ids=lambda f: f"{f.parent.name}-{f.stem}")
def test_rules_that_are_not_known_are_guessed_and_said(file: Path, unknown: dict[str, Any]) -> None:
    data = read(file)
    found, restorer = restored(data, data["passport"] | unknown)
    assert rules_of(restorer.passport) is None
    assert found == data["dump"]
    assert "which are not known here" in restorer.notes[0]


def test_rules_are_looked_up_by_their_version(monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = MetadataRules(frozenset({"string"})), MetadataRules(version=2)
    target = registry.get("memory").target
    assert target is not None
    monkeypatch.setattr(target, "capabilities", replace(target.capabilities, metadata=new, past_rules=(old,)))
    passport = Passport(collection_from_json(read(FILES[0])["native"]), rules="memory")
    assert rules_of(passport) is old
    assert rules_of(replace(passport, rules_version=2)) is new
    assert rules_of(replace(passport, rules_version=3)) is None


@pytest.mark.parametrize("version", [0, -1, True, "1", None, 1.0])
def test_a_version_that_cannot_be_is_refused(version: Any) -> None:
    with pytest.raises(NotRepresentable, match="cannot be read") as caught:
        Passport.from_json(read(FILES[0])["passport"] | {"rules_version": version})
    assert "--ignore-passport" in caught.value.next
