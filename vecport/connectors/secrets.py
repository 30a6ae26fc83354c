"""A secret is a type that redacts itself, and is cleaned when it enters."""

from __future__ import annotations

import unicodedata

from ..errors import UsageError

#: Every value that became a ``Secret`` in this process, so that ``redaction`` finds it in any text.
_KNOWN: set[str] = set()


class Secret:
    """Holds a password or key; ``str``, ``repr`` and formatting never show it. ``reveal`` gives the value.

    What has been one is known to ``redaction`` for as long as the process lives.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value
        _KNOWN.add(value)

    def reveal(self) -> str:
        """The value itself, for the call that needs it."""
        return self._value

    def __str__(self) -> str:
        return "****"

    def __repr__(self) -> str:
        return "Secret(****)"

    def __format__(self, spec: str) -> str:
        return "****"

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> tuple[type[Secret], tuple[str]]:
        return Secret, (self._value,)


def known() -> frozenset[str]:
    """The values of all secrets that this process has had."""
    return frozenset(_KNOWN)


def cleaned(value: str, name: str) -> str:
    """A key or an address as it entered, without the blanks and line ends around it, as files of secrets end in one.

    Args:
        value: as it stands in the environment.
        name: of the variable, for the message.

    Raises:
        UsageError: it holds a control character; the value is not repeated.
    """
    value = value.strip()
    refuse_control(value, name)
    return value


def refuse_control(value: str, name: str) -> None:
    """Raise ``UsageError`` for a secret with a control character in it; only ``name`` is said of it."""
    if any(unicodedata.category(c) in ("Cc", "Cs") for c in value):
        _KNOWN.add(value)
        raise UsageError(
            f"{name} holds a control character",
            "a line end, a tab or the like stands in it; blanks and line ends around a key or an address do no harm",
            "nothing was opened",
            "set it again, as one line of text",
        )
