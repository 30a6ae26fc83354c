"""Which records of a dump are in a target, by their keys: a few of each row group, or all of them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ..connectors import registry
from ..connectors.contract import Selection, Source, Target
from ..dump.dump import Dump
from ..model.passport import Passport
from .arrival import held
from .progress import Stop
from .sessions import Endpoint

_KEYS = ("id", "namespace")
#: Records of each acknowledged row group that are looked for, beside its first and its last.
_DRAWN = 2

Groups = dict[str, set[int]]
#: Says for each (namespace, id) whether it is there.
Asks = Callable[[list[tuple[str, str]]], list[bool]]


@dataclass(slots=True)
class Looked:
    """What was looked for in a target.

    Attributes:
        there: records that are there.
        missing: records that are not.
        groups: the row groups by shard that have a record there.
        lost: those that lack one.
        ids: a few of the records that are not there, as the dump knows them.
    """

    there: int = 0
    missing: int = 0
    groups: Groups = field(default_factory=dict)
    lost: Groups = field(default_factory=dict)
    ids: list[str] = field(default_factory=list)

    def add(self, shard: str, number: int, ids: pa.Array, there: npt.NDArray[np.bool_]) -> None:
        """Take what was found of one row group."""
        found = int(there.sum())
        self.there += found
        self.missing += len(there) - found
        if found:
            self.groups.setdefault(shard, set()).add(number)
        if found < len(there):
            self.lost.setdefault(shard, set()).add(number)
            self.ids += ids.filter(pa.array(~there)).slice(0, max(0, 3 - len(self.ids))).to_pylist()


class Presence:
    """Looks for records of a dump in a target: by the writing session, else by a source of the same place.

    Args:
        dump: what was written.
        target: where to.
        session: that writes there, prepared and attached.
        passport: how keys of the dump stand in the target.
        stop: is heard between requests.
    """

    def __init__(self, dump: Dump, target: Endpoint, session: Target, passport: Passport, stop: Stop) -> None:
        self._dump, self._target, self._session = dump, target, session
        self._passport, self._stop = passport, stop

    def of_samples(self, groups: Mapping[str, set[int]]) -> Looked | None:
        """Look for a few records of each of these row groups; None where the target cannot be asked."""
        return self._look(groups, drawn=_DRAWN)

    def of_all(self, groups: Mapping[str, set[int]] | None = None) -> Looked | None:
        """Look for every record of these row groups, or of the dump; None where the target cannot be asked."""
        return self._look(groups)

    def _look(self, groups: Mapping[str, set[int]] | None, drawn: int | None = None) -> Looked | None:
        looked = Looked()
        with ExitStack() as stack:
            asked: _Asked | None = None
            for shard, number, keys in self._keys(groups):
                self._stop.check()
                part = keys if drawn is None else keys.take(_places(keys.num_rows, drawn))
                own = held(part, self._passport, self._session.capabilities.native_namespace)
                wanted = list(zip(own.column("namespace").to_pylist(), own.column("id").to_pylist(), strict=True))
                if asked is None:
                    found = self._asks(wanted[:1], stack)
                    if found is None:
                        return None
                    asked = found
                looked.add(shard, number, part.column("id"), np.asarray(asked(wanted), bool))
        return looked

    def _keys(self, groups: Mapping[str, set[int]] | None) -> Iterator[tuple[str, int, pa.RecordBatch]]:
        """Keys by shard and row group."""
        for entry in self._dump.manifest.shards:
            wanted = set(range(len(entry.groups))) if groups is None else groups.get(entry.path, set())
            wanted = {g for g in wanted if g < len(entry.groups) and entry.groups[g]}
            if not wanted:
                continue
            numbers = (g for g, rows in enumerate(entry.groups) if rows or self._dump.namespace is None)
            for number, batch in zip(numbers, self._dump.shard(entry).columns(list(_KEYS)), strict=True):
                if number in wanted:
                    yield entry.path, number, batch.select(list(_KEYS))

    def _asks(self, probe: list[tuple[str, str]], stack: ExitStack) -> _Asked | None:
        """How this target can be asked."""
        if self._session.holds(probe) is not None:
            holds = self._session.holds
            return _Asked(lambda keys: list(holds(keys) or ()), max(1, self._session.capabilities.write_rows))
        if registry.get(self._target.connector).source is None or self._session.capabilities.staged:
            return None
        source = stack.enter_context(self._target.open_source(Selection(), self._stop))
        if not source.capabilities.fetches:
            return None
        if not source.capabilities.snapshot:
            source.attach(source.snapshot())
        return _Asked(lambda keys: _fetched(source, keys), max(1, source.capabilities.page_rows))


@dataclass(frozen=True, slots=True)
class _Asked:
    """Asks for keys, so many at once."""

    ask: Asks
    rows: int

    def __call__(self, keys: list[tuple[str, str]]) -> list[bool]:
        out: list[bool] = []
        for start in range(0, len(keys), self.rows):
            out += self.ask(keys[start : start + self.rows])
        return out


def _fetched(source: Source, keys: list[tuple[str, str]]) -> list[bool]:
    """By a fetch of the records, of what is there now and not of an older snapshot."""
    if source.capabilities.snapshot:
        source.attach(source.snapshot())
    page = source.fetch(keys)
    found = set(zip(page.column("namespace").to_pylist(), page.column("id").to_pylist(), strict=True))
    return [key in found for key in keys]


def _places(rows: int, drawn: int) -> list[int]:
    """The first, the last, and some rows between them."""
    return sorted({0, rows - 1, *(random.randrange(rows) for _ in range(drawn))})
