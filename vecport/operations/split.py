"""``--namespaces split``: the collection that each namespace of a dump goes into, and the part of the dump it takes."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from ..connectors import registry
from ..dump.dump import Dump
from ..dump.namespace_view import NamespaceView, Share, shares
from ..errors import UsageError
from .progress import Progress
from .sessions import Endpoint

#: More collections than this are a mistake in any database.
MOST = 10_000
#: The shortest limit of a name among databases, as Postgres counts it.
_NAME_BYTES = 63
_HASH_CHARACTERS = 10
#: Namespaces that stand in a name as they are: all databases hold them there, and none looks like one with a hash.
_PLAIN = re.compile(r"(?!(?:.*-)?[0-9a-f]{10}\Z)[A-Za-z0-9_-]*[A-Za-z0-9]\Z")


@dataclass(frozen=True, slots=True)
class Destination:
    """Where the records of a namespace go; ``rows`` is how many they are."""

    collection: str
    rows: int


@dataclass(frozen=True, slots=True)
class Piece:
    """A namespace of a dump, and the collection of its own."""

    dump: NamespaceView
    target: Endpoint

    @property
    def namespace(self) -> str:
        """Of all its records."""
        return self.dump.share.namespace

    @property
    def destination(self) -> Destination:
        """For results."""
        return Destination(self.target.collection, self.dump.rows)


def pieces(dump: Dump, target: Endpoint, *, checked: bool = False) -> list[Piece]:
    """What goes where, the default namespace first; reads the namespaces of all records.

    Args:
        dump: the whole one.
        target: the collection of the default namespace, after which the others are named.
        checked: the caller checks every byte of the dump once, before it reads a vector of a piece.

    Raises:
        UsageError: the target holds one collection only, or there are too many namespaces.
    """
    check_target(target)
    found = shares(dump) or {"": Share("", 0, {})}
    names = collection_names(target, found)
    return [
        Piece(NamespaceView(dump, share, checked=checked), replace(target, collection=names[ns]))
        for ns, share in found.items()
    ]


def check_target(target: Endpoint) -> None:
    """Raise ``UsageError`` where a place cannot have several collections."""
    connector = registry.get(target.connector)
    if connector.sole_collection(target.place) is None:
        return
    kept = connector.target is not None and connector.target.capabilities.native_namespace
    raise UsageError(
        f"--namespaces split: {target.place.text} holds one collection only", "each namespace needs one of its own",
        "nothing was written",
        ("leave --namespaces out: the namespaces are kept beside the ids" if kept else "use --namespaces field")
        + "; or export the namespaces one by one (--namespace NAME), and import each into a place of its own",
    )  # fmt: skip


def collection_names(target: Endpoint, namespaces: Iterable[str]) -> dict[str, str]:
    """The collection of each namespace: ``docs`` of the default one, ``docs-eu`` of ``eu``.

    What not every database holds in a name is replaced, and a hash of the namespace follows. Two names that differ in
    nothing but upper case have a hash each, because they may be one file.

    Raises:
        UsageError: two namespaces would have one name, or they are too many.
    """
    namespaces = list(namespaces)
    if len(namespaces) > MOST:
        raise UsageError(
            f"{len(namespaces):,} namespaces are too many", f"--namespaces split makes at most {MOST:,} collections",
            "nothing was written", "keep the namespaces in one collection: --namespaces field or prefix",
        )  # fmt: skip
    room = max(_NAME_BYTES - len(target.collection.encode()), 1 + _HASH_CHARACTERS)
    alike = Counter(_suffix(ns, room).lower() for ns in namespaces)
    suffixes = {ns: _suffix(ns, room, hashed=alike[_suffix(ns, room).lower()] > 1) for ns in namespaces}
    repeated = [s for s, n in Counter(suffixes.values()).items() if n > 1]
    if repeated:
        one, other = [ns for ns, suffix in suffixes.items() if suffix == repeated[0]][:2]
        raise UsageError(
            f"namespaces {one!r} and {other!r} would go into one collection, {target.collection}{repeated[0]}",
            safe="nothing was written", next="use --namespaces field or prefix",
        )  # fmt: skip
    beside = registry.get(target.connector).beside
    name = target.collection
    return {ns: beside(target.place, name, suffix) if suffix else name for ns, suffix in suffixes.items()}


def _suffix(namespace: str, room: int, *, hashed: bool = False) -> str:
    """What follows the collection's name, in at most ``room`` characters."""
    if not namespace:
        return ""
    if not hashed and _PLAIN.match(namespace) and len(namespace) < room:
        return f"-{namespace}"
    digest = hashlib.sha256(namespace.encode()).hexdigest()[:_HASH_CHARACTERS]
    spelled = re.sub(r"[^A-Za-z0-9_-]+", "_", namespace)[: max(0, room - _HASH_CHARACTERS - 2)].strip("_-")
    return f"-{spelled}-{digest}" if spelled else f"-{digest}"


def tell(found: Iterable[Piece]) -> Iterator[str]:
    """A sentence for each namespace: where it goes."""
    for piece in found:
        shown = f"namespace {piece.namespace!r}" if piece.namespace else "the default namespace"
        rows = piece.dump.rows
        yield f"{shown} ({rows:,} record{'' if rows == 1 else 's'}): collection {piece.target.collection}"


def doubt(dump: Dump, found: Iterable[Piece]) -> str | None:
    """What is wrong with a profile that counts namespaces otherwise than its records do; None when nothing is."""
    told = {ns: n for ns, n in dump.profile.namespaces.items() if n}
    if told == {p.namespace: p.dump.rows for p in found if p.dump.rows}:
        return None
    return "the dump's profile counts its namespaces otherwise than its records do; the records were counted"


@dataclass(slots=True)
class Named:
    """Tells what happens to one collection of several: the phases have its name."""

    progress: Progress
    collection: str

    def phase(self, name: str, total: int | None = None) -> None:
        """A phase of this collection."""
        self.progress.phase(f"{name} {self.collection}", total)

    def advance(self, rows: int) -> None:
        """Pass on."""
        self.progress.advance(rows)

    def durable(self, what: str) -> None:
        """Pass on."""
        self.progress.durable(f"{self.collection}: {what}")

    def reached(self, done: int, total: int | None, unit: str, step: str = "") -> None:
        """Pass on."""
        self.progress.reached(done, total, unit, step)

    def note(self, text: str) -> None:
        """Pass on, with the collection's name."""
        self.progress.note(f"{self.collection}: {text}")


def destinations(found: Iterable[Piece]) -> Mapping[str, Destination]:
    """Where each namespace goes, for results."""
    return {p.namespace: p.destination for p in found}
