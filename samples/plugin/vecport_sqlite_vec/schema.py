"""What a vec0 table is, read from its own statement; how one is created; its records as pages.

A table of vecport's has the key ``id``, the vectors, and the text columns ``document`` and ``metadata`` (a JSON
object). Of other tables every further column is a key of metadata. The passport stands in the table's own ``_info``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.compute

from vecport.connectors.address import Place
from vecport.connectors.contract import Json
from vecport.connectors.kit import blobs, passports
from vecport.connectors.kit.places import not_found
from vecport.connectors.kit.settings import Setting
from vecport.errors import NotRepresentable
from vecport.model import canonical
from vecport.model.batch import make_page
from vecport.model.collection import Collection, VectorField
from vecport.model.json_columns import object_column

from .client import quoted

if TYPE_CHECKING:
    import apsw

Key = int | str
pc: Final[Any] = pyarrow.compute
SETTINGS: Final = (
    Setting("chunk_size", "Records in a chunk, a multiple of 8.", low=8, high=4096, path="chunk_size"),
)  # fmt: skip
#: Dtypes by vec0's words for a vector's elements.
_ELEMENTS: Final = {"float": "float32", "f32": "float32", "int8": "int8", "i8": "int8", "bit": "bit"}
_WORDS: Final = {"float32": "float", "int8": "int8", "bit": "bit"}
_ARROW: Final = {
    "text": pa.string(), "integer": pa.int64(), "int": pa.int64(), "float": pa.float64(), "double": pa.float64(),
    "boolean": pa.bool_(), "bool": pa.bool_(), "blob": pa.binary(),
}  # fmt: skip
_BODY: Final = re.compile(r"(?is)\busing\s+vec0\s*\((.*)\)")
_COLUMN: Final = re.compile(r"(?is)\+?\s*([a-z]\w*)\s+([a-z]\w*)\s*(?:\[\s*(\d+)\s*\])?(.*)")
_METRIC: Final = re.compile(r"(?i)distance_metric\s*=\s*(\w+)")


@dataclass(frozen=True)
class Table:
    """A vec0 table.

    Attributes:
        name: of the table.
        key: the column of its primary key.
        kind: of its ids, ``string`` or ``int``.
        vectors: its vectors.
        columns: Arrow types of all its other columns.
        document, metadata: the columns that hold these, where it has them.
        settings: what of ``SETTINGS`` its statement says.
    """

    name: str
    key: str = "rowid"
    kind: str = "int"
    vectors: tuple[VectorField, ...] = ()
    columns: Mapping[str, pa.DataType] = field(default_factory=dict)
    document: str | None = "document"
    metadata: str | None = "metadata"
    settings: Mapping[str, Json] = field(default_factory=dict)

    @property
    def collection(self) -> Collection:
        """The schema."""
        return Collection(self.name, self.kind, self.vectors, native=self.settings)

    @property
    def keys(self) -> tuple[str, str]:
        """The table behind this one that has its keys in order, and the column there."""
        return quoted(f"{self.name}_rowids"), "id" if self.kind == "string" else "rowid"

    def count(self, db: apsw.Connection) -> int:
        """All records."""
        return int(db.execute(f"SELECT count(*) FROM {self.keys[0]}").get)

    def named(self) -> list[str]:
        """All columns but the key, as SQL writes them."""
        return [quoted(name) for name in (*(v.name for v in self.vectors), *self.columns)]


def names(db: apsw.Connection) -> list[str]:
    """The vec0 tables of a file."""
    found = db.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table' AND sql LIKE '%vec0%' ORDER BY name")
    return [str(name) for name, sql in found if _BODY.search(str(sql))]


def find(db: apsw.Connection, name: str, place: Place) -> Table | None:
    """A table, None where there is no vec0 table of this name."""
    sql = db.execute("SELECT sql FROM sqlite_master WHERE type = 'table' AND name = ?", (name,)).get
    body = _BODY.search(str(sql))
    return None if body is None else _parsed(name, body[1], place)


def read(db: apsw.Connection, name: str, place: Place) -> Table:
    """A table; raises ``NotFound`` where there is none."""
    table = find(db, name, place)
    if table is None:
        raise not_found(name, place.text, names(db))
    return table


def _parsed(name: str, body: str, place: Place) -> Table:
    """A table from what stands between the parentheses of its statement."""
    key, vectors, columns, settings = ("rowid", "int"), list[VectorField](), dict[str, pa.DataType](), dict[str, Json]()
    for text in map(str.strip, body.split(",")):
        option, found = re.fullmatch(r"(\w+)\s*=\s*(\d+)", text), _COLUMN.fullmatch(text)
        if option:
            settings[option[1]] = int(option[2])
            continue
        column, word, dim, rest = found.groups() if found else (text, "", None, "")
        word = word.lower()
        if dim is not None and word in _ELEMENTS:
            kind, metric = "binary" if word == "bit" else "dense", _METRIC.search(rest)
            named = metric[1].lower() if metric else "hamming" if kind == "binary" else "l2"
            vectors.append(VectorField(column, kind, _ELEMENTS[word], int(dim), named, nullable=False))
        elif word not in _ARROW:
            raise NotRepresentable(f"table {name!r}: the column {text!r} is of no type that is known")
        elif re.search(r"(?i)primary\s+key", rest):
            key = column, "string" if _ARROW[word] == pa.string() else "int"
        else:
            columns[column] = _ARROW[word]
    document, metadata = (
        column if columns.get(column) == pa.string() else None
        for column in (place.option("document") or "document", place.option("metadata") or "metadata")
    )
    return Table(name, *key, tuple(vectors), columns, document, metadata, settings)


def statement(collection: Collection, place: Place, chunk_size: Json) -> str:
    """The statement that creates a table for a collection."""
    parts = [f"id {'integer' if collection.id_kind == 'int' else 'text'} primary key"]
    for v in collection.vectors:
        metric = "" if v.kind == "binary" else f" distance_metric={v.metric}"
        parts.append(f"{v.name} {_WORDS[v.dtype]}[{v.dim}]{metric}")
    parts += [f"+{place.option(name) or name} text" for name in ("document", "metadata")]
    parts += [f"chunk_size={chunk_size}"] if chunk_size else []
    return f"CREATE VIRTUAL TABLE {quoted(collection.name)} USING vec0({', '.join(parts)})"


# ---- the passport ----


def passport(db: apsw.Connection, table: Table) -> tuple[Mapping[str, Json] | None, str]:
    """The passport, and a note where something else stands in its place."""
    info = f"{table.name}_info"
    if not db.execute("SELECT count(*) FROM sqlite_master WHERE name = ?", (info,)).get:
        return None, ""
    text = db.execute(f"SELECT value FROM {quoted(info)} WHERE key = ?", (passports.KEY,)).get
    return passports.read(text, f"the key {passports.KEY!r} of the table {info}")


def store_passport(db: apsw.Connection, name: str, found: Mapping[str, Json]) -> None:
    """Put the passport there, or remove the one that is there."""
    info = quoted(f"{name}_info")
    db.execute(f"DELETE FROM {info} WHERE key = ?", (passports.KEY,))
    if found:
        db.execute(f"INSERT INTO {info} VALUES (?, ?)", (passports.KEY, passports.text_of(found)))


# ---- records ----


def page(table: Table, rows: Sequence[Sequence[Any]]) -> pa.RecordBatch:
    """Rows of a key and ``Table.named`` as a page."""
    key, *rest = zip(*rows, strict=True) if rows else [()] * (1 + len(table.named()))
    values = dict(zip([*(v.name for v in table.vectors), *table.columns], rest, strict=True))
    return make_page(
        table.collection,
        ids=[str(k) for k in key],
        documents=values[table.document] if table.document else None,
        metadata=_metadata(table, values),
        vectors={v.name: blobs.column_of(values[v.name], v, first_bit_low=True) for v in table.vectors},
    )


def _metadata(table: Table, values: Mapping[str, Sequence[Any]]) -> pa.Array[Any] | None:
    """Metadata as canonical JSON: the object of its own column, and every further column by its name."""
    typed = {
        name: pa.array(values[name], pa.int8()).cast(kind) if kind == pa.bool_() else pa.array(values[name], kind)
        for name, kind in table.columns.items()
        if name not in (table.document, table.metadata)
    }
    further = object_column(list(typed), list(typed.values())) if typed else None
    if table.metadata is None:
        return further
    own = canonical.canonicalise_column(pa.array(values[table.metadata], pa.string()).fill_null("{}"))
    if not pc.all(pc.starts_with(own, "{")).as_py():
        why = f"the column {table.metadata!r} holds something else"
        next = "name another column for it, so that this one is a text: --source-option metadata=COLUMN"
        raise NotRepresentable(f"metadata of table {table.name!r} is no JSON object", why, next=next)
    return own if further is None else pa.array(map(_merged, own.to_pylist(), further.to_pylist()), pa.string())


def _merged(own: str, further: str) -> str:
    one, other = canonical.loads(own), canonical.loads(further)
    if both := one.keys() & other.keys():
        raise NotRepresentable(f"metadata key {min(both)!r} is a column too", "a record would have it twice")
    return canonical.dumps({**one, **other})


def stored(table: Table, batch: pa.RecordBatch) -> Iterator[tuple[Any, ...]]:
    """Rows as ``insert`` takes them."""
    columns = table.collection.columns()
    ids: Iterable[Any] = batch.column("id").to_pylist()
    parts: list[Iterable[Any]] = [map(int, ids) if table.kind == "int" else ids]
    parts += [blobs.blobs_of(batch.column(columns[v.name]), v, first_bit_low=True) for v in table.vectors]
    texts = {table.document: batch.column("document"), table.metadata: batch.column("metadata")}
    return zip(*parts, *(texts[name].to_pylist() for name in table.columns), strict=True)


def insert(table: Table) -> str:
    """The statement that adds a record."""
    marks = ["?", *(f"{marker(v)}(?)" for v in table.vectors), *("?" for _ in table.columns)]
    return f"INSERT INTO {quoted(table.name)} ({', '.join([table.key, *table.named()])}) VALUES ({', '.join(marks)})"


def marker(v: VectorField) -> str:
    """The function that says what a blob is."""
    return {"int8": "vec_int8", "bit": "vec_bit"}.get(v.dtype, "vec_f32")


def key_of(table: Table, id: str) -> Key:
    """A key as the table has it."""
    return int(id) if table.kind == "int" else id
