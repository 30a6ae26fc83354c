"""Finding connectors: an address loads its own, plugins are guests like any other, and a broken one harms nobody."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vecport.connectors import registry
from vecport.errors import MissingExtra, UsageError
from vecport.operations.connectors import connectors

CONNECTOR = """
from vecport.connectors.contract import Connector, ConnectorInfo
from vecport.connectors.memory import MemorySource

class {name}(Connector):
    info = ConnectorInfo(
        name="{lower}", title="{name}", schemes=("{lower}",), extra="", modules={modules!r}, example="{lower}:x",
        install="pip install 'my-{lower}[client]'",
    )
    source = MemorySource

    def collections(self, place):
        return []

    def recognises(self, path):
        {recognises}
"""
Plugin = Callable[..., None]


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plugin]:
    """Installs a package with a connector, as a folder that stands first on the path."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))

    def forget() -> None:
        for cached in (registry._entry_points, registry.get, registry._loaded, registry._declared, registry._by_scheme):
            cached.cache_clear()

    def install(name: str, text: str | None = None, *, modules: tuple[str, ...] = (), recognises: str = "return False",
                attribute: str | None = None, scheme: bool = True) -> None:  # fmt: skip
        lower = name.lower()
        body = CONNECTOR.format(name=name, lower=lower, modules=modules, recognises=recognises)
        (site / f"plugin_{lower}.py").write_text(body if text is None else text)
        info = site / f"plugin_{lower}-1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: plugin-{lower}\nVersion: 1\n")
        point = f"{lower} = plugin_{lower}:{attribute or name}\n"
        schemes = f"[vecport.schemes]\n{point}" if scheme else ""
        (info / "entry_points.txt").write_text(f"[vecport.connectors]\n{point}{schemes}")
        forget()

    yield install
    for module in [m for m in sys.modules if m.startswith("plugin_")]:
        del sys.modules[module]
    forget()


BROKEN = {
    "syntax": ("def broken(:\n", None),
    "runtime": ("raise RuntimeError('boom')\n", None),
    "exit": ("import no_such_module_anywhere\n", None),
    "no info": ("class Broken:\n    pass\n", None),
    "another class": ("from vecport.connectors.contract import Connector\nclass Broken(Connector): pass\n", None),
    "no such attribute": ("x = 1\n", "Missing"),
    "no role": (CONNECTOR.format(name="Broken", lower="broken", modules=(), recognises="return False").replace(
        "    source = MemorySource\n", ""), None),
}  # fmt: skip


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_plugin_is_named_and_the_others_work(plugin: Plugin, tmp_path: Path, kind: str) -> None:
    text, attribute = BROKEN[kind]
    plugin("Broken", text, attribute=attribute)
    (tmp_path / "rows.jsonl").write_text('{"id": "a", "vector": [1]}\n')
    assert registry.resolve(str(tmp_path / "rows.jsonl"), role="source")[0].info.name == "jsonl"
    assert registry.resolve("jsonl:x.jsonl", role="source")[0].info.name == "jsonl"
    rows = {row.name: row.problem for row in connectors().entries}
    assert rows.pop("broken")
    assert set(rows.values()) == {""}
    for address in ("broken:x", "nobody:x"):
        with pytest.raises(UsageError) as caught:
            registry.resolve(address, role="source")
        assert "broken" in str(caught.value)


def test_users_are_not_told_of_what_is_there_for_tests() -> None:
    assert "memory" in registry.names()
    assert "memory" not in {row.name for row in connectors().entries}
    with pytest.raises(UsageError) as caught:
        registry.resolve("nobody:x", role="source")
    assert "jsonl" in caught.value.next
    assert "memory" not in caught.value.next


def test_a_plugin_says_what_installs_its_client(plugin: Plugin) -> None:
    plugin("Guest", modules=("no_such_module_anywhere",))
    with pytest.raises(MissingExtra) as caught:
        registry.resolve("guest:x", role="source")
    assert caught.value.next == "pip install 'my-guest[client]'"
    assert {row.install for row in connectors().entries if row.name == "guest"} == {caught.value.next}


@pytest.mark.parametrize("scheme", [True, False])
def test_a_plugins_scheme_is_known(plugin: Plugin, scheme: bool) -> None:
    plugin("Guest", scheme=scheme)
    assert registry.resolve("guest:x", role="source")[0].info.name == "guest"
    assert "guest" in registry.schemes()


def test_a_path_that_several_connectors_claim_is_refused_with_their_names(plugin: Plugin, tmp_path: Path) -> None:
    plugin("Greedy", recognises="return True")
    (tmp_path / "rows.jsonl").write_text('{"id": "a", "vector": [1]}\n')
    with pytest.raises(UsageError) as caught:
        registry.resolve(str(tmp_path / "rows.jsonl"), role="source")
    assert caught.value.exit_code == 2
    assert all(f"{name}:" in caught.value.next for name in ("greedy", "jsonl"))


def test_a_plugin_that_fails_over_a_path_hides_nobody(plugin: Plugin, tmp_path: Path) -> None:
    plugin("Greedy", recognises="raise OSError(path)")
    (tmp_path / "rows.jsonl").write_text('{"id": "a", "vector": [1]}\n')
    assert registry.resolve(str(tmp_path / "rows.jsonl"), role="source")[0].info.name == "jsonl"


@pytest.mark.parametrize(
    ("address", "own"),
    [("postgresql://me@nowhere/db", "postgres"), ("jsonl:x", "jsonl"), ("ndjson:x", "jsonl"), ("-", "jsonl"),
     ("qdrant+https://h", "qdrant"), ("pgvector://h/db", "postgres"), ("chroma:./x", "chroma")],
)  # fmt: skip
def test_an_address_loads_its_own_connector_and_no_other(address: str, own: str) -> None:
    code = (
        "import sys; from vecport.connectors import registry; registry.resolve(sys.argv[1], role='source');"
        "print(*sorted({m.split('.')[2] for m in sys.modules if m.startswith('vecport.connectors.')}"
        " & {'chroma', 'jsonl', 'memory', 'postgres', 'qdrant'}))"
    )
    done = subprocess.run([sys.executable, "-c", code, address], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [own]


def test_what_entry_points_declare_is_what_connectors_say() -> None:
    said = {scheme for name in registry.names() for scheme in registry.get(name).info.schemes}
    assert registry._declared().keys() - {registry.STREAMS} == said
    assert all(scheme in registry.get(name).info.schemes for scheme, name in registry._declared().items()
               if scheme != registry.STREAMS)  # fmt: skip


def test_a_plugin_passes_mypy_strict(tmp_path: Path) -> None:
    (tmp_path / "plugin.py").write_text(
        "from vecport.connectors.address import Place\n"
        "from vecport.connectors.contract import CollectionSummary, Connector, ConnectorInfo\n\n\n"
        "class Guest(Connector):\n"
        "    info = ConnectorInfo('guest', 'Guest', ('guest',), '', (), 'guest:x', install='pip install guest')\n\n"
        "    def collections(self, place: Place) -> list[CollectionSummary]:\n"
        "        return []\n"
    )
    # A folder of its own: from the project's, the source itself would be found and py.typed would not be asked for.
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--ignore-missing-imports", "--follow-imports=silent", "plugin.py"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
