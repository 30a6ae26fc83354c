"""The manifest: what a dump holds, written last, with a checksum over its own bytes; and its strict parser."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from ..errors import IntegrityError, NotRepresentable, VecportError
from ..limits import DEFAULT_LIMITS, Limits
from ..model.collection import Collection, collection_from_json, collection_to_json
from ..model.profile import Profile
from .layout import ENCODINGS, FORMAT, FORMAT_VERSION, SHARD, shard_path

KNOWN_REQUIRES: frozenset[str] = frozenset()
CONSISTENCIES = ("snapshot", "multi-epoch", "live-scan")
_SHA = re.compile(r"[0-9a-f]{64}\Z")
_SUM = re.compile(r"[0-9a-f]{32}\Z")
_VERSION = re.compile(r"(0|[1-9][0-9]{0,8})\.(0|[1-9][0-9]{0,8})\Z")
_DIGITS = bytes(48 if 48 <= byte < 58 else 32 for byte in range(256))
#: Integers that orjson may not read exactly.
_LONG_NUMBER = re.compile(rb"[\s:,\[](?:[0-9]{20}|-[0-9]{19})")
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
        entry._check()
        return entry

    def _check(self) -> None:
        if sum(self.groups) != self.rows or not all(self.groups):
            raise ValueError(f"{self.path}: row groups of {self.groups[:4]} rows, {self.rows} rows in all")
        if not 0 < self.footer_bytes <= self.size_bytes:
            raise ValueError(f"{self.path}: a footer of {self.footer_bytes} bytes in {self.size_bytes}")
        if (self.id_min is None) != (self.rows == 0) or (self.id_max is None) != (self.rows == 0):
            raise ValueError(f"{self.path}: the bounds of its ids do not go with {self.rows} rows")
        if self.profile.rows != self.rows:
            raise ValueError(f"{self.path}: its profile counts {self.profile.rows} rows, not {self.rows}")


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
        encodings: of its shards: ``default`` or ``plain``.
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
    encodings: str = "default"
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
            "encodings": self.encodings,
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
    # A comma or an opening bracket goes before each; counted before anything is made of them.
    limits.check("manifest_values", sum(map(raw.count, (b",", b"[", b"{"))), where)
    data = strict_json(raw, where, limits)
    limits.check("json_depth", _depth(data), where)
    try:
        _check_version(data, where)
        return _build(data, digest, where, limits)
    except VecportError:
        raise
    except KeyError as e:
        raise _broken(where, f"the field {e} is missing") from e
    except (TypeError, ValueError, AttributeError, ArithmeticError) as e:
        raise _broken(where, f"{e}") from e


def _depth(value: Any) -> int:
    """How deep objects and arrays nest; a loop, as the depth may be beyond what calls can nest."""
    depth, level = 0, [value]
    while level := [v for v in level if isinstance(v, dict | list)]:
        depth += 1
        level = [item for v in level for item in (v.values() if isinstance(v, dict) else v)]
    return depth


def strict_json(raw: bytes, where: str, limits: Limits = DEFAULT_LIMITS) -> dict[str, Any]:
    """Parse a JSON object: no duplicate keys, no NaN or infinity, bounded depth and digits, valid UTF-8."""

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        out = dict(items)
        if len(out) != len(items):
            raise ValueError("a key stands twice in one object")
        return out

    def constant(name: str) -> Any:
        raise ValueError(f"{name} is not JSON")

    def real(token: str) -> float:
        value = float(token)
        if math.isinf(value):
            raise ValueError(f"{token[:40]} is beyond a double")
        return value

    if b"0" * (limits.json_digits + 1) in (digits := raw.translate(_DIGITS)):
        limits.check("json_digits", max(map(len, digits.split())), where)
    fast = _fast_json(raw)
    if fast is not None:
        return fast
    try:
        text = raw.decode("utf-8")
        data = json.loads(text, object_pairs_hook=pairs, parse_constant=constant, parse_float=real)
    except (ValueError, RecursionError) as e:
        raise _broken(where, f"{e}" or "nested too deep") from e
    if not isinstance(data, dict):
        raise _broken(where, "it is not a JSON object")
    return data


def _fast_json(raw: bytes) -> dict[str, Any] | None:
    """What ``strict_json`` would return; None where only the slow way can tell, or something is wrong."""
    if b"\\u003" in raw or _LONG_NUMBER.search(raw):
        return None
    try:
        data = orjson.loads(raw)
        # A key that stood twice took its colon along.
        whole = raw.count(b":") == orjson.dumps(data).count(b":")
    except (ValueError, TypeError):
        return None
    return data if whole and isinstance(data, dict) else None


def _check_version(data: Mapping[str, Any], where: str) -> None:
    version = data.get("format_version")
    if data.get("format") != FORMAT or not isinstance(version, str) or not _VERSION.match(version):
        raise _broken(where, "it does not say that it is a vecport manifest")
    if version.split(".")[0] != FORMAT_VERSION.split(".")[0]:
        raise NotRepresentable(
            f"{where}: format version {version} is not known", f"this release reads {FORMAT_VERSION.split('.')[0]}.x",
            "nothing was written", "use a newer vecport",
        )  # fmt: skip
    unknown = set(_texts(data["requires"])) - KNOWN_REQUIRES
    if unknown:
        raise NotRepresentable(
            f"{where}: the dump requires {', '.join(sorted(unknown))}",
            "this release does not know it and would read the dump wrongly",
            "nothing was written", "use a newer vecport",
        )  # fmt: skip


def _build(data: Mapping[str, Any], digest: str, where: str, limits: Limits) -> Manifest:
    limits.check("shards", len(_list(data["shards"])), where)
    collection = _collection(data["collection"], where)
    _check_collection(collection, where, limits)
    columns = collection.columns()
    for v in data["collection"]["vectors"]:
        if v["column"] != columns[v["name"]]:
            raise ValueError(f"vector {v['name']!r} has the column {v['column']!r}, expected {columns[v['name']]!r}")
    shards = tuple(ShardEntry.from_json(s) for s in data["shards"])
    _check_places(shards)
    limits.check("rows_per_shard", max((s.rows for s in shards), default=0), where)
    manifest = Manifest(
        collection=collection,
        shards=shards,
        dump_id=_text(data["dump_id"]),
        created_at=_text(data["created_at"]),
        completed_at=_text(data["completed_at"]),
        writer=_object(data["writer"]),
        source=_object(data["source"]),
        selection=_object(data["selection"]),
        complete=_bool(data["complete"]),
        encodings=_text(data["encodings"]),
        requires=_texts(data["requires"]),
        sha256=digest,
    )
    limits.check("rows", manifest.rows, where)
    if manifest.encodings not in ENCODINGS or manifest.source["consistency"]["kind"] not in CONSISTENCIES:
        raise ValueError("unknown encodings or consistency")
    if manifest.identity.to_json() != {k: data["identity"].get(k) for k in manifest.identity.to_json()}:
        raise ValueError("the identity does not follow from the shards")
    totals = {"rows": manifest.rows, "bytes": manifest.size_bytes, "shards": len(shards)}
    if totals != {k: data["totals"].get(k) for k in totals}:
        raise ValueError("the totals do not follow from the shards")
    return manifest


def _collection(data: Mapping[str, Any], where: str) -> Collection:
    try:
        return collection_from_json(data)
    except NotRepresentable as e:
        raise NotRepresentable(
            f"{where}: {e.what}", e.why, "nothing was written", "if it is new, use a newer vecport"
        ) from e


def _check_places(shards: tuple[ShardEntry, ...]) -> None:
    """Shards stand in order of partition and sequence, each place has one name, none comes twice."""
    before = (-1, -1)
    for s in shards:
        match = SHARD.match(s.path)
        assert match is not None
        place = int(match[1]), int(match[2])
        if s.path != shard_path(*place):
            raise ValueError(f"{s.path} is not the name of shard {place}")
        if place <= before:
            raise ValueError(f"{s.path} stands twice or out of order")
        before = place


def _check_collection(c: Collection, where: str, limits: Limits) -> None:
    limits.check("vectors", len(c.vectors), where)
    limits.check("fields", len(c.fields or ()) + len(c.key), where)
    for f in (*(c.fields or ()), *c.key):
        limits.check("name_bytes", max(len(f.name.encode()), len(f.type.encode())), where)
    limits.check("name_bytes", len(c.name.encode()), where)
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
        raise ValueError(f"{_shown(value)} is not a count")
    return value


def _bool(value: Any) -> bool:
    if type(value) is not bool:
        raise ValueError(f"{_shown(value)} is not true or false")
    return value


def _match(pattern: re.Pattern[str], value: Any) -> str:
    if not isinstance(value, str) or not pattern.match(value):
        raise ValueError(f"{_shown(value)} does not fit {pattern.pattern}")
    return value


def _shown(value: Any) -> str:
    """A value in a message; of one that may be large, its kind."""
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    text = ascii(value[:61] if isinstance(value, str) else value)
    return text if len(text) <= 60 else f"{text[:60]}..."


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{_shown(value)} is not text")
    return value


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"{_shown(value)} is not a list")
    return value


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(map(_text, _list(value)))


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{_shown(value)} is not an object")
    return value


def _text_or_none(value: Any) -> str | None:
    return None if value is None else _text(value)
