"""Qdrant: servers by gRPC, and folders of the official client's local mode.

``qdrant://host:6333``, ``qdrant+https://host:6333``, ``qdrant:./folder``. The address names the REST port; gRPC is one
above it unless the option ``grpc-port`` says otherwise.

Sources of facts: the protocol files in the ``qdrant_client`` package, and Qdrant 1.19.0.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

from ...errors import AuthenticationFailed, NotRepresentable, UsageError
from ...model.capabilities import SourceCapabilities, TargetCapabilities
from ..address import Place
from ..contract import CollectionSummary, Connector, ConnectorInfo, Selection, Source, Target
from ..kit.places import seconds
from .backend import Backend, Read, ServerBackend
from .client import Server
from .folder import FolderBackend, recognises
from .info import INFO
from .read import QdrantSource
from .write import SETTLE_SECONDS, QdrantTarget

__all__ = ["QdrantConnector", "QdrantFolderSource", "QdrantFolderTarget", "QdrantSource", "QdrantTarget"]


class QdrantFolderSource(QdrantSource):
    """A session that reads a copy of a local folder; every session makes its own."""

    capabilities: SourceCapabilities = replace(QdrantSource.capabilities, concurrency="handle")


class QdrantFolderTarget(QdrantTarget):
    """A session that writes a local folder, which one process at a time can have open."""

    capabilities: TargetCapabilities = replace(
        QdrantTarget.capabilities,
        concurrency="handle",
        kinds=dict.fromkeys(("dense", "sparse", "multi"), frozenset({"float32"})),
        bounds={},
        dtype_bounds={},
    )


class QdrantConnector(Connector):
    """Qdrant as source and target."""

    info: ClassVar[ConnectorInfo] = INFO
    source: ClassVar[type[Source] | None] = QdrantSource
    target: ClassVar[type[Target] | None] = QdrantTarget

    def collections(self, place: Place) -> list[CollectionSummary]:
        backend = _backend(place, write=False)
        try:
            return [self._summary(backend, name) for name in sorted(backend.names())]
        finally:
            backend.close()

    def _summary(self, backend: Backend, name: str) -> CollectionSummary:
        from .schema import unsupported

        try:
            info = backend.info(name)
            rows = None if info is None else backend.count(Read(name, None))
        except (NotRepresentable, AuthenticationFailed) as error:
            return CollectionSummary(name, None, error.what)
        if info is None:
            return CollectionSummary(name)
        found = unsupported(info, backend.pb)
        if found:
            return CollectionSummary(name, rows, f"not carried: {'; '.join(found)}")
        return CollectionSummary(name, rows, _vectors(info, backend.pb))

    def open_source(self, place: Place, collection: str, selection: Selection) -> Source:
        kind = QdrantFolderSource if place.local else QdrantSource
        return kind(_backend(place, write=False), collection, selection)

    def open_target(self, place: Place, collection: str) -> Target:
        kind = QdrantFolderTarget if place.local else QdrantTarget
        wait = seconds(place, "index-wait-s", SETTLE_SECONDS)
        return kind(_backend(place, write=True), collection, wait)

    def recognises(self, path: str) -> bool:
        return recognises(path)


def _vectors(info: Any, pb: Any) -> str:
    """The vectors of a collection in a few words."""
    from .settings import vector_params

    parts = []
    for name, vector in sorted(vector_params(info).items()):
        size = f"n x {vector.size}" if vector.HasField("multivector_config") else str(vector.size)
        parts.append(f"{name} {size} x {pb.Distance.Name(vector.distance).lower()}".strip())
    parts += [f"{name} sparse".strip() for name in sorted(info.config.params.sparse_vectors_config.map)]
    return ", ".join(parts) or "no vectors"


def _backend(place: Place, *, write: bool) -> Backend:
    if not place.local:
        return ServerBackend(Server(place))
    if not place.path:
        raise UsageError(
            f"{place.text} names neither a host nor a folder", next="qdrant://HOST:6333 or qdrant:./FOLDER"
        )
    return FolderBackend(place, write=write)
