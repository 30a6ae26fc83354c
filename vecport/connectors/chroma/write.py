"""Writing a Chroma collection.

``add`` silently ignores ids that exist, ``upsert`` merges metadata; neither replaces a record. So each chunk is
written as: which of its ids are there, delete those, add all, and see that all have arrived. A row group that is
sent again ends with one full copy of each record.

Records go through the client's server interface (``_add``): ``Collection.add`` would first build the embedding
functions that the collection's schema names, which may load a model (``api/types.py``:
``Schema.deserialize_from_json``).
"""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ...errors import Incomplete, NotFound, NotRepresentable, UsageError
from ...model.batch import dense_matrix
from ...model.capabilities import MetadataRules, TargetCapabilities
from ...model.collection import Collection, VectorField
from ...model.parsed import parse_objects
from ..address import Place
from ..checks import check_default, check_plan, sole_ids
from ..contract import Description, Hit, Json, Mark, Permission, Target, TargetPlan
from ..kit import passports
from ..kit.checks import MetadataCheck
from ..kit.lifecycle import is_ours, settle
from ..kit.requests import cut
from . import client as clients
from . import folder, permissions
from . import settings as of_collection
from .records import split
from .schema import facts, open_collection
from .values import (
    COLLECTION_NAMES,
    COSINE_BOUND,
    METADATA_RULES,
    SPACE_OF,
    TITLE,
    check_lengths,
    check_name,
    is_sparse,
)

_WRITE_ROWS: Final = 5_461
#: A server takes requests of at most 40 MB ("Payload too large"); vectors travel as base64.
_REQUEST_BYTES: Final = 16 << 20


