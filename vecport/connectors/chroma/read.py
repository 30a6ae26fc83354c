"""Reading a Chroma collection: list the ids once, then fetch them in chunks.

Chroma has no cursor. ``get(include=[])`` names all ids fast and in storage order; ``get(ids=...)`` answers in storage
order too, whatever was asked, and leaves out what it does not have. ``get(offset=...)`` alone would skip records
when others are deleted meanwhile.
"""

from __future__ import annotations

import json
import struct
from abc import abstractmethod
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ...errors import Incomplete, IntegrityError, UsageError, VecportError
from ...model.batch import dense_array, make_page
from ...model.capabilities import SourceCapabilities
from ...model.collection import Collection, VectorField
from ..address import Place
from ..contract import Description, Json, Permission, Selection
from ..kit import passports
from ..kit.folders import FolderCopy
from ..kit.listing import ListThenFetch
from . import client as clients
from . import folder, permissions
from .records import metadata_column
from .schema import Facts, facts, open_collection

PARTS: Final = ("embeddings", "documents", "metadatas", "uris")
#: With metadata, more ids than this in one request exceed what SQLite takes ("too many SQL variables").
MOST_ROWS: Final = 5_000
EVERYTHING: Final = Selection()
LOST: Final = "the index of the collection has lost its vector; id, document and metadata are there"
_NO_COUNTS: Final = "Chroma cannot count by a value of metadata without giving every record away"
_LIST_PAGE: Final = 100_000
_LISTINGS: Final = 3


class ChromaSource(ListThenFetch[Any]):
    """Reads one collection; ``ChromaFolderSource`` and ``ChromaServerSource`` say where from."""

    capabilities: SourceCapabilities = SourceCapabilities(page_rows=1_000)
    _vectors_are_text: ClassVar[bool] = False
    lost_because = LOST

    def __init__(self, place: Place, collection: str, selection: Selection) -> None:
        self._place, self._name = place, collection
        self._where = _parse_where(selection)
        self._client: Any = None
        self._found: Any = None
        self._facts: Facts | None = None
        self._uncounted = ""

    @abstractmethod
    def _open(self) -> Any:
        """Return a client."""

    @abstractmethod
    def _version(self) -> str:
        """Version of what is read."""

    @property
    def _most_rows(self) -> int:
        return clients.CLOUD_ROWS if clients.is_cloud(self._place) else MOST_ROWS

    def _collection(self) -> Any:
        if self._found is None:
            if self._client is None:
                self._client = self._open()
            self._found = open_collection(self._client, self._name, self._place)
        return self._found

    def _described(self) -> Facts:
        if self._facts is None:
            self._facts = facts(self._collection(), self._place)
        return self._facts

    def describe(self) -> Description:
        self._found = self._facts = None
        found = self._described()
        return Description(found.collection, self.count(), found.passport, self._version(), found.notes)

    def count(self) -> int:
        if self._where is not None:
            return sum(1 for _ in self._ids())
        collection = self._collection()
        with clients.translated(self._place.text):
            return int(collection.count())

    def namespaces(self) -> Mapping[str, int] | None:
        counts, self._uncounted = passports.counted_namespaces(
            self._described().passport, self.count, lambda key: _NO_COUNTS
        )
        return counts

    def uncounted(self) -> str:
        self.namespaces()
        return self._uncounted

    def close(self) -> None:
        super().close()
        client, self._client, self._found, self._facts = self._client, None, None, None
        clients.close(client)

    def _schema(self) -> Collection:
        return self._described().collection

    def _get(self, **how: Any) -> Any:
        collection = self._collection()
        with clients.translated(self._place.text):
            try:
                if how.get("where") is not None:
                    return collection.get(**how)
                # Collection.get would turn all vectors into an array of doubles while this thread holds the lock.
                return collection._client._get(
                    collection_id=collection.id, tenant=collection.tenant, database=collection.database, **how
                )
            except Exception as e:
                if how.get("where") is None or type(e).__name__ not in ("ValueError", "InvalidArgumentError"):
                    raise
                raise _bad_where(str(e).splitlines()[0]) from e

    def _ask(self, ids: Sequence[str], *, filtered: bool) -> Any | None:
        """The client's answer, None where Chroma refuses all because a vector is missing."""
        try:
            return self._get(ids=list(ids), where=self._where if filtered else None, include=list(PARTS))
        except clients.VectorMissing:
            return None

    def _is_there(self, id: str, *, filtered: bool) -> bool:
        # A record that was being deleted is gone by now.
        return bool(self._get(ids=[id], where=self._where if filtered else None, include=[])["ids"])

    def _page(self, answer: Any) -> pa.RecordBatch:
        collection = self._described().collection
        ids: list[str] = answer["ids"]
        page = make_page(
            collection,
            ids=ids,
            metadata=metadata_column(ids, answer["metadatas"], answer["uris"], self._name),
            documents=answer["documents"],
            vectors={v.name: dense_array(self._matrix(ids, answer["embeddings"], v), v) for v in collection.vectors},
        )
        if ids and not collection.vectors:
            raise Incomplete(
                f"collection {self._name!r} was empty when it was described",
                why="records were added since, and the dump's schema has no vector",
                safe="nothing of it was published",
                next="run the same command again",
            )
        return page

    def _matrix(self, ids: list[str], embeddings: Any, field: VectorField) -> npt.NDArray[np.float32]:
        """The answer's vectors as (n, dim) float32, which the client gives as float64.

        Raises:
            IntegrityError: a vector is missing or is no float32.
        """
        assert field.dim is not None
        if not ids:
            return np.empty((0, field.dim), np.float32)
        wide = _doubles(embeddings, field.dim)
        if wide is None or wide.shape != (len(ids), field.dim):
            raise IntegrityError(
                f"Chroma gave vectors that are not {field.dim} numbers each",
                why="a record of this answer has no vector, or one of another dimension",
            )
        narrow = wide.astype(np.float32)
        if self._vectors_are_text:
            _settle_ties(narrow, wide)
        elif not (np.array_equal(narrow, wide) or np.array_equal(narrow, wide, equal_nan=True)):
            raise IntegrityError("Chroma gave a vector that is not of float32")
        return narrow


