"""Tables: metadata from typed columns and a column of JSON, and names as SQL writes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pyarrow_compute

from ...errors import NotRepresentable
from ...model import canonical
from ...model.json_columns import object_column

pc: Final[Any] = pyarrow_compute


def quoted(name: str) -> str:
    """An identifier of SQL, whatever stands in it."""
    return '"' + name.replace('"', '""') + '"'


def metadata_of(
    objects: pa.Array[Any] | None, typed: Mapping[str, pa.Array[Any]], where: str = "metadata"
) -> pa.Array[Any] | None:
    """Metadata as canonical JSON.

    Args:
        objects: JSON objects as the database has them, null for none; None where no column has them.
        typed: further columns of the records by their keys, nulls as JSON's null.
        where: names the column of objects, for messages.

    Returns:
        One object a record; None where there are no columns at all.

    Raises:
        NotRepresentable: a text is no JSON object, or a key stands in an object and is a column too.
    """
    further = object_column(list(typed), list(typed.values())) if typed else None
    if objects is None:
        return further
    own = canonical.canonicalise_column(pc.fill_null(objects, "{}"))
    if not pc.all(pc.starts_with(own, "{"), min_count=0).as_py():
        first = own[pc.index(pc.starts_with(own, "{"), False).as_py()].as_py()
        raise NotRepresentable(f"{where} is no JSON object", f"a record has {first[:80]} there")
    if further is None:
        return own
    return pa.array([_merged(*pair, where) for pair in zip(own.to_pylist(), further.to_pylist(), strict=True)])


def _merged(own: str, further: str, where: str) -> str:
    one, other = canonical.loads(own), canonical.loads(further)
    if both := sorted(one.keys() & other.keys()):
        raise NotRepresentable(f"metadata key {both[0]!r} is a column too", f"a record has it in {where} as well")
    return canonical.dumps({**one, **other})
