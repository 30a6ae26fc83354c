"""What an address names: collections that are not there, keys that would travel in the open, options with a form."""

from __future__ import annotations

import os
from collections.abc import Iterable
from itertools import islice

from ...errors import AuthenticationFailed, NotFound, UsageError
from ..address import Place

_SHOWN = 20


def not_found(name: str, place: str, there: Iterable[str], next: str = "choose one with -c/--collection") -> NotFound:
    """The error for a collection that does not exist; it lists those that do.

    Args:
        name: of the collection.
        place: as it may be shown.
        there: names of the collections there, asked for one by one; it may raise ``AuthenticationFailed``.
        next: what to do now.
    """
    try:
        found = sorted(islice(there, _SHOWN + 1))
    except AuthenticationFailed:
        listed = "this key may not list them"
    else:
        listed = ", ".join(map(repr, found[:_SHOWN])) or "none"
        listed += ", ..." if len(found) > _SHOWN else ""
    return NotFound(
        f"collection {name!r} is not in {place}", f"collections there: {listed}", "nothing was created", next
    )


def check_key_travels_safely(place: Place, option: str = "api-key", tls: str = "+https") -> None:
    """Raise ``UsageError`` when a key would go without TLS to another machine.

    Args:
        place: of a server.
        option: that holds the key.
        tls: what turns the scheme into its encrypted form.
    """
    if place.option(option) and not place.tls and not place.loopback:
        secured = place.text.replace(f"{place.scheme}://", f"{place.scheme}{tls}://", 1)
        raise UsageError(
            f"the {option.replace('-', ' ')} for {place.host} would travel without TLS",
            why="the address says no encryption, and everybody on the way could read the key",
            safe="nothing was sent",
            next=f"use TLS: {secured}",
        )


def header(place: Place, option: str = "api-key") -> str | None:
    """A key that travels in a header, None where none is given.

    Raises:
        UsageError: no header can carry it; a client would repeat it in its message.
    """
    key = place.option(option)
    if key and not (key.isascii() and key.isprintable()):
        raise UsageError(
            f"the {option.replace('-', ' ')} for {place.host} holds a character that no header can carry",
            "keys consist of the printable characters of ASCII",
            "nothing was sent",
            "set the variable of the key again",
        )
    return key or None


def begins_with(path: str, magic: bytes) -> bool:
    """Whether a path is a file that begins with these bytes, as ``Connector.recognises`` asks."""
    if not os.path.isfile(path):
        return False
    with open(path, "rb") as file:
        return file.read(len(magic)) == magic


def bracketed(host: str) -> str:
    """A host as it stands before a port: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host


def seconds(place: Place, option: str, default: float) -> float:
    """An option that is a time; raises ``UsageError`` for what is none."""
    text = place.option(option)
    if not text:
        return default
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not 0 < found < 1e6:
        raise UsageError(f"option {option}={text!r} is no time", next="a number of seconds above 0")
    return found


def port(place: Place, option: str) -> int | None:
    """An option that is a port, None where it is not given; raises ``UsageError`` for what is none."""
    text = place.option(option)
    if not text:
        return None
    if text.isdigit() and 0 < int(text) < 65536:
        return int(text)
    raise UsageError(f"option {option}={text!r} is no port", next="a number from 1 to 65535")


def chosen(place: Place, option: str, default: bool = False) -> bool:
    """An option that is yes or no; raises ``UsageError`` for anything else."""
    text = place.option(option) or ("yes" if default else "no")
    if text not in ("yes", "no"):
        raise UsageError(f"the option {option}={text} is not known", next=f"write {option}=yes or {option}=no")
    return text == "yes"
