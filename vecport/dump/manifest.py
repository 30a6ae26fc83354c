"""The manifest: what a dump holds, written last, with a checksum over its own bytes; and its strict parser."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import IntegrityError, NotRepresentable, VecportError
from ..limits import DEFAULT_LIMITS, Limits
from ..model.collection import Collection, collection_from_json, collection_to_json
from ..model.profile import Profile
from .layout import FORMAT, FORMAT_VERSION, PROFILES, SHARD

KNOWN_REQUIRES: frozenset[str] = frozenset()
CONSISTENCIES = ("snapshot", "multi-epoch", "live-scan", "file")
_SHA = re.compile(r"[0-9a-f]{64}\Z")
_SUM = re.compile(r"[0-9a-f]{32}\Z")
_MARKER = b',\n "manifest_sha256": "'


@dataclass(frozen=True, slots=True)
class ShardEntry:
    """One shard: sizes in bytes, checksums in hex.

    Attributes:
        path: relative to the dump, matching ``layout.SHARD``.
        rows: number of records.
        size_bytes, sha256: of the whole file.
        footer_bytes, footer_sha256: of its last bytes, the Parquet footer.
        groups: rows of each row group.
        id_min, id_max: compared by id kind; None in an empty shard.
        record_sum: sum of the record hashes modulo 2^128.
        profile: what is in it.
    """

    path: str
    rows: int
    size_bytes: int
    sha256: str
    footer_bytes: int
    footer_sha256: str
    groups: tuple[int, ...]
    id_min: str | None
    id_max: str | None
    record_sum: int
    profile: Profile

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "path": self.path, "rows": self.rows, "bytes": self.size_bytes, "sha256": self.sha256,
            "footer_bytes": self.footer_bytes, "footer_sha256": self.footer_sha256, "groups": list(self.groups),
            "id_min": self.id_min, "id_max": self.id_max, "record_sum": f"{self.record_sum:032x}",
            "profile": self.profile.to_json(),
        }  # fmt: skip

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ShardEntry:
        """Inverse of ``to_json``; raises ``ValueError``, ``KeyError`` or ``TypeError`` on bad data."""
        groups = tuple(_count(g) for g in data["groups"])
        entry = cls(
            path=_match(SHARD, data["path"]),
            rows=_count(data["rows"]),
            size_bytes=_count(data["bytes"]),
            sha256=_match(_SHA, data["sha256"]),
            footer_bytes=_count(data["footer_bytes"]),
            footer_sha256=_match(_SHA, data["footer_sha256"]),
            groups=groups,
            id_min=_text_or_none(data["id_min"]),
            id_max=_text_or_none(data["id_max"]),
            record_sum=int(_match(_SUM, data["record_sum"]), 16),
            profile=Profile.from_json(data["profile"]),
        )
        if sum(groups) != entry.rows:
            raise ValueError(f"{entry.path}: row groups add up to {sum(groups)}, rows say {entry.rows}")
        if not 0 < entry.footer_bytes <= entry.size_bytes:
            raise ValueError(f"{entry.path}: a footer of {entry.footer_bytes} bytes in {entry.size_bytes}")
        return entry


@dataclass(frozen=True, slots=True)
class Identity:
    """What makes two dumps equal: schema digest, rows, and the sum of the record hashes."""

    schema_digest: str
    rows: int
    record_sum: int

    def __str__(self) -> str:
        return f"vp1-{self.schema_digest[:16]}-{self.rows}-{self.record_sum:032x}"

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {"schema_digest": self.schema_digest, "rows": self.rows, "record_sum": f"{self.record_sum:032x}",
                "text": str(self)}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Manifest:
    """A dump's manifest.

    Attributes:
        collection: the schema.
        shards: in order of partition and sequence.
        dump_id: a random name of this dump.
        created_at, completed_at: UTC, ISO 8601.
        writer: name and version of what wrote it, and of its Parquet library.
        source: ``system``, ``version``, ``collection`` and ``consistency`` (kind, counts before and after, ...).
        selection: what was asked for (namespaces, where, limit, vectors).
        complete: False when the selection left records out; such a dump is no base for a delta.
        profile: ``default`` or ``plain``.
        requires: features a reader must know.
        sha256: of the manifest's bytes before the checksum line; empty until written or read.
    """

    collection: Collection
    shards: tuple[ShardEntry, ...]
    dump_id: str
    created_at: str
    completed_at: str
    writer: Mapping[str, str]
    source: Mapping[str, Any]
    selection: Mapping[str, Any]
    complete: bool
    profile: str = "default"
    requires: tuple[str, ...] = ()
    sha256: str = field(default="", compare=False)

    @property
    def rows(self) -> int:
        """Records in the dump."""
        return sum(s.rows for s in self.shards)

    @property
    def size_bytes(self) -> int:
        """Bytes of all shards."""
        return sum(s.size_bytes for s in self.shards)

    @property
    def identity(self) -> Identity:
        """The dump's identity, from the recorded sums."""
        total = sum(s.record_sum for s in self.shards) & ((1 << 128) - 1)
        return Identity(self.collection.digest(), self.rows, total)

    def total_profile(self) -> Profile:
        """The sum of the shards' profiles."""
        total = Profile()
        for s in self.shards:
            total.add(s.profile)
        return total

    def to_bytes(self) -> bytes:
        """The file's bytes; the last line before the closing brace is the SHA-256 of everything above it."""
        data = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "requires": list(self.requires),
            "dump_id": self.dump_id,
            "created_at": self.created_at,
            "completed_at": self.completed_at,
            "writer": dict(self.writer),
            "source": dict(self.source),
            "selection": dict(self.selection),
            "complete": self.complete,
            "profile": self.profile,
            "collection": collection_to_json(self.collection),
            "identity": self.identity.to_json(),
            "totals": {"rows": self.rows, "bytes": self.size_bytes, "shards": len(self.shards)},
            "shards": [s.to_json() for s in self.shards],
        }
        text = json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False)
        body = text.removesuffix("\n}").encode()
        return body + _MARKER + hashlib.sha256(body).hexdigest().encode() + b'"\n}\n'


