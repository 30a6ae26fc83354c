"""What of an earlier run of an import is believed: only what the target itself confirms.

An import draws a nonce when it begins. It stands in the state folder of this machine and in the target, so that one
that was put back to a backup, recreated, or taken by an application tells itself from the one that was written to.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

from ..connectors.contract import Description, Target
from ..errors import NotRepresentable
from ..model.passport import Passport
from .import_plan import Choices


@dataclass(frozen=True, slots=True)
class Standing:
    """Where an import stands when a run of it starts.

    Attributes:
        nonce: of the import; drawn now where it begins.
        resume: what is there was made by this import, and is kept.
        believed: what this machine and the target remember as acknowledged is.
        written: a run before has written every record.
        note: what the user should know; empty for nothing.
    """

    nonce: str
    resume: bool = False
    believed: bool = False
    written: bool = False
    note: str = ""


def look(
    session: Target, existing: Description | None, *, import_id: str, choices: Choices, begun: dict[str, Any] | None
) -> Standing:
    """Ask the target whether this very import was begun in it before.

    Args:
        session: an open target.
        existing: what it has described just now.
        import_id: of the import.
        choices: the user's, of this run.
        begun: what this machine remembers; None for nothing.
    """
    fresh = Standing(uuid.uuid4().hex)
    replaces = choices.if_exists == "replace"
    if replaces and (begun is None or begun.get("choices") != choices.to_json()):
        # What is there, an interrupted import of other choices included, is to be replaced.
        return fresh
    nonce = None if begun is None else begun.get("nonce")
    written = begun is not None and begun.get("written") is True
    if isinstance(nonce, str) and nonce and session.begun(import_id, existing) == nonce:
        return Standing(nonce, resume=True, believed=True, written=written)
    if existing is not None and written and session.capabilities.staged:
        # The file may be the one that was put in place; only the same bytes take its place.
        return Standing(fresh.nonce, resume=True)
    passport = None if existing is None else passport_of(existing)
    mine = passport is not None and passport.import_id == import_id and passport.state == "loading"
    if mine and not replaces:
        return Standing(fresh.nonce, resume=True, note=_ANEW if begun is None else f"{_LOST}: {_ANEW}")
    return Standing(fresh.nonce, note="" if begun is None else f"{_LOST}: the import begins anew")


_LOST = "what an interrupted run has acknowledged is not confirmed by the target, which is not as that run left it"
_ANEW = "an interrupted import is taken up from its beginning, and all of its records are written again"


def passport_of(existing: Description) -> Passport | None:
    """The passport of what is there; None where there is none that can be read."""
    if existing.passport is None:
        return None
    try:
        return Passport.from_json(existing.passport)
    except NotRepresentable:
        return None
