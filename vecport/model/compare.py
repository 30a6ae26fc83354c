"""The judge: whether two records are the same, and where they differ.

All that compares records asks here: ``verify``, ``diff``, ``copy``, the conflict check of an import and the contract
suite. Records are judged part by part, each vector within the bound of its own field; everything else has to be equal:

* Two vectors are *equal* when their bits are, as in ``model.hashes``: -0.0 is not 0.0, and a NaN is its bits. A vector
  that is absent equals one that is absent, and nothing else; one without entries or rows is not absent.
* They are *within* their bound when no component is further from the other than the bound allows, measured against
  the largest component of our row; both scaled to unit length first where the database keeps unit vectors. NaN
  and infinities have to stand at the same places. Sparse vectors need the same indices, multi vectors the same
  number of rows, each of which is measured for itself; bits are compared as bits.
* Metadata is compared key by key, as canonical JSON: 1 is not 1.0, and the order of lists counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ..errors import IntegrityError, NotRepresentable
from . import canonical
from .collection import Bound, Collection, VectorField

EXACT: Final = Bound(0.0)
ABSENT: Final = "absent"
KINDS: Final = ("missing", "extra", "changed", "repeated")

Mask = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

#: Characters of a value in a finding.
_SHOWN: Final = 60


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a record in which two sides differ.

    Attributes:
        name: ``vector`` of a sole unnamed vector, ``vector:NAME``, ``document``, ``metadata:KEY``, ``namespace`` or
            ``id``.
        a, b: both values, short: of a vector the component that is furthest off, with its place; ``absent`` for none.
        distance: of vectors that can be measured: the largest difference of a component over the largest component
            of the row of ``a``; of binary ones the number of bits that differ. None for everything else.
    """

    name: str
    a: str
    b: str
    distance: float | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """One record that is not the same on both sides.

    Attributes:
        kind: ``missing`` on side b, ``extra`` there, ``changed``, or ``repeated``: it stands another number of times.
        id, namespace: its key.
        parts: what differs in a changed one.
    """

    kind: str
    id: str
    namespace: str = ""
    parts: tuple[Part, ...] = ()


def part_of(name: str) -> str:
    """The part that a vector of this name is."""
    return f"vector:{name}" if name else "vector"


def paired(ours: Collection, theirs: Collection) -> list[tuple[VectorField | None, VectorField | None]]:
    """Vector fields of both sides by name; a sole one on both sides whatever its name. None where one side has none."""
    if len(ours.vectors) == 1 == len(theirs.vectors):
        return [(ours.vectors[0], theirs.vectors[0])]
    other = {v.name: v for v in theirs.vectors}
    mine = {v.name for v in ours.vectors}
    return [(v, other.get(v.name)) for v in ours.vectors] + [(None, v) for v in theirs.vectors if v.name not in mine]


def bounds_of(
    ours: Collection, theirs: Collection, tolerance: float | Mapping[str, float] | None = None
) -> dict[str, Bound]:
    """The bound of each pair of fields, by our name, or theirs where we have none.

    Args:
        ours, theirs: what is compared.
        tolerance: a user's own, for all fields or by name; the widest that the two fields state otherwise. Fields of
            bits have none. Lengths count where both sides say that they hold unit vectors.
    """
    out: dict[str, Bound] = {}
    for x, y in paired(ours, theirs):
        both = [f for f in (x, y) if f is not None]
        stated = [f.bound for f in both if f.bound is not None]
        own = tolerance.get(both[0].name) if isinstance(tolerance, Mapping) else tolerance
        widest = max((b.relative for b in stated), default=0.0)
        unit = any(b.normalized for b in stated) and not all(f.normalized for f in both)
        binary = any(f.kind == "binary" for f in both)
        out[both[0].name] = EXACT if binary else Bound(widest if own is None else own, unit)
    return out


