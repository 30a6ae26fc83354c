"""Which ids, keys, values and vectors Chroma gives back as it got them.

Measured with chromadb 1.5.9, folder and server; the tests repeat every line of this against the engine.

* Metadata passes through a queue as JSON text, which ``serde_json`` reads without its ``float_roundtrip`` feature:
  about every tenth double of 16 or 17 digits comes back with its last bit changed, and ``-0.0`` as ``0.0``.
  ``float_survives`` repeats that arithmetic.
* Integers beyond 64 bits become doubles; NaN and infinities vanish with their key, and within a list they make the
  whole collection unreadable for good.
* Keys that begin with ``chroma:`` vanish; a text under ``chroma:uri`` becomes the record's URI.
* Sparse vectors are refused by folders and by servers that one runs oneself ("not supported for local chroma").
* A cosine index keeps unit vectors and a length: up to two units in the last place are lost on the way back, and
  vectors whose squared length leaves the range of a float32 come back as NaN or zeros.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from itertools import pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ...errors import NotRepresentable
from ...model.capabilities import MetadataRules, Names
from ...model.collection import Bound

SPACES: Final = {"l2": "l2", "cosine": "cosine", "ip": "dot"}
"""vecport's metric by Chroma's space."""
SPACE_OF: Final = {metric: space for space, metric in SPACES.items()}

COSINE_BOUND: Final = Bound(relative=2.4e-7)
"""Two units in the last place of a float32; 1.24e-7 was the most that was seen."""

PASSPORT_KEY: Final = "vecport"
#: Where Chroma itself keeps a record's URI, and where it stands in a dump's metadata.
URI_KEY: Final = "chroma:uri"
TYPE_KEY: Final = "#type"
SPARSE: Final = "sparse_vector"

METADATA_RULES: Final = MetadataRules(
    exact=frozenset(
        {
            "boolean", "integer", "integer64", "number", "number_exponent", "string", "string_nul",
            "list_string", "list_integer", "list_number", "list_boolean",
        }
    ),
    survives=lambda value: float_survives(value),
    forbidden_keys=r"(?s:(?:[#$]|chroma:(?!uri\Z)).*)?",
)  # fmt: skip

COLLECTION_NAMES: Final = Names(
    grammar=r"(?!.*\.\.)(?!\d{1,3}(?:\.\d{1,3}){3}\Z)[A-Za-z0-9][A-Za-z0-9._-]{1,510}[A-Za-z0-9]",
    says="a name has 3 to 512 of a-z A-Z 0-9 . _ -, begins and ends with a letter or digit, has no '..' and is no IP"
    " address",
)
_FORBIDDEN: Final = re.compile(METADATA_RULES.forbidden_keys)
_POWERS: Final = tuple(float(f"1e{n}") for n in range(309))
_SMALLEST_SQUARE: Final = float(np.finfo(np.float32).tiny)
_LARGEST_SQUARE: Final = 1e38
_LARGEST: Final = float(np.finfo(np.float32).max)


def check_name(name: str) -> None:
    """Raise ``NotRepresentable`` unless Chroma takes ``name`` for a collection."""
    if problem := COLLECTION_NAMES.problem(name):
        raise NotRepresentable(
            f"Chroma takes no collection name {name!r}",
            why=problem,
            safe="nothing was created",
            next="choose another name with -c/--collection",
        )


def float_survives(value: float) -> bool:
    """Whether a double comes back bit by bit: writing it as text and reading that the way ``serde_json`` does.

    The text is the shortest one, spelled by Rust's ``ryu``; it is read as an integer of all its digits that is
    multiplied or divided by a power of ten, with one rounding each (``serde_json`` ``de.rs``: ``f64_from_parts``).
    """
    text = repr(value)
    if value == 0 or not math.isfinite(value):
        return text == "0.0"
    if len(text) <= 16 and "e" not in text:
        # At most 15 digits and a small power of ten: both are exact, and one rounding gives the nearest double.
        return True
    _, digits, exponent = Decimal(text).as_tuple()
    assert isinstance(exponent, int)
    significand = int("".join(map(str, digits)))
    while significand % 10 == 0:
        significand, exponent = significand // 10, exponent + 1
    if exponent >= 0 and len(str(significand)) + exponent <= 16:
        # Spelled positionally, with ".0" behind, and read with that zero.
        significand, exponent = significand * 10 ** (exponent + 1), -1
    return _serde_reads(significand, exponent) == abs(value)


def _serde_reads(significand: int, exponent: int) -> float:
    result = float(significand)
    while abs(exponent) > 308:
        if exponent > 0:
            return float("inf")
        result /= 1e308
        exponent += 308
    return result * _POWERS[exponent] if exponent >= 0 else result / _POWERS[-exponent]


def value_survives(value: Any) -> bool:
    """Whether a parsed JSON value comes back exactly as the value of a metadata key."""
    kind = type(value)
    if kind is str or kind is bool:
        return True
    if kind is int:
        return bool(-(1 << 63) <= value < 1 << 63)
    if kind is float:
        return float_survives(value)
    if kind is not list or not value:
        return False
    first = type(value[0])
    return first in (str, bool, int, float) and all(type(v) is first and value_survives(v) for v in value)


def key_survives(key: str) -> bool:
    """Whether a metadata key can be stored."""
    return not _FORBIDDEN.fullmatch(key)


def is_sparse(value: Mapping[str, Any]) -> bool:
    """Whether a JSON object is a sparse vector that comes back as it is: float32 values, rising 32-bit indices."""
    if value.get(TYPE_KEY) != SPARSE or not value.keys() <= {TYPE_KEY, "indices", "values", "tokens"}:
        return False
    parts: list[Any] = [value.get("indices"), value.get("values"), value.get("tokens", [])]
    indices, values, tokens = parts
    if not all(type(part) is list for part in parts) or len(indices) != len(values):
        return False
    if "tokens" in value and len(tokens) != len(indices):
        return False
    if not all(type(i) is int and 0 <= i < 1 << 32 for i in indices) or any(a >= b for a, b in pairwise(indices)):
        return False
    if not all(type(v) is float and math.isfinite(v) and abs(v) <= _LARGEST for v in values):
        return False
    return all(type(t) is str for t in tokens) and bool(np.array_equal(np.asarray(values, np.float32), values))


def check_metadata(
    ids: Iterable[str], rows: Iterable[dict[str, Any]], known: set[str], rules: MetadataRules = METADATA_RULES
) -> None:
    """Refuse metadata that Chroma would change or drop.

    Args:
        ids: the records' ids, for the message.
        rows: parsed JSON objects.
        known: keys that were found good; grows.
        rules: of the place that is written to.

    Raises:
        NotRepresentable: naming the first record, key and value.
    """
    for id, row in zip(ids, rows, strict=True):
        for key in row.keys() - known:
            if not key_survives(key):
                raise _refused(id, key, "Chroma refuses or drops keys that are empty or begin with # $ chroma:")
            known.add(key)
        for key, value in row.items():
            kind = type(value)
            if kind is not str and key == URI_KEY:
                raise _refused(id, key, "Chroma takes what stands there for the record's URI, which is text")
            if kind is dict and rules.holds is not None and rules.holds(value):
                continue
            if kind is not str and kind is not bool and not value_survives(value):
                shown = repr(value)
                why = f"Chroma would give back something else than {shown[:80]}{'...' if len(shown) > 80 else ''}"
                raise _refused(id, key, why)


def _refused(id: str, key: str, why: str) -> NotRepresentable:
    return NotRepresentable(
        f"record {id!r}: metadata key {key!r} cannot be stored in Chroma",
        why=why,
        safe="nothing of this row group was written",
    )


def check_vectors(ids: list[str], matrix: npt.NDArray[np.float32], space: str) -> None:
    """Refuse vectors that Chroma refuses or that its cosine index destroys.

    Args:
        ids: of the records, for the message.
        matrix: (n, dim) float32.
        space: ``l2``, ``cosine`` or ``ip``.

    Raises:
        NotRepresentable: naming the first such record.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        square = np.einsum("ij,ij->i", matrix, matrix)
    odd = np.flatnonzero(~((square >= 1e-30) & (square <= 1e37)))
    for i in odd.tolist():
        row = matrix[i].astype(np.float64)
        if not np.isfinite(row).all():
            why = "Chroma refuses NaN and infinity in vectors"
        elif space == "cosine" and row.any() and not _SMALLEST_SQUARE <= float(row @ row) <= _LARGEST_SQUARE:
            why = "its length is beyond what Chroma's cosine index keeps: it would come back as NaN or zeros"
        else:
            continue
        raise NotRepresentable(
            f"record {ids[i]!r}: its vector cannot be stored in Chroma",
            why=why,
            safe="nothing of this row group was written",
        )
