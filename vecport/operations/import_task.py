"""One import task: the row groups of a shard that the target has not acknowledged go in, or are linked, in order."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow as pa

from ..connectors.contract import Mark, Target
from ..dump.dump import Dump, open_dump
from ..dump.namespace_view import NamespaceView
from ..limits import DEFAULT_LIMITS
from ..model.mapping import Mapper
from .import_plan import ImportPlan, make_plan
from .progress import Stop
from .sessions import Endpoints
from .tasks import Acknowledged, Advanced, Emit, ImportTask, Safe, ShardDone


@dataclass(frozen=True, slots=True)
class Lent:
    """What the coordinator of an import has open already.

    Attributes:
        dump: the whole one.
        target, plan: its session and what that writes; None where the runner opens one of its own.
    """

    dump: Dump
    target: Target | None = None
    plan: ImportPlan | None = None


class Runner:
    """Runs import tasks, keeping one session for those that follow each other and write the same.

    Args:
        endpoints: that tasks may name.
        lent: of the coordinator whose tasks these are all.
    """

    def __init__(self, endpoints: Endpoints, lent: Lent | None = None) -> None:
        self._endpoints, self._lent = endpoints, lent
        self._dump: tuple[str, Dump] | None = None
        self._own: tuple[Target, ImportPlan] | None = None
        self._writes = ""

    def run(self, task: ImportTask, emit: Emit, stop: Stop) -> ShardDone:
        """Run one task, in the session that writes what it names."""
        dump = _part_of(self._opened(task), task)
        target, plan = self._session(task, dump, stop)
        return import_shard(task, target, dump, plan, emit, stop)

    def close(self) -> None:
        """Close the session, unless it was lent."""
        own, self._own, self._writes = self._own, None, ""
        if own is not None:
            own[0].close()

    def _opened(self, task: ImportTask) -> Dump:
        if self._lent is not None:
            return self._lent.dump
        key = f"{task.dump}\n{sorted(task.limits.items())}"
        if self._dump is None or self._dump[0] != key:
            self._dump = (key, open_dump(task.dump, DEFAULT_LIMITS.with_overrides(task.limits)))
        return self._dump[1]

    def _session(self, task: ImportTask, dump: Dump, stop: Stop) -> tuple[Target, ImportPlan]:
        if self._lent is not None and self._lent.target is not None and self._lent.plan is not None:
            return self._lent.target, self._lent.plan
        wanted = _writes(task)
        if self._own is None or self._writes != wanted:
            self.close()
            endpoint = self._endpoints.resolve(task.target)
            target = endpoint.open_target(stop, reached=True)
            try:
                plan = make_plan(
                    dump, endpoint, import_id=task.import_id, choices=task.choices, resume=True, nonce=task.nonce,
                    session=target,
                )  # fmt: skip
                target.attach(plan.target)
            except BaseException:
                target.close()
                raise
            self._own, self._writes = (target, plan), wanted
        return self._own


def _writes(task: ImportTask) -> str:
    """What a session writes: tasks of which this is equal can share one."""
    namespace = None if task.part is None else task.part.share.namespace
    made = [task.import_id, task.nonce, task.choices.to_json(), namespace]
    return json.dumps([task.target.name, task.dump, *made], sort_keys=True)


def _part_of(dump: Dump, task: ImportTask) -> Dump:
    """The records that a task is about."""
    return dump if task.part is None else NamespaceView(dump, task.part.share, checked=task.part.checked)


def import_shard(task: ImportTask, target: Target, dump: Dump, plan: ImportPlan, emit: Emit, stop: Stop) -> ShardDone:
    """Write, or link, what the target has not acknowledged of one shard; the task's step says which."""
    entry = next(s for s in dump.manifest.shards if s.path == task.shard)
    done = set(task.acknowledged)
    left = [g for g in range(len(entry.groups)) if g not in done]
    if not left:
        return ShardDone(0)
    mapper = Mapper(plan.mapping)
    linking = task.step == "link"
    rows = 0
    for number, batch in _mapped(dump.shard(entry).numbered(left), mapper):
        stop.check()
        mark = Mark(entry.path, number)
        if linking:
            target.link(batch, mark)
            emit(Acknowledged(mark, "link"))
        else:
            target.write(batch, mark)
            if target.capabilities.ack == "upsert":
                emit(Acknowledged(mark))
        rows += batch.num_rows
        emit(Advanced(batch.num_rows))
    if not linking:
        emit(Safe(f"{entry.path} ({entry.rows:,} records)"))
    return ShardDone(rows)


def _mapped(groups: Iterator[tuple[int, pa.RecordBatch]], mapper: Mapper) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Read and map the next row group while the current one is being written."""

    def step() -> tuple[int, pa.RecordBatch] | None:
        found = next(groups, None)
        return None if found is None else (found[0], mapper.apply(found[1]))

    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="read") as pool:
        ahead = pool.submit(step)
        while (mapped := ahead.result()) is not None:
            ahead = pool.submit(step)
            yield mapped