@dataclass(frozen=True, slots=True)
class PartVerdict:
    """One part of n records.

    Attributes:
        name: see ``Part``.
        equal, within: (n,) bool; what is equal is within.
        distance: (n,) float64, 0 where equal, NaN where nothing can be measured.
    """

    name: str
    equal: Mask
    within: Mask
    distance: Floats


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the judge says of n records.

    Attributes:
        vectors: one for each pair of vector fields.
        document, metadata, namespace, id: the other parts; within is equal there.
        keys: by row the metadata keys that differ, for the rows whose metadata does.
    """

    a: pa.RecordBatch
    b: pa.RecordBatch
    vectors: tuple[PartVerdict, ...]
    document: PartVerdict
    metadata: PartVerdict
    namespace: PartVerdict
    id: PartVerdict
    keys: Mapping[int, Mapping[str, tuple[str, str]]]
    _pairs: tuple[_Pair, ...] = field(repr=False)

    def _all(self) -> tuple[PartVerdict, ...]:
        return (*self.vectors, self.document, self.metadata, self.namespace, self.id)

    @property
    def equal(self) -> Mask:
        """(n,) bool: the same bits in every part."""
        return np.asarray(np.logical_and.reduce([p.equal for p in self._all()]))

    @property
    def within(self) -> Mask:
        """(n,) bool: equal, but for vectors within their bounds."""
        return np.asarray(np.logical_and.reduce([p.within for p in self._all()]))

    @property
    def changed(self) -> Mask:
        """(n,) bool: some part is not within."""
        return np.asarray(~self.within)

    @property
    def vectors_changed(self) -> Mask:
        """(n,) bool: some vector is beyond its bound."""
        return np.asarray(np.logical_or.reduce([np.zeros(self.a.num_rows, bool), *(~p.within for p in self.vectors)]))

    @property
    def metadata_changed(self) -> Mask:
        """(n,) bool: the document or the metadata differ."""
        return np.asarray(~(self.document.equal & self.metadata.equal))

    def counts(self) -> dict[str, int]:
        """Records by each part that is not within."""
        out = {p.name: int((~p.within).sum()) for p in self._all() if p is not self.metadata}
        for differing in self.keys.values():
            for key in differing:
                name = f"metadata:{key}"
                out[name] = out.get(name, 0) + 1
        return {name: n for name, n in out.items() if n}

    def finding(self, row: int) -> Finding:
        """The finding of a changed record."""
        parts = [
            Part(v.name, *pair.shown(self.a, self.b, row), None if np.isnan(d := v.distance[row]) else float(d))
            for pair, v in zip(self._pairs, self.vectors, strict=True) if not v.within[row]
        ]  # fmt: skip
        for verdict, column in ((self.document, "document"), (self.namespace, "namespace"), (self.id, "id")):
            if not verdict.within[row]:
                x, y = (_text(side.column(column)[row].as_py()) for side in (self.a, self.b))
                parts.append(Part(column, x, y))
        parts += [Part(f"metadata:{key}", a, b) for key, (a, b) in self.keys.get(row, {}).items()]
        return Finding(
            "changed", self.a.column("id")[row].as_py(), self.a.column("namespace")[row].as_py(), tuple(parts)
        )

    def findings(self, rows: Sequence[int] | None = None) -> tuple[Finding, ...]:
        """The findings of some rows; of all that changed where none are named."""
        wanted = np.flatnonzero(self.changed).tolist() if rows is None else rows
        return tuple(self.finding(row) for row in wanted)


class Judge:
    """Compares records of one collection with records of another.

    Args:
        ours, theirs: the schemas of both sides.
        bounds: by the name of the field, see ``bounds_of``; exact for one that is not named.
    """

    def __init__(self, ours: Collection, theirs: Collection, bounds: Mapping[str, Bound]) -> None:
        columns = ours.columns(), theirs.columns()
        self._pairs = tuple(
            _Pair(
                x, y, columns[0][x.name] if x else "", columns[1][y.name] if y else "",
                bounds.get((x or y).name, EXACT),  # type: ignore[union-attr]
            )
            for x, y in paired(ours, theirs)
        )  # fmt: skip

    def compare(self, a: pa.RecordBatch, b: pa.RecordBatch) -> Verdict:
        """Compare aligned records.

        Args:
            a, b: pages (or row groups) of ours and theirs with the same number of rows; row i of one is compared with
                row i of the other.
        """
        if a.num_rows != b.num_rows:
            raise ValueError(f"{a.num_rows} records against {b.num_rows}")
        metadata, keys = _metadata(a.column("metadata"), b.column("metadata"))
        return Verdict(
            a, b, tuple(pair.compare(a, b) for pair in self._pairs), _texts("document", a, b), metadata,
            _texts("namespace", a, b), _texts("id", a, b), keys, self._pairs,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Pair:
    """A vector field of each side, their columns, and their bound."""

    x: VectorField | None
    y: VectorField | None
    x_column: str
    y_column: str
    bound: Bound

    @property
    def name(self) -> str:
        field = self.x or self.y
        assert field is not None
        return part_of(field.name)

    @property
    def _comparable(self) -> bool:
        x, y = self.x, self.y
        if x is None or y is None or x.kind != y.kind:
            return False
        return x.kind != "binary" or x.dim == y.dim

    def compare(self, a: pa.RecordBatch, b: pa.RecordBatch) -> PartVerdict:
        n = a.num_rows
        have_a = np.asarray(a.column(self.x_column).is_valid()) if self.x else np.zeros(n, bool)
        have_b = np.asarray(b.column(self.y_column).is_valid()) if self.y else np.zeros(n, bool)
        equal = ~have_a & ~have_b
        within = equal.copy()
        distance = np.where(equal, 0.0, np.nan)
        both = have_a & have_b
        if self._comparable and both.any():
            assert self.x is not None
            assert self.y is not None
            mask = pa.array(both)
            columns = a.column(self.x_column).filter(mask), b.column(self.y_column).filter(mask)
            if self.x.kind == "binary":
                equal[both], distance[both] = _bits(*columns)
                within[both] = equal[both]
            else:
                rows = tuple(_Rows.of(c, self.x.kind) for c in columns)
                equal[both], distance[both] = _measured(rows[0], rows[1], self.bound)
                within[both] = equal[both] | ((self.bound != EXACT) & (distance[both] <= self.bound.relative))
        return PartVerdict(self.name, equal, within, distance)

    def shown(self, a: pa.RecordBatch, b: pa.RecordBatch, row: int) -> tuple[str, str]:
        """Both values of one record, short."""
        one = a.column(self.x_column).slice(row, 1) if self.x else None
        other = b.column(self.y_column).slice(row, 1) if self.y else None
        lacks = [side is None or side.null_count == 1 for side in (one, other)]
        if any(lacks) or one is None or other is None or self.x is None or self.y is None:
            return _side(one, self.x), _side(other, self.y)
        if not self._comparable:
            return f"{self.x.kind}, {_size(one, self.x)}", f"{self.y.kind}, {_size(other, self.y)}"
        if self.x.kind == "binary":
            return _shown_bits(one, other)
        return _shown_rows(_Rows.of(one, self.x.kind), _Rows.of(other, self.x.kind), self.x, self.bound)


@dataclass(frozen=True, slots=True)
class _Rows:
    """Vectors of n records, taken apart.

    Attributes:
        values: all elements, (total,) of the type that they travel in.
        lengths: elements of each row, (rows,) int64; a dense or sparse vector is one row.
        counts: rows of each record, (n,) int64.
        indices: of the elements of sparse vectors.
    """

    values: npt.NDArray[Any]
    lengths: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]
    indices: npt.NDArray[Any] | None = None

    @classmethod
    def of(cls, column: pa.Array, kind: str) -> _Rows:
        """Take a column without nulls apart."""
        indices = None
        counts = np.ones(len(column), np.int64)
        rows = column
        if kind == "sparse":
            indices = column.field(0).flatten().to_numpy(zero_copy_only=False)
            rows = column.field(1)
        elif kind == "multi":
            counts = np.asarray(column.value_lengths()).astype(np.int64)
            rows = column.flatten()
        lengths = np.asarray(rows.value_lengths()).astype(np.int64)
        return cls(rows.flatten().to_numpy(zero_copy_only=False), lengths, counts, indices)

    @property
    def elements(self) -> npt.NDArray[np.int64]:
        """Elements of each record, (n,)."""
        return _segments(np.add, self.lengths, self.counts)

    def of_records(self, wanted: Mask) -> _Rows:
        """Only some of the records."""
        if wanted.all():
            return self
        of_elements = np.repeat(wanted, self.elements)
        indices = None if self.indices is None else self.indices[of_elements]
        return _Rows(
            self.values[of_elements], self.lengths[np.repeat(wanted, self.counts)], self.counts[wanted], indices
        )


def _segments(
    ufunc: np.ufunc, values: npt.NDArray[Any], lengths: npt.NDArray[np.int64], empty: Any = 0
) -> npt.NDArray[Any]:
    """Reduce consecutive segments of the given lengths; ``empty`` for those without elements."""
    out = np.full(len(lengths), empty, values.dtype)
    filled = lengths > 0
    if filled.any():
        out[filled] = ufunc.reduceat(values, (np.cumsum(lengths) - lengths)[filled])
    return out


def _measured(a: _Rows, b: _Rows, bound: Bound) -> tuple[Mask, Floats]:
    """Which vectors are equal, and how far each is from the other; NaN where they have not the same shape."""
    n = len(a.counts)
    equal, distance = np.zeros(n, bool), np.full(n, np.nan)
    same = (a.counts == b.counts) & (a.elements == b.elements)
    a, b = a.of_records(same), b.of_records(same)
    alike = _segments(np.logical_and, a.lengths == b.lengths, a.counts, True)
    if a.indices is not None and b.indices is not None:
        alike &= _segments(np.logical_and, a.indices == b.indices, a.elements, True)
    same[same] = alike
    a, b = a.of_records(alike), b.of_records(alike)
    x, y = _as_hashed(a.values, b.values)
    bits = np.dtype(f"u{x.dtype.itemsize}")
    equal_here = _segments(np.logical_and, x.view(bits) == y.view(bits), a.elements, True)
    equal[same] = equal_here
    distance_here = np.zeros(len(equal_here))
    if not equal_here.all():
        other = ~equal_here
        a, b = a.of_records(other), b.of_records(other)
        far = _distances(a.values.astype(np.float64), b.values.astype(np.float64), a.lengths, bound.normalized)
        distance_here[other] = _segments(np.maximum, far, a.counts)
    distance[same] = distance_here
    return equal, distance


def _as_hashed(x: npt.NDArray[Any], y: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Both in the type whose bits are hashed; in the wider one where they differ."""
    if x.dtype == y.dtype and x.dtype.kind in "iu":
        return np.ascontiguousarray(x), np.ascontiguousarray(y)
    wide = np.dtype(np.float64) if np.float64 in (x.dtype, y.dtype) else np.dtype(np.float32)
    return np.ascontiguousarray(x, wide), np.ascontiguousarray(y, wide)


