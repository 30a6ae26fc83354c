"""Shards: what is written is what the format says, and a page that breaks a rule of it is not written."""

from __future__ import annotations

import gc
import json
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.dump.small import COLLECTION, manifest_of, records
from vecport.dump.dump import check_collection_columns, foreign_files, open_dump, publish
from vecport.dump.layout import Cut, cut_for, row_bytes, shard_path
from vecport.dump.shard import FOOTER_KEY, ShardReader, ShardWriter, footer_collection, footer_text
from vecport.dump.store import LocalStore
from vecport.errors import IntegrityError, NotRepresentable, VecportError
from vecport.limits import Limits
from vecport.model.batch import group_schema
from vecport.model.collection import Collection, Field, VectorField
from vecport.testing.records import Record, batch_of, ragged_batch, vectors_of

EVERY = Collection(
    "every",
    vectors=(
        *(VectorField(d, dim=4, dtype=d) for d in ("float64", "float32", "float16", "bfloat16", "int8", "uint8")),
        VectorField("sparse", kind="sparse"),
        VectorField("multi", kind="multi", dim=3),
        VectorField("bits", kind="binary", dtype="bit", dim=12),
    ),
)


def page(collection: Collection = EVERY, rows: int = 10) -> pa.RecordBatch:
    vectors = {v.name: vectors_of(v, rows) for v in collection.vectors}
    made = [Record(str(i), {n: v[i] for n, v in vectors.items()}, {"i": i}, f"text {i}") for i in range(rows)]
    return batch_of(made, collection)


def write(folder: Path, pages: Sequence[pa.RecordBatch], collection: Collection = EVERY, **more: Any) -> ShardReader:
    store = LocalStore(str(folder))
    writer = ShardWriter(store, 0, 0, collection, **more)
    try:
        for p in pages:
            writer.write(p)
        return ShardReader(store, writer.close(), collection)
    finally:
        writer.abort()


def changed(p: pa.RecordBatch, column: str, array: pa.Array) -> pa.RecordBatch:
    place = p.schema.get_field_index(column)
    return pa.RecordBatch.from_arrays([array if i == place else c for i, c in enumerate(p.columns)], schema=p.schema)


# ---- what the format says

ENCODINGS = {
    "id": "PLAIN", "namespace": "PLAIN", "document": "PLAIN", "metadata": "PLAIN", "_vh": "PLAIN", "_mh": "PLAIN",
    "vector_bits": "PLAIN",
    "vector_sparse.indices.list.element": "DELTA_BINARY_PACKED",
    "vector_sparse.values.list.element": "BYTE_STREAM_SPLIT",
    "vector_multi.list.element.list.element": "BYTE_STREAM_SPLIT",
    **{f"vector_{d}.list.element": "BYTE_STREAM_SPLIT" for d in ("float64", "float32", "float16", "bfloat16")},
    **{f"vector_{d}.list.element": "RLE_DICTIONARY" for d in ("int8", "uint8")},
}  # fmt: skip


@pytest.mark.parametrize("encodings", ["default", "plain"])
def test_encodings(encodings: str, tmp_path: Path) -> None:
    write(tmp_path, [page()], encodings=encodings)
    meta = pq.read_metadata(tmp_path / shard_path(0, 0))
    chunks = [meta.row_group(0).column(i) for i in range(meta.num_columns)]
    assert {c.path_in_schema for c in chunks} == set(ENCODINGS)
    for c in chunks:
        wanted = ENCODINGS[c.path_in_schema]
        if encodings == "plain" and wanted != "RLE_DICTIONARY":
            wanted = "PLAIN"
        assert wanted in c.encodings, c.path_in_schema
        # Levels are RLE, and a dictionary's own page is PLAIN.
        rest = {"RLE", "PLAIN"} if wanted == "RLE_DICTIONARY" else {"RLE"}
        assert set(c.encodings) - {wanted} <= rest, c.path_in_schema
        assert c.compression == ("UNCOMPRESSED" if c.path_in_schema in ("_vh", "_mh") else "ZSTD")
        assert c.is_stats_set == (c.path_in_schema in ("id", "namespace"))


