"""The compact protocol of Thrift, as far as Parquet's footers and page headers need it; strict, in bounded steps.

Where Parquet libraries skip a field of an unexpected type or take the last of two, this reader refuses: whoever reads
the same bytes afterwards finds the same values.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

#: Types on the wire.
TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = range(1, 13)
BOOL: Final = frozenset({TRUE, FALSE})
#: What nests deeper is no Parquet.
_MAX_DEPTH: Final = 16
#: A structure in a list counts as so many values: a reader makes room for all of its fields.
_STRUCT_VALUES: Final = 8
_BITS: Final = {I16: 16, I32: 32, I64: 64}


class Malformed(ValueError):
    """Bytes that are not what they should be; the text goes on from a name and a colon."""


class Compact:
    """Reads from a buffer; positions are kept by the reader.

    Args:
        data: the bytes.
        at: where to begin.
        values: how many values may be read, those that are skipped included.
    """

    __slots__ = ("_values", "at", "data")

    def __init__(self, data: memoryview, at: int = 0, values: int = 1 << 20) -> None:
        self.data, self.at, self._values = data, at, values

    def struct(self, known: Mapping[int, tuple[str, object]]) -> dict[str, object]:
        """Read a structure.

        Args:
            known: by field number the name and what it is: a type on the wire, ``BOOL``, or the known fields of a
                structure. Fields that are not in it are skipped.

        Raises:
            Malformed: bytes end too early, a field is of another type, out of order, or out of range.
        """
        found: dict[str, object] = {}
        number = 0
        while (head := self._byte()) != 0:
            number, kind = self._field(head, number), head & 15
            self._spend(1)
            wanted = known.get(number)
            if wanted is None:
                self._skip(kind, 0)
                continue
            name, what = wanted
            if isinstance(what, Mapping):
                if kind != STRUCT:
                    raise Malformed(f"its {name!r} is of type {kind}")
                found[name] = self.struct(what)
            elif what is BOOL:
                if kind not in BOOL:
                    raise Malformed(f"its {name!r} is of type {kind}")
                found[name] = kind == TRUE
            else:
                if kind != what:
                    raise Malformed(f"its {name!r} is of type {kind}")
                found[name] = self._integer(_BITS[kind])
        return found

    def skip_struct(self) -> None:
        """Pass over a structure and count its values."""
        self._skip(STRUCT, 0)

    def _byte(self) -> int:
        try:
            value = self.data[self.at]
        except IndexError:
            raise Malformed("it ends too early") from None
        self.at += 1
        return value

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7
            if shift > 63:
                raise Malformed("it has a number of more than 64 bits")

    def _integer(self, bits: int) -> int:
        raw = self._varint()
        value = (raw >> 1) ^ -(raw & 1)
        if not -(1 << (bits - 1)) <= value < 1 << (bits - 1):
            raise Malformed(f"it has a number of more than {bits} bits")
        return value

    def _field(self, head: int, before: int) -> int:
        number = before + (head >> 4) if head >> 4 else self._integer(16)
        if not before < number < 1 << 15:
            raise Malformed(f"its field {number} stands behind field {before}")
        return number

    def _spend(self, values: int) -> None:
        self._values -= values
        if self._values < 0:
            raise Malformed("it has too many values")

    def _pass(self, size: int) -> None:
        if size > len(self.data) - self.at:
            raise Malformed("it ends too early")
        self.at += size

    def _skip(self, kind: int, depth: int) -> None:
        if kind in BOOL:
            return
        if kind == BYTE:
            self._pass(1)
        elif kind in _BITS:
            self._varint()
        elif kind == DOUBLE:
            self._pass(8)
        elif kind == BINARY:
            self._pass(self._varint())
        elif depth >= _MAX_DEPTH:
            raise Malformed("it nests too deep")
        elif kind == STRUCT:
            number = 0
            while (head := self._byte()) != 0:
                number = self._field(head, number)
                self._spend(1)
                self._skip(head & 15, depth + 1)
        elif kind in (LIST, SET):
            head = self._byte()
            self._items(head >> 4 if head < 240 else self._varint(), (head & 15,), depth)
        elif kind == MAP:
            size = self._varint()
            if size:
                head = self._byte()
                self._items(size, (head >> 4, head & 15), depth)
        else:
            raise Malformed(f"its type {kind} is not known")

    def _items(self, size: int, kinds: tuple[int, ...], depth: int) -> None:
        """Pass over what stands in a list or map; its length alone makes a reader take memory."""
        each = sum(_STRUCT_VALUES if k == STRUCT else 1 for k in kinds)
        if size * len(kinds) > len(self.data) - self.at:
            raise Malformed("it has a list that is longer than the bytes behind it")
        self._spend(size * each)
        for _ in range(size):
            for kind in kinds:
                if kind in BOOL:
                    self._pass(1)
                else:
                    self._skip(kind, depth + 1)
