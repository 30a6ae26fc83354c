"""Sources that read a temporary copy of a file or folder, which is one moment of it: for embedded databases."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Any

from ...errors import VecportError
from ..contract import Json, Source
from . import folders
from .handles import Handle


class CopiedSource(Source):
    """Owns snapshot, alive, attach and close; the connector copies, and opens what ``_here`` names.

    The copy of a folder is a folder, that of a file is a file of the same name in one.

    A connector that has other bases names this one first.
    """

    #: The database's name.
    title: str
    #: What the session has open of ``_here``; it is closed when that is another place.
    _handle: Handle[Any]
    _copy: folders.FolderCopy | None = None

    # -- what a connector writes -----------------------------------------------------------------

    @abstractmethod
    def _original(self) -> Path:
        """The file or folder; it exists."""

    @abstractmethod
    def _copy_to(self, copy: Path) -> None:
        """Make a copy of one moment: in a new folder, or as a new file."""

    def _size(self) -> int:
        """Bytes that a copy takes."""
        original = self._original()
        files = [original] if original.is_file() else [f for f in original.rglob("*") if f.is_file()]
        return sum(file.stat().st_size for file in files)

    def _is_whole(self, file: Path) -> bool:
        """Whether a file of a copy that an earlier session made is as good as it was."""
        return file.is_file()

    # -- the contract ----------------------------------------------------------------------------

    def _here(self) -> Path:
        """What is read: the copy, or the original before there is one."""
        return self._original() if self._copy is None else self._inside(self._copy.path)

    def snapshot(self) -> Json:
        if self._copy is None:
            copy = folders.take_copy(self._original(), self.title, self._size, self._copied)
            self._handle.close()
            self._copy = copy
        return {"copy": str(self._copy.path), "id": self._copy.id}

    def alive(self, token: Json) -> bool:
        """Whether the copy is there and whole; the copy of a process that died is then removed by this session."""
        try:
            self._join(token, heir=True)
        except (VecportError, KeyError, TypeError):
            return False
        return True

    def attach(self, token: Json) -> None:
        self._join(token, heir=False)

    def close(self) -> None:
        self._handle.close()
        copy, self._copy = self._copy, None
        if copy is not None:
            copy.release()

    def _copied(self, folder: Path) -> float:
        self._copy_to(self._inside(folder))
        return 0.0

    def _inside(self, folder: Path) -> Path:
        original = self._original()
        return folder if original.is_dir() else folder / original.name

    def _join(self, token: Json, *, heir: bool) -> None:
        if self._copy is None or self._copy.id != token["id"]:
            path = Path(token["copy"])
            copy = folders.adopt_copy(
                path, token["id"], self.title, heir=heir, whole=lambda name: self._is_whole(path / name)
            )
            self.close()
            self._copy = copy
