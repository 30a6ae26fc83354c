"""The bounds within which vectors are compared: a user's tolerance, and both in words."""

from __future__ import annotations

import math
from collections.abc import Mapping

from ...errors import UsageError
from ...model.collection import Bound, Collection
from ...model.compare import EXACT, bounds_of

#: For all vectors, or by the name of a vector field; None for the bound that each field states.
Tolerance = float | Mapping[str, float] | None


def check_tolerance(tolerance: Tolerance) -> None:
    """Raise ``UsageError``, which names the vector, for a number that bounds nothing."""
    given = tolerance if isinstance(tolerance, Mapping) else {} if tolerance is None else {None: tolerance}
    for name, value in given.items():
        if not (math.isfinite(value) and value >= 0):
            said = f"{value:g}" if name is None else f"{name or 'vector'}={value:g}"
            raise UsageError(f"--tolerance {said}: {value:g} is no bound", next="a number from 0 on, as 1e-6")


def checked_bounds(ours: Collection, theirs: Collection, tolerance: Tolerance) -> dict[str, Bound]:
    """The bound of each field.

    Raises:
        UsageError: the tolerance names a field that neither side has, or is no bound.
    """
    known = list(dict.fromkeys(v.name for c in (ours, theirs) for v in c.vectors))
    if isinstance(tolerance, Mapping) and "" in known and "vector" not in known:
        # A vector without a name is called so in results.
        tolerance = {"" if name == "vector" else name: value for name, value in tolerance.items()}
    given = tolerance if isinstance(tolerance, Mapping) else {} if tolerance is None else {"": tolerance}
    check_tolerance(tolerance)
    for name, value in given.items():
        if isinstance(tolerance, Mapping) and name not in known:
            listed = ", ".join(repr(n or "vector") for n in known) or "none"
            raise UsageError(
                f"--tolerance {name}={value:g}: there is no vector {name!r}", f"the vectors: {listed}",
                next="name one of them, or give one number for all: --tolerance 1e-6",
            )  # fmt: skip
    found = bounds_of(ours, theirs, tolerance)
    if isinstance(tolerance, Mapping) and len(found) == 1 and given:
        # A sole vector may have another name on each side.
        found = {n: Bound(next(iter(given.values())), b.normalized) for n, b in found.items()}
    return found


def words(bound: Bound) -> str:
    """A bound in words."""
    if bound == EXACT:
        return "bit for bit"
    return f"within {bound.relative:g}" + (", as unit vectors" if bound.normalized else "")


def words_by_field(bounds: Mapping[str, Bound]) -> dict[str, str]:
    """The bound of each field in words."""
    return {name: words(bound) for name, bound in bounds.items()}


def summary(by_field: Mapping[str, str]) -> str:
    """All bounds in one line; fields are named where they have different ones."""
    different = list(dict.fromkeys(by_field.values()))
    if len(different) < 2:
        return different[0] if different else words(EXACT)
    return "; ".join(f"{name or 'vector'} {text}" for name, text in by_field.items())
