"""What a collection is: id kind, key, typed fields, vector fields; and the digest of that schema."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from ..errors import NotRepresentable, UsageError
from . import canonical

T = TypeVar("T")

VECTOR_KINDS = ("dense", "sparse", "multi", "binary")
VECTOR_DTYPES = ("float64", "float32", "float16", "bfloat16", "int8", "uint8", "bit")
METRICS = ("cosine", "dot", "l2", "l1", "hamming", "jaccard", "max_sim", "unknown")
ID_KINDS = ("string", "int", "uuid", "int|uuid", "tagged", "composite", "position")
FIDELITIES = ("exact", "bounded", "quantised")
ENCODINGS = ("json", "text")
#: Portable types of single values, after Arrow's; ``list<one of them>`` is a list of such values.
LOGICAL_TYPES = ("int64", "float64", "bool", "string", "timestamp", "binary", "decimal", "json")
_LOGICAL = re.compile(rf"(?:{'|'.join(LOGICAL_TYPES)})|list<(?:{'|'.join(LOGICAL_TYPES)})>")


@dataclass(frozen=True, slots=True)
class Bound:
    """How far a vector read back may be from the one that was written.

    Attributes:
        relative: largest relative error of a component against the largest component of its vector.
        normalized: the database stores unit vectors, so only the direction can be compared.
    """

    relative: float
    normalized: bool = False


@dataclass(frozen=True, slots=True)
class VectorField:
    """One vector of a record.

    Attributes:
        name: the database's own name, ``""`` where the collection has one unnamed vector.
        kind: ``dense``, ``sparse``, ``multi`` (a list of dense rows) or ``binary``.
        dtype: element type in the source; float16 and bfloat16 travel widened to float32.
        dim: number of elements (bits for ``binary``); None for sparse.
        metric: one of METRICS; ``unknown`` when the source does not say.
        normalized: the source stores unit vectors.
        nullable: a record may lack this vector.
        fidelity: ``exact``, ``bounded`` (see ``bound``) or ``quantised``: how the source gives back what it was given.
        bound: the stated error when ``fidelity`` is not exact.
        model: the embedding model, if known.
    """

    name: str
    kind: str = "dense"
    dtype: str = "float32"
    dim: int | None = None
    metric: str = "unknown"
    normalized: bool = False
    nullable: bool = True
    fidelity: str = "exact"
    bound: Bound | None = None
    model: str | None = None

    def __post_init__(self) -> None:
        for value, allowed, what in (
            (self.kind, VECTOR_KINDS, "kind"),
            (self.dtype, VECTOR_DTYPES, "dtype"),
            (self.metric, METRICS, "metric"),
            (self.fidelity, FIDELITIES, "fidelity"),
        ):
            if value not in allowed:
                raise NotRepresentable(
                    f"vector {self.name!r}: {what} {value!r} is not known", why=f"known: {', '.join(allowed)}"
                )
        if self.kind == "sparse" and self.dtype == "float64":
            raise NotRepresentable(
                f"vector {self.name!r}: a sparse vector of float64", why="values of sparse vectors travel as float32"
            )
        if (self.kind == "sparse") != (self.dim is None):
            raise NotRepresentable(f"vector {self.name!r}: dim {self.dim!r} does not fit kind {self.kind!r}")
        if (self.kind == "binary") != (self.dtype == "bit"):
            raise NotRepresentable(f"vector {self.name!r}: dtype {self.dtype!r} does not fit kind {self.kind!r}")


@dataclass(frozen=True, slots=True)
class Field:
    """A typed column of the source, held as one key of ``metadata``.

    Attributes:
        name: column name, the metadata key.
        type: the source's own type text, as ``int4`` or ``timestamptz``.
        encoding: ``json`` when the JSON value is the value, ``text`` when the JSON string is the source's own
            text form, restored by a cast.
        nullable: whether the column takes NULL.
        logical: the portable type, as ``int64`` or ``list<string>`` (see LOGICAL_TYPES); None where it is not known. It
            says what ``type`` means and nothing more, so that fields with and without it are equal.

    Raises:
        NotRepresentable: a logical type that is none.
    """

    name: str
    type: str
    encoding: str = "json"
    nullable: bool = True
    logical: str | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if self.logical is not None and not is_logical(self.logical):
            raise NotRepresentable(
                f"field {self.name!r}: logical type {self.logical!r} is not known",
                why=f"known: {', '.join(LOGICAL_TYPES)}, and list<...> of one of them",
            )


def is_logical(value: object) -> bool:
    """Whether a value is the text of a portable type: one of LOGICAL_TYPES or ``list<one of them>``."""
    return isinstance(value, str) and _LOGICAL.fullmatch(value) is not None


@dataclass(frozen=True, slots=True)
class Collection:
    """The schema of a collection, fixed before the first row is read.

    Attributes:
        name: the collection's name in its database.
        id_kind: one of ID_KINDS.
        vectors: the vector fields, in the database's order.
        fields: typed columns, or None where metadata is free JSON.
        key: the source's key columns, empty where the id is the database's own.
        native: allow-listed settings of the database, informative; never part of the digest.
    """

    name: str
    id_kind: str = "string"
    vectors: tuple[VectorField, ...] = ()
    fields: tuple[Field, ...] | None = None
    key: tuple[Field, ...] = ()
    native: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.id_kind not in ID_KINDS:
            raise NotRepresentable(f"id kind {self.id_kind!r} is not known", why=f"known: {', '.join(ID_KINDS)}")
        names = [v.name for v in self.vectors]
        if len(set(names)) != len(names):
            raise NotRepresentable(f"collection {self.name!r} names a vector twice: {names}")
        for fields, what in ((self.fields or (), "field"), (self.key, "key column")):
            if len({f.name for f in fields}) != len(fields):
                raise NotRepresentable(f"collection {self.name!r} names a {what} twice")

    def vector(self, name: str) -> VectorField:
        """Return the vector field ``name``; raises ``UsageError`` when there is none."""
        for v in self.vectors:
            if v.name == name:
                return v
        known = ", ".join(repr(v.name) for v in self.vectors) or "none"
        raise UsageError(f"collection {self.name!r} has no vector {name!r}", why=f"its vectors: {known}")

    def columns(self) -> dict[str, str]:
        """Map each vector's name to its column in a dump."""
        return vector_columns(v.name for v in self.vectors)

    def digest(self) -> str:
        """SHA-256 (hex) over id kind, key, field types and vector kinds, dtypes, dims and metrics.

        Two collections with equal digests and equal rows are equal. Names of collections, native settings,
        logical types, fidelity and models do not count.
        """
        return hashlib.sha256(canonical.dumpb(self._digest_input())).hexdigest()

    def _digest_input(self) -> dict[str, Any]:
        return {
            "id": self.id_kind,
            "key": [[f.name, f.type, f.encoding] for f in self.key],
            "fields": None if self.fields is None else sorted([f.name, f.type, f.encoding] for f in self.fields),
            "vectors": sorted([v.name, v.kind, v.dtype, v.dim or 0, v.metric] for v in self.vectors),
        }


