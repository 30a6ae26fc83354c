"""What ``diff`` and ``verify`` say of records that differ: one finding a record, its parts, and nothing unseen."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tests.dump.small import manifest_of
from tests.operations.rooms import collection, fill, record, room
from vecport import diff, export, import_, verify
from vecport.dump.dump import publish
from vecport.dump.shard import ShardWriter
from vecport.dump.store import LocalStore
from vecport.errors import IntegrityError, UsageError
from vecport.model.batch import dense_array, make_page
from vecport.model.collection import Collection, VectorField
from vecport.operations.compare.located import LOCATED, Located
from vecport.operations.compare.spill import Spill
from vecport.operations.progress import Silent
from vecport.testing.records import Record, Sparse

ROWS = 40
RECORDS = [record(f"r{i:03}", i, text=f"t{i}") for i in range(ROWS)]
Ask = Callable[..., object]


@pytest.fixture
def place() -> Iterator[str]:
    with room() as address:
        yield address


def dump_of(folder: Path, records: Sequence[Record], made: Collection | None = None) -> Path:
    with room() as address:
        fill(address, records, made)
        export(address, folder)
    return folder


def edited() -> list[Record]:
    """One record of each kind of change: a vector, a number that becomes a float, one gone, one more."""
    out = [replace(r, metadata=dict(r.metadata), vectors=dict(r.vectors)) for r in RECORDS]
    out[3].vectors[""] = np.array([3, 1, 2, 4], np.float32)
    out[5].metadata["n"] = 5.0
    del out[7]
    return [*out, record("new", 9)]


WANTED = [
    ("missing", "r007", ()), ("extra", "new", ()),
    ("changed", "r003", ("vector",)), ("changed", "r005", ("metadata:n",)),
]  # fmt: skip


def told(found: object) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(f.kind, f.id, tuple(p.name for p in f.parts)) for f in found.examples]  # type: ignore[attr-defined]


# ---- one finding a record


@pytest.mark.parametrize("level", ["full", "deep"])
def test_a_diff_names_each_record_with_its_parts(tmp_path: Path, level: str) -> None:
    a, b = dump_of(tmp_path / "a", RECORDS), dump_of(tmp_path / "b", edited())
    found = diff(a, b, level=level)
    assert (found.exit_code, found.removed, found.added, found.changed, found.unchanged) == (3, 1, 1, 2, ROWS - 3)
    assert (found.vectors_changed, found.metadata_changed) == (1, 1)
    assert found.parts == {"vector": 1, "metadata:n": 1}
    assert told(found) == WANTED
    assert found.by_recorded_hashes == (level != "deep")
    vector = found.examples[2].parts[0]
    assert (vector.a, vector.b, vector.distance) == ("3.0 at 3", "4.0 at 3", pytest.approx(1 / 3))


@pytest.mark.parametrize("level", ["full", "deep"])
def test_a_verification_names_each_record_with_its_parts(tmp_path: Path, place: str, level: str) -> None:
    dump = dump_of(tmp_path / "a", RECORDS)
    fill(place, edited())
    found = verify(dump, place, level=level)
    assert (found.exit_code, found.missing, found.extra, found.changed, found.equal) == (3, 1, 1, 2, ROWS - 3)
    assert (found.parts, found.method, found.count) == ({"vector": 1, "metadata:n": 1}, "scan", ROWS)
    assert told(found) == WANTED
    assert found.by_recorded_hashes == (level != "deep")


def test_few_records_of_many_are_fetched_by_their_keys(tmp_path: Path, place: str) -> None:
    dump = dump_of(tmp_path / "a", RECORDS)
    fill(place, [*edited(), *(record(f"z{i}") for i in range(10 * ROWS))])
    found = verify(dump, place)
    assert (found.method, found.missing, found.changed, found.equal) == ("fetch", 1, 2, ROWS - 3)
    assert (found.extra, found.parts) == (10 * ROWS + 1, {"vector": 1, "metadata:n": 1})
    assert [f for f in told(found) if f[0] != "extra"] == [w for w in WANTED if w[0] != "extra"]


def test_what_somebody_took_from_a_hashed_record_is_a_change_of_it(tmp_path: Path) -> None:
    """The id that the database holds says which record it is, even where the original id is gone."""
    qdrant = pytest.importorskip("qdrant_client")
    from vecport.testing.engines import QdrantEngine

    dump = dump_of(tmp_path / "a", RECORDS, collection(metric="dot"))
    with QdrantEngine() as engine:
        import_(dump, engine.address, collection="docs")
        client = qdrant.QdrantClient(
            "127.0.0.1", port=engine.port, grpc_port=engine.grpc_port, prefer_grpc=True, check_compatibility=False
        )
        (point,) = (p for p in client.scroll("docs", limit=100)[0] if p.payload["text"] == "t9")
        client.overwrite_payload("docs", {"text": "t9"}, [point.id], wait=True)
        client.close()
        found = verify(dump, engine.address, collection="docs")
    assert (found.exit_code, found.missing, found.extra, found.changed) == (3, 0, 0, 1)
    assert told(found) == [("changed", "r009", ("id", "metadata:n"))]


# ---- what equal identities prove


@pytest.mark.parametrize("level", ["quick", "full"])
def test_equal_identities_prove_nothing_of_a_dump_without_data(tmp_path: Path, level: str) -> None:
    a = dump_of(tmp_path / "a", RECORDS)
    b = Path(shutil.copytree(a, tmp_path / "b"))
    assert diff(a, b, level=level).identical
    shard = next((b / "data").iterdir())
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-1])
    for sides in ((a, b), (b, a)):
        with pytest.raises(IntegrityError, match="bytes"):
            diff(*sides, level=level)
    shard.write_bytes(whole[:-20] + bytes(12) + whole[-8:])
    with pytest.raises(IntegrityError, match="footer"):
        diff(a, b, level=level)
    shard.unlink()
    with pytest.raises(IntegrityError, match="missing"):
        diff(a, b, level=level)


def test_deep_hashes_are_those_of_the_data(tmp_path: Path) -> None:
    """Two dumps with one identity, of which one was written by somebody whose hashes are not those of the records."""
    a = dump_of(tmp_path / "a", RECORDS)
    liar = _dump_with_false_hashes(tmp_path / "b")
    full, deep = diff(a, liar), diff(a, liar, level="deep")
    assert (full.identical, full.by_recorded_hashes, full.exit_code) == (True, True, 0)
    assert (deep.identical, deep.by_recorded_hashes, deep.exit_code, deep.changed) == (False, False, 3, ROWS)
    assert any(f"the hashes of {ROWS} records" in n for n in deep.notes)


def _dump_with_false_hashes(folder: Path) -> Path:
    from vecport.model import hashes

    with pytest.MonkeyPatch.context() as patch:
        real = hashes.vector_hashes
        shifted = [replace(r, vectors={"": r.vectors[""] - np.float32(1)}) for r in RECORDS]

        def false(page: pa.RecordBatch, made: Collection) -> object:
            column = page.column("vector")
            flat = pa.array(np.asarray(column.flatten()) + np.float32(1))
            moved = pa.ListArray.from_arrays(column.offsets, flat, type=column.type)
            return real(
                page.set_column(page.schema.get_field_index("vector"), page.schema.field("vector"), moved), made
            )

        patch.setattr(hashes, "vector_hashes", false)
        return dump_of(folder, shifted)


def test_quick_compares_identities_and_counts(tmp_path: Path, place: str) -> None:
    a, b = dump_of(tmp_path / "a", RECORDS), dump_of(tmp_path / "b", edited())
    found = diff(a, b, level="quick")
    assert (found.exit_code, found.changed, found.level) == (3, 0, "quick")
    assert any("--level full" in n for n in found.notes)
    fill(place, RECORDS[:-2])
    counted = verify(a, place, level="quick")
    assert (counted.exit_code, counted.missing, counted.method) == (3, 2, "count")
    fill(place, RECORDS)
    assert verify(a, place, level="quick").exit_code == 0
    for ask in (lambda: diff(a, b, level="x"), lambda: verify(a, place, level="x")):
        with pytest.raises(UsageError, match="--level x"):
            ask()


# ---- keys that stand twice


def lines(folder: Path, name: str, ids: Sequence[str]) -> str:
    path = folder / f"{name}.jsonl"
    path.write_text("".join(f'{{"id": "{i[0]}", "vector": [1.0, 2.0], "metadata": {{"v": "{i}"}}}}\n' for i in ids))
    return f"jsonl:{path}"


def dump_lines(folder: Path, name: str, ids: Sequence[str]) -> Path:
    out = folder / name
    export(lines(folder, name, ids), out, duplicates="keep", source_options={"metric": "l2"})
    return out


REPEATS = {
    "three against two": (["a1", "a1", "b1"], ["a1", "b1"], 1, 0, 1),
    "two against three": (["a1", "b1"], ["a1", "b1", "b2"], 1, 0, 1),
    "twice on both sides": (["a1", "a2", "b1"], ["a2", "b1", "a1"], 0, 0, 3),
    "twice on both sides, one changed": (["a1", "a2", "b1"], ["a3", "b1", "a1"], 0, 1, 2),
    "twice on one side alone": (["a1", "b1", "b1"], ["a1"], 0, 0, 1),
}


@pytest.mark.parametrize("name", list(REPEATS))
def test_a_key_that_stands_another_number_of_times_is_a_finding(tmp_path: Path, name: str) -> None:
    ours, theirs, repeated, changed, unchanged = REPEATS[name]
    a, b = dump_lines(tmp_path, "a", ours), dump_lines(tmp_path, "b", theirs)
    same = not repeated and not changed and len(ours) == len(theirs)
    for found in (diff(a, b), diff(a, b, level="deep")):
        assert (found.repeated, found.changed, found.unchanged) == (repeated, changed, unchanged)
        assert found.exit_code == (0 if same else 3)
        assert [f.kind for f in found.examples].count("repeated") == repeated
    checked = verify(a, lines(tmp_path, "b", theirs), target_options={"metric": "l2"})
    assert (checked.repeated, checked.changed, checked.equal) == (repeated, changed, unchanged)
    if name == "twice on one side alone":
        assert (found.removed, checked.missing) == (2, 2)


# ---- tolerance


TWO = Collection("docs", "string", (VectorField("a", dim=2, metric="l2"), VectorField("b", dim=2, metric="l2")))


def two(a: float, b: float) -> list[Record]:
    return [Record("x", {"a": np.array([a, 1], np.float32), "b": np.array([b, 1], np.float32)})]


def test_a_tolerance_is_for_all_fields_or_for_one(tmp_path: Path, place: str) -> None:
    a, b = dump_of(tmp_path / "a", two(8, 8), TWO), dump_of(tmp_path / "b", two(8.5, 8.5), TWO)
    fill(place, two(8.5, 8.5), TWO)
    for ask in (lambda **k: diff(a, b, **k), lambda **k: verify(a, place, **k)):
        assert ask().parts == {"vector:a": 1, "vector:b": 1}
        assert ask(tolerance=0.1).exit_code == 0
        found = ask(tolerance={"a": 0.1})
        assert (found.exit_code, found.parts) == (3, {"vector:b": 1})
        assert found.bounds == {"a": "within 0.1", "b": "bit for bit"}
        assert found.bound == "a within 0.1; b bit for bit"
        assert ask(tolerance={"a": 0.1, "b": 0.1}).within_bound == 1
        with pytest.raises(UsageError, match="no vector 'c'") as e:
            ask(tolerance={"c": 0.1})
        assert "'a', 'b'" in str(e.value)
        for wrong in (-1.0, float("nan"), float("inf")):
            with pytest.raises(UsageError, match=f"--tolerance {wrong:g}: .* no bound"):
                ask(tolerance=wrong)
            with pytest.raises(UsageError, match=f"--tolerance b={wrong:g}: .* no bound"):
                ask(tolerance={"a": 0.1, "b": wrong})


# ---- all kinds, in bounded memory


EVERY = Collection(
    "docs",
    "string",
    (
        VectorField("d", dim=32, metric="l2"),
        VectorField("s", "sparse", metric="dot"),
        VectorField("m", "multi", dim=8, metric="max_sim"),
        VectorField("x", "binary", "bit", 64, metric="hamming"),
    ),
)


def every(i: int, bump: float = 0) -> Record:
    rng = np.random.default_rng(i)
    return Record(
        f"r{i:05}",
        {
            "d": rng.normal(size=32).astype(np.float32) + np.float32(bump),
            "s": Sparse((1, 2 + i), (1.0, 2.0 + bump)),
            "m": rng.normal(size=(1 + i % 4, 8)).astype(np.float32) + np.float32(bump),
            "x": rng.integers(0, 2, 64).astype(np.uint8) ^ np.uint8(bool(bump)),
        },
    )


def test_every_record_of_every_kind_changed_and_in_another_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Records wait in many small files, and every one finds its partner."""
    import vecport.operations.diff as module

    monkeypatch.setattr(module, "Spill", lambda folder, most: Spill(folder, 20_000))
    order = np.random.default_rng(1).permutation(600)
    a = dump_of(tmp_path / "a", [every(i) for i in range(600)], EVERY)
    b = dump_of(tmp_path / "b", [replace(every(int(i), 0.5), id=f"r{i:05}") for i in order], EVERY)
    found = diff(a, b)
    assert (found.changed, found.unchanged, found.added, found.removed) == (600, 0, 0, 0)
    assert found.parts == {"vector:d": 600, "vector:s": 600, "vector:m": 600, "vector:x": 600}
    assert diff(a, b, tolerance={"d": 10.0, "s": 10.0, "m": 10.0}).parts == {"vector:x": 600}


