"""What a place holds that keeps records in the model's own form, whatever is in them."""

from __future__ import annotations

from typing import Final

from ...model.capabilities import Names, TargetCapabilities
from ...model.collection import ID_KINDS, METRICS

_DTYPES: Final = frozenset({"float64", "float32", "float16", "bfloat16", "int8", "uint8"})
_ANY_INT: Final = 1 << 4096

UNLIMITED: Final = TargetCapabilities(
    id_kinds=frozenset(ID_KINDS) - {"position"},
    id_int_min=-_ANY_INT,
    id_int_max=_ANY_INT,
    vectors=256,
    kinds={
        "dense": _DTYPES,
        "sparse": frozenset({"float32"}),
        "multi": _DTYPES,
        "binary": frozenset({"bit"}),
    },
    metrics=frozenset(METRICS),
    metric_required=False,
    null_vectors=True,
    nonfinite_vectors=True,
    native_document=True,
    native_namespace=True,
    collection_names=Names(),
    namespace_names=Names(default=""),
)
