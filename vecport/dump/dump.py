"""A finished dump: opening it, reading its records, and publishing one."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from threading import Lock

import pyarrow as pa

from ..errors import AlreadyExists, IntegrityError, Locked, NotFound, OutcomeUnknown, VecportError
from ..limits import DEFAULT_LIMITS, Limits
from ..model.batch import KEY_COLUMNS
from ..model.collection import Collection
from ..model.profile import Profile, profile_page
from .layout import EFFECTS, LOCK, MANIFEST, README, REJECTS, WORK
from .lock import Lease
from .manifest import Identity, Manifest, ShardEntry, parse_manifest
from .shard import ShardReader
from .store import RemoteStore, Store, open_store


class Dump:
    """A dump that can be read. Open one with ``open_dump``.

    Attributes:
        store: where it lives.
        manifest: its checked manifest.
        limits: bounds for everything read from it.
        namespace: of all its records, where it is a part of another dump; None for a dump of its own.
    """

    namespace: str | None = None

    def __init__(self, store: Store, manifest: Manifest, limits: Limits = DEFAULT_LIMITS) -> None:
        self.store, self.manifest, self.limits = store, manifest, limits
        self._counted: dict[str, Profile] = {}
        self._counting = Lock()

    @property
    def url(self) -> str:
        """The dump's location as the user wrote it."""
        return self.store.url

    @property
    def collection(self) -> Collection:
        """The schema of its records."""
        return self.manifest.collection

    @property
    def whole(self) -> Dump:
        """The dump that this one is a part of; itself where it is none."""
        return self

    @property
    def rows(self) -> int:
        """Its records."""
        return self.manifest.rows

    @property
    def identity(self) -> Identity | None:
        """What makes two dumps equal, from the recorded sums."""
        return self.manifest.identity

    @cached_property
    def profile(self) -> Profile:
        """What is in it, as its manifest says; what that does not say is counted from the records."""
        total = Profile()
        for entry in self.manifest.shards:
            total.add(entry.profile if entry.profile.says_all(self.collection) else self.counted(entry))
        return total

    def counted(self, entry: ShardEntry) -> Profile:
        """The profile of a shard's records, whatever the manifest says; reads them all, once."""
        with self._counting:
            known = self._counted.get(entry.path)
        if known is None:
            known = Profile()
            for group in self.shard(entry).groups():
                known.add(profile_page(group, self.collection))
            with self._counting:
                self._counted[entry.path] = known
        return known

    def shard(self, entry: ShardEntry) -> ShardReader:
        """A reader for one shard."""
        return ShardReader(self.store, entry, self.collection, self.limits)

    def parts(self) -> Iterator[ShardReader]:
        """A reader for each shard."""
        return map(self.shard, self.manifest.shards)

    def groups(self) -> Iterator[pa.RecordBatch]:
        """All records, row group by row group; every byte of a shard is checked before its first."""
        for entry in self.manifest.shards:
            yield from self.shard(entry).groups()

    def keys(self, columns: Sequence[str] = (*KEY_COLUMNS, "_vh", "_mh")) -> Iterator[pa.RecordBatch]:
        """Key and hash columns of all records, after a footer check of each shard; cheap, no vector is read."""
        for entry in self.manifest.shards:
            yield from self.shard(entry).columns(columns)


def open_dump(location: str | os.PathLike[str], limits: Limits = DEFAULT_LIMITS) -> Dump:
    """Open a finished dump.

    Raises:
        NotFound: there is nothing, or no manifest; the message tells an unfinished dump from another folder.
        IntegrityError: the manifest is damaged or outside the limits.
        NotRepresentable: it needs a later release.
    """
    store = open_store(location)
    if not store.exists(MANIFEST):
        raise _no_dump(store)
    raw = store.read(MANIFEST, limits.manifest_bytes)
    return Dump(store, parse_manifest(raw, f"{store.url}/{MANIFEST}", limits), limits)


def _no_dump(store: Store) -> VecportError:
    if store.exists(f"{WORK}/export.json"):
        return NotFound(
            f"{store.url} is an unfinished dump", "it has no manifest yet", "its finished shards are kept",
            "run the export command that began it again: it goes on where it stopped",
        )  # fmt: skip
    if store.local_path is not None and not os.path.exists(store.local_path):
        return NotFound(f"{store.url} does not exist", next="list dumps: vecport ls FOLDER")
    return NotFound(
        f"{store.url} is not a dump", f"it has no {MANIFEST}", "nothing was changed", "list dumps: vecport ls FOLDER"
    )


