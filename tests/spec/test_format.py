"""The document says what the code does: its constants, names and tables are the code's own."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.dump.test_shard import ENCODINGS
from vecport.dump import layout
from vecport.dump.dump import open_dump
from vecport.dump.layout import SHARD
from vecport.dump.manifest import CONSISTENCIES, KNOWN_REQUIRES
from vecport.limits import DEFAULT_LIMITS
from vecport.model import collection, hashes, ids, passport
from vecport.model.profile import MAX_KEYS

SPEC = Path(__file__).parents[2] / "spec"
TEXT = (SPEC / "FORMAT.md").read_text(encoding="utf-8")


def rows_of(heading: str) -> dict[str, str]:
    """The rows of the first table behind a heading or phrase: first cell, rest."""
    part = TEXT[TEXT.index(heading) :]
    table = re.search(r"\n\|.*\n\|[-|]+\n((?:\|.*\n)+)", part)
    assert table is not None
    cells = [re.split(r"(?<!\\)\|", line.strip("|")) for line in table[1].splitlines()]
    return {c[0].strip().strip("`").replace("\\|", "|"): "|".join(c[1:]) for c in cells}


def test_it_can_be_read_in_one_sitting() -> None:
    assert 300 < len(TEXT.splitlines()) < 460


def test_names() -> None:
    assert SHARD.pattern.removesuffix(r"\Z").replace("([0-9]{5,10})", "[0-9]{5,10}") in TEXT
    assert set(rows_of("## 3.")) == set(collection.ID_KINDS)
    assert set(rows_of("**Vectors.** Lists")) == set(collection.VECTOR_KINDS)
    for name in (*collection.METRICS, *collection.FIDELITIES, *collection.VECTOR_DTYPES, *collection.ENCODINGS):
        assert f"`{name}`" in TEXT, name
    assert set(rows_of("**`source.consistency.kind`**")) == set(CONSISTENCIES)
    for name in (layout.MANIFEST, layout.README, layout.WORK, layout.FORMAT_VERSION, passport.ORIGINALS):
        assert name in TEXT
    assert frozenset() == KNOWN_REQUIRES, "a feature that a reader must know has a place in chapter 11"


def test_constants() -> None:
    assert str(ids.NAMESPACE) in TEXT
    assert ids.stand_in("a") in TEXT
    assert f"{hashes.NO_VECTOR:#x}" in TEXT
    assert str(MAX_KEYS) in TEXT
    seeds = rows_of("**Field hash**")
    assert {int(cells.rsplit("|", 1)[-1]) for cells in seeds.values()} <= set(hashes.SEED.values())
    for name, seed in hashes.SEED.items():
        row = "dense, float64" if name == "float64" else "dense, not float64" if name == "dense" else name
        found = next(cells for key, cells in seeds.items() if key.replace("`", "") == row)
        assert int(found.rsplit("|", 1)[-1]) == seed


def test_every_field_of_a_manifest_is_described() -> None:
    manifest = open_dump(SPEC / "corpus" / "good" / "typed").manifest
    data = json.loads(manifest.to_bytes())
    assert [n for cell in rows_of("## 8.") for n in cell.split("`, `")] == list(data)
    described = " ".join(rows_of("**Entry of a shard**"))
    for name in data["shards"][0]:
        assert name in described, name
    for name in (*data["collection"], *data["collection"]["vectors"][0], *data["collection"]["fields"][0]):
        assert f"`{name}`" in TEXT, name
    for name in ("logical", *collection.LOGICAL_TYPES):
        assert f"`{name}`" in TEXT, name
    for name in passport.Passport(manifest.collection).to_json():
        assert name in " ".join(rows_of("## A. Passport")), name


def test_limits() -> None:
    text = " ".join(TEXT[TEXT.index("**Limits** of vecport") :].split("\n\n")[0].split())
    words = {
        "manifest_bytes": "manifest 64 MiB", "footer_bytes": "footer 64 MiB", "json_depth": "depth 128",
        "shards": "shards 1,000,000", "rows": "rows 10^10", "rows_per_shard": "shard 4,194,304",
        "group_bytes": "row group 1 GiB", "dim": "dim 65,536", "vectors": "vectors 256", "fields": "fields 4,096",
        "name_bytes": "names 1,024 bytes", "id_bytes": "ids 64 KiB", "metadata_bytes": "metadata 16 MiB",
        "document_bytes": "document 64 MiB", "manifest_values": "750,000 values in a manifest",
        "footer_values": "1,000,000 in a footer", "pages": "32,768 pages", "json_digits": "4,000 digits",
        "unpacked_ratio": "200 bytes in memory",
    }  # fmt: skip
    units = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "bytes": 1}
    for name, phrase in words.items():
        assert phrase in text
        if phrase[0].isdigit():
            assert int(phrase.split()[0].replace(",", "")) == getattr(DEFAULT_LIMITS, name), name
            continue
        number, _, unit = phrase.rpartition(" ") if phrase.split()[-1] in units else (phrase, "", "")
        value = number.split()[-1].replace(",", "").replace("10^10", str(10**10))
        assert int(value) * units.get(unit, 1) == getattr(DEFAULT_LIMITS, name), name
    # An index of a sparse vector is an unsigned 32-bit integer by its type.
    assert {f.name for f in dataclasses.fields(DEFAULT_LIMITS)} == {*words, "sparse_dim"}


@pytest.mark.parametrize("name", ["dense", "sparse", "binary", "multi"])
def test_physical_types(name: str) -> None:
    """The table of chapter 4, against the files."""
    path = next((SPEC / "corpus" / "good" / name / "data").glob("*.parquet"))
    schema = str(pq.read_metadata(path).schema)
    wanted = {
        "dense": ["required float", "required double", "required int32", "Int(bitWidth=8, isSigned=true)",
                  "Int(bitWidth=8, isSigned=false)", "optional group"],
        "sparse": ["required group field_id=-1 indices (List)", "Int(bitWidth=32, isSigned=false)",
                   "required group field_id=-1 values (List)"],
        "binary": ["optional fixed_len_byte_array(2)"],
        "multi": ["required group field_id=-1 element (List)", "required float"],
    }  # fmt: skip
    always = ["required binary field_id=-1 id (String)", "optional binary field_id=-1 document (String)"]
    for text in [*wanted[name], *always, "required int64 field_id=-1 _vh"]:
        assert text in schema
    assert set(ENCODINGS.values()) == {"PLAIN", "BYTE_STREAM_SPLIT", "DELTA_BINARY_PACKED", "RLE_DICTIONARY"}
