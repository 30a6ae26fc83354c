"""Cases about several sessions at work, and about the database's own client."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from ..connectors.contract import Mark
from .bench import (
    Bench,
    compare,
    connector_path,
    does_not_apply,
    in_process,
    plain,
    scan_elsewhere,
    write_elsewhere,
)
from .bench import Reading as WhatWasRead
from .records import batch_of
from .seen import seen

SHARD = "part-00000-00000.parquet"


class Workers:
    """As many sessions as ``concurrency`` claims."""

    def test_a_second_session_reads_in_another_thread(self, bench: Bench) -> None:
        if bench.source_caps.concurrency == "handle":
            does_not_apply("one session in one thread")
        self._reads_elsewhere(bench, _in_thread)

    def test_a_second_session_reads_in_another_process(self, bench: Bench) -> None:
        if bench.source_caps.concurrency != "processes":
            does_not_apply(f"its sessions share {bench.source_caps.concurrency}")
        self._reads_elsewhere(bench, in_process)

    def _reads_elsewhere(self, bench: Bench, run: Callable[..., Any]) -> None:
        made = bench.filled(30)
        place, path = bench.reading_place(made.name, made), connector_path(bench.connector)
        with bench.reading(made) as (source, token, described):
            parts = list(source.partitions(15, token))
            wanted = [page for part in parts for page in source.scan(part, None, 7)]
            got = [
                page
                for part in parts
                for page in run(scan_elsewhere, path, place, made.name, plain(token), plain(part), 7)
            ]
        assert [b for b, _ in got] == [p.batch for p in wanted]
        assert [c for _, c in got] == [p.cursor for p in wanted]
        assert len(WhatWasRead(described, tuple(wanted)).keys) == 30

    def test_a_second_session_writes_in_another_thread(self, bench: Bench) -> None:
        if bench.target_caps.concurrency == "handle":
            does_not_apply("one session in one thread")
        self._writes_elsewhere(bench, _in_thread)

    def test_a_second_session_writes_in_another_process(self, bench: Bench) -> None:
        if bench.target_caps.concurrency != "processes":
            does_not_apply(f"its sessions share {bench.target_caps.concurrency}")
        self._writes_elsewhere(bench, in_process)

    def _writes_elsewhere(self, bench: Bench, run: Callable[..., Any]) -> None:
        made = bench.collection()
        records = bench.records(made, 20)
        plan = bench.plan(made, records)
        with bench.writing(plan) as target:
            target.write(batch_of(records[:10], made), Mark(SHARD, 0))
            rest = batch_of(records[10:], made)
            place = bench.place_of(made.name)
            run(write_elsewhere, connector_path(bench.connector), place, plan, rest, Mark(SHARD, 1))
            target.finish(plan.passport)
        bench.expect(made, records)

    def test_sessions_write_at_the_same_time(self, bench: Bench) -> None:
        if bench.target_caps.concurrency == "handle":
            does_not_apply("one session in one thread")
        made = bench.collection()
        records = bench.records(made, 80)
        plan = bench.plan(made, records)
        path, errors = connector_path(bench.connector), list[BaseException]()
        ready = threading.Barrier(4)

        def work(group: int) -> None:
            try:
                batch = batch_of(records[20 * group : 20 * group + 20], made)
                ready.wait(timeout=30)
                write_elsewhere(path, bench.place_of(made.name), plan, batch, Mark(SHARD, group))
            except BaseException as e:
                errors.append(e)

        with bench.writing(plan) as target:
            threads = [threading.Thread(target=work, args=(group,)) for group in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(timeout=60)
            assert not errors, errors
            target.finish(plan.passport)
        bench.expect(made, records)


class Native:
    """The database's own client on the other side, so that an error in both of our roles does not cancel out."""

    def test_what_the_official_client_wrote_is_read_exactly(self, bench: Bench) -> None:
        put = bench.suite.native_put
        if put is None:
            does_not_apply("the test class gives no native_put")
        made = bench.collection()
        records = bench.records(made, 25)
        put(bench.place, made, records)
        bench.expect(made, records, bench.read(made, page_rows=7))

    def test_what_was_written_the_official_client_reads_exactly(self, bench: Bench) -> None:
        get = bench.suite.native_get
        if get is None:
            does_not_apply("the test class gives no native_get")
        made = bench.collection()
        records = bench.records(made, 25)
        bench.put(made, records, rows=10)
        found = get(bench.place, made)
        bounds = {v.name: bench.bound(v) for v in made.vectors}
        compare(seen(batch_of(records, made), made), seen(batch_of(found, made), made), bounds)


def _in_thread(work: Callable[..., Any], *args: Any) -> Any:
    out: list[Any] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            out.append(work(*args))
        except BaseException as e:
            errors.append(e)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(timeout=60)
    if errors:
        raise errors[0]
    return out[0]
