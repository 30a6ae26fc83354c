"""The demo keeps its promises: it is run once, whole, and everything that it claims is looked up."""

from __future__ import annotations

import io
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from rich.console import Console

import vecport
from vecport.demo import places, run, sample
from vecport.errors import AlreadyExists, IntegrityError, MissingExtra, NotFound
from vecport.testing.engines import EngineError

pytestmark = pytest.mark.xdist_group("demo")

ROWS = 2_400
LONGEST_SECONDS = 60


def quiet() -> Console:
    """A console that is no terminal."""
    return Console(file=io.StringIO(), width=100)


@dataclass(frozen=True)
class Run:
    """One run with a kept folder."""

    folder: Path
    code: int
    seconds: float
    text: str

    def part(self, title: str) -> list[str]:
        """The lines below a title."""
        _, _, rest = self.text.partition(f"\n{title}")
        return rest.split("\n\n")[0].splitlines()[1:]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("demo") / "kept"
    console = quiet()
    started = time.monotonic()
    code = run(folder, console)
    assert isinstance(console.file, io.StringIO)
    return Run(folder, code, time.monotonic() - started, console.file.getvalue())


def test_ends_well_in_under_a_minute(done: Run) -> None:
    assert done.code == 0, done.text
    assert done.seconds < LONGEST_SECONDS
    assert "✗" not in done.text
    assert "\x1b" not in done.text


def test_every_step_is_shown(done: Run) -> None:
    steps = re.findall(r"^ ✓ (\w+)", done.text, re.MULTILINE)
    moves = ["export", "validate", "diff", "import", "import", "verify", "verify", "export", "export", "diff", "diff"]
    assert steps == ["start", "fill", *moves]
    assert all(re.search(r"\d m?s( +[\d,]+ rows/s)?$", line) for line in done.text.splitlines() if line[1:2] == "✓")


def test_says_what_ran(done: Run) -> None:
    assert re.search(r"Chroma \d+\.\d+\.\d+", done.text)
    assert re.search(r"Qdrant Edge \d+\.\d+\.\d+ behind the official gRPC service", done.text)
    assert re.search(r"PostgreSQL \d+\.\d+ \+ pgvector \d+\.\d+\.\d+", done.text)


def test_the_identities_are_those_of_the_dumps_and_equal(done: Run) -> None:
    shown = [line.split() for line in done.part("Identity of the three dumps")]
    assert [title for title, _ in shown] == ["Chroma", "Qdrant", "PostgreSQL"]
    dumps = [done.folder / f"{n}.vecport" for n in ("packages", "from-qdrant", "from-postgresql")]
    found = {str(vecport.open_dump(d).manifest.identity) for d in dumps}
    assert {identity for _, identity in shown} == found
    assert len(found) == 1
    assert all(vecport.validate(d, level="deep").valid for d in dumps)
    assert [vecport.inspect(d).facts["source"]["system"] for d in dumps] == ["chroma", "qdrant", "postgres"]


def test_what_was_exported_is_the_sample(done: Run) -> None:
    result = vecport.diff(sample.find().dump, done.folder / "packages.vecport")
    assert not result.exit_code
    assert result.unchanged + result.within_bound == ROWS


def test_neighbours_are_the_same_side_by_side(done: Run) -> None:
    heads, *rows = done.part("Search:")
    assert heads.split() == ["Chroma", "Qdrant", "PostgreSQL"]
    cells = [row.split()[1:] for row in rows[:5]]
    assert [row.split()[0] for row in rows[:5]] == list("12345")
    exact = places.exact_nearest(
        vecport.open_dump(done.folder / "packages.vecport"), [sample.find().queries[0].vector], 5
    )
    for scores, ids in ((row[0::2], row[1::2]) for row in cells):
        assert len(set(ids)) == 1
        assert max(map(float, scores)) - min(map(float, scores)) < 2e-4
    assert [row[1] for row in cells] == exact[0]
    assert "6 of 6 questions" in rows[5]


def test_missing_stays_missing(done: Run) -> None:
    rows = {line.split()[0]: line.split()[1:] for line in done.part("One record as each database holds it")[1:]}
    assert rows["homepage"] == ["(missing)"] * 3
    assert len(set(rows["installed_size_kb"])) == 1


def test_ends_with_three_commands(done: Run) -> None:
    commands = re.findall(r"^  (\S*vecport|\S+) (inspect|diff|import) .*$", done.text, re.MULTILINE)
    assert [command for _, command in commands] == ["inspect", "diff", "import"]


def test_keeps_what_it_says_and_nothing_else(done: Run) -> None:
    kept = {p.name for p in done.folder.iterdir()}
    assert kept == {"chroma", "packages.vecport", "from-qdrant.vecport", "from-postgresql.vecport"}


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("x")
    with pytest.raises(AlreadyExists):
        run(tmp_path, quiet())
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]


def test_a_missing_extra_is_named_with_the_line_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "find_spec", lambda name: None if name == "qdrant_edge" else object())
    with pytest.raises(MissingExtra) as e:
        run(None, quiet())
    assert e.value.next == "pip install 'vecport[demo]'"
    assert e.value.why == "missing: qdrant_edge"


def test_missing_sample_data_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sample, "__file__", str(tmp_path / "vecport" / "demo" / "sample.py"))
    with pytest.raises(NotFound) as e:
        run(None, quiet())
    assert str(tmp_path / "samples") in e.value.why


def test_sample_data_is_found_in_an_installed_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = sample.find()
    package = tmp_path / "site-packages" / "vecport" / "demo"
    shutil.copytree(found.dump, package / "debian-packages")
    (package / "queries.json").write_text('[{"query": "a", "vector": [1.0]}]')
    monkeypatch.setattr(sample, "__file__", str(package / "sample.py"))
    assert sample.find().dump == package / "debian-packages"
    (package / "queries.json").write_text("[]")
    with pytest.raises(IntegrityError):
        sample.find()


class _Broken:
    """Engines that do not start."""

    def __init__(self) -> None:
        self.closed = 0

    def start(self) -> None:
        raise EngineError("postgres ended with status 1 on port 1:\nFATAL: no")

    def close(self) -> None:
        self.closed += 1


def test_an_engine_that_does_not_start_is_closed_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = _Broken()
    monkeypatch.setattr(places, "QdrantEngine", lambda: broken)
    monkeypatch.setattr(places, "PostgresEngine", lambda: broken)
    with pytest.raises(vecport.errors.Unavailable) as e:
        run(None, quiet())
    assert "FATAL: no" in e.value.why
    assert broken.closed == 2


@pytest.fixture
def open_temp() -> Iterator[Path]:
    """A temporary folder that the account of PostgreSQL can enter."""
    folder = Path(tempfile.mkdtemp(prefix="vecport-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def _running(mark: str) -> list[int]:
    """Processes whose command line names something."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if mark.encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="needs /proc")
def test_ctrl_c_leaves_nothing_behind(open_temp: Path) -> None:
    command = [sys.executable, "-m", "vecport.cli", "demo"]
    environment = {**os.environ, "TMPDIR": str(open_temp), "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if "✓ start" in line:
            break
    assert len(_running(str(open_temp))) >= 2
    process.send_signal(signal.SIGINT)
    drained = threading.Thread(target=process.stdout.read)
    drained.start()
    assert process.wait(30) == 130
    drained.join(10)
    assert process.stderr is not None
    assert "interrupted" in process.stderr.read()
    assert not _running(str(open_temp))
    # PostgreSQL's programs are copied once for root, on purpose.
    assert [p.name for p in open_temp.iterdir() if not p.name.startswith("vecport-pixeltable")] == []
