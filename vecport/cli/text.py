"""Text for a terminal: foreign text made harmless, secrets taken out, numbers made readable."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Mapping

_SECRET_WORD = r"(?:api[-_]?key|[-_]key|password|passwd|secret|credentials?|token)"
_SECRET_NAME = re.compile(rf"{_SECRET_WORD}(?:$|[-_](?!file|path))", re.IGNORECASE)
#: user and password of a URL; what looks like a port is none, and a password may hold ``/`` or ``@``.
_URL_PASSWORD = re.compile(r"(?<=://)([^/?#\s@:\[]*):(?!\d*(?:[/?#]|$))((?:[^/?#\s]+|\S+))@")
_ASSIGNED = re.compile(rf"([\w\-]*{_SECRET_WORD})=([^\s&,;'\"]+)", re.IGNORECASE)
_SHORTEST_SECRET = 6
_UNITS = {
    "": 1, "b": 1,
    "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40,
    "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40,
    "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12,
}  # fmt: skip


def safe(text: object, limit: int | None = None) -> str:
    """Make text from data harmless on a terminal: one line, no control character, nothing invisible.

    Everything that is not printable (control and escape bytes, bidirectional overrides, zero-width characters, lone
    surrogates, line separators) is spelled out as ``\\x1b``, ``\\u202e``. Square brackets stay as they are: no
    console of vecport interprets markup.

    Args:
        text: anything; its ``str`` is shown.
        limit: longest result in characters; what is longer is cut and ends in ``…``.
    """
    raw = str(text)
    if limit is not None and len(raw) > limit:
        raw = raw[: limit - 1] + "…"
    if raw.isprintable():
        return raw
    return "".join(c if c.isprintable() else _spelled(c) for c in raw)


def _spelled(character: str) -> str:
    named = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(character)
    if named is not None:
        return named
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def safe_lines(text: object) -> list[str]:
    """``safe`` for text that may have several lines, as error messages do."""
    return [safe(line) for line in str(text).split("\n")]


class Redactor:
    """Takes secrets out of what is about to be printed: the last line of defence behind ``Secret``.

    It knows the values that stand in the environment under a secret's name, and it recognises passwords in URLs and
    ``api_key=...`` wherever they come from.
    """

    def __init__(self, environment: Mapping[str, str] | None = None, arguments: Iterable[str] = ()) -> None:
        known: set[str] = set()
        for name, value in (os.environ if environment is None else environment).items():
            if looks_secret(name):
                known.add(value)
            known.update(password for _, password in _URL_PASSWORD.findall(value))
        before = ""
        for argument in arguments:
            known.update(password for _, password in _URL_PASSWORD.findall(argument))
            known.update(value for _, value in _ASSIGNED.findall(argument))
            if before.startswith("-") and looks_secret(before):
                known.add(argument)
            before = argument
        self._known = sorted(filter(_worth_hiding, known), key=len, reverse=True)

    def __call__(self, text: str) -> str:
        for secret in self._known:
            text = text.replace(secret, "****")
        return _ASSIGNED.sub(r"\1=****", _URL_PASSWORD.sub(r"\1:****@", text))


def _worth_hiding(value: str) -> bool:
    """Ordinary words stay: a password that is one, as ``postgres``, would take that word out of every message."""
    return len(value) >= _SHORTEST_SECRET and not (value.isalpha() and value.islower() and len(value) < 16)


def holds_secret(argument: str) -> bool:
    """Whether a command-line argument carries a password: ``scheme://user:password@...`` or ``?api_key=...``."""
    if _URL_PASSWORD.search(argument):
        return True
    _, mark, query = argument.partition("?")
    return bool(mark) and any(_SECRET_NAME.search(part.partition("=")[0]) for part in query.split("&") if "=" in part)


def looks_secret(name: str) -> bool:
    """Whether an option's name is that of a secret: ``--api-key``, ``--password``."""
    return bool(_SECRET_NAME.search(name.lstrip("-")))


def shell_command(arguments: Iterable[str]) -> str:
    """A ``vecport`` command line, quoted for a POSIX shell."""
    return shlex.join(["vecport", *arguments])


def parse_size(text: str) -> int:
    """Bytes of ``512MiB``, ``2GB``, ``1.5 GiB``, ``64M``, ``4096``; K, M, G are KiB, MiB, GiB.

    Raises:
        ValueError: not a size, or not above zero.
    """
    found = re.fullmatch(r"\s*([0-9][0-9_]*(?:\.[0-9]+)?)\s*([a-zA-Z]*)\s*", text)
    unit = _UNITS.get(found.group(2).lower()) if found else None
    if found is None or unit is None:
        raise ValueError("a size is a number and a unit, as 512MiB or 2GB")
    whole, _, part = found.group(1).replace("_", "").partition(".")
    size = int(whole) * unit + (int(part) * unit // 10 ** len(part) if part else 0)
    if size < 1:
        raise ValueError("a size must be above zero")
    return size


def show_size(size: int) -> str:
    """``1.4 GiB``."""
    value = float(size)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if value < 1024 or unit == "TiB":
            return f"{size} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    raise AssertionError


def show_time(seconds: float) -> str:
    """``0.4 s``, ``12 s``, ``3 min 05 s``, ``2 h 07 min``."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def show_rate(rows: int, seconds: float) -> str:
    """``81,300 records/s``, ``""`` when there is nothing to divide."""
    return f"{round(rows / seconds):,} records/s" if rows and seconds > 0 else ""


def records(count: int) -> str:
    """``1 record``, ``1,000 records``."""
    return f"{count:,} record" + ("" if count == 1 else "s")
