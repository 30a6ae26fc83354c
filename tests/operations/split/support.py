"""What the tests of ``--namespaces split`` share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.operations.rooms import collection, record
from vecport.connectors import registry
from vecport.connectors.address import parse
from vecport.connectors.contract import Mark, TargetPlan
from vecport.connectors.memory import MemoryConnector
from vecport.operations.sessions import Endpoint, endpoint
from vecport.testing.records import Record, batch_of

SPACES = ["", "eu", "us:west", "é"]
ROWS = 6


def records_of(spaces: Sequence[str] = SPACES, rows: int = ROWS) -> list[Record]:
    """Every id stands in every namespace, with another vector."""
    return [
        record(f"doc{i}", i + 10 * j, ns, f"text {i}", place=ns) for i in range(rows) for j, ns in enumerate(spaces)
    ]


def hashes_of(*folders: Path) -> list[tuple[Any, ...]]:
    """Key and record hashes of all dumps together."""
    files = [str(f / "data" / "*.parquet") for f in folders]
    return duckdb.sql(f"SELECT namespace, id, _vh, _mh FROM read_parquet({files!r}) ORDER BY ALL").fetchall()


def name_of(request: pytest.FixtureRequest) -> str:
    return "".join(c if c.isalnum() else "_" for c in request.node.name)[-30:].strip("_").lower()


def state(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv("VECPORT_STATE_DIR", str(folder))


def names_in(place: str) -> list[str]:
    connector, there, _ = registry.resolve(place, role="target", options=None, collection=None)
    return [s.name for s in connector.collections(there)]


def target_class(place: str) -> Any:
    connector, there, _ = registry.resolve(place, role="target", options=None, collection=None)
    return type(connector.open_target(there, "any"))


def add(place: str, name: str, *records: Record) -> None:
    """Write records as an application does, which leaves the collection's passport alone."""
    made = collection(name)
    with MemoryConnector().open_target(parse(place), name) as target:
        target.attach(TargetPlan(made, len(records), if_exists="append"))
        target.write(batch_of(records, made), Mark("application", 0))


class Power(Exception):
    """It is gone."""


def cut(patch: pytest.MonkeyPatch, place: str, after: int) -> None:
    """The power goes off in the write behind ``after`` others."""
    kind, count = target_class(place), [0]
    write = kind.write

    def counted(self: Any, batch: Any, mark: Any) -> None:
        count[0] += 1
        if count[0] > after:
            raise Power
        write(self, batch, mark)

    patch.setattr(kind, "write", counted)


def at(place: str, name: str, **options: str) -> Endpoint:
    return endpoint(place, role="target", collection=name, options=options, create=True)


NAMES = {
    "": "docs", "eu": "docs-eu", "EU_1": "docs-EU_1", "-eu": "docs--eu", "a" * 40: "docs-" + "a" * 40,
    "us:west": "docs-us_west-f887ab5e9d", "é": "docs-4a99557e40", "eu-": "docs-eu-78b1810674",
    "0123456789": "docs-0123456789-84d89877f0",
}  # fmt: skip


def failing_finish(monkeypatch: pytest.MonkeyPatch, place: str, collection: str, call: Any) -> None:
    """Run an import whose power goes off when it finishes a collection."""
    kind = target_class(place)
    finish = kind.finish

    def broken(self: Any, passport: Any) -> None:
        if self._name == collection:
            raise Power
        finish(self, passport)

    with monkeypatch.context() as patch:
        patch.setattr(kind, "finish", broken)
        with pytest.raises(Power):
            call()
