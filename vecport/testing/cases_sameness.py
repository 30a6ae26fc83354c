"""The promise, times every kind: untouched is the same, and each single change is found, alone and by its part.

A dump goes into the database by the real import. The database's own client (``hands``) then makes one change after
another, and takes each back; ``verify``, and ``diff`` with an export of what stands there, must name exactly it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from ..connectors.address import parse
from ..connectors.contract import Mark, Selection, TargetPlan
from ..connectors.memory import MemoryConnector, forget
from ..errors import NotRepresentable
from ..model.capabilities import TargetCapabilities
from ..model.collection import Collection, VectorField
from ..operations.diff import DiffResult, diff
from ..operations.export import export
from ..operations.import_ import import_
from ..operations.verify import VerifyResult, verify
from .bench import Bench, does_not_apply
from .changes import Change, changes_of
from .hands import Hands
from .records import Record, batch_of, id_text, vectors_of

ROWS = 12
KIND_SETS = ("one dense", "two dense", "dense and sparse", "multi", "binary", "some absent", "none")

_numbers = count(1)


class Sameness:
    """One import for each set of kinds, many changes."""

    @pytest.mark.parametrize("kinds", KIND_SETS)
    def test_each_single_change_is_found_and_nothing_else(
        self, bench: Bench, kinds: str, tmp_path: Path, record_property: Callable[[str, object], None]
    ) -> None:
        fields = _fields(bench, kinds)
        if fields is None:
            does_not_apply(f"it does not hold {kinds}")
        place = _Imported(bench, tmp_path)
        try:
            place.fill(fields, absent=kinds == "some absent")
        except NotRepresentable as e:
            if kinds == "none":
                does_not_apply(f"it does not hold records without a vector: {e.what}")
            raise
        wrong = place.untouched()
        hands = place.hands()
        judged = 0
        if hands is not None:
            for change in place.changes(hands):
                judged += 1
                wrong += place.judge(hands, change)
            hands.close()
            wrong += [f"after all changes were taken back: {w}" for w in place.untouched()]
        record_property("tally", [f"changes judged, {type(bench.suite).__name__}", judged - len(wrong), judged])
        assert not wrong, "\n".join(wrong)
        if hands is None:
            does_not_apply("the test class gives no hands; untouched it is the same")


def _fields(bench: Bench, kinds: str) -> tuple[VectorField, ...] | None:
    """The vectors of a set of kinds; None when the target does not hold it."""
    caps = bench.target_caps
    held = caps.kinds
    metrics = _dense_metrics(caps)

    def dense(n: int, name: str) -> VectorField:
        return bench.vector(name=name, metric=metrics[n % len(metrics)])

    if kinds == "none":
        return ()
    if kinds in ("multi", "binary"):
        return (bench.vector(kinds, nullable=False),) if kinds in held else None
    if "dense" not in held:
        return None
    if kinds == "one dense":
        return (bench.vector(metric=metrics[0], nullable=False),)
    if kinds == "some absent":
        if not caps.null_vectors:
            return None
        return (dense(0, "c"), dense(1, "d")) if caps.vectors > 1 else (bench.vector(),)
    if caps.vectors < 2:
        return None
    if kinds == "two dense":
        return tuple(replace(dense(n, name), nullable=False) for n, name in enumerate("cd"))
    return (dense(0, "c"), bench.vector("sparse", name="s")) if "sparse" in held else None


def _dense_metrics(caps: TargetCapabilities) -> list[str]:
    """Those of dense vectors, one that is held within a bound first and one that is held bit for bit behind it."""
    known = caps.metrics_of("dense")
    ordered: list[str] = [m for m in ("cosine", "dot", "l2", "l1") if m in known] or ["unknown"]
    bounded, exact = ([m for m in ordered if (m in caps.bounds) is b] for b in (True, False))
    return [*bounded[:1], *exact[:1]] if bounded and exact else ordered[:2]


@dataclass
class _Imported:
    """A dump, the collection that an import made of it, and how the two are compared."""

    bench: Bench
    folder: Path

    def fill(self, fields: tuple[VectorField, ...], absent: bool) -> None:
        """Make the dump from a collection in memory, and import it."""
        natural = self.bench.collection(*fields).id_kind
        self.name = self.bench.fresh_name()
        self.dump = Collection(self.name, natural, fields)
        self.records = _records(self.dump, absent)
        self.place = self.bench.place_of(self.name)
        self.url = str(self.folder / "dump")
        memory = f"sameness {next(_numbers)}"
        with MemoryConnector().open_target(parse(f"memory:{memory}"), self.name) as target:
            plan = TargetPlan(self.dump, ROWS)
            target.prepare(plan)
            target.attach(plan)
            target.write(batch_of(self.records, self.dump), Mark("part-00000-00000.parquet", 0))
            target.finish({})
        export(f"memory:{memory}", self.url, collection=self.name)
        forget(memory)
        options = {k: v for k, v in self.place.options.items() if isinstance(v, str)}
        import_(
            self.url, self.place.text, collection=self.name, target_options=options, settings=self.bench.suite.settings
        )
        self.reading = self.bench.suite.reading_place(self.place, self.dump)
        self.options = {k: v for k, v in self.reading.options.items() if isinstance(v, str)}

    def hands(self) -> Hands | None:
        """The database's own client on the collection."""
        with self.bench.connector.open_source(self.reading, self.name, Selection()) as source:
            self.held = source.describe().collection
        return self.bench.suite.hands(self.place, self.held)

    def changes(self, hands: Hands) -> Iterator[Change]:
        """Every single change of a record."""
        found = {r.id: hands.read(r.id) for r in self.records}
        added = replace(found[self.records[3].id], id=id_text(self.dump.id_kind, ROWS + 20))
        return changes_of(found, added, self.dump, self.held, self.bench.target_caps)

    # -- comparing -------------------------------------------------------------------------------

    def untouched(self) -> list[str]:
        """What is wrong with the comparisons of what nobody has changed."""
        return self._wrong(Change("untouched", None, None, found=""))

    def judge(self, hands: Hands, change: Change) -> list[str]:
        """Make a change, compare, take it back; what is wrong with the comparisons."""
        if change.after is None:
            assert change.before is not None
            hands.delete(change.before.id)
        else:
            hands.write(change.after)
        try:
            return self._wrong(change)
        finally:
            if change.before is None:
                assert change.after is not None
                hands.delete(change.after.id)
            else:
                hands.write(change.before)

    def _wrong(self, change: Change) -> list[str]:
        verified = verify(self.url, self.place.text, collection=self.name, target_options=self.options)
        after = str(self.folder / "after")
        export(self.place.text, after, collection=self.name, source_options=self.options, overwrite=True)
        told = [f"verify: {w}" for w in _differs(change, verified, verified.missing, verified.extra)]
        compared = diff(self.url, after)
        told += [f"diff: {w}" for w in _differs(change, compared, compared.removed, compared.added)]
        return [f"{change.what}: {'; '.join(told)}"] if told else []


