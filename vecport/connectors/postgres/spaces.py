"""The namespaces of a dump in a table that vecport filled: under a key of the metadata, or before the id."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...model.passport import Passport
from . import sql
from .layout import Layout


def expression(passport: Mapping[str, Any] | None, layout: Layout) -> str | None:
    """The namespace of a row, as restoring it finds it (``model.restore``).

    Returns:
        ``""`` where the passport moves no namespaces, None where the table has no column for them.
    """
    found = Passport.from_json(passport) if passport else None
    if found is None or (found.namespace is None and found.prefix is None):
        return ""
    if found.prefix is not None:
        if len(layout.keys) != 1:
            return None
        key, end = f"{sql.quote(layout.keys[0].column)}::text", sql.literal(found.prefix)
        return f"CASE WHEN strpos({key}, {end}) > 0 THEN split_part({key}, {end}, 1) ELSE '' END"
    column = next((slot.column for slot in layout.of("field") if slot.name == found.namespace), None)
    if column is not None:
        return f"coalesce({sql.quote(column)}::text, '')"
    metadata = layout.one("metadata")
    if metadata is None:
        return None
    value, key = f"{sql.quote(metadata.column)}::jsonb", sql.literal(found.namespace or "")
    return f"CASE WHEN jsonb_typeof({value} -> {key}) = 'string' THEN {value} ->> {key} ELSE '' END"
