"""Single changes of a record, each as a database's own client could make it, and what a comparison must say of them."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..model.capabilities import TargetCapabilities
from ..model.collection import Bound, Collection, VectorField
from ..model.compare import part_of
from .records import Record, Sparse

#: By so many bounds a change is beyond the bound, or below it.
_BEYOND, _BELOW = 50.0, 0.2


@dataclass(frozen=True, slots=True)
class Change:
    """One change of one record.

    Attributes:
        what: in words.
        before: the record as it is; None when there is none.
        after: the record as it becomes; None when it goes.
        part: the part that differs then; ``""`` where the record as a whole is gone or added, and for no finding.
        found: ``changed``, ``missing``, ``extra``; ``""`` when nothing must be found.
    """

    what: str
    before: Record | None
    after: Record | None
    part: str = ""
    found: str = "changed"


def changes_of(
    records: Mapping[str, Record], added: Record, dump: Collection, held: Collection, caps: TargetCapabilities
) -> Iterator[Change]:
    """Every single change that a database can make.

    Args:
        records: by id, as its client reads them.
        added: a record that is not there.
        dump: the schema of what was imported.
        held: the schema as the database shows it.
        caps: of the target.
    """
    there = list(records.values())
    for n, field in enumerate(dump.vectors):
        name = held.vectors[0].name if len(dump.vectors) == 1 else field.name
        losable = caps.null_vectors and next(v for v in held.vectors if v.name == name).nullable
        yield from _vector_changes(there[n:], field, name, caps.bound_of(field.metric, field.dtype), losable)
    with_document = next((r for r in there if r.document), None)
    if with_document is not None:
        yield Change(
            "document", with_document, replace(with_document, document=f"{with_document.document}!"), "document"
        )
        yield Change("document lost", with_document, replace(with_document, document=None), "document")
    yield from _metadata_changes(there)
    yield Change("record gone", there[-1], None, found="missing")
    yield Change("record added", None, added, found="extra")


# ---- vectors ----


def _vector_changes(
    there: list[Record], field: VectorField, name: str, bound: Bound | None, losable: bool
) -> Iterator[Change]:
    part = part_of(field.name)
    full = [r for r in there if r.vectors.get(name) is not None and _size(r.vectors[name]) > 1]
    record = full[0]
    value: Any = record.vectors[name]
    for what, changed in _changed(value, field, bound):
        yield Change(f"{field.kind} {field.name!r}: {what}", record, _with(record, name, changed), part)
    if bound is not None and field.kind == "dense":
        near = _moved(value, _BELOW * bound.relative * float(np.abs(value).max()))
        yield Change(f"{field.kind} {field.name!r}: below the bound", record, _with(record, name, near), found="")
    if losable:
        yield Change(f"{field.kind} {field.name!r}: lost", record, _with(record, name, None), part)
    lacking = next((r for r in there if r.vectors.get(name) is None), None)
    if lacking is not None:
        yield Change(f"{field.kind} {field.name!r}: gained", lacking, _with(lacking, name, value), part)


def _changed(value: Any, field: VectorField, bound: Bound | None) -> Iterator[tuple[str, Any]]:
    if field.kind == "sparse":
        indices, values = value.indices, value.values
        yield "index", Sparse((*indices[:-1], indices[-1] + 1), values)
        yield "value", Sparse(indices, (float(np.nextafter(np.float32(values[0]), np.float32(9))), *values[1:]))
        yield "sign", Sparse(indices, (-values[0], *values[1:]))
        yield "entry lost", Sparse(indices[1:], values[1:])
    elif field.kind == "binary":
        flipped = value.copy()
        flipped[3] ^= 1
        yield "bit", flipped
    else:
        scale = float(np.abs(value).max())
        yield "element", _moved(value, 0.0 if bound is None else _BEYOND * bound.relative * scale)
        turned = value.copy()
        turned.flat[int(np.abs(value).argmax())] *= -1
        yield "sign", turned
        if field.kind == "multi":
            yield "row gone", value[:-1]
            yield "rows in another order", value[::-1]


def _moved(value: Any, distance: float) -> Any:
    """The same with one element further up by a distance; by the last bit for none."""
    moved = value.copy()
    place = int(np.abs(value).argmin())
    one = moved.flat[place]
    moved.flat[place] = one + np.float32(distance) if distance else np.nextafter(one, np.float32(np.inf))
    return moved


def _size(value: Any) -> int:
    return len(value.indices) if isinstance(value, Sparse) else len(value)


def _with(record: Record, name: str, value: Any) -> Record:
    return replace(record, vectors={**record.vectors, name: value})


# ---- metadata ----


def _metadata_changes(there: list[Record]) -> Iterator[Change]:
    record = there[1]
    values = record.metadata

    def change(what: str, key: str, value: Any) -> Change:
        return Change(f"metadata {what}", record, replace(record, metadata={**values, key: value}), f"metadata:{key}")

    if isinstance(values.get("text"), str):
        yield change("value", "text", values["text"] + "!")
        without = {k: v for k, v in values.items() if k != "text"}
        yield Change("metadata key gone", record, replace(record, metadata=without), "metadata:text")
    if type(values.get("number")) is int:
        yield change("type, 1 to 1.0", "number", float(values["number"]))
        yield change("type, 1 to text", "number", str(values["number"]))
    yield change("key added", "added", "by hand")
    if isinstance(values.get("tags"), list):
        yield change("list order", "tags", values["tags"][::-1])
    if isinstance(values.get("nested"), dict):
        nested = copy.deepcopy(values["nested"])
        nested["a"]["b"][0] = 2
        yield change("nested value", "nested", nested)
