"""The journal: what is durable is found again, and what is half there is not taken for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.dump.small import COLLECTION, write_shards
from vecport.dump.journal import Durable, Journal, Run
from vecport.dump.manifest import ShardEntry
from vecport.dump.store import LocalStore
from vecport.errors import IntegrityError

RUN = Run(
    fingerprint={"place": "memory:x", "cut": [10, 20]}, collection=COLLECTION, native=COLLECTION, passport=None,
    token={"snapshot": 1}, partitions=3, count_before=60, dump_id="d",
    created_at="2026-01-02T03:04:05Z", epochs=2, source={"system": "memory"},
)  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    made = LocalStore(str(tmp_path / "dump"))
    made.prepare()
    return made


def durable(entry: ShardEntry, number: int, **more: Any) -> Durable:
    facts: dict[str, Any] = {
        "cursor": {"cursor": [1, "é"], "key": ["", "a"]},
        "done": False,
        "missing": (("", "gone"),),
    }
    return Durable(number, 0, entry, **(facts | more))


def filled(store: LocalStore) -> Journal:
    journal = Journal(store)
    journal.begin(RUN)
    for number, entry in enumerate(write_shards(store)):
        journal.add(durable(entry, number))
    return journal


def test_what_is_recorded_reads_back(store: LocalStore) -> None:
    assert Journal(store).run() is None
    assert Journal(store).durable() == {}
    journal = filled(store)
    assert journal.run() == RUN
    found = Journal(store).durable()
    assert sorted(found) == [0, 1, 2]
    assert found[1] == [durable(found[1][0].entry, 1)]


def test_a_gap_ends_a_partition(store: LocalStore) -> None:
    journal = filled(store)
    entry = journal.durable()[0][0].entry
    for sequence in (1, 3):
        path = f"data/part-00000-{sequence:05d}.parquet"
        moved = ShardEntry.from_json(entry.to_json() | {"path": path})
        journal.add(Durable(0, sequence, moved, None, False))
    assert [d.sequence for d in journal.durable()[0]] == [0, 1]


@pytest.mark.parametrize("content", [b"", b"{", b'{"partition": 0}'])
def test_the_temporary_file_of_a_killed_run_is_no_record(content: bytes, store: LocalStore) -> None:
    journal = filled(store)
    before = journal.durable()
    store.put(".vecport/shards/.tmp-0123-part-00001-00000.json", content)
    assert journal.durable() == before
    journal.sweep({d.entry.path for items in before.values() for d in items})
    assert not [p for p in store.list() if ".tmp-" in p]
    assert journal.durable() == before


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"partition": 0, "sequence": 0, "entry": [], "missing": []}'])
def test_a_damaged_record_is_no_traceback(content: str, store: LocalStore) -> None:
    journal = filled(store)
    store.put(".vecport/shards/part-00001-00000.json", content.encode())
    with pytest.raises(IntegrityError, match="part-00001"):
        journal.durable()
    store.put(".vecport/export.json", content.encode())
    with pytest.raises(IntegrityError, match="export"):
        journal.run()


def test_every_field_of_a_run_is_needed(store: LocalStore) -> None:
    filled(store)
    whole = json.loads(store.read(".vecport/export.json", 1 << 20))
    for name in whole:
        store.put(".vecport/export.json", json.dumps({k: v for k, v in whole.items() if k != name}).encode())
        with pytest.raises(IntegrityError, match="cannot be read") as caught:
            Journal(store).run()
        assert "--overwrite" in caught.value.next


def test_forgetting_sweeping_and_clearing(store: LocalStore) -> None:
    journal = filled(store)
    found = journal.durable()
    journal.forget(found[2][0])
    assert sorted(journal.durable()) == [0, 1]
    keep = found[0][0].entry.path
    store.put("data/.tmp-0-part-00000-00000.parquet", b"half")
    journal.sweep({keep})
    assert store.list("data") == [keep]
    journal.clear()
    assert store.list() == [keep]
    assert journal.run() is None
