"""The order of the demo's steps, and what is said about each."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import vecport

from ..dump.dump import Dump
from ..errors import AlreadyExists
from . import places as p
from . import sample
from .paper import BAD, GOOD, MISSING, QUIET, STRONG, Paper, cut

NEIGHBOURS = 5
#: Keys of the record that is shown as each database holds it.
_SHOWN = (
    "section",
    "maintainer",
    "homepage",
    "installed_size_kb",
    "compression_ratio",
    "is_library",
    "tags",
    "_vecport",
)
_CELL = 18


def tell(folder: Path | None, console: Any) -> int:
    """Run the demo; see ``vecport.demo.run``."""
    p.require()
    data = sample.find()
    paper = Paper(console)
    with _workspace(folder) as work, p.state_in(work / ".state"):
        try:
            _Story(data, work, paper, kept=folder is not None).run()
        finally:
            shutil.rmtree(work / ".state", ignore_errors=True)
    _end(paper, data, folder)
    return 0 if paper.good else 3


@contextmanager
def _workspace(folder: Path | None) -> Iterator[Path]:
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="vecport-demo-", ignore_cleanup_errors=True) as work:
            yield Path(work)
        return
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise AlreadyExists(f"{folder} is there and not empty", safe="it was not changed", next="name a new folder")
    folder.mkdir(parents=True, exist_ok=True)
    yield folder


@dataclass(slots=True)
class _Story:
    """One run of the demo."""

    data: sample.Sample
    work: Path
    paper: Paper
    kept: bool

    def run(self) -> None:
        """Every step, in order."""
        given = vecport.open_dump(self.data.dump)
        self._introduce(given)
        with p.Places(self.work / "chroma") as places:
            chroma, qdrant, postgres = self._start(places)
            self._fill(chroma, given)
            first = self._export(chroma, "packages.vecport", "Chroma")
            self._validate(first)
            self._compare_with_sample(first)
            for place in (qdrant, postgres):
                self._import(first, place)
            for place in (qdrant, postgres):
                self._verify(first, place)
            copies = {
                place.title: self._export(place, f"from-{place.title.lower()}.vecport", place.title)
                for place in (qdrant, postgres)
            }
            for title, copy in copies.items():
                self._diff(first, copy, title)
            self._identities({"Chroma": first, **copies})
            self._as_held((chroma, qdrant, postgres), vecport.open_dump(first))
            self._neighbours((chroma, qdrant, postgres), vecport.open_dump(first))

    def _introduce(self, given: Dump) -> None:
        (vector,) = given.collection.vectors
        self.paper.line("One collection, three databases, nothing lost in silence", STRONG)
        self.paper.line(
            f"{given.manifest.rows:,} Debian packages: a description, metadata, and a vector of {vector.dim} dimensions"
        )
        where = str(self.work) if self.kept else "a temporary folder"
        self.paper.line(f"Real engines, all of them on loopback; files in {where}", QUIET)
        self.paper.line()

    def _start(self, places: p.Places) -> tuple[p.Place, p.Place, p.Place]:
        with self.paper.step("start", "the databases") as step:
            found = places.ready()
            for place in found:
                step.below(place.runs)
        return found

    def _fill(self, chroma: p.Place, given: Dump) -> None:
        with self.paper.step("fill", "a Chroma folder, as an application does") as step:
            step.rows = p.fill_chroma(self.work / "chroma", given)
            step.good = step.rows == given.manifest.rows

    def _export(self, place: p.Place, name: str, title: str) -> str:
        dump = str(self.work / name)
        with self.paper.step("export", f"{title} -> {name}") as step:
            result = vecport.export(place.address, dump, collection=p.COLLECTION, progress=step)
            seen = result.consistency
            agree = seen["count_before"] == seen["count_after"] == result.rows
            step.rows, step.seconds, step.good = result.rows, result.seconds, agree and not result.exit_code
            kind = {"snapshot": "one snapshot", "live-scan": "a live scan"}.get(seen["kind"], str(seen["kind"]))
            step.below(f"{result.size_bytes / 1e6:.1f} MB, {kind}, counts {'agree' if agree else 'differ'}")
        return dump

    def _validate(self, dump: str) -> None:
        with self.paper.step("validate", "every byte, every record, every hash") as step:
            result = vecport.validate(dump, level="deep", progress=step)
            step.rows, step.seconds, step.good = vecport.open_dump(dump).manifest.rows, result.seconds, result.valid
            step.below(f"{sum(c['passed'] for c in result.checks)} of {len(result.checks)} checks passed")

    def _compare_with_sample(self, first: str) -> None:
        with self.paper.step("diff", "what went into Chroma and what came out") as step:
            result = vecport.diff(self.data.dump, first, progress=step)
            step.seconds, step.good = result.seconds, not result.exit_code
            step.below(
                f"{result.unchanged:,} records equal bit for bit, {result.within_bound:,} {result.bound}"
                " (Chroma's cosine index)"
            )

    def _import(self, dump: str, place: p.Place) -> None:
        with self.paper.step("import", f"packages.vecport -> {place.title}") as step:
            result = vecport.import_(dump, place.address, collection=p.COLLECTION, progress=step)
            step.rows, step.seconds, step.good = result.written_rows, result.seconds, not result.exit_code
            step.ledger(result.ledger)

    def _verify(self, dump: str, place: p.Place) -> None:
        with self.paper.step("verify", f"{place.title}, record by record") as step:
            result = vecport.verify(dump, place.address, collection=p.COLLECTION, progress=step)
            step.rows, step.seconds, step.good = result.rows, result.seconds, not result.exit_code
            within = f", {result.within_bound:,} {result.bound}" if result.within_bound else ""
            wrong = result.missing + result.extra + result.changed + result.repeated
            step.below(f"{result.equal:,} of {result.rows:,} equal bit for bit{within}, {wrong:,} different")

    def _diff(self, first: str, copy: str, title: str) -> None:
        with self.paper.step("diff", f"Chroma's dump and {title}'s") as step:
            result = vecport.diff(first, copy, progress=step)
            step.seconds, step.good = result.seconds, result.identical
            step.below("identical" if result.identical else "different: " + json.dumps(_differences(result)))

    def _identities(self, dumps: Mapping[str, str]) -> None:
        self.paper.title("Identity of the three dumps: one digest of schema, ids, vectors, documents and metadata")
        known = ""
        for title, dump in dumps.items():
            text = str(vecport.open_dump(dump).manifest.identity)
            known = known or text
            self.paper.good = self.paper.good and text == known
            self.paper.pair(title, text, GOOD if text == known else BAD)

    def _as_held(self, places: tuple[p.Place, ...], dump: Dump) -> None:
        record_id = _telling_record(dump)
        held = [p.as_held(place, record_id) for place in places]
        self.paper.title(f"One record as each database holds it: {record_id}")
        rows = [["id", *(_cell(h["id"]) for h in held)]]
        rows += [["document", *(_cell(h["document"] or h["metadata"].get("document")) for h in held)]]
        rows += [[key, *(_cell(h["metadata"].get(key, MISSING)) for h in held)] for key in _SHOWN]
        self.paper.table(["", *(place.title for place in places)], rows)

    def _neighbours(self, places: tuple[p.Place, ...], dump: Dump) -> None:
        vectors = [query.vector for query in self.data.queries]
        names = p.stand_ins(dump)
        found = [p.nearest(place, vectors, names, NEIGHBOURS) for place in places]
        exact = p.exact_nearest(dump, vectors, NEIGHBOURS)
        self.paper.title(f"Search: “{self.data.queries[0].text}”, with the cosine similarity")
        rows = [
            [str(rank + 1), *(f"{hits[0][rank].score:.4f}  {hits[0][rank].id}" for hits in found)]
            for rank in range(min(len(hits[0]) for hits in found))
        ]
        self.paper.table(["", *(place.title for place in places)], rows)
        same = sum(all([n.id for n in hits[number]] == wanted for hits in found) for number, wanted in enumerate(exact))
        self.paper.good = self.paper.good and same == len(exact)
        self.paper.line(
            f"  {same} of {len(exact)} questions: the same {NEIGHBOURS} neighbours in the same order in all three,"
            " and by an exact search of the dump",
            GOOD if same == len(exact) else BAD,
        )


def _differences(result: Any) -> dict[str, Any]:
    names = ("added", "removed", "changed", "repeated", "parts")
    return {name: getattr(result, name) for name in names} | {"schema": list(result.schema_changes)}


def _telling_record(dump: Dump) -> str:
    """A record with letters beyond ASCII that lacks a key which others have."""
    for entry in dump.manifest.shards:
        for batch in dump.shard(entry).columns(["id", "metadata"]):
            for row in batch.to_pylist():
                metadata = json.loads(row["metadata"])
                if "homepage" not in metadata and "tags" in metadata and not metadata["maintainer"].isascii():
                    return str(row["id"])
    return str(next(dump.keys(("id",))).column("id")[0])


def _cell(value: Any) -> str:
    if value is None or value == MISSING:
        return MISSING
    text = value.splitlines()[0] if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return cut(text, _CELL)


def _end(paper: Paper, data: sample.Sample, folder: Path | None) -> None:
    program = _program()
    paper.line()
    if folder is None:
        paper.line("The databases are stopped and everything is removed. To go on:")
        paper.command(f"{program} demo --keep ./vecport-demo", "the same, and the dumps stay")
        paper.command(f"{program} inspect {shlex.quote(_near(data.dump))}", "what a dump says of itself")
        paper.command(
            f"{program} copy chroma:./FOLDER qdrant://localhost:6333",
            "your own collection, exported, imported, verified",
        )
        return
    at = shlex.quote(str(folder))
    paper.line(f"The servers are stopped and their data is removed; the dumps and the Chroma folder stay in {folder}.")
    paper.command(f"{program} inspect {at}/packages.vecport", "what a dump says of itself")
    paper.command(f"{program} diff {at}/packages.vecport {at}/from-postgres.vecport", "two dumps compared")
    paper.command(f"{program} import {at}/packages.vecport qdrant://localhost:6333", "into a Qdrant of your own")


def _near(path: Path) -> str:
    """A path as short as it can be typed here."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


def _program() -> str:
    """How this program is called in this shell."""
    own, found = Path(sys.argv[0]), shutil.which("vecport")
    if own.name != "vecport" or (found and os.path.samefile(found, own)):
        return "vecport"
    return shlex.quote(_near(own.absolute()))
