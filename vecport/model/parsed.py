"""Canonical JSON as parsed data with its tags left standing: the cheap form in which records are mapped."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from . import canonical

_LONG_DIGITS = "[0-9]{19}"


def parse_objects(metadata: pa.Array) -> list[dict[str, Any]]:
    """Canonical JSON objects as dicts, tags left as they stand; integers exact."""
    texts = metadata.to_pylist()
    if pc.any(pc.match_substring_regex(metadata, _LONG_DIGITS)).as_py():
        return [json.loads(t) for t in texts]
    return [orjson.loads(t) for t in texts]


def parse(text: str) -> Any:
    """One canonical JSON text, tags left as they stand; integers exact."""
    return json.loads(text)


def dumps(value: Any) -> str:
    """Inverse of ``parse``: canonical JSON of data whose tags and escaped keys already stand."""
    if not canonical.ORJSON_AGREES:
        return _spell(value)
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
    except TypeError:
        return _spell(value)


def _spell(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ",".join(f"{canonical.dumps(k)}:{_spell(v)}" for k, v in sorted(value.items())) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_spell, value)) + "]"
    return canonical.dumps(value)
