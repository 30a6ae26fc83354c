"""Text ids that are spelled as a target spells its own stay what they are; ``--ids`` chooses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vecport.connectors.qdrant import QdrantTarget
from vecport.errors import NotRepresentable, UsageError
from vecport.model.ids import stand_in
from vecport.model.mapping import Mapper, plan_mapping
from vecport.model.profile import profile_page
from vecport.operations.diff import diff
from vecport.operations.export import export
from vecport.operations.import_ import import_
from vecport.operations.import_plan import Choices
from vecport.operations.plan import plan
from vecport.operations.verify import verify
from vecport.testing.engines import QdrantEngine
from vecport.testing.records import batch_of

from .rooms import collection, fill, record, room

UUIDS = [f"00000000-0000-4000-8000-00000000000{i}" for i in range(4)]
SAME = {
    "uuids": UUIDS, "integers": ["0", "7", str((1 << 64) - 1)], "both": ["7", *UUIDS],
}  # fmt: skip
HASHED = {
    "one too large": ["7", str(1 << 64)], "one below zero": ["7", "-1"], "one with a zero in front": ["7", "007"],
    "one in upper case": [UUIDS[0], "00000000-0000-4000-8000-00000000000A"], "one of another kind": ["7", "seven"],
    "none canonical": ["a", "b"],
}  # fmt: skip


@pytest.fixture(scope="module")
def engine() -> Iterator[QdrantEngine]:
    with QdrantEngine() as running:
        yield running


def dump_of(folder: Path, ids: list[str], namespaces: tuple[str, ...] = ("",)) -> Path:
    with room() as place:
        fill(place, [record(id_, i, ns) for ns in namespaces for i, id_ in enumerate(ids)])
        export(place, folder)
    return folder


def held(engine: QdrantEngine) -> set[str]:
    """The ids, as the database's own client gives them."""
    from qdrant_client import QdrantClient

    client = QdrantClient(
        "127.0.0.1", port=engine.port, grpc_port=engine.grpc_port, prefer_grpc=True, check_compatibility=False
    )
    points, _ = client.scroll("docs", limit=100)
    client.close()
    return {str(p.id) for p in points}


def status(result: Any) -> str:
    (entry,) = [e for e in result.ledger if e["field"] == "id"]
    return str(entry["status"])


@pytest.mark.parametrize("ids", SAME.values(), ids=SAME)
def test_ids_that_fit_stay_and_come_back_as_text(ids: list[str], engine: QdrantEngine, tmp_path: Path) -> None:
    dump = dump_of(tmp_path / "dump", ids)
    done = import_(dump, engine.address, collection="docs", if_exists="replace")
    assert status(done) == "exact"
    assert held(engine) == set(ids)
    assert verify(dump, engine.address, collection="docs").exit_code == 0
    export(engine.address, tmp_path / "back", collection="docs")
    assert diff(dump, tmp_path / "back").identical
    again = import_(dump, engine.address, collection="docs", if_exists="replace", ids="hash")
    assert status(again) == "encoded"
    assert held(engine) == {stand_in(id_) for id_ in ids}
    assert verify(dump, engine.address, collection="docs").exit_code == 0


@pytest.mark.parametrize("ids", HASHED.values(), ids=HASHED)
def test_one_id_that_does_not_fit_makes_uuids_of_all(ids: list[str], engine: QdrantEngine, tmp_path: Path) -> None:
    dump = dump_of(tmp_path / "dump", ids)
    done = import_(dump, engine.address, collection="docs", if_exists="replace")
    assert status(done) == "encoded"
    assert held(engine) == {stand_in(id_) for id_ in ids}
    with pytest.raises(NotRepresentable, match="--ids keep") as caught:
        import_(dump, engine.address, collection="docs", if_exists="replace", ids="keep")
    assert repr(ids[-1] if ids[-1] != "b" else "a") in caught.value.why
    assert caught.value.safe == "nothing was written"
    assert held(engine) == {stand_in(id_) for id_ in ids}
    refused = plan(str(dump), engine.address, collection="docs", ids="keep")
    assert status(refused) == "rejected"


def test_equal_ids_of_two_namespaces_become_two_records(engine: QdrantEngine, tmp_path: Path) -> None:
    dump = dump_of(tmp_path / "dump", UUIDS, ("a", "b"))
    done = import_(dump, engine.address, collection="docs", if_exists="replace")
    assert status(done) == "encoded"
    assert held(engine) == {stand_in(id_, namespace=ns) for ns in ("a", "b") for id_ in UUIDS}
    with pytest.raises(NotRepresentable, match="stands in several namespaces"):
        import_(dump, engine.address, collection="other", ids="keep")


def test_ids_of_one_namespace_stay(engine: QdrantEngine, tmp_path: Path) -> None:
    dump = dump_of(tmp_path / "dump", UUIDS, ("a",))
    import_(dump, engine.address, collection="docs", if_exists="replace")
    assert held(engine) == set(UUIDS)
    export(engine.address, tmp_path / "back", collection="docs")
    assert diff(dump, tmp_path / "back").identical


