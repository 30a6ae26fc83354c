"""Settings of a Chroma collection: what a dump keeps of them, and what is made of them on the way back.

Kept are, by allow-list, numbers of the index, the collection's own metadata, and which kinds of values are indexed (the
``schema`` of chromadb 1.3 and later). Never kept: anything of an embedding function but its name and model, since a
client would build and run what stands there.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ...errors import NotRepresentable, UsageError
from ..address import Place
from ..contract import Json, TargetPlan
from . import client as clients
from .values import PASSPORT_KEY, key_survives, value_survives

#: Whole numbers of an HNSW index and their bounds; a stranger's dump must not make an index of gigabytes a record.
_NUMBERS: Final = {
    "max_neighbors": (2, 4_096),
    "ef_construction": (1, 1_000_000),
    "ef_search": (1, 1_000_000),
    "sync_threshold": (2, 1_000_000_000),
    "batch_size": (2, 1_000_000_000),
}
_SPANN_NUMBERS: Final = {
    "ef_construction": (1, 1_000_000),
    "ef_search": (1, 1_000_000),
    "max_neighbors": (2, 4_096),
    "search_nprobe": (1, 1_000_000),
    "write_nprobe": (1, 1_000_000),
}
_KEPT: Final = {"hnsw": ("space", *_NUMBERS, "resize_factor"), "spann": ("space", *_SPANN_NUMBERS)}
_USERS: Final = {
    "hnsw.max_neighbors": "max_neighbors",
    "hnsw.m": "max_neighbors",
    "hnsw.ef_construction": "ef_construction",
    "hnsw.ef_search": "ef_search",
    "hnsw.sync_threshold": "sync_threshold",
    "hnsw.batch_size": "batch_size",
}
#: By kind of value in a schema, the indexes that can be on or off.
_INDEXES: Final = {
    "string": ("fts_index", "string_inverted_index"),
    "int": ("int_inverted_index",),
    "float": ("float_inverted_index",),
    "bool": ("bool_inverted_index",),
    "sparse_vector": ("sparse_vector_index",),
}
#: ``--set native=ignore``: the dump's settings are not restored.
NATIVE: Final = "native"
_LEGACY_SPACE: Final = "hnsw:space"
_VECTOR_KEY: Final = "#embedding"
_DOCUMENT_KEY: Final = "#document"
_MOST_KEYS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Creation:
    """How a collection is created.

    Attributes:
        index: numbers and space of its index.
        spann: the index is one of Chroma Cloud.
        metadata: the collection's own, without a passport.
        schema: which indexes differ from Chroma's defaults, as ``kept`` gives it; empty when none does.
    """

    index: Mapping[str, Any]
    spann: bool
    metadata: Mapping[str, Any]
    schema: Mapping[str, Any]


def kept(model: Any, metadata: Mapping[str, Json]) -> dict[str, Any]:
    """The settings of a collection that a dump keeps.

    Args:
        model: ``chromadb.types.Collection``.
        metadata: of the collection, without a passport.
    """
    configuration = model.configuration_json or {}
    index = {
        kind: {name: configuration[kind][name] for name in names if configuration[kind].get(name) is not None}
        for kind, names in _KEPT.items()
        if configuration.get(kind)
    }
    found = model.serialized_schema or {}
    # The configuration leaves this one out.
    batch = _vector_index(found).get("hnsw", {}).get("batch_size")
    if batch is not None and "hnsw" in index:
        index["hnsw"]["batch_size"] = batch
    schema = _switches(found) if found else {}
    return {"configuration": index, "metadata": dict(metadata), **({"schema": schema} if schema else {})}


def parsed(settings: Mapping[str, str]) -> dict[str, int]:
    """Numbers of an index from ``--set``; the metric is the mapping's.

    Raises:
        UsageError: an unknown name, or a value out of bounds.
    """
    out: dict[str, int] = {}
    for name, text in settings.items():
        if name == "metric":
            continue
        if name == NATIVE:
            if text != "ignore":
                raise UsageError(f"--set {NATIVE}={text}: it can be 'ignore' alone", safe="nothing was created")
            continue
        if name not in _USERS:
            raise UsageError(
                f"--set {name}: Chroma has no such setting",
                why=f"settings: {', '.join(sorted((*_USERS, NATIVE)))}; the space follows from the metric",
                safe="nothing was created",
            )
        least, most = _NUMBERS[_USERS[name]]
        if not text.isascii() or not text.isdigit() or not least <= int(text) <= most:
            raise UsageError(
                f"--set {name}={text}: not a whole number from {least} to {most:,}", safe="nothing was created"
            )
        out[_USERS[name]] = int(text)
    return out


def creation(plan: TargetPlan, space: str, place: Place) -> Creation:
    """What is created: Chroma's defaults, over them what the dump keeps, over that what the user set.

    Args:
        plan: its ``native`` comes from a stranger.
        space: ``l2``, ``cosine`` or ``ip``; what the dump says of it does not count.
        place: where to.

    Raises:
        UsageError: a setting of the user is wrong.
        NotRepresentable: a setting of the dump is none that a collection could have had, or that it can be given here.
    """
    users = parsed(plan.settings)
    native = {} if NATIVE in plan.settings else plan.native
    configuration = _object(native, "configuration")
    cloud = clients.is_cloud(place)
    spann = cloud and bool(configuration.get("spann")) and not users
    kept_index = _object(configuration, "spann" if spann else "hnsw")
    index = {**_numbers(kept_index, _SPANN_NUMBERS if spann else _NUMBERS), **users, "space": space}
    if not spann and "resize_factor" in kept_index:
        factor = kept_index["resize_factor"]
        if type(factor) not in (int, float) or not 1 < factor <= 100:
            raise _refused("hnsw.resize_factor", factor, "it is a number above 1 and up to 100")
        index["resize_factor"] = float(factor)
    metadata = dict(_metadata(_object(native, "metadata"), exact_floats=place.local))
    if metadata.get(_LEGACY_SPACE) != space:
        # It would say something else than the index does.
        metadata.pop(_LEGACY_SPACE, None)
    return Creation(index, spann, metadata, _schema(_object(native, "schema"), cloud))


def create(client: Any, name: str, wanted: Creation, metadata: Mapping[str, Any]) -> None:
    """Create a collection, without any embedding function.

    Args:
        client: a ``chromadb.ClientAPI``.
        name: of the collection.
        wanted: its settings.
        metadata: all of it.
    """
    kind = "spann" if wanted.spann else "hnsw"
    if not wanted.schema:
        client.create_collection(
            name, configuration={kind: dict(wanted.index)}, metadata=dict(metadata) or None, embedding_function=None
        )
        return
    client._server.create_collection(
        name=name,
        schema=_Serialized(_whole_schema(kind, wanted)),
        metadata=dict(metadata) or None,
        tenant=client.tenant,
        database=client.database,
    )


class _Serialized:
    """Stands for ``chromadb.Schema``, which would build the embedding functions that it names."""

    def __init__(self, data: dict[str, Any]) -> None:
        self._data = data

    def serialize_to_json(self) -> dict[str, Any]:
        """What is sent."""
        return self._data


def _whole_schema(kind: str, wanted: Creation) -> dict[str, Any]:
    """Chroma takes either a configuration or a schema, so the index stands in the schema too."""
    from chromadb.api.types import Schema

    whole: dict[str, Any] = Schema().serialize_to_json()
    numbers = {k: v for k, v in wanted.index.items() if k != "space"}
    for types in (whole["defaults"], whole["keys"][_VECTOR_KEY]):
        config = types["float_list"]["vector_index"]["config"]
        config |= {"space": wanted.index["space"], "embedding_function": {"type": "legacy"}, kind: numbers}
    for part, types in _parts(wanted.schema):
        place = whole["defaults"] if part is None else whole["keys"].setdefault(part, {})
        for value_type, indexes in types.items():
            for index, enabled in indexes.items():
                place.setdefault(value_type, {})[index] = {"enabled": enabled, "config": {}}
    return whole


def _vector_index(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Configuration of the vector index in a schema of the database."""
    types = (schema.get("keys") or {}).get(_VECTOR_KEY) or {}
    return ((types.get("float_list") or {}).get("vector_index") or {}).get("config") or {}


