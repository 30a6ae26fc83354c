"""How a collection stands in a table: which column holds what. Read from the catalogs, or from the table's comment.

A table that vecport creates carries its layout and the passport in its comment, so that an export finds the same
collection again. Where the columns no longer are those of the layout, the comment is ignored.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from ...errors import NotRepresentable
from ...model.collection import Collection, Field, VectorField
from .catalog import Table
from .types import BASES, ColumnType, parse_type

PREFIX: Final = "vecport: "
FORMAT: Final = 1
ROLES: Final = ("key", "vector", "document", "metadata", "field")
ID_COLUMN: Final = "id"
DOCUMENT_COLUMN: Final = "document"
METADATA_COLUMN: Final = "metadata"
JSONB: Final = ColumnType(BASES["jsonb"])
TEXT: Final = ColumnType(BASES["text"])


@dataclass(frozen=True, slots=True)
class Slot:
    """One column and what it holds.

    Attributes:
        role: ``key``, ``vector``, ``document``, ``metadata`` (the whole metadata as jsonb) or ``field``.
        column: its name in the table.
        name: of the key column, vector or field in the collection.
        type: of the column; None for a vector.
        dim: of a vector.
        nullable: whether the column takes NULL.
    """

    role: str
    column: str
    name: str
    type: ColumnType | None = None
    dim: int = 0
    nullable: bool = True

    @property
    def kind(self) -> ColumnType:
        """The type of a column that is no vector."""
        assert self.type is not None
        return self.type

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        kind = f"vector({self.dim})" if self.type is None else self.type.name
        return {"role": self.role, "column": self.column, "name": self.name, "type": kind, "nullable": self.nullable}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Slot:
        """Inverse of ``to_json``; raises ``ValueError``, ``KeyError``, ``TypeError`` or ``NotRepresentable``."""
        role, text, column = data["role"], data["type"], data["column"]
        if role not in ROLES or not isinstance(column, str) or not isinstance(data["name"], str):
            raise ValueError(role)
        vector = role == "vector"
        return cls(
            role=role,
            column=column,
            name=data["name"],
            type=None if vector else parse_type(text, column),
            dim=int(text.removeprefix("vector(").removesuffix(")")) if vector else 0,
            nullable=bool(data["nullable"]),
        )


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns of a collection's table.

    Attributes:
        slots: in the order of the columns.
        own_id: the id is the database's own: the collection has no key columns.
        flat: the key is one column, whose text is the id; else the id is a JSON array.
    """

    slots: tuple[Slot, ...]
    own_id: bool
    flat: bool = True

    def of(self, role: str) -> tuple[Slot, ...]:
        """The slots of one role, keys in their order."""
        return tuple(slot for slot in self.slots if slot.role == role)

    def one(self, role: str) -> Slot | None:
        """The slot of a role that comes at most once."""
        return next((slot for slot in self.slots if slot.role == role), None)

    @property
    def keys(self) -> tuple[Slot, ...]:
        """The key columns."""
        return self.of("key")

    def id_kind(self) -> str:
        """The collection's id kind."""
        if not self.flat:
            return "composite"
        kind = self.keys[0].kind
        return "int" if kind.is_integer else "uuid" if kind.base.name == "uuid" else "string"

    def collection(self, name: str, metric: str, native: Mapping[str, Any]) -> Collection:
        """The collection that the table holds."""
        fields = None if self.one("metadata") else tuple(_field(slot) for slot in self.of("field"))
        vectors = (VectorField(s.name, dim=s.dim, metric=metric, nullable=s.nullable) for s in self.of("vector"))
        return Collection(
            name=name,
            id_kind=self.id_kind(),
            vectors=tuple(vectors),
            fields=fields,
            key=() if self.own_id else tuple(_field(slot) for slot in self.keys),
            native=native,
        )

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {"own_id": self.own_id, "flat": self.flat, "columns": [slot.to_json() for slot in self.slots]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Layout:
        """Inverse of ``to_json``; errors as ``Slot.from_json``."""
        layout = cls(tuple(map(Slot.from_json, data["columns"])), bool(data["own_id"]), bool(data["flat"]))
        once = ("vector", "document", "metadata")
        if not layout.keys or (layout.flat and len(layout.keys) != 1) or any(len(layout.of(r)) > 1 for r in once):
            raise ValueError("columns")
        return layout

    def differences(self, table: Table) -> list[str]:
        """In which columns a table is not what the layout says, one phrase each."""
        wanted = {slot.column: slot for slot in self.slots}
        found = {column.name: column for column in table.columns}
        out = [f"{name!r} is missing" for name in wanted if name not in found]
        out += [f"{name!r} is not known" for name in found if name not in wanted]
        for name in wanted.keys() & found.keys():
            slot, column = wanted[name], found[name]
            same = column.dim == slot.dim if slot.role == "vector" else column.type == slot.type
            if not same or (slot.role == "vector" and column.vector != "vector"):
                kind = f"vector({slot.dim})" if slot.type is None else slot.type.sql
                out.append(f"{name!r} is {column.type_text}, not {kind}")
        if {slot.column for slot in self.keys} != set(table.key):
            out.append("the primary key is another one")
        return sorted(out)


def _field(slot: Slot) -> Field:
    return Field(slot.name, slot.kind.name, slot.kind.encoding, slot.nullable)


@dataclass(frozen=True, slots=True)
class Comment:
    """What vecport keeps in a table's comment.

    Attributes:
        layout: which column holds what.
        passport: of the import, as it was given.
        state: ``loading`` or ``complete``.
        import_id: of the import that wrote it.
        metric: which the index was or will be built for.
    """

    layout: Layout
    passport: Mapping[str, Any]
    state: str
    import_id: str
    metric: str = "unknown"

    def text(self) -> str:
        """The comment."""
        data = {
            "vecport": FORMAT,
            "state": self.state,
            "import_id": self.import_id,
            "metric": self.metric,
            "layout": self.layout.to_json(),
            "passport": dict(self.passport),
        }
        # The comment is plain JSON with escapes, so that no encoding of the database refuses it.
        return PREFIX + json.dumps(data, sort_keys=True, separators=(",", ":"))


def parse_comment(text: str) -> Comment | None:
    """Read a table's comment; None when it is not one of vecport's or of a later format."""
    if not text.startswith(PREFIX):
        return None
    try:
        data = json.loads(text.removeprefix(PREFIX))
        if data["vecport"] != FORMAT:
            return None
        passport = data["passport"]
        if not isinstance(passport, dict):
            return None
        layout = Layout.from_json(data["layout"])
        return Comment(layout, passport, str(data["state"]), str(data["import_id"]), str(data["metric"]))
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError, NotRepresentable):
        return None
