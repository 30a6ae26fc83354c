"""What operations give back, where several make the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .split import Destination


@dataclass(frozen=True, slots=True)
class ImportResult:
    """What an import did.

    Attributes:
        dump, target: where from and where to.
        rows: of the dump.
        written_rows: written by this run.
        resumed_rows: that an earlier run had written.
        ledger: plain data, worst first.
        dry_run: nothing was written.
        verify_command: proves the result.
        query_hint: a query to paste.
        seconds: this run took.
        notes: what was noticed and matters, the target's own words among it.
        collections: where each namespace went, by namespace, in the order of writing; empty unless they were split.
    """

    dump: str
    target: str
    rows: int
    written_rows: int
    resumed_rows: int
    ledger: list[dict[str, Any]]
    dry_run: bool
    verify_command: str
    query_hint: str
    seconds: float
    notes: tuple[str, ...] = ()
    exit_code: int = 0
    collections: Mapping[str, Destination] = field(default_factory=dict)
