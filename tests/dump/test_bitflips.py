"""Damage of single bits, and of whole files: validation finds all of it and names the file."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.dump.small import small_dump
from vecport.dump.dump import Dump, open_dump
from vecport.errors import IntegrityError, NotFound, VecportError
from vecport.operations.validate import validate


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("flips") / "dump"
    small_dump(place, shards=2, rows=12)
    return place


@contextmanager
def changed(path: Path, data: bytes) -> Iterator[None]:
    """Another content in a file while the block runs."""
    whole = path.read_bytes()
    path.write_bytes(data)
    try:
        yield
    finally:
        path.write_bytes(whole)


@contextmanager
def flipped(path: Path, raw: bytes, place: int, bit: int) -> Iterator[None]:
    """Another bit in a file while the block runs; ``raw`` is what it holds."""
    file = os.open(path, os.O_WRONLY)
    try:
        os.pwrite(file, bytes([raw[place] ^ 1 << bit]), place)
        yield
    finally:
        os.pwrite(file, raw[place : place + 1], place)
        os.close(file)


def findings(folder: Path, level: str = "full") -> list[str]:
    return [c["message"] for c in validate(folder, level=level).checks if not c["passed"]]


def test_every_byte_of_the_manifest_counts(tmp_path: Path) -> None:
    folder = tmp_path / "dump"
    small_dump(folder, shards=1, rows=2)
    path, draw, count = folder / "manifest.json", random.Random(1), 0
    raw = path.read_bytes()
    for place in range(len(raw)):
        for bit in {draw.randrange(8), draw.randrange(8)}:
            with flipped(path, raw, place, bit):
                found = findings(folder, "quick")
            assert len(found) == 1, (place, bit)
            assert "manifest.json" in found[0]
            count += 1
    assert findings(folder, "deep") == []
    print(f"\nmanifest: {count:,} flips in {len(raw):,} bytes, all found")


def test_flips_in_shards_are_found_and_named(folder: Path) -> None:
    shards, draw = sorted(folder.glob("data/*.parquet")), random.Random(2)
    whole = {p: p.read_bytes() for p in shards}
    for _ in range(1500):
        path = draw.choice(shards)
        with flipped(path, whole[path], draw.randrange(len(whole[path])), draw.randrange(8)):
            found = findings(folder)
        assert len(found) == 1
        assert f"data/{path.name}" in found[0]
        assert "SHA-256" in found[0]
    print(f"\nshards: 1,500 flips in {sum(map(len, whole.values())):,} bytes, all found")


def keys_of(dump: Dump) -> list[tuple[object, ...]]:
    return [tuple(row.values()) for batch in dump.keys() for row in batch.to_pylist()]


def test_keys_are_the_right_ones_or_refused(folder: Path) -> None:
    """Keys and hashes are read after a check of the footer alone: page checksums must catch the rest."""
    dump, draw = open_dump(folder), random.Random(3)
    right, refused, untouched = keys_of(dump), 0, 0
    path = folder / dump.manifest.shards[1].path
    raw = path.read_bytes()
    places = [(place, draw.randrange(8)) for place in range(len(raw))]
    for place, bit in draw.sample(places, 800):
        with flipped(path, raw, place, bit):
            try:
                found = keys_of(dump)
            except IntegrityError as e:
                refused += path.name in str(e)
                continue
        assert found == right, (place, bit)
        untouched += 1
    assert refused + untouched == 800, "a refusal names the file"
    assert refused > 100
    assert untouched > 50
    print(f"\nkeys: 800 flips, {refused} refused, {untouched} in what was not read")


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("nothing left", lambda raw: b""),
        ("one byte", lambda raw: raw[:1]),
        ("half", lambda raw: raw[: len(raw) // 2]),
        ("all but one byte", lambda raw: raw[:-1]),
        ("one byte more", lambda raw: raw + b"\0"),
        ("twice", lambda raw: raw + raw),
        ("zeros", lambda raw: bytes(len(raw))),
        ("zeros at the end", lambda raw: raw[:-512] + bytes(512)),
        ("two halves swapped", lambda raw: raw[len(raw) // 2 :] + raw[: len(raw) // 2]),
    ],
)
def test_damaged_files(folder: Path, name: str, change: Callable[[bytes], bytes]) -> None:
    for path in (folder / "manifest.json", *sorted(folder.glob("data/*.parquet"))):
        with changed(path, change(path.read_bytes())):
            for level in ("quick", "full", "deep"):
                found = findings(folder, level)
                assert len(found) == 1
                assert path.name in found[0]


def test_shards_swapped_and_of_another_dump(folder: Path, tmp_path: Path) -> None:
    first, second = sorted(folder.glob("data/*.parquet"))
    a, b = first.read_bytes(), second.read_bytes()
    with changed(first, b), changed(second, a):
        found = findings(folder)
        assert [first.name in found[0], second.name in found[1], len(found)] == [True, True, 2]
    small_dump(tmp_path / "other", shards=2, rows=16)
    with changed(first, (tmp_path / "other" / "data" / first.name).read_bytes()):
        assert len(findings(folder, "quick")) == 1


def test_a_file_that_cannot_be_read_is_no_traceback(folder: Path) -> None:
    path = next(iter(sorted(folder.glob("data/*.parquet"))))
    aside = path.with_suffix(".aside")
    path.rename(aside)
    try:
        with pytest.raises(NotFound):
            next(iter(open_dump(folder).keys()))
    finally:
        aside.rename(path)
    with pytest.raises(VecportError):
        open_dump(path)
