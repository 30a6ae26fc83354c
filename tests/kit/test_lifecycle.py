"""Whose is it: every cell of the one table, and what follows from it for every target."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from typing import Any

import pytest

from vecport.connectors.contract import Description, TargetPlan
from vecport.connectors.kit.lifecycle import settle
from vecport.errors import AlreadyExists
from vecport.model.collection import Collection

MADE = Collection("docs")
MINE, OTHER = {"import_id": "mine"}, {"import_id": "other"}
#: What the collection's passport says: this import, another one, or nothing; None where there is no collection.
OWNERS = {"absent": None, "mine": MINE, "other": OTHER, "stranger": None}
REFUSED = "refused"


def decided(plan: TargetPlan, owner: str, rows: int | None, **more: Any) -> str:
    there = None if owner == "absent" else Description(MADE, rows, OWNERS[owner])
    try:
        return settle(plan, there, title="collection 'docs'", place="memory:x", **more)
    except AlreadyExists:
        return REFUSED


def wanted(if_exists: str, resume: bool, owner: str, rows: int | None) -> str:
    """The table, as a user would say it, for targets that keep passports."""
    if owner == "absent":
        return "create"
    if if_exists == "append" or (resume and owner == "mine"):
        return "keep"
    if if_exists == "replace":
        return "recreate"
    if rows != 0:
        return REFUSED
    return "keep" if owner == "stranger" else "recreate"


CELLS = list(product(("create", "append", "replace"), (False, True), OWNERS, (0, 3, None)))


@pytest.mark.parametrize(("if_exists", "resume", "owner", "rows"), CELLS)
def test_every_cell(if_exists: str, resume: bool, owner: str, rows: int | None) -> None:
    plan = TargetPlan(MADE, 3, if_exists, resume, passport=MINE, import_id="mine")
    assert decided(plan, owner, rows) == wanted(if_exists, resume, owner, rows)


@pytest.mark.parametrize(("if_exists", "resume", "owner", "rows"), CELLS)
def test_a_target_without_passports_knows_itself(if_exists: str, resume: bool, owner: str, rows: int | None) -> None:
    """What it knows of its own goes before what the plan lets suppose; without ``resume`` nothing is its own."""
    plan = TargetPlan(MADE, 3, if_exists, resume, import_id="mine")
    for ours in (True, False, None):
        mine = resume and ours is not False
        seen = "absent" if owner == "absent" else "mine" if mine else owner
        if seen == "mine" and not resume:
            seen = "other"
        assert decided(plan, owner, rows, ours=ours) == wanted(if_exists, resume and mine, seen, rows), ours


def test_an_empty_collection_of_vecport_that_fits_is_kept() -> None:
    plan = TargetPlan(MADE, 3, passport=MINE, import_id="mine")
    assert decided(plan, "other", 0, fits=lambda: True) == "keep"
    assert decided(plan, "other", 0, fits=lambda: False) == "recreate"
    assert decided(replace(plan, if_exists="replace"), "other", 0, fits=lambda: True) == "recreate"


def test_what_holds_records_is_never_removed_but_by_replace(shown: Callable[[str], None]) -> None:
    found = [
        (cell, decided(TargetPlan(MADE, 3, cell[0], cell[1], passport=p, import_id="mine"), *cell[2:], ours=ours))
        for cell in CELLS for p in (MINE, {}) for ours in (True, False, None)
    ]  # fmt: skip
    removed = [cell for cell, decision in found if decision == "recreate" and cell[3] != 0]
    assert removed
    assert all(cell[0] == "replace" for cell in removed)
    shown(f"whose is it: {len(found)} cells decided, {len(removed)} of them remove records, all by --if-exists replace")
