"""What ``--namespaces split`` refuses and shows before the first write."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.operations.rooms import collection, fill, record, room
from vecport.connectors.memory import MemoryTarget
from vecport.errors import AlreadyExists, NotFound, NotRepresentable, UsageError, VecportError
from vecport.model.capabilities import Names
from vecport.operations.copy import copy
from vecport.operations.import_ import import_
from vecport.operations.plan import plan
from vecport.operations.verify import verify

from .support import NAMES, ROWS, SPACES, name_of, names_in, records_of


@pytest.mark.parametrize("target", ["jsonl:{}/rows.jsonl", "-"])
def test_a_place_for_one_collection_is_refused(dump: Path, tmp_path: Path, target: str) -> None:
    address = target.format(tmp_path)
    for call in (import_, plan, verify):
        with pytest.raises(UsageError, match="holds one collection only") as caught:
            call(str(dump), address, namespaces="split")  # type: ignore[operator]
        assert "--namespace NAME" in caught.value.next
    assert list(tmp_path.iterdir()) == []


def test_copy_refuses_it_before_it_exports(tmp_path: Path) -> None:
    with room() as source:
        fill(source, records_of())
        with pytest.raises(UsageError, match="holds one collection only"):
            copy(source, f"jsonl:{tmp_path}/rows.jsonl", dump=tmp_path / "dump", namespaces="split")
    assert list(tmp_path.iterdir()) == []


def test_one_collection_that_is_there_refuses_all(dump: Path, place: str, request: pytest.FixtureRequest) -> None:
    name = name_of(request)
    with room() as other:
        fill(other, [record("mine")])
        copy(other, place, dump=Path(request.getfixturevalue("tmp_path")) / "mine", target_collection=f"{name}-eu")
    with pytest.raises(AlreadyExists, match="-eu holds 1 records"):
        import_(dump, place, collection=name, namespaces="split")
    with pytest.raises(AlreadyExists, match="-eu holds 1 records"):
        import_(dump, place, collection=name, namespaces="split", dry_run=True)
    assert [n for n in names_in(place) if n.startswith(name)] == [f"{name}-eu"]


def test_a_loss_is_refused_before_anything_is_there(dump: Path, tmp_path: Path) -> None:
    with pytest.raises(NotRepresentable, match="bounded"):
        import_(dump, f"chroma:{tmp_path / 'c'}", namespaces="split", strict=True, settings={"metric": "cosine"})
    assert not (tmp_path / "c").exists()


def test_a_dry_run_shows_where_everything_goes_and_writes_nothing(dump: Path, tmp_path: Path) -> None:
    done = import_(dump, f"chroma:{tmp_path / 'c'}", namespaces="split", dry_run=True)
    assert (done.dry_run, done.written_rows, done.rows) == (True, 0, 24)
    assert {ns: d.collection for ns, d in done.collections.items()} == {
        "": "docs", "eu": "docs-eu", "us:west": NAMES["us:west"], "é": NAMES["é"],
    }  # fmt: skip
    assert f"namespace 'us:west' (6 records): collection {NAMES['us:west']}" in done.notes
    assert not (tmp_path / "c").exists()


def test_a_plan_shows_where_everything_goes(dump: Path) -> None:
    with room() as source, room() as place:
        fill(source, records_of())
        fill(place, [record("mine")], collection("docs-eu"))
        for origin in (dump, source):
            found = plan(str(origin), place, namespaces="split")
            assert {ns: (c["collection"], c["records"]) for ns, c in found.facts["collections"].items()} == {
                ns: (NAMES[ns], ROWS) for ns in SPACES
            }
            assert found.facts["collections"]["eu"]["would"] == "refuse: it holds records"
            assert found.facts["collections"][""]["would"] == "create it"
            assert next(n for n in found.notes if "holds records" in n).startswith("docs-eu holds records")
        assert set(names_in(place)) == {"docs-eu"}


def test_a_plan_says_which_collection_cannot_be_called_so(
    dump: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = replace(MemoryTarget.capabilities, native_namespace=False, collection_names=Names(max_bytes=7))
    monkeypatch.setattr(MemoryTarget, "capabilities", short)
    with room() as place:
        found = plan(str(dump), place, namespaces="split")
        would = {ns: c["would"].partition(":")[0] for ns, c in found.facts["collections"].items()}
        assert would == {"": "create it", "eu": "create it", "us:west": "refuse", "é": "refuse"}
        assert f"no collection can be called {NAMES['é']!r}: it has 15 bytes, 7 are the most" in found.notes
        with pytest.raises(NotRepresentable, match="collection"):
            import_(dump, place, namespaces="split")
        with pytest.raises(NotFound):
            names_in(place)


ERRORS: dict[str, tuple[dict[str, Any], type[VecportError]]] = {
    "a mode": ({"namespaces": "separate"}, UsageError),
    "a conflict": ({"on_conflict": "merge"}, UsageError),
}


@pytest.mark.parametrize("what", ERRORS)
def test_wrong_choices(dump: Path, what: str) -> None:
    given, error = ERRORS[what]
    with room() as place, pytest.raises(error):
        import_(dump, place, **{"namespaces": "split", **given})
