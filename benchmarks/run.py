"""Measures export and import of every connector beside the raw client path, and the writer alone, in one run.

    python benchmarks/run.py --rows 200000 --dim 384
    python benchmarks/run.py --memory            # peak memory at 200k and 1M rows
    python benchmarks/run.py --memory --connectors chroma-server

Every measured step is a process of its own. Rows per second; the ratio is vecport's rate over the slower of the raw
path and the writer. Peak memory is that of the process and all its workers, sampled; pages that they share count once
(proportional set size).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, os.path.dirname(__file__))

import data
import pyarrow as pa
import raw

from vecport.dump.dump import publish
from vecport.dump.manifest import Manifest, ShardEntry
from vecport.dump.store import Store, open_store
from vecport.dump.writer import DumpWriter
from vecport.model.collection import Collection

CONNECTORS = ("postgres", "qdrant", "chroma")
#: A server too, whose memory is not that of the process which writes to it.
PLACES = (*CONNECTORS, "chroma-server")


def _write(c: Collection, pages: Iterable[pa.RecordBatch], store: Store) -> list[ShardEntry]:
    """Write pages into the shards of a dump, cut as those of an export."""
    with DumpWriter(store, c) as writer:
        return [entry for page in pages for entry in writer.add(page)] + writer.close()


def _store(folder: str) -> Store:
    store = open_store(folder)
    store.prepare()
    return store


def step_writer(rows: int, dim: int, folder: str) -> dict[str, Any]:
    """Write pages that are in memory already into shards."""
    c = data.collection(dim, "cosine")
    pages = [data.page(c, b) for b in data.blocks(min(rows, 100_000), dim)]
    store = _store(folder)
    started = time.perf_counter()
    entries = _write(c, pages, store)
    return {"rows": sum(e.rows for e in entries), "seconds": time.perf_counter() - started}


def step_make(rows: int, dim: int, folder: str) -> dict[str, Any]:
    """Make the dump that is imported."""
    c = data.collection(dim, "cosine")
    store = _store(folder)
    entries = tuple(_write(c, (data.page(c, b) for b in data.blocks(rows, dim)), store))
    source = {"system": "benchmark", "consistency": {"kind": "snapshot"}}
    publish(store, Manifest(c, entries, "bench", "2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z",
                            {"name": "benchmark"}, source, {}, True))  # fmt: skip
    return {"rows": sum(e.rows for e in entries), "seconds": 0.0}


def _raw(name: str, address: str, dim: int) -> Any:
    return {"postgres": raw.Postgres, "qdrant": raw.Qdrant}.get(name, raw.Chroma)(address, dim)


def step_raw_send(name: str, address: str, rows: int, dim: int) -> dict[str, Any]:
    """Send rows that are in memory already with the official client, from importing and opening it on."""
    prepared = [(b["ids"], b["vectors"], raw.payloads(b)) for b in data.blocks(rows, dim)]
    started = time.perf_counter()
    sent = _raw(name, address, dim).send(prepared)
    return {"rows": sent, "seconds": time.perf_counter() - started}


def step_raw_fetch(name: str, address: str, dim: int, collection: str) -> dict[str, Any]:
    """Fetch all rows with the official client, from importing and opening it on."""
    started = time.perf_counter()
    rows = _raw(name, address, dim).fetch(collection)
    return {"rows": rows, "seconds": time.perf_counter() - started}


def step_import(dump: str, address: str, settings: dict[str, str], workers: int | None) -> dict[str, Any]:
    """vecport's import; the time until all rows are acknowledged, index building left out where it comes after."""
    from vecport.operations.import_ import import_

    result = import_(dump, address, collection="bench", settings=settings, workers=workers)
    return {"rows": result.written_rows, "seconds": result.seconds}


def step_export(address: str, folder: str, workers: int | None) -> dict[str, Any]:
    """vecport's export."""
    from vecport.operations.export import export

    result = export(address, folder, collection="bench", workers=workers)
    return {"rows": result.rows, "seconds": result.seconds}


