"""Settings of a Qdrant collection: kept in a dump, restored from one by an allow-list, chosen with ``--set``.

The tables below name every setting that is kept, by its path in the protocol's messages, and what a number may be. A
dump comes from a stranger, so that a value outside of its range is refused by name, and what no table names is never
looked at.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from ..contract import Json, TargetPlan
from ..kit import passports
from ..kit import settings as kit
from ..kit.settings import Setting
from . import wire

TITLE: Final = "Qdrant"
#: Keys of a collection's metadata that are vecport's own.
PASSPORT_KEY: Final = passports.KEY
LOAD_KEY: Final = "vecport_load"
OWN_KEYS: Final = frozenset({PASSPORT_KEY, LOAD_KEY})

Rules = Mapping[str, Any]
"""A message's fields: None for a bool or an enum, (lowest, highest) for a number, a length for a text, a list with the
length and the number of texts, or the rules of a message."""

_KIB = (0, 1 << 40)
_MANY = (0, 1 << 31)
_MEMORY: Final[Rules] = {"on_disk": None, "memory": None}
_HNSW: Final[Rules] = {
    "m": (0, 2048), "ef_construct": (4, 16_384), "full_scan_threshold": _KIB, "max_indexing_threads": (0, 1024),
    "payload_m": (0, 2048), "inline_storage": None, **_MEMORY,
}  # fmt: skip
_OPTIMIZERS: Final[Rules] = {
    "deleted_threshold": (0, 1), "vacuum_min_vector_number": (100, 1 << 40), "default_segment_number": (0, 4096),
    "max_segment_size": (1, 1 << 40), "memmap_threshold": _KIB, "indexing_threshold": _KIB,
    "flush_interval_sec": (1, 86_400), "max_optimization_threads": {"value": (0, 1024), "setting": None},
    "prevent_unoptimized": None,
}  # fmt: skip
_RAM: Final[Rules] = {"always_ram": None, "memory": None}
_QUANTIZATION: Final[Rules] = {
    "scalar": {"type": None, "quantile": (0, 1), **_RAM},
    "product": {"compression": None, **_RAM},
    "binary": {"encoding": None, "query_encoding": {"setting": None}, **_RAM},
    "turboquant": {"bits": None, **_RAM},
}
_INDEX: Final[Rules] = {"enable_hnsw": None, "nested": 1024, **_MEMORY}
_TEXT: Final[Rules] = {
    "tokenizer": None, "lowercase": None, "min_token_len": (0, 1 << 20), "max_token_len": (0, 1 << 20),
    "stopwords": {"languages": [64, 200], "custom": [1024, 100_000]}, "phrase_matching": None,
    "stemmer": {"snowball": {"language": 64}, "disabled": {}}, "ascii_folding": None, "scoring": {"type": None},
    **_INDEX,
}  # fmt: skip
#: By type of payload index.
INDEXES: Final[dict[str, Rules]] = {
    "keyword": {"is_tenant": None, "prefix": {}, **_INDEX},
    "integer": {"lookup": None, "range": None, "is_principal": None, **_INDEX},
    "float": {"is_principal": None, **_INDEX},
    "geo": _INDEX,
    "text": _TEXT,
    "bool": _INDEX,
    "datetime": {"is_principal": None, **_INDEX},
    "uuid": {"is_tenant": None, **_INDEX},
}
#: Fields of ``CollectionParams`` that ``CreateCollection`` has as well, and those that only an update takes.
_PARAMS: Final[Rules] = {
    "shard_number": (1, 4096), "replication_factor": (1, 128), "write_consistency_factor": (1, 128),
    "on_disk_payload": None, "payload": {"memory": None}, "id_tracker": {"memory": None},
}  # fmt: skip
_LATER: Final[Rules] = {"read_fan_out_factor": (0, 128), "read_fan_out_delay_ms": (0, 3_600_000)}
_PARTS: Final[dict[str, tuple[str, Rules]]] = {
    "hnsw_config": ("hnsw_config", _HNSW),
    "optimizers_config": ("optimizer_config", _OPTIMIZERS),
    "wal_config": (
        "wal_config",
        {"wal_capacity_mb": (1, 1024), "wal_segments_ahead": (0, 64), "wal_retain_closed": (1, 64)},
    ),
    "quantization_config": ("quantization_config", _QUANTIZATION),
}
_VECTOR: Final[Rules] = {"hnsw_config": _HNSW, "quantization_config": _QUANTIZATION, "datatype": None, **_MEMORY}
_SPARSE: Final[Rules] = {"index": {"full_scan_threshold": _KIB, "datatype": None, **_MEMORY}, "modifier": None}

MAX_INDEXES: Final = 1000
MAX_ALIASES: Final = 100
_MAX_DEPTH: Final = 30


# ---- messages to plain data and back ----


def take(message: Any, rules: Rules) -> dict[str, Json]:
    """The fields of a message that rules name and that are set, as plain data; enums by their names."""
    out: dict[str, Json] = {}
    for name, rule in rules.items():
        field = message.DESCRIPTOR.fields_by_name.get(name)
        # An older client does not know every field.
        if field is None or (field.has_presence and not isinstance(rule, list) and not message.HasField(name)):
            continue
        value = getattr(message, name)
        if isinstance(rule, list):
            if value:
                out[name] = list(value)
        elif field.message_type is not None:
            out[name] = take(value, rule)
        elif field.enum_type is not None:
            out[name] = enum_name(field.enum_type, value)
        elif value or field.has_presence or not isinstance(rule, tuple):
            out[name] = value
    return out


def put(message: Any, data: Json, rules: Rules, where: str) -> None:
    """Set the fields that rules name to what plain data of a stranger says.

    Raises:
        NotRepresentable: a value of another type, out of its range, or a name that an enum does not have.
    """
    for name, value in _object(data, where).items():
        field = message.DESCRIPTOR.fields_by_name.get(name)
        if name not in rules or field is None:
            continue
        rule, place = rules[name], f"{where}.{name}"
        if isinstance(rule, list):
            getattr(message, name).extend(_texts(value, rule, place))
        elif field.message_type is not None:
            getattr(message, name).SetInParent()
            put(getattr(message, name), value, rule, place)
        else:
            setattr(message, name, _scalar(field, value, rule, place))


def _scalar(field: Any, value: Json, rule: Any, where: str) -> Any:
    if field.enum_type is not None:
        known = field.enum_type.values_by_name
        return known[value].number if isinstance(value, str) and value in known else _refuse(where, value)
    if isinstance(rule, int):
        return value if isinstance(value, str) and len(value) <= rule else _refuse(where, value)
    if rule is None:
        return value if isinstance(value, bool) else _refuse(where, value)
    numbers = (int, float) if field.cpp_type in (field.CPPTYPE_DOUBLE, field.CPPTYPE_FLOAT) else (int,)
    low, high = rule
    fits = isinstance(value, numbers) and not isinstance(value, bool) and low <= value <= high
    return value if fits else _refuse(where, value)


def _texts(value: Json, rule: list[int], where: str) -> list[str]:
    longest, most = rule
    fits = isinstance(value, list) and len(value) <= most
    if not fits or not all(isinstance(text, str) and len(text) <= longest for text in value):
        _refuse(where, value)
    return list(value)


def _object(data: Json, where: str) -> Mapping[str, Json]:
    return data if isinstance(data, Mapping) else _refuse(where, data)


def _refuse(where: str, value: Json) -> Any:
    raise kit.refused(TITLE, where, value, "no Qdrant collection has such a setting")


def enum_name(enum: Any, number: int) -> str:
    """The name of an enum's value, or the number itself when a later server made it up."""
    found = enum.values_by_number.get(number)
    return str(number) if found is None else str(found.name)


