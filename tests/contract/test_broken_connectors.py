"""Who tests the suite? Memory connectors that are broken on purpose: the cases named beside each must refuse it."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.contract.broken.making import Broken
from tests.contract.broken.readers import READERS
from tests.contract.broken.writers import WRITERS
from tests.contract.test_memory import TestMemory as Sound
from vecport.connectors.address import parse, with_options
from vecport.connectors.memory import MemoryConnector, forget
from vecport.errors import VecportError
from vecport.testing.contract import Bench

TABLE = READERS | WRITERS
LEAST = 40


@pytest.fixture
def run(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Run one case of the suite over a connector."""

    def run_case(broken: Broken, case: tuple[Any, ...], connector: MemoryConnector, faults: bool) -> None:
        suite = type("Suite", (Sound,), {"connector": connector})()
        name = f"broken {case} {id(connector)}"
        place = parse(f"memory:{name}")
        if faults and broken.faults:
            place = with_options(place, {"faults": json.dumps(dict(broken.faults))})
        method = getattr(suite, case[0])
        asked = [n for n in inspect.signature(method).parameters if n in ("caplog", "tmp_path", "tmp_path_factory")]
        fixtures = {n: request.getfixturevalue(n) for n in asked}
        if "tmp_path" in fixtures:
            fixtures["tmp_path"] = request.getfixturevalue("tmp_path_factory").mktemp("case")
        if "bench" in inspect.signature(method).parameters:
            fixtures["bench"] = Bench(suite, place)
        given = iter(case[1:])
        arguments = {n: fixtures[n] if n in fixtures else next(given) for n in inspect.signature(method).parameters}
        try:
            method(**arguments)
        except pytest.skip.Exception as e:
            raise RuntimeError(f"{case[0]} was not run: {e}") from None
        finally:
            forget(place.path)

    return run_case


@pytest.mark.parametrize("name", TABLE)
def test_the_suite_refuses_a_broken_connector(
    name: str, run: Callable[..., None], record_property: Callable[[str, object], None]
) -> None:
    broken = TABLE[name]
    assert broken.cases
    for case in broken.cases:
        # What is claimed wrongly is no claim of the sound connector's.
        if not broken.caps:
            run(broken, case, MemoryConnector(), False)
        with pytest.raises((AssertionError, VecportError, pytest.fail.Exception, ValueError, KeyError)):
            run(broken, case, broken.made(), True)
    record_property("tally", ["broken connectors refused by the contract suite", 1, 1])


def test_the_table_is_long_enough() -> None:
    assert len(TABLE) >= LEAST
