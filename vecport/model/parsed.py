"""Canonical JSON as parsed data with its tags left standing: the cheap form in which records are mapped."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from ..errors import IntegrityError
from . import canonical

_LONG_DIGITS = "[0-9]{19}"
_DECODER = json.JSONDecoder(parse_int=canonical.read_integer)


def parse_objects(metadata: pa.Array) -> list[dict[str, Any]]:
    """Canonical JSON objects as dicts, tags left as they stand; integers exact.

    Raises:
        IntegrityError: a text is no JSON object.
    """
    texts = metadata.to_pylist()
    read: Callable[[str], Any] = orjson.loads
    if pc.any(pc.match_substring_regex(metadata, _LONG_DIGITS)).as_py():
        read = parse
    try:
        rows = [read(t) for t in texts]
    except (ValueError, RecursionError) as e:
        raise IntegrityError("metadata is not JSON", f"{e}"[:200], next="vecport validate DUMP --level deep") from e
    if not {dict}.issuperset(map(type, rows)):
        raise IntegrityError("metadata is not a JSON object", next="vecport validate DUMP --level deep")
    return rows


def parse(text: str) -> Any:
    """One canonical JSON text, tags left as they stand; integers exact."""
    return _DECODER.decode(text)


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
