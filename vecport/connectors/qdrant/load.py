"""Settings that are changed for the time of a load: written down in the collection first, put back at its end.

While many records come in, building the index again and again takes processors from the load. So a collection that is
being filled has ``indexing_threshold`` 0, and the value that it had stands in its metadata under ``LOAD_KEY``: whoever
goes on after a kill, on whatever machine, finds it there. To the pipeline this is an effect (``contract.effects``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from ...errors import NotRepresentable
from ..contract import Effect, TargetPlan
from . import settings
from .backend import Backend
from .settings import LOAD_KEY

#: What is set during a load. Records are not to be hidden until an index is there that nobody builds.
DURING: Final[Mapping[str, int | bool]] = {"indexing_threshold": 0, "prevent_unoptimized": False}
EFFECT: Final = "bulk-load"


def effects(backend: Backend, plan: TargetPlan, info: Any | None) -> tuple[Effect, ...]:
    """What a load changes in a collection that it fills, as things are now.

    Args:
        backend: the place.
        plan: of the import.
        info: ``CollectionInfo`` of now, None where there is no collection, which is created then.
    """
    if not backend.tunes or not backend.keeps_metadata:
        return ()
    chosen = settings.parse_settings(plan.settings)
    before = _before(plan.collection.name, info)
    values: dict[str, Any] = {f: chosen.get(f, before[f]) for f in DURING if f in before}
    values = {f: value for f, value in values.items() if value != DURING[f]}
    if info is not None and not values:
        return ()
    return (
        Effect(
            EFFECT,
            f"collection {plan.collection.name!r} builds no index ({_words(DURING)})",
            f"its index is built when the records are in ({_words(values) or 'the settings that it is created with'})",
            {"import_id": plan.import_id, "optimizers": values},
            until="written",
        ),
    )


def fills(plan: TargetPlan, info: Any | None) -> bool:
    """Whether a collection is filled by an import, so that its settings may be changed for that time.

    One that is appended to has records that are searched meanwhile, and keeps its settings, unless this very import
    has created it.
    """
    return info is None or plan.if_exists != "append" or is_mine(plan, info)


def _before(name: str, info: Any | None) -> dict[str, int | bool]:
    """The settings that a collection had before a load: what is written down in it, or what stands there now."""
    if info is None:
        return {}
    journal = _journal(name, info)
    if journal is not None and journal["optimizers"]:
        return dict(journal["optimizers"])
    there = info.config.optimizer_config
    return {f: getattr(there, f) for f in DURING if there.HasField(f)}


def _words(values: Mapping[str, int | bool]) -> str:
    first = {f: value for f, value in values.items() if f == "indexing_threshold"} or values
    return ", ".join(f"{f} {value}" for f, value in first.items())


def claim(backend: Backend, plan: TargetPlan, info: Any) -> None:
    """Make what another import has written down in a collection that is filled now this import's to put back."""
    if not backend.tunes or not backend.keeps_metadata or plan.if_exists == "append":
        return
    journal = _journal(plan.collection.name, info)
    if journal is not None and journal["import_id"] != plan.import_id:
        _write(backend, plan.collection.name, journal | {"import_id": plan.import_id})


def apply(backend: Backend, name: str, effect: Effect) -> None:
    """Write down what a collection's settings are, then set those of a load."""
    values, info = dict(effect.data["optimizers"]), backend.info(name)
    if info is None or not values:
        return
    found = _journal(name, info)
    journal = (found or {"created": False, "optimizers": {}}) | {"import_id": str(effect.data["import_id"])}
    journal["optimizers"] = journal["optimizers"] or values
    if journal != found:
        _write(backend, name, journal)
    backend.set_optimizers(name, {field: DURING[field] for field in journal["optimizers"]})


def undo(backend: Backend, name: str, effect: Effect) -> None:
    """Put back what a load has changed; nothing happens where it is not written down."""
    info = backend.info(name)
    journal = None if info is None else _journal(name, info)
    if journal is None or not journal["optimizers"]:
        return
    known = {field: value for field, value in effect.data["optimizers"].items() if field in DURING}
    backend.set_optimizers(name, journal["optimizers"] | known)
    if journal["created"]:
        _write(backend, name, journal | {"optimizers": {}})
    else:
        backend.set_metadata(name, LOAD_KEY, None)


def _write(backend: Backend, name: str, journal: Mapping[str, Any]) -> None:
    backend.set_metadata(name, LOAD_KEY, json.dumps(journal, sort_keys=True))


def forget(backend: Backend, name: str, info: Any) -> None:
    """Remove what a load has written down, but for what ``undo`` needs."""
    journal = _journal(name, info)
    if journal is not None and journal["optimizers"]:
        _write(backend, name, journal | {"created": False})
    elif journal is not None:
        backend.set_metadata(name, LOAD_KEY, None)


def is_mine(plan: TargetPlan, info: Any) -> bool:
    """Whether what is written down in a collection is of this very import."""
    journal = _journal(plan.collection.name, info)
    return journal is not None and journal["import_id"] == plan.import_id


def created(backend: Backend, plan: TargetPlan, info: Any) -> bool:
    """Whether a collection was created for this very import, which has not ended.

    A server that keeps no metadata cannot tell, and then everything but appending counts as such.
    """
    if not backend.keeps_metadata:
        return plan.if_exists != "append"
    journal = _journal(plan.collection.name, info)
    return journal is not None and journal["created"] and is_mine(plan, info)


def _journal(name: str, info: Any) -> dict[str, Any] | None:
    """What a load has written down in a collection, None when there is nothing.

    Raises:
        NotRepresentable: something else stands there.
    """
    try:
        found = settings.read_own(info, LOAD_KEY)
        if found is None:
            return None
        values = dict(found["optimizers"])
        known = all(type(values[field]) is type(DURING[field]) and values[field] >= 0 for field in values)
        if not known or type(found["created"]) is not bool or type(found["import_id"]) is not str:
            raise ValueError("no such setting")
    except (ValueError, KeyError, TypeError) as error:
        raise NotRepresentable(
            f"collection {name!r}: its metadata key {LOAD_KEY!r} cannot be read",
            why=f"an import keeps there what it has changed for the load: {error}",
            safe="nothing was changed",
            next="set the optimizers' settings as they shall be, remove the key, and run the same command again",
        ) from None
    return {"created": found["created"], "import_id": found["import_id"], "optimizers": values}


def restore_indexes(backend: Backend, plan: TargetPlan, info: Any) -> None:
    """Create the payload indexes that a dump of Qdrant names and the collection lacks."""
    for request in settings.index_requests(plan, set(info.payload_schema), backend.pb):
        backend.add_index(request)


def restore_aliases(backend: Backend, plan: TargetPlan) -> None:
    """Give the collection the aliases that a dump of Qdrant names, where they are free."""
    wanted = settings.wanted_aliases(plan)
    if not wanted:
        return
    taken = {*backend.names(), *backend.all_aliases()}
    for alias in wanted:
        if alias not in taken:
            backend.add_alias(alias, plan.collection.name)
