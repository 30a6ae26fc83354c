"""Bounds on everything read from a dump: a dump may come from a stranger.

Every bound can be raised by the user: ``--max NAME=VALUE`` on the command line, ``limits=`` in Python.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from .errors import IntegrityError, UsageError

#: Records that an export may leave out as unreadable. They are held in memory until its end, in every worker too.
MAX_REJECTS = 100_000


#: What a row group may become in memory, and the texts of a shard in all, however few bytes it has in the file.
UNPACKED_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Limits:
    """Upper bounds for foreign input; sizes in bytes, the rest are counts.

    Attributes:
        manifest_values: keys and values in a manifest; each takes some hundred bytes while it is parsed.
        footer_values: values in the footer of a shard; a structure in a list counts as eight.
        pages: of a shard.
        unpacked_ratio: bytes in memory for each byte in the file, of what is larger than ``UNPACKED_BYTES``.
        json_digits: of a number in a manifest or in metadata.
    """

    manifest_bytes: int = 64 << 20
    manifest_values: int = 750_000
    json_depth: int = 128
    json_digits: int = 4_000
    shards: int = 1_000_000
    rows: int = 10_000_000_000
    rows_per_shard: int = 4_194_304
    group_bytes: int = 1 << 30
    dim: int = 65_536
    sparse_dim: int = 1 << 32
    vectors: int = 256
    fields: int = 4_096
    name_bytes: int = 1_024
    id_bytes: int = 65_536
    metadata_bytes: int = 16 << 20
    document_bytes: int = 64 << 20
    footer_bytes: int = 64 << 20
    footer_values: int = 1_000_000
    pages: int = 32_768
    unpacked_ratio: int = 200

    def check(self, name: str, value: int, where: str) -> None:
        """Raise ``IntegrityError`` when ``value`` is above the bound ``name``; the message names the flag."""
        bound = getattr(self, name)
        if value > bound:
            raise IntegrityError(
                f"{where}: {name} is {value:,}, above the limit of {bound:,}",
                why="a dump from elsewhere may be made to exhaust this machine, so everything read is bounded",
                safe="nothing was written",
                next=f"if you trust this dump, raise the bound: --max {name}={value}",
            )

    def check_unpacked(self, unpacked: int, packed: int, where: str) -> None:
        """Raise ``IntegrityError`` when few bytes become very many.

        Args:
            unpacked: bytes in memory.
            packed: bytes in the file.
            where: the file, for the message.
        """
        if unpacked > UNPACKED_BYTES:
            self.check("unpacked_ratio", -(-unpacked // max(1, packed)), where)

    def with_overrides(self, overrides: dict[str, int]) -> Limits:
        """Return a copy with some bounds replaced; unknown names raise ``UsageError``."""
        known = {f.name for f in fields(self)}
        for name in overrides:
            if name not in known:
                raise UsageError(f"unknown limit {name!r}", next=f"one of: {', '.join(sorted(known))}")
        return replace(self, **overrides)


DEFAULT_LIMITS = Limits()
