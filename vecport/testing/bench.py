"""The work bench of the contract suite: opens sessions, fills collections, reads them back and compares."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import count
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
import pytest

from ..connectors.address import Place
from ..connectors.contract import Connector, Effect, Json, Mark, Page, Selection, Source, Target, TargetPlan
from ..connectors.decorators import checked_target
from ..errors import IntegrityError, NotFound, NotRepresentable, UsageError, VecportError
from ..model import canonical
from ..model.batch import join_pages, page_schema
from ..model.capabilities import SourceCapabilities, TargetCapabilities
from ..model.collection import Bound, Collection, VectorField
from ..model.compare import Judge
from ..model.profile import profile_page
from .records import Record, batch_of, id_text, vectors_of
from .seen import Key, Seen, seen
from .suite import Suite

EVERYTHING = 1_000_000

_numbers = count(1)
# Sessions are opened to learn this, so it is asked once for every test class.
_target_caps: dict[type, TargetCapabilities] = {}
_source_caps: dict[type, SourceCapabilities] = {}
_ID_KINDS = ("string", "int", "uuid", "int|uuid", "tagged", "composite")
_METRICS = {
    "dense": ("l2", "dot", "cosine", "l1", "unknown"),
    "sparse": ("dot", "unknown", "cosine", "l2"),
    "multi": ("max_sim", "unknown", "dot", "cosine", "l2"),
    "binary": ("hamming", "jaccard", "unknown"),
}


def does_not_apply(reason: str) -> NoReturn:
    """Skip a case that says nothing about this connector; the reason is shown."""
    pytest.skip(f"does not apply: {reason}")


def engine_missing(reason: str) -> NoReturn:
    """Skip because an engine cannot be started here; in CI, where every engine is installed, fail."""
    if os.environ.get("CI", "").lower() == "true":
        pytest.fail(f"engine missing in CI: {reason}", pytrace=False)
    pytest.skip(f"engine missing: {reason}")


@contextlib.contextmanager
def refused(*errors: type[VecportError]) -> Iterator[pytest.ExceptionInfo[VecportError]]:
    """Expect one of these typed errors (``NotRepresentable`` by default) with a message."""
    with pytest.raises(errors or (NotRepresentable,)) as caught:
        yield caught
    assert caught.value.what.strip(), "the error does not say what failed"


@dataclass(frozen=True, slots=True)
class Way:
    """How a reading case reads: which kind of ids the collection has, and whether a filter selects some of it."""

    id_kind: str
    filtered: bool = False

    def __str__(self) -> str:
        return self.id_kind + (" where" if self.filtered else "")


@dataclass(frozen=True, slots=True)
class Ground:
    """A filled collection that a case reads.

    Attributes:
        made: the collection.
        records: that the selection covers.
        others: that it does not cover.
        selection: everything, or what a filter says.
    """

    made: Collection
    records: list[Record]
    others: list[Record]
    selection: Selection


@dataclass(frozen=True)
class Reading:
    """Everything that a scan gave, in order."""

    collection: Collection
    pages: tuple[Page, ...]

    @property
    def seen(self) -> list[Seen]:
        """All records."""
        return [s for p in self.pages for s in seen(p.batch, self.collection)]

    @property
    def keys(self) -> list[Key]:
        """All keys."""
        return [s.key for s in self.seen]


class Bench:
    """What a case works with: one connector, one place, and names that nobody else uses."""

    def __init__(self, suite: Suite, place: Place) -> None:
        self.suite, self.place = suite, place
        self.connector: Connector = suite.connector

    # -- what it can do ------------------------------------------------------------------------

    @property
    def target_caps(self) -> TargetCapabilities:
        """Of a writing session in this place."""
        if self.connector.target is None:
            return self.suite.holds
        known = _target_caps.get(type(self.suite))
        if known is None:
            with self.target(self.fresh_name()) as target:
                known = _target_caps[type(self.suite)] = target.capabilities
        return known

    @property
    def source_caps(self) -> SourceCapabilities:
        """Of a reading session in this place; it needs a collection to be opened."""
        known = _source_caps.get(type(self.suite))
        if known is None:
            made = self.filled(1)
            with self.source(made.name, collection=made) as source:
                known = _source_caps[type(self.suite)] = source.capabilities
        return known

    def names(self) -> set[str]:
        """The collections in the place; none when the place does not exist yet."""
        try:
            return self.suite.names(self.place)
        except NotFound:
            return set()

    def exists(self, name: str) -> bool:
        """Whether a collection is there."""
        with self.target(name) as target:
            try:
                return target.describe() is not None
            except (NotRepresentable, UsageError):
                # A name that cannot be is not there.
                return False

    def place_of(self, name: str) -> Place:
        """The place of one collection."""
        return self.suite.place_of(self.place, name)

    # -- collections and records ---------------------------------------------------------------

    def fresh_name(self) -> str:
        """A collection name that no case has used."""
        return self.suite.collection_name(next(_numbers))

    def vector(self, kind: str = "dense", dtype: str | None = None, **changes: Any) -> VectorField:
        """A vector field that the target claims to hold, changed as asked."""
        caps = self.target_caps
        dtypes = caps.kinds.get(kind, frozenset())
        natural = "float32" if "float32" in dtypes else min(dtypes, default="bit" if kind == "binary" else "float32")
        values: dict[str, Any] = {
            "name": "" if caps.unnamed_vector and kind not in caps.named_kinds else caps.vector_name,
            "kind": kind,
            "dtype": dtype or natural,
            "dim": None if kind == "sparse" else 8,
            "metric": self.metric(kind, caps),
            "nullable": caps.null_vectors,
        }
        return VectorField(**(values | changes))

    def metric(self, kind: str, caps: TargetCapabilities) -> str:
        """A metric for a vector kind, best one under which vectors come back bit for bit."""
        chosen = self.suite.metric_for(kind)
        if chosen:
            return chosen
        known = caps.metrics_of(kind)
        offered = [m for m in _METRICS[kind] if m in known or (m == "unknown" and not caps.metric_required)]
        exact = [m for m in offered if m not in caps.bounds]
        return (exact or offered or ["unknown"])[0]

    def collection(self, *vectors: VectorField, id_kind: str | None = None, name: str | None = None) -> Collection:
        """A new collection that the target claims to hold; one dense vector unless others are given."""
        caps = self.target_caps
        natural = next((k for k in _ID_KINDS if k in caps.id_kinds), "string")
        return Collection(
            name=name or self.fresh_name(), id_kind=id_kind or natural, vectors=vectors or (self.vector(),)
        )

    def records(self, collection: Collection, n: int, start: int = 0, seed: int = 7) -> list[Record]:
        """``n`` ordinary records of values that the target claims to hold exactly."""
        caps = self.target_caps
        vectors = {v.name: vectors_of(v, start + n, seed)[start:] for v in collection.vectors}
        return [
            Record(
                id=id_text(collection.id_kind, i),
                vectors={name: column[i - start] for name, column in vectors.items()},
                metadata=_metadata(i, caps, seed),
                document=f"document {i}" if caps.native_document and i % 3 else None,
            )
            for i in range(start, start + n)
        ]

    def plan(self, collection: Collection, records: Sequence[Record], **changes: Any) -> TargetPlan:
        """The plan of an import of these records."""
        profile = profile_page(batch_of(records, collection), collection) if records else None
        values: dict[str, Any] = {
            "rows": len({r.key for r in records}),
            "id_profile": profile.ids if profile else {},
            "settings": dict(self.suite.settings),
            "document": "document" if any(r.document is not None for r in records) else None,
            "import_id": f"import-{next(_numbers)}",
        }
        return TargetPlan(collection=collection, **(values | changes))

    # -- writing -------------------------------------------------------------------------------

    def target(self, name: str) -> Target:
        """A new writing session, behind what the pipeline refuses for every connector."""
        if self.connector.target is None:
            does_not_apply("it cannot be written")
        return checked_target(self.connector.open_target(self.place_of(name), name), self.connector.info.title)

    @contextlib.contextmanager
    def writing(self, plan: TargetPlan) -> Iterator[Target]:
        """A session that is prepared and attached."""
        with self.target(plan.collection.name) as target:
            target.prepare(plan)
            with opened(target, lambda: target.effects(plan)):
                target.attach(plan)
                yield target

    def put(self, collection: Collection, records: Sequence[Record], rows: int = EVERYTHING, **plan: Any) -> TargetPlan:
        """Import records in row groups of ``rows``, to the end."""
        made = self.plan(collection, records, **plan)
        if self.connector.target is None and self.suite.native_put is not None:
            self.suite.native_put(self.place, collection, records)
            return made
        with self.writing(made) as target:
            for group, start in enumerate(range(0, len(records), rows)):
                target.write(
                    batch_of(records[start : start + rows], collection), Mark("part-00000-00000.parquet", group)
                )
            target.finish(made.passport)
        return made

    def filled(self, n: int, **collection: Any) -> Collection:
        """A new collection of ``n`` ordinary records."""
        made = self.collection(**collection)
        self.put(made, self.records(made, n))
        return made

    def ground(self, way: Way, n: int, rows: int = EVERYTHING, **plan: Any) -> Ground:
        """A new collection of which ``n`` ordinary records or a few more are selected, written ``rows`` at once.

        Filled from the last id to the first, so that an order of writing is no order of keys.
        """
        made = self.collection(id_kind=way.id_kind)
        if way.id_kind == "composite":
            made = replace(made, key=self.suite.key_fields())
        example = self.suite.where(self) if way.filtered else None
        text, means = example or (None, _any_record)
        records = self.records(made, n)
        while sum(map(means, records)) < n:
            records = self.records(made, 2 * len(records))
        self.put(made, records[::-1], rows=rows, **plan)
        others = [r for r in records if not means(r)]
        assert others or not (n and way.filtered), "the example of a filter selects everything"
        return Ground(made, [r for r in records if means(r)], others, Selection(where=text))

    def keep_or_refuse(self, collection: Collection, records: Sequence[Record]) -> tuple[list[Record], list[Record]]:
        """Write records one by one; each is refused with ``NotRepresentable`` or comes back as it is.

        Returns:
            Those that were kept and those that were refused.
        """
        kept: list[Record] = []
        gone: list[Record] = []
        made = self.plan(collection, records, rows=0)
        with self.writing(made) as target:
            for group, record in enumerate(records):
                try:
                    target.write(batch_of([record], collection), Mark("part-00000-00000.parquet", group))
                except NotRepresentable:
                    gone.append(record)
                else:
                    kept.append(record)
            target.finish(made.passport)
        self.expect(collection, kept)
        return kept, gone

    def refuses_records(self, collection: Collection, records: Sequence[Record]) -> None:
        """Every record on its own is refused with ``NotRepresentable``, and nothing is written."""
        for record in records:
            plan = self.plan(collection, [record])
            with refused(), self.writing(plan) as target:
                target.write(batch_of([record], collection), Mark("part-00000-00000.parquet", 0))
                pytest.fail(f"it was taken: {record}")
        with self.target(collection.name) as target:
            there = target.describe()
            assert there is None or not target.count(), "something of it was written"

    # -- reading -------------------------------------------------------------------------------

    def source(self, name: str, selection: Selection | None = None, collection: Collection | None = None) -> Source:
        """A new reading session."""
        if self.connector.source is None:
            does_not_apply("it cannot be read")
        return self.connector.open_source(self.reading_place(name, collection), name, selection or Selection())

    def reading_place(self, name: str, collection: Collection | None = None) -> Place:
        """The place of one collection as a reader names it."""
        return self.suite.reading_place(self.place_of(name), collection)

    @contextlib.contextmanager
    def reading(
        self, collection: Collection | str, selection: Selection | None = None
    ) -> Iterator[tuple[Source, Json, Collection]]:
        """A coordinator's session: described, with a snapshot, attached. Also its token and the schema it shows."""
        known = None if isinstance(collection, str) else collection
        name = collection if isinstance(collection, str) else collection.name
        with self.source(name, selection, known) as source:
            described = source.describe().collection
            with opened(source, source.effects):
                token = source.snapshot()
                source.attach(token)
                yield source, token, described

    def read(
        self, collection: Collection | str, page_rows: int = 100, target_rows: int = EVERYTHING,
        selection: Selection | None = None,
    ) -> Reading:  # fmt: skip
        """Everything in a collection; by the official client where the connector has no source."""
        if self.connector.source is None and self.suite.native_get is not None and isinstance(collection, Collection):
            batch = batch_of(self.suite.native_get(self.place, collection), collection)
            return Reading(collection, (Page(batch, None),) if batch.num_rows else ())
        with self.reading(collection, selection) as (source, token, described):
            pages = tuple(
                page for part in source.partitions(target_rows, token) for page in source.scan(part, None, page_rows)
            )
        return Reading(described, pages)

    # -- comparing -----------------------------------------------------------------------------

    def expect(self, collection: Collection, records: Sequence[Record], got: Reading | None = None) -> Reading:
        """Read a collection and hold it against the records that it shall have, bit for bit or within its bounds.

        Two say whether it is the same: ``compare``, and the judge that the pipeline asks. They must agree.
        """
        got = got or self.read(collection)
        wanted = batch_of(records, collection)
        bounds = {v.name: self.bound(v) for v in collection.vectors}
        compare(seen(wanted, collection), got.seen, bounds)
        judge(wanted, collection, got, {name: bound for name, bound in bounds.items() if bound is not None})
        return got

    def bound(self, field: VectorField) -> Bound | None:
        """How far a vector of this field may be off."""
        return self.target_caps.bound_of(field.metric, field.dtype)


