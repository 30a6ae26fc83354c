"""Every type of pgvector, several in one table: bit for bit both ways, or refused by name."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from vecport.connectors.contract import Mark
from vecport.connectors.postgres.layout import Slot
from vecport.connectors.postgres.vector_wire import decode
from vecport.errors import IntegrityError, NotRepresentable, UsageError
from vecport.model.batch import make_page
from vecport.model.collection import Collection, VectorField, renamed
from vecport.testing.records import Sparse, vector_column

from .support import SHARD, fresh, load, pages, plan_for, pump, records, run, source, target

ALL = "id int PRIMARY KEY, v vector(3), h halfvec(3), b bit(11), s sparsevec(1000)"
#: The rows of a table of all kinds, with a NULL in each place.
ROWS = [
    "(1, '[1,-0,1e-40]', '[0.5,-0,65504]', B'10000000001', '{1:1.5,1000:-2}/1000')",
    "(2, NULL, '[6e-08,1,-1]', B'01010101010', '{}/1000')",
    "(3, '[1,2,3]', NULL, B'00000000000', '{7:1e-40}/1000')",
    "(4, '[1,2,3]', '[1,2,3]', NULL, '{1:1}/1000')",
    "(5, '[1,2,3]', '[1,2,3]', B'11111111111', NULL)",
    "(6, NULL, NULL, NULL, NULL)",
]
INDEXES = [
    "CREATE INDEX ON {} USING hnsw (h halfvec_cosine_ops) WITH (m = 5)",
    "CREATE INDEX ON {} USING hnsw (b bit_jaccard_ops)",
    "CREATE INDEX ON {} USING hnsw (s sparsevec_ip_ops)",
    "CREATE INDEX ON {} USING ivfflat (v vector_l2_ops) WITH (lists = 2)",
]


def of_all_kinds() -> str:
    table = fresh()
    run(f"CREATE TABLE {table} ({ALL})", f"INSERT INTO {table} VALUES {', '.join(ROWS)}")
    run(*(statement.format(table) for statement in INDEXES))
    return table


def columns_of(table: str) -> list[Any]:
    names = "SELECT attname, format_type(atttypid, atttypmod), attnotnull FROM pg_attribute"
    return sorted(run(f"{names} WHERE attrelid = '{table}'::regclass AND attnum > 0"))


def indexes_of(table: str) -> list[str]:
    found = run(f"SELECT indexdef FROM pg_indexes WHERE tablename = '{table}' AND indexdef !~ 'btree' ORDER BY 1")
    return sorted(text.partition("USING ")[2] for (text,) in found)


def texts(table: str) -> list[Any]:
    return run(f"SELECT id, v::text, h::text, b::text, s::text FROM {table} ORDER BY id")


def test_four_kinds_in_one_table_are_read_as_they_are() -> None:
    collection, (page,) = pages(of_all_kinds())
    found = {v.name: (v.kind, v.dtype, v.dim, v.metric) for v in collection.vectors}
    assert found == {
        "v": ("dense", "float32", 3, "l2"),
        "h": ("dense", "float16", 3, "cosine"),
        "b": ("binary", "bit", 11, "jaccard"),
        "s": ("sparse", "float32", None, "dot"),
    }
    first, second, _, _, _, last = records([page])
    # Indices count from 0 here, from 1 in the text.
    assert first["vector_s"] == {"indices": [0, 999], "values": [1.5, -2.0]}
    assert second["vector_s"] == {"indices": [], "values": []}
    assert first["vector_b"] == bytes([0b10000000, 0b00100000])
    assert first["vector_h"] == [0.5, 0.0, 65504.0]
    assert np.signbit(first["vector_h"][1])
    assert first["vector_v"][2] == np.float32(1e-40)
    assert [last[f"vector_{name}"] for name in "vhbs"] == [None] * 4


@pytest.mark.parametrize("page_rows", [1, 2, 1_000])
def test_a_table_of_all_kinds_comes_back_type_by_type(page_rows: int) -> None:
    table, copy = of_all_kinds(), fresh("copy")
    collection, batches = pages(table, page_rows=page_rows)
    load(renamed(collection, copy), batches, native=collection.native)
    assert texts(copy) == texts(table)
    assert columns_of(copy) == columns_of(table)
    assert indexes_of(copy) == indexes_of(table)
    again, _ = pages(copy)
    assert again.digest() == collection.digest()


def test_a_bit_column_is_a_vector_by_its_index_or_by_name_alone() -> None:
    table = fresh()
    run(
        f"CREATE TABLE {table} (id int PRIMARY KEY, a bit(8), b bit(8), e vector(1))",
        f"INSERT INTO {table} VALUES (1, B'00000001', B'10000000', '[1]')",
    )
    collection, (page,) = pages(table)
    assert [v.name for v in collection.vectors] == ["e"]
    assert page.to_pylist()[0]["metadata"] == '{"a":"00000001","b":"10000000"}'
    with source(table) as reading:
        assert any("name it as vector-column: a, b" in note for note in reading.describe().notes)
    assert run(f"SELECT a, b FROM {pump(table)}") == [("00000001", "10000000")]
    named, (page,) = pages(table, vector_column="b")
    assert [(v.name, v.kind, v.dim) for v in named.vectors] == [("b", "binary", 8), ("e", "dense", 1)]
    assert page.to_pylist()[0]["vector_b"] == b"\x80"
    run(f"CREATE INDEX ON {table} USING ivfflat (a bit_hamming_ops) WITH (lists = 1)")
    indexed, _ = pages(table)
    assert [(v.name, v.metric) for v in indexed.vectors] == [("a", "hamming"), ("e", "unknown")]
    with source(table, vector_column="id") as reading, pytest.raises(UsageError, match="'id' is integer, no vector"):
        reading.describe()


@pytest.mark.parametrize(
    ("kind", "same", "other"),
    [("vector", "[1,2]", "[1,2,3]"), ("halfvec", "[1,2]", "[1]"), ("sparsevec", "{1:1}/5", "{1:1}/6")],
)
def test_a_column_without_dimensions_needs_one_for_all(kind: str, same: str, other: str) -> None:
    table = fresh()
    run(f"CREATE TABLE {table} (id int PRIMARY KEY, e {kind})")
    with source(table) as reading, pytest.raises(NotRepresentable, match=r"'e' of .* declares no dimension"):
        reading.describe()
    run(f"INSERT INTO {table} VALUES (1, '{same}'), (2, NULL)")
    copy = pump(table)
    assert run(f"SELECT id, e::text FROM {copy} ORDER BY 1") == [(1, same), (2, None)]
    run(f"INSERT INTO {table} VALUES (3, '{other}')")
    with source(table) as reading, pytest.raises(NotRepresentable) as caught:
        reading.describe()
    assert "dimensions" in str(caught.value)
    assert f"TYPE {kind}(N)" in str(caught.value)


@pytest.mark.parametrize("declared", ["vector(2)", "halfvec", "sparsevec"])
def test_a_vector_of_another_dimension_in_mid_scan_is_an_error(declared: str) -> None:
    """The dimensions that were counted are not believed."""
    table, kind = fresh(), declared.partition("(")[0]
    good, bad = ("{1:1}/2", "{1:1}/3") if kind == "sparsevec" else ("[1,2]", "[1,2,3]")
    run(f"CREATE TABLE {table} (id int PRIMARY KEY, e {declared})", f"INSERT INTO {table} VALUES (1, '{good}')")
    with source(table, where="true") as reading:
        reading.describe()
        run(f"ALTER TABLE {table} ALTER e TYPE {kind}", f"INSERT INTO {table} VALUES (2, '{bad}')")
        with pytest.raises((IntegrityError, NotRepresentable)):
            reading.snapshot()


@pytest.mark.parametrize(
    ("kind", "dim", "field", "good", "bad"),
    [
        # Together, the bytes of the bad ones are as many as those of two good ones.
        ("vector", 2, VectorField("e", "dense", "float32", 2), "[1,2]", ["[1]", "[1,2,3]"]),
        ("halfvec", 2, VectorField("e", "dense", "float16", 2), "[1,2]", ["[1]", "[1,2,3]"]),
        ("sparsevec", 2, VectorField("e", "sparse", "float32"), "{1:1}/2", ["{1:1}/3", "{1:1}/3"]),
        ("bit", 11, VectorField("e", "binary", "bit", 11), "1" * 11, ["1" * 12, "1" * 10]),
    ],
)
def test_no_vector_is_read_as_one_of_another_dimension(
    kind: str, dim: int, field: VectorField, good: str, bad: list[str]
) -> None:
    slot = Slot("vector", "e", "e", vector=kind, dim=dim)

    def sent(text: str) -> bytes:
        cast = f"varbit '{text}'::bit({len(text)})" if kind == "bit" else f"'{text}'::{kind}"
        return bytes(run(f"SELECT {kind}_send({cast})")[0][0])

    assert len(decode(slot, pa.array([sent(good), None], pa.binary()), field)) == 2
    with pytest.raises(IntegrityError, match=r"'e' has .*(dimensions|bits)"):
        decode(slot, pa.array([sent(text) for text in bad], pa.binary()), field)


# ---- what a column cannot hold ----


def made(kind: str, dtype: str, dim: int | None, values: list[Any], metric: str = "unknown") -> tuple[Any, Any]:
    field = VectorField("e", kind, dtype, dim, metric)
    collection = Collection(fresh("made"), "int", (field,))
    ids = [str(i) for i in range(len(values))]
    return collection, make_page(collection, ids=ids, vectors={"e": vector_column(values, field)})


@pytest.mark.parametrize(
    ("kind", "dtype", "dim", "value", "words"),
    [
        ("sparse", "float32", None, Sparse((1, 2), (0.0, 1.0)), "value is zero"),
        ("sparse", "float32", None, Sparse((1,), (-0.0,)), "value is zero"),
        ("sparse", "float32", None, Sparse((10**9,), (1.0,)), r"index 1,000,000,000 \(from 0\)"),
        ("sparse", "float32", None, Sparse((2**32 - 1,), (1.0,)), "index 4,294,967,295"),
        ("sparse", "float32", None, Sparse((1,), (float("nan"),)), "NaN"),
        ("sparse", "float32", None, Sparse(tuple(range(16_001)), (1.0,) * 16_001), "at most 16,000"),
        ("dense", "float16", 2, np.array([1, 65_520], np.float32), "larger one than a halfvec"),
        ("dense", "float16", 2, np.array([1, 0.1], np.float32), "more digits"),
        ("dense", "float16", 2, np.array([1, np.inf], np.float32), "infinit"),
        ("dense", "float16", 2, np.array([1, np.nan], np.float32), "NaN"),
    ],
)
def test_values_beyond_a_type_are_refused_by_name(kind: str, dtype: str, dim: int, value: Any, words: str) -> None:
    collection, page = made(kind, dtype, dim, [None, value])
    with target(collection.name) as writing:
        writing.prepare(plan_for(collection, [page]))
        with pytest.raises(NotRepresentable, match=words):
            writing.write(page, Mark(SHARD, 0))
        assert (writing.count(), writing.acknowledged()) == (0, set())


def test_bits_behind_the_last_dimension_are_an_error() -> None:
    collection, page = made("binary", "bit", 11, [np.ones(11, np.uint8)])
    bad = page.set_column(4, page.schema.field(4), pa.array([b"\xff\xff"], page.schema.field(4).type))
    with target(collection.name) as writing:
        writing.prepare(plan_for(collection, [page]))
        with pytest.raises(IntegrityError, match="behind its last dimension"):
            writing.write(bad, Mark(SHARD, 0))
        writing.write(page, Mark(SHARD, 0))
    assert run(f"SELECT e::text FROM {collection.name}") == [("1" * 11,)]


def test_the_largest_sparse_vectors_come_back() -> None:
    values = [Sparse((0, 999_999_999), (1.0, 2.0)), Sparse(tuple(range(16_000)), (1.0,) * 16_000), Sparse((), ())]
    collection, page = made("sparse", "float32", None, values, metric="unknown")
    load(collection, [page])
    assert columns_of(collection.name)[0][:2] == ("e", "sparsevec(1000000000)")
    assert records(pages(collection.name)[1]) == page.to_pylist()


def test_dimensions_of_a_sparse_column_are_chosen_and_checked() -> None:
    collection, page = made("sparse", "float32", None, [Sparse((9,), (1.0,))])
    load(collection, [page], settings={"dimensions.e": "10"})
    assert columns_of(collection.name)[0][:2] == ("e", "sparsevec(10)")
    for settings, native in [
        ({"dimensions.e": "0"}, {}), ({"dimensions.e": "1000000001"}, {}), ({"dimensions.e": "x"}, {}),
        ({"dimensions": "5"}, {}), ({"dimensions.other": "5"}, {}), ({}, {"vectors": {"e": {"dim": "10); DROP"}}}),
        ({}, {"vectors": {"e": {"dim": True}}}), ({}, {"vectors": {"e": {"dim": 0}}}),
    ]:  # fmt: skip
        other = replace(collection, name=fresh())
        with target(other.name) as writing:
            with pytest.raises((UsageError, NotRepresentable)):
                writing.prepare(plan_for(other, [page], settings=settings, native=native))
            assert writing.describe() is None
    small = replace(collection, name=fresh())
    with target(small.name) as writing:
        writing.prepare(plan_for(small, [page], settings={"dimensions.e": "9"}))
        with pytest.raises(NotRepresentable, match=r"the column is sparsevec\(9\)"):
            writing.write(page, Mark(SHARD, 0))


# ---- indexes and search ----


@pytest.mark.parametrize(
    ("kind", "dtype", "metric", "settings", "definition"),
    [
        ("dense", "float16", "l1", {}, "hnsw (e halfvec_l1_ops)"),
        ("dense", "float16", "dot", {"index.e": "ivfflat", "lists": "1"},
         "ivfflat (e halfvec_ip_ops) WITH (lists='1')"),
        ("binary", "bit", "hamming", {"m.e": "4"}, "hnsw (e bit_hamming_ops) WITH (m='4')"),
        ("binary", "bit", "jaccard", {}, "hnsw (e bit_jaccard_ops)"),
        ("binary", "bit", "l2", {}, None),
        ("sparse", "float32", "l2", {}, "hnsw (e sparsevec_l2_ops)"),
        ("sparse", "float32", "cosine", {"index.e": "none"}, None),
        ("dense", "float32", "hamming", {}, None),
    ],
)  # fmt: skip
def test_the_operator_class_is_that_of_type_and_metric(
    kind: str, dtype: str, metric: str, settings: dict[str, str], definition: str | None
) -> None:
    dim = None if kind == "sparse" else 8
    value = {"binary": np.ones(8, np.uint8), "sparse": Sparse((0,), (1.0,))}.get(kind, np.ones(8, np.float32))
    collection, page = made(kind, dtype, dim, [value, None], metric)
    load(collection, [page], settings=settings)
    assert indexes_of(collection.name) == ([definition] if definition else [])
    assert pages(collection.name)[0].vectors[0].metric == metric
    with target(collection.name) as writing:
        hint = writing.query_hint()
        if metric in ("l2", "hamming") and kind in ("binary", "dense") and not definition:
            assert hint == ""
            with pytest.raises(UsageError, match="the metric of"):
                writing.search("e", np.ones(8, np.float32), 1)
        else:
            assert [hit.id for hit in writing.search("e", np.ones(8, np.float32), 5)] == ["0"]
            spelled = {"binary": "11111111", "sparse": "{1:1}/1000000000"}.get(kind, "[1,1,1,1,1,1,1,1]")
            for gap in ("{...}/1000000000", "[...]", "..."):
                hint = hint.replace(gap, spelled)
            assert run(hint)[0][0] == 0


@pytest.mark.parametrize(
    ("kind", "dtype", "dim", "metric", "method"),
    [
        ("dense", "float32", 2_001, "l2", "hnsw"), ("dense", "float16", 4_001, "l2", "hnsw"),
        ("binary", "bit", 64_001, "hamming", "hnsw"), ("binary", "bit", 8, "jaccard", "ivfflat"),
        ("dense", "float16", 8, "l1", "ivfflat"), ("sparse", "float32", None, "l2", "ivfflat"),
        ("binary", "bit", 8, "l2", "hnsw"),
    ],
)  # fmt: skip
def test_an_index_that_cannot_be_is_refused_before_the_load(
    kind: str, dtype: str, dim: int | None, metric: str, method: str
) -> None:
    collection, _ = made(kind, dtype, dim, [], metric)
    with target(collection.name) as writing:
        with pytest.raises(UsageError) as caught:
            writing.prepare(plan_for(collection, [], settings={"index": method}))
        assert f"--set index={method}: " in str(caught.value)
        assert "--set index=none" in str(caught.value)
        assert writing.describe() is None


def test_entries_beyond_the_index_are_refused_with_the_way_out() -> None:
    """pgvector says so only when the index is built, after the whole load."""
    collection, page = made("sparse", "float32", None, [Sparse(tuple(range(1_001)), (1.0,) * 1_001)], "l2")
    with target(collection.name) as writing:
        writing.prepare(plan_for(collection, [page]))
        with pytest.raises(NotRepresentable, match="1,001 entries") as caught:
            writing.write(page, Mark(SHARD, 0))
    assert "--set index=none" in str(caught.value)
    load(collection, [page], if_exists="replace", settings={"index": "none"})
    assert records(pages(collection.name)[1]) == page.to_pylist()


def test_one_option_cannot_name_the_columns_of_several_vectors() -> None:
    table = of_all_kinds()
    collection, batches = pages(table)
    other = renamed(collection, fresh())
    with target(other.name, vector_column="x") as writing:
        with pytest.raises(UsageError, match="several vectors"):
            writing.prepare(plan_for(other, batches))
        assert writing.describe() is None


def test_append_knows_every_vector_of_a_table() -> None:
    table, copy = of_all_kinds(), fresh("copy")
    collection, batches = pages(table)
    mine = renamed(collection, copy)
    load(mine, batches, native=collection.native)
    # The dimensions of the sparse column are the table's, whatever a dump of another database knows of them.
    load(mine, batches, if_exists="append")
    assert texts(copy) == texts(table)
    vectors = tuple(replace(v, metric="l2") if v.name == "s" else v for v in mine.vectors)
    with (
        target(copy) as writing,
        pytest.raises(NotRepresentable, match="vector 's': the metric dot, the import for"),
    ):
        writing.prepare(plan_for(replace(mine, vectors=vectors), batches, if_exists="append"))
    fewer = replace(mine, vectors=mine.vectors[:3])
    with target(copy) as writing, pytest.raises(NotRepresentable, match="other columns"):
        writing.prepare(plan_for(fewer, [], if_exists="append"))
