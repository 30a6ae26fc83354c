"""Profiles of a dump against its records: a plan stands on what they say, and whoever made the dump wrote them."""

from __future__ import annotations

from ..dump.dump import Dump
from ..dump.manifest import ShardEntry
from ..errors import IntegrityError
from ..model.profile import Profile
from ..model.profile_check import difference, possible_units


def check_profile(dump: Dump, entry: ShardEntry) -> None:
    """Raise ``IntegrityError`` unless what the profile of a shard says is so; reads all of its records.

    Args:
        dump: a whole one.
        entry: of the shard.
    """
    found = profile_fault(dump, entry, dump.counted(entry))
    if found is not None:
        raise IntegrityError(
            f"{dump.url}: {found}",
            "what becomes of the records would be planned by a profile that is wrong",
            "nothing was written",
            "see which shards: vecport validate DUMP; then copy the dump again or export again",
        )


def profile_fault(dump: Dump, entry: ShardEntry, counted: Profile) -> str | None:
    """What is wrong with the profile of a shard; None when nothing is.

    Args:
        dump: a whole one.
        entry: of the shard.
        counted: the profile of its records.
    """
    wrong = difference(entry.profile, counted) or _units(dump, entry, counted)
    return None if wrong is None else f"the profile of {entry.path} is wrong: {wrong}"


def _units(dump: Dump, entry: ShardEntry, counted: Profile) -> str | None:
    """Vectors of length one are as many as they are here, or as they may be where a processor adds up otherwise."""
    columns = dump.collection.columns()
    for v in dump.collection.vectors:
        said = entry.profile.vectors.get(v.name, {}).get("unit")
        if v.kind != "dense" or said is None or said == counted.vectors[v.name].get("unit", 0):
            continue
        sure = possible = 0
        for batch in dump.shard(entry).groups():
            low, high = possible_units(batch.column(columns[v.name]), v)
            sure, possible = sure + low, possible + high
        if not sure <= said <= possible:
            have = counted.vectors[v.name].get("unit", 0)
            return f"vectors.{v.name or 'vector'}.unit is {said!r}, the records have {have!r}"
    return None
