"""The lines of a JSON Lines file: taken apart, read into columns, and spelled.

A line is lexed into its top-level members, and every member is read by the parser that keeps it whole: metadata by
``canonical``, vectors by orjson where a line has nothing but digits, ids digit by digit. So no number is rounded, no
key merged and no literal replaced on the way.
"""

from __future__ import annotations

import re
from base64 import b64encode
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa

from ...errors import IntegrityError, NotRepresentable, UsageError, VecportError
from ...model import canonical, ids
from ...model.collection import Collection, VectorField

Array = npt.NDArray[Any]

#: Other spellings of the members, on reading.
ALIASES: Final = {
    "_id": "id", "values": "vector", "embedding": "vector", "vectors": "vector", "embeddings": "vector",
    "text": "document", "payload": "metadata",
}  # fmt: skip
MEMBERS: Final = ("id", "namespace", "vector", "document", "metadata")
#: Names that a vector cannot have where vectors are named: they mark the sparse and the binary form.
FORM_NAMES: Final = frozenset({"indices", "values", "bits"})

STRING: Final = rb'"[^"\\]*(?:\\.[^"\\]*)*"'
_KEY: Final = re.compile(rb"[ \t\r\n]*(" + STRING + rb")[ \t\r\n]*:[ \t\r\n]*", re.DOTALL)
_PLAIN: Final = re.compile(STRING + rb'|[^\[\]{}", \t\r\n]+', re.DOTALL)
_TOKEN: Final = re.compile(STRING + rb"|[\[\]{}]", re.DOTALL)
_NEXT: Final = re.compile(rb"[ \t\r\n]*([,}])")
BLANK: Final = b" \t\r\n"
# A user's key $vp may be spelled with escapes; without one of these it stands there as it is.
_TAG_HINT: Final = re.compile(rb"\$vp|\\u00(?:24|76|56|70|50)")
# Floats whose shortest digits, read as a double first, round to the neighbour.
_TWICE_ROUNDED: Final = np.array([0x15AE43FD], np.uint32)


class BadLine(Exception):
    """What is wrong with a line; whoever knows file and line number turns it into an error."""

    def __init__(self, what: str, why: str = "", next: str = "", kind: type[VecportError] = IntegrityError) -> None:
        super().__init__(what)
        self.what, self.why, self.next, self.kind = what, why, next, kind


@dataclass(frozen=True, slots=True)
class Grammar:
    """How lines are read.

    Attributes:
        ids: ``member`` or ``position``.
        extra_keys: ``refuse`` or ``metadata``.
        tags: ``read`` or ``literal``.
    """

    ids: str = "member"
    extra_keys: str = "refuse"
    tags: str = "read"


@dataclass(slots=True)
class Record:
    """One line: everything but the vectors is read, these are still text."""

    id: str
    id_kind: str
    namespace: str
    document: str | None
    metadata: str
    vectors: dict[str, bytes] = field(default_factory=dict)


# ---- lexing ----


def split_object(text: bytes) -> list[tuple[str, bytes]]:
    """Take a JSON object apart.

    Args:
        text: the object; what its values hold is not looked at.

    Returns:
        Key and raw value of each member, in order.

    Raises:
        BadLine: it is not an object, or a key comes twice.
    """
    pos = len(text) - len(text.lstrip(BLANK))
    if text[pos : pos + 1] != b"{":
        raise BadLine("it is not a JSON object")
    out: list[tuple[str, bytes]] = []
    pos += 1
    if text[pos:].strip(BLANK) == b"}":
        return out
    while True:
        key = _KEY.match(text, pos)
        if key is None:
            raise BadLine(f"it is not JSON: a key was expected at byte {pos + 1}")
        end = _value_end(text, key.end())
        out.append((read_string(key[1], "a key"), text[key.end() : end]))
        after = _NEXT.match(text, end)
        if after is None:
            raise BadLine(f"it is not JSON: a comma or brace was expected at byte {end + 1}")
        pos = after.end()
        if after[1] == b"}":
            break
    if text[pos:].strip(BLANK):
        raise BadLine(f"something follows the object at byte {pos + 1}")
    names = [k for k, _ in out]
    if len(set(names)) != len(names):
        twice = next(k for k in names if names.count(k) > 1)
        raise BadLine(f"the key {twice!r} comes twice", kind=NotRepresentable)
    return out


def _value_end(text: bytes, pos: int) -> int:
    if text[pos : pos + 1] == b"[":
        # A flat list of numbers, most of every line; ``find`` is several times faster than an expression.
        end = text.find(b"]", pos) + 1
        if end and max(text.find(c, pos + 1, end) for c in (b"[", b"{", b'"')) < 0:
            return end
    plain = _PLAIN.match(text, pos)
    if plain is not None:
        return plain.end()
    depth = 0
    for token in _TOKEN.finditer(text, pos):
        mark = token[0]
        if mark in (b"{", b"["):
            depth += 1
        elif mark in (b"}", b"]"):
            depth -= 1
            if depth <= 0:
                return token.end()
    raise BadLine(f"it is not JSON: the value at byte {pos + 1} does not end")