def _capabilities(concurrency: str, metadata: MetadataRules = METADATA_RULES) -> TargetCapabilities:
    return TargetCapabilities(
        id_kinds=frozenset({"string"}),
        id_text=True,
        id_forbidden=r"\A\Z",
        vectors=1,
        vectors_min=1,
        collection_names=COLLECTION_NAMES,
        unnamed_vector=True,
        named_vectors=False,
        kinds={"dense": frozenset({"float32"})},
        metrics=frozenset(SPACE_OF),
        metric_required=True,
        null_vectors=False,
        nonfinite_vectors=False,
        bounds={"cosine": COSINE_BOUND},
        native_document=True,
        native_namespace=False,
        metadata=metadata,
        passport=True,
        ack="upsert",
        concurrency=concurrency,
        if_exists=frozenset({"create", "append", "replace"}),
        on_conflict=frozenset({"replace", "skip"}),
        write_rows=_WRITE_ROWS,
    )


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Records of one request.

    Attributes:
        ids: of the records.
        vectors: (n, dim) float32.
        documents: None where a record has none.
        metadata: None where a record has none.
        uris: None where a record has none; None when no record of the row group has one.
    """

    ids: list[str]
    vectors: npt.NDArray[np.float32]
    documents: list[str | None]
    metadata: list[dict[str, Any] | None]
    uris: list[str | None] | None

    def without(self, ids: Sequence[str]) -> _Chunk:
        """The records that do not have one of these ids."""
        gone = set(ids)
        rest = [i for i, id in enumerate(self.ids) if id not in gone]
        return _Chunk(
            [self.ids[i] for i in rest],
            self.vectors[rest],
            [self.documents[i] for i in rest],
            [self.metadata[i] for i in rest],
            None if self.uris is None else [self.uris[i] for i in rest],
        )


class ChromaTarget(Target):
    """Writes one collection; ``ChromaFolderTarget`` and ``ChromaServerTarget`` say where to."""

    capabilities: TargetCapabilities = _capabilities("handle")

    def __init__(self, place: Place, collection: str) -> None:
        self._place, self._name = place, collection
        self._client: Any = None
        self._found: Any = None
        self._plan: TargetPlan | None = None
        self._check_metadata = MetadataCheck(self.capabilities.metadata, TITLE)

    @abstractmethod
    def _open(self, create: bool) -> Any:
        """Return a client; a folder is created here, and with ``create`` what the user asked to create."""

    def describe(self) -> Description | None:
        try:
            client = self._connect()
        except NotFound:
            if clients.creates_database(self._place):
                return None
            raise
        try:
            collection = open_collection(client, self._name, self._place)
        except NotFound:
            return None
        found = facts(collection, self._place)
        with clients.translated(self._place.text):
            return Description(
                found.collection, int(collection.count()), found.passport, str(client.get_version()), found.notes
            )

    def prepare(self, plan: TargetPlan) -> None:
        check_name(self._name)
        vector = self._checked(plan)
        creation = of_collection.creation(plan, SPACE_OF[vector.metric], self._place)
        passport = passports.text_of(plan.passport) if plan.passport else None
        self._connect(create=True)
        there, ours = self._existing(plan)
        if there is None:
            metadata = {**creation.metadata, **({passports.KEY: passport} if passport else {})}
            with clients.translated(self._place.text):
                of_collection.create(self._connect(), self._name, creation, metadata)
        else:
            _check_fits(there, vector, self._place)
            if of_collection.parsed(plan.settings) and not ours:
                raise UsageError(
                    f"collection {self._name!r} of {self._place.text} exists, so --set has no effect",
                    why="Chroma fixes these settings when a collection is created",
                    safe="nothing was written",
                    next="leave --set out, or say --if-exists replace",
                )
            self._store_passport(there, passport)
        self._found = None
        self.attach(plan)

    def _existing(self, plan: TargetPlan) -> tuple[Any, bool]:
        """The collection that is written to, and whether this import created it; a replaced one is deleted.

        Returns:
            None for the collection when it is to be created.
        """
        client = self._connect()
        try:
            there = open_collection(client, self._name, self._place)
        except NotFound:
            return None, False
        with clients.translated(self._place.text):
            made = _import_id(there)
            found = Description(plan.collection, int(there.count()), None if made is None else {"import_id": made})
            decision = settle(plan, found, title=f"collection {self._name!r}", place=self._place.text)
            if decision == "recreate":
                client.delete_collection(self._name)
                return None, False
        return there, is_ours(plan, found)

    def attach(self, plan: TargetPlan) -> None:
        self._checked(plan)
        self._plan = plan
        self._collection()

    def _checked(self, plan: TargetPlan) -> VectorField:
        """The one vector of a plan that Chroma can hold."""
        check_plan(plan, self.capabilities, TITLE)
        return plan.collection.vectors[0]

    def write(self, batch: pa.RecordBatch, mark: Mark) -> None:
        plan = self._plan
        if plan is None:
            raise UsageError("write before attach")
        collection = self._collection()
        for chunk in self._chunks(batch, plan.collection):
            self._send(collection, chunk, plan.on_conflict)

    def holds(self, keys: Sequence[tuple[str, str]]) -> list[bool]:
        collection, found = self._collection(), set[str]()
        wanted = [id for ns, id in dict.fromkeys(keys) if id and not ns]
        size = self._most_rows()
        with clients.translated(self._place.text):
            for start in range(0, len(wanted), size):
                found.update(collection.get(ids=wanted[start : start + size], include=[])["ids"])
        return [not ns and id in found for ns, id in keys]

    def delete(self, keys: Sequence[tuple[str, str]]) -> None:
        wanted = [id for id in dict.fromkeys(sole_ids(keys, TITLE)) if id]
        collection = self._collection()
        size = self._most_rows()
        with clients.translated(self._place.text):
            for start in range(0, len(wanted), size):
                collection.delete(ids=wanted[start : start + size])

    def finish(self, passport: Mapping[str, Json]) -> None:
        self._found = None
        self._store_passport(self._collection(), passports.text_of(passport) if passport else None)

    def search(self, vector: str, query: npt.NDArray[np.float32], k: int, namespace: str = "") -> list[Hit]:
        check_default(namespace, TITLE)
        if vector:
            raise UsageError(f"collection {self._name!r} has no vector {vector!r}", why="its one vector has no name")
        collection = self._collection()
        with clients.translated(self._place.text):
            found = collection.query(
                query_embeddings=[np.asarray(query, np.float32)], n_results=k, include=["distances"]
            )
        return [Hit(id, float(d)) for id, d in zip(found["ids"][0], found["distances"][0], strict=True)]

    def query_hint(self) -> str:
        return (
            f"{self._client_hint()}.get_collection({self._name!r}, embedding_function=None)"
            ".query(query_embeddings=[[...]], n_results=10)  # smallest distance first"
        )

    @abstractmethod
    def _client_hint(self) -> str:
        """Python that makes a client of this place."""

    def count(self) -> int:
        collection = self._collection()
        with clients.translated(self._place.text):
            return int(collection.count())

    def close(self) -> None:
        client, self._client, self._found = self._client, None, None
        clients.close(client)

    def _connect(self, *, create: bool = False) -> Any:
        if self._client is None:
            self._client = self._open(create)
        return self._client

    def _collection(self) -> Any:
        if self._found is None:
            self._found = open_collection(self._connect(), self._name, self._place)
        return self._found

    def _store_passport(self, collection: Any, passport: str | None) -> None:
        """Put a passport into the collection's metadata, which Chroma replaces as a whole; None changes nothing."""
        metadata = dict(collection.get_model().metadata or {})
        if passport is None or metadata.get(passports.KEY) == passport:
            return
        metadata[passports.KEY] = passport
        with clients.translated(self._place.text):
            if "hnsw:space" not in metadata:
                collection.modify(metadata=metadata)
                return
            # Collection.modify refuses this key even unchanged; the engine stores it and keeps its space.
            collection._client._modify(
                id=collection.id,
                new_metadata=metadata,
                tenant=collection.tenant,
                database=collection.database,
            )

    def _most_rows(self) -> int:
        with clients.translated(self._place.text):
            most = int(self._connect().get_max_batch_size())
        most = most if most > 0 else _WRITE_ROWS
        return min(most, clients.CLOUD_ROWS if clients.is_cloud(self._place) else _WRITE_ROWS)

    def _chunks(self, batch: pa.RecordBatch, described: Collection) -> Iterator[_Chunk]:
        """Check the values of a row group, then yield it in pieces that one request can carry.

        Raises:
            NotRepresentable: anything that Chroma would change or drop.
        """
        (vector,) = described.vectors
        ids: list[str] = batch.column("id").to_pylist()
        matrix, _ = dense_matrix(batch.column(described.columns()[vector.name]), vector)
        check_lengths(ids, matrix, vector)
        rows = parse_objects(batch.column("metadata"))
        self._check_metadata(ids, rows)
        metadata, uris = split(ids, batch.column("metadata"), rows)
        documents = batch.column("document").to_pylist()
        for part in cut(_request_bytes(batch, matrix), self._most_rows(), _REQUEST_BYTES):
            own = None if uris is None else uris[part]
            yield _Chunk(ids[part], matrix[part], documents[part], metadata[part], own)

    def _send(self, collection: Any, chunk: _Chunk, on_conflict: str) -> None:
        """Write records in place of those that have their ids, or leave those as they are.

        A record that somebody else adds under the same id meanwhile stays: ``add`` ignores ids that exist.
        """
        with clients.translated(self._place.text, safe="the row group is not acknowledged and will be sent again"):
            there = collection.get(ids=chunk.ids, include=[])["ids"]
            if there and on_conflict == "skip":
                chunk = chunk.without(there)
                if not chunk.ids:
                    return
            elif there:
                collection.delete(ids=there)
            collection._client._add(
                ids=chunk.ids,
                collection_id=collection.id,
                embeddings=list(chunk.vectors),
                metadatas=chunk.metadata if any(chunk.metadata) else None,
                documents=chunk.documents if any(d is not None for d in chunk.documents) else None,
                uris=chunk.uris,
                tenant=collection.tenant,
                database=collection.database,
            )
            arrived = collection.get(ids=chunk.ids, include=[])["ids"]
        if len(arrived) != len(chunk.ids):
            lost = sorted(set(chunk.ids) - set(arrived))
            raise Incomplete(
                f"{len(lost):,} records did not arrive in {self._name!r}",
                why=f"Chroma reported no error; the first is {lost[0]!r}",
                safe="the row group is not acknowledged and will be sent again",
            )


