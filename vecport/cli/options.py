"""Options that commands share, as decorators; parsing of sizes and ``NAME=VALUE``.

An option that is not given is not passed on: the defaults are those of the Python functions. What ``--help`` shows as
the default is checked against them by a test.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import click

from .. import idle
from .text import looks_secret, parse_size

F = TypeVar("F", bound=Callable[..., Any])
Decorator = Callable[[F], F]

PROGRESS = ("auto", "plain", "none", "json")
ENCODINGS = ("default", "plain")
DUPLICATES = ("error", "keep", "first", "last")
IF_EXISTS = ("create", "append", "replace")
ON_ERROR = ("fail", "quarantine")
ON_CONFLICT = ("replace", "skip", "fail")
NAMESPACES = ("field", "prefix", "split", "refuse")
IDS = ("keep", "hash")
LEVELS = ("quick", "full", "deep")
ID_KINDS = ("string", "int", "uuid", "int|uuid", "tagged", "composite", "position")


class Size(click.ParamType[int]):
    """Bytes: ``512MiB``, ``2GB``, ``4096``."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Parse; an integer is taken as it is."""
        if isinstance(value, int):
            return value
        try:
            return parse_size(value)
        except ValueError as e:
            self.fail(str(e), param, ctx)


class Pair(click.ParamType[tuple[str, str]]):
    """``NAME=VALUE``. What cannot be read is never echoed: it may hold a secret."""

    name = "pair"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """Split at the first ``=``."""
        if isinstance(value, tuple):
            return value
        name, sign, text = value.partition("=")
        if not sign or not name.strip():
            self.fail("write it as NAME=VALUE" + _secret_hint(name), param, ctx)
        return name.strip(), text


class Bound(Pair):
    """``NAME=VALUE`` where the value is a count or a size."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Split and parse."""
        name, text = super().convert(value, param, ctx)
        try:
            return name.replace("-", "_"), parse_size(text)
        except ValueError:
            self.fail(f"{name} needs a number or a size above zero, as {name}=1000 or {name}=2GiB", param, ctx)


class Tolerance(click.ParamType[tuple[str | None, float]]):
    """A number for all vectors, or ``FIELD=NUMBER``."""

    name = "tolerance"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Split at the last ``=``: a vector's name may hold one."""
        if isinstance(value, tuple):
            return value
        field, sign, text = value.rpartition("=")
        try:
            number = float(text)
        except ValueError:
            number = None
        if number is None or (sign and not field):
            self.fail(
                f"{value!r} is not of the form [FIELD=]X: a number, as 1e-6, or a vector's name and a number, as"
                " title=1e-6", param, ctx,
            )  # fmt: skip
        return (field if sign else None), number


def _as_tolerance(
    ctx: click.Context, param: click.Parameter, value: tuple[tuple[str | None, float], ...]
) -> float | dict[str, float] | None:
    fields = {field: number for field, number in value if field is not None}
    numbers = [number for field, number in value if field is None]
    if len(fields) + len(numbers) < len(value) or len(numbers) > 1 or (fields and numbers):
        raise click.BadParameter("give one number for all vectors, or one for each vector by its name", ctx, param)
    return numbers[0] if numbers else fields or None


def _secret_hint(name: str) -> str:
    return "; a secret never stands on the command line: put it into the environment" if looks_secret(name) else ""


def stack(*decorators: Callable[[Any], Any]) -> Callable[[F], F]:
    """Several options as one decorator, in the order in which ``--help`` lists them."""

    def decorate(function: F) -> F:
        return functools.reduce(lambda f, d: d(f), reversed(decorators), function)

    return decorate


def pairs(name: str, parameter: str, help: str) -> Callable[[F], F]:
    """A repeatable ``NAME=VALUE`` option that becomes a dict."""
    return click.option(name, parameter, multiple=True, type=Pair(), metavar="NAME=VALUE", callback=_as_dict, help=help)


def _as_dict(ctx: click.Context, param: click.Parameter, value: tuple[tuple[str, Any], ...]) -> dict[str, Any] | None:
    out: dict[str, Any] = {}
    for name, item in value:
        if name in out and out[name] != item:
            raise click.BadParameter(f"{name} is given twice with different values", ctx, param)
        out[name] = item
    return out or None


def collection(help: str = "The collection; needed when the place has several.") -> Callable[[F], F]:
    """``--collection``."""
    return click.option("-c", "--collection", metavar="NAME", help=help)


