"""What a row group may hold, from a target's capabilities: every target refuses the same, in the same words.

A plan is checked before anything is created (``connectors.checks``); this is the same for records. The mapping sees to
it that nothing of this is needed; who writes past it, with another plan or a foreign dump, is stopped here by name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pyarrow_compute

from ...errors import IntegrityError, NotRepresentable
from ...model import ids as idlib
from ...model.capabilities import VALUE_KINDS, MetadataRules, TargetCapabilities
from ...model.collection import VectorField
from ...model.passport import ORIGINALS
from ...model.projection import Projection
from ..checks import check_batch
from ..contract import TargetPlan

pc: Final[Any] = pyarrow_compute
#: A text with plain JSON: it has no more kinds of values, and the key that tags others in a dump means nothing there.
JSON_TEXT: Final = MetadataRules(
    exact=frozenset(VALUE_KINDS) - {"nonfinite", "decimal", "bytes", "surrogates"},
    forbidden_keys=r"\$+vp",
    forbidden_mark='$vp"',
)
SAFE: Final = "nothing of this row group was written"
_SHOWN: Final = 80


def check_records(batch: pa.RecordBatch, plan: TargetPlan, caps: TargetCapabilities, title: str, where: str) -> None:
    """Refuse a row group that a target cannot hold, but for the values of its metadata.

    Args:
        batch: as ``Target.write`` gets it.
        plan: of the import.
        caps: of the target.
        title: the database's name, for messages.
        where: names the row group.

    Raises:
        NotRepresentable: columns, a namespace, a document, an id, a missing vector or a number in one that the target
            does not hold; the record is named.
        IntegrityError: a key stands twice, or a vector has another dimension.
    """
    check_batch(batch, plan, where)
    if plan.collection.key:
        # Keys in columns of their own are the database's to judge: it may compress long ones.
        caps = replace(caps, id_max_bytes=0)
    check_keys(batch, plan.collection.id_kind, caps, title, where)
    columns = plan.collection.columns()
    for field in plan.collection.vectors:
        check_vectors(batch, batch.column(columns[field.name]), field, caps, title)


# ---- keys and documents ----


def check_keys(batch: pa.RecordBatch, id_kind: str, caps: TargetCapabilities, title: str, where: str) -> None:
    """Refuse namespaces, documents and ids that a target does not hold, and keys that stand twice."""
    if not caps.native_namespace:
        _refuse_first(batch, pc.not_equal(batch.column("namespace"), ""), "a namespace", f"{title} has no namespaces")
    if not caps.native_document:
        why = f"{title} has no place for documents beside metadata"
        _refuse_first(batch, pc.is_valid(batch.column("document")), "a document", why)
    _check_ids(batch, id_kind, caps, title)
    _check_repeats(batch, where)


def _check_ids(batch: pa.RecordBatch, id_kind: str, caps: TargetCapabilities, title: str) -> None:
    ids: Any = batch.column("id")
    if caps.id_max_bytes and id_kind != "composite":
        long = pc.greater(pc.binary_length(ids), caps.id_max_bytes)
        _refuse_first(batch, long, "its id", f"{title} holds ids of up to {caps.id_max_bytes:,} bytes")
    if caps.id_forbidden and len(ids):
        forbidden = re.compile(caps.id_forbidden)
        bad = pa.array([forbidden.search(id) is not None for id in ids.to_pylist()], pa.bool_())
        _refuse_first(batch, bad, "its id", f"{title} takes no ids that are empty or have such characters")
    if id_kind in caps.id_kinds and id_kind in _FORMS:
        _refuse_first(batch, _unfit(ids, id_kind, caps), "its id", f"{title} holds {_kinds(caps)}")


_UUID: Final = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_INT: Final = "0|-?[1-9][0-9]*"
_FORMS: Final = {"int": f"^({_INT})$", "uuid": f"^({_UUID})$", "int|uuid": f"^({_INT}|{_UUID})$"}


def _unfit(ids: Any, id_kind: str, caps: TargetCapabilities) -> Any:
    """Which ids are not of the canonical form of their kind, or are integers out of bounds."""
    bad = pc.invert(pc.match_substring_regex(ids, _FORMS[id_kind]))
    if id_kind == "uuid":
        return bad
    # Only integers with as many digits as a bound has need to be read.
    edge = pc.or_(
        pc.greater_equal(pc.binary_length(ids), len(str(caps.id_int_max))), pc.match_substring_regex(ids, "^-")
    )
    read = pc.and_(pc.and_(edge, pc.invert(bad)), pc.match_substring_regex(ids, f"^({_INT})$"))
    if not pc.any(read).as_py():
        return bad
    numbers = [idlib.to_int(text) for text in ids.filter(read).to_pylist()]
    outside = pa.array([not caps.id_int_min <= number <= caps.id_int_max for number in numbers], pa.bool_())
    return pc.or_(bad, pc.replace_with_mask(read, read, outside))


def _kinds(caps: TargetCapabilities) -> str:
    kinds = {"int": f"integers from {caps.id_int_min:,} to {caps.id_int_max:,}", "uuid": "UUIDs"}
    return " and ".join(words for kind, words in kinds.items() if kind in caps.id_kinds) or "text"


def _check_repeats(batch: pa.RecordBatch, where: str) -> None:
    """One rule for all: which of two records with one key is right, nobody can tell."""
    ids: Any = batch.column("id")
    if pc.count_distinct(ids).as_py() == batch.num_rows:
        return
    seen: set[tuple[str, str]] = set()
    for key in zip(batch.column("namespace").to_pylist(), ids.to_pylist(), strict=True):
        if key in seen:
            raise IntegrityError(f"id {key[1]!r} stands twice in {where}", "two records have the same key", SAFE)
        seen.add(key)


def _refuse_first(batch: pa.RecordBatch, bad: Any, what: str, why: str) -> None:
    """Refuse the first record for which ``bad`` is true, when there is one."""
    if pc.any(bad).as_py():
        first = pc.index(bad, True).as_py()
        raise NotRepresentable(f"record {batch.column('id')[first].as_py()!r}: {what} cannot be stored", why, SAFE)


# ---- vectors ----


def check_vectors(batch: pa.RecordBatch, column: Any, field: VectorField, caps: TargetCapabilities, title: str) -> None:
    """Refuse records without a vector, and vectors with NaN or infinities, where a target holds none."""
    if not caps.null_vectors and column.null_count:
        first = pc.index(pc.is_null(column), True).as_py()
        raise refused_vector(batch.column("id")[first].as_py(), field, f"{title} has no record without it", "no vector")
    if caps.nonfinite_vectors or field.kind == "binary" or field.dtype in ("int8", "uint8"):
        return
    present = column.drop_null()
    rows = present.field("values") if field.kind == "sparse" else present
    numbers = rows.flatten().flatten() if field.kind == "multi" else rows.flatten()
    odd = np.flatnonzero(~np.isfinite(numbers.to_numpy(zero_copy_only=False)))
    if len(odd):
        lengths = np.asarray(rows.value_lengths(), np.int64)
        if field.kind == "multi":
            lengths = lengths * (field.dim or 0)
        owner = int(np.searchsorted(np.cumsum(lengths), int(odd[0]), side="right"))
        row = int(np.flatnonzero(np.asarray(column.is_valid()))[owner])
        raise refused_vector(batch.column("id")[row].as_py(), field, f"{title} takes no NaN and no infinity")


def refuse_vectors(bad: npt.NDArray[np.bool_], ids: Sequence[str], field: VectorField, why: str) -> None:
    """Refuse the first of some records whose vector a target would change or not take.

    Args:
        bad: (n,) which ones.
        ids: (n,) of the records.
        field: the vector.
        why: what the target does with such a vector.

    Raises:
        NotRepresentable: one of them is bad.
    """
    if bad.any():
        raise refused_vector(ids[int(np.argmax(bad))], field, why)


def refused_vector(id: str, field: VectorField, why: str, what: str = "") -> NotRepresentable:
    """The error for a record's vector."""
    of = f" {field.name!r}" if field.name else ""
    return NotRepresentable(
        f"record {id!r} has {what}{of}" if what else f"record {id!r}: its vector{of} cannot be stored", why, SAFE
    )


