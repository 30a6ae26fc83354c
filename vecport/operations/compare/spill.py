"""Records of side b that wait for their partners: kept in memory, and above a bound in sorted files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ...errors import Incomplete
from .located import Places

_A, _B = "_place_a", "_place_b"
#: Bytes of a batch in a file, of which one for each file is in memory.
_STEP_BYTES = 1 << 20


class Spill:
    """Takes records in any order and gives them back in the order of side a.

    Args:
        folder: for files; the caller removes it.
        memory_bytes: of records held; up to twice as much while they are sorted.
    """

    def __init__(self, folder: str, memory_bytes: int) -> None:
        self._folder, self._most = Path(folder), memory_bytes
        self._held: list[pa.RecordBatch] = []
        self._bytes = 0
        self._files: list[Path] = []
        self._runs: list[_Run] | None = None

    def add(self, batch: pa.RecordBatch, a: Places, b: Places) -> None:
        """Take records that have buffers of their own.

        Args:
            batch: any columns, always the same ones.
            a, b: their places on both sides, (n,).
        """
        batch = batch.append_column(_A, pa.array(a)).append_column(_B, pa.array(b))
        self._held.append(batch)
        self._bytes += batch.nbytes
        if self._bytes >= self._most:
            path = self._folder / f"run-{len(self._files)}"
            with pa.OSFile(str(path), "wb") as f, pa.ipc.new_stream(f, batch.schema) as out:
                for piece in self._sorted():
                    out.write_batch(piece)
            self._files.append(path)

    def _sorted(self) -> Iterator[pa.RecordBatch]:
        table = pa.Table.from_batches(self._held)
        self._held, self._bytes = [], 0
        order = np.lexsort((table.column(_B).to_numpy(), table.column(_A).to_numpy()))
        step = max(1, _STEP_BYTES * len(order) // max(1, table.nbytes))
        for start in range(0, len(order), step):
            yield _one(table.take(pa.array(order[start : start + step])))

    def take(self, a: Places, b: Places) -> pa.RecordBatch:
        """The records of these pairs, in this order, without their places; ``a`` rises, from call to call as well.

        Raises:
            Incomplete: a record is not here.
        """
        if self._runs is None:
            self._runs = [_Run(_read(path)) for path in self._files]
            if self._held:
                self._runs.append(_Run(self._sorted()))
        pieces = [piece for run in self._runs for piece in run.until(int(a[-1]))]
        found = _one(pa.Table.from_batches(pieces)) if pieces else None
        if found is not None:
            mine, other = (np.asarray(found.column(name)) for name in (_A, _B))
            at = np.minimum(np.searchsorted(a, mine), len(a) - 1)
            wanted = np.flatnonzero((a[at] == mine) & (b[at] == other))
            wanted = wanted[np.argsort(mine[wanted], kind="stable")]
            if np.array_equal(mine[wanted], a):
                names = [n for n in found.schema.names if n not in (_A, _B)]
                return found.select(names).take(pa.array(wanted))
        raise Incomplete("a record that was read is gone from the temporary files", next="run the same command again")


def _one(table: pa.Table) -> pa.RecordBatch:
    return table.combine_chunks().to_batches()[0]


def _read(path: Path) -> Iterator[pa.RecordBatch]:
    with pa.OSFile(str(path), "rb") as f, pa.ipc.open_stream(f) as stream:
        yield from stream


class _Run:
    """Sorted batches, read one at a time."""

    def __init__(self, batches: Iterator[pa.RecordBatch]) -> None:
        self._batches = batches
        self._current: pa.RecordBatch | None = next(batches, None)

    def until(self, last: int) -> Iterator[pa.RecordBatch]:
        """The next records up to this place of side a."""
        while self._current is not None:
            places: Any = np.asarray(self._current.column(_A))
            cut = int(np.searchsorted(places, last, "right"))
            if cut:
                yield self._current.slice(0, cut)
            if cut < len(places):
                self._current = self._current.slice(cut)
                return
            self._current = next(self._batches, None)
