"""What reads as records: a dump, the view of one namespace of it, and whatever else can give them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

import pyarrow as pa

from ..model.collection import Collection
from ..model.profile import Profile
from .manifest import Identity


class Part(Protocol):
    """Records that are read together, as a shard of a dump."""

    @property
    def group_rows(self) -> Sequence[int]:
        """How many records each row group has."""

    def numbered(self, numbers: Iterable[int]) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Yield some row groups with their numbers, whole and checked; those without records may be left out."""


class Records(Protocol):
    """Records of one collection, for operations that only read them."""

    @property
    def url(self) -> str:
        """Where they are, for messages."""

    @property
    def collection(self) -> Collection:
        """Their schema."""

    @property
    def profile(self) -> Profile:
        """What is in them, as it is recorded."""

    @property
    def rows(self) -> int:
        """How many they are."""

    @property
    def identity(self) -> Identity | None:
        """What makes two of them equal; None where it is not recorded."""

    def parts(self) -> Iterator[Part]:
        """Yield what is read one after the other; together it is all of them."""

    def groups(self) -> Iterator[pa.RecordBatch]:
        """Yield all of them, whole, checked, row group by row group, in the order of the parts."""

    def keys(self, columns: Sequence[str] = ...) -> Iterator[pa.RecordBatch]:
        """Yield key and hash columns of all of them; cheap, no vector is read."""
