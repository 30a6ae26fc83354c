"""Schemas: what can be said, its digest, its columns, and its JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vecport.errors import NotRepresentable, UsageError
from vecport.model.collection import (
    FIDELITIES,
    ID_KINDS,
    LOGICAL_TYPES,
    METRICS,
    VECTOR_DTYPES,
    VECTOR_KINDS,
    Bound,
    Collection,
    Field,
    VectorField,
    collection_from_json,
    collection_to_json,
    renamed,
    vector_columns,
)
from vecport.model.passport import Passport

PROFILE = settings(deadline=None, max_examples=80, suppress_health_check=list(HealthCheck))
names = st.text(max_size=6) | st.sampled_from(["a", "A", "a_2", "Ä", "", "title", "vector"])


@st.composite
def vector(draw: st.DrawFn) -> VectorField:
    kind = draw(st.sampled_from(VECTOR_KINDS))
    dtypes = ["bit"] if kind == "binary" else [d for d in VECTOR_DTYPES if d != "bit"]
    if kind == "sparse":
        dtypes.remove("float64")
    return VectorField(
        name=draw(names), kind=kind, dtype=draw(st.sampled_from(dtypes)),
        dim=None if kind == "sparse" else draw(st.integers(1, 10_000)), metric=draw(st.sampled_from(METRICS)),
        normalized=draw(st.booleans()), nullable=draw(st.booleans()), fidelity=draw(st.sampled_from(FIDELITIES)),
        bound=draw(st.none() | st.builds(Bound, st.floats(0, 1), st.booleans())), model=draw(st.none() | names),
    )  # fmt: skip


field = st.builds(Field, names, names, st.sampled_from(["json", "text"]), st.booleans())
fields = st.lists(field, max_size=4, unique_by=lambda f: f.name).map(tuple)
collection = st.builds(
    Collection, names, st.sampled_from(ID_KINDS), st.lists(vector(), max_size=4, unique_by=lambda v: v.name).map(tuple),
    st.none() | fields, fields, st.dictionaries(names, st.none() | st.integers() | names, max_size=2),
)  # fmt: skip


@PROFILE
@given(collection)
def test_it_survives_json(c: Collection) -> None:
    again = collection_from_json(json.loads(json.dumps(collection_to_json(c))))
    assert again == c
    assert again.digest() == c.digest()


@PROFILE
@given(collection, collection)
def test_digests_are_equal_when_what_counts_is(a: Collection, b: Collection) -> None:
    def counts(c: Collection) -> Any:
        return (
            c.id_kind, [(f.name, f.type, f.encoding) for f in c.key],
            None if c.fields is None else sorted((f.name, f.type, f.encoding) for f in c.fields),
            sorted((v.name, v.kind, v.dtype, v.dim or 0, v.metric) for v in c.vectors),
        )  # fmt: skip

    assert (a.digest() == b.digest()) == (counts(a) == counts(b))


@PROFILE
@given(collection, st.randoms(use_true_random=False))
def test_what_does_not_count_in_a_digest(c: Collection, draw: Any) -> None:
    vectors, columns = list(c.vectors), list(c.fields or ())
    draw.shuffle(vectors)
    draw.shuffle(columns)
    turned = [
        replace(v, normalized=not v.normalized, nullable=not v.nullable, fidelity="quantised", bound=None, model="m")
        for v in vectors
    ]
    other = Collection(
        c.name + "!", c.id_kind, tuple(turned),
        None if c.fields is None else tuple(replace(f, nullable=not f.nullable) for f in columns),
        tuple(replace(f, nullable=not f.nullable) for f in c.key), {"native": 1},
    )  # fmt: skip
    assert other.digest() == c.digest()
    assert renamed(c, "x") == replace(c, name="x")


@pytest.mark.parametrize(
    "make",
    [
        lambda: VectorField("v"),
        lambda: VectorField("v", dim=3, kind="ternary"),
        lambda: VectorField("v", dim=3, dtype="float8"),
        lambda: VectorField("v", dim=3, metric="haversine"),
        lambda: VectorField("v", dim=3, fidelity="perhaps"),
        lambda: VectorField("v", dim=3, dtype="bit"),
        lambda: VectorField("v", dim=3, kind="binary"),
        lambda: VectorField("v", dim=3, kind="multi", dtype="bit"),
        lambda: VectorField("v", dim=3, kind="sparse"),
        lambda: VectorField("v", kind="sparse", dtype="float64"),
        lambda: VectorField("v", kind="multi"),
        lambda: Collection("c", "ulid"),
        lambda: Collection("c", vectors=(VectorField("v", dim=1), VectorField("v", dim=2))),
        lambda: Collection("c", fields=(Field("a", "t"), Field("a", "u"))),
        lambda: Collection("c", key=(Field("a", "t"), Field("a", "u"))),
    ],
)
def test_what_cannot_be_said(make: Any) -> None:
    with pytest.raises(NotRepresentable):
        make()


def test_finding_a_vector() -> None:
    c = Collection("c", vectors=(VectorField("a", dim=1), VectorField("b", dim=2)))
    assert c.vector("b").dim == 2
    with pytest.raises(UsageError, match="no vector 'c'"):
        c.vector("c")


# ---- columns


@PROFILE
@given(st.lists(st.text(max_size=80) | names, max_size=8, unique=True))
def test_columns_are_plain_distinct_and_in_order(known_typenames: list[str]) -> None:
    columns = vector_columns(known_typenames)
    assert list(columns) == known_typenames
    assert len({c.lower() for c in columns.values()}) == len(known_typenames)
    for column in columns.values():
        assert column == column.lower()
        assert column.isascii()
        assert column.replace("_", "").isalnum()
        assert column.startswith("vector")
        assert len(column) <= 60
    assert vector_columns(known_typenames) == columns


def test_columns_by_example() -> None:
    assert vector_columns([""]) == {"": "vector"}
    assert vector_columns(["", "a"]) == {"": "vector_default", "a": "vector_a"}
    assert vector_columns(["A", "a", "a_2"]) == {"A": "vector_a", "a": "vector_a_2", "a_2": "vector_a_2_2"}
    assert vector_columns(["x.y-z", "\u212a", "\u0130i"]) == {
        "x.y-z": "vector_x_y_z", "\u212a": "vector_default", "\u0130i": "vector_i",
    }  # fmt: skip
    assert vector_columns(["a" * 99]) == {"a" * 99: "vector_" + "a" * 48}


# ---- JSON of strangers

GOOD = collection_to_json(
    Collection("c", vectors=(VectorField("v", dim=2, bound=Bound(0.1)),), fields=(Field("a", "t"),))
)
ODD: list[Any] = [None, True, 7, -1, 1.5, "x", [], {}, [[]], {"a": 1}]


def places(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    return [p for key, value in items for p in (*places(value, (*path, key)), (*path, key))]


@pytest.mark.parametrize("path", places(GOOD), ids=lambda p: ".".join(map(str, p)))
def test_json_of_a_stranger_is_read_or_refused(path: tuple[Any, ...]) -> None:
    for odd in [*ODD, "drop"]:
        data = json.loads(json.dumps(GOOD))
        place = data
        for step in path[:-1]:
            place = place[step]
        if odd == "drop":
            del place[path[-1]]
        else:
            place[path[-1]] = odd
        try:
            found = collection_from_json(data)
        except (KeyError, TypeError, NotRepresentable):
            continue
        assert collection_from_json(collection_to_json(found)) == found
        assert found.digest()


# ---- portable types


def test_a_portable_type_counts_neither_in_digest_nor_in_equality() -> None:
    known = [*LOGICAL_TYPES, *(f"list<{name}>" for name in LOGICAL_TYPES)]
    without = Collection("c", fields=(Field("f", "own"),), key=(Field("k", "own"),))
    for name in known:
        known_type = replace(without, fields=(Field("f", "own", logical=name),), key=(Field("k", "own", logical=name),))
        assert known_type.digest() == without.digest()
        assert known_type == without
        again = collection_from_json(json.loads(json.dumps(collection_to_json(known_type))))
        carried = Passport.from_json(json.loads(json.dumps(Passport(known_type).to_json()))).collection
        for c in (again, carried):
            assert [f.logical for f in (*(c.fields or ()), *c.key)] == [name, name]
    assert "logical" not in json.dumps(collection_to_json(without))
    print(f"\nportable types that round-trip: {len(known)}")


@pytest.mark.parametrize("logical", ["", "int32", "Int64", "int64\n", "list<>", "list<list<int64>>", "list<int32>"])
def test_a_portable_type_that_is_not_known_is_never_written(logical: str) -> None:
    with pytest.raises(NotRepresentable, match="is not known"):
        Field("f", "own", logical=logical)


@pytest.mark.parametrize("logical", ["int32", "list<list<int64>>", "", None, 7, True, ["int64"], {"a": 1}, "x" * 9999])
def test_a_portable_type_that_is_not_known_is_read_as_none(logical: Any) -> None:
    c = Collection("c", fields=(Field("f", "own", logical="int64"),))
    data = collection_to_json(c)
    data["fields"][0]["logical"] = logical
    again = collection_from_json(data)
    assert (again, again.digest()) == (c, c.digest())
    assert [f.logical for f in again.fields or ()] == [None]
