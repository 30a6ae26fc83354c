"""Plan: what an export or an import would meet and do. Writes nothing but the file that it is asked for."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa

from ..connectors import registry
from ..connectors.contract import Description, Selection, Source
from ..dump.dump import open_dump
from ..dump.layout import MANIFEST, row_bytes
from ..dump.store import open_store
from ..errors import UsageError
from ..limits import DEFAULT_LIMITS
from ..model.collection import Collection, collection_to_json
from ..model.profile import Profile, profile_page
from . import effects, estimates, permissions, rejects, split, target_config
from .import_plan import Cargo, Choices, ImportPlan, cargo_of, make_plan
from .sessions import Endpoint, endpoint, target_endpoint
from .widening import restorer_for

#: Records that are read of a source, for sizes and for the ledger.
SAMPLE = 500
_HOLDS_RECORDS = "refuse: it holds records"


@dataclass(frozen=True, slots=True)
class PlanResult:
    """What was found; nothing was written.

    Attributes:
        source, target: as they may be shown; target is ``""`` when none was named.
        facts: rows, by namespace too, version, schema, snapshot or live, what exists in the target and what would be
            created there, ``permissions`` and ``effects`` of source and target, and ``estimates`` of requests, sizes
            and times with their basis; ``collections`` by namespace where each would have one of its own.
        ledger: plain data, worst first; empty without a target.
        sampled: the ledger and the sizes stand on so many records; None where they stand on all.
        exit_code: 3 when a permission is known to be missing.
    """

    source: str
    target: str
    facts: dict[str, Any]
    ledger: list[dict[str, Any]] = field(default_factory=list)
    notes: tuple[str, ...] = ()
    sampled: int | None = None
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
    if_exists: str = "create",
    on_conflict: str = "replace",
    namespaces: str | None = None,
    ids: str | None = None,
    settings: Mapping[str, str] | None = None,
    emit_target_config: str | os.PathLike[str] | None = None,
    limits: Mapping[str, int] | None = None,
) -> PlanResult:
    """Look at a source or a dump, and at a target, and say what would happen.

    Args:
        source: a dump, or the address of a place, of which a few records are read.
        target: address of a place.
        collection, target_collection: names, where a place has several.
        namespace, where: the selection of an export.
        source_options, target_options: connector options by name; no secrets.
        if_exists, on_conflict, namespaces, ids, settings: the choices of an import.
        emit_target_config: a new file for the choices that the plan stands on; ``import_`` takes it.
        limits: raised bounds for reading a dump, by name.

    Raises:
        VecportError: a place does not answer, or a dump cannot be read.
    """
    if emit_target_config is not None and target is None:
        raise UsageError("--emit-target-config: no target is named", next="vecport plan SOURCE TARGET")
    choices = Choices(if_exists, on_conflict, namespaces, dict(settings or {}), ids=ids)
    if _is_dump(source):
        found = _plan_dump(source, target, target_collection or collection, target_options, choices, limits)
    else:
        place = endpoint(source, role="source", collection=collection, options=source_options)
        there = None if target is None else endpoint(
            target, role="target", collection=target_collection or place.collection, options=target_options, create=True
        )  # fmt: skip
        found = _plan_source(place, Selection(tuple(namespace), where), there, choices)
    result, made, to = found
    if emit_target_config is not None and made is not None and to is not None:
        config = target_config.config_of(to.connector, made.mapping, choices.settings)
        target_config.write(emit_target_config, config)
    return result


def _is_dump(source: str) -> bool:
    if "://" not in source and not os.path.isdir(os.path.expanduser(source)):
        return False
    if "://" in source and source.partition("://")[0].partition("+")[0].lower() in registry.schemes():
        return False
    return open_store(source).exists(MANIFEST)


_Found = tuple[PlanResult, ImportPlan | None, Endpoint | None]


def _plan_source(place: Endpoint, selection: Selection, target: Endpoint | None, choices: Choices) -> _Found:
    """An export, and the import behind it."""
    allowed: dict[str, Any] = {}
    notes: list[str] = []
    with place.open_source(selection) as session:
        if not permissions.note(allowed, notes, "source", session.permissions()):
            notes.append("nothing was read, and nothing else was looked at")
            return PlanResult(place.text, "", allowed, [], tuple(notes), 0, permissions.exit_code(allowed)), None, None
        description = session.describe()
        capabilities = session.capabilities
        wanted = session.effects()
        spaces, uncounted = (None, "") if wanted else (session.namespaces(), session.uncounted())
        collection, sample, changes = _sample(session, description, closed=bool(wanted))
    effects.note(allowed, notes, place, "source", wanted)
    if wanted:
        notes.append("no record was read: a plan changes nothing")
    rows = description.count
    each, basis = _record_bytes(collection, sample)
    facts: dict[str, Any] = {
        "rows": rows,
        "version": description.version,
        "reads": "one snapshot" if capabilities.snapshot else "a live scan",
        "restored_by_passport": description.passport is not None,
        "schema": collection_to_json(collection),
        "free_bytes_here": shutil.disk_usage(".").free,
        **allowed,
    }
    if spaces and set(spaces) - {""}:
        facts["namespaces"] = dict(sorted(spaces.items()))
    if uncounted:
        notes.append(f"records by namespace are not counted: {uncounted}")
    size = estimates.dump_size(rows, each, basis)
    found = [*estimates.reading(rows, capabilities.page_rows, each, basis), size,
             estimates.read_time(place.connector, rows, each)]  # fmt: skip
    notes += (*description.notes, *changes)
    if size.high is not None and size.high > facts["free_bytes_here"]:
        notes.append("the dump would not fit here: name a folder elsewhere")
    sampled = 0 if sample is None else sample.num_rows
    if target is None:
        facts["estimates"] = [e.to_json() for e in found]
        return PlanResult(place.text, "", facts, [], tuple(notes), sampled), None, None
    profile = Profile() if sample is None else profile_page(sample, collection)
    if spaces:
        profile.namespaces = dict(spaces)
    columns = [] if sample is None else [sample.column("id")]
    cargo = Cargo(collection, profile, rows or 0, "", place.connector, ids=lambda: columns)
    made = _plan_target(cargo, target, choices, facts, notes)
    if choices.namespaces == "split":
        split.check_target(target)
        if spaces is None:
            notes.append(f"{place.text} does not count its namespaces: plan the dump to see the collections")
        else:
            _plan_split(_named(spaces, target), target, choices, facts, notes)
    found += _into(target, made, rows, each, basis, None if size.high is None else int(size.high))
    facts["estimates"] = [e.to_json() for e in found]
    if rows is None or sampled < rows:
        notes.append(f"the ledger is of a sample of {sampled:,} records; plan the dump for one of all")
    code = permissions.exit_code(facts)
    return PlanResult(place.text, target.text, facts, made.ledger.to_json(), tuple(notes), sampled, code), made, target


def _sample(
    session: Source, description: Description, *, closed: bool = False
) -> tuple[Collection, pa.RecordBatch | None, tuple[str, ...]]:
    """The schema that an export would have, the first records, restored (None when there are none), and what is
    otherwise than a passport remembers; nothing is read where that is ``closed``."""
    restorer = restorer_for(description.collection, description.passport, lenient=True)
    if closed:
        return restorer.collection if restorer else description.collection, None, ()
    token = session.snapshot()
    session.attach(token)
    rows = min(SAMPLE, session.capabilities.page_rows)
    collection = restorer.collection if restorer else description.collection
    # Of partitions that are small the first is listed soonest; no more of them are asked for than hold the sample.
    pages = (page.batch for part in session.partitions(SAMPLE, token) for page in session.scan(part, None, rows))
    taken: list[pa.RecordBatch] = []
    for batch in pages:
        taken.append(batch)
        if sum(b.num_rows for b in taken) >= SAMPLE:
            break
    if not any(b.num_rows for b in taken):
        return collection, None, () if restorer is None else restorer.notes
    sample = pa.Table.from_batches(taken).slice(0, SAMPLE).combine_chunks().to_batches()[0]
    if restorer is None:
        return collection, sample, ()
    restored = restorer.apply(sample)
    return restorer.collection, restored, restorer.notes


def _record_bytes(collection: Collection, sample: pa.RecordBatch | None) -> tuple[int, str]:
    """Bytes of a record as Arrow holds it, and what that stands on."""
    if sample is None or not sample.num_rows:
        return row_bytes(collection), "the schema, and 400 bytes besides vectors"
    return max(1, sample.nbytes // sample.num_rows), f"the mean of {sample.num_rows:,} records"


def _plan_dump(
    source: str, target: str | None, collection: str | None, options: Mapping[str, str] | None, choices: Choices,
    limits: Mapping[str, int] | None,
) -> _Found:  # fmt: skip
    """An import."""
    dump = open_dump(source, DEFAULT_LIMITS.with_overrides(dict(limits or {})))
    cargo, size = cargo_of(dump), dump.manifest.size_bytes
    facts: dict[str, Any] = {
        "rows": cargo.rows, "bytes": size, "identity": cargo.identity, "schema": collection_to_json(dump.collection),
    }  # fmt: skip
    if set(cargo.profile.namespaces) - {""}:
        facts["namespaces"] = dict(sorted(cargo.profile.namespaces.items()))
    left_out = rejects.left_out(dump.manifest.source)
    notes = [left_out] if left_out else []
    if target is None:
        return PlanResult(dump.url, "", facts, notes=tuple(notes)), None, None
    place = target_endpoint(target, collection, options, dump)
    made = _plan_target(cargo, place, choices, facts, notes)
    if choices.namespaces == "split":
        found = split.pieces(dump, place)
        notes += filter(None, [split.doubt(dump, found)])
        _plan_split(split.destinations(found), place, choices, facts, notes)
    each, basis = row_bytes(cargo.collection), "the schema, and 400 bytes besides vectors"
    facts["estimates"] = [e.to_json() for e in _into(place, made, cargo.rows, each, basis, size)]
    code = permissions.exit_code(facts)
    return PlanResult(dump.url, place.text, facts, made.ledger.to_json(), tuple(notes), None, code), made, place


def _plan_target(
    cargo: Cargo, target: Endpoint, choices: Choices, facts: dict[str, Any], notes: list[str]
) -> ImportPlan:
    """Look at the target; adds to facts and notes."""
    with target.open_target() as session:
        made = make_plan(cargo, target, import_id="0" * 32, choices=choices, session=session)
        if permissions.note(facts, notes, "target", session.permissions(made.target)):
            facts["target"] = _target_facts(session.describe(), choices)
            effects.note(facts, notes, target, "target", session.effects(made.target))
        else:
            facts["target"] = {"would": "refuse: a permission is missing"}
    room = estimates.free_space(target.place)
    if room is not None:
        facts["target"] |= room
    facts["creates"] = collection_to_json(made.mapping.target)
    default = made.mapping.capabilities.namespace_names.default
    if default and "" in made.target.namespaces:
        notes.append(f"the default namespace is called {default!r} there")
    refused = made.ledger.of("rejected", "lossy")
    if refused:
        notes.append(f"{len(refused)} field(s) would be refused: see the ledger")
    if facts["target"]["would"] == _HOLDS_RECORDS:
        notes.append(f"{target.text} holds records: choose --if-exists append or replace, or another collection")
    return made


def _named(spaces: Mapping[str, int], target: Endpoint) -> Mapping[str, split.Destination]:
    """Where the namespaces of a source would go."""
    names = split.collection_names(target, sorted(spaces))
    return {ns: split.Destination(names[ns], spaces[ns]) for ns in names}


def _plan_split(
    wanted: Mapping[str, split.Destination], target: Endpoint, choices: Choices, facts: dict[str, Any], notes: list[str]
) -> None:
    """Look at the collection of each namespace; what was told of the target is told of each of them."""
    if "exists" not in facts["target"]:
        # A permission is missing, and so nothing is looked at.
        return
    facts["collections"] = {}
    facts["target"] = {k: v for k, v in facts["target"].items() if k in ("folder", "free_bytes")}
    notes[:] = [n for n in notes if not n.startswith(f"{target.text} holds records")]
    for ns, to in wanted.items():
        with replace(target, collection=to.collection).open_target() as session:
            unfit = session.capabilities.collection_names.problem(to.collection)
            there = _target_facts(None if unfit else session.describe(), choices)
            there |= {"would": f"refuse: {unfit}"} if unfit else {}
        facts["collections"][ns] = {"collection": to.collection, "records": to.rows, **there}
        if unfit:
            notes.append(f"no collection can be called {to.collection!r}: {unfit}")
        elif there["would"].startswith("refuse"):
            notes.append(f"{to.collection} holds records: choose --if-exists append or replace, or another collection")


def _target_facts(existing: Description | None, choices: Choices) -> dict[str, Any]:
    """What is there, and what an import would do with it."""
    if existing is None:
        return {"exists": False, "would": "create it"}
    facts: dict[str, Any] = {"exists": True, "rows": existing.count, "version": existing.version}
    if choices.if_exists == "replace":
        return {**facts, "would": "remove what is there and create it anew"}
    if not existing.count:
        return {**facts, "would": "fill the empty collection"}
    if choices.if_exists == "append":
        words = {"replace": "replacing", "skip": "keeping", "fail": "failing on"}[choices.on_conflict]
        return {**facts, "would": f"add to what is there, {words} records with equal ids"}
    return {**facts, "would": _HOLDS_RECORDS}


def _into(
    target: Endpoint, made: ImportPlan, rows: int | None, each: int, basis: str, dump_bytes: int | None
) -> list[estimates.Estimate]:
    caps = made.mapping.capabilities
    return [
        *estimates.writing(rows, caps.write_rows, each, basis),
        *estimates.target_memory(rows, made.mapping.target),
        estimates.check_time(dump_bytes),
        estimates.write_time(target.connector, rows, each),
    ]
