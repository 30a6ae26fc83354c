"""What a role may do: a plan says it before anything is read, and the export or import then agrees with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest

from vecport.connectors.postgres import tables
from vecport.errors import AuthenticationFailed, VecportError
from vecport.operations.export import export
from vecport.operations.import_ import import_
from vecport.operations.plan import PlanResult, plan

from .support import dsn, fresh, run

DATABASE = "permissions"


def admin(*statements: str, role: str = "") -> list[Any]:
    """Run statements in the database of these tests; return the rows of the last one."""
    where = psycopg.conninfo.make_conninfo(dsn(), dbname=DATABASE, **({"user": role} if role else {}))
    with psycopg.connect(where, autocommit=True) as connection:
        for statement in statements:
            cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


@pytest.fixture(scope="module", autouse=True)
def _database() -> Iterator[None]:
    """A database of its own, in whose schema public nobody but its owner may create."""
    run(f"DROP DATABASE IF EXISTS {DATABASE}", f"CREATE DATABASE {DATABASE} TEMPLATE template0")
    admin("CREATE EXTENSION vector", "REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    yield
    run(f"DROP DATABASE {DATABASE} WITH (FORCE)")


@pytest.fixture
def role() -> str:
    """A role with a name that has to be quoted."""
    name = fresh("a Role ")
    admin(f'CREATE ROLE "{name}" LOGIN')
    return name


def address(role: str) -> str:
    parts = psycopg.conninfo.conninfo_to_dict(dsn())
    return f"postgresql://{quote(role)}@{parts['host']}:{parts['port']}/{DATABASE}"


def filled(name: str | None = None) -> str:
    """A table of the superuser's with three records."""
    table = name or fresh()
    admin(
        f"CREATE TABLE {table} (id text PRIMARY KEY, n int, secret text, e vector(2))",
        f"INSERT INTO {table} SELECT i::text, i, 's', '[1,2]' FROM generate_series(1, 3) i",
    )
    return table