def publish(store: Store, manifest: Manifest) -> Manifest:
    """Make a dump exist: write its README, then its manifest, conditionally and last.

    Returns:
        The manifest as it reads back.

    Raises:
        AlreadyExists: somebody else published another dump here meanwhile.
        IntegrityError: the manifest is none that a reader would take; nothing was written.
        OutcomeUnknown: the manifest may or may not be durable; running again is safe.
    """
    raw = manifest.to_bytes()
    own = replace(DEFAULT_LIMITS, manifest_bytes=len(raw), manifest_values=len(raw), shards=len(manifest.shards))
    checked = parse_manifest(raw, store.url, own)
    store.put(README, _readme(manifest).encode())
    _confirm(store)
    try:
        store.put_new(MANIFEST, raw)
    except AlreadyExists:
        if store.size(MANIFEST) != len(raw) or store.read(MANIFEST, len(raw)) != raw:
            raise
    except VecportError as e:
        if store.local_path is not None and not store.exists(MANIFEST):
            raise
        raise OutcomeUnknown(
            f"{store.url}: the manifest may or may not have been written", e.what,
            "all shards are durable", "run the same command again",
        ) from e  # fmt: skip
    try:
        _confirm(store)
    except Locked:
        _withdraw(store, raw)
        raise
    except VecportError as e:
        raise OutcomeUnknown(
            f"{store.url}: the manifest was written, and nobody knows whether this run had the right to", e.what,
            "all shards are durable", "run the same command again",
        ) from e  # fmt: skip
    return checked


def _confirm(store: Store) -> None:
    """Raise ``Locked`` unless the store says now that this run may write."""
    if isinstance(store.claim, Lease):
        store.claim.confirm()


def _withdraw(store: Store, raw: bytes) -> None:
    """Take back a manifest that was published after the right had passed to another run."""
    if isinstance(store, RemoteStore) and store.keeps_conditions:
        store.withdraw(MANIFEST, hashlib.sha256(raw).hexdigest())


def unpublish(store: Store) -> None:
    """Remove a dump: its manifest first, so that a half-removed one is never taken for a dump.

    What else the store does not let go stays, and gives way to what is written in its place.
    """
    store.delete(MANIFEST)
    for path in (*store.list("data"), README, REJECTS):
        store.dispensed(path)
    if store.local_path is not None and not store.exists(EFFECTS):
        store.delete_tree(WORK)
        return
    for path in store.list(WORK):
        if path not in (EFFECTS, LOCK):
            store.dispensed(path)


def foreign_files(store: Store) -> list[str]:
    """Files in the location that belong to no dump; a new dump is never mixed with them."""
    own = (MANIFEST, README, REJECTS)
    return [
        p for p in store.list()
        if p not in own and not p.startswith((f"{WORK}/", "data/part-", "data/.tmp-", ".tmp-"))
    ]  # fmt: skip


def check_collection_columns(dump: Dump, names: Sequence[str]) -> None:
    """Raise ``IntegrityError`` unless the dump's schema has these columns."""
    have = {*KEY_COLUMNS, "document", "metadata", "_vh", "_mh", *dump.collection.columns().values()}
    missing = [n for n in names if n not in have]
    if missing:
        raise IntegrityError(f"{dump.url} has no column {missing[0]!r}")


def _readme(manifest: Manifest) -> str:
    c = manifest.collection
    vectors = "".join(
        f"- `{column}`: {v.kind} {v.dtype}, {v.dim or 'any'} dimensions, metric {v.metric}\n"
        for v, column in ((v, c.columns()[v.name]) for v in c.vectors)
    )
    example = f", len({next(iter(c.columns().values()))})" if c.vectors and c.vectors[0].kind == "dense" else ""
    records = "1 record" if manifest.rows == 1 else f"{manifest.rows:,} records"
    rejects = manifest.source.get("rejects")
    left_out = f"\n{rejects['rows']:,} more could not be read: `{REJECTS}` names them.\n" if rejects else ""
    return f"""# A vecport dump: {records} of one vector collection

`manifest.json` says what is here and has the checksum of every Parquet file; a folder without it is not a dump.
{left_out}The records are plain Parquet. DuckDB alone reads them, from inside this folder:

    select id, document, metadata->>'$.name'{example} from read_parquet('data/*.parquet') limit 10;

Columns: `id`, `namespace`, `document`, `metadata` (JSON text), the vectors, and two row hashes `_vh`, `_mh`.

{vectors}
Identity: `{manifest.identity}`. To restore the dump: `vecport import FOLDER ADDRESS`.
"""
