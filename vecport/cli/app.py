"""The program: the table of commands, and what becomes of whatever a command raises."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from .. import __version__
from ..errors import UsageError, VecportError
from . import plain, signals
from .command import CONTEXT, WIDTH, Entry, LazyGroup
from .text import holds_secret, looks_secret

_MOVE, _LOOK, _CHECK, _HELP = "Move", "Look", "Check", "Help"
_COMMANDS = f"{__package__}.commands"
ENTRIES = {
    "export": Entry(f"{_COMMANDS}.move", "export", "Read a collection into a dump.", _MOVE),
    "import": Entry(f"{_COMMANDS}.move", "import_", "Restore a dump into a database.", _MOVE),
    "copy": Entry(f"{_COMMANDS}.move", "copy", "Export, import and verify in one go.", _MOVE),
    "plan": Entry(f"{_COMMANDS}.look", "plan", "Say what an export or import would do; write nothing.", _LOOK),
    "ls": Entry(f"{_COMMANDS}.look", "ls", "List the collections of a place, or the dumps in a folder.", _LOOK),
    "inspect": Entry(f"{_COMMANDS}.look", "inspect", "Show what is in a dump.", _LOOK),
    "connectors": Entry(f"{_COMMANDS}.look", "connectors", "List the databases that vecport knows.", _LOOK),
    "validate": Entry(f"{_COMMANDS}.check", "validate", "Check that a dump is whole and well formed.", _CHECK),
    "verify": Entry(f"{_COMMANDS}.check", "verify", "Compare a database with a dump, record by record.", _CHECK),
    "diff": Entry(f"{_COMMANDS}.check", "diff", "Show how two dumps differ.", _CHECK),
    "id": Entry(f"{_COMMANDS}.tools", "id_", "Compute the UUID that stands for an id in a database.", _HELP),
    "demo": Entry(f"{_COMMANDS}.tools", "demo", "Move a real collection between real databases, here and now.", _HELP),
}
#: Options that people try, and the one that they mean.
OPTION_GUESSES = {"--profile": "--encodings"}
GUESSES = {
    "dump": "export", "backup": "export", "save": "export", "download": "export",
    "restore": "import", "load": "import", "upload": "import", "ingest": "import",
    "migrate": "copy", "sync": "copy", "move": "copy", "transfer": "copy", "clone": "copy",
    "check": "validate", "fsck": "validate", "test": "validate",
    "compare": "diff", "changes": "diff",
    "list": "ls", "dir": "ls", "collections": "ls",
    "info": "inspect", "show": "inspect", "describe": "inspect", "stat": "inspect", "stats": "inspect",
    "dry-run": "plan", "preview": "plan", "prove": "verify", "uuid": "id", "plugins": "connectors",
}  # fmt: skip


@click.command(cls=LazyGroup, entries=ENTRIES, guesses=GUESSES, context_settings=CONTEXT)
@click.version_option(__version__, prog_name="vecport", message="%(prog)s %(version)s")
def program() -> None:
    """Move vector collections between databases through a checksummed dump. Nothing is lost in silence.

    \b
    Examples:
      vecport demo
      vecport ls qdrant://localhost:6333
      vecport export qdrant://localhost:6333 ./docs.vecport -c docs
      vecport import ./docs.vecport postgresql://me@db/prod -c docs
      vecport verify ./docs.vecport postgresql://me@db/prod -c docs

    An address names a place, --collection the collection; ADDRESS#collection names both. Secrets come from the
    environment, never from the command line. Every command has its own --help with examples.
    """


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the program and exit."""
    code = run(sys.argv[1:] if arguments is None else arguments)
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        plain.silence(sys.stdout)
    sys.exit(code)


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code; nothing escapes but ``SystemExit`` of a shell completion."""
    args = list(arguments)
    _complete()
    plain.prepare_streams()
    own = args[: args.index("--")] if "--" in args else args
    as_json, debug = "--json" in own, "--debug" in own
    try:
        with signals.raising():
            return _invoke(args)
    except click.exceptions.NoArgsIsHelpError as e:
        plain.write(sys.stderr, e.format_message() + "\n")
        return e.exit_code
    except click.ClickException as e:
        return plain.report(explained(e, args), args, as_json=as_json, debug=debug)
    except (Exception, KeyboardInterrupt) as e:
        return plain.report(e, args, as_json=as_json, debug=debug)


def _invoke(args: list[str]) -> int:
    _refuse_secrets(args)
    try:
        with program.make_context("vecport", list(args), obj=args) as ctx:
            return int(program.invoke(ctx) or 0)
    except click.exceptions.Exit as e:
        return e.exit_code


def _refuse_secrets(args: list[str]) -> None:
    """A password in any address, a dump's included, stops everything before a word of it is used."""
    if any(holds_secret(a) for a in args):
        raise UsageError(
            "an address on the command line holds a password",
            "command lines are seen by every user of this machine and stay in the shell's history",
            "nothing was opened",
            "put the whole address into a variable and pass its name:"
            " read -rs DATABASE_URL; export DATABASE_URL; then use env:DATABASE_URL",
        )
    if suspects := [a for a in args if "@" in a and not a.startswith("-")]:
        from ..connectors import registry

        for argument in suspects:
            registry.check_shape(argument)


def explained(e: click.ClickException, args: Sequence[str]) -> VecportError:
    """A click error in four parts; an argument that nobody expected is not repeated: it may be a secret."""
    ctx = getattr(e, "ctx", None)
    path = f"vecport {args[0]}" if args and args[0] in ENTRIES else "vecport"
    next_step = f"{path} --help"
    if isinstance(e, click.NoSuchOption):
        return _no_such_option(e, path)
    if isinstance(e, click.MissingParameter) and e.param is not None:
        return UsageError(f"{e.param.make_metavar(ctx) if ctx else e.param.name} is missing", next=next_step)
    if isinstance(e, click.BadParameter) and e.param is not None:
        name = e.param.opts[-1] if isinstance(e.param, click.Option) else (e.param.name or "").upper()
        return UsageError(f"{name}: {e.message}", next=next_step)
    if e.message.startswith("Got unexpected extra argument"):
        return UsageError("there are more arguments than the command takes",
                          "names with spaces, # or * need quotes", next=next_step)  # fmt: skip
    return UsageError(e.message, next=next_step)


def _no_such_option(e: click.NoSuchOption, path: str) -> VecportError:
    name = e.option_name
    if looks_secret(name):
        return UsageError(
            f"{path} has no option {name}", "a secret never stands on the command line",
            next="put it into the environment: the variables are listed by vecport connectors --json",
        )  # fmt: skip
    if path == "vecport":
        return UsageError(f"vecport has no option {name}", "options stand behind the command",
                          next=f"vecport COMMAND {name}")  # fmt: skip
    close = [p for p in e.possibilities or () if p.startswith("--")]
    close = [OPTION_GUESSES[name], *close] if name in OPTION_GUESSES else close
    return UsageError(f"{path} has no option {name}",
                      next=f"did you mean {' or '.join(close)}?" if close else f"{path} --help")  # fmt: skip


def _complete() -> None:
    """Answer the shell's request for completions, when this is one."""
    instruction = os.environ.get("_VECPORT_COMPLETE")
    if instruction:
        from click.shell_completion import shell_complete

        sys.exit(shell_complete(program, {}, "vecport", "_VECPORT_COMPLETE", instruction))


__all__ = ["WIDTH", "main", "program", "run"]
