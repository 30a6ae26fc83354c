"""The JSON Schemas: what the code writes fits them, and what is wrong in a way that a schema can say does not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from vecport.connectors import registry
from vecport.dump.dump import open_dump
from vecport.dump.shard import FOOTER_KEY
from vecport.model import collection, passport
from vecport.model.ledger import Ledger
from vecport.model.mapping import plan_mapping

SPEC = Path(__file__).parents[2] / "spec"
CORPUS = SPEC / "corpus"
EXPECTED: dict[str, Any] = json.loads((CORPUS / "expected.json").read_text())
GOOD = sorted(EXPECTED["good"])
SCHEMAS = {p.name: json.loads(p.read_text()) for p in sorted((SPEC / "schema").glob("*.json"))}
REGISTRY: Any = Registry().with_resources(
    (name, Resource(contents=s, specification=DRAFT202012)) for name, s in SCHEMAS.items()
)
#: Bad dumps whose fault is a matter of bytes, sums, order or limits, which no schema can express. To a schema 2.0 is an
#: integer, and to Python's patterns a newline may follow the end.
BEYOND_A_SCHEMA = {
    "bomb-rows", "bounds-missing", "dim-above-limit", "footer-too-long", "groups-do-not-add-up", "identity-other-rows",
    "identity-other-sum", "manifest-bom", "manifest-changed", "manifest-deep", "manifest-key-twice",
    "manifest-key-twice-deep", "manifest-other-spacing", "manifest-with-more", "path-newline", "profile-other-rows",
    "rows-float", "schema-digest-other", "shard-twice", "shards-out-of-order", "totals-other",
}  # fmt: skip


def faults(schema: str, data: Any) -> list[str]:
    validator = Draft202012Validator(SCHEMAS[schema], registry=REGISTRY)
    return [f"{'/'.join(map(str, e.absolute_path))}: {e.message[:200]}" for e in validator.iter_errors(data)]


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_a_schema_is_a_schema(name: str) -> None:
    Draft202012Validator.check_schema(SCHEMAS[name])


@pytest.mark.parametrize("name", GOOD)
def test_manifests_and_footers_of_good_dumps_fit(name: str) -> None:
    folder = CORPUS / "good" / name
    assert faults("manifest.schema.json", json.loads((folder / "manifest.json").read_bytes())) == []
    for path in folder.glob("data/*.parquet"):
        text = pq.read_schema(path).metadata[FOOTER_KEY.encode()]
        assert faults("footer.schema.json", json.loads(text)) == []


@pytest.mark.parametrize("target", ["chroma", "qdrant", "postgres"])
@pytest.mark.parametrize("name", ["ids-mixed", "one-record", "partial", "typed"])
def test_passports_fit(name: str, target: str) -> None:
    manifest = open_dump(CORPUS / "good" / name).manifest
    sole = replace(manifest.collection, vectors=manifest.collection.vectors[:1])
    found = registry.get(target).target
    assert found is not None
    plan, ledger = plan_mapping(
        sole, manifest.total_profile(), found.capabilities, name="copy", rules=target, rows=manifest.rows,
        identity=str(manifest.identity), import_id="0" * 32, settings={},
    )  # fmt: skip
    assert isinstance(ledger, Ledger)
    data = json.loads(json.dumps(plan.passport.to_json("complete")))
    assert faults("passport.schema.json", data) == []
    assert passport.Passport.from_json(data).collection.digest() == sole.digest()


def test_bad_manifests_do_not_fit_where_a_schema_can_say_so() -> None:
    fits = set()
    for name, expected in EXPECTED["bad"].items():
        if expected["open"]["exit_code"] not in (13, 14):
            continue
        raw = (CORPUS / "bad" / name / "manifest.json").read_bytes()
        try:
            data = json.loads(raw.decode("utf-8-sig"))
        except ValueError:
            continue
        if not faults("manifest.schema.json", data):
            fits.add(name)
    assert fits == BEYOND_A_SCHEMA


@pytest.mark.parametrize("name", ["rejects-uncounted", "rejects-only-counted"])
def test_rejects_and_their_count_stand_together(name: str) -> None:
    found = faults("manifest.schema.json", json.loads((CORPUS / "bad" / name / "manifest.json").read_bytes()))
    assert len(found) == 1, found
    assert "rejects" in found[0]


def test_the_schemas_name_what_the_code_names() -> None:
    """Every list of names is the code's own; whoever adds one to the code is told here."""
    vector = SCHEMAS["collection.schema.json"]["$defs"]["vector"]["properties"]
    assert vector["kind"]["enum"] == list(collection.VECTOR_KINDS)
    assert vector["dtype"]["enum"] == list(collection.VECTOR_DTYPES)
    assert vector["metric"]["enum"] == list(collection.METRICS)
    assert vector["fidelity"]["enum"] == list(collection.FIDELITIES)
    assert SCHEMAS["collection.schema.json"]["properties"]["id"]["properties"]["kind"]["enum"] == list(
        collection.ID_KINDS
    )
    assert SCHEMAS["passport.schema.json"]["properties"]["vecport"]["const"] == passport.FORMAT
