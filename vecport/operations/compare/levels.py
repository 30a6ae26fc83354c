"""How thoroughly dumps are read."""

from __future__ import annotations

from typing import Final

from ...errors import UsageError

LEVELS: Final = ("quick", "full", "deep")


def check_level(level: str) -> None:
    """Raise ``UsageError`` for a level that is not known."""
    if level not in LEVELS:
        raise UsageError(f"--level {level} is not known", next=f"one of: {', '.join(LEVELS)}")