@contextlib.contextmanager
def opened(session: Source | Target, effects: Callable[[], tuple[Effect, ...]]) -> Iterator[None]:
    """Apply a session's effects, and undo them; each twice, as after a kill, and seen in what it says of them."""
    wanted = effects()
    assert effects() == wanted, "asking for effects changes something"
    assert [Effect.from_json(json.loads(json.dumps(e.to_json()))) for e in wanted] == list(wanted), "not plain data"
    for effect in (*wanted, *wanted):
        session.apply(effect)
    assert not wanted or effects() == (), "what was applied is still to be done"
    try:
        yield
    finally:
        for effect in (*reversed(wanted), *reversed(wanted)):
            session.undo(effect)
    assert not wanted or effects() == wanted, "what was undone is still there"


def _any_record(record: Record) -> bool:
    return True


def _metadata(n: int, caps: TargetCapabilities, seed: int) -> dict[str, Any]:
    exact = caps.metadata.exact
    out: dict[str, Any] = {}
    if "string" in exact:
        out["text"] = f"text {n} of {seed}"
    if "integer" in exact:
        out["number"] = n
    if "boolean" in exact:
        out["even"] = n % 2 == 0
    if "number" in exact:
        out["price"] = n + 0.5
    if "list_string" in exact:
        out["tags"] = [f"t{n % 5}", "all"]
    return out


