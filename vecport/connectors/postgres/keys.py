"""Keys in SQL: the condition that finds records by their ids, and the namespace that a row of a dump came from.

All ids of a query travel in one parameter, a JSON array, so that no value enters a statement.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from ...model import ids as idlib
from ...model.passport import Passport
from . import sql
from .catalog import Table
from .client import run
from .layout import Layout, Slot

if TYPE_CHECKING:
    from .client import Connection

_INT_DIGITS: Final = 20
#: The first version that can tell whether a text is a value of a type.
_INPUT_IS_VALID: Final = 160_000


def key_condition(layout: Layout, parameter: str, version: int) -> str:
    """A condition for the keys in a JSON parameter, an array of arrays of texts; see ``key_rows``.

    Args:
        layout: of the table.
        parameter: its name in the statement.
        version: of the server, as 180004.
    """
    columns = ", ".join(sql.quote(slot.column) for slot in layout.keys)
    # Both names are said, because a column of the table may have either.
    values = ", ".join(_key_value(slot, f"(wanted.parts ->> {i})", version) for i, slot in enumerate(layout.keys))
    rows = f"pg_catalog.jsonb_array_elements({parameter}::text::jsonb) AS wanted(parts)"
    return f"({columns}) IN (SELECT {values} FROM {rows})"


def _key_value(slot: Slot, text: str, version: int) -> str:
    """A key's text as a value of its column; NULL, which finds nothing, where the server can tell that it is none."""
    bare = _bare_type(slot)
    if not slot.kind.as_text or version < _INPUT_IS_VALID:
        return f"{text}::{bare}"
    return f"CASE WHEN pg_catalog.pg_input_is_valid({text}, {sql.literal(bare)}) THEN {text}::{bare} END"


def _bare_type(slot: Slot) -> str:
    """A type without a length: a cast to ``varchar(3)`` or ``name`` cuts a text off, and finds another record."""
    return {"varchar": "text", "char": "bpchar", "name": "text", "bit": "bit varying"}.get(
        slot.kind.base.name, slot.kind.base.sql
    )


def key_rows(layout: Layout, record_ids: Sequence[str]) -> list[list[str]]:
    """The texts of key columns for ids, leaving out ids that no row can have."""
    rows = []
    for record_id in record_ids:
        values = _key_values(layout, record_id)
        if values is not None and all(map(_can_hold, layout.keys, values)):
            rows.append(values)
    return rows


def _key_values(layout: Layout, record_id: str) -> list[str] | None:
    if layout.flat:
        return [record_id]
    try:
        values = json.loads(record_id)
    except ValueError:
        return None
    if not isinstance(values, list) or len(values) != len(layout.keys):
        return None
    return [value if isinstance(value, str) else json.dumps(value) for value in values]


def _can_hold(slot: Slot, text: str) -> bool:
    """Whether the key column could hold a value of this text."""
    if slot.kind.is_integer:
        limit = 1 << (8 * slot.kind.base.width - 1)
        return idlib.kind_of(text) == "int" and len(text) <= _INT_DIGITS and -limit <= int(text) < limit
    if slot.kind.base.name == "uuid":
        return idlib.kind_of(text) == "uuid"
    if slot.kind.base.name == "bool":
        return text in ("true", "false")
    return _is_text(text)


def _is_text(text: str) -> bool:
    """Whether Postgres can hold a text: no U+0000, no lone surrogates."""
    try:
        return b"\0" not in text.encode()
    except UnicodeEncodeError:
        return False


def present(connection: Connection, table: Table, layout: Layout, keys: Sequence[tuple[str, str]]) -> list[bool]:
    """Which of some (namespace, id) pairs the table has a row of."""
    rows = [None if ns else next(iter(key_rows(layout, [id_])), None) for ns, id_ in keys]
    wanted = [[str(i), *row] for i, row in enumerate(rows) if row is not None]
    columns = [sql.quote(slot.column) for slot in layout.keys]
    version = connection.info.server_version
    values = [_key_value(slot, f"(wanted.parts ->> {i})", version) for i, slot in enumerate(layout.keys, 1)]
    same = " AND ".join(f"here.{column} = {value}" for column, value in zip(columns, values, strict=True))
    statement = (
        "SELECT (wanted.parts ->> 0)::int4 FROM pg_catalog.jsonb_array_elements($1::text::jsonb) AS wanted(parts)"
        f" WHERE EXISTS (SELECT 1 FROM {table.rows} AS here WHERE {same})"
    )
    found = {row[0] for row in run(connection, statement, [json.dumps(wanted)]).fetchall()}
    return [i in found for i in range(len(keys))]


# ---- namespaces ----


def namespace_of(passport: Mapping[str, Any] | None, layout: Layout) -> str | None:
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
