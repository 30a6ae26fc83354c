"""Plan: what an export or an import would meet and do. Writes nothing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..connectors import registry
from ..connectors.base import Description, Selection
from ..dump.dump import open_dump
from ..dump.layout import MANIFEST, row_bytes
from ..dump.store import open_store
from ..limits import DEFAULT_LIMITS
from ..model.collection import collection_to_json
from .export_task import restorer_for
from .import_ import _target_endpoint
from .import_plan import import_id_for, make_plan
from .sessions import endpoint

#: Size of a shard over the bytes of its rows in memory, measured on real embeddings.
_COMPRESSION = 0.85


@dataclass(frozen=True, slots=True)
class PlanResult:
    """What was found; nothing was written.

    Attributes:
        source, target: as they may be shown; target is ``""`` when none was named.
        facts: rows, version, schema, snapshot or live, sizes, what exists in the target.
        ledger: plain data, worst first; empty without a dump and a target.
    """

    source: str
    target: str
    facts: dict[str, Any]
    ledger: list[dict[str, Any]] = field(default_factory=list)
    notes: tuple[str, ...] = ()
    exit_code: int = 0


def plan(
    source: str,
    target: str | None = None,
    *,
    collection: str | None = None,
    target_collection: str | None = None,
    namespace: Sequence[str] = (),
    where: str | None = None,
    source_options: Mapping[str, str] | None = None,
    target_options: Mapping[str, str] | None = None,
    settings: Mapping[str, str] | None = None,
    limits: Mapping[str, int] | None = None,
) -> PlanResult:
    """Look at a source or a dump, and at a target, and say what would happen.

    Args:
        source: a dump, or the address of a place.
        target: address of a place; with a dump as the source the ledger is made.
        collection, target_collection: names, where a place has several.
        namespace, where: the selection of an export.
        source_options, target_options: connector options by name; no secrets.
        settings: the ``--set`` choices of an import.
        limits: raised bounds for reading a dump, by name.

    Raises:
        VecportError: a place does not answer, or a dump cannot be read.
    """
    if _is_dump(source):
        return _plan_import(source, target, target_collection or collection, target_options, settings, limits)
    place = endpoint(source, role="source", collection=collection, options=source_options)
    with place.open_source(Selection(tuple(namespace), where)) as session:
        description = session.describe()
        capabilities = session.capabilities
    facts = _source_facts(description)
    facts["reads"] = "one snapshot" if capabilities.snapshot else "a live scan"
    notes = list(description.notes)
    if target is not None:
        there = endpoint(target, role="target", collection=target_collection or place.collection,
                         options=target_options, create=True)  # fmt: skip
        with there.open_target() as writer:
            facts["target"] = _target_facts(writer.describe())
        notes.append("the ledger needs the records: export, then plan the dump against the target")
        return PlanResult(place.text, there.text, facts, [], tuple(notes))
    return PlanResult(place.text, "", facts, [], tuple(notes))


def _is_dump(source: str) -> bool:
    if "://" not in source and not os.path.isdir(os.path.expanduser(source)):
        return False
    if "://" in source and source.partition("://")[0].partition("+")[0].lower() in registry.schemes():
        return False
    return open_store(source).exists(MANIFEST)


def _source_facts(description: Description) -> dict[str, Any]:
    restorer = restorer_for(description.collection, dict(description.passport)) if description.passport else None
    collection = restorer.collection if restorer else description.collection
    size = int((description.count or 0) * row_bytes(collection) * _COMPRESSION)
    return {
        "rows": description.count,
        "version": description.version,
        "restored_by_passport": restorer is not None,
        "schema": collection_to_json(collection),
        "dump_bytes_about": size,
        "free_bytes_here": shutil.disk_usage(".").free,
    }


def _target_facts(existing: Description | None) -> dict[str, Any]:
    if existing is None:
        return {"exists": False}
    return {"exists": True, "rows": existing.count, "version": existing.version}


def _plan_import(
    source: str, target: str | None, collection: str | None, options: Mapping[str, str] | None,
    settings: Mapping[str, str] | None, limits: Mapping[str, int] | None,
) -> PlanResult:  # fmt: skip
    dump = open_dump(source, DEFAULT_LIMITS.with_overrides(dict(limits or {})))
    facts: dict[str, Any] = {
        "rows": dump.manifest.rows, "bytes": dump.manifest.size_bytes, "identity": str(dump.manifest.identity),
        "schema": collection_to_json(dump.collection),
    }  # fmt: skip
    if target is None:
        return PlanResult(dump.url, "", facts)
    place = _target_endpoint(target, collection, options, dump)
    with place.open_target() as session:
        made = make_plan(dump, place, import_id=import_id_for(dump, place), settings=settings, session=session)
        existing = session.describe()
    facts["target"] = _target_facts(existing)
    facts["creates"] = collection_to_json(made.mapping.target)
    refused = made.ledger.of("rejected", "lossy")
    notes = (f"{len(refused)} field(s) would be refused: see the ledger",) if refused else ()
    return PlanResult(dump.url, place.text, facts, made.ledger.to_json(), notes)
