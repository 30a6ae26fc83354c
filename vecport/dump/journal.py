"""The journal of an unfinished dump: small files in ``.vecport/``, each written whole, one writer each.

``export.json`` names the run (fingerprint, schema, snapshot token, number of partitions), ``partitions/`` has the
partitions (``dump.partitions``); ``shards/part-P-S.json`` follows each durable shard and holds its manifest entry and
where the partition goes on; ``effects.json`` says what the export has changed in its source. Nothing is ever appended
to or rewritten by two workers, so a kill leaves either the old state or the new one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import IntegrityError
from ..model.collection import Collection, collection_from_json, collection_to_json
from .layout import EFFECTS, LOCK, SHARD, WORK
from .manifest import ShardEntry, strict_json
from .partitions import PartitionFiles
from .store import LocalStore, Store

_EXPORT = f"{WORK}/export.json"
_SHARDS = f"{WORK}/shards"
_RECORD = re.compile(re.escape(_SHARDS) + r"/part-[0-9]{5,10}-[0-9]{5,10}\.json\Z")
_MAX_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class Run:
    """What an export fixed before its first row.

    Attributes:
        fingerprint: everything that must be the same for a resume (address, collection, selection, schema digest,
            cut, format version), as plain data.
        collection: the schema of the dump.
        native: the schema that the connector described, before a passport was applied.
        passport: the passport found, or None.
        token: the snapshot token.
        partitions: how many there are; ``Journal.partitions`` has them.
        count_before: records at the start, None when unknown.
        dump_id, created_at: of the dump.
        epochs: how many snapshots the rows come from.
        source: facts for the manifest.
        widened: by what records have widened the schema since the description (``model.widening``), as plain data.
    """

    fingerprint: Mapping[str, Any]
    collection: Collection
    native: Collection
    passport: Mapping[str, Any] | None
    token: Any
    partitions: int
    count_before: int | None
    dump_id: str
    created_at: str
    epochs: int = 1
    source: Mapping[str, Any] = field(default_factory=dict)
    widened: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Durable:
    """A shard that is durable, and where its partition goes on.

    Attributes:
        partition, sequence: its place.
        entry: for the manifest.
        cursor: behind its last row, None where the source has no cursor.
        done: the partition ended with it.
        missing: keys that were listed and not given any more, behind the shard before and up to this one.
        rejected: namespace, id and reason of records that could not be read, likewise.
    """

    partition: int
    sequence: int
    entry: ShardEntry
    cursor: Any
    done: bool
    missing: tuple[tuple[str, str], ...] = ()
    rejected: tuple[tuple[str, str, str], ...] = ()


class Journal:
    """Reads and writes the journal of one dump.

    Args:
        store: the dump's location.
        dump_id: of the dump whose shards are recorded.

    Attributes:
        left: files that it had to delete and that the store keeps.
    """

    def __init__(self, store: Store, dump_id: str = "") -> None:
        self._store, self._dump_id = store, dump_id
        self.left: list[str] = []

    def begin(self, run: Run) -> None:
        """Record a run before its first shard."""
        data = {
            "fingerprint": dict(run.fingerprint),
            "collection": collection_to_json(run.collection),
            "native": collection_to_json(run.native),
            "passport": run.passport,
            "token": run.token,
            "partitions": run.partitions,
            "count_before": run.count_before,
            "dump_id": run.dump_id,
            "created_at": run.created_at,
            "epochs": run.epochs,
            "source": dict(run.source),
            "widened": dict(run.widened),
        }
        self._store.put(_EXPORT, json.dumps(data).encode())

    def partitions(self, dump_id: str) -> PartitionFiles:
        """The files of the partitions; they are written before ``begin``."""
        return PartitionFiles(self._store, dump_id)

    def run(self) -> Run | None:
        """The recorded run, None when there is none."""
        if not self._store.exists(_EXPORT):
            return None
        data = strict_json(self._store.read(_EXPORT, _MAX_BYTES), f"{self._store.url}/{_EXPORT}")
        try:
            return Run(
                fingerprint=data["fingerprint"],
                collection=collection_from_json(data["collection"]),
                native=collection_from_json(data["native"]),
                passport=data["passport"],
                token=data["token"],
                partitions=int(data["partitions"]),
                count_before=data["count_before"],
                dump_id=data["dump_id"],
                created_at=data["created_at"],
                epochs=data["epochs"],
                source=data["source"],
                widened=data["widened"],
            )
        except (KeyError, TypeError, ValueError, AttributeError) as e:
            raise self._unreadable(_EXPORT, e) from e

    def effects(self) -> dict[str, Any] | None:
        """What ``keep_effects`` has kept, None when there is nothing."""
        if not self._store.exists(EFFECTS):
            return None
        found = dict(strict_json(self._store.read(EFFECTS, _MAX_BYTES), f"{self._store.url}/{EFFECTS}"))
        # Where the store does not delete, what is dropped says nothing.
        return None if found.keys() == {"dump_id"} else found

    def keep_effects(self, record: Mapping[str, Any] | None) -> None:
        """Keep what the export changes in its source, before it does; None when everything is put back."""
        if record is None:
            self._drop(EFFECTS)
        else:
            self._store.put(EFFECTS, json.dumps(record).encode())

    def add(self, durable: Durable) -> None:
        """Record a durable shard."""
        data = {
            "dump_id": self._dump_id,
            "partition": durable.partition,
            "sequence": durable.sequence,
            "entry": durable.entry.to_json(),
            "cursor": durable.cursor,
            "done": durable.done,
            "missing": [list(k) for k in durable.missing],
            "rejected": [list(r) for r in durable.rejected],
        }
        self._store.put(_record(durable.entry.path), json.dumps(data).encode())

    def durable(self, dump_id: str | None = None) -> dict[int, list[Durable]]:
        """Durable shards of the dump that has this id, None for any; by partition, in sequence, without gaps."""
        found: dict[int, list[Durable]] = {}
        for path in self._store.list(_SHARDS):
            if not _RECORD.match(path):
                # The temporary file of a run that was killed holds half a record, or one that never counted.
                continue
            data = strict_json(self._store.read(path, _MAX_BYTES), f"{self._store.url}/{path}")
            if _of_another(data, dump_id):
                continue
            try:
                entry = ShardEntry.from_json(data["entry"])
                missing = tuple((ns, i) for ns, i in data["missing"])
                rejected = tuple((ns, i, reason) for ns, i, reason in data.get("rejected", ()))
                place = data["partition"], data["sequence"]
                item = Durable(*place, entry, data["cursor"], data["done"], missing, rejected)
            except (KeyError, TypeError, ValueError, AttributeError) as e:
                raise self._unreadable(path, e) from e
            found.setdefault(item.partition, []).append(item)
        for items in found.values():
            items.sort(key=lambda d: d.sequence)
        return {p: _without_gaps(items) for p, items in found.items()}

    def _unreadable(self, path: str, error: Exception) -> IntegrityError:
        return IntegrityError(
            f"{self._store.url}/{path} cannot be read", f"{type(error).__name__}: {error}", "the dump was not changed",
            "begin the export again: the same command with --overwrite",
        )  # fmt: skip

    def forget(self, durable: Durable) -> None:
        """Drop a shard and its record; the record goes first, so that it never names a missing shard."""
        self._drop(_record(durable.entry.path))
        self._store.dispensed(durable.entry.path)

    def sweep(self, keep: set[str]) -> None:
        """Delete shards that no record names, and temporary files.

        What the store does not let go stays, until a shard of the same name takes its place.
        """
        for path in self._store.list("data"):
            if path not in keep:
                self._store.dispensed(path)
        if isinstance(self._store, LocalStore):
            self._store.sweep()

    def clear(self, shards: Iterable[str] | None = None) -> None:
        """Remove the journal, and shards that are none of the dump's; the dump is finished.

        The run's record goes last: it says that there is more to remove.

        Args:
            shards: the dump's; None for all that are there.
        """
        if isinstance(self._store, LocalStore):
            self._store.sweep()
        known = {_EXPORT, LOCK, *(self._store.list("data") if shards is None else shards)}
        rest = [p for p in (*self._store.list("data"), *self._store.list(WORK)) if p not in known]
        self.left = [path for path in (*rest, _EXPORT) if not self._store.dispensed(path)]
        if isinstance(self._store, LocalStore):
            self._store.delete_tree(WORK)

    def _drop(self, path: str) -> None:
        """Delete a record; one that the store does not let go is made to say nothing."""
        if self._store.exists(path) and not self._store.dispensed(path):
            self._store.put(path, b'{"dump_id": null}')


def _record(shard: str) -> str:
    match = SHARD.match(shard)
    assert match is not None
    return f"{_SHARDS}/part-{match[1]}-{match[2]}.json"


def _of_another(record: Any, dump_id: str | None) -> bool:
    """Whether a record is of another dump than this one, or dropped, in a store that does not delete."""
    if not isinstance(record, dict) or "dump_id" not in record:
        return False
    return record["dump_id"] is None or dump_id not in (None, record["dump_id"])


def _without_gaps(items: list[Durable]) -> list[Durable]:
    out: list[Durable] = []
    for item in items:
        if item.sequence != len(out):
            break
        out.append(item)
    return out
