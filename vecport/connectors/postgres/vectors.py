"""The types that hold vectors: what each carries, its limits, and its metrics as operators and operator classes.

Facts: ``vector.h``, ``halfvec.h``, ``sparsevec.h``, ``hnsw.h`` and ``ivfflat.h`` of pgvector 0.8, its README; the
length limit of ``bit`` is Postgres' own. A sparse vector has no number of dimensions in a dump,
its column type has one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

#: Metric -> its word in the names of operator classes, and its operator.
OPERATORS: Final = {
    "cosine": ("cosine", "<=>"),
    "dot": ("ip", "<#>"),
    "l2": ("l2", "<->"),
    "l1": ("l1", "<+>"),
    "hamming": ("hamming", "<~>"),
    "jaccard": ("jaccard", "<%>"),
}
INDEX_METHODS: Final = ("hnsw", "ivfflat")
MAX_SPARSE_ENTRIES: Final = 16_000
MAX_INDEXED_ENTRIES: Final = 1_000


@dataclass(frozen=True, slots=True)
class VectorType:
    """One of the types.

    Attributes:
        name: in the database.
        kind, dtype: of the vector fields that it holds, exactly.
        max_dim: the largest declared number of dimensions.
        max_indexed: the largest one that an index takes.
        metrics: that hnsw has operator classes for.
        ivfflat: the same for ivfflat.
    """

    name: str
    kind: str
    dtype: str
    max_dim: int
    max_indexed: int
    metrics: frozenset[str]
    ivfflat: frozenset[str]

    def opclass(self, metric: str) -> str:
        """The operator class of a metric."""
        return f"{self.name}_{OPERATORS[metric][0]}_ops"

    def indexed(self, method: str) -> frozenset[str]:
        """The metrics that an index of this method can be built for."""
        return self.metrics if method == "hnsw" else self.ivfflat


_REAL: Final = frozenset({"cosine", "dot", "l2", "l1"})
_THREE: Final = frozenset({"cosine", "dot", "l2"})
VECTOR_TYPES: Final[Mapping[str, VectorType]] = {
    kind.name: kind
    for kind in (
        VectorType("vector", "dense", "float32", 16_000, 2_000, _REAL, _THREE),
        VectorType("halfvec", "dense", "float16", 16_000, 4_000, _REAL, _THREE),
        VectorType(
            "bit", "binary", "bit", 83_886_080, 64_000, frozenset({"hamming", "jaccard"}), frozenset({"hamming"})
        ),
        VectorType("sparsevec", "sparse", "float32", 1_000_000_000, 1_000_000_000, _REAL, frozenset()),
    )
}
_BY_FORM: Final = {(kind.kind, kind.dtype): kind for kind in VECTOR_TYPES.values()}

#: Operator class -> metric, of all types.
METRICS: Final = {kind.opclass(metric): metric for kind in VECTOR_TYPES.values() for metric in kind.metrics}


def type_for(kind: str, dtype: str) -> VectorType | None:
    """The type that holds vectors of a kind and dtype exactly; None when there is none."""
    return _BY_FORM.get((kind, dtype))
