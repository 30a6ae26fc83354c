"""Split imports that were interrupted go on, begin anew, and know what is complete."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.operations.rooms import held, record, room
from vecport.dump import open_dump
from vecport.dump.namespace_view import shares
from vecport.errors import AlreadyExists
from vecport.operations.import_ import import_
from vecport.operations.verify import verify

from .support import ROWS, Power, add, cut, failing_finish, name_of, names_in, state


@pytest.mark.parametrize("after", [1, 5])
def test_an_interrupted_import_goes_on(
    dump: Path, place: str, after: int, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt(dump, place, name_of(request), after, monkeypatch)


def test_it_goes_on_wherever_it_was_interrupted(dump: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writes = sum(sum(map(bool, g)) for s in shares(open_dump(dump)).values() for g in s.groups.values())
    assert writes == 8
    for after in range(writes):
        with room() as place:
            interrupt(dump, place, "docs", after, monkeypatch)


def interrupt(dump: Path, place: str, name: str, after: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop an import in the write behind ``after`` others, go on, and compare everything."""
    with monkeypatch.context() as patch:
        cut(patch, place, after)
        with pytest.raises(Power):
            import_(dump, place, collection=name, namespaces="split", workers=1)
    again = import_(dump, place, collection=name, namespaces="split", workers=1)
    assert again.written_rows + again.resumed_rows == 24
    assert again.resumed_rows > 0 or after == 0
    assert verify(dump, place, collection=name, namespaces="split").exit_code == 0
    with pytest.raises(AlreadyExists, match="this very dump was imported here before"):
        import_(dump, place, collection=name, namespaces="split")


def test_what_is_complete_is_known_without_the_state_of_this_machine(
    dump: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = f"chroma:{tmp_path / 'c'}"
    state(monkeypatch, tmp_path / "one")
    failing_finish(monkeypatch, place, "docs-eu", lambda: import_(dump, place, namespaces="split"))
    state(monkeypatch, tmp_path / "two")
    again = import_(dump, place, namespaces="split")
    assert again.resumed_rows >= ROWS
    assert any(n.startswith("1 collection(s) were finished by an earlier run: 6 records") for n in again.notes)
    assert verify(dump, place, namespaces="split").exit_code == 0


def test_an_application_may_write_to_what_is_complete(dump: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with room() as place:
        failing_finish(monkeypatch, place, "docs-eu", lambda: import_(dump, place, namespaces="split"))
        add(place, "docs", record("new"))
        again = import_(dump, place, namespaces="split")
        assert again.resumed_rows >= ROWS
        assert len(held(place, "docs")) == ROWS + 1
        found = verify(dump, place, namespaces="split")
        assert (found.exit_code, found.extra, found.collections["eu"].exit_code) == (3, 1, 0)
        # Now nothing is under way: the same command again is a new one, and finds records that it did not write.
        with pytest.raises(AlreadyExists, match="holds 7 records"):
            import_(dump, place, namespaces="split")


def test_replace_replaces_all_but_goes_on_where_it_was_interrupted(dump: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with room() as place:
        import_(dump, place, namespaces="split")
        add(place, "docs", record("new"))

        def replacing() -> Any:
            return import_(dump, place, namespaces="split", if_exists="replace")

        failing_finish(monkeypatch, place, "docs-eu", replacing)
        assert len(held(place, "docs")) == ROWS
        again = replacing()
        assert again.written_rows + again.resumed_rows == 24
        assert again.resumed_rows >= ROWS
        assert replacing().written_rows == 24
        assert verify(dump, place, namespaces="split").exit_code == 0


def test_an_interrupted_create_begins_anew_under_replace(dump: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with room() as place:
        failing_finish(monkeypatch, place, "docs-eu", lambda: import_(dump, place, namespaces="split"))
        add(place, "docs", record("new"))
        import_(dump, place, namespaces="split", if_exists="replace")
        assert len(held(place, "docs")) == ROWS


def test_an_import_into_one_collection_is_not_taken_for_a_part(dump: Path, tmp_path: Path) -> None:
    place = f"chroma:{tmp_path / 'c'}"
    import_(dump, place, namespaces="prefix")
    with pytest.raises(AlreadyExists, match="docs holds 24 records"):
        import_(dump, place, namespaces="split")
    assert names_in(place) == ["docs"]
