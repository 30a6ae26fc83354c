"""Tables of Postgres that are there already: replaced, filled, appended to, or refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from vecport.connectors.contract import Mark
from vecport.errors import AlreadyExists, NotRepresentable
from vecport.model.batch import make_page
from vecport.model.collection import renamed

from .support import SHARD, free, indexes, load, on_table, pages, plan_for, records, rows, run, target

pytestmark = pytest.mark.usefixtures("no_acknowledgements")


def test_replace_drops_the_table_and_nothing_else() -> None:
    collection, (page,) = free(3)
    neighbour, _ = free(2)
    load(neighbour, [page])
    load(collection, [page])
    load(collection, [page.slice(1)], if_exists="replace")
    assert on_table("SELECT count(*) FROM {}", collection.name) == [(2,)]
    assert on_table("SELECT count(*) FROM {}", neighbour.name) == [(3,)]
    run(f"CREATE VIEW v_{collection.name} AS SELECT id FROM {collection.name}")
    with pytest.raises(AlreadyExists, match="depend"):
        load(collection, [page], if_exists="replace")
    assert on_table("SELECT count(*) FROM {}", collection.name) == [(2,)]
    with pytest.raises(AlreadyExists, match="is a view"):
        load(renamed(collection, f"v_{collection.name}"), [page], if_exists="replace")


def test_replace_takes_a_table_that_cannot_be_read() -> None:
    collection, (page,) = free(3)
    run(f"CREATE TABLE {collection.name} (a interval, b tsvector)", f"INSERT INTO {collection.name} VALUES ('1 day')")
    with target(collection.name) as writing:
        described = writing.describe()
        assert described is not None
        assert described.count is None
        with pytest.raises(AlreadyExists):
            writing.prepare(plan_for(collection, [page]))
    load(collection, [page], if_exists="replace")
    assert on_table("SELECT count(*) FROM {}", collection.name) == [(3,)]


def test_an_empty_table_of_the_right_shape_is_filled_and_keeps_its_comment() -> None:
    collection, (page,) = free(3)
    run(
        f"CREATE TABLE {collection.name} (metadata jsonb NOT NULL, id bigint PRIMARY KEY, embedding vector(4))",
        f"COMMENT ON TABLE {collection.name} IS 'mine'",
    )
    load(collection, [page])
    assert run(f"SELECT obj_description('{collection.name}'::regclass)") == [("mine",)]
    assert run(f"SELECT count(*) FROM {collection.name}") == [(3,)]


@pytest.mark.parametrize(
    "shape",
    [
        "id bigint PRIMARY KEY, embedding vector(4)",
        "id bigint PRIMARY KEY, embedding vector(5), metadata jsonb",
        "id bigint PRIMARY KEY, embedding halfvec(4), metadata jsonb",
        "id bigint PRIMARY KEY, embedding vector(4), metadata json",
        "id text PRIMARY KEY, embedding vector(4), metadata jsonb",
        "id bigint, embedding vector(4), metadata jsonb",
        "id bigint, embedding vector(4), metadata jsonb PRIMARY KEY",
        "id bigint PRIMARY KEY, embedding vector(4), metadata jsonb, more int",
    ],
)
@pytest.mark.parametrize("mode", ["create", "append"])
def test_a_table_of_another_shape_is_refused(shape: str, mode: str) -> None:
    collection, (page,) = free(3)
    run(f"CREATE TABLE {collection.name} ({shape})")
    with target(collection.name) as writing, pytest.raises(NotRepresentable, match="has other columns"):
        writing.prepare(plan_for(collection, [page], if_exists=mode))


def test_append_replaces_whole_records_and_adds_others() -> None:
    collection, (page,) = free(4)
    load(collection, [page], passport={"first": 1}, document="document")
    more = make_page(collection, ids=["3", "9"], metadata=['{"new":1}', "{}"], documents=[None, "words"])
    load(collection, [more], if_exists="append", passport={"second": 2})
    found = {row["id"]: row for row in records(pages(collection.name)[1])}
    assert len(found) == 5
    assert (found["3"]["metadata"], found["3"]["vector_embedding"]) == ('{"new":1}', None)
    assert found["9"]["document"] == "words"
    assert found["2"] == page.to_pylist()[2]
    with target(collection.name) as writing:
        described = writing.describe()
    assert described is not None
    assert described.passport == {"second": 2}


def test_append_needs_the_same_metric_and_keeps_it() -> None:
    collection, (page,) = free(3, metric="cosine")
    load(collection, [page], settings={"index": "none"})
    other = replace(collection, vectors=(replace(collection.vectors[0], metric="l2"),))
    with target(collection.name) as writing, pytest.raises(NotRepresentable, match="metric cosine, the import for l2"):
        writing.prepare(plan_for(other, [page], if_exists="append"))
    unknown = replace(collection, vectors=(replace(collection.vectors[0], metric="unknown"),))
    load(unknown, [page], if_exists="append")
    assert pages(collection.name)[0].vectors[0].metric == "cosine"
    # An empty table of vecport's own is made anew.
    empty, _ = free(0, metric="cosine")
    load(empty, [])
    other = replace(empty, vectors=(replace(empty.vectors[0], metric="l2"),))
    load(other, [page])
    assert indexes(empty.name) == ["hnsw (embedding vector_l2_ops)"]
    # One of the user's is not.
    mine, _ = free(0, metric="l2")
    run(
        f"CREATE TABLE {mine.name} (id bigint PRIMARY KEY, embedding vector(4), metadata jsonb)",
        f"CREATE INDEX ON {mine.name} USING hnsw (embedding vector_cosine_ops)",
    )
    with target(mine.name) as writing, pytest.raises(NotRepresentable, match="metric cosine"):
        writing.prepare(plan_for(mine, [page]))


def test_append_to_a_table_of_the_users_leaves_its_comment_and_indexes() -> None:
    collection, (page,) = free(3)
    run(
        f"CREATE TABLE {collection.name} (id bigint PRIMARY KEY, embedding vector(4), metadata jsonb NOT NULL)",
        f"CREATE INDEX own_{collection.name} ON {collection.name} USING hnsw (embedding vector_l2_ops)",
        f"INSERT INTO {collection.name} VALUES (1, NULL, '{{\"old\": 1}}'), (77, NULL, '{{}}')",
    )
    load(collection, [page], if_exists="append")
    assert [row["id"] for row in sorted((r[0] for r in rows(collection.name)), key=lambda r: r["id"])] == [0, 1, 2, 77]
    assert run(f"SELECT metadata FROM {collection.name} WHERE id = 1") == [({"n": 1},)]
    assert run(f"SELECT obj_description('{collection.name}'::regclass)") == [(None,)]
    names = run(f"SELECT indexname FROM pg_indexes WHERE tablename = '{collection.name}' ORDER BY 1")
    assert sorted(names) == sorted([(f"own_{collection.name}",), (f"{collection.name}_pkey",)])


def test_append_keeps_the_ids_of_an_identity_column() -> None:
    collection, (page,) = free(3)
    run(
        f"CREATE TABLE {collection.name} (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, embedding vector(4),"
        " metadata jsonb)"
    )
    load(collection, [page], if_exists="append")
    assert records(pages(collection.name, id_column="id")[1])[0]["id"] == "0"
    assert indexes(collection.name) == []
    load(collection, [page], if_exists="append", settings={"index": "hnsw"})
    assert indexes(collection.name) == ["hnsw (embedding vector_l2_ops)"]


def test_documents_without_a_column_for_them_are_refused() -> None:
    collection, (page,) = free(2)
    with target(collection.name) as writing:
        writing.prepare(plan_for(collection, [page]))
        worded = make_page(collection, ids=["1", "2"], documents=[None, "words"])
        with pytest.raises(NotRepresentable, match="documents, for which the table has no column"):
            writing.write(worded, Mark(SHARD, 0))


def test_other_relations_are_never_written() -> None:
    collection, (page,) = free(3)
    shape = "id bigint PRIMARY KEY, embedding vector(4), metadata jsonb"
    run(f"CREATE TABLE {collection.name} ({shape}) PARTITION BY RANGE (id)")
    for mode in ("create", "append"):
        with target(collection.name) as writing, pytest.raises(NotRepresentable, match="partitioned table"):
            writing.prepare(plan_for(collection, [page], if_exists=mode))
