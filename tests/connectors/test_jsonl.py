"""JSON Lines beyond the contract: the grammar of lines, digits, damaged and changing files, and killed writers."""

from __future__ import annotations

import errno
import gzip
import io
import json
import os
import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vecport.connectors.address import Place, parse
from vecport.connectors.contract import Mark, Selection, TargetPlan
from vecport.connectors.jsonl import JsonlConnector, files, lines, survey, target, vectors
from vecport.errors import (
    AlreadyExists,
    Incomplete,
    IntegrityError,
    NotFound,
    NotRepresentable,
    OutOfResources,
    UsageError,
    VecportError,
)
from vecport.model.collection import Collection, VectorField
from vecport.testing.records import NONFINITE_FLOAT32, Record, Sparse, batch_of

CONNECTOR = JsonlConnector()
Row = dict[str, Any]


def place_of(path: Path, **options: str) -> Place:
    return replace(parse(f"jsonl:{path}"), options={k.replace("_", "-"): v for k, v in options.items()})


def written(path: Path, *texts: str | bytes) -> Path:
    path.write_bytes(b"".join(t.encode() + b"\n" if isinstance(t, str) else t for t in texts))
    return path


def read(path: Path, page_rows: int = 100, target_rows: int = 10**6, **options: str) -> tuple[Collection, list[Row]]:
    place = place_of(path, **options)
    with CONNECTOR.open_source(place, files.collection_name(place.path), Selection()) as source:
        token = source.snapshot()
        source.attach(token)
        rows = [
            row
            for part in source.partitions(target_rows, token)
            for page in source.scan(part, None, page_rows)
            for row in page.batch.to_pylist()
        ]
        return source.describe().collection, rows


def one(tmp_path: Path, line: str | bytes, **options: str) -> tuple[Collection, Row]:
    collection, (row,) = read(written(tmp_path / "rows.jsonl", line), **options)
    return collection, row


def plan_of(collection: Collection, rows: int, **changes: Any) -> TargetPlan:
    return TargetPlan(**({"collection": collection, "rows": rows, "import_id": "one"} | changes))


def write(path: Path, collection: Collection, records: list[Record], **changes: Any) -> None:
    plan = plan_of(collection, len(records), **changes)
    with CONNECTOR.open_target(place_of(path), "rows") as session:
        session.prepare(plan)
        session.attach(plan)
        session.write(batch_of(records, collection), Mark("a.parquet", 0))
        session.finish({})


# ---- lines ----


def test_a_full_line(tmp_path: Path) -> None:
    line = (
        ' { "id" : "a" , "namespace":"eu","vector" : [ 1, -2.5e0 ,3 ], "document":"x\\u00e9\\"}]",'
        '"metadata" : {"b":[1,{"c":"]}"}], "a":1.0} } '
    )
    collection, row = one(tmp_path, line)
    assert row == {
        "id": "a", "namespace": "eu", "document": 'xé"}]', "metadata": '{"a":1.0,"b":[1,{"c":"]}"}]}',
        "vector": [1.0, -2.5, 3.0],
    }  # fmt: skip
    assert collection.vectors == (VectorField("", dim=3, nullable=False),)


@pytest.mark.parametrize("alias", ["values", "embedding", "embeddings", "vectors"])
def test_other_spellings(tmp_path: Path, alias: str) -> None:
    _, row = one(tmp_path, f'{{"_id": 1, "{alias}": [1], "text": "t", "payload": {{"a": 1}}}}')
    assert row == {"id": "1", "namespace": "", "document": "t", "metadata": '{"a":1}', "vector": [1.0]}


