"""What the set-up installs: the clients that are named, and vecport from this folder alone."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def locked() -> set[str]:
    """Names of all packages of the lock file."""
    return set(re.findall(r"^([a-z0-9._-]+)==", (ROOT / "requirements/dev.lock").read_text(), re.MULTILINE))


def test_no_package_of_this_name_comes_from_a_registry() -> None:
    """There is one on PyPI, and it is another project's."""
    assert "vecport" not in locked()


def test_every_requirement_is_locked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    lists = [
        project["project"]["dependencies"],
        *project["project"]["optional-dependencies"].values(),
        *project["dependency-groups"].values(),
    ]
    names = {re.split(r"[^A-Za-z0-9._-]", text)[0].lower() for texts in lists for text in texts} - {"vecport"}
    assert len(names) > 25
    assert names <= locked()
