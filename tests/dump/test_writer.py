"""One writer: equal rows give equal shards, whatever pages they come in."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.dump.small import COLLECTION, manifest_of, records, write_shards
from vecport.dump.dump import Dump, open_dump, publish
from vecport.dump.layout import Cut
from vecport.dump.manifest import ShardEntry
from vecport.dump.namespace_view import NamespaceView, shares
from vecport.dump.records import Records
from vecport.dump.store import LocalStore
from vecport.dump.writer import DumpWriter, Groups
from vecport.errors import IntegrityError
from vecport.testing.records import batch_of

ROWS = 100
ALL = batch_of(records(0, ROWS), COLLECTION)


def store(tmp_path: Path, name: str) -> LocalStore:
    made = LocalStore(str(tmp_path / name))
    made.prepare()
    return made


def write(where: LocalStore, sizes: list[int], cut: Cut = Cut(16, 48)) -> list[ShardEntry]:
    entries: list[ShardEntry] = []
    first = 0
    with DumpWriter(where, COLLECTION, cut) as writer:
        for size in sizes:
            entries += writer.add(ALL.slice(first, size))
            first += size
        return entries + writer.close()


def test_equal_rows_give_equal_bytes(tmp_path: Path) -> None:
    draw = random.Random(7)
    whole = write(store(tmp_path, "whole"), [ROWS])
    assert [e.groups for e in whole] == [(16, 16, 16), (16, 16, 16), (4,)]
    for number in range(12):
        sizes = [0]
        while sum(sizes) < ROWS:
            sizes.append(draw.randint(0, min(40, ROWS - sum(sizes))))
        assert write(store(tmp_path, str(number)), sizes) == whole, sizes


def test_every_row_group_knows_the_page_of_its_last_row() -> None:
    cutter: Groups[str] = Groups(4)
    pages = [("a", 3), ("b", 0), ("c", 9), ("d", 2)]
    found, first = [], 0
    for name, size in pages:
        found += [(g.num_rows, about, row) for g, about, row in cutter.add(ALL.slice(first, size), name)]
        first += size
    found += [(g.num_rows, about, row) for g, about, row in cutter.rest()]
    assert found == [(4, "c", 0), (4, "c", 4), (4, "c", 8), (2, "d", 1)]
    assert list(cutter.rest()) == []


def test_no_rows_are_one_empty_shard(tmp_path: Path) -> None:
    (entry,) = write(store(tmp_path, "dump"), [0])
    assert (entry.rows, entry.groups, entry.path) == (0, (), "data/part-00000-00000.parquet")


def test_a_writer_that_fails_leaves_only_whole_shards(tmp_path: Path) -> None:
    where = store(tmp_path, "dump")
    with DumpWriter(where, COLLECTION, Cut(16, 48)) as writer:
        writer.add(ALL)
        with pytest.raises(IntegrityError):
            writer.put(ALL.select(["id"]))
    assert where.list() == ["data/part-00000-00000.parquet", "data/part-00000-00001.parquet"]


def test_a_dump_and_a_namespace_of_it_read_as_records(tmp_path: Path) -> None:
    where = store(tmp_path, "dump")
    publish(where, manifest_of(write_shards(where)))
    opened = open_dump(where.url)
    view = NamespaceView(opened, shares(opened)["tenant"])

    def counted(of: Records) -> tuple[int, int, int]:
        return of.rows, sum(g.num_rows for g in of.groups()), sum(k.num_rows for k in of.keys())

    assert counted(opened) == (60, 60, 60)
    assert counted(view) == (12, 12, 12)
    assert opened.identity == opened.manifest.identity
    # The sums that are recorded are those of all namespaces together.
    assert view.identity is None
    assert isinstance(view, Dump)