BAD_LINES: list[tuple[str | bytes, type[VecportError], str]] = [
    ("[1]", IntegrityError, "not a JSON object"),
    ('{"id":1', IntegrityError, "not JSON"),
    ('{"id":1}}', IntegrityError, "follows the object"),
    ('{"id":1,}', IntegrityError, "a key was expected"),
    ('{"id" 1}', IntegrityError, "a key was expected"),
    ('{"id":}', IntegrityError, "not JSON"),
    ("{id:1}", IntegrityError, "a key was expected"),
    ('{"id":1 "a":2}', IntegrityError, "comma or brace"),
    ('{"id":1,"id":2}', NotRepresentable, "'id' comes twice"),
    ('{"id":1,"\\u0069d":2}', NotRepresentable, "'id' comes twice"),
    ('{"id":1,"vector":[1],"values":[1]}', UsageError, "both 'vector' and 'values'"),
    ('{"id":1,"title":"x"}', UsageError, "extra-keys=metadata"),
    ('{"vector":[1]}', UsageError, "ids=position"),
    ('{"id":null}', UsageError, "ids=position"),
    ('{"id":1.0}', NotRepresentable, "its id is 1.0"),
    ('{"id":01}', NotRepresentable, "its id is 01"),
    ('{"id":-0}', NotRepresentable, "its id is -0"),
    ('{"id":true}', NotRepresentable, "its id is true"),
    ('{"id":{"uuid":"7"}}', NotRepresentable, "its id is"),
    ('{"id":"\\ud800"}', IntegrityError, "UTF-8"),
    (b'{"id":"\xff"}\n', IntegrityError, "UTF-8"),
    ('{"id":1,"document":7}', IntegrityError, "its document"),
    ('{"id":1,"document":"a\nb"}', IntegrityError, "not JSON"),
    ('{"id":1,"namespace":7}', IntegrityError, "its namespace"),
    ('{"id":1,"metadata":[1]}', IntegrityError, "not a JSON object"),
    ('{"id":1,"metadata":{"$vp":"NaN"}}', IntegrityError, "not a JSON object"),
    ('{"id":1,"metadata":{"a":{"$vp":1}}}', IntegrityError, "tags=literal"),
    ('{"id":1,"metadata":{"a":1,"a":2}}', NotRepresentable, "'a' twice"),
    ('{"id":1,"metadata":{"a":NaN}}', NotRepresentable, "NaN"),
    ('{"id":1,"metadata":{"a":01}}', NotRepresentable, "metadata"),
    ('{"id":1,"metadata":{"a":}}', NotRepresentable, "metadata"),
    ('{"id":1,"vector":[1,null]}', IntegrityError, "list of numbers"),
    ('{"id":1,"vector":[1,"2"]}', IntegrityError, "list of numbers"),
    ('{"id":1,"vector":[true]}', IntegrityError, "list of numbers"),
    ('{"id":1,"vector":[1,NaN]}', IntegrityError, "list of numbers"),
    ('{"id":1,"vector":[1,,2]}', IntegrityError, "list of numbers"),
    ('{"id":1,"vector":[1,[2]]}', IntegrityError, "list of numbers"),
    ('{"id":1,"vector":[1e999]}', IntegrityError, "list of numbers"),
    ('{"id":1,"vector":[+1]}', IntegrityError, "list of numbers"),
    ('{"id":1,"vector":"[1]"}', IntegrityError, "vector"),
    ('{"id":1,"vector":7}', IntegrityError, "vector"),
    ('{"id":1,"vector":[]}', UsageError, "no elements"),
    ('{"id":1,"vector":[[1,2],[3]]}', IntegrityError, "elements"),
    ('{"id":1,"vector":[[1,2],3]}', IntegrityError, "list of lists"),
    ('{"id":1,"vector":{"a":{"b":[1]}}}', IntegrityError, "neither"),
    ('{"id":1,"vector":{"indices":[1,1],"values":[1,2]}}', NotRepresentable, "index twice"),
    ('{"id":1,"vector":{"indices":[1],"values":[1,2]}}', IntegrityError, "elements"),
    ('{"id":1,"vector":{"indices":[-1],"values":[1]}}', IntegrityError, "indices"),
    ('{"id":1,"vector":{"indices":[4294967296],"values":[1]}}', IntegrityError, "indices"),
    ('{"id":1,"vector":{"indices":[1.0],"values":[1]}}', IntegrityError, "indices"),
    ('{"id":1,"vector":{"indices":[1],"values":[0.1234567890123]}}', NotRepresentable, "dtype=float32"),
    ('{"id":1,"vector":{"bits":"012"}}', IntegrityError, "0 and 1"),
    ('{"id":1,"vector":{"bits":[0]}}', IntegrityError, "binary"),
]


@pytest.mark.parametrize(("line", "error", "says"), BAD_LINES, ids=[str(b) for b, _, _ in BAD_LINES])
def test_a_bad_line_is_named(tmp_path: Path, line: str | bytes, error: type[VecportError], says: str) -> None:
    path = written(tmp_path / "rows.jsonl", '{"id":0}', "", '{"id":5}', line)
    with pytest.raises(error) as caught:
        read(path)
    assert f"{path}, line 4: " in caught.value.what
    assert says in str(caught.value)
    assert "nothing was written" in caught.value.safe


def test_blank_lines_line_ends_and_the_last_line(tmp_path: Path) -> None:
    path = written(tmp_path / "rows.jsonl", b'\xef\xbb\xbf{"id":1}\r\n', "  ", b'\n\t{"id":2}  \r\n', b'{"id":3}')
    assert [r["id"] for r in read(path)[1]] == ["1", "2", "3"]


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(), JSON_VALUES, max_size=6), st.booleans(), st.booleans())
def test_an_object_is_taken_apart_as_a_parser_does(data: dict[str, Any], ascii_only: bool, spaced: bool) -> None:
    text = json.dumps(data, ensure_ascii=ascii_only, indent=1 if spaced else None, allow_nan=False)
    try:
        raw = text.encode()
    except UnicodeEncodeError:
        return
    try:
        members = lines.split_object(raw)
    except lines.BadLine:
        assert any("\ud800" <= c <= "\udfff" for k in data for c in k)
        return
    assert [(k, json.loads(v)) for k, v in members] == list(data.items())


