"""The gRPC service `qdrant.Collections`."""

from __future__ import annotations

import time

from qdrant_client import grpc as pb

from .settings import config_in, update_config
from .store import Store


class CollectionsService(pb.CollectionsServicer):  # type: ignore[misc]
    """Collections and aliases. What is not here answers UNIMPLEMENTED.

    Args:
        store: where the collections are.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def Create(self, request: pb.CreateCollection, _: object) -> pb.CollectionOperationResponse:
        started = time.monotonic()
        self._store.create(request.collection_name, config_in(request))
        return _done(started)

    def Update(self, request: pb.UpdateCollection, _: object) -> pb.CollectionOperationResponse:
        started = time.monotonic()
        collection = self._store.get(request.collection_name)
        collection.change(lambda info: update_config(info.config, request))
        return _done(started)

    def Delete(self, request: pb.DeleteCollection, _: object) -> pb.CollectionOperationResponse:
        started = time.monotonic()
        return _done(started, self._store.delete(request.collection_name))

    def Get(self, request: pb.GetCollectionInfoRequest, _: object) -> pb.GetCollectionInfoResponse:
        started = time.monotonic()
        info = self._store.get(request.collection_name).describe()
        return pb.GetCollectionInfoResponse(result=info, time=time.monotonic() - started)

    def List(self, _: pb.ListCollectionsRequest, __: object) -> pb.ListCollectionsResponse:
        names = [pb.CollectionDescription(name=name) for name in self._store.names()]
        return pb.ListCollectionsResponse(collections=names)

    def CollectionExists(self, request: pb.CollectionExistsRequest, _: object) -> pb.CollectionExistsResponse:
        found = self._store.exists(request.collection_name)
        return pb.CollectionExistsResponse(result=pb.CollectionExists(exists=found))

    def UpdateAliases(self, request: pb.ChangeAliases, _: object) -> pb.CollectionOperationResponse:
        started = time.monotonic()
        self._store.change_aliases(request.actions)
        return _done(started)

    def ListAliases(self, _: pb.ListAliasesRequest, __: object) -> pb.ListAliasesResponse:
        return _aliases(self._store.aliases())

    def ListCollectionAliases(self, request: pb.ListCollectionAliasesRequest, _: object) -> pb.ListAliasesResponse:
        name = self._store.get(request.collection_name).name
        return _aliases({key: value for key, value in self._store.aliases().items() if value == name})

    def ListShardKeys(self, request: pb.ListShardKeysRequest, _: object) -> pb.ListShardKeysResponse:
        self._store.get(request.collection_name)
        return pb.ListShardKeysResponse()


def _done(started: float, result: bool = True) -> pb.CollectionOperationResponse:
    return pb.CollectionOperationResponse(result=result, time=time.monotonic() - started)


def _aliases(aliases: dict[str, str]) -> pb.ListAliasesResponse:
    found = [pb.AliasDescription(alias_name=alias, collection_name=name) for alias, name in sorted(aliases.items())]
    return pb.ListAliasesResponse(aliases=found)
