"""Settings of a collection as one table: what ``--set`` takes, what a dump keeps, what is restored from one, the docs.

A connector writes its table once, as ``ConnectorInfo.settings``. What is not in it is refused on the way in and never
looked at on the way out. A dump comes from a stranger, so that what it says is held against the same bounds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from ...errors import NotRepresentable, UsageError
from ..contract.setting import Setting as Setting
from ..contract.setting import Value as Value

_SHOWN: Final = 80


#: Whether the settings that a dump of the same database keeps are restored.
NATIVE: Final = Setting(
    "native", "Whether what a dump of the same database keeps of its settings is restored.", "choice",
    choices=("keep", "ignore"),
)  # fmt: skip


def parse(
    given: Mapping[str, str], table: Sequence[Setting], title: str, vectors: Iterable[str] = ()
) -> dict[str, Value]:
    """Check and type the user's ``--set`` choices; the metric is the mapping's, and left out.

    Args:
        given: by name, with the suffix of a vector or key where there is one.
        table: the database's settings.
        title: the database's name, for messages.
        vectors: names that a suffix may have.

    Returns:
        Values by name as given.

    Raises:
        UsageError: an unknown name (the known ones are listed), or a value that the setting does not take.
    """
    known = {setting.name: setting for setting in table if setting.offered}
    named, out = frozenset(vectors), dict[str, Value]()
    for key, text in given.items():
        if key == "metric" or key.startswith("metric."):
            continue
        setting = _setting(key, known, named)
        if setting is None:
            raise UsageError(
                f"--set {key}: {title} has no such setting",
                safe="nothing was created",
                next=f"one of: {', '.join(map(_spelled, known.values()))}",
            )
        value = setting.read(text)
        if value is None:
            raise UsageError(
                f"--set {key}={text}: not a value that it takes", f"it takes {setting.bounds()}", "nothing was created"
            )
        out[key] = value
    return out


def _setting(key: str, known: Mapping[str, Setting], vectors: frozenset[str]) -> Setting | None:
    """The setting that a name means: itself, or one before a dot that may have such a suffix."""
    whole = known.get(key)
    if whole is not None:
        return whole if whole.of in ("name", "vector") else None
    word, dot, suffix = key.partition(".")
    setting = known.get(word)
    if setting is None or not dot or setting.of == "name":
        return None
    return setting if setting.of == "key" or suffix in vectors else None


def _spelled(setting: Setting) -> str:
    suffix = {"one": ".VECTOR", "key": ".KEY"}.get(setting.of, "")
    return setting.name + suffix


def check_kept(
    values: Mapping[str, Value], found: Mapping[str, Any], table: Iterable[Setting], collection: str
) -> None:
    """Refuse choices that a collection which stays as it is does not have.

    Args:
        values: the user's.
        found: what the database shows of the collection, nested as the paths are.
        table: the database's settings.
        collection: its name.

    Raises:
        UsageError: naming the first setting that is otherwise there.
    """
    for setting in table:
        value, there = values.get(setting.name), _at(found, setting.path.split(".")) if setting.path else None
        if value is not None and there is not None and value != there:
            raise UsageError(
                f"--set {setting.name}={value}: collection {collection!r} is there already, with {there}",
                "settings are of what is created", "nothing was written", f"leave out --set {setting.name}",
            )  # fmt: skip


def chosen(values: Mapping[str, Value], name: str, vector: str) -> Value | None:
    """What the user chose for one vector: under its own name, else for all."""
    return values.get(f"{name}.{vector}", values.get(name))


def by_path(values: Mapping[str, Value], table: Iterable[Setting]) -> dict[str, Value]:
    """What the user chose, by the paths of the settings; those without a path are left out."""
    return {setting.path: values[setting.name] for setting in table if setting.path and setting.name in values}


# ---- a dump's ----


def wanted(native: Mapping[str, Any], given: Mapping[str, str]) -> Mapping[str, Any]:
    """The settings that a dump keeps, none when the user does not want them (``--set native=ignore``)."""
    return {} if given.get(NATIVE.name) == "ignore" else native


def kept(found: Mapping[str, Any], table: Iterable[Setting]) -> dict[str, Any]:
    """What a dump keeps of the settings that a database shows: what the table names and what is set.

    Args:
        found: nested as the paths are.
        table: the database's settings.
    """
    out: dict[str, Any] = {}
    for setting in table:
        value = _at(found, setting.path.split(".")) if setting.path else None
        if value is not None:
            *parents, last = setting.path.split(".")
            place = out
            for name in parents:
                place = place.setdefault(name, {})
            place[last] = value
    return out


def restored(native: Mapping[str, Any], table: Iterable[Setting], title: str) -> dict[str, Value]:
    """What a dump keeps, checked: by path, of the settings that the table names.

    Raises:
        NotRepresentable: a value that no collection could have.
    """
    out: dict[str, Value] = {}
    for setting in table:
        value = _at(native, setting.path.split("."), title) if setting.path else None
        if value is None:
            continue
        if not setting.holds(value):
            raise refused(title, setting.path, value, f"it takes {setting.bounds()}")
        out[setting.path] = value
    return out


def section(data: Mapping[str, Any], name: str, title: str) -> Mapping[str, Any]:
    """A part of a dump's settings that is an object, empty where it is absent.

    Raises:
        NotRepresentable: something else stands there.
    """
    value = data.get(name)
    if value is not None and not isinstance(value, Mapping):
        raise refused(title, name, value, "it is no JSON object")
    return value or {}


def _at(data: Any, path: Sequence[str], title: str = "") -> Any:
    """The value at a path, None where there is none; with a title, a part that is no object is refused."""
    for depth, name in enumerate(path):
        if not isinstance(data, Mapping):
            if title:
                raise refused(title, ".".join(path[:depth]), data, "it is no JSON object")
            return None
        data = data.get(name)
        if data is None:
            return None
    return data


def refused(title: str, name: str, value: Any, why: str) -> NotRepresentable:
    """The error for a setting of a dump that cannot be restored."""
    shown = ascii(value)
    return NotRepresentable(
        f"the dump's setting {name} of a {title} collection cannot be restored: {shown[:_SHOWN]}",
        why,
        "nothing was created",
        "make the collection without the dump's settings: --set native=ignore",
    )


# ---- the documentation ----


def documented(table: Iterable[Setting]) -> Iterator[tuple[str, str, str]]:
    """What ``--set`` takes: the name, what it is, and its values."""
    for setting in table:
        if setting.offered:
            name = f"`{_spelled(setting)}`" + (f", `{setting.name}.VECTOR`" if setting.of == "vector" else "")
            yield name, setting.help, setting.bounds()
