"""Partitions of an export are kept in files: as many as there are, in bounded memory, and only whole ones count."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vecport.dump.partitions import FOLDER, PartitionFiles
from vecport.dump.store import LocalStore
from vecport.errors import IntegrityError, Interrupted
from vecport.operations.progress import Stop


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    made = LocalStore(str(tmp_path / "dump"))
    made.prepare()
    return made


def ranges(n: int) -> Iterator[Any]:
    return ({"from": i, "to": ["", f"é{i}"], "\n": None} for i in range(n))


@pytest.mark.parametrize("n", [0, 1, 4_096, 4_097, 20_000])
def test_what_is_written_reads_back_in_order(store: LocalStore, n: int) -> None:
    files = PartitionFiles(store, "d")
    assert files.write(ranges(n)) == n
    assert list(files.read(n)) == list(ranges(n))
    assert len(store.list(FOLDER)) == -(-n // 4_096)


def test_lists_of_ids_are_cut_by_their_bytes_and_none_is_held_twice(store: LocalStore) -> None:
    each, n = 1_000, 800

    def listed() -> Iterator[Any]:
        for part in range(n):
            ids = range(part * each, part * each + each)
            yield {"ids": json.dumps([f"00000000-0000-4000-8000-{i:012x}" for i in ids])}

    files = PartitionFiles(store, "d")
    tracemalloc.start()
    try:
        assert files.write(listed()) == n
        seen = sum(len(json.loads(p["ids"])) for p in files.read(n))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    whole = sum(store.size(p) or 0 for p in store.list(FOLDER))
    assert seen == n * each
    assert whole > 32 << 20
    assert max(store.size(p) or 0 for p in store.list(FOLDER)) < 5 << 20
    # A file's lines, what they are joined to, and a partition; never the list.
    assert peak < whole / 2


def test_a_listing_that_was_killed_leaves_nothing_behind(store: LocalStore) -> None:
    stop = Stop()

    def killed() -> Iterator[Any]:
        for i, part in enumerate(ranges(9_000)):
            if i == 8_500:
                stop.set()
            yield part

    with pytest.raises(Interrupted):
        PartitionFiles(store, "first").write(killed(), stop.check)
    assert len(store.list(FOLDER)) == 2
    files = PartitionFiles(store, "second")
    assert files.write(ranges(3)) == 3
    assert len(store.list(FOLDER)) == 1
    assert list(files.read(3)) == list(ranges(3))


@pytest.mark.parametrize("damage", ["missing", "bit", "other", "shorter", "empty", "text"])
def test_a_damaged_file_is_found_before_a_partition_of_it_is_read(store: LocalStore, damage: str) -> None:
    files = PartitionFiles(store, "d")
    n = files.write(ranges(5_000))
    path = f"{FOLDER}/00001.jsonl"
    raw = store.read(path, 1 << 30)
    head, _, body = raw.partition(b"\n")
    if damage == "missing":
        store.delete(path)
    else:
        changed = {
            "bit": head + b"\n" + body.replace(b"4100", b"4101", 1),
            "other": head.replace(b'"d"', b'"e"') + b"\n" + body,
            "shorter": head + b"\n" + b"".join(body.splitlines(keepends=True)[:-1]),
            "empty": b"",
            "text": b"[]\n" + body,
        }[damage]
        assert changed != raw
        store.put(path, changed)
    found = files.read(n)
    assert [next(found) for _ in range(4_096)] == list(ranges(4_096))
    with pytest.raises(IntegrityError, match="00001"):
        next(found)