# ---- a collection's settings ----


def vector_params(info: Any) -> dict[str, Any]:
    """The ``VectorParams`` of a ``CollectionInfo`` by vector name; the unnamed vector is ``""``."""
    config = info.config.params.vectors_config
    kind = config.WhichOneof("config")
    if kind == "params":
        return {"": config.params}
    return dict(config.params_map.map) if kind else {}


def vector_count(info: Any) -> int:
    """How many vectors a collection has if every record has all of them."""
    fields = len(vector_params(info)) + len(info.config.params.sparse_vectors_config.map)
    return int(info.points_count) * fields


def native(info: Any, aliases: list[str], *, tuned: bool = True) -> dict[str, Json]:
    """What is kept of a collection's settings; ``strict_mode_config`` is for information only.

    Args:
        info: ``CollectionInfo``.
        aliases: of the collection.
        tuned: it has indexes and optimizers; a folder has none, and shows numbers that nobody chose.
    """
    config = info.config
    if not tuned:
        return {"metadata": _own_metadata(config), "aliases": sorted(aliases)}
    out: dict[str, Json] = take(config.params, {**_PARAMS, **_LATER})
    for name, (field, rules) in _PARTS.items():
        if config.HasField(field):
            out[name] = take(getattr(config, field), rules)
    out["vectors"] = {name: take(params, _VECTOR) for name, params in sorted(vector_params(info).items())}
    for name, params in vector_params(info).items():
        if params.HasField("multivector_config"):
            comparator = params.multivector_config.DESCRIPTOR.fields_by_name["comparator"].enum_type
            out["vectors"][name]["comparator"] = enum_name(comparator, params.multivector_config.comparator)
    sparse = config.params.sparse_vectors_config.map
    out["sparse_vectors"] = {name: take(sparse[name], _SPARSE) for name in sorted(sparse)}
    out["payload_indexes"] = {key: _index(index) for key, index in sorted(info.payload_schema.items())}
    out["metadata"] = _own_metadata(config)
    out["aliases"] = sorted(aliases)
    if config.strict_mode_config.enabled:
        out["strict_mode_config"] = {f.name: v for f, v in config.strict_mode_config.ListFields() if not f.message_type}
    return out


