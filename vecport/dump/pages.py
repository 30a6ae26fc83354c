"""What the pages of a column chunk claim, read from their headers and added up before a page is decoded.

A page's header decides how much memory a reader takes for it, and the footer says nothing of it that must be true.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from .thrift import BOOL, I32, Compact, Malformed

_PLAIN, _DELTA_BINARY_PACKED, _BYTE_STREAM_SPLIT = 0, 5, 9
_DICTIONARIES: Final = frozenset({2, 8})
_NUMBERS: Final = frozenset({_PLAIN, _DELTA_BINARY_PACKED, _BYTE_STREAM_SPLIT}) | _DICTIONARIES
#: Names in a footer of the encodings that columns may have; levels are RLE or BIT_PACKED.
_LEVEL_NAMES: Final = frozenset({"RLE", "BIT_PACKED"})
TEXT_NAMES: Final = _LEVEL_NAMES | {"PLAIN"}
NUMBER_NAMES: Final = TEXT_NAMES | {
    "DELTA_BINARY_PACKED", "BYTE_STREAM_SPLIT", "PLAIN_DICTIONARY", "RLE_DICTIONARY",
}  # fmt: skip
_DATA, _DICTIONARY, _DATA_V2 = 0, 2, 3
_HEADER: Final[dict[int, tuple[str, object]]] = {
    1: ("type", I32),
    2: ("unpacked", I32),
    3: ("packed", I32),
    5: ("data", {1: ("values", I32), 2: ("encoding", I32)}),
    7: ("dictionary", {1: ("values", I32), 2: ("encoding", I32)}),
    8: (
        "data_v2",
        {1: ("values", I32), 4: ("encoding", I32), 5: ("definition", I32), 6: ("repetition", I32), 7: ("packed", BOOL)},
    ),
}
#: A header holds some numbers and the bounds of a page's values.
_HEADER_VALUES: Final = 1_000


@dataclass(frozen=True, slots=True)
class Chunk:
    """A column chunk as the footer describes it.

    Attributes:
        column: path of the leaf.
        start, size: of its bytes in the file.
        values: how many, nulls and empty lists included.
        unpacked: bytes of its pages, decompressed.
        width: bytes of a decoded value; 0 for texts.
        nested: within lists.
    """

    column: str
    start: int
    size: int
    values: int
    unpacked: int
    width: int
    nested: bool

    @property
    def memory(self) -> int:
        """Bytes of its values as Arrow holds them while it decodes them, at most."""
        if not self.width:
            return self.unpacked + 4 * self.values
        # Beside a value that is nested: two levels of two bytes, and an offset.
        return self.values * (self.width + 8 if self.nested else self.width)


def check_pages(chunk: Chunk, data: memoryview, most: int) -> int:
    """Look at all page headers of a chunk.

    Args:
        chunk: what the footer says.
        data: its bytes.
        most: pages that it may have.

    Returns:
        How many pages there are.

    Raises:
        Malformed: the pages are more, or become more, than the footer says; or one is of an encoding that the column
            may not have.
    """
    at = pages = values = unpacked = 0
    dictionary = False
    # A reader stops where it has all values.
    while values < chunk.values:
        compact = Compact(data, at, _HEADER_VALUES)
        header: dict[str, Any] = compact.struct(_HEADER)
        pages += 1
        if pages > most:
            raise Malformed(f"column {chunk.column!r} has more than {most:,} pages")
        body = compact.at
        at = body + _count(header, "packed")
        if at > len(data):
            raise Malformed(f"a page of column {chunk.column!r} ends behind its chunk")
        unpacked += _count(header, "unpacked")
        if unpacked > chunk.unpacked:
            raise Malformed(
                f"the pages of column {chunk.column!r} hold more than the {chunk.unpacked:,} bytes that the footer says"
            )
        if header.get("type") == _DICTIONARY:
            _check_dictionary(chunk, header, first=pages == 1)
            dictionary = True
        else:
            values += _check_data(chunk, header, dictionary)
    if values != chunk.values:
        raise Malformed(f"the pages of column {chunk.column!r} have more values than the footer says")
    return pages


def _check_dictionary(chunk: Chunk, header: dict[str, Any], *, first: bool) -> None:
    if not chunk.width:
        raise Malformed(f"there is a dictionary in column {chunk.column!r}, where the format has none")
    if not first:
        raise Malformed(f"there is a dictionary behind other pages in column {chunk.column!r}")
    if _count(header.get("dictionary", {}), "values") * chunk.width > header["unpacked"]:
        raise Malformed(f"the dictionary of column {chunk.column!r} has more values than bytes for them")


def _check_data(chunk: Chunk, header: dict[str, Any], dictionary: bool) -> int:
    """Check the header of a data page; returns its values."""
    kind = {_DATA: "data", _DATA_V2: "data_v2"}.get(header.get("type", -1))
    if kind is None:
        raise Malformed(f"there is a page of an unknown type in column {chunk.column!r}")
    page = header.get(kind, {})
    encoding = page.get("encoding")
    if encoding not in (_NUMBERS if chunk.width else (_PLAIN,)) or (encoding in _DICTIONARIES and not dictionary):
        what = "a hidden dictionary" if encoding in _DICTIONARIES else f"encoding {encoding}"
        raise Malformed(f"there is {what} in column {chunk.column!r}, where the format has none")
    if kind == "data_v2" and _count(page, "definition") + _count(page, "repetition") > header["unpacked"]:
        raise Malformed(f"the levels of a page of column {chunk.column!r} are longer than the page")
    values = _count(page, "values")
    if not values:
        raise Malformed(f"there is a page without values in column {chunk.column!r}")
    return values


def _count(found: dict[str, Any], name: str) -> int:
    value = found.get(name)
    if type(value) is not int or value < 0:
        raise Malformed(f"a page header has no sound {name!r}")
    return value
