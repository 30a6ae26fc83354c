"""Validate: a dump against its own manifest and the format's rules, at three depths."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from ..dump.dump import Dump, foreign_files, open_dump
from ..dump.layout import MANIFEST
from ..dump.manifest import ShardEntry
from ..errors import IntegrityError, NotFound, NotRepresentable
from ..limits import DEFAULT_LIMITS
from ..model import canonical, hashes, ids
from ..model.batch import page_schema, vector_fault
from ..model.profile import Profile, profile_page
from .compare.levels import check_level
from .profiles import profile_fault
from .progress import Progress, Silent, Stop
from .reconcile import repeated_keys
from .rejects import fault

_PROFILE = "the profile of {} is what its records give"


@dataclass(frozen=True, slots=True)
class ValidateResult:
    """What validation found.

    Attributes:
        dump, level: what was asked for.
        valid: every check passed.
        checks: ``{"rule", "passed", "message"}`` in the order in which they ran.
        exit_code: 0, or 3 when a check failed.
    """

    dump: str
    level: str
    valid: bool
    checks: list[dict[str, Any]]
    seconds: float
    notes: tuple[str, ...] = ()
    exit_code: int = 0


class _Report:
    def __init__(self) -> None:
        self.checks: list[dict[str, Any]] = []

    def run(self, rule: str, message: str, check: Callable[[], str | None]) -> bool:
        """Run one check; it returns a finding, or None, or raises."""
        try:
            finding = check()
        except (IntegrityError, NotFound, NotRepresentable) as e:
            finding = e.what + (f" ({e.why})" if e.why else "")
        self.checks.append({"rule": rule, "passed": finding is None, "message": finding or message})
        return finding is None

    @property
    def valid(self) -> bool:
        return all(c["passed"] for c in self.checks)


def validate(
    dump: str | os.PathLike[str],
    *,
    level: str = "full",
    limits: Mapping[str, int] | None = None,
    progress: Progress | None = None,
    stop: Stop | None = None,
) -> ValidateResult:
    """Check a dump.

    Args:
        dump: folder or URL.
        level: ``quick`` (manifest, files, sizes, footers), ``full`` (and SHA-256 and profile of each shard) or ``deep``
            (and every record: hashes, canonical metadata, ids, dimensions, unique keys, sums).
        limits: raised bounds, by name.
        progress, stop: as in ``export``.

    Raises:
        NotFound: there is no dump at all.
        UsageError: an unknown level.
    """
    started = time.monotonic()
    check_level(level)
    progress, stop = progress or Silent(), stop or Stop()
    bounds = DEFAULT_LIMITS.with_overrides(dict(limits or {}))
    report = _Report()
    opened: list[Dump] = []

    def manifest() -> str | None:
        opened.append(open_dump(dump, bounds))
        return None

    readable = report.run("manifest", "the manifest is whole and says what the format allows", manifest)
    if not opened and not _has_manifest(dump):
        open_dump(dump, bounds)
    if readable:
        _check_dump(opened[0], level, report, progress, stop)
    return ValidateResult(
        dump=os.fspath(dump), level=level, valid=report.valid, checks=report.checks,
        seconds=time.monotonic() - started, exit_code=0 if report.valid else 3,
    )  # fmt: skip


def _has_manifest(dump: str | os.PathLike[str]) -> bool:
    from ..dump.store import open_store

    return open_store(dump).exists(MANIFEST)


def _check_dump(dump: Dump, level: str, report: _Report, progress: Progress, stop: Stop) -> None:
    entries = dump.manifest.shards
    progress.phase("validate", dump.manifest.rows)
    report.run("files", "no file is in the folder that the manifest does not name", lambda: _extra_files(dump))
    whole = [entry for entry in entries if _whole(dump, entry, level, report, progress, stop)]
    if level == "quick":
        return
    if level == "full":
        for e in whole:
            stop.check()
            report.run("profile", _PROFILE.format(e.path), partial(_profile, dump, e))
        return
    sound = [_sound(dump, e, report, progress, stop) for e in whole]
    if all(sound) and len(whole) == len(entries):
        report.run("unique-keys", "no key stands twice", lambda: _unique(dump))


def _sound(dump: Dump, entry: ShardEntry, report: _Report, progress: Progress, stop: Stop) -> bool:
    """Check the records of a shard and, when they are well formed, what the manifest says of them."""
    counted = Profile()
    check = partial(_records, dump, entry, counted, progress, stop)
    sound = report.run("records", f"every record of {entry.path} is well formed", check)
    if sound:
        report.run("profile", _PROFILE.format(entry.path), lambda: profile_fault(dump, entry, counted))
    return sound


def _profile(dump: Dump, entry: ShardEntry) -> str | None:
    return profile_fault(dump, entry, dump.counted(entry))


def _whole(dump: Dump, entry: ShardEntry, level: str, report: _Report, progress: Progress, stop: Stop) -> bool:
    """Check a shard's bytes and, when they are the right ones, its schema."""
    stop.check()
    reader = dump.shard(entry)
    rule, check = ("shard-footer", reader.check_footer) if level == "quick" else ("shard-sha256", reader.check_all)
    whole = report.run(rule, f"{entry.path} is what the manifest says", check) and report.run(
        "shard-schema", f"{entry.path} has the manifest's schema and row groups", reader.check_schema
    )
    progress.advance(0 if level == "deep" else entry.rows)
    return whole


