"""The index of an imported table of Postgres, and searching in it."""

from __future__ import annotations

import numpy as np
import pytest

from vecport.errors import UsageError
from vecport.model.batch import dense_array, make_page
from vecport.model.collection import Collection, VectorField

from .support import free, fresh, indexes, load, pages, plan_for, records, run, target

pytestmark = pytest.mark.usefixtures("no_acknowledgements")


# ---- the index ----


@pytest.mark.parametrize(
    ("metric", "settings", "definition"),
    [
        ("cosine", {}, "hnsw (embedding vector_cosine_ops)"),
        ("dot", {}, "hnsw (embedding vector_ip_ops)"),
        ("l2", {}, "hnsw (embedding vector_l2_ops)"),
        ("l1", {}, "hnsw (embedding vector_l1_ops)"),
        ("unknown", {}, None),
        ("hamming", {}, None),
        ("cosine", {"index": "none", "m": "8"}, None),
        ("cosine", {"m": "8", "ef_construction": "32", "metric": "cosine"},
         "hnsw (embedding vector_cosine_ops) WITH (m='8', ef_construction='32')"),
        ("dot", {"index": "ivfflat", "lists": "2", "maintenance_work_mem": "64MB"},
         "ivfflat (embedding vector_ip_ops) WITH (lists='2')"),
    ],
)  # fmt: skip
def test_the_index_is_that_of_the_metric(metric: str, settings: dict[str, str], definition: str | None) -> None:
    collection, batches = free(5, metric=metric)
    load(collection, batches, settings=settings)
    assert indexes(collection.name) == ([definition] if definition else [])
    found, _ = pages(collection.name)
    assert found.vectors[0].metric == metric
    if "index" not in settings:
        with target(collection.name) as writing:
            writing.prepare(plan_for(collection, [], if_exists="append"))
            writing.finish({})
        assert indexes(collection.name) == ([definition] if definition and not settings else indexes(collection.name))


@pytest.mark.parametrize(
    "settings",
    [
        {"unknown": "1"}, {"index": "btree"}, {"m": "1"}, {"m": "101"}, {"m": "x"}, {"m": "\u0663"}, {"m": "8; drop"},
        {"ef_construction": "3"}, {"m": "40", "ef_construction": "50"}, {"index": "ivfflat", "m": "8"}, {"lists": "5"},
        {"maintenance_work_mem": "1"}, {"maintenance_work_mem": "1GB'; drop"}, {"index": "ivfflat", "lists": "0"},
    ],
)  # fmt: skip
def test_settings_that_cannot_be_are_refused_before_anything_is_created(settings: dict[str, str]) -> None:
    collection, batches = free(5)
    with target(collection.name) as writing:
        with pytest.raises(UsageError):
            writing.prepare(plan_for(collection, batches, settings=settings))
        assert writing.describe() is None


def test_an_index_that_pgvector_cannot_build_is_left_out_or_refused() -> None:
    wide, batches = free(1, dim=2_001)
    load(wide, batches)
    assert indexes(wide.name) == []
    for collection, settings in [
        (wide, {"index": "hnsw"}),
        (free(1, metric="unknown")[0], {"index": "hnsw"}),
        (free(1, metric="l1")[0], {"index": "ivfflat"}),
    ]:
        with target(collection.name) as writing, pytest.raises(UsageError, match="--set index="):
            writing.prepare(plan_for(collection, [], settings=settings, if_exists="replace"))
    widest, batches = free(2, dim=2_000)
    load(widest, batches)
    assert len(indexes(widest.name)) == 1


def test_index_names_are_cut_and_never_taken() -> None:
    one, batches = free(2, name=fresh("a" * 50) + "one")
    two, _ = free(2, name=one.name[:-3] + "two")
    taken, _ = free(2)
    run(f"CREATE TABLE {taken.name}_embedding_hnsw (id int)")
    for collection in (one, two, taken):
        load(collection, batches)
        assert len(indexes(collection.name)) == 1


# ---- search ----


@pytest.mark.parametrize("index", ["hnsw", "ivfflat", "none"])
@pytest.mark.parametrize("k", [1, 200, 600])
def test_search_gives_as_many_as_are_asked(index: str, k: int) -> None:
    rng = np.random.default_rng(7)
    collection = Collection(fresh(), "int", (VectorField("embedding", dim=8, metric="cosine"),))
    matrix = rng.standard_normal((500, 8)).astype(np.float32)
    valid = np.arange(500) % 5 != 0
    page = make_page(
        collection,
        ids=[str(i) for i in range(500)],
        vectors={"embedding": dense_array(matrix, collection.vectors[0], valid)},
    )
    load(collection, [page], settings={"index": index, **({"lists": "20"} if index == "ivfflat" else {})})
    with target(collection.name) as writing:
        hits = writing.search("embedding", matrix[7], k)
    assert hits[0].id == "7"
    assert abs(hits[0].score) < 1e-6
    # Records without a vector have no distance.
    assert len(hits) == min(k, int(valid.sum()))
    assert [hit.score for hit in hits] == sorted(hit.score for hit in hits)


def test_search_needs_a_metric_and_the_vector() -> None:
    collection, batches = free(2, metric="unknown")
    load(collection, batches)
    with target(collection.name) as writing:
        assert writing.query_hint() == ""
        with pytest.raises(UsageError, match="metric"):
            writing.search("embedding", np.ones(4, np.float32), 1)
        with pytest.raises(UsageError, match="no vector 'other'"):
            writing.search("other", np.ones(4, np.float32), 1)


@pytest.mark.parametrize(("metric", "operator"), [("cosine", "<=>"), ("dot", "<#>"), ("l2", "<->"), ("l1", "<+>")])
def test_the_hint_has_the_operator_of_the_metric_and_runs(metric: str, operator: str) -> None:
    collection, batches = free(3, metric=metric)
    load(collection, batches)
    with target(collection.name) as writing:
        hint = writing.query_hint()
    assert hint == (
        f'SELECT "id", "embedding" {operator} \'[...]\' AS distance FROM "public"."{collection.name}"'
        f" ORDER BY \"embedding\" {operator} '[...]' LIMIT 10;"
    )
    assert len(run(hint.replace("[...]", "[1,2,3,4]"))) == 3


def test_ids_of_hits_are_those_of_records() -> None:
    table = fresh()
    run(
        f"CREATE TABLE {table} (a int, b uuid, c char(3), d date, f bool, e vector(2), PRIMARY KEY (a, b, c, d, f))",
        f"CREATE INDEX ON {table} USING hnsw (e vector_l2_ops)",
        f"INSERT INTO {table} VALUES (1, 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'x', '2024-01-01', true, '[1,2]')",
    )
    (row,) = records(pages(table)[1])
    with target(table) as writing:
        assert [hit.id for hit in writing.search("e", np.array([1, 2], np.float32), 1)] == [row["id"]]
        writing.delete([("", row["id"]), ("", "[1]")])
        assert writing.count() == 0
