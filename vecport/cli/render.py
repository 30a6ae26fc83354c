"""Results for people: one function a result, each returns a sheet that ends with what to do next."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .sheet import BAD, GOOD, QUIET, Sheet
from .text import records, safe, show_rate, show_size, show_time

if TYPE_CHECKING:
    from ..model.compare import Finding
    from ..operations.copy import CopyResult
    from ..operations.diff import DiffResult
    from ..operations.export import ExportResult
    from ..operations.import_ import ImportResult
    from ..operations.validate import ValidateResult
    from ..operations.verify import VerifyResult

_EXAMPLE_CHARACTERS = 60
_STATUS_STYLE = {"exact": GOOD, "encoded": GOOD, "bounded": "yellow", "lossy": BAD, "rejected": BAD}


def export(result: ExportResult) -> Sheet:
    """The dump that was made, or was there, and how to restore it."""
    sheet = _export(result) if result.found is None else _found(result)
    if result.exit_code == 3:
        sheet.line("A snapshot was required and this dump is not one.", BAD)
    return sheet.next("next", f"vecport import {shlex.quote(result.dump)} ADDRESS --collection NAME")


def _found(r: ExportResult) -> Sheet:
    facts = [
        ("completed", f"{r.found}; nothing was read now"),
        ("identity", r.identity),
        ("another", "give another folder, or replace this dump: --overwrite"),
    ]
    return Sheet().headline(f"Nothing to do: {r.dump} is there, {records(r.rows)}", good=not r.exit_code).facts(facts)


def _export(r: ExportResult) -> Sheet:
    new = r.rows - r.resumed_rows
    facts = [
        ("size", f"{show_size(r.size_bytes)} in {_count(r.shards, 'shard')}"),
        ("identity", r.identity),
        ("consistency", consistency(r.consistency)),
        ("rejects", f"{records(r.rejected)} could not be read: {r.dump}/rejects.jsonl" if r.rejected else ""),
        ("selection", "" if r.complete else "a part of the collection: no base for a complete restore"),
        ("resumed", f"{records(r.resumed_rows)} were safe from an earlier run" if r.resumed_rows else ""),
        ("time", _time(new, r.seconds)),
    ]
    return Sheet().headline(f"Exported {records(r.rows)} to {r.dump}", good=not r.exit_code).facts(facts)


def consistency(c: Mapping[str, Any]) -> str:
    """How the records were read, in words."""
    words = {"snapshot": "one snapshot", "live-scan": "a live scan",
             "multi-epoch": "several snapshots, as the run was interrupted"}  # fmt: skip
    return words.get(str(c.get("kind")), str(c.get("kind")))


def _time(rows: int, seconds: float) -> str:
    rate = show_rate(rows, seconds)
    return show_time(seconds) + (f", {rate}" if rate and seconds >= 1 else "")


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}" + ("" if n == 1 else "s")


def import_(result: ImportResult, *, to_stdout: bool = False) -> Sheet:
    """What was written, the ledger, and how to prove it; what went to standard output cannot be asked again."""
    sheet = _import(result)
    if result.dry_run:
        return sheet.line("Nothing was written: this was a dry run.")
    if to_stdout:
        return sheet
    sheet.next("verify", result.verify_command)
    return sheet.next("query", result.query_hint) if result.query_hint else sheet


def _import(r: ImportResult) -> Sheet:
    verb, rows = ("Would import", r.rows) if r.dry_run else ("Imported", r.written_rows + r.resumed_rows)
    sheet = Sheet().headline(f"{verb} {records(rows)} into {r.target}", good=not r.exit_code)
    ledger(sheet, r.ledger)
    if r.collections:
        rows_of = [(_namespace(ns), to.collection, f"{to.rows:,}") for ns, to in r.collections.items()]
        sheet.table(("namespace", "collection", "records"), rows_of, right=("records",))
    return sheet.facts([
        ("from", r.dump),
        ("resumed", f"{records(r.resumed_rows)} were there from an earlier run" if r.resumed_rows else ""),
        ("time", _time(r.written_rows, r.seconds)),
    ])  # fmt: skip


def _namespace(name: str) -> str:
    return safe(name, _EXAMPLE_CHARACTERS) if name else "(default)"


def ledger(sheet: Sheet, entries: Sequence[Mapping[str, Any]]) -> Sheet:
    """What happens to each field; those that come back exactly are counted in one line."""
    exact = sum(e["status"] == "exact" for e in entries)
    rows = [
        ((e["status"], _STATUS_STYLE.get(e["status"], "")), e["field"], f"{e['count']:,}", e["why"],
         (safe(e["example"], _EXAMPLE_CHARACTERS), QUIET))
        for e in entries if e["status"] != "exact"
    ]  # fmt: skip
    if rows:
        columns = ("status", "field", "records", "why", "example")
        shown = len(columns) if any(e["example"] for e in entries) else len(columns) - 1
        sheet.table(columns[:shown], [row[:shown] for row in rows], right=("records",))
    if exact:
        what = f"{'' if not rows else 'and '}{_count(exact, 'field')} {'comes' if exact == 1 else 'come'} back exactly"
        sheet.line(what, QUIET)
    return sheet


def copy(result: CopyResult) -> Sheet:
    """The three steps."""
    sheet = Sheet()
    if result.export is not None:
        sheet.add(_export(result.export)).gap()
    sheet.add(_import(result.import_)).gap().add(verify(result.verify))
    sheet.line(f"the dump is kept: {result.dump}", QUIET)
    return sheet.next("query", result.import_.query_hint) if result.import_.query_hint else sheet


def verify(result: VerifyResult) -> Sheet:
    """The verdict first, then what differs."""
    r = result
    good = not r.exit_code
    verdict = "Equal" if good and not r.within_bound else "Equal within the bounds" if good else "Different"
    if r.level == "quick" and good:
        verdict = "Counts are equal"
    alone = f", namespace {_namespace(r.namespace)} alone" if r.namespace is not None else ""
    sheet = Sheet().headline(f"{verdict}: {r.target} against {r.dump}{alone}", good=good)
    if r.collections:
        shown = [(("✗", BAD) if one.exit_code else ("✓", GOOD), _namespace(ns), one.target.rpartition("#")[2],
                  f"{one.rows:,}") for ns, one in r.collections.items()]  # fmt: skip
        sheet.table(("", "namespace", "collection", "records"), shown, right=("records",))
    rows = [
        _change("=", r.equal, "equal", GOOD),
        _change("=", r.within_bound, f"equal {r.bound}", GOOD),
        _change("-", r.missing, "missing in the database", BAD),
        _change("+", r.extra, "in the database only", BAD),
        _change("*", r.changed, "changed", BAD),
        _repeated(r.repeated),
        *_schema(r.schema_changes),
    ]
    _findings(_changes(sheet, rows), r.parts, r.examples, {"missing": "-", "extra": "+"}, ("dump", "database"))
    read = ("read", _METHODS.get(r.method, r.method))
    if r.level == "quick":
        return sheet.facts([read, ("time", _time(0, r.seconds))])
    sheet.facts([("compared", r.bound), read, ("time", _time(r.rows, r.seconds))])
    return _recorded(sheet, r.by_recorded_hashes, "the dump")


_METHODS = {
    "scan": "every record of the database, once",
    "fetch": "the dump's records, by their keys",
    "count": "no record: counts alone",
}


def diff(result: DiffResult) -> Sheet:
    """``=`` unchanged, ``+`` only in B, ``-`` only in A, ``*`` changed, ``!`` the schema."""
    r = result
    good = not r.exit_code
    headline = "Identical" if r.identical else "No difference beyond the bounds" if good else "Different"
    if r.level == "quick" and not good:
        headline = "The identities differ"
    sheet = Sheet().headline(headline, good=good)
    sheet.facts([("A", f"{r.a} ({records(r.rows_a)})"), ("B", f"{r.b} ({records(r.rows_b)})")])
    rows = [
        *_schema(r.schema_changes),
        _change("=", r.unchanged, "unchanged", GOOD),
        _change("=", r.within_bound, f"vectors equal {r.bound}", GOOD),
        _change("+", r.added, "only in B", BAD),
        _change("-", r.removed, "only in A", BAD),
        _change("*", r.changed, "changed", BAD),
        _repeated(r.repeated),
    ]
    _findings(_changes(sheet, rows), r.parts, r.examples, {"missing": "-", "extra": "+"}, ("A", "B"))
    if r.level == "quick":
        sheet.facts([("compared", "identities alone"), ("time", _time(0, r.seconds))])
    else:
        sheet.facts([("compared", r.bound), ("time", _time(r.rows_a + r.rows_b, r.seconds))])
    return _recorded(sheet, r.by_recorded_hashes, "the dumps")


_Change = tuple[object, ...]


def _change(symbol: str, count: int, what: str, style: str) -> _Change | None:
    return ((symbol, style), f"{count:,}", what) if count else None


def _repeated(count: int) -> _Change | None:
    what = "key stands" if count == 1 else "keys stand"
    return _change("*", count, f"{what} another number of times", BAD)


def _findings(
    sheet: Sheet, parts: Mapping[str, int], examples: Iterable[Finding], signs: Mapping[str, str],
    sides: tuple[str, str],
) -> Sheet:  # fmt: skip
    """Changed records by part, then some findings: a line for each part, with both values."""
    if parts:
        rows = [(_shown(name), f"{n:,}") for name, n in parts.items()]
        sheet.gap().table(("part", "records"), rows, right=("records",))
    shown: list[Sequence[object]] = []
    for finding in examples:
        key = "/".join(_shown(text) for text in (finding.namespace, finding.id) if text)
        sign = (signs.get(finding.kind, "*"), BAD)
        if not finding.parts:
            shown.append((sign, key, "", ""))
        for part in finding.parts:
            off = "" if part.distance is None else f" ({part.distance:.3g} off)"
            shown.append((sign, key, _shown(part.name), f"{_shown(part.a)} → {_shown(part.b)}{off}"))
    if shown:
        wide = 4 if any(row[2] for row in shown) else 2
        columns = ("", "such as", "part", f"{sides[0]} → {sides[1]}")[:wide]
        sheet.gap().table(columns, [row[:wide] for row in shown])
    return sheet.gap() if parts or shown else sheet


def _shown(text: str) -> str:
    return safe(text, _EXAMPLE_CHARACTERS)


def _recorded(sheet: Sheet, recorded: bool, whose: str) -> Sheet:
    if recorded:
        sheet.line(f"by the hashes that {whose} recorded: --level deep computes them from the data", QUIET)
    return sheet


def _schema(changes: Iterable[str]) -> list[_Change | None]:
    return [(("!", BAD), "", f"schema: {change}") for change in changes]


def _changes(sheet: Sheet, rows: Sequence[_Change | None]) -> Sheet:
    found = [row for row in rows if row is not None]
    return sheet.table(("", "", ""), found, headless=True) if found else sheet


def validate(result: ValidateResult) -> Sheet:
    """The verdict, then a line a rule, with the message of every check that failed."""
    r = result
    failed = sum(not c["passed"] for c in r.checks)
    verdict = "Valid" if r.valid else "Not valid"
    what = f"{_count(failed, 'finding')} in" if failed else "all of"
    sheet = Sheet().headline(f"{verdict}: {r.dump} ({what} {_count(len(r.checks), 'check')}, {r.level})", good=r.valid)
    sheet.table(("", "rule", "checks", "what"), _rules(r.checks), right=("checks",))
    sheet.facts([("time", show_time(r.seconds))])
    deeper = {"quick": "full", "full": "deep"}.get(r.level)
    if r.valid and deeper:
        sheet.next("next", f"vecport validate {shlex.quote(r.dump)} --level {deeper}")
    return sheet


def _rules(checks: Iterable[Mapping[str, Any]]) -> Iterable[tuple[object, ...]]:
    passed: dict[str, list[Mapping[str, Any]]] = {}
    for check in checks:
        passed.setdefault(check["rule"], []).append(check)
    for rule, same in passed.items():
        bad = [c for c in same if not c["passed"]]
        if not bad:
            yield ("✓", GOOD), rule, f"{len(same):,}", same[0]["message"] if len(same) == 1 else ""
        for c in bad:
            yield ("✗", BAD), rule, "1", c["message"]


__all__ = ["consistency", "copy", "diff", "export", "import_", "ledger", "validate", "verify"]
