"""A secret on the command line is refused and never repeated; one from the environment never comes out."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from vecport.cli.text import Redactor, holds_secret
from vecport.errors import Interrupted, Unavailable

from .conftest import CALLS, Fakes, Outcome

CANARY = "CANARY-7f3a9c"
ENVIRONMENT = {
    "QDRANT_API_KEY": f"{CANARY}-1", "PGPASSWORD": f"{CANARY}-2", "CHROMA_API_KEY": f"{CANARY}-3",
    "VECPORT_SOURCE_API_KEY": f"{CANARY}-4", "VECPORT_TARGET_TOKEN": f"{CANARY}-5",
    "AWS_SECRET_ACCESS_KEY": f"{CANARY}-6", "DATABASE_URL": f"postgresql://me:{CANARY}-7@db/prod",
}  # fmt: skip


@pytest.mark.parametrize("flags", [[], ["--json"], ["--debug"], ["--json", "--debug"]], ids=" ".join)
@pytest.mark.parametrize(
    "arguments",
    [
        ["export", f"postgresql://me:{CANARY}@db/prod", "./d"],
        ["export", f"postgresql://me:{CANARY}@db/prod#docs", "./d"],
        ["export", f"postgresql://db/prod?user=me&password={CANARY}", "./d"],
        ["export", "memory:x", f"s3://key:{CANARY}@bucket/d"],
        ["export", f"qdrant+https://host?api_key={CANARY}", "./d"],
        ["export", "memory:x", "./d", "--api-key", CANARY],
        ["export", "memory:x", "./d", f"--api-key={CANARY}"],
        ["export", "memory:x", "./d", f"--password={CANARY}"],
        ["export", "memory:x", "./d", "--token", CANARY],
        ["export", "memory:x", "./d", "--source-option", "api-key", CANARY],
        ["export", "memory:x", "./d", "--source-option", f"{CANARY}"],
        ["export", "qdrant://localhost:6333", "./d", "--source-option", f"api-key={CANARY}"],
        ["import", "./d", "qdrant://localhost:6333", f"--target-option=api-key={CANARY}"],
        ["export", "memory:x", "./d", CANARY],
        ["ls", f"qdrant://me:{CANARY}@localhost:6333"],
        [f"postgresql://me:{CANARY}@db/prod"],
        [CANARY, "memory:x"],
        ["diff", f"s3://key:{CANARY}@bucket/a", "./b"],
        ["copy", "memory:x", f"postgresql://me:pa/{CANARY}@db/prod"],
        ["import", "./d", "memory:x", "--max", f"dim={CANARY}"],
        ["import", "./d", "memory:x", "--memory", CANARY],
    ],
    ids=lambda a: " ".join(a).replace(CANARY, "SECRET"),
)  # fmt: skip
def test_a_secret_in_the_arguments_is_refused_and_not_repeated(
    arguments: list[str],
    flags: list[str],
    cli: Callable[..., Outcome],
    tmp_path: object,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(str(tmp_path))
    shown = cli(*arguments, *flags)
    assert shown.code in (2, 10)
    assert "CANARY" not in shown.out + shown.err


def test_the_line_to_type_instead_is_shown(cli: Callable[..., Outcome]) -> None:
    shown = cli("export", f"postgresql://me:{CANARY}@db/prod", "./d")
    assert "read -rs DATABASE_URL; export DATABASE_URL; then use env:DATABASE_URL" in shown.err
    shown = cli("export", "qdrant://localhost:6333", "./d", "--source-option", f"api-key={CANARY}")
    assert "read -rs VECPORT_SOURCE_API_KEY; export VECPORT_SOURCE_API_KEY" in shown.err


@pytest.mark.parametrize("flags", [[], ["--json"], ["--debug"], ["--progress", "json"]], ids=" ".join)
@pytest.mark.parametrize("name", [n for n in CALLS if n != "connectors"])
def test_a_secret_of_the_environment_stays_there_even_when_a_client_blurts_it_out(
    name: str, flags: list[str], cli: Callable[..., Outcome], fakes: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in ENVIRONMENT.items():
        monkeypatch.setenv(variable, value)
    if "--progress" in flags and name in ("plan", "ls", "inspect"):
        flags = []
    everything = " ".join(ENVIRONMENT.values())
    for error in (
        RuntimeError(f"cannot connect: {everything}"),
        Unavailable(f"no answer from {everything}", everything, everything, everything),
        Interrupted("interrupted", everything),
    ):

        def blurt(error: Exception = error, **options: object) -> None:
            if "progress" in options:
                options["progress"].note(f"connected with {everything}")  # type: ignore[attr-defined]
            raise error

        fakes.answer(name, blurt)
        shown = cli(*CALLS[name], *flags)
        assert "CANARY" not in shown.out + shown.err
        assert "****" in shown.err


def test_an_ordinary_word_is_no_secret() -> None:
    """``PGPASSWORD=postgres`` must not take that word out of addresses and hints."""
    redact = Redactor({"PGPASSWORD": "postgres", "PWD": "/home/me", "SSH_KEY_FILE": "/home/me/key", "API_KEY": "a"})
    text = "vecport verify /home/me/d postgres://me@db -c a"
    assert redact(text) == text


@pytest.mark.parametrize(
    "address",
    ["qdrant://host:6333", "qdrant://host:6333#docs@v2", "postgresql://me@db:5432/prod", "qdrant://[::1]:6333#a@b",
     "s3://bucket/dump", "jsonl:./a@b.jsonl", "env:DATABASE_URL", "postgresql://me@db/prod?sslmode=require", "./a?b=c"],
)  # fmt: skip
def test_an_address_without_a_password_is_let_through(address: str) -> None:
    assert not holds_secret(address)
    assert Redactor({})(address) == address
