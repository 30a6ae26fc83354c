"""Projection: the filter-friendly stand-in for a JSON value that a target cannot hold, and the way back.

A projection is a pure function of the value and the target's rules, so that an original is used on the way back
only when projecting it gives what stands in the target now; otherwise somebody has edited the value, and the edit wins.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from . import parsed
from .capabilities import MetadataRules
from .passport import ORIGINALS
from .profile import value_kind

ABSENT = object()


@dataclass(slots=True)
class Projection:
    """Encodes and decodes metadata for one set of rules."""

    rules: MetadataRules
    _forbidden: re.Pattern[str] | None = field(init=False)

    def __post_init__(self) -> None:
        self._forbidden = re.compile(self.rules.forbidden_keys) if self.rules.forbidden_keys else None

    def allowed(self, key: str) -> bool:
        """Whether the target takes this key; the reserved key of the originals is never a user's."""
        return key != ORIGINALS and not (self._forbidden and self._forbidden.fullmatch(key))

    def exact(self, key: str, kind: str) -> bool:
        """Whether a value of this kind under this key is held as it is."""
        return kind in self.rules.exact and self.allowed(key)

    def encoded_keys(self, kinds: Mapping[str, Mapping[str, Any]]) -> list[str]:
        """Keys with at least one value that must be encoded."""
        return [key for key, found in kinds.items() if not all(self.exact(key, kind) for kind in found)]

    def describe(self, key: str, kind: str) -> str:
        """What stands in the target instead of such a value, in a few words."""
        if not self.allowed(key):
            return "the target refuses the key, nothing stands there"
        if kind in ("list_mixed", "list_string", "list_integer", "list_number", "list_boolean", "object"):
            return "its JSON text stands there"
        if kind in ("integer64", "integer64u", "integer_big", "decimal"):
            return "its digits stand there as text"
        return "nothing stands there" if kind not in ("boolean", "integer") else "its text stands there"

    def encode(self, row: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Split a record's metadata into what is stored and the originals of what had to change.

        Args:
            row: parsed canonical JSON, tags as they stand.
        """
        stored: dict[str, Any] = {}
        originals: dict[str, Any] = {}
        for key, value in row.items():
            if self.exact(key, value_kind(value)):
                stored[key] = value
                continue
            originals[key] = value
            stand_in = self.project(key, value)
            if stand_in is not ABSENT:
                stored[key] = stand_in
        return stored, originals

    def project(self, key: str, value: Any) -> Any:
        """The stand-in for a value that is not held exactly; ``ABSENT`` when nothing stands there."""
        if not self.allowed(key):
            return ABSENT
        kind = value_kind(value)
        if kind in ("integer", "integer64", "integer64u", "integer_big"):
            text = str(value)
        elif kind == "decimal":
            text = value["$vp"]["decimal"]
        elif kind == "boolean":
            text = "true" if value else "false"
        elif kind in ("list_mixed", "list_string", "list_integer", "list_number", "list_boolean", "object"):
            text = parsed.dumps(value)
        else:
            return ABSENT
        return ABSENT if "\0" in text else text

    def decode(self, stored: dict[str, Any], originals: Mapping[str, Any]) -> int:
        """Put originals back in place; returns how many are stale because the stored value was edited.

        Args:
            stored: the record's metadata as the target gives it, changed in place.
            originals: by key.
        """
        stale = 0
        for key, original in originals.items():
            expected = self.project(key, original)
            current = stored.get(key, ABSENT)
            if (expected is ABSENT and current is ABSENT) or (
                type(current) is type(expected) and current == expected
            ):
                stored[key] = original
            else:
                stale += 1
        return stale