class ChromaServerTarget(ChromaTarget):
    """Writes to a server."""

    capabilities: TargetCapabilities = _capabilities("processes")

    def permissions(self, plan: TargetPlan) -> tuple[Permission, ...]:
        return (permissions.SERVER,)

    def _open(self, create: bool) -> Any:
        return clients.open_server(self._place, lambda: self.report.check(), create=create)

    def _client_hint(self) -> str:
        tls = ", ssl=True" if self._place.tls else ""
        port = self._place.port or (443 if self._place.tls else 8000)
        return f"chromadb.HttpClient({self._place.host!r}, {port}{tls})"


class ChromaCloudTarget(ChromaServerTarget):
    """Writes to Chroma Cloud, which alone holds sparse vectors as values of metadata."""

    capabilities: TargetCapabilities = _capabilities("processes", dataclasses.replace(METADATA_RULES, holds=is_sparse))


class ChromaFolderTarget(ChromaTarget):
    """Writes to a folder, with a client in this process; nobody else may have it open."""

    capabilities: TargetCapabilities = _capabilities("handle")

    def describe(self) -> Description | None:
        if self._client is not None:
            return super().describe()
        path = Path(self._place.path)
        if not folder.is_chroma(path):
            return None
        copy = folder.copied(path, None)
        try:
            # Opening the folder itself would apply migrations to it.
            self._client = clients.open_folder(copy.path, self._place)
            return super().describe()
        except NotFound:
            if clients.creates_database(self._place):
                return None
            raise
        finally:
            self.close()
            copy.release()

    def permissions(self, plan: TargetPlan) -> tuple[Permission, ...]:
        return permissions.to_write(Path(self._place.path))

    def _open(self, create: bool) -> Any:
        path = Path(self._place.path)
        folder.check_writable(path)
        return clients.open_folder(path, self._place, create=create)

    def _client_hint(self) -> str:
        return f"chromadb.PersistentClient({self._place.path!r})"