# ---- metadata ----


class MetadataCheck:
    """Refuses metadata that a target would change or drop; one object for all row groups of a session.

    Args:
        rules: of the target.
        title: the database's name, for messages.
    """

    def __init__(self, rules: MetadataRules, title: str) -> None:
        self._projection, self._title = Projection(rules), title
        self._known: set[str] = {ORIGINALS}
        #: Types of which every value is held: most values need no further look.
        self._plain: frozenset[type] = frozenset(
            kind for kind, words in _PLAIN.items() if rules.exact.issuperset(words)
        )

    def __call__(self, ids: Iterable[str], rows: Iterable[Mapping[str, Any]]) -> None:
        """Look at the metadata of some records.

        Args:
            ids: of the records.
            rows: parsed JSON objects, tags as they stand.

        Raises:
            NotRepresentable: naming the first record, key and value.
        """
        plain, held = self._plain, self._projection.held
        for id, row in zip(ids, rows, strict=True):
            if not row.keys() <= self._known:
                self._learn(id, row)
            for key, value in row.items():
                if type(value) not in plain and not held(value):
                    raise refused_value(id, key, self._title, _would_change(self._title, value))

    def _learn(self, id: str, row: Mapping[str, Any]) -> None:
        for key in row.keys() - self._known:
            if not self._projection.allowed(key):
                raise refused_value(id, key, self._title, f"{self._title} refuses or drops such keys")
            self._known.add(key)


_PLAIN: Final[dict[type, frozenset[str]]] = {
    str: frozenset({"string", "string_nul"}),
    bool: frozenset({"boolean"}),
    type(None): frozenset({"null"}),
}


def refused_value(id: str, key: str, title: str, why: str) -> NotRepresentable:
    """The error for a record's value under a metadata key."""
    return NotRepresentable(f"record {id!r}: metadata key {key!r} cannot be stored in {title}", why, SAFE)


def _would_change(title: str, value: Any) -> str:
    shown = repr(value)
    return f"{title} would give back something else than {shown[:_SHOWN]}{'...' if len(shown) > _SHOWN else ''}"
