"""Records that a source has and cannot give whole: a reason to stop, or named in a file of the dump."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ..connectors.contract import Reject
from ..dump.layout import REJECTS
from ..dump.manifest import ShardEntry
from ..dump.store import Store
from ..errors import IntegrityError
from ..limits import MAX_REJECTS
from ..model import canonical
from ..model.collection import Collection
from .reconcile import held_keys

ON_ERROR = ("fail", "quarantine")
_EXAMPLES = 5


def refusal(rejects: Sequence[Reject], where: str) -> IntegrityError:
    """The error of an export that may leave nothing out.

    Args:
        rejects: at least one.
        where: the source, as it may be shown.
    """
    named = ", ".join(repr(r.id) for r in rejects[:_EXAMPLES])
    more = f" and {len(rejects) - _EXAMPLES:,} more already" if len(rejects) > _EXAMPLES else ""
    return IntegrityError(
        f"{where}: cannot read record{'s' if len(rejects) > 1 else ''} {named}{more}",
        rejects[0].reason,
        "the source was not changed, and no manifest was written",
        f"mend the source; or leave such records out: --on-error quarantine names each in {REJECTS} and exits 4",
    )


def check_count(count: int, where: str) -> None:
    """Stop an export that has more rejects than it may hold.

    Args:
        count: found so far.
        where: the source, as it may be shown.

    Raises:
        IntegrityError: there are more than ``limits.MAX_REJECTS``.
    """
    if count > MAX_REJECTS:
        raise IntegrityError(
            f"{where}: more than {MAX_REJECTS:,} records cannot be read",
            f"an export names at most so many in {REJECTS} (MAX_REJECTS), which it holds in memory until its end",
            "the source was not changed, and no manifest was written",
            "mend the source, as by building its index anew; or export parts of it: --where, --namespace",
        )


def settle(
    store: Store, entries: Iterable[ShardEntry], collection: Collection, found: Iterable[Reject],
    passport: Mapping[str, Any] | None,
) -> list[Reject]:  # fmt: skip
    """Each rejected record once, in the order of the keys, without those that a later reading of them gave whole.

    Args:
        store, entries, collection: what was written.
        found: by this run and by those before it.
        passport: of a source that vecport filled: it says under which keys the dump's records stand there.
    """
    by_key = {(r.namespace, r.id): r for r in found}
    if not by_key:
        return []
    ids = pa.array([r.id for r in by_key.values()], pa.string())
    for batch in held_keys(store, list(entries), collection, passport):
        for row in batch.filter(pc.is_in(batch.column("held"), value_set=ids)).to_pylist():
            by_key.pop((row["namespace"], row["held"]), None)
    return [by_key[key] for key in sorted(by_key)]


def write(store: Store, rejects: Sequence[Reject]) -> dict[str, Any] | None:
    """Write the file of rejects, or remove the one that an interrupted run left.

    Returns:
        What the manifest says of the file; None when there is none.
    """
    if not rejects:
        store.delete(REJECTS)
        return None
    lines = (canonical.dumpb({"id": r.id, "namespace": r.namespace, "reason": r.reason}) for r in rejects)
    raw = b"".join(line + b"\n" for line in lines)
    store.put(REJECTS, raw)
    return {"path": REJECTS, "rows": len(rejects), "bytes": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}


def left_out(source: Mapping[str, Any]) -> str | None:
    """What a user of a dump has to know of records that are not in it; None when there are none.

    Args:
        source: as the manifest has it; from a stranger.
    """
    count = source["consistency"].get("rejected")
    if type(count) is not int or count < 1:
        return None
    records, are, them = ("record", "is", "it") if count == 1 else ("records", "are", "them")
    return f"{count:,} {records} could not be read at the source and {are} not in this dump: {REJECTS} names {them}"


def fault(store: Store, source: Mapping[str, Any]) -> str | None:
    """What is wrong with the file of rejects of a finished dump; None when it is what the manifest says.

    Args:
        store: of the dump.
        source: as the manifest has it; from a stranger.
    """
    facts, count = source.get("rejects"), source["consistency"].get("rejected")
    if facts is None and count is None:
        return f"the manifest does not name {REJECTS}" if store.exists(REJECTS) else None
    named = facts.get("rows") if isinstance(facts, Mapping) else None
    if named != count:
        return f"the manifest counts {count!r} records that could not be read, and {named!r} in {REJECTS}"
    size = store.size(REJECTS)
    if size is None:
        return f"{REJECTS} is missing"
    same = isinstance(facts, Mapping) and facts.get("bytes") == size and facts.get("sha256") == store.sha256(REJECTS)
    return None if same else f"{REJECTS} is not the file that the manifest names"
