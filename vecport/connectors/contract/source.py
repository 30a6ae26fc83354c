"""The reading role: a session that gives the records of one collection, page by page."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from ...model.capabilities import SourceCapabilities
from ...model.ids import sort_key
from ..report import UNHEARD, UNPACED, Budget, Report
from .effects import Effect
from .info import Description, Json, Permission


@dataclass(frozen=True, slots=True)
class Reject:
    """A record that is there and cannot be given whole, as one whose vector the index has lost.

    Attributes:
        namespace, id: its key.
        reason: what is wrong with it, in one sentence.
    """

    namespace: str
    id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Page:
    """Some records and where to go on.

    Attributes:
        batch: columns of ``model.batch.page_schema`` for the described collection; empty only where nothing is left
            to name ``missing`` or ``rejected`` records with.
        cursor: plain data from which ``scan`` goes on behind this page; None where it cannot (the partition then
            starts again). The end of the partition is the end of the iterator.
        missing: (namespace, id) keys that the listing named and the database no longer gave.
        rejected: records that are there and cannot be given whole; the export fails, or leaves them out by name.
    """

    batch: pa.RecordBatch
    cursor: Json | None
    missing: tuple[tuple[str, str], ...] = ()
    rejected: tuple[Reject, ...] = ()


class Source(ABC):
    """A session that reads one collection. Not thread-safe; every worker opens its own and calls ``attach``.

    Attributes:
        capabilities: how it can be read. An open session may refine what its class says, as for an older server;
            whoever has a session reads the session's.
        report: hears what the session has to say; set by the coordinator, in its own session.
        pace: called before each request to the database, or once for several, by a session that makes more than one
            in a call, so that ``--max-rps`` counts requests. The first of a page, a page of keys, a ``fetch`` and a
            ``count`` is paid for already.
    """

    capabilities: SourceCapabilities
    report: Report = UNHEARD
    pace: Budget = staticmethod(UNPACED)

    @abstractmethod
    def describe(self) -> Description:
        """Return schema, count and passport. Must not start a scan and must not write.

        Raises:
            NotFound: the collection does not exist; the message lists those that do.
            NotRepresentable: a type or vector that is not supported yet, by name.
        """

    def permissions(self) -> tuple[Permission, ...]:
        """Say what an export needs and whether the credentials allow it, without reading a record or writing.

        Called before ``describe``. A missing permission is an answer, not an error; a collection that does not exist
        has none, and ``describe`` says so. Empty where nothing is checked.
        """
        return ()

    def effects(self) -> tuple[Effect, ...]:
        """Say what must be changed before records can be read, as things are now; changes nothing.

        Called by the coordinator, after ``describe`` and before ``snapshot``, and by a plan.
        """
        return ()

    def apply(self, effect: Effect) -> None:
        """Make a change that ``effects`` has named, and wait until it is made. Safe to repeat."""
        raise NotImplementedError

    def undo(self, effect: Effect) -> None:
        """Put back what a change has changed; nothing happens where it was never made. Safe to repeat.

        Called in any session, which may have neither described nor attached, long after ``apply``.
        """
        raise NotImplementedError

    def snapshot(self) -> Json:
        """Fix the state that ``scan`` reads, and return a token from which workers ``attach``.

        The coordinator keeps this session open until the export ends. Sources without snapshots return ``{}``.
        A token names no secret; it is written to the journal.
        """
        return {}

    def alive(self, token: Json) -> bool:
        """Whether a token from an earlier process still names a readable snapshot. Live scans answer True."""
        return not self.capabilities.snapshot

    @abstractmethod
    def partitions(self, target_rows: int, token: Json) -> Iterator[Json]:
        """Cut the collection into partitions of about ``target_rows`` records, and give them one by one.

        The cut depends on the collection and ``target_rows``, never on workers. An empty collection has one
        partition or none. The pipeline writes them to files as they come: nothing needs to hold them all, and whoever
        wants a few records takes the first and asks for no more.
        """

    def attach(self, token: Json) -> None:
        """Join the snapshot that the coordinator holds. Called once in every session before ``scan`` or ``fetch``."""
        return None

    @abstractmethod
    def scan(self, partition: Json, cursor: Json | None, page_rows: int) -> Iterator[Page]:
        """Yield the partition's records in its one order, from the start or behind ``cursor``.

        The order and the content do not depend on ``page_rows``. The scan ends at the database's own end marker or
        an empty answer, never at a short page; a cursor that does not move raises ``Incomplete``.
        """

    def behind(self, partition: Json, batch: pa.RecordBatch, key: tuple[str, str]) -> tuple[pa.RecordBatch, bool]:
        """Find the place in a page from which a resumed export goes on.

        A resumed export reads again from a cursor before ``key`` and drops what is durable already. The default
        finds the key in the page, or compares keys where the source is ordered by them.

        Args:
            partition: that is scanned.
            batch: a page of it.
            key: (namespace, id) of the last durable record.

        Returns:
            The records of the page behind ``key`` in the partition's order, and whether ``key`` was passed.
        """
        pairs = list(zip(batch.column("namespace").to_pylist(), batch.column("id").to_pylist(), strict=True))
        if key in pairs:
            return batch.slice(pairs.index(key) + 1), True
        if not self.capabilities.key_ordered:
            return batch.slice(0, 0), False
        kind = self.describe().collection.id_kind
        low = (key[0], sort_key(key[1], kind))
        first = next((i for i, (ns, id_) in enumerate(pairs) if (ns, sort_key(id_, kind)) > low), len(pairs))
        return batch.slice(first), first < len(pairs)

    def fetch(self, keys: Sequence[tuple[str, str]]) -> pa.RecordBatch:
        """Return the records with these keys, in any order, leaving out those that do not exist.

        Args:
            keys: (namespace, id) pairs, in this order.

        Returns:
            Columns of a page; no rows when none exists.
        """
        raise NotImplementedError

    def keys(self) -> Iterator[pa.RecordBatch]:
        """Yield all keys of the selection as batches with columns ``id`` and ``namespace``."""
        raise NotImplementedError

    def namespaces(self) -> Mapping[str, int] | None:
        """Count the selection's records by the namespaces that an export gives them.

        A collection that vecport filled keeps a dump's namespaces in metadata or ids (``model.passport``): they are
        the ones that count. None where there are none, and where the database cannot count by them without giving
        every record away; then ``uncounted`` says why.
        """
        return None

    def uncounted(self) -> str:
        """Why ``namespaces`` counts nothing though there are namespaces; ``""`` where there are none."""
        return ""

    @abstractmethod
    def count(self) -> int | None:
        """Count the selection's records now, as well as ``capabilities.count`` says; None when that is impossible."""

    def close(self) -> None:
        """Release everything, remove temporary copies. Safe to call twice."""
        return None

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
