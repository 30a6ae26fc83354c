"""A plan counts the records of each namespace of the dump that filled a collection, or says why it does not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from vecport.connectors.jsonl import schema
from vecport.operations.export import export
from vecport.operations.import_ import import_
from vecport.operations.plan import PlanResult, plan
from vecport.testing.engines.postgres import PostgresEngine
from vecport.testing.engines.qdrant import QdrantEngine

from .rooms import fill, record, room

SPACES = {"": 4, "eu": 3, "us:west": 2, "o'brien é": 1}


@pytest.fixture(scope="module")
def dump(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("spaces") / "dump"
    with room() as place:
        fill(place, [record(f"{ns}-{i}", i, ns) for ns, n in SPACES.items() for i in range(n)])
        export(place, folder)
    return folder


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    with PostgresEngine(fsync=False) as engine:
        yield engine.address


def uncounted(found: PlanResult) -> list[str]:
    return [note for note in found.notes if note.startswith("records by namespace are not counted: ")]


@pytest.mark.parametrize("mode", ["field", "prefix"])
def test_postgres_counts_in_the_metadata_or_the_ids(mode: str, dump: Path, postgres: str, tmp_path: Path) -> None:
    import_(dump, postgres, collection=mode, namespaces=mode)
    found = plan(postgres, collection=mode)
    assert (found.facts["namespaces"], uncounted(found)) == (SPACES, [])
    where = "metadata->>'n' = '0'"
    assert plan(postgres, collection=mode, where=where).facts["namespaces"] == dict.fromkeys(SPACES, 1)
    # What somebody else adds, or breaks, counts as an export would take it.
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f"INSERT INTO {mode} (id, embedding, metadata) VALUES ('mine', '[0,1,2,3]', '{{}}')")
        if mode == "field":
            connection.execute("UPDATE field SET metadata = metadata || '{\"namespace\": 7}' WHERE id = 'eu-0'")
    counted = plan(postgres, collection=mode).facts["namespaces"]
    export(postgres, tmp_path / "again", collection=mode)
    assert counted == plan(str(tmp_path / "again")).facts["namespaces"]
    assert counted[""] == SPACES[""] + (2 if mode == "field" else 1)


def test_qdrant_counts_where_the_key_has_an_index(dump: Path) -> None:
    from qdrant_client import QdrantClient, models

    with QdrantEngine() as engine:
        import_(dump, engine.address, collection="docs")
        found = plan(engine.address, collection="docs")
        assert "namespaces" not in found.facts
        assert uncounted(found) == [
            "records by namespace are not counted: Qdrant counts by a payload key with one request only where"
            " 'namespace' has a keyword index"
        ]
        port = int(engine.address.rpartition(":")[2])
        client = QdrantClient(
            host="127.0.0.1", port=port, grpc_port=port + 1, prefer_grpc=True, check_compatibility=False
        )
        client.create_payload_index("docs", "namespace", models.PayloadSchemaType.INTEGER, wait=True)
        assert uncounted(plan(engine.address, collection="docs"))
        client.delete_payload_index("docs", "namespace")
        client.create_payload_index("docs", "namespace", models.PayloadSchemaType.KEYWORD, wait=True)
        found = plan(engine.address, collection="docs")
        assert (found.facts["namespaces"], uncounted(found)) == (SPACES, [])
        condition = '{"must": [{"key": "n", "range": {"lt": 1}}]}'
        selected = plan(engine.address, collection="docs", where=condition)
        assert selected.facts["namespaces"] == dict.fromkeys(SPACES, 1)
        # The counts of some namespaces are not those of all.
        strict = models.StrictModeConfig(enabled=True, max_query_limit=len(SPACES) - 1)
        client.update_collection("docs", strict_mode_config=strict)
        found = plan(engine.address, collection="docs")
        assert "namespaces" not in found.facts
        assert [note.endswith("too many for one request") for note in uncounted(found)] == [True]
        client.close()


@pytest.mark.parametrize("mode", ["field", "prefix"])
def test_chroma_says_that_it_does_not_count(mode: str, dump: Path, tmp_path: Path) -> None:
    place = f"chroma:{tmp_path / 'chroma'}"
    import_(dump, place, collection="docs", namespaces=mode)
    found = plan(place)
    assert "namespaces" not in found.facts
    why = {
        "field": "Chroma cannot count by a value of metadata without giving every record away",
        "prefix": "the namespaces are a part of the ids, by which the database does not count",
    }
    assert uncounted(found) == [f"records by namespace are not counted: {why[mode]}"]


def test_a_file_is_counted_while_it_is_surveyed(dump: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = f"jsonl:{tmp_path / 'rows.jsonl'}"
    import_(dump, place)
    assert plan(place).facts["namespaces"] == SPACES
    assert plan(place, namespace=["eu"]).facts["namespaces"] == {"eu": 3}
    monkeypatch.setattr(schema, "MAX_NAMESPACES", 2)
    found = plan(place)
    assert "namespaces" not in found.facts
    assert "namespaces" in uncounted(found)[0]


def test_without_namespaces_there_is_nothing_to_say(postgres: str, tmp_path: Path) -> None:
    with room() as place:
        fill(place, [record("a"), record("b")])
        export(place, tmp_path / "dump")
    places: dict[str, Any] = {
        "postgres": postgres,
        "chroma": f"chroma:{tmp_path / 'c'}",
        "jsonl": f"jsonl:{tmp_path / 'x.jsonl'}",
    }
    for target in places.values():
        import_(tmp_path / "dump", target, collection="plain")
        found = plan(target, collection="plain" if "jsonl" not in target else None)
        assert "namespaces" not in found.facts
        assert uncounted(found) == []
