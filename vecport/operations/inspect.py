"""Inspect: what a dump's manifest says, without reading a record."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..dump.dump import open_dump
from ..dump.manifest import Manifest
from ..limits import DEFAULT_LIMITS
from ..model.collection import collection_to_json
from . import rejects


@dataclass(frozen=True, slots=True)
class InspectResult:
    """The manifest's facts as plain data: identity, rows, schema, source, consistency, profile."""

    dump: str
    facts: dict[str, Any]
    notes: tuple[str, ...] = ()
    exit_code: int = 0


def inspect(dump: str | os.PathLike[str], *, limits: Mapping[str, int] | None = None) -> InspectResult:
    """Read a dump's manifest.

    Args:
        dump: folder or URL of a finished dump.
        limits: raised bounds, by name.

    Raises:
        VecportError: there is no dump, or its manifest cannot be trusted.
    """
    opened = open_dump(dump, DEFAULT_LIMITS.with_overrides(dict(limits or {})))
    m = opened.manifest
    schema = collection_to_json(m.collection)
    facts = {
        "identity": str(m.identity),
        "rows": m.rows,
        "bytes": m.size_bytes,
        "shards": len(m.shards),
        "collection": m.collection.name,
        "id_kind": m.collection.id_kind,
        "vectors": schema["vectors"],
        "fields": schema["fields"],
        "native": schema["native"],
        "source": dict(m.source),
        "selection": dict(m.selection),
        "complete": m.complete,
        "created_at": m.created_at,
        "completed_at": m.completed_at,
        "writer": dict(m.writer),
        "profile": m.total_profile().to_json(),
        "manifest_sha256": m.sha256,
    }
    return InspectResult(opened.url, facts, tuple(_notes(m)))


def _notes(m: Manifest) -> Iterator[str]:
    left_out = rejects.left_out(m.source)
    if left_out:
        yield left_out
    elif not m.complete:
        yield "this dump is a selection of its collection, not the whole"
