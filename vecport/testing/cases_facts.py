"""Cases about what a connector says of itself."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
from typing import Any, ClassVar

import pytest

from ..connectors import address, registry
from ..connectors.contract import Connector, Source, Target
from ..model.capabilities import ACKS, CONCURRENCY, VALUE_KINDS
from ..model.collection import ID_KINDS, METRICS, VECTOR_DTYPES, VECTOR_KINDS
from .bench import Bench, connector_path, does_not_apply, engine_missing

OPTION_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
IF_EXISTS = frozenset({"create", "append", "replace"})


class Facts:
    """Name, addresses, options, capabilities."""

    connector: ClassVar[Any]

    def test_its_info_is_complete(self) -> None:
        info = self.connector.info
        assert OPTION_NAME.fullmatch(info.name)
        assert info.title.strip()
        assert info.schemes, "no address scheme"
        assert all(s == s.lower() for s in info.schemes)
        assert address.parse(info.example).scheme in info.schemes
        assert not info.modules or info.install_command, "client modules, and nothing that installs them"

    def test_every_option_has_help(self) -> None:
        options = self.connector.info.options
        assert len({o.name for o in options}) == len(options), "an option comes twice"
        for option in options:
            assert OPTION_NAME.fullmatch(option.name), option.name
            assert option.help.endswith("."), f"help of {option.name} is no sentence"
            assert "\n" not in option.help
            assert option.default is None or not option.secret, f"the secret {option.name} has a default"
            assert all(re.fullmatch(r"[A-Z][A-Z0-9_]*", e) for e in option.env), option.env

    def test_it_is_registered_and_its_schemes_are_its_own(self) -> None:
        names = registry.names()
        if not names:
            does_not_apply("vecport is not installed, so no entry points are there")
        if self.connector.info.name not in names:
            does_not_apply("it is not registered in this installation")
        for name in names:
            try:
                other: Connector = registry.get(name)
            except ImportError:
                continue
            if name == self.connector.info.name:
                assert type(other) is type(self.connector)
            else:
                assert not set(other.info.schemes) & set(self.connector.info.schemes), f"{name} has the same scheme"

    def test_its_client_is_installed(self) -> None:
        missing = registry.missing_modules(self.connector)
        if missing:
            engine_missing(f"modules {missing}")

    def test_importing_it_loads_no_client(self) -> None:
        module, modules = connector_path(self.connector).partition(":")[0], self.connector.info.modules
        code = f"import json, sys, {module}; print(json.dumps([m for m in {modules!r} if m in sys.modules]))"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
        assert json.loads(done.stdout) == [], "the client is imported with the connector"

    def test_its_source_capabilities_are_in_the_vocabulary(self, bench: Bench) -> None:
        caps = bench.source_caps
        assert caps.concurrency in CONCURRENCY
        assert caps.page_rows > 0
        assert not (caps.keyless and caps.key_ordered), "without keys nothing is ordered by them"

    def test_its_target_capabilities_are_in_the_vocabulary(self, bench: Bench) -> None:
        caps = bench.target_caps
        assert caps.id_kinds <= set(ID_KINDS)
        assert caps.id_kinds, "it holds no ids"
        assert set(caps.kinds) <= set(VECTOR_KINDS)
        assert all(dtypes and dtypes <= set(VECTOR_DTYPES) for dtypes in caps.kinds.values())
        assert all(caps.metrics_of(kind) <= set(METRICS) for kind in caps.kinds)
        assert set(caps.bounds) <= set(METRICS)
        assert all(0 < b.relative < 1e-3 for b in caps.bounds.values()), "a bound that bounds nothing"
        assert caps.metadata.exact <= set(VALUE_KINDS)
        assert caps.ack in ACKS
        assert caps.concurrency in CONCURRENCY
        assert caps.if_exists <= IF_EXISTS
        assert "create" in caps.if_exists
        assert caps.on_conflict <= {"replace", "skip", "fail"}
        assert caps.on_conflict, "it says nothing about records that are there already"
        assert caps.write_rows > 0
        assert caps.id_int_min <= 1 <= caps.id_int_max
        for pattern in (caps.id_forbidden, caps.metadata.forbidden_keys, caps.typed_fields):
            re.compile(pattern)

    @pytest.mark.parametrize("role", ["source", "target"])
    def test_its_sessions_have_the_signatures_of_the_contract(self, role: str) -> None:
        session: type | None = getattr(self.connector, role)
        if session is None:
            does_not_apply(f"it has no {role}")
        base: type = {"source": Source, "target": Target}[role]
        for name, wanted in inspect.getmembers(base, inspect.isfunction):
            if not name.startswith("_"):
                theirs = list(inspect.signature(getattr(session, name)).parameters)
                assert theirs == list(inspect.signature(wanted).parameters), f"{name} has other parameters"