def _own_metadata(config: Any) -> dict[str, Json]:
    """A collection's metadata without what is vecport's."""
    return {k: v for k, v in sorted(wire.payload(config.metadata).items()) if k not in OWN_KEYS}


def _index(index: Any) -> dict[str, Json]:
    kind = enum_name(index.DESCRIPTOR.fields_by_name["data_type"].enum_type, index.data_type).lower()
    which = index.params.WhichOneof("index_params")
    params = {"params": take(getattr(index.params, which), INDEXES.get(kind, {}))} if which else {}
    return {"type": kind, **params}


def kept(plan: TargetPlan) -> Mapping[str, Json]:
    """The settings of a plan's dump, none when the user does not want them."""
    return kit.wanted(plan.native, plan.settings)


def apply(request: Any, plan: TargetPlan, vectors: Mapping[str, Any], sparse: Mapping[str, Any]) -> None:
    """Put a dump's settings, and then the user's, into a ``CreateCollection`` message.

    Args:
        request: the message.
        plan: of the import.
        vectors: ``VectorParams`` by name, with size, distance and datatype.
        sparse: ``SparseVectorParams`` by name.

    Raises:
        NotRepresentable: a value of the dump that no collection has.
        UsageError: a choice of the user's that Qdrant does not have.
    """
    data = _object(kept(plan), "native")
    put(request, {k: v for k, v in data.items() if k in _PARAMS}, _PARAMS, "native")
    for name, (_, rules) in _PARTS.items():
        if name in data:
            put(getattr(request, name), data[name], rules, f"native.{name}")
    for part, messages, rules in (("vectors", vectors, _VECTOR), ("sparse_vectors", sparse, _SPARSE)):
        theirs = _object(data.get(part, {}), f"native.{part}")
        for name, message in messages.items():
            if name in theirs:
                own = _object(theirs[name], f"native.{part}.{name}")
                put(message, _without_datatype(message, own), rules, f"native.{part}.{name}")
    for key, value in _metadata(data).items():
        fill(request.metadata[key], value)
    _choose(request, vectors, parse_settings(plan.settings))


def _without_datatype(message: Any, data: Mapping[str, Json]) -> dict[str, Json]:
    """Settings without a dense vector's datatype where it is not that of the dump's vectors.

    A vector that was stored quantised, as Turbo4, would be quantised once more.
    """
    dense = "datatype" in message.DESCRIPTOR.fields_by_name
    if not dense or (data.get("datatype") == "Float32" and not message.HasField("datatype")):
        return dict(data)
    return {k: v for k, v in data.items() if k != "datatype"}


def _metadata(data: Mapping[str, Json]) -> dict[str, Json]:
    found = _object(data.get("metadata", {}), "native.metadata")
    return {key: value for key, value in found.items() if key not in OWN_KEYS}


def fill(target: Any, value: Json, depth: int = 0) -> None:
    """Write a JSON value into a ``Value`` message.

    Raises:
        NotRepresentable: it nests too deep, or is a number that a payload does not hold.
    """
    if depth > _MAX_DEPTH or (isinstance(value, int) and not wire.INT64_MIN <= value <= wire.INT64_MAX):
        _refuse("native.metadata", value)
    if isinstance(value, bool):
        target.bool_value = value
    elif isinstance(value, int):
        target.integer_value = value
    elif isinstance(value, float):
        target.double_value = value
    elif isinstance(value, str):
        target.string_value = value
    elif isinstance(value, Mapping):
        target.struct_value.SetInParent()
        for key, item in value.items():
            fill(target.struct_value.fields[key], item, depth + 1)
    elif isinstance(value, list):
        target.list_value.SetInParent()
        for item in value:
            fill(target.list_value.values.add(), item, depth + 1)
    else:
        target.null_value = 0


def later_params(plan: TargetPlan, message: Any) -> bool:
    """Put the settings that only an update takes into a ``CollectionParamsDiff``; False when there are none."""
    data = {k: v for k, v in kept(plan).items() if k in _LATER}
    put(message, data, _LATER, "native")
    return bool(data)


