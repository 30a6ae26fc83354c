"""What a load changes in a Qdrant collection and puts back, and applications that write beside it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qdrant_client import QdrantClient, models
from qdrant_client import grpc as pb

from vecport.connectors.address import Place
from vecport.connectors.contract import TargetPlan
from vecport.connectors.qdrant import QdrantTarget, settings
from vecport.connectors.qdrant.backend import ServerBackend
from vecport.dump import open_dump
from vecport.errors import AuthenticationFailed, Interrupted, NotRepresentable, UsageError, VecportError
from vecport.operations.export import export
from vecport.operations.import_ import import_
from vecport.testing.heard import Heard

from .native import NATIVE, import_native, native_of, stored, threshold
from .script import Script, facts
from .support import CONNECTOR, MARK, collection, loading, make, page, source, write

# ---- what a load changes ----


def test_index_waits_for_the_load_and_gets_its_threshold_back(place: Place, official: QdrantClient, name: str) -> None:
    c = collection(name)
    plan = TargetPlan(collection=c, rows=1, native=NATIVE, import_id="me")
    with CONNECTOR.open_target(place, name) as target:
        (before,) = target.effects(plan)
        target.prepare(plan)
        (effect,) = target.effects(plan)
        assert (effect.what, effect.until) == (before.what, "written")
        assert "indexing_threshold 4321" in effect.undone
        assert threshold(official, name) == 4321
        target.apply(effect)
        assert threshold(official, name) == 0
        with source(place, name) as session:
            assert "has not ended" in "".join(session.describe().notes)
            assert settings.LOAD_KEY not in session.describe().collection.native["metadata"]
        target.write(page(c, ["1"]), MARK)
        target.undo(effect)
        assert threshold(official, name) == 4321
        assert native_of(place, name)["payload_indexes"] == NATIVE["payload_indexes"]
        target.finish({"state": "complete"})
        assert threshold(official, name) == 4321
        assert stored(official, name, settings.LOAD_KEY) is None


def test_interrupted_load_puts_back_what_it_changed_and_the_next_one_knows_it(
    place: Place, official: QdrantClient, name: str
) -> None:
    c = collection(name)
    plan = TargetPlan(collection=c, rows=1, native=NATIVE)
    with CONNECTOR.open_target(place, name) as target:
        target.prepare(plan)
        with loading(target, plan):
            assert threshold(official, name) == 0
    assert threshold(official, name) == 4321
    assert stored(official, name, settings.LOAD_KEY) is not None
    again = TargetPlan(collection=c, rows=1, native=NATIVE, resume=True)
    with CONNECTOR.open_target(place, name) as target:
        target.prepare(again)
        with loading(target, again):
            assert threshold(official, name) == 0
            target.write(page(c, ["1"]), MARK)
        target.finish({})
    assert threshold(official, name) == 4321
    assert stored(official, name, settings.LOAD_KEY) is None


_KILLED = """
import os, signal, sys
from vecport.connectors.address import parse
from vecport.connectors.contract import TargetPlan
from vecport.connectors.qdrant import QdrantConnector
from vecport.model.collection import Collection, VectorField

address, name, resume = sys.argv[1:]
c = Collection(name=name, id_kind="int|uuid", vectors=(VectorField(name="", dim=4, metric="dot"),))
native = {"optimizers_config": {"indexing_threshold": 4321, "prevent_unoptimized": True}}
target = QdrantConnector().open_target(parse(address), name)
plan = TargetPlan(collection=c, rows=1, native=native, resume=bool(resume))
target.prepare(plan)
for effect in target.effects(plan):
    target.apply(effect)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_killed_load_puts_back_what_it_changed_when_it_goes_on(place: Place, official: QdrantClient, name: str) -> None:
    for resume in ("", "yes"):
        script = [sys.executable, "-c", _KILLED, place.text, name, resume]
        killed = subprocess.run(script, cwd=Path(__file__).parents[3], env=os.environ, check=False)
        assert killed.returncode == -signal.SIGKILL
        assert threshold(official, name) == 0
    c = collection(name)
    native = {"optimizers_config": {"indexing_threshold": 4321, "prevent_unoptimized": True}}
    plan = TargetPlan(collection=c, rows=1, native=native, resume=True)
    with CONNECTOR.open_target(place, name) as target:
        target.prepare(plan)
        # What another machine needs stands in the collection.
        with loading(target, plan):
            target.write(page(c, ["1"]), MARK)
        target.finish({})
    found = native_of(place, name)["optimizers_config"]
    assert (found["indexing_threshold"], found["prevent_unoptimized"]) == (4321, True)
    assert stored(official, name, settings.LOAD_KEY) is None


