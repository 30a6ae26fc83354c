"""Tables of the documentation that are made from the code.

``python docs/generate.py --write`` renews them in place; ``--check`` exits 1 when one is not what the code says.
A table stands between ``<!-- generated: NAME -->`` and ``<!-- end -->``.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from vecport.connectors import registry
from vecport.connectors.chroma import ChromaFolderSource, ChromaFolderTarget, ChromaServerSource, ChromaServerTarget
from vecport.connectors.contract import Source, Target
from vecport.connectors.jsonl import JsonlSource, JsonlTarget
from vecport.connectors.kit.settings import documented
from vecport.connectors.postgres import PostgresSource, PostgresTarget
from vecport.connectors.postgres.types import BASES
from vecport.connectors.postgres.vectors import VECTOR_TYPES
from vecport.connectors.qdrant import QdrantFolderSource, QdrantFolderTarget, QdrantSource, QdrantTarget
from vecport.errors import EXIT_CODES
from vecport.limits import DEFAULT_LIMITS
from vecport.model.capabilities import VALUE_KINDS, Names, TargetCapabilities

ROOT = Path(__file__).resolve().parent.parent
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
#: Kinds of places by connector: how the address looks, and the classes that read and write them.
PLACES: dict[str, tuple[tuple[str, type[Source], type[Target]], ...]] = {
    "chroma": (
        ("`chroma:./folder`", ChromaFolderSource, ChromaFolderTarget),
        ("`chroma://host:8000`", ChromaServerSource, ChromaServerTarget),
    ),
    "qdrant": (
        ("`qdrant://host:6333`", QdrantSource, QdrantTarget),
        ("`qdrant:./folder`", QdrantFolderSource, QdrantFolderTarget),
    ),
    "postgres": (("`postgresql://me@host/db`", PostgresSource, PostgresTarget),),
    "jsonl": (("`jsonl:./rows.jsonl`", JsonlSource, JsonlTarget),),
}
#: Connectors that need no page.
INTERNAL = frozenset(name for name in registry.names() if registry.get(name).info.hidden)

_KINDS = {
    "null": "null", "boolean": "booleans", "integer": "integers to 2^53", "integer64": "64-bit integers",
    "integer64u": "unsigned 64-bit integers", "integer_big": "larger integers", "number": "floats",
    "number_exponent": "floats from 1e16", "number_negative_zero": "-0.0", "nonfinite": "NaN and infinities",
    "decimal": "decimals", "bytes": "bytes", "surrogates": "lone surrogates", "string": "strings",
    "string_nul": "strings with U+0000", "list_empty": "empty lists", "list_string": "lists of strings",
    "list_integer": "lists of integers", "list_number": "lists of floats", "list_boolean": "lists of booleans",
    "list_mixed": "mixed lists", "object": "objects",
}  # fmt: skip
_NAME = re.compile(r"<!-- generated: ([a-z -]+?) -->\n.*?<!-- end -->", re.DOTALL)


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [heads, ["---"] * len(heads), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def databases() -> str:
    """All databases, a line for each kind of place."""
    rows = []
    for name, places in PLACES.items():
        title = registry.get(name).info.title
        for address, source, target in places:
            rows.append([f"[{title}](docs/databases/{name}.md)", address, reads(source), ids(target.capabilities),
                         encoded_briefly(target.capabilities), bounded(target.capabilities)])  # fmt: skip
    return table(("database", "address", "an export reads", "ids it keeps", "encoded on import", "bounded"), rows)


def reads(source: type[Source]) -> str:
    """Snapshot or live scan, and what a resumed export can do."""
    caps = source.capabilities
    return "one snapshot" if caps.snapshot else "a live scan"


def ids(caps: TargetCapabilities) -> str:
    """Which ids stay as they are."""
    if caps.id_text:
        typed = [word for kind, word in (("int", "integers"), ("uuid", "UUIDs")) if kind in caps.id_kinds]
        return ", ".join([*typed, "any text"]) + (f" to {caps.id_max_bytes:,} bytes" if caps.id_max_bytes else "")
    kinds = {"int": f"integers {_power(caps.id_int_min)} to {_power(caps.id_int_max)}", "uuid": "UUIDs"}
    return ", ".join(text for kind, text in kinds.items() if kind in caps.id_kinds)


def _power(number: int) -> str:
    for sign, bits in ((1, 64), (1, 63)):
        if number == sign * (1 << bits) - 1:
            return f"2^{bits}-1"
    return "-2^63" if number == -(1 << 63) else f"{number:,}"


def encoded_kinds(caps: TargetCapabilities) -> list[str]:
    """Kinds of metadata values that come back exactly and are not held as they are."""
    return [_KINDS[kind] for kind in VALUE_KINDS if kind not in caps.metadata.exact]


def encoded_briefly(caps: TargetCapabilities) -> str:
    """For the overview."""
    parts = [] if caps.id_text else ["other ids"]
    parts += [] if caps.native_document else ["documents"]
    parts += [] if caps.native_namespace else ["namespaces"]
    kinds = len(encoded_kinds(caps))
    parts += [f"{kinds} of {len(VALUE_KINDS)} kinds of values"] if kinds else []
    return ", ".join(parts) or "nothing"


def bounded(caps: TargetCapabilities) -> str:
    """By metric, how far vectors may differ on the way back."""
    parts = [
        f"{metric}: {bound.relative:g}" + (" (unit vectors)" if bound.normalized else "")
        for metric, bound in sorted(caps.bounds.items())
    ]
    for dtype, bounds in sorted(caps.dtype_bounds.items()):
        own = [f"{metric} {bound.relative:g}" for metric, bound in sorted(bounds.items())]
        parts.append(f"of {dtype}: {', '.join(own) or 'bit for bit'}")
    return ", ".join(parts) or "nothing"


def named(names: Names) -> str:
    """Which names are taken, and what the one without a name is called."""
    parts = [names.says or ("any text" if not names.grammar else f"those that match `{names.grammar}`")]
    parts += [f"up to {names.max_bytes:,} bytes" + (" in each part" if names.parts else "")] if names.max_bytes else []
    parts += [f"the default one is `{names.default}`"] if names.default else []
    return "; ".join(parts)


def _metrics(caps: TargetCapabilities) -> str:
    """The metrics, and those of kinds of vectors that have others."""
    kinds = [f"{kind}: {', '.join(sorted(metrics))}" for kind, metrics in sorted(caps.kind_metrics.items())]
    return "; ".join([", ".join(sorted(caps.metrics)), *kinds]) + ("" if caps.metric_required else ", or none")


def capabilities(name: str) -> str:
    """What one database holds, from the code."""
    places = PLACES[name]
    _, _, target = places[0]
    caps = target.capabilities
    rows = [["an export reads", "; ".join(f"{address}: {reads(source)}" for address, source, _ in places)]]
    rows += [["an interrupted export", "; ".join(_resumes(address, source) for address, source, _ in places)]]
    rows += [["ids kept as they are", ids(caps)]]
    if not caps.id_text:
        rows += [["text ids that are all spelled so", "kept too, and come back as text"]]
        rows += [["other ids", "encoded: stored as UUIDv5, the original in the key `_vecport`"]]
    rows += [
        ["vectors a record", f"up to {caps.vectors}" if caps.vectors > 1 else "one"],
        ["kinds of vectors", "; ".join(f"{k}: {', '.join(sorted(v))}" for k, v in sorted(caps.kinds.items()))],
        ["dimensions", f"up to {caps.max_dim:,}"],
        ["metrics", _metrics(caps)],
        ["a record without its vector", "kept" if caps.null_vectors else "rejected"],
        ["NaN or infinity in a vector", "kept" if caps.nonfinite_vectors else "rejected"],
        ["vectors come back", bounded(caps) if caps.bounds else "bit for bit"],
        ["documents", "kept" if caps.native_document else "encoded: under a metadata key"],
        ["namespaces", "kept" if caps.native_namespace else "encoded: under a metadata key"],
        ["names of collections", named(caps.collection_names)],
        *([["names of namespaces", named(caps.namespace_names)]] if caps.native_namespace else []),
        ["typed columns", "kept" if caps.typed_fields else "become metadata"],
        ["metadata values encoded", ", ".join(encoded_kinds(caps)) or "none"],
        ["floats", "those that the database would change are encoded" if caps.metadata.survives else "kept"],
        ["remembers its schema", "yes, in a passport" if caps.passport else "no"],
        ["an import acknowledges", _ACKS[caps.ack]],
        ["`--if-exists`", ", ".join(sorted(caps.if_exists))],
        ["`--on-conflict`", ", ".join(sorted(caps.on_conflict))],
    ]
    return table(("", registry.get(name).info.title), rows)


_ACKS = {
    "upsert": "each row group on this machine, after the database has it",
    "transactional": "each row group in the target itself, together with its records",
    "rebuild": "the whole collection at once",
}


def _resumes(address: str, source: type[Source]) -> str:
    caps = source.capabilities
    if not caps.snapshot:
        return f"{address}: goes on behind the last durable record"
    return f"{address}: goes on while its snapshot lives, else " + (
        "goes on in a new one" if caps.key_ordered else "begins again"
    )


def options(name: str) -> str:
    """The option table of one connector."""
    rows = []
    for option in registry.get(name).info.options:
        variable = option.name.upper().replace("-", "_")
        env = ", ".join(f"`{e}`" for e in (f"VECPORT_SOURCE_{variable}", f"VECPORT_TARGET_{variable}", *option.env))
        how = "environment only" if option.secret else f"`{option.name}=...`"
        rows.append([how, option.help, f"`{option.default}`" if option.default else "", env])
    return table(("option", "what it is", "default", "environment"), rows)


def settings(name: str) -> str:
    """What ``--set`` takes of one connector."""
    rows = ([key, help, takes] for key, help, takes in documented(registry.get(name).info.settings))
    return table(("`--set`", "what it is", "takes"), rows)


def exit_codes() -> str:
    """Code and meaning."""
    return table(("code", "meaning"), ([str(code), meaning] for code, meaning in EXIT_CODES.items()))


def limits() -> str:
    """Bounds on what is read from a dump."""
    return table(
        ("bound", "default"), ([f"`{n}`", f"{getattr(DEFAULT_LIMITS, n):,}"] for n in DEFAULT_LIMITS.__slots__)
    )


def postgres_types() -> str:
    """Column types of Postgres: how their values stand in a dump, and which may be ids."""
    bases = [base for base in BASES.values() if " " not in base.name]
    rows = []
    for words, chosen in (
        ("JSON: booleans, numbers, strings, tagged bytes", [b for b in bases if not b.text]),
        ("PostgreSQL's own text", [b for b in bases if b.text]),
    ):
        keys = ", ".join(f"`{b.name}`" for b in chosen if b.key)
        rows.append([words, ", ".join(f"`{b.name}`" for b in chosen), keys])
    lists = ", ".join(f"`{b.name}[]`" for b in bases if b.array)
    rows.append(["JSON lists; text where an array has several dimensions or other bounds", lists, ""])
    rows.append(
        [
            "PostgreSQL's own text",
            "all other arrays; enums, domains, composite types, ranges and types of extensions",
            "all but arrays",
        ]
    )
    return table(("in the dump", "column types", "may be an id"), rows)


def postgres_vectors() -> str:
    """Vector types of pgvector and their limits."""
    rows = [
        [f"`{v.name}`", f"{v.kind}, {v.dtype}", f"{v.max_dim:,}", f"{v.max_indexed:,}", ", ".join(sorted(v.metrics)),
         ", ".join(sorted(v.ivfflat)) or "none"]
        for v in VECTOR_TYPES.values()
    ]  # fmt: skip
    return table(("type", "vector", "dimensions", "with an index", "hnsw", "ivfflat"), rows)


MAKERS: dict[str, Callable[[], str]] = {"databases": databases, "exit codes": exit_codes, "limits": limits}
MAKERS |= {"types postgres": postgres_types, "vectors postgres": postgres_vectors}
for _name in PLACES:
    MAKERS[f"capabilities {_name}"] = lambda name=_name: capabilities(name)  # type: ignore[misc]
    MAKERS[f"options {_name}"] = lambda name=_name: options(name)  # type: ignore[misc]
    if registry.get(_name).info.settings:
        MAKERS[f"settings {_name}"] = lambda name=_name: settings(name)  # type: ignore[misc]


def renewed(text: str) -> str:
    """A page with its tables made anew; raises ``KeyError`` for a name that is not known."""
    return _NAME.sub(lambda m: f"<!-- generated: {m[1]} -->\n{MAKERS[m[1]]()}<!-- end -->", text)


def used(text: str) -> list[str]:
    """Names of the tables of a page."""
    return _NAME.findall(text)


def main(arguments: Sequence[str]) -> int:
    """``--write`` or ``--check``."""
    if list(arguments) not in (["--write"], ["--check"]):
        sys.stderr.write("usage: python docs/generate.py --write|--check\n")
        return 2
    stale = [page for page in PAGES if renewed(page.read_text(encoding="utf-8")) != page.read_text(encoding="utf-8")]
    for page in stale:
        if arguments[0] == "--write":
            page.write_text(renewed(page.read_text(encoding="utf-8")), encoding="utf-8")
        else:
            sys.stderr.write(f"{page.relative_to(ROOT)} is not up to date: python docs/generate.py --write\n")
    return 1 if stale and arguments[0] == "--check" else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