def compare(wanted: Sequence[Seen], got: Sequence[Seen], bounds: Mapping[str, Bound | None]) -> None:
    """Raise an ``AssertionError`` that names the first difference between what was written and what was read.

    It is an oracle of its own, record by record and in plain Python: were ``model.compare`` blind for something, the
    suite would still see it.
    """
    repeated = [k for k, n in Counter(s.key for s in got).items() if n > 1]
    assert not repeated, f"read more than once: {repeated[:5]}"
    there, expected = {s.key: s for s in got}, {s.key: s for s in wanted}
    lost, new = [k for k in expected if k not in there], [k for k in there if k not in expected]
    assert not lost, f"{len(lost)} of {len(expected)} records are lost: {lost[:5]} (read instead: {new[:5]})"
    assert not new, f"records that nobody wrote: {new[:5]}"
    for key, want in expected.items():
        found = there[key]
        assert found.metadata == want.metadata, f"metadata of {key}: wrote {want.metadata}, read {found.metadata}"
        assert found.document == want.document, f"document of {key}: wrote {want.document!r}, read {found.document!r}"
        names = set(want.vectors) ^ set(found.vectors)
        assert not names, f"vectors of {key}: {names} are on one side only"
        for name, value in want.vectors.items():
            problem = difference(value, found.vectors[name], bounds.get(name))
            assert problem is None, f"vector {name!r} of {key}: {problem}"


