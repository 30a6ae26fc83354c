"""Which source or target a task opens: plain data that a worker process can be given."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from ..connectors import registry
from ..connectors.address import Place
from ..connectors.contract import CollectionSummary, Connector, Selection, Source, Target
from ..connectors.decorators import decorated_source, decorated_target, patiently
from ..connectors.guest import UNBOUNDED, Guest, interruptible
from ..connectors.report import Stoppable
from ..connectors.secrets import Secret
from ..dump.dump import Dump
from ..errors import NotFound, UsageError
from .progress import Stop


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A collection in a place, and how to open it.

    Attributes:
        connector, place, collection: where it is.
        typed: the address as the user typed it, without a collection.
        given: connector options that the user gave; none is a secret.
        guest: bounds on what its sessions ask of the database.
    """

    connector: str
    place: Place
    collection: str
    typed: str = ""
    given: Mapping[str, str] = field(default_factory=dict)
    guest: Guest = UNBOUNDED

    def arguments(self) -> list[str]:
        """The words that name this endpoint on a command line, as the user typed them."""
        words = [self.typed or self.place.text]
        if registry.get(self.connector).sole_collection(self.place) is None:
            words += ["-c", self.collection]
        for name, value in self.given.items():
            words += ["--target-option", f"{name}={value}"]
        return words

    def open_source(self, selection: Selection, stop: Stop | None = None, *, reached: bool = False) -> Source:
        """Open a reading session that keeps the guest's bounds and retries what is worth retrying, until ``stop``.

        Args:
            selection: of the records.
            stop: ends every wait.
            reached: the database has answered this run already.

        Raises:
            UsageError: namespaces are selected, and the source does not select by them.
        """
        connector = registry.get(self.connector)
        check = stop.check if stop else None
        opened = patiently(
            lambda: connector.open_source(self.place, self.collection, selection), check, reached=reached
        )
        if check is not None:
            opened.report = Stoppable(check)
        if selection.namespaces and not opened.capabilities.selects_namespaces:
            opened.close()
            raise UsageError(
                f"{connector.info.title} cannot be asked for the records of a namespace",
                f"--namespace {', '.join(map(repr, selection.namespaces))} was given",
                next="choose records with --where" if connector.info.where else "export all of them",
            )
        return decorated_source(opened, self.guest, interruptible(check), reached=reached)

    def open_target(self, stop: Stop | None = None, *, reached: bool = False) -> Target:
        """Open a writing session that keeps the guest's bounds and retries what is worth retrying, until ``stop``.

        Args:
            stop: ends every wait.
            reached: the database has answered this run already.
        """
        connector = registry.get(self.connector)
        check = stop.check if stop else None
        opened = patiently(lambda: connector.open_target(self.place, self.collection), check, reached=reached)
        if check is not None:
            opened.report = Stoppable(check)
        return decorated_target(opened, self.guest, interruptible(check), connector.info.title, reached=reached)

    def shared(self, workers: int) -> Endpoint:
        """The same for one of some workers: together they keep the guest's bounds."""
        return replace(self, guest=self.guest.shared(workers))

    @property
    def text(self) -> str:
        """How it may be shown: no secret in it."""
        return f"{self.place.text}#{self.collection}"

    def to_json(self) -> dict[str, Any]:
        """Plain data WITH secrets, for a pipe to a worker and nothing else."""
        p = self.place
        return {
            "connector": self.connector,
            "collection": self.collection,
            "guest": self.guest.to_json(),
            "place": {
                "scheme": p.scheme, "text": p.text, "host": p.host, "port": p.port, "tls": p.tls, "path": p.path,
                "user": p.user, "password": p.password.reveal() if p.password else None, "query": dict(p.query),
                "options": {k: v for k, v in p.options.items() if not isinstance(v, Secret)},
                "secrets": {k: v.reveal() for k, v in p.options.items() if isinstance(v, Secret)},
            },
        }  # fmt: skip

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Endpoint:
        """Inverse of ``to_json``."""
        p = dict(data["place"])
        secrets = {k: Secret(v) for k, v in p.pop("secrets").items()}
        password = p.pop("password")
        options = {**p.pop("options"), **secrets}
        place = Place(**p, password=Secret(password) if password else None, options=options)
        return cls(data["connector"], place, data["collection"], guest=Guest.from_json(data["guest"]))


