"""Ids: their kinds, their one form, their order, and what stands for them."""

from __future__ import annotations

import json
import uuid

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vecport.errors import NotRepresentable
from vecport.model import canonical, ids
from vecport.model.collection import ID_KINDS
from vecport.testing.records import HARD_INT_IDS, HARD_STRING_IDS, HARD_UUID_IDS, id_text

settings.register_profile("ids", deadline=None, max_examples=80, suppress_health_check=list(HealthCheck))
PROFILE = settings.get_profile("ids")

U = "5f0c7d9e-0c4b-4ac5-a1c1-6d7a7e2f1b11"
GOOD = {
    "string": ["", "a", "7", U, "\0", "[", "int:7"],
    "int": ["0", "7", "-1", "10", str(2**64), "-" + "9" * 5000],
    "uuid": [U, "00000000-0000-0000-0000-000000000000"],
    "int|uuid": ["0", "-7", U],
    "tagged": ["int:7", "int:-7", f"uuid:{U}", "string:", "string:7", f"string:{U}", "string:int:7"],
    "composite": ["[]", '["a",1]', '[["a"],null,1.0]', '[{"$vp":"NaN"}]'],
    "position": ["0", "7", str(2**70)],
}
BAD = {
    "int": ["", "a", "-0", "+1", "01", "1.0", "1 ", " 1", "1\n", "\u0661", "1_0", "0x1", "--1", U],
    "uuid": ["", "7", U.upper(), U.replace("-", ""), "{" + U + "}", U + "\n", U[:-1], "urn:uuid:" + U],
    "int|uuid": ["", "a", "007", U.upper()],
    "tagged": ["", "a", "7", "int", "int:", "int:a", "int:007", "uuid:7", f"uuid:{U.upper()}", "float:1", "Int:7"],
    "composite": ["", "a", "7", "{}", '["a", 1]', '["a"', '[1e5]', '["a",1]\n', '[NaN]', '["\\u0041"]'],
    "position": ["", "a", "-1", "01", U],
}  # fmt: skip


@pytest.mark.parametrize("kind", ID_KINDS)
def test_every_kind_has_one_form(kind: str) -> None:
    for text in GOOD[kind]:
        ids.check(text, kind)
    for text in BAD.get(kind, []):
        with pytest.raises(NotRepresentable, match="canonical form"):
            ids.check(text, kind)
    for n in range(30):
        if kind != "position":
            ids.check(id_text(kind, n), kind)


@settings(PROFILE)
@given(st.integers(), st.uuids(), st.text(max_size=10))
def test_kinds_are_told_apart(number: int, name: uuid.UUID, text: str) -> None:
    assert ids.kind_of(str(number)) == "int"
    assert ids.kind_of(str(name)) == "uuid"
    for value, kind in ((str(number), "int"), (str(name), "uuid"), (text, "string")):
        made = ids.tagged(value, kind)
        ids.check(made, "tagged")
        assert ids.untagged(made) == (value, kind)
        assert ids.to_int(str(number)) == number


@pytest.mark.parametrize("text", ["", "a", "7", "float:7", "INT:7"])
def test_a_text_without_a_tag(text: str) -> None:
    with pytest.raises(NotRepresentable, match="no tag"):
        ids.untagged(text)


# ---- order


@settings(PROFILE)
@given(st.lists(st.integers(-(2**70), 2**70), min_size=1))
def test_integers_are_ordered_by_value(numbers: list[int]) -> None:
    texts = [str(n) for n in numbers]
    for kind in ("int", "position", "int|uuid"):
        assert ids.bounds(texts, kind) == (str(min(numbers)), str(max(numbers)))


@settings(PROFILE)
@given(st.lists(st.text(max_size=6), min_size=1))
def test_texts_are_ordered_by_their_utf8_bytes(texts: list[str]) -> None:
    by_bytes = sorted(texts, key=str.encode)
    for kind in ("string", "tagged", "composite", "uuid"):
        assert ids.bounds(texts, kind) == (by_bytes[0], by_bytes[-1])


def test_integers_come_before_uuids() -> None:
    assert ids.bounds([U, "99999999999", "5"], "int|uuid") == ("5", U)


def test_integers_longer_than_python_reads_at_once() -> None:
    long, longer = "9" * 5000, "1" + "0" * 5000
    assert ids.bounds([longer, long, "7"], "int") == ("7", longer)
    assert ids.to_int("-" + long) == -(10**5000) + 1


# ---- stand-ins


def test_the_namespace_of_the_stand_ins() -> None:
    assert uuid.uuid5(uuid.NAMESPACE_URL, "urn:vecport:id:1") == ids.NAMESPACE


@settings(PROFILE)
@given(st.text(max_size=20), st.text(max_size=6))
def test_a_stand_in_is_a_uuid5_of_canonical_json(text: str, namespace: str) -> None:
    name = canonical.dumps([namespace, "string", text])
    found = ids.stand_in(text, "string", namespace)
    assert found == str(uuid.uuid5(ids.NAMESPACE, name))
    assert uuid.UUID(found).version == 5
    assert uuid.UUID(found).variant == uuid.RFC_4122
    assert json.loads(name) == [namespace, "string", text]
    ids.check(found, "uuid")


def test_stand_ins_are_distinct() -> None:
    keys = [(t, "string", ns) for t in HARD_STRING_IDS for ns in ("", "a")]
    keys += [(str(n), "int", "") for n in HARD_INT_IDS] + [(u, "uuid", "") for u in HARD_UUID_IDS]
    keys += [(ids.tagged(str(n), "int"), "tagged", "") for n in HARD_INT_IDS]
    assert len({ids.stand_in(*key) for key in keys}) == len(keys)


def test_mixed_ids_stand_for_what_they_are() -> None:
    assert ids.stand_in("7", "int|uuid") == ids.stand_in("7", "int")
    assert ids.stand_in(U, "int|uuid") == ids.stand_in(U, "uuid")
    assert ids.stand_in("7", "int") != ids.stand_in("7", "string")


def test_a_column_of_stand_ins() -> None:
    found = ids.stand_ins(pa.array(["a", "b"]), pa.array(["", "n"]), "string")
    assert found.to_pylist() == [ids.stand_in("a"), ids.stand_in("b", "string", "n")]
