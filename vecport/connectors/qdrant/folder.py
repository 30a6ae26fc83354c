"""A folder of the official client's local mode (``QdrantClient(path=...)``) as a place for collections.

To read, the folder is copied and the copy opened: the client creates files, and can rewrite rows, in what it opens.
The folder's points are pickles; before the client loads them, they are read once with nothing allowed but the classes
that a point is made of, so that a folder from a stranger runs no code.
"""

from __future__ import annotations

import io
import json
import pickle
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ...errors import IntegrityError, Locked, NotFound, NotRepresentable
from ...model import canonical
from ...model.batch import dense_array, multi_array, sparse_array
from ...model.collection import Collection, VectorField
from .. import access
from ..address import Place
from ..contract import Permission, TargetPlan
from ..kit import folders, passports
from ..kit.flight import Pending, Ready
from ..kit.folders import FolderCopy
from . import packing, schema, settings
from .backend import Backend, Read, Rows
from .settings import TITLE
from .wire import PointKey

META: Final = "meta.json"
POINTS: Final = "storage.sqlite"
_SAFE: Final = frozenset(
    {
        ("builtins", "object"), ("builtins", "set"), ("collections", "OrderedDict"), ("copyreg", "_reconstructor"),
        ("_codecs", "encode"), ("uuid", "UUID"), ("uuid", "SafeUUID"), ("decimal", "Decimal"),
        ("datetime", "datetime"), ("datetime", "date"), ("numpy", "ndarray"), ("numpy", "dtype"),
        ("numpy._core.multiarray", "_reconstruct"), ("numpy._core.multiarray", "scalar"),
        ("numpy.core.multiarray", "_reconstruct"), ("numpy.core.multiarray", "scalar"),
        ("numpy._core.numeric", "_frombuffer"), ("numpy.core.numeric", "_frombuffer"),
    }
)  # fmt: skip


def recognises(path: str) -> bool:
    """Whether a folder is one of local mode."""
    meta = _meta(Path(path))
    return meta is not None and isinstance(meta.get("collections"), dict) and "aliases" in meta


def _meta(folder: Path) -> dict[str, Any] | None:
    """The content of a folder's ``meta.json``, None when there is none that can be read."""
    try:
        meta = json.loads((folder / META).read_bytes())
    except (OSError, ValueError):
        return None
    return meta if isinstance(meta, dict) else None


