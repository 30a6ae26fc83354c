"""The first pass over a JSON Lines file: how many records, which ids, which vectors."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from ...errors import NotRepresentable, UsageError
from ...model.collection import ID_KINDS, METRICS, VECTOR_DTYPES, Collection, VectorField
from ...model.ids import kind_of as id_form
from ...model.ids import tagged
from ..address import Place
from ..contract import MAX_NAMESPACES, Option
from .files import Input, Start, read_lines
from .lines import BadLine, Grammar, Record, kind_of, read_record, split_object
from .vectors import RowError, bits_of, fits_float32, numbers, split_rows

OPTIONS: Final = (
    Option("dim", "Dimension of the vectors, or a JSON object of dimensions by vector name."),
    Option("metric", "Metric of the vectors, or a JSON object of metrics by vector name.", "unknown"),
    Option("dtype", "Element type of the vectors, or a JSON object of types by vector name.", "auto"),
    Option("id-kind", "Kind of the ids: auto, string, int, uuid, int|uuid, tagged or composite.", "auto"),
    Option("ids", "Where ids come from: member, or position to number the records.", "member"),
    Option("extra-keys", "What becomes of members that are not known: refuse, or metadata.", "refuse"),
    Option("tags", "Whether $vp in metadata is a tag (read) or a key like any other (literal).", "read"),
)
_CHUNK_ROWS: Final = 512
_STRIDE: Final = 1 << 20
_MAX_CHECKPOINTS: Final = 4096


@dataclass(frozen=True, slots=True)
class Options:
    """The options of a place, checked. Those by vector name are dicts whose key ``None`` stands for all."""

    grammar: Grammar
    id_kind: str
    dims: dict[str | None, int]
    metrics: dict[str | None, str]
    dtypes: dict[str | None, str]

    @classmethod
    def parse(cls, place: Place) -> Options:
        """Read the options; raises ``UsageError`` with the allowed values."""
        by_name = {o.name: o for o in OPTIONS}

        def text(name: str) -> str:
            return place.option(name) or by_name[name].default or ""

        def one_of(name: str, allowed: Sequence[str]) -> str:
            return _one_of(name, text(name), allowed)

        dims = {k: _one_of("dim", str(v), ()) for k, v in _by_vector("dim", text("dim")).items()}
        return cls(
            grammar=Grammar(
                ids=one_of("ids", ("member", "position")),
                extra_keys=one_of("extra-keys", ("refuse", "metadata")),
                tags=one_of("tags", ("read", "literal")),
            ),
            id_kind=one_of("id-kind", ("auto", *(k for k in ID_KINDS if k != "position"))),
            dims={k: int(v) for k, v in dims.items()},
            metrics={k: _one_of("metric", v, METRICS) for k, v in _by_vector("metric", text("metric")).items()},
            dtypes={
                k: _one_of("dtype", v, ("auto", *VECTOR_DTYPES)) for k, v in _by_vector("dtype", text("dtype")).items()
            },
        )


def _one_of(name: str, value: Any, allowed: Sequence[str]) -> str:
    if value in allowed or (not allowed and str(value).isdecimal() and int(value) > 0):
        return str(value)
    expected = ", ".join(allowed) or "a positive number"
    raise UsageError(f"option {name}={value!r} is not known", next=f"one of: {expected}")


def _by_vector(name: str, text: str) -> dict[str | None, Any]:
    """``float32`` as {None: "float32"}; a JSON object as it is."""
    if not text.startswith("{"):
        return {None: text} if text else {}
    try:
        data: dict[str | None, Any] = json.loads(text)
    except ValueError as e:
        raise UsageError(f"option {name} is not a JSON object", why=str(e)) from None
    return data


def _of(options: dict[str | None, Any], name: str, default: Any) -> Any:
    return options.get(name, options.get(None, default))


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
            dim = _of(self.options.dims, name, dims[0] if dims else None)
            auto = _of(self.options.dtypes, name, "auto") == "auto"
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
            dim = _of(work.options.dims, name, None)
            if dim is None:
                raise work.source.error(first, BadLine(
                    f"vector {name!r} has no elements, here and everywhere", "so its dimension is not known",
                    "say it: dim=384", UsageError))  # fmt: skip
            work.vectors[name] = _Vector(name, "multi", dim, first, True)
    named = {n for n in work.options.dims if n is not None} | ({""} if None in work.options.dims else set())
    for name in sorted(named - set(work.vectors)) if not (work.vectors and named == {""}) else ():
        work.vectors[name] = _Vector(name, "dense", _of(work.options.dims, name, None), 0, True)
    for name, v in work.vectors.items():
        dtype = "bit" if v.kind == "binary" else _of(work.options.dtypes, name, "auto")
        if dtype == "auto":
            dtype = "float32" if v.single else "float64"
        out.append(
            VectorField(
                name=name,
                kind=v.kind,
                dtype="float32" if v.kind == "sparse" else dtype,
                dim=v.dim,
                metric=_of(work.options.metrics, name, "unknown"),
                nullable=v.present < work.rows,
            )
        )
    return tuple(out)


def _notes(work: _Pass) -> tuple[str, ...]:
    notes = []
    for name, v in work.vectors.items():
        if v.kind in ("dense", "multi") and not v.single and _of(work.options.dtypes, name, "auto") == "auto":
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
