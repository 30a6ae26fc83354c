"""Connections: from an address to libpq parameters, the two clients, and the settings under which everything runs."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from ... import idle
from ...errors import UsageError
from ..address import Place, is_loopback
from ..kit.waiting import apart
from ..report import UNHEARD
from ..secrets import Secret, refuse_control
from . import sql
from .failures import translated

if TYPE_CHECKING:
    import psycopg

    from .line import Apart

    Connection = psycopg.Connection[tuple[Any, ...]]

#: Query parameters of an address that are passed on to libpq.
_PARAMETERS: Final = """host hostaddr port user dbname sslmode sslrootcert sslcert sslkey sslcrl sslnegotiation sslsni
    ssl_min_protocol_version channel_binding gssencmode krbsrvname require_auth connect_timeout application_name
    target_session_attrs load_balance_hosts keepalives keepalives_idle keepalives_interval keepalives_count
    tcp_user_timeout passfile service options"""
PARAMETERS: Final = frozenset(_PARAMETERS.split())
_CONNECT_SECONDS: Final = 30
#: By these a connection over which nothing comes back is given up by the system itself.
_KEEPALIVE: Final = {"keepalives_idle": "30", "keepalives_interval": "10", "keepalives_count": "3"}
#: The version of libpq that knows ``require_auth``; ADBC brings its own, which does.
_REQUIRE_AUTH: Final = 160_000
_TLS: Final = frozenset({"sslmode", "require_auth", "service"})
_SECRETS: Final = frozenset({"password", "sslpassword"})

READ: Final = "read"
SCAN: Final = "scan"
WRITE: Final = "write"

#: Under these, the text of a value says all of it and reads back the same everywhere. They are set inside each
#: transaction, so that a pooler that hands the connection around cannot lose them.
_SETTINGS: Final = (
    "SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = {lock_ms};"
    " SET LOCAL idle_in_transaction_session_timeout = 0;"
    " SET LOCAL extra_float_digits = 3; SET LOCAL DateStyle = 'ISO, MDY'; SET LOCAL IntervalStyle = postgres;"
    " SET LOCAL TimeZone = 'UTC'; SET LOCAL bytea_output = hex; SET LOCAL row_security = off;"
    " SET LOCAL lc_monetary = 'C'"
)
#: By mode: the transaction, and what is set in it. A scan gives rows in the order of the heap only if no other plan is
#: chosen; a commit that is reported is on disk.
_MODES: Final = {
    READ: ("ISOLATION LEVEL REPEATABLE READ READ ONLY", "SET LOCAL jit = off"),
    SCAN: (
        "ISOLATION LEVEL REPEATABLE READ READ ONLY",
        "SET LOCAL synchronize_seqscans = off; SET LOCAL max_parallel_workers_per_gather = 0; SET LOCAL jit = off",
    ),
    WRITE: ("ISOLATION LEVEL READ COMMITTED READ WRITE", "SET LOCAL synchronous_commit = on"),
}
_TRANSACTION_TIMEOUT: Final = 170_000

_BARE: Final = re.compile(r"[A-Za-z0-9_.,/@:+-]+")


def parameters(place: Place) -> dict[str, str]:
    """The libpq parameters of an address.

    A password that is not in the place comes from ``PGPASSWORD`` or ``.pgpass``: libpq reads both itself. Without
    ``sslmode``, a server that is not on this machine gets no password in clear text.

    Raises:
        UsageError: a parameter that is not on the allow-list, or a password among them; values are never echoed.
    """
    out = {"client_encoding": "UTF8", "application_name": "vecport"}
    seconds = idle.timeout_s()
    if "PGCONNECT_TIMEOUT" not in os.environ:
        out["connect_timeout"] = str(max(2, round(min(_CONNECT_SECONDS, seconds))))
    out |= _KEEPALIVE | {"tcp_user_timeout": str(round(1000 * seconds))}
    for key, value in place.query.items():
        if key in _SECRETS:
            raise UsageError(
                f"the address holds {key}",
                why="command lines are seen by every user of this machine and stay in the shell's history",
                next="put it into PGPASSWORD or ~/.pgpass",
            )
        if key not in PARAMETERS:
            raise UsageError(
                f"the address has the unknown parameter {key!r}", next=f"one of: {', '.join(sorted(PARAMETERS))}"
            )
        out[key] = value
    if place.host:
        out["host"] = place.host
    if place.port is not None:
        out["port"] = str(place.port)
    if place.user:
        out["user"] = place.user
    if place.path:
        out["dbname"] = place.path
    if place.password is not None:
        out["password"] = place.password.reveal()
    elif "service" not in out and (exported := _exported_password()):
        out["password"] = exported
    if place.tls:
        out.setdefault("sslmode", "require")
    chosen = any(name in os.environ for name in ("PGSSLMODE", "PGREQUIREAUTH")) or out.keys() & _TLS
    if not chosen and not is_loopback(out.get("host", os.environ.get("PGHOST", ""))):
        out["require_auth"] = "!password"
    return out


def _exported_password() -> str | None:
    """``PGPASSWORD`` without line ends around it, which libpq would send; None where libpq may take it as it is.

    Raises:
        UsageError: another control character stands in it.
    """
    given = os.environ.get("PGPASSWORD", "")
    password = given.strip("\r\n")
    refuse_control(password, "PGPASSWORD")
    return Secret(password).reveal() if password != given else None


def connect(place: Place, check: Callable[[], None] = UNHEARD.check) -> Connection:
    """Open a connection for statements and COPY IN, in autocommit mode.

    Args:
        place: where to.
        check: raises when the user wants to stop; asked while the connection waits.

    Raises:
        AuthenticationFailed, NotFound (database), Unavailable.
    """
    from .line import Line, Quiet

    text = _own_conninfo(place)
    with translated(place.text, place.password):
        # Prepared statements would not survive a pooler.
        line: Line = apart(lambda: Line.connect(text, autocommit=True, prepare_threshold=None), check)
    line.quiet = Quiet(text, check)
    return line


def _own_conninfo(place: Place) -> str:
    """The connection string for psycopg's libpq."""
    import psycopg

    values = parameters(place)
    if psycopg.pq.version() < _REQUIRE_AUTH:
        values.pop("require_auth", None)
    return conninfo(values)


