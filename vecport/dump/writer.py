"""Writing records into shards: one way to cut row groups and shards, so that equal rows give equal bytes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

import pyarrow as pa

from ..model.collection import Collection
from .layout import Cut, cut_for
from .manifest import ShardEntry
from .shard import ShardWriter
from .store import Store

T = TypeVar("T")


class Groups(Generic[T]):
    """Cuts pages into row groups of equal rows, whatever pages the rows come in.

    Args:
        rows: of a row group.
    """

    def __init__(self, rows: int) -> None:
        self._rows = rows
        #: Pages, what came with them, and how many of their rows are cut off already.
        self._pending: list[tuple[pa.RecordBatch, T, int]] = []
        self._held = 0

    def add(self, batch: pa.RecordBatch, about: T) -> Iterator[tuple[pa.RecordBatch, T, int]]:
        """Take a page; yield each row group that is full, what came with the page of its last row, and its row there.

        Args:
            batch: some rows.
            about: anything.
        """
        if batch.num_rows:
            self._pending.append((batch, about, 0))
        self._held += batch.num_rows
        while self._held >= self._rows:
            yield self._cut(self._rows)

    def rest(self) -> Iterator[tuple[pa.RecordBatch, T, int]]:
        """Yield the rows that fill no row group, if there are any."""
        if self._held:
            yield self._cut(self._held)

    def _cut(self, rows: int) -> tuple[pa.RecordBatch, T, int]:
        parts: list[pa.RecordBatch] = []
        need = rows
        while need:
            batch, about, first = self._pending[0]
            take = min(need, batch.num_rows - first)
            parts.append(batch.slice(first, take))
            need -= take
            last = about, first + take - 1
            if first + take == batch.num_rows:
                self._pending.pop(0)
            else:
                self._pending[0] = (batch, about, first + take)
        self._held -= rows
        return contiguous(parts), *last


class DumpWriter:
    """Writes records into the shards of one partition. Nothing of a shard is visible before it is whole.

    ``add`` takes pages of any size; ``put`` takes row groups that are cut already. Both give the manifest entries of
    the shards that became durable.

    Args:
        store: the dump's location.
        collection: fixes the schema.
        cut: rows of a row group and of a shard; None for what the schema gives.
        partition, sequence: place of the first shard.
        encodings: ``default`` or ``plain``.
    """

    def __init__(
        self, store: Store, collection: Collection, cut: Cut | None = None, *, partition: int = 0, sequence: int = 0,
        encodings: str = "default",
    ) -> None:  # fmt: skip
        self._store, self._collection, self._cut = store, collection, cut or cut_for(collection)
        self._partition, self.sequence, self._encodings = partition, sequence, encodings
        self._groups: Groups[None] = Groups(self._cut.group_rows)
        self._shard: ShardWriter | None = None
        self.rows = 0

    def add(self, batch: pa.RecordBatch) -> list[ShardEntry]:
        """Write a page."""
        return [e for group, _, _ in self._groups.add(batch, None) if (e := self.put(group)) is not None]

    def put(self, group: pa.RecordBatch) -> ShardEntry | None:
        """Write a row group; the shard before it ends where it is full."""
        # A shard ends only when the next row group is here, so that the last one is known to be the last.
        ended = self.end() if self._shard is not None and self._shard.rows >= self._cut.shard_rows else None
        if self._shard is None:
            self._shard = self._begin()
        self._shard.write(group)
        self.rows += group.num_rows
        return ended

    def end(self) -> ShardEntry | None:
        """Make the open shard durable; None when there is none."""
        if self._shard is None:
            return None
        entry = self._shard.close()
        self._shard = None
        self.sequence += 1
        return entry

    def close(self) -> list[ShardEntry]:
        """Write what is left. A writer that got no row writes one empty shard, in which any reader sees the columns."""
        ended = [e for group, _, _ in self._groups.rest() if (e := self.put(group)) is not None]
        if not self.rows and self._shard is None:
            self._shard = self._begin()
        last = self.end()
        return ended if last is None else [*ended, last]

    def abort(self) -> None:
        """Leave nothing of an unfinished shard behind; does nothing after ``close``."""
        if self._shard is not None:
            self._shard.abort()
            self._shard = None

    def _begin(self) -> ShardWriter:
        return ShardWriter(self._store, self._partition, self.sequence, self._collection, self._encodings)

    def __enter__(self) -> DumpWriter:
        return self

    def __exit__(self, *exc: object) -> None:
        self.abort()


def contiguous(parts: list[pa.RecordBatch]) -> pa.RecordBatch:
    """One batch with buffers of its own, so that equal rows give equal bytes whatever pages they came in."""
    if len(parts) == 1 and parts[0].num_rows:
        columns = [pa.concat_arrays([c.slice(0, 0), c]) for c in parts[0].columns]
        return pa.RecordBatch.from_arrays(columns, schema=parts[0].schema)
    batch = pa.Table.from_batches(parts).combine_chunks().to_batches()
    return batch[0] if batch else parts[0]
