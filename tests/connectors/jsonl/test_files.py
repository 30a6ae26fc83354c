"""Files of JSON Lines: partitions, changes while they are read, archives, places, standard streams."""

from __future__ import annotations

import gzip
import io
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vecport.connectors.address import Place
from vecport.connectors.contract import Mark, Selection
from vecport.connectors.jsonl import client, schema
from vecport.errors import Incomplete, IntegrityError, NotFound, UsageError
from vecport.model.collection import Collection, VectorField
from vecport.testing.records import Record, batch_of

from .support import CONNECTOR, place_of, plan_of, read, write, written


def test_partitions_cut_at_every_record_and_at_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "rows.jsonl", *(f'{{"id":{n},"document":"{"x" * (n % 50)}"}}\n' for n in range(500)))
    monkeypatch.setattr(schema, "_STRIDE", 200)
    monkeypatch.setattr(schema, "_MAX_CHECKPOINTS", 16)
    for target_rows in (1, 7, 100, 499, 500, 501):
        assert [int(r["id"]) for r in read(path, 3, target_rows)[1]] == list(range(500))


def test_a_file_that_is_not_there_is_told_what_to_type_next(tmp_path: Path) -> None:
    for folder, word in ((tmp_path / "none", "folder"), (tmp_path, "another file")):
        with pytest.raises(NotFound) as caught:
            CONNECTOR.collections(place_of(folder / "row.jsonl"))
        assert word in caught.value.next
    for name in ("other.jsonl", "rows.jsonl"):
        written(tmp_path / name, "{}")
    with pytest.raises(NotFound) as caught:
        CONNECTOR.collections(place_of(tmp_path / "row.jsonl"))
    assert caught.value.next == f"name one of them, as jsonl:{tmp_path / 'rows.jsonl'}"


CHANGES: dict[str, Callable[[Path], Any]] = {
    "appended": lambda p: p.open("a").write('{"id":99}\n'),
    "truncated": lambda p: os.truncate(p, 10),
    "replaced": lambda p: os.replace(written(p.with_suffix(".new"), p.read_bytes()), p),
    "rewritten": lambda p: written(p, p.read_bytes()),
    "removed": lambda p: p.unlink(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_changes_is_incomplete(tmp_path: Path, change: str) -> None:
    path = written(tmp_path / "rows.jsonl", *(f'{{"id":{n}}}' for n in range(20)))
    os.utime(path, ns=(1, 1))
    with CONNECTOR.open_source(place_of(path), "rows", Selection()) as source:
        token = source.snapshot()
        source.attach(token)
        (part,) = source.partitions(100, token)
        scan = source.scan(part, None, 5)
        next(scan)
        CHANGES[change](path)
        with pytest.raises(Incomplete, match="changed while it was read"):
            list(scan)
        with pytest.raises(Incomplete):
            source.count()
        assert not source.alive(token)


@pytest.mark.parametrize("suffix", [".jsonl.gz", ".ndjson.zst"])
def test_a_truncated_archive_is_an_error(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"rows{suffix}"
    write(path, Collection("rows", "int", (VectorField("", dim=4),)), [
        Record(str(n), {"": np.arange(4, dtype=np.float32) + n}) for n in range(100)])  # fmt: skip
    assert len(read(path)[1]) == 100
    os.truncate(path, path.stat().st_size - 9)
    with pytest.raises(IntegrityError, match="cannot be unpacked"):
        read(path)


def test_a_foreign_archive_of_several_members_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"id":1}\n{"id"') + gzip.compress(b":2}\n"))
    assert [r["id"] for r in read(path)[1]] == ["1", "2"]


def test_a_line_has_a_length_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "MAX_LINE_BYTES", 100)
    path = written(tmp_path / "rows.jsonl", '{"id":1}', '{"id":"' + "x" * 100 + '"}')
    with pytest.raises(IntegrityError, match="line 2: it is longer than 100 bytes"):
        read(path)


def test_places_are_named(tmp_path: Path) -> None:
    written(tmp_path / "one.jsonl", '{"id":1}')
    written(tmp_path / "two.ndjson.gz", b"")
    assert CONNECTOR.recognises(str(tmp_path / "one.jsonl"))
    assert CONNECTOR.recognises(str(tmp_path / "two.ndjson.gz"))
    assert not CONNECTOR.recognises(str(tmp_path / "three.jsonl"))
    assert not CONNECTOR.recognises(str(tmp_path))
    assert [s.name for s in CONNECTOR.collections(place_of(tmp_path / "one.jsonl"))] == ["one"]
    with pytest.raises(NotFound, match=r"one\.jsonl, two\.ndjson\.gz"):
        CONNECTOR.collections(place_of(tmp_path / "three.jsonl"))
    with pytest.raises(NotFound, match="collections there: 'one'"):
        CONNECTOR.open_source(place_of(tmp_path / "one.jsonl"), "two", Selection())
    with pytest.raises(UsageError, match="is a folder"):
        read(tmp_path)
    with pytest.raises(NotFound, match="no folder"):
        write(tmp_path / "no" / "rows.jsonl", Collection("rows"), [])


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[bytes], None]]:
    def give(data: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))

    monkeypatch.setattr(client, "_stdin_copy", {})
    yield give
    for path in client._stdin_copy.values():
        Path(path).unlink(missing_ok=True)


def test_stdin_is_read_once_and_serves_every_session(stdin: Callable[[bytes], None]) -> None:
    stdin(b'{"id":1}\n{"id":2}\n')
    place = Place(scheme="jsonl", text="-", path="-")
    assert [s.name for s in CONNECTOR.collections(place)] == ["stdin"]
    with CONNECTOR.open_source(place, "stdin", Selection()) as source:
        assert source.describe().count == 2
    with CONNECTOR.open_source(place, "stdin", Selection()) as source:
        token = source.snapshot()
        source.attach(token)
        assert sum(b.num_rows for b in source.keys()) == 2


def test_a_bad_line_of_stdin_is_named(stdin: Callable[[bytes], None]) -> None:
    stdin(b'{"id":1}\n{"id":\n')
    with (
        pytest.raises(IntegrityError, match="stdin, line 2"),
        CONNECTOR.open_source(Place("jsonl", "-", path="-"), "stdin", Selection()) as source,
    ):
        source.describe()


def test_stdout_gets_the_lines(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    collection = Collection("rows", "int", (VectorField("", dim=2),))
    batch = batch_of([Record("7", {"": np.array([0.1, 2], np.float32)}, {"a": 1})], collection)
    plan = plan_of(collection, 1)
    with CONNECTOR.open_target(Place("jsonl", "-", path="-"), "x") as session:
        session.prepare(plan)
        session.attach(plan)
        session.write(batch, Mark("a", 0))
        session.write(batch, Mark("a", 0))
        session.finish({})
        assert session.count() == 1
    assert capfdbinary.readouterr().out == b'{"id":7,"vector":[0.1,2.0],"metadata":{"a":1}}\n'
