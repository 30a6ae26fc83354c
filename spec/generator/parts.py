"""How the dumps of the corpus are put together: as the library does it, or by hand where it would refuse."""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from vecport.dump.dump import publish
from vecport.dump.layout import MANIFEST, Cut, parquet_settings, shard_path
from vecport.dump.manifest import Manifest, ShardEntry
from vecport.dump.shard import shard_schema
from vecport.dump.store import LocalStore
from vecport.dump.writer import DumpWriter
from vecport.model import hashes, ids
from vecport.model.collection import Collection
from vecport.model.profile import Profile, profile_page
from vecport.testing.records import Record, batch_of

Json = dict[str, Any]
Groups = Sequence[Sequence[Record]]
#: Row groups by place (partition, sequence).
Shards = Mapping[tuple[int, int], Groups]

#: Shards and row groups stand as they are given.
ONE_SHARD = Cut(1 << 30, 1 << 30)
DUMP_ID = "00000000-0000-4000-8000-000000000000"
CREATED, COMPLETED = "2026-01-02T03:04:05Z", "2026-01-02T03:04:06Z"
SNAPSHOT: Json = {"kind": "snapshot", "count_before": None, "count_after": None}
_CHECKSUM = re.compile(rb',\n "manifest_sha256": "[0-9a-f]{64}"\n\}\n\Z')


@dataclass(frozen=True)
class Expected:
    """What must become of a bad dump.

    Attributes:
        error, exit_code: of opening it; None and 0 where its manifest alone is good.
        rules: of ``validate --level deep`` that fail.
        names: a text that the message has.
    """

    error: str | None = None
    exit_code: int = 0
    rules: tuple[str, ...] = ("manifest",)
    names: str = ""


@dataclass(frozen=True)
class Dump:
    """One dump of the corpus: its files by path, and what it shows."""

    name: str
    about: str
    files: dict[str, bytes]
    manifest: Manifest | None = None
    expected: Expected = field(default_factory=Expected)


def writer_facts() -> dict[str, str]:
    """Fixed but for the version of pyarrow, which decides about bytes."""
    return {"name": "vecport corpus", "version": "1.0", "pyarrow": pa.__version__}


def make_manifest(collection: Collection, entries: Sequence[ShardEntry], **changes: Any) -> Manifest:
    """A manifest with fixed facts."""
    facts: Json = {
        "collection": collection,
        "shards": tuple(entries),
        "dump_id": DUMP_ID,
        "created_at": CREATED,
        "completed_at": COMPLETED,
        "writer": writer_facts(),
        "source": {"system": "corpus", "version": "1.0", "collection": collection.name, "consistency": SNAPSHOT},
        "selection": {"namespaces": [], "where": None, "limit": None},
        "complete": True,
    }
    return Manifest(**(facts | changes))


def written(
    name: str, about: str, collection: Collection, shards: Shards, *, manifest: Json | None = None,
    encodings: str = "default",
) -> Dump:  # fmt: skip
    """A dump that the library writes."""
    with tempfile.TemporaryDirectory() as folder:
        store = LocalStore(folder)
        entries = []
        for (partition, sequence), groups in sorted(shards.items()):
            place = {"partition": partition, "sequence": sequence}
            with DumpWriter(store, collection, ONE_SHARD, **place, encodings=encodings) as writer:
                for records in groups:
                    writer.put(batch_of(records, collection))
                entries += writer.close()
        made = make_manifest(collection, entries, encodings=encodings, **manifest or {})
        publish(store, made)
        files = {path: (Path(folder) / path).read_bytes() for path in store.list()}
    return Dump(name, about, files, made)


def forged_shard(
    groups: Sequence[pa.RecordBatch], collection: Collection, *, schema: pa.Schema | None = None, **settings: Any
) -> bytes:
    """A Parquet file of row groups (with their hash columns) that the library may refuse to write."""
    sink = BytesIO()
    used = parquet_settings(collection) | settings
    with pq.ParquetWriter(sink, schema or shard_schema(collection), **used) as writer:
        for group in groups:
            table = pa.Table.from_batches([group])
            writer.write_table(table.cast(writer.schema), row_group_size=max(1, len(group)))
    return sink.getvalue()


