"""Row groups are refused by name, cut, sent ahead, blamed and inserted without replacing anybody's record."""

from __future__ import annotations

import dataclasses
import json
import math
import random
import struct
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from vecport.connectors.contract import TargetPlan
from vecport.connectors.kit import blame, flight, inserts, requests
from vecport.connectors.kit.checks import MetadataCheck, check_records
from vecport.connectors.kit.floats import survives_serde_json
from vecport.errors import AlreadyExists, IntegrityError, NotRepresentable, VecportError
from vecport.model.batch import binary_array, dense_array, make_page, multi_array, sparse_array
from vecport.model.capabilities import MetadataRules, TargetCapabilities
from vecport.model.collection import Collection, VectorField

DENSE = VectorField("d", dim=2, metric="l2")
SPARSE = VectorField("s", kind="sparse", metric="dot")
MULTI = VectorField("m", kind="multi", dim=2, metric="dot")
BITS = VectorField("b", kind="binary", dtype="bit", dim=8, metric="hamming")
CAPS = TargetCapabilities(null_vectors=True, vectors=9, id_max_bytes=8, id_forbidden=r"\A\Z|\0")


def page_of(
    field: VectorField, ids: Sequence[str] = ("a", "b", "c"), **columns: Any
) -> tuple[TargetPlan, pa.RecordBatch]:
    kinds: dict[str, Any] = {
        "dense": lambda: dense_array(np.ones((len(ids), 2), np.float32), field),
        "sparse": lambda: sparse_array(np.arange(len(ids)), np.ones(len(ids)), np.ones(len(ids)), field),
        "multi": lambda: multi_array(np.ones((len(ids), 2), np.float32), np.ones(len(ids)), field),
        "binary": lambda: binary_array(np.ones((len(ids), 1), np.uint8), field),
    }
    vector = columns.pop("vector", None)
    collection = Collection("c", columns.pop("id_kind", "string"), (field,))
    vectors = {field.name: kinds[field.kind]() if vector is None else vector}
    return TargetPlan(collection, 3), make_page(collection, ids=list(ids), vectors=vectors, **columns)


def refused(caps: TargetCapabilities, plan: TargetPlan, batch: pa.RecordBatch) -> VecportError:
    with pytest.raises(VecportError) as caught:
        check_records(batch, plan, caps, "Example", "row group 0")
    assert caught.value.safe == "nothing of this row group was written"
    return caught.value


@pytest.mark.parametrize("field", [DENSE, SPARSE, MULTI, BITS], ids=lambda field: field.kind)
def test_what_fits_passes_whatever_its_kind(field: VectorField) -> None:
    plan, batch = page_of(field)
    check_records(batch, plan, CAPS, "Example", "row group 0")
    check_records(batch.slice(0, 0), plan, CAPS, "Example", "row group 0")
    nothing = pa.nulls(3, batch.schema.field(4).type)
    plan, batch = page_of(field, vector=nothing)
    check_records(batch, plan, CAPS, "Example", "row group 0")
    strict = dataclasses.replace(CAPS, null_vectors=False)
    assert "record 'a' has no vector" in refused(strict, plan, batch).what


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("null_first", [False, True])
def test_a_number_that_no_vector_may_hold_is_found_in_every_kind(odd: float, null_first: bool) -> None:
    valid = np.array([not null_first, True, True])
    numbers = np.array([[1, 2], [3, odd]], np.float32)
    rows = np.concatenate([np.ones((1, 2), np.float32), numbers])
    each = np.array([0 if null_first else 1, 0, 2])
    vectors = {
        DENSE: dense_array(rows, DENSE, valid),
        MULTI: multi_array(rows if not null_first else numbers, each, MULTI, valid),
        SPARSE: sparse_array(
            np.arange(int(each.sum())), np.array([1, 2, odd])[-int(each.sum()) :], each, SPARSE, valid
        ),
    }
    for field, vector in vectors.items():
        plan, batch = page_of(field, vector=vector)
        error = refused(CAPS, plan, batch)
        assert error.what == f"record 'c': its vector {field.name!r} cannot be stored"
        assert isinstance(error, NotRepresentable)
        check_records(batch, plan, dataclasses.replace(CAPS, nonfinite_vectors=True), "Example", "row group 0")


def test_what_a_target_has_no_place_for_is_refused_by_the_record_that_has_it() -> None:
    plan, batch = page_of(DENSE, namespaces=["", "eu", "us"])
    assert "'b': a namespace" in refused(CAPS, plan, batch).what
    check_records(batch, plan, dataclasses.replace(CAPS, native_namespace=True), "Example", "row group 0")
    plan, batch = page_of(DENSE, documents=[None, None, ""])
    assert "'c': a document" in refused(CAPS, plan, batch).what
    check_records(batch, plan, dataclasses.replace(CAPS, native_document=True), "Example", "row group 0")


@pytest.mark.parametrize("id", ["", "a\0b", "123456789", "ääääa"])
def test_ids_are_held_against_length_and_pattern(id: str) -> None:
    plan, batch = page_of(DENSE, ("a", id, "b"))
    assert refused(CAPS, plan, batch).what.startswith(f"record {id!r}")


