"""Text for a terminal: foreign text made harmless, secrets taken out, numbers made readable."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable

from ..connectors.redaction import URL_PASSWORD, Redactor, looks_secret

__all__ = ["Redactor", "holds_secret", "looks_secret", "parse_size", "records", "safe", "safe_lines", "shell_command",
           "show_rate", "show_size", "show_time"]  # fmt: skip

#: libpq's keywords, as ``host=db password=...``: a place and a password, apart by blanks.
_KEYWORD_PLACE = re.compile(r"(?:^|\s)(?:host|hostaddr|user|dbname|port|service)=", re.IGNORECASE)
_KEYWORD_PASSWORD = re.compile(r"(?:^|\s)(?:ssl)?password=", re.IGNORECASE)
#: A password that begins with digits and holds ``/``, ``?`` or ``#``: what is before that looks like a port.
_AFTER_PORT = re.compile(r"://[^/?#\s@:\[]+:\d*(?:/[^#]*@|[?#].*@.*[/:])")
#: Names of buckets hold no ``@``, so a key stands before it.
_BUCKET_USER = re.compile(r"(?:s3a?|gs|gcs|oss|cos)://[^/?#]*@", re.IGNORECASE)
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


def holds_secret(argument: str) -> bool:
    """Whether a command-line argument carries a password.

    ``scheme://user:password@...``, ``?api_key=...`` and ``host=... password=...`` do.
    """
    if URL_PASSWORD.search(argument) or _AFTER_PORT.search(argument) or _BUCKET_USER.match(argument):
        return True
    if _KEYWORD_PLACE.search(argument) and _KEYWORD_PASSWORD.search(argument):
        return True
    _, mark, query = argument.partition("?")
    return bool(mark) and any(looks_secret(part.partition("=")[0]) for part in query.split("&") if "=" in part)


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