def read_string(raw: bytes, what: str) -> str:
    """The text of a JSON string; raises ``BadLine`` when it is none, or holds lone surrogates."""
    try:
        value = orjson.loads(raw)
    except ValueError as e:
        raise BadLine(f"{what} is not a string that UTF-8 can hold", str(e).split(":")[0]) from None
    if not isinstance(value, str):
        raise BadLine(f"{what} is not a string")
    return value


# ---- one line ----


def read_record(line: bytes, row: int, grammar: Grammar) -> Record:
    """Read one line.

    Args:
        line: without its line end.
        row: how many records precede it.
        grammar: the choices of the user.

    Raises:
        BadLine: it cannot be read whole.
    """
    known: dict[str, bytes] = {}
    spelled: dict[str, str] = {}
    extra: list[tuple[str, bytes]] = []
    for key, raw in split_object(line):
        name = ALIASES.get(key, key)
        if name not in MEMBERS:
            extra.append((key, raw))
        elif name in known:
            raise BadLine(
                f"it has both {spelled[name]!r} and {key!r}", f"both spell the member {name!r}", kind=UsageError
            )
        else:
            known[name], spelled[name] = raw, key
    text, kind = _read_id(known.get("id"), row, grammar)
    document = known.get("document", b"null")
    return Record(
        id=text,
        id_kind=kind,
        namespace=""
        if known.get("namespace", b"null") == b"null"
        else read_string(known["namespace"], "its namespace"),
        document=None if document == b"null" else read_string(document, "its document"),
        metadata=_read_metadata(known.get("metadata"), extra, grammar),
        vectors=_read_vectors(known.get("vector", b"null")),
    )


def _read_id(raw: bytes | None, row: int, grammar: Grammar) -> tuple[str, str]:
    if grammar.ids == "position":
        if raw is not None:
            raise BadLine("it has an id", "ids=position is for files without ids", "leave ids=position out", UsageError)
        return str(row), "position"
    if raw is None or raw == b"null":
        raise BadLine("it has no id", "every record needs one", "number the records: ids=position", UsageError)
    if raw[:1] == b'"':
        return read_string(raw, "its id"), "string"
    if raw[:1] == b"{":
        members = split_object(raw)
        if len(members) == 1 and members[0][0] == "uuid":
            text = read_string(members[0][1], "its id")
            if ids.kind_of(text) == "uuid":
                return text, "uuid"
    token = raw.decode("utf-8", "replace")
    if ids.kind_of(token) == "int":
        return token, "int"
    raise BadLine(f"its id is {token[:40]}", "an id is a string or an integer", kind=NotRepresentable)


def _read_metadata(raw: bytes | None, extra: list[tuple[str, bytes]], grammar: Grammar) -> str:
    if extra and grammar.extra_keys != "metadata":
        raise BadLine(
            f"its member {extra[0][0]!r} is not known",
            f"members are {', '.join(MEMBERS)}",
            "to take other members as metadata: extra-keys=metadata",
            UsageError,
        )
    text = "{}" if raw is None or raw == b"null" else _canonical(raw, "its metadata", grammar)
    if text[0] != "{" or (text.startswith('{"$vp":') and not isinstance(canonical.loads(text), dict)):
        raise BadLine("its metadata is not a JSON object")
    if not extra:
        return text
    merged = canonical.loads(text)
    for key, value in extra:
        if key in merged:
            raise BadLine(f"the key {key!r} is a member and in the metadata", kind=NotRepresentable)
        merged[key] = canonical.loads(_canonical(value, f"its member {key!r}", grammar))
    return canonical.dumps(merged)


def _canonical(raw: bytes, what: str, grammar: Grammar) -> str:
    """Canonical JSON of a value of the file, in which tags are understood unless the user says that there are none."""
    try:
        if grammar.tags == "read" and _TAG_HINT.search(raw):
            return canonical.dumps(canonical.loads(raw))
        return canonical.canonicalise_text(raw)
    except IntegrityError as e:
        hint = "if $vp is a key of your own: tags=literal" if "$vp" in e.what else ""
        raise BadLine(f"{what}: {e.what}", e.why, hint) from None
    except NotRepresentable as e:
        raise BadLine(f"{what}: {e.what}", e.why, kind=NotRepresentable) from None


def _read_vectors(raw: bytes) -> dict[str, bytes]:
    """Raw text by vector name; null and absent ones are left out."""
    if raw == b"null":
        return {}
    if raw[:1] != b"{":
        return {"": raw}
    members = dict(split_object(raw))
    if form_of(members) != "named":
        return {"": raw}
    return {name: text for name, text in members.items() if text != b"null"}


def form_of(members: dict[str, bytes]) -> str:
    """Whether an object is a ``sparse`` or ``binary`` vector, or ``named`` vectors."""
    if members.keys() == {"indices", "values"}:
        return "sparse"
    return "binary" if members.keys() == {"bits"} else "named"