class ChromaServerSource(ChromaSource):
    """Reads from a server what is there now; partitions hold their ids, so that a scan goes on after a kill."""

    capabilities: SourceCapabilities = SourceCapabilities(concurrency="processes", page_rows=1_000)
    _vectors_are_text: ClassVar[bool] = True

    def _open(self) -> Any:
        return clients.open_server(self._place, lambda: self.report.check())

    def _version(self) -> str:
        with clients.translated(self._place.text):
            return str(self._client.get_version())

    def _ids(self) -> Iterator[str]:
        """List page by page, so that nothing is skipped when records are deleted meanwhile.

        Records keep their order and new ones come last. Each page begins with the last id of the page before; if it
        does not, records in front of it were deleted and everything has moved up: the listing steps back until it
        finds that id. A record that was deleted and added again stands at the end and can mislead that search, so
        after such a step the listing is made once more, and what both found counts.
        """
        seen: set[str] = set()
        for _ in range(_LISTINGS):
            if not (yield from self._list_once(seen)):
                break

    def _list_once(self, seen: set[str]) -> Generator[str, None, bool]:
        """Yield the ids that are not in ``seen`` and add them; return whether the listing had to step back."""
        size = clients.CLOUD_ROWS if clients.is_cloud(self._place) else _LIST_PAGE
        moved, offset, last = False, 0, None
        while True:
            self.report.check()
            ids: list[str] = self._get(where=self._where, include=[], limit=size, offset=offset)["ids"]
            if last is not None and ids[:1] != [last]:
                moved = True
                if last not in ids and offset:
                    offset = max(0, offset - size // 2)
                    continue
            new = [id for id in dict.fromkeys(ids) if id not in seen]
            seen.update(new)
            yield from new
            if len(ids) <= 1:
                return moved
            last = ids[-1]
            offset += len(ids) - 1


class ChromaFolderSource(ChromaSource):
    """Reads a temporary copy of a folder: one point in time. The folder itself is not changed."""

    capabilities: SourceCapabilities = SourceCapabilities(snapshot=True, concurrency="handle", page_rows=1_000)

    def __init__(self, place: Place, collection: str, selection: Selection) -> None:
        super().__init__(place, collection, selection)
        self._copy: FolderCopy | None = None

    def _open(self) -> Any:
        if self._copy is None:
            with ThreadPoolExecutor(max_workers=1, thread_name_prefix="chroma") as pool:
                coming = pool.submit(folder.copied, folder.find(self._place.path), self._name)
                # It takes a second, and the copy waits for the disk.
                import chromadb  # noqa: F401

                self._copy = coming.result()
        return clients.open_folder(self._copy.path, self._place)

    def _version(self) -> str:
        import chromadb

        return str(chromadb.__version__)

    def _described(self) -> Facts:
        found = super()._described()
        if self._copy is not None and self._copy.held:
            note = f"an application writes to the folder; its writes waited {self._copy.held:.1f} s for the copy"
            return Facts(found.collection, found.passport, (*found.notes, note))
        return found

    def permissions(self) -> tuple[Permission, ...]:
        return permissions.to_read(Path(self._place.path))

    def snapshot(self) -> Json:
        collection = self._collection()
        assert self._copy is not None
        with clients.translated(self._place.text):
            rows = int(collection.count())
        return {"copy": str(self._copy.path), "id": self._copy.id, "rows": rows}

    def alive(self, token: Json) -> bool:
        """Whether the copy is there and whole; the copy of a process that died is then removed by this session."""
        try:
            if self._copy is not None and self._copy.id == token["id"]:
                return True
            copy = folder.adopted(Path(token["copy"]), token["id"], heir=True)
            other = ChromaFolderSource(self._place, self._name, EVERYTHING)
            other.attach({**token, "copy": str(copy.path)})
            try:
                whole = other.count() == int(token["rows"])
            finally:
                other.close()
        except (VecportError, KeyError, TypeError):
            return False
        if whole:
            self.close()
            self._copy = copy
        return whole

    def attach(self, token: Json) -> None:
        if self._copy is None or self._copy.id != token["id"]:
            self.close()
            self._copy = folder.adopted(Path(token["copy"]), token["id"], heir=False)

    def close(self) -> None:
        super().close()
        copy, self._copy = self._copy, None
        if copy is not None:
            copy.release()

    def _ids(self) -> Iterator[str]:
        offset, size = 0, self.capabilities.page_rows
        # The copy stands still, so that pages follow each other; the first is small for those who want a few records.
        while ids := list[str](self._get(where=self._where, include=[], limit=size, offset=offset)["ids"]):
            yield from ids
            offset, size = offset + len(ids), _LIST_PAGE


def _parse_where(selection: Selection) -> dict[str, Any] | None:
    if any(selection.namespaces):
        raise UsageError("Chroma has no namespaces", why=f"asked for: {', '.join(selection.namespaces)}")
    if selection.where is None:
        return None
    try:
        where = json.loads(selection.where)
    except ValueError as e:
        raise _bad_where(f"it is no JSON: {e}") from None
    if not isinstance(where, dict) or not where:
        raise _bad_where("it is no JSON object with a condition")
    return where


def _bad_where(why: str) -> UsageError:
    return UsageError(
        "--where cannot be used",
        why=why[:300],
        next="""write a filter of Chroma, as --where '{"year": {"$gte": 2020}}'""",
    )


def _doubles(rows: Any, dim: int) -> npt.NDArray[np.float64] | None:
    """Vectors as the client gives them, as (rows, dim) float64; None where they are not ``dim`` numbers each."""
    if isinstance(rows, np.ndarray):
        return rows.astype(np.float64, copy=False) if rows.dtype.kind == "f" else None
    # NumPy takes several times as long for lists of lists.
    row = struct.Struct(f"{dim}d")
    try:
        packed = b"".join([row.pack(*numbers) for numbers in rows])
    except (struct.error, TypeError):
        return None
    return np.frombuffer(packed, np.float64).reshape(-1, dim)


def _settle_ties(narrow: npt.NDArray[np.float32], wide: npt.NDArray[np.float64]) -> None:
    """Correct float32 values that were spelled as text and read as doubles, in place.

    A server spells a float32 by the fewest digits that name it, and the client reads them as a double. Rounding that
    to float32 gives the same value again, unless the double is half way between two of them, as for 7.0385307e-26
    (spelled 7.038531e-26): then the one that is spelled so is taken.

    Raises:
        IntegrityError: neither neighbour is spelled so.
    """
    # Half way between two float32 values, the last 28 bits of a double are zero.
    odd = ((wide.view(np.int64) & 0x0FFFFFFF) == 0) & (narrow != wide) & np.isfinite(wide)
    if not odd.any():
        return
    for place in map(tuple, np.argwhere(odd)):
        value = float(wide[place])
        rounded = narrow[place]
        other = np.nextafter(rounded, np.float32(np.inf if value > float(rounded) else -np.inf))
        spelled = [c for c in (rounded, other) if float(np.format_float_scientific(c)) == value]
        if len(spelled) != 1:
            raise IntegrityError(f"Chroma gave the vector component {value!r}, which names no float32")
        narrow[place] = spelled[0]
