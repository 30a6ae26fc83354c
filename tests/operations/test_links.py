"""References between records are set in a second pass, when every record is there, and only once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.operations import rooms
from vecport.connectors.memory import MemoryTarget, forget, links_of
from vecport.errors import Interrupted
from vecport.operations.export import export
from vecport.operations.import_ import import_
from vecport.operations.progress import Silent, Stop

ROWS = 60
LINKS = {"links": "next"}


@pytest.fixture
def dump(tmp_path: Path) -> Path:
    """Each record refers to the next one by id, the last to the first; most stand in later shards."""
    with rooms.room() as address:
        records = [rooms.record(f"r{n:03}", n, next=f"r{(n + 1) % ROWS:03}") for n in range(ROWS)]
        rooms.fill(address, records)
        export(address, tmp_path / "dump", collection="docs", shard_rows=20)
    return tmp_path / "dump"


@pytest.fixture
def linked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Records of each call of ``link``."""
    sizes: list[int] = []
    link = MemoryTarget.link

    def counted(session: MemoryTarget, batch: Any, mark: Any) -> None:
        link(session, batch, mark)
        sizes.append(batch.num_rows)

    monkeypatch.setattr(MemoryTarget, "link", counted)
    return sizes


EXPECTED = {("", f"r{n:03}"): ("", f"r{(n + 1) % ROWS:03}") for n in range(ROWS)}


@dataclass
class StopsWhileLinking(Silent):
    """Stops the run after the first row group of the second pass."""

    stop: Stop = field(default_factory=Stop)
    linking: bool = False

    def phase(self, name: str, total: int | None = None) -> None:
        self.linking = name == "link"

    def advance(self, rows: int) -> None:
        if self.linking and rows:
            self.stop.set()


@pytest.mark.parametrize("workers", [1, 3])
def test_every_reference_is_set_when_all_records_are_there(dump: Path, linked: list[int], workers: int) -> None:
    with rooms.room() as address:
        import_(dump, f"{address}#docs", target_options=LINKS, workers=workers)
        assert links_of(address.partition(":")[2], "docs") == EXPECTED
    assert sum(linked) == ROWS


def test_a_resumed_import_links_only_what_is_left(dump: Path, linked: list[int], shown: Callable[[str], None]) -> None:
    with rooms.room() as address:
        watch = StopsWhileLinking()
        with pytest.raises(Interrupted):
            import_(dump, f"{address}#docs", target_options=LINKS, workers=1, progress=watch, stop=watch.stop)
        first = sum(linked)
        assert 0 < first < ROWS
        result = import_(dump, f"{address}#docs", target_options=LINKS, workers=1)
        assert (result.written_rows, result.resumed_rows) == (0, ROWS)
        assert links_of(address.partition(":")[2], "docs") == EXPECTED
    shown(f"second pass: {first} of {ROWS} records before the stop, {sum(linked) - first} after it")
    assert sum(linked) == ROWS


def test_a_target_without_references_has_one_pass(dump: Path, linked: list[int]) -> None:
    with rooms.room() as address:
        import_(dump, f"{address}#docs")
        assert linked == []
        forget(address.partition(":")[2])
