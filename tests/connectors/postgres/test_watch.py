"""The index phase of an import: how far the index is, what the server says of it, and nobody to ask."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import psycopg
import pytest

from vecport.connectors.address import Place
from vecport.connectors.contract import Mark
from vecport.connectors.postgres import watch
from vecport.connectors.postgres.client import conninfo, parameters
from vecport.connectors.secrets import Secret
from vecport.model.batch import dense_array, make_page
from vecport.model.collection import Collection, VectorField
from vecport.testing.heard import Heard

from .support import SHARD, fresh, other_database, plan_for, run, server_place, target

ROWS = 4_000


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "PAUSE_SECONDS", 0.01)


def heard_while_indexing(place: Place, **settings: str) -> Heard:
    """Import enough records for an index that takes a moment; what its ``finish`` told."""
    field = VectorField("embedding", dim=32, metric="l2")
    collection = Collection(fresh("watched"), "int", (field,))
    matrix = np.random.default_rng(7).standard_normal((ROWS, 32), np.float32)
    page = make_page(collection, ids=[str(i) for i in range(ROWS)], vectors={"embedding": dense_array(matrix, field)})
    heard = Heard()
    with target(collection.name, place) as writing:
        writing.report = heard
        writing.prepare(plan_for(collection, [page], settings=settings))
        writing.write(page, Mark(SHARD, 0))
        writing.finish({})
        assert writing.count() == ROWS
    built = "SELECT count(*) FROM pg_indexes WHERE tablename = {!r} AND indexdef LIKE '%USING hnsw%'"
    owner = replace(server_place(), path=place.path)
    with psycopg.connect(conninfo(parameters(owner)), autocommit=True) as connection:
        assert connection.execute(built.format(collection.name).encode()).fetchone() == (1,)
    return heard


def test_the_figures_of_the_index_are_told() -> None:
    heard = heard_while_indexing(server_place(), index="hnsw")
    assert heard.notes == []
    told = [step for step in heard.steps if step[3] == "hnsw on embedding, loading tuples"]
    assert told, heard.steps
    assert {unit for _, _, unit, _ in told} <= {"rows", "blocks"}
    assert any(total and 0 < done <= total for done, total, _, _ in told), told


def test_what_the_server_says_of_the_index_becomes_a_note() -> None:
    heard = heard_while_indexing(server_place(), index="hnsw", maintenance_work_mem="1MB")
    (note,) = heard.notes
    assert note.startswith("hnsw on embedding: hnsw graph no longer fits into maintenance_work_mem after ")
    assert "Increase maintenance_work_mem" in note


@pytest.fixture
def lonely() -> Iterator[Place]:
    """The place as a role that has one connection and no more."""
    role = f"lonely_{os.getpid()}"
    run(f"CREATE ROLE {role} LOGIN CONNECTION LIMIT 1 PASSWORD 'one-connection'")
    run(f"CREATE SCHEMA {role} AUTHORIZATION {role}")
    place = server_place()
    yield replace(place, user=role, password=Secret("one-connection"))
    run(f"DROP OWNED BY {role} CASCADE", f"DROP ROLE {role}")


def test_a_role_with_one_connection_builds_the_index_without_figures(lonely: Place) -> None:
    heard = heard_while_indexing(lonely, index="hnsw")
    assert (heard.steps, heard.notes) == ([], [])


@pytest.fixture
def hidden() -> Iterator[Place]:
    """A database in which a role may not read the view."""
    name = f"hidden_{os.getpid()}"
    place = server_place()
    run(f"CREATE DATABASE {name}", f"CREATE ROLE {name} LOGIN PASSWORD 'no-view'")
    there = replace(other_database(name), user=name, password=Secret("no-view"))
    with psycopg.connect(conninfo(parameters(replace(place, path=name))), autocommit=True) as connection:
        connection.execute("CREATE EXTENSION vector")
        connection.execute("REVOKE SELECT ON pg_catalog.pg_stat_progress_create_index FROM PUBLIC")
        connection.execute(f"GRANT CREATE ON SCHEMA public TO {name}".encode())
    yield there
    run(f"DROP DATABASE {name} WITH (FORCE)", f"DROP ROLE {name}")


def test_a_view_that_may_not_be_read_leaves_the_figures_out(hidden: Place) -> None:
    heard = heard_while_indexing(hidden, index="hnsw")
    assert (heard.steps, heard.notes) == ([], [])


def test_an_index_that_is_ready_at_once_opens_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "PAUSE_SECONDS", 60.0)
    opened: list[Place] = []
    monkeypatch.setattr(watch, "connect", opened.append)
    assert heard_while_indexing(server_place(), index="hnsw").steps == []
    assert opened == []