class FolderBackend(Backend):
    """A folder of local mode. Collections are opened on first use.

    Local mode stores vectors as they were given, and normalises those for cosine only in the memory of the process
    that writes them; the datatypes of a collection are not heeded.

    Args:
        place: a ``qdrant:./folder`` address.
        write: open the folder itself, and create it with its first collection; a copy is read otherwise.

    Raises:
        NotFound: to be read, and no such folder.
    """

    normalises = False
    tunes = False
    datatypes = False

    def __init__(self, place: Place, *, write: bool) -> None:
        from qdrant_client import grpc as pb

        self.pb, self.text, self._write = pb, place.text, write
        self.version = f"local mode of qdrant-client {version('qdrant-client')}"
        self._folder = Path(place.path)
        self._copy: FolderCopy | None = None
        self._client: Any = None
        if not write:
            self.remarks = ("the folder was copied, and the copy read",)
            readable = all(permission.allowed for permission in self.may_read(""))
            if readable and not recognises(place.path):
                what = "is no folder of Qdrant's local mode" if self._folder.exists() else "does not exist"
                raise NotFound(f"{place.text} {what}", safe="nothing was created")

    # -- the client ----------------------------------------------------------------------------

    def _open(self) -> Any:
        """The official client, opened on the folder or its copy."""
        if self._client is None:
            from qdrant_client import QdrantClient

            if not self._write and self._copy is None:
                self._copy = _copied(self._folder)
            for permission in self.may_write("") if self._write else ():
                access.require(permission)
            path = self._copy.path if self._copy else self._folder
            _check_pickles(path)
            try:
                self._client = QdrantClient(path=str(path))
            except RuntimeError as error:
                raise Locked(f"{self.text} is open in another process", why=str(error)) from None
        return self._client

    def may_read(self, collection: str) -> tuple[Permission, ...]:
        return (access.to_read(access.tree(self._folder)),) if self._folder.is_dir() else ()

    def may_write(self, collection: str) -> tuple[Permission, ...]:
        if self._folder.is_dir():
            return (access.to_change(access.tree(self._folder)),)
        return (access.to_create(self._folder),) if self._folder.parent.is_dir() else ()

    def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()
        copy, self._copy = self._copy, None
        if copy is not None:
            copy.release()

    # -- collections ---------------------------------------------------------------------------

    def names(self) -> list[str]:
        for permission in () if self._write else self.may_read(""):
            access.require(permission)
        return list((_meta(self._folder) or {}).get("collections", {}))

    def aliases(self, collection: str) -> list[str]:
        aliases = (_meta(self._folder) or {}).get("aliases", {})
        return [alias for alias, name in aliases.items() if name == collection]

    def info(self, collection: str) -> Any | None:
        from qdrant_client.conversions.conversion import RestToGrpc

        known = (_meta(self._folder) or {}).get("aliases", {})
        if collection not in self.names() and collection not in known:
            return None
        return RestToGrpc.convert_collection_info(self._open().get_collection(collection))

    def create(self, plan: TargetPlan) -> None:
        from qdrant_client import models

        collection = schema.check_plan(plan)
        settings.parse_settings(plan.settings)
        multi = models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM)
        dense = {
            v.name: models.VectorParams(
                size=v.dim,
                distance=models.Distance[schema.DISTANCES[v.metric].upper()],
                multivector_config=multi if v.kind == "multi" else None,
            )
            for v in collection.vectors
            if v.kind != "sparse"
        }
        sparse = {v.name: models.SparseVectorParams() for v in collection.vectors if v.kind == "sparse"}
        self._open().create_collection(
            collection.name,
            vectors_config=dense[""] if set(dense) == {""} else dense,
            sparse_vectors_config=sparse or None,
            metadata={settings.PASSPORT_KEY: passports.text_of(plan.passport)},
        )

    def drop(self, collection: str) -> None:
        self._open().delete_collection(collection)

    def add_alias(self, alias: str, collection: str) -> None:
        from qdrant_client import models

        create = models.CreateAlias(collection_name=collection, alias_name=alias)
        self._open().update_collection_aliases([models.CreateAliasOperation(create_alias=create)])

    def all_aliases(self) -> list[str]:
        return list((_meta(self._folder) or {}).get("aliases", {}))

    def set_metadata(self, collection: str, key: str, text: str | None) -> None:
        self._open().update_collection(collection, metadata={key: text})

    def nudge(self, collection: str) -> None:
        return None

    # -- reading -------------------------------------------------------------------------------

    def filter(self, where: str | None) -> Any:
        return schema.parse_where(where, pb_filter=False)

    def count(self, read: Read) -> int:
        return int(self._open().count(read.collection, count_filter=read.filter, exact=True).count)

    def scroll(self, read: Read, offset: PointKey | None, limit: int) -> Pending[Rows]:
        wanted = read.vectors is not None
        records, following = self._open().scroll(
            read.collection, read.filter, limit, offset=offset, with_payload=wanted, with_vectors=wanted
        )
        rows = _rows(read, records)
        rows.last = rows.keys[-1] if rows.keys else None
        rows.next = following
        return Ready(rows)

    def get(self, read: Read, keys: Sequence[PointKey]) -> Rows:
        wanted = read.vectors is not None
        records = self._open().retrieve(read.collection, list(keys), with_payload=wanted, with_vectors=wanted)
        return _rows(read, records)

    def among(self, where: Any, keys: Sequence[PointKey]) -> Any:
        from qdrant_client import models

        return models.Filter(must=[models.HasIdCondition(has_id=list(keys)), where])

    # -- writing -------------------------------------------------------------------------------

    def upsert(self, name: str, collection: Collection, batch: pa.RecordBatch, rows: int, *, skip: bool) -> None:
        from qdrant_client import models

        # Local mode takes more than a server does; packing for a server refuses what only local mode takes.
        for _ in packing.pack_points(batch, collection):
            pass
        keys, columns = packing.checked_keys(batch), collection.columns()
        vectors = {v.name: _local(batch.column(columns[v.name]), v) for v in collection.vectors}
        points = []
        for i, (key, text) in enumerate(zip(keys, packing.texts_of(batch, "metadata"), strict=True)):
            own: Any = {name: values[i] for name, values in vectors.items() if values[i] is not None}
            if set(vectors) == {""} and own:
                own = own[""]
            points.append(models.PointStruct(id=key, vector=own, payload=canonical.loads(text)))
        mode = models.UpdateMode.INSERT_ONLY if skip else None
        for i in range(0, len(points), rows):
            self._open().upsert(name, points[i : i + rows], wait=True, update_mode=mode)

    def remove(self, collection: str, keys: Sequence[PointKey]) -> None:
        from qdrant_client import models

        self._open().delete(collection, models.PointIdsList(points=list(keys)), wait=True)

    def nearest(
        self, collection: str, vector: str, query: npt.NDArray[np.float32], k: int
    ) -> list[tuple[PointKey, float]]:
        found = self._open().query_points(collection, query.tolist(), using=vector or None, limit=k)
        return [(point.id, float(point.score)) for point in found.points]

    def hint(self, collection: str, vector: str, key: PointKey) -> str:
        using = f", using={vector!r}" if vector else ""
        call = f"QdrantClient(path={str(self._folder)!r}).query_points({collection!r}, query={key!r}{using}, limit=10)"
        return f'python -c "from qdrant_client import QdrantClient; print({call})"'


