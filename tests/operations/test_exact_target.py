"""A dump from a place with a bound, imported into one that holds vectors bit for bit: each bit counts there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import psycopg
import pytest

from tests.operations.rooms import collection, fill, record, room
from vecport import diff, export, import_, verify
from vecport.model.collection import Bound
from vecport.testing.engines import PostgresEngine
from vecport.testing.records import Record

ROWS = 12
UNITS = collection(metric="cosine", normalized=True, fidelity="bounded", bound=Bound(1e-3, normalized=True))
#: What the database's own client does to one vector, each within the bound of the source if lengths did not count.
CHANGES = {"doubled": 2.0, "longer by a ten-thousandth": 1.0001}


def unit(i: int) -> Record:
    vector = np.array([i, 1, 2, 3], np.float32)
    return replace(record(f"r{i:02}", i), vectors={"": vector / np.linalg.norm(vector)})


@pytest.fixture(scope="module")
def engine() -> Iterator[PostgresEngine]:
    with PostgresEngine() as running:
        yield running


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_within_the_bound_of_the_source_is_found_in_an_exact_target(
    engine: PostgresEngine, tmp_path: Path, change: str
) -> None:
    name = f"units_{len(change)}"
    with room() as source:
        fill(source, [unit(i) for i in range(ROWS)], UNITS)
        export(source, tmp_path / "dump")
    import_(tmp_path / "dump", engine.address, collection=name)
    untouched = verify(tmp_path / "dump", engine.address, collection=name)
    assert (untouched.exit_code, untouched.equal, untouched.bound) == (0, ROWS, "bit for bit")
    with psycopg.connect(engine.dsn, autocommit=True) as client:
        client.execute(
            f"UPDATE {name} SET embedding = embedding * array_fill(%s::real, array[4])::vector WHERE id = 'r03'",
            [CHANGES[change]],
        )
    found = verify(tmp_path / "dump", engine.address, collection=name)
    assert (found.exit_code, found.changed, dict(found.parts)) == (3, 1, {"vector": 1})
    export(engine.address, tmp_path / "after", collection=name)
    if change == "doubled":
        compared = diff(tmp_path / "dump", tmp_path / "after")
        assert (compared.exit_code, compared.changed, dict(compared.parts)) == (3, 1, {"vector": 1})