def test_the_footer_says_what_the_shard_is(tmp_path: Path) -> None:
    write(tmp_path, [page()])
    path = tmp_path / shard_path(0, 0)
    text = pq.read_schema(path).metadata[FOOTER_KEY.encode()].decode()
    assert text == footer_text(EVERY) == footer_text(replace(EVERY, name="other", native={"a": 1}))
    assert pq.read_schema(path).remove_metadata().equals(group_schema(EVERY))
    with path.open("rb") as f:
        assert footer_collection(f) == json.loads(text)["collection"]


def test_a_footer_without_portable_types_or_with_others_is_of_the_same_collection(tmp_path: Path) -> None:
    kinds = (None, "int64", "list<string>")
    there = [replace(EVERY, fields=(Field("a", "own", logical=kind),)) for kind in kinds]
    for n, written in enumerate(there):
        made = write(tmp_path / str(n), [page(written)], written)
        for read in there:
            assert next(ShardReader(made._store, made._entry, read).groups()).num_rows == 10


def test_equal_row_groups_give_equal_bytes(tmp_path: Path) -> None:
    whole = page(rows=40)
    copy = pa.Table.from_batches([whole.slice(0, 13), whole.slice(13)]).combine_chunks().to_batches()[0]
    for n, p in enumerate((whole, copy, page(rows=40))):
        write(tmp_path / str(n), [p])
    files = [(tmp_path / str(n) / shard_path(0, 0)).read_bytes() for n in range(3)]
    assert files[0] == files[1] == files[2]


def test_what_is_written_reads_back(tmp_path: Path) -> None:
    pages = [page(rows=7), page(rows=5)]
    reader = write(tmp_path, pages)
    groups = list(reader.groups())
    assert [g.num_rows for g in groups] == [7, 5]
    for g, p in zip(groups, pages, strict=True):
        assert g.select(p.schema.names).equals(p)
    assert [g.num_rows for g in reader.groups(first=1)] == [5]
    keys = list(reader.columns(["_mh", "id"]))
    assert [k.schema.names for k in keys] == [["_mh", "id"]] * 2
    assert keys[1].column("id").equals(pages[1].column("id"))


def test_cuts() -> None:
    assert cut_for(Collection("c", vectors=(VectorField("", dim=768),))) == Cut(7248, 36240)
    assert cut_for(Collection("c")) == Cut(62914, 125828)
    assert cut_for(Collection("c", vectors=(VectorField("", dim=65_536),))) == Cut(256, 256)
    assert cut_for(EVERY, shard_rows=10) == Cut(10, 10)
    assert cut_for(Collection("c"), shard_rows=100_000) == Cut(62914, 125828)
    for c in (EVERY, COLLECTION, Collection("c")):
        cut = cut_for(c)
        assert cut.shard_rows % cut.group_rows == 0
        assert row_bytes(c) > 0


# ---- what is not written


def bad_pages() -> dict[str, tuple[pa.RecordBatch, Collection, type[VecportError], str]]:
    good = page()
    sparse = good.schema.field("vector_sparse").type
    sole = Collection("sole", vectors=(VectorField("", dim=2, nullable=False),))
    one = batch_of([Record("a", {"": np.ones(2, np.float32)})], sole)
    null = batch_of([Record("a")], sole)

    def with_sparse(indices: list[int], values: list[float]) -> pa.RecordBatch:
        rows = [None] * 9 + [{"indices": indices, "values": values}]
        return changed(good, "vector_sparse", pa.array(rows, sparse))

    return {
        "columns in another order": (good.select(good.schema.names[::-1]), EVERY, IntegrityError, "schema"),
        "a column missing": (good.select(good.schema.names[:-1]), EVERY, IntegrityError, "schema"),
        "a column of another type": (one, Collection("c", vectors=(VectorField("", dim=2, dtype="float64"),)),
                                     IntegrityError, "schema"),
        "another dim": (ragged_batch([Record("a")], sole, 3), sole, IntegrityError, "3 elements"),
        "a null that may not be": (null, sole, IntegrityError, "not nullable"),
        "an id that is null": (changed(good, "id", pa.nulls(10, pa.string())), EVERY, IntegrityError, "nulls"),
        "metadata that is null": (changed(good, "metadata", pa.nulls(10, pa.string())), EVERY, IntegrityError, "nulls"),
        "descending indices": (with_sparse([3, 1], [1, 1]), EVERY, IntegrityError, "ascending"),
        "an index twice": (with_sparse([3, 3], [1, 1]), EVERY, IntegrityError, "ascending"),
        "fewer values than indices": (with_sparse([1, 3], [1]), EVERY, IntegrityError, "number of indices"),
        "bits behind the last": (changed(good, "vector_bits", pa.array([b"\xff\xff"] * 10, pa.binary(2))), EVERY,
                                 IntegrityError, "bits"),
        "an id that is no integer": (changed(good, "id", pa.array([*map(str, range(9)), "x"])),
                                     replace(EVERY, id_kind="int"), NotRepresentable, "'x'"),
        "an id that is no UUID": (good, replace(EVERY, id_kind="uuid"), NotRepresentable, "'0'"),
    }  # fmt: skip


