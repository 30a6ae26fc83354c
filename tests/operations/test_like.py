"""``export --like``: what a collection has forgotten comes from an older dump, or the dump does not fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vecport.errors import NotFound, NotRepresentable
from vecport.model.collection import Collection, Field
from vecport.operations.diff import diff
from vecport.operations.export import export
from vecport.operations.import_ import import_
from vecport.testing.records import Record

from .rooms import collection, fill, record, room

#: Typed columns, an integer key, a vector with a name and a metric: all that Chroma has no place for.
TYPED = replace(
    collection(id_kind="int"), fields=(Field("n", "float8"), Field("city", "varchar(20)")),
    key=(Field("number", "int8", nullable=False),),
    vectors=(replace(collection().vectors[0], name="title"),),
)  # fmt: skip


def typed(id_: str, n: float) -> Record:
    made = record(id_, n, document=f"document {id_}", city="Oslo")
    return replace(made, vectors={"title": made.vectors[""]})


def dump_of(folder: Path, records: Sequence[Record], made: Collection) -> Path:
    with room() as place:
        fill(place, records, made)
        export(place, folder)
    return folder


@pytest.fixture(scope="module")
def dump(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return dump_of(tmp_path_factory.mktemp("like") / "dump", [typed(str(i), i) for i in range(6)], TYPED)


@pytest.fixture
def place(dump: Path, tmp_path: Path) -> str:
    """A Chroma folder that has lost the passport of the import."""
    address = f"chroma:{tmp_path / 'chroma'}"
    import_(dump, address)
    in_chroma(tmp_path, lambda found: found.modify(metadata={"somebody": "else"}))
    return address


def in_chroma(folder: Path, work: Any) -> None:
    import chromadb

    client = chromadb.PersistentClient(str(folder / "chroma"))
    work(client.get_collection("docs", embedding_function=None))
    client.close()


def test_the_older_dump_gives_back_what_was_forgotten(dump: Path, place: str, tmp_path: Path) -> None:
    export(place, tmp_path / "plain")
    plain = diff(dump, tmp_path / "plain")
    assert not plain.identical
    assert any("typed columns became free JSON" in c for c in plain.schema_changes)
    export(place, tmp_path / "like", like=dump)
    assert diff(dump, tmp_path / "like").identical


def test_records_come_from_the_place_and_only_the_facts_from_the_dump(dump: Path, place: str, tmp_path: Path) -> None:
    in_chroma(tmp_path, lambda found: found.delete(ids=["5"]))
    in_chroma(tmp_path, lambda found: found.update(ids=["4"], metadatas=[{"city": "Rome"}]))
    export(place, tmp_path / "like", like=dump)
    found = diff(dump, tmp_path / "like")
    assert (found.schema_changes, found.removed, found.metadata_changed, found.unchanged) == ((), 1, 1, 4)


def test_a_place_with_a_passport_keeps_to_it_and_says_so(dump: Path, tmp_path: Path) -> None:
    import_(dump, f"chroma:{tmp_path / 'chroma'}")
    other = dump_of(tmp_path / "other", [record("a")], collection())
    result = export(f"chroma:{tmp_path / 'chroma'}", tmp_path / "back", like=other)
    assert "the collection has a passport of its own: --like is not used" in result.notes
    assert diff(dump, tmp_path / "back").identical
    export(f"chroma:{tmp_path / 'chroma'}", tmp_path / "again", like=dump, ignore_passport=True)
    assert diff(dump, tmp_path / "again").identical


def test_a_table_that_has_lost_its_comment_is_refused_by_name(tmp_path: Path) -> None:
    import psycopg

    from vecport.testing.engines.postgres import PostgresEngine

    plain = dump_of(tmp_path / "plain", [record(f"r{i}", i, document="text") for i in range(4)], collection())
    with PostgresEngine(fsync=False) as engine:
        import_(plain, engine.address)
        with psycopg.connect(engine.address, autocommit=True) as connection:
            connection.execute("COMMENT ON TABLE docs IS NULL")
        # Without its comment a jsonb column is one of the user's: that is no longer free metadata.
        with pytest.raises(NotRepresentable, match="typed columns, from the dump it would be free JSON"):
            export(engine.address, tmp_path / "docs", like=plain)
    assert not (tmp_path / "docs" / "manifest.json").exists()


WRONG: dict[str, tuple[Collection, str]] = {
    "another dimension": (replace(TYPED, vectors=(replace(TYPED.vectors[0], dim=5),)), "5"),
    "another metric": (replace(TYPED, vectors=(replace(TYPED.vectors[0], metric="cosine"),)), "cosine"),
    "another dtype that the place cannot have": (
        replace(TYPED, vectors=(replace(TYPED.vectors[0], kind="sparse", dim=None),)), "sparse"),
    "no vector": (replace(TYPED, vectors=()), "vector"),
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG)
def test_a_dump_of_something_else_is_refused_before_anything_is_read(wrong: str, place: str, tmp_path: Path) -> None:
    made, word = WRONG[wrong]
    other = dump_of(tmp_path / "other", [], made)
    with pytest.raises(NotRepresentable, match=word) as caught:
        export(place, tmp_path / "out", like=other)
    assert "--like" in caught.value.next
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_ids_that_the_dump_does_not_know_widen_the_schema(dump: Path, place: str, tmp_path: Path) -> None:
    in_chroma(tmp_path, lambda found: found.add(ids=["seven"], embeddings=[[1.0, 2.0, 3.0, 4.0]]))
    done = export(place, tmp_path / "out", like=dump)
    assert done.rows == 7
    assert any("'seven' was added: they are of kind string" in note for note in done.notes)


def test_no_dump_is_no_help(place: str, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        export(place, tmp_path / "out", like=tmp_path / "nothing")
    assert not (tmp_path / "out").exists()


def test_with_other_choices_than_before_the_export_begins_anew_or_is_the_same(
    dump: Path, place: str, tmp_path: Path
) -> None:
    """The facts of the older dump are in the journal: a resumed export needs nothing new from it."""
    first = export(place, tmp_path / "one", like=dump, shard_rows=2)
    again = export(place, tmp_path / "two", like=str(dump), shard_rows=2, workers=2)
    assert first.identity == again.identity