def judge(wanted: pa.RecordBatch, collection: Collection, got: Reading, bounds: Mapping[str, Bound]) -> None:
    """Raise an ``AssertionError`` where the judge finds records changed that ``compare`` finds the same."""
    if not wanted.num_rows:
        return
    there = {key: place for place, key in enumerate(got.keys)}
    keys = zip(wanted.column("namespace").to_pylist(), wanted.column("id").to_pylist(), strict=True)
    # Of two with one key the later is there.
    rows = {key: row for row, key in enumerate(keys)}
    read = join_pages(got.collection, [page.batch for page in got.pages]).take(pa.array([there[key] for key in rows]))
    verdict = Judge(collection, got.collection, bounds).compare(wanted.take(pa.array(list(rows.values()))), read)
    assert verdict.within.all(), f"the judge finds another record: {verdict.findings()[0]}"


def difference(want: Any, got: Any, bound: Bound | None) -> str | None:
    """What is wrong with a vector that was read, None when nothing is."""
    if want is None or got is None:
        return None if want is got else f"wrote {want}, read {got}"
    if isinstance(want, bytes):
        return None if want == got else f"wrote bits {want.hex()}, read {got.hex()}"
    if isinstance(want, tuple):
        parts = [difference(w, g, bound) for w, g in zip(want, got, strict=True)]
        return next((p for p in parts if p), None)
    if want.shape != got.shape:
        return f"wrote shape {want.shape}, read {got.shape}"
    if bound is None:
        same = want.dtype == got.dtype and want.tobytes() == got.tobytes()
        return None if same else f"wrote {_shown(want)}, read {_shown(got)}"
    exact = want.astype(np.float64)
    if bound.normalized:
        length = np.linalg.norm(exact, axis=-1, keepdims=True)
        exact = exact / np.where(length == 0, 1, length)
    error = float(np.abs(got - exact).max(initial=0))
    allowed = bound.relative * float(np.abs(exact).max(initial=0))
    return None if error <= allowed else f"off by {error:.3g}, {allowed:.3g} is declared"