@pytest.mark.parametrize(
    ("id", "kind"),
    [("-1", "int"), ("256", "int"), ("07", "int"), ("x", "int|uuid"), ("7", "uuid"),
     ("550E8400-e29b-41d4-a716-446655440000", "int|uuid")],
)  # fmt: skip
def test_ids_are_held_against_their_kind(id: str, kind: str) -> None:
    caps = dataclasses.replace(CAPS, id_text=False, id_max_bytes=0, id_int_min=0, id_int_max=255,
                               id_kinds=frozenset({"int", "uuid", "int|uuid"}))  # fmt: skip
    uuid = "550e8400-e29b-41d4-a716-446655440000"
    plan, batch = page_of(DENSE, (uuid if kind != "int" else "3", id), id_kind=kind)
    error = refused(caps, plan, batch)
    assert error.what == f"record {id!r}: its id cannot be stored"
    assert error.why == "Example holds integers from 0 to 255 and UUIDs"


def test_a_key_that_stands_twice_is_an_error_and_an_id_in_two_namespaces_is_not() -> None:
    plan, batch = page_of(DENSE, ("a", "b", "a"))
    assert isinstance(refused(CAPS, plan, batch), IntegrityError)
    caps = dataclasses.replace(CAPS, native_namespace=True)
    plan, batch = page_of(DENSE, ("a", "b", "a"), namespaces=["x", "x", "y"])
    check_records(batch, plan, caps, "Example", "row group 0")


RULES = MetadataRules(
    exact=frozenset({"string", "boolean", "integer", "number", "list_string", "list_number"}),
    survives=lambda value: value != 0.1, holds=lambda value: value.get("kind") == "sparse", forbidden_keys=r"\$.*",
)  # fmt: skip


@pytest.mark.parametrize("row", [{}, {"s": "x", "b": True, "i": 3, "f": 0.5, "l": ["x"], "n": [0.5, 0.25]},
                                 {"o": {"kind": "sparse"}}, {"_vecport": "originals"}])  # fmt: skip
def test_metadata_that_a_target_holds_passes(row: dict[str, Any]) -> None:
    MetadataCheck(RULES, "Example")(["a"], [row])


@pytest.mark.parametrize(
    "value", ["x\0", None, 1 << 60, 1 << 70, 0.1, [0.5, 0.1], [True], [1], [], ["x", 1], {}, {"kind": "other"}]
)
def test_metadata_that_a_target_would_change_is_refused_by_record_and_key(value: Any) -> None:
    check = MetadataCheck(RULES, "Example")
    check(["a"], [{"k": "x"}])
    with pytest.raises(NotRepresentable, match="record 'b': metadata key 'k' cannot be stored in Example"):
        check(["a", "b"], [{"k": "x"}, {"k": value}])


def test_a_key_that_a_target_refuses_is_refused() -> None:
    with pytest.raises(NotRepresentable, match=r"'\$k'"):
        MetadataCheck(RULES, "Example")(["a"], [{"$k": "x"}])


def test_records_are_cut_by_rows_and_bytes_and_none_is_lost() -> None:
    rng = random.Random(3)
    for _ in range(200):
        sizes = np.array([rng.randrange(1, 30) for _ in range(rng.randrange(0, 40))], np.int64)
        rows, most = rng.randrange(1, 9), rng.randrange(1, 60)
        runs = list(requests.cut(sizes, rows, most))
        assert [i for run in runs for i in range(run.start, run.stop)] == list(range(len(sizes)))
        for run in runs:
            n = run.stop - run.start
            assert n <= rows
            assert n == 1 or sizes[run].sum() <= most
            full = run.stop == len(sizes) or n == rows or sizes[run.start : run.stop + 1].sum() > most
            assert full, "a request could have held one record more"
    joined = requests.joined(b"H", iter([b"aaaa", b"bbbb", b"cccc", b"d" * 30, b"e", b"f", b"g"]), 2, 10)
    assert list(joined) == [b"Haaaabbbb", b"Hcccc", b"H" + b"d" * 30, b"Hef", b"Hg"]


