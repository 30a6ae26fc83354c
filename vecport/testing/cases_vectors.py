"""Cases about vectors: every kind, dtype and metric, bit for bit or within the declared bound."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ..connectors.contract import Mark
from ..model.capabilities import TargetCapabilities
from ..model.collection import METRICS, VECTOR_DTYPES, Collection, VectorField
from .bench import Bench, does_not_apply, refused
from .records import (
    HARD_FLOAT32,
    MODERATE_FLOAT32,
    NONFINITE_FLOAT32,
    Array,
    Record,
    Sparse,
    Vector,
    batch_of,
    vectors_of,
)

KINDS_AND_DTYPES = [
    *(("dense", d) for d in VECTOR_DTYPES if d != "bit"),
    ("sparse", "float32"),
    *(("multi", d) for d in VECTOR_DTYPES if d != "bit"),
    ("binary", "bit"),
]


class Vectors:
    """What is claimed comes back; what is not claimed is refused before anything is created."""

    @pytest.mark.parametrize(("kind", "dtype"), KINDS_AND_DTYPES)
    def test_vectors_come_back_exactly(self, bench: Bench, kind: str, dtype: str) -> None:
        field = bench.vector(kind, dtype)
        made = bench.collection(field)
        records = [_record(bench, made, n, {field.name: v}) for n, v in enumerate(vectors_of(field, 20))]
        if dtype not in bench.target_caps.kinds.get(kind, ()):
            with refused():
                bench.put(made, records)
            assert not bench.exists(made.name), "it was created all the same"
            return
        bench.put(made, records)
        (found,) = bench.expect(made, records).collection.vectors
        assert (found.kind, found.dtype, found.dim) == (kind, dtype, field.dim)

    @pytest.mark.parametrize("metric", METRICS)
    def test_metrics_are_kept_or_refused(self, bench: Bench, metric: str) -> None:
        caps = bench.target_caps
        kind = next((k for k in caps.kinds if metric in caps.metrics_of(k)), None) or _natural_kind(metric, caps)
        made = bench.collection(replace(bench.vector(kind), metric=metric))
        records = bench.records(made, 20)
        indexed = metric in caps.metrics_of(kind)
        if not indexed and caps.metric_required:
            with refused():
                bench.put(made, records)
            assert not bench.exists(made.name), "it was created all the same"
            return
        bench.put(made, records)
        (found,) = bench.expect(made, records).collection.vectors
        assert found.metric in ((metric,) if indexed else (metric, "unknown"))

    def test_a_declared_bound_is_also_described(self, bench: Bench) -> None:
        caps = bench.target_caps
        if not caps.bounds:
            does_not_apply("every metric is exact")
        for metric, bound in caps.bounds.items():
            made = bench.collection(replace(bench.vector(), metric=metric))
            bench.put(made, bench.records(made, 2))
            (found,) = bench.read(made).collection.vectors
            assert found.fidelity == "bounded"
            assert found.bound == bound
            assert found.normalized == bound.normalized

    def test_several_vectors_stay_apart(self, bench: Bench) -> None:
        caps = bench.target_caps
        names = [n for n in ("title", "body", "Title") if not caps.vector_names.problem(n)][: caps.vectors]
        if len(names) < 2:
            two = bench.collection(*(bench.vector(name=n) for n in ("title", "body")))
            with refused():
                bench.put(two, bench.records(two, 1))
            assert not bench.exists(two.name)
            return
        made = bench.collection(*(bench.vector(name=n, dim=8 + 8 * i) for i, n in enumerate(names)))
        records = bench.records(made, 6)
        if caps.null_vectors:
            records[2] = replace(records[2], vectors={"body": records[2].vectors["body"]})
            records[3] = replace(records[3], vectors={})
        bench.put(made, records)
        got = bench.expect(made, records)
        assert {v.name for v in got.collection.vectors} == set(names)

    def test_a_vector_name_that_is_not_claimed_is_refused(self, bench: Bench) -> None:
        caps = bench.target_caps
        odd = [n for n in ("Title", "a b", "a-b", "\u00e9", "id", "x" * 300) if caps.vector_names.problem(n)]
        if not odd:
            does_not_apply("its vectors have any name, or none")
        for name in odd:
            made = bench.collection(bench.vector(name=name))
            with refused():
                bench.put(made, bench.records(made, 1))
            assert not bench.exists(made.name)

    def test_vectors_of_all_claimed_kinds_stand_side_by_side(self, bench: Bench) -> None:
        caps = bench.target_caps
        if len(caps.kinds) < 2 or caps.vectors < 2:
            does_not_apply("it has one vector a record, or one kind")
        made = bench.collection(*(bench.vector(kind, name=f"v_{kind}") for kind in list(caps.kinds)[: caps.vectors]))
        records = bench.records(made, 6)
        if caps.null_vectors:
            for n, lacking in enumerate(made.vectors):
                there = {name: value for name, value in records[n].vectors.items() if name != lacking.name}
                records[n] = replace(records[n], vectors=there)
        bench.put(made, records, rows=4)
        bench.expect(made, records, bench.read(made, page_rows=2))

    def test_a_vector_without_a_name_is_kept_or_refused(self, bench: Bench) -> None:
        made = bench.collection(bench.vector(name=""))
        if bench.target_caps.unnamed_vector:
            bench.put(made, bench.records(made, 2))
            assert bench.expect(made, bench.records(made, 2)).collection.vectors[0].name == ""
        else:
            with refused():
                bench.put(made, bench.records(made, 2))
            assert not bench.exists(made.name)

    @pytest.mark.parametrize("lacking", [(0,), (2,), (0, 1, 2, 3, 4, 5)], ids=["first", "middle", "all"])
    def test_a_lacking_vector_stays_lacking_or_is_refused(self, bench: Bench, lacking: tuple[int, ...]) -> None:
        made = bench.collection()
        records = [replace(r, vectors={}) if n in lacking else r for n, r in enumerate(bench.records(made, 6))]
        if bench.target_caps.null_vectors:
            bench.put(made, records)
            bench.expect(made, records, bench.read(made, page_rows=2))
        else:
            bench.refuses_records(made, [records[lacking[0]]])

    def test_hard_floats_come_back_exactly(self, bench: Bench) -> None:
        made = _exact_float32(bench, len(MODERATE_FLOAT32))
        records = [_record(bench, made, 0, {made.vectors[0].name: MODERATE_FLOAT32})]
        bench.put(made, records)
        bench.expect(made, records)

    def test_extreme_floats_come_back_exactly_or_are_refused(self, bench: Bench) -> None:
        made = _exact_float32(bench, 8)
        name = made.vectors[0].name
        records = [_record(bench, made, n, {name: np.full(8, x, np.float32)}) for n, x in enumerate(HARD_FLOAT32)]
        bench.keep_or_refuse(made, records)

    def test_nan_and_infinity_come_back_or_are_refused(self, bench: Bench) -> None:
        made = _exact_float32(bench, 8)
        name = made.vectors[0].name
        records = []
        for n, x in enumerate(NONFINITE_FLOAT32):
            vector = np.arange(8, dtype=np.float32)
            vector[3:4].view(np.uint32)[:] = x.view(np.uint32)
            records.append(_record(bench, made, n, {name: vector}))
        if bench.target_caps.nonfinite_vectors:
            bench.put(made, records)
            bench.expect(made, records)
        else:
            bench.refuses_records(made, records)

    def test_zero_vectors_come_back_or_are_refused(self, bench: Bench) -> None:
        for metric in sorted(bench.target_caps.metrics_of("dense") & {"l2", "cosine", "dot"}):
            made = bench.collection(replace(bench.vector(), metric=metric))
            ordinary = bench.records(made, 2)
            zero = replace(ordinary[0], vectors={made.vectors[0].name: np.zeros(8, np.float32)})
            bench.keep_or_refuse(made, [zero, ordinary[1]])

    def test_empty_and_zero_entries_of_sparse_vectors_are_kept_or_refused(self, bench: Bench) -> None:
        if "sparse" not in bench.target_caps.kinds:
            does_not_apply("no sparse vectors")
        made = bench.collection(bench.vector("sparse"))
        hard: list[Vector] = [
            Sparse((0,), (1.5,)), Sparse((), ()), Sparse((3, 7), (0.0, 1.0)), Sparse((3,), (-0.0,)),
            Sparse((0, 65_535, 65_536, 999_999), (1.0, 2.0, 3.0, 4.0)), Sparse((2**31, 2**32 - 2), (1.0, -2.5)),
        ]  # fmt: skip
        kept, _ = bench.keep_or_refuse(made, _numbered(bench, made, hard))
        assert kept, "not even an ordinary one was taken"

    def test_empty_multi_vectors_are_kept_or_refused(self, bench: Bench) -> None:
        if "multi" not in bench.target_caps.kinds:
            does_not_apply("no multi vectors")
        made = bench.collection(bench.vector("multi"))
        element = vectors_of(made.vectors[0], 1)[0]
        hard = [element, element[:0], np.concatenate([element, element])]
        kept, _ = bench.keep_or_refuse(made, _numbered(bench, made, hard))
        assert kept, "not even an ordinary one was taken"

    @pytest.mark.parametrize("dim", [1, 3, 1536])
    def test_any_dimension_comes_back(self, bench: Bench, dim: int) -> None:
        largest = bench.target_caps.max_dim_of("dense")
        if dim > largest:
            does_not_apply(f"at most {largest} dimensions")
        made = bench.collection(replace(bench.vector(), dim=dim))
        bench.put(made, bench.records(made, 3))
        bench.expect(made, bench.records(made, 3))

    @pytest.mark.parametrize("kind", ["dense", "multi", "binary"])
    def test_the_largest_dimension_works_and_a_larger_one_is_refused(self, bench: Bench, kind: str) -> None:
        if kind not in bench.target_caps.kinds:
            does_not_apply(f"no {kind} vectors")
        largest = bench.target_caps.max_dim_of(kind)
        if largest >= 1 << 24:
            does_not_apply("no limit that a test could reach")
        made = bench.collection(replace(bench.vector(kind), dim=largest))
        bench.put(made, bench.records(made, 1))
        bench.expect(made, bench.records(made, 1))
        larger = bench.collection(replace(bench.vector(kind), dim=largest + 1))
        with refused():
            bench.put(larger, bench.records(larger, 1))
        assert not bench.exists(larger.name)

    def test_a_record_without_a_dense_row_is_not_mixed_up_with_the_next(self, bench: Bench) -> None:
        if not bench.target_caps.null_vectors:
            does_not_apply("every record has its vector")
        made = bench.collection()
        records = [replace(r, vectors={}) if n % 2 else r for n, r in enumerate(bench.records(made, 11))]
        plan = bench.plan(made, records)
        with bench.writing(plan) as target:
            target.write(batch_of(records, made).slice(1), Mark("part-00000-00000.parquet", 0))
            target.write(batch_of(records, made).slice(0, 1), Mark("part-00000-00000.parquet", 1))
            target.finish(plan.passport)
        bench.expect(made, records)


def _natural_kind(metric: str, caps: TargetCapabilities) -> str:
    kind = {"hamming": "binary", "jaccard": "binary", "max_sim": "multi"}.get(metric, "dense")
    return kind if kind in caps.kinds else next(iter(caps.kinds))


def _exact_float32(bench: Bench, dim: int) -> Collection:
    """A collection whose dense float32 vectors are claimed to come back bit for bit."""
    field = bench.vector()
    if field.dtype != "float32" or bench.target_caps.bounds.get(field.metric):
        does_not_apply("no dense float32 vector comes back bit for bit")
    return bench.collection(replace(field, dim=dim))


def _record(bench: Bench, collection: Collection, n: int, vectors: dict[str, Array | Sparse]) -> Record:
    base = bench.records(replace(collection, vectors=(VectorField("", dim=1),)), 1, start=n)[0]
    return replace(base, vectors=vectors)


def _numbered(bench: Bench, collection: Collection, vectors: list[Vector]) -> list[Record]:
    ordinary = bench.records(collection, len(vectors))
    name = collection.vectors[0].name
    return [replace(r, vectors={name: v}) for r, v in zip(ordinary, vectors, strict=True)]
