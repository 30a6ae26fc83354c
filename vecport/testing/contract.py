"""The contract suite: what every connector promises, as tests that a connector's own test file runs in a few lines.

::

    from vecport.testing.contract import ConnectorContract

    class TestQdrant(ConnectorContract):
        connector = QdrantConnector()

        @pytest.fixture(scope="class")
        def place(self):
            with QdrantEngine() as engine:
                yield parse(engine.address)

What is checked follows from the capabilities that the connector declares, both ways: what it claims must work, what
it does not claim must be refused with a typed error. A case that says nothing about a connector is skipped with its
reason; an engine that is missing is a failure where ``CI=true``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, ClassVar

import pytest

pytest.register_assert_rewrite(
    "vecport.testing.bench",
    "vecport.testing.cases_facts",
    "vecport.testing.cases_lifecycle",
    "vecport.testing.cases_metadata",
    "vecport.testing.cases_reading",
    "vecport.testing.cases_safety",
    "vecport.testing.cases_sameness",
    "vecport.testing.cases_vectors",
    "vecport.testing.cases_workers",
    "vecport.testing.cases_writing",
)

from ..connectors.address import Place  # noqa: E402
from ..connectors.contract import Connector  # noqa: E402
from ..model.capabilities import TargetCapabilities  # noqa: E402
from ..model.collection import ID_KINDS, Collection, Field  # noqa: E402
from .bench import Bench, Way, engine_missing  # noqa: E402
from .cases_facts import Facts  # noqa: E402
from .cases_lifecycle import Lifecycle  # noqa: E402
from .cases_metadata import Ids, Metadata  # noqa: E402
from .cases_reading import Live, Reading  # noqa: E402
from .cases_safety import Safety  # noqa: E402
from .cases_sameness import Sameness  # noqa: E402
from .cases_vectors import Vectors  # noqa: E402
from .cases_workers import Native, Workers  # noqa: E402
from .cases_writing import Writing  # noqa: E402
from .hands import Hands  # noqa: E402
from .records import Record  # noqa: E402

__all__ = ["Bench", "ConnectorContract", "Record", "Way", "engine_missing"]


class ConnectorContract(
    Facts, Writing, Vectors, Metadata, Ids, Reading, Live, Workers, Native, Safety, Lifecycle, Sameness
):  # fmt: skip
    """Subclass it, name the connector, and give the fixture ``place``.

    Attributes:
        connector: the connector under test.
        holds: what the engine can hold, where the connector has no target; ``native_put`` fills it then.
        settings: ``TargetPlan.settings`` of every import.
        gaps: test names that fail for a known reason, with that reason. They are expected to fail: one that
            passes is reported, so that the list stays true.
    """

    connector: ClassVar[Connector]
    holds: ClassVar[TargetCapabilities] = TargetCapabilities()
    settings: ClassVar[Mapping[str, str]] = {}
    gaps: ClassVar[Mapping[str, str]] = {}

    @pytest.fixture
    def place(self) -> Place:
        """A place of a running engine; it may hold other collections. Any scope will do."""
        raise NotImplementedError("the test class gives the fixture 'place'")

    @pytest.fixture
    def bench(self, place: Place) -> Bench:
        """What the cases work with."""
        return Bench(self, place)

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Run every reading case for each kind of ids that is claimed, with and without a filter."""
        if "way" in metafunc.fixturenames:
            metafunc.parametrize("way", self.ways(), ids=str)

    @classmethod
    def ways(cls) -> list[Way]:
        """Each kind of ids that the connector claims to hold, everything and what a filter selects."""
        caps = cls.connector.target.capabilities if cls.connector.target else cls.holds
        kinds = [kind for kind in ID_KINDS if kind in caps.id_kinds and kind != "position"]
        filters = (False, True) if cls.where is not ConnectorContract.where else (False,)
        return [Way(kind, filtered) for kind in kinds for filtered in filters]

    @pytest.fixture(autouse=True)
    def _known_gap(self, request: pytest.FixtureRequest) -> None:
        name = request.node.name
        reason = self.gaps.get(name) or self.gaps.get(name.partition("[")[0])
        if reason:
            request.node.add_marker(pytest.mark.xfail(reason=reason, strict=True))

    # -- what a connector's test file may say ----------------------------------------------------

    def collection_name(self, n: int) -> str:
        """The name of the ``n``-th collection; another one where the database's grammar asks for it."""
        return f"contract{n}"

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

    def where(self, bench: Bench) -> tuple[str, Callable[[Record], bool]] | None:
        """A filter in the connector's language over the suite's ordinary records, and what it means."""
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
