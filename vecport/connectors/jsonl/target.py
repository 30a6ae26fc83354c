"""Writing a JSON Lines file: appended and flushed row group by row group, put in place in one step."""

from __future__ import annotations

import contextlib
import errno
import filecmp
import gzip
import hashlib
import io
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa

from ...errors import AlreadyExists, NotFound, NotRepresentable, OutOfResources, UsageError
from ...model.capabilities import TargetCapabilities
from ...model.collection import ID_KINDS, METRICS
from .. import access
from ..address import Place
from ..checks import check_batch, check_plan
from ..contract import Description, Json, Mark, Permission, Target, TargetPlan
from ..kit.lifecycle import settle
from ..kit.settings import parse as parse_settings
from .files import Input, codec_of
from .lines import BLANK, FORM_NAMES, spell_lines
from .survey import Options, take_survey

_ANY_INT = 1 << 4096
_FLOATS = frozenset({"float64", "float32", "float16", "bfloat16", "int8", "uint8"})


class JsonlTarget(Target):
    """Writes one file.

    Row groups are appended to a part file; a log beside it has a line for every row group that is on disk, written
    after it. The part file's end is the log's last offset: whatever is behind it was cut off by a crash.
    """

    capabilities: TargetCapabilities = TargetCapabilities(
        id_kinds=frozenset(ID_KINDS) - {"position"},
        id_int_min=-_ANY_INT,
        id_int_max=_ANY_INT,
        vectors=256,
        kinds={
            "dense": _FLOATS,
            "sparse": frozenset({"float32"}),
            "multi": _FLOATS,
            "binary": frozenset({"bit"}),
        },
        metrics=frozenset(METRICS),
        metric_required=False,
        null_vectors=True,
        nonfinite_vectors=True,
        native_document=True,
        native_namespace=True,
        passport=False,
        ack="transactional",
        if_exists=frozenset({"create", "replace"}),
        write_rows=10_000,
    )

    def __init__(self, place: Place, name: str) -> None:
        self._path = Path(os.path.abspath(place.path))
        self._shown, self._place, self._name = place.text, place, name
        self._plan: TargetPlan | None = None
        self._log = _Log(self._path)
        self._file: io.FileIO | None = None

    def describe(self) -> Description | None:
        if not self._path.exists():
            return None
        source = Input(self._place)
        try:
            survey = take_survey(source, Options.parse(self._place), self._name, frozenset())
            return Description(survey.collection, survey.count, None, "1", survey.notes)
        finally:
            source.close()

    def permissions(self, plan: TargetPlan) -> tuple[Permission, ...]:
        if not self._path.parent.is_dir() or self._path.is_dir():
            return ()
        there = (access.to_read([self._path]),) if self._path.exists() else ()
        return (*there, access.to_create(self._path))

    def prepare(self, plan: TargetPlan) -> None:
        self._check(plan)
        self._open_log(plan)
        if _has_content(self._path):
            # A file that is there stays until the new one is whole, and gives way then to equal bytes or to replace
            # alone: so a resumed import may take it for its own.
            found = Description(plan.collection, None)
            settle(plan, found, title="the file", place=self._shown, ours=plan.resume)
        if not (plan.resume and self._log.resume(plan.collection.digest())):
            self._log.begin(plan.collection.digest())

    def attach(self, plan: TargetPlan) -> None:
        self._open_log(plan)
        if not self._log.resume(plan.collection.digest()):
            raise UsageError(f"{self._shown} was not prepared")

    def acknowledged(self) -> set[Mark] | None:
        return set(self._log.marks)

    def write(self, batch: pa.RecordBatch, mark: Mark) -> None:
        if self._plan is None:
            raise UsageError("write before attach")
        if mark in self._log.marks:
            return
        self._fits(batch, mark)
        data = spell_lines(batch, self._plan.collection)
        codec = codec_of(self._path.name)
        if codec == "gzip":
            data = gzip.compress(data, 6, mtime=0)
        elif codec == "zstd":
            data = pa.compress(data, codec="zstd", asbytes=True)
        with _disk_errors(self._log.part):
            end = self._append(data)
            self._log.add(mark, end, batch.num_rows)

    def finish(self, passport: Mapping[str, Json]) -> None:
        """Put the file in place. The passport has no room in it."""
        self._close_file()
        assert self._plan is not None
        if self._log.part.exists():
            with _disk_errors(self._path):
                _truncate(self._log.part, self._log.end)
                self._log.add_placing()
                _put_in_place(self._log.part, self._path, replace=self._plan.if_exists == "replace")
        self._log.remove()

    def count(self) -> int:
        """Records that are on disk."""
        if self._plan is not None:
            return self._log.rows
        there = self.describe()
        if there is None:
            raise NotFound(f"{self._shown} does not exist")
        return there.count or 0

    def close(self) -> None:
        self._close_file()

    def _check(self, plan: TargetPlan) -> None:
        check_plan(plan, self.capabilities, "JSON Lines")
        parse_settings(plan.settings, (), "JSON Lines")
        _check_names(plan)
        if not self._path.parent.is_dir():
            raise NotFound(f"there is no folder {self._path.parent}", safe="nothing was created")
        if self._path.is_dir():
            raise UsageError(f"{self._shown} is a folder", next="name a file in it")
        access.require(access.to_create(self._path))

    def _open_log(self, plan: TargetPlan) -> None:
        self._plan = plan
        self._log.name(plan.import_id)

    def _fits(self, batch: pa.RecordBatch, mark: Mark) -> None:
        assert self._plan is not None
        check_batch(batch, self._plan, f"{mark.shard} row group {mark.group}")

    def _append(self, data: bytes) -> int:
        """Write behind the last acknowledged row group, wait for the disk, and return where the file ends."""
        if self._file is None:
            self._file = io.FileIO(self._log.part, "r+b")
        self._file.truncate(self._log.end)
        self._file.seek(self._log.end)
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) or 0 :]
        os.fsync(self._file.fileno())
        return self._log.end + len(data)

    def _close_file(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


class StdoutTarget(JsonlTarget):
    """Writes to stdout. What went through a pipe cannot be taken up again: a resumed import writes everything."""

    capabilities: TargetCapabilities = JsonlTarget.capabilities

    def __init__(self, place: Place, name: str) -> None:
        super().__init__(place, name)
        self._marks: set[Mark] = set()
        self._rows = 0

    def describe(self) -> Description | None:
        return None

    def permissions(self, plan: TargetPlan) -> tuple[Permission, ...]:
        return ()

    def prepare(self, plan: TargetPlan) -> None:
        check_plan(plan, self.capabilities, "JSON Lines")
        parse_settings(plan.settings, (), "JSON Lines")
        _check_names(plan)
        self._plan = plan

    def attach(self, plan: TargetPlan) -> None:
        self._plan = plan

    def acknowledged(self) -> set[Mark] | None:
        return set(self._marks)

    def write(self, batch: pa.RecordBatch, mark: Mark) -> None:
        if self._plan is None:
            raise UsageError("write before attach")
        if mark not in self._marks:
            self._fits(batch, mark)
            sys.stdout.buffer.write(spell_lines(batch, self._plan.collection))
            self._marks.add(mark)
            self._rows += batch.num_rows

    def finish(self, passport: Mapping[str, Json]) -> None:
        sys.stdout.buffer.flush()

    def count(self) -> int:
        return self._rows


class _Log:
    """Which row groups are on disk: a line each, and where the part file ends behind it.

    The first line names the schema, the last one says that the part file is about to get its name.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.marks: set[Mark] = set()
        self.end = self.rows = self._size = 0
        self.name("")

    def name(self, import_id: str) -> None:
        """Choose the files of an import."""
        tag = hashlib.sha256(import_id.encode()).hexdigest()[:12]
        self.part = self._path.with_name(f".{self._path.name}.{tag}.part")
        self.log = self._path.with_name(f".{self._path.name}.{tag}.marks")

    def begin(self, digest: str) -> None:
        """Start from nothing."""
        self.marks, self.end, self.rows = set(), 0, 0
        first = orjson.dumps({"schema": digest}) + b"\n"
        with _disk_errors(self.part):
            self.log.unlink(missing_ok=True)
            _write_durably(self.part, b"")
            _write_durably(self.log, first)
            _sync_folder(self._path.parent)
        self._size = len(first)

    def resume(self, digest: str) -> bool:
        """Go on where the log ends; False when there is nothing of this schema to go on with."""
        if not self.log.exists():
            return False
        entries = list(_whole_lines(self.log.read_bytes()))
        if not entries or entries[0].get("schema") != digest:
            return False
        groups = [e for e in entries if "shard" in e]
        end = groups[-1]["end"] if groups else 0
        placed = "placing" in entries[-1] and not self.part.exists()
        file = self._path if placed else self.part
        if not file.exists() or file.stat().st_size < end:
            return False
        self.marks = {Mark(e["shard"], e["group"]) for e in groups}
        self.end, self.rows = end, sum(e["rows"] for e in groups)
        self._size = sum(len(orjson.dumps(e)) + 1 for e in entries)
        return True

    def add(self, mark: Mark, end: int, rows: int) -> None:
        """Acknowledge a row group whose bytes are on disk."""
        self._append({"shard": mark.shard, "group": mark.group, "end": end, "rows": rows})
        self.marks.add(mark)
        self.end, self.rows = end, self.rows + rows

    def add_placing(self) -> None:
        """Note that everything is written."""
        self._append({"placing": True})

    def remove(self) -> None:
        """Forget the import."""
        self.log.unlink(missing_ok=True)

    def _append(self, entry: dict[str, Any]) -> None:
        line = orjson.dumps(entry) + b"\n"
        with open(self.log, "r+b") as file:
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


def _check_names(plan: TargetPlan) -> None:
    """Raise ``NotRepresentable`` for vector names that lines cannot spell."""
    marks = [v.name for v in plan.collection.vectors if v.name in FORM_NAMES]
    if marks:
        raise NotRepresentable(
            f"a vector is called {marks[0]!r}",
            why="in JSON Lines that name marks a sparse or binary vector",
            safe="nothing was written",
        )


def _has_content(path: Path) -> bool:
    try:
        with open(path, "rb") as file:
            return any(line.strip(BLANK) for line in file)
    except FileNotFoundError:
        return False


def _put_in_place(part: Path, path: Path, *, replace: bool) -> None:
    """Give the part file its name; without ``replace`` nothing that has content gives way."""
    if not replace:
        if path.exists() and not _has_content(path):
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
    else:
        os.replace(part, path)
    _sync_folder(path.parent)


def _truncate(path: Path, size: int) -> None:
    with open(path, "r+b") as file:
        file.truncate(size)
        os.fsync(file.fileno())


def _write_durably(path: Path, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as e:
        if e.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise OutOfResources(
                f"{path} cannot be written", why=os.strerror(e.errno), safe="what was acknowledged is on disk"
            ) from e
        raise
