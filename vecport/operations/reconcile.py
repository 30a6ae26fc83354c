"""Reconciliation: counts and keys of an export against its source, and keys that stand twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ..connectors.contract import Reject, Source
from ..connectors.decorators import from_the_beginning
from ..dump.manifest import ShardEntry
from ..dump.shard import ShardReader
from ..dump.store import Store
from ..errors import Incomplete
from ..model.collection import Collection
from ..model.passport import Passport, target_keys
from .duck import Duck

KEY_SCHEMA = pa.schema([("id", pa.string()), ("namespace", pa.string())])


@dataclass(frozen=True, slots=True)
class Drift:
    """How a live source moved while it was read; None where it cannot be known.

    Attributes:
        count_before, count_after: the source's own counts.
        only_in_dump: records that were read and are gone now.
        only_in_source: records that came after their place was passed.
        missing: records that were listed and gone when they were fetched.
        fetched_late: records that the scan had not met, and that were fetched by their keys at its end.
    """

    count_before: int | None
    count_after: int | None
    only_in_dump: int | None = None
    only_in_source: int | None = None
    missing: int = 0
    fetched_late: int = 0

    @property
    def moved(self) -> bool:
        """Whether the source changed in a way that counts or keys show."""
        keys = self.only_in_dump or self.only_in_source or self.fetched_late
        return self.count_before != self.count_after or bool(self.missing or keys)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "count_before": self.count_before, "count_after": self.count_after, "only_in_dump": self.only_in_dump,
            "only_in_source": self.only_in_source, "missing": self.missing,
            **({"fetched_late": self.fetched_late} if self.fetched_late else {}),
        }  # fmt: skip


def count_of(source: Source) -> int | None:
    """Records of a source: its count where that is exact, else its keys where it lists them, else None."""
    if source.capabilities.count == "exact":
        return source.count()
    if not source.capabilities.lists_keys:
        return None
    return from_the_beginning(lambda: sum(int(batch.num_rows) for batch in source.keys()))


def load_keys(duck: Duck, name: str, source: Source) -> None:
    """Put all keys of a source into a table, in place of one of that name."""

    def load() -> None:
        duck.connection.execute(f"DROP TABLE IF EXISTS {name}")
        duck.load(name, KEY_SCHEMA, (b.select(["id", "namespace"]) for b in source.keys()))

    from_the_beginning(load)


def check_snapshot(rows: int, count: int | None, where: str) -> None:
    """A snapshot's rows must equal its count; raises ``Incomplete``."""
    if count is not None and rows != count:
        raise Incomplete(
            f"{where}: read {rows:,} records of a snapshot that counts {count:,}",
            safe="no manifest was written, so there is no dump that could be taken for whole",
            next="run the same command again with --overwrite; if it repeats, it is a bug worth reporting",
        )


def check_live(
    source: Source, entries: list[ShardEntry], store: Store, collection: Collection, count_before: int | None,
    missing: list[tuple[str, str]], where: str, late: Late,
    passport: Mapping[str, Any] | None, rejected: Sequence[Reject] = (),
) -> Drift:  # fmt: skip
    """Compare a live scan with the source as it is now, by keys where the counts leave a doubt.

    Args:
        entries: of the shards; those of the records that are fetched late are added to them.
        late: fetches records that the source has and the scan has not met; returns their shards.
        rejected: records that are there, could not be read and are not in the shards.
        passport: of a source that vecport filled: it says under which keys the dump's records stand there.

    Raises:
        Incomplete: a listed record is still there and was not read; or the counts stand still, the rows differ, and
            keys do not explain it.
    """
    rows = sum(e.rows for e in entries) + len(rejected)
    count_after = count_of(source)
    _check_missing(source, missing, where)
    still = count_before == count_after and not missing
    told = Drift(count_before, count_after, missing=len(missing))
    if not source.capabilities.lists_keys:
        if still and count_after is not None and rows != count_after:
            raise _unexplained(where, f"read {rows:,} records, the source counts {count_after:,} before and after")
        return told
    if source.capabilities.count == "exact" and still and rows == count_after:
        return told
    with Duck() as duck:
        duck.load("dump", _HELD, chain(held_keys(store, entries, collection, passport), _rejected_keys(rejected)))
        for look in range(_LOOKS):
            load_keys(duck, "now", source)
            listed = int(duck.rows("SELECT count(*) FROM now")[0][0])
            count_now = count_of(source) if source.capabilities.count == "exact" else listed
            if listed == count_now or count_now != count_after:
                break
            if look == _LOOKS - 1 and still:
                raise _unexplained(where, f"the source counts {count_now:,} records and lists {listed:,} keys")
        gone = int(duck.rows(_GONE)[0][0])
        new = int(duck.rows(f"SELECT count(*) FROM ({_NEW})")[0][0])
        if new > MOST_LATE and still:
            raise _unexplained(where, f"{new:,} records of the source are not among those that were read")
        wanted = [(str(ns), str(i)) for ns, i in duck.rows(f"{_NEW} ORDER BY 1, 2 LIMIT {MOST_LATE}")]
    fetched = late(wanted) if wanted else []
    entries += fetched
    caught = sum(e.rows for e in fetched)
    return replace(told, only_in_dump=gone, only_in_source=new - caught, fetched_late=caught)


