"""Namespaces in targets that have none: a field or a prefix of the id, and back; never two records in one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from vecport.errors import NotRepresentable, UsageError
from vecport.operations.diff import diff
from vecport.operations.export import export
from vecport.operations.import_ import import_
from vecport.operations.verify import verify
from vecport.testing.records import Record

from .rooms import collection, fill, record, room

SPACES = ["", "eu", "us:west", "é"]


def dump_of(folder: Path, records: Sequence[Record], id_kind: str = "string") -> Path:
    with room() as place:
        fill(place, records, collection(id_kind=id_kind))
        export(place, folder)
    return folder


@pytest.fixture(scope="module")
def same_ids(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every id stands in every namespace."""
    records = [record(f"doc{i}", i, ns, place=ns) for i in range(5) for ns in SPACES]
    return dump_of(tmp_path_factory.mktemp("same") / "dump", records)


@pytest.fixture(scope="module")
def own_ids(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """No id stands in two namespaces."""
    records = [record(f"{j}-{i}", i, ns) for i in range(5) for j, ns in enumerate(SPACES)]
    return dump_of(tmp_path_factory.mktemp("own") / "dump", records)


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    from vecport.testing.engines.postgres import PostgresEngine

    with PostgresEngine(fsync=False) as engine:
        yield engine.address


@pytest.fixture(params=["chroma", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "chroma":
        return f"chroma:{tmp_path / 'chroma'}"
    return str(request.getfixturevalue("postgres"))


def name_of(request: pytest.FixtureRequest) -> str:
    return "".join(c if c.isalnum() else "_" for c in request.node.name)[-40:].strip("_").lower()


@pytest.mark.parametrize("mode", ["field", "prefix"])
def test_there_and_back(own_ids: Path, place: str, mode: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    name = name_of(request)
    done = import_(own_ids, place, collection=name, namespaces=mode)
    [entry] = [e for e in done.ledger if e["field"] == "namespace"]
    assert (entry["status"], entry["count"]) == ("encoded", 20)
    assert verify(own_ids, place, collection=name).exit_code == 0
    export(place, tmp_path / "back", collection=name)
    assert diff(own_ids, tmp_path / "back").identical


def test_a_prefix_keeps_equal_ids_apart(
    same_ids: Path, place: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    name = name_of(request)
    import_(same_ids, place, collection=name, namespaces="prefix")
    assert verify(same_ids, place, collection=name).exit_code == 0
    export(place, tmp_path / "raw", collection=name, ignore_passport=True)
    import duckdb

    ids = duckdb.sql(f"SELECT id FROM read_parquet('{tmp_path}/raw/data/*.parquet') ORDER BY id").fetchall()
    # A colon stands in the name of a namespace, so another separator is taken.
    assert [i for (i,) in ids if i.endswith("doc1")] == ["/doc1", "eu/doc1", "us:west/doc1", "é/doc1"]
    export(place, tmp_path / "back", collection=name)
    assert diff(same_ids, tmp_path / "back").identical


@pytest.mark.parametrize("mode", [None, "field"])
def test_equal_ids_are_refused_where_they_would_be_one_record(
    same_ids: Path, place: str, mode: str | None, request: pytest.FixtureRequest
) -> None:
    name = name_of(request)
    with pytest.raises(NotRepresentable, match="stands in several namespaces") as caught:
        import_(same_ids, place, collection=name, namespaces=mode)
    assert "--namespaces prefix" in caught.value.next
    assert import_(same_ids, place, collection=name, namespaces="prefix").written_rows == 20


def test_refuse_refuses_before_anything_is_there(own_ids: Path, tmp_path: Path) -> None:
    with pytest.raises(NotRepresentable, match="namespace: 15 records rejected"):
        import_(own_ids, f"chroma:{tmp_path / 'c'}", namespaces="refuse")
    assert not (tmp_path / "c").exists()
    with room() as memory, pytest.raises(NotRepresentable, match="namespace"):
        import_(own_ids, memory, namespaces="refuse")


def test_a_dump_without_namespaces_goes_in_whatever_was_chosen(tmp_path: Path) -> None:
    dump = dump_of(tmp_path / "dump", [record("a"), record("b")])
    for mode in ("field", "prefix", "refuse"):
        import_(dump, f"chroma:{tmp_path / 'c'}", collection=f"plain-{mode}", namespaces=mode)
        export(f"chroma:{tmp_path / 'c'}", tmp_path / mode, collection=f"plain-{mode}", ignore_passport=True)
        assert diff(dump, tmp_path / mode).unchanged == 2


@pytest.mark.parametrize("mode", ["field", "prefix"])
def test_a_target_with_namespaces_keeps_them_and_says_so(own_ids: Path, mode: str) -> None:
    with room() as memory, pytest.raises(UsageError, match="has namespaces of its own"):
        import_(own_ids, memory, namespaces=mode)


def test_integer_ids_come_back_as_integers(tmp_path: Path) -> None:
    dump = dump_of(tmp_path / "dump", [record(str(i), i, ns) for i in range(3) for ns in ("a", "b")], "int")
    place = f"chroma:{tmp_path / 'c'}"
    import_(dump, place, namespaces="prefix")
    assert verify(dump, place).exit_code == 0
    export(place, tmp_path / "back")
    assert diff(dump, tmp_path / "back").identical


def test_a_record_that_somebody_added_keeps_its_id(tmp_path: Path) -> None:
    import chromadb

    dump = dump_of(tmp_path / "dump", [record("x", 1, "eu"), record("x", 2, "us")])
    import_(dump, f"chroma:{tmp_path / 'c'}", namespaces="prefix")
    client = chromadb.PersistentClient(str(tmp_path / "c"))
    client.get_collection("docs", embedding_function=None).add(ids=["plain"], embeddings=[[1.0, 1.0, 1.0, 1.0]])
    client.close()
    result = export(f"chroma:{tmp_path / 'c'}", tmp_path / "back")
    found = diff(dump, tmp_path / "back")
    assert (found.added, found.removed, found.unchanged) == (1, 0, 2)
    assert [(f.kind, f.id) for f in found.examples] == [("extra", "plain")]
    assert any("added in the database by somebody else" in n for n in result.notes)


@pytest.mark.parametrize("first", ["field", "prefix"])
def test_an_interrupted_import_goes_on_with_the_same_mapping_only(
    own_ids: Path, tmp_path: Path, first: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vecport.connectors.chroma import ChromaFolderTarget

    place = f"chroma:{tmp_path / 'c'}"

    def broken(self: object, batch: object, mark: object) -> None:
        raise AssertionError("the power is gone")

    with monkeypatch.context() as patch:
        patch.setattr(ChromaFolderTarget, "write", broken)
        with pytest.raises(AssertionError, match="power"):
            import_(own_ids, place, namespaces=first)
    other = "prefix" if first == "field" else "field"
    with pytest.raises(UsageError, match="was begun with other choices") as caught:
        import_(own_ids, place, namespaces=other)
    assert "--if-exists replace" in caught.value.next
    if first == "field":
        assert import_(own_ids, place, namespaces=first).written_rows == 20
    else:
        assert import_(own_ids, place, namespaces=other, if_exists="replace").written_rows == 20
    assert verify(own_ids, place).exit_code == 0


def test_an_id_too_long_with_its_namespace_is_refused(tmp_path: Path, postgres: str) -> None:
    dump = dump_of(tmp_path / "dump", [record("x" * 2_590, 1, "eu"), record("y", 2, "n" * 50)])
    with pytest.raises(UsageError, match="cannot hold such ids"):
        import_(dump, postgres, collection="long_ids", namespaces="prefix")
