"""What a key of a Qdrant server may do, as far as that can be told without trying.

A static key says nothing of itself. A token (JWT) carries its claims in the open: ``access`` is ``r``, ``m`` or a list
of ``{"collection", "access", "payload"}``, ``exp`` the second of its end (qdrant.tech, "Security", granular access
control). The server alone checks the signature, so that claims can only take away.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Mapping
from typing import Any, Final

from ..contract import Permission
from .client import KEY_HELP

READ: Final = "read the records"
WRITE: Final = "create the collection and write"
_STATIC: Final = "a key that may only read looks like any other until something is written"
_HIDES: Final = "the token has a payload filter, so that a part of the collection would look like all of it"


def to_read(key: str | None, collection: str) -> tuple[Permission, ...]:
    """What a token says about reading; nothing for other keys: the first answer tells."""
    claims = _claims(key)
    if claims is None:
        return ()
    why = _ended(claims) or _unreadable(claims.get("access"), collection)
    return (Permission(READ, not why, why, KEY_HELP if why else ""),)


def to_write(key: str | None, collection: str) -> tuple[Permission, ...]:
    """What is known about writing, once the server has answered a request."""
    if not key:
        return (Permission(WRITE, True, "the server asks for no key"),)
    claims = _claims(key)
    if claims is None:
        return (Permission(WRITE, None, _STATIC),)
    access = claims.get("access")
    why = _ended(claims)
    if not why and (
        access == "r" or (isinstance(access, list) and _of(access, collection).get("access") in (None, "r"))
    ):
        why = f"the token may not write to {collection!r}"
    if why:
        return (Permission(WRITE, False, why, KEY_HELP),)
    if access == "m":
        return (Permission(WRITE, True),)
    return (Permission(WRITE, None, "the token is for some collections; the server decides what it may create"),)


def _claims(key: str | None) -> Mapping[str, Any] | None:
    """The claims of a token; None when the key is no token."""
    parts = (key or "").split(".")
    if len(parts) != 3:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except ValueError:
        return None
    return claims if isinstance(claims, dict) else None


def _ended(claims: Mapping[str, Any]) -> str:
    end = claims.get("exp")
    return "the token's time is over" if isinstance(end, int | float) and end < time.time() else ""


def _unreadable(access: Any, collection: str) -> str:
    if not isinstance(access, list):
        return ""
    entry = _of(access, collection)
    if not entry:
        return f"the token is not for {collection!r}"
    return _HIDES if entry.get("payload") else ""


def _of(access: list[Any], collection: str) -> Mapping[str, Any]:
    """The entry of a collection, empty when there is none."""
    return next((e for e in access if isinstance(e, dict) and e.get("collection") == collection), {})
