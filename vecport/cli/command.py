"""Click classes of vecport: lazy commands, examples and exit codes in every help, guessed words, no echoed secrets."""

from __future__ import annotations

import difflib
import functools
import importlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import click

from ..errors import EXIT_CODES, UsageError
from . import options
from .run import Run

WIDTH = 100
CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": WIDTH}
_WORD = re.compile(r"[A-Za-z][A-Za-z_-]{0,19}\Z")


def write_exit_status(formatter: click.HelpFormatter) -> None:
    """The block that ends every help."""
    with formatter.section("EXIT STATUS"):
        formatter.write_dl([(str(code), meaning) for code, meaning in EXIT_CODES.items()])


class Command(click.Command):
    """A command whose help ends with the exit codes."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the exit codes."""
        super().format_epilog(ctx, formatter)
        write_exit_status(formatter)


def command(name: str, *, works: bool = True, waits: bool = True) -> Callable[[Callable[..., int]], Command]:
    """Make a command of a function ``f(run, **options) -> exit code``.

    Options that were not given are left out of ``options``.

    Args:
        name: as typed.
        works: it may take long: it has ``--progress``.
        waits: it waits for databases or object stores: it has ``--timeout``.
    """

    def decorate(function: Callable[..., int]) -> Command:
        @functools.wraps(function)
        def call(as_json: bool, quiet: bool, debug: bool, progress: str = "none", **given: Any) -> int:
            ctx = click.get_current_context()
            run = Run(ctx.find_root().obj or [], as_json=as_json, quiet=quiet, debug=debug, progress=progress)
            return function(run, **{k: v for k, v in given.items() if v is not None and v != ()})

        shared = options.stack(*([options.timeout] if waits else []), options.common,
                               *([options.progress] if works else []))  # fmt: skip
        return click.command(name, cls=Command, context_settings=CONTEXT)(_behind(call, shared))

    return decorate


def _behind(call: Any, shared: Callable[[Any], Any]) -> Any:
    """Put shared options behind a command's own; click lists parameters in the order of this list."""
    own = getattr(call, "__click_params__", [])
    call.__click_params__ = []
    call = shared(call)
    call.__click_params__ += own
    return call


@dataclass(frozen=True, slots=True)
class Entry:
    """A command that is imported when it is needed."""

    module: str
    attribute: str
    help: str
    section: str


class LazyGroup(click.Group):
    """Knows its commands by name and one line of help; the modules are imported when a command is called.

    Args:
        entries: by name, in the order of the help.
        guesses: words that people try, and the command that they mean.
    """

    def __init__(self, *args: Any, entries: Mapping[str, Entry], guesses: Mapping[str, str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.entries, self.guesses = entries, guesses

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order in which one meets them."""
        return list(self.entries)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        entry = self.entries.get(cmd_name)
        if entry is None:
            return None
        found = getattr(importlib.import_module(entry.module), entry.attribute)
        assert isinstance(found, click.Command)
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or say which one was meant."""
        if args[0] in self.entries or args[0].startswith("-"):
            return super().resolve_command(ctx, args)
        raise self._unknown(args[0])

    def _unknown(self, word: str) -> UsageError:
        if not _WORD.match(word):
            # It may be an address, which may hold a password: it is not repeated.
            return UsageError("that is not a command", "a command stands first", next="vecport --help lists them")
        meant = self.guesses.get(word.lower())
        close = [meant] if meant else difflib.get_close_matches(word.lower(), [*self.entries], 2, 0.6)
        if close:
            return UsageError(f"there is no command {word!r}",
                              next="did you mean: " + " or ".join(f"vecport {c}" for c in close))  # fmt: skip
        return UsageError(f"there is no command {word!r}", next="vecport --help lists them")

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The commands by section, without importing any."""
        sections = dict.fromkeys(e.section for e in self.entries.values())
        for section in sections:
            with formatter.section(section):
                formatter.write_dl([(name, e.help) for name, e in self.entries.items() if e.section == section])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the exit codes."""
        super().format_epilog(ctx, formatter)
        write_exit_status(formatter)