def entry_of(
    data: bytes, batches: Sequence[pa.RecordBatch], collection: Collection, place: tuple[int, int] = (0, 0),
    **changes: Any,
) -> ShardEntry:  # fmt: skip
    """The manifest entry of a shard, with what is asked for changed in it."""
    footer = data[-8 - int.from_bytes(data[-8:-4], "little") :]
    facts: Json = {
        "path": shard_path(*place),
        "rows": sum(map(len, batches)),
        "size_bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "footer_bytes": len(footer),
        "footer_sha256": hashlib.sha256(footer).hexdigest(),
        "groups": tuple(map(len, batches)),
    }
    return ShardEntry(**(facts | _counted(batches, collection, "profile" not in changes) | changes))


def _counted(batches: Sequence[pa.RecordBatch], collection: Collection, profiled: bool) -> Json:
    """Bounds, sum and profile; no profile of records that cannot have one."""
    profile, total, texts = Profile(), 0, []
    for b in batches:
        texts += b.column("id").to_pylist()
        total += hashes.record_sum(b.column("id"), b.column("namespace"), b.column("_vh"), b.column("_mh"))
        if profiled:
            profile.add(profile_page(b, collection))
    low, high = ids.bounds(texts, collection.id_kind) if texts else (None, None)
    return {"id_min": low, "id_max": high, "record_sum": total % 2**128, "profile": profile}


def forged(
    collection: Collection, groups: Sequence[pa.RecordBatch], *, data: bytes | None = None, entry: Json | None = None,
    manifest: Json | None = None, written_as: Collection | None = None, **settings: Any,
) -> dict[str, bytes]:  # fmt: skip
    """The files of a dump of one shard, whose manifest fits it unless something is changed on purpose."""
    data = forged_shard(groups, written_as or collection, **settings) if data is None else data
    made = make_manifest(collection, [entry_of(data, groups, collection, **entry or {})], **manifest or {})
    return {shard_path(0, 0): data, MANIFEST: made.to_bytes()}


def hashed(records: Sequence[Record], collection: Collection) -> pa.RecordBatch:
    """A row group with its hash columns."""
    return hashes.add_hashes(batch_of(records, collection), collection)


# ---- manifests as texts


def with_checksum(body: bytes) -> bytes:
    """A manifest's bytes from what stands before its checksum."""
    return body + b',\n "manifest_sha256": "' + hashlib.sha256(body).hexdigest().encode() + b'"\n}\n'


def body_of(raw: bytes) -> bytes:
    """What stands before a manifest's checksum."""
    found = _CHECKSUM.search(raw)
    assert found is not None
    return raw[: found.start()]


def edited(raw: bytes, old: str, new: str) -> bytes:
    """A manifest with one text in it replaced, and a checksum that fits again."""
    body = body_of(raw)
    assert body.count(old.encode()) == 1, (old, body.count(old.encode()))
    return with_checksum(body.replace(old.encode(), new.encode()))


def changed(raw: bytes, path: Sequence[str | int], value: Any) -> bytes:
    """A manifest with one value in it replaced, and a checksum that fits again."""
    data = json.loads(raw)
    del data["manifest_sha256"]
    place = data
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return with_checksum(json.dumps(data, indent=1, ensure_ascii=False).removesuffix("\n}").encode())


# ---- the file of expectations


def expected_text(good: Sequence[Dump], bad: Sequence[Dump]) -> str:
    """The text of ``corpus/expected.json``."""
    for group in (good, bad):
        assert len({d.name for d in group}) == len(group)
    data = {
        "about": "What a reader must make of the dumps beside this file. good: records and identity. bad: the error and"
        " exit code of opening it (null and 0: the manifest alone is good), the rules of vecport validate --level deep"
        " that fail, and a text that the message names.",
        "generated_with": {"pyarrow": pa.__version__},
        "good": {d.name: _good(d) for d in good},
        "bad": {d.name: _bad(d) for d in bad},
    }
    return json.dumps(data, indent=1, ensure_ascii=True) + "\n"


def _good(dump: Dump) -> Json:
    assert dump.manifest is not None
    return {"about": dump.about, "rows": dump.manifest.rows, "identity": str(dump.manifest.identity),
            "complete": dump.manifest.complete}  # fmt: skip


def _bad(dump: Dump) -> Json:
    e = dump.expected
    return {"about": dump.about, "open": {"error": e.error, "exit_code": e.exit_code}, "rules": list(e.rules),
            "names": e.names}  # fmt: skip
