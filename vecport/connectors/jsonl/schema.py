"""The schema of a JSON Lines file, from one pass over it: how many records, which ids, which vectors."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from ...errors import NotRepresentable, UsageError
from ...model.collection import Collection, VectorField
from ...model.ids import kind_of as id_form
from ...model.ids import tagged
from ..contract import MAX_NAMESPACES
from .client import Input, Start, read_lines
from .lines import BadLine, Record, kind_of, read_record, split_object
from .settings import Options, of_vector
from .vectors import RowError, bits_of, fits_float32, numbers, split_rows

_CHUNK_ROWS: Final = 512
_STRIDE: Final = 1 << 20
_MAX_CHECKPOINTS: Final = 4096


@dataclass(frozen=True, slots=True)
class Survey:
    """What the first pass found.

    Attributes:
        collection: the schema.
        count: records of the selection.
        rows: records in the file.
        notes: for the user.
        checkpoints: where some lines begin, from the first on.
        source: the file.
        by_namespace: records of the selection in each; None where there are more than ``MAX_NAMESPACES``.
    """

    collection: Collection
    count: int
    rows: int
    notes: tuple[str, ...]
    checkpoints: tuple[Start, ...]
    source: Input
    by_namespace: Mapping[str, int] | None

    def starts(self, target_rows: int) -> Iterator[Start]:
        """Yield where partitions of ``target_rows`` records begin."""
        known = [c.row for c in self.checkpoints]
        rows = range(0, max(1, self.rows), max(1, target_rows))
        yield from (self._start(row, self.checkpoints[bisect_right(known, row) - 1]) for row in rows)

    def _start(self, row: int, before: Start) -> Start:
        if before.row == row:
            return before
        with self.source.open() as file:
            for _, behind, _ in read_lines(file, before, self.source.size, self.source):
                if behind.row == row:
                    return behind
        raise self.source.error(before.line, BadLine("the file became shorter"))


@dataclass(slots=True)
class _Vector:
    """What is known of one vector so far."""

    name: str
    kind: str
    dim: int | None
    first_line: int
    single: bool
    present: int = 0
    empties: list[int] = field(default_factory=list)


@dataclass(slots=True)
class _Pass:
    options: Options
    source: Input
    namespaces: frozenset[str]
    rows: int = 0
    count: int = 0
    by_namespace: dict[str, int] = field(default_factory=dict)
    id_kinds: dict[str, int] = field(default_factory=dict)
    vectors: dict[str, _Vector] = field(default_factory=dict)
    empties: dict[str, int] = field(default_factory=dict)

    def look(self, chunk: list[tuple[Start, Record]]) -> None:
        """Take in some records."""
        for at, record in chunk:
            self.rows += 1
            if not self.namespaces or record.namespace in self.namespaces:
                self.count += 1
                if len(self.by_namespace) <= MAX_NAMESPACES:
                    self.by_namespace[record.namespace] = self.by_namespace.get(record.namespace, 0) + 1
            form = record.id_kind
            if form == "string" and id_form(record.id) == "uuid":
                form = "uuid string"
            self.id_kinds.setdefault(form, at.line)
            self._check_id(at, record)
        names = dict.fromkeys(n for _, r in chunk for n in r.vectors)
        for name in names:
            self._look_at_vector(name, [(at, r.vectors[name]) for at, r in chunk if name in r.vectors])

    def _check_id(self, at: Start, record: Record) -> None:
        if self.options.id_kind != "auto":
            try:
                id_text(record, self.options.id_kind)
            except BadLine as e:
                raise self.source.error(at.line, e) from None

    def _look_at_vector(self, name: str, given: list[tuple[Start, bytes]]) -> None:
        at = given[0][0]
        try:
            for at, raw in given:
                self._measure(name, at, raw)
            known = self.vectors.get(name)
            if known is not None and known.single:
                known.single = self._fits(known, given)
        except BadLine as e:
            raise self.source.error(at.line, e) from None
        except RowError as e:
            raise self.source.error(given[e.row][0].line, e.cause) from None

    def _measure(self, name: str, at: Start, raw: bytes) -> None:
        """Hold a vector's kind and dimension against those before it."""
        kind = kind_of(raw)
        known = self.vectors.get(name)
        if kind == "empty":
            self.empties.setdefault(name, at.line)
            if known is not None and known.kind != "multi":
                raise BadLine(f"vector {name!r} has 0 elements, expected {known.dim}")
            return
        dims = _dims(raw, kind)
        if known is None:
            dim = of_vector(self.options.dims, name, dims[0] if dims else None)
            auto = of_vector(self.options.dtypes, name, "auto") == "auto"
            self.vectors[name] = known = _Vector(name, kind, dim, at.line, auto and kind != "binary")
            if kind != "multi" and name in self.empties:
                raise BadLine(f"vector {name!r} has {dims[0] if dims else 0} elements, and none in line"
                              f" {self.empties[name] + 1}")  # fmt: skip
        if kind != known.kind:
            raise BadLine(f"vector {name!r} is {kind}, and {known.kind} in line {known.first_line + 1}")
        wrong = [d for d in dims if d != known.dim]
        if wrong and kind != "sparse":
            raise BadLine(f"vector {name!r} has {wrong[0]} elements, and {known.dim} in line {known.first_line + 1}")
        known.present += 1

    def _fits(self, known: _Vector, given: list[tuple[Start, bytes]]) -> bool:
        texts, owners = [], []
        for i, (_, raw) in enumerate(given):
            if known.kind == "sparse":
                flat = [dict(split_object(raw))["values"]]
            else:
                flat = split_rows(raw) if known.kind == "multi" else [raw]
            texts += flat
            owners += [i] * len(flat)
        if known.kind != "sparse":
            return _single(texts, owners)
        for text, owner in zip(texts, owners, strict=True):
            if not _single([text], [owner]):
                raise RowError(owner, BadLine(
                    f"sparse vector {known.name!r} has values that float32 cannot hold",
                    "sparse values are float32", "to round them: dtype=float32", NotRepresentable))  # fmt: skip
        return True


