"""Each database by its own client, for what people do to a target between two runs: backups, renames, new owners."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

from tests.operations import rooms
from vecport.connectors import memory

DIM = 4
NAME = "docs"
#: What an application keeps beside its records; vecport must leave it alone.
Rows = dict[str, Any]


class Client:
    """One place with one collection, ``docs``.

    Attributes:
        address: for vecport.
        if_exists, on_conflict: what vecport offers there.
    """

    address = ""
    if_exists: tuple[str, ...] = ("create", "append", "replace")
    on_conflict: tuple[str, ...] = ("replace",)

    def make(self, rows: Rows) -> None:
        """An application makes the collection, with records of its own: the number that each has by its id."""
        raise NotImplementedError

    def rows(self, name: str = NAME) -> Rows | None:
        """What is there, None for no collection."""
        raise NotImplementedError

    def drop(self) -> None:
        """Remove the collection, if it is there."""
        raise NotImplementedError

    def empty(self) -> None:
        """Delete all records; the collection stays as it is."""
        raise NotImplementedError

    def rename(self) -> None:
        """Give the collection the name ``away``."""
        raise NotImplementedError

    def backup(self) -> Any:
        """All that is there, to be put back; None where nothing is."""
        raise NotImplementedError

    def restore(self, backup: Any) -> None:
        """Make the place what it was."""
        raise NotImplementedError

    def clear(self) -> None:
        """Nothing is there any more."""
        self.drop()


class Memory(Client):
    """The place in this process."""

    on_conflict = ("replace", "skip", "fail")

    def __init__(self, address: str) -> None:
        self.address = address
        self._name = address.partition(":")[2]

    def make(self, rows: Rows) -> None:
        self.drop()
        rooms.fill(self.address, [rooms.record(k, n) for k, n in rows.items()])

    @property
    def _stores(self) -> dict[str, Any]:
        return memory._rooms.setdefault(self._name, memory._Room()).stores

    def rows(self, name: str = NAME) -> Rows | None:
        store = self._stores.get(name)
        if store is None:
            return None
        return {id_: json.loads(row.column("metadata")[0].as_py())["n"] for (_, id_), row in store.rows.items()}

    def drop(self) -> None:
        self._stores.pop(NAME, None)

    def empty(self) -> None:
        if NAME in self._stores:
            self._stores[NAME].rows.clear()

    def rename(self) -> None:
        if NAME in self._stores:
            self._stores["away"] = self._stores.pop(NAME)

    def backup(self) -> Any:
        store = self._stores.get(NAME)
        return None if store is None else (store.collection, dict(store.rows), deepcopy(store.passport))

    def restore(self, backup: Any) -> None:
        self.drop()
        if backup is not None:
            collection, rows, passport = backup
            self._stores[NAME] = memory._Store(collection, dict(rows), passport)

    def clear(self) -> None:
        self._stores.clear()


class Jsonl(Client):
    """A file, and what is staged beside it."""

    if_exists = ("create", "replace")

    def __init__(self, folder: Path) -> None:
        self._folder, self._file = folder, folder / "docs.jsonl"
        self.address = f"jsonl:{self._file}"

    def make(self, rows: Rows) -> None:
        lines = (json.dumps({"id": k, "vector": [n, 1, 2, 3], "metadata": {"n": n}}) for k, n in rows.items())
        self._file.write_text("".join(f"{line}\n" for line in lines))

    def rows(self, name: str = NAME) -> Rows | None:
        file = self._folder / f"{name}.jsonl"
        if not file.exists():
            return None
        found = map(json.loads, file.read_text().splitlines())
        return {row["id"]: row.get("metadata", row)["n"] for row in found}

    def drop(self) -> None:
        self._file.unlink(missing_ok=True)

    def empty(self) -> None:
        """Of a file that is being written, what is staged is emptied."""
        for file in self._folder.iterdir():
            if file.suffix in (".part", ".jsonl"):
                file.write_bytes(b"")

    def rename(self) -> None:
        for file in list(self._folder.iterdir()):
            file.rename(file.with_name(file.name.replace(NAME, "away")))

    def backup(self) -> Any:
        return {file.name: file.read_bytes() for file in self._folder.iterdir()}

    def restore(self, backup: Any) -> None:
        self.clear()
        for name, data in (backup or {}).items():
            (self._folder / name).write_bytes(data)

    def clear(self) -> None:
        shutil.rmtree(self._folder)
        self._folder.mkdir()


class Chroma(Client):
    """A server, by chromadb."""

    def __init__(self, engine: Any) -> None:
        import chromadb
        from chromadb.config import Settings

        self.address = engine.address
        self._own: Any = chromadb.HttpClient("127.0.0.1", engine.port, settings=Settings(anonymized_telemetry=False))

    @contextmanager
    def _client(self) -> Iterator[Any]:
        yield self._own

    def _found(self, client: Any, name: str = NAME) -> Any:
        if name not in {c.name for c in client.list_collections()}:
            return None
        return client.get_collection(name, embedding_function=None)

    def _put(self, client: Any, metadata: Any, rows: Mapping[str, Any]) -> None:
        configuration = {"hnsw": {"space": "l2"}}
        made = client.create_collection(NAME, metadata=metadata, configuration=configuration, embedding_function=None)
        if rows:
            made.add(ids=list(rows), embeddings=[[n, 1, 2, 3] for n in rows.values()],
                     metadatas=[{"n": n} for n in rows.values()])  # fmt: skip

    def make(self, rows: Rows) -> None:
        self.drop()
        with self._client() as client:
            self._put(client, None, rows)

    def rows(self, name: str = NAME) -> Rows | None:
        with self._client() as client:
            found = self._found(client, name)
            return None if found is None else self._held(found)

    def _held(self, found: Any) -> Rows:
        got = found.get(include=["metadatas"])
        return {i: m["n"] for i, m in zip(got["ids"], got["metadatas"], strict=True)}

    def drop(self) -> None:
        with self._client() as client:
            if self._found(client) is not None:
                client.delete_collection(NAME)

    def empty(self) -> None:
        with self._client() as client:
            found = self._found(client)
            ids = [] if found is None else found.get(include=[])["ids"]
            if ids:
                found.delete(ids=ids)

    def rename(self) -> None:
        with self._client() as client:
            found = self._found(client)
            if found is not None:
                found.modify(name="away")

    def backup(self) -> Any:
        with self._client() as client:
            found = self._found(client)
            return None if found is None else (found.metadata, self._held(found))

    def restore(self, backup: Any) -> None:
        self.drop()
        if backup is not None:
            with self._client() as client:
                self._put(client, *backup)

    def clear(self) -> None:
        with self._client() as client:
            for found in client.list_collections():
                client.delete_collection(found.name)


class Qdrant(Client):
    """An engine, by qdrant-client. Collections have no other names there: one that is renamed is gone."""

    on_conflict = ("replace", "skip", "fail")

    def __init__(self, engine: Any) -> None:
        from qdrant_client import QdrantClient

        self.address = engine.address
        self._client = QdrantClient(
            "127.0.0.1", port=engine.port, grpc_port=engine.grpc_port, prefer_grpc=True, check_compatibility=False
        )

    def _put(self, metadata: Any, rows: Mapping[str, Any]) -> None:
        from qdrant_client import models

        params = models.VectorParams(size=DIM, distance=models.Distance.EUCLID)
        self._client.create_collection(NAME, vectors_config=params, metadata=metadata)
        points = [models.PointStruct(id=int(k), vector=[n, 1, 2, 3], payload={"n": n}) for k, n in rows.items()]
        if points:
            self._client.upsert(NAME, points, wait=True)

    def make(self, rows: Rows) -> None:
        self.drop()
        self._put(None, rows)

    def rows(self, name: str = NAME) -> Rows | None:
        if not self._client.collection_exists(name):
            return None
        points, _ = self._client.scroll(name, limit=1000, with_payload=True)
        return {str(p.id): (p.payload or {})["n"] for p in points}

    def drop(self) -> None:
        if self._client.collection_exists(NAME):
            self._client.delete_collection(NAME)

    def empty(self) -> None:
        from qdrant_client import models

        if self._client.collection_exists(NAME):
            self._client.delete(NAME, models.FilterSelector(filter=models.Filter()), wait=True)

    def rename(self) -> None:
        self.drop()

    def backup(self) -> Any:
        rows = self.rows()
        return None if rows is None else (self._client.get_collection(NAME).config.metadata, rows)

    def restore(self, backup: Any) -> None:
        self.drop()
        if backup is not None:
            self._put(*backup)


class Postgres(Client):
    """A real server, by psycopg. A backup is put back into the table that is there, or with a new one."""

    on_conflict = ("replace", "skip", "fail")

    def __init__(self, address: str) -> None:
        import psycopg

        self.address = address
        self._db: Any = psycopg.connect(address, autocommit=True)
        self._db.execute("CREATE EXTENSION IF NOT EXISTS vector")

    def _there(self, name: str = NAME) -> bool:
        return self._db.execute("SELECT to_regclass(%s)", [name]).fetchone()[0] is not None

    def make(self, rows: Rows) -> None:
        self.drop()
        self._db.execute("CREATE TABLE docs (id text PRIMARY KEY, embedding vector(4), metadata jsonb)")
        self._insert(rows)

    def _insert(self, rows: Mapping[str, Any]) -> None:
        for k, n in rows.items():
            self._db.execute(
                "INSERT INTO docs (id, embedding, metadata) VALUES (%s, %s, %s)",
                [k, f"[{n},1,2,3]", json.dumps({"n": n})],
            )

    def rows(self, name: str = NAME) -> Rows | None:
        if not self._there(name):
            return None
        return dict(self._db.execute(f"SELECT id, (metadata ->> 'n')::float FROM {name}").fetchall())

    def drop(self) -> None:
        self._db.execute("DROP TABLE IF EXISTS docs")

    def empty(self) -> None:
        if self._there():
            self._db.execute("TRUNCATE docs")

    def rename(self) -> None:
        if self._there():
            self._db.execute("ALTER TABLE docs RENAME TO away")

    def backup(self) -> Any:
        """Of the table with its comment and of the acknowledgements, at one moment."""
        if not self._there():
            return None
        oid, comment = self._db.execute("SELECT 'docs'::regclass::oid, obj_description('docs'::regclass)").fetchone()
        acks = []
        if self._there("_vecport_ack"):
            acks = self._db.execute("SELECT * FROM _vecport_ack").fetchall()
        return oid, comment, self.rows(), acks

    def restore(self, backup: Any) -> None:
        import psycopg.sql as s

        if backup is None:
            self.drop()
            return
        oid, comment, rows, acks = backup
        now = self._db.execute("SELECT to_regclass('docs')::oid").fetchone()[0]
        if now == oid:
            self._db.execute("TRUNCATE docs")
        else:
            self.make({})
        self._insert(rows)
        self._db.execute(s.SQL("COMMENT ON TABLE docs IS {}").format(s.Literal(comment)))
        if self._there("_vecport_ack") and now == oid:
            self._db.execute("DELETE FROM _vecport_ack")
            for ack in acks:
                self._db.execute("INSERT INTO _vecport_ack VALUES (%s, %s, %s, %s)", ack)

    def clear(self) -> None:
        for name in (NAME, "away", "_vecport_ack"):
            self._db.execute(f"DROP TABLE IF EXISTS {name}")
