"""``--namespaces split``: a collection for each namespace, nothing lost between them, and back."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.operations.rooms import fill, record, room
from vecport.model.ids import stand_in
from vecport.operations.copy import copy
from vecport.operations.export import export
from vecport.operations.import_ import import_
from vecport.operations.verify import verify

from .support import ROWS, SPACES, add, failing_finish, hashes_of, name_of, names_in, records_of


def test_the_union_of_the_exports_is_the_dump(
    dump: Path, place: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    name = name_of(request)
    done = import_(dump, place, collection=name, namespaces="split")
    assert (done.rows, done.written_rows, done.resumed_rows, done.exit_code) == (24, 24, 0, 0)
    assert list(done.collections) == sorted(SPACES)
    assert {d.rows for d in done.collections.values()} == {ROWS}
    [entry] = [e for e in done.ledger if e["field"] == "namespace"]
    assert (entry["status"], entry["count"]) == ("encoded", 18)
    assert done.verify_command.endswith(f"-c {name} --namespaces split")
    verified = verify(dump, place, collection=name, namespaces="split")
    assert (verified.exit_code, verified.rows, verified.count) == (0, 24, 24)
    folders = []
    for number, to in enumerate(done.collections.values()):
        folders.append(tmp_path / f"back{number}")
        export(place, folders[-1], collection=to.collection)
    assert hashes_of(*folders) == hashes_of(dump)


def test_copy_splits_and_proves_it(place: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    name = name_of(request)
    with room() as source:
        fill(source, records_of(["", "eu"]))
        done = copy(source, place, target_collection=name, dump=tmp_path / "dump", namespaces="split")
    assert (done.exit_code, done.verify.equal, list(done.import_.collections)) == (0, 12, ["", "eu"])
    assert list(done.verify.collections) == ["", "eu"]


@pytest.mark.slow
def test_worker_processes_write_their_part_alone(qdrant: str, tmp_path: Path) -> None:
    """Of three shards, the first holds two namespaces; the larger one needs all three."""
    with room() as source:
        fill(source, [record(f"a{i}", i) for i in range(3)] + [record(f"a{i}", i + 10, "eu") for i in range(8)])
        export(source, tmp_path / "dump", shard_rows=5)
    done = import_(tmp_path / "dump", qdrant, collection="workers", namespaces="split", workers=2)
    assert done.written_rows == 11
    assert verify(tmp_path / "dump", qdrant, collection="workers", namespaces="split").exit_code == 0


def test_stand_ins_are_those_that_an_application_computes(dump: Path, qdrant: str, tmp_path: Path) -> None:
    import_(dump, qdrant, collection="standins", namespaces="split")
    export(qdrant, tmp_path / "raw", collection="standins-eu", ignore_passport=True)
    found = {row[1] for row in hashes_of(tmp_path / "raw")}
    assert found == {stand_in(f"doc{i}", "string", "eu") for i in range(ROWS)}


def test_a_dump_without_namespaces_is_one_collection(tmp_path: Path) -> None:
    for number, rows in enumerate(([record("a"), record("b")], [])):
        with room() as source, room() as place:
            fill(source, rows)
            export(source, tmp_path / f"plain{number}")
            done = import_(tmp_path / f"plain{number}", place, namespaces="split")
            assert (done.written_rows, list(done.collections)) == (len(rows), [""])
            assert names_in(place) == ["docs"]
            assert verify(tmp_path / f"plain{number}", place, namespaces="split").exit_code == 0


def test_records_of_other_namespaces_that_somebody_added_keep_theirs(dump: Path, tmp_path: Path) -> None:
    with room() as place:
        import_(dump, place, namespaces="split")
        add(place, "docs-eu", record("new", 1, "us"), record("newer", 2))
        done = export(place, tmp_path / "back", collection="docs-eu")
        keys = {row[:2] for row in hashes_of(tmp_path / "back")}
        assert keys == {("eu", f"doc{i}") for i in range(ROWS)} | {("us", "new"), ("eu", "newer")}
        assert any("added in the database by somebody else" in n for n in done.notes)
        add(place, "docs-eu", record("doc1", 1, "eu"))
        export(place, tmp_path / "twice", collection="docs-eu")
        # Beside the default namespace, which is "eu" here, one of that very name must not make two records one.
        assert {row[:2] for row in hashes_of(tmp_path / "twice")} == keys | {("eu_", "doc1")}


def test_notes_of_a_collection_have_its_name(dump: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with room() as place:
        failing_finish(monkeypatch, place, "docs-eu", lambda: import_(dump, place, namespaces="split"))
        again = import_(dump, place, namespaces="split")
        assert "docs-eu: going on with an interrupted import: 6 records are safe already" in again.notes
