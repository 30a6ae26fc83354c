"""Reading a Chroma collection: list the ids once, then fetch them in chunks.

Chroma has no cursor. ``get(include=[])`` names all ids fast and in storage order; ``get(ids=...)`` answers in storage
order too, whatever was asked, and leaves out what it does not have. ``get(offset=...)`` alone would skip records
when others are deleted meanwhile.
"""

from __future__ import annotations

import json
import struct
from abc import abstractmethod
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa

from ...errors import Incomplete, IntegrityError, UsageError, VecportError
from ...model.batch import dense_array, make_page, page_schema
from ...model.capabilities import SourceCapabilities
from ...model.collection import VectorField
from ...model.passport import Passport
from ..address import Place
from ..contract import Description, Json, Page, Permission, Reject, Selection, Source
from . import client as clients
from . import folder, permissions
from .describe import Facts, facts, open_collection
from .records import metadata_column

PARTS: Final = ("embeddings", "documents", "metadatas", "uris")
#: With metadata, more ids than this in one request exceed what SQLite takes ("too many SQL variables").
MOST_ROWS: Final = 5_000
EVERYTHING: Final = Selection()
LOST: Final = "the index of the collection has lost its vector; id, document and metadata are there"
_LIST_PAGE: Final = 100_000
_LISTINGS: Final = 3


