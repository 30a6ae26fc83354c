"""The writing role: a session that fills one collection, row group by row group."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ...model.capabilities import TargetCapabilities
from ..report import UNHEARD, UNPACED, Budget, Report
from .effects import Effect
from .info import Description, Json, Permission
from .plan import Mark, TargetPlan


@dataclass(frozen=True, slots=True)
class Hit:
    """One search result.

    Attributes:
        id: of the record.
        score: the database's own figure.
        namespace: of the record; ``""`` is the default one, and the only one where the target has none.
    """

    id: str
    score: float
    namespace: str = ""


class Target(ABC):
    """A session that writes one collection. Not thread-safe; every worker opens its own and calls ``attach``.

    Attributes:
        capabilities: what it can do. An open session may refine what its class says, as for an older server; whoever
            has a session reads the session's.
        report: hears what ``prepare`` and ``finish`` have to say; set by the coordinator, in its own session.
        pace: called before each request to the database, or once for several, by a session that makes more than one
            in a call, so that ``--max-rps`` counts requests. The first of a call of ``write``, ``link`` or ``count``
            is paid for already (of a write, one for every ``write_rows`` records).
    """

    capabilities: TargetCapabilities
    report: Report = UNHEARD
    pace: Budget = staticmethod(UNPACED)

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

    def begun(self, import_id: str, there: Description | None) -> str | None:
        """The nonce of an import of this name that has prepared what is there; None where none has, or has ended.

        What an import remembers of its own work is believed only while the target gives back the nonce that it drew.
        As it stands here, the passport holds it; a target that writes into collections without storing a passport there
        keeps it in a place of its own until ``finish``.

        Args:
            import_id: as in the plan.
            there: what ``describe`` has found just now.
        """
        passport = {} if there is None or there.passport is None else there.passport
        nonce = passport.get("nonce") if passport.get("import_id") == import_id else None
        return nonce if isinstance(nonce, str) else None

    @abstractmethod
    def prepare(self, plan: TargetPlan) -> None:
        """Create what the plan asks for and check what exists. Called once, by the coordinator; safe to repeat.

        Raises:
            AlreadyExists: the collection has records and the plan says ``create`` without ``resume``.
            NotRepresentable: an existing collection has another dimension or metric, or a name is not allowed.
        """

    def effects(self, plan: TargetPlan) -> tuple[Effect, ...]:
        """Say what must be changed before records can be written, as things are now; changes nothing.

        Called by the coordinator, after ``prepare`` and before ``attach``, and by a plan, before anything is there.
        """
        return ()

    def apply(self, effect: Effect) -> None:
        """Make a change that ``effects`` has named, and wait until it is made. Safe to repeat."""
        raise NotImplementedError

    def undo(self, effect: Effect) -> None:
        """Put back what a change has changed; nothing happens where it was never made. Safe to repeat.

        Called in any session, which may have neither prepared nor attached, long after ``apply``.
        """
        raise NotImplementedError

    def attach(self, plan: TargetPlan) -> None:
        """Make this session ready to ``write``. Called once in every session, after ``prepare``."""
        return None

    def forget(self, marks: Sequence[Mark]) -> None:
        """Acknowledge row groups no longer, so that ``write`` writes them again; for targets that record marks.

        Called after ``attach``, where the target has lost records of these groups.
        """
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

    def holds(self, keys: Sequence[tuple[str, str]]) -> Sequence[bool] | None:
        """Say for each key whether a record of it is there now, by a look at the records.

        Args:
            keys: (namespace, id) pairs, as they are in this target; at most ``capabilities.write_rows`` of them.

        Returns:
            As many answers in the same order; None where a session cannot tell, and the connector's source is asked.
        """
        return None

    def delete(self, keys: Sequence[tuple[str, str]]) -> None:
        """Delete the records with these keys; a key that names nothing is passed over.

        Args:
            keys: (namespace, id) pairs, as they are in this target.

        Raises:
            NotRepresentable: a key that this target cannot hold, as one with a namespace where it has none.
        """
        raise NotImplementedError

    def link(self, batch: pa.RecordBatch, mark: Mark) -> None:
        """Set the references of one row group (``capabilities.links``); when this returns, they are durable.

        A second pass over the dump, which begins when every record of it is written. Row groups are acknowledged
        apart from those of ``write``. Linking the same row group again changes nothing.

        Args:
            batch: the same as ``write`` got.
            mark: which row group it is.
        """
        raise NotImplementedError

    def finish(self, passport: Mapping[str, Json]) -> None:
        """Build indexes, restore settings, store the final passport, return when every record is visible.

        What takes long tells ``report`` how far it is.
        """
        return None

    def search(self, vector: str, query: npt.NDArray[np.float32], k: int, namespace: str = "") -> list[Hit]:
        """Return the ``k`` nearest records of a namespace by the target's own index or exact search.

        Raises:
            UsageError: there is no such vector.
            NotRepresentable: a namespace is named where the target has none.
        """
        raise NotImplementedError

    def query_hint(self) -> str:
        """A query for the user to paste, with the right operator for the metric; ``""`` when there is none."""
        return ""

    @abstractmethod
    def count(self) -> int | None:
        """Count the collection's records, as well as ``capabilities.count`` says; None when that is impossible."""

    def close(self) -> None:
        """Release everything. Safe to call twice."""
        return None

    def __enter__(self) -> Target:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