def vector_columns(names: Iterable[str]) -> dict[str, str]:
    """Give every vector name a column: ``vector`` for a sole unnamed one, else ``vector_<slug>``.

    A slug is the name with A-Z in lower case and every run of other characters than a-z and 0-9 as one ``_``, none of
    them at its ends, cut to 48 characters; ``default`` where nothing is left. So columns differ even where a reader
    ignores case. A later vector whose column is taken gets ``_2``, ``_3`` ...
    """
    ordered = list(names)
    if ordered == [""]:
        return {"": "vector"}
    columns: dict[str, str] = {}
    taken: set[str] = set()
    for name in ordered:
        slug = re.sub(r"[^A-Za-z0-9]+", "_", name).lower().strip("_")[:48] or "default"
        column, n = f"vector_{slug}", 1
        while column in taken:
            n += 1
            column = f"vector_{slug}_{n}"
        taken.add(column)
        columns[name] = column
    return columns


def collection_to_json(c: Collection) -> dict[str, Any]:
    """Return the collection as plain JSON data (the form in manifests, passports and journals)."""
    columns = c.columns()
    return {
        "name": c.name,
        "id": {"kind": c.id_kind, "key": [_field_to_json(f) for f in c.key]},
        "fields": None if c.fields is None else [_field_to_json(f) for f in c.fields],
        "vectors": [_vector_to_json(v, columns[v.name]) for v in c.vectors],
        "native": dict(c.native),
    }


