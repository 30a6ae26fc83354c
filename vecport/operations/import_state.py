"""What an unfinished import has acknowledged, kept on this machine, so that the same command goes on."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import platformdirs

from ..connectors.contract import Mark
from ..dump.lock import folder_lock
from ..dump.store import LocalStore
from ..errors import IntegrityError


def state_folder() -> Path:
    """``VECPORT_STATE_DIR``, or the user's state folder of this system."""
    chosen = os.environ.get("VECPORT_STATE_DIR")
    return Path(chosen) if chosen else Path(platformdirs.user_state_dir("vecport"))


class ImportState:
    """The acknowledged row groups of one import: a small file a shard and pass, each written whole.

    A pass is ``write`` or ``link``.
    """

    def __init__(self, import_id: str) -> None:
        self._folder = state_folder() / "imports" / import_id
        self._store = LocalStore(str(self._folder))

    @contextlib.contextmanager
    def lock(self, what: str) -> Iterator[None]:
        """One import of this dump into this target at a time; raises ``Locked``."""
        with folder_lock(str(self._folder) + ".lock", what):
            yield

    def begun(self) -> dict[str, Any] | None:
        """What ``begin`` recorded, None when this import has not begun."""
        if not self._store.exists("state.json"):
            return None
        data = json.loads(self._store.read("state.json", _MAX_BYTES))
        return data if isinstance(data, dict) else None

    def begin(self, facts: dict[str, Any]) -> None:
        """Forget what an older import of this name acknowledged and record that it begins."""
        self.clear()
        self._store.prepare()
        self._store.put("state.json", json.dumps(facts).encode())

    def record(self, facts: dict[str, Any]) -> None:
        """Replace what ``begin`` recorded; what is acknowledged is kept."""
        self._store.prepare()
        self._store.put("state.json", json.dumps(facts).encode())

    def acknowledge(self, mark: Mark, step: str = "write") -> None:
        """Record that all row groups of a shard up to this one are durable in the target."""
        self._store.put(f"{_FOLDERS[step]}/{_name(mark.shard)}", json.dumps({"groups": mark.group + 1}).encode())

    def acknowledged(self, shard: str, step: str = "write") -> int:
        """How many row groups of a shard are durable in the target."""
        path = f"{_FOLDERS[step]}/{_name(shard)}"
        if not self._store.exists(path):
            return 0
        try:
            return int(json.loads(self._store.read(path, 4096))["groups"])
        except (KeyError, ValueError, TypeError) as e:
            raise IntegrityError(f"{self._folder}/{path} cannot be read", next=f"remove {self._folder}") from e

    def clear(self) -> None:
        """Forget everything: the import is finished, or begins anew."""
        self._store.delete("state.json")
        for path in self._store.list() if self._folder.is_dir() else []:
            self._store.delete(path)
        for folder in _FOLDERS.values():
            with contextlib.suppress(OSError):
                (self._folder / folder).rmdir()
        with contextlib.suppress(OSError):
            self._folder.rmdir()


#: It names row groups of large dumps.
_MAX_BYTES = 64 << 20
#: Where each pass keeps what it has acknowledged.
_FOLDERS = {"write": "acks", "link": "links"}


def _name(shard: str) -> str:
    return shard.replace("/", "_").replace(".parquet", ".json")
