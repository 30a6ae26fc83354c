"""What a vec0 table is, read from its own statement; how one is created; its records as pages.

A table of vecport's has the key ``id``, the vectors, and the texts ``document`` and ``metadata`` (a JSON object). Of
other tables every further column is a key of metadata. The passport stands in the table's own ``_info``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from vecport.connectors.address import Place
from vecport.connectors.contract import Description, Json
from vecport.connectors.kit import blobs, passports, places, settings
from vecport.connectors.kit.columns import metadata_of, quoted
from vecport.errors import NotRepresentable
from vecport.model.batch import make_page
from vecport.model.collection import Collection, VectorField

if TYPE_CHECKING:
    import apsw

SETTINGS: Final = (
    settings.Setting("chunk_size", "Records in a chunk.", low=8, high=4096, multiple=8, path="chunk_size"),
)
#: vec0's words for a vector's elements, and the functions that mark a blob as one, by dtype.
_DTYPES: Final = {"float": "float32", "f32": "float32", "int8": "int8", "i8": "int8", "bit": "bit"}
_WORDS: Final = {"float32": "float", "int8": "int8", "bit": "bit"}
_MARKS: Final = {"float32": "vec_f32", "int8": "vec_int8", "bit": "vec_bit"}
_ARROW: Final = {
    "text": pa.string(), "integer": pa.int64(), "int": pa.int64(), "float": pa.float64(), "double": pa.float64(),
    "boolean": pa.bool_(), "bool": pa.bool_(), "blob": pa.binary(),
}  # fmt: skip
_BODY: Final = re.compile(r"(?is)\busing\s+vec0\s*\((.*)\)")
_OPTION: Final = re.compile(r"(\w+)\s*=\s*(\d+)")
_COLUMN: Final = re.compile(r"(?is)\+?\s*([a-z]\w*)\s+([a-z]\w*)\s*(?:\[\s*(\d+)\s*\])?(.*)")
_METRIC: Final = re.compile(r"(?i)distance_metric\s*=\s*(\w+)")


@dataclass(frozen=True)
class Table:
    """A vec0 table; names are as SQL writes them.

    Attributes:
        db: the connection.
        collection: its schema.
        name: of the table.
        key: the column of its primary key.
        keys: the table behind this one that has its keys in order, and the column there.
        columns: Arrow types of all columns but the key and the vectors.
        document, metadata: the columns that hold these, where it has them.
    """

    db: apsw.Connection
    collection: Collection
    name: str
    key: str
    keys: tuple[str, str]
    columns: Mapping[str, pa.DataType]
    document: str | None
    metadata: str | None

    @property
    def others(self) -> list[str]:
        """All columns but the key, as a page of rows has them behind it."""
        return [quoted(name) for name in (*(v.name for v in self.collection.vectors), *self.columns)]

    def each(self, statement: str, ids: Iterable[str]) -> list[tuple[Any, ...]]:
        """What a statement gives for all of some ids."""
        keys = ((int(id) if self.collection.id_kind == "int" else id,) for id in ids)
        return self.db.executemany(statement, keys).fetchall()

    def nearest(self, vector: str, query: str, k: int) -> str:
        """The statement that searches."""
        match = f"{quoted(vector)} MATCH {_MARKS[self.collection.vector(vector).dtype]}({query})"
        return f"SELECT {self.key}, distance FROM {self.name} WHERE {match} AND k = {k} ORDER BY distance"


def bodies(db: apsw.Connection) -> dict[str, str]:
    """The vec0 tables of a file, and what stands between the parentheses of their statements."""
    found = db.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table' ORDER BY name")
    return {name: body[1] for name, sql in found if (body := _BODY.search(sql))}


def read(db: apsw.Connection, name: str, place: Place) -> Table:
    """A table; raises ``NotFound`` where there is none."""
    there = bodies(db)
    if name not in there:
        raise places.not_found(name, place.text, there)
    key, kind = "rowid", "int"
    vectors, columns, native = list[VectorField](), dict[str, pa.DataType](), dict[str, Json]()
    for text in map(str.strip, there[name].split(",")):
        option, found = _OPTION.fullmatch(text), _COLUMN.fullmatch(text)
        column, word, dim, rest = found.groups() if found else (text, "", None, "")
        word = word.lower()
        if option:
            native[option[1]] = int(option[2])
        elif dim is not None and word in _DTYPES:
            metric = _METRIC.search(rest)
            named = metric[1].lower() if metric else "hamming" if word == "bit" else "l2"
            shape = "binary" if word == "bit" else "dense"
            vectors.append(VectorField(column, shape, _DTYPES[word], int(dim), named, nullable=False))
        elif word not in _ARROW:
            raise NotRepresentable(f"table {name!r}: the column {text!r} is of no type that is known")
        elif re.search(r"(?i)primary\s+key", rest):
            key, kind = column, "string" if word == "text" else "int"
        else:
            columns[column] = _ARROW[word]
    texts = (place.option(role) or role for role in ("document", "metadata"))
    document, metadata = (column if columns.get(column) == pa.string() else None for column in texts)
    collection = Collection(name, kind, tuple(vectors), native=native)
    keys = quoted(f"{name}_rowids"), "id" if kind == "string" else "rowid"
    return Table(db, collection, quoted(name), quoted(key), keys, columns, document, metadata)


def statement(collection: Collection, place: Place, values: Mapping[str, Json]) -> str:
    """The statement that creates a table for a collection."""
    parts = [f"id {'integer' if collection.id_kind == 'int' else 'text'} primary key"]
    for v in collection.vectors:
        metric = "" if v.kind == "binary" else f" distance_metric={v.metric}"
        parts.append(f"{v.name} {_WORDS[v.dtype]}[{v.dim}]{metric}")
    parts += [f"+{place.option(role) or role} text" for role in ("document", "metadata")]
    parts += [f"{name}={value}" for name, value in values.items()]
    return f"CREATE VIRTUAL TABLE {quoted(collection.name)} USING vec0({', '.join(parts)})"


def described(table: Table, condition: str = "") -> Description:
    """What a session says of a table; ``condition`` selects what is counted."""
    count = int(table.db.execute(f"SELECT count(*) FROM {table.name if condition else table.keys[0]}{condition}").get)
    info, text = f"{table.collection.name}_info", None
    # Tables of old versions have none.
    if table.db.execute("SELECT count(*) FROM sqlite_master WHERE name = ?", (info,)).get:
        text = table.db.execute(f"SELECT value FROM {quoted(info)} WHERE key = ?", (passports.KEY,)).get
    passport, note = passports.read(text, f"the key {passports.KEY!r} of the table {info}")
    version = str(table.db.execute("SELECT vec_version()").get)
    return Description(table.collection, count, passport, version, (note,) if note else ())


def store_passport(table: Table, found: Mapping[str, Json]) -> None:
    """Put the passport there, or remove the one that is there."""
    info = quoted(f"{table.collection.name}_info")
    table.db.execute(f"DELETE FROM {info} WHERE key = ?", (passports.KEY,))
    if found:
        table.db.execute(f"INSERT INTO {info} VALUES (?, ?)", (passports.KEY, passports.text_of(found)))


# ---- records ----


def page(table: Table, rows: Sequence[Sequence[Any]]) -> pa.RecordBatch:
    """Rows of the key and all other columns as a page."""
    key, *rest = zip(*rows, strict=True) if rows else [()] * (1 + len(table.others))
    values = dict(zip([*(v.name for v in table.collection.vectors), *table.columns], rest, strict=True))
    typed = {
        name: pa.array(map(bool, values[name]) if kind == pa.bool_() else values[name], kind)
        for name, kind in table.columns.items()
        if name not in (table.document, table.metadata)
    }
    objects = pa.array(values[table.metadata], pa.string()) if table.metadata else None
    return make_page(
        table.collection,
        ids=[str(k) for k in key],
        documents=values[table.document] if table.document else None,
        metadata=metadata_of(objects, typed, f"the column {table.metadata!r} of table {table.name}"),
        vectors={v.name: blobs.column_of(values[v.name], v, first_bit_low=True) for v in table.collection.vectors},
    )


def insert(table: Table, batch: pa.RecordBatch) -> None:
    """Add the records of a page."""
    named, vectors = table.collection.columns(), table.collection.vectors
    texts = {table.document: batch.column("document"), table.metadata: batch.column("metadata")}
    rows = zip(
        *(blobs.blobs_of(batch.column(named[v.name]), v, first_bit_low=True) for v in vectors),
        *(texts[name].to_pylist() for name in table.columns),
        map(int if table.collection.id_kind == "int" else str, batch.column("id").to_pylist()),
        strict=True,
    )
    marks = [*(f"{_MARKS[v.dtype]}(?)" for v in vectors), *("?" for _ in table.columns), "?"]
    columns = ", ".join([*table.others, table.key])
    table.db.executemany(f"INSERT INTO {table.name} ({columns}) VALUES ({', '.join(marks)})", rows)