def _request_bytes(batch: pa.RecordBatch, matrix: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """About how many bytes each record takes in a request, (n,) int64."""
    total = np.full(len(matrix), matrix.shape[1] * 16 // 3 + 64, np.int64)
    for name in ("id", "metadata", "document"):
        texts: Any = batch.column(name)
        total += pc.fill_null(pc.binary_length(texts), 0).to_numpy(zero_copy_only=False)
    return total


def _import_id(collection: Any) -> str | None:
    """Which import wrote the passport of a collection; None when it has none."""
    passport, _ = passports.read((collection.get_model().metadata or {}).get(passports.KEY), "")
    return None if passport is None else str(passport.get("import_id"))


def _check_fits(collection: Any, vector: VectorField, place: Place) -> None:
    """Raise ``NotRepresentable`` when an existing collection has another dimension or metric."""
    found = facts(collection, place).collection
    dimension = collection.get_model().dimension
    metric = found.vectors[0].metric if found.vectors else None
    if metric is None:
        space = ((collection.configuration_json or {}).get("hnsw") or {}).get("space")
        metric = next((m for m, s in SPACE_OF.items() if s == space), "unknown")
    if (dimension or vector.dim, metric) != (vector.dim, vector.metric):
        raise NotRepresentable(
            f"collection {found.name!r} of {place.text} has other vectors",
            why=f"there: {dimension} dimensions, {metric}; to write: {vector.dim} dimensions, {vector.metric}",
            safe="nothing was written",
            next="write to another collection, or say --if-exists replace",
        )
