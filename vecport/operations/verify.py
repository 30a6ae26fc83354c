"""Verify: the records of a database against those of a dump, without a second dump on disk."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from ..connectors.contract import Description, Selection, Source
from ..connectors.guest import Guest
from ..dump.dump import Dump, open_dump
from ..dump.namespace_view import NamespaceView, Share, shares
from ..dump.records import Records
from ..errors import NotFound, UsageError
from ..limits import DEFAULT_LIMITS
from ..model.compare import Finding
from ..model.passport import Passport
from ..model.widening import Misfit, Widening
from . import split
from .compare.bounds import Tolerance, summary, words_by_field
from .compare.judged import check_present
from .compare.levels import check_level
from .compare.located import EXAMPLES
from .compare.schemas import schema_changes
from .compare.tally import Tally
from .compare.target import Comparison
from .effects import Held, Told
from .progress import Progress, Silent, Stop
from .sessions import Endpoint, endpoint, target_endpoint

DEFAULT_MEMORY_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class VerifyResult:
    """What the comparison found; counts are records.

    Attributes:
        dump, target: what was compared.
        rows: of the dump.
        count: the database's own.
        equal: equal in vectors, document and metadata.
        within_bound: vectors differ no more than their bounds, everything else is equal.
        missing: in the dump only.
        extra: in the database only.
        changed: different beyond the bounds in any part.
        repeated: keys that stand another number of times in the database; their records count nowhere else.
        vectors_changed: of the changed ones, those with a vector beyond its bound.
        metadata_changed: of the changed ones, those whose document or metadata differ.
        parts: changed records by part, as ``vector:NAME`` or ``metadata:KEY``; see ``model.compare.Part``.
        schema_changes: sentences.
        bound: within which vectors were compared, in words.
        bounds: the same by vector field.
        method: how the database was read: ``scan`` (all records once), ``fetch`` (those of the dump by their keys) or
            ``count`` (no record).
        level: how thoroughly: ``quick``, ``full`` or ``deep``.
        by_recorded_hashes: hashes of the dump were taken as recorded; level ``deep`` computes them.
        examples: at most five findings of each kind.
        exit_code: 0 when nothing is missing, extra, repeated or changed, else 3.
        namespace: whose records alone were compared, because the collection holds no others; None for all records.
        collections: by namespace the result of its collection, where they were split; the counts above are their sums.
    """

    dump: str
    target: str
    rows: int
    count: int
    equal: int = 0
    within_bound: int = 0
    missing: int = 0
    extra: int = 0
    changed: int = 0
    repeated: int = 0
    vectors_changed: int = 0
    metadata_changed: int = 0
    parts: Mapping[str, int] = field(default_factory=dict)
    schema_changes: tuple[str, ...] = ()
    bound: str = ""
    bounds: Mapping[str, str] = field(default_factory=dict)
    method: str = "scan"
    level: str = "full"
    by_recorded_hashes: bool = True
    examples: tuple[Finding, ...] = ()
    seconds: float = 0.0
    notes: tuple[str, ...] = ()
    exit_code: int = 0
    namespace: str | None = None
    collections: Mapping[str, VerifyResult] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _How:
    """What a user chose, and who listens."""

    tolerance: Tolerance
    level: str
    memory_bytes: int
    progress: Progress
    stop: Stop


def verify(
    dump: str | os.PathLike[str],
    target: str,
    *,
    collection: str | None = None,
    target_options: Mapping[str, str] | None = None,
    tolerance: Tolerance = None,
    level: str = "full",
    namespaces: str | None = None,
    limits: Mapping[str, int] | None = None,
    memory_bytes: int = DEFAULT_MEMORY_BYTES,
    max_rps: float | None = None,
    max_mbps: float | None = None,
    progress: Progress | None = None,
    stop: Stop | None = None,
) -> VerifyResult:
    """Compare a database with a dump, record by record.

    The database is read once from end to end, or asked for the dump's records alone where they are a small part of
    its own.

    Args:
        dump: folder or URL of a finished dump.
        target: address of the place, or ``ADDRESS#collection``.
        collection: its name, when the place has several.
        target_options: connector options by name; no secrets.
        tolerance: largest relative error of a vector that counts as equal, for all vector fields or by name; None takes
            the bound that the database states for each field, bit for bit where it states none.
        level: ``quick`` (counts, and that every shard of the dump is there), ``full`` (and every record, by the hashes
            that the dump recorded) or ``deep`` (by hashes that are computed from its data).
        namespaces: ``split`` compares each namespace with the collection that an import with ``--namespaces split``
            made for it; ``collection`` is then the one that import was given. None compares one collection, with the
            records of one namespace where its passport says that it holds no others.
        limits: raised bounds for reading the dump, by name.
        memory_bytes: for DuckDB and buffers; more data spills to a temporary folder.
        max_rps, max_mbps: at most so many requests, and megabytes of records, a second.
        progress, stop: as in ``export``.

    Raises:
        UsageError: an unknown level, or a tolerance for a vector that is not there.
        IntegrityError: the dump is damaged, or a shard of it is missing.
        VecportError: the dump or the database cannot be read.
    """
    if namespaces not in (None, "split"):
        raise UsageError(f"--namespaces {namespaces}: verify finds out by itself", next="leave it out, or say split")
    check_level(level)
    how = _How(tolerance, level, memory_bytes, progress or Silent(), stop or Stop())
    opened = open_dump(dump, DEFAULT_LIMITS.with_overrides(dict(limits or {})))
    guest = Guest(max_rps, max_mbps)
    if namespaces == "split":
        return _verify_split(opened, target_endpoint(target, collection, target_options, opened, guest), how)
    return _verify(
        opened,
        endpoint(target, role="target", collection=collection, options=target_options, guest=guest, stop=how.stop),
        how,
    )


def _verify(dump: Dump, place: Endpoint, how: _How) -> VerifyResult:
    """Compare one collection."""
    started = time.monotonic()
    how.progress.phase("open")
    told = Told(how.progress, how.stop)
    with (
        place.open_source(Selection(), how.stop) as session,
        Held(place, session, f"the check against {dump.url}", told) as effects,
    ):
        description = session.describe()
        if how.level != "quick":
            effects.apply(session.effects)
        token = session.snapshot()
        session.attach(token)
        opened, notes, changed = _of_namespace(dump, description)
        notes = (*description.notes, *notes)
        for text in notes:
            how.progress.note(text)
        check_present(opened)
        widening = Widening()
        while True:
            compared = Comparison(
                opened, str(opened.manifest.identity), session, token, description, how.tolerance, how.memory_bytes,
                widening,
            )  # fmt: skip
            try:
                tally, count, method, more = _found(compared, opened, session, how)
                break
            except Misfit as e:
                # The collection lives on: it is compared again by the schema that fits its records.
                wider = widening.merged(e.widening)
                if not wider.wider_than(widening):
                    raise
                widening = wider
    for text in more:
        how.progress.note(text)
    changes = (*schema_changes(opened.collection, compared.collection), *changed)
    by_field = words_by_field(compared.bounds)
    return VerifyResult(
        dump=opened.url, target=place.text, rows=opened.rows, count=count, equal=tally.equal,
        within_bound=tally.within_bound, missing=tally.missing, extra=tally.extra, changed=tally.changed,
        repeated=tally.repeated, vectors_changed=tally.vectors_changed, metadata_changed=tally.metadata_changed,
        parts=tally.parts, schema_changes=changes, bound=summary(by_field), bounds=by_field, method=method,
        level=how.level, by_recorded_hashes=how.level != "deep", examples=tally.examples,
        seconds=time.monotonic() - started, notes=(*notes, *more, *told.notes),
        exit_code=3 if tally.differs or changes else 0, namespace=opened.namespace,
    )  # fmt: skip


def _found(compared: Comparison, dump: Records, session: Source, how: _How) -> tuple[Tally, int, str, tuple[str, ...]]:
    """The counts, the database's own, how it was read, and notes."""
    if how.level != "quick":
        tally = compared.run(how.level == "deep", how.progress, how.stop)
        return tally, compared.count, compared.method, tuple(compared.notes)
    count = session.count()
    if count is None:
        raise UsageError(
            "--level quick compares counts, and this place cannot count", next="leave --level out: records are compared"
        )
    tally = Tally(missing=max(0, dump.rows - count), extra=max(0, count - dump.rows))
    return tally, count, "count", ("records were counted and not compared: --level full compares them",)


