"""Bad input gets the design's exit code, one clear message, and leaves nothing half-written."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vecport.testing.engines.chroma import ChromaEngine
from vecport.testing.engines.postgres import PostgresEngine
from vecport.testing.engines.qdrant import QdrantEngine


class Ran:
    def __init__(self, process: subprocess.CompletedProcess[str]) -> None:
        self.code, self.out, self.err = process.returncode, process.stdout, process.stderr


def vecport(*arguments: str | Path, **environment: str) -> Ran:
    """Run the command line as a user would."""
    command = ["vecport", *map(str, arguments)]
    env = {**os.environ, **environment}
    return Ran(subprocess.run(command, capture_output=True, text=True, env=env, timeout=120))


def vecport_of_a_plain_user(*arguments: str | Path) -> Ran:
    """The same without root's power to write where modes forbid it."""
    command = [sys.executable, "-m", "vecport.cli", *map(str, arguments)]
    drop = _drop_root_powers if os.geteuid() == 0 else None
    return Ran(subprocess.run(command, capture_output=True, text=True, timeout=120, preexec_fn=drop))


def _drop_root_powers() -> None:
    libc, drop_from_bounding_set = ctypes.CDLL(None), 24
    for overriding_modes in (1, 2):
        if libc.prctl(drop_from_bounding_set, overriding_modes, 0, 0, 0):
            os._exit(97)


def assert_refused(ran: Ran, code: int, *words: str) -> None:
    """The exit code, the words in the message, and no traceback."""
    assert ran.code == code, ran.err
    assert "Traceback" not in ran.err
    for word in words:
        assert word in ran.err, ran.err


@pytest.fixture(scope="module", autouse=True)
def _on_the_path(programs: Path) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(programs), prepend=os.pathsep)
        yield


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresEngine]:
    with PostgresEngine(password="right horse") as engine:
        os.environ["PGPASSWORD"] = "right horse"
        yield engine
        del os.environ["PGPASSWORD"]


@pytest.fixture(scope="module")
def qdrant() -> Iterator[QdrantEngine]:
    with QdrantEngine() as engine:
        yield engine


def rows(path: Path, *records: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(r) + "\n" for r in records))
    return path


def dump_of(folder: Path, *records: dict[str, Any], dim: int = 4, metric: str = "cosine") -> Path:
    source = rows(folder / "in.jsonl", *records)
    options = [
        "--source-option",
        f"metric={metric}",
        "--source-option",
        f"dim={dim}",
        "--source-option",
        "dtype=float32",
    ]
    ran = vecport("export", f"jsonl:{source}", folder / "dump", *options)
    assert ran.code == 0, ran.err
    return folder / "dump"


def record(id: Any, **more: Any) -> dict[str, Any]:
    return {"id": id, "vector": [1.0, 2.0, 3.0, 4.0], "metadata": {}} | more