@settings(max_examples=300)
@given(st.integers(0, 2**32), st.integers(1, 4))
def test_damaged_lines_are_refused_or_mean_the_same(seed: int, edits: int) -> None:
    line = bytearray(b'{"id":"a\\"b","vector":[0.5,1.25],"document":"t","metadata":{"k":[1,{"x":"}"}],"n":1.5}}')
    rng = random.Random(seed)
    for _ in range(edits):
        line[rng.randrange(len(line))] = rng.choice(b'{}[]",:\\0123.eE-+ tn')
    try:
        record = lines.read_record(bytes(line), 0, lines.Grammar())
        values = {n: vectors.numbers(v) for n, v in record.vectors.items()}
    except lines.BadLine:
        return
    wanted = json.loads(line)
    spelled = {lines.ALIASES.get(k, k): v for k, v in wanted.items()}
    assert record.id == str(spelled["id"])
    assert record.document == spelled.get("document")
    assert json.loads(record.metadata) == (spelled.get("metadata") or {})
    if values:
        assert values == {"": spelled["vector"]}


# ---- ids ----

UUID = "5f0c7d9e-0c4b-4ac5-a1c1-6d7a7e2f1b11"
ID_FILES = [
    (["7", "-3", str(10**30)], "int", ["7", "-3", str(10**30)]),
    (['"7"', '"007"'], "string", ["7", "007"]),
    ([f'"{UUID}"'], "uuid", [UUID]),
    ([f'{{"uuid":"{UUID}"}}'], "uuid", [UUID]),
    (["7", f'"{UUID}"'], "int|uuid", ["7", UUID]),
    (["7", '"7"', '"007"'], "tagged", ["int:7", "string:7", "string:007"]),
    (["7", f'"{UUID}"', '"x"'], "tagged", ["int:7", f"string:{UUID}", "string:x"]),
    ([f'{{"uuid":"{UUID}"}}', '"x"'], "tagged", [f"uuid:{UUID}", "string:x"]),
    ([f'"{UUID.upper()}"'], "string", [UUID.upper()]),
    (['"int:7"', "7"], "tagged", ["string:int:7", "int:7"]),
]


@pytest.mark.parametrize(("given_ids", "kind", "texts"), ID_FILES)
def test_ids_keep_their_kind(tmp_path: Path, given_ids: list[str], kind: str, texts: list[str]) -> None:
    path = written(tmp_path / "rows.jsonl", *(f'{{"id":{i}}}' for i in given_ids))
    collection, rows = read(path)
    assert (collection.id_kind, [r["id"] for r in rows]) == (kind, texts)


@pytest.mark.parametrize(("id_", "kind"), [("7", "string"), ('"7"', "int"), ('"x"', "uuid"), ('"x"', "composite")])
def test_an_id_of_another_kind_than_asked_is_refused(tmp_path: Path, id_: str, kind: str) -> None:
    with pytest.raises(VecportError, match="line 1"):
        one(tmp_path, f'{{"id":{id_}}}', id_kind=kind)


def test_ids_by_position(tmp_path: Path) -> None:
    path = written(tmp_path / "rows.jsonl", '{"document":"a"}', "", '{"document":"b"}', '{"document":"c"}')
    for target_rows in (1, 2, 10):
        collection, rows = read(path, page_rows=1, target_rows=target_rows, ids="position")
        assert [(r["id"], r["document"]) for r in rows] == [("0", "a"), ("1", "b"), ("2", "c")]
        assert collection.id_kind == "position"
    place = place_of(path, ids="position")
    assert CONNECTOR.open_source(place, "rows", Selection()).capabilities.keyless
    written(path, '{"id":7}')
    with pytest.raises(UsageError, match="has an id"):
        read(path, ids="position")


# ---- numbers ----


