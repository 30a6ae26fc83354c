"""The raw client paths: the official clients fetch or send the same rows, and do nothing else with them."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable
from typing import Any

import numpy as np

Rows = Iterable[dict[str, Any]]


def payloads(b: dict[str, Any]) -> list[dict[str, Any]]:
    """The eight fields of a block as dicts, as an application would hold them."""
    columns = {k: v.to_pylist() for k, v in b["fields"].items()}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


class Postgres:
    """psycopg: COPY BINARY with ``write_row`` in, a binary server cursor with ``register_vector`` out."""

    def __init__(self, address: str, dim: int) -> None:
        import psycopg
        from pgvector.psycopg import register_vector

        self._connection = psycopg.connect(address, autocommit=False)
        self._connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        self._connection.commit()
        register_vector(self._connection)
        self._dim = dim

    def send(self, prepared: list[tuple[list[str], np.ndarray, list[dict[str, Any]]]]) -> int:
        """Fill a new table ``raw`` with a primary key and a jsonb column; returns rows."""
        self._connection.execute("DROP TABLE IF EXISTS raw")
        self._connection.execute(
            f"CREATE TABLE raw (id text PRIMARY KEY, embedding vector({self._dim}), metadata jsonb NOT NULL)"
        )
        rows = 0
        with self._connection.cursor() as cursor, cursor.copy("COPY raw FROM STDIN (FORMAT BINARY)") as copy:
            copy.set_types(["text", "vector", "jsonb"])
            for ids, vectors, payload in prepared:
                for i, record_id in enumerate(ids):
                    copy.write_row((record_id, vectors[i], json.dumps(payload[i])))
                rows += len(ids)
        self._connection.commit()
        return rows

    def fetch(self, table: str) -> int:
        """Read every row of a table; returns rows."""
        rows = 0
        with self._connection.cursor(name="raw", binary=True) as cursor:
            cursor.itersize = 5000
            cursor.execute(f'SELECT id, embedding, metadata FROM "{table}"')
            for _ in cursor:
                rows += 1
        self._connection.commit()
        return rows


class Qdrant:
    """qdrant-client over gRPC: ``upload_collection`` in, ``scroll`` out."""

    def __init__(self, address: str, dim: int) -> None:
        from qdrant_client import QdrantClient

        host, port = address.removeprefix("qdrant://").split(":")
        self._client = QdrantClient(host=host, port=int(port), grpc_port=int(port) + 1, prefer_grpc=True)
        self._dim = dim

    def send(self, prepared: list[tuple[list[str], np.ndarray, list[dict[str, Any]]]]) -> int:
        """Fill a new collection ``raw``; returns rows."""
        from qdrant_client import models

        if self._client.collection_exists("raw"):
            self._client.delete_collection("raw")
        self._client.create_collection(
            "raw", vectors_config=models.VectorParams(size=self._dim, distance=models.Distance.COSINE)
        )
        rows = 0
        for ids, vectors, payload in prepared:
            keys = [str(uuid.uuid5(uuid.NAMESPACE_URL, i)) for i in ids]
            self._client.upload_collection(
                "raw", vectors=vectors, payload=payload, ids=keys, batch_size=1000, wait=True
            )
            rows += len(ids)
        return rows

    def fetch(self, collection: str) -> int:
        """Scroll through a collection; returns rows."""
        rows, offset = 0, None
        while True:
            found, offset = self._client.scroll(
                collection, limit=1000, offset=offset, with_payload=True, with_vectors=True
            )
            rows += len(found)
            if offset is None:
                return rows


class Chroma:
    """chromadb's PersistentClient, or HttpClient for a server: ``add`` in, ``get`` by ids out."""

    def __init__(self, address: str, dim: int) -> None:
        import chromadb
        from chromadb.config import Settings

        settings = Settings(anonymized_telemetry=False)
        place = address.removeprefix("chroma:")
        if place.startswith("//"):
            host, port = place.removeprefix("//").split(":")
            self._client = chromadb.HttpClient(host, int(port), settings=settings)
        else:
            self._client = chromadb.PersistentClient(place, settings=settings)

    def send(self, prepared: list[tuple[list[str], np.ndarray, list[dict[str, Any]]]]) -> int:
        """Fill a new collection ``raw``; returns rows."""
        if "raw" in [c.name for c in self._client.list_collections()]:
            self._client.delete_collection("raw")
        made = self._client.create_collection(
            "raw", configuration={"hnsw": {"space": "cosine"}}, embedding_function=None
        )
        most, rows = self._client.get_max_batch_size(), 0
        for ids, vectors, payload in prepared:
            for i in range(0, len(ids), most):
                part = slice(i, i + most)
                made.add(ids=ids[part], embeddings=vectors[part], metadatas=payload[part])  # type: ignore[arg-type]
            rows += len(ids)
        return rows

    def fetch(self, collection: str) -> int:
        """Get every record; returns rows."""
        found = self._client.get_collection(collection, embedding_function=None)
        ids, rows = found.get(include=[])["ids"], 0
        for i in range(0, len(ids), 1000):
            page = found.get(ids=ids[i : i + 1000], include=["embeddings", "metadatas", "documents"])
            rows += len(page["ids"])
        return rows
