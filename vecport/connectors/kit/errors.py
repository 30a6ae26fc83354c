"""A client's errors as errors of vecport, by tables.

What a client raises is first read as a ``Failure``: the names of its classes, a code (an HTTP status, the name of a
gRPC status, an SQLSTATE), its text, and the seconds that the database asks for. A table of ``Rule`` says which error
that is; the first rule that matches counts. ``HTTP`` and ``GRPC`` are tables for the codes that mean the same with
every database: a connector puts its own rules before them.
"""

from __future__ import annotations

import datetime
import email.utils
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from ...errors import (
    AlreadyExists,
    AuthenticationFailed,
    IntegrityError,
    NotFound,
    NotRepresentable,
    OutOfResources,
    Throttled,
    TooLarge,
    Unavailable,
    Unreachable,
    VecportError,
)
from ..redaction import hide
from ..secrets import Secret

_LONGEST_TEXT: Final = 300


@dataclass(frozen=True, slots=True)
class Failure:
    """What is known of an error of a client.

    Attributes:
        names: of the error's classes, and of those of the errors behind it.
        code: a status or SQLSTATE; ``""`` where there is none.
        text: its message, in one line.
        retry_after_s: seconds after which the database asks to be tried again, None when it says nothing.
        marks: names of further facts, as of gRPC's trailing metadata.
        hint: what the database itself advises, said where the table advises nothing.
    """

    names: frozenset[str] = frozenset()
    code: str = ""
    text: str = ""
    retry_after_s: float | None = None
    marks: frozenset[str] = frozenset()
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of a table. All that is given has to match; of names, codes and marks one.

    Attributes:
        kind: the error to raise.
        what: what failed, ``{where}`` stands for the place.
        why: behind the client's own words.
        safe: what is safe now, where that is another than for other errors.
        next: what to do now.
        names: of exception classes.
        codes: beginnings of codes, as ``404``, ``UNAVAILABLE`` or the class ``28`` of SQLSTATE.
        text: a regular expression that is searched for in the message.
        marks: further facts.
    """

    kind: type[VecportError]
    what: str = "{where} failed"
    why: str = ""
    safe: str = ""
    next: str = ""
    names: tuple[str, ...] = ()
    codes: tuple[str, ...] = ()
    text: str = ""
    marks: tuple[str, ...] = ()

    def matches(self, failure: Failure) -> bool:
        """Whether an error is one of these."""
        return (
            (not self.codes or (failure.code != "" and failure.code.startswith(self.codes)))
            and (not self.names or not failure.names.isdisjoint(self.names))
            and (not self.marks or not failure.marks.isdisjoint(self.marks))
            and (not self.text or re.search(self.text, failure.text) is not None)
        )


#: What to do when nobody answers.
RUNS: Final = "check that the server runs and that host and port are right, then run the same command again"
#: What to do when an answer does not come.
SLOW: Final = "check the server and the network, then run the same command again; give it longer with --timeout SECONDS"
_FEWER: Final = "run the same command again later, or with a lower --max-rps"

#: What a client raises over an answer that is not one of this database, as a proxy's page.
STRANGE: Final = ("JSONDecodeError", "DecodingError", "UnicodeDecodeError", "KeyError", "IndexError", "TypeError",
                  "AttributeError", "ValidationError")  # fmt: skip

#: What a status of HTTP means with every database; the client's exceptions without one are connections that failed.
HTTP: Final = (
    Rule(AuthenticationFailed, "{where} refused the credentials", codes=("401", "403")),
    Rule(TooLarge, "{where} takes no request of this size", codes=("413",)),
    Rule(Throttled, "{where} asks for fewer requests", next=_FEWER, codes=("429",)),
    Rule(Unavailable, "{where} does not answer", next=RUNS, codes=("408", "500", "502", "503", "504")),
    Rule(NotFound, "{where}: not found", next="vecport ls shows what is there", codes=("404",)),
    Rule(OutOfResources, "{where} is out of space", codes=("507",)),
    Rule(NotRepresentable, "{where} refuses the request", codes=("4",)),
    Rule(NotFound, "{where} answers with a redirect", codes=("3",), next="give the address that it names"),
    Rule(Unavailable, "{where} does not answer", next=RUNS, codes=("5",)),
    Rule(Unreachable, "{where} does not answer", next=RUNS, names=("ConnectError", "ConnectTimeout")),
    Rule(
        Unavailable,
        "{where} gives no answer",
        "nothing came for the time of --timeout",
        next=SLOW,
        names=("TimeoutException",),
    ),
    Rule(Unavailable, "{where} does not answer", next=RUNS, names=("TransportError", "ConnectionError")),
)

#: What tonic and gRPC's own libraries say of a message above a limit.
_MESSAGE_TOO_LARGE: Final = r"(?i)message (length )?(is )?(too large|larger than max)"

#: What gRPC's core says when no connection could be made.
_NOBODY: Final = "(?i)failed to connect|connection refused|name resolution|DNS resolution|no route to host"

#: What a status of gRPC means with every database.
GRPC: Final = (
    Rule(AuthenticationFailed, codes=("UNAUTHENTICATED", "PERMISSION_DENIED")),
    Rule(TooLarge, next="choose fewer records in a request: --batch-size",
         codes=("RESOURCE_EXHAUSTED", "OUT_OF_RANGE"), text=_MESSAGE_TOO_LARGE),
    Rule(Throttled, codes=("RESOURCE_EXHAUSTED",)),
    Rule(NotFound, codes=("NOT_FOUND",)),
    Rule(AlreadyExists, codes=("ALREADY_EXISTS",)),
    Rule(NotRepresentable, codes=("INVALID_ARGUMENT", "OUT_OF_RANGE")),
    Rule(IntegrityError, codes=("DATA_LOSS",)),
    Rule(Unreachable, codes=("UNAVAILABLE",), text=_NOBODY),
    Rule(Unavailable, why="nothing came for the time of --timeout", next=SLOW, codes=("DEADLINE_EXCEEDED",)),
    Rule(Unavailable),
)  # fmt: skip


def of_http(error: BaseException) -> Failure:
    """Read an error of an HTTP client, which may be wrapped into others that say nothing.

    A response is found at ``error.response`` (httpx, requests), its status at ``status_code``.
    """
    chain = list(_chain(error))
    names = frozenset(cls.__name__ for e in chain for cls in type(e).__mro__)
    for e in chain:
        response = getattr(e, "response", None)
        status = getattr(response, "status_code", None)
        if isinstance(status, int):
            return Failure(names, str(status), first_line(error) or f"HTTP status {status}", _retry_after(response))
    return Failure(names, "", first_line(error))


def of_grpc(error: Any) -> Failure:
    """Read a ``grpc.RpcError`` that is a call too: its status, details, and trailing metadata as marks."""
    code, text = error.code().name, str(error.details() or "")
    trailing = {item[0]: item[1] for item in error.trailing_metadata() or ()}
    named = str(trailing.get("retry-after", ""))
    return Failure(
        frozenset(cls.__name__ for cls in type(error).__mro__), code, f"{code}: {hide(text)}"[:_LONGEST_TEXT],
        float(named) if named.isdigit() else None, frozenset(trailing),
    )  # fmt: skip


def made(
    failure: Failure, where: str, rules: Sequence[Rule], *, safe: str = "", secrets: Sequence[Secret | None] = ()
) -> VecportError:
    """The error of vecport for a failure.

    Args:
        failure: as a reader gave it.
        where: the place, as it may be shown, or what was being done there.
        rules: the table; an error that none of them knows is a plain ``VecportError``.
        safe: what the message says is safe now.
        secrets: never shown, should the client repeat them.
    """
    rule = next((rule for rule in rules if rule.matches(failure)), None) or Rule(VecportError)
    text = cleaned(redacted(failure.text, secrets))
    why = "; ".join(part for part in (text, rule.why) if part)
    what, safe = rule.what.format(where=where), rule.safe or safe
    advice = rule.next or cleaned(redacted(failure.hint, secrets))
    if issubclass(rule.kind, Unavailable):
        return rule.kind(what, why, safe, advice, retry_after_s=failure.retry_after_s)
    return rule.kind(what, why, safe, advice)


@contextmanager
def translated(
    where: str,
    rules: Sequence[Rule] = HTTP,
    *,
    read: Callable[[Exception], Failure] = of_http,
    safe: str = "nothing was changed",
    secrets: Sequence[Secret | None] = (),
    kinds: tuple[type[Exception], ...] = (Exception,),
) -> Iterator[None]:
    """Turn what a client raises within into errors of vecport, which themselves pass.

    Args:
        where: the place, as it may be shown.
        rules: the table.
        read: turns an error into a ``Failure``.
        safe: what the message says is safe now.
        secrets: never shown.
        kinds: classes of the client's errors; others pass.
    """
    try:
        yield
    except VecportError:
        raise
    except kinds as error:
        raise made(read(error), where, rules, safe=safe, secrets=secrets) from error


def redacted(text: str, secrets: Sequence[Secret | None]) -> str:
    """A text without the secrets that stand in it."""
    for secret in secrets:
        if secret:
            text = text.replace(secret.reveal(), str(secret))
    return hide(text)


def cleaned(text: str) -> str:
    """Words of somebody else's: cut where they are long, and without what a terminal would obey."""
    short = text[: _LONGEST_TEXT + 1]
    if len(short) > _LONGEST_TEXT:
        short = short[: _LONGEST_TEXT - 1] + "…"
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in short)


def first_line(error: BaseException) -> str:
    """The first line of an error's text, cut where it is long."""
    # A secret that is cut would not be found in what is left.
    return (hide(str(error)).strip().splitlines() or [""])[0][:_LONGEST_TEXT]


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and those behind it."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _retry_after(response: Any) -> float | None:
    """The seconds of a header ``Retry-After``, which may be a date; None when there is none that can be read."""
    text = str((getattr(response, "headers", None) or {}).get("retry-after", "")).strip()
    if text.isdecimal():
        return float(text[:9])
    try:
        at = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    now = datetime.datetime.now(at.tzinfo)
    return max(0.0, (at - now).total_seconds())
