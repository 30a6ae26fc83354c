"""The manifest's parser: what is malformed is refused by name, and nothing that a stranger writes is a traceback."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.dump.small import COLLECTION, manifest_of
from vecport.dump.dump import _readme
from vecport.dump.layout import cut_for, parquet_settings
from vecport.dump.manifest import Identity, Manifest, ShardEntry, parse_manifest, strict_json
from vecport.dump.shard import shard_schema
from vecport.errors import IntegrityError, NotRepresentable, VecportError
from vecport.limits import Limits
from vecport.model.collection import Collection, Field, VectorField
from vecport.model.profile import Profile

WHERE = "memory://a/dump"


def entry(partition: int = 0, rows: int = 2, record_sum: int = 5) -> ShardEntry:
    return ShardEntry(
        path=f"data/part-{partition:05d}-00000.parquet", rows=rows, size_bytes=900, sha256="a" * 64, footer_bytes=300,
        footer_sha256="b" * 64, groups=(rows,) if rows else (), id_min="a" if rows else None,
        id_max="b" if rows else None, record_sum=record_sum, profile=Profile(rows=rows),
    )  # fmt: skip


GOOD = manifest_of([entry(0), entry(1, 3, 7)])
RAW = GOOD.to_bytes()
BODY = RAW[: RAW.rindex(b',\n "manifest_sha256"')]


def sealed(body: bytes) -> bytes:
    """What stands before the checksum, and the checksum."""
    return body + b',\n "manifest_sha256": "' + hashlib.sha256(body).hexdigest().encode() + b'"\n}\n'


def spelled(data: Any) -> bytes:
    text = json.dumps(data, indent=1, ensure_ascii=False)
    return sealed(text.removesuffix("\n}").encode("utf-8", "surrogatepass"))


def plain() -> dict[str, Any]:
    data: dict[str, Any] = json.loads(RAW)
    del data["manifest_sha256"]
    return data


def with_value(*steps: Any) -> bytes:
    """The good manifest with the last of ``steps`` where the others lead."""
    *path, last, value = steps
    data = plain()
    place: Any = data
    for step in path:
        place = place[step]
    place[last] = value
    return spelled(data)


def without(*path: Any) -> bytes:
    data = plain()
    place: Any = data
    for step in path[:-1]:
        place = place[step]
    del place[path[-1]]
    return spelled(data)


# ---- what is good


def test_what_is_written_reads_back() -> None:
    found = parse_manifest(RAW, WHERE)
    assert found == GOOD
    assert found.sha256 == hashlib.sha256(BODY).hexdigest()
    assert found.to_bytes() == RAW
    assert found.identity == Identity(COLLECTION.digest(), 5, 12)
    assert (found.rows, found.size_bytes, found.total_profile().rows) == (5, 1800, 5)


def test_everything_in_it_reads_back() -> None:
    collection = Collection(
        'name "é\U0001f600\u2028\0', "composite",
        (VectorField("v", dim=3, metric="l2", model="m", fidelity="quantised", nullable=False),),
        (Field("f", "numeric(3,1)", "text", False),), (Field("k", "int8"),), {"deep": [{"a": None}]},
    )  # fmt: skip
    odd = replace(entry(7), id_min='["a"]', id_max="\ud7ff\U0010ffff", record_sum=2**128 - 1)
    whole = manifest_of(
        [odd, entry(12, 0, 0)], collection=collection, complete=False, encodings="plain",
        selection={"where": '{"a": 1}', "limit": 3, "namespaces": ["\t"]},
        source={"consistency": {"kind": "live-scan", "count_before": 3}},
    )  # fmt: skip
    assert parse_manifest(whole.to_bytes(), WHERE) == whole
    assert whole.identity.record_sum == 2**128 - 1


def test_the_sum_of_a_dump_wraps() -> None:
    two = manifest_of([entry(0, 1, 2**128 - 1), entry(1, 1, 2)])
    assert parse_manifest(two.to_bytes(), WHERE).identity.record_sum == 1


def test_an_unknown_field_is_ignored_and_an_unknown_requirement_is_not() -> None:
    assert parse_manifest(with_value("later", {"a": 1}), WHERE) == GOOD
    assert parse_manifest(with_value("shards", 0, "profile", "vectors", "v", {"later": "x", "null": 1}), WHERE)
    assert parse_manifest(with_value("format_version", "1.99"), WHERE) == GOOD
    with pytest.raises(NotRepresentable, match="requires delta"):
        parse_manifest(with_value("requires", ["delta"]), WHERE)


# ---- what is not

SHARD, VECTOR = ("shards", 0), ("collection", "vectors", 0)
MALFORMED: list[tuple[str, Callable[[], bytes], type[VecportError]]] = [
    ("nothing", lambda: b"", IntegrityError),
    ("white space", lambda: b" \n", IntegrityError),
    ("a checksum of nothing", lambda: sealed(b""), IntegrityError),
    ("the checksum alone", lambda: sealed(b"{"), IntegrityError),
    ("other bytes before the checksum", lambda: b"x" + RAW, IntegrityError),
    ("two checksums", lambda: sealed(RAW.removesuffix(b"\n}\n")), IntegrityError),
    ("a checksum in the middle", lambda: sealed(BODY).replace(b'"\n}\n', b'",\n "a": 1\n}\n'), IntegrityError),
    ("no checksum", lambda: BODY + b"\n}\n", IntegrityError),
    ("a windows file", lambda: RAW.replace(b"\n", b"\r\n"), IntegrityError),
    ("a null byte", lambda: sealed(BODY + b"\0"), IntegrityError),
    ("half a surrogate", lambda: with_value("dump_id", "\ud800"), IntegrityError),
    ("a key twice", lambda: sealed(BODY + b',\n "complete": true'), IntegrityError),
    ("a key twice, escaped", lambda: sealed(BODY + b',\n "compl\\u0065te": true'), IntegrityError),
    ("a float for a limit", lambda: sealed(BODY + b',\n "a": 1e400'), IntegrityError),
    ("NaN", lambda: sealed(BODY + b',\n "a": [NaN]'), IntegrityError),
    ("a long integer", lambda: sealed(BODY + b',\n "a": ' + b"9" * 5000), IntegrityError),
    ("deep objects", lambda: sealed(BODY + b',\n "a": ' + b'{"a":' * 500 + b"1" + b"}" * 500), IntegrityError),
    ("far too deep", lambda: sealed(BODY + b',\n "a": ' + b"[" * 200_000 + b"]" * 200_000), IntegrityError),
    ("another format", lambda: with_value("format", "parquet"), IntegrityError),
    ("version 0", lambda: with_value("format_version", "0.9"), NotRepresentable),
    ("version 2", lambda: with_value("format_version", "2.0"), NotRepresentable),
    ("version 10", lambda: with_value("format_version", "10.0"), NotRepresentable),
    ("version 1", lambda: with_value("format_version", "1"), IntegrityError),
    ("version 1.0.0", lambda: with_value("format_version", "1.0.0"), IntegrityError),
    ("version 01.0", lambda: with_value("format_version", "01.0"), IntegrityError),
    ("a version of other digits", lambda: with_value("format_version", "\u0661.0"), IntegrityError),
    ("a version with more", lambda: with_value("format_version", "1.0\n"), IntegrityError),
    ("requires a number", lambda: with_value("requires", 5), IntegrityError),
    ("requires null", lambda: with_value("requires", None), IntegrityError),
    ("requires an object", lambda: with_value("requires", {"delta": 1}), IntegrityError),
    ("requires lists", lambda: with_value("requires", [["delta"]]), IntegrityError),
    *[(f"no {name}", lambda name=name: without(name), IntegrityError) for name in sorted(plain())],  # type: ignore[misc]
    *[(f"{name} is null", lambda name=name: with_value(name, None), IntegrityError) for name in sorted(plain())],  # type: ignore[misc]
    *[(f"a shard without {name}", lambda name=name: without(*SHARD, name), IntegrityError)  # type: ignore[misc]
      for name in sorted(plain()["shards"][0])],
    *[(f"a shard with a number for {name}", lambda name=name: with_value(*SHARD, name, -1), IntegrityError)  # type: ignore[misc]
      for name in sorted(plain()["shards"][0])],
    ("shards as an object", lambda: with_value("shards", {}), IntegrityError),
    ("a shard that is a text", lambda: with_value(*SHARD, "data/part-00000-00000.parquet"), IntegrityError),
    ("shards in reverse", lambda: with_value("shards", plain()["shards"][::-1]), IntegrityError),
    ("rows as true", lambda: with_value(*SHARD, "rows", True), IntegrityError),
    ("rows as text", lambda: with_value(*SHARD, "rows", "2"), IntegrityError),
    ("groups that do not add up", lambda: with_value(*SHARD, "groups", [1]), IntegrityError),
    ("groups that add up by a negative one", lambda: with_value(*SHARD, "groups", [3, -1]), IntegrityError),
    ("a sum of 31 digits", lambda: with_value(*SHARD, "record_sum", "0" * 31), IntegrityError),
    ("a sum in capitals", lambda: with_value(*SHARD, "record_sum", "A" * 32), IntegrityError),
    ("a sum with a newline", lambda: with_value(*SHARD, "record_sum", "0" * 32 + "\n"), IntegrityError),
    ("a profile of texts", lambda: with_value(*SHARD, "profile", "ids", {"int": "1"}), IntegrityError),
    ("a profile of lists", lambda: with_value(*SHARD, "profile", "metadata", []), IntegrityError),
    ("a profile of negative counts", lambda: with_value(*SHARD, "profile", "namespaces", {"": -1}), IntegrityError),
    ("a collection of nothing", lambda: with_value("collection", {}), IntegrityError),
    ("a collection that is a list", lambda: with_value("collection", []), IntegrityError),
    ("vectors as an object", lambda: with_value("collection", "vectors", {}), IntegrityError),
    ("a vector that is a text", lambda: with_value(*VECTOR, "dense"), IntegrityError),
    ("a vector twice", lambda: with_value("collection", "vectors", [plain()["collection"]["vectors"][0]] * 2),
     NotRepresentable),
    ("a field twice", lambda: with_value("collection", "fields", [{"name": "a", "type": "t"}] * 2), NotRepresentable),
    ("a field of an unknown encoding", lambda: with_value("collection", "fields",
     [{"name": "a", "type": "t", "encoding": "xml"}]), NotRepresentable),
    ("a dim of -1", lambda: with_value(*VECTOR, "dim", -1), IntegrityError),
    ("a dim of 1.5", lambda: with_value(*VECTOR, "dim", 1.5), IntegrityError),
    ("a dim of true", lambda: with_value(*VECTOR, "dim", True), IntegrityError),
    ("a dim beyond the limit", lambda: with_value(*VECTOR, "dim", 10**9), IntegrityError),
    ("a dim beyond every machine", lambda: with_value(*VECTOR, "dim", 10**400), IntegrityError),
    ("no dim for a dense vector", lambda: with_value(*VECTOR, "dim", None), NotRepresentable),
    ("bits in a dense vector", lambda: with_value(*VECTOR, "dtype", "bit"), NotRepresentable),
    ("a kind that is a list", lambda: with_value(*VECTOR, "kind", ["dense"]), NotRepresentable),
    ("a name that is a number", lambda: with_value(*VECTOR, "name", 7), IntegrityError),
    ("nullable as text", lambda: with_value(*VECTOR, "nullable", "false"), IntegrityError),
    ("a bound below zero", lambda: with_value(*VECTOR, "bound", {"relative": -1}), IntegrityError),
    ("a column out of the schema", lambda: with_value(*VECTOR, "column", "id"), IntegrityError),
    ("a name beyond the limit", lambda: with_value("collection", "name", "x" * 2000), IntegrityError),
    ("300 vectors", lambda: with_value("collection", "vectors", [
        plain()["collection"]["vectors"][0] | {"name": str(i)} for i in range(300)]), IntegrityError),
    ("a source without consistency", lambda: with_value("source", {}), IntegrityError),
    ("an unknown consistency", lambda: with_value("source", "consistency", "kind", ["snapshot"]), IntegrityError),
    ("unknown encodings", lambda: with_value("encodings", "fast"), IntegrityError),
    ("complete as 1", lambda: with_value("complete", 1), IntegrityError),
    ("another identity", lambda: with_value("identity", "text", "vp1"), IntegrityError),
    ("an identity without a digest", lambda: without("identity", "schema_digest"), IntegrityError),
    ("other totals", lambda: with_value("totals", "bytes", 1), IntegrityError),
]  # fmt: skip


@pytest.mark.parametrize(("make", "error"), [c[1:] for c in MALFORMED], ids=[c[0] for c in MALFORMED])
def test_a_malformed_manifest_is_refused(make: Callable[[], bytes], error: type[VecportError]) -> None:
    with pytest.raises(error) as caught:
        parse_manifest(make(), WHERE)
    assert type(caught.value) is error
    assert WHERE in str(caught.value)
    assert caught.value.next
    assert len(str(caught.value)) < 1500, "a message shows a part of what is wrong, not all of it"


def test_how_many_malformed_manifests_there_are() -> None:
    assert len({name for name, _, _ in MALFORMED}) == len(MALFORMED)
    print(f"\nmalformed manifests: {len(MALFORMED)}")


@pytest.mark.parametrize(
    "bound", ["manifest_bytes", "json_depth", "shards", "rows", "rows_per_shard", "dim", "vectors"]
)
def test_every_limit_is_a_flag(bound: str) -> None:
    with pytest.raises(IntegrityError, match=f"--max {bound}=") as caught:
        parse_manifest(RAW, WHERE, Limits(**{bound: 1}))
    value = int(caught.value.next.rpartition("=")[2])
    parse_manifest(RAW, WHERE, Limits(**{bound: value}))


@pytest.mark.parametrize(
    "raw", [b"", b"[]", b"1", b"{} ", b'{"a":1,"a":1}', b"\xff", b'{"a":NaN}', b'{"a":-1e999}', b"{"]
)
def test_strict_json(raw: bytes) -> None:
    if raw == b"{} ":
        assert strict_json(raw, "x") == {}
        return
    with pytest.raises(IntegrityError):
        strict_json(raw, "x")


# ---- mutations

odd_values = ["default", "snapshot", "dense", "1.0", "data/part-00000-00000.parquet", "a" * 64, 0, -1, 1, None, True]
scalars = st.one_of(
    st.sampled_from(odd_values), st.integers(-(2**70), 2**70), st.floats(allow_nan=False), st.text(max_size=8)
)
anything = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=6), inner, max_size=3)),
    max_leaves=6,
)


def places(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    return [p for key, value in items for p in (*places(value, (*path, key)), (*path, key))]


PLACES = places(plain())


@settings(deadline=None, max_examples=250, suppress_health_check=list(HealthCheck))
@given(
    st.lists(
        st.tuples(st.sampled_from(PLACES), st.sampled_from(["set", "drop", "copy"]), anything), min_size=1, max_size=3
    )
)
@example([(("shards", 0, "profile", "metadata"), "set", {"k": {"string": {"count": 1, "min": 10**400}}})])
@example([(("collection", "native"), "set", {"a": 1e308})])
def test_mutations_are_refused_or_read(changes: list[tuple[tuple[Any, ...], str, Any]]) -> None:
    data = plain()
    for path, how, value in changes:
        place: Any = data
        try:
            for step in path[:-1]:
                place = place[step]
            if how == "drop":
                del place[path[-1]]
            else:
                place[path[-1]] = value if how == "set" else data[path[0]]
        except (KeyError, IndexError, TypeError):
            continue
    try:
        raw = spelled(data)
    except (ValueError, RecursionError):
        return
    use(raw)


@settings(deadline=None, max_examples=250, suppress_health_check=list(HealthCheck))
@given(st.integers(0, len(BODY) - 1), st.binary(max_size=4), st.integers(0, 6))
def test_changed_bytes_are_refused_or_read(start: int, patch: bytes, gone: int) -> None:
    use(sealed(BODY[:start] + patch + BODY[start + gone :]))


@settings(deadline=None, max_examples=200, suppress_health_check=list(HealthCheck))
@given(st.binary(max_size=200))
def test_any_bytes_are_refused(raw: bytes) -> None:
    for made in (raw, sealed(raw), sealed(b'{"format": "vecport"' + raw)):
        with pytest.raises(VecportError):
            parse_manifest(made, WHERE)


def use(raw: bytes) -> None:
    """Parse, and do with the result what every command does before it reads a record."""
    try:
        found: Manifest = parse_manifest(raw, WHERE)
    except VecportError:
        return
    assert found.total_profile().to_json()["rows"] == found.rows
    shard_schema(found.collection)
    parquet_settings(found.collection, found.encodings)
    assert cut_for(found.collection).group_rows > 0
    assert _readme(found)
    assert parse_manifest(found.to_bytes(), WHERE) == found