class EndpointRef(msgspec.Struct, frozen=True):
    """Names an endpoint to whoever knows it; no secret is in it.

    Attributes:
        name: unlike that of any other.
        connector, place, collection: of the endpoint, as they may be shown.
    """

    name: str
    connector: str
    place: str
    collection: str

    @property
    def text(self) -> str:
        """How the endpoint may be shown."""
        return f"{self.place}#{self.collection}"


class Endpoints:
    """The endpoints that a process knows, by reference. Tasks carry references; secrets stay here."""

    def __init__(self) -> None:
        self._known: dict[str, Endpoint] = {}

    def refer(self, to: Endpoint) -> EndpointRef:
        """Know an endpoint, and name it."""
        name = uuid.uuid4().hex
        self._known[name] = to
        return EndpointRef(name, to.connector, to.place.text, to.collection)

    def resolve(self, ref: EndpointRef) -> Endpoint:
        """The endpoint of a reference; raises ``NotFound``."""
        if ref.name not in self._known:
            raise NotFound(
                f"{ref.text} is not known to this worker", "a task names it, and nobody has told how it is opened",
                "nothing was read or written", "run the same command again",
            )  # fmt: skip
        return self._known[ref.name]

    def to_json(self) -> dict[str, Any]:
        """Plain data WITH secrets, for a pipe to a worker and nothing else."""
        return {name: known.to_json() for name, known in self._known.items()}

    def learn(self, data: Mapping[str, Any]) -> None:
        """Take what ``to_json`` gave in another process."""
        self._known.update({name: Endpoint.from_json(known) for name, known in data.items()})


def endpoint(
    address: str, *, role: str, collection: str | None, options: Mapping[str, str] | None = None, create: bool = False,
    guest: Guest = UNBOUNDED, stop: Stop | None = None,
) -> Endpoint:  # fmt: skip
    """Resolve what a user typed into one collection.

    Args:
        address: as typed.
        role: ``source`` or ``target``.
        collection: its name; None takes the only one there is.
        options: connector options.
        create: the collection need not exist (a target).
        guest: bounds on what its sessions ask of the database.
        stop: ends a wait for the list of collections.

    Raises:
        UsageError: several collections and none named, or none named for a new one.
        NotFound: the place has no collection.
    """
    connector, place, name = registry.resolve(address, role=role, options=options, collection=collection)
    if create:
        name = connector.sole_collection(place) or name
    if name is None:
        name = _only_collection(connector, place, create, stop)
    return Endpoint(connector.info.name, place, name, address.partition("#")[0], dict(options or {}), guest)


def target_endpoint(
    target: str, collection: str | None, options: Mapping[str, str] | None, dump: Dump, guest: Guest = UNBOUNDED
) -> Endpoint:
    """The collection that a dump goes into; the name of its own where none is named."""
    try:
        return endpoint(target, role="target", collection=collection, options=options, create=True, guest=guest)
    except UsageError as e:
        if "which collection" not in e.what:
            raise
    name = dump.collection.name
    return endpoint(target, role="target", collection=name, options=options, create=True, guest=guest)


def listed(connector: Connector, place: Place, stop: Stop | None = None) -> list[CollectionSummary]:
    """The collections of a place; asked for again where the answer is no answer."""
    check = stop.check if stop else None
    return patiently(lambda: connector.collections(place), check, reached=False, apart=True)


def _only_collection(connector: Connector, place: Place, create: bool, stop: Stop | None) -> str:
    if create:
        raise UsageError(
            f"{place.text}: which collection shall be written?", next="name it: --collection NAME (or ADDRESS#NAME)"
        )
    found = listed(connector, place, stop)
    if len(found) == 1:
        return found[0].name
    if not found:
        raise NotFound(f"{place.text} has no collection", next="check the address")
    shown = "\n".join(f"  {s.name}" + (f"  {s.rows:,} records" if s.rows is not None else "") for s in found[:20])
    raise UsageError(f"{place.text} has {len(found)} collections:\n{shown}", next="name one: --collection NAME")
