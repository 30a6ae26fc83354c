"""Whose is it: what becomes of a collection that is there already, the same for every target.

==========  ======  ===========================  =======  ==========================================
if_exists   resume  what is there                records  decision
==========  ======  ===========================  =======  ==========================================
any         any     nothing                      -        create
append      any     anything                     any      keep
any         yes     this import's                any      keep
replace     any     anything else                any      recreate
create      any     anything else                some     ``AlreadyExists``
create      any     vecport's, of another import none     keep where it fits, else recreate
create      any     somebody else's              none     keep; it has to fit
==========  ======  ===========================  =======  ==========================================

A collection is this import's where its passport says so. Where a plan has no passport, for a target that has no room
for one, only the target can know; until it says so, a resumed import takes what is there for its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from ...errors import AlreadyExists
from ..contract import Description, TargetPlan

Decision = Literal["create", "keep", "recreate"]


def is_ours(plan: TargetPlan, there: Description) -> bool:
    """Whether a collection was made by the very import that a plan goes on with."""
    if not plan.resume:
        return False
    return not plan.passport or _import_id(there) == plan.import_id


def settle(
    plan: TargetPlan,
    there: Description | None,
    *,
    title: str,
    place: str,
    ours: bool | None = None,
    fits: Callable[[], bool] | None = None,
) -> Decision:
    """Decide what becomes of a collection that is there.

    Args:
        plan: of the import.
        there: what ``describe`` finds; of its schema nothing is looked at. A count that is None stands for some.
        title: what is called a collection here, with its name, as ``collection 'docs'``.
        place: the address as it may be shown.
        ours: what the target itself knows of it, where that is more than the passport tells; nothing without
            ``plan.resume``.
        fits: whether the records could go into an empty collection as it is; None where that is not known.

    Returns:
        ``create`` it, ``keep`` it and write into it, or ``recreate`` it: remove what is there, then create it.

    Raises:
        AlreadyExists: it holds records that are not this import's, and the plan says ``create``.
    """
    if there is None:
        return "create"
    mine = is_ours(plan, there) if ours is None else ours and plan.resume
    if plan.if_exists == "append" or mine:
        return "keep"
    if plan.if_exists == "replace":
        return "recreate"
    if there.count != 0:
        raise AlreadyExists(
            f"{title} of {place} has {'' if there.count is None else f'{there.count:,} '}records",
            "it is not the one that this import created" if plan.resume else "",
            "nothing was written",
            "choose another name with -c/--collection, or say --if-exists append or --if-exists replace",
        )
    if there.passport is None:
        return "keep"
    return "keep" if fits is not None and fits() else "recreate"


def _import_id(there: Description) -> str | None:
    found = None if there.passport is None else there.passport.get("import_id")
    return found if isinstance(found, str) else None
