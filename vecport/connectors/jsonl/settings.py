"""What the user says of a JSON Lines file: the options of its address, checked."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from ...errors import UsageError
from ...model.collection import ID_KINDS, METRICS, VECTOR_DTYPES
from ..address import Place
from ..contract import Option
from .lines import Grammar

OPTIONS: Final = (
    Option("dim", "Dimension of the vectors, or a JSON object of dimensions by vector name."),
    Option("metric", "Metric of the vectors, or a JSON object of metrics by vector name.", "unknown"),
    Option("dtype", "Element type of the vectors, or a JSON object of types by vector name.", "auto"),
    Option("id-kind", "Kind of the ids: auto, string, int, uuid, int|uuid, tagged or composite.", "auto"),
    Option("ids", "Where ids come from: member, or position to number the records.", "member"),
    Option("extra-keys", "What becomes of members that are not known: refuse, or metadata.", "refuse"),
    Option("tags", "Whether $vp in metadata is a tag (read) or a key like any other (literal).", "read"),
)


@dataclass(frozen=True, slots=True)
class Options:
    """The options of a place, checked. Those by vector name are dicts whose key ``None`` stands for all."""

    grammar: Grammar
    id_kind: str
    dims: dict[str | None, int]
    metrics: dict[str | None, str]
    dtypes: dict[str | None, str]

    @classmethod
    def parse(cls, place: Place) -> Options:
        """Read the options; raises ``UsageError`` with the allowed values."""
        by_name = {o.name: o for o in OPTIONS}

        def text(name: str) -> str:
            return place.option(name) or by_name[name].default or ""

        def one_of(name: str, allowed: Sequence[str]) -> str:
            return _one_of(name, text(name), allowed)

        dims = {k: _one_of("dim", str(v), ()) for k, v in _by_vector("dim", text("dim")).items()}
        return cls(
            grammar=Grammar(
                ids=one_of("ids", ("member", "position")),
                extra_keys=one_of("extra-keys", ("refuse", "metadata")),
                tags=one_of("tags", ("read", "literal")),
            ),
            id_kind=one_of("id-kind", ("auto", *(k for k in ID_KINDS if k != "position"))),
            dims={k: int(v) for k, v in dims.items()},
            metrics={k: _one_of("metric", v, METRICS) for k, v in _by_vector("metric", text("metric")).items()},
            dtypes={
                k: _one_of("dtype", v, ("auto", *VECTOR_DTYPES)) for k, v in _by_vector("dtype", text("dtype")).items()
            },
        )


def _one_of(name: str, value: Any, allowed: Sequence[str]) -> str:
    if value in allowed or (not allowed and str(value).isdecimal() and int(value) > 0):
        return str(value)
    expected = ", ".join(allowed) or "a positive number"
    raise UsageError(f"option {name}={value!r} is not known", next=f"one of: {expected}")


def _by_vector(name: str, text: str) -> dict[str | None, Any]:
    """``float32`` as {None: "float32"}; a JSON object as it is."""
    if not text.startswith("{"):
        return {None: text} if text else {}
    try:
        data: dict[str | None, Any] = json.loads(text)
    except ValueError as e:
        raise UsageError(f"option {name} is not a JSON object", why=str(e)) from None
    return data


def of_vector(options: dict[str | None, Any], name: str, default: Any) -> Any:
    """What an option says of one vector: under its name, else for all."""
    return options.get(name, options.get(None, default))
