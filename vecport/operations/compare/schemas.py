"""Schemas of two sides, field by field."""

from __future__ import annotations

from typing import Any

from ...model.collection import Collection


def schema_changes(a: Collection, b: Collection) -> tuple[str, ...]:
    """One sentence for each difference that the schema digest sees."""
    out = []
    if a.id_kind != b.id_kind:
        out.append(f"id kind: {a.id_kind} became {b.id_kind}")
    if [(f.name, f.type, f.encoding) for f in a.key] != [(f.name, f.type, f.encoding) for f in b.key]:
        out.append(f"key columns: {_columns(a.key)} became {_columns(b.key)}")
    out += _field_changes(a, b)
    ours, theirs = {v.name: v for v in a.vectors}, {v.name: v for v in b.vectors}
    out += [f"vector {n!r} is gone" for n in ours if n not in theirs]
    out += [f"vector {n!r} is new" for n in theirs if n not in ours]
    for name in ours.keys() & theirs.keys():
        for what in ("kind", "dtype", "dim", "metric"):
            x, y = getattr(ours[name], what), getattr(theirs[name], what)
            if x != y:
                out.append(f"vector {name!r}: {what} {x} became {y}")
    return tuple(out)


def _field_changes(a: Collection, b: Collection) -> list[str]:
    if (a.fields is None) != (b.fields is None):
        names = ("typed columns", "free JSON")
        return [f"metadata: {names[a.fields is None]} became {names[b.fields is None]}"]
    ours = {f.name: f for f in a.fields or ()}
    theirs = {f.name: f for f in b.fields or ()}
    out = [f"field {n!r} is gone" for n in ours if n not in theirs]
    out += [f"field {n!r} is new" for n in theirs if n not in ours]
    for n in ours.keys() & theirs.keys():
        if (ours[n].type, ours[n].encoding) != (theirs[n].type, theirs[n].encoding):
            out.append(f"field {n!r}: {ours[n].type} became {theirs[n].type}")
    return out


def _columns(fields: Any) -> str:
    return ", ".join(f"{f.name} {f.type}" for f in fields) or "none"
