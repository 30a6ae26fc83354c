"""Cases about whose things are: collections of other imports, foreign files, handles, a database that is busy."""

from __future__ import annotations

import os
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from ..connectors import registry
from ..connectors.contract import Mark, TargetPlan
from ..errors import AlreadyExists, Unavailable, UsageError
from ..model.collection import Collection
from ..model.passport import Passport
from .bench import EVERYTHING, Bench, does_not_apply, opened, refused
from .records import Record, batch_of

SHARD = "part-00000-00000.parquet"


class Lifecycle:
    """What an import made is its own, what it did not make is somebody else's, and nothing is held for ever."""

    connector: ClassVar[Any]

    # -- an import that goes on ------------------------------------------------------------------

    @pytest.mark.parametrize("if_exists", ["create", "replace", "append"])
    def test_a_resumed_import_keeps_what_it_wrote(self, bench: Bench, if_exists: str) -> None:
        plan, made, records = _of_an_import(bench, if_exists)
        if bench.target_caps.ack == "rebuild":
            does_not_apply("what is not finished is not there")
        with bench.writing(plan) as target:
            target.write(batch_of(records[:3], made), Mark(SHARD, 0))
            target.write(batch_of(records[3:4], made), Mark(SHARD, 1))
        with bench.writing(replace(plan, resume=True)) as target:
            # The last row group may not have been acknowledged; a target with marks of its own says so itself.
            for group, part in ((1, records[3:4]), (2, records[4:])):
                if Mark(SHARD, group) not in (target.acknowledged() or ()):
                    target.write(batch_of(part, made), Mark(SHARD, group))
            target.finish(plan.passport)
        bench.expect(made, records)

    def test_a_resumed_replace_leaves_nothing_of_a_stranger(self, bench: Bench) -> None:
        plan, made, records = _of_an_import(bench, "replace")
        bench.put(made, bench.records(made, 4, start=3, seed=8))
        with bench.writing(replace(plan, resume=True)) as target:
            assert not target.acknowledged(), "a stranger's marks"
            target.write(batch_of(records, made), Mark(SHARD, 0))
            target.finish(plan.passport)
        bench.expect(made, records)

    def test_a_resumed_import_refuses_the_records_of_another(self, bench: Bench) -> None:
        plan, made, records = _of_an_import(bench, "create")
        other = replace(_of_an_import(bench, "create", made)[0], rows=2)
        with bench.writing(other) as target:
            target.write(batch_of(records[:2], made), Mark(SHARD, 0))
            target.finish(other.passport)
        with refused(AlreadyExists), bench.writing(replace(plan, resume=True)):
            pytest.fail("another import's records were taken for this one's")
        bench.expect(made, records[:2])

    @pytest.mark.parametrize("if_exists", ["create", "replace", "append"])
    def test_what_was_begun_is_known_by_its_nonce(self, bench: Bench, if_exists: str) -> None:
        plan, made, records = _begun(bench, if_exists)
        with bench.target(made.name) as target:
            assert target.begun(plan.import_id, target.describe()) is None, "known before it was begun"
            target.prepare(plan)
        with bench.target(made.name) as target:
            there = target.describe()
            assert target.begun(plan.import_id, there) == plan.nonce, "the nonce of the plan is not kept"
            assert target.begun("another", there) is None, "another import is taken for this one"
        again = _with_nonce(plan, "b" * 32)
        with bench.writing(replace(again, resume=True)) as target:
            assert not target.acknowledged(), "acknowledged before it began anew"
            assert target.begun(plan.import_id, target.describe()) == again.nonce, "the nonce before is kept"
            target.write(batch_of(records, made), Mark(SHARD, 0))
            target.finish(again.passport)
        bench.expect(made, records)

    def test_records_that_are_there_are_told_from_those_that_are_not(self, bench: Bench) -> None:
        made = bench.collection()
        records = bench.records(made, 5)
        plan = bench.plan(made, records)
        with bench.writing(plan) as target:
            target.write(batch_of(records[:4], made), Mark(SHARD, 0))
            keys = [(r.namespace, r.id) for r in records]
            if target.holds(keys) is None:
                does_not_apply("its source is asked")
            # Repeated and in another order, as samples may be.
            assert list(target.holds([*keys[::-1], keys[0]]) or ()) == [False, True, True, True, True, True]
            if bench.target_caps.ack == "transactional":
                target.forget([Mark(SHARD, 0)])
                assert Mark(SHARD, 0) not in (target.acknowledged() or ())
                target.write(batch_of(records[:4], made), Mark(SHARD, 0))
            target.write(batch_of(records[4:], made), Mark(SHARD, 1))
            target.finish(plan.passport)
        bench.expect(made, records)

    def test_an_unknown_setting_is_refused_and_nothing_created(self, bench: Bench) -> None:
        made = bench.collection()
        records = bench.records(made, 1)
        settings = {**bench.suite.settings, "no-such-setting": "1"}
        with refused(UsageError) as caught:
            bench.put(made, records, settings=settings)
        assert "no-such-setting" in str(caught.value), "the setting is not named"
        assert not bench.exists(made.name), "it was created all the same"

    # -- files of others -------------------------------------------------------------------------

    def test_it_recognises_no_foreign_file(self, tmp_path: Path) -> None:
        for path in _foreign(tmp_path):
            assert not self.connector.recognises(str(path)), f"{path.name} is claimed"

    def test_its_own_place_is_recognised_by_itself_alone(self, bench: Bench) -> None:
        made = bench.filled(2)
        place = bench.place_of(made.name)
        if place.host or not Path(place.path).exists():
            does_not_apply("it is no place in the file system")
        claimed = [name for name in registry.names() if registry.get(name).recognises(place.path)]
        assert not claimed or claimed == [bench.connector.info.name]

    # -- handles ---------------------------------------------------------------------------------

    def test_a_closed_session_holds_nothing_open(self, bench: Bench) -> None:
        if not Path("/proc/self/fd").is_dir():
            does_not_apply("this system does not list open handles")
        made = bench.filled(5)
        kept: list[Any] = []

        def use() -> None:
            source, target = bench.source(made.name, collection=made), bench.target(made.name)
            with opened(source, source.effects):
                token = source.snapshot()
                source.attach(token)
                for part in source.partitions(EVERYTHING, token):
                    list(source.scan(part, None, 2))
            target.describe()
            source.close()
            target.close()
            # An object that is still there closes nothing by itself.
            kept.extend((source, target))

        for _ in range(3):
            use()
        before = _handles()
        for _ in range(8):
            use()
        more = _handles() - before
        assert more < 8, f"{more} handles stay open after 8 sessions of each role"

    # -- a database that has no time -------------------------------------------------------------

    def test_a_busy_database_is_a_reason_to_try_again(self, bench: Bench) -> None:
        made = bench.filled(3)
        there = bench.records(made, 3)
        busy = bench.suite.busy(bench.place_of(made.name), made)
        if busy is None:
            does_not_apply("the test class gives no busy database")
        more = bench.records(made, 2, start=3)
        plan = bench.plan(made, more, if_exists="append")
        with busy as place, refused(Unavailable), bench.connector.open_target(place, made.name) as target:
            target.prepare(plan)
            target.attach(plan)
            target.write(batch_of(more, made), Mark(SHARD, 0))
        bench.put(made, more, if_exists="append")
        bench.expect(made, [*there, *more])


