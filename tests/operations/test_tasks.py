"""Tasks, events and errors between a coordinator and its workers: plain data, without secrets, and what they are."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vecport import errors
from vecport.connectors.contract import Mark, Selection
from vecport.connectors.memory import MemoryTarget
from vecport.connectors.secrets import Secret
from vecport.dump.dump import open_dump
from vecport.dump.layout import Cut
from vecport.dump.store import open_store
from vecport.errors import Interrupted, NotFound, Unavailable, VecportError
from vecport.model.collection import collection_to_json
from vecport.operations import export as exports
from vecport.operations import export_task, import_run, import_task
from vecport.operations import import_ as imports
from vecport.operations.error_data import ErrorData, error_data, error_of
from vecport.operations.export import export
from vecport.operations.import_plan import DEFAULT
from vecport.operations.import_state import ImportState, state_folder
from vecport.operations.progress import Silent, Stop
from vecport.operations.sessions import Endpoint, EndpointRef, Endpoints, endpoint
from vecport.operations.tasks import (
    Acknowledged,
    Do,
    Event,
    ExportTask,
    Failed,
    ImportTask,
    Known,
    Order,
    from_line,
    heard,
    to_line,
)
from vecport.operations.workers import run_tasks

from .rooms import collection, fill, held, record, room

ROWS = 24
#: A source without snapshots: its token says nothing.
LIVE = {"mode": "live"}


@contextlib.contextmanager
def filled(prefix: str) -> Iterator[str]:
    with room() as address:
        fill(address, [record(f"{prefix}{i:02}", i) for i in range(ROWS)])
        yield address


def reading(ref: EndpointRef, dump: Path, selection: Selection = Selection(), number: int = 0) -> ExportTask:
    made = collection_to_json(collection())
    return ExportTask(
        source=ref, selection=selection, token={}, dump=str(dump), collection=made, native=made, passport=None,
        number=number, partition={"from": None, "to": None}, sequence=0, resume=None, cut=Cut(100, 100),
        encodings="default", page_rows=10, on_error="fail",
    )  # fmt: skip


def ids(dump: Path, number: int) -> list[str]:
    import pyarrow.parquet as pq

    path = f"{dump}/data/part-{number:05d}-00000.parquet"
    return [str(i) for i in pq.read_table(path, columns=["id"]).column("id").to_pylist()]


# ---- sessions


def test_a_worker_reads_what_each_task_names(tmp_path: Path) -> None:
    open_store(tmp_path / "dump").prepare()
    with filled("a") as one, filled("b") as other:
        known = Endpoints()
        refs = [known.refer(endpoint(a, role="source", collection="docs", options=LIVE)) for a in (one, other, one)]
        few = Selection(where='{"n": 3}')
        runner = export_task.Runner(known)
        for number, (ref, selection) in enumerate([(refs[0], Selection()), (refs[1], Selection()), (refs[2], few)]):
            # The token of a source without snapshots is the same for all of them.
            runner.run(reading(ref, tmp_path / "dump", selection, number), lambda _: None, Stop())
        runner.close()
    assert ids(tmp_path / "dump", 0) == [f"a{i:02}" for i in range(ROWS)]
    assert ids(tmp_path / "dump", 1) == [f"b{i:02}" for i in range(ROWS)]
    assert ids(tmp_path / "dump", 2) == ["a03"]


def test_a_lent_session_serves_only_what_it_reads(tmp_path: Path) -> None:
    open_store(tmp_path / "dump").prepare()
    with filled("a") as one, filled("b") as other:
        known = Endpoints()
        here, there = (endpoint(a, role="source", collection="docs", options=LIVE) for a in (one, other))
        ref = known.refer(here)
        with here.open_source(Selection()) as session:
            session.attach(session.snapshot())
            runner = export_task.Runner(known, session, export_task.reads(ref, Selection(), {}))
            runner.run(reading(ref, tmp_path / "dump"), lambda _: None, Stop())
            runner.run(reading(known.refer(there), tmp_path / "dump", number=1), lambda _: None, Stop())
            runner.close()
            assert session.count() == ROWS
    assert [ids(tmp_path / "dump", n)[0] for n in (0, 1)] == ["a00", "b00"]


def test_a_worker_writes_where_each_task_says(tmp_path: Path) -> None:
    with filled("a") as source, room() as one, room() as other:
        export(source, tmp_path / "dump")
        dump = open_dump(tmp_path / "dump")
        known, events = Endpoints(), list[Event]()
        runner = import_task.Runner(known)
        for address in (one, other):
            fill(address, [])
            task = ImportTask(
                target=known.refer(endpoint(address, role="target", collection="docs", create=True)), dump=dump.url,
                shard=dump.manifest.shards[0].path, limits={}, acknowledged=(), import_id="i",
                choices=dataclasses.replace(DEFAULT, if_exists="append"),
            )  # fmt: skip
            assert runner.run(task, events.append, Stop()).rows == ROWS
        runner.close()
        assert len(held(one)) == len(held(other)) == ROWS
    assert [e for e in events if isinstance(e, Acknowledged)] == [
        Acknowledged(Mark(dump.manifest.shards[0].path, 0))
    ] * 2


def test_an_unknown_reference_is_an_error_that_names_the_place(tmp_path: Path) -> None:
    with filled("a") as address:
        ref = Endpoints().refer(endpoint(address, role="source", collection="docs", options=LIVE))
        with pytest.raises(NotFound, match=f"{address}#docs"):
            export_task.Runner(Endpoints()).run(reading(ref, tmp_path), lambda _: None, Stop())


# ---- secrets


_CANARY = "canary-7f3a9c"


def _with_secrets(made: Endpoint) -> Endpoint:
    place = dataclasses.replace(
        made.place, password=Secret(_CANARY), query={"key": _CANARY},
        options={**made.place.options, "api-key": Secret(_CANARY)},
    )  # fmt: skip
    return dataclasses.replace(made, place=place)


def test_no_task_of_an_export_or_an_import_holds_a_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[bytes] = []

    def spying(tasks: Any, *rest: Any) -> None:
        def told() -> Iterator[Any]:
            for task in tasks:
                lines.append(to_line(Do(task)))
                assert from_line(lines[-1], Order) == Do(task)
                yield task

        run_tasks(told(), *rest)

    def secretly(call: Any) -> Any:
        return lambda *words, **options: _with_secrets(call(*words, **options))

    monkeypatch.setattr(exports, "run_tasks", spying)
    monkeypatch.setattr(import_run, "run_tasks", spying)
    monkeypatch.setattr(exports, "endpoint", secretly(exports.endpoint))
    monkeypatch.setattr(imports, "target_endpoint", secretly(imports.target_endpoint))
    with filled("a") as source, room() as target:
        export(source, tmp_path / "dump", shard_rows=6)
        imports.import_(tmp_path / "dump", target)
        known = Endpoints()
        known.refer(_with_secrets(endpoint(source, role="source", collection="docs", options=LIVE)))
    assert sum(b'"export"' in line for line in lines) == 4
    assert sum(b'"import"' in line for line in lines) == 4
    print(f"{len(lines)} tasks looked at for secrets")
    assert not [line for line in lines if _CANARY.encode() in line]
    # The search finds what it looks for: the table of endpoints has them.
    assert to_line(Known(known.to_json())).count(_CANARY.encode()) == 3


# ---- acknowledgements


def test_what_a_worker_acknowledges_is_recorded_by_the_coordinator_before_it_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    write, acknowledge = MemoryTarget.write, ImportState.acknowledge

    def writes(self: MemoryTarget, batch: Any, mark: Mark) -> None:
        write(self, batch, mark)
        order.append(f"written {mark.group}")

    def records(self: ImportState, mark: Mark, step: str = "write") -> None:
        acknowledge(self, mark, step)
        order.append(f"recorded {mark.group}")

    class Told(Silent):
        def advance(self, rows: int) -> None:
            order.append("counted") if rows else None

    monkeypatch.setattr(MemoryTarget, "write", writes)
    monkeypatch.setattr(ImportState, "acknowledge", records)
    with filled("a") as source, room() as target:
        export(source, tmp_path / "dump", shard_rows=ROWS)
        order.clear()
        imports.import_(tmp_path / "dump", target, progress=Told())
    assert order == ["written 0", "recorded 0", "counted"]


def test_a_worker_keeps_no_record_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with filled("a") as source, room() as target:
        export(source, tmp_path / "dump", shard_rows=6)
        dump = open_dump(tmp_path / "dump")
        monkeypatch.setenv("VECPORT_STATE_DIR", str(tmp_path / "elsewhere"))
        fill(target, [])
        known, events = Endpoints(), list[Event]()
        task = ImportTask(
            target=known.refer(endpoint(target, role="target", collection="docs", create=True)), dump=dump.url,
            shard=dump.manifest.shards[2].path, limits={}, acknowledged=(), import_id="i",
            choices=dataclasses.replace(DEFAULT, if_exists="append"),
        )  # fmt: skip
        import_task.Runner(known).run(task, events.append, Stop())
        assert not state_folder().exists()
        # The coordinator's record is enough for it to go on.
        state = ImportState("i")
        state.begin({})
        for event in events:
            heard(Silent(), state.acknowledge)(event)
        assert [state.acknowledged(s.path) for s in dump.manifest.shards] == [0, 0, 1, 0]


# ---- errors


class Refused(Unavailable):
    """As a connector may have one of its own."""

    code = "refused"
    exit_code = 12
    retryable = False

    def __init__(self, status: int) -> None:
        super().__init__(f"status {status}", "why", "safe", "next", retry_after_s=2.5)
        self.status, self.handle = status, object()


def _all() -> list[VecportError]:
    kinds = [k for k in vars(errors).values() if isinstance(k, type) and issubclass(k, VecportError)]
    return [k("what", "why", "safe", "next") for k in kinds]


def _facts(e: VecportError) -> tuple[Any, ...]:
    return (str(e), e.args, e.what, e.why, e.safe, e.next, e.code, e.exit_code, e.retryable,
            getattr(e, "retry_after_s", "none"))  # fmt: skip


@pytest.mark.parametrize("error", [*_all(), Refused(429), errors.Throttled("x", retry_after_s=30.0),
                                   Interrupted("x", signal_number=15)], ids=lambda e: type(e).__name__)  # fmt: skip
def test_an_error_is_what_it_was_on_the_other_side_of_the_pipe(error: VecportError) -> None:
    back = error_of(from_line(to_line(Failed(error_data(error))), Failed).error)
    assert type(back) is type(error)
    assert _facts(back) == _facts(error)
    if isinstance(error, Refused):
        assert isinstance(back, Refused)
        assert back.status == 429
        assert not hasattr(back, "handle")


def test_an_error_of_a_class_that_only_the_worker_knows_keeps_what_it_says() -> None:
    data = error_data(Refused(503))
    back = error_of(ErrorData(("elsewhere.Refused", *data.classes[1:]), data.facts, data.code, 12, False))
    assert type(back) is Unavailable
    assert _facts(back) == _facts(Refused(503))


def test_an_error_that_nobody_raised_on_purpose_is_named() -> None:
    back = error_of(error_data(KeyError("x")))
    assert (type(back), back.exit_code) == (VecportError, 1)
    assert "KeyError" in back.what


def test_an_error_of_a_real_worker_process_arrives_whole(tmp_path: Path) -> None:
    with filled("a") as address:
        ref = Endpoints().refer(endpoint(address, role="source", collection="docs", options=LIVE))
        orders = to_line(Do(reading(ref, tmp_path)))
        worker = subprocess.Popen(
            [sys.executable, "-m", "vecport.operations.worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert worker.stdin is not None
        assert worker.stdout is not None
        worker.stdin.write(orders)
        worker.stdin.flush()
        answer = json.loads(worker.stdout.readline())
        worker.stdin.close()
        worker.wait(timeout=30)
        worker.stdout.close()
    assert answer["type"] == "failed"
    back = error_of(from_line(json.dumps(answer).encode(), Failed).error)
    assert isinstance(back, NotFound)
    assert back.exit_code == 10
