"""The loss ledger: per field what happens to it on the way into a target, counted, before the first write."""

from __future__ import annotations

from collections.abc import Collection as Items
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import NotRepresentable

STATUSES = ("exact", "encoded", "bounded", "lossy", "rejected")


@dataclass(slots=True)
class Entry:
    """One line of the ledger.

    Attributes:
        field: ``id``, ``document``, ``namespace``, ``metric``, ``vector:NAME`` or ``metadata:KEY``.
        status: ``exact``; ``encoded`` (comes back exactly); ``bounded`` (within a stated error); ``lossy``
            (refused until allowed by name); ``rejected`` (cannot be stored at all).
        count: records concerned.
        why: one sentence.
        example: one value, shortened.
        remedy: what to type instead, where a choice of the user's is the reason; ``""`` for the usual advice.
    """

    field: str
    status: str
    count: int
    why: str = ""
    example: str = ""
    remedy: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {"field": self.field, "status": self.status, "count": self.count, "why": self.why,
                "example": self.example}  # fmt: skip


@dataclass(slots=True)
class Ledger:
    """All entries, worst first when shown."""

    entries: list[Entry] = field(default_factory=list)

    def add(self, field: str, status: str, count: int, why: str = "", example: str = "", remedy: str = "") -> None:
        """Add to the entry of this field, status and reason, or begin one."""
        for e in self.entries:
            if (e.field, e.status, e.why) == (field, status, why):
                e.count += count
                return
        self.entries.append(Entry(field, status, count, why, example[:80], remedy))

    def of(self, *statuses: str) -> list[Entry]:
        """Entries with one of these statuses."""
        return [e for e in self.entries if e.status in statuses]

    def worst_first(self) -> list[Entry]:
        """All entries, ``rejected`` first."""
        return sorted(self.entries, key=lambda e: (-STATUSES.index(e.status), e.field))

    def enforce(self, *, allow_lossy: Items[str] = (), strict: bool = False) -> None:
        """Refuse what the user has not allowed.

        Args:
            allow_lossy: names of fields whose loss is accepted.
            strict: refuse bounded entries as well.

        Raises:
            NotRepresentable: something is rejected, or lossy and not named, or bounded under ``strict``.
        """
        bad = self.of("rejected")
        lossy = [e for e in self.of("lossy") if e.field not in allow_lossy]
        if strict:
            lossy += self.of("bounded")
        if not bad and not lossy:
            return
        first = (bad + lossy)[0]
        names = sorted({e.field for e in lossy})
        lines = "; ".join(f"{e.field}: {e.count:,} records {e.status} ({e.why})" for e in (bad + lossy)[:5])
        if bad:
            usual = f"leave these records out of the dump, or choose another target ({first.field} cannot be stored)"
            step = first.remedy or usual
        elif strict and first.status == "bounded":
            step = "leave out --strict to accept values within the stated error"
        else:
            step = "accept the loss by name: " + " ".join(f"--allow-lossy {n}" for n in names)
        raise NotRepresentable(
            f"the target cannot hold {len(bad) + len(lossy)} field(s) of this dump",
            lines,
            "nothing was written",
            step,
        )

    def to_json(self) -> list[dict[str, Any]]:
        """Plain data, worst first."""
        return [e.to_json() for e in self.worst_first()]

    @classmethod
    def from_json(cls, data: Iterable[Mapping[str, Any]]) -> Ledger:
        """Inverse of ``to_json``."""
        return cls([Entry(d["field"], d["status"], d["count"], d.get("why", ""), d.get("example", "")) for d in data])
