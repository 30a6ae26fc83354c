"""Profiles: they count what a loop over the records counts, and they add up in any order."""

from __future__ import annotations

import json
import math
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vecport.model import canonical, profile
from vecport.model.batch import make_page
from vecport.model.capabilities import VALUE_KINDS
from vecport.model.collection import Collection, VectorField
from vecport.model.profile import Profile, profile_page, value_kind
from vecport.testing.records import HARD_VALUES, Record, Sparse, batch_of

PROFILE = settings(deadline=None, max_examples=50, suppress_health_check=list(HealthCheck))
C = Collection(
    "c",
    vectors=(
        VectorField("d", dim=2),
        VectorField("s", kind="sparse"),
        VectorField("m", kind="multi", dim=1),
        VectorField("b", kind="binary", dtype="bit", dim=4),
        VectorField("i", dim=2, dtype="int8"),
    ),
)


# ---- counting one by one


def naive_kind(value: Any) -> str:
    """The kind of a decoded value, one question after another."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        if abs(value) <= 2**53:
            return "integer"
        if -(2**63) <= value < 2**63:
            return "integer64"
        return "integer64u" if 0 <= value < 2**64 else "integer_big"
    if isinstance(value, float):
        if not math.isfinite(value):
            return "nonfinite"
        if value == 0 and str(value) == "-0.0":
            return "number_negative_zero"
        return "number_exponent" if abs(value) >= 1e16 else "number"
    if isinstance(value, Decimal | bytes):
        return type(value).__name__.lower()
    if isinstance(value, str):
        if any("\ud800" <= c <= "\udfff" for c in value):
            return "surrogates"
        return "string_nul" if "\0" in value else "string"
    if isinstance(value, list):
        kinds = {naive_kind(v) for v in value}
        for name, members in (
            ("list_empty", set()), ("list_string", {"string"}), ("list_integer", {"integer", "integer64"}),
            ("list_number", {"number", "number_exponent", "number_negative_zero"}), ("list_boolean", {"boolean"}),
        ):  # fmt: skip
            if kinds <= members:
                return name
        return "list_mixed"
    return "object"


def naive(records: list[Record]) -> dict[str, Any]:
    """The profile of some records, as JSON, by a loop."""
    metadata: dict[str, dict[str, dict[str, Any]]] = {}
    for r in records:
        for key, value in r.metadata.items():
            stats = metadata.setdefault(canonical.escape_key(key), {}).setdefault(naive_kind(value), {"count": 0})
            stats["count"] += 1
            if isinstance(value, str) and naive_kind(value) != "surrogates":
                stats["max_bytes"] = max(stats.get("max_bytes", 0), len(value.encode()))
            elif type(value) in (int, float) and naive_kind(value) != "nonfinite":
                stats["min"] = min(stats.get("min", value), value)
                stats["max"] = max(stats.get("max", value), value)
    namespaces: dict[str, int] = {}
    for r in records:
        namespaces[r.namespace] = namespaces.get(r.namespace, 0) + 1
    return {
        "rows": len(records), "metadata": metadata, "keys_dropped": 0, "ids": naive_ids([r.id for r in records]),
        "documents": naive_documents([r.document for r in records]), "namespaces": namespaces,
        "vectors": {v.name: naive_vectors([r.vectors.get(v.name) for r in records], v) for v in C.vectors},
    }  # fmt: skip


def naive_ids(texts: list[str]) -> dict[str, Any]:
    numbers = [int(t) for t in texts if t.isascii() and t.removeprefix("-").isdigit() and str(int(t)) == t]
    return {
        "int": len(numbers), "uuid": 0, "string": len(texts) - len(numbers),
        "longest_bytes": max((len(t.encode()) for t in texts), default=0),
        "non_ascii": sum(not t.isascii() for t in texts), "nul": sum("\0" in t for t in texts),
        "empty": texts.count(""), "min_int": min(numbers, default=None), "max_int": max(numbers, default=None),
    }  # fmt: skip


def naive_documents(documents: list[str | None]) -> dict[str, int]:
    present = [d for d in documents if d is not None]
    longest = max((len(d.encode()) for d in present), default=0)
    return {"count": len(present), "max_bytes": longest, "nul": sum("\0" in d for d in present)}


def naive_vectors(values: list[Any], field: VectorField) -> dict[str, int]:
    present = [v for v in values if v is not None]
    out = {"null": len(values) - len(present)}
    if field.kind == "sparse":
        odd = sum(not all(map(math.isfinite, v.values)) for v in present)
        return out | {"max_nnz": max((len(v.indices) for v in present), default=0), "nonfinite": odd}
    if field.kind == "multi":
        odd = sum(not np.isfinite(v).all() for v in present)
        return out | {"max_rows": max(map(len, present), default=0), "nonfinite": odd}
    if field.kind == "dense" and present:
        out["zero"] = sum(not v.any() for v in present)
        out["nonfinite"] = sum(not np.isfinite(v).all() for v in present)
        out["unit"] = sum(abs(float(v.astype(float) @ v.astype(float)) - 1) <= 1e-6 for v in present)
    return out


def profile_of(records: list[Record]) -> Profile:
    # Statistics may have been merged from nothing, as those of a shard are.
    found = Profile()
    found.add(profile_page(batch_of(records, C), C))
    return found


def as_json(p: Profile) -> Any:
    """What is written to a manifest and read from it; without the order of keys, and with 1 apart from 1.0."""
    return json.dumps(p.to_json(), sort_keys=True)


texts = st.text(max_size=5) | st.sampled_from(["", "\0", "7", "-7", "007", "é", "\U0001f600"])
values = st.recursive(
    st.one_of(
        st.sampled_from([v for vs in HARD_VALUES.values() for v in vs if not isinstance(v, list | dict)]),
        st.integers(), st.floats(), texts, st.booleans(),
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=4,
)  # fmt: skip
single = st.sampled_from([0.0, 1.0, 0.6, 0.8, math.nan, math.inf, 1e30, 1e-45])
some_vectors = st.fixed_dictionaries(
    {
        "d": st.none() | st.tuples(single, single).map(lambda x: np.array(x, np.float32)),
        "s": st.none() | st.lists(single, max_size=3).map(lambda x: Sparse(tuple(range(len(x))), tuple(x))),
        "m": st.none() | st.lists(single, max_size=3).map(lambda x: np.array(x, np.float32).reshape(-1, 1)),
        "i": st.none() | st.tuples(st.integers(-1, 1), st.integers(-1, 1)).map(lambda x: np.array(x, np.int8)),
    }
)
record = st.builds(
    Record, texts, some_vectors, st.dictionaries(texts | st.sampled_from(["a", "b", "$vp"]), values, max_size=3),
    st.none() | texts, st.sampled_from(["", "a", "é"]),
)  # fmt: skip
some = st.lists(record, max_size=6)


@PROFILE
@given(some)
def test_a_profile_is_what_a_loop_counts(records: list[Record]) -> None:
    assert json.loads(as_json(profile_of(records))) == json.loads(json.dumps(naive(records)))


@PROFILE
@given(some, some, some)
def test_profiles_add_up_in_any_grouping(a: list[Record], b: list[Record], c: list[Record]) -> None:
    left = profile_of(a)
    left.add(profile_of(b))
    left.add(profile_of(c))
    right, rest = profile_of(a), profile_of(b)
    rest.add(profile_of(c))
    right.add(rest)
    assert as_json(left) == as_json(right) == as_json(profile_of([*a, *b, *c]))
    again = Profile.from_json(json.loads(json.dumps(left.to_json())))
    assert as_json(again) == as_json(left)
    again.add(Profile())
    assert as_json(again) == as_json(left)


@PROFILE
@given(some)
def test_adding_does_not_change_what_is_added(records: list[Record]) -> None:
    added = profile_of(records)
    before, total = as_json(added), Profile()
    total.add(added)
    total.add(added)
    assert as_json(added) == before
    assert total.rows == 2 * len(records)


@pytest.mark.parametrize(
    ("kind", "value"), [(k, v) for k, vs in HARD_VALUES.items() for v in vs], ids=lambda v: ascii(v)[:40]
)
def test_every_kind_of_value(kind: str, value: Any) -> None:
    assert naive_kind(value) == kind
    row = json.loads(canonical.dumps({"k": value}))
    assert value_kind(row["k"]) == kind
    assert set(HARD_VALUES) == set(VALUE_KINDS)


def test_an_integer_that_no_json_parser_reads_is_bounded() -> None:
    page = make_page(C, ids=["7", "-" + "9" * 4500])
    found = profile_page(page, C)
    assert (found.ids["min_int"], found.ids["max_int"]) == (-(10**1000), 7)
    assert Profile.from_json(json.loads(as_json(found))).ids == found.ids


def test_more_keys_than_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profile, "MAX_KEYS", 3)
    found = profile_of([Record("a", metadata={f"k{i}": i for i in range(5)}), Record("b", metadata={"k0": 1, "x": 1})])
    assert len(found.metadata) == 3
    assert found.keys_dropped == 3
    assert found.metadata["k0"]["integer"]["count"] == 2


@pytest.mark.parametrize(
    "data",
    [
        {"rows": "1"}, {"rows": -1}, {"rows": True}, {"rows": 1.0}, {"ids": {"int": "1"}}, {"ids": {"min_int": "1"}},
        {"metadata": {"a": {"string": {"count": None}}}}, {"metadata": {"a": []}}, {"metadata": []},
        {"vectors": {"v": {"null": -1}}}, {"vectors": {"v": 1}}, {"namespaces": {"": "1"}}, {"documents": []},
        {"metadata": {"a": {"number": {"min": [], "count": 1}}}},
    ],
)  # fmt: skip
def test_a_profile_of_a_stranger(data: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError, AttributeError)):
        Profile.from_json(data)


def test_what_is_unknown_is_ignored() -> None:
    data = {"rows": 1, "later": 1, "ids": {"later": [], "int": 1}, "vectors": {"v": {"later": {}, "null": 1}}}
    assert Profile.from_json(data) == Profile(rows=1, ids={"int": 1}, vectors={"v": {"null": 1}})
