"""Types that users and extensions made: read from the catalogs, and made again from parsed parts.

A definition is plain data: ``{"kind": "enum", "labels": [...]}``, ``{"kind": "domain", "base": "int4", "not_null":
false, "checks": [names]}``, ``{"kind": "composite", "attributes": [[name, type], ...]}``, ``{"kind": "extension",
"extension": name}``, or ``{"kind": "other"}`` for what is only used where it is there already. Checks of domains are
expressions: they are named, and never made.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from ...errors import NotRepresentable
from . import sql
from .catalog import TYPE_COLUMNS, TYPE_JOINS, column_type
from .client import run
from .layout import Layout
from .types import ColumnType, own_name, own_type, parse_type

if TYPE_CHECKING:
    from .client import Connection

Definition = dict[str, Any]

_SAFE: Final = "nothing was written"
_MOST_LABELS: Final = 10_000
_MOST_TYPES: Final = 200


def read_definitions(connection: Connection, kinds: Iterable[ColumnType]) -> dict[str, Definition]:
    """The definitions of all types among these that are not Postgres' own, and of those that they are made of.

    Returns:
        By the quoted name with its schema.
    """
    found: dict[str, Definition] = {}
    open_ = [kind for kind in kinds if kind.base.own]
    while open_:
        schema, name, _ = own_name(open_.pop())
        key = sql.qualified(schema, name)
        if key in found:
            continue
        row = _find(connection, schema, name)
        if row is None:
            continue
        found[key], parts = _read(connection, row)
        open_ += [part for part in parts if part.base.own]
    return dict(sorted(found.items()))


@dataclass(frozen=True, slots=True)
class _Row:
    """What ``pg_type`` says of a type."""

    oid: int
    schema: str
    kind: str
    relation: int
    base: int
    modifier: int
    not_null: bool
    extension: str


def _find(connection: Connection, schema: str | None, name: str) -> _Row | None:
    """Find a type; without a schema, the one of this name that belongs to an extension."""
    row = run(
        connection,
        """SELECT t.oid, n.nspname, t.typtype::text, coalesce(c.oid, 0)::int8, t.typbasetype::int8, t.typtypmod,
                  t.typnotnull,
                  coalesce((SELECT e.extname FROM pg_catalog.pg_depend d
                            JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid
                            WHERE d.classid = 'pg_catalog.pg_type'::regclass AND d.objid = t.oid AND d.deptype = 'e'
                            AND d.refclassid = 'pg_catalog.pg_extension'::regclass), '') AS extension
           FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
           LEFT JOIN pg_catalog.pg_class c ON c.oid = t.typrelid AND c.relkind = 'c'
           WHERE t.typname = $1::text AND ($2::text IS NULL OR n.nspname = $2::text) ORDER BY n.nspname""",
        [name, schema],
    ).fetchall()
    rows = [_Row(*values) for values in row]
    return next((found for found in rows if schema is not None or found.extension), None)


def _read(connection: Connection, row: _Row) -> tuple[Definition, list[ColumnType]]:
    """A type's definition, and the types that it is made of."""
    if row.extension:
        return {"kind": "extension", "extension": row.extension}, []
    if row.kind == "e":
        labels = run(
            connection,
            "SELECT enumlabel FROM pg_catalog.pg_enum WHERE enumtypid = $1 ORDER BY enumsortorder",
            [row.oid],
        ).fetchall()
        return {"kind": "enum", "labels": [label for (label,) in labels]}, []
    if row.kind == "d":
        base = _types(connection, "SELECT 1, '', $1::oid, $2::int4", [row.base, row.modifier])[0][1]
        checks = run(
            connection,
            "SELECT conname FROM pg_catalog.pg_constraint WHERE contypid = $1 AND contype = 'c' ORDER BY 1",
            [row.oid],
        ).fetchall()
        if base is not None:
            names = [name for (name,) in checks]
            return {"kind": "domain", "base": base.name, "not_null": row.not_null, "checks": names}, [base]
    if row.kind == "c" and row.relation:
        query = (
            "SELECT attnum, attname, atttypid, atttypmod FROM pg_catalog.pg_attribute"
            " WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped"
        )
        parts = _types(connection, query, [row.relation])
        kinds = [kind for _, kind in parts if kind is not None]
        if len(kinds) == len(parts):
            return {"kind": "composite", "attributes": [[name, kind.name] for name, kind in parts if kind]}, kinds
    return {"kind": "other"}, []


def _types(connection: Connection, query: str, parameters: list[Any]) -> list[tuple[str, ColumnType | None]]:
    """Turn (place, name, type, modifier) rows into names and types, in the order of their places."""
    rows = run(
        connection,
        f"SELECT q.name, q.modifier, pg_catalog.format_type(q.type, q.modifier), {TYPE_COLUMNS}"
        f" FROM ({query}) AS q(place, name, type, modifier) JOIN pg_catalog.pg_type t ON t.oid = q.type {TYPE_JOINS}"
        " ORDER BY q.place",
        parameters,
    ).fetchall()
    return [(name, column_type(*kind)) for name, *kind in rows]