class ChromaSource(Source):
    """Reads one collection; ``ChromaFolderSource`` and ``ChromaServerSource`` say where from."""

    capabilities: SourceCapabilities = SourceCapabilities(page_rows=1_000)
    _vectors_are_text: ClassVar[bool] = False

    def __init__(self, place: Place, collection: str, selection: Selection) -> None:
        self._place, self._name = place, collection
        self._where = _parse_where(selection)
        self._client: Any = None
        self._found: Any = None
        self._facts: Facts | None = None
        self._reader: ThreadPoolExecutor | None = None
        self._places: tuple[Json, dict[str, int]] | None = None

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

    def uncounted(self) -> str:
        found = self._described().passport
        passport = Passport.from_json(found) if found else None
        if passport is None or (passport.namespace is None and passport.prefix is None):
            return ""
        return "Chroma cannot count by a value of metadata or a part of the id without giving every record away"

    def partitions(self, target_rows: int, token: Json) -> Iterator[Json]:
        self.attach(token)
        ids = self._ids()
        while part := list(islice(ids, max(1, target_rows))):
            # The text of the list: as strings it would take four times as much in a worker.
            yield {"ids": orjson.dumps(part).decode()}

    def keys(self) -> Iterator[pa.RecordBatch]:
        ids = self._ids()
        while part := list(islice(ids, 10_000)):
            columns = [pa.array(part, pa.string()), pa.array([""] * len(part), pa.string())]
            yield pa.RecordBatch.from_arrays(columns, names=["id", "namespace"])

    def scan(self, partition: Json, cursor: Json | None, page_rows: int) -> Iterator[Page]:
        ids: list[str] = orjson.loads(partition["ids"])
        size = max(1, min(page_rows, self._most_rows))
        missing: tuple[tuple[str, str], ...] = ()
        end = int(cursor or 0)
        chunks = [ids[i : i + size] for i in range(end, len(ids), size)]
        for chunk, answer in zip(chunks, self._answers(chunks), strict=True):
            batch, gone, lost = self._fetch(chunk, None, answer)
            end += len(chunk)
            missing += tuple(("", id) for id in gone)
            if batch.num_rows or lost:
                yield Page(batch, end, missing, tuple(Reject("", id, LOST) for id in lost))
                missing = ()
        if missing:
            # No record is left to send these with, and they must not go unnamed.
            yield Page(self._nothing(), len(ids), missing)

    def behind(self, partition: Json, batch: pa.RecordBatch, key: tuple[str, str]) -> tuple[pa.RecordBatch, bool]:
        """The place in the partition's own list of ids: it is found even when the record itself is gone."""
        if self._places is None or self._places[0] is not partition:
            self._places = (partition, {id: i for i, id in enumerate(orjson.loads(partition["ids"]))})
        places = self._places[1]
        last = places.get(key[1], -1)
        here = [places[str(id)] for id in batch.column("id").to_pylist()]
        first = next((i for i, place in enumerate(here) if place > last), len(here))
        return batch.slice(first), bool(here) and here[-1] >= last

    def fetch(self, keys: Sequence[tuple[str, str]]) -> pa.RecordBatch:
        ids = list(dict.fromkeys(id for namespace, id in keys if id and not namespace))
        size = self._most_rows
        chunks = [ids[i : i + size] for i in range(0, len(ids), size)]
        parts = [self._fetch(chunk, self._where, self._answer(chunk, self._where)) for chunk in chunks]
        lost = [id for _, _, some in parts for id in some]
        if lost:
            raise IntegrityError(f"record {lost[0]!r} of collection {self._name!r} cannot be read", LOST)
        return _joined([page for page, _, _ in parts]) if parts else self._nothing()

    def close(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            # An abandoned scan may still be reading; the client must not go away under it.
            reader.shutdown(wait=True, cancel_futures=True)
        client, self._client, self._found, self._facts = self._client, None, None, None
        clients.close(client)

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

    @abstractmethod
    def _ids(self) -> Iterator[str]:
        """Yield the ids of the selection once each, in storage order."""

    def _answers(self, chunks: list[list[str]]) -> Iterator[Any]:
        """Yield the client's answer for each chunk of ids; the next is read while the caller works on the one before.

        The engine reads without the interpreter's lock, so this takes a second processor where there is one.
        """
        self._described()
        if self._reader is None:
            self._reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="chroma")
        coming: Future[Any] | None = None
        for chunk in chunks:
            next_one = self._reader.submit(self._answer, chunk, None)
            if coming is not None:
                yield coming.result()
            coming = next_one
        if coming is not None:
            yield coming.result()

    def _answer(self, asked: list[str], where: Any) -> Any:
        """The client's answer for some ids, None where Chroma refuses it because a vector is missing."""
        try:
            return self._get(ids=asked, where=where, include=list(PARTS))
        except clients.VectorMissing:
            return None

    def _fetch(self, asked: list[str], where: Any, answer: Any) -> tuple[pa.RecordBatch, list[str], list[str]]:
        """Fetch records by id.

        Args:
            asked: ids without repetition, at most ``_most_rows``.
            where: a filter that they must pass too.
            answer: of ``_answer`` for them.

        Returns:
            A page in the order asked; the ids that do not exist, each asked for twice; those whose vector is lost.
        """
        pages, lost = self._pages(asked, where, answer)
        missing = _without(asked, [*lost, *(id for page in pages for id in page.column("id").to_pylist())])
        if missing and where is None:
            more, lost_too = self._pages(missing, None, self._answer(missing, None))
            pages, lost = pages + more, lost + lost_too
            missing = _without(missing, [*lost_too, *(id for page in more for id in page.column("id").to_pylist())])
        return _joined(pages) if pages else self._nothing(), missing, lost

    def _pages(self, asked: list[str], where: Any, answer: Any) -> tuple[list[pa.RecordBatch], list[str]]:
        """Fetch records, and find those without a vector: one of them makes Chroma refuse a whole request.

        Returns:
            Pages in the order asked, without ids that do not exist; and the ids of records whose vector is lost.
        """
        if answer is None and len(asked) == 1:
            answer = self._answer(asked, where)
            if answer is None:
                # A record that was being deleted is gone by now.
                return [], list(self._get(ids=asked, where=where, include=[])["ids"])
        if answer is not None:
            return [self._page(answer, asked)], []
        half = len(asked) // 2
        first, lost = self._pages(asked[:half], where, self._answer(asked[:half], where))
        second, lost_too = self._pages(asked[half:], where, self._answer(asked[half:], where))
        return first + second, lost + lost_too

    def _nothing(self) -> pa.RecordBatch:
        """A page without rows."""
        return pa.RecordBatch.from_pylist([], schema=page_schema(self._described().collection))

    def _page(self, answer: Any, asked: list[str]) -> pa.RecordBatch:
        """Build a page from an answer, columns reordered as asked."""
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
        if ids == asked or not ids:
            return page
        place = {id: i for i, id in enumerate(ids)}
        if len(place) != len(ids):
            raise IntegrityError(f"collection {self._name!r}: Chroma gave a record twice for one id")
        return page.take(pa.array([place[id] for id in asked if id in place], pa.int64()))

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
        return clients.open_server(self._place)

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
        self._copy: folder.FolderCopy | None = None

    def _open(self) -> Any:
        if self._copy is None:
            with ThreadPoolExecutor(max_workers=1, thread_name_prefix="chroma") as pool:
                coming = pool.submit(folder.take_copy, folder.find(self._place.path), self._name)
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
            copy = folder.adopt_copy(Path(token["copy"]), token["id"], heir=True)
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
            self._copy = folder.adopt_copy(Path(token["copy"]), token["id"], heir=False)

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


def _joined(parts: list[pa.RecordBatch]) -> pa.RecordBatch:
    if len(parts) == 1:
        return parts[0]
    arrow: Any = pa
    joined: pa.RecordBatch = arrow.concat_batches(parts)
    return joined


def _without(ids: list[str], found: Sequence[str]) -> list[str]:
    if len(found) == len(ids):
        return []
    there = set(found)
    return [id for id in ids if id not in there]


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
