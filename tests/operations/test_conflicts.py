"""Records that are in the target already: kept, replaced as a whole, or an error with their id."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vecport.connectors.contract import Mark
from vecport.connectors.guest import Clock
from vecport.connectors.memory import MemoryTarget
from vecport.errors import AlreadyExists, Incomplete, Unavailable, UsageError
from vecport.operations.export import export
from vecport.operations.import_ import import_
from vecport.operations.verify import verify

from .rooms import fill, held, record, room

ROWS = 12


@pytest.fixture(scope="module")
def dump(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve records in row groups of three."""
    folder = tmp_path_factory.mktemp("conflicts") / "dump"
    with room() as place:
        fill(place, [record(f"r{i:02}", i) for i in range(ROWS)])
        export(place, folder, shard_rows=3)
    return folder


@pytest.fixture
def place() -> Iterator[str]:
    with room() as address:
        yield address


def theirs(*numbers: int) -> list[Any]:
    return [record(f"r{n:02}", -1.0, mine=True) for n in numbers]


class _Writer:
    """Somebody who writes each time before vecport does."""

    def __init__(self, patch: pytest.MonkeyPatch, address: str) -> None:
        self.steps: list[list[Any]] = []
        write = MemoryTarget.write

        def both(target: MemoryTarget, batch: Any, mark: Mark) -> None:
            if mark.shard != "application" and self.steps:
                fill(address, self.steps.pop(0))
            write(target, batch, mark)

        patch.setattr(MemoryTarget, "write", both)


@pytest.fixture
def writer(place: str, monkeypatch: pytest.MonkeyPatch) -> _Writer:
    return _Writer(monkeypatch, place)


def test_skip_keeps_every_row_of_an_application_that_writes_meanwhile(dump: Path, place: str, writer: _Writer) -> None:
    writer.steps = [theirs(4, 10), theirs(10, 11), [record("new", 7)]]
    result = import_(dump, place, on_conflict="skip", workers=1)
    found = held(place)
    assert {k[1] for k, m in found.items() if m.get("mine")} == {"r04", "r10", "r11"}
    assert len(found) == ROWS + 1
    assert found["", "r00"] == {"n": 0.0}
    assert any("counts 13 records, 1 more than the dump explains" in n for n in result.notes)


def test_replace_takes_the_dumps_rows_and_refuses_a_count_that_is_not_the_dumps(
    dump: Path, place: str, writer: _Writer
) -> None:
    writer.steps = [theirs(4, 10)]
    import_(dump, place, workers=1)
    assert not any(m.get("mine") for m in held(place).values())
    writer.steps = [[record("new", 7)]]
    with pytest.raises(Incomplete, match="counts 13 records"):
        import_(dump, place, workers=1, if_exists="replace")


def test_fail_names_the_record_and_what_to_choose(dump: Path, place: str, writer: _Writer) -> None:
    writer.steps = [[], [], theirs(7)]
    with pytest.raises(AlreadyExists, match="'r07'") as caught:
        import_(dump, place, on_conflict="fail", workers=1)
    assert caught.value.exit_code == 11
    assert "--on-conflict skip" in caught.value.next
    assert held(place)["", "r07"] == {"n": -1.0, "mine": True}