def _differs(change: Change, got: VerifyResult | DiffResult, missing: int, extra: int) -> list[str]:
    """In what a result is not what a change makes of it."""
    record = change.after or change.before
    wanted: dict[str, Any] = {
        "exit code": 3 if change.found else 0,
        "changed": int(change.found == "changed"),
        "missing": int(change.found == "missing"),
        "extra": int(change.found == "extra"),
        "parts": {change.part: 1} if change.part else {},
        "example": (change.found, record.id) if change.found and record else None,
    }
    first = (got.examples[0].kind, got.examples[0].id) if got.examples else None
    kinds = {"removed": "missing", "added": "extra"}
    found: dict[str, Any] = {
        "exit code": got.exit_code, "changed": got.changed, "missing": missing, "extra": extra,
        "parts": dict(got.parts), "example": first and (kinds.get(first[0], first[0]), first[1]),
    }  # fmt: skip
    wrong = [f"{k} is {found[k]!r}, not {wanted[k]!r}" for k in wanted if found[k] != wanted[k]]
    return [*wrong, *(got.schema_changes if wrong else ())]


def _records(dump: Collection, absent: bool) -> list[Record]:
    vectors = {v.name: vectors_of(v, ROWS) for v in dump.vectors}
    names = list(vectors)
    out = []
    for n in range(ROWS):
        lacking = {names[n % len(names)]} if absent and n % 4 == 2 else set()
        out.append(
            Record(
                id=id_text(dump.id_kind, n),
                vectors={name: column[n] for name, column in vectors.items() if name not in lacking},
                metadata={
                    "text": f"text {n}", "number": n, "price": n + 0.5, "even": n % 2 == 0,
                    "tags": [f"t{n}", "all", "z"], "nested": {"a": {"b": [n + 10, "x"]}}, "nothing": None,
                },
                document=f"document {n}" if n % 3 else None,
            )
        )  # fmt: skip
    return out