def _of_namespace(dump: Dump, description: Description) -> tuple[Dump, tuple[str, ...], tuple[str, ...]]:
    """What of a dump belongs into a collection that holds one namespace; notes, and what is wrong with it."""
    passport = None if description.passport is None else Passport.from_json(description.passport)
    if dump.namespace is not None or passport is None or passport.one_namespace is None:
        return dump, (), ()
    name, found = passport.one_namespace, shares(dump)
    if name not in found and dump.rows:
        wrong = f"the collection holds namespace {name!r}, which the dump does not have"
        return NamespaceView(dump, Share(name, 0, {})), (), (wrong,)
    if len(found) < 2:
        return dump, (), ()
    note = (
        f"the collection holds namespace {name!r} alone: {found[name].rows:,} of {dump.rows:,} records were compared;"
        " all namespaces: --namespaces split"
    )
    return NamespaceView(dump, found[name]), (note,), ()


def _verify_split(dump: Dump, place: Endpoint, how: _How) -> VerifyResult:
    """Compare the collection of each namespace."""
    started = time.monotonic()
    how.progress.phase("list namespaces")
    found: dict[str, VerifyResult] = {}
    absent: list[NotFound] = []
    pieces = split.pieces(dump, place)
    for piece in pieces:
        named = replace(how, progress=split.Named(how.progress, piece.target.collection))
        try:
            found[piece.namespace] = _verify(piece.dump, piece.target, named)
        except NotFound as e:
            absent.append(e)
            found[piece.namespace] = _absent(piece, how)
    if len(absent) == len(pieces):
        raise absent[0]
    return _summed(dump, place, found, {p.namespace: p.target.collection for p in pieces}, time.monotonic() - started)


