"""Connections to Postgres and their failures: settings, passwords, addresses, errors by SQLSTATE."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import psycopg
import pytest

from vecport.connectors.address import parse
from vecport.connectors.contract import Mark
from vecport.connectors.postgres import client as connections
from vecport.connectors.postgres import failures
from vecport.connectors.secrets import Secret
from vecport.errors import (
    AlreadyExists,
    AuthenticationFailed,
    IntegrityError,
    NotFound,
    NotRepresentable,
    OutOfResources,
    Unavailable,
    UsageError,
    VecportError,
)
from vecport.model.collection import Collection, Field
from vecport.testing.engines import PostgresEngine
from vecport.testing.engines.base import free_port

from .support import (
    CONNECTOR,
    SHARD,
    connect,
    free,
    fresh,
    numbered,
    plan_for,
    pump,
    rows,
    run,
    server_place,
    source,
    target,
)

pytestmark = pytest.mark.usefixtures("no_acknowledgements")


# ---- permissions, settings, failures ----


def test_a_missing_permission_to_create_is_said() -> None:
    run(
        "DO $$ BEGIN CREATE ROLE writer LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$",
        "REVOKE CREATE ON SCHEMA public FROM PUBLIC",
    )
    collection, (page,) = free(3)
    denied = pytest.raises(AuthenticationFailed, match="permission denied for schema public")
    with target(collection.name, replace(server_place(), user="writer")) as writing, denied:
        writing.prepare(plan_for(collection, [page]))


def test_settings_of_the_role_do_not_reach_the_load() -> None:
    settings = {
        "default_transaction_read_only": "on",
        "default_transaction_isolation": "'serializable'",
        "DateStyle": "'German'",
        "synchronous_commit": "off",
        "standard_conforming_strings": "off",
        "client_encoding": "'LATIN1'",
        "TimeZone": "'Asia/Kathmandu'",
    }
    table = fresh()
    run(
        f"CREATE TABLE {table} (id int PRIMARY KEY, d date, t timestamptz, s text, e vector(1))",
        f"INSERT INTO {table} VALUES (1, '2024-02-03', '2024-02-03 04:05:06+00', '\u65e5\\\\', '[1]'),"
        " (2, 'infinity', '-infinity', '', NULL)",
        *(f"ALTER ROLE postgres SET {name} = {value}" for name, value in settings.items()),
    )
    try:
        copy = pump(table)
        with target(table) as writing, writing._transaction(connections.WRITE) as connection:
            assert connection.execute("SHOW synchronous_commit").fetchone() == ("on",)
            for name in ("statement_timeout", "transaction_timeout", "idle_in_transaction_session_timeout"):
                assert connection.execute(f"SELECT current_setting('{name}', true) IN ('0', '')").fetchone() != (False,)
            assert connection.execute("SHOW transaction_isolation").fetchone() == ("read committed",)
    finally:
        with connect(autocommit=True) as connection:
            connection.execute("SET default_transaction_read_only = off")
            connection.execute("ALTER ROLE postgres RESET ALL")
    assert rows(copy) == rows(table)


def test_a_server_that_is_down_is_unavailable_and_comes_back() -> None:
    collection, (page,) = free(3)
    dead = replace(server_place(), port=free_port())
    with target(collection.name, dead) as writing, pytest.raises(Unavailable, match="Connection refused"):
        writing.prepare(plan_for(collection, [page]))
    with source("t", place=dead) as reading, pytest.raises(Unavailable):
        reading.snapshot()
    with source("t", place=replace(server_place(), host="no.such.host.invalid")) as reading, pytest.raises(Unavailable):
        reading.describe()


@pytest.fixture(scope="module")
def guarded() -> Iterator[PostgresEngine]:
    """A server that asks for a password with hard characters."""
    with PostgresEngine(fsync=False, password=PASSWORD) as server:
        yield server


PASSWORD = "pass'w\\ord %41 \u00e9 canary-5f1d"


def test_passwords_work_on_both_connections_and_are_never_shown(guarded: PostgresEngine, capfd: Any) -> None:
    place = replace(parse(guarded.address), password=Secret(PASSWORD))
    collection, (page,) = free(3)
    with target(collection.name, place) as writing:
        writing.prepare(plan_for(collection, [page]))
        writing.write(page, Mark(SHARD, 0))
        writing.finish({})
    with source(collection.name, place=place) as reading:
        reading.snapshot()
        (read,) = reading.scan({"from": 0, "to": None}, None, 10)
    assert read.batch.equals(page)
    for secret in (Secret("wrong-canary-5f1d"), None):
        with pytest.raises(AuthenticationFailed) as caught:
            CONNECTOR.collections(replace(place, password=secret))
        assert caught.value.exit_code == 12
        assert "5f1d" not in f"{caught.value} {caught.value.__cause__!r} {caught.value!r}"
    assert "5f1d" not in "".join(capfd.readouterr())


def test_the_password_may_come_from_the_environment(guarded: PostgresEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    with source("missing", place=parse(guarded.address)) as reading, pytest.raises(NotFound):
        reading.describe()


def test_an_unknown_role_is_refused() -> None:
    with pytest.raises(AuthenticationFailed, match='role "nobody" does not exist'):
        CONNECTOR.collections(replace(server_place(), user="nobody"))


# ---- addresses ----


def test_addresses_become_parameters_of_libpq() -> None:
    def of(address: str) -> dict[str, str]:
        found = connections.parameters(parse(address, allow_password=True))
        assert found.pop("client_encoding") == "UTF8"
        return found

    vecport = {
        "application_name": "vecport", "connect_timeout": "30", "tcp_user_timeout": "60000",
        "keepalives_idle": "30", "keepalives_interval": "10", "keepalives_count": "3",
    }  # fmt: skip
    assert of("postgresql://me@localhost:5433/prod") == vecport | {
        "user": "me", "host": "localhost", "port": "5433", "dbname": "prod",
    }  # fmt: skip
    assert of("postgresql:///prod?host=/var/run/postgresql&application_name=a") == vecport | {
        "application_name": "a", "dbname": "prod", "host": "/var/run/postgresql",
    }  # fmt: skip
    # Without TLS, a server elsewhere never gets the password in clear text.
    assert of("postgresql://db/prod")["require_auth"] == "!password"
    assert "require_auth" not in of("postgresql://db/prod?sslmode=verify-full")
    assert of("postgresql+tls://db/prod")["sslmode"] == "require"
    assert of("postgres://u:p%40ss@localhost/")["password"] == "p@ss"


@pytest.mark.parametrize("query", ["password=canary", "sslpassword=canary", "unknown=canary", "hostt=canary"])
def test_other_parameters_are_refused_without_their_values(query: str) -> None:
    with pytest.raises(UsageError) as caught:
        CONNECTOR.collections(parse(f"postgresql://localhost/db?{query}"))
    assert "canary" not in str(caught.value)


def test_connection_strings_quote_every_value() -> None:
    for text in ("", " ", "a'b\\c", "x y=z", "plain", "/run/dir", "\u00e9", "' or host='x"):
        parsed = psycopg.conninfo.conninfo_to_dict(connections.conninfo({"user": text, "host": "h"}))
        assert parsed == {"user": text, "host": "h"}


# ---- errors by SQLSTATE ----


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("28P01", AuthenticationFailed), ("28000", AuthenticationFailed), ("42501", AuthenticationFailed),
        ("08006", Unavailable), ("08001", Unavailable), ("57P01", Unavailable), ("57P03", Unavailable),
        ("57014", Unavailable), ("53300", Unavailable), ("40001", Unavailable), ("40P01", Unavailable),
        ("55P03", Unavailable),
        ("42P01", NotFound), ("3D000", NotFound), ("3F000", NotFound), ("42704", NotFound),
        ("42P07", AlreadyExists), ("2BP01", AlreadyExists),
        ("53100", OutOfResources), ("53200", OutOfResources), ("58030", OutOfResources),
        ("22003", NotRepresentable), ("22P05", NotRepresentable), ("22021", NotRepresentable),
        ("54000", NotRepresentable),
        ("0A000", NotRepresentable), ("23502", NotRepresentable), ("23505", IntegrityError), ("XX001", IntegrityError),
        ("25006", UsageError), ("42601", NotRepresentable),
    ],
)  # fmt: skip
def test_errors_follow_sqlstate(code: str, kind: type[VecportError]) -> None:
    detail = SimpleNamespace(message_primary="it says canary", message_detail="why", message_hint="do that")
    error = failures.translate(SimpleNamespace(sqlstate=code, diag=detail), "table t", Secret("canary"))
    assert type(error) is kind
    assert error.what.startswith("table t: ")
    assert error.why.startswith("it says ****; why")
    assert error.next == "do that"


def test_a_standby_is_said_to_be_read_only() -> None:
    message = "cannot set transaction read-write mode during recovery"
    detail = SimpleNamespace(message_primary=message, message_detail=None, message_hint=None)
    error = failures.translate(SimpleNamespace(sqlstate="0A000", diag=detail), "table t")
    assert type(error) is UsageError
    assert "standby" in error.why


def test_an_index_row_that_is_too_large_is_not_representable() -> None:
    collection = Collection(fresh(), "string", (), (), (Field("k", "text", nullable=False),))
    text = "".join(np.random.default_rng(7).choice(list("abcdefghijklmnopqrstuvwxyz0123456789"), 3_000))
    with target(collection.name) as writing:
        writing.prepare(plan_for(collection, []))
        with pytest.raises(NotRepresentable, match="exceeds btree"):
            writing.write(numbered(collection, [text]), Mark(SHARD, 0))


def test_a_session_must_be_prepared_before_it_writes() -> None:
    collection, (page,) = free(1)
    with target(collection.name) as writing:
        for call in (lambda: writing.write(page, Mark(SHARD, 0)), writing.acknowledged, lambda: writing.finish({})):
            with pytest.raises(UsageError, match="neither prepared nor attached"):
                call()
        with pytest.raises(NotFound):
            writing.count()
