"""The column types that this connector reads and restores exactly, and their spelling both ways.

A type travels in a dump as a short text: ``int4``, ``varchar(20)``, ``numeric(10,2)``, ``timestamptz(3)``, ``text[]``,
and ``"schema"."name"`` for types that a user or an extension made (``owntypes``). On the way back that text is parsed
by the grammar here and spelled anew; no text of a dump enters a statement.

Facts: object ids are those of ``pg_type.dat``, which never change; type modifiers as ``format_type`` decodes them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from ...errors import NotRepresentable
from . import sql


@dataclass(frozen=True, slots=True)
class Base:
    """One element type.

    Attributes:
        name: the short name.
        oid: of the type, 0 for one of a user or an extension.
        array: object id of its array type where arrays travel as JSON lists; else 0, and they travel as text.
        sql: how it is spelled in ``CREATE TABLE``, before its arguments.
        arguments: the largest number of arguments.
        text: values travel as Postgres' own text, restored by a cast (``Field.encoding`` is ``text``).
        key: it may be part of a record's key.
        width: bytes of the binary form, 0 where it varies.
        own: a type of a user or an extension, whose ``name`` is quoted and has its schema.
    """

    name: str
    oid: int = field(compare=False)
    array: int = 0
    sql: str = ""
    arguments: int = 0
    text: bool = False
    key: bool = False
    width: int = 0
    own: bool = False


def _texts(*names: str, key: bool = False) -> tuple[Base, ...]:
    """Types that take no arguments and travel as text: ``name=oid``."""
    pairs = (name.split("=") for name in names)
    return tuple(Base(name, int(oid), sql=name, text=True, key=key) for name, oid in pairs)


#: ``interval`` keeps the fields that it is restricted to in its modifier: bits of ``INTERVAL_MASK``.
_INTERVAL_BITS: Final = {"year": 1 << 2, "month": 1 << 1, "day": 1 << 3, "hour": 1 << 10, "minute": 1 << 11}
_INTERVAL_BITS["second"] = 1 << 12
_INTERVAL_FIELDS: Final = (
    "year", "month", "day", "hour", "minute", "second", "year to month", "day to hour", "day to minute",
    "day to second", "hour to minute", "hour to second", "minute to second",
)  # fmt: skip
_INTERVAL: Final = 1186

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
        Base("time", 1083, 0, "time without time zone", 1, text=True, key=True),
        Base("timetz", 1266, 0, "time with time zone", 1, text=True, key=True),
        Base("interval", _INTERVAL, 0, "interval", 1, text=True),
        *(
            Base(f"interval {words}", _INTERVAL, 0, f"interval {words}", int(words.endswith("second")), text=True)
            for words in _INTERVAL_FIELDS
        ),
        Base("bit", 1560, 0, "bit", 1, text=True, key=True),
        Base("varbit", 1562, 0, "bit varying", 1, text=True, key=True),
        *_texts("inet=869", "cidr=650", "macaddr=829", "macaddr8=774", "name=19", "oid=26", "pg_lsn=3220", key=True),
        *_texts("int4range=3904", "int8range=3926", "numrange=3906", "tsrange=3908", "tstzrange=3910"),
        *_texts("daterange=3912", "int4multirange=4451", "int8multirange=4536", "nummultirange=4532"),
        *_texts("tsmultirange=4533", "tstzmultirange=4534", "datemultirange=4535", "money=790"),
        *_texts("tsvector=3614", "tsquery=3615", "jsonpath=4072", "xid8=5069", "pg_snapshot=5038", '"char"=18'),
        *_texts("point=600", "line=628", "lseg=601", "box=603", "path=602", "polygon=604", "circle=718"),
    )
}
_BY_OID: Final = {base.oid: base for base in BASES.values() if base.name != "char" and "interval " not in base.name}
_BY_ARRAY: Final = {base.array: base for base in BASES.values() if base.array}

_LENGTH: Final = r"\([0-9]{1,8}\)"
_DIGITS: Final = r"\([0-6]\)"
_ARGUMENTS: Final = {
    "varchar": f"(?:{_LENGTH})?", "char": _LENGTH, "bit": _LENGTH, "varbit": f"(?:{_LENGTH})?",
    "numeric": r"(?:\([0-9]{1,4},-?[0-9]{1,4}\))?",
}  # fmt: skip


def _spelling(base: Base) -> str:
    arguments = _ARGUMENTS.get(base.name, f"(?:{_DIGITS})?" if base.arguments else "")
    return re.escape(base.name).replace(r"\ ", " ") + arguments


_QUOTED: Final = r'"(?:[^"\x00]|"")+"'
_OWN: Final = rf"{_QUOTED}\.{_QUOTED}(?:\([A-Za-z0-9]+(?:,[A-Za-z0-9]+)*\))?"
#: Matches the text of every type that a typed column can be made of.
PATTERN: Final = f"(?:{'|'.join(map(_spelling, BASES.values()))}|{_OWN})(?:\\[\\])?"
_PATTERN: Final = re.compile(PATTERN)
_PARTS: Final = re.compile(r'("char"|[a-z0-9_ ]+)(?:\(([-0-9,]+)\))?(\[\])?')
_OWN_PARTS: Final = re.compile(rf"({_QUOTED})\.({_QUOTED})(\([A-Za-z0-9,]+\))?(\[\])?")
_MODIFIER: Final = re.compile(r"(?<=.)(\([A-Za-z0-9]+(?:,[A-Za-z0-9]+)*\))(?:\[\])?")

_INTEGERS: Final = frozenset({"int2", "int4", "int8"})
_TEXTS: Final = frozenset({"text", "varchar", "char", "bpchar"})
#: The portable type of a type's values (``Field.logical``), where one says what they are.
_LOGICAL: Final = {
    **dict.fromkeys(_INTEGERS, "int64"), **dict.fromkeys(("float4", "float8"), "float64"), "bool": "bool",
    **dict.fromkeys((*_TEXTS, "uuid"), "string"), **dict.fromkeys(("timestamp", "timestamptz", "date"), "timestamp"),
    "bytea": "binary", "numeric": "decimal", **dict.fromkeys(("json", "jsonb"), "json"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class ColumnType:
    """A column's type.

    Attributes:
        base: its element type.
        arguments: length, or precision and scale.
        array: an array of it, of any shape. Where arrays travel as lists, those of several dimensions or with other
            bounds travel as text.
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
        if self.base.name in ("timestamp", "timestamptz", "time", "timetz"):
            word, _, rest = self.base.sql.partition(" ")
            return f"{word}{self._modifier(',')} {rest}" + ("[]" if self.array else "")
        return self.base.sql + self._modifier(", ") + ("[]" if self.array else "")

    @property
    def encoding(self) -> str:
        """``json`` or ``text``; see ``Field.encoding``."""
        return "text" if self.as_text else "json"

    @property
    def logical(self) -> str | None:
        """The portable type; None where none says what the values are. See ``Field.logical``."""
        logical = None if self.base.own else _LOGICAL.get(self.base.name)
        return f"list<{logical}>" if logical and self.array else logical

    @property
    def as_text(self) -> bool:
        """Whether values travel as Postgres' own text."""
        return self.base.text or (self.array and not self.base.array)

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
        return self.base.name in ("json", "jsonb") and not self.array

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
    if not _PATTERN.fullmatch(text):
        raise NotRepresentable(
            f"column {column!r}: the type {text!r} is none that vecport creates in Postgres",
            why="types of a dump are rebuilt from a fixed grammar, never taken over as text",
            safe="nothing was written",
        )
    own = _OWN_PARTS.fullmatch(text)
    if own is not None:
        schema, name, modifier, array = own.groups()
        return own_type(sql.unquote(schema), sql.unquote(name), modifier or "", array=bool(array))
    match = _PARTS.fullmatch(text)
    assert match is not None
    name, arguments, array = match.groups()
    values = tuple(int(part) for part in arguments.split(",")) if arguments else ()
    return ColumnType(BASES[name], values, bool(array))


