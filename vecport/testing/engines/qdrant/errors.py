"""Failures with the gRPC status that Qdrant answers them with."""

from __future__ import annotations

import re

import grpc

# How the engine's messages begin when the fault is its own and not the request's.
_INTERNAL = ("Service runtime error", "Inconsistent storage", "Storage file not found", "Out of memory")
_UUID_FAULT = re.compile(r"^failed to parse (.*) as UUID.*", re.DOTALL)
_SAID_OTHERWISE = {
    "Wrong usage of sparse vectors": "Conversion between sparse and regular vectors failed",
    "Wrong usage of multi vectors": "Conversion between multi and regular vectors failed",
}


class StatusError(Exception):
    """A request failed, and this is the status to answer with.

    Args:
        code: the gRPC status code.
        message: what the caller reads.
    """

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def invalid(message: str) -> StatusError:
    """Return the error for a request that is wrong in itself."""
    return StatusError(grpc.StatusCode.INVALID_ARGUMENT, message)


def bad_input(message: str) -> StatusError:
    """Return the error for a request that does not fit the collection."""
    return invalid(f"Wrong input: {message}")


def invalid_body(field: str, problem: str) -> StatusError:
    """Return the error for a field out of its limits."""
    return invalid(f"Validation error in body: [{field}: {problem}]")


def not_found(message: str) -> StatusError:
    """Return the error for something that does not exist."""
    return StatusError(grpc.StatusCode.NOT_FOUND, f"Not found: {message}")


def unimplemented(what: str) -> StatusError:
    """Return the error for a part of the API that this server does not have."""
    return StatusError(grpc.StatusCode.UNIMPLEMENTED, f"{what} is not implemented by this test server")


def from_engine(error: BaseException) -> StatusError | None:
    """Return what Qdrant answers when its engine fails with `error`, None if it is none of its errors."""
    message = str(error)
    if isinstance(error, ValueError):
        return invalid(_UUID_FAULT.sub(r"Unable to parse UUID: \1", message))
    # The engine raises plain exceptions; only their text tells them apart.
    if type(error) is not Exception:
        return None
    if "Shard is not initialized" in message:
        return not_found("Collection was deleted")
    if message.startswith(_INTERNAL):
        return StatusError(grpc.StatusCode.INTERNAL, f"Service internal error: {message}")
    if message.startswith("No point with id"):
        return not_found(f"{message} found")
    return bad_input(_SAID_OTHERWISE.get(message, message))
