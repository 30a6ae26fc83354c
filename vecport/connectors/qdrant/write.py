"""Writing a Qdrant collection: creation, whole-point upserts, the wait for the index, search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ...errors import AlreadyExists, Incomplete, NotRepresentable, Unavailable, UsageError, VecportError
from ...model.capabilities import TargetCapabilities
from ..checks import check_default, sole_ids
from ..contract import Description, Effect, Hit, Json, Mark, Permission, Target, TargetPlan
from ..kit import passports, waiting
from ..kit.lifecycle import Decision, settle
from . import conflicts, load, schema, settings, wire
from .backend import Backend, Read
from .read import describe
from .settings import PASSPORT_KEY
from .wire import PointKey

DELETE_ROWS: Final = 10_000
#: How long ``finish`` waits for optimizers that show no progress; the index goes on being built behind that.
SETTLE_SECONDS: Final = 600.0


class QdrantTarget(Target):
    """A session that writes one collection of a server.

    Args:
        backend: the place; closed with the session.
        collection: its name.
        settle_seconds: how long ``finish`` waits for optimizers that show no progress.
    """

    capabilities: TargetCapabilities = schema.CAPABILITIES

    def __init__(self, backend: Backend, collection: str, settle_seconds: float = SETTLE_SECONDS) -> None:
        self._backend, self._name, self._settle_seconds = backend, collection, settle_seconds
        backend.hear(lambda: self.report.check())
        self._plan: TargetPlan | None = None
        self._batch_limit: int | None = None
        self._nudged = self._loading = False
        #: Whether the collection that ``prepare`` has found or made is one to fill; None before it.
        self._fills: bool | None = None

    # -- the collection ------------------------------------------------------------------------

    def describe(self) -> Description | None:
        info = self._backend.info(self._name)
        if info is None:
            return None
        return describe(self._backend, self._name, info, self.count())

    def permissions(self, plan: TargetPlan) -> tuple[Permission, ...]:
        return self._backend.may_write(self._name)

    def prepare(self, plan: TargetPlan) -> None:
        self._check(plan)
        info = self._backend.info(self._name)
        aliases: list[str] = []
        if info is not None and self._decided(plan, info) == "recreate":
            aliases = self._drop()
            info = None
        if info is None:
            self._backend.create(plan)
            for alias in aliases:
                self._backend.add_alias(alias, self._name)
            self._check_created(plan)
        else:
            schema.check_fit(plan, info, self._backend.pb, datatypes=self._backend.datatypes)
            if plan.on_conflict == "fail":
                conflicts.check_readable(plan, info, self._backend)
            self._backend.set_metadata(self._name, PASSPORT_KEY, passports.text_of(plan.passport))
            load.claim(self._backend, plan, self._info())
        self._fills = load.fills(plan, self._info())
        self.attach(plan)

    def begun(self, import_id: str, there: Description | None) -> str | None:
        return super().begun(import_id, there) if self._backend.keeps_metadata else None

    def effects(self, plan: TargetPlan) -> tuple[Effect, ...]:
        if self._loading:
            return ()
        info = self._backend.info(self._name)
        if self._fills is None and plan.if_exists == "replace":
            # What is there is not the collection whose settings are changed.
            info = None
        fills = load.fills(plan, info) if self._fills is None else self._fills
        return load.effects(self._backend, plan, info) if fills else ()

    def apply(self, effect: Effect) -> None:
        load.apply(self._backend, self._name, effect)
        self._loading = True

    def undo(self, effect: Effect) -> None:
        plan = self._plan
        if plan is not None:
            info = self._backend.info(self._name)
            if info is not None and load.created(self._backend, plan, info):
                # The vector index is built with those of the payload in view.
                load.restore_indexes(self._backend, plan, info)
        load.undo(self._backend, self._name, effect)
        self._loading = False

    def _decided(self, plan: TargetPlan, info: Any) -> Decision:
        """What becomes of the collection; a server that keeps no metadata cannot say whose it is."""
        passport, _ = schema.read_passport(info)
        found = Description(plan.collection, self.count(), passport)
        ours = None if self._backend.keeps_metadata else plan.resume

        def fits() -> bool:
            try:
                schema.check_fit(plan, info, self._backend.pb, datatypes=self._backend.datatypes)
            except NotRepresentable:
                return False
            return True

        try:
            return settle(
                plan, found, title=f"collection {self._name!r}", place=self._backend.text, ours=ours, fits=fits
            )
        except AlreadyExists:
            # Where the records do not fit either, there is no use in advising to append.
            schema.check_fit(plan, info, self._backend.pb, datatypes=self._backend.datatypes)
            raise

    def _check(self, plan: TargetPlan) -> None:
        """Refuse a plan that cannot be carried out to its end, before anything is created."""
        pb = self._backend.pb
        schema.check_plan(plan, self.capabilities)
        schema.create_request(plan, pb)
        settings.later_params(plan, pb.CollectionParamsDiff())
        settings.index_requests(plan, (), pb)
        for alias in settings.wanted_aliases(plan):
            schema.check_alias(alias)
        if plan.on_conflict != "replace" and not self._backend.skips:
            raise UsageError(
                f"--on-conflict {plan.on_conflict}: {self._backend.text} is version {self._backend.version}",
                why="servers before 1.17 replace records all the same",
                safe="nothing was written",
                next="leave --on-conflict out, or update the server",
            )

    def _info(self) -> Any:
        info = self._backend.info(self._name)
        if info is None:
            raise self._backend.missing(self._name)
        return info

    def _drop(self) -> list[str]:
        """Delete the collection; returns its aliases, which the server deletes with it."""
        if self._name not in self._backend.names():
            raise UsageError(
                f"{self._name!r} is an alias and cannot be replaced",
                why="deleting it would delete nothing, and a collection cannot have an alias's name",
                next="name the collection itself",
            )
        aliases = self._backend.aliases(self._name)
        self._backend.drop(self._name)
        return aliases

    def _check_created(self, plan: TargetPlan) -> None:
        """See that the server made what was asked for: an older one passes over fields that it does not know."""
        info = self._backend.info(self._name)
        if info is None:
            raise Unavailable(f"collection {self._name!r} was created and is not there")
        schema.check_fit(plan, info, self._backend.pb, datatypes=self._backend.datatypes)
        if self._backend.keeps_metadata and not schema.holds_passport(info, plan.passport):
            raise NotRepresentable(
                f"collection {self._name!r} was created without the passport",
                why="the server did not keep it in the collection's metadata, and no export could undo the mapping",
            )

    def attach(self, plan: TargetPlan) -> None:
        info = self._info()
        schema.check_fit(plan, info, self._backend.pb, datatypes=self._backend.datatypes)
        strict = info.config.strict_mode_config
        limited = strict.enabled and strict.HasField("upsert_max_batchsize")
        self._batch_limit = strict.upsert_max_batchsize if limited else None
        self._plan = plan

    def _planned(self) -> TargetPlan:
        if self._plan is None:
            raise UsageError("a target is written to after prepare or attach")
        return self._plan

    # -- records -------------------------------------------------------------------------------

    def write(self, batch: pa.RecordBatch, mark: Mark) -> None:
        plan = self._planned()
        collection = plan.collection
        rows = min(self.capabilities.write_rows, self._batch_limit or self.capabilities.write_rows)
        if plan.on_conflict == "fail":
            conflicts.insert(self._backend, self._name, collection, batch, rows)
        else:
            self._backend.upsert(self._name, collection, batch, rows, skip=plan.on_conflict == "skip")

    def holds(self, keys: Sequence[tuple[str, str]]) -> list[bool]:
        points = [None if ns else wire.parse_key(text) for ns, text in keys]
        wanted = list(dict.fromkeys(point for point in points if point is not None))
        found = set(self._backend.get(Read(self._name, None), wanted).keys) if wanted else set[PointKey]()
        return [point in found for point in points]

    def delete(self, keys: Sequence[tuple[str, str]]) -> None:
        texts = sole_ids(keys, settings.TITLE)
        points = [wire.parse_key(text) for text in texts]
        for text, point in zip(texts, points, strict=True):
            if point is None:
                raise NotRepresentable(f"id {text!r}", why="Qdrant holds integers from 0 to 2^64-1 and UUIDs")
        for i in range(0, len(points), DELETE_ROWS):
            self._backend.remove(self._name, [point for point in points[i : i + DELETE_ROWS] if point is not None])

    def count(self) -> int:
        return self._backend.count(Read(self._name, None))

    # -- the end -------------------------------------------------------------------------------

    def finish(self, passport: Mapping[str, Json]) -> None:
        plan = self._plan
        info = self._info()
        # What another import has written down is not this one's.
        mine = plan is not None and load.is_mine(plan, info)
        made = plan is not None and load.created(self._backend, plan, info)
        if plan is not None and made:
            load.restore_indexes(self._backend, plan, info)
        self._nudged = False
        self._settle()
        count = self.count()
        if plan is not None and plan.if_exists != "append" and count < plan.rows:
            raise Incomplete(
                f"collection {self._name!r} has {count:,} records, {plan.rows:,} were to be written",
                safe="the dump is untouched",
                next="run the same import again",
            )
        if plan is not None and made:
            load.restore_aliases(self._backend, plan)
        if mine:
            load.forget(self._backend, self._name, self._info())
        self._backend.set_metadata(self._name, PASSPORT_KEY, passports.text_of(passport))

    def _settle(self) -> None:
        """Wait until the optimizers are idle, or have shown no progress for some time and every record is visible.

        Raises:
            VecportError: the optimizers have failed.
            Unavailable: records are still hidden behind the optimizers when the time is up.
        """
        last = waiting.until(self._look, self.report, self._settle_seconds)
        if last.ready:
            return
        hidden: int = last.found
        if hidden:
            raise Unavailable(
                f"collection {self._name!r}: {hidden:,} records are not visible yet",
                why="prevent_unoptimized hides them until they are indexed",
                safe="they are stored",
                next="run the same import again later",
            )
        self.report.note(
            f"collection {self._name!r} is not settled ({last.step}) and its index did not"
            f" grow for {self._settle_seconds:g} s: {last.done:,} of about {last.total:,} vectors are indexed; the"
            " server goes on, and searches are slower until it is green"
        )

    def _look(self) -> waiting.Look[int]:
        """How far the optimizers are; what is found is the number of records that they hide."""
        info = self._info()
        status = settings.enum_name(self._backend.pb.CollectionStatus.DESCRIPTOR, info.status)
        deferred, queued = info.update_queue.deferred_points, info.update_queue.length
        if status == "Red":
            raise VecportError(
                f"collection {self._name!r}: the optimizers have failed",
                why=info.optimizer_status.error,
                safe="what was acknowledged is stored",
            )
        if status == "Grey" and not self._nudged:
            self._backend.nudge(self._name)
            self._nudged = True
        return waiting.Look(
            found=deferred,
            ready=status == "Green" and not deferred and not queued,
            moved=(info.indexed_vectors_count, info.segments_count, deferred, queued),
            done=info.indexed_vectors_count,
            total=settings.vector_count(info),
            unit="vectors",
            step=_waits_for(status, deferred, queued),
        )

    # -- queries -------------------------------------------------------------------------------

    def search(self, vector: str, query: npt.NDArray[np.float32], k: int, namespace: str = "") -> list[Hit]:
        check_default(namespace, settings.TITLE)
        return [Hit(str(key), score) for key, score in self._backend.nearest(self._name, vector, query, k)]

    def query_hint(self) -> str:
        info = self._backend.info(self._name)
        if info is None:
            return ""
        first = self._backend.scroll(Read(self._name, None), None, 1).result().keys
        if not first:
            return ""
        vectors = sorted([*settings.vector_params(info), *info.config.params.sparse_vectors_config.map])
        return self._backend.hint(self._name, vectors[0], first[0]) if vectors else ""

    def close(self) -> None:
        self._backend.close()


def _waits_for(status: str, deferred: int, queued: int) -> str:
    """What ``finish`` waits for, in a few words."""
    waits = [f"status {status.lower()}"]
    if queued:
        waits.append(f"{queued:,} updates queued")
    if deferred:
        waits.append(f"{deferred:,} records hidden")
    return ", ".join(waits)
