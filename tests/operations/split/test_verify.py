"""Verifying split imports: equal only when all are."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.operations.rooms import collection, fill, record, room
from vecport.errors import NotFound, UsageError
from vecport.operations.export import export
from vecport.operations.import_ import import_
from vecport.operations.verify import verify

from .support import NAMES, ROWS, add, records_of


def test_verify_says_equal_only_when_all_are(dump: Path) -> None:
    with room() as place:
        done = import_(dump, place, namespaces="split")
        add(place, "docs-eu", record("doc1", 99, text="edited"))
        found = verify(dump, place, namespaces="split")
        assert (found.exit_code, found.vectors_changed, found.metadata_changed, found.equal) == (3, 1, 1, 23)
        assert [(f.kind, f.namespace, f.id) for f in found.examples] == [("changed", "eu", "doc1")]
        assert {ns for ns, one in found.collections.items() if one.exit_code} == {"eu"}
        remove(place, done.collections["é"].collection)
        found = verify(dump, place, namespaces="split")
        assert (found.exit_code, found.missing, found.count) == (3, ROWS, 18)
        assert f"{NAMES['é']}: the collection does not exist" in found.schema_changes


def remove(place: str, name: str) -> None:
    from vecport.connectors.memory import _rooms

    del _rooms[place.partition(":")[2]].stores[name]


def test_verify_of_nothing_is_not_found(dump: Path, tmp_path: Path) -> None:
    with room() as place:
        fill(place, [record("mine")], collection("other"))
        with pytest.raises(NotFound):
            verify(dump, place, namespaces="split")


def test_a_collection_that_holds_one_namespace_is_compared_with_that(dump: Path, place: str, tmp_path: Path) -> None:
    name = f"alone{place.partition(':')[0]}"
    import_(dump, place, collection=name, namespaces="split")
    found = verify(dump, place, collection=f"{name}-eu")
    assert (found.exit_code, found.rows, found.namespace) == (0, ROWS, "eu")
    assert any("all namespaces: --namespaces split" in n for n in found.notes)
    with room() as other:
        fill(other, records_of(["", "us"]))
        export(other, tmp_path / "other")
    found = verify(tmp_path / "other", place, collection=f"{name}-eu")
    assert (found.exit_code, found.equal, found.extra) == (3, 0, ROWS)
    assert "namespace 'eu', which the dump does not have" in found.schema_changes[-1]


def test_verify_refuses_what_it_cannot_know(dump: Path) -> None:
    with pytest.raises(UsageError, match="finds out by itself"):
        verify(dump, "memory:x", namespaces="field")
