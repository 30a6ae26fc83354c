"""The records whose hashes differ, read again from a dump and given to the judge."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from ...dump.dump import Dump
from ...dump.records import Records
from ...errors import IntegrityError, NotFound
from ...model.compare import Judge
from ..progress import Progress, Stop
from .located import Located, Ordered, Places
from .spill import Spill
from .tally import Tally

#: Bytes of records that are compared at once.
_PIECE_BYTES = 32 << 20


def check_present(dump: Dump) -> None:
    """Raise ``IntegrityError`` unless every shard is there with the size and the footer that the manifest says."""
    for entry in dump.manifest.shards:
        try:
            dump.shard(entry).check_footer()
        except NotFound as e:
            raise IntegrityError(e.what, e.why, "nothing was compared", e.next) from e


def settle(found: Located, tally: Tally, *, live: bool = False) -> None:
    """Count what keys and hashes tell: pairs, records on one side alone, repeated keys."""
    found.settle(live=live)
    tally.equal += found.unchanged()
    tally.missing, missing = found.alone("missing")
    tally.extra, extra = found.alone("extra")
    tally.repeated, repeated = found.repeated()
    tally.example([*missing, *extra, *repeated])


def judge_pairs(
    found: Located, dump: Records, spill: Spill, judge: Judge, tally: Tally, progress: Progress, stop: Stop
) -> None:
    """Judge the records whose hashes differ: ours from the dump, theirs from the spill."""
    for ours, a, b in rows_of(dump, found.pairs("a"), stop):
        tally.judged(judge.compare(ours, spill.take(a, b)))
        progress.advance(len(a))


def rows_of(dump: Records, wanted: Ordered, stop: Stop) -> Iterator[tuple[pa.RecordBatch, Places, Places]]:
    """Some records, each part and row group read once, in pieces of bounded size.

    Args:
        dump: whose.
        wanted: places of the records in it, with those of their partners.
        stop: ends it.

    Yields:
        The records, and both places of each.
    """
    first = 0
    for part in dump.parts():
        sizes = np.asarray(part.group_rows, np.int64)
        ends = np.cumsum(sizes) + first
        mine, others = wanted.below(first + int(sizes.sum()))
        groups = np.unique(np.searchsorted(ends, mine, "right")).tolist()
        for number, group in part.numbered(groups) if groups else ():
            start = int(ends[number] - sizes[number])
            low, high = np.searchsorted(mine, [start, ends[number]])
            step = max(1, _PIECE_BYTES * group.num_rows // max(1, group.nbytes))
            for at in range(int(low), int(high), step):
                stop.check()
                piece = slice(at, min(at + step, int(high)))
                yield group.take(pa.array(mine[piece] - start)), mine[piece], others[piece]
        first += int(sizes.sum())
