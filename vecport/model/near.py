"""Vectors that are the same within a stated bound."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .collection import Bound

EXACT = Bound(0.0)


def within(a: npt.NDArray[Any], b: npt.NDArray[Any], bound: Bound) -> npt.NDArray[np.bool_]:
    """Which rows of ``b`` are rows of ``a`` within a bound.

    The error of a row is the largest difference of a component over the largest component of the row of ``a``.
    Under ``bound.normalized`` both are scaled to unit length first. Rows with equal bits, NaN included, are within.

    Args:
        a, b: (rows, dim) floats.
        bound: the stated error.

    Returns:
        (rows,) bool.
    """
    equal = (np.ascontiguousarray(a) == np.ascontiguousarray(b)) | (np.isnan(a) & np.isnan(b))
    same = equal.all(axis=1)
    if same.all() or bound == EXACT:
        return np.asarray(same)
    x, y = a[~same].astype(np.float64), b[~same].astype(np.float64)
    if bound.normalized:
        x, y = _unit(x), _unit(y)
    scale = np.abs(x).max(axis=1)
    error = np.abs(x - y).max(axis=1)
    same[~same] = error <= bound.relative * scale
    return np.asarray(same)


def _unit(rows: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    length = np.sqrt(np.einsum("ij,ij->i", rows, rows))
    length[length == 0] = 1.0
    return np.asarray(rows / length[:, None])
