"""Addresses: how a user names a place, and what a connector gets of it.

``qdrant://host:6333``, ``qdrant+https://host``, ``chroma:./folder``, ``postgresql://me@db/prod``,
``jsonl:./rows.jsonl``, ``-``; ``ADDRESS#collection`` names a collection inline.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import parse_qsl, unquote, urlsplit

from ..errors import UsageError
from .redaction import looks_secret
from .secrets import Secret, refuse_control

_WHERE_SEEN = "command lines are seen by every user of this machine and stay in the shell's history"
#: What begins so is meant as a path.
PATHS = ("/", ".", "~", "\\")
#: Behind what may be a port stands ``#``, and there an ``@`` and a port or a path: a password with ``#`` in it.
_SPLIT_PASSWORD = re.compile(r"//[^#]*#.*@.*[/:]")


class Refused(UsageError):
    """An address that cannot be used; the message repeats nothing of it but a scheme that vecport knows."""


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
    query: Mapping[str, str] = field(default_factory=dict, repr=False)
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
        raise Refused("an address has no scheme", next="write it as scheme://host or scheme:./path")
    scheme = scheme.lower()
    if not rest.startswith("//"):
        path = os.path.expanduser(rest)
        return Place(scheme=scheme, text=f"{scheme}:{rest}", path=path)
    try:
        parts = urlsplit(f"x:{rest}")
        host, port = parts.hostname or "", parts.port
    except ValueError:
        # What Python says of it repeats parts of it.
        raise _unreadable(scheme, "its host or port is malformed") from None
    if host and "@" in parts.path + ("" if "@" in parts.netloc else parts.query):
        raise _unreadable(scheme, "an @ stands behind the host")
    if parts.password is not None and not allow_password:
        raise Refused(
            f"the {scheme} address holds a password",
            why=_WHERE_SEEN,
            next="put the whole address into a variable and pass its name:"
            " read -rs DATABASE_URL; export DATABASE_URL; then use env:DATABASE_URL",
        )
    query = dict(parse_qsl(parts.query))
    secrets = {name: Secret(value) for name, value in query.items() if looks_secret(name)}
    if not allow_password and secrets:
        raise Refused(
            f"the {scheme} address holds {next(iter(secrets))}",
            why=_WHERE_SEEN,
            next="put the whole address into a variable and pass its name: env:DATABASE_URL",
        )
    password = unquote(parts.password or "")
    refuse_control(password, f"the password of the {scheme} address")
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
        password=Secret(password) if password else None,
        query=query,
    )


def _unreadable(scheme: str, why: str) -> Refused:
    return Refused(
        f"a {scheme} address cannot be read",
        f"{why}; it is not repeated here, as it may hold a password",
        "nothing was opened",
        "write reserved characters of a name or a password as percent codes: / %2F, ? %3F, # %23, @ %40, % %25",
    )


def check_shape(
    address: str, *, typed: bool, takes_user: bool, takes_host: bool, title: str, keys: Iterable[str]
) -> None:
    """Refuse an address that holds a key where none belongs; the message repeats nothing of it.

    Args:
        address: as typed, or as a variable holds it.
        typed: it stands on the command line and holds no password; a collection with ``@`` in its name may be there.
        takes_user: an address of this database may name a user.
        takes_host: it may name a server.
        title: of the database.
        keys: variables that a key is read from.

    Raises:
        UsageError: a user that means nothing, no ``//`` before what looks like one, or an ambiguous ``#``.
    """
    scheme, _, rest = address.partition(":")
    scheme = scheme.lower()
    if not takes_host or "@" not in rest:
        return
    if not rest.startswith("//"):
        path = rest.partition("#")[0]
        if "@" in path and not path.startswith(PATHS) and not os.path.exists(path):
            raise Refused(
                f"a {scheme} address has no //",
                "what stands before @ may be a key or a password, so it is not repeated here",
                "nothing was opened",
                f"write {scheme}://host for a server, {scheme}:./path for a file or a folder",
            )
        return
    if takes_user and (_SPLIT_PASSWORD.match(rest) or ("@" in rest.partition("#")[2] and not typed)):
        raise _unreadable(scheme, "# stands before @")
    if "@" in re.split("[/?#]", rest[2:], maxsplit=1)[0] and not takes_user:
        where = " or ".join(keys)
        raise Refused(
            f"the {scheme} address names a user",
            f"{title} takes no user name; what stands before @ may be a key, so it is not repeated here",
            "nothing was opened",
            "leave out what stands before @" + (f", and put a key into the environment: {where}" if where else ""),
        )


def with_options(place: Place, options: Mapping[str, str | Secret]) -> Place:
    """The same place with its options set."""
    return replace(place, options=dict(options))
