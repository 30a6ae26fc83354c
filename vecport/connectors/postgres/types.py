"""The column types that this connector reads and restores exactly, and their spelling both ways.

A type travels in a dump as a short text: ``int4``, ``varchar(20)``, ``numeric(10,2)``, ``timestamptz(3)``, ``text[]``.
On the way back that text is parsed by the grammar here and spelled anew; no text of a dump enters a statement.

Facts: object ids are those of ``pg_type.dat``, which never change; type modifiers as ``format_type`` decodes them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from ...errors import NotRepresentable


@dataclass(frozen=True, slots=True)
class Base:
    """One element type.

    Attributes:
        name: the short name, which is also its name in ``pg_type`` except for ``char``.
        oid: of the type.
        array: object id of its array type where arrays are supported, else 0.
        sql: how it is spelled in ``CREATE TABLE``, before its arguments.
        arguments: the largest number of arguments.
        text: values travel as Postgres' own text, restored by a cast (``Field.encoding`` is ``text``).
        key: it may be part of a record's key.
        width: bytes of the binary form, 0 where it varies.
    """

    name: str
    oid: int
    array: int = 0
    sql: str = ""
    arguments: int = 0
    text: bool = False
    key: bool = False
    width: int = 0


BASES: Final = {
    base.name: base
    for base in (
        Base("bool", 16, sql="boolean", key=True, width=1),
        Base("int2", 21, 1005, "smallint", key=True, width=2),
        Base("int4", 23, 1007, "integer", key=True, width=4),
        Base("int8", 20, 1016, "bigint", key=True, width=8),
        Base("float4", 700, 1021, "real", width=4),
        Base("float8", 701, 1022, "double precision", width=8),
        Base("text", 25, 1009, "text", key=True),
        Base("varchar", 1043, 1015, "character varying", 1, key=True),
        Base("char", 1042, 0, "character", 1, key=True),
        Base("bpchar", 1042, 0, "bpchar", key=True),
        Base("uuid", 2950, 0, "uuid", key=True, width=16),
        Base("bytea", 17, 0, "bytea"),
        Base("json", 114, 0, "json"),
        Base("jsonb", 3802, 0, "jsonb"),
        Base("numeric", 1700, 0, "numeric", 2, text=True, key=True),
        Base("date", 1082, 0, "date", text=True, key=True),
        Base("timestamp", 1114, 0, "timestamp without time zone", 1, text=True, key=True),
        Base("timestamptz", 1184, 0, "timestamp with time zone", 1, text=True, key=True),
    )
}
_BY_OID: Final = {base.oid: base for base in BASES.values() if base.name != "char"}
_BY_ARRAY: Final = {base.array: base for base in BASES.values() if base.array}

#: Matches the text of every type that a typed column can be made of.
PATTERN: Final = (
    r"(?:bool|date|uuid|bytea|json|jsonb|bpchar|char\([0-9]{1,8}\)|numeric(?:\([0-9]{1,4},-?[0-9]{1,4}\))?"
    r"|timestamp(?:tz)?(?:\([0-6]\))?"
    r"|(?:int2|int4|int8|float4|float8|text|varchar(?:\([0-9]{1,8}\))?)(?:\[\])?)"
)
_PATTERN: Final = re.compile(PATTERN)
_PARTS: Final = re.compile(r"([a-z0-9]+)(?:\(([-0-9,]+)\))?(\[\])?")

_INTEGERS: Final = frozenset({"int2", "int4", "int8"})
_TEXTS: Final = frozenset({"text", "varchar", "char", "bpchar"})


@dataclass(frozen=True, slots=True)
class ColumnType:
    """A column's type.

    Attributes:
        base: its element type.
        arguments: length, or precision and scale.
        array: a one-dimensional array of it is usual; other shapes travel as text.
    """

    base: Base
    arguments: tuple[int, ...] = ()
    array: bool = False

    @property
    def name(self) -> str:
        """The short text, as it stands in dumps: ``varchar(20)``, ``int4[]``."""
        return self.base.name + self._modifier(",") + ("[]" if self.array else "")

    @property
    def sql(self) -> str:
        """The type as ``CREATE TABLE`` and casts take it."""
        if self.base.name in ("timestamp", "timestamptz"):
            word, _, rest = self.base.sql.partition(" ")
            return f"{word}{self._modifier(',')} {rest}"
        return self.base.sql + self._modifier(", ") + ("[]" if self.array else "")

    @property
    def oid(self) -> int:
        """Object id, of the array type for arrays."""
        return self.base.array if self.array else self.base.oid

    @property
    def encoding(self) -> str:
        """``json`` or ``text``; see ``Field.encoding``."""
        return "text" if self.base.text else "json"

    @property
    def is_integer(self) -> bool:
        """Whether values are JSON integers."""
        return self.base.name in _INTEGERS and not self.array

    @property
    def is_text(self) -> bool:
        """Whether values are strings of the character types."""
        return self.base.name in _TEXTS and not self.array

    @property
    def is_json(self) -> bool:
        """Whether values are JSON themselves, so that SQL NULL and JSON null are two values."""
        return self.base.name in ("json", "jsonb")

    @property
    def can_be_key(self) -> bool:
        """Whether it may be part of a record's key."""
        return self.base.key and not self.array

    def _modifier(self, comma: str) -> str:
        return f"({comma.join(map(str, self.arguments))})" if self.arguments else ""


def parse_type(text: str, column: str) -> ColumnType:
    """Read a type text of a dump.

    Args:
        text: as ``ColumnType.name`` writes it.
        column: for the message.
    Raises:
        NotRepresentable: it is no type of the grammar.
    """
    match = _PARTS.fullmatch(text)
    if match is None or not _PATTERN.fullmatch(text):
        raise NotRepresentable(
            f"column {column!r}: the type {text!r} is none that vecport creates in Postgres",
            why="types of a dump are rebuilt from a fixed grammar, never taken over as text",
            safe="nothing was written",
        )
    name, arguments, array = match.groups()
    values = tuple(int(part) for part in arguments.split(",")) if arguments else ()
    return ColumnType(BASES[name], values, bool(array))


def catalog_type(oid: int, modifier: int) -> ColumnType | None:
    """The type of a column in the catalogs; None where it is not supported.

    Args:
        oid: ``pg_attribute.atttypid``.
        modifier: ``pg_attribute.atttypmod``, -1 for none.
    """
    if oid in _BY_ARRAY:
        base = _BY_ARRAY[oid]
        return ColumnType(base, _arguments(base, modifier), array=True)
    if oid not in _BY_OID:
        return None
    base = _BY_OID[oid]
    if base.name == "bpchar" and modifier >= 0:
        base = BASES["char"]
    return ColumnType(base, _arguments(base, modifier))


def _arguments(base: Base, modifier: int) -> tuple[int, ...]:
    if modifier < 0 or not base.arguments:
        return ()
    if base.name in ("varchar", "char"):
        return (modifier - 4,)
    if base.name == "numeric":
        scale = (((modifier - 4) & 0x7FF) ^ 1024) - 1024
        precision = (modifier - 4) >> 16 & 0xFFFF
        return (precision, scale)
    return (modifier,)
