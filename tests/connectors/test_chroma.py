"""The Chroma connector against the real engine: folders in this process, and a server as `chroma run` starts it."""

from __future__ import annotations

import contextlib
import gc
import http.server
import json
import math
import os
import re
import shutil
import sqlite3
import struct
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from vecport.connectors import address
from vecport.connectors.chroma import (
    ChromaConnector,
    ChromaFolderSource,
    ChromaServerSource,
    describe,
    folder,
    source,
    target,
    values,
)
from vecport.connectors.contract import Mark, Selection, Source, Target, TargetPlan
from vecport.connectors.secrets import Secret
from vecport.errors import (
    AlreadyExists,
    AuthenticationFailed,
    Incomplete,
    IntegrityError,
    Locked,
    NotFound,
    NotRepresentable,
    OutOfResources,
    Unavailable,
    UsageError,
)
from vecport.model import canonical
from vecport.model.batch import dense_array, dense_matrix, make_page
from vecport.model.capabilities import VALUE_KINDS
from vecport.model.collection import Collection, VectorField, collection_to_json
from vecport.model.profile import value_kind
from vecport.testing.engines.chroma import ChromaEngine

chromadb = pytest.importorskip("chromadb")

CONNECTOR = ChromaConnector()
EVERYTHING = Selection()
MARK = Mark("part-0-0", 0)


# -- helpers ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server() -> Iterator[ChromaEngine]:
    with ChromaEngine() as engine:
        yield engine


@pytest.fixture
def raw_server(server: ChromaEngine) -> Iterator[Any]:
    client = chromadb.HttpClient("127.0.0.1", server.port)
    yield client
    client.close()


def place_of(text: str | Path, **options: str | Secret) -> address.Place:
    text = str(text)
    return address.with_options(address.parse(text if ":" in text else f"chroma:{text}"), options)


@contextlib.contextmanager
def raw(path: Path) -> Iterator[Any]:
    """A client of the tests' own; closed, so that nothing of this process has the folder open."""
    client = chromadb.PersistentClient(path)
    try:
        yield client
    finally:
        client.close()


def collection_of(dim: int = 4, metric: str = "l2", name: str = "docs") -> Collection:
    return Collection(name, vectors=(VectorField("", dim=dim, metric=metric, nullable=False),))


def batch_of(
    collection: Collection,
    ids: list[str],
    matrix: np.ndarray[Any, Any] | None = None,
    metadata: list[Mapping[str, Any]] | None = None,
    documents: list[str | None] | None = None,
) -> pa.RecordBatch:
    vector = collection.vectors[0]
    if matrix is None:
        matrix = np.arange(len(ids) * vector.dim, dtype=np.float32).reshape(len(ids), vector.dim) + 1
    return make_page(
        collection,
        ids=ids,
        metadata=None if metadata is None else [canonical.dumps(dict(m)) for m in metadata],
        documents=documents,
        vectors={vector.name: dense_array(matrix, vector)},
    )


def open_target(text: str | Path, name: str = "docs", **options: str | Secret) -> Target:
    return CONNECTOR.open_target(place_of(text, **options), name)


def open_source(text: str | Path, name: str = "docs", selection: Selection = EVERYTHING, **options: Any) -> Source:
    return CONNECTOR.open_source(place_of(text, **options), name, selection)


def load(text: str | Path, batch: pa.RecordBatch, collection: Collection, **plan: Any) -> None:
    with open_target(text, collection.name) as target:
        target.prepare(TargetPlan(collection, batch.num_rows, **plan))
        target.write(batch, MARK)
        target.finish(plan.get("passport", {}))


def read(session: Source, page_rows: int = 700, target_rows: int = 2_000) -> tuple[pa.Table, list[tuple[str, str]]]:
    """Everything that a scan gives, and what it names as missing."""
    pages, missing = [], []
    token = session.snapshot()
    for partition in session.partitions(target_rows, token):
        json.dumps(partition)
        session.attach(token)
        for page in session.scan(partition, None, page_rows):
            json.dumps(page.cursor)
            pages.append(page.batch)
            missing += page.missing
    return pa.Table.from_batches(pages) if pages else pa.table({"id": []}), missing


def by_id(table: pa.Table) -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in table.to_pylist()}


def fingerprint(path: Path) -> dict[str, tuple[int, int, int, bytes]]:
    """Names, modes, sizes, times and contents of everything below a folder."""
    out = {}
    for item in [path, *sorted(path.rglob("*"))]:
        s = item.stat()
        out[str(item)] = (s.st_mode, s.st_size, s.st_mtime_ns, item.read_bytes() if item.is_file() else b"")
    return out


def bits(value: float) -> bytes:
    return struct.pack("<d", value)


def same(a: Any, b: Any) -> bool:
    """Equal in value and type, floats bit by bit."""
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        return bits(a) == bits(b)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


@pytest.fixture(autouse=True)
def own_temporary_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copies of tests that run at the same time are kept apart."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("tmp")))


def temporary_copies() -> set[Path]:
    return set(Path(tempfile.gettempdir()).glob(folder.PREFIX + "*"))


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a collection of 1,500 records, some of them only in the queue, and another collection."""
    path = tmp_path_factory.mktemp("template") / "db"
    matrix = np.random.default_rng(1).standard_normal((1500, 8)).astype(np.float32)
    with raw(path) as client:
        docs = client.create_collection("docs", embedding_function=None, metadata={"owner": "me"})
        for part in (slice(0, 1100), slice(1100, 1500)):
            numbers = range(1500)[part]
            docs.add(
                ids=[f"id{i}" for i in numbers],
                embeddings=matrix[part],
                metadatas=[{"n": i} for i in numbers],
                documents=[f"text {i}" for i in numbers],
            )
        other = client.create_collection("other", embedding_function=None, configuration={"hnsw": {"space": "ip"}})
        other.add(ids=["a"], embeddings=[[1.0, 2.0]])
    return path


@pytest.fixture
def filled(template: Path, tmp_path: Path) -> Path:
    """A copy of the template of the test's own."""
    return Path(shutil.copytree(template, tmp_path / "db"))


# -- reading a folder ------------------------------------------------------------------------------------------


def test_reading_a_folder_changes_nothing(filled: Path) -> None:
    before, copies = fingerprint(filled), temporary_copies()
    with open_source(filled) as session:
        found = session.describe()
        table, missing = read(session)
        assert session.fetch([("", "id7")]).column("document").to_pylist() == ["text 7"]
        assert sum(b.num_rows for b in session.keys()) == 1500
    assert [c.name for c in CONNECTOR.collections(place_of(filled))] == ["docs", "other"]
    assert CONNECTOR.open_target(place_of(filled), "docs").describe() is not None
    assert fingerprint(filled) == before
    assert temporary_copies() == copies
    assert found.count == table.num_rows == 1500
    assert not missing
    assert by_id(table)["id9"]["metadata"] == '{"n":9}'
    (vector,) = found.collection.vectors
    assert (vector.name, vector.dim, vector.metric, vector.fidelity) == ("", 8, "l2", "exact")
    assert found.collection.native["metadata"] == {"owner": "me"}
    assert found.collection.fields is None


def test_a_folder_that_may_not_be_written_is_a_source(filled: Path) -> None:
    for item in [filled, *filled.rglob("*")]:
        item.chmod(0o555 if item.is_dir() else 0o444)
    before = fingerprint(filled)
    with open_source(filled) as session:
        assert read(session)[0].num_rows == 1500
    assert fingerprint(filled) == before
    for item in [filled, *filled.rglob("*")]:
        item.chmod(0o755 if item.is_dir() else 0o644)