def _shown(values: Any) -> str:
    flat = values.reshape(-1)[:8]
    bits = [x.tobytes()[::-1].hex() for x in flat]
    return f"{values.dtype} {flat.tolist()} (bits {' '.join(bits)})"


# ---- pages ----


def check_page(page: Page, collection: Collection) -> None:
    """Raise unless a page keeps what every page promises."""
    assert page.batch.num_rows, "a page is empty"
    assert page.batch.schema.remove_metadata().equals(page_schema(collection)), (
        f"a page has the columns {page.batch.schema}, described were {page_schema(collection)}"
    )
    page.batch.validate(full=True)
    assert plain(page.cursor) == page.cursor, "a cursor does not survive JSON"
    for text in page.batch.column("metadata").to_pylist():
        assert canonical.is_canonical(str(text)), f"metadata is not canonical: {text}"


def plain(data: Json) -> Json:
    """What JSON makes of data."""
    return json.loads(json.dumps(data))


# ---- places ----


def tree(path: str | Path) -> dict[str, str]:
    """Every file below a path with the digest of its bytes; folders with ``""``."""
    root = Path(path)
    if root.is_file():
        return {"": _digest(root)}
    return {str(p.relative_to(root)): "" if p.is_dir() else _digest(p) for p in sorted(root.rglob("*"))}


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# ---- workers ----


def scan_elsewhere(
    connector: str, place: Place, name: str, token: Json, partition: Json, page_rows: int
) -> list[tuple[pa.RecordBatch, Json]]:
    """A worker's whole life: open, attach, scan one partition, close. Takes and gives plain, picklable data."""
    with load_connector(connector).open_source(place, name, Selection()) as source:
        source.attach(token)
        return [(page.batch, page.cursor) for page in source.scan(partition, None, page_rows)]


def write_elsewhere(connector: str, place: Place, plan: TargetPlan, batch: pa.RecordBatch, mark: Mark) -> int:
    """A worker's whole life on the other side: open, attach, write one row group, close."""
    with load_connector(connector).open_target(place, plan.collection.name) as target:
        target.attach(plan)
        target.write(batch, mark)
    return int(batch.num_rows)


def connector_path(connector: Connector) -> str:
    """``module:Class`` of a connector."""
    return f"{type(connector).__module__}:{type(connector).__qualname__}"


def load_connector(path: str) -> Connector:
    """The connector of a ``module:Class`` path."""
    module, _, name = path.partition(":")
    made: Connector = getattr(importlib.import_module(module), name)()
    return made


def in_process(work: Callable[..., Any], *args: Any) -> Any:
    """Call a function of this module in a spawned process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(work, *args).result(timeout=60)


def allowed_id(text: str, caps: TargetCapabilities) -> bool:
    """Whether capabilities say that a text can be an id."""
    if caps.id_max_bytes and len(text.encode()) > caps.id_max_bytes:
        return False
    return not (caps.id_forbidden and re.search(caps.id_forbidden, text))


WRONG_SHAPE = (NotRepresentable, IntegrityError)
