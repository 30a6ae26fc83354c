"""A database as side b of a comparison: read once from end to end, or asked for the dump's keys."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Final

import numpy as np
import pyarrow as pa

from ...connectors.contract import Description, Json, Page, Source
from ...dump.layout import cut_for, row_bytes
from ...dump.records import Records
from ...model import hashes, ids
from ...model.collection import Collection
from ...model.compare import Finding, Judge
from ...model.passport import Passport, target_keys
from ...model.restore import Restorer
from ...model.widening import Widening
from ..progress import Progress, Stop
from ..reconcile import check_snapshot
from ..widening import restorer_for
from .bounds import Tolerance, checked_bounds
from .judged import judge_pairs, settle
from .located import EXAMPLES, LOCATED, Located, Recorded, located
from .spill import Spill
from .tally import Tally

#: Records are fetched by their keys where the dump has less than this share of the database's.
FETCH_SHARE: Final = 1 / 8
_PAGE_BYTES: Final = 8 << 20


class Comparison:
    """Compares a dump with one collection of a database.

    Args:
        dump: side a.
        identity: of the dump that its records are of, as a passport names it.
        session: side b, attached.
        token: of its snapshot.
        description: of its collection.
        tolerance: a user's own.
        memory_bytes: for DuckDB and records that wait.
        widening: by what records have widened the schema that a passport remembers.

    Attributes:
        collection: the schema of what the database gives, restored where vecport filled it.
        bounds: by vector field.
        count: of the database, its own where it counts.
        method: ``scan`` or ``fetch``, known after ``run``.
        notes: sentences, after ``run``.
    """

    def __init__(
        self, dump: Records, identity: str, session: Source, token: Json, description: Description,
        tolerance: Tolerance, memory_bytes: int, widening: Widening,
    ) -> None:  # fmt: skip
        self._dump, self._session, self._token, self._memory = dump, session, token, memory_bytes
        self._passport: Passport | None = None
        self._restorer: Restorer | None = None
        self.collection: Collection = description.collection
        if description.passport is not None:
            self._passport = Passport.from_json(description.passport)
            self._restorer = restorer_for(description.collection, description.passport, widening.to_json())
            assert self._restorer is not None
            self.collection = self._restorer.collection
        self._imported = self._passport is not None and self._passport.identity == identity
        self.bounds = checked_bounds(*self._stated(description.collection), tolerance)
        self._judge = Judge(dump.collection, self.collection, self.bounds)
        self._page_rows = max(1, min(session.capabilities.page_rows, _PAGE_BYTES // row_bytes(self.collection)))
        self._deep = False
        self.count = 0
        self.method = "scan"
        self.notes: list[str] = list(self._restorer.notes) if self._restorer else []

    def _stated(self, native: Collection) -> tuple[Collection, Collection]:
        """Both schemas with the bounds that count.

        Records that were imported from this very dump are as far off as the database takes them, whatever place the
        dump came from.
        """
        ours, theirs = self._dump.collection, self.collection
        if self._restorer is None or not self._imported:
            return ours, theirs
        sources = self._restorer.schema.vectors
        held = [replace(v, bound=native.vector(sources[v.name]).bound) for v in theirs.vectors]
        own = [replace(v, bound=None) for v in ours.vectors]
        return replace(ours, vectors=tuple(own)), replace(theirs, vectors=tuple(held))

    def run(self, deep: bool, progress: Progress, stop: Stop) -> Tally:
        """Compare all records.

        Args:
            deep: compute the hashes of the dump from its data.

        Raises:
            Misfit: a record does not fit the schema that the passport remembers.
        """
        tally = Tally()
        self._deep = deep
        side = Recorded(self._dump, deep=deep, keys=None if self._passport is None else self._target_keys)
        with (
            Located(self._memory // 2) as found,
            tempfile.TemporaryDirectory(prefix="vecport-verify-") as folder,
        ):
            progress.phase("read the dump" if deep else "read the dump's keys", self._dump.rows)
            found.load("a", side.read(progress, stop))
            if side.wrong:
                self.notes.append(f"the hashes of {side.wrong:,} records of the dump are not those of their data")
            if self._fetches(found):
                self.method = "fetch"
                _Fetch(self).run(found, tally, progress, stop)
            else:
                self._scan(found, Spill(folder, self._memory // 8), tally, progress, stop)
        return tally

    def _fetches(self, found: Located) -> bool:
        """Whether to ask for single records: the dump has a small share of them, each key once."""
        if not self._session.capabilities.fetches:
            return False
        count = self._session.count()
        return count is not None and self._dump.rows < count * FETCH_SHARE and not found.repeats("a")

    def _target_keys(self, record_ids: pa.Array, namespaces: pa.Array) -> tuple[pa.Array, pa.Array]:
        """The keys under which the database holds these records."""
        held, spaces = target_keys(self._passport, record_ids, namespaces, strangers=True)
        p = self._passport
        if p is None or p.ids != "hashed" or self._imported or not self._session.capabilities.fetches:
            return held, spaces
        return self._strangers(record_ids, held, spaces), spaces

    def _strangers(self, record_ids: pa.Array, held: pa.Array, spaces: pa.Array) -> pa.Array:
        """Ids as the database holds them, in a collection whose own ids are hashed.

        A dump of it, made after an application added records, has these under the ids that they have there. So an id
        that the database can hold stands for itself where it is there and nothing stands under its stand-in.
        """
        own, stand_ins, names = record_ids.to_pylist(), held.to_pylist(), spaces.to_pylist()
        maybe = [i for i, text in enumerate(own) if ids.kind_of(text) != "string"]
        found = self._there((names[i], own[i]) for i in maybe)
        added = [i for i in maybe if (names[i], own[i]) in found]
        hashed = self._there((names[i], stand_ins[i]) for i in added)
        for i in added:
            if (names[i], stand_ins[i]) not in hashed:
                stand_ins[i] = own[i]
        return pa.array(stand_ins, pa.string()) if added else held

    def _there(self, keys: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
        """Which of some keys the database has."""
        wanted, found = list(keys), set[tuple[str, str]]()
        for start in range(0, len(wanted), self._page_rows):
            page = self._session.fetch(wanted[start : start + self._page_rows])
            found.update(zip(page.column("namespace").to_pylist(), page.column("id").to_pylist(), strict=True))
        return found

    def _restored(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return self._restorer.apply(batch) if self._restorer else batch

    def _scan(self, found: Located, spill: Spill, tally: Tally, progress: Progress, stop: Stop) -> None:
        """Read all records once; those that are not equal wait for the dump's."""
        progress.phase("verify", self._dump.rows)
        found.load("b", iter(()))
        reader = _Pages(self, found, spill)
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="compare") as pool:
            pending: Future[None] | None = None
            for pages in self._chunks(reader, progress, stop):
                if pending is not None:
                    pending.result()
                pending = pool.submit(reader.add, pages)
            if pending is not None:
                pending.result()
        live = not self._session.capabilities.snapshot
        settle(found, tally, live=live)
        self._check_count(found.rows("b") + reader.rejected, live)
        differ = found.differ()
        if differ:
            progress.phase("compare changed records", differ)
            judge_pairs(found, self._dump, spill, self._judge, tally, progress, stop)

    def _check_count(self, rows: int, live: bool) -> None:
        """Compare the records that were read with the database's own count."""
        count = self._session.count()
        self.count = rows if count is None else count
        if not live:
            check_snapshot(rows, count, self._dump.url)
        elif count is not None and count != rows:
            self.notes.append(f"{rows:,} records were read, the database counts {count:,}: it changed meanwhile")

    def _chunks(self, reader: _Pages, progress: Progress, stop: Stop) -> Iterator[list[pa.RecordBatch]]:
        """Pages of the database, as many at once as are worth a look-up."""
        held: list[pa.RecordBatch] = []
        size = 0
        for partition in self._session.partitions(cut_for(self.collection).shard_rows, self._token):
            for page in self._session.scan(partition, None, self._page_rows):
                stop.check()
                self._reject(page, reader)
                if page.batch.num_rows:
                    held.append(page.batch)
                    size += page.batch.nbytes
                    progress.advance(page.batch.num_rows)
                if size >= self._memory // 16:
                    yield held
                    held, size = [], 0
        if held:
            yield held

    def _reject(self, page: Page, reader: _Pages) -> None:
        for reject in page.rejected:
            if not reader.rejected:
                self.notes.append(f"record {reject.id!r} cannot be read from the database: {reject.reason}")
            reader.rejected += 1


