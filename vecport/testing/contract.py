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

from collections.abc import Mapping
from typing import ClassVar

import pytest

pytest.register_assert_rewrite(
    "vecport.testing.bench",
    "vecport.testing.cases_facts",
    "vecport.testing.cases_lifecycle",
    "vecport.testing.cases_metadata",
    "vecport.testing.cases_names",
    "vecport.testing.cases_reading",
    "vecport.testing.cases_safety",
    "vecport.testing.cases_sameness",
    "vecport.testing.cases_vectors",
    "vecport.testing.cases_workers",
    "vecport.testing.cases_writing",
)

from ..connectors.address import Place  # noqa: E402
from ..model.collection import ID_KINDS  # noqa: E402
from .bench import Bench, Way, engine_missing  # noqa: E402
from .cases_facts import Facts  # noqa: E402
from .cases_lifecycle import Lifecycle  # noqa: E402
from .cases_metadata import Ids, Metadata  # noqa: E402
from .cases_names import Naming  # noqa: E402
from .cases_reading import Live, Reading  # noqa: E402
from .cases_safety import Safety  # noqa: E402
from .cases_sameness import Sameness  # noqa: E402
from .cases_vectors import Vectors  # noqa: E402
from .cases_workers import Native, Workers  # noqa: E402
from .cases_writing import Writing  # noqa: E402
from .records import Record  # noqa: E402
from .suite import Suite  # noqa: E402

__all__ = ["Bench", "ConnectorContract", "Record", "Way", "engine_missing"]


class ConnectorContract(
    Suite, Facts, Naming, Writing, Vectors, Metadata, Ids, Reading, Live, Workers, Native, Safety, Lifecycle, Sameness
):  # fmt: skip
    """Subclass it, name the connector, and give the fixture ``place``.

    Attributes:
        connector, holds, settings: as in ``Suite``, which has everything else that a test file may say.
        gaps: test names that fail for a known reason, with that reason. They are expected to fail: one that
            passes is reported, so that the list stays true.
    """

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
        filters = (False, True) if cls.where is not Suite.where else (False,)
        return [Way(kind, filtered) for kind in kinds for filtered in filters]

    @pytest.fixture(autouse=True)
    def _known_gap(self, request: pytest.FixtureRequest) -> None:
        name = request.node.name
        reason = self.gaps.get(name) or self.gaps.get(name.partition("[")[0])
        if reason:
            request.node.add_marker(pytest.mark.xfail(reason=reason, strict=True))
