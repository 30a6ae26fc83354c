"""Record ids: text with a kind, their canonical forms, and the UUID that stands for an id a target cannot hold.

Kinds: ``string`` any text; ``int`` decimal digits; ``uuid`` lower case with hyphens; ``int|uuid`` each of the two,
told apart by their form; ``composite`` a canonical JSON array of key values; ``tagged`` ``int:7``, ``uuid:...`` or
``string:...`` where kinds mix; ``position`` the row number of a keyless source.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Sequence

import pyarrow as pa

from ..errors import NotRepresentable
from . import canonical

#: UUIDv5 namespace of vecport ids: uuid5(NAMESPACE_URL, "urn:vecport:id:1").
NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "urn:vecport:id:1")

_INT = re.compile(r"(?:0|-?[1-9][0-9]*)\Z")
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\Z")
_TAGS = ("int", "uuid", "string")
# Python refuses to read longer texts as integers at once.
_CHEAP_DIGITS = 4_000


def kind_of(text: str) -> str:
    """``int``, ``uuid`` or ``string``: the narrowest kind whose canonical form ``text`` is."""
    if _INT.match(text):
        return "int"
    return "uuid" if _UUID.match(text) else "string"


def tagged(value: str, kind: str) -> str:
    """The tagged form of an id in a collection that mixes kinds: ``int:7``, ``string:007``."""
    return f"{kind}:{value}"


def untagged(text: str) -> tuple[str, str]:
    """Split a tagged id into (value, kind); raises ``NotRepresentable`` on a text without a known tag."""
    kind, colon, value = text.partition(":")
    if not colon or kind not in _TAGS:
        raise NotRepresentable(f"id {text!r} has no tag", why=f"a tagged id begins with one of {_TAGS} and a colon")
    return value, kind


def check(text: str, kind: str) -> None:
    """Raise ``NotRepresentable`` unless ``text`` is the canonical form of an id of this kind."""
    if not _fits(text, kind):
        raise NotRepresentable(f"id {text!r} is not the canonical form of an id of kind {kind!r}")


def _fits(text: str, kind: str) -> bool:
    if kind == "string":
        return True
    if kind == "composite":
        return text.startswith("[") and canonical.is_canonical(text)
    if kind == "tagged":
        tag, colon, value = text.partition(":")
        return bool(colon) and tag in _TAGS and (tag == "string" or kind_of(value) == tag)
    actual = kind_of(text)
    if kind == "position":
        return actual == "int" and not text.startswith("-")
    return actual in ("int", "uuid") if kind == "int|uuid" else actual == kind


def to_int(text: str) -> int:
    """The integer that an id of kind ``int`` spells, of any size."""
    return int(text) if len(text) <= _CHEAP_DIGITS else int(canonical.loads(text))


def stand_in(text: str, kind: str = "string", namespace: str = "") -> str:
    """The UUID (version 5) that stands for an id in a database that holds only UUIDs.

    Args:
        text: the id in its canonical form.
        kind: the collection's id kind; for ``int|uuid`` the id's own kind is used.
        namespace: the record's namespace.

    Returns:
        The UUID's text. The name hashed is the canonical JSON array ``[namespace, kind, id]``, in UTF-8.
    """
    check(text, kind)
    if kind == "int|uuid":
        kind = kind_of(text)
    name = canonical.dumpb([namespace, kind, text])
    digest = bytearray(hashlib.sha1(NAMESPACE.bytes + name, usedforsecurity=False).digest()[:16])
    digest[6] = (digest[6] & 0x0F) | 0x50
    digest[8] = (digest[8] & 0x3F) | 0x80
    h = digest.hex()
    return f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}"


def stand_ins(ids: pa.Array, namespaces: pa.Array, kind: str) -> pa.Array:
    """``stand_in`` for a column of ids."""
    pairs = zip(ids.to_pylist(), namespaces.to_pylist(), strict=True)
    return pa.array([stand_in(i, kind, ns) for i, ns in pairs], pa.string())


def sort_key(text: str, kind: str) -> tuple[int, int, str]:
    """Orders ids of a kind: integers by value and before UUIDs, everything else by code point."""
    if kind in ("int", "position") or (kind == "int|uuid" and _INT.match(text)):
        return 0, to_int(text), ""
    return 1, 0, text


def bounds(ids: Sequence[str], kind: str) -> tuple[str, str]:
    """The smallest and the largest id, compared by kind."""
    return min(ids, key=lambda i: sort_key(i, kind)), max(ids, key=lambda i: sort_key(i, kind))
