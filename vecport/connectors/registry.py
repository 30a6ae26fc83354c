"""Finding connectors: entry points, schemes, bare paths; resolving options and secrets into a place."""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import os
import re
from collections.abc import Mapping
from dataclasses import replace

from ..errors import MissingExtra, NotFound, UsageError
from . import address as addresses
from .address import Place
from .contract import Connector, ConnectorInfo, Option
from .secrets import Secret, cleaned

GROUP = "vecport.connectors"
#: Entry points by scheme, so that an address loads its own connector and no other. ``-`` is stdin and stdout.
SCHEMES = "vecport.schemes"
STREAMS = "-"
ROLES = ("source", "target")


@functools.cache
def _entry_points() -> dict[str, importlib.metadata.EntryPoint]:
    found: dict[str, importlib.metadata.EntryPoint] = {}
    for point in importlib.metadata.entry_points(group=GROUP):
        other = found.get(point.name)
        if other is not None and other.value != point.value:
            raise UsageError(f"two packages register the connector {point.name!r}: {other.value} and {point.value}",
                             next="uninstall one of them")  # fmt: skip
        found[point.name] = point
    return found


def names() -> list[str]:
    """Names of all connectors, installed clients or not."""
    return sorted(_entry_points())


@functools.cache
def get(name: str) -> Connector:
    """The connector of this name; raises ``UsageError`` when there is none."""
    point = _entry_points().get(name)
    if point is None:
        raise UsageError(f"no connector is called {name!r}", next=f"one of: {', '.join(names())}")
    try:
        connector = point.load()()
        if not isinstance(connector, Connector) or not isinstance(getattr(connector, "info", None), ConnectorInfo):
            raise TypeError(f"{point.value} is no Connector with a ConnectorInfo")
        if not any(has_role(connector, role) for role in ROLES):
            raise TypeError(f"{point.value} has neither a source nor a target")
    except Exception as e:
        # It may come from another package, and anything may be wrong with it.
        raise BrokenConnector(
            f"the connector {name!r} cannot be loaded",
            f"{type(e).__name__}: {e}",
            "nothing was changed",
            f"update or uninstall the package that has {point.value}",
        ) from e
    return connector


def has_role(connector: Connector, role: str) -> bool:
    """A role is there when its class is named or its session can be opened."""
    opens = getattr(type(connector), f"open_{role}") is not getattr(Connector, f"open_{role}")
    return opens or getattr(connector, role) is not None


class BrokenConnector(UsageError):
    """A connector that is installed and cannot be loaded."""


@functools.cache
def _loaded() -> tuple[dict[str, Connector], dict[str, str]]:
    """All connectors that can be loaded, and what is wrong with each of the others."""
    good: dict[str, Connector] = {}
    broken: dict[str, str] = {}
    for name in names():
        try:
            good[name] = get(name)
        except BrokenConnector as e:
            broken[name] = e.why
    return good, broken


def broken() -> tuple[str, ...]:
    """A sentence for each connector that cannot be loaded; loads them all."""
    return tuple(f"the connector {name!r} cannot be loaded: {why}" for name, why in _loaded()[1].items())


@functools.cache
def _declared() -> dict[str, str]:
    """Connectors by the schemes of their entry points; nothing is loaded."""
    values = {point.value: name for name, point in _entry_points().items()}
    points = importlib.metadata.entry_points(group=SCHEMES)
    return {point.name: values[point.value] for point in points if point.value in values}


def _named(scheme: str) -> str | None:
    """The connector that declares a scheme, or has the scheme's own name, so that the others need not be loaded."""
    declared = _declared()
    base = scheme.partition("+")[0]
    for known in (scheme, base):
        if known in declared:
            return declared[known]
    if base in _entry_points() and base in get(base).info.schemes:
        return base
    return None


@functools.cache
def _by_scheme() -> dict[str, str]:
    return {scheme: name for name, connector in _loaded()[0].items() for scheme in connector.info.schemes}


def missing_modules(connector: Connector) -> list[str]:
    """Modules of the connector's extra that are not installed."""
    return [m for m in connector.info.modules if importlib.util.find_spec(m.partition(".")[0]) is None]