def parse_manifest(raw: bytes, where: str, limits: Limits = DEFAULT_LIMITS) -> Manifest:
    """Parse and check a manifest's bytes.

    Args:
        raw: the file.
        where: the dump's location, for messages.
        limits: bounds for foreign input.

    Raises:
        IntegrityError: broken JSON, a wrong checksum, a value outside the format or its bounds.
        NotRepresentable: a later format version or an unknown entry in ``requires``.
    """
    limits.check("manifest_bytes", len(raw), where)
    body, marker, tail = raw.rpartition(_MARKER)
    if not marker or not re.fullmatch(rb'[0-9a-f]{64}"\n\}\n', tail):
        raise _broken(where, "it does not end with its own checksum")
    digest = hashlib.sha256(body).hexdigest()
    if digest.encode() != tail[:64]:
        raise _broken(where, "its own checksum does not fit: it was changed or damaged")
    data = strict_json(raw, where)
    _check_version(data, where)
    try:
        return _build(data, digest, where, limits)
    except VecportError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as e:
        raise _broken(where, f"{type(e).__name__}: {e}") from e


def strict_json(raw: bytes, where: str) -> dict[str, Any]:
    """Parse a JSON object: no duplicate keys, no NaN, bounded depth, valid UTF-8."""

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        out = dict(items)
        if len(out) != len(items):
            raise ValueError("a key stands twice in one object")
        return out

    def constant(name: str) -> Any:
        raise ValueError(f"{name} is not JSON")

    try:
        data = json.loads(raw.decode("utf-8"), object_pairs_hook=pairs, parse_constant=constant)
    except (ValueError, RecursionError) as e:
        raise _broken(where, f"{e}" or "nested too deep") from e
    if not isinstance(data, dict):
        raise _broken(where, "it is not a JSON object")
    return data


