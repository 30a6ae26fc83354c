"""The writing role: a row group is a transaction."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from vecport.connectors.address import Place
from vecport.connectors.checks import check_default
from vecport.connectors.contract import Description, Hit, Json
from vecport.connectors.kit import checks, keyed, settings
from vecport.errors import NotFound
from vecport.model.capabilities import Names, TargetCapabilities
from vecport.model.collection import Collection

from . import client, schema


class SqliteVecTarget(keyed.KeyedTarget[Any]):
    """Writes one table."""

    title = client.TITLE
    choices = schema.SETTINGS
    capabilities: TargetCapabilities = TargetCapabilities(
        id_kinds=frozenset({"string", "int"}),
        vectors=16,
        vectors_min=1,
        unnamed_vector=False,
        vector_names=Names(
            r"(?!(id|document|metadata|distance|k|rowid)$)[a-z][a-z0-9_]*",
            says="its vectors are called by small letters, digits and _, and not like other columns",
        ),
        collection_names=Names(r"(?i)(?!sqlite_)[^\0]+", says="SQLite keeps names that begin with sqlite_ to itself"),
        kinds={"dense": frozenset({"float32", "int8"}), "binary": frozenset({"bit"})},
        metrics=frozenset({"l2", "cosine", "l1"}),
        kind_metrics={"binary": frozenset({"hamming"})},
        max_dim=8_192,
        dim_multiple={"binary": 8},
        nonfinite_vectors=True,
        native_document=True,
        metadata=checks.JSON_TEXT,
        on_conflict=frozenset({"replace", "skip", "fail"}),
    )

    def __init__(self, place: Place, name: str) -> None:
        super().__init__(place.text, name, client.handle(lambda: place.path, place.text, write=True))
        self._place = place

    def describe(self) -> Description | None:
        try:
            with self._table() as table:
                return schema.described(table)
        except NotFound:
            return None

    def search(self, vector: str, query: npt.NDArray[np.float32], k: int, namespace: str = "") -> list[Hit]:
        check_default(namespace, self.title)
        with self._table() as table:
            dtype = table.collection.vector(vector).dtype
            data = np.packbits(query > 0, bitorder="little") if dtype == "bit" else query.astype(dtype)
            found = table.db.execute(table.nearest(vector, "?", k), (data.tobytes(),))
            return [Hit(str(id), float(distance)) for id, distance in found]

    def query_hint(self) -> str:
        with self._table() as table:
            return table.nearest(table.collection.vectors[0].name, ":query", 10) + ";"

    # -- what the kit asks for -------------------------------------------------------------------

    def _transaction(self, client: Any) -> AbstractContextManager[object]:
        return client  # type: ignore[no-any-return]

    def _create(self, collection: Collection, values: Mapping[str, settings.Value]) -> None:
        with self._handle.used() as db:
            db.execute(schema.statement(collection, self._place, values))

    def _drop(self) -> None:
        with self._table() as table:
            table.db.execute(f"DROP TABLE {table.name}")

    def _remember(self, passport: Mapping[str, Json]) -> None:
        with self._table() as table:
            schema.store_passport(table, passport)

    def _existing(self, ids: Sequence[str]) -> Sequence[str]:
        with self._table() as table:
            keys, key = table.keys
            return [str(id) for (id,) in table.each(f"SELECT {key} FROM {keys} WHERE {key} = ?", ids)]

    def _fetch(self, ids: Sequence[str]) -> pa.RecordBatch:
        with self._table() as table:
            columns = ", ".join([table.key, *table.others])
            return schema.page(table, table.each(f"SELECT {columns} FROM {table.name} WHERE {table.key} = ?", ids))

    def _add(self, batch: pa.RecordBatch) -> None:
        with self._table() as table:
            schema.insert(table, batch)

    def _remove(self, ids: Sequence[str]) -> None:
        with self._table() as table:
            table.each(f"DELETE FROM {table.name} WHERE {table.key} = ?", ids)

    @contextmanager
    def _table(self) -> Iterator[schema.Table]:
        with self._handle.used() as db:
            yield schema.read(db, self._name, self._place)
