"""Pages of the documentation taken apart, and run.

A page is a row of fenced blocks:

* ``console``: lines that begin with ``$ `` are commands (``> `` goes on with the line before), what follows is their
  output. The lines of the output must come in this order; a line ``...`` stands for any others; numbers that differ
  from run to run (times, rates, sizes, versions, dates, checksums) are not compared.
* ``sh``: a script, run as a whole. ``python`` and ``sql`` (by a superuser) are run too. Other blocks are only read.

An HTML comment before a block changes that: ``<!-- not run: why -->``, ``<!-- exit: 3 -->`` (of its last command). At
the top of a page, ``<!-- setup: chroma qdrant -->`` names what ``conftest.PLACES`` prepares in the folder of the page.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT = 150
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_BEFORE = re.compile(r"<!-- (not run|exit): ([^\n]*?) -->\n\s*\Z")
_SETUP = re.compile(r"<!-- setup: ([a-z0-9 -]*?) -->")
_UNSTABLE = (
    (r"\x1b\[[0-9;?]*[A-Za-z]", ""),
    (r", [\d,]+ records/s\b", ""),
    (r"\b(\d+ h \d+ min|\d+ min \d+ s|\d+(\.\d+)? m?s)\b", "TIME"),
    (r"\b\d+(\.\d+)? (B|KiB|MiB|GiB)\b", "SIZE"),
    # How a processor rounds decides which vectors come back bit for bit.
    (r"= +[\d,]+ +(unchanged|vectors equal within)", r"= N \1"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "DATE"),
    (r"\b(vp1-)?[0-9a-f]{16,}(-\d+-[0-9a-f]{32})?\b", "HASH"),
    (r"\b\d+\.\d+(\.\d+)*\.dev\d+\b|\b\d+\.\d+\.\d+\b|(?<=PostgreSQL )\d+\.\d+", "VERSION"),
    (r"[ \t]+", " "),
)


def stable(line: str) -> str:
    """A line of output without what differs from run to run."""
    for pattern, instead in _UNSTABLE:
        line = re.sub(pattern, instead, line)
    return line.strip()


@dataclass(slots=True)
class Command:
    """One command of a page.

    Attributes:
        kind: ``console``, ``sh``, ``python`` or ``sql``.
        text: what is run.
        output: documented lines; only of ``console``.
        exit_code: it must end with.
        line: of the page, for messages.
    """

    kind: str
    text: str
    line: int
    output: list[str] = field(default_factory=list)
    exit_code: int = 0


@dataclass(frozen=True, slots=True)
class Page:
    """A page's commands and what they need."""

    path: Path
    setup: tuple[str, ...]
    commands: tuple[Command, ...]
    not_run: tuple[str, ...]


def pages() -> list[Path]:
    """All pages that are run."""
    others = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "samples" / "README.md"]
    return [*others, *sorted((ROOT / "docs").rglob("*.md"))]


def read(path: Path) -> Page:
    """Take a page apart; raises ``ValueError`` on a console block that does not begin with a command."""
    text = path.read_text(encoding="utf-8")
    setup = _SETUP.search(text)
    commands: list[Command] = []
    not_run: list[str] = []
    for block in _FENCE.finditer(text):
        kind, body = block[1], block[2]
        if kind not in ("console", "sh", "python", "sql"):
            continue
        said = _BEFORE.search(text, 0, block.start())
        if said and said[1] == "not run":
            not_run.append(said[2])
            continue
        line = text.count("\n", 0, block.start()) + 2
        found = _console(body, line) if kind == "console" else [Command(kind, body, line)]
        if not found:
            raise ValueError(f"{path}:{line}: a console block begins with a command")
        if said:
            found[-1].exit_code = int(said[2])
        commands += found
    return Page(path, tuple(setup[1].split()) if setup else (), tuple(commands), tuple(not_run))