@pytest.fixture(scope="module")
def dump(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return dump_of(tmp_path_factory.mktemp("dump"), *(record(f"r{i}", metadata={"n": i}) for i in range(50)))


def test_an_unknown_scheme_is_a_usage_error(dump: Path) -> None:
    assert_refused(vecport("import", dump, "oracle://host"), 2, "oracle", "qdrant")


@pytest.mark.parametrize("which", ["postgres", "qdrant", "chroma"])
def test_a_missing_collection_is_named_and_what_is_there_too(
    which: str, dump: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    place = f"chroma:{tmp_path / 'c'}" if which == "chroma" else request.getfixturevalue(which).address
    assert vecport("import", dump, place, "-c", "there").code == 0
    assert_refused(vecport("export", place, tmp_path / "out", "-c", "missing"), 10, "missing", "there")
    assert not (tmp_path / "out").exists()


def test_a_wrong_password_is_an_authentication_error_and_is_not_echoed(
    postgres: PostgresEngine, tmp_path: Path
) -> None:
    ran = vecport("export", postgres.address, tmp_path / "out", "-c", "t", PGPASSWORD="wrong-canary")
    assert_refused(ran, 12)
    assert "wrong-canary" not in ran.err + ran.out
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "address", ["postgresql://postgres@127.0.0.1:1/x", "qdrant://127.0.0.1:1", "chroma://127.0.0.1:1"]
)
def test_a_server_that_is_down_is_unavailable(address: str, dump: Path, tmp_path: Path) -> None:
    assert_refused(vecport("export", address, tmp_path / "out", "-c", "t"), 15, "127.0.0.1:1")
    assert not (tmp_path / "out").exists()


def test_an_existing_dump_is_not_touched(dump: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(dump, copy)
    before = {p: p.read_bytes() for p in copy.rglob("*") if p.is_file()}
    source = rows(tmp_path / "other.jsonl", record("other"))
    assert_refused(vecport("export", f"jsonl:{source}", copy), 11, "--overwrite")
    assert {p: p.read_bytes() for p in copy.rglob("*") if p.is_file()} == before


def test_a_folder_with_other_files_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter.txt").write_text("dear")
    source = rows(tmp_path / "other.jsonl", record("other"))
    assert_refused(vecport("export", f"jsonl:{source}", tmp_path / "home"), 11, "letter.txt")
    assert_refused(vecport("export", f"jsonl:{source}", tmp_path / "home", "--overwrite"), 11, "letter.txt")
    assert [p.name for p in (tmp_path / "home").iterdir()] == ["letter.txt"]


@pytest.mark.parametrize("which", ["postgres", "qdrant", "chroma"])
def test_a_target_with_records_is_refused_and_unchanged(
    which: str, dump: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    place = f"chroma:{tmp_path / 'c'}" if which == "chroma" else request.getfixturevalue(which).address
    other = dump_of(tmp_path, record("x", vector=[1.0, 0.0, 0.0, 0.0]))
    assert vecport("import", other, place, "-c", "full").code == 0
    assert_refused(vecport("import", dump, place, "-c", "full"), 11, "1 record", "--if-exists")
    assert vecport("verify", other, place, "-c", "full").code == 0


@pytest.mark.parametrize("which", ["postgres", "qdrant", "chroma"])
@pytest.mark.parametrize("change", ["dimension", "metric"])
def test_a_target_with_another_dimension_or_metric_is_refused(
    which: str, change: str, dump: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    place = f"chroma:{tmp_path / 'c'}" if which == "chroma" else request.getfixturevalue(which).address
    width = 3 if change == "dimension" else 4
    metric = "cosine" if change == "dimension" else "l2"
    other = dump_of(tmp_path, record("x", vector=[1.0] * width), dim=width, metric=metric)
    name = f"other-{change}"
    assert vecport("import", other, place, "-c", name).code == 0
    ran = vecport("import", dump, place, "-c", name, "--if-exists", "append")
    assert_refused(ran, 14)
    assert vecport("verify", other, place, "-c", name).code == 0


def test_a_read_only_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ro").mkdir(mode=0o500)
    source = rows(tmp_path / "r.jsonl", record("x"))
    ran = vecport_of_a_plain_user("export", f"jsonl:{source}", tmp_path / "ro" / "dump")
    assert_refused(ran, 12, str(tmp_path / "ro"))
    assert list((tmp_path / "ro").iterdir()) == []
    assert vecport_of_a_plain_user("export", f"jsonl:{source}", tmp_path / "dump").code == 0


def test_a_folder_that_may_not_be_read_is_refused(tmp_path: Path, dump: Path) -> None:
    place = tmp_path / "c"
    assert vecport("import", dump, f"chroma:{place}", "-c", "papers").code == 0
    for unreadable in (place / "chroma.sqlite3", place):
        unreadable.chmod(0)
        assert_refused(vecport_of_a_plain_user("export", f"chroma:{place}", tmp_path / "out"), 12, str(place))
        unreadable.chmod(0o700)
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_a_folder_that_is_no_dump_is_not_found(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for command in ("validate", "inspect"):
        assert_refused(vecport(command, tmp_path / "empty"), 10, "manifest.json")
        assert_refused(vecport(command, tmp_path / "nothing"), 10, "does not exist")


@pytest.mark.parametrize("which", ["postgres", "qdrant", "chroma"])
@pytest.mark.parametrize("damage", ["byte", "shard", "requires", "manifest"])
def test_a_damaged_dump_writes_nothing_into_a_target(
    which: str, damage: str, dump: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    place = f"chroma:{tmp_path / 'c'}" if which == "chroma" else request.getfixturevalue(which).address
    bad = tmp_path / "bad"
    shutil.copytree(dump, bad)
    shard = bad / "data" / "part-00000-00000.parquet"
    if damage == "byte":
        raw = bytearray(shard.read_bytes())
        raw[len(raw) // 2] ^= 1
        shard.write_bytes(raw)
    elif damage == "shard":
        shard.unlink()
    else:
        text = (bad / "manifest.json").read_text()
        old, new = ('"requires": []', '"requires": ["delta"]') if damage == "requires" else ('"rows": 50', '"rows": 51')
        (bad / "manifest.json").write_text(resealed(text.replace(old, new)))
    code = {"byte": 13, "shard": 10, "requires": 14, "manifest": 13}[damage]
    name = f"damaged-{damage}"
    assert_refused(vecport("import", bad, place, "-c", name), code, str(bad))
    ran = vecport("export", place, tmp_path / "out", "-c", name)
    assert ran.code == 10, ran.err


def resealed(text: str) -> str:
    """The manifest with a fitting checksum, so that only its content is wrong."""
    import hashlib

    body = text.rpartition(',\n "manifest_sha256"')[0].encode()
    return body.decode() + ',\n "manifest_sha256": "' + hashlib.sha256(body).hexdigest() + '"\n}\n'


@pytest.mark.parametrize("which", ["postgres", "qdrant", "chroma"])
def test_hard_records_survive_the_round_trip(which: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    place = f"chroma:{tmp_path / 'c'}" if which == "chroma" else request.getfixturevalue(which).address
    hard = [
        record("7", metadata={"id": "inner", "vector": [1, 2], "metadata": {"a": None}, "document": "not it"}),
        record("007", metadata={"": "empty key", "a.b": 1, 'q"uote': True, "A": 1, "a": 2}),
        record("no-metadata") | {"metadata": {}},
        record("document", document="text with é and \u0001"),
        record("empty-document", document=""),
        record("_vecport", metadata={"_vecport": "mine", "embedding": "x", "namespace": "y"}),
        *(record(f"type-{i}", metadata={"changes": value}) for i, value in enumerate(
            [1, 1.0, True, "true", None, [], ["a"], [1, "a"], {}, {"b": 1}, 2**63, 2**70, -0.0, 1e16, 1e-7, "nul\0"])),
    ]  # fmt: skip
    made = dump_of(tmp_path, *hard)
    imported = vecport("import", made, place, "-c", "hard")
    assert imported.code == 0, imported.err
    proof = vecport("verify", made, place, "-c", "hard", "--json")
    assert proof.code == 0, proof.out + proof.err
    assert vecport("export", place, tmp_path / "back", "-c", "hard").code == 0
    compared = vecport("diff", made, tmp_path / "back", "--json")
    assert compared.code == 0, compared.out
    found = json.loads(compared.out)
    assert (found["added"], found["removed"], found["metadata_changed"], found["vectors_changed"]) == (0, 0, 0, 0)
    assert found["schema_changes"] == []


def test_ids_7_and_007_and_the_number_7_stay_three(tmp_path: Path, qdrant: QdrantEngine) -> None:
    made = dump_of(tmp_path, record("7"), record("007"), record(7))
    assert vecport("import", made, qdrant.address, "-c", "sevens").code == 0
    assert vecport("export", qdrant.address, tmp_path / "back", "-c", "sevens").code == 0
    assert vecport("diff", made, tmp_path / "back").code == 0
    assert json.loads(vecport("inspect", tmp_path / "back", "--json").out)["facts"]["rows"] == 3


@pytest.mark.parametrize("which", ["postgres", "qdrant", "chroma"])
@pytest.mark.parametrize("count", [0, 1])
def test_an_empty_collection_and_one_record(
    which: str, count: int, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    place = f"chroma:{tmp_path / 'c'}" if which == "chroma" else request.getfixturevalue(which).address
    made = dump_of(tmp_path, *[record("only")][:count])
    name = f"small-{count}"
    assert vecport("import", made, place, "-c", name).code == 0
    ran = vecport("export", place, tmp_path / "back", "-c", name)
    assert ran.code == 0, ran.err
    assert vecport("diff", made, tmp_path / "back").code == 0


@pytest.mark.parametrize("which", ["postgres", "qdrant"])
def test_a_record_without_a_vector_is_kept(which: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    place = request.getfixturevalue(which).address
    made = dump_of(tmp_path, record("with"), {"id": "without", "metadata": {"a": 1}})
    assert vecport("import", made, place, "-c", "nulls").code == 0
    assert vecport("export", place, tmp_path / "back", "-c", "nulls").code == 0
    assert vecport("diff", made, tmp_path / "back").code == 0


def test_a_record_without_a_vector_is_refused_by_chroma_before_the_first_write(tmp_path: Path) -> None:
    made = dump_of(tmp_path, record("with"), {"id": "without", "metadata": {"a": 1}})
    assert_refused(vecport("import", made, f"chroma:{tmp_path / 'c'}", "-c", "nulls"), 14, "vector")
    assert not (tmp_path / "c").exists()


def test_metadata_whose_type_changes_between_pages_survives(tmp_path: Path, qdrant: QdrantEngine) -> None:
    many = [record(f"r{i:03d}", metadata={"x": i if i < 60 else f"s{i}"}) for i in range(120)]
    made = dump_of(tmp_path, *many)
    assert vecport("import", made, qdrant.address, "-c", "types").code == 0
    ran = vecport("export", qdrant.address, tmp_path / "back", "-c", "types", "--batch-size", "10")
    assert ran.code == 0, ran.err
    assert vecport("diff", made, tmp_path / "back").code == 0


def test_a_mistyped_chroma_path_creates_nothing(tmp_path: Path) -> None:
    assert_refused(vecport("export", f"chroma:{tmp_path / 'typo'}", tmp_path / "out", "-c", "x"), 10, "typo")
    assert list(tmp_path.iterdir()) == []


def test_a_users_chroma_folder_is_byte_identical_after_an_export(dump: Path, tmp_path: Path) -> None:
    place = tmp_path / "c"
    assert vecport("import", dump, f"chroma:{place}", "-c", "mine").code == 0

    def tree() -> dict[str, tuple[bytes, int]]:
        return {str(p): (p.read_bytes(), p.stat().st_mtime_ns) for p in place.rglob("*") if p.is_file()}

    before = tree()
    assert vecport("export", f"chroma:{place}", tmp_path / "out", "-c", "mine").code == 0
    assert tree() == before


def test_a_secret_on_the_command_line_is_refused_and_not_echoed(dump: Path) -> None:
    for arguments in (
        ["import", dump, "qdrant://127.0.0.1:1", "--target-option", "api-key=CANARY-1"],
        ["import", dump, "postgresql://me:CANARY-1@127.0.0.1/x"],
    ):
        ran = vecport(*arguments)
        assert_refused(ran, 2)
        assert "CANARY-1" not in ran.err + ran.out


def test_a_key_never_travels_without_tls(dump: Path) -> None:
    ran = vecport("import", dump, "qdrant://db.example.org", QDRANT_API_KEY="CANARY-2")
    assert_refused(ran, 2, "qdrant+https")
    assert "CANARY-2" not in ran.err + ran.out


def test_chroma_through_its_server_gives_what_the_folder_gives(dump: Path, tmp_path: Path) -> None:
    with ChromaEngine() as engine:
        assert vecport("import", dump, engine.address, "-c", "served").code == 0
        ran = vecport("export", engine.address, tmp_path / "out", "-c", "served")
        assert ran.code == 0, ran.err
    assert vecport("diff", dump, tmp_path / "out").code == 0


@pytest.mark.parametrize("which", ["postgres", "chroma"])
def test_equal_ids_in_two_namespaces_are_refused_before_the_first_write(
    which: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    place = f"chroma:{tmp_path / 'c'}" if which == "chroma" else request.getfixturevalue(which).address
    made = dump_of(tmp_path, record("same", namespace="a"), record("same", namespace="b"))
    assert_refused(vecport("import", made, place, "-c", "spaces"), 14, "'same'", "namespaces")
    apart = dump_of_folder(tmp_path / "apart", record("x", namespace="a"), record("y", namespace="b"))
    assert vecport("import", apart, place, "-c", "spaces").code == 0
    assert vecport("export", place, tmp_path / "back", "-c", "spaces").code == 0
    assert vecport("diff", apart, tmp_path / "back").code == 0


def dump_of_folder(folder: Path, *records: dict[str, Any]) -> Path:
    folder.mkdir()
    return dump_of(folder, *records)
