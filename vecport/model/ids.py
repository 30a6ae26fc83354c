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
import pyarrow.compute as pc

from ..errors import NotRepresentable
from . import canonical

#: UUIDv5 namespace of vecport ids: uuid5(NAMESPACE_URL, "urn:vecport:id:1").
NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "urn:vecport:id:1")

_INT = re.compile(r"(?:0|-?[1-9][0-9]*)\Z")
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\Z")
_TAGS = ("int", "uuid", "string")
#: The same for Arrow, whose ends of a text are otherwise spelled.
_INT_TEXT = r"\A(?:0|-?[1-9][0-9]*)\z"
_UUID_TEXT = r"\A[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\z"
_FORMS = {"int": {"int"}, "position": {"int"}, "uuid": {"uuid"}, "int|uuid": {"int", "uuid"}}
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
    if not fits(text, kind):
        raise NotRepresentable(f"id {text!r} is not the canonical form of an id of kind {kind!r}")


def fits(text: str, kind: str) -> bool:
    """Whether ``text`` is the canonical form of an id of this kind."""
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


def joined(a: str, b: str) -> str:
    """The narrowest kind that holds the ids of two kinds."""
    if a == b:
        return a
    forms = _FORMS.get(a, {"string"}) | _FORMS.get(b, {"string"})
    return "string" if "string" in forms else "|".join(sorted(forms))


def forms(column: pa.Array) -> tuple[pa.Array, pa.Array]:
    """Which ids of a column are spelled as integers, and which as UUIDs, in canonical form."""
    return pc.match_substring_regex(column, _INT_TEXT), pc.match_substring_regex(column, _UUID_TEXT)


def misfits(column: pa.Array, kind: str) -> pa.Array:
    """Which ids of a column are not in the canonical form of a kind."""
    wanted = _FORMS.get(kind)
    if kind == "string":
        return pa.repeat(pa.scalar(False), len(column))
    if wanted is None:
        return pa.array([not fits(text, kind) for text in column.to_pylist()], pa.bool_())
    ints, uuids = forms(column)
    if kind == "position":
        ints = pc.and_not(ints, pc.starts_with(column, "-"))
    found = pc.or_(ints, uuids) if len(wanted) == 2 else ints if "int" in wanted else uuids
    return pc.invert(found)


def kind_with(column: pa.Array, kind: str) -> str:
    """The narrowest kind that holds ids of ``kind`` and all ids of a column."""
    wrong = column.filter(misfits(column, kind))
    if not len(wrong):
        return kind
    ints, uuids = forms(wrong)
    for other, fit in (("int", ints), ("uuid", uuids), ("int|uuid", pc.or_(ints, uuids))):
        if pc.all(fit).as_py():
            return joined(kind, other)
    return "string"


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


def is_stand_in(stored: str, text: str, kind: str = "string", namespace: str = "") -> bool:
    """Whether ``stored`` is the UUID that stands for an id; never for one that is not of the kind."""
    return fits(text, kind) and stand_in(text, kind, namespace) == stored


def stand_ins(ids: pa.Array, namespaces: pa.Array, kind: str, *, strangers: bool = False) -> pa.Array:
    """``stand_in`` for a column of ids; with ``strangers``, ids of another kind stand for themselves."""
    pairs = zip(ids.to_pylist(), namespaces.to_pylist(), strict=True)
    texts = [i if strangers and not fits(i, kind) else stand_in(i, kind, ns) for i, ns in pairs]
    return pa.array(texts, pa.string())


def sort_key(text: str, kind: str) -> tuple[int, int, str]:
    """Orders ids of a kind: integers by value and before UUIDs, everything else by code point."""
    if kind in ("int", "position") or (kind == "int|uuid" and _INT.match(text)):
        return 0, to_int(text), ""
    return 1, 0, text


def bounds(ids: Sequence[str], kind: str) -> tuple[str, str]:
    """The smallest and the largest id, compared by kind."""
    return min(ids, key=lambda i: sort_key(i, kind)), max(ids, key=lambda i: sort_key(i, kind))