def _console(body: str, line: int) -> list[Command]:
    found: list[Command] = []
    for number, text in enumerate(body.splitlines(), line):
        if text.startswith("$ "):
            found.append(Command("console", text[2:], number))
        elif not found:
            return []
        elif text.startswith("> ") and not found[-1].output:
            found[-1].text += "\n" + text[2:]
        elif text.strip():
            found[-1].output.append(text)
    return found


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command did."""

    exit_code: int
    output: str


def run(
    page: Page, folder: Path, shell: Sequence[str], environment: Mapping[str, str], addresses: Sequence[tuple[str, str]]
) -> list[Outcome]:
    """Run a page's commands one after another in one shell.

    Args:
        page: what to run.
        folder: in which folder.
        shell: the shell's command line.
        environment: of the shell.
        addresses: documented text and what really stands for it.
    """
    results = folder / ".results"
    results.mkdir()
    script = ["set +e"]
    for number, command in enumerate(page.commands):
        text = command.text
        for documented, real in addresses:
            text = text.replace(documented, real)
        body = results / f"{number}.{command.kind}"
        body.write_text(text + "\n", encoding="utf-8")
        at = shlex.quote(str(results / str(number)))
        line = {
            "console": "{\n" + text + "\n}",
            "sh": f"sh -eu {shlex.quote(str(body))}",
            "python": f"python {shlex.quote(str(body))}",
            "sql": f"python {shlex.quote(str(Path(__file__).parent / 'sql.py'))} {shlex.quote(str(body))}",
        }[command.kind]
        # Lines of stderr come before those of stdout, as they do for a person who looks on.
        script.append(f"{line} >{at}.out 2>{at}.err </dev/null; echo $? >{at}.code")
    file = results / "page.sh"
    file.write_text("\n".join(script) + "\n", encoding="utf-8")
    subprocess.run([*shell, str(file)], cwd=folder, env=dict(environment), check=False, timeout=TIMEOUT)
    return [_outcome(results / str(number), addresses) for number in range(len(page.commands))]


def _outcome(at: Path, addresses: Sequence[tuple[str, str]]) -> Outcome:
    text = "".join(
        at.with_suffix(s).read_text(encoding="utf-8") for s in (".err", ".out") if at.with_suffix(s).exists()
    )
    for documented, real in addresses:
        text = text.replace(real, documented)
    code = at.with_suffix(".code")
    return Outcome(int(code.read_text()) if code.exists() else -1, text)


def differences(page: Page, outcomes: Sequence[Outcome]) -> list[str]:
    """What is not as documented, a paragraph each."""
    found = []
    for command, outcome in zip(page.commands, outcomes, strict=True):
        where = f"{page.path.relative_to(ROOT)}:{command.line}: {command.text.splitlines()[0]}"
        if outcome.exit_code != command.exit_code:
            found.append(f"{where}\nexit code {outcome.exit_code}, expected {command.exit_code}\n{outcome.output}")
            continue
        lost = _lost(command.output, outcome.output)
        if lost is not None:
            found.append(f"{where}\ndocumented, but not printed (in this order): {lost}\nprinted:\n{outcome.output}")
    return found


def _lost(documented: Sequence[str], printed: str) -> str | None:
    """The first documented line that was not printed behind the ones before it."""
    for line, found in _pairs(documented, printed):
        if found is None:
            return line
    return None


def _pairs(documented: Sequence[str], printed: str) -> list[tuple[str, str | None]]:
    """Each documented line with the one that was printed for it."""
    lines = iter(printed.splitlines())
    return [
        (line, next((other for other in lines if stable(other) == stable(line)), None))
        for line in documented
        if line.strip() != "..."
    ]


def renew(page: Page, outcomes: Sequence[Outcome]) -> None:
    """Put what was printed now in place of the documented lines, with its columns and numbers."""
    lines = page.path.read_text(encoding="utf-8").split("\n")
    for command, outcome in zip(page.commands, outcomes, strict=True):
        at = command.line - 1
        for documented, found in _pairs(command.output, outcome.output):
            at = lines.index(documented, at)
            lines[at] = documented if found is None else found.rstrip()
    page.path.write_text("\n".join(lines), encoding="utf-8")