def _distances(x: Floats, y: Floats, lengths: npt.NDArray[np.int64], normalized: bool) -> Floats:
    """By row: the largest difference of a component over the largest component of x; infinite beside a lone NaN.

    Args:
        x, y: (total,) elements of both sides, row behind row.
        lengths: (rows,) of them.
        normalized: scale both to unit length first; a row of zeros stays one.
    """
    odd = ~(np.isfinite(x) & np.isfinite(y))
    apart = np.zeros(len(lengths), bool)
    if odd.any():
        same = (x == y) | (np.isnan(x) & np.isnan(y))
        apart = _segments(np.logical_or, odd & ~same, lengths, False)
        x, y = np.where(odd, 0.0, x), np.where(odd, 0.0, y)
    if normalized:
        x, y = _unit(x, lengths), _unit(y, lengths)
    error = _segments(np.maximum, np.abs(x - y), lengths)
    scale = _segments(np.maximum, np.abs(x), lengths)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        found = np.where(error == 0, 0.0, error / scale)
    found[apart] = np.inf
    return np.asarray(found)


def _unit(x: Floats, lengths: npt.NDArray[np.int64]) -> Floats:
    # Scaled by the largest component first, so that no square overflows or vanishes.
    largest = _segments(np.maximum, np.abs(x), lengths)
    largest[largest == 0] = 1.0
    x = x / np.repeat(largest, lengths)
    length = np.sqrt(_segments(np.add, x * x, lengths))
    length[length == 0] = 1.0
    return np.asarray(x / np.repeat(length, lengths))


