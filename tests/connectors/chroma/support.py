"""What Chroma's tests share: clients of their own, pages, and how a collection goes there and back."""

from __future__ import annotations

import contextlib
import json
import re
import struct
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import vecport
from vecport.connectors import address
from vecport.connectors.address import parse
from vecport.connectors.chroma import ChromaConnector
from vecport.connectors.contract import Mark, Selection, Source, Target, TargetPlan
from vecport.connectors.decorators import checked_target
from vecport.connectors.kit import folders
from vecport.connectors.secrets import Secret
from vecport.dump import open_dump
from vecport.model import canonical
from vecport.model.batch import dense_array, make_page
from vecport.model.collection import Collection, VectorField

CONNECTOR = ChromaConnector()
EVERYTHING = Selection()
MARK = Mark("part-0-0", 0)


def place_of(text: str | Path, **options: str | Secret) -> address.Place:
    text = str(text)
    return address.with_options(address.parse(text if ":" in text else f"chroma:{text}"), options)


@contextlib.contextmanager
def raw(path: Path) -> Iterator[Any]:
    """A client of the tests' own; closed, so that nothing of this process has the folder open."""
    chromadb = pytest.importorskip("chromadb")
    client = chromadb.PersistentClient(path)
    try:
        yield client
    finally:
        client.close()


def collection_of(dim: int = 4, metric: str = "l2", name: str = "docs") -> Collection:
    return Collection(name, vectors=(VectorField("", dim=dim, metric=metric, nullable=False),))


def batch_of(
    collection: Collection,
    ids: list[str],
    matrix: np.ndarray[Any, Any] | None = None,
    metadata: list[Mapping[str, Any]] | None = None,
    documents: list[str | None] | None = None,
) -> pa.RecordBatch:
    vector = collection.vectors[0]
    if matrix is None:
        matrix = np.arange(len(ids) * vector.dim, dtype=np.float32).reshape(len(ids), vector.dim) + 1
    return make_page(
        collection,
        ids=ids,
        metadata=None if metadata is None else [canonical.dumps(dict(m)) for m in metadata],
        documents=documents,
        vectors={vector.name: dense_array(matrix, vector)},
    )


def open_target(text: str | Path, name: str = "docs", **options: str | Secret) -> Target:
    """A writing session, behind what the pipeline refuses for every connector."""
    return checked_target(CONNECTOR.open_target(place_of(text, **options), name), CONNECTOR.info.title)


def open_source(text: str | Path, name: str = "docs", selection: Selection = EVERYTHING, **options: Any) -> Source:
    return CONNECTOR.open_source(place_of(text, **options), name, selection)


def load(text: str | Path, batch: pa.RecordBatch, collection: Collection, **plan: Any) -> None:
    with open_target(text, collection.name) as target:
        target.prepare(TargetPlan(collection, batch.num_rows, **plan))
        target.write(batch, MARK)
        target.finish(plan.get("passport", {}))


def read(session: Source, page_rows: int = 700, target_rows: int = 2_000) -> tuple[pa.Table, list[tuple[str, str]]]:
    """Everything that a scan gives, and what it names as missing."""
    pages, missing = [], []
    token = session.snapshot()
    for partition in session.partitions(target_rows, token):
        json.dumps(partition)
        session.attach(token)
        for page in session.scan(partition, None, page_rows):
            json.dumps(page.cursor)
            pages.append(page.batch)
            missing += page.missing
    return pa.Table.from_batches(pages) if pages else pa.table({"id": []}), missing


def by_id(table: pa.Table) -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in table.to_pylist()}


def fingerprint(path: Path) -> dict[str, tuple[int, int, int, bytes]]:
    """Names, modes, sizes, times and contents of everything below a folder."""
    out = {}
    for item in [path, *sorted(path.rglob("*"))]:
        s = item.stat()
        out[str(item)] = (s.st_mode, s.st_size, s.st_mtime_ns, item.read_bytes() if item.is_file() else b"")
    return out


def bits(value: float) -> bytes:
    return struct.pack("<d", value)


def same(a: Any, b: Any) -> bool:
    """Equal in value and type, floats bit by bit."""
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        return bits(a) == bits(b)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


def temporary_copies() -> set[Path]:
    return set(Path(tempfile.gettempdir()).glob(folders.prefix("Chroma") + "*"))


def unique(request: pytest.FixtureRequest) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", request.node.name)[:60] + "-x"


DOCS = Collection("docs", vectors=(VectorField("", dim=2, metric="l2", nullable=False),))


def client_of(address: str) -> Any:
    """A client of the test's own, to be closed."""
    chromadb = pytest.importorskip("chromadb")
    at = parse(address)
    return closing(chromadb.PersistentClient(at.path) if at.local else chromadb.HttpClient(at.host, at.port))


def page(ids: list[str], metadata: list[Mapping[str, Any]] | None = None, documents: Any = None) -> pa.RecordBatch:
    matrix = np.arange(len(ids) * 2, dtype=np.float32).reshape(-1, 2) + 1
    return make_page(
        DOCS,
        ids=ids,
        metadata=None if metadata is None else [canonical.dumps(dict(m)) for m in metadata],
        documents=documents,
        vectors={"": dense_array(matrix, DOCS.vectors[0])},
    )


def rows_of(dump: Path) -> dict[str, str]:
    table = pa.Table.from_batches(list(open_dump(dump).keys(["id", "metadata"])))
    return dict(zip(*(c.to_pylist() for c in table.columns), strict=True))


def there_and_back(address: str, name: str, tmp_path: Path, **how: Any) -> tuple[Any, Any]:
    """Manifests of a collection and of what it is after a restore at the same place."""
    vecport.export(address, tmp_path / "one", collection=name)
    vecport.import_(tmp_path / "one", address, collection=f"{name}-back", **how)
    vecport.export(address, tmp_path / "two", collection=f"{name}-back")
    return open_dump(tmp_path / "one").manifest, open_dump(tmp_path / "two").manifest


def plan_for(name: str, rows: int, **how: Any) -> TargetPlan:
    return TargetPlan(replace(DOCS, name=name), rows, "append", **how)
