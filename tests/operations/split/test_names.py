"""Names of the collections that ``--namespaces split`` makes: apart, short, and what cannot be one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.operations.rooms import room
from vecport.errors import NotFound, NotRepresentable, UsageError
from vecport.operations import split
from vecport.operations.import_ import import_

from .support import NAMES, at, names_in


@pytest.mark.parametrize("namespace", NAMES)
def test_a_name_follows_from_its_namespace(namespace: str) -> None:
    assert split.collection_names(at("memory:x", "docs"), [namespace]) == {namespace: NAMES[namespace]}


def test_names_are_apart_and_short_whatever_the_namespaces() -> None:
    namespaces = ["eu", "eU", "a:b", "a;b", "a_b", "a" * 59, "a" * 60, "a" * 61, "\0", " ", "../x", "🙂", "'\"", "x."]
    hashed = split.collection_names(at("memory:x", "docs"), ["a:b"])["a:b"].removeprefix("docs-")
    names = split.collection_names(at("memory:x", "docs"), [*namespaces, hashed])
    assert len({n.lower() for n in names.values()}) == len(namespaces) + 1
    for ns, name in names.items():
        assert len(name) <= 63, ns
        assert name[-1].isalnum()
        assert all(c.isascii() and (c.isalnum() or c in "_-") for c in name)


def test_names_that_differ_in_upper_case_alone_have_a_hash_each() -> None:
    names = split.collection_names(at("memory:x", "docs"), ["eu", "EU", "us"])
    assert names["us"] == "docs-us"
    assert names["eu"].startswith("docs-eu-")
    assert names["EU"].startswith("docs-EU-")


def test_a_quoted_table_of_postgres_stays_one_name() -> None:
    target = at("postgresql://me@nowhere/db", '"my shop"."all docs"')
    assert split.collection_names(target, ["eu"]) == {"eu": "my shop.all docs-eu"}
    assert split.collection_names(at("postgresql://me@nowhere/db", '"a.b"'), ["eu"]) == {"eu": '"a.b-eu"'}
    sole = at("postgresql://me@nowhere/db", "a.b", schema="s")
    assert split.collection_names(sole, ["eu"]) == {"eu": "a.b-eu"}


def test_a_name_too_long_for_postgres_is_refused_before_it_is_asked() -> None:
    with pytest.raises(NotRepresentable, match="bytes"):
        split.collection_names(at("postgresql://me@nowhere/db", "d" * 60), ["europe"])
    assert split.collection_names(at("memory:x", "d" * 60), ["europe"]) == {"europe": "d" * 60 + "-europe"}
    assert len(split.collection_names(at("memory:x", "d" * 60), ["europe" * 9])["europe" * 9]) == 71


def test_too_many_namespaces_are_refused(monkeypatch: pytest.MonkeyPatch, dump: Path) -> None:
    monkeypatch.setattr(split, "MOST", 3)
    with room() as place:
        with pytest.raises(UsageError, match="4 namespaces are too many"):
            import_(dump, place, namespaces="split")
        with pytest.raises(NotFound):
            names_in(place)


def test_two_namespaces_with_one_name_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(split, "_suffix", lambda ns, room, hashed=False: "-same")
    with pytest.raises(UsageError, match="'a' and 'b' would go into one collection, docs-same"):
        split.collection_names(at("memory:x", "docs"), ["a", "b"])
