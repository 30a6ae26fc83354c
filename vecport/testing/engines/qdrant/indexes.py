"""Payload indexes: protobuf parameters to engine objects."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qdrant_edge as edge
from qdrant_client import grpc as pb

from .errors import bad_input, invalid, unimplemented
from .settings import engine_enum

_ENGINE_PARAMS: dict[str, Callable[..., Any]] = {
    "keyword_index_params": edge.KeywordIndexParams,
    "integer_index_params": edge.IntegerIndexParams,
    "float_index_params": edge.FloatIndexParams,
    "geo_index_params": edge.GeoIndexParams,
    "text_index_params": edge.TextIndexParams,
    "bool_index_params": edge.BoolIndexParams,
    "datetime_index_params": edge.DatetimeIndexParams,
    "uuid_index_params": edge.UuidIndexParams,
}


def index_in(request: pb.CreateFieldIndexCollection) -> tuple[pb.PayloadSchemaInfo, Any]:
    """Return the index that a request asks for.

    Returns:
        How `Get` shows it, and the schema for the engine.

    Raises:
        StatusError: the type is missing, or the engine lacks a parameter.
    """
    if not request.HasField("field_type"):
        if request.HasField("field_index_params"):
            raise invalid("field type is missing")
        raise bad_input(f"Unable to infer type for the field '{request.field_name}'. Please specify `field_type`")
    type_name = pb.FieldType.Name(request.field_type).removeprefix("FieldType")
    info = pb.PayloadSchemaInfo(data_type=pb.PayloadSchemaType.Value(type_name))
    kind = request.field_index_params.WhichOneof("index_params")
    if kind is None:
        return info, getattr(edge.PayloadSchemaType, type_name)
    info.params.CopyFrom(request.field_index_params)
    return info, _params_in(kind, getattr(request.field_index_params, kind))


def _params_in(kind: str, message: Any) -> Any:
    """Return the engine's parameters for the set fields of `message`."""
    given = {field.name: value for field, value in message.ListFields()}
    for name, convert in _CONVERT.items():
        if name in given:
            given[name] = convert(given[name])
    try:
        return _ENGINE_PARAMS[kind](**given)
    except TypeError as error:
        raise unimplemented(f"{kind}: {error}") from None


def _stopwords_in(message: pb.StopwordsSet) -> edge.StopwordsSet:
    languages = {_language_in(edge.Language, name) for name in message.languages}
    return edge.StopwordsSet(languages=languages or None, custom=set(message.custom) or None)


def _stemmer_in(message: pb.StemmingAlgorithm) -> Any:
    if message.WhichOneof("stemming_params") == "disabled":
        return edge.DisabledStemmer()
    return edge.SnowballParams(_language_in(edge.SnowballLanguage, message.snowball.language))


def _language_in(kind: Any, name: str) -> Any:
    if not hasattr(kind, name.capitalize()):
        raise invalid(f"Language {name} not found")
    return getattr(kind, name.capitalize())


def _scoring_in(message: pb.TextScoringParams) -> edge.TextScoringParams:
    return edge.TextScoringParams(engine_enum(edge.TextScoringType, pb.TextScoringType, message.type))


_CONVERT: dict[str, Callable[[Any], Any]] = {
    "memory": lambda number: engine_enum(edge.Memory, pb.Memory, number),
    "prefix": lambda _: True,
    "scoring": _scoring_in,
    "stemmer": _stemmer_in,
    "stopwords": _stopwords_in,
    "tokenizer": lambda number: engine_enum(edge.TokenizerType, pb.TokenizerType, number),
}
