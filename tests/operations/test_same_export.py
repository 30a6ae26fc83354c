"""The same export again, after its end: nothing to do, or a reason why it is not the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vecport.errors import AlreadyExists, IntegrityError
from vecport.operations import export_done
from vecport.operations.export import export

ROW = '{"id": "r%d", "vector": [1.0, %d.0]}\n'


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(ROW % (i, i) for i in range(5)))
    return path


def test_nothing_to_do(rows: Path, tmp_path: Path) -> None:
    first = export(f"jsonl:{rows}", tmp_path / "dump", read_back=True)
    again = export(f"jsonl:{rows}", tmp_path / "dump")
    assert (first.found, first.exit_code, again.exit_code, again.rows) == (None, 0, 0, 5)
    assert again.found == json.loads((tmp_path / "dump/manifest.json").read_text())["completed_at"]
    assert any("nothing was read now" in note and "--overwrite" in note for note in again.notes)


def test_a_source_that_has_grown_is_not_backed_up_by_it(rows: Path, tmp_path: Path) -> None:
    export(f"jsonl:{rows}", tmp_path / "dump")
    with rows.open("a") as file:
        file.write(ROW % (9, 9))
    with pytest.raises(AlreadyExists, match="6 records now, and had 5"):
        export(f"jsonl:{rows}", tmp_path / "dump")


def test_a_nightly_job_hears_that_it_makes_no_backup(
    rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(f"jsonl:{rows}", tmp_path / "dump")
    monkeypatch.setattr(export_done, "_age", lambda completed_at: 2 * export_done.SAME_RUN)
    with pytest.raises(AlreadyExists, match="no backup of today"):
        export(f"jsonl:{rows}", tmp_path / "dump")


def test_another_command_is_another_dump(rows: Path, tmp_path: Path) -> None:
    export(f"jsonl:{rows}", tmp_path / "dump")
    other = tmp_path / "other" / rows.name
    other.parent.mkdir()
    other.write_bytes(rows.read_bytes())
    with pytest.raises(AlreadyExists, match="another command"):
        export(f"jsonl:{other}", tmp_path / "dump")
    with pytest.raises(AlreadyExists, match="another command"):
        export(f"jsonl:{rows}", tmp_path / "dump", limit=2)


def test_a_damaged_dump_is_not_done(rows: Path, tmp_path: Path) -> None:
    export(f"jsonl:{rows}", tmp_path / "dump")
    (shard,) = (tmp_path / "dump" / "data").iterdir()
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(IntegrityError, match="finished and damaged"):
        export(f"jsonl:{rows}", tmp_path / "dump")


def test_a_shard_that_does_not_read_back_is_not_published(
    rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vecport.dump.store.LocalStore.read_back", lambda self, path: "0" * 64)
    with pytest.raises(IntegrityError, match="does not read back"):
        export(f"jsonl:{rows}", tmp_path / "dump", read_back=True)
    assert not (tmp_path / "dump/manifest.json").exists()
    monkeypatch.undo()
    assert export(f"jsonl:{rows}", tmp_path / "dump", read_back=True).rows == 5