def _rows(read: Read, records: Sequence[Any]) -> Rows:
    keys: list[PointKey] = [record.id for record in records]
    if read.vectors is None:
        return Rows(keys)
    texts = [canonical.dumpb(record.payload or {}) for record in records]
    return Rows(
        keys,
        metadata=pa.array(texts, pa.binary()).cast(pa.string()),
        vectors={v.name: _column([_vector(record.vector, v.name) for record in records], v) for v in read.vectors},
    )


def _vector(vectors: Any, name: str) -> Any | None:
    """A record's vector in the client's form, None when it has none."""
    if isinstance(vectors, dict):
        return vectors.get(name)
    return None if name else vectors


def _local(column: pa.Array[Any], field: VectorField) -> list[Any]:
    """A vector column in the client's form, None where a record has none."""
    from qdrant_client import models

    rows: list[Any] = column.to_pylist()
    if field.kind != "sparse":
        return rows
    return [None if row is None else models.SparseVector(**row) for row in rows]


def _column(vectors: list[Any | None], field: VectorField) -> pa.Array[Any]:
    """Vectors in the client's form as a column of ``vector_type(field)``."""
    valid = np.array([vector is not None for vector in vectors], np.bool_)
    present = [vector for vector in vectors if vector is not None]
    mask = None if valid.all() else valid
    if field.kind == "sparse":
        return _sparse_column(present, field, valid, mask)
    dim = field.dim or 0
    rows = [row for vector in present for row in vector] if field.kind == "multi" else present
    for row in rows:
        if len(row) != dim:
            raise IntegrityError(f"vector {field.name!r} has {len(row)} floats, the schema says {dim}")
    flat = np.array(rows, np.float32).reshape(-1, dim)
    if field.kind == "multi":
        each = np.zeros(len(vectors), np.int64)
        each[valid] = [len(vector) for vector in present]
        return multi_array(flat, each, field, mask)
    matrix = np.zeros((len(vectors), dim), np.float32)
    matrix[valid] = flat
    return dense_array(matrix, field, valid)


def _sparse_column(
    present: list[Any], field: VectorField, valid: npt.NDArray[np.bool_], mask: npt.NDArray[np.bool_] | None
) -> pa.Array[Any]:
    nnz = np.zeros(len(valid), np.int64)
    nnz[valid] = [len(vector.indices) for vector in present]
    indices = np.array([i for vector in present for i in sorted(vector.indices)], np.uint32)
    values = np.array(
        [x for vector in present for _, x in sorted(zip(vector.indices, vector.values, strict=True))], np.float32
    )
    return sparse_array(indices, values, nnz, field, mask)


# ---- copying ----


def _copied(folder: Path) -> FolderCopy:
    """A private copy of a folder; the folder itself is only read.

    Raises:
        Locked: a client has the folder open, so that a copy could be of no one moment.
    """

    def size() -> int:
        return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())

    def copy(destination: Path) -> float:
        with _unused(folder):
            shutil.copytree(folder, destination, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".lock"))
        # The client writes into what it opens, and the folder itself may be for reading only.
        for path in (destination, *destination.rglob("*")):
            path.chmod(path.stat().st_mode | (0o700 if path.is_dir() else 0o600))
        return 0.0

    return folders.take_copy(folder, TITLE, size, copy)


@contextmanager
def _unused(folder: Path) -> Iterator[None]:
    """Keep clients from opening a folder meanwhile, without changing it."""
    try:
        import fcntl

        lock = (folder / ".lock").open("rb")
    except (ImportError, OSError):
        yield
        return
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            raise Locked(
                f"qdrant:{folder} is open in another process",
                safe="nothing was read or written",
                next="close that client and run the same command again",
            ) from None
        yield


class _Guard(pickle.Unpickler):
    """Loads a point and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _SAFE:
            return super().find_class(module, name)
        if module.startswith("qdrant_client.") and "." not in name:
            from pydantic import BaseModel

            found = getattr(import_module(module), name, None)
            if isinstance(found, type) and issubclass(found, BaseModel):
                return found
        raise pickle.UnpicklingError(f"{module}.{name} is no part of a point")


def _check_pickles(folder: Path) -> None:
    """Refuse a folder in which something other than points is pickled.

    Raises:
        NotRepresentable: a row would run code or make foreign objects when loaded.
    """
    for path in sorted(folder.glob(f"collection/*/{POINTS}")):
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
            try:
                for (blob,) in db.execute("SELECT point FROM points"):
                    _Guard(io.BytesIO(blob)).load()
            except sqlite3.OperationalError:
                continue
            except Exception as error:
                raise NotRepresentable(
                    f"{path.parent.name!r} in this Qdrant folder holds a row that is no point",
                    why=str(error),
                    safe="it was not loaded",
                ) from None
