"""Pages cut to what one request may hold: so many records, so many bytes, at least one record."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa


def cut(sizes: npt.NDArray[np.int64], rows: int, most_bytes: int) -> Iterator[slice]:
    """Cut records into runs.

    Args:
        sizes: (n,) bytes that each takes in a request.
        rows: in a run at most.
        most_bytes: of a run, unless it is one record.
    """
    ends = np.cumsum(sizes)
    start = 0
    while start < len(sizes):
        room = most_bytes + (int(ends[start - 1]) if start else 0)
        stop = min(start + max(1, rows), max(start + 1, int(np.searchsorted(ends, room, side="right"))))
        yield slice(start, stop)
        start = stop


def pieces(batch: pa.RecordBatch, rows: int, most_bytes: int) -> Iterator[pa.RecordBatch]:
    """Cut a page into slices of about equal size, by the bytes that its records take on the average."""
    each = max(1, batch.nbytes // max(1, batch.num_rows))
    step = max(1, min(rows, most_bytes // each))
    for start in range(0, batch.num_rows, step):
        yield batch.slice(start, step)


def joined(head: bytes, records: Iterator[bytes], rows: int, most_bytes: int) -> Iterator[bytes]:
    """Join packed records to requests.

    Args:
        head: what stands before the records in each request.
        records: packed, one by one.
        rows: in a request at most.
        most_bytes: of the records in a request, unless it is one.
    """
    parts, size = [head], 0
    for record in records:
        if len(parts) > rows or (size and size + len(record) > most_bytes):
            yield b"".join(parts)
            parts, size = [head], 0
        parts.append(record)
        size += len(record)
    if size:
        yield b"".join(parts)
