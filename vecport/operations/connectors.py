"""Connectors: the databases that vecport knows, and which of them can be used here."""

from __future__ import annotations

from dataclasses import dataclass

from ..connectors import registry
from ..connectors.contract import Option


@dataclass(frozen=True, slots=True)
class OptionRow:
    """One setting of a connector; ``env`` are the variables that are read when it is not given."""

    name: str
    help: str
    default: str | None
    secret: bool
    env: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ConnectorRow:
    """One connector.

    Attributes:
        name: of the connector.
        title: the database's name as its makers spell it.
        schemes: of its addresses, the canonical one first.
        source, target: it can be read, written.
        installed: its client is there.
        install: the command that installs the client, ``""`` when none is needed.
        example: an address.
        where: the filter language of ``--where``, ``""`` when there is none.
        options: its settings.
        problem: why it could not be loaded, ``""`` when it could.
    """

    name: str
    title: str
    schemes: tuple[str, ...]
    source: bool
    target: bool
    installed: bool
    install: str
    example: str
    where: str
    options: tuple[OptionRow, ...]
    problem: str = ""


@dataclass(frozen=True, slots=True)
class ConnectorsResult:
    """All connectors by name."""

    entries: tuple[ConnectorRow, ...]
    notes: tuple[str, ...] = ()
    exit_code: int = 0


def connectors() -> ConnectorsResult:
    """List the connectors; no client is imported. One that cannot be loaded is listed with its problem."""
    return ConnectorsResult(tuple(row for name in registry.names() if (row := _row(name)) is not None))


def _row(name: str) -> ConnectorRow | None:
    """A line of the list; None where users are not told of it."""
    try:
        connector = registry.get(name)
    except Exception as e:
        # A connector of another package: whatever is wrong with it must not hide the others.
        return ConnectorRow(name, name, (), False, False, False, "", "", "", (), f"{type(e).__name__}: {e}")
    info = connector.info
    if info.hidden:
        return None
    return ConnectorRow(
        name=info.name, title=info.title, schemes=info.schemes,
        source=registry.has_role(connector, "source"), target=registry.has_role(connector, "target"),
        installed=not registry.missing_modules(connector),
        install=info.install_command,
        example=info.example, where=info.where, options=tuple(map(_option, info.options)),
    )  # fmt: skip


def _option(option: Option) -> OptionRow:
    variable = option.name.upper().replace("-", "_")
    env = (f"VECPORT_SOURCE_{variable}", f"VECPORT_TARGET_{variable}", *option.env)
    return OptionRow(option.name, option.help, option.default, option.secret, env)