def begin(connection: Connection, mode: str, snapshot: str = "") -> None:
    """Begin a transaction; see ``opening``."""
    quiet = getattr(connection, "quiet", None)
    connection.execute(opening(connection.info.server_version, mode, snapshot, quiet.name if quiet else "").encode())


def opening(version: int, mode: str, snapshot: str = "", name: str = "") -> str:
    """The statements that begin a transaction under fixed settings.

    Args:
        version: of the server, as 180004.
        mode: ``READ``, ``SCAN`` or ``WRITE``.
        snapshot: name of an exported snapshot to join.
        name: of the application, by which the transaction's process can be found; ``""`` keeps that of the connection.
    """
    transaction, settings = _MODES[mode]
    statements = [f"BEGIN {transaction}"]
    if snapshot:
        statements.append(f"SET TRANSACTION SNAPSHOT {sql.literal(snapshot)}")
    statements.append(_SETTINGS.format(lock_ms=max(1, round(1000 * idle.timeout_s()))))
    if version >= _TRANSACTION_TIMEOUT:
        statements.append("SET LOCAL transaction_timeout = 0")
    if name:
        statements.append(f"SET LOCAL application_name = {sql.literal(name)}")
    statements.append(settings)
    return "; ".join(statements)


def run(connection: Connection, statement: str, parameters: Sequence[Any] = ()) -> Any:
    """Run one statement with ``$1`` for parameters, so that a percent sign in a quoted name is only that.

    Returns:
        The cursor.
    """
    import psycopg

    return psycopg.RawCursor(connection).execute(statement, list(parameters) or None)


def connect_columnar(place: Place, check: Callable[[], None] = UNHEARD.check) -> Apart:
    """Open an ADBC connection, which gives query results as Arrow batches; transactions are begun by hand.

    Args:
        place, check: as for ``connect``.
    """
    import adbc_driver_postgresql.dbapi as adbc

    from .line import Apart, Quiet

    text = conninfo(parameters(place))
    with translated(place.text, place.password):
        return Apart(lambda: adbc.connect(text, autocommit=True), Quiet(_own_conninfo(place), check))


def conninfo(values: dict[str, str]) -> str:
    """Spell libpq parameters as a connection string."""
    return " ".join(f"{key}={_conninfo_value(value)}" for key, value in values.items())


def _conninfo_value(value: str) -> str:
    if _BARE.fullmatch(value):
        return value
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
