"""A file of choices for a target: ``plan --emit-target-config`` writes it, ``import --target-config`` takes it.

TOML, or JSON where the name ends in ``.json``::

    vecport = 1
    connector = "qdrant"

    [settings]
    "metric.title" = "cosine"

    [vectors]
    "title" = "title_embedding"

``settings`` are ``--set`` choices; what stands on the command line goes before them. ``vectors`` names the vectors of
the target by those of the dump.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import AlreadyExists, NotFound, UsageError
from ..model.mapping import MappingPlan

FORMAT = 1
_LARGEST = 1 << 20


@dataclass(frozen=True, slots=True)
class TargetConfig:
    """What such a file says.

    Attributes:
        connector: it was made for.
        settings: ``--set`` choices.
        vectors: names in the target by names in the dump.
    """

    connector: str
    settings: Mapping[str, str] = field(default_factory=dict)
    vectors: Mapping[str, str] = field(default_factory=dict)


def config_of(connector: str, mapping: MappingPlan, settings: Mapping[str, str]) -> TargetConfig:
    """The choices that a plan stands on, those that nobody made spelled out."""
    chosen = dict(settings)
    vectors = mapping.target.vectors
    for v in vectors:
        source = mapping.passport.vectors[v.name]
        key = f"metric.{source}" if source and len(vectors) > 1 else "metric"
        if v.metric in mapping.capabilities.metrics_of(v.kind) and (key != "metric" or len(vectors) == 1):
            chosen.setdefault(key, v.metric)
    names = {
        source: target for target, source in mapping.passport.vectors.items() if mapping.capabilities.named_vectors
    }
    return TargetConfig(connector, chosen, {s: t for s, t in names.items() if t})


def write(path: str | os.PathLike[str], config: TargetConfig) -> None:
    """Write a new file; raises ``AlreadyExists`` where there is one."""
    data = {"vecport": FORMAT, "connector": config.connector, "settings": dict(config.settings),
            "vectors": dict(config.vectors)}  # fmt: skip
    text = json.dumps(data, indent=1, ensure_ascii=False) + "\n" if os.fspath(path).endswith(".json") else _toml(data)
    try:
        with Path(path).open("x", encoding="utf-8") as f:
            f.write(text)
    except FileExistsError:
        raise AlreadyExists(f"{os.fspath(path)} exists", safe="it was not changed", next="name a new file") from None
    except OSError as e:
        raise UsageError(
            f"{os.fspath(path)} cannot be written", why=e.strerror or str(e), safe="nothing was written"
        ) from e


def _toml(data: Mapping[str, Any]) -> str:
    lines: list[str] = []
    for name, value in data.items():
        if isinstance(value, Mapping):
            lines += ["", f"[{name}]", *(f"{_text(k)} = {_text(v)}" for k, v in value.items())]
        else:
            lines.append(f"{name} = {_text(value) if isinstance(value, str) else value}")
    return "\n".join(lines) + "\n"


def _text(value: str) -> str:
    """A TOML basic string: JSON's, but that DEL must be escaped too."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def read(path: str | os.PathLike[str], connector: str) -> TargetConfig:
    """Read a file for a target.

    Args:
        path: of the file.
        connector: of the target; the file must have been made for it.

    Raises:
        NotFound: there is no such file.
        UsageError: it is no such file, or one for another database.
    """
    name = os.fspath(path)
    try:
        with Path(path).open("rb") as f:
            raw = f.read(_LARGEST + 1)
    except FileNotFoundError:
        raise NotFound(
            f"{name} does not exist", next="make one: vecport plan DUMP TARGET --emit-target-config FILE"
        ) from None
    except OSError as e:
        raise UsageError(f"{name} cannot be read", why=e.strerror or str(e)) from e
    if len(raw) > _LARGEST:
        raise _wrong(name, f"it is larger than {_LARGEST:,} bytes")
    try:
        text = raw.decode()
        data = json.loads(text) if name.endswith(".json") else tomllib.loads(text)
    except (ValueError, RecursionError) as e:
        raise _wrong(name, str(e)[:200]) from None
    return _checked(name, data, connector)


def _checked(name: str, data: Any, connector: str) -> TargetConfig:
    if not isinstance(data, dict) or data.get("vecport") != FORMAT or isinstance(data.get("vecport"), bool):
        raise _wrong(name, f"it does not say vecport = {FORMAT}")
    unknown = sorted(set(data) - {"vecport", "connector", "settings", "vectors"})
    if unknown:
        raise _wrong(name, f"it has entries that are not known: {', '.join(unknown)}")
    if data.get("connector") != connector:
        raise UsageError(f"{name} is a target config for {data.get('connector')!r}", f"the target is {connector!r}",
                         "nothing was written", "make one for this target")  # fmt: skip
    tables: list[dict[str, str]] = []
    for part in ("settings", "vectors"):
        table = data.get(part, {})
        if not isinstance(table, dict) or not all(isinstance(v, str) for v in table.values()):
            raise _wrong(name, f"[{part}] is no table of texts")
        tables.append(table)
    if len(set(tables[1].values())) != len(tables[1]):
        raise _wrong(name, "[vectors] gives two vectors one name")
    return TargetConfig(connector, *tables)


def _wrong(name: str, why: str) -> UsageError:
    return UsageError(f"{name} is no target config", why, "nothing was written",
                      "make one: vecport plan DUMP TARGET --emit-target-config FILE")  # fmt: skip
