"""The connector contract: what a database module provides, and what the pipelines may rely on.

A connector is one module with a ``Connector`` subclass, registered under the entry point group
``vecport.connectors``. It has two roles, each optional: ``Source`` (read) and ``Target`` (write). Capabilities are
data; ``vecport.testing`` checks them against behaviour, both ways.

Rules that hold for every connector:

* The SDK is imported inside functions of the connector's own module, never at its top.
* Vectors travel as NumPy or Arrow buffers. ``model.batch`` builds pages; metadata is canonical JSON text
  (``model.canonical``, ``model.json_columns``).
* Retries, rate limits, logging and fault injection wrap a connector (``connectors.decorators``); a connector raises
  the typed errors of ``vecport.errors`` and never sleeps.
* What a connector cannot carry it refuses by name with ``NotRepresentable``; it never drops anything.
* A record that is there and cannot be given whole is a ``Reject`` of its page: the pipeline fails, or names it.
* Reading never writes to the place that is read.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ..errors import UsageError
from ..model.capabilities import SourceCapabilities, TargetCapabilities
from ..model.collection import Collection
from ..model.ids import sort_key
from .address import Place
from .report import UNHEARD, Report

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
        extra: the extra that installs the client, ``""`` when none is needed.
        modules: importable module names that the extra installs; checked before the connector is opened.
        example: an address as a user would type it.
        options: the option table.
        where: the filter language of ``--where``, ``""`` when there is none.
        tls_suffix: what turns the scheme into its encrypted form, as ``+https``; ``""`` when the client decides
            itself about encryption (libpq's sslmode). With a suffix, a key never travels without TLS.
    """

    name: str
    title: str
    schemes: tuple[str, ...]
    extra: str
    modules: tuple[str, ...]
    example: str
    options: tuple[Option, ...] = ()
    where: str = ""
    tls_suffix: str = ""


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
        count: records that the selection covers, exact; None when the place cannot count.
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


@dataclass(frozen=True, slots=True)
class Reject:
    """A record that is there and cannot be given whole, as one whose vector the index has lost.

    Attributes:
        namespace, id: its key.
        reason: what is wrong with it, in one sentence.
    """

    namespace: str
    id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Page:
    """Some records and where to go on.

    Attributes:
        batch: columns of ``model.batch.page_schema`` for the described collection; empty only where nothing is left
            to name ``missing`` or ``rejected`` records with.
        cursor: plain data from which ``scan`` goes on behind this page; None where it cannot (the partition then
            starts again). The end of the partition is the end of the iterator.
        missing: (namespace, id) keys that the listing named and the database no longer gave.
        rejected: records that are there and cannot be given whole; the export fails, or leaves them out by name.
    """

    batch: pa.RecordBatch
    cursor: Json | None
    missing: tuple[tuple[str, str], ...] = ()
    rejected: tuple[Reject, ...] = ()


