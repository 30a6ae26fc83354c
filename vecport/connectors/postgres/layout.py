"""How a collection stands in a table: which column holds what. Read from the catalogs, or from the table's comment.

A table that vecport creates carries its layout and the passport in its comment, so that an export finds the same
collection again. Where the columns no longer are those of the layout, the comment is ignored.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ...errors import NotRepresentable
from ...model.collection import METRICS, Collection, Field, VectorField
from ..kit.passports import text_of
from .catalog import Table
from .types import BASES, ColumnType, parse_type
from .vectors import VECTOR_TYPES

PREFIX: Final = "vecport: "
FORMAT: Final = 1
ROLES: Final = ("key", "vector", "document", "metadata", "field")
ID_COLUMN: Final = "id"
DOCUMENT_COLUMN: Final = "document"
METADATA_COLUMN: Final = "metadata"
JSONB: Final = ColumnType(BASES["jsonb"])
TEXT: Final = ColumnType(BASES["text"])
_VECTOR: Final = re.compile(r"([a-z]+)\(([0-9]{1,10})\)")


@dataclass(frozen=True, slots=True)
class Slot:
    """One column and what it holds.

    Attributes:
        role: ``key``, ``vector``, ``document``, ``metadata`` (the whole metadata as jsonb) or ``field``.
        column: its name in the table.
        name: of the key column, vector or field in the collection.
        type: of the column; None for a vector.
        vector: the name of a vector's type, see ``VECTOR_TYPES``; ``""`` for other columns.
        dim: of a vector: what its type declares, or what all of its values have.
        nullable: whether the column takes NULL.
        generated: the database computes it, so that it is read and never written.
        optional: a record may lack the key of a field; NULL is stored.
    """

    role: str
    column: str
    name: str
    type: ColumnType | None = None
    vector: str = ""
    dim: int = 0
    nullable: bool = True
    generated: bool = False
    optional: bool = False

    @property
    def kind(self) -> ColumnType:
        """The type of a column that is no vector."""
        assert self.type is not None
        return self.type

    @property
    def type_text(self) -> str:
        """The type for messages and comments."""
        return f"{self.vector}({self.dim})" if self.type is None else self.type.name

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        data = {"role": self.role, "column": self.column, "name": self.name, "type": self.type_text}
        return {**data, "nullable": self.nullable}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Slot:
        """Inverse of ``to_json``; raises ``ValueError``, ``KeyError``, ``TypeError`` or ``NotRepresentable``."""
        role, text, column = data["role"], data["type"], data["column"]
        if role not in ROLES or not isinstance(column, str) or not isinstance(data["name"], str):
            raise ValueError(role)
        common = {"role": role, "column": column, "name": data["name"], "nullable": bool(data["nullable"])}
        if role != "vector":
            return cls(type=parse_type(text, column), **common)
        match = _VECTOR.fullmatch(text)
        if match is None or match.group(1) not in VECTOR_TYPES:
            raise ValueError(text)
        return cls(vector=match.group(1), dim=int(match.group(2)), **common)


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

    def collection(self, name: str, metrics: Mapping[str, str], native: Mapping[str, Any]) -> Collection:
        """The collection that the table holds; ``metrics`` by the vectors' names."""
        fields = None if self.one("metadata") else tuple(_field(slot) for slot in self.of("field"))
        vectors = (_vector_field(slot, metrics.get(slot.name, "unknown")) for slot in self.of("vector"))
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
        once = ("document", "metadata")
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
            same = column.vector_form() == (slot.vector, slot.dim) if slot.vector else column.type == slot.type
            if not same:
                kind = slot.type_text if slot.type is None else slot.type.sql
                out.append(f"{name!r} is {column.type_text}, not {kind}")
        if {slot.column for slot in self.keys} != set(table.key):
            out.append("the primary key is another one")
        return sorted(out)


def _field(slot: Slot) -> Field:
    return Field(slot.name, slot.kind.name, slot.kind.encoding, slot.nullable, slot.kind.logical)


def _vector_field(slot: Slot, metric: str) -> VectorField:
    kind = VECTOR_TYPES[slot.vector]
    dim = None if kind.kind == "sparse" else slot.dim
    return VectorField(slot.name, kind.kind, kind.dtype, dim, metric, nullable=slot.nullable)


@dataclass(frozen=True, slots=True)
class Comment:
    """What vecport keeps in a table's comment.

    Attributes:
        layout: which column holds what.
        passport: of the import, as it was given.
        state: ``loading`` or ``complete``.
        import_id: of the import that wrote it.
        metrics: by vector, which its index was or will be built for.
    """

    layout: Layout
    passport: Mapping[str, Any]
    state: str
    import_id: str
    metrics: Mapping[str, str] = field(default_factory=dict)

    def text(self) -> str:
        """The comment."""
        data = {
            "vecport": FORMAT,
            "state": self.state,
            "import_id": self.import_id,
            "metrics": dict(self.metrics),
            "layout": self.layout.to_json(),
            "passport": dict(self.passport),
        }
        # The comment is plain JSON with escapes, so that no encoding of the database refuses it.
        return PREFIX + text_of(data)


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
        metrics = {name: metric for name, metric in data["metrics"].items() if metric in METRICS}
        return Comment(layout, passport, str(data["state"]), str(data["import_id"]), metrics)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError, NotRepresentable):
        return None


def own_layout(table: Table) -> Layout | None:
    """The layout in a table's comment, None where there is none, or the columns are others since."""
    comment = parse_comment(table.comment)
    return None if comment is None or comment.layout.differences(table) else comment.layout
