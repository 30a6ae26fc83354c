"""What a comparison found so far: counts of records, counts by part, and some findings of each kind."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from ...model.compare import KINDS, Finding, Verdict
from .located import EXAMPLES

#: Names of parts that are counted one by one; records may have any number of metadata keys.
_MOST_PARTS = 1_000
_OTHER_PARTS = "metadata"


@dataclass(slots=True)
class Tally:
    """Counts of records; ``vectors_changed`` and ``metadata_changed`` are of those in ``changed``."""

    equal: int = 0
    within_bound: int = 0
    changed: int = 0
    vectors_changed: int = 0
    metadata_changed: int = 0
    missing: int = 0
    extra: int = 0
    repeated: int = 0
    parts: dict[str, int] = field(default_factory=dict)
    _examples: dict[str, list[Finding]] = field(default_factory=dict)

    def judged(self, verdict: Verdict) -> None:
        """Add what the judge said."""
        equal, within = verdict.equal, verdict.within
        self.equal += int(equal.sum())
        self.within_bound += int((within & ~equal).sum())
        self.changed += int((~within).sum())
        self.vectors_changed += int(verdict.vectors_changed.sum())
        self.metadata_changed += int(verdict.metadata_changed.sum())
        self._count(verdict.counts())
        room = EXAMPLES - len(self._examples.get("changed", ()))
        if room:
            self.example(verdict.findings(np.flatnonzero(~within)[:room].tolist()))

    def example(self, found: Iterable[Finding]) -> None:
        """Keep some findings to show."""
        for finding in found:
            have = self._examples.setdefault(finding.kind, [])
            if len(have) < EXAMPLES:
                have.append(finding)

    @property
    def examples(self) -> tuple[Finding, ...]:
        """At most five of each kind."""
        return tuple(f for kind in KINDS for f in self._examples.get(kind, ()))

    def _count(self, parts: Mapping[str, int]) -> None:
        for name, n in parts.items():
            known = name in self.parts or len(self.parts) < _MOST_PARTS
            counted = name if known else _OTHER_PARTS
            self.parts[counted] = self.parts.get(counted, 0) + n

    @property
    def differs(self) -> bool:
        """Whether any record is not the same on both sides."""
        return bool(self.missing or self.extra or self.changed or self.repeated)
