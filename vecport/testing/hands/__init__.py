"""Hands: change one record of a collection with the database's own client, past every connector.

A test class names the hands of its database in two lines::

    def hands(self, place, collection):
        return QdrantHands(place, collection)
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from ...connectors.address import Place
from ...model.collection import Collection
from ..records import Record


class Hands(ABC):
    """Reads, writes and deletes records of one collection as an application does.

    Args:
        place: where the collection is.
        collection: as the database itself shows it: names, kinds and dimensions of its vectors.
    """

    def __init__(self, place: Place, collection: Collection) -> None:
        self.place, self.collection = place, collection

    @abstractmethod
    def read(self, id: str) -> Record:
        """The record as the database has it: its metadata are the application's, projections included."""

    @abstractmethod
    def write(self, record: Record) -> None:
        """Put a record there, in place of one with the same id, and return when it can be read."""

    @abstractmethod
    def delete(self, id: str) -> None:
        """Remove a record, and return when it is gone."""

    def close(self) -> None:
        """Let the place go."""
        return None
