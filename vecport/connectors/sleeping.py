"""A collection that sleeps and has to be woken before it is read or written: a decorator, for tests of effects.

Whether it sleeps stands in a file, so that it outlives a process: it is awake where the file says ``awake``.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from ..errors import UsageError
from .contract import Effect, Source, Target

S = TypeVar("S", Source, Target)

_NEEDS = ("scan", "fetch", "keys", "write", "delete", "link", "search")


def sleeping(session: S, file: str, title: str) -> S:
    """Let a session find its collection asleep.

    Args:
        session: of either role.
        file: says whether it sleeps.
        title: names it, as ``collection 'docs'``.
    """
    state = Path(file)

    def awake() -> bool:
        return state.exists() and state.read_text() == "awake"

    def effects(*plan: Any) -> tuple[Effect, ...]:
        if awake():
            return ()
        return (Effect("awake", f"{title} is woken", "it sleeps again afterwards", {"was": "asleep"}),)

    def apply(effect: Effect) -> None:
        state.write_text("awake")

    def undo(effect: Effect) -> None:
        state.write_text(str(effect.data["was"]))

    def needing(call: Callable[..., Any]) -> Callable[..., Any]:
        def woken(*args: Any, **kwargs: Any) -> Any:
            if not awake():
                raise UsageError(f"{title} sleeps", why="nobody has woken it")
            return call(*args, **kwargs)

        return woken

    own: Any = session
    own.effects, own.apply, own.undo = effects, apply, undo
    for name in _NEEDS:
        if hasattr(session, name):
            setattr(session, name, needing(getattr(session, name)))
    return session
