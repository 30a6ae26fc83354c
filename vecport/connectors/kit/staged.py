"""Files that are written aside, row group by row group, and put in place in one step.

A staged file is two files beside its place: the part file, to which row groups are appended, and a log with a line for
every row group that is on disk, written after it. The part file's end is the log's last offset: whatever is behind it
was cut off by a crash. So the log acknowledges (``ack='transactional'``), and a killed import goes on where it ends.
"""

from __future__ import annotations

import contextlib
import errno
import filecmp
import hashlib
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson

from ...errors import AlreadyExists, OutOfResources
from ..contract import Mark


class Staged:
    """The part file of one import and its log.

    Args:
        path: what the file is called in the end.
        import_id: names the import; the same again after a kill.

    Attributes:
        marks: row groups that are on disk.
        rows: records in them.
    """

    def __init__(self, path: Path, import_id: str) -> None:
        tag = hashlib.sha256(import_id.encode()).hexdigest()[:12]
        self._path = path
        self._part = path.with_name(f".{path.name}.{tag}.part")
        self._log = path.with_name(f".{path.name}.{tag}.marks")
        self._file: io.FileIO | None = None
        self._end = self._size = 0
        self.marks: set[Mark] = set()
        self.rows = 0

    def begun(self) -> str | None:
        """The nonce of the import that began the part file; None where there is none."""
        entries = list(_whole_lines(self._log.read_bytes())) if self._log.exists() else []
        nonce = entries[0].get("nonce") if entries else None
        return nonce if isinstance(nonce, str) and nonce else None

    def begin(self, schema: str, nonce: str = "") -> None:
        """Start from nothing.

        Args:
            schema: digest of the collection; a log of another one is not gone on with.
            nonce: of the import; a log of another one is not gone on with.
        """
        self.marks, self._end, self.rows = set(), 0, 0
        first = orjson.dumps({"schema": schema, "nonce": nonce}) + b"\n"
        with disk_errors(self._part):
            self._log.unlink(missing_ok=True)
            write_durably(self._part, b"")
            write_durably(self._log, first)
            sync_folder(self._path.parent)
        self._size = len(first)

    def resume(self, schema: str, nonce: str = "") -> bool:
        """Go on where the log ends; False when there is nothing of this schema to go on with."""
        if not self._log.exists():
            return False
        entries = list(_whole_lines(self._log.read_bytes()))
        if not entries or (entries[0].get("schema"), entries[0].get("nonce", "")) != (schema, nonce):
            return False
        groups = [e for e in entries if "shard" in e]
        end = groups[-1]["end"] if groups else 0
        placed = "placing" in entries[-1] and not self._part.exists()
        file = self._path if placed else self._part
        if not file.exists() or file.stat().st_size < end:
            return False
        self.marks = {Mark(e["shard"], e["group"]) for e in groups}
        self._end, self.rows = end, sum(e["rows"] for e in groups)
        self._size = sum(len(orjson.dumps(e)) + 1 for e in entries)
        return True

    def append(self, mark: Mark, data: bytes, rows: int) -> None:
        """Write a row group behind the last one; when this returns, it is on disk and acknowledged.

        Raises:
            OutOfResources: the disk is full.
        """
        with disk_errors(self._part):
            if self._file is None:
                self._file = io.FileIO(self._part, "r+b")
            self._file.truncate(self._end)
            self._file.seek(self._end)
            view = memoryview(data)
            while view:
                view = view[self._file.write(view) or 0 :]
            os.fsync(self._file.fileno())
            end = self._end + len(data)
            self._note({"shard": mark.shard, "group": mark.group, "end": end, "rows": rows})
        self.marks.add(mark)
        self._end, self.rows = end, self.rows + rows

    def place(self, *, replace: bool, has_content: Callable[[Path], bool]) -> None:
        """Give the part file its name, and forget the import. Safe to repeat.

        Args:
            replace: what has the name gives way.
            has_content: whether a file holds anything; one that does gives way only to ``replace``.

        Raises:
            AlreadyExists: a file with other content came into being meanwhile.
        """
        self.close()
        if self._part.exists():
            with disk_errors(self._path):
                _truncate(self._part, self._end)
                self._note({"placing": True})
                _put_in_place(self._part, self._path, replace, has_content)
        self._log.unlink(missing_ok=True)

    def close(self) -> None:
        """Release the file. Safe to call twice."""
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _note(self, entry: dict[str, Any]) -> None:
        line = orjson.dumps(entry) + b"\n"
        with open(self._log, "r+b") as file:
            # A torn last line must not run into this one.
            file.truncate(self._size)
            file.seek(self._size)
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        self._size += len(line)


def _whole_lines(data: bytes) -> Iterator[dict[str, Any]]:
    for line in data.split(b"\n")[:-1]:
        try:
            yield orjson.loads(line)
        except ValueError:
            return


def _put_in_place(part: Path, path: Path, replace: bool, has_content: Callable[[Path], bool]) -> None:
    if replace:
        os.replace(part, path)
        sync_folder(path.parent)
        return
    if path.exists() and not has_content(path):
        path.unlink()
    try:
        os.link(part, path)
    except FileExistsError:
        # An import that died right behind this point wrote the same bytes.
        if filecmp.cmp(part, path, shallow=False):
            part.unlink()
            return
        raise AlreadyExists(
            f"{path} came into being meanwhile", safe=f"the records are in {part}", next="--if-exists replace"
        ) from None
    except OSError:
        # A file system without hard links: the check is a moment older then.
        if path.exists():
            raise
        os.replace(part, path)
    else:
        part.unlink()
    sync_folder(path.parent)


def _truncate(path: Path, size: int) -> None:
    with open(path, "r+b") as file:
        file.truncate(size)
        os.fsync(file.fileno())


def write_durably(path: Path, data: bytes) -> None:
    """Write a small file, and return when it is on disk."""
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Return when the names in a folder are on disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn a full disk into ``OutOfResources``."""
    try:
        yield
    except OSError as e:
        if e.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise OutOfResources(
                f"{path} cannot be written", why=os.strerror(e.errno), safe="what was acknowledged is on disk"
            ) from e
        raise
