"""``--on-conflict fail`` into Qdrant: what counts as other content, who else writes meanwhile, what is left of it.

``VECPORT_TEST_QDRANT=qdrant://127.0.0.1:6333`` runs the same tests against a live server.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from qdrant_client import QdrantClient, models
from qdrant_client import grpc as pb

from vecport.connectors.address import Place, parse
from vecport.connectors.contract import TargetPlan
from vecport.connectors.qdrant import QdrantTarget, conflicts
from vecport.connectors.qdrant.backend import Backend, Read
from vecport.errors import AlreadyExists, UsageError
from vecport.model.batch import make_page
from vecport.model.collection import Collection, VectorField
from vecport.operations.export import export
from vecport.operations.import_ import import_
from vecport.testing.records import Sparse, vector_column

from .support import CONNECTOR, MARK, collection, make, page

pytestmark = pytest.mark.usefixtures("place")
COSINE = VectorField("cosine", dim=3, metric="cosine")
HALVES = VectorField("halves", dim=3, metric="cosine", dtype="float16")
BYTES = VectorField("bytes", dim=3, metric="cosine", dtype="uint8")
ROWS = VectorField("rows", kind="multi", dim=2, metric="cosine")
PLAIN = VectorField("plain", dim=3, metric="dot")
MULTI = VectorField("multi", kind="multi", dim=2, metric="dot")
WORDS = VectorField("words", kind="sparse", metric="dot")

F32 = np.float32
#: By field: a value, one that the server stores alike, and one that is another.
VALUES: dict[str, tuple[VectorField, Any, Any, Any]] = {
    "cosine": (COSINE, np.array([1, 2, 3], F32), np.array([2, 4, 6], F32), np.array([1, 2, 3.0001], F32)),
    "halves": (HALVES, np.array([1, 2, 3], F32), np.array([2, 4, 6], F32), np.array([1, 2, 3.25], F32)),
    "bytes": (BYTES, np.array([1, 2, 3], np.uint8), None, np.array([2, 4, 6], np.uint8)),
    "rows": (ROWS, np.array([[1, 2], [3, 4]], F32), np.array([[2, 4], [9, 12]], F32), np.array([[1, 2], [3, 5]], F32)),
    "fewer rows": (ROWS, np.array([[1, 2], [1, 2]], F32), None, np.array([[1, 2]], F32)),
    "plain": (PLAIN, np.array([1, 2, 0.0], F32), None, np.array([1, 2, -0.0], F32)),
    "multi": (MULTI, np.array([[1, 2], [3, 4]], F32), None, np.array([[1, 2], [3, np.nextafter(F32(4), F32(5))]], F32)),
    "words": (WORDS, Sparse((1, 7), (1.0, 2.0)), None, Sparse((1, 8), (1.0, 2.0))),
}  # fmt: skip


def one(c: Collection, vector: Any, metadata: str = '{"a":1}', id_: str = "3") -> pa.RecordBatch:
    columns = {v.name: vector_column([vector], v) for v in c.vectors}
    return make_page(c, ids=[id_], metadata=[metadata], vectors=columns)


def fail(place: Place, c: Collection, *batches: pa.RecordBatch, **plan: Any) -> None:
    """Write row groups under ``fail``, beside what is there."""
    made = TargetPlan(collection=c, rows=1, **{"if_exists": "append", "on_conflict": "fail", **plan})
    with CONNECTOR.open_target(place, c.name) as target:
        target.prepare(made)
        for batch in batches:
            target.write(batch, MARK)


def there(official: QdrantClient, name: str) -> dict[int, Any]:
    """Payloads of what is there."""
    return {int(p.id): p.payload for p in official.scroll(name, limit=1000)[0]}


# ---- what is other content ----


@pytest.mark.parametrize("case", VALUES)
@pytest.mark.parametrize("local", [False, True], ids=["server", "folder"])
def test_a_vector_is_another_if_qdrant_would_give_back_another(
    place: Place, name: str, tmp_path: Path, case: str, local: bool
) -> None:
    field, value, alike, other = VALUES[case]
    if local and field.dtype != "float32":
        pytest.skip("a folder holds float32 alone")
    room = parse(f"qdrant:{tmp_path / 'folder'}") if local else place
    c = Collection(name, "int|uuid", (field,))
    fail(room, c, one(c, value), one(c, value))
    fail(room, c, one(c, value))
    if alike is not None:
        fail(room, c, one(c, alike))
    for changed in (other, None):
        with pytest.raises(AlreadyExists, match=f"record '3' is in collection '{name}' already, with other content"):
            fail(room, c, one(c, changed))
    # Still the first one.
    fail(room, c, one(c, value))


@pytest.mark.parametrize(
    ("metadata", "same"),
    [
        ('{"b":[1,2],"a":1}', True), ('{"a":1,"b":[1,2]}', True), ('{"a":1.0,"b":[1,2]}', False),
        ('{"a":1,"b":[2,1]}', False), ('{"a":1}', False), ('{"a":1,"b":[1,2],"c":null}', False), ("{}", False),
    ],
)  # fmt: skip
def test_metadata_is_compared_by_its_canonical_form(place: Place, name: str, metadata: str, same: bool) -> None:
    c, vector = collection(name, 3), np.array([1, 2, 3], F32)
    fail(place, c, one(c, vector, '{"a":1,"b":[1,2]}'))
    if same:
        fail(place, c, one(c, vector, metadata))
    else:
        with pytest.raises(AlreadyExists):
            fail(place, c, one(c, vector, metadata))


def test_a_record_of_somebody_else_that_lacks_a_vector_is_another(
    place: Place, name: str, official: QdrantClient
) -> None:
    make(official, name, vectors_config={"plain": models.VectorParams(size=3, distance=models.Distance.DOT)})
    official.upsert(name, [models.PointStruct(id=3, vector={}, payload={"a": 1})], wait=True)
    c = Collection(name, "int|uuid", (replace(PLAIN, nullable=False),))
    with pytest.raises(AlreadyExists, match="record '3'"):
        fail(place, c, one(c, np.array([1, 2, 3], F32)))


# ---- what is left ----


def test_a_conflict_leaves_the_row_group_unwritten(place: Place, name: str, official: QdrantClient) -> None:
    c = collection(name)
    fail(place, c, page(c, ["5"], [[1, 2, 3, 4]], [{"theirs": True}]))
    ours = page(c, [str(i) for i in range(9)], np.ones((9, 4)), [{"ours": i} for i in range(9)])
    with pytest.raises(AlreadyExists, match="'5'") as caught:
        fail(place, c, ours)
    assert caught.value.safe == "nothing of its row group was written"
    assert "--on-conflict skip" in caught.value.next
    assert there(official, name) == {5: {"theirs": True}}


def test_records_that_are_there_already_are_not_sent_again(
    place: Place, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    c = collection(name)
    ids = [str(i) for i in range(6)]
    ours = page(c, ids, np.ones((6, 4)))
    fail(place, c, ours.slice(0, 4))
    with CONNECTOR.open_target(place, name) as target:
        assert isinstance(target, QdrantTarget)
        target.prepare(TargetPlan(collection=c, rows=6, if_exists="append", on_conflict="fail"))
        sent: list[list[str]] = []
        upsert = target._backend.upsert

        def watched(name: str, collection: Collection, batch: pa.RecordBatch, rows: int, *, skip: bool) -> None:
            assert skip
            sent.append(batch.column("id").to_pylist())
            upsert(name, collection, batch, rows, skip=skip)

        monkeypatch.setattr(target._backend, "upsert", watched)
        target.write(ours, MARK)
        target.write(ours, MARK)
        assert sent == [["4", "5"]]
        assert target.count() == 6


# ---- who else writes ----


def between(monkeypatch: pytest.MonkeyPatch, backend: Backend, act: Callable[[], None]) -> None:
    """Have somebody else act between the comparison and the write."""
    upsert = backend.upsert

    def late(*args: Any, **kwargs: Any) -> None:
        act()
        upsert(*args, **kwargs)

    monkeypatch.setattr(backend, "upsert", late)


@pytest.mark.parametrize("same", [False, True])
def test_a_record_that_appears_between_comparison_and_write_is_found_and_kept(
    place: Place, name: str, official: QdrantClient, monkeypatch: pytest.MonkeyPatch, same: bool
) -> None:
    c = collection(name)
    ours = page(c, ["1", "2", "3"], np.ones((3, 4)), [{"ours": i} for i in range(3)])
    payload = {"ours": 1} if same else {"theirs": True}
    point = models.PointStruct(id=2, vector=[1, 1, 1, 1], payload=payload)
    with CONNECTOR.open_target(place, name) as target:
        assert isinstance(target, QdrantTarget)
        target.prepare(TargetPlan(collection=c, rows=3, on_conflict="fail"))
        between(monkeypatch, target._backend, lambda: official.upsert(name, [point], wait=True))
        if same:
            target.write(ours, MARK)
        else:
            with pytest.raises(AlreadyExists, match="record '2'") as caught:
                target.write(ours, MARK)
            assert "written meanwhile and is kept" in caught.value.safe
    assert there(official, name)[2] == payload


def test_a_record_that_is_deleted_meanwhile_is_no_conflict(
    place: Place, name: str, official: QdrantClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    c = collection(name)
    with CONNECTOR.open_target(place, name) as target:
        assert isinstance(target, QdrantTarget)
        target.prepare(TargetPlan(collection=c, rows=2, on_conflict="fail"))
        target.write(page(c, ["1"]), MARK)
        get, calls = target._backend.get, [0]

        def gone(read: Read, keys: Any) -> Any:
            calls[0] += 1
            if calls[0] == 2:
                official.delete(name, models.PointIdsList(points=[1]), wait=True)
            return get(read, keys)

        monkeypatch.setattr(target._backend, "get", gone)
        target.write(page(c, ["1"], np.zeros((1, 4))), MARK)
        assert calls[0] == 2


def test_an_import_ends_with_the_id_that_an_application_wrote(
    place: Place, name: str, official: QdrantClient, tmp_path: Path
) -> None:
    other = f"{name}-dump"
    make(official, other)
    official.upload_collection(other, np.ones((40, 2), F32), [{"n": i} for i in range(40)], list(range(40)), wait=True)
    export(place.text, tmp_path / "dump", collection=other, shard_rows=8)
    official.delete_collection(other)
    import_(tmp_path / "dump", place.text, collection=name, on_conflict="fail", workers=1)
    import_(tmp_path / "dump", place.text, collection=name, on_conflict="fail", if_exists="append", workers=1)
    official.set_payload(name, {"n": -1}, [17], wait=True)
    with pytest.raises(AlreadyExists, match="record '17'"):
        import_(tmp_path / "dump", place.text, collection=name, on_conflict="fail", if_exists="append", workers=1)
    assert there(official, name) == {i: {"n": -1 if i == 17 else i} for i in range(40)}


# ---- what cannot be compared ----


def test_a_collection_that_hides_records_is_refused(place: Place, name: str, official: QdrantClient) -> None:
    config = models.OptimizersConfigDiff(prevent_unoptimized=True, indexing_threshold=1000)
    make(official, name, vectors_config=models.VectorParams(size=4, distance=models.Distance.DOT),
         optimizers_config=config)  # fmt: skip
    c = collection(name)
    with pytest.raises(UsageError, match="cannot be compared") as caught:
        fail(place, c, page(c, ["1"]))
    assert "prevent_unoptimized" in caught.value.why
    assert there(official, name) == {}


def test_vectors_that_come_back_as_approximations_are_refused() -> None:
    info = pb.CollectionInfo()
    params = pb.VectorParams(size=4, distance=pb.Dot, datatype=pb.Datatype.Turbo8)
    info.config.params.vectors_config.params.CopyFrom(params)

    class Here:
        datatypes = True

    Here.pb = pb  # type: ignore[attr-defined]
    plan = TargetPlan(collection=collection("c"), rows=1, on_conflict="fail")
    with pytest.raises(UsageError) as caught:
        conflicts.check_readable(plan, info, Here())  # type: ignore[arg-type]
    assert caught.value.why == "vector '' comes back as an approximation"
