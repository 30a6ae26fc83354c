"""Links lead somewhere, and every page can be reached."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from .pages import ROOT

ALL = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", ROOT / "samples" / "README.md"]
ALL += sorted((ROOT / "docs").rglob("*.md"))
#: Made by ``make docs`` from the commands.
GENERATED = ROOT / "docs" / "cli.md"
_LINK = re.compile(r"(?<!!)\[[^\]]+\]\(([^)\s]+)\)")


def _anchors(path: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    plain = [re.sub(r"[^\w\- ]", "", re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", h).lower()).strip() for h in headings]
    return {h.replace(" ", "-") for h in plain}


def _links(path: Path) -> list[str]:
    text = re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return [link for link in _LINK.findall(text) if not link.startswith(("http://", "https://"))]


@pytest.mark.parametrize("path", ALL, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    for link in _links(path):
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        assert target == GENERATED or target.exists(), f"{link}: no such file"
        if anchor and target.suffix == ".md" and target.exists():
            assert anchor in _anchors(target), f"{link}: no such heading"


def test_every_page_is_in_the_index() -> None:
    index = ROOT / "docs" / "index.md"
    linked = {(index.parent / link.partition("#")[0]).resolve() for link in _links(index)}
    missing = [p for p in sorted((ROOT / "docs").rglob("*.md")) if p != index and p.resolve() not in linked]
    assert not missing