target_collection = click.option(
    "--target-collection", metavar="NAME", help="The collection in the target; the source's name when left out."
)
source_options = pairs("--source-option", "source_options", "A setting of the source's connector; repeatable.")
target_options = pairs("--target-option", "target_options", "A setting of the target's connector; repeatable.")
settings = pairs("--set", "settings", "A choice of what is created, as metric=cosine; repeatable.")
target_config = click.option(
    "--target-config", metavar="FILE", help="Choices that plan --emit-target-config wrote; --set goes before them."
)
limits = click.option(
    "--max", "limits", multiple=True, type=Bound(), metavar="NAME=VALUE", callback=_as_dict,
    help="Raise a bound on what is read from a dump, as dim=100000; repeatable.",
)  # fmt: skip
selection = stack(
    click.option("--namespace", multiple=True, metavar="NAME", help="Only this namespace; repeatable."),
    click.option("--where", metavar="FILTER", help="Only records that pass a filter in the database's own language."),
)
limit = click.option("--limit", type=int, metavar="N", help="At most so many records.")
memory = click.option(
    "--memory", "memory_bytes", type=Size(), metavar="SIZE", help="Bound on memory, as 512MiB or 2GB.  [default: 1GiB]"
)
resources = stack(
    click.option("--workers", type=int, metavar="N", help="So many at once; as many as there are processors, up to 4."),
    memory,
)
guest = stack(
    click.option("--max-rps", type=float, metavar="N", help="At most so many requests a second, of all workers."),
    click.option("--max-mbps", type=float, metavar="N", help="At most so many megabytes of records a second."),
)
batch_size = click.option("--batch-size", type=int, metavar="N", help="Records in a request; memory decides otherwise.")
shard_rows = click.option("--shard-rows", type=int, metavar="N", help="Records in a file of the dump; about 128 MiB.")
encodings = click.option(
    "--encodings", type=click.Choice(ENCODINGS), help="plain: for readers without newer encodings.  [default: default]"
)
duplicates = click.option(
    "--duplicates", type=click.Choice(DUPLICATES), help="What a repeated id in data means.  [default: error]"
)
overwrite = click.option("--overwrite", is_flag=True, help="Remove a dump, finished or not, that is there.")
passports = stack(
    click.option("--ignore-passport", is_flag=True, help="Take a collection that vecport filled as it stands."),
    click.option("--like", metavar="DUMP", help="An older dump that tells types and names, where no passport does."),
)
take_over = click.option(
    "--take-over", is_flag=True, help="Take the lock of a dead writer in an object store without watching it first."
)
read_back = click.option(
    "--read-back", is_flag=True, help="Read every file of the dump once more before it counts; for archives."
)
require_snapshot = click.option(
    "--require-snapshot", is_flag=True, help="Exit 3 unless all records come from one snapshot."
)
on_error = click.option(
    "--on-error", type=click.Choice(ON_ERROR),
    help="quarantine: leave out what cannot be read, name it in rejects.jsonl, exit 4.  [default: fail]",
)  # fmt: skip
if_exists = click.option(
    "--if-exists", type=click.Choice(IF_EXISTS),
    help="create: refuse a collection with records; append: add; replace: remove it first.  [default: create]",
)  # fmt: skip
on_conflict = click.option(
    "--on-conflict", type=click.Choice(ON_CONFLICT),
    help="A record that is there already: replace it as a whole, skip the dump's, or fail.  [default: replace]",
)  # fmt: skip
namespaces = click.option(
    "--namespaces", type=click.Choice(NAMESPACES),
    help="A metadata field, a prefix of the id, a collection for each, or refuse; a field where the target has none.",
)  # fmt: skip
ids = click.option(
    "--ids", type=click.Choice(IDS),
    help="keep: as they are, or refuse; hash: UUIDs stand for them (vecport id); kept where they fit when left out.",
)  # fmt: skip
split = click.option(
    "--namespaces", type=click.Choice(("split",)),
    help="split: compare each namespace with its own collection, as import --namespaces split made it.",
)  # fmt: skip
loss = stack(
    click.option("--allow-lossy", multiple=True, metavar="FIELD", help="Accept the loss of this field; repeatable."),
    click.option("--strict", is_flag=True, help="Refuse what comes back only within a stated error, too."),
)
tolerance = click.option(
    "--tolerance", multiple=True, type=Tolerance(), metavar="[FIELD=]X", callback=_as_tolerance,
    help="Largest relative error of a vector that counts as equal, for all or for one by its name, repeatable; the"
    " bound stated for each when left out.",
)  # fmt: skip
compare_level = click.option(
    "--level", type=click.Choice(LEVELS),
    help="quick: counts and files; full: every record, by the hashes that dumps recorded; deep: by hashes of their"
    " data.  [default: full]",
)  # fmt: skip


def _keep_timeout(ctx: click.Context, param: click.Parameter, value: float | None) -> None:
    """For the time of the command; what it starts reads the same variable."""
    if value is not None:
        ctx.with_resource(idle.timeout(value))


timeout = click.option(
    "--timeout", type=float, metavar="SECONDS", expose_value=False, callback=_keep_timeout,
    help="Give a connection up on which nothing has moved for so long, and a lock; 60, or VECPORT_TIMEOUT.",
)  # fmt: skip
common = stack(
    click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output."),
    click.option("-q", "--quiet", is_flag=True, help="No progress, notes or summary: data and errors only."),
    click.option("--debug", is_flag=True, help="Show the traceback of an error."),
)
progress = click.option(
    "--progress", type=click.Choice(PROGRESS), default="auto", show_default=True,
    help="auto draws on a terminal and is plain elsewhere.",
)  # fmt: skip