def test_a_page_is_cut_into_slices_of_about_equal_size() -> None:
    _, batch = page_of(DENSE, [str(i) for i in range(10)])
    for rows, most, sizes in ((1000, 3 * batch.nbytes // 10, [3, 3, 3, 1]), (2, 1 << 20, [2] * 5), (1000, 1, [1] * 10)):
        assert [piece.num_rows for piece in requests.pieces(batch, rows, most)] == sizes
    assert list(requests.pieces(batch.slice(0, 0), 1000, 1)) == []


def test_answers_come_in_order_with_so_many_requests_under_way() -> None:
    started: list[int] = []

    class Slow(flight.Ready[int]):
        def cancel(self) -> None:
            cancelled.append(self.result())

    def start(n: int) -> flight.Pending[int]:
        started.append(n)
        return Slow(n)

    for depth in (1, 2, 5):
        cancelled = list[int]()
        started.clear()
        answers = flight.ahead((start(n) for n in range(9)), depth)
        for n, answer in enumerate(answers):
            assert answer == n
            assert len(started) == min(9, n + depth)
        assert not cancelled
    answers = flight.ahead((start(n) for n in range(9)), 3)
    next(answers)
    closing: Any = answers
    closing.close()
    assert cancelled == [1, 2]


def test_a_request_that_fails_cancels_those_behind_it() -> None:
    with ThreadPoolExecutor(1) as pool:
        futures: list[Future[float]] = []

        def work() -> Iterator[Future[float]]:
            for n in (1, 0, 2, 3):
                futures.append(pool.submit(float.__rtruediv__, float(n), 1.0))
                yield futures[-1]

        with pytest.raises(ZeroDivisionError):
            list(flight.ahead(work(), 4))
    assert len(futures) == 4


def test_the_first_record_that_is_refused_is_found_behind_those_that_go_in() -> None:
    _, batch = page_of(DENSE, [str(i) for i in range(37)])
    for bad in ({5}, {0}, {36}, {9, 30}, set[int]()):
        sent: list[str] = []

        def refuse(part: pa.RecordBatch, bad: set[int] = bad, sent: list[str] = sent) -> str | None:
            ids = part.column("id").to_pylist()
            if any(int(id) in bad for id in ids):
                return f"one of {len(ids)}"
            sent.extend(ids)
            return None

        found = blame.first_refused(batch, refuse)
        if not bad:
            assert found is None
            assert len(sent) == 37
            continue
        assert found is not None
        assert found[0].column("id").to_pylist() == [str(min(bad))]
        assert found[1] == "one of 1"
        assert sent == [str(i) for i in range(min(bad))]


class Table:
    """A database with a write that leaves alone what is there."""

    def __init__(self, **records: str) -> None:
        self.records, self.before_write = dict(records), dict[str, str]()

    def insert(self, batch: pa.RecordBatch) -> None:
        inserts.insert_only(
            batch, "c", existing=lambda ids: [id for id in ids if id in self.records], fetch=self.fetch,
            write=self.write, same=same_documents, rows=2, most_bytes=1 << 20,
        )  # fmt: skip

    def fetch(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        there = [id for id in reversed(batch.column("id").to_pylist()) if id in self.records]
        return documents(there, [self.records[id] for id in there])

    def write(self, batch: pa.RecordBatch) -> None:
        self.records |= self.before_write
        for id, text in zip(batch.column("id").to_pylist(), batch.column("document").to_pylist(), strict=True):
            self.records.setdefault(id, text)


def same_documents(ours: pa.RecordBatch, theirs: pa.RecordBatch) -> inserts.Mask:
    assert ours.column("id").equals(theirs.column("id"))
    return np.array(pc.equal(ours.column("document"), theirs.column("document")))


def documents(ids: list[str], texts: list[str]) -> pa.RecordBatch:
    return make_page(Collection("c", "string", ()), ids=ids, documents=texts)


def test_an_insert_adds_what_is_new_and_passes_over_what_is_the_same() -> None:
    table = Table(a="1", c="3")
    table.insert(documents(list("abcde"), list("12345")))
    assert table.records == dict(zip("abcde", "12345", strict=True))
    table.insert(documents(list("abcde"), list("12345")))


def test_an_insert_names_a_record_that_is_another_and_writes_nothing() -> None:
    table = Table(a="1", d="other")
    with pytest.raises(AlreadyExists, match="record 'd'") as caught:
        table.insert(documents(list("abcde"), list("12345")))
    assert table.records == {"a": "1", "d": "other"}
    assert "nothing of its row group" in caught.value.safe


def test_a_record_that_somebody_writes_meanwhile_is_found_and_kept() -> None:
    table = Table()
    table.before_write = {"b": "theirs", "c": "3"}
    with pytest.raises(AlreadyExists, match="record 'b'") as caught:
        table.insert(documents(list("abc"), list("123")))
    assert table.records["b"] == "theirs"
    assert "kept" in caught.value.safe


def test_doubles_that_serde_json_changes_are_told_apart() -> None:
    """Values that were seen to change and to stay, and 100,000 doubles against exact arithmetic."""
    from fractions import Fraction

    rng = random.Random(7)
    changed = 0
    for value in (0.0, 1.5, 1e16, 123456789012345.0, 1e300, 5e-324, 1.7976931348623157e308, 0.1, -0.3):
        assert survives_serde_json(value) == (json.loads(repr(value)) == value)
    for _ in range(100_000):
        value = struct.unpack("<d", struct.pack("<Q", rng.getrandbits(64)))[0]
        if not math.isfinite(value) or not 1e-290 < abs(value) < 1e290:
            continue
        digits, _, exponent = repr(abs(value)).partition("e")
        whole, _, fraction = digits.partition(".")
        power = int(exponent or 0) - len(fraction)
        # One rounding to a double of the digits, and one of the product: a power of ten is rounded itself.
        number, ten = Fraction(float(int(whole + fraction))), Fraction(float(f"1e{abs(power)}"))
        exact = float(number * ten if power >= 0 else number / ten) if abs(power) <= 308 else None
        if exact is not None:
            assert survives_serde_json(value) == (exact == abs(value))
            changed += exact != abs(value)
    assert changed > 1_000
