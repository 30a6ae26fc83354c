"""A backend of Qdrant that answers as it is told."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
from qdrant_client import grpc as pb

from vecport.connectors.contract import Selection
from vecport.connectors.qdrant import QdrantSource, backend
from vecport.connectors.qdrant.backend import Read, Rows


class Script(backend.Backend):
    """A backend that gives scripted pages."""

    text, version, pb = "qdrant://script", "1.19.0", pb

    def __init__(self, pages: Sequence[Rows], info: Sequence[Any] = ()) -> None:
        self.pages, self.infos, self.asked, self.nudges = list(pages), list(info), list[Any](), 0

    def scroll(self, read: Read, offset: Any, limit: int) -> Any:
        self.asked.append(offset)
        rows = self.pages.pop(0) if self.pages else Rows([])
        return SimpleNamespace(result=lambda: rows, cancel=lambda: None)

    def info(self, collection: str) -> Any:
        return self.infos.pop(0) if len(self.infos) > 1 else self.infos[0]

    def nudge(self, collection: str) -> None:
        self.nudges += 1

    def count(self, read: Read) -> int:
        return 3

    def set_metadata(self, collection: str, key: str, text: str | None) -> None:
        return None

    def filter(self, where: str | None) -> Any:
        return None

    def close(self) -> None:
        return None

    def _unused(self, *args: Any) -> Any:
        raise AssertionError

    names = aliases = all_aliases = get = create = drop = add_alias = upsert = remove = nearest = hint = _unused  # type: ignore[assignment]


Script.__abstractmethods__ = frozenset()  # type: ignore[attr-defined]


def facts(**changes: Any) -> Any:
    info = pb.CollectionInfo(status=pb.Green)
    info.config.params.vectors_config.params.CopyFrom(pb.VectorParams(size=2, distance=pb.Dot))
    for key, value in changes.items():
        setattr(info, key, value)
    return info


def scripted(*pages: tuple[list[Any], Any]) -> tuple[QdrantSource, Script]:
    rows = []
    for keys, following in pages:
        texts = pa.array(["{}"] * len(keys), pa.string())
        rows.append(Rows(keys, following, keys[-1] if keys else None, metadata=texts))
    script = Script(rows, [facts()])
    return QdrantSource(script, "c", Selection()), script
