"""Widening: what a collection that lives on holds beyond the schema that its passport remembers.

A passport is a memory. What a description shows of the changes since (a vector that is gone, a column that is new) is
taken at once (``model.restore``); what only a record shows is a ``Misfit``, whose widening makes the schema fit.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from ..errors import NotRepresentable
from . import ids
from .collection import Field
from .profile import metadata_kinds


@dataclass(frozen=True, slots=True)
class Widening:
    """By what a remembered schema is widened; plain values, so that it can go to a worker process and a journal.

    Attributes:
        id_kind: the kind of the ids now, None for the remembered one.
        nullable: names (of the dump) of vectors that a record may lack.
        dtypes: names (of the dump) of vectors that are taken in the database's own element type.
        free: metadata is free JSON, because a record does not fit the typed fields.
        facts: what was found, one sentence each.
    """

    id_kind: str | None = None
    nullable: frozenset[str] = frozenset()
    dtypes: frozenset[str] = frozenset()
    free: bool = False
    facts: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return self.id_kind is not None or bool(self.nullable or self.dtypes) or self.free

    def merged(self, other: Widening) -> Widening:
        """What fits the records of both."""
        kinds = [k for k in (self.id_kind, other.id_kind) if k is not None]
        return Widening(
            ids.joined(*kinds) if len(kinds) == 2 else kinds[0] if kinds else None,
            self.nullable | other.nullable, self.dtypes | other.dtypes, self.free or other.free,
            tuple(dict.fromkeys(self.facts + other.facts)),
        )  # fmt: skip

    def wider_than(self, other: Widening) -> bool:
        """Whether this takes records that the other does not."""
        mine = (self.id_kind, self.nullable, self.dtypes, self.free)
        return mine != (other.id_kind, other.nullable, other.dtypes, other.free)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {"id_kind": self.id_kind, "nullable": sorted(self.nullable), "dtypes": sorted(self.dtypes),
                "free": self.free, "facts": list(self.facts)}  # fmt: skip

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Widening:
        """Inverse of ``to_json``; nothing for an empty object."""
        if not data:
            return cls()
        return cls(data["id_kind"], frozenset(data["nullable"]), frozenset(data["dtypes"]), bool(data["free"]),
                   tuple(data["facts"]))  # fmt: skip


class Misfit(NotRepresentable):
    """Records do not fit the remembered schema.

    Args:
        widening: makes it fit them.
    """

    def __init__(self, widening: Widening) -> None:
        super().__init__(
            "the collection has changed since vecport filled it", "; ".join(widening.facts), "nothing was changed",
            "export it anew: the schema is widened by itself",
        )  # fmt: skip
        self.widening = widening

    def __reduce__(self) -> tuple[Any, ...]:
        return Misfit, (self.widening,)


# ---- values of typed fields ----

_LARGEST = {"int2": 1 << 15, "int4": 1 << 31, "int8": 1 << 63}
_INTEGERS = frozenset({"integer", "integer64", "integer64u", "integer_big"})
_STRINGS = frozenset({"string", "string_nul", "surrogates"})
_NUMBERS = _INTEGERS | {"number", "number_exponent", "number_negative_zero", "nonfinite"}
_LISTS = frozenset({"list_empty", "list_string", "list_integer", "list_number", "list_boolean", "list_mixed"})
#: Kinds of JSON values by the SQL name of a type; a type that is not here may have any.
_KINDS = {
    **dict.fromkeys(_LARGEST, _INTEGERS), **dict.fromkeys(("float4", "float8"), _NUMBERS),
    **dict.fromkeys(("text", "varchar", "bpchar", "uuid"), _STRINGS), "bool": frozenset({"boolean"}),
}  # fmt: skip
_JSON = ("json", "jsonb")


def typed_misfit(metadata: pa.Array, fields: Sequence[Field]) -> str | None:
    """What of some records' metadata is not as typed fields say, as a sentence; None when all is.

    Args:
        metadata: canonical JSON objects, one a record.
        fields: that the records should have.
    """
    found = metadata_kinds(metadata)
    known = {f.name: f for f in fields}
    for key in found.keys() - known.keys():
        return f"records have a field {key!r} that is none of the typed ones"
    for f in fields:
        for kind, stats in found.get(f.name, {}).items():
            if not _fits(f, kind, stats):
                return f"a record's {f.name!r} is {kind.replace('_', ' ')}, which is no {f.type}"
    return None


def _fits(field: Field, kind: str, stats: Mapping[str, Any]) -> bool:
    if kind == "null":
        return field.nullable or field.type in _JSON
    if field.encoding == "text":
        return kind in _STRINGS
    if field.type.endswith("]"):
        return kind in _LISTS or kind in _STRINGS
    name = re.split(r"[(\[]", field.type)[0]
    allowed = _KINDS.get(name)
    if allowed is None:
        return True
    most = _LARGEST.get(name)
    in_range = most is None or kind not in _INTEGERS or (-most <= stats["min"] and stats["max"] < most)
    return kind in allowed and in_range
