"""A view of a dump: the records of one namespace, read as if they were a dump of their own.

Shards and row groups keep their names and numbers, so that what a target has acknowledged of a part says the same in
every run. Row groups without a record of the namespace are not read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ..limits import Limits
from ..model.collection import Collection
from .dump import Dump
from .manifest import Identity, ShardEntry
from .shard import ShardReader
from .store import Store

_NAMESPACE = "namespace"


@dataclass(frozen=True, slots=True)
class Share:
    """Where the records of a namespace are; plain values, so that it can go to a worker process.

    Attributes:
        namespace: of the records.
        rows: how many they are in all shards.
        groups: by shard: how many of them each row group has.
    """

    namespace: str
    rows: int
    groups: Mapping[str, tuple[int, ...]]

    def of_shard(self, path: str) -> Share:
        """The same with one shard alone."""
        return replace(self, groups={path: self.groups[path]})

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "namespace": self.namespace, "rows": self.rows, "groups": {k: list(v) for k, v in self.groups.items()}
        }  # fmt: skip

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Share:
        """Inverse of ``to_json``."""
        return cls(data["namespace"], data["rows"], {k: tuple(v) for k, v in data["groups"].items()})


def shares(dump: Dump) -> dict[str, Share]:
    """The namespaces of a dump by name, from the records themselves: its profile is not taken at its word.

    Only the column of namespaces is read, after a footer check of each shard.
    """
    found: dict[str, dict[str, list[int]]] = {}
    for entry in dump.manifest.shards:
        for number, batch in enumerate(dump.shard(entry).columns([_NAMESPACE])):
            for name, count in _counts(batch.column(_NAMESPACE)):
                of_shard = found.setdefault(name, {}).setdefault(entry.path, [0] * len(entry.groups))
                of_shard[number] = count
    return {
        name: Share(name, sum(map(sum, of.values())), {path: tuple(n) for path, n in of.items()})
        for name, of in sorted(found.items())
    }


def _counts(column: pa.Array) -> Iterator[tuple[str, int]]:
    for e in pc.value_counts(column).to_pylist():
        yield e["values"], e["counts"]


class NamespaceView(Dump):
    """The records of one namespace of a dump.

    Args:
        dump: the whole one.
        share: which records.
        checked: every byte of the shards was checked already, so that each of many parts need not do it again; what is
            read is checked by the checksums of footers and pages alone.
    """

    def __init__(self, dump: Dump, share: Share, *, checked: bool = False) -> None:
        entries = {s.path: s for s in dump.manifest.shards}
        mine = tuple(replace(entries[p], rows=sum(g), groups=g) for p, g in share.groups.items())
        super().__init__(dump.store, replace(dump.manifest, shards=mine), dump.limits)
        self._whole, self._entries, self.share, self.checked = dump, entries, share, checked
        self.namespace = share.namespace

    @property
    def whole(self) -> Dump:
        """The dump that this is a part of."""
        return self._whole

    @property
    def rows(self) -> int:
        """Its records, those in shards that this share leaves out included."""
        return self.share.rows

    @property
    def identity(self) -> Identity | None:
        """None: the sums that are recorded are those of whole shards."""
        return None

    def shard(self, entry: ShardEntry) -> ShardReader:
        """A reader for the records of this part in one shard."""
        whole = self._entries[entry.path]
        return _ViewReader(self.store, whole, self.collection, self.limits, self.share, self.checked)


class _ViewReader(ShardReader):
    """Reads the records of one namespace from a shard."""

    def __init__(
        self, store: Store, entry: ShardEntry, collection: Collection, limits: Limits, share: Share, checked: bool
    ) -> None:
        super().__init__(store, entry, collection, limits)
        self._namespace, self._counts, self._checked = share.namespace, share.groups[entry.path], checked

    @property
    def group_rows(self) -> tuple[int, ...]:
        """Records of the namespace in each row group."""
        return self._counts

    def check_all(self) -> None:
        """Check every byte, or the footer alone where every byte was checked before."""
        if self._checked:
            self.check_footer()
        else:
            super().check_all()

    def _wanted(self, numbers: Iterable[int]) -> Iterable[int]:
        return (n for n in numbers if self._counts[n])

    def _group(self, parquet: Any, number: int, names: list[str]) -> pa.RecordBatch:
        batch = super()._group(parquet, number, names if _NAMESPACE in names else [*names, _NAMESPACE])
        mine = pc.equal(batch.column(_NAMESPACE), self._namespace)
        count = pc.sum(mine).as_py()
        if count != self._counts[number]:
            raise self._bad(
                f"has {count:,} records of namespace {self._namespace!r} in row group {number}, where"
                f" {self._counts[number]:,} were counted before"
            )
        return (batch if count == batch.num_rows else batch.filter(mine)).select(names)