def require_extra(connector: Connector) -> None:
    """Raise ``MissingExtra`` with the install line when the connector's client is not installed."""
    missing = missing_modules(connector)
    if missing:
        raise MissingExtra(
            f"{connector.info.title} support is not installed", f"missing: {', '.join(missing)}", "nothing was changed",
            connector.info.install_command,
        )  # fmt: skip


def resolve(
    text: str, *, role: str, options: Mapping[str, str] | None = None, collection: str | None = None
) -> tuple[Connector, Place, str | None]:
    """Turn what a user typed into a connector, a place and a collection.

    Args:
        text: ``ADDRESS``, ``ADDRESS#collection``, ``env:NAME``, a bare path, or ``-``.
        role: ``source`` or ``target``; names the environment variables that are looked at.
        options: ``--source-option``/``--target-option`` values; secrets are refused here.
        collection: ``--collection``; must not contradict ``#collection``.

    Raises:
        UsageError: unknown scheme or option, a secret on the command line, a key without TLS.
        NotFound: a bare path that does not exist or that no connector recognises.
        MissingExtra: the connector's client is not installed.
    """
    variable = text[4:] if text.startswith("env:") else None
    if variable is not None:
        text = _from_env(variable)
    bare, inline = addresses.split_collection(text)
    if inline is not None and collection is not None and inline != collection:
        # A password with # in it would be repeated here.
        named = f"#{inline}" if variable is None else f"one in {variable}"
        raise UsageError(f"two collections are named: {named} and --collection {collection}")
    connector, place = _place(bare, text) if variable is None else _of_variable(variable, text, bare)
    require_extra(connector)
    place = addresses.with_options(place, _options(connector, role, dict(options or {})))
    _refuse_plain_secret(connector, place)
    return connector, place, collection if inline is None else inline


def check_shape(text: str) -> None:
    """Refuse an address as typed that holds a key where none belongs; raises ``UsageError``."""
    name = _named(text.partition(":")[0].lower()) if ":" in text else None
    if name is not None:
        _check_shape(get(name), text, typed=True)


def _check_shape(connector: Connector, text: str, *, typed: bool) -> None:
    info = connector.info
    keys = [name for o in info.options if o.secret for name in (o.env or [_variable(role, o.name) for role in ROLES])]
    addresses.check_shape(
        text, typed=typed, takes_user=info.takes_user, takes_host=info.takes_host, title=info.title, keys=keys
    )


def _from_env(name: str) -> str:
    if not name.isidentifier():
        # A shell puts the address itself here when a $ stands before the name.
        raise UsageError("no variable's name stands behind env:", "letters, digits and _ make one; what stands there is"
                         " not repeated, as it may be an address with a password", "nothing was opened",
                         "write the name alone, without $: env:DATABASE_URL")  # fmt: skip
    value = cleaned(os.environ.get(name, ""), f"the environment variable {name}")
    if not value:
        raise UsageError(f"the environment variable {name} is not set", next=f"export {name}='scheme://...'")
    return value


def _of_variable(name: str, text: str, bare: str) -> tuple[Connector, Place]:
    """The place that an environment variable names; what goes wrong is said of the variable, never of its value."""
    try:
        return _place(bare, text, allow_password=True)
    except BrokenConnector:
        raise
    except (UsageError, NotFound) as e:
        for part in {text, *_before_at(text)}:
            Secret(part)
        why = e.why if isinstance(e, addresses.Refused) else ""
        raise UsageError(
            f"the address in the environment variable {name} cannot be used",
            why or "it is neither scheme://host with a known scheme nor a path that is there",
            "nothing was opened",
            e.next if isinstance(e, addresses.Refused) else f"one of: {', '.join(sorted(schemes()))}",
        ) from None


def _before_at(text: str) -> list[str]:
    """What may be a user and a password in an address that cannot be read."""
    parts = text.partition(":")[2].lstrip("/").rpartition("@")[0]
    return [part for part in (parts, *parts.split(":", 1), *re.split("[:/?#@]", parts)) if part]