def test_only_the_index_of_the_collection_is_copied(filled: Path) -> None:
    folders = [p for p in filled.iterdir() if p.is_dir()]
    with open_source(filled) as session:
        assert isinstance(session, ChromaFolderSource)
        token = session.snapshot()
        copied = [p for p in Path(token["copy"]).iterdir() if p.is_dir()]
    assert (len(folders), len(copied)) == (2, 1)


def test_a_mistyped_path_creates_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("nowhere", "nowhere/deep", "empty"):
        with pytest.raises(NotFound) as caught, open_source(tmp_path / name) as session:
            session.describe()
        assert "no" in caught.value.what
        assert caught.value.safe
        with pytest.raises(NotFound):
            CONNECTOR.collections(place_of(tmp_path / name))
        assert CONNECTOR.open_target(place_of(tmp_path / name), "docs").describe() is None
    assert [p.name for p in tmp_path.iterdir()] == ["empty"]
    assert not list((tmp_path / "empty").iterdir())


def test_other_wrong_paths_say_what_is_wrong(filled: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="name the folder, not the file"), open_source(filled / "chroma.sqlite3") as s:
        s.describe()
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "chroma-collections.parquet").touch()
    with pytest.raises(NotFound, match=r"Chroma 0\.3"), open_source(tmp_path / "old") as s:
        s.describe()
    with pytest.raises(UsageError, match="names no place"):
        open_source("chroma:")
    with pytest.raises(NotFound, match="'docs', 'other'"), open_source(filled, "nope") as s:
        s.describe()
    with pytest.raises(NotFound, match="Tenant"), open_source(filled, tenant="nope") as s:
        s.describe()
    with pytest.raises(NotFound, match="Database"), open_source(filled, database="nope") as s:
        s.describe()
    assert CONNECTOR.recognises(str(filled))
    assert not CONNECTOR.recognises(str(tmp_path))


def test_a_snapshot_outlives_a_killed_process(filled: Path) -> None:
    killed = subprocess.run(
        [
            sys.executable, "-c",
            "import json, os, sys\n"
            "from vecport.connectors import address\n"
            "from vecport.connectors.contract import Selection\n"
            "from vecport.connectors.chroma import ChromaConnector\n"
            "s = ChromaConnector().open_source(address.parse('chroma:' + sys.argv[1]), 'docs', Selection())\n"
            "t = s.snapshot()\n"
            "print(json.dumps([t, s.partitions(600, t)]), flush=True)\n"
            "os.kill(os.getpid(), 9)",
            str(filled),
        ],
        capture_output=True, check=False, text=True,
    )  # fmt: skip
    token, partitions = json.loads(killed.stdout)
    with raw(filled) as client:
        client.get_collection("docs", embedding_function=None).delete(ids=["id0", "id1499"])
    with open_source(filled) as session:
        assert session.alive(token)
        rows = [page.batch.num_rows for p in partitions for page in session.scan(p, None, 500)]
        assert sum(rows) == 1500
        (last,) = list(session.scan(partitions[0], 400, 500))
        assert last.batch.column("id").to_pylist() == [f"id{i}" for i in range(400, 600)]
    assert not Path(token["copy"]).exists()
    with open_source(filled) as session:
        assert not session.alive(token)
        with pytest.raises(Unavailable, match="is gone"):
            session.attach(token)


def test_a_damaged_snapshot_is_not_alive(filled: Path) -> None:
    with open_source(filled) as maker:
        token = maker.snapshot()
        with open_source(filled) as other:
            assert other.alive({**token, "id": "x"}) is False
            assert other.alive({**token, "rows": 7}) is False
            assert other.alive({}) is False
            assert other.alive(token) is True
        assert Path(token["copy"]).exists()
        next(Path(token["copy"]).glob("*/data_level0.bin")).unlink()
        with open_source(filled) as other:
            assert other.alive(token) is False


def test_pages_do_not_depend_on_their_size(filled: Path) -> None:
    with open_source(filled) as session:
        tables = [read(session, page_rows=n)[0].combine_chunks() for n in (7, 500, 100_000)]
        assert tables[0].equals(tables[1])
        assert tables[1].equals(tables[2])


def test_where_selects_and_counts(filled: Path, server: ChromaEngine, raw_server: Any) -> None:
    selection = Selection(where='{"n": {"$gte": 1400}}')
    with open_source(filled, selection=selection) as session:
        assert session.describe().count == session.count() == 100
        assert read(session)[0].num_rows == 100
        assert session.fetch([("", "id1"), ("", "id1450")]).column("id").to_pylist() == ["id1450"]
    for where in ("{", "[]", "{}", '{"a": 1, "b": 2}', '{"a": {"$gt": "x"}}', '{"$foo": 1}'):
        with pytest.raises(UsageError, match="--where"), open_source(filled, selection=Selection(where=where)) as s:
            s.count()
    with pytest.raises(UsageError, match="no namespaces"):
        open_source(filled, selection=Selection(namespaces=("a",)))
    raw_server.create_collection("where-live", embedding_function=None).add(
        ids=["a", "b"], embeddings=[[1.0], [2.0]], metadatas=[{"n": 1}, {"n": 2}]
    )
    with open_source(server.address, "where-live", Selection(where='{"n": 2}')) as session:
        assert session.count() == 1
        assert read(session)[0].column("id").to_pylist() == ["b"]


def test_damage_is_an_integrity_error(filled: Path) -> None:
    with (filled / "chroma.sqlite3").open("r+b") as file:
        file.seek(20_000)
        file.write(os.urandom(60_000))
    before = fingerprint(filled)
    with pytest.raises(IntegrityError, match="damaged"), open_source(filled) as session:
        session.describe()
    assert fingerprint(filled) == before


def test_a_full_temporary_folder(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copies = temporary_copies()
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(1, 1, 0))
    with pytest.raises(OutOfResources, match="TMPDIR"), open_source(filled) as session:
        session.describe()
    assert temporary_copies() == copies


def test_an_unfinished_transaction_is_rolled_back_in_the_copy(tmp_path: Path) -> None:
    path = tmp_path / "db"
    with raw(path) as client:
        client.create_collection("docs", embedding_function=None).add(ids=["a"], embeddings=[[1.0, 2.0]])
    # A process that dies inside a transaction that has already written to the file.
    crash = (
        "import os, sqlite3, sys\n"
        "d = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "d.execute('PRAGMA cache_size=1'); d.execute('BEGIN')\n"
        "d.execute('CREATE TABLE junk (x)')\n"
        "d.executemany('INSERT INTO junk VALUES (?)', [(os.urandom(3000),) for _ in range(400)])\n"
        "d.execute('DELETE FROM embeddings_queue')\n"
        "os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", crash, str(path / "chroma.sqlite3")], check=False)
    assert (path / "chroma.sqlite3-journal").stat().st_size
    before = fingerprint(path)
    with open_source(path) as session:
        assert read(session)[0].column("id").to_pylist() == ["a"]
    assert fingerprint(path) == before


def test_a_folder_in_wal_mode(filled: Path) -> None:
    holder = sqlite3.connect(filled / "chroma.sqlite3")
    holder.execute("PRAGMA journal_mode=WAL")
    holder.execute("INSERT INTO acquire_write (lock_status) VALUES (1)")
    holder.commit()
    assert (filled / "chroma.sqlite3-wal").stat().st_size
    before = fingerprint(filled)
    with open_source(filled) as session:
        assert read(session)[0].num_rows == 1500
    assert fingerprint(filled) == before
    holder.close()


# -- a folder that is written to while it is copied ------------------------------------------------------------

