"""Reading a JSON Lines file: byte ranges cut at line ends, whose cursors are byte offsets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, pairwise
from pathlib import Path

import pyarrow as pa

from ...errors import Incomplete, UsageError
from ...model.batch import KEY_COLUMNS, join_pages, make_page
from ...model.capabilities import SourceCapabilities
from ...model.collection import Collection, collection_from_json, collection_to_json
from .. import access
from ..address import Place
from ..contract import MAX_NAMESPACES, Description, Json, Page, Permission, Selection, Source
from .client import Input, Start, read_lines
from .info import TITLE
from .lines import BadLine, Record, read_record
from .schema import Survey, id_text, take_survey
from .settings import Options
from .vectors import RowError, read_column

Line = tuple[Start, bytes]
_KEYS_AT_ONCE = 10_000


class JsonlSource(Source):
    """Reads one file."""

    capabilities: SourceCapabilities = SourceCapabilities(
        snapshot=True, concurrency="processes", page_rows=1_000, selects_namespaces=True
    )

    def __init__(self, place: Place, name: str, selection: Selection) -> None:
        if selection.where is not None:
            raise UsageError(f"{TITLE} has no --where", next="filter the file before the export, with jq for example")
        self._options = Options.parse(place)
        self._input = Input(place)
        self._name = name
        self._namespaces = frozenset(selection.namespaces)
        self._survey: Survey | None = None
        self._collection: Collection | None = None

    def describe(self) -> Description:
        survey = self._surveyed()
        return Description(survey.collection, survey.count, None, "1", survey.notes)

    def permissions(self) -> tuple[Permission, ...]:
        path = Path(self._input.shown)
        return (access.to_read([path]),) if path.is_file() else ()

    def snapshot(self) -> Json:
        survey = self._surveyed()
        return {
            "path": str(self._input.path),
            "stamp": self._input.stamp,
            "collection": collection_to_json(survey.collection),
        }

    def alive(self, token: Json) -> bool:
        return bool(Input.stamp_of(token["path"]) == token["stamp"])

    def attach(self, token: Json) -> None:
        self._input.join(token["path"], token["stamp"])
        self._collection = collection_from_json(token["collection"])

    def partitions(self, target_rows: int, token: Json) -> Iterator[Json]:
        for start, behind in pairwise(chain(self._surveyed().starts(target_rows), [None])):
            assert start is not None
            yield {**start.to_json(), "end": self._input.size if behind is None else behind.offset}

    def scan(self, partition: Json, cursor: Json | None, page_rows: int) -> Iterator[Page]:
        if self._collection is None:
            raise UsageError("scan before attach", why="a session joins a snapshot first")
        begin = Start.from_json(partition if cursor is None else cursor)
        self._check_unchanged()
        lines: list[Line] = []
        with self._input.open() as file:
            for at, behind, text in read_lines(file, begin, partition["end"], self._input):
                lines.append((at, text))
                if len(lines) == page_rows:
                    yield from self._page(lines, behind)
                    lines = []
                end = behind
            if lines:
                yield from self._page(lines, end)
        self._check_unchanged()

    def fetch(self, keys: Sequence[tuple[str, str]]) -> pa.RecordBatch:
        """One pass over the file."""
        wanted = frozenset(keys)
        found: list[pa.RecordBatch] = []
        for page in self.scan(self._whole(), None, self.capabilities.page_rows):
            columns = (page.batch.column("namespace").to_pylist(), page.batch.column("id").to_pylist())
            mask = [key in wanted for key in zip(*columns, strict=True)]
            if any(mask):
                found.append(page.batch.filter(pa.array(mask)))
        return join_pages(self._described(), found)

    def keys(self) -> Iterator[pa.RecordBatch]:
        kind = self._described().id_kind
        with self._input.open() as file:
            records: list[Record] = []
            for at, _, text in read_lines(file, Start(), self._input.size, self._input):
                record = self._record((at, text))
                if self._wants(record):
                    records.append(record)
                if len(records) == _KEYS_AT_ONCE:
                    yield _key_batch(records, kind)
                    records = []
            yield _key_batch(records, kind)
        self._check_unchanged()

    def count(self) -> int:
        self._check_unchanged()
        return self._surveyed().count

    def namespaces(self) -> Mapping[str, int] | None:
        return self._surveyed().by_namespace

    def uncounted(self) -> str:
        return "" if self.namespaces() is not None else f"there are more than {MAX_NAMESPACES:,} namespaces"

    def close(self) -> None:
        self._input.close()

    def _surveyed(self) -> Survey:
        if self._survey is None:
            self._survey = take_survey(self._input, self._options, self._name, self._namespaces)
        return self._survey

    def _described(self) -> Collection:
        return self._surveyed().collection if self._collection is None else self._collection

    def _whole(self) -> Json:
        return {**Start().to_json(), "end": self._input.size}

    def _check_unchanged(self) -> None:
        if self._input.changed():
            raise Incomplete(
                f"{self._input.shown} changed while it was read",
                why="its size, modification time or inode is another",
                safe="nothing was written to it",
                next="export again when nothing writes to it",
            )

    def _wants(self, record: Record) -> bool:
        return not self._namespaces or record.namespace in self._namespaces

    def _record(self, line: Line) -> Record:
        at, text = line
        try:
            return read_record(text, at.row, self._options.grammar)
        except BadLine as e:
            raise self._input.error(at.line, e) from None

    def _page(self, lines: list[Line], behind: Start) -> Iterator[Page]:
        rows = [(line[0], record) for line in lines if self._wants(record := self._record(line))]
        self._check_unchanged()
        if rows:
            yield Page(self._batch(rows), behind.to_json())

    def _batch(self, rows: list[tuple[Start, Record]]) -> pa.RecordBatch:
        collection = self._described()
        vectors = {}
        known = {v.name for v in collection.vectors}
        for at, record in rows:
            if not record.vectors.keys() <= known:
                name = next(n for n in record.vectors if n not in known)
                raise self._input.error(at.line, BadLine(f"its vector {name!r} was not there before"))
        for v in collection.vectors:
            try:
                vectors[v.name] = read_column([r.vectors.get(v.name) for _, r in rows], v)
            except RowError as e:
                raise self._input.error(rows[e.row][0].line, e.cause) from None
        return make_page(
            collection,
            ids=[id_text(r, collection.id_kind) for _, r in rows],
            namespaces=[r.namespace for _, r in rows],
            documents=[r.document for _, r in rows],
            metadata=[r.metadata for _, r in rows],
            vectors=vectors,
        )


class PositionalJsonlSource(JsonlSource):
    """Reads a file without ids (option ``ids=position``)."""

    capabilities: SourceCapabilities = SourceCapabilities(
        snapshot=True, concurrency="processes", page_rows=1_000, keyless=True, selects_namespaces=True
    )


def _key_batch(records: list[Record], kind: str) -> pa.RecordBatch:
    columns = [[id_text(r, kind) for r in records], [r.namespace for r in records]]
    return pa.RecordBatch.from_arrays([pa.array(c, pa.string()) for c in columns], names=list(KEY_COLUMNS))
