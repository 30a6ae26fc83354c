"""Hands on Chroma, with chromadb."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...connectors.address import Place
from ...model.collection import Collection
from ..records import Record
from . import Hands


class ChromaHands(Hands):
    """A server, or a folder, which is let go after each call."""

    def __init__(self, place: Place, collection: Collection) -> None:
        super().__init__(place, collection)
        self._name = collection.vectors[0].name

    def read(self, id: str) -> Record:
        with Client(self.place) as client:
            found: Any = client.get_collection(self.collection.name, embedding_function=None)
            rows = found.get(ids=[id], include=["embeddings", "metadatas", "documents"])
        vector = np.asarray(rows["embeddings"][0], np.float32)
        return Record(id, {self._name: vector}, rows["metadatas"][0] or {}, rows["documents"][0])

    def write(self, record: Record) -> None:
        with Client(self.place) as client:
            found: Any = client.get_collection(self.collection.name, embedding_function=None)
            # Chroma merges the metadata of a record that is there.
            found.delete(ids=[record.id])
            found.add(
                ids=[record.id],
                embeddings=[np.asarray(record.vectors[self._name])],
                metadatas=[dict(record.metadata) or None],
                documents=None if record.document is None else [record.document],
            )

    def delete(self, id: str) -> None:
        with Client(self.place) as client:
            client.get_collection(self.collection.name, embedding_function=None).delete(ids=[id])


class Client:
    """The official client on a place, closed behind the block."""

    def __init__(self, place: Place) -> None:
        self._place = place

    def __enter__(self) -> Any:
        import chromadb
        from chromadb.config import Settings

        settings = Settings(anonymized_telemetry=False)
        if self._place.host:
            self._client: Any = chromadb.HttpClient(self._place.host, self._place.port or 8000, settings=settings)
        else:
            self._client = chromadb.PersistentClient(self._place.path, settings=settings)
        return self._client

    def __exit__(self, *exc: object) -> None:
        self._client.close()
