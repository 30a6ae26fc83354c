"""Ids of Qdrant's points: integers and UUIDs, in their order."""

from __future__ import annotations

import pytest

from vecport.connectors.address import Place
from vecport.connectors.qdrant import wire
from vecport.errors import NotRepresentable

from .support import HARD_IDS, UUIDS, collection, ordered, page, read, source, write


def test_ids_at_the_edges_come_back_in_order(place: Place, name: str) -> None:
    c = collection(name)
    shuffled = HARD_IDS[::-1]
    write(place, c, page(c, shuffled))
    table = read(place, name, 3)
    assert table.column("id").to_pylist() == HARD_IDS == ordered(shuffled)
    with source(place, name) as session:
        assert session.describe().collection.id_kind == "int|uuid"
        assert sorted(session.fetch([("", i) for i in HARD_IDS]).column("id").to_pylist()) == sorted(HARD_IDS)


@pytest.mark.parametrize(
    "text", ["-1", "18446744073709551616", "007", "abc", "", "1.0", "550E8400-E29B-41D4-A716-446655440000", "1 "]
)
def test_ids_that_qdrant_lacks_are_refused_by_name(place: Place, name: str, text: str) -> None:
    c = collection(name)
    with pytest.raises(NotRepresentable) as caught:
        write(place, c, page(c, ["1", text]))
    assert repr(text) in str(caught.value)
    assert read(place, name).num_rows == 0


def test_successor_of_every_kind_of_key() -> None:
    assert wire.ORDER.after(0) == 1
    assert wire.ORDER.after(2**64 - 1) == UUIDS[0]
    assert wire.ORDER.after(UUIDS[0]) == UUIDS[1]
    assert wire.ORDER.after("00000000-0000-0000-0000-0000000000ff") == "00000000-0000-0000-0000-000000000100"
    assert wire.ORDER.after(UUIDS[-1]) is None
    assert wire.ORDER.rising([1, 2, UUIDS[0], UUIDS[1]])
    assert not wire.ORDER.rising([1, 1])
    assert not wire.ORDER.rising([UUIDS[0], 1])
    assert not wire.ORDER.rising([2, 1, UUIDS[0]])