@pytest.mark.parametrize("ids", [None, "hash"])
def test_like_needs_no_choice(ids: str | None, engine: QdrantEngine, tmp_path: Path) -> None:
    """Without its passport, a record itself tells whether its id was hashed."""
    from qdrant_client import QdrantClient

    dump = dump_of(tmp_path / "dump", UUIDS)
    import_(dump, engine.address, collection="docs", if_exists="replace", ids=ids)
    client = QdrantClient(
        "127.0.0.1", port=engine.port, grpc_port=engine.grpc_port, prefer_grpc=True, check_compatibility=False
    )
    client.update_collection("docs", metadata={"vecport": None})
    client.close()
    export(engine.address, tmp_path / "back", collection="docs", like=dump)
    assert diff(dump, tmp_path / "back").identical


@pytest.mark.parametrize("ids", ["seven", "-1", str(1 << 64), UUIDS[0]])
def test_a_batch_that_contradicts_the_profile_is_refused_before_it_is_written(ids: str) -> None:
    source = collection()
    told = profile_page(batch_of([record("7")], source), source)
    made, _ = plan_mapping(
        source, told, QdrantTarget.capabilities, name="docs", rules="qdrant", identity="", rows=1, import_id="1" * 32
    )
    assert made.target.id_kind == "int"
    with pytest.raises(NotRepresentable, match="is none of kind int") as caught:
        Mapper(made).apply(batch_of([record("8"), record(ids)], source))
    assert caught.value.safe == "nothing of its batch was written"


def test_statistics_that_are_not_there_are_not_believed() -> None:
    source = collection()
    told = profile_page(batch_of([record("7")], source), source)
    told.rows = 2
    _, ledger = plan_mapping(
        source, told, QdrantTarget.capabilities, name="docs", rules="qdrant", identity="", rows=2, import_id="1" * 32
    )
    assert [e.status for e in ledger.entries if e.field == "id"] == ["encoded"]


def test_choices_that_exclude_each_other_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--ids"):
        Choices(ids="perhaps")
    dump = dump_of(tmp_path / "dump", ["a"], ("x", "y"))
    with pytest.raises(UsageError, match="--ids hash and --namespaces prefix"):
        plan(str(dump), f"chroma:{tmp_path / 'c'}", collection="docs", ids="hash", namespaces="prefix")


def test_an_import_goes_on_with_the_choice_that_it_was_begun_with(
    engine: QdrantEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dump = dump_of(tmp_path / "dump", UUIDS)

    def stop(self: QdrantTarget, passport: Any) -> None:
        raise OSError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(QdrantTarget, "finish", stop)
        with pytest.raises(OSError, match="killed"):
            import_(dump, engine.address, collection="begun", ids="hash")
    with pytest.raises(UsageError, match="begun with other choices") as caught:
        import_(dump, engine.address, collection="begun")
    assert "--ids" in caught.value.next
    import_(dump, engine.address, collection="begun", ids="hash")
    assert verify(dump, engine.address, collection="begun").exit_code == 0


def test_a_dump_made_after_an_application_added_records_is_found_again(engine: QdrantEngine, tmp_path: Path) -> None:
    """Ids of others stand in a collection of hashed ids as they are, and so does a later dump of it find them."""
    from qdrant_client import QdrantClient, models

    import_(
        dump_of(tmp_path / "a", ["doc 0", "doc 1", UUIDS[0]]), engine.address, collection="docs", if_exists="replace"
    )
    client = QdrantClient(
        "127.0.0.1", port=engine.port, grpc_port=engine.grpc_port, prefer_grpc=True, check_compatibility=False
    )
    size = client.get_collection("docs").config.params.vectors
    dim = size.size if isinstance(size, models.VectorParams) else next(iter(size.values())).size
    name = "" if isinstance(size, models.VectorParams) else next(iter(size))
    vector = [1.0] * dim if not name else {name: [1.0] * dim}
    client.upsert("docs", [models.PointStruct(id=i, vector=vector, payload={}) for i in (77, UUIDS[3])], wait=True)
    client.close()
    assert export(engine.address, tmp_path / "b", collection="docs").rows == 5
    found = verify(tmp_path / "b", engine.address, collection="docs")
    assert (found.exit_code, found.equal + found.within_bound, found.missing, found.extra) == (0, 5, 0, 0)


def test_a_refusal_of_keep_advises_what_works(engine: QdrantEngine, tmp_path: Path) -> None:
    dump = dump_of(tmp_path / "a", ["a", "b"])
    with pytest.raises(NotRepresentable) as refused:
        import_(dump, engine.address, collection="advised", ids="keep")
    assert refused.value.next == "leave --ids out: such ids are hashed then"
    assert import_(dump, engine.address, collection="advised").written_rows == 2