@pytest.mark.parametrize("name", bad_pages())
def test_a_page_that_breaks_a_rule_is_not_written(name: str, tmp_path: Path) -> None:
    p, collection, error, said = bad_pages()[name]
    with pytest.raises(error) as caught:
        write(tmp_path, [p], collection)
    assert said in str(caught.value)
    assert LocalStore(str(tmp_path)).list() == []


def test_rows_of_sparse_vectors_may_begin_anywhere(tmp_path: Path) -> None:
    rows: list[Any] = [
        {"indices": [5, 9], "values": [1, 1]}, {"indices": [], "values": []}, {"indices": [0], "values": [1]}, None,
        {"indices": [0, 1], "values": [1, 0]}, {"indices": [], "values": []},
    ]  # fmt: skip
    c = Collection("s", vectors=(VectorField("", kind="sparse"),))
    good = batch_of([Record(str(i)) for i in range(6)], c)
    array = pa.array(rows, good.schema.field("vector").type)
    reader = write(tmp_path, [changed(good, "vector", array)], c)
    assert next(reader.groups()).column("vector").to_pylist() == rows


def test_an_abandoned_writer_is_silent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        writer = ShardWriter(LocalStore(str(tmp_path)), 0, 0, EVERY)
        writer.write(page())
        writer.abort()
        del writer
        gc.collect()
    assert capsys.readouterr() == ("", "")


# ---- reading what others wrote


def test_limits_on_what_is_read(tmp_path: Path) -> None:
    reader = write(tmp_path, [page(rows=100)])
    for name in ("group_bytes", "footer_bytes"):
        tight = ShardReader(reader._store, reader._entry, EVERY, Limits(**{name: 1000}))
        with pytest.raises(IntegrityError, match=f"--max {name}="):
            next(tight.groups())


def test_a_shard_of_another_collection(tmp_path: Path) -> None:
    reader = write(tmp_path, [page()])
    others = [
        replace(EVERY, vectors=EVERY.vectors[::-1]),
        replace(EVERY, vectors=(replace(EVERY.vectors[0], metric="l2"), *EVERY.vectors[1:])),
        replace(EVERY, id_kind="int"),
    ]
    for other in others:
        with pytest.raises(IntegrityError, match="schema"):
            next(ShardReader(reader._store, reader._entry, other).groups())
    renamed = replace(EVERY, name="other", native={"a": 1})
    assert next(ShardReader(reader._store, reader._entry, renamed).groups()).num_rows == 10


def test_columns_of_a_dump_and_files_beside_it(tmp_path: Path) -> None:
    store = LocalStore(str(tmp_path))
    writer = ShardWriter(store, 0, 0, COLLECTION)
    writer.write(batch_of(records(0, 3), COLLECTION))
    publish(store, manifest_of([writer.close()]))
    dump = open_dump(tmp_path)
    check_collection_columns(dump, ["id", "vector_dense", "_vh"])
    with pytest.raises(IntegrityError, match="no column 'vector'"):
        check_collection_columns(dump, ["vector"])
    assert foreign_files(store) == []
    for name in ("other.txt", "data/other.parquet", ".hidden"):
        (tmp_path / name).write_text("")
    assert foreign_files(store) == [".hidden", "data/other.parquet", "other.txt"]
