"""Sources that list ids first and then fetch them: for databases whose listing has no place to go on from.

The ids of a partition stand in it as a text, so that a scan goes on after a kill with the same records. A record that
was listed and is gone is asked for once more, and then named as missing.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, Generic, TypeVar

import orjson
import pyarrow as pa

from ...errors import IntegrityError
from ...model.batch import page_schema
from ...model.collection import Collection
from ..contract import Json, Page, Reject, Source
from . import blame, flight

A = TypeVar("A")
KEYS_AT_ONCE: Final = 10_000
LOST: Final = "the database cannot give it whole"
_KEY_SCHEMA: Final = pa.schema([pa.field("id", pa.string(), False), pa.field("namespace", pa.string(), False)])
_IN_FLIGHT: Final = 2


@dataclass(slots=True)
class _Found:
    """What became of some ids."""

    page: pa.RecordBatch
    missing: list[str]
    lost: list[str]


class ListThenFetch(Source, Generic[A]):
    """Owns partitions, scan, fetch, keys and the place behind a record; the connector lists and asks.

    ``A`` is the client's answer to a request for some ids. It is asked for in a thread of its own while the caller
    works on the one before, so that a client that waits outside of the interpreter's lock takes a second processor.
    """

    #: Why a record that is there cannot be given.
    lost_because: str = LOST
    _reader: ThreadPoolExecutor | None = None
    _places: tuple[Json, dict[str, int]] | None = None

    # -- what a connector writes -----------------------------------------------------------------

    @abstractmethod
    def _schema(self) -> Collection:
        """The collection as it was described."""

    @abstractmethod
    def _ids(self) -> Iterator[str]:
        """Yield the ids of the selection once each, in an order that stays."""

    @property
    @abstractmethod
    def _most_rows(self) -> int:
        """Ids in one request at most."""

    @abstractmethod
    def _ask(self, ids: Sequence[str], *, filtered: bool) -> A | None:
        """Ask for records by their ids, in any thread; None when one of them makes the database refuse all.

        Args:
            ids: without repetition, at most ``_most_rows``.
            filtered: records must pass the selection's filter too; a scan asks for what was listed, whatever it is now.
        """

    @abstractmethod
    def _page(self, answer: A) -> pa.RecordBatch:
        """The records of an answer, in any order."""

    def _is_there(self, id: str, *, filtered: bool) -> bool:
        """Whether a record that was refused by itself is there after all, and cannot be given whole."""
        return False

    # -- the contract --------------------------------------------------------------------------

    def partitions(self, target_rows: int, token: Json) -> Iterator[Json]:
        self.attach(token)
        ids = self._ids()
        while part := list(islice(ids, max(1, target_rows))):
            # The text of the list: as strings it would take four times as much in a worker.
            yield {"ids": orjson.dumps(part).decode()}

    def keys(self) -> Iterator[pa.RecordBatch]:
        ids = self._ids()
        while part := list(islice(ids, KEYS_AT_ONCE)):
            yield key_batch(part)

    def scan(self, partition: Json, cursor: Json | None, page_rows: int) -> Iterator[Page]:
        ids: list[str] = orjson.loads(partition["ids"])
        end = int(cursor or 0)
        chunks = _chunks(ids[end:], max(1, min(page_rows, self._most_rows)))
        missing: tuple[tuple[str, str], ...] = ()
        for chunk, answer in zip(chunks, self._answers(chunks), strict=True):
            found = self._looked_up(chunk, answer, filtered=False)
            end += len(chunk)
            missing += tuple(("", id) for id in found.missing)
            if found.page.num_rows or found.lost:
                yield Page(found.page, end, missing, tuple(Reject("", id, self.lost_because) for id in found.lost))
                missing = ()
        if missing:
            # No record is left to send these with, and they must not go unnamed.
            yield Page(self._nothing(), len(ids), missing)

    def behind(self, partition: Json, batch: pa.RecordBatch, key: tuple[str, str]) -> tuple[pa.RecordBatch, bool]:
        """The place in the partition's own list of ids: it is found even when the record itself is gone."""
        if self._places is None or self._places[0] is not partition:
            self._places = (partition, {id: i for i, id in enumerate(orjson.loads(partition["ids"]))})
        places = self._places[1]
        last = places.get(key[1], -1)
        here = [places[str(id)] for id in batch.column("id").to_pylist()]
        first = next((i for i, place in enumerate(here) if place > last), len(here))
        return batch.slice(first), bool(here) and here[-1] >= last

    def fetch(self, keys: Sequence[tuple[str, str]]) -> pa.RecordBatch:
        ids = list(dict.fromkeys(id for namespace, id in keys if id and not namespace))
        found = [
            self._looked_up(chunk, self._ask(chunk, filtered=True), filtered=True)
            for chunk in _chunks(ids, self._most_rows)
        ]
        lost = [id for part in found for id in part.lost]
        if lost:
            raise cannot_be_read(lost[0], self._schema().name, self.lost_because)
        return self._joined([part.page for part in found])

    def close(self) -> None:
        """Wait for the reader; a connector closes its client behind this."""
        reader, self._reader = self._reader, None
        if reader is not None:
            # An abandoned scan may still be reading; the client must not go away under it.
            reader.shutdown(wait=True, cancel_futures=True)

    # -- how it works --------------------------------------------------------------------------

    def _answers(self, chunks: list[list[str]]) -> Iterator[A | None]:
        self._schema()
        if self._reader is None:
            self._reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="fetch")
        reader = self._reader
        return flight.ahead((reader.submit(self._ask, chunk, filtered=False) for chunk in chunks), _IN_FLIGHT)

    def _looked_up(self, asked: list[str], answer: A | None, *, filtered: bool) -> _Found:
        """Records in the order asked; what is not there is asked for again, where no filter explains it."""
        pages, lost = self._pages(asked, answer, filtered)
        missing = _without(asked, pages, lost)
        if missing and not filtered:
            self.pace()
            more, lost_too = self._pages(missing, self._ask(missing, filtered=False), filtered)
            pages, lost = pages + more, lost + lost_too
            missing = _without(missing, more, lost_too)
        return _Found(self._joined(pages), missing, lost)

    def _pages(self, asked: list[str], answer: A | None, filtered: bool) -> tuple[list[pa.RecordBatch], list[str]]:
        """Pages in the order asked, and the ids of records that are there and cannot be given."""
        pages, lost = list[pa.RecordBatch](), list[str]()
        for part, given in blame.whole_parts(asked, lambda ids: self._ask(ids, filtered=filtered), answer):
            if given is None and len(part) == 1:
                given = self._ask(part, filtered=filtered)
            if given is not None:
                pages.append(self._ordered(self._page(given), part))
            elif self._is_there(part[0], filtered=filtered):
                lost.append(part[0])
        return pages, lost

    def _ordered(self, page: pa.RecordBatch, asked: Sequence[str]) -> pa.RecordBatch:
        ids: list[str] = page.column("id").to_pylist()
        if ids == asked or not ids:
            return page
        place = {id: i for i, id in enumerate(ids)}
        if len(place) != len(ids):
            raise IntegrityError(f"collection {self._schema().name!r}: a record was given twice for one id")
        return page.take(pa.array([place[id] for id in asked if id in place], pa.int64()))

    def _joined(self, pages: list[pa.RecordBatch]) -> pa.RecordBatch:
        if not pages:
            return self._nothing()
        arrow: Any = pa
        joined: pa.RecordBatch = pages[0] if len(pages) == 1 else arrow.concat_batches(pages)
        return joined

    def _nothing(self) -> pa.RecordBatch:
        """A page without rows."""
        return pa.RecordBatch.from_pylist([], schema=page_schema(self._schema()))


def cannot_be_read(id: str, collection: str, why: str) -> IntegrityError:
    """The error for a record that is asked for by its id, is there, and cannot be given whole."""
    return IntegrityError(f"record {id!r} of collection {collection!r} cannot be read", why)


def key_batch(ids: Sequence[str], namespace: str = "") -> pa.RecordBatch:
    """Keys as ``Source.keys`` yields them."""
    spaces = pa.repeat(pa.scalar(namespace, pa.string()), len(ids))
    return pa.RecordBatch.from_arrays([pa.array(ids, pa.string()), spaces], schema=_KEY_SCHEMA)


def _chunks(ids: list[str], size: int) -> list[list[str]]:
    return [ids[i : i + size] for i in range(0, len(ids), size)]


def _without(ids: list[str], pages: list[pa.RecordBatch], lost: list[str]) -> list[str]:
    if sum(page.num_rows for page in pages) + len(lost) == len(ids):
        return []
    there = {*lost, *(id for page in pages for id in page.column("id").to_pylist())}
    return [id for id in ids if id not in there]