def _packed(column: pa.Array) -> npt.NDArray[np.uint8]:
    """The bytes of a column of bits without nulls, (n, bytes)."""
    width = column.type.byte_width
    raw = np.frombuffer(column.buffers()[1] or b"", np.uint8)
    return np.asarray(raw[column.offset * width :][: len(column) * width].reshape(len(column), width))


def _bits(a: pa.Array, b: pa.Array) -> tuple[Mask, Floats]:
    """Which bit vectors are equal, and in how many bits they differ."""
    differs = np.unpackbits(_packed(a) ^ _packed(b), axis=1).sum(axis=1)
    return np.asarray(differs == 0), differs.astype(np.float64)


def _texts(column: str, a: pa.RecordBatch, b: pa.RecordBatch) -> PartVerdict:
    x, y = a.column(column), b.column(column)
    same = pc.or_(pc.fill_null(pc.equal(x, y), False), pc.and_(x.is_null(), y.is_null()))
    equal = np.asarray(same)
    return PartVerdict(column, equal, equal, np.where(equal, 0.0, np.nan))


def _metadata(a: pa.Array, b: pa.Array) -> tuple[PartVerdict, dict[int, dict[str, tuple[str, str]]]]:
    """Which metadata is equal, and by row the keys that differ with both values."""
    equal = np.array(pc.equal(a, b))
    keys: dict[int, dict[str, tuple[str, str]]] = {}
    for row in np.flatnonzero(~equal).tolist():
        found = dict(_differing(a[row].as_py(), b[row].as_py()))
        # The keys of a text that is on its way into a database may stand in any order.
        equal[row] = not found
        if found:
            keys[row] = found
    return PartVerdict("metadata", equal, equal, np.where(equal, 0.0, np.nan)), keys


