"""What a session has to change outside the records, for the time that it works."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

Json = Any

#: Until when effects last: until every record is in, before ``finish``; or until the end of the run.
UNTIL = ("written", "end")


@dataclass(frozen=True, slots=True)
class Effect:
    """One change, as that a collection is loaded, a tenant is woken, or an index waits for the end of a load.

    The pipeline keeps it on disk before it calls ``apply``, and calls ``undo`` at the end, on an error, and when a run
    that was killed is taken up again, in another session.

    Attributes:
        name: tells it from other effects on this collection; lower case, words joined by ``-``.
        what: a clause for the user, as ``collection 'docs' is loaded into memory``.
        undone: how it is put back, likewise, as ``it is released again``.
        data: what ``undo`` needs to put back what was there before; no secret.
        until: ``written`` or ``end``. A source's last until the end.
    """

    name: str
    what: str
    undone: str
    data: Mapping[str, Json] = field(default_factory=dict)
    until: str = "end"

    def to_json(self) -> dict[str, Json]:
        """Plain data."""
        return {**asdict(self), "data": dict(self.data)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Effect:
        """Inverse of ``to_json``; raises ``ValueError`` or ``TypeError`` on anything else."""
        found = cls(**data)
        texts = (found.name, found.what, found.undone)
        if not all(isinstance(t, str) for t in texts) or found.until not in UNTIL or not isinstance(found.data, dict):
            raise ValueError("not an effect")
        return found
