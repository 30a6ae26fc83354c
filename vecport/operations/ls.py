"""List: the collections of a place, or the dumps in a folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..connectors import registry
from ..dump.dump import open_dump
from ..dump.layout import MANIFEST
from ..dump.store import open_store
from ..errors import NotFound, VecportError
from .sessions import listed


@dataclass(frozen=True, slots=True)
class LsResult:
    """What is there.

    Attributes:
        place: as it may be shown.
        kind: ``collections`` or ``dumps``.
        entries: ``{"name", "rows", "detail"}``; rows is None where it is not known.
    """

    place: str
    kind: str
    entries: list[dict[str, Any]]
    notes: tuple[str, ...] = ()
    exit_code: int = 0


def ls(address: str, *, options: Mapping[str, str] | None = None) -> LsResult:
    """List a place.

    Args:
        address: a database, a file, or a folder or URL that holds dumps.
        options: connector options by name; no secrets.

    Raises:
        VecportError: the place does not exist or does not answer.
    """
    dumps = _dumps(address)
    if dumps is not None:
        return LsResult(address, "dumps", dumps)
    connector, place, _ = registry.resolve(address, role="source", options=options)
    found = listed(connector, place)
    return LsResult(place.text, "collections", [{"name": s.name, "rows": s.rows, "detail": s.detail} for s in found])


def _dumps(address: str) -> list[dict[str, Any]] | None:
    """Dumps in a folder, or None when the address is no folder of dumps."""
    local = os.path.expanduser(address)
    if "://" in address and address.partition("://")[0] in registry.schemes():
        return None
    if "://" not in address and not os.path.isdir(local):
        return None
    try:
        store = open_store(address)
        names = [p.removesuffix(MANIFEST).rstrip("/") for p in store.list() if p.endswith(MANIFEST)]
    except NotFound:
        return None
    if not names:
        return None
    return [_entry(address, name) for name in names]


def _entry(address: str, name: str) -> dict[str, Any]:
    location = f"{address.rstrip('/')}/{name}" if name else address
    try:
        m = open_dump(location).manifest
    except VecportError as e:
        return {"name": name or ".", "rows": None, "detail": e.what}
    made = f"{m.source.get('system', '?')} {m.collection.name}, {m.completed_at}"
    return {"name": name or ".", "rows": m.rows, "detail": made + ("" if m.complete else ", a selection")}
