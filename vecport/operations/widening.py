"""The way back for a collection that vecport filled, and a scan that begins again where records do not fit the memory.

A description shows most of what has changed since the import. What only a record shows ends the scan at that record:
the schema is widened by it, the widening is recorded in the journal's run, and the scan begins again. Every such step
takes more records than the one before, and there are few of them: kinds of ids, vectors, and the typed fields.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from ..connectors import registry
from ..connectors.contract import Source
from ..dump.dump import unpublish
from ..dump.journal import Journal, Run
from ..dump.layout import Cut, cut_for
from ..dump.store import Store
from ..errors import UsageError
from ..model.capabilities import MetadataRules
from ..model.collection import Collection
from ..model.passport import Passport
from ..model.restore import Restorer, restored_schema
from ..model.widening import Misfit, Widening
from .reconcile import count_of
from .tasks import PartitionDone


def restorer_for(
    native: Collection,
    passport: Mapping[str, Any] | None,
    widened: Mapping[str, Any] | None = None,
    *,
    lenient: bool = False,
) -> Restorer | None:
    """The way back for a collection that vecport filled; None for any other.

    Args:
        native: as the database describes it.
        passport: found there.
        widened: what records have shown before (``Widening.to_json``).
        lenient: widen by whatever comes, as a look at a few records or a comparison does.
    """
    if passport is None:
        return None
    p = Passport.from_json(passport)
    return Restorer(p, native, rules_of(p), Widening.from_json(widened or {}), lenient)


def rules_of(passport: Passport) -> MetadataRules | None:
    """The metadata rules by which originals were encoded; None where this release does not know them."""
    try:
        target = registry.get(passport.rules).target
    except (UsageError, ImportError):
        return None
    return None if target is None else target.capabilities.rules_of(passport.rules_version)


def raise_misfit(result: PartitionDone) -> None:
    """Raise the ``Misfit`` that a task found, in whichever process it ran."""
    if result.widen is not None:
        raise Misfit(Widening.from_json(result.widen))


def begun_again(
    store: Store, session: Source, run: Run, misfit: Misfit, shard_rows: int | None, note: Callable[[str], None],
    check: Callable[[], None],
) -> tuple[Run, Cut]:  # fmt: skip
    """Begin a run anew with the schema that fits what was found; shards that were written are removed.

    Args:
        store: of the dump.
        session: attached to the run's snapshot.
        run: as it was begun.
        misfit: what did not fit.
        shard_rows: the user's choice.
        note: hears what was widened.
        check: raises where the user wants to stop.

    Raises:
        Misfit: the schema is as wide already.
    """
    before = Widening.from_json(run.widened)
    widening = before.merged(misfit.widening)
    if not widening.wider_than(before):
        raise misfit
    assert run.passport is not None
    collection = restored_schema(Passport.from_json(run.passport), run.native, widening).collection
    cut = cut_for(collection, shard_rows)
    for fact in misfit.widening.facts:
        note(f"{fact}; the scan begins again")
    # A kill before the journal begins leaves nothing, and the same command begins from the start.
    unpublish(store)
    journal, count = Journal(store), count_of(session)
    dump_id = str(uuid.uuid4())
    partitions = journal.partitions(dump_id).write(session.partitions(cut.shard_rows, run.token), check)
    again = replace(
        run, collection=collection, widened=widening.to_json(), count_before=count, partitions=partitions, epochs=1,
        dump_id=dump_id,
    )  # fmt: skip
    journal.begin(again)
    return again, cut
