"""Writing a Qdrant collection: creation, whole-point upserts, the wait for the index, search."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ...errors import AlreadyExists, Incomplete, IntegrityError, NotRepresentable, Unavailable, UsageError, VecportError
from ...model.batch import page_schema
from ...model.capabilities import MetadataRules, TargetCapabilities
from ..checks import check_default, sole_ids
from ..contract import Description, Hit, Json, Mark, Permission, Target, TargetPlan
from ..kit.lifecycle import Decision, settle
from . import conflicts, load, schema, settings, wire
from .backend import Backend, Read
from .settings import PASSPORT_KEY
from .source import describe

DELETE_ROWS: Final = 10_000
#: How long ``finish`` waits for optimizers that show no progress; the index goes on being built behind that.
SETTLE_SECONDS: Final = 600.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 1.0

DTYPES: Final = frozenset(schema.STORED_AS)
METADATA: Final = MetadataRules(
    exact=frozenset(
        {
            "null", "boolean", "integer", "integer64", "number", "number_negative_zero", "string", "string_nul",
            "list_empty", "list_string", "list_integer", "list_number", "list_boolean", "list_mixed", "object",
        }
    ),
    survives=wire.survives,
)  # fmt: skip


class QdrantTarget(Target):
    """A session that writes one collection of a server.

    Args:
        backend: the place; closed with the session.
        collection: its name.
        settle_seconds: how long ``finish`` waits for optimizers that show no progress.
    """

    capabilities: TargetCapabilities = TargetCapabilities(
        id_kinds=schema.ID_KINDS,
        id_text=False,
        id_int_min=0,
        id_int_max=wire.MAX_INT_KEY,
        vectors=256,
        unnamed_vector=True,
        named_kinds=frozenset({"sparse"}),
        kinds={"dense": DTYPES, "sparse": frozenset({"float32"}), "multi": DTYPES},
        metrics=frozenset(schema.DISTANCES),
        kind_metrics={"sparse": frozenset({schema.SPARSE_METRIC})},
        metric_required=True,
        max_dim=schema.MAX_DIM,
        null_vectors=True,
        nonfinite_vectors=False,
        bounds={"cosine": schema.BOUND},
        dtype_bounds={"float16": {"cosine": schema.HALF_BOUND}, "uint8": {}},
        native_document=False,
        native_namespace=False,
        metadata=METADATA,
        passport=True,
        ack="upsert",
        concurrency="processes",
        if_exists=frozenset({"create", "append", "replace"}),
        on_conflict=frozenset({"replace", "skip", "fail"}),
        write_rows=1_000,
    )

    def __init__(self, backend: Backend, collection: str, settle_seconds: float = SETTLE_SECONDS) -> None:
        self._backend, self._name, self._settle_seconds = backend, collection, settle_seconds
        self._plan: TargetPlan | None = None
        self._batch_limit: int | None = None
        self._loading = False

    # -- the collection ------------------------------------------------------------------------

    def describe(self) -> Description | None:
        info = self._backend.info(self._name)
        if info is None:
            return None
        return describe(self._backend, self._name, info, self.count())

    def permissions(self, plan: TargetPlan) -> tuple[Permission, ...]:
        return self._backend.may_write(self._name)

    def prepare(self, plan: TargetPlan) -> None:
        if plan.if_exists not in self.capabilities.if_exists:
            raise UsageError(f"if-exists {plan.if_exists!r}", next="one of: append, create, replace")
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
            self._backend.set_metadata(self._name, PASSPORT_KEY, settings.passport_text(plan.passport))
        self._loading = load.begin(self._backend, plan, self._info())
        self.attach(plan)

    def _decided(self, plan: TargetPlan, info: Any) -> Decision:
        """What becomes of the collection; a server that keeps no metadata cannot say whose it is."""
        try:
            passport = settings.read_own(info, PASSPORT_KEY)
        except ValueError:
            passport = None
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
        schema.create_request(plan, pb)
        for field in plan.collection.vectors:
            if field.dtype not in self.capabilities.kinds[field.kind]:
                raise NotRepresentable(
                    f"vector {field.name!r} of {field.dtype}",
                    why=f"{self._backend.text} stores {', '.join(sorted(self.capabilities.kinds[field.kind]))} alone",
                    safe="nothing was written",
                )
        settings.later_params(plan, pb.CollectionParamsDiff())
        settings.index_requests(plan, (), pb)
        for alias in settings.wanted_aliases(plan):
            schema.check_name("alias", alias, len(alias), 255)
        if plan.on_conflict not in self.capabilities.on_conflict:
            raise UsageError(f"on-conflict {plan.on_conflict!r}", next="one of: fail, replace, skip")
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
        if not batch.schema.remove_metadata().equals(page_schema(collection)):
            raise IntegrityError(
                f"a batch for collection {self._name!r} has the columns {', '.join(batch.schema.names)}",
                why=f"the plan has {', '.join(page_schema(collection).names)}, each of its own type",
                safe="nothing of it was written",
            )
        rows = min(self.capabilities.write_rows, self._batch_limit or self.capabilities.write_rows)
        if plan.on_conflict == "fail":
            conflicts.insert(self._backend, self._name, collection, batch, rows)
        else:
            self._backend.upsert(self._name, collection, batch, rows, skip=plan.on_conflict == "skip")

    def delete(self, keys: Sequence[tuple[str, str]]) -> None:
        texts = sole_ids(keys, "Qdrant")
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
        if plan is not None and mine:
            load.end(self._backend, self._name, settings.parse_settings(plan.settings))
        self._loading = False
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
        self._backend.set_metadata(self._name, PASSPORT_KEY, settings.passport_text(passport))

    def _settle(self) -> None:
        """Wait until the optimizers are idle, or have shown no progress for some time and every record is visible.

        Raises:
            VecportError: the optimizers have failed.
            Unavailable: records are still hidden behind the optimizers when the time is up.
        """
        deadline, pause, nudged = time.monotonic() + self._settle_seconds, _FIRST_PAUSE, False
        progress: tuple[int, ...] = ()
        while True:
            info = self._info()
            status = settings.enum_name(self._backend.pb.CollectionStatus.DESCRIPTOR, info.status)
            deferred, queued = info.update_queue.deferred_points, info.update_queue.length
            if status == "Red":
                raise VecportError(
                    f"collection {self._name!r}: the optimizers have failed",
                    why=info.optimizer_status.error,
                    safe="what was acknowledged is stored",
                )
            if status == "Green" and not deferred and not queued:
                return
            if status == "Grey" and not nudged:
                self._backend.nudge(self._name)
                nudged = True
            done, total = info.indexed_vectors_count, settings.vector_count(info)
            self.report.reached(done, total, "vectors", _waits_for(status, deferred, queued))
            seen = (done, info.segments_count, deferred, queued)
            if seen != progress:
                progress, deadline = seen, time.monotonic() + self._settle_seconds
            if time.monotonic() >= deadline:
                break
            threading.Event().wait(pause)
            pause = min(pause * 1.5, _LONGEST_PAUSE)
        if deferred:
            raise Unavailable(
                f"collection {self._name!r}: {deferred:,} records are not visible yet",
                why="prevent_unoptimized hides them until they are indexed",
                safe="they are stored",
                next="run the same import again later",
            )
        self.report.note(
            f"collection {self._name!r} is not settled ({_waits_for(status, deferred, queued)}) and its index did not"
            f" grow for {self._settle_seconds:g} s: {done:,} of about {total:,} vectors are indexed; the server goes"
            " on, and searches are slower until it is green"
        )

    # -- queries -------------------------------------------------------------------------------

    def search(self, vector: str, query: npt.NDArray[np.float32], k: int, namespace: str = "") -> list[Hit]:
        check_default(namespace, "Qdrant")
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
        if self._loading:
            self._loading = False
            # The load may go on later, and finds what it needs in the collection.
            with contextlib.suppress(VecportError):
                load.end(self._backend, self._name, {}, load.CLOSE_SECONDS)
        self._backend.close()


def _waits_for(status: str, deferred: int, queued: int) -> str:
    """What ``finish`` waits for, in a few words."""
    waits = [f"status {status.lower()}"]
    if queued:
        waits.append(f"{queued:,} updates queued")
    if deferred:
        waits.append(f"{deferred:,} records hidden")
    return ", ".join(waits)
