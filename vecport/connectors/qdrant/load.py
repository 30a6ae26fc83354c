"""Settings that are changed for the time of a load: written down in the collection first, put back at its end.

While many records come in, building the index again and again takes processors from the load. So a collection that is
being filled has ``indexing_threshold`` 0, and the value that it had stands in its metadata under ``LOAD_KEY``: whoever
goes on after a kill, on whatever machine, finds it there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from ...errors import NotRepresentable
from ..contract import TargetPlan
from . import settings
from .backend import Backend
from .settings import LOAD_KEY

#: What is set during a load. Records are not to be hidden until an index is there that nobody builds.
DURING: Final[Mapping[str, int | bool]] = {"indexing_threshold": 0, "prevent_unoptimized": False}
#: How long an interrupted load waits for the server to take its settings back.
CLOSE_SECONDS: Final = 5.0


def begin(backend: Backend, plan: TargetPlan, info: Any) -> bool:
    """Write down what a collection's settings are, then set those of a load.

    A collection that is appended to has records that are searched meanwhile, and keeps its settings, unless this very
    import has created it.

    Args:
        backend: the place.
        plan: of the import.
        info: ``CollectionInfo`` of now.

    Returns:
        Whether something is to be put back.
    """
    if not backend.tunes or not backend.keeps_metadata:
        return False
    name, there = plan.collection.name, info.config.optimizer_config
    found = _journal(name, info)
    if plan.if_exists == "append" and not is_mine(plan, info):
        return False
    journal = (found or {"created": False, "optimizers": {}}) | {"import_id": plan.import_id}
    if not journal["optimizers"]:
        now = {f: getattr(there, f) for f in DURING if there.HasField(f)}
        journal["optimizers"] = {f: value for f, value in now.items() if value != DURING[f]}
    if journal["optimizers"] and journal != found:
        backend.set_metadata(name, LOAD_KEY, json.dumps(journal, sort_keys=True))
    if journal["optimizers"]:
        backend.set_optimizers(name, {field: DURING[field] for field in journal["optimizers"]})
    return bool(journal["optimizers"])


def end(backend: Backend, name: str, chosen: Mapping[str, Any], timeout: float | None = None) -> None:
    """Put back what a load has changed; nothing happens where nothing is written down.

    Args:
        backend: the place.
        name: of the collection.
        chosen: the user's settings, which go before what was written down.
        timeout: seconds to wait for the server, the usual ones by default.
    """
    info = backend.info(name)
    journal = None if info is None else _journal(name, info)
    if journal is not None and journal["optimizers"]:
        values = journal["optimizers"] | {field: chosen[field] for field in DURING if field in chosen}
        backend.set_optimizers(name, values, timeout)


def forget(backend: Backend, name: str, info: Any) -> None:
    """Remove what a load has written down."""
    if LOAD_KEY in info.config.metadata:
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