class TypeMaker:
    """Finds the types of a layout in the target's database, and makes those that are missing.

    Args:
        connection: in a transaction.
        home: the schema of the table, where types go whose own schema does not exist.
        definitions: of a dump, by name; they are a stranger's.
        create: whether to make what is missing.
    """

    def __init__(self, connection: Connection, home: str, definitions: Any, *, create: bool) -> None:
        self._connection = connection
        self._home = home
        self._definitions = definitions if isinstance(definitions, Mapping) else {}
        self._create = create
        self._done: dict[str, ColumnType] = {}
        self._busy: set[str] = set()

    def layout(self, layout: Layout) -> Layout:
        """The layout with the types as they are in this database.

        Raises:
            NotRepresentable: a type is neither there nor can it be made, or is there and is another one.
        """
        slots = [replace(s, type=self.resolve(s.kind)) if s.type and s.kind.base.own else s for s in layout.slots]
        return replace(layout, slots=tuple(slots))

    def resolve(self, kind: ColumnType) -> ColumnType:
        """The type of the same meaning in this database."""
        if not kind.base.own:
            return kind
        schema, name, modifier = own_name(kind)
        key = sql.qualified(schema, name)
        if key in self._busy or len(self._done) > _MOST_TYPES:
            raise NotRepresentable(f"the type {key} is made of itself, or of too many others", safe=_SAFE)
        if key not in self._done:
            self._busy.add(key)
            self._done[key] = self._resolve(schema, name, key)
            self._busy.discard(key)
        found_schema, found_name, _ = own_name(self._done[key])
        return own_type(found_schema, found_name, modifier, array=kind.array)

    def _resolve(self, schema: str, name: str, key: str) -> ColumnType:
        definition = self._definitions.get(key)
        definition = definition if isinstance(definition, Mapping) else {}
        extension = definition.get("kind") == "extension"
        places = [schema, self._home, *([None] if extension else [])]
        for place in places:
            row = _find(self._connection, place, name)
            if row is not None:
                self._check(key, row, definition)
                return own_type(row.schema, name)
        if not self._create or definition.get("kind") not in ("enum", "domain", "composite"):
            what = f"extension {definition.get('extension')!r}" if extension else "type"
            raise NotRepresentable(
                f"the type {key} is not in this database",
                why="types of extensions, ranges and such without a definition are used, and never made",
                safe=_SAFE,
                next=f"create the {what} first, then run the import again",
            )
        there = "SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = $1::text"
        home = schema if run(self._connection, there, [schema]).fetchall() else self._home
        run(self._connection, self._statement(sql.qualified(home, name), definition))
        return own_type(home, name)

    def _check(self, key: str, row: _Row, definition: Mapping[str, Any]) -> None:
        """Refuse a type that is there under the name and cannot hold what the dump's holds."""
        if not definition:
            return
        found, _ = _read(self._connection, row)
        same = found["kind"] == definition.get("kind")
        if same and found["kind"] == "enum":
            same = set(_labels(key, definition)) <= set(found["labels"])
        elif same and found["kind"] == "domain":
            same = self.resolve(_part(definition.get("base"), key)).name == found["base"]
        elif same and found["kind"] == "composite":
            wanted = [[name, self.resolve(kind).name] for name, kind in _attributes(key, definition)]
            same = wanted == found["attributes"]
        if not same:
            raise NotRepresentable(
                f"the type {key} is there, and is not the dump's",
                why=f"it is {found}",
                safe=_SAFE,
                next="import into another schema: -c schema.table",
            )

    def _statement(self, quoted: str, definition: Mapping[str, Any]) -> str:
        """The statement that makes a type: every name is quoted, every type is of the grammar."""
        if definition["kind"] == "enum":
            return f"CREATE TYPE {quoted} AS ENUM ({', '.join(map(sql.literal, _labels(quoted, definition)))})"
        if definition["kind"] == "domain":
            base = self.resolve(_part(definition.get("base"), quoted)).sql
            return f"CREATE DOMAIN {quoted} AS {base}" + (" NOT NULL" if definition.get("not_null") is True else "")
        parts = (f"{sql.quote(name)} {self.resolve(kind).sql}" for name, kind in _attributes(quoted, definition))
        return f"CREATE TYPE {quoted} AS ({', '.join(parts)})"


def _labels(key: str, definition: Mapping[str, Any]) -> list[str]:
    labels = definition.get("labels")
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise _bad(key)
    if len(labels) > _MOST_LABELS or any(len(label.encode(errors="replace")) > sql.NAMES.max_bytes for label in labels):
        raise _bad(key)
    return labels


def _attributes(key: str, definition: Mapping[str, Any]) -> list[tuple[str, ColumnType]]:
    pairs = definition.get("attributes")
    if not isinstance(pairs, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
        raise _bad(key)
    return [(name if isinstance(name, str) else "", _part(text, key)) for name, text in pairs]


def _part(text: Any, key: str) -> ColumnType:
    if not isinstance(text, str):
        raise _bad(key)
    return parse_type(text, key)


def _bad(key: str) -> NotRepresentable:
    return NotRepresentable(f"the dump's definition of the type {key} cannot be read", safe=_SAFE)
