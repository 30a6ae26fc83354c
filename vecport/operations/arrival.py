"""Whether everything that was written is there: by the target's count as far as it can be trusted, and by its keys."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

import pyarrow as pa

from ..connectors import registry
from ..connectors.contract import Selection, Source, Target
from ..connectors.guest import Clock, interruptible
from ..dump.dump import Dump
from ..dump.records import Records
from ..errors import Incomplete
from ..model.passport import Passport, target_keys
from .duck import Duck
from .progress import Stop
from .reconcile import KEY_SCHEMA, load_keys
from .sessions import Endpoint

#: How long a count, or a list of keys, that trails behind may stand still before it counts as what is there.
PATIENCE_S = 60.0
_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 5.0


class Waiting:
    """Asks until an answer suits, as long as answers change: at most ``PATIENCE_S`` after the last that was another."""

    def __init__(self, stop: Stop) -> None:
        self._clock: Clock = interruptible(stop.check)

    def until(self, ask: Callable[[], int], suits: Callable[[int], bool]) -> int:
        """The first answer that suits, or the last one."""
        answer, pause = ask(), _FIRST_PAUSE_S
        changed = self._clock.now()
        while not suits(answer):
            left = changed + PATIENCE_S - self._clock.now()
            if left <= 0:
                break
            self._clock.sleep(min(pause, left))
            pause = min(2 * pause, _LONGEST_PAUSE_S)
            now = ask()
            if now != answer:
                answer, changed, pause = now, self._clock.now(), _FIRST_PAUSE_S
        return answer


class Keys:
    """The keys of a dump, as the target holds them, against those that the target lists.

    Args:
        dump: what was written.
        passport: how its keys stand in the target.
        native: the target has namespaces.
        memory_bytes: bound; above it, keys are spilled to a temporary folder.
    """

    def __init__(self, dump: Records, passport: Passport, native: bool, memory_bytes: int) -> None:
        self._duck = Duck(memory_bytes)
        self._duck.load("wanted", KEY_SCHEMA, (held(b, passport, native) for b in dump.keys(("id", "namespace"))))

    def look(self, source: Source) -> int:
        """List the target's keys; returns how many of the dump are not among them."""
        load_keys(self._duck, "there", source)
        return int(self._duck.rows(f"SELECT count(*) FROM ({_MISSING})")[0][0])

    def missing(self, most: int = 3) -> list[str]:
        """Some ids that the target did not list."""
        return [str(r[0]) for r in self._duck.rows(f"{_MISSING} ORDER BY 1 LIMIT {most}")]

    def more(self) -> int:
        """Keys that the target listed and the dump does not have."""
        query = "SELECT count(*) FROM there WHERE (namespace, id) NOT IN (SELECT (namespace, id) FROM wanted)"
        return int(self._duck.rows(query)[0][0])

    def __enter__(self) -> Keys:
        return self

    def __exit__(self, *exc: object) -> None:
        self._duck.close()


_MISSING = "SELECT id FROM wanted WHERE (namespace, id) NOT IN (SELECT (namespace, id) FROM there)"


def held(keys: pa.RecordBatch, passport: Passport, native: bool) -> pa.RecordBatch:
    held, namespaces = target_keys(passport, *keys.columns)
    if not native:
        namespaces = pa.repeat(pa.scalar("", pa.string()), len(held))
    return pa.RecordBatch.from_arrays([held, namespaces], schema=KEY_SCHEMA)


def counted_late(session: Target, least: int, most: int, stop: Stop) -> int | None:
    """The count of a target whose count trails behind, waited for; None where it does not count."""
    if session.capabilities.count == "none":
        return None
    return Waiting(stop).until(lambda: session.count() or 0, lambda n: least <= n <= most)


def check_keys(
    dump: Dump, target: Endpoint, session: Target, passport: Passport, *, alone: bool, memory_bytes: int, stop: Stop
) -> bool:
    """Find every record of a dump among the keys that the target lists.

    Args:
        dump, target, session, passport: what was written, and where to.
        alone: nothing but the dump's records may be there.
        memory_bytes: bound.
        stop: is heard while keys are waited for.

    Returns:
        False where the target's keys cannot be listed, so that nothing was found out.

    Raises:
        Incomplete: a record is not there, or one too many is.
    """
    if registry.get(target.connector).source is None:
        return False
    with ExitStack() as stack:
        source = stack.enter_context(target.open_source(Selection(), stop))
        if not source.capabilities.lists_keys:
            return False
        if not source.capabilities.snapshot:
            source.attach(source.snapshot())
        keys = stack.enter_context(Keys(dump, passport, session.capabilities.native_namespace, memory_bytes))
        gone = Waiting(stop).until(lambda: _looked(keys, source), lambda n: n == 0)
        if gone:
            raise Incomplete(
                f"{gone:,} records that were written are not in {target.text}, as {', '.join(keys.missing())}",
                "its list of keys does not have them", "the records that were acknowledged are there",
                "run the same import again, with --if-exists replace",
            )  # fmt: skip
        if alone and (more := keys.more()):
            raise Incomplete(
                f"{target.text} has {more:,} records that the dump does not have",
                "somebody else writes to this collection", "the dump's own records are there",
            )  # fmt: skip
    return True


def _looked(keys: Keys, source: Source) -> int:
    """One look at the keys, of what is there now and not of an older snapshot."""
    if source.capabilities.snapshot:
        source.attach(source.snapshot())
    return keys.look(source)