def test_float32_digits_come_back_bit_for_bit(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    bits = rng.integers(0, 2**32, 64 * 200, dtype=np.uint64).astype(np.uint32).view(np.float32)
    finite = np.where(np.isfinite(bits), bits, np.float32(1)).reshape(200, 64)
    finite[0, 0] = np.array([0x15AE43FD], np.uint32).view(np.float32)[0]
    field = VectorField("", dim=64)
    collection = Collection("rows", "int", (field,))
    records = [Record(str(n), {"": row}) for n, row in enumerate(finite)]
    path = tmp_path / "rows.jsonl"
    write(path, collection, records)
    found, rows = read(path)
    assert found.vectors[0].dtype == "float32"
    assert np.array([r["vector"] for r in rows], np.float32).tobytes() == finite.tobytes()
    # A reader that takes doubles and rounds them finds the same bits.
    naive = np.array([json.loads(line)["vector"] for line in path.read_text().splitlines()]).astype(np.float32)
    assert naive.tobytes() == finite.tobytes()


def test_float64_digits_come_back_bit_for_bit(tmp_path: Path) -> None:
    rows64 = np.random.default_rng(7).standard_normal((50, 8)) * 10.0 ** np.arange(-20, 20, 5)
    collection = Collection("rows", "int", (VectorField("", dtype="float64", dim=8),))
    path = tmp_path / "rows.jsonl"
    write(path, collection, [Record(str(n), {"": row}) for n, row in enumerate(rows64)])
    found, rows = read(path)
    assert found.vectors[0].dtype == "float64"
    assert np.array([r["vector"] for r in rows]).tobytes() == rows64.tobytes()


@pytest.mark.parametrize(
    ("digits", "dtype"),
    [
        ("0.1", "float32"), ("1", "float32"), ("16777216", "float32"), ("16777217", "float64"), ("0.5", "float32"),
        ("7.038531e-26", "float32"), ("7.038530691851209e-26", "float32"), ("3.4028235e38", "float32"),
        ("1e39", "float64"), ("1e-46", "float64"), ("1e-45", "float32"), ("0.12345678", "float32"),
        ("0.123456789012", "float64"), ("0.10000000149011612", "float32"), ("0.100000001", "float64"),
        ("-0.0", "float32"), ("1.1754944e-38", "float32"), ("1.17549435e-38", "float64"),
        ("12345678901234567890123", "float64"),
    ],
)  # fmt: skip
def test_float32_is_chosen_only_where_nothing_is_lost(tmp_path: Path, digits: str, dtype: str) -> None:
    collection, row = one(tmp_path, f'{{"id":1,"vector":[{digits}]}}')
    assert collection.vectors[0].dtype == dtype
    # Digits as float32 at once; doubles are what they are.
    if dtype == "float64":
        assert row["vector"] == [float(digits)]
    else:
        spelled = float(orjson.dumps(np.array(row["vector"], np.float32), option=orjson.OPT_SERIALIZE_NUMPY)[1:-1])
        assert float(digits) in (row["vector"][0], spelled)


@pytest.mark.parametrize(
    ("digits", "bits"),
    [
        ("1.000000059604644775390625", 0x3F800000),  # midway: to the even one
        ("1.00000005960464477539062500000000001", 0x3F800001),  # a hair above
        ("1.00000017881393432617187499999999999", 0x3F800001),  # a hair below the next midpoint
        ("7.038531e-26", 0x15AE43FD),
        ("-7.038531e-26", 0x95AE43FD),
        ("7.006492321624085e-46", 0x00000000),  # half of the smallest: to zero
        ("7.0064923216240854e-46", 0x00000001),
        ("3.4028235677973366e38", None),  # midway to infinity
    ],
)
def test_digits_are_rounded_to_float32_once(tmp_path: Path, digits: str, bits: int | None) -> None:
    line = f'{{"id":1,"vector":[0.5,{digits}]}}'
    if bits is None:
        with pytest.raises(NotRepresentable, match="no float32"):
            one(tmp_path, line, dtype="float32")
        return
    _, row = one(tmp_path, line, dtype="float32")
    assert hex(np.float32(row["vector"][1]).view(np.uint32)) == hex(bits)


@pytest.mark.parametrize(
    ("dtype", "good", "bad"),
    [("float16", "0.5", "0.1"), ("bfloat16", "1.5", "1.001"), ("int8", "-128", "128"), ("uint8", "255.0", "-1"),
     ("int8", "1", "1.5")],
)  # fmt: skip
def test_a_value_that_its_dtype_cannot_hold_is_refused(tmp_path: Path, dtype: str, good: str, bad: str) -> None:
    collection, row = one(tmp_path, f'{{"id":1,"vector":[{good}]}}', dtype=dtype)
    assert (collection.vectors[0].dtype, row["vector"]) == (dtype, [float(good)])
    with pytest.raises(NotRepresentable, match="line 1: element 0"):
        one(tmp_path, f'{{"id":1,"vector":[{bad}]}}', dtype=dtype)


def test_nan_keeps_its_bits(tmp_path: Path) -> None:
    collection = Collection("rows", "int", (VectorField("", dim=5),))
    path = tmp_path / "rows.jsonl"
    write(path, collection, [Record("1", {"": NONFINITE_FLOAT32})])
    text = path.read_text()
    assert '{"$vp":"NaN"}' in text
    assert '{"$vp":{"bytes":"' in text
    with CONNECTOR.open_source(place_of(path), "rows", Selection()) as source:
        source.attach(source.snapshot())
        batch = source.fetch([("", "1")])
    assert batch.column("vector").flatten().to_numpy().tobytes() == NONFINITE_FLOAT32.tobytes()


METADATA = [
    ('{"a":18446744073709551616}', '{"a":18446744073709551616}'),
    ('{"a":1e400}', '{"a":{"$vp":{"decimal":"1e+400"}}}'),
    ('{"a":0.1000000000000000055511151231257827}', '{"a":{"$vp":{"decimal":"0.1000000000000000055511151231257827"}}}'),
    ('{"a":1E2,"b":-0.0,"c":-0,"d":1.50}', '{"a":100.0,"b":-0.0,"c":0,"d":1.5}'),
    ('{"a":"\\ud800"}', '{"a":{"$vp":{"wtf8":"7aCA"}}}'),
    ('{"\\u0061":1}', '{"a":1}'),
    ('{"a":{"$vp":"NaN"}}', '{"a":{"$vp":"NaN"}}'),
    ('{"a":{"\\u0024vp":"NaN"}}', '{"a":{"$vp":"NaN"}}'),
    ('{"$$vp":1}', '{"$$vp":1}'),
    (
        '{"a":{"$vp":{"bytes":"AA=="}},"b":18446744073709551616}',
        '{"a":{"$vp":{"bytes":"AA=="}},"b":18446744073709551616}',
    ),
    ("null", "{}"),
]


@pytest.mark.parametrize(("text", "canonical"), METADATA)
def test_metadata_is_read_exactly(tmp_path: Path, text: str, canonical: str) -> None:
    assert one(tmp_path, f'{{"id":1,"metadata":{text}}}')[1]["metadata"] == canonical


def test_tags_may_be_ordinary_keys(tmp_path: Path) -> None:
    line = '{"id":1,"metadata":{"a":{"$vp":"NaN"}}}'
    assert one(tmp_path, line, tags="literal")[1]["metadata"] == '{"a":{"$$vp":"NaN"}}'


def test_other_members_may_be_metadata(tmp_path: Path) -> None:
    line = '{"id":1,"title":"x","n":18446744073709551616,"metadata":{"a":1}}'
    row = one(tmp_path, line, extra_keys="metadata")[1]
    assert row["metadata"] == '{"a":1,"n":18446744073709551616,"title":"x"}'
    with pytest.raises(NotRepresentable, match="is a member and in the metadata"):
        one(tmp_path, '{"id":1,"title":"x","metadata":{"title":"y"}}', extra_keys="metadata")


# ---- vectors ----


def test_all_kinds_side_by_side(tmp_path: Path) -> None:
    line = (
        '{"id":1,"vector":{"d":[1,2],"s":{"indices":[9,3],"values":[0,1.5]},"m":[[1,2],[3,4]],'
        '"b":{"bits":"0110000001"},"n":null}}'
    )
    path = written(tmp_path / "rows.jsonl", line, '{"id":2,"vector":{"m":[],"d":null}}', '{"id":3,"vector":null}')
    collection, rows = read(path, page_rows=2)
    assert [(v.name, v.kind, v.dim) for v in collection.vectors] == [
        ("d", "dense", 2), ("s", "sparse", None), ("m", "multi", 2), ("b", "binary", 10),
    ]  # fmt: skip
    assert rows[0]["vector_s"] == {"indices": [3, 9], "values": [1.5, 0.0]}
    assert rows[0]["vector_b"] == bytes([0b01100000, 0b01000000])
    assert rows[1]["vector_m"] == []
    assert rows[1]["vector_d"] is rows[2]["vector_m"] is None


def test_a_vector_may_appear_late_and_page_size_does_not_matter(tmp_path: Path) -> None:
    path = written(tmp_path / "rows.jsonl", *(f'{{"id":{n}}}' for n in range(1200)), '{"id":1200,"vector":[1,2]}')
    for page_rows in (7, 5000):
        collection, rows = read(path, page_rows=page_rows)
        assert collection.vectors[0].nullable
        assert [r["vector"] for r in rows] == [None] * 1200 + [[1.0, 2.0]]


@pytest.mark.parametrize(
    ("second", "says"),
    [("[1]", "1 elements, and 2 in line 1"), ("[]", "0 elements"), ("[[1,2]]", "multi, and dense in line 1"),
     ('{"bits":"01"}', "binary, and dense"), ('{"indices":[1],"values":[1]}', "sparse, and dense")],
)  # fmt: skip
def test_vectors_of_a_file_are_alike(tmp_path: Path, second: str, says: str) -> None:
    path = written(tmp_path / "rows.jsonl", '{"id":1,"vector":[1,2]}', f'{{"id":2,"vector":{second}}}')
    with pytest.raises(IntegrityError, match="line 2") as caught:
        read(path)
    assert says in caught.value.what


def test_options_say_what_a_file_does_not(tmp_path: Path) -> None:
    path = written(tmp_path / "rows.jsonl", '{"id":"1","vector":{"a":[1],"b":[1,2]}}')
    options = {"metric": '{"a":"cosine"}', "dtype": '{"a":"int8"}'}
    a, b = read(path, **options)[0].vectors
    assert (a.metric, a.dtype, b.metric, b.dtype) == ("cosine", "int8", "unknown", "float32")
    empty, _ = read(written(tmp_path / "empty.jsonl"), dim="384", metric="dot")
    assert empty.vectors == (VectorField("", dim=384, metric="dot", nullable=False),)
    for wrong in ({"metric": "cosinus"}, {"dim": "0"}, {"dim": "x"}, {"dtype": "{"}, {"ids": "line"}, {"tags": "no"}):
        with pytest.raises(UsageError, match=next(iter(wrong))):
            read(path, **wrong)
    with pytest.raises(IntegrityError, match="2 elements, and 3"):
        read(written(path, '{"id":1,"vector":[1,2]}'), dim="3")


@pytest.mark.parametrize("name", ["indices", "values", "bits"])
def test_names_that_mark_a_form_are_refused(tmp_path: Path, name: str) -> None:
    collection = Collection("rows", "int", (VectorField(name, dim=1), VectorField("x", dim=1)))
    with pytest.raises(NotRepresentable, match=name):
        write(tmp_path / "rows.jsonl", collection, [])
    assert list(tmp_path.iterdir()) == []


def test_odd_vector_names_come_back(tmp_path: Path) -> None:
    names = ["", "a b", '"', "é", "vector", "A", "a"]
    collection = Collection("rows", "int", tuple(VectorField(n, dim=1) for n in names))
    record = Record("1", {n: np.array([i], np.float32) for i, n in enumerate(names)})
    write(tmp_path / "rows.jsonl", collection, [record])
    found, (row,) = read(tmp_path / "rows.jsonl")
    assert [v.name for v in found.vectors] == names
    assert [row[c] for c in found.columns().values()] == [[float(i)] for i in range(len(names))]


# ---- files ----


def test_partitions_cut_at_every_record_and_at_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "rows.jsonl", *(f'{{"id":{n},"document":"{"x" * (n % 50)}"}}\n' for n in range(500)))
    monkeypatch.setattr(survey, "_STRIDE", 200)
    monkeypatch.setattr(survey, "_MAX_CHECKPOINTS", 16)
    for target_rows in (1, 7, 100, 499, 500, 501):
        assert [int(r["id"]) for r in read(path, 3, target_rows)[1]] == list(range(500))


