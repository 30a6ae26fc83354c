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

from ...errors import NotRepresentable
from ..address import Place
from ..contract import Json, TargetPlan
from ..kit import passports
from ..kit import settings as kit
from ..kit.settings import Setting
from . import client as clients
from .values import TITLE, key_survives, value_survives


def _numbers(kind: str, **bounds: tuple[int, int]) -> Iterator[Setting]:
    """Whole numbers of an index; a stranger's dump must not make one of gigabytes a record."""
    for name, (low, high) in bounds.items():
        path = f"{kind}.{name}"
        yield Setting(path, _HELP[name], low=low, high=high, path=path, offered=kind == "hnsw")


_HELP: Final = {
    "max_neighbors": "Links of each vector in the index.",
    "ef_construction": "Candidates that are looked at when a vector is added.",
    "ef_search": "Candidates that are looked at in a search.",
    "sync_threshold": "Records after which the index is saved.",
    "batch_size": "Records that are searched one by one before they go into the index.",
    "search_nprobe": "Lists that are looked at in a search.",
    "write_nprobe": "Lists that a vector may go into.",
}
_HNSW: Final = (
    *_numbers("hnsw", max_neighbors=(2, 4_096), ef_construction=(1, 1_000_000), ef_search=(1, 1_000_000),
              sync_threshold=(2, 1_000_000_000), batch_size=(2, 1_000_000_000)),
    Setting("hnsw.resize_factor", kind="number", low=1.000001, high=100, path="hnsw.resize_factor", offered=False),
)  # fmt: skip
_SPANN: Final = tuple(
    _numbers("spann", ef_construction=(1, 1_000_000), ef_search=(1, 1_000_000), max_neighbors=(2, 4_096),
             search_nprobe=(1, 1_000_000), write_nprobe=(1, 1_000_000))
)  # fmt: skip
#: ``hnsw.m`` is the older word for ``hnsw.max_neighbors``.
SETTINGS: Final = (
    *_HNSW,
    Setting("hnsw.m", _HELP["max_neighbors"], low=2, high=4_096, path="hnsw.max_neighbors"),
    *_SPANN,
    kit.NATIVE,
)
_SPACES: Final = tuple(Setting(f"{kind}.space", kind="text", path=f"{kind}.space") for kind in ("hnsw", "spann"))
#: By kind of value in a schema, the indexes that can be on or off.
_INDEXES: Final = {
    "string": ("fts_index", "string_inverted_index"),
    "int": ("int_inverted_index",),
    "float": ("float_inverted_index",),
    "bool": ("bool_inverted_index",),
    "sparse_vector": ("sparse_vector_index",),
}
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
    configuration = {kind: index for kind, index in (model.configuration_json or {}).items() if index}
    found = model.serialized_schema or {}
    # The configuration leaves this one out.
    batch = _vector_index(found).get("hnsw", {}).get("batch_size")
    if batch is not None and "hnsw" in configuration:
        configuration["hnsw"] = {**configuration["hnsw"], "batch_size": batch}
    index = kit.kept(configuration, (*_SPACES, *_HNSW, *_SPANN))
    schema = _switches(found) if found else {}
    return {"configuration": index, "metadata": dict(metadata), **({"schema": schema} if schema else {})}


def parsed(settings: Mapping[str, str]) -> dict[str, Any]:
    """Numbers of an index from ``--set``, by their names there; see ``kit.settings.parse``."""
    return _names(kit.by_path(kit.parse(settings, SETTINGS, TITLE), SETTINGS))


def _names(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values by the last parts of their paths: what they are called within an index."""
    return {path.rpartition(".")[2]: value for path, value in values.items()}


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
    native = kit.wanted(plan.native, plan.settings)
    configuration, cloud = _object(native, "configuration"), clients.is_cloud(place)
    spann = cloud and bool(configuration.get("spann")) and not users
    index = {**_names(kit.restored(configuration, _SPANN if spann else _HNSW, TITLE)), **users, "space": space}
    if "resize_factor" in index:
        index["resize_factor"] = float(index["resize_factor"])
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
    return kit.section(data, name, TITLE)


def _metadata(found: Mapping[str, Any], *, exact_floats: bool) -> Iterator[tuple[str, Any]]:
    """The collection's own metadata, as far as Chroma gives it back as it was; a server rounds some floats."""
    for key, value in found.items():
        kind = type(value)
        held = kind in (str, bool, int, float) and value_survives(value)
        if kind is float and exact_floats:
            held = math.isfinite(value) and repr(value) != "-0.0"
        if key == passports.KEY or not key or key[0] in "#$" or not held:
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
    return kit.refused(TITLE, name, value, why)
