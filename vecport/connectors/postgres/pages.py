"""From Arrow batches of ADBC to pages: ids as text, typed columns as canonical JSON, vectors as NumPy views.

What ADBC gives (measured with driver 1.13): columns of pgvector types as ``arrow.opaque`` over the binary wire form;
``uuid`` as 16 bytes; ``json`` and ``jsonb`` as text; one-dimensional arrays as lists. It flattens arrays of several
dimensions without a word, and dates at infinity overflow, so that such values are fetched as text instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from ...errors import NotRepresentable
from ...model import canonical, parsed
from ...model.batch import make_page
from ...model.collection import Collection
from ...model.json_columns import RawJSON, object_column
from . import sql
from .arrow import Array, Batch, pa, pc
from .layout import Layout, Slot
from .vector_wire import decode

_HEX: Final = np.frombuffer(b"0123456789abcdef", np.uint8)
_UUID_DIGITS: Final = np.array([i for i in range(36) if i not in (8, 13, 18, 23)])


class Reader:
    """Turns query results of one table into pages.

    Args:
        layout: which column holds what.
        collection: the collection that the pages belong to.
    """

    def __init__(self, layout: Layout, collection: Collection) -> None:
        self._layout = layout
        self._collection = collection

    def select_list(self) -> str:
        """The expressions of a query whose batches ``page`` understands."""
        return ", ".join(part for slot in self._layout.slots for part in expressions(slot))

    def key_list(self) -> str:
        """The expressions of a query whose batches ``ids`` understands."""
        return ", ".join(part for slot in self._layout.keys for part in expressions(slot))

    def page(self, batch: Batch) -> Batch:
        """Turn one batch into a page.

        Args:
            batch: columns of ``select_list``.
        Returns:
            Columns of ``page_schema(collection)``.
        Raises:
            NotRepresentable: a NULL among the ids, or a JSON value beyond canonical JSON; the message names the id.
            IntegrityError: a vector of another dimension.
        """
        columns = iter(batch.columns)
        taken = [(slot, [storage(next(columns)) for _ in expressions(slot)]) for slot in self._layout.slots]
        ids = id_texts(self._layout, [arrays[0] for slot, arrays in taken if slot.role == "key"])
        documents = metadata = None
        vectors: dict[str, Array] = {}
        fields: list[tuple[Slot, Array | RawJSON]] = []
        for slot, arrays in taken:
            if slot.role == "vector":
                vectors[slot.name] = decode(slot, arrays[0], self._collection.vector(slot.name))
            elif slot.role == "document":
                documents = arrays[0]
            elif slot.role == "metadata":
                metadata = _whole(_canonical(arrays[0], slot, ids), slot, ids)
            elif slot.role == "field":
                fields.append((slot, _value(slot, arrays, ids)))
        if fields:
            objects = _objects(fields)
            metadata = objects if metadata is None else _joined(metadata, objects)
        return make_page(self._collection, ids=ids, metadata=metadata, documents=documents, vectors=vectors)

    def ids(self, batch: Batch) -> Array:
        """Turn a batch with the columns of ``key_list`` into id texts."""
        return id_texts(self._layout, [storage(column) for column in batch.columns])


def expressions(slot: Slot) -> tuple[str, ...]:
    """What is selected for a column: itself, its text, or for arrays the usual shape and the text of all others."""
    column = sql.quote(slot.column)
    if slot.type is None or not (slot.type.array or slot.type.as_text):
        return (column,)
    if slot.type.as_text:
        return (f"{column}::text",)
    usual = f"(array_ndims({column}) = 1 AND array_lower({column}, 1) = 1 OR cardinality({column}) = 0)"
    return (f"CASE WHEN {usual} THEN {column} END", f"CASE WHEN NOT {usual} THEN {column}::text END")


def storage(column: Array) -> Array:
    """The plain array below an extension type (uuid, json, opaque)."""
    return column.storage if isinstance(column, pa.ExtensionArray) else column


def id_texts(layout: Layout, keys: Sequence[Array]) -> Array:
    """Spell record ids: the text of the one key column, or a canonical JSON array of several.

    Raises:
        NotRepresentable: a key column holds NULL.
    """
    for slot, array in zip(layout.keys, keys, strict=True):
        if array.null_count:
            raise NotRepresentable(
                f"the id column {slot.column!r} holds NULL in {array.null_count} of {len(array)} records",
                why="a record without an id cannot be found again",
            )
    plain = [_scalar(slot, array) for slot, array in zip(layout.keys, keys, strict=True)]
    if layout.flat:
        return plain[0].cast(pa.string())
    texts = [json_texts(array) for array in plain]
    return pc.binary_join_element_wise("[", pc.binary_join_element_wise(*texts, ","), "]", "")


def uuid_texts(raw: Array) -> Array:
    """Spell (n,) 16-byte values as lower-case UUIDs with hyphens; null stays null."""
    n = len(raw)
    if not n or raw.null_count == n:
        return pa.nulls(n, pa.string())
    data = np.frombuffer(raw.buffers()[1], np.uint8)[16 * raw.offset : 16 * (raw.offset + n)].reshape(n, 16)
    digits = np.stack([_HEX[data >> 4], _HEX[data & 15]], axis=2).reshape(n, 32)
    text = np.full((n, 36), ord("-"), np.uint8)
    text[:, _UUID_DIGITS] = digits
    offsets = np.arange(0, 36 * n + 1, 36, dtype=np.int32)
    texts = pa.StringArray.from_buffers(n, pa.py_buffer(offsets), pa.py_buffer(text))
    return pc.if_else(raw.is_valid(), texts, pa.scalar(None, pa.string())) if raw.null_count else texts


def json_texts(array: Array) -> Array:
    """Spell the values of a column as canonical JSON; null becomes ``null``."""
    objects = object_column(["k"], [array])
    return pc.binary_slice(objects.cast(pa.binary()), len('{"k":'), -1).cast(pa.string())


def list_texts(array: Array) -> Array:
    """Spell lists of scalars as canonical JSON arrays; a null list stays null, a null element is ``null``."""
    values, n = array.flatten(), len(array)
    lengths = pc.fill_null(pc.list_value_length(array), 0)
    offsets = np.zeros(n + 1, np.int32)
    np.cumsum(lengths.to_numpy(zero_copy_only=False), out=offsets[1:])
    texts = pa.ListArray.from_arrays(pa.array(offsets), json_texts(values))
    joined = pc.binary_join_element_wise("[", pc.binary_join(texts, ","), "]", "")
    return pc.if_else(array.is_valid(), joined, pa.scalar(None, pa.string())) if array.null_count else joined


def _scalar(slot: Slot, array: Array) -> Array:
    return uuid_texts(array) if slot.kind.base.name == "uuid" and not slot.kind.array else array


def _value(slot: Slot, arrays: Sequence[Array], ids: Array) -> Array | RawJSON:
    """A typed column in the form that ``object_column`` takes."""
    if slot.kind.is_json:
        return RawJSON(_canonical(arrays[0], slot, ids))
    if slot.kind.array and not slot.kind.as_text:
        usual, other = arrays
        texts = list_texts(usual)
        if other.null_count < len(other):
            texts = pc.if_else(other.is_valid(), json_texts(other), texts)
        return RawJSON(texts)
    return arrays[0] if slot.kind.as_text else _scalar(slot, arrays[0])


def _objects(fields: Sequence[tuple[Slot, Array | RawJSON]]) -> Array:
    """Build the metadata. NULL is null; in a JSON column, which can hold a JSON null, NULL leaves the key out, and in a
    column that is not of the import."""
    names = [slot.name for slot, _ in fields]
    omit = [slot.name for slot, _ in fields if slot.kind.is_json or slot.optional]
    return object_column(names, [array for _, array in fields], omit=omit)


def _joined(metadata: Array, others: Array) -> Array:
    """Metadata with the keys of columns beside it; a key that the metadata has already gets ``_`` in front."""
    filled = pc.not_equal(others, "{}")
    if not pc.any(filled).as_py():
        return metadata
    rows = []
    for row, more in zip(
        parsed.parse_objects(metadata.filter(filled)), parsed.parse_objects(others.filter(filled)), strict=True
    ):
        for key, value in more.items():
            while key in row:
                key = f"_{key}"
            row[key] = value
        rows.append(parsed.dumps(row))
    return pc.replace_with_mask(metadata, filled, pa.array(rows, pa.string()))


def _whole(texts: Array, slot: Slot, ids: Array) -> Array:
    """Refuse metadata that is no JSON object."""
    wrong = pc.invert(pc.fill_null(pc.starts_with(texts, "{"), False))
    if pc.any(wrong).as_py():
        example = ids.filter(wrong)[0].as_py()
        raise NotRepresentable(
            f"column {slot.column!r} of record {example!r}: not a JSON object",
            why="the column holds the whole metadata, which is an object in every record",
        )
    return texts


def _canonical(array: Array, slot: Slot, ids: Array) -> Array:
    try:
        return canonical.canonicalise_column(array)
    except NotRepresentable:
        texts: list[Any] = array.to_pylist()
        for record_id, text in zip(ids.to_pylist(), texts, strict=True):
            try:
                canonical.canonicalise_text(text if text is not None else "null")
            except NotRepresentable as error:
                what = f"column {slot.column!r} of record {record_id!r}: {error.what}"
                raise NotRepresentable(what, error.why) from None
        raise