@pytest.fixture(scope="module")
def dump(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same three records, as free metadata."""
    folder = tmp_path_factory.mktemp("permissions")
    lines = [f'{{"id":"{i}","vector":[1,2],"metadata":{{"n":{i}}}}}' for i in range(1, 4)]
    (folder / "rows.jsonl").write_text("\n".join(lines) + "\n")
    export(f"jsonl:{folder / 'rows.jsonl'}", folder / "dump")
    return folder / "dump"


def missing(found: PlanResult) -> dict[str, str]:
    """What is not allowed, with what would allow it."""
    return {p["what"]: p["grant"] for p in found.facts["permissions"] if p["allowed"] is False}


def agrees(found: PlanResult, act: Callable[[], Any], *reasons: str) -> None:
    """A plan that finds nothing missing is followed by success, any other by an error of permission."""
    denied = missing(found)
    assert set(denied) == set(reasons)
    assert found.exit_code == (3 if reasons else 0)
    for what, grant in denied.items():
        assert any(note.startswith(f"not allowed: {what}: ") and grant in note for note in found.notes)
    if not reasons:
        act()
        return
    with pytest.raises(VecportError) as caught:
        act()
    assert isinstance(caught.value, AuthenticationFailed), caught.value
    assert caught.value.exit_code == 12


READ = "read the records"


class TestReading:
    @pytest.fixture
    def check(self, role: str, tmp_path: Path) -> Callable[..., PlanResult]:
        numbers = iter(range(99))

        def check(table: str, *reasons: str, **options: str) -> PlanResult:
            given: dict[str, Any] = {
                "collection": table,
                "source_options": {k.replace("_", "-"): v for k, v in options.items()},
            }
            found = plan(address(role), **given)
            agrees(found, lambda: export(address(role), tmp_path / str(next(numbers)), **given), *reasons)
            return found

        return check

    def test_select_is_missing_and_then_granted_by_what_the_plan_says(self, role: str, check: Any) -> None:
        table = filled()
        found = check(table, READ)
        assert missing(found) == {READ: f'GRANT SELECT ON "public"."{table}" TO "{role}";'}
        assert "rows" not in found.facts
        assert "nothing was read, and nothing else was looked at" in found.notes
        admin(missing(found)[READ])
        assert check(table).facts["rows"] == 3

    def test_select_on_some_columns_names_the_others(self, role: str, check: Any) -> None:
        table = filled()
        admin(f'GRANT SELECT (id, n) ON {table} TO "{role}"')
        [found] = [p for p in check(table, READ).facts["permissions"] if p["what"] == READ]
        assert found["why"] == "SELECT is missing on the columns secret, e"
        admin(f'GRANT SELECT (secret, e) ON {table} TO "{role}"')
        [found] = [p for p in check(table, READ).facts["permissions"] if p["what"] == READ]
        assert "but not on the table" in found["why"]

    def test_row_security_counts_only_where_it_hides_something_from_this_role(self, role: str, check: Any) -> None:
        table = filled()
        admin(
            f'GRANT SELECT ON {table} TO "{role}"', f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY",
            f"CREATE POLICY few ON {table} USING (n < 2)",
        )  # fmt: skip
        found = check(table, READ)
        assert missing(found) == {READ: f'ALTER ROLE "{role}" BYPASSRLS;'}
        admin(missing(found)[READ])
        assert check(table).facts["rows"] == 3

    def test_row_security_behind_a_view_is_found(self, role: str, check: Any) -> None:
        table, view = filled(), fresh("view")
        admin(
            f"CREATE VIEW {view} WITH (security_invoker) AS SELECT * FROM {table}",
            f'GRANT SELECT ON {view} TO "{role}"',
        )
        check(view, READ, id_column="id")
        admin(f'GRANT SELECT ON {table} TO "{role}"')
        check(view, id_column="id")
        admin(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        check(view, READ, id_column="id")

    def test_a_view_is_read_with_select_on_its_columns_only_where_it_may_be_locked(self, role: str, check: Any) -> None:
        view = fresh("view")
        admin(
            f"CREATE VIEW {view} AS SELECT * FROM {filled()}", f'GRANT SELECT (id, n, secret, e) ON {view} TO "{role}"'
        )
        check(view, READ, id_column="id")
        admin(f'GRANT DELETE ON {view} TO "{role}"')
        check(view, id_column="id")

    def test_the_schema_has_to_be_open(self, role: str, check: Any) -> None:
        schema = fresh("s")
        admin(f"CREATE SCHEMA {schema}")
        table = filled(f"{schema}.t")
        admin(f'GRANT SELECT ON {table} TO "{role}"')
        what = f"use the schema '{schema}'"
        found = check(table, what, READ)
        admin(missing(found)[what])
        check(table)

    def test_partitions_that_may_not_be_read_alone_are_no_obstacle(self, role: str, check: Any) -> None:
        table, schema = fresh("parts"), fresh("s")
        admin(
            f"CREATE TABLE {table} (id text, e vector(2), PRIMARY KEY (id)) PARTITION BY HASH (id)",
            f"CREATE SCHEMA {schema}",
            f"CREATE TABLE {schema}.a PARTITION OF {table} FOR VALUES WITH (MODULUS 2, REMAINDER 0)",
            f"CREATE TABLE {schema}.b PARTITION OF {table} FOR VALUES WITH (MODULUS 2, REMAINDER 1)",
            f"INSERT INTO {table} SELECT i::text, '[1,2]' FROM generate_series(1, 9) i",
            f'GRANT SELECT ON {table}, {schema}.a, {schema}.b TO "{role}"',
        )
        assert check(table).facts["rows"] == 9
        admin(f"ALTER TABLE {schema}.a ENABLE ROW LEVEL SECURITY")
        check(table)
        admin(f'GRANT USAGE ON SCHEMA {schema} TO "{role}"')
        check(table, READ)

    def test_a_snapshot_that_may_not_be_exported_is_found(self, role: str, check: Any) -> None:
        table = filled()
        admin(
            f'GRANT SELECT ON {table} TO "{role}"',
            "REVOKE EXECUTE ON FUNCTION pg_catalog.pg_export_snapshot() FROM PUBLIC",
        )
        try:
            found = check(table, "export a snapshot")
            admin(missing(found)["export a snapshot"])
            check(table)
        finally:
            admin("GRANT EXECUTE ON FUNCTION pg_catalog.pg_export_snapshot() TO PUBLIC")


CREATE, OWN = "create the table", "comment on the table and index it"
RECORD = "create the table that records what was written"


class TestWriting:
    @pytest.fixture
    def check(self, role: str, dump: Path) -> Callable[..., PlanResult]:
        def check(table: str, *reasons: str, database: str = DATABASE, **choices: Any) -> PlanResult:
            place = address(role).rpartition("/")[0] + f"/{database}"
            found = plan(str(dump), place, collection=table, **choices)
            agrees(found, lambda: import_(dump, place, collection=table, **choices), *reasons)
            return found

        return check

    def test_a_schema_in_which_the_role_may_not_create(self, role: str, check: Any) -> None:
        table, schema = fresh(), fresh("my Schema ")
        admin(f'CREATE SCHEMA "{schema}"')
        name = f'"{schema}"."{table}"'
        found = check(name, CREATE)
        assert missing(found) == {CREATE: f'GRANT USAGE, CREATE ON SCHEMA "{schema}" TO "{role}";'}
        assert found.facts["target"] == {"would": "refuse: a permission is missing"}
        assert admin("SELECT count(*) FROM pg_class WHERE relname = $$" + table + "$$") == [(0,)]
        admin(missing(found)[CREATE])
        assert check(name).facts["target"]["would"] == "create it"
        assert admin(f"SELECT count(*) FROM {name}") == [(3,)]

    def test_the_extension_may_not_be_created(
        self, role: str, check: Any, dump: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bare = fresh("bare")
        run(f"CREATE DATABASE {bare} TEMPLATE template0")
        try:
            what = "create the extension vector"
            found = check(fresh(), what, CREATE, database=bare)
            assert missing(found)[what] == "CREATE EXTENSION vector;"
            run(f'ALTER DATABASE {bare} OWNER TO "{role}"')
            check(fresh(), what, database=bare)
            place = address(role).rpartition("/")[0] + f"/{bare}"
            for extension, allowed in (("plpgsql", True), ("no_such_extension", False)):
                # A trusted one may be created by who may create in the database.
                monkeypatch.setattr(tables, "EXTENSION", extension)
                found = plan(str(dump), place, collection="t")
                assert [p["allowed"] for p in found.facts["permissions"] if p["what"] == what] == [allowed]
            assert "the server has no pgvector" in found.notes[0]
            monkeypatch.undo()
            with psycopg.connect(psycopg.conninfo.make_conninfo(dsn(), dbname=bare), autocommit=True) as connection:
                connection.execute("CREATE EXTENSION vector")
            check(fresh(), database=bare)
        finally:
            run(f"DROP DATABASE {bare} WITH (FORCE)")

    @pytest.fixture
    def schema(self, role: str) -> str:
        """In which the role may create, with a table ``t`` of another role that vecport could have made."""
        name = fresh("s")
        admin(f"CREATE SCHEMA {name}", f'GRANT USAGE, CREATE ON SCHEMA {name} TO "{role}"')
        return name

    def made(self, schema: str, dump: Path) -> str:
        """A table that an import of the superuser's created."""
        import_(dump, address("postgres"), collection=f"{schema}.t")
        return f"{schema}.t"

    def test_adding_to_a_table_of_another_owner(self, role: str, check: Any, schema: str) -> None:
        table = f"{schema}.t"
        admin(f"CREATE TABLE {table} (id text PRIMARY KEY, embedding vector(2), n int)")
        wanted = [READ, "insert records", "replace records"]
        found = check(table, *wanted, if_exists="append")
        assert missing(found)["replace records"] == f'GRANT UPDATE ON "{schema}"."t" TO "{role}";'
        for what in wanted:
            admin(missing(found)[what])
            wanted = [w for w in wanted if w != what]
            check(table, *wanted, if_exists="append")
        assert admin(f"SELECT count(*) FROM {table}") == [(3,)]
        admin(f'REVOKE UPDATE ON {table} FROM "{role}"')
        check(table, if_exists="append", on_conflict="skip")
        admin(f'REVOKE CREATE ON SCHEMA {schema} FROM "{role}"')
        check(table, RECORD, if_exists="append", on_conflict="skip")
        admin(f'GRANT CREATE ON SCHEMA {schema} TO "{role}"')
        run(f"REVOKE TEMPORARY ON DATABASE {DATABASE} FROM PUBLIC")
        try:
            found = check(table, "make a temporary table", if_exists="append", on_conflict="skip")
            run(missing(found)["make a temporary table"])
            check(table, if_exists="append", on_conflict="skip")
        finally:
            run(f"GRANT TEMPORARY ON DATABASE {DATABASE} TO PUBLIC")

    def test_inserting_into_some_columns_cannot_be_told(self, role: str, check: Any, schema: str) -> None:
        table = f"{schema}.t"
        admin(
            f"CREATE TABLE {table} (id text PRIMARY KEY, embedding vector(2), n int, other int)",
            f'GRANT SELECT, INSERT (id, embedding, n), UPDATE (embedding, n) ON {table} TO "{role}"',
        )
        found = check(table, if_exists="append")
        unknown = [p for p in found.facts["permissions"] if p["allowed"] is None]
        assert [p["what"] for p in unknown] == ["insert records", "replace records"]
        assert all("granted on some columns" in p["why"] for p in unknown)

    def test_only_its_owner_comments_on_a_table_of_vecport(
        self, role: str, check: Any, schema: str, dump: Path
    ) -> None:
        table = self.made(schema, dump)
        admin(f'GRANT ALL ON {table} TO "{role}"')
        found = check(table, OWN, if_exists="append")
        assert missing(found)[OWN] == f'ALTER TABLE "{schema}"."t" OWNER TO "{role}";'
        admin(missing(found)[OWN])
        check(table, if_exists="append")

    def test_only_its_owner_replaces_a_table(self, role: str, check: Any, schema: str, dump: Path) -> None:
        table = self.made(schema, dump)
        what = "drop the table that is there"
        admin(f'GRANT ALL ON {table} TO "{role}"')
        found = check(table, what, if_exists="replace")
        assert admin(f"SELECT count(*) FROM {table}") == [(3,)]
        admin(missing(found)[what])
        check(table, if_exists="replace")

    def test_row_security_of_the_table_is_in_the_way(self, role: str, check: Any, schema: str) -> None:
        table = f"{schema}.t"
        admin(
            f"CREATE TABLE {table} (id text PRIMARY KEY, embedding vector(2), n int)",
            f'GRANT ALL ON {table} TO "{role}"', f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY",
            f"CREATE POLICY everything ON {table} USING (true)",
        )  # fmt: skip
        check(table, READ, if_exists="append")

    def test_another_roles_records_of_what_was_written(self, role: str, check: Any, schema: str, dump: Path) -> None:
        ack = f"{schema}._vecport_ack"
        admin(f'CREATE TABLE {ack} (import_id text, target oid, shard text, "group" integer,'
              ' PRIMARY KEY (import_id, target, shard, "group"))')  # fmt: skip
        what = f"record what was written in {ack}"
        found = check(f"{schema}.t", what)
        assert missing(found)[what] == f'GRANT SELECT, INSERT, DELETE ON "{schema}"."_vecport_ack" TO "{role}";'
        admin(missing(found)[what])
        check(f"{schema}.t")
        assert admin(f"SELECT count(*) FROM {ack}") == [(0,)], "only its owner may drop it"
        import_(dump, address("postgres"), collection=f"{schema}.u")
        assert admin(f"SELECT to_regclass('{ack}')") == [(None,)]


def test_a_schema_that_is_not_there_is_named(role: str, dump: Path) -> None:
    found = plan(str(dump), address("postgres"), collection="nowhere.t")
    assert missing(found) == {CREATE: 'CREATE SCHEMA "nowhere";'}
    with pytest.raises(VecportError, match="there is no schema 'nowhere'"):
        import_(dump, address("postgres"), collection="nowhere.t")


def test_a_plan_writes_nothing_and_leaves_no_session(role: str, dump: Path) -> None:
    before = admin("SELECT count(*), max(oid::int8) FROM pg_class")
    plan(str(dump), address("postgres"), collection="new")
    plan(address("postgres"), address("postgres"), collection=filled("planned"), target_collection="new")
    admin("DROP TABLE planned")
    assert admin("SELECT count(*) FROM pg_class")[0][0] == before[0][0]
