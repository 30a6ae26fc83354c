"""Addresses: how a user names a place, and what a connector gets of it.

``qdrant://host:6333``, ``qdrant+https://host``, ``chroma:./folder``, ``postgresql://me@db/prod``,
``jsonl:./rows.jsonl``, ``-``; ``ADDRESS#collection`` names a collection inline.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import parse_qsl, unquote, urlsplit

from ..errors import UsageError
from .secrets import Secret

_SECRET = re.compile(r"(?i)password|passwd|secret|token|api[-_]?key")


@dataclass(frozen=True, slots=True)
class Place:
    """A parsed address with its options resolved.

    Attributes:
        scheme: as typed, lower case, without a ``+tls`` part that ``tls`` holds.
        text: the address as it may be shown: no password, no query values.
        host: server name or address, ``""`` for local files.
        port: None when the address has none.
        tls: the scheme said ``+https`` or ``+tls``.
        path: of a local file or folder, ``~`` expanded; for servers, the path part without its leading slash.
        user: user name, ``""`` when there is none.
        password: from the environment or an ``env:`` address, never from the command line.
        query: parameters behind ``?``.
        options: by option name, text or ``Secret``.
    """

    scheme: str
    text: str
    host: str = ""
    port: int | None = None
    tls: bool = False
    path: str = ""
    user: str = ""
    password: Secret | None = None
    query: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, str | Secret] = field(default_factory=dict)

    def option(self, name: str) -> str | None:
        """The option's text, revealed when it is a secret; None when it is not set."""
        value = self.options.get(name)
        return value.reveal() if isinstance(value, Secret) else value

    @property
    def loopback(self) -> bool:
        """Whether the host is this machine, so that a key may travel without TLS."""
        return is_loopback(self.host)

    @property
    def local(self) -> bool:
        """Whether the address names a local file or folder."""
        return not self.host


def is_loopback(host: str) -> bool:
    """True for localhost, 127.0.0.0/8, ::1 and an empty host (a Unix socket)."""
    if host in ("", "localhost") or host.startswith("/"):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def split_collection(address: str) -> tuple[str, str | None]:
    """Split ``ADDRESS#collection``; the collection is None when there is no ``#``."""
    head, hash_, tail = address.partition("#")
    return head, unquote(tail) if hash_ else None


def parse(address: str, *, allow_password: bool = False) -> Place:
    """Parse an address without its collection.

    Args:
        address: as typed, without ``#collection``.
        allow_password: True when it came from the environment and may hold a password.

    Raises:
        UsageError: no scheme, a bad port, or a password on the command line. The message never echoes the address.
    """
    scheme, colon, rest = address.partition(":")
    if not colon or not scheme or not scheme.replace("+", "").replace("-", "").isalnum():
        raise UsageError("an address has no scheme", next="write it as scheme://host or scheme:./path")
    scheme = scheme.lower()
    if not rest.startswith("//"):
        path = os.path.expanduser(rest)
        return Place(scheme=scheme, text=f"{scheme}:{rest}", path=path)
    try:
        parts = urlsplit(f"x:{rest}")
        host, port = parts.hostname or "", parts.port
    except ValueError as e:
        raise UsageError(f"a {scheme} address cannot be read", why="its host or port is malformed") from e
    if parts.password is not None and not allow_password:
        raise UsageError(
            f"the {scheme} address holds a password",
            why="command lines are seen by every user of this machine and stay in the shell's history",
            next="put the whole address into a variable and pass its name:"
            " read -rs DATABASE_URL; export DATABASE_URL; then use env:DATABASE_URL",
        )
    query = dict(parse_qsl(parts.query))
    if not allow_password and (secret := next((k for k in query if _SECRET.search(k)), None)):
        raise UsageError(
            f"the {scheme} address holds {secret}",
            why="command lines are seen by every user of this machine and stay in the shell's history",
            next="put the whole address into a variable and pass its name: env:DATABASE_URL",
        )
    base, _, variant = scheme.partition("+")
    tls = variant in ("https", "tls", "ssl")
    if variant == "http":
        variant = ""
    user = unquote(parts.username or "")
    netloc = (f"{user}@" if user else "") + (f"[{host}]" if ":" in host else host) + (f":{port}" if port else "")
    return Place(
        scheme=base if tls or not variant else scheme,
        text=f"{scheme}://{netloc}{parts.path}",
        host=host,
        port=port,
        tls=tls,
        path=unquote(parts.path.lstrip("/")),
        user=user,
        password=Secret(unquote(parts.password)) if parts.password else None,
        query=query,
    )


def with_options(place: Place, options: Mapping[str, str | Secret]) -> Place:
    """The same place with its options set."""
    return replace(place, options=dict(options))