def test_the_spill_gives_back_the_records_of_the_pairs(tmp_path: Path) -> None:
    spill = Spill(str(tmp_path), 2_000)
    rng = np.random.default_rng(0)
    a = rng.permutation(1_000)
    for start in range(0, 1_000, 50):
        mine = a[start : start + 50]
        # Each record came before in another state.
        for b in (mine * 2, mine * 2 + 1):
            spill.add(pa.RecordBatch.from_pydict({"v": b * 10}), mine, b)
    assert len(list(tmp_path.iterdir())) > 5
    for start in range(0, 1_000, 100):
        wanted = np.arange(start, start + 100, 3)
        assert spill.take(wanted, wanted * 2 + 1).column("v").to_pylist() == ((wanted * 2 + 1) * 10).tolist()


def test_of_a_record_that_comes_twice_from_a_living_scan_the_last_counts() -> None:
    def rows(*found: tuple[str, int, int]) -> pa.RecordBatch:
        return pa.RecordBatch.from_pylist(
            [{"id": i, "namespace": "", "_vh": h, "_mh": 0, "place": p} for i, h, p in found], schema=LOCATED
        )

    with Located(1 << 28) as found:
        found.load("a", iter([rows(("x", 1, 0), ("y", 1, 1), ("z", 1, 2))]))
        found.load("b", iter([rows(("x", 1, 0), ("y", 2, 1), ("new", 1, 2), ("x", 2, 3), ("y", 1, 4), ("new", 2, 5))]))
        found.settle(live=True)
        assert (found.unchanged(), found.differ(), found.repeated()[0]) == (1, 1, 0)
        assert (found.alone("missing")[0], found.alone("extra")[0], found.rows("b")) == (1, 1, 3)
        assert [c.tolist() for c in found.pairs("a").below(99)] == [[0], [3]]