def _absent(piece: split.Piece, how: _How) -> VerifyResult:
    return VerifyResult(
        piece.dump.url, piece.target.text, piece.dump.rows, 0, missing=piece.dump.rows, level=how.level,
        schema_changes=("the collection does not exist",), exit_code=3, namespace=piece.namespace,
    )  # fmt: skip


def _summed(
    dump: Dump, place: Endpoint, found: Mapping[str, VerifyResult], names: Mapping[str, str], seconds: float
) -> VerifyResult:
    """One result for all collections: equal only when each of them is."""

    def total(what: str) -> int:
        return sum(getattr(r, what) for r in found.values())

    def each(what: str) -> dict[str, int]:
        keys = dict.fromkeys(k for r in found.values() for k in getattr(r, what))
        return {k: sum(getattr(r, what).get(k, 0) for r in found.values()) for k in keys}

    examples: dict[str, list[Finding]] = {}
    for result in found.values():
        for finding in result.examples:
            examples.setdefault(finding.kind, []).append(finding)
    results = list(found.values())
    return VerifyResult(
        dump=dump.url, target=place.text, rows=total("rows"), count=total("count"), equal=total("equal"),
        within_bound=total("within_bound"), missing=total("missing"), extra=total("extra"), changed=total("changed"),
        repeated=total("repeated"), vectors_changed=total("vectors_changed"),
        metadata_changed=total("metadata_changed"), parts=each("parts"),
        schema_changes=tuple(f"{names[ns]}: {c}" for ns, r in found.items() for c in r.schema_changes),
        bound="; ".join(dict.fromkeys(r.bound for r in results if r.bound)),
        bounds={k: v for r in results for k, v in r.bounds.items()},
        method="; ".join(dict.fromkeys(r.method for r in results)), level=results[0].level,
        by_recorded_hashes=any(r.by_recorded_hashes for r in results),
        examples=tuple(f for kind in examples.values() for f in kind[:EXAMPLES]), seconds=seconds,
        notes=tuple(f"{names[ns]}: {n}" for ns, r in found.items() for n in r.notes),
        exit_code=max(r.exit_code for r in results), collections=found,
    )  # fmt: skip
