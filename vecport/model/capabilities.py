"""Capabilities as data: what a database can hold and how it can be read. False, 0 and None mean no, never unknown."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .collection import Bound

#: Kinds of JSON values that ``profile`` counts and mapping rules speak of.
VALUE_KINDS = (
    "null", "boolean",
    "integer",            # |x| <= 2^53
    "integer64",          # fits a signed 64-bit integer
    "integer64u",         # 2^63 .. 2^64 - 1
    "integer_big",        # anything larger or smaller
    "number",             # a double spelled without exponent
    "number_exponent",    # a double of 1e16 and above, whose digits are an integer
    "number_negative_zero",
    "nonfinite", "decimal", "bytes", "surrogates",
    "string", "string_nul",   # string_nul holds U+0000
    "list_empty", "list_string", "list_integer", "list_number", "list_boolean", "list_mixed",
    "object",
)  # fmt: skip

CONCURRENCY = ("handle", "threads", "processes")
#: What the figure of ``count`` is worth: right at every moment, right after a while, or not to be had.
COUNTS = ("exact", "eventual", "none")
ACKS = ("upsert", "transactional", "rebuild")


@dataclass(frozen=True, slots=True)
class SourceCapabilities:
    """How a collection can be read.

    Attributes:
        snapshot: every scan under one token sees one point in time.
        key_ordered: cursors are keys, strictly rising in a partition, and outlive the snapshot.
        concurrency: ``handle`` (one session in one thread), ``threads`` or ``processes`` (several sessions).
        lists_keys: ``keys`` works.
        fetches: ``fetch`` works.
        page_rows: a good page size at 384 dimensions; scaled down by the memory budget.
        keyless: ids are positions; there is no key to compare by.
        count: what ``count`` is worth, one of COUNTS. What is not exact proves nothing; keys that are listed do.
        selects_namespaces: ``Selection.namespaces`` works; the pipeline refuses it elsewhere.
    """

    snapshot: bool = False
    key_ordered: bool = False
    concurrency: str = "handle"
    lists_keys: bool = True
    fetches: bool = True
    page_rows: int = 1_000
    keyless: bool = False
    count: str = "exact"
    selects_namespaces: bool = False


@dataclass(frozen=True, slots=True)
class MetadataRules:
    """Which JSON values a target holds exactly as the value of a metadata key.

    Attributes:
        exact: kinds of VALUE_KINDS that come back as they went in. All others are encoded: a filter-friendly
            projection stands in the field, and the original in the reserved key.
        survives: whether a finite double of an exact kind comes back as it went in; None when all do. One that does
            not is rounded to 15 digits in the field, and its original travels in the reserved key.
        holds: whether an object, although objects are not among the exact kinds, comes back as it went in.
        forbidden_keys: regular expression (full match) of keys that cannot be stored; their values travel only
            in the reserved key.
        forbidden_mark: a text that stands in the canonical JSON of every object with a forbidden key; empty when there
            is none. With it, metadata without a trace of anything to encode is not parsed.
        version: of these rules. It grows with every change of what is encoded or how, and the rules before stay known
            as ``TargetCapabilities.past_rules``, so that what they encoded can be read for ever.
    """

    exact: frozenset[str] = frozenset(VALUE_KINDS)
    survives: Callable[[float], bool] | None = None
    holds: Callable[[Mapping[str, Any]], bool] | None = None
    forbidden_keys: str = ""
    forbidden_mark: str = ""
    version: int = 1


@dataclass(frozen=True, slots=True)
class Names:
    """Which names a target takes, of collections, of namespaces or of vectors.

    Attributes:
        grammar: regular expression (full match), ``""`` for any text.
        max_bytes: of the name in UTF-8, 0 for no limit.
        says: the grammar in words, for messages and the documentation.
        default: what the database itself calls the one whose name is ``""`` in a dump, as ``_default``; ``""`` where
            that one has no name there either, None where there is none and everything needs a name.
        parts: of a name that is written as several, as a schema and a table; grammar and size are those of each.
    """

    grammar: str = ""
    max_bytes: int = 0
    says: str = ""
    default: str | None = None
    parts: Callable[[str], Sequence[str]] | None = None

    def problem(self, name: str) -> str:
        """Why a name is not taken, ``""`` when it is."""
        if not name:
            return "it needs a name" if self.default is None else ""
        if name == self.default:
            return "the database gives that name to the default one, with which it would become one"
        return next(filter(None, map(self._problem, self.parts(name) if self.parts else (name,))), "")

    def _problem(self, part: str) -> str:
        try:
            size = len(part.encode())
        except UnicodeEncodeError:
            return "it is not Unicode text"
        if self.max_bytes and size > self.max_bytes:
            return f"it has {size:,} bytes, {self.max_bytes:,} are the most"
        if self.grammar and not re.fullmatch(self.grammar, part):
            return self.says or f"names match {self.grammar}"
        return ""


@dataclass(frozen=True, slots=True)
class TargetCapabilities:
    """What a target can hold.

    Attributes:
        id_kinds: id kinds that it holds as they are; the mapping picks the narrowest that fits.
        id_text: it holds any text as an id (so ints and uuids become text, reversibly).
        id_int_min: the smallest integer id it holds, where it holds integers.
        id_int_max: the largest one.
        id_max_bytes: longest id text, 0 for no limit.
        id_forbidden: regular expression (search) of id texts that it refuses.
        vectors: the largest number of vector fields.
        vectors_min: the smallest one.
        unnamed_vector: it can hold one vector without a name.
        named_vectors: a vector can keep its name.
        vector_names: the names that vectors can have; one that has another is called as its column in a dump.
        named_kinds: kinds of vectors that need a name, where others do not.
        vector_name: what a sole unnamed vector is called where names are needed.
        kinds: vector kinds with the dtypes that each holds exactly.
        metrics: metrics it can index; others are kept in the passport only, or refused (``metric_required``).
        kind_metrics: the same for one kind of vector, where it has others than ``metrics``.
        metric_required: a collection cannot be created without one of ``metrics``.
        max_dim: of a dense vector.
        kind_max_dim: the same for one kind of vector, where it is another than ``max_dim``.
        dim_multiple: by kind of vector, what its dimensions are a multiple of, as 8 for bits that are kept as bytes.
        null_vectors: a record may lack its vector.
        nonfinite_vectors: NaN and infinities may stand in vectors.
        bounds: by metric, how far a vector read back may differ.
        dtype_bounds: the same for vectors of one dtype, where it is otherwise than in ``bounds``.
        native_document: it has a place for documents beside metadata; U+0000 in documents is held when
            ``string_nul`` is exact.
        native_namespace: it has namespaces.
        collection_names: the names that collections can have.
        namespace_names: the names that namespaces can have, where it has them.
        links: references between records are set in a second pass (``Target.link``).
        typed_fields: it creates typed columns for ``Collection.fields`` whose type text has one of these prefixes.
        metadata: rules for JSON values.
        past_rules: rules of earlier releases, by whose version a passport names them.
        passport: it can store the passport.
        ack: ``upsert``, ``transactional`` or ``rebuild``.
        concurrency: ``handle``, ``threads`` or ``processes``.
        if_exists: which of create, append, replace it offers.
        on_conflict: which of replace, skip, fail it offers for records that are there already.
        staged: what has the collection's name stays as it is until ``finish``, and gives way then to ``replace`` or to
            the very same content alone.
        write_rows: records a ``write`` sends to the database at once at most (the connector splits by itself).
        count: what ``count`` is worth, one of COUNTS. One that trails behind is waited for, and then every record is
            looked for among the keys, where the connector's source lists them.
    """

    id_kinds: frozenset[str] = frozenset({"string"})
    id_text: bool = True
    id_int_min: int = -(1 << 63)
    id_int_max: int = (1 << 63) - 1
    id_max_bytes: int = 0
    id_forbidden: str = ""
    vectors: int = 1
    vectors_min: int = 0
    unnamed_vector: bool = True
    named_vectors: bool = True
    vector_names: Names = Names()
    named_kinds: frozenset[str] = frozenset()
    vector_name: str = "embedding"
    kinds: dict[str, frozenset[str]] = field(default_factory=lambda: {"dense": frozenset({"float32"})})
    metrics: frozenset[str] = frozenset({"cosine", "dot", "l2"})
    kind_metrics: dict[str, frozenset[str]] = field(default_factory=dict)
    metric_required: bool = True
    max_dim: int = 65_536
    kind_max_dim: dict[str, int] = field(default_factory=dict)
    dim_multiple: dict[str, int] = field(default_factory=dict)
    null_vectors: bool = False
    nonfinite_vectors: bool = False
    bounds: dict[str, Bound] = field(default_factory=dict)
    dtype_bounds: dict[str, dict[str, Bound]] = field(default_factory=dict)
    native_document: bool = False
    native_namespace: bool = False
    collection_names: Names = Names()
    namespace_names: Names = Names(default="")
    links: bool = False
    typed_fields: str = ""
    metadata: MetadataRules = MetadataRules()
    past_rules: tuple[MetadataRules, ...] = ()
    passport: bool = True
    ack: str = "upsert"
    concurrency: str = "handle"
    if_exists: frozenset[str] = frozenset({"create", "append", "replace"})
    on_conflict: frozenset[str] = frozenset({"replace"})
    staged: bool = False
    write_rows: int = 1_000
    count: str = "exact"

    def metrics_of(self, kind: str) -> frozenset[str]:
        """The metrics that it can index for a kind of vector."""
        return self.kind_metrics.get(kind, self.metrics)

    def max_dim_of(self, kind: str) -> int:
        """The most dimensions of a kind of vector."""
        return self.kind_max_dim.get(kind, self.max_dim)

    def rules_of(self, version: int) -> MetadataRules | None:
        """The metadata rules of a version, None for one that is not known."""
        return next((r for r in (self.metadata, *self.past_rules) if r.version == version), None)

    def bound_of(self, metric: str, dtype: str) -> Bound | None:
        """How far a vector of this dtype may differ when it is read back, None for not at all."""
        return self.dtype_bounds.get(dtype, self.bounds).get(metric)
