"""The partitions of an unfinished export, in files beside the journal: a list that may be larger than memory.

``.vecport/partitions/00000.jsonl`` and its followers hold some thousand partitions each, one a line. The first line of
a file says which export it belongs to, which partitions they are and the SHA-256 of what follows. The journal's head is
written behind the last of them and has their number, so that a listing that was killed leaves nothing to go on from.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from ..errors import IntegrityError
from .layout import WORK
from .manifest import strict_json
from .store import Store

FOLDER = f"{WORK}/partitions"
#: A file ends at either: partitions may be two numbers each, or the ids of a hundred thousand records.
_MOST_PARTITIONS = 4_096
_MOST_BYTES = 4 << 20
#: One partition alone is never larger.
_LIMIT_BYTES = 1 << 30


class PartitionFiles:
    """Writes and reads the partitions of one export; never holds more of them than a file does.

    Args:
        store: the dump's location.
        dump_id: of the dump that is being made.
    """

    def __init__(self, store: Store, dump_id: str) -> None:
        self._store, self._dump_id = store, dump_id

    def write(self, partitions: Iterable[Any], check: Callable[[], None] = lambda: None) -> int:
        """Write all partitions, in place of those that an earlier listing left.

        Args:
            partitions: plain JSON data each, in order.
            check: is called before each; may raise.

        Returns:
            How many there are.
        """
        # What a store does not delete is of another dump, and gives way to what is written in its place.
        for path in self._store.list(FOLDER):
            self._store.dispensed(path)
        lines: list[bytes] = []
        size = number = written = 0
        for partition in partitions:
            check()
            lines.append(json.dumps(partition).encode() + b"\n")
            size += len(lines[-1])
            written += 1
            if len(lines) >= _MOST_PARTITIONS or size >= _MOST_BYTES:
                self._put(number, written - len(lines), lines)
                number, lines, size = number + 1, [], 0
        if lines:
            self._put(number, written - len(lines), lines)
        return written

    def read(self, count: int) -> Iterator[Any]:
        """Yield the first ``count`` partitions, in order, a file at a time.

        Raises:
            IntegrityError: a file is missing, damaged, or of another export.
        """
        number = first = 0
        while first < count:
            lines = self._lines(number, first)
            yield from (json.loads(line) for line in lines[: count - first])
            number, first = number + 1, first + len(lines)

    def _put(self, number: int, first: int, lines: list[bytes]) -> None:
        body = b"".join(lines)
        head = {
            "dump_id": self._dump_id, "first": first, "count": len(lines), "sha256": hashlib.sha256(body).hexdigest()
        }  # fmt: skip
        self._store.put(_path(number), json.dumps(head).encode() + b"\n" + body)

    def _lines(self, number: int, first: int) -> list[bytes]:
        path = _path(number)
        size = self._store.size(path)
        if size is None:
            raise self._unreadable(path, "it is missing")
        # A bound is what a reader allocates.
        head, _, body = self._store.read(path, min(size, _LIMIT_BYTES)).partition(b"\n")
        facts = strict_json(head, f"{self._store.url}/{path}")
        lines = body.splitlines()
        wanted = {
            "dump_id": self._dump_id, "first": first, "count": len(lines), "sha256": hashlib.sha256(body).hexdigest()
        }  # fmt: skip
        other = [k for k in wanted if facts.get(k) != wanted[k]]
        if other or not lines:
            raise self._unreadable(path, f"its {(other or ['count'])[0]} is not what it says")
        return lines

    def _unreadable(self, path: str, why: str) -> IntegrityError:
        return IntegrityError(
            f"{self._store.url}/{path} cannot be read", why, "the dump was not changed",
            "begin the export again: the same command with --overwrite",
        )  # fmt: skip


def _path(number: int) -> str:
    return f"{FOLDER}/{number:05d}.jsonl"