def _switches(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Which indexes of a schema are not as Chroma makes them by default.

    Chroma itself adds every metadata key that it meets, with the collection's defaults: those say nothing.
    """
    from chromadb.api.types import Schema

    usual = Schema().serialize_to_json()
    defaults = _differing(schema.get("defaults") or {}, usual["defaults"])
    keys = {
        key: found
        for key, types in (schema.get("keys") or {}).items()
        if key != _VECTOR_KEY
        and (found := _differing(types or {}, usual["keys"].get(key) or schema.get("defaults") or {}))
    }
    return {name: part for name, part in (("defaults", defaults), ("keys", keys)) if part}


def _differing(types: Mapping[str, Any], usual: Mapping[str, Any]) -> dict[str, dict[str, bool]]:
    out: dict[str, dict[str, bool]] = {}
    for value_type, indexes in _INDEXES.items():
        for index in indexes:
            enabled = ((types.get(value_type) or {}).get(index) or {}).get("enabled")
            if enabled is not None and enabled != ((usual.get(value_type) or {}).get(index) or {}).get("enabled"):
                out.setdefault(value_type, {})[index] = bool(enabled)
    return out


def _parts(schema: Mapping[str, Any]) -> Iterator[tuple[str | None, Mapping[str, Any]]]:
    """Defaults (under None) and keys of a schema as ``kept`` gives it."""
    yield None, schema.get("defaults", {})
    yield from schema.get("keys", {}).items()


def _object(data: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = data.get(name)
    if value is not None and not isinstance(value, Mapping):
        raise _refused(name, value, "it is no JSON object")
    return value or {}


def _numbers(found: Mapping[str, Any], known: Mapping[str, tuple[int, int]]) -> dict[str, int]:
    out: dict[str, int] = {}
    for name, (least, most) in known.items():
        value = found.get(name)
        if value is None:
            continue
        if type(value) is not int or not least <= value <= most:
            raise _refused(name, value, f"it is a whole number from {least} to {most:,}")
        out[name] = value
    return out


def _metadata(found: Mapping[str, Any], *, exact_floats: bool) -> Iterator[tuple[str, Any]]:
    """The collection's own metadata, as far as Chroma gives it back as it was; a server rounds some floats."""
    for key, value in found.items():
        kind = type(value)
        held = kind in (str, bool, int, float) and value_survives(value)
        if kind is float and exact_floats:
            held = math.isfinite(value) and repr(value) != "-0.0"
        if key == PASSPORT_KEY or not key or key[0] in "#$" or not held:
            raise _refused(f"metadata {key!r}", value, "Chroma would refuse, drop or change it")
        yield key, value


def _schema(found: Mapping[str, Any], cloud: bool) -> dict[str, Any]:
    """A checked schema; an index of sparse vectors is one of Chroma Cloud alone, and is left out elsewhere."""
    keys = _object(found, "keys")
    if len(keys) > _MOST_KEYS:
        raise _refused("schema", f"{len(keys):,} keys", f"up to {_MOST_KEYS:,} are taken")
    out: dict[str, Any] = {"defaults": _indexes("defaults", _object(found, "defaults"), cloud), "keys": {}}
    for key in keys:
        if key != _DOCUMENT_KEY and not key_survives(key):
            raise _refused(f"schema of {key!r}", keys[key], "no metadata key is called so")
        out["keys"][key] = _indexes(key, _object(keys, key), cloud)
    out["keys"] = {key: types for key, types in out["keys"].items() if types}
    return {name: part for name, part in out.items() if part}


def _indexes(key: str, types: Mapping[str, Any], cloud: bool) -> dict[str, dict[str, bool]]:
    out: dict[str, dict[str, bool]] = {}
    for value_type in types:
        for index, enabled in _object(types, value_type).items():
            if index not in _INDEXES.get(value_type, ()) or type(enabled) is not bool:
                raise _refused(f"schema of {key!r}", types[value_type], "it is no index that can be on or off")
            if cloud or value_type != "sparse_vector":
                out.setdefault(value_type, {})[index] = enabled
    return out


def _refused(name: str, value: Any, why: str) -> NotRepresentable:
    return NotRepresentable(
        f"the dump's setting {name} of a Chroma collection cannot be restored: {repr(value)[:80]}",
        why=why,
        safe="nothing was created",
        next=f"make the collection without the dump's settings: --set {NATIVE}=ignore",
    )
