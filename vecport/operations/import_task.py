"""One import task: the row groups of a shard that the target has not acknowledged go in, or are linked, in order."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa

from ..connectors.contract import Mark, Target
from ..connectors.decorators import patiently
from ..dump.dump import Dump, open_dump
from ..dump.part import Part, Share
from ..limits import DEFAULT_LIMITS
from ..model.mapping import Mapper
from .import_plan import Choices, ImportPlan, make_plan
from .import_state import ImportState
from .progress import Progress, Stop
from .sessions import Endpoint
from .workers import Result, Task


class Runner:
    """Runs import tasks, keeping one session and dump for all tasks of the same import."""

    def __init__(self, target: Target | None = None, dump: Dump | None = None, plan: ImportPlan | None = None) -> None:
        self._target, self._dump, self._plan = target, dump, plan

    def run(self, task: Task, progress: Progress, stop: Stop) -> Result:
        """Run one task; see ``operations.import_`` for its fields."""
        if self._dump is None:
            self._dump = open_dump(task["dump"], DEFAULT_LIMITS.with_overrides(task["limits"]))
        dump = _part_of(self._dump, task)
        if self._target is None or self._plan is None:
            endpoint = Endpoint.from_json(task["target"])
            self._target = patiently(lambda: endpoint.open_target(stop))
            choices = Choices.from_json(task["choices"])
            self._plan = make_plan(
                dump, endpoint, import_id=task["import_id"], choices=choices, resume=True, session=self._target
            )
            self._target.attach(self._plan.target)
        return import_shard(task, self._target, dump, self._plan, progress, stop)

    def close(self) -> None:
        """Close the session."""
        if self._target is not None:
            self._target.close()


def _part_of(dump: Dump, task: Task) -> Dump:
    """The records that a task is about."""
    if task["part"] is None:
        return dump
    return Part(dump, Share.from_json(task["part"]["share"]), checked=task["part"]["checked"])


def import_shard(task: Task, target: Target, dump: Dump, plan: ImportPlan, progress: Progress, stop: Stop) -> Result:
    """Write, or link, what the target has not acknowledged of one shard; the task's kind says which.

    Returns:
        ``{"rows": records written or linked}``.
    """
    entry = next(s for s in dump.manifest.shards if s.path == task["shard"])
    done = set(task["acknowledged"])
    left = [g for g in range(len(entry.groups)) if g not in done]
    if not left:
        return {"rows": 0}
    state = ImportState(task["import_id"])
    mapper = Mapper(plan.mapping)
    linking = task["kind"] == "link"
    rows = 0
    for number, batch in _mapped(dump.shard(entry).numbered(left), mapper):
        stop.check()
        mark = Mark(entry.path, number)
        if linking:
            target.link(batch, mark)
            state.acknowledge(mark, "link")
        else:
            target.write(batch, mark)
            if target.capabilities.ack == "upsert":
                state.acknowledge(mark)
        rows += batch.num_rows
        progress.advance(batch.num_rows)
    if not linking:
        progress.durable(f"{entry.path} ({entry.rows:,} records)")
    return {"rows": rows}


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
