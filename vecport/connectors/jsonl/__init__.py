"""JSON Lines: ``jsonl:./rows.jsonl``, ``jsonl:./rows.jsonl.gz``, ``.zst``, and ``-`` for stdin and stdout.

One record a line, in UTF-8::

    {"id": "a1", "namespace": "eu", "vector": [0.1, 0.2], "document": "text", "metadata": {"color": "red"}}

- ``id``: a string, an integer of any size, or ``{"uuid": "..."}``. A file with integers only has ids of kind ``int``;
  with canonical UUIDs only, ``uuid``; with both, ``int|uuid``; with strings only, ``string``; any other mixture is
  ``tagged`` (``int:7``, ``string:7``), so that 7, "7" and "007" stay three ids. Option ``id-kind`` says otherwise.
- ``vector``: a list of numbers; a list of lists (multi); ``{"indices": [3, 9], "values": [0.5, 1.0]}`` (sparse);
  ``{"bits": "0110"}`` (binary, first bit first); or an object of these by vector name. Null or absent: no vector.
  NaN and the infinities are ``{"$vp": "NaN"}``, ``{"$vp": "Infinity"}``, ``{"$vp": "-Infinity"}``.
- ``namespace``, ``document``, ``metadata``: may be absent. In metadata the tags of canonical JSON (``$vp``, see
  ``model.canonical``) mean what they mean there.

Read as well: ``_id``; ``values``, ``embedding``, ``embeddings`` and ``vectors`` for ``vector``; ``text`` for
``document``; ``payload`` for ``metadata``. Any other member is refused, or becomes metadata (``extra-keys=metadata``).

The schema comes from one pass over the file. Vectors are float32 when every value is a float32 or the shortest digits
of one, otherwise float64; ``dtype`` says otherwise. stdin and compressed files are copied to a temporary file first,
so memory stays bounded; the copy needs their full size on disk.

A file is one snapshot: when its size, time or inode change while it is read, the scan ends with ``Incomplete``.

Writing appends to ``.NAME.IMPORT.part`` beside the file. Each row group is flushed to disk before its mark is; what
stands behind the last mark is cut off when an import goes on. ``finish`` puts the file in place in one step.
"""

from __future__ import annotations

from typing import ClassVar

from ..address import Place
from ..contract import CollectionSummary, Connector, ConnectorInfo, Selection, Source, Target
from ..kit import places
from .client import Input, collection_name, is_jsonl, not_found
from .info import INFO
from .read import JsonlSource, PositionalJsonlSource
from .write import JsonlTarget, StdoutTarget

__all__ = ["JsonlConnector", "JsonlSource", "JsonlTarget", "PositionalJsonlSource", "StdoutTarget"]


class JsonlConnector(Connector):
    """Files of JSON Lines, stdin and stdout."""

    info: ClassVar[ConnectorInfo] = INFO
    source: ClassVar[type[Source] | None] = JsonlSource
    target: ClassVar[type[Target] | None] = JsonlTarget

    def collections(self, place: Place) -> list[CollectionSummary]:
        if place.path != "-" and Input.stamp_of(place.path) is None:
            raise not_found(place.path)
        return [CollectionSummary(collection_name(place.path))]

    def sole_collection(self, place: Place) -> str | None:
        return collection_name(place.path)

    def open_source(self, place: Place, collection: str, selection: Selection) -> Source:
        name = collection_name(place.path)
        if collection != name:
            raise places.not_found(collection, place.text, [name])
        positional = place.option("ids") == "position"
        return (PositionalJsonlSource if positional else JsonlSource)(place, name, selection)

    def open_target(self, place: Place, collection: str) -> Target:
        """Open a file for writing; its records are the collection, whatever its name."""
        return (StdoutTarget if place.path == "-" else JsonlTarget)(place, collection_name(place.path))

    def recognises(self, path: str) -> bool:
        return is_jsonl(path)
