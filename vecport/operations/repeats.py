"""Keys that stand more than once in an export: one row for a live scan, an error or a choice for data."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa

from ..dump.journal import Journal
from ..dump.layout import SHARD, Cut
from ..dump.manifest import ShardEntry
from ..dump.shard import ShardReader
from ..dump.store import Store
from ..dump.writer import DumpWriter
from ..errors import Incomplete
from ..model.batch import page_schema
from ..model.collection import Collection
from .reconcile import first_keys, repeated_keys

POLICIES = ("error", "keep", "first", "last")


def settle(
    store: Store, entries: list[ShardEntry], collection: Collection, *, live: bool, policy: str, encodings: str,
    memory_bytes: int, dump_id: str = "",
) -> tuple[list[ShardEntry], int]:  # fmt: skip
    """Deal with repeated keys.

    Args:
        live: the scan was live, so that a repeat is one record seen twice: the last one wins.
        dump_id: of the dump that is being made.
        policy: for data: ``error``, ``keep``, ``first`` or ``last``.

    Returns:
        The entries, rewritten where rows were dropped, and the number of dropped rows.

    Raises:
        Incomplete: data holds a key twice and the policy is ``error``.
    """
    if policy == "keep":
        return entries, 0
    keep = "first" if policy == "first" and not live else "last"
    rows = repeated_keys(store, entries, collection, memory_bytes, keep)
    dropped = sum(map(len, rows.values()))
    if not dropped:
        return entries, 0
    if not live and policy == "error":
        raise Incomplete(
            f"{dropped:,} records repeat a key, as {', '.join(first_keys(store, entries, rows))}",
            "in a snapshot or a file such repeats are data", "no manifest was written",
            "choose: --duplicates keep, first or last",
        )  # fmt: skip
    return [
        _rewrite(store, e, collection, rows[e.path], encodings, dump_id) if e.path in rows else e for e in entries
    ], dropped


def _rewrite(
    store: Store, entry: ShardEntry, collection: Collection, drop: list[int], encodings: str, dump_id: str
) -> ShardEntry:
    match = SHARD.match(entry.path)
    assert match is not None
    dropped = np.asarray(drop)
    first = 0
    # Its row groups stay where they were cut.
    cut = Cut(max(1, entry.rows), max(1, entry.rows))
    place = {"partition": int(match[1]), "sequence": int(match[2])}
    with DumpWriter(store, collection, cut, **place, encodings=encodings) as writer:
        for group in ShardReader(store, entry, collection).groups():
            keep = np.ones(group.num_rows, bool)
            here = dropped[(dropped >= first) & (dropped < first + group.num_rows)] - first
            keep[here] = False
            first += group.num_rows
            page = group.select(page_schema(collection).names).filter(pa.array(keep))
            if page.num_rows:
                writer.put(page)
        (new,) = writer.close()
    for durable in Journal(store).durable(dump_id).get(int(match[1]), []):
        if durable.entry.path == entry.path:
            Journal(store, dump_id).add(replace(durable, entry=new))
    return new
