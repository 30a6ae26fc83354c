"""Where a passport stands: as a text in a collection's own metadata, or in a file beside a place that has none."""

from __future__ import annotations

import json
import os
from abc import abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from ...model.passport import Passport
from ..contract import MAX_NAMESPACES, Json, Source
from .staged import write_durably

#: The key under which collections keep it, where metadata has keys.
KEY: Final = "vecport"


def text_of(passport: Mapping[str, Json]) -> str:
    """A passport as the text that is stored; the same for the same passport."""
    return json.dumps(passport, sort_keys=True, separators=(",", ":"))


def of_text(text: Any) -> Mapping[str, Json] | None:
    """The JSON object in a stored text, None where there is none.

    Raises:
        ValueError: something else stands there.
    """
    if text is None:
        return None
    try:
        found = json.loads(text)
    except TypeError as error:
        raise ValueError("no text") from error
    if not isinstance(found, dict):
        raise ValueError("no JSON object")
    return found


def read(text: Any, where: str) -> tuple[Mapping[str, Json] | None, str]:
    """The passport in a stored text, and a note for the user when something else stands there.

    Args:
        text: as the database gives it, None where nothing stands.
        where: names the place to the user, as ``the collection's metadata key 'vecport'``.
    """
    try:
        return of_text(text), ""
    except ValueError:
        return None, f"{where} holds something that is no passport of vecport; it is left out"


class Sidecar:
    """A file with the passport beside a place that has no room for one, as an index of vectors in a file."""

    def __init__(self, place: str | os.PathLike[str]) -> None:
        path = Path(place)
        self.path = path.with_name(f"{path.name}.vecport.json")

    def read(self) -> tuple[Mapping[str, Json] | None, str]:
        """The passport, and a note when the file holds something else; both empty without the file."""
        try:
            text = self.path.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return None, ""
        return read(text, f"the file {self.path.name}")

    def store(self, passport: Mapping[str, Json]) -> None:
        """Put the passport there in one step, durably."""
        aside = self.path.with_name(f".{self.path.name}.part")
        write_durably(aside, text_of(passport).encode())
        os.replace(aside, self.path)

    def remove(self) -> None:
        """Forget it."""
        self.path.unlink(missing_ok=True)


def counted_namespaces(
    passport: Mapping[str, Json] | None,
    count: Callable[[], int],
    by_key: Callable[[str], Mapping[str, int] | str],
    most: int = MAX_NAMESPACES,
) -> tuple[Mapping[str, int] | None, str]:
    """Count the records of a collection that vecport filled by the namespaces of the dump they came from.

    Args:
        passport: of the collection, None when it has none.
        count: counts all records.
        by_key: counts records by the texts under a metadata key, or says in a sentence why it cannot.
        most: namespaces that are counted at most.

    Returns:
        Counts, None where there are no namespaces or they cannot be counted; and then why, ``""`` for the former.
    """
    found = Passport.from_json(passport) if passport else None
    if found is None or (found.namespace is None and found.prefix is None):
        return None, ""
    if found.namespace is None:
        return None, "the namespaces are a part of the ids, by which the database does not count"
    counts = by_key(found.namespace)
    if isinstance(counts, str):
        return None, counts
    rest = count() - sum(counts.values())
    if rest < 0 or len(counts) > most:
        return None, f"values of {found.namespace!r} are lists, or too many for one request"
    return ({**counts, "": counts.get("", 0) + rest} if rest else counts), ""


class CountedByPassport(Source):
    """Owns namespaces and uncounted, for a database without namespaces that vecport may have filled from one with them.

    A connector that has other bases names this one before them.
    """

    @abstractmethod
    def _by_key(self, key: str) -> Mapping[str, int] | str:
        """Count the selection's records by the texts under a metadata key, or say in a sentence why that cannot be."""

    def namespaces(self) -> Mapping[str, int] | None:
        return self._counted()[0]

    def uncounted(self) -> str:
        return self._counted()[1]

    def _counted(self) -> tuple[Mapping[str, int] | None, str]:
        return counted_namespaces(self.describe().passport, lambda: self.count() or 0, self._by_key)
