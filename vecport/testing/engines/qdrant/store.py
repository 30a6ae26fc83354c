"""Collections on disk: one folder each, with the engine's shard and the configuration in JSON."""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import qdrant_edge as edge
from google.protobuf import json_format
from qdrant_client import grpc as pb

from .errors import StatusError, bad_input, from_engine, not_found
from .settings import edge_config

CONFIG_FILE = "collection.json"
ALIASES_FILE = "aliases.json"
SHARD_FOLDER = "shard"


class Collection:
    """A collection: its configuration, and the engine that holds its points.

    Args:
        folder: where it lives.
        info: what `Get` answers with, but for the live counts.
        name: the collection's name.
        shard: the open engine.
    """

    def __init__(self, folder: Path, name: str, info: pb.CollectionInfo, shard: edge.EdgeShard) -> None:
        self.folder = folder
        self.name = name
        self.info = info
        self.shard = shard
        self._lock = threading.Lock()
        self._operations = 0
        self._unflushed = False
        self._deleted = False

    @classmethod
    def create(cls, folder: Path, name: str, config: pb.CollectionConfig) -> Collection:
        """Make the files of a new collection; the configuration comes last and makes it count."""
        settings = edge_config(config)
        folder.mkdir()
        shard = edge.EdgeShard.create(str(folder / SHARD_FOLDER), settings)
        info = pb.CollectionInfo(config=config)
        info.created_at.GetCurrentTime()
        collection = cls(folder, name, info, shard)
        collection._save()
        return collection

    @classmethod
    def load(cls, folder: Path) -> Collection:
        """Open the collection in `folder`, with every update that was acknowledged."""
        stored = json.loads((folder / CONFIG_FILE).read_text())
        info = json_format.ParseDict(stored["info"], pb.CollectionInfo())
        return cls(folder, stored["name"], info, edge.EdgeShard.load(str(folder / SHARD_FOLDER)))

    def change(self, change: Callable[[pb.CollectionInfo], None]) -> None:
        """Apply `change` to what `Get` answers with, wholly or, when it fails, not at all.

        Raises:
            StatusError: the collection was deleted meanwhile, or `change` refuses.
        """
        with self._lock:
            if self._deleted:
                raise not_found(f"Collection `{self.name}` doesn't exist!")
            info = pb.CollectionInfo()
            info.CopyFrom(self.info)
            change(info)
            self.info = info
            self._save()

    def _save(self) -> None:
        """Write the configuration."""
        info = json_format.MessageToDict(self.info, preserving_proto_field_name=True)
        write_json(self.folder / CONFIG_FILE, {"name": self.name, "info": info})

    def describe(self) -> pb.CollectionInfo:
        """Return the configuration with the counts of now."""
        live = self.shard.info()
        info = pb.CollectionInfo()
        info.CopyFrom(self.info)
        info.status = pb.Green
        info.optimizer_status.ok = True
        info.segments_count = live.segments_count
        info.points_count = live.points_count
        info.indexed_vectors_count = live.indexed_vectors_count
        info.update_queue.length = 0
        for key, index in live.payload_schema.items():
            if key in info.payload_schema:
                info.payload_schema[key].points = index.points
        return info

    def update(self, operation: edge.UpdateOperation, *, wait: bool) -> pb.UpdateResult:
        """Apply a change.

        Like the server, a request that does not wait is acknowledged even when the engine then
        refuses the change: the refusal is in the log only.

        Raises:
            Exception: the engine refuses the change, and the request waits.
        """
        self._operations += 1
        self._unflushed = True
        status = pb.Completed if wait else pb.Acknowledged
        try:
            self.shard.update(operation)
        except Exception as error:
            if wait or from_engine(error) is None:
                raise
            print(f"update of {self.name} failed unseen: {error}", file=sys.stderr, flush=True)
        return pb.UpdateResult(operation_id=self._operations, status=status)

    def flush(self) -> None:
        """Write pending changes into the segments, so that a restart has less to replay."""
        if self._unflushed:
            self._unflushed = False
            self.shard.flush()

    def close(self) -> None:
        """Write everything and release the engine."""
        self.shard.close()

    def delete(self) -> None:
        """Remove the collection's files; without its configuration a folder no longer counts."""
        with self._lock:
            self._deleted = True
            (self.folder / CONFIG_FILE).unlink()
            self.shard.close()
            shutil.rmtree(self.folder)