def test_collection_whose_creator_was_killed_gets_its_indexes_all_the_same(
    place: Place, official: QdrantClient, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("vecport.connectors.qdrant.load.apply", killed)
        with pytest.raises(KeyboardInterrupt):
            import_native(place, name, NATIVE)
    assert threshold(official, name) == 4321
    import_native(place, name, NATIVE | {"aliases": [f"{name}-alias"]}, resume=True)
    found = native_of(place, name)
    assert found["payload_indexes"] == NATIVE["payload_indexes"]
    assert (found["aliases"], threshold(official, name)) == ([f"{name}-alias"], 4321)
    assert stored(official, name, settings.LOAD_KEY) is None


def test_server_that_keeps_no_metadata_gets_its_indexes_and_keeps_its_threshold(
    place: Place, official: QdrantClient, name: str
) -> None:
    c = collection(name)
    with CONNECTOR.open_target(place, name) as target:
        assert isinstance(target, QdrantTarget)
        target._backend.keeps_metadata = False
        plan = TargetPlan(collection=c, rows=1, native=NATIVE)
        target.prepare(plan)
        assert target.effects(plan) == ()
        assert threshold(official, name) == 4321
        target.write(page(c, ["1"]), MARK)
        target.finish({})
    assert native_of(place, name)["payload_indexes"] == NATIVE["payload_indexes"]


def test_aliases_that_a_key_may_not_list_are_said_to_be_left_out(
    place: Place, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(self: Any, collection: str) -> list[str]:
        raise AuthenticationFailed("listing the aliases failed")

    write(place, collection(name), page(collection(name), ["1"]))
    monkeypatch.setattr(ServerBackend, "aliases", refused)
    with source(place, name) as session:
        assert "may not list aliases" in "".join(session.describe().notes)


def test_collection_that_is_appended_to_keeps_its_threshold_all_the_time(
    place: Place, official: QdrantClient, name: str
) -> None:
    write(place, collection(name), page(collection(name), ["1"]), settings={"indexing_threshold": "55"})
    plan = TargetPlan(collection=collection(name), rows=1, if_exists="append", import_id="other")
    with CONNECTOR.open_target(place, name) as target:
        target.prepare(plan)
        assert target.effects(plan) == ()
        assert threshold(official, name) == 55
    theirs = '{"created": true, "import_id": "its", "optimizers": {"indexing_threshold": 99}}'
    official.update_collection(name, metadata={settings.LOAD_KEY: theirs})
    write(place, collection(name), page(collection(name), ["2"]))
    with CONNECTOR.open_target(place, name) as target:
        target.prepare(replace(plan, native=NATIVE))
        assert target.effects(replace(plan, native=NATIVE)) == ()
        target.finish({})
    assert (threshold(official, name), stored(official, name, settings.LOAD_KEY)) == (55, theirs)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "7",
        '{"x": 1}',
        '{"created": 1, "import_id": "", "optimizers": {}}',
        '{"created": true, "optimizers": {}}',
        '{"created": true, "import_id": "", "optimizers": 3}',
        '{"created": true, "import_id": "", "optimizers": {"hnsw": 1}}',
        '{"created": true, "import_id": "", "optimizers": {"indexing_threshold": -5}}',
        '{"created": true, "import_id": "", "optimizers": {"indexing_threshold": true}}',
        '{"created": true, "import_id": "", "optimizers": {"prevent_unoptimized": 1}}',
    ],
)
def test_what_a_load_wrote_down_is_not_guessed_when_it_cannot_be_read(
    place: Place, official: QdrantClient, name: str, text: str
) -> None:
    make(official, name, vectors_config=models.VectorParams(size=4, distance=models.Distance.DOT),
         metadata={settings.LOAD_KEY: text})  # fmt: skip
    with CONNECTOR.open_target(place, name) as target, pytest.raises(NotRepresentable, match="vecport_load"):
        target.prepare(TargetPlan(collection=collection(name), rows=0))


def test_finish_goes_on_waiting_while_the_index_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 10_000, 5))
    monkeypatch.setattr("vecport.connectors.kit.waiting.time.monotonic", lambda: float(next(clock)))
    monkeypatch.setattr("vecport.connectors.kit.waiting._LONGEST_PAUSE_S", 0.0)
    monkeypatch.setattr("vecport.connectors.kit.waiting._FIRST_PAUSE_S", 0.0)
    growing = [facts(status=pb.Yellow, indexed_vectors_count=n) for n in range(40)]
    script = Script([], [facts(), *growing, facts()])
    QdrantTarget(script, "c", settle_seconds=20).finish({})
    assert len(script.infos) == 1
    stuck = [facts(status=pb.Yellow, indexed_vectors_count=7) for _ in range(40)]
    script = Script([], [facts(), *stuck, facts()])
    QdrantTarget(script, "c", settle_seconds=20).finish({})
    assert len(script.infos) > 30