WRITER = """
import sys, time
import chromadb, numpy as np
client = chromadb.PersistentClient(sys.argv[1])
docs = client.get_or_create_collection(
    "docs", embedding_function=None, configuration={"hnsw": {"sync_threshold": 60}})
log = open(sys.argv[2], "a", buffering=1)
k = 0
while True:
    k += 1
    log.write(f"begin {k}\\n")
    ids = [f"{(k + 2) // 3}-{j}" for j in range(20)]
    if k % 3 == 1:
        docs.add(ids=ids, embeddings=np.full((20, 4), k), metadatas=[{"v": k}] * 20)
    elif k % 3 == 2:
        docs.upsert(ids=ids[:15], embeddings=np.full((15, 4), k), metadatas=[{"v": k}] * 15)
    else:
        docs.delete(ids=ids[10:])
    log.write(f"end {k}\\n")
"""


def state_after(operations: int) -> dict[str, int]:
    """What the writer's collection holds after some operations: the operation that wrote each record."""
    state: dict[str, int] = {}
    for k in range(1, operations + 1):
        ids = [f"{(k + 2) // 3}-{j}" for j in range(20)]
        if k % 3 == 1:
            state |= dict.fromkeys(ids, k)
        elif k % 3 == 2:
            state |= dict.fromkeys(ids[:15], k)
        else:
            for id in ids[10:]:
                del state[id]
    return state


@contextlib.contextmanager
def writer(path: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    log.touch()
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(path), str(log)])
    try:
        deadline = time.monotonic() + 60
        while "end 12" not in log.read_text() and time.monotonic() < deadline:
            time.sleep(0.02)
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(("free_attempts", "rounds"), [(2, 20), (0, 10)])
def test_a_copy_of_a_busy_folder_is_one_point_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free_attempts: int, rounds: int
) -> None:
    monkeypatch.setattr(folder, "_FREE_ATTEMPTS", free_attempts)
    path, log, held = tmp_path / "db", tmp_path / "log", 0
    with writer(path, log) as process:
        for _ in range(rounds):
            first = int(re.findall(r"end (\d+)\n", log.read_text())[-1])
            with open_source(path) as session:
                table, missing = read(session)
                held += any("writes waited" in note for note in session.describe().notes)
            last = int(re.findall(r"begin (\d+)\n", log.read_text())[-1])
            found = {id: json.loads(row["metadata"])["v"] for id, row in by_id(table).items()}
            vectors = {id: row["vector"] for id, row in by_id(table).items()}
            assert vectors == {id: [float(v)] * 4 for id, v in found.items()}
            assert not missing
            assert any(found == state_after(k) for k in range(first, last + 1)), (first, last)
        assert process.poll() is None
    assert held == rounds or free_attempts


