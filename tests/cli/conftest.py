"""The command line is called in this process, mostly over fakes of the public functions."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

import vecport
from vecport.cli.app import run
from vecport.dump.manifest import Identity
from vecport.model.compare import KINDS, Finding, Part
from vecport.operations.connectors import ConnectorsResult
from vecport.operations.copy import CopyResult
from vecport.operations.diff import DiffResult
from vecport.operations.export import ExportResult
from vecport.operations.import_ import ImportResult
from vecport.operations.inspect import InspectResult
from vecport.operations.ls import LsResult
from vecport.operations.plan import PlanResult
from vecport.operations.split import Destination
from vecport.operations.validate import ValidateResult
from vecport.operations.verify import VerifyResult

#: A command line that parses, for each command; ``demo`` has its own tests.
CALLS: dict[str, list[str]] = {
    "export": ["export", "memory:x", "./d"],
    "import": ["import", "./d", "memory:x"],
    "copy": ["copy", "memory:x", "memory:y"],
    "plan": ["plan", "./d", "memory:x"],
    "ls": ["ls", "memory:x"],
    "inspect": ["inspect", "./d"],
    "connectors": ["connectors"],
    "validate": ["validate", "./d"],
    "verify": ["verify", "./d", "memory:x"],
    "diff": ["diff", "./a", "./b"],
}
FUNCTIONS = {"import": "import_", "connectors": "list_connectors", "id": "stand_in"}


@dataclass(frozen=True)
class Outcome:
    """What a command line did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as the one JSON object that it must be."""
        assert self.out.count("\n") == 1, self.out
        return json.loads(self.out)

    @property
    def error(self) -> Any:
        """The last line of standard error as a JSON error."""
        return json.loads(self.err.splitlines()[-1])


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "_VECPORT_COMPLETE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Call the program in this process."""

    def call(*arguments: str) -> Outcome:
        capsys.readouterr()
        code = run(list(arguments))
        return Outcome(code, *capsys.readouterr())

    return call


class Fakes:
    """Replaces public functions and keeps the arguments of their last call."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._patch = patch
        self.arguments: tuple[Any, ...] = ()
        self.options: dict[str, Any] = {}

    def answer(self, command: str, result: Any) -> None:
        """The function of a command returns, raises, or is called."""

        def fake(*arguments: Any, **options: Any) -> Any:
            self.arguments, self.options = arguments, options
            if isinstance(result, BaseException):
                raise result
            return result(**options) if callable(result) else result

        self._patch.setattr(vecport, FUNCTIONS.get(command, command), fake, raising=False)


@pytest.fixture
def fakes() -> Iterator[Fakes]:
    """Fakes that are gone after the test."""
    with pytest.MonkeyPatch.context() as patch:
        yield Fakes(patch)


def results(text: str = "thing") -> dict[str, Any]:
    """A result for each command, with ``text`` wherever data of others may stand."""
    ledger = [
        {"field": f"metadata:{text}", "status": "lossy", "count": 3, "why": f"{text} is too long", "example": text}
    ]
    parts = (Part(text, text, text, 0.5), Part(f"metadata:{text}", text, text))
    examples = tuple(Finding(kind, text, text, parts) for kind in KINDS)
    counts: dict[str, Any] = {
        "within_bound": 1, "changed": 1, "repeated": 1, "vectors_changed": 1, "metadata_changed": 1,
        "parts": {text: 1}, "bound": "bit for bit", "bounds": {text: "bit for bit"}, "examples": examples,
        "seconds": 1.0, "exit_code": 3, "schema_changes": (text,),
    }  # fmt: skip
    vector = {"name": text, "kind": "dense", "dtype": "float32", "dim": 3, "metric": "cosine", "column": "vector"}
    fields = [{"name": text, "type": text, "logical": text}]
    facts = {"rows": 10, "bytes": 2048, "collection": text, "vectors": [vector], "fields": fields,
             "source": {"system": text, "version": text, "consistency": {"kind": "snapshot", "count_before": 10}},
             "profile": {"metadata": {text: {"string": {"count": 10}}}}, text: text}  # fmt: skip
    figures = ((1.5, "s"), (None, "s"), (9, "bytes"), (9, "requests"))
    estimates = [{"what": text, "low": low, "high": low, "unit": unit, "basis": text} for low, unit in figures]
    permissions = [{"role": role, "what": text, "allowed": allowed, "why": text, "grant": text}
                   for role in ("source", "target") for allowed in (True, False, None)]  # fmt: skip
    checks = [{"rule": text, "passed": False, "message": text}, {"rule": "files", "passed": True, "message": "ok"}]
    exported = ExportResult(text, 10, 2048, 1, Identity("ab" * 32, 10, 7), {"kind": "snapshot"}, True, (text,), 4, 2.0)
    imported = ImportResult("./d", text, 10, 6, 4, ledger, False, f"vecport verify ./d {text}", text, 2.0, (text,),
                            collections={text: Destination(text, 10)})  # fmt: skip
    one = VerifyResult("./d", text, 10, 10, equal=5, missing=1, extra=1, notes=(text,), namespace=text, **counts)
    verified = replace(one, collections={text: one, "": one})
    return {
        "export": exported,
        "import": imported,
        "copy": CopyResult(exported, imported, verified, text, (), 3),
        "plan": PlanResult("./d", text, {**facts, "schema": {"vectors": [vector]}, "namespaces": {text: 3, "": 7},
                                         "target": {"exists": True, "rows": 3, "would": text, "version": text,
                                                    "folder": text, "free_bytes": 5},
                                         "estimates": estimates, "permissions": permissions,
                                         "collections": {text: {"collection": text, "records": 3, "exists": True,
                                                                "rows": 3, "would": text}},
                                         "creates": {"vectors": [vector]}}, ledger, (text,)),
        "ls": LsResult("memory:x", "collections", [{"name": text, "rows": None, "detail": text}]),
        "inspect": InspectResult(text, facts, (text,)),
        "connectors": ConnectorsResult(()),
        "validate": ValidateResult(text, "full", False, checks, 1.0, (), 3),
        "verify": verified,
        "diff": DiffResult("./a", "./b", False, rows_a=10, rows_b=10, unchanged=6, added=1, removed=1, **counts),
    }  # fmt: skip


#: Control and escape characters, invisible ones, and everything else a terminal might obey; line ends are allowed.
OBEYED = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
