"""What a connector's test file may say of its database: all that the bench and the cases ask of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, ClassVar

from ..connectors.address import Place
from ..connectors.contract import Connector
from ..model.capabilities import TargetCapabilities
from ..model.collection import Collection, Field
from .hands import Hands
from .records import Record


class Suite:
    """What a test file says; each has a default.

    Attributes:
        connector: the connector under test.
        holds: what the engine can hold, where the connector has no target; ``native_put`` fills it then.
        settings: ``TargetPlan.settings`` of every import.
    """

    connector: ClassVar[Connector]
    holds: ClassVar[TargetCapabilities] = TargetCapabilities()
    settings: ClassVar[Mapping[str, str]] = {}

    def collection_name(self, n: int) -> str:
        """The name of the ``n``-th collection; another one where the database's grammar asks for it."""
        return f"contract{n}"

    def spelled(self, name: str) -> str:
        """How a user writes a collection's name; another way where parts of it would be names of other things."""
        return name

    def names(self, place: Place) -> set[str]:
        """The collections in the place."""
        return {summary.name for summary in self.connector.collections(place)}

    def place_of(self, place: Place, name: str) -> Place:
        """The place of one collection, where every collection has its own, as a file."""
        return place

    def reading_place(self, place: Place, collection: Collection | None) -> Place:
        """How a reader names the place: with options, where a file does not say what it holds."""
        return place

    def unreachable(self, place: Place, port: int) -> Place:
        """The same address where nothing listens."""
        return replace(place, port=port)

    def metric_for(self, kind: str) -> str | None:
        """The metric for collections of a vector kind; None leaves the choice to the suite."""
        return None

    def key_fields(self) -> tuple[Field, ...]:
        """Two key columns, text and integer, in the database's own types, where it claims composite ids."""
        return ()

    def where(self, bench: Any) -> tuple[str, Callable[[Record], bool]] | None:
        """A filter in the connector's language over the suite's ordinary records, and what it means.

        Args:
            bench: the ``Bench`` of the case.
        """
        return None

    def busy(self, place: Place, collection: Collection) -> AbstractContextManager[Place] | None:
        """A time in which the database has none for a write, and the place to be opened meanwhile."""
        return None

    def hands(self, place: Place, collection: Collection) -> Hands | None:
        """The database's own client on a collection (``vecport.testing.hands``), to change single records with."""
        return None

    native_put: Callable[[Place, Collection, Sequence[Record]], Any] | None = None
    """Create a collection and fill it with the official client, past the connector's target."""

    native_get: Callable[[Place, Collection], list[Record]] | None = None
    """Read a collection with the official client, past the connector's source."""
