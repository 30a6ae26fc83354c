"""Errors of vecport: one tree, one exit code a class, four-part messages.

    VecportError                 1   unexpected
    ├── UsageError               2   the call cannot be understood
    │   └── MissingExtra         2   a database client is not installed
    ├── NotFound                10   no such address, collection, dump or file
    ├── AlreadyExists           11   the destination holds something already
    │   └── Locked              11   another run is at work there
    ├── AuthenticationFailed    12   refused by the database
    ├── IntegrityError          13   bytes or counts are not what they should be
    │   └── Incomplete          13   rows are missing or repeated
    ├── NotRepresentable        14   the target (or the format) cannot hold it
    │   └── TooLarge            14   it cannot take so much at once
    ├── Unavailable             15   no answer after retries
    │   ├── Unreachable         15   nobody listens there
    │   ├── Throttled           15   it asks for fewer requests
    │   └── SnapshotGone        15   what was read from is there no more
    ├── OutOfResources          16   disk or memory is exhausted
    ├── OutcomeUnknown          17   it may have been published; running again is safe
    └── Interrupted        130/143   stopped by a signal; the same command goes on

Findings (differences, an invalid dump, drift) are results with exit code 3, not errors.
"""

from __future__ import annotations


class VecportError(Exception):
    """Base of every error that vecport raises on purpose.

    Args:
        what: what failed: the object and its value.
        why: the reason.
        safe: what is untouched or can be relied upon now.
        next: the next command or step.
    """

    exit_code = 1
    code = "unexpected"
    retryable = False

    def __init__(self, what: str, why: str = "", safe: str = "", next: str = "") -> None:
        super().__init__(what, why, safe, next)
        self.what, self.why, self.safe, self.next = what, why, safe, next

    def __str__(self) -> str:
        return "\n".join(part for part in (self.what, self.why, self.safe, self.next) if part)


class UsageError(VecportError):
    """The call cannot be understood or its parts contradict each other."""

    exit_code = 2
    code = "usage"


class MissingExtra(UsageError):
    """A database client is not installed."""

    code = "missing-extra"


class NotFound(VecportError):
    """An address, collection, dump or file does not exist."""

    exit_code = 10
    code = "not-found"


class AlreadyExists(VecportError):
    """The destination already holds something that must not be touched."""

    exit_code = 11
    code = "exists"


class Locked(AlreadyExists):
    """Another run is at work on the same dump or target."""

    code = "locked"
    retryable = True


class AuthenticationFailed(VecportError):
    """The database refused the credentials or the permission is missing."""

    exit_code = 12
    code = "authentication"


class IntegrityError(VecportError):
    """Stored bytes are not what their checksum or their schema says."""

    exit_code = 13
    code = "integrity"


class Incomplete(IntegrityError):
    """Row counts or identifiers do not reconcile."""

    code = "incomplete"


class NotRepresentable(VecportError):
    """The target, or the dump format, cannot hold a value or a type."""

    exit_code = 14
    code = "not-representable"


class TooLarge(NotRepresentable):
    """A request, or a single record, is larger than the target takes; a smaller request may fit."""

    code = "too-large"


class Unavailable(VecportError):
    """A service did not answer, or kept refusing, after retries.

    Args:
        retry_after_s: seconds after which the service asks to be tried again, None when it says nothing.
    """

    exit_code = 15
    code = "unavailable"
    retryable = True

    def __init__(
        self, what: str, why: str = "", safe: str = "", next: str = "", *, retry_after_s: float | None = None
    ) -> None:
        super().__init__(what, why, safe, next)
        self.retry_after_s = retry_after_s


class Unreachable(Unavailable):
    """No connection could be made; as the first answer of a place it is final, as it may be mistyped or down."""

    code = "unreachable"


class Throttled(Unavailable):
    """A service asks for fewer requests, as HTTP does with 429 and gRPC with RESOURCE_EXHAUSTED."""

    code = "throttled"


class SnapshotGone(Unavailable):
    """The snapshot that a session shall read from has ended; no waiting brings it back."""

    code = "snapshot-gone"
    retryable = False


class OutOfResources(VecportError):
    """Disk or memory is exhausted."""

    exit_code = 16
    code = "out-of-resources"


class OutcomeUnknown(VecportError):
    """The last step may or may not have taken effect; running again is safe."""

    exit_code = 17
    code = "outcome-unknown"
    retryable = True


class Interrupted(VecportError):
    """A signal stopped the run; the same command goes on where it stopped."""

    exit_code = 130
    code = "interrupted"
    retryable = True

    def __init__(self, what: str, why: str = "", safe: str = "", next: str = "", *, signal_number: int = 2) -> None:
        super().__init__(what, why, safe, next)
        self.exit_code = 128 + signal_number


EXIT_CODES: dict[int, str] = {
    0: "ok",
    1: "unexpected error",
    2: "usage",
    3: "findings: differences, invalid, drift",
    4: "finished with rejects",
    10: "not found",
    11: "exists or locked",
    12: "authentication",
    13: "integrity",
    14: "not representable",
    15: "unavailable after retries",
    16: "out of space or memory",
    17: "outcome unknown, re-run is safe",
    130: "interrupted (Ctrl-C), resumable",
    143: "terminated, resumable",
}
