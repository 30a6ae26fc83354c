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
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ...errors import NotRepresentable
from ...model.capabilities import MetadataRules, Names
from ...model.collection import Bound, VectorField
from ...model.projection import Projection
from ..kit.checks import refuse_vectors
from ..kit.floats import survives_serde_json

SPACES: Final = {"l2": "l2", "cosine": "cosine", "ip": "dot"}
"""vecport's metric by Chroma's space."""
SPACE_OF: Final = {metric: space for space, metric in SPACES.items()}

COSINE_BOUND: Final = Bound(relative=2.4e-7)
"""Two units in the last place of a float32; 1.24e-7 was the most that was seen."""

TITLE: Final = "Chroma"
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
    """Whether a double comes back bit by bit; zero loses its sign."""
    return math.isfinite(value) and repr(value) != "-0.0" and survives_serde_json(value)


#: Whether a parsed JSON value comes back exactly as the value of a metadata key.
value_survives: Final = Projection(METADATA_RULES).held


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


def check_lengths(ids: Sequence[str], matrix: npt.NDArray[np.float32], field: VectorField) -> None:
    """Refuse vectors that a cosine index destroys.

    Args:
        ids: of the records, for the message.
        matrix: (n, dim) float32, finite.
        field: the vector.

    Raises:
        NotRepresentable: naming the first such record.
    """
    if field.metric != "cosine":
        return
    with np.errstate(over="ignore"):
        square = np.einsum("ij,ij->i", matrix, matrix)
    # The sum in float32 is far enough from the edges to tell nearly all apart.
    bad = ~((square >= 1e-30) & (square <= 1e37))
    for i in np.flatnonzero(bad).tolist():
        row = matrix[i].astype(np.float64)
        bad[i] = row.any() and not _SMALLEST_SQUARE <= float(row @ row) <= _LARGEST_SQUARE
    refuse_vectors(
        bad, ids, field, "its length is beyond what Chroma's cosine index keeps: it would come back as NaN or zeros"
    )