class _Pages:
    """Takes pages of the database: keys and hashes into the tables, records that are not equal into the spill."""

    def __init__(self, to: Comparison, found: Located, spill: Spill) -> None:
        self._to, self._found, self._spill = to, found, spill
        self._rows = 0
        self.rejected = 0

    def add(self, pages: list[pa.RecordBatch]) -> None:
        """Take some pages, in the order in which they came."""
        restored, keys = [], []
        for page in pages:
            batch = self._to._restored(page)
            vh, mh = hashes.vector_hashes(batch, self._to.collection), hashes.metadata_hashes(batch)
            own = None if self._to._restorer is None else (page.column("id"), page.column("namespace"))
            keys.append(located(batch, vh, mh, self._rows, own))
            restored.append(batch)
            self._rows += batch.num_rows
        first = self._rows - sum(b.num_rows for b in restored)
        table = pa.Table.from_batches(keys, schema=LOCATED)
        self._found.append("b", table)
        a, b = self._found.differing(table)
        if len(a):
            order = np.argsort(b, kind="stable")
            a, b = a[order], b[order]
        for batch in restored:
            low, high = np.searchsorted(b, [first, first + batch.num_rows])
            if high > low:
                self._spill.add(batch.take(pa.array(b[low:high] - first)), a[low:high], b[low:high])
            first += batch.num_rows