def collection_from_json(data: Mapping[str, Any]) -> Collection:
    """Inverse of ``collection_to_json``. A logical type that is not known counts as none.

    Raises:
        NotRepresentable: an unknown kind, dtype, metric or encoding.
        KeyError, TypeError: an entry is missing or of another type.
    """
    fields, id_ = _object(data).get("fields"), _object(data["id"])
    return Collection(
        name=_typed(data["name"], str),
        id_kind=_typed(id_["kind"], str),
        key=tuple(_field_from_json(f) for f in _typed(id_.get("key", []), list)),
        fields=None if fields is None else tuple(_field_from_json(f) for f in _typed(fields, list)),
        vectors=tuple(_vector_from_json(v) for v in _typed(data["vectors"], list)),
        native=_typed(data.get("native") or {}, dict),
    )


def _typed(value: Any, kind: type[T]) -> T:
    """The value itself, if it is of this very type: JSON's true is no number."""
    if type(value) is not kind:
        raise TypeError(f"{ascii(value)[:60]} is not of the JSON type for {kind.__name__}")
    return value


def _object(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise TypeError(f"{ascii(value)[:60]} is not an object")
    return value


def renamed(c: Collection, name: str) -> Collection:
    """The same collection under another name."""
    return replace(c, name=name)


def _field_to_json(f: Field) -> dict[str, Any]:
    logical = {} if f.logical is None else {"logical": f.logical}
    return {"name": f.name, "type": f.type, "encoding": f.encoding, "nullable": f.nullable, **logical}


def _field_from_json(data: Mapping[str, Any]) -> Field:
    name, encoding = _typed(_object(data)["name"], str), data.get("encoding", "json")
    if encoding not in ENCODINGS:
        raise NotRepresentable(f"field {name!r}: encoding {encoding!r} is not known")
    logical = data.get("logical")
    nullable = _typed(data.get("nullable", True), bool)
    return Field(name, _typed(data["type"], str), encoding, nullable, logical if is_logical(logical) else None)


def _vector_to_json(v: VectorField, column: str) -> dict[str, Any]:
    bound = None if v.bound is None else {"relative": v.bound.relative, "normalized": v.bound.normalized}
    return {
        "name": v.name, "column": column, "kind": v.kind, "dtype": v.dtype, "dim": v.dim, "metric": v.metric,
        "normalized": v.normalized, "nullable": v.nullable, "fidelity": v.fidelity, "bound": bound,
        "model": v.model,
    }  # fmt: skip


def _vector_from_json(data: Mapping[str, Any]) -> VectorField:
    bound, dim, model = _object(data).get("bound"), data["dim"], data.get("model")
    return VectorField(
        name=_typed(data["name"], str),
        kind=data["kind"],
        dtype=data["dtype"],
        dim=None if dim is None else _typed(dim, int),
        metric=data["metric"],
        normalized=_typed(data.get("normalized", False), bool),
        nullable=_typed(data.get("nullable", True), bool),
        fidelity=data.get("fidelity", "exact"),
        bound=None if bound is None else _bound_from_json(_object(bound)),
        model=None if model is None else _typed(model, str),
    )


def _bound_from_json(data: Mapping[str, Any]) -> Bound:
    relative = data["relative"]
    if type(relative) not in (int, float) or not 0 <= relative < 1e308:
        raise TypeError(f"{ascii(relative)[:60]} is no bound")
    return Bound(float(relative), _typed(data.get("normalized", False), bool))
