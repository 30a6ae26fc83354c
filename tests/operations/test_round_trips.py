"""Chroma -> dump -> Qdrant -> dump -> Chroma -> dump, and the same through Postgres, end equal, schema included."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from vecport.dump import open_dump
from vecport.operations.diff import DiffResult, diff
from vecport.operations.export import export
from vecport.operations.import_ import import_
from vecport.operations.verify import verify

SAMPLE = Path(__file__).parents[2] / "samples" / "debian-packages"


@pytest.fixture(scope="module")
def users_dump(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dump of a Chroma folder that an application filled, vectors of every length among them."""
    import chromadb
    import duckdb

    folder = tmp_path_factory.mktemp("users")
    rows = duckdb.sql(
        f"SELECT id, document, metadata->>'section', vector FROM read_parquet('{SAMPLE}/data/*.parquet') LIMIT 1500"
    ).fetchall()
    scale = np.random.default_rng(4).uniform(0.1, 30, len(rows))
    scale[:500] = 1.0
    client = chromadb.PersistentClient(str(folder / "chroma"))
    made = client.create_collection("packages", configuration={"hnsw": {"space": "cosine"}}, embedding_function=None)
    made.add(
        ids=[r[0] for r in rows],
        documents=[r[1] for r in rows],
        embeddings=[np.asarray(r[3], np.float32) * s for r, s in zip(rows, scale.astype(np.float32), strict=True)],
        metadatas=[
            {"section": r[2], "n": i, "ratio": i / 7, "even": i % 2 == 0, "tags": ["a", f"é{i}"]}
            for i, r in enumerate(rows)
        ],
    )
    client.close()
    export(f"chroma:{folder / 'chroma'}", folder / "dump")
    return folder / "dump"


def there_and_back(dump: Path, address: str, folder: Path) -> tuple[DiffResult, DiffResult]:
    """Through a database and back into Chroma; the two diffs against the first dump."""
    imported = import_(dump, address, collection="packages")
    assert imported.written_rows == 1500
    assert verify(dump, address, collection="packages").exit_code == 0
    export(address, folder / "second", collection="packages")
    import_(folder / "second", f"chroma:{folder / 'chroma'}", collection="again")
    export(f"chroma:{folder / 'chroma'}", folder / "third")
    return diff(dump, folder / "second"), diff(dump, folder / "third")


def assert_within(found: DiffResult, bound: str) -> None:
    assert found.exit_code == 0
    assert found.schema_changes == ()
    assert (found.added, found.removed, found.metadata_changed, found.vectors_changed) == (0, 0, 0, 0)
    assert found.unchanged + found.within_bound == 1500
    assert found.bound.startswith(bound)


def test_through_postgres(users_dump: Path, tmp_path: Path) -> None:
    from vecport.testing.engines.postgres import PostgresEngine

    with PostgresEngine() as engine:
        there, back = there_and_back(users_dump, engine.address, tmp_path)
    assert there.identical
    assert_within(back, "within 2.4e-07")


def test_through_qdrant(users_dump: Path, tmp_path: Path) -> None:
    address = os.environ.get("VECPORT_TEST_QDRANT")
    if address:
        there, back = there_and_back(users_dump, address, tmp_path)
    else:
        from vecport.testing.engines.qdrant import QdrantEngine

        with QdrantEngine() as engine:
            there, back = there_and_back(users_dump, engine.address, tmp_path)
    # Qdrant keeps unit vectors for cosine: the direction comes back, the length does not, and the ledger says so.
    assert_within(there, "within 1e-06, as unit vectors")
    assert_within(back, "within 1e-06, as unit vectors")
    digests = {
        open_dump(d).manifest.identity.schema_digest for d in (users_dump, tmp_path / "second", tmp_path / "third")
    }
    assert len(digests) == 1


def test_the_ledger_named_the_bounds_before_the_first_write(users_dump: Path, tmp_path: Path) -> None:
    from vecport.testing.engines.qdrant import QdrantEngine

    with QdrantEngine() as engine:
        planned = import_(users_dump, engine.address, collection="packages", dry_run=True)
        strict = import_(users_dump, engine.address, collection="packages", dry_run=True, strict=True)
    bounded = [e for e in planned.ledger if e["status"] == "bounded"]
    assert [e["field"] for e in bounded] == ["vector"]
    assert 900 <= bounded[0]["count"] <= 1100
    assert strict.exit_code == 14
