"""The corpus: good dumps validate and read in any tool, bad ones fail as expected, and all can be made again."""

from __future__ import annotations

import json
import os
import runpy
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vecport.dump.dump import open_dump
from vecport.dump.store import LocalStore
from vecport.errors import IntegrityError, VecportError
from vecport.model.collection import ID_KINDS, LOGICAL_TYPES, METRICS, VECTOR_DTYPES, VECTOR_KINDS
from vecport.operations.validate import validate

SPEC = Path(__file__).parents[2] / "spec"
CORPUS = SPEC / "corpus"
EXPECTED: dict[str, Any] = json.loads((CORPUS / "expected.json").read_text())
GOOD, BAD = sorted(EXPECTED["good"]), sorted(EXPECTED["bad"])
RULES = {"manifest", "files", "shard-footer", "shard-sha256", "shard-schema", "records", "profile", "unique-keys"}


def failed(folder: Path, level: str = "deep") -> tuple[set[str], str]:
    """The rules that fail, and all that is said."""
    result = validate(folder, level=level)
    bad = [c for c in result.checks if not c["passed"]]
    assert {c["rule"] for c in result.checks} <= RULES
    assert result.exit_code == (3 if bad else 0)
    assert result.valid == (not bad)
    return {c["rule"] for c in bad}, "\n".join(c["message"] for c in bad)


# ---- good dumps


@pytest.mark.parametrize("name", GOOD)
def test_a_good_dump_validates(name: str) -> None:
    for level in ("quick", "full", "deep"):
        assert failed(CORPUS / "good" / name, level) == (set(), "")
    manifest = open_dump(CORPUS / "good" / name).manifest
    expected = EXPECTED["good"][name]
    assert (manifest.rows, str(manifest.identity), manifest.complete) == (
        expected["rows"], expected["identity"], expected["complete"],
    )  # fmt: skip


@pytest.mark.parametrize("name", GOOD)
def test_a_good_dump_reads_without_vecport(name: str) -> None:
    folder = CORPUS / "good" / name / "data"
    with duckdb.connect() as duck:
        by_duck = duck.sql(f"select * from read_parquet('{folder}/*.parquet')").to_arrow_table()
        described = duck.sql(f"describe select * from read_parquet('{folder}/*.parquet')").fetchall()
    tables = [pq.read_table(p) for p in sorted(folder.glob("*.parquet"))]
    by_arrow = pa.concat_tables(tables)
    assert by_duck.num_rows == by_arrow.num_rows == EXPECTED["good"][name]["rows"]
    assert by_duck.column_names == by_arrow.column_names
    # As texts, so that NaN is NaN and -0.0 is not 0.0.
    assert repr(by_duck.to_pylist()) == repr(by_arrow.to_pylist())
    kinds = dict(row[:2] for row in described)
    for v in open_dump(CORPUS / "good" / name).collection.vectors:
        assert kinds[open_dump(CORPUS / "good" / name).collection.columns()[v.name]] == duck_type(v.kind, v.dtype)


def duck_type(kind: str, dtype: str) -> str:
    """What DuckDB makes of a vector column: never an opaque one, but for bits."""
    element = {"float64": "DOUBLE", "int8": "TINYINT", "uint8": "UTINYINT"}.get(dtype, "FLOAT")
    return {
        "dense": f"{element}[]", "multi": f"{element}[][]", "binary": "BLOB",
        "sparse": "STRUCT(indices UINTEGER[], \"values\" FLOAT[])",
    }[kind]  # fmt: skip


def test_the_good_dumps_have_everything() -> None:
    dumps = [open_dump(CORPUS / "good" / name) for name in GOOD]
    vectors = [v for d in dumps for v in d.collection.vectors]
    assert {v.kind for v in vectors} == set(VECTOR_KINDS)
    assert {v.dtype for v in vectors} == set(VECTOR_DTYPES)
    assert {v.metric for v in vectors} >= set(METRICS) - {"l1", "unknown"}
    assert {d.collection.id_kind for d in dumps} == set(ID_KINDS)
    assert {len(d.collection.vectors) for d in dumps} >= {0, 1, 2, 3, 6}
    assert {d.manifest.rows for d in dumps} >= {0, 1}
    profiles = [d.manifest.total_profile() for d in dumps]
    assert any(len(p.namespaces) > 3 for p in profiles)
    assert any(p.documents.get("count") for p in profiles)
    assert any(d.collection.fields and d.collection.key == () for d in dumps)
    assert any(len(d.manifest.shards) > 3 and max(len(s.groups) for s in d.manifest.shards) > 1 for d in dumps)
    print(f"\ngood dumps: {len(dumps)}, shards: {sum(len(d.manifest.shards) for d in dumps)}")


def test_portable_types_are_read_where_they_are_known_and_ignored_where_not() -> None:
    folder = CORPUS / "good" / "logical"
    manifest = json.loads((folder / "manifest.json").read_bytes())
    said = {f["name"]: f.get("logical") for f in manifest["collection"]["fields"]}
    dump = open_dump(folder)
    read = {f.name: f.logical for f in dump.collection.fields or ()}
    assert (said["later"], said["odd"]) == ("duration[ns]", {"since": "1.7"})
    assert read == said | {"later": None, "odd": None}
    assert {*LOGICAL_TYPES, "list<string>"} == {*read.values()} - {None}
    bare = replace(dump.collection, fields=tuple(replace(f, logical=None) for f in dump.collection.fields or ()))
    assert bare.digest() == dump.collection.digest() == manifest["identity"]["schema_digest"]


