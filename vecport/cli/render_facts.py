"""Plain facts for people: what ``inspect`` and ``plan`` found, lists of places and of connectors."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .render import consistency, ledger
from .sheet import GOOD, QUIET, Sheet
from .text import records, safe, show_size, show_time

if TYPE_CHECKING:
    from ..operations.connectors import ConnectorsResult
    from ..operations.inspect import InspectResult
    from ..operations.ls import LsResult
    from ..operations.plan import PlanResult

_CELL_CHARACTERS = 100
_SIZES = ("bytes", "dump_bytes_about", "free_bytes_here")
_LABELS = {"bytes": "size", "dump_bytes_about": "dump, about", "free_bytes_here": "free space here"}
_VECTOR_COLUMNS = ("name", "kind", "dtype", "dim", "metric", "column")
_FIELD_COLUMNS = ("name", "type", "logical")


def inspect(result: InspectResult) -> Sheet:
    """The manifest: what it is, its schema, where it comes from."""
    facts = dict(result.facts)
    sheet = Sheet().headline(f"{result.dump}: {records(facts.pop('rows', 0))}")
    schema = {k: facts.pop(k, None) for k in ("vectors", "fields")}
    profile = facts.pop("profile", None) or {}
    facts.pop("native", None)
    facts |= _origin(facts.pop("source", None) or {})
    _facts(sheet, facts)
    _schema(sheet, schema)
    _profile(sheet, profile)
    return sheet.next("next", f"vecport validate {shlex.quote(result.dump)}")


def _origin(source: Mapping[str, Any]) -> dict[str, Any]:
    """Where the records came from, and whether they stood still meanwhile."""
    rest = {k: v for k, v in source.items() if k not in ("system", "version", "consistency")}
    seen = dict(source.get("consistency") or {})
    kind = consistency(seen)
    counts = [f"{seen[k]:,} {k.removeprefix('count_')}" for k in ("count_before", "count_after")
              if isinstance(seen.get(k), int)]  # fmt: skip
    system = f"{source.get('system', '')} {source.get('version', '')}".strip()
    rejected = seen.get("rejected")
    counts += [f"{rejected:,} could not be read"] if isinstance(rejected, int) else []
    return {
        "source": system + (f", {_value('', rest)}" if rest else ""),
        "consistency": kind + (f" ({', '.join(counts)})" if counts else ""),
    }


def plan(result: PlanResult) -> Sheet:
    """What would happen."""
    facts = dict(result.facts)
    rows = facts.pop("rows", None)
    count = records(rows) if rows is not None else "records not counted"
    sheet = Sheet().headline(f"{result.source}: {count}")
    schema = facts.pop("schema", None) or {}
    target, creates = facts.pop("target", None), facts.pop("creates", None)
    permissions = facts.pop("permissions", None) or []
    figures = facts.pop("estimates", None) or []
    # The notes say them.
    facts.pop("effects", None)
    if facts.get("namespaces"):
        facts["namespaces"] = {name or "(default)": n for name, n in facts["namespaces"].items()}
    collections = facts.pop("collections", None) or {}
    _facts(sheet, facts)
    sheet.facts(_permissions(permissions, "source"))
    _schema(sheet, schema)
    if result.target:
        sheet.gap().headline(result.target)
        sheet.facts(_target(target or {}) if not collections else _room(target or {}))
        sheet.facts(_permissions(permissions, "target"))
        _collections(sheet, collections)
        if creates:
            _schema(sheet, creates, "created")
        if result.ledger:
            ledger(sheet, result.ledger)
            if result.sampled is not None:
                sheet.line(f"The ledger counts a sample of {records(result.sampled)}.", QUIET)
    if figures:
        rows = [(safe(e["what"], _CELL_CHARACTERS), _figure(e), (safe(e["basis"], _CELL_CHARACTERS), QUIET))
                for e in figures]  # fmt: skip
        sheet.gap().table(("estimate", "about", "basis"), rows)
    return sheet


def _figure(estimate: Mapping[str, Any]) -> str:
    """``1.5 GiB``, ``20 s to 2 min``, ``?``."""
    low, high = estimate["low"], estimate["high"]
    if low is None or high is None:
        return "?"
    show = {"bytes": lambda x: show_size(int(x)), "s": show_time}.get(estimate["unit"], lambda x: f"{int(x):,}")
    return show(low) if show(low) == show(high) else f"{show(low)} to {show(high)}"


def _permissions(permissions: Sequence[Mapping[str, Any]], role: str) -> Iterator[tuple[str, str]]:
    """Which are there, which are missing (the notes say more), and which cannot be told."""
    for label, allowed in (("allowed", True), ("not allowed", False), ("not known", None)):
        found = [p for p in permissions if p["role"] == role and p["allowed"] is allowed]
        if allowed is None:
            yield label, "; ".join(f"{p['what']} ({p['why']})" for p in found)
        else:
            yield label, ", ".join(p["what"] for p in found)


def _target(target: Mapping[str, Any]) -> Mapping[str, object]:
    more = _room(target)
    if "exists" not in target:
        return {"import would": target.get("would"), **more}
    if not target["exists"]:
        return {"now": "does not exist: it would be created", **more}
    rows = target.get("rows")
    now = "exists" + (f" with {records(rows)}" if rows is not None else "")
    return {"now": now, "import would": target.get("would"), "version": target.get("version"), **more}


def _room(target: Mapping[str, Any]) -> Mapping[str, object]:
    room = target.get("free_bytes")
    return {"free space": f"{show_size(room)} in {target.get('folder')}"} if isinstance(room, int) else {}


def _collections(sheet: Sheet, collections: Mapping[str, Mapping[str, Any]]) -> None:
    """Where each namespace would go, and what is there."""
    rows = [
        (safe(ns, _CELL_CHARACTERS) or "(default)", c["collection"], f"{c['records']:,}",
         "does not exist" if not c["exists"] else records(c["rows"] or 0), c["would"])
        for ns, c in collections.items()
    ]  # fmt: skip
    if rows:
        sheet.gap().table(("namespace", "collection", "records", "now", "import would"), rows, right=("records",))


def _facts(sheet: Sheet, facts: Mapping[str, Any]) -> None:
    sheet.facts((_LABELS.get(name) or name.replace("_", " "), _value(name, value)) for name, value in facts.items())


def _value(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return show_size(value) if name in _SIZES else f"{value:,}"
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {_value(k, v)}" for k, v in value.items() if v not in (None, [], "", {}))
    if isinstance(value, list | tuple):
        return ", ".join(_value(name, v) for v in value)
    return "" if value is None else str(value)


def _schema(sheet: Sheet, schema: Mapping[str, Any], prefix: str = "") -> None:
    for part, columns in (("vectors", _VECTOR_COLUMNS), ("fields", _FIELD_COLUMNS)):
        items = schema.get(part) or []
        if not items:
            continue
        shown = [c for c in columns if any(i.get(c) is not None for i in items)]
        rows = [[_cell(i.get(c)) for c in shown] for i in items]
        for row in rows:
            row[0] = row[0] or "(no name)"
        sheet.gap().table((f"{prefix} {part}".strip(), *shown[1:]), rows, right=("dim",))


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool | int | str):
        return safe(value, _CELL_CHARACTERS)
    return safe(json.dumps(value, ensure_ascii=False, default=str), _CELL_CHARACTERS)


def _profile(sheet: Sheet, profile: Mapping[str, Any]) -> None:
    """What the records hold: each metadata key with the kinds of its values."""
    keys = profile.get("keys") or profile.get("metadata") or {}
    if not isinstance(keys, Mapping) or not keys:
        return
    rows = [(safe(key, _CELL_CHARACTERS), _kinds(found)) for key, found in keys.items()]
    sheet.gap().table(("metadata", "values"), rows)


def _kinds(found: Any) -> str:
    if not isinstance(found, Mapping):
        return _cell(found)
    kinds = found.get("kinds", found)
    parts = []
    for kind, value in kinds.items():
        count = value.get("count") if isinstance(value, Mapping) else value
        parts.append(f"{kind} {count:,}" if isinstance(count, int) else str(kind))
    return ", ".join(parts)


def ls(result: LsResult, typed: str = "") -> Sheet:
    """A table of collections or dumps; ``typed`` is the address as the user wrote it, for the next command."""
    if not result.entries:
        return Sheet().headline(f"{result.place}: nothing is here")
    one = result.kind.removesuffix("s")
    sheet = Sheet().table(
        (one, "records", "detail"),
        [(e["name"], "?" if e["rows"] is None else f"{e['rows']:,}", (e["detail"], QUIET)) for e in result.entries],
        right=("records",),
    )  # fmt: skip
    first = result.entries[0]["name"]
    if result.kind == "collections":
        command = ["vecport", "export", typed or result.place, f"./{_folder(first)}.vecport", "-c", first]
        return sheet.gap().next("next", shlex.join(command))
    where = result.place.rstrip("/") if first == "." else f"{result.place.rstrip('/')}/{first}"
    return sheet.gap().next("next", shlex.join(["vecport", "inspect", where]))


def _folder(name: str) -> str:
    return "".join(c if c.isalnum() or c in "._-" else "_" for c in name) or "dump"


def connectors(result: ConnectorsResult) -> Sheet:
    """A table of databases, and how to install what is missing."""
    yes = ("✓", GOOD)
    rows: Sequence[Sequence[object]] = [
        (c.name, c.title, yes if c.source else "", yes if c.target else "", yes if c.installed else "",
         (c.problem or c.example, QUIET))
        for c in result.entries
    ]  # fmt: skip
    sheet = Sheet().table(("connector", "database", "read", "write", "here", "address"), rows)
    missing = [c.install for c in result.entries if not c.installed and c.install]
    return sheet.gap().next("install", "\n".join(missing)) if missing else sheet


__all__ = ["connectors", "inspect", "ls", "plan"]
