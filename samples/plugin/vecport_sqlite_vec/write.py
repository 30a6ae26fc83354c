"""The writing role: a row group is a transaction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute

from vecport.connectors.address import Place
from vecport.connectors.checks import check_default, check_plan, sole_ids
from vecport.connectors.contract import Description, Hit, Json, Mark, Target, TargetPlan
from vecport.connectors.kit import inserts, settings
from vecport.connectors.kit.checks import MetadataCheck, check_records
from vecport.connectors.kit.lifecycle import settle
from vecport.errors import NotRepresentable, UsageError
from vecport.model import parsed
from vecport.model.capabilities import VALUE_KINDS, MetadataRules, TargetCapabilities
from vecport.model.collection import Collection, renamed
from vecport.model.compare import Judge

from . import client, schema
from .client import TITLE, quoted

if TYPE_CHECKING:
    import apsw

pc: Final[Any] = pyarrow.compute
METADATA: Final = MetadataRules(
    exact=frozenset(VALUE_KINDS) - {"nonfinite", "decimal", "bytes", "surrogates"},
    forbidden_keys=r"\$+vp",
    forbidden_mark='$vp"',
)
_COMPARED_BYTES: Final = 32_000_000


class SqliteVecTarget(Target):
    """Writes one table."""

    capabilities: TargetCapabilities = TargetCapabilities(
        id_kinds=frozenset({"string", "int"}),
        vectors=16,
        unnamed_vector=False,
        kinds={"dense": frozenset({"float32", "int8"}), "binary": frozenset({"bit"})},
        metrics=frozenset({"l2", "cosine", "l1"}),
        kind_metrics={"binary": frozenset({"hamming"})},
        max_dim=8_192,
        nonfinite_vectors=True,
        native_document=True,
        metadata=METADATA,
        on_conflict=frozenset({"replace", "skip", "fail"}),
    )

    def __init__(self, place: Place, name: str) -> None:
        self._place, self._name = place, name
        self._open: apsw.Connection | None = None
        self._plan: TargetPlan | None = None
        self._known: schema.Table | None = None
        self._check_metadata = MetadataCheck(METADATA, TITLE)

    def describe(self) -> Description | None:
        if self._open is None and not Path(self._place.path).exists():
            return None
        with client.translated(self._place.text):
            table = schema.find(self._db(), self._name, self._place)
            if table is None:
                return None
            passport, note = schema.passport(self._db(), table)
            version = str(self._db().execute("SELECT vec_version()").get)
            return Description(table.collection, table.count(self._db()), passport, version, (note,) if note else ())

    def prepare(self, plan: TargetPlan) -> None:
        check_plan(plan, self.capabilities, TITLE)
        chosen = settings.parse(plan.settings, schema.SETTINGS, TITLE)
        kept = settings.restored(settings.wanted(plan.native, plan.settings), schema.SETTINGS, TITLE)
        there = self.describe()
        decision = settle(
            plan, there, title=f"table {self._name!r}", place=self._place.text,
            fits=lambda: there is not None and _same(there.collection, plan.collection),
        )  # fmt: skip
        if decision == "keep" and there is not None and not _same(there.collection, plan.collection):
            raise NotRepresentable(
                f"table {self._name!r} has another schema",
                f"there: {there.collection.vectors}, ids {there.collection.id_kind}", "nothing was written",
                "choose another name with -c/--collection",
            )  # fmt: skip
        chunk_size = chosen.get("chunk_size", kept.get("chunk_size"))
        with self._writing(create=True) as db:
            if decision == "recreate":
                db.execute(f"DROP TABLE {quoted(self._name)}")
            if decision != "keep":
                db.execute(schema.statement(renamed(plan.collection, self._name), self._place, chunk_size))
            schema.store_passport(db, self._name, plan.passport)
        self.attach(plan)

    def attach(self, plan: TargetPlan) -> None:
        self._plan, self._known = plan, None

    def write(self, batch: pa.RecordBatch, mark: Mark) -> None:
        if self._plan is None:
            raise UsageError("write before attach")
        where = f"{mark.shard} row group {mark.group}"
        check_records(batch, self._plan, self.capabilities, TITLE, where)
        self._check_metadata(batch.column("id").to_pylist(), parsed.parse_objects(batch.column("metadata")))
        with self._writing() as db:
            if self._plan.on_conflict == "fail":
                collection = self._table().collection
                judge = Judge(self._plan.collection, collection, {})
                inserts.insert_only(
                    batch, self._name, existing=self._existing, fetch=self._fetched, write=self._inserted,
                    same=lambda ours, theirs: ~judge.compare(ours, theirs).changed,
                    rows=self.capabilities.write_rows, most_bytes=_COMPARED_BYTES,
                )  # fmt: skip
                return
            there = self._existing(batch.column("id").to_pylist())
            if self._plan.on_conflict == "skip":
                batch = batch.filter(pc.invert(pc.is_in(batch.column("id"), pa.array(there, pa.string()))))
            else:
                self._deleted(db, there)
            self._inserted(batch)

    def delete(self, keys: Sequence[tuple[str, str]]) -> None:
        ids = sole_ids(keys, TITLE)
        with self._writing() as db:
            self._deleted(db, self._existing(ids))

    def finish(self, passport: Mapping[str, Json]) -> None:
        with self._writing() as db:
            schema.store_passport(db, self._name, passport)

    def search(self, vector: str, query: npt.NDArray[np.float32], k: int, namespace: str = "") -> list[Hit]:
        check_default(namespace, TITLE)
        table = self._table()
        v = table.collection.vector(vector)
        data = np.packbits(query > 0, bitorder="little") if v.dtype == "bit" else query.astype(v.dtype)
        with client.translated(self._place.text):
            found = self._db().execute(self._nearest(table, vector, schema.marker(v) + "(?)", k), (data.tobytes(),))
            return [Hit(str(id), float(distance)) for id, distance in found]

    def query_hint(self) -> str:
        table = self._table()
        v = table.vectors[0]
        return self._nearest(table, v.name, f"{schema.marker(v)}(:query)", 10) + ";"

    def _nearest(self, table: schema.Table, vector: str, query: str, k: int) -> str:
        name = quoted(table.name)
        return f"SELECT {table.key}, distance FROM {name} WHERE {vector} MATCH {query} AND k = {k} ORDER BY distance"

    def count(self) -> int:
        table = self._table()
        with client.translated(self._place.text):
            return table.count(self._db())

    def close(self) -> None:
        db, self._open, self._known = self._open, None, None
        if db is not None:
            db.close()

    # -- how it works ------------------------------------------------------------------------------

    def _existing(self, ids: Sequence[str]) -> list[str]:
        """Those of some ids that are there."""
        table = self._table()
        source, key = table.keys
        values = [(schema.key_of(table, id),) for id in ids]
        found = self._db().executemany(f"SELECT {key} FROM {source} WHERE {key} = ?", values)
        return [str(id) for (id,) in found]

    def _fetched(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        table = self._table()
        statement = f"SELECT {', '.join([table.key, *table.named()])} FROM {quoted(table.name)} WHERE {table.key} = ?"
        values = [(schema.key_of(table, id),) for id in batch.column("id").to_pylist()]
        return schema.page(table, self._db().executemany(statement, values).fetchall())

    def _inserted(self, batch: pa.RecordBatch) -> None:
        table = self._table()
        self._db().executemany(schema.insert(table), schema.stored(table, batch))

    def _deleted(self, db: apsw.Connection, ids: Sequence[str]) -> None:
        table = self._table()
        statement = f"DELETE FROM {quoted(table.name)} WHERE {table.key} = ?"
        db.executemany(statement, [(schema.key_of(table, id),) for id in ids])

    def _table(self) -> schema.Table:
        if self._known is None:
            with client.translated(self._place.text):
                self._known = schema.read(self._db(), self._name, self._place)
        return self._known

    @contextmanager
    def _writing(self, create: bool = False) -> Iterator[apsw.Connection]:
        """A transaction that holds the file for writing from its beginning."""
        with client.translated(self._place.text, "nothing of it was written"):
            db = self._db(create)
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise

    def _db(self, create: bool = False) -> apsw.Connection:
        if self._open is None:
            self._open = client.connected(self._place.path, self._place.text, write=True, create=create)
        return self._open


def _same(there: Collection, wanted: Collection) -> bool:
    """Whether records of one fit into the other."""
    return there.digest() == wanted.digest()
