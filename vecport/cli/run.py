"""One run of a command: who listens, who may stop it, where its result goes."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from ..errors import VecportError
from ..operations.progress import Stop
from . import plain, signals
from .text import Redactor, safe, shell_command

if TYPE_CHECKING:
    from .listeners import Listener
    from .sheet import Sheet


class Run:
    """What a command function gets besides its own options.

    Attributes:
        arguments: of the command line, without the program's name.
        as_json, quiet, debug, progress: the options that every command has.
        stop: set by the first Ctrl-C or SIGTERM.
        redact: takes secrets out of whatever is written.
        data_on_stdout: the operation itself writes records there, so that a summary goes to standard error.
    """

    def __init__(
        self, arguments: list[str], *, as_json: bool = False, quiet: bool = False, debug: bool = False,
        progress: str = "auto",
    ) -> None:  # fmt: skip
        self.arguments, self.as_json, self.quiet, self.debug, self.progress = arguments, as_json, quiet, debug, progress
        self.stop = Stop()
        self.data_on_stdout = False
        self.redact = Redactor(arguments=arguments)
        self._heard: list[str] = []

    @contextlib.contextmanager
    def working(self) -> Iterator[Listener]:
        """Listen and take signals while an operation runs."""
        from .listening import listener

        heard = listener(self.progress, sys.stderr, quiet=self.quiet, redact=self.redact)
        again = safe(self.redact(shell_command(self.arguments)))

        def announce(number: int) -> None:
            heard.say("stopping at the next safe point; once more ends at once")

        def end(number: int) -> None:
            signals.end_at_once(f"ended at once; everything that was finished is kept\n  resume: {again}", number)

        finished = False
        try:
            with signals.stopping(self.stop, announce, end):
                yield heard
            finished = True
        except BrokenPipeError as e:
            if not self.data_on_stdout:
                raise
            plain.silence(sys.stdout)
            raise VecportError("the reader of standard output went away before everything was written") from e
        finally:
            heard.close(finished)
            self._heard = heard.heard

    def finish(self, command: str, result: Any, draw: Callable[[Any], Sheet], *, is_summary: bool = True) -> int:
        """Show a result and return its exit code.

        Args:
            command: names the JSON schema.
            result: a dataclass of the operation.
            draw: makes the sheet for people.
            is_summary: ``--quiet`` leaves it out; False for commands whose output is what was asked for.
        """
        stream = sys.stderr if self.data_on_stdout else sys.stdout
        result = plain.redacted(result, self.redact)
        with self._reader_may_leave(stream):
            if self.as_json:
                plain.write(stream, plain.document(command, result))
            elif not (self.quiet and is_summary):
                plain.write(stream, draw(result).render(stream))
        self._notes(result)
        return int(getattr(result, "exit_code", 0))

    def _notes(self, result: Any) -> None:
        """Notes of the result, and of results within it, that no listener has shown."""
        if self.quiet:
            return
        heard = {self.redact(text) for text in self._heard}
        for text in dict.fromkeys(notes_of(result)):
            if text not in heard:
                with self._reader_may_leave(sys.stderr):
                    plain.write(sys.stderr, f"note: {safe(text)}\n")

    @contextlib.contextmanager
    def _reader_may_leave(self, stream: Any) -> Iterator[None]:
        """The work is done: when ``head`` closes the pipe, the result's own exit code still counts."""
        try:
            yield
        except OSError as e:
            if not plain.is_broken_pipe(e):
                raise
            plain.silence(stream)


def notes_of(result: Any) -> Iterator[str]:
    """The notes of a result and of the results that it holds."""
    yield from getattr(result, "notes", ())
    for field in dataclasses.fields(result):
        value = getattr(result, field.name)
        if dataclasses.is_dataclass(value):
            yield from notes_of(value)
