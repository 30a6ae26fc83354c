"""One import task: the row groups of a shard that the target has not acknowledged go in, one after another."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa

from ..connectors.base import Mark, Target
from ..connectors.decorators import patiently
from ..dump.dump import Dump, open_dump
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
        if self._target is None or self._plan is None:
            endpoint = Endpoint.from_json(task["target"])
            self._target = patiently(lambda: endpoint.open_target(stop))
            choices = Choices.from_json(task["choices"])
            self._plan = make_plan(
                self._dump, endpoint, import_id=task["import_id"], choices=choices, resume=True, session=self._target
            )
            self._target.attach(self._plan.target)
        return import_shard(task, self._target, self._dump, self._plan, progress, stop)

    def close(self) -> None:
        """Close the session."""
        if self._target is not None:
            self._target.close()


def import_shard(task: Task, target: Target, dump: Dump, plan: ImportPlan, progress: Progress, stop: Stop) -> Result:
    """Write what the target has not acknowledged of one shard.

    Returns:
        ``{"rows": records written}``.
    """
    entry = next(s for s in dump.manifest.shards if s.path == task["shard"])
    done = set(task["acknowledged"])
    first = next((g for g in range(len(entry.groups)) if g not in done), len(entry.groups))
    if first == len(entry.groups):
        return {"rows": 0}
    state = ImportState(task["import_id"])
    mapper = Mapper(plan.mapping)
    rows = 0
    for number, batch in _mapped(dump.shard(entry).groups(first), mapper, first):
        stop.check()
        if number in done:
            continue
        mark = Mark(entry.path, number)
        target.write(batch, mark)
        if target.capabilities.ack == "upsert":
            state.acknowledge(mark)
        rows += batch.num_rows
        progress.advance(batch.num_rows)
    progress.durable(f"{entry.path} ({entry.rows:,} records)")
    return {"rows": rows}


def _mapped(groups: Iterator[pa.RecordBatch], mapper: Mapper, first: int) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Read and map the next row group while the current one is being written."""

    def step() -> Any:
        group = next(groups, None)
        return None if group is None else mapper.apply(group)

    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="read") as pool:
        ahead = pool.submit(step)
        number = first
        while (batch := ahead.result()) is not None:
            ahead = pool.submit(step)
            yield number, batch
            number += 1
