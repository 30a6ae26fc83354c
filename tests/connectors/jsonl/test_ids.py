"""Ids in JSON Lines: their kinds, and places where there are none."""

from __future__ import annotations

from pathlib import Path

import pytest

from vecport.connectors.contract import Selection
from vecport.errors import UsageError, VecportError

from .support import CONNECTOR, UUID, one, place_of, read, written

ID_FILES = [
    (["7", "-3", str(10**30)], "int", ["7", "-3", str(10**30)]),
    (['"7"', '"007"'], "string", ["7", "007"]),
    ([f'"{UUID}"'], "uuid", [UUID]),
    ([f'{{"uuid":"{UUID}"}}'], "uuid", [UUID]),
    (["7", f'"{UUID}"'], "int|uuid", ["7", UUID]),
    (["7", '"7"', '"007"'], "tagged", ["int:7", "string:7", "string:007"]),
    (["7", f'"{UUID}"', '"x"'], "tagged", ["int:7", f"string:{UUID}", "string:x"]),
    ([f'{{"uuid":"{UUID}"}}', '"x"'], "tagged", [f"uuid:{UUID}", "string:x"]),
    ([f'"{UUID.upper()}"'], "string", [UUID.upper()]),
    (['"int:7"', "7"], "tagged", ["string:int:7", "int:7"]),
]


@pytest.mark.parametrize(("given_ids", "kind", "texts"), ID_FILES)
def test_ids_keep_their_kind(tmp_path: Path, given_ids: list[str], kind: str, texts: list[str]) -> None:
    path = written(tmp_path / "rows.jsonl", *(f'{{"id":{i}}}' for i in given_ids))
    collection, rows = read(path)
    assert (collection.id_kind, [r["id"] for r in rows]) == (kind, texts)


@pytest.mark.parametrize(("id_", "kind"), [("7", "string"), ('"7"', "int"), ('"x"', "uuid"), ('"x"', "composite")])
def test_an_id_of_another_kind_than_asked_is_refused(tmp_path: Path, id_: str, kind: str) -> None:
    with pytest.raises(VecportError, match="line 1"):
        one(tmp_path, f'{{"id":{id_}}}', id_kind=kind)


def test_ids_by_position(tmp_path: Path) -> None:
    path = written(tmp_path / "rows.jsonl", '{"document":"a"}', "", '{"document":"b"}', '{"document":"c"}')
    for target_rows in (1, 2, 10):
        collection, rows = read(path, page_rows=1, target_rows=target_rows, ids="position")
        assert [(r["id"], r["document"]) for r in rows] == [("0", "a"), ("1", "b"), ("2", "c")]
        assert collection.id_kind == "position"
    place = place_of(path, ids="position")
    assert CONNECTOR.open_source(place, "rows", Selection()).capabilities.keyless
    written(path, '{"id":7}')
    with pytest.raises(UsageError, match="has an id"):
        read(path, ids="position")