class Store:
    """All collections and aliases below one folder.

    Args:
        folder: where they live; opened as it is left by any earlier server.
    """

    def __init__(self, folder: Path) -> None:
        self._collections_folder = folder / "collections"
        self._aliases_file = folder / ALIASES_FILE
        self._lock = threading.RLock()
        self._collections: dict[str, Collection] = {}
        self._aliases: dict[str, str] = {}
        self._collections_folder.mkdir(parents=True, exist_ok=True)
        if self._aliases_file.exists():
            self._aliases = json.loads(self._aliases_file.read_text())
        for path in sorted(self._collections_folder.iterdir()):
            if (path / CONFIG_FILE).exists():
                collection = Collection.load(path)
                self._collections[collection.name] = collection
            else:
                # A creation or a deletion that did not come to its end.
                shutil.rmtree(path)

    def names(self) -> list[str]:
        """Return the names of all collections, sorted."""
        with self._lock:
            return sorted(self._collections)

    def exists(self, name: str) -> bool:
        """Return whether `name` is a collection or an alias."""
        with self._lock:
            return self._aliases.get(name, name) in self._collections

    def get(self, name: str) -> Collection:
        """Return a collection by its name or alias.

        Raises:
            StatusError: there is none.
        """
        with self._lock:
            try:
                return self._collections[self._aliases.get(name, name)]
            except KeyError:
                raise not_found(f"Collection `{name}` doesn't exist!") from None

    def create(self, name: str, config: pb.CollectionConfig) -> None:
        """Create a collection.

        Raises:
            StatusError: the name is taken, or the engine lacks a setting.
        """
        with self._lock:
            self._refuse_taken(name)
            if name in self._aliases:
                raise bad_input(f"Can't create collection with name {name}. Alias with the same name already exists")
            folder = self._collections_folder / uuid4().hex
            self._collections[name] = Collection.create(folder, name, config)

    def delete(self, name: str) -> bool:
        """Delete a collection and its aliases; return whether it existed."""
        with self._lock:
            collection = self._collections.pop(name, None)
            if collection is None:
                return False
            self._set_aliases({alias: target for alias, target in self._aliases.items() if target != name})
            collection.delete()
            return True

    def aliases(self) -> dict[str, str]:
        """Return the collection of each alias."""
        with self._lock:
            return dict(self._aliases)

    def change_aliases(self, actions: Iterable[pb.AliasOperations]) -> None:
        """Apply changes of aliases, all or none.

        Raises:
            StatusError: a collection or an alias does not exist, or a name is taken.
        """
        with self._lock:
            aliases = dict(self._aliases)
            for action in actions:
                self._change_alias(aliases, action)
            self._set_aliases(aliases)

    def flush(self) -> None:
        """Flush all collections."""
        for name in self.names():
            with self._lock:
                if name in self._collections:
                    self._collections[name].flush()

    def close(self) -> None:
        """Write everything and release the engines."""
        with self._lock:
            while self._collections:
                self._collections.popitem()[1].close()

    def _change_alias(self, aliases: dict[str, str], action: pb.AliasOperations) -> None:
        kind = action.WhichOneof("action")
        if kind == "create_alias":
            create = action.create_alias
            if create.collection_name not in self._collections:
                raise not_found(f"Collection `{create.collection_name}` doesn't exist!")
            self._refuse_taken(create.alias_name)
            aliases[create.alias_name] = create.collection_name
        elif kind == "rename_alias":
            rename = action.rename_alias
            if rename.old_alias_name not in aliases:
                raise not_found(f"Alias {rename.old_alias_name} does not exists!")
            aliases[rename.new_alias_name] = aliases.pop(rename.old_alias_name)
        elif kind == "delete_alias":
            aliases.pop(action.delete_alias.alias_name, None)

    def _refuse_taken(self, name: str) -> None:
        if name in self._collections:
            message = f"Wrong input: Collection `{name}` already exists!"
            raise StatusError(grpc.StatusCode.ALREADY_EXISTS, message)

    def _set_aliases(self, aliases: dict[str, str]) -> None:
        if aliases != self._aliases:
            self._aliases = aliases
            write_json(self._aliases_file, aliases)


class Flusher(threading.Thread):
    """Flushes a store now and then, as the server does.

    Args:
        store: what to flush.
        interval: seconds between flushes.
    """

    def __init__(self, store: Store, interval: float = 5.0) -> None:
        super().__init__(name="flusher", daemon=True)
        self._store = store
        self._interval = interval

    def run(self) -> None:
        while True:
            time.sleep(self._interval)
            self._store.flush()


def write_json(path: Path, content: Any) -> None:
    """Replace a file by JSON text, so that a crash leaves the old text or the new."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("w") as file:
        json.dump(content, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
