"""Chroma: a folder of this machine (``chroma:./folder``) or a server (``chroma://host:8000``, ``chroma+https://``)."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from ...errors import NotRepresentable, UsageError
from ..address import Place
from ..contract import CollectionSummary, Connector, ConnectorInfo, Selection, Source, Target
from ..kit.places import check_key_travels_safely
from . import client as clients
from . import folder
from .info import INFO
from .read import ChromaFolderSource, ChromaServerSource, ChromaSource
from .schema import facts, list_collections
from .write import ChromaCloudTarget, ChromaFolderTarget, ChromaServerTarget, ChromaTarget

__all__ = [
    "ChromaConnector",
    "ChromaFolderSource",
    "ChromaFolderTarget",
    "ChromaServerSource",
    "ChromaServerTarget",
    "ChromaSource",
    "ChromaTarget",
]


class ChromaConnector(Connector):
    """Chroma folders and servers. Folders are read from a copy; servers are read live."""

    info: ClassVar[ConnectorInfo] = INFO
    source: ClassVar[type[Source] | None] = ChromaSource
    target: ClassVar[type[Target] | None] = ChromaTarget

    def collections(self, place: Place) -> list[CollectionSummary]:
        place = _checked(place)
        copy = folder.copied(folder.find(place.path), None) if place.local else None
        client = None
        try:
            client = clients.open_folder(copy.path, place) if copy else clients.open_server(place)
            found = []
            for collection in list_collections(client, place):
                with clients.translated(place.text):
                    rows = int(collection.count())
                found.append(CollectionSummary(collection.name, rows, _detail(collection, place)))
            return sorted(found, key=lambda c: c.name)
        finally:
            clients.close(client)
            if copy is not None:
                copy.release()

    def open_source(self, place: Place, collection: str, selection: Selection) -> Source:
        place = _checked(place)
        return (ChromaFolderSource if place.local else ChromaServerSource)(place, collection, selection)

    def open_target(self, place: Place, collection: str) -> Target:
        place = _checked(place)
        if clients.is_cloud(place):
            return ChromaCloudTarget(place, collection)
        return (ChromaFolderTarget if place.local else ChromaServerTarget)(place, collection)

    def recognises(self, path: str) -> bool:
        return folder.is_chroma(path)


def _checked(place: Place) -> Place:
    """The place, where ``chroma:///folder`` means ``/folder``."""
    clients.creates_database(place)
    if place.local and place.path and place.text.startswith(f"{place.scheme}:///"):
        place = replace(place, path=f"/{place.path}")
    if place.local and not place.path:
        raise UsageError(
            f"the address {place.text} names no place",
            next="write chroma:./folder for a folder, chroma://host:8000 for a server",
        )
    if not place.local:
        check_key_travels_safely(place)
    return place


def _detail(collection: object, place: Place) -> str:
    try:
        vectors = facts(collection, place, probe=False).collection.vectors
    except NotRepresentable as e:
        return e.what
    return ", ".join(f"{v.dim} dimensions, {v.metric}" for v in vectors)
