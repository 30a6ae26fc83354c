"""Tables of the documentation are what the code says."""

from __future__ import annotations

import importlib.util
from types import ModuleType

import pytest

from vecport.connectors import registry

from .pages import ROOT


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_tables_are_up_to_date(generate: ModuleType) -> None:
    assert generate.main(["--check"]) == 0, "renew them: python docs/generate.py --write"


def test_every_table_is_used(generate: ModuleType) -> None:
    used = {name for page in generate.PAGES for name in generate.used(page.read_text(encoding="utf-8"))}
    assert used == set(generate.MAKERS)


def test_every_database_has_a_page_and_a_line(generate: ModuleType) -> None:
    own = {name for name in registry.names() if registry.get(name).__module__.startswith("vecport.connectors")}
    assert own - generate.INTERNAL == set(generate.PLACES)
    for name, places in generate.PLACES.items():
        assert (ROOT / "docs" / "databases" / f"{name}.md").is_file()
        connector = registry.get(name)
        for address, source, target in places:
            assert address.strip("`").split(":")[0] in connector.info.schemes
            assert issubclass(source, connector.source)
            assert issubclass(target, connector.target)


def test_a_stale_table_is_found(generate: ModuleType) -> None:
    text = "<!-- generated: exit codes -->\n| 0 | wrong |\n<!-- end -->"
    assert generate.renewed(text) != text
    assert generate.renewed(generate.renewed(text)) == generate.renewed(text)
