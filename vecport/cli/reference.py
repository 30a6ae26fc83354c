"""The reference of the command line, made of every command's ``--help``.

``python -m vecport.cli.reference --write docs/cli.md`` writes it; ``--check docs/cli.md`` exits 1 when the file is
not what the commands say.
"""

from __future__ import annotations

import difflib
import re
import sys
from pathlib import Path
from typing import Any

import click

from ..errors import EXIT_CODES
from .app import ENTRIES, program
from .command import CONTEXT, WIDTH

_HEAD = """# Command line

This page is made from the commands themselves (`python -m vecport.cli.reference --write docs/cli.md`).

"""
_EXIT_STATUS = re.compile(r"\nEXIT STATUS:\n.*\Z", re.DOTALL)


def reference() -> str:
    """Markdown: the program's help, a section for each command, the exit codes once."""
    settings: dict[str, Any] = {**CONTEXT, "terminal_width": WIDTH}
    with click.Context(program, info_name="vecport", **settings) as root:
        parts = [_HEAD, _contents(), _block(program.get_help(root))]
        for name in ENTRIES:
            command = program.get_command(root, name)
            assert command is not None
            with click.Context(command, info_name=name, parent=root, **settings) as ctx:
                parts.append(f"## vecport {name}\n\n" + _block(command.get_help(ctx)))
    return "".join(parts) + _exit_codes()


def _contents() -> str:
    return "".join(f"- [`vecport {name}`](#vecport-{name}): {entry.help}\n" for name, entry in ENTRIES.items()) + "\n"


def _block(help: str) -> str:
    text = "\n".join(line.rstrip() for line in _EXIT_STATUS.sub("", help).strip("\n").splitlines())
    return f"```text\n{text}\n```\n\n"


def _exit_codes() -> str:
    rows = "".join(f"| {code} | {meaning} |\n" for code, meaning in EXIT_CODES.items())
    return (
        "## Exit status\n\nThe same for every command. A code that is not listed must be taken as a failure.\n\n"
        f"| code | meaning |\n|---:|---|\n{rows}"
    )


def main(arguments: list[str]) -> int:
    """``--write FILE`` or ``--check FILE``."""
    if len(arguments) != 2 or arguments[0] not in ("--write", "--check"):
        sys.stderr.write("usage: python -m vecport.cli.reference --write|--check FILE\n")
        return 2
    file, text = Path(arguments[1]), reference()
    if arguments[0] == "--write":
        file.write_text(text, encoding="utf-8")
        return 0
    found = file.read_text(encoding="utf-8") if file.exists() else ""
    if found == text:
        return 0
    changes = difflib.unified_diff(found.splitlines(True), text.splitlines(True), str(file), "the commands")
    sys.stderr.writelines(changes)
    sys.stderr.write(f"{file} is not up to date: python -m vecport.cli.reference --write {file}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