# ---- bad dumps


@pytest.mark.parametrize("name", BAD)
def test_a_bad_dump_fails_as_expected(name: str) -> None:
    folder, expected = CORPUS / "bad" / name, EXPECTED["bad"][name]
    error, code, said = None, 0, ""
    try:
        open_dump(folder)
    except VecportError as e:
        error, code, said = type(e).__name__, e.exit_code, str(e)
    assert {"error": error, "exit_code": code} == expected["open"]
    if error == "NotFound":
        with pytest.raises(VecportError) as caught:
            validate(folder, level="deep")
        assert caught.value.exit_code == code
        return
    rules, found = failed(folder)
    assert rules == set(expected["rules"])
    assert expected["names"] in said + found
    if error is not None:
        assert str(folder) in said, "the message says which dump"


def test_the_bad_dumps_break_every_rule() -> None:
    broken = {rule for e in EXPECTED["bad"].values() for rule in e["rules"]}
    # The footer alone is looked at by --level quick only.
    assert broken == RULES - {"shard-footer"}
    refused = sum(e["open"]["error"] is not None for e in EXPECTED["bad"].values())
    print(f"\nbad dumps: {len(BAD)}, of them {refused} that are not opened")


def test_quick_sees_what_a_footer_can_show() -> None:
    seen = {name for name in BAD if EXPECTED["bad"][name]["rules"] and failed(CORPUS / "bad" / name, "quick")[0]}
    beyond = {"shard-flipped-bit", "page-damaged", "key-twice", "key-twice-in-two-shards", "sum-other", "bounds-other"}
    records = {name for name in BAD if EXPECTED["bad"][name]["rules"] in (["records"], ["profile"], ["unique-keys"])}
    assert set(BAD) - seen - {"manifest-missing"} == beyond | records


@pytest.mark.parametrize("name", [n for n in BAD if n.startswith("bomb-")])
def test_a_bomb_is_refused_before_a_page_is_read(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = CORPUS / "bad" / name
    assert sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) < 16_384

    def read(*_: Any, **__: Any) -> None:
        raise AssertionError("a page is read")

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", read)
    assert failed(folder)[0] == set(EXPECTED["bad"][name]["rules"])


def test_raised_limits_let_a_large_dump_through() -> None:
    raised = {"dim": 70_000}
    assert failed(CORPUS / "bad" / "dim-above-limit")[0] == {"manifest"}
    result = validate(CORPUS / "bad" / "dim-above-limit", limits=raised)
    message = next(c["message"] for c in result.checks if not c["passed"])
    # It is no dump of that many dimensions; but that is found by other rules.
    assert "above the limit" not in message


# ---- nothing outside the folder is touched

_watched: list[str] | None = None


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if _watched is not None and event in ("open", "os.listdir", "os.scandir") and isinstance(arguments[0], str | bytes):
        _watched.append(os.fsdecode(arguments[0]))


@contextmanager
def watched() -> Iterator[list[str]]:
    """The paths that are opened while the block runs, but for code."""
    global _watched
    if not getattr(sys, "_vecport_audit", False):
        sys.addaudithook(_audit)
        sys._vecport_audit = True  # type: ignore[attr-defined]
    _watched, opened = [], []
    try:
        yield opened
    finally:
        opened += [p for p in _watched if not p.endswith((".py", ".pyc", ".so", "__pycache__"))]
        _watched = None


@pytest.mark.parametrize("name", [n for n in BAD if n.startswith("path-")])
def test_a_path_out_of_the_dump_is_never_opened(name: str) -> None:
    folder = CORPUS / "bad" / name
    with watched() as opened:
        failed(folder)
    assert str(folder / "manifest.json") in opened
    assert [p for p in opened if not Path(p).is_relative_to(folder) and not p.startswith(sys.prefix)] == []


@pytest.mark.parametrize("what", ["data/part-00000-00000.parquet", "data", "manifest.json"])
def test_a_symbolic_link_is_refused(what: str, tmp_path: Path) -> None:
    dump, aside = tmp_path / "dump", tmp_path / "aside"
    shutil.copytree(CORPUS / "good" / "one-record", dump)
    shutil.move(dump / what, aside)
    (dump / what).symlink_to(aside)
    if what == "manifest.json":
        with pytest.raises(VecportError, match="is not a dump"):
            validate(dump)
        return
    rules, said = failed(dump)
    assert "shard-sha256" in rules
    assert "data/part-00000-00000.parquet" in said
    with pytest.raises(IntegrityError, match="symbolic link"):
        LocalStore(str(dump)).open("data/part-00000-00000.parquet")


@pytest.mark.parametrize("what", ["fifo", "folder"])
def test_what_is_no_file_is_no_shard(what: str, tmp_path: Path) -> None:
    dump = tmp_path / "dump"
    shutil.copytree(CORPUS / "good" / "one-record", dump)
    shard = dump / "data" / "part-00000-00000.parquet"
    shard.unlink()
    if what == "fifo":
        os.mkfifo(shard)
    else:
        shard.mkdir()
    rules, said = failed(dump)
    assert "shard-sha256" in rules
    assert "is missing" in said


# ---- the generator


def test_the_corpus_is_what_the_generator_writes() -> None:
    made_with = EXPECTED["generated_with"]["pyarrow"]
    if pa.__version__ != made_with:
        pytest.skip(f"the corpus was made with pyarrow {made_with}, here is {pa.__version__}: other bytes")
    generator = runpy.run_path(str(SPEC / "generate.py"))
    assert generator["differences"](SPEC) == [], "run python spec/generate.py"
