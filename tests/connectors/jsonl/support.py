"""What the JSON Lines tests share: files, read and written by the connector."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from vecport.connectors.address import Place, parse
from vecport.connectors.contract import Mark, Selection, TargetPlan
from vecport.connectors.decorators import checked_target
from vecport.connectors.jsonl import JsonlConnector, client
from vecport.model.collection import Collection
from vecport.testing.records import Record, batch_of

CONNECTOR = JsonlConnector()
Row = dict[str, Any]


def place_of(path: Path, **options: str) -> Place:
    return replace(parse(f"jsonl:{path}"), options={k.replace("_", "-"): v for k, v in options.items()})


def written(path: Path, *texts: str | bytes) -> Path:
    path.write_bytes(b"".join(t.encode() + b"\n" if isinstance(t, str) else t for t in texts))
    return path


def read(path: Path, page_rows: int = 100, target_rows: int = 10**6, **options: str) -> tuple[Collection, list[Row]]:
    place = place_of(path, **options)
    with CONNECTOR.open_source(place, client.collection_name(place.path), Selection()) as source:
        token = source.snapshot()
        source.attach(token)
        rows = [
            row
            for part in source.partitions(target_rows, token)
            for page in source.scan(part, None, page_rows)
            for row in page.batch.to_pylist()
        ]
        return source.describe().collection, rows


def one(tmp_path: Path, line: str | bytes, **options: str) -> tuple[Collection, Row]:
    collection, (row,) = read(written(tmp_path / "rows.jsonl", line), **options)
    return collection, row


def plan_of(collection: Collection, rows: int, **changes: Any) -> TargetPlan:
    return TargetPlan(**({"collection": collection, "rows": rows, "import_id": "one"} | changes))


def write(path: Path, collection: Collection, records: list[Record], **changes: Any) -> None:
    plan = plan_of(collection, len(records), **changes)
    with checked_target(CONNECTOR.open_target(place_of(path), "rows"), CONNECTOR.info.title) as session:
        session.prepare(plan)
        session.attach(plan)
        session.write(batch_of(records, collection), Mark("a.parquet", 0))
        session.finish({})


UUID = "5f0c7d9e-0c4b-4ac5-a1c1-6d7a7e2f1b11"