def _extra_files(dump: Dump) -> str | None:
    known = {s.path for s in dump.manifest.shards}
    extra = [p for p in dump.store.list("data") if p not in known] + foreign_files(dump.store)
    return f"the manifest does not name {extra[0]}" if extra else fault(dump.store, dump.manifest.source)


def _unique(dump: Dump) -> str | None:
    rows = repeated_keys(dump.store, list(dump.manifest.shards), dump.collection, 512 << 20)
    count = sum(map(len, rows.values()))
    return f"{count:,} records repeat a key" if count else None


def _records(dump: Dump, entry: ShardEntry, counted: Profile, progress: Progress, stop: Stop) -> str | None:
    total, low, high = 0, [], []
    for number, group in enumerate(dump.shard(entry).groups()):
        stop.check()
        where = f"{entry.path}, row group {number}"
        finding = _group(dump, group, where)
        if finding:
            return finding
        counted.add(profile_page(group, dump.collection))
        id_texts = group.column("id").to_pylist()
        if id_texts:
            a, b = ids.bounds(id_texts, dump.collection.id_kind)
            low.append(a)
            high.append(b)
        total += hashes.record_sum(
            group.column("id"), group.column("namespace"), group.column("_vh"), group.column("_mh")
        )
        progress.advance(group.num_rows)
    if total & ((1 << 128) - 1) != entry.record_sum:
        return f"{entry.path}: the record hashes do not add up to the manifest's sum"
    if low:
        bounds = ids.bounds(low + high, dump.collection.id_kind)
        if bounds != (entry.id_min, entry.id_max):
            return f"{entry.path}: its ids lie between {bounds}, the manifest says {(entry.id_min, entry.id_max)}"
    return None


def _group(dump: Dump, group: pa.RecordBatch, where: str) -> str | None:
    c = dump.collection
    page = group.select(page_schema(c).names)
    for text in group.column("id").to_pylist():
        ids.check(text, c.id_kind)
    if not np.array_equal(hashes.vector_hashes(page, c), np.asarray(group.column("_vh"))):
        return f"{where}: a vector is not the one that was hashed"
    if not np.array_equal(hashes.metadata_hashes(page), np.asarray(group.column("_mh"))):
        return f"{where}: a document or metadata is not the one that was hashed"
    bad = next((t for t in group.column("metadata").to_pylist() if not _is_object(t)), None)
    if bad is not None:
        return f"{where}: metadata is not a canonical JSON object: {bad[:60]!r}"
    columns = c.columns()
    for v in c.vectors:
        finding = vector_fault(group.column(columns[v.name]), v)
        if finding:
            return f"{where}: vector {v.name!r} {finding}"
    return None


def _is_object(text: str) -> bool:
    if not (text.startswith("{") and canonical.is_canonical(text)):
        return False
    # A tag is an object in form, and most tags hold something else.
    return not text.startswith('{"$vp":') or isinstance(canonical.loads(text), dict)
