"""The data of the demo: where it is, and what it holds."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import IntegrityError, NotFound

DUMP = "debian-packages"
QUERIES = "queries.json"


@dataclass(frozen=True, slots=True)
class Query:
    """A question and its vector, made by the model that made the records' vectors."""

    text: str
    vector: npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Sample:
    """The sample's dump, and questions to ask of it."""

    dump: Path
    queries: tuple[Query, ...]


def find() -> Sample:
    """Find the sample in the installed package or in a checkout.

    Raises:
        NotFound: it is in neither.
        IntegrityError: the questions cannot be read.
    """
    package = Path(__file__).resolve().parent
    places = (package, package.parent.parent / "samples")
    for place in places:
        if (place / DUMP / "manifest.json").is_file() and (place / QUERIES).is_file():
            return Sample(place / DUMP, _queries(place / QUERIES))
    raise NotFound(
        "the sample data of the demo is not here",
        why=f"it belongs in {places[0]} (installed) or in {places[1]} (a checkout)",
        safe="nothing was started",
        next="install the package anew: pip install --force-reinstall 'vecport[demo]'",
    )


def _queries(path: Path) -> tuple[Query, ...]:
    try:
        data: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
        found = tuple(Query(str(q["query"]), np.asarray(q["vector"], np.float32)) for q in data)
    except (ValueError, KeyError, TypeError) as e:
        raise IntegrityError(
            f"{path} cannot be read", why=f"{type(e).__name__}: {e}", safe="nothing was started"
        ) from e
    if not found:
        raise IntegrityError(f"{path} holds no question", safe="nothing was started")
    return found
