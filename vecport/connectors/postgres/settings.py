"""What ``--set`` takes for a table: indexes, dimensions of sparse columns, columns for metadata keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ...errors import UsageError
from ..contract import TargetPlan
from ..kit.settings import Setting, Value, parse
from .vectors import INDEX_METHODS, VECTOR_TYPES

TITLE: Final = "PostgreSQL"

#: The parameters of indexes, by name: whole numbers within the bounds of pgvector.
PARAMETERS: Final = {
    setting.name: setting
    for setting in (
        Setting("m", "Links of a node of an hnsw index.", low=2, high=100, of="vector"),
        Setting("ef_construction", "Candidates while an hnsw index is built.", low=4, high=1_000, of="vector"),
        Setting("lists", "Lists of an ivfflat index.", low=1, high=32_768, of="vector"),
    )
}
#: The parameters that an index of each method has.
OF_METHOD: Final = {"hnsw": ("m", "ef_construction"), "ivfflat": ("lists",)}

SETTINGS: Final = (
    Setting("index", "The index of a vector.", "choice", choices=(*INDEX_METHODS, "none"), of="vector"),
    *PARAMETERS.values(),
    Setting(
        "dimensions", "Dimensions of a sparse vector's column.", low=1, high=VECTOR_TYPES["sparsevec"].max_dim, of="one"
    ),
    Setting(
        "maintenance_work_mem", "Memory for building indexes.", "text", pattern="[1-9][0-9]{0,8}(kB|MB|GB)",
        takes="a number and a unit, as 512MB",
    ),
    Setting(
        "column", "The column for a metadata key, in a table that is there.", "text", pattern="(?s).+",
        takes="the name of a column", of="key",
    ),
)  # fmt: skip


def choices(plan: TargetPlan) -> dict[str, Value]:
    """The user's choices, checked and typed, by name.

    Raises:
        UsageError: an unknown name, a value out of bounds, or a column for a key in a table that is to be created.
    """
    found = parse(plan.settings, SETTINGS, TITLE, (v.name for v in plan.collection.vectors))
    if chosen_columns(plan.settings) and plan.if_exists != "append":
        raise UsageError("--set column.KEY=COLUMN is for a table that is there", next="--if-exists append")
    return found


def chosen_columns(settings: Mapping[str, str]) -> dict[str, str]:
    """Metadata key -> column, of the settings ``column.KEY``."""
    prefix = "column."
    return {key.removeprefix(prefix): column for key, column in settings.items() if key.startswith(prefix)}