def index_requests(plan: TargetPlan, there: Any, pb: Any) -> list[Any]:
    """A ``CreateFieldIndexCollection`` for each payload index of a plan's dump that a collection lacks.

    Args:
        plan: of the import.
        there: the names that the collection has.
        pb: the module ``qdrant_client.grpc``.
    """
    found = _object(kept(plan).get("payload_indexes", {}), "native.payload_indexes")
    if len(found) > MAX_INDEXES:
        _refuse("native.payload_indexes", f"{len(found)} indexes")
    out = []
    for key, index in found.items():
        where = f"native.payload_indexes.{key}"
        data = _object(index, where)
        kind = data.get("type")
        if not isinstance(kind, str) or kind not in INDEXES or not 1 <= len(key) <= 1024:
            _refuse(where, kind)
        request = pb.CreateFieldIndexCollection(
            collection_name=plan.collection.name, wait=True, field_name=key,
            field_type=pb.FieldType.Value(f"FieldType{str(kind).capitalize()}"),
        )  # fmt: skip
        if "params" in data:
            part = getattr(request.field_index_params, f"{kind}_index_params")
            part.SetInParent()
            put(part, data["params"], INDEXES[str(kind)], where)
        if key not in there:
            out.append(request)
    return out


def wanted_aliases(plan: TargetPlan) -> list[str]:
    """The aliases that a plan's dump names."""
    found = kept(plan).get("aliases", [])
    return [name for name in _texts(found, [255, MAX_ALIASES], "native.aliases") if name != plan.collection.name]


# ---- the user's choices ----


def _number(name: str, path: str, low: int, help: str) -> Setting:
    return Setting(name, help, low=low, path=path)


#: The path is that of the field in ``CreateCollection``, or in every dense vector's parameters.
SETTINGS: Final = (
    _number("hnsw_ef_construct", "hnsw_config.ef_construct", 4, "Candidates looked at when a vector is indexed."),
    _number("hnsw_full_scan_threshold", "hnsw_config.full_scan_threshold", 0,
            "Kilobytes of vectors below which a search looks at all of them."),
    _number("hnsw_m", "hnsw_config.m", 0, "Links of each vector in the index; 0 builds none."),
    Setting("hnsw_on_disk", "Whether the index is on disk.", "flag", path="hnsw_config.on_disk"),
    _number("indexing_threshold", "optimizers_config.indexing_threshold", 0,
            "Kilobytes of vectors above which a segment is indexed; 0 for never."),
    Setting("on_disk", "Whether dense vectors are on disk.", "flag", path="vectors_config.on_disk"),
    Setting("on_disk_payload", "Whether payloads are on disk.", "flag", path="on_disk_payload"),
    _number("replication_factor", "replication_factor", 1, "Copies of each shard in a cluster."),
    _number("shard_number", "shard_number", 1, "Shards of the collection."),
    _number("write_consistency_factor", "write_consistency_factor", 1, "Copies that have to confirm a write."),
    kit.NATIVE,
)  # fmt: skip


def parse_settings(settings: Mapping[str, str]) -> dict[str, kit.Value]:
    """Check and type the user's ``--set`` choices of what is created; see ``kit.settings.parse``."""
    return kit.parse(settings, SETTINGS, TITLE)


def _choose(request: Any, vectors: Mapping[str, Any], chosen: Mapping[str, kit.Value]) -> None:
    """Put the user's choices into a ``CreateCollection`` message and into its dense vectors' parameters."""
    for path, value in kit.by_path(chosen, SETTINGS).items():
        *parents, last = path.split(".")
        if parents == ["vectors_config"]:
            for params in vectors.values():
                params.ClearField("memory")
                setattr(params, last, value)
            continue
        _set(request, parents, last, value)
        # A vector's own setting would go before the collection's.
        for params in vectors.values():
            if parents == ["hnsw_config"] and params.HasField("hnsw_config"):
                params.hnsw_config.ClearField(last)


def _set(message: Any, parents: list[str], last: str, value: kit.Value) -> None:
    for parent in parents:
        message = getattr(message, parent)
    # ``memory`` goes before the older ``on_disk`` where both are set.
    if last == "on_disk":
        message.ClearField("memory")
    if last == "on_disk_payload":
        message.ClearField("payload")
    setattr(message, last, value)


# ---- the passport, and what a load has changed ----


def created_text(import_id: str) -> str:
    """What a load writes down of a collection that it creates; the rest follows, see ``load``."""
    return json.dumps({"created": True, "import_id": import_id, "optimizers": {}}, sort_keys=True)


def own_text(info: Any, key: str) -> str | None:
    """A text that vecport has stored in a collection's metadata, None where nothing stands."""
    return info.config.metadata[key].string_value if key in info.config.metadata else None


def read_own(info: Any, key: str) -> Mapping[str, Json] | None:
    """A JSON object that vecport has stored as text in a collection's metadata.

    Raises:
        ValueError: something else stands there.
    """
    return passports.of_text(own_text(info, key))
