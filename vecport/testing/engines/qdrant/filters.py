"""Filters: protobuf messages to engine objects."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, cast

import qdrant_edge as edge
from qdrant_client import grpc as pb

from .convert import id_in
from .errors import invalid, invalid_body, unimplemented


def filter_in(message: pb.Filter) -> edge.Filter:
    """Return a filter in the engine's form.

    Raises:
        StatusError: a condition is malformed, or of a kind that this server does not know. Leaving it
            out would select too many points.
    """
    minimum = None
    if message.HasField("min_should"):
        if message.min_should.min_count < 1:
            raise invalid_body("min_should.min_count", "min_count must be greater than 0")
        conditions = [_condition_in(item) for item in message.min_should.conditions]
        minimum = edge.MinShould(conditions, message.min_should.min_count)
    return edge.Filter(
        must=_conditions_in(message.must),
        should=_conditions_in(message.should),
        must_not=_conditions_in(message.must_not),
        min_should=minimum,
    )


def optional_filter_in(message: Any, field: str = "filter") -> edge.Filter | None:
    """Return the filter in `field` of a request, None where it has none."""
    return filter_in(getattr(message, field)) if message.HasField(field) else None


def _conditions_in(messages: Iterable[pb.Condition]) -> list[Any] | None:
    return [_condition_in(message) for message in messages] or None


def _condition_in(message: pb.Condition) -> Any:
    kind = message.WhichOneof("condition_one_of")
    if kind is None:
        raise invalid("Malformed Condition type")
    if kind not in _CONDITIONS:
        raise unimplemented(f"filter condition `{kind}`")
    return _CONDITIONS[kind](getattr(message, kind))


def _slice_in(message: pb.SliceCondition) -> Any:
    if message.total == 0:
        raise invalid_body("slice.total", "must be greater than 0")
    if message.index >= message.total:
        raise invalid_body("slice.index", "must be less than the total number of slices")
    # The package has this class, its stubs do not.
    return edge.SliceCondition(message.total, message.index)  # type: ignore[attr-defined,unused-ignore]


def _field_in(message: pb.FieldCondition) -> edge.FieldCondition:
    present = {field.name for field, _ in message.ListFields()} - {"key"}
    if not present:
        raise invalid_body("match", "At least one field condition must be specified")
    tests: dict[str, Any] = {}
    for name in present:
        if name not in _FIELD_TESTS:
            raise unimplemented(f"field condition `{name}`")
        target, convert = _FIELD_TESTS[name]
        # A number range wins over a time range, as on the server.
        if target != "range" or name == "range" or "range" not in present:
            tests[target] = convert(getattr(message, name))
    return edge.FieldCondition(message.key, **tests)


def _match_in(message: pb.Match) -> Any:
    kind = message.WhichOneof("match_value")
    if kind is None:
        raise invalid("Malformed Match condition")
    if kind not in _MATCHES:
        raise unimplemented(f"match `{kind}`")
    return _MATCHES[kind](getattr(message, kind))


def _boolean_match_in(value: bool) -> edge.MatchValue:
    """Return the match of a boolean; the engine takes Python's own for the integers 0 and 1."""
    import numpy as np

    return edge.MatchValue(cast(bool, np.bool_(value)))


def _bounds(message: Any) -> dict[str, Any]:
    return {field.name: value for field, value in message.ListFields()}


def _times_in(message: pb.DatetimeRange) -> edge.RangeDateTime:
    return edge.RangeDateTime(**{name: time.ToJsonString() for name, time in _bounds(message).items()})


def _geo_point_in(message: pb.GeoPoint) -> edge.GeoPoint:
    return edge.GeoPoint(message.lon, message.lat)


def _box_in(message: pb.GeoBoundingBox) -> edge.GeoBoundingBox:
    return edge.GeoBoundingBox(_geo_point_in(message.top_left), _geo_point_in(message.bottom_right))


def _radius_in(message: pb.GeoRadius) -> edge.GeoRadius:
    return edge.GeoRadius(_geo_point_in(message.center), message.radius)


def _polygon_in(message: pb.GeoPolygon) -> edge.GeoPolygon:
    rings = [[_geo_point_in(point) for point in line.points] for line in message.interiors]
    return edge.GeoPolygon([_geo_point_in(point) for point in message.exterior.points], rings or None)


_CONDITIONS: dict[str, Callable[[Any], Any]] = {
    "field": _field_in,
    "filter": filter_in,
    "has_id": lambda message: edge.HasIdCondition({id_in(item) for item in message.has_id}),
    "has_vector": lambda message: edge.HasVectorCondition(message.has_vector),
    "is_empty": lambda message: edge.IsEmptyCondition(message.key),
    "is_null": lambda message: edge.IsNullCondition(message.key),
    "nested": lambda message: edge.NestedCondition(message.key, filter_in(message.filter)),
    "slice": _slice_in,
}

_FIELD_TESTS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "match": ("match", _match_in),
    "range": ("range", lambda message: edge.RangeFloat(**_bounds(message))),
    "datetime_range": ("range", _times_in),
    "geo_bounding_box": ("geo_bounding_box", _box_in),
    "geo_radius": ("geo_radius", _radius_in),
    "geo_polygon": ("geo_polygon", _polygon_in),
    "values_count": ("values_count", lambda message: edge.ValuesCount(**_bounds(message))),
    "is_empty": ("is_empty", bool),
    "is_null": ("is_null", bool),
}

_MATCHES: dict[str, Callable[[Any], Any]] = {
    "keyword": edge.MatchValue,
    "integer": edge.MatchValue,
    "boolean": _boolean_match_in,
    "text": edge.MatchText,
    "text_any": edge.MatchTextAny,
    "phrase": edge.MatchPhrase,
    "prefix": edge.MatchPrefix,
    "substring": edge.MatchSubstring,
    "keywords": lambda message: edge.MatchAny(list(message.strings)),
    "integers": lambda message: edge.MatchAny(list(message.integers)),
    "except_keywords": lambda message: edge.MatchExcept(list(message.strings)),
    "except_integers": lambda message: edge.MatchExcept(list(message.integers)),
}
