"""Which record goes with which: keys and hashes of both sides in DuckDB, in bounded memory.

A row's place is its number in the order in which its side is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ...dump.records import Records
from ...model import hashes
from ...model.batch import page_schema
from ...model.compare import Finding, Part
from ..duck import Duck
from ..progress import Progress, Stop

#: ``id`` and ``namespace`` are what both sides have in common; ``own_`` ones are shown where they are others.
LOCATED = pa.schema(
    [("id", pa.string()), ("namespace", pa.string()), ("_vh", pa.int64()), ("_mh", pa.int64()), ("place", pa.int64()),
     ("own_id", pa.string()), ("own_namespace", pa.string())]
)  # fmt: skip
#: Findings of each kind that a result shows.
EXAMPLES = 5

Places = npt.NDArray[np.int64]
Keys = Callable[[pa.Array, pa.Array], tuple[pa.Array, pa.Array]]


def located(
    page: pa.RecordBatch, vh: Any, mh: Any, first: int, keys: tuple[pa.Array, pa.Array] | None
) -> pa.RecordBatch:
    """Rows of ``LOCATED``.

    Args:
        page: with ``id`` and ``namespace``.
        vh, mh: hashes of its records.
        first: place of its first row.
        keys: ids and namespaces that both sides have in common, None where those of the page are.
    """
    n = page.num_rows
    own = page.column("id"), page.column("namespace")
    shown = (pa.nulls(n, pa.string()),) * 2 if keys is None else own
    columns = [
        *(keys or own),
        pa.array(vh, pa.int64()),
        pa.array(mh, pa.int64()),
        pa.array(np.arange(first, first + n)),
        *shown,
    ]
    return pa.RecordBatch.from_arrays(columns, schema=LOCATED)


class Recorded:
    """Keys and hashes of a dump.

    Args:
        dump: whose.
        deep: compute the hashes from the data, instead of taking those that the dump recorded.
        keys: gives the keys that both sides have in common for a dump's own; None where they are the same.

    Attributes:
        dump: whose.
        wrong: records whose recorded hashes are not those of their data; known after a deep reading.
    """

    def __init__(self, dump: Records, *, deep: bool = False, keys: Keys | None = None) -> None:
        self.dump, self._deep, self._keys = dump, deep, keys
        self.wrong = 0

    def read(self, progress: Progress, stop: Stop) -> Iterator[pa.RecordBatch]:
        """Batches of ``LOCATED``."""
        first = 0
        for batch, vh, mh in self._hashes():
            stop.check()
            keys = None if self._keys is None else self._keys(batch.column("id"), batch.column("namespace"))
            yield located(batch, vh, mh, first, keys)
            first += batch.num_rows
            progress.advance(batch.num_rows)

    def _hashes(self) -> Iterator[tuple[pa.RecordBatch, Any, Any]]:
        if not self._deep:
            for batch in self.dump.keys():
                yield batch, batch.column("_vh"), batch.column("_mh")
            return
        names = page_schema(self.dump.collection).names
        for group in self.dump.groups():
            page = group.select(names)
            vh, mh = hashes.vector_hashes(page, self.dump.collection), hashes.metadata_hashes(page)
            self.wrong += int(((vh != np.asarray(group.column("_vh"))) | (mh != np.asarray(group.column("_mh")))).sum())
            yield page, vh, mh


class Located:
    """Tables ``a`` and ``b`` of ``LOCATED``, and after ``settle`` which of their rows are one record.

    Args:
        memory_bytes: for DuckDB, which spills above it.
    """

    def __init__(self, memory_bytes: int) -> None:
        self._duck = Duck(memory_bytes)
        self._once = False

    def __enter__(self) -> Located:
        return self

    def __exit__(self, *exc: object) -> None:
        self._duck.close()

    def load(self, table: str, batches: Iterator[pa.RecordBatch]) -> None:
        """Fill a side: ``a`` or ``b``."""
        self._duck.load(table, LOCATED, batches)

    def append(self, table: str, rows: pa.Table) -> None:
        """Add rows to a side."""
        self._with_incoming(rows, f"INSERT INTO {table} SELECT * FROM incoming")

    def differing(self, rows: pa.Table) -> tuple[Places, Places]:
        """Places in ``a`` and in these rows of ``b`` of the records that have one key and not the same hashes."""
        found = self._with_incoming(
            rows,
            """SELECT a.place, i.place FROM incoming i JOIN a ON a.id = i.id AND a.namespace = i.namespace
               WHERE a._vh <> i._vh OR a._mh <> i._mh""",
        )
        return tuple(np.asarray([row[i] for row in found], np.int64) for i in (0, 1))  # type: ignore[return-value]

    def _with_incoming(self, rows: pa.Table, query: str) -> list[tuple[Any, ...]]:
        self._duck.connection.register("incoming", rows)
        try:
            return self._duck.rows(query)
        finally:
            self._duck.connection.unregister("incoming")

    def repeats(self, table: str) -> bool:
        """Whether a key stands twice on a side."""
        return bool(self._duck.rows(f"SELECT 1 FROM {table} GROUP BY id, namespace HAVING count(*) > 1 LIMIT 1"))

    def settle(self, *, live: bool = False) -> None:
        """Pair the rows of both sides.

        Keys that stand as often on one side as on the other are paired, those of equal hashes first. Where they do not
        the key is a finding, and none of its records is compared.

        Args:
            live: ``b`` was read while it changed, so that of a key that came twice the last one is the record.
        """
        self._once = live
        self._join()
        rows, ours, theirs = self._duck.rows("SELECT count(*), count(DISTINCT a), count(DISTINCT b) FROM shared")[0]
        if live and ours != rows:
            self._duck.connection.execute(
                """CREATE TABLE last AS SELECT * FROM b QUALIFY
                   row_number() OVER (PARTITION BY id, namespace ORDER BY place DESC) = 1;
                   DROP TABLE b; ALTER TABLE last RENAME TO b; DROP TABLE shared"""
            )
            self._join()
            rows, ours, theirs = self._duck.rows("SELECT count(*), count(DISTINCT a), count(DISTINCT b) FROM shared")[0]
        self._duck.connection.execute("CREATE TABLE repeated(id VARCHAR, namespace VARCHAR, a BIGINT, b BIGINT)")
        if rows != ours or rows != theirs:
            self._pair_repeated()

    def _join(self) -> None:
        self._duck.connection.execute(
            """CREATE TABLE shared AS SELECT a.place AS a, b.place AS b, a._vh <> b._vh AS v, a._mh <> b._mh AS m
               FROM a JOIN b ON a.id = b.id AND a.namespace = b.namespace"""
        )

    def _pair_repeated(self) -> None:
        number = "row_number() OVER (PARTITION BY id, namespace"
        self._duck.connection.execute(
            f"""CREATE TABLE twice AS SELECT DISTINCT a.id, a.namespace FROM shared s JOIN a ON a.place = s.a
                  WHERE s.a IN (SELECT a FROM shared GROUP BY a HAVING count(*) > 1)
                     OR s.b IN (SELECT b FROM shared GROUP BY b HAVING count(*) > 1);
                CREATE TABLE ours AS SELECT *, {number}, _vh, _mh ORDER BY place) AS alike,
                  count(*) OVER (PARTITION BY id, namespace) AS n FROM a SEMI JOIN twice USING (id, namespace);
                CREATE TABLE theirs AS SELECT *, {number}, _vh, _mh ORDER BY place) AS alike,
                  count(*) OVER (PARTITION BY id, namespace) AS n FROM b SEMI JOIN twice USING (id, namespace);
                DELETE FROM shared WHERE a IN (SELECT place FROM ours);
                INSERT INTO repeated SELECT any_value(coalesce(o.own_id, o.id)),
                  any_value(coalesce(o.own_namespace, o.namespace)), o.n, t.n
                  FROM ours o JOIN theirs t USING (id, namespace) WHERE o.n <> t.n
                  GROUP BY o.id, o.namespace, o.n, t.n;
                CREATE TABLE same AS SELECT o.place AS a, t.place AS b
                  FROM ours o JOIN theirs t USING (id, namespace, _vh, _mh, alike) WHERE o.n = t.n;
                INSERT INTO shared SELECT a, b, false, false FROM same;
                INSERT INTO shared SELECT o.place, t.place, o._vh <> t._vh, o._mh <> t._mh
                  FROM (SELECT *, {number} ORDER BY place) AS nth FROM ours WHERE place NOT IN (SELECT a FROM same)) o
                  JOIN (SELECT *, {number} ORDER BY place) AS nth FROM theirs WHERE place NOT IN (SELECT b FROM same)) t
                  USING (id, namespace, nth) WHERE o.n = t.n"""
        )

    def unchanged(self) -> int:
        """Records with equal hashes."""
        return int(self._duck.rows("SELECT count(*) FROM shared WHERE NOT v AND NOT m")[0][0])

    def differ(self) -> int:
        """Records whose hashes differ."""
        return int(self._duck.rows("SELECT count(*) FROM shared WHERE v OR m")[0][0])

    def rows(self, table: str) -> int:
        """Records of a side; one that came twice while it changed is one."""
        what = "count(DISTINCT (id, namespace))" if self._once and table == "b" else "count(*)"
        return int(self._duck.rows(f"SELECT {what} FROM {table}")[0][0])

    def alone(self, kind: str) -> tuple[int, list[Finding]]:
        """How many records are ``missing`` (only in a) or ``extra`` (only in b), and some of them."""
        here, there = ("a", "b") if kind == "missing" else ("b", "a")
        what = "count(DISTINCT (id, namespace))" if self._once and kind == "extra" else "count(*)"
        query = f"FROM {here} ANTI JOIN {there} ON a.id = b.id AND a.namespace = b.namespace"
        count = int(self._duck.rows(f"SELECT {what} {query}")[0][0])
        shown = "coalesce(own_id, id), coalesce(own_namespace, namespace)"
        found = self._duck.rows(f"SELECT DISTINCT {shown} {query} ORDER BY 1, 2 LIMIT {EXAMPLES}") if count else []
        return count, [Finding(kind, *row) for row in found]

    def repeated(self) -> tuple[int, list[Finding]]:
        """How many keys stand another number of times on the two sides, and some of them."""
        count = int(self._duck.rows("SELECT count(*) FROM repeated")[0][0])
        found = self._duck.rows(f"SELECT id, namespace, a, b FROM repeated ORDER BY 1, 2 LIMIT {EXAMPLES}")
        return count, [Finding("repeated", id_, ns, (Part("records", str(a), str(b)),)) for id_, ns, a, b in found]

    def pairs(self, by: str) -> Ordered:
        """The places of the records whose hashes differ, in the order of one side; one such reading at a time."""
        other = "b" if by == "a" else "a"
        query = f"SELECT {by}, {other} FROM shared WHERE v OR m ORDER BY {by}"
        return Ordered(self._duck.batches(query))


class Ordered:
    """Pairs of places in ascending order of the first."""

    def __init__(self, batches: Iterator[pa.RecordBatch]) -> None:
        self._batches = batches
        self._held = (np.zeros(0, np.int64), np.zeros(0, np.int64))
        self._more = True

    def below(self, end: int) -> tuple[Places, Places]:
        """The next pairs whose first place is below ``end``."""
        while self._more and (not len(self._held[0]) or self._held[0][-1] < end):
            batch = next(self._batches, None)
            if batch is None:
                self._more = False
                break
            self._held = tuple(  # type: ignore[assignment]
                np.concatenate([have, np.asarray(c)]) for have, c in zip(self._held, batch.columns, strict=True)
            )
        cut = int(np.searchsorted(self._held[0], end))
        taken = self._held[0][:cut], self._held[1][:cut]
        self._held = self._held[0][cut:], self._held[1][cut:]
        return taken
