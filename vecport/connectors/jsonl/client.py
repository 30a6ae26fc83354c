"""Files of JSON Lines: which one is read, whether it has changed, and its lines with their places."""

from __future__ import annotations

import atexit
import contextlib
import difflib
import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal

import pyarrow as pa

from ...errors import IntegrityError, NotFound, UsageError, VecportError
from .. import access
from ..address import Place
from .lines import BLANK, BadLine

SUFFIXES: Final = (".jsonl", ".ndjson")
Codec = Literal["gzip", "zstd"]
CODECS: Final[dict[str, Codec]] = {".gz": "gzip", ".zst": "zstd"}
MAX_LINE_BYTES: Final = 256 << 20
_CHUNK: Final = 4 << 20
_BOM: Final = b"\xef\xbb\xbf"

# What stdin held, by the process that read it: it can be read only once, by whichever session comes first.
_stdin_copy: dict[int, str] = {}


def codec_of(path: str) -> Codec | None:
    """The compression that a file's name says."""
    return CODECS.get(Path(path).suffix.lower())


def collection_name(path: str) -> str:
    """The name of the collection in a file: its own without the endings; ``stdin`` for ``-``."""
    if path == "-":
        return "stdin"
    name = Path(path).name
    if codec_of(name):
        name = name[: name.rindex(".")]
    return Path(name).stem if Path(name).suffix.lower() in (*SUFFIXES, ".json") else name


def is_jsonl(path: str) -> bool:
    """Whether a path is a file whose name ends as JSON Lines do."""
    name = path.lower()
    for ending in CODECS:
        name = name.removesuffix(ending)
    return name.endswith(SUFFIXES) and os.path.isfile(path)


@dataclass(frozen=True, slots=True)
class Start:
    """Where a line begins: its byte offset, and how many records and lines precede it."""

    offset: int = 0
    row: int = 0
    line: int = 0

    def to_json(self) -> dict[str, int]:
        """Plain data."""
        return {"offset": self.offset, "row": self.row, "line": self.line}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Start:
        """Inverse of ``to_json``; other entries are ignored."""
        return cls(data["offset"], data["row"], data["line"])


class Input:
    """The file that a session reads: a regular file as it is, anything else through a temporary copy."""

    def __init__(self, place: Place) -> None:
        self._place = place.path
        self._path: str | None = None
        self._stamp: list[int] | None = None
        self._own: str | None = None

    @property
    def shown(self) -> str:
        """The file's name in messages."""
        return "stdin" if self._place == "-" else self._place

    @property
    def path(self) -> str:
        """The regular file with the lines, made when it is first asked for.

        Raises:
            NotFound: there is no such file.
            IntegrityError: a compressed file is damaged.
        """
        if self._path is None:
            self._path = self._resolve()
            self._stamp = self.stamp_of(self._path)
        return self._path

    @property
    def stamp(self) -> list[int]:
        """Size, modification time and inode when the file was first looked at."""
        assert self.path
        assert self._stamp is not None
        return self._stamp

    @property
    def size(self) -> int:
        """Bytes in the file."""
        return self.stamp[0]

    def join(self, path: str, stamp: list[int]) -> None:
        """Read the file that another session has resolved, as it was then."""
        self._path, self._stamp = path, list(stamp)

    def changed(self) -> bool:
        """Whether the file is another than the one first looked at."""
        return self.stamp_of(self.path) != self._stamp

    def open(self) -> BinaryIO:
        """Open it for reading."""
        return open(self.path, "rb", buffering=1 << 20)

    def close(self) -> None:
        """Remove this session's temporary copy."""
        if self._own is not None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._own)
            self._own = self._path = None

    def error(self, line: int, cause: BadLine) -> VecportError:
        """The error for what is wrong with a line, counted from 0."""
        return cause.kind(f"{self.shown}, line {line + 1}: {cause.what}", cause.why, "nothing was written", cause.next)

    @staticmethod
    def stamp_of(path: str) -> list[int] | None:
        """Size, modification time and inode; None when there is no file."""
        try:
            s = os.stat(path)
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return None
        return [s.st_size, s.st_mtime_ns, s.st_ino]

    def _resolve(self) -> str:
        if self._place == "-":
            if os.getpid() not in _stdin_copy:
                _stdin_copy[os.getpid()] = path = _spool(sys.stdin.buffer, self.shown)
                atexit.register(lambda: Path(path).unlink(missing_ok=True))
            return _stdin_copy[os.getpid()]
        try:
            mode = os.stat(self._place).st_mode
        except (FileNotFoundError, NotADirectoryError, ValueError):
            raise not_found(self._place) from None
        if stat.S_ISDIR(mode):
            raise UsageError(f"{self._place} is a folder", next="name a file in it: jsonl:FOLDER/FILE.jsonl")
        access.require(access.to_read([Path(self._place)]))
        codec = codec_of(self._place)
        if codec is None and stat.S_ISREG(mode):
            return os.path.abspath(self._place)
        with open(self._place, "rb") as raw:
            unpacked: Any = raw if codec is None else pa.CompressedInputStream(pa.PythonFile(raw), codec)
            self._own = _spool(unpacked, self.shown)
        return self._own


def not_found(path: str) -> NotFound:
    """The error for a file that does not exist; it names those beside it."""
    folder = Path(path).parent
    if not folder.is_dir():
        return NotFound(f"{path} does not exist", f"there is no folder {folder}", "nothing was created",
                        "check the path of the folder")  # fmt: skip
    beside = sorted(p.name for p in folder.iterdir() if is_jsonl(str(p)))
    if not beside:
        return NotFound(f"{path} does not exist", f"in {folder} there are no JSON Lines files", "nothing was created",
                        "name another file: jsonl:FOLDER/FILE.jsonl")  # fmt: skip
    near = difflib.get_close_matches(Path(path).name, beside, 1, 0) or beside
    return NotFound(f"{path} does not exist", f"in {folder} there are: {', '.join(beside[:20])}", "nothing was created",
                    f"name one of them, as jsonl:{folder / near[0]}")  # fmt: skip


def _spool(stream: Any, shown: str) -> str:
    """Copy a stream to a temporary file and return its path."""
    handle, path = tempfile.mkstemp(prefix="vecport-", suffix=".jsonl")
    try:
        with os.fdopen(handle, "wb") as out:
            while chunk := stream.read(_CHUNK):
                out.write(chunk)
    except BaseException as e:
        os.unlink(path)
        if isinstance(e, OSError) and e.errno is None:
            raise IntegrityError(f"{shown} cannot be unpacked", str(e), "nothing was written") from None
        raise
    return path


def read_lines(file: BinaryIO, begin: Start, end: int, source: Input) -> Iterator[tuple[Start, Start, bytes]]:
    """Yield the lines of a byte range that hold a record: where each begins, where the next one does, its text.

    Args:
        file: opened for reading.
        begin: the first line.
        end: the byte offset behind the last one.
        source: names the file in errors.

    Raises:
        IntegrityError: a line is too long.
    """
    offset, row, number = begin.offset, begin.row, begin.line
    file.seek(offset)
    while offset < end:
        line = file.readline(MAX_LINE_BYTES + 1)
        if not line:
            return
        if len(line) > MAX_LINE_BYTES:
            raise source.error(number, BadLine(f"it is longer than {MAX_LINE_BYTES:,} bytes"))
        here = Start(offset, row, number)
        text = line.removeprefix(_BOM) if offset == 0 else line
        offset, number = offset + len(line), number + 1
        text = text.strip(BLANK)
        if text:
            row += 1
            yield here, Start(offset, row, number), text
