"""Cases about creating, filling and finishing a collection."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from ..connectors.contract import Mark
from ..errors import AlreadyExists, NotRepresentable, UsageError
from ..model import ids
from ..model.collection import Collection, Field, VectorField
from ..model.passport import Passport
from .bench import WRONG_SHAPE, Bench, compare, does_not_apply, opened, refused
from .heard import Heard
from .records import Array, batch_of, ragged_batch, vectors_of
from .seen import seen

SHARD = "part-00000-00000.parquet"


class Writing:
    """A target's life: prepare, write, finish, and what must never be touched."""

    # -- creating --------------------------------------------------------------------------------

    def test_a_new_collection_is_listed(self, bench: Bench) -> None:
        made = bench.filled(3)
        listed = {s.name: s.rows for s in bench.connector.collections(bench.reading_place(made.name, made))}
        assert made.name in listed
        assert listed[made.name] in (3, None)

    def test_describe_shows_what_was_created(self, bench: Bench) -> None:
        made = bench.collection()
        records = bench.records(made, 5)
        bench.put(made, records)
        with bench.source(made.name, collection=made) as source:
            found = source.describe()
        (wrote,), (vector,) = made.vectors, found.collection.vectors
        assert found.collection.name == made.name
        assert (vector.name, vector.kind, vector.dtype, vector.dim) == (wrote.name, wrote.kind, wrote.dtype, wrote.dim)
        assert found.count in (5, None)
        for record in records:
            ids.check(record.id, found.collection.id_kind)

    def test_counts_are_exact(self, bench: Bench) -> None:
        made = bench.filled(7)
        with bench.reading(made) as (source, _, _):
            assert source.count() == source.describe().count
            assert source.count() in (7, None)
        with bench.target(made.name) as target:
            described = target.describe()
            assert described is not None
            assert described.count == target.count() == 7

    def test_permissions_are_told_without_reading_or_creating(self, bench: Bench) -> None:
        made = bench.collection()
        records = bench.records(made, 3)
        plan, before = bench.plan(made, records), bench.names()
        with bench.target(made.name) as target:
            to_write = target.permissions(plan)
            assert target.describe() is None
        assert bench.names() == before
        bench.put(made, records)
        with bench.source(made.name, collection=made) as source:
            to_read = source.permissions()
        bench.expect(made, records)
        for permission in (*to_write, *to_read):
            assert permission.what
            assert permission.allowed is not False, f"{permission.what}: it worked"
            assert permission.allowed or permission.why, "what cannot be told has a reason"

    def test_opening_a_target_creates_nothing(self, bench: Bench) -> None:
        before, name = bench.names(), bench.fresh_name()
        with bench.target(name) as target:
            assert target.describe() is None
        assert bench.names() == before

    def test_prepare_can_be_repeated(self, bench: Bench) -> None:
        made = bench.collection()
        records = bench.records(made, 3)
        plan = bench.plan(made, records)
        with bench.target(made.name) as target:
            target.prepare(plan)
            target.prepare(plan)
            with opened(target, lambda: target.effects(plan)):
                target.attach(plan)
                target.write(batch_of(records, made), Mark(SHARD, 0))
                target.finish(plan.passport)
        bench.expect(made, records)

    @pytest.mark.parametrize("name", ["With Space", "UPPER", "dot.ted", "select", "a-b", "\u00e9", 'q"uote', "a" * 60])
    def test_an_odd_name_works_or_is_refused(self, bench: Bench, name: str) -> None:
        made = bench.collection(name=name)
        records = bench.records(made, 2)
        try:
            bench.put(made, records, if_exists="replace" if "replace" in bench.target_caps.if_exists else "create")
        except (NotRepresentable, UsageError):
            assert not bench.exists(name)
        else:
            bench.expect(made, records)

    # -- what is there already -------------------------------------------------------------------

    def test_existing_records_are_sacred(self, bench: Bench) -> None:
        made = bench.collection()
        records = bench.records(made, 3)
        bench.put(made, records)
        with refused(AlreadyExists), bench.writing(bench.plan(made, bench.records(made, 3, start=1))):
            pytest.fail("prepare went on")
        bench.expect(made, records)

    def test_an_empty_collection_may_be_filled(self, bench: Bench) -> None:
        made = bench.collection()
        bench.put(made, [])
        records = bench.records(made, 3)
        bench.put(made, records)
        bench.expect(made, records)

    def test_append_adds_to_what_is_there(self, bench: Bench) -> None:
        made = bench.filled(3)
        more = bench.records(made, 4, start=2, seed=8)
        if "append" not in bench.target_caps.if_exists:
            with refused(UsageError, NotRepresentable):
                bench.put(made, more, if_exists="append")
            bench.expect(made, bench.records(made, 3))
        else:
            bench.put(made, more, if_exists="append")
            bench.expect(made, [*bench.records(made, 3)[:2], *more])

    def test_append_needs_the_same_dimension(self, bench: Bench) -> None:
        if "append" not in bench.target_caps.if_exists:
            does_not_apply("append is not offered")
        made = bench.filled(3)
        other = replace(made, vectors=(replace(made.vectors[0], dim=16),))
        with refused():
            bench.put(other, bench.records(other, 1, start=5), if_exists="append")
        bench.expect(made, bench.records(made, 3))

    def test_replace_leaves_nothing_of_before(self, bench: Bench) -> None:
        made = bench.filled(3)
        other = replace(made, vectors=(replace(made.vectors[0], dim=16),))
        records = bench.records(other, 2, start=2)
        if "replace" not in bench.target_caps.if_exists:
            with refused(UsageError, NotRepresentable):
                bench.put(other, records, if_exists="replace")
            bench.expect(made, bench.records(made, 3))
        else:
            bench.put(other, records, if_exists="replace")
            bench.expect(other, records)

    def test_an_unknown_if_exists_is_refused(self, bench: Bench) -> None:
        made = bench.collection()
        with refused(UsageError, NotRepresentable):
            bench.put(made, bench.records(made, 1), if_exists="merge")
        assert not bench.exists(made.name)

    # -- records ---------------------------------------------------------------------------------

    @pytest.mark.parametrize("rows", [0, 1, 15, 16, 17])
    def test_any_number_of_records_comes_back(self, bench: Bench, rows: int) -> None:
        made = bench.collection()
        records = bench.records(made, rows)
        bench.put(made, records, rows=16)
        got = bench.expect(made, records, bench.read(made, page_rows=16))
        with bench.target(made.name) as target:
            assert target.count() == rows
        assert all(page.batch.num_rows for page in got.pages)

    def test_a_row_group_above_the_request_size_is_split(self, bench: Bench) -> None:
        rows = bench.target_caps.write_rows + 1
        if rows > 10_001:
            does_not_apply(f"a request takes {rows - 1:,} records")
        made = bench.collection(replace(bench.vector(), dim=8))
        records = [replace(r, metadata={}, document=None) for r in bench.records(made, rows)]
        bench.put(made, records)
        bench.expect(made, records, bench.read(made, page_rows=1000))

    def test_a_row_group_written_twice_is_there_once(self, bench: Bench) -> None:
        made = bench.collection()
        records = bench.records(made, 5)
        plan = bench.plan(made, records)
        with bench.writing(plan) as target:
            for _ in range(2):
                target.write(batch_of(records, made), Mark(SHARD, 0))
            target.finish(plan.passport)
            assert target.count() == 5
        bench.expect(made, records)

    def test_a_record_is_replaced_as_a_whole(self, bench: Bench) -> None:
        if "append" not in bench.target_caps.if_exists:
            does_not_apply("append is not offered, so no record is ever replaced")
        made = bench.collection()
        before, after = bench.records(made, 4), bench.records(made, 4, seed=8)
        bench.put(made, before)
        after = [replace(after[0], metadata={}, document=None), replace(after[1], metadata={"new": "key"}), *after[2:]]
        bench.put(made, after, if_exists="append")
        bench.expect(made, after)

    @pytest.mark.parametrize("choice", ["replace", "skip", "fail"])
    def test_a_record_that_is_there_is_dealt_with_as_chosen(self, bench: Bench, choice: str) -> None:
        _needs_conflict(bench, choice)
        made = bench.collection()
        theirs, ours = bench.records(made, 3), bench.records(made, 5, start=1, seed=8)
        ours[0] = replace(ours[0], metadata={}, document=None)
        bench.put(made, theirs)
        if choice == "fail":
            with refused(AlreadyExists) as caught:
                bench.put(made, ours, if_exists="append", on_conflict=choice)
            assert any(r.id in str(caught.value) for r in (theirs[1], theirs[2])), str(caught.value)
            found = {s.key: s for s in bench.read(made).seen}
            compare(seen(batch_of(theirs, made), made), [found[r.key] for r in theirs], {})
        else:
            bench.put(made, ours, if_exists="append", on_conflict=choice)
            bench.expect(made, [theirs[0], *ours] if choice == "replace" else [*theirs, *ours[2:]])

    @pytest.mark.parametrize("choice", ["replace", "skip", "fail"])
    def test_what_somebody_writes_during_the_import_is_dealt_with_as_chosen(self, bench: Bench, choice: str) -> None:
        _needs_conflict(bench, choice)
        if bench.target_caps.concurrency == "handle":
            does_not_apply("one session in one thread")
        made = bench.collection()
        ours, theirs = bench.records(made, 8), bench.records(made, 6, start=4, seed=8)
        plan = bench.plan(made, ours, on_conflict=choice)
        with bench.writing(plan) as target:
            target.write(batch_of(ours[:4], made), Mark(SHARD, 0))
            with bench.target(made.name) as other:
                other.attach(bench.plan(made, theirs, resume=True))
                other.write(batch_of(theirs, made), Mark(SHARD, 7))
            if choice == "fail":
                with refused(AlreadyExists):
                    target.write(batch_of(ours[4:], made), Mark(SHARD, 1))
            else:
                target.write(batch_of(ours[4:], made), Mark(SHARD, 1))
            target.finish(plan.passport)
        bench.expect(made, [*ours, *theirs[4:]] if choice == "replace" else [*ours[:4], *theirs])

    @pytest.mark.parametrize("choice", ["replace", "skip", "fail"])
    def test_an_interrupted_import_meets_its_own_records(self, bench: Bench, choice: str) -> None:
        _needs_conflict(bench, choice)
        made = bench.collection()
        records = bench.records(made, 12)
        plan = bench.plan(made, records, on_conflict=choice)
        groups = [records[i : i + 4] for i in range(0, 12, 4)]
        with bench.writing(plan) as target:
            for group in range(2):
                target.write(batch_of(groups[group], made), Mark(SHARD, group))
        with bench.writing(replace(plan, resume=True)) as target:
            acknowledged = target.acknowledged()
            # Without marks of its own the last row group may have arrived and not have been acknowledged.
            done = {Mark(SHARD, 0)} if acknowledged is None else acknowledged
            for group, part in enumerate(groups):
                if Mark(SHARD, group) not in done:
                    target.write(batch_of(part, made), Mark(SHARD, group))
            target.finish(plan.passport)
        bench.expect(made, records)

    @pytest.mark.parametrize("dim", [7, 9, 16, 0])
    def test_a_wrong_dimension_is_refused_and_nothing_written(self, bench: Bench, dim: int) -> None:
        made = bench.collection()
        records = bench.records(made, 3)
        with bench.writing(bench.plan(made, records)) as target:
            with refused(*WRONG_SHAPE):
                target.write(ragged_batch(records, made, dim), Mark(SHARD, 0))
            assert target.count() == 0

    def test_other_columns_are_refused_and_nothing_written(self, bench: Bench) -> None:
        made = bench.collection()
        records = bench.records(made, 3)
        batch = batch_of(records, made)
        lacking = batch.drop_columns([made.columns()[made.vectors[0].name]])
        with bench.writing(bench.plan(made, records)) as target:
            with refused(*WRONG_SHAPE, UsageError):
                target.write(lacking, Mark(SHARD, 0))
            assert target.count() == 0

    def test_deleted_records_are_gone_and_the_others_stay(self, bench: Bench) -> None:
        made = bench.collection()
        records = bench.records(made, 6)
        bench.put(made, records)
        with bench.target(made.name) as target:
            try:
                target.delete([records[1].key, records[4].key])
                target.delete([records[1].key, bench.records(made, 1, start=50)[0].key])
            except (NotImplementedError, UsageError):
                does_not_apply("it does not delete")
        bench.expect(made, [r for n, r in enumerate(records) if n not in (1, 4)])

    # -- the end ---------------------------------------------------------------------------------

    def test_finish_makes_every_record_visible(self, bench: Bench) -> None:
        made = bench.collection()
        records = bench.records(made, 60)
        bench.put(made, records, rows=20)
        with bench.target(made.name) as target:
            assert target.count() == 60
        bench.expect(made, records)

    def test_finish_can_be_repeated(self, bench: Bench) -> None:
        made = bench.collection()
        records = bench.records(made, 3)
        plan = bench.plan(made, records)
        with bench.writing(plan) as target:
            target.write(batch_of(records, made), Mark(SHARD, 0))
            target.finish(plan.passport)
            target.finish(plan.passport)
        bench.expect(made, records)

    def test_what_a_target_tells_can_be_shown(self, bench: Bench) -> None:
        made = bench.collection()
        records = bench.records(made, 60)
        plan = bench.plan(made, records)
        heard = Heard()
        with bench.target(made.name) as target:
            target.report = heard
            target.prepare(plan)
            with opened(target, lambda: target.effects(plan)):
                target.attach(plan)
                target.write(batch_of(records, made), Mark(SHARD, 0))
                target.finish(plan.passport)
        assert all(type(note) is str and note.strip() for note in heard.notes), heard.notes
        for done, total, unit, step in heard.steps:
            assert unit.strip(), "it does not say what is counted"
            assert type(step) is str
            assert done >= 0
            assert total is None or total >= 0
        bench.expect(made, records)

    def test_the_passport_comes_back(self, bench: Bench) -> None:
        made = bench.collection()
        records = bench.records(made, 2)
        fields = tuple(Field(f'field "{n}" \u00e9', "text", "text") for n in range(200))
        dump = Collection("dump", "string", (VectorField("t", dim=8, metric="l1"),), fields)
        passport = Passport(dump, vectors={"": "t"}, identity="ab" * 16, rows=2, import_id="i", rules="x")
        plan = bench.plan(made, records, passport=passport.to_json())
        with bench.writing(plan) as target:
            loading = target.describe()
            target.write(batch_of(records, made), Mark(SHARD, 0))
            target.finish(passport.to_json("complete"))
        with bench.source(made.name, collection=made) as source:
            found = source.describe()
        if not bench.target_caps.passport:
            assert found.passport is None
        else:
            assert found.passport == passport.to_json("complete")
            assert loading is None or loading.passport == passport.to_json()
        bench.expect(made, records)

    def test_only_transactional_targets_name_their_marks(self, bench: Bench) -> None:
        made = bench.collection()
        records = bench.records(made, 4)
        plan = bench.plan(made, records)
        with bench.writing(plan) as target:
            for group in range(2):
                target.write(batch_of(records[2 * group : 2 * group + 2], made), Mark(SHARD, group))
        again = replace(plan, resume=True)
        with bench.writing(again) as target:
            expected = {Mark(SHARD, 0), Mark(SHARD, 1)} if bench.target_caps.ack == "transactional" else None
            assert target.acknowledged() == expected

    @pytest.mark.parametrize("done", [0, 1, 3])
    def test_an_interrupted_import_is_completed(self, bench: Bench, done: int) -> None:
        made = bench.collection()
        records = bench.records(made, 12)
        plan = bench.plan(made, records)
        groups = [records[i : i + 4] for i in range(0, 12, 4)]
        with bench.writing(plan) as target:
            for group in range(done):
                target.write(batch_of(groups[group], made), Mark(SHARD, group))
        with bench.writing(replace(plan, resume=True)) as target:
            acknowledged = target.acknowledged()
            if acknowledged is None:
                # The journal may lag behind: the last row group is written once more.
                first = 0 if bench.target_caps.ack == "rebuild" else max(0, done - 1)
                acknowledged = {Mark(SHARD, g) for g in range(first)}
            for group, part in enumerate(groups):
                if Mark(SHARD, group) not in acknowledged:
                    target.write(batch_of(part, made), Mark(SHARD, group))
            target.finish(plan.passport)
        bench.expect(made, records)

    # -- search ----------------------------------------------------------------------------------

    @pytest.mark.parametrize("metric", ["l2", "cosine", "dot", "l1"])
    def test_search_finds_the_nearest(self, bench: Bench, metric: str) -> None:
        caps = bench.target_caps
        if metric not in caps.metrics_of("dense") or "float32" not in caps.kinds.get("dense", ()):
            does_not_apply(f"no {metric} over dense float32")
        made = bench.collection(replace(bench.vector(dtype="float32"), dim=16, metric=metric))
        vectors = vectors_of(made.vectors[0], 100)
        records = [
            replace(r, vectors={made.vectors[0].name: v})
            for r, v in zip(bench.records(made, 100), vectors, strict=True)
        ]
        bench.put(made, records)
        query = vectors_of(made.vectors[0], 1, seed=99)[0]
        with bench.target(made.name) as target:
            try:
                hits = target.search(made.vectors[0].name, query, 10)
            except (NotImplementedError, UsageError):
                does_not_apply("it does not search")
            hint = target.query_hint()
        wanted = _nearest(np.stack(vectors), query, metric)[:10]
        found = [h.id for h in hits]
        assert len(set(found)) == len(found) == 10
        assert found[0] == records[wanted[0]].id, "the nearest record does not come first"
        recall = len({records[i].id for i in wanted} & set(found)) / 10
        assert recall >= 0.9, f"recall {recall}"
        assert isinstance(hint, str)

    def test_a_batch_sliced_from_a_larger_one_is_written_right(self, bench: Bench) -> None:
        made = bench.collection()
        records = bench.records(made, 9)
        plan = bench.plan(made, records[3:7])
        with bench.writing(plan) as target:
            target.write(batch_of(records, made).slice(3, 4), Mark(SHARD, 0))
            target.finish(plan.passport)
        bench.expect(made, records[3:7])

    def test_keys_of_metadata_need_not_be_sorted(self, bench: Bench) -> None:
        if "string" not in bench.target_caps.metadata.exact:
            does_not_apply("metadata holds no strings")
        made = bench.collection()
        record = replace(bench.records(made, 1)[0], metadata={"a": "1", "b": "2", "c": "3"})
        batch = batch_of([record], made)
        place = batch.schema.get_field_index("metadata")
        batch = batch.set_column(place, batch.schema.field(place), pa.array(['{"c":"3","a":"1","b":"2"}']))
        plan = bench.plan(made, [record])
        with bench.writing(plan) as target:
            target.write(batch, Mark(SHARD, 0))
            target.finish(plan.passport)
        bench.expect(made, [record])


def _needs_conflict(bench: Bench, choice: str) -> None:
    caps = bench.target_caps
    if choice not in caps.on_conflict:
        does_not_apply(f"on-conflict {choice} is not offered")
    if caps.ack == "rebuild" or "append" not in caps.if_exists:
        does_not_apply("nothing else is there while it writes")


def _nearest(matrix: Array, query: Array, metric: str) -> list[int]:
    rows, q = matrix.astype(np.float64), query.astype(np.float64)
    if metric == "l2":
        distances = ((rows - q) ** 2).sum(axis=1)
    elif metric == "l1":
        distances = np.abs(rows - q).sum(axis=1)
    else:
        distances = -(rows @ q)
        if metric == "cosine":
            distances = distances / np.linalg.norm(rows, axis=1)
    return [int(i) for i in np.argsort(distances, kind="stable")]