def _check_version(data: Mapping[str, Any], where: str) -> None:
    version = data.get("format_version")
    if data.get("format") != FORMAT or not isinstance(version, str):
        raise _broken(where, "it does not say that it is a vecport manifest")
    if version.split(".")[0] != FORMAT_VERSION.split(".")[0]:
        raise NotRepresentable(
            f"{where}: format version {version} is not known", f"this release reads {FORMAT_VERSION.split('.')[0]}.x",
            "nothing was written", "upgrade: pip install -U vecport",
        )  # fmt: skip
    unknown = set(data.get("requires", ())) - KNOWN_REQUIRES
    if unknown:
        raise NotRepresentable(
            f"{where}: the dump requires {', '.join(sorted(map(str, unknown)))}",
            "this release does not know it and would read the dump wrongly",
            "nothing was written", "upgrade: pip install -U vecport",
        )  # fmt: skip


def _build(data: Mapping[str, Any], digest: str, where: str, limits: Limits) -> Manifest:
    limits.check("shards", len(data["shards"]), where)
    collection = collection_from_json(data["collection"])
    _check_collection(collection, where, limits)
    columns = collection.columns()
    for v in data["collection"]["vectors"]:
        if v["column"] != columns[v["name"]]:
            raise ValueError(f"vector {v['name']!r} has the column {v['column']!r}, expected {columns[v['name']]!r}")
    shards = tuple(ShardEntry.from_json(s) for s in data["shards"])
    if len({s.path for s in shards}) != len(shards):
        raise ValueError("a shard stands twice")
    for s in shards:
        limits.check("rows_per_shard", s.rows, f"{where}/{s.path}")
    manifest = Manifest(
        collection=collection,
        shards=shards,
        dump_id=str(data["dump_id"]),
        created_at=str(data["created_at"]),
        completed_at=str(data["completed_at"]),
        writer=dict(data["writer"]),
        source=dict(data["source"]),
        selection=dict(data["selection"]),
        complete=_bool(data["complete"]),
        profile=str(data["profile"]),
        requires=tuple(data["requires"]),
        sha256=digest,
    )
    limits.check("rows", manifest.rows, where)
    if manifest.profile not in PROFILES or manifest.source["consistency"]["kind"] not in CONSISTENCIES:
        raise ValueError("unknown profile or consistency")
    if manifest.identity.to_json() != {k: data["identity"].get(k) for k in manifest.identity.to_json()}:
        raise ValueError("the identity does not follow from the shards")
    totals = {"rows": manifest.rows, "bytes": manifest.size_bytes, "shards": len(shards)}
    if totals != {k: data["totals"].get(k) for k in totals}:
        raise ValueError("the totals do not follow from the shards")
    return manifest


def _check_collection(c: Collection, where: str, limits: Limits) -> None:
    limits.check("vectors", len(c.vectors), where)
    limits.check("fields", len(c.fields or ()) + len(c.key), where)
    for v in c.vectors:
        limits.check("name_bytes", len(v.name.encode()), where)
        limits.check("dim", v.dim or 0, where)
        if v.dim is not None and v.dim < 1:
            raise ValueError(f"vector {v.name!r} has {v.dim} dimensions")


def _broken(where: str, why: str) -> IntegrityError:
    return IntegrityError(
        f"{where}: the manifest cannot be trusted", why, "nothing was written",
        "copy the dump again from where it was made, or export again",
    )  # fmt: skip


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r} is not a count")
    return value


def _bool(value: Any) -> bool:
    if type(value) is not bool:
        raise ValueError(f"{value!r} is not true or false")
    return value


def _match(pattern: re.Pattern[str], value: Any) -> str:
    if not isinstance(value, str) or not pattern.match(value):
        raise ValueError(f"{value!r} does not fit {pattern.pattern}")
    return value


def _text_or_none(value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{value!r} is not text")
    return value
