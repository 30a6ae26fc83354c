"""Row groups in Postgres: acknowledged in their own transaction, written once, and where an import goes on."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import psycopg
import pyarrow as pa
import pytest

from vecport.connectors.contract import Mark
from vecport.connectors.postgres import loader
from vecport.connectors.postgres.catalog import ACK_TABLE
from vecport.errors import AlreadyExists, IntegrityError, NotFound, NotRepresentable, Unavailable

from .support import SHARD, connect, free, fresh, load, numbered, pages, plan_for, proxy, records, run, source, target

pytestmark = pytest.mark.usefixtures("no_acknowledgements")


def acknowledgements() -> list[Any]:
    """The rows of the acknowledgement table, None when it is gone."""
    if run(f"SELECT to_regclass('{ACK_TABLE}')") == [(None,)]:
        return []
    return run(f'SELECT import_id, shard, "group" FROM {ACK_TABLE} ORDER BY 1, 2, 3')


# ---- acknowledgement ----


def test_a_repeated_mark_is_one_copy() -> None:
    collection, (page,) = free(5)
    plan = plan_for(collection, [page])
    with target(collection.name) as first, target(collection.name) as second:
        first.prepare(plan)
        second.attach(plan)
        for session in (first, second, first):
            session.write(page, Mark(SHARD, 0))
        assert first.acknowledged() == second.acknowledged() == {Mark(SHARD, 0)}
        # Under another mark the same keys are a conflict, and are replaced.
        second.write(page, Mark(SHARD, 1))
        assert first.acknowledged() == {Mark(SHARD, 0), Mark(SHARD, 1)}
        assert first.count() == 5


def test_two_sessions_that_write_one_mark_at_once_leave_one_copy() -> None:
    collection, (page,) = free(2_000)
    plan = plan_for(collection, [page])
    ready = threading.Barrier(3)
    errors: list[BaseException] = []

    def work() -> None:
        try:
            with target(collection.name) as session:
                session.attach(plan)
                ready.wait()
                session.write(page, Mark(SHARD, 0))
        except BaseException as error:
            errors.append(error)

    with target(collection.name) as writing:
        writing.prepare(plan)
        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not errors
        assert writing.count() == 2_000


def test_a_session_killed_in_mid_copy_leaves_nothing_acknowledged(monkeypatch: pytest.MonkeyPatch) -> None:
    collection, (page,) = free(3_000, dim=64)
    plan = plan_for(collection, [page])
    write = psycopg.Copy.write
    struck: list[int] = []

    def write_and_kill(copy: psycopg.Copy, data: Any) -> None:
        write(copy, data)
        if len(data) > 1_000 and not struck:
            struck.append(copy.connection.info.backend_pid)
            run(f"SELECT pg_terminate_backend({struck[0]}, 5000)")

    monkeypatch.setattr(psycopg.Copy, "write", write_and_kill)
    with target(collection.name) as writing:
        writing.prepare(plan)
        with pytest.raises(Unavailable):
            writing.write(page, Mark(SHARD, 0))
        assert struck
        assert writing.acknowledged() == set()
        assert writing.count() == 0
        # The session opens a new connection by itself.
        writing.write(page, Mark(SHARD, 0))
        assert writing.acknowledged() == {Mark(SHARD, 0)}
        assert writing.count() == 3_000


@pytest.mark.parametrize("committed", [True, False])
def test_after_a_connection_lost_in_commit_the_acknowledgement_decides(committed: bool) -> None:
    collection, (page,) = free(50)
    plan = plan_for(collection, [page])
    with target(collection.name) as coordinator:
        coordinator.prepare(plan)
        with proxy(b"COMMIT\0", forward=committed) as (place, struck), target(collection.name, place) as writing:
            writing._import = coordinator._import
            with pytest.raises(Unavailable):
                writing.write(page, Mark(SHARD, 0))
            assert struck.is_set()
            _settled(collection.name)
            assert coordinator.acknowledged() == ({Mark(SHARD, 0)} if committed else set())
            writing.write(page, Mark(SHARD, 0))
        assert coordinator.count() == 50
        assert coordinator.acknowledged() == {Mark(SHARD, 0)}


def _settled(table: str) -> None:
    """Wait until no transaction of a lost connection holds the table."""
    with connect() as connection:
        connection.execute(f"LOCK TABLE {table}, {ACK_TABLE} IN EXCLUSIVE MODE".encode())


def test_a_refused_row_group_leaves_the_session_usable() -> None:
    collection, (page,) = free(3)
    with target(collection.name) as writing:
        writing.prepare(plan_for(collection, [page]))
        bad = pa.RecordBatch.from_arrays(
            [*page.columns[:3], pa.array(['{"a":-0.0}', "{}", "{}"]), page.column(4)], schema=page.schema
        )
        with pytest.raises(NotRepresentable, match=r"column 'metadata': the number -0\.0"):
            writing.write(bad, Mark(SHARD, 0))
        assert (writing.count(), writing.acknowledged()) == (0, set())
        writing.write(page, Mark(SHARD, 0))
        assert writing.count() == 3


def test_a_repeated_key_in_a_group_is_an_integrity_error() -> None:
    for mode in ("create", "append"):
        collection, _ = free(0)
        if mode == "append":
            load(collection, [])
        page = numbered(collection, ["1", "2", "1"])
        with target(collection.name) as writing:
            writing.prepare(plan_for(collection, [page], if_exists=mode))
            with pytest.raises(IntegrityError, match="same key"):
                writing.write(page, Mark(SHARD, 0))
            assert writing.count() == 0


def test_a_large_group_goes_in_slices_of_one_transaction(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader, "ROWS_AT_ONCE", 7)
    collection, (page,) = free(50)
    load(collection, [page])
    assert records(pages(collection.name)[1]) == page.to_pylist()
    assert run(f"SELECT count(DISTINCT xmin::text) FROM {collection.name}") == [(1,)]


# ---- resuming ----


def test_an_import_resumes_where_its_acknowledgements_end() -> None:
    collection, (page,) = free(6)
    plan = plan_for(collection, [page])
    with target(collection.name) as writing:
        writing.prepare(plan)
        writing.write(page.slice(0, 2), Mark(SHARD, 0))
    with target(collection.name) as writing:
        with pytest.raises(AlreadyExists, match="has records"):
            writing.prepare(plan)
        with pytest.raises(AlreadyExists, match="not the one that this import created"):
            writing.prepare(replace(plan, resume=True, import_id="another"))
        writing.prepare(replace(plan, resume=True))
        assert writing.acknowledged() == {Mark(SHARD, 0)}
        writing.write(page.slice(2), Mark(SHARD, 1))
        writing.finish({"done": True})
    with target(collection.name) as writing:
        # Killed between the end and its own note of it: everything may be sent again.
        writing.prepare(replace(plan, resume=True))
        for group, part in enumerate((page.slice(0, 2), page.slice(2))):
            writing.write(part, Mark(SHARD, group))
        writing.finish({"done": True})
        assert writing.count() == 6
        described = writing.describe()
        assert described is not None
        assert described.passport == {"done": True}


def test_acknowledgements_of_a_dropped_table_count_for_nothing() -> None:
    collection, (page,) = free(3)
    plan = plan_for(collection, [page])
    with target(collection.name) as writing:
        writing.prepare(plan)
        writing.write(page, Mark(SHARD, 0))
    run(f"DROP TABLE {collection.name}")
    with target(collection.name) as writing:
        with pytest.raises(NotFound):
            writing.attach(plan)
        writing.prepare(replace(plan, resume=True))
        assert writing.acknowledged() == set()
        writing.write(page, Mark(SHARD, 0))
        assert writing.count() == 3


def test_a_table_dropped_before_the_end_is_no_success() -> None:
    collection, (page,) = free(3)
    plan = plan_for(collection, [page])
    with target(collection.name) as writing:
        writing.prepare(plan)
        writing.write(page, Mark(SHARD, 0))
        run(f"DROP TABLE {collection.name}")
        with pytest.raises(NotFound, match="is gone"):
            writing.finish({})
        with pytest.raises(NotFound):
            writing.write(page, Mark(SHARD, 1))


def test_a_table_made_again_before_the_end_is_no_success() -> None:
    collection, (page,) = free(3)
    plan = plan_for(collection, [page])
    with target(collection.name) as writing:
        writing.prepare(plan)
        writing.write(page, Mark(SHARD, 0))
        other = fresh()
        run(f"CREATE TABLE {other} (LIKE {collection.name} INCLUDING ALL)", f"DROP TABLE {collection.name}",
            f"ALTER TABLE {other} RENAME TO {collection.name}")  # fmt: skip
        with pytest.raises(NotFound, match="gone"):
            writing.finish({})


def test_a_table_whose_import_has_not_finished_is_said_to_be_one() -> None:
    collection, (page,) = free(3)
    with target(collection.name) as writing:
        writing.prepare(plan_for(collection, [page]))
        writing.write(page, Mark(SHARD, 0))
        for unfinished in (True, False):
            with source(collection.name) as reading:
                assert any("has not finished" in note for note in reading.describe().notes) is unfinished
            writing.finish({})


def test_namespaces_are_refused_and_never_left_out() -> None:
    collection, (page,) = free(2)
    place = page.schema.get_field_index("namespace")
    bad = page.set_column(place, page.schema.field(place), pa.array(["", "n"], page.schema.field(place).type))
    with target(collection.name) as writing:
        writing.prepare(plan_for(collection, [page]))
        with pytest.raises(NotRepresentable, match="namespaces"):
            writing.write(bad, Mark(SHARD, 0))
        assert (writing.count(), writing.acknowledged()) == (0, set())


def test_acknowledgements_end_with_the_last_import() -> None:
    one, (page,) = free(3)
    other, _ = free(3)
    plans = [plan_for(collection, [page], import_id=collection.name) for collection in (one, other)]
    with target(one.name) as first, target(other.name) as second:
        first.prepare(plans[0])
        second.prepare(plans[1])
        first.write(page, Mark(SHARD, 0))
        assert acknowledgements() == sorted([(one.name, "", -1), (one.name, SHARD, 0), (other.name, "", -1)])
        first.finish({})
        # The other one is under way, though it has acknowledged nothing yet.
        assert acknowledgements() == [(other.name, "", -1)]
        second.write(page, Mark(SHARD, 0))
        second.finish({})
        assert run(f"SELECT to_regclass('{ACK_TABLE}')") == [(None,)]
        first.finish({})
        assert first.acknowledged() == set()


def test_the_end_does_not_wait_for_another_import_that_is_writing() -> None:
    collection, (page,) = free(3)
    with target(collection.name) as writing:
        writing.prepare(plan_for(collection, [page]))
        with connect() as connection:
            connection.execute(f"LOCK TABLE {ACK_TABLE} IN ROW EXCLUSIVE MODE".encode())
            writing.finish({})
        assert acknowledgements() == []
        assert run(f"SELECT to_regclass('{ACK_TABLE}')") != [(None,)]