class _Fetch:
    """Asks the database for the records of each row group of the dump by their keys."""

    def __init__(self, to: Comparison) -> None:
        self._to = to
        self._step = max(1, to._session.capabilities.page_rows)

    def run(self, found: Located, tally: Tally, progress: Progress, stop: Stop) -> None:
        """Compare every row group, fetching the next one while the current one is compared."""
        to = self._to
        progress.phase("verify", to._dump.rows)
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="compare") as pool:
            pending: Future[None] | None = None
            for group in to._dump.groups():
                stop.check()
                pages = self._fetch(group)
                if pending is not None:
                    pending.result()
                pending = pool.submit(self._compare, group, pages, tally)
                progress.advance(group.num_rows)
            if pending is not None:
                pending.result()
        to.count = to._session.count() or 0
        tally.extra = max(0, to.count - (to._dump.rows - tally.missing))
        if tally.extra and to._session.capabilities.lists_keys:
            self._name_extra(found, tally)

    def _fetch(self, group: pa.RecordBatch) -> list[tuple[pa.RecordBatch, pa.RecordBatch]]:
        """Pages as the database gives them, and restored."""
        record_ids, namespaces = self._to._target_keys(group.column("id"), group.column("namespace"))
        keys = list(zip(namespaces.to_pylist(), record_ids.to_pylist(), strict=True))
        pages = [self._to._session.fetch(keys[i : i + self._step]) for i in range(0, len(keys), self._step)]
        return [(p, self._to._restored(p)) for p in pages if p.num_rows]

    def _compare(self, group: pa.RecordBatch, pages: list[tuple[pa.RecordBatch, pa.RecordBatch]], tally: Tally) -> None:
        to = self._to
        record_ids, namespaces = to._target_keys(group.column("id"), group.column("namespace"))
        place = {key: i for i, key in enumerate(zip(namespaces.to_pylist(), record_ids.to_pylist(), strict=True))}
        seen = np.zeros(group.num_rows, bool)
        if to._deep:
            vh, mh = hashes.vector_hashes(group, to._dump.collection), hashes.metadata_hashes(group)
        else:
            vh, mh = (np.asarray(group.column(name)) for name in ("_vh", "_mh"))
        for own, page in pages:
            keys = zip(own.column("namespace").to_pylist(), own.column("id").to_pylist(), strict=True)
            at = np.asarray([place.get(k, -1) for k in keys])
            page, at = page.filter(pa.array(at >= 0)), at[at >= 0]
            seen[at] = True
            differs = hashes.vector_hashes(page, to.collection) != vh[at]
            differs |= hashes.metadata_hashes(page) != mh[at]
            tally.equal += int((~differs).sum())
            rows = pa.array(np.flatnonzero(differs))
            if len(rows):
                tally.judged(to._judge.compare(group.take(pa.array(at[differs])), page.take(rows)))
        tally.missing += int((~seen).sum())
        lost = group.select(["id", "namespace"]).take(pa.array(np.flatnonzero(~seen)[:EXAMPLES]))
        tally.example(Finding("missing", *row.values()) for row in lost.to_pylist())

    def _name_extra(self, found: Located, tally: Tally) -> None:
        """Count and name the keys of the database that stand in no record of the dump."""

        def listed() -> Iterator[pa.RecordBatch]:
            for batch in self._to._session.keys():
                zeros: Any = np.zeros(batch.num_rows, np.int64)
                yield located(batch, zeros, zeros, 0, None)

        found.load("b", listed())
        tally.extra, extra = found.alone("extra")
        tally.example(extra)