# What the kernel keeps of this program alone: the figure of getrusage begins with that of the process that started it.
MEASURE = """
import re, sys, vecport
found = vecport.diff(sys.argv[1], sys.argv[2], memory_bytes=256 << 20)
print(found.changed, int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1]) // 1024)
"""


WIDE = Collection("wide", vectors=(VectorField("", dim=1024, metric="l2"),))


def wide_dump(folder: Path, seed: int) -> str:
    """A dump of 40,000 vectors of 4 KiB, in an order of its own."""
    store = LocalStore(str(folder))
    store.prepare()
    rng = np.random.default_rng(seed)
    ids = np.char.add("r", rng.permutation(40_000).astype(str))
    entries = []
    for number in range(4):
        writer = ShardWriter(store, number, 0, WIDE)
        for at in range(number * 10_000, number * 10_000 + 10_000, 1_000):
            matrix = rng.normal(size=(1_000, 1024)).astype(np.float16).astype(np.float32)
            column = dense_array(matrix, WIDE.vectors[0])
            writer.write(make_page(WIDE, ids=ids[at : at + 1_000].tolist(), vectors={"": column}))
        entries.append(writer.close())
    publish(store, manifest_of(entries, collection=WIDE))
    return str(folder)


def test_a_diff_of_much_is_held_in_bounded_memory(tmp_path: Path, shown: Callable[[str], None]) -> None:
    """All vectors differ, and come in another order."""
    a, b = wide_dump(tmp_path / "a", 1), wide_dump(tmp_path / "b", 2)
    out = subprocess.run([sys.executable, "-c", MEASURE, a, b], capture_output=True, text=True, check=True)
    changed, peak = map(int, out.stdout.split())
    size = (2 * 40_000 * 4_096) >> 20
    shown(f"a diff of {size} MiB of vectors that all differ: {peak} MiB of memory")
    assert changed == 40_000
    assert peak < 450


def test_progress_is_told(tmp_path: Path) -> None:
    a, b = dump_of(tmp_path / "a", RECORDS), dump_of(tmp_path / "b", edited())
    phases: list[str] = []

    class Listener(Silent):
        def phase(self, name: str, total: int | None = None) -> None:
            phases.append(name)

    diff(a, b, progress=Listener())
    assert phases == ["compare keys", "compare changed records"]
