"""Mapping and restoring: whatever a target cannot hold comes back from what it can, and an edit is never undone.

The database here holds exactly what its capabilities say: it is given the mapped page as JSON values, refuses every
value of a kind that it does not hold exactly, and gives back what it was given.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, assume, event, given, reject, settings
from hypothesis import strategies as st

from vecport.connectors import registry
from vecport.errors import NotRepresentable
from vecport.model import canonical, ids
from vecport.model.batch import page_schema
from vecport.model.capabilities import VALUE_KINDS, MetadataRules, TargetCapabilities
from vecport.model.collection import Collection, Field, VectorField
from vecport.model.ledger import Ledger
from vecport.model.mapping import Mapper, MappingPlan, plan_mapping
from vecport.model.parsed import parse_objects
from vecport.model.passport import ORIGINALS, Passport
from vecport.model.profile import profile_page, value_kind
from vecport.model.projection import Projection
from vecport.model.restore import Restorer
from vecport.testing.records import HARD_KEYS, HARD_VALUES, Record, batch_of, id_text

PROFILE = settings(deadline=None, max_examples=40, suppress_health_check=list(HealthCheck))


def capabilities(connector: str) -> TargetCapabilities:
    target = registry.get(connector).target
    assert target is not None
    return target.capabilities


#: Holds next to nothing as it is: UUIDs, texts under plain keys, one named float32 vector.
STRICT = TargetCapabilities(
    id_kinds=frozenset({"uuid"}), id_text=False, unnamed_vector=False, null_vectors=False, metric_required=True,
    metadata=MetadataRules(exact=frozenset({"string"}), forbidden_keys=r"(?s)(?!_*[a-z]+\Z).*"),
)  # fmt: skip
TARGETS: dict[str, Callable[[], TargetCapabilities]] = {
    "chroma": lambda: capabilities("chroma"),
    "qdrant": lambda: capabilities("qdrant"),
    "postgres": lambda: capabilities("postgres"),
    "strict": lambda: STRICT,
}


@dataclass
class Database:
    """A database of some capabilities."""

    caps: TargetCapabilities
    rows: list[dict[str, Any]]
    vectors: pa.RecordBatch

    @classmethod
    def filled(cls, caps: TargetCapabilities, plan: MappingPlan, page: pa.RecordBatch) -> Database:
        """Take a mapped page, and refuse what the capabilities do not promise to hold."""
        assert page.schema == page_schema(plan.target)
        rows = page.select(["id", "namespace", "document", "metadata"]).to_pylist()
        for row in rows:
            cls._check(row, caps, plan)
            row["metadata"] = canonical.loads(row["metadata"])
        assert len({(r["namespace"], r["id"]) for r in rows}) == len(rows), "records overwrite each other"
        return cls(caps, rows, page)

    @staticmethod
    def _check(row: dict[str, Any], caps: TargetCapabilities, plan: MappingPlan) -> None:
        ids.check(row["id"], plan.target.id_kind)
        assert plan.target.id_kind in caps.id_kinds or (plan.target.id_kind == "string" and caps.id_text)
        assert caps.native_namespace or not row["namespace"]
        assert caps.native_document or row["document"] is None
        if row["document"] is not None and "string_nul" not in caps.metadata.exact:
            assert "\0" not in row["document"]
        for key, value in json.loads(row["metadata"]).items():
            assert holds(value, caps.metadata), f"{key!r}: {value!r} is not held exactly"
            assert not (caps.metadata.forbidden_keys and re.fullmatch(caps.metadata.forbidden_keys, key)), key

    def page(self, native: Collection) -> pa.RecordBatch:
        """What an export reads."""
        columns = [pa.array([r[c] for r in self.rows], pa.string()) for c in ("id", "namespace", "document")]
        metadata = pa.array([canonical.dumps(r["metadata"]) for r in self.rows], pa.string())
        arrays = [*columns, metadata, *self.vectors.columns[4:]]
        return pa.RecordBatch.from_arrays(arrays, schema=page_schema(native))


def holds(value: Any, rules: MetadataRules) -> bool:
    """Whether the rules promise to give a value back, and all that is in it."""
    if value_kind(value) not in rules.exact:
        return False
    if isinstance(value, float):
        return rules.survives is None or rules.survives(value)
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return all(holds(item, rules) for item in items)


def mapped(
    records: list[Record], source: Collection, caps: TargetCapabilities
) -> tuple[Database, MappingPlan, Ledger, Ledger]:
    """Map some records; the database, the plan, and the ledgers of plan and mapping."""
    page = batch_of(records, source)
    plan, ledger = plan_mapping(
        source, profile_page(page, source), caps, name="copy", rules="test", identity="vp1", rows=len(records),
        import_id="i", settings={},
    )  # fmt: skip
    if ledger.of("rejected", "lossy"):
        reject()
    mapper = Mapper(plan)
    return Database.filled(caps, plan, mapper.apply(page)), plan, ledger, mapper.ledger


def restored(database: Database, plan: MappingPlan) -> tuple[pa.RecordBatch, Restorer]:
    passport = Passport.from_json(json.loads(json.dumps(plan.passport.to_json("complete"))))
    restorer = Restorer(passport, plan.target, database.caps.metadata)
    return restorer.apply(database.page(plan.target)), restorer


# ---- records

ODD_TEXTS = st.sampled_from(
    ["", "\0", "a\0b", "é", "7", "null", '{"a":1}', "x" * 300, "\u2028", "'", '"', "\\", "_vecport"]
)
texts = st.text(max_size=6) | ODD_TEXTS
keys = (
    st.sampled_from([k for k in HARD_KEYS if len(k) < 50]) | st.sampled_from(["a", "b", ORIGINALS, "document"]) | texts
)
scalars = st.one_of(
    st.sampled_from([v for kind, vs in HARD_VALUES.items() for v in vs if kind != "object" and "list" not in kind]),
    st.integers(-(2**70), 2**70), st.floats(), texts, st.booleans(),
)  # fmt: skip
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=2), max_leaves=5
)
vectors = st.tuples(st.integers(-5, 5), st.integers(1, 5)).map(lambda x: np.array(x, np.float32))
metadata = st.dictionaries(keys, values, max_size=4)
ID_STRATEGIES: dict[str, st.SearchStrategy[str]] = {
    "string": texts,
    "int": st.integers(-(2**40), 2**70).map(str),
    "uuid": st.uuids().map(str),
    "int|uuid": st.integers(0, 2**70).map(str) | st.uuids().map(str),
    "tagged": st.integers(0, 90).map(lambda n: id_text("tagged", n)),
    "composite": st.integers(0, 90).map(lambda n: id_text("composite", n)),
    "position": st.integers(0, 2**40).map(str),
}


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[Record], Collection]:
    """Some records with distinct ids, and their collection."""
    kind = draw(st.sampled_from(sorted(ID_STRATEGIES)))
    namespaces = draw(st.sampled_from([[""], ["", "a"], ["a", "é", '"']]))
    records = draw(
        st.lists(
            st.builds(
                Record, ID_STRATEGIES[kind], vectors.map(lambda v: {"v": v}), metadata, st.none() | texts,
                st.sampled_from(namespaces),
            ),
            min_size=1, max_size=4, unique_by=lambda r: r.id,
        )
    )  # fmt: skip
    return records, Collection("c", kind, (VectorField("v", dim=2, metric="cosine"),))


# ---- the way there and back


@pytest.mark.parametrize("target", TARGETS)
@PROFILE
@given(cases())
def test_what_is_restored_is_what_was_mapped(target: str, case: tuple[list[Record], Collection]) -> None:
    records, source = case
    database, plan, _, _ = mapped(records, source, TARGETS[target]())
    found, restorer = restored(database, plan)
    event(f"ids {plan.id_mode}")
    assert found.to_pylist() == batch_of(records, source).to_pylist()
    assert found.schema == page_schema(source)
    assert (restorer.stale, restorer.foreign) == (0, 0)
    assert replace(restorer.collection, name="c").digest() == source.digest()


@pytest.mark.parametrize("target", TARGETS)
@PROFILE
@given(st.lists(metadata, min_size=2, max_size=4), st.data())
def test_an_edit_wins_and_is_counted(target: str, rows: list[dict[str, Any]], data: st.DataObject) -> None:
    records = [Record(id_text("uuid", i), {"v": np.ones(2, np.float32)}, row) for i, row in enumerate(rows)]
    source = Collection("c", "uuid", (VectorField("v", dim=2, metric="cosine"),))
    database, plan, _, _ = mapped(records, source, TARGETS[target]())
    edited = data.draw(st.integers(0, len(rows) - 1))
    stored = database.rows[edited]["metadata"]
    originals = json.loads(stored.get(ORIGINALS, "{}")).get("md", {})
    key = data.draw(st.sampled_from(sorted(rows[edited]) or ["new"]))
    spelled = canonical.escape_key(key)
    assume(spelled != ORIGINALS)
    stored[key] = "edited by hand"
    found, restorer = restored(database, plan)
    assert restorer.stale == (spelled in originals)
    for i, row in enumerate(found.column("metadata").to_pylist()):
        wanted = rows[i] | {key: "edited by hand"} if i == edited else rows[i]
        assert row == canonical.dumps(wanted)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("kind", VALUE_KINDS)
def test_every_kind_of_value_comes_back(kind: str, target: str) -> None:
    rows = [{"a": value} for value in HARD_VALUES[kind]]
    records = [Record(id_text("uuid", i), {"v": np.ones(2, np.float32)}, row) for i, row in enumerate(rows)]
    source = Collection("c", "uuid", (VectorField("v", dim=2, metric="cosine"),))
    database, plan, ledger, _ = mapped(records, source, TARGETS[target]())
    found, restorer = restored(database, plan)
    assert found.to_pylist() == batch_of(records, source).to_pylist()
    assert restorer.stale == 0
    [entry] = [e for e in ledger.entries if e.field == "metadata:a"]
    assert entry.count == len(rows)
    if kind not in database.caps.metadata.exact or Projection(database.caps.metadata).doubtful(kind):
        assert entry.status == "encoded"
    elif database.caps.metadata.survives is None:
        assert entry.status == "exact"


@pytest.mark.parametrize("target", TARGETS)
def test_hard_keys_come_back(target: str) -> None:
    records = [Record(id_text("uuid", i), {"v": np.ones(2, np.float32)}, {key: i}) for i, key in enumerate(HARD_KEYS)]
    records.append(Record(id_text("uuid", 999), {"v": np.ones(2, np.float32)}, dict.fromkeys(HARD_KEYS, "all")))
    source = Collection("c", "uuid", (VectorField("v", dim=2, metric="cosine"),))
    database, plan, _, _ = mapped(records, source, TARGETS[target]())
    found, _ = restored(database, plan)
    assert found.to_pylist() == batch_of(records, source).to_pylist()


def test_records_that_somebody_added_keep_their_ids() -> None:
    records = [Record("a", {"v": np.ones(2, np.float32)}), Record("b", {"v": np.ones(2, np.float32)})]
    source = Collection("c", "string", (VectorField("v", dim=2, metric="cosine"),))
    database, plan, _, _ = mapped(records, source, STRICT)
    assert plan.id_mode == "hashed"
    database.rows[1] = {"id": id_text("uuid", 5), "namespace": "", "document": None, "metadata": {"mine": "x"}}
    found, restorer = restored(database, plan)
    assert found.column("id").to_pylist() == ["a", id_text("uuid", 5)]
    assert found.column("metadata").to_pylist() == ["{}", '{"mine":"x"}']
    assert (restorer.foreign, restorer.stale) == (1, 0)


def test_a_value_of_ones_own_under_the_reserved_key() -> None:
    records = [Record(id_text("uuid", 0), {"v": np.ones(2, np.float32)}, {"a": "x"})]
    source = Collection("c", "uuid", (VectorField("v", dim=2, metric="cosine"),))
    for theirs in ("not json", "[1]", "7"):
        database, plan, _, _ = mapped(records, source, STRICT)
        database.rows[0]["metadata"][ORIGINALS] = theirs
        found, restorer = restored(database, plan)
        assert found.column("metadata").to_pylist() == [canonical.dumps({"a": "x", ORIGINALS: theirs})]
        assert restorer.stale == 0


def test_the_ledger_counts_what_is_done() -> None:
    rows: list[dict[str, Any]] = [{"n": 1, "s": "x"}, {"n": 2.5, "s": "y"}, {"s": None}]
    records = [Record(str(i), {"v": np.ones(2, np.float32)}, row, "text" * i or None) for i, row in enumerate(rows)]
    source = Collection("c", "string", (VectorField("v", dim=2, metric="cosine"),))
    _, _, ledger, _ = mapped(records, source, STRICT)
    found: Counter[tuple[str, str]] = Counter()
    for e in ledger.entries:
        found[e.field, e.status] += e.count
    del found["vector:v", "exact"]
    assert found == {
        ("id", "encoded"): 3, ("document", "encoded"): 2, ("metadata:n", "encoded"): 2, ("metadata:s", "exact"): 2,
        ("metadata:s", "encoded"): 1,
    }  # fmt: skip


@pytest.mark.parametrize("connector", ["chroma", "qdrant", "postgres"])
def test_a_look_at_the_texts_never_calls_held_what_must_be_encoded(connector: str) -> None:
    """Every hard value, nested too, and every hard key."""
    projection = Projection(capabilities(connector).metadata)
    values = [v for found in HARD_VALUES.values() for v in found]
    rows = [{"k": v} for v in values] + [{"k": [v]} for v in values] + [{"k": {"in": v}} for v in values]
    rows += [{key: "text"} for key in (*HARD_KEYS, ORIGINALS)]
    held = 0
    for row in rows:
        text = pa.array([canonical.dumps(row)], pa.string())
        if projection.surely_held(text):
            held += 1
            assert projection.encode(parse_objects(text)[0])[1] == {}, row
    assert bool(held) == (connector == "postgres")


# ---- typed columns, namespaces, vectors that must be there

TYPED = Collection(
    "c", "string", (VectorField("v", dim=2, metric="cosine", nullable=False),),
    (Field("n", "int4"), Field("s", "text")),
)  # fmt: skip


def typed_rows(ids_: list[str], namespaces: list[str] | None = None) -> list[Record]:
    spaces = namespaces or [""] * len(ids_)
    return [
        Record(i, {"v": np.ones(2, np.float32)}, {"n": n, "s": "x"}, None, ns)
        for n, (i, ns) in enumerate(zip(ids_, spaces, strict=True))
    ]


def test_typed_columns_stand_in_the_ledger() -> None:
    _, plan, ledger, _ = mapped(typed_rows(["a", "b"]), TYPED, capabilities("postgres"))
    assert plan.target.fields == TYPED.fields
    found = {e.field: (e.status, e.count) for e in ledger.entries if e.field.startswith("metadata:")}
    assert found == {"metadata:n": ("exact", 2), "metadata:s": ("exact", 2)}


@pytest.mark.parametrize("why", ["hashed ids", "namespaces"])
def test_typed_columns_give_way_where_records_need_room_for_originals(why: str) -> None:
    caps = capabilities("postgres")
    records = typed_rows(["a", "b"], ["x", "y"] if why == "namespaces" else None)
    if why == "hashed ids":
        caps = replace(caps, id_text=False, id_kinds=frozenset({"uuid"}))
    database, plan, _, _ = mapped(records, TYPED, caps)
    assert plan.target.fields is None
    found, restorer = restored(database, plan)
    assert found.to_pylist() == batch_of(records, TYPED).to_pylist()
    assert replace(restorer.collection, name="c").digest() == TYPED.digest()


def test_a_vector_that_must_be_there_must_be_there_in_the_target_too() -> None:
    _, plan, _, _ = mapped(typed_rows(["a"]), TYPED, capabilities("postgres"))
    assert plan.target.vectors[0].nullable is False
    loose = replace(TYPED, vectors=(replace(TYPED.vectors[0], nullable=True),))
    _, plan, _, _ = mapped(typed_rows(["a"]), loose, capabilities("postgres"))
    assert plan.target.vectors[0].nullable is True


@pytest.mark.parametrize("mode", ["field", "prefix"])
@PROFILE
@given(cases())
def test_namespaces_come_back_from_a_field_or_a_prefix(mode: str, case: tuple[list[Record], Collection]) -> None:
    records, source = case
    caps = replace(capabilities("chroma"), id_max_bytes=0, id_forbidden="")
    page = batch_of(records, source)
    plan, ledger = plan_mapping(
        source, profile_page(page, source), caps, name="copy", rules="test", identity="vp1", rows=len(records),
        import_id="i", namespaces=mode,
    )  # fmt: skip
    if ledger.of("rejected", "lossy"):
        reject()
    database = Database.filled(caps, plan, Mapper(plan).apply(page))
    found, restorer = restored(database, plan)
    assert found.to_pylist() == page.to_pylist()
    assert (restorer.stale, restorer.foreign) == (0, 0)


def lying_plan(mode: str | None, named: list[str]) -> MappingPlan:
    page = batch_of(typed_rows(["a"] * len(named), named), TYPED)
    return plan_mapping(
        TYPED, profile_page(page, TYPED), capabilities("chroma"), name="copy", rules="test", identity="vp1", rows=1,
        import_id="i", namespaces=mode,
    )[0]  # fmt: skip


@pytest.mark.parametrize(("mode", "named", "there"), [(None, [""], "x"), ("prefix", ["x", "y"], "x:y")])
def test_a_namespace_that_the_profile_does_not_name_is_refused(mode: str | None, named: list[str], there: str) -> None:
    plan = lying_plan(mode, named)
    with pytest.raises(NotRepresentable, match="namespace"):
        Mapper(plan).apply(batch_of(typed_rows(["a"], [there]), TYPED))


@pytest.mark.parametrize("prefix", ["", 7])
def test_a_prefix_that_cannot_be_is_no_passport(prefix: Any) -> None:
    data = lying_plan("prefix", ["x", "y"]).passport.to_json()
    assert Passport.from_json(data).prefix == ":"
    assert Passport.from_json({k: v for k, v in data.items() if k != "prefix"}).prefix is None
    for wrong in (data | {"prefix": prefix}, data | {"ids": "hashed"}):
        with pytest.raises(NotRepresentable, match="passport"):
            Passport.from_json(wrong)


@pytest.mark.parametrize(
    "wrong", [{"one_namespace": 7}, {"namespace": "ns"}, {"prefix": ":"}, {"one_namespace": ["x"]}]
)
def test_one_namespace_that_cannot_be_is_no_passport(wrong: dict[str, Any]) -> None:
    data = Passport(TYPED, one_namespace="x").to_json()
    assert Passport.from_json(data).one_namespace == "x"
    old = {k: v for k, v in data.items() if k != "one_namespace"}
    assert Passport.from_json(old) == Passport(TYPED)
    with pytest.raises(NotRepresentable, match="passport"):
        Passport.from_json(data | wrong)


def split_plan(**changes: Any) -> tuple[MappingPlan, Ledger]:
    page = batch_of(typed_rows(["a", "b"], ["", "x"]), TYPED)
    found = replace(capabilities("chroma"), **changes)
    return plan_mapping(
        TYPED, profile_page(page, TYPED), found, name="copy", rules="test", identity="vp1", rows=1, import_id="i",
        namespaces="split", one_namespace="x",
    )  # fmt: skip


def test_a_record_of_another_namespace_does_not_slip_in() -> None:
    plan, _ = split_plan()
    assert Mapper(plan).apply(batch_of(typed_rows(["a"], ["x"]), TYPED)).column("namespace").to_pylist() == [""]
    for other in ("", "y"):
        with pytest.raises(NotRepresentable, match="not of the namespace 'x'"):
            Mapper(plan).apply(batch_of(typed_rows(["a", "b"], ["x", other]), TYPED))


def test_a_target_without_room_for_a_passport_loses_the_names_of_namespaces() -> None:
    assert [(e.status, e.count) for e in split_plan()[1].entries if e.field == "namespace"] == [("encoded", 1)]
    ledger = split_plan(passport=False)[1]
    with pytest.raises(NotRepresentable, match="--allow-lossy namespace"):
        ledger.enforce()
    ledger.enforce(allow_lossy=["namespace"])