def _dims(raw: bytes, kind: str) -> list[int]:
    """The lengths of the rows that a vector has; commas are counted, numbers not yet read."""
    if kind == "sparse":
        return []
    if kind == "binary":
        return [len(bits_of(raw))]
    rows = split_rows(raw) if kind == "multi" else [raw]
    return [0 if r.strip(b"[] \t\r\n") == b"" else r.count(b",") + 1 for r in rows]


def _single(texts: Sequence[bytes], owners: Sequence[int]) -> bool:
    """Whether float32 holds all elements of these flat lists."""
    plain: list[list[Any]] = []
    kept: list[bytes] = []
    for text, owner in zip(texts, owners, strict=True):
        try:
            values = numbers(text)
        except BadLine as e:
            raise RowError(owner, e) from None
        if b"{" in text:
            if any(type(v) is bytes and len(v) != 4 for v in values):
                return False
            values = [0.0 if type(v) is bytes else v for v in values]
        if values:
            plain.append(values)
            kept.append(text)
    try:
        return not plain or fits_float32(np.array(plain, np.float64), kept)
    except (ValueError, OverflowError):
        return False


def take_survey(source: Input, options: Options, name: str, namespaces: frozenset[str]) -> Survey:
    """Read a file once.

    Args:
        source: the file.
        options: what the user says of it.
        name: of the collection.
        namespaces: those that count; empty for all.

    Raises:
        VecportError: a line cannot be read; the message names it.
    """
    work = _Pass(options, source, namespaces)
    checkpoints, stride = [Start()], _STRIDE
    chunk: list[tuple[Start, Record]] = []
    with source.open() as file:
        for at, behind, line in read_lines(file, Start(), source.size, source):
            try:
                chunk.append((at, read_record(line, at.row, options.grammar)))
            except BadLine as e:
                raise source.error(at.line, e) from None
            if len(chunk) == _CHUNK_ROWS:
                work.look(chunk)
                chunk = []
            if behind.offset - checkpoints[-1].offset >= stride:
                checkpoints.append(behind)
                if len(checkpoints) > _MAX_CHECKPOINTS:
                    checkpoints, stride = checkpoints[::2], stride * 2
    work.look(chunk)
    collection = Collection(name=name, id_kind=_id_kind(work), vectors=_fields(work))
    spaces = work.by_namespace if len(work.by_namespace) <= MAX_NAMESPACES else None
    return Survey(collection, work.count, work.rows, _notes(work), tuple(checkpoints), source, spaces)


def _id_kind(work: _Pass) -> str:
    if work.options.grammar.ids == "position":
        return "position"
    if work.options.id_kind != "auto":
        return work.options.id_kind
    forms = set(work.id_kinds)
    if forms <= {"uuid", "uuid string"} and forms:
        return "uuid"
    if forms <= {"int"} and forms:
        return "int"
    if forms <= {"string", "uuid string"}:
        return "string"
    return "int|uuid" if forms <= {"int", "uuid", "uuid string"} else "tagged"


def _fields(work: _Pass) -> tuple[VectorField, ...]:
    out = []
    for name, first in work.empties.items():
        if name not in work.vectors:
            dim = of_vector(work.options.dims, name, None)
            if dim is None:
                raise work.source.error(first, BadLine(
                    f"vector {name!r} has no elements, here and everywhere", "so its dimension is not known",
                    "say it: dim=384", UsageError))  # fmt: skip
            work.vectors[name] = _Vector(name, "multi", dim, first, True)
    named = {n for n in work.options.dims if n is not None} | ({""} if None in work.options.dims else set())
    for name in sorted(named - set(work.vectors)) if not (work.vectors and named == {""}) else ():
        work.vectors[name] = _Vector(name, "dense", of_vector(work.options.dims, name, None), 0, True)
    for name, v in work.vectors.items():
        dtype = "bit" if v.kind == "binary" else of_vector(work.options.dtypes, name, "auto")
        if dtype == "auto":
            dtype = "float32" if v.single else "float64"
        out.append(
            VectorField(
                name=name,
                kind=v.kind,
                dtype="float32" if v.kind == "sparse" else dtype,
                dim=v.dim,
                metric=of_vector(work.options.metrics, name, "unknown"),
                nullable=v.present < work.rows,
            )
        )
    return tuple(out)


def _notes(work: _Pass) -> tuple[str, ...]:
    notes = []
    for name, v in work.vectors.items():
        if v.kind in ("dense", "multi") and not v.single and of_vector(work.options.dtypes, name, "auto") == "auto":
            notes.append(f"vector {name!r} has digits beyond float32 and is read as float64; dtype=float32 rounds")
    if work.options.grammar.ids == "position":
        notes.append("ids are row numbers: they name the same record only while the file stays as it is")
    return tuple(notes)


def id_text(record: Record, kind: str) -> str:
    """The canonical text of a record's id in a collection of this id kind; raises ``BadLine`` when it has another."""
    form = record.id_kind
    if kind == "tagged":
        return tagged(record.id, form)
    looks = id_form(record.id) if form == "string" else form
    fits = {
        "string": form == "string",
        "composite": form == "string" and record.id.startswith("["),
        "int": form == "int",
        "uuid": looks == "uuid",
        "int|uuid": form == "int" or looks == "uuid",
        "position": form == "position",
    }[kind]
    if not fits:
        raise BadLine(f"its id {record.id!r} is not of kind {kind}", next="leave the option id-kind out")
    return record.id
