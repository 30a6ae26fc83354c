"""Every hard record goes from each of three databases to each, and back: the dumps at both ends are equal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from tests.operations import rooms
from vecport.dump import open_dump
from vecport.operations.diff import diff
from vecport.operations.export import export
from vecport.operations.import_ import import_
from vecport.testing.engines.postgres import PostgresEngine
from vecport.testing.engines.qdrant import QdrantEngine
from vecport.testing.records import HARD_KEYS, HARD_STRING_IDS, HARD_VALUES, Record

NAMES = ("chroma", "qdrant", "postgres")
METRICS = ("l2", "cosine")
#: All nine without a bound, and a ring of three with the metric for which Chroma and Qdrant change vectors.
PAIRS = [(*pair, "l2") for pair in product(NAMES, NAMES)] + [
    ("chroma", "qdrant", "cosine"),
    ("qdrant", "postgres", "cosine"),
    ("postgres", "chroma", "cosine"),
]


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with PostgresEngine() as postgres, QdrantEngine() as qdrant:
        folder = tmp_path_factory.mktemp("chroma")
        yield {"chroma": f"chroma:{folder / 'c'}", "qdrant": qdrant.address, "postgres": postgres.address}


def hard_records() -> list[Record]:
    """Every hard value, key and id; vectors of every length, documents in one of three."""
    rng = np.random.default_rng(3)
    values = [("value", v) for found in HARD_VALUES.values() for v in found] + [(key, "text") for key in HARD_KEYS]
    records = [(f"r{i:03d}", {key: value}) for i, (key, value) in enumerate(values)]
    records += [(id_, {"id": id_}) for id_ in HARD_STRING_IDS if id_ and "\0" not in id_]
    return [
        Record(
            id_,
            {"": (rng.standard_normal(4) * rng.uniform(0.1, 30)).astype("f4")},
            metadata,
            f"é {i}" if i % 3 else None,
        )
        for i, (id_, metadata) in enumerate(records)
    ]


@pytest.fixture(scope="module")
def held(places: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Path]:
    """By database and metric: a dump of the hard records made from that database."""
    folder, records = tmp_path_factory.mktemp("held"), hard_records()
    out: dict[tuple[str, str], Path] = {}
    for metric in METRICS:
        with rooms.room() as room:
            rooms.fill(room, records, rooms.collection(metric=metric))
            export(room, folder / metric, collection="docs")
        for name in NAMES:
            import_(folder / metric, places[name], collection=f"held_{metric}")
            out[name, metric] = folder / f"{name}-{metric}"
            export(places[name], out[name, metric], collection=f"held_{metric}")
            assert open_dump(out[name, metric]).manifest.rows == len(records)
    return out


@pytest.mark.parametrize(("first", "second", "metric"), PAIRS)
def test_there_and_back(
    first: str,
    second: str,
    metric: str,
    places: dict[str, str],
    held: dict[tuple[str, str], Path],
    tmp_path: Path,
    shown: Callable[[str], None],
) -> None:
    dump = held[first, metric]
    import_(dump, places[second], collection=f"from_{first}_{metric}")
    export(places[second], tmp_path / "there", collection=f"from_{first}_{metric}")
    import_(tmp_path / "there", places[first], collection=f"by_{second}_{metric}")
    export(places[first], tmp_path / "back", collection=f"by_{second}_{metric}")
    compared = diff(dump, tmp_path / "back")
    assert compared.schema_changes == ()
    assert (compared.added, compared.removed, compared.metadata_changed, compared.vectors_changed) == (0, 0, 0, 0)
    if metric == "l2":
        assert compared.identical
    rows = open_dump(dump).manifest.rows
    how = "equal" if compared.identical else compared.bound
    shown(f"{first} -> {second} -> {first}, {metric}: {rows} hard records, {how}")