def own_type(schema: str, name: str, modifier: str = "", *, array: bool = False) -> ColumnType:
    """A type of a user or an extension.

    Args:
        schema, name: as they are.
        modifier: ``""`` or words and numbers in brackets, as ``(Point,4326)``.
        array: an array of it.
    Raises:
        NotRepresentable: a schema of the system's, or a name that Postgres cannot hold.
    """
    if schema.startswith("pg_"):
        raise NotRepresentable(f"the type {schema}.{name}", why="a type of the system that vecport does not carry")
    spelled = sql.qualified(schema, name) + modifier
    return ColumnType(Base(spelled, 0, sql=spelled, text=True, key=True, own=True), array=array)


def own_name(kind: ColumnType) -> tuple[str, str, str]:
    """Schema, name and modifier of a type for which ``base.own`` is true."""
    match = _OWN_PARTS.fullmatch(kind.base.name)
    assert match is not None
    schema, name, modifier, _ = match.groups()
    return sql.unquote(schema), sql.unquote(name), modifier or ""


def modifier_text(formatted: str) -> str | None:
    """The arguments of a type as ``format_type`` spells them, in brackets; None when they are no words and numbers."""
    match = _MODIFIER.search(formatted)
    return match.group(1) if match is not None and match.end() == len(formatted) else None


def catalog_type(oid: int, modifier: int, *, array: bool = False) -> ColumnType | None:
    """The type of a column in the catalogs; None where it is none of Postgres' own that are supported.

    Args:
        oid: ``pg_attribute.atttypid``, or of the element type.
        modifier: ``pg_attribute.atttypmod``, -1 for none.
        array: the column is an array of it.
    """
    if oid in _BY_ARRAY:
        oid, array = _BY_ARRAY[oid].oid, True
    if oid not in _BY_OID:
        return None
    base = _BY_OID[oid]
    if base.name == "bpchar" and modifier >= 0:
        base = BASES["char"]
    if oid == _INTERVAL and modifier >= 0:
        base = _interval(modifier >> 16)
    return ColumnType(base, _arguments(base, modifier), array)


def _interval(mask: int) -> Base:
    for words in _INTERVAL_FIELDS:
        first, _, last = words.partition(" to ")
        order = list(_INTERVAL_BITS)
        fields = order[order.index(first) : order.index(last or first) + 1]
        if mask == sum(_INTERVAL_BITS[word] for word in fields):
            return BASES[f"interval {words}"]
    return BASES["interval"]


def _arguments(base: Base, modifier: int) -> tuple[int, ...]:
    if modifier < 0 or not base.arguments:
        return ()
    if base.name in ("varchar", "char"):
        return (modifier - 4,)
    if base.name == "numeric":
        scale = (((modifier - 4) & 0x7FF) ^ 1024) - 1024
        precision = (modifier - 4) >> 16 & 0xFFFF
        return (precision, scale)
    if base.oid == _INTERVAL:
        digits = modifier & 0xFFFF
        return () if digits == 0xFFFF else (digits,)
    return (modifier,)
