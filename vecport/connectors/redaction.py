"""Taking secrets out of text, however they are spelled there: the last line of defence behind ``Secret``.

A client repeats what it was given in many ways: as it is, in its ``repr``, escaped in JSON, encoded for a URL, in the
base64 of a header, as hexadecimal digits, folded over lines. All of these are looked for.
"""

from __future__ import annotations

import base64
import functools
import html
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import quote, quote_plus

from .secrets import known

MASK = "****"
_WORD = r"(?:api[-_]?key|[-_]key|password|passwd|passphrase|[-_]pass|[-_]pwd|secret|credentials?|token)"
_NAME = re.compile(rf"{_WORD}(?:$|[-_](?!file|path))", re.IGNORECASE)
#: user and password of a URL; what looks like a port is none, and a password may hold ``/`` or ``@``.
URL_PASSWORD = re.compile(r"(?<=://)([^/?#\s@:\[]*):(?!\d*(?:[/?#]|$))((?:[^/?#\s]+|\S+))@")
#: ``api_key=...`` and ``password='...'``, as in queries, command lines and libpq's keywords.
_ASSIGNED = re.compile(rf"([\w\-]*{_WORD})=('(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|[^\s&,;'\"]+)", re.IGNORECASE)
_FOLD = re.compile(r"[ \t]*\r?\n[ \t]*")
_BASE64 = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_=")
_SHORTEST = 6
_SHORTEST_LINE = 16


def looks_secret(name: str) -> bool:
    """Whether an option's or a variable's name is that of a secret: ``--api-key``, ``PGPASSWORD``."""
    return bool(_NAME.search(name.lstrip("-")))


def worth_hiding(value: str) -> bool:
    """Ordinary words stay: a password that is one, as ``postgres``, would take that word out of every message."""
    return len(value) >= _SHORTEST and not (value.isalpha() and value.islower() and len(value) < 16)


@functools.lru_cache(256)
def spellings(secret: str) -> frozenset[str]:
    """How a client may write a secret, but for base64."""
    raw = secret.encode("utf-8", "surrogatepass")
    encoded = {quote(raw, safe=""), quote(raw), quote_plus(raw)}
    encoded |= {re.sub("%[0-9A-F]{2}", lambda found: found[0].lower(), text) for text in encoded}
    escaped = {
        secret, secret.lower(), secret.upper(), repr(secret)[1:-1], ascii(secret)[1:-1], repr(raw)[2:-1],
        secret.replace("\\", "\\\\").replace("'", "\\'"), secret.replace("'", "''"), html.escape(secret), *encoded,
    }  # fmt: skip
    escaped |= {json.dumps(text)[1:-1] for text in escaped} | {repr(text)[1:-1] for text in escaped}
    return frozenset({*escaped, raw.hex(), raw.hex().upper()})


@functools.lru_cache(256)
def base64_spellings(secret: str) -> frozenset[str]:
    """The characters of base64 that a secret alone decides, at each of the three places where it may begin."""
    raw = secret.encode("utf-8", "surrogatepass")
    out = set()
    for before in range(3):
        text = base64.b64encode(b"\0" * before + raw).decode()
        core = text[-(-before * 8 // 6) : (before + len(raw)) * 8 // 6]
        if len(core) >= _SHORTEST:
            out |= {core, core.replace("+", "-").replace("/", "_")}
    return frozenset(out)


class Redactor:
    """Takes secrets out of what is about to be printed or written.

    It knows every ``Secret`` of this process, the values that stand in the environment under a secret's name, and it
    recognises passwords in URLs and ``api_key=...`` wherever they come from.

    Args:
        environment: variables; those of the process when left out.
        arguments: of the command line, which may hold what must not stand there.
    """

    def __init__(self, environment: Mapping[str, str] | None = None, arguments: Iterable[str] = ()) -> None:
        found = {
            *_of_environment(os.environ if environment is None else environment),
            *_of_arguments(list(arguments)),
        }
        self._own = frozenset(part for value in found for part in _parts(value))

    def __call__(self, text: str) -> str:
        for secret in sorted(self._own | {p for value in known() for p in _parts(value)}, key=len, reverse=True):
            text = _masked(text, spellings(secret), base64_spellings(secret))
        return _ASSIGNED.sub(rf"\1={MASK}", URL_PASSWORD.sub(rf"\1:{MASK}@", text))


def hide(text: str) -> str:
    """A text without the secrets that this process knows."""
    return Redactor()(text)


def _of_environment(environment: Mapping[str, str]) -> Iterator[str]:
    for name, value in environment.items():
        if looks_secret(name):
            yield value
        yield from (password for _, password in URL_PASSWORD.findall(value))
        yield from (text.strip("'\"") for _, text in _ASSIGNED.findall(value))


def _of_arguments(arguments: list[str]) -> Iterator[str]:
    before = ""
    for argument in arguments:
        yield from (password for _, password in URL_PASSWORD.findall(argument))
        yield from (text.strip("'\"") for _, text in _ASSIGNED.findall(argument))
        if before.startswith("-") and looks_secret(before):
            yield argument
        before = argument


def _parts(value: str) -> Iterator[str]:
    """What of a value is worth hiding: all of it, without blanks around it, and its long lines."""
    value = value.strip()
    lines = value.splitlines()
    if worth_hiding(value):
        yield value
    if len(lines) > 1:
        yield from (line for line in lines if len(line) >= _SHORTEST_LINE and not line.startswith("-----"))


def _masked(text: str, needles: frozenset[str], base64_needles: frozenset[str]) -> str:
    """A text with a mask for every needle, also for one that is folded over lines."""
    compact, places = _unfolded(text)
    spans = [span for needle in needles for span in _found(compact, needle)]
    for needle in base64_needles:
        for begin, end in _found(compact, needle):
            # What stands before and behind it in the same word is a part of the same header.
            while begin and compact[begin - 1] in _BASE64:
                begin -= 1
            while end < len(compact) and compact[end] in _BASE64:
                end += 1
            spans.append((begin, end))
    if not spans:
        return text
    out, done = [], 0
    for begin, end in sorted(spans):
        first, last = (begin, end) if places is None else (places[begin], places[end - 1] + 1)
        if first >= done:
            out += [text[done:first], MASK]
        done = max(done, last)
    return "".join([*out, text[done:]])


def _unfolded(text: str) -> tuple[str, list[int] | None]:
    """A text without its line ends and the blanks around them, and where each character stood; None: where it is."""
    if "\n" not in text:
        return text, None
    places: list[int] = []
    done = 0
    for fold in _FOLD.finditer(text):
        places += range(done, fold.start())
        done = fold.end()
    places += range(done, len(text))
    return "".join(text[i] for i in places), places


def _found(text: str, needle: str) -> Iterator[tuple[int, int]]:
    begin = text.find(needle)
    while begin >= 0:
        yield begin, begin + len(needle)
        begin = text.find(needle, begin + 1)
