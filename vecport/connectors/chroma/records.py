"""Records of a dump and of Chroma's client: what becomes of metadata, URIs and sparse vectors on both ways.

In a dump a record's URI stands in its metadata under ``chroma:uri``, a key that Chroma itself keeps it under and
that no user can have there. A sparse vector is the JSON object that Chroma sends over the wire: ``#type``, ``indices``,
``values`` and, where it has labels, ``tokens``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ...errors import NotRepresentable
from ...model import canonical
from ..kit.checks import refused_value
from .values import SPARSE, TITLE, TYPE_KEY, URI_KEY

_SPARSE_TYPE: Final = "SparseVector"


def metadata_column(
    ids: Sequence[str], rows: Sequence[Mapping[str, Any] | None], uris: Sequence[str | None] | None, name: str
) -> pa.Array[Any]:
    """Canonical JSON of each record's metadata and URI, ``{}`` for none, as an Arrow string array.

    Args:
        ids: for messages.
        rows: as the client gives them.
        uris: as the client gives them.
        name: the collection's, for messages.

    Raises:
        NotRepresentable: a value that is not JSON, naming record and key.
    """
    if uris is not None and any(uri is not None for uri in uris):
        rows = [row if uri is None else {**(row or {}), URI_KEY: uri} for row, uri in zip(rows, uris, strict=True)]
    try:
        return _encoded(rows)
    except NotRepresentable:
        plain = [{key: _plain(value) for key, value in (row or {}).items()} for row in rows]
    try:
        return _encoded(plain)
    except NotRepresentable:
        for id, row in zip(ids, plain, strict=True):
            for key, value in row.items():
                _check_value(id, key, value, name)
        raise


def _encoded(rows: Sequence[Mapping[str, Any] | None]) -> pa.Array[Any]:
    return pa.array([canonical.dumpb(row) if row else b"{}" for row in rows], pa.string())


def _plain(value: Any) -> Any:
    """A sparse vector as a JSON object, anything else as it is.

    A server spells a float32 by the fewest digits that name it, a folder gives its double: here both are the double.
    """
    if type(value).__name__ != _SPARSE_TYPE:
        return value
    values = np.asarray(value.values, np.float32).astype(np.float64).tolist()
    labels = {} if value.labels is None else {"tokens": list(value.labels)}
    return {TYPE_KEY: SPARSE, "indices": [int(i) for i in value.indices], "values": values, **labels}


def _check_value(id: str, key: str, value: Any, name: str) -> None:
    try:
        canonical.dumpb({key: value})
    except NotRepresentable as e:
        raise NotRepresentable(
            f"collection {name!r}: {e.what} is not supported",
            why=f"record {id!r} has one under the metadata key {key!r}",
            safe="nothing was left out: the export stops",
        ) from e


def split(
    ids: Sequence[str], metadata: pa.Array[Any], rows: list[dict[str, Any]]
) -> tuple[list[dict[str, Any] | None], list[str | None] | None]:
    """Metadata and URIs as the client takes them.

    Args:
        ids: of the records, for messages.
        metadata: JSON objects; tell whether there is anything to look for.
        rows: the same, parsed and checked; changed in place.

    Returns:
        Metadata by record, None where Chroma must be given none; URIs by record, None where there is not one.

    Raises:
        NotRepresentable: something else than text stands under the key of URIs.
    """
    uris: list[str | None] | None = None
    if pc.any(pc.match_substring(metadata, f'"{URI_KEY}"')).as_py():
        for id, row in zip(ids, rows, strict=True):
            if type(row.get(URI_KEY, "")) is not str:
                why = "Chroma takes what stands there for the record's URI, which is text"
                raise refused_value(id, URI_KEY, TITLE, why)
        uris = [row.pop(URI_KEY, None) for row in rows]
    if pc.any(pc.match_substring(metadata, f'"{SPARSE}"')).as_py():
        for row in rows:
            for key, value in row.items():
                if type(value) is dict:
                    row[key] = _vector(value)
    return [row or None for row in rows], uris


def _vector(value: Mapping[str, Any]) -> Any:
    from chromadb import SparseVector

    return SparseVector(value["indices"], value["values"], value.get("tokens"))
