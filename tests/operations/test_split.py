"""``--namespaces split``: a collection for each namespace, nothing lost between them, and back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pytest

from vecport.connectors import registry
from vecport.connectors.address import parse
from vecport.connectors.contract import Mark, TargetPlan
from vecport.connectors.memory import MemoryConnector
from vecport.dump import open_dump
from vecport.dump.dump import publish
from vecport.dump.part import Part, shares
from vecport.dump.store import open_store
from vecport.errors import AlreadyExists, IntegrityError, NotFound, NotRepresentable, UsageError, VecportError
from vecport.model.ids import stand_in
from vecport.operations import split
from vecport.operations.copy import copy
from vecport.operations.export import export
from vecport.operations.import_ import import_
from vecport.operations.plan import plan
from vecport.operations.sessions import Endpoint, endpoint
from vecport.operations.verify import verify
from vecport.testing.records import Record, batch_of

from .rooms import collection, fill, held, record, room

SPACES = ["", "eu", "us:west", "é"]
ROWS = 6


def records_of(spaces: Sequence[str] = SPACES, rows: int = ROWS) -> list[Record]:
    """Every id stands in every namespace, with another vector."""
    return [
        record(f"doc{i}", i + 10 * j, ns, f"text {i}", place=ns) for i in range(rows) for j, ns in enumerate(spaces)
    ]


@pytest.fixture(scope="module")
def dump(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Several shards of several row groups; a shard's groups have other namespaces than its neighbours'."""
    folder = tmp_path_factory.mktemp("split") / "dump"
    with room() as place:
        fill(place, records_of())
        export(place, folder, shard_rows=5)
    return folder


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    from vecport.testing.engines.postgres import PostgresEngine

    with PostgresEngine(fsync=False) as engine:
        yield engine.address


@pytest.fixture(scope="module")
def qdrant() -> Iterator[str]:
    from vecport.testing.engines.qdrant import QdrantEngine

    with QdrantEngine() as engine:
        yield engine.address