def test_records_that_are_gone_are_missed_whatever_was_chosen(
    dump: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish = MemoryTarget.finish

    def losing(target: MemoryTarget, passport: Any) -> None:
        target.delete([("", "r03")])
        finish(target, passport)

    monkeypatch.setattr(MemoryTarget, "finish", losing)
    with pytest.raises(Incomplete, match="counts 11 records"):
        import_(dump, place, on_conflict="skip")


@pytest.mark.parametrize("choice", ["replace", "skip", "fail"])
def test_append_to_what_is_there(dump: Path, place: str, choice: str) -> None:
    fill(place, [*theirs(2, 3), record("other", 5)])
    if choice == "fail":
        with pytest.raises(AlreadyExists, match=r"'r0[23]'"):
            import_(dump, place, if_exists="append", on_conflict=choice)
        assert held(place)["", "r02"] == {"n": -1.0, "mine": True}
        return
    import_(dump, place, if_exists="append", on_conflict=choice)
    found = held(place)
    assert len(found) == ROWS + 1
    assert found["", "other"] == {"n": 5.0}
    assert sum("mine" in m for m in found.values()) == (2 if choice == "skip" else 0)


@pytest.mark.parametrize("choice", ["replace", "skip", "fail"])
def test_an_import_that_broke_off_goes_on(dump: Path, place: str, choice: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The third row group arrives and its acknowledgement is lost: on the way again it meets itself."""
    write, calls = MemoryTarget.write, [0]

    def broken(target: MemoryTarget, batch: Any, mark: Mark) -> None:
        write(target, batch, mark)
        calls[0] += 1
        if calls[0] == 3:
            raise AssertionError("the power is gone")

    monkeypatch.setattr(MemoryTarget, "write", broken)
    with pytest.raises(AssertionError, match="the power is gone"):
        import_(dump, place, on_conflict=choice, workers=1)
    monkeypatch.setattr(MemoryTarget, "write", write)
    result = import_(dump, place, on_conflict=choice, workers=1)
    assert (result.resumed_rows, result.written_rows) == (6, 6)
    assert {k[1]: m for k, m in held(place).items()} == {f"r{i:02}": {"n": float(i)} for i in range(ROWS)}


def test_a_run_that_was_killed_while_it_tidied_up_leaves_nothing_behind(dump: Path, place: str) -> None:
    from vecport.dump import open_dump
    from vecport.operations.import_plan import import_id_for
    from vecport.operations.import_state import ImportState, state_folder
    from vecport.operations.sessions import endpoint

    import_(dump, place)
    there = endpoint(place, role="target", collection="docs", create=True)
    import_id = import_id_for(open_dump(dump), there)
    left = state_folder() / "imports" / import_id
    ImportState(import_id).begin({})
    ImportState(import_id).acknowledge(Mark("data/part-00000-00000.parquet", 0))
    (left / "state.json").unlink()
    with pytest.raises(AlreadyExists, match="holds 12 records"):
        import_(dump, place)
    assert not left.exists()


def test_several_workers_choose_the_same(dump: Path, place: str, writer: _Writer) -> None:
    writer.steps = [theirs(*range(ROWS))]
    import_(dump, place, on_conflict="skip", workers=2)
    kept = [m for m in held(place).values() if m.get("mine")]
    assert len(kept) >= ROWS - 3  # The other worker may have written its first row group already.


def test_verify_tells_which_records_differ_after_skip(dump: Path, place: str) -> None:
    fill(place, theirs(2, 3))
    import_(dump, place, if_exists="append", on_conflict="skip")
    found = verify(dump, place)
    assert (found.exit_code, found.equal, found.missing, found.extra) == (3, ROWS - 2, 0, 0)
    assert [(f.kind, f.id) for f in found.examples] == [("changed", "r02"), ("changed", "r03")]


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_choice_that_the_target_lacks_is_refused_before_anything_is_there(
    dump: Path, tmp_path: Path, dry_run: bool
) -> None:
    target = tmp_path / "rows.jsonl"
    with pytest.raises(UsageError, match=r"--on-conflict skip: .* does not offer it") as caught:
        import_(dump, f"jsonl:{target}", on_conflict="skip", dry_run=dry_run)
    assert caught.value.next == "one of: replace"
    assert not target.exists()


@pytest.mark.parametrize("wrong", [{"on_conflict": "merge"}, {"if_exists": "merge"}, {"namespaces": "drop"}])
def test_an_unknown_choice_is_a_usage_error(dump: Path, place: str, wrong: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="is not known"):
        import_(dump, place, **wrong)  # type: ignore[arg-type]


def test_a_lost_answer_to_a_write_is_no_conflict(dump: Path, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The write arrives, its answer does not, and it is tried again."""
    write, lost = MemoryTarget.write, [True]

    def once(target: MemoryTarget, batch: Any, mark: Mark) -> None:
        write(target, batch, mark)
        if lost.pop() if lost else False:
            raise Unavailable("the answer was lost")

    monkeypatch.setattr(MemoryTarget, "write", once)
    monkeypatch.setattr("vecport.connectors.guest.CLOCK", Clock(sleep=lambda s: None))
    assert import_(dump, place, on_conflict="fail").written_rows == ROWS