def _of_an_import(
    bench: Bench, if_exists: str, made: Collection | None = None
) -> tuple[TargetPlan, Collection, list[Record]]:
    """A plan with a passport, as the pipeline makes it."""
    caps = bench.target_caps
    if not caps.passport:
        does_not_apply("it has no room for a passport")
    if if_exists not in caps.if_exists:
        does_not_apply(f"{if_exists} is not offered")
    made = made or bench.collection()
    records = bench.records(made, 6)
    plan = bench.plan(made, records, if_exists=if_exists)
    passport = Passport(made, rules=bench.connector.info.name, rows=len(records), import_id=plan.import_id)
    return replace(plan, passport=passport.to_json()), made, records


def _begun(bench: Bench, if_exists: str) -> tuple[TargetPlan, Collection, list[Record]]:
    """A plan as the pipeline makes it, with a nonce, for a target with or without a passport."""
    if if_exists not in bench.target_caps.if_exists:
        does_not_apply(f"{if_exists} is not offered")
    if bench.target_caps.passport:
        plan, made, records = _of_an_import(bench, if_exists)
    else:
        made = bench.collection()
        records = bench.records(made, 6)
        plan = bench.plan(made, records, if_exists=if_exists)
    return _with_nonce(plan, "a" * 32), made, records


def _with_nonce(plan: TargetPlan, nonce: str) -> TargetPlan:
    passport = {**plan.passport, "nonce": nonce} if plan.passport else plan.passport
    return replace(plan, nonce=nonce, passport=passport)


def _foreign(folder: Path) -> list[Path]:
    """Files and folders that belong to nobody here."""
    paths = {name: folder / name for name in ("empty.bin", "notes.txt", "random.dat", "other.db", "empty", "folder")}
    paths["empty.bin"].touch()
    paths["notes.txt"].write_text("nothing of interest\n")
    paths["random.dat"].write_bytes(bytes(range(256)) * 16)
    with sqlite3.connect(paths["other.db"]) as database:
        database.execute("CREATE TABLE another_application (id INTEGER PRIMARY KEY, value TEXT)")
    database.close()
    paths["empty"].mkdir()
    paths["folder"].mkdir()
    (paths["folder"] / "readme.md").write_text("# A folder\n")
    return list(paths.values())


def _handles() -> int:
    return len(os.listdir("/proc/self/fd"))
