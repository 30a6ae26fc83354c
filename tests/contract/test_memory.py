"""The contract suite over the in-memory connector, and over in-memory connectors that are broken on purpose."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pytest

from vecport.connectors.address import Place, parse, with_options
from vecport.connectors.contract import Description, Json, Mark, Option, Page, Selection, Source, Target, TargetPlan
from vecport.connectors.memory import LiveMemorySource, MemoryConnector, MemorySource, MemoryTarget, forget
from vecport.errors import NotFound, VecportError
from vecport.model.capabilities import MetadataRules
from vecport.model.collection import Bound, Collection
from vecport.testing.contract import Bench, ConnectorContract


class TestMemory(ConnectorContract):
    connector = MemoryConnector()

    @pytest.fixture(scope="class")
    def place(self) -> Iterator[Place]:
        yield parse("memory:contract")
        forget("contract")

    def where(self, bench: Bench) -> Any:
        return '{"even": true}', lambda r: r.metadata["even"] is True


class TestLiveMemory(TestMemory):
    @pytest.fixture(scope="class")
    def place(self) -> Iterator[Place]:
        yield with_options(parse("memory:live"), {"mode": "live"})
        forget("live")


# ---- the suite itself: a broken connector must not pass ----


def _run(case: str, *args: Any, connector: MemoryConnector | None = None, **faults: int) -> None:
    """Run one case over a sound or broken connector."""
    suite = type("Suite", (TestMemory,), {"connector": connector or MemoryConnector()})()
    name = f"suite {case} {args} {faults}"
    place = parse(f"memory:{name}")
    try:
        getattr(suite, case)(Bench(suite, with_options(place, {"faults": json.dumps(faults)})), *args)
    finally:
        forget(place.path)


def _must_fail(case: str, *args: Any, connector: MemoryConnector | None = None, **faults: int) -> None:
    with pytest.raises((AssertionError, VecportError, pytest.fail.Exception)):
        _run(case, *args, connector=connector, **faults)


ONCE = "test_every_record_comes_exactly_once"


def test_a_short_page_in_the_middle_is_no_fault() -> None:
    _run(ONCE, short_page=2)


@pytest.mark.parametrize(
    ("fault", "page"),
    [("repeat_row_on_page", 2), ("lose_row_on_page", 2), ("stuck_after_pages", 1), ("fail_after_pages", 1)],
)
def test_the_suite_sees_a_faulty_scan(fault: str, page: int) -> None:
    _must_fail(ONCE, **{fault: page})


def test_the_suite_sees_a_wrong_count() -> None:
    _must_fail("test_counts_are_exact", wrong_count=1)


class _Changing(MemoryTarget):
    """Writes something else than it was given."""

    change: ClassVar[Callable[[pa.RecordBatch], pa.RecordBatch]]

    def write(self, batch: pa.RecordBatch, mark: Mark) -> None:
        super().write(type(self).change(batch), mark)


def _with_target(target: type[Target]) -> MemoryConnector:
    """The memory connector with another target."""

    class Broken(MemoryConnector):
        def open_target(self, place: Place, collection: str) -> Target:
            return target(place, collection)  # type: ignore[call-arg]

    return Broken()


def _changing(change: Callable[[pa.RecordBatch], pa.RecordBatch], **caps: Any) -> MemoryConnector:
    capabilities = replace(MemoryTarget.capabilities, **caps)
    members = {"change": staticmethod(change), "capabilities": capabilities}
    return _with_target(type("Changed", (_Changing,), members))


def _column(name: str, change: Callable[[Any], Any]) -> Callable[[pa.RecordBatch], pa.RecordBatch]:
    def apply(batch: pa.RecordBatch) -> pa.RecordBatch:
        place = batch.schema.get_field_index(name)
        field = batch.schema.field(place)
        values = [change(value) for value in batch.column(place).to_pylist()]
        return batch.set_column(place, field, pa.array(values, field.type))

    return apply


def _half(batch: pa.RecordBatch) -> pa.RecordBatch:
    return _column("vector", lambda v: None if v is None else np.clip(v, -9, 9).astype(np.float16).astype(np.float32))(
        batch
    )


DAMAGE = {
    "vectors are rounded": (_half, "test_hard_floats_come_back_exactly", ()),
    "vectors lose the sign of zero": (
        _column("vector", lambda v: v and [x + 0.0 for x in v]), "test_hard_floats_come_back_exactly", ()),
    "lacking vectors become zeros": (
        _column("vector", lambda v: v or [0.0] * 8), "test_a_lacking_vector_stays_lacking_or_is_refused", ((2,),)),
    "NaN loses its bits": (
        _column("vector", lambda v: v and [float("nan") if x != x else x for x in v]),
        "test_nan_and_infinity_come_back_or_are_refused", ()),
    "nulls are dropped": (
        _column("metadata", lambda t: t.replace('"v":null', "")), "test_metadata_values_come_back_exactly", ("null",)),
    "whole floats become integers": (
        _column("metadata", lambda t: t.replace(".0}", "}")), "test_metadata_values_come_back_exactly", ("number",)),
    "text is normalised": (
        _column("metadata", lambda t: unicodedata.normalize("NFC", t)),
        "test_metadata_values_come_back_exactly", ("string",)),
    "keys are folded": (
        _column("metadata", lambda t: t.lower()), "test_any_key_comes_back_or_is_refused_as_declared", ()),
    "ids are stripped": (_column("id", str.strip), "test_ids_stay_what_they_are", ("string",)),
    "numbers lose leading zeros": (
        _column("id", lambda i: str(int(i)) if i.isdecimal() else i), "test_ids_stay_what_they_are", ("string",)),
    "an empty document is dropped": (
        _column("document", lambda d: d or None), "test_documents_come_back_or_are_refused", ()),
    "namespaces are dropped": (
        _column("namespace", lambda n: ""), "test_namespaces_keep_equal_ids_apart_or_are_refused", ()),
    "the last record is forgotten": (lambda b: b.slice(0, max(1, b.num_rows - 1)), ONCE, ()),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGE)
def test_the_suite_sees_silent_damage(damage: str) -> None:
    change, case, args = DAMAGE[damage]
    _run(case, *args, connector=_changing(lambda batch: batch))
    _must_fail(case, *args, connector=_changing(change))


UNCLAIMED: dict[str, tuple[dict[str, Any], str, tuple[Any, ...]]] = {
    "null vectors": ({"null_vectors": False}, "test_a_lacking_vector_stays_lacking_or_is_refused", ((2,),)),
    "NaN": ({"nonfinite_vectors": False}, "test_nan_and_infinity_come_back_or_are_refused", ()),
    "documents": ({"native_document": False}, "test_documents_come_back_or_are_refused", ()),
    "namespaces": ({"native_namespace": False}, "test_namespaces_keep_equal_ids_apart_or_are_refused", ()),
    "long ids": ({"id_max_bytes": 20}, "test_forbidden_ids_are_refused", ()),
    "forbidden ids": ({"id_forbidden": "\\s"}, "test_forbidden_ids_are_refused", ()),
    "forbidden keys": (
        {"metadata": MetadataRules(forbidden_keys=r"\$.*")}, "test_a_forbidden_key_is_refused", ()),
    "the passport": ({"passport": False}, "test_the_passport_comes_back", ()),
    "marks": ({"ack": "transactional"}, "test_only_transactional_targets_name_their_marks", ()),
    "bounds": ({"bounds": {"cosine": Bound(1e-6)}}, "test_a_declared_bound_is_also_described", ()),
}  # fmt: skip


@pytest.mark.parametrize("claim", UNCLAIMED)
def test_the_suite_sees_what_is_done_unclaimed(claim: str) -> None:
    caps, case, args = UNCLAIMED[claim]
    _must_fail(case, *args, connector=_changing(lambda batch: batch, **caps))


class _Merging(MemoryTarget):
    def write(self, batch: pa.RecordBatch, mark: Mark) -> None:
        with MemoryConnector().open_source(self._place, self._name, Selection()) as source:
            source.attach(source.snapshot())
            keys = zip(batch.column("namespace").to_pylist(), batch.column("id").to_pylist(), strict=True)
            old = {r["id"]: json.loads(r["metadata"]) for r in source.fetch(list(keys)).to_pylist()}
        texts = [
            json.dumps(old.get(i, {}) | json.loads(t))
            for i, t in zip(batch.column("id").to_pylist(), batch.column("metadata").to_pylist(), strict=True)
        ]
        place = batch.schema.get_field_index("metadata")
        super().write(batch.set_column(place, batch.schema.field(place), pa.array(texts)), mark)


def test_the_suite_sees_a_merge() -> None:
    _must_fail("test_a_record_is_replaced_as_a_whole", connector=_with_target(_Merging))


class _Eager(MemoryTarget):
    def describe(self) -> Description | None:
        if super().describe() is None:
            self.prepare(TargetPlan(Collection(self._name), 0))
        return None


def test_the_suite_sees_a_target_that_creates_when_it_is_opened() -> None:
    _must_fail("test_opening_a_target_creates_nothing", connector=_with_target(_Eager))


class _NotReallyASnapshot(LiveMemorySource):
    capabilities = MemorySource.capabilities


class _Forgetful(MemorySource):
    """Begins again whatever the cursor says."""

    def scan(self, partition: Json, cursor: Json | None, page_rows: int) -> Iterator[Page]:
        return super().scan(partition, None, page_rows)


class _Greedy(MemorySource):
    """Every partition is the whole."""

    def scan(self, partition: Json, cursor: Json | None, page_rows: int) -> Iterator[Page]:
        return super().scan({"from": None, "to": None}, cursor, page_rows)


class _Telling(MemorySource):
    """Tells its options when something is wrong."""

    def describe(self) -> Description:
        try:
            return super().describe()
        except VecportError as e:
            raise NotFound(f"{e}: {self._place.option('token')}") from None


@pytest.mark.parametrize(
    ("session", "case", "args"),
    [
        (_NotReallyASnapshot, "test_writes_during_a_scan_change_no_other_record", ()),
        (_Forgetful, "test_a_scan_goes_on_behind_every_page", (7,)),
        (_Greedy, "test_partitions_are_disjoint_and_complete", (10,)),
        (_Telling, "test_secrets_are_never_shown", ()),
    ],
)
def test_the_suite_sees_a_broken_source(session: type[Any], case: str, args: tuple[Any, ...]) -> None:
    class Broken(MemoryConnector):
        info = replace(MemoryConnector.info, options=(Option("token", "A secret.", secret=True),))

        def open_source(self, place: Place, collection: str, selection: Selection) -> Source:
            source: Source = session(place, collection, selection)
            return source

    if case == "test_secrets_are_never_shown":
        suite = type("Suite", (TestMemory,), {"connector": Broken()})()
        with pytest.raises(AssertionError):
            suite.test_secrets_are_never_shown(Bench(suite, parse("memory:telling")), _Log())
        forget("telling")
    else:
        _must_fail(case, *args, connector=Broken())


class _Log:
    """What ``caplog`` gives, when nothing is logged."""

    text = ""

    def set_level(self, level: int) -> None:
        return None


PROBE = """
import pytest
from vecport.connectors.address import parse
from vecport.connectors.memory import MemoryConnector
from vecport.testing.contract import ConnectorContract, engine_missing

class TestProbe(ConnectorContract):
    connector = MemoryConnector()
    gaps = {"test_counts_are_exact": "a reason"}

    @pytest.fixture
    def place(self):
        return parse("memory:probe")

def test_engine():
    engine_missing("no engine")
"""


@pytest.mark.parametrize("ci", ["true", ""])
def test_gaps_are_strict_and_missing_engines_fail_in_ci(tmp_path: Path, ci: str) -> None:
    probe = tmp_path / "test_probe.py"
    probe.write_text(PROBE)
    command = [sys.executable, "-m", "pytest", "-rA", "-p", "no:cacheprovider", "-k", "counts_are_exact or engine"]
    done = subprocess.run(
        [*command, "-c", os.devnull, "--rootdir", str(tmp_path), str(probe)],
        env={**os.environ, "CI": ci, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "[XPASS(strict)] a reason" in done.stdout, done.stdout + done.stderr
    assert ("engine missing in CI: no engine" in done.stdout) == (ci == "true")
    assert f"{1 + (ci == 'true')} failed" in done.stdout
