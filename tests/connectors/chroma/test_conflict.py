"""Records that are there already, and an application that writes beside an import into Chroma."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from vecport.connectors.address import parse
from vecport.connectors.chroma import ChromaTarget
from vecport.connectors.contract import Mark
from vecport.testing.engines.chroma import ChromaEngine

from .support import CONNECTOR, MARK, client_of, page, plan_for

pytest.importorskip("chromadb")


def everything(address: str, name: str) -> dict[str, Any]:
    with client_of(address) as client:
        docs = client.get_collection(name, embedding_function=None)
        got = docs.get(include=["embeddings", "metadatas", "documents", "uris"])
    parts = (got["embeddings"].tolist(), got["metadatas"], got["documents"], got["uris"])
    return dict(zip(got["ids"], zip(*parts, strict=True), strict=True))


@pytest.mark.parametrize("on_conflict", ["skip", "replace"])
def test_records_that_are_there_already(place: str, name: str, on_conflict: str) -> None:
    with client_of(place) as client:
        mine = client.create_collection(name, embedding_function=None)
        mine.add(ids=["b"], embeddings=[[9.0, 9.0]], metadatas=[{"mine": 1}], documents=["mine"], uris=["my"])
        mine.add(ids=["c"], embeddings=[[8.0, 8.0]])
    batch = page(list("abcd"), [{"dump": i, "chroma:uri": f"u{i}"} for i in range(4)], ["d"] * 4)
    plan = plan_for(name, 4, on_conflict=on_conflict)
    for _ in range(2):
        # The second stands for a row group that a killed import sends again.
        with CONNECTOR.open_target(parse(place), name) as session:
            assert plan.on_conflict in session.capabilities.on_conflict
            session.prepare(plan)
            session.write(batch, MARK)
            session.write(batch.slice(1, 2), Mark("part-0-0", 1))
            assert session.count() == 4
    found = everything(place, name)
    of_dump = {id: ([2.0 * i + 1, 2.0 * i + 2], {"dump": i}, "d", f"u{i}") for i, id in enumerate("abcd")}
    mine = {"b": ([9.0, 9.0], {"mine": 1}, "mine", "my"), "c": ([8.0, 8.0], None, None, None)}
    assert found == (of_dump | mine if on_conflict == "skip" else of_dump)


def test_an_application_that_writes_keeps_its_newer_records(server: ChromaEngine, name: str) -> None:
    """Backfill beside a writer: every id that the application wrote, before or meanwhile, is as it wrote it."""
    ids = [f"i{n:04}" for n in range(1200)]
    plan = plan_for(name, len(ids), on_conflict="skip")
    batch = page(ids, [{"by": "dump"}] * len(ids))
    with CONNECTOR.open_target(parse(server.address), name) as session:
        session.prepare(plan)
        wrote: list[str] = []
        stop = threading.Event()

        def application() -> None:
            with client_of(server.address) as client:
                docs = client.get_collection(name, embedding_function=None)
                for n in np.random.default_rng(2).permutation(len(ids)).tolist():
                    if stop.is_set():
                        return
                    docs.upsert(ids=[ids[n]], embeddings=[[-1.0, -1.0]], metadatas=[{"by": "app"}])
                    wrote.append(ids[n])

        thread = threading.Thread(target=application)
        thread.start()
        while len(wrote) < 5:
            assert thread.is_alive()
        for group, start in enumerate(range(0, len(ids), 100)):
            session.write(batch.slice(start, 100), Mark("part-0-0", group))
        stop.set()
        thread.join()
        assert session.count() == len(ids)
    found = everything(server.address, name)
    assert len(wrote) >= 5
    assert all(found[id][:2] == ([-1.0, -1.0], {"by": "app"}) for id in wrote)
    assert sum(row[1] == {"by": "dump"} for row in found.values()) == len(ids) - len(set(wrote))


def test_a_record_that_comes_between_look_and_add_stays(place: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with CONNECTOR.open_target(parse(place), name) as session:
        session.prepare(plan_for(name, 2, on_conflict="skip"))
        assert isinstance(session, ChromaTarget)
        docs = session._collection()
        looked = docs.get

        def look(**how: Any) -> Any:
            answer = looked(**how)
            monkeypatch.setattr(docs, "get", looked)
            docs.add(ids=["b"], embeddings=[[7.0, 7.0]], metadatas=[{"mine": 1}])
            return answer

        monkeypatch.setattr(docs, "get", look)
        session.write(page(["a", "b"], [{"dump": 0}, {"dump": 1}]), MARK)
    found = everything(place, name)
    assert found["b"][:2] == ([7.0, 7.0], {"mine": 1})
    assert found["a"][1] == {"dump": 0}
