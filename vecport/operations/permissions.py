"""What a plan tells of permissions: which are there, which are missing, and what to type."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..connectors.contract import Permission

#: Of a plan that knows that a permission is missing: a finding.
FINDINGS = 3


def note(facts: dict[str, Any], notes: list[str], role: str, found: Sequence[Permission]) -> bool:
    """Add permissions to the facts of a plan, and to its notes what is missing and how it is given.

    Args:
        role: ``source`` or ``target``.

    Returns:
        Whether none is known to be missing.
    """
    if found:
        facts.setdefault("permissions", []).extend({"role": role, **p.to_json()} for p in found)
    missing = [p for p in found if p.allowed is False]
    for p in missing:
        notes.append(f"not allowed: {p.what}: {p.why}" + (f"; to allow it: {p.grant}" if p.grant else ""))
    return not missing


def exit_code(facts: dict[str, Any]) -> int:
    """3 when a permission is known to be missing, else 0."""
    return FINDINGS if any(p["allowed"] is False for p in facts.get("permissions", ())) else 0
