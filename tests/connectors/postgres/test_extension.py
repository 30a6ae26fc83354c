"""The extension pgvector: created where it is missing, found where it is, or said to be missing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import psycopg
import pytest

from vecport.connectors.address import Place
from vecport.connectors.contract import Mark
from vecport.connectors.postgres import tables
from vecport.errors import AuthenticationFailed, NotFound, NotRepresentable
from vecport.model.collection import Collection

from .support import CONNECTOR, SHARD, dsn, free, fresh, numbered, other_database, plan_for, run, source, target

pytestmark = pytest.mark.usefixtures("no_acknowledgements")


@pytest.fixture
def bare_database() -> Iterator[Place]:
    """A database without the extension."""
    name = fresh("bare")
    run(f"CREATE DATABASE {name} TEMPLATE template0")
    yield other_database(name)
    run(f"DROP DATABASE {name} WITH (FORCE)")


def test_the_extension_is_created_where_it_is_missing(bare_database: Place) -> None:
    assert CONNECTOR.collections(bare_database) == []
    collection, (page,) = free(3)
    with target(collection.name, bare_database) as writing:
        writing.prepare(plan_for(collection, [page]))
        writing.write(page, Mark(SHARD, 0))
        writing.finish({})
        assert writing.count() == 3
    assert [summary.name for summary in CONNECTOR.collections(bare_database)] == [collection.name]


def test_an_extension_in_a_schema_off_the_path_is_used(bare_database: Place) -> None:
    with psycopg.connect(_dsn(bare_database), autocommit=True) as connection:
        connection.execute('CREATE SCHEMA "ex tensions"')
        connection.execute('CREATE EXTENSION vector SCHEMA "ex tensions"')
        connection.execute("CREATE TYPE vector AS (a int)")
    collection, (page,) = free(3, metric="cosine")
    with target(collection.name, bare_database) as writing:
        writing.prepare(plan_for(collection, [page]))
        writing.write(page, Mark(SHARD, 0))
        writing.finish({})
        assert writing.search("embedding", np.array([1, 2, 3, 4], np.float32), 1)[0].id == "0"
        hint = writing.query_hint()
    with psycopg.connect(_dsn(bare_database)) as connection:
        assert len(connection.execute(hint.replace("[...]", "[1,2,3,4]").encode()).fetchall()) == 3
    with source(collection.name, place=bare_database) as reading:
        assert reading.describe().collection.vectors[0].metric == "cosine"
        reading.snapshot()
        (read,) = reading.scan({"from": 0, "to": None}, None, 10)
    assert read.batch.equals(page)
    with psycopg.connect(_dsn(bare_database), autocommit=True) as connection:
        connection.execute('CREATE TABLE untyped (id int PRIMARY KEY, e "ex tensions".vector, v vector)')
    with source("untyped", place=bare_database) as reading, pytest.raises(NotRepresentable):
        reading.describe()


def _dsn(place: Place) -> str:
    return psycopg.conninfo.make_conninfo(dsn(), dbname=place.path)


def test_a_missing_extension_that_may_not_be_created_is_said(bare_database: Place) -> None:
    run(
        "DO $$ BEGIN CREATE ROLE writer LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$",
    )
    collection, (page,) = free(3)
    with target(collection.name, replace(bare_database, user="writer")) as writing:
        with pytest.raises(AuthenticationFailed, match="CREATE EXTENSION vector") as caught:
            writing.prepare(plan_for(collection, [page]))
        assert "nothing was written" in str(caught.value)
        assert writing.describe() is None


def test_a_server_without_pgvector_is_said(bare_database: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "EXTENSION", "no_such_extension")
    collection, (page,) = free(3)
    with target(collection.name, bare_database) as writing:
        with pytest.raises(NotFound, match="the server has no pgvector"):
            writing.prepare(plan_for(collection, [page]))
        assert writing.describe() is None


def test_a_collection_without_vectors_needs_no_extension(bare_database: Place) -> None:
    collection = Collection(fresh(), "int", ())
    page = numbered(collection, ["1"])
    with target(collection.name, bare_database) as writing:
        writing.prepare(plan_for(collection, [page]))
        writing.write(page, Mark(SHARD, 0))
        writing.finish({})
        assert writing.count() == 1