class _Stopped(Heard):
    """The user presses Ctrl-C a second after the waiting began."""

    def __init__(self) -> None:
        super().__init__()
        self.began = time.monotonic()

    def check(self) -> None:
        if time.monotonic() - self.began > 1:
            raise Interrupted("interrupted")


def test_a_stop_ends_the_wait_for_an_index_that_does_not_grow() -> None:
    script = Script([], [facts(status=pb.Yellow, indexed_vectors_count=7) for _ in range(1000)])
    target = QdrantTarget(script, "c", settle_seconds=600)
    stopped = target.report = _Stopped()
    with pytest.raises(Interrupted):
        target.finish({})
    waited = time.monotonic() - stopped.began
    assert 1 < waited < 3, f"the stop was heard after {waited:.1f} s"
    assert stopped.steps[0][:3] == (7, 0, "vectors")


# ---- an application beside the import ----


class _Application(threading.Thread):
    """Writes newer versions of records, over and over, and remembers the last one of each."""

    def __init__(self, official: QdrantClient, name: str) -> None:
        super().__init__(daemon=True)
        self.official, self.name_, self.stop, self.last = official, name, threading.Event(), dict[int, int]()

    def run(self) -> None:
        version = 0
        rng = np.random.default_rng(8)
        while not self.stop.is_set() or version < 20:
            version += 1
            ids = rng.choice(4000, 40, replace=False).tolist()
            points = [models.PointStruct(id=i, vector=[i, version, 0, 1], payload={"app": version}) for i in ids]
            try:
                self.official.upsert(self.name_, points, wait=True)
            except Exception:
                # The import has not created the collection yet.
                version -= 1
                continue
            self.last |= dict.fromkeys(ids, version)


@pytest.fixture
def dump(place: Place, official: QdrantClient, name: str, tmp_path: Path) -> Path:
    other = f"{name}-dump"
    make(official, other, vectors_config=models.VectorParams(size=4, distance=models.Distance.DOT))
    official.upload_collection(
        other, np.ones((4000, 4), np.float32), [{"old": i} for i in range(4000)], list(range(4000)), 500, wait=True
    )
    export(place.text, tmp_path / "dump", collection=other)
    official.delete_collection(other)
    return tmp_path / "dump"


def test_application_that_writes_through_the_import_keeps_its_newer_rows(
    place: Place, official: QdrantClient, name: str, dump: Path
) -> None:
    application = _Application(official, name)
    application.start()
    try:
        import_(dump, place.text, collection=name, on_conflict="skip", workers=1)
    finally:
        application.stop.set()
        application.join(60)
    points, _ = official.scroll(name, limit=5000)
    assert len(points) == 4000
    assert len(application.last) > 100
    found = {int(p.id): p.payload for p in points}
    assert {i: p for i, p in found.items() if i in application.last} == {
        i: {"app": version} for i, version in application.last.items()
    }
    assert {i: p for i, p in found.items() if i not in application.last} == {
        i: {"old": i} for i in found if i not in application.last
    }


@pytest.mark.parametrize("choice", ["skip", "fail"])
def test_no_choice_is_offered_where_a_server_would_replace_all_the_same(place: Place, name: str, choice: str) -> None:
    with CONNECTOR.open_target(place, name) as target:
        assert isinstance(target, QdrantTarget)
        target._backend.skips = False
        with pytest.raises(UsageError, match=f"--on-conflict {choice}"):
            target.prepare(TargetPlan(collection=collection(name), rows=0, on_conflict=choice))
        assert target.describe() is None
        with pytest.raises(VecportError, match="on-conflict"):
            target.prepare(TargetPlan(collection=collection(name), rows=0, on_conflict="merge"))


def test_local_folder_gives_its_metadata_and_no_settings_that_nobody_chose(
    place: Place, official: QdrantClient, name: str, tmp_path: Path
) -> None:
    with closing(QdrantClient(path=str(tmp_path / "db"))) as local:
        make(local, "c", metadata={"team": "search"})
        local.upsert("c", [models.PointStruct(id=1, vector=[1, 2])])
    export(f"qdrant:{tmp_path / 'db'}", tmp_path / "dump")
    assert dict(open_dump(str(tmp_path / "dump")).collection.native) == {"metadata": {"team": "search"}, "aliases": []}
    import_(tmp_path / "dump", place.text, collection=name)
    assert stored(official, name, "team") == "search"
    assert threshold(official, name) not in (0, None)