CHANGES: dict[str, Callable[[Path], Any]] = {
    "appended": lambda p: p.open("a").write('{"id":99}\n'),
    "truncated": lambda p: os.truncate(p, 10),
    "replaced": lambda p: os.replace(written(p.with_suffix(".new"), p.read_bytes()), p),
    "rewritten": lambda p: written(p, p.read_bytes()),
    "removed": lambda p: p.unlink(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_changes_is_incomplete(tmp_path: Path, change: str) -> None:
    path = written(tmp_path / "rows.jsonl", *(f'{{"id":{n}}}' for n in range(20)))
    os.utime(path, ns=(1, 1))
    with CONNECTOR.open_source(place_of(path), "rows", Selection()) as source:
        token = source.snapshot()
        source.attach(token)
        (part,) = source.partitions(100, token)
        scan = source.scan(part, None, 5)
        next(scan)
        CHANGES[change](path)
        with pytest.raises(Incomplete, match="changed while it was read"):
            list(scan)
        with pytest.raises(Incomplete):
            source.count()
        assert not source.alive(token)


@pytest.mark.parametrize("suffix", [".jsonl.gz", ".ndjson.zst"])
def test_a_truncated_archive_is_an_error(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"rows{suffix}"
    write(path, Collection("rows", "int", (VectorField("", dim=4),)), [
        Record(str(n), {"": np.arange(4, dtype=np.float32) + n}) for n in range(100)])  # fmt: skip
    assert len(read(path)[1]) == 100
    os.truncate(path, path.stat().st_size - 9)
    with pytest.raises(IntegrityError, match="cannot be unpacked"):
        read(path)


def test_a_foreign_archive_of_several_members_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"id":1}\n{"id"') + gzip.compress(b":2}\n"))
    assert [r["id"] for r in read(path)[1]] == ["1", "2"]


def test_a_line_has_a_length_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_LINE_BYTES", 100)
    path = written(tmp_path / "rows.jsonl", '{"id":1}', '{"id":"' + "x" * 100 + '"}')
    with pytest.raises(IntegrityError, match="line 2: it is longer than 100 bytes"):
        read(path)


def test_places_are_named(tmp_path: Path) -> None:
    written(tmp_path / "one.jsonl", '{"id":1}')
    written(tmp_path / "two.ndjson.gz", b"")
    assert CONNECTOR.recognises(str(tmp_path / "one.jsonl"))
    assert CONNECTOR.recognises(str(tmp_path / "two.ndjson.gz"))
    assert not CONNECTOR.recognises(str(tmp_path / "three.jsonl"))
    assert not CONNECTOR.recognises(str(tmp_path))
    assert [s.name for s in CONNECTOR.collections(place_of(tmp_path / "one.jsonl"))] == ["one"]
    with pytest.raises(NotFound, match=r"one\.jsonl, two\.ndjson\.gz"):
        CONNECTOR.collections(place_of(tmp_path / "three.jsonl"))
    with pytest.raises(NotFound, match="collections there: 'one'"):
        CONNECTOR.open_source(place_of(tmp_path / "one.jsonl"), "two", Selection())
    with pytest.raises(UsageError, match="is a folder"):
        read(tmp_path)
    with pytest.raises(NotFound, match="no folder"):
        write(tmp_path / "no" / "rows.jsonl", Collection("rows"), [])


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[bytes], None]]:
    def give(data: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))

    monkeypatch.setattr(files, "_stdin_copy", {})
    yield give
    for path in files._stdin_copy.values():
        Path(path).unlink(missing_ok=True)


