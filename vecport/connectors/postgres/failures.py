"""What the server and libpq report, as errors of vecport.

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
    UsageError,
    VecportError,
)
from ..secrets import Secret
from .arrow import Batch, pa

_RETRY: Final = "the connection or the transaction is lost, nothing of it was acknowledged"
_ROW_SECURITY: Final = "row-level security"
_PERMISSION: Final = "the role lacks a permission"

#: By code, then by class: the error, and what to tell about it.
_CODES: Final[dict[str, tuple[type[VecportError], str]]] = {
    "42501": (AuthenticationFailed, _PERMISSION),
    "42P01": (NotFound, ""),
    "3D000": (NotFound, ""),
    "3F000": (NotFound, ""),
    "42P07": (AlreadyExists, ""),
    "2BP01": (AlreadyExists, "other objects depend on it"),
    "23505": (IntegrityError, "two records have the same key"),
    "21000": (IntegrityError, "two records have the same key"),
    "23502": (NotRepresentable, "a column takes no NULL"),
    "23514": (NotRepresentable, "a check of the table refuses it"),
    "23503": (NotRepresentable, "a foreign key refuses it"),
    "23P01": (NotRepresentable, "an exclusion constraint refuses it"),
    "44000": (NotRepresentable, "the check option of a view refuses it"),
    "54000": (NotRepresentable, "a limit of the server is exceeded"),
    "54011": (NotRepresentable, "a limit of the server is exceeded"),
    "42704": (NotFound, ""),
    "40001": (Unavailable, _RETRY),
    "40P01": (Unavailable, _RETRY),
    "55P03": (Unavailable, "another session holds a lock"),
    "53300": (Unavailable, "the server has no free connection"),
    "57014": (Unavailable, "the server cancelled the statement"),
    "25006": (UsageError, "the server or the role is read-only"),
}
_CLASSES: Final[dict[str, tuple[type[VecportError], str]]] = {
    "28": (AuthenticationFailed, ""),
    "08": (Unavailable, _RETRY),
    "57": (Unavailable, _RETRY),
    "58": (OutOfResources, "the server's file system reports a failure"),
    "53": (OutOfResources, ""),
    "22": (NotRepresentable, "the server refuses the value"),
    "0A": (NotRepresentable, "the server does not support it"),
    "P0": (NotRepresentable, "a trigger or a function of the database refuses it"),
    "XX": (IntegrityError, "the server reports an internal error or damaged data"),
}
_AUTHENTICATION: Final = (
    "authentication failed", "no password supplied", "no pg_hba.conf entry", "role \"", "authentication method",
    "permission denied for database", "certificate", "is not permitted to log in", "password is empty",
)  # fmt: skip
_LOST: Final = (
    "server closed the connection", "connection already closed", "connection is lost", "consuming input",
    "no connection to", "terminating connection", "could not receive data", "SSL",
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


def broken_streams(batches: Iterable[Batch], what: str) -> Iterator[Batch]:
    """Pass on the batches of a result, and translate a failure in its middle.

    Arrow reports it as an ``OSError`` or one of its own errors, with the message of libpq and no SQLSTATE.
    """
    try:
        yield from batches
    except (OSError, pa.ArrowException) as error:
        message = _ADBC.sub("", str(error)).strip()
        if any(part in message for part in _LOST):
            raise Unavailable(f"reading {what!r} broke off", why=message, safe=_RETRY) from error
        if "canceling statement" in message:
            raise Unavailable(f"reading {what!r} was cancelled", why=message) from error
        if "invalid byte sequence for encoding" in message:
            raise NotRepresentable(f"{what!r} holds text that is not UTF-8", why=message) from error
        raise IntegrityError(f"the database cannot give all rows of {what!r}", why=message) from error


def translate(error: Any, what: str, secret: Secret | None = None) -> VecportError:
    """Return the error of vecport for one of psycopg or ADBC; see ``translated``."""
    code = sqlstate(error)
    message, detail, hint = (_redact(text, secret) for text in _texts(error))
    kind, why = _kind(code, message, error)
    reason = "; ".join(part for part in (message, detail, why) if part)
    if code == "42501" and _ROW_SECURITY in message:
        return kind(
            f"{what}: row security hides some of its rows from this role",
            why=f"{reason}; a part of a table would look like all of it",
            safe="nothing was read or written",
            next="connect as a role that sees every row: one with BYPASSRLS, or the owner",
        )
    return kind(f"{what}: {_TITLES.get(kind, 'refused by Postgres')}", why=reason, next=hint)


_TITLES: Final[dict[type[VecportError], str]] = {
    AuthenticationFailed: "Postgres refuses the login or the permission",
    NotFound: "not found",
    Unavailable: "Postgres does not answer or gave up",
    OutOfResources: "Postgres is out of space or memory",
}


def sqlstate(error: BaseException) -> str:
    """The five characters of SQLSTATE, ``""`` where the client has none."""
    return getattr(error, "sqlstate", None) or ""


def _kind(code: str, message: str, error: Any) -> tuple[type[VecportError], str]:
    if code == "0A000" and "during recovery" in message:
        return UsageError, "the server is a standby, which is read-only"
    if code in _CODES:
        return _CODES[code]
    if code[:2] in _CLASSES:
        return _CLASSES[code[:2]]
    if code:
        return VecportError, f"SQLSTATE {code}"
    return _connection_failure(message, error)


def _connection_failure(message: str, error: Any) -> tuple[type[VecportError], str]:
    """Tell apart the failures that come without SQLSTATE, most of them on connecting."""
    import psycopg

    if isinstance(error, psycopg.DataError):
        return NotRepresentable, ""
    if isinstance(error, psycopg.ProgrammingError):
        return UsageError, "the address has a parameter that libpq refuses"
    if 'database "' in message and "does not exist" in message:
        return NotFound, ""
    if any(part in message for part in _AUTHENTICATION):
        return AuthenticationFailed, ""
    connection = getattr(error, "pgconn", None)
    # Servers speak the language of their administrator, so the words above need not be there.
    if connection is not None and "FATAL" in message and (connection.needs_password or connection.used_password):
        return AuthenticationFailed, ""
    return Unavailable, _RETRY if any(part in message for part in _LOST) else ""


def _texts(error: Any) -> tuple[str, str, str]:
    """Message, detail and hint."""
    diagnostics = getattr(error, "diag", None)
    if diagnostics is not None and diagnostics.message_primary:
        return diagnostics.message_primary, diagnostics.message_detail or "", diagnostics.message_hint or ""
    return _ADBC.sub("", str(error)).strip(), "", ""


def _redact(text: str, secret: Secret | None) -> str:
    return text.replace(secret.reveal(), str(secret)) if secret else text
