"""What every target refuses from its capabilities alone, before anything is created."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from ..errors import NotRepresentable, UsageError
from ..model.batch import check_lengths, page_schema
from ..model.capabilities import TargetCapabilities
from ..model.collection import VectorField
from .contract import TargetPlan


def check_plan(plan: TargetPlan, caps: TargetCapabilities, title: str) -> None:
    """Hold a plan against what a target says that it can do.

    Args:
        plan: of the import.
        caps: of the target.
        title: the database's name, for messages.

    Raises:
        UsageError: ``if_exists`` or ``on_conflict`` is not offered.
        NotRepresentable: a vector, metric, dimension or id kind that is not claimed.
    """
    if plan.if_exists not in caps.if_exists:
        raise UsageError(
            f"if-exists {plan.if_exists!r} is not offered by {title}",
            next=f"one of: {', '.join(sorted(caps.if_exists))}",
        )
    if plan.on_conflict not in caps.on_conflict:
        raise UsageError(
            f"on-conflict {plan.on_conflict!r} is not offered by {title}",
            next=f"one of: {', '.join(sorted(caps.on_conflict))}",
        )
    collection = plan.collection
    if collection.id_kind not in caps.id_kinds:
        raise _refused(f"ids of kind {collection.id_kind!r}", title, f"kinds that it holds: {sorted(caps.id_kinds)}")
    if len(collection.vectors) > caps.vectors:
        raise _refused(f"{len(collection.vectors)} vectors a record", title, f"it holds {caps.vectors}")
    if len(collection.vectors) < caps.vectors_min:
        raise _refused(
            f"collection {collection.name!r}", title,
            "its records have no vector" if not collection.vectors else f"its records need {caps.vectors_min} vectors",
        )  # fmt: skip
    if problem := caps.collection_names.problem(collection.name):
        raise _refused(f"a collection name {collection.name!r}", title, problem)
    for namespace in plan.namespaces:
        if problem := caps.namespace_names.problem(namespace):
            raise _refused(f"a namespace {namespace!r}" if namespace else "the default namespace", title, problem)
    for v in collection.vectors:
        _check_vector(v, caps, title)


def _check_vector(v: VectorField, caps: TargetCapabilities, title: str) -> None:
    what = f"vector {v.name!r}: "
    dtypes = caps.kinds.get(v.kind, frozenset())
    if v.dtype not in dtypes:
        held = {k: sorted(d) for k, d in caps.kinds.items()}
        raise _refused(f"{what}{v.kind} of {v.dtype}", title, f"it holds {held}")
    if v.dim is not None and v.dim > caps.max_dim_of(v.kind):
        raise _refused(f"{what}{v.dim:,} dimensions", title, f"it holds {caps.max_dim_of(v.kind):,}")
    multiple = caps.dim_multiple.get(v.kind, 1)
    if v.dim is not None and v.dim % multiple:
        raise _refused(f"{what}{v.dim:,} dimensions", title, f"those of {v.kind} vectors go by {multiple}")
    if caps.metric_required and v.metric not in caps.metrics_of(v.kind):
        raise _refused(f"{what}metric {v.metric!r}", title, f"one of: {', '.join(sorted(caps.metrics_of(v.kind)))}")
    if v.name and (problem := caps.vector_names.problem(v.name)):
        raise _refused(f"a vector name {v.name!r}", title, problem)
    if not v.name and (not caps.unnamed_vector or v.kind in caps.named_kinds):
        raise _refused(f"{what}no name", title, "its vectors have names")


def _refused(what: str, title: str, why: str) -> NotRepresentable:
    return NotRepresentable(f"{title} cannot hold {what}", why, "nothing was written")


def sole_ids(keys: Sequence[tuple[str, str]], title: str) -> list[str]:
    """The ids of keys, for a target without namespaces.

    Raises:
        NotRepresentable: a key is of another than the default namespace.
    """
    for namespace, _ in keys:
        check_default(namespace, title)
    return [id_ for _, id_ in keys]


def check_default(namespace: str, title: str) -> None:
    """Raise ``NotRepresentable`` where a target without namespaces is asked for one."""
    if namespace:
        raise NotRepresentable(f"namespace {namespace!r}", f"{title} has no namespaces", "nothing was changed")


def check_batch(batch: pa.RecordBatch, plan: TargetPlan, where: str) -> None:
    """Raise unless a batch has the columns and dimensions of the plan.

    Raises:
        NotRepresentable: other columns.
        IntegrityError: a vector of another dimension.
    """
    collection = plan.collection
    if batch.schema.remove_metadata() != page_schema(collection):
        raise NotRepresentable(
            f"{where} does not fit collection {collection.name!r}",
            f"columns are {batch.schema.names}, expected {page_schema(collection).names}",
            "nothing of it was written",
        )
    columns = collection.columns()
    for v in collection.vectors:
        check_lengths(batch.column(columns[v.name]), v, where)
