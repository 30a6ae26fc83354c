"""Lines of JSON Lines: the grammar, what a bad one is told, and metadata."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vecport.connectors.jsonl import lines, vectors
from vecport.errors import IntegrityError, NotRepresentable, UsageError, VecportError
from vecport.model.collection import VectorField

from .support import one, read, written


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
