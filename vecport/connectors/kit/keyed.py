"""Targets that look up ids, add records and remove them: the rest of writing is the same for all of them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, ClassVar, Final, Generic

import pyarrow as pa
import pyarrow.compute as pyarrow_compute

from ...errors import NotFound, NotRepresentable, UsageError
from ...model import parsed
from ...model.collection import Collection, renamed
from ..checks import check_plan, sole_ids
from ..contract import Json, Mark, Target, TargetPlan
from . import inserts, settings
from .checks import MetadataCheck
from .handles import C, Handle
from .lifecycle import Decision, settle

pc: Final[Any] = pyarrow_compute
_COMPARED_BYTES: Final = 32_000_000


class KeyedTarget(Target, Generic[C]):
    """Owns prepare, attach, write, delete, finish, count and close, for a target without namespaces.

    Every call of these is one ``_transaction``: with it, a row group is there as a whole or not at all.

    Args:
        place: as it may be shown.
        name: of the collection.
        handle: what the session has open.
    """

    #: The database's name.
    title: ClassVar[str]
    #: What ``--set`` takes.
    choices: ClassVar[Sequence[settings.Setting]] = ()

    def __init__(self, place: str, name: str, handle: Handle[C]) -> None:
        self._where, self._name, self._handle = place, name, handle
        self._plan: TargetPlan | None = None
        self._check_metadata = MetadataCheck(self.capabilities.metadata, self.title)

    # -- what a connector writes -----------------------------------------------------------------

    @abstractmethod
    def _create(self, collection: Collection, values: Mapping[str, settings.Value]) -> None:
        """Create the collection; values of ``choices`` by name, the user's before the dump's."""

    @abstractmethod
    def _drop(self) -> None:
        """Remove it with all its records."""

    @abstractmethod
    def _remember(self, passport: Mapping[str, Json]) -> None:
        """Store a passport, or remove the one that is there when it is empty."""

    @abstractmethod
    def _existing(self, ids: Sequence[str]) -> Sequence[str]:
        """Which of some ids are there."""

    @abstractmethod
    def _fetch(self, ids: Sequence[str]) -> pa.RecordBatch:
        """Those of some records that are there, as a page in any order."""

    @abstractmethod
    def _add(self, batch: pa.RecordBatch) -> None:
        """Write records of which none is there."""

    @abstractmethod
    def _remove(self, ids: Sequence[str]) -> None:
        """Remove records that are there."""

    def _transaction(self, client: C) -> AbstractContextManager[object]:
        """What makes the writes within one, where the database has transactions."""
        return nullcontext()

    # -- the contract ----------------------------------------------------------------------------

    def prepare(self, plan: TargetPlan) -> None:
        check_plan(plan, self.capabilities, self.title)
        chosen = settings.parse(plan.settings, self.choices, self.title, [v.name for v in plan.collection.vectors])
        kept = settings.restored(settings.wanted(plan.native, plan.settings), self.choices, self.title)
        values = {s.name: kept[s.path] for s in self.choices if s.path in kept} | chosen
        decision = self._settle(plan, chosen)
        with self._step(create=True):
            if decision == "recreate":
                self._drop()
            if decision != "keep":
                self._create(renamed(plan.collection, self._name), values)
            self._remember(plan.passport)
        self._plan = plan

    def _settle(self, plan: TargetPlan, chosen: Mapping[str, settings.Value]) -> Decision:
        there, wanted = self.describe(), plan.collection.digest()
        fits = there is not None and there.collection.digest() == wanted
        decision = settle(
            plan, there, title=f"collection {self._name!r}", place=self._where, fits=lambda: fits
        )  # fmt: skip
        if decision == "keep" and there is not None:
            found = there.collection
            if not fits:
                raise NotRepresentable(
                    f"collection {self._name!r} has another schema",
                    f"there: {found.vectors}, ids {found.id_kind}; to write: {plan.collection.vectors},"
                    f" ids {plan.collection.id_kind}",
                    "nothing was written", "choose another name with -c/--collection",
                )  # fmt: skip
            settings.check_kept(chosen, found.native, self.choices, self._name)
        return decision

    def attach(self, plan: TargetPlan) -> None:
        self._plan = plan

    def count(self) -> int | None:
        there = self.describe()
        if there is None:
            raise NotFound(f"collection {self._name!r} is not in {self._where}")
        return there.count

    def write(self, batch: pa.RecordBatch, mark: Mark) -> None:
        if self._plan is None:
            raise UsageError("write before attach")
        ids: list[str] = batch.column("id").to_pylist()
        self._check_metadata(ids, parsed.parse_objects(batch.column("metadata")))
        with self._step():
            if self._plan.on_conflict == "fail":
                inserts.insert_only(
                    batch, self._name, existing=self._existing,
                    fetch=lambda ours: self._fetch(ours.column("id").to_pylist()), write=self._add,
                    same=inserts.sameness(self._plan.collection, self.capabilities),
                    rows=self.capabilities.write_rows, most_bytes=_COMPARED_BYTES,
                )  # fmt: skip
                return
            there = self._existing(ids)
            if there and self._plan.on_conflict == "skip":
                batch = batch.filter(pc.invert(pc.is_in(batch.column("id"), pa.array(there, pa.string()))))
            elif there:
                self._remove(there)
            self._add(batch)

    def holds(self, keys: Sequence[tuple[str, str]]) -> list[bool]:
        with self._step():
            found = set(self._existing(list(dict.fromkeys(id for ns, id in keys if not ns))))
        return [not ns and id in found for ns, id in keys]

    def delete(self, keys: Sequence[tuple[str, str]]) -> None:
        ids = sole_ids(keys, self.title)
        with self._step():
            self._remove(self._existing(list(dict.fromkeys(ids))))

    def close(self) -> None:
        self._handle.close()

    def finish(self, passport: Mapping[str, Json]) -> None:
        with self._step():
            self._remember(passport)

    @contextmanager
    def _step(self, create: bool = False) -> Iterator[None]:
        with self._handle.used(create) as client, self._transaction(client):
            yield
