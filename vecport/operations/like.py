"""``export --like DUMP``: an older dump tells what a collection without a passport has forgotten."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..connectors import registry
from ..connectors.contract import Description
from ..dump.dump import open_dump
from ..errors import NotRepresentable, UsageError
from ..model.collection import Collection
from ..model.passport import Passport
from ..model.restore import restored_collection
from .import_plan import import_id_for, make_plan
from .sessions import Endpoint

_NEXT = "leave out --like to take the collection as it is"


def described_like(description: Description, dump: str | os.PathLike[str], place: Endpoint) -> Description:
    """A description with the passport that an import of this dump would have left.

    Types of fields, the key, names and metrics of vectors and where the document stands come from the dump; the
    records come from the place alone.

    Args:
        description: of the collection, which has no passport.
        dump: an older dump of the same records.
        place: of the collection.

    Raises:
        NotRepresentable: the collection cannot have been made from this dump; nothing has been read yet.
        UsageError: a place that no import can have filled.
    """
    if registry.get(place.connector).target is None:
        raise UsageError(f"--like: nothing is ever imported into {place.text}", next=_NEXT)
    return replace(description, passport=_passport(description.collection, dump, place))


def _passport(native: Collection, location: str | os.PathLike[str], place: Endpoint) -> Mapping[str, Any]:
    dump = open_dump(location)
    plan = make_plan(dump, place, import_id=import_id_for(dump, place))
    mapping = plan.mapping
    refused = [e for e in plan.ledger.of("rejected") if e.field != "metric"]
    if refused:
        raise _does_not_fit(place, dump.url, f"{refused[0].field}: {refused[0].why}")
    names = {v.name for v in mapping.target.vectors}
    if names != {v.name for v in native.vectors}:
        raise _does_not_fit(place, dump.url, f"vectors there: {_names(native)}; of the dump: {_names(mapping.target)}")
    for v in mapping.target.vectors:
        there, said = native.vector(v.name), dump.collection.vector(mapping.passport.vectors[v.name])
        if (v.kind, v.dim) != (there.kind, there.dim):
            why = f"vector {v.name!r} is {there.kind} with {there.dim} dimensions, the dump says {v.kind} with {v.dim}"
            raise _does_not_fit(place, dump.url, why)
        if "unknown" not in (said.metric, there.metric) and said.metric != there.metric:
            why = f"the index of vector {v.name!r} uses {there.metric}, the dump says {said.metric}"
            raise _does_not_fit(place, dump.url, why)
    _check_columns(native, mapping.target, place, dump.url)
    made: Passport = replace(mapping.passport, state="complete")
    restored_collection(made, native)
    return made.to_json()


def _check_columns(native: Collection, mapped: Collection, place: Endpoint, url: str) -> None:
    """Where the place has typed columns, they are those that the dump names."""
    if (native.fields is None) != (mapped.fields is None):
        kinds = ("typed columns", "free JSON")
        here, would = kinds[native.fields is None], kinds[mapped.fields is None]
        why = f"metadata there is {here}, from the dump it would be {would}"
        raise _does_not_fit(place, url, why)
    there, wanted = ({(f.name, f.type) for f in c.fields or ()} for c in (native, mapped))
    if there != wanted:
        odd = ", ".join(sorted(f"{name} {kind}" for name, kind in there ^ wanted)[:5])
        raise _does_not_fit(place, url, f"columns that only one of them has: {odd}")


def _names(collection: Collection) -> str:
    return ", ".join(repr(v.name) for v in collection.vectors) or "none"


def _does_not_fit(place: Endpoint, dump: str, why: str) -> NotRepresentable:
    return NotRepresentable(f"{place.text} was not made from {dump}", why, "nothing was read", _NEXT)
