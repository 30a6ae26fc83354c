"""Projection: the filter-friendly stand-in for a JSON value that a target cannot hold, and the way back.

A projection is a pure function of the value and the target's rules, so that an original is used on the way back
only when projecting it gives what stands in the target now; otherwise somebody has edited the value, and the edit wins.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from . import parsed
from .capabilities import VALUE_KINDS, MetadataRules
from .passport import ORIGINALS
from .profile import value_kind

ABSENT = object()
#: The key of a tag. As a key of the metadata itself it says that a user's key is no Unicode text.
TAG = "$vp"
_NUMBERS = frozenset({"number", "number_exponent", "number_negative_zero", "list_number"})
_CONTAINERS = frozenset({"list_number", "list_mixed", "object"})
#: What stands in the canonical JSON of every object that holds, at any depth, a value of such a kind.
_MARKS = {
    "number_negative_zero": "-0.0", "string_nul": "\\u0000",
    "nonfinite": f'"{TAG}"', "bytes": f'"{TAG}"', "decimal": f'"{TAG}"', "surrogates": f'"{TAG}"',
}  # fmt: skip
_AS_JSON = frozenset({"list_mixed", "list_string", "list_integer", "list_number", "list_boolean", "object"})


@dataclass(slots=True)
class Projection:
    """Encodes and decodes metadata for one set of rules.

    Attributes:
        rules: of the target.
        guess: the rules are not those of the encoder, which are not known: an original is used where any rules could
            have made of it what stands there.
    """

    rules: MetadataRules
    guess: bool = False
    _forbidden: re.Pattern[str] | None = field(init=False)
    _total: bool = field(init=False)
    _marks: str | None = field(init=False)

    def __post_init__(self) -> None:
        marks = _marks(self.rules)
        # One pass over the texts for all of them.
        self._marks = None if marks is None else "|".join(map(re.escape, sorted(marks)))
        self._total = self.rules.exact >= frozenset(VALUE_KINDS) and self.rules.survives is None
        self._forbidden = re.compile(self.rules.forbidden_keys) if self.rules.forbidden_keys else None

    def allowed(self, key: str) -> bool:
        """Whether the target takes this key; the reserved key of the originals is never a user's, nor is a tag's."""
        return key not in (ORIGINALS, TAG) and not (self._forbidden and self._forbidden.fullmatch(key))

    def exact(self, key: str, kind: str) -> bool:
        """Whether every value of this kind under this key is held as it is, as far as its kind tells."""
        return kind in self.rules.exact and self.allowed(key) and not (self.rules.survives and kind in _NUMBERS)

    def doubtful(self, kind: str) -> bool:
        """Whether a value of this kind may hold another one, which decides whether it is held as it is."""
        return kind in _CONTAINERS and not self._total

    def encoded_keys(self, kinds: Mapping[str, Mapping[str, Any]]) -> list[str]:
        """Keys with a value that must be encoded, or that only a look at the value decides about."""
        return [k for k, found in kinds.items() if not all(self.exact(k, f) and not self.doubtful(f) for f in found)]

    def surely_held(self, metadata: pa.Array) -> bool:
        """Whether a look at the texts alone tells that nothing in them must be encoded; False is no answer.

        Args:
            metadata: canonical JSON objects.
        """
        if self._marks is None:
            return False
        return not pc.any(pc.match_substring_regex(metadata, self._marks)).as_py()

    def describe(self, key: str, kind: str) -> str:
        """What stands in the target instead of such a value, in a few words."""
        if not self.allowed(key):
            return "the target refuses the key, nothing stands there"
        if kind in self.rules.exact:
            return "rounded to 15 digits where the target would change it"
        if kind in _AS_JSON:
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
            if self.allowed(key) and self.held(value):
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
        if self.rules.survives is not None and self.held(rounded := _rounded(value)):
            return rounded
        kind = value_kind(value)
        if kind in ("integer", "integer64", "integer64u", "integer_big"):
            text = str(value)
        elif kind == "decimal":
            text = value["$vp"]["decimal"]
        elif kind == "boolean":
            text = "true" if value else "false"
        elif kind in _AS_JSON:
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
            current = stored.get(key, ABSENT)
            if any(_same(current, expected) for expected in self._expected(key, original)):
                stored[key] = original
            else:
                stale += 1
        return stale

    def _expected(self, key: str, original: Any) -> Iterator[Any]:
        """What may stand in the target instead of an original."""
        yield self.project(key, original)
        if self.guess:
            yield from (ABSENT, _rounded(original))

    def held(self, value: Any) -> bool:
        """Whether the target gives this very value back, whatever is nested in it."""
        if self._total:
            return True
        if value_kind(value) not in self.rules.exact:
            return isinstance(value, dict) and self.rules.holds is not None and self.rules.holds(value)
        if isinstance(value, float):
            return self.rules.survives is None or self.rules.survives(value)
        if isinstance(value, list):
            return all(map(self.held, value))
        if isinstance(value, dict):
            return all(self.allowed(k) and self.held(v) for k, v in value.items())
        return True


def _same(current: Any, expected: Any) -> bool:
    if expected is ABSENT or current is ABSENT:
        return expected is current
    return type(current) is type(expected) and bool(current == expected)


def _marks(rules: MetadataRules) -> frozenset[str] | None:
    """Texts of which one stands wherever something must be encoded; None when only parsed values tell."""
    inexact = frozenset(VALUE_KINDS) - rules.exact
    if (
        rules.survives is not None
        or not inexact <= _MARKS.keys()
        or (rules.forbidden_keys and not rules.forbidden_mark)
    ):
        return None
    forbidden = {rules.forbidden_mark} if rules.forbidden_keys else set()
    return frozenset({f'"{ORIGINALS}"', f'"{TAG}"'} | {_MARKS[kind] for kind in inexact} | forbidden)


def _rounded(value: Any) -> Any:
    """The value with every double rounded to 15 digits, and without negative zeros."""
    if isinstance(value, float):
        return float(f"{value:.15g}") + 0.0
    if isinstance(value, list):
        return [_rounded(v) for v in value]
    return {k: _rounded(v) for k, v in value.items()} if isinstance(value, dict) else value
