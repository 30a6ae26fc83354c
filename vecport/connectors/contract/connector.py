"""One database: what it is called, what is in a place, and how its sessions are opened."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, cast

from ...errors import UsageError
from ..address import Place
from .info import CollectionSummary, ConnectorInfo, Selection
from .source import Source
from .target import Target


class Connector(ABC):
    """One database. Instances hold no state; sessions do."""

    info: ClassVar[ConnectorInfo]
    source: ClassVar[type[Source] | None] = None
    target: ClassVar[type[Target] | None] = None

    @abstractmethod
    def collections(self, place: Place) -> list[CollectionSummary]:
        """List the collections in a place, without creating anything there."""

    def sole_collection(self, place: Place) -> str | None:
        """The name of the only collection that this place can have, as a file's; None where it can have any."""
        return None

    def beside(self, place: Place, collection: str, suffix: str) -> str:
        """The name of another collection, made of this one's as a user types it and a suffix.

        Args:
            place: of both.
            collection: its name.
            suffix: ASCII letters, digits, ``_`` and ``-``; it ends with a letter or a digit.

        Raises:
            NotRepresentable: the database cannot hold such a name.
        """
        return collection + suffix

    def open_source(self, place: Place, collection: str, selection: Selection) -> Source:
        """Open a reading session, ``source`` with these arguments. Connects lazily or at once; creates nothing."""
        if self.source is None:
            raise UsageError(f"{self.info.title} cannot be read by vecport")
        made: Source = cast(Any, self.source)(place, collection, selection)
        return made

    def open_target(self, place: Place, collection: str) -> Target:
        """Open a writing session: ``target`` with these arguments; nothing is created before ``prepare``."""
        if self.target is None:
            raise UsageError(f"{self.info.title} cannot be written by vecport")
        made: Target = cast(Any, self.target)(place, collection)
        return made

    def recognises(self, path: str) -> bool:
        """Whether an existing local file or folder belongs to this connector (bare paths are asked around)."""
        return False
