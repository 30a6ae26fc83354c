"""Split imports beside records that are there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.operations.rooms import collection, fill, held, record, room
from vecport.errors import UsageError
from vecport.operations.import_ import import_
from vecport.operations.verify import verify

from .support import ROWS, names_in


def test_append_adds_to_what_is_there(dump: Path) -> None:
    with room() as place:
        fill(place, [record("mine")], collection("docs-eu"))
        done = import_(dump, place, namespaces="split", if_exists="append")
        assert done.written_rows == 24
        assert len(held(place, "docs-eu")) == ROWS + 1
        found = verify(dump, place, namespaces="split")
        assert (found.extra, found.missing, found.collections["eu"].extra) == (1, 0, 1)


def test_append_refuses_records_of_other_namespaces(dump: Path) -> None:
    with room() as place:
        import_(dump, place, collection="docs-eu")
        with pytest.raises(UsageError, match="filled by vecport with namespaces beside its records"):
            import_(dump, place, namespaces="split", if_exists="append")
        assert names_in(place) == ["docs-eu"]
        import_(dump, place, namespaces="split", if_exists="replace")
        assert verify(dump, place, namespaces="split").exit_code == 0
        with pytest.raises(UsageError, match="filled by vecport with namespace 'eu'"):
            import_(dump, place, collection="docs-eu", namespaces="split", if_exists="append")
