"""Verify: the records of a database against those of a dump, each fetched once, without a second dump on disk."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from ..connectors.contract import Description, Selection, Source
from ..connectors.guest import Guest
from ..dump.dump import Dump, open_dump
from ..dump.part import Part, Share, shares
from ..errors import NotFound, UsageError
from ..limits import DEFAULT_LIMITS
from ..model import hashes
from ..model.batch import dense_matrix
from ..model.collection import Bound, Collection
from ..model.near import within
from ..model.passport import Passport, target_keys
from ..model.restore import Restorer
from . import split
from .compare import bound_of, describe_bound, schema_changes
from .duck import Duck
from .progress import Progress, Silent, Stop
from .reconcile import KEY_SCHEMA
from .sessions import Endpoint, endpoint, target_endpoint
from .widening import restorer_for

EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class VerifyResult:
    """What the comparison found; counts are records.

    Attributes:
        rows: of the dump.
        count: the database's own.
        equal: equal in every hash.
        within_bound: vectors differ no more than the bound, everything else is equal.
        missing: in the dump only.
        extra: in the database only, by its count.
        vectors_changed, metadata_changed: beyond the bound.
        schema_changes: sentences.
        bound: in words.
        examples: some ids of each kind.
        exit_code: 0 when nothing is missing, extra or changed, else 3.
        namespace: whose records alone were compared, because the collection holds no others; None for all records.
        collections: by namespace the result of its collection, where they were split; the counts above are their sums.
    """

    dump: str
    target: str
    rows: int
    count: int
    equal: int
    within_bound: int
    missing: int
    extra: int
    vectors_changed: int
    metadata_changed: int
    schema_changes: tuple[str, ...]
    bound: str
    examples: dict[str, list[str]]
    seconds: float
    notes: tuple[str, ...] = ()
    exit_code: int = 0
    namespace: str | None = None
    collections: Mapping[str, VerifyResult] = field(default_factory=dict)


@dataclass(slots=True)
class _Tally:
    equal: int = 0
    within_bound: int = 0
    missing: int = 0
    vectors_changed: int = 0
    metadata_changed: int = 0
    examples: dict[str, list[str]] = field(default_factory=dict)

    def example(self, kind: str, found: list[str]) -> None:
        have = self.examples.setdefault(kind, [])
        have += found[: EXAMPLES - len(have)]
        if not have:
            del self.examples[kind]


def verify(
    dump: str | os.PathLike[str],
    target: str,
    *,
    collection: str | None = None,
    target_options: Mapping[str, str] | None = None,
    tolerance: float | None = None,
    namespaces: str | None = None,
    limits: Mapping[str, int] | None = None,
    max_rps: float | None = None,
    max_mbps: float | None = None,
    progress: Progress | None = None,
    stop: Stop | None = None,
) -> VerifyResult:
    """Compare a database with a dump, record by record.

    Args:
        dump: folder or URL of a finished dump.
        target: address of the place, or ``ADDRESS#collection``.
        collection: its name, when the place has several.
        target_options: connector options by name; no secrets.
        tolerance: largest relative error of a vector that counts as equal; None takes the bound that the database
            states for its metric, bit for bit when it states none.
        namespaces: ``split`` compares each namespace with the collection that an import with ``--namespaces split``
            made for it; ``collection`` is then the one that import was given. None compares one collection, with the
            records of one namespace where its passport says that it holds no others.
        limits: raised bounds for reading the dump, by name.
        max_rps, max_mbps: at most so many requests, and megabytes of records, a second.
        progress, stop: as in ``export``.

    Raises:
        VecportError: the dump or the database cannot be read.
    """
    if namespaces not in (None, "split"):
        raise UsageError(f"--namespaces {namespaces}: verify finds out by itself", next="leave it out, or say split")
    progress, stop = progress or Silent(), stop or Stop()
    opened = open_dump(dump, DEFAULT_LIMITS.with_overrides(dict(limits or {})))
    guest = Guest(max_rps, max_mbps)
    if namespaces == "split":
        return _verify_split(
            opened, target_endpoint(target, collection, target_options, opened, guest), tolerance, progress, stop
        )
    place = endpoint(target, role="target", collection=collection, options=target_options, guest=guest)
    return _verify(opened, place, tolerance, progress, stop)


def _verify(dump: Dump, place: Endpoint, tolerance: float | None, progress: Progress, stop: Stop) -> VerifyResult:
    """Compare one collection."""
    started = time.monotonic()
    progress.phase("open")
    with place.open_source(Selection(), stop) as session:
        if not session.capabilities.fetches:
            raise UsageError(
                f"{place.text} cannot be asked for single records",
                next=f"export it and compare the two dumps: vecport export {place.place.text} OTHER, vecport diff",
            )
        description = session.describe()
        session.attach(session.snapshot())
        opened, notes, changed = _of_namespace(dump, description)
        notes = (*description.notes, *notes)
        for text in notes:
            progress.note(text)
        check = _Check(opened, session, description, tolerance)
        progress.phase("verify", opened.manifest.rows)
        tally = check.run(progress, stop)
        notes = (*notes, *check.notes)
        count = session.count() or 0
        extra = max(0, count - (opened.manifest.rows - tally.missing))
        if extra and session.capabilities.lists_keys:
            tally.example("extra", check.extra_keys())
    changes = (*schema_changes(opened.collection, check.collection), *changed)
    bad = tally.missing or extra or tally.vectors_changed or tally.metadata_changed or changes
    return VerifyResult(
        dump=opened.url, target=place.text, rows=opened.manifest.rows, count=count, equal=tally.equal,
        within_bound=tally.within_bound, missing=tally.missing, extra=extra, vectors_changed=tally.vectors_changed,
        metadata_changed=tally.metadata_changed, schema_changes=changes, bound=describe_bound(check.bound),
        examples=tally.examples, seconds=time.monotonic() - started, notes=notes, exit_code=3 if bad else 0,
        namespace=opened.namespace,
    )  # fmt: skip


def _of_namespace(dump: Dump, description: Description) -> tuple[Dump, tuple[str, ...], tuple[str, ...]]:
    """What of a dump belongs into a collection that holds one namespace; notes, and what is wrong with it."""
    passport = None if description.passport is None else Passport.from_json(description.passport)
    if dump.namespace is not None or passport is None or passport.one_namespace is None:
        return dump, (), ()
    name, found = passport.one_namespace, shares(dump)
    if name not in found and dump.rows:
        wrong = f"the collection holds namespace {name!r}, which the dump does not have"
        return Part(dump, Share(name, 0, {})), (), (wrong,)
    if len(found) < 2:
        return dump, (), ()
    note = (
        f"the collection holds namespace {name!r} alone: {found[name].rows:,} of {dump.rows:,} records were compared;"
        " all namespaces: --namespaces split"
    )
    return Part(dump, found[name]), (note,), ()


def _verify_split(dump: Dump, place: Endpoint, tolerance: float | None, progress: Progress, stop: Stop) -> VerifyResult:
    """Compare the collection of each namespace."""
    started = time.monotonic()
    progress.phase("list namespaces")
    found: dict[str, VerifyResult] = {}
    absent: list[NotFound] = []
    pieces = split.pieces(dump, place)
    for piece in pieces:
        name = piece.target.collection
        try:
            found[piece.namespace] = _verify(piece.dump, piece.target, tolerance, split.Named(progress, name), stop)
        except NotFound as e:
            absent.append(e)
            found[piece.namespace] = _absent(piece)
    if len(absent) == len(pieces):
        raise absent[0]
    return _summed(dump, place, found, {p.namespace: p.target.collection for p in pieces}, time.monotonic() - started)


def _absent(piece: split.Piece) -> VerifyResult:
    rows = piece.dump.rows
    return VerifyResult(
        piece.dump.url, piece.target.text, rows, 0, 0, 0, rows, 0, 0, 0, ("the collection does not exist",), "", {},
        0.0, exit_code=3, namespace=piece.namespace,
    )  # fmt: skip


def _summed(
    dump: Dump, place: Endpoint, found: Mapping[str, VerifyResult], names: Mapping[str, str], seconds: float
) -> VerifyResult:
    """One result for all collections: equal only when each of them is."""

    def total(what: str) -> int:
        return sum(getattr(r, what) for r in found.values())

    examples: dict[str, list[str]] = {}
    for ns, result in found.items():
        for kind, ids in result.examples.items():
            have = examples.setdefault(kind, [])
            have += [f"{names[ns]} {id_}" for id_ in ids[: EXAMPLES - len(have)]]
    return VerifyResult(
        dump=dump.url, target=place.text, rows=total("rows"), count=total("count"), equal=total("equal"),
        within_bound=total("within_bound"), missing=total("missing"), extra=total("extra"),
        vectors_changed=total("vectors_changed"), metadata_changed=total("metadata_changed"),
        schema_changes=tuple(f"{names[ns]}: {c}" for ns, r in found.items() for c in r.schema_changes),
        bound="; ".join(dict.fromkeys(r.bound for r in found.values() if r.bound)), examples=examples,
        seconds=seconds, notes=tuple(f"{names[ns]}: {n}" for ns, r in found.items() for n in r.notes),
        exit_code=max(r.exit_code for r in found.values()), collections=found,
    )  # fmt: skip


class _Check:
    """One comparison: asks the database for the keys of each row group and compares what comes back."""

    def __init__(self, dump: Dump, session: Source, description: Description, tolerance: float | None) -> None:
        self._dump, self._session = dump, session
        self._passport: Passport | None = None
        self._restorer: Restorer | None = None
        self._native: Collection = description.collection
        if description.passport is not None:
            self._passport = Passport.from_json(description.passport)
            self._restorer = restorer_for(description.collection, description.passport, lenient=True)
        self.bound: Bound = bound_of(*self.collection.vectors, *dump.collection.vectors, tolerance=tolerance)
        self._step = max(1, session.capabilities.page_rows)

    @property
    def collection(self) -> Collection:
        """The schema of the records that were fetched so far."""
        return self._restorer.collection if self._restorer else self._native

    @property
    def notes(self) -> tuple[str, ...]:
        """What is otherwise than a passport remembers."""
        return self._restorer.notes if self._restorer else ()

    def run(self, progress: Progress, stop: Stop) -> _Tally:
        """Compare every row group, fetching the next one while the current one is compared."""
        tally = _Tally()
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="compare") as pool:
            pending = None
            for entry in self._dump.manifest.shards:
                for group in self._dump.shard(entry).groups():
                    stop.check()
                    found = self._fetch(group)
                    if pending is not None:
                        pending.result()
                    pending = pool.submit(self._compare, group, found, tally)
                    progress.advance(group.num_rows)
            if pending is not None:
                pending.result()
        return tally

    def extra_keys(self) -> list[str]:
        """Some keys of the database that stand in no record of the dump."""
        with Duck() as duck:
            keys = (self._target_keys(b) for b in self._dump.keys(("id", "namespace")))
            duck.load("dump", KEY_SCHEMA, keys)
            duck.load("now", KEY_SCHEMA, (b.select(["id", "namespace"]) for b in self._session.keys()))
            rows = duck.rows(
                f"SELECT id FROM (SELECT id, namespace FROM now EXCEPT SELECT id, namespace FROM dump) LIMIT {EXAMPLES}"
            )
        return [r[0] for r in rows]

    def _target_keys(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The keys under which the database holds these records."""
        columns = target_keys(self._passport, batch.column("id"), batch.column("namespace"), strangers=True)
        return pa.RecordBatch.from_arrays(list(columns), schema=KEY_SCHEMA)

    def _fetch(self, group: pa.RecordBatch) -> list[tuple[pa.RecordBatch, Collection]]:
        """The records that the database has of a row group, in pages, each with its schema."""
        keys = self._target_keys(group)
        pairs = list(zip(keys.column("namespace").to_pylist(), keys.column("id").to_pylist(), strict=True))
        pages = [self._session.fetch(pairs[i : i + self._step]) for i in range(0, len(pairs), self._step)]
        pages = [p for p in pages if p.num_rows]
        return [(self._restorer.apply(p) if self._restorer else p, self.collection) for p in pages]

    def _compare(self, group: pa.RecordBatch, pages: list[tuple[pa.RecordBatch, Collection]], tally: _Tally) -> None:
        record_ids = group.column("id").to_pylist()
        place = {key: i for i, key in enumerate(zip(group.column("namespace").to_pylist(), record_ids, strict=True))}
        seen = np.zeros(group.num_rows, bool)
        vh, mh = np.asarray(group.column("_vh")), np.asarray(group.column("_mh"))
        for page, collection in pages:
            keys = zip(page.column("namespace").to_pylist(), page.column("id").to_pylist(), strict=True)
            at = np.asarray([place.get(k, -1) for k in keys])
            if (at < 0).any():
                page, at = page.filter(pa.array(at >= 0)), at[at >= 0]
            seen[at] = True
            v_differs = hashes.vector_hashes(page, collection) != vh[at]
            m_differs = hashes.metadata_hashes(page) != mh[at]
            close = v_differs.copy()
            if v_differs.any():
                close[v_differs] = self._within(group, page, collection, at, np.flatnonzero(v_differs))
            far = v_differs & ~close
            tally.equal += int((~v_differs & ~m_differs).sum())
            tally.within_bound += int((close & ~m_differs).sum())
            tally.vectors_changed += int(far.sum())
            tally.metadata_changed += int(m_differs.sum())
            tally.example("vectors", [record_ids[i] for i in at[far][:EXAMPLES].tolist()])
            tally.example("metadata", [record_ids[i] for i in at[m_differs][:EXAMPLES].tolist()])
        tally.missing += int((~seen).sum())
        tally.example("missing", [record_ids[i] for i in np.flatnonzero(~seen)[:EXAMPLES].tolist()])

    def _within(self, group: pa.RecordBatch, page: pa.RecordBatch, theirs: Collection, at: Any, rows: Any) -> Any:
        """Of rows whose vector hash differs, those whose vectors are within the bound."""
        close = np.ones(len(rows), bool)
        ours = self._dump.collection
        if len(ours.vectors) != len(theirs.vectors):
            return np.zeros(len(rows), bool)
        for x, y in zip(ours.vectors, theirs.vectors, strict=True):
            if x.kind != "dense" or y.kind != "dense" or x.dim != y.dim:
                return np.zeros(len(rows), bool)
            a, have_a = dense_matrix(group.column(ours.columns()[x.name]).take(pa.array(at[rows])), x)
            b, have_b = dense_matrix(page.column(theirs.columns()[y.name]).take(pa.array(rows)), y)
            both = have_a & have_b
            if not both.all():
                close &= have_a == have_b
                continue
            close &= within(a, b, self.bound)
        return close