class Source(ABC):
    """A session that reads one collection. Not thread-safe; every worker opens its own and calls ``attach``."""

    capabilities: ClassVar[SourceCapabilities]

    @abstractmethod
    def describe(self) -> Description:
        """Return schema, count and passport. Must not start a scan and must not write.

        Raises:
            NotFound: the collection does not exist; the message lists those that do.
            NotRepresentable: a type or vector that is not supported yet, by name.
        """

    def permissions(self) -> tuple[Permission, ...]:
        """Say what an export needs and whether the credentials allow it, without reading a record or writing.

        Called before ``describe``. A missing permission is an answer, not an error; a collection that does not exist
        has none, and ``describe`` says so. Empty where nothing is checked.
        """
        return ()

    def snapshot(self) -> Json:
        """Fix the state that ``scan`` reads, and return a token from which workers ``attach``.

        The coordinator keeps this session open until the export ends. Sources without snapshots return ``{}``.
        A token names no secret; it is written to the journal.
        """
        return {}

    def alive(self, token: Json) -> bool:
        """Whether a token from an earlier process still names a readable snapshot. Live scans answer True."""
        return not self.capabilities.snapshot

    @abstractmethod
    def partitions(self, target_rows: int, token: Json) -> list[Json]:
        """Cut the collection into partitions of about ``target_rows`` records.

        The cut depends on the collection and ``target_rows``, never on workers. An empty collection has one
        partition or none.
        """

    def attach(self, token: Json) -> None:
        """Join the snapshot that the coordinator holds. Called once in every session before ``scan`` or ``fetch``."""
        return None

    @abstractmethod
    def scan(self, partition: Json, cursor: Json | None, page_rows: int) -> Iterator[Page]:
        """Yield the partition's records in its one order, from the start or behind ``cursor``.

        The order and the content do not depend on ``page_rows``. The scan ends at the database's own end marker or
        an empty answer, never at a short page; a cursor that does not move raises ``Incomplete``.
        """

    def behind(self, partition: Json, batch: pa.RecordBatch, key: tuple[str, str]) -> tuple[pa.RecordBatch, bool]:
        """Find the place in a page from which a resumed export goes on.

        A resumed export reads again from a cursor before ``key`` and drops what is durable already. The default
        finds the key in the page, or compares keys where the source is ordered by them.

        Args:
            partition: that is scanned.
            batch: a page of it.
            key: (namespace, id) of the last durable record.

        Returns:
            The records of the page behind ``key`` in the partition's order, and whether ``key`` was passed.
        """
        pairs = list(zip(batch.column("namespace").to_pylist(), batch.column("id").to_pylist(), strict=True))
        if key in pairs:
            return batch.slice(pairs.index(key) + 1), True
        if not self.capabilities.key_ordered:
            return batch.slice(0, 0), False
        kind = self.describe().collection.id_kind
        low = (key[0], sort_key(key[1], kind))
        first = next((i for i, (ns, id_) in enumerate(pairs) if (ns, sort_key(id_, kind)) > low), len(pairs))
        return batch.slice(first), first < len(pairs)

    def fetch(self, keys: Sequence[tuple[str, str]]) -> pa.RecordBatch:
        """Return the records with these keys, in any order, leaving out those that do not exist.

        Args:
            keys: (namespace, id) pairs, in this order.

        Returns:
            Columns of a page; no rows when none exists.
        """
        raise NotImplementedError

    def keys(self) -> Iterator[pa.RecordBatch]:
        """Yield all keys of the selection as batches with columns ``id`` and ``namespace``."""
        raise NotImplementedError

    def namespaces(self) -> Mapping[str, int] | None:
        """Count the selection's records by the namespaces that an export gives them.

        A collection that vecport filled keeps a dump's namespaces in metadata or ids (``model.passport``): they are
        the ones that count. None where there are none, and where the database cannot count by them without giving
        every record away; then ``uncounted`` says why.
        """
        return None

    def uncounted(self) -> str:
        """Why ``namespaces`` counts nothing though there are namespaces; ``""`` where there are none."""
        return ""

    @abstractmethod
    def count(self) -> int | None:
        """Count the selection's records now, exactly; None when that is impossible."""

    def close(self) -> None:
        """Release everything, remove temporary copies. Safe to call twice."""
        return None

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


@dataclass(frozen=True, slots=True)
class Mark:
    """Names a row group of the dump: the unit that a target acknowledges."""

    shard: str
    group: int


@dataclass(frozen=True, slots=True)
class TargetPlan:
    """What ``prepare`` shall set up; plain values, so that it can go to a worker process.

    Attributes:
        collection: the collection to create, already mapped: names, id kind, vectors and fields that this target
            can hold.
        rows: records that will be written.
        if_exists: ``create`` (the collection must not exist or must be empty), ``append`` or ``replace``.
        resume: this import was begun before; what it created is kept.
        passport: to be stored in the collection's own metadata.
        id_profile: what is known of the ids: ``{"int": n, "uuid": n, "string": n, "longest_bytes": n,
            "min_int": int|None, "max_int": int|None}``.
        settings: ``--set key=value`` choices of what is created.
        document: the target's name for the document, where it has a place for it; None when no record has one.
        import_id: names this import; the same again after a kill.
        native: settings that the dump keeps of a collection of this same database; empty when it came from another.
            They come from a stranger: a connector takes what it knows, checks every value, and what the user set
            goes before them.
        on_conflict: what becomes of a record that is there already: ``replace`` it as a whole, ``skip`` the dump's,
            or ``fail`` with its id. One that has the dump's own content is no conflict: it may come from this import.
        metadata_keys: the keys of the records' metadata, as far as they are known.
    """

    collection: Collection
    rows: int
    if_exists: str = "create"
    resume: bool = False
    passport: Mapping[str, Json] = field(default_factory=dict)
    id_profile: Mapping[str, Json] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    document: str | None = None
    import_id: str = ""
    native: Mapping[str, Json] = field(default_factory=dict)
    on_conflict: str = "replace"
    metadata_keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Hit:
    """One search result; ``score`` is the database's own figure."""

    id: str
    score: float