def _place(bare: str, text: str, *, allow_password: bool = False) -> tuple[Connector, Place]:
    if bare == STREAMS:
        if STREAMS not in _declared():
            raise UsageError("no connector reads stdin or writes stdout", next="install vecport again")
        connector = get(_declared()[STREAMS])
        return connector, Place(scheme=connector.info.schemes[0], text=STREAMS, path=STREAMS)
    scheme = bare.partition(":")[0].lower()
    base = scheme.partition("+")[0]
    own = _named(scheme) if ":" in bare else None
    known = {} if own is not None else _by_scheme()
    if own is None and ":" in bare and len(scheme) > 1:
        own = known.get(scheme) or known.get(base)
        if own is None and not os.path.exists(bare):
            shown = f"{scheme}: is not a scheme" if "@" not in text else "the address has no scheme"
            raise UsageError(
                f"{shown} that vecport knows", "; ".join(broken()),
                next=f"one of: {', '.join(sorted(s for s, name in known.items() if not get(name).info.hidden))}",
            )  # fmt: skip
    if own is None:
        return _recognise(os.path.expanduser(bare))
    _check_shape(get(own), text, typed=not allow_password)
    place = addresses.parse(bare, allow_password=allow_password)
    return get(own), place if place.scheme in get(own).info.schemes else replace(place, scheme=base)


def _recognise(path: str) -> tuple[Connector, Place]:
    if not os.path.exists(path):
        shown = path if "@" not in path or path.startswith(addresses.PATHS) else "a path with @ in it"
        raise NotFound(f"{shown} does not exist", "it has no scheme, so it was taken for a local path",
                       "nothing was created", "write an address as scheme://host or scheme:./path")  # fmt: skip
    claims = [connector for connector in _loaded()[0].values() if _recognised(connector, path)]
    if len(claims) > 1:
        ways = " or ".join(f"{c.info.schemes[0]}:{path}" for c in claims)
        raise UsageError(
            f"{path} may be several things", f"it is recognised by {', '.join(c.info.name for c in claims)}",
            "nothing was changed", f"say what it is: {ways}",
        )  # fmt: skip
    if claims:
        return claims[0], Place(scheme=claims[0].info.schemes[0], text=path, path=path)
    raise NotFound(f"{path}: no connector recognises what is in it", "; ".join(broken()),
                   next="say what it is: scheme:./path")  # fmt: skip


def _recognised(connector: Connector, path: str) -> bool:
    try:
        return connector.recognises(path)
    except Exception:
        # One that fails over a path that is not its own must not hide the others.
        return False


def _options(connector: Connector, role: str, given: dict[str, str]) -> dict[str, str | Secret]:
    table = {o.name: o for o in connector.info.options}
    for name in given:
        option = table.get(name)
        if option is None:
            known = ", ".join(sorted(table)) or "it has none"
            raise UsageError(f"{connector.info.title} has no option {name!r}", next=f"its options: {known}")
        if option.secret:
            raise UsageError(
                f"{name} is a secret and must not stand on the command line",
                why="command lines are seen by every user of this machine and stay in the shell's history",
                next=f"read -rs {_variable(role, name)}; export {_variable(role, name)}",
            )
    out: dict[str, str | Secret] = {}
    for option in table.values():
        value = given.get(option.name) or _environment(role, option) or option.default
        if value is not None:
            out[option.name] = Secret(value) if option.secret else value
    return out


def _variable(role: str, name: str) -> str:
    return f"VECPORT_{role.upper()}_{name.upper().replace('-', '_')}"


def _environment(role: str, option: Option) -> str | None:
    for name in (_variable(role, option.name), *option.env):
        value = os.environ.get(name)
        if value and option.secret:
            value = cleaned(value, f"the environment variable {name}")
        if value:
            return value
    return None


def _refuse_plain_secret(connector: Connector, place: Place) -> None:
    held = [name for name, value in place.options.items() if isinstance(value, Secret) and value]
    if held and place.host and not place.tls and not place.loopback and connector.info.tls_suffix:
        raise UsageError(
            f"{held[0]} would travel to {place.host} without TLS",
            next=f"use {connector.info.schemes[0]}{connector.info.tls_suffix}://{place.host}",
        )


def schemes() -> frozenset[str]:
    """Every scheme that a connector answers to."""
    return frozenset(_by_scheme()) | (_declared().keys() - {STREAMS})
