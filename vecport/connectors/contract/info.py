"""What a connector and its collections say of themselves: plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ...model.collection import Collection
from .setting import Setting

Json = Any
"""Plain JSON data: what survives ``json.dumps`` and ``json.loads`` unchanged."""

#: A place counts records by so many namespaces at most; a plan shows them all.
MAX_NAMESPACES = 10_000


@dataclass(frozen=True, slots=True)
class Option:
    """One setting that an address cannot hold.

    The CLI (``--source-option name=value``), the environment (``VECPORT_SOURCE_<NAME>``), the documentation and
    the redaction of secrets are made from these.

    Attributes:
        name: lower case, words joined by ``-``.
        help: one sentence.
        default: the value when none is given.
        secret: never printed, never written, refused on the command line.
        env: names of environment variables that the database's own tools use, tried in order.
    """

    name: str
    help: str
    default: str | None = None
    secret: bool = False
    env: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ConnectorInfo:
    """What the registry, the CLI and the documentation show of a connector.

    Attributes:
        name: the connector's name and entry point name.
        title: the database's name as its makers spell it.
        schemes: address schemes, the first is the canonical one.
        extra: vecport's own extra that installs the client, ``""`` when none is needed or ``install`` says what does.
        modules: importable module names that are installed so; checked before the connector is opened.
        example: an address as a user would type it.
        options: the option table.
        settings: what ``--set`` takes (``kit.settings``); empty where nothing can be chosen of what is created.
        where: the filter language of ``--where``, ``""`` when there is none.
        tls_suffix: what turns the scheme into its encrypted form, as ``+https``; ``""`` when the client decides
            itself about encryption (libpq's sslmode). With a suffix, a key never travels without TLS.
        install: the command that installs the client of a connector in a package of its own, as
            ``pip install 'vecport-example[client]'``; by default the one for ``extra``.
        hidden: it is there for tests, and users are not told of it.
        takes_user: an address may name a user. Without it, what stands before ``@`` can only be a key in the wrong
            place: the address is refused and not repeated.
        takes_host: an address may name a server. Then ``scheme:a@b``, which is no path that is there, lacks its ``//``
            and is not repeated.
    """

    name: str
    title: str
    schemes: tuple[str, ...]
    extra: str
    modules: tuple[str, ...]
    example: str
    options: tuple[Option, ...] = ()
    settings: tuple[Setting, ...] = ()
    where: str = ""
    tls_suffix: str = ""
    install: str = ""
    hidden: bool = False
    takes_user: bool = False
    takes_host: bool = True

    @property
    def install_command(self) -> str:
        """What installs the client, ``""`` where none is needed."""
        if self.install or not self.extra:
            return self.install
        return f"pip install 'vecport[{self.extra}]'"


@dataclass(frozen=True, slots=True)
class CollectionSummary:
    """One line of ``vecport ls``; ``rows`` is None where counting is expensive or impossible."""

    name: str
    rows: int | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which records of a collection are read.

    Attributes:
        namespaces: only these; empty for all.
        where: a filter in the database's own language, None for no filter.
    """

    namespaces: tuple[str, ...] = ()
    where: str | None = None

    def to_json(self) -> dict[str, Json]:
        """Plain data."""
        return {"namespaces": list(self.namespaces), "where": self.where}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Selection:
        """Inverse of ``to_json``."""
        return cls(tuple(data["namespaces"]), data["where"])


@dataclass(frozen=True, slots=True)
class Description:
    """What ``describe`` finds.

    Attributes:
        collection: the schema as the database itself shows it.
        count: records that the selection covers, as ``count`` gives them; None when the place cannot count.
        passport: what an earlier import left in the collection's own metadata (``model.passport``), or None.
        version: of the database server or file format.
        notes: one sentence each, for the user: what was noticed and matters.
    """

    collection: Collection
    count: int | None
    passport: Mapping[str, Json] | None = None
    version: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Permission:
    """One thing that an export or an import needs to be allowed.

    Attributes:
        what: in a few words, as ``read the records``.
        allowed: None where that cannot be told without trying.
        why: what that stands on, in one clause; ``""`` where nothing needs to be said.
        grant: the statement or command that gives the permission, ``""`` when there is none.
    """

    what: str
    allowed: bool | None
    why: str = ""
    grant: str = ""

    def to_json(self) -> dict[str, Json]:
        """Plain data."""
        return asdict(self)