class Target(ABC):
    """A session that writes one collection. Not thread-safe; every worker opens its own and calls ``attach``.

    Attributes:
        report: hears what ``prepare``, ``link`` and ``finish`` have to say; set by the coordinator, in its own session.
    """

    capabilities: ClassVar[TargetCapabilities]
    report: Report = UNHEARD

    @abstractmethod
    def describe(self) -> Description | None:
        """Return what is there now, or None when the collection does not exist."""

    def permissions(self, plan: TargetPlan) -> tuple[Permission, ...]:
        """Say what an import needs and whether the credentials allow it, without reading a record or writing.

        Called before ``describe``. A missing permission is an answer, not an error. Empty where nothing is checked.

        Args:
            plan: as ``prepare`` would get it.
        """
        return ()

    @abstractmethod
    def prepare(self, plan: TargetPlan) -> None:
        """Create what the plan asks for and check what exists. Called once, by the coordinator; safe to repeat.

        Raises:
            AlreadyExists: the collection has records and the plan says ``create`` without ``resume``.
            NotRepresentable: an existing collection has another dimension or metric, or a name is not allowed.
        """

    def attach(self, plan: TargetPlan) -> None:
        """Make this session ready to ``write``. Called once in every session, after ``prepare``."""
        return None

    def acknowledged(self) -> set[Mark] | None:
        """Marks that the target itself recorded (``ack='transactional'``); None for other kinds of ack."""
        return None

    @abstractmethod
    def write(self, batch: pa.RecordBatch, mark: Mark) -> None:
        """Write one row group in full; when this returns, the records are durable and acknowledged.

        Records are replaced as a whole, never merged, or kept as a whole under ``on_conflict='skip'``. Writing the
        same row group again leaves one copy of each.

        Args:
            batch: columns of ``page_schema(plan.collection)``: ids as text, metadata as JSON text that needs
                no further mapping.
            mark: which row group it is.

        Raises:
            AlreadyExists: ``on_conflict='fail'``, and a record is there with other content; it names the id.
        """

    def delete(self, ids: Sequence[str]) -> None:
        """Delete records by the ids they have in this target."""
        raise NotImplementedError

    def link(self) -> None:
        """Second pass for references between records."""
        return None

    def finish(self, passport: Mapping[str, Json]) -> None:
        """Build indexes, restore settings, store the final passport, return when every record is visible.

        What takes long tells ``report`` how far it is.
        """
        return None

    def search(self, vector: str, query: npt.NDArray[np.float32], k: int) -> list[Hit]:
        """Return the ``k`` nearest records by the target's own index or exact search."""
        raise NotImplementedError

    def query_hint(self) -> str:
        """A query for the user to paste, with the right operator for the metric; ``""`` when there is none."""
        return ""

    @abstractmethod
    def count(self) -> int:
        """Count the collection's records, exactly."""

    def close(self) -> None:
        """Release everything. Safe to call twice."""
        return None

    def __enter__(self) -> Target:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class Connector(ABC):
    """One database. Instances hold no state; sessions do."""

    info: ClassVar[ConnectorInfo]
    source: ClassVar[type[Source] | None] = None
    target: ClassVar[type[Target] | None] = None

    @abstractmethod
    def collections(self, place: Place) -> list[CollectionSummary]:
        """List the collections in a place, without creating anything there."""

    def sole_collection(self, place: Place) -> str | None:
        """The name of the only collection that this place can have, as a file's; None where it can have any."""
        return None

    def beside(self, place: Place, collection: str, suffix: str) -> str:
        """The name of another collection, made of this one's as a user types it and a suffix.

        Args:
            place: of both.
            collection: its name.
            suffix: ASCII letters, digits, ``_`` and ``-``; it ends with a letter or a digit.

        Raises:
            NotRepresentable: the database cannot hold such a name.
        """
        return collection + suffix

    def open_source(self, place: Place, collection: str, selection: Selection) -> Source:
        """Open a reading session. Connects lazily or at once; never creates anything."""
        raise UsageError(f"{self.info.title} cannot be read by vecport")

    def open_target(self, place: Place, collection: str) -> Target:
        """Open a writing session; nothing is created before ``prepare``."""
        raise UsageError(f"{self.info.title} cannot be written by vecport")

    def recognises(self, path: str) -> bool:
        """Whether an existing local file or folder belongs to this connector (bare paths are asked around)."""
        return False