def _differing(a: str, b: str) -> Iterator[tuple[str, tuple[str, str]]]:
    """Top keys whose values differ, and both values as short JSON."""
    try:
        ours, theirs = canonical.loads(a), canonical.loads(b)
    except (IntegrityError, NotRepresentable):
        ours = theirs = None
    if not (isinstance(ours, dict) and isinstance(theirs, dict)):
        yield "", (_text(a), _text(b))
        return
    for key in dict.fromkeys((*ours, *theirs)):
        x, y = (canonical.dumps(side[key]) if key in side else None for side in (ours, theirs))
        if x != y:
            yield key, _beside(x, y)


def _beside(x: str | None, y: str | None) -> tuple[str, str]:
    """Two JSON texts, cut where they are long, so that the first difference is seen."""
    start = 0
    if x is not None and y is not None and max(len(x), len(y)) > _SHOWN:
        first = next((i for i, (p, q) in enumerate(zip(x, y, strict=False)) if p != q), min(len(x), len(y)))
        start = max(0, first - _SHOWN // 2)
    return _cut(x, start), _cut(y, start)


def _cut(text: str | None, start: int = 0) -> str:
    if text is None:
        return ABSENT
    shown = text[start : start + _SHOWN]
    return ("…" if start else "") + shown + ("…" if start + _SHOWN < len(text) else "")


def _text(value: str | None) -> str:
    return ABSENT if value is None else _cut(canonical.dumps(value))


def _side(column: pa.Array | None, field: VectorField | None) -> str:
    """A vector beside one that is absent."""
    return ABSENT if column is None or field is None or column.null_count else _size(column, field)


def _size(column: pa.Array, field: VectorField) -> str:
    if field.kind == "binary":
        return f"{field.dim} bits"
    rows = _Rows.of(column, field.kind)
    if field.kind == "multi":
        return f"{int(rows.counts[0])} rows"
    return f"{int(rows.lengths[0])} {'entries' if field.kind == 'sparse' else 'elements'}"


def _shown_bits(a: pa.Array, b: pa.Array) -> tuple[str, str]:
    x, y = (np.unpackbits(_packed(side)[0]) for side in (a, b))
    place = int(np.argmax(x != y))
    return f"{x[place]} at {place}", f"{y[place]} at {place}"


def _shown_rows(a: _Rows, b: _Rows, field: VectorField, bound: Bound) -> tuple[str, str]:
    """The component that is furthest off, on both sides."""
    if a.counts[0] != b.counts[0]:
        return f"{a.counts[0]} rows", f"{b.counts[0]} rows"
    if a.indices is not None and b.indices is not None and not np.array_equal(a.indices, b.indices):
        place = int(min(set(a.indices.tolist()) ^ set(b.indices.tolist())))
        return _entry(a, place), _entry(b, place)
    if not np.array_equal(a.lengths, b.lengths):
        return f"{a.lengths[0]} elements", f"{b.lengths[0]} elements"
    place = _furthest(a, b, bound)
    x, y = _as_hashed(a.values, b.values)
    shown = (str(x[place]), str(y[place]))
    if shown[0] == shown[1]:
        # A NaN of another payload.
        shown = (f"{shown[0]} 0x{x[place].tobytes()[::-1].hex()}", f"{shown[1]} 0x{y[place].tobytes()[::-1].hex()}")
    where = str(place)
    if a.indices is not None:
        where = str(a.indices[place])
    elif field.kind == "multi":
        row = int(np.searchsorted(np.cumsum(a.lengths), place, "right"))
        where = f"{place - int(a.lengths[:row].sum())} of row {row}"
    return f"{shown[0]} at {where}", f"{shown[1]} at {where}"


def _furthest(a: _Rows, b: _Rows, bound: Bound) -> int:
    """The element with the largest difference; the first whose bits differ where nothing can be measured."""
    x, y = a.values.astype(np.float64), b.values.astype(np.float64)
    if bound.normalized and np.isfinite(x).all() and np.isfinite(y).all():
        x, y = _unit(x, a.lengths), _unit(y, a.lengths)
    with np.errstate(invalid="ignore"):
        gap = np.abs(x - y)
    odd = np.isnan(gap) & ~((x == y) | (np.isnan(x) & np.isnan(y)))
    gap = np.where(odd, np.inf, np.where(np.isnan(gap), 0.0, gap))
    if gap.max(initial=0.0) > 0:
        return int(np.argmax(gap))
    p, q = _as_hashed(a.values, b.values)
    bits = np.dtype(f"u{p.dtype.itemsize}")
    return int(np.argmax(p.view(bits) != q.view(bits)))


def _entry(rows: _Rows, index: int) -> str:
    assert rows.indices is not None
    found = np.flatnonzero(rows.indices == index)
    return f"{rows.values[found[0]]} at {index}" if len(found) else f"none at {index}"
