"""One setting of what an import creates, as data: ``kit.settings`` parses, exports and restores by tables of them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

Value = int | float | bool | str


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting of what is created.

    Attributes:
        name: as ``--set`` spells it.
        help: one sentence.
        kind: ``int``, ``number``, ``flag`` (true or false), ``choice`` or ``text``.
        low, high: the bounds of an int or number, both included.
        multiple: what an int is a multiple of.
        choices: of a choice.
        pattern: a regular expression (full match) of a text.
        takes: what a text looks like, in a few words.
        path: where it stands in the settings that the database shows and a dump keeps, names joined by dots; ``""``
            for one that only the user chooses.
        of: ``name`` takes no suffix; ``vector`` takes that of a vector (``m.title``), ``one`` needs it; ``key`` needs
            any (``column.year``).
        offered: whether ``--set`` takes it; others are kept and restored only.
    """

    name: str
    help: str = ""
    kind: Literal["int", "number", "flag", "choice", "text"] = "int"
    low: float = 0
    high: float = 1 << 31
    multiple: int = 1
    choices: tuple[str, ...] = ()
    pattern: str = ".*"
    takes: str = "a text"
    path: str = ""
    of: Literal["name", "vector", "one", "key"] = "name"
    offered: bool = True

    def bounds(self) -> str:
        """What it takes, in a few words."""
        if self.kind in ("int", "number"):
            word = "a whole number" if self.kind == "int" else "a number"
            return f"{word} from {self.low:,} to {self.high:,}" + (f" by {self.multiple}" if self.multiple > 1 else "")
        return {"flag": "true or false", "choice": ", ".join(self.choices)}.get(self.kind, self.takes)

    def holds(self, value: Any) -> bool:
        """Whether a value can be its own."""
        if self.kind == "flag":
            return type(value) is bool
        if self.kind in ("int", "number"):
            fits = type(value) in ((int,) if self.kind == "int" else (int, float)) and self.low <= value <= self.high
            return fits and (self.multiple == 1 or value % self.multiple == 0)
        if type(value) is not str:
            return False
        return value in self.choices if self.kind == "choice" else re.fullmatch(self.pattern, value) is not None

    def read(self, text: str) -> Value | None:
        """The value that a text spells, None when it spells none."""
        value: Value | None = text
        if self.kind == "flag":
            value = {"true": True, "false": False}.get(text.lower())
        elif self.kind == "int":
            value = int(text) if re.fullmatch(r"-?[0-9]{1,30}", text) else None
        elif self.kind == "number":
            value = float(text) if re.fullmatch(r"-?[0-9]{1,30}(\.[0-9]{1,30})?", text) else None
        return value if self.holds(value) else None
