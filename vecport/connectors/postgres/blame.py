"""Which record of a row group it is that the table refuses.

COPY fails as a whole, and the server's message names a constraint, not a record. So halves are written (``kit.blame``)
in a transaction that is never committed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ...errors import IntegrityError, NotRepresentable, VecportError
from ..kit import blame as halving
from . import sql
from .arrow import Batch
from .client import run
from .failures import sqlstate, translate
from .loader import STAGE

if TYPE_CHECKING:
    from .client import Connection


def is_poison(error: Exception) -> bool:
    """Whether an error of a load may be about one record, and not about the connection, the role or the server."""
    import psycopg

    if isinstance(error, psycopg.Error):
        # A trigger may raise any code, which is then a plain error of vecport.
        kind = type(translate(error, ""))
        code = sqlstate(error)
        return code[:2] not in ("", "XX") and kind in (NotRepresentable, VecportError, IntegrityError)
    return isinstance(error, NotRepresentable)


def first_refused(
    connection: Connection, batch: Batch, load: Callable[[Batch], None]
) -> tuple[Batch, Exception] | None:
    """The first record that the table refuses and the error that it raises alone; None where all go in this time.

    Args:
        connection: in a transaction that the caller rolls back.
        batch: that failed as a whole.
        load: writes a part of it in the transaction.
    """
    return halving.first_refused(batch, lambda part: _failure(connection, part, load))


def _failure(connection: Connection, part: Batch, load: Callable[[Batch], None]) -> Exception | None:
    import psycopg

    try:
        with connection.transaction():
            run(connection, f"DROP TABLE IF EXISTS {sql.qualified('pg_temp', STAGE)}")
            load(part)
            # What is checked at the end of the transaction is checked now.
            run(connection, "SET CONSTRAINTS ALL IMMEDIATE")
    except (psycopg.Error, NotRepresentable) as error:
        if not is_poison(error):
            raise
        return error
    return None


def named(record: Batch, error: Any, where: str) -> VecportError:
    """The error of one record, with its id first."""
    if isinstance(error, VecportError):
        found, why = error, ": ".join(text for text in (error.what, error.why) if text)
    else:
        found = translate(error, where)
        why = found.why
    kind = type(found) if isinstance(found, NotRepresentable | IntegrityError) else NotRepresentable
    return kind(
        f"record {record.column('id')[0].as_py()!r} is refused by the table ({where})", why,
        "nothing of its row group was written", found.next or "leave it out, change it, or change the table",
    )  # fmt: skip
