"""SQL text: the one function that quotes identifiers, literals, and names as users write them.

No other module of this package puts a name or a value into a statement by hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ...errors import NotRepresentable, UsageError
from ...model.capabilities import Names

#: What an identifier may be. A stock server cuts a longer one off with a mere notice.
NAMES: Final = Names(r"[^\0]+", 63, "Postgres cannot store U+0000")


def quote(name: str) -> str:
    """Quote an identifier, whatever is in it.

    Args:
        name: a table, column, schema, index, type or operator class name.
    Returns:
        The name between double quotes, with the quotes inside doubled.
    Raises:
        NotRepresentable: it is empty, longer than 63 bytes, holds U+0000 or is not Unicode text.
    """
    check_name(name)
    return '"' + name.replace('"', '""') + '"'


def unquote(text: str) -> str:
    """Inverse of ``quote``."""
    return text[1:-1].replace('""', '"')


def check_name(name: str) -> None:
    """Raise ``NotRepresentable`` unless Postgres can hold this name as it is."""
    if problem := NAMES.problem(name):
        raise NotRepresentable(f"the name {name!r} cannot be an identifier", problem, next="choose another name")


def qualified(schema: str, name: str) -> str:
    """Quote a name with its schema."""
    return f"{quote(schema)}.{quote(name)}"


def literal(text: str) -> str:
    """Quote a string constant for statements that take no parameters (``COMMENT``, ``SET``).

    The ``E`` form reads the same whatever ``standard_conforming_strings`` says.
    """
    if "\0" in text:
        raise NotRepresentable("a text with U+0000", why="Postgres cannot store it")
    return " E'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


def split_name(text: str) -> tuple[str | None, str]:
    """Read a table's name as a user writes it: ``docs``, ``app.docs``, ``"my schema"."my table"``.

    Unlike in SQL, a name without quotes is taken as it stands, upper case included.

    Returns:
        The schema, None when none is written, and the table.
    """
    parts = _dotted(text)
    if parts is None:
        schema, dot, name = text.partition(".")
        return (schema, name) if dot and schema and name else (None, text)
    if len(parts) > 2:
        raise UsageError(f"the table name {text!r} has {len(parts)} parts", why="a name is table or schema.table")
    return (parts[0], parts[1]) if len(parts) == 2 else (None, parts[0])


def name_parts(text: str) -> Sequence[str]:
    """The names in a table's name as a user writes it."""
    return [name for name in split_name(text) if name is not None]


def join_name(schema: str | None, name: str) -> str:
    """Inverse of ``split_name``, with quotes only where they are needed."""
    plain = all(part and not part.startswith('"') and "." not in part for part in (schema or "x", name))
    if plain:
        return name if schema is None else f"{schema}.{name}"
    parts = [name] if schema is None else [schema, name]
    return ".".join('"' + part.replace('"', '""') + '"' for part in parts)


def split_columns(text: str) -> list[str]:
    """Read column names from an option: ``id`` or ``tenant,id``; a name with a comma stands in quotes."""
    names: list[str] = []
    rest = text.strip()
    while rest:
        if rest.startswith('"'):
            name, rest = _quoted(rest, text)
            rest = rest.lstrip()
            if rest and not rest.startswith(","):
                raise UsageError(f"the column list {text!r} cannot be read", why="a comma is missing")
            rest = rest[1:].lstrip()
        else:
            name, _, rest = rest.partition(",")
            name, rest = name.rstrip(), rest.lstrip()
        names.append(name)
    return names


def _dotted(text: str) -> list[str] | None:
    """Split ``"a"."b"``; None when the text does not start with a quote."""
    if not text.startswith('"'):
        return None
    parts: list[str] = []
    rest = text
    while True:
        if rest.startswith('"'):
            name, rest = _quoted(rest, text)
        else:
            name, dot, tail = rest.partition(".")
            rest = dot + tail
        parts.append(name)
        if not rest:
            return parts
        if not rest.startswith("."):
            raise UsageError(f"the table name {text!r} cannot be read", why="a dot is missing between its parts")
        rest = rest[1:]


def _quoted(text: str, whole: str) -> tuple[str, str]:
    """Read one quoted name from the start of ``text``; return it and what follows."""
    name, at = [], 1
    while True:
        end = text.find('"', at)
        if end < 0:
            raise UsageError(f"the name {whole!r} cannot be read", why="a closing quote is missing")
        name.append(text[at:end])
        if text[end + 1 : end + 2] != '"':
            return '"'.join(name), text[end + 1 :]
        at = end + 2