def test_stdin_is_read_once_and_serves_every_session(stdin: Callable[[bytes], None]) -> None:
    stdin(b'{"id":1}\n{"id":2}\n')
    place = Place(scheme="jsonl", text="-", path="-")
    assert [s.name for s in CONNECTOR.collections(place)] == ["stdin"]
    with CONNECTOR.open_source(place, "stdin", Selection()) as source:
        assert source.describe().count == 2
    with CONNECTOR.open_source(place, "stdin", Selection()) as source:
        token = source.snapshot()
        source.attach(token)
        assert sum(b.num_rows for b in source.keys()) == 2


def test_a_bad_line_of_stdin_is_named(stdin: Callable[[bytes], None]) -> None:
    stdin(b'{"id":1}\n{"id":\n')
    with (
        pytest.raises(IntegrityError, match="stdin, line 2"),
        CONNECTOR.open_source(Place("jsonl", "-", path="-"), "stdin", Selection()) as source,
    ):
        source.describe()


def test_stdout_gets_the_lines(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    collection = Collection("rows", "int", (VectorField("", dim=2),))
    batch = batch_of([Record("7", {"": np.array([0.1, 2], np.float32)}, {"a": 1})], collection)
    plan = plan_of(collection, 1)
    with CONNECTOR.open_target(Place("jsonl", "-", path="-"), "x") as session:
        session.prepare(plan)
        session.attach(plan)
        session.write(batch, Mark("a", 0))
        session.write(batch, Mark("a", 0))
        session.finish({})
        assert session.count() == 1
    assert capfdbinary.readouterr().out == b'{"id":7,"vector":[0.1,2.0],"metadata":{"a":1}}\n'


# ---- writing ----

SIMPLE = Collection("rows", "int", (VectorField("", dim=2),))


def groups(n: int) -> list[Any]:
    return [
        batch_of([Record(str(2 * g + i), {"": np.array([g, i], np.float32)}) for i in range(2)], SIMPLE)
        for g in range(n)
    ]


def resume(path: Path, batches: list[Any], **changes: Any) -> int:
    """Go on with an import as a coordinator does; returns how many row groups it wrote."""
    plan = plan_of(SIMPLE, 2 * len(batches), resume=True, **changes)
    with CONNECTOR.open_target(place_of(path), "rows") as session:
        session.prepare(plan)
        session.attach(plan)
        done = session.acknowledged() or set()
        for n, batch in enumerate(batches):
            if Mark("a", n) not in done:
                session.write(batch, Mark("a", n))
        session.finish({})
    return len(batches) - len(done)


def test_equal_records_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("one.jsonl.gz", "two.jsonl.gz"):
        resume(tmp_path / name, groups(3))
    assert (tmp_path / "one.jsonl.gz").read_bytes() == (tmp_path / "two.jsonl.gz").read_bytes()


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.mark.parametrize("if_exists", ["create", "replace"])
@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz"])
def test_a_writer_may_die_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, if_exists: str, suffix: str
) -> None:
    batches = groups(3)
    resume(tmp_path / f"whole{suffix}", batches)
    whole = (tmp_path / f"whole{suffix}").read_bytes()
    deaths = 0
    for n in range(1, 1000):
        path = tmp_path / f"rows{n}{suffix}"
        if if_exists == "replace":
            path.write_bytes(b"old")
        with monkeypatch.context() as patch:
            _die_at(patch, n)
            try:
                resume(path, batches, if_exists=if_exists)
            except Killed:
                deaths += 1
            else:
                break
        assert not path.exists() or path.read_bytes() in (whole, b"old"), "half a file can be seen"
        for part in tmp_path.glob(f".rows{n}.*"):
            # What was not waited for may be lost or torn.
            with part.open("ab") as file:
                file.write(b'{"torn')
        resume(path, batches, if_exists=if_exists)
        assert path.read_bytes() == whole
        assert list(tmp_path.glob(f".rows{n}.*")) == []
    assert deaths >= 15
    assert path.read_bytes() == whole