#: Fetches the records with these (namespace, id) pairs, as many as are still there, into shards.
Late = Callable[[Sequence[tuple[str, str]]], list[ShardEntry]]
#: More records that a scan has not met are no accident of a busy collection.
MOST_LATE = 100_000
#: How often a source is asked whose list of keys and count differ: somebody may write between the two.
_LOOKS = 3
# A record that somebody else added to a hashed collection stands in the dump under the id it has there.
_GONE = """SELECT count(*) FROM dump WHERE (namespace, id) NOT IN (SELECT (namespace, id) FROM now)
           AND (namespace, held) NOT IN (SELECT (namespace, id) FROM now)"""
_NEW = """SELECT namespace, id FROM now WHERE (namespace, id) NOT IN (SELECT (namespace, id) FROM dump)
          AND (namespace, id) NOT IN (SELECT (namespace, held) FROM dump)"""


def _unexplained(where: str, what: str) -> Incomplete:
    return Incomplete(
        f"{where}: {what}",
        "records were lost or repeated on the way, or the source changed and came back to the same count",
        "no manifest was written, so there is no dump that could be taken for whole",
        "run the same command again with --overwrite, when nobody writes to the source",
    )


_HELD = KEY_SCHEMA.append(pa.field("held", pa.string()))


def _rejected_keys(rejected: Sequence[Reject]) -> Iterator[pa.RecordBatch]:
    record_ids, namespaces = [r.id for r in rejected], [r.namespace for r in rejected]
    yield pa.RecordBatch.from_pydict({"id": record_ids, "namespace": namespaces, "held": record_ids}, schema=_HELD)


def held_keys(
    store: Store, entries: list[ShardEntry], collection: Collection, passport: Mapping[str, Any] | None
) -> Iterator[pa.RecordBatch]:
    """Keys of the records in shards.

    Returns:
        Batches with ``id`` (of the dump), ``namespace`` (the source's own) and ``held`` (the id in the source).
    """
    made = None if passport is None else Passport.from_json(passport)
    for entry in entries:
        for batch in ShardReader(store, entry, collection).columns(["id", "namespace"]):
            record_ids, namespaces = batch.columns
            held, own = target_keys(made, record_ids, namespaces, strangers=True)
            yield pa.RecordBatch.from_arrays([record_ids, own, held], schema=_HELD)


def _check_missing(source: Source, missing: list[tuple[str, str]], where: str) -> None:
    for start in range(0, len(missing), 1000):
        found = source.fetch(missing[start : start + 1000])
        if found.num_rows:
            raise Incomplete(
                f"{where}: record {found.column('id')[0].as_py()!r} was listed and is there, but was not read",
                safe="no manifest was written, so there is no dump that could be taken for whole",
                next="run the same command again with --overwrite",
            )


def repeated_keys(
    store: Store, entries: list[ShardEntry], collection: Collection, memory_bytes: int, keep: str = "last"
) -> dict[str, list[int]]:
    """Row numbers, by shard path, of every record that repeats a key, but for its ``first`` or ``last`` row.

    Bounded memory: DuckDB groups the keys and spills to disk.
    """
    best = "max" if keep == "last" else "min"
    with Duck(memory_bytes) as duck:
        duck.load("keys", _LOCATED, _located(store, entries, collection))
        rows = duck.rows(
            f"""SELECT shard, row FROM (
                 SELECT shard, row, {best}(shard * 4294967296 + row) OVER (PARTITION BY id, namespace) AS kept
                 FROM keys WHERE (id, namespace) IN
                   (SELECT (id, namespace) FROM keys GROUP BY id, namespace HAVING count(*) > 1))
               WHERE shard * 4294967296 + row <> kept ORDER BY shard, row"""
        )
    out: dict[str, list[int]] = {}
    for shard, row in rows:
        out.setdefault(entries[shard].path, []).append(row)
    return out


_LOCATED = pa.schema([("id", pa.string()), ("namespace", pa.string()), ("shard", pa.int64()), ("row", pa.int64())])


def _located(store: Store, entries: list[ShardEntry], collection: Collection) -> Iterator[pa.RecordBatch]:
    for number, entry in enumerate(entries):
        row = 0
        for batch in ShardReader(store, entry, collection).columns(["id", "namespace"]):
            n = batch.num_rows
            places = [pa.repeat(pa.scalar(number, pa.int64()), n), pa.array(range(row, row + n), pa.int64())]
            yield pa.RecordBatch.from_arrays([*batch.columns, *places], schema=_LOCATED)
            row += n


def first_keys(store: Store, entries: list[ShardEntry], rows: dict[str, list[int]]) -> list[str]:
    """A few of the repeated keys, for messages."""
    examples: list[str] = []
    for entry in entries:
        wanted = rows.get(entry.path, [])[: 5 - len(examples)]
        if not wanted:
            continue
        with store.open(entry.path) as f:
            ids = pq.read_table(f, columns=["id"]).column("id")
        examples += [repr(ids[r].as_py()) for r in wanted]
    return examples
