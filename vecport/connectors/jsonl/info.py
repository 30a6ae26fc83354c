"""What the registry and the documentation show of JSON Lines."""

from __future__ import annotations

from typing import Final

from ..contract import ConnectorInfo
from .settings import OPTIONS

TITLE: Final = "JSON Lines"

INFO: Final = ConnectorInfo(
    name="jsonl",
    title=TITLE,
    schemes=("jsonl", "ndjson"),
    extra="",
    modules=(),
    example="jsonl:./rows.jsonl",
    options=OPTIONS,
    takes_host=False,
)
