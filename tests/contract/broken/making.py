"""How a broken memory connector is made, and what must see that it is broken."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import pyarrow as pa

from vecport.connectors.address import Place
from vecport.connectors.contract import Mark, Selection, Source, Target
from vecport.connectors.faulty import Faults, faulty_source, faulty_target
from vecport.connectors.memory import MemoryConnector, MemorySource, MemoryTarget

Change = Callable[[pa.RecordBatch], pa.RecordBatch]
Case = tuple[Any, ...]
S = TypeVar("S", Source, Target)


def _as_it_is(session: S) -> S:
    return session


@dataclass(frozen=True)
class Broken:
    """One broken connector.

    Attributes:
        cases: those that must fail, each a name and the arguments that its parameters get.
        source, target: sessions in place of the sound ones.
        caps: changes of the target's capabilities.
        connector: methods in place of the connector's own.
        faults: the place's own faults (``faulty.Faults``).
        around_source, around_target: change a session, its faults included.
    """

    cases: tuple[Case, ...]
    source: type[MemorySource] = MemorySource
    target: type[MemoryTarget] = MemoryTarget
    caps: Mapping[str, Any] = field(default_factory=dict)
    connector: Mapping[str, Any] = field(default_factory=dict)
    faults: Mapping[str, Any] = field(default_factory=dict)
    around_source: Callable[[Source], Source] = _as_it_is
    around_target: Callable[[Target], Target] = _as_it_is

    def made(self) -> MemoryConnector:
        """The connector."""
        source, target, caps = self.source, self.target, self.caps
        around_source, around_target = self.around_source, self.around_target

        class Made(MemoryConnector):
            def open_source(self, place: Place, collection: str, selection: Selection) -> Source:
                session = source(place, collection, selection)
                return around_source(faulty_source(session, Faults.parse(place.option("faults"))))

            def open_target(self, place: Place, collection: str) -> Target:
                session = target(place, collection)
                session.capabilities = replace(session.capabilities, **caps)
                return around_target(faulty_target(session, Faults.parse(place.option("faults"))))

        kept = {"target": type("Claimed", (target,), {"capabilities": replace(target.capabilities, **caps)})}
        return type("BrokenConnector", (Made,), {**kept, **self.connector})()


def writing(change: Change, *cases: Case, **caps: Any) -> Broken:
    """A target that writes something else than it was given."""

    class Changing(MemoryTarget):
        def write(self, batch: pa.RecordBatch, mark: Mark) -> None:
            super().write(change(batch), mark)

    return Broken(cases, target=Changing, caps=caps)


def column(name: str, change: Callable[[Any], Any]) -> Change:
    """Change every value of a column, where there is one of this name."""

    def apply(batch: pa.RecordBatch) -> pa.RecordBatch:
        place = batch.schema.get_field_index(name)
        if place < 0:
            return batch
        of = batch.schema.field(place)
        values = [change(value) for value in batch.column(place).to_pylist()]
        return batch.set_column(place, of, pa.array(values, of.type))

    return apply