def test_a_folder_that_never_rests_is_refused(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copies = temporary_copies()
    monkeypatch.setattr(folder, "_PAUSE", 0.0)
    monkeypatch.setattr(folder, "_digest", lambda path: 0)
    with pytest.raises(Unavailable, match="stop the application, or run a Chroma server"), open_source(filled) as s:
        s.describe()
    assert temporary_copies() == copies


def test_an_index_save_under_way_is_waited_for(filled: Path) -> None:
    now = time.time_ns()
    stamps = folder._stamps(filled, side_files=True)
    assert not folder._under_way(stamps, now)
    (saved,) = [n for n in stamps if n.endswith("index_metadata.pickle")]
    young = {**stamps, saved: replace(stamps[saved], modified=now)}
    assert folder._under_way(young, now)
    assert not folder._under_way(young, now + 10_000_000_000)
    torn = {**stamps, saved.replace("index_metadata.pickle", "data_level0.bin"): replace(stamps[saved], modified=now)}
    assert folder._under_way(torn, now)


def test_a_folder_open_in_this_process_is_refused(filled: Path, tmp_path: Path) -> None:
    with raw(filled):
        (tmp_path / "link").symlink_to(filled)
        for path in (filled, tmp_path / "link"):
            with pytest.raises(Locked, match="open in this process"), open_source(path) as session:
                session.describe()
            with pytest.raises(Locked, match="open in this process"), open_target(path) as target:
                target.prepare(TargetPlan(collection_of(8), 1, if_exists="append"))
    with open_source(filled) as session:
        assert session.count() == 1500


# -- round trips -----------------------------------------------------------------------------------------------


@pytest.fixture(params=["folder", "server"])
def anywhere(request: pytest.FixtureRequest, tmp_path: Path, server: ChromaEngine) -> str:
    return f"chroma:{tmp_path / 'target'}" if request.param == "folder" else server.address


def unique(request: pytest.FixtureRequest) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", request.node.name)[:60] + "-x"


@pytest.mark.parametrize("metric", ["l2", "dot", "cosine"])
def test_round_trip_of_3000_vectors(anywhere: str, metric: str, request: pytest.FixtureRequest) -> None:
    collection = collection_of(48, metric, unique(request))
    rng = np.random.default_rng(7)
    matrix = (rng.standard_normal((3000, 48)) * 10.0 ** rng.integers(-4, 5, (3000, 1))).astype(np.float32)
    matrix[0] = 0.0
    matrix[1, :3] = [-0.0, 1e-45, 3e-39]
    ids = [f"n{i}" for i in range(3000)]
    metadata: list[Mapping[str, Any]] = [{} if i % 5 == 0 else {"i": i, "s": "é"} for i in range(3000)]
    documents = [None if i % 3 == 0 else "" if i % 3 == 1 else f"doc {i}" for i in range(3000)]
    load(anywhere, batch_of(collection, ids, matrix, metadata, documents), collection)
    with open_source(anywhere, collection.name) as session:
        found = session.describe()
        table, missing = read(session)
    assert found.count == 3000
    assert not missing
    rows = by_id(table)
    assert [json.loads(rows[id]["metadata"]) for id in ids] == metadata
    assert [rows[id]["document"] for id in ids] == documents
    back = np.array([rows[id]["vector"] for id in ids], np.float32)
    (vector,) = found.collection.vectors
    assert vector.metric == metric
    if metric != "cosine":
        assert back.tobytes() == matrix.tobytes()
        assert (vector.fidelity, vector.bound) == ("exact", None)
        return
    largest = np.abs(matrix).max(axis=1)
    error = np.abs(back.astype(np.float64) - matrix).max(axis=1)
    assert vector.fidelity == "bounded"
    assert vector.bound is not None
    assert (error <= vector.bound.relative * largest).all()
    assert (error > 0).any(), "if this holds no more, the bound can go"


SAMPLES: dict[str, list[Any]] = {
    "null": [None],
    "boolean": [True, False],
    "integer": [0, 1, -1, 2**53, -(2**53)],
    "integer64": [2**53 + 1, 2**63 - 1, -(2**63), 1234567890123456789],
    "integer64u": [2**63, 2**64 - 1],
    "integer_big": [2**64, -(2**63) - 1, 10**30],
    "number": [0.9127555772777217, 0.17565562060255901, -241.55512197566662, 1e-300],
    "number_exponent": [1.0030137736173445e18, 5e44, 1.7976931348623157e308],
    "number_negative_zero": [-0.0],
    "nonfinite": [math.nan, math.inf, -math.inf],
    "string": ["", "x", "é\U0001f600", "\\ \" ' \n\t\x01\x7f", "\ufffe", "x" * 200_000, "null", "\u2028"],
    "string_nul": ["\0", "a\0b"],
    "list_empty": [[]],
    "list_string": [["b", "a", "a"], [""], ["é"]],
    "list_integer": [[1, 2, -3], [2**63 - 1, -(2**63)], [5, 5]],
    "list_number": [[0.9127555772777217], [-0.0], [1e-300]],
    "list_boolean": [[True], [False, True, True]],
    "list_mixed": [[1, 2.5], ["a", 1], [True, 1], [1, True], ["a", None], [[1]], [2**63], [{}]],
    "object": [{}, {"a": 1}],
}
#: Kinds whose values cannot reach a client as plain JSON: they are tags in the dump.
TAGGED = {"decimal", "bytes", "surrogates"}
FINE_NUMBERS = [0.0, 1.0, 0.1, -12.5, 123456.789, 1e15, 1e16, 1e22, 0.1234567890123, 1e-5, 1e-22, 100000.0, 2.0**53]


def test_samples_cover_every_kind() -> None:
    assert set(SAMPLES) | TAGGED == set(VALUE_KINDS)
    for kind, samples in SAMPLES.items():
        for value in samples:
            spelled = json.loads(canonical.dumps(value))
            assert value_kind(spelled) == kind, value


def test_exact_kinds_come_back_exactly(anywhere: str, request: pytest.FixtureRequest) -> None:
    rules = CONNECTOR.open_target(place_of(anywhere), "x").capabilities.metadata
    written = [v for kind in rules.exact for v in SAMPLES[kind] if values.value_survives(v)] + FINE_NUMBERS
    collection = collection_of(2, name=unique(request))
    ids = [f"v{i}" for i in range(len(written))]
    load(anywhere, batch_of(collection, ids, metadata=[{"v": v, "other": 1} for v in written]), collection)
    with open_source(anywhere, collection.name) as session:
        rows = by_id(read(session)[0])
    for id, value in zip(ids, written, strict=True):
        assert same(canonical.loads(rows[id]["metadata"])["v"], value), (value, rows[id]["metadata"][:200])


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[Any]:
    with raw(tmp_path / "scratch") as client:
        yield client


def comes_back(collection: Any, number: int, value: Any) -> bool:
    """Whether the engine itself, asked through its own client, gives a metadata value back."""
    try:
        collection.add(ids=[str(number)], embeddings=[[1.0, 2.0]], metadatas=[{"v": value, "other": 1}])
        (row,) = collection.get(ids=[str(number)], include=["metadatas"])["metadatas"]
    except (Exception, pytest.fail.Exception):
        return False
    return "v" in row and same(row["v"], value)


@pytest.mark.parametrize("where", ["folder", "server"])
def test_kinds_that_are_not_exact_really_are_not(where: str, scratch: Any, raw_server: Any) -> None:
    rules = CONNECTOR.open_target(place_of("chroma:x"), "x").capabilities.metadata
    client = scratch if where == "folder" else raw_server
    collection = client.create_collection(f"inexact-{where}", embedding_function=None)
    for number, kind in enumerate(sorted(set(SAMPLES) - rules.exact)):
        survivors = [v for i, v in enumerate(SAMPLES[kind]) if comes_back(collection, 100 * number + i, v)]
        assert len(survivors) < len(SAMPLES[kind]), kind


@pytest.mark.parametrize("kind", sorted(set(SAMPLES) - values.METADATA_RULES.exact))
def test_write_refuses_what_would_change(tmp_path: Path, kind: str) -> None:
    collection = collection_of(2)
    with open_target(tmp_path / "db") as target:
        target.prepare(TargetPlan(collection, 1))
        refused = [v for v in SAMPLES[kind] if not values.value_survives(v)]
        assert len(refused) == len(SAMPLES[kind])
        for value in refused:
            batch = batch_of(collection, ["good", "bad"], metadata=[{"v": 1}, {"v": value}])
            with pytest.raises(NotRepresentable, match="record 'bad': metadata key 'v'"):
                target.write(batch, MARK)
        assert target.count() == 0


@pytest.mark.parametrize("where", ["folder", "server"])
def test_doubles_survive_as_foretold(where: str, scratch: Any, raw_server: Any) -> None:
    rng = np.random.default_rng(11)
    doubles = [*FINE_NUMBERS, 5e-324, 1.7976931348623155e308, 123456789012345.0, 9007199254740993.0, 1 / 3]
    doubles += rng.random(1500).tolist() + (rng.standard_normal(1500) * 1e3).tolist()
    spread = rng.standard_normal(700) * 10.0 ** rng.integers(-30, 30, 700)
    doubles += [float(f"{v:.{digits}g}") for digits in (3, 15, 16) for v in spread]
    doubles += np.floor(rng.random(500) * 2.0**60).tolist() + np.frombuffer(rng.bytes(8000), "<f8").tolist()
    doubles = [v for v in doubles if math.isfinite(v)]
    client = scratch if where == "folder" else raw_server
    collection = client.create_collection(f"doubles-{where}", embedding_function=None)
    ids, found = [str(i) for i in range(len(doubles))], {}
    for s in range(0, len(ids), 3000):
        part = slice(s, s + 3000)
        collection.add(ids=ids[part], embeddings=[[1.0]] * len(ids[part]), metadatas=[{"v": v} for v in doubles[part]])
        answer = collection.get(ids=ids[part], include=["metadatas"])
        found.update(zip(answer["ids"], (m["v"] for m in answer["metadatas"]), strict=True))
    told = [values.float_survives(v) for v in doubles]
    held = [bits(found[id]) == bits(v) for id, v in zip(ids, doubles, strict=True)]
    assert not all(held)
    if where == "folder":
        assert told == held
    else:
        # A server reads the text twice, and at times the second error takes the first one back.
        assert all(h for t, h in zip(told, held, strict=True) if t)
        assert sum(held) - sum(told) < 0.05 * len(held)


KEYS = ["", "a", " ", "a b", "a.b", "é", "\n", "a\nb", "\0", "a\0", "x" * 5000, 'a"b', "a#", "a$", "_vecport", "id",
        "#", "#a", "$", "$a", "$vp", "$$vp", "$\n", "#document", "chroma", "Chroma:x", "xchroma:y", "chroma:",
        "chroma:x", "chroma:uri", "chroma:document", "chroma:\nx"]  # fmt: skip


@pytest.mark.parametrize("where", ["folder", "server"])
def test_forbidden_keys_are_those_that_the_engine_refuses_or_drops(where: str, scratch: Any, raw_server: Any) -> None:
    client = scratch if where == "folder" else raw_server
    collection = client.create_collection(f"keys-{where}", embedding_function=None)
    for i, key in enumerate(KEYS):
        try:
            collection.add(ids=[str(i)], embeddings=[[1.0]], metadatas=[{key: "v", "other": 1}])
            answer = collection.get(ids=[str(i)], include=["metadatas", "uris"])
            held = answer["metadatas"] == [{key: "v", "other": 1}] and answer["uris"] == [None]
            held = held or (key == values.URI_KEY and answer["uris"] == ["v"])
        except Exception:
            held = False
        forbidden = re.fullmatch(values.METADATA_RULES.forbidden_keys, key) is not None
        assert held is not forbidden, key
        assert values.key_survives(key) is held


def test_ids_of_every_sort(anywhere: str, request: pytest.FixtureRequest) -> None:
    ids = [" ", "a", "A", "é\U0001f600", "x" * 600, "y" * 50_000, "a\nb", "\0", "a\0b", "a'b", "%", "7", "null"]
    ids += ["\u00e4", "a\u0308"]
    collection = collection_of(2, name=unique(request))
    load(anywhere, batch_of(collection, ids), collection)
    with open_source(anywhere, collection.name) as session:
        assert session.describe().collection.id_kind == "string"
        assert set(by_id(read(session)[0])) == set(ids)
        assert session.fetch([("", id) for id in reversed(ids)]).column("id").to_pylist() == ids[::-1]
        assert session.fetch([("", ""), ("", "nope"), ("ns", "a")]).num_rows == 0


def test_refused_ids(tmp_path: Path) -> None:
    collection = collection_of(2)
    with open_target(tmp_path / "db") as target:
        assert re.search(target.capabilities.id_forbidden, "")
        assert not re.search(target.capabilities.id_forbidden, "a\n")
        target.prepare(TargetPlan(collection, 1))
        for ids in (["a", ""], ["a", "b", "a"]):
            with pytest.raises(NotRepresentable, match="empty id or one id twice"):
                target.write(batch_of(collection, ids), MARK)
        assert target.count() == 0


def test_refused_vectors(tmp_path: Path) -> None:
    for metric, rows in (
        ("l2", [[math.nan, 1.0], [math.inf, 1.0]]),
        ("cosine", [[math.nan, 1.0], [3e19, 1e19], [1e-25, 1e-26], [1e-45, 0.0]]),
    ):
        collection = collection_of(2, metric, f"docs-{metric}")
        with open_target(tmp_path / "db", collection.name) as target:
            target.prepare(TargetPlan(collection, 1))
            for row in rows:
                with pytest.raises(NotRepresentable, match="record 'b': its vector"):
                    target.write(batch_of(collection, ["a", "b"], np.array([[1, 2], row], np.float32)), MARK)
            nulls = dense_array(np.ones((2, 2), np.float32), collection.vectors[0], np.array([True, False]))
            with pytest.raises(NotRepresentable, match="record 'b' has no vector"):
                target.write(make_page(collection, ids=["a", "b"], vectors={"": nulls}), MARK)
            assert target.count() == 0


def test_the_cosine_index_destroys_the_vectors_that_are_refused(scratch: Any) -> None:
    collection = scratch.create_collection("abc", embedding_function=None, configuration={"hnsw": {"space": "cosine"}})
    collection.add(ids=["large", "small"], embeddings=np.array([[3e19, 1e19], [1e-25, 1e-26]], np.float32))
    large, small = collection.get(ids=["large", "small"], include=["embeddings"])["embeddings"]
    assert np.isnan(large).all()
    assert not small.any()


# -- the passport, settings, existing collections --------------------------------------------------------------


def test_passport_settings_and_foreign_metadata(tmp_path: Path) -> None:
    collection = collection_of(3, "cosine")
    loading = {"vecport": 1, "import_id": "i1", "state": "loading", "collection": collection_to_json(collection)}
    settings = {"hnsw.m": "8", "hnsw.ef_construction": "50", "hnsw.ef_search": "77", "metric": "cosine"}
    with open_target(tmp_path / "db") as target:
        target.prepare(TargetPlan(collection, 1, passport=loading, settings=settings, import_id="i1"))
        described = target.describe()
        assert described is not None
        assert described.passport == loading
        assert described.collection.vectors[0].dim == 3
        assert any("passport says" in note for note in described.notes)
        target.write(batch_of(collection, ["a", "b"]), MARK)
        assert [h.id for h in target.search("", np.array([1, 2, 3], np.float32), 2)] == ["a", "b"]
        assert "get_collection('docs'" in target.query_hint()
        target.finish({**loading, "state": "complete"})
    with raw(tmp_path / "db") as client:
        docs = client.get_collection("docs", embedding_function=None)
        docs.modify(metadata={**docs.metadata, "owner": "me"})
    with open_target(tmp_path / "db") as target:
        target.attach(TargetPlan(collection, 1))
        target.finish({"state": "again"})
    with open_source(tmp_path / "db") as session:
        found = session.describe()
    assert found.passport == {"state": "again"}
    assert found.collection.native["metadata"] == {"owner": "me"}
    hnsw = found.collection.native["configuration"]["hnsw"]
    assert (hnsw["max_neighbors"], hnsw["ef_construction"], hnsw["ef_search"]) == (8, 50, 77)


@pytest.mark.parametrize("settings", [{"hnsw.x": "1"}, {"space": "l2"}, {"hnsw.m": "0"}, {"hnsw.ef_search": "a"}])
def test_wrong_settings_create_nothing(tmp_path: Path, settings: dict[str, str]) -> None:
    with open_target(tmp_path / "db") as target, pytest.raises(UsageError, match="--set"):
        target.prepare(TargetPlan(collection_of(), 1, settings=settings))
    assert not (tmp_path / "db").exists()


@pytest.mark.parametrize("name", ["ab", "a" * 513, "-ab", "ab-", "a..b", "1.2.3.4", "a b", "é12", "_ab", "abc\n"])
def test_names_that_chroma_refuses(tmp_path: Path, scratch: Any, name: str) -> None:
    with pytest.raises(chromadb.errors.InvalidArgumentError):
        scratch.create_collection(name, embedding_function=None)
    with open_target(tmp_path / "db", name) as target, pytest.raises(NotRepresentable, match="collection name"):
        target.prepare(TargetPlan(collection_of(name=name), 1))
    for fine in ("abc", "a" * 512, "A_B.c-d", "1.2.3"):
        values.check_name(fine)
        scratch.get_or_create_collection(fine, embedding_function=None)


def test_existing_collections_are_sacred(anywhere: str, request: pytest.FixtureRequest) -> None:
    collection = collection_of(2, name=unique(request))
    first = batch_of(collection, ["a", "b"], metadata=[{"old": 1}, {"old": 2}])
    load(anywhere, first, collection, passport={"import_id": "first"})
    with open_target(anywhere, collection.name) as target:
        with pytest.raises(AlreadyExists, match="has 2 records"):
            target.prepare(TargetPlan(collection, 1))
        for other in (collection_of(3, name=collection.name), collection_of(2, "cosine", collection.name)):
            with pytest.raises(NotRepresentable, match="has other vectors"):
                target.prepare(TargetPlan(other, 1, if_exists="append"))
        with pytest.raises(UsageError, match="is not offered"):
            target.prepare(TargetPlan(collection, 1, if_exists="merge"))
        assert target.count() == 2
    load(anywhere, batch_of(collection, ["b", "c"], metadata=[{"new": 1}, {}]), collection, if_exists="append")
    with open_target(anywhere, collection.name) as target, pytest.raises(UsageError, match="--set has no effect"):
        target.prepare(TargetPlan(collection, 1, "append", settings={"hnsw.m": "8"}))
    with open_source(anywhere, collection.name) as session:
        assert session.describe().passport == {"import_id": "first"}
        rows = by_id(read(session)[0])
    assert {id: row["metadata"] for id, row in rows.items()} == {"a": '{"old":1}', "b": '{"new":1}', "c": "{}"}
    other = collection_of(3, "cosine", collection.name)
    load(anywhere, batch_of(other, ["z"]), other, if_exists="replace")
    with open_target(anywhere, collection.name) as target:
        described = target.describe()
        assert described is not None
        assert (described.count, described.collection.vectors[0].dim) == (1, 3)
        target.delete([("", "z"), ("", "nope"), ("", "")])
        assert target.count() == 0
        target.prepare(TargetPlan(other, 1))


def test_a_resumed_replace_deletes_what_is_not_its_own(tmp_path: Path) -> None:
    collection = collection_of(2)
    load(tmp_path / "db", batch_of(collection, ["old"]), collection, passport={"import_id": "before"})
    plan = TargetPlan(collection, 2, "replace", passport={"import_id": "now"}, import_id="now")
    with open_target(tmp_path / "db") as target:
        target.prepare(replace(plan, resume=True))
        assert target.count() == 0
        target.write(batch_of(collection, ["a"]), MARK)
    with open_target(tmp_path / "db") as target:
        target.prepare(replace(plan, resume=True))
        assert target.count() == 1
    with open_target(tmp_path / "db") as target, pytest.raises(AlreadyExists):
        target.prepare(replace(plan, if_exists="create", resume=True, import_id="later"))


def test_write_replaces_and_leaves_one_copy(anywhere: str, request: pytest.FixtureRequest) -> None:
    collection = collection_of(2, name=unique(request))
    plan = TargetPlan(collection, 4)
    with open_target(anywhere, collection.name) as target:
        target.prepare(plan)
        first = batch_of(collection, list("abcd"), metadata=[{"x": 1, "y": 1}] * 4, documents=["d"] * 4)
        target.write(first.slice(0, 2), MARK)
    with open_target(anywhere, collection.name) as target:
        target.prepare(replace(plan, resume=True))
        target.write(first, MARK)
        target.write(first, MARK)
        assert target.count() == 4
        changed = batch_of(collection, ["b"], np.array([[9, 9]], np.float32), metadata=[{"x": 2}])
        target.write(changed, Mark("part-0-0", 1))
        assert target.count() == 4
    with open_source(anywhere, collection.name) as session:
        rows = by_id(read(session)[0])
    assert set(rows) == set("abcd")
    assert (rows["b"]["metadata"], rows["b"]["vector"], rows["b"]["document"]) == ('{"x":2}', [9.0, 9.0], None)
    assert (rows["a"]["metadata"], rows["a"]["document"]) == ('{"x":1,"y":1}', "d")


def test_traps_of_the_client_that_write_avoids(scratch: Any) -> None:
    """If one of these fails, Chroma has changed and the connector may become simpler."""
    docs = scratch.create_collection("abc", embedding_function=None)
    docs.add(ids=["a"], embeddings=[[1.0, 2.0]], metadatas=[{"i": 1}])
    docs.add(ids=["a", "b"], embeddings=[[7.0, 7.0], [1.0, 1.0]])
    assert docs.get(ids=["a"], include=["embeddings"])["embeddings"].tolist() == [[1.0, 2.0]]
    docs.upsert(ids=["a"], embeddings=[[1.0, 2.0]], metadatas=[{"new": 1}])
    assert docs.get(ids=["a"])["metadatas"] == [{"i": 1, "new": 1}]
    assert docs.get(ids=["b", "zz", "a"], include=[])["ids"] == ["a", "b"]
    with pytest.raises(ValueError, match="non-empty dict"):
        docs.add(ids=["c"], embeddings=[[1.0, 2.0]], metadatas=[{}])
    with pytest.raises(chromadb.errors.InternalError, match="too many SQL variables"):
        docs.get(ids=[str(i) for i in range(40_000)], include=[])
    with pytest.raises(chromadb.errors.InvalidArgumentError, match="Failed to pull logs"):
        docs.add(ids=["poison"], embeddings=[[1.0, 2.0]], metadatas=[{"v": [math.nan]}])
    with pytest.raises(chromadb.errors.InvalidArgumentError, match="Failed to pull logs"):
        docs.add(ids=["healthy"], embeddings=[[1.0, 2.0]])


def test_large_row_groups_are_cut_into_requests(server: ChromaEngine) -> None:
    collection = collection_of(512, name="large")
    matrix = np.random.default_rng(3).standard_normal((160, 512)).astype(np.float32)
    metadata = [{"v": "x" * 300_000} for _ in range(160)]
    batch = batch_of(collection, [f"i{i}" for i in range(160)], matrix, metadata)
    assert batch.nbytes > 40_000_000, "a server takes this in one request"
    load(server.address, batch, collection)
    with open_source(server.address, "large") as session:
        back = session.fetch([("", "i159"), ("", "i20"), ("", "i1")])
    assert dense_matrix(back.column("vector"), collection.vectors[0])[0].tobytes() == matrix[[159, 20, 1]].tobytes()


@pytest.mark.parametrize("dim", [8, 40_000])
def test_pieces_hold_all_rows_once(dim: int) -> None:
    sizes = np.full(10_000, dim * 16 // 3 + 64, np.int64)
    sizes[77] = 60_000_000
    parts = list(target._pieces(sizes, 5461))
    assert [i for p in parts for i in range(p.start, p.stop)] == list(range(10_000))
    assert all(sizes[p].sum() <= target._REQUEST_BYTES or p.stop - p.start == 1 for p in parts)
    assert max(p.stop - p.start for p in parts) <= 5461


def test_float32_values_that_text_rounds_twice(server: ChromaEngine) -> None:
    hard = np.array([0x15AE43FD, 0x15AE43FE, 0x15AE43FC, 0x00000001, 0x007FFFFF, 0x7F7FFFFF, 0x33D6BF95], np.uint32)
    matrix = np.concatenate([hard, hard | 0x80000000]).astype(np.uint32).view(np.float32)[None, :]
    assert np.float32(float(np.format_float_scientific(matrix[0, 0]))) != matrix[0, 0]
    collection = collection_of(matrix.shape[1], name="ties")
    load(server.address, batch_of(collection, ["a"], matrix), collection)
    with open_source(server.address, "ties") as session:
        back = read(session)[0].column("vector").combine_chunks()
    assert dense_matrix(back, collection.vectors[0])[0].tobytes() == matrix.tobytes()


def test_vectors_that_chroma_has_no_place_for(tmp_path: Path) -> None:
    one = VectorField("a", dim=2, metric="l2")
    sparse = VectorField("", kind="sparse", metric="dot")
    for vectors in ((), (one, replace(one, name="b")), (sparse,), (replace(one, metric="l1"),)):
        with open_target(tmp_path / "db") as target, pytest.raises(NotRepresentable):
            target.prepare(TargetPlan(Collection("docs", vectors=vectors), 1))
    assert not (tmp_path / "db").exists()


# -- places of targets -----------------------------------------------------------------------------------------


def test_target_folders(tmp_path: Path, filled: Path) -> None:
    plan = TargetPlan(collection_of(), 1)
    with open_target(tmp_path / "no" / "where") as target, pytest.raises(NotFound, match="mkdir -p"):
        target.prepare(plan)
    assert not (tmp_path / "no").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").touch()
    with open_target(tmp_path / "mine") as target, pytest.raises(AlreadyExists, match="no Chroma database"):
        target.prepare(plan)
    with open_target(tmp_path / "mine" / "letter.txt") as target, pytest.raises(AlreadyExists):
        target.prepare(plan)
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["letter.txt"]
    (tmp_path / "new").mkdir()
    with open_target(tmp_path / "new") as target:
        assert target.describe() is None
        target.prepare(plan)
        assert target.count() == 0


def test_a_target_folder_in_use_is_locked(filled: Path) -> None:
    plan = TargetPlan(collection_of(), 1)
    holder = sqlite3.connect(filled / "chroma.sqlite3", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with open_target(filled, "new") as target, pytest.raises(Locked, match="SQLite says"):
        target.prepare(plan)
    holder.close()
    if not Path("/proc/self/fd").exists():
        return
    hold = "import sys; f = open(sys.argv[1]); print('open', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", hold, str(filled / "chroma.sqlite3")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with open_target(filled, "new") as target, pytest.raises(Locked, match=f"have it open: {other.pid};"):
            target.prepare(plan)
        other.communicate()
    with open_target(filled, "new") as target:
        target.prepare(plan)


def test_close_releases_the_folder(tmp_path: Path) -> None:
    collection = collection_of()
    load(tmp_path / "db", batch_of(collection, ["a"]), collection)
    shared = chromadb.api.shared_system_client.SharedSystemClient
    target = open_target(tmp_path / "db")
    target.attach(TargetPlan(collection, 1))
    assert target.count() == 1
    handles = Path("/proc/self/fd")
    if handles.exists():
        assert any(str(tmp_path) in os.readlink(h) for h in handles.iterdir() if h.is_symlink())
    target.close()
    target.close()
    assert not [i for i in shared._identifier_to_system if str(tmp_path) in i]
    if handles.exists():
        assert not any(str(tmp_path) in os.readlink(h) for h in handles.iterdir() if h.is_symlink())
    count = "import chromadb, sys; print(chromadb.PersistentClient(sys.argv[1]).get_collection('docs').count())"
    answer = subprocess.check_output([sys.executable, "-c", count, str(tmp_path / "db")], text=True)
    assert answer.strip() == "1"
    shutil.rmtree(tmp_path / "db")


# -- servers ---------------------------------------------------------------------------------------------------


def test_ids_deleted_during_a_live_scan_are_named(server: ChromaEngine, raw_server: Any) -> None:
    docs = raw_server.create_collection("live", embedding_function=None)
    ids = [f"i{n}" for n in range(300)]
    docs.add(ids=ids, embeddings=np.arange(600).reshape(300, 2))
    with open_source(server.address, "live") as session:
        assert isinstance(session, ChromaServerSource)
        assert session.describe().count == 300
        token = session.snapshot()
        assert session.alive(token)
        first, second, third = session.partitions(100, token)
        docs.delete(ids=["i5", "i99", *ids[100:200]])
        docs.upsert(ids=["i250"], embeddings=[[9.0, 9.0]])
        docs.add(ids=["new"], embeddings=[[0.0, 0.0]])
        pages = list(session.scan(first, None, 30))
        assert [p.batch.num_rows for p in pages] == [29, 30, 30, 9]
        assert [m for p in pages for m in p.missing] == [("", "i5"), ("", "i99")]
        (nothing,) = session.scan(second, None, 30)
        assert nothing.batch.num_rows == 0
        assert [id for _, id in nothing.missing] == ids[100:200]
        behind, passed = session.behind(first, pages[0].batch, ("", "i5"))
        assert (behind.column("id")[0].as_py(), behind.num_rows, passed) == ("i6", 24, True)
        assert session.behind(first, pages[0].batch, ("", "i99"))[1] is False
        (rest,) = session.scan(third, 50, 60)
        assert rest.batch.column("vector").to_pylist()[0] == [9.0, 9.0]
        assert session.count() == 199


def test_a_listing_skips_nothing_when_records_are_deleted(
    server: ChromaEngine, raw_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    docs = raw_server.create_collection("listing", embedding_function=None)
    ids = [f"i{n}" for n in range(400)]
    docs.add(ids=ids, embeddings=np.zeros((400, 2)))
    monkeypatch.setattr(source, "_LIST_PAGE", 50)
    with open_source(server.address, "listing") as session:
        assert isinstance(session, ChromaServerSource)
        plain = session._get
        steps = {1: ids[:30], 3: ids[100:148], 4: ids[140:200], 6: [*ids[30:60], ids[399]]}
        calls = 0

        def disturbed(**how: Any) -> Any:
            nonlocal calls
            calls += 1
            if gone := steps.get(calls):
                docs.delete(ids=gone)
                docs.add(ids=gone[:5], embeddings=np.zeros((5, 2)))
            return plain(**how)

        monkeypatch.setattr(session, "_get", disturbed)
        listed = list(session._ids())
    assert len(set(listed)) == len(listed)
    assert set(docs.get(include=[])["ids"]) <= set(listed)
    assert calls > 8


def test_answers_of_a_server_do_not_wait_for_a_full_collection(server: ChromaEngine) -> None:
    """The client's answers refer to themselves, and each holds the text of a whole page."""
    from vecport.connectors.chroma import client as clients

    client = clients.open_server(address.parse(server.address))
    seen: list[weakref.ref[Any]] = []
    client._server._session.event_hooks["response"].append(lambda answer: seen.append(weakref.ref(answer)))
    gc.disable()
    try:
        assert client.heartbeat() > 0
        assert client.count_collections() >= 0
        assert [answer() for answer in seen] == [None, None]
    finally:
        gc.enable()
        clients.close(client)


def test_a_server_that_is_down(server: ChromaEngine) -> None:
    with ChromaEngine() as engine:
        collection = collection_of()
        load(engine.address, batch_of(collection, ["a"]), collection)
        target, session = open_target(engine.address), open_source(engine.address)
        target.attach(TargetPlan(collection, 1))
        partition = session.partitions(10, session.snapshot())[0]
        engine.stop()
        for call in (
            target.count,
            session.count,
            lambda: list(session.scan(partition, None, 10)),
            lambda: target.write(batch_of(collection, ["b"]), MARK),
            lambda: open_source(engine.address).describe(),
            lambda: CONNECTOR.collections(place_of(engine.address)),
        ):
            with pytest.raises(Unavailable, match="does not answer") as caught:
                call()
            assert all((caught.value.what, caught.value.why, caught.value.safe, caught.value.next))
        target.close()
        session.close()


class Impostor(http.server.BaseHTTPRequestHandler):
    status, body = 200, b""

    def do_GET(self) -> None:
        type(self).seen = dict(self.headers)
        self.send_response(self.status)
        self.send_header("content-length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def impostor() -> Iterator[str]:
    listener = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Impostor)
    threading.Thread(target=listener.serve_forever, daemon=True).start()
    yield f"chroma://127.0.0.1:{listener.server_port}"
    listener.shutdown()
    listener.server_close()


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (401, b'{"error":"AuthError","message":"no"}', AuthenticationFailed),
        (403, b"<html>", AuthenticationFailed),
        (404, b"not found", NotFound),
        (200, b"<html>", NotFound),
        (200, b"[]", NotFound),
        (503, b"busy", Unavailable),
        (429, b'{"error":"RateLimitError","message":"slow down"}', Unavailable),
    ],
)
def test_answers_of_other_servers(impostor: str, status: int, body: bytes, error: type[Exception]) -> None:
    Impostor.status, Impostor.body = status, body
    with open_source(impostor, **{"api-key": Secret("s3cret")}) as session, pytest.raises(error) as caught:
        session.describe()
    assert Impostor.seen["X-Chroma-Token"] == "s3cret"
    assert "s3cret" not in repr(caught.value) + str(caught.value)


def test_a_key_never_travels_in_the_clear(filled: Path) -> None:
    key = {"api-key": Secret("s3cret")}
    for open_ in (open_source, open_target):
        with pytest.raises(UsageError, match="without encryption") as caught:
            open_("chroma://db.example:8000", **key)
        assert "chroma+https://db.example:8000" in caught.value.next
    with pytest.raises(UsageError, match="without encryption"):
        CONNECTOR.collections(place_of("chroma://db.example:8000", **key))
    with pytest.raises(UsageError, match="names a user"), open_source("chroma://me@127.0.0.1:1") as session:
        session.describe()


def test_tenants_and_databases(server: ChromaEngine) -> None:
    admin = chromadb.AdminClient(
        chromadb.Settings(
            chroma_api_impl="chromadb.api.fastapi.FastAPI",
            chroma_server_host="127.0.0.1",
            chroma_server_http_port=server.port,
        )
    )
    admin.create_tenant("acme")
    admin.create_database("prod", "acme")
    collection = collection_of(name="mine")
    options = {"tenant": "acme", "database": "prod"}
    with open_target(server.address, "mine", **options) as target:
        assert target.describe() is None
        target.prepare(TargetPlan(collection, 1))
        target.write(batch_of(collection, ["a"]), MARK)
    assert [(c.name, c.rows, c.detail) for c in CONNECTOR.collections(place_of(server.address, **options))] == [
        ("mine", 1, "4 dimensions, l2")
    ]
    with pytest.raises(NotFound, match="Tenant"), open_target(server.address, "mine", tenant="nobody") as target:
        target.prepare(TargetPlan(collection, 1))


def test_more_collections_than_one_page(server: ChromaEngine, raw_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(describe, "_COLLECTIONS_AT_ONCE", 7)
    for i in range(20):
        raw_server.get_or_create_collection(f"many-{i:03}", embedding_function=None)
    found = [c.name for c in CONNECTOR.collections(place_of(server.address)) if c.name.startswith("many-")]
    assert found == [f"many-{i:03}" for i in range(20)]


def test_the_environment_and_dotenv_do_not_redirect(
    tmp_path: Path, server: ChromaEngine, filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("CHROMA_SERVER_HTTP_PORT=1\nIS_PERSISTENT=False\nMIGRATIONS=none\n")
    monkeypatch.setenv("CHROMA_SERVER_HOST", "192.0.2.1")
    monkeypatch.setenv("CHROMA_API_IMPL", "nonsense")
    assert isinstance(CONNECTOR.collections(place_of(server.address)), list)
    assert CONNECTOR.collections(place_of("chroma:./db"))[0].name == "docs"


# -- what a description says -----------------------------------------------------------------------------------


def test_legacy_space(tmp_path: Path, scratch: Any) -> None:
    path = tmp_path / "db"
    with raw(path) as client:
        fresh = client.create_collection("fresh", metadata={"hnsw:space": "cosine", "a": 1}, embedding_function=None)
        fresh.add(ids=["x"], embeddings=[[3.0, 4.0]])
        moved = client.create_collection("moved", metadata={"hnsw:space": "ip"}, embedding_function=None)
        moved.add(ids=["x"], embeddings=[[3.0, 4.0]])
        moved._client._modify(moved.id, new_metadata={"hnsw:space": "l2"})
        client.create_collection("old", metadata={"hnsw:space": "cosine"}, embedding_function=None)
    # What versions before 1.0 left behind: no schema, and the space in the metadata of collection and segment.
    with contextlib.closing(sqlite3.connect(path / "chroma.sqlite3")) as database:
        database.execute("UPDATE collections SET schema_str = NULL, config_json_str = NULL WHERE name = 'old'")
        database.execute(
            "INSERT INTO segment_metadata (segment_id, key, str_value) SELECT s.id, 'hnsw:space', 'cosine'"
            " FROM segments s JOIN collections c ON c.id = s.collection WHERE c.name = 'old' AND s.scope = 'VECTOR'"
        )
        database.commit()
    with open_source(path, "old") as session:
        assert session.describe().collection.vectors == ()
        assert any("cannot be told" in n for n in session.describe().notes)
    with raw(path) as client:
        old = client.get_collection("old", embedding_function=None)
        assert old.configuration_json["hnsw"]["space"] == "l2"
        old.add(ids=["x"], embeddings=[[3.0, 4.0]])
    for name, metric in (("fresh", "cosine"), ("moved", "dot"), ("old", "cosine")):
        with open_source(path, name) as session:
            found = session.describe()
            assert found.collection.vectors[0].metric == metric, name
            assert any("a search shows" in n for n in found.notes) is (name != "fresh")
    # The client refuses to store this key even unchanged, and forgets all others that are not given again.
    plan = TargetPlan(collection_of(2, "cosine", "fresh"), 1, "append", passport={"import_id": "1"})
    with open_target(path, "fresh") as target:
        target.prepare(plan)
        target.finish({"import_id": "1", "state": "complete"})
    with raw(path) as client:
        fresh = client.get_collection("fresh", embedding_function=None)
        assert {k: v for k, v in fresh.metadata.items() if k != "vecport"} == {"hnsw:space": "cosine", "a": 1}
        assert fresh.configuration_json["hnsw"]["space"] == "cosine"
        with pytest.raises(ValueError, match="not supported"):
            fresh.modify(metadata={"hnsw:space": "cosine"})
        fresh.modify(metadata={"b": 1})
        assert client.get_collection("fresh", embedding_function=None).metadata == {"b": 1}


def test_empty_collections(tmp_path: Path) -> None:
    path = tmp_path / "db"
    with raw(path) as client:
        client.create_collection("never", embedding_function=None)
        emptied = client.create_collection("emptied", embedding_function=None)
        emptied.add(ids=["a"], embeddings=[[1.0, 2.0, 3.0]])
        emptied.delete(ids=["a"])
    for name, dims in (("never", []), ("emptied", [3])):
        with open_source(path, name) as session:
            found = session.describe()
            assert (found.count, [v.dim for v in found.collection.vectors]) == (0, dims)
            assert any("described without a vector" in n for n in found.notes) is (name == "never")
            assert read(session)[0].num_rows == 0


def test_a_live_collection_that_was_empty_when_described(server: ChromaEngine, raw_server: Any) -> None:
    docs = raw_server.create_collection("was-empty", embedding_function=None)
    with open_source(server.address, "was-empty") as session:
        session.describe()
        docs.add(ids=["a"], embeddings=[[1.0]])
        with pytest.raises(Incomplete, match="was empty when it was described"):
            read(session)


def test_no_embedding_function_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from chromadb.utils import embedding_functions

    path, name = tmp_path / "db", "sentence_transformer"
    with raw(path) as client:
        client.create_collection("docs", embedding_function=None).add(ids=["x"], embeddings=[[1.0] * 4])
    configured = {"type": "known", "name": name, "config": {"model_name": "all-MiniLM-L6-v2", "device": "cpu",
                                                              "normalize_embeddings": False, "kwargs": {}}}  # fmt: skip
    with contextlib.closing(sqlite3.connect(path / "chroma.sqlite3")) as database:
        ((text,),) = database.execute("SELECT schema_str FROM collections").fetchall()
        schema = json.loads(text)
        schema["keys"]["#embedding"]["float_list"]["vector_index"]["config"]["embedding_function"] = configured
        database.execute("UPDATE collections SET schema_str = ?", (json.dumps(schema),))
        database.commit()
    made: list[Any] = []
    function = embedding_functions.known_embedding_functions[name]
    monkeypatch.setattr(function, "build_from_config", lambda *a: made.append(a))
    load(path, batch_of(collection_of(), ["y"]), collection_of(), if_exists="append")
    with open_source(path) as session:
        found = session.describe()
        assert read(session)[0].num_rows == 2
    with open_target(path) as target:
        target.attach(TargetPlan(collection_of(), 1))
        assert target.search("", np.ones(4, np.float32), 1)
    assert not made
    assert found.collection.vectors[0].model == "all-MiniLM-L6-v2"
    assert found.collection.native["embedding_function"] == {"name": name, "model": "all-MiniLM-L6-v2"}


def test_a_foreign_value_under_the_passport_key_stays(tmp_path: Path) -> None:
    with raw(tmp_path / "db") as client:
        client.create_collection("docs", metadata={"vecport": "mine"}, embedding_function=None)
    with open_source(tmp_path / "db") as session:
        found = session.describe()
    assert found.passport is None
    assert found.collection.native["metadata"] == {"vecport": "mine"}
    assert any("no passport" in n for n in found.notes)


def test_a_panic_of_the_engine_is_an_error(tmp_path: Path) -> None:
    from vecport.connectors.chroma.client import translated

    with raw(tmp_path / "db") as client, pytest.raises(Exception, match="broke down"), translated("chroma:x"):
        client.create_collection("abc", metadata={"a": ["x"]}, embedding_function=None)