def _die_at(patch: pytest.MonkeyPatch, n: int) -> None:
    """Make the ``n``-th step that touches the disk the last one; it happens or it does not."""
    left = [n]

    def deadly(call: Callable[..., Any]) -> Callable[..., Any]:
        def step(*args: Any, **kwargs: Any) -> Any:
            left[0] -= 1
            if left[0] == 0 and n % 2:
                raise Killed
            result = call(*args, **kwargs)
            if left[0] == 0:
                raise Killed
            return result

        return step

    for name in ("fsync", "replace", "link"):
        patch.setattr(os, name, deadly(getattr(os, name)))
    patch.setattr(Path, "unlink", deadly(Path.unlink))


def test_acknowledged_row_groups_are_not_written_again(tmp_path: Path) -> None:
    path, batches = tmp_path / "rows.jsonl", groups(3)
    plan = plan_of(SIMPLE, 6)
    with CONNECTOR.open_target(place_of(path), "rows") as session:
        session.prepare(plan)
        session.attach(plan)
        session.write(batches[0], Mark("a", 0))
        session.write(batches[2], Mark("a", 2))
        assert session.count() == 4
    assert not path.exists()
    assert resume(path, batches) == 1
    assert sorted(r["id"] for r in read(path)[1]) == [str(n) for n in range(6)]


