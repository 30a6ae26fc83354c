"""A profile that is wrong, in any member and either way: the import is refused before the first write, by name.

The member is one of a dump with documents, namespaces, metadata of many kinds, NaN vectors and vectors of length one.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import chromadb
import numpy as np
import pytest

from tests.faults.forger.dumps import Files, changed, dump, page, write, written
from tests.operations.rooms import room
from vecport.connectors import memory
from vecport.dump.dump import open_dump
from vecport.errors import IntegrityError, NotRepresentable
from vecport.model import canonical
from vecport.model.batch import dense_array
from vecport.model.collection import Collection, VectorField
from vecport.operations.import_ import import_
from vecport.operations.plan import plan
from vecport.operations.validate import validate

COLLECTION = Collection("docs", vectors=(VectorField("", dim=4, metric="cosine"),))
METADATA = [
    {"n": 1, "name": "ä"}, {"n": 1 << 60, "name": "b"}, {"x": 0.5, "yes": True, "tags": ["a"]}, {"n": None, "z": -0.0},
]  # fmt: skip


def honest(profile: Callable[[Any], Any] = lambda p: p) -> Files:
    """A dump of four records, whose profile is edited."""
    matrix = np.array([[1, 0, 0, 0], [np.nan, 1, 2, 3], [0, 0, 0, 0], [3, 4, 0, 0]], np.float32)
    field = COLLECTION.vectors[0]
    vectors = {"": dense_array(matrix, field, np.array([True, True, True, True]))}
    made = page(
        4, COLLECTION, ids=["a", "b\0", "7", "é"], namespaces=["", "eu", "", "eu"], vectors=vectors,
        documents=["text", None, "long text \0", None], metadata=[canonical.dumps(m) for m in METADATA],
    )  # fmt: skip
    return changed(dump(written([made], COLLECTION), [made], COLLECTION),
                   lambda data: data["shards"][0].update(profile=profile(data["shards"][0]["profile"])))  # fmt: skip


def leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Paths of all numbers and nulls of a profile."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, (*path, key))
    elif path != ("rows",):
        yield path


TRUE: dict[str, Any] = json.loads(honest()["manifest.json"])["shards"][0]["profile"]


def with_leaf(path: tuple[str, ...], value: Any) -> Callable[[Any], Any]:
    def edit(profile: Any) -> Any:
        made = place = copy.deepcopy(profile)
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value
        return made

    return edit


def lies() -> Iterator[tuple[str, Callable[[Any], Any]]]:
    """Every member larger, smaller or none; members that are left out of a list of all; members too many."""
    for path in leaves(TRUE):
        value = TRUE
        for key in path:
            value = value[key]
        for other in {5} if value is None else {value + 1, max(value - 1, 0), 0} - {value}:
            yield f"{'.'.join(path)}={other}", with_leaf(path, other)
    for member in ("metadata", "namespaces"):
        for key in TRUE[member]:
            yield f"no {member}.{key}", lambda p, m=member, k=key: {**p, m: {n: v for n, v in p[m].items() if n != k}}
    yield "more namespaces", lambda p: {**p, "namespaces": {**p["namespaces"], "us": 1}}
    yield "more metadata", lambda p: {**p, "metadata": {**p["metadata"], "more": {"string": {"count": 1}}}}
    yield "keys dropped", lambda p: {**p, "keys_dropped": 1, "metadata": {}}


def test_a_false_profile_is_refused_before_anything_is_written(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    seen: dict[str, int] = {}
    for number, (name, edit) in enumerate(lies()):
        folder = write(honest(edit), tmp_path / str(number))
        for target in ("memory", "jsonl", "chroma"):
            if target == "chroma" and number % 8:
                # Its client takes long to open; what is checked hangs on no target.
                continue
            assert refused(target, folder, tmp_path / f"{target}-{number}"), (name, target)
            seen[target] = seen.get(target, 0) + 1
        for level in ("full", "deep"):
            bad = [c for c in validate(folder, level=level).checks if not c["passed"]]
            assert [c["rule"] for c in bad] == ["profile"], (name, level)
    assert seen["memory"] > 60
    total = sum(seen.values())
    record_property("shown", f"false profiles refused before the first write: {total} ({seen}), each by its member")


def refused(target: str, folder: Path, place: Path) -> bool:
    """Whether an import is refused by name, and the target is empty to its own client."""
    if target == "memory":
        with room() as address:
            _refused(folder, f"{address}#there")
            return address.partition(":")[2] not in memory._rooms or not memory._rooms[address.partition(":")[2]].stores
    if target == "jsonl":
        _refused(folder, f"jsonl:{place}.jsonl")
        return not Path(f"{place}.jsonl").exists()
    _refused(folder, f"chroma:{place}", "there")
    return not chromadb.PersistentClient(str(place)).list_collections()


def _refused(folder: Path, address: str, collection: str | None = None) -> None:
    # A target without room for NaN refuses the plan, if the profile does speak of it.
    with pytest.raises((IntegrityError, NotRepresentable), match=r"the profile of data/part-0|NaN") as caught:
        import_(folder, address, collection=collection, allow_lossy=("vector",))
    assert caught.value.exit_code == 13 or collection


@pytest.mark.parametrize("member", ["all", *(m for m in TRUE if m != "rows"), "nonfinite", "null"])
def test_what_a_profile_does_not_say_is_counted(member: str, tmp_path: Path) -> None:
    def without(profile: Any) -> Any:
        if member == "all":
            return {"rows": profile["rows"]}
        if member in ("nonfinite", "null"):
            return {**profile, "vectors": {"": {k: v for k, v in profile["vectors"][""].items() if k != member}}}
        return {k: v for k, v in profile.items() if k != member}

    whole = write(honest(), tmp_path / "whole")
    partly = write(honest(without), tmp_path / "partly")
    assert validate(partly, level="deep").valid
    assert open_dump(partly).profile == open_dump(whole).profile
    target = f"jsonl:{tmp_path / 'out.jsonl'}"
    assert plan(str(partly), target).ledger == plan(str(whole), target).ledger
    assert import_(partly, target).rows == 4


def test_a_true_profile_is_taken(tmp_path: Path) -> None:
    folder = write(honest(), tmp_path / "dump")
    assert validate(folder, level="deep").valid
    with room() as address:
        assert import_(folder, f"{address}#there").rows == 4
