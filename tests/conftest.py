"""What every test stands on: a state folder of its own, and a ``vecport`` that starts fast."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.warm import warm_vecport


@pytest.fixture(scope="session", autouse=True)
def _state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads or writes the user's state, or that of tests which run at the same time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VECPORT_STATE_DIR", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a ``vecport`` that starts fast."""
    with warm_vecport(tmp_path_factory.mktemp("warm")) as folder:
        yield folder
