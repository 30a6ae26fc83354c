"""Starters of real database engines that come as Python packages.

Each engine is a context manager that listens on a free loopback port, and on no other interface:

>>> from vecport.testing.engines import PostgresEngine
>>> with PostgresEngine() as engine:          # doctest: +SKIP
...     print(engine.address)
postgresql://postgres@127.0.0.1:43210/postgres

Importing this package imports no database package. An engine imports its own when it starts.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .base import Engine, EngineError
    from .chroma import ChromaEngine
    from .postgres import PostgresEngine
    from .qdrant import QdrantEngine

__all__ = ["ChromaEngine", "Engine", "EngineError", "PostgresEngine", "QdrantEngine"]

_HOMES = {
    "ChromaEngine": "chroma",
    "Engine": "base",
    "EngineError": "base",
    "PostgresEngine": "postgres",
    "QdrantEngine": "qdrant",
}


def __getattr__(name: str) -> object:
    """Import an engine class when it is first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
