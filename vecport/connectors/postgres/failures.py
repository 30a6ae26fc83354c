"""What the server and libpq report, as errors of vecport: the table for ``kit.errors``.

Facts: SQLSTATE codes are those of the appendix "PostgreSQL Error Codes". A failed connection carries no code, so its
message is read, and libpq is asked whether a password was used.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from ...errors import (
    AlreadyExists,
    AuthenticationFailed,
    IntegrityError,
    NotFound,
    NotRepresentable,
    OutOfResources,
    Unavailable,
    Unreachable,
    UsageError,
    VecportError,
)
from ..kit.errors import RUNS, Failure, Rule, made
from ..secrets import Secret
from .arrow import Batch, pa

_RETRY: Final = "the connection or the transaction is lost, nothing of it was acknowledged"
_LOGIN: Final = "{where}: Postgres refuses the login or the permission"
_ABSENT: Final = "{where}: not found"
_SILENT: Final = "{where}: Postgres does not answer or gave up"
_FULL: Final = "{where}: Postgres is out of space or memory"
_REFUSED: Final = "{where}: refused by Postgres"
_LOST: Final = (
    "server closed the connection|connection already closed|connection is lost|consuming input|no connection to"
    "|terminating connection|could not receive data|SSL"
)
#: What libpq, its resolver and the system say where no connection could be made.
_NOBODY: Final = (
    "(?i)connection refused|could not translate host name|failed to resolve|name resolution|name or service not known"
    "|no route to host|network is unreachable|timeout expired|is the server running|no such file or directory"
)
#: What libpq says of an answer that is not one of a Postgres server.
_STRANGER: Final = (
    "received invalid response to|expected authentication request|invalid response to SSL|unexpected response"
)
#: How every code begins.
_ANY: Final = ("",)

#: Codes before their classes, and behind them what comes without a code: most of it on connecting.
RULES: Final = (
    Rule(
        AuthenticationFailed, "{where}: row security hides some of its rows from this role",
        "a part of a table would look like all of it", "nothing was read or written",
        "connect as a role that sees every row: one with BYPASSRLS, or the owner",
        codes=("42501",), text="row-level security",
    ),
    Rule(AuthenticationFailed, _LOGIN, "the role lacks a permission", codes=("42501",)),
    Rule(AuthenticationFailed, _LOGIN, codes=("28",)),
    Rule(NotFound, _ABSENT, codes=("42P01", "42704", "3D000", "3F000")),
    Rule(AlreadyExists, _REFUSED, codes=("42P07",)),
    Rule(AlreadyExists, _REFUSED, "other objects depend on it", codes=("2BP01",)),
    Rule(IntegrityError, _REFUSED, "two records have the same key", codes=("23505", "21000")),
    Rule(IntegrityError, _REFUSED, "the server reports an internal error or damaged data", codes=("XX",)),
    Rule(NotRepresentable, _REFUSED, "a column takes no NULL", codes=("23502",)),
    Rule(NotRepresentable, _REFUSED, "a check of the table refuses it", codes=("23514",)),
    Rule(NotRepresentable, _REFUSED, "a foreign key refuses it", codes=("23503",)),
    Rule(NotRepresentable, _REFUSED, "an exclusion constraint refuses it", codes=("23P01",)),
    Rule(NotRepresentable, _REFUSED, "the check option of a view refuses it", codes=("44000",)),
    Rule(NotRepresentable, _REFUSED, "a limit of the server is exceeded", codes=("54000", "54011")),
    Rule(NotRepresentable, _REFUSED, "the server refuses the value", codes=("22",)),
    Rule(NotRepresentable, _REFUSED, "a trigger or a function of the database refuses it", codes=("P0",)),
    Rule(UsageError, _REFUSED, "the server is a standby, which is read-only",
         codes=("0A000",), text="during recovery"),
    Rule(NotRepresentable, _REFUSED, "the server does not support it", codes=("0A",)),
    Rule(UsageError, _REFUSED, "the server or the role is read-only", codes=("25006",)),
    Rule(Unavailable, _SILENT, "another session holds a lock for longer than --timeout", codes=("55P03",)),
    Rule(Unavailable, _SILENT, "the server has no free connection", codes=("53300",)),
    Rule(Unavailable, _SILENT, "the server cancelled the statement", codes=("57014",)),
    Rule(Unavailable, _SILENT, _RETRY, codes=("40001", "40P01", "08", "57")),
    Rule(OutOfResources, _FULL, "the server's file system reports a failure", codes=("58",)),
    Rule(OutOfResources, _FULL, codes=("53",)),
    Rule(NotRepresentable, _REFUSED, codes=_ANY),
    Rule(NotRepresentable, _REFUSED, names=("DataError",)),
    Rule(UsageError, _REFUSED, "the address has a parameter that libpq refuses", names=("ProgrammingError",)),
    Rule(NotFound, _ABSENT, text='(?s)database ".*does not exist'),
    Rule(
        AuthenticationFailed, _LOGIN,
        text="authentication failed|no password supplied|no pg_hba.conf entry|role \"|authentication method"
        "|permission denied for database|certificate|is not permitted to log in|password is empty",
    ),
    # Servers speak the language of their administrator, so the words above need not be there.
    Rule(AuthenticationFailed, _LOGIN, marks=("refused with a password",)),
    Rule(NotFound, "{where}: what answers there is no Postgres server", text=_STRANGER,
         next="check host and port"),
    Rule(Unreachable, _SILENT, text=_NOBODY, next=RUNS),
    Rule(Unavailable, _SILENT, _RETRY, text=_LOST),
    Rule(Unavailable, _SILENT),
)  # fmt: skip
_ADBC: Final = re.compile(r"\A[A-Z_]+: (?:\[libpq\] )?|\s*Query (?:was|failed):.*|\s*SQLSTATE: \w+\s*\Z", re.DOTALL)


@contextmanager
def translated(what: str, secret: Secret | None = None) -> Iterator[None]:
    """Turn errors of psycopg and ADBC into errors of vecport.

    Args:
        what: the object that is being worked on, for the message.
        secret: never shown, should the client repeat it.
    """
    import psycopg

    kinds: tuple[type[Exception], ...] = (psycopg.Error,)
    # ADBC is not imported for the sake of its errors.
    if "adbc_driver_manager" in sys.modules:
        kinds += (sys.modules["adbc_driver_manager"].Error,)
    try:
        yield
    except kinds as error:
        raise translate(error, what, secret) from error
    except UnicodeDecodeError as error:
        raise NotRepresentable(
            f"{what}: Postgres gives text that is not UTF-8", why=str(error), safe="nothing of it was taken"
        ) from error


def broken_streams(batches: Iterable[Batch], what: str) -> Iterator[Batch]:
    """Pass on the batches of a result, and translate a failure in its middle.

    Arrow reports it as an ``OSError`` or one of its own errors, with the message of libpq and no SQLSTATE.
    """
    try:
        yield from batches
    except (OSError, pa.ArrowException) as error:
        message = _ADBC.sub("", str(error)).strip()
        if re.search(_LOST, message):
            raise Unavailable(f"reading {what!r} broke off", why=message, safe=_RETRY) from error
        if "canceling statement" in message:
            raise Unavailable(f"reading {what!r} was cancelled", why=message) from error
        if "invalid byte sequence for encoding" in message:
            raise NotRepresentable(f"{what!r} holds text that is not UTF-8", why=message) from error
        raise IntegrityError(f"the database cannot give all rows of {what!r}", why=message) from error


def translate(error: Any, what: str, secret: Secret | None = None) -> VecportError:
    """Return the error of vecport for one of psycopg or ADBC; see ``translated``."""
    return made(_read(error), what, RULES, secrets=(secret,))


def sqlstate(error: BaseException) -> str:
    """The five characters of SQLSTATE, ``""`` where the client has none."""
    return getattr(error, "sqlstate", None) or ""


def _read(error: Any) -> Failure:
    """What is known of an error; a code that no rule names stands in the text."""
    code = sqlstate(error)
    message, detail, hint = _texts(error)
    known = tuple(start for rule in RULES for start in rule.codes if start)
    unknown = f"SQLSTATE {code}" if code and not code.startswith(known) else ""
    connection = getattr(error, "pgconn", None)
    asked = connection is not None and (connection.needs_password or connection.used_password)
    return Failure(
        # ADBC has classes of the same names for other failures.
        names=frozenset(cls.__name__ for cls in type(error).__mro__ if cls.__module__.startswith("psycopg")),
        code=code,
        text="; ".join(part for part in (message, detail, unknown) if part),
        marks=frozenset({"refused with a password"} if asked and "FATAL" in message else ()),
        hint=hint,
    )


def _texts(error: Any) -> tuple[str, str, str]:
    """Message, detail and hint."""
    diagnostics = getattr(error, "diag", None)
    if diagnostics is not None and diagnostics.message_primary:
        return diagnostics.message_primary, diagnostics.message_detail or "", diagnostics.message_hint or ""
    return _ADBC.sub("", str(error)).strip(), "", ""
