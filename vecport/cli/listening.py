"""Which listener hears a command: as ``--progress`` and ``--quiet`` say, and as standard error is a terminal or not."""

from __future__ import annotations

from typing import IO

from .listeners import JsonLines, Listener, Plain, Quiet
from .sheet import is_terminal
from .text import Redactor


def listener(mode: str, stream: IO[str], *, quiet: bool, redact: Redactor | None = None) -> Listener:
    """The listener for ``--progress`` and ``--quiet``; ``auto`` draws on a terminal and is plain elsewhere."""
    redact = redact or Redactor()
    if quiet:
        return Quiet(stream, redact, notes=False)
    if mode == "none":
        return Quiet(stream, redact)
    if mode == "json":
        return JsonLines(stream, redact)
    if mode == "auto" and is_terminal(stream):
        # What draws takes longer to load than many commands run.
        from .drawing import Drawing

        return Drawing(stream, redact)
    return Plain(stream, redact)
