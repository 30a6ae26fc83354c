"""Write the test vectors of the hashes and the corpus of good and bad dumps: ``python spec/generate.py``.

Everything is fixed: ids, times, the order of all things. The bytes of the Parquet files depend on the version of
pyarrow, which ``corpus/expected.json`` names.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

SPEC = Path(__file__).resolve().parent
if str(SPEC) not in sys.path:
    sys.path.insert(0, str(SPEC))

from generator.bad import bad_dumps  # noqa: E402
from generator.good import good_dumps  # noqa: E402
from generator.parts import expected_text  # noqa: E402
from generator.vectors import vectors_text  # noqa: E402


def write(target: Path) -> None:
    """Write ``vectors/hashes.json`` and ``corpus/`` below a folder, replacing what is there."""
    (target / "vectors").mkdir(parents=True, exist_ok=True)
    (target / "vectors" / "hashes.json").write_text(vectors_text(), encoding="utf-8")
    corpus = target / "corpus"
    shutil.rmtree(corpus, ignore_errors=True)
    good, bad = good_dumps(), bad_dumps()
    for group, dumps in (("good", good), ("bad", bad)):
        for dump in dumps:
            for path, data in sorted(dump.files.items()):
                file = corpus / group / dump.name / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(data)
    (corpus / "expected.json").write_text(expected_text(good, bad), encoding="utf-8")


def differences(target: Path) -> list[str]:
    """Paths below a folder that are not what ``write`` would write there."""
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder)
        write(fresh)
        wanted = {p.relative_to(fresh): p.read_bytes() for p in fresh.rglob("*") if p.is_file()}
    stored = [*(target / "corpus").rglob("*"), target / "vectors" / "hashes.json"]
    found = {p.relative_to(target): p.read_bytes() for p in stored if p.is_file()}
    return sorted(str(p) for p in wanted.keys() | found.keys() if wanted.get(p) != found.get(p))


if __name__ == "__main__":
    write(SPEC)