@pytest.fixture(params=["memory", "chroma", "qdrant", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "chroma":
        yield f"chroma:{tmp_path / 'chroma'}"
    elif request.param == "memory":
        with room() as made:
            yield made
    else:
        yield str(request.getfixturevalue(request.param))


def hashes_of(*folders: Path) -> list[tuple[Any, ...]]:
    """Key and record hashes of all dumps together."""
    files = [str(f / "data" / "*.parquet") for f in folders]
    return duckdb.sql(f"SELECT namespace, id, _vh, _mh FROM read_parquet({files!r}) ORDER BY ALL").fetchall()


def name_of(request: pytest.FixtureRequest) -> str:
    return "".join(c if c.isalnum() else "_" for c in request.node.name)[-30:].strip("_").lower()


def test_the_union_of_the_exports_is_the_dump(
    dump: Path, place: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    name = name_of(request)
    done = import_(dump, place, collection=name, namespaces="split")
    assert (done.rows, done.written_rows, done.resumed_rows, done.exit_code) == (24, 24, 0, 0)
    assert list(done.collections) == sorted(SPACES)
    assert {d.rows for d in done.collections.values()} == {ROWS}
    [entry] = [e for e in done.ledger if e["field"] == "namespace"]
    assert (entry["status"], entry["count"]) == ("encoded", 18)
    assert done.verify_command.endswith(f"-c {name} --namespaces split")
    verified = verify(dump, place, collection=name, namespaces="split")
    assert (verified.exit_code, verified.rows, verified.count) == (0, 24, 24)
    folders = []
    for number, to in enumerate(done.collections.values()):
        folders.append(tmp_path / f"back{number}")
        export(place, folders[-1], collection=to.collection)
    assert hashes_of(*folders) == hashes_of(dump)


def state(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv("VECPORT_STATE_DIR", str(folder))


def names_in(place: str) -> list[str]:
    connector, there, _ = registry.resolve(place, role="target", options=None, collection=None)
    return [s.name for s in connector.collections(there)]


def target_class(place: str) -> Any:
    connector, there, _ = registry.resolve(place, role="target", options=None, collection=None)
    return type(connector.open_target(there, "any"))


def add(place: str, name: str, *records: Record) -> None:
    """Write records as an application does, which leaves the collection's passport alone."""
    made = collection(name)
    with MemoryConnector().open_target(parse(place), name) as target:
        target.attach(TargetPlan(made, len(records), if_exists="append"))
        target.write(batch_of(records, made), Mark("application", 0))


class Power(Exception):
    """It is gone."""


def cut(patch: pytest.MonkeyPatch, place: str, after: int) -> None:
    """The power goes off in the write behind ``after`` others."""
    kind, count = target_class(place), [0]
    write = kind.write

    def counted(self: Any, batch: Any, mark: Any) -> None:
        count[0] += 1
        if count[0] > after:
            raise Power
        write(self, batch, mark)

    patch.setattr(kind, "write", counted)


# ---- names


def at(place: str, name: str, **options: str) -> Endpoint:
    return endpoint(place, role="target", collection=name, options=options, create=True)


NAMES = {
    "": "docs", "eu": "docs-eu", "EU_1": "docs-EU_1", "-eu": "docs--eu", "a" * 40: "docs-" + "a" * 40,
    "us:west": "docs-us_west-f887ab5e9d", "é": "docs-4a99557e40", "eu-": "docs-eu-78b1810674",
    "0123456789": "docs-0123456789-84d89877f0",
}  # fmt: skip


@pytest.mark.parametrize("namespace", NAMES)
def test_a_name_follows_from_its_namespace(namespace: str) -> None:
    assert split.collection_names(at("memory:x", "docs"), [namespace]) == {namespace: NAMES[namespace]}


def test_names_are_apart_and_short_whatever_the_namespaces() -> None:
    namespaces = ["eu", "eU", "a:b", "a;b", "a_b", "a" * 59, "a" * 60, "a" * 61, "\0", " ", "../x", "🙂", "'\"", "x."]
    hashed = split.collection_names(at("memory:x", "docs"), ["a:b"])["a:b"].removeprefix("docs-")
    names = split.collection_names(at("memory:x", "docs"), [*namespaces, hashed])
    assert len({n.lower() for n in names.values()}) == len(namespaces) + 1
    for ns, name in names.items():
        assert len(name) <= 63, ns
        assert name[-1].isalnum()
        assert all(c.isascii() and (c.isalnum() or c in "_-") for c in name)


def test_names_that_differ_in_upper_case_alone_have_a_hash_each() -> None:
    names = split.collection_names(at("memory:x", "docs"), ["eu", "EU", "us"])
    assert names["us"] == "docs-us"
    assert names["eu"].startswith("docs-eu-")
    assert names["EU"].startswith("docs-EU-")


def test_a_quoted_table_of_postgres_stays_one_name() -> None:
    target = at("postgresql://me@nowhere/db", '"my shop"."all docs"')
    assert split.collection_names(target, ["eu"]) == {"eu": "my shop.all docs-eu"}
    assert split.collection_names(at("postgresql://me@nowhere/db", '"a.b"'), ["eu"]) == {"eu": '"a.b-eu"'}
    sole = at("postgresql://me@nowhere/db", "a.b", schema="s")
    assert split.collection_names(sole, ["eu"]) == {"eu": "a.b-eu"}


def test_a_name_too_long_for_postgres_is_refused_before_it_is_asked() -> None:
    with pytest.raises(NotRepresentable, match="bytes"):
        split.collection_names(at("postgresql://me@nowhere/db", "d" * 60), ["europe"])
    assert split.collection_names(at("memory:x", "d" * 60), ["europe"]) == {"europe": "d" * 60 + "-europe"}
    assert len(split.collection_names(at("memory:x", "d" * 60), ["europe" * 9])["europe" * 9]) == 71


def test_too_many_namespaces_are_refused(monkeypatch: pytest.MonkeyPatch, dump: Path) -> None:
    monkeypatch.setattr(split, "MOST", 3)
    with room() as place:
        with pytest.raises(UsageError, match="4 namespaces are too many"):
            import_(dump, place, namespaces="split")
        with pytest.raises(NotFound):
            names_in(place)


def test_two_namespaces_with_one_name_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(split, "_suffix", lambda ns, room, hashed=False: "-same")
    with pytest.raises(UsageError, match="'a' and 'b' would go into one collection, docs-same"):
        split.collection_names(at("memory:x", "docs"), ["a", "b"])


# ---- parts of a dump


def test_parts_are_the_whole_and_read_only_what_is_theirs(dump: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = open_dump(dump)
    found = shares(opened)
    assert sum(s.rows for s in found.values()) == opened.rows
    for name, share in found.items():
        part = Part(opened, share)
        assert {s.path for s in part.manifest.shards} < {s.path for s in opened.manifest.shards}
        read = [b for entry in part.manifest.shards for b in part.shard(entry).groups()]
        assert all(b.num_rows for b in read)
        assert sum(b.num_rows for b in read) == share.rows == part.rows
        assert {ns for b in read for ns in b.column("namespace").to_pylist()} == {name}
        ids = [i for b in part.keys(("id",)) for i in b.column("id").to_pylist()]
        assert sorted(ids) == [f"doc{i}" for i in range(ROWS)]


def test_records_that_are_not_those_that_were_counted_are_noticed(dump: Path) -> None:
    opened = open_dump(dump)
    share = shares(opened)["eu"]
    path, groups = next(iter(share.groups.items()))
    at_group = next(g for g, n in enumerate(groups) if n)
    wrong = tuple(n + (g == at_group) for g, n in enumerate(groups))
    part = Part(opened, replace(share, groups={path: wrong}))
    with pytest.raises(IntegrityError, match="records of namespace 'eu' in row group"):
        list(part.shard(part.manifest.shards[0]).groups())


def test_a_flipped_byte_is_found_although_parts_are_not_hashed_again(dump: Path) -> None:
    opened = open_dump(dump)
    part = Part(opened, shares(opened)["eu"], checked=True)
    entry = part.manifest.shards[0]
    path = dump / entry.path
    whole = path.read_bytes()
    try:
        for place in range(200, len(whole) - entry.footer_bytes, 301):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
            with pytest.raises(IntegrityError):
                Part(opened, part.share).shard(entry).check_all()
        path.write_bytes(whole[:-20] + bytes([whole[-20] ^ 1]) + whole[-19:])
        with pytest.raises(IntegrityError):
            list(part.shard(entry).groups())
    finally:
        path.write_bytes(whole)


def test_no_vector_is_read_before_the_sha256_where_nobody_checked_the_whole_dump(dump: Path) -> None:
    [piece] = [p for p in split.pieces(open_dump(dump), at("memory:unchecked", "docs")) if p.namespace == "eu"]
    path = dump / piece.dump.manifest.shards[0].path
    whole = path.read_bytes()
    try:
        path.write_bytes(whole[:200] + bytes([whole[200] ^ 0x10]) + whole[201:])
        with pytest.raises(IntegrityError, match="SHA-256"):
            list(piece.dump.shard(piece.dump.manifest.shards[0]).groups())
    finally:
        path.write_bytes(whole)


def test_a_profile_that_lies_loses_nothing(tmp_path: Path) -> None:
    """A stranger's dump names one namespace of four."""
    folder = tmp_path / "dump"
    with room() as source:
        fill(source, records_of())
        export(source, folder)
    opened = open_dump(folder)
    shards = tuple(
        replace(s, profile=replace(s.profile, namespaces={"": s.rows})) for s in opened.manifest.shards
    )  # fmt: skip
    lying = replace(opened.manifest, shards=shards)
    (folder / "manifest.json").unlink()
    publish(open_store(folder), lying)
    with room() as place:
        done = import_(folder, place, namespaces="split")
        assert (done.written_rows, {d.rows for d in done.collections.values()}) == (24, {ROWS})
        assert any("counts its namespaces otherwise" in n for n in done.notes)
        assert verify(folder, place, namespaces="split").exit_code == 0


# ---- before the first write


@pytest.mark.parametrize("target", ["jsonl:{}/rows.jsonl", "-"])
def test_a_place_for_one_collection_is_refused(dump: Path, tmp_path: Path, target: str) -> None:
    address = target.format(tmp_path)
    for call in (import_, plan, verify):
        with pytest.raises(UsageError, match="holds one collection only") as caught:
            call(str(dump), address, namespaces="split")  # type: ignore[operator]
        assert "--namespace NAME" in caught.value.next
    assert list(tmp_path.iterdir()) == []


def test_copy_refuses_it_before_it_exports(tmp_path: Path) -> None:
    with room() as source:
        fill(source, records_of())
        with pytest.raises(UsageError, match="holds one collection only"):
            copy(source, f"jsonl:{tmp_path}/rows.jsonl", dump=tmp_path / "dump", namespaces="split")
    assert list(tmp_path.iterdir()) == []


def test_one_collection_that_is_there_refuses_all(dump: Path, place: str, request: pytest.FixtureRequest) -> None:
    name = name_of(request)
    with room() as other:
        fill(other, [record("mine")])
        copy(other, place, dump=Path(request.getfixturevalue("tmp_path")) / "mine", target_collection=f"{name}-eu")
    with pytest.raises(AlreadyExists, match="-eu holds 1 records"):
        import_(dump, place, collection=name, namespaces="split")
    with pytest.raises(AlreadyExists, match="-eu holds 1 records"):
        import_(dump, place, collection=name, namespaces="split", dry_run=True)
    assert [n for n in names_in(place) if n.startswith(name)] == [f"{name}-eu"]


def test_a_loss_is_refused_before_anything_is_there(dump: Path, tmp_path: Path) -> None:
    with pytest.raises(NotRepresentable, match="bounded"):
        import_(dump, f"chroma:{tmp_path / 'c'}", namespaces="split", strict=True, settings={"metric": "cosine"})
    assert not (tmp_path / "c").exists()


def test_a_dry_run_shows_where_everything_goes_and_writes_nothing(dump: Path, tmp_path: Path) -> None:
    done = import_(dump, f"chroma:{tmp_path / 'c'}", namespaces="split", dry_run=True)
    assert (done.dry_run, done.written_rows, done.rows) == (True, 0, 24)
    assert {ns: d.collection for ns, d in done.collections.items()} == {
        "": "docs", "eu": "docs-eu", "us:west": NAMES["us:west"], "é": NAMES["é"],
    }  # fmt: skip
    assert f"namespace 'us:west' (6 records): collection {NAMES['us:west']}" in done.notes
    assert not (tmp_path / "c").exists()


def test_a_plan_shows_where_everything_goes(dump: Path) -> None:
    with room() as source, room() as place:
        fill(source, records_of())
        fill(place, [record("mine")], collection("docs-eu"))
        for origin in (dump, source):
            found = plan(str(origin), place, namespaces="split")
            assert {ns: (c["collection"], c["records"]) for ns, c in found.facts["collections"].items()} == {
                ns: (NAMES[ns], ROWS) for ns in SPACES
            }
            assert found.facts["collections"]["eu"]["would"] == "refuse: it holds records"
            assert found.facts["collections"][""]["would"] == "create it"
            assert next(n for n in found.notes if "holds records" in n).startswith("docs-eu holds records")
        assert set(names_in(place)) == {"docs-eu"}


# ---- interrupted


@pytest.mark.parametrize("after", [1, 5])
def test_an_interrupted_import_goes_on(
    dump: Path, place: str, after: int, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt(dump, place, name_of(request), after, monkeypatch)


def test_it_goes_on_wherever_it_was_interrupted(dump: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writes = sum(sum(map(bool, g)) for s in shares(open_dump(dump)).values() for g in s.groups.values())
    assert writes == 8
    for after in range(writes):
        with room() as place:
            interrupt(dump, place, "docs", after, monkeypatch)


def interrupt(dump: Path, place: str, name: str, after: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop an import in the write behind ``after`` others, go on, and compare everything."""
    with monkeypatch.context() as patch:
        cut(patch, place, after)
        with pytest.raises(Power):
            import_(dump, place, collection=name, namespaces="split", workers=1)
    again = import_(dump, place, collection=name, namespaces="split", workers=1)
    assert again.written_rows + again.resumed_rows == 24
    assert again.resumed_rows > 0 or after == 0
    assert verify(dump, place, collection=name, namespaces="split").exit_code == 0
    with pytest.raises(AlreadyExists, match="this very dump was imported here before"):
        import_(dump, place, collection=name, namespaces="split")


def test_what_is_complete_is_known_without_the_state_of_this_machine(
    dump: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = f"chroma:{tmp_path / 'c'}"
    state(monkeypatch, tmp_path / "one")
    failing_finish(monkeypatch, place, "docs-eu", lambda: import_(dump, place, namespaces="split"))
    state(monkeypatch, tmp_path / "two")
    again = import_(dump, place, namespaces="split")
    assert again.resumed_rows >= ROWS
    assert any(n.startswith("1 collection(s) were finished by an earlier run: 6 records") for n in again.notes)
    assert verify(dump, place, namespaces="split").exit_code == 0


def failing_finish(monkeypatch: pytest.MonkeyPatch, place: str, collection: str, call: Any) -> None:
    """Run an import whose power goes off when it finishes a collection."""
    kind = target_class(place)
    finish = kind.finish

    def broken(self: Any, passport: Any) -> None:
        if self._name == collection:
            raise Power
        finish(self, passport)

    with monkeypatch.context() as patch:
        patch.setattr(kind, "finish", broken)
        with pytest.raises(Power):
            call()


def test_an_application_may_write_to_what_is_complete(dump: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with room() as place:
        failing_finish(monkeypatch, place, "docs-eu", lambda: import_(dump, place, namespaces="split"))
        add(place, "docs", record("new"))
        again = import_(dump, place, namespaces="split")
        assert again.resumed_rows >= ROWS
        assert len(held(place, "docs")) == ROWS + 1
        found = verify(dump, place, namespaces="split")
        assert (found.exit_code, found.extra, found.collections["eu"].exit_code) == (3, 1, 0)
        # Now nothing is under way: the same command again is a new one, and finds records that it did not write.
        with pytest.raises(AlreadyExists, match="holds 7 records"):
            import_(dump, place, namespaces="split")


def test_replace_replaces_all_but_goes_on_where_it_was_interrupted(dump: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with room() as place:
        import_(dump, place, namespaces="split")
        add(place, "docs", record("new"))

        def replacing() -> Any:
            return import_(dump, place, namespaces="split", if_exists="replace")

        failing_finish(monkeypatch, place, "docs-eu", replacing)
        assert len(held(place, "docs")) == ROWS
        again = replacing()
        assert again.written_rows + again.resumed_rows == 24
        assert again.resumed_rows >= ROWS
        assert replacing().written_rows == 24
        assert verify(dump, place, namespaces="split").exit_code == 0


def test_an_interrupted_create_begins_anew_under_replace(dump: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with room() as place:
        failing_finish(monkeypatch, place, "docs-eu", lambda: import_(dump, place, namespaces="split"))
        add(place, "docs", record("new"))
        import_(dump, place, namespaces="split", if_exists="replace")
        assert len(held(place, "docs")) == ROWS


def test_an_import_into_one_collection_is_not_taken_for_a_part(dump: Path, tmp_path: Path) -> None:
    place = f"chroma:{tmp_path / 'c'}"
    import_(dump, place, namespaces="prefix")
    with pytest.raises(AlreadyExists, match="docs holds 24 records"):
        import_(dump, place, namespaces="split")
    assert names_in(place) == ["docs"]


# ---- beside records that are there


def test_append_adds_to_what_is_there(dump: Path) -> None:
    with room() as place:
        fill(place, [record("mine")], collection("docs-eu"))
        done = import_(dump, place, namespaces="split", if_exists="append")
        assert done.written_rows == 24
        assert len(held(place, "docs-eu")) == ROWS + 1
        found = verify(dump, place, namespaces="split")
        assert (found.extra, found.missing, found.collections["eu"].extra) == (1, 0, 1)


def test_append_refuses_records_of_other_namespaces(dump: Path) -> None:
    with room() as place:
        import_(dump, place, collection="docs-eu")
        with pytest.raises(UsageError, match="filled by vecport with namespaces beside its records"):
            import_(dump, place, namespaces="split", if_exists="append")
        assert names_in(place) == ["docs-eu"]
        import_(dump, place, namespaces="split", if_exists="replace")
        assert verify(dump, place, namespaces="split").exit_code == 0
        with pytest.raises(UsageError, match="filled by vecport with namespace 'eu'"):
            import_(dump, place, collection="docs-eu", namespaces="split", if_exists="append")


# ---- verify


def test_verify_says_equal_only_when_all_are(dump: Path) -> None:
    with room() as place:
        done = import_(dump, place, namespaces="split")
        add(place, "docs-eu", record("doc1", 99, text="edited"))
        found = verify(dump, place, namespaces="split")
        assert (found.exit_code, found.vectors_changed, found.metadata_changed, found.equal) == (3, 1, 1, 23)
        assert [(f.kind, f.namespace, f.id) for f in found.examples] == [("changed", "eu", "doc1")]
        assert {ns for ns, one in found.collections.items() if one.exit_code} == {"eu"}
        remove(place, done.collections["é"].collection)
        found = verify(dump, place, namespaces="split")
        assert (found.exit_code, found.missing, found.count) == (3, ROWS, 18)
        assert f"{NAMES['é']}: the collection does not exist" in found.schema_changes


def remove(place: str, name: str) -> None:
    from vecport.connectors.memory import _rooms

    del _rooms[place.partition(":")[2]].stores[name]


def test_verify_of_nothing_is_not_found(dump: Path, tmp_path: Path) -> None:
    with room() as place:
        fill(place, [record("mine")], collection("other"))
        with pytest.raises(NotFound):
            verify(dump, place, namespaces="split")


def test_a_collection_that_holds_one_namespace_is_compared_with_that(dump: Path, place: str, tmp_path: Path) -> None:
    name = f"alone{place.partition(':')[0]}"
    import_(dump, place, collection=name, namespaces="split")
    found = verify(dump, place, collection=f"{name}-eu")
    assert (found.exit_code, found.rows, found.namespace) == (0, ROWS, "eu")
    assert any("all namespaces: --namespaces split" in n for n in found.notes)
    with room() as other:
        fill(other, records_of(["", "us"]))
        export(other, tmp_path / "other")
    found = verify(tmp_path / "other", place, collection=f"{name}-eu")
    assert (found.exit_code, found.equal, found.extra) == (3, 0, ROWS)
    assert "namespace 'eu', which the dump does not have" in found.schema_changes[-1]


def test_verify_refuses_what_it_cannot_know(dump: Path) -> None:
    with pytest.raises(UsageError, match="finds out by itself"):
        verify(dump, "memory:x", namespaces="field")


# ---- the rest


def test_copy_splits_and_proves_it(place: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    name = name_of(request)
    with room() as source:
        fill(source, records_of(["", "eu"]))
        done = copy(source, place, target_collection=name, dump=tmp_path / "dump", namespaces="split")
    assert (done.exit_code, done.verify.equal, list(done.import_.collections)) == (0, 12, ["", "eu"])
    assert list(done.verify.collections) == ["", "eu"]


@pytest.mark.slow
def test_worker_processes_write_their_part_alone(qdrant: str, tmp_path: Path) -> None:
    """Of three shards, the first holds two namespaces; the larger one needs all three."""
    with room() as source:
        fill(source, [record(f"a{i}", i) for i in range(3)] + [record(f"a{i}", i + 10, "eu") for i in range(8)])
        export(source, tmp_path / "dump", shard_rows=5)
    done = import_(tmp_path / "dump", qdrant, collection="workers", namespaces="split", workers=2)
    assert done.written_rows == 11
    assert verify(tmp_path / "dump", qdrant, collection="workers", namespaces="split").exit_code == 0


def test_stand_ins_are_those_that_an_application_computes(dump: Path, qdrant: str, tmp_path: Path) -> None:
    import_(dump, qdrant, collection="standins", namespaces="split")
    export(qdrant, tmp_path / "raw", collection="standins-eu", ignore_passport=True)
    found = {row[1] for row in hashes_of(tmp_path / "raw")}
    assert found == {stand_in(f"doc{i}", "string", "eu") for i in range(ROWS)}


def test_a_dump_without_namespaces_is_one_collection(tmp_path: Path) -> None:
    for number, rows in enumerate(([record("a"), record("b")], [])):
        with room() as source, room() as place:
            fill(source, rows)
            export(source, tmp_path / f"plain{number}")
            done = import_(tmp_path / f"plain{number}", place, namespaces="split")
            assert (done.written_rows, list(done.collections)) == (len(rows), [""])
            assert names_in(place) == ["docs"]
            assert verify(tmp_path / f"plain{number}", place, namespaces="split").exit_code == 0


def test_records_of_other_namespaces_that_somebody_added_keep_theirs(dump: Path, tmp_path: Path) -> None:
    with room() as place:
        import_(dump, place, namespaces="split")
        add(place, "docs-eu", record("new", 1, "us"), record("newer", 2))
        done = export(place, tmp_path / "back", collection="docs-eu")
        keys = {row[:2] for row in hashes_of(tmp_path / "back")}
        assert keys == {("eu", f"doc{i}") for i in range(ROWS)} | {("us", "new"), ("eu", "newer")}
        assert any("added in the database by somebody else" in n for n in done.notes)
        add(place, "docs-eu", record("doc1", 1, "eu"))
        with pytest.raises(NotRepresentable, match="has a namespace 'eu'"):
            export(place, tmp_path / "twice", collection="docs-eu")


def test_notes_of_a_collection_have_its_name(dump: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with room() as place:
        failing_finish(monkeypatch, place, "docs-eu", lambda: import_(dump, place, namespaces="split"))
        again = import_(dump, place, namespaces="split")
        assert "docs-eu: going on with an interrupted import: 6 records are safe already" in again.notes


ERRORS: dict[str, tuple[dict[str, Any], type[VecportError]]] = {
    "a mode": ({"namespaces": "separate"}, UsageError),
    "a conflict": ({"on_conflict": "merge"}, UsageError),
}


@pytest.mark.parametrize("what", ERRORS)
def test_wrong_choices(dump: Path, what: str) -> None:
    given, error = ERRORS[what]
    with room() as place, pytest.raises(error):
        import_(dump, place, **{"namespaces": "split", **given})
