"""A collection that vecport filled lives on: whatever its application did, the export is whole, and says what changed.

Each row of ``CELLS`` is one thing that an application does, with the database's own client. The export gives every
record at the first try, those that nobody touched as they went in; a note says what is otherwise; a comparison and a
plan work too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest

from vecport.connectors import memory
from vecport.dump import open_dump
from vecport.model.collection import Collection, Field
from vecport.operations.diff import diff
from vecport.operations.export import export
from vecport.operations.import_ import import_
from vecport.operations.plan import plan
from vecport.operations.verify import verify
from vecport.testing.engines import ChromaEngine, PostgresEngine, QdrantEngine
from vecport.testing.records import Record

from .rooms import collection, fill, record, room

ROWS = 8
UUID = "00000000-0000-0000-0000-00000000abcd"
#: What no target but Postgres and memory holds as it is, so that an original travels.
HARD = {"big": 1 << 70, "deep": {"a": [1, None]}, "zero": -0.0}


def free(i: int) -> Record:
    return record(str(i), i, document=f"text {i}", k=i, **HARD)


def typed(i: int) -> Record:
    return record(str(i), i, document=f"text {i}", k=i, city=f"city {i}")


def halves(i: int) -> Record:
    return replace(free(i), vectors={"": np.array([i, 0.5, 0.25, 2], np.float32)})


FREE = collection(id_kind="int", metric="dot", nullable=False)
TYPED = replace(FREE, fields=(Field("n", "int4"), Field("k", "int4"), Field("city", "text")))
HALVES = collection(id_kind="int", metric="dot", dtype="bfloat16")
NAMED = replace(FREE, vectors=tuple(replace(FREE.vectors[0], name=name) for name in ("one", "two")))


def named(i: int) -> Record:
    made = free(i)
    return replace(made, vectors={"one": made.vectors[""], "two": made.vectors[""]})


KINDS: dict[str, tuple[Collection, Callable[[int], Record]]] = {
    "free": (FREE, free), "typed": (TYPED, typed), "halves": (HALVES, halves), "named": (NAMED, named),
}  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """One thing that an application did.

    Attributes:
        place: the database.
        name: what was done.
        act: does it.
        note: a text of the note that says so, ``""`` where the schema is as it was.
        kind: of the dump.
        rows: records that there are then.
        touched: ids of records that are no longer those of the dump.
        vectors: whether the vectors of untouched records are those of the dump.
        metadata: the same of their metadata and documents.
        schema: what ``diff`` says of the schema, a part of one sentence.
    """

    place: str
    name: str
    act: Callable[[Any], None]
    note: str = ""
    kind: str = "free"
    rows: int = ROWS
    touched: frozenset[str] = frozenset({"3"})
    vectors: bool = True
    metadata: bool = True
    schema: str = ""


# ---- what the applications do ----


def qdrant(work: Callable[[Any, Any], None]) -> Callable[[Any], None]:
    def act(engine: QdrantEngine) -> None:
        from qdrant_client import QdrantClient, models

        client = QdrantClient(
            "127.0.0.1", port=engine.port, grpc_port=engine.grpc_port, prefer_grpc=True, check_compatibility=False
        )
        work(client, models)
        client.close()

    return act


def point(m: Any, id_: Any, vector: Any = (1.0,) * 4, **payload: Any) -> list[Any]:
    return [m.PointStruct(id=id_, vector=vector if isinstance(vector, dict) else list(vector), payload=payload)]


def chroma(work: Callable[[Any], Any]) -> Callable[[Any], None]:
    def act(where: Any) -> None:
        import chromadb

        if isinstance(where, Path):
            client = chromadb.PersistentClient(str(where))
        else:
            client = chromadb.HttpClient(host="127.0.0.1", port=where.port)
        work(client.get_collection("docs", embedding_function=None))
        if isinstance(where, Path):
            client.close()

    return act


def sql(*statements: str) -> Callable[[Any], None]:
    def act(engine: PostgresEngine) -> None:
        with psycopg.connect(engine.dsn, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    return act


def put(address: str, records: list[Record], made: Collection) -> None:
    """Write as an application does, which leaves the passport alone."""
    store = memory._rooms[address.partition(":")[2]].stores["docs"]
    passport = store.passport
    fill(address, records, made)
    store.passport = passport


def without_document(docs: Any) -> None:
    found = docs.get(ids=["3"], include=["embeddings", "metadatas"])
    docs.delete(ids=["3"])
    docs.add(ids=["3"], embeddings=found["embeddings"], metadatas=found["metadatas"])


def lines(change: Callable[[list[dict[str, Any]]], None]) -> Callable[[Any], None]:
    def act(path: Path) -> None:
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        change(rows)
        path.write_text("".join(json.dumps(r) + "\n" for r in rows))

    return act


def added(vector: Any = None, **more: Any) -> Callable[[list[dict[str, Any]]], None]:
    return lambda rows: rows.append({"id": "new", "vector": vector or [1.0, 2, 3, 4], "metadata": {}, **more})


def changed(change: Callable[[dict[str, Any]], Any]) -> Callable[[list[dict[str, Any]]], None]:
    return lambda rows: change(next(r for r in rows if r["id"] in (3, "3")))


NONE: frozenset[str] = frozenset()
UNINDEX = """DO $$ DECLARE r record; BEGIN
  FOR r IN SELECT indexname FROM pg_indexes WHERE tablename = 'docs' AND indexname NOT LIKE '%pkey' LOOP
    EXECUTE 'DROP INDEX ' || quote_ident(r.indexname);
  END LOOP; END $$"""
CHROMA_ACTS: list[tuple[str, Callable[[Any], Any], dict[str, Any]]] = [
    ("an id of another kind", lambda c: c.add(ids=["seven"], embeddings=[[1.0] * 4]),
     {"note": "'seven' was added", "rows": ROWS + 1, "touched": NONE, "schema": "id kind: int became string"}),
    ("a field added", lambda c: c.update(ids=["3"], metadatas=[{"mine": True}]), {}),
    ("a value edited next to an original", lambda c: c.update(ids=["3"], metadatas=[{"big": "17"}]),
     {"note": "values were edited"}),
    ("a field deleted", lambda c: c.update(ids=["3"], metadatas=[{"k": None}]), {}),
    ("a document removed", without_document, {}),
    ("a vector changed", lambda c: c.update(ids=["3"], embeddings=[[9.0] * 4]), {}),
    ("a record deleted", lambda c: c.delete(ids=["3"]), {"rows": ROWS - 1}),
]  # fmt: skip
CELLS = [
    Cell("qdrant", "a vector deleted", qdrant(lambda c, m: c.delete_vectors("docs", [""], [3])),
         "is gone from records"),
    Cell("qdrant", "a named vector deleted", qdrant(lambda c, m: c.delete_vectors("docs", ["two"], [3])),
         "vector 'two' is gone from records", "named"),
    Cell("qdrant", "a UUID added", qdrant(lambda c, m: c.upsert("docs", point(m, UUID, mine=1))),
         "of kind int|uuid", rows=ROWS + 1, touched=NONE, schema="id kind: int became int|uuid"),
    Cell("qdrant", "a UUID added, and a vector deleted", qdrant(lambda c, m: (
         c.upsert("docs", point(m, UUID, mine=1)), c.delete_vectors("docs", [""], [3]))),
         "of kind int|uuid", rows=ROWS + 1, schema="id kind: int became int|uuid"),
    Cell("qdrant", "a field added", qdrant(lambda c, m: c.set_payload("docs", {"mine": [1, {"a": 2}]}, [3]))),
    Cell("qdrant", "a field added beside typed ones", qdrant(lambda c, m: c.set_payload("docs", {"mine": 1}, [3])),
         "'mine' that is none of the typed ones", "typed", schema="typed columns became free JSON"),
    Cell("qdrant", "a typed value of another type", qdrant(lambda c, m: c.set_payload("docs", {"k": "three"}, [3])),
         "'k' is string, which is no int4", "typed", schema="typed columns became free JSON"),
    Cell("qdrant", "a typed value beyond its type", qdrant(lambda c, m: c.set_payload("docs", {"k": 1 << 40}, [3])),
         "which is no int4", "typed", schema="typed columns became free JSON"),
    Cell("qdrant", "a document removed", qdrant(lambda c, m: c.delete_payload("docs", ["document"], [3]))),
    Cell("qdrant", "a value edited next to an original", qdrant(lambda c, m: c.set_payload("docs", {"big": 17}, [3])),
         "values were edited"),
    Cell("qdrant", "the originals deleted", qdrant(lambda c, m: c.delete_payload("docs", ["_vecport"], [3]))),
    Cell("qdrant", "a value beyond bfloat16", qdrant(lambda c, m: c.upsert("docs", point(m, 3, (0.1, 1, 1, 1)))),
         "no bfloat16: it is taken as float32", "halves", schema="dtype bfloat16 became float32"),
    Cell("qdrant", "a record deleted", qdrant(lambda c, m: c.delete("docs", [3])), rows=ROWS - 1),
    *(Cell(place, name, chroma(act), **more)
      for place in ("chroma folder", "chroma server") for name, act, more in CHROMA_ACTS),
    Cell("postgres", "a vector set to NULL", sql(
        "ALTER TABLE docs ALTER embedding DROP NOT NULL", "UPDATE docs SET embedding = NULL WHERE id = 3"),
        "is gone from records"),
    Cell("postgres", "a column added", sql(
        "ALTER TABLE docs ADD mine text", "UPDATE docs SET mine = 'x' WHERE id = 3"), "'mine' is not of the import"),
    Cell("postgres", "a column added that the metadata has too", sql(
        "ALTER TABLE docs ADD k text", "UPDATE docs SET k = 'x' WHERE id = 3"), "'k' is not of the import"),
    Cell("postgres", "a column added for searching", sql(
        "ALTER TABLE docs ADD words tsvector GENERATED ALWAYS AS (to_tsvector('english', document)) STORED"),
        "it is left out", touched=NONE),
    Cell("postgres", "a vector column added", sql("ALTER TABLE docs ADD other vector(3)"),
         "'other' is new", touched=NONE, vectors=False, schema="vector 'other' is new"),
    Cell("postgres", "a vector column dropped", sql("ALTER TABLE docs DROP embedding"),
         "is gone from the database", touched=NONE, vectors=False, schema="vector '' is gone"),
    Cell("postgres", "a vector column of another type", sql(
        UNINDEX, "ALTER TABLE docs ALTER embedding TYPE halfvec(4)"), touched=NONE),
    Cell("postgres", "a vector column of another dimension", sql(
        "ALTER TABLE docs ALTER embedding TYPE vector(2) USING subvector(embedding, 1, 2)"),
        "where the import made dense of 4", touched=NONE, vectors=False, schema="dim 4 became 2"),
    Cell("postgres", "the id of another type, and an id of another kind", sql(
        "ALTER TABLE docs ALTER id TYPE text", "INSERT INTO docs (id, embedding) VALUES ('seven', '[1,2,3,4]')"),
        "'seven' was added", rows=ROWS + 1, touched=NONE, schema="id kind: int became string"),
    Cell("postgres", "a document set to NULL", sql("UPDATE docs SET document = NULL WHERE id = 3")),
    Cell("postgres", "the document column dropped", sql("ALTER TABLE docs DROP document"),
         "document column 'document' is gone", touched=NONE, metadata=False),
    Cell("postgres", "the metadata column dropped", sql("ALTER TABLE docs DROP metadata"),
         "metadata column 'metadata' is gone", touched=NONE, metadata=False),
    Cell("postgres", "a value edited next to an original", sql(
        "UPDATE docs SET metadata = jsonb_set(metadata, '{zero}', '17') WHERE id = 3"), "values were edited"),
    Cell("postgres", "a record inserted without metadata", sql(
        "INSERT INTO docs (id, embedding) VALUES (99, '[1,2,3,4]')"), rows=ROWS + 1, touched=NONE),
    Cell("postgres", "a typed column added", sql(
        "ALTER TABLE docs ADD mine int", "UPDATE docs SET mine = 1 WHERE id = 3"),
        "'mine' is new", "typed", schema="field 'mine' is new"),
    Cell("postgres", "a typed column dropped", sql("ALTER TABLE docs DROP city"),
         "'city' is gone", "typed", touched=NONE, metadata=False, schema="field 'city' is gone"),
    Cell("postgres", "a typed column of another type", sql("ALTER TABLE docs ALTER k TYPE bigint"),
         "'k' is int8, where the import made int4", "typed", touched=NONE, schema="field 'k': int4 became int8"),
    Cell("postgres", "a vector set to NULL beside typed columns", sql(
        "ALTER TABLE docs ALTER embedding DROP NOT NULL", "UPDATE docs SET embedding = NULL WHERE id = 3"),
        "is gone from records", "typed"),
    Cell("jsonl", "a vector removed", lines(changed(lambda r: r.update(vector=None))), "is gone from records"),
    Cell("jsonl", "an id of another kind", lines(added()), "'new' was added", rows=ROWS + 1, touched=NONE,
         schema="id kind: int became string"),
    Cell("jsonl", "a field added", lines(changed(lambda r: r["metadata"].update(mine=[1])))),
    Cell("jsonl", "a document removed", lines(changed(lambda r: r.pop("document")))),
    Cell("jsonl", "a record in another namespace", lines(added(id=99, namespace="us")), rows=ROWS + 1, touched=NONE),
    Cell("memory", "a vector deleted", lambda at: put(at, [replace(free(3), vectors={})], FREE),
         "is gone from records"),
    Cell("memory", "a field added", lambda at: put(at, [record("3", 3, mine=1)], FREE)),
    Cell("memory", "a field added beside typed ones", lambda at: put(at, [record("3", 3, mine=1)], TYPED),
         kind="typed"),
    Cell("memory", "a record in another namespace", lambda at: put(at, [record("3", 3, "us")], FREE),
         rows=ROWS + 1, touched=NONE),
]  # fmt: skip


# ---- the places ----


@pytest.fixture(scope="module")
def engines() -> Iterator[dict[str, Any]]:
    with QdrantEngine() as q, PostgresEngine(fsync=False) as p, ChromaEngine() as c:
        yield {"qdrant": q, "postgres": p, "chroma server": c}


@pytest.fixture(scope="module")
def dumps(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("dumps")
    for kind, (made, of) in KINDS.items():
        with room() as place:
            fill(place, [of(i) for i in range(ROWS)], made)
            export(place, folder / kind)
    return {kind: folder / kind for kind in KINDS}


@pytest.fixture
def place(cell: Cell, engines: dict[str, Any], tmp_path: Path) -> Iterator[tuple[str, Any]]:
    """The address, and what an application opens."""
    if cell.place in engines:
        yield engines[cell.place].address, engines[cell.place]
    elif cell.place == "memory":
        with room() as address:
            yield address, address
    elif cell.place == "jsonl":
        yield f"jsonl:{tmp_path / 'docs.jsonl'}", tmp_path / "docs.jsonl"
    else:
        yield f"chroma:{tmp_path / 'chroma'}", tmp_path / "chroma"


def records(dump: Path) -> dict[tuple[str, str], tuple[int, int]]:
    """The hashes of vectors, and of metadata and document, by key."""
    found = open_dump(dump)
    out = {}
    for entry in found.manifest.shards:
        for group in found.shard(entry).groups():
            columns = (group.column(name).to_pylist() for name in ("namespace", "id", "_vh", "_mh"))
            out.update({(ns, id_): (v, m) for ns, id_, v, m in zip(*columns, strict=True)})
    return out


@pytest.mark.parametrize("cell", CELLS, ids=lambda c: f"{c.place}: {c.name}")
def test_an_export_is_whole_whatever_the_application_did(
    cell: Cell, place: tuple[str, Any], dumps: dict[str, Path], tmp_path: Path, shown: Callable[[str], None]
) -> None:
    address, application = place
    dump, name = dumps[cell.kind], None if cell.place == "jsonl" else "docs"
    like = dump if cell.place == "jsonl" else None
    import_(dump, address, collection=name, if_exists="replace")
    unchanged = export(address, tmp_path / "unchanged", collection=name, like=like)
    assert diff(dump, tmp_path / "unchanged").identical, unchanged.notes
    cell.act(application)
    done = export(address, tmp_path / "living", collection=name, like=like)
    assert done.rows == cell.rows
    assert done.complete
    assert any(cell.note in note for note in done.notes) or not cell.note, done.notes
    before, now = records(dump), records(tmp_path / "living")
    part = [i for i, kept in enumerate((cell.vectors, cell.metadata)) if kept]
    different = {
        id_ for (ns, id_), h in before.items() if [h[i] for i in part] != [now.get((ns, id_), h)[i] for i in part]
    }
    assert different <= cell.touched
    assert different == cell.touched or cell.rows != ROWS
    found = diff(dump, tmp_path / "living")
    assert any(cell.schema in change for change in found.schema_changes) if cell.schema else not found.schema_changes
    assert plan(address, collection=name).facts["rows"] == cell.rows
    if cell.place != "jsonl":
        checked = verify(dump, address, collection=name)
        assert checked.exit_code == (3 if found.exit_code else 0)
    if cell is CELLS[-1]:
        shown(f"collections that live on: {len(CELLS)} cells of connector times what an application does")