def kind_of(raw: bytes) -> str:
    """The vector kind that a raw value spells; ``empty`` for ``[]``, which only a multi vector can be."""
    if raw[:1] == b"[":
        inner = raw[1:].lstrip(BLANK)
        return "multi" if inner[:1] == b"[" else "empty" if inner[:1] == b"]" else "dense"
    form = form_of(dict(split_object(raw))) if raw[:1] == b"{" else "named"
    if form == "named":
        raise BadLine("a vector is neither a list nor an object with indices and values, or bits")
    return form


# ---- spelling ----


def spell_lines(batch: pa.RecordBatch, collection: Collection) -> bytes:
    """Spell a page as lines, each with its line end.

    Floats have the shortest digits of their dtype; NaN and the infinities are the tags of canonical JSON, a NaN with
    other bits the tag of its bytes.
    """
    columns = collection.columns()
    vectors = {v.name: _spell_column(batch.column(columns[v.name]), v) for v in collection.vectors}
    texts = zip(
        batch.column("id").to_pylist(),
        batch.column("namespace").to_pylist(),
        batch.column("document").to_pylist(),
        batch.column("metadata").to_pylist(),
        _join_vectors(vectors, batch.num_rows),
        strict=True,
    )
    out = []
    for id_, namespace, document, metadata, vector in texts:
        parts = [b'{"id":' + spell_id(str(id_), collection.id_kind)]
        if namespace:
            parts.append(b'"namespace":' + orjson.dumps(namespace))
        if vector is not None:
            parts.append(b'"vector":' + vector)
        if document is not None:
            parts.append(b'"document":' + orjson.dumps(document))
        if metadata != "{}":
            parts.append(b'"metadata":' + str(metadata).encode())
        out.append(b",".join(parts) + b"}\n")
    return b"".join(out)


def spell_id(text: str, kind: str) -> bytes:
    """The JSON of an id: integers as numbers, a UUID among other texts as ``{"uuid": ...}``, the rest as strings."""
    if kind == "tagged":
        text, kind = ids.untagged(text)
        if kind == "uuid":
            return b'{"uuid":' + orjson.dumps(text) + b"}"
    elif kind == "int|uuid":
        kind = ids.kind_of(text)
    return text.encode() if kind in ("int", "position") else orjson.dumps(text)


def _join_vectors(columns: dict[str, list[bytes | None]], rows: int) -> list[bytes | None]:
    if list(columns) == [""]:
        return columns[""]
    names = {name: orjson.dumps(name) + b":" for name in columns}
    out: list[bytes | None] = []
    for i in range(rows):
        parts = [names[n] + text for n, c in columns.items() if (text := c[i]) is not None]
        out.append(b"{" + b",".join(parts) + b"}" if parts else None)
    return out


def _spell_column(column: Any, field: VectorField) -> list[bytes | None]:
    valid = np.asarray(column.is_valid()).tolist()
    present = column.drop_null()
    if field.kind == "dense":
        texts = _spell_rows(_matrix(present, field))
    elif field.kind == "binary":
        texts = [_spell_bits(v.as_py(), field.dim or 0) for v in present]
    elif field.kind == "multi":
        rows = iter(_spell_rows(_matrix(present.flatten(), field)))
        texts = [b"[" + b",".join(next(rows) for _ in range(n)) + b"]" for n in present.value_lengths().to_pylist()]
    else:
        texts = [
            b'{"indices":' + orjson.dumps(v["indices"].as_py()) + b',"values":'
            + _spell_rows(v["values"].values.to_numpy(zero_copy_only=False)[None, :])[0] + b"}"
            for v in present
        ]  # fmt: skip
    given = iter(texts)
    return [next(given) if v else None for v in valid]


def _matrix(rows: Any, field: VectorField) -> Array:
    flat = rows.flatten().to_numpy(zero_copy_only=False)
    return np.ascontiguousarray(flat).reshape(len(rows), field.dim or 0)


def _spell_rows(matrix: Array) -> list[bytes]:
    dump, numpy = orjson.dumps, orjson.OPT_SERIALIZE_NUMPY
    if matrix.dtype.kind != "f":
        return [dump(row, option=numpy) for row in matrix]
    odd = ~np.isfinite(matrix)
    if matrix.dtype == np.float32:
        odd |= np.isin(matrix.view(np.uint32) & 0x7FFF_FFFF, _TWICE_ROUNDED)
    flags: Any = odd.any(axis=1).tolist()
    return [_spell_odd(row) if o else dump(row, option=numpy) for row, o in zip(matrix, flags, strict=True)]


def _spell_odd(row: Array) -> bytes:
    """A row with elements for which shortest digits do not do."""
    quiet = np.array([np.nan], row.dtype).tobytes()
    out = []
    for element in row:
        value, raw = float(element), element.tobytes()
        if value != value and raw != quiet:
            out.append(b'{"$vp":{"bytes":"' + b64encode(raw) + b'"}}')
        else:
            # A double's digits are exact for a float32 too.
            out.append(canonical.spell_float(value).encode())
    return b"[" + b",".join(out) + b"]"


def _spell_bits(packed: bytes, dim: int) -> bytes:
    bits = np.unpackbits(np.frombuffer(packed, np.uint8), count=dim) + ord("0")
    return b'{"bits":"' + bits.astype(np.uint8).tobytes() + b'"}'
