"""What goes between a coordinator and its workers: tasks, results and events, plain data without secrets.

A task names its endpoint by reference; the worker resolves it (``sessions.Endpoints``). It can be done again, by any
worker that can reach the dump and the database. Everything a worker has to say while it works is an event, so that
what must be kept is kept by the coordinator alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec

from ..connectors.contract import Mark, Selection
from ..dump.layout import Cut
from ..dump.lock import Witness
from ..dump.namespace_view import Share
from ..dump.store import Store
from .error_data import ErrorData
from .import_plan import Choices
from .progress import Progress
from .sessions import EndpointRef

T = TypeVar("T")


class ClaimOf(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The right to write a dump, as a worker is told of it; the store says whether it holds.

    Attributes:
        token, term: as in ``dump.files.Claim``.
        conditions: the store keeps conditions of writes.
    """

    token: str
    term: int
    conditions: bool

    @classmethod
    def of(cls, store: Store) -> ClaimOf | None:
        """That of a store; None where a kernel lock does its work."""
        return None if store.claim is None else cls(store.claim.token, store.claim.term, store.keeps_conditions)

    def put_on(self, store: Store) -> Store:
        """The same store, which asks before each step that others could see."""
        store.keeps_conditions = self.conditions
        store.claim = Witness(store, self.token, self.term)
        return store


class ExportTask(msgspec.Struct, frozen=True, kw_only=True, tag="export", forbid_unknown_fields=True):
    """Read one partition into shards.

    Attributes:
        source, selection, token: which session reads it.
        dump: location of the dump that is being made.
        collection: schema of the dump, as plain data.
        native: schema that the connector described, before a passport was applied.
        passport: that was found, or None.
        widened: by what records have widened the schema of the passport (``model.widening``), as plain data.
        number, partition: which one; its number names the shards.
        sequence: of the first shard that is left to make.
        resume: ``cursor`` before and ``key`` of the last durable record; None at the start.
        cut: rows of a row group and of a shard.
        encodings: of the shards.
        page_rows: records of a request.
        on_error: ``fail`` or ``quarantine``.
        limit: at most so many records; None for all.
        dump_id: of the dump that is being made.
        claim: the right to write it.
    """

    source: EndpointRef
    selection: Selection
    token: Any
    dump: str
    collection: dict[str, Any]
    native: dict[str, Any]
    passport: dict[str, Any] | None
    number: int
    partition: Any
    sequence: int
    resume: dict[str, Any] | None
    cut: Cut
    encodings: str
    page_rows: int
    on_error: str
    widened: dict[str, Any] = {}
    limit: int | None = None
    dump_id: str = ""
    claim: ClaimOf | None = None


class ShareOf(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The records of a shard that are of one namespace; ``checked`` as in ``dump.namespace_view``."""

    share: Share
    checked: bool


class ImportTask(msgspec.Struct, frozen=True, kw_only=True, tag="import", forbid_unknown_fields=True):
    """Write one shard, or link what is written of it.

    Attributes:
        step: ``write`` or ``link``.
        target: which session writes it.
        dump, shard: what is written.
        limits: raised bounds for reading the dump, by name.
        acknowledged: row groups that need not be written again.
        import_id, nonce, choices: what every worker plans alike.
        part: the records of the shard that it is about; None for all.
    """

    target: EndpointRef
    dump: str
    shard: str
    limits: dict[str, int]
    acknowledged: tuple[int, ...]
    import_id: str
    choices: Choices
    nonce: str = ""
    step: str = "write"
    part: ShareOf | None = None


Task = ExportTask | ImportTask


class PartitionDone(msgspec.Struct, frozen=True, tag="partition"):
    """What became of a partition.

    Attributes:
        number: of the partition.
        shards: manifest entries, as plain data.
        rows: records read.
        stale, foreign: as ``model.restore`` counts them.
        missing: namespace and id of records that were listed and are gone.
        rejected: namespace, id and reason of records that cannot be read whole.
        widen: by what the schema must be widened before the partition can be read, as plain data; nothing was kept.
    """

    number: int
    shards: tuple[dict[str, Any], ...]
    rows: int
    stale: int = 0
    foreign: int = 0
    missing: tuple[tuple[str, str], ...] = ()
    rejected: tuple[tuple[str, str, str], ...] = ()
    widen: dict[str, Any] | None = None


class ShardDone(msgspec.Struct, frozen=True, tag="shard"):
    """A shard was written; ``rows`` by this task."""

    rows: int


Result = PartitionDone | ShardDone


class Advanced(msgspec.Struct, frozen=True, tag="advanced"):
    """So many records were dealt with."""

    rows: int


class Safe(msgspec.Struct, frozen=True, tag="safe"):
    """Something is safe now, in words for the user."""

    text: str


class Noted(msgspec.Struct, frozen=True, tag="noted"):
    """One sentence that the user should read."""

    text: str


class Acknowledged(msgspec.Struct, frozen=True, tag="acknowledged"):
    """The target's write, or link, of a row group has returned; it counts as safe once the coordinator recorded it."""

    mark: Mark
    step: str = "write"


class Finished(msgspec.Struct, frozen=True, tag="finished"):
    """The end of a task."""

    result: Result


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """The other end of a task."""

    error: ErrorData


Event = Advanced | Safe | Noted | Acknowledged
Emit = Callable[[Event], None]


class Known(msgspec.Struct, frozen=True, tag="known"):
    """Endpoints by reference, WITH their secrets: for a pipe to a worker process and nothing else."""

    endpoints: dict[str, Any]


class Do(msgspec.Struct, frozen=True, tag="do"):
    """A task to run."""

    task: Task


class Halt(msgspec.Struct, frozen=True, tag="halt"):
    """Stop at the next safe point."""

    signal_number: int


Order = Known | Do | Halt


def heard(progress: Progress, acknowledge: Callable[[Mark, str], None] | None = None) -> Emit:
    """What a coordinator does with events.

    Args:
        progress: is told what the user may hear.
        acknowledge: records a mark of a step durably before it returns.
    """

    def hear(event: Event) -> None:
        match event:
            case Advanced(rows):
                progress.advance(rows)
            case Safe(text):
                progress.durable(text)
            case Noted(text):
                progress.note(text)
            case Acknowledged(mark, step):
                assert acknowledge is not None
                acknowledge(mark, step)

    return hear


def to_line(message: Order | Event | Finished | Failed) -> bytes:
    """One line of JSON; integers of any size and any text keep their value."""
    return json.dumps(msgspec.to_builtins(message)).encode() + b"\n"


def from_line(line: bytes, kind: Any) -> Any:
    """Inverse of ``to_line``; raises ``msgspec.ValidationError``."""
    return msgspec.convert(json.loads(line), kind)


def plain(task: Task) -> Mapping[str, Any]:
    """A task as it travels."""
    return dict(msgspec.to_builtins(task))
