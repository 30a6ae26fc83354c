"""Effects of opening: what a run changes in a collection while it works, written down first and put back at its end.

The state folder of this machine has a folder for each collection that is changed, with a record of each run that does
so, and a kernel lock that its process holds. A record without a holder was left by a run that was killed: the next run
on that collection takes it over, and puts back what it says. Of runs at the same time the one that ends last does it.
An export keeps its record in the journal of the dump too, so that another machine can go on.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Protocol

from ..connectors.contract import Effect, Source, Target
from ..dump.journal import Journal
from ..dump.lock import folder_lock
from ..dump.store import LocalStore
from ..errors import IntegrityError, Locked, VecportError
from .import_state import state_folder
from .progress import Progress, Stop
from .sessions import Endpoint

#: How long a run that ends waits for its turn, while others apply or undo theirs.
_PATIENCE_S = 30.0
_MAX_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Record:
    """What one run has changed.

    Attributes:
        connector, place, collection: where.
        owner: the run, as a user knows it.
        effects: in the order in which they were applied.
    """

    connector: str
    place: str
    collection: str
    owner: str
    effects: tuple[Effect, ...]

    def is_of(self, place: Endpoint) -> bool:
        """Whether it is about this collection."""
        return (self.connector, self.place, self.collection) == (place.connector, place.place.text, place.collection)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        where = {"connector": self.connector, "place": self.place, "collection": self.collection}
        return {**where, "owner": self.owner, "effects": [e.to_json() for e in self.effects]}

    @classmethod
    def from_json(cls, data: Any, where: str) -> Record:
        """Inverse of ``to_json``; raises ``IntegrityError`` naming ``where`` on anything else."""
        try:
            effects = tuple(Effect.from_json(e) for e in data["effects"])
            return cls(data["connector"], data["place"], data["collection"], data["owner"], effects)
        except (KeyError, TypeError, ValueError) as e:
            raise IntegrityError(
                f"{where} cannot be read", "it says what an interrupted run has changed in a collection",
                "nothing was changed", "put the collection back by hand, and remove the file",
            ) from e  # fmt: skip

    def text(self) -> str:
        """What was left, in one sentence."""
        left = "; ".join(e.what for e in self.effects)
        return f"{self.owner} was interrupted and has not put back what it changed in {self.collection!r}: {left}"


class _Shelf:
    """The records of the runs that change one collection."""

    def __init__(self, place: Endpoint) -> None:
        name = _digest(place.connector, place.place.text, place.collection)
        self._place = place
        self.folder = state_folder() / "effects" / name
        self._store = LocalStore(str(self.folder))

    def used(self) -> bool:
        """Whether a run changes this collection, or one has and was killed."""
        return self.folder.is_dir() and any(self.folder.glob("*.json"))

    def owners(self) -> list[str]:
        """Names of the records."""
        return sorted(p.stem for p in self.folder.glob("*.json"))

    def read(self, name: str) -> Record | None:
        """A record; None when there is none."""
        if not self._store.exists(f"{name}.json"):
            return None
        where = f"{self.folder}/{name}.json"
        try:
            data = json.loads(self._store.read(f"{name}.json", _MAX_BYTES))
        except ValueError:
            data = None
        return Record.from_json(data, where)

    def write(self, name: str, record: Record) -> None:
        """Keep a record; durable when this returns."""
        self._store.prepare()
        self._store.put(f"{name}.json", json.dumps(record.to_json()).encode())

    def remove(self, name: str) -> None:
        """Forget a record."""
        self._store.delete(f"{name}.json")

    def lease(self, name: str) -> ExitStack:
        """Hold a record as its run; raises ``Locked`` when another process does."""
        with ExitStack() as held:
            held.enter_context(folder_lock(str(self.folder / f"{name}.lock"), self._place.text))
            return held.pop_all()

    def live(self, name: str) -> bool:
        """Whether the run of a record is at work."""
        try:
            self.lease(name).close()
        except Locked:
            return True
        return False

    def turn(self, check: Callable[[], None], patience_s: float | None) -> ExitStack:
        """One run at a time decides; raises ``Locked`` when the others take longer than ``patience_s``."""
        until = None if patience_s is None else time.monotonic() + patience_s
        while True:
            try:
                return self.lease("turn")
            except Locked:
                if until is not None and time.monotonic() > until:
                    raise
                check()
                time.sleep(0.05)


class Changed(Protocol):
    """Hears what is changed, and whether the user wants to stop."""

    def note(self, text: str) -> None:
        """One sentence that the user should read."""

    def check(self) -> None:
        """Raise ``Interrupted`` when the user wants to stop."""


@dataclass(slots=True)
class Told:
    """Hears for an operation that has nobody else for it.

    Attributes:
        progress: is told.
        stop: by the user.
        notes: what was said.
    """

    progress: Progress
    stop: Stop
    notes: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        """Hear one sentence."""
        self.notes.append(text)
        self.progress.note(text)

    def check(self) -> None:
        """Raise ``Interrupted`` when the user wants to stop."""
        self.stop.check()


@dataclass(slots=True)
class Held:
    """What one run changes in one collection. A context: what is left at its end is put back, whatever has happened.

    Attributes:
        place: the collection.
        session: any session of it.
        owner: the run as a user knows it, as ``the export into ./dump``; the same again after a kill.
        heard: hears notes, and says when the user wants to stop.
        journal: of the dump that is made; None where no dump is.
    """

    place: Endpoint
    session: Source | Target
    owner: str
    heard: Changed
    journal: Journal | None = None
    _effects: dict[str, Effect] = field(default_factory=dict)
    _lease: ExitStack | None = None

    def apply(self, wanted: Callable[[], Sequence[Effect]]) -> None:
        """Write down what is to be changed, and change it; take over what killed runs have left.

        Args:
            wanted: asks the session for its effects.

        Raises:
            Locked: another process does the very same.
        """
        shelf = _Shelf(self.place)
        left = self._journaled()
        if not wanted() and not left and not shelf.used():
            return
        with shelf.turn(self.heard.check, None):
            if self._lease is None:
                self._lease = shelf.lease(self._name)
            asked = tuple(wanted())
            self._take_over(shelf, left)
            # What is there of a killed run names what was before it.
            self._effects = {**{e.name: e for e in asked}, **self._effects}
            others = [name for name in shelf.owners() if name != self._name]
            live = [name for name in others if shelf.live(name)]
            if not self._effects and not live:
                self._release(shelf)
                return
            # Beside others at work a record without effects says that theirs are needed longer.
            self._keep(shelf)
            for name in set(others) - set(live):
                shelf.remove(name)
            for effect in asked:
                self.heard.note(f"for the time of {self.owner}: {effect.what}; {effect.undone}")
                self.session.apply(effect)

    def end(self, until: str = "end") -> None:
        """Put back what lasts until now, or leave it to another run on this collection that is still at work.

        Args:
            until: ``written`` or ``end``, which includes the other.

        Raises:
            VecportError: something could not be put back; it stays written down.
        """
        shelf = _Shelf(self.place)
        if not self._effects and not shelf.used():
            return
        with shelf.turn(lambda: None, _PATIENCE_S):
            if self._lease is None:
                if shelf.live(self._name):
                    return
                self._lease = shelf.lease(self._name)
                self._take_over(shelf, None)
            if any(shelf.live(name) for name in shelf.owners() if name != self._name):
                if until == "end":
                    self._leave()
                return
            self._take_over(shelf, None)
            for effect in reversed(self._effects.copy().values()):
                if until in (effect.until, "end"):
                    self.session.undo(effect)
                    del self._effects[effect.name]
            for name in shelf.owners():
                if name != self._name and until == "end":
                    shelf.remove(name)
            if self._effects:
                self._keep(shelf)
            elif until == "end":
                self._release(shelf)

    def __enter__(self) -> Held:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            self.end()
        except VecportError as e:
            if kind is None:
                raise
            # What the run itself failed of goes first.
            left = "; ".join(effect.what for effect in self._effects.values())
            self.heard.note(f"not put back, as {e.what}: {left}; the next run on this collection does it")
        finally:
            if self._lease is not None:
                self._lease.close()

    def _leave(self) -> None:
        """The record stays, for the run that ends last."""
        assert self._lease is not None
        self._lease.close()
        self._lease, self._effects = None, {}

    @property
    def _name(self) -> str:
        return _digest(self.owner)

    def _journaled(self) -> Record | None:
        """What the journal of the dump says; of another collection it is said, and left."""
        found = None if self.journal is None else self.journal.effects()
        if found is None:
            return None
        record = Record.from_json(found, "the journal's list of effects")
        if record.is_of(self.place):
            return record
        self.heard.note(f"{record.place}: {record.text()}")
        return None

    def _take_over(self, shelf: _Shelf, journaled: Record | None) -> None:
        """Make what killed runs have left this run's to put back."""
        found = [r for name in shelf.owners() if not self._is_live(shelf, name) and (r := shelf.read(name))]
        for record in (*found, *([journaled] if journaled is not None else [])):
            if any(e.name not in self._effects for e in record.effects):
                self.heard.note(f"{record.text()}; it is put back at the end")
            self._effects = {**{e.name: e for e in record.effects}, **self._effects}

    def _is_live(self, shelf: _Shelf, name: str) -> bool:
        return name != self._name and shelf.live(name)

    def _keep(self, shelf: _Shelf) -> None:
        place = self.place
        record = Record(place.connector, place.place.text, place.collection, self.owner, tuple(self._effects.values()))
        shelf.write(self._name, record)
        if self.journal is not None and self._effects:
            self.journal.keep_effects(record.to_json())

    def _release(self, shelf: _Shelf) -> None:
        """Nothing is changed any more."""
        if self.journal is not None:
            self.journal.keep_effects(None)
        shelf.remove(self._name)
        if self._lease is not None:
            self._lease.close()
            self._lease = None


def note(facts: dict[str, Any], notes: list[str], place: Endpoint, role: str, effects: Iterable[Effect]) -> None:
    """Put the effects that a run would have, and what killed runs have left, into what a plan says."""
    for effect in effects:
        facts.setdefault("effects", []).append({"role": role, "what": effect.what, "undone": effect.undone})
        work = "export" if role == "source" else "import"
        notes.append(f"for the time of the {work}: {effect.what}; {effect.undone}")
    notes.extend(_left_behind(place))


def _left_behind(place: Endpoint) -> list[str]:
    """What killed runs have not put back in a collection, a sentence each, for commands that only look."""
    shelf = _Shelf(place)
    if not shelf.used():
        return []
    found = (shelf.read(name) for name in shelf.owners() if not shelf.live(name))
    return [
        f"{r.text()}; the next run that reads or writes it puts it back" for r in found if r is not None and r.effects
    ]


def _digest(*words: str) -> str:
    return hashlib.sha256(json.dumps(words).encode()).hexdigest()[:32]
