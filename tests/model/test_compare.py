"""The judge: every kind and dtype of vectors, every change that can be made to one, and what is said of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vecport.model import hashes
from vecport.model.collection import Bound, Collection, VectorField
from vecport.model.compare import Finding, Judge, Part, Verdict, bounds_of, paired
from vecport.testing.records import Record, Sparse, batch_of

DIM = 8
BOUND, UNIT = Bound(1e-3), Bound(1e-3, normalized=True)
#: What the judge may say.
EQUAL, WITHIN, CHANGED = "equal", "within", "changed"

FLOATS = ("float64", "float32", "float16", "bfloat16")
FIELDS = {
    **{f"dense {t}": VectorField("v", dtype=t, dim=DIM) for t in (*FLOATS, "int8", "uint8")},
    **{f"multi {t}": VectorField("v", "multi", t, DIM) for t in (*FLOATS, "int8", "uint8")},
    **{f"sparse {t}": VectorField("v", "sparse", t) for t in ("float32", "float16")},
    "binary bit": VectorField("v", "binary", "bit", 13),
}
KINDS_OF_BOUNDS = {"exact": Bound(0.0), "relative": BOUND, "unit": UNIT}


def base(field: VectorField) -> Any:
    """A vector whose largest component is 100."""
    if field.kind == "binary":
        return np.array([1, 0] * 6 + [1], np.uint8)
    if field.kind == "sparse":
        return Sparse((1, 5, 9, 20), (100.0, 50.0, -25.0 if field.dtype != "uint8" else 25.0, 0.0))
    row = np.array([100, 50, 25, 12, 6, 3, 1, 0], storage(field))
    return row if field.kind == "dense" else np.stack([row[::-1], row, row[::-1]])


def storage(field: VectorField) -> Any:
    return {"float64": np.float64, "int8": np.int8, "uint8": np.uint8}.get(field.dtype, np.float32)


@dataclass(frozen=True)
class Change:
    """A change to one vector.

    Attributes:
        make: gives the changed vector, None where the kind has no such change.
        exact, relative, unit: what is said under each kind of bound.
    """

    make: Callable[[VectorField, Any], Any]
    exact: str = CHANGED
    relative: str = CHANGED
    unit: str = CHANGED


NOT_HERE = object()


def at(place: int, change: Callable[[float], float], *, integers: bool = False) -> Callable[[VectorField, Any], Any]:
    """Change one element: of the middle row of a multi vector, the value of one sparse index."""

    def make(field: VectorField, vector: Any) -> Any:
        if field.kind == "binary" or (not integers and field.dtype in ("int8", "uint8")):
            return NOT_HERE
        if field.kind == "sparse":
            values = list(vector.values)
            values[place % 4] = change(values[place % 4])
            return Sparse(vector.indices, tuple(float(np.float32(v)) for v in values))
        out = vector.copy()
        row = out if field.kind == "dense" else out[1]
        row[place] = change(float(row[place]))
        return out

    return make


def of(kind: str, change: Callable[[Any], Any]) -> Callable[[VectorField, Any], Any]:
    return lambda field, vector: change(vector) if field.kind == kind else NOT_HERE


def floats_only(change: Callable[[VectorField, Any], Any]) -> Callable[[VectorField, Any], Any]:
    return lambda field, vector: NOT_HERE if field.dtype in ("int8", "uint8", "bit") else change(field, vector)


def scaled(field: VectorField, vector: Any) -> Any:
    if field.kind == "sparse":
        return Sparse(vector.indices, tuple(2 * v for v in vector.values))
    return vector * 2


def zeros(field: VectorField, vector: Any) -> Any:
    if field.kind == "sparse":
        return Sparse(vector.indices, (0.0,) * 4)
    return vector * 0


def absent(field: VectorField, vector: Any) -> Any:
    return None


def empty(field: VectorField, vector: Any) -> Any:
    if field.kind == "sparse":
        return Sparse((), ())
    return vector[:0] if field.kind == "multi" else NOT_HERE


CHANGES = {
    "none": Change(lambda field, vector: vector, EQUAL, EQUAL, EQUAL),
    "one element beyond its bound": Change(at(0, lambda x: x - 10)),
    "one element below its bound": Change(at(0, lambda x: x + 0.01), CHANGED, WITHIN, WITHIN),
    "one integer step": Change(at(1, lambda x: x - 1, integers=True)),
    "one sign": Change(at(0, lambda x: -x)),
    "a small element beyond the bound of its row": Change(at(3, lambda x: x + 1)),
    "NaN": Change(at(2, lambda x: np.nan)),
    "infinity": Change(at(2, lambda x: np.inf)),
    "-0.0 for 0.0": Change(at(7, lambda x: -0.0 if x == 0 else -x), CHANGED, WITHIN, WITHIN),
    "twice as long": Change(floats_only(scaled), CHANGED, CHANGED, WITHIN),
    "all zeros": Change(floats_only(zeros)),
    "lost": Change(absent),
    "emptied": Change(empty),
    "one bit": Change(of("binary", lambda v: np.concatenate([v[:-1], [1 - v[-1]]]).astype(np.uint8))),
    "an index moved": Change(of("sparse", lambda s: replace(s, indices=(1, 5, 10, 20)))),
    "an index gone": Change(of("sparse", lambda s: Sparse(s.indices[:2] + s.indices[3:], s.values[:2] + s.values[3:]))),
    "an explicit zero gone": Change(of("sparse", lambda s: Sparse(s.indices[:3], s.values[:3]))),
    "an explicit zero more": Change(of("sparse", lambda s: Sparse((*s.indices, 30), (*s.values, 0.0)))),
    "a row gone": Change(of("multi", lambda m: m[:-1])),
    "a row twice": Change(of("multi", lambda m: np.concatenate([m, m[-1:]]))),
    "two rows swapped": Change(of("multi", lambda m: m[[1, 0, 2]])),
}  # fmt: skip


def collection(*fields: VectorField) -> Collection:
    return Collection("c", vectors=fields)


def judged(field: VectorField, bound: Bound, ours: Any, theirs: Any) -> Verdict:
    """The verdict over three records, of which the one in the middle has these vectors."""
    c = collection(field)
    plain = base(field)
    sides = (batch_of([Record(str(i), {"v": v}) for i, v in enumerate([plain, x, plain])], c) for x in (ours, theirs))
    return Judge(c, c, {"v": bound}).compare(*sides)


def said(verdict: Verdict, row: int = 1) -> str:
    return EQUAL if verdict.equal[row] else WITHIN if verdict.within[row] else CHANGED


def test_every_change_of_every_kind_is_judged(shown: Callable[[str], None]) -> None:
    cells, wrong = 0, []
    for name, field in FIELDS.items():
        for what, change in CHANGES.items():
            ours = base(field)
            theirs = change.make(field, ours)
            if theirs is NOT_HERE:
                continue
            for way, (a, b) in {"": (ours, theirs), " back": (theirs, ours)}.items():
                for kind, bound in KINDS_OF_BOUNDS.items():
                    cells += 1
                    found = judged(field, bound, a, b)
                    wanted = getattr(change, kind)
                    fine = said(found) == wanted and [said(found, row) for row in (0, 2)] == [EQUAL, EQUAL]
                    fine = fine and found.counts() == ({"vector:v": 1} if wanted == CHANGED else {})
                    if not fine:
                        wrong.append(f"{name}, {what}{way}, {kind}: {said(found)}, {found.counts()}")
    shown(f"{cells} changes of {len(FIELDS)} kinds of vectors judged, {len(wrong)} wrong")
    assert not wrong, "\n".join(wrong)
    assert cells > 900


def test_a_gained_vector_is_a_change() -> None:
    for field in FIELDS.values():
        (finding,) = judged(field, BOUND, None, base(field)).findings()
        assert finding.parts[0].a == "absent"
        assert finding.parts[0].b != "absent"


def test_a_nan_is_its_bits_where_exact_and_a_nan_within_a_bound() -> None:
    field = FIELDS["dense float32"]
    ours, theirs = base(field), base(field)
    ours[2], theirs[2] = np.nan, np.array([0x7FC00001], np.uint32).view(np.float32)[0]
    assert said(judged(field, Bound(0.0), ours, ours)) == EQUAL
    found = judged(field, Bound(0.0), ours, theirs)
    assert said(found) == CHANGED
    assert (found.findings()[0].parts[0].a, found.findings()[0].parts[0].b) == (
        "nan 0x7fc00000 at 2",
        "nan 0x7fc00001 at 2",
    )
    assert said(judged(field, BOUND, ours, theirs)) == WITHIN
    theirs[0] += 10
    assert said(judged(field, BOUND, ours, theirs)) == CHANGED


@pytest.mark.parametrize("size", [1e-200, 1e200])
def test_unit_vectors_of_any_length_are_measured(size: float) -> None:
    field = FIELDS["dense float64"]
    ours = base(field) * size
    assert said(judged(field, UNIT, ours, base(field))) == WITHIN
    assert said(judged(field, UNIT, ours, -ours)) == CHANGED


def test_each_field_has_its_own_bound() -> None:
    fields = tuple(VectorField(n, dim=DIM, bound=b) for n, b in (("c", UNIT), ("d", None), ("e", BOUND)))
    c = collection(*fields)
    vector = base(FIELDS["dense float32"])
    ours = batch_of([Record("x", dict.fromkeys("cde", vector))], c)
    theirs = batch_of([Record("x", dict.fromkeys("cde", vector * 2))], c)
    found = Judge(c, c, bounds_of(c, c)).compare(ours, theirs)
    assert found.counts() == {"vector:d": 1, "vector:e": 1}
    found = Judge(c, c, bounds_of(c, c, {"e": 2.0})).compare(ours, theirs)
    assert found.counts() == {"vector:d": 1}


def test_absent_is_compared_record_by_record() -> None:
    c = collection(VectorField("a", dim=DIM), VectorField("b", dim=DIM))
    v = base(FIELDS["dense float32"])
    ours = [Record("0", {"a": None, "b": v}), Record("1", {"a": v, "b": v}), Record("2", {"a": v, "b": None})]
    theirs = [Record("0", {"a": None, "b": v}), Record("1", {"a": -v, "b": v}), Record("2", {"a": v, "b": v})]
    found = Judge(c, c, {}).compare(batch_of(ours, c), batch_of(theirs, c))
    assert found.changed.tolist() == [False, True, True]
    assert found.counts() == {"vector:a": 1, "vector:b": 1}


def test_fields_are_paired_by_name_and_sole_ones_whatever_their_names() -> None:
    a, b, x = (VectorField(n, dim=DIM) for n in ("a", "b", "x"))
    assert paired(collection(a), collection(x)) == [(a, x)]
    assert paired(collection(a, b), collection(b, a)) == [(a, a), (b, b)]
    assert paired(collection(a, b), collection(b, x)) == [(a, None), (b, b), (None, x)]
    v = base(FIELDS["dense float32"])
    ours = batch_of([Record("0", {"a": v, "b": v}), Record("1", {"a": None, "b": v})], collection(a, b))
    theirs = batch_of([Record("0", {"b": v, "x": None}), Record("1", {"b": v, "x": v})], collection(b, x))
    found = Judge(collection(a, b), collection(b, x), {}).compare(ours, theirs)
    assert found.counts() == {"vector:a": 1, "vector:x": 1}


def test_another_kind_or_dimension_is_a_change() -> None:
    v = base(FIELDS["dense float32"])
    for other, theirs in ((VectorField("v", dim=4), v[:4]), (VectorField("v", "sparse"), Sparse((1,), (1.0,)))):
        ours = collection(FIELDS["dense float32"])
        found = Judge(ours, collection(other), {"v": BOUND}).compare(
            batch_of([Record("0", {"v": v})], ours), batch_of([Record("0", {"v": theirs})], collection(other))
        )
        assert found.changed.tolist() == [True]


METADATA = {
    "value": ({"k": 1}, {"k": 2}, {"k"}),
    "1 to 1.0": ({"k": 1, "l": 1}, {"k": 1.0, "l": 1}, {"k"}),
    "True to 1": ({"k": True}, {"k": 1}, {"k"}),
    "0.0 to -0.0": ({"k": 0.0}, {"k": -0.0}, {"k"}),
    "NaN": ({"k": float("nan")}, {"k": float("nan")}, set()),
    "big integers": ({"k": 2**63}, {"k": 2**63 + 1}, {"k"}),
    "key added": ({}, {"k": None}, {"k"}),
    "key gone": ({"k": None, "l": 1}, {"l": 1}, {"k"}),
    "key renamed": ({"k": 1}, {"l": 1}, {"k", "l"}),
    "list order": ({"k": [1, 2]}, {"k": [2, 1]}, {"k"}),
    "nested": ({"k": {"a": {"b": 1}}}, {"k": {"a": {"b": 2}}}, {"k"}),
    "null to empty": ({"k": None}, {"k": ""}, {"k"}),
    "a key like a tag": ({"$vp": 1}, {"$vp": 2}, {"$vp"}),
    "the order of keys": ({"a": 1, "b": 2}, {"b": 2, "a": 1}, set()),
}


@pytest.mark.parametrize("name", list(METADATA))
def test_metadata_is_named_by_its_key(name: str) -> None:
    ours, theirs, keys = METADATA[name]
    c = collection()
    found = Judge(c, c, {}).compare(batch_of([Record("x", {}, ours)], c), batch_of([Record("x", {}, theirs)], c))
    assert found.counts() == {f"metadata:{k}": 1 for k in keys}
    assert bool(found.metadata_changed[0]) == bool(keys)
    assert not found.vectors_changed.any()


def test_a_finding_has_both_values_short() -> None:
    c = collection(VectorField("", dim=3))
    ours = Record("x", {"": np.array([1, 2, 3], np.float32)}, {"k": "a" * 500}, "text", "eu")
    theirs = Record("y", {"": np.array([1, 2, 6], np.float32)}, {"k": "a" * 499 + "b"}, None, "us")
    (found,) = Judge(c, c, {}).compare(batch_of([ours], c), batch_of([theirs], c)).findings()
    assert found == Finding("changed", "x", "eu", (
        Part("vector", "3.0 at 2", "6.0 at 2", 1.0), Part("document", '"text"', "absent"),
        Part("namespace", '"eu"', '"us"'), Part("id", '"x"', '"y"'), found.parts[4],
    ))  # fmt: skip
    a, b = found.parts[4].a, found.parts[4].b
    assert found.parts[4].name == "metadata:k"
    assert a != b
    assert max(len(a), len(b)) < 70


def test_no_records_are_equal() -> None:
    for field in FIELDS.values():
        c = collection(field)
        found = Judge(c, c, {"v": UNIT}).compare(batch_of([], c), batch_of([], c))
        assert (found.changed.tolist(), found.counts(), found.findings()) == ([], {}, ())


# ---- equal hashes are what the judge calls equal

floats = st.floats(width=32)
rows = st.lists(st.sampled_from([0.0, -0.0, 1.0, float("nan")]) | floats, min_size=2, max_size=2)
sparse = st.dictionaries(st.integers(0, 3), floats, max_size=3).map(
    lambda d: Sparse(tuple(sorted(d)), tuple(d[k] for k in sorted(d)))
)
few = st.integers(-2, 2)
some = st.fixed_dictionaries(
    {
        "a": st.none() | rows.map(lambda r: np.array(r, np.float32)),
        "b": st.none() | rows.map(lambda r: np.array(r, np.float64)),
        "s": st.none() | sparse,
        "m": st.none() | st.lists(rows, max_size=2).map(lambda r: np.array(r, np.float32).reshape(-1, 2)),
        "bits": st.none() | st.lists(st.integers(0, 1), min_size=9, max_size=9).map(lambda b: np.array(b, np.uint8)),
        "i": st.none() | st.lists(few, min_size=2, max_size=2).map(lambda b: np.array(b, np.int8)),
    }
)
EVERY = Collection(
    "c",
    vectors=(
        VectorField("a", dim=2), VectorField("b", "dense", "float64", 2), VectorField("s", "sparse"),
        VectorField("m", "multi", dim=2), VectorField("bits", "binary", "bit", 9), VectorField("i", "dense", "int8", 2),
    ),
)  # fmt: skip
texts = st.sampled_from(["", "a", "b"])
a_record = st.builds(
    Record, st.just("x"), some, st.dictionaries(texts, few | few.map(float), max_size=2), st.none() | texts
)


@settings(deadline=None, max_examples=150, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(a_record, a_record, st.booleans()), min_size=1, max_size=5))
def test_equal_hashes_are_equal_records(pairs: list[tuple[Record, Record, bool]]) -> None:
    ours = batch_of([a for a, _, _ in pairs], EVERY)
    theirs = batch_of([a if same else b for a, b, same in pairs], EVERY)
    found = Judge(EVERY, EVERY, {}).compare(ours, theirs)
    by_vectors = hashes.vector_hashes(ours, EVERY) == hashes.vector_hashes(theirs, EVERY)
    by_metadata = hashes.metadata_hashes(ours) == hashes.metadata_hashes(theirs)
    assert (~found.vectors_changed).tolist() == by_vectors.tolist()
    assert (~found.metadata_changed).tolist() == by_metadata.tolist()
    assert found.equal.tolist() == (by_vectors & by_metadata).tolist()
    for field in EVERY.vectors:
        # Field by field as well, where equal ones do not hide behind others.
        alone = Collection("c", vectors=(field,))
        a, b = (batch_of([replace(r, vectors={field.name: r.vectors[field.name]}) for r in side], alone) for side in (
            [a for a, _, _ in pairs], [a if same else b for a, b, same in pairs]))  # fmt: skip
        same = hashes.vector_hashes(a, alone) == hashes.vector_hashes(b, alone)
        assert (~Judge(alone, alone, {}).compare(a, b).vectors_changed).tolist() == same.tolist()


def test_lengths_count_where_both_sides_say_that_they_hold_unit_vectors() -> None:
    c = collection(*(VectorField(n, dim=DIM, normalized=n == "u", bound=UNIT) for n in "uw"))
    vector = base(FIELDS["dense float32"])
    vector = vector / np.linalg.norm(vector)
    ours = batch_of([Record("x", dict.fromkeys("uw", vector))], c)
    theirs = batch_of([Record("x", dict.fromkeys("uw", vector * 2))], c)
    assert Judge(c, c, bounds_of(c, c)).compare(ours, theirs).counts() == {"vector:u": 1}