def test_a_part_file_that_was_cut_is_started_again(tmp_path: Path) -> None:
    path, batches = tmp_path / "rows.jsonl", groups(3)
    plan = plan_of(SIMPLE, 6)
    with CONNECTOR.open_target(place_of(path), "rows") as session:
        session.prepare(plan)
        session.attach(plan)
        session.write(batches[0], Mark("a", 0))
    (part,) = tmp_path.glob("*.part")
    os.truncate(part, 5)
    assert resume(path, batches) == 3
    assert len(read(path)[1]) == 6


def test_another_import_or_schema_does_not_go_on(tmp_path: Path) -> None:
    path, batches = tmp_path / "rows.jsonl", groups(2)
    plan = plan_of(SIMPLE, 4)
    with CONNECTOR.open_target(place_of(path), "rows") as session:
        session.prepare(plan)
        session.attach(plan)
        session.write(batches[0], Mark("a", 0))
    other = replace(SIMPLE, id_kind="string")
    for again in (replace(plan, import_id="two", resume=True), replace(plan, collection=other, resume=True)):
        with CONNECTOR.open_target(place_of(path), "rows") as session:
            session.prepare(again)
            assert session.acknowledged() == set()


def test_a_file_that_came_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    path, (batch,) = tmp_path / "rows.jsonl", groups(1)
    plan = plan_of(SIMPLE, 2)
    with CONNECTOR.open_target(place_of(path), "rows") as session:
        session.prepare(plan)
        session.attach(plan)
        session.write(batch, Mark("a", 0))
        path.write_text("mine")
        with pytest.raises(AlreadyExists, match="meanwhile"):
            session.finish({})
    assert path.read_text() == "mine"
    assert resume(path, [batch], if_exists="replace") == 0
    assert len(read(path)[1]) == 2


def test_a_full_disk_keeps_what_was_acknowledged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, batches = tmp_path / "rows.jsonl", groups(2)
    plan = plan_of(SIMPLE, 4)
    with CONNECTOR.open_target(place_of(path), "rows") as session:
        session.prepare(plan)
        session.attach(plan)
        session.write(batches[0], Mark("a", 0))
        with monkeypatch.context() as patch:
            patch.setattr(target.os, "fsync", _no_space)
            with pytest.raises(OutOfResources, match="No space left"):
                session.write(batches[1], Mark("a", 1))
        assert session.acknowledged() == {Mark("a", 0)}
        session.write(batches[1], Mark("a", 1))
        session.finish({})
    assert [r["id"] for r in read(path)[1]] == ["0", "1", "2", "3"]


def _no_space(handle: int) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_lines_are_what_other_tools_expect(tmp_path: Path) -> None:
    vectors_ = (VectorField("d", dim=2), VectorField("s", "sparse"), VectorField("b", "binary", "bit", 4))
    collection = Collection("rows", "tagged", vectors_)
    full = {"d": np.array([1, 0.1], np.float32), "s": Sparse((1, 5), (0.5, 1)), "b": np.array([1, 0, 0, 1], np.uint8)}
    records = [
        Record("int:7", full, {"b": [1, None], "a": "é"}, "text", "eu"),
        Record("string:7"),
        Record(f"uuid:{UUID}", {"d": None}, {}, ""),
    ]
    path = tmp_path / "rows.jsonl"
    write(path, collection, records)
    assert path.read_text() == (
        '{"id":7,"namespace":"eu","vector":{"d":[1.0,0.1],"s":{"indices":[1,5],"values":[0.5,1.0]},'
        '"b":{"bits":"1001"}},"document":"text","metadata":{"a":"é","b":[1,null]}}\n'
        '{"id":"7"}\n'
        f'{{"id":{{"uuid":"{UUID}"}},"document":""}}\n'
    )
