"""What Chroma says of a collection: vector, metric, passport, settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from ...errors import NotRepresentable
from ...model.collection import Collection, VectorField
from ..address import Place
from ..contract import Json
from ..kit import passports, places
from . import client as clients
from . import settings
from .values import COSINE_BOUND, SPACES

_COLLECTIONS_AT_ONCE: Final = 100


@dataclass(frozen=True, slots=True)
class Facts:
    """What Chroma itself says of a collection."""

    collection: Collection
    passport: Mapping[str, Json] | None
    notes: tuple[str, ...]


def open_collection(client: Any, name: str, place: Place) -> Any:
    """Return the ``chromadb.Collection``, without any embedding function, so that no model is loaded.

    Raises:
        NotFound: naming the collections that exist.
    """
    with clients.translated(place.text):
        try:
            return client.get_collection(name, embedding_function=None)
        except Exception as e:
            if type(e).__name__ not in clients.NOT_FOUND:
                raise
    there = (found.name for found in list_collections(client, place))
    hint = "choose one with -c/--collection; other tenants and databases are options tenant and database"
    raise places.not_found(name, place.text, there, hint)


def list_collections(client: Any, place: Place) -> Iterator[Any]:
    """Yield every ``chromadb.Collection`` of the tenant's database."""
    offset = 0
    while True:
        with clients.translated(place.text):
            found = client.list_collections(limit=_COLLECTIONS_AT_ONCE, offset=offset)
        yield from found
        if not found:
            return
        offset += len(found)


def facts(collection: Any, place: Place, *, probe: bool = True) -> Facts:
    """Describe a collection.

    Args:
        collection: a ``chromadb.Collection``, just fetched.
        place: for messages.
        probe: whether a search may be made to find out the true metric of a collection of an old version.

    Raises:
        NotRepresentable: a space that is not known.
    """
    model = collection.get_model()
    notes: list[str] = []
    metadata = dict(model.metadata or {})
    passport = _passport(metadata, notes)
    configuration = model.configuration_json or {}
    metric = _metric(collection, configuration, metadata, place, notes, probe)
    embedder = _embedder(configuration)
    vectors = _vectors(model.dimension, metric, embedder, passport, notes)
    native = {**settings.kept(model, metadata), **({"embedding_function": embedder} if embedder else {})}
    return Facts(Collection(model.name, "string", vectors, native=native), passport, tuple(notes))


def _passport(metadata: dict[str, Any], notes: list[str]) -> Mapping[str, Json] | None:
    """Take the passport out of the collection's metadata."""
    found, note = passports.read(metadata.get(passports.KEY), f"the collection metadata key {passports.KEY!r}")
    if found is not None:
        del metadata[passports.KEY]
    if note:
        notes.append(note)
    return found


def _metric(
    collection: Any,
    configuration: Mapping[str, Any],
    metadata: Mapping[str, Any],
    place: Place,
    notes: list[str],
    probe: bool,
) -> str:
    """The metric of the index.

    Collections made by versions before 1.0 keep their space in the metadata key ``hnsw:space``, and are searched by
    it although their configuration shows the default; others had that key changed later, without effect. Where the
    two differ, one search decides.
    """
    index = configuration.get("hnsw") or configuration.get("spann") or {}
    space = index.get("space")
    legacy = metadata.get("hnsw:space")
    if configuration.get("spann"):
        notes.append("a SPANN index of Chroma Cloud: whether its vectors come back bit by bit was not verified")
    if legacy is not None and legacy != space:
        found = _probe_space(collection, place) if probe else None
        notes.append(
            f"the configuration says space {space!r} and the metadata {legacy!r}: "
            + (f"a search shows that {found!r} is used" if found else "which one is used cannot be told")
        )
        space = found
    if space is None:
        return "unknown"
    if space not in SPACES:
        raise NotRepresentable(
            f"collection {collection.name!r}: the space {space!r} is not known", safe="nothing was read"
        )
    return SPACES[space]


def _probe_space(collection: Any, place: Place) -> str | None:
    """Find the space of an index by the distance between a record and multiples of its own vector."""
    try:
        with clients.translated(place.text):
            some = collection.get(limit=10, include=["embeddings"])
    except clients.VectorMissing:
        return None
    with clients.translated(place.text):
        for id, vector in zip(some["ids"], np.asarray(some["embeddings"], np.float64), strict=True):
            square = float(vector @ vector)
            if not 1e-6 < square < 1e6:
                continue
            factor = 2.0 if abs(square - 1 / 3) > 0.1 else 3.0
            query = (vector * factor).astype(np.float32)
            answer = collection.query(query_embeddings=[query], ids=[id], n_results=1, include=["distances"])
            distance = answer["distances"][0][0]
            expected = {"l2": square * (factor - 1) ** 2, "cosine": 0.0, "ip": 1 - factor * square}
            return min(expected, key=lambda name: abs(expected[name] - distance))
    return None


def _embedder(configuration: Mapping[str, Any]) -> dict[str, str]:
    """Name and model of the embedding function; nothing else of its settings is taken."""
    function = configuration.get("embedding_function") or {}
    config = function.get("config") or {}
    found = {"name": function.get("name"), "model": config.get("model_name") or config.get("model")}
    return {k: v for k, v in found.items() if isinstance(v, str) and v}


def _vectors(
    dimension: int | None,
    metric: str,
    embedder: Mapping[str, str],
    passport: Mapping[str, Json] | None,
    notes: list[str],
) -> tuple[VectorField, ...]:
    if dimension is None:
        dimension = _dimension_of_passport(passport)
        notes.append(
            "the collection never held a record, so Chroma does not know its dimension: "
            + (f"{dimension}, as its passport says" if dimension else "it is described without a vector")
        )
    if not dimension:
        return ()
    cosine = metric == "cosine"
    if cosine:
        notes.append(
            f"Chroma gives vectors of cosine collections back within a relative error of {COSINE_BOUND.relative:g}"
        )
    return (
        VectorField(
            name="",
            dim=dimension,
            metric=metric,
            nullable=False,
            fidelity="bounded" if cosine else "exact",
            bound=COSINE_BOUND if cosine else None,
            model=embedder.get("model") or embedder.get("name"),
        ),
    )


def _dimension_of_passport(passport: Mapping[str, Json] | None) -> int | None:
    try:
        (vector,) = (passport or {})["collection"]["vectors"]
        return int(vector["dim"])
    except (KeyError, TypeError, ValueError):
        return None
