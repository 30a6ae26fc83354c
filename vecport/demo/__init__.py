"""The demo: a real collection goes from Chroma to Qdrant and Postgres, and is proved to have arrived.

Everything runs on loopback with real engines that come as packages; nothing has to be set up and nothing stays.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["run"]


def run(folder: Path | None, console: Console) -> int:
    """Run the demo.

    Args:
        folder: keeps the Chroma folder and the dumps; it must be new or empty. None for a temporary one.
        console: where everything is shown; escapes are written only to a terminal.

    Returns:
        0 when every step found what it should, else 3.

    Raises:
        MissingExtra: a client or an engine is not installed.
        AlreadyExists: the folder holds something.
        VecportError: a step failed; everything temporary is removed.
    """
    from .story import tell

    return tell(folder, console)
