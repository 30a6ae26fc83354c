"""Writing JSON Lines: equal bytes, and writers that may die anywhere."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vecport.connectors.contract import Mark
from vecport.connectors.kit import staged
from vecport.errors import AlreadyExists, OutOfResources
from vecport.model.collection import Collection, VectorField
from vecport.testing.records import Record, Sparse, batch_of

from .support import CONNECTOR, UUID, place_of, plan_of, read, write

SIMPLE = Collection("rows", "int", (VectorField("", dim=2),))


def groups(n: int) -> list[Any]:
    return [
        batch_of([Record(str(2 * g + i), {"": np.array([g, i], np.float32)}) for i in range(2)], SIMPLE)
        for g in range(n)
    ]


def resume(path: Path, batches: list[Any], **changes: Any) -> int:
    """Go on with an import as a coordinator does; returns how many row groups it wrote."""
    plan = plan_of(SIMPLE, 2 * len(batches), resume=True, **changes)
    with CONNECTOR.open_target(place_of(path), "rows") as session:
        session.prepare(plan)
        session.attach(plan)
        done = session.acknowledged() or set()
        for n, batch in enumerate(batches):
            if Mark("a", n) not in done:
                session.write(batch, Mark("a", n))
        session.finish({})
    return len(batches) - len(done)


def test_equal_records_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("one.jsonl.gz", "two.jsonl.gz"):
        resume(tmp_path / name, groups(3))
    assert (tmp_path / "one.jsonl.gz").read_bytes() == (tmp_path / "two.jsonl.gz").read_bytes()


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.mark.parametrize("if_exists", ["create", "replace"])
@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz"])
def test_a_writer_may_die_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, if_exists: str, suffix: str
) -> None:
    batches = groups(3)
    resume(tmp_path / f"whole{suffix}", batches)
    whole = (tmp_path / f"whole{suffix}").read_bytes()
    deaths = 0
    for n in range(1, 1000):
        path = tmp_path / f"rows{n}{suffix}"
        if if_exists == "replace":
            path.write_bytes(b"old")
        with monkeypatch.context() as patch:
            _die_at(patch, n)
            try:
                resume(path, batches, if_exists=if_exists)
            except Killed:
                deaths += 1
            else:
                break
        assert not path.exists() or path.read_bytes() in (whole, b"old"), "half a file can be seen"
        for part in tmp_path.glob(f".rows{n}.*"):
            # What was not waited for may be lost or torn.
            with part.open("ab") as file:
                file.write(b'{"torn')
        resume(path, batches, if_exists=if_exists)
        assert path.read_bytes() == whole
        assert list(tmp_path.glob(f".rows{n}.*")) == []
    assert deaths >= 15
    assert path.read_bytes() == whole


def _die_at(patch: pytest.MonkeyPatch, n: int) -> None:
    """Make the ``n``-th step that touches the disk the last one; it happens or it does not."""
    left = [n]

    def deadly(call: Callable[..., Any]) -> Callable[..., Any]:
        def step(*args: Any, **kwargs: Any) -> Any:
            left[0] -= 1
            if left[0] == 0 and n % 2:
                raise Killed
            result = call(*args, **kwargs)
            if left[0] == 0:
                raise Killed
            return result

        return step

    for name in ("fsync", "replace", "link"):
        patch.setattr(os, name, deadly(getattr(os, name)))
    patch.setattr(Path, "unlink", deadly(Path.unlink))


def test_acknowledged_row_groups_are_not_written_again(tmp_path: Path) -> None:
    path, batches = tmp_path / "rows.jsonl", groups(3)
    plan = plan_of(SIMPLE, 6)
    with CONNECTOR.open_target(place_of(path), "rows") as session:
        session.prepare(plan)
        session.attach(plan)
        session.write(batches[0], Mark("a", 0))
        session.write(batches[2], Mark("a", 2))
        assert session.count() == 4
    assert not path.exists()
    assert resume(path, batches) == 1
    assert sorted(r["id"] for r in read(path)[1]) == [str(n) for n in range(6)]


def test_a_part_file_that_was_cut_is_started_again(tmp_path: Path) -> None:
    path, batches = tmp_path / "rows.jsonl", groups(3)
    plan = plan_of(SIMPLE, 6)
    with CONNECTOR.open_target(place_of(path), "rows") as session:
        session.prepare(plan)
        session.attach(plan)
        session.write(batches[0], Mark("a", 0))
    (part,) = tmp_path.glob("*.part")
    os.truncate(part, 5)
    assert resume(path, batches) == 3
    assert len(read(path)[1]) == 6


def test_another_import_or_schema_does_not_go_on(tmp_path: Path) -> None:
    path, batches = tmp_path / "rows.jsonl", groups(2)
    plan = plan_of(SIMPLE, 4)
    with CONNECTOR.open_target(place_of(path), "rows") as session:
        session.prepare(plan)
        session.attach(plan)
        session.write(batches[0], Mark("a", 0))
    other = replace(SIMPLE, id_kind="string")
    for again in (replace(plan, import_id="two", resume=True), replace(plan, collection=other, resume=True)):
        with CONNECTOR.open_target(place_of(path), "rows") as session:
            session.prepare(again)
            assert session.acknowledged() == set()


def test_a_file_that_came_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    path, (batch,) = tmp_path / "rows.jsonl", groups(1)
    plan = plan_of(SIMPLE, 2)
    with CONNECTOR.open_target(place_of(path), "rows") as session:
        session.prepare(plan)
        session.attach(plan)
        session.write(batch, Mark("a", 0))
        path.write_text("mine")
        with pytest.raises(AlreadyExists, match="meanwhile"):
            session.finish({})
    assert path.read_text() == "mine"
    assert resume(path, [batch], if_exists="replace") == 0
    assert len(read(path)[1]) == 2


def test_a_full_disk_keeps_what_was_acknowledged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, batches = tmp_path / "rows.jsonl", groups(2)
    plan = plan_of(SIMPLE, 4)
    with CONNECTOR.open_target(place_of(path), "rows") as session:
        session.prepare(plan)
        session.attach(plan)
        session.write(batches[0], Mark("a", 0))
        with monkeypatch.context() as patch:
            patch.setattr(staged.os, "fsync", _no_space)
            with pytest.raises(OutOfResources, match="No space left"):
                session.write(batches[1], Mark("a", 1))
        assert session.acknowledged() == {Mark("a", 0)}
        session.write(batches[1], Mark("a", 1))
        session.finish({})
    assert [r["id"] for r in read(path)[1]] == ["0", "1", "2", "3"]


def _no_space(handle: int) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_lines_are_what_other_tools_expect(tmp_path: Path) -> None:
    vectors_ = (VectorField("d", dim=2), VectorField("s", "sparse"), VectorField("b", "binary", "bit", 4))
    collection = Collection("rows", "tagged", vectors_)
    full = {"d": np.array([1, 0.1], np.float32), "s": Sparse((1, 5), (0.5, 1)), "b": np.array([1, 0, 0, 1], np.uint8)}
    records = [
        Record("int:7", full, {"b": [1, None], "a": "é"}, "text", "eu"),
        Record("string:7"),
        Record(f"uuid:{UUID}", {"d": None}, {}, ""),
    ]
    path = tmp_path / "rows.jsonl"
    write(path, collection, records)
    assert path.read_text() == (
        '{"id":7,"namespace":"eu","vector":{"d":[1.0,0.1],"s":{"indices":[1,5],"values":[0.5,1.0]},'
        '"b":{"bits":"1001"}},"document":"text","metadata":{"a":"é","b":[1,null]}}\n'
        '{"id":"7"}\n'
        f'{{"id":{{"uuid":"{UUID}"}},"document":""}}\n'
    )