def run_step(step: str, **arguments: Any) -> dict[str, Any]:
    """Run a step in a process of its own; adds ``peak_mib`` of the process and its children."""
    command = [sys.executable, __file__, "--step", step, "--arguments", json.dumps(arguments)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    peak = 0
    while process.poll() is None:
        peak = max(peak, _tree_bytes(process.pid))
        time.sleep(0.05)
    assert process.stdout is not None
    out = process.stdout.read().decode()
    if process.returncode:
        raise SystemExit(f"step {step} failed with {process.returncode}")
    result: dict[str, Any] = json.loads(out.strip().splitlines()[-1])
    return {**result, "peak_mib": peak >> 20}


def _tree_bytes(pid: int) -> int:
    total = 0
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        total += 1024 * int(rollup.split("\nPss:")[1].split()[0])
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                total += _tree_bytes(int(child))
    except (FileNotFoundError, ProcessLookupError, IndexError):
        return total
    return total


@contextlib.contextmanager
def engine(name: str, folder: Path) -> Iterator[str]:
    """Start the real engine; gives its address."""
    if name == "chroma":
        yield f"chroma:{folder / 'chroma'}"
        return
    if name == "chroma-server":
        from vecport.testing.engines.chroma import ChromaEngine

        with ChromaEngine(folder / "chroma") as server:
            yield server.address
        return
    if name == "postgres":
        from vecport.testing.engines.postgres import PostgresEngine

        with PostgresEngine() as pg:
            yield pg.address
        return
    address = os.environ.get("VECPORT_TEST_QDRANT")
    if address:
        yield address
        return
    from vecport.testing.engines.qdrant import QdrantEngine

    with QdrantEngine() as q:
        yield q.address


def rate(result: dict[str, Any]) -> float:
    """Rows per second."""
    return float(result["rows"] / result["seconds"])


def table(rows: int, dim: int, names: list[str], workers: int | None) -> None:
    """The table of rates and ratios."""
    print(f"{rows:,} x {dim}, 8 metadata fields, {os.cpu_count()} processors, Python {platform.python_version()}")
    with tempfile.TemporaryDirectory(prefix="vecport-bench-", dir=os.environ.get("VECPORT_BENCH_DIR")) as text:
        folder = Path(text)
        os.environ["VECPORT_STATE_DIR"] = str(folder / "state")
        writer = max((run_step("writer", rows=rows, dim=dim, folder=str(folder / f"w{i}")) for i in range(2)), key=rate)
        dump = str(folder / "dump")
        run_step("make", rows=rows, dim=dim, folder=dump)
        print(f"writer alone: {rate(writer):,.0f} rows/s, peak {writer['peak_mib']} MiB")
        print(f"{'':22} {'rows':>9} {'raw rows/s':>11} {'vecport':>9} {'ratio':>6} {'peak MiB':>9}")
        for name in names:
            place = folder / name
            place.mkdir()
            with engine(name, place) as address:
                _connector(name, address, dump, rows, dim, rate(writer), place, workers)


def _connector(
    name: str, address: str, dump: str, rows: int, dim: int, writer: float, folder: Path, workers: int | None
) -> None:
    sent = run_step("raw_send", name=name, address=address, rows=rows, dim=dim)
    settings = {"index": "none"} if name == "postgres" else {}
    imported = run_step("import", dump=dump, address=address, settings=settings, workers=workers)
    _line(f"{name} import", imported, sent, writer)
    fetched = run_step("raw_fetch", name=name, address=address, dim=dim, collection="raw")
    exported = run_step("export", address=address, folder=str(folder / "out"), workers=workers)
    _line(f"{name} export", exported, fetched, writer)
    shutil.rmtree(folder / "out")


def _line(label: str, ours: dict[str, Any], theirs: dict[str, Any], writer: float) -> None:
    slower = min(rate(theirs), writer)
    print(
        f"{label:22} {ours['rows']:>9,} {rate(theirs):>11,.0f} {rate(ours):>9,.0f} {rate(ours) / slower:>6.2f}"
        f" {ours['peak_mib']:>9,}",
        flush=True,
    )


def memory(dim: int, names: list[str], sizes: list[int]) -> None:
    """Peak memory of export and import at several sizes."""
    print(f"{'peak MiB':22} " + " ".join(f"{n:>12,}" for n in sizes))
    for name in names:
        peaks: dict[str, list[int]] = {"import": [], "export": []}
        for rows in sizes:
            with tempfile.TemporaryDirectory(prefix="vecport-bench-", dir=os.environ.get("VECPORT_BENCH_DIR")) as text:
                folder = Path(text)
                os.environ["VECPORT_STATE_DIR"] = str(folder / "state")
                run_step("make", rows=rows, dim=dim, folder=str(folder / "dump"))
                with engine(name, folder) as address:
                    settings = {"index": "none"} if name == "postgres" else {}
                    peaks["import"].append(run_step("import", dump=str(folder / "dump"), address=address,
                                                    settings=settings, workers=None)["peak_mib"])  # fmt: skip
                    peaks["export"].append(run_step("export", address=address, folder=str(folder / "out"),
                                                    workers=None)["peak_mib"])  # fmt: skip
        for what, found in peaks.items():
            print(f"{name + ' ' + what:22} " + " ".join(f"{p:>12,}" for p in found), flush=True)


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--connectors", default=",".join(CONNECTORS), help=f"of {', '.join(PLACES)}")
    parser.add_argument("--workers", type=int)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--sizes", default="200000,1000000")
    parser.add_argument("--step")
    parser.add_argument("--arguments")
    args = parser.parse_args()
    if args.step:
        result = globals()[f"step_{args.step}"](**json.loads(args.arguments))
        print(json.dumps(result))
    elif args.memory:
        memory(args.dim, args.connectors.split(","), [int(s) for s in args.sizes.split(",")])
    else:
        table(args.rows, args.dim, args.connectors.split(","), args.workers)


if __name__ == "__main__":
    main()
