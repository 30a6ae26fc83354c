"""Parts of a dump, one for each namespace: together they are the whole."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.operations.rooms import fill, room
from vecport.dump import open_dump
from vecport.dump.dump import publish
from vecport.dump.namespace_view import NamespaceView, shares
from vecport.dump.store import open_store
from vecport.errors import IntegrityError, NotFound
from vecport.operations import split
from vecport.operations.export import export
from vecport.operations.import_ import import_
from vecport.operations.ls import ls

from .support import ROWS, at, records_of


def test_parts_are_the_whole_and_read_only_what_is_theirs(dump: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = open_dump(dump)
    found = shares(opened)
    assert sum(s.rows for s in found.values()) == opened.rows
    for name, share in found.items():
        part = NamespaceView(opened, share)
        assert {s.path for s in part.manifest.shards} < {s.path for s in opened.manifest.shards}
        read = [b for entry in part.manifest.shards for b in part.shard(entry).groups()]
        assert all(b.num_rows for b in read)
        assert sum(b.num_rows for b in read) == share.rows == part.rows
        assert {ns for b in read for ns in b.column("namespace").to_pylist()} == {name}
        ids = [i for b in part.keys(("id",)) for i in b.column("id").to_pylist()]
        assert sorted(ids) == [f"doc{i}" for i in range(ROWS)]


def test_records_that_are_not_those_that_were_counted_are_noticed(dump: Path) -> None:
    opened = open_dump(dump)
    share = shares(opened)["eu"]
    path, groups = next(iter(share.groups.items()))
    at_group = next(g for g, n in enumerate(groups) if n)
    wrong = tuple(n + (g == at_group) for g, n in enumerate(groups))
    part = NamespaceView(opened, replace(share, groups={path: wrong}))
    with pytest.raises(IntegrityError, match="records of namespace 'eu' in row group"):
        list(part.shard(part.manifest.shards[0]).groups())


def test_a_flipped_byte_is_found_although_parts_are_not_hashed_again(dump: Path) -> None:
    opened = open_dump(dump)
    part = NamespaceView(opened, shares(opened)["eu"], checked=True)
    entry = part.manifest.shards[0]
    path = dump / entry.path
    whole = path.read_bytes()
    try:
        for place in range(200, len(whole) - entry.footer_bytes, 301):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
            with pytest.raises(IntegrityError):
                NamespaceView(opened, part.share).shard(entry).check_all()
        path.write_bytes(whole[:-20] + bytes([whole[-20] ^ 1]) + whole[-19:])
        with pytest.raises(IntegrityError):
            list(part.shard(entry).groups())
    finally:
        path.write_bytes(whole)


def test_no_vector_is_read_before_the_sha256_where_nobody_checked_the_whole_dump(dump: Path) -> None:
    [piece] = [p for p in split.pieces(open_dump(dump), at("memory:unchecked", "docs")) if p.namespace == "eu"]
    path = dump / piece.dump.manifest.shards[0].path
    whole = path.read_bytes()
    try:
        path.write_bytes(whole[:200] + bytes([whole[200] ^ 0x10]) + whole[201:])
        with pytest.raises(IntegrityError, match="SHA-256"):
            list(piece.dump.shard(piece.dump.manifest.shards[0]).groups())
    finally:
        path.write_bytes(whole)


def test_a_profile_that_lies_loses_nothing(tmp_path: Path) -> None:
    """A stranger's dump names one namespace of four."""
    folder = tmp_path / "dump"
    with room() as source:
        fill(source, records_of())
        export(source, folder)
    opened = open_dump(folder)
    shards = tuple(
        replace(s, profile=replace(s.profile, namespaces={"": s.rows})) for s in opened.manifest.shards
    )  # fmt: skip
    lying = replace(opened.manifest, shards=shards)
    (folder / "manifest.json").unlink()
    publish(open_store(folder), lying)
    with room() as place:
        with pytest.raises(IntegrityError, match="namespaces"):
            import_(folder, place, namespaces="split")
        with pytest.raises(NotFound):
            ls(place)
